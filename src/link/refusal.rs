//! Why a push or a join is refused, and what its client is told.

use std::borrow::Cow;

use crate::base::bucket::RetryMs;
use crate::link::metrics::Metrics;
use crate::wire::phx::Unfit;

/// Why a push or join is refused, and what the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nobody answers to this topic, or it has not been joined.
    Unmatched,
    /// The token does not allow it.
    Unauthorized,
    /// As many channels as one connection may have.
    TooManyChannels,
    /// Something is not as the protocol says.
    Invalid { field: &'static str, message: &'static str },
    /// Something is over its limit.
    TooLarge { field: &'static str, max_bytes: usize },
    /// Too many pushes or joins.
    RateLimited { limit: &'static str, retry: RetryMs },
    /// The shard that owns the room is behind.
    Busy,
    /// Memory is short.
    NoMemory,
    /// A custom payload names somebody else.
    UserMismatch,
    /// The lobby takes no pushes.
    ReadOnly,
    /// No new room can be made.
    TooManyRooms,
    /// The disk does not take it. Nothing was accepted.
    Storage,
    /// The engine is not there. Nothing was accepted.
    Unavailable,
    /// It may have been accepted: the same `key` gives the answer.
    Unconfirmed,
}

/// What limits pushes, as a refusal names it.
pub(crate) const PUBLISH_LIMIT: &str = "limits.publish_per_s";

/// After what time a client may try again when another shard is behind, in milliseconds.
const BUSY_RETRY_MS: u32 = 250;

/// And when memory is short.
const MEMORY_RETRY_MS: u32 = 2_000;

/// And when a log does not answer as it should: it is tried again every second.
const LOG_RETRY_MS: u32 = 1_000;

impl From<Unfit> for Refusal {
    fn from(unfit: Unfit) -> Self {
        Self::Invalid { field: unfit.field(), message: unfit.message() }
    }
}

impl Refusal {
    /// Counts it, if it is a limit's.
    pub(crate) fn count(self, metrics: &mut Metrics) {
        match self {
            Self::RateLimited { limit: PUBLISH_LIMIT, .. } => metrics.refused_publish += 1,
            Self::RateLimited { .. } => metrics.refused_join += 1,
            Self::TooManyChannels => metrics.refused_channels += 1,
            Self::TooManyRooms => metrics.refused_rooms += 1,
            Self::TooLarge { .. } => metrics.refused_length += 1,
            Self::Busy => metrics.refused_busy += 1,
            Self::NoMemory => metrics.refused_memory += 1,
            Self::Unmatched
            | Self::Unauthorized
            | Self::Invalid { .. }
            | Self::UserMismatch
            | Self::ReadOnly
            | Self::Storage
            | Self::Unavailable
            | Self::Unconfirmed => {}
        }
    }

    /// The response, as JSON.
    pub(crate) fn response(self) -> Cow<'static, str> {
        match self {
            Self::Unmatched => r#"{"reason":"unmatched topic"}"#.into(),
            Self::Unauthorized => r#"{"reason":"unauthorized"}"#.into(),
            Self::TooManyChannels => r#"{"reason":"too many channels joined"}"#.into(),
            Self::Invalid { field, message } => {
                format!(r#"{{"field":"{field}","message":"{message}","reason":"invalid"}}"#).into()
            }
            Self::TooLarge { field, max_bytes } => {
                format!(r#"{{"field":"{field}","max_bytes":{max_bytes},"reason":"too_large"}}"#)
                    .into()
            }
            Self::RateLimited { limit, retry: RetryMs(retry_ms) } => {
                format!(r#"{{"limit":"{limit}","reason":"rate_limited","retry_ms":{retry_ms}}}"#)
                    .into()
            }
            Self::Busy => format!(r#"{{"reason":"busy","retry_ms":{BUSY_RETRY_MS}}}"#).into(),
            Self::NoMemory => format!(r#"{{"reason":"busy","retry_ms":{MEMORY_RETRY_MS}}}"#).into(),
            Self::UserMismatch => r#"{"reason":"user_mismatch"}"#.into(),
            Self::ReadOnly => r#"{"reason":"read_only"}"#.into(),
            Self::TooManyRooms => r#"{"reason":"too_many_rooms"}"#.into(),
            Self::Storage => of_log("storage"),
            Self::Unavailable => of_log("unavailable"),
            Self::Unconfirmed => of_log("unconfirmed"),
        }
    }
}

fn of_log(reason: &str) -> Cow<'static, str> {
    format!(r#"{{"reason":"{reason}","retry_ms":{LOG_RETRY_MS}}}"#).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json;

    #[test]
    fn refusals_are_json_with_a_reason() {
        for refusal in [
            Refusal::Unmatched,
            Refusal::Invalid { field: "body", message: "a string" },
            Refusal::TooLarge { field: "body", max_bytes: 1 },
            Refusal::RateLimited { limit: "limits.publish_per_s", retry: RetryMs(5) },
            Refusal::Busy,
            Refusal::NoMemory,
            Refusal::Storage,
            Refusal::Unavailable,
            Refusal::Unconfirmed,
        ] {
            let response = refusal.response();
            assert!(json::Checker::default().check(response.as_bytes()).is_ok());
            assert!(json::field(&response, "reason").is_some());
        }
    }
}

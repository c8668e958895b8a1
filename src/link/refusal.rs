//! Why a push or a join is refused, and what its client is told.

use std::fmt::{self, Write as _};

use crate::base::rate_table::RetryMs;
use crate::limits::NAME_BYTES_MAX;
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
    /// What a message mentions is not an array of users' ids, of which there may be `max`: by this
    /// entry of it, from 0, if it is one.
    NotMentions { entry: Option<u32>, max: u32 },
    /// Something is over its limit.
    TooLarge { field: &'static str, max_bytes: usize },
    /// Too many pushes or joins.
    RateLimited { limit: &'static str, retry: RetryMs },
    /// The shard that owns the room is behind.
    Busy,
    /// Memory is short.
    NoMemory,
    /// A custom payload names somebody else, or a new token is somebody else's.
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
    /// The message is deleted, or no longer kept.
    Gone,
    /// The message is another's.
    NotYours,
    /// The time to edit the message is over.
    TooLate,
    /// More of something than there may be.
    TooMany { limit: &'static str, max: u32 },
    /// The user may read and not speak here, until this time: 0 is for ever.
    Muted { until_ms: u64 },
    /// The user is kept out of the room, until this time: 0 is for ever.
    Banned { until_ms: u64 },
    /// The room is in slow mode: the next message may come after this time.
    SlowMode { retry_ms: u32 },
    /// The room does not take such a message.
    Rejected { text: &'static str },
    /// The last owner of a room stays its owner.
    LastOwner,
}

/// What limits pushes, as a refusal names it.
pub(crate) const PUBLISH_LIMIT: &str = "limits.publish_per_s";

/// What limits the changed messages that a room remembers.
pub(crate) const CHANGES_LIMIT: &str = "chat.changes";

/// What limits the users that a message mentions.
pub(crate) const MENTIONS_LIMIT: &str = "limits.mentions";

/// What limits the users that stand in a room otherwise than others.
pub(crate) const MEMBERS_LIMIT: &str = "limits.members_per_room";

/// What limits the pinned messages of a room.
pub(crate) const PINS_LIMIT: &str = "limits.pins";

/// What limits the different emoji that there are reactions with to a message.
pub(crate) const EMOJI_LIMIT: &str = "limits.emoji_per_message";

/// What limits the reactions to a message.
pub(crate) const REACTIONS_LIMIT: &str = "limits.reactions_per_message";

/// What limits the reactions of a user to a message.
pub(crate) const USER_REACTIONS_LIMIT: &str = "limits.reactions_per_user";

/// What limits joins, and new tokens on a connection.
pub(crate) const JOIN_LIMIT: &str = "limits.join_per_s";

/// What limits searches.
pub(crate) const SEARCH_LIMIT: &str = "limits.search_per_s";

/// What limits the bytes that all members are sent of what a user says.
pub(crate) const FANOUT_LIMIT: &str = "limits.fanout_bytes_per_s";

/// What limits the rooms that are made for a user, or for all of an address.
pub(crate) const ROOMS_LIMIT: &str = "limits.rooms_per_s";

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
            Self::RateLimited { limit: SEARCH_LIMIT, .. } => metrics.refused_search += 1,
            Self::RateLimited { limit: FANOUT_LIMIT, .. } => metrics.refused_fanout += 1,
            Self::RateLimited { limit: ROOMS_LIMIT, .. } => metrics.refused_founding += 1,
            Self::RateLimited { .. } => metrics.refused_join += 1,
            Self::TooManyChannels => metrics.refused_channels += 1,
            Self::TooManyRooms => metrics.refused_rooms += 1,
            Self::TooLarge { .. } | Self::TooMany { .. } => metrics.refused_length += 1,
            Self::Busy => metrics.refused_busy += 1,
            Self::NoMemory => metrics.refused_memory += 1,
            Self::Unmatched
            | Self::Unauthorized
            | Self::Invalid { .. }
            | Self::NotMentions { .. }
            | Self::UserMismatch
            | Self::ReadOnly
            | Self::Gone
            | Self::NotYours
            | Self::TooLate
            | Self::LastOwner => {}
            Self::Muted { .. }
            | Self::Banned { .. }
            | Self::SlowMode { .. }
            | Self::Rejected { .. } => metrics.refused_moderated += 1,
            Self::Storage => metrics.refused_storage += 1,
            Self::Unavailable => metrics.refused_unavailable += 1,
            Self::Unconfirmed => metrics.refused_unconfirmed += 1,
        }
    }

    /// After how many milliseconds a client may try again what a home has refused.
    pub(crate) fn retry_ms(self) -> Option<u32> {
        match self {
            Self::RateLimited { retry: RetryMs(retry_ms), .. } | Self::SlowMode { retry_ms } => {
                Some(retry_ms)
            }
            Self::Busy => Some(BUSY_RETRY_MS),
            Self::NoMemory => Some(MEMORY_RETRY_MS),
            Self::Storage | Self::Unavailable | Self::Unconfirmed => Some(LOG_RETRY_MS),
            Self::Unmatched
            | Self::Unauthorized
            | Self::TooManyChannels
            | Self::Invalid { .. }
            | Self::NotMentions { .. }
            | Self::TooLarge { .. }
            | Self::UserMismatch
            | Self::ReadOnly
            | Self::TooManyRooms
            | Self::Gone
            | Self::NotYours
            | Self::TooLate
            | Self::TooMany { .. }
            | Self::Muted { .. }
            | Self::Banned { .. }
            | Self::Rejected { .. }
            | Self::LastOwner => None,
        }
    }

    /// The response, as JSON.
    pub(crate) fn response(self) -> String {
        let mut response = String::new();
        self.push_response(&mut response);
        response
    }

    /// Appends the response, as JSON, to memory that is reused: a push that is refused allocates
    /// nothing.
    pub(crate) fn push_response(self, out: &mut String) {
        let retry_ms = self.retry_ms();
        // Writing to a string cannot fail.
        let _ = match self {
            Self::Unmatched => push_reason(out, "unmatched topic", None),
            Self::Unauthorized => push_reason(out, "unauthorized", None),
            Self::TooManyChannels => push_reason(out, "too many channels joined", None),
            Self::Invalid { field, message } => {
                write!(out, r#"{{"field":"{field}","message":"{message}","reason":"invalid"}}"#)
            }
            Self::NotMentions { entry, max } => push_not_mentions(out, entry, max),
            Self::TooLarge { field, max_bytes } => {
                write!(out, r#"{{"field":"{field}","max_bytes":{max_bytes},"reason":"too_large"}}"#)
            }
            Self::RateLimited { limit, retry: RetryMs(retry_ms) } => {
                write!(
                    out,
                    r#"{{"limit":"{limit}","reason":"rate_limited","retry_ms":{retry_ms}}}"#
                )
            }
            Self::Busy | Self::NoMemory => push_reason(out, "busy", retry_ms),
            Self::UserMismatch => push_reason(out, "user_mismatch", None),
            Self::ReadOnly => push_reason(out, "read_only", None),
            Self::TooManyRooms => push_reason(out, "too_many_rooms", None),
            Self::Storage => push_reason(out, "storage", retry_ms),
            Self::Unavailable => push_reason(out, "unavailable", retry_ms),
            Self::Unconfirmed => push_reason(out, "unconfirmed", retry_ms),
            Self::Gone => push_reason(out, "gone", None),
            Self::NotYours => push_reason(out, "not_yours", None),
            Self::TooLate => push_reason(out, "too_late", None),
            Self::TooMany { limit, max } => {
                write!(out, r#"{{"limit":"{limit}","max":{max},"reason":"too_many"}}"#)
            }
            Self::Muted { until_ms } => {
                write!(out, r#"{{"reason":"muted","until":{until_ms}}}"#)
            }
            Self::Banned { until_ms } => {
                write!(out, r#"{{"reason":"banned","until":{until_ms}}}"#)
            }
            Self::SlowMode { .. } => push_reason(out, "slow_mode", retry_ms),
            Self::Rejected { text } => {
                write!(out, r#"{{"reason":"rejected","text":"{text}"}}"#)
            }
            Self::LastOwner => push_reason(out, "last_owner", None),
        };
    }
}

fn push_not_mentions(out: &mut String, entry: Option<u32>, max: u32) -> fmt::Result {
    out.push_str(r#"{"field":"mentions","message":""#);
    if let Some(entry) = entry {
        write!(out, "[{entry}] is no user's id: ")?;
    }
    write!(out, "an array of at most {max} users' ids, ")?;
    write!(out, "each a string of 1 to {NAME_BYTES_MAX} bytes without control characters")?;
    out.push_str(r#"","reason":"invalid"}"#);
    Ok(())
}

fn push_reason(out: &mut String, reason: &str, retry_ms: Option<u32>) -> fmt::Result {
    match retry_ms {
        None => write!(out, r#"{{"reason":"{reason}"}}"#),
        Some(retry_ms) => write!(out, r#"{{"reason":"{reason}","retry_ms":{retry_ms}}}"#),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json;

    #[test]
    fn what_a_log_does_not_take_is_counted_by_reason() {
        let mut metrics = Metrics::default();
        for refusal in [Refusal::Storage, Refusal::Unavailable, Refusal::Unconfirmed] {
            refusal.count(&mut metrics);
        }
        let counted =
            [metrics.refused_storage, metrics.refused_unavailable, metrics.refused_unconfirmed];
        assert_eq!(counted, [1; 3]);
    }

    #[test]
    fn mentions_that_are_none_are_told_by_their_entry_with_what_is_allowed() {
        assert_eq!(
            Refusal::NotMentions { entry: Some(3), max: 50 }.response(),
            r#"{"field":"mentions","message":"[3] is no user's id: an array of at most 50 users' ids, each a string of 1 to 128 bytes without control characters","reason":"invalid"}"#
        );
        let refused = Refusal::NotMentions { entry: None, max: 50 }.response();
        assert!(refused.contains(r#""message":"an array of at most 50 users' ids"#), "{refused}");
    }

    #[test]
    fn refusals_are_json_with_a_reason() {
        for refusal in [
            Refusal::Unmatched,
            Refusal::Invalid { field: "body", message: "a string" },
            Refusal::NotMentions { entry: None, max: 50 },
            Refusal::NotMentions { entry: Some(3), max: 50 },
            Refusal::TooLarge { field: "body", max_bytes: 1 },
            Refusal::RateLimited { limit: "limits.publish_per_s", retry: RetryMs(5) },
            Refusal::Busy,
            Refusal::NoMemory,
            Refusal::Storage,
            Refusal::Unavailable,
            Refusal::Unconfirmed,
            Refusal::Gone,
            Refusal::NotYours,
            Refusal::TooLate,
            Refusal::TooMany { limit: "limits.mentions", max: 50 },
            Refusal::Muted { until_ms: 5 },
            Refusal::Banned { until_ms: 0 },
            Refusal::SlowMode { retry_ms: 5 },
            Refusal::Rejected { text: "no links" },
            Refusal::LastOwner,
        ] {
            let response = refusal.response();
            assert!(json::Checker::default().check(&response).is_ok());
            assert!(json::field(&response, "reason").is_some());
        }
    }
}

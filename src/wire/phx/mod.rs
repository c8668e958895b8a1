//! Phoenix Channels messages: five fields, in the encodings that clients speak.
//!
//! [`Decoder`] turns a client's message into a [`Message`] of borrowed text; [`Serializer`] appends
//! a server's message to a buffer. The refs and the payload stay the text they came as, since they
//! are echoed and passed on as they are. Source: `Phoenix.Socket.V1.JSONSerializer`,
//! `Phoenix.Socket.V2.JSONSerializer`.
//!
//! JSON that is well-formed and more than is taken does not cost the connection: such a message has
//! all but its payload, and is answered ([`Unfit`]).
//!
//! Deliberately absent: what a topic or an event means.

mod decode;
mod encode;
pub mod poll;

use std::borrow::Cow;

use super::json::Excess;
pub use decode::Decoder;
pub use encode::{Outgoing, Serializer};

/// The bytes are not a Phoenix message: malformed JSON, no array of five, a truncated binary
/// header. The socket closes with 1011.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Why a payload is not taken, though the message is one and can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// A field has what no JSON here may have.
    Json {
        /// Its name in version 1.
        field: &'static str,
        /// What it has.
        excess: Excess,
    },
    /// A ref has more than [`REF_BYTES_MAX`](crate::limits::REF_BYTES_MAX).
    RefTooLong {
        /// Which of the two.
        field: &'static str,
    },
}

impl Unfit {
    /// The field that is to blame.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Json { field, .. } | Self::RefTooLong { field } => field,
        }
    }

    /// What its client is told of it: total, so a new variant does not compile until it has one.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Json { excess: Excess::Depth, .. } => "nested deeper than 128",
            Self::Json { excess: Excess::LoneSurrogate, .. } => "half of a surrogate pair",
            Self::Json { excess: Excess::Number, .. } => {
                "a number beyond 64 bits of floating point"
            }
            Self::RefTooLong { .. } => "longer than 128 bytes",
        }
    }
}

/// A client's message. Everything borrows from the frame it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The ref of the join that this push belongs to, as JSON; `null` if there is none.
    pub join_ref: Cow<'a, str>,
    /// What an answer must carry, as JSON.
    pub reference: Cow<'a, str>,
    /// The topic as JSON, for answers that echo it; mostly a string.
    pub topic_json: Cow<'a, str>,
    /// The event as JSON.
    pub event_json: Cow<'a, str>,
    /// What was sent, or why it is not taken. The other fields are well-formed in any case; one of
    /// them may be what is to blame.
    pub payload: Result<Payload<'a>, Unfit>,
}

/// A payload as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// Checked JSON of any type.
    Json(&'a str),
    /// The data of a binary push.
    Binary(&'a [u8]),
}

impl Payload<'_> {
    /// How long it is, in bytes.
    #[must_use]
    pub const fn bytes_count(&self) -> usize {
        match self {
            Self::Json(text) => text.len(),
            Self::Binary(data) => data.len(),
        }
    }
}

impl Message<'_> {
    /// The topic, if it is a string.
    #[must_use]
    pub fn topic(&self) -> Option<Cow<'_, str>> {
        super::json::string(&self.topic_json)
    }

    /// The event, if it is a string.
    #[must_use]
    pub fn event(&self) -> Option<Cow<'_, str>> {
        super::json::string(&self.event_json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{JSON_DEPTH_MAX, REF_BYTES_MAX};

    #[test]
    fn what_a_client_is_told_names_the_limits_as_they_are() {
        let deep = Unfit::Json { field: "payload", excess: Excess::Depth };
        assert_eq!(deep.message(), format!("nested deeper than {JSON_DEPTH_MAX}"));
        let long = Unfit::RefTooLong { field: "ref" };
        assert_eq!(long.message(), format!("longer than {REF_BYTES_MAX} bytes"));
        assert_eq!((deep.field(), long.field()), ("payload", "ref"));
    }
}

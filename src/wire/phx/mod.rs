//! Phoenix Channels messages: five fields, in the encodings that clients speak.
//!
//! [`Decoder`] turns a client's message into a [`Message`] of borrowed text; [`Serializer`] appends
//! a server's message to a buffer. The refs and the payload stay the text they came as, since they
//! are echoed and passed on as they are. Source: `Phoenix.Socket.V1.JSONSerializer`,
//! `Phoenix.Socket.V2.JSONSerializer`.
//!
//! Deliberately absent: what a topic or an event means.

mod decode;
mod encode;
pub mod poll;

use std::borrow::Cow;

pub use decode::Decoder;
pub use encode::{Outgoing, Serializer};

/// The bytes are not a Phoenix message: malformed JSON, no array of five, a truncated binary
/// header. The socket closes with 1011.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

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
    /// What was sent.
    pub payload: Payload<'a>,
}

/// A payload as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// Checked JSON of any type.
    Json(&'a str),
    /// The data of a binary push.
    Binary(&'a [u8]),
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

//! What a worker reads and writes in payloads: pages of messages, their places, fields of its own.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::client::stamp::{self, Found};
use crate::order::{Entry, Message};
use crate::witness::{Changed, Told, body_of};

/// What a join's answer may say of the room's history.
#[derive(Deserialize)]
pub(super) struct Page<'a> {
    #[serde(borrow, default)]
    epoch: Option<Cow<'a, str>>,
    #[serde(default)]
    offset: u64,
    /// How many changes of messages the room has had.
    #[serde(default)]
    pub(super) change: u64,
    /// Whether it brings all that was missed.
    #[serde(default)]
    pub(super) recovered: bool,
    /// The messages, oldest first.
    #[serde(borrow, default)]
    pub(super) messages: Vec<&'a RawValue>,
    /// What else has changed since, as it is by now.
    #[serde(borrow, default)]
    pub(super) changed: Vec<&'a RawValue>,
}

impl Page<'_> {
    /// Where in the room's order the member comes in, if the server tells.
    pub(super) fn entry(&self) -> Option<Entry<'_>> {
        let epoch = self.epoch.as_deref()?;
        Some(Entry { epoch, offset: self.offset })
    }
}

/// A message of a page of a room, as it is told in a run.
pub(crate) fn told(run: u16, room: u32, message: &RawValue) -> Told<'_> {
    let text = message.get();
    // Few have one.
    let has_changed = memchr::memmem::find(text.as_bytes(), b"\"change\":").is_some();
    let changed = has_changed.then(|| Changed::read(text, run)).flatten();
    let is_deleted = changed.as_ref().is_some_and(Changed::is_deleted);
    let message = match stamp::find(text.as_bytes(), run) {
        _ if is_deleted => Message::Deleted,
        Found::Message(stamp) if stamp.room == room => {
            Message::Ours { rank: stamp.rank, seq: stamp.seq }
        }
        Found::Message(_) | Found::Corrupt => Message::Unreadable,
        Found::Nothing => Message::Foreign,
    };
    let (epoch, offset, body) = (epoch_of(text), offset_of(text), body_of(text, run));
    Told { epoch, offset, message, body, changed }
}

/// Adds a field to an object in JSON; a text that is none stays as it is.
pub(super) fn with_field(object: &mut String, name: &str, value: Value) {
    if let Ok(Value::Object(mut fields)) = serde_json::from_str(object) {
        fields.insert(name.to_owned(), value);
        *object = Value::Object(fields).to_string();
    }
}

/// The epoch in which a message was said: its `id` is `EPOCH-OFFSET`, where the server has ids.
pub(super) fn epoch_of(payload: &str) -> Option<&str> {
    let start = memchr::memmem::find(payload.as_bytes(), b"\"id\":\"")? + 6;
    let id = payload[start..].split('"').next()?;
    id.rsplit_once('-').map(|(epoch, _)| epoch)
}

/// The `offset` of a message, where the server numbers them.
pub(super) fn offset_of(payload: &str) -> Option<u64> {
    let start = memchr::memmem::find(payload.as_bytes(), b"\"offset\":")? + 9;
    let digits = payload[start..].split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

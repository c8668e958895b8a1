//! The lines of an export: one JSON object each, its `kind` first. See `docs/moving.md`, which
//! names the fields; they stay what they are.
//!
//! ```text
//!   chinwag            once, at the beginning: the number of the format
//!   room               each room: its name, where it stands
//!     era              its epochs, the oldest first
//!     standing         how users stand in it, by their ids
//!     audit            its audit trail, in order
//!     message          what was said in it, in order
//!   end                how many rooms and messages there are
//! ```
//!
//! Deliberately absent: SQL, and whether lines fit each other (`import`).

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The number of this format.
pub(super) const FORMAT: u32 = 1;

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Chinwag,
    Room,
    Era,
    Standing,
    Audit,
    Message,
    End,
}

/// What is common to all lines.
#[derive(Deserialize)]
pub(super) struct Any {
    pub(super) kind: Kind,
}

/// The first line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeadLine {
    pub(super) kind: Kind,
    pub(super) format: u32,
}

/// A room.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoomLine<'a> {
    pub(super) kind: Kind,
    #[serde(borrow)]
    pub(super) room: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) title: Cow<'a, str>,
    pub(super) founded: i64,
    pub(super) created_at: i64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) settings: Option<Cow<'a, str>>,
    /// Messages up to this offset have been let go of.
    pub(super) floor: u64,
    pub(super) last: u64,
    pub(super) last_change: u64,
    pub(super) changed_floor: u64,
}

/// An epoch of a room.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EraLine<'a> {
    pub(super) kind: Kind,
    #[serde(borrow)]
    pub(super) room: Cow<'a, str>,
    pub(super) first: u64,
    pub(super) first_change: u64,
    /// As clients see it: 16 digits.
    #[serde(borrow)]
    pub(super) epoch: Cow<'a, str>,
    pub(super) life: i64,
}

/// How a user stands in a room.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StandingLine<'a> {
    pub(super) kind: Kind,
    #[serde(borrow)]
    pub(super) room: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) user: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<Cow<'a, str>>,
    /// Unix time, in milliseconds; 0 is for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) muted_until: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) banned_until: Option<u64>,
}

/// A line of a room's audit trail: what was done to it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrailLine<'a> {
    pub(super) kind: Kind,
    #[serde(borrow)]
    pub(super) room: Cow<'a, str>,
    pub(super) n: u64,
    /// Unix time, in milliseconds.
    pub(super) at: i64,
    /// The event that asked for it.
    #[serde(borrow)]
    pub(super) act: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) by: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) offset: Option<u64>,
    /// Why: a string.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<&'a RawValue>,
    /// What was asked for: an object.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) set: Option<&'a RawValue>,
}

/// An emoji, and who has reacted with it.
pub(super) type Reaction<'a> = (Cow<'a, str>, Vec<Cow<'a, str>>);

/// A message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageLine<'a> {
    pub(super) kind: Kind,
    #[serde(borrow)]
    pub(super) room: Cow<'a, str>,
    pub(super) offset: u64,
    /// As clients see it.
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    /// Unix time, in milliseconds.
    pub(super) at: i64,
    #[serde(borrow)]
    pub(super) user: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    /// Byte for byte as it was judged and is served; not there once it is deleted.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) body: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reply_to: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) thread: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) edited_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) deleted_at: Option<u64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) deleted_by: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pinned_at: Option<u64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) pinned_by: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) mentions: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<&'a RawValue>,
    /// Whether there is more to come.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) stream: bool,
    /// Who has reacted to it: each emoji with its users, in the order in which they came.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) reactions: Option<Vec<Reaction<'a>>>,
    /// Of earlier versions, which had nothing to put there: not taken over.
    #[serde(default, rename = "extra", skip_serializing)]
    pub(super) _extra: Option<IgnoredAny>,
    /// The number of its latest change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) change: Option<u64>,
}

/// The last line: without it the export was cut off.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndLine {
    pub(super) kind: Kind,
    pub(super) rooms: u64,
    pub(super) messages: u64,
}

//! A room whole, as one keeper hands it to another: from the store of one machine to an engine.
//!
//! Deliberately absent: who keeps it, and rooms that are open (`kept`).

use crate::auth::level::Standing;
use crate::link::audit::LineText;
use crate::link::log::Marks;
use crate::link::said::MessageText;

/// A room. What came before its messages and lines has been let go of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WholeRoom {
    /// Its topic.
    pub topic: Box<str>,
    /// Its title, if it was made on purpose.
    pub founded: Option<Box<str>>,
    /// Its settings, if some were decided: a JSON text.
    pub settings: Option<Box<str>>,
    /// How users stand in it, by their ids.
    pub standings: Vec<(Box<str>, Standing)>,
    /// Its epochs, the latest first, each with up to where what was said in it is still there.
    pub epochs: Vec<(u64, Marks)>,
    /// The last offset and the last change.
    pub top: Marks,
    /// Changes up to this one may be missing.
    pub changed_floor: u64,
    /// The last lines of its audit trail, in order, each with when it was written, in milliseconds
    /// of Unix time.
    pub lines: Vec<(u64, LineText)>,
    /// Its last messages, in order. Damaged ones are missing.
    pub messages: Vec<WholeMessage>,
    /// How many messages there are before those, which are not handed on.
    pub left_behind: u64,
}

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WholeMessage {
    /// Its offset.
    pub offset: u64,
    /// The epoch in which it was said.
    pub epoch: u64,
    /// As it stands.
    pub message: MessageText,
}

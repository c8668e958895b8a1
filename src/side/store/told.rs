//! What is told of a message with it, whoever reads it: how often it was answered, and in which
//! epoch it was said, if its room may not remember that.
//!
//! Deliberately absent: what is in its row.
//!
//! Called by: `side::store::reader`, `side::store::views`.

use rusqlite::Connection;

use super::epochs::Epochs;
use super::error::StoreError;
use super::replies::ReplyCounter;
use super::row::Message;

/// What is noted by, in one look at a room. See the module.
pub(super) struct Told<'look> {
    replies: ReplyCounter<'look>,
    epochs: Epochs<'look>,
}

impl<'look> Told<'look> {
    /// Of a room.
    ///
    /// # Errors
    ///
    /// Those of SQLite.
    pub(super) fn of(look: &'look Connection, id: u32) -> Result<Self, StoreError> {
        Ok(Self { replies: ReplyCounter::of(look, id)?, epochs: Epochs::of(look, id)? })
    }

    /// Notes it of a message.
    ///
    /// # Errors
    ///
    /// Those of SQLite, and if an epoch is not what was written.
    pub(super) fn note(&self, message: &mut Message<'_>) -> Result<(), StoreError> {
        self.replies.note(message)?;
        self.epochs.note(message)
    }

    /// The same, for a page that may end before a message if it has something: false, if it must,
    /// since there is no time left.
    ///
    /// # Errors
    ///
    /// Those of [`Told::note`], if it may not end.
    pub(super) fn note_in_time(
        &self,
        message: &mut Message<'_>,
        may_end: bool,
    ) -> Result<bool, StoreError> {
        match self.note(message) {
            Err(error) if may_end && error.is_late() => Ok(false),
            noted => noted.map(|()| true),
        }
    }
}

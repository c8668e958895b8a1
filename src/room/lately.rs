//! What a user has said of late, as far as memory has it: a purge deletes that.
//!
//! Invariant: one look through it is bounded, so a room with a long memory is gone through in
//! several.
//!
//! Deliberately absent: what only a log has (`rooms::purging`).
//!
//! Called by: `rooms`. Calls: `propose`, the journal.

use crate::limits::{MOVED_BYTES_PER_TURN, PURGE_LOOKS_MAX, PURGED_MESSAGES_MAX};
use crate::link::said::MessageText;
use crate::room::Room;

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SaidBy<'a> {
    /// Whose messages.
    pub(crate) user: &'a str,
    /// Those that were said from then on, in milliseconds of Unix time.
    pub(crate) since_ms: u64,
    /// Those before this offset.
    pub(crate) before: u64,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct SaidOfLate {
    /// The messages, the newest first, each with its offset.
    pub(crate) found: Vec<(u64, MessageText)>,
    /// Before which offset there may be more, in memory or in the log; none, if that is all.
    pub(crate) before: Option<u64>,
    /// How many messages were looked at.
    pub(crate) looks: usize,
}

impl Room {
    /// The latest messages in memory that a user has said since a time, and that are not deleted:
    /// at most [`PURGED_MESSAGES_MAX`], among at most [`PURGE_LOOKS_MAX`], and no more than a turn
    /// may move. `reaches_back` is whether its log has others.
    pub(crate) fn said_by(&self, by: SaidBy<'_>, reaches_back: bool) -> SaidOfLate {
        let (first, last) = (self.history().first(), self.history().last());
        let mut said = SaidOfLate::default();
        let mut before = by.before.min(last + 1);
        let mut moved_bytes = 0;
        while before > first {
            let is_all_that_may_go =
                said.found.len() == PURGED_MESSAGES_MAX || moved_bytes > MOVED_BYTES_PER_TURN;
            if is_all_that_may_go || said.looks == PURGE_LOOKS_MAX {
                return SaidOfLate { before: Some(before), ..said };
            }
            let offset = before - 1;
            said.looks += 1;
            if let Some(message) = self.message(offset) {
                if message.at_ms < by.since_ms {
                    return said;
                }
                if *message.said.user == *by.user && message.fate().deleted.is_none() {
                    moved_bytes += self.history().moved_bytes(offset);
                    said.found.push((offset, message));
                }
            }
            before = offset;
        }
        let has_more = reaches_back && before > self.journal().log_floor().offset + 1;
        SaidOfLate { before: has_more.then_some(before), ..said }
    }
}

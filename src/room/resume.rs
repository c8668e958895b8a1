//! Decides whether a client that comes back can be told exactly what it missed: one pure function,
//! for all logs.
//!
//! A room may lose its last messages though clients have seen them (an unclean stop, a failover).
//! Then its epoch ends, and the room goes on in a new one. Its counters go on from what is kept,
//! and its [`Lineage`] remembers up to where each older epoch is still true. So a cursor from
//! before the loss is served exactly, and one from the lost part never.
//!
//! Invariants: a lineage never claims more than is kept, through any number of turns; the epoch
//! that ended last is first.
//!
//! Deliberately absent: the answer. `history` has the messages, and `journal` their changes.
//!
//! Called by: `journal`. Calls: nothing.

use crate::limits::LINEAGE_EPOCHS_MAX;
use crate::link::ids::Cursor;
use crate::link::log::Marks;
#[cfg(test)]
use crate::room::planted::{self, Planted};

/// The epochs before the present one, and up to where each is still true. Empty in nearly all
/// rooms.
///
/// Cursors are judged by the last [`LINEAGE_EPOCHS_MAX`]. Those before them are here as long as a
/// message in memory was said in them, to name that: no more than there are messages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lineage {
    /// The latest first.
    ended: Vec<(u64, Marks)>,
    /// The first one of all, if it may have ended.
    origin: Option<u64>,
}

impl Lineage {
    /// The lineage of a room that has seen no turn.
    pub(crate) const NONE: Self = Self { ended: Vec::new(), origin: None };

    /// A lineage that a log has kept, the latest epoch first, of a room that began in `origin`.
    pub(crate) fn new(origin: u64, ended: impl IntoIterator<Item = (u64, Marks)>) -> Self {
        Self { ended: ended.into_iter().collect(), origin: Some(origin) }
    }

    /// Notes that `epoch` has ended, and that all up to `kept` is still there. Messages from
    /// `in_memory` on are to be named.
    pub(crate) fn turn(&mut self, epoch: u64, kept: Marks, in_memory: u64) {
        self.origin.get_or_insert(epoch);
        // An earlier turn may have kept what this one loses.
        for (_, earlier) in &mut self.ended {
            *earlier = earlier.min(kept);
        }
        self.ended.insert(0, (epoch, kept));
        // Of those that end at one offset only the first one has messages.
        let mut behind = self.ended.split_off(self.ended.len().min(LINEAGE_EPOCHS_MAX));
        #[cfg(test)]
        behind.retain(|_| !planted::is(Planted::NamesForgotten));
        behind.retain(|(_, kept)| kept.offset >= in_memory);
        behind.reverse();
        behind.dedup_by_key(|(_, kept)| kept.offset);
        self.ended.extend(behind.into_iter().rev());
    }

    /// The memory that it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.ended.len() * size_of::<(u64, Marks)>()
    }

    /// The epoch in which a message was said, if it was not the present one.
    pub(crate) fn epoch_of(&self, offset: u64) -> Option<u64> {
        let said = self.ended.iter().rev().find(|(_, kept)| offset <= kept.offset);
        said.map(|(epoch, _)| *epoch)
    }

    /// The epoch that the room began in, if it was not the present one.
    pub(crate) fn origin(&self) -> Option<u64> {
        self.origin
    }

    /// Whether an epoch is one of it, for invites: a cursor of it need not be judged.
    pub(crate) fn has(&self, epoch: u64) -> bool {
        self.origin == Some(epoch) || self.ended.iter().any(|(ended, _)| *ended == epoch)
    }

    /// Up to where an epoch is still true, if a cursor of it is judged.
    fn kept_of(&self, epoch: u64) -> Option<Marks> {
        #[cfg(test)]
        if planted::is(Planted::EndedUnjudged) {
            return None;
        }
        let mut judged = self.ended.iter().take(LINEAGE_EPOCHS_MAX);
        judged.find(|(ended, _)| *ended == epoch).map(|(_, kept)| *kept)
    }
}

/// The state of a room that decides a recovery.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbering<'a> {
    /// The present epoch.
    pub(crate) epoch: u64,
    /// The room's counters.
    pub(crate) top: Marks,
    /// The offset of the oldest kept message; the next offset if none is kept.
    pub(crate) first: u64,
    /// Every change above it is remembered.
    pub(crate) floor: u64,
    /// The epochs before it.
    pub(crate) lineage: &'a Lineage,
}

/// The counters that a client with this cursor has, if it can be told exactly what it missed: all
/// messages and changes after them. `bytes` gives the length of those, and is called last.
///
/// `docs/internals.md` lists the rules. A cursor without `change` is of a client that knows no
/// changes: it is judged by its offset alone, and told none.
pub(crate) fn resume(
    numbering: Numbering<'_>,
    cursor: Cursor,
    bytes_max: usize,
    bytes: impl FnOnce(Marks) -> usize,
) -> Option<Marks> {
    let Numbering { epoch, top, first, floor, lineage } = numbering;
    let has = Marks { offset: cursor.offset, change: cursor.change.unwrap_or(top.change) };
    // It has been told nothing that was lost since. Both counters are compared, since one may be
    //    ahead while the other is behind.
    let kept = if cursor.epoch == epoch { top } else { lineage.kept_of(cursor.epoch)? };
    let judged = Marks { change: cursor.change.unwrap_or_default(), ..has };
    if !judged.is_within(kept) {
        return None;
    }
    // All that it missed is still kept.
    if has.offset + 1 < first || has.change < floor {
        return None;
    }
    // It fits into one answer: a part of it must not look like all.
    (bytes(has) <= bytes_max).then_some(has)
}

#[cfg(test)]
#[path = "resume_tests.rs"]
mod tests;

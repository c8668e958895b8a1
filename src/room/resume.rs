//! Whether a client that comes back can be told exactly what it missed: one pure function, for all
//! logs.
//!
//! A room may lose the end of what was seen (an unclean stop, a failover). Then its epoch ends; the
//! room goes on in a new one, its counters go on from what is there, and its [`Lineage`] remembers
//! up to where each older epoch is still true. So a cursor from before the loss is served exactly,
//! and one from the lost end never.
//!
//! Invariants: a lineage never says more than is there, through any number of turns; the epoch that
//! ended last is first.
//!
//! Deliberately absent: what is told. `history` has the messages, and the list of changes comes
//! with the verbs that make them.
//!
//! Called by: `journal`. Calls: nothing.

use crate::limits::LINEAGE_EPOCHS_MAX;
use crate::link::ids::Cursor;
use crate::link::log::Marks;

/// The epochs before the present one, and up to where each is still true. Empty in nearly all
/// rooms.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lineage(Vec<(u64, Marks)>);

impl Lineage {
    /// That of a room that has seen no turn.
    pub(crate) const NONE: Self = Self(Vec::new());

    /// One that a log has kept, the latest epoch first.
    pub(crate) fn new(epochs: impl IntoIterator<Item = (u64, Marks)>) -> Self {
        Self(epochs.into_iter().take(LINEAGE_EPOCHS_MAX).collect())
    }

    /// Notes that `epoch` has ended, and that all up to `kept` is still there.
    pub(crate) fn turn(&mut self, epoch: u64, kept: Marks) {
        // What is lost now may have been kept by an earlier turn.
        for (_, earlier) in &mut self.0 {
            *earlier = earlier.min(kept);
        }
        self.0.insert(0, (epoch, kept));
        self.0.truncate(LINEAGE_EPOCHS_MAX);
    }

    /// The epoch in which a message was said, if that was before the present one.
    pub(crate) fn epoch_of(&self, offset: u64) -> Option<u64> {
        let said = self.0.iter().rev().find(|(_, kept)| offset <= kept.offset);
        said.map(|(epoch, _)| *epoch)
    }

    fn kept_of(&self, epoch: u64) -> Option<Marks> {
        self.0.iter().find(|(old, _)| *old == epoch).map(|(_, kept)| *kept)
    }
}

/// What decides a recovery.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing<'a> {
    /// The present epoch.
    pub(crate) epoch: u64,
    /// Where the room stands.
    pub(crate) top: Marks,
    /// The oldest offset that is kept; the next one if there is none.
    pub(crate) first: u64,
    /// Every change above it is remembered.
    pub(crate) floor: u64,
    /// The epochs before.
    pub(crate) lineage: &'a Lineage,
}

/// What a client has that came back with this cursor, if it can be told exactly what it missed: all
/// messages and all changes behind that. `bytes` says how many that would be, and is asked last.
///
/// The rules are those of the design, "Two counters", 1 to 4. A cursor without `change` is of a
/// client that knows of no changes: it is judged by its offset alone, and told none.
pub(crate) fn resume(
    standing: Standing<'_>,
    cursor: Cursor,
    bytes_max: usize,
    bytes: impl FnOnce(Marks) -> usize,
) -> Option<Marks> {
    let Standing { epoch, top, first, floor, lineage } = standing;
    let has = Marks { offset: cursor.offset, change: cursor.change.unwrap_or(top.change) };
    // 1. It was told nothing that is not so any more: both numbers, for one may be ahead while the
    // other is behind.
    let kept = if cursor.epoch == epoch { top } else { lineage.kept_of(cursor.epoch)? };
    let judged = Marks { change: cursor.change.unwrap_or_default(), ..has };
    if !judged.is_within(kept) {
        return None;
    }
    // 2. and 3. All that it missed is still there.
    if has.offset + 1 < first || has.change < floor {
        return None;
    }
    // 4. And fits into one answer: a part of it must not look whole.
    (bytes(has) <= bytes_max).then_some(has)
}

#[cfg(test)]
#[path = "resume_tests.rs"]
mod tests;

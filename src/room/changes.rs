//! Which messages of a room were changed, each under the number of its latest change: what a client
//! is told that comes back.
//!
//! ```text
//!            floor            top
//!   change ────┼── 18 19 22 ───┤      every change above the floor is remembered,
//!   offset         12  7 40           each message once
//! ```
//!
//! Invariants:
//!
//! 1. each message is there once, under its latest change; the two indices agree;
//! 2. all changes above `floor` are there, so a client that has all up to it can be told the rest;
//! 3. what a message is that is no longer in memory cannot be told from here, unless it was
//!    deleted: then its offset is enough where no log has it, and it stays.
//!
//! Deliberately absent: the messages, which are in the history.
//!
//! Called by: `journal`. Calls: nothing.

use std::collections::BTreeMap;

#[cfg(test)]
use crate::room::planted::{self, Planted};

/// What is remembered of a changed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Latest {
    /// The number of its latest change.
    pub(crate) change: u64,
    /// Whether it was deleted.
    pub(crate) is_deleted: bool,
}

/// The changed messages of a room. See the module.
#[derive(Debug, Default)]
pub(super) struct Changes {
    by_change: BTreeMap<u64, u64>,
    by_offset: BTreeMap<u64, Latest>,
    floor: u64,
}

impl Changes {
    /// Of a room of which changes up to this one are not remembered.
    pub(super) fn above(floor: u64) -> Self {
        Self { floor, ..Self::default() }
    }

    /// Every change above it is remembered.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// What is remembered of a message.
    pub(super) fn latest(&self, offset: u64) -> Option<Latest> {
        self.by_offset.get(&offset).copied()
    }

    /// How many messages are remembered.
    pub(super) fn len(&self) -> usize {
        self.by_change.len()
    }

    /// Notes a change, which must be the latest one. At most `max` messages are remembered.
    pub(super) fn note(&mut self, offset: u64, latest: Latest, max: usize) {
        if let Some(before) = self.by_offset.insert(offset, latest) {
            self.by_change.remove(&before.change);
        }
        self.by_change.insert(latest.change, offset);
        while self.by_change.len() > max {
            let Some((change, offset)) = self.by_change.pop_first() else { break };
            self.by_offset.remove(&offset);
            self.floor = self.floor.max(change);
        }
    }

    /// Notes that a message is no longer in memory.
    pub(super) fn let_go(&mut self, offset: u64) {
        let Some(Latest { change, is_deleted }) = self.by_offset.get(&offset).copied() else {
            return;
        };
        #[cfg(test)]
        let is_deleted = is_deleted && !planted::is(Planted::TombstoneForgotten);
        if is_deleted {
            return;
        }
        self.by_offset.remove(&offset);
        self.by_change.remove(&change);
        #[cfg(test)]
        if planted::is(Planted::FloorStays) || planted::is(Planted::TombstoneForgotten) {
            return;
        }
        self.floor = self.floor.max(change);
        // Who has all up to the floor needs none of those before it.
        while let Some(first) = self.by_change.first_entry().filter(|of| *of.key() <= self.floor) {
            self.by_offset.remove(&first.remove());
        }
    }

    /// Forgets the changes behind `kept`, which are lost. Returns up to which offset messages may
    /// have been changed by them.
    pub(super) fn turn(&mut self, kept: u64) -> Option<u64> {
        if kept < self.floor {
            // Which messages the lost changes were of is forgotten.
            *self = Self::above(kept);
            return Some(u64::MAX);
        }
        let lost = self.by_change.split_off(&(kept + 1)).into_values().max()?;
        // Of a message that had a change before the lost one, that is not remembered.
        *self = Self::above(kept);
        Some(lost)
    }

    /// The messages up to an offset that have changed behind a change, by offset.
    pub(super) fn behind(
        &self,
        change: u64,
        upto: u64,
    ) -> impl Iterator<Item = (u64, Latest)> + '_ {
        let all = self.by_offset.range(..=upto).map(|(offset, latest)| (*offset, *latest));
        all.filter(move |(_, latest)| latest.change > change)
    }

    /// Asserts that the indices agree. For tests: it looks at everything.
    pub(super) fn check(&self) {
        assert_eq!(self.by_change.len(), self.by_offset.len(), "each message is there once");
        for (change, offset) in &self.by_change {
            let latest = self.by_offset.get(offset);
            assert_eq!(
                latest.map(|latest| latest.change),
                Some(*change),
                "under its latest change"
            );
            assert!(*change > self.floor, "what is at or below the floor is forgotten");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latest(change: u64) -> Latest {
        Latest { change, is_deleted: false }
    }

    fn offsets(changes: &Changes, behind: u64) -> Vec<u64> {
        changes.check();
        changes.behind(behind, u64::MAX).map(|(offset, _)| offset).collect()
    }

    #[test]
    fn each_message_is_there_once_under_its_latest_change() {
        let mut changes = Changes::default();
        for (offset, change) in [(7, 1), (3, 2), (7, 3), (9, 4)] {
            changes.note(offset, latest(change), 10);
        }
        assert_eq!(offsets(&changes, 0), [3, 7, 9]);
        assert_eq!(offsets(&changes, 2), [7, 9]);
        assert_eq!(changes.behind(0, 7).count(), 2, "up to an offset");
        assert_eq!(changes.floor(), 0, "nothing is forgotten");
    }

    #[test]
    fn what_is_forgotten_raises_the_floor_and_a_deleted_message_is_not() {
        let mut changes = Changes::default();
        changes.note(1, latest(1), 3);
        changes.note(2, Latest { change: 2, is_deleted: true }, 3);
        changes.note(3, latest(3), 3);
        changes.let_go(1);
        changes.let_go(2);
        assert_eq!((changes.floor(), offsets(&changes, 1)), (1, vec![2, 3]));
        let mut others = Changes::default();
        others.note(7, latest(1), 3);
        others.note(1, latest(2), 3);
        others.let_go(1);
        assert_eq!((others.floor(), offsets(&others, 0)), (2, vec![]), "none below the floor");
        changes.note(4, latest(4), 3);
        changes.note(5, latest(5), 3);
        assert_eq!((changes.floor(), offsets(&changes, 2)), (2, vec![3, 4, 5]), "it is the oldest");
    }

    #[test]
    fn where_a_change_is_lost_none_before_it_can_be_told() {
        let mut changes = Changes::default();
        for (offset, change) in [(5, 1), (6, 2), (7, 3)] {
            changes.note(offset, latest(change), 10);
        }
        assert_eq!(changes.turn(3), None);
        assert_eq!((offsets(&changes, 0), changes.floor()), (vec![5, 6, 7], 0));
        assert_eq!(changes.turn(2), Some(7));
        assert_eq!((offsets(&changes, 0), changes.floor()), (vec![], 2));
        assert_eq!(changes.turn(2), None);
        assert_eq!(changes.turn(1), Some(u64::MAX), "of which message change 2 was is forgotten");
        assert_eq!(changes.floor(), 1);
    }
}

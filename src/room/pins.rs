//! Which messages of a room are pinned.
//!
//! Invariants:
//!
//! 1. all of them are here, in memory or not: a log says which they are when it opens the room;
//! 2. a turn takes back what it has lost: who pinned is noted until it is known to be kept.
//!
//! Deliberately absent: the messages, and how many there may be (`changing` in `rooms`).
//!
//! Called by: `journal`. Calls: nothing.

use std::collections::BTreeSet;
use std::ops::RangeBounds;

use crate::limits::PIN_MEMORY_BYTES;

/// The pinned messages of a room. See the module.
#[derive(Debug, Default)]
pub(super) struct Pins {
    offsets: BTreeSet<u64>,
    /// What may be lost yet, in order: by which change a message was pinned, or was so no more.
    unkept: Vec<(u64, u64)>,
}

impl Pins {
    /// Those that a log has, and what may be lost of that.
    pub(super) fn opened(offsets: &[u64], unkept: &[(u64, u64)]) -> Self {
        Self { offsets: offsets.iter().copied().collect(), unkept: unkept.to_vec() }
    }

    /// Those in a range of offsets, ascending.
    pub(super) fn range(
        &self,
        range: impl RangeBounds<u64>,
    ) -> impl DoubleEndedIterator<Item = u64> {
        self.offsets.range(range).copied()
    }

    /// What they take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        (self.offsets.len() + self.unkept.len()) * PIN_MEMORY_BYTES
    }

    /// Notes what a message is after a change. Changes up to `kept` cannot be lost; `None`: none
    /// can.
    pub(super) fn note(&mut self, offset: u64, change: u64, is_pinned: bool, kept: Option<u64>) {
        let kept = kept.unwrap_or(u64::MAX);
        self.unkept.retain(|(of, _)| *of > kept);
        let is_new =
            if is_pinned { self.offsets.insert(offset) } else { self.offsets.remove(&offset) };
        if is_new && change > kept {
            self.unkept.push((change, offset));
        }
    }

    /// Takes back all changes behind `kept`.
    pub(super) fn turn(&mut self, kept: u64) {
        while let Some((_, offset)) = self.unkept.pop_if(|(change, _)| *change > kept) {
            if !self.offsets.remove(&offset) {
                self.offsets.insert(offset);
            }
        }
    }

    /// Forgets those before `first`, which are no longer kept.
    pub(super) fn let_go(&mut self, first: u64) {
        if self.offsets.first().is_some_and(|offset| *offset < first) {
            self.offsets = self.offsets.split_off(&first);
        }
        self.unkept.retain(|(_, offset)| *offset >= first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pins: &Pins, expected: &[u64]) {
        assert!(pins.range(..).eq(expected.iter().copied()), "{pins:?}");
    }

    #[test]
    fn a_message_is_pinned_once_and_until_it_is_so_no_more() {
        let mut pins = Pins::opened(&[3, 9], &[]);
        for (change, (offset, is_pinned)) in
            (1..).zip([(7, true), (7, true), (3, false), (4, false)])
        {
            pins.note(offset, change, is_pinned, None);
        }
        check(&pins, &[7, 9]);
        assert!(pins.range(8..).eq([9]) && pins.range(..=7).eq([7]));
        assert_eq!(pins.bytes(), 2 * PIN_MEMORY_BYTES, "what is kept is not remembered");
        pins.let_go(8);
        check(&pins, &[9]);
    }

    #[test]
    fn a_turn_takes_back_what_is_lost_and_no_more() {
        let mut pins = Pins::opened(&[3], &[]);
        let changes = [(1, 5, true), (2, 3, false), (3, 5, false), (4, 5, true), (5, 8, true)];
        let noted = |pins: &mut Pins, kept| {
            for (change, offset, is_pinned) in changes {
                pins.note(offset, change, is_pinned, Some(kept));
            }
        };
        for (kept, expected) in
            [(5, &[5, 8][..]), (4, &[5]), (3, &[]), (2, &[5]), (1, &[3, 5]), (0, &[3])]
        {
            let mut pins = Pins::opened(&[3], &[]);
            noted(&mut pins, 0);
            pins.turn(kept);
            check(&pins, expected);
        }
        noted(&mut pins, 4);
        assert_eq!(pins.unkept, [(5, 8)]);
        pins.let_go(9);
        pins.turn(4);
        check(&pins, &[]);
        let mut opened = Pins::opened(&[3, 5], &[(7, 5), (8, 4)]);
        opened.turn(7);
        check(&opened, &[3, 4, 5]);
        opened.turn(6);
        check(&opened, &[3, 4]);
    }
}

//! The keys that members gave their messages, each with the receipt of its message. A message that
//! is said again with its key is answered with that, and not kept twice.
//!
//! The latest [`KEYS_PER_ROOM_MAX`] of a room are remembered, whether their messages are kept or
//! not.
//!
//! Called by: `history`. Calls: nothing.

use std::collections::{HashMap, VecDeque};

use crate::limits::KEYS_PER_ROOM_MAX;
use crate::link::ids::Receipt;

/// A user and the key it gave a message, as 128 bits of a randomly keyed hash.
///
/// Two different ones would have to agree in all bits to be taken for one; nobody outside can aim
/// at that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyHash(pub [u64; 2]);

/// The latest keys of a room.
#[derive(Debug, Default)]
pub(super) struct Keys {
    receipts: HashMap<KeyHash, Receipt, ahash::RandomState>,
    order: VecDeque<KeyHash>,
}

impl Keys {
    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// The receipt of the message that a key was used for, if it is remembered.
    pub(super) fn receipt(&self, key: KeyHash) -> Option<Receipt> {
        self.receipts.get(&key).copied()
    }

    /// The offset of the oldest one.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.order.front().and_then(|key| self.receipt(*key)).map(|receipt| receipt.offset)
    }

    /// Remembers a key, in place of the oldest if there are as many as may be.
    pub(super) fn remember(&mut self, key: KeyHash, receipt: Receipt) {
        if self.order.len() == KEYS_PER_ROOM_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.receipts.remove(&oldest);
        }
        if self.receipts.insert(key, receipt).is_none() {
            self.order.push_back(key);
        }
    }

    /// Forgets the keys of messages that are lost: they may be said again.
    pub(super) fn forget_behind(&mut self, last: u64) {
        self.receipts.retain(|_, receipt| receipt.offset <= last);
        self.order.retain(|key| self.receipts.contains_key(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_remembered_until_a_thousand_others_came() {
        let mut keys = Keys::default();
        for offset in 1..=KEYS_PER_ROOM_MAX as u64 + 1 {
            keys.remember(KeyHash([offset, 0]), Receipt { offset, at_ms: offset });
        }
        assert_eq!(keys.receipt(KeyHash([1, 0])), None);
        assert_eq!(keys.receipt(KeyHash([2, 0])), Some(Receipt { offset: 2, at_ms: 2 }));
        assert_eq!(keys.len(), KEYS_PER_ROOM_MAX);
    }

    #[test]
    fn the_keys_of_lost_messages_are_forgotten() {
        let mut keys = Keys::default();
        for offset in 1..=3 {
            keys.remember(KeyHash([offset, 0]), Receipt { offset, at_ms: 0 });
        }
        keys.forget_behind(2);
        let has = |offset| keys.receipt(KeyHash([offset, 0])).is_some();
        assert_eq!([1, 2, 3].map(has), [true, true, false]);
        assert_eq!(keys.len(), 2);
    }
}

//! A set of small numbers, one bit each.
//!
//! Invariant: the last word is not 0. The memory therefore follows the highest member, and two sets
//! are equal when their words are.
//!
//! Deliberately absent: a length of its own. Any `u32` may be asked for; what was never set is not
//! in the set.

/// A set of `u32`, at one bit for each number up to the highest member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BitSet {
    words: Vec<u64>,
}

/// Words that a set keeps allocated whatever becomes of its members, so that a room around this
/// size never allocates.
const WORDS_KEPT: usize = 8;

impl BitSet {
    /// The empty set, without an allocation.
    #[must_use]
    pub const fn new() -> Self {
        Self { words: Vec::new() }
    }

    /// Puts `index` in the set, or takes it out.
    pub fn set(&mut self, index: u32, member: bool) {
        let (word, bit) = place(index);
        if member {
            if word >= self.words.len() {
                self.words.resize(word + 1, 0);
            }
            self.words[word] |= bit;
        } else if let Some(bits) = self.words.get_mut(word) {
            *bits &= !bit;
            self.trim();
        }
    }

    /// Whether `index` is in the set.
    #[must_use]
    pub fn contains(&self, index: u32) -> bool {
        let (word, bit) = place(index);
        self.words.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// How many members there are.
    #[must_use]
    pub fn count_ones(&self) -> u32 {
        self.words.iter().map(|bits| bits.count_ones()).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Takes all out. Keeps the memory.
    pub fn clear(&mut self) {
        self.words.clear();
    }

    /// The members, ascending.
    pub fn iter_ones(&self) -> impl Iterator<Item = u32> + '_ {
        ones(self.words.iter().copied())
    }

    /// The members from `first` on, ascending. What is before it costs nothing.
    pub fn iter_from(&self, first: u32) -> impl Iterator<Item = u32> + '_ {
        let (skipped, bit) = place(first);
        let words = (skipped..self.words.len()).map(move |word| (word, self.words[word]));
        words.flat_map(move |(word, bits)| {
            let bits = if word == skipped { bits & !(bit - 1) } else { bits };
            Ones { bits, first: index_of(word) }
        })
    }

    /// The numbers that are in exactly one of the two sets, ascending.
    pub fn xor_iter<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u32> + 'a {
        let words = self.words.len().max(other.words.len());
        ones((0..words).map(|word| self.word(word) ^ other.word(word)))
    }

    fn word(&self, word: usize) -> u64 {
        self.words.get(word).copied().unwrap_or(0)
    }

    /// Restores the invariant, and returns memory once three quarters of it are unused: a set that
    /// swings around one size does not allocate at each swing.
    fn trim(&mut self) {
        let used = self.words.iter().rposition(|&bits| bits != 0).map_or(0, |last| last + 1);
        self.words.truncate(used);
        if self.words.capacity() > WORDS_KEPT && used <= self.words.capacity() / 4 {
            self.words.shrink_to(WORDS_KEPT.max(2 * used));
        }
    }
}

/// The word of an index and its bit in there.
fn place(index: u32) -> (usize, u64) {
    let word = usize::try_from(index / u64::BITS).expect("an address is no narrower than 32 bits");
    (word, 1 << (index % u64::BITS))
}

/// The index of a word's first bit.
fn index_of(word: usize) -> u32 {
    u32::try_from(word).expect("an index is a u32, and a word holds 64") * u64::BITS
}

fn ones(words: impl Iterator<Item = u64>) -> impl Iterator<Item = u32> {
    words.enumerate().flat_map(|(word, bits)| Ones { bits, first: index_of(word) })
}

/// The ones of one word, ascending.
struct Ones {
    bits: u64,
    first: u32,
}

impl Iterator for Ones {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if self.bits == 0 {
            return None;
        }
        let bit = self.bits.trailing_zeros();
        self.bits &= self.bits - 1;
        Some(self.first + bit)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::base::rng::SplitMix64;

    fn set(members: &[u32]) -> BitSet {
        let mut set = BitSet::new();
        for &index in members {
            set.set(index, true);
        }
        set
    }

    #[track_caller]
    fn check_differ(a: &[u32], b: &[u32], expected: &[u32]) {
        let (a, b) = (set(a), set(b));
        assert_eq!(a.xor_iter(&b).collect::<Vec<_>>(), expected);
        assert_eq!(b.xor_iter(&a).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn members_from_one_on_are_those_that_are_not_before_it() {
        let members = [0, 1, 63, 64, 65, 200];
        for first in (0..300).chain([u32::MAX]) {
            let expected = members.into_iter().filter(|member| *member >= first);
            assert!(set(&members).iter_from(first).eq(expected), "{first}");
        }
        assert_eq!(BitSet::new().iter_from(0).next(), None);
    }

    #[test]
    fn sets_of_different_lengths_differ_in_the_longer_ones_members_too() {
        check_differ(&[], &[], &[]);
        check_differ(&[1, 5], &[1, 5], &[]);
        check_differ(&[1, 5], &[5, 6], &[1, 6]);
        check_differ(&[0, 63], &[63, 64, 200], &[0, 64, 200]);
        check_differ(&[], &[1_000], &[1_000]);
    }

    #[test]
    fn memory_follows_the_highest_member() {
        let mut set = set(&[3, 100_000]);
        assert!(set.words.capacity() >= 100_000 / 64);
        set.set(100_000, false);
        assert!(set.words.capacity() <= WORDS_KEPT);
        assert_eq!(set.iter_ones().collect::<Vec<_>>(), [3]);
        set.set(3, false);
        assert!(set.is_empty());
    }

    #[test]
    fn what_memory_is_returned_leaves_room_to_grow_again() {
        let mut set = set(&[100 * 64, 4_000 * 64]);
        set.set(4_000 * 64, false);
        let capacity = set.words.capacity();
        assert!(capacity < 4_000);
        set.set(200 * 64, true);
        assert_eq!(set.words.capacity(), capacity);
    }

    #[test]
    fn a_set_that_swings_around_one_size_keeps_its_memory() {
        let mut set = set(&[20 * 64, 63 * 64]);
        let capacity = set.words.capacity();
        for member in [false, true, false, true] {
            set.set(63 * 64, member);
            assert_eq!(set.words.capacity(), capacity);
        }
    }

    #[test]
    fn it_agrees_with_a_tree_set_under_random_changes() {
        let mut rng = SplitMix64::new(7);
        let mut model = BTreeSet::new();
        let (mut bits, mut before) = (BitSet::new(), BitSet::new());
        let mut model_before = model.clone();
        for step in 0..5_000 {
            let index = u32::try_from(rng.below(300)).unwrap();
            let member = rng.below(2) == 0;
            bits.set(index, member);
            if member {
                model.insert(index)
            } else {
                model.remove(&index)
            };
            assert_eq!(bits.contains(index), member);
            if step % 50 == 0 {
                assert!(bits.iter_ones().eq(model.iter().copied()));
                assert_eq!(bits.count_ones() as usize, model.len());
                assert!(
                    bits.xor_iter(&before).eq(model.symmetric_difference(&model_before).copied())
                );
                assert_ne!(bits.words.last(), Some(&0));
                before.clone_from(&bits);
                assert_eq!(before, bits);
                model_before.clone_from(&model);
            }
        }
    }
}

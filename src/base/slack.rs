//! Shrinks collections whose memory is mostly unused. After a storm their memory follows their
//! size, while a collection whose size only swings does not allocate.
//!
//! Deliberately absent: when to shrink. The owner of a collection does so now and then, and not at
//! each removal.

use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::hash::{BuildHasher, Hash};

use slab::Slab;

/// Memory for this many entries of each kind is kept when there are none: a quiet shard needs no
/// allocation for the next few connections or rooms.
pub const ENTRIES_KEPT: usize = 128;

/// How many bytes keep their memory in each buffer that is emptied before a function ends.
pub const SCRATCH_BYTES_KEPT: usize = 32 * 1_024;

/// A collection that can give memory back.
pub trait Slack {
    /// Shrinks to twice the length plus `kept` places, if the capacity is more than twice that.
    fn trim(&mut self, kept: usize);
}

/// How many places a collection should shrink to; `None` if it need not. The rule of [`Slack`], for
/// collections that shrink in a way of their own.
#[must_use]
pub fn places(len: usize, capacity: usize, kept: usize) -> Option<usize> {
    let places = 2 * len + kept;
    (capacity > 2 * places).then_some(places)
}

macro_rules! slack {
    ($([$($of:tt)*] $collection:ty;)+) => { $(
        impl<$($of)*> Slack for $collection {
            fn trim(&mut self, kept: usize) {
                if let Some(places) = places(self.len(), self.capacity(), kept) {
                    self.shrink_to(places);
                }
            }
        }
    )+ };
}

slack! {
    [T] Vec<T>;
    [T] VecDeque<T>;
    [T: Ord] BinaryHeap<T>;
    [K: Eq + Hash, V, S: BuildHasher] HashMap<K, V, S>;
}

/// What is in a slab does not move: it gives back what lies behind the last that it holds.
impl<T> Slack for Slab<T> {
    fn trim(&mut self, kept: usize) {
        if places(self.len(), self.capacity(), kept).is_some() {
            self.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_little_of_what_it_held_gives_the_rest_back() {
        let mut queue: VecDeque<_> = (0..1_000).collect();
        queue.trim(10);
        assert!(queue.capacity() >= 1_000, "it is full");
        queue.truncate(300);
        queue.trim(10);
        assert!(queue.capacity() >= 1_000, "and may be again");
        queue.truncate(100);
        queue.trim(10);
        assert_eq!((queue.len(), queue.capacity()), (100, 210));
        queue.clear();
        queue.trim(10);
        assert_eq!(queue.capacity(), 10);
        queue.trim(5);
        assert_eq!(queue.capacity(), 10, "what is kept is kept");
    }

    #[test]
    fn a_table_that_was_trimmed_is_not_trimmed_again() {
        for len in 0..200 {
            let mut table: HashMap<u32, u32> = (0..10_000).map(|number| (number, number)).collect();
            table.retain(|number, _| *number < len);
            table.trim(16);
            let capacity = table.capacity();
            assert!(capacity < 5_000);
            table.trim(16);
            assert_eq!((table.capacity(), u32::try_from(table.len())), (capacity, Ok(len)));
        }
    }

    #[test]
    fn a_slab_keeps_all_up_to_the_last() {
        let mut slab: Slab<usize> = (0..1_000).map(|number| (number, number)).collect();
        slab.retain(|number, _| [3, 100].contains(&number));
        slab.trim(10);
        assert_eq!((slab.capacity(), slab.get(100)), (101, Some(&100)));
        slab.remove(100);
        slab.remove(3);
        slab.trim(10);
        assert_eq!((slab.capacity(), slab.insert(7)), (0, 0));
    }
}

//! Things that are due at some time.
//!
//! Two that are due at the same millisecond come out in the order they went in, so that a simulated
//! run can be repeated.
//!
//! Deliberately absent: cancelling. A timer's key is checked when it fires; one whose subject is
//! gone finds nothing.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::slack::Slack;

/// A queue of `K` by the time at which each is due. Allocates only to grow.
#[derive(Debug)]
pub struct Timers<K> {
    heap: BinaryHeap<Reverse<Timer<K>>>,
    /// How many were ever pushed.
    pushed: u64,
}

#[derive(Debug)]
struct Timer<K> {
    due_ms: u64,
    /// Its place among those that are due at the same time.
    seq: u64,
    key: K,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> Timers<K> {
    /// No timers, and no allocation.
    #[must_use]
    pub const fn new() -> Self {
        Self { heap: BinaryHeap::new(), pushed: 0 }
    }

    /// From `due_ms` on, [`Timers::pop_due`] gives out `key`, once.
    pub fn push(&mut self, due_ms: u64, key: K) {
        self.heap.push(Reverse(Timer { due_ms, seq: self.pushed, key }));
        self.pushed += 1;
    }

    /// The one that has been due the longest, if any is due at `now_ms`.
    pub fn pop_due(&mut self, now_ms: u64) -> Option<K> {
        if self.next_due()? > now_ms {
            return None;
        }
        self.heap.pop().map(|Reverse(timer)| timer.key)
    }

    /// When the next one is due, in milliseconds.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(timer)| timer.due_ms)
    }

    /// Gives back the memory of many that were, but for `kept` places.
    pub fn trim(&mut self, kept: usize) {
        self.heap.trim(kept);
    }

    /// How many are waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether none is waiting.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

impl<K> Timer<K> {
    const fn order(&self) -> (u64, u64) {
        (self.due_ms, self.seq)
    }
}
impl<K> PartialEq for Timer<K> {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}
impl<K> Eq for Timer<K> {}
impl<K> PartialOrd for Timer<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Timer<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_nothing_comes_early() {
        let mut timers = Timers::new();
        for due_ms in [30, 10, 20] {
            timers.push(due_ms, due_ms);
        }
        assert_eq!((timers.next_due(), timers.pop_due(9)), (Some(10), None));
        assert_eq!(
            (timers.pop_due(25), timers.pop_due(25), timers.pop_due(25)),
            (Some(10), Some(20), None)
        );
        assert_eq!((timers.next_due(), timers.len()), (Some(30), 1));
        assert_eq!(
            (timers.pop_due(30), timers.next_due(), timers.is_empty()),
            (Some(30), None, true)
        );
    }

    #[test]
    fn those_due_together_come_in_the_order_they_went_in() {
        let mut timers = Timers::new();
        for n in 0..100 {
            timers.push(5, n);
        }
        let out: Vec<i32> = std::iter::from_fn(|| timers.pop_due(5)).collect();
        assert_eq!(out, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_warm_queue_does_not_allocate() {
        let mut timers = Timers::new();
        for n in 0..64 {
            timers.push(n, ());
        }
        let capacity = timers.heap.capacity();
        for n in 64..1_000 {
            assert_eq!(timers.pop_due(n), Some(()));
            timers.push(n, ());
        }
        assert_eq!(timers.heap.capacity(), capacity);
    }
}

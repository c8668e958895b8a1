//! A lock-free queue of 64-bit words from one thread to one other.
//!
//! ```text
//!            head                    tail
//!             |  written, not read    |
//!   [ . . . . # # # # # # # # # # # # . . . . ]     a word's place is its index modulo the ring's size
//!
//!   producer: stores words, then tail (release)     reads head (acquire) before it stores over what was read
//!   consumer: reads tail (acquire), loads words, then stores head (release)
//! ```
//!
//! Invariants: `head <= tail <= head + size`, and both only grow (2^64 words are never reached).
//! Each side keeps a copy of the other's index and reads the real one only when the copy says that
//! there is nothing to do: two threads that are both busy share no cache line but those of the
//! words.
//!
//! Words are atomics, though relaxed ones, so that none of this needs `unsafe`: on the machines we
//! know, a relaxed access costs what a plain one costs.
//!
//! Deliberately absent: waiting. A full ring takes nothing, an empty one gives nothing.

use std::sync::Arc;

use super::sync::{AtomicBool, AtomicU64, Ordering, load_word, store_word, zeroed};

/// On lines of its own. 128, for processors fetch lines of 64 in pairs.
#[repr(align(128))]
struct Padded<T>(T);

struct Shared {
    /// How many words were ever read.
    head: Padded<AtomicU64>,
    /// How many words were ever written.
    tail: Padded<AtomicU64>,
    /// Whether the producer has more than fits, and wants to hear of it when there is room.
    is_waiting: Padded<AtomicBool>,
    words: Box<[AtomicU64]>,
}

impl Shared {
    fn word(&self, index: u64) -> &AtomicU64 {
        let mask = self.words.len() as u64 - 1;
        let place = usize::try_from(index & mask).expect("it is below the length of a slice");
        &self.words[place]
    }
}

/// The end that writes.
pub(super) struct Producer {
    shared: Arc<Shared>,
    tail: u64,
    /// What `head` was when it was last looked at.
    head_seen: u64,
}

/// The end that reads.
pub(super) struct Consumer {
    shared: Arc<Shared>,
    head: u64,
    /// What `tail` was when it was last looked at.
    tail_seen: u64,
}

/// Both ends of a new ring.
///
/// # Panics
///
/// If `words` is not a power of two.
pub(super) fn ring(words: usize) -> (Producer, Consumer) {
    assert!(words.is_power_of_two(), "the size of a ring is a power of two, not {words}");
    let shared = Arc::new(Shared {
        head: Padded(AtomicU64::new(0)),
        tail: Padded(AtomicU64::new(0)),
        is_waiting: Padded(AtomicBool::new(false)),
        words: zeroed(words),
    });
    let consumer = Consumer { shared: Arc::clone(&shared), head: 0, tail_seen: 0 };
    (Producer { shared, tail: 0, head_seen: 0 }, consumer)
}

impl Producer {
    /// Writes as many of `words` as there is room for, and returns how many that were. The consumer
    /// sees them from now on.
    pub(super) fn write(&mut self, words: &mut impl ExactSizeIterator<Item = u64>) -> u64 {
        let wanted = words.len() as u64;
        if self.room() < wanted {
            self.head_seen = self.shared.head.0.load(Ordering::Acquire);
        }
        let written = wanted.min(self.room());
        for index in self.tail..self.tail + written {
            let Some(word) = words.next() else { unreachable!("its length was asked for") };
            store_word(self.shared.word(index), word);
        }
        if written > 0 {
            self.tail += written;
            self.shared.tail.0.store(self.tail, Ordering::Release);
        }
        written
    }

    /// Whether there is room for a word now. If not, the consumer will tell when it has made some.
    ///
    /// The swaps of the flag, here and in [`Consumer::take_waiting`], have one order. If ours is
    /// second it synchronises with theirs, so that we see the room; if theirs is second it finds
    /// the flag.
    pub(super) fn has_room_or_waits(&mut self) -> bool {
        self.shared.is_waiting.0.swap(true, Ordering::SeqCst);
        self.head_seen = self.shared.head.0.load(Ordering::Acquire);
        self.room() > 0
    }

    fn room(&self) -> u64 {
        self.shared.words.len() as u64 - (self.tail - self.head_seen)
    }
}

impl Consumer {
    /// How many words can be read, looking for new ones only if fewer than `wanted` are known of.
    pub(super) fn readable(&mut self, wanted: u64) -> u64 {
        if self.tail_seen - self.head < wanted {
            self.tail_seen = self.shared.tail.0.load(Ordering::Acquire);
        }
        self.tail_seen - self.head
    }

    /// Reads the next word. Its place is the producer's again after [`Consumer::release`].
    ///
    /// # Panics
    ///
    /// If [`Consumer::readable`] did not say that there is one.
    pub(super) fn read(&mut self) -> u64 {
        assert!(self.head < self.tail_seen, "a word was read before it was written");
        let word = load_word(self.shared.word(self.head));
        self.head += 1;
        word
    }

    /// Gives the places of all words read so far back to the producer.
    pub(super) fn release(&mut self) {
        self.shared.head.0.store(self.head, Ordering::Release);
    }

    /// Whether the producer waits for room. It is told once.
    pub(super) fn take_waiting(&mut self) -> bool {
        self.shared.is_waiting.0.swap(false, Ordering::SeqCst)
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    /// Offers `words` and returns how many were taken.
    fn write(producer: &mut Producer, words: &[u64]) -> u64 {
        producer.write(&mut words.iter().copied())
    }

    fn read_all(consumer: &mut Consumer) -> Vec<u64> {
        let words = (0..consumer.readable(u64::MAX)).map(|_| consumer.read()).collect();
        consumer.release();
        words
    }

    #[test]
    fn a_ring_takes_what_fits_and_gives_it_back_in_order() {
        let (mut producer, mut consumer) = ring(4);
        assert!(read_all(&mut consumer).is_empty());
        assert_eq!(write(&mut producer, &[1, 2, 3]), 3);
        assert_eq!(write(&mut producer, &[4, 5]), 1);
        assert_eq!(write(&mut producer, &[5]), 0);
        assert!(!producer.has_room_or_waits());
        assert_eq!(read_all(&mut consumer), [1, 2, 3, 4]);
        assert!(producer.has_room_or_waits());
        assert_eq!(write(&mut producer, &[5, 6, 7, 8, 9]), 4);
        assert_eq!(read_all(&mut consumer), [5, 6, 7, 8]);
    }

    #[test]
    fn a_place_is_reused_only_after_its_release() {
        let (mut producer, mut consumer) = ring(2);
        assert_eq!(write(&mut producer, &[1, 2]), 2);
        assert_eq!((consumer.readable(1), consumer.read()), (2, 1));
        assert_eq!(write(&mut producer, &[3]), 0);
        consumer.release();
        assert_eq!(write(&mut producer, &[3]), 1);
        assert_eq!(read_all(&mut consumer), [2, 3]);
    }

    #[test]
    fn new_words_are_looked_for_only_when_there_are_too_few() {
        let (mut producer, mut consumer) = ring(4);
        write(&mut producer, &[1]);
        assert_eq!(consumer.readable(1), 1);
        write(&mut producer, &[2]);
        assert_eq!(consumer.readable(1), 1);
        assert_eq!(consumer.readable(2), 2);
    }

    #[test]
    fn a_producer_that_waits_is_told_once() {
        let (mut producer, mut consumer) = ring(2);
        write(&mut producer, &[1, 2]);
        assert!(!consumer.take_waiting());
        assert!(!producer.has_room_or_waits());
        assert!(consumer.take_waiting());
        assert!(!consumer.take_waiting());
    }

    #[test]
    #[should_panic(expected = "read before it was written")]
    fn reading_beyond_what_was_written_is_a_mistake() {
        let (mut producer, mut consumer) = ring(2);
        write(&mut producer, &[1]);
        read_all(&mut consumer);
        consumer.read();
    }

    #[test]
    #[should_panic(expected = "power of two")]
    fn a_ring_of_another_size_is_a_mistake() {
        ring(3);
    }
}

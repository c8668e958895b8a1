//! Records in a ring: a stream of lengths and bytes, each record in words of its own.
//!
//! Invariants:
//!
//! 1. records come out whole, in the order they went in, none lost: what does not fit in the ring
//!    waits in the [`Outbox`];
//! 2. a record may be larger than the ring; it crosses in pieces.
//!
//! Deliberately absent: a bound of what may wait. The [`Outbox`] says how much it is, and whoever
//! feeds it stops.

use std::collections::VecDeque;

use super::ring::{Consumer, Producer, ring};

const WORD_BYTES: usize = size_of::<u64>();

/// How many words of overflow stay allocated once they are gone: 16 KiB.
const OVERFLOW_WORDS_KEPT: usize = 2_048;

/// Where one thread puts records for one other.
pub(super) struct Outbox {
    ring: Producer,
    /// What did not fit, in order. While there is any, everything goes here.
    overflow: VecDeque<u64>,
    /// Whether something went into the ring since the last [`Outbox::flush`].
    has_sent: bool,
}

/// Where the other takes them out.
pub(super) struct Inbox {
    ring: Consumer,
    /// How much of the current record has not been read, if its length has been.
    missing_bytes: Option<usize>,
    /// What has been read of a record that came in pieces.
    partial: Vec<u8>,
    /// Whether something was read since the last [`Inbox::take_waiting`].
    has_read: bool,
}

/// Both ends of a new stream over a ring of so many words.
///
/// # Panics
///
/// If `words` is not a power of two.
pub(super) fn stream(words: usize) -> (Outbox, Inbox) {
    let (producer, consumer) = ring(words);
    let outbox = Outbox { ring: producer, overflow: VecDeque::new(), has_sent: false };
    (outbox, Inbox { ring: consumer, missing_bytes: None, partial: Vec::new(), has_read: false })
}

impl Outbox {
    /// Sends a record. What does not fit in the ring waits in here until a [`Outbox::flush`] finds
    /// room.
    pub(super) fn send(&mut self, record: &[u8]) {
        let mut words = Words::of(record);
        if self.overflow.is_empty() {
            self.has_sent |= self.ring.write(&mut words) > 0;
        }
        self.overflow.extend(words);
    }

    /// Moves what waits into the ring as far as it fits. Returns whether the other end has got
    /// something since the last call.
    pub(super) fn flush(&mut self) -> bool {
        self.drain();
        std::mem::take(&mut self.has_sent)
    }

    /// Whether something waits for room.
    pub(super) fn is_waiting(&self) -> bool {
        !self.overflow.is_empty()
    }

    /// Whether a flush would get something across. If not, though something waits, the other end
    /// will tell when it has made room. It tells once, so this is to be asked each time before that
    /// is relied on.
    pub(super) fn can_flush(&mut self) -> bool {
        self.is_waiting() && self.ring.has_room_or_waits()
    }

    /// How many bytes wait for room.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.overflow.len() * WORD_BYTES
    }

    fn drain(&mut self) {
        while self.is_waiting() {
            let (front, _) = self.overflow.as_slices();
            let written = self.ring.write(&mut front.iter().copied());
            if written == 0 {
                return;
            }
            self.has_sent = true;
            self.overflow.drain(..usize::try_from(written).expect("no more than were offered"));
        }
        self.overflow.shrink_to(OVERFLOW_WORDS_KEPT);
    }
}

impl Inbox {
    /// The next whole record, in place of what `into` held; `false` if there is none yet.
    pub(super) fn recv(&mut self, into: &mut Vec<u8>) -> bool {
        into.clear();
        let missing_bytes = match self.missing_bytes {
            Some(bytes) => bytes,
            None if self.ring.readable(1) == 0 => return false,
            None => usize::try_from(self.ring.read()).expect("we sent it, so it fits in memory"),
        };
        let readable = self.ring.readable(words_for(missing_bytes));
        let bytes = usize::try_from(readable)
            .map_or(missing_bytes, |words| missing_bytes.min(words * WORD_BYTES));
        let is_whole = bytes == missing_bytes;
        if is_whole && self.partial.is_empty() {
            read_bytes(&mut self.ring, bytes, into);
        } else {
            read_bytes(&mut self.ring, bytes, &mut self.partial);
            if is_whole {
                std::mem::swap(into, &mut self.partial);
            }
        }
        self.ring.release();
        self.has_read = true;
        self.missing_bytes = (!is_whole).then_some(missing_bytes - bytes);
        is_whole
    }

    /// Whether there is anything to read.
    pub(super) fn has_something(&mut self) -> bool {
        self.ring.readable(1) > 0
    }

    /// Whether the other end waits for the room that was made since the last call.
    pub(super) fn take_waiting(&mut self) -> bool {
        std::mem::take(&mut self.has_read) && self.ring.take_waiting()
    }
}

fn words_for(bytes: usize) -> u64 {
    bytes.div_ceil(WORD_BYTES) as u64
}

/// Appends the next `bytes` of the stream. A record's last word is read with its padding.
fn read_bytes(ring: &mut Consumer, bytes: usize, into: &mut Vec<u8>) {
    let start = into.len();
    into.resize(start + bytes, 0);
    let (words, rest) = into[start..].as_chunks_mut();
    for word in words {
        *word = ring.read().to_ne_bytes();
    }
    if !rest.is_empty() {
        rest.copy_from_slice(&ring.read().to_ne_bytes()[..rest.len()]);
    }
}

/// A record as words: its length in bytes, and then these, the last one padded.
struct Words<'a> {
    length: Option<u64>,
    bytes: &'a [u8],
}

impl<'a> Words<'a> {
    const fn of(record: &'a [u8]) -> Self {
        Self { length: Some(record.len() as u64), bytes: record }
    }
}

impl Iterator for Words<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if let Some(length) = self.length.take() {
            return Some(length);
        }
        if let Some((word, rest)) = self.bytes.split_first_chunk() {
            self.bytes = rest;
            return Some(u64::from_ne_bytes(*word));
        }
        if self.bytes.is_empty() {
            return None;
        }
        let mut padded = [0; WORD_BYTES];
        padded[..self.bytes.len()].copy_from_slice(self.bytes);
        self.bytes = &[];
        Some(u64::from_ne_bytes(padded))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let words = usize::from(self.length.is_some()) + self.bytes.len().div_ceil(WORD_BYTES);
        (words, Some(words))
    }
}

impl ExactSizeIterator for Words<'_> {}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;
    use crate::base::rng::SplitMix64;

    fn recv(inbox: &mut Inbox) -> Option<Vec<u8>> {
        let mut record = b"what was in it before".to_vec();
        inbox.recv(&mut record).then_some(record)
    }

    #[test]
    fn records_of_any_length_come_out_as_they_went_in() {
        let (mut outbox, mut inbox) = stream(64);
        for length in 0..100 {
            let record: Vec<u8> = (1..=length).collect();
            outbox.send(&record);
            assert_eq!(recv(&mut inbox), Some(record));
            assert_eq!(recv(&mut inbox), None);
        }
    }

    #[test]
    fn what_does_not_fit_waits_and_keeps_its_place() {
        let (mut outbox, mut inbox) = stream(4);
        outbox.send(b"1");
        assert!(outbox.flush());
        assert!(!outbox.flush(), "told once");
        outbox.send(b"12345678 12345678 x");
        outbox.send(b"3");
        assert_eq!(outbox.waiting_bytes(), 4 * 8, "two words of the second record, and the third");
        assert_eq!((outbox.is_waiting(), outbox.can_flush()), (true, false));
        assert_eq!(recv(&mut inbox), Some(b"1".to_vec()));
        assert_eq!(recv(&mut inbox), None, "the second is not whole");
        assert!(outbox.can_flush());
        assert!(outbox.flush());
        assert_eq!((outbox.waiting_bytes(), outbox.is_waiting()), (0, false));
        assert_eq!(recv(&mut inbox), Some(b"12345678 12345678 x".to_vec()));
        assert_eq!(recv(&mut inbox), Some(b"3".to_vec()));
        assert_eq!(recv(&mut inbox), None);
    }

    #[test]
    fn a_record_may_be_larger_than_the_ring() {
        let (mut outbox, mut inbox) = stream(2);
        let record = vec![7; 1_001];
        outbox.send(&record);
        let mut turns = 0;
        let received = loop {
            match recv(&mut inbox) {
                Some(received) => break received,
                None => assert!(outbox.flush()),
            }
            turns += 1;
        };
        assert_eq!(received, record);
        assert_eq!(turns, 63, "the length and 126 words, two at a time");
    }

    #[test]
    fn an_empty_record_is_one_too() {
        let (mut outbox, mut inbox) = stream(1);
        for _ in 0..3 {
            outbox.send(b"");
            assert_eq!(recv(&mut inbox), Some(Vec::new()));
        }
        assert_eq!(recv(&mut inbox), None);
    }

    #[test]
    fn the_other_end_hears_of_room_only_if_it_waits_and_room_was_made() {
        let (mut outbox, mut inbox) = stream(2);
        outbox.send(b"1");
        outbox.flush();
        assert!(recv(&mut inbox).is_some());
        assert!(!inbox.take_waiting(), "nobody waits");
        outbox.send(b"2");
        outbox.send(b"3");
        assert!(!outbox.can_flush());
        assert!(!inbox.take_waiting(), "nothing was read");
        assert!(recv(&mut inbox).is_some());
        assert!(inbox.take_waiting());
        assert!(!inbox.take_waiting(), "told once");
    }

    #[test]
    fn a_burst_leaves_no_memory_behind() {
        let (mut outbox, mut inbox) = stream(1_024);
        outbox.send(&vec![0; 1_024 * 1_024]);
        assert!(outbox.overflow.capacity() > OVERFLOW_WORDS_KEPT);
        while recv(&mut inbox).is_none() {
            outbox.flush();
        }
        assert!(outbox.overflow.capacity() <= OVERFLOW_WORDS_KEPT);
    }

    #[test]
    fn any_mix_of_sends_receives_and_flushes_keeps_all_records_in_order() {
        for seed in 0..200 {
            let mut rng = SplitMix64::new(seed);
            let (mut outbox, mut inbox) = stream(1 << rng.below(6));
            let longest = 1 + rng.below(200);
            let mut sent = VecDeque::new();
            let mut next = 0_u8;
            for _ in 0..300 {
                match rng.below(3) {
                    0 => {
                        let length = usize::try_from(rng.below(longest)).unwrap();
                        next = next.wrapping_add(1);
                        sent.push_back(vec![next; length]);
                        outbox.send(&vec![next; length]);
                    }
                    1 => drop(outbox.flush()),
                    _ => {
                        if let Some(record) = recv(&mut inbox) {
                            assert_eq!(Some(record), sent.pop_front(), "seed {seed}");
                        }
                    }
                }
            }
            while let Some(expected) = sent.pop_front() {
                while !inbox.has_something() {
                    assert!(outbox.flush(), "seed {seed}: something is lost");
                }
                match recv(&mut inbox) {
                    Some(record) => assert_eq!(record, expected, "seed {seed}"),
                    None => sent.push_front(expected),
                }
            }
            assert_eq!((recv(&mut inbox), outbox.is_waiting()), (None, false));
        }
    }
}

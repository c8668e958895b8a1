//! The history of a room: its latest messages in order, each under its offset, bounded in count and
//! bytes.
//!
//! Invariants:
//!
//! 1. offsets are contiguous within an epoch, and go on over a turn of it; a message keeps its
//!    offset for ever;
//! 2. the kept messages are the latest ones, without gaps;
//! 3. a recovery has all that was missed, or is refused.
//!
//! Messages are stored one behind the other, separated by commas: a page is one slice of bytes,
//! ready for a JSON array. The buffer is mostly twice as large as the kept messages, and at most
//! four times.
//!
//! Deliberately absent: the content of messages, and what a returning client has missed (`resume`).
//!
//! Called by: `journal`, `room`. Calls: `keys`.

use std::collections::VecDeque;
use std::ops::Range;

use crate::base::slack;
use crate::limits::HistoryLimits;
use crate::link::ids::Receipt;
use crate::room::keys::{KeyHash, Keys};

/// A run of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page<'a> {
    /// The messages, separated by commas; empty if there are none.
    pub messages: &'a [u8],
    /// How many.
    pub count: u32,
    /// Whether there are more in the direction that was asked for.
    pub more: bool,
}

const NO_PAGE: Page<'static> = Page { messages: &[], count: 0, more: false };

/// How many bytes of memory are kept when messages are dropped.
const BYTES_KEPT: usize = 1_024;
/// How many places of messages are kept when messages are dropped.
const STARTS_KEPT: usize = 16;

/// The messages of one room.
#[derive(Debug)]
pub struct History {
    epoch: u64,
    /// The offset of the last message; 0 before the first.
    last: u64,
    /// The latest messages, each followed by a comma. The first `front` bytes are no longer kept.
    bytes: Vec<u8>,
    front: usize,
    /// Where each kept message begins, counted since the epoch began. Subtract `trimmed` for the
    /// place in `bytes`.
    starts: VecDeque<u64>,
    /// How many bytes have been cut off `bytes` since the epoch began.
    trimmed: u64,
    /// The time of the latest message: time never goes back within a room.
    latest_at_ms: u64,
    keys: Keys,
}

impl History {
    /// An empty history. Its epoch must be new, since it tells this life of the room from any
    /// other.
    #[must_use]
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch,
            last: 0,
            bytes: Vec::new(),
            front: 0,
            starts: VecDeque::new(),
            trimmed: 0,
            latest_at_ms: 0,
            keys: Keys::default(),
        }
    }

    /// An empty history whose next message comes behind `last`.
    #[must_use]
    pub fn following(epoch: u64, last: u64) -> Self {
        Self { last, ..Self::new(epoch) }
    }

    /// Goes on in a new epoch, without the messages behind `last`, which must not be beyond the
    /// last one. Returns the epoch that has ended.
    pub fn turn(&mut self, epoch: u64, last: u64) -> u64 {
        let first = self.first();
        let kept = usize::try_from((last + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        if let Some(start) = self.starts.get(kept) {
            let end = self.place(*start);
            self.bytes.truncate(end);
            self.starts.truncate(kept);
        }
        self.last = last;
        self.front = self.front.min(self.bytes.len());
        self.keys.forget_behind(last);
        std::mem::replace(&mut self.epoch, epoch)
    }

    /// Which life of the room this is.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The offset of the last message; 0 before the first.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// How many messages are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// How many keys are remembered.
    #[must_use]
    pub fn keys_count(&self) -> usize {
        self.keys.len()
    }

    /// Whether nothing is kept. Offsets may still have been given out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The bytes of the messages that are kept.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.bytes.len() - self.front
    }

    /// The receipt of the next message.
    #[must_use]
    pub fn next(&self, now_ms: u64) -> Receipt {
        Receipt { offset: self.last + 1, at_ms: now_ms.max(self.latest_at_ms) }
    }

    /// The oldest offset that is kept, or that a key is remembered of; the next one if there is
    /// none.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.keys.oldest().map_or(self.first(), |offset| offset.min(self.first()))
    }

    /// The receipt of the message that used this key, if the room still remembers it.
    #[must_use]
    pub fn of_key(&self, key: KeyHash) -> Option<Receipt> {
        self.keys.receipt(key)
    }

    /// Remembers the key of a message that is not kept here. It must be older than all that are
    /// remembered or kept behind it.
    pub fn remember_key(&mut self, key: KeyHash, receipt: Receipt) {
        self.keys.remember(key, receipt);
    }

    /// Keeps a message under the receipt of [`History::next`], and drops old messages beyond the
    /// bounds.
    ///
    /// # Panics
    ///
    /// If the receipt is not the next one: two messages would have one offset.
    pub fn append(
        &mut self,
        receipt: Receipt,
        key: Option<KeyHash>,
        message: &[u8],
        limits: &HistoryLimits,
    ) {
        assert_eq!(receipt.offset, self.last + 1, "offsets are contiguous");
        self.last = receipt.offset;
        self.latest_at_ms = receipt.at_ms;
        if let Some(key) = key {
            self.keys.remember(key, receipt);
        }
        if limits.messages == 0 {
            return;
        }
        self.make_room(message.len() + 1);
        self.starts.push_back(self.trimmed + self.bytes.len() as u64);
        self.bytes.extend_from_slice(message);
        self.bytes.push(b',');
        self.drop_beyond(limits);
    }

    /// Puts another message in the place of one that is kept, and drops old messages beyond the
    /// bounds: perhaps that one, too. Nothing, if it is not kept.
    pub fn replace(&mut self, offset: u64, message: &[u8], limits: &HistoryLimits) {
        let Some(index) = self.index_of(offset) else { return };
        let place = self.places(index, index + 1);
        let (before, after) = (place.len(), message.len());
        if after > before {
            self.bytes.reserve_exact(after - before);
        }
        self.bytes.splice(place, message.iter().copied());
        if after == before {
            return;
        }
        for start in self.starts.range_mut(index + 1..) {
            *start = *start + after as u64 - before as u64;
        }
        self.drop_beyond(limits);
    }

    /// How many bytes [`Self::replace`] moves: those of the message, and all behind it.
    #[must_use]
    pub fn moved_bytes(&self, offset: u64) -> usize {
        self.index_of(offset).map_or(0, |index| self.bytes.len() - self.place(self.starts[index]))
    }

    /// A message that is kept.
    #[must_use]
    pub fn message(&self, offset: u64) -> Option<&[u8]> {
        let index = self.index_of(offset)?;
        Some(&self.bytes[self.places(index, index + 1)])
    }

    fn index_of(&self, offset: u64) -> Option<usize> {
        let index = usize::try_from(offset.checked_sub(self.first())?).ok()?;
        (index < self.len()).then_some(index)
    }

    /// Where in `bytes` the kept messages are from index `begin` up to `end`, of which there is one
    /// at least, without the last comma.
    fn places(&self, begin: usize, end: usize) -> Range<usize> {
        let to = self.starts.get(end).map_or(self.bytes.len(), |start| self.place(*start));
        self.place(self.starts[begin])..to - 1
    }

    fn drop_beyond(&mut self, limits: &HistoryLimits) {
        while self.len() > limits.messages as usize
            || (self.kept_bytes() > limits.room_bytes && self.len() > 1)
        {
            self.drop_oldest();
        }
    }

    /// Drops the oldest message.
    pub fn drop_oldest(&mut self) {
        self.starts.pop_front();
        self.front = self.starts.front().map_or(self.bytes.len(), |start| self.place(*start));
        if let Some(places) =
            slack::places(self.kept_bytes(), self.bytes.capacity(), BYTES_KEPT / 2)
        {
            self.cut_front();
            self.bytes.shrink_to(places);
            self.starts.shrink_to((2 * self.len()).max(STARTS_KEPT));
        }
    }

    /// Makes room for more bytes: from the part that is no longer kept, or if that is small, from a
    /// new buffer of twice the kept bytes. So kept bytes are moved once each time that half of them
    /// are new, and the reserve is no larger than they are.
    fn make_room(&mut self, bytes: usize) {
        if self.bytes.capacity() - self.bytes.len() >= bytes {
            return;
        }
        self.cut_front();
        let kept = self.kept_bytes();
        if self.bytes.capacity() - kept < bytes.max(kept / 2) {
            self.bytes.reserve_exact(bytes.max(kept));
        }
    }

    /// Cuts off the bytes that are no longer kept.
    fn cut_front(&mut self) {
        self.bytes.drain(..self.front);
        self.trimmed += self.front as u64;
        self.front = 0;
    }

    /// All messages behind an offset, of those that are kept.
    #[must_use]
    pub fn behind(&self, offset: u64) -> Page<'_> {
        let skipped = offset.saturating_add(1).saturating_sub(self.first());
        self.page(usize::try_from(skipped).unwrap_or(usize::MAX), self.len())
    }

    /// The latest messages: at most `count`, and at most `limits.page_bytes`, but one in any case:
    /// a lowered bound must not end what clients can read. `more` is of older ones.
    #[must_use]
    pub fn latest(&self, count: u32, limits: &HistoryLimits) -> Page<'_> {
        self.before(self.last + 1, count, limits)
    }

    /// The messages just before an offset, ascending, as many as [`History::latest`]. `more` is of
    /// older ones.
    #[must_use]
    pub fn before(&self, offset: u64, count: u32, limits: &HistoryLimits) -> Page<'_> {
        let end = usize::try_from(offset.saturating_sub(self.first()))
            .unwrap_or(usize::MAX)
            .min(self.len());
        let mut begin = end.saturating_sub(count as usize);
        while begin + 1 < end && self.page(begin, end).messages.len() > limits.page_bytes {
            begin += 1;
        }
        Page { more: begin > 0, ..self.page(begin, end) }
    }

    /// The messages just after an offset, ascending, as many as [`History::latest`]. `more` is of
    /// newer ones.
    #[must_use]
    pub fn after(&self, offset: u64, count: u32, limits: &HistoryLimits) -> Page<'_> {
        let skipped = (offset.saturating_add(1)).saturating_sub(self.first());
        let begin = usize::try_from(skipped).unwrap_or(usize::MAX).min(self.len());
        let mut end = begin.saturating_add(count as usize).min(self.len());
        while begin + 1 < end && self.page(begin, end).messages.len() > limits.page_bytes {
            end -= 1;
        }
        Page { more: end < self.len(), ..self.page(begin, end) }
    }

    /// The messages around one that is kept, ascending: half of `count` before it, and the rest
    /// from it on; within `limits.page_bytes`, but with that one in any case, by leaving out what
    /// is farthest. `more` is of older ones, and the second value says whether there are newer
    /// ones. None, if it is not kept.
    #[must_use]
    pub fn around(
        &self,
        offset: u64,
        count: u32,
        limits: &HistoryLimits,
    ) -> Option<(Page<'_>, bool)> {
        let middle = self.index_of(offset)?;
        let behind = (count - count / 2) as usize;
        let mut begin = middle.saturating_sub((count / 2) as usize);
        let mut end = middle.saturating_add(behind).min(self.len());
        while begin + 1 < end && self.page(begin, end).messages.len() > limits.page_bytes {
            if leaves_out_first(begin, middle, end) { begin += 1 } else { end -= 1 }
        }
        Some((Page { more: begin > 0, ..self.page(begin, end) }, end < self.len()))
    }

    /// The messages before an offset, the newest first.
    pub fn newest_before(&self, offset: u64) -> impl Iterator<Item = &[u8]> {
        let end = usize::try_from(offset.saturating_sub(self.first())).unwrap_or(usize::MAX);
        let messages = (0..end.min(self.len())).rev();
        messages.map(|index| &self.bytes[self.places(index, index + 1)])
    }

    /// The offset of the oldest message that is kept; the next offset if there is none.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.last + 1 - self.starts.len() as u64
    }

    /// The kept messages from index `begin` up to `end`.
    fn page(&self, begin: usize, end: usize) -> Page<'_> {
        if begin >= end {
            return NO_PAGE;
        }
        Page {
            messages: &self.bytes[self.places(begin, end)],
            count: u32::try_from(end - begin).expect("bounded by HistoryLimits::messages"),
            more: false,
        }
    }

    fn place(&self, start: u64) -> usize {
        usize::try_from(start - self.trimmed).expect("kept bytes fit in memory")
    }
}

/// Of a page from `begin` up to `end` that is too long: whether its first message is no nearer to
/// its middle than its last one.
pub(super) fn leaves_out_first(begin: usize, middle: usize, end: usize) -> bool {
    middle - begin >= end - 1 - middle
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Of which five messages are kept.
    pub(in crate::room) const LIMITS: HistoryLimits =
        HistoryLimits { messages: 5, room_bytes: 1_000, total_bytes: 0, page_bytes: 1_000 };

    /// A history after `count` messages, `m1` to `m<count>`.
    fn filled(count: u64, limits: &HistoryLimits) -> History {
        let mut history = History::new(7);
        for number in 1..=count {
            history.append(history.next(number), None, format!("m{number}").as_bytes(), limits);
        }
        history
    }

    #[track_caller]
    fn check(page: Page<'_>, messages: &str, more: bool) {
        assert_eq!(std::str::from_utf8(page.messages), Ok(messages));
        assert_eq!(
            page.count as usize,
            messages.split(',').filter(|message| !message.is_empty()).count()
        );
        assert_eq!(page.more, more);
    }

    #[test]
    fn pages_are_ascending_and_say_whether_there_is_more() {
        let history = filled(8, &LIMITS);
        assert_eq!(history.len(), 5);
        check(history.latest(2, &LIMITS), "m7,m8", true);
        check(history.latest(50, &LIMITS), "m4,m5,m6,m7,m8", false);
        check(history.latest(0, &LIMITS), "", true);
        check(history.before(6, 1, &LIMITS), "m5", true);
        check(history.before(6, 50, &LIMITS), "m4,m5", false);
        check(history.before(4, 50, &LIMITS), "", false);
        check(history.before(0, 50, &LIMITS), "", false);
        check(history.before(u64::MAX, 1, &LIMITS), "m8", true);
        check(history.after(5, 2, &LIMITS), "m6,m7", true);
        check(history.after(0, 2, &LIMITS), "m4,m5", true);
        check(history.after(8, 2, &LIMITS), "", false);
        check(history.after(u64::MAX, 2, &LIMITS), "", false);
    }

    #[test]
    fn pages_stay_within_their_bytes_and_next_to_what_was_asked() {
        let history = filled(5, &LIMITS);
        let small = HistoryLimits { page_bytes: 5, ..LIMITS };
        check(history.latest(50, &small), "m4,m5", true);
        check(history.after(0, 50, &small), "m1,m2", true);
    }

    #[test]
    fn a_page_has_a_message_however_long_that_is() {
        let history = filled(5, &LIMITS);
        let tiny = HistoryLimits { page_bytes: 1, ..LIMITS };
        check(history.latest(50, &tiny), "m5", true);
        check(history.before(3, 50, &tiny), "m2", true);
        check(history.before(2, 50, &tiny), "m1", false);
        check(history.after(0, 50, &tiny), "m1", true);
        check(history.after(4, 50, &tiny), "m5", false);
        check(history.before(1, 50, &tiny), "", false);
        check(history.latest(0, &tiny), "", true);
    }

    #[test]
    fn a_page_around_a_message_has_it_in_the_middle_and_says_on_which_side_there_is_more() {
        let history = filled(8, &LIMITS);
        let around = |offset, count, limits, messages, more, more_after| {
            let (page, newer) = history.around(offset, count, limits).expect("it is kept");
            check(page, messages, more);
            assert_eq!(newer, more_after, "{messages}");
        };
        around(6, 3, &LIMITS, "m5,m6,m7", true, true);
        around(6, 2, &LIMITS, "m5,m6", true, true);
        around(6, 1, &LIMITS, "m6", true, true);
        around(6, 0, &LIMITS, "", true, true);
        around(6, 50, &LIMITS, "m4,m5,m6,m7,m8", false, false);
        around(4, 4, &LIMITS, "m4,m5", false, true);
        around(8, 4, &LIMITS, "m6,m7,m8", true, false);
        assert!(history.around(3, 9, &LIMITS).is_none() && history.around(9, 9, &LIMITS).is_none());
        let small = HistoryLimits { page_bytes: 8, ..LIMITS };
        around(6, 50, &small, "m5,m6,m7", true, true);
        around(4, 50, &small, "m4,m5,m6", false, true);
        around(8, 50, &small, "m6,m7,m8", true, false);
        let tiny = HistoryLimits { page_bytes: 1, ..LIMITS };
        around(6, 50, &tiny, "m6", true, true);
    }

    #[test]
    fn a_turn_lets_go_of_the_lost_end_and_goes_on_from_what_is_there() {
        let mut history = filled(8, &LIMITS);
        let key = KeyHash([1, 1]);
        history.append(history.next(9), Some(key), b"m9", &LIMITS);
        assert_eq!(history.turn(9, 7), 7);
        assert_eq!((history.epoch(), history.last(), history.of_key(key)), (9, 7, None));
        check(history.latest(50, &LIMITS), "m5,m6,m7", false);
        history.append(history.next(10), None, b"n8", &LIMITS);
        check(history.behind(6), "m7,n8", false);
        history.turn(10, 2);
        check(history.latest(50, &LIMITS), "", false);
        assert_eq!((history.last(), history.first()), (2, 3));
        history.append(history.next(11), None, b"o3", &LIMITS);
        check(history.latest(50, &LIMITS), "o3", false);
        assert_eq!(history.turn(11, 3), 10);
        check(history.latest(50, &LIMITS), "o3", false);
    }

    #[test]
    fn what_is_kept_is_the_latest_part_whatever_the_sizes() {
        let limits = HistoryLimits { messages: 50, room_bytes: 300, ..LIMITS };
        let mut history = History::new(1);
        for number in 0..2_000u64 {
            let message = "x".repeat(usize::try_from(number * 31 % 97).expect("small") + 1)
                + &number.to_string();
            history.append(history.next(number), None, message.as_bytes(), &limits);
            assert!(history.kept_bytes() <= 300 || history.len() == 1);
            assert!(
                history.bytes.capacity() <= 4 * history.kept_bytes() + BYTES_KEPT,
                "what is gone is given back"
            );
            let newest = history.latest(1, &limits);
            assert_eq!(newest.messages, message.as_bytes());
            let all = history.latest(50, &limits);
            assert_eq!(all.messages.split(|byte| *byte == b',').count(), history.len());
        }
    }

    #[test]
    fn what_is_kept_takes_twice_its_size_and_what_was_kept_nothing() {
        let limits = HistoryLimits { messages: 1_000_000, room_bytes: 100_000, ..LIMITS };
        let mut history = History::new(1);
        for number in 0..10_000 {
            history.append(history.next(number), None, &[b'x'; 99], &limits);
            let kept_bytes = history.kept_bytes().max(100);
            assert!(
                history.bytes.capacity() <= 2 * kept_bytes,
                "{number}: {}",
                history.bytes.capacity()
            );
        }
        assert_eq!(history.kept_bytes(), 100_000);
        while !history.is_empty() {
            history.drop_oldest();
        }
        assert!(history.bytes.capacity() <= BYTES_KEPT && history.starts.capacity() <= STARTS_KEPT);
        history.append(history.next(10_000), None, b"y", &limits);
        check(history.latest(1, &limits), "y", false);
    }

    #[test]
    fn time_does_not_go_back() {
        let mut history = History::new(1);
        history.append(history.next(1_000), None, b"m", &LIMITS);
        assert_eq!(history.next(900).at_ms, 1_000);
        assert_eq!(history.next(1_100).at_ms, 1_100);
        let none = HistoryLimits { messages: 0, ..LIMITS };
        history.append(history.next(1_200), None, b"m", &none);
        assert_eq!(history.next(900).at_ms, 1_200, "of what is not kept, too");
    }
}

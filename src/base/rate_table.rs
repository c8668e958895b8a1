//! Rates of many, shared by all threads without a lock: each word of the table is a bucket.
//!
//! ```text
//!   key ── line (64 bytes) ── eight words, each: 16 bits of the key │ 48 bits of time in µs
//! ```
//!
//! A bucket is the time at which it would be full again (the generic cell rate algorithm, ITU-T
//! I.371, A): a take moves that time on by what it costs, and may not move it further ahead than a
//! whole burst takes. One number is thus the whole state, and is changed by compare and exchange.
//! Who is quiet has a time that has passed, and its word is anybody's: nothing is cleared up.
//!
//! Invariants:
//!
//! 1. of those who take from one bucket at once, no more get something than it held;
//! 2. a bucket is looked for in one line of the cache, whatever the table holds.
//!
//! If all eight of a line are in use, the one that is nearest to full is given to whoever comes: it
//! loses a few milliseconds' takes, and nobody is refused for others. Two keys of one line whose 16
//! bits agree share a bucket while both use it. Nobody aims at that without the seed. Two threads
//! that begin with one key at once, while a third takes a word of the line, may give it two words:
//! then it has a second burst, once.
//!
//! Deliberately absent: which rates there are. They come with each call, so that a changed limit
//! holds at once.

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};

/// How long to wait until there is enough again, in milliseconds; at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryMs(pub u32);

/// How many buckets share a line of the cache.
const WAYS: usize = 8;

/// How many bits of a word are time: 8.9 years, after which a bucket that nobody has used since
/// would seem to be in use.
const TIME_BITS: u32 = 48;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

/// How far ahead a bucket's time may be, in microseconds: 25 days. What seems further is long past.
const AHEAD_US_MAX: u64 = 1 << 41;

/// A rate, in units of whatever is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Units a second; 0 is no bound.
    pub per_s: u64,
    /// How many may be taken at once. A take of more needs a full bucket, and is paid off before
    /// the next.
    pub burst: u64,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([AtomicU64; WAYS]);

/// See the module.
#[derive(Debug)]
pub struct RateTable {
    lines: Box<[Line]>,
    hasher: ahash::RandomState,
}

impl RateTable {
    /// An empty table of so many lines of eight buckets. `seed` should be one that nobody knows.
    ///
    /// # Panics
    ///
    /// If `lines` is no power of two.
    #[must_use]
    pub fn new(lines: usize, seed: u64) -> Self {
        assert!(lines.is_power_of_two(), "a line is found by bits of a hash");
        Self {
            lines: (0..lines).map(|_| Line::default()).collect(),
            hasher: ahash::RandomState::with_seeds(seed, !seed, seed.rotate_left(32), 7),
        }
    }

    /// The key of whatever has a rate. It is the same for all who share the table.
    pub fn key(&self, of: impl Hash) -> u64 {
        self.hasher.hash_one(of)
    }

    /// Takes so much from the bucket of a key.
    ///
    /// # Errors
    ///
    /// When there is not enough: how long until there is. Nothing is taken then.
    pub fn take(&self, key: u64, now_ms: u64, amount: u64, rate: Rate) -> Result<(), RetryMs> {
        if rate.per_s == 0 {
            return Ok(());
        }
        let now = now_ms.wrapping_mul(1_000) & TIME_MASK;
        let cost_us = time_us(amount, rate.per_s).max(1);
        let burst_us = time_us(rate.burst.max(1), rate.per_s).max(1);
        // Different bits than those that choose the line, and never 0: that is a word never used.
        let mark = (key >> TIME_BITS).max(1);
        let line = &self.lines[line_of(key, self.lines.len())].0;
        loop {
            let (word, seen, ahead_us) = choose(line, mark, now);
            let then_us = (ahead_us + cost_us).min(AHEAD_US_MAX);
            if ahead_us > 0 && then_us > burst_us {
                let wait_us = ahead_us + cost_us.min(burst_us) - burst_us;
                let retry = u32::try_from(wait_us.div_ceil(1_000).max(1));
                return Err(RetryMs(retry.unwrap_or(u32::MAX)));
            }
            let next = mark << TIME_BITS | (now + then_us) & TIME_MASK;
            // Each word stands for itself: nothing else is published by it.
            let order = Ordering::Relaxed;
            if word.compare_exchange_weak(seen, next, order, order).is_ok() {
                return Ok(());
            }
        }
    }
}

/// The word for a mark: its own, or else one that is full again, or the one nearest to that; what
/// was seen in it, and how far its time is ahead.
fn choose(line: &[AtomicU64; WAYS], mark: u64, now_us: u64) -> (&AtomicU64, u64, u64) {
    let mut nearest: Option<(&AtomicU64, u64, u64)> = None;
    for word in line {
        let seen = word.load(Ordering::Relaxed);
        let ahead_us = ahead_us(seen, now_us);
        if seen >> TIME_BITS == mark {
            return (word, seen, ahead_us);
        }
        if nearest.is_none_or(|(_, _, nearest_us)| ahead_us < nearest_us) {
            nearest = Some((word, seen, ahead_us));
        }
    }
    let (word, seen, _) = nearest.expect("a line has words");
    // Whatever is in it is another's.
    (word, seen, 0)
}

/// How far the time of a word is ahead; 0 if it has passed.
fn ahead_us(word: u64, now_us: u64) -> u64 {
    let ahead_us = (word & TIME_MASK).wrapping_sub(now_us) & TIME_MASK;
    if ahead_us > AHEAD_US_MAX { 0 } else { ahead_us }
}

/// How long a rate takes for so much, in microseconds. Rounded down, so that a burst has room for
/// as many takes as it says.
fn time_us(amount: u64, per_s: u64) -> u64 {
    (amount.saturating_mul(1_000_000) / per_s).min(AHEAD_US_MAX)
}

fn line_of(key: u64, lines: usize) -> usize {
    usize::try_from(key & (lines as u64 - 1)).expect("fewer lines than a `usize` counts")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> RateTable {
        RateTable::new(16, 1)
    }

    fn rate(per_s: u64, burst: u64) -> Rate {
        Rate { per_s, burst }
    }

    /// How many of so many takes at one time get something.
    fn granted(table: &RateTable, key: u64, now_ms: u64, tries: u64, rate: Rate) -> u64 {
        (0..tries).filter(|_| table.take(key, now_ms, 1, rate).is_ok()).count() as u64
    }

    #[test]
    fn a_quiet_key_may_burst_and_then_has_its_rate() {
        let (table, rate) = (table(), rate(20, 60));
        let key = table.key("ann");
        assert_eq!(granted(&table, key, 1_000, 100, rate), 60);
        assert_eq!(table.take(key, 1_000, 1, rate), Err(RetryMs(50)));
        let taken = (1_001..=11_000).filter(|&ms| table.take(key, ms, 1, rate).is_ok()).count();
        assert_eq!(taken, 200, "20 a second for 10 seconds");
        assert_eq!(granted(&table, key, 14_000, 100, rate), 60, "and is full again");
        assert_eq!(granted(&table, key, 14_000, 100, Rate { per_s: 0, burst: 0 }), 100, "no bound");
    }

    #[test]
    fn the_wait_told_is_long_enough_and_no_longer() {
        for per_s in [1, 3, 7, 20, 999, 1_000, 5_000] {
            let table = table();
            let (key, rate) = (table.key(per_s), rate(per_s, 2));
            let mut now_ms = 5;
            for _ in 0..50 {
                if let Err(RetryMs(wait_ms)) = table.take(key, now_ms, 1, rate) {
                    let early_ms = now_ms + u64::from(wait_ms) - 1;
                    assert!(wait_ms == 1 || table.take(key, early_ms, 1, rate).is_err());
                    now_ms += u64::from(wait_ms);
                    assert_eq!(table.take(key, now_ms, 1, rate), Ok(()), "{per_s}/s at {now_ms}");
                }
            }
        }
    }

    #[test]
    fn what_is_more_than_a_burst_needs_a_full_bucket_and_is_paid_off() {
        let (table, rate) = (table(), rate(1_000, 2_000));
        let key = table.key("ann");
        assert_eq!(table.take(key, 0, 10_000, rate), Ok(()));
        assert_eq!(table.take(key, 0, 1, rate), Err(RetryMs(8_001)));
        assert_eq!(table.take(key, 0, 10_000, rate), Err(RetryMs(10_000)));
        assert_eq!(table.take(key, 8_001, 1, rate), Ok(()));
        assert!(table.take(key, 9_999, 10_000, rate).is_err());
        assert_eq!(table.take(key, 10_001, 10_000, rate), Ok(()));
        assert_eq!(table.take(key, 10_001, u64::MAX, rate), Err(RetryMs(10_000)), "no overflow");
    }

    #[test]
    fn time_may_wrap_and_what_is_long_past_is_past() {
        let (table, rate) = (table(), rate(1, 1));
        let key = table.key("ann");
        // The last millisecond that fits into the bits of a word.
        let wrap_ms = (1_u64 << TIME_BITS) / 1_000;
        assert_eq!(table.take(key, wrap_ms - 400, 1, rate), Ok(()));
        assert_eq!(table.take(key, wrap_ms - 400, 1, rate), Err(RetryMs(1_000)));
        assert!(table.take(key, wrap_ms + 500, 1, rate).is_err());
        assert_eq!(table.take(key, wrap_ms + 601, 1, rate), Ok(()));
        let year_ms = 365 * 24 * 3_600 * 1_000;
        for years in 1..8 {
            let now_ms = wrap_ms + years * year_ms;
            assert_eq!(table.take(key, now_ms, 1, rate), Ok(()), "after {years} years");
        }
        assert_eq!(table.take(key, u64::MAX, u64::MAX, Rate { per_s: 1, burst: u64::MAX }), Ok(()));
    }

    #[test]
    fn keys_of_one_line_have_a_bucket_each_and_one_too_many_takes_that_nearest_to_full() {
        let (table, rate) = (RateTable::new(1, 1), rate(1, 10));
        let key = |number: u64| number << TIME_BITS;
        // The first is the nearest to full.
        for number in 1..=8 {
            assert_eq!(granted(&table, key(number), 0, number, rate), number);
        }
        for number in 1..=8 {
            assert_eq!(granted(&table, key(number), 0, 20, rate), 10 - number, "its own");
        }
        assert_eq!(granted(&table, key(9), 0, 20, rate), 10, "nobody is refused for others");
        let full = (1..=8).filter(|number| granted(&table, key(*number), 0, 1, rate) > 0).count();
        assert_eq!(full, 1, "one of them has lost its bucket, and no other");
        assert_eq!(granted(&table, key(20), 10_000, 20, rate), 10, "who is rested makes place");
    }

    #[test]
    fn of_many_threads_no_more_get_something_than_there_is() {
        const THREADS: usize = 4;
        let table = table();
        let mut granted_in_all = [0; 3];
        for (number, total) in granted_in_all.iter_mut().enumerate() {
            let (key, rate) = (table.key(number), rate(1, 1_000));
            let start = std::sync::Barrier::new(THREADS);
            let one = || {
                start.wait();
                granted(&table, key, 77, 600, rate)
            };
            *total = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(one)).collect();
                threads.into_iter().map(|thread| thread.join().expect("no panic")).sum::<u64>()
            });
        }
        assert_eq!(granted_in_all, [1_000; 3]);
    }
}

//! How often a large room is flushed.
//!
//! A flush of a room of 1,000 members takes the kernel some 6 ms. Between two flushes the room
//! rests and collects, so that messages share writes, and other rooms get their part of the shard.
//! A member waits at most for one period, from the beginning of a flush to that of the next. The
//! period is a multiple of what a flush *usually* takes, and so stays even. After a flush that took
//! longer, since another program had the core, the rest is shorter: a rest in proportion to each
//! flush would make the latest messages later still.
//!
//! Deliberately absent: the seats and bytes of a flush (`audience::flush`).

/// The period, in percent of a usual flush: in the long run one room takes at most 100/160, five
/// eighths, of its shard. A longer rest would save more writes, and show as latency.
const PERIOD_PERCENT: u64 = 160;

/// After a flush shorter than this a room does not rest, in microseconds: small rooms are not
/// delayed.
const PACED_FROM_US: u64 = 2_000;

/// The weight of a flush in the running mean is one in `USUAL_OF`: a stall hardly shows, and a room
/// that has grown shows after a few flushes.
const USUAL_OF: u64 = 8;

/// No rest is longer than this many times the last flush, whatever is usual: half of the members
/// may have left.
const REST_FLUSHES_MAX: u64 = 2;

/// The rhythm of one room on this shard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cadence {
    /// When the flush under way began, and how long its slices took so far, in microseconds.
    began_us: u64,
    spent_us: u64,
    /// How long a flush usually takes: the running mean, in microseconds.
    usual_us: u64,
    /// Until when the room collects, in milliseconds of monotonic time.
    rests_until_ms: u64,
}

impl Cadence {
    /// Begins a flush. Any clock that counts microseconds will do, if all calls use the same.
    pub(crate) fn begin(&mut self, began_us: u64) {
        (self.began_us, self.spent_us) = (began_us, 0);
    }

    /// Notes how long a slice took.
    pub(crate) fn spend(&mut self, spent_us: u64) {
        self.spent_us += spent_us;
    }

    /// Ends a flush: the room rests for what is left of its period.
    pub(crate) fn end(&mut self, now_ms: u64, ended_us: u64) {
        if self.spent_us < PACED_FROM_US {
            return;
        }
        self.usual_us = match self.usual_us {
            0 => self.spent_us,
            usual_us => (usual_us * (USUAL_OF - 1) + self.spent_us) / USUAL_OF,
        };
        let period_us = self.usual_us * PERIOD_PERCENT / 100;
        let rest_us = period_us.saturating_sub(ended_us.saturating_sub(self.began_us));
        let rest_us = rest_us.min(self.spent_us * REST_FLUSHES_MAX);
        // To the nearest millisecond: the poll that ends it counts in these.
        self.rests_until_ms = now_ms + (rest_us + 500) / 1_000;
    }

    /// Until when the room collects, in milliseconds of monotonic time.
    pub(crate) const fn rests_until_ms(&self) -> u64 {
        self.rests_until_ms
    }

    /// The room is to be flushed whether it rests or not.
    pub(crate) fn wake(&mut self) {
        self.rests_until_ms = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long the room rests after a flush, in milliseconds, of which `beside_us` went to others
    /// on the shard.
    fn rest_ms(cadence: &mut Cadence, flush_us: u64, beside_us: u64) -> u64 {
        cadence.begin(1_000);
        cadence.spend(flush_us / 2);
        cadence.spend(flush_us - flush_us / 2);
        cadence.end(50, 1_000 + flush_us + beside_us);
        cadence.rests_until_ms().saturating_sub(50)
    }

    #[test]
    fn a_large_room_takes_five_eighths_of_its_shard_and_a_small_one_does_not_wait() {
        for (flush_us, expected_ms) in [(0, 0), (1_999, 0), (2_000, 1), (5_000, 3), (80_000, 48)] {
            assert_eq!(rest_ms(&mut Cadence::default(), flush_us, 0), expected_ms, "{flush_us}");
        }
    }

    #[test]
    fn from_one_flush_to_the_next_it_is_as_long_as_usual() {
        let mut usual = Cadence::default();
        assert_eq!(rest_ms(&mut usual, 10_000, 0), 6);
        // One that is late, one that others on the shard held up, and one for which there is no
        // rest left.
        assert_eq!(rest_ms(&mut { usual }, 14_000, 0), 3);
        assert_eq!(rest_ms(&mut { usual }, 10_000, 4_000), 2);
        assert_eq!(rest_ms(&mut { usual }, 40_000, 0), 0);
        // An early one.
        assert_eq!(rest_ms(&mut { usual }, 6_000, 0), 9);
    }

    #[test]
    fn a_room_that_has_grown_or_shrunk_finds_its_rhythm() {
        let mut cadence = Cadence::default();
        rest_ms(&mut cadence, 4_000, 0);
        for _ in 0..20 {
            rest_ms(&mut cadence, 40_000, 0);
        }
        assert!((20..=24).contains(&rest_ms(&mut cadence, 40_000, 0)));
        assert_eq!(rest_ms(&mut cadence, 4_000, 0), 8, "at once no longer than twice the flush");
        for _ in 0..20 {
            rest_ms(&mut cadence, 4_000, 0);
        }
        assert!((2..=5).contains(&rest_ms(&mut cadence, 4_000, 0)));
    }

    #[test]
    fn a_look_at_who_has_had_everything_changes_nothing() {
        let mut cadence = Cadence::default();
        rest_ms(&mut cadence, 10_000, 0);
        rest_ms(&mut cadence, 5, 0);
        assert_eq!(rest_ms(&mut cadence, 10_000, 0), 6);
    }
}

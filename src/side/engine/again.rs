//! When an engine is connected to again: at once the first time, and later each time. Else one that
//! ends each connection as soon as it is made would do nothing else, nor would this server.
//!
//! Each wait is drawn from its upper half, so that servers that were cut off together do not come
//! together. A connection that has lived for long makes the next wait the first again.
//!
//! Deliberately absent: clocks, and why a connection has ended.

use std::time::Duration;

use crate::base::rng::SplitMix64;

/// The first wait.
const FIRST: Duration = Duration::from_millis(50);

/// The longest, while there is no connection.
pub(super) const UNREACHED_MAX: Duration = Duration::from_secs(1);

/// The longest before the next connection, where each one ends soon. Somebody has to do something,
/// and rooms are of use between two of them only for a moment.
pub(super) const SHORT_LIVED_MAX: Duration = Duration::from_secs(10);

/// A connection that has lived for so long has served.
const LONG: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Again {
    next: Duration,
    rng: SplitMix64,
}

impl Again {
    pub(super) fn new(seed: u64) -> Self {
        Self { next: FIRST, rng: SplitMix64::new(seed) }
    }

    /// How long to wait now, and twice as long the next time, up to the longest.
    pub(super) fn wait(&mut self, longest: Duration) -> Duration {
        let wait = self.next.min(longest);
        self.next = (wait * 2).min(longest);
        let half_ms = u64::try_from(wait.as_millis() / 2).expect("it is short");
        Duration::from_millis(half_ms + self.rng.below(half_ms + 1))
    }

    /// The same from the first wait on, with other draws.
    pub(super) fn anew(&mut self) -> Self {
        Self::new(self.rng.next_u64())
    }

    /// A connection has ended that has lived for so long.
    pub(super) fn lived(&mut self, lived: Duration) {
        if lived >= LONG {
            self.next = FIRST;
        }
    }

    /// Whether some connections have ended soon, one after the other.
    pub(super) fn is_slow(&self) -> bool {
        self.next >= 4 * FIRST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_is_longer_than_the_one_before_up_to_the_longest_and_no_two_servers_wait_alike() {
        let waits = |seed| {
            let mut again = Again::new(seed);
            (0..12).map(|_| again.wait(SHORT_LIVED_MAX)).collect::<Vec<_>>()
        };
        let (one, other) = (waits(1), waits(2));
        assert_ne!(one, other);
        for (number, wait) in (0..).zip(one) {
            let whole = (FIRST * 2_u32.pow(number)).min(SHORT_LIVED_MAX);
            assert!(whole / 2 <= wait && wait <= whole, "{number}: {wait:?}");
        }
    }

    #[test]
    fn a_connection_that_has_served_makes_the_next_wait_the_first_and_one_that_has_not_does_not() {
        let mut again = Again::new(1);
        for _ in 0..3 {
            again.lived(LONG / 2);
            again.wait(SHORT_LIVED_MAX);
        }
        assert!(again.is_slow());
        again.lived(LONG);
        assert!(!again.is_slow());
        assert!(again.wait(SHORT_LIVED_MAX) <= FIRST);
    }
}

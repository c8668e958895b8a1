//! Rate limits in 8 bytes each.
//!
//! Deliberately absent: the rate. It is the same for all buckets of a kind and comes with each
//! call, so that a bucket costs a connection two numbers, and a changed limit holds at once.

/// How many parts make a token. With thousandths, a rate per second is exactly that many parts per
/// millisecond.
const PARTS: u32 = 1_000;

/// The largest burst a bucket can hold, in tokens: 4,294,967. More counts as this.
const BURST_MAX: u32 = u32::MAX / PARTS;

/// A token bucket that starts full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    /// Thousandths of a token, as of `at_ms`. May exceed the burst until the next call cuts it.
    parts: u32,
    /// The low 32 bits of the time of the last call.
    at_ms: u32,
}

/// How long to wait until the next token is there, in milliseconds; at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryMs(pub u32);

impl TokenBucket {
    /// A full bucket.
    #[must_use]
    pub const fn new(now_ms: u64) -> Self {
        Self { parts: u32::MAX, at_ms: low_bits(now_ms) }
    }

    /// Takes one token out of a bucket that gains `per_s` tokens a second and holds at most `burst`
    /// (0 counts as 1). A `per_s` of 0 is no bound.
    ///
    /// Between two calls 2^31 ms may pass (24 days). After more, less is credited than was gained,
    /// never more.
    ///
    /// # Errors
    ///
    /// When there is no whole token: how long until there is. Nothing is taken then.
    pub fn take(&mut self, now_ms: u64, per_s: u32, burst: u32) -> Result<(), RetryMs> {
        if per_s == 0 {
            return Ok(());
        }
        self.parts = self.parts_at(now_ms, per_s).min(full(burst));
        self.at_ms = low_bits(now_ms);
        match self.parts.checked_sub(PARTS) {
            Some(left) => {
                self.parts = left;
                Ok(())
            }
            None => Err(RetryMs((PARTS - self.parts).div_ceil(per_s))),
        }
    }

    /// Whether nothing would tell this bucket from a new one, at the rate of its calls.
    #[must_use]
    pub fn is_full(self, now_ms: u64, per_s: u32, burst: u32) -> bool {
        per_s == 0 || self.parts_at(now_ms, per_s) >= full(burst)
    }

    /// What is in it now, were it without a bound.
    fn parts_at(self, now_ms: u64, per_s: u32) -> u32 {
        // Read as signed: a clock that steps back credits nothing, instead of 49 days.
        let passed_ms =
            low_bits(now_ms).wrapping_sub(self.at_ms).cast_signed().max(0).cast_unsigned();
        self.parts.saturating_add(passed_ms.saturating_mul(per_s))
    }
}

/// The parts of a full bucket.
fn full(burst: u32) -> u32 {
    burst.clamp(1, BURST_MAX) * PARTS
}

const fn low_bits(ms: u64) -> u32 {
    let [low @ .., _, _, _, _] = ms.to_le_bytes();
    u32::from_le_bytes(low)
}

const _: () = assert!(size_of::<TokenBucket>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_peer_may_burst_and_then_has_its_rate() {
        let mut bucket = TokenBucket::new(0);
        for _ in 0..60 {
            assert_eq!(bucket.take(0, 20, 60), Ok(()));
        }
        assert_eq!(bucket.take(0, 20, 60), Err(RetryMs(50)));
        let taken = (1..=10_000).filter(|&ms| bucket.take(ms, 20, 60).is_ok()).count();
        assert_eq!(taken, 200, "20 a second for 10 seconds");
    }

    #[test]
    fn the_wait_told_is_exactly_long_enough() {
        for per_s in [1, 3, 7, 20, 999, 1_000, 5_000] {
            let mut bucket = TokenBucket::new(0);
            let mut now_ms = 0;
            for _ in 0..50 {
                if let Err(RetryMs(wait_ms)) = bucket.take(now_ms, per_s, 2) {
                    let mut early = bucket;
                    assert!(
                        wait_ms == 1
                            || early.take(now_ms + u64::from(wait_ms) - 1, per_s, 2).is_err()
                    );
                    now_ms += u64::from(wait_ms);
                    assert_eq!(bucket.take(now_ms, per_s, 2), Ok(()), "{per_s}/s at {now_ms}");
                }
            }
        }
    }

    #[test]
    fn a_bucket_is_full_when_it_holds_its_burst_again() {
        let mut bucket = TokenBucket::new(0);
        assert!(bucket.is_full(0, 20, 60));
        assert_eq!(bucket.take(0, 20, 60), Ok(()));
        assert!(!bucket.is_full(49, 20, 60));
        assert!(bucket.is_full(50, 20, 60) && bucket.is_full(0, 0, 60));
    }

    #[test]
    fn a_rate_of_zero_is_no_bound() {
        let mut bucket = TokenBucket::new(0);
        assert!((0..1_000).all(|_| bucket.take(0, 0, 0).is_ok()));
    }

    #[test]
    fn a_burst_of_zero_still_lets_the_rate_through() {
        let mut bucket = TokenBucket::new(0);
        assert_eq!(bucket.take(0, 1, 0), Ok(()));
        assert_eq!(bucket.take(999, 1, 0), Err(RetryMs(1)));
        assert_eq!(bucket.take(1_000, 1, 0), Ok(()));
    }

    #[test]
    fn the_low_bits_of_time_may_wrap() {
        let wrap = 1 << 32;
        let mut bucket = TokenBucket::new(wrap - 500);
        assert_eq!(bucket.take(wrap - 500, 1, 1), Ok(()));
        assert_eq!(bucket.take(wrap + 499, 1, 1), Err(RetryMs(1)));
        assert_eq!(bucket.take(wrap + 500, 1, 1), Ok(()));
    }

    #[test]
    fn a_clock_that_steps_back_credits_nothing() {
        let mut bucket = TokenBucket::new(1_000);
        assert_eq!(bucket.take(1_000, 1, 1), Ok(()));
        assert_eq!(bucket.take(500, 1, 1), Err(RetryMs(1_000)));
        assert_eq!(bucket.take(1_499, 1, 1), Err(RetryMs(1)));
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let mut bucket = TokenBucket::new(0);
        for now_ms in [0, 1, u64::from(u32::MAX / 2), u64::MAX] {
            assert_eq!(bucket.take(now_ms, u32::MAX, u32::MAX), Ok(()));
        }
    }
}

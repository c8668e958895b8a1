//! The rates at which connections push and join: two token buckets for each that has used some of
//! them lately.
//!
//! A full bucket says nothing, so who is quiet has none.

use std::collections::HashMap;

use crate::base::bucket::{RetryMs, TokenBucket};
use crate::base::slack::Slack;
use crate::limits::Limits;

/// What one connection may do yet.
#[derive(Debug)]
struct Allowance {
    publish: TokenBucket,
    join: TokenBucket,
}

/// The connections that are not quite rested, by index.
#[derive(Debug, Default)]
pub(crate) struct Rates(HashMap<u32, Allowance, ahash::RandomState>);

impl Rates {
    /// Takes a push from what a connection may do.
    ///
    /// # Errors
    ///
    /// When there is none left: how long until there is.
    pub(crate) fn take_publish(
        &mut self,
        conn: u32,
        now_ms: u64,
        limits: &Limits,
    ) -> Result<(), RetryMs> {
        self.allowance(conn, now_ms).publish.take(
            now_ms,
            limits.publish_per_s,
            limits.publish_burst,
        )
    }

    /// Takes a join from what a connection may do. See [`Rates::take_publish`].
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) fn take_join(
        &mut self,
        conn: u32,
        now_ms: u64,
        limits: &Limits,
    ) -> Result<(), RetryMs> {
        self.allowance(conn, now_ms).join.take(now_ms, limits.join_per_s, limits.join_burst)
    }

    fn allowance(&mut self, conn: u32, now_ms: u64) -> &mut Allowance {
        let full =
            || Allowance { publish: TokenBucket::new(now_ms), join: TokenBucket::new(now_ms) };
        self.0.entry(conn).or_insert_with(full)
    }

    /// Forgets a connection that has gone.
    pub(crate) fn forget(&mut self, conn: u32) {
        self.0.remove(&conn);
    }

    /// Forgets those who may do all again that anybody may.
    pub(crate) fn forget_rested(&mut self, now_ms: u64, limits: &Limits) {
        self.0.retain(|_, Allowance { publish, join }| {
            !publish.is_full(now_ms, limits.publish_per_s, limits.publish_burst)
                || !join.is_full(now_ms, limits.join_per_s, limits.join_burst)
        });
        self.0.trim(ALLOWANCES_KEPT);
    }
}

/// For how many connections memory is kept when they are quiet.
const ALLOWANCES_KEPT: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_connection_is_forgotten_and_loses_nothing_by_it() {
        let limits = Limits {
            publish_per_s: 10,
            publish_burst: 2,
            join_per_s: 1,
            join_burst: 1,
            ..Limits::default()
        };
        let mut rates = Rates::default();
        assert_eq!(rates.take_publish(7, 1_000, &limits), Ok(()));
        assert_eq!(rates.take_join(7, 1_000, &limits), Ok(()));
        rates.forget_rested(1_999, &limits);
        assert!(rates.take_join(7, 1_999, &limits).is_err(), "not rested yet");
        rates.forget_rested(2_000, &limits);
        assert!(rates.0.is_empty());
        assert_eq!([2_000; 2].map(|now_ms| rates.take_publish(7, now_ms, &limits)), [Ok(()); 2]);
        assert!(rates.take_publish(7, 2_000, &limits).is_err(), "the burst, and not more");
        rates.forget(7);
        assert!(rates.0.is_empty());
    }
}

//! The rates at which users push, join and open sessions, and how many sessions each has: one
//! record for each user who has used some of it lately.
//!
//! All of it belongs to a user and not to a connection: a new connection, or a new session of long
//! polling, is no new burst. The table is that of one shard, and nobody asks another: a user whose
//! connections are on all of them has the rate on each. To ask the shard at which a user is at home
//! would cost each push a way through a ring, for a factor that is the number of cores.
//!
//! What a user may do is found by a hash of its id, with a seed that nobody knows. A full bucket
//! says nothing, so who is quiet and has no session has no record.
//!
//! Deliberately absent: addresses. Where they mean something, that is, where
//! [`Limits::connections_per_ip`] is set, sessions count by them as connections do: [`Io::admit`].
//!
//! [`Io::admit`]: crate::link::io::Io::admit

use std::collections::HashMap;

use super::Conns;
use crate::auth::identity::Identity;
use crate::base::bucket::{RetryMs, TokenBucket};
use crate::base::slack::Slack;
use crate::limits::{Limits, SESSIONS_PER_USER_MAX};
use crate::link::ids::ConnKey;

/// What one user may do yet, and has.
#[derive(Debug)]
struct Allowance {
    publish: TokenBucket,
    join: TokenBucket,
    open: TokenBucket,
    sessions: u32,
}

impl Allowance {
    fn full(now_ms: u64) -> Self {
        let full = TokenBucket::new(now_ms);
        Self { publish: full, join: full, open: full, sessions: 0 }
    }
}

/// The users that are not quite rested, by a hash of their ids.
#[derive(Debug)]
pub(crate) struct Rates {
    allowances: HashMap<u64, Allowance, ahash::RandomState>,
    hasher: ahash::RandomState,
}

/// Why a user may not have a session more: it has as many as may be, or opens them too fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManySessions;

impl Rates {
    /// Nobody yet.
    pub(super) fn new(hasher: ahash::RandomState) -> Self {
        Self { allowances: HashMap::with_hasher(hasher.clone()), hasher }
    }

    fn take_publish(&mut self, user: &str, now_ms: u64, limits: &Limits) -> Result<(), RetryMs> {
        let publish = &mut self.allowance(user, now_ms).publish;
        publish.take(now_ms, limits.publish_per_s, limits.publish_burst)
    }

    /// Takes a join, or a room that is made, from what a user may do.
    ///
    /// # Errors
    ///
    /// When there is none left: how long until there is.
    pub(crate) fn take_join(
        &mut self,
        user: &str,
        now_ms: u64,
        limits: &Limits,
    ) -> Result<(), RetryMs> {
        let join = &mut self.allowance(user, now_ms).join;
        join.take(now_ms, limits.join_per_s, limits.join_burst)
    }

    /// Counts a session that a user opens, at the rate of joins: who begins a session joins.
    ///
    /// # Errors
    ///
    /// If it may not have it; nothing is counted then.
    pub(super) fn open_session(
        &mut self,
        user: &str,
        now_ms: u64,
        limits: &Limits,
    ) -> Result<(), TooManySessions> {
        let allowance = self.allowance(user, now_ms);
        if allowance.sessions >= SESSIONS_PER_USER_MAX {
            return Err(TooManySessions);
        }
        let taken = allowance.open.take(now_ms, limits.join_per_s, limits.join_burst);
        taken.map_err(|_| TooManySessions)?;
        allowance.sessions += 1;
        Ok(())
    }

    /// A user has one session less.
    pub(super) fn close_session(&mut self, user: &str) {
        let hash = self.hasher.hash_one(user);
        let allowance = self.allowances.get_mut(&hash);
        allowance.expect("a user with a session is known").sessions -= 1;
    }

    fn allowance(&mut self, user: &str, now_ms: u64) -> &mut Allowance {
        let hash = self.hasher.hash_one(user);
        self.allowances.entry(hash).or_insert_with(|| Allowance::full(now_ms))
    }

    /// Forgets those who may do all again that anybody may.
    pub(crate) fn forget_rested(&mut self, now_ms: u64, limits: &Limits) {
        self.allowances.retain(|_, Allowance { publish, join, open, sessions }| {
            *sessions > 0
                || !publish.is_full(now_ms, limits.publish_per_s, limits.publish_burst)
                || !join.is_full(now_ms, limits.join_per_s, limits.join_burst)
                || !open.is_full(now_ms, limits.join_per_s, limits.join_burst)
        });
        self.allowances.trim(ALLOWANCES_KEPT);
    }
}

impl Conns {
    /// Takes a push from what a connection's user may do.
    ///
    /// # Errors
    ///
    /// When there is none left: how long until there is.
    pub(crate) fn take_publish(
        &mut self,
        key: ConnKey,
        now_ms: u64,
        limits: &Limits,
    ) -> Result<(), RetryMs> {
        let identity = self.arena.get(key).and_then(|conn| conn.identity.as_ref());
        self.rates.take_publish(identity.map_or("", Identity::user), now_ms, limits)
    }
}

/// For how many users memory is kept when they are quiet.
const ALLOWANCES_KEPT: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn rates() -> Rates {
        Rates::new(ahash::RandomState::with_seeds(1, 2, 3, 4))
    }

    fn limits() -> Limits {
        Limits {
            publish_per_s: 10,
            publish_burst: 2,
            join_per_s: 1,
            join_burst: 1,
            ..Limits::default()
        }
    }

    #[test]
    fn a_quiet_user_is_forgotten_and_loses_nothing_by_it() {
        let (mut rates, limits) = (rates(), limits());
        assert_eq!(rates.take_publish("ann", 1_000, &limits), Ok(()));
        assert_eq!(rates.take_join("ann", 1_000, &limits), Ok(()));
        rates.forget_rested(1_999, &limits);
        assert!(rates.take_join("ann", 1_999, &limits).is_err(), "not rested yet");
        assert_eq!(rates.take_join("bob", 1_999, &limits), Ok(()), "nobody else's");
        rates.forget_rested(2_999, &limits);
        assert!(rates.allowances.is_empty());
        let taken = [3_000; 2].map(|now_ms| rates.take_publish("ann", now_ms, &limits));
        assert_eq!(taken, [Ok(()); 2]);
        assert!(rates.take_publish("ann", 3_000, &limits).is_err(), "the burst, and not more");
    }

    #[test]
    fn sessions_are_opened_at_a_rate_and_so_many_are_there_at_once() {
        let (mut rates, limits) = (rates(), limits());
        let mut now_ms = 1_000;
        for _ in 0..SESSIONS_PER_USER_MAX {
            assert_eq!(rates.open_session("ann", now_ms, &limits), Ok(()));
            assert_eq!(rates.open_session("ann", now_ms, &limits), Err(TooManySessions), "rate");
            now_ms += 1_000;
        }
        rates.forget_rested(now_ms, &limits);
        assert_eq!(rates.open_session("ann", now_ms, &limits), Err(TooManySessions), "count");
        rates.close_session("ann");
        assert_eq!(rates.open_session("ann", now_ms, &limits), Ok(()));
        (0..SESSIONS_PER_USER_MAX).for_each(|_| rates.close_session("ann"));
        rates.forget_rested(now_ms + 1_000, &limits);
        assert!(rates.allowances.is_empty());
    }
}

//! How many sessions of long polling each user has on this shard.
//!
//! They belong to a user and not to a connection: one that opens session after session needs none
//! of them. A user is found by a hash of its id, with a seed that nobody knows.
//!
//! Deliberately absent: how fast they are opened, and how many an address has. Rates are one table
//! for all shards ([`crate::link::rates`]), and where addresses have a bound, sessions count by
//! them as connections do: [`Io::admit`].
//!
//! [`Io::admit`]: crate::link::io::Io::admit

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::base::slack::Slack;
use crate::limits::SESSIONS_PER_USER_MAX;

/// The users that have sessions, by a hash of their ids.
#[derive(Debug)]
pub(super) struct SessionCounts {
    counts: HashMap<u64, u32, ahash::RandomState>,
}

impl SessionCounts {
    /// Nobody has any.
    pub(super) fn new(hasher: ahash::RandomState) -> Self {
        Self { counts: HashMap::with_hasher(hasher) }
    }

    fn hash(&self, user: &str) -> u64 {
        self.counts.hasher().hash_one(user)
    }

    /// Whether a user has as many as may be.
    pub(super) fn is_full(&self, user: &str) -> bool {
        self.counts.get(&self.hash(user)).is_some_and(|count| *count >= SESSIONS_PER_USER_MAX)
    }

    /// A user has one session more.
    pub(super) fn add(&mut self, user: &str) {
        *self.counts.entry(self.hash(user)).or_default() += 1;
    }

    /// A user has one session less.
    pub(super) fn remove(&mut self, user: &str) {
        let Entry::Occupied(mut count) = self.counts.entry(self.hash(user)) else {
            unreachable!("a user with a session is known")
        };
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }

    /// Gives back the memory of many that had some.
    pub(super) fn trim(&mut self, kept: usize) {
        self.counts.trim(kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_sessions_and_one_without_any_is_forgotten() {
        let mut counts = SessionCounts::new(ahash::RandomState::with_seeds(1, 2, 3, 4));
        for _ in 0..SESSIONS_PER_USER_MAX {
            assert!(!counts.is_full("ann"));
            counts.add("ann");
        }
        assert!(counts.is_full("ann") && !counts.is_full("bob"));
        counts.remove("ann");
        assert!(!counts.is_full("ann"));
        (1..SESSIONS_PER_USER_MAX).for_each(|_| counts.remove("ann"));
        assert!(counts.counts.is_empty());
    }
}

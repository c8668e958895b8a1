//! What can be seen of a shard from other threads: its numbers, and whether it still turns.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::STALL_MS;
use crate::shard::Published;

/// One shard's health.
#[derive(Default)]
pub struct Health {
    /// What it has counted.
    pub metrics: Published,
    /// Since when it has been in a turn, in milliseconds of monotonic time; 0 while it waits for
    /// something to do.
    busy_since_ms: AtomicU64,
    /// The turn that was last said to take too long.
    stalled_since_ms: AtomicU64,
    stalls: AtomicU64,
    restarts: AtomicU64,
}

impl Health {
    /// A turn begins.
    pub(super) fn turns(&self, now_ms: u64) {
        self.busy_since_ms.store(now_ms.max(1), Ordering::Relaxed);
    }

    /// The turn is over.
    pub(super) fn waits(&self) {
        self.busy_since_ms.store(0, Ordering::Relaxed);
    }

    /// Counts a restart after a panic.
    pub(super) fn restarts(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the shard has been in one turn for too long.
    #[must_use]
    pub fn is_stuck(&self, now_ms: u64) -> bool {
        let since_ms = self.busy_since_ms.load(Ordering::Relaxed);
        since_ms != 0 && now_ms.saturating_sub(since_ms) >= STALL_MS
    }

    /// How long the shard has been in one turn, if that is too long and has not been said of this
    /// turn yet. Counted.
    pub fn stalled_ms(&self, now_ms: u64) -> Option<u64> {
        let since_ms = self.busy_since_ms.load(Ordering::Relaxed);
        if !self.is_stuck(now_ms)
            || self.stalled_since_ms.swap(since_ms, Ordering::Relaxed) == since_ms
        {
            return None;
        }
        self.stalls.fetch_add(1, Ordering::Relaxed);
        Some(now_ms.saturating_sub(since_ms))
    }

    /// How many turns took too long.
    #[must_use]
    pub fn stalls(&self) -> u64 {
        self.stalls.load(Ordering::Relaxed)
    }

    /// How many times it restarted.
    #[must_use]
    pub fn restarts_count(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_takes_too_long_is_said_once() {
        let health = Health::default();
        assert_eq!(health.stalled_ms(u64::MAX), None, "nothing to do is no stall");
        health.turns(100);
        assert_eq!(health.stalled_ms(99 + STALL_MS), None);
        assert_eq!(health.stalled_ms(100 + STALL_MS), Some(STALL_MS));
        assert_eq!(health.stalled_ms(500 + STALL_MS), None);
        assert!(health.is_stuck(500 + STALL_MS), "it is, whether that was said or not");
        health.waits();
        assert!(!health.is_stuck(900 + STALL_MS));
        assert_eq!(health.stalled_ms(900 + STALL_MS), None);
        health.turns(1_000);
        assert_eq!((health.stalled_ms(1_000 + STALL_MS), health.stalls()), (Some(STALL_MS), 2));
    }
}

//! What a failure means: whether appends are taken, and when it is tried again.
//!
//! ```text
//!             a commit fails                       CORRUPT, a defect, or a second failed sync in a minute
//!   working ────────────────> failing (since, due) ────────────────────────────────> failed
//!      ^                         │ each second: heal, write again
//!      └─────────────────────────┘
//! ```
//!
//! A failed sync may have dropped pages that the kernel now calls clean, so that a later one which
//! succeeds proves nothing. Therefore the log is emptied into the database before anything is
//! appended to it again: see [`super::writer::Writer::heal`].
//!
//! What SQLite calls damage may be a disk that cannot be read: `probe` finds out, and only damage
//! that it has confirmed comes here as such.
//!
//! Deliberately absent: clocks and SQL.

use super::error::Cause;

/// How long after a failure it is tried again, in milliseconds.
const RETRY_MS: u64 = 1_000;

/// Within how long a second failed sync ends it, in milliseconds.
const SYNCS_WINDOW_MS: u64 = 60_000;

/// Whether appends are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// They are.
    Working,
    /// They are not, until it heals.
    Failing {
        /// Why.
        cause: Cause,
        /// When to try again.
        due_ms: u64,
    },
    /// They are not, until the process is started again.
    Failed {
        /// Why.
        cause: Cause,
    },
}

/// What has failed so far. See the module.
#[derive(Debug)]
pub(super) struct Faults {
    state: State,
    sync_failed_ms: Option<u64>,
}

impl Faults {
    /// Nothing has.
    pub(super) const fn new() -> Self {
        Self { state: State::Working, sync_failed_ms: None }
    }

    /// Whether appends are taken.
    pub(super) const fn state(&self) -> State {
        self.state
    }

    /// Notes a failure. True if all that worked until now.
    pub(super) fn fail(&mut self, now_ms: u64, cause: Cause) -> bool {
        let worked = self.state == State::Working;
        if matches!(self.state, State::Failed { .. }) {
            return false;
        }
        let is_second_sync = cause == Cause::Sync
            && self
                .sync_failed_ms
                .replace(now_ms)
                .is_some_and(|first_ms| now_ms < first_ms + SYNCS_WINDOW_MS);
        let is_for_good = is_second_sync || matches!(cause, Cause::Corrupt | Cause::Defect);
        self.state = if is_for_good {
            State::Failed { cause }
        } else {
            State::Failing { cause, due_ms: now_ms + RETRY_MS }
        };
        worked
    }

    /// What was queued has been written.
    pub(super) fn heal(&mut self) {
        assert!(!matches!(self.state, State::Failed { .. }), "what has failed is left alone");
        self.state = State::Working;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_tried_again_each_second_for_as_long_as_it_takes() {
        let mut faults = Faults::new();
        assert!(faults.fail(5, Cause::Full));
        for second in 1..100 {
            let now_ms = 5 + second * RETRY_MS;
            assert_eq!(faults.state(), State::Failing { cause: Cause::Full, due_ms: now_ms });
            assert!(!faults.fail(now_ms, Cause::Full), "told once");
        }
        faults.heal();
        assert_eq!(faults.state(), State::Working);
        assert!(faults.fail(0, Cause::Io), "and once more for the next one");
    }

    #[test]
    fn a_second_failed_sync_within_a_minute_is_for_good() {
        let mut faults = Faults::new();
        faults.fail(0, Cause::Sync);
        faults.heal();
        faults.fail(SYNCS_WINDOW_MS, Cause::Sync);
        assert!(matches!(faults.state(), State::Failing { .. }), "not within it");
        faults.heal();
        faults.fail(2 * SYNCS_WINDOW_MS - 1, Cause::Sync);
        assert_eq!(faults.state(), State::Failed { cause: Cause::Sync });
        assert!(!faults.fail(u64::MAX, Cause::Full), "nothing changes that");
        assert_eq!(faults.state(), State::Failed { cause: Cause::Sync });
    }

    #[test]
    fn damage_does_not_heal() {
        for cause in [Cause::Corrupt, Cause::Defect] {
            let mut faults = Faults::new();
            assert!(faults.fail(0, cause));
            assert_eq!(faults.state(), State::Failed { cause });
        }
    }
}

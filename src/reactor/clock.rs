//! The only place that reads clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::base::time::Now;

/// A monotonic clock that begins with the process, and the wall clock beside it. All shards have
/// copies of one.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
}

impl Clock {
    /// A clock that begins now.
    #[must_use]
    pub fn new() -> Self {
        Self { began: Instant::now() }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Now {
        Now {
            mono_ms: self.mono_ms(),
            unix_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, ms),
        }
    }

    /// The monotonic time alone, in milliseconds.
    pub(super) fn mono_ms(&self) -> u64 {
        ms(self.began.elapsed())
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

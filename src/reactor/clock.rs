//! The only place that reads clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::base::time::Now;

/// A monotonic clock that begins with the process, and the wall clock beside it. All shards have copies of one.
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
        let ms = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Now {
            mono_ms: ms(self.began.elapsed()),
            unix_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, ms),
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

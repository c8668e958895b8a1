//! How the process tells its shards to stop.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::mesh::Wake;

/// What the process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It serves.
    Serve,
    /// It takes nobody in any more, and closes those who are there within this time, in milliseconds.
    Drain {
        /// See the variant.
        over_ms: u64,
    },
    /// It ends at once.
    Stop,
}

/// The phase, as all shards see it.
#[derive(Default)]
pub struct Control {
    phase: AtomicU64,
    wakers: Mutex<Vec<Arc<dyn Wake>>>,
}

const SERVE: u64 = 0;
const STOP: u64 = u64::MAX;

impl Control {
    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            SERVE => Phase::Serve,
            STOP => Phase::Stop,
            over_ms => Phase::Drain { over_ms },
        }
    }

    /// Begins a phase, and wakes every shard to it.
    pub fn begin(&self, phase: Phase) {
        let number = match phase {
            Phase::Serve => SERVE,
            Phase::Drain { over_ms } => over_ms.clamp(1, STOP - 1),
            Phase::Stop => STOP,
        };
        self.phase.store(number, Ordering::Release);
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|waker| waker.wake());
    }

    /// Has a shard woken when a phase begins.
    pub(super) fn set_waker(&self, waker: Arc<dyn Wake>) {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner).push(waker);
    }
}

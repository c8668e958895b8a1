//! How the process tells its shards to stop.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::mesh::Wake;

/// What the process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It serves.
    Serve,
    /// It takes nobody in any more, and closes those who are there within this time, in
    /// milliseconds.
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
    /// Shards that still have connections, or have not begun to drain.
    inhabited: AtomicU32,
    has_failed: AtomicBool,
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
        self.wakers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .for_each(|waker| waker.wake());
    }

    /// Begins to stop, because this cannot go on.
    pub fn give_up(&self, over_ms: u64) {
        self.has_failed.store(true, Ordering::Release);
        if self.phase() == Phase::Serve {
            self.begin(Phase::Drain { over_ms });
        }
    }

    /// Whether it stops because it could not go on.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// Says that a shard has drained. With the last one all of them stop; until then, rooms that
    /// live on an empty one are in use.
    pub(super) fn drained(&self) {
        if self.inhabited.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.begin(Phase::Stop);
        }
    }

    /// Takes a shard in: it is woken when a phase begins, and must say when it has drained.
    pub(super) fn set_waker(&self, waker: Arc<dyn Wake>) {
        self.inhabited.fetch_add(1, Ordering::AcqRel);
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner).push(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct NoWake;

    impl Wake for NoWake {
        fn wake(&self) {}
    }

    #[test]
    fn who_gives_up_drains_unless_it_stops_already() {
        let control = Control::default();
        control.give_up(7);
        assert_eq!((control.phase(), control.has_failed()), (Phase::Drain { over_ms: 7 }, true));
        control.begin(Phase::Stop);
        control.give_up(7);
        assert_eq!(control.phase(), Phase::Stop);
    }

    #[test]
    fn a_drained_shard_stays_until_the_last_one_has_drained() {
        let control = Control::default();
        control.set_waker(Arc::new(NoWake));
        control.set_waker(Arc::new(NoWake));
        control.begin(Phase::Drain { over_ms: 0 });
        assert_eq!(control.phase(), Phase::Drain { over_ms: 1 });
        control.drained();
        assert_eq!(control.phase(), Phase::Drain { over_ms: 1 });
        control.drained();
        assert_eq!(control.phase(), Phase::Stop);
    }
}

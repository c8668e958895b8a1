//! Who sleeps, and how it is woken: at most one call of a waker for each sleep.
//!
//! The rule on both sides is *first tell, then look*, and both tell by swapping the same flag:
//!
//! ```text
//!   sleeper:  asleep.swap(true),  then look into the rings, then sleep
//!   other:    write to the ring,  then asleep.swap(false); if it was true, wake
//! ```
//!
//! The swaps have one order. If the other's comes second, it finds `true` and wakes. If the
//! sleeper's comes second it synchronises with the other's, and so sees the ring as it was written.
//! A plain store in place of a swap would break this chain: that is also why [`Sleeper::woke`]
//! swaps.

use std::sync::{Arc, OnceLock};

use super::sync::{AtomicBool, Ordering};

/// Ends the sleep of one shard: `mio::Waker`, or a condition variable in a test.
pub trait Wake: Send + Sync {
    /// Makes the shard's poll return now, or at once when it is next called. Called from other
    /// shards' threads.
    fn wake(&self);
}

/// One shard's sleep, seen by all.
#[derive(Default)]
pub(super) struct Sleeper {
    asleep: AtomicBool,
    waker: OnceLock<Arc<dyn Wake>>,
}

impl Sleeper {
    /// # Panics
    ///
    /// If it has a waker already.
    pub(super) fn set_waker(&self, waker: Arc<dyn Wake>) {
        assert!(self.waker.set(waker).is_ok(), "a shard has one waker");
    }

    /// Tells that the shard is about to sleep; it must look once more whether there is anything to
    /// do. `false` if nobody could wake it.
    pub(super) fn announce_sleep(&self) -> bool {
        self.waker.get().is_some() && {
            self.asleep.swap(true, Ordering::SeqCst);
            true
        }
    }

    /// Tells that the shard is awake, whatever woke it.
    pub(super) fn woke(&self) {
        self.asleep.swap(false, Ordering::SeqCst);
    }

    /// Wakes the shard if it sleeps and nobody has woken it yet.
    pub(super) fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst)
            && let Some(waker) = self.waker.get()
        {
            waker.wake();
        }
    }
}

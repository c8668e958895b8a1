//! Who reads in the database, so that the writer can have nobody read for a moment.
//!
//! SQLite begins its log anew only while nobody reads, and to wait for that is not enough: it waits
//! for a place in the log, which the next reader takes as soon as the last one has left it. So each
//! read of this process goes through here, and none begins while the writer waits.
//!
//! Invariants: whoever is inside waits for no other thread of the store.
//!
//! Called by: `side::store::threads`, `side::store::index`.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// How many read.
    inside: u32,
    is_closed: bool,
}

/// Somebody reads, as long as this lives.
pub(super) struct Inside<'a>(&'a Gate);

/// Nobody begins to read, as long as this lives.
pub(super) struct Closed<'a>(&'a Gate);

impl Gate {
    /// Begins to read, when the gate is open.
    pub(super) fn enter(&self) -> Inside<'_> {
        let opened = self.changed.wait_while(self.state(), |state| state.is_closed);
        opened.unwrap_or_else(PoisonError::into_inner).inside += 1;
        Inside(self)
    }

    /// Closes it, and waits until nobody is inside. None, if that takes longer than this. Only one
    /// may: the writer.
    pub(super) fn close(&self, within: Duration) -> Option<Closed<'_>> {
        self.state().is_closed = true;
        // It is opened by this, whatever comes.
        let closed = Closed(self);
        let left = self.changed.wait_timeout_while(self.state(), within, |state| state.inside > 0);
        let is_late = left.unwrap_or_else(PoisonError::into_inner).1.timed_out();
        (!is_late).then_some(closed)
    }

    /// What is in there is whole whatever panics.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.state().inside -= 1;
        self.0.changed.notify_all();
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.state().is_closed = false;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn none_begins_while_it_is_closed_and_whoever_does_not_leave_is_not_waited_for_for_ever() {
        let (gate, is_in) = (Gate::default(), AtomicBool::new(false));
        let (one, two) = (gate.enter(), gate.enter());
        assert!(gate.close(Duration::ZERO).is_none(), "two are inside");
        drop((one, two, gate.enter()));
        let closed = gate.close(Duration::from_secs(9)).expect("nobody is inside");
        thread::scope(|scope| {
            scope.spawn(|| {
                let _inside = gate.enter();
                is_in.store(true, Ordering::Release);
            });
            // Long enough for one that does not wait.
            thread::sleep(Duration::from_millis(20));
            assert!(!is_in.load(Ordering::Acquire));
            drop(closed);
        });
        assert!(is_in.load(Ordering::Acquire));
    }
}

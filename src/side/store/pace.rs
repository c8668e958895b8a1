//! When a batch is committed, and when it is on disk: what the store promises decides.
//!
//! Where an answer waits for its commit there is no timer: a batch is committed as soon as the one
//! before it is, and is on disk then. Where answers do not wait, a batch gathers for
//! [`STORE_GATHER_MS`], and one within [`STORE_SYNC_MS`] is synced, with all before it.
//!
//! Deliberately absent: clocks, and how much a batch may have.

use super::log::Promise;
use super::writer::OnDisk;
use crate::limits::{STORE_GATHER_MS, STORE_SYNC_MS};
use crate::link::store::ToStore;

/// See the module. Times are in milliseconds of one clock.
#[derive(Debug)]
pub(super) struct Pace {
    /// Whether nobody waits for commits.
    is_lazy: bool,
    /// When the batch is to be committed, as far as it has gathered.
    due_ms: u64,
    /// Since when something is in the batch, or committed, that is not on disk.
    unsynced_ms: Option<u64>,
}

impl Pace {
    /// What is to be done for this promise.
    pub(super) fn of(promise: Promise) -> Self {
        Self { is_lazy: promise == Promise::OkIsTaken, due_ms: u64::MAX, unsynced_ms: None }
    }

    /// Notes that a record has come into the batch.
    pub(super) fn note_gathered(&mut self, record: &ToStore<'_>, now_ms: u64) {
        let since_ms = *self.unsynced_ms.get_or_insert(now_ms);
        // Whoever opens a room, or reads in it, waits for that.
        let is_question =
            matches!(record, ToStore::Open { .. } | ToStore::Read { .. } | ToStore::Find { .. });
        let is_awaited = !self.is_lazy || is_question;
        let due_ms = if is_awaited { now_ms } else { now_ms + STORE_GATHER_MS };
        self.due_ms = self.due_ms.min(due_ms).min(since_ms + STORE_SYNC_MS);
    }

    /// When the batch is to be committed, if there is something in it.
    pub(super) fn commit_due_ms(&self) -> u64 {
        self.due_ms
    }

    /// Whether the next commit is to be on disk.
    pub(super) fn sync_of_commit(&self, now_ms: u64) -> OnDisk {
        // The one after it might come too late.
        let is_due =
            self.sync_due_ms().is_some_and(|due_ms| due_ms <= now_ms + 2 * STORE_GATHER_MS);
        if is_due || !self.is_lazy { OnDisk::Now } else { OnDisk::Later }
    }

    /// Notes that the batch is committed.
    pub(super) fn note_committed(&mut self, sync: OnDisk) {
        self.due_ms = u64::MAX;
        if sync == OnDisk::Now {
            self.note_synced();
        }
    }

    /// Notes that all that was committed is on disk.
    pub(super) fn note_synced(&mut self) {
        self.unsynced_ms = None;
    }

    /// When all that was committed must be on disk, if it is not.
    pub(super) fn sync_due_ms(&self) -> Option<u64> {
        self.unsynced_ms.map(|since_ms| since_ms + STORE_SYNC_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::arena::Key;
    use crate::link::log::{Marks, Said};

    const SAID: Said<'_> = Said { user: "u", name: "U", body: "\"x\"", key: None, reply_to: None };

    fn append() -> ToStore<'static> {
        let (room, top) = (Key::from_u64(1), Marks::default());
        ToStore::Append { number: 1, room, top, at_ms: 0, said: SAID }
    }

    #[test]
    fn where_answers_wait_a_batch_does_not() {
        for promise in [Promise::OkIsKept, Promise::SeenIsKept] {
            let mut pace = Pace::of(promise);
            pace.note_gathered(&append(), 7);
            assert_eq!((pace.commit_due_ms(), pace.sync_of_commit(7)), (7, OnDisk::Now));
            pace.note_committed(OnDisk::Now);
            assert_eq!(pace.sync_due_ms(), None);
        }
    }

    #[test]
    fn where_answers_do_not_wait_a_batch_gathers_and_all_is_on_disk_within_a_second() {
        let mut pace = Pace::of(Promise::OkIsTaken);
        let (mut now_ms, mut syncs, mut commits) = (1_000, Vec::new(), 0);
        while now_ms < 6_000 {
            pace.note_gathered(&append(), now_ms);
            let due_ms = pace.commit_due_ms();
            assert!(due_ms <= now_ms + STORE_GATHER_MS);
            now_ms = due_ms;
            let sync = pace.sync_of_commit(now_ms);
            if sync == OnDisk::Now {
                syncs.push(now_ms);
            }
            pace.note_committed(sync);
            commits += 1;
        }
        assert!(commits >= 90, "{commits}");
        assert!(syncs[0] <= 2_000 && (5..10).contains(&syncs.len()), "{syncs:?}");
        assert!(syncs.windows(2).all(|pair| pair[1] - pair[0] <= STORE_SYNC_MS), "{syncs:?}");
    }

    #[test]
    fn who_opens_a_room_does_not_wait_for_what_gathers() {
        let mut pace = Pace::of(Promise::OkIsTaken);
        pace.note_gathered(&append(), 1);
        let open = ToStore::Open { number: 2, room: Key::from_u64(1), topic: "room:a", epoch: 1 };
        pace.note_gathered(&open, 2);
        assert_eq!((pace.commit_due_ms(), pace.sync_of_commit(2)), (2, OnDisk::Later));
        pace.note_committed(OnDisk::Later);
        assert_eq!(pace.sync_due_ms(), Some(1 + STORE_SYNC_MS), "and what was there is on its way");
    }
}

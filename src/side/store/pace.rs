//! When a batch is committed, and when it is on disk: what the store promises decides.
//!
//! | what waits for a commit | a batch is committed |
//! |---|---|
//! | others, to hear what is said | as soon as the one before it is |
//! | answers | the same, where it comes right behind an answer, as of a client that waits for each; else [`STORE_COMMITS_APART_US`] after the one before it began, which is at once where the store is at rest |
//! | nothing | after [`STORE_GATHER_MS`]; one within [`STORE_SYNC_MS`] is synced, with all before it |
//!
//! Whoever opens a room, or reads in it, waits for nothing but the commit that is under way.
//!
//! Deliberately absent: clocks, and how much a batch may have.

use super::log::Promise;
use super::writer::OnDisk;
use crate::limits::{STORE_COMMITS_APART_US, STORE_GATHER_MS, STORE_SYNC_MS, STORE_WAITED_US};
use crate::link::store::ToStore;

const GATHER_US: u64 = STORE_GATHER_MS * 1_000;
const SYNC_US: u64 = STORE_SYNC_MS * 1_000;

/// See the module. Times are in microseconds of one clock.
#[derive(Debug)]
pub(super) struct Pace {
    promise: Promise,
    /// When the last commit began and ended, if there was one.
    last: Option<(u64, u64)>,
    /// When the batch is to be committed, as far as it has gathered.
    due_us: u64,
    /// Since when something is in the batch, or committed, that is not on disk.
    unsynced_us: Option<u64>,
}

impl Pace {
    /// What is to be done for this promise.
    pub(super) fn of(promise: Promise) -> Self {
        Self { promise, last: None, due_us: u64::MAX, unsynced_us: None }
    }

    /// Notes that a record has come into the batch.
    pub(super) fn note_gathered(&mut self, record: &ToStore<'_>, now_us: u64) {
        let since_us = *self.unsynced_us.get_or_insert(now_us);
        let is_question = matches!(
            record,
            ToStore::Open { .. }
                | ToStore::Read { .. }
                | ToStore::Find { .. }
                | ToStore::Audit { .. }
        );
        let due_us = match self.promise {
            _ if is_question => now_us,
            Promise::SeenIsKept => now_us,
            Promise::OkIsKept => self.due_of_answer(now_us),
            Promise::OkIsTaken => now_us + GATHER_US,
        };
        self.due_us = self.due_us.min(due_us).min(since_us + SYNC_US);
    }

    /// When what has come now, and whose answer waits, is to be committed.
    fn due_of_answer(&self, now_us: u64) -> u64 {
        match self.last {
            Some((began_us, ended_us)) if now_us >= ended_us + STORE_WAITED_US => {
                now_us.max(began_us + STORE_COMMITS_APART_US)
            }
            _ => now_us,
        }
    }

    /// When the batch is to be committed, if there is something in it.
    pub(super) fn commit_due_us(&self) -> u64 {
        self.due_us
    }

    /// Whether the next commit is to be on disk.
    pub(super) fn sync_of_commit(&self, now_us: u64) -> OnDisk {
        // The one after it might come too late.
        let is_due = self.sync_due_us().is_some_and(|due_us| due_us <= now_us + 2 * GATHER_US);
        let is_lazy = self.promise == Promise::OkIsTaken;
        if is_due || !is_lazy { OnDisk::Now } else { OnDisk::Later }
    }

    /// Notes that the batch is committed, and from when to when that took.
    pub(super) fn note_committed(&mut self, sync: OnDisk, began_us: u64, ended_us: u64) {
        self.last = Some((began_us, ended_us));
        self.due_us = u64::MAX;
        if sync == OnDisk::Now {
            self.note_synced();
        }
    }

    /// Notes that all that was committed is on disk.
    pub(super) fn note_synced(&mut self) {
        self.unsynced_us = None;
    }

    /// When all that was committed must be on disk, if it is not.
    pub(super) fn sync_due_us(&self) -> Option<u64> {
        self.unsynced_us.map(|since_us| since_us + SYNC_US)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::arena::Key;
    use crate::link::log::Marks;
    use crate::link::said::Said;

    const SAID: Said<'_> = Said {
        user: "u",
        name: "U",
        body: "\"x\"",
        key: None,
        reply_to: None,
        thread: None,
        mentions: None,
        data: None,
        stream: false,
    };

    fn append() -> ToStore<'static> {
        let (room, top) = (Key::from_u64(1), Marks::default());
        ToStore::Append { number: 1, room, top, at_ms: 0, said: SAID }
    }

    fn open() -> ToStore<'static> {
        ToStore::Open { number: 2, room: Key::from_u64(1), topic: "room:a", epoch: 1 }
    }

    #[test]
    fn where_others_wait_a_batch_does_not() {
        let mut pace = Pace::of(Promise::SeenIsKept);
        for now_us in [7, 1_000] {
            pace.note_gathered(&append(), now_us);
            assert_eq!((pace.commit_due_us(), pace.sync_of_commit(7)), (now_us, OnDisk::Now));
            pace.note_committed(OnDisk::Now, now_us, now_us + 100);
            assert_eq!(pace.sync_due_us(), None);
        }
    }

    #[test]
    fn where_answers_wait_a_batch_gathers_unless_a_client_waits_for_each_or_all_is_at_rest() {
        let mut pace = Pace::of(Promise::OkIsKept);
        pace.note_gathered(&append(), 10_000);
        assert_eq!(pace.commit_due_us(), 10_000, "the first one");
        pace.note_committed(OnDisk::Now, 10_000, 10_300);
        pace.note_gathered(&append(), 10_200);
        assert_eq!(pace.commit_due_us(), 10_200, "it came meanwhile");
        pace.note_committed(OnDisk::Now, 10_300, 10_600);
        pace.note_gathered(&append(), 10_700);
        assert_eq!(pace.commit_due_us(), 10_700, "right behind the answer");
        pace.note_committed(OnDisk::Now, 10_700, 11_000);
        pace.note_gathered(&append(), 11_700);
        pace.note_gathered(&append(), 12_700);
        assert_eq!(pace.commit_due_us(), 10_700 + STORE_COMMITS_APART_US);
        assert_eq!(pace.sync_of_commit(12_700), OnDisk::Now);
        pace.note_gathered(&open(), 12_800);
        assert_eq!(pace.commit_due_us(), 12_800, "who opens a room waits for nobody");
        pace.note_committed(OnDisk::Now, 12_800, 13_000);
        pace.note_gathered(&append(), 20_000);
        assert_eq!(pace.commit_due_us(), 20_000, "at rest");
    }

    #[test]
    fn where_answers_do_not_wait_a_batch_gathers_and_all_is_on_disk_within_a_second() {
        let mut pace = Pace::of(Promise::OkIsTaken);
        let (mut now_us, mut syncs, mut commits) = (1_000_000, Vec::new(), 0);
        while now_us < 6_000_000 {
            pace.note_gathered(&append(), now_us);
            let due_us = pace.commit_due_us();
            assert!(due_us <= now_us + GATHER_US);
            now_us = due_us;
            let sync = pace.sync_of_commit(now_us);
            if sync == OnDisk::Now {
                syncs.push(now_us);
            }
            pace.note_committed(sync, now_us, now_us);
            commits += 1;
        }
        assert!(commits >= 90, "{commits}");
        assert!(syncs[0] <= 2_000_000 && (5..10).contains(&syncs.len()), "{syncs:?}");
        assert!(syncs.windows(2).all(|pair| pair[1] - pair[0] <= SYNC_US), "{syncs:?}");
    }

    #[test]
    fn who_opens_a_room_does_not_wait_for_what_gathers() {
        let mut pace = Pace::of(Promise::OkIsTaken);
        pace.note_gathered(&append(), 1_000);
        pace.note_gathered(&open(), 2_000);
        assert_eq!((pace.commit_due_us(), pace.sync_of_commit(2_000)), (2_000, OnDisk::Later));
        pace.note_committed(OnDisk::Later, 2_000, 2_100);
        assert_eq!(pace.sync_due_us(), Some(1_000 + SYNC_US), "and what was there is on its way");
    }
}

//! What the writer's thread does beside commits: the log is moved and emptied, the disk is looked
//! at, and what is not to be kept is let go of.
//!
//! ```text
//!   before a batch  is it time to sync? are the files there, and is enough of the disk free?
//!                   is it time to empty the log of what was deleted?
//!   behind a batch  a log that has grown is moved into the database
//!   at rest         retention ─ pages that nothing is in ─ the log: moved, and emptied
//! ```
//!
//! Deliberately absent: the order in which a turn does this (`writing`).
//!
//! Called by: `side::store::threads::writing`. Calls: `side::store::writer`,
//! `side::store::retention`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Start;
use super::writing::WriterThread;
use crate::limits::{
    STORE_CHECKPOINT_IDLE_BYTES, STORE_ERASE_AGAIN_MS, STORE_ERASE_TRIES, STORE_GATHER_MS,
    STORE_LOG_FACTOR, STORE_REST_MS, STORE_SPACE_MS, STORE_VACUUM_PAGES,
};
use crate::link::store::FromStore;
use crate::side::store::disk::FILE;
use crate::side::store::error::StoreError;
use crate::side::store::faults::State;
use crate::side::store::reader::READ_MS_MAX;
use crate::side::store::retention::vacuum;

/// How much of the disk is to stay free.
pub(super) struct Space {
    folder: PathBuf,
    reserve_bytes: u64,
    free_bytes: fn(&Path) -> io::Result<u64>,
    /// When to look again, in milliseconds.
    due_ms: u64,
}

impl Space {
    pub(super) fn of(start: &Start) -> Self {
        Self {
            folder: start.options.path.clone(),
            reserve_bytes: start.reserve_bytes,
            free_bytes: start.options.free_bytes,
            due_ms: 0,
        }
    }

    /// It is looked at again at once.
    pub(super) fn look_again(&mut self) {
        self.due_ms = 0;
    }
}

impl WriterThread {
    /// Syncs what was answered and is only in the log, if that is due: it is on disk in time,
    /// whatever else there is to do.
    pub(super) fn sync_if_due(&mut self) {
        if self.pace.sync_due_us().is_some_and(|due_us| due_us <= self.now_us()) {
            self.checkpoint(0);
        }
    }

    /// Notes that something was overwritten or deleted: it is in the log as it was.
    pub(super) fn note_erased(&mut self) {
        let due_ms = self.now_ms() + self.erase_ms;
        self.erase_due_ms.get_or_insert(due_ms);
    }

    /// Empties the log, if something was deleted and that is due.
    pub(super) fn erase_if_due(&mut self) {
        let now_ms = self.now_ms();
        let is_due = self.erase_due_ms.is_some_and(|due_ms| due_ms <= now_ms);
        // Where a sync has failed just now, one more failure would be for good; healing empties it.
        if !is_due || self.faults.state() != State::Working {
            return;
        }
        // Where there are always readers one of them is always in the way, unless it is waited for.
        self.erase_tries += 1;
        let is_last = self.erase_tries >= STORE_ERASE_TRIES;
        if self.empty_wal(is_last) {
            self.erase_tries = 0;
        } else {
            self.erase_due_ms = Some(now_ms + STORE_ERASE_AGAIN_MS);
        }
    }

    /// Moves what is in the log into the database, and empties it. False if that is to be tried
    /// again: a reader is in the way, which ends in time and is waited for if this is the `is_last`
    /// try, or the disk fails.
    fn empty_wal(&mut self, is_last: bool) -> bool {
        let began_us = self.now_us();
        // Those of another program are waited for, too.
        let gate = Arc::clone(&self.gate);
        let emptied = match is_last.then(|| gate.close(Duration::from_millis(2 * READ_MS_MAX))) {
            Some(Some(_closed)) => self.writer.empty_wal_at_last(),
            _ => self.writer.empty_wal(),
        };
        match emptied {
            Ok(is_empty) => {
                if is_empty {
                    self.stats.checkpointed(self.now_us() - began_us, 0);
                    self.stats.set_wal_bytes(0);
                    self.pace.note_synced();
                    self.erase_due_ms = None;
                }
                is_empty
            }
            Err(error) => {
                self.fail(&error);
                false
            }
        }
    }

    /// Moves what is in the log into the database, as far as no reader is in the way, if it is more
    /// than this. A log that has grown all the same is emptied.
    pub(super) fn checkpoint(&mut self, bytes_max: usize) {
        let bytes = self.writer.wal_bytes();
        if bytes <= bytes_max || (self.is_overgrown(bytes) && self.empty_overgrown_wal()) {
            return;
        }
        let began_us = self.now_us();
        match self.writer.checkpoint() {
            Ok(pages_left) => {
                self.stats.checkpointed(self.now_us() - began_us, pages_left);
                if pages_left == 0 {
                    self.pace.note_synced();
                }
                self.stats.set_wal_bytes(self.writer.wal_bytes());
            }
            Err(error) => self.fail(&error),
        }
    }

    /// Whether a log has become so large that reads are waited for.
    fn is_overgrown(&self, bytes: usize) -> bool {
        bytes > STORE_LOG_FACTOR * self.limits.checkpoint_bytes
            && self.now_ms() >= self.overgrown_due_ms
    }

    /// Empties such a log. False if that was not possible, and something else may be tried.
    fn empty_overgrown_wal(&mut self) -> bool {
        if self.empty_wal(true) {
            return true;
        }
        // Reads here have ended by now: another program reads, and for that not each commit waits.
        self.overgrown_due_ms = self.now_ms() + STORE_REST_MS;
        self.faults.state() != State::Working
    }

    /// Whether the files are there and enough of the disk is free; if not, it is failing from now
    /// on. No, too, if it has been failing since this turn began: what is committed then is told as
    /// kept by a store that is about to heal.
    pub(super) fn can_write(&mut self) -> bool {
        if self.faults.state() != State::Working {
            return false;
        }
        let found = self.look_at_disk();
        if let Err(error) = &found {
            self.fail(error);
        }
        found.is_ok()
    }

    pub(super) fn look_at_disk(&mut self) -> Result<(), StoreError> {
        let now_ms = self.now_ms();
        if now_ms < self.space.due_ms {
            return Ok(());
        }
        self.space.due_ms = now_ms + STORE_SPACE_MS;
        self.writer.check_place()?;
        self.stats.set_db_bytes(self.space.folder.join(FILE).metadata()?.len());
        if self.space.reserve_bytes == 0 {
            return Ok(());
        }
        let free = (self.space.free_bytes)(&self.space.folder)?;
        self.stats.set_free_disk_bytes(free);
        if free < self.space.reserve_bytes {
            return Err(StoreError::Space { free });
        }
        Ok(())
    }

    /// Lets go of a part of what is not to be kept, if that is due. True if it was.
    pub(super) fn let_go_if_due(&mut self) -> bool {
        let now_ms = self.now_ms();
        let is_due = self.retention.due_ms().is_some_and(|due_ms| due_ms <= now_ms);
        if !is_due {
            return false;
        }
        match self.retention.step(self.writer.conn(), now_ms, (self.unix_ms)()) {
            Ok(step) if step.deleted > 0 => {
                self.writer.note_written();
                self.written_ms = now_ms;
                self.note_erased();
                self.may_vacuum = true;
                self.stats.let_go(step.deleted);
                self.stats.set_wal_bytes(self.writer.wal_bytes());
                // The words go too, though nobody says more in the room.
                self.index_queue.note(step.floors.iter().map(|(room, _)| *room));
                let told: Vec<_> = self.writer.who_has(&step.floors).collect();
                for (shard, room, floor) in told {
                    self.send(shard, FromStore::LetGo { room, floor });
                }
                self.port.end_turn();
                self.checkpoint(self.limits.checkpoint_bytes);
            }
            Ok(_) => {}
            Err(error) => self.fail(&error),
        }
        true
    }

    /// Lets go of a part of what is not to be kept, and gives back a part of what the file does not
    /// need, while too little of the disk is free: that may be all that it needs. True if there may
    /// be more to do at once.
    pub(super) fn make_space(&mut self) -> bool {
        self.let_go_if_due() || self.vacuum()
    }

    /// Gives back a part of what the file does not need. True if there may be more.
    fn vacuum(&mut self) -> bool {
        if !self.may_vacuum {
            return false;
        }
        match vacuum(self.writer.conn()) {
            Ok(free) => {
                if free > 0 {
                    self.writer.note_written();
                    self.written_ms = self.now_ms();
                }
                self.may_vacuum = free > STORE_VACUUM_PAGES;
                // The pages have only come into the log by that, and it must not grow for it.
                self.checkpoint(self.limits.checkpoint_bytes);
                self.may_vacuum
            }
            Err(error) => {
                self.fail(&error);
                false
            }
        }
    }

    /// Does what can be done when nothing is to be written. Returns how long it may rest, in
    /// milliseconds; none, if until it is woken.
    pub(super) fn rest(&mut self) -> Option<u64> {
        if self.vacuum() {
            return Some(0);
        }
        let due_ms = self.retention.due_ms().map(|due_ms| due_ms.saturating_sub(self.now_ms()));
        let sync_ms = self.pace.sync_due_us().map(|due_us| {
            // At least a moment: where it is past, a reader is in the way.
            (due_us / 1_000).saturating_sub(self.now_ms()).max(STORE_GATHER_MS)
        });
        let rest_ms = self.tidy();
        let erase_ms = self.erase_due_ms.map(|due_ms| due_ms.saturating_sub(self.now_ms()));
        [due_ms, sync_ms, rest_ms, erase_ms].into_iter().flatten().min()
    }

    /// Moves and empties the log, if it is large or was left alone for long. Returns as
    /// [`WriterThread::rest`] does.
    fn tidy(&mut self) -> Option<u64> {
        self.checkpoint(STORE_CHECKPOINT_IDLE_BYTES);
        if self.writer.is_wal_empty() {
            return None;
        }
        let due_ms = self.written_ms + STORE_REST_MS;
        let rest_ms = due_ms.saturating_sub(self.now_ms());
        if rest_ms > 0 {
            return Some(rest_ms);
        }
        (!self.empty_wal(false)).then_some(STORE_REST_MS)
    }
}

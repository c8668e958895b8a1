//! The thread that writes: what all rings hold goes into one commit, and its homes are told.
//!
//! ```text
//!   rings ── gather ──> batch ── commit ──> Kept, Opened, Load ── then `upkeep`, or rest
//!                         │ fails: it stays, and nothing more is taken
//!                         └── each second: heal, commit it again
//! ```
//!
//! While a commit is under way, the next batch gathers in the rings; `pace` says when it is
//! written. When a commit fails, its batch stays until it is written: rings fill, and shards
//! refuse. It is tried again each second, as `faults` says.
//!
//! Invariants: 1 to 3 of [`crate::link::store`].
//!
//! Called by: `side::store::threads`. Calls: `side::store::writer`, `side::store::faults`,
//! `side::store::pace`, `side::store::copy`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};

use super::upkeep::Space;
use super::{Start, Unpark};
use crate::limits::{STORE_SPACE_MS, StoreLimits};
use crate::link::audit::AuditPage;
use crate::link::field::Field;
use crate::link::kept::{Run, read_whole};
use crate::link::message::text;
use crate::link::store::{FromStore, Load, LoadPart, ToStore};
use crate::mesh::Port;
use crate::side::store::batch::Batch;
use crate::side::store::copy::{PAGES_PER_STEP, Partial, Request};
use crate::side::store::disk::files_in;
use crate::side::store::error::{Cause, StoreError};
use crate::side::store::faults::{Faults, State};
use crate::side::store::gate::Gate;
use crate::side::store::index::IndexQueue;
use crate::side::store::pace::Pace;
use crate::side::store::probe::Probe;
use crate::side::store::retention::Retention;
use crate::side::store::stats::StoreStats;
use crate::side::store::writer::{Damaged, OnDisk, Question, Writer};

/// What the writer shares with others.
pub(super) struct Given {
    /// Its end of the mesh.
    pub(super) port: Port,
    /// Where the indexer is told what was written.
    pub(super) index_queue: Arc<IndexQueue>,
    /// What all go through that read.
    pub(super) gate: Arc<Gate>,
    /// Where it counts.
    pub(super) stats: Arc<StoreStats>,
    /// Whether a shard has ended before all that it had said was taken.
    pub(super) is_lost: Arc<AtomicBool>,
    /// Copies that are asked for.
    pub(super) requests: Receiver<Request>,
}

/// The thread. See the module.
pub(super) struct WriterThread {
    pub(super) port: Port,
    pub(super) limits: StoreLimits,
    shards: u16,
    readers: u16,
    pub(super) writer: Writer,
    batch: Batch,
    questions: Vec<Question>,
    /// Where the indexer is told what was written.
    pub(super) index_queue: Arc<IndexQueue>,
    /// What all go through that read.
    pub(super) gate: Arc<Gate>,
    /// By shard: the number of its last append in the batch; 0 if there is none.
    kept: Vec<u64>,
    /// How many messages are in the batch.
    messages: usize,
    pub(super) faults: Faults,
    /// Behind the writer: see there.
    probe: Probe,
    pub(super) pace: Pace,
    pub(super) stats: Arc<StoreStats>,
    began: Instant,
    /// When something was written last, in milliseconds since it began.
    pub(super) written_ms: u64,
    record: Vec<u8>,
    /// Whether a shard has ended before all that it had said was taken.
    is_lost: Arc<AtomicBool>,
    /// Copies that are asked for.
    requests: Receiver<Request>,
    pub(super) retention: Retention,
    /// Whether there may be pages in the file that nothing is in.
    pub(super) may_vacuum: bool,
    /// After how long what was deleted is gone from the log too.
    pub(super) erase_ms: u64,
    /// When the log is to be emptied for that, in milliseconds since it began; none, if nothing was
    /// deleted.
    pub(super) erase_due_ms: Option<u64>,
    /// How often that was tried.
    pub(super) erase_tries: u32,
    /// From when on reads are waited for if the log has grown too large, in milliseconds since it
    /// began.
    pub(super) overgrown_due_ms: u64,
    pub(super) unix_ms: fn() -> u64,
    pub(super) space: Space,
}

/// What a turn of the writer comes to.
enum Next {
    /// There is more to do.
    Again,
    /// Nothing, for so long; `None`: until it is woken.
    Rest(Option<Duration>),
}

impl WriterThread {
    /// A writer of what a store is started with.
    pub(super) fn new(start: &Start, writer: Writer, given: Given) -> Self {
        let Given { port, index_queue, gate, stats, is_lost, requests } = given;
        Self {
            port,
            limits: start.limits,
            shards: start.shards,
            readers: start.readers,
            writer,
            batch: Batch::default(),
            questions: Vec::new(),
            index_queue,
            gate,
            kept: vec![0; usize::from(start.shards)],
            messages: 0,
            faults: Faults::new(),
            probe: Probe::of(files_in(&start.options.path)),
            pace: Pace::of(start.promise),
            stats,
            began: Instant::now(),
            written_ms: 0,
            record: Vec::new(),
            is_lost,
            requests,
            retention: Retention::new(start.keep, start.sweep_ms),
            may_vacuum: true,
            erase_ms: start.erase_ms,
            // What an earlier life has deleted may be in the log of that still.
            erase_due_ms: Some(start.erase_ms),
            erase_tries: 0,
            overgrown_due_ms: 0,
            unix_ms: start.unix_ms,
            space: Space::of(start),
        }
    }

    /// Writes until it is told to stop, and then all that was said before that. `why_not` says why
    /// nothing can be written at first.
    ///
    /// # Errors
    ///
    /// If it ends while it fails: then the end is one without order.
    pub(super) fn run(
        mut self,
        why_not: Option<StoreError>,
        stop: &AtomicBool,
    ) -> Result<(), StoreError> {
        self.port.set_waker(Arc::new(Unpark(thread::current())));
        match why_not {
            Some(error) => self.fail(&error),
            None => self.index_queue.open(),
        }
        loop {
            self.port.woke();
            // Before the last look into the rings: what was said until then is written.
            let is_last = stop.load(Ordering::Acquire);
            let now_ms = self.now_ms();
            let next = match self.faults.state() {
                _ if self.answer_request(stop) => Next::Again,
                State::Working => self.work(is_last),
                State::Failing { due_ms, .. } if due_ms <= now_ms => {
                    self.try_again();
                    Next::Again
                }
                State::Failing { cause: Cause::Space, .. } if !is_last && self.make_space() => {
                    Next::Again
                }
                State::Failing { due_ms, .. } => {
                    Next::Rest(Some(Duration::from_millis(due_ms - now_ms)))
                }
                State::Failed { .. } => Next::Rest(None),
            };
            match next {
                Next::Again => {}
                Next::Rest(_) if is_last => return self.end(),
                Next::Rest(rest) => self.sleep(rest),
            }
        }
    }

    /// Makes a copy that is asked for. False if there is none.
    fn answer_request(&mut self, stop: &AtomicBool) -> bool {
        let Ok(Request { to, done }) = self.requests.try_recv() else { return false };
        // Whoever does not wait for it any more gets none.
        let _ = done.send(self.copy(&to, stop));
        true
    }

    /// Does what is most urgent while all is well: what was said, then what is to be let go of,
    /// then the file.
    fn work(&mut self, is_last: bool) -> Next {
        self.sync_if_due();
        self.erase_if_due();
        if !self.can_write() {
            return Next::Again;
        }
        self.gather();
        let (now_us, is_idle) = (self.now_us(), self.batch.is_empty());
        let is_urgent = is_last || self.is_batch_full();
        let due_us = if is_urgent { now_us } else { self.pace.commit_due_us() };
        if !is_idle && due_us <= now_us {
            self.write();
            return Next::Again;
        }
        // There is no end to it, perhaps, and the next life goes on with it.
        if !is_last && self.let_go_if_due() {
            return Next::Again;
        }
        if !is_idle {
            return Next::Rest(Some(Duration::from_micros(due_us - now_us)));
        }
        let rest_ms = self.rest();
        if self.faults.state() != State::Working {
            // A checkpoint can fail too.
            return Next::Again;
        }
        // The disk is looked at all the same.
        let rest_ms = rest_ms.unwrap_or(STORE_SPACE_MS).min(STORE_SPACE_MS);
        Next::Rest(Some(Duration::from_millis(rest_ms)))
    }

    /// Waits until it is woken, for so long at most.
    fn sleep(&mut self, rest: Option<Duration>) {
        self.port.end_turn();
        // While it fails it is not woken for what it does not take.
        let may_sleep = self.faults.state() != State::Working || self.port.may_sleep();
        match rest {
            _ if !may_sleep => {}
            Some(rest) => thread::park_timeout(rest),
            None => thread::park(),
        }
    }

    pub(super) fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_us() / 1_000
    }

    /// Whether the batch has as much as a commit may have.
    fn is_batch_full(&self) -> bool {
        self.batch.len() >= self.limits.batch_messages
            || self.batch.bytes() >= self.limits.batch_bytes
    }

    /// Takes what the rings hold, up to what a commit may have.
    fn gather(&mut self) {
        let now_us = self.now_us();
        while !self.is_batch_full() {
            let Some(shard) = self.port.recv(&mut self.record) else { return };
            let record = read_whole(&self.record);
            self.pace.note_gathered(&record, now_us);
            if let Some(number) = record.entry_number() {
                self.kept[usize::from(shard)] = number;
            }
            self.messages += usize::from(matches!(record, ToStore::Append { .. }));
            self.batch.push(shard, &self.record);
        }
    }

    /// Commits the batch, and tells of it.
    fn write(&mut self) {
        match self.commit(self.pace.sync_of_commit(self.now_us())) {
            Ok(()) => {
                self.tell_written();
                self.checkpoint(self.limits.checkpoint_bytes);
            }
            Err(error) => self.fail(&error),
        }
        self.port.end_turn();
    }

    fn commit(&mut self, sync: OnDisk) -> Result<(), StoreError> {
        let began_us = self.now_us();
        self.writer.set_sync(sync)?;
        self.writer.write(&self.batch, &mut self.questions)?;
        let ended_us = self.now_us();
        self.pace.note_committed(sync, began_us, ended_us);
        self.stats.committed(self.messages, ended_us - began_us, self.writer.wal_bytes());
        if sync == OnDisk::Now {
            let took = self.writer.committed_in().as_micros();
            self.stats.synced(u64::try_from(took).unwrap_or(u64::MAX));
        }
        self.written_ms = ended_us / 1_000;
        if self.writer.has_overwritten() {
            self.note_erased();
        }
        Ok(())
    }

    fn tell_written(&mut self) {
        self.batch.clear(self.limits.batch_bytes);
        self.messages = 0;
        for shard in 0..self.shards {
            let through = std::mem::take(&mut self.kept[usize::from(shard)]);
            if through > 0 {
                self.send(shard, FromStore::Kept { through });
            }
        }
        for Damaged { shard, number, error } in self.writer.take_damaged() {
            self.stats.failed(error.cause());
            tracing::error!(%error, "a room cannot be opened: the file is damaged");
            self.send(shard, FromStore::NotOpened { number, is_full: false });
        }
        let mut questions = std::mem::take(&mut self.questions);
        for Question { shard, number, id, is_full, asked } in questions.drain(..) {
            match (id, asked.part()) {
                (None, LoadPart::Tail) if is_full => {
                    self.send(shard, FromStore::NotOpened { number, is_full });
                }
                (None, LoadPart::Tail) => {
                    self.send(shard, FromStore::Opened { number, found: None });
                }
                (None, LoadPart::Messages(_)) => {
                    self.send(shard, FromStore::Read { number, run: Run::default() });
                }
                (None, LoadPart::Words(_)) => {
                    self.send(shard, FromStore::Found { number, more_before: 0, hits: &[] });
                }
                (None, LoadPart::Audit(..)) => {
                    let page = AuditPage::default().end(false);
                    self.send(shard, FromStore::Audited { number, page: text(&page) });
                }
                (Some(id), part) => {
                    let readers = u32::from(self.readers);
                    let reader = u16::try_from(id % readers).expect("below the count of readers");
                    self.send(self.shards + 1 + reader, Load { shard, number, id, part });
                }
            }
        }
        self.questions = questions;
        self.index_queue.note(self.writer.written().iter().copied());
        self.retention.note(self.writer.timed().iter().copied(), self.now_ms());
        // Before anything else is done here: shards can go on.
        self.port.end_turn();
    }

    pub(super) fn send<'a>(&mut self, to: u16, message: impl Field<'a>) {
        self.record.clear();
        message.put(&mut self.record);
        self.port.send(to, &self.record);
    }

    fn tell_all(&mut self, message: FromStore<'_>) {
        for shard in 0..self.shards {
            self.send(shard, message);
        }
        self.port.end_turn();
    }

    pub(super) fn fail(&mut self, error: &StoreError) {
        let cause = self.probe.cause_of(error);
        self.stats.failed(cause);
        let is_first = self.faults.fail(self.now_ms(), cause);
        self.stats.set_state(self.faults.state());
        if is_first {
            tracing::error!(%error, cause = cause.as_str(), "messages are not kept");
            self.tell_all(FromStore::Failing {});
        }
        if let (false, State::Failed { .. }) = (is_first, self.faults.state()) {
            tracing::error!(%error, cause = cause.as_str(), "messages are not kept until a restart");
        }
    }

    /// Makes the file fit, and writes the batch that failed.
    fn try_again(&mut self) {
        self.space.look_again();
        // First the file: while there is too little space it is written to, by `make_space`.
        let healed = self.writer.heal().and_then(|is_fit| {
            self.look_at_disk()?;
            if is_fit && !self.batch.is_empty() {
                self.commit(OnDisk::Now)?;
            }
            Ok(is_fit)
        });
        match healed {
            Ok(true) => {
                self.faults.heal();
                self.index_queue.open();
                self.probe.reset();
                self.stats.set_state(self.faults.state());
                tracing::info!("messages are kept again");
                // What is in doubt is told first: its publishers may ask again from now on.
                self.tell_written();
                self.tell_all(FromStore::Healed {});
            }
            // A reader is in the way: it ends in time.
            Ok(false) => self.fail(&StoreError::Busy),
            Err(error) => self.fail(&error),
        }
    }

    /// Copies the file, and commits what comes meanwhile. What fails of the copy is told to whoever
    /// asked for it; the store is not failing for that.
    fn copy(&mut self, to: &Path, stop: &AtomicBool) -> Result<Partial, StoreError> {
        if self.faults.state() != State::Working {
            return Err(StoreError::Refused("messages are not kept just now".to_owned()));
        }
        let conn = self.writer.shared_conn();
        let (partial, mut into) = Partial::begin(to)?;
        let backup = Backup::new(&conn, &mut into)?;
        loop {
            match backup.step(PAGES_PER_STEP)? {
                StepResult::Done => break,
                StepResult::More => {}
                _ => return Err(StoreError::Busy),
            }
            self.port.woke();
            self.sync_if_due();
            self.erase_if_due();
            self.gather();
            if !self.batch.is_empty() && self.can_write() {
                self.write();
            }
            let why = if self.faults.state() != State::Working {
                "messages are not kept just now"
            } else if stop.load(Ordering::Acquire) {
                "it is about to end"
            } else {
                continue;
            };
            return Err(StoreError::Refused(why.to_owned()));
        }
        Ok(partial)
    }

    fn end(self) -> Result<(), StoreError> {
        match self.faults.state() {
            State::Working if !self.is_lost.load(Ordering::Acquire) => self.writer.close(),
            _ => Err(StoreError::Ended),
        }
    }
}

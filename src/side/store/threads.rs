//! The threads of the store: one that writes, and some that read.
//!
//! ```text
//!   "store-writer"    take what all rings hold ─ one commit ─ Kept, Opened, Load ─ checkpoint, or rest
//!   "store-reader-0"  Load ─ Opened, Read, Found; List ─ Listed
//!   "store-indexer"   see `index`
//!   "store-backup"    see `backups`
//! ```
//!
//! They meet the shards in a mesh of their own, whose last ports are theirs. While a commit is
//! under way, the next batch gathers in the rings; `pace` says when it is written.
//!
//! When a commit fails, its batch stays, and nothing more is taken until it is written: rings fill,
//! and shards refuse. It is tried again each second, as `faults` says.
//!
//! Invariants: 1 to 3 of [`crate::link::store`]; a shard never waits for these threads.
//!
//! Called by: `app`. Calls: `disk`, `writer`, `reader`, `faults`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};

use super::backups::{BackupThread, Backups};
use super::batch::Batch;
use super::copy::{Copier, PAGES_PER_STEP, Partial, Request};
use super::disk::{Disk, Options, files_in};
use super::error::{Cause, StoreError};
use super::faults::{Faults, State};
use super::index::Behind;
use super::log::{Promise, StoreLog};
use super::pace::Pace;
use super::probe::Probe;
use super::reader::{Reader, TailBounds};
use super::retention::{Keep, Retention, vacuum};
use super::socket::Requests;
use super::stats::{ReadKind, StoreStats};
use super::writer::{Damaged, OnDisk, Question, Writer};
use crate::limits::{
    STORE_BATCH_BYTES_MAX, STORE_BATCH_MAX, STORE_CHECKPOINT_BYTES, STORE_CHECKPOINT_IDLE_BYTES,
    STORE_GATHER_MS, STORE_REST_MS, STORE_SPACE_MS, STORE_VACUUM_PAGES,
};
use crate::link::log::Part;
use crate::link::record::Field;
use crate::link::settings::home_of;
use crate::link::store::{FromStore, List, Load, LoadPart, Run, ToStore, read_whole};
use crate::mesh::{Port, Wake, connect_with};

/// A store that runs. It ends with [`Store::stop`]; dropped without that, its end is one without
/// order.
pub struct Store {
    guest_secret: [u8; 32],
    stats: Arc<StoreStats>,
    stop: Arc<AtomicBool>,
    writer: JoinHandle<Result<(), StoreError>>,
    readers: Vec<JoinHandle<()>>,
    indexer: Option<JoinHandle<()>>,
    /// None, where there can be no socket.
    requests: Option<Requests>,
    /// None, where backups are made only when they are asked for.
    backups: Option<JoinHandle<()>>,
}

/// What a store is started with.
pub struct Start {
    /// Where it is, and how much memory it may use.
    pub options: Options,
    /// How much of what was said last is read with a room.
    pub tail: TailBounds,
    /// Signs guests' tokens, in a store that is new.
    pub made_secret: [u8; 32],
    /// Unix time, in milliseconds.
    pub now_ms: u64,
    /// How many shards there are.
    pub shards: u16,
    /// How many threads read.
    pub readers: u16,
    /// What is kept of each room.
    pub keep: Keep,
    /// After how long it is looked for what is not to be kept, in milliseconds.
    pub sweep_ms: u64,
    /// How much of the disk stays free, in bytes: with less, nothing more is taken. 0: it is not
    /// looked at.
    pub reserve_bytes: u64,
    /// The clock, in milliseconds of Unix time: for what is let go of by its age, and for backups.
    pub unix_ms: fn() -> u64,
    /// Which backups are made without being asked for. None: no such.
    pub backups: Option<Backups>,
    /// What an `ok` promises.
    pub promise: Promise,
    /// The size of a ring between a shard and a thread, in words: a power of two.
    pub ring_words: usize,
    /// What is done when a thread of the store panics: it is a defect, and nothing is kept from
    /// then on.
    pub on_panic: Arc<dyn Fn() + Send + Sync>,
}

/// Does what is to be done when a thread of the store panics.
struct Panics(Arc<dyn Fn() + Send + Sync>);

impl Drop for Panics {
    fn drop(&mut self) {
        if thread::panicking() {
            (self.0)();
        }
    }
}

/// Ends the sleep of a thread of the store.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(&self) {
        self.0.unpark();
    }
}

impl Store {
    /// Opens a store and begins its threads. Returns each shard's end of it.
    ///
    /// # Errors
    ///
    /// If another process has it, if it is not ours or of a later version, or if the disk fails.
    ///
    /// # Panics
    ///
    /// If there is no reader, or if the size of rings is not a power of two.
    pub fn start(start: Start) -> Result<(Self, Vec<StoreLog>), StoreError> {
        let Start { options, tail, made_secret, now_ms, shards, readers, promise, .. } = start;
        assert!(readers > 0, "rooms are loaded by a reader");
        let (folder, free_bytes) = (options.path.clone(), options.free_bytes);
        let (disk, new_writer) = Disk::open(options, &made_secret, now_ms)?;
        let words = |from, to| {
            let is_between_shards = from < shards && to < shards;
            if is_between_shards || from == to { 1 } else { start.ring_words }
        };
        let mut ports = connect_with(shards + 1 + readers, words);
        let reader_ports = ports.split_off(usize::from(shards) + 1);
        let writer_port = ports.pop().expect("a port for the writer");
        let (stop, stats) = (Arc::new(AtomicBool::new(false)), Arc::<StoreStats>::default());
        let is_lost = Arc::new(AtomicBool::new(false));
        let finds = disk.has_index();
        let end = |(shard, port)| {
            let lister = shards + 1 + shard % readers;
            StoreLog::new(port, promise, (shards, lister), finds, Arc::clone(&is_lost))
        };
        let logs = (0..).zip(ports).map(end).collect();
        let mut handles = Vec::new();
        for (index, port) in reader_ports.into_iter().enumerate() {
            let (stop, panics) = (Arc::clone(&stop), Panics(Arc::clone(&start.on_panic)));
            let stats = Arc::clone(&stats);
            let reader = ReaderThread { port, reader: disk.reader()?, shards, tail, stats };
            handles.push(spawn(format!("store-reader-{index}"), move || {
                let _panics = panics;
                reader.run(&stop);
            })?);
        }
        let behind = Arc::clone(disk.behind());
        let indexer = if disk.has_index() {
            let (stop, panics) = (Arc::clone(&stop), Panics(Arc::clone(&start.on_panic)));
            let indexer = disk.indexer(Arc::clone(&stats))?;
            Some(spawn("store-indexer".to_owned(), move || {
                let _panics = panics;
                indexer.run(&stop);
            })?)
        } else {
            None
        };
        let on_panic = start.on_panic;
        let (flag, panics) = (Arc::clone(&stop), Panics(Arc::clone(&on_panic)));
        let (ask, requests) = mpsc::channel();
        let (writer_stats, space_folder) = (Arc::clone(&stats), folder.clone());
        let writer = spawn("store-writer".to_owned(), move || {
            let _panics = panics;
            let writer = WriterThread {
                port: writer_port,
                shards,
                readers,
                writer: new_writer.here(),
                batch: Batch::default(),
                questions: Vec::new(),
                behind,
                kept: vec![0; usize::from(shards)],
                messages: 0,
                faults: Faults::new(),
                probe: Probe::of(files_in(&space_folder)),
                pace: Pace::of(promise),
                stats: writer_stats,
                began: Instant::now(),
                written_ms: 0,
                record: Vec::new(),
                is_lost,
                requests,
                retention: Retention::new(start.keep, start.sweep_ms),
                may_vacuum: true,
                unix_ms: start.unix_ms,
                space: Space {
                    folder: space_folder,
                    reserve_bytes: start.reserve_bytes,
                    free_bytes,
                    due_ms: 0,
                },
            };
            writer.run(&flag)
        })?;
        let (thread, unix_ms) = (writer.thread().clone(), start.unix_ms);
        let copier = Copier { requests: ask, writer: thread, stats: Arc::clone(&stats), unix_ms };
        let requests = Requests::begin(&folder, copier.clone());
        if let Err(error) = &requests {
            tracing::warn!(%error, "no backup can be asked for while this server runs");
        }
        let backups = match start.backups {
            Some(backups) => {
                let (stop, panics) = (Arc::clone(&stop), Panics(on_panic));
                let (store, reserve_bytes) = (folder, start.reserve_bytes);
                let thread = BackupThread { backups, store, reserve_bytes, copier };
                Some(spawn("store-backup".to_owned(), move || {
                    let _panics = panics;
                    thread.run(&stop);
                })?)
            }
            None => None,
        };
        let guest_secret = *disk.guest_secret();
        let requests = requests.ok();
        let readers = handles;
        Ok((Self { guest_secret, stats, stop, writer, readers, indexer, requests, backups }, logs))
    }

    /// What it has counted.
    #[must_use]
    pub fn stats(&self) -> &Arc<StoreStats> {
        &self.stats
    }

    /// Signs guests' tokens, and is the same in each life of the store.
    #[must_use]
    pub fn guest_secret(&self) -> &[u8; 32] {
        &self.guest_secret
    }

    /// Writes all that the shards have said, and ends in order. They must have ended before.
    ///
    /// # Errors
    ///
    /// If that was not possible: then the end counts as one without order.
    pub fn stop(self) -> Result<(), StoreError> {
        self.stop.store(true, Ordering::Release);
        self.writer.thread().unpark();
        let ended = self.writer.join();
        if let Some(requests) = self.requests {
            requests.stop();
        }
        for thread in self.readers.into_iter().chain(self.indexer).chain(self.backups) {
            thread.thread().unpark();
            // It has nothing to say: a defect was told when it happened.
            let _ = thread.join();
        }
        ended.unwrap_or(Err(StoreError::Ended))
    }
}

pub(super) fn spawn<T: Send + 'static>(
    name: String,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, StoreError> {
    thread::Builder::new().name(name).spawn(run).map_err(StoreError::Folder)
}

struct WriterThread {
    port: Port,
    shards: u16,
    readers: u16,
    writer: Writer,
    batch: Batch,
    questions: Vec<Question>,
    /// Where the indexer is told what was written.
    behind: Arc<Behind>,
    /// By shard: the number of its last append in the batch; 0 if there is none.
    kept: Vec<u64>,
    /// How many messages are in the batch.
    messages: usize,
    faults: Faults,
    /// Behind the writer: see there.
    probe: Probe,
    pace: Pace,
    stats: Arc<StoreStats>,
    began: Instant,
    /// When something was written last, in milliseconds since it began.
    written_ms: u64,
    record: Vec<u8>,
    /// Whether a shard has ended before all that it had said was taken.
    is_lost: Arc<AtomicBool>,
    /// Copies that are asked for.
    requests: Receiver<Request>,
    retention: Retention,
    /// Whether there may be pages in the file that nothing is in.
    may_vacuum: bool,
    unix_ms: fn() -> u64,
    space: Space,
}

/// What a turn of the writer comes to.
enum Next {
    /// There is more to do.
    Again,
    /// Nothing, for so long; `None`: until it is woken.
    Rest(Option<Duration>),
}

/// How much of the disk is to stay free.
struct Space {
    folder: PathBuf,
    reserve_bytes: u64,
    free_bytes: fn(&Path) -> io::Result<u64>,
    /// When to look again, in milliseconds.
    due_ms: u64,
}

impl WriterThread {
    fn run(mut self, stop: &AtomicBool) -> Result<(), StoreError> {
        self.port.set_waker(Arc::new(Unpark(thread::current())));
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

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn now_ms(&self) -> u64 {
        self.now_us() / 1_000
    }

    /// Whether the batch has as much as a commit may have.
    fn is_batch_full(&self) -> bool {
        self.batch.len() >= STORE_BATCH_MAX || self.batch.bytes() >= STORE_BATCH_BYTES_MAX
    }

    /// Takes what the rings hold, up to what a commit may have.
    fn gather(&mut self) {
        let now_us = self.now_us();
        while !self.is_batch_full() {
            let Some(shard) = self.port.recv(&mut self.record) else { return };
            let record = read_whole(&self.record);
            self.pace.note_gathered(&record, now_us);
            match record {
                ToStore::Append { number, .. } => {
                    self.kept[usize::from(shard)] = number;
                    self.messages += 1;
                }
                ToStore::Founding { number, .. } => self.kept[usize::from(shard)] = number,
                _ => {}
            }
            self.batch.push(shard, &self.record);
        }
    }

    /// Commits the batch, and tells of it.
    fn write(&mut self) {
        match self.commit(self.pace.sync_of_commit(self.now_us())) {
            Ok(()) => {
                self.tell_written();
                self.checkpoint(STORE_CHECKPOINT_BYTES);
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
        self.written_ms = ended_us / 1_000;
        Ok(())
    }

    fn tell_written(&mut self) {
        self.batch.clear(STORE_BATCH_BYTES_MAX);
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
                (Some(id), part) => {
                    let readers = u32::from(self.readers);
                    let reader = u16::try_from(id % readers).expect("below the count of readers");
                    self.send(self.shards + 1 + reader, Load { shard, number, id, part });
                }
            }
        }
        self.questions = questions;
        self.behind.note(self.writer.written().iter().copied());
        // Before anything else is done here: shards can go on.
        self.port.end_turn();
    }

    fn send<'a>(&mut self, to: u16, message: impl Field<'a>) {
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

    fn fail(&mut self, error: &StoreError) {
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
        self.space.due_ms = 0;
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

    /// Syncs what was answered and is only in the log, if that is due: it is on disk in time,
    /// whatever else there is to do.
    fn sync_if_due(&mut self) {
        if self.pace.sync_due_us().is_some_and(|due_us| due_us <= self.now_us()) {
            self.checkpoint(0);
        }
    }

    /// Moves what is in the log into the database, as far as no reader is in the way, if it is more
    /// than this.
    fn checkpoint(&mut self, bytes_max: usize) {
        if self.writer.wal_bytes() <= bytes_max {
            return;
        }
        match self.writer.checkpoint() {
            Ok(is_all) => {
                if is_all {
                    self.pace.note_synced();
                }
                self.stats.set_wal_bytes(self.writer.wal_bytes());
            }
            Err(error) => self.fail(&error),
        }
    }

    /// Whether the files are there and enough of the disk is free; if not, it is failing from now
    /// on.
    fn can_write(&mut self) -> bool {
        let found = self.look_at_disk();
        if let Err(error) = &found {
            self.fail(error);
        }
        found.is_ok()
    }

    fn look_at_disk(&mut self) -> Result<(), StoreError> {
        let now_ms = self.now_ms();
        if now_ms < self.space.due_ms {
            return Ok(());
        }
        self.space.due_ms = now_ms + STORE_SPACE_MS;
        self.writer.check_place()?;
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
    fn let_go_if_due(&mut self) -> bool {
        let now_ms = self.now_ms();
        let is_due = self.retention.due_ms().is_some_and(|due_ms| due_ms <= now_ms);
        if !is_due {
            return false;
        }
        match self.retention.step(self.writer.conn(), now_ms, (self.unix_ms)()) {
            Ok(step) if step.deleted > 0 => {
                self.writer.note_written();
                self.written_ms = now_ms;
                self.may_vacuum = true;
                self.stats.let_go(step.deleted);
                self.stats.set_wal_bytes(self.writer.wal_bytes());
                // The words go too, though nobody says more in the room.
                self.behind.note(step.floors.iter().map(|(room, _)| *room));
                let told: Vec<_> = self.writer.who_has(&step.floors).collect();
                for (shard, room, through) in told {
                    self.send(shard, FromStore::LetGo { room, through });
                }
                self.port.end_turn();
                self.checkpoint(STORE_CHECKPOINT_BYTES);
            }
            Ok(_) => {}
            Err(error) => self.fail(&error),
        }
        true
    }

    /// Lets go of a part of what is not to be kept, and gives back a part of what the file does not
    /// need, while too little of the disk is free: that may be all that it needs. True if there may
    /// be more to do at once.
    fn make_space(&mut self) -> bool {
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
                self.checkpoint(STORE_CHECKPOINT_BYTES);
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
    fn rest(&mut self) -> Option<u64> {
        if self.vacuum() {
            return Some(0);
        }
        let due_ms = self.retention.due_ms().map(|due_ms| due_ms.saturating_sub(self.now_ms()));
        let sync_ms = self.pace.sync_due_us().map(|due_us| {
            // At least a moment: where it is past, a reader is in the way.
            (due_us / 1_000).saturating_sub(self.now_ms()).max(STORE_GATHER_MS)
        });
        let rest_ms = self.tidy();
        [due_ms, sync_ms, rest_ms].into_iter().flatten().min()
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
        match self.writer.empty_wal() {
            Ok(true) => {
                self.stats.set_wal_bytes(0);
                self.pace.note_synced();
                None
            }
            // A reader is in the way: it ends in time.
            Ok(false) => Some(STORE_REST_MS),
            Err(error) => {
                self.fail(&error);
                Some(0)
            }
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

struct ReaderThread {
    port: Port,
    reader: Reader,
    shards: u16,
    tail: TailBounds,
    stats: Arc<StoreStats>,
}

impl ReaderThread {
    fn run(mut self, stop: &AtomicBool) {
        self.port.set_waker(Arc::new(Unpark(thread::current())));
        let (mut record, mut answer) = (Vec::new(), Vec::new());
        while !stop.load(Ordering::Acquire) {
            self.port.woke();
            while let Some(from) = self.port.recv(&mut record) {
                if from < self.shards {
                    self.list(from, &mut record);
                    continue;
                }
                let load: Load<'_> = read_whole(&record);
                let shard = load.shard;
                answer.clear();
                self.answer(load, &mut answer);
                self.port.send(shard, &answer);
                self.port.end_turn();
            }
            if self.port.may_sleep() {
                thread::park();
            }
        }
    }

    /// Reads what is asked for, and writes the answer.
    fn answer(&mut self, load: Load<'_>, record: &mut Vec<u8>) {
        let Load { shard: _, number, id, part } = load;
        let began = Instant::now();
        let kind = match part {
            LoadPart::Tail => {
                match &self.reader.load(id, self.tail) {
                    Ok(loaded) => {
                        let found = Some(loaded.found());
                        FromStore::Opened { number, found }.put(record);
                    }
                    Err(error) => {
                        self.stats.failed(error.cause());
                        tracing::error!(%error, id, "a room cannot be loaded");
                        FromStore::NotOpened { number, is_full: false }.put(record);
                    }
                }
                ReadKind::Room
            }
            LoadPart::Words(sought) => {
                match &self.reader.find(id, sought) {
                    Ok(Some((hits, more_before))) => {
                        let more_before = *more_before;
                        FromStore::Found { number, more_before, hits }.put(record);
                    }
                    // The index is not whole yet.
                    Ok(None) => FromStore::NotRead { number, is_late: true }.put(record),
                    Err(error) => self.not_read(number, id, error, "looked for").put(record),
                }
                ReadKind::Search
            }
            LoadPart::Messages(wanted) => {
                match &self.reader.read(id, wanted) {
                    Ok(found) => FromStore::Read { number, run: found.run() }.put(record),
                    Err(error) => self.not_read(number, id, error, "read").put(record),
                }
                if wanted.part == Part::All { ReadKind::Recovery } else { ReadKind::Page }
            }
        };
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let damaged = self.reader.take_damaged();
        self.stats.read(kind, took_us, damaged);
        if damaged > 0 {
            tracing::error!(id, "a room has a message that is not what was written");
        }
    }

    /// Notes why messages of a room cannot be read, or looked for. Returns what the shard is told.
    fn not_read(&self, number: u64, id: u32, error: &StoreError, what: &str) -> FromStore<'static> {
        self.stats.failed(error.cause());
        tracing::error!(%error, id, "messages cannot be {what}");
        FromStore::NotRead { number, is_late: error.is_late() }
    }

    /// Tells a shard some of the rooms whose home it is.
    fn list(&mut self, shard: u16, record: &mut Vec<u8>) {
        let List { number, after } = read_whole(record);
        let is_its = |topic: &str| home_of(topic, self.shards) == shard;
        let mut rooms = Vec::new();
        record.clear();
        match self.reader.list(after, is_its, &mut rooms) {
            Ok(next) => {
                self.stats.note_damaged(self.reader.take_damaged());
                FromStore::Listed { number, rooms: &rooms, next }.put(record);
            }
            Err(error) => {
                tracing::error!(%error, "the rooms that are kept cannot be listed");
                FromStore::NotListed { number }.put(record);
            }
        }
        self.port.send(shard, record);
        self.port.end_turn();
    }
}

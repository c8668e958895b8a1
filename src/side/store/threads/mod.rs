//! The threads of the store: started, woken and stopped.
//!
//! ```text
//!   "store-writer"    `writing`, `upkeep`: what all rings hold ─ one commit ─ Kept, Opened, Load
//!   "store-reader-0"  `reading`: Load ─ Opened, Read, Found; List ─ Listed
//!   "store-indexer"   see `index`
//!   "store-backup"    see `backups`
//!   "store-socket"    see `socket`
//! ```
//!
//! They meet the shards in a mesh of their own, whose last ports are theirs: the writer's, then
//! each reader's.
//!
//! Invariants: 1 to 3 of [`crate::link::store`]; a shard never waits for these threads.
//!
//! Called by: `app`. Calls: `side::store::disk`, `writing`, `reading`.

mod reading;
#[cfg(test)]
mod tests;
mod upkeep;
mod writing;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use self::reading::ReaderThread;
use self::writing::{Given, WriterThread};
use super::backups::{BackupThread, Backups};
use super::copy::Copier;
use super::disk::{Disk, Options};
use super::error::StoreError;
#[cfg(test)]
use super::gate::Gate;
use super::log::{Promise, StoreLog};
use super::reader::TailBounds;
use super::socket::Requests;
use super::stats::StoreStats;
use crate::limits::StoreLimits;
use crate::link::facts::Keep;
use crate::mesh::{Port, Wake, connect_with};
use crate::side::Panics;

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
    /// For those that read beside the readers.
    #[cfg(test)]
    gate: Arc<Gate>,
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
    /// After how long what was deleted or edited away is gone from the logs of the files too, in
    /// milliseconds, whatever is said meanwhile.
    pub erase_ms: u64,
    /// How much of the disk stays free, in bytes: with less, nothing more is taken. 0: it is not
    /// looked at.
    pub reserve_bytes: u64,
    /// The clock, in milliseconds of Unix time: for what is let go of by its age, and for backups.
    pub unix_ms: fn() -> u64,
    /// Which backups are made without being asked for. None: no such.
    pub backups: Option<Backups>,
    /// What an `ok` promises.
    pub promise: Promise,
    /// What the writer takes at a time.
    pub limits: StoreLimits,
    /// The size of a ring between a shard and a thread, in words: a power of two.
    pub ring_words: usize,
    /// What is done when a thread of the store panics: it is a defect, and nothing is kept from
    /// then on.
    pub on_panic: Arc<dyn Fn() + Send + Sync>,
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
        assert!(start.readers > 0, "rooms are loaded by a reader");
        let options = start.options.clone();
        let (disk, new_writer) = Disk::open(options, &start.made_secret, start.now_ms)?;
        let (threads, stats) = (Threads::of(&start), Arc::new(StoreStats::of(start.shards)));
        let is_lost = Arc::new(AtomicBool::new(false));
        let (shard_ports, writer_port, reader_ports) = connect(&start);
        let end = |(shard, port): (u16, Port)| {
            let lister = start.shards + 1 + shard % start.readers;
            let (ends, finds) = ((start.shards, lister), disk.has_index());
            let (is_lost, waiting) = (Arc::clone(&is_lost), Arc::clone(stats.waiting(shard)));
            StoreLog::new(port, start.promise, start.limits, ends, finds, is_lost, waiting)
        };
        let logs = (0..).zip(shard_ports).map(end).collect();
        let mut readers = Vec::new();
        for (index, port) in reader_ports.into_iter().enumerate() {
            let source = (disk.reader()?, Arc::clone(disk.gate()));
            let reader = ReaderThread::new(&start, port, source, Arc::clone(&stats));
            let name = format!("store-reader-{index}");
            readers.push(threads.begin(name, move |stop| reader.run(stop))?);
        }
        let indexer = if disk.has_index() {
            let erase = Duration::from_millis(start.erase_ms);
            let indexer = disk.indexer(Arc::clone(&stats), erase)?;
            Some(threads.begin("store-indexer".to_owned(), move |stop| indexer.run(stop))?)
        } else {
            None
        };
        let (asks, requests) = mpsc::channel();
        let given = Given {
            port: writer_port,
            index_queue: Arc::clone(disk.index_queue()),
            gate: Arc::clone(disk.gate()),
            stats: Arc::clone(&stats),
            is_lost,
            requests,
        };
        let (folder, unix_ms) = (start.options.path.clone(), start.unix_ms);
        let (backups, reserve_bytes) = (start.backups.clone(), start.reserve_bytes);
        let writer = threads.begin("store-writer".to_owned(), move |stop| {
            // Here, for it does not leave its thread.
            let (writer, why_not) = new_writer.here();
            WriterThread::new(&start, writer, given).run(why_not, stop)
        })?;
        let thread = writer.thread().clone();
        let copier = Copier { requests: asks, writer: thread, stats: Arc::clone(&stats), unix_ms };
        let requests = Requests::begin(&folder, copier.clone());
        if let Err(error) = &requests {
            tracing::warn!(%error, "no backup can be asked for while this server runs");
        }
        let backups = match backups {
            Some(backups) => {
                let thread = BackupThread { backups, store: folder, reserve_bytes, copier };
                Some(threads.begin("store-backup".to_owned(), move |stop| thread.run(stop))?)
            }
            None => None,
        };
        let (guest_secret, stop) = (*disk.guest_secret(), threads.stop);
        let requests = requests.ok();
        let store = Self {
            guest_secret,
            stats,
            stop,
            writer,
            readers,
            indexer,
            requests,
            backups,
            #[cfg(test)]
            gate: Arc::clone(disk.gate()),
        };
        Ok((store, logs))
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

/// What threads are begun with.
struct Threads {
    stop: Arc<AtomicBool>,
    on_panic: Arc<dyn Fn() + Send + Sync>,
}

impl Threads {
    fn of(start: &Start) -> Self {
        let on_panic = Arc::clone(&start.on_panic);
        Self { stop: Arc::new(AtomicBool::new(false)), on_panic }
    }

    /// Begins a thread that runs until it is told to stop.
    fn begin<T: Send + 'static>(
        &self,
        name: String,
        run: impl FnOnce(&Arc<AtomicBool>) -> T + Send + 'static,
    ) -> Result<JoinHandle<T>, StoreError> {
        let (stop, panics) = (Arc::clone(&self.stop), Panics(Arc::clone(&self.on_panic)));
        spawn(name, move || {
            let _panics = panics;
            run(&stop)
        })
    }
}

/// A mesh of shards, the writer and readers, in this order: who does not meet has no ring.
fn connect(start: &Start) -> (Vec<Port>, Port, Vec<Port>) {
    let Start { shards, readers, .. } = *start;
    let words = |from, to| {
        let is_between_shards = from < shards && to < shards;
        if is_between_shards || from == to { 1 } else { start.ring_words }
    };
    let mut ports = connect_with(shards + 1 + readers, words);
    let reader_ports = ports.split_off(usize::from(shards) + 1);
    let writer_port = ports.pop().expect("a port for the writer");
    (ports, writer_port, reader_ports)
}

/// Begins a thread.
pub(super) fn spawn<T: Send + 'static>(
    name: String,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, StoreError> {
    thread::Builder::new().name(name).spawn(run).map_err(StoreError::Io)
}

/// Ends the sleep of a thread of the store.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(&self) {
        self.0.unpark();
    }
}

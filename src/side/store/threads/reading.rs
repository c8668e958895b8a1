//! A thread that reads: rooms that are opened, pages, recoveries, searches, lists of rooms.
//!
//! It is asked by the writer, behind the commit of all that was said before, and answers the shard
//! itself. Only lists are asked for by shards.
//!
//! Called by: `side::store::threads`. Calls: `side::store::reader`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use super::{Start, Unpark};
use crate::link::log::Part;
use crate::link::record::Field;
use crate::link::settings::home_of;
use crate::link::store::{FromStore, List, Load, LoadPart, read_whole};
use crate::mesh::Port;
use crate::side::store::error::StoreError;
use crate::side::store::reader::{Reader, TailBounds};
use crate::side::store::stats::{ReadKind, StoreStats};

/// The thread. See the module.
pub(super) struct ReaderThread {
    port: Port,
    reader: Reader,
    shards: u16,
    tail: TailBounds,
    stats: Arc<StoreStats>,
}

impl ReaderThread {
    pub(super) fn new(start: &Start, port: Port, reader: Reader, stats: Arc<StoreStats>) -> Self {
        Self { port, reader, shards: start.shards, tail: start.tail, stats }
    }

    /// Reads until it is told to stop, and woken.
    pub(super) fn run(mut self, stop: &AtomicBool) {
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

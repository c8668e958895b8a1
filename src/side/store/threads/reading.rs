//! A thread that reads: rooms that are opened, pages, recoveries, searches, lists of rooms.
//!
//! It is asked by the writer, behind the commit of all that was said before, and answers the shard
//! itself. Only lists are asked for by shards.
//!
//! Called by: `side::store::threads`. Calls: `side::store::reader`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Start, Unpark};
use crate::limits::{STORE_ANSWERS_BYTES_MAX, STORE_ANSWERS_LOOK_MS};
use crate::link::field::Field;
use crate::link::kept::read_whole;
use crate::link::log::Part;
use crate::link::message::text;
use crate::link::settings::home_of;
use crate::link::store::{FromStore, List, Load, LoadPart};
use crate::mesh::Port;
use crate::side::store::error::StoreError;
use crate::side::store::gate::Gate;
use crate::side::store::reader::{Reader, TailBounds};
use crate::side::store::stats::{ReadKind, StoreStats};

/// The thread. See the module.
pub(super) struct ReaderThread {
    port: Port,
    reader: Reader,
    gate: Arc<Gate>,
    shards: u16,
    tail: TailBounds,
    stats: Arc<StoreStats>,
}

impl ReaderThread {
    pub(super) fn new(
        start: &Start,
        port: Port,
        (reader, gate): (Reader, Arc<Gate>),
        stats: Arc<StoreStats>,
    ) -> Self {
        Self { port, reader, gate, shards: start.shards, tail: start.tail, stats }
    }

    /// Reads until it is told to stop, and woken.
    pub(super) fn run(mut self, stop: &AtomicBool) {
        self.port.set_waker(Arc::new(Unpark(thread::current())));
        while !stop.load(Ordering::Acquire) {
            self.port.woke();
            if !self.answer_all() {
                thread::park_timeout(Duration::from_millis(STORE_ANSWERS_LOOK_MS));
            } else if self.port.may_sleep() {
                thread::park();
            }
        }
    }

    /// Answers what was asked, as long as shards take it. False if one does not: what is read waits
    /// in memory, and is bounded by that.
    fn answer_all(&mut self) -> bool {
        let (mut record, mut answer) = (Vec::new(), Vec::new());
        loop {
            self.port.end_turn();
            let is_full = |shard| self.port.waiting_bytes(shard) > STORE_ANSWERS_BYTES_MAX;
            if (0..self.shards).any(is_full) {
                return false;
            }
            let Some(from) = self.port.recv(&mut record) else { return true };
            if from < self.shards {
                self.list(from, &mut record);
                continue;
            }
            let load: Load<'_> = read_whole(&record);
            let shard = load.shard;
            answer.clear();
            self.answer(load, &mut answer);
            self.port.send(shard, &answer);
        }
    }

    /// Reads what is asked for, and writes the answer.
    fn answer(&mut self, load: Load<'_>, record: &mut Vec<u8>) {
        let Load { shard: _, number, id, part } = load;
        let _inside = self.gate.enter();
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
            LoadPart::Audit(wanted, bytes) => {
                match self.reader.audit(id, wanted, bytes) {
                    Ok(page) => FromStore::Audited { number, page: text(&page) }.put(record),
                    Err(error) => self.not_read(number, id, &error, "read").put(record),
                }
                ReadKind::Page
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
        let _inside = self.gate.enter();
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::log::{View, Wanted};
    use crate::mesh::connect_with;
    use crate::side::store::tests::{Folder, Home};

    #[test]
    fn no_more_is_read_while_a_shard_does_not_take_what_was() {
        let folder = Folder::new();
        let (disk, writer) = folder.open();
        let mut home = Home::new(writer);
        home.open(1, 50);
        let body = format!("\"{}\"", "x".repeat(100_000));
        home.say(1, 0, &[&body]);
        let id = home.open(1, 51).expect("it is there");
        let mut ports = connect_with(3, |_, _| 64);
        let (port, mut writer) = (ports.pop().expect("a port"), ports.pop().expect("a port"));
        let mut shard = ports.pop().expect("a port");
        let (reader, gate, stats) =
            (disk.reader().expect("a reader"), Arc::default(), Arc::default());
        let tail = TailBounds { messages: 9, bytes: 1_000 };
        let mut thread = ReaderThread { port, reader, gate, shards: 1, tail, stats };
        let mut record = Vec::new();
        for number in 1..=50 {
            let (messages, bytes) = (9, 1_000);
            let wanted = Wanted {
                after: 0,
                upto: 1,
                part: Part::Newest,
                messages,
                bytes,
                changed: None,
                view: View::Room,
            };
            let asked = if number % 2 == 0 { LoadPart::Tail } else { LoadPart::Messages(wanted) };
            record.clear();
            Load { shard: 0, number, id, part: asked }.put(&mut record);
            writer.send(2, &record);
        }
        let mut numbers = Vec::new();
        while numbers.len() < 50 {
            writer.end_turn();
            let is_all = thread.answer_all();
            let waiting = thread.port.waiting_bytes(0);
            assert!(waiting < STORE_ANSWERS_BYTES_MAX + 101_000, "{waiting}");
            assert!(is_all || waiting > STORE_ANSWERS_BYTES_MAX);
            // A turn of the shard, which has little time.
            if shard.recv(&mut record).is_some() {
                match read_whole(&record) {
                    FromStore::Opened { number, .. } | FromStore::Read { number, .. } => {
                        numbers.push(number);
                    }
                    other => panic!("{other:?}"),
                }
            }
            shard.end_turn();
        }
        assert!((1..=50).eq(numbers), "and all of it comes, in order");
    }
}

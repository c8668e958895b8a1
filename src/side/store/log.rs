//! A shard's end of the store: the log of its rooms.
//!
//! ```text
//!   home ── open, append, read, close ──> StoreLog ── ToStore ──> writer
//!        <─ LogAnswer ───────────────────          <─ FromStore ── writer, readers
//! ```
//!
//! The home gives the order, so an append is `Ordered` in the call, and the answer follows when it
//! is on disk. Nothing here waits: what the rings do not take, the port keeps, up to a bound from
//! which on appends are refused.
//!
//! Invariants:
//!
//! 1. an append that was taken is told as kept once, or in doubt and later as kept;
//! 2. while the store fails, nothing is taken that would need a place;
//! 3. what waits for the writer is bounded;
//! 4. what was taken reaches the writer, or the store's end is one without order: members may have
//!    seen it.
//!
//! Deliberately absent: SQL, and files.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::limits::STORE_WAITING_BYTES_MAX;
use crate::link::ids::{Receipt, RoomKey};
use crate::link::log::{
    Append, Appended, Find, Log, LogAnswer, LogEnd, Marks, Opening, Read, Ticket, What, Why,
};
use crate::link::record::Field;
use crate::link::store::{FromStore, ToStore, read_hits, read_whole};
use crate::mesh::{Port, Wake};

/// How long a shard that ends waits for the writer, at most.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Between two looks at how much of it the writer has taken.
const LAST_LOOK: Duration = Duration::from_millis(1);

/// The log of a shard's rooms. See the module.
pub struct StoreLog {
    port: Port,
    /// What the mesh calls the writer.
    writer: u16,
    /// Whether there is an index of words.
    finds: bool,
    /// Counts what is asked, over all lives of the shard.
    number: u64,
    /// Rooms that are to be opened, by the number of that.
    opening: HashMap<u64, RoomKey, ahash::RandomState>,
    /// Appends that are not known to be kept, in their order.
    under_way: VecDeque<UnderWay>,
    /// Up to which number appends are kept.
    kept_through: u64,
    /// Of those under way, how many are to be told that they are in doubt, and which is the next.
    doubted: std::ops::Range<usize>,
    /// What is to be read, by the number of that.
    reading: HashMap<u64, (RoomKey, Ticket), ahash::RandomState>,
    /// Rooms that could not be opened, and what could not be read, which have not been told.
    not_opened: Vec<RoomKey>,
    not_read: Vec<(RoomKey, Ticket)>,
    /// What was let go of in rooms that were still to be opened, and up to where: a reader may have
    /// found it there.
    let_go: Vec<(RoomKey, u64)>,
    is_failing: bool,
    /// Set if something was taken that the writer will never have.
    is_lost: Arc<AtomicBool>,
    /// Memory to write and read a record in.
    record: Vec<u8>,
}

#[derive(Clone, Copy)]
struct UnderWay {
    number: u64,
    room: RoomKey,
    ticket: Ticket,
    receipt: Receipt,
}

impl StoreLog {
    /// The end of a shard whose port of the store's mesh this is.
    pub(super) fn new(port: Port, writer: u16, finds: bool, is_lost: Arc<AtomicBool>) -> Self {
        Self {
            port,
            writer,
            finds,
            number: 0,
            opening: HashMap::default(),
            under_way: VecDeque::new(),
            kept_through: 0,
            doubted: 0..0,
            reading: HashMap::default(),
            not_opened: Vec::new(),
            not_read: Vec::new(),
            let_go: Vec::new(),
            is_failing: false,
            is_lost,
            record: Vec::new(),
        }
    }

    /// Whether it has nothing more to say.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        let Self { opening, reading, under_way, .. } = self;
        opening.is_empty() && reading.is_empty() && under_way.is_empty() && !self.has_due()
    }

    fn send(&mut self, message: ToStore<'_>) {
        self.record.clear();
        message.put(&mut self.record);
        self.port.send(self.writer, &self.record);
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Why nothing is taken now, if so.
    fn refuses(&self) -> Option<Why> {
        if self.is_failing {
            Some(Why::Storage)
        } else if self.port.waiting_bytes(self.writer) > STORE_WAITING_BYTES_MAX {
            Some(Why::Busy)
        } else {
            None
        }
    }

    /// What was heard before and has not been told.
    fn next_due(&mut self) -> Option<LogAnswer> {
        if let Some(index) = self.doubted.next() {
            let UnderWay { room, ticket, .. } = self.under_way[index];
            return Some(LogAnswer::Refused { room, ticket, why: Why::Unconfirmed });
        }
        if let Some(room) = self.not_opened.pop() {
            return Some(LogAnswer::NotOpened { room, why: Why::Storage });
        }
        if let Some((room, ticket)) = self.not_read.pop() {
            return Some(LogAnswer::NotRead { room, ticket, why: Why::Storage });
        }
        if let Some(at) = self.let_go.iter().position(|of| self.is_open(of)) {
            let (room, through) = self.let_go.swap_remove(at);
            return Some(LogAnswer::LetGo { room, through });
        }
        let kept = self.under_way.pop_front_if(|first| first.number <= self.kept_through)?;
        let UnderWay { room, ticket, receipt, .. } = kept;
        Some(LogAnswer::Kept { room, ticket, receipt })
    }

    /// Whether a room of which something was let go of is not to be opened first.
    fn is_open(&self, (room, _): &(RoomKey, u64)) -> bool {
        self.opening.values().all(|of| of != room)
    }

    fn has_due(&self) -> bool {
        let is_kept = |first: &UnderWay| first.number <= self.kept_through;
        !self.doubted.is_empty()
            || !self.not_opened.is_empty()
            || !self.not_read.is_empty()
            || self.let_go.iter().any(|of| self.is_open(of))
            || self.under_way.front().is_some_and(is_kept)
    }

    fn hear(&mut self, message: FromStore<'_>) -> Option<LogAnswer> {
        match message {
            FromStore::Opened { number, found } => {
                // Of an earlier life, it is of no room.
                let room = self.opening.remove(&number)?;
                let opened = found.map(crate::link::store::Found::opened);
                return Some(LogAnswer::Opened { room, opened });
            }
            FromStore::NotOpened { number } => {
                let room = self.opening.remove(&number)?;
                return Some(LogAnswer::NotOpened { room, why: Why::Storage });
            }
            FromStore::Read { number, run } => {
                let (room, ticket) = self.reading.remove(&number)?;
                return Some(LogAnswer::Read { room, ticket, stretch: run.stretch() });
            }
            FromStore::Found { number, more, hits } => {
                let (room, ticket) = self.reading.remove(&number)?;
                return Some(LogAnswer::Found { room, ticket, hits: read_hits(hits, more) });
            }
            FromStore::NotRead { number, is_late } => {
                let (room, ticket) = self.reading.remove(&number)?;
                let why = if is_late { Why::Busy } else { Why::Storage };
                return Some(LogAnswer::NotRead { room, ticket, why });
            }
            FromStore::Kept { through } => self.kept_through = through,
            FromStore::Failing {} => {
                self.is_failing = true;
                self.doubted = 0..self.under_way.len();
                // Nobody knows for how long.
                let mut opening: Vec<_> = self.opening.drain().collect();
                opening.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
                self.not_opened.extend(opening.into_iter().map(|(_, room)| room));
                let mut reading: Vec<_> = self.reading.drain().collect();
                reading.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
                self.not_read.extend(reading.into_iter().map(|(_, read)| read));
            }
            FromStore::Healed {} => self.is_failing = false,
            FromStore::LetGo { room, through } => self.let_go.push((room, through)),
        }
        None
    }
}

impl Drop for StoreLog {
    /// The shard has ended: it waits, for a while, until the writer has taken all.
    fn drop(&mut self) {
        let began = Instant::now();
        self.port.end_turn();
        while self.port.has_waiting() {
            if self.is_failing || began.elapsed() > LAST_WAIT {
                return self.is_lost.store(true, Ordering::Release);
            }
            thread::sleep(LAST_LOOK);
            self.port.end_turn();
        }
    }
}

impl Log for StoreLog {
    fn open(&mut self, room: RoomKey, topic: &str, fresh_epoch: u64) -> Opening {
        if let Some(why) = self.refuses() {
            return Opening::Refused(why);
        }
        let number = self.next_number();
        self.opening.insert(number, room);
        self.send(ToStore::Open { number, room, topic, epoch: fresh_epoch });
        Opening::Later
    }

    fn append(&mut self, append: Append<'_>) -> Appended {
        let Append { room, ticket, top, at_ms, entry, .. } = append;
        let What::Message(said) = entry.what else { unreachable!("a home settles nothing yet") };
        if let Some(why) = self.refuses() {
            return Appended::Refused(why);
        }
        let number = self.next_number();
        let Marks { offset, .. } = top;
        let receipt = Receipt { offset: offset + 1, at_ms };
        self.under_way.push_back(UnderWay { number, room, ticket, receipt });
        self.send(ToStore::Append { number, room, top, at_ms, said });
        Appended::Ordered
    }

    fn reads(&self) -> bool {
        true
    }

    fn read(&mut self, read: Read<'_>) -> Result<(), Why> {
        if let Some(why) = self.refuses() {
            return Err(why);
        }
        let Read { room, ticket, wanted, .. } = read;
        let number = self.next_number();
        self.reading.insert(number, (room, ticket));
        self.send(ToStore::Read { number, room, wanted });
        Ok(())
    }

    fn finds(&self) -> bool {
        self.finds
    }

    fn find(&mut self, find: Find<'_>) -> Result<(), Why> {
        if let Some(why) = self.refuses() {
            return Err(why);
        }
        let Find { room, ticket, sought } = find;
        let number = self.next_number();
        self.reading.insert(number, (room, ticket));
        self.send(ToStore::Find { number, room, sought });
        Ok(())
    }

    fn close(&mut self, room: RoomKey) {
        self.send(ToStore::Close { room });
    }
}

impl LogEnd for StoreLog {
    fn set_waker(&self, waker: Arc<dyn Wake>) {
        self.port.set_waker(waker);
    }

    fn next(&mut self) -> Option<LogAnswer> {
        loop {
            if let Some(answer) = self.next_due() {
                return Some(answer);
            }
            let mut record = std::mem::take(&mut self.record);
            let answer = self.port.recv(&mut record).map(|_| self.hear(read_whole(&record)));
            self.record = record;
            if let Some(answer) = answer? {
                return Some(answer);
            }
        }
    }

    fn end_turn(&mut self) {
        self.port.end_turn();
    }

    fn may_sleep(&mut self) -> bool {
        !self.has_due() && self.port.may_sleep()
    }

    fn woke(&self) {
        self.port.woke();
    }

    fn restarted(&mut self) {
        self.opening.clear();
        self.under_way.clear();
        self.doubted = 0..0;
        self.reading.clear();
        self.not_opened.clear();
        self.not_read.clear();
        self.let_go.clear();
        self.send(ToStore::Restarted {});
    }
}

//! A shard's end of the store: the log of its rooms.
//!
//! ```text
//!   home ── open, append, read, close ──> StoreLog ── ToStore ──> writer
//!        <─ LogAnswer ───────────────────          <─ FromStore ── writer, readers
//! ```
//!
//! What an append is in the call is the [`Promise`] that the store was started with, and is chosen
//! here only:
//!
//! | | `append` says | members hear it | the answer |
//! |---|---|---|---|
//! | [`Promise::OkIsKept`] | `Ordered` | in the call | when it is on disk |
//! | [`Promise::SeenIsKept`] | `Later` | when it is on disk | then |
//! | [`Promise::OkIsTaken`] | `Kept` | in the call | in the call |
//!
//! Nothing here waits: what the rings do not take, the port keeps, up to a bound from which on
//! appends are refused.
//!
//! Invariants:
//!
//! 1. an append that was taken is told as kept once, or in doubt and later as kept; of
//!    [`Promise::OkIsTaken`] nothing more is told;
//! 2. while the store fails, and until what was in doubt then is kept, nothing is taken that would
//!    need a place;
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

use super::stats::Waiting;
use crate::limits::StoreLimits;
use crate::link::field::Field;
use crate::link::ids::{Receipt, RoomKey};
use crate::link::kept::{Found, read_hits, read_listed, read_whole};
use crate::link::log::{
    Append, Appended, Audit, Entry, Find, Log, LogAnswer, LogEnd, Marks, Opening, Placed, Read,
    Ticket, What, WhatText, Why,
};
use crate::link::store::{FromStore, List, ToStore};
use crate::mesh::{Port, Wake};

/// How long a shard that ends waits for the writer, at most.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Between two looks at how much of it the writer has taken.
const LAST_LOOK: Duration = Duration::from_millis(1);

/// What an `ok` promises, and what members see. See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Promise {
    /// What was answered `ok` is on disk. Members may see more.
    #[default]
    OkIsKept,
    /// What members see is on disk.
    SeenIsKept,
    /// What was answered `ok` will be on disk within a second, if nothing fails until then.
    OkIsTaken,
}

/// The log of a shard's rooms. See the module.
pub struct StoreLog {
    port: Port,
    promise: Promise,
    limits: StoreLimits,
    /// What the mesh calls the writer.
    writer: u16,
    /// And the reader that lists rooms for this shard.
    lister: u16,
    /// The number of the list that is awaited.
    listing: Option<u64>,
    /// Whether there is an index of words.
    finds: bool,
    /// Counts what is asked, over all lives of the shard.
    number: u64,
    /// Rooms that are to be opened, by the number of that.
    opening: HashMap<u64, RoomKey, ahash::RandomState>,
    /// Appends that are not known to be kept, in their order.
    under_way: VecDeque<UnderWay>,
    /// Rooms of which members have not heard all that has a place.
    unheard: HashMap<RoomKey, Unheard, ahash::RandomState>,
    /// Up to which number appends are kept.
    kept_through: u64,
    /// Of those under way, how many are to be told that they are in doubt, and which is the next.
    doubted: std::ops::Range<usize>,
    /// What is to be read, by the number of that.
    reading: HashMap<u64, (RoomKey, Ticket), ahash::RandomState>,
    /// Rooms that could not be opened, and what could not be read, which have not been told.
    not_opened: Vec<(RoomKey, Why)>,
    not_read: Vec<(RoomKey, Ticket)>,
    /// What was let go of in rooms that were still to be opened, up to where: a reader may have
    /// found it there.
    let_go: Vec<(RoomKey, Marks)>,
    is_failing: bool,
    /// Up to which number appends were in doubt when it failed last. Until these are told as kept
    /// nothing is taken: a publisher may say the same again, and a home that has not heard of it
    /// does not know its key.
    in_doubt_through: u64,
    /// Set if something was taken that the writer will never have.
    is_lost: Arc<AtomicBool>,
    /// Where it says what waits.
    waiting: Arc<Waiting>,
    /// Memory to write and read a record in.
    record: Vec<u8>,
}

/// Where a room stands of which members have not heard all that has a place.
#[derive(Clone, Copy, Default)]
struct Unheard {
    top: Marks,
    /// When the last of it was accepted.
    at_ms: u64,
    /// The number of that.
    number: u64,
}

struct UnderWay {
    number: u64,
    room: RoomKey,
    ticket: Ticket,
    placed: Placed,
    /// What members have not heard yet, and the room's revision with it.
    unheard: Option<(u64, WhatText)>,
}

impl StoreLog {
    /// The end of a shard whose port of the store's mesh this is.
    pub(super) fn new(
        port: Port,
        promise: Promise,
        limits: StoreLimits,
        (writer, lister): (u16, u16),
        finds: bool,
        is_lost: Arc<AtomicBool>,
        waiting: Arc<Waiting>,
    ) -> Self {
        Self {
            port,
            promise,
            limits,
            writer,
            finds,
            lister,
            listing: None,
            number: 0,
            opening: HashMap::default(),
            under_way: VecDeque::new(),
            unheard: HashMap::default(),
            kept_through: 0,
            doubted: 0..0,
            reading: HashMap::default(),
            not_opened: Vec::new(),
            not_read: Vec::new(),
            let_go: Vec::new(),
            is_failing: false,
            in_doubt_through: 0,
            is_lost,
            waiting,
            record: Vec::new(),
        }
    }

    /// Whether it has nothing more to say.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        let Self { opening, reading, under_way, .. } = self;
        opening.is_empty() && reading.is_empty() && under_way.is_empty() && !self.has_due()
    }

    fn send(&mut self, message: &ToStore<'_>) {
        self.record.clear();
        (*message).put(&mut self.record);
        self.port.send(self.writer, &self.record);
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Why nothing is taken now, if so.
    fn refuses(&self) -> Option<Why> {
        let is_in_doubt = |first: &UnderWay| first.number <= self.in_doubt_through;
        if self.is_failing || self.under_way.front().is_some_and(is_in_doubt) {
            Some(Why::Storage)
        } else if self.port.waiting_bytes(self.writer) > self.limits.waiting_bytes {
            Some(Why::Busy)
        } else {
            None
        }
    }

    /// Asks for something to be read.
    fn ask<'a>(
        &mut self,
        room: RoomKey,
        ticket: Ticket,
        question: impl FnOnce(u64) -> ToStore<'a>,
    ) -> Result<(), Why> {
        if let Some(why) = self.refuses() {
            return Err(why);
        }
        let number = self.next_number();
        self.reading.insert(number, (room, ticket));
        self.send(&question(number));
        Ok(())
    }

    /// What was heard before and has not been told.
    fn next_due(&mut self) -> Option<LogAnswer> {
        if let Some(index) = self.doubted.next() {
            let UnderWay { room, ticket, .. } = self.under_way[index];
            return Some(LogAnswer::Refused { room, ticket, why: Why::Unconfirmed });
        }
        if let Some((room, why)) = self.not_opened.pop() {
            return Some(LogAnswer::NotOpened { room, why });
        }
        if let Some((room, ticket)) = self.not_read.pop() {
            return Some(LogAnswer::NotRead { room, ticket, why: Why::Storage });
        }
        if let Some(at) = self.let_go.iter().position(|of| self.is_open(of)) {
            let (room, floor) = self.let_go.swap_remove(at);
            return Some(LogAnswer::LetGo { room, floor });
        }
        let first = self.under_way.front_mut().filter(|first| first.number <= self.kept_through)?;
        let (room, ticket, placed) = (first.room, first.ticket, first.placed);
        if let Some((rev, what)) = first.unheard.take() {
            // Members first, and then the answer.
            let (ticket, line) = (Some(ticket), None);
            return Some(LogAnswer::Entry {
                room,
                ticket,
                placed,
                rev,
                what,
                line,
                was_missed: false,
            });
        }
        let number = first.number;
        self.under_way.pop_front();
        if self.unheard.get(&room).is_some_and(|last| last.number == number) {
            self.unheard.remove(&room);
        }
        Some(LogAnswer::Kept { room, ticket, placed })
    }

    /// Where a room stands with all that has a place, whether it has heard of that or not, and when
    /// the last of it was accepted.
    fn top(&self, room: RoomKey, top: Marks, at_ms: u64) -> (Marks, u64) {
        let last = self.unheard.get(&room).copied().unwrap_or_default();
        (top.max(last.top), at_ms.max(last.at_ms))
    }

    /// Whether a room of which something was let go of is not to be opened first.
    fn is_open(&self, (room, _): &(RoomKey, Marks)) -> bool {
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
                let opened = found.map(Found::opened);
                return Some(LogAnswer::Opened { room, opened });
            }
            FromStore::NotOpened { number, is_full } => {
                let room = self.opening.remove(&number)?;
                let why = if is_full { Why::Full } else { Why::Storage };
                return Some(LogAnswer::NotOpened { room, why });
            }
            FromStore::Read { number, run } => {
                let (room, ticket) = self.reading.remove(&number)?;
                return Some(LogAnswer::Read { room, ticket, stretch: run.stretch() });
            }
            FromStore::Found { number, more_before, hits } => {
                let (room, ticket) = self.reading.remove(&number)?;
                return Some(LogAnswer::Found { room, ticket, hits: read_hits(hits, more_before) });
            }
            FromStore::Audited { number, page } => {
                let (room, ticket) = self.reading.remove(&number)?;
                return Some(LogAnswer::Audited { room, ticket, page: page.into() });
            }
            FromStore::NotRead { number, is_late } => {
                let (room, ticket) = self.reading.remove(&number)?;
                let why = if is_late { Why::Busy } else { Why::Storage };
                return Some(LogAnswer::NotRead { room, ticket, why });
            }
            FromStore::Kept { through } => self.kept_through = through,
            FromStore::Failing {} => {
                self.is_failing = true;
                self.in_doubt_through = self.under_way.back().map_or(0, |last| last.number);
                self.doubted = 0..self.under_way.len();
                // Nobody knows for how long.
                let opening = drain_from_last(&mut self.opening);
                self.not_opened.extend(opening.map(|room| (room, Why::Storage)));
                self.not_read.extend(drain_from_last(&mut self.reading));
            }
            FromStore::Healed {} => self.is_failing = false,
            FromStore::LetGo { room, floor } => self.let_go.push((room, floor)),
            FromStore::Listed { number, rooms, next } => {
                self.listing.take_if(|awaited| *awaited == number)?;
                return Some(LogAnswer::Listed { rooms: read_listed(rooms), next });
            }
            FromStore::NotListed { number } => {
                self.listing.take_if(|awaited| *awaited == number)?;
                return Some(LogAnswer::NotListed);
            }
        }
        None
    }
}

/// Takes all that was asked, the last first.
fn drain_from_last<T>(
    asked: &mut HashMap<u64, T, ahash::RandomState>,
) -> impl Iterator<Item = T> + use<T> {
    let mut all: Vec<_> = asked.drain().collect();
    all.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
    all.into_iter().map(|(_, of)| of)
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
        self.send(&ToStore::Open { number, room, topic, epoch: fresh_epoch });
        Opening::Later
    }

    fn is_filling(&self) -> bool {
        self.port.waiting_bytes(self.writer) > self.limits.filling_bytes()
    }

    fn append(&mut self, append: Append<'_>) -> Appended {
        let Append { room, ticket, top, at_ms, entry, .. } = append;
        let Entry { judged, what, audit } = entry;
        let mut line = Vec::new();
        if let Some(audit) = audit {
            (*audit).put(&mut line);
        }
        let audit = &*line;
        if let Some(why) = self.refuses() {
            return Appended::Refused(why);
        }
        let number = self.next_number();
        let (top, at_ms) = self.top(room, top, at_ms);
        let placed = match what {
            What::Message(said) => {
                self.send(&ToStore::Append { number, room, top, at_ms, said });
                Placed::message(Receipt { offset: top.offset + 1, at_ms })
            }
            What::Changed { offset, message } => {
                let (said_ms, said, fate) = (message.at_ms, message.said.said(), message.fate());
                self.send(&ToStore::Change {
                    number,
                    room,
                    top,
                    at_ms,
                    offset,
                    said_ms,
                    said,
                    fate,
                    audit,
                });
                Placed::change(top.change + 1, at_ms)
            }
            What::Founded { title, owner } => {
                self.send(&ToStore::Founding { number, room, at_ms, title, owner });
                Placed::decision(at_ms)
            }
            What::Settings { title, settings } => {
                self.send(&ToStore::Settings { number, room, at_ms, title, settings, audit });
                Placed::decision(at_ms)
            }
            What::Standing { user, standing } => {
                self.send(&ToStore::Standing { number, room, at_ms, user, standing, audit });
                Placed::decision(at_ms)
            }
            What::Noted => {
                self.send(&ToStore::Note { number, room, at_ms, line: audit });
                Placed::decision(at_ms)
            }
        };
        let (appended, unheard) = match self.promise {
            Promise::OkIsTaken => return Appended::Kept,
            Promise::OkIsKept => (Appended::Ordered, None),
            // What is decided of the room holds from now on, and is answered when it is kept.
            Promise::SeenIsKept if what.is_of_room() => (Appended::Ordered, None),
            Promise::SeenIsKept => (Appended::Later, Some((judged.rev, WhatText::new(what)))),
        };
        if unheard.is_some() {
            let top = top.max(placed.marks);
            self.unheard.insert(room, Unheard { top, at_ms, number });
        }
        self.under_way.push_back(UnderWay { number, room, ticket, placed, unheard });
        appended
    }

    fn reads(&self) -> bool {
        true
    }

    fn read(&mut self, read: Read<'_>) -> Result<(), Why> {
        let Read { room, ticket, wanted, .. } = read;
        self.ask(room, ticket, |number| ToStore::Read { number, room, wanted })
    }

    fn finds(&self) -> bool {
        self.finds
    }

    fn find(&mut self, find: Find<'_>) -> Result<(), Why> {
        let Find { room, ticket, sought } = find;
        self.ask(room, ticket, |number| ToStore::Find { number, room, sought })
    }

    fn audit(&mut self, audit: Audit) -> Result<(), Why> {
        let Audit { room, ticket, wanted, bytes } = audit;
        self.ask(room, ticket, |number| ToStore::Audit { number, room, wanted, bytes })
    }

    fn close(&mut self, room: RoomKey) {
        self.unheard.remove(&room);
        self.send(&ToStore::Close { room });
    }

    fn list(&mut self, after: u64) -> bool {
        let number = self.next_number();
        self.listing = Some(number);
        self.record.clear();
        List { number, after }.put(&mut self.record);
        self.port.send(self.lister, &self.record);
        true
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
        self.waiting.set(self.port.waiting_bytes(self.writer), self.under_way.len());
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
        self.unheard.clear();
        self.doubted = 0..0;
        self.in_doubt_through = 0;
        self.reading.clear();
        self.not_opened.clear();
        self.not_read.clear();
        self.let_go.clear();
        self.listing = None;
        self.send(&ToStore::Restarted {});
    }
}

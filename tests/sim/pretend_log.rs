//! A pretend log, which does all that a log may do: it answers late, reorders between rooms,
//! refuses, is in doubt, tears off what it has not kept, fails over, puts the entries of other nodes
//! in between, and says later what is there of a room, or that this cannot be found out. What is
//! read of a room it says in any order, with each other and with what it keeps.
//!
//! As a *store* it leaves the order to the home and keeps in batches; what its `ok` promises is as
//! the real one's. As an *engine* it gives the order itself. Each step does one thing, drawn from
//! its seed.
//!
//! What it does not model, and which test could notice: bytes on a disk (torn pages are a shorter
//! list here) and a clock of its own (the store's and the engine's own tests); a budget of what may
//! be under way (theirs too, here `Busy` is drawn); words, for which it takes any text
//! (`side::store::index`); retention (the contract suite, once the port has it).

use std::collections::{BTreeMap, VecDeque};

use chinwag::base::arena::Key;
use chinwag::base::rng::SplitMix64;
use chinwag::link::ids::{Receipt, RoomKey};
use chinwag::link::log::{
    Append, Appended, Entry, Find, FromLog, Hits, Judged, ListedRoom, Log, Marks, Opened, Opening,
    Part, Placed, Read, Sought, Stretch, Ticket, Wanted, What, Why,
};
use chinwag::link::said::{Fate, MessageText, SaidText};

/// Defects of a log that the suite must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogDefect {
    /// It says `Kept` of what it has only ordered.
    AckedBeforeKept,
    /// It loses what was seen, and the epoch goes on.
    EpochKept,
    /// It turns, and calls the new epoch as the old one: an offset has two messages.
    OffsetReused,
    /// It reads a room as it was kept when it was opened: that is less than its reader has heard.
    ReadTooEarly,
    /// Two who read at a time are given each other's answers.
    ReadsSwapped,
    /// It tells members of what it has not kept.
    SeenBeforeKept,
    /// It leaves a room out when it lists those that it keeps.
    ListsTooFew,
    /// It finds what was said in another room.
    FindsElsewhere,
    /// It finds what it has not kept.
    FindsUnkept,
}

/// Which log it pretends to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pretends {
    /// A store: `ok` comes when a message is kept.
    Store,
    /// A store: members hear it then, too.
    SeenIsKept,
    /// A store: `ok` comes at once.
    OkIsTaken,
    /// An engine.
    Engine,
}

/// A room, as it is kept.
#[derive(Default)]
pub(crate) struct Room {
    key: Option<RoomKey>,
    epoch: u64,
    rev: u64,
    /// The message with offset `n` is at `n - 1`.
    pub(crate) entries: Vec<Kept>,
    /// How many of them survive anything.
    durable: usize,
    /// How many of them did when the room was opened.
    opened_at: usize,
    /// How many of them the home has heard of, where that comes after they are kept.
    heard: usize,
    /// Its title, if it was made on purpose.
    founded: Option<String>,
    /// How many there ever were at a time.
    pub(crate) longest: usize,
    lineage: Vec<(u64, Marks)>,
    /// Appends that have an order and have not been answered, by offset.
    unanswered: VecDeque<(usize, Ticket)>,
    /// Appends that have not been looked at.
    waiting: VecDeque<Waiting>,
    /// What is to be told, in order.
    said: VecDeque<Told>,
}

pub(crate) struct Kept {
    at_ms: u64,
    pub(crate) said: SaidText,
}

/// An append that has no order yet.
struct Waiting {
    ticket: Option<Ticket>,
    judged: Judged,
    at_ms: u64,
    said: SaidText,
}

/// [`FromLog`] on its way.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Opened { opened: Option<Opened> },
    NotOpened { why: Why },
    Entry { ticket: Option<Ticket>, offset: u64, rev: u64, at_ms: u64, said: Option<SaidText> },
    Kept { ticket: Ticket, receipt: Receipt },
    Refused { ticket: Ticket, why: Why },
    Read { ticket: Ticket, stretch: Stretch },
    Found { ticket: Ticket, hits: Hits },
    NotRead { ticket: Ticket, why: Why },
    Turned { epoch: u64, kept: Marks },
    Listed { rooms: Vec<ListedRoom>, next: Option<u64> },
    NotListed,
}

impl Told {
    /// As it is told to the home of a room.
    pub(crate) fn message(&self, room: RoomKey) -> FromLog<'_> {
        match self {
            Self::Opened { opened } => FromLog::Opened { room, opened: opened.as_ref() },
            Self::NotOpened { why } => FromLog::NotOpened { room, why: *why },
            Self::Entry { ticket, offset, rev, at_ms, said } => FromLog::Entry {
                room,
                ticket: *ticket,
                placed: Placed::message(Receipt { offset: *offset, at_ms: *at_ms }),
                rev: *rev,
                entry: Entry {
                    judged: Judged::default(),
                    what: said.as_ref().map_or(What::Settings, |said| What::Message(said.said())),
                },
            },
            Self::Kept { ticket, receipt } => {
                FromLog::Kept { room, ticket: *ticket, placed: Placed::message(*receipt) }
            }
            Self::Refused { ticket, why } => FromLog::Refused { room, ticket: *ticket, why: *why },
            Self::Read { ticket, stretch } => FromLog::Read { room, ticket: *ticket, stretch },
            Self::Found { ticket, hits } => FromLog::Found { room, ticket: *ticket, hits },
            Self::NotRead { ticket, why } => FromLog::NotRead { room, ticket: *ticket, why: *why },
            Self::Turned { epoch, kept } => FromLog::Turned { room, epoch: *epoch, kept: *kept },
            // Of no room.
            Self::Listed { rooms, next } => FromLog::Listed { rooms, next: *next },
            Self::NotListed => FromLog::NotListed,
        }
    }
}

/// A search under way.
struct Finding {
    room: RoomKey,
    ticket: Ticket,
    query: String,
    from: Option<String>,
    before: u64,
    messages: usize,
}

/// A read under way.
struct Reading {
    room: RoomKey,
    topic: String,
    ticket: Ticket,
    wanted: Wanted,
    /// What will be told, once somebody has looked.
    found: Option<Told>,
}

fn at(offset: u64) -> Marks {
    Marks { offset, change: 0 }
}

/// The log. See the module.
pub(crate) struct PretendLog {
    rng: SplitMix64,
    pretends: Pretends,
    is_calm: bool,
    /// Whether the disk, or the engine, does not take anything.
    is_failing: bool,
    epochs: u64,
    strangers: u64,
    pub(crate) rooms: BTreeMap<String, Room>,
    reads: Vec<Reading>,
    finds: Vec<Finding>,
    /// Behind which place rooms are to be listed, if they were asked for.
    list_after: Option<u64>,
    defect: Option<LogDefect>,
}

/// How many rooms are listed at a time.
const LISTED: usize = 2;

impl PretendLog {
    /// One of the logs.
    pub(crate) fn new(seed: u64, pretends: Pretends, defect: Option<LogDefect>) -> Self {
        Self {
            rng: SplitMix64::new(seed),
            pretends,
            is_calm: false,
            is_failing: false,
            epochs: 1 << 60,
            strangers: 0,
            rooms: BTreeMap::new(),
            reads: Vec::new(),
            finds: Vec::new(),
            list_after: None,
            defect,
        }
    }

    fn is_engine(&self) -> bool {
        self.pretends == Pretends::Engine
    }

    /// What it promises, where that decides what may be seen.
    pub(crate) fn pretends(&self) -> Pretends {
        self.pretends
    }

    fn one_in(&mut self, count: u64) -> bool {
        !self.is_calm && self.rng.next_u64().is_multiple_of(count)
    }

    /// From now on nothing goes wrong.
    pub(crate) fn calm(&mut self) {
        self.is_calm = true;
        self.is_failing = false;
    }

    /// How many messages of a room survive anything.
    pub(crate) fn durable(&self, topic: &str) -> usize {
        self.rooms.get(topic).map_or(0, |room| room.durable)
    }

    /// The next thing that it says, of any room.
    pub(crate) fn next(&mut self) -> Option<(RoomKey, Told)> {
        if let Some(listed) = self.next_listed() {
            return Some((Key::from_u64(0), listed));
        }
        if let Some(found) = self.next_found() {
            return Some(found);
        }
        if let Some(read) = self.next_read() {
            return Some(read);
        }
        let has_news = |room: &Room| room.key.is_some() && !room.said.is_empty();
        let ready: Vec<_> = self.rooms.iter().filter(|(_, room)| has_news(room)).collect();
        let count = u64::try_from(ready.len()).ok().filter(|count| *count > 0)?;
        let index = usize::try_from(self.rng.next_u64() % count).ok()?;
        let topic = ready[index].0.clone();
        let room = self.rooms.get_mut(&topic)?;
        Some((room.key?, room.said.pop_front()?))
    }

    /// Rooms that are kept, if they were asked for; late, or not at all.
    fn next_listed(&mut self) -> Option<Told> {
        let after = self.list_after?;
        if self.one_in(3) {
            return None;
        }
        self.list_after = None;
        if self.is_failing || self.one_in(4) {
            return Some(Told::NotListed);
        }
        let skips = self.defect == Some(LogDefect::ListsTooFew);
        let after = usize::try_from(after).expect("few");
        let kept = self.rooms.iter().filter(|(_, room)| room.is_kept()).skip(usize::from(skips));
        let mut rooms: Vec<_> = kept.skip(after).take(LISTED + 1).collect();
        let next = (rooms.len() > LISTED).then(|| (after + LISTED) as u64);
        rooms.truncate(LISTED);
        let rooms = rooms.into_iter().map(|(topic, room)| ListedRoom {
            topic: topic.as_str().into(),
            founded: room.founded.as_deref().map(Box::from),
        });
        Some(Told::Listed { rooms: rooms.collect(), next })
    }

    /// What one of those who search has asked for; late, and in any order.
    fn next_found(&mut self) -> Option<(RoomKey, Told)> {
        if self.finds.is_empty() || self.one_in(3) {
            return None;
        }
        let index = self.rng.next_u64() % self.finds.len() as u64;
        let asked = self.finds.swap_remove(usize::try_from(index).expect("few"));
        let Finding { room: key, ticket, .. } = asked;
        if self.is_failing || self.one_in(6) {
            return Some((key, Told::NotRead { ticket, why: Why::Busy }));
        }
        let is_elsewhere = self.defect == Some(LogDefect::FindsElsewhere);
        let is_it = |room: &&Room| (room.key == Some(key)) != is_elsewhere;
        let room = self.rooms.values().find(is_it);
        let count = room.map_or(0, |room| match self.defect {
            Some(LogDefect::FindsUnkept) => room.entries.len(),
            _ => room.durable,
        });
        let hits = room.map(|room| asked.hits(&room.entries[..count])).unwrap_or_default();
        Some((key, Told::Found { ticket, hits }))
    }

    /// What was read, of any room that has not turned since without having said so. Mostly none,
    /// so that it comes late, and that many are under way.
    fn next_read(&mut self) -> Option<(RoomKey, Told)> {
        let may_tell = |reading: &Reading| {
            let is_open = |room: &&Room| room.key == Some(reading.room);
            let said = self.rooms.get(&reading.topic).filter(is_open).map(|room| &room.said);
            let turns = said.into_iter().flatten().any(|told| matches!(told, Told::Turned { .. }));
            reading.found.is_some() && !turns
        };
        let ready: Vec<usize> =
            (0..self.reads.len()).filter(|index| may_tell(&self.reads[*index])).collect();
        let count = u64::try_from(ready.len()).ok().filter(|count| *count > 0)?;
        let draw = self.rng.next_u64();
        if !self.is_calm && draw.is_multiple_of(2) {
            return None;
        }
        let Reading { room, found, .. } =
            self.reads.swap_remove(ready[usize::try_from(draw / 2 % count).ok()?]);
        Some((room, found?))
    }

    /// Looks for what one of those who read has asked for.
    fn look(&mut self) {
        let Ok(count) = u64::try_from(self.reads.len()) else { return };
        if count == 0 {
            return;
        }
        let index = usize::try_from(self.rng.next_u64() % count).expect("few");
        let fails = self.is_failing || self.one_in(12);
        let (is_early, swaps) = (
            self.defect == Some(LogDefect::ReadTooEarly),
            self.defect == Some(LogDefect::ReadsSwapped),
        );
        let Reading { topic, ticket, wanted, found, .. } = &self.reads[index];
        let (ticket, wanted) = (*ticket, *wanted);
        let Some(room) = self.rooms.get(topic).filter(|_| found.is_none()) else { return };
        let upto = usize::try_from(wanted.upto).expect("few").min(room.entries.len());
        if fails {
            let why = if ticket.is_multiple_of(2) { Why::Storage } else { Why::Busy };
            self.reads[index].found = Some(Told::NotRead { ticket, why });
        } else if room.durable >= upto || is_early {
            let seen = if is_early { room.opened_at } else { room.durable };
            let stretch = room.stretch(wanted, upto.min(seen));
            self.reads[index].found = Some(Told::Read { ticket, stretch });
        }
        if swaps {
            self.swap_reads();
        }
    }

    /// The defect: of two who have been read for, each is told what the other asked.
    fn swap_reads(&mut self) {
        let is_read = |reading: &Reading| matches!(reading.found, Some(Told::Read { .. }));
        let ready: Vec<usize> =
            (0..self.reads.len()).filter(|index| is_read(&self.reads[*index])).collect();
        let [one, other, ..] = ready[..] else { return };
        let (one_found, other_found) =
            (self.reads[one].found.take(), self.reads[other].found.take());
        if let (Some(Told::Read { stretch: first, .. }), Some(Told::Read { stretch: second, .. })) =
            (one_found, other_found)
        {
            let (ticket, other_ticket) = (self.reads[one].ticket, self.reads[other].ticket);
            self.reads[one].found = Some(Told::Read { ticket, stretch: second });
            self.reads[other].found = Some(Told::Read { ticket: other_ticket, stretch: first });
        }
    }

    /// Whether there is nothing left to do or to say.
    pub(crate) fn is_idle(&self) -> bool {
        if !self.reads.is_empty() || !self.finds.is_empty() || self.list_after.is_some() {
            return false;
        }
        let is_idle = |room: &Room| {
            let has_said_all = room.said.is_empty() && room.unanswered.is_empty();
            room.waiting.is_empty() && (has_said_all || room.key.is_none())
        };
        self.rooms.values().all(is_idle)
    }

    /// Does one thing.
    pub(crate) fn step(&mut self) {
        if self.one_in(40) {
            self.is_failing = !self.is_failing;
            if self.is_failing && !self.is_engine() {
                self.doubt_all();
            }
        }
        let topics: Vec<_> = self.rooms.keys().cloned().collect();
        let Ok(count) = u64::try_from(topics.len()) else { return };
        if count == 0 {
            return;
        }
        let topic = &topics[usize::try_from(self.rng.next_u64() % count).expect("few")];
        if self.is_engine() {
            if self.one_in(6) {
                self.other_node(topic);
            }
            if self.one_in(15) {
                self.lose_tail(topic);
            }
            self.order_next(topic);
        }
        if !self.is_failing && !self.one_in(2) {
            self.keep(topic);
        }
        self.look();
    }

    /// All that is not kept is in doubt: a batch failed, and stays queued.
    fn doubt_all(&mut self) {
        for room in self.rooms.values_mut() {
            for (_, ticket) in &room.unanswered {
                room.said.push_back(Told::Refused { ticket: *ticket, why: Why::Unconfirmed });
            }
        }
    }

    /// Another node says something, or settles something.
    fn other_node(&mut self, topic: &str) {
        if !topic.starts_with("room:") {
            // Nothing is said in the others.
            return;
        }
        self.strangers += 1;
        let body = format!("\"s{}\"", self.strangers).into();
        let is_setting = self.one_in(2);
        let Some(room) = self.rooms.get_mut(topic) else { return };
        let (user, name) = ("stranger".into(), "stranger".into());
        let said = SaidText { user, name, body, ..SaidText::default() };
        if is_setting {
            room.rev += 1;
            let (offset, rev) = (room.entries.len() as u64, room.rev);
            room.said.push_back(Told::Entry { ticket: None, offset, rev, at_ms: 0, said: None });
        } else {
            let at_ms = room.at_ms(0);
            room.push(None, at_ms, said);
        }
    }

    /// Orders the next append of a room.
    fn order_next(&mut self, topic: &str) {
        let fate = if self.is_calm { 99 } else { self.rng.next_u64() % 24 };
        let (kept_first, early) = (self.one_in(3), self.defect == Some(LogDefect::AckedBeforeKept));
        let Some(room) = self.rooms.get_mut(topic) else { return };
        let Some(Waiting { ticket, judged, at_ms, said }) = room.waiting.pop_front() else {
            return;
        };
        let at_ms = room.at_ms(at_ms);
        let refuse = |room: &mut Room, why| {
            room.said.extend(ticket.map(|ticket| Told::Refused { ticket, why }));
        };
        match fate {
            0 => return refuse(room, Why::Unconfirmed),
            1 => return refuse(room, Why::Unavailable),
            2 => return refuse(room, Why::Busy),
            _ => {}
        }
        if let Some(receipt) = room.of_key(&said) {
            let offset = usize::try_from(receipt.offset).expect("few");
            // It is told when it is kept, as the first one is.
            return room.unanswered.extend(ticket.map(|ticket| (offset, ticket)));
        }
        if judged != (Judged { epoch: room.epoch, rev: room.rev }) {
            return refuse(room, Why::Conflict);
        }
        if fate == 3 {
            // It is kept, and the asker had given up.
            refuse(room, Why::Unconfirmed);
            return room.push(ticket, at_ms, said);
        }
        let offset = room.entries.len() + 1;
        if early && let Some(ticket) = ticket {
            let receipt = Receipt { offset: offset as u64, at_ms };
            room.push(Some(ticket), at_ms, said);
            return room.said.push_back(Told::Kept { ticket, receipt });
        }
        if kept_first && let Some(ticket) = ticket {
            // The answer overtakes the push: nothing may rest on their order.
            room.durable = room.entries.len() + 1;
            let receipt = Receipt { offset: offset as u64, at_ms };
            room.said.push_back(Told::Kept { ticket, receipt });
            return room.push(Some(ticket), at_ms, said);
        }
        room.unanswered.extend(ticket.map(|ticket| (offset, ticket)));
        room.push(ticket, at_ms, said);
    }

    /// Keeps some of what a room has.
    fn keep(&mut self, topic: &str) {
        let draw = self.rng.next_u64();
        let (is_calm, pretends) = (self.is_calm, self.pretends);
        let Some(room) = self.rooms.get_mut(topic) else { return };
        let new = (room.entries.len() - room.durable) as u64;
        let count = if is_calm { new } else { draw % (new + 1) };
        room.durable += usize::try_from(count).expect("few");
        let durable = room.durable;
        if pretends == Pretends::SeenIsKept && room.key.is_some() {
            room.tell_upto(durable);
        }
        let all = std::mem::take(&mut room.unanswered);
        let (kept, rest): (VecDeque<_>, _) =
            all.into_iter().partition(|(offset, _)| *offset <= durable);
        room.unanswered = rest;
        for (offset, ticket) in kept {
            let receipt = Receipt { offset: offset as u64, at_ms: room.entries[offset - 1].at_ms };
            room.said.push_back(Told::Kept { ticket, receipt });
        }
    }

    /// Fails over: some of what was not kept is lost, or none.
    fn lose_tail(&mut self, topic: &str) {
        self.epochs += 1;
        let (draw, epoch, defect) = (self.rng.next_u64(), self.epochs, self.defect);
        let Some(room) = self.rooms.get_mut(topic) else { return };
        let unkept = (room.entries.len() - room.durable) as u64;
        // Nothing need be lost: that is not known beforehand.
        let kept = room.durable + usize::try_from(draw % (unkept + 1)).expect("few");
        room.entries.truncate(kept);
        for (_, ticket) in room.unanswered.iter().filter(|(offset, _)| *offset > kept) {
            room.said.push_back(Told::Refused { ticket: *ticket, why: Why::Unconfirmed });
        }
        room.unanswered.retain(|(offset, _)| *offset <= kept);
        room.turn(epoch, defect);
    }

    /// The home has ended without a word, alone or with what is behind it. In the latter case a
    /// store has lost some of what it had not kept.
    pub(crate) fn crash(&mut self, is_alone: bool) {
        self.reads.clear();
        self.finds.clear();
        self.list_after = None;
        for topic in self.rooms.keys().cloned().collect::<Vec<_>>() {
            if !self.is_engine() {
                self.epochs += 1;
                let (draw, epoch, defect) = (self.rng.next_u64(), self.epochs, self.defect);
                let Some(room) = self.rooms.get_mut(&topic) else { continue };
                let unkept = (room.entries.len() - room.durable) as u64;
                let drawn = if is_alone { unkept } else { draw % (unkept + 1) };
                let kept = room.durable + usize::try_from(drawn).expect("few");
                room.entries.truncate(kept);
                room.durable = kept;
                room.turn(epoch, defect);
            }
            if let Some(room) = self.rooms.get_mut(&topic) {
                room.forget_asker();
            }
        }
    }
}

impl Finding {
    /// Those of these messages of a room that are looked for.
    fn hits(&self, entries: &[Kept]) -> Hits {
        let is_it = |said: &SaidText| {
            self.from.as_ref().is_none_or(|from| **from == *said.user)
                && said.body.contains(&self.query)
        };
        let newest_first = entries.iter().enumerate().rev();
        let mut found = newest_first.filter_map(|(index, Kept { at_ms, said })| {
            let offset = index as u64 + 1;
            (offset < self.before && is_it(said)).then(|| (offset, message(*at_ms, said)))
        });
        let messages = found.by_ref().take(self.messages).collect();
        Hits { messages, more_before: found.next().map(|(offset, ..)| offset + 1) }
    }
}

fn message(at_ms: u64, said: &SaidText) -> MessageText {
    MessageText::new(at_ms, said.said(), Fate::default())
}

impl Room {
    /// Whether something of it survives anything.
    pub(crate) fn is_kept(&self) -> bool {
        self.durable > 0 || self.founded.is_some()
    }

    /// When a message is accepted: never before the last one.
    fn at_ms(&self, proposed_ms: u64) -> u64 {
        self.entries.last().map_or(proposed_ms, |last| last.at_ms.max(proposed_ms))
    }

    /// Gives a message its place, and says so where the home did not give it.
    fn push(&mut self, ticket: Option<Ticket>, at_ms: u64, said: SaidText) {
        self.entries.push(Kept { at_ms, said: said.clone() });
        self.longest = self.longest.max(self.entries.len());
        let (offset, rev) = (self.entries.len() as u64, self.rev);
        self.said.push_back(Told::Entry { ticket, offset, rev, at_ms, said: Some(said) });
    }

    /// What is wanted, of the first `upto` messages.
    fn stretch(&self, wanted: Wanted, upto: usize) -> Stretch {
        let after = usize::try_from(wanted.after).expect("few").min(upto);
        let count = usize::try_from(wanted.messages).expect("64 bits");
        let (mut begin, mut end) = (after, upto);
        match wanted.part {
            Part::Newest => begin = after.max(upto.saturating_sub(count)),
            Part::Oldest | Part::All => end = upto.min(after.saturating_add(count)),
        }
        let length = |begin: usize, end: usize| {
            self.entries[begin..end].iter().map(|kept| kept.said.text_bytes()).sum::<usize>()
        };
        while end > begin + 1 && length(begin, end) > wanted.bytes {
            if wanted.part == Part::Newest { begin += 1 } else { end -= 1 }
        }
        let messages = self.entries[begin..end].iter();
        Stretch {
            first: begin as u64 + 1,
            messages: messages.map(|kept| message(kept.at_ms, &kept.said)).collect(),
            more: begin > after || end < upto,
            changed: Vec::new(),
        }
    }

    /// Tells the home of its messages up to this offset.
    fn tell_upto(&mut self, last: usize) {
        while self.heard < last {
            let Kept { at_ms, said } = &self.entries[self.heard];
            self.heard += 1;
            let of = self.unanswered.iter().find(|(offset, _)| *offset == self.heard);
            self.said.push_back(Told::Entry {
                ticket: of.map(|(_, ticket)| *ticket),
                offset: self.heard as u64,
                rev: self.rev,
                at_ms: *at_ms,
                said: Some(said.clone()),
            });
        }
    }

    fn opened(&self) -> Opened {
        Opened {
            epoch: self.epoch,
            top: at(self.entries.len() as u64),
            rev: self.rev,
            kept: self.durable as u64,
            founded: self.founded.as_deref().map(Box::from),
            lineage: self.lineage.clone(),
            floor: Marks::default(),
            tail: self.entries.iter().map(|kept| message(kept.at_ms, &kept.said)).collect(),
        }
    }

    fn of_key(&self, said: &SaidText) -> Option<Receipt> {
        let is_same = |kept: &Kept| kept.said.user == said.user && kept.said.key == said.key;
        said.key.as_ref()?;
        let index = self.entries.iter().position(is_same)?;
        Some(Receipt { offset: index as u64 + 1, at_ms: self.entries[index].at_ms })
    }

    fn turn(&mut self, epoch: u64, defect: Option<LogDefect>) {
        let kept = at(self.entries.len() as u64);
        match defect {
            Some(LogDefect::EpochKept) => return,
            Some(LogDefect::OffsetReused) => {
                let epoch = self.epoch;
                return self.said.push_back(Told::Turned { epoch, kept });
            }
            Some(
                LogDefect::AckedBeforeKept
                | LogDefect::ReadTooEarly
                | LogDefect::ReadsSwapped
                | LogDefect::SeenBeforeKept
                | LogDefect::ListsTooFew
                | LogDefect::FindsElsewhere
                | LogDefect::FindsUnkept,
            )
            | None => {}
        }
        for (_, earlier) in &mut self.lineage {
            *earlier = earlier.min(kept);
        }
        self.lineage.insert(0, (self.epoch, kept));
        self.epoch = epoch;
        self.said.push_back(Told::Turned { epoch, kept });
    }

    /// Nobody waits for an answer any more.
    fn forget_asker(&mut self) {
        self.said.clear();
        self.unanswered.clear();
        for waiting in &mut self.waiting {
            waiting.ticket = None;
        }
    }
}

impl Log for PretendLog {
    fn open(&mut self, room: RoomKey, topic: &str, fresh_epoch: u64) -> Opening {
        let (is_later, is_refused) = (self.one_in(2), self.one_in(12));
        if is_refused && !is_later {
            return Opening::Refused(Why::Busy);
        }
        let (is_new, pretends) = (!self.rooms.contains_key(topic), self.pretends);
        let kept = self.rooms.entry(topic.to_owned()).or_default();
        kept.key = Some(room);
        kept.opened_at = kept.durable;
        kept.forget_asker();
        if is_new {
            kept.epoch = fresh_epoch;
        }
        if pretends == Pretends::SeenIsKept {
            // It is opened behind all that was said in it before, and the home hears of all of it.
            kept.durable = kept.entries.len();
            kept.heard = kept.durable;
        }
        let opened = (!is_new).then(|| kept.opened());
        if !is_later {
            return opened.map_or(Opening::New, Opening::Kept);
        }
        // What other nodes say meanwhile comes behind it.
        kept.said.push_back(if is_refused {
            Told::NotOpened { why: Why::Storage }
        } else {
            Told::Opened { opened }
        });
        Opening::Later
    }

    fn reads(&self) -> bool {
        true
    }

    fn read(&mut self, read: Read<'_>) -> Result<(), Why> {
        let Read { room, topic, ticket, wanted } = read;
        if self.is_failing || self.one_in(30) {
            return Err(if self.is_failing { Why::Storage } else { Why::Busy });
        }
        assert!(self.rooms[topic].key == Some(room), "what is read is open");
        assert!(wanted.after < wanted.upto, "something is read");
        self.reads.push(Reading { room, topic: topic.to_owned(), ticket, wanted, found: None });
        Ok(())
    }

    fn finds(&self) -> bool {
        !self.is_engine()
    }

    fn find(&mut self, find: Find<'_>) -> Result<(), Why> {
        let Find { room, ticket, sought } = find;
        if self.is_failing || self.one_in(30) {
            return Err(if self.is_failing { Why::Storage } else { Why::Busy });
        }
        let Sought { query, from, before, messages, bytes: _ } = sought;
        let (query, from) = (query.to_owned(), from.map(str::to_owned));
        let messages = usize::try_from(messages).expect("few");
        self.finds.push(Finding { room, ticket, query, from, before, messages });
        Ok(())
    }

    fn list(&mut self, after: u64) -> bool {
        // An engine would list rooms of other nodes, which are not tried yet.
        if self.is_engine() {
            return false;
        }
        self.list_after = Some(after);
        true
    }

    fn close(&mut self, room: RoomKey) {
        for kept in self.rooms.values_mut().filter(|kept| kept.key == Some(room)) {
            kept.key = None;
            kept.forget_asker();
        }
    }

    fn append(&mut self, append: Append<'_>) -> Appended {
        let Append { topic, ticket, top, at_ms, entry, .. } = append;
        if self.is_failing {
            let why = if self.is_engine() { Why::Unavailable } else { Why::Storage };
            return Appended::Refused(why);
        }
        if self.one_in(30) {
            return Appended::Refused(Why::Busy);
        }
        let pretends = self.pretends;
        let room = self.rooms.get_mut(topic).expect("it was opened");
        let said = match entry.what {
            What::Message(said) => SaidText::new(said),
            What::Founded { title } => {
                room.founded = Some(title.to_owned());
                if pretends == Pretends::OkIsTaken {
                    return Appended::Kept;
                }
                let receipt = Receipt { offset: top.offset, at_ms };
                room.said.push_back(Told::Kept { ticket, receipt });
                return Appended::Ordered;
            }
            What::Changed { .. } => return Appended::Refused(Why::Busy),
            What::Settings => panic!("a home settles nothing yet"),
        };
        if pretends == Pretends::Engine {
            let (ticket, judged) = (Some(ticket), entry.judged);
            room.waiting.push_back(Waiting { ticket, judged, at_ms, said });
            return Appended::Later;
        }
        let at_ms = room.at_ms(at_ms);
        if pretends != Pretends::SeenIsKept {
            assert_eq!(top.offset, room.entries.len() as u64, "home and store stand at one place");
        }
        room.entries.push(Kept { at_ms, said });
        room.longest = room.longest.max(room.entries.len());
        match pretends {
            Pretends::OkIsTaken => return Appended::Kept,
            Pretends::SeenIsKept => {
                room.unanswered.push_back((room.entries.len(), ticket));
                if self.defect == Some(LogDefect::SeenBeforeKept) {
                    room.tell_upto(room.entries.len());
                }
                return Appended::Later;
            }
            Pretends::Store | Pretends::Engine => {}
        }
        let (offset, durable) = (room.entries.len(), room.durable);
        if self.defect == Some(LogDefect::AckedBeforeKept) && durable < offset {
            let receipt = Receipt { offset: offset as u64, at_ms };
            room.said.push_back(Told::Kept { ticket, receipt });
        } else {
            room.unanswered.push_back((offset, ticket));
        }
        Appended::Ordered
    }
}

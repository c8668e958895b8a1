//! A pretend log, which does all that a log may do: it answers late, reorders between rooms,
//! refuses, is in doubt, tears off what it has not kept, fails over, puts the entries of other
//! nodes in between, and says later what is there of a room, or that this cannot be found out. What
//! is read of a room it says in any order, with each other and with what it keeps.
//!
//! ```text
//!   entries   m1  m2  c1  m3  c2  c3  m4        messages and changes, in one order
//!                             │       └ the end: what the home may have heard
//!                             └ durable: what survives anything; the rest may be torn off
//! ```
//!
//! What a message is follows from its own entry and the changes behind it, up to any end.
//!
//! As a *store* it leaves the order to the home and keeps in batches; what its `ok` promises is as
//! the real one's. As an *engine* it gives the order itself, to what is decided of a room as to
//! what is said in it; other nodes say, change, react, decide and kick in between; and it may lose
//! its place in a room. Each step does one thing, drawn from its seed.
//!
//! Here is what it does of its own accord. What a home asks of it is in `port`, a room as it keeps
//! it in `room`, what it reads of one in `reads`, and what other nodes do in `others`. `told` is
//! what it says, `defects` what may be wrong with it.
//!
//! What it does not model, and which test could notice: bytes on a disk (torn pages are a shorter
//! list here) and a clock of its own (the store's and the engine's own tests); a budget of what may
//! be under way (theirs too, here `Busy` is drawn); words, for which it takes any text
//! (`side::store::index`).

mod defects;
mod others;
mod port;
mod reads;
pub(crate) mod room;
mod told;

use std::collections::{BTreeMap, VecDeque};

use chinwag::base::arena::Key;
use chinwag::base::rng::SplitMix64;
use chinwag::link::ids::RoomKey;
use chinwag::link::log::{
    Judged, ListedRoom, Marks, NodeId, Placed, Ticket, UnkeptText, Wanted, WhatText, Why,
};
use chinwag::link::said::SaidText;

pub(crate) use defects::LogDefect;
use reads::Finding;
pub(crate) use room::Room;
use room::{Unanswered, Waiting};
pub(crate) use told::Told;

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

/// A read under way.
struct Reading {
    room: RoomKey,
    topic: String,
    ticket: Ticket,
    wanted: Wanted,
    /// How many entries the room had when it was asked: it is read behind those.
    entries: usize,
    /// What will be told, once somebody has looked.
    found: Option<Told>,
}

/// The log. See the module.
#[expect(clippy::struct_excessive_bools, reason = "each is something that it does, or does not")]
pub(crate) struct PretendLog {
    rng: SplitMix64,
    pretends: Pretends,
    is_calm: bool,
    /// Whether the disk, or the engine, does not take anything.
    is_failing: bool,
    epochs: u64,
    strangers: u64,
    pub(crate) rooms: BTreeMap<String, Room>,
    /// Whether it lets go of old messages.
    pub(crate) lets_go: bool,
    /// Whether other nodes decide what matters: how somebody stands, and a setting. Else only that
    /// somebody has no role.
    pub(crate) others_decide: bool,
    /// Whether other nodes mostly change what was changed last: what is collected here meanwhile.
    pub(crate) others_meet: bool,
    /// Whom other nodes kick.
    pub(crate) others_kick: Vec<&'static str>,
    /// Whether it loses its place in rooms.
    pub(crate) loses_places: bool,
    /// An engine fails over in one of so many steps.
    pub(crate) fails_over_in: u64,
    reads: Vec<Reading>,
    finds: Vec<Finding>,
    /// How many lives it has had as a node, and whether the home has heard of the last one.
    lives: u64,
    is_life_told: bool,
    /// Behind which place rooms are to be listed, if they were asked for.
    list_after: Option<u64>,
    defect: Option<LogDefect>,
}

/// The node that an engine has the home of, and the one that all others are.
const HERE: NodeId = 1;

const ELSEWHERE: NodeId = 2;

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
            lets_go: false,
            others_decide: false,
            others_meet: false,
            others_kick: Vec::new(),
            loses_places: false,
            fails_over_in: 15,
            reads: Vec::new(),
            finds: Vec::new(),
            lives: 1,
            is_life_told: false,
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

    /// Up to where a room survives anything.
    pub(crate) fn durable(&self, topic: &str) -> Marks {
        self.rooms.get(topic).map_or(Marks::default(), |room| room.marks(room.durable))
    }

    /// The next thing that it says, of any room.
    pub(crate) fn next(&mut self) -> Option<(RoomKey, Told)> {
        if let Some(listed) = self.next_listed() {
            return Some((Key::from_u64(0), listed));
        }
        if self.is_engine() && !std::mem::replace(&mut self.is_life_told, true) {
            return Some((Key::from_u64(0), Told::Life { life: self.lives }));
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
        let (key, told) = (room.key?, room.said.pop_front()?);
        if matches!(told, Told::Closed) {
            room.key = None;
            room.forget_asker();
        }
        Some((key, told))
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
            founded: room.decided_durably.founded.as_deref().map(Box::from),
            present: Some(0),
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
        let Finding { room: key, ticket, entries, .. } = asked;
        let is_its = |room: &&Room| room.key == Some(key);
        let behind = self.rooms.values().find(is_its);
        let waits = self.defect != Some(LogDefect::FindsUnkept);
        let is_before = |room: &Room| room.durable < entries.min(room.entries.len());
        if waits && behind.is_some_and(is_before) {
            // It is looked for behind all that was said before.
            self.finds.push(asked);
            return None;
        }
        if self.is_failing || self.one_in(6) {
            return Some((key, Told::NotRead { ticket, why: Why::Busy }));
        }
        let is_elsewhere = self.defect == Some(LogDefect::FindsElsewhere);
        let is_it = |room: &&Room| (room.key == Some(key)) != is_elsewhere;
        let room = self.rooms.values().find(is_it);
        let upto = |room: &Room| match self.defect {
            Some(LogDefect::FindsUnkept) => room.entries.len(),
            _ => room.durable,
        };
        let found = |room| asked.hits(room, upto(room), self.defect);
        let hits = room.map(found).unwrap_or_default();
        Some((key, Told::Found { ticket, hits }))
    }

    /// What was read, of any room that has not turned since without having said so. Mostly none,
    /// so that it comes late, and that many are under way.
    fn next_read(&mut self) -> Option<(RoomKey, Told)> {
        let may_tell = |reading: &Reading| {
            let is_open = |room: &&Room| room.key == Some(reading.room);
            let said = self.rooms.get(&reading.topic).filter(is_open).map(|room| &room.said);
            let is_turn = |told: &Told| matches!(told, Told::Turned { .. } | Told::Closed);
            let turns = said.into_iter().flatten().any(is_turn);
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
        let Reading { topic, ticket, wanted, found, entries, .. } = &self.reads[index];
        let (ticket, wanted) = (*ticket, *wanted);
        let Some(room) = self.rooms.get(topic).filter(|_| found.is_none()) else { return };
        let asked_at = (*entries).min(room.entries.len());
        if fails {
            let why = if ticket.is_multiple_of(2) { Why::Storage } else { Why::Busy };
            self.reads[index].found = Some(Told::NotRead { ticket, why });
        } else if room.durable >= asked_at || is_early {
            let seen = if is_early { room.opened_at } else { room.durable };
            let stretch = room.stretch(wanted, seen, self.defect);
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
            let is_answered = room.unanswered.is_empty() && room.deciding.is_empty();
            let has_said_all = room.said.is_empty() && is_answered;
            let is_done = room.waiting.is_empty() && room.saying.is_empty();
            is_done && (has_said_all || room.key.is_none())
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
        if self.lets_go && self.one_in(30) {
            self.let_go(topic);
        }
        if self.is_engine() {
            if self.one_in(6) {
                self.other_node(topic);
            }
            if self.one_in(self.fails_over_in) {
                self.lose_tail(topic);
            }
            if self.loses_places
                && self.one_in(80)
                && let Some(room) = self.rooms.get_mut(topic)
            {
                room.close();
            }
            if self.one_in(60) {
                (self.lives, self.is_life_told) = (self.lives + 1, false);
            }
            self.say_next(topic);
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
            if !room.unanswered.is_empty() {
                room.in_doubt = room.entries.len();
            }
            for Unanswered { ticket, .. } in &room.unanswered {
                room.said.push_back(Told::Refused { ticket: *ticket, why: Why::Unconfirmed });
            }
            for ticket in room.deciding.iter().filter_map(|of| of.ticket) {
                room.said.push_back(Told::Refused { ticket, why: Why::Unconfirmed });
            }
            if self.defect == Some(LogDefect::DecisionsDropped) {
                room.decided = room.decided_durably.clone();
            }
        }
    }

    /// Another node says something, changes something, or settles something.
    fn other_node(&mut self, topic: &str) {
        if !topic.starts_with("room:") {
            // Nothing is said in the others.
            return;
        }
        self.strangers += 1;
        let body = format!("\"s{}\"", self.strangers).into();
        let (is_decision, is_change) = (self.one_in(2), self.one_in(2));
        let is_typing = self.one_in(8);
        let (draw, decides) = (self.rng.next_u64(), self.others_decide);
        let is_met = self.others_meet && draw >> 32 & 3 > 0;
        let kicked = self.others_kick.get(usize::try_from(draw % 8).expect("few")).copied();
        let Some(room) = self.rooms.get_mut(topic) else { return };
        let (user, name) = ("stranger".into(), "stranger".into());
        if is_typing {
            let what = UnkeptText::Typing { user, name, thread: None };
            let heard = Told::Heard { from: ELSEWHERE, ticket: None, what };
            return room.said.extend(room.key.map(|_| heard));
        }
        let said = SaidText { user, name, body, ..SaidText::default() };
        let at_ms = room.at_ms(0);
        if is_decision {
            let (what, line) = room.others_decision(draw >> 8, decides, kicked);
            room.place_decision(None, at_ms, what, line.as_ref(), self.defect);
        } else if is_change {
            let offset = room.last_changed().filter(|_| is_met);
            room.change_something(draw, offset, said.body);
        } else {
            room.push_told(None, at_ms, WhatText::Message(said), None);
        }
    }

    /// Lets go of some old messages, of those that are durable.
    fn let_go(&mut self, topic: &str) {
        let draw = self.rng.next_u64();
        let Some(room) = self.rooms.get_mut(topic) else { return };
        let Marks { offset: last, .. } = room.marks(room.durable);
        if last <= room.gone + 1 {
            return;
        }
        let through = room.gone + 1 + draw % (last - room.gone - 1);
        let gone = (room.gone + 1..=through).filter_map(|at| room.state(at, room.durable));
        let floor = gone.map(|message| message.fate().change).fold(room.floor, u64::max);
        (room.gone, room.floor) = (through, floor);
        if room.key.is_some() {
            let floor = Marks { offset: through, change: floor };
            room.said.push_back(Told::LetGo { floor });
        }
    }

    /// Says the next thing that is not kept, before anything that was asked for later; or does not.
    fn say_next(&mut self, topic: &str) {
        let (is_lost, is_missed) = (self.one_in(12), self.one_in(40));
        let why = if self.one_in(2) { Why::Unavailable } else { Why::Unconfirmed };
        let Some(room) = self.rooms.get_mut(topic).filter(|room| room.key.is_some()) else {
            return;
        };
        if is_missed {
            room.said.push_back(Told::Missed);
        }
        let Some((ticket, what)) = room.saying.pop_front() else { return };
        room.said.extend(match (is_lost, ticket) {
            (false, _) => Some(Told::Heard { from: HERE, ticket, what }),
            (true, Some(ticket)) => Some(Told::Refused { ticket, why }),
            // What nobody waits for is lost, and that is said.
            (true, None) => Some(Told::Missed),
        });
    }

    /// Orders the next append of a room, behind all that is said before it.
    fn order_next(&mut self, topic: &str) {
        let fate = if self.is_calm { 99 } else { self.rng.next_u64() % 24 };
        let (kept_first, defect) = (self.one_in(3), self.defect);
        let Some(room) = self.rooms.get_mut(topic) else { return };
        if !room.saying.is_empty() {
            return;
        }
        let Some(Waiting { ticket, judged, at_ms, what, line }) = room.waiting.pop_front() else {
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
        if let Some(first) = room.of_key(&what) {
            let (entries, placed) = (first + 1, room.entries[first].placed());
            // It is told when it is kept, as the first one is.
            let unanswered = ticket.map(|ticket| Unanswered { entries, ticket, placed });
            return room.unanswered.extend(unanswered);
        }
        if judged != (Judged { epoch: room.epoch, rev: room.rev }) || !room.is_judged_by(&what) {
            return refuse(room, Why::Conflict);
        }
        room.check_folded(&what);
        if what.what().is_of_room() {
            return match (fate, ticket) {
                (3, Some(ticket)) => {
                    refuse(room, Why::Unconfirmed);
                    room.place_decision(None, at_ms, what.clone(), line.as_ref(), defect);
                    room.name_last(ticket);
                }
                (_, Some(_)) if defect == Some(LogDefect::AckedBeforeKept) => {
                    room.place_decision(ticket, at_ms, what, line.as_ref(), defect);
                    let answered = room.deciding.back_mut().and_then(|last| last.ticket.take());
                    let placed = Placed::decision(at_ms);
                    room.said.extend(answered.map(|ticket| Told::Kept { ticket, placed }));
                }
                _ => {
                    room.place_decision(ticket, at_ms, what, line.as_ref(), defect);
                    if kept_first && ticket.is_some() {
                        // The answer overtakes the push: nothing may rest on their order.
                        let told = room.said.pop_back();
                        room.durable = room.entries.len();
                        room.keep_decisions(u64::MAX);
                        room.said.extend(told);
                    }
                }
            };
        }
        if fate == 3 {
            // It is kept, and the asker had given up.
            refuse(room, Why::Unconfirmed);
            room.push_told(ticket, at_ms, what, line.as_ref());
            return;
        }
        let Some(ticket) = ticket else {
            room.push_told(None, at_ms, what, line.as_ref());
            return;
        };
        let placed = room.next_placed(&what, at_ms);
        let entries = room.entries.len() + 1;
        if defect == Some(LogDefect::AckedBeforeKept) {
            room.push_told(Some(ticket), at_ms, what, line.as_ref());
            return room.said.push_back(Told::Kept { ticket, placed });
        }
        if kept_first {
            // The answer overtakes the push: nothing may rest on their order.
            room.durable = entries;
            room.said.push_back(Told::Kept { ticket, placed });
            room.push_told(Some(ticket), at_ms, what, line.as_ref());
            return;
        }
        room.unanswered.push_back(Unanswered { entries, ticket, placed });
        room.push_told(Some(ticket), at_ms, what, line.as_ref());
        if defect == Some(LogDefect::ChangeSkipped)
            && let Some(Told::Entry { placed, .. }) = room.said.back_mut()
            && placed.marks.change > 0
        {
            placed.marks.change += 1;
        }
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
        room.keep_decisions(if is_calm { u64::MAX } else { draw >> 32 & 3 });
        if pretends == Pretends::SeenIsKept && room.key.is_some() {
            room.tell_upto(durable);
        }
        let all = std::mem::take(&mut room.unanswered);
        let (kept, rest): (VecDeque<_>, _) =
            all.into_iter().partition(|unanswered| unanswered.entries <= durable);
        room.unanswered = rest;
        let unanswered = match self.defect {
            Some(LogDefect::LastAnsweredOnly) => kept.len().saturating_sub(1),
            _ => 0,
        };
        for Unanswered { ticket, placed, .. } in kept.into_iter().skip(unanswered) {
            room.said.push_back(Told::Kept { ticket, placed });
        }
    }

    /// Fails over: some of what was not kept is lost, or none.
    fn lose_tail(&mut self, topic: &str) {
        self.epochs += 1;
        let (draw, epoch, defect) = (self.rng.next_u64(), self.epochs, self.defect);
        let Some(room) = self.rooms.get_mut(topic) else { return };
        if draw >> 40 & 3 > 0 {
            // Mostly what was decided is kept, so that not all rooms lose their places by it.
            let decided = room.deciding.back().map_or(0, |last| last.entries);
            room.durable = room.durable.max(decided);
            room.keep_decisions(u64::MAX);
        }
        let unkept = (room.entries.len() - room.durable) as u64;
        // Nothing need be lost: that is not known beforehand.
        let kept = room.durable + usize::try_from(draw % (unkept + 1)).expect("few");
        room.truncate(kept);
        for Unanswered { ticket, .. } in room.unanswered.iter().filter(|of| of.entries > kept) {
            room.said.push_back(Told::Refused { ticket: *ticket, why: Why::Unconfirmed });
        }
        room.unanswered.retain(|of| of.entries <= kept);
        let is_closed = room.lose_decisions(draw >> 32 & 1);
        room.turn(epoch, defect);
        if is_closed {
            room.close();
        }
    }

    /// The home has ended without a word, alone or with what is behind it. In the latter case a
    /// store has lost some of what it had not kept.
    pub(crate) fn crash(&mut self, is_alone: bool) {
        self.reads.clear();
        self.finds.clear();
        self.list_after = None;
        self.is_life_told = false;
        for topic in self.rooms.keys().cloned().collect::<Vec<_>>() {
            if !self.is_engine() {
                self.epochs += 1;
                let (draw, epoch, defect) = (self.rng.next_u64(), self.epochs, self.defect);
                let Some(room) = self.rooms.get_mut(&topic) else { continue };
                let unkept = (room.entries.len() - room.durable) as u64;
                let drawn = if is_alone { unkept } else { draw % (unkept + 1) };
                let kept = room.durable + usize::try_from(drawn).expect("few");
                room.truncate(kept);
                room.durable = kept;
                room.keep_decisions(if is_alone { u64::MAX } else { draw >> 32 & 3 });
                room.forget_decisions(defect);
                room.turn(epoch, defect);
            }
            if let Some(room) = self.rooms.get_mut(&topic) {
                room.forget_asker();
            }
        }
    }
}

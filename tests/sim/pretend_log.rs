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
//! What it does not model, and which test could notice: bytes on a disk (torn pages are a shorter
//! list here) and a clock of its own (the store's and the engine's own tests); a budget of what may
//! be under way (theirs too, here `Busy` is drawn); words, for which it takes any text
//! (`side::store::index`).

use std::collections::{BTreeMap, VecDeque};

use chinwag::auth::level::{Role, Standing};
use chinwag::base::arena::Key;
use chinwag::base::rng::SplitMix64;
use chinwag::limits::LINEAGE_EPOCHS_MAX;
use chinwag::link::audit::{AuditAct, AuditLine, AuditPage, AuditWanted, LineText};
use chinwag::link::ids::{Receipt, RoomKey};
use chinwag::link::log::{
    Append, Appended, Audit, Find, FromLog, Hits, Judged, ListedRoom, Log, Marks, NodeId, Opened,
    Opening, Part, Placed, Read, Say, Sought, Spoken, Stretch, Ticket, UnkeptText, View, Wanted,
    What, WhatText, Why,
};
use chinwag::link::said::{ActText, Fate, FateText, MessageText, Replies, SaidText};
use serde_json::Value;

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
    /// It reads messages as they were said, whatever became of them.
    ReadAsSaid,
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
    /// It gives a change the number behind the next one.
    ChangeSkipped,
    /// It leaves deleted messages out when it is asked what has changed.
    TombstoneForgotten,
    /// It opens a room again without what was decided of its users.
    DecisionForgotten,
    /// Of what it keeps at a time it answers the last only.
    LastAnsweredOnly,
    /// It opens a room again without the epochs that it has been in.
    LineageForgotten,
    /// It looks where a room stands before the last thing is kept, and reads its tail behind that.
    TailCrossed,
    /// It leaves out lines when it is asked for an audit trail.
    LineForgotten,
    /// It keeps the lines of audit trails whose entries it has lost.
    LineOutlives,
    /// With the entries that it loses it loses a line of one that it has kept.
    LineTorn,
    /// It keeps lines of audit trails as of another than who did it.
    LineMisattributed,
    /// It says of each page of an audit trail that there is more.
    MoreClaimed,
    /// When it cannot keep something it forgets what was decided and is not kept.
    DecisionsDropped,
    /// It reads messages without the epochs in which they were said, which their room may have
    /// forgotten.
    EpochUnnamed,
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
    name: String,
    key: Option<RoomKey>,
    epoch: u64,
    rev: u64,
    entries: Vec<Kept>,
    /// Which entries made each message what it is: its own, and its changes. That with offset `n`
    /// is at `n - 1`.
    versions: Vec<Vec<usize>>,
    /// How many entries survive anything.
    durable: usize,
    /// How many of them did when the room was opened.
    opened_at: usize,
    /// How many of them the home has heard of, where that comes after they are kept.
    heard: usize,
    /// What was decided of it.
    pub(crate) decided: Decided,
    /// What of it survives anything,
    pub(crate) decided_durably: Decided,
    /// with this revision,
    rev_durably: u64,
    /// and what may be torn off, in order.
    pub(crate) deciding: VecDeque<Deciding>,
    /// Its audit trail.
    pub(crate) audited: Vec<Line>,
    /// How many messages there ever were at a time.
    pub(crate) longest: u64,
    /// The lives before this one.
    pub(crate) lineage: Vec<(u64, Marks)>,
    /// The messages up to this offset have been let go of,
    pub(crate) gone: u64,
    /// with changes up to this one.
    floor: u64,
    /// How many entries it had when the store failed last: until those are kept it takes none.
    in_doubt: usize,
    /// Appends that have an order and have not been answered.
    unanswered: VecDeque<Unanswered>,
    /// Appends that have not been looked at.
    waiting: VecDeque<Waiting>,
    /// What was said and not kept, and has not been looked at. It goes before appends that have no
    /// place yet, though some may have been asked for earlier.
    saying: VecDeque<(Option<Ticket>, UnkeptText)>,
    /// What is to be told, in order.
    pub(crate) said: VecDeque<Told>,
}

/// What was decided of a room.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Decided {
    /// Its title, if it was made on purpose.
    pub(crate) founded: Option<String>,
    /// Its settings, if some were decided.
    pub(crate) settings: Option<String>,
    /// How users stand in it.
    pub(crate) standings: BTreeMap<String, Standing>,
}

/// A decision that may be torn off.
pub(crate) struct Deciding {
    /// How many entries were before it.
    entries: usize,
    /// What was decided by then,
    pub(crate) decided: Decided,
    /// with which revision.
    rev: u64,
    /// How many lines its audit trail had by then.
    lines: usize,
    /// Whom to tell when it is kept.
    ticket: Option<Ticket>,
}

/// A line of an audit trail.
pub(crate) struct Line {
    pub(crate) number: u64,
    act: AuditAct,
    /// As it is told.
    told: Vec<u8>,
    /// How many entries there were with the one that it came with.
    entries: usize,
}

/// An entry.
struct Kept {
    /// The number that it has: of a message its offset, of a change its change.
    number: u64,
    at_ms: u64,
    what: WhatText,
}

impl Kept {
    fn placed(&self) -> Placed {
        match self.what {
            WhatText::Message(_) => {
                Placed::message(Receipt { offset: self.number, at_ms: self.at_ms })
            }
            WhatText::Changed(..) => Placed::change(self.number, self.at_ms),
            _ => unreachable!("what is decided is kept beside the entries"),
        }
    }
}

/// An append that is answered once so many entries are durable.
struct Unanswered {
    entries: usize,
    ticket: Ticket,
    placed: Placed,
}

/// An append that has no order yet.
struct Waiting {
    ticket: Option<Ticket>,
    judged: Judged,
    at_ms: u64,
    what: WhatText,
    line: Option<LineText>,
}

/// [`FromLog`] on its way.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Opened {
        opened: Option<Opened>,
    },
    NotOpened {
        why: Why,
    },
    Entry {
        ticket: Option<Ticket>,
        placed: Placed,
        rev: u64,
        what: WhatText,
        line: Option<LineText>,
    },
    Closed,
    Kept {
        ticket: Ticket,
        placed: Placed,
    },
    Refused {
        ticket: Ticket,
        why: Why,
    },
    Read {
        ticket: Ticket,
        stretch: Stretch,
    },
    Found {
        ticket: Ticket,
        hits: Hits,
    },
    Audited {
        ticket: Ticket,
        page: String,
    },
    NotRead {
        ticket: Ticket,
        why: Why,
    },
    Turned {
        epoch: u64,
        kept: Marks,
    },
    LetGo {
        floor: Marks,
    },
    Listed {
        rooms: Vec<ListedRoom>,
        next: Option<u64>,
    },
    NotListed,
    Heard {
        from: NodeId,
        ticket: Option<Ticket>,
        what: UnkeptText,
    },
    Missed,
    Life {
        life: u64,
    },
}

impl Told {
    /// As it is told to the home of a room.
    pub(crate) fn message(&self, room: RoomKey) -> FromLog<'_> {
        match self {
            Self::Opened { opened } => FromLog::Opened { room, opened: opened.as_ref() },
            Self::NotOpened { why } => FromLog::NotOpened { room, why: *why },
            Self::Entry { ticket, placed, rev, what, line } => {
                let (what, line) = (what.what(), line.as_ref());
                FromLog::Entry { room, ticket: *ticket, placed: *placed, rev: *rev, what, line }
            }
            Self::Closed => FromLog::Closed { room },
            Self::Kept { ticket, placed } => {
                FromLog::Kept { room, ticket: *ticket, placed: *placed }
            }
            Self::Refused { ticket, why } => FromLog::Refused { room, ticket: *ticket, why: *why },
            Self::Read { ticket, stretch } => FromLog::Read { room, ticket: *ticket, stretch },
            Self::Found { ticket, hits } => FromLog::Found { room, ticket: *ticket, hits },
            Self::Audited { ticket, page } => FromLog::Audited { room, ticket: *ticket, page },
            Self::NotRead { ticket, why } => FromLog::NotRead { room, ticket: *ticket, why: *why },
            Self::Turned { epoch, kept } => FromLog::Turned { room, epoch: *epoch, kept: *kept },
            Self::LetGo { floor } => FromLog::LetGo { room, floor: *floor },
            // Of no room.
            Self::Listed { rooms, next } => FromLog::Listed { rooms, next: *next },
            Self::NotListed => FromLog::NotListed,
            Self::Heard { from, ticket, what } => {
                let (from, ticket, what) = (*from, *ticket, what.unkept());
                FromLog::Heard { room, from, ticket, what }
            }
            Self::Missed => FromLog::Missed { room },
            Self::Life { life } => FromLog::Life { node: HERE, life: *life },
        }
    }
}

/// A search under way.
struct Finding {
    room: RoomKey,
    ticket: Ticket,
    /// How many entries the room had when it was asked: it is looked for behind those.
    entries: usize,
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

impl Finding {
    /// The messages of a room that are looked for, as they are by its first `entries`.
    fn hits(&self, room: &Room, entries: usize, defect: Option<LogDefect>) -> Hits {
        let is_it = |message: &MessageText| {
            let said = &message.said;
            self.from.as_ref().is_none_or(|from| **from == *said.user)
                && said.body.contains(&self.query)
                && message.fate().deleted.is_none()
        };
        let newest_first = (room.gone + 1..self.before.min(room.last() + 1)).rev();
        let mut found = newest_first.filter_map(|offset| {
            let message = room.told(offset, entries, defect)?;
            is_it(&message).then_some((offset, message))
        });
        let messages = found.by_ref().take(self.messages).collect();
        Hits { messages, more_before: found.next().map(|(offset, _)| offset + 1) }
    }
}

impl Room {
    /// Whether something of it survives anything.
    pub(crate) fn is_kept(&self) -> bool {
        self.durable > 0 || self.decided_durably.founded.is_some()
    }

    /// Which life of it this is.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The offset of its last message.
    pub(crate) fn last(&self) -> u64 {
        self.versions.len() as u64
    }

    /// Whether nothing was ever said or decided in it.
    fn is_new(&self) -> bool {
        self.entries.is_empty() && self.rev == 0 && self.audited.is_empty()
    }

    /// What another node decides next, with its line.
    fn others_decision(
        &self,
        draw: u64,
        decides: bool,
        kicked: Option<&'static str>,
    ) -> (WhatText, Option<LineText>) {
        let line = |user: Option<&str>, act, set: &str| LineText {
            number: 0,
            act,
            by: "stranger".into(),
            user: user.map(Box::from),
            offset: None,
            text: None,
            set: Some(set.into()),
        };
        let (user, mut standing) = ("stranger", Standing::default());
        if let Some(kicked) = kicked {
            let line = line(Some(kicked), AuditAct::RoomMember, "{\"kick\":true}");
            return (WhatText::Noted, Some(line));
        }
        if decides && draw & 2 == 2 {
            let edit_s = 1_000_000 + draw % 7;
            let settings = format!("{{\"edit_s\":{edit_s}}}");
            let line = line(None, AuditAct::RoomSet, &settings);
            let title = self.decided.founded.clone().unwrap_or_else(|| self.name.clone());
            let settings = with_edit_s(self.decided.settings.as_deref(), edit_s);
            let (title, settings) = (title.into(), settings.into());
            return (WhatText::Settings { title, settings }, Some(line));
        }
        standing.role = (decides && draw & 1 == 1).then_some(Role::Member);
        let is_news = self.decided.standings.get(user).copied().unwrap_or_default() != standing;
        let line = is_news.then(|| line(Some(user), AuditAct::RoomMember, "{\"role\":null}"));
        (WhatText::Standing { user: user.into(), standing }, line)
    }

    /// What is proposed is made of what is there by now: nothing of what other nodes have done is
    /// undone by it.
    fn check_folded(&self, what: &WhatText) {
        match what {
            WhatText::Changed(offset, message) if message.fate().deleted.is_none() => {
                let latest = self.latest(*offset).expect("it was judged by that");
                let has = |of: &MessageText| {
                    of.reacted().unwrap_or_default().lines().any(|line| line == STRANGERS)
                };
                assert!(
                    !has(&latest) || has(message),
                    "what is proposed is made of what is there: {message:?} of {latest:?}"
                );
            }
            WhatText::Settings { settings, .. } => {
                let decided = self.decided.settings.as_deref().unwrap_or("{}");
                assert_eq!(
                    edit_s_of(decided),
                    edit_s_of(settings),
                    "what is proposed is made of what is there: {settings} of {decided}"
                );
            }
            _ => {}
        }
    }

    /// Gives a decision its place, and says so.
    fn place_decision(
        &mut self,
        ticket: Option<Ticket>,
        at_ms: u64,
        what: WhatText,
        line: Option<&LineText>,
        defect: Option<LogDefect>,
    ) {
        let lines = self.audited.len();
        self.decide(what.what());
        let line = line.map(|line| LineText { number: self.next_line(), ..line.clone() });
        self.note(line.as_ref().map(LineText::line).as_ref(), at_ms, defect);
        let (entries, decided, rev) = (self.entries.len(), self.decided.clone(), self.rev);
        self.deciding.push_back(Deciding { entries, decided, rev, lines, ticket });
        let placed = Placed::decision(at_ms);
        self.said.push_back(Told::Entry { ticket, placed, rev, what, line });
    }

    /// Says of the last entry that it is this append's.
    fn name_last(&mut self, of: Ticket) {
        if let Some(Told::Entry { ticket, .. }) = self.said.back_mut() {
            *ticket = Some(of);
        }
    }

    fn next_line(&self) -> u64 {
        1 + self.audited.last().map_or(0, |line| line.number)
    }

    /// Loses what was decided behind the entries that are left, and of what was decided right
    /// behind those some. Whether that was anything.
    fn lose_decisions(&mut self, of_last: u64) -> bool {
        let entries = self.entries.len();
        let before = self.deciding.iter().take_while(|of| of.entries < entries).count();
        let behind = self.deciding.iter().filter(|of| of.entries == entries).count();
        let survive = before + behind * usize::try_from(of_last).expect("small");
        let lost = self.deciding.split_off(survive.min(self.deciding.len()));
        self.audited.truncate(lost.front().map_or(self.audited.len(), |first| first.lines));
        self.audited.retain(|line| line.entries <= entries);
        let left = self.deciding.back();
        self.decided = left.map_or(&self.decided_durably, |left| &left.decided).clone();
        self.rev = left.map_or(self.rev_durably, |left| left.rev);
        for ticket in lost.iter().filter_map(|of| of.ticket) {
            self.said.push_back(Told::Refused { ticket, why: Why::Unconfirmed });
        }
        !lost.is_empty()
    }

    /// It has lost its place: its home is told nothing more but that.
    fn close(&mut self) {
        let is_opened = |told: &Told| matches!(told, Told::Opened { .. } | Told::NotOpened { .. });
        let is_loading = self.said.iter().any(is_opened);
        // What was to be looked up is answered all the same.
        self.said.retain(|told| matches!(told, Told::Audited { .. } | Told::NotRead { .. }));
        for told in &mut self.said {
            if let Told::Audited { ticket, .. } = *told {
                *told = Told::NotRead { ticket, why: Why::Unavailable };
            }
        }
        self.forget_tickets();
        self.said.push_back(if is_loading {
            Told::NotOpened { why: Why::Unavailable }
        } else {
            Told::Closed
        });
    }

    /// Whether its home is still to be told that it has lost its place.
    fn is_closed(&self) -> bool {
        self.said.iter().any(|told| matches!(told, Told::Closed | Told::NotOpened { .. }))
    }

    /// How far it has come.
    pub(crate) fn top(&self) -> Marks {
        self.marks(self.entries.len())
    }

    /// How far it had come after so many entries.
    fn marks(&self, entries: usize) -> Marks {
        let messages = self.versions.partition_point(|versions| versions[0] < entries);
        Marks { offset: messages as u64, change: (entries - messages) as u64 }
    }

    /// A message as it was after so many entries, if it had been said by then.
    fn state(&self, offset: u64, entries: usize) -> Option<MessageText> {
        let versions = self.versions.get(usize::try_from(offset).ok()?.checked_sub(1)?)?;
        let count = versions.partition_point(|version| *version < entries);
        let Kept { number, at_ms, what } = &self.entries[versions[count.checked_sub(1)?]];
        Some(match what {
            WhatText::Message(said) => MessageText::new(*at_ms, said.said(), Fate::default()),
            WhatText::Changed(_, message) => {
                let fate = Fate { change: *number, ..message.fate() };
                MessageText::new(message.at_ms, message.said.said(), fate)
            }
            _ => unreachable!("what is decided is kept beside the entries"),
        })
    }

    /// A message as it was by the first `entries`, how often it was answered by then, and in which
    /// epoch it was said, if its room may have forgotten that.
    fn told(&self, offset: u64, entries: usize, defect: Option<LogDefect>) -> Option<MessageText> {
        let message = self.state(offset, entries)?;
        let replies = self.replies(offset, self.marks(entries).offset);
        let epoch = self.epoch_further_back(offset);
        let epoch = epoch.filter(|_| defect != Some(LogDefect::EpochUnnamed));
        let fate = Fate { replies, epoch, ..message.fate() };
        Some(MessageText::new(message.at_ms, message.said.said(), fate))
    }

    /// The epoch in which a message was said.
    pub(crate) fn said_in(&self, offset: u64) -> u64 {
        let ended = self.lineage.iter().rev().find(|(_, kept)| offset <= kept.offset);
        ended.map_or(self.epoch, |(epoch, _)| *epoch)
    }

    /// The same, if that is further back than its room remembers.
    fn epoch_further_back(&self, offset: u64) -> Option<u64> {
        let (_, kept) = self.lineage.get(LINEAGE_EPOCHS_MAX)?;
        (offset <= kept.offset).then(|| self.said_in(offset))
    }

    /// How often a message was answered up to an offset.
    pub(crate) fn replies(&self, root: u64, upto: u64) -> Option<Replies> {
        let is_its = |offset: &u64| {
            let said = self.latest(*offset).map(|message| message.said);
            said.is_some_and(|said| said.thread == Some(root))
        };
        let answers: Vec<u64> = (root + 1..=upto.min(self.last())).filter(is_its).collect();
        Some(Replies { count: answers.len() as u64, last: *answers.last()? })
    }

    /// A message as it was by a change.
    pub(crate) fn state_by(&self, offset: u64, change: u64) -> Option<MessageText> {
        let versions = self.versions.get(usize::try_from(offset).ok()?.checked_sub(1)?)?;
        let is_by = |version: &usize| match &self.entries[*version] {
            Kept { what: WhatText::Message(_), .. } => true,
            Kept { number, .. } => *number <= change,
        };
        let count = versions.partition_point(is_by);
        self.state(offset, versions[count.checked_sub(1)?] + 1)
    }

    /// A message as it is.
    pub(crate) fn latest(&self, offset: u64) -> Option<MessageText> {
        self.state(offset, self.entries.len())
    }

    /// When an entry is accepted: never before the last message.
    fn at_ms(&self, proposed_ms: u64) -> u64 {
        let mut newest_first = self.entries.iter().rev();
        let last = newest_first.find(|of| matches!(of.what, WhatText::Message(_)));
        last.map_or(proposed_ms, |last| last.at_ms.max(proposed_ms))
    }

    /// The place that an entry is given next.
    fn next_placed(&self, what: &WhatText, at_ms: u64) -> Placed {
        let Marks { offset, change } = self.top();
        match what {
            WhatText::Message(_) => Placed::message(Receipt { offset: offset + 1, at_ms }),
            WhatText::Changed(..) => Placed::change(change + 1, at_ms),
            _ => unreachable!("what is decided has its place beside the entries"),
        }
    }

    /// What is decided of it survives anything: all before the first `durable` entries, and of what
    /// comes right behind them at most `more`.
    fn keep_decisions(&mut self, mut more: u64) {
        while let Some(Deciding { entries, .. }) = self.deciding.front() {
            if *entries > self.durable || *entries == self.durable && more == 0 {
                return;
            }
            more -= u64::from(*entries == self.durable);
            let Some(Deciding { decided, rev, ticket, .. }) = self.deciding.pop_front() else {
                return;
            };
            (self.decided_durably, self.rev_durably) = (decided, rev);
            let placed = Placed::decision(0);
            self.said.extend(ticket.map(|ticket| Told::Kept { ticket, placed }));
        }
    }

    /// Loses what was decided and is not kept, and the lines of that and of the entries that are
    /// lost.
    fn forget_decisions(&mut self, defect: Option<LogDefect>) {
        let first = self.deciding.front().map(|first| first.lines);
        self.deciding.clear();
        self.decided = self.decided_durably.clone();
        if defect == Some(LogDefect::LineOutlives) {
            return;
        }
        self.audited.truncate(first.unwrap_or(self.audited.len()));
        let entries = self.entries.len();
        self.audited.retain(|line| line.entries <= entries);
        if defect == Some(LogDefect::LineTorn) {
            self.audited.pop();
        }
    }

    /// Takes in what is decided of it.
    fn decide(&mut self, what: What<'_>) {
        let decided = &mut self.decided;
        match what {
            What::Founded { title, owner } => {
                decided.founded = Some(title.to_owned());
                let standing = Standing { role: Some(Role::Owner), ..Standing::default() };
                decided.standings.extend(owner.map(|owner| (owner.to_owned(), standing)));
                self.rev += 1;
            }
            What::Settings { title, settings } => {
                decided.founded = Some(title.to_owned());
                decided.settings = Some(settings.to_owned());
                self.rev += 1;
            }
            What::Standing { user, standing } => {
                decided.standings.insert(user.to_owned(), standing);
                self.rev += 1;
            }
            What::Noted => {}
            What::Message(_) | What::Changed { .. } => unreachable!("it is about a message"),
        }
    }

    /// Whether its home has not heard yet that all is kept which was in doubt when the store
    /// failed last.
    fn is_in_doubt(&mut self) -> bool {
        let is_news = |told: &Told| matches!(told, Told::Entry { .. } | Told::Kept { .. });
        let is_kept = self.durable >= self.in_doubt.min(self.entries.len());
        if is_kept && !self.said.iter().any(is_news) {
            self.in_doubt = 0;
        }
        self.in_doubt > 0
    }

    /// Keeps a line of its audit trail, for good.
    fn note(&mut self, line: Option<&AuditLine<'_>>, at_ms: u64, defect: Option<LogDefect>) {
        let Some(mut line) = line.copied() else { return };
        if defect == Some(LogDefect::LineMisattributed) {
            line.by = "stranger";
        }
        let mut told = Vec::new();
        line.push(&mut told, at_ms);
        let (number, act, entries) = (line.number, line.act, self.entries.len());
        self.audited.push(Line { number, act, told, entries });
    }

    /// The lines of it that are wanted.
    fn audit_page(&self, wanted: AuditWanted, defect: Option<LogDefect>) -> String {
        let AuditWanted { before, limit, act } = wanted;
        let forgets =
            |number: u64| defect == Some(LogDefect::LineForgotten) && number.is_multiple_of(3);
        let is_wanted = |line: &&Line| {
            let Line { number, act: of, .. } = **line;
            number < before && act.is_none_or(|act| act == of) && !forgets(number)
        };
        let mut lines = self.audited.iter().rev().filter(is_wanted);
        let mut page = AuditPage::default();
        for line in lines.by_ref().take(limit as usize) {
            page.push(|out| out.extend_from_slice(&line.told));
        }
        let more = lines.next().is_some() || defect == Some(LogDefect::MoreClaimed);
        String::from_utf8(page.end(more)).expect("JSON is UTF-8")
    }

    /// Whether a change was judged by the message as it is.
    fn is_judged_by(&self, what: &WhatText) -> bool {
        let WhatText::Changed(offset, message) = what else { return true };
        let latest = self.latest(*offset);
        latest.is_some_and(|latest| latest.fate().change == message.fate().change)
    }

    /// Gives an entry its place.
    fn push(&mut self, at_ms: u64, what: WhatText) -> Placed {
        let placed = self.next_placed(&what, at_ms);
        let entry = self.entries.len();
        match &what {
            WhatText::Message(_) => self.versions.push(vec![entry]),
            WhatText::Changed(offset, _) => {
                self.versions[usize::try_from(offset - 1).expect("few")].push(entry);
            }
            _ => unreachable!("what is decided has its place beside the entries"),
        }
        let number = placed.marks.offset.max(placed.marks.change);
        self.entries.push(Kept { number, at_ms, what });
        self.longest = self.longest.max(self.last());
        placed
    }

    /// The same, and says so: the home did not give it.
    fn push_told(
        &mut self,
        ticket: Option<Ticket>,
        at_ms: u64,
        what: WhatText,
        line: Option<&LineText>,
    ) {
        let placed = self.push(at_ms, what.clone());
        let line = line.map(|line| LineText { number: self.next_line(), ..line.clone() });
        self.note(line.as_ref().map(LineText::line).as_ref(), at_ms, None);
        self.said.push_back(Told::Entry { ticket, placed, rev: self.rev, what, line });
    }

    /// Loses all but so many entries.
    fn truncate(&mut self, entries: usize) {
        self.entries.truncate(entries);
        for versions in &mut self.versions {
            versions.retain(|version| *version < entries);
        }
        self.versions.retain(|versions| !versions.is_empty());
    }

    /// The message that was changed last.
    fn last_changed(&self) -> Option<u64> {
        self.entries.iter().rev().find_map(|kept| match kept.what {
            WhatText::Changed(offset, _) => Some(offset),
            _ => None,
        })
    }

    /// Another node edits, deletes, pins or reacts to a message: this one, or any.
    fn change_something(&mut self, draw: u64, offset: Option<u64>, body: Box<str>) {
        if self.last() == 0 {
            return;
        }
        let offset = offset.unwrap_or(1 + draw / 4 % self.last());
        let Some(mut message) = self.latest(offset) else { return };
        let at_ms = self.at_ms(0);
        let act = ActText { at_ms, by: Some("stranger".into()) };
        let mut fate = message.fate.take().map_or_else(FateText::default, |fate| *fate);
        if fate.deleted.is_some() {
            return;
        }
        match draw % 6 {
            0 => {
                message.said.body = "\"\"".into();
                (message.said.data, message.said.mentions) = (None, None);
                let (change, deleted) = (fate.change, Some(act));
                fate = FateText { change, deleted, ..FateText::default() };
            }
            2 | 3 => {
                let reacted = fate.reacted.as_deref().unwrap_or_default();
                let mut lines: Vec<&str> = reacted.lines().collect();
                let count = lines.len();
                lines.retain(|line| *line != STRANGERS);
                if lines.len() == count {
                    lines.push(STRANGERS);
                }
                let text: String = lines.iter().flat_map(|line| [*line, "\n"]).collect();
                fate.reacted = (!text.is_empty()).then(|| text.into());
            }
            1 => fate.pinned = if fate.pinned.is_some() { None } else { Some(act) },
            _ => {
                message.said.body = body;
                fate.edited = Some(ActText { at_ms, by: None });
            }
        }
        fate.epoch = self.epoch_further_back(offset);
        message.fate = Some(Box::new(fate));
        self.push_told(None, at_ms, WhatText::Changed(offset, Box::new(message)), None);
    }

    /// What is wanted, as it is by the first `entries`.
    fn stretch(&self, wanted: Wanted, entries: usize, defect: Option<LogDefect>) -> Stretch {
        if wanted.view != View::Room {
            return self.picked(wanted, entries, defect);
        }
        let upto = wanted.upto.min(self.marks(entries).offset);
        let after = wanted.after.max(self.gone).min(upto);
        let (mut begin, mut end) = (after, upto);
        let count = u64::from(wanted.messages);
        match wanted.part {
            Part::Newest => begin = after.max(upto.saturating_sub(count)),
            Part::Oldest | Part::All => end = upto.min(after.saturating_add(count)),
            Part::Around(offset) if offset > after && offset <= upto => {}
            Part::Around(_) => end = begin,
        }
        let as_of = |offset| match defect {
            Some(LogDefect::ReadAsSaid) => self.state(offset, self.versions_of(offset)[0] + 1),
            _ => self.told(offset, entries, defect),
        };
        let state = |offset| as_of(offset).expect("it was said by then");
        let length = |begin: u64, end: u64| {
            (begin + 1..=end).map(|offset| state(offset).said.text_bytes()).sum::<usize>()
        };
        while end > begin + 1 && length(begin, end) > wanted.bytes {
            let leaves_out_first = match wanted.part {
                Part::Newest => true,
                Part::Oldest | Part::All => false,
                Part::Around(offset) => offset - begin > end - offset,
            };
            if leaves_out_first { begin += 1 } else { end -= 1 }
        }
        let mut more = begin > after || end < upto;
        let mut changed = Vec::new();
        if let Some(behind) = wanted.changed {
            let had =
                (self.gone + 1..=wanted.after.min(self.marks(entries).offset)).map(|offset| {
                    let message = self.told(offset, entries, defect).expect("it was said by then");
                    (offset, message)
                });
            let forgets = defect == Some(LogDefect::TombstoneForgotten);
            let is_told = |message: &MessageText| {
                let fate = message.fate();
                fate.change > behind && !(forgets && fate.deleted.is_some())
            };
            changed.extend(had.filter(|(_, message)| is_told(message)));
            let bytes: usize = changed.iter().map(|(_, message)| message.said.text_bytes()).sum();
            if bytes > wanted.bytes {
                more = true;
                changed.truncate(1);
            }
        }
        let messages = (begin + 1..=end).map(state).collect();
        Stretch { first: begin + 1, messages, more, changed, ..Stretch::default() }
    }

    /// What is wanted of a view, as it is by the first `entries`.
    fn picked(&self, wanted: Wanted, entries: usize, defect: Option<LogDefect>) -> Stretch {
        let Wanted { after, upto, part, messages: count, bytes, changed: _, view } = wanted;
        let is_in = |offset: u64, message: &MessageText| match view {
            View::Room => true,
            View::Thread(root) => offset == root || message.said.thread == Some(root),
            View::Pins => message.fate().pinned.is_some(),
        };
        let upto = upto.min(self.marks(entries).offset);
        let mut offsets: Vec<u64> = (after.max(self.gone) + 1..=upto).collect();
        if part == Part::Newest {
            offsets.reverse();
        }
        let (mut picked, mut length, mut more) = (Vec::new(), 0, false);
        for offset in offsets {
            let state = match defect {
                Some(LogDefect::ReadAsSaid) if view != View::Pins => {
                    self.state(offset, self.versions_of(offset)[0] + 1)
                }
                _ => self.told(offset, entries, defect),
            };
            let message = state.expect("it was said by then");
            if !is_in(offset, &message) {
                continue;
            }
            length += message.said.text_bytes();
            if picked.len() == count as usize || length > bytes && !picked.is_empty() {
                more = true;
                break;
            }
            picked.push((offset, message));
        }
        if part == Part::Newest {
            picked.reverse();
        }
        Stretch { more, picked, ..Stretch::default() }
    }

    fn versions_of(&self, offset: u64) -> &[usize] {
        &self.versions[usize::try_from(offset - 1).expect("few")]
    }

    /// Tells the home of its first `last` entries.
    fn tell_upto(&mut self, last: usize) {
        while self.heard < last {
            let kept = &self.entries[self.heard];
            let (placed, what) = (kept.placed(), kept.what.clone());
            self.heard += 1;
            let of = self.unanswered.iter().find(|of| of.entries == self.heard);
            let ticket = of.map(|of| of.ticket);
            self.said.push_back(Told::Entry { ticket, placed, rev: self.rev, what, line: None });
        }
    }

    fn opened(&self, defect: Option<LogDefect>) -> Opened {
        let first = self.gone.min(self.last()) + 1;
        let (decided, forgets) = (&self.decided, defect == Some(LogDefect::DecisionForgotten));
        let standings = decided.standings.iter().filter(|_| !forgets);
        let crossed = usize::from(defect == Some(LogDefect::TailCrossed));
        let is_alone = defect == Some(LogDefect::LineageForgotten);
        let lineage = if is_alone { Vec::new() } else { self.lineage.clone() };
        let top = self.marks(self.entries.len().saturating_sub(crossed));
        // It has as many messages all the same.
        let tail_first = first + self.last() - top.offset;
        Opened {
            epoch: self.epoch,
            is_new: self.is_new(),
            origin: self.lineage.last().map_or(self.epoch, |(epoch, _)| *epoch),
            top,
            rev: self.rev,
            kept: self.marks(self.durable),
            founded: decided.founded.as_deref().map(Box::from),
            settings: decided.settings.as_deref().map(Box::from),
            standings: standings.map(|(user, of)| (user.as_str().into(), *of)).collect(),
            audited: self.audited.last().map_or(0, |line| line.number),
            lineage,
            floor: Marks { offset: self.gone, change: self.floor },
            pins: self.pins(first),
            unkept_pins: self.unkept_pins(),
            // Its tail has all that there is.
            keys: Vec::new(),
            tail: (tail_first..=self.last()).filter_map(|offset| self.latest(offset)).collect(),
        }
    }

    /// The pinned messages from `first` on.
    pub(crate) fn pins(&self, first: u64) -> Vec<u64> {
        let is_pinned = |offset: &u64| {
            self.latest(*offset).is_some_and(|message| message.fate().pinned.is_some())
        };
        (first..=self.last()).filter(is_pinned).collect()
    }

    /// By which changes that are not durable a message was pinned, or was so no more.
    fn unkept_pins(&self) -> Vec<(u64, u64)> {
        let is_pinned = |offset, entries| {
            let state = self.state(offset, entries);
            state.is_some_and(|message| message.fate().pinned.is_some())
        };
        let unkept = self.entries.iter().enumerate().skip(self.durable);
        let pins = unkept.filter_map(|(at, kept)| match kept.what {
            WhatText::Changed(offset, _) if is_pinned(offset, at) != is_pinned(offset, at + 1) => {
                Some((kept.number, offset))
            }
            _ => None,
        });
        pins.collect()
    }

    /// The entry that has the key of a message.
    pub(crate) fn of_key(&self, what: &WhatText) -> Option<usize> {
        let WhatText::Message(said) = what else { return None };
        said.key.as_ref()?;
        let is_same = |kept: &Kept| matches!(&kept.what, WhatText::Message(of) if of.user == said.user && of.key == said.key);
        self.entries.iter().position(is_same)
    }

    fn turn(&mut self, epoch: u64, defect: Option<LogDefect>) {
        let kept = self.top();
        match defect {
            Some(LogDefect::EpochKept) => return,
            Some(LogDefect::OffsetReused) => {
                let epoch = self.epoch;
                return self.said.push_back(Told::Turned { epoch, kept });
            }
            Some(
                LogDefect::AckedBeforeKept
                | LogDefect::ReadTooEarly
                | LogDefect::ReadAsSaid
                | LogDefect::ReadsSwapped
                | LogDefect::SeenBeforeKept
                | LogDefect::ListsTooFew
                | LogDefect::FindsElsewhere
                | LogDefect::FindsUnkept
                | LogDefect::ChangeSkipped
                | LogDefect::TombstoneForgotten
                | LogDefect::DecisionForgotten
                | LogDefect::LastAnsweredOnly
                | LogDefect::LineageForgotten
                | LogDefect::TailCrossed
                | LogDefect::LineForgotten
                | LogDefect::LineOutlives
                | LogDefect::LineTorn
                | LogDefect::LineMisattributed
                | LogDefect::MoreClaimed
                | LogDefect::DecisionsDropped
                | LogDefect::EpochUnnamed,
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
        self.forget_tickets();
    }

    /// The same, of what has not been told yet. What is decided and was not looked at is not.
    fn forget_tickets(&mut self) {
        self.saying.clear();
        self.unanswered.clear();
        self.waiting.retain(|waiting| !waiting.what.what().is_of_room());
        for waiting in &mut self.waiting {
            waiting.ticket = None;
        }
        for deciding in &mut self.deciding {
            deciding.ticket = None;
        }
    }
}

/// The line of a reaction that nobody but other nodes has.
const STRANGERS: &str = "s\tstranger";

/// Settings with another time for edits, which nobody but other nodes sets.
fn with_edit_s(settings: Option<&str>, edit_s: u64) -> String {
    let mut settings: Value =
        serde_json::from_str(settings.unwrap_or("{}")).expect("settings are JSON");
    settings["edit_s"] = edit_s.into();
    settings.to_string()
}

/// The time that other nodes have set.
fn edit_s_of(settings: &str) -> Option<u64> {
    let settings: Value = serde_json::from_str(settings).expect("settings are JSON");
    settings["edit_s"].as_u64().filter(|edit_s| *edit_s >= 1_000_000)
}

impl Log for PretendLog {
    fn is_shared(&self) -> bool {
        self.is_engine()
    }

    fn open(&mut self, room: RoomKey, topic: &str, fresh_epoch: u64) -> Opening {
        let (is_later, is_refused) = (self.one_in(2), self.one_in(12));
        if is_refused && !is_later {
            return Opening::Refused(Why::Busy);
        }
        let (is_new, pretends) = (!self.rooms.contains_key(topic), self.pretends);
        let (defect, is_engine) = (self.defect, self.is_engine());
        self.epochs += 1;
        let fresh_epoch = if is_engine { self.epochs } else { fresh_epoch };
        let kept = self.rooms.entry(topic.to_owned()).or_default();
        topic.strip_prefix("room:").unwrap_or_default().clone_into(&mut kept.name);
        kept.key = Some(room);
        kept.opened_at = kept.durable;
        kept.forget_asker();
        if is_new {
            kept.epoch = fresh_epoch;
        }
        if pretends == Pretends::SeenIsKept || !is_engine && !kept.deciding.is_empty() {
            // It is opened behind all that was decided in it before; or behind all that was said,
            // and the home hears of all of it.
            kept.durable = kept.entries.len();
            kept.heard = kept.durable;
            kept.keep_decisions(u64::MAX);
        }
        let opened = (!is_new || is_engine).then(|| kept.opened(defect));
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

    fn say(&mut self, say: Say<'_>) -> Spoken {
        let Say { room, topic, ticket, to, what } = say;
        if !self.is_engine() {
            return Spoken::Now;
        }
        if self.is_failing || self.one_in(30) {
            return Spoken::Refused(if self.is_failing { Why::Unavailable } else { Why::Busy });
        }
        let of = self.rooms.get_mut(topic).expect("it was opened");
        assert_eq!(of.key, Some(room), "what is said is said in an open room");
        if to.is_none() {
            of.saying.push_back((ticket, UnkeptText::new(what)));
        }
        Spoken::Later
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
        assert!(wanted.after < wanted.upto || wanted.changed.is_some(), "something is read");
        let (topic, entries) = (topic.to_owned(), self.rooms[topic].entries.len());
        self.reads.push(Reading { room, topic, ticket, wanted, entries, found: None });
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
        let of = self.rooms.values().find(|of| of.key == Some(room));
        let entries = of.map_or(0, |of| of.entries.len());
        self.finds.push(Finding { room, ticket, entries, query, from, before, messages });
        Ok(())
    }

    fn audit(&mut self, audit: Audit) -> Result<(), Why> {
        if self.is_failing {
            return Err(Why::Storage);
        }
        let is_it = |of: &&mut Room| of.key == Some(audit.room);
        let room = self.rooms.values_mut().find(is_it).expect("it was opened");
        let (ticket, page) = (audit.ticket, room.audit_page(audit.wanted, self.defect));
        room.said.push_back(Told::Audited { ticket, page });
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
        if room.is_in_doubt() {
            return Appended::Refused(Why::Storage);
        }
        if pretends == Pretends::Engine {
            // Its home may not know yet that the place is lost.
            let ticket = Some(ticket).filter(|_| !room.is_closed());
            let (judged, what) = (entry.judged, WhatText::new(entry.what));
            let line = entry.audit.map(LineText::new);
            if ticket.is_none() && what.what().is_of_room() {
                return Appended::Later;
            }
            room.waiting.push_back(Waiting { ticket, judged, at_ms, what, line });
            return Appended::Later;
        }
        if entry.what.is_of_room() {
            let lines = room.audited.len();
            room.decide(entry.what);
            room.note(entry.audit, at_ms, self.defect);
            let is_taken = pretends == Pretends::OkIsTaken;
            let is_early = self.defect == Some(LogDefect::AckedBeforeKept);
            if is_early && !is_taken {
                let placed = Placed::decision(at_ms);
                room.said.push_back(Told::Kept { ticket, placed });
            }
            let ticket = (!is_taken && !is_early).then_some(ticket);
            let (entries, decided, rev) = (room.entries.len(), room.decided.clone(), room.rev);
            room.deciding.push_back(Deciding { entries, decided, rev, lines, ticket });
            return if is_taken { Appended::Kept } else { Appended::Ordered };
        }
        let what = WhatText::new(entry.what);
        let at_ms = room.at_ms(at_ms);
        if pretends != Pretends::SeenIsKept {
            assert_eq!(top, room.top(), "home and store stand at one place");
        }
        if pretends == Pretends::SeenIsKept && !room.is_judged_by(&what) {
            // It was judged before a change was heard of that the log has been in doubt of.
            return Appended::Refused(Why::Conflict);
        }
        assert!(
            room.is_judged_by(&what),
            "a change is judged by the message as it stands: {what:?}"
        );
        let placed = room.push(at_ms, what);
        room.note(entry.audit, at_ms, self.defect);
        let entries = room.entries.len();
        match pretends {
            Pretends::OkIsTaken => return Appended::Kept,
            Pretends::SeenIsKept => {
                room.unanswered.push_back(Unanswered { entries, ticket, placed });
                if self.defect == Some(LogDefect::SeenBeforeKept) {
                    room.tell_upto(entries);
                }
                return Appended::Later;
            }
            Pretends::Store | Pretends::Engine => {}
        }
        if self.defect == Some(LogDefect::AckedBeforeKept) && room.durable < entries {
            room.said.push_back(Told::Kept { ticket, placed });
        } else {
            room.unanswered.push_back(Unanswered { entries, ticket, placed });
        }
        Appended::Ordered
    }
}

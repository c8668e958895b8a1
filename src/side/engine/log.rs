//! A shard's end of the engine: the log of its rooms.
//!
//! ```text
//!   home ── open, append, say, read, close ──> EngineLog ── ToEngine ──> thread
//!        <─ LogAnswer ────────────────────────           <─ FromEngine ──
//! ```
//!
//! All that is appended has its place when it comes back, as what others append does. While the
//! engine is away nothing is taken.
//!
//! Of the list of rooms that all nodes make together each shard asks for what has changed.
//!
//! Invariants: what was taken is answered once, unless its room is closed before; what waits for
//! the thread is bounded.
//!
//! Deliberately absent: keys in the engine, and who else follows a room.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::record::key_hash;
use super::written::{Fact, Writer};
use crate::auth::level::{Joiners, Standing};
use crate::limits::EngineLimits;
use crate::link::audit::LineText;
use crate::link::engine::{Act, FromEngine, ToEngine, Told, push_fact, read_lives};
use crate::link::facts::RoomSettings;
use crate::link::field::Field;
use crate::link::ids::{ConnKey, RoomKey};
use crate::link::kept::{read_hits, read_listed, read_whole};
use crate::link::log::{
    Append, Appended, Audit, Find, Judged, Log, LogAnswer, LogEnd, Marks, NodeId, Opened, Opening,
    Placed, Read, Recall, Say, Spoken, Stretch, Ticket, Unkept, UnkeptText, What, WhatText, Why,
};
use crate::link::record::ToSession;
use crate::link::said::{Fate, MessageText, SaidText};
use crate::mesh::{Port, Wake};

/// What nothing is judged by: no room has counted so many decisions.
const NEVER: Judged = Judged { epoch: 0, rev: u64::MAX };

/// The log of a shard's rooms. See the module.
pub struct EngineLog {
    port: Port,
    /// What the mesh calls the thread.
    thread: u16,
    node: u64,
    limits: EngineLimits,
    /// Whether there is an archive, which finds what was said.
    has_archive: bool,
    is_up: bool,
    /// Counts what is asked, over all lives of the shard.
    number: u64,
    /// What is not answered yet, by its number.
    asked: HashMap<u64, Asked, ahash::RandomState>,
    /// The same of what is to be read.
    reading: HashMap<u64, (RoomKey, Ticket), ahash::RandomState>,
    /// The last question for the list of rooms, until it is answered.
    listing: Option<u64>,
    /// Who asks for a session at another node, with the number of the question: a connection of an
    /// earlier life of the shard may have been called the same.
    sessions: HashMap<ConnKey, u64, ahash::RandomState>,
    /// What will not be read, since its room is closed, and has not been told.
    not_read: Vec<(RoomKey, Ticket)>,
    /// Memory to write and read a record in.
    record: Vec<u8>,
}

/// Something that will be answered.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// What its home calls it.
    room: RoomKey,
    ticket: Ticket,
    /// Whether its entry tells its home that it has come back: a decision has no number by which
    /// that could be seen. So it is known until both its entry and that it is kept were told, in
    /// whichever order.
    is_decision: bool,
    /// Whether its entry was told,
    has_come: bool,
    /// and that it is kept.
    is_kept: bool,
}

impl EngineLog {
    /// The end of a shard whose port of the engine's mesh this is.
    pub(super) fn new(
        port: Port,
        thread: u16,
        node: u64,
        limits: EngineLimits,
        has_archive: bool,
    ) -> Self {
        Self {
            port,
            thread,
            node,
            limits,
            has_archive,
            is_up: false,
            number: 0,
            asked: HashMap::default(),
            reading: HashMap::default(),
            listing: None,
            sessions: HashMap::default(),
            not_read: Vec::new(),
            record: Vec::new(),
        }
    }

    /// Whether it has nothing more to say.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        let is_answered = self.asked.is_empty() && self.reading.is_empty();
        is_answered && self.sessions.is_empty() && self.not_read.is_empty()
    }

    fn send(&mut self, message: &ToEngine<'_>) {
        self.record.clear();
        (*message).put(&mut self.record);
        self.port.send(self.thread, &self.record);
    }

    /// Whether as much waits for the thread as may.
    fn is_full(&self) -> bool {
        self.port.waiting_bytes(self.thread) > self.limits.waiting_bytes
    }

    /// Why nothing is taken now, if so.
    fn refuses(&self) -> Option<Why> {
        if !self.is_up {
            Some(Why::Unavailable)
        } else if self.is_full() {
            Some(Why::Busy)
        } else {
            None
        }
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// The number of something that will be answered.
    fn ask(&mut self, room: RoomKey, ticket: Ticket, is_decision: bool) -> u64 {
        let number = self.next_number();
        self.asked
            .insert(number, Asked { room, ticket, is_decision, has_come: false, is_kept: false });
        number
    }

    /// What was asked under a number, of which its entry is told now, or that it `is_kept`.
    fn told(&mut self, number: u64, is_kept: bool) -> Option<(RoomKey, Ticket)> {
        let asked = self.asked.get_mut(&number)?;
        let (room, ticket) = (asked.room, asked.ticket);
        asked.has_come |= !is_kept;
        asked.is_kept |= is_kept;
        if asked.is_kept && (asked.has_come || !asked.is_decision) {
            self.asked.remove(&number);
        }
        Some((room, ticket))
    }

    /// A room has turned. A decision that was kept, and has not come back by now, is lost: what is
    /// still there of before is told before.
    fn turned(&mut self, room: RoomKey) {
        self.asked.retain(|_, asked| asked.room != room || !asked.is_kept);
    }

    /// Asks for something to be read.
    fn ask_to_read<'a>(
        &mut self,
        room: RoomKey,
        ticket: Ticket,
        question: impl FnOnce(u64) -> ToEngine<'a>,
    ) -> Result<(), Why> {
        if let Some(why) = self.refuses() {
            return Err(why);
        }
        let number = self.next_number();
        self.reading.insert(number, (room, ticket));
        self.send(&question(number));
        Ok(())
    }

    /// This shard, as it writes of a room.
    fn writer<'a>(&self, topic: &'a str) -> Writer<'a> {
        Writer { topic, node: self.node, shard: self.port.me() }
    }

    fn hear(&mut self, message: FromEngine<'_>) -> Option<LogAnswer> {
        Some(match message {
            FromEngine::Opened { room, is_new, rev, found } => {
                // The primary has it. Its replicas have what was appended before something kept.
                let kept = Marks::default();
                let opened = Some(Opened { is_new, rev, kept, ..found.opened() });
                LogAnswer::Opened { room, opened }
            }
            FromEngine::NotOpened { room, why } => LogAnswer::NotOpened { room, why },
            FromEngine::Entry { room, number, marks, at_ms, rev, record, line, was_missed } => {
                // It may still have to be kept: only its place is known.
                let ticket = number.and_then(|number| self.told(number, false)).map(|of| of.1);
                let placed = Placed { marks, at_ms };
                let line = line.map(|line| LineText::new(&line));
                let what = what_of(record, marks);
                LogAnswer::Entry { room, ticket, placed, rev, what, line, was_missed }
            }
            FromEngine::Kept { number, marks, at_ms } => {
                let (room, ticket) = self.told(number, true)?;
                LogAnswer::Kept { room, ticket, placed: Placed { marks, at_ms } }
            }
            FromEngine::Refused { number, why } => {
                let Asked { room, ticket, .. } = self.asked.remove(&number)?;
                LogAnswer::Refused { room, ticket, why }
            }
            FromEngine::Turned { room, epoch, kept } => {
                self.turned(room);
                LogAnswer::Turned { room, epoch, kept }
            }
            FromEngine::Closed { room } => {
                self.forget(room);
                LogAnswer::Closed { room }
            }
            FromEngine::LetGo { room, floor } => LogAnswer::LetGo { room, floor },
            FromEngine::Heard { room, node, number, record } => {
                let ticket =
                    number.and_then(|number| self.asked.remove(&number)).map(|of| of.ticket);
                LogAnswer::Heard { room, from: node, ticket, what: unkept_of(record)? }
            }
            FromEngine::Missed { room } => LogAnswer::Missed { room },
            FromEngine::Read { number, run } => {
                let (room, ticket) = self.reading.remove(&number)?;
                LogAnswer::Read { room, ticket, stretch: run.stretch() }
            }
            FromEngine::Found { number, more_before, hits } => {
                let (room, ticket) = self.reading.remove(&number)?;
                LogAnswer::Found { room, ticket, hits: read_hits(hits, more_before) }
            }
            FromEngine::Lines { number, page } => {
                let (room, ticket) = self.reading.remove(&number)?;
                LogAnswer::Audited { room, ticket, page: page.into() }
            }
            FromEngine::CaughtUp { number } => {
                let (room, ticket) = self.reading.remove(&number)?;
                LogAnswer::Read { room, ticket, stretch: Stretch::default() }
            }
            FromEngine::NotRead { number, why } => {
                let (room, ticket) = self.reading.remove(&number)?;
                LogAnswer::NotRead { room, ticket, why }
            }
            FromEngine::Life { node, life } => LogAnswer::Life { node, life },
            FromEngine::Gone { nodes } => LogAnswer::Gone { nodes: read_lives(nodes) },
            FromEngine::Listed { number, rooms, next } => {
                self.listing.take_if(|asked| *asked == number)?;
                LogAnswer::Listed { rooms: read_listed(rooms), next: Some(next) }
            }
            FromEngine::SessionAsked { node, message } => {
                LogAnswer::SessionAsked { from: node, record: record_of(message) }
            }
            FromEngine::SessionAnswered { number, message } => {
                let asked = self.sessions.entry(message.conn());
                let Entry::Occupied(asked) = asked else { return None };
                if *asked.get() != number {
                    return None;
                }
                asked.remove();
                LogAnswer::SessionAnswered { record: record_of(message) }
            }
            FromEngine::Health { is_up } => {
                self.is_up = is_up;
                return None;
            }
        })
    }

    /// Forgets what was asked of a room that is closed: it will not be answered, but what was to be
    /// read is.
    fn forget(&mut self, room: RoomKey) {
        self.asked.retain(|_, asked| asked.room != room);
        let mut not_read: Vec<_> = self.reading.extract_if(|_, (of, _)| *of == room).collect();
        not_read.sort_unstable_by_key(|(number, _)| *number);
        self.not_read.extend(not_read.into_iter().rev().map(|(_, of)| of));
    }
}

/// What an entry says, by what is inside of its record and its place.
fn what_of(inside: &[u8], marks: Marks) -> WhatText {
    match read_whole(inside) {
        Told::Message { said } => WhatText::Message(SaidText::new(said)),
        Told::Changed { offset, said_ms, said, fate } => {
            let fate = Fate { change: marks.change, ..fate };
            WhatText::Changed(offset, Box::new(MessageText::new(said_ms, said, fate)))
        }
        Told::Founded { title, owner } => {
            WhatText::Founded { title: title.into(), owner: owner.map(Box::from) }
        }
        Told::Settings { title, settings } => {
            WhatText::Settings { title: title.into(), settings: settings.into() }
        }
        Told::Standing { user, standing } => WhatText::Standing { user: user.into(), standing },
        Told::Noted {} | Told::Custom { .. } | Told::Typing { .. } | Told::Presence { .. } => {
            WhatText::Noted
        }
    }
}

/// What was said that is not kept, by what is inside of its record.
fn unkept_of(inside: &[u8]) -> Option<UnkeptText> {
    let what = match read_whole(inside) {
        Told::Custom { event, payload } => Unkept::Custom { event, payload },
        Told::Typing { user, name, thread } => Unkept::Typing { user, name, thread },
        Told::Presence { record } => Unkept::Presence(record),
        _ => return None,
    };
    Some(UnkeptText::new(what))
}

/// As shards of one node say it.
fn record_of<'a>(message: impl Field<'a>) -> Box<[u8]> {
    let mut record = Vec::new();
    message.put(&mut record);
    record.into()
}

/// What was decided of a room, as it stands in the engine.
fn facts(writer: Writer<'_>, what: What<'_>) -> Vec<u8> {
    let mut facts = Vec::new();
    let mut push = |(name, value): Fact| push_fact(&mut facts, &name, &value);
    match what {
        What::Founded { title, owner } => {
            push(writer.title(title));
            if let Some(user) = owner {
                push(writer.standing(user, Standing::OWNER));
            }
        }
        What::Settings { title, settings } => {
            push(writer.title(title));
            push(writer.settings(title, settings));
        }
        What::Standing { user, standing } => push(writer.standing(user, standing)),
        What::Message(_) | What::Changed { .. } | What::Noted => {}
    }
    facts
}

impl Log for EngineLog {
    fn is_shared(&self) -> bool {
        true
    }

    fn open(&mut self, room: RoomKey, topic: &str, _: u64) -> Opening {
        if let Some(why) = self.refuses() {
            return Opening::Refused(why);
        }
        self.send(&ToEngine::Open { room, topic });
        Opening::Later
    }

    fn append(&mut self, append: Append<'_>) -> Appended {
        let Append { room, topic, ticket, top, at_ms, entry } = append;
        if let Some(why) = self.refuses() {
            return Appended::Refused(why);
        }
        let is_decision = !matches!(entry.what, What::Message(_) | What::Changed { .. });
        let number = self.ask(room, ticket, is_decision);
        let writer = self.writer(topic);
        let facts = facts(writer, entry.what);
        let (act, told) = match entry.what {
            What::Message(said) => {
                let key = said.key.map(|key| key_hash(said.user, key));
                (Act::Message { key }, Told::Message { said })
            }
            What::Changed { offset, message } => {
                let fate = message.fate();
                let (expected, is_deleted) = (fate.change, fate.deleted.is_some());
                let (said_ms, said) = (message.at_ms, message.said.said());
                let told = Told::Changed { offset, said_ms, said, fate };
                let (is_pinned, heard) = (fate.pinned.is_some(), top.change);
                (Act::Change { offset, expected, is_deleted, is_pinned, heard }, told)
            }
            What::Founded { title, owner } => {
                let act = Act::Decision { title: Some(title), is_private: false, facts: &facts };
                (act, Told::Founded { title, owner })
            }
            What::Settings { title, settings } => {
                let is_private = RoomSettings::read(settings).join != Joiners::All;
                let act = Act::Decision { title: Some(title), is_private, facts: &facts };
                (act, Told::Settings { title, settings })
            }
            What::Standing { user, standing } => {
                let act = Act::Decision { title: None, is_private: false, facts: &facts };
                (act, Told::Standing { user, standing })
            }
            What::Noted => (Act::Note {}, Told::Noted {}),
        };
        let record = writer.told(Some(number), &told);
        let line = entry.audit.map(|line| writer.line(*line, at_ms)).unwrap_or_default();
        let (record, line) = (&*record, &*line);
        let judged = entry.judged;
        self.send(&ToEngine::Append { number, room, judged, act, record, line });
        Appended::Later
    }

    fn recall(&mut self, recall: Recall<'_>) -> Option<Appended> {
        let Recall { room, ticket, user, key } = recall;
        if let Some(why) = self.refuses() {
            return Some(Appended::Refused(why));
        }
        let number = self.ask(room, ticket, false);
        // A message that no room takes: it is judged by a revision that none has.
        let (judged, act) = (NEVER, Act::Message { key: Some(key_hash(user, key)) });
        let (record, line) = (&[][..], &[][..]);
        self.send(&ToEngine::Append { number, room, judged, act, record, line });
        Some(Appended::Later)
    }

    fn is_filling(&self) -> bool {
        // Messages have three quarters of the place.
        self.port.waiting_bytes(self.thread) > self.limits.waiting_bytes / 4
    }

    fn reads(&self) -> bool {
        true
    }

    fn read(&mut self, read: Read<'_>) -> Result<(), Why> {
        let Read { room, ticket, wanted, .. } = read;
        self.ask_to_read(room, ticket, |number| ToEngine::Read { number, room, wanted })
    }

    fn finds(&self) -> bool {
        self.has_archive
    }

    fn find(&mut self, find: Find<'_>) -> Result<(), Why> {
        let Find { room, ticket, sought } = find;
        self.ask_to_read(room, ticket, |number| ToEngine::Find { number, room, sought })
    }

    fn audit(&mut self, audit: Audit) -> Result<(), Why> {
        let Audit { room, ticket, wanted, bytes } = audit;
        self.ask_to_read(room, ticket, |number| ToEngine::Lines { number, room, wanted, bytes })
    }

    fn say(&mut self, say: Say<'_>) -> Spoken {
        if let Some(why) = self.refuses() {
            return Spoken::Refused(why);
        }
        let Say { room, topic, ticket, to, what } = say;
        let number = ticket.map(|ticket| self.ask(room, ticket, false));
        let told = match what {
            Unkept::Custom { event, payload } => Told::Custom { event, payload },
            Unkept::Typing { user, name, thread } => Told::Typing { user, name, thread },
            Unkept::Presence(record) => Told::Presence { record },
        };
        let record = self.writer(topic).told(number, &told);
        self.send(&ToEngine::Say { number, room, to, record: &record });
        Spoken::Later
    }

    fn part(&mut self, topic: &str, record: &[u8]) {
        // While the engine is away, it is said later.
        if !self.is_full() {
            let record = self.writer(topic).told(None, &Told::Presence { record });
            self.send(&ToEngine::Part { topic, record: &record });
        }
    }

    fn catch_up(&mut self, room: RoomKey, ticket: Ticket) -> Result<(), Why> {
        self.ask_to_read(room, ticket, |number| ToEngine::CatchUp { number, room })
    }

    fn close(&mut self, room: RoomKey) {
        self.forget(room);
        self.send(&ToEngine::Close { room });
    }

    fn list(&mut self, after: u64) -> bool {
        let number = self.next_number();
        self.listing = Some(number);
        self.send(&ToEngine::List { number, after });
        true
    }

    fn lists_all(&self) -> bool {
        true
    }

    fn count(&mut self, topic: &str, present: Option<u32>) {
        self.send(&ToEngine::Count { topic, present });
    }

    fn watch(&mut self) {
        self.send(&ToEngine::Watch {});
    }

    fn ask_session(&mut self, node: NodeId, record: &[u8]) -> bool {
        // While the engine is away, polls may wait for it.
        if self.is_full() {
            return false;
        }
        let message: ToSession<'_> = read_whole(record);
        let number = self.next_number();
        if matches!(message, ToSession::Abandon { .. }) {
            self.sessions.remove(&message.conn());
        } else {
            self.sessions.insert(message.conn(), number);
        }
        self.send(&ToEngine::AskSession { number, node, message });
        true
    }

    fn answer_session(&mut self, node: NodeId, record: &[u8]) {
        self.send(&ToEngine::AnswerSession { node, message: read_whole(record) });
    }

    fn answers_sessions(&self) -> bool {
        self.refuses().is_none()
    }
}

impl LogEnd for EngineLog {
    fn set_waker(&self, waker: Arc<dyn Wake>) {
        self.port.set_waker(waker);
    }

    fn next(&mut self) -> Option<LogAnswer> {
        loop {
            if let Some((room, ticket)) = self.not_read.pop() {
                return Some(LogAnswer::NotRead { room, ticket, why: Why::Unavailable });
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
        self.not_read.is_empty() && self.port.may_sleep()
    }

    fn woke(&self) {
        self.port.woke();
    }

    fn restarted(&mut self) {
        self.asked.clear();
        self.reading.clear();
        self.sessions.clear();
        self.listing = None;
        self.not_read.clear();
        self.send(&ToEngine::Restarted {});
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::arena::Key;
    use crate::link::log::Entry;
    use crate::mesh;

    struct NobodySleeps;

    impl Wake for NobodySleeps {
        fn wake(&self) {}
    }

    const ROOM: RoomKey = Key::from_u64(3);
    const KEPT: FromEngine<'_> =
        FromEngine::Kept { number: 1, marks: Marks { offset: 0, change: 0 }, at_ms: 5 };
    const TURNED: FromEngine<'_> =
        FromEngine::Turned { room: ROOM, epoch: 2, kept: Marks { offset: 0, change: 0 } };

    /// The log of a shard that has asked for a decision under ticket 9, by number 1.
    fn deciding() -> EngineLog {
        let mut ports = mesh::connect(2, 64);
        for port in &ports {
            port.set_waker(Arc::new(NobodySleeps));
        }
        let mut log = EngineLog::new(ports.swap_remove(0), 1, 7, EngineLimits::default(), false);
        log.is_up = true;
        let (room, topic, top) = (ROOM, "room:tea", Marks::default());
        let entry = Entry { judged: Judged { epoch: 1, rev: 0 }, what: What::Noted, audit: None };
        let append = Append { room, topic, ticket: 9, top, at_ms: 5, entry };
        assert_eq!(log.append(append), Appended::Later);
        log
    }

    /// Which ticket an answer has.
    #[track_caller]
    fn check_ticket(answer: Option<LogAnswer>, expected: Option<Ticket>) {
        let ticket = match answer {
            Some(LogAnswer::Entry { ticket, .. }) => ticket,
            Some(LogAnswer::Kept { ticket, .. }) => Some(ticket),
            None => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(ticket, expected);
    }

    fn came_back(inside: &[u8]) -> FromEngine<'_> {
        FromEngine::Entry {
            room: ROOM,
            number: Some(1),
            marks: Marks::default(),
            at_ms: 5,
            rev: 1,
            record: inside,
            line: None,
            was_missed: false,
        }
    }

    fn noted() -> Vec<u8> {
        let mut inside = Vec::new();
        Told::Noted {}.put(&mut inside);
        inside
    }

    #[test]
    fn a_decision_is_known_by_its_ticket_whether_it_comes_back_or_is_kept_first() {
        let inside = noted();
        for both in [[KEPT, came_back(&inside)], [came_back(&inside), KEPT]] {
            let mut log = deciding();
            for message in both {
                check_ticket(log.hear(message), Some(9));
            }
            assert!(log.is_idle(), "nothing of it is remembered");
        }
    }

    #[test]
    fn of_a_decision_that_was_kept_and_is_lost_with_a_turn_nothing_is_remembered() {
        let inside = noted();
        let mut log = deciding();
        check_ticket(log.hear(KEPT), Some(9));
        assert!(!log.is_idle(), "its entry may come");
        log.hear(TURNED);
        assert!(log.is_idle(), "it cannot come any more");
        // One that has come back may still have to be kept, by replicas.
        let mut log = deciding();
        check_ticket(log.hear(came_back(&inside)), Some(9));
        log.hear(TURNED);
        check_ticket(log.hear(KEPT), Some(9));
        assert!(log.is_idle());
    }
}

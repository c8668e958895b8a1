//! What shards and the thread of an engine say to each other: [`ToEngine`] from the home of a room,
//! [`FromEngine`] back to it.
//!
//! ```text
//!   shard ── Open, Append, Say, Read, Find, Lines, Close ──> engine
//!         <─ Opened, NotOpened, Entry, Kept, Refused, Turned, Closed, Heard, Read, Found, Lines ──┘
//!   shard ── CatchUp ──> engine ── what was missing, CaughtUp ──> shard
//!   shard ── Count, Watch, List ──> engine ── Listed ──> shard
//!   shard ── AskSession ──> engine ── another's ── SessionAsked ──> shard
//!         <─ SessionAnswered ── engine <── another's <── AnswerSession ──┘
//! ```
//!
//! A shard numbers what it asks, one up each time and over its restarts, so that an answer to what
//! an earlier life of it asked is seen as such.
//!
//! Invariants:
//!
//! 1. each [`ToEngine::Open`] is answered with [`FromEngine::Opened`] or [`FromEngine::NotOpened`],
//!    unless the room is closed before;
//! 2. each [`ToEngine::Append`] is answered with [`FromEngine::Kept`] or [`FromEngine::Refused`],
//!    unless its room is closed before, by either side;
//! 3. each [`ToEngine::Read`], [`ToEngine::Find`], [`ToEngine::Lines`] and [`ToEngine::CatchUp`] is
//!    answered, or refused;
//! 4. each [`ToEngine::AskSession`] that asks for an answer is given one within a bound of time.
//!
//! Deliberately absent: Redis, and who waits for an answer.

use crate::auth::level::Standing;
use crate::link::audit::{AuditLine, AuditWanted};
use crate::link::field::{Field, struct_fields};
use crate::link::ids::{ConnKey, RoomKey};
use crate::link::kept::{Found, Run};
use crate::link::log::{Judged, Marks, Sought, Wanted, Why};
use crate::link::record::{FromSession, ToSession, records};
use crate::link::said::{Fate, Said};
use crate::wire::phx::Payload;

records! {
    /// From a room's home to the engine.
    ToEngine {
        /// What is there of a room?
        151 Open { room: RoomKey, topic: &'a str }
        /// Something is to be kept. `record` is kept and told, `line` is what the audit trail says,
        /// without its number, or empty.
        152 Append {
            number: u64, room: RoomKey, judged: Judged, act: Act<'a>, record: &'a [u8],
            line: &'a [u8],
        }
        /// Something is said that is not kept: in the room, or to one node.
        153 Say { number: Option<u64>, room: RoomKey, to: Option<u64>, record: &'a [u8] }
        /// Nobody is here any more in a room that is not followed: it is said to all who hear it.
        140 Part { topic: &'a str, record: &'a [u8] }
        /// The home has let go of a room.
        154 Close { room: RoomKey }
        /// Messages of a room that is open.
        155 Read { number: u64, room: RoomKey, wanted: Wanted }
        /// Messages of a room that is open, by their words.
        182 Find { number: u64, room: RoomKey, sought: Sought<'a> }
        /// Lines of the audit trail of a room that is open, of so many bytes about.
        156 Lines { number: u64, room: RoomKey, wanted: AuditWanted, bytes: usize }
        /// All that has its place in a room by now is to be told.
        149 CatchUp { number: u64, room: RoomKey }
        /// The shard has begun anew, and has no room open.
        157 Restarted {}
        /// Which rooms have changed in the list since this place? Answered when there are some.
        158 List { number: u64, after: u64 }
        /// So many are present here in a room, or it is not listed for what is here.
        159 Count { topic: &'a str, present: Option<u32> }
        /// Somebody asks for the list of rooms.
        160 Watch {}
        /// A connection here asks for a session of long polling at another node.
        178 AskSession { number: u64, node: u64, message: ToSession<'a> }
        /// A session here answers another node, which calls the asker so. May be lost.
        179 AnswerSession { node: u64, message: FromSession<'a> }
    }
}

records! {
    /// What an entry does.
    Act {
        /// A message. `key` is the hash of its author and key.
        1 Message { key: Option<u64> }
        /// A message becomes another one, which had this change before. `heard` is the last change
        /// of the room that its home knows.
        2 Change {
            offset: u64, expected: u64, is_deleted: bool, is_pinned: bool, heard: u64,
        }
        /// Something is decided of the room. `facts` are names and values: see [`push_fact`]. With
        /// a title it was made on purpose, and is listed or is not.
        3 Decision { title: Option<&'a str>, is_private: bool, facts: &'a [u8] }
        /// Nothing but its line.
        4 Note {}
    }
}

records! {
    /// From the engine to a room's home.
    FromEngine {
        /// What is there of a room. It is new, if nothing was ever kept of it.
        161 Opened { room: RoomKey, is_new: bool, rev: u64, found: Found<'a> }
        /// It cannot be read now.
        162 NotOpened { room: RoomKey, why: Why }
        /// The next entry of a room: of this shard by its number, if there is one. `record` is a
        /// [`Told`]. Whether it was missed, and is told later.
        163 Entry {
            room: RoomKey, number: Option<u64>, marks: Marks, at_ms: u64, rev: u64,
            record: &'a [u8], line: Option<AuditLine<'a>>, was_missed: bool,
        }
        /// An entry is kept.
        164 Kept { number: u64, marks: Marks, at_ms: u64 }
        /// An entry, or what was to be said, was refused.
        165 Refused { number: u64, why: Why }
        /// The room goes on in another epoch.
        166 Turned { room: RoomKey, epoch: u64, kept: Marks }
        /// Its place in the room is lost: it is to be opened again.
        167 Closed { room: RoomKey }
        /// Messages of a room have been let go of.
        168 LetGo { room: RoomKey, floor: Marks }
        /// Something was said in a room, by a node, that is not kept.
        169 Heard { room: RoomKey, node: u64, number: Option<u64>, record: &'a [u8] }
        /// What was said in a room and is not kept may have been missed.
        176 Missed { room: RoomKey }
        /// Messages that were read.
        170 Read { number: u64, run: Run<'a> }
        /// Messages that were found: see [`push_numbered`](crate::link::kept::push_numbered).
        183 Found { number: u64, more_before: u64, hits: &'a [u8] }
        /// Lines of an audit trail: the answer as it is told.
        171 Lines { number: u64, page: &'a str }
        /// All is told that had its place in a room when that was asked.
        189 CaughtUp { number: u64 }
        /// What was asked for cannot be read now.
        172 NotRead { number: u64, why: Why }
        /// Who this node is from now on.
        173 Life { node: u64, life: u64 }
        /// Nodes whose lives are over: see [`push_life`].
        174 Gone { nodes: &'a [u8] }
        /// Whether the engine can be reached.
        175 Health { is_up: bool }
        /// Rooms that have changed in the list, as
        /// [`push_listed`](crate::link::kept::push_listed) writes them; `next` is behind them.
        177 Listed { number: u64, rooms: &'a [u8], next: u64 }
        /// Another node asks for a session here: `conn` is what it calls the asker.
        180 SessionAsked { node: u64, message: ToSession<'a> }
        /// The answer to [`ToEngine::AskSession`].
        181 SessionAnswered { number: u64, message: FromSession<'a> }
    }
}

records! {
    /// What is kept and told of an entry, or is told and not kept: the inside of a record that all
    /// nodes read.
    Told {
        /// A message.
        1 Message { said: Said<'a> }
        /// A message, which was accepted at `said_ms`, has become another one.
        2 Changed { offset: u64, said_ms: u64, said: Said<'a>, fate: Fate<'a> }
        /// The room was made on purpose.
        3 Founded { title: &'a str, owner: Option<&'a str> }
        /// The settings of the room are these from now on.
        4 Settings { title: &'a str, settings: &'a str }
        /// A user stands so in the room from now on.
        5 Standing { user: &'a str, standing: Standing }
        /// Nothing, but for the line of the audit trail.
        6 Noted {}
        /// An event of an application, which is not kept.
        7 Custom { event: &'a str, payload: Payload<'a> }
        /// A user types, which is not kept.
        8 Typing { user: &'a str, name: &'a str, thread: Option<u64> }
        /// Who is there, which is not kept.
        9 Presence { record: &'a [u8] }
    }
}

records! {
    /// What nodes tell each other of sessions of long polling: the inside of a record. `conn` is a
    /// number that the asker's node has given the question.
    Passed {
        /// A question.
        1 Ask { message: ToSession<'a> }
        /// Its answer.
        2 Answer { message: FromSession<'a> }
    }
}

records! {
    /// What nodes tell each other of how many are in their rooms: the inside of a record.
    Counted {
        /// Whoever says it wants to hear this node, of which it knows what is of that life and
        /// version: all that is of partitions before `from`.
        1 Want { life: u64, version: u64, from: u16 }
        /// All rooms of some partitions in which somebody is: see [`push_count`].
        2 Part { life: u64, version: u64, from: u16, upto: u16, rooms: &'a [u8] }
        /// Rooms in which that has changed since another version.
        3 Diff { life: u64, version: u64, before: u64, rooms: &'a [u8] }
        /// This life of the node is over.
        4 Leaves { life: u64 }
    }
}

struct_fields!(Judged { epoch, rev });

impl ToSession<'_> {
    /// Who asks.
    pub(crate) fn conn(&self) -> ConnKey {
        match *self {
            Self::Poll { conn, .. } | Self::Post { conn, .. } | Self::Abandon { conn, .. } => conn,
        }
    }

    /// The same, asked by who is called so.
    pub(crate) fn of_conn(mut self, asker: ConnKey) -> Self {
        let (Self::Poll { conn, .. } | Self::Post { conn, .. } | Self::Abandon { conn, .. }) =
            &mut self;
        *conn = asker;
        self
    }
}

impl FromSession<'_> {
    /// The same, to whoever is called so.
    pub(crate) fn to_conn(mut self, asker: ConnKey) -> Self {
        let (Self::Polled { conn, .. } | Self::Gone { conn } | Self::Posted { conn, .. }) =
            &mut self;
        *conn = asker;
        self
    }
}

impl Field<'_> for Why {
    fn put(self, out: &mut Vec<u8>) {
        let number: u8 = match self {
            Self::Storage => 0,
            Self::Unavailable => 1,
            Self::Unconfirmed => 2,
            Self::Busy => 3,
            Self::Conflict => 4,
            Self::Full => 5,
            Self::Gone => 6,
        };
        number.put(out);
    }

    fn read(record: &mut &[u8]) -> Option<Self> {
        Some(match u8::read(record)? {
            0 => Self::Storage,
            1 => Self::Unavailable,
            2 => Self::Unconfirmed,
            3 => Self::Busy,
            4 => Self::Conflict,
            5 => Self::Full,
            6 => Self::Gone,
            _ => return None,
        })
    }
}

/// Appends a fact of a room: nothing for its value removes it.
pub(crate) fn push_fact(facts: &mut Vec<u8>, name: &str, value: &[u8]) {
    name.put(facts);
    value.put(facts);
}

/// The facts of [`push_fact`].
pub(crate) fn read_facts(mut facts: &[u8]) -> Vec<(Box<str>, Vec<u8>)> {
    let mut read = Vec::new();
    while !facts.is_empty() {
        let name = <&str>::take(&mut facts).into();
        read.push((name, <&[u8]>::take(&mut facts).to_vec()));
    }
    read
}

/// Appends a room and how many are in it, if it is listed for them.
pub(crate) fn push_count(rooms: &mut Vec<u8>, topic: &str, present: Option<u32>) {
    topic.put(rooms);
    present.put(rooms);
}

/// The rooms of [`push_count`]; `None`, if they are not as it writes them.
pub(crate) fn read_counts(mut rooms: &[u8]) -> Option<Vec<(&str, Option<u32>)>> {
    let mut counts = Vec::new();
    while !rooms.is_empty() {
        counts.push((Field::read(&mut rooms)?, Field::read(&mut rooms)?));
    }
    Some(counts)
}

/// Appends a node and its life.
pub(crate) fn push_life(nodes: &mut Vec<u8>, (node, life): (u64, u64)) {
    node.put(nodes);
    life.put(nodes);
}

/// The nodes of [`push_life`].
pub(crate) fn read_lives(mut nodes: &[u8]) -> Vec<(u64, u64)> {
    let mut read = Vec::new();
    while !nodes.is_empty() {
        read.push((u64::take(&mut nodes), u64::take(&mut nodes)));
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::arena::Key;
    use crate::link::audit::AuditAct;
    use crate::link::ids::Ticket;
    use crate::link::kept::check_written as check;

    #[test]
    fn what_the_engine_reads_is_what_was_written() {
        let room = Key::from_u64(0x3_0000_0004);
        let mut facts = Vec::new();
        push_fact(&mut facts, "s:é", &[1, 2]);
        push_fact(&mut facts, "S", &[]);
        let read = [("s:é".into(), vec![1, 2]), ("S".into(), vec![])];
        assert_eq!(read_facts(&facts), read);
        for act in [
            Act::Message { key: None },
            Act::Message { key: Some(7) },
            Act::Change { offset: 3, expected: 2, is_deleted: true, is_pinned: false, heard: 4 },
            Act::Decision { title: Some("Tea"), is_private: true, facts: &facts },
            Act::Note {},
        ] {
            let judged = Judged { epoch: u64::MAX, rev: 2 };
            let (record, line) = (&[1, 2][..], &[3][..]);
            check(ToEngine::Append { number: 1, room, judged, act, record, line }, &mut Vec::new());
        }
        check(ToEngine::Open { room, topic: "room:é" }, &mut Vec::new());
        for to in [None, Some(8)] {
            check(ToEngine::Say { number: to, room, to, record: &[1] }, &mut Vec::new());
        }
        check(ToEngine::Close { room }, &mut Vec::new());
        check(ToEngine::Restarted {}, &mut Vec::new());
        check(ToEngine::List { number: 1, after: u64::MAX }, &mut Vec::new());
        for present in [None, Some(0), Some(u32::MAX)] {
            check(ToEngine::Count { topic: "room:é", present }, &mut Vec::new());
        }
        check(ToEngine::Watch {}, &mut Vec::new());
        let (message, answer) = (asked(&[1, 2]), answered(&[3]));
        check(ToEngine::AskSession { number: 1, node: u64::MAX, message }, &mut Vec::new());
        check(ToEngine::AnswerSession { node: 7, message: answer }, &mut Vec::new());
    }

    fn asked(frames: &[u8]) -> ToSession<'_> {
        let (conn, key) = (Key::from_u64(u64::MAX), Key::from_u64(7));
        let ticket = Ticket { shard: u16::MAX, key, secret: u128::MAX, answer: 3 };
        ToSession::Post { conn, ticket, frames }
    }

    fn answered(messages: &[u8]) -> FromSession<'_> {
        FromSession::Polled { conn: Key::from_u64(7), status: 200, messages }
    }

    #[test]
    fn what_nodes_read_of_each_other_is_what_was_written() {
        let counts = [("room:é", Some(u32::MAX)), ("room:tea", None), ("", Some(0))];
        let mut rooms = Vec::new();
        for (topic, present) in counts {
            push_count(&mut rooms, topic, present);
        }
        assert_eq!(read_counts(&rooms), Some(counts.into()));
        assert_eq!(read_counts(&rooms[1..]), None);
        let (life, version, rooms) = (u64::MAX, 7, &*rooms);
        check(Counted::Want { life, version, from: 3 }, &mut Vec::new());
        check(Counted::Part { life, version, from: 3, upto: u16::MAX, rooms }, &mut Vec::new());
        check(Counted::Diff { life, version, before: 6, rooms }, &mut Vec::new());
        check(Counted::Leaves { life }, &mut Vec::new());
        check(Passed::Ask { message: asked(b"frames") }, &mut Vec::new());
        check(Passed::Answer { message: answered(b"messages") }, &mut Vec::new());
    }

    #[test]
    fn what_a_home_reads_is_what_was_written() {
        let room = Key::from_u64(0x3_0000_0004);
        let marks = Marks { offset: 3, change: 0 };
        let mut nodes = Vec::new();
        push_life(&mut nodes, (5, 6));
        push_life(&mut nodes, (7, u64::MAX));
        assert_eq!(read_lives(&nodes), [(5, 6), (7, u64::MAX)]);
        check(FromEngine::Gone { nodes: &nodes }, &mut Vec::new());
        check(FromEngine::Life { node: 5, life: 6 }, &mut Vec::new());
        let record = &[1, 2][..];
        let (number, at_ms, rev) = (Some(4), 5, 6);
        for line in [None, Some(AuditLine::new(7, AuditAct::MsgPin, "é"))] {
            let was_missed = line.is_none();
            let entry =
                FromEngine::Entry { room, number, marks, at_ms, rev, record, line, was_missed };
            check(entry, &mut Vec::new());
        }
        for why in [
            Why::Storage,
            Why::Unavailable,
            Why::Unconfirmed,
            Why::Busy,
            Why::Conflict,
            Why::Full,
            Why::Gone,
        ] {
            check(FromEngine::Refused { number: 1, why }, &mut Vec::new());
            check(FromEngine::NotOpened { room, why }, &mut Vec::new());
        }
        check(FromEngine::Kept { number: 1, marks, at_ms }, &mut Vec::new());
        check(FromEngine::Turned { room, epoch: 5, kept: marks }, &mut Vec::new());
        check(FromEngine::Closed { room }, &mut Vec::new());
        check(FromEngine::Heard { room, node: 4, number, record }, &mut Vec::new());
        check(FromEngine::Health { is_up: true }, &mut Vec::new());
        check(FromEngine::Listed { number: 1, rooms: record, next: 2 }, &mut Vec::new());
        check(FromEngine::SessionAsked { node: 7, message: asked(record) }, &mut Vec::new());
        check(
            FromEngine::SessionAnswered { number: 1, message: answered(record) },
            &mut Vec::new(),
        );
    }
}

//! What the clients of a run were told by servers that share their rooms, and what is wrong with
//! it.
//!
//! Clients tell what came to them, as it comes, and what was acknowledged. At the end one member of
//! each room at each URL reads the whole room again, which is a *reading* of what is kept. Then it
//! is judged:
//!
//! 1. a place (epoch and offset) has one message, whoever tells of it;
//! 2. a member sees each offset, in order and once, from its join on, and through each turn of the
//!    epoch, unless a join tells it `recovered: false`;
//! 3. all readings of a room are one list, and what its members hold is a part of it; all members
//!    stand at its end, in one epoch;
//! 4. what was acknowledged stands in it, at its place, unless the epoch of that place has ended
//!    and a member was told so;
//! 5. no message stands in it twice;
//! 6. those who are there are listed as present by everybody, and nobody else is.
//!
//! What a member *holds* is what a careful client would show: all since its first join, or since
//! it was told that there may be a gap. A turn of the epoch that keeps all that it holds changes
//! nothing in that. Each connection is a member of one room.
//!
//! Nothing here knows of sockets or clocks; times are passed in.
//!
//! Deliberately absent: what each sender sent, and in which order. A sender waits for the answer to
//! one message before it says the next.
//!
//! Called by the worker's channels (`core/channel.rs`) and by `scenario/failover.rs`. Calls
//! `judge`, when all is told.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{at, count, count64};
use crate::order::{Entry, Message};

pub(crate) use findings::{Broken, Findings};
use member::Member;
use presence::Lives;

mod findings;
mod judge;
mod member;
mod presence;
#[cfg(test)]
mod tests;

/// A message as a server tells it: in a room, in the answer to a join, or in a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    /// The epoch in which it was said, by its id.
    pub(crate) epoch: Option<&'a str>,
    /// Its offset.
    pub(crate) offset: Option<u64>,
    /// What it is.
    pub(crate) message: Message,
}

/// A place in a room: an offset, and the index of an epoch's name in [`Witness`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    epoch: u32,
    offset: u64,
}

/// What stands at an offset: the message, and the epoch in which it was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    epoch: u32,
    message: Message,
}

/// A room, by all that was told of it.
#[derive(Debug, Default)]
struct Room {
    /// What stands at each place, as it was told first.
    places: BTreeMap<Place, Message>,
    /// Where each message was acknowledged, by rank and seq.
    acked: BTreeMap<(u32, u32), Place>,
    /// Epochs that a member has left for another one, and so was told that they had ended.
    ended: BTreeSet<u32>,
    /// The room's end before the run.
    start: Option<u64>,
    /// By URL: the room as it was read in the end, by offset.
    readings: BTreeMap<usize, BTreeMap<u64, Kept>>,
}

/// What all clients of a run were told.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    /// The run's number, by which its presences are told from others.
    run: u16,
    epochs: Vec<String>,
    rooms: Vec<Room>,
    /// By connection.
    members: Vec<Member>,
    lives: Lives,
    findings: Findings,
}

impl Witness {
    /// One that has seen nothing yet of a run's rooms, with the room of each connection.
    pub(crate) fn new(run: u16, rooms: u32, rooms_of_conns: impl Iterator<Item = u32>) -> Self {
        let members: Vec<Member> = rooms_of_conns.map(Member::new).collect();
        Self {
            run,
            rooms: (0..rooms).map(|_| Room::default()).collect(),
            lives: Lives::new(members.len()),
            members,
            ..Self::default()
        }
    }

    /// The index of an epoch, which is new or was told before.
    fn epoch(&mut self, name: &str) -> u32 {
        let known = self.epochs.iter().position(|epoch| epoch == name);
        count(known.unwrap_or_else(|| {
            self.epochs.push(name.to_owned());
            self.epochs.len() - 1
        }))
    }

    /// The cursor of a connection, for a join that asks for what was missed: epoch and offset.
    pub(crate) fn cursor(&self, conn: u32) -> Option<(&str, u64)> {
        let cursor = self.members[at(conn)].cursor?;
        Some((self.epochs[at(cursor.epoch)].as_str(), cursor.offset))
    }

    /// A connection joins its room. Gives the name of this life of it, for its presence.
    pub(crate) fn joins(&mut self, conn: u32, now_ns: u64) -> String {
        self.members[at(conn)].is_in = false;
        self.lives.begin(self.run, conn, now_ns)
    }

    /// The answer to a join: where the member comes in, whether it says that it brought all that
    /// was missed, and what it `brought`.
    pub(crate) fn joined(
        &mut self,
        conn: u32,
        entry: Entry<'_>,
        recovered: bool,
        brought: &[Told<'_>],
    ) {
        let epoch = self.epoch(entry.epoch);
        let number = self.members[at(conn)].room;
        let member = &mut self.members[at(conn)];
        let before = member.cursor;
        let is_recovered = recovered && before.is_some();
        if !is_recovered {
            let first = entry.offset.saturating_sub(count64(brought.len()));
            member.begin_at(Place { epoch, offset: first }, &mut self.findings);
            self.findings.told += u64::from(before.is_some());
        }
        for told in brought {
            self.take(conn, told);
        }
        let Self { members, rooms, findings, .. } = self;
        members[at(conn)].joined(Place { epoch, offset: entry.offset }, findings);
        let room = &mut rooms[at(number)];
        room.start.get_or_insert(entry.offset);
        room.ended.extend(before.map(|before| before.epoch).filter(|before| *before != epoch));
    }

    /// A message has come to a member.
    pub(crate) fn came(&mut self, conn: u32, told: &Told<'_>) {
        if self.members[at(conn)].is_in {
            self.take(conn, told);
        }
    }

    /// A member is told that its room goes on in another epoch, and nothing that it holds is lost.
    pub(crate) fn turned(&mut self, conn: u32, entry: Entry<'_>) {
        let epoch = self.epoch(entry.epoch);
        let Self { members, rooms, findings, .. } = self;
        let member = &mut members[at(conn)];
        if let (true, Some(before)) = (member.is_in, member.cursor) {
            rooms[at(member.room)].ended.insert(before.epoch);
            member.joined(Place { epoch, offset: entry.offset }, findings);
        }
    }

    /// A member is out: its channel or its connection has ended.
    pub(crate) fn left(&mut self, conn: u32, now_ns: u64) {
        self.members[at(conn)].is_in = false;
        self.lives.end(conn, now_ns);
    }

    /// A message was acknowledged, with its epoch and offset.
    pub(crate) fn acked(&mut self, room: u32, rank: u32, seq: u32, entry: Entry<'_>) {
        let place = Place { epoch: self.epoch(entry.epoch), offset: entry.offset };
        self.tell(room, place, Message::Ours { rank, seq });
        let known = *self.rooms[at(room)].acked.entry((rank, seq)).or_insert(place);
        if known != place {
            let why = format!(
                "room {room}: message {seq} of publisher {rank} was acknowledged at {} and {}",
                self.shown(known),
                self.shown(place)
            );
            self.findings.add(Broken::Twice, 1, || why);
        }
    }

    /// The room's end before the run: nothing up to there is the run's.
    pub(crate) fn start(&self, room: u32) -> u64 {
        self.rooms[at(room)].start.unwrap_or(0)
    }

    /// A page of what is kept of a room, as it is read at a URL in the end.
    pub(crate) fn read(&mut self, room: u32, url: usize, page: &[Told<'_>]) {
        for told in page {
            let (Some(epoch), Some(offset)) = (told.epoch, told.offset) else {
                self.has_no_place(room);
                continue;
            };
            let kept = Kept { epoch: self.epoch(epoch), message: told.message };
            self.tell(room, Place { epoch: kept.epoch, offset }, told.message);
            self.rooms[at(room)].readings.entry(url).or_default().insert(offset, kept);
        }
    }

    /// Whether all members are in, stand at the same place, and see each other present.
    pub(crate) fn is_settled(&self) -> bool {
        let mut places = vec![None; self.rooms.len()];
        self.members.iter().all(|member| {
            let place = places[at(member.room)].get_or_insert(member.cursor);
            member.is_in && *place == member.cursor
        }) && self.presence_is_right()
    }

    /// What is wrong with all that was told.
    pub(crate) fn conclude(&mut self, now_ns: u64) -> Findings {
        self.judge(now_ns);
        std::mem::take(&mut self.findings)
    }

    /// Takes in what a member is told of a message.
    fn take(&mut self, conn: u32, told: &Told<'_>) {
        let member = &self.members[at(conn)];
        let (room, cursor) = (member.room, member.cursor);
        let (Some(cursor), Some(offset)) = (cursor, told.offset) else {
            return self.has_no_place(room);
        };
        let epoch = told.epoch.map_or(cursor.epoch, |name| self.epoch(name));
        self.tell(room, Place { epoch, offset }, told.message);
        let kept = Kept { epoch, message: told.message };
        self.members[at(conn)].take(offset, kept, &mut self.findings);
    }

    /// Somebody says what stands at a place.
    fn tell(&mut self, room: u32, place: Place, message: Message) {
        let known = *self.rooms[at(room)].places.entry(place).or_insert(message);
        if known != message {
            let why = format!(
                "room {room}: at {} is {}, and was {}",
                self.shown(place),
                text(message),
                text(known)
            );
            self.findings.add(Broken::Order, 1, || why);
        }
    }

    fn has_no_place(&mut self, room: u32) {
        let why = || format!("room {room}: a message has no place by which it could be judged");
        self.findings.add(Broken::Order, 1, why);
    }

    /// A place for people.
    fn shown(&self, place: Place) -> String {
        format!("{}-{}", self.epochs[at(place.epoch)], place.offset)
    }
}

/// A message for people.
fn text(message: Message) -> String {
    match message {
        Message::Ours { rank, seq } => format!("message {seq} of publisher {rank}"),
        Message::Foreign => "a message of somebody else".to_owned(),
        Message::Unreadable => "a message that was changed".to_owned(),
    }
}

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
//! 6. a member is told of changes of messages in order and once, and comes back where numbers say
//!    that one was left out; in the end its messages are as they are read, which is the same at
//!    each URL, and as was acknowledged;
//! 7. those who are there are listed as present by everybody, and nobody else is.
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
pub(crate) use states::{Body, Changed, Deed, body_of};
use states::{Owed, States};

mod findings;
mod judge;
mod member;
mod presence;
mod states;
#[cfg(test)]
mod tests;

/// A message as a server tells it: in a room, in the answer to a join, or in a page.
#[derive(Clone, Debug)]
pub(crate) struct Told<'a> {
    /// The epoch in which it was said, by its id.
    pub(crate) epoch: Option<&'a str>,
    /// Its offset.
    pub(crate) offset: Option<u64>,
    /// What it is.
    pub(crate) message: Message,
    /// Its body.
    pub(crate) body: Body,
    /// What has become of it, if anything has.
    pub(crate) changed: Option<Changed>,
}

/// What the answer to a join says of where the member stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Joined<'a> {
    /// Behind which message.
    pub(crate) entry: Entry<'a>,
    /// Behind which change.
    pub(crate) change: u64,
    /// Whether the answer brings all that was missed.
    pub(crate) recovered: bool,
}

/// A message of the run that a member has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Had {
    /// Its offset.
    pub(crate) offset: u64,
    /// Its sender's rank.
    pub(crate) rank: u32,
    /// Which of the sender's.
    pub(crate) seq: u32,
}

/// A place in a room: an offset, and the index of an epoch's name in [`Witness`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    epoch: u32,
    offset: u64,
}

/// What stands at an offset: the message, the epoch in which it was said, and how it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    epoch: u32,
    message: Message,
    body: Body,
}

impl Kept {
    /// Whether both can be the same: of one that is deleted it is not told whose it was.
    fn agrees(self, other: Self) -> bool {
        self.epoch == other.epoch && agree(self.message, other.message)
    }
}

fn agree(one: Message, other: Message) -> bool {
    one == other || one == Message::Deleted || other == Message::Deleted
}

/// A room, by all that was told of it.
#[derive(Debug, Default)]
struct Room {
    /// What stands at each place, as it was told first.
    places: BTreeMap<Place, Message>,
    /// Where each message was acknowledged, by rank and seq.
    acked: BTreeMap<(u32, u32), Place>,
    /// What was acknowledged of what has become of each message.
    owed: BTreeMap<Place, Owed>,
    /// By epoch and number: of which offset's message each change is.
    changes: BTreeMap<(u32, u64), u64>,
    /// Epochs that a member has left for another one, and so was told that they had ended.
    ended: BTreeSet<u32>,
    /// The room's end before the run.
    start: Option<u64>,
    /// By URL: the room as it was read in the end, by offset.
    readings: BTreeMap<usize, Reading>,
}

/// A room as it was read at a URL in the end.
#[derive(Debug, Default)]
struct Reading {
    /// By offset.
    messages: BTreeMap<u64, Kept>,
    states: States,
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

    /// The cursor of a connection, for a join that asks for what was missed: epoch, offset, and
    /// number of changes.
    pub(crate) fn cursor(&self, conn: u32) -> Option<(&str, u64, u64)> {
        let member = &self.members[at(conn)];
        let cursor = member.cursor?;
        Some((self.epochs[at(cursor.epoch)].as_str(), cursor.offset, member.change))
    }

    /// The latest messages of the run that a member has and that are not deleted to it, at most so
    /// many.
    pub(crate) fn latest(&self, conn: u32, count: usize) -> Vec<Had> {
        self.members[at(conn)].latest().take(count).collect()
    }

    /// Whether a member still has a message, at its place.
    pub(crate) fn has(&self, conn: u32, had: Had) -> bool {
        let Had { offset, rank, seq } = had;
        let kept = self.members[at(conn)].held.get(&offset);
        kept.is_some_and(|kept| kept.message == Message::Ours { rank, seq })
    }

    /// A connection's user is banned from its room: from now on it is to be out.
    pub(crate) fn ban(&mut self, conn: u32) {
        self.members[at(conn)].is_banned = true;
    }

    /// Whether a connection's member is in.
    pub(crate) fn is_in(&self, conn: u32) -> bool {
        self.members[at(conn)].is_in
    }

    /// The epoch in which a connection stands, by its index.
    pub(crate) fn epoch_at(&self, conn: u32) -> Option<u32> {
        self.members[at(conn)].cursor.map(|cursor| cursor.epoch)
    }

    /// Whether a member of a room was told that an epoch has ended.
    pub(crate) fn has_ended(&self, room: u32, epoch: u32) -> bool {
        self.rooms[at(room)].ended.contains(&epoch)
    }

    /// A connection joins its room. Gives the name of this life of it, for its presence.
    pub(crate) fn joins(&mut self, conn: u32, now_ns: u64) -> String {
        self.members[at(conn)].is_in = false;
        self.lives.begin(self.run, conn, now_ns)
    }

    /// The answer to a join: where the member comes in, the messages that it `brought`, and what
    /// has become of others.
    pub(crate) fn joined(
        &mut self,
        conn: u32,
        joined: &Joined<'_>,
        brought: &[Told<'_>],
        changed: &[Changed],
    ) {
        let Joined { entry, change, recovered } = *joined;
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
        let member = &mut members[at(conn)];
        member.joined(Place { epoch, offset: entry.offset }, findings);
        let brought = brought.iter().filter_map(|told| told.changed.as_ref());
        member.catch_up(change, brought.chain(changed));
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

    /// A member is told of a change. Says whether that was the next one: if not, it is to come back
    /// with its cursor.
    pub(crate) fn changed(&mut self, conn: u32, changed: &Changed) -> bool {
        let Self { members, rooms, findings, epochs, .. } = self;
        let member = &mut members[at(conn)];
        let (true, Some(cursor)) = (member.is_in, member.cursor) else { return true };
        let number = changed.number();
        let numbered = &mut rooms[at(member.room)].changes;
        let known = *numbered.entry((cursor.epoch, number)).or_insert(changed.offset);
        findings.add(Broken::Order, u64::from(known != changed.offset), || {
            format!(
                "room {}: change {number} of epoch {} is one of {}, and was one of {known}",
                member.room,
                epochs[at(cursor.epoch)],
                changed.offset
            )
        });
        member.change(changed, findings)
    }

    /// A member is told that its room goes on in another epoch, behind a place and a change, and
    /// nothing that it holds is lost.
    pub(crate) fn turned(&mut self, conn: u32, entry: Entry<'_>, change: u64) {
        let epoch = self.epoch(entry.epoch);
        let Self { members, rooms, findings, .. } = self;
        let member = &mut members[at(conn)];
        if let (true, Some(before)) = (member.is_in, member.cursor) {
            rooms[at(member.room)].ended.insert(before.epoch);
            member.joined(Place { epoch, offset: entry.offset }, findings);
            member.turned(change, findings);
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

    /// A deed was acknowledged to a member, done to a message that it has.
    pub(crate) fn acked_deed(&mut self, conn: u32, had: Had, deed: Deed) {
        let member = &self.members[at(conn)];
        let (Some(kept), Some(cursor)) = (member.held.get(&had.offset), member.cursor) else {
            return;
        };
        let place = Place { epoch: kept.epoch, offset: had.offset };
        self.rooms[at(member.room)].owed.entry(place).or_default().add(deed, cursor.epoch);
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
            let kept = Kept { epoch: self.epoch(epoch), message: told.message, body: told.body };
            self.tell(room, Place { epoch: kept.epoch, offset }, told.message);
            let reading = self.rooms[at(room)].readings.entry(url).or_default();
            reading.messages.insert(offset, kept);
            if let Some(changed) = &told.changed {
                reading.states.replace(changed);
            }
        }
    }

    /// Whether all members that are not banned are in, stand at the same place, and see each other
    /// present.
    pub(crate) fn is_settled(&self) -> bool {
        let mut places = vec![None; self.rooms.len()];
        self.members.iter().filter(|member| !member.is_banned).all(|member| {
            let stands = (member.cursor, member.change);
            let place = places[at(member.room)].get_or_insert(stands);
            member.is_in && *place == stands
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
        let kept = Kept { epoch, message: told.message, body: told.body };
        self.members[at(conn)].take(offset, kept, &mut self.findings);
    }

    /// Somebody says what stands at a place.
    fn tell(&mut self, room: u32, place: Place, message: Message) {
        let stands = self.rooms[at(room)].places.entry(place).or_insert(message);
        let known = *stands;
        if known == Message::Deleted {
            *stands = message;
        }
        if !agree(known, message) {
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
        Message::Deleted => "a message that is deleted".to_owned(),
    }
}

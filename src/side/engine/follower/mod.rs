//! The rooms that a node follows in the engine: what is asked of it, and what homes are told.
//! **Knows no socket, clock or protocol.**
//!
//! ```text
//!   shard ── ToEngine ──> Follower ── Command ──> engine
//!         <─ FromEngine ──         <─ Reply, Pushed ──
//! ```
//!
//! A room is subscribed to and then read, on one connection: what is pushed up to what was read is
//! known by its numbers. From then on entries are told as they are pushed, whoever has appended
//! them; answers to appends say only that they are kept. One append of a room is under way at a
//! time, and what comes meanwhile goes with the next.
//!
//! | what happens | what follows |
//! |---|---|
//! | a push does not follow what is known | the room is read again, and the home told what it missed |
//! | a push, or what is read, is of another epoch | the home is told that the room has turned |
//! | the connection ends | what is under way is in doubt; all rooms are read again on the next |
//! | what is read does not lead on from what is known | the home is told to open the room again |
//!
//! Invariants, checked by `Follower::check`:
//!
//! 1. a home hears of a room's entries in order and without a hole, between `Opened` and `Closed`
//!    or its own `Close`;
//! 2. what was to be appended is answered once, unless its room is closed before;
//! 3. what waits is bounded, for each room and for all.
//!
//! Deliberately absent: retries. Whoever asked knows whether it still wants it.
//!
//! Called by: `side::engine::thread`. Calls: `room`, `catch_up`, `leases`, `listing`, `passing`,
//! `side::engine::view`.

mod catch_up;
mod counts;
#[cfg(test)]
mod counts_tests;
mod leases;
mod list;
mod listing;
mod passing;
#[cfg(test)]
mod passing_tests;
#[cfg(test)]
pub(crate) mod planted;
mod room;

use std::collections::{BTreeMap, HashMap, VecDeque};

use catch_up::has_missed_nothing;
use leases::Leases;
use listing::Listing;
use passing::{Passing, SESSIONS};
#[cfg(test)]
use planted::Planted;
use room::{Call, Followed, Held, LeadsOn, Stage, Waits};

use super::command::{
    Act as CommandAct, Append, Command, Entry, Failure, Founded, Head, Pushed, Receipt, Reply,
    State,
};
use super::record::unsealed;
use super::view::{Messages, TailBounds};
use crate::base::rng::SplitMix64;
use crate::limits::EngineLimits;
use crate::link::audit::{AuditLine, AuditPage, AuditWanted};
use crate::link::engine::{Act, FromEngine, ToEngine, push_life, read_facts};
use crate::link::ids::RoomKey;
use crate::link::kept::read_whole;
use crate::link::log::{Marks, Wanted, Why};
use crate::link::message::text;
use crate::link::topic::LOBBY;

/// What a follower acts on.
pub(super) trait Ways {
    /// Asks the engine. Commands are done in their order.
    fn ask(&mut self, number: u64, command: Command);

    /// Tells a shard.
    fn tell(&mut self, shard: u16, message: &FromEngine<'_>);

    /// Whether the way to a shard is so full that no more is to be asked of it.
    fn is_busy(&self, shard: u16) -> bool;

    /// Ends the connection, which is of no use any more.
    fn disconnect(&mut self, why: &'static str);
}

/// What a connection is found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connected {
    /// How many replicas must have what is told as kept.
    pub(super) replicas: u32,
}

/// What a node is configured to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// As others name it: a random number, new for each life of the process.
    pub(super) id: u64,
    /// How many shards it has.
    pub(super) shards: u16,
    /// How much of a room's end is told when it is opened.
    pub(super) tail: TailBounds,
    /// Over how many partitions rooms are spread.
    pub(super) partitions: u16,
    /// For how long a room that was not founded is known after the last entry, in seconds.
    pub(super) room_s: u32,
    /// Its limits.
    pub(super) limits: EngineLimits,
}

/// A room, as long as it is open.
type RoomId = u64;

/// What was asked of the engine.
enum Asked {
    /// Entries of a room.
    Append(RoomId),
    /// That a room turns, if it has to: it is read next.
    Touch(RoomId),
    /// Where a room stands of which its home has been told before.
    Look(RoomId),
    /// What there is of a room that is followed.
    Follow(RoomId),
    /// The same, for a home that reads.
    Page(RoomId, u64, Wanted),
    /// Lines of an audit trail, for a home that reads.
    Lines(RoomId, Box<Trail>),
    /// To hear what is said in a room.
    Subscribe,
    /// What is not kept, under this number.
    Say(RoomId, Option<u64>),
    /// To hear a question for a session of long polling under this number, or an answer.
    Pass { number: Option<u64>, bytes: usize },
    /// Which nodes live.
    Beat,
    /// Rooms of a partition of which something is kept.
    List(u16),
    /// That replicas have what was kept.
    Replicas(Vec<Unreplicated>),
    /// Whether it answers, or something that nobody waits for.
    Nothing,
}

/// Lines of an audit trail that are being read.
struct Trail {
    number: u64,
    wanted: AuditWanted,
    bytes: usize,
    /// Those that were read.
    page: AuditPage,
}

/// What is kept as soon as replicas have it.
struct Unreplicated {
    shard: u16,
    number: u64,
    marks: Marks,
    at_ms: u64,
}

/// The rooms that a node follows. See the module.
pub(super) struct Follower {
    node: Node,
    /// In the order in which they were opened, so that what is told of all has one.
    rooms: BTreeMap<RoomId, Followed>,
    by_topic: HashMap<Box<str>, RoomId, ahash::RandomState>,
    by_key: HashMap<(u16, RoomKey), RoomId, ahash::RandomState>,
    /// Counts rooms.
    last_id: RoomId,
    /// Epochs for rooms that begin or turn: each is new, and no other node has it.
    epochs: SplitMix64,
    /// What is asked, by its number.
    asked: BTreeMap<u64, Asked>,
    /// Counts what is asked.
    last_number: u64,
    /// What the connection is; `None` while there is none.
    connected: Option<Connected>,
    /// Rooms that are to be followed again, the oldest first.
    to_follow: VecDeque<RoomId>,
    /// Those that could not be, and when that is tried again.
    refused: VecDeque<(u64, RoomId)>,
    /// How many rooms are being followed again.
    following: usize,
    /// How many rooms are being read, whole,
    reading: usize,
    /// and what is read next.
    to_read: VecDeque<(Asked, Box<str>)>,
    /// How many bytes are to be appended, or are being.
    waiting_bytes: usize,
    /// No room has waited for too long before this time.
    late_ms: u64,
    /// What replicas do not have yet.
    unreplicated: Vec<Unreplicated>,
    /// Whether replicas are being asked.
    is_replicating: bool,
    /// When the engine was last heard.
    heard_ms: u64,
    /// When it is looked next whether it answers.
    ping_ms: u64,
    leases: Leases,
    listing: Listing,
    passing: Passing,
    /// Whether this node is about to end: it does not say any more that it lives.
    is_leaving: bool,
}

impl Follower {
    /// That of a node which follows no room, and has no connection.
    pub(super) fn new(node: Node) -> Self {
        Self {
            node,
            rooms: BTreeMap::new(),
            by_topic: HashMap::default(),
            by_key: HashMap::default(),
            last_id: 0,
            epochs: SplitMix64::new(node.id),
            asked: BTreeMap::new(),
            last_number: 0,
            connected: None,
            to_follow: VecDeque::new(),
            refused: VecDeque::new(),
            following: 0,
            reading: 0,
            to_read: VecDeque::new(),
            waiting_bytes: 0,
            late_ms: u64::MAX,
            unreplicated: Vec::new(),
            is_replicating: false,
            heard_ms: 0,
            ping_ms: 0,
            leases: Leases::new(node.id),
            listing: Listing::new(&node),
            passing: Passing::default(),
            is_leaving: false,
        }
    }

    /// How many rooms it follows.
    pub(super) fn rooms_count(&self) -> usize {
        self.rooms.len()
    }

    /// How many rooms the list of all nodes knows.
    pub(super) fn listed_count(&self) -> usize {
        self.listing.rooms_count()
    }

    /// How many requests for sessions elsewhere wait, and how many there have been.
    pub(super) fn passed(&self) -> (usize, u64) {
        (self.passing.waiting_count(), self.passing.count())
    }

    /// How many bytes are to be appended, or are being.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Handles what a shard says.
    pub(super) fn hear(
        &mut self,
        ways: &mut impl Ways,
        now_ms: u64,
        shard: u16,
        message: ToEngine<'_>,
    ) {
        match message {
            ToEngine::Open { room, topic } => self.open(ways, (shard, room), topic),
            ToEngine::Append { number, room, judged, act, record, line } => {
                let entry = Entry {
                    judged: Some((judged.epoch, judged.rev)),
                    act: act_of(act),
                    record: record.to_vec(),
                    line: line.to_vec(),
                };
                self.append(ways, now_ms, (shard, room), number, entry);
            }
            ToEngine::Say { number, room, to, record } => {
                self.say(ways, (shard, room), number, to, record);
            }
            ToEngine::Close { room } => self.close(ways, (shard, room)),
            ToEngine::Read { number, room, wanted } => {
                if self.to_read.len() >= self.node.limits.pages_waiting {
                    return ways.tell(shard, &FromEngine::NotRead { number, why: Why::Busy });
                }
                if let Some((id, topic)) = self.room_to_read(ways, (shard, room), number) {
                    self.read_whole(ways, Asked::Page(id, number, wanted), topic);
                }
            }
            ToEngine::Lines { number, room, wanted, bytes } => {
                if let Some((id, topic)) = self.room_to_read(ways, (shard, room), number) {
                    let page = AuditPage::default();
                    let trail = Box::new(Trail { number, wanted, bytes, page });
                    self.ask(ways, Asked::Lines(id, trail), lines_of(topic, wanted));
                }
            }
            ToEngine::Restarted {} => {
                let of_shard = self.by_key.keys().filter(|(of, _)| *of == shard);
                let mut keys: Vec<_> = of_shard.copied().collect();
                keys.sort_unstable();
                for key in keys {
                    self.close(ways, key);
                }
                self.listing.restart(shard);
                self.abandon_all(ways, shard);
                self.tell_how_it_is(ways, shard);
            }
            ToEngine::List { number, after } => self.listing.ask(shard, number, after),
            ToEngine::Count { topic, present } => self.listing.count(topic, present),
            ToEngine::Watch {} => self.listing.watch(now_ms),
            ToEngine::AskSession { number, node, message } => {
                self.ask_session(ways, now_ms, (shard, number), node, message);
            }
            ToEngine::AnswerSession { node, message } => self.answer_session(ways, node, message),
        }
    }

    /// Tells a shard that knows nothing yet whether the engine is there, and who this node is.
    fn tell_how_it_is(&self, ways: &mut impl Ways, shard: u16) {
        ways.tell(shard, &FromEngine::Health { is_up: self.connected.is_some() });
        if let Some(life) = self.leases.life() {
            ways.tell(shard, &FromEngine::Life { node: self.node.id, life });
        }
    }

    fn tell_all(&self, ways: &mut impl Ways, message: &FromEngine<'_>) {
        for shard in 0..self.node.shards {
            ways.tell(shard, message);
        }
    }

    fn ask(&mut self, ways: &mut impl Ways, asked: Asked, command: Command) {
        self.last_number += 1;
        self.asked.insert(self.last_number, asked);
        ways.ask(self.last_number, command);
    }

    /// Begins to follow a room.
    fn open(&mut self, ways: &mut impl Ways, key: (u16, RoomKey), topic: &str) {
        if self.connected.is_none() {
            let (shard, room) = key;
            return ways.tell(shard, &FromEngine::NotOpened { room, why: Why::Unavailable });
        }
        self.last_id += 1;
        let id = self.last_id;
        self.rooms.insert(id, Followed::new(key, topic.into()));
        self.by_topic.insert(topic.into(), id);
        self.by_key.insert(key, id);
        self.to_follow.push_back(id);
        self.follow_next(ways);
    }

    /// Follows rooms that wait for that, as many at a time as may be.
    fn follow_next(&mut self, ways: &mut impl Ways) {
        while self.connected.is_some() && self.following < self.node.limits.looks_at_once {
            let Some(id) = self.to_follow.pop_front() else { return };
            let Some(followed) = self.rooms.get_mut(&id) else { continue };
            followed.begin_reading();
            self.following += 1;
            let (topic, is_known) = (followed.topic.clone(), followed.known.is_some());
            let subscribe = Command::Subscribe { topic: topic.clone() };
            self.ask(ways, Asked::Subscribe, subscribe);
            if is_known {
                // In most rooms nothing was said meanwhile, and all of a room is much to read.
                self.ask(ways, Asked::Look(id), Command::Look { topic });
            } else {
                self.read_whole(ways, Asked::Follow(id), topic);
            }
        }
    }

    /// Reads all that there is of a room, as soon as its turn comes.
    fn read_whole(&mut self, ways: &mut impl Ways, asked: Asked, topic: Box<str>) {
        self.to_read.push_back((asked, topic));
        self.read_next(ways);
    }

    /// Reads what waits for its turn, as much at a time as may be.
    fn read_next(&mut self, ways: &mut impl Ways) {
        while self.reading < self.node.limits.reads_at_once
            && let Some((asked, topic)) = self.to_read.pop_front()
        {
            self.reading += 1;
            self.ask(ways, asked, Command::Read { topic });
        }
    }

    /// Reads a room again that is subscribed to: something was missed.
    fn read_again(&mut self, ways: &mut impl Ways, id: RoomId) {
        let Some(followed) = self.rooms.get_mut(&id) else { return };
        followed.begin_reading();
        self.following += 1;
        let topic = followed.topic.clone();
        self.read_whole(ways, Asked::Follow(id), topic);
    }

    /// Lets go of a room.
    fn close(&mut self, ways: &mut impl Ways, key: (u16, RoomKey)) {
        let Some(id) = self.by_key.get(&key).copied() else { return };
        let Some(topic) = self.forget(id) else { return };
        if self.connected.is_some() {
            self.ask(ways, Asked::Nothing, Command::Unsubscribe { topic });
        }
    }

    /// Forgets a room, and what of it waits. Returns its topic.
    fn forget(&mut self, id: RoomId) -> Option<Box<str>> {
        let followed = self.rooms.remove(&id)?;
        self.waiting_bytes -= followed.waiting_bytes();
        self.by_key.remove(&followed.key);
        // Another shard may have opened it since.
        if self.by_topic.get(&followed.topic) == Some(&id) {
            self.by_topic.remove(&followed.topic);
        }
        Some(followed.topic)
    }

    /// Takes an entry.
    fn append(
        &mut self,
        ways: &mut impl Ways,
        now_ms: u64,
        key: (u16, RoomKey),
        number: u64,
        entry: Entry,
    ) {
        let limits = &self.node.limits;
        // Of a room that is closed it is answered that it is: by `Closed`, or not at all.
        let Some(id) = self.by_key.get(&key).copied() else { return };
        let Some(followed) = self.rooms.get_mut(&id) else { return };
        let waits = Waits::new(number, entry, now_ms);
        let why = if self.connected.is_none() {
            Some(Why::Unavailable)
        } else if followed.waiting_count() >= limits.room_waiting
            || self.waiting_bytes + waits.bytes() > limits.waiting_bytes
        {
            Some(Why::Busy)
        } else {
            None
        };
        if let Some(why) = why {
            return ways.tell(key.0, &FromEngine::Refused { number, why });
        }
        self.waiting_bytes += waits.bytes();
        self.late_ms = self.late_ms.min(now_ms + limits.timeout_ms);
        followed.push(waits);
        self.call(ways, now_ms, id);
    }

    /// An epoch that no room has had.
    fn next_epoch(&mut self) -> u64 {
        #[cfg(test)]
        if planted::is(Planted::EpochReused) {
            return 1;
        }
        self.epochs.next_u64()
    }

    /// Appends what waits in a room, if nothing of it is under way and it is followed.
    fn call(&mut self, ways: &mut impl Ways, now_ms: u64, id: RoomId) {
        let entries_max = self.node.limits.call_entries;
        let Some(followed) = self.rooms.get_mut(&id) else { return };
        let Some(entries) = followed.next_call(entries_max, now_ms) else { return };
        let topic = followed.topic.clone();
        let append = Append { topic, fresh_epoch: self.next_epoch(), entries };
        self.ask(ways, Asked::Append(id), Command::Append(append));
    }

    /// Says something that is not kept.
    fn say(
        &mut self,
        ways: &mut impl Ways,
        key: (u16, RoomKey),
        number: Option<u64>,
        to: Option<u64>,
        record: &[u8],
    ) {
        let id = self.by_key.get(&key).copied().filter(|_| self.connected.is_some());
        // Where it is not heard, its home would never hear of it.
        let is_heard = |followed: &&mut Followed| followed.stage != Stage::Away;
        let followed = id.and_then(|id| self.rooms.get_mut(&id)).filter(is_heard);
        let (Some(id), Some(followed)) = (id, followed) else {
            if let Some(number) = number {
                ways.tell(key.0, &FromEngine::Refused { number, why: Why::Unavailable });
            }
            return;
        };
        let topic = followed.topic.clone();
        let command = match to {
            Some(node) => Command::Tell { node, record: to_node(&topic, record) },
            None => Command::Say { topic, record: record.to_vec() },
        };
        if let Some(number) = number {
            followed.says(number);
        }
        self.ask(ways, Asked::Say(id, number), command);
    }

    /// The room of which a home wants to read something; none, if that is refused.
    fn room_to_read(
        &self,
        ways: &mut impl Ways,
        key: (u16, RoomKey),
        number: u64,
    ) -> Option<(RoomId, Box<str>)> {
        let id = self.by_key.get(&key).copied().filter(|_| self.connected.is_some());
        let room = id.and_then(|id| Some((id, self.rooms.get(&id)?.topic.clone())));
        if room.is_none() {
            ways.tell(key.0, &FromEngine::NotRead { number, why: Why::Unavailable });
        }
        room
    }

    /// There is a connection: all rooms are followed again.
    pub(super) fn connected(&mut self, ways: &mut impl Ways, now_ms: u64, connected: Connected) {
        self.connected = Some(connected);
        (self.heard_ms, self.ping_ms) = (now_ms, now_ms + self.node.limits.ping_ms);
        self.leases.connected(now_ms);
        self.tell_all(ways, &FromEngine::Health { is_up: true });
        // Those that were spoken in last come first.
        let mut ids: Vec<_> = self.rooms.iter().map(|(id, of)| (of.spoken_ms, *id)).collect();
        ids.sort_unstable_by(|one, other| other.cmp(one));
        self.to_follow = ids.into_iter().map(|(_, id)| id).collect();
        self.beat(ways, now_ms);
        self.follow_next(ways);
        self.list_anew(ways);
        self.pass_again(now_ms);
    }

    /// The connection has ended: nothing that was asked will be answered.
    pub(super) fn lost(&mut self, ways: &mut impl Ways) {
        if self.connected.take().is_none() {
            return;
        }
        self.tell_all(ways, &FromEngine::Health { is_up: false });
        (self.following, self.reading) = (0, 0);
        self.to_follow.clear();
        self.refused.clear();
        self.is_replicating = false;
        let unreplicated = std::mem::take(&mut self.unreplicated);
        Self::doubt(ways, unreplicated);
        self.lose_passed(ways);
        let to_read = std::mem::take(&mut self.to_read).into_iter().map(|(asked, _)| asked);
        for asked in std::mem::take(&mut self.asked).into_values().chain(to_read) {
            self.not_answered(ways, asked);
        }
        let ids: Vec<_> = self.rooms.keys().copied().collect();
        for id in ids {
            let Some(followed) = self.rooms.get_mut(&id) else { continue };
            let (shard, room) = followed.key;
            self.waiting_bytes -= followed.waiting_bytes();
            for (number, why) in followed.lost() {
                ways.tell(shard, &FromEngine::Refused { number, why });
            }
            if followed.known.is_none() {
                ways.tell(shard, &FromEngine::NotOpened { room, why: Why::Unavailable });
                self.forget(id);
            }
        }
    }

    /// Tells those who have asked something that it will not be answered. What was to be kept, or
    /// said, is told by its room.
    fn not_answered(&mut self, ways: &mut impl Ways, asked: Asked) {
        match asked {
            Asked::Page(id, number, _) => self.not_read(ways, id, number),
            Asked::Lines(id, trail) => self.not_read(ways, id, trail.number),
            Asked::Replicas(unreplicated) => Self::doubt(ways, unreplicated),
            Asked::Append(_)
            | Asked::Touch(_)
            | Asked::Look(_)
            | Asked::Follow(_)
            | Asked::Subscribe
            | Asked::Say(..)
            | Asked::Pass { .. }
            | Asked::Beat
            | Asked::List(_)
            | Asked::Nothing => {}
        }
    }

    fn not_read(&self, ways: &mut impl Ways, id: RoomId, number: u64) {
        if let Some(followed) = self.rooms.get(&id) {
            let (shard, _) = followed.key;
            ways.tell(shard, &FromEngine::NotRead { number, why: Why::Unavailable });
        }
    }

    fn doubt(ways: &mut impl Ways, unreplicated: Vec<Unreplicated>) {
        for Unreplicated { shard, number, .. } in unreplicated {
            ways.tell(shard, &FromEngine::Refused { number, why: Why::Unconfirmed });
        }
    }

    /// Handles an answer of the engine.
    pub(super) fn answered(
        &mut self,
        ways: &mut impl Ways,
        now_ms: u64,
        number: u64,
        result: Result<Reply, Failure>,
    ) {
        // The connection has ended: all that was asked is answered when that is told.
        if matches!(result, Err(Failure::Lost)) {
            return;
        }
        self.heard_ms = now_ms;
        // Of a connection that has ended it is of no use.
        let Some(asked) = self.asked.remove(&number) else { return };
        if matches!(asked, Asked::Follow(_) | Asked::Page(..)) {
            self.reading = self.reading.saturating_sub(1);
            self.read_next(ways);
        }
        self.is_replicating &= !matches!(asked, Asked::Replicas(_));
        match (asked, result) {
            (Asked::Append(id), Ok(Reply::Appended { head, receipts })) => {
                self.appended(ways, now_ms, id, &head, &receipts);
            }
            (Asked::Append(id), Err(failure)) => self.not_appended(ways, now_ms, id, &failure),
            (Asked::Touch(id), Ok(Reply::Appended { head, .. })) => {
                self.stands(ways, now_ms, id, Some(head), true);
            }
            (Asked::Look(id), Ok(Reply::Stands { head, is_current })) => {
                self.stands(ways, now_ms, id, head, is_current);
            }
            (Asked::Follow(id), Ok(Reply::State(state))) => self.was_read(ways, now_ms, id, &state),
            (Asked::Follow(id) | Asked::Look(id) | Asked::Touch(id), Err(failure)) => {
                self.not_followed(ways, now_ms, id, &failure);
                self.read_ended(ways);
            }
            (Asked::Page(id, number, wanted), Ok(Reply::State(state))) => {
                let Some(followed) = self.rooms.get(&id) else { return };
                let shard = followed.key.0;
                // Of another epoch, its home is to hear of that first.
                let is_of_now = followed.is_of_now(&state);
                #[cfg(test)]
                let is_of_now = is_of_now || planted::is(Planted::PageOfAnotherEpoch);
                if !is_of_now {
                    ways.tell(shard, &FromEngine::NotRead { number, why: Why::Busy });
                    // The engine is on another history by itself: nothing need be said for that.
                    if !state.is_current && followed.stage == Stage::Live {
                        self.read_again(ways, id);
                    }
                    return;
                }
                let page = Messages::of(&state).page(wanted);
                ways.tell(shard, &FromEngine::Read { number, run: page.run() });
            }
            (Asked::Lines(id, mut trail), Ok(Reply::Lines(lines))) => {
                let Some(followed) = self.rooms.get(&id) else { return };
                let (shard, topic) = (followed.key.0, followed.topic.clone());
                if let Some(more) = trail.add(&lines) {
                    let page = trail.page.end(more);
                    let (number, page) = (trail.number, text(&page));
                    return ways.tell(shard, &FromEngine::Lines { number, page });
                }
                let command = lines_of(topic, trail.wanted);
                self.ask(ways, Asked::Lines(id, trail), command);
            }
            (Asked::Replicas(unreplicated), Ok(Reply::Replicas(count))) => {
                let wanted = self.connected.map_or(0, |connected| connected.replicas);
                if count < wanted {
                    Self::doubt(ways, unreplicated);
                } else {
                    for Unreplicated { shard, number, marks, at_ms } in unreplicated {
                        ways.tell(shard, &FromEngine::Kept { number, marks, at_ms });
                    }
                }
                self.end_turn(ways);
            }
            (Asked::Beat, Ok(Reply::Nodes { now_ms: engine_ms, life, nodes })) => {
                self.listing.set_time(engine_ms);
                self.beaten(ways, now_ms, life, &nodes);
            }
            (Asked::List(partition), Ok(Reply::Listed { cursor, rooms })) => {
                self.list_was_read(ways, now_ms, partition, (cursor, rooms));
            }
            (Asked::List(_), Err(Failure::Elsewhere(_))) => {
                ways.disconnect("it is no primary any more");
            }
            (Asked::List(_), _) => self.reading_ended(ways, now_ms),
            (Asked::Say(id, Some(number)), Err(_)) => {
                if let Some(followed) = self.rooms.get_mut(&id)
                    && followed.says_no_more(number)
                {
                    let (shard, why) = (followed.key.0, Why::Unavailable);
                    ways.tell(shard, &FromEngine::Refused { number, why });
                }
            }
            (Asked::Pass { number, bytes }, result) => {
                self.was_passed(ways, now_ms, (number, bytes), &result);
            }
            (Asked::Subscribe, Err(_)) => ways.disconnect("a channel cannot be subscribed to"),
            (Asked::Say(..) | Asked::Subscribe | Asked::Beat | Asked::Nothing, _) => {}
            (asked, _) => self.not_answered(ways, asked),
        }
    }

    /// Tells who waits for it what has become of what was appended.
    fn appended(
        &mut self,
        ways: &mut impl Ways,
        now_ms: u64,
        id: RoomId,
        head: &Head,
        receipts: &[Receipt],
    ) {
        let Some(followed) = self.rooms.get_mut(&id) else { return };
        let Some(Call { numbers, bytes, .. }) = followed.call.take() else { return };
        followed.spoken_ms = now_ms;
        self.waiting_bytes -= bytes;
        let shard = followed.key.0;
        let replicas = self.connected.map_or(0, |connected| connected.replicas);
        for (number, receipt) in numbers.into_iter().zip(receipts) {
            let (marks, at_ms) = match *receipt {
                Receipt::Stale | Receipt::Conflict => {
                    ways.tell(shard, &FromEngine::Refused { number, why: Why::Conflict });
                    continue;
                }
                Receipt::Gone => {
                    ways.tell(shard, &FromEngine::Refused { number, why: Why::Gone });
                    continue;
                }
                Receipt::Message { offset, at_ms } => (Marks { offset, change: 0 }, at_ms),
                Receipt::Change { change } => (Marks { offset: 0, change }, head.at_ms),
                Receipt::Decided { .. } => (Marks::default(), head.at_ms),
            };
            #[cfg(test)]
            let replicas = if planted::is(Planted::KeptBeforeReplicas) { 0 } else { replicas };
            if replicas == 0 {
                ways.tell(shard, &FromEngine::Kept { number, marks, at_ms });
            } else {
                self.unreplicated.push(Unreplicated { shard, number, marks, at_ms });
            }
        }
        self.call(ways, now_ms, id);
    }

    /// Tells who waits for it that nothing was appended.
    fn not_appended(&mut self, ways: &mut impl Ways, now_ms: u64, id: RoomId, failure: &Failure) {
        let why = match failure {
            // It takes no more, and may again in a moment.
            Failure::Refused(_) => Why::Busy,
            Failure::Layout => Why::Unavailable,
            Failure::Elsewhere(_) => {
                ways.disconnect("it is no primary any more");
                Why::Unavailable
            }
            Failure::Lost => Why::Unconfirmed,
        };
        let Some(followed) = self.rooms.get_mut(&id) else { return };
        let Some(Call { numbers, bytes, .. }) = followed.call.take() else { return };
        self.waiting_bytes -= bytes;
        let shard = followed.key.0;
        for number in numbers {
            ways.tell(shard, &FromEngine::Refused { number, why });
        }
        self.call(ways, now_ms, id);
    }

    /// One room less is being read.
    fn read_ended(&mut self, ways: &mut impl Ways) {
        self.following = self.following.saturating_sub(1);
        self.follow_next(ways);
    }

    /// Goes on with where a room stands: if nothing was said in it that its home has not heard, it
    /// need not be read.
    fn stands(
        &mut self,
        ways: &mut impl Ways,
        now_ms: u64,
        id: RoomId,
        head: Option<Head>,
        is_current: bool,
    ) {
        let Some(followed) = self.rooms.get(&id) else { return self.read_ended(ways) };
        let known = followed.known.as_ref().zip(head.as_ref());
        if !is_current || known.is_some_and(|(known, head)| has_missed_nothing(known, head)) {
            let state = State { head, is_current, ..State::default() };
            return self.was_read(ways, now_ms, id, &state);
        }
        let topic = followed.topic.clone();
        self.read_whole(ways, Asked::Follow(id), topic);
    }

    /// A room cannot be read.
    fn not_followed(&mut self, ways: &mut impl Ways, now_ms: u64, id: RoomId, failure: &Failure) {
        if matches!(failure, Failure::Elsewhere(_)) {
            return ways.disconnect("it is no primary any more");
        }
        let Some(followed) = self.rooms.get_mut(&id) else { return };
        if matches!(failure, Failure::Refused(_)) && followed.known.is_some() {
            // As a primary that has no replica yet: what its home was told stays true.
            followed.wait_again();
            self.refused.push_back((now_ms + self.node.limits.ping_ms, id));
            return;
        }
        self.lose_place(ways, id);
    }

    /// Lets go of a room that cannot be told any further: its home may open it again.
    fn lose_place(&mut self, ways: &mut impl Ways, id: RoomId) {
        let Some(followed) = self.rooms.get(&id) else { return };
        let (shard, room) = followed.key;
        ways.tell(
            shard,
            &if followed.known.is_some() {
                FromEngine::Closed { room }
            } else {
                FromEngine::NotOpened { room, why: Why::Unavailable }
            },
        );
        self.close(ways, (shard, room));
    }

    /// Goes on with what was read of a room.
    fn was_read(&mut self, ways: &mut impl Ways, now_ms: u64, id: RoomId, state: &State) {
        let tail = self.node.tail;
        let Some(followed) = self.rooms.get_mut(&id) else { return self.read_ended(ways) };
        if state.head.is_none() || !state.is_current {
            if !followed.may_touch() {
                let failure = Failure::Refused("it turns again and again".into());
                self.not_followed(ways, now_ms, id, &failure);
                return self.read_ended(ways);
            }
            let (topic, entries) = (followed.topic.clone(), Vec::new());
            let append = Append { topic, fresh_epoch: self.next_epoch(), entries };
            return self.ask(ways, Asked::Touch(id), Command::Append(append));
        }
        let known = followed.known.clone();
        let is_on = match &known {
            None => followed.opened(ways, state, tail),
            Some(known) => followed.catch_up(ways, self.node.id, known, state),
        };
        self.read_ended(ways);
        if !is_on {
            return self.lose_place(ways, id);
        }
        let Some(followed) = self.rooms.get_mut(&id) else { return };
        if followed.has_overflown() {
            return self.read_again(ways, id);
        }
        if known.is_some() && std::mem::take(&mut followed.is_cut_off) {
            let (shard, room) = followed.key;
            ways.tell(shard, &FromEngine::Missed { room });
        }
        for held in followed.go_live() {
            self.heard(ways, id, held);
        }
        self.call(ways, now_ms, id);
    }

    /// Handles what the engine says without having been asked.
    pub(super) fn pushed(&mut self, ways: &mut impl Ways, now_ms: u64, pushed: Pushed) {
        self.heard_ms = now_ms;
        match pushed {
            Pushed::News { topic, news } => {
                if let Some(id) = self.by_topic.get(&topic).copied() {
                    self.heard(ways, id, Held::News(news));
                }
            }
            Pushed::Listed(listed) => self.listing.keep(listed),
            Pushed::Said { topic, record } if *topic == *LOBBY => {
                self.hear_node(ways, now_ms, &record);
            }
            Pushed::Said { topic, record } => {
                if let Some(id) = self.by_topic.get(&topic).copied() {
                    self.heard(ways, id, Held::Said(record));
                }
            }
            Pushed::Told { record } => {
                let Some((topic, record)) = topic_of(&record) else { return };
                if topic == LOBBY {
                    return self.hear_node(ways, now_ms, record);
                }
                if topic == SESSIONS {
                    return self.hear_passed(ways, record);
                }
                if let Some(id) = self.by_topic.get(topic).copied() {
                    self.heard(ways, id, Held::Said(record.to_vec()));
                }
            }
        }
    }

    /// Handles what is heard of a room: it is told, or held until the room has been read.
    fn heard(&mut self, ways: &mut impl Ways, id: RoomId, heard: Held) {
        let node = self.node.id;
        let Some(followed) = self.rooms.get_mut(&id) else { return };
        if followed.stage == Stage::Live {
            let leads_on = match &heard {
                Held::News(news) => followed.follow(ways, node, news),
                Held::Said(record) => {
                    followed.hear(ways, node, record);
                    LeadsOn::Yes
                }
            };
            match leads_on {
                LeadsOn::Yes => return,
                LeadsOn::No => {}
                LeadsOn::Never => return self.lose_place(ways, id),
            }
        }
        followed.hold(heard, self.node.limits.held_bytes);
        if followed.stage == Stage::Live {
            self.read_again(ways, id);
        }
    }

    /// Asks which nodes live.
    fn beat(&mut self, ways: &mut impl Ways, now_ms: u64) {
        self.leases.beats(now_ms, self.node.limits.heartbeat_ms);
        let (node, life) = (self.node.id, self.leases.life().unwrap_or(0));
        let lease_ms = self.node.limits.lease_ms;
        self.ask(ways, Asked::Beat, Command::Beat { node, life, lease_ms });
    }

    /// Tells shards which nodes are gone, and who this one is, if that is news.
    fn beaten(&mut self, ways: &mut impl Ways, now_ms: u64, life: u64, nodes: &[(u64, u64)]) {
        if self.leases.is_new_life(life) {
            self.tell_all(ways, &FromEngine::Life { node: self.node.id, life });
        }
        let gone = self.leases.gone(now_ms, self.node.limits.lease_ms, nodes);
        self.tell_gone(ways, &gone);
    }

    /// Tells shards that lives of nodes are over.
    fn tell_gone(&mut self, ways: &mut impl Ways, gone: &[(u64, u64)]) {
        self.listing.note_living(&self.leases);
        if !gone.is_empty() {
            let mut record = Vec::new();
            for of in gone {
                push_life(&mut record, *of);
            }
            self.tell_all(ways, &FromEngine::Gone { nodes: &record });
            self.give_up_nodes(ways);
        }
    }

    /// Does what is due. Returns when to come again at the latest, in milliseconds.
    pub(super) fn tick(&mut self, ways: &mut impl Ways, now_ms: u64) -> u64 {
        let limits = self.node.limits;
        let list_ms = self.tick_listing(ways, now_ms);
        let pass_ms = self.tick_passing(ways, now_ms);
        if self.connected.is_none() {
            return pass_ms.clamp(now_ms + 1, now_ms + limits.ping_ms);
        }
        if now_ms.saturating_sub(self.heard_ms) >= limits.dead_ms {
            ways.disconnect("it does not answer");
            return now_ms + limits.ping_ms;
        }
        if now_ms >= self.late_ms {
            self.give_up_late(ways, now_ms);
        }
        if now_ms >= self.ping_ms {
            self.ping_ms = now_ms + limits.ping_ms;
            self.ask(ways, Asked::Nothing, Command::Ping);
        }
        if self.leases.is_due(now_ms) && !self.is_leaving {
            self.beat(ways, now_ms);
        }
        while let Some((_, id)) = self.refused.pop_front_if(|(due_ms, _)| *due_ms <= now_ms) {
            self.to_follow.push_back(id);
        }
        self.follow_next(ways);
        let due_ms = self.late_ms.min(self.ping_ms).min(self.leases.due_ms());
        due_ms.min(list_ms).min(pass_ms).max(now_ms + 1)
    }

    /// Answers what has waited for too long: what is under way may be kept, the rest is not.
    fn give_up_late(&mut self, ways: &mut impl Ways, now_ms: u64) {
        let timeout_ms = self.node.limits.timeout_ms;
        for followed in self.rooms.values_mut() {
            let (shard, _) = followed.key;
            let (refused, bytes) = followed.give_up(now_ms, timeout_ms);
            self.waiting_bytes -= bytes;
            for (number, why) in refused {
                ways.tell(shard, &FromEngine::Refused { number, why });
            }
        }
        let oldest_ms = self.rooms.values().filter_map(Followed::oldest_ms).min();
        self.late_ms = oldest_ms.map_or(u64::MAX, |since_ms| since_ms + timeout_ms);
    }

    /// Asks replicas for what was kept in this turn, if they must have it.
    pub(super) fn end_turn(&mut self, ways: &mut impl Ways) {
        let Some(Connected { replicas }) = self.connected else { return };
        if self.is_replicating || self.unreplicated.is_empty() {
            return;
        }
        self.is_replicating = true;
        let unreplicated = std::mem::take(&mut self.unreplicated);
        let timeout_ms = self.node.limits.timeout_ms;
        let wait = Command::Wait { replicas, timeout_ms };
        self.ask(ways, Asked::Replicas(unreplicated), wait);
    }

    /// All rooms that are listed, each with its title and how many are there.
    #[cfg(test)]
    pub(super) fn shown(&self) -> BTreeMap<String, (Option<String>, u32)> {
        self.listing.shown()
    }

    /// Asserts the invariants. For tests: it looks at everything.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let waiting: usize = self.rooms.values().map(Followed::waiting_bytes).sum();
        assert_eq!(waiting, self.waiting_bytes, "what waits is counted");
        assert_eq!(self.by_key.len(), self.rooms.len(), "each room is found by its key");
        self.listing.check();
        self.passing.check();
        for (id, followed) in &self.rooms {
            assert_eq!(self.by_key.get(&followed.key), Some(id), "and by its own");
            let is_read = followed.stage == Stage::Reading;
            assert!(!is_read || self.connected.is_some(), "rooms are read on a connection");
        }
    }
}

/// What is said to a node names the room first.
fn topic_of(record: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = record.split_first_chunk::<2>()?;
    let (topic, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
    Some((std::str::from_utf8(topic).ok()?, rest))
}

/// What is said to a node about a room.
pub(super) fn to_node(topic: &str, record: &[u8]) -> Vec<u8> {
    let length = u16::try_from(topic.len()).expect("a topic is short");
    [&length.to_le_bytes(), topic.as_bytes(), record].concat()
}

fn act_of(act: Act<'_>) -> CommandAct {
    match act {
        Act::Message { key } => CommandAct::Message { key: key.map(u64::to_be_bytes) },
        Act::Change { offset, expected, is_deleted } => {
            CommandAct::Change { offset, expected, is_deleted }
        }
        Act::Decision { title, is_private, facts } => {
            let founded = title.map(|title| Founded { title: title.into(), is_private });
            CommandAct::Decision { founded, facts: read_facts(facts) }
        }
        Act::Note {} => CommandAct::Note,
    }
}

/// The question for lines of an audit trail. Of all acts: the engine does not know which is which.
fn lines_of(topic: Box<str>, wanted: AuditWanted) -> Command {
    // One more than wanted says whether there are more.
    let count = wanted.limit.saturating_add(1);
    Command::Lines { topic, before: wanted.before, count }
}

impl Trail {
    /// Adds lines that were read. Says whether there are more of those that are wanted; `None`, if
    /// more must be read for that.
    fn add(&mut self, lines: &[(u64, Vec<u8>)]) -> Option<bool> {
        let AuditWanted { limit, act, .. } = self.wanted;
        for (number, record) in lines {
            self.wanted.before = *number;
            let Some((at_ms, line)) = line_of(*number, record) else { continue };
            if act.is_some_and(|act| act != line.act) {
                continue;
            }
            let is_full = self.page.count() > 0 && self.page.bytes() > self.bytes;
            if self.page.count() == limit || is_full {
                return Some(true);
            }
            self.page.push(|out| line.push(out, at_ms));
        }
        (lines.len() <= limit as usize).then_some(false)
    }
}

/// A line of an audit trail, and when it was written.
pub(super) fn line_of(number: u64, record: &[u8]) -> Option<(u64, AuditLine<'_>)> {
    let (_, inside) = unsealed(record)?;
    let (at_ms, line): (u64, AuditLine<'_>) = {
        let (at_ms, rest) = inside.split_first_chunk::<8>()?;
        (u64::from_le_bytes(*at_ms), read_whole(rest))
    };
    Some((at_ms, AuditLine { number, ..line }))
}

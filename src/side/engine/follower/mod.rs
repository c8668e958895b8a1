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
//! | another version has a room in a layout of its own | it is closed, and left as it is |
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
//! | file | what it is |
//! |---|---|
//! | `following` | rooms are subscribed to and read, told, and let go of |
//! | `followed`, `catch_up` | one of them: how far its home was told, and what it has missed |
//! | `auditing` | whether something was missed of which nobody has told |
//! | `awaiting` | homes that wait until they have been told all |
//! | `appending`, `replicas` | what is to be kept, and when it is |
//! | `saying` | what is said and not kept |
//! | `passing` | what is asked of sessions of long polling at other nodes |
//! | `reading` | pages and lines of the audit trail, for homes |
//! | `sweeping` | rooms let go of what is too old |
//! | `nodes`, `leases` | which nodes live |
//! | `listing`, `list`, `counts` | the list of rooms |
//!
//! Called by: `side::engine::thread`. Calls: its files, `side::engine::view`.

mod appending;
mod auditing;
mod awaiting;
mod catch_up;
mod counts;
#[cfg(test)]
mod counts_tests;
mod followed;
mod following;
mod leases;
mod list;
mod listing;
mod nodes;
mod passing;
#[cfg(test)]
mod passing_tests;
#[cfg(test)]
pub(crate) mod planted;
mod reading;
mod replicas;
mod saying;
mod sweeping;
#[cfg(test)]
mod sweeping_tests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};

use auditing::Audits;
#[cfg(test)]
use followed::Stage;
pub(super) use followed::Turns;
use followed::{Followed, Held};
use leases::Leases;
use listing::Listing;
use passing::{Passing, SESSIONS};
use reading::{Trail, WaitsForOlder};
use replicas::Replicas;
use saying::Partings;
use sweeping::{Cutting, Sweep};

use super::command::{Command, Entry, Failure, Pushed, Reply};
use super::older::{Question, Reply as Older, What, Words};
use super::view::TailBounds;
use crate::base::rng::SplitMix64;
use crate::limits::{EngineLimits, REPLICAS_WAIT_MS};
use crate::link::engine::{FromEngine, ToEngine};
use crate::link::facts::Keep;
use crate::link::ids::RoomKey;
use crate::link::log::Why;
use crate::link::topic::LOBBY;

/// What a follower acts on.
pub(super) trait Ways {
    /// Asks the engine. Commands are done in their order.
    fn ask(&mut self, number: u64, command: Command);

    /// Tells a shard.
    fn tell(&mut self, shard: u16, message: &FromEngine<'_>);

    /// The number of the primary that has a room.
    fn primary_of(&self, topic: &str) -> u16;

    /// Whether the way to a shard is so full that no more is to be asked of it.
    fn is_busy(&self, shard: u16) -> bool;

    /// Ends the connection, which is of no use any more.
    fn disconnect(&mut self, why: &str);

    /// Asks the archive, if there is one. False, if nobody is there.
    fn ask_archive(&mut self, _number: u64, _question: Question) -> bool {
        false
    }
}

/// What a connection is found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Connected {
    /// How many replicas of each primary must have what is told as kept.
    pub(super) replicas: Vec<u32>,
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
    /// Whether there is an archive of what the engine lets go of.
    pub(super) has_archive: bool,
    /// What is kept of a room that has no bounds of its own.
    pub(super) keep: Keep,
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
    /// The same, of a room of which all is told that is known.
    Audit(RoomId),
    /// The same, for a home that waits for all of it under this number.
    Await(RoomId, u64),
    /// What there is of a room that is followed.
    Follow(RoomId),
    /// The same, for a home that reads.
    Page(RoomId, u64, What),
    /// Whether a room is where it was when its archive was asked, for a home that reads: what was
    /// archived meanwhile its home is told before.
    Older(RoomId, u64, Box<Older>),
    /// Lines of an audit trail, for a home that reads.
    Lines(RoomId, Box<Trail>),
    /// To hear what is said in a room.
    Subscribe,
    /// What is not kept, under this number.
    Say(RoomId, Option<u64>),
    /// That nobody is in a room any more.
    Part(Box<str>, Vec<u8>),
    /// To hear a question for a session of long polling under this number, or an answer.
    Pass { number: Option<u64>, bytes: usize },
    /// Which nodes live.
    Beat,
    /// Rooms of a partition of which something is kept.
    List(u16),
    /// Rooms that are to be looked at.
    Due,
    /// One of them.
    Sweep(Box<str>),
    /// That it lets go of messages.
    LetGo(Box<str>, Cutting),
    /// That replicas of a primary have what was kept.
    Replicas(u16),
    /// Whether it answers, or something that nobody waits for.
    Nothing,
}

/// What a follower has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Something was missing of what a home was to be told.
    pub(super) holes: u64,
    /// That was read, and told.
    pub(super) repairs: u64,
    /// Rooms have gone on in another epoch.
    pub(super) turns: Turns,
    /// What homes were told did not lead on: they had to open the room again.
    pub(super) told: u64,
    /// It did, behind another connection.
    pub(super) reopened: u64,
    /// What was heard that no node says.
    pub(super) foreign: u64,
    /// Messages that were too old, or too many.
    pub(super) let_go: u64,
    /// What was found or heard that this version cannot read, as far as anybody knows who wrote it.
    pub(super) unreadable: u64,
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
    /// Whether there is a connection.
    is_connected: bool,
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
    /// What the archive was asked, by its number.
    older: BTreeMap<u64, WaitsForOlder>,
    /// What replicas of each primary do not have yet.
    replicas: Vec<Replicas>,
    /// When the engine was last heard.
    heard_ms: u64,
    /// When it is looked next whether it answers.
    ping_ms: u64,
    leases: Leases,
    audits: Audits,
    counted: Counted,
    listing: Listing,
    passing: Passing,
    partings: Partings,
    sweep: Sweep,
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
            is_connected: false,
            to_follow: VecDeque::new(),
            refused: VecDeque::new(),
            following: 0,
            reading: 0,
            to_read: VecDeque::new(),
            older: BTreeMap::new(),
            waiting_bytes: 0,
            late_ms: u64::MAX,
            replicas: Vec::new(),
            heard_ms: 0,
            ping_ms: 0,
            leases: Leases::new(node.id),
            audits: Audits::default(),
            counted: Counted::default(),
            listing: Listing::new(&node),
            passing: Passing::default(),
            partings: Partings::default(),
            sweep: Sweep::default(),
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

    /// What it has counted.
    pub(super) fn counted(&self) -> Counted {
        self.counted
    }

    /// How many nodes live, this one among them.
    pub(super) fn nodes_count(&self) -> usize {
        self.leases.others().len() + usize::from(self.leases.life().is_some())
    }

    /// How many requests for sessions elsewhere wait, and how many there have been.
    pub(super) fn passed(&self) -> (usize, u64) {
        (self.passing.waiting_count(), self.passing.count())
    }

    /// How many bytes are to be appended, or are being.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Whether rooms are being read, whole.
    pub(super) fn is_reading(&self) -> bool {
        self.reading > 0
    }

    /// Whether all that was asked has been answered.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_connected || self.asked.is_empty()
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
                    act: appending::act_of(act),
                    record: record.to_vec(),
                    line: line.to_vec(),
                };
                self.append(ways, now_ms, (shard, room), number, entry);
            }
            ToEngine::Say { number, room, to, record } => {
                self.say(ways, (shard, room), number, to, record);
            }
            ToEngine::Part { topic, record } => self.part(ways, topic, record),
            ToEngine::Close { room } => self.close(ways, (shard, room)),
            ToEngine::Read { number, room, wanted } => {
                self.read_page(ways, (shard, room), number, What::Page(wanted));
            }
            ToEngine::Find { number, room, sought } => {
                self.read_page(ways, (shard, room), number, What::Words(Words::new(sought)));
            }
            ToEngine::CatchUp { number, room } => {
                self.await_all(ways, now_ms, (shard, room), number);
            }
            ToEngine::Lines { number, room, wanted, bytes } => {
                self.read_trail(ways, (shard, room), Trail::new(number, wanted, bytes));
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
        ways.tell(shard, &FromEngine::Health { is_up: self.is_connected });
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

    /// There is a connection: all rooms are followed again.
    pub(super) fn connected(&mut self, ways: &mut impl Ways, now_ms: u64, connected: Connected) {
        self.is_connected = true;
        self.replicas = connected.replicas.into_iter().map(Replicas::of).collect();
        (self.heard_ms, self.ping_ms) = (now_ms, now_ms + self.node.limits.ping_ms);
        self.leases.connected(now_ms);
        self.audit_anew(now_ms);
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
        if !std::mem::take(&mut self.is_connected) {
            return;
        }
        self.tell_all(ways, &FromEngine::Health { is_up: false });
        (self.following, self.reading) = (0, 0);
        self.sweep_lost();
        self.to_follow.clear();
        self.refused.clear();
        for replicas in std::mem::take(&mut self.replicas) {
            replicas.lost(ways);
        }
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
            followed.aging.lost(self.heard_ms);
            for (number, why) in followed.lost() {
                ways.tell(shard, &FromEngine::Refused { number, why });
            }
            followed.lose_awaiting(ways);
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
            Asked::Page(id, number, _) | Asked::Older(id, number, _) => {
                self.not_read(ways, id, number);
            }
            Asked::Lines(id, trail) => self.not_read(ways, id, trail.number),
            Asked::Await(id, number) => self.stands_nowhere(ways, id, number),
            Asked::Part(topic, record) => self.keep_parting((topic, record)),
            Asked::Append(_)
            | Asked::Touch(_)
            | Asked::Look(_)
            | Asked::Audit(_)
            | Asked::Follow(_)
            | Asked::Subscribe
            | Asked::Say(..)
            | Asked::Pass { .. }
            | Asked::Beat
            | Asked::List(_)
            | Asked::Due
            | Asked::Sweep(..)
            | Asked::LetGo(..)
            | Asked::Replicas(_)
            | Asked::Nothing => {}
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
        if matches!(asked, Asked::Follow(_) | Asked::Page(..) | Asked::Sweep(..)) {
            self.reading = self.reading.saturating_sub(1);
            self.read_next(ways);
        }
        if let Asked::Audit(id) = asked {
            self.note_audited(id);
        }
        match &result {
            Err(Failure::Elsewhere(why)) => ways.disconnect(why),
            Err(Failure::Layout) => self.counted.unreadable += 1,
            _ => {}
        }
        match (asked, result) {
            (Asked::Append(id), Ok(Reply::Appended { head, receipts })) => {
                self.appended(ways, now_ms, id, &head, &receipts);
            }
            (Asked::Audit(id), Err(Failure::Layout)) => self.lose_unknown(ways, now_ms, id),
            (Asked::Await(id, number), Err(Failure::Layout)) => {
                self.stands_nowhere(ways, id, number);
                self.lose_unknown(ways, now_ms, id);
            }
            (Asked::Append(id), Err(failure)) => self.not_appended(ways, now_ms, id, &failure),
            (Asked::Touch(id), Ok(Reply::Appended { head, .. })) => {
                self.stands(ways, now_ms, id, Some(head), true);
            }
            (Asked::Look(id), Ok(Reply::Stands { head, is_current })) => {
                self.stands(ways, now_ms, id, head, is_current);
            }
            (Asked::Audit(id), Ok(Reply::Stands { head, is_current })) => {
                let _ = self.audited(ways, id, head.as_ref(), is_current);
            }
            (Asked::Await(id, number), Ok(Reply::Stands { head, is_current })) => {
                self.stands_for(ways, id, number, head.as_ref(), is_current);
            }
            (Asked::Follow(id), Ok(Reply::State(state))) => self.was_read(ways, now_ms, id, &state),
            (Asked::Follow(id) | Asked::Look(id) | Asked::Touch(id), Err(failure)) => {
                self.not_followed(ways, now_ms, id, &failure);
                self.read_ended(ways);
            }
            (Asked::Page(id, number, what), Ok(Reply::State(state))) => {
                self.page_was_read(ways, id, number, what, state);
            }
            (Asked::Older(id, number, older), Ok(Reply::Stands { head, is_current })) => {
                let epoch = head.filter(|_| is_current).map(|head| head.epoch);
                self.tell_older(ways, id, number, &older, epoch);
            }
            (Asked::Lines(id, trail), Ok(Reply::Lines(lines))) => {
                self.lines_were_read(ways, id, trail, &lines);
            }
            (Asked::Replicas(primary), result) => {
                // Where it is refused, nobody knows whether they have it.
                let count = if let Ok(Reply::Replicas(count)) = result { count } else { 0 };
                let replicas = &mut self.replicas[usize::from(primary)];
                replicas.answered(ways, now_ms, self.node.limits.timeout_ms, count);
            }
            (Asked::Beat, Ok(Reply::Nodes { now_ms: engine_ms, life, nodes })) => {
                self.listing.set_time(engine_ms);
                self.beaten(ways, now_ms, life, &nodes);
            }
            (Asked::List(partition), Ok(Reply::Listed { cursor, rooms })) => {
                self.list_was_read(ways, now_ms, partition, (cursor, rooms));
            }
            (Asked::List(_), _) => self.reading_ended(ways, now_ms),
            (Asked::Due, Ok(Reply::Due { now_ms: engine_ms, topics })) => {
                self.are_due(ways, engine_ms, topics);
            }
            (Asked::Sweep(topic), Ok(Reply::State(state))) => {
                self.sweep_was_read(ways, topic, state);
            }
            (Asked::LetGo(topic, of), reply) => {
                self.has_let_go(ways, topic, of, reply.ok().as_ref());
            }
            // They are handed out again.
            (Asked::Due | Asked::Sweep(..), _) => self.sweep_next(ways),
            (Asked::Say(id, Some(number)), Err(_)) => self.not_said(ways, id, number),
            (Asked::Pass { number, bytes }, result) => {
                self.was_passed(ways, now_ms, (number, bytes), &result);
            }
            (Asked::Subscribe, Err(_)) => ways.disconnect("a channel cannot be subscribed to"),
            (Asked::Part(..), Ok(_))
            | (Asked::Say(..) | Asked::Subscribe | Asked::Beat | Asked::Nothing, _) => {}
            (asked, _) => self.not_answered(ways, asked),
        }
    }

    /// Handles what the engine says without having been asked.
    pub(super) fn pushed(&mut self, ways: &mut impl Ways, now_ms: u64, pushed: Pushed) {
        self.heard_ms = now_ms;
        match pushed {
            Pushed::News { topic, news } => {
                if let Some(id) = self.by_topic.get(&topic).copied() {
                    self.heard(ways, id, Held::News(news));
                    self.note_told(ways, now_ms, id);
                }
            }
            Pushed::Listed(listed) => self.listing.keep(listed),
            Pushed::Foreign { topic } => self.heard_foreign(ways, now_ms, topic.as_deref()),
            Pushed::Said { topic, record } if *topic == *LOBBY => {
                self.hear_node(ways, now_ms, &record);
            }
            Pushed::Said { topic, record } => {
                if let Some(id) = self.by_topic.get(&topic).copied() {
                    self.heard(ways, id, Held::Said(record));
                }
            }
            Pushed::Told { record } => {
                let Some((topic, record)) = saying::topic_of(&record) else {
                    return self.heard_foreign(ways, now_ms, None);
                };
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

    /// Does what is due. Returns when to come again at the latest, in milliseconds.
    pub(super) fn tick(&mut self, ways: &mut impl Ways, now_ms: u64) -> u64 {
        let limits = self.node.limits;
        let list_ms = self.tick_listing(ways, now_ms);
        let pass_ms = self.tick_passing(ways, now_ms);
        if !self.is_connected {
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
        let audit_ms = self.audit(ways, now_ms).min(self.tick_partings(ways, now_ms));
        let sweep_ms = self.tick_sweep(ways, now_ms);
        let due_ms = self.late_ms.min(self.ping_ms).min(self.leases.due_ms());
        due_ms.min(list_ms).min(audit_ms).min(pass_ms).min(sweep_ms).max(now_ms + 1)
    }

    /// Asks replicas for what was kept in this turn, if they must have it.
    pub(super) fn end_turn(&mut self, ways: &mut impl Ways) {
        let timeout_ms = REPLICAS_WAIT_MS.min(self.node.limits.timeout_ms);
        for primary in 0..self.replicas.len() {
            if let Some(replicas) = self.replicas[primary].ask() {
                let primary = u16::try_from(primary).expect("there are fewer than slots");
                let wait = Command::Wait { primary, replicas, timeout_ms };
                self.ask(ways, Asked::Replicas(primary), wait);
            }
        }
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
            assert!(!is_read || self.is_connected, "rooms are read on a connection");
        }
    }
}

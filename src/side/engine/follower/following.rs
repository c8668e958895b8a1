//! Rooms are followed: each is subscribed to and then read, and what is pushed is told, until its
//! home lets go of it or its place is lost.
//!
//! Deliberately absent: what leads on from what (`followed`, `catch_up`), and connections.

use super::catch_up::has_missed_nothing;
use super::followed::{Followed, Held, LeadsOn, Stage};
use super::{Asked, Follower, RoomId, Ways};
use crate::link::engine::FromEngine;
use crate::link::ids::RoomKey;
use crate::link::log::Why;
use crate::side::engine::command::{Append, Command, Failure, Head, State};

impl Follower {
    /// Begins to follow a room.
    pub(super) fn open(&mut self, ways: &mut impl Ways, key: (u16, RoomKey), topic: &str) {
        if !self.is_connected {
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
    pub(super) fn follow_next(&mut self, ways: &mut impl Ways) {
        while self.is_connected && self.following < self.node.limits.looks_at_once {
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
    pub(super) fn read_whole(&mut self, ways: &mut impl Ways, asked: Asked, topic: Box<str>) {
        self.to_read.push_back((asked, topic));
        self.read_next(ways);
    }

    /// Reads what waits for its turn, as much at a time as may be.
    pub(super) fn read_next(&mut self, ways: &mut impl Ways) {
        while self.reading < self.node.limits.reads_at_once
            && let Some((asked, topic)) = self.to_read.pop_front()
        {
            self.reading += 1;
            self.ask(ways, asked, Command::Read { topic });
        }
    }

    /// Reads a room again that is subscribed to: something was missed.
    pub(super) fn read_again(&mut self, ways: &mut impl Ways, id: RoomId) {
        let Some(followed) = self.rooms.get_mut(&id) else { return };
        followed.begin_reading();
        self.following += 1;
        let topic = followed.topic.clone();
        self.read_whole(ways, Asked::Follow(id), topic);
    }

    /// Handles what is heard of a room: it is told, or held until the room has been read.
    pub(super) fn heard(&mut self, ways: &mut impl Ways, id: RoomId, heard: Held) {
        let node = self.node.id;
        let Some(followed) = self.rooms.get_mut(&id) else { return };
        if followed.stage == Stage::Live {
            let leads_on = match &heard {
                Held::News(news) => followed.follow(ways, node, news),
                Held::Said(record) => {
                    let life = followed.hear(ways, node, record);
                    life.inspect(|(node, life)| self.leases.hears(*node, *life));
                    LeadsOn::Yes
                }
            };
            self.counted.unreadable += std::mem::take(&mut followed.unreadable);
            match leads_on {
                LeadsOn::Yes => {
                    self.counted.turns.take(&mut followed.turns);
                    return;
                }
                LeadsOn::No => {}
                LeadsOn::Unreadable => {
                    // Whoever may publish there may say anything: what is kept decides.
                    self.note_hole(id);
                    return self.read_again(ways, id);
                }
                LeadsOn::Never => return self.lose_place(ways, id),
            }
        }
        followed.hold(heard, self.node.limits.held_bytes);
        if followed.stage == Stage::Live {
            self.note_hole(id);
            self.read_again(ways, id);
        }
    }

    /// Goes on with where a room stands: if nothing was said in it that its home has not heard, it
    /// need not be read.
    pub(super) fn stands(
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

    /// Goes on with what was read of a room.
    pub(super) fn was_read(
        &mut self,
        ways: &mut impl Ways,
        now_ms: u64,
        id: RoomId,
        state: &State,
    ) {
        let (tail, has_archive) = (self.node.tail, self.node.has_archive);
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
            None => followed.opened(ways, state, (tail, has_archive)),
            Some(known) => followed.catch_up(ways, (self.node.id, has_archive), known, state),
        };
        self.counted.turns.take(&mut followed.turns);
        self.counted.unreadable += std::mem::take(&mut followed.unreadable);
        if known.is_some() && is_on {
            let was_hole = std::mem::take(&mut followed.has_hole);
            let place =
                if was_hole { &mut self.counted.repairs } else { &mut self.counted.reopened };
            *place += 1;
        }
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
        self.note_age(ways, id, state);
        // What was held is told by now.
        self.note_told(ways, now_ms, id);
        self.tell_caught_up(ways, id);
        self.call(ways, now_ms, id);
    }

    /// One room less is being read.
    pub(super) fn read_ended(&mut self, ways: &mut impl Ways) {
        self.following = self.following.saturating_sub(1);
        self.follow_next(ways);
    }

    /// A room cannot be read.
    pub(super) fn not_followed(
        &mut self,
        ways: &mut impl Ways,
        now_ms: u64,
        id: RoomId,
        failure: &Failure,
    ) {
        if matches!(failure, Failure::Elsewhere(_)) {
            // The connection ends with that.
            return;
        }
        let Some(followed) = self.rooms.get_mut(&id) else { return };
        if matches!(failure, Failure::Refused(_)) && followed.known.is_some() {
            // As a primary that has no replica yet: what its home was told stays true.
            followed.wait_again();
            self.refused.push_back((now_ms + self.node.limits.ping_ms, id));
            return;
        }
        if matches!(failure, Failure::Layout) {
            return self.lose_unknown(ways, now_ms, id);
        }
        self.lose_place(ways, id);
    }

    /// Lets go of a room in which there is something that this version does not know: nobody here
    /// would hear what is said there, and nothing is to be written over it.
    pub(super) fn lose_unknown(&mut self, ways: &mut impl Ways, now_ms: u64, id: RoomId) {
        let topic = self.rooms.get(&id).map(|followed| &followed.topic);
        if let Some(topic) = topic.filter(|_| self.audits.unknown_log.is_due(now_ms)) {
            let times = self.counted.unreadable;
            tracing::error!(
                ?topic,
                times,
                "a room is closed here, since another version of the server has it in the engine, \
                 or somebody else"
            );
        }
        self.lose_place(ways, id);
    }

    /// Lets go of a room that cannot be told any further: its home may open it again.
    fn lose_place(&mut self, ways: &mut impl Ways, id: RoomId) {
        let Some(followed) = self.rooms.get(&id) else { return };
        let (shard, room) = followed.key;
        self.counted.told += u64::from(followed.known.is_some());
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

    /// Lets go of a room.
    pub(super) fn close(&mut self, ways: &mut impl Ways, key: (u16, RoomKey)) {
        let Some(id) = self.by_key.get(&key).copied() else { return };
        let Some(topic) = self.forget(id) else { return };
        if self.is_connected {
            self.ask(ways, Asked::Nothing, Command::Unsubscribe { topic });
        }
    }

    /// Forgets a room, and what of it waits. Returns its topic.
    pub(super) fn forget(&mut self, id: RoomId) -> Option<Box<str>> {
        let followed = self.rooms.remove(&id)?;
        self.waiting_bytes -= followed.waiting_bytes();
        self.by_key.remove(&followed.key);
        // Another shard may have opened it since.
        if self.by_topic.get(&followed.topic) == Some(&id) {
            self.by_topic.remove(&followed.topic);
        }
        Some(followed.topic)
    }
}

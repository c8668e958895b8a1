//! What is said in rooms and not kept: to all who hear a room, or to one node.
//!
//! That nobody is in a room any more in which this node has lost its place is said until the engine
//! has taken it. Others would have whoever was there for a quarter of an hour else. If the room is
//! followed again by then, what is said of it is later, and this is of no account.

use std::collections::VecDeque;

use super::followed::{Followed, Stage};
#[cfg(test)]
use super::planted::{self, Planted};
use super::{Asked, Follower, RoomId, Ways};
use crate::link::engine::FromEngine;
use crate::link::ids::RoomKey;
use crate::link::log::Why;
use crate::side::engine::command::Command;

/// So many rooms are remembered of which that is to be said again. The audits of others make up for
/// those before them.
const PARTINGS_MAX: usize = 1_024;

/// What is to be said again, since the engine has not taken it: topics and records.
#[derive(Debug, Default)]
pub(super) struct Partings {
    waiting: VecDeque<(Box<str>, Vec<u8>)>,
    due_ms: u64,
}

impl Follower {
    /// Says something that is not kept.
    pub(super) fn say(
        &mut self,
        ways: &mut impl Ways,
        key: (u16, RoomKey),
        number: Option<u64>,
        to: Option<u64>,
        record: &[u8],
    ) {
        let id = self.by_key.get(&key).copied().filter(|_| self.is_connected);
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

    /// Says to all who hear a room, which is not followed here any more, that nobody is in it here.
    pub(super) fn part(&mut self, ways: &mut impl Ways, topic: &str, record: &[u8]) {
        #[cfg(test)]
        if planted::is(Planted::PartsUnsaid) {
            return;
        }
        let parting = (topic.into(), record.to_vec());
        if self.is_connected {
            self.say_parting(ways, parting);
        } else {
            self.keep_parting(parting);
        }
    }

    fn say_parting(&mut self, ways: &mut impl Ways, (topic, record): (Box<str>, Vec<u8>)) {
        let command = Command::Say { topic: topic.clone(), record: record.clone() };
        self.ask(ways, Asked::Part(topic, record), command);
    }

    /// Keeps what the engine has not taken, to be said again.
    pub(super) fn keep_parting(&mut self, parting: (Box<str>, Vec<u8>)) {
        let waiting = &mut self.partings.waiting;
        waiting.push_back(parting);
        if waiting.len() > PARTINGS_MAX {
            waiting.pop_front();
        }
    }

    /// Says again what is due. Returns when to come again, in milliseconds.
    pub(super) fn tick_partings(&mut self, ways: &mut impl Ways, now_ms: u64) -> u64 {
        if self.partings.waiting.is_empty() {
            return u64::MAX;
        }
        if now_ms >= self.partings.due_ms {
            self.partings.due_ms = now_ms + self.node.limits.ping_ms;
            for parting in std::mem::take(&mut self.partings.waiting) {
                self.say_parting(ways, parting);
            }
        }
        self.partings.due_ms
    }

    /// Tells a home that what it has said will not be heard, if it was not.
    pub(super) fn not_said(&mut self, ways: &mut impl Ways, id: RoomId, number: u64) {
        if let Some(followed) = self.rooms.get_mut(&id)
            && followed.says_no_more(number)
        {
            let (shard, why) = (followed.key.0, Why::Unavailable);
            ways.tell(shard, &FromEngine::Refused { number, why });
        }
    }
}

/// What is said to a node names the room first.
pub(super) fn topic_of(record: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = record.split_first_chunk::<2>()?;
    let (topic, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
    Some((std::str::from_utf8(topic).ok()?, rest))
}

/// What is said to a node about a room.
pub(super) fn to_node(topic: &str, record: &[u8]) -> Vec<u8> {
    let length = u16::try_from(topic.len()).expect("a topic is short");
    [&length.to_le_bytes(), topic.as_bytes(), record].concat()
}

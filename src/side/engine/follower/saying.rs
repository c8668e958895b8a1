//! What is said in rooms and not kept: to all who hear a room, or to one node.

use super::followed::{Followed, Stage};
#[cfg(test)]
use super::planted::{self, Planted};
use super::{Asked, Follower, RoomId, Ways};
use crate::link::engine::FromEngine;
use crate::link::ids::RoomKey;
use crate::link::log::Why;
use crate::side::engine::command::Command;

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
        if self.is_connected {
            let command = Command::Say { topic: topic.into(), record: record.to_vec() };
            self.ask(ways, Asked::Nothing, command);
        }
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

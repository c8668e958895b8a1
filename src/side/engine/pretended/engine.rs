//! A pretended engine, shared by all nodes that are given it: the model of the script, and a
//! replica that may lag.
//!
//! Deliberately absent: who is connected (`node`), and when something happens.

use super::model::{Meta, Model};
use super::{HISTORY, PARTITIONS};
use crate::link::facts::RoomKeep;
use crate::link::ids::Cursor;
use crate::link::log::Marks;
use crate::side::engine::command::{
    Append, Changed, Command, Failure, Head, Message, Pushed, Reply, State,
};
use crate::side::engine::follower::planted::{self, Planted};
use crate::side::engine::view::{Decided, Messages};

/// Something that is told to one node, or to all who hear it.
pub(crate) struct Push {
    pub(super) to: Option<u64>,
    pub(super) pushed: Pushed,
}

impl Push {
    /// Whether it tells what was appended to a room.
    pub(crate) fn is_news(&self) -> bool {
        matches!(self.pushed, Pushed::News { .. })
    }

    /// What somebody else says on the channel of a room.
    pub(crate) fn foreign(topic: &str) -> Self {
        Self::to_all(Pushed::Foreign { topic: Some(topic.into()) })
    }

    /// To all who hear it.
    fn to_all(pushed: Pushed) -> Self {
        Self { to: None, pushed }
    }
}

/// What there is of a room, and what it is to keep.
pub(crate) struct Holding {
    /// Up to where it has let go.
    pub(crate) gone: Marks,
    /// How far it has come.
    pub(crate) top: Marks,
    /// What it keeps by its own settings.
    pub(crate) own: RoomKeep,
    /// Its messages, the oldest first: the offset, when it was said in milliseconds of Unix time,
    /// and what it takes in bytes.
    pub(crate) messages: Vec<(u64, u64, u64)>,
}

/// See the module.
pub(crate) struct PretendedEngine {
    pub(super) model: Model,
    /// What its replica has.
    replica: Model,
    /// Its time, in milliseconds.
    pub(crate) now_ms: u64,
}

impl PretendedEngine {
    pub(crate) fn new() -> Self {
        Self { model: Model::new(HISTORY), replica: Model::new(HISTORY), now_ms: 1_000 }
    }

    /// On which of its histories it is.
    pub(crate) fn branch(&self) -> u64 {
        self.model.branch
    }

    /// The replica has all of it.
    pub(crate) fn replicate(&mut self) {
        self.replica = self.model.clone();
    }

    /// It is what its replica was, on another history.
    pub(crate) fn fail_over(&mut self) {
        let replica = self.replica.clone();
        self.model.fail_over(&replica);
        self.replicate();
    }

    /// Does what a node asks that was connected on one of its histories. Answers too what is told.
    pub(super) fn answer(
        &mut self,
        branch: u64,
        command: Command,
    ) -> (Result<Reply, Failure>, Vec<Push>) {
        let mut pushes = Vec::new();
        let reply = match command {
            Command::Append(append) => return self.append(append),
            Command::Look { topic } => self.model.look(&topic, branch),
            Command::Read { topic } => self.model.read(&topic, branch).map(Reply::State),
            Command::Say { topic, record } => {
                pushes.push(Push::to_all(Pushed::Said { topic, record }));
                Ok(Reply::Done)
            }
            Command::Lines { topic, before, count } => {
                let lines = self.model.lines(&topic, before);
                Ok(Reply::Lines(lines.into_iter().take(count as usize).collect()))
            }
            Command::Beat { node, life, lease_ms } => {
                Ok(self.model.beat(node, life, lease_ms, self.now_ms))
            }
            Command::List { partition, .. } => {
                let rooms = self.model.list(partition, PARTITIONS);
                Ok(Reply::Listed { cursor: 0, rooms })
            }
            Command::Forget { topics, .. } => {
                self.model.forget(&topics);
                Ok(Reply::Done)
            }
            Command::Age { topics, in_ms, .. } => {
                self.model.age(&topics, in_ms, self.now_ms);
                Ok(Reply::Done)
            }
            Command::Due { partition, count, again_ms } => {
                Ok(self.model.due((partition, PARTITIONS), (count, again_ms), self.now_ms))
            }
            Command::Leave { node, life } => {
                self.model.leave(node, life);
                Ok(Reply::Done)
            }
            Command::Tell { node, record } => {
                pushes.push(Push { to: Some(node), pushed: Pushed::Told { record } });
                // Whether anybody hears it is not known here.
                Ok(Reply::Heard(0))
            }
            // Whoever waits for replicas is answered when they have it.
            Command::Wait { replicas, .. } => {
                self.replicate();
                Ok(Reply::Replicas(replicas))
            }
            Command::Subscribe { .. }
            | Command::Unsubscribe { .. }
            | Command::HearList { .. }
            | Command::Ping => Ok(Reply::Done),
        };
        (reply, pushes)
    }

    /// Appends what a node, or a stranger, has to be kept.
    pub(super) fn append(&mut self, mut append: Append) -> (Result<Reply, Failure>, Vec<Push>) {
        self.spoil(&mut append);
        match self.model.append(&append, self.now_ms) {
            Ok((head, receipts, told)) => {
                let pushes = told.into_iter().map(Push::to_all).collect();
                (Ok(Reply::Appended { head, receipts }), pushes)
            }
            Err(failure) => (Err(failure), Vec::new()),
        }
    }

    /// Does to what is appended what a planted defect of the script would.
    fn spoil(&self, append: &mut Append) {
        use crate::side::engine::command::Act;
        let room = self.model.rooms.get(&append.topic);
        for entry in &mut append.entries {
            if planted::is(Planted::JudgedByIgnored) {
                entry.judged = None;
            }
            match &mut entry.act {
                Act::Change { offset, expected, .. } if planted::is(Planted::ExpectedIgnored) => {
                    let known = room.and_then(|room| room.changed.get(offset));
                    *expected = known.map_or(0, |known| known.change);
                }
                Act::Message { key } if planted::is(Planted::KeysIgnored) => *key = None,
                _ => {}
            }
        }
    }

    /// The topics of all rooms.
    pub(super) fn topics(&self) -> Vec<Box<str>> {
        self.model.rooms.keys().cloned().collect()
    }

    /// Up to where a room has let go of messages.
    pub(crate) fn gone(&self, topic: &str) -> Marks {
        head_of(&self.model, topic).map_or(Marks::default(), |head| head.gone)
    }

    /// What there is of a room by now.
    pub(crate) fn holding(&self, topic: &str) -> Holding {
        let state = State { head: None, is_current: true, ..self.state(topic) };
        let messages = Messages::of(topic, &state);
        let messages = messages.newest_first().map(|(offset, of)| (offset, of.at_ms, of.size()));
        let mut messages: Vec<_> = messages.collect();
        messages.reverse();
        let facts: Vec<_> = self.model.rooms.get(topic).map_or_else(Vec::new, |room| {
            room.facts.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
        });
        let decided = Decided::of(topic, &facts).expect("this version has written it");
        Holding { gone: self.gone(topic), top: self.top(topic), own: decided.keep(), messages }
    }

    /// The bodies of a room, as they are by now.
    pub(crate) fn bodies(&self, topic: &str) -> Vec<String> {
        let state = State { head: None, is_current: true, ..self.state(topic) };
        let messages = Messages::of(topic, &state);
        let gone = self.gone(topic);
        (gone.offset + 1..)
            .map_while(|offset| Some(messages.get(offset)?.said.body.to_owned()))
            .collect()
    }

    fn state(&self, topic: &str) -> State {
        let Some(room) = self.model.rooms.get(topic) else { return State::default() };
        let messages: Vec<Message> = room.messages.entries.values().cloned().collect();
        let changed: Vec<Changed> = room.changed.values().cloned().collect();
        State { messages, changed, ..State::default() }
    }

    /// Whether a room has all that a client with this cursor has heard.
    pub(crate) fn has(&self, topic: &str, cursor: Cursor) -> bool {
        let Cursor { epoch, offset, change } = cursor;
        let has = Marks { offset, change: change.unwrap_or_default() };
        head_of(&self.model, topic)
            .is_some_and(|head| head.epoch == epoch && has.is_within(head.top))
    }

    /// Up to where a room survives anything.
    pub(crate) fn durable(&self, topic: &str) -> Marks {
        head_of(&self.replica, topic).map_or(Marks::default(), |head| head.top)
    }

    /// Up to where a room has let go of messages, whatever happens.
    pub(crate) fn durably_gone(&self, topic: &str) -> Marks {
        head_of(&self.replica, topic).map_or(Marks::default(), |head| head.gone)
    }

    /// How far a room has come.
    pub(crate) fn top(&self, topic: &str) -> Marks {
        head_of(&self.model, topic).map_or(Marks::default(), |head| head.top)
    }
}

fn head_of<'a>(engine: &'a Model, topic: &str) -> Option<&'a Head> {
    match engine.rooms.get(topic)?.meta.as_ref()? {
        Meta::Ours(head, _) => Some(head),
        Meta::Foreign => None,
    }
}

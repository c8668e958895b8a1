//! A client that keeps what it has been told of a room, merged by the rule for clients.
//!
//! 1. `new_msg` is the next message, and `msg_changed` the next change: if a number is left out,
//!    something was lost;
//! 2. `msg_changed` is a patch: its fields replace mine, `null` removes; `append` adds to my body,
//!    if my message is as it was before that;
//! 3. messages in a page and in `changed` are whole and replace mine; of a tombstone that has
//!    nothing else I keep who said it and when;
//! 4. how often a message was answered follows from the messages that move the cursor: each in its
//!    thread behind the last one that counts is one more; of what a page says of it, that with the
//!    later `last` holds;
//! 5. all others only if their `change` is larger than mine; what I do not have I leave out,
//!    unless it is a page's.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

pub(crate) use super::judge::{epoch, number};
use crate::link::ids::Cursor;
use crate::link::log::Marks;

/// A message, field by field.
pub(crate) type Message = Map<String, Value>;

/// A client. See the module.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) topic: usize,
    pub(crate) epoch: u64,
    /// Up to where it has been told all.
    pub(crate) at: Marks,
    pub(crate) messages: BTreeMap<u64, Message>,
}

/// Reads an object.
pub(crate) fn object(json: &str) -> Message {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error} in {json}"))
}

/// The messages in a field of an answer; none, if there is no such field.
pub(crate) fn messages(response: &Message, name: &str) -> Vec<Message> {
    let list = response.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    list.into_iter()
        .map(|message| match message {
            Value::Object(message) => message,
            other => panic!("a message is an object: {other}"),
        })
        .collect()
}

/// A number in a message; 0 if it is not there.
pub(crate) fn of(message: &Message, name: &str) -> u64 {
    message.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// How often a message was answered, and by which one last.
pub(crate) fn replies(message: &Message) -> (u64, u64) {
    let number = |name| message.get("replies").and_then(|replies| replies[name].as_u64());
    (number("count").unwrap_or_default(), number("last").unwrap_or_default())
}

impl Reader {
    /// One that has joined, and had not been there before.
    pub(crate) fn joined(topic: usize, response: &str) -> Self {
        let at = Marks { offset: number(response, "offset"), change: number(response, "change") };
        let mut reader = Self { topic, epoch: epoch(response), at, messages: BTreeMap::new() };
        reader.read(&messages(&object(response), "messages"));
        reader
    }

    /// Where it stands, as it says when it comes back.
    pub(crate) fn cursor(&self) -> Cursor {
        let Marks { offset, change } = self.at;
        Cursor { epoch: self.epoch, offset, change: Some(change) }
    }

    /// It has come back. Returns whether it has all that it missed.
    pub(crate) fn rejoined(&mut self, response: &str) -> bool {
        let whole = object(response);
        if whole["recovered"] != true {
            *self = Self::joined(self.topic, response);
            return false;
        }
        let missed = messages(&whole, "messages");
        for message in &missed {
            self.count_reply(message);
        }
        let offsets: Vec<u64> = missed.iter().map(|message| of(message, "offset")).collect();
        let last = number(response, "offset");
        let expected: Vec<u64> = (self.at.offset + 1..=last).collect();
        assert_eq!(offsets, expected, "a recovery is exact");
        self.read(&missed);
        let had = messages(&whole, "changed");
        for message in &had {
            assert!(of(message, "offset") <= self.at.offset, "what changed is what it had");
        }
        self.merge_whole(
            had.iter()
                .filter(|message| self.messages.contains_key(&of(message, "offset")))
                .cloned()
                .collect(),
        );
        (self.epoch, self.at) =
            (epoch(response), Marks { offset: last, change: number(response, "change") });
        true
    }

    /// Hears `room_epoch`.
    pub(crate) fn turned(&mut self, payload: &str) {
        let at = Marks { offset: number(payload, "offset"), change: number(payload, "change") };
        assert_eq!(self.at, at, "a turn that ends no channel loses nothing");
        self.epoch = epoch(payload);
    }

    /// Hears `new_msg`.
    pub(crate) fn said(&mut self, message: &str) {
        let at = (epoch(message), number(message, "offset"));
        assert_eq!(at, (self.epoch, self.at.offset + 1), "no hole without a turn");
        self.at.offset += 1;
        self.count_reply(&object(message));
        self.messages.insert(self.at.offset, object(message));
    }

    /// Counts a message at the first one of its thread.
    fn count_reply(&mut self, message: &Message) {
        let Some(root) = self.messages.get_mut(&of(message, "thread")) else { return };
        let (count, last) = replies(root);
        let offset = of(message, "offset");
        if offset > last {
            root.insert("replies".to_owned(), json!({"count": count + 1, "last": offset}));
        }
    }

    /// Hears `msg_changed`. Returns the offset of the message.
    pub(crate) fn changed(&mut self, patch: &str) -> u64 {
        let patch = object(patch);
        let change = of(&patch, "change");
        assert_eq!(change, self.at.change + 1, "no change is left out without a turn");
        self.at.change = change;
        let offset = of(&patch, "offset");
        if let Some(mine) = self.messages.get_mut(&offset)
            && of(mine, "change") < change
        {
            let more = patch.get("append").and_then(Value::as_str).map(str::to_owned);
            if let Some(more) = more {
                if of(&patch, "prev") != of(mine, "change") {
                    // It would have to be fetched.
                    self.messages.remove(&offset);
                    return offset;
                }
                let whole = [mine["body"].as_str().unwrap_or_default(), &more].concat();
                mine.insert("body".to_owned(), whole.into());
            }
            let names = ["by", "prev", "append"];
            // Who has just reacted is for whoever keeps which reactions are its own.
            for (name, value) in patch.into_iter().filter(|(name, _)| !names.contains(&&**name)) {
                if value.is_null() {
                    mine.remove(&name);
                } else {
                    mine.insert(name, value);
                }
            }
        }
        offset
    }

    /// Is given a page.
    pub(crate) fn read(&mut self, page: &[Message]) {
        self.merge_whole(page.to_vec());
    }

    fn merge_whole(&mut self, messages: Vec<Message>) {
        for mut message in messages {
            let offset = of(&message, "offset");
            let Some(mine) = self.messages.get(&offset) else {
                self.messages.insert(offset, message);
                continue;
            };
            let (mine_counts, told) =
                (mine.get("replies").cloned(), message.get("replies").cloned());
            let counted = if replies(mine).1 < replies(&message).1 { told } else { mine_counts };
            if of(mine, "change") >= of(&message, "change") {
                message = mine.clone();
            }
            if let Some(counted) = counted {
                message.insert("replies".to_owned(), counted);
            }
            let is_tombstone = !message.contains_key("id");
            for name in ["at", "id", "name", "reply_to", "thread", "user"] {
                if let Some(kept) = mine.get(name).filter(|_| is_tombstone) {
                    message.insert(name.to_owned(), kept.clone());
                }
            }
            self.messages.insert(offset, message);
        }
    }
}

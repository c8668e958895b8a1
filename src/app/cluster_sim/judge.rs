//! What must be true of all that clients are told together, at whichever node:
//!
//! 1. an id names one message, whoever sees it;
//! 2. a key gives one receipt, and is on one message;
//! 3. what was acknowledged is at its replicas: no failover loses it;
//! 4. one change has one number;
//! 5. whoever is muted says nothing new, from the acknowledgement on, at any node.
//!
//! What may be gone of it is in `keeping`. What each client must see of its room by itself is in
//! `Reader`; that whoever comes is told what the engine has, in `site`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::client::{Asked, TOPICS};
use crate::link::log::Marks;
use crate::rooms::contract::reader::{Message, number, of};
use crate::side::engine::PretendedEngine;

/// Who has said a message.
pub(super) fn author(message: &Message) -> &str {
    message["user"].as_str().expect("an author")
}

/// A message that was acknowledged: its topic, author and key.
type Key = (usize, String, String);

/// See the module.
#[derive(Default)]
pub(super) struct Judge {
    /// What happened.
    pub(super) reached: BTreeSet<&'static str>,
    /// Counts what happens.
    pub(super) step: u64,
    /// The engine's time, in milliseconds.
    pub(super) now_ms: u64,
    /// What was seen under each id: its author, and the author's key.
    seen: BTreeMap<(usize, String), (String, String)>,
    /// Under which offset a message was acknowledged,
    messages: BTreeMap<Key, u64>,
    /// and under which number what was done to one.
    changes: BTreeMap<(usize, u64), Asked>,
    /// Who has reacted: the topic, the offset, the emoji, the user. With several in one change.
    reactions: BTreeSet<(usize, u64, &'static str, String)>,
    /// Since which step, and which time of the engine, somebody is muted,
    muted: BTreeMap<(usize, String), (u64, u64)>,
    /// unless it is to speak again: so many times that was asked for and not answered.
    unmuting: BTreeMap<(usize, String), u64>,
    /// Whether the engine has lost what may have been acknowledged.
    has_lost: bool,
    /// Up to where each room has let go of messages at most.
    pub(super) gone: [Marks; TOPICS.len()],
    /// Behind which offset a failover has brought back what was gone, at the least.
    pub(super) brought_back: [Option<u64>; TOPICS.len()],
}

impl Judge {
    /// A client is told a message, or shown it in a page.
    pub(super) fn sees(&mut self, topic: usize, message: &Message) {
        // Of a deleted one there is nothing left to compare.
        let Some(key) = message.get("key").and_then(Value::as_str) else { return };
        let id = message["id"].as_str().expect("an id").to_owned();
        let is = (author(message).to_owned(), key.to_owned());
        let seen = self.seen.entry((topic, id)).or_insert_with(|| is.clone());
        assert_eq!(*seen, is, "an id names one message: {message:?}");
    }

    /// Somebody is answered `ok`.
    pub(super) fn acked(
        &mut self,
        (topic, user): (usize, &str),
        asked: &Asked,
        since: u64,
        response: &str,
    ) {
        if self.has_lost {
            // A node may take for done what is lost, until it hears of the turn.
            return;
        }
        match asked {
            Asked::Message { key, .. } => {
                self.reached.insert("acked");
                let offset = number(response, "offset");
                let place = (topic, user.to_owned(), key.clone());
                let known = *self.messages.entry(place).or_insert(offset);
                assert_eq!(known, offset, "a key gives one receipt");
                let muted = self.muted.get(&(topic, user.to_owned()));
                // Of what was said before, a key may be answered later.
                let at_ms = number(response, "at");
                let is_before = |(step, now_ms): &(u64, u64)| since < *step || at_ms <= *now_ms;
                let is_before = muted.is_none_or(is_before);
                assert!(is_before, "whoever is muted says nothing: {user}, {response}");
            }
            Asked::Mute { user, on: true } => {
                self.reached.insert("muted");
                // Else nobody knows which of the two comes last.
                if !self.unmuting.contains_key(&(topic, user.clone())) {
                    let now = (self.step, self.now_ms);
                    self.muted.entry((topic, user.clone())).or_insert(now);
                }
            }
            Asked::Mute { on: false, .. } | Asked::Page { .. } => {}
            Asked::Keep(_) => {
                self.reached.insert("set to keep less");
            }
            Asked::React { offset, emoji } => {
                self.reached.insert("reacted");
                self.reactions.insert((topic, *offset, emoji, user.to_owned()));
            }
            Asked::Edit { .. } | Asked::Delete { .. } | Asked::Pin { .. } => {
                self.reached.insert(match asked {
                    Asked::Edit { .. } => "edited",
                    Asked::Delete { .. } => "deleted",
                    _ => "pinned",
                });
                let change = number(response, "change");
                if change == 0 {
                    // Nothing was pinned, so nothing was done.
                    return;
                }
                let other = self.changes.insert((topic, change), asked.clone());
                // What is pinned or deleted already is so by the change that has done it, and what
                // is not pinned by any. That may be answered later.
                let is_edit = |of: &Asked| matches!(of, Asked::Edit { .. });
                let are_two = is_edit(asked) && other.as_ref().is_some_and(is_edit);
                assert!(!are_two, "one change has one number: {other:?}, {asked:?}");
            }
        }
    }

    /// Somebody wants a user to speak again.
    pub(super) fn unmutes(&mut self, topic: usize, user: &str) {
        self.muted.remove(&(topic, user.to_owned()));
        *self.unmuting.entry((topic, user.to_owned())).or_default() += 1;
    }

    /// Somebody is answered who wanted that.
    pub(super) fn has_unmuted(&mut self, topic: usize, user: &str) {
        let place = (topic, user.to_owned());
        let count = self.unmuting.get_mut(&place).expect("it was asked for");
        *count -= 1;
        if *count == 0 {
            self.unmuting.remove(&place);
        }
    }

    /// The engine is about to become what its replica is. What is acknowledged is there, if
    /// that waits for replicas; else what is not there is known to be lost.
    pub(super) fn fails_over(&mut self, engine: &PretendedEngine, waits: bool) {
        for (topic, name) in TOPICS.iter().enumerate() {
            let kept = engine.durable(name);
            self.brings_back(topic, engine.durably_gone(name), engine.gone(name));
            if kept != engine.top(name) {
                self.reached.insert("lost what replicas had not");
            }
            if waits {
                self.check_kept(topic, kept);
            } else {
                self.messages.retain(|(of, ..), offset| *of != topic || *offset <= kept.offset);
                self.changes.retain(|(of, change), _| *of != topic || *change <= kept.change);
            }
        }
        if !waits {
            // Nobody knows which of them are lost.
            self.reactions.clear();
            self.muted.clear();
            self.has_lost = true;
        }
    }

    fn check_kept(&self, topic: usize, kept: Marks) {
        for ((of, user, key), offset) in &self.messages {
            let is_kept = *of != topic || *offset <= kept.offset;
            assert!(is_kept, "what is acknowledged is kept: {key} of {user}, {offset} of {kept:?}");
        }
        for ((of, change), asked) in &self.changes {
            let is_kept = *of != topic || *change <= kept.change;
            assert!(is_kept, "a change is kept: {asked:?}, {change} of {kept:?}");
        }
    }

    /// What there is of a room in the end has all that was acknowledged and is not gone, once.
    pub(super) fn check_end(&mut self, topic: usize, messages: &BTreeMap<u64, Message>) {
        let mut keys = BTreeSet::new();
        for message in messages.values() {
            self.sees(topic, message);
            let Some(key) = message.get("key") else { continue };
            let is_new = keys.insert((author(message), key.to_string()));
            assert!(is_new, "a key is on one message: {message:?}");
        }
        let gone = self.gone[topic].offset;
        let acked = self.messages.iter().filter(|((of, ..), _)| *of == topic);
        for ((_, user, key), offset) in acked.filter(|(_, offset)| **offset > gone) {
            let message = messages.get(offset).unwrap_or_else(|| panic!("{offset} is there"));
            let is_it = author(message) == user
                && message.get("key").is_none_or(|of| of.as_str() == Some(key));
            assert!(is_it, "what was acknowledged is there: {key} of {user} at {message:?}");
        }
        for ((_, change), asked) in self.changes.range((topic, 0)..(topic + 1, 0)) {
            let (Asked::Edit { offset, .. } | Asked::Delete { offset } | Asked::Pin { offset, .. }) =
                asked
            else {
                continue;
            };
            if *offset <= gone {
                continue;
            }
            let Some(message) = messages.get(offset) else {
                panic!("what was changed is there: {asked:?}, {change}");
            };
            let is_there = of(message, "change") >= *change;
            assert!(is_there, "what was done is there: {asked:?}, {change}: {message:?}");
            match asked {
                Asked::Edit { body, .. } if of(message, "change") == *change => {
                    assert_eq!(message["body"].to_string(), *body, "as it was edited");
                }
                Asked::Edit { .. } => {
                    let is_edited = message.contains_key("edited") || is_deleted(message);
                    assert!(is_edited, "an edit is not lost: {asked:?}: {message:?}");
                }
                Asked::Delete { .. } => {
                    assert!(is_deleted(message), "what is deleted stays so: {message:?}");
                }
                _ => {}
            }
        }
        let reacted = self.reactions.iter().filter(|(of, ..)| *of == topic);
        for (_, offset, emoji, user) in reacted.filter(|(_, offset, ..)| *offset > gone) {
            let message = &messages[offset];
            let users = message.get("reactions").map(|of| of[*emoji]["users"].to_string());
            let has = users.is_some_and(|users| users.contains(&format!("\"{user}\"")));
            let is_there = has || is_deleted(message);
            assert!(is_there, "no reaction is lost: {emoji} of {user} to {message:?}");
        }
    }
}

fn is_deleted(message: &Message) -> bool {
    message.contains_key("deleted")
}

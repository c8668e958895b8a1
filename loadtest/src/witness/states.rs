//! What has become of messages since they were said: their states, how members merge what they are
//! told of these (`docs/protocol.md`, 3.2.1), and what must be true of them in the end.
//!
//! A room counts the changes of its messages, beside its messages. A member has a cursor for these,
//! too: it is told of each change, in order and once, or of what has become of the messages
//! meanwhile.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::client::stamp::{self, Found};

/// What changes set in a message beside its body; the rest stays as it was said.
const FIELDS: [&str; 4] = ["deleted", "edited", "pinned", "reactions"];

/// A body, by the time in its stamp; 0 if it has none, as of a message that is deleted.
pub(crate) type Body = u64;

/// What has become of a message.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    /// The number of its latest change.
    change: u64,
    /// Its body, where a change has set it.
    body: Option<Body>,
    fields: Map<String, Value>,
}

/// A change of a message as a room tells it, or a message that has changed, as it is by now.
#[derive(Clone, Debug)]
pub(crate) struct Changed {
    /// The message's offset.
    pub(crate) offset: u64,
    /// What it sets; `null` removes.
    state: State,
}

impl Changed {
    /// Reads a change, or a message with its state. None of a message that has never changed.
    pub(crate) fn read(text: &str, run: u16) -> Option<Self> {
        let Ok(Value::Object(mut fields)) = serde_json::from_str(text) else { return None };
        let (change, offset) = (fields.get("change")?.as_u64()?, fields.get("offset")?.as_u64()?);
        let body = fields.get("body").and_then(Value::as_str).map(|body| body_of(body, run));
        fields.retain(|name, _| FIELDS.contains(&name.as_str()));
        Some(Self { offset, state: State { change, body, fields } })
    }

    /// The number of the change.
    pub(crate) fn number(&self) -> u64 {
        self.state.change
    }

    /// Whether the message is deleted by it.
    pub(crate) fn is_deleted(&self) -> bool {
        self.state.is_deleted()
    }
}

impl State {
    /// Whether the message is deleted.
    pub(crate) fn is_deleted(&self) -> bool {
        self.fields.contains_key("deleted")
    }

    /// Whether a user is told to have reacted.
    fn has_reacted(&self, user: &str, emoji: &str) -> bool {
        let users = self.fields.get("reactions").and_then(|all| all.get(emoji)?.get("users"));
        users.and_then(Value::as_array).is_some_and(|users| users.iter().any(|it| *it == *user))
    }
}

/// The body that a text has.
pub(crate) fn body_of(text: &str, run: u16) -> Body {
    match stamp::find(text.as_bytes(), run) {
        Found::Message(stamp) => stamp.due_ns,
        Found::Corrupt | Found::Nothing => 0,
    }
}

/// The states of a room's messages, by offset, as one reader has them.
#[derive(Clone, Debug, Default)]
pub(crate) struct States(BTreeMap<u64, State>);

impl States {
    /// Takes in a message as it is by now.
    pub(super) fn replace(&mut self, changed: &Changed) {
        let known = self.0.entry(changed.offset).or_default();
        if changed.number() > known.change {
            *known = State::default();
            self.merge(changed);
        }
    }

    /// Takes in a change.
    pub(super) fn merge(&mut self, changed: &Changed) {
        let known = self.0.entry(changed.offset).or_default();
        if changed.number() <= known.change {
            return;
        }
        known.change = changed.number();
        known.body = changed.state.body.or(known.body);
        for (name, value) in &changed.state.fields {
            if value.is_null() {
                known.fields.remove(name);
            } else {
                known.fields.insert(name.clone(), value.clone());
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// What has become of a message that was told with this body.
    pub(super) fn of(&self, offset: u64, body: Body) -> State {
        let mut state = self.0.get(&offset).cloned().unwrap_or_default();
        state.body.get_or_insert(body);
        state
    }

    /// Whether a message is deleted.
    pub(super) fn is_deleted(&self, offset: u64) -> bool {
        self.0.get(&offset).is_some_and(State::is_deleted)
    }
}

/// What is done to a message by who asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It gets another body, with the stamp of this time.
    Edit {
        /// When the edit was due.
        due_ns: u64,
    },
    /// It is deleted.
    Delete,
    /// A user reacts to it, or no longer does.
    React {
        /// Who.
        user: String,
        /// With what.
        emoji: &'static str,
        /// Whether it does.
        on: bool,
    },
}

/// What must be true of a message in the end: of each kind of deed the last one, and the epoch in
/// which it was acknowledged.
#[derive(Debug, Default)]
pub(super) struct Owed {
    edit: Option<(u64, u32)>,
    deleted: Option<u32>,
    /// By user and emoji.
    reactions: BTreeMap<(String, &'static str), (bool, u32)>,
}

impl Owed {
    /// A deed was acknowledged.
    pub(super) fn add(&mut self, deed: Deed, epoch: u32) {
        match deed {
            Deed::Edit { due_ns } => self.edit = Some((due_ns, epoch)),
            Deed::Delete => self.deleted = Some(epoch),
            Deed::React { user, emoji, on } => {
                self.reactions.insert((user, emoji), (on, epoch));
            }
        }
    }

    /// What is not so in a state: each in a sentence, with the epoch in which it was acknowledged.
    pub(super) fn missing(&self, state: &State) -> Vec<(String, u32)> {
        if let Some(epoch) = self.deleted {
            // Nothing else is left of it.
            let text = "it was deleted".to_owned();
            return if state.is_deleted() { Vec::new() } else { vec![(text, epoch)] };
        }
        let edit = self.edit.filter(|(due_ns, _)| state.body != Some(*due_ns));
        let edit = edit.map(|(_, epoch)| ("it was edited".to_owned(), epoch));
        let reactions = self.reactions.iter().filter_map(|((user, emoji), (on, epoch))| {
            let verb = if *on { "reacted" } else { "took a reaction back" };
            let is_so = state.has_reacted(user, emoji) == *on;
            (!is_so).then(|| (format!("{user} {verb}"), *epoch))
        });
        edit.into_iter().chain(reactions).collect()
    }
}

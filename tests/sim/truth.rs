//! What all clients together know: every message that was sent, every place at which one was seen,
//! every receipt.
//!
//! The clients report here what they read from their sockets. Whatever contradicts what somebody
//! has read before is a failure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::client::Deed;
use crate::faults::{self, ToldOf};
use crate::growing::{Pieces, base, check_pieces};
use crate::inviting::Invited;
use crate::merge::{change_of, comparable};
use crate::site::USERS;

/// Whom other nodes speak for.
pub(crate) const STRANGER: &str = "stranger";

/// A message that a client has sent, by its body, which no other message has.
#[derive(Debug)]
pub(crate) struct Said {
    user: usize,
    room: String,
    key: Option<String>,
    reply_to: Option<u64>,
    /// What else its author gave: `mentions` and `data`, if any.
    more: Value,
    /// The connection that it was sent on, and how many had been sent on it before; `None` if it
    /// was sent more than once.
    place: Option<(u64, u64)>,
    /// How often it was sent, and how often that was refused.
    sent: u32,
    refused: u32,
    /// Where it stands: the offset by epoch.
    stands: BTreeMap<String, u64>,
    /// How often the clock had been set back when it was sent, after its author's token had ended.
    too_late: Option<u64>,
    /// What its publisher was told first: the id, and when.
    receipt: Option<(String, u64)>,
    /// Whether it came behind what was said after it on the same connection.
    late: bool,
}

/// An edit that a client has sent, by its body, which no other has.
#[derive(Debug)]
struct Edit {
    room: String,
    offset: u64,
    is_refused: bool,
    is_seen: bool,
}

/// One life of a room.
#[derive(Debug, Default)]
pub(crate) struct Epoch {
    messages: BTreeMap<u64, Value>,
    /// Receipts: offset, body and time.
    acked: BTreeMap<u64, (String, u64)>,
    /// What was sent between an offset and the next, by members who were there all the time.
    between: BTreeMap<u64, Vec<String>>,
    /// The last offset that anybody has heard of.
    pub(crate) last: u64,
    /// What those who were in this epoch have read at each offset, whenever it was said.
    pub(crate) views: BTreeMap<u64, String>,
    /// The last change that anybody has heard of.
    pub(crate) last_change: u64,
    /// What was told under each change, and of which message.
    patches: BTreeMap<u64, Value>,
    /// The changes of each message that somebody has heard of.
    changes: BTreeMap<u64, BTreeSet<u64>>,
    /// What a message was by a change, by offset and change.
    states: BTreeMap<(u64, u64), Value>,
}

#[derive(Debug, Default)]
pub(crate) struct Truth {
    said: BTreeMap<String, Said>,
    edits: BTreeMap<String, Edit>,
    pub(crate) pieces: Pieces,
    /// Changes that were acknowledged: topic, offset and change, and what was done.
    pub(crate) acked_changes: Vec<(String, u64, u64, Deed)>,
    /// Custom events by the number in them: user, topic and event.
    customs: BTreeMap<String, (usize, String, String)>,
    epochs: BTreeMap<(String, String), Epoch>,
    /// What searches have found: topic, offset and body.
    pub(crate) found: Vec<(String, u64, String)>,
    /// Whether a log keeps what is said: an epoch may end while its room goes on.
    pub(crate) keeps: bool,
    /// The last offset that was told on the way to each audience, by shard and key.
    told: BTreeMap<(usize, [u8; 8]), u64>,
    /// Where what other nodes say stands: the id by topic and body.
    strangers: BTreeMap<(String, String), String>,
    /// How often things happened that a run should have seen.
    pub(crate) seen: BTreeMap<&'static str, u64>,
    /// How often the wall clock was set back: a token may be good again then.
    pub(crate) clock_sets: u64,
    /// Users who have gone on under another name, and say nothing more by the old one.
    pub(crate) renamed: BTreeMap<&'static str, &'static str>,
    /// Who was to be kicked, by the topics of the rooms.
    pub(crate) kicked: BTreeSet<(String, String)>,
    /// Who was said to type in which thread: topic, user and thread.
    pub(crate) typed: BTreeSet<(String, &'static str, Option<u64>)>,
    /// The invites that were made.
    pub(crate) invites: Vec<Invited>,
    /// Customs that were refused.
    refused_customs: BTreeSet<String>,
    /// The pages of history that were read last: the offsets in them, and whether there is more.
    pub(crate) pages: Vec<(Vec<u64>, bool)>,
}

fn offset_of(message: &Value) -> u64 {
    message["offset"].as_u64().expect("a message has an offset")
}

/// A message but for how often it was answered, which is no change of it.
fn without_replies(message: &Value) -> Value {
    let mut message = message.clone();
    message.as_object_mut().expect("a message is an object").remove("replies");
    message
}

fn time_of(message: &Value) -> u64 {
    message["at"].as_u64().expect("a message has a time")
}

/// Nothing in a message depends on who reads it.
fn check_shared(message: &Value) {
    for name in ["mine", "read", "unread"] {
        assert!(message.get(name).is_none(), "what is shared is the same for all: {message}");
    }
}

impl Truth {
    /// Nothing yet. Of a log that keeps rooms more is known, and more may happen.
    pub(crate) fn new(keeps: bool) -> Self {
        Self { keeps, ..Self::default() }
    }

    /// A record reaches another shard. Before a publisher is answered it is told its own message:
    /// on the way from the home, for a connection has two ways that are each in order.
    pub(crate) fn passed(&mut self, to: usize, record: &[u8]) {
        if !self.keeps {
            return;
        }
        match faults::told(record) {
            Some(ToldOf::Message { audience, offset }) => {
                self.told.insert((to, audience), offset);
            }
            Some(ToldOf::Receipt { audience, offset }) => {
                let told = self.told.get(&(to, audience)).copied().unwrap_or(u64::MAX);
                assert!(offset <= told, "ok comes after one's own message: {offset} of {told}");
            }
            Some(ToldOf::End { audience }) => {
                self.told.remove(&(to, audience));
            }
            None => {}
        }
    }

    pub(crate) fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// A client sends a message, perhaps again.
    pub(crate) fn say(
        &mut self,
        body: &str,
        user: usize,
        room: &str,
        key: Option<&str>,
        (reply_to, more): (Option<u64>, Value),
        place: (u64, u64),
    ) {
        let said = self.said.entry(body.to_owned()).or_insert_with(|| Said {
            user,
            room: room.to_owned(),
            key: key.map(str::to_owned),
            reply_to,
            more,
            place: Some(place),
            sent: 0,
            refused: 0,
            stands: BTreeMap::new(),
            too_late: None,
            receipt: None,
            late: false,
        });
        said.sent += 1;
        if said.sent > 1 {
            said.place = None;
        }
    }

    /// What was given with a message besides its body, when it was first sent.
    pub(crate) fn more_of(&self, body: &str) -> Value {
        self.said.get(body).map_or_else(|| json!({}), |said| said.more.clone())
    }

    /// The message that was just sent came after the end of its author's token.
    pub(crate) fn say_too_late(&mut self, body: &str) {
        let said = self.said.get_mut(body).expect("it was just said");
        // One that was sent in time as well may have been done then.
        said.too_late = (said.sent == 1).then_some(self.clock_sets);
    }

    /// A client was told that its message was refused.
    pub(crate) fn refuse(&mut self, body: &str) {
        let said = self.said.get_mut(body).expect("what is refused was said");
        said.refused += 1;
        assert!(
            said.refused < said.sent || said.stands.is_empty(),
            "a push is refused or done, never both: {body} stands at {:?}",
            said.stands
        );
    }

    /// A client sends an edit.
    pub(crate) fn edit(&mut self, body: &str, room: &str, offset: u64) {
        let room = room.to_owned();
        let edit = Edit { room, offset, is_refused: false, is_seen: false };
        self.edits.insert(body.to_owned(), edit);
    }

    /// A client was told that its edit was refused.
    pub(crate) fn refuse_edit(&mut self, body: &str) {
        let edit = self.edits.get_mut(body).expect("what is refused was sent");
        edit.is_refused = true;
        assert!(!edit.is_seen, "a push is refused or done, never both: {body}");
    }

    /// A body that a message has been given since it was said.
    fn check_edited(&mut self, topic: &str, offset: u64, body: &str) {
        check_pieces(&mut self.pieces, topic, offset, body);
        let body = base(body);
        let is_strangers = self.keeps && body.starts_with('s');
        if body.is_empty() || is_strangers || self.said.contains_key(body) {
            return;
        }
        let edit = self.edits.get_mut(body).unwrap_or_else(|| panic!("nobody has said {body}"));
        let place = (format!("room:{}", edit.room), edit.offset);
        assert_eq!((topic, offset), (&*place.0, place.1), "an edit is of its message: {body}");
        edit.is_seen = true;
        assert!(!edit.is_refused, "a push is refused or done, never both: {body}");
    }

    /// A client has heard `msg_changed`.
    pub(crate) fn changed(&mut self, topic: &str, epoch: &str, patch: &Value) {
        let (offset, change) = (offset_of(patch), change_of(patch));
        check_shared(patch);
        if let Some(body) = patch["body"].as_str() {
            self.check_edited(topic, offset, body);
        }
        if patch["deleted"].is_object() {
            self.saw("deleted");
        }
        self.reached_change(topic, epoch, change);
        let record = self.epoch(topic, epoch);
        record.changes.entry(offset).or_default().insert(change);
        let known = record.patches.entry(change).or_insert_with(|| patch.clone());
        assert_eq!(known, patch, "all members hear the same change");
        self.saw("changed");
    }

    /// A client has a message as it has become, which may have grown.
    pub(crate) fn grown(&mut self, topic: &str, message: &Value) {
        let body = message["body"].as_str().expect("a message has a body");
        check_pieces(&mut self.pieces, topic, offset_of(message), body);
    }

    /// What a client has made of a message that has changed, or was told of it.
    pub(crate) fn state(&mut self, topic: &str, epoch: &str, message: &Value) {
        let (offset, change) = (offset_of(message), change_of(message));
        let states = &mut self.epoch(topic, epoch).states;
        let message = without_replies(message);
        let known = states.entry((offset, change)).or_insert_with(|| message.clone());
        let (known, mine) = comparable(known, &message);
        assert_eq!(known, mine, "a message is the same for all by a change: {topic} at {offset}");
    }

    /// Somebody has heard that a room had come so far.
    pub(crate) fn reached_change(&mut self, topic: &str, epoch: &str, change: u64) {
        let epoch = self.epoch(topic, epoch);
        epoch.last_change = epoch.last_change.max(change);
    }

    /// The latest change of a message up to one, of those that were heard of.
    pub(crate) fn latest_change(&self, topic: &str, epoch: &str, offset: u64, upto: u64) -> u64 {
        let changes = self.known(topic, epoch).and_then(|epoch| epoch.changes.get(&offset));
        changes.and_then(|changes| changes.range(..=upto).next_back()).copied().unwrap_or_default()
    }

    pub(crate) fn epoch(&mut self, topic: &str, epoch: &str) -> &mut Epoch {
        self.epochs.entry((topic.to_owned(), epoch.to_owned())).or_default()
    }

    /// What is known of this life of a room.
    pub(crate) fn known(&self, topic: &str, epoch: &str) -> Option<&Epoch> {
        self.epochs.get(&(topic.to_owned(), epoch.to_owned()))
    }

    /// Somebody has heard that a room had come so far.
    pub(crate) fn reached(&mut self, topic: &str, epoch: &str, offset: u64) {
        let epoch = self.epoch(topic, epoch);
        epoch.last = epoch.last.max(offset);
    }

    /// A client has read a message of a room, live or from the history. Returns its offset.
    pub(crate) fn heard(&mut self, topic: &str, epoch: &str, message: &Value) -> u64 {
        check_shared(message);
        let (offset, message) = (offset_of(message), &without_replies(message));
        assert!(offset > 0, "offsets begin at 1: {message}");
        let body = message["body"].as_str().expect("a message has a body");
        let id = message["id"].as_str().expect("a message has an id");
        let (said_in, number) = id.split_once('-').expect("an id is epoch and offset");
        assert_eq!(number.parse(), Ok(offset), "an id is epoch and offset");
        if change_of(message) > 0 {
            self.reached(topic, epoch, offset);
            assert_eq!(body.is_empty(), message["deleted"].is_object(), "deleted is empty");
            self.check_edited(topic, offset, body);
            self.state(topic, epoch, message);
            return offset;
        }
        if self.keeps {
            self.reached(topic, epoch, offset);
            let views = &mut self.epoch(topic, epoch).views;
            let seen = views.entry(offset).or_insert_with(|| body.to_owned());
            assert_eq!(
                seen, body,
                "an offset has one message within an epoch: {offset} of {topic}"
            );
        }
        if self.keeps && message["user"] == STRANGER {
            let place = (topic.to_owned(), body.to_owned());
            let stands = self.strangers.entry(place).or_insert_with(|| id.to_owned());
            assert_eq!(stands, id, "a message stands in one place: {body}");
            self.place(topic, said_in, offset, message);
            return offset;
        }
        let said = self.said.get_mut(body).unwrap_or_else(|| panic!("nobody has said {body}"));
        let user = &USERS[said.user];
        assert_eq!(
            topic,
            format!("room:{}", said.room),
            "a message is heard where it was said: {body}"
        );
        assert!(said_in == epoch || self.keeps, "an id names the life of the room: {id}");
        assert_eq!(message["user"], user.id, "a message names who said it: {body}");
        let name = self.renamed.get(user.id).copied().unwrap_or(user.name);
        assert_eq!(message["name"], name, "and by which name: {body}");
        assert_eq!(message["reply_to"].as_u64(), said.reply_to, "and what it answers: {body}");
        for name in ["mentions", "data"] {
            assert_eq!(message[name], said.more[name], "a message has what was given: {body}");
        }
        assert!(
            said.refused < said.sent,
            "a push is refused or done, never both: {body} was refused and stands at {offset}"
        );
        assert!(
            said.too_late.is_none_or(|sets| said.sent > 1 || sets != self.clock_sets),
            "nobody speaks after its token ended: {body}"
        );
        let stands = *said.stands.entry(said_in.to_owned()).or_insert(offset);
        assert_eq!(stands, offset, "a message stands in one place: {body}");
        assert_eq!(message["key"].as_str(), said.key.as_deref(), "a message has its key: {body}");
        assert!(
            said.key.is_some() || said.stands.len() == 1,
            "and in one life of the room: {body} in {:?}",
            said.stands
        );
        self.place(topic, said_in, offset, message);
        offset
    }

    /// Whether a message answers another one, which may not be there.
    pub(crate) fn answers(&self, body: &str) -> bool {
        self.said.get(body).is_some_and(|said| said.reply_to.is_some())
    }

    /// Whether somebody here has said this in a room.
    pub(crate) fn is_said_in(&self, topic: &str, body: &str) -> bool {
        let of_room = |room: &str| topic == format!("room:{room}");
        self.said.get(body).is_some_and(|said| of_room(&said.room))
            || self.edits.get(body).is_some_and(|edit| of_room(&edit.room))
    }

    /// Notes where a message stands, and compares it with what stands there and beside it.
    fn place(&mut self, topic: &str, epoch: &str, offset: u64, message: &Value) {
        let record = self.epochs.entry((topic.to_owned(), epoch.to_owned())).or_default();
        record.last = record.last.max(offset);
        if let Some(known) = record.messages.get(&offset) {
            assert_eq!(known, message, "everybody sees the same message at {offset}");
            return;
        }
        if let Some((body, at)) = record.acked.get(&offset) {
            assert_eq!(
                message["body"], *body,
                "the message at {offset} is the one that was acknowledged there"
            );
            assert_eq!(time_of(message), *at, "at the time that was acknowledged");
        }
        if let Some((_, before)) = record.messages.range(..offset).next_back() {
            assert!(
                time_of(before) <= time_of(message),
                "time does not go back: {before} {message}"
            );
        }
        if let Some((_, after)) = record.messages.range(offset..).next() {
            assert!(time_of(message) <= time_of(after), "time does not go back: {message} {after}");
        }
        let body_of = |message: &Value| message["body"].as_str().expect("a body").to_owned();
        // That of other nodes has none here.
        let place_of = |message: &Value| self.said.get(&body_of(message))?.place;
        let mut late = Vec::new();
        if let Some((conn, number)) = place_of(message) {
            for (other_offset, other) in &record.messages {
                if let Some((other_conn, other_number)) = place_of(other)
                    && conn == other_conn
                {
                    let is_in_order = (number < other_number) == (offset < *other_offset);
                    if !is_in_order && self.keeps {
                        // So it may be with what was given up: its publisher must not be told `ok`.
                        late.push(body_of(if number < other_number { message } else { other }));
                        continue;
                    }
                    assert!(
                        is_in_order,
                        "what one connection says comes in the order in which it was said: {message} {other}"
                    );
                }
            }
        }
        for body in late {
            let said = self.said.get_mut(&body).expect("it was said");
            said.late = true;
            assert_eq!(
                said.receipt, None,
                "what one connection says comes in the order in which it was said: {body}"
            );
        }
        record.messages.insert(offset, message.clone());
    }

    /// A client was told that its message has been accepted.
    pub(crate) fn receipt(&mut self, topic: &str, body: &str, receipt: &Value) {
        let (offset, at) = (offset_of(receipt), time_of(receipt));
        let id = receipt["id"].as_str().expect("a receipt has an id");
        let (epoch, number) = id.split_once('-').expect("an id is epoch and offset");
        assert_eq!(number.parse(), Ok(offset), "an id is epoch and offset");
        let said = self.said.get_mut(body).expect("what is accepted was said");
        if self.keeps {
            let first = said.receipt.get_or_insert_with(|| (id.to_owned(), at));
            assert_eq!(*first, (id.to_owned(), at), "a key gives its first receipt: {body}");
            assert!(
                !said.late || said.sent > 1,
                "what one connection says comes in the order in which it was said: {body}"
            );
        }
        let stands = *said.stands.entry(epoch.to_owned()).or_insert(offset);
        assert_eq!(stands, offset, "a receipt says where the message stands: {body}");
        assert_eq!(topic, format!("room:{}", said.room));
        let record = self.epochs.entry((topic.to_owned(), epoch.to_owned())).or_default();
        record.last = record.last.max(offset);
        let known = record.acked.entry(offset).or_insert_with(|| (body.to_owned(), at));
        assert_eq!(*known, (body.to_owned(), at), "one receipt for one message, at whatever try");
        if let Some(message) = record.messages.get(&offset) {
            assert_eq!(
                message["body"], body,
                "the message at {offset} is the one that was acknowledged there"
            );
            assert_eq!(time_of(message), at, "at the time that was acknowledged");
        }
    }

    /// A client sends a custom event.
    pub(crate) fn say_custom(&mut self, number: &str, user: usize, topic: &str, event: &str) {
        self.customs.insert(number.to_owned(), (user, topic.to_owned(), event.to_owned()));
    }

    /// A client was told that its custom event was refused.
    pub(crate) fn refuse_custom(&mut self, number: &str) {
        self.refused_customs.insert(number.to_owned());
    }

    /// A client has read a custom event. `user` is what it says of its sender, if it can.
    pub(crate) fn heard_custom(
        &mut self,
        number: &str,
        topic: &str,
        event: &str,
        user: Option<&Value>,
    ) {
        let (sender, said_in, said_as) =
            self.customs.get(number).unwrap_or_else(|| panic!("nobody has sent {number}"));
        assert_eq!(
            (topic, event),
            (&**said_in, &**said_as),
            "an event is heard where it was sent: {number}"
        );
        if let Some(user) = user {
            assert_eq!(*user, USERS[*sender].id, "an event names who sent it: {number}");
        }
        assert!(
            !self.refused_customs.contains(number),
            "a push is refused or done, never both: {number}"
        );
    }

    /// A member was there from one offset to the next, and heard this in between: all members hear
    /// the same.
    pub(crate) fn heard_between(
        &mut self,
        topic: &str,
        epoch: &str,
        offset: u64,
        events: &[String],
    ) {
        let known =
            self.epoch(topic, epoch).between.entry(offset).or_insert_with(|| events.to_vec());
        assert_eq!(*known, events, "all members hear the same between {offset} and the next");
    }

    /// A member came after an offset was given out and before the next, and heard this.
    pub(crate) fn heard_since(&mut self, topic: &str, epoch: &str, offset: u64, events: &[String]) {
        if let Some(known) = self.epoch(topic, epoch).between.get(&offset) {
            assert!(
                known.ends_with(events),
                "who comes later hears the end of it: {known:?}, {events:?}"
            );
        }
    }
}

impl Truth {
    /// All of a room that was acknowledged: offset and body.
    pub(crate) fn acked(&self, topic: &str) -> impl Iterator<Item = (u64, &str)> {
        let epochs = self.epochs.iter().filter(move |((of, _), _)| of == topic);
        epochs
            .flat_map(|(_, epoch)| epoch.acked.iter().map(|(offset, (body, _))| (*offset, &**body)))
    }
}

impl Epoch {
    /// When a message was said, if that was heard.
    pub(crate) fn said_ms(&self, offset: u64) -> Option<u64> {
        self.messages.get(&offset).map(time_of)
    }

    /// The offsets above a number that were acknowledged or seen.
    pub(crate) fn kept_above(&self, offset: u64) -> BTreeSet<u64> {
        let seen = self.messages.range(offset + 1..).map(|(offset, _)| *offset);
        seen.chain(self.acked.range(offset + 1..).map(|(offset, _)| *offset)).collect()
    }
}

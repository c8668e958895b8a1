//! Messages that grow: what clients append to them, and what becomes of each piece.
//!
//! A body is what was said, or edited, and pieces behind it. No two pieces are the same, and none
//! has in it what begins another: so a body tells of what it was made.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::acts::Mouth;
use crate::client::{Ask, Client, Payload};
use crate::ears::Ears;
use crate::logs::LogKind;
use crate::merge::Has;
use crate::plan::Act;
use crate::world::{World, ledger_of};

/// What each piece begins with, and nothing else has in it.
const MARK: char = '+';

/// The longest time without a piece after which a message has ended when all rests, in seconds.
const STREAM_S_SHORT: u64 = 2;

/// Pieces that were sent, by their texts, which no two have in common.
pub(crate) type Pieces = BTreeMap<String, Piece>;

/// A piece that a client has sent.
#[derive(Debug)]
pub(crate) struct Piece {
    topic: String,
    offset: u64,
    /// The life of the room in which it was sent, and the connection, with how many were before.
    epoch: String,
    place: (u64, u64),
    is_refused: bool,
    is_answered: bool,
    is_seen: bool,
}

/// What a body was before it grew.
pub(crate) fn base(body: &str) -> &str {
    body.split(MARK).next().unwrap_or_default()
}

/// The pieces that it has grown by.
fn pieces(body: &str) -> impl Iterator<Item = String> {
    body.split(MARK).skip(1).map(|text| format!("{MARK}{text}"))
}

/// Looks at the pieces of a body: they are of its message, each once, and in order.
pub(crate) fn check_pieces(known: &mut Pieces, topic: &str, offset: u64, body: &str) {
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    for text in pieces(body) {
        let Some(piece) = known.get_mut(&text) else { panic!("nobody has appended {text}") };
        assert_eq!((&*piece.topic, piece.offset), (topic, offset), "a piece is of its message");
        let (conn, number) = piece.place;
        let before = last.insert(conn, number).unwrap_or_default();
        assert!(before < number, "a piece stands once, and in order: {text} in {body}");
        assert!(!piece.is_refused, "a push is refused or done, never both: {text}");
        piece.is_seen = true;
    }
}

impl Client {
    /// Appends to a message that grows, or begins one.
    pub(crate) fn grow(&mut self, mouth: &mut Mouth<'_>) {
        let topic = self.channel_or_topic(mouth);
        if !topic.starts_with("room:") {
            return;
        }
        let own = self.user().id;
        let grows = |of: &&Value| of["user"] == own && of["stream"] == true;
        let mine = self.has.get(&topic).into_iter().flat_map(Has::values).filter(grows);
        let mine: Vec<u64> = mine.filter_map(|message| message["offset"].as_u64()).collect();
        if mine.is_empty() && !self.draws.one_in(8) || self.draws.one_in(8) {
            self.said += 1;
            let body = format!("{}-{} grows \u{e9}\"", self.id, self.said);
            let payload = json!({"body": body, "stream": true});
            return self.say(mouth, &topic, &body, payload);
        }
        let offset = if mine.is_empty() || self.draws.one_in(12) {
            self.some_message(&topic)
        } else {
            *self.draws.pick(&mine)
        };
        self.append(mouth, &topic, offset);
    }

    /// Appends a piece, which may be the last one.
    pub(crate) fn append(&mut self, mouth: &mut Mouth<'_>, topic: &str, offset: u64) {
        self.said += 1;
        let padding = if self.draws.one_in(6) { self.draws.size(0, 300) } else { 0 };
        let piece = format!("{MARK}{}.{};\u{e9}\\{}", self.id, self.said, "y".repeat(padding));
        let mut payload = json!({"offset": offset, "text": piece});
        if self.draws.one_in(8) {
            payload["done"] = json!(true);
        }
        let epoch = self.cursors.get(topic).map(|cursor| cursor.epoch.clone()).unwrap_or_default();
        let serial = self.link.as_ref().map_or(0, |link| link.serial);
        let sent = Piece {
            topic: topic.to_owned(),
            offset,
            epoch,
            place: (serial, self.said),
            is_refused: false,
            is_answered: false,
            is_seen: false,
        };
        mouth.truth.pieces.insert(piece.clone(), sent);
        let ask = Ask::Append { offset, piece };
        self.push(mouth, topic, "msg_append", &Payload::Json(payload), Some(ask));
    }
}

impl Ears<'_> {
    /// Whether messages grow, or are reacted to, in this run: answers to that are collected.
    pub(crate) fn collects(&self) -> bool {
        self.plan.acts.iter().any(|(act, _)| matches!(act, Act::React | Act::Grow))
    }

    /// A piece was appended, and the message is so long by then.
    pub(crate) fn appended(&mut self, mine: Option<&Value>, piece: &str, response: &Value) {
        let bytes = response["bytes"].as_u64().expect("it says how long the message is");
        let known = self.truth.pieces.get_mut(piece).expect("what is answered was sent");
        known.is_answered = true;
        let body = mine.and_then(|message| message["body"].as_str()).unwrap_or_default();
        if let Some(at) = body.find(piece) {
            let upto = json!(body[..at + piece.len()]).to_string().len() as u64 - 2;
            assert_eq!(bytes, upto, "who appends is told how long it is by then: {body}");
        }
        self.truth.saw("appended");
    }

    /// A piece was refused.
    pub(crate) fn not_appended(&mut self, piece: &str) {
        let known = self.truth.pieces.get_mut(piece).expect("what is refused was sent");
        known.is_refused = true;
        assert!(!known.is_seen, "a push is refused or done, never both: {piece}");
    }
}

impl World {
    /// All pieces that were answered are in their messages, and none grows that nobody appends to.
    pub(crate) fn check_grown(&self, topic: &str) {
        let settings = &self.plan.settings;
        let history = &settings.history;
        // A turn lets go of what its lost changes were of, whatever the bounds.
        let is_in_memory = self.plan.log != LogKind::Engine
            && history.messages >= 1_000
            && history.room_bytes >= 512 * 1_024
            && !self.plan.forgets_rooms
            && ledger_of(&self.hosts, topic).is_none_or(|of| of.keep_ms(topic).is_none());
        let ends = is_in_memory && settings.chat.stream_s <= STREAM_S_SHORT;
        for (client, member) in self.members(topic) {
            for (offset, message) in client.has.get(topic).into_iter().flatten() {
                let grows = message["stream"] == true;
                assert!(!ends || !grows, "no message grows for ever: {message} in {topic}");
                if message["edited"].is_object() || message["deleted"].is_object() {
                    continue;
                }
                let body = message["body"].as_str().expect("a message has a body");
                // Where nothing is kept, another life of the room has other messages.
                let is_of = |piece: &Piece| {
                    let is_there = self.plan.log.keeps() || piece.epoch == member.epoch;
                    is_there && (&*piece.topic, piece.offset) == (topic, *offset)
                };
                let sent = self.truth.pieces.iter();
                for (text, _) in sent.filter(|(_, piece)| piece.is_answered && is_of(piece)) {
                    assert!(
                        body.contains(&**text),
                        "what was answered is appended: {text} to {body} in {topic}"
                    );
                }
            }
        }
    }
}

//! The plain model: what members are told, and what the log says is true.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use serde_json::Value;

use super::decided::{Invites, Question, check_room};
use super::ledger::Ledger;
use super::reactions::{Reaction, Reactions};
use super::reader::{Message, Reader, messages, object, of, replies};
use super::{Subject, TOPICS};
use crate::auth::level::Level;
use crate::base::arena::Key;
use crate::link::ids::{Asker, AudienceKey, Receipt, RoomKey};
use crate::link::log::{FromLog, View};
use crate::link::message::{push_message, text};
use crate::link::record::{From, ToMember};
use crate::link::said::{Fate, MessageText};
use crate::wire::json;
use crate::wire::phx::Payload;

/// What a member asked for.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Message {
        body: String,
        key: Option<String>,
        data: Option<String>,
        reply_to: Option<u64>,
        stream: bool,
    },
    /// More of a message that grows: perhaps the last of it.
    Append {
        offset: u64,
        text: String,
        is_last: bool,
    },
    /// Something is done to a message, and up to which change its member had heard then.
    Change {
        offset: u64,
        deed: Deed,
        since: u64,
    },
    /// Somebody reacts to a message, or does no longer.
    React(Reaction),
    Custom,
    /// Something of what is decided of the room.
    Decided(Question),
    /// A page, and up to where its reader had heard all when it asked.
    Page {
        view: View,
        from: From,
        limit: u32,
        heard: u64,
    },
    Leave,
}

/// What an edit makes of the data of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Data {
    Stays,
    Goes,
    Is(String),
}

/// What a member does to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Edit { body: String, data: Data },
    Delete,
    Pin(bool),
}

impl Deed {
    /// Whether it has been done to a message.
    fn is_done_to(&self, message: &MessageText) -> bool {
        let fate = message.fate();
        match self {
            Self::Edit { body, .. } => *message.said.body == **body && fate.edited.is_some(),
            Self::Delete => fate.deleted.is_some() && &*message.said.body == "\"\"",
            Self::Pin(on) => fate.pinned.is_some() == *on,
        }
    }
}

/// A change that was answered `ok`.
#[derive(Clone, Debug)]
pub(super) struct AckedChange {
    topic: usize,
    offset: u64,
    change: u64,
    deed: Deed,
}

/// A member, as it sees itself.
pub(super) struct Member {
    pub(super) topic: usize,
    pub(super) shard: u16,
    pub(super) room: RoomKey,
    pub(super) asker: Asker,
    pub(super) user: String,
    /// What its token allows.
    pub(super) level: Level,
    /// What is still to be answered, by its ref.
    pub(super) asked: VecDeque<(String, Asked)>,
    /// The number of the last of its own that came back.
    pub(super) last_own: u64,
    pub(super) is_leaving: bool,
}

/// A client that went away, with what it has.
#[derive(Clone)]
pub(super) struct Away {
    pub(super) reader: Reader,
    /// Whether it knows that messages change.
    pub(super) knows_changes: bool,
}

/// The model.
#[derive(Default)]
pub(super) struct Judge {
    pub(super) members: Vec<Member>,
    /// What the members of each topic and shard have been told, while somebody is there to hear
    /// all.
    pub(super) streams: BTreeMap<(usize, u16), Reader>,
    /// The truth of a log that has none: one that hears all, wherever it is told.
    pub(super) references: BTreeMap<usize, Reader>,
    /// What was told under each offset,
    pub(super) told: BTreeMap<(usize, u64, u64), String>,
    /// and under each change, by topic and epoch.
    patches: BTreeMap<(usize, u64, u64), String>,
    /// Messages of which members were told that they are deleted.
    pub(super) deleted: BTreeSet<(usize, u64)>,
    /// Messages that somebody has asked to change.
    pub(super) touched: BTreeSet<(usize, u64)>,
    /// The first receipt of each user's key, and the body that has it.
    pub(super) keys: HashMap<(usize, String, String), u64>,
    pub(super) acked: BTreeSet<(usize, u64, String)>,
    acked_changes: Vec<AckedChange>,
    pub(super) refused: BTreeSet<String>,
    pub(super) unconfirmed: BTreeSet<String>,
    pub(super) away: Vec<Away>,
    /// Own messages that came back behind later ones.
    pub(super) late: BTreeSet<u64>,
    /// Those who must hear that they are put out, by another home's decision,
    kicked: Vec<Asker>,
    /// and those who did.
    pub(super) put_out: Vec<Asker>,
    /// Whose channels end.
    pub(super) ended: Vec<(usize, u16)>,
    pub(super) seen: BTreeSet<&'static str>,
    pub(super) reactions: Reactions,
    pub(super) invites: Invites,
    /// How many messages may be pinned.
    pub(super) pins_max: usize,
}

/// How many clients are away.
const AWAY_MAX: usize = 24;

pub(super) fn audience(topic: usize, shard: u16) -> AudienceKey {
    Key::from_u64(9 << 32 | (topic as u64) << 8 | u64::from(shard))
}

/// A field of JSON, as it stands there.
pub(crate) fn field<'a>(json: &'a str, name: &str) -> &'a str {
    json::field(json, name).unwrap_or_else(|| panic!("{name} in {json}"))
}

pub(crate) fn number(json: &str, name: &str) -> u64 {
    field(json, name).parse().expect("a number")
}

/// The epoch in a message's id, or the one that is a field.
pub(crate) fn epoch(json: &str) -> u64 {
    let text = json::field(json, "id").or_else(|| json::field(json, "epoch")).expect("an epoch");
    u64::from_str_radix(&text[1..17], 16).expect("16 digits")
}

/// A message as a client has it, which was said in an epoch.
fn whole((epoch, offset): (u64, u64), message: &MessageText) -> Message {
    let mut out = Vec::new();
    let receipt = Receipt { offset, at_ms: message.at_ms };
    let fate = Fate { epoch: None, ..message.fate() };
    push_message(&mut out, epoch, receipt, &message.said.said(), &fate);
    object(text(&out))
}

/// What two have in common that know of one of them only that it was deleted.
fn tombstone(message: &Message) -> Message {
    let names = ["body", "change", "offset"];
    let mut tombstone: Message =
        names.iter().map(|name| ((*name).to_owned(), message[*name].clone())).collect();
    tombstone.insert("deleted".to_owned(), message.contains_key("deleted").into());
    tombstone
}

/// The number in a body or payload.
pub(super) fn own_number(text: &str) -> Option<u64> {
    let digits: String =
        text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    if text.contains('s') { None } else { digits.parse().ok() }
}

/// A message is answered as often as its log has answers up to the last one that counts, and that
/// is none before one that its reader has heard.
fn check_replies<L: Subject>(log: &L, reader: &Reader, mine: &Message) {
    let (root, topic) = (of(mine, "offset"), TOPICS[reader.topic]);
    let (count, last) = replies(mine);
    let is_heard = |of: &&Message| super::reader::of(of, "offset") <= reader.at.offset;
    let heard = reader.messages.values().filter(|message| of(message, "thread") == root);
    let heard = heard.filter(is_heard).map(|message| of(message, "offset")).max();
    let rule = "a message is answered as often as was heard";
    assert!(heard.is_none_or(|heard| heard <= last), "{rule}: {root} up to {last}, not {heard:?}");
    let is_its = |offset: &u64| {
        let said = log.state(topic, *offset, u64::MAX).map(|message| message.said);
        said.is_some_and(|said| said.thread == Some(root))
    };
    let answers: Vec<u64> = (root + 1..=last).filter(is_its).collect();
    let told = (answers.len() as u64, answers.last().copied().unwrap_or_default());
    assert_eq!((count, last), told, "a message is answered as often as its log has it: {root}");
}

impl Judge {
    pub(super) fn left(&mut self, member: &Member) {
        let is_there = |other: &Member| (other.topic, other.shard) == (member.topic, member.shard);
        if !self.members.iter().any(|other| other.asker != member.asker && is_there(other)) {
            self.streams.remove(&(member.topic, member.shard));
        }
    }

    pub(super) fn hear<L: Subject>(
        &mut self,
        log: &L,
        ledger: &mut Ledger,
        shard: u16,
        message: ToMember<'_>,
    ) {
        match message {
            ToMember::Deliver { audience, event, payload: Payload::Json(payload) } => {
                let topic = usize::try_from(audience.to_u64() >> 8 & 0xff).expect("small");
                match event {
                    "new_msg" => {
                        if log.shows_only_kept() {
                            let durable = log.durable(TOPICS[topic]);
                            let is_kept = number(payload, "offset") <= durable.offset;
                            assert!(is_kept, "what is heard is kept: {payload} of {durable:?}");
                        }
                        self.hear_message(log, topic, shard, payload);
                    }
                    "msg_changed" => {
                        if log.shows_only_kept() {
                            let durable = log.durable(TOPICS[topic]);
                            let is_kept = number(payload, "change") <= durable.change;
                            assert!(is_kept, "what is heard is kept: {payload} of {durable:?}");
                        }
                        self.hear_change(log, topic, shard, payload);
                    }
                    "room_changed" => {
                        let told = Value::Object(object(payload));
                        let given = ledger.of(TOPICS[topic]);
                        check_room(given, given.judged, topic, told);
                    }
                    "ping" => self.hear_own(topic, shard, number(payload, "n")),
                    "room_epoch" => {
                        self.seen.insert("turn");
                        if let Some(stream) = self.streams.get_mut(&(topic, shard)) {
                            stream.turned(payload);
                        }
                    }
                    _ => {}
                }
            }
            ToMember::Ended { audience, reason } => {
                assert_eq!(reason, "turned");
                self.seen.insert("ended");
                let topic = usize::try_from(audience.to_u64() >> 8 & 0xff).expect("small");
                if let Some(reader) = self.streams.remove(&(topic, shard)) {
                    self.goes_away(reader, true);
                }
                self.ended.push((topic, shard));
                self.forget_deleted(log);
            }
            ToMember::Reply { conn, slot, reference, status, response, .. } => {
                let Payload::Json(response) = response else { panic!("text") };
                let (index, asked) = self.take_asked(Asker { conn, slot }, reference);
                if let Asked::Decided(question) = asked {
                    let now_ms = ledger.now_ms;
                    let given = ledger.of(TOPICS[self.members[index].topic]);
                    let answered = (status, response);
                    return self.hear_decided::<L>(log, (given, now_ms), index, question, answered);
                }
                self.hear_reply(log, (index, asked), reference, status, response);
            }
            ToMember::Left { conn, slot, reference, .. } => {
                let (index, asked) = self.take_asked(Asker { conn, slot }, reference);
                assert!(matches!(asked, Asked::Leave));
                assert!(self.members[index].asked.is_empty(), "a leave is answered last");
                let member = self.members.remove(index);
                self.left(&member);
            }
            ToMember::Removed { conn, slot, .. } => {
                let asker = Asker { conn, slot };
                self.kicked.retain(|kicked| *kicked != asker);
                self.seen.insert("kicked");
                self.put_out.push(asker);
            }
            _ => {}
        }
    }

    /// The home hears this of its log: whoever is kicked by it must be put out.
    pub(super) fn expects(&mut self, message: &FromLog<'_>) {
        let FromLog::Entry { room, line: Some(line), .. } = message else { return };
        let line = line.line();
        let user = line.user.filter(|_| line.is_of_kick());
        let is_it = |member: &&Member| member.room == *room && Some(&*member.user) == user;
        self.kicked = self.members.iter().filter(is_it).map(|member| member.asker).collect();
    }

    /// All who were kicked have heard it.
    pub(super) fn check_kicked(&mut self) {
        let kicked = std::mem::take(&mut self.kicked);
        assert!(kicked.is_empty(), "whoever is kicked anywhere is put out: {kicked:?}");
    }

    pub(super) fn hear_message<L: Subject>(
        &mut self,
        log: &L,
        topic: usize,
        shard: u16,
        message: &str,
    ) {
        let (epoch, offset) = (epoch(message), number(message, "offset"));
        let body = field(message, "body");
        if let Some(stream) = self.streams.get_mut(&(topic, shard)) {
            stream.said(message);
        }
        if let Some(reference) = self.references.get_mut(&topic)
            && (reference.epoch, reference.at.offset + 1) == (epoch, offset)
        {
            reference.said(message);
        }
        self.sees(log, topic, &object(message));
        let told = self.told.entry((topic, epoch, offset)).or_insert_with(|| body.to_owned());
        assert_eq!(told, body, "an offset has one message");
        if let Some(own) = own_number(body).filter(|_| !self.unconfirmed.contains(body)) {
            self.hear_own(topic, shard, own);
        }
    }

    /// A message has become another one.
    fn hear_change<L: Subject>(&mut self, log: &L, topic: usize, shard: u16, patch: &str) {
        let (change, offset) = (number(patch, "change"), number(patch, "offset"));
        let parsed = object(patch);
        self.sees(log, topic, &parsed);
        let is_of_epoch = self.is_of_epoch(log, topic, shard);
        if is_of_epoch {
            self.check_by(log, topic, &parsed);
        }
        if parsed.get("deleted").is_some_and(|deleted| !deleted.is_null()) {
            self.seen.insert("deleted");
            if is_of_epoch {
                self.deleted.insert((topic, offset));
            }
        }
        if let Some(reference) = self.references.get_mut(&topic)
            && reference.at.change + 1 == change
        {
            reference.changed(patch);
        }
        let Some(stream) = self.streams.get_mut(&(topic, shard)) else { return };
        stream.changed(patch);
        let told = self.patches.entry((topic, stream.epoch, change));
        assert_eq!(told.or_insert_with(|| patch.to_owned()), patch, "a change is one change");
        self.seen.insert("changed");
        let stream = &self.streams[&(topic, shard)];
        if let Some(mine) = stream.messages.get(&offset) {
            self.check_message(log, stream, mine, "a client has what the log has");
        }
    }

    /// A client sees a message, or a change of one, in whatever frame.
    pub(super) fn sees<L: Subject>(&self, log: &L, topic: usize, message: &Message) {
        let Some(body) = message.get("body") else { return };
        let offset = of(message, "offset");
        // A turn that nobody has heard of yet may have lost that it was deleted.
        let latest = log.state(TOPICS[topic], offset, u64::MAX);
        let is_deleted = latest.is_none_or(|latest| latest.fate().deleted.is_some());
        let is_over = is_deleted && self.deleted.contains(&(topic, offset));
        assert!(!is_over || body == "", "a deleted body never appears again: {message:?}");
        let body = body.to_string();
        assert!(!self.refused.contains(&body), "what was refused is nowhere: {body}");
    }

    /// Whether the members on a shard have heard of all turns of a room. Until then the log may
    /// have other messages in the places that they know, and other changes under the same numbers.
    pub(super) fn is_of_epoch<L: Subject>(&self, log: &L, topic: usize, shard: u16) -> bool {
        let Some(stream) = self.streams.get(&(topic, shard)) else { return false };
        log.epoch(TOPICS[topic]).is_none_or(|epoch| epoch == stream.epoch)
    }

    /// Whether the log can tell a message as it was said.
    fn is_as_said<L: Subject>(&self, log: &L, topic: usize, offset: u64) -> bool {
        log.tells_states() || !self.touched.contains(&(topic, offset))
    }

    /// Sees all messages of an answer.
    pub(super) fn sees_all<L: Subject>(&self, log: &L, topic: usize, response: &str) {
        let response = object(response);
        for name in ["messages", "changed"] {
            for message in messages(&response, name) {
                self.sees(log, topic, &message);
            }
        }
    }

    /// Compares a message that a client has with the truth, as far as that is known.
    pub(super) fn check_message<L: Subject>(
        &self,
        log: &L,
        reader: &Reader,
        mine: &Message,
        rule: &str,
    ) {
        let (offset, topic) = (of(mine, "offset"), TOPICS[reader.topic]);
        if offset <= log.gone(topic) {
            // Clients hide what is too old.
            return;
        }
        // What was read may be ahead of what was heard.
        let change = reader.at.change.max(of(mine, "change"));
        let expected = if log.epoch(topic) == Some(reader.epoch) {
            let said_in = log.said_in(topic, offset);
            let state = said_in.zip(log.state(topic, offset, change));
            state.map(|(epoch, message)| whole((epoch, offset), &message))
        } else {
            let reference = self.references.get(&reader.topic);
            let is_it = |of: &&Reader| (of.epoch, of.at.change) == (reader.epoch, change);
            let known = reference.filter(is_it).and_then(|of| of.messages.get(&offset));
            known.cloned()
        };
        let (Some(mut expected), mut mine) = (expected, mine.clone()) else { return };
        let is_bare = |message: &Message| {
            message.get("deleted").and_then(Value::as_object).is_some_and(Message::is_empty)
        };
        if is_bare(&mine) || is_bare(&expected) {
            (mine, expected) = (tombstone(&mine), tombstone(&expected));
        } else if log.epoch(topic) == Some(reader.epoch) {
            check_replies(log, reader, &mine);
        }
        mine.remove("replies");
        expected.remove("replies");
        let ids = [mine.remove("id"), expected.remove("id")];
        assert_eq!(mine, expected, "{rule}: {topic} at {offset} by {change}");
        assert_eq!(ids[0], ids[1], "an id names the epoch of its message: {topic} at {offset}");
    }

    /// Compares all that a client has with the truth.
    pub(super) fn check_reader<L: Subject>(&self, log: &L, reader: &Reader, rule: &str) {
        for mine in reader.messages.values() {
            self.check_message(log, reader, mine, rule);
        }
    }

    /// Compares all that all have.
    pub(super) fn check_streams<L: Subject>(&self, log: &L) {
        for reader in self.streams.values() {
            self.check_reader(log, reader, "a client has what the log has");
        }
    }

    /// Somebody has joined: what it was told is the truth.
    pub(super) fn joined<L: Subject>(&mut self, log: &L, reader: &Reader) {
        let reference = self.references.get(&reader.topic);
        if reference.is_none_or(|reference| reference.epoch != reader.epoch) {
            self.references.insert(reader.topic, reader.clone());
            if !L::KEEPS {
                // It began anew, and remembers nothing.
                self.keys.retain(|(topic, ..), _| *topic != reader.topic);
                self.deleted.retain(|(topic, _)| *topic != reader.topic);
            }
        }
        self.check_reader(log, reader, "a page of a join is the truth");
    }

    /// A client goes away, and may come back.
    pub(super) fn goes_away(&mut self, reader: Reader, knows_changes: bool) {
        if self.away.len() >= AWAY_MAX {
            self.away.remove(0);
        }
        self.away.push(Away { reader, knows_changes });
    }

    /// Forgets deletes that were lost: such a message may be seen again.
    pub(super) fn forget_deleted<L: Subject>(&mut self, log: &L) {
        self.deleted.retain(|(topic, offset)| {
            let latest = log.state(TOPICS[*topic], *offset, u64::MAX);
            latest.is_some_and(|latest| latest.fate().deleted.is_some())
        });
    }

    /// What a member said comes back to it in the order in which it said it.
    pub(super) fn hear_own(&mut self, topic: usize, shard: u16, own: u64) {
        let is_its = |asked: &(String, Asked)| asked.0 == own.to_string();
        let its = self.members.iter_mut().find(|member| member.asked.iter().any(is_its));
        if let Some(member) = its.filter(|member| member.shard == shard) {
            assert_eq!(member.topic, topic, "what is said in a room stays there");
            if member.last_own > own {
                // So it may be if it was given up: its answer must say so.
                self.late.insert(own);
            }
            member.last_own = member.last_own.max(own);
        }
    }

    fn take_asked(&mut self, asker: Asker, reference: &str) -> (usize, Asked) {
        let index = self.members.iter().position(|member| member.asker == asker);
        let index = index.expect("only members are answered");
        let first = self.members[index].asked.front();
        let is_known = self.members[index].asked.iter().any(|(of, _)| of == reference);
        assert!(is_known, "nobody is answered what another asked: {reference}");
        assert!(first.is_some_and(|(of, _)| of == reference), "answers do not overtake");
        let (_, push) = self.members[index].asked.pop_front().expect("the first");
        (index, push)
    }

    pub(super) fn hear_reply<L: Subject>(
        &mut self,
        log: &L,
        (index, push): (usize, Asked),
        reference: &str,
        status: &str,
        response: &str,
    ) {
        let is_in_order = !self.late.contains(&reference.parse().expect("a number"));
        let is_doubtful = response.contains("unconfirmed");
        assert!(is_in_order || is_doubtful, "own messages come back in order: {reference}");
        let (body, key) = match push {
            Asked::Page { view, from, limit, heard } => {
                let Member { topic, shard, ref user, .. } = self.members[index];
                if self.ended.contains(&(topic, shard)) {
                    // Its channel has ended before that: what it had heard may be lost.
                    return;
                }
                if self.is_of_epoch(log, topic, shard) {
                    self.check_mine(log, (topic, &user.clone()), response);
                }
                let page = (from, limit, heard);
                if view == View::Room && !matches!(from, From::Around(_)) {
                    return self.hear_page(log, index, page, status, response);
                }
                return self.hear_view(log, index, (view, page), status, response);
            }
            Asked::Change { offset, deed: Deed::Pin(true), since }
                if response.contains("too_many") =>
            {
                return self.hear_too_many(log, index, offset, since, response);
            }
            Asked::Change { offset, deed, since: _ } => {
                return self.hear_done(log, index, (offset, deed), status, response);
            }
            Asked::Append { offset, text, is_last: _ } => {
                return self.hear_appended(log, index, (offset, &text), status, response);
            }
            Asked::React(reaction) => {
                return self.hear_reacted(log, index, reaction, status, response);
            }
            Asked::Message { body, key, .. } => (body, key),
            Asked::Custom | Asked::Decided(_) | Asked::Leave => return,
        };
        let (topic, user) = (self.members[index].topic, self.members[index].user.clone());
        if status == "error" {
            let reason = field(response, "reason");
            return match reason {
                "\"unconfirmed\"" => {
                    self.seen.insert("unconfirmed");
                    self.unconfirmed.insert(body);
                }
                // What it answers may have been lost since it was heard.
                "\"storage\"" | "\"unavailable\"" | "\"busy\"" | "\"invalid\"" => {
                    self.seen.insert("refused");
                    self.refused.insert(body);
                }
                other => panic!("{other}"),
            };
        }
        let (epoch, offset) = (epoch(response), number(response, "offset"));
        if self.is_of_epoch(log, topic, self.members[index].shard)
            && let Some(said_in) = log.said_in(TOPICS[topic], offset)
        {
            assert_eq!(epoch, said_in, "an id names the epoch of its message: {response}");
        }
        let told = self.told.get(&(topic, epoch, offset)).cloned();
        let mut said = body.clone();
        if let Some(key) = key {
            let first = self.keys.entry((topic, user, key)).or_insert(offset);
            if *first <= log.gone(TOPICS[topic]) {
                // Its key may be gone with it.
                *first = offset;
            }
            assert_eq!(*first, offset, "a key gives its first receipt");
            if let Some(told) = &told {
                said = told.clone();
            }
        } else {
            assert_eq!(told.as_ref(), Some(&body), "ok comes after one's own message");
        }
        if L::KEEPS {
            let durable = log.durable(TOPICS[topic]).offset;
            let is_kept = offset <= durable || log.may_lose_acked();
            assert!(is_kept, "ok comes after it is kept: {offset} of {durable}");
            if self.is_as_said(log, topic, offset)
                && let Some(kept) = log.said(TOPICS[topic], offset)
            {
                if told.is_some() {
                    assert_eq!(kept, said, "and what is kept is that");
                }
                self.acked.insert((topic, offset, kept));
            }
        }
        self.seen.insert("ok");
    }

    /// The answer to who appends to a message.
    fn hear_appended<L: Subject>(
        &mut self,
        log: &L,
        index: usize,
        (offset, text): (u64, &str),
        status: &str,
        response: &str,
    ) {
        let Member { topic, ref user, .. } = self.members[index];
        if status == "error" {
            let reason = field(response, "reason").trim_matches('"');
            let latest = log.state(TOPICS[topic], offset, u64::MAX);
            let is_own = latest.as_ref().map(|message| *message.said.user == **user);
            let reasons = ["unconfirmed", "storage", "unavailable", "busy", "invalid", "gone"];
            let is_its = reason == "not_yours" && is_own != Some(true) || reason == "too_late";
            assert!(reasons.contains(&reason) || is_its, "{response}");
            self.seen.insert("append refused");
            return;
        }
        self.seen.insert("appended");
        let durable = log.durable(TOPICS[topic]).change;
        let Some(kept) = log.state(TOPICS[topic], offset, durable) else { return };
        // Its author may have said it in another way since.
        let is_as_said = kept.fate().deleted.is_none() && kept.fate().edited.is_none();
        let is_there = kept.said.body.contains(text) || log.may_lose_acked() || !is_as_said;
        assert!(is_there, "what is appended is answered after it is kept: {text} {kept:?}");
    }

    /// The answer to who did something to a message.
    fn hear_done<L: Subject>(
        &mut self,
        log: &L,
        index: usize,
        (offset, deed): (u64, Deed),
        status: &str,
        response: &str,
    ) {
        let Member { topic, shard, ref user, level, .. } = self.members[index];
        let name = TOPICS[topic];
        let is_of_epoch = self.is_of_epoch(log, topic, shard);
        let latest = log.state(name, offset, u64::MAX).filter(|_| is_of_epoch);
        if status == "error" {
            let reason = field(response, "reason").trim_matches('"');
            let is_own = latest.as_ref().map(|message| *message.said.user == **user);
            match (reason, &deed) {
                ("unconfirmed", _) => {
                    self.seen.insert("change unconfirmed");
                    return;
                }
                ("storage" | "unavailable" | "busy" | "invalid", _) => {}
                ("not_yours", Deed::Edit { .. }) => assert_ne!(is_own, Some(true)),
                ("not_yours", Deed::Delete) => {
                    assert!(level < Level::Moderate, "who moderates deletes what others said");
                    assert_ne!(is_own, Some(true));
                }
                ("unauthorized", Deed::Pin(_)) => assert!(level < Level::Moderate),
                ("gone", _) => {
                    let is_deleted = latest.is_none_or(|of| of.fate().deleted.is_some());
                    let was_deleted = self.deleted.contains(&(topic, offset)) || is_deleted;
                    assert!(was_deleted || offset <= log.gone(name), "what is gone was deleted");
                }
                other => panic!("{other:?}"),
            }
            self.seen.insert(match reason {
                "not_yours" => "not yours",
                "gone" => "gone",
                "unauthorized" => "unauthorized",
                _ => "change refused",
            });
            if let Deed::Edit { body, .. } = deed {
                self.refused.insert(body);
            }
            return;
        }
        let change = number(response, "change");
        self.seen.insert("done");
        if change == 0 {
            // It was so already, as it was said.
            return;
        }
        if let Some(stream) = self.streams.get(&(topic, shard)) {
            let has_heard = stream.at.change >= change || log.epoch(name) != Some(stream.epoch);
            assert!(has_heard, "ok comes after one's own change: {change} of {:?}", stream.at);
        }
        if let Some(then) = log.state(name, offset, change) {
            let durable = log.durable(name).change;
            let is_kept = change <= durable || log.may_lose_acked();
            assert!(is_kept, "a change is answered after it is kept: {change} of {durable}");
            assert!(
                then.fate().change == change && deed.is_done_to(&then),
                "an answered change is that: {deed:?} {then:?}"
            );
            self.check_pin(log, topic, &deed, change);
            self.acked_changes.push(AckedChange { topic, offset, change, deed });
        }
    }

    /// Forgets what was answered `ok` and is not there any more, which its log has said may be.
    pub(super) fn forget_lost<L: Subject>(&mut self, log: &L) {
        let tops = TOPICS.map(|topic| log.top(topic));
        let count = self.acked.len();
        self.acked.retain(|(topic, offset, _)| *offset <= tops[*topic].offset);
        self.keys.retain(|(topic, ..), offset| *offset <= tops[*topic].offset);
        self.acked_changes.retain(|acked| acked.change <= tops[acked.topic].change);
        if self.acked.len() < count {
            self.seen.insert("lost");
        }
    }

    pub(super) fn check_acked<L: Subject>(&self, log: &L) {
        self.check_reactions(log);
        for (topic, offset, body) in &self.acked {
            if self.is_as_said(log, *topic, *offset) {
                let kept = log.said(TOPICS[*topic], *offset);
                assert_eq!(kept.as_ref(), Some(body), "what was answered `ok` is there for good");
            }
        }
        for AckedChange { topic, offset, change, deed } in &self.acked_changes {
            let then = log.state(TOPICS[*topic], *offset, *change);
            let is_there =
                then.as_ref().is_some_and(|of| of.fate().change == *change && deed.is_done_to(of));
            assert!(is_there, "an answered change is there for good: {deed:?} {change} {then:?}");
        }
    }
}

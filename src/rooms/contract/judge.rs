//! The plain model: what members are told, and what the log says is true.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::{Subject, TOPICS};
use crate::base::arena::Key;
use crate::link::ids::{Asker, AudienceKey, Cursor, RoomKey};
use crate::link::record::{From, ToMember};
use crate::wire::json;
use crate::wire::phx::Payload;

/// What a member asked for.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Message {
        body: String,
        key: Option<String>,
    },
    Custom,
    /// A page, and up to where its reader had heard all when it asked.
    Page {
        from: From,
        limit: u32,
        heard: u64,
    },
    Leave,
}

/// A member, as it sees itself.
pub(super) struct Member {
    pub(super) topic: usize,
    pub(super) shard: u16,
    pub(super) room: RoomKey,
    pub(super) asker: Asker,
    pub(super) user: String,
    /// What is still to be answered, by its ref.
    pub(super) asked: VecDeque<(String, Asked)>,
    /// The number of the last of its own that came back.
    pub(super) last_own: u64,
    pub(super) is_leaving: bool,
}

/// A client that went away, and the last messages that it had seen.
#[derive(Clone)]
pub(super) struct Away {
    pub(super) topic: usize,
    pub(super) cursor: Cursor,
    pub(super) bodies: Vec<String>,
}

/// The model.
#[derive(Default)]
pub(super) struct Judge {
    pub(super) members: Vec<Member>,
    /// By topic and shard: the epoch and the last offset, while somebody is there to hear all.
    pub(super) streams: BTreeMap<(usize, u16), (u64, u64)>,
    /// What was told under each offset.
    pub(super) told: BTreeMap<(usize, u64, u64), String>,
    /// The first receipt of each user's key, and the body that has it.
    pub(super) keys: HashMap<(usize, String, String), u64>,
    pub(super) acked: BTreeSet<(usize, u64, String)>,
    pub(super) refused: BTreeSet<String>,
    pub(super) unconfirmed: BTreeSet<String>,
    pub(super) away: Vec<Away>,
    /// Own messages that came back behind later ones.
    pub(super) late: BTreeSet<u64>,
    /// Whose channels end.
    pub(super) ended: Vec<(usize, u16)>,
    pub(super) seen: BTreeSet<&'static str>,
}

pub(super) fn audience(topic: usize, shard: u16) -> AudienceKey {
    Key::from_u64(9 << 32 | (topic as u64) << 8 | u64::from(shard))
}

/// A field of JSON, as it stands there.
pub(super) fn field<'a>(json: &'a str, name: &str) -> &'a str {
    json::field(json, name).unwrap_or_else(|| panic!("{name} in {json}"))
}

pub(super) fn number(json: &str, name: &str) -> u64 {
    field(json, name).parse().expect("a number")
}

/// The epoch in a message's id, or the one that is a field.
pub(super) fn epoch(json: &str) -> u64 {
    let text = json::field(json, "id").or_else(|| json::field(json, "epoch")).expect("an epoch");
    u64::from_str_radix(&text[1..17], 16).expect("16 digits")
}

/// The bodies of a list of messages.
pub(super) fn bodies(messages: &str) -> Vec<String> {
    let parts = messages.split("\"body\":").skip(1);
    parts.map(|part| part.split(",\"id\"").next().expect("a body").to_owned()).collect()
}

/// The number in a body or payload.
pub(super) fn own_number(text: &str) -> Option<u64> {
    let digits: String =
        text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    if text.contains('s') { None } else { digits.parse().ok() }
}

impl Judge {
    pub(super) fn left(&mut self, member: &Member) {
        let is_there = |other: &Member| (other.topic, other.shard) == (member.topic, member.shard);
        if !self.members.iter().any(|other| other.asker != member.asker && is_there(other)) {
            self.streams.remove(&(member.topic, member.shard));
        }
    }

    pub(super) fn hear<L: Subject>(&mut self, log: &L, shard: u16, message: ToMember<'_>) {
        match message {
            ToMember::Deliver { audience, event, payload: Payload::Json(payload) } => {
                let topic = usize::try_from(audience.to_u64() >> 8 & 0xff).expect("small");
                match event {
                    "new_msg" => {
                        if log.shows_only_kept() {
                            let (_, durable) = log.truth(TOPICS[topic]).expect("it keeps");
                            let is_kept = number(payload, "offset") <= durable as u64;
                            assert!(is_kept, "what is heard is kept: {payload} of {durable}");
                        }
                        self.hear_message(topic, shard, payload);
                    }
                    "ping" => self.hear_own(topic, shard, number(payload, "n")),
                    "room_epoch" => {
                        self.seen.insert("turn");
                        let stream = (epoch(payload), number(payload, "offset"));
                        self.streams.entry((topic, shard)).and_modify(|old| *old = stream);
                    }
                    _ => {}
                }
            }
            ToMember::Ended { audience, reason } => {
                assert_eq!(reason, "turned");
                self.seen.insert("ended");
                let topic = usize::try_from(audience.to_u64() >> 8 & 0xff).expect("small");
                self.streams.remove(&(topic, shard));
                self.ended.push((topic, shard));
            }
            ToMember::Reply { conn, slot, reference, status, response, .. } => {
                let Payload::Json(response) = response else { panic!("text") };
                self.hear_reply(log, Asker { conn, slot }, reference, status, response);
            }
            ToMember::Left { conn, slot, reference, .. } => {
                let (index, asked) = self.take_asked(Asker { conn, slot }, reference);
                assert!(matches!(asked, Asked::Leave));
                assert!(self.members[index].asked.is_empty(), "a leave is answered last");
                let member = self.members.remove(index);
                self.left(&member);
            }
            _ => {}
        }
    }

    pub(super) fn hear_message(&mut self, topic: usize, shard: u16, message: &str) {
        let (epoch, offset) = (epoch(message), number(message, "offset"));
        let body = field(message, "body");
        if let Some((of, last)) = self.streams.get_mut(&(topic, shard)) {
            assert_eq!((epoch, offset), (*of, *last + 1), "no hole without a turn");
            *last = offset;
        }
        let told = self.told.entry((topic, epoch, offset)).or_insert_with(|| body.to_owned());
        assert_eq!(told, body, "an offset has one message");
        if let Some(own) = own_number(body).filter(|_| !self.unconfirmed.contains(body)) {
            self.hear_own(topic, shard, own);
        }
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
        asker: Asker,
        reference: &str,
        status: &str,
        response: &str,
    ) {
        let (index, push) = self.take_asked(asker, reference);
        let is_in_order = !self.late.contains(&reference.parse().expect("a number"));
        let is_doubtful = response.contains("unconfirmed");
        assert!(is_in_order || is_doubtful, "own messages come back in order: {reference}");
        if let Asked::Page { from, limit, heard } = push {
            return self.hear_page(index, (from, limit, heard), status, response);
        }
        let Asked::Message { body, key } = push else { return };
        let (topic, user) = (self.members[index].topic, self.members[index].user.clone());
        if status == "error" {
            let reason = field(response, "reason");
            return match reason {
                "\"unconfirmed\"" => {
                    self.seen.insert("unconfirmed");
                    self.unconfirmed.insert(body);
                }
                "\"storage\"" | "\"unavailable\"" | "\"busy\"" => {
                    self.seen.insert("refused");
                    self.refused.insert(body);
                }
                other => panic!("{other}"),
            };
        }
        let (epoch, offset) = (epoch(response), number(response, "offset"));
        let told = self.told.get(&(topic, epoch, offset)).cloned();
        let mut said = body.clone();
        if let Some(key) = key {
            let first = self.keys.entry((topic, user, key)).or_insert(offset);
            assert_eq!(*first, offset, "a key gives its first receipt");
            if let Some(told) = &told {
                said = told.clone();
            }
        } else {
            assert_eq!(told.as_ref(), Some(&body), "ok comes after one's own message");
        }
        if let Some((truth, durable)) = log.truth(TOPICS[topic]) {
            let at = usize::try_from(offset).expect("few");
            let is_kept = at <= durable || log.may_lose_acked();
            assert!(is_kept, "ok comes after it is kept: {offset} of {durable}");
            if told.is_some() {
                assert_eq!(truth[at - 1], said, "and what is kept is that");
            }
            self.acked.insert((topic, offset, truth[at - 1].clone()));
        }
        self.seen.insert("ok");
    }

    /// A page: next to what was asked, and nothing in it that is not true.
    fn hear_page(
        &mut self,
        index: usize,
        (from, limit, heard): (From, u32, u64),
        status: &str,
        response: &str,
    ) {
        if status == "error" {
            let reason = field(response, "reason");
            assert!(["\"storage\"", "\"busy\""].contains(&reason), "{reason}");
            self.seen.insert("page refused");
            return;
        }
        self.seen.insert("page");
        let page = field(response, "messages");
        let messages: Vec<String> = page
            .split("{\"at\":")
            .skip(1)
            .map(|part| format!("{{\"at\":{}", part.trim_end_matches([']', ','])))
            .collect();
        assert!(
            messages.len() <= usize::try_from(limit).expect("few"),
            "a page is as long as asked"
        );
        let offsets: Vec<u64> = messages.iter().map(|message| number(message, "offset")).collect();
        assert!(offsets.is_sorted_by(|a, b| a + 1 == *b), "a page has no hole: {offsets:?}");
        let (first, last) = (offsets.first().copied(), offsets.last().copied());
        let more = field(response, "more") == "true";
        match from {
            From::Before(offset) => {
                assert!(last.is_none_or(|last| last < offset), "a page is what was asked for");
                let has_all = offset < 2 || offset - 1 > heard || last == Some(offset - 1);
                assert!(
                    has_all,
                    "a page has all that its reader has heard: {last:?} before {offset} of {heard}"
                );
                assert_eq!(more, first.is_some_and(|first| first > 1), "more is true: {response}");
            }
            From::Latest => {
                assert!(
                    last.unwrap_or_default() >= heard,
                    "a page has all that its reader has heard"
                );
                assert_eq!(more, first.is_some_and(|first| first > 1), "more is true: {response}");
            }
            From::After(offset) => {
                assert!(first.is_none_or(|first| first > offset), "a page is what was asked for");
                let has_all = offset >= heard || first == Some(offset + 1);
                assert!(
                    has_all,
                    "a page has all that its reader has heard: {first:?} after {offset} of {heard}"
                );
            }
        }
        let topic = self.members[index].topic;
        for (message, offset) in messages.iter().zip(offsets) {
            let body = field(message, "body");
            let told =
                self.told.entry((topic, epoch(message), offset)).or_insert_with(|| body.to_owned());
            assert_eq!(told, body, "an offset has one message");
        }
    }

    /// Forgets what was answered `ok` and is not there any more, which its log has said may be.
    pub(super) fn forget_lost<L: Subject>(&mut self, log: &L) {
        let lasts = TOPICS.map(|topic| log.truth(topic).map_or(0, |(truth, _)| truth.len() as u64));
        let count = self.acked.len();
        self.acked.retain(|(topic, offset, _)| *offset <= lasts[*topic]);
        self.keys.retain(|(topic, ..), offset| *offset <= lasts[*topic]);
        if self.acked.len() < count {
            self.seen.insert("lost");
        }
    }

    pub(super) fn check_acked<L: Subject>(&self, log: &L) {
        for (topic, offset, body) in &self.acked {
            let (truth, _) = log.truth(TOPICS[*topic]).expect("it keeps");
            let at = usize::try_from(*offset).expect("few") - 1;
            assert_eq!(truth.get(at), Some(body), "what was answered `ok` is there for good");
        }
    }
}

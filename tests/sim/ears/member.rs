//! What a client hears in one topic, and what it has made of that by then.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::client::{Cursor, Member, Payload, Pending};
use crate::logs::LogKind;
use crate::merge::{self, Has, change_of};
use crate::plan::AROUND_BODY_BYTES;
use crate::site::User;
use crate::truth::STRANGER;
use crate::world::ledger_of;

use super::Ears;
use super::granted::check_fresh;
use super::heard::Heard;

impl Member {
    pub(super) fn new(pending: &Pending, visible: bool) -> Self {
        Self {
            join_ref: pending.join_ref.clone(),
            epoch: String::new(),
            last: 0,
            change: 0,
            deleted: std::collections::BTreeSet::new(),
            visible,
            fold: crate::presence::Fold::default(),
            count: None,
            since_last: Vec::new(),
            since_whole: false,
            customs: std::collections::BTreeSet::new(),
            meta: None,
            asked_ms: pending.asked_ms,
            typing: BTreeMap::new(),
            rooms: BTreeMap::new(),
            asked: pending.asked,
            settings: Value::Null,
            you: Value::Null,
        }
    }

    /// The answer to the join of a room.
    pub(super) fn joined(
        &mut self,
        ears: &mut Ears<'_>,
        user: &'static User,
        room: &str,
        since: Option<&Cursor>,
        limit: Option<u64>,
        response: &Value,
    ) {
        let topic = &*format!("room:{room}");
        assert_eq!(response["room"]["room"], room);
        assert_eq!(response["you"]["user"], user.id);
        assert_eq!(response["you"]["name"], user.name);
        self.told_room(ears, topic, &response["room"]);
        self.told_you(ears, user, topic, &response["you"]);
        response["epoch"].as_str().expect("a room has an epoch").clone_into(&mut self.epoch);
        self.last = response["offset"].as_u64().expect("a room has an offset");
        self.change = response["change"].as_u64().expect("a room counts its changes");
        ears.truth.reached(topic, &self.epoch, self.last);
        ears.truth.reached_change(topic, &self.epoch, self.change);
        check_fresh(ears, topic, &self.epoch, self.change, response);
        let messages = response["messages"].as_array().expect("a join has messages");
        let offsets: Vec<u64> =
            messages.iter().map(|message| ears.truth.heard(topic, &self.epoch, message)).collect();
        assert!(
            offsets.is_sorted_by(|a, b| a + 1 == *b),
            "a page has no gaps: {topic} {offsets:?}"
        );
        if let Some(last) = offsets.last() {
            assert_eq!(*last, self.last, "a page is up to date: {topic}");
        }
        let recovered = response["recovered"].as_bool().expect("a join says whether it recovers");
        if recovered {
            ears.truth.saw("recovered");
            let Cursor { epoch, offset, .. } = since.expect("only a cursor can be recovered");
            if *epoch != self.epoch {
                assert!(ears.plan.log.keeps(), "only within a life of the room");
                ears.truth.saw("recovered over a turn");
                let seen = ears.truth.epoch(topic, epoch).views.clone();
                let there = &ears.truth.epoch(topic, &self.epoch).views;
                for (at, body) in seen.range(..=*offset) {
                    let is_there = there.get(at).is_none_or(|there| there == body);
                    assert!(is_there, "a recovery is exact: {topic} since {offset}, at {at}");
                }
            }
            let missed: Vec<u64> = (offset + 1..=self.last).collect();
            assert_eq!(
                offsets, missed,
                "a recovery is all that was missed: {topic} since {offset}"
            );
        } else {
            assert!(offsets.len() as u64 <= limit.unwrap_or(50), "a page is no longer than asked");
            if since.is_some() {
                ears.truth.saw("not recovered");
            }
            let history = &ears.plan.settings.history;
            let room_bytes = history.room_bytes.min(history.page_bytes);
            let message_bytes = ears.plan.body_bytes + AROUND_BODY_BYTES;
            // Once all is well, a log gives all that fits, however old.
            let (memory_max, room_bytes) = if ears.calm && ears.plan.log.keeps() {
                (u64::MAX, history.page_bytes)
            } else {
                (u64::from(history.messages), room_bytes)
            };
            if let Some(Cursor { epoch, offset, change }) = since
                && *epoch == self.epoch
                && *offset <= self.last
                && !ears.plan.forgets_rooms
                && ledger_of(ears.hosts, topic).is_none_or(|of| of.keep_ms(topic).is_none())
                // Which messages were changed may be forgotten.
                && change.is_none_or(|change| change == self.change)
            {
                let logs = ears.hosts.iter().map(|host| host.net.log.highest(topic));
                let missed = logs.fold(self.last, u64::max) - offset;
                assert!(
                    missed > memory_max || missed * message_bytes as u64 > room_bytes as u64,
                    "what is kept can be recovered: {topic} since {offset} of {}",
                    self.last
                );
            }
        }
    }

    /// A message of the room: the next one.
    pub(super) fn said(&mut self, ears: &mut Ears<'_>, topic: &str, message: &Value) {
        if ears.plan.log == LogKind::SeenIsKept {
            let offset = message["offset"].as_u64().expect("a message has a place");
            let kept = ears.hosts.iter().map(|host| host.net.log.durable(topic).offset).max();
            assert!(Some(offset) <= kept, "what is heard is kept: {offset} of {kept:?} in {topic}");
        }
        let offset = ears.truth.heard(topic, &self.epoch, message);
        assert_eq!(offset, self.last + 1, "no member misses an offset, or sees one twice: {topic}");
        let events = std::mem::take(&mut self.since_last);
        if self.since_whole {
            ears.truth.heard_between(topic, &self.epoch, self.last, &events);
        } else {
            ears.truth.heard_since(topic, &self.epoch, self.last, &events);
        }
        self.since_whole = true;
        self.last = offset;
    }

    /// Where it stands.
    pub(super) fn cursor(&self, knows_changes: bool) -> Cursor {
        let change = knows_changes.then_some(self.change);
        Cursor { epoch: self.epoch.clone(), offset: self.last, change }
    }

    /// A message of the room has become another one.
    pub(super) fn changed(&mut self, ears: &mut Ears<'_>, topic: &str, patch: &Value) {
        let change = change_of(patch);
        assert_eq!(
            change,
            self.change + 1,
            "no member misses a change, or sees one twice: {topic}"
        );
        if ears.plan.log == LogKind::SeenIsKept {
            let kept = ears.hosts.iter().map(|host| host.net.log.durable(topic).change).max();
            assert!(Some(change) <= kept, "what is heard is kept: {change} of {kept:?} in {topic}");
        }
        self.change = change;
        ears.truth.changed(topic, &self.epoch, patch);
        if patch["deleted"].is_object() {
            self.deleted.extend(patch["offset"].as_u64());
        }
    }

    /// Of a message of which it has heard that it is deleted it is told nothing any more.
    pub(super) fn check_deleted(&self, topic: &str, told: &Value) {
        let text = |name: &str| told[name].as_str().unwrap_or_default();
        let says = !text("body").is_empty() || !text("append").is_empty();
        let is_deleted = told["offset"].as_u64().is_some_and(|of| self.deleted.contains(&of));
        assert!(
            !says || !is_deleted,
            "a deleted body is in no frame after that: {told} in {topic}"
        );
        // Another life of the room has other messages.
        let is_another = |epoch: &str| epoch != self.epoch;
        if told["epoch"].as_str().is_some_and(is_another) {
            return;
        }
        for name in ["response", "messages", "changed"] {
            match &told[name] {
                Value::Array(all) => all.iter().for_each(|one| self.check_deleted(topic, one)),
                one @ Value::Object(_) => self.check_deleted(topic, one),
                _ => {}
            }
        }
    }

    /// A client that knows that messages change takes what its join has told it.
    pub(super) fn merge_joined(
        &self,
        ears: &mut Ears<'_>,
        topic: &str,
        has: &mut Has,
        response: &Value,
    ) {
        if response["recovered"] != true {
            has.clear();
        }
        for message in response["messages"].as_array().into_iter().flatten() {
            if response["recovered"] == true {
                merge::count_reply(has, message);
            }
            merge::whole(has, message, true);
        }
        for message in response["changed"].as_array().into_iter().flatten() {
            ears.truth.saw("changed meanwhile");
            if message.get("id").is_some() {
                ears.truth.heard(topic, &self.epoch, message);
            }
            merge::whole(has, message, false);
        }
        for (offset, mine) in has {
            let latest = ears.truth.latest_change(topic, &self.epoch, *offset, self.change);
            assert!(
                change_of(mine) >= latest,
                "who recovers has all that changed: {latest} of {mine} in {topic}"
            );
        }
    }

    /// The room goes on in a new epoch, and has lost nothing that anybody here has seen.
    pub(super) fn turned(&mut self, ears: &mut Ears<'_>, topic: &str, told: &Value) {
        assert!(ears.plan.log.keeps(), "only a log that keeps can turn");
        assert_eq!(told["offset"], self.last, "a turn that ends no channel loses nothing: {topic}");
        assert_eq!(told["change"], self.change, "nor a change");
        told["epoch"].as_str().expect("it says which").clone_into(&mut self.epoch);
        ears.truth.reached(topic, &self.epoch, self.last);
        ears.truth.reached_change(topic, &self.epoch, self.change);
        ears.truth.saw("turned without a loss");
    }

    /// The answer to the join of the lobby.
    pub(super) fn lobby(&mut self, user: &User, response: &Value) {
        let rooms = response["rooms"].as_array().expect("the lobby lists rooms");
        assert_eq!(response["total"], rooms.len());
        for room in rooms {
            self.list(user, room);
        }
    }

    fn list(&mut self, user: &User, room: &Value) {
        let name = room["room"].as_str().expect("a room has a name");
        assert!(
            user.may_join(name),
            "the lobby shows only what may be seen: {name} to {}",
            user.id
        );
        self.rooms.insert(name.to_owned(), room.clone());
    }

    pub(super) fn rooms_changed(&mut self, user: &User, change: &Value) {
        for room in change["changed"].as_array().expect("a list") {
            self.list(user, room);
        }
        for room in change["removed"].as_array().expect("a list") {
            let name = room.as_str().expect("a room has a name");
            assert!(
                user.may_join(name),
                "the lobby shows only what may be seen: {name} to {}",
                user.id
            );
            self.rooms.remove(name);
        }
    }

    /// Somebody is typing: once a tick, and ticks are so far apart.
    pub(super) fn typing(&mut self, ears: &mut Ears<'_>, topic: &str, payload: &Value) {
        let user = payload["user"].as_str().expect("typing says who").to_owned();
        let thread = payload.get("thread").map(|thread| thread.as_u64().expect("an offset"));
        let is_it = |(of, who, within): &(String, &str, Option<u64>)| {
            (&**of, *who, *within) == (topic, &*user, thread)
        };
        let is_elsewhere = user == STRANGER && ears.plan.log == LogKind::Engine;
        let is_said = is_elsewhere || ears.truth.typed.iter().any(is_it);
        assert!(is_said, "whoever types is told to: {payload}");
        let count = self.typing.entry(user).or_default();
        *count += 1;
        let ticks = (ears.now_ms - self.asked_ms) / ears.plan.settings.presence.tick_ms;
        assert!(*count <= ticks + 2, "typing is told once a tick: {count} times in {ticks} ticks");
        ears.truth.saw("typing");
    }

    pub(super) fn custom(&mut self, ears: &mut Ears<'_>, heard: &Heard) {
        let (number, user) = match &heard.payload {
            Payload::Json(payload) => (
                payload["n"].as_str().expect("a custom event has its number").to_owned(),
                Some(&payload["user"]),
            ),
            Payload::Binary(data) => {
                let number = data.strip_suffix(b"\x00\xff\xfe").expect("binary passes as it is");
                (String::from_utf8(number.to_vec()).expect("text"), None)
            }
        };
        ears.truth.heard_custom(&number, &heard.topic, &heard.event, user);
        assert!(self.customs.insert(number.clone()), "an event is heard once: {number}");
        // V1 has no binary, so not everybody hears those.
        if user.is_some() && heard.topic.starts_with("room:") {
            self.since_last.push(number);
        }
        ears.truth.saw("custom");
    }
}

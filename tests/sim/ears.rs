//! What a client reads, and all that can be said against it at once.

use std::collections::BTreeMap;

use chinwag::auth::level::Level;
use chinwag::limits::ADMISSION_LINE_BYTES_MAX;
use chinwag::link::said::MessageText;
use serde_json::Value;

use crate::acts::UPGRADE_KEY;
use crate::client::{Ask, Client, Cursor, Deed, Link, Member, Payload, Pending};
use crate::frames::{Frame, take_answer};
use crate::logs::LogKind;
use crate::merge::{self, Has, change_of};
use crate::plan::{AROUND_BODY_BYTES, Plan};
use crate::progress::Progress;
use crate::rights::Facts;
use crate::site::User;
use crate::truth::{STRANGER, Truth};
use crate::world::{Host, ledger_of};

/// What reading needs besides the client.
pub(crate) struct Ears<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) truth: &'a mut Truth,
    pub(crate) hosts: &'a [Host],
    pub(crate) now_ms: u64,
    pub(crate) unix_ms: u64,
    /// Whether all is well, and what was under way before is done.
    pub(crate) calm: bool,
    /// Whether the server has begun to stop.
    pub(crate) draining: bool,
    /// What the client's socket has taken.
    pub(crate) progress: Progress,
}

/// One message of the server, whatever its encoding.
struct Heard {
    /// V1 does not tell.
    join_ref: Option<String>,
    reference: String,
    topic: String,
    event: String,
    payload: Payload,
}

impl Heard {
    fn parse(frame: Frame, v1: bool) -> Self {
        match frame {
            Frame::Binary(bytes) => Self::binary(&bytes),
            Frame::Text(text) => {
                let value: Value =
                    serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"));
                let string = |value: &Value| value.as_str().expect("a string").to_owned();
                if v1 {
                    let object = value.as_object().expect("V1 speaks in objects");
                    assert_eq!(object.len(), 4, "always the same four keys: {text}");
                    return Self {
                        join_ref: None,
                        reference: value["ref"].to_string(),
                        topic: string(&value["topic"]),
                        event: string(&value["event"]),
                        payload: Payload::Json(value["payload"].clone()),
                    };
                }
                let array = value.as_array().expect("V2 speaks in arrays");
                assert_eq!(array.len(), 5, "always five elements: {text}");
                Self {
                    join_ref: Some(array[0].to_string()),
                    reference: array[1].to_string(),
                    topic: string(&array[2]),
                    event: string(&array[3]),
                    payload: Payload::Json(array[4].clone()),
                }
            }
            Frame::Close(..) | Frame::Pong(_) => unreachable!("only messages are parsed"),
        }
    }

    /// The three kinds of binary messages. An answer becomes what it would be as text.
    fn binary(bytes: &[u8]) -> Self {
        let fields = match bytes[0] {
            0 => 3,
            1 => 4,
            2 => 2,
            other => panic!("a server does not send binary messages of kind {other}"),
        };
        let mut rest = &bytes[1 + fields..];
        let mut texts = bytes[1..=fields].iter().map(|length| {
            let (text, after) = rest.split_at(usize::from(*length));
            rest = after;
            std::str::from_utf8(text).expect("fields are text").to_owned()
        });
        let mut next = || texts.next().expect("as many as there are lengths");
        let quoted = |text: String| Value::from(text).to_string();
        let (join_ref, reference) = match fields {
            4 => (quoted(next()), quoted(next())),
            3 => (quoted(next()), "null".to_owned()),
            _ => ("null".to_owned(), "null".to_owned()),
        };
        let (topic, event) = (next(), next());
        let event = if fields == 4 { format!("phx_reply {event}") } else { event };
        let payload = Payload::Binary(rest.to_vec());
        Self { join_ref: Some(join_ref), reference, topic, event, payload }
    }

    fn json(&self) -> &Value {
        match &self.payload {
            Payload::Json(value) => value,
            Payload::Binary(_) => panic!("{} on {} has a JSON payload", self.event, self.topic),
        }
    }
}

impl Ears<'_> {
    /// A channel or a connection ends with the life of a shard.
    fn check_restarted(&self) {
        let has_restarted = self.truth.seen.contains_key("restarted");
        assert!(has_restarted, "nothing ends with a life of a shard that goes on");
    }

    /// What is acknowledged is kept, and is that.
    fn check_kept(&self, topic: &str, offset: u64, body: &str) {
        let hosts = self.hosts.iter().map(|host| &host.net.log);
        let Some(log) = hosts.into_iter().find(|log| log.has(topic)) else { return };
        assert!(
            offset <= log.durable(topic).offset || self.plan.log == LogKind::OkIsTaken,
            "ok comes after it is kept: {offset} of {:?}",
            log.durable(topic)
        );
        assert_eq!(
            log.body(topic, offset).as_deref(),
            Some(body),
            "what was acknowledged is there: {topic} at {offset}"
        );
    }
}

impl Ears<'_> {
    /// What was done to a message is kept, and is that.
    fn check_done(&self, topic: &str, offset: u64, change: u64, deed: &Deed) -> bool {
        let hosts = self.hosts.iter().map(|host| &host.net.log);
        let Some(log) = hosts.into_iter().find(|log| log.has(topic)) else { return false };
        let durable = log.durable(topic).change;
        assert!(
            change <= durable || self.plan.log == LogKind::OkIsTaken,
            "a change is answered after it is kept: {change} of {durable}"
        );
        let then = log.by_change(topic, offset, change);
        assert!(
            then.is_some_and(|then| deed.is_done_to(&then, change)),
            "an answered change is that: {deed:?} of {offset} by {change} in {topic}"
        );
        true
    }
}

impl Deed {
    /// What level it needs at least. Whoever is in a room may take back what it has said.
    pub(crate) fn needs(&self) -> Level {
        match self {
            Self::Edit(_) => Level::Speak,
            Self::Delete => Level::Join,
            Self::Pin(_) => Level::Moderate,
        }
    }

    /// Whether it has been done to a message, which has had this change.
    pub(crate) fn is_done_to(&self, message: &MessageText, change: u64) -> bool {
        let fate = message.fate();
        fate.change == change
            && match self {
                Self::Edit(body) => {
                    let is: String = serde_json::from_str(&message.said.body).expect("JSON");
                    is == *body && fate.edited.is_some()
                }
                Self::Delete => fate.deleted.is_some(),
                Self::Pin(on) => fate.pinned.is_some() == *on,
            }
    }
}

impl Client {
    /// Reads bytes of its socket.
    pub(crate) fn read(&mut self, ears: &mut Ears<'_>, bytes: &[u8]) {
        let link = self.link.as_mut().expect("who reads is connected");
        if link.is_open {
            link.inbox.push(bytes);
        } else {
            link.http.extend_from_slice(bytes);
            let Some(answer) = take_answer(&mut link.http) else { return };
            if answer.status == 101 {
                let accept = tungstenite::handshake::derive_accept_key(UPGRADE_KEY.as_bytes());
                assert_eq!(answer.headers.get("sec-websocket-accept"), Some(&accept));
                link.is_open = true;
                let rest = std::mem::take(&mut link.http);
                link.inbox.push(&rest);
            } else {
                let expired = link.expires_at_s <= ears.unix_ms / 1_000;
                assert!(expired, "an upgrade with a good token is answered with {}", answer.status);
                link.heard_close = Some(answer.status);
                return;
            }
        }
        while let Some(frame) = self.link.as_mut().and_then(|link| link.inbox.frame()) {
            self.hear(ears, frame);
        }
    }

    /// Takes what the server has said.
    pub(crate) fn hear(&mut self, ears: &mut Ears<'_>, frame: Frame) {
        let v1 = self.v1;
        let link = self.link.as_mut().expect("who hears is connected");
        assert_eq!(link.heard_close, None, "nothing comes after a close frame: {frame:?}");
        match frame {
            Frame::Close(code, reason) => {
                link.check_close(ears, code, &reason);
                link.heard_close = Some(code);
            }
            Frame::Pong(payload) => {
                // One may stay away if the client did not read.
                while let Some(asked) = link.pings.pop_front() {
                    if asked == payload {
                        return;
                    }
                    assert!(
                        ears.progress.was_full(),
                        "every ping of a client that reads is answered"
                    );
                }
                panic!("a pong that nobody asked for");
            }
            message => {
                if let Frame::Text(text) = &message {
                    link.check_secret(text);
                }
                let heard = Heard::parse(message, v1);
                if crate::is_traced() {
                    eprintln!(
                        "      client {} on {} hears {} {} {:?} {} {:?}",
                        self.id,
                        link.serial,
                        heard.topic,
                        heard.event,
                        heard.join_ref,
                        heard.reference,
                        heard.payload
                    );
                }
                self.message(ears, &heard);
            }
        }
    }

    fn message(&mut self, ears: &mut Ears<'_>, heard: &Heard) {
        let event = &*heard.event;
        let link = self.link.as_ref().expect("who hears is connected");
        if let (Payload::Json(told), Some(member)) = (&heard.payload, link.member(&heard.topic)) {
            member.check_deleted(&heard.topic, told);
        }
        if event == "phx_reply" || event.starts_with("phx_reply ") {
            return self.reply(ears, heard);
        }
        let user = self.user();
        let link = self.link.as_mut().expect("who hears is connected");
        let topic = &*heard.topic;
        if topic == "phoenix" {
            assert_eq!(event, "token_expiring", "nothing else is said beside the channels");
            return link.warned(ears, heard, 0);
        }
        if self.ends(ears, heard) {
            return;
        }
        let link = self.link.as_mut().expect("who hears is connected");
        let is_join = |one: &Pending| one.topic == topic && matches!(one.ask, Ask::Join { .. });
        let is_joining = link.pending.iter().any(is_join);
        let member = link
            .channels
            .get_mut(topic)
            .and_then(|channel| channel.member.as_mut())
            .unwrap_or_else(|| panic!("only members hear: {event} on {topic}"));
        assert_eq!(heard.reference, "null", "what answers nothing has no ref");
        if matches!(event, "presence_state" | "room_you")
            || event == "presence_count" && heard.join_ref.as_deref() != Some("null")
        {
            let pushed_to = heard.join_ref.as_ref();
            assert!(pushed_to.is_none_or(|to| *to == member.join_ref), "a push names its join");
        } else if !event.starts_with("token_") {
            assert!(
                heard.join_ref.as_deref().is_none_or(|none| none == "null"),
                "a broadcast is for everybody"
            );
        }
        if let Some(room) = topic.strip_prefix("room:") {
            assert!(user.may_join(room), "only who may hears: {} in {room}", user.id);
        } else if let Some(owner) = topic.strip_prefix("user:") {
            assert_eq!(owner, user.id, "one's own topic is one's own");
        }
        match event {
            "new_msg" if topic.starts_with("room:") => {
                let message = heard.json();
                if !is_joining {
                    ears.check_audience(user, topic, message);
                }
                member.said(ears, topic, message);
                self.cursors.insert(topic.to_owned(), member.cursor(self.knows_changes));
                if self.knows_changes {
                    let has = self.has.entry(topic.to_owned()).or_default();
                    merge::count_reply(has, message);
                    has.insert(member.last, message.clone());
                }
            }
            "msg_changed" if topic.starts_with("room:") => {
                let patch = heard.json();
                member.changed(ears, topic, patch);
                self.cursors.insert(topic.to_owned(), member.cursor(self.knows_changes));
                if let Some(has) = self.has.get_mut(topic).filter(|_| self.knows_changes) {
                    merge::patch(has, patch);
                    let offset = patch["offset"].as_u64().expect("a change names its message");
                    if let Some(mine) = has.get(&offset) {
                        ears.truth.grown(topic, mine);
                        ears.truth.state(topic, &member.epoch, mine);
                    }
                }
            }
            "room_epoch" => {
                member.turned(ears, topic, heard.json());
                if topic.starts_with("room:") {
                    self.cursors.insert(topic.to_owned(), member.cursor(self.knows_changes));
                }
            }
            "typing" => member.typing(ears, topic, heard.json()),
            "room_changed" => member.told_room(ears, topic, heard.json()),
            "room_you" => member.told_you(ears, user, topic, heard.json()),
            "presence_diff" => member.fold.sync_diff(heard.json()),
            "presence_state" => {
                assert!(member.visible, "who hides is sent no list");
                assert!(!member.fold.has_state, "a member is sent one list");
                member.fold.sync_state(heard.json());
            }
            "presence_count" => member.count = Some(heard.json().clone()),
            "rooms" if topic == "lobby" => member.rooms_changed(user, heard.json()),
            "token_expired" => assert_eq!(topic, format!("user:{}", user.id)),
            "token_expiring" => {
                assert_eq!(topic, format!("user:{}", user.id));
                link.warned(ears, heard, 1);
            }
            _ => member.custom(ears, heard),
        }
    }

    /// Takes the end of a channel. False if what is said is something else.
    fn ends(&mut self, ears: &mut Ears<'_>, heard: &Heard) -> bool {
        let (topic, event, user) = (&*heard.topic, &*heard.event, self.user());
        let link = self.link.as_mut().expect("who hears is connected");
        if event == "phx_error" && link.is_under_way(topic, &heard.reference) {
            assert_eq!(heard.json()["reason"], "restarted", "only a home ends what it is asked");
            ears.check_restarted();
            link.forget_join(topic, &heard.reference);
            return true;
        }
        let channel = link
            .channels
            .get_mut(topic)
            .unwrap_or_else(|| panic!("only members hear: {event} on {topic}"));
        match event {
            "phx_close" => {
                if channel.closes_due.is_empty()
                    && let Some(member) = channel.member.take()
                {
                    // It was leaving when its home began anew, and is not answered.
                    let is_leave =
                        |one: &Pending| one.topic == topic && matches!(one.ask, Ask::Leave);
                    assert!(link.pending.iter().any(is_leave), "a channel is closed that ends");
                    ears.check_restarted();
                    channel.closes_due.push_back(member.join_ref.clone());
                    link.orphan(topic, &member.join_ref);
                }
                let channel = link.channels.get_mut(topic).expect("it is there");
                let due = channel.closes_due.pop_front().expect("a channel is closed that ends");
                let close_ref = heard.join_ref.as_ref().unwrap_or(&heard.reference);
                assert_eq!(
                    (&due, &due),
                    (close_ref, &heard.reference),
                    "a close names the join that ends"
                );
            }
            "phx_error" => {
                let member = channel
                    .member
                    .take()
                    .unwrap_or_else(|| panic!("only members lose a channel: {topic}"));
                assert_eq!(heard.reference, member.join_ref, "an error names the join that ends");
                let reason = heard.json()["reason"].as_str().expect("an error says why").to_owned();
                match &*reason {
                    "lagging" => {
                        assert!(ears.progress.was_full(), "who reads does not lag");
                        ears.truth.saw("lagging");
                    }
                    "channel_crash" => ears.truth.saw("channel_crash"),
                    "turned" => {
                        assert!(ears.plan.log.keeps(), "only a log that keeps can lose");
                        ears.truth.saw("turned");
                    }
                    "restarted" => ears.check_restarted(),
                    "token" => assert_eq!(topic, "lobby", "no other list depends on a token"),
                    other => panic!("a channel ends for {other}"),
                }
                link.orphan(topic, &member.join_ref);
            }
            "room_removed" => {
                let member = channel.member.take().expect("only members are removed");
                channel.closes_due.push_back(member.join_ref.clone());
                self.wants.remove(topic);
                link.orphan(topic, &member.join_ref);
                link.check_removed(ears, user, topic, (member.asked, heard.json()));
            }
            _ => return false,
        }
        true
    }

    fn reply(&mut self, ears: &mut Ears<'_>, heard: &Heard) {
        let link = self.link.as_mut().expect("who hears is connected");
        let at = link.pending.iter().position(|pending| pending.reference == heard.reference);
        let (pending, is_orphan) = if let Some(at) = at {
            // Answers of one channel come in order. A join that is refused at once may overtake
            // them.
            let overtaken =
                link.pending.iter().take(at).find(|earlier| earlier.topic == heard.topic);
            let is_join = matches!(link.pending[at].ask, Ask::Join { .. } | Ask::Wrong(_));
            assert!(
                overtaken.is_none() || is_join,
                "answers come in order: {heard:?} before {overtaken:?}",
                heard = heard.reference
            );
            (link.pending.remove(at).expect("it is there"), false)
        } else {
            let pending = link.orphans.remove(&heard.reference);
            (
                pending
                    .unwrap_or_else(|| panic!("one answer for one request: {}", heard.reference)),
                true,
            )
        };
        assert_eq!(heard.topic, pending.topic, "an answer names the topic that was asked");
        let (status, response) = match &heard.payload {
            Payload::Json(payload) => {
                let status = payload["status"].as_str().expect("an answer has a status").to_owned();
                (status, Payload::Json(payload["response"].clone()))
            }
            binary @ Payload::Binary(_) => {
                (heard.event["phx_reply ".len()..].to_owned(), binary.clone())
            }
        };
        match &*status {
            "ok" => self.granted(ears, heard, &pending, is_orphan, &response),
            "error" => {
                let Payload::Json(response) = response else { panic!("a refusal is JSON") };
                self.refused(ears, &pending, &response);
            }
            other => panic!("an answer is ok or an error: {other}"),
        }
    }

    #[expect(clippy::too_many_lines, reason = "a table of answers")]
    fn granted(
        &mut self,
        ears: &mut Ears<'_>,
        heard: &Heard,
        pending: &Pending,
        is_orphan: bool,
        response: &Payload,
    ) {
        let user = self.user();
        let link = self.link.as_mut().expect("who hears is connected");
        let topic = &*pending.topic;
        let room = topic.strip_prefix("room:");
        let is_member = pending.join_ref != "null" || self.refless;
        assert!(
            is_member || matches!(pending.ask, Ask::Join { .. } | Ask::Leave | Ask::Heartbeat),
            "only members speak: {pending:?}"
        );
        if let Ask::Echo(payload) = &pending.ask {
            // V1 has no binary.
            assert_eq!(response, payload, "an echo is what was said");
            return;
        }
        let Payload::Json(response) = response else { panic!("only echoes are binary") };
        match &pending.ask {
            Ask::Join { since, limit, visible, invited } => {
                assert!(!is_orphan, "a join belongs to no channel that could end before");
                assert!(
                    heard
                        .join_ref
                        .as_ref()
                        .is_none_or(|it| *it == pending.join_ref || pending.join_ref == "null")
                );
                assert!(
                    room.is_none_or(|room| user.may_join(room)),
                    "only who may joins: {} in {topic}",
                    user.id
                );
                if ears.plan.log.keeps() || ears.collects() {
                    // What waited for the log, or for a reaction to be told, in the channel that
                    // ends is answered no more.
                    link.orphan_before(topic, number(&pending.reference));
                }
                let before: Vec<_> =
                    link.pending.iter().filter(|other| other.topic == topic).collect();
                assert!(
                    before
                        .iter()
                        .all(|other| number(&other.reference) > number(&pending.reference)),
                    "what was asked before a join is answered before it: {before:?}"
                );
                ears.check_entry(user, pending);
                ears.check_invited(user, pending, invited.as_ref());
                let mut member = Member::new(pending, *visible);
                match (room, topic) {
                    (Some(room), _) => {
                        member.joined(ears, user, room, since.as_ref(), *limit, response);
                        let had = self.cursors.get(topic).map_or(0, |cursor| cursor.offset);
                        self.cursors.insert(topic.to_owned(), member.cursor(self.knows_changes));
                        let has = self.has.entry(topic.to_owned()).or_default();
                        let knows = since.as_ref().is_some_and(|since| since.change.is_some());
                        let changed = response.get("changed");
                        assert!(changed.is_none() || knows, "it would not know what that is");
                        if self.knows_changes {
                            let upto = since.clone().unwrap_or_default();
                            // Whoever says that it has what it has not cannot count.
                            if upto.offset > had {
                                has.clear();
                            }
                            let change = upto.change.unwrap_or_default();
                            let is_same = upto.epoch == member.epoch;
                            merge::forget_beyond(has, (upto.offset, change), is_same);
                            member.merge_joined(ears, topic, has, response);
                        }
                    }
                    (None, "lobby") => member.lobby(user, response),
                    _ => assert_eq!(response["you"]["user"], user.id),
                }
                ears.truth.saw("joined");
                let channel = link.channels.entry(topic.to_owned()).or_default();
                if let Some(old) = channel.member.replace(member) {
                    ears.truth.saw("joined again");
                    channel.closes_due.push_back(old.join_ref);
                }
            }
            Ask::Leave => {
                let Some(channel) = link.channels.get_mut(topic) else { return };
                if let Some(old) = channel.member.take() {
                    assert!(pending.join_ref != "\"stale\"", "a stale leave ends nothing");
                    channel.closes_due.push_back(old.join_ref);
                    ears.truth.saw("left");
                }
            }
            Ask::Publish { body, key, too_large, calls_all } => {
                let room = room.expect("messages are said in rooms");
                assert!(user.may_speak(room), "only who may speaks: {} in {room}", user.id);
                let needed = if *calls_all { Level::Moderate } else { Level::Speak };
                ears.check_might(user, pending, needed);
                if *calls_all {
                    ears.truth.saw("mentioned all");
                }
                assert!(!too_large, "a body has a limit");
                ears.truth.receipt(topic, body, response);
                let offset = response["offset"].as_u64().expect("a receipt has an offset");
                ears.check_kept(topic, offset, body);
                if key.is_some() {
                    self.unanswered.retain(|(_, unanswered, _)| unanswered != body);
                }
                ears.truth.saw("published");
            }
            Ask::Attach { meta } => {
                ears.check_might(user, pending, Level::Join);
                assert_eq!(response.to_string(), "{}");
                ears.truth.saw("another meta");
                let channel = link.channels.get_mut(topic);
                let member = channel.and_then(|channel| channel.member.as_mut());
                // One without a ref belongs to the channel that there is, whatever join was asked
                // for since.
                let is_its = |of: &&mut Member| {
                    heard.join_ref.as_ref().is_none_or(|named| *named == of.join_ref)
                };
                if let Some(member) = member.filter(is_its) {
                    member.meta = Some(meta.clone());
                }
            }
            Ask::Custom { .. } => {
                assert!(
                    room.is_none_or(|room| user.may_speak(room)),
                    "only who may speaks: {} in {topic}",
                    user.id
                );
                ears.check_might(user, pending, Level::Speak);
                assert_eq!(response.to_string(), "{}");
            }
            Ask::History { before, after, limit, heard } => {
                let epoch = link.member(topic).map(|member| member.epoch.clone());
                // Of a channel that has ended one does not know the epoch any more.
                let Some(epoch) = epoch.filter(|_| !is_orphan) else { return };
                // A turn is not told to one that leaves, which may wait for its log.
                let leaves =
                    |other: &Pending| other.topic == *topic && matches!(other.ask, Ask::Leave);
                if ears.plan.log.keeps() && link.pending.iter().any(leaves) {
                    return;
                }
                let change = link.member(topic).map_or(0, |member| member.change);
                check_fresh(ears, topic, &epoch, change, response);
                if let Some(has) = self.has.get_mut(topic).filter(|_| self.knows_changes) {
                    for message in response["messages"].as_array().into_iter().flatten() {
                        merge::whole(has, message, true);
                    }
                }
                let asked = (*before, *after, limit.unwrap_or(50));
                let heard = if heard.0 == epoch { heard.1 } else { 0 };
                check_page(ears, topic, &epoch, asked, heard, response);
                ears.truth.saw("history");
            }
            Ask::Search(query) => {
                let epoch = link.member(topic).map(|member| member.epoch.clone());
                let Some(epoch) = epoch.filter(|_| !is_orphan) else { return };
                check_hits(ears, topic, &epoch, query, response);
                ears.truth.saw("searched");
            }
            Ask::Change { offset, deed, calls_all, epoch } => {
                let room = room.expect("what changes is in rooms");
                let needed = if *calls_all { Level::Moderate } else { deed.needs() };
                let may = needed < Level::Speak || user.may_speak(room);
                assert!(may, "only who may speaks: {} in {room}", user.id);
                ears.check_might(user, pending, needed);
                let change = response["change"].as_u64().expect("it says which change it was");
                ears.truth.saw("done");
                if change == 0 {
                    // It was so already, as it was said.
                    return;
                }
                if ears.check_done(topic, *offset, change, deed) {
                    let acked = (topic.to_owned(), *offset, change, deed.clone());
                    ears.truth.acked_changes.push(acked);
                } else if !ears.plan.log.keeps() && !is_orphan {
                    ears.truth.reached_change(topic, epoch, change);
                }
            }
            Ask::React { .. } => {
                let token = user.level_in(room.expect("reactions are in rooms"));
                let facts = ears.might(user, topic, pending.asked).facts;
                let may_be = |facts: &Facts| facts.may_react(user.id, token, ears.unix_ms);
                assert!(facts.iter().any(may_be), "only who may reacts: {} in {topic}", user.id);
                assert!(response["count"].is_u64(), "it says how many have reacted: {response}");
                ears.truth.saw("reacted");
            }
            Ask::Append { offset, piece } => {
                ears.check_might(user, pending, Level::Speak);
                let mine = self.has.get(topic).and_then(|has| has.get(offset));
                ears.appended(mine, piece, response);
            }
            Ask::Decide(_) => ears.check_decided(user, pending, response),
            Ask::ListMembers(_) => ears.check_members(user, pending, response),
            // Of a room that has been left there may be nothing any more.
            Ask::Report(_) | Ask::Audit(_) if is_orphan => {}
            Ask::Report(_) => ears.check_reported(user, pending),
            Ask::Audit(_) => {
                let since = link.member(topic).map_or(pending.asked, |member| member.asked);
                ears.check_trail(user, pending, since, response);
            }
            Ask::Invite => ears.check_invite(user, pending, response),
            Ask::Heartbeat => assert_eq!(response.to_string(), "{}"),
            Ask::Renew { expires_at_s } => {
                assert_eq!(response["user"], user.id, "a connection stays its user's");
                let is_planted = ears.plan.bug.is_some();
                assert!(is_planted || response["expires_at"] == *expires_at_s, "{response}");
                // Of two topics the answers come in any order, and the tokens counted as they came.
                let asked = number(&pending.reference);
                if asked > link.renewed {
                    (link.renewed, link.expires_at_s) = (asked, *expires_at_s);
                }
                ears.truth.saw("renewed");
            }
            Ask::Echo(_) => unreachable!("handled above"),
            Ask::Wrong(reason) => panic!("this is refused for {reason}: {topic} {response}"),
        }
    }

    #[expect(clippy::too_many_lines, reason = "a table of refusals")]
    fn refused(&mut self, ears: &mut Ears<'_>, pending: &Pending, response: &Value) {
        let user = self.user();
        let link = self.link.as_mut().expect("who hears is connected");
        let reason = response["reason"].as_str().expect("a refusal says why");
        let room = pending.topic.strip_prefix("room:");
        ears.truth.saw(match reason {
            "unmatched topic" => "unmatched topic",
            "unauthorized" => "unauthorized",
            "too many channels joined" => "too many channels joined",
            "invalid" => "invalid",
            "too_large" => "too_large",
            "rate_limited" => "rate_limited",
            "busy" => "busy",
            "too_many_rooms" => "too_many_rooms",
            "user_mismatch" => "user_mismatch",
            "read_only" => "read_only",
            "not_yours" => "not_yours",
            "too_many" => "too_many",
            "gone" => "gone",
            "muted" => "muted",
            "banned" => "kept out",
            "slow_mode" => "slow_mode",
            "rejected" => "rejected",
            "too_late" => "too_late",
            "last_owner" => "last_owner",
            "storage" if ears.plan.log.keeps() => "storage",
            "unavailable" if ears.plan.log.keeps() => "unavailable",
            "unconfirmed" if ears.plan.log.keeps() => "unconfirmed",
            other => panic!("a refusal of no known reason: {other}"),
        });
        match reason {
            "busy" | "rate_limited" | "storage" | "unavailable" | "unconfirmed" => {
                let retry_ms = response["retry_ms"].as_u64().expect("it says when to try again");
                link.patience_ms = link.patience_ms.max(ears.now_ms + retry_ms);
                // But for a line that a few joins at the same moment fill.
                let is_full = ears.plan.settings.admission_line_bytes < ADMISSION_LINE_BYTES_MAX
                    && matches!(pending.ask, Ask::Join { .. });
                assert!(
                    reason == "rate_limited" || !ears.calm || is_full,
                    "nothing is busy when all is well"
                );
            }
            "too_large" => assert!(response["max_bytes"].is_u64() && response["field"].is_string()),
            "invalid" => assert!(response["field"].is_string() && response["message"].is_string()),
            _ => {}
        }
        let might = ears.might(user, &pending.topic, pending.asked);
        // The log of its room has lost its place there.
        let is_closed = reason == "unavailable" && ears.plan.log == LogKind::Engine;
        match &pending.ask {
            Ask::Join { invited, .. } => {
                if matches!(reason, "unauthorized" | "banned") {
                    ears.check_not_invited(user, pending, invited.as_ref());
                }
                match reason {
                    "unauthorized" | "banned" => assert!(
                        room.is_some_and(|room| {
                            might.be_refused_for(reason, Level::Join) || link.closed.contains(room)
                        }),
                        "{} may join {room:?}",
                        user.id
                    ),
                    "too many channels joined" => {
                        let max = ears.plan.settings.limits.channels_per_conn as usize;
                        let others = link.channels.len() + link.pending.len() + 1;
                        assert!(others >= max, "there is a channel to be had");
                    }
                    "too_many_rooms" => assert!(ears.plan.forgets_rooms),
                    // The last two: what is there of the room could not be found out.
                    "rate_limited" | "busy" | "storage" | "unavailable" => {}
                    // Nobody knows whether its user is a member by it.
                    "unconfirmed" if invited.is_some() && ears.plan.log.keeps() => {}
                    other => panic!("a join is not refused for {other}"),
                }
                if matches!(
                    reason,
                    "unauthorized" | "banned" | "too many channels joined" | "too_many_rooms"
                ) {
                    self.wants.remove(&pending.topic);
                }
                // The channel that there is goes on; what was said in the one that there is not is
                // dropped.
                if link.member(&pending.topic).is_some() {
                    link.orphan(&pending.topic, &pending.join_ref);
                }
            }
            Ask::Publish { body, key, too_large, calls_all } => {
                assert!(
                    matches!(reason, "unmatched topic" | "rate_limited" | "busy")
                        || matches!(reason, "storage" | "unavailable" | "unconfirmed")
                        || reason == "too_large" && *too_large
                        || reason == "invalid" && ears.truth.answers(body)
                        || might.refuse_message(body, *calls_all, reason),
                    "a message is not refused for {reason}"
                );
                if reason != "unconfirmed" {
                    ears.truth.refuse(body);
                }
                // The others are tried again, with the same key.
                if key.is_some()
                    && matches!(
                        reason,
                        "unmatched topic" | "too_large" | "unauthorized" | "invalid"
                    )
                {
                    self.unanswered.retain(|(_, unanswered, _)| unanswered != body);
                }
            }
            Ask::Custom { number, may_be_too_large } => {
                assert!(
                    matches!(reason, "unmatched topic" | "rate_limited" | "busy")
                        || matches!(reason, "unavailable" | "unconfirmed")
                            && ears.plan.log == LogKind::Engine
                        || is_closed
                        || reason == "too_large" && *may_be_too_large
                        || might.be_refused_for(reason, Level::Speak),
                    "an event is not refused for {reason}"
                );
                ears.truth.refuse_custom(number);
            }
            Ask::Attach { .. } => {
                let is_of_way = matches!(reason, "unmatched topic" | "rate_limited" | "busy");
                let is_decided = might.be_refused_for(reason, Level::Join);
                let is_right = is_of_way || is_closed || is_decided;
                assert!(is_right, "a meta is not refused for {reason}");
            }
            Ask::History { .. } => {
                let is_of_log = matches!(reason, "storage" | "unavailable");
                assert!(
                    matches!(reason, "unmatched topic" | "busy" | "rate_limited") || is_of_log,
                    "{reason}"
                );
            }
            Ask::Change { deed, calls_all, .. } => {
                let may_be = match reason {
                    "unmatched topic" | "rate_limited" | "busy" | "storage" | "unavailable"
                    | "unconfirmed" | "gone" | "invalid" => true,
                    "muted" if *deed == Deed::Delete => false,
                    "unauthorized" | "muted" | "banned" => {
                        let needed = if *calls_all { Level::Moderate } else { deed.needs() };
                        might.be_refused_for(reason, needed)
                    }
                    "not_yours" => match deed {
                        Deed::Edit(_) => true,
                        Deed::Delete => might.least < Level::Moderate,
                        Deed::Pin(_) => false,
                    },
                    "too_late" => {
                        let has_end = |facts: &Facts| facts.settings["edit_s"].is_u64();
                        matches!(deed, Deed::Edit(_)) && might.facts.iter().any(has_end)
                    }
                    "too_many" => {
                        assert_eq!(response["limit"], "limits.pins");
                        assert_eq!(response["max"], ears.plan.settings.chat.pins);
                        matches!(deed, Deed::Pin(true))
                    }
                    _ => false,
                };
                assert!(may_be, "{deed:?} is not refused for {reason}");
                if let (Deed::Edit(body), true) = (deed, reason != "unconfirmed") {
                    ears.truth.refuse_edit(body);
                }
            }
            Ask::React { on } => {
                let may_be = match reason {
                    "unmatched topic" | "rate_limited" | "busy" | "storage" | "unavailable"
                    | "unconfirmed" | "gone" | "invalid" => true,
                    "too_many" => *on,
                    "unauthorized" | "muted" | "banned" => {
                        might.be_refused_for(reason, Level::Speak)
                    }
                    _ => false,
                };
                assert!(may_be, "a reaction is not refused for {reason}");
            }
            Ask::Append { piece, .. } => {
                let is_link = might.facts.iter().any(|facts| !facts.takes_links());
                let may_be = match reason {
                    "unmatched topic" | "rate_limited" | "busy" | "storage" | "unavailable"
                    | "unconfirmed" | "gone" | "invalid" | "not_yours" | "too_late"
                    | "too_large" => true,
                    "rejected" => is_link,
                    _ => might.be_refused_for(reason, Level::Speak),
                };
                assert!(may_be, "a piece is not refused for {reason}");
                if reason != "unconfirmed" {
                    ears.not_appended(piece);
                }
            }
            Ask::Decide(wish) => assert!(
                matches!(reason, "unmatched topic" | "rate_limited" | "busy")
                    || matches!(reason, "storage" | "unavailable" | "unconfirmed")
                    || might.refuse_decision(wish, reason),
                "a decision is not refused for {reason}: {wish:?}"
            ),
            Ask::Report(_) => assert!(
                matches!(reason, "unmatched topic" | "rate_limited" | "busy" | "gone" | "invalid")
                    || matches!(reason, "storage" | "unavailable" | "unconfirmed")
                    || might.be_refused_for(reason, Level::Join),
                "a report is not refused for {reason}"
            ),
            Ask::Audit(_) | Ask::Invite => assert!(
                matches!(reason, "unmatched topic" | "rate_limited" | "busy" | "storage")
                    || is_closed
                    || might.be_refused_for(reason, Level::Moderate),
                "{pending:?} is not refused for {reason}"
            ),
            Ask::ListMembers(wanted) => assert!(
                matches!(reason, "unmatched topic" | "rate_limited" | "busy")
                    || is_closed
                    || might.refuse_roll(wanted, reason),
                "a list of users is not refused for {reason}: {wanted}"
            ),
            Ask::Echo(_) => assert_eq!(reason, "unmatched topic"),
            Ask::Search(_) => {
                let may_be = ["busy", "storage", "unmatched topic"].contains(&reason);
                assert!(may_be || is_closed, "a search is answered, or later: {reason}");
            }
            Ask::Renew { expires_at_s } => assert!(
                matches!(reason, "unmatched topic" | "rate_limited")
                    || reason == "unauthorized" && *expires_at_s <= ears.unix_ms / 1_000,
                "a good token is not refused for {reason}"
            ),
            Ask::Leave | Ask::Heartbeat => panic!("this is not refused: {pending:?} {response}"),
            Ask::Wrong("typing") => assert!(
                matches!(reason, "unmatched topic" | "rate_limited" | "busy" | "unauthorized"),
                "typing is not refused for {reason}"
            ),
            Ask::Wrong(expected) => assert!(
                reason == *expected
                    || is_closed
                    || matches!(
                        reason,
                        "unmatched topic"
                            | "rate_limited"
                            | "busy"
                            | "unauthorized"
                            | "too many channels joined"
                    )
                    || might.be_refused_for(reason, Level::Speak),
                "{pending:?} is not refused for {reason}"
            ),
        }
    }
}

/// The number in a ref.
pub(crate) fn number(reference: &str) -> u64 {
    let digits = reference.trim_matches(|letter: char| !letter.is_ascii_digit());
    digits.parse().expect("there is a number in every ref here")
}

/// Checks a page and what it is a page of.
/// What was found was said in this room, and has what was looked for. That it is kept is seen at
/// rest.
fn check_hits(ears: &mut Ears<'_>, topic: &str, epoch: &str, query: &str, found: &Value) {
    let messages = found["messages"].as_array().expect("what was found has messages");
    let mut before = u64::MAX;
    for message in messages {
        let body = message["body"].as_str().expect("a message has a body");
        assert!(ears.truth.is_said_in(topic, body), "what was found was said there: {body}");
        let offset = ears.truth.heard(topic, epoch, message);
        assert!(offset < before, "the newest is found first: {topic} at {offset}");
        before = offset;
        // One that has changed since is told as it is by then.
        let has_it = body.contains(query) || change_of(message) > 0;
        assert!(has_it, "what was found has what was looked for: {body}");
        ears.truth.found.push((topic.to_owned(), offset, body.to_owned()));
    }
}

/// A page is never older than what its reader has heard, which is all up to a change.
fn check_fresh(ears: &Ears<'_>, topic: &str, epoch: &str, heard: u64, page: &Value) {
    for message in page["messages"].as_array().expect("a page has messages") {
        let offset = message["offset"].as_u64().expect("a message has an offset");
        let latest = ears.truth.latest_change(topic, epoch, offset, heard);
        assert!(
            change_of(message) >= latest,
            "a page is never older than what its reader has heard: {latest} of {message}"
        );
    }
}

fn check_page(
    ears: &mut Ears<'_>,
    topic: &str,
    epoch: &str,
    (before, after, limit): (Option<u64>, Option<u64>, u64),
    heard: u64,
    page: &Value,
) {
    let messages = page["messages"].as_array().expect("a page has messages");
    let offsets: Vec<u64> =
        messages.iter().map(|message| ears.truth.heard(topic, epoch, message)).collect();
    assert!(offsets.len() as u64 <= limit, "a page is no longer than asked");
    assert!(offsets.is_sorted_by(|a, b| a + 1 == *b), "a page has no gaps: {topic} {offsets:?}");
    let more = page["more"].as_bool().expect("a page says whether there is more");
    ears.truth.pages.push((offsets.clone(), more));
    if ears.plan.log.keeps() && limit > 0 {
        // What a log keeps is there, in memory or not.
        let (first, last) = (offsets.first().copied(), offsets.last().copied());
        let has_all = match (before, after) {
            (Some(before), _) => before < 2 || before - 1 > heard || last == Some(before - 1),
            (_, Some(after)) => after >= heard || first == Some(after + 1),
            (None, None) => last.unwrap_or_default() >= heard,
        };
        assert!(
            has_all,
            "a page has all that its reader has heard: {topic} {first:?} to {last:?}, of {heard}, \
             before {before:?} after {after:?}"
        );
        assert!(
            after.is_some() || more == first.is_some_and(|first| first > 1),
            "a page says what is before it: {topic} from {first:?} on"
        );
    }
    let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else { return };
    if let Some(before) = before {
        assert!(*last < before, "a page ends before what was asked");
    }
    if let Some(after) = after {
        assert!(*first > after, "a page begins after what was asked");
    } else {
        assert!(!more || *first > 1, "there is nothing before the first");
    }
}

impl Link {
    /// It is told that its token is about to end: once for each that it has shown, and in time.
    fn warned(&mut self, ears: &mut Ears<'_>, heard: &Heard, topic: usize) {
        let end_s = heard.json()["expires_at"].as_u64().expect("a warning says when it ends");
        assert!(self.ends_s.contains(&end_s), "a warning is of its own token: {end_s}");
        assert!(self.warned_s[topic].insert(end_s), "a token's end is told once: {end_s}");
        let left_ms = (end_s * 1_000).saturating_sub(ears.unix_ms);
        let warn_ms = ears.plan.settings.warn_ms;
        assert!(left_ms <= warn_ms, "a warning comes {warn_ms} ms before the end: {left_ms}");
        ears.truth.saw("warned");
    }

    fn check_close(&self, ears: &mut Ears<'_>, code: u16, reason: &str) {
        let limits = &ears.plan.settings.limits;
        let silent_ms = self.silent_ms.max(ears.now_ms - self.reached_ms);
        match code {
            1000 => assert!(self.said_close, "1000 answers a close"),
            1002 if self.poison != Some(1002) => {
                assert!(silent_ms >= limits.idle_ms - 256, "idle after {silent_ms} ms");
                ears.truth.saw("idle");
            }
            1008 if self.poison != Some(1008) => {
                // Fragments may be on their way for so long, even if each comes in time.
                assert!(ears.now_ms - self.opened_ms >= limits.message_ms - 256);
                ears.truth.saw("slow message");
            }
            1011 if self.poison != Some(1011) => ears.check_restarted(),
            1012 => assert!(ears.draining, "1012 says that the server stops"),
            1013 => {
                match reason {
                    "does not read" => {
                        let may_be = ears.progress.may_be_closed(limits);
                        assert!(may_be, "only who does not read is closed: {:?}", ears.progress);
                    }
                    "no memory" => assert_ne!(limits.memory_bytes, 0, "memory has a bound"),
                    other => panic!("1013 has a reason: {other}"),
                }
                ears.truth.saw("overflowed");
            }
            4001 => {
                assert!(self.may_have_ended(ears.unix_ms), "a token is good until it expires");
                ears.truth.saw("expired");
            }
            other => {
                assert_eq!(Some(other), self.poison, "a close has a cause");
                ears.truth.saw("poisoned");
            }
        }
    }
}

impl Member {
    fn new(pending: &Pending, visible: bool) -> Self {
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
    fn joined(
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
    fn said(&mut self, ears: &mut Ears<'_>, topic: &str, message: &Value) {
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
    fn cursor(&self, knows_changes: bool) -> Cursor {
        let change = knows_changes.then_some(self.change);
        Cursor { epoch: self.epoch.clone(), offset: self.last, change }
    }

    /// A message of the room has become another one.
    fn changed(&mut self, ears: &mut Ears<'_>, topic: &str, patch: &Value) {
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
    fn check_deleted(&self, topic: &str, told: &Value) {
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
    fn merge_joined(&self, ears: &mut Ears<'_>, topic: &str, has: &mut Has, response: &Value) {
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
    fn turned(&mut self, ears: &mut Ears<'_>, topic: &str, told: &Value) {
        assert!(ears.plan.log.keeps(), "only a log that keeps can turn");
        assert_eq!(told["offset"], self.last, "a turn that ends no channel loses nothing: {topic}");
        assert_eq!(told["change"], self.change, "nor a change");
        told["epoch"].as_str().expect("it says which").clone_into(&mut self.epoch);
        ears.truth.reached(topic, &self.epoch, self.last);
        ears.truth.reached_change(topic, &self.epoch, self.change);
        ears.truth.saw("turned without a loss");
    }

    /// The answer to the join of the lobby.
    fn lobby(&mut self, user: &User, response: &Value) {
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

    fn rooms_changed(&mut self, user: &User, change: &Value) {
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
    fn typing(&mut self, ears: &mut Ears<'_>, topic: &str, payload: &Value) {
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

    fn custom(&mut self, ears: &mut Ears<'_>, heard: &Heard) {
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

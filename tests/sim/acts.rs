//! What a client does: each act appends to the bytes that it writes.

use chinwag::auth::invite::Invite;
use chinwag::limits::PAGE_MESSAGES_MAX;
use serde_json::{Value, json};

use crate::client::{Ask, Client, Cursor, Deed, Payload, Pending};
use crate::faults::Bug;
use crate::frames::{self, BINARY, CLOSE, PING, TEXT, push_frame, push_message};
use crate::plan::{AROUND_BODY_BYTES, Act, Plan};
use crate::rights::moment;
use crate::site::{USERS, another_token, token};
use crate::truth::Truth;

/// What there is to write, and whom to tell of it.
pub(crate) struct Mouth<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) truth: &'a mut Truth,
    pub(crate) now_ms: u64,
    pub(crate) unix_ms: u64,
    pub(crate) out: Vec<u8>,
    /// The invites that were brought: by topic and user.
    pub(crate) brought: Vec<(String, &'static str, Invite)>,
}

/// The key of every upgrade; the answer to it is known from RFC 6455, 1.3.
pub(crate) const UPGRADE_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

impl Client {
    /// The request that opens a connection.
    pub(crate) fn upgrade(&self, expires_at_s: u64) -> Vec<u8> {
        let vsn = if self.v1 { "1.0.0" } else { "2.0.0" };
        let token = token(self.user, expires_at_s);
        format!(
            "GET /socket/websocket?vsn={vsn}&token={token} HTTP/1.1\r\nHost: chat.example\r\nConnection: keep-alive, Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {UPGRADE_KEY}\r\n\r\n"
        )
        .into_bytes()
    }

    /// Does one thing, or several at once.
    pub(crate) fn act(&mut self, mouth: &mut Mouth<'_>) {
        let weights: Vec<u64> = mouth.plan.acts.iter().map(|(_, weight)| *weight).collect();
        let count = if self.draws.one_in(8) { self.draws.size(2, 12) } else { 1 };
        for _ in 0..count {
            let Some(link) = self.link.as_ref().filter(|link| link.speaks()) else { return };
            // Who is nowhere mostly begins with a join.
            let is_new = link.pending.is_empty()
                && link.channels.values().all(|channel| channel.member.is_none());
            let (mut act, _) = mouth.plan.acts[self.draws.weighted(&weights)];
            if is_new && !self.draws.one_in(4) {
                act = Act::Join;
            } else if matches!(act, Act::Poison | Act::Close) && !self.draws.one_in(4) {
                // A run in which everybody is soon gone shows nothing.
                act = Act::Publish;
            }
            if self.polls && matches!(act, Act::Ping | Act::Poison | Act::Close) {
                // Nothing that is not a message can be posted.
                act = Act::Publish;
            }
            self.act_once(mouth, act);
        }
    }

    fn act_once(&mut self, mouth: &mut Mouth<'_>, act: Act) {
        match act {
            Act::Join => {
                let topic = self.some_topic(mouth);
                self.wants.insert(topic.clone());
                self.join(mouth, &topic);
            }
            Act::Leave => {
                let topic = self.channel_or_topic(mouth);
                self.wants.remove(&topic);
                self.leave(mouth, &topic);
            }
            Act::Publish => self.publish(mouth, false),
            Act::PublishKeyed => self.publish(mouth, true),
            Act::Change => self.change(mouth),
            Act::React => self.react(mouth),
            Act::Custom => self.custom(mouth),
            Act::Typing => {
                let topic = self.channel_or_topic(mouth);
                if topic != "lobby" {
                    let is_within = mouth.plan.is_rich && self.draws.one_in(2);
                    let thread = is_within.then(|| self.draws.range(1, 5));
                    self.typing(mouth, &topic, thread);
                }
            }
            Act::History => self.history(mouth),
            Act::Echo => self.echo(mouth),
            Act::Heartbeat => self.heartbeat(mouth),
            Act::Ping => self.ping(mouth),
            Act::Stale => self.stale(mouth),
            Act::Crash => self.crash(mouth),
            Act::Nonsense => self.nonsense(mouth),
            Act::Poison => self.poison(mouth),
            Act::Close => self.close(mouth),
            Act::Renew => self.renew(mouth),
            Act::Decide => self.decide(mouth),
            Act::ListMembers => self.ask_members(mouth),
            Act::Report => self.report(mouth),
            Act::Audit => self.ask_audit(mouth),
            Act::Invite => self.ask_invite(mouth),
            Act::Attach => self.attach(mouth),
            Act::Grow => self.grow(mouth),
        }
    }

    /// A room, mostly one that it may join.
    fn some_room(&mut self, mouth: &Mouth<'_>) -> String {
        let room = *self.draws.pick(&mouth.plan.rooms);
        if self.user().may_join(room) || self.draws.one_in(4) {
            return room.to_owned();
        }
        let open: Vec<&&str> =
            mouth.plan.rooms.iter().filter(|room| self.user().may_join(room)).collect();
        if open.is_empty() { room.to_owned() } else { (**self.draws.pick(&open)).to_owned() }
    }

    fn some_topic(&mut self, mouth: &Mouth<'_>) -> String {
        match self.draws.below(10) {
            0 => "lobby".to_owned(),
            1 => format!("user:{}", self.user().id),
            _ => format!("room:{}", self.some_room(mouth)),
        }
    }

    /// A topic that it is in, if there is one.
    pub(crate) fn channel_or_topic(&mut self, mouth: &Mouth<'_>) -> String {
        let link = self.link.as_ref().expect("who acts is connected");
        let channels: Vec<&String> =
            link.channels.keys().filter(|topic| link.newest_join_ref(topic).is_some()).collect();
        if channels.is_empty() || self.draws.one_in(12) {
            return self.some_topic(mouth);
        }
        channels[self.draws.index(channels.len())].clone()
    }

    /// Writes a message with a new ref, and returns that.
    fn send(
        &mut self,
        mouth: &mut Mouth<'_>,
        join_ref: Option<&str>,
        topic: &str,
        event: &str,
        payload: &Payload,
    ) -> String {
        let link = self.link.as_mut().expect("who acts is connected");
        link.refs += 1;
        let number = link.refs;
        let ignores_payload = event == "heartbeat" || event == "phx_leave" && join_ref.is_some();
        let as_binary = ignores_payload && !self.v1 && self.draws.one_in(20);
        let is_text = matches!(payload, Payload::Json(_)) && !as_binary;
        // A ref may be any JSON; a binary one is a string. That of a join is used in its channel's
        // pushes.
        let is_string = !is_text || event == "phx_join" || !self.draws.one_in(10);
        // Some clients count with numbers alone, as phoenix.js does, others put a word in front.
        let word = if number.is_multiple_of(5) { "ref-" } else { "" };
        let reference = if is_string { format!("\"{word}{number}\"") } else { number.to_string() };
        let join_ref = match join_ref {
            Some("own") => &*reference,
            Some(join_ref) => join_ref,
            None => "null",
        };
        if is_text {
            let Payload::Json(payload) = payload else { unreachable!("only JSON is text") };
            let text = self.text(join_ref, &reference, topic, event, payload);
            push_message(&mut mouth.out, &mut self.draws, TEXT, text.as_bytes());
        } else {
            let data = match payload {
                Payload::Json(json) => json.to_string().into_bytes(),
                Payload::Binary(data) => data.clone(),
            };
            let unquoted = |text: &str| text.trim_matches('"').to_owned();
            let join_ref = if join_ref == "null" { String::new() } else { unquoted(join_ref) };
            let fields = [join_ref, unquoted(&reference), topic.to_owned(), event.to_owned()];
            let mut bytes = vec![0];
            bytes.extend(
                fields.iter().map(|field| u8::try_from(field.len()).expect("fields are short")),
            );
            for field in fields {
                bytes.extend_from_slice(field.as_bytes());
            }
            bytes.extend_from_slice(&data);
            push_message(&mut mouth.out, &mut self.draws, BINARY, &bytes);
        }
        reference
    }

    fn text(
        &mut self,
        join_ref: &str,
        reference: &str,
        topic: &str,
        event: &str,
        payload: &Value,
    ) -> String {
        let (topic, event) = (json!(topic), json!(event));
        if self.v1 {
            let join_ref = if join_ref == "null" {
                String::new()
            } else {
                format!(",\"join_ref\":{join_ref}")
            };
            return format!(
                r#"{{"topic":{topic},"event":{event},"payload":{payload},"ref":{reference}{join_ref}}}"#
            );
        }
        let space = if self.draws.one_in(8) { " \n" } else { "" };
        format!("[{join_ref},{space}{reference},{topic},{event},{payload}{space}]")
    }

    fn expect(
        &mut self,
        mouth: &Mouth<'_>,
        reference: String,
        join_ref: &str,
        topic: &str,
        ask: Ask,
    ) {
        let (join_ref, topic) = (join_ref.to_owned(), topic.to_owned());
        let link = self.link.as_mut().expect("who acts is connected");
        let (asked_ms, asked) = (mouth.now_ms, moment());
        let is_within = link.newest_join_ref(&topic).is_some();
        let pending = Pending { reference, join_ref, topic, ask, asked_ms, asked, is_within };
        link.pending.push_back(pending);
    }

    /// The same of something that need not be answered.
    fn half_expect(
        &mut self,
        mouth: &Mouth<'_>,
        reference: String,
        join_ref: &str,
        topic: &str,
        ask: Ask,
    ) {
        self.expect(mouth, reference, join_ref, topic, ask);
        let link = self.link.as_mut().expect("who acts is connected");
        let pending = link.pending.pop_back().expect("just put there");
        link.orphans.insert(pending.reference.clone(), pending);
    }

    /// A push in a channel, under the newest join that was asked for.
    pub(crate) fn push(
        &mut self,
        mouth: &mut Mouth<'_>,
        topic: &str,
        event: &str,
        payload: &Payload,
        ask: Option<Ask>,
    ) {
        let link = self.link.as_ref().expect("who acts is connected");
        let join_ref = link.newest_join_ref(topic).unwrap_or("null").to_owned();
        // Without a ref it belongs to whatever join there is; but a binary push cannot leave it
        // out.
        let names_it =
            join_ref != "null" && (matches!(payload, Payload::Binary(_)) || !self.draws.one_in(10));
        let given = names_it.then_some(&*join_ref);
        let reference = if given.is_none() && !self.v1 {
            // Text for sure: an empty ref in a binary push is one that no join has.
            self.send_as_text(mouth, topic, event, payload)
        } else {
            self.send(mouth, given, topic, event, payload)
        };
        let join_ref = if mouth.plan.bug == Some(Bug::LetStrangersSpeak) {
            "null".to_owned()
        } else {
            join_ref
        };
        if let Some(ask) = ask {
            self.expect(mouth, reference, &join_ref, topic, ask);
        }
    }

    fn send_as_text(
        &mut self,
        mouth: &mut Mouth<'_>,
        topic: &str,
        event: &str,
        payload: &Payload,
    ) -> String {
        let link = self.link.as_mut().expect("who acts is connected");
        link.refs += 1;
        let reference = format!("\"{}\"", link.refs);
        let Payload::Json(payload) = payload else { unreachable!("binary pushes name their join") };
        let text = self.text("null", &reference, topic, event, payload);
        push_message(&mut mouth.out, &mut self.draws, TEXT, text.as_bytes());
        reference
    }

    /// Joins a topic, mostly with the cursor it has.
    pub(crate) fn join(&mut self, mouth: &mut Mouth<'_>, topic: &str) {
        let mut params = json!({});
        let cursor = self.cursors.get(topic).cloned();
        let since = match (cursor, self.draws.below(12)) {
            (Some(_), 0) | (None, 1..) => None,
            (Some(cursor), 1) => {
                Some(Cursor { offset: cursor.offset + self.draws.range(1, 3), ..cursor })
            }
            (Some(cursor), 2) => {
                Some(Cursor { offset: self.draws.range(0, cursor.offset), ..cursor })
            }
            (_, 0) | (Some(_), 3) => {
                let epoch = "0123456789abcdef".to_owned();
                Some(Cursor { epoch, offset: 1, change: None })
            }
            (cursor, _) => cursor,
        };
        if let Some(Cursor { epoch, offset, change }) = &since {
            params["since"] = json!({"epoch": epoch, "offset": offset});
            if let Some(change) = change {
                params["since"]["change"] = json!(change);
            }
        }
        let limit = self.draws.one_in(3).then(|| self.draws.range(0, u64::from(PAGE_MESSAGES_MAX)));
        if let Some(limit) = limit {
            params["limit"] = json!(limit);
        }
        if self.hides {
            params["presence"] = json!(false);
        }
        if self.draws.one_in(4) {
            params["meta"] = json!({"at": self.id, "\u{e9}": [1, 2.5e3]});
        }
        let mut invited = None;
        if topic.starts_with("room:")
            && let Some((text, invite)) = self.some_invite(mouth, topic)
        {
            params["invite"] = text;
            invited = invite;
        }
        let own = if self.refless { None } else { Some("own") };
        let text = self.refless && !self.v1;
        let reference = if text {
            self.send_as_text(mouth, topic, "phx_join", &Payload::Json(params))
        } else {
            self.send(mouth, own, topic, "phx_join", &Payload::Json(params))
        };
        let join_ref = if self.refless { "null".to_owned() } else { reference.clone() };
        // What a binary join asks for is not read.
        let ask = Ask::Join { since, limit, visible: !self.hides, invited };
        self.expect(mouth, reference, &join_ref, topic, ask);
    }

    /// Joins a topic as somebody who knows nothing of it.
    pub(crate) fn join_anew(&mut self, mouth: &mut Mouth<'_>, topic: &str) {
        let reference = self.send(mouth, Some("own"), topic, "phx_join", &Payload::Json(json!({})));
        let ask = Ask::Join { since: None, limit: None, visible: true, invited: None };
        self.expect(mouth, reference.clone(), &reference, topic, ask);
    }

    pub(crate) fn leave(&mut self, mouth: &mut Mouth<'_>, topic: &str) {
        self.push(mouth, topic, "phx_leave", &Payload::Json(json!({})), Some(Ask::Leave));
    }

    pub(crate) fn publish(&mut self, mouth: &mut Mouth<'_>, with_key: bool) {
        if with_key && !self.unanswered.is_empty() && self.draws.one_in(2) {
            let again = self.draws.index(self.unanswered.len());
            let (topic, body, key) = self.unanswered[again].clone();
            return self.publish_body(mouth, &topic, &body, Some(&key), None);
        }
        let topic = self.channel_or_topic(mouth);
        if !topic.starts_with("room:") {
            return;
        }
        self.said += 1;
        let mut body = format!("{}-{} \u{e9}\"\\\n", self.id, self.said);
        let length =
            if self.draws.one_in(4) { self.draws.size(0, mouth.plan.body_bytes) } else { 0 };
        body.push_str(&"x".repeat(length.saturating_sub(body.len())));
        if mouth.plan.decides() && self.draws.one_in(8) {
            body.push_str(" http://x.example");
        }
        let key = with_key.then(|| format!("k{}-{}", self.id, self.said));
        let reply_to = self.draws.one_in(8).then(|| self.draws.below(5));
        if let Some(key) = &key
            && reply_to.is_none()
        {
            self.unanswered.push((topic.clone(), body.clone(), key.clone()));
        }
        let mut payload = self.some_more(mouth);
        payload["body"] = json!(body);
        if let Some(key) = &key {
            payload["key"] = json!(key);
        }
        if let Some(reply_to) = reply_to {
            payload["reply_to"] = json!(reply_to);
        }
        self.say_payload(mouth, &topic, (&body, key.as_deref(), reply_to), payload);
    }

    pub(crate) fn publish_body(
        &mut self,
        mouth: &mut Mouth<'_>,
        topic: &str,
        body: &str,
        key: Option<&str>,
        reply_to: Option<u64>,
    ) {
        // What is said again is said as it was.
        let mut payload = mouth.truth.more_of(body);
        payload["body"] = json!(body);
        if let Some(key) = key {
            payload["key"] = json!(key);
        }
        if let Some(reply_to) = reply_to {
            payload["reply_to"] = json!(reply_to);
        }
        self.say_payload(mouth, topic, (body, key, reply_to), payload);
    }

    /// What a message has besides its body: mostly nothing.
    fn some_more(&mut self, mouth: &Mouth<'_>) -> Value {
        let mut more = json!({});
        if mouth.plan.is_rich && self.draws.one_in(4) {
            let mentions = ["ann", "bob", "nobody \u{e9}", "@room"];
            let count = self.draws.size(1, 2);
            let mentions: Vec<_> = (0..count).map(|_| *self.draws.pick(&mentions)).collect();
            more["mentions"] = json!(mentions);
        }
        if mouth.plan.is_rich && self.draws.one_in(4) {
            more["data"] = json!({"n": self.said, "deep": {"body": [1.5, "\u{e9}\""]}});
        }
        more
    }

    /// Says a message with this body and more.
    pub(crate) fn say(&mut self, mouth: &mut Mouth<'_>, topic: &str, body: &str, payload: Value) {
        self.say_payload(mouth, topic, (body, None, None), payload);
    }

    fn say_payload(
        &mut self,
        mouth: &mut Mouth<'_>,
        topic: &str,
        (body, key, reply_to): (&str, Option<&str>, Option<u64>),
        payload: Value,
    ) {
        let room = topic.strip_prefix("room:").expect("messages are said in rooms");
        let link = self.link.as_mut().expect("who acts is connected");
        link.said += 1;
        let (place, has_ended) = ((link.serial, link.said), link.has_ended(mouth.unix_ms));
        let mut more = json!({});
        for name in ["mentions", "data"] {
            if let Some(value) = payload.get(name) {
                more[name] = value.clone();
            }
        }
        let calls_all = calls_all(&payload);
        mouth.truth.say(body, self.user, room, key, (reply_to, more), place);
        if has_ended {
            mouth.truth.say_too_late(body);
        }
        let too_large = json!(body).to_string().len() - 2 > mouth.plan.settings.limits.body_bytes;
        let (body, key) = (body.to_owned(), key.map(str::to_owned));
        let ask = Ask::Publish { body, key, too_large, calls_all };
        self.push(mouth, topic, "new_msg", &Payload::Json(payload), Some(ask));
    }

    /// A message of a topic that it has heard of, or the next one: mostly one of a few.
    pub(crate) fn some_message(&mut self, topic: &str) -> u64 {
        let last = self.cursors.get(topic).map_or(0, |cursor| cursor.offset);
        let few = last.min(3);
        match self.draws.below(4) {
            0 => self.draws.range(1, last + 1),
            1 | 2 => (last - self.draws.range(0, few)).max(1),
            _ => self.draws.range(1, few + 1),
        }
    }

    /// Reacts to a message, or does no longer.
    fn react(&mut self, mouth: &mut Mouth<'_>) {
        let topic = self.channel_or_topic(mouth);
        if !topic.starts_with("room:") {
            return;
        }
        let offset = self.some_message(&topic);
        let emoji = *self.draws.pick(&["\u{1f44d}", "\u{1f389}", "\"", "ok"]);
        let on = !self.draws.one_in(4);
        let payload = Payload::Json(json!({"offset": offset, "emoji": emoji, "on": on}));
        self.push(mouth, &topic, "msg_react", &payload, Some(Ask::React { on }));
    }

    /// Edits, deletes or pins a message.
    fn change(&mut self, mouth: &mut Mouth<'_>) {
        let topic = self.channel_or_topic(mouth);
        let Some(room) = topic.strip_prefix("room:") else { return };
        let Cursor { epoch, .. } = self.cursors.get(&topic).cloned().unwrap_or_default();
        let offset = self.some_message(&topic);
        self.said += 1;
        let (event, deed, payload) = match self.draws.below(8) {
            0 => ("msg_delete", Deed::Delete, json!({"offset": offset})),
            1 | 2 => {
                let on = !self.draws.one_in(3);
                ("msg_pin", Deed::Pin(on), json!({"offset": offset, "on": on}))
            }
            _ => {
                let body = format!("{}-{} edited \u{e9}\"\\", self.id, self.said);
                mouth.truth.edit(&body, room, offset);
                let mut payload = self.some_more(mouth);
                payload["offset"] = json!(offset);
                payload["body"] = json!(body);
                if mouth.plan.is_rich && self.draws.one_in(6) {
                    payload["data"] = Value::Null;
                }
                ("msg_edit", Deed::Edit(body), payload)
            }
        };
        let calls_all = calls_all(&payload);
        let ask = Ask::Change { offset, deed, calls_all, epoch };
        self.push(mouth, &topic, event, &Payload::Json(payload), Some(ask));
    }

    fn custom(&mut self, mouth: &mut Mouth<'_>) {
        let topic = self.channel_or_topic(mouth);
        if topic == "lobby" {
            return;
        }
        self.said += 1;
        let number = format!("e{}-{}", self.id, self.said);
        let event = *self.draws.pick(&["wave", "x:y", "\u{e9}v\u{e9}nement"]);
        let is_binary = self.may_be_binary(&topic) && self.draws.one_in(4);
        let size_max = mouth.plan.settings.limits.frame_bytes - AROUND_BODY_BYTES / 2;
        let size = if self.draws.one_in(4) { self.draws.size(0, size_max) } else { 0 };
        let padding = "p".repeat(size);
        let payload = if is_binary {
            Payload::Binary([number.as_bytes(), b"\x00\xff\xfe"].concat())
        } else if self.draws.one_in(3) {
            Payload::Json(json!({"n": number, "user": self.user().id, "padding": padding}))
        } else {
            Payload::Json(json!({"n": number, "deep": {"user": "nobody", "padding": padding}}))
        };
        mouth.truth.say_custom(&number, self.user, &topic, event);
        let around = number.len() + AROUND_BODY_BYTES / 2;
        let may_be_too_large = size + around > mouth.plan.settings.limits.body_bytes;
        let ask = Ask::Custom { number, may_be_too_large };
        self.push(mouth, &topic, event, &payload, Some(ask));
    }

    /// Attaches another meta to its presence.
    fn attach(&mut self, mouth: &mut Mouth<'_>) {
        let topic = self.channel_or_topic(mouth);
        if !topic.starts_with("room:") {
            return;
        }
        self.said += 1;
        let is_none = self.draws.one_in(4);
        let meta = if is_none { Value::Null } else { json!({"n": self.said, "of": self.id}) };
        let payload = Payload::Json(json!({"meta": meta}));
        self.push(mouth, &topic, "room_meta", &payload, Some(Ask::Attach { meta }));
    }

    /// A binary push must name its join: an empty ref is one that no join has.
    fn may_be_binary(&self, topic: &str) -> bool {
        let join_ref = self.link.as_ref().and_then(|link| link.newest_join_ref(topic));
        !self.v1 && join_ref.is_some_and(|join_ref| join_ref != "null")
    }

    pub(crate) fn typing(&mut self, mouth: &mut Mouth<'_>, topic: &str, thread: Option<u64>) {
        // It is answered only if it is refused.
        let link = self.link.as_ref().expect("who acts is connected");
        let join_ref = link.newest_join_ref(topic).unwrap_or("null").to_owned();
        mouth.truth.typed.insert((topic.to_owned(), self.user().id, thread));
        let payload = thread.map_or_else(|| json!({}), |thread| json!({"thread": thread}));
        let reference = self.send_as_text_under(mouth, &join_ref, topic, "typing", &payload);
        self.half_expect(mouth, reference, &join_ref, topic, Ask::Wrong("typing"));
    }

    fn send_as_text_under(
        &mut self,
        mouth: &mut Mouth<'_>,
        join_ref: &str,
        topic: &str,
        event: &str,
        payload: &Value,
    ) -> String {
        let link = self.link.as_mut().expect("who acts is connected");
        link.refs += 1;
        let reference = format!("\"{}\"", link.refs);
        let text = self.text(join_ref, &reference, topic, event, payload);
        push_message(&mut mouth.out, &mut self.draws, TEXT, text.as_bytes());
        reference
    }

    fn history(&mut self, mouth: &mut Mouth<'_>) {
        let topic = self.channel_or_topic(mouth);
        if !topic.starts_with("room:") {
            return;
        }
        let offset = self.cursors.get(&topic).map_or(3, |cursor| cursor.offset);
        let offset = self.draws.range(0, offset + 2);
        let limit = self.draws.one_in(2).then(|| self.draws.range(0, u64::from(PAGE_MESSAGES_MAX)));
        match self.draws.below(3) {
            0 => self.ask_history(mouth, &topic, Some(offset), None, limit),
            1 => self.ask_history(mouth, &topic, None, Some(offset), limit),
            _ => self.ask_history(mouth, &topic, None, None, limit),
        }
    }

    /// Looks for messages with a text in them.
    pub(crate) fn search(&mut self, mouth: &mut Mouth<'_>, topic: &str, query: &str) {
        let payload = Payload::Json(json!({"query": query}));
        let ask = Ask::Search(query.to_owned());
        self.push(mouth, topic, "msg_search", &payload, Some(ask));
    }

    /// Asks for a page.
    pub(crate) fn ask_history(
        &mut self,
        mouth: &mut Mouth<'_>,
        topic: &str,
        before: Option<u64>,
        after: Option<u64>,
        limit: Option<u64>,
    ) {
        let mut payload = json!({});
        for (name, value) in [("before", before), ("after", after), ("limit", limit)] {
            if let Some(value) = value {
                payload[name] = json!(value);
            }
        }
        let member = self.link.as_ref().and_then(|link| link.member(topic));
        let heard = member.map(|member| (member.epoch.clone(), member.last)).unwrap_or_default();
        let ask = Ask::History { before, after, limit, heard };
        self.push(mouth, topic, "history", &Payload::Json(payload), Some(ask));
    }

    fn echo(&mut self, mouth: &mut Mouth<'_>) {
        let topic = self.channel_or_topic(mouth);
        let size = self.draws.skewed(mouth.plan.settings.limits.frame_bytes / 4);
        let payload = match self.draws.below(4) {
            // To one that polls no bytes can come back.
            0 if self.may_be_binary(&topic) && !self.polls => Payload::Binary(vec![0xfe; size]),
            1 => Payload::Json(json!([1, "two", null])),
            _ => Payload::Json(json!({"x": "y".repeat(size)})),
        };
        self.push(mouth, &topic, "echo", &payload.clone(), Some(Ask::Echo(payload)));
    }

    /// The heartbeat that keeps a connection.
    pub(crate) fn heartbeat(&mut self, mouth: &mut Mouth<'_>) {
        let reference = self.send(mouth, None, "phoenix", "heartbeat", &Payload::Json(json!({})));
        self.expect(mouth, reference, "null", "phoenix", Ask::Heartbeat);
    }

    fn ping(&mut self, mouth: &mut Mouth<'_>) {
        let payload = vec![b'p'; self.draws.size(0, 125)];
        push_frame(&mut mouth.out, &mut self.draws, PING, true, &payload);
        self.link.as_mut().expect("who acts is connected").pings.push_back(payload);
    }

    /// A push of a join that is long over, or never was.
    fn stale(&mut self, mouth: &mut Mouth<'_>) {
        let topic = self.channel_or_topic(mouth);
        let event = *self.draws.pick(&["echo", "new_msg", "phx_leave", "wave"]);
        let reference =
            self.send(mouth, Some("\"stale\""), &topic, event, &Payload::Json(json!({})));
        let ask = if event == "phx_leave" { Ask::Leave } else { Ask::Wrong("unmatched topic") };
        self.half_expect(mouth, reference, "\"stale\"", &topic, ask);
    }

    /// An event that no application may use: it ends the channel.
    fn crash(&mut self, mouth: &mut Mouth<'_>) {
        let topic = self.channel_or_topic(mouth);
        let event = *self.draws.pick(&["phx_reply", "presence_state", "phx_x"]);
        // Answered if there is no channel, and else with its end.
        let link = self.link.as_ref().expect("who acts is connected");
        let join_ref = link.newest_join_ref(&topic).unwrap_or("null").to_owned();
        let reference = self.send_as_text_under(mouth, &join_ref, &topic, event, &json!({}));
        let ask = Ask::Wrong("unmatched topic");
        self.expect(mouth, reference, &join_ref, &topic, ask);
    }

    /// A request that is refused.
    fn nonsense(&mut self, mouth: &mut Mouth<'_>) {
        let other = USERS[(self.user + 1) % USERS.len()].id;
        let own = self.channel_or_topic(mouth);
        let own_room =
            if own.starts_with("room:") { own } else { format!("room:{}", self.some_room(mouth)) };
        let long = "l".repeat(200);
        let (topic, event, payload, reason) = match self.draws.below(12) {
            0 => ("nope".to_owned(), "phx_join", json!({}), "unmatched topic"),
            1 => ("phoenix".to_owned(), "phx_join", json!({}), "unmatched topic"),
            2 => ("room:".to_owned(), "phx_join", json!({}), "unmatched topic"),
            3 => (format!("user:{other}"), "phx_join", json!({}), "unauthorized"),
            4 => (
                format!("room:{}", self.some_room(mouth)),
                "phx_join",
                json!({"limit": 101}),
                "invalid",
            ),
            5 => (own_room, "new_msg", json!({"body": 7}), "invalid"),
            6 => (own_room, "new_msg", json!({"body": "b", "key": long}), "too_large"),
            7 => (own_room, "wave", json!({"user": other}), "user_mismatch"),
            8 => (own_room, "history", json!({"before": 1, "after": 1}), "invalid"),
            9 => ("lobby".to_owned(), "wave", json!({}), "read_only"),
            10 => (own_room, "wave", json!([1]), "invalid"),
            _ if mouth.plan.settings.limits.frame_bytes < 2_000 => return,
            _ => (own_room, "phx_join", json!({"meta": {"m": "m".repeat(1_100)}}), "too_large"),
        };
        let ask = Ask::Wrong(reason);
        if event == "phx_join" {
            let payload = Payload::Json(payload);
            let reference = self.send_as_text(mouth, &topic, event, &payload);
            return self.expect(mouth, reference, "null", &topic, ask);
        }
        self.push_text(mouth, &topic, event, &payload, ask);
    }

    pub(crate) fn push_text(
        &mut self,
        mouth: &mut Mouth<'_>,
        topic: &str,
        event: &str,
        payload: &Value,
        ask: Ask,
    ) {
        let link = self.link.as_mut().expect("who acts is connected");
        let join_ref = link.newest_join_ref(topic).unwrap_or("null").to_owned();
        link.refs += 1;
        let reference = format!("\"{}\"", link.refs);
        let text = self.text(&join_ref, &reference, topic, event, payload);
        push_message(&mut mouth.out, &mut self.draws, TEXT, text.as_bytes());
        self.expect(mouth, reference, &join_ref, topic, ask);
    }

    /// Another token: mostly a good one, which may end earlier than the one before it.
    fn renew(&mut self, mouth: &mut Mouth<'_>) {
        let topic = self.channel_or_topic(mouth);
        let now_s = mouth.unix_ms / 1_000;
        let other = (self.user + 1) % USERS.len();
        let (token, ask) = match self.draws.below(10) {
            0 => (json!("1.nonsense"), Ask::Wrong("unauthorized")),
            1 => (json!(another_token(self.user, 1)), Ask::Wrong("unauthorized")),
            2 => (json!(another_token(other, now_s + 4_000_000)), Ask::Wrong("user_mismatch")),
            3 => (json!(7), Ask::Wrong("invalid")),
            _ => {
                let mut end_s = now_s + self.draws.range(2, 2 * mouth.plan.token_s.min(600));
                let link = self.link.as_mut().expect("who acts is connected");
                while !link.ends_s.insert(end_s) {
                    end_s += 1;
                }
                (json!(another_token(self.user, end_s)), Ask::Renew { expires_at_s: end_s })
            }
        };
        self.push_token(mouth, &topic, &token, ask);
    }

    /// Pushes a token on a topic.
    pub(crate) fn push_token(
        &mut self,
        mouth: &mut Mouth<'_>,
        topic: &str,
        token: &Value,
        ask: Ask,
    ) {
        let link = self.link.as_mut().expect("who acts is connected");
        if let Ask::Renew { expires_at_s } = ask {
            link.ends_s.insert(expires_at_s);
        }
        let closed = token.as_str().and_then(|token| token.split_once(".not="));
        link.closed.extend(closed.map(|(_, room)| room.to_owned()));
        let payload = Payload::Json(json!({"token": token}));
        self.push(mouth, topic, "access_token", &payload, Some(ask));
    }

    /// Bytes after which a connection must be closed with a certain code.
    fn poison(&mut self, mouth: &mut Mouth<'_>) {
        let limits = &mouth.plan.settings.limits;
        let out = &mut mouth.out;
        let code = match self.draws.below(9) {
            0 => {
                push_message(out, &mut self.draws, TEXT, b"[1,2");
                1011
            }
            1 => {
                push_message(out, &mut self.draws, TEXT, b"");
                1011
            }
            2 => {
                push_message(out, &mut self.draws, TEXT, b"{\"topic\":1}");
                1011
            }
            3 => {
                push_message(out, &mut self.draws, TEXT, b"[\"\xff\",1,2,3,4]");
                1007
            }
            4 => {
                out.extend_from_slice(&[0x81, 0x01, b'x']);
                1002
            }
            5 => {
                push_frame(out, &mut self.draws, 3, true, b"");
                1002
            }
            6 => {
                push_frame(out, &mut self.draws, frames::CONTINUATION, true, b"x");
                1002
            }
            7 => {
                push_frame(out, &mut self.draws, TEXT, true, &vec![b' '; limits.frame_bytes + 1]);
                1009
            }
            _ => {
                push_frame(out, &mut self.draws, TEXT, false, b"[");
                for _ in 0..limits.fragments {
                    push_frame(out, &mut self.draws, frames::CONTINUATION, false, b"");
                }
                1008
            }
        };
        // What follows is thrown away, whatever it is.
        out.extend_from_slice(&vec![0xff; self.draws.size(0, 40)]);
        self.link.as_mut().expect("who acts is connected").poison = Some(code);
    }

    /// Ends the connection as RFC 6455 has it.
    pub(crate) fn close(&mut self, mouth: &mut Mouth<'_>) {
        let payload: &[u8] = if self.draws.one_in(2) { b"" } else { b"\x03\xe8bye" };
        push_frame(&mut mouth.out, &mut self.draws, CLOSE, true, payload);
        self.link.as_mut().expect("who acts is connected").said_close = true;
    }
}

/// Whether somebody mentions all who are in the room.
fn calls_all(payload: &Value) -> bool {
    payload["mentions"].as_array().is_some_and(|users| users.contains(&json!("@room")))
}

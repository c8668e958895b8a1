//! What a client reads, and all that can be said against it at once.
//!
//! ```text
//!   bytes ── read ── hear ─┬ message ── member: what is said in a topic
//!                          ├ ends: a channel is over
//!                          └ reply ─┬ granted
//!                                   └ refused
//! ```

mod granted;
mod heard;
mod member;
mod refused;

use chinwag::auth::level::Level;
use chinwag::link::said::MessageText;

use crate::acts::UPGRADE_KEY;
use crate::client::{Ask, Client, Deed, Link, Payload, Pending};
use crate::frames::{Frame, take_answer};
use crate::logs::LogKind;
use crate::merge;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::truth::Truth;
use crate::world::Host;

use heard::Heard;

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
}

/// The number in a ref.
pub(crate) fn number(reference: &str) -> u64 {
    let digits = reference.trim_matches(|letter: char| !letter.is_ascii_digit());
    digits.parse().expect("there is a number in every ref here")
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

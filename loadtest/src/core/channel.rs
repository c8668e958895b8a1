//! A worker's channels: joins, pushes and their answers, and the check of every message that comes.

use serde_json::json;
use serde_json::value::RawValue;

use super::payload::{Page, epoch_of, offset_of, told, with_field};
use super::{Channel, Core, Draft, Fragments, Pending, Script, State, Timer, Waiting};
use crate::base::{at, count, count64, now_ns};
use crate::client::dialect::{Dialect, Incoming, reason_of, response_of};
use crate::client::frame::{self, Frame, Opcode};
use crate::client::stamp::{self, Found, Stamp};
use crate::client::target::fill;
use crate::order::{Entry, Message, Place};
use crate::plan::Promised;
use crate::stats::{Metric, tell};
use crate::verify::Verdict;
use crate::witness::{Changed, Joined, Told};

/// The most that waits for a socket to take it, in bytes. A server that reads no further is sent no
/// more.
const UNSENT_BYTES_MAX: usize = 4 * 1_024 * 1_024;

impl Core {
    pub(super) fn join_everything(&mut self, id: u32, now: u64, script: &mut impl Script) {
        for membership in 0..count(self.conns[at(id)].memberships.len()) {
            self.join(id, membership, now);
        }
        self.ready_if_joined(id, now, script);
    }

    /// Joins one of a connection's rooms, with its cursor where it has one.
    pub(crate) fn join(&mut self, id: u32, membership: u32, now: u64) {
        let user = self.plan.own().start + id;
        let dialect = self.plan.common.dialect;
        let life = self.witness.as_mut().map(|witness| witness.joins(id, now));
        let conn = &mut self.conns[at(id)];
        let reference = conn.next_ref;
        conn.next_ref += 1;
        let place = &mut conn.memberships[at(membership)];
        place.join_ref = reference;
        place.channel = Channel::Joining(now);
        let mut payload = fill(
            &self.plan.common.join_payload,
            &[("user", &format!("lt-{user}")), ("conn", &user.to_string())],
        );
        let since = match &self.witness {
            Some(witness) => witness.cursor(id).map(|(epoch, offset, change)| {
                json!({"epoch": epoch, "offset": offset, "change": change})
            }),
            None => place
                .seat
                .cursor(&self.rooms[at(place.room)].order)
                .map(|(epoch, offset)| json!({"epoch": epoch, "offset": offset})),
        };
        if let (true, Some(since)) = (self.recover, since) {
            with_field(&mut payload, "since", since);
        }
        if let Some(life) = life {
            with_field(&mut payload, "meta", json!({"life": life}));
        }
        let room = place.room;
        conn.pending.push_back(Pending {
            reference,
            waiting: Waiting::Join(membership),
            due_ns: now,
            asked_ns: now,
        });
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        dialect.push(
            &mut text,
            reference,
            reference,
            &self.rooms[at(room)].topic,
            "phx_join",
            payload.as_bytes(),
        );
        self.send(id, Opcode::Text, &text);
        self.text = text;
    }

    /// Joins again what the server has ended.
    pub(crate) fn rejoin(&mut self, id: u32, now: u64) {
        if self.conns[at(id)].state == State::Open {
            for membership in 0..count(self.conns[at(id)].memberships.len()) {
                if self.conns[at(id)].memberships[at(membership)].channel == Channel::Out {
                    self.join(id, membership, now);
                }
            }
        }
    }

    pub(super) fn ready_if_joined(&mut self, id: u32, now: u64, script: &mut impl Script) {
        let conn = &mut self.conns[at(id)];
        if conn.ready
            || conn.state != State::Open
            || conn.memberships.iter().any(|m| m.channel != Channel::In)
        {
            return;
        }
        conn.ready = true;
        self.ready += 1;
        let (due_ns, generation) = (conn.due_ns, conn.generation);
        self.stats.time(Metric::Ready, now.saturating_sub(due_ns));
        self.finish(id);
        let beat_ns = self.plan.common.heartbeat.0;
        // A channel that was joined again is on a connection that beats already.
        let beats = std::mem::replace(&mut self.conns[at(id)].beating, generation) == generation;
        if beat_ns > 0 && !beats && self.plan.common.dialect == Dialect::Phoenix {
            // The first one early at random, or ten thousand connections would beat as one.
            let first = now + beat_ns / 2 + self.rng.u64(0..=beat_ns / 2);
            self.timer(first, Timer::Heartbeat(id, generation));
        }
        script.ready(self, id, now);
    }

    /// Sends a stamped message to a room, as its publisher number `rank`, through a membership.
    pub(crate) fn publish(&mut self, id: u32, membership: u32, rank: u32, due_ns: u64) {
        let conn = &self.conns[at(id)];
        let place = &conn.memberships[at(membership)];
        let (room, channel) = (place.room, place.channel);
        if channel != Channel::In || conn.out.len() > UNSENT_BYTES_MAX {
            self.stats.counts.not_sent += 1;
            return;
        }
        let draft = self.draft(room, rank, due_ns);
        self.say(id, membership, draft);
        if self.plan.common.not_to_sender {
            // The sender must not miss what it is not sent.
            let Stamp { rank, seq, .. } = draft.stamp;
            self.conns[at(id)].memberships[at(membership)].receiver.received(rank, seq);
        }
    }

    /// The next message of a room's publisher number `rank`, which is to be sent now.
    pub(crate) fn draft(&mut self, room: u32, rank: u32, due_ns: u64) -> Draft {
        let sent = &mut self.rooms[at(room)].sent[at(rank)];
        let seq = *sent;
        *sent += 1;
        self.stats.sent(due_ns, now_ns());
        let bytes = self.plan.common.size.pick(&mut self.rng);
        Draft { stamp: Stamp { room, rank, seq, due_ns }, bytes }
    }

    /// The user of a connection.
    pub(crate) fn user(&self, id: u32) -> String {
        format!("lt-{}", self.plan.own().start + id)
    }

    /// A body with a stamp.
    pub(crate) fn stamped(&mut self, stamp: Stamp) -> String {
        let mut body = Vec::new();
        stamp::write(&mut body, self.plan.run, stamp, self.plan.common.size.pick(&mut self.rng));
        String::from_utf8(body).expect("a stamp is ASCII")
    }

    /// Sends a message through a membership: for the first time, or again.
    pub(crate) fn say(&mut self, id: u32, membership: u32, draft: Draft) {
        let Draft { stamp, bytes } = draft;
        let Stamp { room, rank, seq, due_ns } = stamp;
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        stamp::write(&mut body, self.plan.run, stamp, bytes);
        let body_text = std::str::from_utf8(&body).expect("a stamp is ASCII");
        let mut payload =
            fill(&self.plan.common.payload, &[("body", body_text), ("user", &self.user(id))]);
        if self.witness.is_some() {
            with_field(
                &mut payload,
                "key",
                format!("{}-{room}-{rank}-{seq}", self.plan.run).into(),
            );
        }
        let event = std::mem::take(&mut self.plan.common.event);
        let waiting =
            (!self.plan.common.no_answers).then_some(Waiting::Message { room, rank, seq });
        self.push(id, Some(membership), &event, payload.as_bytes(), waiting, due_ns);
        self.plan.common.event = event;
        self.body = body;
    }

    /// Sends a push on a membership's topic, or a heartbeat where there is none.
    pub(crate) fn push(
        &mut self,
        id: u32,
        membership: Option<u32>,
        event: &str,
        payload: &[u8],
        waiting: Option<Waiting>,
        due_ns: u64,
    ) {
        let dialect = self.plan.common.dialect;
        let conn = &mut self.conns[at(id)];
        if conn.state != State::Open {
            return;
        }
        let reference = conn.next_ref;
        conn.next_ref += 1;
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        match membership {
            Some(membership) => {
                let place = &conn.memberships[at(membership)];
                let topic = &self.rooms[at(place.room)].topic;
                dialect.push(&mut text, place.join_ref, reference, topic, event, payload);
            }
            None => {
                dialect.heartbeat(&mut text, reference);
            }
        }
        if let Some(waiting) = waiting {
            conn.pending.push_back(Pending { reference, waiting, due_ns, asked_ns: now_ns() });
        }
        self.send(id, Opcode::Text, &text);
        self.text = text;
    }

    pub(super) fn heartbeat(&mut self, id: u32, generation: u32, now: u64) {
        if self.conns[at(id)].generation == generation && self.conns[at(id)].state == State::Open {
            self.push(id, None, "heartbeat", b"{}", Some(Waiting::Heartbeat), now);
            self.timer(now + self.plan.common.heartbeat.0, Timer::Heartbeat(id, generation));
        }
    }

    pub(super) fn frame(&mut self, id: u32, frame: Frame<'_>, now: u64, script: &mut impl Script) {
        match frame.opcode {
            Opcode::Text | Opcode::Binary if self.conns[at(id)].fragments.is_some() => {
                self.broken(id, "a message within another", now, script);
            }
            Opcode::Text if frame.fin => self.text(id, frame.payload, frame.bytes, now, script),
            // Binary messages are not asked for.
            Opcode::Binary if frame.fin => self.stats.counts.events += 1,
            Opcode::Text | Opcode::Binary => {
                let so_far = frame.payload.to_vec();
                self.conns[at(id)].fragments = Some(Fragments { opcode: frame.opcode, so_far });
            }
            Opcode::Continuation => self.continuation(id, frame, now, script),
            Opcode::Ping => self.send(id, Opcode::Pong, frame.payload),
            Opcode::Close => {
                let code = frame::close_code(frame.payload);
                self.send(id, Opcode::Close, frame.payload.get(..2).unwrap_or(&[]));
                self.dropped(id, &format!("closed with {code}"), now, script);
            }
            // Nothing was pinged.
            Opcode::Pong => {}
        }
    }

    /// Takes in a further fragment of a message (RFC 6455, 5.4).
    fn continuation(&mut self, id: u32, frame: Frame<'_>, now: u64, script: &mut impl Script) {
        let Some(mut message) = self.conns[at(id)].fragments.take() else {
            return self.broken(id, "a continuation of nothing", now, script);
        };
        message.so_far.extend_from_slice(frame.payload);
        if count64(message.so_far.len()) > frame::PAYLOAD_BYTES_MAX {
            self.broken(id, "fragments without an end", now, script);
        } else if !frame.fin {
            self.conns[at(id)].fragments = Some(message);
        } else if message.opcode == Opcode::Text {
            self.text(id, &message.so_far, message.so_far.len(), now, script);
        } else {
            self.stats.counts.events += 1;
        }
    }

    /// The server broke RFC 6455, after which nothing it sends means anything.
    pub(super) fn broken(&mut self, id: u32, why: &str, now: u64, script: &mut impl Script) {
        self.stats.counts.malformed += 1;
        self.dropped(id, &format!("frame: {why}"), now, script);
    }

    pub(super) fn text(
        &mut self,
        id: u32,
        payload: &[u8],
        frame_bytes: usize,
        now: u64,
        script: &mut impl Script,
    ) {
        let Ok(text) = simdutf8::basic::from_utf8(payload) else {
            self.malformed("text that is not UTF-8");
            return;
        };
        self.note(id, "heard", payload);
        match self.plan.common.dialect.read(text) {
            Incoming::Reply { reference, ok, payload } => {
                self.reply(id, reference, ok, payload, now, script);
            }
            Incoming::Event { topic, event, payload } => {
                match stamp::find(payload.as_bytes(), self.plan.run) {
                    Found::Message(stamp) if event == self.plan.common.event => {
                        self.message(id, &Came { topic, stamp, payload, frame_bytes }, now, script);
                    }
                    found @ (Found::Message(_) | Found::Nothing) => {
                        if found == Found::Nothing && event == self.plan.common.event {
                            self.unstamped(id, topic, payload, Message::Foreign);
                        }
                        self.stats.counts.events += 1;
                        self.stats.counts.event_bytes += u64::from(count(frame_bytes));
                        if event == "phx_error" || event == "phx_close" {
                            self.channel_ended(id, topic, event, payload, now, script);
                        } else {
                            script.event(self, id, event, payload, now);
                        }
                    }
                    Found::Corrupt => {
                        self.stats.counts.corrupt += 1;
                        self.unstamped(id, topic, payload, Message::Unreadable);
                    }
                }
            }
            Incoming::Ready => self.join_everything(id, now, script),
            Incoming::Answer(answer) => self.send(id, Opcode::Text, answer.as_bytes()),
            Incoming::Nothing => {}
            Incoming::Malformed => self.malformed("message that is not of the dialect"),
        }
    }

    /// Counts something that no server should send.
    pub(crate) fn malformed(&mut self, why: &str) {
        self.stats.counts.malformed += 1;
        tell(&mut self.stats.counts.reasons, why);
    }

    pub(super) fn message(&mut self, id: u32, came: &Came<'_>, now: u64, script: &mut impl Script) {
        let Came { topic, stamp, payload, frame_bytes } = *came;
        let conn = &mut self.conns[at(id)];
        let Some(place) =
            conn.memberships.iter_mut().find(|m| m.room == stamp.room && m.channel != Channel::Out)
        else {
            self.stats.counts.stray += 1;
            return;
        };
        let room = &self.rooms[at(place.room)];
        if room.topic != topic || at(stamp.rank) >= room.sent.len() {
            self.stats.counts.stray += 1;
            return;
        }
        let offset = offset_of(payload);
        let ours = Message::Ours { rank: stamp.rank, seq: stamp.seq };
        // Before the answer to the join nothing is promised.
        if let Some(witness) = &mut self.witness {
            let (epoch, body) = (epoch_of(payload), stamp.due_ns);
            witness.came(id, &Told { epoch, offset, message: ours, body, changed: None });
        } else if place.channel == Channel::In {
            let verdict = place.receiver.received(stamp.rank, stamp.seq);
            let order = &mut self.rooms[at(place.room)].order;
            let in_order = place.seat.received(order, offset, ours);
            self.judge(Some(verdict), in_order);
        }
        self.stats.counts.delivered += 1;
        self.stats.arrived(frame_bytes, now);
        if self.conns[at(id)].sleeper {
            self.stats.time_due(Metric::Overdue, stamp.due_ns, now);
        } else {
            self.stats.latency(Metric::Delivery, stamp.due_ns, now);
        }
        script.message(self, id, stamp, now);
    }

    /// Takes in a message that is not to be checked but has its place in the room's order.
    fn unstamped(&mut self, id: u32, topic: &str, payload: &str, message: Message) {
        let rooms = &mut self.rooms;
        let mut members = self.conns[at(id)].memberships.iter_mut();
        let Some(place) =
            members.find(|m| m.channel == Channel::In && rooms[at(m.room)].topic == topic)
        else {
            return;
        };
        let offset = offset_of(payload);
        if let Some(witness) = &mut self.witness {
            // Of one that is deleted it is told that it was said, too.
            let is_empty = memchr::memmem::find(payload.as_bytes(), b"\"body\":\"\"").is_some();
            let message = if is_empty { Message::Deleted } else { message };
            let epoch = epoch_of(payload);
            return witness.came(id, &Told { epoch, offset, message, body: 0, changed: None });
        }
        let order = &mut rooms[at(place.room)].order;
        let in_order = place.seat.received(order, offset, message);
        self.judge(None, in_order);
    }

    /// Counts what is wrong with a message, once: as what its sender's order says of it, or else as
    /// what the room's does.
    fn judge(&mut self, verdict: Option<Verdict>, in_order: Place) {
        let counts = &mut self.stats.counts;
        let is_counted = match verdict {
            None | Some(Verdict::InOrder | Verdict::Early) => false,
            Some(Verdict::Late) => {
                counts.reordered += 1;
                true
            }
            Some(Verdict::Duplicate) => {
                counts.duplicate += 1;
                true
            }
            Some(Verdict::Unknown) => {
                counts.stray += 1;
                true
            }
        };
        let is_wrong = match in_order {
            Place::Next => false,
            Place::NotNext => !is_counted,
            Place::Differs => true,
        };
        if is_wrong && self.plan.common.order == Promised::Room {
            counts.room_order += 1;
        }
    }

    pub(super) fn reply(
        &mut self,
        id: u32,
        reference: u32,
        ok: bool,
        payload: &str,
        now: u64,
        script: &mut impl Script,
    ) {
        let conn = &mut self.conns[at(id)];
        let Some(place) = conn.pending.iter().position(|pending| pending.reference == reference)
        else {
            return self.malformed("answer to nothing that was asked");
        };
        let Pending { waiting, due_ns, .. } =
            conn.pending.remove(place).expect("the place was just found");
        match waiting {
            Waiting::Join(membership) => {
                return self.joined(id, membership, ok, payload, now, script);
            }
            Waiting::Message { room, rank, seq } => {
                if ok {
                    self.stats.counts.answered += 1;
                    self.stats.counts.answered_window += u64::from(self.stats.in_window(now));
                    self.stats.time_due(Metric::Answer, due_ns, now);
                } else if self.witness.is_none() {
                    tell(&mut self.stats.counts.refused, &reason_of(payload));
                    self.refused.insert((room, rank, seq));
                }
            }
            Waiting::Ping => {
                if ok {
                    self.stats.counts.answered += 1;
                    self.stats.counts.delivered += 1;
                    self.stats.arrived(payload.len(), now);
                    self.stats.latency(Metric::RoundTrip, due_ns, now);
                } else {
                    tell(&mut self.stats.counts.refused, &reason_of(payload));
                }
            }
            Waiting::History if ok => self.stats.time_due(Metric::History, due_ns, now),
            Waiting::Heartbeat if ok => {}
            // What is refused is the script's affair.
            Waiting::Own(_) => {}
            Waiting::History if self.witness.is_some() => {}
            Waiting::History | Waiting::Heartbeat => {
                tell(&mut self.stats.counts.refused, &reason_of(payload));
            }
        }
        script.answered(self, id, waiting, ok, payload, now);
    }

    pub(super) fn joined(
        &mut self,
        id: u32,
        membership: u32,
        ok: bool,
        payload: &str,
        now: u64,
        script: &mut impl Script,
    ) {
        let Channel::Joining(asked_ns) = self.conns[at(id)].memberships[at(membership)].channel
        else {
            return;
        };
        if !ok {
            self.conns[at(id)].memberships[at(membership)].channel = Channel::Out;
            if !script.join_refused(self, id, payload, now) {
                self.stats.counts.join_failed += 1;
                tell(&mut self.stats.counts.reasons, &format!("join: {}", reason_of(payload)));
                self.finish(id);
            }
            return;
        }
        self.stats.counts.joined += 1;
        self.stats.time(Metric::Join, now.saturating_sub(asked_ns));
        let place = &mut self.conns[at(id)].memberships[at(membership)];
        place.channel = Channel::In;
        let page = response_of(payload)
            .and_then(|response| serde_json::from_str::<Page<'_>>(response.get()).ok());
        let order = &mut self.rooms[at(place.room)].order;
        let entry = page.as_ref().and_then(Page::entry);
        if self.witness.is_some() {
            self.witnessed_join(id, page.as_ref().zip(entry));
            return self.ready_if_joined(id, now, script);
        }
        let asked_for = self.recover && place.seat.cursor(order).is_some();
        let recovered = page.as_ref().filter(|page| page.recovered && asked_for).zip(entry);
        if let Some((page, entry)) = recovered {
            self.caught_up(id, membership, entry, &page.messages);
        } else {
            place.seat.joined(order, entry, self.started);
            if self.started {
                let all_known = self.plan.workers == 1
                    || matches!(self.plan.scenario, crate::plan::Scenario::Chat(_));
                let sent = self.rooms[at(place.room)].sent.iter();
                place.receiver.rejoined(sent.map(|sent| all_known.then_some(*sent)));
            }
        }
        self.ready_if_joined(id, now, script);
    }

    /// Lets the witness have the answer to a join.
    fn witnessed_join(&mut self, id: u32, answer: Option<(&Page<'_>, Entry<'_>)>) {
        let Some((page, entry)) = answer else {
            return self.malformed("a join's answer without an epoch and an offset");
        };
        let room = self.conns[at(id)].memberships[0].room;
        let brought: Vec<Told<'_>> =
            page.messages.iter().map(|m| told(self.plan.run, room, m)).collect();
        if page.recovered {
            self.stats.counts.recovered += count64(brought.len());
        }
        let changed: Vec<Changed> =
            page.changed.iter().filter_map(|m| Changed::read(m.get(), self.plan.run)).collect();
        if let Some(witness) = &mut self.witness {
            let joined = Joined { entry, change: page.change, recovered: page.recovered };
            witness.joined(id, &joined, &brought, &changed);
        }
    }

    /// Takes in what a rejoin's answer says was missed: all of it, in order.
    fn caught_up(&mut self, id: u32, membership: u32, entry: Entry<'_>, messages: &[&RawValue]) {
        let run = self.plan.run;
        let brought: Vec<_> = messages
            .iter()
            .map(|message| {
                let message = message.get();
                let what = match stamp::find(message.as_bytes(), run) {
                    Found::Message(Stamp { rank, seq, .. }) => Message::Ours { rank, seq },
                    Found::Nothing => Message::Foreign,
                    Found::Corrupt => Message::Unreadable,
                };
                (offset_of(message), what)
            })
            .collect();
        let place = &mut self.conns[at(id)].memberships[at(membership)];
        let order = &mut self.rooms[at(place.room)].order;
        let places = place.seat.recovered(order, entry, brought.iter().copied());
        // One place more than messages: whether these were all.
        let all = brought.iter().map(|(_, what)| Some(*what)).chain([None]);
        for (what, in_order) in all.zip(places) {
            let verdict = match what {
                Some(Message::Ours { rank, seq }) => {
                    self.stats.counts.recovered += 1;
                    let place = &mut self.conns[at(id)].memberships[at(membership)];
                    Some(place.receiver.received(rank, seq))
                }
                Some(Message::Unreadable) => {
                    self.stats.counts.corrupt += 1;
                    None
                }
                Some(Message::Foreign | Message::Deleted) | None => None,
            };
            self.judge(verdict, in_order);
        }
    }

    pub(super) fn channel_ended(
        &mut self,
        id: u32,
        topic: &str,
        event: &str,
        payload: &str,
        now: u64,
        script: &mut impl Script,
    ) {
        let rooms = &self.rooms;
        let conn = &mut self.conns[at(id)];
        let found = conn
            .memberships
            .iter()
            .position(|m| rooms[at(m.room)].topic == topic && m.channel == Channel::In);
        let Some(membership) = found else { return };
        conn.memberships[membership].channel = Channel::Out;
        if std::mem::take(&mut conn.ready) {
            self.ready -= 1;
        }
        if let Some(witness) = &mut self.witness {
            witness.left(id, now);
        }
        if self.conns[at(id)].may_end {
            self.stats.counts.ended_loudly += 1;
        } else {
            self.stats.counts.channel_ended += 1;
            tell(&mut self.stats.counts.reasons, &format!("{event} {payload}"));
        }
        script.ended(self, id, count(membership), now);
    }
}

/// A message of the run, as it came.
pub(super) struct Came<'a> {
    topic: &'a str,
    stamp: Stamp,
    payload: &'a str,
    frame_bytes: usize,
}

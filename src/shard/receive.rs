//! From a connection's bytes to a request or a message, and on to the part that handles it.
//!
//! ```text
//!   received ── handle ─┬ request ── api ────────────────┐
//!                       └ frame ── message ── dispatch ──┴─ Ask ── route
//! ```
//!
//! Called by: `reactor`, `shard`. Calls: `api`, `member`, `conn`, `route`.

use super::{Shard, Turn};
use crate::api::poll::count_refused;
use crate::api::{Api, Read};
use crate::base::budget::Purse;
use crate::conn::{Begun, Stage, Starved};
use crate::limits::{
    ANSWER_BYTES_PER_WORK, CHANNELS_PER_WORK, CONN_WORK, LEAVING_WORK, MESSAGE_WORK, REQUEST_WORK,
};
use crate::link::ids::ConnKey;
use crate::link::io::Io;
use crate::link::topic::ACCESS_TOKEN;
use crate::member::{Dispatch, Joiner, Push};
use crate::wire::phx::{Message, Payload};
use crate::wire::ws::close::CloseCode;
use crate::wire::ws::message::{Data, Incoming};

/// Whether a message was handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// The message was handled.
    Next,
    /// The message must wait, and be offered again.
    Park,
}

impl Shard {
    /// Takes a connection in. `None` if the shard has as many as it may have.
    pub fn open<I: Io>(&mut self, turn: &mut Turn<'_, I>) -> Option<ConnKey> {
        if !self.has_room() {
            count_refused(&mut self.common.cx(turn));
            return None;
        }
        self.common.metrics.accepted += 1;
        let key = self.members.conns.take_in(turn.now.mono_ms);
        let handshake_ms = self.common.settings.limits.handshake_ms;
        self.members.conns.set_deadline(turn.now, key, turn.now.mono_ms + handshake_ms);
        Some(key)
    }

    /// Handles bytes that came from a connection. False if no more are to be read of it until
    /// [`Io::resume`] is called.
    pub fn received<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        key: ConnKey,
        bytes: &mut [u8],
    ) -> bool {
        match self.members.conns.begin_input(turn.now.mono_ms, key) {
            Begun::Closing => return true,
            Begun::Fresh => {
                let handled = self.handle(turn, key, bytes);
                let cx = self.common.cx(turn);
                self.members.conns.end_input(&cx, key, &bytes[handled..]);
            }
            Begun::Held(mut held) => {
                held.bytes.extend_from_slice(bytes);
                let handled = self.handle(turn, key, &mut held.bytes);
                let cx = self.common.cx(turn);
                self.members.conns.end_held_input(&cx, key, held, handled);
            }
        }
        self.relay(turn);
        self.members.conns.finish_input(key)
    }

    /// Handles the whole requests and frames in `bytes`. Returns how many bytes they took.
    fn handle<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: ConnKey, bytes: &mut [u8]) -> usize {
        let out_mark_bytes = self.common.settings.limits.out_mark_bytes();
        let share_end = self.common.budget.done() + u64::from(CONN_WORK);
        let mut at = 0;
        while at < bytes.len() {
            let flags = self.members.conns.flags(key.index());
            if !self.members.conns.contains(key) || flags.is_closing() {
                return bytes.len();
            }
            if flags.is_parked() {
                break;
            }
            let out_bytes = self.members.conns.out_bytes(key);
            if self.park_if_due(key, out_bytes, share_end) {
                break;
            }
            let stage = self.members.conns.stage(key);
            let handled = match stage {
                Stage::Http => self.request(turn, key, &bytes[at..]),
                Stage::Waiting => None,
                Stage::Echo | Stage::Unsettled | Stage::Settled => {
                    self.frame(turn, key, &mut bytes[at..])
                }
            };
            let Some(handled) = handled else { break };
            at += handled;
            let answered = self.members.conns.out_bytes(key).saturating_sub(out_bytes);
            self.spend(key, stage, answered);
            if out_bytes + answered > out_mark_bytes {
                // Not at the end of the turn: a small request may have a large answer, and one read
                // may bring thousands of requests.
                self.members.flush_conn(&mut self.common.cx(turn), key);
            }
        }
        at
    }

    /// Parks a connection of which no more may be handled now: `out_bytes` of output are too much,
    /// or no work is left for it. Its share ends when the budget has done `share_end`.
    fn park_if_due(&mut self, key: ConnKey, out_bytes: usize, share_end: u64) -> bool {
        let (conns, budget) = (&mut self.members.conns, &self.common.budget);
        if out_bytes > self.common.settings.limits.out_mark_bytes() {
            // The client reads the answers that it has before it gets more.
            conns.park_full(key);
            return true;
        }
        let has_share = budget.done() < share_end;
        // Without others that wait, a connection may go on beyond its share.
        let must_yield = !has_share && conns.has_starved();
        if must_yield || !budget.has_left(Purse::Conns) {
            conns.park_starved(key, if has_share { Starved::Fresh } else { Starved::Spent });
            return true;
        }
        false
    }

    /// Counts the work of one request or message of a connection, with its answer of
    /// `answer_bytes`.
    fn spend(&mut self, key: ConnKey, stage: Stage, answer_bytes: usize) {
        let budget = &mut self.common.budget;
        budget.spend(if stage == Stage::Http { REQUEST_WORK } else { MESSAGE_WORK });
        // Its channel is found among them.
        budget.spend_for(self.members.channels_count(key), CHANNELS_PER_WORK);
        budget.spend_for(answer_bytes, ANSWER_BYTES_PER_WORK);
        self.spend_visits();
    }

    /// Goes on with the starved connections, in order, until the turn has no work left.
    pub(super) fn handle_starved<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        self.common.budget.refill();
        while self.common.budget.has_left(Purse::Conns)
            && let Some((key, starved)) = self.members.conns.next_starved()
        {
            let done = self.common.budget.done();
            self.go_on(turn, key);
            self.members.conns.note_given(starved, self.common.budget.done() - done);
        }
    }

    /// Handles the next request. Returns its length in bytes; `None` if it is not whole, or must
    /// wait.
    fn request<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        key: ConnKey,
        bytes: &[u8],
    ) -> Option<usize> {
        let has_room = self.has_room();
        let mut cx = self.common.cx(turn);
        let conns = &mut self.members.conns;
        let (head, body, taken) = match self.api.read(&mut cx, conns, key, bytes) {
            Read::Whole { head, body, taken } => (head, body, taken),
            Read::Partial => return None,
            Read::Refused => return Some(bytes.len()),
        };
        if Api::comes_in(&head) {
            if !self.admission.admits() {
                self.admission.line_up(turn.now.mono_ms, key);
                conns.park(key);
                self.common.metrics.parked_upgrades += 1;
                return None;
            }
            self.admission.spend(0);
        }
        let mut desk = std::mem::take(&mut self.desk);
        let request = (&head, &*body);
        let directory = &self.directory;
        let ask = self.api.handle(&mut cx, conns, directory, has_room, key, request, &mut desk);
        if let Some(ask) = ask {
            self.ask(turn, ask);
        }
        self.desk = desk;
        Some(taken)
    }

    /// Handles the next frame. Returns its length in bytes; `None` if it is not whole.
    fn frame<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        key: ConnKey,
        bytes: &mut [u8],
    ) -> Option<usize> {
        let mut cx = self.common.cx(turn);
        let (incoming, taken) = self.members.conns.next_frame(&cx, key, bytes)?;
        match incoming {
            Ok(Some(Incoming::Text(text))) => self.data(turn, key, Data::Text(&text)),
            Ok(Some(Incoming::Binary(bytes))) => self.data(turn, key, Data::Binary(&bytes)),
            Ok(Some(Incoming::Ping(payload))) => self.members.conns.pong(key, payload),
            Ok(None | Some(Incoming::Pong)) => {}
            Ok(Some(Incoming::Close(_))) => {
                self.members.close(&mut cx, key, CloseCode::Normal, "");
            }
            Err(error) => self.members.break_off(&mut cx, key, error),
        }
        Some(taken)
    }

    /// Handles the data of a whole message, or sends it back on a connection of the echo service.
    fn data<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: ConnKey, data: Data<'_>) {
        if self.members.conns.stage(key) == Stage::Echo {
            self.members.conns.echo(key, data);
        } else {
            self.message(turn, key, data);
        }
    }

    /// Handles one message of a client, or parks the connection and holds the message.
    fn message<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: ConnKey, data: Data<'_>) {
        if self.members.conns.has_expired(turn.now, key) {
            return self.members.expire(&mut self.common.cx(turn), key);
        }
        let serializer = self.members.conns.serializer(key.index());
        let decoded = match data {
            Data::Text(text) => self.decoder.text(text, serializer),
            Data::Binary(bytes) => self.decoder.binary(bytes, serializer),
        };
        let flow = if let Ok(message) = decoded {
            self.dispatch(turn, key, &message)
        } else {
            self.common.metrics.malformed += 1;
            self.members.close(&mut self.common.cx(turn), key, CloseCode::Internal, "");
            Flow::Next
        };
        match flow {
            Flow::Next => self.common.metrics.messages_in += 1,
            // The message is offered again, here or on another shard, and is counted then.
            Flow::Park => self.members.conns.park_message(key, data),
        }
    }

    fn dispatch<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        conn: ConnKey,
        message: &Message<'_>,
    ) -> Flow {
        let channels_max = self.common.settings.limits.channels_per_conn;
        match self.members.dispatch(conn, channels_max, message) {
            Dispatch::Done => {}
            Dispatch::Park => return Flow::Park,
            Dispatch::Join { topic, is_new } => {
                if is_new && self.goes_elsewhere(turn, conn, &topic) {
                    return Flow::Park;
                }
                self.join(turn, conn, message, &topic);
            }
            Dispatch::Leave { audience } => {
                self.common.budget.spend(LEAVING_WORK);
                if let Some(ask) = self.members.leave(conn, audience, &message.reference) {
                    self.ask(turn, ask);
                }
            }
            Dispatch::Push { audience, event } => {
                self.push(turn, Push { conn, audience, message, event: &event });
            }
            Dispatch::Renew { audience } => {
                self.renew(turn, Push { conn, audience, message, event: ACCESS_TOKEN });
            }
        }
        Flow::Next
    }

    fn join<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        conn: ConnKey,
        message: &Message<'_>,
        topic: &str,
    ) {
        let Some(identity) = self.members.conns.identity(conn).cloned() else { return };
        let joiner = Joiner { conn, identity: &identity, message, topic };
        let cx = &mut self.common.cx(turn);
        if let Some(ask) = self.members.join(cx, &mut self.directory, &joiner) {
            // The connection's last channel of this topic may have been evicted. The home must hear
            // of that before the join, or one connection would be two members.
            self.relay_evicted(turn);
            self.ask(turn, ask);
        }
    }

    fn push<I: Io>(&mut self, turn: &mut Turn<'_, I>, push: Push<'_>) {
        let mut desk = std::mem::take(&mut self.desk);
        let asked = match self.members.push(&mut self.common.cx(turn), push, &mut desk) {
            Ok(asked) => asked,
            Err(refusal) => {
                refusal.count(&mut self.common.metrics);
                desk.text.clear();
                refusal.push_response(&mut desk.text);
                self.members.answer_in_order(push, "error", Payload::Json(&desk.text))
            }
        };
        if let Some(ask) = asked {
            self.ask(turn, ask);
            if let Some(shard) = ask.shard() {
                self.members.conns.pause_if_filling(&self.common.cx(turn), push.conn, shard);
            }
        }
        self.desk = desk;
    }

    /// A connection's socket takes bytes again.
    pub fn writable<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: ConnKey) {
        self.members.writable(&mut self.common.cx(turn), key);
        self.relay(turn);
    }

    /// A connection's peer has ended its half.
    pub fn ended<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: ConnKey) {
        self.members.ended(&mut self.common.cx(turn), key);
        self.relay(turn);
    }

    /// A connection is broken, or both sides have ended it.
    pub fn hung_up<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: ConnKey) {
        self.members.hung_up(&mut self.common.cx(turn), key);
        self.relay(turn);
    }

    /// Handles the held input of connections that are no longer parked.
    pub(super) fn handle_unparked<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        while let Some(key) = self.members.conns.next_unparked() {
            self.go_on(turn, key);
        }
    }

    /// Goes on with a connection, if it is still parked.
    pub(super) fn go_on<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: ConnKey) {
        if self.members.conns.end_park(key) && self.received(turn, key, &mut []) {
            turn.io.resume(key.index());
        }
    }
}

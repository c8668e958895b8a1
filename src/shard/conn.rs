//! One connection: its record, how it begins and ends, and the way of its bytes through HTTP or
//! WebSocket to messages.
//!
//! An idle connection is its record, its seats, and a few bytes in dense arrays beside it, and owns
//! no buffer. What arrives in part is held in a lent buffer until the rest comes
//! ([`Input`](super::input::Input)); what it is to be sent waits in another (`output`).
//!
//! A connection may be *parked*: what it sent cannot be handled yet, for its channel is in
//! transition, the way to another shard is full, or too many come in at once. Nothing more is read
//! from it then; what has been read is held, and goes on from there.
//!
//! Deliberately absent: sockets ([`Io`]), and what a message means (`channel`).

use super::audience::Audience;
use super::buffers::BufferId;
use super::channels::{Channel, Channels};
use super::deadlines::coarse;
use super::input::{Input, InputId};
use super::memory::Pressure;
use super::{Io, Shard, Turn};
use crate::base::arena::Key;
use crate::chat::identity::Identity;
use crate::limits::LINGER_MS;
use crate::wire::phx::Serializer;
use crate::wire::ws::FrameError;
use crate::wire::ws::close::{CloseCode, push_close};
use crate::wire::ws::frame::{Opcode, next_frame, push_client_frame, push_frame};
use crate::wire::ws::message::Incoming;

/// Its socket took less than it was given; it is written to again when the socket says so.
pub(super) const BLOCKED: u8 = 1;
/// It has output of its own, which goes before anything of a room.
pub(super) const HAS_OUT: u8 = 1 << 1;
/// It speaks the old encoding.
pub(super) const SPEAKS_V1: u8 = 1 << 2;
/// What it sent cannot be handled yet.
pub(super) const PARKED: u8 = 1 << 3;
/// It is in [`Shard::touched_conns`].
pub(super) const TOUCHED: u8 = 1 << 4;
/// It is being closed: what it sends is thrown away, and what it has not been sent goes out first.
pub(super) const CLOSING: u8 = 1 << 5;
/// Our half of its socket is closed.
pub(super) const SHUT: u8 = 1 << 6;

/// It is a session of long polling, and has no socket.
pub(super) const SESSION: u8 = 1 << 7;

/// One connection. Whatever few have at a time lies beside it: input that is not whole, rates, refs
/// that are no numbers.
pub struct Conn {
    /// Known from the upgrade on.
    pub(super) identity: Option<Identity>,
    pub(super) channels: Channels,
    pub(super) input: Option<InputId>,
    /// What is to be sent, other than what is said in rooms.
    pub(super) out: Option<BufferId>,
}

// With the generation of its slot 48. A single byte more would make that 56, so what takes a byte
// lies beside it.
const _: () = assert!(size_of::<Conn>() <= 40);

/// What a connection speaks, in a dense array by its index. That of a free slot means nothing:
/// [`Shard::take_in`] sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// HTTP, and no request under way.
    Http,
    /// A request of this kind waits for another shard: see [`Shard::exchanges`].
    Waiting,
    /// WebSocket, and nothing was joined yet: with its first join it may go to another shard.
    Unsettled,
    /// WebSocket, or a session of long polling, and it stays on this shard: it has been handed off,
    /// may not be, or has asked to join.
    Settled,
    /// WebSocket, and every message comes back: for conformance tests of the codec.
    Echo,
}

const _: () = assert!(size_of::<Stage>() == 1);

impl Stage {
    /// Whether it has come past HTTP, and is told with a close frame when it is closed.
    pub(super) const fn is_open(self) -> bool {
        matches!(self, Self::Unsettled | Self::Settled | Self::Echo)
    }
}

impl Conn {
    /// The channel in an audience, if it has one.
    pub(super) fn channel(&self, audience: Key<Audience>) -> Option<&Channel> {
        self.channels.iter().find(|channel| channel.audience == audience)
    }

    /// See [`Conn::channel`].
    pub(super) fn channel_mut(&mut self, audience: Key<Audience>) -> Option<&mut Channel> {
        self.channels.iter_mut().find(|channel| channel.audience == audience)
    }
}

/// Whether to go on with a connection's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// The message is done with.
    Next,
    /// It cannot be handled yet, and must be offered again.
    Park,
}

impl Shard {
    /// Takes a connection in. `None` when there are as many as may be.
    pub fn open<I: Io>(&mut self, turn: &mut Turn<'_, I>) -> Option<Key<Conn>> {
        if !self.has_room() {
            self.count_refused();
            return None;
        }
        self.metrics.accepted += 1;
        let key = self.take_in(turn.now.mono_ms);
        self.deadline(key, turn.now.mono_ms + self.settings.limits.handshake_ms);
        Some(key)
    }

    /// Counts somebody for whom there is no room, by what there is none of.
    pub(super) fn count_refused(&mut self) {
        if self.memory.pressure < Pressure::Conns {
            self.metrics.refused += 1;
        } else {
            self.metrics.refused_memory += 1;
        }
    }

    /// How much memory what was received or is to be sent takes, in bytes.
    pub(super) fn buffered_bytes(&self, conn: &Conn) -> usize {
        let input = self.inputs.of(conn.input);
        let held = input.and_then(|input| input.held);
        let buffers = [held, conn.out].into_iter().flatten();
        buffers.map(|id| self.buffers.memory_bytes(id)).sum::<usize>()
            + input.map_or(0, Input::heap_bytes)
    }

    /// A connection about which nothing is known yet.
    pub(super) fn take_in(&mut self, now_ms: u64) -> Key<Conn> {
        let key = self.conns.insert(Conn {
            identity: None,
            channels: Channels::default(),
            input: None,
            out: None,
        });
        let index = key.index() as usize;
        if self.flags.len() <= index {
            self.flags.resize(index + 1, 0);
            self.stages.resize(index + 1, Stage::Http);
            self.heard.grow(index + 1, || 0);
            self.deadlines.grow(index + 1, || u32::MAX);
        }
        self.flags[index] = 0;
        self.stages[index] = Stage::Http;
        self.heard[index] = coarse(now_ms);
        key
    }

    /// A connection has become a WebSocket of somebody.
    pub(super) fn become_socket(
        &mut self,
        key: Key<Conn>,
        identity: Identity,
        serializer: Serializer,
    ) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.identity = Some(identity);
        let index = key.index() as usize;
        self.stages[index] = Stage::Unsettled;
        if serializer == Serializer::V1 {
            self.flags[index] |= SPEAKS_V1;
        }
        self.reconsider(key);
    }

    /// What a connection speaks, if it is live.
    pub(super) fn stage_of(&self, key: Key<Conn>) -> Stage {
        self.stages[key.index() as usize]
    }

    /// The encoding of a connection, by its index, if it is live.
    pub(super) fn serializer_of(&self, conn: u32) -> Serializer {
        if self.flags[conn as usize] & SPEAKS_V1 == 0 { Serializer::V2 } else { Serializer::V1 }
    }

    /// Handles bytes that came from a connection. False if no more are to be read until
    /// [`Io::resume`] says so.
    pub fn received<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        key: Key<Conn>,
        bytes: &mut [u8],
    ) -> bool {
        let Some(conn) = self.conns.get_mut(key) else { return true };
        let index = key.index() as usize;
        self.heard[index] = coarse(turn.now.mono_ms);
        if self.flags[index] & CLOSING != 0 {
            return true;
        }
        let held = self.inputs.of_mut(conn.input).and_then(|input| input.held.take());
        match held {
            None => {
                let handled = self.handle(turn, key, bytes);
                self.hold(key, &bytes[handled..]);
                self.begin(turn.now.mono_ms, key);
            }
            Some(id) => {
                let mut held = self.buffers.take(id);
                held.extend_from_slice(bytes);
                let handled = self.handle(turn, key, &mut held);
                held.drain(..handled);
                self.hold_again(key, id, held);
                if handled > 0 {
                    self.begin(turn.now.mono_ms, key);
                }
            }
        }
        if let Some(conn) = self.conns.get_mut(key) {
            self.inputs.tidy(&mut conn.input);
        }
        self.flags[index] & PARKED == 0
    }

    /// If a request or frame has come in part: from now on it has so long, however slowly the rest
    /// comes. What is posted to a session comes whole, and what is held of it waits for us.
    fn begin(&mut self, now_ms: u64, key: Key<Conn>) {
        let Some(conn) = self.conns.get(key) else { return };
        let Some(input) = self.inputs.of_mut(conn.input).filter(|input| input.held.is_some())
        else {
            return;
        };
        if self.flags[key.index() as usize] & SESSION != 0 {
            return;
        }
        let limits = &self.settings.limits;
        let is_http = self.stages[key.index() as usize] == Stage::Http;
        let allowed_ms = if is_http { limits.handshake_ms } else { limits.message_ms };
        input.began = coarse(now_ms);
        self.deadline_by(key, now_ms + allowed_ms);
    }

    /// Keeps what could not be handled yet, behind what is already held.
    fn hold(&mut self, key: Key<Conn>, rest: &[u8]) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if rest.is_empty() || self.flags[key.index() as usize] & CLOSING != 0 {
            return;
        }
        let held = &mut self.inputs.made(&mut conn.input).held;
        let id = *held.get_or_insert_with(|| self.buffers.lend());
        self.buffers.bytes(id).extend_from_slice(rest);
    }

    /// Keeps what was held before and still cannot be handled, where it lies: a frame that comes in
    /// a thousand pieces is not copied a thousand times.
    fn hold_again(&mut self, key: Key<Conn>, id: BufferId, rest: Vec<u8>) {
        let is_kept = !rest.is_empty() && self.flags[key.index() as usize] & CLOSING == 0;
        let input = self.conns.get_mut(key).filter(|_| is_kept);
        let held = input.map(|conn| &mut self.inputs.made(&mut conn.input).held);
        match held {
            Some(held @ None) => {
                *held = Some(id);
                return self.buffers.put(id, rest);
            }
            Some(Some(parked)) => self.buffers.bytes(*parked).extend_from_slice(&rest),
            None => {}
        }
        self.buffers.put(id, rest);
        self.buffers.give_back(id);
    }

    /// Handles what is whole in `bytes`, and says how many that were.
    fn handle<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: Key<Conn>, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            if !self.conns.contains(key) {
                return bytes.len();
            }
            let flags = self.flags[key.index() as usize];
            if flags & CLOSING != 0 {
                return bytes.len();
            }
            if flags & PARKED != 0 {
                break;
            }
            let handled = match self.stage_of(key) {
                Stage::Http => self.request(turn, key, &bytes[at..]),
                Stage::Waiting => None,
                stage @ (Stage::Unsettled | Stage::Settled | Stage::Echo) => {
                    self.frame(turn, key, &mut bytes[at..], stage == Stage::Echo)
                }
            };
            let Some(handled) = handled else { break };
            at += handled;
            if self.out_bytes(key) > self.settings.limits.conn_out_bytes {
                // Not at the end of the turn: a few bytes can ask for many, and a read may bring
                // thousands of such requests.
                self.flush_conn(turn, key);
            }
        }
        at
    }

    /// Handles the next frame, and says how many bytes it had; `None` if it is not whole.
    fn frame<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        key: Key<Conn>,
        bytes: &mut [u8],
        echoes: bool,
    ) -> Option<usize> {
        let conn = self.conns.get_mut(key)?;
        let input = self.inputs.of_mut(conn.input);
        let resumes = input.is_some_and(|input| std::mem::take(&mut input.resumes));
        let limits = if resumes { &self.settings.resumed } else { &self.settings.limits };
        let (header, payload, taken) = match next_frame(bytes, limits) {
            Ok(Some(frame)) => frame,
            Ok(None) => return None,
            Err(error) => {
                self.break_off(turn, key, error);
                return Some(bytes.len());
            }
        };
        // Mostly there is no message under way, and then nothing to look up.
        let input = self.inputs.of_mut(conn.input);
        let mut assembler =
            input.map(|input| std::mem::take(&mut input.assembler)).unwrap_or_default();
        let incoming = assembler.accept(&header, &bytes[payload], turn.now.mono_ms, limits);
        let partial = assembler.first_fragment_ms();
        if partial.is_some() {
            self.inputs.made(&mut conn.input).assembler = assembler;
        }
        match incoming {
            Ok(None) => {
                if let Some(first_ms) = partial {
                    let message_ms = limits.message_ms;
                    self.deadline_by(key, first_ms + message_ms);
                }
            }
            // So that a test sees what becomes of it. Not in what people run.
            #[cfg(debug_assertions)]
            Ok(Some(Incoming::Text(text))) if echoes && text == "panic" => panic!("as asked"),
            #[cfg(debug_assertions)]
            Ok(Some(Incoming::Text(text))) if echoes && text.starts_with("stall ") => {
                for round in 0..text[6..].parse().unwrap_or(0_u64) {
                    std::hint::black_box(round);
                }
                push_frame(self.output(key.index()), Opcode::Text, text.as_bytes());
            }
            Ok(Some(Incoming::Text(text))) if echoes => {
                push_frame(self.output(key.index()), Opcode::Text, text.as_bytes());
            }
            Ok(Some(Incoming::Binary(data))) if echoes => {
                push_frame(self.output(key.index()), Opcode::Binary, &data);
            }
            Ok(Some(Incoming::Text(text))) => {
                if self.message(turn, key, Opcode::Text, text.as_bytes()) == Flow::Park {
                    self.park(key, Opcode::Text, text.as_bytes());
                }
            }
            Ok(Some(Incoming::Binary(data))) => {
                if self.message(turn, key, Opcode::Binary, &data) == Flow::Park {
                    self.park(key, Opcode::Binary, &data);
                }
            }
            Ok(Some(Incoming::Ping(payload))) => self.pong(key, payload),
            Ok(Some(Incoming::Pong)) => {}
            Ok(Some(Incoming::Close(_))) => self.close(turn, key, CloseCode::Normal, ""),
            Err(error) => self.break_off(turn, key, error),
        }
        Some(taken)
    }

    /// Closes a connection for what it sent.
    fn break_off<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: Key<Conn>, error: FrameError) {
        match error {
            FrameError::FrameTooBig { .. } | FrameError::MessageTooBig => self.metrics.too_big += 1,
            FrameError::TooManyFragments => self.metrics.fragmented += 1,
            _ => self.metrics.broken_protocol += 1,
        }
        self.close(turn, key, error.close_code(), "");
    }

    /// Answers a ping, unless the peer does not read: one that asks and never listens gets no pile
    /// of answers.
    fn pong(&mut self, key: Key<Conn>, payload: &[u8]) {
        if self.flags[key.index() as usize] & BLOCKED == 0 {
            let mut pong = [0; crate::limits::CONTROL_PAYLOAD_BYTES_MAX];
            let pong = &mut pong[..payload.len()];
            pong.copy_from_slice(payload);
            push_frame(self.output(key.index()), Opcode::Pong, pong);
        }
    }

    /// Stops handling what a connection sends, from this message on, until [`Shard::unpark`].
    ///
    /// The message is held as one frame again: it may have come in several.
    fn park(&mut self, key: Key<Conn>, opcode: Opcode, payload: &[u8]) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        self.flags[key.index() as usize] |= PARKED;
        let input = self.inputs.made(&mut conn.input);
        input.resumes = true;
        let id = *input.held.get_or_insert_with(|| self.buffers.lend());
        push_client_frame(self.buffers.bytes(id), opcode, payload);
    }

    /// Has a connection's input handled again, at the end of the turn.
    pub(super) fn unpark(&mut self, key: Key<Conn>) {
        if self.conns.contains(key) && self.flags[key.index() as usize] & PARKED != 0 {
            self.unparked.push(key);
        }
    }

    /// Handles what was held of connections that need not wait any longer.
    pub(super) fn handle_unparked<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        while let Some(key) = self.unparked.pop() {
            self.go_on(turn, key);
        }
    }

    /// Goes on with a connection that was parked, if it still is.
    pub(super) fn go_on<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: Key<Conn>) {
        if !self.conns.contains(key) {
            return;
        }
        let flags = &mut self.flags[key.index() as usize];
        if std::mem::replace(flags, *flags & !PARKED) & PARKED != 0
            && self.received(turn, key, &mut [])
        {
            turn.io.resume(key.index());
        }
    }

    /// A connection's peer has ended its half, or the connection is broken.
    pub fn hung_up<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: Key<Conn>) {
        let Some(conn) = self.conns.get(key) else { return };
        let index = key.index() as usize;
        if self.stages[index] == Stage::Http
            && self.flags[index] & (CLOSING | BLOCKED) == 0
            && conn.out.is_some()
        {
            // It asked, and closed its half; it may still listen.
            self.flags[index] |= CLOSING;
            self.flush_conn(turn, key);
        }
        self.remove(turn, key);
    }

    /// Begins to close a connection: its memberships end now, and the close frame goes after what
    /// it has not been sent.
    pub(super) fn close<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        key: Key<Conn>,
        code: CloseCode,
        reason: &str,
    ) {
        let index = key.index() as usize;
        if !self.conns.contains(key) || self.flags[index] & CLOSING != 0 {
            return;
        }
        self.leave_all(turn, key);
        if self.flags[index] & SESSION != 0 {
            return self.end_session(turn, key);
        }
        if self.conns.contains(key) && self.stage_of(key).is_open() {
            push_close(self.output(key.index()), code, reason);
        }
        self.end(turn, key);
    }

    /// Lets the output go out, and then closes.
    pub(super) fn end<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: Key<Conn>) {
        self.output(key.index());
        self.flags[key.index() as usize] |= CLOSING;
        self.flags[key.index() as usize] &= !PARKED;
        self.deadline(key, turn.now.mono_ms + LINGER_MS);
        self.drop_input(key);
        // What comes now is read, so that the kernel does not answer it with a reset, and thrown
        // away.
        turn.io.resume(key.index());
    }

    /// Forgets what a connection sent and what has not been handled.
    fn drop_input(&mut self, key: Key<Conn>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if let Some(id) = self.inputs.free(&mut conn.input).and_then(|input| input.held) {
            self.buffers.give_back(id);
        }
    }

    /// Lets go of a connection and of all that it had.
    pub(super) fn remove<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: Key<Conn>) {
        self.leave_all(turn, key);
        self.drop_input(key);
        let Some(conn) = self.forget_conn(key) else { return };
        if let Some(exchange) = self.exchanges.remove(&key) {
            self.abandon(turn, key, &exchange);
        }
        if let Some(id) = conn.out {
            self.buffers.give_back(id);
        }
        turn.io.close(key.index());
    }

    /// Takes a connection's record out of this shard, and forgets all that lies beside it by its
    /// index.
    pub(super) fn forget_conn(&mut self, key: Key<Conn>) -> Option<Conn> {
        let conn = self.conns.remove(key)?;
        self.rates.forget(key.index());
        let index = key.index() as usize;
        self.flags[index] = 0;
        self.deadlines[index] = u32::MAX;
        Some(conn)
    }

    /// Whether a connection is a session of long polling.
    pub(super) fn is_session(&self, key: Key<Conn>) -> bool {
        self.flags[key.index() as usize] & SESSION != 0
    }

    /// Whether a connection is being closed.
    pub(super) fn is_closing(&self, key: Key<Conn>) -> bool {
        self.flags[key.index() as usize] & CLOSING != 0
    }

    /// How much input of a connection is held.
    pub(super) fn held_bytes(&self, key: Key<Conn>) -> usize {
        let held = self.conns.get(key).and_then(|conn| self.inputs.of(conn.input)?.held);
        held.map_or(0, |id| self.buffers.bytes_count(id))
    }
}

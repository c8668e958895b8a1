//! Input of a connection that cannot be handled yet: a part of a frame or request, a message in
//! fragments, or all that came while it was parked. Few connections have any at a time, so it is
//! stored apart from their records.

use std::num::NonZeroU32;

use slab::Slab;

use super::Conns;
use super::buffers::BufferId;
use super::deadlines::coarse;
use super::stage::Stage;
use crate::base::slack::Slack;
use crate::link::ids::ConnKey;
use crate::link::io::Io;
use crate::link::outbox::Cx;
use crate::wire::ws::message::Assembler;

/// The input of one connection.
#[derive(Debug, Default)]
pub(crate) struct Input {
    /// Bytes that were received and not handled yet.
    pub(crate) held: Option<BufferId>,
    /// When the frame or request that is held in part began to arrive, in coarse time.
    pub(crate) began: u32,
    /// Whether `held` begins with a message that had already been assembled.
    pub(crate) resumes: bool,
    pub(crate) assembler: Assembler,
}

impl Input {
    /// When the message that is not whole yet began to arrive, in coarse time: in fragments, or in
    /// a part of a frame. `None` if there is none.
    pub(super) fn unfinished_since(&self, is_parked: bool) -> Option<u32> {
        let frame = (self.held.is_some() && !is_parked).then_some(self.began);
        self.assembler.first_fragment_ms().map(coarse).into_iter().chain(frame).min()
    }

    /// The memory of a message in fragments, in bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.assembler.heap_bytes()
    }

    fn is_at_rest(&self) -> bool {
        self.held.is_none() && !self.resumes && self.assembler.first_fragment_ms().is_none()
    }
}

/// Names an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InputId(NonZeroU32);

impl InputId {
    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// The inputs of a shard.
#[derive(Default)]
pub(crate) struct Inputs(Slab<Input>);

impl Inputs {
    /// The input of a connection, if it has one.
    pub(crate) fn of(&self, id: Option<InputId>) -> Option<&Input> {
        self.0.get(id?.index())
    }

    /// See [`Inputs::of`].
    pub(crate) fn of_mut(&mut self, id: Option<InputId>) -> Option<&mut Input> {
        self.0.get_mut(id?.index())
    }

    /// Finds the input of a connection, or makes it.
    pub(crate) fn made(&mut self, id: &mut Option<InputId>) -> &mut Input {
        let id = *id.get_or_insert_with(|| {
            let number =
                u32::try_from(self.0.insert(Input::default()) + 1).ok().and_then(NonZeroU32::new);
            InputId(number.expect("fewer inputs than descriptors"))
        });
        &mut self.0[id.index()]
    }

    /// Frees an input if there is nothing in it.
    pub(crate) fn tidy(&mut self, id: &mut Option<InputId>) {
        if self.of(*id).is_some_and(Input::is_at_rest) {
            self.free(id);
        }
    }

    /// Frees an input. The caller gives back the buffer that it held.
    pub(crate) fn free(&mut self, id: &mut Option<InputId>) -> Option<Input> {
        id.take().map(|id| self.0.remove(id.index()))
    }

    /// The memory of all messages in fragments, in bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.0.iter().map(|(_, input)| input.heap_bytes()).sum()
    }

    /// Gives back memory that many inputs at once needed, but for `kept` places.
    pub(crate) fn trim(&mut self, kept: usize) {
        self.0.trim(kept);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Conns {
    /// Notes that a connection has sent something, and takes its held input, which is to be handled
    /// first.
    pub(crate) fn begin_input(&mut self, now_ms: u64, key: ConnKey) -> Begun {
        let Some(conn) = self.arena.get_mut(key) else { return Begun::Closing };
        let index = key.index() as usize;
        self.heard[index] = coarse(now_ms);
        // RFC 6455, 7.1.7: what comes after a connection has failed MUST NOT be handled, nor does a
        // close frame get a second answer.
        if self.flags[index].is_closing() {
            return Begun::Closing;
        }
        let id = self.inputs.of_mut(conn.input).and_then(|input| input.held.take());
        match id {
            None => Begun::Fresh,
            Some(id) => Begun::Held(Held { id, bytes: self.buffers.take(id) }),
        }
    }

    /// Holds the rest of what has just been received.
    pub(crate) fn end_input<I: Io>(&mut self, cx: &Cx<'_, I>, key: ConnKey, rest: &[u8]) {
        self.hold(key, rest);
        self.begin_wait(cx, key);
    }

    /// Holds the rest of held and received bytes, of which `handled` were handled.
    pub(crate) fn end_held_input<I: Io>(
        &mut self,
        cx: &Cx<'_, I>,
        key: ConnKey,
        mut held: Held,
        handled: usize,
    ) {
        held.bytes.drain(..handled);
        self.hold_again(key, held);
        if handled > 0 {
            self.begin_wait(cx, key);
        }
    }

    /// Frees a connection's input if there is nothing in it. Returns whether the connection may be
    /// read on.
    pub(crate) fn finish_input(&mut self, key: ConnKey) -> bool {
        if let Some(conn) = self.arena.get_mut(key) {
            self.inputs.tidy(&mut conn.input);
        }
        !self.flags(key.index()).is_parked()
    }

    /// Sets the deadline of a request or frame that has come in part. It is not extended, however
    /// slowly the rest comes. A session has none: its posts come whole, and held input of it waits
    /// for this server.
    fn begin_wait<I: Io>(&mut self, cx: &Cx<'_, I>, key: ConnKey) {
        let Some(conn) = self.arena.get(key) else { return };
        let held = self.inputs.of_mut(conn.input).filter(|input| input.held.is_some());
        let Some(input) = held else { return };
        if self.flags[key.index() as usize].is_session() {
            return;
        }
        let limits = &cx.settings.limits;
        let is_http = self.stages[key.index() as usize] == Stage::Http;
        let allowed_ms = if is_http { limits.handshake_ms } else { limits.message_ms };
        input.began = coarse(cx.now.mono_ms);
        self.set_deadline_by(key, cx.now.mono_ms + allowed_ms);
    }

    /// Holds bytes, behind those that are already held.
    fn hold(&mut self, key: ConnKey, rest: &[u8]) {
        let Some(conn) = self.arena.get_mut(key) else { return };
        if rest.is_empty() || self.flags[key.index() as usize].is_closing() {
            return;
        }
        let held = &mut self.inputs.made(&mut conn.input).held;
        let id = *held.get_or_insert_with(|| self.buffers.lend());
        self.buffers.bytes(id).extend_from_slice(rest);
    }

    /// Holds what was held before and cannot be handled yet, in the same buffer: a frame that comes
    /// in a thousand pieces is not copied a thousand times.
    fn hold_again(&mut self, key: ConnKey, Held { id, bytes: rest }: Held) {
        let is_kept = !rest.is_empty() && !self.flags(key.index()).is_closing();
        let input = self.arena.get_mut(key).filter(|_| is_kept);
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

    /// Drops the input of a connection that has not been handled.
    pub(super) fn drop_input(&mut self, key: ConnKey) {
        let Some(conn) = self.arena.get_mut(key) else { return };
        if let Some(id) = self.inputs.free(&mut conn.input).and_then(|input| input.held) {
            self.buffers.give_back(id);
        }
    }

    /// How much input of a connection is held, in bytes.
    pub(crate) fn held_bytes(&self, key: ConnKey) -> usize {
        let held = self.arena.get(key).and_then(|conn| self.inputs.of(conn.input)?.held);
        held.map_or(0, |id| self.buffers.bytes_count(id))
    }
}

/// How a connection's input begins.
pub(crate) enum Begun {
    /// The connection is closing or gone: received bytes are dropped.
    Closing,
    /// Nothing was held.
    Fresh,
    /// Held input goes first.
    Held(Held),
}

/// Held input of a connection, taken out of its buffer so that it can be handled while the shard is
/// borrowed.
pub(crate) struct Held {
    id: BufferId,
    /// The held bytes. The caller appends what has just been received.
    pub(crate) bytes: Vec<u8>,
}

//! What a connection sent that cannot be handled yet: a part of a frame or request, a message in
//! fragments, or all that came while it was parked. Few connections have any at a time, so it lies
//! beside them.

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

/// One connection's.
#[derive(Debug, Default)]
pub(crate) struct Input {
    /// What was received and not handled yet.
    pub(crate) held: Option<BufferId>,
    /// When the frame or request that is held in part began to come, in coarse time.
    pub(crate) began: u32,
    /// Whether `held` begins with a message that had been put together already.
    pub(crate) resumes: bool,
    pub(crate) assembler: Assembler,
}

impl Input {
    /// What a message in fragments takes, in bytes.
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

    /// The input of a connection, made if it has none.
    pub(crate) fn made(&mut self, id: &mut Option<InputId>) -> &mut Input {
        let id = *id.get_or_insert_with(|| {
            let number =
                u32::try_from(self.0.insert(Input::default()) + 1).ok().and_then(NonZeroU32::new);
            InputId(number.expect("fewer inputs than descriptors"))
        });
        &mut self.0[id.index()]
    }

    /// Lets an input go if there is nothing in it.
    pub(crate) fn tidy(&mut self, id: &mut Option<InputId>) {
        if self.of(*id).is_some_and(Input::is_at_rest) {
            self.free(id);
        }
    }

    /// Lets an input go. What it held is the caller's to give back.
    pub(crate) fn free(&mut self, id: &mut Option<InputId>) -> Option<Input> {
        id.take().map(|id| self.0.remove(id.index()))
    }

    /// What all messages in fragments take, in bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.0.iter().map(|(_, input)| input.heap_bytes()).sum()
    }

    /// Gives back the memory of many that were, but for `kept` places.
    pub(crate) fn trim(&mut self, kept: usize) {
        self.0.trim(kept);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Conns {
    /// Notes that a connection was heard of, and takes what is held of it, to be handled first.
    ///
    pub(crate) fn begin_input(&mut self, now_ms: u64, key: ConnKey) -> Begun {
        let Some(conn) = self.arena.get_mut(key) else { return Begun::Closing };
        let index = key.index() as usize;
        self.heard[index] = coarse(now_ms);
        if self.flags[index].is_closing() {
            return Begun::Closing;
        }
        let id = self.inputs.of_mut(conn.input).and_then(|input| input.held.take());
        match id {
            None => Begun::Fresh,
            Some(id) => Begun::Held(Held { id, bytes: self.buffers.take(id) }),
        }
    }

    /// Keeps what could not be handled of what has just come.
    pub(crate) fn end_input<I: Io>(&mut self, cx: &Cx<'_, I>, key: ConnKey, rest: &[u8]) {
        self.hold(key, rest);
        self.begin_wait(cx, key);
    }

    /// The same where something was held before: keeps the rest of both.
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

    /// Lets a connection's input go if there is nothing in it. True if it may be read on.
    pub(crate) fn finish_input(&mut self, key: ConnKey) -> bool {
        if let Some(conn) = self.arena.get_mut(key) {
            self.inputs.tidy(&mut conn.input);
        }
        !self.flags(key.index()).is_parked()
    }

    /// If a request or frame has come in part: from now on it has so long, however slowly the rest
    /// comes. What is posted to a session comes whole, and what is held of it waits for us.
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

    /// Keeps what could not be handled yet, behind what is already held.
    fn hold(&mut self, key: ConnKey, rest: &[u8]) {
        let Some(conn) = self.arena.get_mut(key) else { return };
        if rest.is_empty() || self.flags[key.index() as usize].is_closing() {
            return;
        }
        let held = &mut self.inputs.made(&mut conn.input).held;
        let id = *held.get_or_insert_with(|| self.buffers.lend());
        self.buffers.bytes(id).extend_from_slice(rest);
    }

    /// Keeps what was held before and still cannot be handled, where it lies: a frame that comes in
    /// a thousand pieces is not copied a thousand times.
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

    /// Forgets what a connection sent and what has not been handled.
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
    /// What comes is thrown away: the connection is being closed, or is gone.
    Closing,
    /// Nothing was held.
    Fresh,
    /// What was held goes first.
    Held(Held),
}

/// What was held of a connection, taken out of its buffer to be worked on beside the shard.
pub(crate) struct Held {
    id: BufferId,
    /// The bytes, to which what has just come is to be appended.
    pub(crate) bytes: Vec<u8>,
}

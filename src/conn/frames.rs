//! From bytes to messages: frames, their assembly, and what becomes of a message that has to wait.
//!
//! Deliberately absent: what a message means.

use super::Conns;
use crate::limits::CONTROL_PAYLOAD_BYTES_MAX;
use crate::link::ids::ConnKey;
use crate::link::io::Io;
use crate::link::outbox::Cx;
use crate::wire::ws::FrameError;
use crate::wire::ws::frame::{Opcode, next_frame, push_client_frame, push_frame};
use crate::wire::ws::message::Incoming;

/// What a frame brought: a message, a part of one, or an error. And how many bytes it had.
pub(crate) type Taken<'b> = (Result<Option<Incoming<'b>>, FrameError>, usize);

impl Conns {
    /// Takes the next frame; `None` if it is not whole. After an error all bytes are taken.
    pub(crate) fn next_frame<'b, I: Io>(
        &mut self,
        cx: &Cx<'_, I>,
        key: ConnKey,
        bytes: &'b mut [u8],
    ) -> Option<Taken<'b>> {
        let now_ms = cx.now.mono_ms;
        let bytes_count = bytes.len();
        let conn = self.arena.get_mut(key)?;
        let input = self.inputs.of_mut(conn.input);
        let resumes = input.is_some_and(|input| std::mem::take(&mut input.resumes));
        let limits = if resumes { &cx.settings.resumed } else { &cx.settings.limits };
        let (header, payload, taken) = match next_frame(bytes, limits) {
            Ok(Some(frame)) => frame,
            Ok(None) => return None,
            Err(error) => return Some((Err(error), bytes_count)),
        };
        // Mostly there is no message under way, and then nothing to look up.
        let input = self.inputs.of_mut(conn.input);
        let mut assembler =
            input.map(|input| std::mem::take(&mut input.assembler)).unwrap_or_default();
        let incoming = assembler.accept(&header, &bytes[payload], now_ms, limits);
        let partial = assembler.first_fragment_ms();
        if partial.is_some() {
            self.inputs.made(&mut conn.input).assembler = assembler;
        }
        if let (Ok(None), Some(first_ms)) = (&incoming, partial) {
            self.set_deadline_by(key, first_ms + limits.message_ms);
        }
        Some((incoming, taken))
    }

    /// Sends back what came: for conformance tests of the codec.
    pub(crate) fn echo(&mut self, key: ConnKey, opcode: Opcode, payload: &[u8]) {
        // So that a test sees what becomes of it. Not in what people run.
        #[cfg(debug_assertions)]
        if opcode == Opcode::Text {
            assert!(payload != b"panic", "as asked");
            let text = std::str::from_utf8(payload).unwrap_or_default();
            if let Some(rounds) = text.strip_prefix("stall ") {
                for round in 0..rounds.parse().unwrap_or(0_u64) {
                    std::hint::black_box(round);
                }
            }
        }
        push_frame(self.output(key.index()), opcode, payload);
    }

    /// Answers a ping, unless the peer does not read: one that asks and never listens gets no pile
    /// of answers.
    pub(crate) fn pong(&mut self, key: ConnKey, payload: &[u8]) {
        if !self.flags(key.index()).is_blocked() {
            let mut pong = [0; CONTROL_PAYLOAD_BYTES_MAX];
            let pong = &mut pong[..payload.len()];
            pong.copy_from_slice(payload);
            push_frame(self.output(key.index()), Opcode::Pong, pong);
        }
    }

    /// Stops handling what a connection sends, from this message on, until [`Conns::unpark`].
    ///
    /// The message is held as one frame again: it may have come in several.
    pub(crate) fn park_message(&mut self, key: ConnKey, opcode: Opcode, payload: &[u8]) {
        let Some(conn) = self.arena.get_mut(key) else { return };
        self.flags[key.index() as usize].set_parked(true);
        let input = self.inputs.made(&mut conn.input);
        input.resumes = true;
        let id = *input.held.get_or_insert_with(|| self.buffers.lend());
        push_client_frame(self.buffers.bytes(id), opcode, payload);
    }

    /// Stops handling what a connection sends until [`Conns::unpark`].
    pub(crate) fn park(&mut self, key: ConnKey) {
        self.flags[key.index() as usize].set_parked(true);
    }

    /// Stops handling what a connection sends until the turns have work left for it.
    pub(crate) fn park_starved(&mut self, key: ConnKey) {
        self.park(key);
        self.starved.push_back(key);
    }

    /// The next connection that waits for a turn with work left.
    pub(crate) fn next_starved(&mut self) -> Option<ConnKey> {
        self.starved.pop_front()
    }

    /// Schedules a parked connection's input to be handled again, unless it waits for something
    /// that will say so itself: a way to another shard, its own output, a turn with work left.
    pub(crate) fn unpark_answered(&mut self, key: ConnKey) {
        let waits = [self.paused.contains(&key), self.full.contains(&key)].contains(&true);
        if self.flags(key.index()).is_parked() && !waits && !self.starved.contains(&key) {
            self.unpark(key);
        }
    }

    /// Schedules a parked connection's input to be handled again, at the end of the turn.
    pub(crate) fn unpark(&mut self, key: ConnKey) {
        if self.contains(key) && self.flags(key.index()).is_parked() {
            self.unparked.push(key);
        }
    }

    /// The next connection whose input is to be handled again.
    pub(crate) fn next_unparked(&mut self) -> Option<ConnKey> {
        self.unparked.pop()
    }

    /// Ends a connection's being parked; false if it was not, or is gone.
    pub(crate) fn end_park(&mut self, key: ConnKey) -> bool {
        let was_parked = self.contains(key) && self.flags(key.index()).is_parked();
        if was_parked {
            self.flags[key.index() as usize].set_parked(false);
        }
        was_parked
    }

    /// Stops reading a connection that feeds a way which is filling, until all ways to other shards
    /// are free again. What is said in a room that lives here may go to all of them.
    pub(crate) fn pause_if_filling<I: Io>(&mut self, cx: &Cx<'_, I>, key: ConnKey, shard: u16) {
        let is_filling = if shard == cx.id { cx.is_any_filling() } else { cx.is_filling(shard) };
        if is_filling && self.contains(key) && !self.flags(key.index()).is_closing() {
            self.park(key);
            self.paused.push(key);
        }
    }

    /// Reads on those that were paused, once all ways are free.
    pub(crate) fn unpause<I: Io>(&mut self, cx: &Cx<'_, I>) {
        if self.paused.is_empty() || cx.is_any_filling() {
            return;
        }
        let mut paused = std::mem::take(&mut self.paused);
        for key in paused.drain(..) {
            self.unpark(key);
        }
        self.paused = paused;
    }
}

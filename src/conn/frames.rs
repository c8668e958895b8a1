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
use crate::wire::ws::message::{Data, Incoming};

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
    pub(crate) fn echo(&mut self, key: ConnKey, data: Data<'_>) {
        // So that a test sees what becomes of it. Not in what people run.
        #[cfg(debug_assertions)]
        if let Data::Text(text) = data {
            assert!(text != "panic", "as asked");
            if let Some(rounds) = text.strip_prefix("stall ") {
                for round in 0..rounds.parse().unwrap_or(0_u64) {
                    std::hint::black_box(round);
                }
            }
        }
        let (opcode, payload) = data.as_frame();
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
    pub(crate) fn park_message(&mut self, key: ConnKey, data: Data<'_>) {
        let Some(conn) = self.arena.get_mut(key) else { return };
        self.flags[key.index() as usize].set_parked(true);
        let input = self.inputs.made(&mut conn.input);
        input.resumes = true;
        let id = *input.held.get_or_insert_with(|| self.buffers.lend());
        let (opcode, payload) = data.as_frame();
        push_client_frame(self.buffers.bytes(id), opcode, payload);
    }
}

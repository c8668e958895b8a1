//! A connection's own output, beside what is said in rooms: answers, lists, close frames, and the
//! rest of a frame that was cut.
//!
//! Output is appended to a lent buffer, and sent once at the end of the turn, before anything of a
//! room. The part that the socket does not take waits until it is writable again, and is bounded
//! ([`Flushed::TooMuch`]).

use super::Conns;
use super::deadlines::{coarse, passed};
use super::stage::Stage;
use crate::limits::OUT_FACTOR;
use crate::link::ids::ConnKey;
use crate::link::io::Io;
use crate::link::outbox::Cx;
use crate::wire::phx::Outgoing;

/// What became of a connection's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// All output has been sent.
    All,
    /// The socket did not take all output.
    Blocked,
    /// The socket did not take all output, and more waits than may. The caller closes the
    /// connection, unless a poll takes its output.
    TooMuch,
}

impl Conns {
    /// How much of a connection's own output has not been sent, in bytes.
    pub(crate) fn out_bytes(&mut self, key: ConnKey) -> usize {
        if !self.flags(key.index()).has_out() {
            return 0;
        }
        let out = self.arena.get(key).and_then(|conn| conn.out);
        out.map_or(0, |id| self.buffers.bytes(id).len())
    }

    /// The output of a live connection, to append to. It is sent at the end of the turn.
    pub(crate) fn output(&mut self, conn: u32) -> &mut Vec<u8> {
        self.touch(conn);
        self.output_untouched(conn)
    }

    /// The output of a live connection, to append to. The caller sees to it that it is flushed.
    pub(crate) fn output_untouched(&mut self, conn: u32) -> &mut Vec<u8> {
        let record = self.arena.get_at_mut(conn).expect("output is for live connections");
        self.flags[conn as usize].set_has_out(true);
        let id = *record.out.get_or_insert_with(|| self.buffers.lend());
        self.buffers.bytes(id)
    }

    /// Schedules a connection to be flushed at the end of the turn.
    pub(crate) fn touch(&mut self, conn: u32) {
        if self.flags[conn as usize].touch() {
            self.touched.push(conn);
        }
    }

    /// Takes the connections that are to be flushed. [`Conns::put_touched`] brings the memory back.
    pub(crate) fn take_touched(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.touched)
    }

    /// Notes that a connection of [`Conns::take_touched`] is about to be flushed. Returns its key.
    pub(crate) fn untouch(&mut self, conn: u32) -> Option<ConnKey> {
        self.flags[conn as usize].untouch();
        self.arena.key_at(conn)
    }

    /// See [`Conns::take_touched`].
    pub(crate) fn put_touched(&mut self, mut touched: Vec<u32>) {
        touched.append(&mut self.touched);
        self.touched = touched;
    }

    /// Sends a message to one client.
    pub(crate) fn push(&mut self, conn: ConnKey, message: &Outgoing<'_>) {
        if self.contains(conn) {
            let serializer = self.serializer(conn.index());
            serializer.push(self.output(conn.index()), message);
        }
    }

    /// Sends an answer to one client.
    pub(crate) fn reply(&mut self, conn: ConnKey, message: &Outgoing<'_>) {
        if self.contains(conn) {
            let serializer = self.serializer(conn.index());
            serializer.reply(self.output(conn.index()), message);
        }
    }

    /// Notes that a socket is writable again. False if it was not blocked.
    pub(crate) fn unblock(&mut self, key: ConnKey) -> bool {
        let was_blocked = self.contains(key) && self.flags(key.index()).is_blocked();
        if was_blocked {
            self.flags[key.index() as usize].set_blocked(false);
        }
        was_blocked
    }

    /// Writes to a live connection's socket, which must not be blocked. It is blocked from now on
    /// if it takes less than all. Returns how many bytes it took.
    pub(crate) fn write<I: Io>(&mut self, cx: &mut Cx<'_, I>, conn: u32, bytes: &[u8]) -> usize {
        let written = cx.io.write(conn, bytes);
        if written < bytes.len() {
            self.flags[conn as usize].set_blocked(true);
            self.note_progress(cx.now.mono_ms, conn, written > 0);
        }
        written
    }

    /// Passes the output of a session to `take`, which returns how many bytes a poll fetches: they
    /// are never sent. True if nothing is left.
    pub(crate) fn fetch_output<I: Io>(
        &mut self,
        cx: &Cx<'_, I>,
        key: ConnKey,
        take: impl FnOnce(&[u8]) -> usize,
    ) -> bool {
        let Some(conn) = self.arena.get_mut(key) else { return true };
        let Some(id) = conn.out else { return true };
        let out = self.buffers.bytes(id);
        let taken = take(out);
        out.drain(..taken);
        let left_bytes = out.len();
        if left_bytes == 0 {
            conn.out = None;
            self.flags[key.index() as usize].set_has_out(false);
            self.buffers.give_back(id);
        }
        if left_bytes <= cx.settings.limits.out_mark_bytes() {
            self.read_on(key);
        }
        left_bytes == 0
    }

    /// Sends a connection's own output.
    ///
    /// Requires: nothing. Of a connection that is gone nothing is sent, and [`Flushed::Blocked`]
    /// returned. Changes: output, flags. Emits: a write, and the end of our half if the connection
    /// is closing.
    pub(crate) fn flush<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: ConnKey) -> Flushed {
        let index = key.index() as usize;
        if !self.arena.contains(key) {
            return Flushed::Blocked;
        }
        if self.flags[index].is_session() {
            self.stir(key.index());
        }
        let Some(conn) = self.arena.get_mut(key) else { return Flushed::Blocked };
        let flags = &mut self.flags[index];
        if let Some(id) = conn.out {
            let out = self.buffers.bytes(id);
            // A connection that is only to be closed may have empty output.
            let is_idle = out.is_empty() || flags.is_blocked();
            let written = if is_idle { 0 } else { cx.io.write(key.index(), out) };
            if written < out.len() {
                out.drain(..written);
                let waiting_bytes = out.len();
                return self.note_blocked(cx, key, waiting_bytes, written > 0);
            }
            conn.out = None;
            flags.set_has_out(false);
            self.buffers.give_back(id);
            self.note_taken(key.index());
            self.read_on(key);
        }
        let flags = &mut self.flags[index];
        // RFC 6455, 7.1.1: a server closes first, so that it is the one whose port rests.
        if flags.is_closing() && !flags.is_shut() {
            flags.set_shut();
            cx.io.shut(key.index());
            self.set_closing_deadline(cx, key);
        }
        Flushed::All
    }

    /// Notes that a socket has not taken all output of a connection, and whether it took some.
    fn note_blocked<I: Io>(
        &mut self,
        cx: &Cx<'_, I>,
        key: ConnKey,
        waiting_bytes: usize,
        has_taken: bool,
    ) -> Flushed {
        let index = key.index() as usize;
        let flags = &mut self.flags[index];
        flags.set_blocked(true);
        let (is_closing, is_session) = (flags.is_closing(), flags.is_session());
        if !is_session {
            self.note_progress(cx.now.mono_ms, key.index(), has_taken);
        }
        if waiting_bytes <= cx.settings.limits.out_mark_bytes() {
            self.read_on(key);
        }
        // A client that still reads its last answer is given time for the rest.
        if is_closing && has_taken && self.stages[index] == Stage::Http && !cx.is_draining {
            self.set_closing_deadline(cx, key);
        }
        let out_bytes_max = cx.settings.limits.conn_out_bytes.saturating_mul(OUT_FACTOR);
        let is_too_much = waiting_bytes > out_bytes_max && !is_closing;
        if is_too_much { Flushed::TooMuch } else { Flushed::Blocked }
    }

    /// Notes that something waits for a socket, and whether the socket has just taken some.
    fn note_progress(&mut self, now_ms: u64, conn: u32, has_taken: bool) {
        let since = self.stuck.entry(conn).or_insert_with(|| coarse(now_ms));
        if has_taken {
            *since = coarse(now_ms);
        }
    }

    /// Notes that nothing waits for a socket any more.
    pub(crate) fn note_taken(&mut self, conn: u32) {
        if !self.stuck.is_empty() {
            self.stuck.remove(&conn);
        }
    }

    /// The connections whose sockets have taken nothing of what waits for `out_ms`, in order.
    pub(crate) fn stuck_for(&self, now_ms: u64, out_ms: u64) -> Vec<ConnKey> {
        let now = coarse(now_ms);
        let stuck = self.stuck.iter().filter(|(_, since)| passed(**since, out_ms) <= now);
        let mut stuck: Vec<_> = stuck.filter_map(|(conn, _)| self.arena.key_at(*conn)).collect();
        // No order of a map may be seen outside.
        stuck.sort_unstable();
        stuck
    }

    /// Whether an answer over HTTP is still to be sent on a connection whose peer has ended its
    /// half: the peer may still read it (RFC 9112, 9.6).
    pub(crate) fn has_answer(&self, key: ConnKey) -> bool {
        let has_out = self.arena.get(key).is_some_and(|conn| conn.out.is_some());
        has_out && self.stage(key) == Stage::Http
    }
}

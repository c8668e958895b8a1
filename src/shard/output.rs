//! What a connection is to be sent, other than what is said in rooms: answers, lists, close frames,
//! and the rest of a frame that was cut.
//!
//! It is appended to a lent buffer, and sent once at the end of the turn, before anything of a
//! room. What the socket does not take waits until it takes something again; how much may wait is
//! bounded.

use super::buffers::{BufferId, Buffers};
use super::channels::Channel;
use super::conn::{BLOCKED, CLOSING, Conn, HAS_OUT, SESSION, SHUT, TOUCHED};
use super::{Io, Shard, Turn};
use crate::base::arena::{Arena, Key};
use crate::limits::POLLED_OUT_FACTOR;
use crate::wire::phx::Outgoing;
use crate::wire::ws::close::CloseCode;

/// The output of a connection, to append to. A free function, for what borrows the shard's other
/// fields.
pub(super) fn out_of<'a>(
    conns: &mut Arena<Conn>,
    buffers: &'a mut Buffers,
    flags: &mut [u8],
    conn: u32,
) -> &'a mut Vec<u8> {
    let record = conns.get_at_mut(conn).expect("output is for live connections");
    flags[conn as usize] |= HAS_OUT;
    let id = *record.out.get_or_insert_with(|| buffers.lend());
    buffers.bytes(id)
}

impl Shard {
    /// How much output of its own a connection has that has not been sent.
    pub(super) fn out_bytes(&mut self, key: Key<Conn>) -> usize {
        if self.flags[key.index() as usize] & HAS_OUT == 0 {
            return 0;
        }
        let out = self.conns.get(key).and_then(|conn| conn.out);
        out.map_or(0, |id| self.buffers.bytes(id).len())
    }

    /// The output of a connection, to append to; it is sent at the end of the turn.
    pub(super) fn output(&mut self, conn: u32) -> &mut Vec<u8> {
        self.touch_conn(conn);
        out_of(&mut self.conns, &mut self.buffers, &mut self.flags, conn)
    }

    /// Has a connection flushed at the end of the turn.
    pub(super) fn touch_conn(&mut self, conn: u32) {
        let flags = &mut self.flags[conn as usize];
        if std::mem::replace(flags, *flags | TOUCHED) & TOUCHED == 0 {
            self.touched_conns.push(conn);
        }
    }

    /// Sends a message to one client.
    pub(super) fn push(&mut self, conn: Key<Conn>, message: &Outgoing<'_>) {
        if self.conns.contains(conn) {
            let serializer = self.serializer_of(conn.index());
            serializer.push(self.output(conn.index()), message);
        }
    }

    /// Sends an answer to one client.
    pub(super) fn reply(&mut self, conn: Key<Conn>, message: &Outgoing<'_>) {
        if self.conns.contains(conn) {
            let serializer = self.serializer_of(conn.index());
            serializer.reply(self.output(conn.index()), message);
        }
    }

    /// Sends the output of every connection that has some.
    pub(super) fn flush_conns<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        let mut touched = std::mem::take(&mut self.touched_conns);
        for conn in touched.drain(..) {
            self.flags[conn as usize] &= !TOUCHED;
            if let Some(key) = self.conns.key_at(conn) {
                self.flush_conn(turn, key);
            }
        }
        touched.append(&mut self.touched_conns);
        self.touched_conns = touched;
    }

    /// Takes the output of a session, which is fetched rather than sent.
    pub(super) fn take_output(&mut self, key: Key<Conn>) -> Option<BufferId> {
        self.flags[key.index() as usize] &= !HAS_OUT;
        self.conns.get_mut(key)?.out.take()
    }

    /// Sends a connection's own output. False if its socket does not take all of it.
    pub(super) fn flush_conn<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: Key<Conn>) -> bool {
        let index = key.index() as usize;
        let Some(conn) = self.conns.get_mut(key) else { return false };
        if self.flags[index] & SESSION != 0 {
            self.stirred.push(key.index());
        }
        if let Some(id) = conn.out {
            let out = self.buffers.bytes(id);
            // It may be empty: of a connection that is only to be closed.
            let is_idle = out.is_empty() || self.flags[index] & BLOCKED != 0;
            let written = if is_idle { 0 } else { turn.io.write(key.index(), out) };
            if written < out.len() {
                out.drain(..written);
                self.flags[index] |= BLOCKED;
                let factor = if self.flags[index] & SESSION == 0 { 1 } else { POLLED_OUT_FACTOR };
                let is_too_much =
                    out.len() > self.settings.limits.conn_out_bytes.saturating_mul(factor);
                // A poll that waits takes it all.
                if is_too_much && self.flags[index] & CLOSING == 0 && !self.serve_poller(turn, key)
                {
                    self.metrics.overflowed += 1;
                    self.close(turn, key, CloseCode::TryLater, "does not read");
                }
                return false;
            }
            conn.out = None;
            self.buffers.give_back(id);
            self.flags[index] &= !HAS_OUT;
        }
        if self.flags[index] & (CLOSING | SHUT) == CLOSING {
            self.flags[index] |= SHUT;
            turn.io.shut(key.index());
        }
        true
    }

    /// A connection's socket takes bytes again.
    pub fn writable<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: Key<Conn>) {
        if !self.conns.contains(key) || self.flags[key.index() as usize] & BLOCKED == 0 {
            return;
        }
        self.flags[key.index() as usize] &= !BLOCKED;
        if !self.flush_conn(turn, key) {
            return;
        }
        let Some(channels) = self.conns.get(key).map(|conn| conn.channels.len()) else { return };
        for channel in 0..channels {
            let Some(Channel { audience, seat, .. }) =
                self.conns.get(key).and_then(|conn| conn.channels.get(channel))
            else {
                return;
            };
            let (audience, seat) = (*audience, *seat);
            if seat != Channel::NO_SEAT && !self.resume_seat(turn, audience, seat) {
                return;
            }
        }
    }
}

//! How a connection is flushed, closed and let go of, with the channels that it has.

use super::Members;
use crate::audience::NO_SEAT;
use crate::conn::{Exchange, Flushed};
use crate::link::ask::Ask;
use crate::link::ids::{AudienceKey, ConnKey};
use crate::link::io::Io;
use crate::link::outbox::Cx;
use crate::link::record::ToSession;
use crate::wire::ws::FrameError;
use crate::wire::ws::close::CloseCode;

impl Members {
    /// Sends the output of connections that have some, as many as the turn may still write to, in
    /// order. The others are the first in the next turn.
    pub(crate) fn flush_conns<I: Io>(&mut self, cx: &mut Cx<'_, I>) {
        let most = self.conn_writes_left;
        self.conn_writes_left -= self.flush_some_conns(cx, most);
    }

    /// Sends the output of every connection that has some, for the memory that it takes.
    pub(crate) fn flush_all_conns<I: Io>(&mut self, cx: &mut Cx<'_, I>) {
        self.flush_some_conns(cx, usize::MAX);
    }

    /// The same for so many at most. Returns how many these were.
    fn flush_some_conns<I: Io>(&mut self, cx: &mut Cx<'_, I>, most: usize) -> usize {
        let mut touched = self.conns.take_touched();
        let count = touched.len().min(most);
        for conn in touched.drain(..count) {
            if let Some(key) = self.conns.untouch(conn) {
                self.flush_conn(cx, key);
            }
        }
        self.conns.put_touched(touched);
        count
    }

    /// Sends a connection's own output. False if its socket does not take all of it.
    pub(crate) fn flush_conn<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: ConnKey) -> bool {
        match self.conns.flush(cx, key) {
            Flushed::All => true,
            Flushed::Blocked => false,
            Flushed::TooMuch => {
                // A poll that waits takes it all.
                if !self.serve_poller(cx, key) {
                    cx.metrics.overflowed += 1;
                    self.close(cx, key, CloseCode::TryLater, "does not read");
                }
                false
            }
        }
    }

    /// Flushes the touched audiences that do not rest, as far as the writes of a turn go. Those
    /// that are not reached are the first in the next turn.
    pub(crate) fn flush_audiences<I: Io>(&mut self, cx: &mut Cx<'_, I>) {
        self.flush_by(cx, cx.settings.writes_per_turn);
    }

    /// The same by so many writes.
    fn flush_by<I: Io>(&mut self, cx: &mut Cx<'_, I>, mut writes_left: u32) {
        let mut touched = self.audiences.take_touched();
        // How many of those that stay have had their part.
        let mut served = 0;
        touched.retain(|key| {
            if writes_left == 0 {
                return true;
            }
            let stays = match self.audiences.is_resting(*key, cx.now.mono_ms) {
                None => false,
                Some(true) => true,
                Some(false) => {
                    if self.audiences.is_long(*key) {
                        self.flush_conns(cx);
                    }
                    self.flush_audience(cx, *key, &mut writes_left)
                }
            };
            served += usize::from(stays);
            stays
        });
        let is_behind = served < touched.len();
        touched.rotate_left(served);
        self.audiences.put_touched(touched, is_behind);
    }

    /// Flushes a slice of an audience. True if it is to go on.
    fn flush_audience<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: AudienceKey,
        writes_left: &mut u32,
    ) -> bool {
        let began_us = cx.io.elapsed_us();
        self.audiences.flush_slice(cx, &mut self.conns, key, began_us, writes_left);
        while let Some(seat) = self.audiences.next_laggard() {
            self.evict_laggard(cx.metrics, key, seat);
        }
        self.audiences.end_slice(cx, &self.conns, key, began_us)
    }

    /// A connection's socket takes bytes again: its own output goes first, then what was said in
    /// its rooms.
    pub(crate) fn writable<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: ConnKey) {
        if !self.conns.unblock(key) || !self.flush_conn(cx, key) {
            return;
        }
        for at in 0..self.channels(key).len() {
            let Some(channel) = self.channels(key).get(at) else { return };
            let (audience, seat) = (channel.audience, channel.seat);
            if seat != NO_SEAT && !self.audiences.resume_seat(cx, &mut self.conns, audience, seat) {
                return;
            }
        }
        // It may have left the room of which something waited.
        self.conns.note_taken(key.index());
    }

    /// Handles that a connection's peer has ended its half. An answer over HTTP is still sent
    /// first; any other connection ends at once.
    ///
    /// Requires: nothing. Changes: output, channels. Emits: as [`Members::remove`].
    pub(crate) fn ended<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: ConnKey) {
        if !self.conns.contains(key) {
            return;
        }
        if self.conns.has_answer(key) {
            if !self.conns.flags(key.index()).is_closing() {
                self.conns.end(cx, key);
            }
            if !self.flush_conn(cx, key) {
                return;
            }
        }
        self.hung_up(cx, key);
    }

    /// Handles that a connection is broken, or ended by both sides: now, or in a later turn where
    /// many are at once.
    pub(crate) fn hung_up<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: ConnKey) {
        // It may be told several times.
        if !self.conns.contains(key) {
            return;
        }
        if self.endings.has_left() {
            self.remove(cx, key);
        } else {
            self.endings.wait(key);
        }
    }

    /// Closes a connection for what it sent.
    pub(crate) fn break_off<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: ConnKey, error: FrameError) {
        match error {
            FrameError::FrameTooBig { .. } | FrameError::MessageTooBig => cx.metrics.too_big += 1,
            FrameError::TooManyFragments => cx.metrics.fragmented += 1,
            _ => cx.metrics.broken_protocol += 1,
        }
        self.close(cx, key, error.close_code(), "");
    }

    /// Begins to close a connection: it hears nothing more from now on, and the close frame follows
    /// the output that waits. Of many memberships some end later. A session ends at once.
    ///
    /// Requires: nothing. One that is closing already is left alone. Changes: channels, output.
    /// Emits: later one `Leave` per joined channel.
    pub(crate) fn close<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: ConnKey,
        code: CloseCode,
        reason: &str,
    ) {
        let flags = self.conns.flags(key.index());
        if !self.conns.contains(key) || flags.is_closing() && !flags.is_session() {
            return;
        }
        self.leave_all(cx, key);
        if flags.is_session() {
            return self.end_session(cx, key);
        }
        self.conns.close(cx, key, code, reason);
    }

    /// Removes a connection with all that it has. One with many channels is silent from now on, and
    /// goes when it has left all.
    ///
    /// Requires: nothing. Changes: everything of it. Emits: later one `Leave` per joined channel,
    /// and an `Abandon` if it polled.
    pub(crate) fn remove<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: ConnKey) {
        if self.leave_all(cx, key) {
            self.endings.end_parting(key);
            self.let_go(cx, key);
        } else {
            self.endings.let_go_then(key);
            self.conns.silence(key);
        }
    }

    /// Lets go of a connection that is a member of nothing.
    pub(super) fn let_go<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: ConnKey) {
        if let Some(Exchange::Poll { token, .. }) = self.conns.remove(cx, key) {
            let message = ToSession::Abandon { conn: key, ticket: token.ticket };
            self.asks.push_back(Ask::Session { node: token.node, message });
        }
    }

    /// Flushes all logs, whether their rooms rest or not. A log is freed when all members have been
    /// written to.
    pub(crate) fn flush_logs<I: Io>(&mut self, cx: &mut Cx<'_, I>) {
        let keys = self.audiences.wake_all();
        self.flush_by(cx, u32::MAX);
        let is_half_flushed = |audiences: &crate::audience::Audiences, key: &AudienceKey| {
            audiences.get(*key).is_some_and(crate::audience::Audience::is_half_flushed)
        };
        while keys.iter().any(|key| is_half_flushed(&self.audiences, key)) {
            self.flush_by(cx, u32::MAX);
        }
    }

    /// Evicts the members that lag at least half as far as the furthest in a room. Their log is let
    /// go of with the next flush; of many channels some end in later turns. False if none lags.
    pub(crate) fn evict_furthest<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: AudienceKey) -> bool {
        let furthest = self.audiences.furthest(&self.conns, key);
        for conn in &furthest {
            cx.metrics.lost_for_memory += 1;
            self.evict_for_memory(cx, *conn, key);
        }
        !furthest.is_empty()
    }

    /// Closes a connection for the memory that it holds. The reason is sent only if the socket
    /// takes it at once.
    pub(crate) fn close_for_memory<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: ConnKey) {
        if !self.conns.contains(key) {
            return;
        }
        let flags = self.conns.flags(key.index());
        cx.metrics.closed_for_memory += u64::from(!flags.is_closing());
        let is_told = self.conns.stage(key).is_open() && !flags.is_closing();
        if is_told && !flags.is_stuck() {
            self.close(cx, key, CloseCode::TryLater, "no memory");
        } else {
            // A close frame would have to wait behind all that is not taken; and a request may
            // still be answered by another shard.
            self.remove(cx, key);
        }
    }
}

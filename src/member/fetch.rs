//! What there is for a session of long polling, and how a poll is answered.

use super::Members;
use crate::conn::{Poller, Side};
use crate::limits::{
    POLL_ANSWER_BYTES, POLL_WINDOW_MS, POLLS_PER_TURN_MAX, SESSION_TIMEOUT_MS, slow_link_ms,
};
use crate::link::ids::{ConnKey, Ticket};
use crate::link::io::Io;
use crate::link::log::Log as _;
use crate::link::outbox::Cx;
use crate::link::polled::{BUSY, DONE, GONE, LOST, NOTHING};
use crate::link::record::{FromSession, ToSession};
use crate::wire::phx::poll::push_messages;
use crate::wire::ws::close::CloseCode;

impl Members {
    /// Handles a poll, or that a polling connection has gone. A `Post` is not handled here: it is
    /// input of the session.
    pub(crate) fn hear_poller<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        side: Side,
        message: ToSession<'_>,
    ) {
        match message {
            ToSession::Poll { conn, ticket } => self.poll(cx, Poller { side, conn }, ticket),
            ToSession::Abandon { conn, ticket } => {
                self.conns.abandon(cx.now, ticket.key, Poller { side, conn });
            }
            ToSession::Post { .. } => unreachable!("the shard takes what is posted"),
        }
    }

    /// Handles a poll: answers with the messages that wait, now or as soon as one comes.
    fn poll<I: Io>(&mut self, cx: &mut Cx<'_, I>, poller: Poller, ticket: Ticket) {
        let key = ticket.key;
        if self.conns.has_ended(ticket) {
            self.conns.set_poller(key, poller);
            return self.end_session(cx, key);
        }
        if !self.conns.has_session(ticket) {
            let gone = FromSession::Gone { conn: poller.conn };
            return self.tell_poller(cx, poller.side, gone);
        }
        if !self.conns.has_had_all(ticket) {
            // What was in an answer that was lost is gone. A poll that waits and has had all is
            // none of that: this one is late then, and nobody's.
            if !self.conns.is_polled(key) {
                cx.metrics.answers_lost += 1;
                self.close(cx, key, CloseCode::GoingAway, "");
            }
            let gone = FromSession::Gone { conn: poller.conn };
            return self.tell_poller(cx, poller.side, gone);
        }
        // Another node passes a poll on again if it may have been lost on the way.
        let is_again =
            matches!(poller.side, Side::Node(_)) && self.conns.poller(key) == Some(poller);
        if !is_again {
            self.answer_poller(cx, key, NOTHING, &[]);
            self.conns.set_poller(key, poller);
        }
        if self.conns.has_expired(cx.now, key) {
            return self.expire(cx, key);
        }
        self.conns.set_session_deadline(cx.now, key, POLL_WINDOW_MS);
        self.serve_poller(cx, key);
    }

    /// Checks whether a session takes a post now.
    ///
    /// # Errors
    ///
    /// The status to answer with: [`GONE`] or [`BUSY`].
    pub(crate) fn takes_post<I: Io>(&self, cx: &mut Cx<'_, I>, ticket: Ticket) -> Result<(), u16> {
        if !self.conns.has_session(ticket) || self.conns.has_expired(cx.now, ticket.key) {
            return Err(GONE);
        }
        if self.conns.is_behind(ticket.key) {
            cx.metrics.refused_busy += 1;
            return Err(BUSY);
        }
        Ok(())
    }

    /// Answers a connection that polls: here, on another shard, or at another node.
    pub(crate) fn tell_poller<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        side: Side,
        message: FromSession<'_>,
    ) {
        match side {
            Side::Shard(shard) if shard == cx.id => self.conns.hear_session(cx, message),
            Side::Shard(shard) => cx.send(shard, message),
            Side::Node(node) => cx.answer_node(node, message),
        }
    }

    /// Answers the polls of sessions that messages have come for: as many as a turn may, the rest
    /// in later turns, in order.
    pub(crate) fn serve_pollers<I: Io>(&mut self, cx: &mut Cx<'_, I>) {
        let mut left = POLLS_PER_TURN_MAX;
        while left > 0
            && let Some(key) = self.conns.next_stirred()
        {
            left -= u32::from(self.serve_poller(cx, key));
        }
    }

    /// Answers the waiting poll of a session, if there is one and messages wait. True if it was
    /// answered.
    pub(super) fn serve_poller<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: ConnKey) -> bool {
        let Some(poller) = self.conns.poller(key) else { return false };
        if matches!(poller.side, Side::Node(_)) && !cx.io.log().answers_sessions() {
            // It would be lost on the way. What there is goes with the next that comes, or waits
            // for the next poll.
            return false;
        }
        let mut messages = Vec::new();
        self.collect(cx, key, &mut messages, POLL_ANSWER_BYTES);
        if !messages.is_empty() {
            self.answer_poller(cx, key, DONE, &messages);
        }
        !messages.is_empty()
    }

    /// Answers the waiting poll of a session, if there is one.
    fn answer_poller<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: ConnKey,
        status: u16,
        messages: &[u8],
    ) {
        if let Some(Poller { side, conn }) = self.conns.take_poller(key) {
            // From when the client can have the answer. By its size, and not from when the socket
            // has taken it: that may be a proxy's, which has it long before.
            let ms = SESSION_TIMEOUT_MS + slow_link_ms(messages.len());
            self.conns.set_session_deadline(cx.now, key, ms);
            if status == DONE {
                self.conns.number_answer(key);
            }
            self.tell_poller(cx, side, FromSession::Polled { conn, status, messages });
        }
    }

    /// Takes the messages for a session, as the JSON strings of an answer, until they are more than
    /// `bytes_max`: its own output, then what was said in its rooms. A message that is longer goes
    /// alone.
    fn collect<I: Io>(
        &mut self,
        cx: &Cx<'_, I>,
        key: ConnKey,
        messages: &mut Vec<u8>,
        bytes_max: usize,
    ) {
        let mut is_first = true;
        let mut push = |frames: &[u8]| push_messages(messages, frames, &mut is_first, bytes_max);
        // Its own output may belong before what was said in a room since.
        if !self.conns.fetch_output(cx, key, &mut push) {
            return;
        }
        for at in 0..self.channels(key).len() {
            let Some(channel) = self.channels(key).get(at) else { return };
            let (audience, seat) = (channel.audience, channel.seat);
            self.audiences.fetch(&self.conns, audience, seat, &mut push);
        }
    }

    /// Handles that a session's deadline has passed: its poll has waited long enough, or no poll
    /// came in time.
    pub(super) fn session_due<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: ConnKey) {
        if self.conns.is_polled(key) {
            self.answer_poller(cx, key, NOTHING, &[]);
        } else {
            self.close(cx, key, CloseCode::GoingAway, "");
        }
    }

    /// Ends a session: its client learns that from the waiting poll, or from its next one.
    pub(super) fn end_session<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: ConnKey) {
        let mut messages = Vec::new();
        // It is the last answer.
        self.collect(cx, key, &mut messages, usize::MAX);
        let status = if messages.is_empty() { LOST } else { DONE };
        self.answer_poller(cx, key, status, &messages);
        self.remove(cx, key);
    }
}

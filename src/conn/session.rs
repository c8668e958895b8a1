//! Sessions of long polling: connections without a socket.
//!
//! A session is a connection like any other: it joins, sits in audiences, and has output of its
//! own. But no socket takes anything, so all messages for it wait where a slow reader's would: in
//! the rooms' logs, behind its cursors. A poll takes what there is. A poll that finds nothing
//! waits, costs no more than its connection, and is answered in the turn in which a message comes.
//!
//! The session's token names its shard, and in a cluster its node, so that any connection of any
//! node can serve it: what asks for a session elsewhere is passed on. The rest of the token is a
//! secret that cannot be guessed, and the number of an answer (`session_token`).
//!
//! ```text
//!   None ── opened ──> Quiet ── poll ──> Polled ── answer, deadline, abandoned, restarted ──> Quiet
//!   Quiet ── answer ──> Loaded ── poll ──> Quiet
//!   Loaded ── expired ──> Ended ── poll ──> None
//!
//!   Quiet ── late poll, close frame, deadline, expired, drain ──> None
//!   Loaded ── late poll, close frame, deadline, drain ──> None
//!   Polled ── close frame, expired, drain ──> None
//!   Ended ── deadline, drain ──> None
//! ```
//!
//! `None` is no session. A `Quiet` session has nothing for a poll, and no poll waits; a `Loaded`
//! one has messages for the next poll. `shard/machines/session.rs` holds the drawing, and has the
//! events.
//!
//! # Answers that are lost
//!
//! An answer may be lost behind everything that a server can see of a connection: a kernel or a
//! proxy has acknowledged its bytes, and the client has not read them. What the clients do then
//! (`longpoll.js` of 1.2, 1.6, 1.7 and 1.8):
//!
//! | what happens to the poll | what the client does |
//! |---|---|
//! | an error, a broken answer, no answer in time | closes, and begins a new session (no token) |
//! | `status` 500 | the same |
//! | a kept connection breaks before the first byte | nothing: its *browser* asks again by itself, as it may (RFC 9110, 9.2.2), and so do proxies |
//! | any answer with `token` | takes that token for all requests that follow |
//!
//! The first two lose nothing, since channels are joined again with their cursors. The third would
//! be a silent gap: the messages in the lost answer have been taken out of the session. The fourth
//! is an acknowledgement, which every stock client gives. So answers with messages are numbered,
//! and the token carries the number of the last one. A poll with that number shows that its client
//! has had that answer. A poll with another number shows that it has not: it is told 500, the
//! session ends, and the client begins anew and catches up. An answer without messages may be lost,
//! so it has no number of its own.
//!
//! The last answer is not kept to be sent again: that would cost each session the memory of its
//! largest answer, for a rare case that a new session mends. A post may have any number: its client
//! sends it while a poll is under way, and may not have that answer yet.
//!
//! Source: `Phoenix.Transports.LongPoll`. `docs/protocol.md` lists where this server differs from
//! it.
//!
//! Deliberately absent: the requests (`api::poll`), and collecting the messages for a poll
//! (`member::fetch`).

use super::Conns;
use super::flags::Flags;
use super::http::Exchange;
use super::session_token::SessionToken;
use super::stage::Stage;
use crate::auth::identity::Identity;
use crate::base::time::Now;
use crate::limits::{READ_BUFFER_BYTES, SESSION_TIMEOUT_MS};
use crate::link::ids::{ConnKey, Ticket};
use crate::link::io::Io;
use crate::link::log::NodeId;
use crate::link::outbox::Cx;
use crate::link::polled::{DONE, LOST};
use crate::link::rates::AddressHash;
use crate::link::record::FromSession;
use crate::wire::http::response::{Manner, Response, Status};
use crate::wire::phx::Serializer;

/// The header that newer clients send the session's token in.
pub(crate) const TOKEN_HEADER: &str = "x-phoenix-longpoll-token";

/// The state of a session, beside its connection.
#[derive(Debug)]
pub(crate) struct Session {
    ticket: Ticket,
    /// The poll that waits for a message.
    poller: Option<Poller>,
    /// Until when the poll waits, or the session lives without a poll.
    until_ms: u64,
    /// Whether it is in the queue of sessions that a message has come for.
    is_stirred: bool,
}

/// Where a connection is that polls or posts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// On a shard of this node.
    Shard(u16),
    /// At another node.
    Node(NodeId),
}

/// A connection that polls, as it is called where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Poller {
    pub(crate) side: Side,
    pub(crate) conn: ConnKey,
}

impl Conns {
    /// Makes a session, and returns its token. `None` if the user, or the address of `opener`, has
    /// as many sessions as it may have, or opens them too fast: `address` is the one with the rate.
    ///
    /// Requires: a place. Changes: the tables. Emits: nothing.
    pub(crate) fn open_session<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        (opener, address): (ConnKey, Option<AddressHash>),
        (identity, serializer): (Identity, Serializer),
        secret: u128,
    ) -> Option<Ticket> {
        let (now_ms, limits) = (cx.now.mono_ms, &cx.settings.limits);
        let user = identity.user();
        if self.session_counts.is_full(user)
            || cx.settings.rates.take_session(user, address, now_ms, limits).is_err()
        {
            cx.metrics.refused_sessions += 1;
            return None;
        }
        let key = self.take_in(now_ms);
        if !cx.io.admit_session(opener.index(), key.index()) {
            self.arena.remove(key);
            cx.metrics.refused_per_ip += 1;
            return None;
        }
        self.session_counts.add(identity.user());
        let index = key.index() as usize;
        self.flags[index] = Flags::of_session(serializer == Serializer::V1);
        self.stages[index] = Stage::Settled;
        self.identify(cx.now, key, identity);
        let ticket = Ticket { shard: cx.id, key, secret, answer: 0 };
        self.sessions.insert(key, Session { ticket, poller: None, until_ms: 0, is_stirred: false });
        self.set_session_deadline(cx.now, key, SESSION_TIMEOUT_MS);
        Some(ticket)
    }

    /// Sets how long a session's poll waits, or the session lives without a poll, in milliseconds
    /// from now. The end of the user's token comes first in any case.
    pub(crate) fn set_session_deadline(&mut self, now: Now, key: ConnKey, ms: u64) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.until_ms = now.mono_ms + ms;
        let until_ms = session.until_ms;
        self.set_deadline(now, key, until_ms);
    }

    /// See [`Conns::set_session_deadline`].
    pub(super) fn session_until_ms(&self, key: ConnKey) -> Option<u64> {
        self.sessions.get(&key).map(|session| session.until_ms)
    }

    /// Ends a session while no poll waits. Its last messages are kept for the next poll, for as
    /// long as the session would have lived.
    ///
    /// Requires: no channel. Changes: flags (closing), input, deadline. Emits: nothing.
    pub(crate) fn end_unpolled(&mut self, now: Now, key: ConnKey) {
        self.flags[key.index() as usize].set_closing();
        self.drop_input(key);
        if let Some(until_ms) = self.session_until_ms(key) {
            self.set_deadline(now, key, until_ms);
        }
    }

    /// Whether a ticket is of a session that has ended and has not told so yet, and of a client
    /// that has had every answer before. Another client must not learn of the end without those
    /// answers.
    pub(crate) fn has_ended(&self, ticket: Ticket) -> bool {
        let flags = self.flags(ticket.key.index());
        self.has_had_all(ticket) && flags.is_closing() && !flags.is_shut()
    }

    /// How many sessions there are.
    pub(crate) fn sessions_count(&self) -> usize {
        self.sessions.len()
    }

    /// Whether a ticket is of a session that is not closing.
    pub(crate) fn has_session(&self, ticket: Ticket) -> bool {
        // Need not take constant time: 128 random bits, over a network, and a wrong guess is
        // answered like a dead session.
        let session = self.sessions.get(&ticket.key);
        session.is_some_and(|session| session.ticket.is_of_same(&ticket))
            && !self.flags(ticket.key.index()).is_closing()
    }

    /// Whether a client that polls with this ticket has had the last answer with messages.
    pub(crate) fn has_had_all(&self, ticket: Ticket) -> bool {
        self.sessions.get(&ticket.key).is_some_and(|session| session.ticket == ticket)
    }

    /// Numbers an answer with messages: the next poll must have its number.
    pub(crate) fn number_answer(&mut self, key: ConnKey) {
        if let Some(session) = self.sessions.get_mut(&key) {
            session.ticket = session.ticket.next();
        }
    }

    /// Whether a session has so much held input that it takes no more posts, as a socket would be
    /// read no further.
    pub(crate) fn is_behind(&self, key: ConnKey) -> bool {
        self.held_bytes(key) > READ_BUFFER_BYTES
    }

    /// The poll of this session that waits.
    pub(crate) fn poller(&self, key: ConnKey) -> Option<Poller> {
        self.sessions.get(&key)?.poller
    }

    /// Whether a poll of this session waits.
    pub(crate) fn is_polled(&self, key: ConnKey) -> bool {
        self.poller(key).is_some()
    }

    /// Keeps a poll until something comes.
    pub(crate) fn set_poller(&mut self, key: ConnKey, poller: Poller) {
        if let Some(session) = self.sessions.get_mut(&key) {
            session.poller = Some(poller);
        }
    }

    /// Takes the poll that waits, to be answered.
    pub(crate) fn take_poller(&mut self, key: ConnKey) -> Option<Poller> {
        self.sessions.get_mut(&key)?.poller.take()
    }

    /// Notes that the connection of a waiting poll has gone: the session waits for another poll.
    pub(crate) fn abandon(&mut self, now: Now, key: ConnKey, abandoned: Poller) {
        let session = self.sessions.get_mut(&key);
        // Connections of two shards or nodes may have the same number.
        if let Some(session) = session.filter(|session| session.poller == Some(abandoned)) {
            session.poller = None;
            self.set_session_deadline(now, key, SESSION_TIMEOUT_MS);
        }
    }

    /// Forgets the waiting polls of a shard that has begun anew.
    pub(crate) fn forget_pollers(&mut self, now: Now, shard: u16) {
        let side = Side::Shard(shard);
        let is_polled = |session: &Session| session.poller.is_some_and(|of| of.side == side);
        let sessions = self.sessions.iter();
        let mut polled: Vec<_> =
            sessions.filter(|(_, session)| is_polled(session)).map(|(key, _)| *key).collect();
        // No order of a map may be seen outside.
        polled.sort_unstable();
        for key in polled {
            self.take_poller(key);
            self.set_session_deadline(now, key, SESSION_TIMEOUT_MS);
        }
    }

    /// Takes the next session that a message has come for.
    pub(crate) fn next_stirred(&mut self) -> Option<ConnKey> {
        while let Some(key) = self.stirred.pop_front() {
            if let Some(session) = self.sessions.get_mut(&key) {
                session.is_stirred = false;
                return Some(key);
            }
        }
        None
    }

    /// Notes that a message has come for a session. Without a poll nothing is noted: the next poll
    /// looks for itself.
    pub(crate) fn stir(&mut self, conn: u32) {
        let Some(key) = self.arena.key_at(conn) else { return };
        let session = self.sessions.get_mut(&key).filter(|session| session.poller.is_some());
        if session.is_some_and(|session| !std::mem::replace(&mut session.is_stirred, true)) {
            self.stirred.push_back(key);
        }
    }

    /// Handles the answer of a session to a connection here.
    pub(crate) fn hear_session<I: Io>(&mut self, cx: &mut Cx<'_, I>, message: FromSession<'_>) {
        let conn = message.conn();
        let Some(exchange) = self.stop_waiting(conn) else { return };
        match (message, exchange) {
            (FromSession::Polled { status, messages, .. }, Exchange::Poll { manner, token }) => {
                // The session has answered, so the poll had its present ticket.
                let token = match status {
                    LOST => None,
                    DONE => Some(SessionToken { ticket: token.ticket.next(), ..token }),
                    _ => Some(token),
                };
                self.answer_poll(cx, conn, manner, status, token, messages);
            }
            (FromSession::Gone { .. }, Exchange::Poll { manner, .. }) => {
                self.answer_poll(cx, conn, manner, LOST, None, &[]);
            }
            (FromSession::Posted { status, .. }, Exchange::Post { manner, .. }) => {
                self.answer_poll(cx, conn, manner, status, None, &[]);
            }
            _ => unreachable!("an answer is to what was asked"),
        }
        self.unpark(conn);
    }

    /// Answers a request of long polling.
    pub(crate) fn answer_poll<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        conn: ConnKey,
        manner: Manner,
        status: u16,
        token: Option<SessionToken>,
        messages: &[u8],
    ) {
        // A server that is about to stop keeps no connection.
        let manner = Manner { keep_alive: manner.keep_alive && !cx.is_draining, ..manner };
        let mut body = Vec::with_capacity(messages.len() + 160);
        body.push(b'{');
        if let Some(token) = token {
            body.extend_from_slice(b"\"messages\":[");
            body.extend_from_slice(messages);
            let token = token.text(cx.settings.sessions.as_deref());
            body.extend_from_slice(
                format!("],\"status\":{status},\"token\":\"{token}\"}}").as_bytes(),
            );
        } else {
            body.extend_from_slice(format!("\"status\":{status}}}").as_bytes());
        }
        let headers = [
            ("content-type", "application/json; charset=utf-8"),
            ("cache-control", "no-store"),
            ("access-control-allow-origin", "*"),
        ];
        // The status stands in the body. That of HTTP is always 200, as in Phoenix.
        let response = Response { status: Status::Ok, headers: &headers, body: &body };
        self.respond(cx, conn, manner, &response);
    }
}

//! Long polling: sockets without a socket.
//!
//! A session is a connection as any other: it joins, sits in audiences, has output of its own. But
//! its socket never takes anything, so all that is for it waits where a slow reader's would: in the
//! rooms' logs, behind its cursors. A poll takes what there is; one that finds nothing is kept,
//! costs its connection and nothing more, and is answered in the turn in which something comes.
//!
//! The session's token names its shard, so any connection of the server serves it; the rest of it
//! is a secret that nobody guesses, and a number.
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
//! `None` is no session. One that is `Quiet` has nothing for a poll, and nobody polls it; one that
//! is `Loaded` has something. `shard/machines/session.rs` holds the drawing, and has the events.
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
//! The first two lose nothing, for channels are joined again with their cursors. The third was a
//! silent gap: what was in the lost answer had been taken out of the session. The fourth is an
//! acknowledgement, and every stock client gives it. So the token has the number of the answers
//! with messages in it: whoever polls with the number of the last one has had it. A poll with
//! another number is of one who has not, and that session ends: the poll is told 500, the client
//! begins anew, and is caught up. An answer without messages may be lost, so it has no number of
//! its own.
//!
//! The last answer is not kept to be given again: that would cost every session up to its largest
//! answer, for what is rare and is mended by beginning anew. A post may have any number: it is sent
//! beside a poll, whose answer it need not have had.
//!
//! Source: `Phoenix.Transports.LongPoll`. Where that is broken, `docs/protocol.md` says what
//! happens here instead.
//!
//! Deliberately absent: the requests themselves (`api::poll`), and what there is for a session
//! (`member::fetch`).

use data_encoding::BASE64URL_NOPAD;

use super::Conns;
use super::flags::Flags;
use super::http::Exchange;
use super::stage::Stage;
use crate::auth::identity::Identity;
use crate::base::arena::Key;
use crate::base::time::Now;
use crate::limits::{READ_BUFFER_BYTES, SESSION_TIMEOUT_MS};
use crate::link::ids::{ConnKey, Ticket};
use crate::link::io::Io;
use crate::link::outbox::Cx;
use crate::link::rates::AddressHash;
use crate::link::record::FromSession;
use crate::wire::http::response::{Manner, Response, Status};
use crate::wire::phx::Serializer;

/// Where sessions are polled.
pub(crate) const POLL_PATH: &str = "/socket/longpoll";

/// The header in which newer clients send the session's token.
pub(crate) const TOKEN_HEADER: &str = "x-phoenix-longpoll-token";

/// What a poll is told: something has come.
pub(crate) const DONE: u16 = 200;
/// Nothing has come in its time.
pub(crate) const NOTHING: u16 = 204;
/// What was posted is no message of Phoenix.
pub(crate) const MALFORMED: u16 = 400;
/// Whoever asks may not.
pub(crate) const REFUSED: u16 = 403;
/// There is no such session; or there is a new one.
pub(crate) const GONE: u16 = 410;
/// Nothing was taken: what was posted before still waits, or much else for the session's shard.
pub(crate) const BUSY: u16 = 503;
/// A poll of a session that is gone. Phoenix says 410 and makes a new session, which `phoenix.js`
/// before 1.8 takes for the old one: it does not join its channels again, and never hears from
/// them. This makes every version begin anew.
pub(crate) const LOST: u16 = 500;

/// A ticket's length as bytes and as text.
const TICKET_BYTES: usize = 30;
/// See [`TICKET_BYTES`].
pub(crate) const TICKET_CHARS: usize = 40;

/// A session's token as clients see it: [`TICKET_CHARS`] characters.
pub(crate) fn ticket_text(ticket: Ticket) -> String {
    let mut bytes = [0; TICKET_BYTES];
    bytes[..2].copy_from_slice(&ticket.shard.to_be_bytes());
    bytes[2..10].copy_from_slice(&ticket.key.to_u64().to_be_bytes());
    bytes[10..26].copy_from_slice(&ticket.secret.to_be_bytes());
    bytes[26..].copy_from_slice(&ticket.answer.to_be_bytes());
    BASE64URL_NOPAD.encode(&bytes)
}

/// Reads a session's token. A user's token, which may come under the same name, is longer and has
/// dots in it.
pub(crate) fn parse_ticket(text: &str) -> Option<Ticket> {
    if text.len() != TICKET_CHARS {
        return None;
    }
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    let (shard, rest) = bytes.split_first_chunk()?;
    let (key, rest) = rest.split_first_chunk()?;
    let (secret, answer) = rest.split_first_chunk()?;
    Some(Ticket {
        shard: u16::from_be_bytes(*shard),
        key: Key::from_u64(u64::from_be_bytes(*key)),
        secret: u128::from_be_bytes(*secret),
        answer: u32::from_be_bytes(*answer.first_chunk()?),
    })
}

/// What a session has beside its connection.
#[derive(Debug)]
pub(crate) struct Session {
    ticket: Ticket,
    /// The poll that waits for something to say.
    poller: Option<Poller>,
    /// Until when that poll waits, or the session lives without one.
    until_ms: u64,
    /// Whether it is among those for which something has come.
    is_stirred: bool,
}

/// A connection that polls, and the shard it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Poller {
    pub(crate) shard: u16,
    pub(crate) conn: ConnKey,
}

impl Conns {
    /// Makes a session, and returns its token; none, if its user or the address that `opener` comes
    /// from has as many as may be, or opens them too fast. The rate is that of `address`.
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
        if let Some(session) = self.arena.get_mut(key) {
            session.identity = Some(identity);
        }
        let ticket = Ticket { shard: cx.id, key, secret, answer: 0 };
        self.sessions.insert(key, Session { ticket, poller: None, until_ms: 0, is_stirred: false });
        self.set_session_deadline(cx.now, key, SESSION_TIMEOUT_MS);
        Some(ticket)
    }

    /// Has a session's poll wait for so long, or the session without one. It ends with its token in
    /// any case.
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

    /// A session has ended that nobody polls: what there is for it is kept for the next poll, for
    /// as long as it would have lived.
    ///
    /// Requires: no channel. Changes: it is closing from now on. Emits: nothing.
    pub(crate) fn end_unpolled(&mut self, now: Now, key: ConnKey) {
        self.flags[key.index() as usize].set_closing();
        self.drop_input(key);
        if let Some(until_ms) = self.session_until_ms(key) {
            self.set_deadline(now, key, until_ms);
        }
    }

    /// Whether a ticket is that of a session that has ended and has not said so yet, and of who has
    /// had all until then: nobody else is to have the end without what was before it.
    pub(crate) fn has_ended(&self, ticket: Ticket) -> bool {
        self.has_had_all(ticket) && self.flags(ticket.key.index()).is_closing()
    }

    /// How many sessions there are.
    pub(crate) fn sessions_count(&self) -> usize {
        self.sessions.len()
    }

    /// Whether a ticket is that of a session that is not being closed.
    pub(crate) fn has_session(&self, ticket: Ticket) -> bool {
        // Not compared in constant time: 128 random bits, over a network, and a wrong guess is not
        // told from a dead session.
        let session = self.sessions.get(&ticket.key);
        session.is_some_and(|session| session.ticket.is_of_same(&ticket))
            && !self.flags(ticket.key.index()).is_closing()
    }

    /// Whether who polls with this ticket, of a session that there is, has had the last answer that
    /// had messages.
    pub(crate) fn has_had_all(&self, ticket: Ticket) -> bool {
        self.sessions.get(&ticket.key).is_some_and(|session| session.ticket == ticket)
    }

    /// An answer with messages goes out: the next poll is to have its number.
    pub(crate) fn number_answer(&mut self, key: ConnKey) {
        if let Some(session) = self.sessions.get_mut(&key) {
            session.ticket = session.ticket.next();
        }
    }

    /// Whether a session has so much posted that could not be handled yet that no more is taken: a
    /// socket would not be read any further.
    pub(crate) fn is_behind(&self, key: ConnKey) -> bool {
        self.held_bytes(key) > READ_BUFFER_BYTES
    }

    /// Whether a poll of this session waits.
    pub(crate) fn is_polled(&self, key: ConnKey) -> bool {
        self.sessions.get(&key).is_some_and(|session| session.poller.is_some())
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

    /// The connection that polls has gone: the session waits for another.
    pub(crate) fn abandon(&mut self, now: Now, key: ConnKey, abandoned: Poller) {
        let session = self.sessions.get_mut(&key);
        // Connections of two shards may have the same number.
        if let Some(session) = session.filter(|session| session.poller == Some(abandoned)) {
            session.poller = None;
            self.set_session_deadline(now, key, SESSION_TIMEOUT_MS);
        }
    }

    /// Polls that wait here for a connection of a shard that has begun anew wait no longer.
    pub(crate) fn forget_pollers(&mut self, now: Now, shard: u16) {
        let is_polled =
            |session: &Session| session.poller.is_some_and(|poller| poller.shard == shard);
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

    /// The next session for which something has come.
    pub(crate) fn next_stirred(&mut self) -> Option<ConnKey> {
        while let Some(key) = self.stirred.pop_front() {
            if let Some(session) = self.sessions.get_mut(&key) {
                session.is_stirred = false;
                return Some(key);
            }
        }
        None
    }

    /// Notes that something has come for a session. One that nobody polls is told when it is.
    pub(crate) fn stir(&mut self, conn: u32) {
        let Some(key) = self.arena.key_at(conn) else { return };
        let session = self.sessions.get_mut(&key).filter(|session| session.poller.is_some());
        if session.is_some_and(|session| !std::mem::replace(&mut session.is_stirred, true)) {
            self.stirred.push_back(key);
        }
    }

    /// Handles what a session says to a connection here that asked.
    pub(crate) fn hear_session<I: Io>(&mut self, cx: &mut Cx<'_, I>, message: FromSession<'_>) {
        let (FromSession::Polled { conn, .. }
        | FromSession::Gone { conn }
        | FromSession::Posted { conn, .. }) = message;
        let Some(exchange) = self.stop_waiting(conn) else { return };
        match (message, exchange) {
            (FromSession::Polled { status, messages, .. }, Exchange::Poll { manner, ticket }) => {
                // The session was polled with its own ticket, or would not have answered so.
                let ticket = match status {
                    LOST => None,
                    DONE => Some(ticket.next()),
                    _ => Some(ticket),
                };
                self.answer_poll(cx, conn, manner, status, ticket, messages);
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
        ticket: Option<Ticket>,
        messages: &[u8],
    ) {
        // A server that is about to stop keeps no connection.
        let manner = Manner { keep_alive: manner.keep_alive && !cx.is_draining, ..manner };
        let mut body = Vec::with_capacity(messages.len() + 96);
        body.push(b'{');
        if let Some(ticket) = ticket {
            body.extend_from_slice(b"\"messages\":[");
            body.extend_from_slice(messages);
            let token = ticket_text(ticket);
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
        // What became of it stands in the body; the status of HTTP is always 200, as Phoenix has
        // it.
        let response = Response { status: Status::Ok, headers: &headers, body: &body };
        self.respond(cx, conn, manner, &response);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_read_as_it_was_written_and_nothing_else_is_one() {
        let key = Key::from_u64(0x0102_0304_0506_0708);
        let ticket = Ticket { shard: 3, key, secret: u128::MAX / 3, answer: 0x0908_0706 };
        let text = ticket_text(ticket);
        assert_eq!(text.len(), TICKET_CHARS);
        assert_eq!(parse_ticket(&text), Some(ticket));
        for other in ["", "a.b.c", &text[1..], &format!("{text}A"), &text.replace(&text[..1], "!")]
        {
            assert_eq!(parse_ticket(other), None, "{other}");
        }
    }
}

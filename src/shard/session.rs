//! Long polling: sockets without a socket.
//!
//! A session is a connection as any other: it joins, sits in audiences, has output of its own. But
//! its socket never takes anything, so all that is for it waits where a slow reader's would: in the
//! rooms' logs, behind its cursors. A poll takes what there is; one that finds nothing is kept,
//! costs its connection and nothing more, and is answered in the turn in which something comes.
//!
//! The session's token names its shard, so any connection of the server serves it; the rest of it
//! is a secret that nobody guesses.
//!
//! Source: `Phoenix.Transports.LongPoll`. Where that is broken, `docs/protocol.md` says what
//! happens here instead.

use data_encoding::BASE64URL_NOPAD;

use super::channels::Channel;
use super::conn::{BLOCKED, Conn, SESSION, SPEAKS_V1, Stage};
use super::http::Exchange;
use super::message::{FromSession, ToSession};
use super::{Io, Shard, Turn};
use crate::base::arena::Key;
use crate::chat::identity::Identity;
use crate::limits::{POLL_ANSWER_BYTES, POLL_WINDOW_MS, READ_BUFFER_BYTES, SESSION_TIMEOUT_MS};
use crate::wire::http::HttpError;
use crate::wire::http::head::Head;
use crate::wire::http::query::query_params;
use crate::wire::http::response::{Manner, Response, Status};
use crate::wire::phx::Serializer;
use crate::wire::phx::poll::{push_messages, push_posted};
use crate::wire::ws::close::CloseCode;

/// Where sessions are polled.
pub(super) const POLL_PATH: &str = "/socket/longpoll";

/// The header in which newer clients send the session's token.
const TOKEN_HEADER: &str = "x-phoenix-longpoll-token";

/// Which session, and the proof that it is one's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) shard: u16,
    pub(super) key: Key<Conn>,
    pub(super) secret: u128,
}

/// A ticket's length as bytes and as text.
const TICKET_BYTES: usize = 26;
const TICKET_CHARS: usize = 35;

impl Ticket {
    fn text(self) -> String {
        let mut bytes = [0; TICKET_BYTES];
        bytes[..2].copy_from_slice(&self.shard.to_be_bytes());
        bytes[2..10].copy_from_slice(&self.key.to_u64().to_be_bytes());
        bytes[10..].copy_from_slice(&self.secret.to_be_bytes());
        BASE64URL_NOPAD.encode(&bytes)
    }

    /// Reads a token of ours. A user's token, which may come under the same name, is longer and has
    /// dots in it.
    fn parse(text: &str) -> Option<Self> {
        if text.len() != TICKET_CHARS {
            return None;
        }
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        let (shard, rest) = bytes.split_first_chunk()?;
        let (key, secret) = rest.split_first_chunk()?;
        Some(Self {
            shard: u16::from_be_bytes(*shard),
            key: Key::from_u64(u64::from_be_bytes(*key)),
            secret: u128::from_be_bytes(*secret.first_chunk()?),
        })
    }
}

/// What a session has beside its connection.
#[derive(Debug)]
pub(super) struct Session {
    ticket: Ticket,
    /// The poll that waits for something to say.
    poller: Option<Poller>,
}

/// A connection that polls, and the shard it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Poller {
    shard: u16,
    conn: Key<Conn>,
}

/// What a poll is told.
const DONE: u16 = 200;
const NOTHING: u16 = 204;
const MALFORMED: u16 = 400;
const REFUSED: u16 = 403;
pub(super) const GONE: u16 = 410;
/// Nothing was taken: what was posted before still waits, or much else for the session's shard.
const BUSY: u16 = 503;
/// A poll of a session that is gone. Phoenix says 410 and makes a new session, which `phoenix.js`
/// before 1.8 takes for the old one: it does not join its channels again, and never hears from
/// them. This makes every version begin anew.
const LOST: u16 = 500;

impl Shard {
    /// Handles a request for long polling.
    pub(super) fn long_poll<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        conn: Key<Conn>,
        head: &Head<'_>,
        body: &[u8],
    ) {
        let manner = self.manner(head);
        match head.method {
            "OPTIONS" => self.allow_origins(turn, conn, head, manner),
            "GET" => self.poll(turn, conn, head, manner),
            "POST" => self.post(turn, conn, head, manner, body),
            _ => {
                let response = Response::empty(Status::BadRequest);
                response.push(self.output(conn.index()), manner, turn.now.unix_ms);
                self.responded(turn, conn, manner);
            }
        }
    }

    /// The question that a browser asks before a page of another origin may poll.
    fn allow_origins<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        conn: Key<Conn>,
        head: &Head<'_>,
        manner: Manner,
    ) {
        let wanted = head.header("access-control-request-headers").unwrap_or_default();
        let headers = [
            ("access-control-allow-origin", "*"),
            ("access-control-allow-headers", wanted),
            ("access-control-allow-methods", "get, post, options"),
            ("access-control-max-age", "3600"),
        ];
        let response = Response { status: Status::Ok, headers: &headers, body: b"" };
        response.push(self.output(conn.index()), manner, turn.now.unix_ms);
        self.responded(turn, conn, manner);
    }

    /// A poll: of a session that there is, or for a new one.
    fn poll<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        conn: Key<Conn>,
        head: &Head<'_>,
        manner: Manner,
    ) {
        let Ok(ticket) = self.poll_ticket(head) else {
            return self.answer_poll(turn, conn, manner, REFUSED, None, &[]);
        };
        match ticket {
            Some(ticket) if ticket.shard < self.settings.shards => {
                self.wait(conn, Exchange::Poll { manner, ticket });
                self.tell_session(turn, ticket.shard, ToSession::Poll { conn, ticket });
            }
            Some(_) => self.answer_poll(turn, conn, manner, LOST, None, &[]),
            None => {
                let admitted =
                    self.admit(turn.now, head).ok().map(|admitted| (admitted.0, admitted.1));
                self.open_session(turn, conn, manner, admitted);
            }
        }
    }

    /// Makes a session, if whoever asks may have one, and tells its token.
    fn open_session<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        conn: Key<Conn>,
        manner: Manner,
        admitted: Option<(Identity, Serializer)>,
    ) {
        let Some((identity, serializer)) = admitted else {
            return self.answer_poll(turn, conn, manner, REFUSED, None, &[]);
        };
        let secret = self.site.secret().filter(|_| self.has_room());
        let Some(secret) = secret else {
            self.count_refused();
            return self.answer_poll(turn, conn, manner, REFUSED, None, &[]);
        };
        let key = self.take_in(turn.now.mono_ms);
        let v1 = if serializer == Serializer::V1 { SPEAKS_V1 } else { 0 };
        self.flags[key.index() as usize] = SESSION | BLOCKED | v1;
        self.stages[key.index() as usize] = Stage::Settled;
        if let Some(session) = self.conns.get_mut(key) {
            session.identity = Some(identity);
        }
        let ticket = Ticket { shard: self.id, key, secret };
        self.sessions.insert(key, Session { ticket, poller: None });
        self.deadline(key, turn.now.mono_ms + SESSION_TIMEOUT_MS);
        self.metrics.upgrades += 1;
        self.answer_poll(turn, conn, manner, GONE, Some(ticket), &[]);
    }

    /// A POST: messages for a session.
    fn post<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        conn: Key<Conn>,
        head: &Head<'_>,
        manner: Manner,
        body: &[u8],
    ) {
        let Ok(ticket) = self.poll_ticket(head) else {
            return self.answer_poll(turn, conn, manner, REFUSED, None, &[]);
        };
        let Some(ticket) = ticket.filter(|ticket| ticket.shard < self.settings.shards) else {
            return self.answer_poll(turn, conn, manner, GONE, None, &[]);
        };
        if self.is_busy(turn, ticket.shard) {
            // Of what waits in a way nothing is counted as memory in use, and here a stranger's
            // ticket is as good as any.
            self.metrics.refused_busy += 1;
            return self.answer_poll(turn, conn, manner, BUSY, None, &[]);
        }
        let is_ndjson = head
            .header("content-type")
            .is_some_and(|media| media.starts_with("application/x-ndjson"));
        let mut frames = Vec::new();
        if push_posted(&mut frames, body, is_ndjson).is_err() {
            return self.answer_poll(turn, conn, manner, MALFORMED, None, &[]);
        }
        self.wait(conn, Exchange::Post { manner, shard: ticket.shard });
        self.tell_session(turn, ticket.shard, ToSession::Post { conn, ticket, frames: &frames });
    }

    /// The session's token, if the request has one, after the checks that hold for every request of
    /// long polling.
    pub(super) fn poll_ticket(&self, head: &Head<'_>) -> Result<Option<Ticket>, Status> {
        self.check_vsn_and_origin(head)?;
        if let Some(token) = head.header(TOKEN_HEADER) {
            return Ok(Ticket::parse(token));
        }
        let tokens = query_params(head.query.unwrap_or_default(), "token");
        let tokens = tokens.map_err(HttpError::status)?;
        Ok(tokens.iter().rev().find_map(|token| Ticket::parse(token)))
    }

    /// Handles what a poller's shard asks of a session here.
    pub(super) fn at_session<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        shard: u16,
        message: ToSession<'_>,
    ) {
        match message {
            ToSession::Poll { conn, ticket } => {
                if self.session_of(ticket).is_none() {
                    return self.tell_poller(turn, shard, FromSession::Gone { conn });
                }
                self.let_poller_go(turn, ticket.key, NOTHING);
                if let Some(session) = self.sessions.get_mut(&ticket.key) {
                    session.poller = Some(Poller { shard, conn });
                }
                self.deadline(ticket.key, turn.now.mono_ms + POLL_WINDOW_MS);
                self.serve_poller(turn, ticket.key);
            }
            ToSession::Post { conn, ticket, frames } => {
                let mut status = GONE;
                if self.session_of(ticket).is_some() && self.is_behind(ticket.key) {
                    self.metrics.refused_busy += 1;
                    status = BUSY;
                } else if self.session_of(ticket).is_some() {
                    let mut frames = frames.to_vec();
                    self.received(turn, ticket.key, &mut frames);
                    status = if self.session_of(ticket).is_some() { DONE } else { MALFORMED };
                }
                self.tell_poller(turn, shard, FromSession::Posted { conn, status });
            }
            ToSession::Abandon { conn, ticket } => {
                let session = self.sessions.get_mut(&ticket.key);
                // Connections of two shards may have the same number.
                let abandoned = Poller { shard, conn };
                if let Some(session) = session.filter(|session| session.poller == Some(abandoned)) {
                    session.poller = None;
                    self.deadline(ticket.key, turn.now.mono_ms + SESSION_TIMEOUT_MS);
                }
            }
        }
    }

    /// Whether a session has so much posted that could not be handled yet that no more is taken: a
    /// socket would not be read any further.
    fn is_behind(&self, key: Key<Conn>) -> bool {
        self.held_bytes(key) > READ_BUFFER_BYTES
    }

    fn session_of(&self, ticket: Ticket) -> Option<&Session> {
        // Not compared in constant time: 128 random bits, over a network, and a wrong guess is not
        // told from a dead session.
        self.sessions
            .get(&ticket.key)
            .filter(|session| session.ticket == ticket && !self.is_closing(ticket.key))
    }

    /// Handles what a session says to a connection here that asked.
    pub(super) fn at_poller<I: Io>(&mut self, turn: &mut Turn<'_, I>, message: FromSession<'_>) {
        let (FromSession::Polled { conn, .. }
        | FromSession::Gone { conn }
        | FromSession::Posted { conn, .. }) = message;
        let Some(exchange) = self.stop_waiting(conn) else { return };
        match (message, exchange) {
            (
                FromSession::Polled { status, messages, .. },
                Exchange::Poll { manner, ticket, .. },
            ) => {
                let ticket = Some(ticket).filter(|_| status != LOST);
                self.answer_poll(turn, conn, manner, status, ticket, messages);
            }
            (FromSession::Gone { .. }, Exchange::Poll { manner, .. }) => {
                self.answer_poll(turn, conn, manner, LOST, None, &[]);
            }
            (FromSession::Posted { status, .. }, Exchange::Post { manner, .. }) => {
                self.answer_poll(turn, conn, manner, status, None, &[]);
            }
            _ => unreachable!("an answer is to what was asked"),
        }
        self.unpark(conn);
    }

    /// Takes the sessions that a connection of this shard polls from it.
    pub(super) fn sessions_polled_by(&mut self, shard: u16) -> Vec<Key<Conn>> {
        let is_polled =
            |session: &Session| session.poller.is_some_and(|poller| poller.shard == shard);
        let mut polled: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, session)| is_polled(session))
            .map(|(key, _)| *key)
            .collect();
        // No order of a map may be seen outside.
        polled.sort_unstable();
        for key in &polled {
            if let Some(session) = self.sessions.get_mut(key) {
                session.poller = None;
            }
        }
        polled
    }

    /// Answers the polls of sessions for which something has come.
    pub(super) fn serve_pollers<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        while let Some(index) = self.stirred.pop() {
            if let Some(key) = self.conns.key_at(index) {
                self.serve_poller(turn, key);
            }
        }
    }

    /// Answers the poll that waits, if one does and something has come. Says whether it was
    /// answered.
    pub(super) fn serve_poller<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: Key<Conn>) -> bool {
        if self.sessions.get(&key).is_none_or(|session| session.poller.is_none()) {
            return false;
        }
        let mut messages = Vec::new();
        self.collect(key, &mut messages);
        if !messages.is_empty() {
            self.answer_poller(turn, key, DONE, &messages);
        }
        !messages.is_empty()
    }

    /// Answers the poll that waits, if one does, with no messages.
    fn let_poller_go<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: Key<Conn>, status: u16) {
        self.answer_poller(turn, key, status, &[]);
    }

    fn answer_poller<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        key: Key<Conn>,
        status: u16,
        messages: &[u8],
    ) {
        let poller = self.sessions.get_mut(&key).and_then(|session| session.poller.take());
        if let Some(Poller { shard, conn }) = poller {
            self.deadline(key, turn.now.mono_ms + SESSION_TIMEOUT_MS);
            self.tell_poller(turn, shard, FromSession::Polled { conn, status, messages });
        }
    }

    /// Takes what there is for a session, as the strings of an answer: its own output, then what
    /// was said in its rooms.
    fn collect(&mut self, key: Key<Conn>, messages: &mut Vec<u8>) {
        let mut first = true;
        if let Some(out) = self.take_output(key) {
            push_messages(messages, self.buffers.bytes(out), &mut first);
            self.buffers.give_back(out);
        }
        let flags = self.flags[key.index() as usize];
        let channels = self.conns.get(key).map_or(0, |conn| conn.channels.len());
        for channel in 0..channels {
            if messages.len() > POLL_ANSWER_BYTES {
                return;
            }
            let Some(Channel { audience, seat, .. }) =
                self.conns.get(key).and_then(|conn| conn.channels.get(channel))
            else {
                return;
            };
            let (audience, seat) = (*audience, *seat);
            let Some(record) =
                self.audiences.get_mut(audience).filter(|_| seat != Channel::NO_SEAT)
            else {
                continue;
            };
            let pending = record.pending(seat as usize, flags);
            if !pending.is_empty() {
                push_messages(messages, pending, &mut first);
                record.catch_up(seat as usize, flags);
                self.touch_audience(audience);
            }
        }
    }

    /// A session's deadline has passed: its poll has waited long enough, or nobody polls it any
    /// more.
    pub(super) fn session_due<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: Key<Conn>) {
        if self.sessions.get(&key).is_some_and(|session| session.poller.is_some()) {
            self.let_poller_go(turn, key, NOTHING);
        } else {
            self.close(turn, key, CloseCode::GoingAway, "");
        }
    }

    /// A session ends: the client learns it from its poll, or from its next one.
    pub(super) fn end_session<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: Key<Conn>) {
        let mut messages = Vec::new();
        self.collect(key, &mut messages);
        let status = if messages.is_empty() { LOST } else { DONE };
        self.answer_poller(turn, key, status, &messages);
        self.sessions.remove(&key);
        self.remove(turn, key);
    }

    /// A connection that waited for a session has gone.
    pub(super) fn abandon<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        conn: Key<Conn>,
        exchange: &Exchange,
    ) {
        if let Exchange::Poll { ticket, .. } = exchange {
            self.tell_session(turn, ticket.shard, ToSession::Abandon { conn, ticket: *ticket });
        }
    }

    fn answer_poll<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        conn: Key<Conn>,
        manner: Manner,
        status: u16,
        ticket: Option<Ticket>,
        messages: &[u8],
    ) {
        let manner = Manner { keep_alive: manner.keep_alive && self.draining.is_none(), ..manner };
        let mut body = Vec::with_capacity(messages.len() + 96);
        body.push(b'{');
        if let Some(ticket) = ticket {
            body.extend_from_slice(b"\"messages\":[");
            body.extend_from_slice(messages);
            body.extend_from_slice(
                format!("],\"status\":{status},\"token\":\"{}\"}}", ticket.text()).as_bytes(),
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
        response.push(self.output(conn.index()), manner, turn.now.unix_ms);
        self.responded(turn, conn, manner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_read_as_it_was_written_and_nothing_else_is_one() {
        let ticket =
            Ticket { shard: 3, key: Key::from_u64(0x0102_0304_0506_0708), secret: u128::MAX / 3 };
        let text = ticket.text();
        assert_eq!(text.len(), TICKET_CHARS);
        assert_eq!(Ticket::parse(&text), Some(ticket));
        for other in ["", "a.b.c", &text[1..], &format!("{text}A"), &text.replace(&text[..1], "!")]
        {
            assert_eq!(Ticket::parse(other), None, "{other}");
        }
    }
}

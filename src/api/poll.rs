//! The requests of long polling: a poll, a new session, messages for one.
//!
//! Source: `Phoenix.Transports.LongPoll`. Deliberately absent: sessions (`conn::session`).

use std::borrow::Cow;

use super::{Api, admit_client, client};
use crate::conn::{Conns, Exchange, SessionToken, TOKEN_HEADER};
use crate::limits::TOKEN_WORK;
use crate::link::ask::{Ask, Desk};
use crate::link::ids::ConnKey;
use crate::link::io::Io;
use crate::link::outbox::Cx;
use crate::link::polled::{BUSY, GONE, LOST, MALFORMED, REFUSED};
use crate::link::pressure::Pressure;
use crate::link::record::ToSession;
use crate::wire::http::HttpError;
use crate::wire::http::head::Head;
use crate::wire::http::query::query_params;
use crate::wire::http::response::{Manner, Response, Status};
use crate::wire::phx::Serializer;
use crate::wire::phx::poll::push_posted;

impl Api {
    /// Handles a request for long polling.
    pub(super) fn long_poll<'m, I: Io>(
        &self,
        cx: &mut Cx<'_, I>,
        conns: &mut Conns,
        has_room: bool,
        conn: ConnKey,
        (head, body, manner): (&Head<'_>, &[u8], Manner),
        desk: &'m mut Desk,
    ) -> Option<Ask<'m>> {
        match head.method {
            "OPTIONS" => allow_origins(cx, conns, conn, head, manner),
            "GET" => return self.poll(cx, conns, has_room, conn, head, manner),
            "POST" => return self.post(cx, conns, conn, (head, body, manner), desk),
            _ => conns.respond(cx, conn, manner, &Response::empty(Status::BadRequest)),
        }
        None
    }

    /// A poll: of a session that there is, or for a new one.
    fn poll<'m, I: Io>(
        &self,
        cx: &mut Cx<'_, I>,
        conns: &mut Conns,
        has_room: bool,
        conn: ConnKey,
        head: &Head<'_>,
        manner: Manner,
    ) -> Option<Ask<'m>> {
        match self.check_poll(cx, conn, head) {
            Ok((_, Some(text))) => {
                let Some(token) = read_token(cx, &text) else {
                    conns.answer_poll(cx, conn, manner, LOST, None, &[]);
                    return None;
                };
                conns.wait(conn, Exchange::Poll { manner, token });
                let ticket = token.ticket;
                let message = ToSession::Poll { conn, ticket };
                return Some(Ask::Session { node: token.node, message });
            }
            Ok((serializer, None)) => {
                let token = self.open_session(cx, conns, has_room, conn, (head, serializer));
                let status = if token.is_some() { GONE } else { REFUSED };
                conns.answer_poll(cx, conn, manner, status, token, &[]);
            }
            Err(_) => conns.answer_poll(cx, conn, manner, REFUSED, None, &[]),
        }
        None
    }

    /// Makes a session, if whoever asks may have one.
    fn open_session<I: Io>(
        &self,
        cx: &mut Cx<'_, I>,
        conns: &mut Conns,
        has_room: bool,
        conn: ConnKey,
        (head, serializer): (&Head<'_>, Serializer),
    ) -> Option<SessionToken> {
        let identity = self.identify(cx, head).ok()?.identity;
        let Some(secret) = self.site.secret().filter(|_| has_room) else {
            count_refused(cx);
            return None;
        };
        let address = client(cx, conn, head).and_then(|client| cx.rated(client));
        let opener = (conn, address);
        let ticket = conns.open_session(cx, opener, (identity, serializer), secret)?;
        if !admit_client(cx, conn, head, ticket.key) {
            conns.remove(cx, ticket.key);
            return None;
        }
        cx.metrics.upgrades += 1;
        Some(SessionToken { node: None, ticket })
    }

    /// A POST: messages for a session.
    fn post<'m, I: Io>(
        &self,
        cx: &mut Cx<'_, I>,
        conns: &mut Conns,
        conn: ConnKey,
        (head, body, manner): (&Head<'_>, &[u8], Manner),
        desk: &'m mut Desk,
    ) -> Option<Ask<'m>> {
        let token = match self.check_poll(cx, conn, head) {
            Err(_) => Err(REFUSED),
            Ok((_, text)) => text.and_then(|text| read_token(cx, &text)).ok_or(GONE),
        };
        let status = match token {
            Err(status) => status,
            Ok(SessionToken { node: None, ticket }) if cx.is_busy(ticket.shard) => {
                // Of what waits in a way nothing is counted as memory in use, and here a
                // stranger's ticket is as good as any.
                cx.metrics.refused_busy += 1;
                BUSY
            }
            Ok(SessionToken { node, ticket }) => {
                let is_ndjson = head
                    .header("content-type")
                    .is_some_and(|media| media.starts_with("application/x-ndjson"));
                let frames = &mut desk.bytes;
                frames.clear();
                if push_posted(frames, body, is_ndjson).is_ok() {
                    let shard = node.is_none().then_some(ticket.shard);
                    conns.wait(conn, Exchange::Post { manner, shard });
                    let message = ToSession::Post { conn, ticket, frames };
                    return Some(Ask::Session { node, message });
                }
                MALFORMED
            }
        };
        conns.answer_poll(cx, conn, manner, status, None, &[]);
        None
    }

    /// The checks that hold for every request of long polling: the encoding that it asks for, and
    /// the session's token, if it has one.
    fn check_poll<'h, I: Io>(
        &self,
        cx: &Cx<'_, I>,
        conn: ConnKey,
        head: &Head<'h>,
    ) -> Result<(Serializer, Option<Cow<'h, str>>), Status> {
        let serializer = self.check_vsn_and_origin(cx, conn, head)?;
        Ok((serializer, find_token(head)?))
    }
}

/// The session's token, if the request has one.
pub(super) fn find_token<'h>(head: &Head<'h>) -> Result<Option<Cow<'h, str>>, Status> {
    if let Some(token) = head.header(TOKEN_HEADER) {
        return Ok(SessionToken::is_one(token).then_some(Cow::Borrowed(token)));
    }
    let tokens = query_params(head.query.unwrap_or_default(), "token");
    let tokens = tokens.map_err(HttpError::status)?;
    Ok(tokens.into_iter().rev().find(|token| SessionToken::is_one(token)))
}

/// Reads a session's token. `None`, if there is no such session, here or elsewhere.
fn read_token<I: Io>(cx: &mut Cx<'_, I>, text: &str) -> Option<SessionToken> {
    let token = SessionToken::read(text, cx.settings.sessions.as_deref())?;
    if token.node.is_some() {
        // Its signature was looked at, and it will be passed on.
        cx.budget.spend(TOKEN_WORK);
    }
    // Other nodes may have more shards.
    let may_be_there = token.node.is_some() || token.ticket.shard < cx.settings.shards;
    may_be_there.then_some(token)
}

/// The question that a browser asks before a page of another origin may poll.
fn allow_origins<I: Io>(
    cx: &mut Cx<'_, I>,
    conns: &mut Conns,
    conn: ConnKey,
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
    conns.respond(cx, conn, manner, &response);
}

/// Counts a client for whom there is no place, by what there is none of.
pub(crate) fn count_refused<I: Io>(cx: &mut Cx<'_, I>) {
    if cx.pressure < Pressure::Conns {
        cx.metrics.refused += 1;
    } else {
        cx.metrics.refused_memory += 1;
    }
}

//! Requests that a connection has made: their answers, and those that wait for another shard.
//!
//! Deliberately absent: which paths there are (`api`).

use super::Conns;
use super::session_token::SessionToken;
use super::stage::Stage;
use crate::link::ids::ConnKey;
use crate::link::io::Io;
use crate::link::outbox::Cx;
use crate::wire::http::head::Head;
use crate::wire::http::response::{Manner, Response, Status};

/// The headers of an answer of the API.
pub const API_HEADERS: &[(&str, &str)] = &[
    ("content-type", "application/json; charset=utf-8"),
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
];

/// What the API says where the shard that was asked for a room has begun anew.
pub(crate) const TRY_AGAIN: &str =
    r#"{"error":{"message":"it is not known what became of it: try again","reason":"busy"}}"#;

/// A request that waits for another shard or node, and what its answer will need.
#[derive(Clone, Debug)]
pub(crate) enum Exchange {
    /// A room is to be made.
    Create { manner: Manner, shard: u16, origin: Option<Box<str>> },
    /// A poll.
    Poll { manner: Manner, token: SessionToken },
    /// Messages for a session: on this shard, or at another node.
    Post { manner: Manner, shard: Option<u16> },
}

impl Exchange {
    /// The shard of this node that is to answer, if it is one.
    pub(crate) fn shard(&self) -> Option<u16> {
        match self {
            Self::Create { shard, .. } => Some(*shard),
            Self::Post { shard, .. } => *shard,
            Self::Poll { token, .. } => token.node.is_none().then_some(token.ticket.shard),
        }
    }
}

/// The headers of an answer of the API to a page of this other origin, if it is one.
pub(crate) fn api_headers(origin: Option<&str>) -> Vec<(&str, &str)> {
    let mut headers = API_HEADERS.to_vec();
    if let Some(origin) = origin {
        headers.extend([("access-control-allow-origin", origin), ("vary", "origin")]);
    }
    headers
}

/// How a request is to be answered. A server that is about to stop keeps no connection.
pub(crate) fn manner<I: Io>(cx: &Cx<'_, I>, head: &Head<'_>) -> Manner {
    Manner { keep_alive: head.keep_alive() && !cx.is_draining, ..Manner::asked_by(head) }
}

impl Conns {
    /// `Http -> Waiting`: keeps a request, and whatever the connection sends behind it, until
    /// another shard or node has answered: answers MUST go out in the order of their requests
    /// (RFC 9112, 9.3.2).
    pub(crate) fn wait(&mut self, key: ConnKey, exchange: Exchange) {
        if self.contains(key) {
            self.stages[key.index() as usize] = Stage::Waiting;
            self.exchanges.insert(key, exchange);
            self.park(key);
        }
    }

    /// `Waiting -> Http`: the request that was kept, if the connection is still there.
    pub(crate) fn stop_waiting(&mut self, key: ConnKey) -> Option<Exchange> {
        let exchange = self.exchanges.remove(&key)?;
        self.arena.get(key)?;
        self.stages[key.index() as usize] = Stage::Http;
        Some(exchange)
    }

    /// The requests that wait for a shard, in the order of their connections.
    pub(crate) fn waiting_for(&self, shard: u16) -> Vec<(ConnKey, Exchange)> {
        let exchanges =
            self.exchanges.iter().filter(|(_, exchange)| exchange.shard() == Some(shard));
        let mut waiting: Vec<_> =
            exchanges.map(|(key, exchange)| (*key, exchange.clone())).collect();
        // No order of a map may be seen outside.
        waiting.sort_unstable_by_key(|(key, _)| *key);
        waiting
    }

    /// Answers a request.
    pub(crate) fn respond<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: ConnKey,
        manner: Manner,
        response: &Response<'_>,
    ) {
        response.push(self.output(key.index()), manner, cx.now.unix_ms);
        self.responded(cx, key, manner);
    }

    /// After an answer: the next request, or the end.
    pub(crate) fn responded<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: ConnKey, manner: Manner) {
        if manner.keep_alive {
            self.set_deadline(cx.now, key, cx.now.mono_ms + cx.settings.limits.idle_ms);
        } else {
            self.end(cx, key);
        }
    }

    /// A room has been made, or not: answers the request that waits for it. `retry_ms` is 0 where
    /// it is not worth trying again.
    pub(crate) fn created<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: ConnKey,
        status: u16,
        retry_ms: u32,
        body: &str,
    ) {
        let Some(Exchange::Create { manner, origin, .. }) = self.stop_waiting(key) else { return };
        let status = match status {
            200 => Status::Ok,
            201 => Status::Created,
            403 => Status::Forbidden,
            _ => Status::Unavailable,
        };
        let wait_s = retry_ms.div_ceil(1_000).to_string();
        let mut headers = api_headers(origin.as_deref());
        if retry_ms > 0 {
            headers.push(("retry-after", &wait_s));
        }
        let response = Response { status, headers: &headers, body: body.as_bytes() };
        self.respond(cx, key, manner, &response);
        self.unpark(key);
    }
}

//! Requests: the upgrade to a WebSocket is answered here, everything else by the [`Site`].

use super::conn::{BLOCKED, Conn, PARKED, Stage};
use super::message::ToHome;
use super::session::{POLL_PATH, Ticket};
use super::{Io, Shard, Turn};
use crate::base::arena::Key;
use crate::base::time::Now;
use crate::directory::Directory;
use crate::auth::identity::Identity;
use crate::link::topic;
use crate::limits::{API_BODY_BYTES_MAX, HTTP_BODY_BYTES_MAX};
use crate::wire::http::body::CONTINUE;
use crate::wire::http::head::Head;
use crate::wire::http::origin::request_allowed;
use crate::wire::http::query::{query_param, query_params};
use crate::wire::http::response::{Manner, Response, Status};
use crate::wire::http::upgrade::{check_upgrade, push_switching_protocols, subprotocols};
use crate::wire::http::{HttpError, parse_body, parse_head};
use crate::wire::phx::Serializer;

/// Where sockets are opened.
pub const SOCKET_PATH: &str = "/socket/websocket";

/// Where every message comes back, if the operator has switched that on.
const ECHO_PATH: &str = "/echo";

/// The headers of an answer of the API.
pub const API_HEADERS: &[(&str, &str)] = &[
    ("content-type", "application/json; charset=utf-8"),
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
];

/// What the API says where no new room can be made, where the shard that was asked for one has
/// begun anew, and to whoever makes too many.
pub(super) const NO_ROOM: &str =
    r#"{"error":{"message":"no new room can be made","reason":"too_many_rooms"}}"#;
/// See [`NO_ROOM`].
pub(super) const TRY_AGAIN: &str =
    r#"{"error":{"message":"it is not known what became of it: try again","reason":"busy"}}"#;
/// See [`NO_ROOM`].
const TOO_FAST: &str = r#"{"error":{"message":"too many rooms at once: see limits.join_per_s","reason":"rate_limited"}}"#;

/// What an application puts behind the server: who its users are, and what there is besides the
/// socket.
pub trait Site {
    /// Who a token belongs to; `None` if it is not good, for whatever reason.
    fn identify(&self, token: &str, now: Now) -> Option<Identity>;

    /// 128 bits that nobody guesses; `None` if the system has none.
    fn secret(&self) -> Option<u128>;

    /// Hears of a page that may not connect: it comes neither from the request's `Host` nor from
    /// where the operator lists. For the log.
    fn page_refused(&self, _head: &Head<'_>) {}

    /// Answers a request, by appending a whole response to `out`; or says what the shard is to do
    /// about it.
    fn respond(&self, request: &Request<'_, '_>, out: &mut Vec<u8>) -> Routed;
}

/// A request for the [`Site`].
pub struct Request<'a, 'h> {
    /// The head.
    pub head: &'a Head<'h>,
    /// The body.
    pub body: &'a [u8],
    /// How the answer is to be written.
    pub manner: Manner,
    /// When it came.
    pub now: Now,
    /// The rooms there are.
    pub directory: &'a Directory,
    /// Whether the server is about to stop.
    pub draining: bool,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Routed {
    /// It has been answered.
    Answered,
    /// A room is to be made.
    CreateRoom {
        /// Its name, which must be one.
        room: String,
        /// Its title.
        title: String,
        /// The other origin whose page asks for it, and may read the answer.
        origin: Option<Box<str>>,
    },
}

/// A request that waits for another shard, and what its answer will need.
#[derive(Debug)]
pub(super) enum Exchange {
    /// A room is to be made.
    Create { manner: Manner, shard: u16, origin: Option<Box<str>> },
    /// A poll.
    Poll { manner: Manner, ticket: Ticket },
    /// Messages for a session.
    Post { manner: Manner, shard: u16 },
}

impl Exchange {
    /// The shard that is to answer.
    pub(super) fn shard(&self) -> u16 {
        match self {
            Self::Create { shard, .. } | Self::Post { shard, .. } => *shard,
            Self::Poll { ticket, .. } => ticket.shard,
        }
    }
}

/// The headers of an answer of the API to a page of this other origin, if it is one.
fn api_headers(origin: Option<&str>) -> Vec<(&str, &str)> {
    let mut headers = API_HEADERS.to_vec();
    if let Some(origin) = origin {
        headers.extend([("access-control-allow-origin", origin), ("vary", "origin")]);
    }
    headers
}

/// Whether a request is for this path, with a slash at its end or without, as Phoenix has it.
fn is_at(head: &Head<'_>, path: &str) -> bool {
    head.path.strip_suffix('/').unwrap_or(head.path) == path
}

impl Shard {
    /// Handles the next request, and says how many bytes it had; `None` if it is not whole, or has
    /// to wait.
    pub(super) fn request<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        key: Key<Conn>,
        bytes: &[u8],
    ) -> Option<usize> {
        let head = match parse_head(bytes, &self.settings.limits) {
            Ok(Some(head)) => head,
            Ok(None) => return None,
            Err(error) => {
                self.refuse(turn, key, error);
                return Some(bytes.len());
            }
        };
        let bytes_max =
            if is_at(&head, POLL_PATH) { HTTP_BODY_BYTES_MAX } else { API_BODY_BYTES_MAX };
        let body = match parse_body(&head, &bytes[head.head_bytes..], bytes_max) {
            Ok(Some(body)) => body,
            Ok(None) => {
                // RFC 9110, 10.1.1: nothing need be said once some of the body has come.
                if bytes.len() == head.head_bytes && head.expects_continue() {
                    self.output(key.index()).extend_from_slice(CONTINUE);
                }
                return None;
            }
            Err(error) => {
                self.refuse(turn, key, error);
                return Some(bytes.len());
            }
        };
        let (taken, body) = (head.head_bytes + body.taken, &*body.content);
        if self.comes_in(&head) {
            if !self.admission.admits() {
                self.line_up(turn, key);
                return None;
            }
            self.admission.spend(0);
        }
        if is_at(&head, SOCKET_PATH) {
            self.upgrade(turn, key, &head);
            return Some(taken);
        }
        if self.settings.echo && head.path == ECHO_PATH {
            self.open_echo(turn, key, &head);
            return Some(taken);
        }
        if is_at(&head, POLL_PATH) {
            self.metrics.requests += 1;
            self.long_poll(turn, key, &head, body);
            return Some(taken);
        }
        let manner = self.manner(&head);
        let site = std::sync::Arc::clone(&self.site);
        let mut out = std::mem::take(&mut self.response);
        let draining = self.draining.is_some();
        let request = Request {
            head: &head,
            body,
            manner,
            now: turn.now,
            directory: &self.directory,
            draining,
        };
        let routed = site.respond(&request, &mut out);
        self.output(key.index()).extend_from_slice(&out);
        out.clear();
        self.response = out;
        self.metrics.requests += 1;
        match routed {
            Routed::Answered => self.responded(turn, key, manner),
            Routed::CreateRoom { room, title, origin } => {
                self.create_room(turn, key, manner, &room, &title, origin);
            }
        }
        Some(taken)
    }

    /// Whether a request is that of a client that comes in: for a socket, or for a new session of
    /// long polling.
    fn comes_in(&self, head: &Head<'_>) -> bool {
        is_at(head, SOCKET_PATH)
            || is_at(head, POLL_PATH)
                && head.method == "GET"
                && matches!(self.poll_ticket(head), Ok(None))
    }

    /// How a request is to be answered. A server that is about to stop keeps no connection.
    pub(super) fn manner(&self, head: &Head<'_>) -> Manner {
        Manner {
            keep_alive: head.keep_alive() && self.draining.is_none(),
            ..Manner::asked_by(head)
        }
    }

    /// Keeps a request, and whatever the connection sends behind it, until another shard has
    /// answered.
    pub(super) fn wait(&mut self, key: Key<Conn>, exchange: Exchange) {
        if self.conns.contains(key) {
            self.stages[key.index() as usize] = Stage::Waiting;
            self.exchanges.insert(key, exchange);
            self.flags[key.index() as usize] |= PARKED;
        }
    }

    /// The request that was kept, if the connection is still there.
    pub(super) fn stop_waiting(&mut self, key: Key<Conn>) -> Option<Exchange> {
        let exchange = self.exchanges.remove(&key)?;
        self.conns.get(key)?;
        self.stages[key.index() as usize] = Stage::Http;
        Some(exchange)
    }

    /// After an answer: the next request, or the end. A peer that asks on and never reads is not
    /// answered for ever.
    pub(super) fn responded<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        key: Key<Conn>,
        manner: Manner,
    ) {
        if manner.keep_alive && self.flags[key.index() as usize] & BLOCKED == 0 {
            self.rest(key, turn.now.mono_ms);
        } else {
            self.end(turn, key);
        }
    }

    /// Has a room made by its home. That counts as a join: it is what a join does too, to a room
    /// that is not there.
    fn create_room<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        key: Key<Conn>,
        manner: Manner,
        room: &str,
        title: &str,
        origin: Option<Box<str>>,
    ) {
        if let Err(retry) =
            self.rates.take_join(key.index(), turn.now.mono_ms, &self.settings.limits)
        {
            self.metrics.refused_join += 1;
            let retry_s = retry.0.div_ceil(1_000).to_string();
            let mut headers = api_headers(origin.as_deref());
            headers.push(("retry-after", &retry_s));
            let response = Response {
                status: Status::TooManyRequests,
                headers: &headers,
                body: TOO_FAST.as_bytes(),
            };
            response.push(self.output(key.index()), manner, turn.now.unix_ms);
            return self.responded(turn, key, manner);
        }
        let topic = topic::of_room(room);
        let home_shard = self.home_of(&topic);
        self.wait(key, Exchange::Create { manner, shard: home_shard, origin });
        self.tell_home(turn, home_shard, ToHome::Create { conn: key, topic: &topic, title });
    }

    /// A room has been made, or not.
    pub(super) fn created<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        key: Key<Conn>,
        status: u16,
        body: &str,
    ) {
        let Some(Exchange::Create { manner, origin, .. }) = self.stop_waiting(key) else { return };
        let status = match status {
            200 => Status::Ok,
            201 => Status::Created,
            _ => Status::Unavailable,
        };
        let headers = api_headers(origin.as_deref());
        let response = Response { status, headers: &headers, body: body.as_bytes() };
        response.push(self.output(key.index()), manner, turn.now.unix_ms);
        self.responded(turn, key, manner);
        self.unpark(key);
    }

    fn refuse<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: Key<Conn>, error: HttpError) {
        match error {
            HttpError::BodyTooBig
            | HttpError::TargetTooLong
            | HttpError::HeadTooLong
            | HttpError::TooManyHeaders => self.metrics.refused_head_length += 1,
            _ => self.metrics.refused_head += 1,
        }
        let status = error.status();
        Response::text(status, status.reason()).push(
            self.output(key.index()),
            Manner::CLOSE,
            turn.now.unix_ms,
        );
        self.end(turn, key);
    }

    /// Turns a connection into a WebSocket that says what it hears.
    fn open_echo<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: Key<Conn>, head: &Head<'_>) {
        match check_upgrade(head) {
            Ok(accept) => {
                push_switching_protocols(
                    self.output(key.index()),
                    &accept,
                    false,
                    turn.now.unix_ms,
                );
                self.stages[key.index() as usize] = Stage::Echo;
                self.reconsider(key);
            }
            Err(error) => {
                let manner = self.manner(head);
                error.response().push(self.output(key.index()), manner, turn.now.unix_ms);
                self.responded(turn, key, manner);
            }
        }
    }

    /// Turns a connection into a WebSocket, or says why not, without telling a stranger anything
    /// about tokens.
    fn upgrade<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: Key<Conn>, head: &Head<'_>) {
        let manner = Manner { head_only: false, ..self.manner(head) };
        let (identity, serializer, phoenix) = match self.admit(turn.now, head) {
            Ok(admitted) => admitted,
            Err(status) => {
                self.metrics.unauthorized += 1;
                Response::empty(status).push(self.output(key.index()), manner, turn.now.unix_ms);
                return self.responded(turn, key, manner);
            }
        };
        let accept = match check_upgrade(head) {
            Ok(accept) => accept,
            Err(error) => {
                error.response().push(self.output(key.index()), manner, turn.now.unix_ms);
                return self.responded(turn, key, manner);
            }
        };
        push_switching_protocols(self.output(key.index()), &accept, phoenix, turn.now.unix_ms);
        self.become_socket(key, identity, serializer);
        self.metrics.upgrades += 1;
    }

    /// The checks that Phoenix makes before the handshake itself, in its order.
    pub(super) fn admit(
        &self,
        now: Now,
        head: &Head<'_>,
    ) -> Result<(Identity, Serializer, bool), Status> {
        let serializer = self.check_vsn_and_origin(head)?;
        let asked = subprotocols(head).map_err(|_| Status::Forbidden)?;
        let in_header =
            asked.token.or_else(|| head.header("x-phoenix-authtoken").map(str::to_owned));
        let tokens =
            query_params(head.query.unwrap_or_default(), "token").map_err(HttpError::status)?;
        // Long polling has two tokens of this name, and only one of them is a user's. No more than
        // two: each is a signature to verify, and a head has room for a hundred.
        let in_query =
            || tokens.iter().rev().take(2).find_map(|token| self.site.identify(token, now));
        let identity = match in_header {
            Some(token) => self.site.identify(&token, now),
            None => in_query(),
        };
        Ok((identity.ok_or(Status::Forbidden)?, serializer, asked.phoenix))
    }

    /// The first two checks, which hold for every request of a transport.
    pub(super) fn check_vsn_and_origin(&self, head: &Head<'_>) -> Result<Serializer, Status> {
        let vsn = query_param(head.query.unwrap_or_default(), "vsn").map_err(HttpError::status)?;
        let serializer = Serializer::from_vsn(vsn.as_deref()).ok_or(Status::Forbidden)?;
        if !request_allowed(head, &self.settings.origins) {
            self.site.page_refused(head);
            return Err(Status::Forbidden);
        }
        Ok(serializer)
    }
}

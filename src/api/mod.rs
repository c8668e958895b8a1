//! HTTP: which paths there are, and who answers them. The upgrade to a WebSocket and long polling
//! are answered here, everything else by the [`Site`].
//!
//! ```text
//!   bytes ── read (head, body) ─┬ /socket/websocket ── upgrade ──> a WebSocket
//!                               ├ /socket/longpoll ── poll ── Ask::Session ──> shard
//!                               └ Site::respond ─┬ answered
//!                                                └ CreateRoom ── Ask::Home ──> shard
//! ```
//!
//! Deliberately absent: connections' bytes (`conn`), and pages (`app`).
//!
//! Called by: `shard`. Calls: `conn`, `directory`, `wire`, [`Site`].

pub(crate) mod poll;
mod upgrade;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use crate::auth::identity::Identity;
use crate::base::time::Now;
use crate::conn::{Conns, Exchange, TRY_AGAIN, api_headers, manner};
use crate::directory::Directory;
use crate::limits::{API_BODY_BYTES_MAX, HTTP_BODY_BYTES_MAX, TOKEN_WORK};
use crate::link::ask::{Ask, Desk};
use crate::link::ids::ConnKey;
use crate::link::io::Io;
use crate::link::outbox::Cx;
use crate::link::rates::AddressHash;
use crate::link::record::ToHome;
use crate::link::topic;
use crate::wire::http::body::CONTINUE;
use crate::wire::http::forwarded::request_client;
use crate::wire::http::head::Head;
use crate::wire::http::origin::loopback_host_allowed;
use crate::wire::http::response::{Manner, Response, Status};
use crate::wire::http::{HttpError, parse_body, parse_head};

pub use crate::conn::API_HEADERS;

/// Where sockets are opened.
pub const SOCKET_PATH: &str = "/socket/websocket";

/// Where sessions of long polling are polled.
const POLL_PATH: &str = "/socket/longpoll";

/// Where every message comes back, if the operator has switched that on.
const ECHO_PATH: &str = "/echo";

/// What the API says to a client that makes too many rooms.
const TOO_FAST: &str = r#"{"error":{"message":"too many rooms at once: see limits.rooms_per_s","reason":"rate_limited"}}"#;

/// What an application puts behind the server: who its users are, and what there is besides the
/// socket.
pub trait Site {
    /// Who a token belongs to; `None` if it is not good, for whatever reason.
    fn identify(&self, token: &str, now: Now) -> Option<Identity>;

    /// 128 bits that nobody guesses; `None` if the system has none.
    fn secret(&self) -> Option<u128>;

    /// Hears of a page that may not connect: it comes neither from the request's `Host` nor from
    /// where the operator lists. For the log, with the client's address if it is known.
    fn page_refused(&self, _head: &Head<'_>, _client: Option<IpAddr>) {}

    /// Hears of a request for a host that is not this machine, where only this machine can connect.
    /// For the log.
    fn host_refused(&self, _head: &Head<'_>, _client: Option<IpAddr>) {}

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
    /// Where it comes from, if that is known and no trusted proxy that does not say more.
    pub client: Option<IpAddr>,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Routed {
    /// It has been answered.
    Answered,
    /// It has been answered, that there were too many guests' tokens for its address.
    TooManyTokens,
    /// A room is to be made.
    CreateRoom {
        /// The user who asks, whose rate it is.
        user: Box<str>,
        /// Its name, which must be one.
        room: String,
        /// Its title.
        title: String,
        /// The other origin whose page asks for it, and may read the answer.
        origin: Option<Box<str>>,
    },
}

/// What was read of a connection's bytes.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub(crate) enum Read<'b> {
    /// A request, of so many bytes.
    Whole { head: Head<'b>, body: Cow<'b, [u8]>, taken: usize },
    /// It is not whole.
    Partial,
    /// It is none that can be taken, and has been answered.
    Refused,
}

/// The routes of a shard.
pub(crate) struct Api {
    pub(crate) site: Arc<dyn Site + Send + Sync>,
    /// Memory for an answer of the site.
    response: Vec<u8>,
}

/// Whether a request is for this path, with a slash at its end or without, as Phoenix has it.
fn is_at(head: &Head<'_>, path: &str) -> bool {
    head.path.strip_suffix('/').unwrap_or(head.path) == path
}

impl Api {
    /// The routes, with this site behind them.
    pub(crate) fn new(site: Arc<dyn Site + Send + Sync>) -> Self {
        Self { site, response: Vec::new() }
    }

    /// The memory for answers, to be given back if it is large.
    pub(crate) fn scratch(&mut self) -> &mut Vec<u8> {
        &mut self.response
    }

    /// Reads the next request.
    pub(crate) fn read<'b, I: Io>(
        &self,
        cx: &mut Cx<'_, I>,
        conns: &mut Conns,
        key: ConnKey,
        bytes: &'b [u8],
    ) -> Read<'b> {
        let head = match parse_head(bytes, &cx.settings.limits) {
            Ok(Some(head)) => head,
            Ok(None) => return Read::Partial,
            Err(error) => return refuse(cx, conns, key, error),
        };
        // RFC 9110, 7.2 and 15.5.20: who asks for another host than this one is misdirected.
        if cx.settings.is_private && !loopback_host_allowed(head.host(), &cx.settings.origins) {
            self.site.host_refused(&head, client(cx, key, &head));
            return refuse(cx, conns, key, HttpError::Misdirected);
        }
        let is_poll = is_at(&head, POLL_PATH);
        let bytes_max = if is_poll { HTTP_BODY_BYTES_MAX } else { API_BODY_BYTES_MAX };
        match parse_body(&head, &bytes[head.head_bytes..], bytes_max) {
            Ok(Some(body)) => {
                let taken = head.head_bytes + body.taken;
                Read::Whole { head, body: body.content, taken }
            }
            Ok(None) => {
                // RFC 9110, 10.1.1: nothing need be said once some of the body has come.
                if bytes.len() == head.head_bytes && head.expects_continue() {
                    conns.output(key.index()).extend_from_slice(CONTINUE);
                }
                Read::Partial
            }
            Err(error) => refuse(cx, conns, key, error),
        }
    }

    /// Whether a request is that of a client that comes in: for a socket, or for a new session of
    /// long polling.
    pub(crate) fn comes_in(head: &Head<'_>) -> bool {
        is_at(head, SOCKET_PATH)
            || is_at(head, POLL_PATH)
                && head.method == "GET"
                && matches!(poll::find_token(head), Ok(None))
    }

    /// Handles a request: answers it, or returns what is to be asked of another part.
    ///
    /// `has_room` says whether one more connection may be taken in, for a session of long polling.
    #[expect(clippy::too_many_arguments, reason = "a request, and what it is answered from")]
    pub(crate) fn handle<'m, I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        conns: &mut Conns,
        directory: &Directory,
        has_room: bool,
        key: ConnKey,
        (head, body): (&Head<'_>, &[u8]),
        desk: &'m mut Desk,
    ) -> Option<Ask<'m>> {
        if is_at(head, SOCKET_PATH) {
            self.upgrade(cx, conns, key, head);
            return None;
        }
        if cx.settings.echo && head.path == ECHO_PATH {
            upgrade::open_echo(cx, conns, key, head);
            return None;
        }
        cx.metrics.requests += 1;
        let manner = manner(cx, head);
        if is_at(head, POLL_PATH) {
            return self.long_poll(cx, conns, has_room, key, (head, body, manner), desk);
        }
        if head.header("authorization").is_some() || head.method == "POST" {
            cx.budget.spend(TOKEN_WORK);
        }
        let draining = cx.is_draining;
        let client = client(cx, key, head).filter(|of| !cx.settings.trusted_proxies.contains(*of));
        let request = Request { head, body, manner, now: cx.now, directory, draining, client };
        let routed = self.site.respond(&request, &mut self.response);
        conns.output(key.index()).extend_from_slice(&self.response);
        self.response.clear();
        match routed {
            Routed::Answered | Routed::TooManyTokens => {
                cx.metrics.refused_tokens += u64::from(routed == Routed::TooManyTokens);
                conns.responded(cx, key, manner);
                None
            }
            Routed::CreateRoom { user, room, title, origin } => {
                let asker = (key, &*user, client.and_then(|client| cx.rated(client)));
                create_room(cx, conns, asker, (manner, origin), (&room, &title), desk)
            }
        }
    }

    /// Answers requests that waited for a shard that has begun anew.
    pub(crate) fn answer_waiting<I: Io>(cx: &mut Cx<'_, I>, conns: &mut Conns, shard: u16) {
        use crate::link::polled::GONE;
        use crate::link::record::FromSession;
        for (conn, exchange) in conns.waiting_for(shard) {
            match exchange {
                Exchange::Create { .. } => conns.created(cx, conn, 503, 0, TRY_AGAIN),
                Exchange::Poll { .. } => conns.hear_session(cx, FromSession::Gone { conn }),
                Exchange::Post { .. } => {
                    conns.hear_session(cx, FromSession::Posted { conn, status: GONE });
                }
            }
        }
    }
}

/// The client of a request as a trusted proxy tells it; `None` if it came from none.
fn forwarded_client<I: Io>(cx: &Cx<'_, I>, key: ConnKey, head: &Head<'_>) -> Option<IpAddr> {
    let trusted = &cx.settings.trusted_proxies;
    if trusted.is_empty() {
        return None;
    }
    let peer = cx.io.peer(key.index()).filter(|peer| trusted.contains(*peer))?;
    Some(request_client(peer, trusted, head))
}

/// The client of a request, for the log.
fn client<I: Io>(cx: &Cx<'_, I>, key: ConnKey, head: &Head<'_>) -> Option<IpAddr> {
    forwarded_client(cx, key, head).or_else(|| cx.io.peer(key.index()))
}

/// Counts what a request opens, at this index, for the client that a trusted proxy tells. False if
/// that client has as many as may be.
fn admit_client<I: Io>(cx: &mut Cx<'_, I>, key: ConnKey, head: &Head<'_>, opened: ConnKey) -> bool {
    let client = forwarded_client(cx, key, head);
    let is_admitted = client.is_none_or(|client| cx.io.admit(opened.index(), client));
    cx.metrics.refused_per_ip += u64::from(!is_admitted);
    is_admitted
}

/// Asks a room's home to make it. It counts as a room that is made, be it there or not.
fn create_room<'m, I: Io>(
    cx: &mut Cx<'_, I>,
    conns: &mut Conns,
    (key, user, address): (ConnKey, &str, Option<AddressHash>),
    (manner, origin): (Manner, Option<Box<str>>),
    (room, title): (&str, &str),
    desk: &'m mut Desk,
) -> Option<Ask<'m>> {
    let limits = &cx.settings.limits;
    if let Err(retry) = cx.settings.rates.take_room(user, address, cx.now.mono_ms, limits) {
        cx.metrics.refused_founding += 1;
        let retry_s = retry.0.div_ceil(1_000).to_string();
        let mut headers = api_headers(origin.as_deref());
        headers.push(("retry-after", &retry_s));
        let (headers, body) = (&*headers, TOO_FAST.as_bytes());
        let response = Response { status: Status::TooManyRequests, headers, body };
        conns.respond(cx, key, manner, &response);
        return None;
    }
    desk.text = topic::of_room(room);
    let topic_bytes = desk.text.len();
    desk.text.push_str(title);
    let title_end = desk.text.len();
    desk.text.push_str(user);
    let (topic, rest) = desk.text.split_at(topic_bytes);
    let (title, user) = rest.split_at(title_end - topic_bytes);
    let shard = cx.home_of(topic);
    conns.wait(key, Exchange::Create { manner, shard, origin });
    Some(Ask::Home { shard, message: ToHome::Create { conn: key, topic, title, user } })
}

/// Answers what is no request that can be taken, and closes.
fn refuse<'b, I: Io>(
    cx: &mut Cx<'_, I>,
    conns: &mut Conns,
    key: ConnKey,
    error: HttpError,
) -> Read<'b> {
    match error {
        HttpError::BodyTooBig
        | HttpError::TargetTooLong
        | HttpError::HeadTooLong
        | HttpError::TooManyHeaders => cx.metrics.refused_head_length += 1,
        _ => cx.metrics.refused_head += 1,
    }
    let status = error.status();
    let response = Response::text(status, status.reason());
    response.push(conns.output(key.index()), Manner::CLOSE, cx.now.unix_ms);
    conns.end(cx, key);
    Read::Refused
}

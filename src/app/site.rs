//! What is served besides the socket: the chat page, the API, and whether the server is well. See
//! `docs/protocol.md`, section 1.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use data_encoding::BASE32_NOPAD;
use serde_json::{Value, json};

use super::archive;
use super::assets::Assets;
use super::cluster;
use super::keeping::Stats;
use super::memory::major_page_faults;
use crate::auth::identity::Identity;
use crate::auth::token::{Claims, Signer, Verifier};
use crate::base::name::{is_name, is_title};
use crate::base::rate_table::RetryMs;
use crate::base::time::Now;
use crate::directory::Scope;
use crate::limits::{Limits, NAME_BYTES_MAX, TITLE_GIVEN_BYTES_MAX};
use crate::link::rates::Rates;
use crate::reactor::Health;
use crate::shard::{API_HEADERS, Request, Routed, Site, push_rooms, push_text};
use crate::wire::http::Head;
use crate::wire::http::cors::{CrossOrigin, is_preflight};
use crate::wire::http::query::query_param;
use crate::wire::http::response::{Response, Status};
use crate::wire::json;

/// The site of a chat server.
pub(super) struct ChatSite {
    /// Who checks tokens.
    pub(super) verifier: Verifier,
    /// Who makes a guest's token; `None` if there are no guests.
    pub(super) guests: Option<Signer>,
    /// How long a guest's token is good, in seconds.
    pub(super) guest_ttl_s: u64,
    /// The page.
    pub(super) assets: Assets,
    /// The origins whose pages may use the API too.
    pub(super) origins: Vec<String>,
    /// What the shards have counted; `None` if that is not served.
    pub(super) health: Option<Arc<[Arc<Health>]>>,
    /// What the store has counted; `None` if rooms are in memory only.
    pub(super) store: Option<Arc<Stats>>,
    /// What the engine's thread has counted, where several servers share one.
    pub(super) engine: Option<Arc<cluster::Stats>>,
    /// What the thread of its archive has counted, if there is one.
    pub(super) archive: Option<Arc<archive::Stats>>,
    /// The limits that depend on the machine where they are not configured, by their keys, as they
    /// are now. 0 is no bound.
    pub(super) bounds: [(&'static str, u64); 2],
    /// What addresses may do.
    pub(super) rates: Arc<Rates>,
    /// How much that is.
    pub(super) limits: Limits,
    /// Whether users make rooms on purpose, as far as their tokens allow.
    pub(super) users_make_rooms: bool,
}

/// The rooms in one page of the list, unless fewer are asked for, and at most.
const ROOMS_DEFAULT: usize = 100;
const ROOMS_MAX: usize = 1_000;

/// The page runs nothing but its own files, is framed by nobody, and tells nobody where it was.
const PAGE_HEADERS: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cache-control", "no-cache"),
];

/// Why the API refuses, and what it says then.
struct Problem {
    status: Status,
    reason: &'static str,
    message: String,
    /// When it may be asked again.
    retry: Option<RetryMs>,
}

fn problem(status: Status, reason: &'static str, message: impl Into<String>) -> Problem {
    Problem { status, reason, message: message.into(), retry: None }
}

/// A room that somebody wants.
struct NewRoom {
    room: String,
    title: Option<String>,
}

impl Site for ChatSite {
    fn identify(&self, token: &str, now: Now) -> Option<Identity> {
        match self.verifier.verify(token, now.unix_ms / 1_000) {
            Ok(identity) => Some(identity),
            Err(error) => {
                tracing::debug!(%error, claim = error.claim(), wanted = error.wanted(), "token refused");
                None
            }
        }
    }

    fn page_refused(&self, head: &Head<'_>, client: Option<IpAddr>) {
        tracing::debug!(
            client = client.map(tracing::field::display),
            origin = head.header("origin"),
            host = head.host(),
            "page refused: its origin is not the host, nor in http.origins"
        );
    }

    fn host_refused(&self, head: &Head<'_>, client: Option<IpAddr>) {
        tracing::debug!(
            client = client.map(tracing::field::display),
            host = head.host(),
            "request refused: while listening on loopback, its host must be there or in http.origins"
        );
    }

    fn secret(&self) -> Option<u128> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).ok().map(|()| u128::from_le_bytes(bytes))
    }

    fn respond(&self, request: &Request<'_, '_>, out: &mut Vec<u8>) -> Routed {
        let cross = CrossOrigin::of(request.head, &self.origins);
        if let (Some(cross), Some(methods)) = (cross, api_methods(request.head.path))
            && is_preflight(request.head)
        {
            let headers = cross.preflight(methods);
            push(
                request,
                &Response { status: Status::NoContent, headers: &headers, body: b"" },
                out,
            );
            return Routed::Answered;
        }
        let done = match (request.head.path, request.head.method) {
            ("/api/session", "POST") => self.open_session(request, out),
            ("/api/rooms", "GET" | "HEAD") => self.list_rooms(request, out),
            ("/api/rooms", "POST") => match self.room_wanted(request) {
                Ok((user, NewRoom { room, title })) => {
                    let title = title.unwrap_or_else(|| room.clone());
                    let origin = cross.map(|cross| cross.origin().into());
                    return Routed::CreateRoom { user, room, title, origin };
                }
                Err(problem) => Err(problem),
            },
            ("/healthz", "GET" | "HEAD") => {
                push(request, &Response::text(Status::Ok, "ok\n"), out);
                Ok(())
            }
            ("/readyz", "GET" | "HEAD") => {
                let ready = if request.draining {
                    (Status::Unavailable, "draining\n")
                } else if self.store.as_ref().is_some_and(|store| !store.is_working()) {
                    (Status::Unavailable, "storage\n")
                } else {
                    (Status::Ok, "ok\n")
                };
                push(request, &Response::text(ready.0, ready.1), out);
                Ok(())
            }
            ("/metrics", "GET" | "HEAD") if self.health.is_some() => {
                self.metrics(request, out);
                Ok(())
            }
            (path, method) => match api_methods(path) {
                Some(methods) => {
                    self.not_allowed(request, methods, out);
                    Ok(())
                }
                None => self.page(request, path, method, out),
            },
        };
        if let Err(Problem { status, reason, message, retry }) = done {
            let body = json!({"error": {"reason": reason, "message": message}}).to_string();
            // RFC 9110, 15.5.2 and 11.6.1: a refusal for want of a token MUST say which kind is
            // wanted.
            let challenge = [("www-authenticate", "Bearer")];
            let retry_s = retry.map(|RetryMs(ms)| ms.div_ceil(1_000).to_string());
            let later = retry_s.as_deref().map(|retry_s| ("retry-after", retry_s));
            let challenge = challenge.into_iter().filter(|_| status == Status::Unauthorized);
            let more: Vec<_> = challenge.chain(later).collect();
            self.push_api(request, status, &more, body.as_bytes(), out);
            if retry.is_some() {
                return Routed::TooManyTokens;
            }
        }
        Routed::Answered
    }
}

/// The methods that a path of the API takes; `None` of any other path.
fn api_methods(path: &str) -> Option<&'static str> {
    match path {
        "/api/session" => Some("POST"),
        "/api/rooms" => Some("GET, HEAD, POST"),
        _ => None,
    }
}

impl ChatSite {
    /// Appends an answer of the API; a page of a listed origin may read it.
    fn push_api(
        &self,
        request: &Request<'_, '_>,
        status: Status,
        more: &[(&str, &str)],
        body: &[u8],
        out: &mut Vec<u8>,
    ) {
        let cross = CrossOrigin::of(request.head, &self.origins);
        let is_api = request.head.path.starts_with("/api/");
        let mut headers = [API_HEADERS, more].concat();
        headers.extend(cross.filter(|_| is_api).iter().flat_map(|cross| cross.headers()));
        push(request, &Response { status, headers: &headers, body }, out);
    }

    // RFC 9110, 15.5.6 and 10.2.1: the refusal MUST name the methods that are allowed.
    fn not_allowed(&self, request: &Request<'_, '_>, allowed: &str, out: &mut Vec<u8>) {
        let message = format!("allowed: {allowed}");
        let body = json!({"error": {"reason": "method_not_allowed", "message": message}});
        let (status, allow) = (Status::MethodNotAllowed, [("allow", allowed)]);
        self.push_api(request, status, &allow, body.to_string().as_bytes(), out);
    }

    /// The numbers of all shards, for Prometheus.
    fn metrics(&self, request: &Request<'_, '_>, out: &mut Vec<u8>) {
        let health = self.health.as_deref().unwrap_or_default();
        let mut body = String::new();
        push_text(&mut body, &health.iter().map(|health| &health.metrics));
        // Writing to a string cannot fail.
        let _ = writeln!(
            body,
            "# HELP chinwag_limit What is the most there may be.\n# TYPE chinwag_limit gauge"
        );
        for (key, bound) in self.bounds.iter().filter(|(_, bound)| *bound > 0) {
            let _ = writeln!(body, "chinwag_limit{{limit=\"{key}\"}} {bound}");
        }
        let stalls = health.iter().map(|health| health.stalls()).sum();
        let restarts = health.iter().map(|health| health.restarts_count()).sum();
        // What the kernel has in memory: nobody waits for it.
        let faults = major_page_faults(&|path| std::fs::read_to_string(path));
        for (name, help, sum) in [
            ("stalls", "Turns of a shard that took a second or more.", Some(stalls)),
            ("restarts", "Shards that panicked and began anew.", Some(restarts)),
            ("major_page_faults", "Waits for a page of memory that was on disk.", faults),
        ] {
            let Some(sum): Option<u64> = sum else { continue };
            let _ = writeln!(
                body,
                "# HELP chinwag_{name}_total {help}\n# TYPE chinwag_{name}_total counter\nchinwag_{name}_total {sum}"
            );
        }
        if let Some(store) = &self.store {
            store.push_text(&mut body);
        }
        if let Some(engine) = &self.engine {
            engine.push_text(&mut body);
        }
        if let Some(archive) = &self.archive {
            archive.push_text(&mut body);
        }
        let headers = [
            ("content-type", "text/plain; version=0.0.4; charset=utf-8"),
            ("cache-control", "no-store"),
        ];
        push(
            request,
            &Response { status: Status::Ok, headers: &headers, body: body.as_bytes() },
            out,
        );
    }

    fn page(
        &self,
        request: &Request<'_, '_>,
        path: &str,
        method: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), Problem> {
        let Some(asset) = self.assets.at(path) else {
            return Err(problem(Status::NotFound, "not_found", "there is nothing here"));
        };
        if !matches!(method, "GET" | "HEAD") {
            self.not_allowed(request, "GET, HEAD", out);
            return Ok(());
        }
        let mut headers = vec![("content-type", asset.media_type), ("etag", &*asset.etag)];
        headers.extend(PAGE_HEADERS);
        // RFC 9110, 13.2.2 and 15.4.5: only a request that would succeed gets here, so what it
        // depends on may be looked at; a 304 MUST have the tag and the headers that a 200 has.
        let is_known = request
            .head
            .list("if-none-match")
            .any(|tag| tag == "*" || weak(tag) == weak(&asset.etag));
        let (status, body) =
            if is_known { (Status::NotModified, &[][..]) } else { (Status::Ok, asset.content) };
        push(request, &Response { status, headers: &headers, body }, out);
        Ok(())
    }

    /// Makes a guest: a new user under the name it likes, or the one whose token it brings.
    fn open_session(&self, request: &Request<'_, '_>, out: &mut Vec<u8>) -> Result<(), Problem> {
        let Some(signer) = &self.guests else {
            return Err(problem(
                Status::Forbidden,
                "guests_disabled",
                "this server asks for a token of its operator",
            ));
        };
        let name = name_of(body(request.body, ["name"])?)?;
        let known = self.known_guest(request)?;
        if let Some(client) = request.client
            && let Err(retry) = self.rates.take_token(client, request.now.mono_ms, &self.limits)
        {
            let message = "too many guests at once: see limits.tokens_per_s_per_ip";
            let too_many = problem(Status::TooManyRequests, "rate_limited", message);
            return Err(Problem { retry: Some(retry), ..too_many });
        }
        let user = known.map_or_else(new_guest, Ok)?;
        let iat = request.now.unix_ms / 1_000;
        let exp = iat + self.guest_ttl_s;
        let (sub, name_claim) = (user.clone(), Some(name.clone()));
        let claims = Claims { sub, name: name_claim, exp, iat, rooms: None, guest: true };
        let token = signer.sign(&claims);
        let body =
            json!({"token": token, "user": user, "name": name, "expires_at": exp}).to_string();
        self.push_api(request, Status::Created, &[], body.as_bytes(), out);
        Ok(())
    }

    /// The guest whose token comes with the request, if one does.
    fn known_guest(&self, request: &Request<'_, '_>) -> Result<Option<String>, Problem> {
        let Some(token) = bearer(request)? else { return Ok(None) };
        let guest = self.verifier.verify_guest(token, request.now.unix_ms / 1_000);
        // Another user's token is no better than none: it is not to be had under another name.
        guest.map(|guest| Some(guest.user().to_owned())).ok_or_else(unauthorized)
    }

    fn list_rooms(&self, request: &Request<'_, '_>, out: &mut Vec<u8>) -> Result<(), Problem> {
        let caller = self.caller(request)?;
        if caller.is_none() && self.guests.is_none() {
            return Err(unauthorized());
        }
        let query = request.head.query.unwrap_or_default();
        let param = |name| {
            query_param(query, name)
                .map_err(|_| problem(Status::BadRequest, "bad_request", "the query is not UTF-8"))
        };
        let limit = match param("limit")? {
            None => ROOMS_DEFAULT,
            Some(limit) => {
                limit.parse().ok().filter(|limit| (1..=ROOMS_MAX).contains(limit)).ok_or_else(
                    || {
                        problem(
                            Status::BadRequest,
                            "bad_request",
                            format!("limit: a number from 1 to {ROOMS_MAX}"),
                        )
                    },
                )?
            }
        };
        let after = param("after")?;
        let scope = caller.as_ref().map_or_else(Scope::all, Scope::of);
        let (rooms, more) = request.directory.page(after.as_deref(), limit, &scope);
        let mut body = b"{\"more\":".to_vec();
        body.extend_from_slice(if more { b"true" } else { b"false" });
        body.extend_from_slice(b",\"rooms\":");
        push_rooms(&mut body, rooms.into_iter());
        let total = request.directory.count(&scope);
        body.extend_from_slice(format!(",\"total\":{total}}}").as_bytes());
        self.push_api(request, Status::Ok, &[], &body, out);
        Ok(())
    }

    fn room_wanted(&self, request: &Request<'_, '_>) -> Result<(Box<str>, NewRoom), Problem> {
        let caller = self.caller(request)?.ok_or_else(unauthorized)?;
        // Whatever the room, so that nobody learns which there are.
        if !self.users_make_rooms {
            let message = "no user's token makes rooms here";
            return Err(problem(Status::Forbidden, "forbidden", message));
        }
        let wanted = room_of(body(request.body, ["room", "title"])?)?;
        if !caller.may_speak(&wanted.room) {
            return Err(problem(
                Status::Forbidden,
                "forbidden",
                "the token does not allow this room",
            ));
        }
        Ok((caller.user().into(), wanted))
    }

    /// Who asks, if the request says so; a token that is not good is worse than none.
    fn caller(&self, request: &Request<'_, '_>) -> Result<Option<Identity>, Problem> {
        let Some(token) = bearer(request)? else { return Ok(None) };
        self.identify(token, request.now).map(Some).ok_or_else(unauthorized)
    }
}

/// The token in the head of a request (RFC 6750, 2.1), if it says who asks.
fn bearer<'a>(request: &Request<'a, '_>) -> Result<Option<&'a str>, Problem> {
    let Some(authorization) = request.head.header("authorization") else { return Ok(None) };
    let bearer =
        authorization.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    bearer.map(|(_, token)| Some(token.trim())).ok_or_else(unauthorized)
}

/// The id of a guest whom nobody knows yet.
fn new_guest() -> Result<String, Problem> {
    let mut id = [0; 10];
    getrandom::fill(&mut id).map_err(|_| {
        problem(Status::Unavailable, "busy", "no random numbers to be had just now")
    })?;
    Ok(format!("g_{}", BASE32_NOPAD.encode(&id).to_ascii_lowercase()))
}

fn unauthorized() -> Problem {
    problem(
        Status::Unauthorized,
        "unauthorized",
        "this needs 'Authorization: Bearer TOKEN' with a good token",
    )
}

fn push(request: &Request<'_, '_>, response: &Response<'_>, out: &mut Vec<u8>) {
    response.push(out, request.manner, request.now.unix_ms);
}

/// The fields of a body by these names; `Null` for one that is not there. What is wrong with it is
/// said without repeating it.
fn body<const N: usize>(bytes: &[u8], names: [&'static str; N]) -> Result<[Value; N], Problem> {
    let mut body: Value = serde_json::from_slice(bytes).map_err(|error| {
        let why = if error.is_eof() { "it ends early" } else { "not JSON" };
        bad_request(format!("the body, line {} column {}: {why}", error.line(), error.column()))
    })?;
    let Value::Object(fields) = &mut body else { return Err(bad_request("the body: an object")) };
    let text = str::from_utf8(bytes).unwrap_or_default();
    let is_twice = |name: &&str| {
        let is_it = |key: &str| json::string(key).as_deref() == Some(*name);
        json::members(text).filter(|(key, _)| is_it(key)).count() > 1
    };
    if let Some(name) = names.iter().find(|name| is_twice(name)) {
        return Err(bad_request(format!("{name}: once, and it is there twice")));
    }
    Ok(names.map(|name| fields.remove(name).unwrap_or_default()))
}

/// The name that a guest likes: white space around it is none of it.
fn name_of([name]: [Value; 1]) -> Result<String, Problem> {
    let name = name.as_str().map(str::trim).filter(|name| is_name(name));
    name.map(str::to_owned).ok_or_else(|| {
        bad_request(format!(
            "name: a string of 1 to {NAME_BYTES_MAX} bytes without control characters, not blank"
        ))
    })
}

/// The room that the fields of a body ask for.
fn room_of([room, title]: [Value; 2]) -> Result<NewRoom, Problem> {
    let text =
        |value: &Value, is: fn(&str) -> bool| value.as_str().filter(|of| is(of)).map(str::to_owned);
    let wanted = |field: &str, max: usize| {
        bad_request(format!("{field}: a string of 1 to {max} bytes without control characters"))
    };
    let room = text(&room, is_name).ok_or_else(|| wanted("room", NAME_BYTES_MAX))?;
    let title = match title {
        Value::Null => None,
        title => {
            let title = text(&title, is_title);
            Some(title.ok_or_else(|| wanted("title", TITLE_GIVEN_BYTES_MAX))?)
        }
    };
    Ok(NewRoom { room, title })
}

fn bad_request(message: impl Into<String>) -> Problem {
    problem(Status::BadRequest, "bad_request", message)
}

/// `If-None-Match` compares tags weakly (RFC 9110, 13.1.2).
fn weak(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_refused_by_the_field_that_is_wrong_and_with_what_is_wanted() {
        let wanted = |bytes: &str| body(bytes.as_bytes(), ["room", "title"]).and_then(room_of);
        for body in [r#"{"room":"tea"}"#, r#"{"title":null,"room":"t\u0065a"}"#] {
            let room = wanted(body).unwrap_or_else(|problem| panic!("{}", problem.message));
            assert_eq!((&*room.room, room.title), ("tea", None));
        }
        let room = "room: a string of 1 to 128 bytes without control characters";
        let title = "title: a string of 1 to 128 bytes without control characters";
        for (body, expected) in [
            ("", "the body, line 1 column 0: it ends early"),
            ("{", "the body, line 1 column 1: it ends early"),
            ("{]", "the body, line 1 column 2: not JSON"),
            (r#"{"room":"\ud83d"}"#, "the body, line 1 column 16: not JSON"),
            ("[\"tea\"]", "the body: an object"),
            ("null", "the body: an object"),
            ("{}", room),
            (r#"{"title":"Tea"}"#, room),
            (r#"{"room":null}"#, room),
            (r#"{"room":5}"#, room),
            (r#"{"room":""}"#, room),
            (r#"{"room":"a\u0001"}"#, room),
            (r#"{"room":"tea","title":5}"#, title),
            (r#"{"room":"tea","title":""}"#, title),
            (r#"{"room":"tea","r\u006fom":"mate"}"#, "room: once, and it is there twice"),
            (r#"{"title":null,"room":"tea","title":"T"}"#, "title: once, and it is there twice"),
        ] {
            let Err(problem) = wanted(body) else { panic!("{body} is refused") };
            assert_eq!(&*problem.message, expected, "{body}");
        }
    }

    #[test]
    fn a_guest_is_told_that_its_name_is_blank() {
        let wanted = |bytes: &str| body(bytes.as_bytes(), ["name"]).and_then(name_of);
        let named = wanted(r#"{"name":" Ann ","user":"own"}"#);
        assert_eq!(named.unwrap_or_else(|problem| panic!("{}", problem.message)), "Ann");
        for body in ["{}", r#"{"name":""}"#, r#"{"name":" \t"}"#, r#"{"name":5}"#] {
            let Err(problem) = wanted(body) else { panic!("{body} is refused") };
            let expected = "name: a string of 1 to 128 bytes without control characters, not blank";
            assert_eq!(&*problem.message, expected, "{body}");
        }
    }
}

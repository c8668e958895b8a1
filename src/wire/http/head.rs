//! The head of a request (RFC 9112): strict where two parsers in a row could disagree about what
//! they read.
//!
//! Invariants of a [`Head`]:
//!
//! 1. it has at most one `Host`, and of `Content-Length` and `Transfer-Encoding` at most one: where
//!    its body ends is beyond doubt;
//! 2. its path begins with `/` (or is `*`, for `OPTIONS`) and each `%` in it is followed by two
//!    hexadecimal digits;
//! 3. all of it is without control characters, except tabs in values, and is handed out as UTF-8; a
//!    value that came as anything else is [`OPAQUE`], unless its bytes are asked for.
//!
//! Deliberately absent: routing. A path is handed out as it came, still encoded.

use smallvec::SmallVec;

use super::HttpError;
use super::origin::split_port;
use crate::limits::{HTTP_BODY_BYTES_MAX, HTTP_HEADERS_MAX, Limits};

/// The head of one request, borrowed from the bytes it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// `GET`, `POST`, … as it came: methods are case-sensitive.
    pub method: &'a str,
    /// The target's path up to the `?`, still percent-encoded.
    pub path: &'a str,
    /// The target after the `?`, still percent-encoded: see
    /// [`query_param`](super::query::query_param).
    pub query: Option<&'a str>,
    /// 0 or 1, of HTTP/1.
    pub minor_version: u8,
    /// How many bytes the head takes, its empty line included: there the body begins.
    pub head_bytes: usize,
    /// Where the body ends.
    pub framing: Framing,
    /// The host in a target that is a whole URL.
    authority: Option<&'a str>,
    /// Names as they came, and values without the white space around them. As many as a program
    /// sends fit without an allocation.
    fields: SmallVec<[(&'a str, &'a [u8]); 12]>,
}

/// What stands for a value that is not UTF-8 (RFC 9110, 5.5: such bytes are opaque). It is there
/// and equals nothing that is looked for: no host, no length, no origin, no token. So a header that
/// is read is refused for it as for any nonsense, and one that is not may say what it likes.
pub const OPAQUE: &str = "\u{FFFD}";

/// How the end of a request's body is told (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// It has so many bytes: at most [`HTTP_BODY_BYTES_MAX`]. 0 without a `Content-Length`.
    Length(usize),
    /// By its last chunk.
    Chunked,
}

/// Parses the head at the front of `buf`. `None` when it goes on beyond `buf`.
///
/// Only the first [`Limits::head_bytes`] are looked at: a head that does not end there is refused
/// however it arrives.
///
/// # Errors
///
/// Whatever is wrong with it, in part as soon as the bytes show it.
pub fn parse_head<'a>(buf: &'a [u8], limits: &Limits) -> Result<Option<Head<'a>>, HttpError> {
    let window = &buf[..buf.len().min(limits.head_bytes)];
    let mut headers = [httparse::EMPTY_HEADER; HTTP_HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let head_bytes = match request.parse(window)? {
        httparse::Status::Complete(bytes) => bytes,
        httparse::Status::Partial => {
            refuse_bare_line_feeds(window)?;
            return if window.len() < buf.len() { Err(too_long(window)) } else { Ok(None) };
        }
    };
    refuse_bare_line_feeds(&window[..head_bytes])?;
    let (Some(method), Some(target), Some(minor_version)) =
        (request.method, request.path, request.version)
    else {
        return Err(HttpError::Malformed);
    };
    let Target { authority, path, query } = Target::parse(method, target)?;
    let fields = request.headers.iter().map(|header| (header.name, header.value)).collect();
    let framing = Framing::Length(0);
    let mut head =
        Head { method, path, query, minor_version, head_bytes, framing, authority, fields };
    head.check_host()?;
    head.framing = head.find_framing()?;
    Ok(Some(head))
}

impl<'a> Head<'a> {
    /// The value of the first header of this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers(name).next()
    }

    /// The values of all headers of this name, in any case (RFC 9110, 5.1), in their order.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &'a str> {
        // RFC 9110, 5.5: a recipient treats obs-text as opaque data.
        self.raw_headers(name).map(|value| simdutf8::basic::from_utf8(value).unwrap_or(OPAQUE))
    }

    /// The same as they came, for a list of which only a part need be text.
    #[must_use]
    pub fn raw_headers(&self, name: &str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let fields = self.fields.iter();
        fields.filter(move |(field, _)| field.eq_ignore_ascii_case(name)).map(|&(_, value)| value)
    }

    /// The value of the header of this name if there is exactly one.
    #[must_use]
    pub fn only_header(&self, name: &str) -> Option<&'a str> {
        let mut values = self.headers(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// The elements of all headers of this name, which are lists: `a, b` (RFC 9110, 5.6.1). Empty
    /// ones are left out, and several fields are one list (RFC 9110, 5.3).
    pub fn list(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.headers(name)
            .flat_map(|value| value.split(','))
            .map(|element| element.trim_matches([' ', '\t']))
            .filter(|element| !element.is_empty())
    }

    /// The host and port that the client thinks it talks to; HTTP/1.0 may not say.
    #[must_use]
    pub fn host(&self) -> Option<&'a str> {
        // RFC 9112, 3.3: where the target is a whole URL, it is that which is asked for.
        self.authority.or_else(|| self.header("host"))
    }

    /// Whether the client waits for [`CONTINUE`](super::body::CONTINUE), or for a refusal, before
    /// it sends the body. If some of the body is there it need not be told.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        // RFC 9110, 10.1.1: of HTTP/1.0 it MUST be ignored, and without a body it says nothing.
        self.minor_version > 0
            && self.framing != Framing::Length(0)
            && self.list("expect").any(|expected| expected.eq_ignore_ascii_case("100-continue"))
    }

    /// Whether the client wants to send another request on this connection (RFC 9112, 9.3).
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        // RFC 9110, 7.6.1: options are compared in any case.
        let says = |option: &str| {
            self.list("connection").any(|element| element.eq_ignore_ascii_case(option))
        };
        !says("close") && (self.minor_version > 0 || says("keep-alive"))
    }

    /// RFC 9112, 3.2: a server MUST refuse a request without `Host`, with two, or with one that is
    /// not valid.
    fn check_host(&self) -> Result<(), HttpError> {
        match (self.only_header("host"), self.header("host")) {
            (Some(host), _) if split_port(host).is_some() => Ok(()),
            (None, None) if self.minor_version == 0 => Ok(()),
            _ => Err(HttpError::Host),
        }
    }

    /// RFC 9112, 6.3, and of what it allows only that of which there are no two readings.
    fn find_framing(&self) -> Result<Framing, HttpError> {
        let coding = self.only_header("transfer-encoding");
        match (self.header("transfer-encoding"), self.header("content-length")) {
            (None, None) => Ok(Framing::Length(0)),
            (None, Some(_)) => {
                let digits = self.only_header("content-length").ok_or(HttpError::Framing)?;
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(HttpError::Framing);
                }
                // Digits that are no number are too many.
                let bytes = digits.parse().unwrap_or(usize::MAX);
                if bytes > HTTP_BODY_BYTES_MAX {
                    return Err(HttpError::BodyTooBig);
                }
                Ok(Framing::Length(bytes))
            }
            // RFC 9112, 6.1: with HTTP/1.0, or beside a length, it is faulty framing.
            (Some(_), None) if self.minor_version > 0 => coding
                .filter(|coding| coding.eq_ignore_ascii_case("chunked"))
                .map(|_| Framing::Chunked)
                .ok_or(HttpError::Framing),
            (Some(_), _) => Err(HttpError::Framing),
        }
    }
}

/// `httparse` takes them for ends of lines, as RFC 9112, 2.2 allows. A CR without an LF it refuses,
/// and so white space before a colon (RFC 9112, 5.1) and folded lines (RFC 9112, 5.2).
fn refuse_bare_line_feeds(head: &[u8]) -> Result<(), HttpError> {
    let bare = |at: usize| at == 0 || head[at - 1] != b'\r';
    if memchr::memchr_iter(b'\n', head).any(bare) { Err(HttpError::BareLineFeed) } else { Ok(()) }
}

/// Which part of a head without an end is to blame.
fn too_long(window: &[u8]) -> HttpError {
    let request = window.trim_ascii_start();
    if memchr::memchr(b'\n', request).is_none() {
        HttpError::TargetTooLong
    } else {
        HttpError::HeadTooLong
    }
}

/// The parts of a request's target.
struct Target<'a> {
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Takes a target apart. `httparse` made sure that there are no control characters and no
    /// spaces in it.
    fn parse(method: &str, target: &'a str) -> Result<Self, HttpError> {
        if !target.is_ascii() || target.contains('#') {
            return Err(HttpError::Target);
        }
        let (authority, rest) = match without_scheme(target) {
            // RFC 9112, 3.2.2: a server MUST accept a whole URL.
            Some(rest) => {
                let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
                // A user in it is an error (RFC 9110, 4.2.4), as is an empty host (RFC 9110,
                // 4.2.1).
                split_port(authority).ok_or(HttpError::Target)?;
                (Some(authority), rest)
            }
            None => (None, target),
        };
        // RFC 9112, 3.2.4.
        if method == "OPTIONS" && (target == "*" || authority.is_some() && rest.is_empty()) {
            return Ok(Self { authority, path: "*", query: None });
        }
        let (path, query) =
            rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        // RFC 9110, 4.2.3: an empty path in a URL is "/".
        let path = if authority.is_some() && path.is_empty() { "/" } else { path };
        let escapes_are_whole = path.split('%').skip(1).all(|escape| {
            escape
                .as_bytes()
                .first_chunk::<2>()
                .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        });
        if path.starts_with('/') && escapes_are_whole {
            Ok(Self { authority, path, query })
        } else {
            Err(HttpError::Target)
        }
    }
}

/// What follows the `http://` or `https://` of a URL.
fn without_scheme(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    ["http", "https"].iter().any(|one| scheme.eq_ignore_ascii_case(one)).then_some(rest)
}

/// Whether these bytes are a token (RFC 9110, 5.6.2), such as the name of a field.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::SplitMix64;
    use crate::wire::http::Status;
    use crate::wire::http::origin::request_allowed;

    fn parse(input: &[u8]) -> Result<Option<Head<'_>>, HttpError> {
        parse_head(input, &Limits::default())
    }

    #[track_caller]
    fn whole(input: &str) -> Head<'_> {
        let head = parse(input.as_bytes()).unwrap().expect("a whole head");
        for cut in 0..head.head_bytes {
            assert_eq!(
                parse(&input.as_bytes()[..cut]),
                Ok(None),
                "a good head is never refused in part: {cut}"
            );
        }
        head
    }

    #[track_caller]
    fn check_refused(input: impl AsRef<[u8]>, error: HttpError, status: Status) {
        let input = input.as_ref();
        assert_eq!(parse(input), Err(error), "{:?}", input.escape_ascii().to_string());
        assert_eq!(error.status(), status);
        // A prefix is never taken where the whole is not.
        for cut in 0..input.len() {
            assert!(matches!(parse(&input[..cut]), Ok(None) | Err(_)), "taken at {cut} bytes");
        }
    }

    /// A request with these lines in front of the empty one.
    fn with(lines: &str) -> String {
        format!("GET / HTTP/1.1\r\n{lines}\r\n\r\n")
    }

    #[test]
    fn a_browsers_head_is_taken() {
        let head = whole(concat!(
            "GET /socket/websocket?user=al%20ice%26%C3%A9&vsn=2.0.0 HTTP/1.1\r\n",
            "Host: chat.example:4000\r\n",
            "Connection: keep-alive, Upgrade\r\n",
            "ACCEPT:  a ,, b\t\r\n",
            "accept: c\r\n",
            "X-Name: Zo\u{eb}\r\n",
            "Empty:\r\n",
            "\r\n",
            "body or next request",
        ));
        assert_eq!((head.method, head.path, head.minor_version), ("GET", "/socket/websocket", 1));
        assert_eq!(head.query, Some("user=al%20ice%26%C3%A9&vsn=2.0.0"));
        assert_eq!(
            (head.host(), head.header("x-name"), head.header("EMPTY")),
            (Some("chat.example:4000"), Some("Zo\u{eb}"), Some(""))
        );
        assert_eq!(head.headers("accept").collect::<Vec<_>>(), ["a ,, b", "c"]);
        assert_eq!(head.list("accept").collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!((head.only_header("accept"), head.only_header("host").is_some()), (None, true));
        assert_eq!((head.framing, head.header("none")), (Framing::Length(0), None));
    }

    #[test]
    fn a_query_may_be_empty_or_missing_and_the_first_question_mark_starts_it() {
        assert_eq!(whole("GET /a? HTTP/1.1\r\nhost: x\r\n\r\n").query, Some(""));
        assert_eq!(whole("GET /a HTTP/1.1\r\nhost: x\r\n\r\n").query, None);
        let head = whole("GET /a?b?c=%zz HTTP/1.1\r\nhost: x\r\n\r\n");
        assert_eq!((head.path, head.query), ("/a", Some("b?c=%zz")));
    }

    #[test]
    fn connections_are_kept_as_the_version_says_unless_the_client_says_otherwise() {
        for (version, connection, kept) in [
            ("1.1", "", true),
            ("1.1", "connection: Close\r\n", false),
            ("1.1", "connection: upgrade, close\r\n", false),
            ("1.0", "", false),
            ("1.0", "connection: Keep-Alive\r\n", true),
        ] {
            let head = format!("GET / HTTP/{version}\r\nhost: x\r\n{connection}\r\n");
            assert_eq!(whole(&head).keep_alive(), kept, "{version} {connection}");
        }
    }

    #[test]
    fn a_body_has_one_length_in_digits() {
        assert_eq!(
            whole("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0012\r\n\r\n{}").framing,
            Framing::Length(12)
        );
        let most =
            format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {HTTP_BODY_BYTES_MAX}\r\n\r\n");
        assert_eq!(whole(&most).framing, Framing::Length(HTTP_BODY_BYTES_MAX));
        for length in ["1048577", "99999999999999999999999999"] {
            let lines = format!("host: x\r\ncontent-length: {length}");
            check_refused(with(&lines), HttpError::BodyTooBig, Status::ContentTooLarge);
        }
    }

    #[test]
    fn shapes_of_request_smuggling_are_refused() {
        for lines in [
            "content-length: 1\r\nContent-Length: 1",
            "content-length: 1\r\ncontent-length: 2",
            "content-length: 1, 1",
            "content-length: +1",
            "content-length: -1",
            "content-length: 0x1",
            "content-length: 1_0",
            "content-length: 1 1",
            "content-length:",
            "content-length: \u{661}",
            "content-length: 1\r\ntransfer-encoding: chunked",
            "transfer-encoding: chunked\r\ncontent-length: 1",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
            "transfer-encoding: identity",
            "transfer-encoding: xchunked",
            "transfer-encoding: chunked, identity",
            "transfer-encoding:",
        ] {
            check_refused(
                with(&format!("host: x\r\n{lines}")),
                HttpError::Framing,
                Status::BadRequest,
            );
        }
        let chunked = with("host: x\r\nTransfer-Encoding: Chunked");
        assert_eq!(whole(&chunked).framing, Framing::Chunked);
        check_refused(chunked.replace("1.1", "1.0"), HttpError::Framing, Status::BadRequest);
    }

    #[test]
    fn a_host_is_there_once_and_is_a_host() {
        for lines in [
            "accept: */*",
            "host: a\r\nhost: a",
            "host: a\r\nHOST: b",
            "host:",
            "host: a b",
            "host: a, b",
            "host: user@a",
            "host: http://a",
            "host: a/b",
            "host: a\\b",
            "host: a:b",
            "host: a:1:2",
            "host: [::1",
            "host: \u{e9}",
        ] {
            check_refused(with(lines), HttpError::Host, Status::BadRequest);
        }
        for host in ["a", "a.b.", "a_b:80", "127.0.0.1:4000", "[::1]:4000", "xn--bcher-kva.example"]
        {
            assert_eq!(whole(&with(&format!("Host: {host}"))).host(), Some(host));
        }
        assert_eq!(whole("GET / HTTP/1.0\r\n\r\n").host(), None, "HTTP/1.0 knew none");
    }

    #[test]
    fn malformed_heads_are_refused() {
        for input in [
            &b"GET / HTTP/1.1\r\nhost: x\r\na: b\x00c\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\nhost: x\r\na: b\x01c\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost: x\r\na: b\x7fc\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost: x\r\na: b\x7fccccccccccccccccccccccccccccccccccccccccccccc\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost: x\r\na: b\rc\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost: x\r\na: b\r\n c\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost: x\r\na: b\r\n\tc\r\n\r\n",
            b"GET / HTTP/1.1\r\n host: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost : x\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost\t: x\r\n\r\n",
            b"GET / HTTP/1.1\r\n: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost x\r\n\r\n",
            b"GET / HTTP/1.1\r\nh\xc3\xb6st: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost: x\r\n\r\r\n",
            b"GET  / HTTP/1.1\r\nhost: x\r\n\r\n",
            b"GET\t/ HTTP/1.1\r\nhost: x\r\n\r\n",
            b"G@T / HTTP/1.1\r\nhost: x\r\n\r\n",
            b"GET /\x00 HTTP/1.1\r\nhost: x\r\n\r\n",
            b"GET /\x7f HTTP/1.1\r\nhost: x\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"\0",
        ] {
            check_refused(input, HttpError::Malformed, Status::BadRequest);
        }
    }

    #[test]
    fn a_line_feed_alone_ends_no_line() {
        for input in [
            "GET / HTTP/1.1\nhost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: x\n\r\n",
            "GET / HTTP/1.1\r\nhost: x\r\n\n",
            "GET / HTTP/1.1\r\nhost: x\r\na: b\nc: d\r\n\r\n",
            "\nGET / HTTP/1.1\r\nhost: x\r\n\r\n",
            "GET / HTTP/1.1\nhost: x",
        ] {
            check_refused(input, HttpError::BareLineFeed, Status::BadRequest);
        }
        assert!(
            parse(b"GET / HTTP/1.1\r\nhost: x\r\n\r\na\nb").unwrap().is_some(),
            "a body may have them"
        );
    }

    #[test]
    fn targets_are_paths_or_urls() {
        for target in [
            "ftp://chat.example/",
            "wss://chat.example/",
            "http:/chat.example/",
            "http:///",
            "http://",
            "http://?a",
            "http://ann@chat.example/",
            "http://chat.example:x/",
            "http://chat.example:80:80/",
            "http://a,b/",
            "http://[::1/",
            "http://chat.example/%zz",
            "http://chat.example/a#b",
            "http://chat.example#a",
            "http://chat.example/caf\u{e9}",
            "/http://chat.example/%",
            "chat.example:443",
            "*",
            "a",
            "?a",
            "/a#b",
            "/a?b#c",
            "/%",
            "/%4",
            "/%zz",
            "/%4g",
            "/%g4",
            "/%%41",
            "/a%2",
            "/%\u{e9}0",
            "/caf\u{e9}",
            "/a?\u{e9}",
        ] {
            check_refused(
                format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n"),
                HttpError::Target,
                Status::BadRequest,
            );
        }
        assert_eq!(whole("OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n").path, "*");
        assert_eq!(whole("GET //a/../%2e%2F HTTP/1.1\r\nhost: x\r\n\r\n").path, "//a/../%2e%2F");
        assert_eq!(whole("GET /http://a/ HTTP/1.1\r\nhost: x\r\n\r\n").path, "/http://a/");
    }

    #[test]
    fn a_url_says_which_host_is_asked_for() {
        for (method, url, expected) in [
            ("GET", "http://chat.example/a?b", ("chat.example", "/a", Some("b"))),
            ("GET", "HTTPS://Chat.example:443/", ("Chat.example:443", "/", None)),
            ("GET", "http://[::1]:4000/a", ("[::1]:4000", "/a", None)),
            ("GET", "http://a", ("a", "/", None)),
            ("GET", "http://a?b", ("a", "/", Some("b"))),
            ("GET", "http://a/?http://b/", ("a", "/", Some("http://b/"))),
            ("OPTIONS", "http://a", ("a", "*", None)),
            ("OPTIONS", "http://a/", ("a", "/", None)),
            ("OPTIONS", "http://a?", ("a", "/", Some(""))),
        ] {
            let input = format!("{method} {url} HTTP/1.1\r\nhost: x\r\n\r\n");
            let head = whole(&input);
            assert_eq!((head.host().unwrap(), head.path, head.query), expected, "{url}");
        }
        let hostless = "GET http://a/ HTTP/1.1\r\n\r\n";
        check_refused(hostless, HttpError::Host, Status::BadRequest);
        assert_eq!(whole("GET http://a/ HTTP/1.0\r\n\r\n").host(), Some("a"));
    }

    #[test]
    fn a_client_that_waits_before_it_sends_a_body_is_told_from_others() {
        for (lines, waits) in [
            ("content-length: 1\r\nexpect: 100-continue", true),
            ("content-length: 1\r\nExpect: 100-Continue", true),
            ("transfer-encoding: chunked\r\nexpect: a=b, 100-continue", true),
            ("content-length: 0\r\nexpect: 100-continue", false),
            ("expect: 100-continue", false),
            ("content-length: 1\r\nexpect: 100", false),
            ("content-length: 1", false),
        ] {
            let head = with(&format!("host: x\r\n{lines}"));
            assert_eq!(whole(&head).expects_continue(), waits, "{lines}");
        }
        let old = "POST / HTTP/1.0\r\ncontent-length: 1\r\nexpect: 100-continue\r\n\r\n";
        assert!(!whole(old).expects_continue(), "HTTP/1.0 knew none");
    }

    #[test]
    fn other_versions_are_refused() {
        for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "http/1.1", "HTTP/1.1x", "XYZ"] {
            let input = format!("GET / {version}\r\nhost: x\r\n\r\n");
            assert!(
                matches!(parse(input.as_bytes()), Err(HttpError::Version | HttpError::Malformed)),
                "{version}"
            );
        }
        check_refused(
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            HttpError::Version,
            Status::VersionNotSupported,
        );
    }

    #[test]
    fn a_value_that_is_not_utf8_is_there_and_says_nothing() {
        let input = b"GET / HTTP/1.1\r\nhost: x\r\nx-user: Jos\xe9\r\ncookie: a=\x80\xff\r\n\r\n";
        let head = parse(input).unwrap().unwrap();
        assert_eq!((head.header("x-user"), head.header("cookie")), (Some(OPAQUE), Some(OPAQUE)));
        assert!(head.raw_headers("X-User").eq([b"Jos\xe9"]), "but to who asks for its bytes");
        for cut in 0..input.len() {
            assert_eq!(parse(&input[..cut]), Ok(None), "a good head is never refused in part");
        }
    }

    #[test]
    fn a_value_that_is_not_utf8_is_nonsense_wherever_it_is_read() {
        let head = |line: &[u8]| [b"GET / HTTP/1.1\r\nHost: x\r\n", line, b"\r\n\r\n"].concat();
        let refused = |line| check_refused(head(line), HttpError::Framing, Status::BadRequest);
        refused(b"content-length: 1\xff");
        refused(b"transfer-encoding: chunked\xff");
        let hosts = b"GET / HTTP/1.1\r\nHost: x\xff\r\n\r\n";
        check_refused(hosts, HttpError::Host, Status::BadRequest);
        let from = head(b"origin: http://x\xff");
        let from = parse(&from).unwrap().unwrap();
        assert!(!request_allowed(&from, &["http://x"]), "it is not as if there were none");
        let from = head(b"connection: close, \xff\r\nconnection: close");
        assert!(!parse(&from).unwrap().unwrap().keep_alive(), "the other one is read");
    }

    #[test]
    fn heads_are_bounded_in_bytes_and_in_lines() {
        let limits = Limits::default();
        let fits = |padding: usize| {
            format!("GET / HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "b".repeat(padding))
        };
        let padding = limits.head_bytes - fits(0).len();
        assert!(parse(fits(padding).as_bytes()).unwrap().is_some());
        check_refused(fits(padding + 1), HttpError::HeadTooLong, Status::HeadersTooLarge);

        let line = format!("GET /{} HTTP/1.1\r\n", "a".repeat(limits.head_bytes));
        check_refused(line, HttpError::TargetTooLong, Status::UriTooLong);
        assert_eq!(parse(&vec![b'a'; limits.head_bytes]), Ok(None));
        assert_eq!(parse(&vec![b'a'; limits.head_bytes + 1]), Err(HttpError::TargetTooLong));

        let headers = |count: usize| {
            format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(count - 1))
        };
        assert!(parse(headers(HTTP_HEADERS_MAX).as_bytes()).unwrap().is_some());
        check_refused(
            headers(HTTP_HEADERS_MAX + 1),
            HttpError::TooManyHeaders,
            Status::HeadersTooLarge,
        );
    }

    #[test]
    fn requests_in_a_row_are_taken_one_by_one() {
        let input = b"GET /1 HTTP/1.1\r\nhost: x\r\n\r\nGET /2 HTTP/1.1\r\nhost: x\r\n\r\n";
        let first = parse(input).unwrap().unwrap();
        let second = parse(&input[first.head_bytes..]).unwrap().unwrap();
        assert_eq!((first.path, second.path), ("/1", "/2"));
        assert_eq!(first.head_bytes + second.head_bytes, input.len());
    }

    #[test]
    fn no_mutation_of_a_good_head_breaks_an_invariant() {
        let good =
            b"POST /a%20b?c=d HTTP/1.1\r\nHost: x:1\r\nContent-Length: 12\r\nConnection: close\r\n\r\n";
        let mut rng = SplitMix64::new(3);
        let mut at = |end: usize| usize::try_from(rng.below(end as u64)).unwrap();
        for _ in 0..50_000 {
            let mut input = good.to_vec();
            for _ in 0..=at(3) {
                let index = at(input.len());
                match at(4) {
                    0 => input[index] = u8::try_from(at(256)).unwrap(),
                    1 => drop(input.remove(index)),
                    2 => input.insert(index, b"\r\n \0:%,\t"[at(8)]),
                    _ => input.extend_from_within(index..),
                }
            }
            let Ok(Some(head)) = parse(&input) else { continue };
            assert!(head.path.starts_with('/') && head.headers("host").count() <= 1, "{input:?}");
            let Framing::Length(body_bytes) = head.framing else { panic!("no chunks: {input:?}") };
            assert!(
                body_bytes <= HTTP_BODY_BYTES_MAX && head.headers("content-length").count() <= 1
            );
            assert_eq!(head.header("transfer-encoding"), None);
            let bytes = &input[..head.head_bytes];
            assert!(bytes.ends_with(b"\r\n\r\n") && !bytes.contains(&0), "{input:?}");
        }
    }
}

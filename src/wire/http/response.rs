//! Answers to requests, written into a caller's buffer.
//!
//! Invariant: no value can end its line. A control character in one is written as a space, so what
//! a client sent may be repeated in a header without handing it the rest of the response.
//!
//! Deliberately absent: compression and caching, which are the business of whoever has the content.

use super::date::http_date;
use super::head::Head;

/// The statuses that this server answers with (RFC 9110, 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
#[expect(missing_docs, reason = "they are RFC 9110's, and `reason` gives their names")]
pub enum Status {
    SwitchingProtocols = 101,
    Ok = 200,
    Created = 201,
    NoContent = 204,
    NotModified = 304,
    BadRequest = 400,
    Unauthorized = 401,
    Forbidden = 403,
    NotFound = 404,
    MethodNotAllowed = 405,
    ContentTooLarge = 413,
    UriTooLong = 414,
    MisdirectedRequest = 421,
    UpgradeRequired = 426,
    TooManyRequests = 429,
    HeadersTooLarge = 431,
    Unavailable = 503,
    VersionNotSupported = 505,
}

impl Status {
    /// The number on the wire.
    #[must_use]
    pub const fn as_u16(self) -> u16 {
        self as u16
    }

    /// The words after the number.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::SwitchingProtocols => "Switching Protocols",
            Self::Ok => "OK",
            Self::Created => "Created",
            Self::NoContent => "No Content",
            Self::NotModified => "Not Modified",
            Self::BadRequest => "Bad Request",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::ContentTooLarge => "Content Too Large",
            Self::UriTooLong => "URI Too Long",
            Self::MisdirectedRequest => "Misdirected Request",
            Self::UpgradeRequired => "Upgrade Required",
            Self::TooManyRequests => "Too Many Requests",
            Self::HeadersTooLarge => "Request Header Fields Too Large",
            Self::Unavailable => "Service Unavailable",
            Self::VersionNotSupported => "HTTP Version Not Supported",
        }
    }

    /// Whether a response with it ends with its head (RFC 9112, 6.3), and names no length (RFC
    /// 9110, 8.6).
    const fn is_bodiless(self) -> bool {
        matches!(self, Self::SwitchingProtocols | Self::NoContent | Self::NotModified)
    }
}

/// What of a request decides how its answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// Whether the connection stays open for another request; said in `connection`.
    pub keep_alive: bool,
    /// Whether only the head is wanted (`HEAD`).
    pub head_only: bool,
}

impl Manner {
    /// For a request that could not be read: the head and the body, and then the connection is
    /// closed.
    pub const CLOSE: Self = Self { keep_alive: false, head_only: false };

    /// What this request asks for.
    #[must_use]
    pub fn asked_by(head: &Head<'_>) -> Self {
        Self { keep_alive: head.keep_alive(), head_only: head.method == "HEAD" }
    }
}

/// One answer. `date`, `connection` and `content-length` are written for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// What became of the request.
    pub status: Status,
    /// Names in lower case, and their values, in the order in which they are sent.
    pub headers: &'a [(&'a str, &'a str)],
    /// The content, or "".
    pub body: &'a [u8],
}

impl<'a> Response<'a> {
    /// A status and nothing else.
    #[must_use]
    pub const fn empty(status: Status) -> Self {
        Self { status, headers: &[], body: b"" }
    }

    /// A sentence.
    #[must_use]
    pub const fn text(status: Status, body: &'a str) -> Self {
        Self {
            status,
            headers: &[("content-type", "text/plain; charset=utf-8")],
            body: body.as_bytes(),
        }
    }

    /// Appends this answer to `out`, dated `unix_ms`.
    pub fn push(&self, out: &mut Vec<u8>, manner: Manner, unix_ms: u64) {
        push_status(out, self.status);
        push_date(out, unix_ms);
        for (name, value) in self.headers {
            push_header(out, name, value);
        }
        if !self.status.is_bodiless() {
            push_header(out, "content-length", itoa::Buffer::new().format(self.body.len()));
        }
        // RFC 9112, 9.6: who closes says so. RFC 9110, 7.8: `upgrade` is named here too.
        let connection = match (manner.keep_alive, self.status) {
            (true, Status::UpgradeRequired) => "keep-alive, upgrade",
            (false, Status::UpgradeRequired) => "close, upgrade",
            (true, _) => "keep-alive",
            (false, _) => "close",
        };
        push_header(out, "connection", connection);
        out.extend_from_slice(b"\r\n");
        // RFC 9110, 9.3.2: an answer to HEAD has no content, and all of its headers.
        if !manner.head_only && !self.status.is_bodiless() {
            out.extend_from_slice(self.body);
        }
    }
}

pub(super) fn push_status(out: &mut Vec<u8>, status: Status) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status.as_u16()).as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.reason().as_bytes());
    out.extend_from_slice(b"\r\n");
}

pub(super) fn push_date(out: &mut Vec<u8>, unix_ms: u64) {
    out.extend_from_slice(b"date: ");
    out.extend_from_slice(&http_date(unix_ms));
    out.extend_from_slice(b"\r\n");
}

pub(super) fn push_header(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend(value.bytes().map(|byte| if byte.is_ascii_control() { b' ' } else { byte }));
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Manner = Manner { keep_alive: true, head_only: false };

    #[track_caller]
    fn check(response: &Response<'_>, manner: Manner, expected: &str) {
        let mut out = Vec::new();
        response.push(&mut out, manner, 784_111_777_000);
        assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
    }

    #[test]
    fn an_answer_has_its_length_and_says_whether_the_connection_stays() {
        let response = Response::text(Status::Ok, "ok");
        let head = "HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
            content-type: text/plain; charset=utf-8\r\ncontent-length: 2\r\n";
        check(&response, KEEP, &format!("{head}connection: keep-alive\r\n\r\nok"));
        check(&response, Manner::CLOSE, &format!("{head}connection: close\r\n\r\nok"));
        let head_only = Manner { head_only: true, ..KEEP };
        check(&response, head_only, &format!("{head}connection: keep-alive\r\n\r\n"));
    }

    #[test]
    fn an_empty_answer_says_so_and_some_statuses_have_no_body_at_all() {
        let date = "date: Sun, 06 Nov 1994 08:49:37 GMT";
        let empty = Response::empty(Status::Forbidden);
        let expected = format!(
            "HTTP/1.1 403 Forbidden\r\n{date}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        check(&empty, Manner::CLOSE, &expected);
        for status in [Status::NoContent, Status::NotModified] {
            let number = status.as_u16();
            let reason = status.reason();
            let response = Response { status, headers: &[("etag", "\"a\"")], body: b"never sent" };
            let expected = format!(
                "HTTP/1.1 {number} {reason}\r\n{date}\r\netag: \"a\"\r\nconnection: keep-alive\r\n\r\n"
            );
            check(&response, KEEP, &expected);
        }
    }

    #[test]
    fn an_answer_that_asks_for_an_upgrade_says_so_in_connection() {
        for (manner, connection) in
            [(KEEP, "keep-alive, upgrade"), (Manner::CLOSE, "close, upgrade")]
        {
            let expected = format!(
                "HTTP/1.1 426 Upgrade Required\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                 content-length: 0\r\nconnection: {connection}\r\n\r\n"
            );
            check(&Response::empty(Status::UpgradeRequired), manner, &expected);
        }
    }

    #[test]
    fn a_value_cannot_end_its_line() {
        let mut out = Vec::new();
        push_header(&mut out, "x", "a\r\nset-cookie: b\0\u{e9}");
        assert_eq!(out, "x: a  set-cookie: b \u{e9}\r\n".as_bytes());
    }

    #[test]
    fn what_a_request_asks_for_is_how_it_is_answered() {
        let limits = crate::limits::Limits::default();
        let manner = |request: &str| {
            let head = super::super::parse_head(request.as_bytes(), &limits).unwrap().unwrap();
            Manner::asked_by(&head)
        };
        assert_eq!(manner("GET / HTTP/1.1\r\nhost: x\r\n\r\n"), KEEP);
        assert_eq!(
            manner("HEAD / HTTP/1.0\r\n\r\n"),
            Manner { keep_alive: false, head_only: true }
        );
    }
}

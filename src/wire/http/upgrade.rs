//! The opening handshake of a WebSocket (RFC 6455, 4.2), and the token in its subprotocols as
//! `phoenix.js` sends it.
//!
//! Deliberately absent: who may connect. Origin, token and version of the protocol are the caller's
//! to check, *before* this: a stranger learns from a refusal nothing but that it was refused.
//! Extensions are not negotiated.

use data_encoding::{BASE64, BASE64_NOPAD};
use sha1::{Digest, Sha1};

use super::head::{Framing, Head};
use super::response::{Response, Status, push_date, push_header, push_status};

/// What a server adds to a client's key (RFC 6455, 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// How many bytes a client's key has, decoded (RFC 6455, 4.1).
const KEY_BYTES: usize = 16;

/// How many bytes a SHA-1 has in base64.
const ACCEPT_BYTES: usize = 28;

/// The subprotocol that `phoenix.js` asks for.
const PHOENIX: &str = "phoenix";

/// What `phoenix.js` puts in front of a token. In spite of the name the alphabet is that of plain
/// base64.
const TOKEN_PREFIX: &str = "base64url.bearer.phx.";

/// Proof that the handshake is in order: the value of `sec-websocket-accept`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept([u8; ACCEPT_BYTES]);

/// Why a request is no WebSocket upgrade. Each variant is the *peer's* doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeError {
    /// Not a `GET`.
    Method,
    /// HTTP/1.0.
    Version,
    /// It has a body. Its bytes would be read as frames.
    Body,
    /// `Connection` does not say `upgrade`.
    Connection,
    /// `Upgrade` does not say `websocket`, or there are two of them.
    Upgrade,
    /// No `Sec-WebSocket-Key`.
    NoKey,
    /// A `Sec-WebSocket-Key` that is not 16 bytes in base64, or two of them.
    Key,
    /// `Sec-WebSocket-Version` is not 13.
    WebSocketVersion,
}

impl UpgradeError {
    /// The answer: total, so a new variant does not compile until it has one. Nothing of the
    /// request is repeated in it.
    #[must_use]
    pub const fn response(self) -> Response<'static> {
        let sentence = match self {
            Self::Method => return Response::empty(Status::BadRequest),
            Self::Version => "HTTP version HTTP/1.0 unsupported",
            Self::Body => "a WebSocket upgrade has no body",
            Self::Connection => "'connection' header must contain 'upgrade'",
            Self::Upgrade => "'upgrade' header must contain 'websocket'",
            Self::NoKey => "'sec-websocket-key' header is absent",
            Self::Key => "'sec-websocket-key' header must be 16 bytes in base64",
            Self::WebSocketVersion => {
                // RFC 6455, 4.2.2 and 4.4: which version is spoken. RFC 9110, 15.5.22: which
                // protocol.
                return Response {
                    status: Status::UpgradeRequired,
                    headers: &[
                        ("upgrade", "websocket"),
                        ("sec-websocket-version", "13"),
                        ("content-type", "text/plain; charset=utf-8"),
                    ],
                    body: b"'sec-websocket-version' header must equal '13'",
                };
            }
        };
        Response::text(Status::BadRequest, sentence)
    }
}

/// Checks that a request opens a WebSocket as RFC 6455, 4.2.1 prescribes.
///
/// # Errors
///
/// What is missing or wrong.
pub fn check_upgrade(head: &Head<'_>) -> Result<Accept, UpgradeError> {
    if head.method != "GET" {
        return Err(UpgradeError::Method);
    }
    // RFC 9110, 7.8: in HTTP/1.0 `Upgrade` means nothing.
    if head.minor_version == 0 {
        return Err(UpgradeError::Version);
    }
    if head.framing != Framing::Length(0) {
        return Err(UpgradeError::Body);
    }
    if !head.list("connection").any(|option| option.eq_ignore_ascii_case("upgrade")) {
        return Err(UpgradeError::Connection);
    }
    let is_websocket = |protocol: &str| protocol.eq_ignore_ascii_case("websocket");
    if head.only_header("upgrade").is_none() || !head.list("upgrade").any(is_websocket) {
        return Err(UpgradeError::Upgrade);
    }
    head.header("sec-websocket-key").ok_or(UpgradeError::NoKey)?;
    let key =
        head.only_header("sec-websocket-key").filter(|key| is_key(key)).ok_or(UpgradeError::Key)?;
    if head.only_header("sec-websocket-version") != Some("13") {
        return Err(UpgradeError::WebSocketVersion);
    }
    Ok(accept(key))
}

fn is_key(key: &str) -> bool {
    // Two bytes more than a key has: the decoder wants room for the padding too.
    let mut decoded = [0; KEY_BYTES + 2];
    BASE64.decode_len(key.len()) == Ok(decoded.len())
        && BASE64.decode_mut(key.as_bytes(), &mut decoded) == Ok(KEY_BYTES)
}

fn accept(key: &str) -> Accept {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut accept = [0; ACCEPT_BYTES];
    BASE64.encode_mut(&digest, &mut accept);
    Accept(accept)
}

/// What a client asks for in `Sec-WebSocket-Protocol`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subprotocols {
    /// It asks for `phoenix`, and must be told that it gets it.
    pub phoenix: bool,
    /// The token it carries there, so that it need not stand in the URL.
    pub token: Option<String>,
}

/// None of the offered subprotocols is ours, or what looks like a token is none: answered with 403.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubprotocolRefused;

/// Reads `Sec-WebSocket-Protocol: phoenix, base64url.bearer.phx.TOKEN`, in any order, with either
/// part missing.
///
/// # Errors
///
/// If subprotocols are offered and `phoenix` is not among them; if a token is not base64 of UTF-8;
/// if there are two. Phoenix answers the second with 500.
pub fn subprotocols(head: &Head<'_>) -> Result<Subprotocols, SubprotocolRefused> {
    let mut asked = Subprotocols::default();
    let mut is_foreign = false;
    for offer in head.list("sec-websocket-protocol") {
        if offer == PHOENIX {
            asked.phoenix = true;
        } else if let Some(encoded) = offer.strip_prefix(TOKEN_PREFIX) {
            let token = decode_token(encoded).ok_or(SubprotocolRefused)?;
            if asked.token.replace(token).is_some() {
                return Err(SubprotocolRefused);
            }
        } else {
            is_foreign = true;
        }
    }
    if is_foreign && !asked.phoenix { Err(SubprotocolRefused) } else { Ok(asked) }
}

fn decode_token(encoded: &str) -> Option<String> {
    let decoded = if encoded.ends_with('=') {
        BASE64.decode(encoded.as_bytes())
    } else {
        BASE64_NOPAD.decode(encoded.as_bytes())
    };
    String::from_utf8(decoded.ok()?).ok()
}

/// Appends the response that turns the connection into a WebSocket, dated `unix_ms`, with names and
/// order as Phoenix has them. `phoenix` says whether the client asked for that subprotocol.
pub fn push_switching_protocols(out: &mut Vec<u8>, accept: &Accept, phoenix: bool, unix_ms: u64) {
    // RFC 6455, 4.2.2: without extensions, and with no subprotocol but one that was offered.
    push_status(out, Status::SwitchingProtocols);
    push_date(out, unix_ms);
    out.extend_from_slice(b"upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ");
    out.extend_from_slice(&accept.0);
    out.extend_from_slice(b"\r\ncache-control: max-age=0, private, must-revalidate\r\n");
    if phoenix {
        push_header(out, "sec-websocket-protocol", PHOENIX);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::wire::http::parse_head;

    /// The example of RFC 6455, 1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &[u8; ACCEPT_BYTES] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    const GOOD: &str = "GET /socket/websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

    fn with_head<T>(request: &str, check: impl FnOnce(&Head<'_>) -> T) -> T {
        check(&parse_head(request.as_bytes(), &Limits::default()).unwrap().unwrap())
    }

    #[track_caller]
    fn check_good(from: &str, to: &str) {
        assert!(GOOD.contains(from));
        assert_eq!(with_head(&GOOD.replace(from, to), check_upgrade), Ok(Accept(*ACCEPT)), "{to}");
    }

    #[track_caller]
    fn check_refused(from: &str, to: &str, error: UpgradeError, status: u16) {
        assert!(GOOD.contains(from));
        assert_eq!(with_head(&GOOD.replace(from, to), check_upgrade), Err(error), "{to}");
        assert_eq!(error.response().status.as_u16(), status);
    }

    #[test]
    fn an_upgrade_as_in_the_rfc_is_accepted() {
        check_good("x", "x");
        check_good("Connection: Upgrade", "Connection: keep-alive, Upgrade");
        check_good("Connection: Upgrade", "connection: keep-alive\r\nCONNECTION: upgrade");
        check_good("Upgrade: websocket", "UPGRADE: WebSocket");
        check_good("Upgrade: websocket", "Upgrade: h2c, websocket");
        check_good("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n");
        check_good("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
    }

    #[test]
    fn what_is_no_upgrade_is_told_why() {
        use UpgradeError::*;
        for (from, to, error, status) in [
            ("GET", "POST", Method, 400),
            ("HTTP/1.1", "HTTP/1.0", Version, 400),
            ("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\n", Body, 400),
            ("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n", Body, 400),
            ("Connection: Upgrade\r\n", "", Connection, 400),
            ("Connection: Upgrade", "Connection: xupgrade", Connection, 400),
            ("Connection: Upgrade", "Connection: keep-alive", Connection, 400),
            ("Upgrade: websocket\r\n", "", Upgrade, 400),
            ("Upgrade: websocket", "Upgrade: h2c", Upgrade, 400),
            ("Upgrade: websocket", "Upgrade: websocket\r\nUpgrade: websocket", Upgrade, 400),
            ("Upgrade: websocket\r\nConnection: Upgrade\r\n", "", Connection, 400),
            ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", NoKey, 400),
            ("Version: 13", "Version: 8", WebSocketVersion, 426),
            ("Version: 13", "Version: 13, 8", WebSocketVersion, 426),
            ("Version: 13", "Version: 013", WebSocketVersion, 426),
            (
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 13",
                WebSocketVersion,
                426,
            ),
            ("Sec-WebSocket-Version: 13\r\n", "", WebSocketVersion, 426),
        ] {
            check_refused(from, to, error, status);
        }
    }

    #[test]
    fn a_key_is_16_bytes_in_base64() {
        for key in [
            "",
            "abc",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZQ=",
            "dGhlIHNhbXBsZSBub25jZR==",
            "dGhlIHNhbXBsZSBub25jZQA=",
            "dGhlIHNhbXBsZSBub25jZQAA",
            "dGhlIHNhbXBsZSBub25jZ===",
            "dGhlIHNhbXBsZSBub25j Q==",
            "dGhlIHNhbXBsZSBub25j_Q==",
            "\u{e9}GhlIHNhbXBsZSBub25jZQ==",
            "dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ] {
            check_refused(KEY, key, UpgradeError::Key, 400);
        }
    }

    #[test]
    fn another_implementation_derives_the_same_accept_key() {
        for key in [KEY, "AAAAAAAAAAAAAAAAAAAAAA==", "//////////////////////w=="] {
            let theirs = tungstenite::handshake::derive_accept_key(key.as_bytes());
            assert_eq!(accept(key).0, theirs.as_bytes());
        }
    }

    #[test]
    fn a_wrong_version_is_told_the_right_one() {
        let response = UpgradeError::WebSocketVersion.response();
        assert!(response.headers.contains(&("sec-websocket-version", "13")));
        assert!(response.headers.contains(&("upgrade", "websocket")));
    }

    #[test]
    fn the_response_is_as_phoenix_writes_it() {
        let head = "HTTP/1.1 101 Switching Protocols\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\nupgrade: websocket\r\n\
            connection: Upgrade\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
            cache-control: max-age=0, private, must-revalidate\r\n";
        for (phoenix, last) in [(false, ""), (true, "sec-websocket-protocol: phoenix\r\n")] {
            let mut out = Vec::new();
            push_switching_protocols(&mut out, &accept(KEY), phoenix, 784_111_777_000);
            assert_eq!(std::str::from_utf8(&out).unwrap(), format!("{head}{last}\r\n"));
        }
    }

    #[track_caller]
    fn check_asked(header: &str, phoenix: bool, token: Option<&str>) {
        let expected = Subprotocols { phoenix, token: token.map(str::to_owned) };
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{header}\r\n");
        assert_eq!(with_head(&request, subprotocols), Ok(expected), "{header}");
    }

    #[test]
    fn a_token_comes_as_phoenix_js_sends_it() {
        check_asked("", false, None);
        check_asked("Sec-WebSocket-Protocol: phoenix\r\n", true, None);
        check_asked(
            "Sec-WebSocket-Protocol: phoenix,base64url.bearer.phx.c2VjcmV0IQ\r\n",
            true,
            Some("secret!"),
        );
        check_asked(
            "Sec-WebSocket-Protocol: phoenix, base64url.bearer.phx.c2VjcmV0IQ==\r\n",
            true,
            Some("secret!"),
        );
        check_asked(
            "Sec-WebSocket-Protocol: base64url.bearer.phx.c2VjcmV0IQ, phoenix\r\n",
            true,
            Some("secret!"),
        );
        check_asked(
            "Sec-WebSocket-Protocol: base64url.bearer.phx.c2VjcmV0IQ\r\n",
            false,
            Some("secret!"),
        );
        check_asked("Sec-WebSocket-Protocol: base64url.bearer.phx.\r\n", false, Some(""));
        check_asked(
            "Sec-WebSocket-Protocol: base64url.bearer.phx.Pz8/Pj4+\r\n",
            false,
            Some("???>>>"),
        );
        check_asked(
            "Sec-WebSocket-Protocol: foo\r\nSec-WebSocket-Protocol: phoenix\r\n",
            true,
            None,
        );
    }

    #[test]
    fn subprotocols_that_are_not_ours_are_refused() {
        for offer in [
            "foo",
            "Phoenix",
            "foo, base64url.bearer.phx.c2VjcmV0IQ",
            "phoenix, base64url.bearer.phx.c2VjcmV0IQ, base64url.bearer.phx.c2VjcmV0IQ",
            "phoenix, base64url.bearer.phx.!",
            "phoenix, base64url.bearer.phx.c2VjcmV0IQ=",
            "phoenix, base64url.bearer.phx.c2VjcmV0I",
            "phoenix, base64url.bearer.phx.Pz8_Pj4-",
            "phoenix, base64url.bearer.phx./w",
        ] {
            let request =
                format!("GET / HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Protocol: {offer}\r\n\r\n");
            assert_eq!(with_head(&request, subprotocols), Err(SubprotocolRefused), "{offer}");
        }
    }
}

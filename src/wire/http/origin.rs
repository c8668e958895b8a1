//! Which web pages may connect (RFC 6454, and RFC 6455, 10.2): the defence against cross-site
//! WebSocket hijacking.
//!
//! A browser lets any page open a WebSocket anywhere and sends along what it knows of the user;
//! only `Origin` tells where the page came from. So a page must come from the host it connects to,
//! or be listed by the operator. Compared are scheme, host and port as parts, never as a string's
//! beginning or end.
//!
//! A page that has its own name resolve to this machine comes from the host it connects to, by all
//! that the two names say. Where only this machine can connect, [`loopback_host_allowed`] knows the
//! names that lead here.
//!
//! Deliberately absent: wildcards.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Head;

/// The parts of an origin.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    scheme: &'a str,
    host: &'a str,
    /// As written, or the scheme's own. A scheme that we do not know has none.
    port: Option<u16>,
}

impl<'a> Origin<'a> {
    /// Takes an origin apart; `None` if it is none (`null` too, which means that the browser does
    /// not tell).
    #[must_use]
    pub fn parse(origin: &'a str) -> Option<Self> {
        let (scheme, authority) = origin.split_once("://")?;
        let (host, port) = split_port(authority)?;
        let starts_with_a_letter = scheme.starts_with(|first: char| first.is_ascii_alphabetic());
        let scheme_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !starts_with_a_letter || !scheme.bytes().all(scheme_byte) {
            return None;
        }
        Some(Self { scheme, host, port: port.or_else(|| default_port(scheme)) })
    }

    /// Whether a page from here is at the host that a `Host` header names. That has no scheme: one
    /// without a port is taken to mean this origin's default.
    fn is_at(&self, host: &str) -> bool {
        let Some(default) = default_port(self.scheme) else { return false };
        split_port(host).is_some_and(|(host, port)| {
            host.eq_ignore_ascii_case(self.host) && Some(port.unwrap_or(default)) == self.port
        })
    }
}

impl PartialEq for Origin<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.scheme.eq_ignore_ascii_case(other.scheme)
            && self.host.eq_ignore_ascii_case(other.host)
            && self.port == other.port
    }
}
impl Eq for Origin<'_> {}

/// Whether a request with this `Origin`, sent to this `Host`, comes from the same host and port, or
/// from one of those `listed`. A request without an origin comes from a program, which could claim
/// any.
#[must_use]
pub fn origin_allowed(origin: Option<&str>, host: &str, listed: &[impl AsRef<str>]) -> bool {
    let Some(origin) = origin else { return true };
    Origin::parse(origin).is_some_and(|parsed| parsed.is_at(host)) || listed_origin(origin, listed)
}

/// Whether an origin is one of those `listed`.
#[must_use]
pub fn listed_origin(origin: &str, listed: &[impl AsRef<str>]) -> bool {
    let Some(origin) = Origin::parse(origin) else { return false };
    listed.iter().any(|listed| Origin::parse(listed.as_ref()) == Some(origin))
}

/// [`origin_allowed`] for a request. One with two origins is refused: which of them a browser wrote
/// is not known.
#[must_use]
pub fn request_allowed(head: &Head<'_>, listed: &[impl AsRef<str>]) -> bool {
    let mut origins = head.headers("origin");
    let origin = origins.next();
    origins.next().is_none() && origin_allowed(origin, head.host().unwrap_or(""), listed)
}

/// Whether a server that listens on this machine's own addresses alone may answer a request for
/// this `Host`: for a name of this machine, with any port, or for the host of a `listed` origin,
/// which is what a proxy in front is asked for. Any other name was made to resolve here by whoever
/// owns it (DNS rebinding), and is answered with
/// [`HttpError::Misdirected`](super::HttpError::Misdirected).
///
/// A request without `Host` (HTTP/1.0) comes from a program, which could name any.
#[must_use]
pub fn loopback_host_allowed(host: Option<&str>, listed: &[impl AsRef<str>]) -> bool {
    let Some(host) = host else { return true };
    let Some((host, _)) = split_port(host) else { return false };
    let is_listed = |listed: &str| {
        Origin::parse(listed).is_some_and(|listed| listed.host.eq_ignore_ascii_case(host))
    };
    is_loopback(host) || listed.iter().any(|listed| is_listed(listed.as_ref()))
}

/// Whether a host without its port is this machine by its name (RFC 6761, 6.3) or its address.
fn is_loopback(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let address = address.parse::<Ipv6Addr>().map(|address| IpAddr::V6(address).to_canonical());
        return address.is_ok_and(|address| address.is_loopback());
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return address.is_loopback();
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let last = name.rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost") && name.split('.').all(|label| !label.is_empty())
}

fn default_port(scheme: &str) -> Option<u16> {
    let is = |name: &str| scheme.eq_ignore_ascii_case(name);
    // A browser knows no origin with the scheme of a WebSocket; programs send the URL they open.
    if is("http") || is("ws") {
        Some(80)
    } else if is("https") || is("wss") {
        Some(443)
    } else {
        None
    }
}

/// The host and the port of `host`, `host:port` or `[v6]:port`; `None` if it is none of them: if
/// there is a user in it, or a path, or a list. Whether it resolves is not asked.
pub(super) fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.rfind(']') {
        Some(end) => (authority.get(..=end)?, authority.get(end + 1..)?),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match address {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte))
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok()?)
        }
        _ => return None,
    };
    is_host.then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::wire::http::parse_head;

    const LISTED: [&str; 3] =
        ["https://app.example", "http://dev.example:3000", "capacitor://localhost"];

    #[track_caller]
    fn check(origin: &str, host: &str, allowed: bool) {
        assert_eq!(origin_allowed(Some(origin), host, &LISTED), allowed, "{origin} to {host}");
    }

    #[test]
    fn a_page_may_connect_to_where_it_came_from() {
        for (origin, host) in [
            ("http://chat.example", "chat.example"),
            ("https://chat.example", "chat.example"),
            ("https://chat.example", "chat.example:443"),
            ("http://chat.example:80", "chat.example"),
            ("http://chat.example", "chat.example:80"),
            ("https://chat.example:8443", "chat.example:8443"),
            ("HTTPS://Chat.Example", "CHAT.example"),
            ("http://127.0.0.1:4000", "127.0.0.1:4000"),
            ("http://[::1]:4000", "[::1]:4000"),
            ("http://[::1]", "[::1]"),
            ("ws://127.0.0.1:4000", "127.0.0.1:4000"),
            ("WSS://chat.example", "chat.example"),
            ("wss://chat.example", "chat.example:443"),
            ("ws://chat.example:80", "chat.example"),
        ] {
            check(origin, host, true);
        }
    }

    #[test]
    fn a_page_from_elsewhere_may_not() {
        for (origin, host) in [
            // Another port, or another's default.
            ("http://chat.example:4001", "chat.example:4000"),
            ("http://chat.example", "chat.example:4000"),
            ("http://chat.example", "chat.example:443"),
            ("https://chat.example", "chat.example:80"),
            ("https://chat.example:80", "chat.example"),
            ("ws://chat.example", "chat.example:443"),
            ("wss://chat.example", "chat.example:80"),
            ("wss://evil.com", "chat.example"),
            ("wsss://chat.example", "chat.example"),
            // Prefixes and suffixes.
            ("https://chat.example.evil.com", "chat.example"),
            ("https://evilchat.example", "chat.example"),
            ("https://evil.chat.example", "chat.example"),
            ("https://chat.example", "chat.example.evil.com"),
            ("https://chat.exampl", "chat.example"),
            ("https://chat.example.", "chat.example"),
            // A user that looks like a host.
            ("https://chat.example@evil.com", "chat.example"),
            ("https://chat.example:443@evil.com", "chat.example"),
            ("https://evil.com@chat.example", "chat.example"),
            // No origin, though somebody says so.
            ("null", "chat.example"),
            ("null", "null"),
            ("", "chat.example"),
            ("", ""),
            ("*", "chat.example"),
            ("chat.example", "chat.example"),
            ("//chat.example", "chat.example"),
            ("://chat.example", "chat.example"),
            ("file://", ""),
            ("file://chat.example", "chat.example"),
            ("ftp://chat.example", "chat.example"),
            ("1http://chat.example", "chat.example"),
            ("ht tp://chat.example", "chat.example"),
            ("https://", ""),
            // More than an origin.
            ("https://chat.example/", "chat.example"),
            ("https://chat.example/path", "chat.example"),
            ("https://chat.example?x", "chat.example"),
            ("https://chat.example#x", "chat.example"),
            ("https://chat.example\\.evil.com", "chat.example"),
            ("https://chat.example https://evil.com", "chat.example"),
            ("https://evil.com https://chat.example", "chat.example"),
            ("https://chat.example, https://chat.example", "chat.example"),
            (" https://chat.example", "chat.example"),
            ("https://https://chat.example", "chat.example"),
            // Ports that are none.
            ("https://chat.example:", "chat.example"),
            ("https://chat.example:0x1bb", "chat.example"),
            ("https://chat.example:+443", "chat.example"),
            ("https://chat.example:443:443", "chat.example"),
            ("https://chat.example:65979", "chat.example"),
            ("https://[::1", "[::1]"),
            ("https://::1]", "[::1]"),
            ("https://[::1]x", "[::1]"),
            ("https://[chat.example]", "chat.example"),
            ("https://[chat.example]", "[chat.example]"),
            // Letters that look like others.
            ("https://ch\u{430}t.example", "chat.example"),
            ("https://\u{212a}.example", "k.example"),
        ] {
            check(origin, host, false);
        }
    }

    #[test]
    fn a_listed_page_may_connect_from_anywhere_but_only_exactly_that() {
        for (origin, allowed) in [
            ("https://app.example", true),
            ("https://APP.example:443", true),
            ("http://app.example", false),
            ("https://app.example:444", false),
            ("https://x.app.example", false),
            ("https://app.example.evil.com", false),
            ("http://dev.example:3000", true),
            ("http://dev.example", false),
            ("https://dev.example:3000", false),
            ("capacitor://localhost", true),
            ("capacitor://localhost:80", false),
            ("ionic://localhost", false),
            ("wss://app.example", false),
            ("ws://dev.example:3000", false),
        ] {
            check(origin, "chat.example", allowed);
        }
    }

    #[test]
    fn nonsense_in_the_list_allows_nothing() {
        for origin in ["null", "*", "", "evil.com", "https://evil.com"] {
            assert!(
                !origin_allowed(Some(origin), "chat.example", &["*", "null", "", "evil.com"]),
                "{origin}"
            );
        }
    }

    #[test]
    fn a_program_without_an_origin_may_connect() {
        assert!(origin_allowed(None, "chat.example", &LISTED));
    }

    #[test]
    fn a_name_that_was_made_to_lead_to_this_machine_is_told_from_its_own() {
        for (host, allowed) in [
            ("localhost", true),
            ("LocalHost:4000", true),
            ("localhost.", true),
            ("chat.localhost", true),
            ("a.b.localhost:80", true),
            ("127.0.0.1", true),
            ("127.0.0.1:4000", true),
            ("127.255.255.254", true),
            ("[::1]", true),
            ("[0:0:0:0:0:0:0:1]:4000", true),
            ("[::ffff:127.0.0.1]", true),
            // Of `LISTED`, at any port.
            ("app.example", true),
            ("APP.example:8443", true),
            ("dev.example", true),
            // Another's name, whatever it looks like and wherever it leads.
            ("evil.com", false),
            ("evil.com:4000", false),
            ("localhost.evil.com", false),
            ("127.0.0.1.evil.com", false),
            ("evillocalhost", false),
            (".localhost", false),
            ("a..localhost", false),
            ("localhost..", false),
            ("x.app.example", false),
            ("app.example.evil.com", false),
            ("app.example.", false),
            // Addresses of other machines, and what is none.
            ("128.0.0.1", false),
            ("0.0.0.0", false),
            ("192.168.0.1", false),
            ("127.1", false),
            ("0127.0.0.1", false),
            ("2130706433", false),
            ("[::]", false),
            ("[::2]", false),
            ("[::ffff:10.0.0.1]", false),
            ("::1", false),
            ("", false),
            (":4000", false),
            ("localhost:x", false),
            ("localhost:4000:4000", false),
            ("localhost, evil.com", false),
            ("ann@localhost", false),
            ("\u{FFFD}", false),
        ] {
            assert_eq!(loopback_host_allowed(Some(host), &LISTED), allowed, "{host}");
        }
        assert!(loopback_host_allowed(None, &LISTED), "a program that names none");
        assert!(!loopback_host_allowed(Some("app.example"), &[""; 0]));
        assert!(!loopback_host_allowed(Some("evil.com"), &["*", "", "null", "evil.com"]));
    }

    #[test]
    fn a_request_with_two_origins_is_refused() {
        let allowed = |origins: &str| {
            let head = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{origins}\r\n");
            request_allowed(
                &parse_head(head.as_bytes(), &Limits::default()).unwrap().unwrap(),
                &LISTED,
            )
        };
        assert!(allowed(""));
        assert!(allowed("Origin: https://a.example\r\n"));
        assert!(!allowed("Origin: https://b.example\r\n"));
        assert!(!allowed("Origin:\r\n"));
        assert!(!allowed("Origin: https://a.example\r\nOrigin: https://a.example\r\n"));
        assert!(!allowed("Origin: https://a.example\r\norigin: https://b.example\r\n"));
    }
}

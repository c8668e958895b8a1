//! Whom to load: the URL and the templates that turn numbers into topics and payloads.

use std::net::{SocketAddr, ToSocketAddrs};

/// A parsed `ws://` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The `Host` header.
    pub(crate) host: String,
    /// Where to connect to.
    pub(crate) address: SocketAddr,
    /// Path and query, templates not yet filled in.
    pub(crate) path: String,
}

/// What a URL may be, for a message that refuses one.
const ALLOWED: &str = "allowed is ws://HOST:PORT/PATH";

impl Target {
    /// Takes a URL apart and resolves its host.
    ///
    /// # Errors
    /// A sentence that says what is wrong with `--url`, without what is secret in it. A host that
    /// is not this machine is refused unless `remote` is set: load is for one's own servers.
    pub(crate) fn parse(url: &str, remote: bool) -> Result<Self, String> {
        let shown = shown(url);
        let Some(rest) = url.strip_prefix("ws://") else {
            let why = if url.starts_with("wss://") {
                "asks for TLS, which the generator does not speak"
            } else {
                "does not begin with ws://"
            };
            return Err(format!("--url: `{shown}` {why}; {ALLOWED}"));
        };
        // A fragment is for the client alone (RFC 6455, 3).
        let rest = rest.split('#').next().unwrap_or_default();
        let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if host.contains('@') {
            return Err(format!("--url: `{shown}` has a user name before its host; {ALLOWED}"));
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let with_port = if host.rsplit(':').next().is_some_and(|p| p.parse::<u16>().is_ok()) {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let address = with_port
            .to_socket_addrs()
            .map_err(|error| format!("--url: `{host}` has no address: {error}"))?
            .next()
            .ok_or_else(|| format!("--url: `{host}` has no address"))?;
        if !address.ip().is_loopback() && !remote {
            return Err(format!(
                "--url: {address} is not this machine; say --remote if that server is yours to \
                 load"
            ));
        }
        Ok(Self { host: host.to_owned(), address, path })
    }
}

/// A URL as it may be shown: without its query, in which a token may stand, and without a password.
pub(crate) fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

/// A text for people in which each URL is as [`shown`].
pub(crate) fn with_urls_shown(text: &str) -> String {
    let is_around = |c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`');
    let show = |word: &str| {
        let (word, around) = word.split_at(word.trim_end_matches(is_around).len());
        let url = if word.contains("://") { shown(word) } else { word.to_owned() };
        url + around
    };
    text.split_inclusive(is_around).map(show).collect()
}

/// Fills the placeholders of a template: each `{name}` becomes its value.
pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(template.to_owned(), |text, (name, value)| {
        text.replace(&format!("{{{name}}}"), value)
    })
}

/// A value as it may stand in a query (RFC 3986, 2.3: everything but the unreserved is escaped).
pub(crate) fn query_escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => {
                escaped.push('%');
                for nibble in [byte >> 4, byte & 0xf] {
                    escaped.push(char::from(b"0123456789ABCDEF"[usize::from(nibble)]));
                }
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let target =
            Target::parse("ws://127.0.0.1:4000/socket/websocket?vsn=2.0.0", false).unwrap();
        assert_eq!(target.host, "127.0.0.1:4000");
        assert_eq!(target.address, "127.0.0.1:4000".parse().unwrap());
        assert_eq!(target.path, "/socket/websocket?vsn=2.0.0");
        assert_eq!(Target::parse("ws://[::1]:9", false).unwrap().path, "/");
    }

    #[test]
    fn only_this_machine_is_loaded_unless_told_otherwise() {
        assert!(Target::parse("ws://192.0.2.1:80/", false).unwrap_err().contains("--remote"));
        assert!(Target::parse("ws://192.0.2.1:80/", true).is_ok());
    }

    #[test]
    fn a_query_may_follow_the_host_at_once_and_a_fragment_is_not_sent() {
        let target = Target::parse("ws://127.0.0.1:4000?token=x#y", false).unwrap();
        assert_eq!((target.host.as_str(), target.path.as_str()), ("127.0.0.1:4000", "/?token=x"));
    }

    #[test]
    fn a_url_that_cannot_be_loaded_is_refused_without_its_secrets() {
        for (url, why) in [
            ("wss://127.0.0.1:4000/socket?token=SECRET", "`wss://127.0.0.1:4000/socket` asks for"),
            ("http://127.0.0.1/?token=SECRET", "`http://127.0.0.1/` does not begin with ws://"),
            ("127.0.0.1:4000/?token=SECRET", "`127.0.0.1:4000/` does not begin with ws://"),
            ("ws://ann:SECRET@127.0.0.1/", "`ws://127.0.0.1/` has a user name"),
            ("ws://127.0.0.1:99999?token=SECRET", "`127.0.0.1:99999` has no address"),
            ("ws://192.0.2.1/?token=SECRET", "--remote"),
        ] {
            let refusal = Target::parse(url, false).unwrap_err();
            assert!(refusal.starts_with("--url: ") && refusal.contains(why), "{refusal}");
            assert!(!refusal.contains("SECRET"), "{refusal}");
        }
    }

    #[test]
    fn urls_in_a_text_lose_their_secrets_and_the_rest_stays() {
        assert_eq!(
            with_urls_shown("what 'ws://a:b@h/p?token=x' is,\n  why? `wss://h?t`"),
            "what 'ws://h/p' is,\n  why? `wss://h`"
        );
    }

    #[test]
    fn templates_and_queries_are_filled() {
        assert_eq!(fill("room:{room}/{user}", &[("room", "7"), ("user", "ann")]), "room:7/ann");
        assert_eq!(query_escape("a b&ü"), "a%20b%26%C3%BC");
    }
}

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

impl Target {
    /// Takes a URL apart and resolves its host.
    ///
    /// # Errors
    /// A sentence that says what is wrong. A host that is not this machine is refused unless
    /// `remote` is set: load is for one's own servers.
    pub(crate) fn parse(url: &str, remote: bool) -> Result<Self, String> {
        let rest = url
            .strip_prefix("ws://")
            .ok_or_else(|| format!("`{url}` does not begin with ws://"))?;
        let (host, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/"),
        };
        let with_port = if host.rsplit(':').next().is_some_and(|p| p.parse::<u16>().is_ok()) {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let address = with_port
            .to_socket_addrs()
            .map_err(|error| format!("`{host}` has no address: {error}"))?
            .next()
            .ok_or_else(|| format!("`{host}` has no address"))?;
        if !address.ip().is_loopback() && !remote {
            return Err(format!(
                "{address} is not this machine; say --remote if that server is yours to load"
            ));
        }
        Ok(Self { host: host.to_owned(), address, path: path.to_owned() })
    }
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
        assert!(Target::parse("wss://127.0.0.1/", false).is_err());
    }

    #[test]
    fn templates_and_queries_are_filled() {
        assert_eq!(fill("room:{room}/{user}", &[("room", "7"), ("user", "ann")]), "room:7/ann");
        assert_eq!(query_escape("a b&ü"), "a%20b%26%C3%BC");
    }
}

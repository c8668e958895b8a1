//! What `engine.url` says: a server, nodes of a cluster, or sentinels that know which server is the
//! primary.
//!
//! ```text
//! redis://[USER:PASSWORD@]HOST[:PORT]
//! redis+cluster://[USER:PASSWORD@]HOST[:PORT],...
//! redis+sentinel://[USER:PASSWORD@]HOST[:PORT],.../SERVICE[?sentinel_user=..&sentinel_password=..]
//! ```
//!
//! With `rediss` all of them speak TLS. User and password are those of the primaries. What the
//! crate takes of a server it takes of each sentinel and node too, so that names are unescaped in
//! one place.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion};

use super::connect::{ConnectError, unfit};

/// The port of a sentinel that names none.
const SENTINEL_PORT: u16 = 26_379;

/// The form of an address with sentinels, for whoever has written another one.
const FORM: &str = "redis+sentinel://USER:PASSWORD@HOST:26379,HOST,HOST/SERVICE, with /, ?, # and @ \
                    in names and passwords as %2F, %3F, %23 and %40";

/// The form of an address of a cluster.
const CLUSTER_FORM: &str = "redis+cluster://USER:PASSWORD@HOST:6379,HOST,HOST, with /, ?, # and @ in \
                            names and passwords as %2F, %3F, %23 and %40";

/// Where the engine is.
#[derive(Clone, Debug)]
pub(super) enum Address {
    /// There.
    Server(ConnectionInfo),
    /// Where these nodes of a cluster say: one at least.
    Cluster(Vec<ConnectionInfo>),
    /// Where sentinels say.
    Service(Service),
}

/// A primary that sentinels know by a name.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) name: Box<str>,
    /// The sentinels that are configured: one at least.
    pub(super) sentinels: Vec<ConnectionInfo>,
    /// The primary, but for its place.
    server: ConnectionInfo,
}

impl Address {
    /// Reads `engine.url`. What it is refused for has nothing of a password.
    pub(super) fn parse(url: &str) -> Result<Self, ConnectError> {
        let of = |scheme| url.strip_prefix(scheme);
        if let Some(rest) = of("redis+sentinel://") {
            Ok(Self::Service(Service::parse("redis://", rest)?))
        } else if let Some(rest) = of("rediss+sentinel://") {
            Ok(Self::Service(Service::parse("rediss://", rest)?))
        } else if let Some(rest) = of("redis+cluster://") {
            Ok(Self::Cluster(cluster("redis://", rest)?))
        } else if let Some(rest) = of("rediss+cluster://") {
            Ok(Self::Cluster(cluster("rediss://", rest)?))
        } else {
            Ok(Self::Server(server(url)?))
        }
    }
}

impl Service {
    fn parse(scheme: &str, rest: &str) -> Result<Self, ConnectError> {
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, name) = rest.split_once('/').unwrap_or((rest, ""));
        // Sentinel allows these, and what else comes here may be a part of a password.
        let is_name = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(unfit(format!("engine.url names no service of sentinels: {FORM}")));
        }
        let (user, hosts) = user_and_hosts(authority);
        let of_sentinels = of_sentinels(query)?;
        let sentinel = |host: &str| {
            let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
            let port = if has_port { String::new() } else { format!(":{SENTINEL_PORT}") };
            info(&format!("{scheme}{of_sentinels}{host}{port}"))
        };
        Ok(Self {
            name: name.into(),
            sentinels: hosts.split(',').map(sentinel).collect::<Result<_, _>>()?,
            server: server(&format!("{scheme}{user}unknown"))?,
        })
    }

    /// The primary, if it is at this place.
    pub(super) fn server_at(&self, host: &str, port: u16) -> ConnectionInfo {
        at(&self.server, host, port)
    }

    /// A sentinel that is not configured, at this place.
    pub(super) fn sentinel_at(&self, host: &str, port: u16) -> ConnectionInfo {
        at(&self.sentinels[0], host, port)
    }
}

/// User and password of the sentinels, as they stand in an address.
fn of_sentinels(query: &str) -> Result<String, ConnectError> {
    let (mut user, mut password) = ("", "");
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if value.contains(['/', '?', '#', '@', ':']) {
            return Err(unfit(format!("engine.url: {name} is not escaped: {FORM}, : as %3A")));
        }
        match name {
            "sentinel_user" => user = value,
            "sentinel_password" => password = value,
            _ => {
                return Err(unfit(format!(
                    "engine.url: {name} is none of its parameters, which are sentinel_user and \
                     sentinel_password"
                )));
            }
        }
    }
    Ok(if query.is_empty() { String::new() } else { format!("{user}:{password}@") })
}

/// The nodes of a cluster that are named.
fn cluster(scheme: &str, rest: &str) -> Result<Vec<ConnectionInfo>, ConnectError> {
    if rest.contains(['/', '?', '#']) {
        return Err(unfit(format!("engine.url has more than nodes of a cluster: {CLUSTER_FORM}")));
    }
    let (user, hosts) = user_and_hosts(rest);
    hosts.split(',').map(|host| server(&format!("{scheme}{user}{host}"))).collect()
}

/// User and password with the `@` behind them, if there are any, and the places.
fn user_and_hosts(authority: &str) -> (String, &str) {
    let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    (if user.is_empty() { String::new() } else { format!("{user}@") }, hosts)
}

/// A server that keeps rooms.
fn server(url: &str) -> Result<ConnectionInfo, ConnectError> {
    let info = info(url)?;
    let settings = info.redis_settings().clone();
    if settings.db() != 0 {
        return Err(unfit(
            "engine.url names a database, but channels are those of all: set engine.prefix to \
             keep servers apart",
        ));
    }
    // `HELLO 3`: answers and what is heard come on one connection, in one order.
    Ok(info.set_redis_settings(settings.set_protocol(ProtocolVersion::RESP3)))
}

fn info(url: &str) -> Result<ConnectionInfo, ConnectError> {
    url.into_connection_info().map_err(|error| unfit(format!("engine.url: {error}")))
}

/// The same, at another place.
pub(super) fn at(info: &ConnectionInfo, host: &str, port: u16) -> ConnectionInfo {
    let host = host.to_owned();
    let addr = match info.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            let (insecure, tls_params) = (*insecure, tls_params.clone());
            ConnectionAddr::TcpTls { host, port, insecure, tls_params }
        }
        _ => ConnectionAddr::Tcp(host, port),
    };
    info.clone().set_addr(addr)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(url: &str) -> Service {
        match Address::parse(url) {
            Ok(Address::Service(service)) => service,
            other => panic!("{url}: {other:?}"),
        }
    }

    fn places(service: &Service) -> Vec<String> {
        service.sentinels.iter().map(|info| info.addr().to_string()).collect()
    }

    fn who(info: &ConnectionInfo) -> (Option<&str>, Option<&str>) {
        (info.redis_settings().username(), info.redis_settings().password())
    }

    #[test]
    fn sentinels_are_those_that_are_named_each_with_its_port() {
        for (hosts, expected) in [
            ("one", &["one:26379"][..]),
            ("one:1,two,three:3", &["one:1", "two:26379", "three:3"]),
            ("127.0.0.1,[::1],[::2]:5", &["127.0.0.1:26379", "::1:26379", "::2:5"]),
        ] {
            let service = service(&format!("redis+sentinel://{hosts}/tea-1.x_Y"));
            assert_eq!(&*service.name, "tea-1.x_Y");
            assert_eq!(places(&service), expected);
        }
    }

    #[test]
    fn the_primary_and_the_sentinels_have_each_their_user_and_password() {
        for (url, primary, sentinel) in [
            ("redis+sentinel://h/s", (None, None), (None, None)),
            ("redis+sentinel://:p@h/s", (None, Some("p")), (None, None)),
            ("redis+sentinel://u:p%40%2F@h,i/s", (Some("u"), Some("p@/")), (None, None)),
            ("redis+sentinel://h/s?sentinel_password=p", (None, None), (None, Some("p"))),
            (
                "redis+sentinel://u:p@h/s?sentinel_user=v&sentinel_password=q%3A",
                (Some("u"), Some("p")),
                (Some("v"), Some("q:")),
            ),
        ] {
            let service = service(url);
            assert_eq!(who(&service.server_at("x", 1)), primary, "{url}");
            assert_eq!(who(&service.sentinel_at("x", 1)), sentinel, "{url}");
            assert!(service.sentinels.iter().all(|info| who(info) == sentinel), "{url}");
        }
    }

    #[test]
    fn all_speak_tls_or_none() {
        for (scheme, is_tls) in [("redis", false), ("rediss", true)] {
            let service = service(&format!("{scheme}+sentinel://one,two/s"));
            let (server, other) = (service.server_at("x", 1), service.sentinel_at("::1", 2));
            assert_eq!(server.addr().to_string(), "x:1");
            assert_eq!(other.addr().to_string(), "::1:2");
            let speaks = |info: &ConnectionInfo| {
                matches!(info.addr(), ConnectionAddr::TcpTls { insecure: false, .. })
            };
            for info in service.sentinels.iter().chain([&server, &other]) {
                assert_eq!(speaks(info), is_tls, "{scheme}: {}", info.addr());
            }
        }
    }

    #[test]
    fn nodes_of_a_cluster_are_those_that_are_named_with_one_user_and_all_speak_tls_or_none() {
        for (url, expected, user) in [
            ("redis+cluster://one", &["one:6379"][..], (None, None)),
            ("redis+cluster://one:1,two,[::1]:5", &["one:1", "two:6379", "::1:5"], (None, None)),
            ("rediss+cluster://u:p%40%2F@h,i:2", &["h:6379", "i:2"], (Some("u"), Some("p@/"))),
        ] {
            let Ok(Address::Cluster(nodes)) = Address::parse(url) else { panic!("{url}") };
            let places: Vec<_> = nodes.iter().map(|info| info.addr().to_string()).collect();
            assert_eq!(places, expected, "{url}");
            for info in nodes.iter().chain([&at(&nodes[0], "x", 1)]) {
                assert_eq!(who(info), user, "{url}");
                let is_tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
                assert_eq!(is_tls, url.starts_with("rediss"), "{url}");
            }
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_a_word_of_a_password() {
        for (url, word) in [
            ("redis+sentinel://:hush@one,two", "no service"),
            ("redis+sentinel://:hush@one/", "no service"),
            ("redis+sentinel://:hush@one/tea/0", "no service"),
            ("redis+sentinel://:hu/hush@one/tea", "no service"),
            ("redis+sentinel:///tea", "engine.url"),
            ("redis+sentinel://one,,two/tea", "engine.url"),
            ("redis+sentinel://one:x/tea", "engine.url"),
            ("redis+sentinel://one/tea?sentinel_password=a/hush", "sentinel_password is not"),
            ("redis+sentinel://one/tea?sentinel_master_name=x", "sentinel_master_name is none"),
            ("redis+sentinel://one/tea?hush", "none of its parameters"),
            ("redis://:hush@one/3", "a database"),
            ("redis+cluster://", "engine.url"),
            ("redis+cluster://one,,two", "engine.url"),
            ("redis+cluster://:hush@one:x", "engine.url"),
            ("redis+cluster://:hush@one,two/0", "more than nodes"),
            ("redis+cluster://:hu/hush@one", "more than nodes"),
            ("redis+cluster://one?password=hush", "more than nodes"),
            ("localhost", "engine.url"),
        ] {
            let Err(ConnectError::Unfit(why)) = Address::parse(url) else { panic!("{url}") };
            assert!(why.contains(word), "{url}: {why}");
            assert!(!why.contains("hush") || url.ends_with("?hush"), "{url}: {why}");
        }
    }
}

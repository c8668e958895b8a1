//! `chinwag health`: asks a server whether it is ready, as a container's check does.
//!
//! It asks as anybody does, over a connection of its own: so a server that lets nobody in any more
//! is not ready.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::cli::Exit;
use super::config::Config;

/// The exit code where a server is not ready, or not there: what the checks of containers take for
/// that.
const EXIT_NOT_READY: u8 = 1;

/// How long connecting and each read may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// The most that is read of an answer, in bytes. What it says is far less.
const ANSWER_BYTES_MAX: u64 = 4_096;

/// Asks the server with this configuration whether it is ready. Returns what to say if it is.
///
/// # Errors
///
/// Where it is not, or does not answer, or where nobody can know where it is.
pub(super) fn ask(config: &Config) -> Result<String, Exit> {
    let address = reachable(config.listen);
    if address.port() == 0 {
        return Err(Exit::config("chinwag: listen has port 0, and nobody knows which one it is\n"));
    }
    let not_ready = |why: String| Exit { code: EXIT_NOT_READY, text: format!("chinwag: {why}\n") };
    let answer = exchange(address, config.listen_proxy_protocol)
        .map_err(|error| not_ready(format!("nobody answers at {address}: {error}")))?;
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body.trim());
    match status {
        Some("200") => Ok("ready\n".to_owned()),
        Some(status) => Err(not_ready(format!("not ready: {status} {}", body.escape_debug()))),
        None => Err(not_ready(format!("what answers at {address} is no server of ours"))),
    }
}

/// Where a server that listens here can be reached from this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listen.port())
}

/// What is answered to `GET /readyz`.
fn exchange(address: SocketAddr, with_header: bool) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // The PROXY protocol's word for: nobody's connection but the proxy's own.
    let header = if with_header { "PROXY UNKNOWN\r\n" } else { "" };
    let request = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(format!("{header}{request}").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_reached_on_loopback() {
        for (listen, expected) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("127.0.0.2:80", "127.0.0.2:80"),
            ("[2001:db8::1]:80", "[2001:db8::1]:80"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), expected);
        }
    }

    #[test]
    fn where_the_port_is_not_known_nobody_is_asked() {
        let config = Config { listen: "127.0.0.1:0".parse().unwrap(), ..Config::default() };
        assert_eq!(ask(&config).unwrap_err().code, 78);
    }
}

//! One end of a TCP connection: bytes out, answers of HTTP and frames in.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::case::UPGRADE;

/// Headers that are Bandit's or ours and nobody's concern: they are left out on both sides.
pub(crate) const HEADERS_OF_NO_CONCERN: [&str; 4] =
    ["date:", "vary:", "cache-control:", "connection: keep-alive"];

/// How long to wait for what never takes long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client's connection.
pub(crate) struct Peer {
    stream: TcpStream,
    received: Vec<u8>,
    /// Whether it has become a WebSocket of version 1 or 2.
    vsn: Option<u8>,
    ended: bool,
}

impl Peer {
    pub(crate) fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a valid time");
        stream.set_nodelay(true).expect("a TCP socket");
        Self { stream, received: Vec::new(), vsn: None, ended: false }
    }

    /// Becomes a WebSocket. `vsn` is a parameter.
    pub(crate) fn upgrade(&mut self, token: &str, vsn: &str) -> Result<(), String> {
        let request = format!(
            "GET /socket/websocket?token={token}{vsn} HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n\r\n"
        );
        self.send(request.as_bytes())?;
        let answer = self.next(true)?;
        if !answer.starts_with("HTTP/1.1 101 ") {
            return Err(answer);
        }
        self.vsn = Some(if vsn.contains("2.0") { 2 } else { 1 });
        Ok(())
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).map_err(|error| format!("cannot send: {error}"))
    }

    /// What comes next, as a case has it: lines of an answer, or a frame.
    pub(crate) fn next(&mut self, is_http: bool) -> Result<String, String> {
        loop {
            let parsed = if is_http { self.answer() } else { self.frame() };
            match parsed {
                Some((seen, taken)) => {
                    self.received.drain(..taken);
                    if seen.starts_with("CLOSE ") {
                        self.expect_end()?;
                    }
                    return Ok(seen);
                }
                None if self.ended && self.received.is_empty() => return Ok("FIN".into()),
                None if self.ended => return Err(format!("ended within {:?}", self.received)),
                None => self.read()?,
            }
        }
    }

    /// Makes sure that nothing is under way, by asking something that is answered in any state.
    pub(crate) fn expect_quiet(&mut self) -> Result<(), String> {
        let (heartbeat, answer) = match self.vsn {
            _ if self.ended => return Ok(()),
            Some(2) => (
                r#"[null,"quiet","phoenix","heartbeat",{}]"#,
                r#"[null,"quiet","phoenix","phx_reply",{"response":{},"status":"ok"}]"#,
            ),
            Some(_) => (
                r#"{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"quiet"}"#,
                r#"{"event":"phx_reply","payload":{"response":{},"status":"ok"},"ref":"quiet","topic":"phoenix"}"#,
            ),
            None => return Ok(()),
        };
        let mut frame =
            vec![0x81, 0x80 | u8::try_from(heartbeat.len()).expect("short"), 0, 0, 0, 0];
        frame.extend_from_slice(heartbeat.as_bytes());
        self.send(&frame)?;
        match self.next(false)? {
            seen if seen == answer => Ok(()),
            seen => Err(seen),
        }
    }

    /// After a close frame the connection ends at once, and with nothing more.
    fn expect_end(&mut self) -> Result<(), String> {
        while !self.ended {
            self.read()?;
        }
        if self.received.is_empty() {
            Ok(())
        } else {
            Err(format!("after the close: {:?}", self.received))
        }
    }

    fn read(&mut self) -> Result<(), String> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(count) => self.received.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => self.ended = true,
            Err(error) => return Err(format!("nothing came: {error}")),
        }
        Ok(())
    }

    /// The lines of an answer that is whole, without the headers of no concern, and its body as one
    /// more line.
    fn answer(&mut self) -> Option<(String, usize)> {
        let end = self.received.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&self.received[..end]).into_owned();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")).map(str::parse);
        let body_bytes: usize = length.and_then(Result::ok).unwrap_or(0);
        let body = self.received.get(end + 4..end + 4 + body_bytes)?;
        let mut lines: Vec<_> = head
            .lines()
            .filter(|line| !HEADERS_OF_NO_CONCERN.iter().any(|header| line.starts_with(header)))
            .map(str::to_owned)
            .collect();
        if !body.is_empty() {
            lines.push(format!("[body] {}", String::from_utf8_lossy(body).trim_end()));
        }
        // Tokens differ in length, and so do bodies.
        lines.retain(|line| !line.starts_with("content-length: ") || line == "content-length: 0");
        sort_headers(&mut lines);
        Some((lines.join("\n"), end + 4 + body_bytes))
    }

    /// The next frame that is whole. The server's are neither masked nor fragmented.
    fn frame(&self) -> Option<(String, usize)> {
        let [first, second, ..] = self.received[..] else { return None };
        let (length, at) = match second {
            126 => (u64::from(u16::from_be_bytes(self.received.get(2..4)?.try_into().ok()?)), 4),
            127 => (u64::from_be_bytes(self.received.get(2..10)?.try_into().ok()?), 10),
            length => (u64::from(length), 2),
        };
        let end = at + usize::try_from(length).expect("64-bit");
        let payload = self.received.get(at..end)?;
        let hex = || payload.iter().fold(String::new(), |hex, byte| format!("{hex} {byte:02x}"));
        let seen = match (first, payload) {
            (0x81, text) => {
                String::from_utf8(text.to_vec()).unwrap_or_else(|_| format!("TEXT{}", hex()))
            }
            (0x82, _) => format!("BIN{}", hex()),
            (0x88, [high, low]) => format!("CLOSE {}", u16::from_be_bytes([*high, *low])),
            (0x8a, _) => format!("PONG{}", hex()),
            _ => format!("FRAME {first:02x}{}", hex()),
        };
        Some((seen, end))
    }
}

/// The order of headers is nobody's concern either.
pub(crate) fn sort_headers(lines: &mut [String]) {
    let headers = if lines.last().is_some_and(|line| line.starts_with("[body]")) {
        lines.len() - 1
    } else {
        lines.len()
    };
    lines[1..headers].sort();
}

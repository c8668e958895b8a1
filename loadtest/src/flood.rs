//! Too much of one thing: connections that push, join, ping, send fragments, make requests, leave
//! or connect far beyond what they may.
//!
//! A flood measures nothing. It runs beside `ping` against the same server, which shows whether
//! well-behaved connections notice it. A flood takes the machine's time too, whatever server it is
//! aimed at. So it also runs against another server on the same machine, for comparison.
//!
//! Answers are read and thrown away. A connection that the server ends is opened again.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::auth;
use crate::base::{SECOND_NS, at, count64, grouped, now_ns, real, whole};
use crate::client::frame::{self, Opcode};
use crate::client::handshake;
use crate::client::target::{Target, query_escape};
use crate::plan::{Common, check_rate};

/// What there is too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Messages to a room.
    Publish,
    /// Joins of a room that one is in already.
    Join,
    /// Pings of the longest sort.
    Ping,
    /// Heartbeats in a hundred fragments of which most are empty.
    Fragments,
    /// Connections, each ended as soon as it is upgraded.
    Connects,
    /// Joins of the lobby, which is a list of all rooms.
    Lobby,
    /// Requests for `--path` without a token, as many in a row as the server reads: `/metrics` or a
    /// file of the page, too.
    Requests,
    /// Rooms to be made, each by a request and under a name of its own.
    Found,
    /// Tokens for guests, each by a request.
    Sessions,
    /// Rooms joined by connections that end when they are in `--channels` of them.
    Leaves,
}

/// The options of a flood.
#[derive(Args, Debug)]
#[command(args_override_self = true)]
pub(crate) struct Flood {
    #[command(flatten)]
    common: Common,
    /// What there is to be too much of.
    #[arg(value_enum)]
    what: What,
    /// Connections that it comes from.
    #[arg(long, default_value_t = 20)]
    connections: u32,
    /// Messages, fragments, requests or connections a second in all.
    #[arg(long, default_value_t = 20_000.0)]
    rate: f64,
    /// What is requested.
    #[arg(long, default_value = "/api/rooms?limit=1")]
    path: String,
    /// How many rooms a connection is in that ends.
    #[arg(long, default_value_t = 10_000)]
    channels: u64,
}

/// How long it rests between two rounds.
const ROUND: Duration = Duration::from_millis(1);

/// How long the server may take to answer an upgrade.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many frames a heartbeat in fragments has.
const FRAGMENTS: u64 = 100;

/// What is written, and how much of it has been.
struct Source {
    what: What,
    /// The head of a request, up to its length where it has a body.
    head: String,
    written: u64,
}

/// One connection of it.
struct Peer {
    stream: TcpStream,
    /// What the socket has not taken yet.
    unsent: Vec<u8>,
    /// How many joins it has pushed, and how many answers it was given.
    joined: u64,
    answered: u64,
    /// The end of what was read last, in which an answer may begin.
    tail: Vec<u8>,
}

impl Flood {
    /// Floods until the time is over.
    ///
    /// # Errors
    /// There is no server, or it takes nobody in.
    pub(crate) fn run(&self) -> Result<(), String> {
        self.check()?;
        let target = Target::parse(self.common.first_url(), self.common.remote)?;
        let token = auth::tokens(&self.common, 1, 0)?.pop().unwrap_or_default();
        let mark = if target.path.contains('?') { '&' } else { '?' };
        let path = format!("{}{mark}token={}", target.path, query_escape(&token));
        let mut source = Source::new(self.what, &target.host, &self.path, &token);
        let open = || {
            let opened = match self.what {
                What::Requests | What::Found | What::Sessions => connect(&target, Vec::new()),
                What::Lobby | What::Leaves => open(&target, &path, &[]),
                _ => open(&target, &path, JOIN),
            };
            opened.map_err(|error| format!("{} takes nobody in: {error}", target.host))
        };
        let mut peers =
            (0..self.connections.max(1)).map(|_| open()).collect::<Result<Vec<_>, _>>()?;
        let (began_ns, duration_ns) = (now_ns(), self.common.duration.0);
        let (mut sent, mut ended, mut turn) = (0, 0, 0);
        loop {
            let spent_ns = now_ns() - began_ns;
            if spent_ns >= duration_ns {
                break;
            }
            let due = whole(self.rate * real(spent_ns) / real(SECOND_NS)).saturating_sub(sent);
            if self.what == What::Connects {
                for _ in 0..due {
                    open()?;
                }
                sent += due;
            } else {
                let peer = &mut peers[turn];
                // One that the server reads no further has enough.
                if peer.unsent.is_empty() {
                    let due = match self.what {
                        What::Leaves => due.min(self.channels - peer.joined),
                        _ => due,
                    };
                    peer.joined += due;
                    sent += source.push(&mut peer.unsent, due);
                }
                turn = (turn + 1) % at(self.connections.max(1));
            }
            for peer in &mut peers {
                if !peer.goes_on() {
                    *peer = open()?;
                    ended += 1;
                } else if self.what == What::Leaves && peer.answered >= self.channels {
                    *peer = open()?;
                }
            }
            thread::sleep(ROUND);
        }
        println!(
            "flood: {} in {} s over {} connections, of which the server ended {}",
            grouped(sent),
            duration_ns / SECOND_NS,
            self.connections,
            grouped(ended)
        );
        Ok(())
    }

    /// That nothing is asked for which a flood does not do.
    fn check(&self) -> Result<(), String> {
        let Common { json, html, floor, with_floor, limits, server_pids, urls, .. } = &self.common;
        let measured = [
            ("--json", json.is_some()),
            ("--html", html.is_some()),
            ("--floor", floor.is_some()),
            ("--with-floor", *with_floor),
            ("--limit", !limits.is_empty()),
            ("--server-pid", !server_pids.is_empty()),
        ];
        if let Some((option, _)) = measured.iter().find(|(_, given)| *given) {
            return Err(format!(
                "a flood measures nothing, so there is no {option}: give it to the run beside it"
            ));
        }
        if urls.len() > 1 {
            return Err("a flood is of one server: --url may be given once".to_owned());
        }
        check_rate(self.rate)
    }
}

/// A connection that does not wait, and what it says first.
fn connect(target: &Target, unsent: Vec<u8>) -> io::Result<Peer> {
    let stream = TcpStream::connect(target.address)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(Peer { stream, unsent, joined: 0, answered: 0, tail: Vec::new() })
}

/// A connection that is upgraded, and the message that it sends first.
fn open(target: &Target, path: &str, first: &[u8]) -> io::Result<Peer> {
    let mut unsent = Vec::new();
    if !first.is_empty() {
        frame::write(&mut unsent, Opcode::Text, first, 0);
    }
    let mut peer = connect(target, unsent)?;
    let stream = &mut peer.stream;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (request, key) = handshake::request(&target.host, path);
    stream.write_all(&request)?;
    let mut answer = Vec::new();
    loop {
        let mut bytes = [0; 4_096];
        let read = stream.read(&mut bytes)?;
        answer.extend_from_slice(&bytes[..read]);
        match handshake::response(&answer, &key) {
            Ok(Some(_)) => break,
            Ok(None) if read > 0 => {}
            refused => return Err(io::Error::other(format!("{refused:?}"))),
        }
    }
    stream.set_nonblocking(true)?;
    Ok(peer)
}

const JOIN: &[u8] = br#"["1","1","room:flood","phx_join",{"limit":0,"presence":false}]"#;

impl Source {
    fn new(what: What, host: &str, path: &str, token: &str) -> Self {
        let post = |path: &str, more: &str| {
            format!(
                "POST {path} HTTP/1.1\r\nHost: {host}\r\n{more}Content-Type: application/json\r\n\
                 Content-Length: "
            )
        };
        let head = match what {
            What::Found => post("/api/rooms", &format!("Authorization: Bearer {token}\r\n")),
            What::Sessions => post("/api/session", ""),
            _ => format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        };
        Self { what, head, written: 0 }
    }

    /// Appends so many of what there is too much of, and says how many these were.
    fn push(&mut self, out: &mut Vec<u8>, times: u64) -> u64 {
        let text = |out: &mut Vec<u8>, message: &[u8]| frame::write(out, Opcode::Text, message, 0);
        let times = if self.what == What::Fragments { times / FRAGMENTS } else { times };
        for number in self.written..self.written + times {
            match self.what {
                What::Publish => text(out, PUBLISH),
                What::Join => text(out, JOIN),
                What::Ping => frame::write(out, Opcode::Ping, &[b'p'; 125], 0),
                What::Fragments => push_fragments(out),
                What::Lobby => {
                    let join = format!(r#"["{number}","{number}","lobby","phx_join",{{}}]"#);
                    text(out, join.as_bytes());
                }
                What::Leaves => {
                    let join = format!(
                        r#"["{number}","{number}","room:flood-{number}","phx_join",{{"limit":0}}]"#
                    );
                    text(out, join.as_bytes());
                }
                What::Requests => out.extend_from_slice(self.head.as_bytes()),
                What::Found => {
                    let body = format!(r#"{{"room":"flood-{number}","title":"Flood {number}"}}"#);
                    self.post(out, &body);
                }
                What::Sessions => self.post(out, &format!(r#"{{"name":"Flood {number}"}}"#)),
                What::Connects => unreachable!("a connection is not written to one"),
            }
        }
        self.written += times;
        if self.what == What::Fragments { times * FRAGMENTS } else { times }
    }

    /// Appends a request with a body.
    fn post(&self, out: &mut Vec<u8>, body: &str) {
        let request = format!("{}{}\r\n\r\n{body}", self.head, body.len());
        out.extend_from_slice(request.as_bytes());
    }
}

/// A message of 100 bytes.
const PUBLISH: &[u8] = concat!(
    r#"["1","2","room:flood","new_msg",{"body":""#,
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    r#""}]"#
)
.as_bytes();

/// A heartbeat, the end of which is long in coming.
fn push_fragments(out: &mut Vec<u8>) {
    let message = br#"[null,"1","phoenix","heartbeat",{}]"#;
    let (text, continuation, last) = (0x01, 0x00, 0x80);
    let length = u8::try_from(message.len()).expect("it is short");
    // Masked with nothing (RFC 6455, 5.2).
    out.extend_from_slice(&[text, 0x80 | length, 0, 0, 0, 0]);
    out.extend_from_slice(message);
    (2..FRAGMENTS).for_each(|_| out.extend_from_slice(&[continuation, 0x80, 0, 0, 0, 0]));
    out.extend_from_slice(&[last, 0x80, 0, 0, 0, 0]);
}

impl Peer {
    /// Counts the answers in what was read.
    fn count_answers(&mut self, bytes: &[u8]) {
        const EVENT: &[u8] = b"\"phx_reply\"";
        self.tail.extend_from_slice(bytes);
        let answers = self.tail.windows(EVENT.len()).filter(|text| *text == EVENT).count();
        self.answered += count64(answers);
        let kept = self.tail.len().min(EVENT.len() - 1);
        self.tail.drain(..self.tail.len() - kept);
    }

    /// Writes what the socket takes, and throws away what there is to read. False if the connection
    /// has ended.
    fn goes_on(&mut self) -> bool {
        let mut bytes = [0; 16 * 1_024];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return false,
                Ok(read) => self.count_answers(&bytes[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use tungstenite::protocol::{Role, WebSocket};
    use tungstenite::{Message, protocol::WebSocketConfig};

    use super::*;

    /// What a server makes of it.
    fn heard(what: What, times: u64) -> (u64, Vec<Message>) {
        let mut bytes = Vec::new();
        let counted = Source::new(what, "h", "/", "t").push(&mut bytes, times);
        let config = WebSocketConfig::default().accept_unmasked_frames(false);
        let mut server = WebSocket::from_raw_socket(
            Incoming(io::Cursor::new(bytes)),
            Role::Server,
            Some(config),
        );
        let mut messages = Vec::new();
        while let Ok(message) = server.read() {
            messages.push(message);
        }
        (counted, messages)
    }

    /// What is read stands there; what is written is of no interest.
    struct Incoming(io::Cursor<Vec<u8>>);

    impl io::Read for Incoming {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl io::Write for Incoming {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_flood_is_of_what_it_says() {
        for what in [What::Publish, What::Join, What::Ping, What::Lobby, What::Leaves] {
            let (counted, messages) = heard(what, 7);
            assert_eq!((counted, count64(messages.len())), (7, 7), "{what:?}");
            assert!(messages.iter().all(|message| message.is_ping() == (what == What::Ping)));
        }
        let (counted, messages) = heard(What::Fragments, 250);
        assert_eq!((counted, messages.len()), (200, 2));
        assert!(messages[0].to_text().unwrap().contains("heartbeat"));
    }

    #[test]
    fn answers_are_counted_wherever_a_read_ends() {
        let (stream, _other) = pair();
        let mut peer =
            Peer { stream, unsent: Vec::new(), joined: 0, answered: 0, tail: Vec::new() };
        let answers = br#"["1","1","room:a","phx_reply",{}]["2","2","room:b","phx_reply",{}]"#;
        for bytes in answers.chunks(7) {
            peer.count_answers(bytes);
        }
        assert_eq!(peer.answered, 2);
    }

    fn pair() -> (TcpStream, TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (stream, listener.accept().unwrap().0)
    }

    #[test]
    fn requests_stand_one_behind_the_other() {
        let mut bytes = Vec::new();
        assert_eq!(Source::new(What::Requests, "h", "/p", "t").push(&mut bytes, 2), 2);
        assert_eq!(bytes, b"GET /p HTTP/1.1\r\nHost: h\r\n\r\n".repeat(2));
    }

    #[test]
    fn each_room_that_is_made_has_a_name_of_its_own_and_so_has_each_guest() {
        for (what, path, token, name) in [
            (What::Found, "/api/rooms", Some("Bearer t\r\n"), "flood-"),
            (What::Sessions, "/api/session", None, "Flood "),
        ] {
            let mut bytes = Vec::new();
            let mut source = Source::new(what, "h", "/", "t");
            assert_eq!(source.push(&mut bytes, 1) + source.push(&mut bytes, 1), 2);
            let text = String::from_utf8(bytes).unwrap();
            let requests: Vec<_> = text.split("POST ").skip(1).collect();
            for (number, request) in requests.iter().enumerate() {
                let (head, body) = request.split_once("\r\n\r\n").unwrap();
                assert!(head.starts_with(path), "{head}");
                assert_eq!(token.is_some(), head.contains("Bearer t\r\n"), "{head}");
                assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
                assert!(body.contains(&format!("\"{name}{number}\"")), "{body}");
            }
        }
    }
}

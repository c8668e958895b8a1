//! One peer, byte for byte.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use crate::server::{PATIENCE, Server};

pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;

/// An answer to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    /// In lower case.
    pub head: String,
    pub body: String,
}

/// A connection with nothing said on it.
pub(crate) fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address).expect("the server listens");
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends this on a connection of its own, and reads one answer.
pub(crate) fn ask(server: &Server, request: &[u8]) -> Answer {
    let mut peer = Peer::new(connect(server));
    peer.send_raw(request);
    peer.answer()
}

/// The upgrade to a socket, with further headers.
pub(crate) fn upgrade(token: &str, headers: &str) -> String {
    format!(
        "GET /socket/websocket?vsn=2.0.0&token={token} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
    )
}

/// A client's frame.
pub(crate) fn frame(opcode: u8, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut frame = vec![opcode | if is_final { 0x80 } else { 0 }];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | u8::try_from(short).unwrap()),
        long => {
            if let Ok(long) = u16::try_from(long) {
                frame.push(0xfe);
                frame.extend(long.to_be_bytes());
            } else {
                frame.push(0xff);
                frame.extend((long as u64).to_be_bytes());
            }
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// A text message in one frame.
pub(crate) fn text(message: &str) -> Vec<u8> {
    frame(TEXT, true, message.as_bytes())
}

/// A message to a room, with this reference.
pub(crate) fn publish(room: &str, reference: u64, body: &str) -> Vec<u8> {
    text(&format!(r#"["1","{reference}","room:{room}","new_msg",{{"body":"{body}"}}]"#))
}

/// A join, with the reference that all joins here have.
pub(crate) fn join(room: &str, params: &str) -> Vec<u8> {
    text(&format!(r#"["1","1","room:{room}","phx_join",{params}]"#))
}

/// The number of this name, the last one in a text.
pub(crate) fn number(text: &str, name: &str) -> u64 {
    let (_, rest) =
        text.rsplit_once(&format!("\"{name}\":")).unwrap_or_else(|| panic!("no {name} in {text}"));
    rest.chars()
        .map_while(|c| c.to_digit(10))
        .fold(0, |number, digit| number * 10 + u64::from(digit))
}

/// A connection, and what has been received on it and not been looked at.
pub(crate) struct Peer {
    pub stream: TcpStream,
    received: Vec<u8>,
}

impl Peer {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, received: Vec::new() }
    }

    /// An open socket.
    pub(crate) fn open(server: &Server, token: &str) -> Self {
        Self::open_on(connect(server), token)
    }

    /// An open socket, on this connection.
    pub(crate) fn open_on(stream: TcpStream, token: &str) -> Self {
        let mut peer = Self::new(stream);
        peer.send_raw(upgrade(token, "").as_bytes());
        assert_eq!(peer.answer().status, 101);
        peer
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn send(&mut self, message: &str) {
        self.send_raw(&text(message));
    }

    /// Reads on. False at the end, however it comes.
    fn read(&mut self) -> bool {
        let mut chunk = [0; 16 * 1_024];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(count) => {
                self.received.extend_from_slice(&chunk[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(error) => panic!("nothing comes: {error}"),
        }
    }

    /// The next answer to a request.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        self.answer_or_end().unwrap_or_else(|| {
            panic!("the connection ends: {:?}", String::from_utf8_lossy(&self.received))
        })
    }

    /// The next answer to a request; `None` if the connection ends instead.
    pub(crate) fn answer_or_end(&mut self) -> Option<Answer> {
        let head_bytes = loop {
            if let Some(at) = self.received.windows(4).position(|end| end == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.read() {
                return None;
            }
        };
        let head = String::from_utf8(self.received.drain(..head_bytes).collect())
            .unwrap()
            .to_ascii_lowercase();
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or_else(|| panic!("{head}"));
        let length =
            head.split_once("content-length: ").and_then(|(_, rest)| rest.split("\r\n").next());
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        while self.received.len() < length {
            assert!(self.read(), "the connection ends in the body");
        }
        let body = String::from_utf8_lossy(&self.received[..length]).into_owned();
        self.received.drain(..length);
        Some(Answer { status, head, body })
    }

    /// The next frame: its opcode and payload; `None` at the end.
    pub(crate) fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((opcode, payload, taken)) = whole_frame(&self.received) {
                let payload = payload.to_vec();
                self.received.drain(..taken);
                return Some((opcode, payload));
            }
            if !self.read() {
                return None;
            }
        }
    }

    /// The next text that has this in it; others are passed over.
    #[track_caller]
    pub(crate) fn await_text(&mut self, wanted: &str) -> String {
        loop {
            match self.frame() {
                Some((TEXT, payload)) => {
                    let text = String::from_utf8(payload).unwrap();
                    if text.contains(wanted) {
                        return text;
                    }
                }
                Some((CLOSE, payload)) => panic!("closed with {payload:?} before {wanted}"),
                Some(_) => {}
                None => panic!("ended before {wanted}"),
            }
        }
    }

    /// Joins a room, and returns the answer.
    pub(crate) fn join(&mut self, room: &str, params: &str) -> String {
        self.send_raw(&join(room, params));
        self.await_text(r#""phx_reply""#)
    }

    /// The code and the reason with which the socket is closed. The close frame must be the last
    /// one, and then TCP must end.
    #[track_caller]
    pub(crate) fn closed(&mut self) -> (u16, String) {
        let payload = loop {
            match self.frame() {
                Some((CLOSE, payload)) => break payload,
                Some(_) => {}
                None => panic!("TCP ends, and nobody said why"),
            }
        };
        assert_eq!(self.frame(), None, "the close frame is the last one");
        let (code, reason) = payload.split_first_chunk().expect("a code");
        (u16::from_be_bytes(*code), String::from_utf8(reason.to_vec()).unwrap())
    }

    /// Whether the other side has ended, and nothing was left to read.
    #[track_caller]
    pub(crate) fn ended(&mut self) {
        while self.read() {}
        assert_eq!(String::from_utf8_lossy(&self.received), "");
    }
}

/// The frame at the front: opcode, payload, and how many bytes it takes.
pub(crate) fn whole_frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (header, length) = match *bytes.get(1)? {
        126 => (4, u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        127 => (10, u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)),
        short => (2, u64::from(short)),
    };
    let end = header + usize::try_from(length).unwrap();
    Some((bytes[0] & 0xf, bytes.get(header..end)?, end))
}

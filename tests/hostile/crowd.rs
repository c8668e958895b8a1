//! Many peers in one thread.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::peer::{CLOSE, TEXT, whole_frame};
use crate::server::{PATIENCE, Server};

/// Peers by number, all of which read what they are sent, unless they are told not to.
pub(crate) struct Crowd {
    poll: Poll,
    events: Events,
    pub members: Vec<Member>,
    buffer: Box<[u8]>,
}

/// What happened to a member.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts, each on its own")]
pub(crate) struct Member {
    stream: Option<TcpStream>,
    received: Vec<u8>,
    unsent: VecDeque<u8>,
    /// Whether it reads.
    pub is_stuck: bool,
    /// Whether there may be something to read.
    has_more: bool,
    /// Whether its socket was opened.
    pub is_open: bool,
    /// Joins that were answered with ok.
    pub joined: u32,
    /// Pushes that were.
    pub acked: u32,
    /// The offset of the last message heard. Offsets must follow each other.
    pub offset: u64,
    /// Messages heard.
    pub heard: u64,
    /// Whether it was put out of a room. What it says there from then on is refused:
    pub is_out: bool,
    /// so often.
    pub refused: u32,
    /// Whether a channel was ended with `lagging`.
    pub has_lagged: bool,
    /// The code of the close frame.
    pub closed: Option<u16>,
    /// Whether TCP has ended.
    pub has_ended: bool,
}

impl Crowd {
    /// So many connections that have sent this. At first they are only begun.
    pub(crate) fn connect(server: &Server, count: usize, sent: &[u8]) -> Self {
        let _ = rlimit::increase_nofile_limit(u64::MAX);
        let poll = Poll::new().unwrap();
        let buffer = vec![0; 256 * 1_024].into();
        let mut crowd =
            Self { poll, events: Events::with_capacity(1_024), members: Vec::new(), buffer };
        for _ in 0..count {
            crowd.enter(server, sent);
        }
        crowd
    }

    /// One more.
    pub(crate) fn enter(&mut self, server: &Server, sent: &[u8]) {
        let mut stream = TcpStream::connect(server.address).unwrap();
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(self.members.len()), interest).unwrap();
        self.members.push(Member {
            stream: Some(stream),
            unsent: sent.iter().copied().collect(),
            ..Member::default()
        });
    }

    /// Has a member say this.
    pub(crate) fn send(&mut self, index: usize, bytes: &[u8]) {
        let member = &mut self.members[index];
        member.unsent.extend(bytes);
        member.write();
    }

    /// Lets a member read again.
    pub(crate) fn unstick(&mut self, index: usize) {
        self.members[index].is_stuck = false;
    }

    /// Drops a member's connection.
    pub(crate) fn leave(&mut self, index: usize) {
        self.members[index].stream = None;
    }

    /// Reads on until something is so.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut is_so: impl FnMut(&[Member]) -> bool) {
        let since = Instant::now();
        while !is_so(&self.members) {
            assert!(since.elapsed() < PATIENCE * 2, "in vain: {what}");
            self.turn();
        }
    }

    /// Reads what there is, or waits a little for it.
    pub(crate) fn turn(&mut self) {
        let _ = self.poll.poll(&mut self.events, Some(Duration::from_millis(20)));
        for event in &self.events {
            let member = &mut self.members[event.token().0];
            member.has_more |= event.is_readable() || event.is_error() || event.is_read_closed();
            if event.is_writable() {
                member.write();
            }
        }
        for member in &mut self.members {
            if member.has_more && !member.is_stuck {
                member.read(&mut self.buffer);
            }
        }
    }
}

impl Member {
    fn write(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        while !self.unsent.is_empty() {
            match stream.write(self.unsent.as_slices().0) {
                Ok(count) => drop(self.unsent.drain(..count)),
                // An end is seen by reading.
                Err(_) => return,
            }
        }
    }

    /// Keeps the kernel from taking in megabytes for it.
    pub(crate) fn limit_window(&self) {
        let stream = self.stream.as_ref().expect("it has not ended");
        socket2::SockRef::from(stream).set_recv_buffer_size(32 * 1_024).unwrap();
    }

    /// Reads one byte, if there is one.
    pub(crate) fn read_a_byte(&mut self) {
        self.read_once(&mut [0]);
    }

    fn read(&mut self, buffer: &mut [u8]) {
        while self.has_more {
            self.read_once(buffer);
        }
    }

    fn read_once(&mut self, buffer: &mut [u8]) {
        let Some(stream) = &mut self.stream else { return self.has_more = false };
        match stream.read(buffer) {
            Ok(0) => self.end(),
            Ok(count) => {
                if self.received.is_empty() {
                    let rest = self.take(&buffer[..count]);
                    self.received.extend_from_slice(&buffer[count - rest..count]);
                } else {
                    let mut received = std::mem::take(&mut self.received);
                    received.extend_from_slice(&buffer[..count]);
                    let rest = self.take(&received);
                    received.drain(..received.len() - rest);
                    self.received = received;
                }
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) =>
            {
                self.has_more = false;
            }
            Err(_) => self.end(),
        }
    }

    fn end(&mut self) {
        self.has_ended = true;
        self.has_more = false;
        self.stream = None;
    }

    /// Takes what is whole, and says how many bytes are left.
    fn take(&mut self, mut bytes: &[u8]) -> usize {
        if !self.is_open {
            let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else {
                return bytes.len();
            };
            assert!(bytes.starts_with(b"HTTP/1.1 101"), "{}", bytes.escape_ascii());
            self.is_open = true;
            bytes = &bytes[at + 4..];
        }
        while let Some((opcode, payload, taken)) = whole_frame(bytes) {
            assert_eq!(self.closed, None, "the close frame is the last one");
            match opcode {
                TEXT => self.hear(std::str::from_utf8(payload).unwrap()),
                CLOSE => self.closed = payload.first_chunk().map(|code| u16::from_be_bytes(*code)),
                _ => {}
            }
            bytes = &bytes[taken..];
        }
        bytes.len()
    }

    fn hear(&mut self, text: &str) {
        let front = &text[..text.floor_char_boundary(100)];
        if front.contains("\"room_removed\"") {
            self.is_out = true;
        } else if self.is_out && front.contains("\"phx_reply\"") {
            assert!(text.ends_with(r#","status":"error"}]"#), "{text}");
            self.refused += 1;
        } else if front.contains("\"phx_reply\"") {
            // A response has an offset where it is a join's, and the message's own where it is a
            // push's.
            assert!(text.ends_with(r#","status":"ok"}]"#), "{text}");
            if front.contains("\"epoch\"") || text.contains("\"you\"") {
                self.joined += 1;
                self.offset =
                    crate::peer::number(&text[text.find("\"offset\"").unwrap_or(0)..], "offset");
            } else {
                self.acked += 1;
            }
        } else if front.contains("\"phx_error\"") {
            assert!(text.contains("lagging"), "{text}");
            self.has_lagged = true;
        } else if front.contains("\"new_msg\"") {
            // Behind the body.
            let back = &text[text.ceil_char_boundary(text.len().saturating_sub(200))..];
            let offset = crate::peer::number(back, "offset");
            assert_eq!(offset, self.offset + 1, "offsets have no gaps");
            self.offset = offset;
            self.heard += 1;
        }
    }
}

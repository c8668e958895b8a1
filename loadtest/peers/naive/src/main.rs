//! As little as a chat server can do: one thread, one epoll loop, one `send` per member and
//! message, nothing kept.
//!
//! It is the mark for "what the work itself takes": it trusts its clients, and a member that does not read is dropped.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};

use data_encoding::BASE64;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use serde_json::value::RawValue;
use sha1::{Digest, Sha1};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);

struct Conn {
    stream: TcpStream,
    open: bool,
    input: Vec<u8>,
    rooms: Vec<String>,
}

#[derive(Default)]
struct Chat {
    conns: Slab<Conn>,
    rooms: HashMap<String, Vec<usize>>,
    gone: Vec<usize>,
}

fn main() -> std::io::Result<()> {
    let port: u16 = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(4101);
    let mut listener = TcpListener::bind(([127, 0, 0, 1], port).into())?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 64 * 1024];
    let mut chat = Chat::default();
    loop {
        if let Err(error) = poll.poll(&mut events, None) {
            if error.kind() == ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    let _best_effort = stream.set_nodelay(true);
                    let entry = chat.conns.vacant_entry();
                    poll.registry().register(
                        &mut stream,
                        Token(entry.key()),
                        Interest::READABLE,
                    )?;
                    entry.insert(Conn {
                        stream,
                        open: false,
                        input: Vec::new(),
                        rooms: Vec::new(),
                    });
                }
            } else {
                chat.read(event.token().0, &mut buffer, event.is_read_closed());
            }
        }
        for id in std::mem::take(&mut chat.gone) {
            chat.remove(id);
        }
    }
}

impl Chat {
    fn read(&mut self, id: usize, buffer: &mut [u8], closed: bool) {
        loop {
            let Some(conn) = self.conns.get_mut(id) else { return };
            match conn.stream.read(buffer) {
                Ok(0) => return self.gone.push(id),
                Ok(read) => {
                    let mut input = std::mem::take(&mut conn.input);
                    input.extend_from_slice(&buffer[..read]);
                    let used = self.handle_all(id, &mut input);
                    input.drain(..used);
                    if let Some(conn) = self.conns.get_mut(id) {
                        conn.input = input;
                    }
                    if read < buffer.len() && !closed {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.gone.push(id),
            }
        }
    }

    fn handle_all(&mut self, id: usize, input: &mut [u8]) -> usize {
        let mut used = 0;
        if !self.conns[id].open {
            let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") else { return 0 };
            let head = String::from_utf8_lossy(&input[..end]).into_owned();
            let key = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim().to_owned())
            });
            let Some(key) = key else {
                self.gone.push(id);
                return input.len();
            };
            let accept =
                BASE64.encode(&Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")));
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            self.send(id, answer.as_bytes());
            self.conns[id].open = true;
            used = end + 4;
        }
        while let Some((opcode, start, end)) = unmask(&mut input[used..]) {
            let payload = &input[used + start..used + end];
            used += end;
            if opcode == 8 || (opcode == 1 && self.message(id, payload).is_none()) {
                self.gone.push(id);
            }
        }
        used
    }

    fn message(&mut self, id: usize, payload: &[u8]) -> Option<()> {
        let (join_ref, reference, topic, event, payload): (
            &RawValue,
            &RawValue,
            &str,
            &str,
            &RawValue,
        ) = serde_json::from_slice(payload).ok()?;
        match event {
            "heartbeat" | "typing" => {}
            "phx_join" => {
                self.rooms.entry(topic.to_owned()).or_default().push(id);
                self.conns[id].rooms.push(topic.to_owned());
            }
            "phx_leave" => {
                if let Some(members) = self.rooms.get_mut(topic) {
                    members.retain(|member| *member != id);
                }
            }
            _ => {
                let bytes = frame(&format!("[null,null,\"{topic}\",\"{event}\",{payload}]"));
                if let Some(members) = self.rooms.remove(topic) {
                    for member in &members {
                        self.send(*member, &bytes);
                    }
                    self.rooms.insert(topic.to_owned(), members);
                }
            }
        }
        let answer = format!(
            "[{join_ref},{reference},\"{topic}\",\"phx_reply\",{{\"response\":{{}},\"status\":\"ok\"}}]"
        );
        self.send(id, &frame(&answer));
        Some(())
    }

    fn send(&mut self, id: usize, bytes: &[u8]) {
        if let Some(conn) = self.conns.get_mut(id)
            && !matches!(conn.stream.write(bytes), Ok(written) if written == bytes.len())
        {
            self.gone.push(id);
        }
    }

    fn remove(&mut self, id: usize) {
        let Some(conn) = self.conns.try_remove(id) else { return };
        for room in conn.rooms {
            if let Some(members) = self.rooms.get_mut(&room) {
                members.retain(|member| *member != id);
            }
        }
    }
}

/// A client's frame at the front of `bytes`, unmasked in place: opcode, and where its payload
/// starts and ends.
fn unmask(bytes: &mut [u8]) -> Option<(u8, usize, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (start, length) = match second & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
        length => (2, usize::from(length)),
    };
    let mask: [u8; 4] = bytes.get(start..start + 4)?.try_into().ok()?;
    let (start, end) = (start + 4, start + 4 + length);
    for (byte, key) in bytes.get_mut(start..end)?.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
    Some((first & 0xf, start, end))
}

fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(length @ 0..126), _) => frame.push(length),
        (_, Ok(length)) => {
            frame.push(126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend_from_slice(&(text.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(text.as_bytes());
    frame
}

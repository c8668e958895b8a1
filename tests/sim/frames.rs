//! WebSocket frames and HTTP answers as a client writes and reads them: a second opinion, which
//! shares no line with `wire`.
//!
//! Whatever the server sends must be in the strictest form: final, unmasked, lengths as short as
//! they go.
//!
//! What it does not model, and which test could notice: extensions, and most of what is no frame
//! (`tests/autobahn`, `tests/hostile/websocket.rs`).

use std::collections::BTreeMap;

use crate::draws::Draws;

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// What a server's frame holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Text(String),
    Binary(Vec<u8>),
    /// With its reason.
    Close(u16, String),
    Pong(Vec<u8>),
}

/// Takes bytes as they come and gives frames.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    at: usize,
}

impl Inbox {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..std::mem::take(&mut self.at));
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether a frame has begun and not ended.
    pub(crate) fn is_within_a_frame(&self) -> bool {
        self.at < self.bytes.len()
    }

    /// The next whole frame.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        let bytes = &self.bytes[self.at..];
        let [first, second, ..] = *bytes else { return None };
        assert_eq!(
            first & 0xf0,
            0x80,
            "a server's frame is final and has no reserved bits: {first:#x}"
        );
        assert_eq!(second & 0x80, 0, "a server's frame is not masked");
        let (length, header) = match second {
            126 => {
                let length = u64::from(u16::from_be_bytes(*bytes.get(2..4)?.first_chunk()?));
                assert!(length > 125, "a length is written as short as it goes");
                (length, 4)
            }
            127 => {
                let length = u64::from_be_bytes(*bytes.get(2..10)?.first_chunk()?);
                assert!(length > 65_535, "a length is written as short as it goes");
                (length, 10)
            }
            short => (u64::from(short), 2),
        };
        let end = header + usize::try_from(length).expect("a server's frame fits in memory");
        let payload = bytes.get(header..end)?.to_vec();
        self.at += end;
        Some(match first & 0x0f {
            TEXT => Frame::Text(String::from_utf8(payload).expect("text is UTF-8")),
            BINARY => Frame::Binary(payload),
            PONG => Frame::Pong(payload),
            CLOSE => {
                let (code, reason) = payload.split_first_chunk().expect("a close frame says why");
                let reason = std::str::from_utf8(reason).expect("a reason is UTF-8");
                Frame::Close(u16::from_be_bytes(*code), reason.to_owned())
            }
            other => panic!("a server does not send frames of kind {other}"),
        })
    }
}

/// Appends one masked frame.
pub(crate) fn push_frame(
    out: &mut Vec<u8>,
    draws: &mut Draws,
    opcode: u8,
    last: bool,
    payload: &[u8],
) {
    crate::trace!(
        "frame {opcode} {last} {} {}",
        payload.len(),
        String::from_utf8_lossy(payload).escape_debug()
    );
    out.push(opcode | if last { 0x80 } else { 0 });
    let length = payload.len() as u64;
    // Lengths may be longer than they need to be, except in control frames.
    let waste = if opcode < CLOSE && draws.one_in(16) { draws.below(3) } else { 0 };
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..=125), _) if waste == 0 => out.push(0x80 | short),
        (_, Ok(length)) if waste < 2 => {
            out.push(0x80 | 0x7e);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    let mask = if draws.one_in(8) {
        [0; 4]
    } else {
        *draws.number().to_le_bytes().first_chunk().expect("8 bytes")
    };
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// Appends a message: mostly one frame, sometimes in fragments, with pings between them.
pub(crate) fn push_message(out: &mut Vec<u8>, draws: &mut Draws, opcode: u8, payload: &[u8]) {
    if !draws.one_in(6) {
        return push_frame(out, draws, opcode, true, payload);
    }
    let mut rest = payload;
    let mut opcode = opcode;
    for _ in 0..draws.size(1, 4) {
        let (part, after) = rest.split_at(draws.size(0, rest.len()));
        push_frame(out, draws, opcode, false, part);
        rest = after;
        opcode = CONTINUATION;
        if draws.one_in(4) {
            push_frame(out, draws, PONG, true, b"unasked");
        }
    }
    push_frame(out, draws, CONTINUATION, true, rest);
}

/// Takes the first whole message off the front of a client's frames: its opcode and what it says.
/// What stands between the fragments of a message is thrown away. `None` if there is no whole one.
pub(crate) fn take_message(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (mut at, mut kind, mut message) = (0, None, Vec::new());
    loop {
        let frame = bytes.get(at..)?;
        let (header, length) = match frame.get(1)? & 0x7f {
            126 => (4, u64::from(u16::from_be_bytes(*frame.get(2..4)?.first_chunk()?))),
            127 => (10, u64::from_be_bytes(*frame.get(2..10)?.first_chunk()?)),
            short => (2, u64::from(short)),
        };
        let (payload, length) = (header + 4, usize::try_from(length).expect("it is in memory"));
        let mask = frame.get(header..payload)?;
        let masked = frame.get(payload..payload + length)?;
        let opcode = frame[0] & 0x0f;
        if opcode < CLOSE {
            kind = kind.or(Some(opcode));
            message.extend(masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        }
        at += payload + length;
        if opcode < CLOSE && bytes[at - payload - length] & 0x80 != 0 {
            bytes.drain(..at);
            return Some((kind?, message));
        }
    }
}

/// The answer to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// Takes the first whole answer off the front of `bytes`.
pub(crate) fn take_answer(bytes: &mut Vec<u8>) -> Option<Answer> {
    let head_bytes = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..head_bytes - 4]).expect("a head is text");
    let mut lines = head.split("\r\n");
    let status =
        lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).expect("a status line");
    let status = status[..3].parse().expect("a status");
    let headers: BTreeMap<String, String> = lines
        .map(|line| line.split_once(": ").expect("a header has a name"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let length =
        headers.get("content-length").map_or(0, |length| length.parse().expect("a length"));
    let body = bytes.get(head_bytes..head_bytes + length)?.to_vec();
    bytes.drain(..head_bytes + length);
    Some(Answer { status, headers, body })
}

//! WebSocket frames as a client sees them (RFC 6455, 5): reads a server's frames where they lie,
//! writes masked ones.
//!
//! A reader of ten thousand sockets may not cost more than the server it measures, so nothing is
//! copied and nothing is allocated here. The tests hold both directions against `tungstenite`.
//!
//! Deliberately absent: extensions (none is ever offered), and putting fragments together (see
//! `core::Conn`).

use crate::base::{at, count};

/// A frame's opcode, for those a server may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    /// More of a fragmented message.
    Continuation,
    /// Text.
    Text,
    /// Binary.
    Binary,
    /// Close.
    Close,
    /// Ping.
    Ping,
    /// Pong.
    Pong,
}

/// A complete frame, borrowed from the bytes it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// Whether it is the last of its message.
    pub(crate) fin: bool,
    /// What it is.
    pub(crate) opcode: Opcode,
    /// Its payload.
    pub(crate) payload: &'a [u8],
    /// Its length with its header, in bytes.
    pub(crate) bytes: usize,
}

/// Why a server's bytes are no frame. Each is the server's fault and fails the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameFault {
    /// A reserved bit, though no extension was offered.
    ReservedBit,
    /// An opcode that does not exist.
    Opcode,
    /// A server's frame must not be masked.
    Masked,
    /// A control frame that is fragmented or longer than 125 bytes.
    Control,
    /// A length that did not need so many bytes, or over the bound of this tool.
    Length,
}

/// The longest payload read, in bytes: presence of a very large room comes in one message.
pub(crate) const PAYLOAD_BYTES_MAX: u64 = 64 * 1_024 * 1_024;

/// Reads one frame from the front of `bytes`; `None` while it is not complete.
///
/// # Errors
/// The server broke RFC 6455.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Frame<'_>>, FrameFault> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(FrameFault::ReservedBit);
    }
    if second & 0x80 != 0 {
        return Err(FrameFault::Masked);
    }
    let fin = first & 0x80 != 0;
    let opcode = match first & 0x0f {
        0 => Opcode::Continuation,
        1 => Opcode::Text,
        2 => Opcode::Binary,
        8 => Opcode::Close,
        9 => Opcode::Ping,
        10 => Opcode::Pong,
        _ => return Err(FrameFault::Opcode),
    };
    let short = second & 0x7f;
    if first & 0x08 != 0 && (!fin || short > 125) {
        return Err(FrameFault::Control);
    }
    let (header_bytes, payload_bytes) = match short {
        126 => match rest {
            [a, b, ..] => (4, u64::from(u16::from_be_bytes([*a, *b]))),
            _ => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(length) => (10, u64::from_be_bytes(*length)),
            None => return Ok(None),
        },
        length => (2, u64::from(length)),
    };
    let least = [0, 126, 65_536][usize::from(short >= 126) + usize::from(short == 127)];
    if payload_bytes < least || payload_bytes > PAYLOAD_BYTES_MAX {
        return Err(FrameFault::Length);
    }
    let end = header_bytes + usize::try_from(payload_bytes).map_err(|_| FrameFault::Length)?;
    Ok(bytes.get(header_bytes..end).map(|payload| Frame { fin, opcode, payload, bytes: end }))
}

/// Appends one whole frame to `out`, masked with `mask` as a client must (RFC 6455, 5.3).
pub(crate) fn write(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: u32) {
    out.push(match opcode {
        Opcode::Continuation => 0x80,
        Opcode::Text => 0x81,
        Opcode::Binary => 0x82,
        Opcode::Close => 0x88,
        Opcode::Ping => 0x89,
        Opcode::Pong => 0x8a,
    });
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..126), _) => out.push(0x80 | length),
        (_, Ok(length)) => {
            out.push(0x80 | 0x7e);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 0x7f);
            out.extend_from_slice(&u64::from(count(payload.len())).to_be_bytes());
        }
    }
    let mask = mask.to_ne_bytes();
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    let (words, tail) = out[start..].as_chunks_mut::<4>();
    let key = u32::from_ne_bytes(mask);
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ key).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(mask) {
        *byte ^= key;
    }
}

/// The status code of a close frame's payload; 1005 where there is none (RFC 6455, 7.1.5).
pub(crate) fn close_code(payload: &[u8]) -> u32 {
    payload.first_chunk::<2>().map_or(1005, |code| u32::from(u16::from_be_bytes(*code)))
}

/// A server's text frame around `payload_bytes` bytes of filler, for the floor.
pub(crate) fn server_text_frame(payload_bytes: u32) -> Vec<u8> {
    let mut frame = vec![0x81];
    match (u8::try_from(payload_bytes), u16::try_from(payload_bytes)) {
        (Ok(length @ 0..126), _) => frame.push(length),
        (_, Ok(length)) => {
            frame.push(126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend_from_slice(&u64::from(payload_bytes).to_be_bytes());
        }
    }
    frame.resize(frame.len() + at(payload_bytes), b'x');
    frame
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tungstenite::protocol::CloseFrame;
    use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
    use tungstenite::protocol::frame::{Frame as Theirs, FrameHeader};

    use super::*;

    const LENGTHS: [usize; 9] = [0, 1, 3, 125, 126, 127, 65_535, 65_536, 70_001];

    #[test]
    fn a_frame_written_by_tungstenite_is_read_and_no_prefix_of_it_is() {
        for length in LENGTHS {
            let payload = vec![b'a'; length];
            let mut bytes = Vec::new();
            Theirs::message(payload.clone(), OpCode::Data(Data::Text), true)
                .format(&mut bytes)
                .unwrap();
            let frame = parse(&bytes).unwrap().expect("the whole frame is there");
            assert_eq!(
                (frame.fin, frame.opcode, frame.payload, frame.bytes),
                (true, Opcode::Text, &payload[..], bytes.len())
            );
            for cut in (0..bytes.len().min(20)).chain([bytes.len() - 1]) {
                assert_eq!(parse(&bytes[..cut]), Ok(None), "decided at {cut} of {length}");
            }
            assert_eq!(server_text_frame(count(length)).len(), bytes.len());
        }
    }

    #[test]
    fn a_frame_we_write_is_read_by_tungstenite() {
        for length in LENGTHS {
            let payload: Vec<u8> = (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let mut bytes = Vec::new();
            write(&mut bytes, Opcode::Binary, &payload, 0x1234_5678);
            let mut cursor = Cursor::new(&bytes);
            let (header, bytes_left) =
                FrameHeader::parse(&mut cursor).unwrap().expect("a whole header");
            let start = usize::try_from(cursor.position()).unwrap();
            let mask = header.mask.expect("a client's frame is masked");
            let unmasked: Vec<u8> = bytes[start..]
                .iter()
                .enumerate()
                .map(|(index, byte)| byte ^ mask[index % 4])
                .collect();
            assert_eq!(
                (count64_of(bytes_left), header.opcode),
                (length, OpCode::Data(Data::Binary))
            );
            assert_eq!(unmasked, payload);
        }
    }

    fn count64_of(length: u64) -> usize {
        usize::try_from(length).unwrap()
    }

    #[test]
    fn what_a_server_must_not_send_is_named() {
        for (bytes, fault) in [
            (&[0xc1, 0x00][..], FrameFault::ReservedBit),
            (&[0x81, 0x80][..], FrameFault::Masked),
            (&[0x83, 0x00][..], FrameFault::Opcode),
            (&[0x09, 0x00][..], FrameFault::Control),
            (&[0x89, 126, 0, 126][..], FrameFault::Control),
            (&[0x81, 126, 0, 125][..], FrameFault::Length),
            (&[0x81, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff][..], FrameFault::Length),
            (&[0x81, 127, 0xff, 0, 0, 0, 0, 0, 0, 0][..], FrameFault::Length),
        ] {
            assert_eq!(parse(bytes), Err(fault), "{bytes:x?}");
        }
    }

    #[test]
    fn a_close_without_a_status_is_1005() {
        let mut bytes = Vec::new();
        let frame = CloseFrame { code: CloseCode::Away, reason: "".into() };
        Theirs::close(Some(frame)).format(&mut bytes).unwrap();
        let frame = parse(&bytes).unwrap().unwrap();
        assert_eq!((frame.opcode, close_code(frame.payload)), (Opcode::Close, 1001));
        assert_eq!(close_code(&[]), 1005);
    }
}

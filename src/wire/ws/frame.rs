//! One frame (RFC 6455, 5): clients' frames decoded, servers' frames encoded.
//!
//! What a client sends is masked, what we send is not; neither function takes the other's. An error
//! is found at the first byte that shows it, so a hostile peer gains nothing by stopping in the
//! middle of a header.
//!
//! Deliberately absent: what frames mean to each other ([`message`](super::message)).

use std::ops::Range;

use super::FrameError;
use crate::limits::{CONTROL_PAYLOAD_BYTES_MAX, FRAME_HEADER_BYTES_MAX, Limits};

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
/// In place of a length: a 16-bit one follows.
const LENGTH_16: u8 = 126;
/// In place of a length: a 64-bit one follows.
const LENGTH_64: u8 = 127;

/// What a frame is (RFC 6455, 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment of the message before it.
    Continuation = 0x0,
    /// A message of UTF-8, or its first fragment.
    Text = 0x1,
    /// A message of any bytes, or its first fragment.
    Binary = 0x2,
    /// The last frame that its sender sends.
    Close = 0x8,
    /// To be answered with a pong of the same payload.
    Ping = 0x9,
    /// The answer to a ping, or a sign of life.
    Pong = 0xa,
}

impl Opcode {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    /// Whether frames of this kind may stand between the fragments of a message (RFC 6455, 5.5).
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The header of a client's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether the message ends with this frame.
    pub fin: bool,
    /// What the frame is.
    pub opcode: Opcode,
    /// How many bytes of payload follow the header.
    pub payload_bytes: u64,
    /// What the payload is masked with.
    pub mask: [u8; 4],
    /// How long this header is: 6 to 14 bytes.
    pub header_bytes: u8,
}

/// What the first bytes of a frame tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Nothing wrong so far; the header goes on.
    Incomplete,
    /// The whole header.
    Header(Header),
}

/// Reads the header of a client's frame from the front of `bytes`. Lengths that could have been
/// written shorter are accepted, as Phoenix does.
///
/// # Errors
///
/// Whatever the bytes that are there already rule out.
pub fn decode_header(bytes: &[u8]) -> Result<Decoded, FrameError> {
    let Some((&first, bytes)) = bytes.split_first() else { return Ok(Decoded::Incomplete) };
    // RFC 6455, 5.2: no extension was agreed on that gives these bits a meaning.
    if first & RESERVED != 0 {
        return Err(FrameError::ReservedBits);
    }
    let fin = first & FIN != 0;
    let opcode = Opcode::from_bits(first & OPCODE).ok_or(FrameError::ReservedOpcode)?;
    // RFC 6455, 5.5: control frames are never fragmented, and short.
    if opcode.is_control() && !fin {
        return Err(FrameError::FragmentedControl);
    }

    let Some((&second, bytes)) = bytes.split_first() else { return Ok(Decoded::Incomplete) };
    // RFC 6455, 5.1: a server closes upon a frame that is not masked.
    if second & MASKED == 0 {
        return Err(FrameError::Unmasked);
    }
    let short = second & LENGTH;
    if opcode.is_control() && usize::from(short) > CONTROL_PAYLOAD_BYTES_MAX {
        return Err(FrameError::LongControl);
    }

    let (payload_bytes, header_bytes, bytes) = match short {
        LENGTH_16 => match bytes.split_first_chunk() {
            Some((&length, bytes)) => (u64::from(u16::from_be_bytes(length)), 8, bytes),
            None => return Ok(Decoded::Incomplete),
        },
        // RFC 6455, 5.2: the highest bit of a 64-bit length is 0.
        LENGTH_64 if bytes.first().is_some_and(|top| top & 0x80 != 0) => {
            return Err(FrameError::LengthOverflow);
        }
        LENGTH_64 => match bytes.split_first_chunk() {
            Some((&length, bytes)) => (u64::from_be_bytes(length), 14, bytes),
            None => return Ok(Decoded::Incomplete),
        },
        _ => (u64::from(short), 6, bytes),
    };

    let Some(&mask) = bytes.first_chunk() else { return Ok(Decoded::Incomplete) };
    Ok(Decoded::Header(Header { fin, opcode, payload_bytes, mask, header_bytes }))
}

/// Takes the first whole frame of a connection's bytes: its header, where its payload lies
/// (unmasked in place by this call), and how many bytes of `buf` it took. `None` when the frame
/// goes on beyond `buf`, which is left as it was.
///
/// A frame that was taken must not be offered again: its payload would be masked once more.
///
/// # Errors
///
/// Those of [`decode_header`], and [`FrameError::FrameTooBig`] as soon as the header announces it.
pub fn next_frame(
    buf: &mut [u8],
    limits: &Limits,
) -> Result<Option<(Header, Range<usize>, usize)>, FrameError> {
    let Decoded::Header(header) = decode_header(buf)? else { return Ok(None) };
    let payload_bytes = match usize::try_from(header.payload_bytes) {
        Ok(bytes) if bytes <= limits.frame_bytes => bytes,
        _ => return Err(FrameError::FrameTooBig { payload_bytes: header.payload_bytes }),
    };
    let start = usize::from(header.header_bytes);
    let end = start.saturating_add(payload_bytes);
    let Some(payload) = buf.get_mut(start..end) else { return Ok(None) };
    unmask(payload, header.mask);
    Ok(Some((header, start..end, end)))
}

/// Takes the mask off a whole payload, or puts it on (RFC 6455, 5.3).
pub fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// The header of a server's frame, and how many bytes of the array it takes: 2, 4 or 10.
#[must_use]
pub fn encode_header(
    opcode: Opcode,
    fin: bool,
    payload_bytes: u64,
) -> ([u8; FRAME_HEADER_BYTES_MAX], usize) {
    // RFC 6455, 5.1: a server masks nothing. 5.2: no length is longer than it needs to be.
    let mut header = [0; FRAME_HEADER_BYTES_MAX];
    header[0] = opcode as u8 | if fin { FIN } else { 0 };
    let header_bytes = match (u8::try_from(payload_bytes), u16::try_from(payload_bytes)) {
        (Ok(short), _) if short < LENGTH_16 => {
            header[1] = short;
            2
        }
        (_, Ok(length)) => {
            header[1] = LENGTH_16;
            header[2..4].copy_from_slice(&length.to_be_bytes());
            4
        }
        _ => {
            header[1] = LENGTH_64;
            header[2..].copy_from_slice(&payload_bytes.to_be_bytes());
            10
        }
    };
    (header, header_bytes)
}

/// Appends a final server frame with this payload.
pub fn push_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let (header, header_bytes) = encode_header(opcode, true, payload.len() as u64);
    out.extend_from_slice(&header[..header_bytes]);
    out.extend_from_slice(payload);
}

/// Where a frame begins whose payload is being written: see [`begin_frame`].
#[derive(Debug)]
#[must_use = "a frame that was begun must be finished"]
pub struct FrameStart(usize);

/// What is left free for a header whose length is not known: enough for payloads of 126 to 65,535
/// bytes, the most common.
const ROOM_BYTES: usize = 4;

/// Begins a server frame whose payload's length is not known yet: append the payload to `out`, then
/// call [`finish_frame`].
pub fn begin_frame(out: &mut Vec<u8>) -> FrameStart {
    let start = FrameStart(out.len());
    out.extend_from_slice(&[0; ROOM_BYTES]);
    start
}

/// Finishes the frame that was begun at `start` with a minimal header, and returns how many bytes
/// the whole frame has. Only a payload of less than 126 bytes, or of more than 65,535, has to be
/// moved for it.
///
/// # Panics
///
/// If `out` became shorter than it was at `start`.
pub fn finish_frame(out: &mut Vec<u8>, FrameStart(start): FrameStart, opcode: Opcode) -> usize {
    let payload_bytes = out.len() - (start + ROOM_BYTES);
    let (header, header_bytes) = encode_header(opcode, true, payload_bytes as u64);
    let room = start..start + ROOM_BYTES;
    if header_bytes == ROOM_BYTES {
        out[room].copy_from_slice(&header[..ROOM_BYTES]);
    } else {
        out.splice(room, header[..header_bytes].iter().copied());
    }
    header_bytes + payload_bytes
}

/// How many bytes the server frame at the front of `log` has, header included: to walk a buffer of
/// frames that we wrote.
///
/// # Panics
///
/// If `log` does not begin with a frame's header. Only for our own bytes.
#[must_use]
pub fn frame_bytes_at(log: &[u8]) -> usize {
    let length = |bytes: u64| usize::try_from(bytes).expect("we wrote it, so it fits in memory");
    match log[1] {
        LENGTH_16 => 4 + usize::from(u16::from_be_bytes([log[2], log[3]])),
        LENGTH_64 => {
            10 + length(u64::from_be_bytes(*log[2..].first_chunk().expect("a whole header")))
        }
        short => 2 + usize::from(short),
    }
}

/// Takes the server frame at the front of `frames` apart: its opcode, its payload, and what comes
/// behind it.
///
/// # Panics
///
/// If `frames` does not begin with a whole frame. Only for our own bytes.
#[must_use]
pub fn decode_server_frame(frames: &[u8]) -> (Opcode, &[u8], &[u8]) {
    let (frame, rest) = frames.split_at(frame_bytes_at(frames));
    let header_bytes = match frame[1] {
        LENGTH_16 => 4,
        LENGTH_64 => 10,
        _ => 2,
    };
    let opcode = Opcode::from_bits(frame[0] & OPCODE).expect("we wrote it");
    (opcode, &frame[header_bytes..], rest)
}

/// Appends a whole message as a client would have sent it in one frame, under a mask of zeros: for
/// what reached us in another way, or has lost its mask already.
pub fn push_client_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let (mut header, header_bytes) = encode_header(opcode, true, payload.len() as u64);
    header[1] |= MASKED;
    out.extend_from_slice(&header[..header_bytes]);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::SplitMix64;
    use crate::wire::ws::CloseCode;

    const MASK: [u8; 4] = [1, 2, 3, 4];

    #[track_caller]
    fn check(input: &[u8], expected: Result<Decoded, FrameError>) {
        assert_eq!(decode_header(input), expected);
        // A prefix is never an error the whole is not, and never yields a different header.
        for cut in 0..input.len() {
            match decode_header(&input[..cut]) {
                Ok(Decoded::Incomplete) => {}
                early => assert_eq!(early, expected, "decided at {cut} bytes"),
            }
        }
    }

    #[track_caller]
    fn check_header(input: &[u8], fin: bool, opcode: Opcode, payload_bytes: u64) {
        let header = Header {
            fin,
            opcode,
            payload_bytes,
            mask: MASK,
            header_bytes: u8::try_from(input.len()).unwrap(),
        };
        check(input, Ok(Decoded::Header(header)));
        let mut longer = input.to_vec();
        longer.extend([0xff; 20]);
        check(&longer, Ok(Decoded::Header(header)));
    }

    /// Refused, and already at `decided_at` bytes.
    #[track_caller]
    fn check_refused(input: &[u8], decided_at: usize, error: FrameError, code: CloseCode) {
        check(input, Err(error));
        assert_eq!(decode_header(&input[..decided_at]), Err(error));
        assert_eq!(decode_header(&input[..decided_at - 1]), Ok(Decoded::Incomplete));
        assert_eq!(error.close_code(), code);
    }

    #[test]
    fn headers_of_all_lengths_are_decoded() {
        check(b"", Ok(Decoded::Incomplete));
        check_header(&[0x81, 0x80, 1, 2, 3, 4], true, Opcode::Text, 0);
        check_header(&[0x02, 0xfd, 1, 2, 3, 4], false, Opcode::Binary, 125);
        check_header(&[0x80, 0xfe, 0, 126, 1, 2, 3, 4], true, Opcode::Continuation, 126);
        check_header(&[0x81, 0xfe, 0xff, 0xff, 1, 2, 3, 4], true, Opcode::Text, 65_535);
        check_header(&[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4], true, Opcode::Text, 65_536);
        check_header(&[0x89, 0xfd, 1, 2, 3, 4], true, Opcode::Ping, 125);
        check_header(&[0x8a, 0x80, 1, 2, 3, 4], true, Opcode::Pong, 0);
        check_header(&[0x88, 0x82, 1, 2, 3, 4], true, Opcode::Close, 2);
    }

    #[test]
    fn lengths_that_could_be_shorter_are_accepted() {
        check_header(&[0x81, 0xfe, 0, 5, 1, 2, 3, 4], true, Opcode::Text, 5);
        check_header(&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0, 5, 1, 2, 3, 4], true, Opcode::Text, 5);
    }

    #[test]
    fn hostile_headers_are_refused_at_the_first_byte_that_shows_it() {
        use FrameError::*;
        let table: &[(&[u8], usize, FrameError)] = &[
            (&[0xc1, 0x80, 1, 2, 3, 4], 1, ReservedBits),
            (&[0xa1, 0x80, 1, 2, 3, 4], 1, ReservedBits),
            (&[0x91, 0x80, 1, 2, 3, 4], 1, ReservedBits),
            (&[0x83, 0x80, 1, 2, 3, 4], 1, ReservedOpcode),
            (&[0x87, 0x80, 1, 2, 3, 4], 1, ReservedOpcode),
            (&[0x8b, 0x80, 1, 2, 3, 4], 1, ReservedOpcode),
            (&[0x8f, 0x80, 1, 2, 3, 4], 1, ReservedOpcode),
            (&[0x08, 0x80, 1, 2, 3, 4], 1, FragmentedControl),
            (&[0x09, 0x80, 1, 2, 3, 4], 1, FragmentedControl),
            (&[0x0a, 0x80, 1, 2, 3, 4], 1, FragmentedControl),
            (&[0x81, 0x00], 2, Unmasked),
            (&[0x81, 0x05, b'h', b'e', b'l', b'l', b'o'], 2, Unmasked),
            (&[0x88, 0x7e, 0, 126], 2, Unmasked),
            (&[0x88, 0xfe, 0, 126, 1, 2, 3, 4], 2, LongControl),
            (&[0x89, 0xfe, 0, 1, 1, 2, 3, 4], 2, LongControl),
            (&[0x8a, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4], 2, LongControl),
            (&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4], 3, LengthOverflow),
            (
                &[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4],
                3,
                LengthOverflow,
            ),
        ];
        for &(input, decided_at, error) in table {
            check_refused(input, decided_at, error, CloseCode::Protocol);
        }
    }

    /// A client's frame.
    fn client_frame(opcode: Opcode, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        push_frame(&mut frame, opcode, payload);
        let payload_at = frame.len() - payload.len();
        frame[1] |= MASKED;
        unmask(&mut frame[payload_at..], mask);
        frame.splice(payload_at..payload_at, mask);
        frame
    }

    #[test]
    fn frames_are_taken_one_by_one_and_only_when_whole() {
        let limits = Limits::default();
        for length in [0, 1, 5, 125, 126, 65_535, 65_536] {
            let payload = vec![7; length];
            let mut buf = client_frame(Opcode::Binary, MASK, &payload);
            let whole = buf.len();
            buf.extend_from_slice(b"\x81\x85next");
            for cut in [0, 1, 2, 5, whole.saturating_sub(8), whole - 1] {
                let before = buf.clone();
                assert_eq!(next_frame(&mut buf[..cut], &limits), Ok(None));
                assert!(buf == before, "an incomplete frame was changed");
            }
            let (header, span, consumed) = next_frame(&mut buf, &limits).unwrap().unwrap();
            assert_eq!((header.opcode, header.fin, consumed), (Opcode::Binary, true, whole));
            assert!(buf[span] == payload);
            assert_eq!(&buf[consumed..], b"\x81\x85next");
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_by_its_header() {
        let limits = Limits { frame_bytes: 1_000, ..Limits::default() };
        let mut fits = client_frame(Opcode::Text, MASK, &[b'a'; 1_000]);
        assert!(next_frame(&mut fits, &limits).unwrap().is_some());
        let mut too_big = client_frame(Opcode::Text, MASK, &[b'a'; 1_001]);
        let error = FrameError::FrameTooBig { payload_bytes: 1_001 };
        assert_eq!(next_frame(&mut too_big[..8], &limits), Err(error));
        assert_eq!(error.close_code(), CloseCode::TooBig);
    }

    #[test]
    fn the_largest_length_overflows_nothing() {
        let mut claim = [0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4];
        let unbounded = Limits { frame_bytes: usize::MAX, ..Limits::default() };
        assert_eq!(next_frame(&mut claim, &unbounded), Ok(None));
        let payload_bytes = u64::MAX >> 1;
        assert_eq!(
            next_frame(&mut claim, &Limits::default()),
            Err(FrameError::FrameTooBig { payload_bytes })
        );
    }

    #[test]
    fn unmasking_is_the_byte_by_byte_rule_of_the_rfc() {
        let mut rng = SplitMix64::new(1);
        for length in 0..70 {
            let masked: Vec<u8> = (0..length).map(|_| rng.next_u64().to_le_bytes()[0]).collect();
            let [mask @ .., _, _, _, _] = rng.next_u64().to_le_bytes();
            // RFC 6455, 5.3: octet i of the payload is XORed with octet i modulo 4 of the mask.
            let expected: Vec<u8> =
                masked.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]).collect();
            let mut payload = masked;
            unmask(&mut payload, mask);
            assert_eq!(payload, expected);
        }
    }

    #[test]
    fn headers_we_write_are_minimal() {
        let header = |payload_bytes| {
            let (header, bytes) = encode_header(Opcode::Text, true, payload_bytes);
            header[..bytes].to_vec()
        };
        assert_eq!(header(0), [0x81, 0]);
        assert_eq!(header(125), [0x81, 125]);
        assert_eq!(header(126), [0x81, 126, 0, 126]);
        assert_eq!(header(255), [0x81, 126, 0, 255]);
        assert_eq!(header(65_535), [0x81, 126, 0xff, 0xff]);
        assert_eq!(header(65_536), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(encode_header(Opcode::Binary, false, 1).0[..2], [0x02, 1]);
    }

    #[test]
    fn a_frame_of_unknown_length_comes_out_like_any_other() {
        let (mut patched, mut plain) = (b"before".to_vec(), b"before".to_vec());
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let payload = vec![b'p'; length];
            let start = begin_frame(&mut patched);
            patched.extend_from_slice(&payload);
            let frame_bytes = finish_frame(&mut patched, start, Opcode::Text);
            let at = plain.len();
            push_frame(&mut plain, Opcode::Text, &payload);
            assert!(patched == plain, "{length} bytes");
            assert_eq!(frame_bytes, plain.len() - at);
        }
    }

    #[test]
    fn a_log_of_our_frames_can_be_walked() {
        let mut log = Vec::new();
        let mut starts = Vec::new();
        for length in [0, 125, 126, 65_535, 65_536, 3] {
            starts.push(log.len());
            push_frame(&mut log, Opcode::Text, &vec![0; length]);
        }
        let mut at = 0;
        for start in starts {
            assert_eq!(at, start);
            at += frame_bytes_at(&log[at..]);
        }
        assert_eq!(at, log.len());
    }

    #[test]
    fn another_implementation_agrees_on_headers() {
        use tungstenite::protocol::frame::FrameHeader;
        let mut rng = SplitMix64::new(2);
        let mut accepted = 0;
        for _ in 0..200_000 {
            let mut bytes = [rng.next_u64(), rng.next_u64()].map(u64::to_le_bytes).concat();
            bytes[0] &= 0x8f; // Reserved bits are for its caller to check.
            bytes[2] &= 0x7f; // It takes lengths with the top bit set.
            let theirs = FrameHeader::parse(&mut std::io::Cursor::new(&bytes));
            match decode_header(&bytes) {
                Ok(Decoded::Header(ours)) => {
                    let (header, length) = theirs.unwrap().unwrap();
                    assert_eq!(
                        (header.is_final, header.mask, length),
                        (ours.fin, Some(ours.mask), ours.payload_bytes)
                    );
                    assert_eq!(u8::from(header.opcode), ours.opcode as u8);
                    accepted += 1;
                }
                Ok(Decoded::Incomplete) => panic!("16 bytes are enough for any header"),
                Err(FrameError::ReservedOpcode) => assert!(theirs.is_err()),
                Err(FrameError::Unmasked) => assert_eq!(theirs.unwrap().unwrap().0.mask, None),
                Err(FrameError::FragmentedControl | FrameError::LongControl) => {
                    assert!(u8::from(theirs.unwrap().unwrap().0.opcode) >= 8);
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!(accepted > 10_000, "{accepted} were headers");
    }
}

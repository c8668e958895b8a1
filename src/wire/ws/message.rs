//! Whole messages out of the frames of one connection (RFC 6455, 5.4).
//!
//! Invariants:
//!
//! 1. a message in one frame is passed on where it lies, without a copy;
//! 2. between messages an [`Assembler`] owns nothing: it is one null pointer;
//! 3. what it holds for an unfinished message is at most [`Limits::message_bytes`], in at most
//!    [`Limits::fragments`] fragments.
//!
//! Deliberately absent: answers. A ping is reported, the pong is the caller's. After an error, or a
//! close, the caller feeds no more.

use std::borrow::Cow;

use super::FrameError;
use super::close::parse_close;
use super::frame::{Header, Opcode};
use crate::limits::Limits;

/// What a frame completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A text message. Borrowed, unless it came in fragments.
    Text(Cow<'a, str>),
    /// A binary message. Borrowed, unless it came in fragments.
    Binary(Cow<'a, [u8]>),
    /// To be answered with a pong of this payload.
    Ping(&'a [u8]),
    /// A sign of life.
    Pong,
    /// The peer's last frame, with its status code, if any: to be answered with
    /// [`CloseCode::Normal`](super::CloseCode::Normal).
    Close(Option<u16>),
}

/// The data of a whole message. Text stays text: what was judged once is not judged again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data<'a> {
    /// Of a text message.
    Text(&'a str),
    /// Of a binary message.
    Binary(&'a [u8]),
}

impl<'a> Data<'a> {
    /// As a frame has it: the frame's opcode and its payload.
    #[must_use]
    pub fn as_frame(self) -> (Opcode, &'a [u8]) {
        match self {
            Self::Text(text) => (Opcode::Text, text.as_bytes()),
            Self::Binary(bytes) => (Opcode::Binary, bytes),
        }
    }
}

/// The messages of one connection: where it is in a fragmented one.
#[derive(Debug, Default)]
pub struct Assembler {
    partial: Option<Box<Partial>>,
}

/// A message of which fragments are missing.
#[derive(Debug)]
struct Partial {
    is_text: bool,
    fragments: u32,
    first_ms: u64,
    payload: Vec<u8>,
    /// How much of a text's payload is known to be UTF-8. The rest is the beginning of one
    /// character.
    utf8_bytes: usize,
}

impl Assembler {
    /// A connection on which nothing has come yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { partial: None }
    }

    /// Takes the next frame, with its payload unmasked, and returns what it completed; `None` when
    /// its message goes on.
    ///
    /// # Errors
    ///
    /// What is wrong with the frame where it stands, or with its message. The connection is to be
    /// closed then.
    pub fn accept<'a>(
        &mut self,
        header: &Header,
        payload: &'a [u8],
        now_ms: u64,
        limits: &Limits,
    ) -> Result<Option<Incoming<'a>>, FrameError> {
        match header.opcode {
            // RFC 6455, 5.4: control frames pass between the fragments of a message.
            // RFC 6455, 5.5.2 and 5.5.3: a ping is answered with its own payload.
            Opcode::Ping => Ok(Some(Incoming::Ping(payload))),
            Opcode::Pong => Ok(Some(Incoming::Pong)),
            Opcode::Close => Ok(Some(Incoming::Close(parse_close(payload)?))),
            // RFC 6455, 5.4: the fragments of two messages are not mixed.
            Opcode::Text | Opcode::Binary if self.partial.is_some() => {
                Err(FrameError::InterleavedMessage)
            }
            Opcode::Text | Opcode::Binary if payload.len() > limits.message_bytes => {
                Err(FrameError::MessageTooBig)
            }
            Opcode::Text if header.fin => Ok(Some(Incoming::Text(Cow::Borrowed(utf8(payload)?)))),
            Opcode::Binary if header.fin => Ok(Some(Incoming::Binary(Cow::Borrowed(payload)))),
            Opcode::Text | Opcode::Binary => {
                let mut partial = Box::new(Partial::new(header.opcode == Opcode::Text, now_ms));
                partial.append(payload)?;
                self.partial = Some(partial);
                Ok(None)
            }
            Opcode::Continuation => self.resume(header.fin, payload, limits),
        }
    }

    /// When the first fragment of an unfinished message came: from then on it has
    /// [`Limits::message_ms`], which is the caller's to enforce.
    #[must_use]
    pub fn first_fragment_ms(&self) -> Option<u64> {
        self.partial.as_ref().map(|partial| partial.first_ms)
    }

    /// What an unfinished message takes from the heap, in bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| size_of::<Partial>() + partial.payload.capacity())
    }

    fn resume<'a>(
        &mut self,
        fin: bool,
        payload: &[u8],
        limits: &Limits,
    ) -> Result<Option<Incoming<'a>>, FrameError> {
        let partial = self.partial.as_mut().ok_or(FrameError::UnexpectedContinuation)?;
        if partial.fragments >= limits.fragments {
            return Err(FrameError::TooManyFragments);
        }
        if payload.len() > limits.message_bytes.saturating_sub(partial.payload.len()) {
            return Err(FrameError::MessageTooBig);
        }
        partial.append(payload)?;
        if !fin {
            return Ok(None);
        }
        let whole = self.partial.take().map(|partial| partial.finish()).transpose()?;
        Ok(whole)
    }
}

impl Partial {
    const fn new(is_text: bool, first_ms: u64) -> Self {
        Self { is_text, fragments: 0, first_ms, payload: Vec::new(), utf8_bytes: 0 }
    }

    /// Appends a fragment. Text is checked as it comes, so that a peer is not served 64 KiB of
    /// patience for a bad first byte.
    fn append(&mut self, fragment: &[u8]) -> Result<(), FrameError> {
        self.fragments += 1;
        self.payload.extend_from_slice(fragment);
        if !self.is_text {
            return Ok(());
        }
        match simdutf8::compat::from_utf8(&self.payload[self.utf8_bytes..]) {
            Ok(_) => self.utf8_bytes = self.payload.len(),
            Err(error) if error.error_len().is_none() => self.utf8_bytes += error.valid_up_to(),
            Err(_) => return Err(FrameError::NotUtf8),
        }
        Ok(())
    }

    fn finish<'a>(self) -> Result<Incoming<'a>, FrameError> {
        if !self.is_text {
            return Ok(Incoming::Binary(Cow::Owned(self.payload)));
        }
        let text = String::from_utf8(self.payload).map_err(|_| FrameError::NotUtf8)?;
        Ok(Incoming::Text(Cow::Owned(text)))
    }
}

/// RFC 6455, 8.1: text that is not UTF-8 fails the connection.
fn utf8(payload: &[u8]) -> Result<&str, FrameError> {
    simdutf8::basic::from_utf8(payload).map_err(|_| FrameError::NotUtf8)
}

const _: () = assert!(size_of::<Assembler>() == size_of::<usize>());

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::SplitMix64;
    use crate::wire::ws::CloseCode;
    use crate::wire::ws::frame::{encode_header, next_frame, unmask};

    /// A connection that is fed frames at time 0.
    struct Peer {
        assembler: Assembler,
        limits: Limits,
    }

    impl Peer {
        fn new() -> Self {
            Self {
                assembler: Assembler::new(),
                limits: Limits { message_bytes: 1_000, ..Limits::default() },
            }
        }

        fn send<'a>(
            &mut self,
            opcode: Opcode,
            fin: bool,
            payload: &'a [u8],
        ) -> Result<Option<Incoming<'a>>, FrameError> {
            let header = Header {
                fin,
                opcode,
                payload_bytes: payload.len() as u64,
                mask: [0; 4],
                header_bytes: 6,
            };
            self.assembler.accept(&header, payload, 0, &self.limits)
        }
    }

    /// Sends a message in these fragments to a new connection and returns what the last one led to.
    fn fragments(opcode: Opcode, parts: &[&[u8]]) -> Result<Option<Incoming<'static>>, FrameError> {
        let mut peer = Peer::new();
        for (index, part) in parts.iter().enumerate() {
            let opcode = if index == 0 { opcode } else { Opcode::Continuation };
            let fin = index + 1 == parts.len();
            match peer.send(opcode, fin, part)? {
                None => assert!(!fin),
                Some(message) => {
                    assert!(fin);
                    assert_eq!(peer.assembler.heap_bytes(), 0, "nothing is kept between messages");
                    return Ok(Some(owned(message)));
                }
            }
        }
        Ok(None)
    }

    fn owned(message: Incoming<'_>) -> Incoming<'static> {
        match message {
            Incoming::Text(text) => Incoming::Text(Cow::Owned(text.into_owned())),
            Incoming::Binary(bytes) => Incoming::Binary(Cow::Owned(bytes.into_owned())),
            other => panic!("no message: {other:?}"),
        }
    }

    #[track_caller]
    fn check_closed<T: std::fmt::Debug>(
        result: Result<T, FrameError>,
        error: FrameError,
        code: CloseCode,
    ) {
        assert_eq!(result.unwrap_err(), error);
        assert_eq!(error.close_code(), code);
    }

    #[test]
    fn a_message_in_one_frame_is_not_copied() {
        let mut peer = Peer::new();
        let payload = *b"hello";
        let Some(Incoming::Text(Cow::Borrowed(text))) =
            peer.send(Opcode::Text, true, &payload).unwrap()
        else {
            panic!("not borrowed");
        };
        assert_eq!(text.as_ptr(), payload.as_ptr());
        let Some(Incoming::Binary(Cow::Borrowed(bytes))) =
            peer.send(Opcode::Binary, true, &payload).unwrap()
        else {
            panic!("not borrowed");
        };
        assert_eq!(bytes.as_ptr(), payload.as_ptr());
    }

    #[test]
    fn fragments_make_one_message() {
        let text = |text: &str| Ok(Some(Incoming::Text(Cow::Owned(text.to_owned()))));
        assert_eq!(fragments(Opcode::Text, &[b"a", b"b", b"c"]), text("abc"));
        assert_eq!(
            fragments(Opcode::Text, &[b"", b"b", b""]),
            text("b"),
            "empty first and last are fine"
        );
        assert_eq!(fragments(Opcode::Text, &[b"", b""]), text(""));
        let binary = Ok(Some(Incoming::Binary(Cow::Owned(vec![0xff, 0xfe]))));
        assert_eq!(fragments(Opcode::Binary, &[b"\xff", b"\xfe"]), binary);
    }

    #[test]
    fn control_frames_pass_between_fragments() {
        let mut peer = Peer::new();
        assert_eq!(peer.send(Opcode::Text, false, b"a"), Ok(None));
        assert_eq!(peer.send(Opcode::Ping, true, b"?"), Ok(Some(Incoming::Ping(b"?"))));
        assert_eq!(peer.send(Opcode::Pong, true, b"!"), Ok(Some(Incoming::Pong)));
        let whole = peer.send(Opcode::Continuation, true, b"b").unwrap();
        assert_eq!(whole, Some(Incoming::Text(Cow::Borrowed("ab"))));
        assert_eq!(
            peer.send(Opcode::Close, true, b"\x03\xe8"),
            Ok(Some(Incoming::Close(Some(1000))))
        );
        assert_eq!(peer.send(Opcode::Close, true, b""), Ok(Some(Incoming::Close(None))));
    }

    #[test]
    fn frames_out_of_place_break_the_protocol() {
        let mut peer = Peer::new();
        let stray = peer.send(Opcode::Continuation, true, b"x");
        check_closed(stray, FrameError::UnexpectedContinuation, CloseCode::Protocol);
        for opcode in [Opcode::Text, Opcode::Binary] {
            let mut peer = Peer::new();
            peer.send(Opcode::Text, false, b"a").unwrap();
            check_closed(
                peer.send(opcode, true, b"b"),
                FrameError::InterleavedMessage,
                CloseCode::Protocol,
            );
        }
        let mut peer = Peer::new();
        check_closed(
            peer.send(Opcode::Close, true, b"\x03"),
            FrameError::CloseTruncated,
            CloseCode::Protocol,
        );
    }

    #[test]
    fn empty_fragments_are_legal_and_count_as_any_other() {
        let together = Incoming::Text(Cow::Owned("ab".to_owned()));
        assert_eq!(fragments(Opcode::Text, &[b"a", b"", b"b"]), Ok(Some(together)));
        let flood = vec![&b""[..]; usize::try_from(Limits::default().fragments).unwrap() + 1];
        check_closed(
            fragments(Opcode::Text, &flood),
            FrameError::TooManyFragments,
            CloseCode::Policy,
        );
    }

    #[test]
    fn the_number_of_fragments_is_bounded() {
        let most = usize::try_from(Limits::default().fragments).unwrap();
        assert!(fragments(Opcode::Text, &vec![&b"x"[..]; most]).is_ok());
        let flood = fragments(Opcode::Text, &vec![&b"x"[..]; most + 1]);
        check_closed(flood, FrameError::TooManyFragments, CloseCode::Policy);
    }

    #[test]
    fn a_message_is_bounded_over_all_its_fragments() {
        assert!(fragments(Opcode::Binary, &[&[0; 1_000]]).is_ok());
        assert!(fragments(Opcode::Binary, &[&[0; 600], &[0; 400]]).is_ok());
        for parts in [
            &[&[0; 1_001][..]][..],
            &[&[0; 1_001], &[]],
            &[&[0; 600], &[0; 401]],
            &[&[0; 600], &[0; 401], &[]],
        ] {
            check_closed(
                fragments(Opcode::Binary, parts),
                FrameError::MessageTooBig,
                CloseCode::TooBig,
            );
        }
    }

    #[test]
    fn text_must_be_utf8_wherever_it_is_cut() {
        let good = "a\u{e9}\u{20ac}\u{1f600}".as_bytes();
        let bad: [&[u8]; 7] = [
            b"\xff",
            b"\x80",
            b"\xc0\x80",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\xc3",
            b"\xe2\x82",
        ];
        for end in 1..good.len() {
            for cut in 1..=end {
                let parts = [&good[..cut], &good[cut..end], &good[end..]];
                let parts = if cut == end { vec![parts[0], parts[2]] } else { parts.to_vec() };
                assert!(fragments(Opcode::Text, &parts).is_ok(), "cut at {cut} and {end}");
            }
        }
        for bad in bad.map(|bad| [good, bad].concat()) {
            check_closed(fragments(Opcode::Text, &[&bad]), FrameError::NotUtf8, CloseCode::NotUtf8);
            for cut in 0..=bad.len() {
                let cut = fragments(Opcode::Text, &[&bad[..cut], &bad[cut..]]);
                check_closed(cut, FrameError::NotUtf8, CloseCode::NotUtf8);
            }
        }
    }

    #[test]
    fn bad_text_is_refused_in_the_fragment_that_shows_it() {
        let mut peer = Peer::new();
        peer.send(Opcode::Text, false, b"a\xe2").unwrap();
        let early = peer.send(Opcode::Continuation, false, b"x");
        check_closed(early, FrameError::NotUtf8, CloseCode::NotUtf8);
    }

    #[test]
    fn a_fragmented_message_has_a_time_that_no_fragment_extends() {
        let mut peer = Peer::new();
        assert_eq!(peer.assembler.first_fragment_ms(), None);
        for (now_ms, opcode) in [(5, Opcode::Text), (20_000, Opcode::Continuation)] {
            let header =
                Header { fin: false, opcode, payload_bytes: 1, mask: [0; 4], header_bytes: 6 };
            peer.assembler.accept(&header, b"x", now_ms, &peer.limits).unwrap();
            assert_eq!(peer.assembler.first_fragment_ms(), Some(5));
        }
        peer.send(Opcode::Continuation, true, b"").unwrap();
        assert_eq!(peer.assembler.first_fragment_ms(), None);
    }

    /// Feeds a connection's bytes in pieces of these lengths, and then the rest, and writes down
    /// what came of it.
    fn feed(
        stream: &[u8],
        pieces: impl Iterator<Item = usize>,
    ) -> (Vec<String>, Option<FrameError>) {
        let limits = Limits { frame_bytes: 400, message_bytes: 600, ..Limits::default() };
        let mut assembler = Assembler::new();
        let (mut waiting, mut told, mut rest) = (Vec::new(), Vec::new(), stream);
        for length in pieces.chain([usize::MAX]) {
            let (piece, after) = rest.split_at(length.min(rest.len()));
            waiting.extend_from_slice(piece);
            rest = after;
            loop {
                let (header, payload, taken) = match next_frame(&mut waiting, &limits) {
                    Ok(Some(frame)) => frame,
                    Ok(None) => break,
                    Err(error) => return (told, Some(error)),
                };
                match assembler.accept(&header, &waiting[payload], 0, &limits) {
                    Ok(Some(incoming)) => told.push(format!("{incoming:?}")),
                    Ok(None) => told.push("a fragment".to_owned()),
                    Err(error) => return (told, Some(error)),
                }
                waiting.drain(..taken);
            }
            if rest.is_empty() {
                break;
            }
        }
        (told, None)
    }

    /// A client's frames: mostly good ones, now and then a byte that is not.
    fn random_stream(rng: &mut SplitMix64) -> Vec<u8> {
        let mut stream = Vec::new();
        for _ in 0..=rng.below(8) {
            let payload =
                "a\u{e9}\u{20ac}".repeat(usize::try_from(rng.below(8) * rng.below(8)).unwrap());
            let first =
                [0x81, 0x82, 0x01, 0x00, 0x80, 0x89, 0x8a][usize::try_from(rng.below(7)).unwrap()];
            let (header, header_bytes) = encode_header(Opcode::Text, true, payload.len() as u64);
            let [mask @ .., _, _, _, _] = rng.next_u64().to_le_bytes();
            stream.extend([first, header[1] | 0x80]);
            stream.extend_from_slice(&header[2..header_bytes]);
            stream.extend_from_slice(&mask);
            let payload_at = stream.len();
            stream.extend_from_slice(payload.as_bytes());
            unmask(&mut stream[payload_at..], mask);
        }
        if rng.below(3) == 0 {
            let at = usize::try_from(rng.below(stream.len() as u64)).unwrap();
            stream[at] ^= 1 << rng.below(8);
        }
        stream
    }

    #[test]
    fn a_stream_means_the_same_wherever_it_is_cut() {
        let mut rng = SplitMix64::new(4);
        let (mut failed, mut passed) = (0, 0);
        for _ in 0..3_000 {
            let stream = random_stream(&mut rng);
            let whole = feed(&stream, std::iter::empty());
            assert_eq!(feed(&stream, std::iter::repeat_n(1, stream.len())), whole);
            let pieces = std::iter::repeat_with(|| usize::try_from(rng.below(30)).unwrap())
                .take(stream.len());
            assert_eq!(feed(&stream, pieces), whole);
            if whole.1.is_some() { failed += 1 } else { passed += 1 }
        }
        assert!(
            failed > 300 && passed > 300,
            "{failed} failed, {passed} passed: one side is hardly tested"
        );
    }
}

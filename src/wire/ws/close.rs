//! Why a WebSocket connection ends: status codes and close frames (RFC 6455, 5.5.1 and 7.4).

use super::FrameError;
use super::frame::{self, Opcode};
use crate::limits::CONTROL_PAYLOAD_BYTES_MAX;

/// A status that this server closes connections with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum CloseCode {
    /// The answer to the client's own close, whatever its code was.
    Normal = 1000,
    /// The server ends this connection for good reason of its own.
    GoingAway = 1001,
    /// The client broke the protocol. Also said to one that was silent for too long, as Phoenix
    /// does.
    Protocol = 1002,
    /// Text that is not UTF-8.
    NotUtf8 = 1007,
    /// Legal, and not welcome: floods of fragments.
    Policy = 1008,
    /// A frame or message over its limit.
    TooBig = 1009,
    /// No message of the application's protocol, or a failure in here.
    Internal = 1011,
    /// The server is stopping; come back.
    Restart = 1012,
    /// The client does not read what it is sent.
    TryLater = 1013,
    /// The token that opened the connection has expired.
    TokenExpired = 4001,
}

impl CloseCode {
    /// The number on the wire.
    #[must_use]
    pub const fn as_u16(self) -> u16 {
        self as u16
    }
}

/// The status code in the payload of a client's close frame; `None` if it names none (RFC 6455:
/// "1005"). Any answer that is not an error is answered with [`CloseCode::Normal`].
///
/// Valid are 1000 to 1003, 1007 to 1011 and 3000 to 4999. Phoenix also takes 5000 and above; RFC
/// 6455, 7.4.2 ends the range that applications may use at 4999, and the stricter of the two holds
/// here.
///
/// # Errors
///
/// Half a code, a code that must not be sent, or a reason that is not UTF-8.
pub fn parse_close(payload: &[u8]) -> Result<Option<u16>, FrameError> {
    // RFC 6455, 5.5.1: nothing, or two bytes of a code and a reason in UTF-8.
    let Some((&code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(None) } else { Err(FrameError::CloseTruncated) };
    };
    let code = u16::from_be_bytes(code);
    // RFC 6455, 7.4.1 and 7.4.2: the others are reserved, or never sent.
    if !matches!(code, 1000..=1003 | 1007..=1011 | 3000..=4999) {
        return Err(FrameError::CloseCodeInvalid { code });
    }
    simdutf8::basic::from_utf8(reason).map_err(|_| FrameError::CloseReasonNotUtf8)?;
    Ok(Some(code))
}

/// Appends a close frame. A reason too long for a control frame is cut between two characters.
pub fn push_close(out: &mut Vec<u8>, code: CloseCode, reason: &str) {
    let start = frame::begin_frame(out);
    out.extend_from_slice(&code.as_u16().to_be_bytes());
    let fits = reason.floor_char_boundary(CONTROL_PAYLOAD_BYTES_MAX - size_of::<u16>());
    out.extend_from_slice(&reason.as_bytes()[..fits]);
    frame::finish_frame(out, start, Opcode::Close);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: u16, reason: &[u8], expected: Result<Option<u16>, FrameError>) {
        assert_eq!(parse_close(&[&code.to_be_bytes(), reason].concat()), expected, "{code}");
    }

    #[test]
    fn codes_that_a_peer_may_send_are_taken() {
        assert_eq!(parse_close(b""), Ok(None));
        for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
            check(code, b"", Ok(Some(code)));
            check(code, "tsch\u{fc}ss".as_bytes(), Ok(Some(code)));
        }
    }

    #[test]
    fn codes_that_must_not_be_sent_break_the_protocol() {
        for code in [
            0,
            1,
            999,
            1004,
            1005,
            1006,
            1012,
            1013,
            1014,
            1015,
            1016,
            1100,
            2000,
            2999,
            5000,
            u16::MAX,
        ] {
            let refused = FrameError::CloseCodeInvalid { code };
            check(code, b"", Err(refused));
            assert_eq!(refused.close_code(), CloseCode::Protocol);
        }
    }

    #[test]
    fn half_a_code_and_a_reason_that_is_not_utf8_break_the_protocol() {
        assert_eq!(parse_close(&[3]), Err(FrameError::CloseTruncated));
        assert_eq!(FrameError::CloseTruncated.close_code(), CloseCode::Protocol);
        for reason in [&b"\xff"[..], b"\xc3", b"ok\xed\xa0\x80"] {
            check(1000, reason, Err(FrameError::CloseReasonNotUtf8));
        }
        assert_eq!(FrameError::CloseReasonNotUtf8.close_code(), CloseCode::Protocol);
    }

    #[test]
    fn a_close_frame_is_as_phoenix_sends_it() {
        let mut out = Vec::new();
        push_close(&mut out, CloseCode::Restart, "");
        assert_eq!(out, [0x88, 0x02, 0x03, 0xf4]);
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let mut out = Vec::new();
        push_close(&mut out, CloseCode::TokenExpired, &"\u{e9}".repeat(100));
        assert_eq!(out[..4], [0x88, 124, 0x0f, 0xa1]);
        assert_eq!(std::str::from_utf8(&out[4..]), Ok(&*"\u{e9}".repeat(61)));
    }
}

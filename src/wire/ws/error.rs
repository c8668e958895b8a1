//! What a peer can do wrong in frames and messages, and what it is told.

use super::CloseCode;

/// Why a client's bytes are not frames or messages we accept. Each variant is the *peer's* doing:
/// none may panic, none is logged above `debug`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A reserved bit is set though no extension was agreed on (RFC 6455, 5.2).
    ReservedBits,
    /// An opcode without a meaning (RFC 6455, 5.2).
    ReservedOpcode,
    /// A control frame that is not final (RFC 6455, 5.5).
    FragmentedControl,
    /// A control frame with more than
    /// [`CONTROL_PAYLOAD_BYTES_MAX`](crate::limits::CONTROL_PAYLOAD_BYTES_MAX) (RFC 6455, 5.5).
    LongControl,
    /// A client frame without a mask (RFC 6455, 5.1: the server MUST close).
    Unmasked,
    /// A 64-bit length with its top bit set (RFC 6455, 5.2: it MUST be 0).
    LengthOverflow,
    /// More payload was announced than [`Limits::frame_bytes`](crate::limits::Limits::frame_bytes).
    FrameTooBig {
        /// What the header announced, in bytes.
        payload_bytes: u64,
    },
    /// The message, with all its fragments so far, is over
    /// [`Limits::message_bytes`](crate::limits::Limits::message_bytes).
    MessageTooBig,
    /// A continuation of nothing (RFC 6455, 5.4).
    UnexpectedContinuation,
    /// A new message inside a fragmented one (RFC 6455, 5.4).
    InterleavedMessage,
    /// More than [`Limits::fragments`](crate::limits::Limits::fragments) in one message.
    TooManyFragments,
    /// A text message that is not UTF-8 (RFC 6455, 8.1).
    NotUtf8,
    /// A close frame with half a status code (RFC 6455, 5.5.1).
    CloseTruncated,
    /// A close frame with a code that must not be sent (RFC 6455, 7.4).
    CloseCodeInvalid {
        /// What the peer sent.
        code: u16,
    },
    /// A close reason that is not UTF-8 (RFC 6455, 5.5.1). 1002 and not 1007, as Phoenix answers.
    CloseReasonNotUtf8,
}

impl FrameError {
    /// The status to close the connection with: total, so a new variant does not compile until it
    /// has one.
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::ReservedBits
            | Self::ReservedOpcode
            | Self::FragmentedControl
            | Self::LongControl
            | Self::Unmasked
            | Self::LengthOverflow
            | Self::UnexpectedContinuation
            | Self::InterleavedMessage
            | Self::CloseTruncated
            | Self::CloseCodeInvalid { .. }
            | Self::CloseReasonNotUtf8 => CloseCode::Protocol,
            Self::NotUtf8 => CloseCode::NotUtf8,
            Self::TooManyFragments => CloseCode::Policy,
            Self::FrameTooBig { .. } | Self::MessageTooBig => CloseCode::TooBig,
        }
    }
}

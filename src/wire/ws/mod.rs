//! WebSocket (RFC 6455) as pure functions over bytes, for a server.
//!
//! | from a connection's bytes | to its messages |
//! |---|---|
//! | [`frame`] | one frame: header, unmasked payload; and frames to send |
//! | [`message`] | whole messages out of frames, with the rules of fragments and UTF-8 |
//! | [`close`] | why a connection ends |
//!
//! Deliberately absent: reading and writing, and anything that happens after a close. Extensions
//! are not negotiated, so a reserved bit is an error.

pub mod close;
mod error;
pub mod frame;
pub mod message;

pub use close::CloseCode;
pub use error::FrameError;

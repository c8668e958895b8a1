//! HTTP/1.1 as pure functions over bytes, as far as a chat server needs it (RFC 9110 and 9112).
//!
//! | file | |
//! |---|---|
//! | [`head`] | the head of a request: parsed, and refused where two parsers could read it differently |
//! | [`body`] | where the body behind it ends, and what is in it |
//! | [`query`] | parameters in a request's target |
//! | [`origin`] | which web pages may connect |
//! | [`cors`] | which web pages may read an answer |
//! | [`forwarded`] | whose a request is that a trusted proxy passes on |
//! | [`upgrade`] | the opening handshake of a WebSocket (RFC 6455, 4.2) |
//! | [`response`] | answers |
//! | [`date`] | the `date` header |
//!
//! What of the RFCs is obeyed, and what is not, stands in `docs/conformance.md`.
//!
//! Deliberately absent: ranges, codings of content, and whatever only a proxy has to do.

pub mod body;
pub mod cors;
pub mod date;
mod error;
pub mod forwarded;
pub mod head;
pub mod origin;
pub mod query;
pub mod response;
pub mod upgrade;

pub use body::parse_body;
pub use error::HttpError;
pub use head::{Head, parse_head};
pub use response::{Response, Status};

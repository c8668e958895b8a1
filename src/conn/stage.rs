//! What a connection speaks.
//!
//! ```text
//!   None ── accepted ──> Http ── upgrade ──> Unsettled ── join ──> Settled
//!   None ── taken over ──> Settled
//!   Unsettled ── join elsewhere ──> None
//!   Http ── question ──> Waiting ── answer, restarted ──> Http
//!   Http ── echo upgrade ──> Echo
//!
//!   Http ── last request, drain, heartbeat, join, join elsewhere, close frame ──> Closing
//!   Http ── deadline ──> None
//!   Unsettled, Settled, Echo ── close frame, deadline, drain ──> Closing ── deadline ──> None
//!   Unsettled, Settled, Echo ── request, last request, question, upgrade, echo upgrade ──> Closing
//!   Http, Waiting, Unsettled, Settled, Echo, Closing ── ended, hung up ──> None
//! ```
//!
//! `None` is no connection, or one of another shard. `Closing` is a flag beside what it spoke
//! ([`Flags::is_closing`](super::Flags::is_closing)). A session of long polling is `Settled` from
//! the beginning. `shard/machines/connection.rs` holds the drawing, and has the events.

/// What a connection speaks, in a dense array by its index. That of a free slot means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// HTTP, and no request under way.
    Http,
    /// A request of this kind waits for another shard.
    Waiting,
    /// WebSocket, and nothing was joined yet: with its first join it may go to another shard.
    Unsettled,
    /// WebSocket, or a session of long polling, and it stays on this shard: it has been handed off,
    /// may not be, or has asked to join.
    Settled,
    /// WebSocket, and every message comes back: for conformance tests of the codec.
    Echo,
}

const _: () = assert!(size_of::<Stage>() == 1);

impl Stage {
    /// Whether it has come past HTTP, and is told with a close frame when it is closed.
    pub(crate) const fn is_open(self) -> bool {
        matches!(self, Self::Unsettled | Self::Settled | Self::Echo)
    }
}

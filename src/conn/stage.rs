//! What a connection speaks.
//!
//! ```text
//!   Http ──> Unsettled ──> Settled        the upgrade; the first join, or a hand-off
//!    │ ^──> Waiting                       a request that another shard answers
//!    └────> Echo                          where the operator has switched that on
//! ```
//!
//! A session of long polling is `Settled` from the beginning.

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

//! One connection to Redis or Valkey, for one life of it: commands go out, answers and what is
//! heard come in as events. Whoever has it knows no protocol, and makes another one when it has
//! ended. With a cluster it is a wire to each primary, and all of them are one connection.
//!
//! ```text
//!            address, sentinel, cluster ── where?
//!            connect ── fit ──> Connection
//!   Command ── slots ──> write ── RESP3 ──> primaries
//!   Event   <── life <── read <────────────┘        in the order of each wire
//! ```
//!
//! Invariants:
//!
//! 1. commands reach each primary in the order in which they were sent;
//! 2. answers and pushes of a primary are told in the order in which it has said them, so that
//!    whoever reads a room may leave out what it heard before the answer;
//! 3. each command is answered once, before [`Event::Ended`]; nothing comes after that;
//! 4. nothing that the engine says is a panic: what is not understood ends the connection. What
//!    others say on channels of rooms does not;
//! 5. what has come and nobody has taken is bounded: past that the connection ends.
//!
//! Where the engine is may be a matter of sentinels, or of a cluster: they are asked before each
//! connection, and beside it, since an old primary may still answer when another one has taken its
//! place.
//!
//! Deliberately absent: deadlines, but for one primary among others; and when to connect again.
//!
//! Called by: whoever runs the engine's thread.

mod address;
#[cfg(feature = "archive-postgres")]
mod archiving;
mod cluster;
mod connect;
mod events;
mod fit;
mod keys;
mod library;
mod life;
mod news;
#[cfg(feature = "store")]
mod place;
mod read;
mod sentinel;
mod slots;
mod write;

#[cfg(feature = "archive-postgres")]
pub(in crate::side) use archiving::{Archivist, Entry, Known, Part};
pub use connect::{ConnectError, Connector};
pub use events::{Events, Teller, events};
pub use fit::Facts;
pub use library::Library;
pub use life::Connection;
#[cfg(feature = "store")]
pub(super) use place::{Mover, Whole};

use super::command::{Failure, Pushed, Reply};

/// What the engine says if it has no function of that name.
const NO_FUNCTION: &str = "Function not found";

/// Which engine is meant, and how rooms are kept there.
#[derive(Clone, Debug)]
pub struct Target {
    /// `redis://`, `redis+cluster://`, or `redis+sentinel://` with the name of a service; `rediss`
    /// for TLS. User and password, if they are asked for.
    pub url: Box<str>,
    /// What all names there begin with; without braces.
    pub prefix: Box<str>,
    /// Over how many slots rooms are spread: the same on all nodes, and for ever.
    pub partitions: u16,
    /// This node.
    pub node: u64,
    /// What all nodes sign by that have no key of their own, if this is the first one.
    pub made_secret: [u8; 32],
    /// How long connecting may take, in milliseconds, and asking sentinels before it.
    pub timeout_ms: u64,
    /// How often sentinels, or primaries of a cluster, are asked beside a connection, in
    /// milliseconds.
    pub ping_ms: u64,
    /// After how long without a sign one of several primaries is given up, in milliseconds.
    pub dead_ms: u64,
    /// How many messages of a room are kept.
    pub history: u32,
    /// For how long they are kept after the last one, in seconds.
    pub history_s: u32,
    /// For how long a room that was not founded is known after the last entry, in seconds.
    pub room_s: u32,
    /// For how long keys of messages are known after the last one, in seconds.
    pub key_s: u32,
    /// How many lines of a room's audit trail are kept, or a few more.
    pub audit_lines: u32,
    /// For how many messages of a room, more than `history`, an archive is waited for; 0 if there
    /// is none.
    pub archive_slack: u32,
}

impl Target {
    /// How many messages of a room there may be to be read.
    fn history_at_most(&self) -> u32 {
        self.history.saturating_add(self.archive_slack)
    }
}

/// What comes from a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A command is answered.
    Answered {
        /// As it was sent with.
        number: u64,
        /// The answer.
        result: Result<Reply, Failure>,
    },
    /// Something was heard.
    Pushed(Pushed),
    /// The connection has ended.
    Ended {
        /// Why, for a log.
        why: Box<str>,
        /// What has ended it.
        cause: Cause,
    },
}

/// What ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The engine, or the way there.
    Closed,
    /// Too much has come that nobody has taken.
    Overflown,
    /// Something else.
    Other,
}

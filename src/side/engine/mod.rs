//! Rooms over an engine that several nodes share: Redis or Valkey.
//!
//! ```text
//!   shards ── ring: ToEngine ──────> "engine" ── one connection ──> Redis, Valkey
//!          <─ ring: FromEngine ─────    │    <── answers, pushes ──
//!                                       │
//!            thread ── follower ── redis: Command, Reply, Pushed
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `log` | a shard's end of the rings: the log of its rooms |
//! | `thread` | the other end, with the connection |
//! | `again` | when it connects again |
//! | `follower` | the rooms that are followed: decides what is asked and told |
//! | `command` | what is asked, answered and pushed, as values |
//! | `partition` | over which slots rooms are spread |
//! | `record` | what nodes read of each other: layout, checksum, purpose, origin |
//! | `written` | what is inside of that, and for which place it is written |
//! | `older` | what is asked of an archive |
//! | `retention` | what a room lets go of |
//! | `moving` | rooms of a store are placed in the engine |
//! | `view` | what there is of a room, as its home is told |
//!
//! Deliberately absent: what a room is, who may read it, and when a message is answered.

mod again;
pub mod command;
mod follower;
mod log;
#[cfg(feature = "store")]
mod moving;
#[cfg_attr(
    not(feature = "archive-postgres"),
    expect(dead_code, reason = "only an archive answers")
)]
pub mod older;
pub mod partition;
#[cfg(test)]
mod pretended;
mod record;
pub mod redis;
pub(in crate::side) mod retention;
mod stats;
mod thread;
mod view;
pub(super) mod written;

#[cfg(test)]
pub(crate) use follower::planted;
pub use log::EngineLog;
#[cfg(feature = "store")]
pub use moving::{Moved, Moving, MovingError};
#[cfg(test)]
pub(crate) use pretended::{Holding, Pretended, PretendedEngine, PretendedNode, Push};
pub use redis::Target;
pub use stats::EngineStats;
pub use thread::{Ack, Engine, Start, StartError};
pub use view::TailBounds;

//! Threads that may block, beside the shards: what waits for a disk or for another machine lives
//! here, and meets the shards through rings only.
//!
//! ```text
//!   shard ── ToStore ──> store ── SQLite
//!         <─ FromStore ──┘
//! ```
//!
//! Deliberately absent: rooms and connections. What is here knows records, and no shard.

#[cfg(feature = "engine-redis")]
pub mod engine;
#[cfg(feature = "store")]
pub mod store;

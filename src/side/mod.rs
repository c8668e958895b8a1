//! Threads that may block, beside the shards: what waits for a disk or for another machine lives
//! here, and meets the shards through rings only.
//!
//! ```text
//!   shard ── ToStore ──> store ── SQLite
//!         <─ FromStore ──┘
//!         ── ToEngine ─> engine ── Redis, Valkey
//!         <─ FromEngine ─┘      └── questions ──> archive ── PostgreSQL
//! ```
//!
//! Deliberately absent: rooms and connections. What is here knows records, and no shard.

#[cfg(feature = "archive-postgres")]
pub mod archive;
#[cfg(feature = "engine-redis")]
pub mod engine;
#[cfg(any(feature = "engine-redis", feature = "store"))]
mod histogram;
#[cfg(feature = "store")]
pub mod store;

use std::sync::Arc;
use std::thread;

/// Does what is to be done when the thread that has it panics.
struct Panics(Arc<dyn Fn() + Send + Sync>);

impl Drop for Panics {
    fn drop(&mut self) {
        if thread::panicking() {
            (self.0)();
        }
    }
}

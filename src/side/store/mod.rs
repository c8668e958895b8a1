//! What was said stays: rooms in SQLite.
//!
//! ```text
//!   command line ── socket ──> "store-socket" ─┐ Request
//!   the clock ───────────────> "store-backup" ─┤
//!                                              v
//!   shards ── ring: ToStore ────────> "store-writer" ── batches, checkpoints, copies ──> chat.db
//!    ^  ^                              │           │                                        │
//!    │  └─ ring: Kept, LetGo, ... ─────┤           └─ which rooms ──> "store-indexer" <rows─┤
//!    │                                 │ ring: Load                      │ words            │
//!    │                                 v                                 v                  │
//!    └─ ring: Opened, Read, ... ── "store-reader-0" ... <── ids ───── search.db             │
//!                                      ^                                                    │
//!                                      └─────────────────────── rows ───────────────────────┘
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `log` | a shard's end of the rings |
//! | `threads` | the other ends: starting and stopping, the writer's turn and upkeep, readers |
//! | `disk` | the folder: made, locked, opened; lives |
//! | `writer` | the connection that writes, its log and checkpoints |
//! | `batch`, `transaction`, `pace` | what goes into a commit, what that is, and when it is made |
//! | `open_rooms`, `statements`, `audit` | rooms that shards have open; what is written of a room, and of what was done to it |
//! | `reader`, `keys` | a connection that reads: rooms, pages, recoveries; the keys that messages were given |
//! | `views` | pages of some messages |
//! | `gate` | who reads, so that nobody does for a moment |
//! | `told`, `replies`, `epochs` | what is told with a message: how often it was answered, and in which epoch it was said |
//! | `row`, `schema` | the form of a row; what is in the file, and its migrations |
//! | `faults`, `error`, `probe`, `place`, `space` | what a failure means; whose it is; whether it is damage; whether the files are still there; what is free |
//! | `removed` | what was taken away, for a backup that still has it |
//! | `retention` | lets go of what is old |
//! | `copy`, `socket`, `backups` | makes a copy; is asked for one; makes them by the clock |
//! | `index` | words: the indexer, and a reader's way in |
//! | `stats` | counts |
//! | `tools` | the commands: backup, restore, export, import, check |
//!
//! Invariants:
//!
//! 1. one process, and in it one connection, writes the file and checkpoints it;
//! 2. what `Writer::write` has returned for is on disk;
//! 3. a message's id is its room's id and its offset, given once: a row is never overwritten by
//!    another message;
//! 4. a row that does not fit its checksum is never served.
//!
//! Deliberately absent: what a room is, who may read it, and when a message is answered.

mod audit;
mod backups;
mod batch;
mod copy;
mod disk;
mod epochs;
mod error;
mod faults;
mod gate;
mod index;
mod keys;
mod log;
mod open_rooms;
mod pace;
mod place;
mod probe;
mod reader;
mod removed;
mod replies;
mod retention;
mod row;
mod schema;
mod socket;
mod space;
mod statements;
mod stats;
#[cfg(test)]
mod tests;
mod threads;
mod told;
pub mod tools;
mod transaction;
mod views;
mod writer;

#[cfg(test)]
pub(crate) use tests::{Folder, Kept};

pub use backups::Backups;
pub use disk::Options;
pub use error::{Cause, StoreError};
pub use log::{Promise, StoreLog};
pub use reader::TailBounds;
pub use stats::StoreStats;
pub use threads::{Start, Store};

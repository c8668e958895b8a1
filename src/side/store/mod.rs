//! What was said stays: rooms in SQLite.
//!
//! ```text
//!   shard ── log ── ToStore ──> threads ──┬── Writer ──┐   one connection that writes: batches,
//!             <──── FromStore ──┘         │            │   eras, checkpoints
//!                                         └── Reader ──┴── Disk: folder, lock, schema
//! ```
//!
//! `log` is a shard's end, `threads` is the other; `disk` opens the folder, `schema` is what is in
//! the file, `writer` and `reader` are its two ways in, `batch` is what goes into a commit, which
//! is a `transaction`, `pace` says when that is written, `faults` decides what a failure means,
//! `probe` whether it is damage, `place` whether the files are still there, `retention` lets go of
//! what is old, `row` is the form of a message. `copy` makes a backup, which `socket` is asked for
//! and `backups` makes by the clock; `index` knows words, `stats` counts, `tools` are those of the
//! command line.
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

mod backups;
mod batch;
mod copy;
mod disk;
mod error;
mod faults;
mod index;
mod log;
mod pace;
mod place;
mod probe;
mod reader;
mod retention;
mod row;
mod schema;
mod socket;
mod space;
mod stats;
#[cfg(test)]
mod tests;
mod threads;
#[cfg(test)]
mod threads_tests;
pub mod tools;
mod transaction;
mod writer;

#[cfg(test)]
pub(crate) use tests::{Folder, Kept};

pub use backups::Backups;
pub use disk::Options;
pub use error::{Cause, StoreError};
pub use log::{Promise, StoreLog};
pub use reader::TailBounds;
pub use retention::Keep;
pub use stats::StoreStats;
pub use threads::{Start, Store};

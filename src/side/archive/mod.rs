//! Long history: what an engine lets go of stays in PostgreSQL.
//!
//! ```text
//!   engine's thread ── Question ──> "archive" ── readers ──> PostgreSQL
//!                  <── Reply ──────     │                       ^
//!                                       └── writer, of one node ┘ <── streams ── Redis, Valkey
//! ```
//!
//! One node of all writes what rooms have in the engine, behind them: nobody who says something
//! waits for it. The engine keeps what is not written yet, within a bound. Each node reads.
//!
//! | file | what it is |
//! |---|---|
//! | `thread` | starting and stopping |
//! | `writer` | its turns: of which node it is, and what is written next |
//! | `readers` | questions are answered |
//! | `plan` | what is to be written of a room, by where it stands in both |
//! | `writing` | one transaction of it |
//! | `reading` | what is found for a question |
//! | `database` | a connection, and whether it is fit |
//! | `schema` | the tables, and their migrations |
//! | `stats` | counts |
//!
//! Invariants:
//!
//! 1. a row never goes back: a message has the greatest change that was written of it, but for
//!    those that a turn of its room has taken away;
//! 2. a room's row, its messages and its epochs are one transaction, which a writer begins anew
//!    that finds the room elsewhere than it has read it;
//! 3. of a deleted message nothing is left that was said, in any table;
//! 4. nothing here holds up the engine's thread or a shard.
//!
//! Deliberately absent: who may read, and what members are told.

mod database;
mod plan;
mod readers;
mod reading;
mod schema;
mod stats;
mod thread;
mod writer;
mod writing;

pub use stats::ArchiveStats;
pub use thread::{Archive, Start, StartError};

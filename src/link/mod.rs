//! What the parts of a server say to each other, and what all of them may use. **Nothing here
//! decides anything.**
//!
//! ```text
//!   member ── ToHome ──> room ── ToMember ──> audience     a call within a shard,
//!   poller ── ToSession ──> session ── FromSession ──> poller    a record between two
//! ```
//!
//! `ids` names things, `record` is what is said, `outbox` the way there, `log` the port to what
//! keeps the entries of rooms, `store` what shards and the threads for storage say to each other;
//! `message` is the one JSON of a message that live frames, pages and
//! stores share.

pub(crate) mod ask;
pub mod audit;
pub mod facts;
pub mod ids;
pub mod io;
pub mod log;
pub(crate) mod message;
pub mod metrics;
pub(crate) mod outbox;
pub(crate) mod pressure;
pub mod rates;
pub(crate) mod reacted;
pub(crate) mod record;
pub(crate) mod refusal;
pub mod said;
pub mod settings;
#[cfg(feature = "store")]
pub(crate) mod store;
pub mod topic;

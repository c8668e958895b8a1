//! What the parts of a server say to each other, and what all of them may use. **Nothing here
//! decides anything.**
//!
//! ```text
//!   member ── ToHome ──> room ── ToMember ──> audience     a call within a shard,
//!   poller ── ToSession ──> session ── FromSession ──> poller    a record between two
//! ```
//!
//! | module | what it has |
//! |---|---|
//! | `ids` | names of connections, rooms, members and places in a room |
//! | `topic` | what a topic names, and the names of events |
//! | `ask` | what a part asks of another, as a value that the shard routes |
//! | `field` | values as bytes in a record |
//! | `given` | what may be left, removed or set |
//! | `record` | what is said between shards: values, and their form in a ring |
//! | `polled` | what answers of long polling say |
//! | `outbox` | the way there: `Cx`, `Tell`, timers |
//! | `io` | what a shard acts on: sockets, other shards, the log of rooms |
//! | `log` | the port to what keeps the entries of rooms |
//! | `kept` | rooms and messages as whoever keeps them hands them on |
//! | `whole` | a room whole, as one keeper hands it to another |
//! | `slice` | what the homes of a room on several nodes tell each other of who is there |
//! | `store` | what shards and the threads for storage say to each other |
//! | `engine` | what shards and the thread of an engine say to each other |
//! | `said`, `reacted` | a message as it is passed on, and who has reacted to it |
//! | `message` | its one JSON, which live frames, pages and stores share |
//! | `standings` | how users stand in a room, in little memory however many they are |
//! | `facts` | what is decided of a room, and the wishes to decide it otherwise |
//! | `audit` | a room's audit trail |
//! | `refusal` | why something is refused, and what its client is told |
//! | `rates` | the rates of users and addresses, one table for all shards |
//! | `settings` | what a shard is told once: its share, and the limits |
//! | `metrics` | what a shard counts |
//! | `pressure` | how near its memory is to its bound |

pub(crate) mod ask;
pub mod audit;
#[cfg(feature = "engine-redis")]
pub(crate) mod engine;
pub mod facts;
pub(crate) mod field;
pub(crate) mod given;
pub mod ids;
pub mod io;
#[cfg(any(feature = "engine-redis", feature = "store"))]
pub(crate) mod kept;
pub mod log;
pub(crate) mod message;
pub mod metrics;
pub(crate) mod outbox;
pub(crate) mod polled;
pub(crate) mod pressure;
pub mod rates;
pub(crate) mod reacted;
pub(crate) mod record;
pub(crate) mod refusal;
pub mod said;
pub mod settings;
pub(crate) mod slice;
pub mod standings;
#[cfg(feature = "store")]
pub(crate) mod store;
pub mod topic;
#[cfg(all(feature = "engine-redis", feature = "store"))]
pub mod whole;

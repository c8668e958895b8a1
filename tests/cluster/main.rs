//! Several nodes with one engine, as their clients see them: real processes, a real Redis and a
//! real Valkey.

#[path = "../engine/clusters.rs"]
mod clusters;
#[path = "../hostile/peer.rs"]
#[allow(dead_code, reason = "what is not needed here is elsewhere")]
mod peer;
#[path = "../hostile/server.rs"]
#[allow(dead_code, reason = "what is not needed here is elsewhere")]
mod server;
#[path = "../engine/servers.rs"]
#[allow(dead_code, reason = "what is not needed here is elsewhere")]
mod servers;

#[cfg(feature = "archive-postgres")]
mod archive;
#[cfg(feature = "archive-postgres")]
mod database;
mod faults;
mod list;
#[cfg(feature = "store")]
mod moving;
mod nodes;
mod polls;
mod removed;
mod retention;
mod rooms;
mod sentinels;
mod slots;
mod switch;
mod versions;

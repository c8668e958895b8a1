//! The script of the engine and the connection to it, on real servers: Redis and Valkey.
//!
//! ```text
//!   random ──> world ── node ── Connection ──> Redis, Valkey
//!                  └──> model                       answers and pushes: equal, or an error
//! ```
//!
//! `model` is what the script should do; `world` asks a server and the model the same, and `random`
//! says what. Defects that are planted in the script must differ. What the model leaves out is
//! looked at by itself: `archived` (what waits for an archive), `connection` (order, ends),
//! `refusals` (what a server takes), `versions` (several have one engine), `expiry`, `failover`
//! with two servers, `sentinels` that know which of them it is, and `slots` with a cluster.
//! `servers`, `clusters` and `proxy` are what is on the other side.
//!
//! Servers are found as `docs/testing.md` says. One that is missing fails the test.

mod archived;
#[allow(dead_code, reason = "what is not needed here is elsewhere")]
mod clusters;
mod connection;
mod expiry;
mod failover;
mod model;
mod node;
mod proxy;
mod random;
mod refusals;
mod sentinels;
#[allow(dead_code, reason = "what is not needed here is elsewhere")]
mod servers;
mod slots;
mod versions;
mod world;

//! Chinwag: a real-time chat server that speaks the Phoenix Channels protocol. The house is
//! described in `docs/ARCHITECTURE.md`.

pub mod app;
pub mod base;
pub mod chat;
pub mod limits;
pub mod mesh;
pub mod reactor;
pub mod shard;
pub mod wire;

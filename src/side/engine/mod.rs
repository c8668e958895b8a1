//! Rooms over an engine that several nodes share: Redis or Valkey.
//!
//! Deliberately absent: what a room is, who may read it, and when a message is answered.

pub mod command;
pub mod redis;

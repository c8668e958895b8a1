//! Small structures without a subject of their own: what an arena, a bitset or a table of rates
//! does is the same in any server.
//!
//! Nothing in here knows of chat, of bytes on a wire, of sockets, clocks or threads.

pub mod arena;
pub mod bitset;
pub mod budget;
pub mod dense;
pub mod name;
pub mod phrases;
pub mod rate_table;
pub mod rng;
pub mod slack;
pub mod spare;
pub mod time;
pub mod timers;
pub mod word;
pub mod words;

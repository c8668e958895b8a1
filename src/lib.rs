//! Chinwag: a real-time chat server that speaks the Phoenix Channels protocol. How it is built
//! stands in `docs/ARCHITECTURE.md`; a folder knows only those that its row in the table there
//! names, and what these may use.

// The documentation is for those who work on the server, and is built with what is private.
#![allow(rustdoc::private_intra_doc_links)]

#[cfg(test)]
extern crate self as chinwag;

pub mod limits;

pub mod base;

pub mod auth;
pub mod mesh;
pub mod wire;

pub mod link;

pub mod conn;
pub mod directory;
pub mod room;

pub mod audience;
pub mod rooms;

pub mod api;
pub mod member;

pub mod shard;

#[cfg(any(feature = "engine-redis", feature = "store"))]
pub mod side;

pub mod reactor;

pub mod app;

// Keys of events, ids and bounds of memory are `u64`, and index or size what is here: none may be
// cut.
const _: () = assert!(usize::BITS >= 64, "this needs a machine with addresses of 64 bits");

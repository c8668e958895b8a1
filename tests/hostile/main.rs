//! The real program against peers that mean no good, or do badly, over real sockets.
//!
//! What is promised is in `docs/protocol.md` and `docs/configuration.md`; here each limit is
//! reached, and gone past by one. Conditions are awaited, and times are asserted only as deadlines,
//! with room to spare.

#[path = "../disk/acts.rs"]
#[allow(dead_code, reason = "what is not needed here is elsewhere")]
mod acts;
mod crowd;
mod descriptors;
mod drain;
mod floods;
mod handoff;
mod history;
mod http;
mod large;
mod logs;
mod manager;
mod memory;
mod metrics;
mod panic;
mod peer;
mod proxy;
mod rights;
mod search;
mod server;
mod slow;
mod slowloris;
mod stall;
mod store;
mod store_changes;
mod store_commands;
mod store_rooms;
mod storm;
mod websocket;

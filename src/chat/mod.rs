//! The rules of chat as values: who somebody is, what a topic names, what a room remembers, who is
//! present. **Nothing here knows of sockets, clocks or other shards**; times are numbers passed in.

pub mod directory;
pub mod history;
pub mod identity;
pub mod presence;
pub mod token;
pub mod topic;

//! `loadtest`: a load generator and latency benchmark for chat servers that speak Phoenix Channels.
//!
//! It shares no code with any server: its client, its checks and its clock are its own. See
//! `docs/benchmarks.md` for how the figures are made and what they mean.

use std::process::ExitCode;

mod auth;
mod base;
mod cli;
mod client;
mod coordinator;
mod core;
mod disk;
mod fault;
mod flood;
mod floor;
mod order;
mod plan;
mod process;
mod report;
mod scenario;
mod stats;
mod verify;
mod witness;

fn main() -> ExitCode {
    cli::main()
}

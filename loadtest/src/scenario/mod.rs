//! The scenarios: what is done when. Each is a [`Script`](crate::core::Script) over the shared core.

use std::io;

use mio::Poll;

use crate::core::{self, Core, Inbox};
use crate::plan::{Plan, Scenario};

mod broadcast;
mod chat;
pub(crate) mod churn;
mod idle;
mod ping;
mod presence;
mod storm;

/// Runs one worker of a plan to its end.
///
/// # Errors
/// The system refuses what the worker needs.
pub(crate) fn run(plan: Plan, poll: Poll, inbox: &Inbox) -> io::Result<()> {
    match plan.scenario.clone() {
        Scenario::Broadcast(options) => {
            core::run(plan, poll, inbox, |core| broadcast::Script::new(core, options))
        }
        Scenario::Ping(options) => core::run(plan, poll, inbox, |core| ping::Script::new(core, options)),
        Scenario::Idle(options) => core::run(plan, poll, inbox, |core| idle::Script::new(core, &options)),
        Scenario::Churn(options) => core::run(plan, poll, inbox, |core| churn::Script::new(core, options)),
        Scenario::Storm(options) => core::run(plan, poll, inbox, |core| storm::Script::new(core, options)),
        Scenario::Presence(options) => {
            core::run(plan, poll, inbox, |core| presence::Script::new(core, options))
        }
        Scenario::Chat(options) => core::run(plan, poll, inbox, |core| chat::Script::new(core, options)),
    }
}

/// Adds this worker's share of `connections`, `per_room` of them in each room, and nobody writes. 0: they join none.
fn fill_rooms(core: &mut Core, connections: u32, per_room: u32) {
    let rooms = if per_room == 0 { 0 } else { connections.div_ceil(per_room) };
    for _ in 0..rooms {
        core.add_room(0);
    }
    for conn in core.plan.own() {
        match rooms {
            0 => core.add_conn(&[]),
            rooms => core.add_conn(&[conn % rooms]),
        };
    }
}

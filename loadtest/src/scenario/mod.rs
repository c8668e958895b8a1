//! The scenarios: what is done when. Each is a [`Script`](crate::core::Script) over the shared
//! core.

use std::io;

use mio::Poll;

use crate::base::now_ns;
use crate::core::{self, Core, Inbox};
use crate::plan::{Plan, Scenario, Schedule};

mod broadcast;
mod chat;
pub(crate) mod churn;
mod failover;
mod idle;
mod keep;
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
        Scenario::Ping(options) => {
            core::run(plan, poll, inbox, |core| ping::Script::new(core, options))
        }
        Scenario::Keep(options) => {
            core::run(plan, poll, inbox, |core| keep::Script::new(core, &options))
        }
        Scenario::Idle(options) => {
            core::run(plan, poll, inbox, |core| idle::Script::new(core, &options))
        }
        Scenario::Churn(options) => {
            core::run(plan, poll, inbox, |core| churn::Script::new(core, options))
        }
        Scenario::Storm(options) => {
            core::run(plan, poll, inbox, |core| storm::Script::new(core, options))
        }
        Scenario::Presence(options) => {
            core::run(plan, poll, inbox, |core| presence::Script::new(core, options))
        }
        Scenario::Failover(options) => {
            core::run(plan, poll, inbox, |core| failover::Script::new(core, options))
        }
        Scenario::Chat(options) => {
            core::run(plan, poll, inbox, |core| chat::Script::new(core, options))
        }
    }
}

/// The connection of an appointment that is nobody's.
const NOBODY: u32 = u32::MAX;

/// What is due at set times over all workers, of which each does its own.
struct Paced {
    schedule: Schedule,
    /// The next, by number and time.
    index: u64,
    due_ns: u64,
    start_ns: u64,
    end_ns: u64,
    /// How many were given since the sockets were last looked at.
    in_turn: u32,
}

/// The most that is sent before the sockets are looked at again. A client that is too slow would
/// never read otherwise.
const TURN_MAX: u32 = 1_024;

/// How long what was due in time may be sent after the end. What is left then, the client was too
/// slow for.
const GRACE_NS: u64 = 1_000_000_000;

impl Paced {
    fn new(core: &Core, rate: f64, burst: u32) -> Self {
        let common = &core.plan.common;
        let schedule = Schedule::new(rate, burst, common.arrivals, common.seed);
        Self { schedule, index: 0, due_ns: 0, start_ns: 0, end_ns: 0, in_turn: 0 }
    }

    /// The load begins. It ends with the window.
    fn begin(&mut self, core: &Core, start_ns: u64) {
        self.start_ns = start_ns;
        self.end_ns = start_ns + core.plan.common.warmup.0 + core.plan.common.duration.0;
        self.due_ns = start_ns + self.schedule.next().unwrap_or(0);
    }

    /// The next of this worker's `own` that is due by now: its number, and when it was due. Where
    /// it is not due yet an appointment `what` is made for it.
    fn next(
        &mut self,
        core: &mut Core,
        what: u32,
        own: impl Fn(u64) -> bool,
    ) -> Option<(u64, u64)> {
        while self.due_ns < self.end_ns {
            let (index, due_ns) = (self.index, self.due_ns);
            if own(index) {
                let now = now_ns();
                if due_ns > now || self.in_turn >= TURN_MAX {
                    self.in_turn = 0;
                    core.at(due_ns.max(now), NOBODY, what);
                    return None;
                }
                self.in_turn += 1;
                self.step();
                return Some((index, due_ns));
            }
            self.step();
        }
        None
    }

    fn step(&mut self) {
        self.index += 1;
        self.due_ns = self.start_ns + self.schedule.next().unwrap_or(u64::MAX);
    }

    /// Whether all has been given that is due before the end. `what` comes again where a moment
    /// more may do; past that the rest of this worker's `own` counts as not sent.
    fn is_over(&mut self, core: &mut Core, what: u32, own: impl Fn(u64) -> bool) -> bool {
        let now = now_ns();
        if self.due_ns < self.end_ns && now < self.end_ns + GRACE_NS {
            core.at(now, NOBODY, what);
            return false;
        }
        while self.due_ns < self.end_ns {
            core.stats.counts.not_sent += u64::from(own(self.index));
            self.step();
        }
        true
    }
}

/// Adds this worker's share of `connections`, `per_room` of them in each room, and nobody writes.
/// 0: they join none.
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

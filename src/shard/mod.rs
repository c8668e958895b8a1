//! One core's share of the chat: a state machine with no sockets, clocks, threads or randomness.
//! **Composition only**: the parts, the order of a turn, and where what one part asks goes.
//!
//! ```text
//!   received ─┬ api ───────┐                  ┌──> rooms (here) ── Tell ──> members ──> output, logs
//!             └ members ───┴─ Ask ── route ───┤
//!   heard_from ── record ─────────────────────┘──> another shard's ring
//!   turn: admit, greet, timers, flush audiences, flush connections, weigh
//! ```
//!
//! The reactor calls [`Shard::open`], [`Shard::received`], [`Shard::writable`], [`Shard::ended`]
//! and [`Shard::hung_up`] for events of sockets, [`Shard::heard_from`] for records of other shards,
//! and [`Shard::turn`] at the end of each turn of its loop. Bytes go out through [`Io`]. So
//! `tests/sim` can run a whole server in one thread, from one seed.
//!
//! A shard has two halves that know nothing of each other: `members`, the connections that are here
//! with their channels and audiences; and `rooms`, the rooms whose home is here. A member asks its
//! room by a value ([`Ask`](crate::link::ask::Ask)), a room tells its members by a trait
//! ([`Tell`](crate::link::outbox::Tell)), whether they are on one shard or on two.
//!
//! Invariants: those of the parts, checked by [`Shard::check_invariants`]; and questions in the
//! queue of the members are routed before any later question.
//!
//! Deliberately absent: errors. A bad request is answered, a bad peer is closed, a broken invariant
//! is a panic.
//!
//! Called by: `reactor`, `tests/sim`. Calls: every part.

mod admission;
mod common;
mod drain;
mod handoff;
mod invariants;
#[cfg(test)]
mod machines;
mod memory;
mod receive;
mod renew;
mod restart;
mod route;

use std::sync::Arc;

use admission::Admission;
use common::Common;
use handoff::Handoffs;
use memory::Memory;
use restart::Restarts;

use crate::api::Api;
use crate::base::budget::Budget;
use crate::base::slack::{ENTRIES_KEPT, SCRATCH_BYTES_KEPT, Slack};
use crate::base::time::Now;
use crate::base::timers::Timers;
use crate::directory::Directory;
use crate::limits::{SWEEP_MS, TIMER_WORK, TIMERS_PART};
use crate::link::ask::Desk;
use crate::link::ids::ConnKey;
use crate::link::outbox::Timer;
use crate::link::pressure::Pressure;
use crate::member::Members;
use crate::rooms::Rooms;
use crate::wire::phx::Decoder;

pub use crate::api::{API_HEADERS, Request, Routed, SOCKET_PATH, Site};
pub use crate::directory::push_rooms;
pub use crate::link::io::{Handoff, Io, Turn};
pub use crate::link::metrics::{Metrics, Published, push_text};
pub use crate::link::settings::Settings;
pub use invariants::Population;
pub use memory::{Part, worst_case};

/// One core's share of the chat. See the module.
pub struct Shard {
    common: Common,
    /// The connections that are here, their channels, and the audiences that they sit in.
    members: Members,
    /// The rooms whose home is here.
    rooms: Rooms,
    /// The list of all rooms, on all shards.
    directory: Directory,
    api: Api,
    /// Upgrades and joins that wait to come in.
    admission: Admission,
    /// Connections on their way to another shard.
    handoffs: Handoffs,
    memory: Memory,
    restart: Restarts,
    decoder: Decoder,
    desk: Desk,
}

impl Shard {
    /// An empty shard. `seed` must be new for each shard and each life of it: cursors of another
    /// life must not fit.
    #[must_use]
    pub fn new(
        id: u16,
        settings: Arc<Settings>,
        site: Arc<dyn Site + Send + Sync>,
        seed: u64,
        now: Now,
    ) -> Self {
        let mut timers = Timers::new();
        timers.push(now.mono_ms + SWEEP_MS, Timer::Sweep);
        // Different for each table, and unpredictable: names that collide in one table do not
        // collide in another.
        let hasher = |salt: u64| {
            ahash::RandomState::with_seeds(
                seed,
                salt,
                seed.rotate_left(32) ^ salt,
                u64::from(id) ^ !seed,
            )
        };
        Self {
            members: Members::new(&settings, hasher),
            rooms: Rooms::new(seed, hasher),
            directory: Directory::default(),
            api: Api::new(site),
            admission: Admission::new(settings.limits.admissions_per_turn, settings.shards),
            handoffs: Handoffs::new(settings.shards),
            memory: Memory::default(),
            restart: Restarts::default(),
            decoder: Decoder::default(),
            desk: Desk::default(),
            common: Common {
                id,
                metrics: Metrics::default(),
                timers,
                has_due_timers: false,
                pressure: Pressure::None,
                draining: None,
                budget: Budget::new(settings.turn_work, settings.shards),
                record: Vec::new(),
                settings,
            },
        }
    }

    /// Ends a turn: does what is due, and flushes each touched room and connection once.
    pub fn turn<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        self.common.metrics.turns += 1;
        self.members.begin_turn(&self.common.cx(turn));
        self.handle_starved(turn);
        // Before others are let in: those who go make place.
        self.go_on_ending(turn);
        self.admit_waiting(turn);
        // Whatever the steps before have unparked goes on in this turn.
        self.handle_unparked(turn);
        // After the input of this turn: a first join in it may send its connection elsewhere.
        self.hand_off(turn);
        // After all joins of this turn, so that their newcomers share one list.
        self.rooms.greet(&mut self.common.cx(turn), &mut self.members);
        self.relay(turn);
        // Before the flush, so that what ticks say goes out with it.
        self.fire_due(turn);
        // All that was said in this turn is in the logs by now, so each member is written to once.
        self.members.flush_audiences(&mut self.common.cx(turn));
        self.relay(turn);
        self.relay_evicted(turn);
        self.members.flush_conns(&mut self.common.cx(turn));
        self.relay(turn);
        // When all has been sent that can be: nobody is evicted for what only waited for the flush.
        self.weigh(turn);
        // The answer to a poll is output of the polling connection: hence the second flush.
        self.members.serve_pollers(&mut self.common.cx(turn));
        self.members.flush_conns(&mut self.common.cx(turn));
        self.relay(turn);
        // Once a turn, however many changes it had.
        let cx = &mut self.common.cx(turn);
        self.rooms.ask_for_kept(cx, &self.directory);
        self.rooms.set_listings_tick(cx);
        self.members.audiences.set_lobby_tick(cx, &self.directory);
    }

    /// Fires the timers that are due, in order, as far as their part of a turn's work goes: rooms
    /// tick on a common grid, and thousands may be due at once. Those that are not reached are due
    /// in the next turn.
    fn fire_due<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        let part = u64::from(self.common.settings.turn_work / TIMERS_PART);
        let end = self.common.budget.done() + part.max(1);
        while self.common.budget.done() < end {
            let Some(timer) = self.common.timers.pop_due(turn.now.mono_ms) else { break };
            self.common.budget.spend(TIMER_WORK);
            self.fire(turn, timer);
        }
        let next_ms = self.common.timers.next_due();
        self.common.has_due_timers = next_ms.is_some_and(|due_ms| due_ms <= turn.now.mono_ms);
    }

    fn fire<I: Io>(&mut self, turn: &mut Turn<'_, I>, timer: Timer) {
        let cx = &mut self.common.cx(turn);
        match timer {
            Timer::Room(room) => self.rooms.tick(cx, &mut self.members, room),
            Timer::Collected(room) => self.rooms.collected_due(cx, &mut self.members, room),
            Timer::Streams(room) => self.rooms.end_streams(cx, &mut self.members, room),
            Timer::Cooled(room) => self.rooms.let_cooled_go(cx, room),
            Timer::Slice(room) => self.rooms.audit_slice(cx, room),
            Timer::Nodes => self.rooms.catch_up_with_nodes(cx),
            Timer::Ages => self.rooms.let_age(cx),
            // Nothing to do: these timers only wake the loop. Touched rooms and memory are looked
            // at in each turn.
            Timer::Pace(_) | Timer::Weigh => {}
            Timer::Listings => self.rooms.send_listings(cx, &mut self.directory),
            Timer::Lobby => {
                let Members { conns, audiences, .. } = &mut self.members;
                audiences.lobby_tick(cx, conns, &mut self.directory);
            }
            Timer::Sweep => {
                let is_over = self.members.sweep(cx);
                self.relay(turn);
                if is_over {
                    self.tell_load(turn);
                    self.tidy();
                }
                let pause_ms = if is_over { SWEEP_MS } else { 1 };
                self.common.timers.push(turn.now.mono_ms + pause_ms, Timer::Sweep);
            }
            Timer::Drain => self.drain_some(turn),
        }
        self.relay(turn);
    }

    /// When [`Shard::turn`] is to be called again at the latest, in milliseconds of monotonic time;
    /// at once if there is work left.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        let rooms = &self.rooms;
        let has_work =
            self.members.has_work() || self.admission.has_more() || rooms.has_departing();
        let has_timers = self.common.has_due_timers;
        if has_work || has_timers || rooms.has_newcomers() || rooms.has_awaiting() {
            return Some(0);
        }
        let late_ms = self.admission.late_ms(self.common.settings.limits.admission_wait_ms);
        [self.common.timers.next_due(), late_ms].into_iter().flatten().min()
    }

    /// Whether no connection is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.conns.is_empty()
    }

    /// Whether one more connection would be accepted, apart from limits on its address.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.members.conns.len() < self.handoffs.places(self.common.settings.conns_max)
            && self.common.draining.is_none()
            && self.common.pressure < Pressure::Conns
    }

    /// The settings it was made with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.common.settings
    }

    /// How many connections there are.
    #[must_use]
    pub fn conns_count(&self) -> usize {
        self.members.conns.len()
    }

    /// What has been counted so far, and what there is now.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics {
            connections: self.members.conns.len() as u64,
            rooms: self.rooms.len() as u64,
            history_bytes: self.rooms.history_bytes() as u64,
            log_bytes: self.members.audiences.log_bytes() as u64,
            buffers: self.members.conns.buffers_lent() as u64,
            waiting: (self.admission.waiting() + self.rooms.awaiting_count()) as u64,
            memory_bytes: self.memory.used_bytes as u64,
            ..self.common.metrics
        }
    }

    /// Counts a connection that could not be accepted.
    pub fn accept_failed(&mut self) {
        self.common.metrics.accept_failures += 1;
    }

    /// Counts a connection that was refused since its address has as many as it may have.
    pub fn address_refused(&mut self) {
        self.common.metrics.refused_per_ip += 1;
    }

    /// The connection with this index, if there is one now.
    #[must_use]
    pub fn conn_at(&self, index: u32) -> Option<ConnKey> {
        self.members.conns.key_at(index)
    }

    /// Gives back memory that a storm needed and nothing needs now.
    ///
    /// Collections that are emptied keep their memory, so that a steady load allocates nothing.
    /// Without this, a storm would leave all of it behind for the life of the process.
    fn tidy(&mut self) {
        let Self {
            common: Common { timers, record, .. },
            members,
            rooms,
            directory,
            api,
            admission,
            handoffs: _,
            memory: _,
            restart: _,
            decoder: _,
            desk: Desk { text: _, bytes },
        } = self;
        members.tidy();
        rooms.tidy();
        directory.tidy();
        admission.trim(ENTRIES_KEPT);
        timers.trim(ENTRIES_KEPT);
        for scratch in [record, bytes, api.scratch()] {
            scratch.trim(SCRATCH_BYTES_KEPT);
        }
    }
}

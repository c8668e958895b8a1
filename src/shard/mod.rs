//! One core's share of the chat: a state machine with no sockets, clocks, threads or randomness.
//!
//! The reactor feeds events in: [`Shard::open`], [`Shard::received`], [`Shard::writable`],
//! [`Shard::hung_up`], [`Shard::heard_from`] for messages of other shards, and [`Shard::turn`] at
//! the end of each turn of its loop. Bytes go out through [`Io`]. That is why `tests/sim` can run a
//! whole server in one thread, from one seed.
//!
//! The way of a message: `conn` takes it out of the bytes, `channel` decides what it asks for,
//! `home` orders it, `audience` writes it to the members. `message` is what shards say to each
//! other on that way.
//!
//! Invariants, checked by [`Shard::check_invariants`]:
//!
//! 1. a member of a room is a live connection that lists this room, and the other way round;
//! 2. a room's offsets have no gaps;
//! 3. no cursor points outside its room's log, and a log that nobody lags in is empty;
//! 4. a buffer is lent to exactly one connection.
//!
//! Deliberately absent: errors. A bad request is answered, a bad peer is closed, a broken invariant
//! is a panic.

mod admission;
mod answers;
mod audience;
mod buffers;
mod cadence;
mod channel;
mod channels;
mod conn;
mod deadlines;
mod drain;
mod greeting;
mod handoff;
mod home;
mod http;
mod input;
mod invariants;
mod join;
mod life;
mod lobby;
mod log;
mod memory;
mod message;
mod metrics;
mod output;
mod params;
mod presence;
mod push;
mod rates;
mod refs;
mod refusal;
mod session;
mod settings;
mod tick;
mod tidy;
mod upkeep;
mod ways;

use std::collections::HashMap;
use std::sync::Arc;

use admission::Admission;
use audience::Audience;
use buffers::Buffers;
use channel::Dismissed;
use channels::Arrival;
use conn::Stage;
use drain::Draining;
use greeting::{SPARE_LIST_BYTES_MAX, SPARE_LISTS_MAX};
use handoff::Handoffs;
use home::Home;
use http::Exchange;
use input::Inputs;
use log::LogMemory;
use memory::{Memory, Pressure};
use rates::Rates;
use refs::JoinRef;
use session::Session;
use upkeep::Upkeep;

use crate::base::arena::{Arena, Key};
use crate::base::bitset::BitSet;
use crate::base::dense::Dense;
use crate::base::spare::Spares;
use crate::base::time::Now;
use crate::base::timers::Timers;
use crate::chat::directory::Directory;
use crate::limits::SWEEP_MS;
use crate::wire::phx::Decoder;

pub use conn::Conn;
pub use handoff::Handoff;
pub use http::{API_HEADERS, Request, Routed, SOCKET_PATH, Site};
pub use invariants::Population;
pub use lobby::push_rooms;
pub use memory::{Part, worst_case};
pub use metrics::{Metrics, Published, push_text};
pub use settings::Settings;

/// What a shard acts on: sockets, and the other shards. Monomorphised away in the server.
pub trait Io {
    /// Writes to a connection as much as it takes now, and says how much that was. Less than all
    /// means that [`Shard::writable`] or [`Shard::hung_up`] will follow; of an error only that.
    fn write(&mut self, conn: u32, bytes: &[u8]) -> usize;

    /// Ends our half of a connection: everything has been written.
    fn shut(&mut self, conn: u32);

    /// Lets go of a connection at once. Its number may be given to the next one. A session of long
    /// polling has one too, and no socket: then there is nothing to let go of.
    fn close(&mut self, conn: u32);

    /// Reads a connection on, after [`Shard::received`] had said to stop; nothing, for a session.
    fn resume(&mut self, conn: u32);

    /// Gives a connection's socket to another shard, which is told by [`Shard::take_over`] and
    /// gives it a number of its own. This one may be given to the next.
    fn hand_off(&mut self, conn: u32, shard: u16, handoff: Handoff);

    /// Sends a record to another shard, in order, sooner or later.
    fn send(&mut self, shard: u16, record: &[u8]);

    /// How many bytes wait on this side for that shard.
    fn waiting_bytes(&self, shard: u16) -> usize;

    /// A clock for the cost of one thing beside another, in microseconds since any moment.
    fn elapsed_us(&self) -> u64;
}

/// One turn of the loop: when it is, and what it acts on.
pub struct Turn<'a, I: Io> {
    /// The time, the same for the whole turn.
    pub now: Now,
    /// Sockets and other shards.
    pub io: &'a mut I,
}

/// Something that is due at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A room's presence.
    Home(Key<Home>),
    /// A large room may be flushed again.
    Pace(Key<Audience>),
    /// What changed in the rooms here goes to the directories.
    Listings,
    /// What changed in the directory goes to the lobby.
    Lobby,
    /// Who is idle, late or expired.
    Sweep,
    /// Some more connections are closed.
    Drain,
    /// How much memory is in use.
    Weigh,
}

/// One core's share of the chat. See the module.
pub struct Shard {
    id: u16,
    /// How many times it has begun anew.
    life: u32,
    /// By shard: whether it has not heard of this life yet.
    deaf_to: Box<[bool]>,
    settings: Arc<Settings>,
    site: Arc<dyn Site + Send + Sync>,

    conns: Arena<Conn>,
    /// By the connections' index, dense: what a flush or a sweep looks at without touching the
    /// connection, and what would cost a record eight bytes for one.
    flags: Vec<u8>,
    stages: Vec<Stage>,
    heard: Dense<u32>,
    deadlines: Dense<u32>,
    rates: Rates,
    inputs: Inputs,
    /// Requests that wait for another shard.
    exchanges: HashMap<Key<Conn>, Exchange, ahash::RandomState>,
    /// Joins that are under way, and refs of joins that are no numbers: by channel.
    arrivals: HashMap<(Key<Conn>, Key<Audience>), Arrival, ahash::RandomState>,
    odd_refs: HashMap<(Key<Conn>, Key<Audience>), JoinRef, ahash::RandomState>,
    /// What sessions of long polling have beside their connection.
    sessions: HashMap<Key<Conn>, Session, ahash::RandomState>,

    audiences: Arena<Audience>,
    audience_by_topic: HashMap<Box<str>, Key<Audience>, ahash::RandomState>,
    homes: Arena<Home>,
    home_by_topic: HashMap<Box<str>, Key<Home>, ahash::RandomState>,
    upkeep: Upkeep,
    /// Rooms with newcomers of this turn.
    greeting: Vec<Key<Home>>,
    /// Of whoever writes down users.
    seen: BitSet,
    /// Of the lists that newcomers are sent.
    list: Vec<u8>,
    /// Buffers for those that are kept, the rooms that keep one for the next newcomer, the last one
    /// needed at the end, and what these take.
    spare_lists: Spares,
    listed: Vec<Key<Home>>,
    lists_bytes: usize,
    key_hashers: [ahash::RandomState; 2],
    directory: Directory,
    lobby_ticking: bool,
    lobby_told_ms: u64,

    buffers: Buffers,
    log_memory: LogMemory,
    decoder: Decoder,
    /// Of whoever needs a buffer within one function.
    scratch: Vec<u8>,
    /// Of homes, for what they tell; of requests, for the answer.
    response: Vec<u8>,
    record: Vec<u8>,
    /// Of a custom event's payload, when the sender is put into it.
    signed: Vec<u8>,

    /// Audiences to be flushed.
    touched: Vec<Key<Audience>>,
    /// Connections with output of their own.
    touched_conns: Vec<u32>,
    /// Seats that have lost their place in the flush under way.
    laggards: Vec<usize>,
    /// Memberships that ended here and that their homes do not know of yet.
    dismissed: Vec<Dismissed>,
    unparked: Vec<Key<Conn>>,
    /// Those who are on their way in.
    admission: Admission,
    /// Those who are on their way to another shard.
    handoffs: Handoffs,
    memory: Memory,
    /// Sessions for which something has come.
    stirred: Vec<u32>,
    /// Connections that are not read because the way to another shard is full.
    paused: Vec<Key<Conn>>,
    timers: Timers<Timer>,
    draining: Option<Draining>,
    metrics: Metrics,
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
        let hasher = |salt: u64| {
            ahash::RandomState::with_seeds(
                seed,
                salt,
                seed.rotate_left(32) ^ salt,
                u64::from(id) ^ !seed,
            )
        };
        Self {
            id,
            life: 0,
            deaf_to: Box::default(),
            site,
            conns: Arena::new(),
            flags: Vec::new(),
            stages: Vec::new(),
            heard: Dense::new(),
            deadlines: Dense::new(),
            rates: Rates::default(),
            inputs: Inputs::default(),
            exchanges: HashMap::with_hasher(hasher(6)),
            arrivals: HashMap::with_hasher(hasher(7)),
            odd_refs: HashMap::with_hasher(hasher(8)),
            sessions: HashMap::with_hasher(hasher(5)),
            audiences: Arena::new(),
            audience_by_topic: HashMap::with_hasher(hasher(1)),
            homes: Arena::new(),
            home_by_topic: HashMap::with_hasher(hasher(2)),
            upkeep: Upkeep::new(seed),
            greeting: Vec::new(),
            seen: BitSet::new(),
            list: Vec::new(),
            spare_lists: Spares::new(SPARE_LISTS_MAX, SPARE_LIST_BYTES_MAX),
            listed: Vec::new(),
            lists_bytes: 0,
            key_hashers: [hasher(3), hasher(4)],
            directory: Directory::default(),
            lobby_ticking: false,
            lobby_told_ms: 0,
            buffers: Buffers::default(),
            log_memory: LogMemory::new(settings.limits.room_lag_bytes),
            decoder: Decoder::default(),
            scratch: Vec::new(),
            response: Vec::new(),
            record: Vec::new(),
            signed: Vec::new(),
            touched: Vec::new(),
            touched_conns: Vec::new(),
            laggards: Vec::new(),
            dismissed: Vec::new(),
            unparked: Vec::new(),
            memory: Memory::default(),
            handoffs: Handoffs::new(settings.shards),
            admission: Admission::new(settings.limits.admissions_per_turn, settings.shards),
            stirred: Vec::new(),
            paused: Vec::new(),
            timers,
            draining: None,
            metrics: Metrics::default(),
            settings,
        }
    }

    /// Ends a turn: does what is due, and sends what there is to send, to each room and each
    /// connection once.
    pub fn turn<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        self.metrics.turns += 1;
        self.unpause(turn);
        self.admit_waiting(turn);
        self.handle_unparked(turn);
        self.hand_off(turn);
        self.greet(turn);
        while let Some(timer) = self.timers.pop_due(turn.now.mono_ms) {
            self.fire(turn, timer);
        }
        self.flush_audiences(turn);
        self.dismiss(turn);
        self.flush_conns(turn);
        self.weigh(turn);
        // What a poll is told is output of the connection that polls.
        self.serve_pollers(turn);
        self.flush_conns(turn);
        self.set_listings_tick(turn);
        self.set_lobby_tick(turn);
    }

    /// When [`Shard::turn`] is to be called again at the latest, in milliseconds of monotonic time;
    /// at once if there is work left.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        if self.has_work() {
            return Some(0);
        }
        let late_ms = self.admission.late_ms(self.settings.limits.admission_wait_ms);
        [self.timers.next_due(), late_ms].into_iter().flatten().min()
    }

    fn has_work(&self) -> bool {
        !self.touched_conns.is_empty()
            || !self.unparked.is_empty()
            || self.admission.has_more()
            || !self.stirred.is_empty()
            || !self.dismissed.is_empty()
            || !self.greeting.is_empty()
    }

    /// Whether nobody is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.conns.is_empty()
    }

    /// Whether one more connection would be taken in, as far as it does not depend on where it
    /// comes from.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.conns.len() < self.handoffs.places(self.settings.conns_max)
            && self.draining.is_none()
            && self.memory.pressure < Pressure::Conns
    }

    /// What it was told.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many connections there are.
    #[must_use]
    pub fn conns_count(&self) -> usize {
        self.conns.len()
    }

    /// What has been counted so far, and what there is now.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics {
            connections: self.conns.len() as u64,
            rooms: self.homes.len() as u64,
            history_bytes: self.upkeep.history_bytes as u64,
            log_bytes: self.log_memory.lent_bytes() as u64,
            buffers: self.buffers.lent() as u64,
            waiting: self.admission.waiting() as u64,
            memory_bytes: self.memory.used_bytes as u64,
            ..self.metrics
        }
    }

    /// Counts a connection that could not be accepted.
    pub fn accept_failed(&mut self) {
        self.metrics.accept_failures += 1;
    }

    /// Counts one that was not, for its address has as many as may be.
    pub fn address_refused(&mut self) {
        self.metrics.refused_per_ip += 1;
    }

    /// The connection with this index, if there is one now.
    #[must_use]
    pub fn conn_at(&self, index: u32) -> Option<Key<Conn>> {
        self.conns.key_at(index)
    }

    fn fire<I: Io>(&mut self, turn: &mut Turn<'_, I>, timer: Timer) {
        match timer {
            Timer::Home(home) => self.home_tick(turn, home),
            // It is among the touched already, or looked at in each turn; that the loop has turned
            // is enough.
            Timer::Pace(_) | Timer::Weigh => {}
            Timer::Listings => self.send_listings(turn),
            Timer::Lobby => self.lobby_tick(turn),
            Timer::Sweep => {
                self.sweep(turn);
                self.tell_load(turn);
                self.tidy();
                self.timers.push(turn.now.mono_ms + SWEEP_MS, Timer::Sweep);
            }
            Timer::Drain => self.drain_some(turn),
        }
    }
}

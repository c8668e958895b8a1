//! One worker: a thread, an epoll loop and its share of the connections.
//!
//! The loop knows how to connect, upgrade, join, push, beat and check what comes; *what* is done
//! when is the [`Script`]'s, one per scenario. Sockets are registered once for both directions. All
//! reads go through one buffer; a connection has memory of its own only while a frame of it is
//! incomplete.
//!
//! Time is taken once per read: all frames of one read arrived together. The next due moment is a
//! timer descriptor and not the poll's timeout, which would round up to whole milliseconds and show
//! as latency.
//!
//! Invariants: a token carries the generation of its connection, so an event of a socket that is
//! gone misses; a connection that is closed has no membership; `unfinished` is the number of
//! connections that are neither ready nor given up.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::io;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::base::{SECOND_NS, at, count, now_ns, real, whole};
use crate::client::frame::Opcode;
use crate::client::stamp::Stamp;
use crate::client::target::{Target, fill};
use crate::order::{Order, Seat};
use crate::plan::Plan;
use crate::stats::Stats;
use crate::verify::Receiver;
use crate::witness::Witness;

use journal::Journal;
pub(crate) use payload::told;
pub(crate) use phase::{Down, Inbox, Outbox, Progress, Up, prepare};
use phase::{Over, Phase};

mod channel;
mod journal;
mod payload;
mod phase;
mod socket;

const TOKEN_TIMER: Token = Token(usize::MAX);
const TOKEN_WAKER: Token = Token(usize::MAX - 1);

/// Bytes read from one socket at a time.
const READ_BYTES: usize = 256 * 1_024;

/// A room as the client knows it.
pub(crate) struct Room {
    /// Its topic.
    pub(crate) topic: String,
    /// How many messages each publisher has sent: all that are known here.
    pub(crate) sent: Vec<u32>,
    /// The order of its messages, as its members here have seen it.
    order: Order,
    /// How many connections here have it as their first room.
    conns: u32,
}

/// Where a channel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    /// Not joined.
    Out,
    /// Asked for, at this time.
    Joining(u64),
    /// Joined.
    In,
}

/// A connection's place in a room.
pub(crate) struct Membership {
    /// The room's number.
    pub(crate) room: u32,
    /// The `ref` of the join.
    pub(crate) join_ref: u32,
    /// Where it stands.
    pub(crate) channel: Channel,
    /// What it has received.
    pub(crate) receiver: Receiver,
    /// Where it stands in the room's order.
    seat: Seat,
}

impl Membership {
    /// Makes it a membership of another room, not joined yet.
    pub(crate) fn move_to(&mut self, room: u32) {
        self.room = room;
        self.channel = Channel::Out;
        // A seat is one in the order of its own room.
        self.seat = Seat::default();
    }
}

/// What an answer is awaited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// The join of this membership.
    Join(u32),
    /// A message.
    Message {
        /// Its room.
        room: u32,
        /// Its sender's rank.
        rank: u32,
        /// Which of the sender's.
        seq: u32,
    },
    /// A ping.
    Ping,
    /// A heartbeat.
    Heartbeat,
    /// A page of history.
    History,
    /// What the script has a number for.
    Own(u32),
}

struct Pending {
    reference: u32,
    waiting: Waiting,
    due_ns: u64,
    asked_ns: u64,
}

/// A message as it is sent: the same again, where it is not answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft {
    /// What its body says.
    pub(crate) stamp: Stamp,
    /// Bytes of its body.
    bytes: u32,
}

/// The beginning of a message.
struct Fragments {
    opcode: Opcode,
    so_far: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Connecting,
    Upgrading,
    Open,
}

/// A connection.
#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
pub(crate) struct Conn {
    stream: Option<TcpStream>,
    state: State,
    generation: u32,
    /// The generation that a heartbeat is scheduled for.
    beating: u32,
    key: String,
    /// An incomplete frame.
    spill: Vec<u8>,
    /// A message of which not all fragments have come.
    fragments: Option<Fragments>,
    /// What the socket did not take yet.
    out: Vec<u8>,
    pending: VecDeque<Pending>,
    next_ref: u32,
    /// The rooms it is a member of, or is to join.
    pub(crate) memberships: Vec<Membership>,
    /// When this connection was due.
    due_ns: u64,
    paused: bool,
    ready: bool,
    /// Counted in `Core::unfinished`.
    unfinished: bool,
    /// Where its first try goes. Each further try goes to the next URL.
    url: u32,
    tries: u32,
    /// When the latest try began.
    tried_ns: u64,
    /// What happens when the server ends something of it: expected, or a fault.
    pub(crate) may_end: bool,
    /// It stops reading for a while; what it gets is timed apart.
    pub(crate) sleeper: bool,
    /// A receive buffer of this size, where not 0.
    pub(crate) receive_buffer_bytes: u32,
}

/// What is to happen at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Connect(u32),
    Heartbeat(u32, u32),
    Script(u32, u32),
    Progress,
    /// Look again whether a phase is over.
    Look,
}

/// What a scenario does. Every method has a default that does nothing, or what most scenarios want.
pub(crate) trait Script {
    /// Makes connections, until `total` of the run's are ready.
    fn connect(&mut self, core: &mut Core, total: u32) {
        core.connect_all(total);
    }

    /// The load begins.
    fn go(&mut self, core: &mut Core, start_ns: u64);

    /// A moment of [`Core::at`] has come; `due_ns` is when it was to.
    fn timer(&mut self, core: &mut Core, conn: u32, what: u32, due_ns: u64) {
        let _ = (core, conn, what, due_ns);
    }

    /// A connection has all its joins.
    fn ready(&mut self, core: &mut Core, conn: u32, now_ns: u64) {
        let _ = (core, conn, now_ns);
    }

    /// A push has its answer.
    fn answered(
        &mut self,
        core: &mut Core,
        conn: u32,
        waiting: Waiting,
        ok: bool,
        payload: &str,
        now_ns: u64,
    ) {
        let _ = (core, conn, waiting, ok, payload, now_ns);
    }

    /// A message of the run has come, and was in order or not.
    fn message(&mut self, core: &mut Core, conn: u32, stamp: Stamp, now_ns: u64) {
        let _ = (core, conn, stamp, now_ns);
    }

    /// A join was refused, or what it is answered means nothing. Tells whether the script has it
    /// asked again, so that it is no fault.
    fn join_refused(&mut self, core: &mut Core, conn: u32, payload: &str, now_ns: u64) -> bool {
        let _ = (core, conn, payload, now_ns);
        false
    }

    /// Another event has come.
    fn event(&mut self, core: &mut Core, conn: u32, event: &str, payload: &str, now_ns: u64) {
        let _ = (core, conn, event, payload, now_ns);
    }

    /// A connection is gone though nobody here closed it, or could not be made. Not called where
    /// that was given up for good.
    fn lost(&mut self, core: &mut Core, conn: u32, now_ns: u64) {
        let _ = (core, conn, now_ns);
    }

    /// A connection could not be made, and is not tried again.
    fn gave_up(&mut self, core: &mut Core, conn: u32) {
        let _ = (core, conn);
    }

    /// The server has ended a channel.
    fn ended(&mut self, core: &mut Core, conn: u32, membership: u32, now_ns: u64) {
        let _ = (core, conn, membership, now_ns);
    }

    /// Whether all that was due has been done.
    fn finished(&self, core: &Core) -> bool;
}

/// The worker's sockets and what goes with them.
#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
pub(crate) struct Core {
    /// What to do.
    pub(crate) plan: Plan,
    /// All rooms of the run.
    pub(crate) rooms: Vec<Room>,
    /// This worker's connections.
    pub(crate) conns: Vec<Conn>,
    /// What was counted and timed.
    pub(crate) stats: Stats,
    /// The worker's own randomness.
    pub(crate) rng: fastrand::Rng,
    /// Whether a connection that could not be made is tried again.
    pub(crate) retry: bool,
    /// Whether rejoins ask for what was missed, where the server can.
    pub(crate) recover: bool,
    /// Judges what members are told, where several servers tell it. Then each message has a key,
    /// each join a presence of its own, and what is refused is the script's affair.
    pub(crate) witness: Option<Witness>,
    /// Pushes refused by the server: room, rank, seq.
    refused: BTreeSet<(u32, u32, u32)>,
    journal: Journal,
    targets: Vec<Target>,
    poll: Poll,
    timerfd: rustix::fd::OwnedFd,
    armed_ns: u64,
    timers: BinaryHeap<Reverse<(u64, u64, Timer)>>,
    timer_order: u64,
    buffer: Vec<u8>,
    text: Vec<u8>,
    body: Vec<u8>,
    connecting: u32,
    waiting_to_connect: VecDeque<u32>,
    unfinished: u32,
    /// Connections that could not be made, for the script to hear of.
    given_up: Vec<u32>,
    open: u32,
    ready: u32,
    started: bool,
    /// When to look next whether all has come.
    look_ns: u64,
    /// While this is set, everything else is over and connections may go as they like.
    ending: bool,
}

impl Core {
    fn new(plan: Plan, poll: Poll) -> io::Result<Self> {
        let parse = |url: &String| Target::parse(url, plan.common.remote);
        let targets = plan
            .common
            .urls
            .iter()
            .map(parse)
            .collect::<Result<_, _>>()
            .map_err(io::Error::other)?;
        let timerfd = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        poll.registry().register(
            &mut SourceFd(&timerfd.as_raw_fd()),
            TOKEN_TIMER,
            Interest::READABLE,
        )?;
        let journal = Journal::open(plan.common.journal.as_deref())?;
        let rng =
            fastrand::Rng::with_seed(plan.common.seed.wrapping_add(u64::from(plan.worker) << 32));
        Ok(Self {
            plan,
            rooms: Vec::new(),
            conns: Vec::new(),
            stats: Stats::default(),
            rng,
            retry: false,
            recover: false,
            witness: None,
            refused: BTreeSet::new(),
            journal,
            targets,
            poll,
            timerfd,
            armed_ns: u64::MAX,
            timers: BinaryHeap::new(),
            timer_order: 0,
            buffer: vec![0; READ_BYTES],
            text: Vec::new(),
            body: Vec::new(),
            connecting: 0,
            waiting_to_connect: VecDeque::new(),
            unfinished: 0,
            given_up: Vec::new(),
            open: 0,
            ready: 0,
            started: false,
            look_ns: 0,
            ending: false,
        })
    }

    /// Adds a room with this many publishers, and gives its number.
    pub(crate) fn add_room(&mut self, publishers: u32) -> u32 {
        let room = count(self.rooms.len());
        let topic = fill(&self.plan.common.join_topic, &[("room", &room.to_string())]);
        let order = Order::new(!self.plan.common.not_to_sender);
        self.rooms.push(Room { topic, sent: vec![0; at(publishers)], order, conns: 0 });
        room
    }

    /// Adds a connection, not yet made, that will be a member of these rooms.
    ///
    /// Connections are at the URLs in turn: those with the same first room in that room's own turn,
    /// so that its members are at all of them.
    pub(crate) fn add_conn(&mut self, rooms: &[u32]) -> u32 {
        let turn = match rooms.first() {
            Some(&room) => {
                let conns = &mut self.rooms[at(room)].conns;
                *conns += 1;
                // Where a room has fewer members than there are URLs, the next room and the next
                // worker begin at others.
                *conns - 1 + room + self.plan.worker
            }
            None => self.plan.own().start + count(self.conns.len()),
        };
        let url = turn % count(self.targets.len());
        let membership = |&room: &u32| Membership {
            room,
            join_ref: 0,
            channel: Channel::Out,
            receiver: Receiver::from_the_start(count(self.rooms[at(room)].sent.len())),
            seat: Seat::default(),
        };
        self.conns.push(Conn {
            stream: None,
            state: State::Closed,
            generation: 0,
            beating: 0,
            key: String::new(),
            spill: Vec::new(),
            fragments: None,
            out: Vec::new(),
            pending: VecDeque::new(),
            next_ref: 1,
            memberships: rooms.iter().map(membership).collect(),
            due_ns: 0,
            paused: false,
            ready: false,
            unfinished: false,
            url,
            tries: 0,
            tried_ns: 0,
            may_end: false,
            sleeper: false,
            receive_buffer_bytes: 0,
        });
        count(self.conns.len() - 1)
    }

    /// Asks for `Script::timer(conn, what)` at a time.
    pub(crate) fn at(&mut self, due_ns: u64, conn: u32, what: u32) {
        self.timer(due_ns, Timer::Script(conn, what));
    }

    fn timer(&mut self, due_ns: u64, timer: Timer) {
        self.timer_order += 1;
        self.timers.push(Reverse((due_ns, self.timer_order, timer)));
    }

    /// The next of a random process with this mean, in nanoseconds from now.
    pub(crate) fn random_ns(&mut self, mean_ns: u64) -> u64 {
        whole(real(mean_ns) * -(1.0 - self.rng.f64()).ln())
    }

    /// Whether a connection is up, with all its joins.
    pub(crate) fn is_ready(&self, id: u32) -> bool {
        self.conns[at(id)].ready
    }

    /// Whether a connection is up, whatever it has joined.
    pub(crate) fn is_open(&self, id: u32) -> bool {
        self.conns[at(id)].state == State::Open
    }

    /// How many connections are on their way.
    pub(crate) fn unfinished(&self) -> u32 {
        self.unfinished
    }

    /// Since when a connection waits for an answer, to its upgrade or to what it pushed in its
    /// present channels; none, if it does not.
    pub(crate) fn waiting_since(&self, id: u32) -> Option<u64> {
        let conn = &self.conns[at(id)];
        match conn.state {
            State::Closed => None,
            State::Connecting | State::Upgrading => Some(conn.tried_ns),
            State::Open => {
                // A channel that has ended answers no more.
                let first_ref = conn.memberships.iter().map(|place| place.join_ref).min();
                let is_present =
                    |pending: &&Pending| pending.reference >= first_ref.unwrap_or_default();
                conn.pending.iter().filter(is_present).map(|pending| pending.asked_ns).min()
            }
        }
    }

    /// How many answers a connection waits for.
    pub(crate) fn pending(&self, id: u32) -> usize {
        self.conns[at(id)].pending.len()
    }

    fn arm(&mut self) -> io::Result<()> {
        let next_ns = self.timers.peek().map_or(u64::MAX, |Reverse((due, _, _))| *due);
        if next_ns != self.armed_ns && next_ns != u64::MAX {
            self.armed_ns = next_ns;
            let value = Timespec {
                tv_sec: i64::try_from(next_ns / SECOND_NS).unwrap_or(i64::MAX),
                // 0 would disarm it.
                tv_nsec: i64::try_from((next_ns % SECOND_NS).max(1)).unwrap_or(1),
            };
            let never = Timespec { tv_sec: 0, tv_nsec: 0 };
            let when = Itimerspec { it_interval: never, it_value: value };
            timerfd_settime(&self.timerfd, TimerfdTimerFlags::ABSTIME, &when)?;
        }
        Ok(())
    }

    fn ready_event(&mut self, event: &Event, now: u64, script: &mut impl Script) {
        match event.token() {
            TOKEN_TIMER => self.armed_ns = u64::MAX,
            TOKEN_WAKER => {}
            Token(token) => {
                let id = count(token & at(u32::MAX));
                let generation = count(token >> 32);
                if self.conns.get(at(id)).is_none_or(|conn| conn.generation != generation) {
                    return;
                }
                if event.is_writable() || event.is_error() {
                    self.writable(id, now, script);
                }
                if event.is_readable() || event.is_read_closed() {
                    self.readable(id, event.is_read_closed(), script);
                }
            }
        }
    }

    fn fire(&mut self, timer: Timer, due_ns: u64, script: &mut impl Script, inbox: &Inbox) {
        match timer {
            Timer::Connect(id) => self.start_connecting(id),
            Timer::Heartbeat(id, generation) => self.heartbeat(id, generation, due_ns),
            Timer::Script(conn, what) => script.timer(self, conn, what, due_ns),
            Timer::Progress => {
                (inbox.reports)(Up::Progress(self.progress()));
                self.timer(due_ns + SECOND_NS, Timer::Progress);
            }
            // The phase is looked at after every turn.
            Timer::Look => {}
        }
    }

    fn due(&mut self, now: u64) -> Option<(u64, Timer)> {
        let Reverse((due, _, _)) = self.timers.peek()?;
        if *due > now {
            return None;
        }
        self.timers.pop().map(|Reverse((due, _, timer))| (due, timer))
    }
}

/// Runs a worker to its end.
///
/// # Errors
/// The system refuses what the loop needs.
pub(crate) fn run<S: Script>(
    plan: Plan,
    poll: Poll,
    inbox: &Inbox,
    build: impl FnOnce(&mut Core) -> S,
) -> io::Result<()> {
    let mut core = Core::new(plan, poll)?;
    let mut script = build(&mut core);
    let mut events = Events::with_capacity(256);
    let mut phase = Phase::Waiting;
    core.timer(now_ns() + SECOND_NS, Timer::Progress);
    loop {
        core.arm()?;
        match core.poll.poll(&mut events, Some(Duration::from_secs(1))) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        let now = now_ns();
        for event in &events {
            core.ready_event(event, now, &mut script);
        }
        // Not what becomes due meanwhile: the sockets have their turn before.
        let now = now_ns();
        while let Some((due_ns, timer)) = core.due(now) {
            core.fire(timer, due_ns, &mut script, inbox);
        }
        for id in std::mem::take(&mut core.given_up) {
            script.gave_up(&mut core, id);
        }
        for command in inbox.commands.try_iter() {
            phase = core.command(command, &mut script);
        }
        if let Some(over) = core.advance(&phase, &script, inbox) {
            match over {
                Over::Phase => phase = Phase::Waiting,
                Over::Run => return Ok(()),
            }
        }
    }
}

//! The connections of a shard: their bytes, from the socket to a request or a message, and back.
//! **Nothing here knows what a room is.**
//!
//! ```text
//!   bytes ── input (held until whole) ── http: a head ──────────> api
//!                                     └─ frames: a message ────> member
//!   socket <── output (a lent buffer, sent once a turn) <── answers, lists, close frames
//! ```
//!
//! An idle connection is its record and a few bytes in dense arrays beside it, and owns no buffer.
//! What arrives in part is held in a lent buffer until the rest comes (`input`); what it is to be
//! sent waits in another (`output`).
//!
//! A connection may be *parked*: what it sent cannot be handled yet, for its channel is in
//! transition, the way to another shard is full, or too many come in at once. Nothing more is read
//! from it then; what has been read is held, and goes on from there (`parking`).
//!
//! Invariants:
//!
//! 1. a buffer is lent to exactly one connection;
//! 2. output is flagged, and sent at the end of the turn or when the socket takes bytes again.
//!
//! Deliberately absent: sockets ([`Io`]), what a message means (`member`), and how a membership
//! ends with its connection (`member::lifecycle`).
//!
//! Called by: `audience`, `member`, `api`, `shard`. Calls: `wire`, `auth`, [`Io`].

mod buffers;
mod deadlines;
mod flags;
mod frames;
mod http;
mod input;
mod output;
mod parking;
mod session;
mod session_counts;
mod session_token;
mod stage;

use std::collections::{HashMap, VecDeque};

use crate::auth::identity::Identity;
use crate::base::arena::Arena;
use crate::base::dense::Dense;
use crate::base::slack::{ENTRIES_KEPT, Slack};
use crate::base::time::Now;
use crate::link::ids::{ConnKey, mark};
use crate::link::io::Io;
use crate::link::outbox::Cx;
use crate::wire::phx::Serializer;
use crate::wire::ws::close::{CloseCode, push_close};

use buffers::{BufferId, Buffers};
use deadlines::{Deadline, Warnings, coarse};
use input::{Input, InputId, Inputs};
use parking::Parking;
use session::Session;
use session_counts::SessionCounts;

pub(crate) use deadlines::Verdict;
pub(crate) use flags::Flags;
pub use http::API_HEADERS;
pub(crate) use http::{Exchange, TRY_AGAIN, api_headers, manner};
pub(crate) use input::Begun;
pub(crate) use output::Flushed;
pub(crate) use parking::Starved;
pub(crate) use session::{Poller, Side, TOKEN_HEADER};
pub(crate) use session_token::SessionToken;
pub(crate) use stage::Stage;

/// One connection. Whatever few have at a time lies beside it, such as input that is not whole.
pub(crate) struct Conn {
    /// Known from the upgrade on.
    pub(crate) identity: Option<Identity>,
    input: Option<InputId>,
    /// What is to be sent, other than what is said in rooms.
    out: Option<BufferId>,
}

// With the generation of its slot 24. A single byte more would make that 32, so what takes a byte
// lies beside it.
const _: () = assert!(size_of::<Conn>() <= 16);

/// All connections of a shard, sessions of long polling among them.
pub(crate) struct Conns {
    arena: Arena<Conn, mark::Conn>,
    /// By the connections' index, dense: what a flush or a sweep looks at without touching the
    /// record, and what would cost a record eight bytes for one.
    flags: Vec<Flags>,
    stages: Vec<Stage>,
    heard: Dense<u32>,
    deadlines: Dense<Deadline>,
    warnings: Warnings,
    session_counts: SessionCounts,
    inputs: Inputs,
    buffers: Buffers,
    /// Requests that wait for another shard.
    exchanges: HashMap<ConnKey, Exchange, ahash::RandomState>,
    /// What sessions of long polling have beside their connection.
    sessions: HashMap<ConnKey, Session, ahash::RandomState>,
    /// Connections with output of their own.
    touched: Vec<u32>,
    parking: Parking,
    /// Sessions that are polled and for which something has come, in order.
    stirred: VecDeque<ConnKey>,
    /// By index, of those that do not take what waits for them: since when they have taken nothing,
    /// in coarse time.
    stuck: HashMap<u32, u32, ahash::RandomState>,
}

impl Conns {
    /// None yet. A client is told `warn_ms` before the end of its token. `hasher` makes a hasher
    /// from a number that is different for each table.
    pub(crate) fn new(warn_ms: u64, hasher: impl Fn(u64) -> ahash::RandomState) -> Self {
        Self {
            arena: Arena::new(),
            flags: Vec::new(),
            stages: Vec::new(),
            heard: Dense::new(),
            deadlines: Dense::new(),
            warnings: Warnings::new(warn_ms, hasher(12)),
            session_counts: SessionCounts::new(hasher(9)),
            inputs: Inputs::default(),
            buffers: Buffers::default(),
            exchanges: HashMap::with_hasher(hasher(6)),
            sessions: HashMap::with_hasher(hasher(5)),
            touched: Vec::new(),
            parking: Parking::new(hasher(11)),
            stirred: VecDeque::new(),
            stuck: HashMap::with_hasher(hasher(10)),
        }
    }

    /// Makes the keys of another life of the shard find nothing here.
    pub(crate) fn follow(&mut self, other: &Self) {
        self.arena = Arena::following(&other.arena);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.arena.len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.arena.is_empty()
    }

    /// Whether a key still finds its connection.
    pub(crate) fn contains(&self, key: ConnKey) -> bool {
        self.arena.contains(key)
    }

    /// The connection with this index, if there is one now.
    pub(crate) fn key_at(&self, index: u32) -> Option<ConnKey> {
        self.arena.key_at(index)
    }

    /// All connections, in the order of their indices.
    pub(crate) fn keys(&self) -> impl Iterator<Item = ConnKey> {
        self.arena.iter().map(|(key, _)| key)
    }

    /// Who a connection belongs to, if it is live and somebody's.
    pub(crate) fn identity(&self, key: ConnKey) -> Option<&Identity> {
        self.arena.get(key)?.identity.as_ref()
    }

    /// The facts about the connection with this index.
    pub(crate) fn flags(&self, index: u32) -> Flags {
        self.flags.get(index as usize).copied().unwrap_or_default()
    }

    /// Whether a live connection is being closed.
    pub(crate) fn is_closing(&self, key: ConnKey) -> bool {
        self.contains(key) && self.flags(key.index()).is_closing()
    }

    /// Notes that a live connection is being closed: what comes from it is thrown away.
    pub(crate) fn set_closing(&mut self, key: ConnKey) {
        self.flags[key.index() as usize].set_closing();
    }

    /// What a live connection speaks.
    pub(crate) fn stage(&self, key: ConnKey) -> Stage {
        self.stages[key.index() as usize]
    }

    /// Changes what a live connection speaks, and returns what it spoke before.
    pub(crate) fn replace_stage(&mut self, key: ConnKey, stage: Stage) -> Stage {
        std::mem::replace(&mut self.stages[key.index() as usize], stage)
    }

    /// The encoding of a live connection, by its index.
    pub(crate) fn serializer(&self, index: u32) -> Serializer {
        if self.flags(index).speaks_v1() { Serializer::V1 } else { Serializer::V2 }
    }

    /// Takes in a connection about which nothing is known yet.
    ///
    /// Requires: a place. Changes: the table. Emits: nothing.
    pub(crate) fn take_in(&mut self, now_ms: u64) -> ConnKey {
        let key = self.arena.insert(Conn { identity: None, input: None, out: None });
        let index = key.index() as usize;
        if self.flags.len() <= index {
            self.flags.resize(index + 1, Flags::default());
            self.stages.resize(index + 1, Stage::Http);
            self.heard.grow(index + 1, || 0);
            self.deadlines.grow(index + 1, || Deadline::NEVER);
        }
        self.flags[index] = Flags::default();
        self.stages[index] = Stage::Http;
        self.heard[index] = coarse(now_ms);
        key
    }

    /// `Http -> Unsettled`: a connection has become a WebSocket of somebody.
    pub(crate) fn become_socket(
        &mut self,
        now: Now,
        key: ConnKey,
        identity: Identity,
        serializer: Serializer,
    ) {
        if !self.contains(key) {
            return;
        }
        self.identify(now, key, identity);
        let index = key.index() as usize;
        self.stages[index] = Stage::Unsettled;
        if serializer == Serializer::V1 {
            self.flags[index].set_speaks_v1();
        }
        self.reconsider(key);
    }

    /// `Http -> Echo`: a connection has become a WebSocket that says what it hears.
    pub(crate) fn become_echo(&mut self, key: ConnKey) {
        self.stages[key.index() as usize] = Stage::Echo;
        self.reconsider(key);
    }

    /// Begins to close a connection that is a member of nothing: the close frame goes after what it
    /// has not been sent.
    ///
    /// Requires: live, no channel, no session. Changes: output, input, deadline. Emits: nothing.
    pub(crate) fn close<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: ConnKey,
        code: CloseCode,
        reason: &str,
    ) {
        if self.contains(key) && self.stage(key).is_open() {
            push_close(self.output(key.index()), code, reason);
        }
        self.end(cx, key);
    }

    /// Lets the output go out, and then closes. An answer over HTTP has as long as it makes
    /// progress.
    ///
    /// Requires: live. Changes: output, input, deadline. Emits: nothing.
    pub(crate) fn end<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: ConnKey) {
        self.output(key.index());
        let flags = &mut self.flags[key.index() as usize];
        flags.set_closing();
        flags.set_parked(false);
        self.set_closing_deadline(cx, key);
        self.drop_input(key);
        // What comes now is read, so that the kernel does not answer it with a reset, and thrown
        // away.
        cx.io.resume(key.index());
    }

    /// Lets go of a connection that is a member of nothing, and of all that it had. Returns the
    /// request that waited for another shard, which is to be told.
    pub(crate) fn remove<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: ConnKey) -> Option<Exchange> {
        self.drop_input(key);
        let conn = self.forget(key)?;
        let exchange = self.exchanges.remove(&key);
        if let Some(id) = conn.out {
            self.buffers.give_back(id);
        }
        cx.io.close(key.index());
        exchange
    }

    /// Drops what a connection that is to be removed has sent and is to be sent, and looks for
    /// nothing more of it. Its socket is closed when it is removed.
    ///
    /// Requires: live. Changes: output, input, flags (closing, shut), deadline. Emits: nothing.
    pub(crate) fn silence(&mut self, key: ConnKey) {
        self.drop_input(key);
        let Some(conn) = self.arena.get_mut(key) else { return };
        if let Some(id) = conn.out.take() {
            self.buffers.give_back(id);
        }
        let index = key.index() as usize;
        self.flags[index].silence();
        self.deadlines[index] = Deadline::NEVER;
        self.note_taken(key.index());
        self.parking.forget(key);
    }

    /// Takes a connection's record out of this shard, and forgets all that lies beside it by its
    /// index.
    fn forget(&mut self, key: ConnKey) -> Option<Conn> {
        let conn = self.arena.remove(key)?;
        let index = key.index() as usize;
        if self.flags[index].is_session() {
            self.sessions.remove(&key);
            let identity = conn.identity.as_ref().expect("a session is somebody's");
            self.session_counts.remove(identity.user());
        }
        self.flags[index] = Flags::default();
        self.deadlines[index] = Deadline::NEVER;
        self.warnings.forget(key.index());
        self.note_taken(key.index());
        self.parking.forget(key);
        Some(conn)
    }

    /// Takes a connection out that goes to another shard: who it is, and what it sent that has not
    /// been handled.
    ///
    /// Requires: no channel, no output.
    pub(crate) fn depart(&mut self, key: ConnKey) -> Option<(Identity, Serializer, Vec<u8>)> {
        let input = self.arena.get_mut(key).and_then(|conn| self.inputs.free(&mut conn.input));
        let held = input.and_then(|input| input.held).map(|id| {
            let bytes = self.buffers.bytes(id).clone();
            self.buffers.give_back(id);
            bytes
        });
        let serializer = self.serializer(key.index());
        let identity = self.forget(key)?.identity.expect("who joins is somebody");
        Some((identity, serializer, held.unwrap_or_default()))
    }

    /// Takes a connection in that another shard has handed off, with what it sent. It is parked,
    /// and handled at the end of the turn.
    pub(crate) fn arrive(
        &mut self,
        now: Now,
        identity: Identity,
        serializer: Serializer,
        held: &[u8],
    ) -> ConnKey {
        let key = self.take_in(now.mono_ms);
        self.become_socket(now, key, identity, serializer);
        self.stages[key.index() as usize] = Stage::Settled;
        if let Some(conn) = self.arena.get_mut(key) {
            let input = self.inputs.made(&mut conn.input);
            input.resumes = true;
            let id = *input.held.insert(self.buffers.lend());
            self.buffers.bytes(id).extend_from_slice(held);
        }
        self.flags[key.index() as usize].set_parked(true);
        self.unpark(key);
        key
    }

    /// Whether a turn has something left to do here.
    pub(crate) fn has_work(&self) -> bool {
        !self.touched.is_empty() || !self.stirred.is_empty() || self.parking.has_work()
    }

    /// How many buffers are lent.
    pub(crate) fn buffers_lent(&self) -> usize {
        self.buffers.lent()
    }

    /// How many bytes of memory the lent buffers have.
    pub(crate) fn lent_bytes(&mut self) -> usize {
        self.buffers.lent_bytes()
    }

    /// How many bytes of memory all messages in fragments take. Walks over them.
    pub(crate) fn fragments_bytes(&self) -> usize {
        self.inputs.heap_bytes()
    }

    /// How much memory what a connection sent, or is to be sent, takes: in bytes.
    pub(crate) fn buffered_bytes(&self, key: ConnKey) -> usize {
        let Some(conn) = self.arena.get(key) else { return 0 };
        let input = self.inputs.of(conn.input);
        let held = input.and_then(|input| input.held);
        let buffers = [held, conn.out].into_iter().flatten();
        buffers.map(|id| self.buffers.memory_bytes(id)).sum::<usize>()
            + input.map_or(0, Input::heap_bytes)
    }

    /// Gives back memory that most of is not needed.
    pub(crate) fn tidy(&mut self) {
        let Self {
            arena: _,
            flags: _,
            stages: _,
            heard: _,
            deadlines: _,
            warnings,
            session_counts,
            inputs,
            buffers,
            exchanges,
            sessions,
            touched,
            parking,
            stirred,
            stuck,
        } = self;
        warnings.trim(ENTRIES_KEPT);
        buffers.tidy(ENTRIES_KEPT);
        inputs.trim(ENTRIES_KEPT);
        exchanges.trim(ENTRIES_KEPT);
        sessions.trim(ENTRIES_KEPT);
        session_counts.trim(ENTRIES_KEPT);
        touched.trim(ENTRIES_KEPT);
        parking.trim();
        stirred.trim(ENTRIES_KEPT);
        stuck.trim(ENTRIES_KEPT);
    }

    /// What can still be said to the connections of a shard that panicked: why it ends. Nothing is
    /// expected of their state.
    pub(crate) fn last_words<I: Io>(&mut self, io: &mut I) {
        for (key, conn) in self.arena.iter() {
            let index = key.index();
            let flags = self.flags.get(index as usize).copied().unwrap_or_default();
            let is_open = self.stages.get(index as usize).is_some_and(|stage| stage.is_open());
            if flags.is_session() || flags.is_shut() {
                continue;
            }
            // What was begun goes first: the close frame must not stand in the middle of another.
            let out = conn.out.map(|out| self.buffers.bytes(out).clone());
            let mut bytes = out.unwrap_or_default();
            if is_open && !flags.is_closing() {
                push_close(&mut bytes, CloseCode::Internal, "");
            }
            io.write(index, &bytes);
            io.shut(index);
        }
    }

    /// The most output that waits for one connection, of those that are not being closed: in bytes.
    pub(crate) fn out_bytes_max(&self) -> usize {
        let open = self.arena.iter().filter(|(key, _)| !self.flags(key.index()).is_closing());
        open.filter_map(|(_, conn)| Some(self.buffers.bytes_count(conn.out?)))
            .max()
            .unwrap_or_default()
    }

    /// The most input that is held of one connection, in bytes.
    pub(crate) fn held_bytes_max(&self) -> usize {
        self.keys().map(|key| self.held_bytes(key)).max().unwrap_or_default()
    }

    /// Panics if the parts do not fit each other: for tests, it looks at everything.
    pub(crate) fn check(&self) {
        let (mut buffers, mut inputs) = (0, 0);
        for (key, conn) in self.arena.iter() {
            self.check_conn(key, conn);
            let held = self.inputs.of(conn.input).and_then(|input| input.held);
            buffers += usize::from(held.is_some()) + usize::from(conn.out.is_some());
            inputs += usize::from(conn.input.is_some());
        }
        assert_eq!(self.buffers.lent(), buffers, "a buffer is lent to one connection");
        assert_eq!(self.inputs.len(), inputs, "an input is of one connection");
    }

    fn check_conn(&self, key: ConnKey, conn: &Conn) {
        let flags = self.flags(key.index());
        assert_eq!(conn.out.is_some(), flags.has_out(), "output is flagged");
        let is_touched = self.touched.contains(&key.index());
        assert!(
            !flags.has_out() || flags.is_blocked() || is_touched,
            "output is sent at the end of the turn"
        );
        let is_timed = self.stuck.contains_key(&key.index());
        assert_eq!(is_timed, flags.is_stuck(), "a full socket has its time to take more");
        let stage = self.stage(key);
        assert!(
            !flags.is_session() || stage == Stage::Settled,
            "a session stays, for its token names the shard"
        );
        let has_identity = matches!(stage, Stage::Unsettled | Stage::Settled);
        assert_eq!(conn.identity.is_some(), has_identity, "who may join is somebody");
        assert!(has_identity || !flags.speaks_v1(), "an encoding is for messages");
        let waits = self.exchanges.contains_key(&key);
        assert_eq!(stage == Stage::Waiting, waits, "a request that waits is kept");
        let has_ticket = self.sessions.contains_key(&key);
        assert_eq!(flags.is_session(), has_ticket, "a session has a ticket");
    }
}

//! Pretend sockets and pretend rings: what a [`Shard`] acts on.
//!
//! What it does not model: the kernel's buffers behind a socket, events that come for nothing, and
//! rings that are full to the byte. `tests/hostile` (real sockets) and the loom tests of `mesh`
//! would notice.

use std::cell::Cell;

use chinwag::base::arena::Key;
use chinwag::limits::{MESH_BUSY_BYTES, MESH_PAUSE_BYTES};
use chinwag::link::ids::ConnKey;
use chinwag::shard::{Handoff, Io};

use crate::draws::Draws;
use crate::faults::{Bug, meddle};
use crate::logs::SimLog;
use crate::progress::Progress;

/// A connection between a client and a shard, as the two kernels see it.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "states of two kernels, each on its own")]
pub(crate) struct Pipe {
    pub(crate) key: ConnKey,
    /// What the client has written, and the server has not read.
    pub(crate) to_server: Vec<u8>,
    /// The client writes no more.
    pub(crate) client_fin: bool,
    /// The client's machine has said that there is no connection.
    pub(crate) reset: bool,
    /// The shard was told that it has ended so, which it is once.
    pub(crate) is_end_told: bool,
    /// What the server has written, and the client has not read.
    pub(crate) to_client: Vec<u8>,
    /// The server writes no more.
    pub(crate) server_fin: bool,
    /// One shard has handed it off, and the other has not taken it over yet.
    pub(crate) away: bool,
    /// The server has let go of it.
    pub(crate) gone: bool,
    /// What was written may be lost, since the server let go of it with something unread.
    pub(crate) lossy: bool,
    /// How many bytes `to_client` takes.
    pub(crate) window: usize,
    /// The server was told that its socket is full, and waits to hear otherwise.
    pub(crate) blocked: bool,
    /// What it took of what it was given, and when.
    pub(crate) progress: Progress,
    /// The server does not want to read.
    pub(crate) stopped: bool,
    /// Whether it ever did not.
    pub(crate) was_stopped: bool,
}

impl Pipe {
    pub(crate) fn new(key: ConnKey, window: usize) -> Self {
        Self {
            key,
            to_server: Vec::new(),
            client_fin: false,
            reset: false,
            is_end_told: false,
            to_client: Vec::new(),
            server_fin: false,
            away: false,
            gone: false,
            lossy: false,
            window,
            blocked: false,
            progress: Progress::default(),
            stopped: false,
            was_stopped: false,
        }
    }

    /// What is left where a connection was handed off.
    pub(crate) fn left() -> Self {
        Self { gone: true, ..Self::new(Key::NONE, 0) }
    }

    /// Whether it is a connection of the shard.
    pub(crate) fn is_there(&self) -> bool {
        !self.gone && !self.away
    }

    /// Whether the server has something to read, be it the end.
    pub(crate) fn is_readable(&self) -> bool {
        // That it is broken is seen even by who does not want to read.
        let has_end = (self.reset || self.client_fin && !self.stopped) && !self.is_end_told;
        let has_bytes = !self.reset && !self.stopped && !self.to_server.is_empty();
        self.is_there() && (has_end || has_bytes)
    }

    /// The client's machine says that there is no connection.
    pub(crate) fn reset(&mut self) {
        self.to_server.clear();
        (self.reset, self.is_end_told) = (true, false);
    }

    pub(crate) fn is_writable(&self) -> bool {
        let has_space = self.to_client.len() < self.window;
        self.is_there() && self.blocked && !self.reset && has_space
    }

    /// Whether the client has something to read, be it the end.
    pub(crate) fn is_heard(&self) -> bool {
        !self.to_client.is_empty() || self.server_fin || self.gone
    }
}

/// One shard's sockets, and the rings that lead away from it.
pub(crate) struct Net {
    shard: u16,
    /// The time by the clock of all.
    pub(crate) now_ms: u64,
    pub(crate) log: SimLog,
    draws: Draws,
    bug: Option<Bug>,
    pub(crate) pipes: Vec<Pipe>,
    by_conn: Vec<Option<usize>>,
    /// By the shard that they lead to.
    pub(crate) rings: Vec<Vec<Vec<u8>>>,
    /// Connections on their way, by the shard that they go to: each with the index of its pipe.
    pub(crate) handoffs: Vec<Vec<(usize, Handoff)>>,
    pub(crate) jammed: Vec<bool>,
    /// How many bytes are in a ring when those who feed it are to pause.
    pub(crate) ring_bytes: usize,
    pub(crate) short_write: u64,
    pub(crate) slow_work: u64,
    /// Whether the last words are being said.
    pub(crate) is_late: bool,
    /// Whether its shard has panicked, and says why connections end.
    pub(crate) is_dying: bool,
    elapsed_us: Cell<u64>,
    clock_draws: Cell<u64>,
    /// How many more bytes than that may wait: what was let in before, and what cannot be refused.
    pub(crate) spare_bytes: usize,
    /// How many bytes ever waited in a ring beyond those from which on it is busy.
    pub(crate) fullest: usize,
    /// How many writes there were.
    pub(crate) writes: usize,
    /// All of them, in order, in one number.
    pub(crate) digest: u64,
}

impl Net {
    pub(crate) fn new(
        shard: u16,
        shards: u16,
        now_ms: u64,
        log: SimLog,
        draws: Draws,
        bug: Option<Bug>,
    ) -> Self {
        Self {
            shard,
            now_ms,
            log,
            draws,
            bug,
            pipes: Vec::new(),
            by_conn: Vec::new(),
            rings: vec![Vec::new(); usize::from(shards)],
            handoffs: (0..shards).map(|_| Vec::new()).collect(),
            jammed: vec![false; usize::from(shards)],
            ring_bytes: MESH_PAUSE_BYTES,
            short_write: u64::MAX,
            slow_work: u64::MAX,
            is_late: false,
            is_dying: false,
            elapsed_us: Cell::new(0),
            clock_draws: Cell::new(0),
            spare_bytes: usize::MAX,
            fullest: 0,
            writes: 0,
            digest: 0,
        }
    }

    /// Takes in a new connection.
    pub(crate) fn insert(&mut self, pipe: Pipe) -> usize {
        let conn = pipe.key.index() as usize;
        if self.by_conn.len() <= conn {
            self.by_conn.resize(conn + 1, None);
        }
        assert_eq!(self.by_conn[conn], None, "a number is given out once at a time");
        self.by_conn[conn] = Some(self.pipes.len());
        self.pipes.push(pipe);
        self.pipes.len() - 1
    }

    fn pipe(&mut self, conn: u32) -> &mut Pipe {
        self.pipe_if_any(conn).expect("the shard acts on connections that it has")
    }

    /// A session of long polling has none.
    fn pipe_if_any(&mut self, conn: u32) -> Option<&mut Pipe> {
        let index = self.by_conn.get(conn as usize).copied().flatten()?;
        Some(&mut self.pipes[index])
    }

    fn note(&mut self, conn: u32, bytes: &[u8]) {
        for byte in conn.to_le_bytes().iter().chain(bytes) {
            self.digest =
                (self.digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(9);
        }
    }

    /// The shard begins anew: it has no connections any more, and its log has lost what it may.
    pub(crate) fn begin_anew(&mut self) {
        for index in self.by_conn.iter_mut().filter_map(Option::take) {
            let pipe = &mut self.pipes[index];
            (pipe.gone, pipe.lossy, pipe.blocked) = (true, true, false);
            pipe.to_server.clear();
        }
        self.log.crash();
    }

    /// How many bytes wait for a shard.
    pub(crate) fn in_ring(&self, shard: usize) -> usize {
        self.rings[shard].iter().map(Vec::len).sum()
    }
}

impl Io for Net {
    type Log = SimLog;

    fn log(&mut self) -> &mut SimLog {
        &mut self.log
    }

    fn write(&mut self, conn: u32, bytes: &[u8]) -> usize {
        if self.is_dying && (bytes.is_empty() || self.pipe(conn).blocked) {
            // Last words trust nothing that the shard knew.
            return 0;
        }
        assert!(!bytes.is_empty(), "a call for nothing");
        self.writes += 1;
        let is_short = self.draws.one_in(self.short_write);
        let most = if is_short { self.draws.skewed(bytes.len()) } else { bytes.len() };
        let is_forgotten =
            self.bug == Some(Bug::ForgetUpgrade) && bytes.starts_with(b"HTTP/1.1 101");
        let now_ms = self.now_ms;
        let pipe = self.pipe(conn);
        if is_forgotten && pipe.was_stopped {
            return bytes.len();
        }
        assert!(
            !pipe.blocked,
            "a socket that is full is not written to until it says that it is not"
        );
        assert!(!pipe.server_fin && !pipe.gone, "nothing is written after the end");
        let space = if pipe.reset { 0 } else { pipe.window.saturating_sub(pipe.to_client.len()) };
        let written = most.min(space);
        pipe.to_client.extend_from_slice(&bytes[..written]);
        pipe.blocked = written < bytes.len();
        pipe.progress.wrote(now_ms, bytes.len(), written);
        crate::trace!("shard {} writes {written} of {} bytes to {conn}", self.shard, bytes.len());
        self.note(conn, &bytes[..written]);
        written
    }

    fn shut(&mut self, conn: u32) {
        let pipe = self.pipe(conn);
        crate::trace!("ends {:?}", pipe.key);
        assert!(!pipe.server_fin, "a connection ends once");
        pipe.server_fin = true;
    }

    fn close(&mut self, conn: u32) {
        let is_rude = self.draws.one_in(2);
        let Some(pipe) = self.pipe_if_any(conn) else { return };
        crate::trace!("lets go of {:?}", pipe.key);
        assert!(!pipe.gone, "a connection is let go once");
        pipe.gone = true;
        pipe.blocked = false;
        if pipe.reset || !pipe.to_server.is_empty() && is_rude {
            // The kernel answers what was never read with a reset, which may overtake what was
            // written.
            pipe.lossy = true;
            pipe.to_client.clear();
        }
        pipe.to_server.clear();
        self.by_conn[conn as usize] = None;
    }

    fn resume(&mut self, conn: u32) {
        if let Some(pipe) = self.pipe_if_any(conn) {
            pipe.stopped = false;
        }
    }

    fn hand_off(&mut self, conn: u32, shard: u16, handoff: Handoff) {
        assert_ne!(shard, self.shard, "who stays is not handed off");
        let index =
            self.by_conn[conn as usize].take().expect("the shard acts on connections that it has");
        let pipe = &mut self.pipes[index];
        assert!(!pipe.gone && !pipe.server_fin && !pipe.blocked, "who is handed off owes nothing");
        crate::trace!("hands {:?} off to shard {shard}", pipe.key);
        pipe.away = true;
        pipe.stopped = false;
        self.handoffs[usize::from(shard)].push((index, handoff));
    }

    fn send(&mut self, shard: u16, record: &[u8]) {
        assert_ne!(shard, self.shard, "a shard speaks to itself by calls");
        let bug = self.bug.filter(|bug| self.is_late || !bug.is_late());
        let is_full = self.in_ring(usize::from(shard)) > self.ring_bytes;
        meddle(bug, &mut self.draws, &mut self.rings[usize::from(shard)], is_full, record);
        let in_ring = self.in_ring(usize::from(shard));
        let busy_bytes = MESH_BUSY_BYTES / MESH_PAUSE_BYTES * self.ring_bytes;
        self.fullest = self.fullest.max(in_ring.saturating_sub(busy_bytes));
        assert!(
            self.fullest <= self.spare_bytes,
            "what waits for another shard is bounded: {in_ring} bytes, and busy from {busy_bytes} on, for {record:?}",
            record = record[0]
        );
    }

    fn waiting_bytes(&self, shard: u16) -> usize {
        if self.bug == Some(Bug::NeverFull) {
            return 0;
        }
        self.in_ring(usize::from(shard)) * MESH_PAUSE_BYTES / self.ring_bytes
    }

    fn elapsed_us(&self) -> u64 {
        // A clock of its own: that it is looked at must not change what else is drawn.
        let mut draws = Draws::new(self.clock_draws.get());
        self.clock_draws.set(draws.number());
        let took = if draws.one_in(self.slow_work) {
            draws.range(1_000, 90_000)
        } else {
            draws.below(200)
        };
        self.elapsed_us.set(self.elapsed_us.get() + took);
        self.elapsed_us.get()
    }
}

//! Who reads, by the world's own record: what each socket took of what there was for it, and when.
//! So a connection that is closed with 1013 ("does not read") is judged by what was seen of it, and
//! so is one that is kept.
//!
//! It may be closed if its socket took nothing for `limits.out_ms`, or if more waited than
//! [`OUT_FACTOR`] times `limits.conn_out_bytes`: then as much comes before the close frame. It must
//! be closed once the time is over, within a sweep. What ends where memory is short has a reason of
//! its own.
//!
//! What it does not model, and which test could notice: the kernel's buffers, which make room in
//! large steps (`tests/hostile/slow.rs`); and sockets that say at once that they take more. Here
//! that is an event like others, and may come late: so what a socket took counts, and not what its
//! client read. How much waits is the server's to know: that too much did is judged only where the
//! client reads on until the close frame. One that does not hear why it ends, as HTTP never does,
//! is judged only if it is kept. That whoever is closed for memory holds the most is not judged
//! (`tests/hostile/memory.rs`).

use chinwag::limits::{LINGER_MS, Limits, OUT_FACTOR, SWEEP_MS};

use crate::net::Pipe;
use crate::world::Host;

/// How much later than a bound says an inspection may find that it is over, in milliseconds: times
/// are kept in units of 128 ms, and rounded up twice.
const COARSE_MS: u64 = 2 * 128;

/// What a socket has taken of what its connection is sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// Whether it was ever given more than it took.
    was_full: bool,
    /// Since when something waits of which it has taken nothing, in milliseconds.
    waits_since_ms: Option<u64>,
    /// What it has taken since it was last full, in bytes: all of this has waited.
    waited_bytes: usize,
    /// Whether a turn of its shard found that it had taken nothing for as long as it may.
    was_due: bool,
    /// What there was of turns since a sweep must have found it.
    late: Option<Late>,
}

/// The turns of a shard in which a connection that takes nothing is to be closed, and then let go
/// of.
///
/// A turn ends one connection at the least, sessions among them, and a sweep that has not ended
/// goes on in the next millisecond. Those that are broken go before it. So in twice as many turns,
/// each at another time, as the shard has connections all are found.
#[derive(Clone, Copy, Debug, Default)]
struct Late {
    /// When the last of them was, in milliseconds.
    turn_ms: u64,
    /// How many may be needed, by the most connections that there were.
    turns_max: usize,
    /// How many there were until it was closed at the latest, and when the last of these was.
    finding: usize,
    closed_ms: u64,
    /// How many there were since its time to take the close frame was over.
    letting_go: usize,
}

impl Late {
    /// One more turn of a shard with so many connections. True if this one is to be gone by now.
    fn is_over(&mut self, now_ms: u64, conns: usize) -> bool {
        if now_ms == self.turn_ms {
            return false;
        }
        self.turn_ms = now_ms;
        self.turns_max = self.turns_max.max(2 * conns);
        if self.finding < self.turns_max {
            self.finding += 1;
            self.closed_ms = now_ms;
        } else if now_ms >= self.closed_ms + LINGER_MS + COARSE_MS + SWEEP_MS {
            self.letting_go += 1;
        }
        self.letting_go > self.turns_max
    }
}

impl Progress {
    /// Of one that polls: it takes something only now and then.
    pub(crate) fn of_poller() -> Self {
        Self { was_full: true, ..Self::default() }
    }

    pub(crate) fn was_full(&self) -> bool {
        self.was_full
    }

    /// The socket is given some bytes, and takes so many.
    pub(crate) fn wrote(&mut self, now_ms: u64, given: usize, taken: usize) {
        self.was_full |= taken < given;
        if self.waits_since_ms.is_some() {
            self.waited_bytes += taken;
        }
        if taken == given {
            self.waits_since_ms = None;
        } else if taken > 0 || self.waits_since_ms.is_none() {
            self.waits_since_ms = Some(now_ms);
        }
        if taken > 0 {
            self.late = None;
        }
    }

    /// Since when something waits of which the socket has taken nothing, if something does.
    pub(crate) fn waits_since_ms(&self) -> Option<u64> {
        self.waits_since_ms
    }

    fn waits_ms(&self, now_ms: u64) -> u64 {
        self.waits_since_ms.map_or(0, |since_ms| now_ms - since_ms)
    }

    /// Whether its connection may be closed for not reading. `limits` are those that the checks
    /// know.
    pub(crate) fn may_be_closed(&self, limits: &Limits) -> bool {
        self.was_due || self.waited_bytes > OUT_FACTOR * limits.conn_out_bytes
    }
}

/// A shard is about to end a turn, in which it may look for those that do not read.
pub(crate) fn begin_turn(limits: &Limits, host: &mut Host, now_ms: u64) {
    for Pipe { progress, .. } in host.net.pipes.iter_mut().filter(|pipe| pipe.is_there()) {
        progress.was_due |= progress.waits_ms(now_ms) >= limits.out_ms;
    }
}

/// A shard has ended a turn: those who take nothing have been found.
pub(crate) fn check_after_turn(limits: &Limits, host: &mut Host, now_ms: u64) {
    let conns = host.shard.conns_count();
    for pipe in host.net.pipes.iter_mut().filter(|pipe| pipe.is_there()) {
        let progress = &mut pipe.progress;
        if progress.waits_since_ms.is_none() && !pipe.server_fin {
            // It has all that there was, and goes on.
            *progress = Progress { was_full: progress.was_full, ..Progress::default() };
        } else if progress.waits_ms(now_ms) >= limits.out_ms + COARSE_MS + SWEEP_MS {
            let is_over = progress.late.get_or_insert_default().is_over(now_ms, conns);
            assert!(!is_over, "who takes nothing is closed in time, at {now_ms}: {progress:?}");
        }
    }
}

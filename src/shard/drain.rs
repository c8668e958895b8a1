//! A stop, at a pace: connections are closed little by little, since the pace of closing is the
//! pace at which they come back somewhere.

use super::conn::{Conn, Stage};
use super::{Io, Shard, Timer, Turn};
use crate::base::arena::Key;
use crate::limits::LINGER_MS;
use crate::wire::ws::close::CloseCode;

/// How a stop goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draining {
    until_ms: u64,
}

/// How often some more connections are closed during a stop, in milliseconds.
const DRAIN_STEP_MS: u64 = 50;

impl Shard {
    /// Begins to stop: takes nobody in any more, and closes those who are there, spread over
    /// `over_ms`.
    pub fn drain<I: Io>(&mut self, turn: &mut Turn<'_, I>, over_ms: u64) {
        if self.draining.is_none() {
            self.draining = Some(Draining { until_ms: turn.now.mono_ms + over_ms });
            self.drain_some(turn);
        }
    }

    /// Closes as many connections as it takes to be done in time.
    pub(super) fn drain_some<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        let Some(Draining { until_ms }) = self.draining else { return };
        let steps = until_ms.saturating_sub(turn.now.mono_ms) / DRAIN_STEP_MS + 1;
        // A request that waits is answered first: a poll when its session ends, on whichever shard
        // that is.
        let is_late = turn.now.mono_ms > until_ms + LINGER_MS;
        let may_close = |key: Key<Conn>| {
            !self.is_closing(key) && (is_late || self.stage_of(key) != Stage::Waiting)
        };
        let open: Vec<_> =
            self.conns.iter().map(|(key, _)| key).filter(|key| may_close(*key)).collect();
        let count = open.len().div_ceil(usize::try_from(steps).unwrap_or(usize::MAX));
        for key in open.into_iter().take(count) {
            self.metrics.drained += 1;
            self.close(turn, key, CloseCode::Restart, "");
        }
        if !self.conns.is_empty() {
            self.timers.push(turn.now.mono_ms + DRAIN_STEP_MS, Timer::Drain);
        }
    }
}

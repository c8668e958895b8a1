//! A stop, at a pace: connections are closed little by little, since the pace of closing is the
//! pace at which they come back somewhere.

use super::{Shard, Turn};
use crate::conn::Stage;
use crate::limits::LINGER_MS;
use crate::link::ids::ConnKey;
use crate::link::io::Io;
use crate::link::outbox::Timer;
use crate::wire::ws::close::CloseCode;

/// How a stop goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draining {
    until_ms: u64,
}

/// How often some more connections are closed during a stop, in milliseconds.
const DRAIN_STEP_MS: u64 = 50;

impl Shard {
    /// Begins to stop: takes nobody in any more, and closes those that are there, spread over
    /// `over_ms`.
    pub fn drain<I: Io>(&mut self, turn: &mut Turn<'_, I>, over_ms: u64) {
        if self.common.draining.is_none() {
            self.common.draining = Some(Draining { until_ms: turn.now.mono_ms + over_ms });
            self.drain_some(turn);
        }
    }

    /// Closes as many connections as it takes to be done in time.
    pub(super) fn drain_some<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        let Some(Draining { until_ms }) = self.common.draining else { return };
        let steps = until_ms.saturating_sub(turn.now.mono_ms) / DRAIN_STEP_MS + 1;
        // A request that waits is answered first: a poll when its session ends, on whichever shard
        // that is.
        let is_late = turn.now.mono_ms > until_ms + LINGER_MS;
        let conns = &self.members.conns;
        let may_close = |key: &ConnKey| {
            let flags = conns.flags(key.index());
            // A session that has ended waits for a poll that may never come.
            let is_closing = flags.is_closing() && (!flags.is_session() || flags.is_shut());
            !is_closing && (is_late || conns.stage(*key) != Stage::Waiting)
        };
        let open: Vec<_> = conns.keys().filter(may_close).collect();
        let count = open.len().div_ceil(usize::try_from(steps).unwrap_or(usize::MAX));
        for key in open.into_iter().take(count) {
            self.common.metrics.drained += 1;
            self.members.close(&mut self.common.cx(turn), key, CloseCode::Restart, "");
            self.relay(turn);
        }
        if !self.members.conns.is_empty() {
            self.common.timers.push(turn.now.mono_ms + DRAIN_STEP_MS, Timer::Drain);
        }
    }
}

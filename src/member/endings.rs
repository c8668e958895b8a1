//! The ends of connections, so many in a turn: each ends all its memberships, and closes a socket.
//! Thousands may break, fall silent or expire at the same moment, and others speak meanwhile.
//!
//! Every end spends. Those that can wait do, where a turn has none left for them: connections that
//! are broken, and what a sweep has still to look at.

use std::collections::VecDeque;

use crate::base::slack::{ENTRIES_KEPT, Slack};
use crate::limits::{ENDING_WORK, LEAVING_WORK};
use crate::link::ids::ConnKey;
use crate::link::io::Io;
use crate::link::outbox::Cx;

/// What ends of connections may still do in a turn, and which wait for the next one.
#[derive(Debug, Default)]
pub(super) struct Endings {
    /// What is left for them, in units of [`TURN_WORK`](crate::limits::TURN_WORK).
    left: u32,
    /// Connections that are broken and wait to be removed, in order.
    broken: VecDeque<ConnKey>,
    /// Where the sweep that is under way goes on.
    pub(super) swept: usize,
}

impl Endings {
    /// Begins a turn.
    pub(super) fn refill<I: Io>(&mut self, cx: &Cx<'_, I>) {
        self.left = cx.settings.endings_work();
    }

    /// Whether one more may end in this turn. What was begun is finished, whatever it costs.
    pub(super) fn has_left(&self) -> bool {
        self.left > 0
    }

    /// One ends, with so many channels.
    pub(super) fn spend<I: Io>(&mut self, cx: &mut Cx<'_, I>, channels: usize) {
        let channels = u32::try_from(channels).unwrap_or(u32::MAX);
        let work = ENDING_WORK.saturating_add(channels.saturating_mul(LEAVING_WORK));
        self.left = self.left.saturating_sub(work);
        cx.budget.spend(work);
    }

    /// A broken one waits for another turn.
    pub(super) fn wait(&mut self, key: ConnKey) {
        self.broken.push_back(key);
    }

    /// The next one that waits, if it may end in this turn.
    pub(super) fn next_broken(&mut self) -> Option<ConnKey> {
        if self.has_left() { self.broken.pop_front() } else { None }
    }

    /// Whether some wait.
    pub(super) fn has_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    /// Gives back memory that is mostly unused.
    pub(super) fn trim(&mut self) {
        self.broken.trim(ENTRIES_KEPT);
    }
}

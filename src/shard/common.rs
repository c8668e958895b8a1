//! What the parts of a shard share, and the turn's view of it that each of them is given.

use std::sync::Arc;

use super::drain::Draining;
use crate::base::budget::Budget;
use crate::base::timers::Timers;
use crate::link::io::{Io, Turn};
use crate::link::metrics::Metrics;
use crate::link::outbox::{Cx, Timer};
use crate::link::pressure::Pressure;
use crate::link::settings::Settings;

/// What the parts of a shard share.
pub(super) struct Common {
    pub(super) id: u16,
    pub(super) settings: Arc<Settings>,
    pub(super) metrics: Metrics,
    pub(super) timers: Timers<Timer>,
    /// Whether timers that are due were left for the next turn.
    pub(super) has_due_timers: bool,
    /// How near its memory is to its bound, when that was last looked at.
    pub(super) pressure: Pressure,
    pub(super) draining: Option<Draining>,
    /// What connections and other shards may still ask for in this turn.
    pub(super) budget: Budget,
    /// Memory to write a record in.
    pub(super) record: Vec<u8>,
}

impl Common {
    /// The view of it that a part is given in this turn.
    pub(super) fn cx<'a, I: Io>(&'a mut self, turn: &'a mut Turn<'_, I>) -> Cx<'a, I> {
        Cx {
            id: self.id,
            now: turn.now,
            io: turn.io,
            settings: &self.settings,
            metrics: &mut self.metrics,
            timers: &mut self.timers,
            pressure: self.pressure,
            is_draining: self.draining.is_some(),
            budget: &mut self.budget,
            record: &mut self.record,
        }
    }
}

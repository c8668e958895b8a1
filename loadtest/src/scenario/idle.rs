//! `idle`: connections that joined and are just there. What they cost is the result; the
//! coordinator looks at it after each step.

use super::NOBODY;
use crate::core::{self, Core};
use crate::plan::Idle;

pub(crate) struct Script {
    finished: bool,
}

impl Script {
    pub(crate) fn new(core: &mut Core, options: &Idle) -> Self {
        super::fill_rooms(core, options.connections, options.per_room);
        Self { finished: false }
    }
}

impl core::Script for Script {
    fn go(&mut self, core: &mut Core, start_ns: u64) {
        core.at(start_ns + core.plan.common.warmup.0 + core.plan.common.duration.0, NOBODY, 0);
    }

    fn timer(&mut self, _core: &mut Core, _conn: u32, _what: u32, _due_ns: u64) {
        self.finished = true;
    }

    fn finished(&self, _core: &Core) -> bool {
        self.finished
    }
}

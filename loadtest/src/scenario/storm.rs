//! `storm`: all connections are lost at once, by our own doing or because the server is restarted,
//! and all come back at once.
//!
//! What counts is the time from when a connection was due to come back until it has joined again,
//! tries that failed included.

use super::NOBODY;
use crate::base::{at, count, count64};
use crate::core::{self, Core};
use crate::plan::Storm;

const BREAK: u32 = 0;
const OVER: u32 = 1;

pub(crate) struct Script {
    options: Storm,
    /// Which connections were lost and are to come back, and how many that is.
    was_lost: Vec<bool>,
    lost: u32,
    over: bool,
}

impl Script {
    pub(crate) fn new(core: &mut Core, options: Storm) -> Self {
        super::fill_rooms(core, options.connections, options.per_room);
        core.retry = true;
        for conn in &mut core.conns {
            conn.may_end = options.on_close;
        }
        Self { options, was_lost: vec![false; core.conns.len()], lost: 0, over: false }
    }

    fn come_back(&mut self, core: &mut Core, conn: u32, from_ns: u64) {
        self.lost += u32::from(!std::mem::replace(&mut self.was_lost[at(conn)], true));
        core.stats.counts.reconnected += 1;
        let wait_ns = core.rng.u64(0..=self.options.spread.0);
        core.connect_at(conn, from_ns + wait_ns);
    }
}

impl core::Script for Script {
    fn go(&mut self, core: &mut Core, start_ns: u64) {
        core.stats.forget_times();
        if !self.options.on_close {
            core.at(start_ns, NOBODY, BREAK);
        }
        core.at(start_ns + core.plan.common.duration.0, NOBODY, OVER);
    }

    fn timer(&mut self, core: &mut Core, _conn: u32, what: u32, due_ns: u64) {
        if what == BREAK {
            for conn in 0..count(core.conns.len()) {
                if core.is_ready(conn) {
                    core.close(conn, true);
                    self.come_back(core, conn, due_ns);
                }
            }
        } else {
            let kept = (0..)
                .zip(&self.was_lost)
                .filter(|(conn, lost)| !**lost && core.is_ready(*conn))
                .count();
            core.stats.counts.not_closed += count64(kept);
            self.over = true;
        }
    }

    fn lost(&mut self, core: &mut Core, conn: u32, now_ns: u64) {
        if core.conns[at(conn)].may_end {
            self.come_back(core, conn, now_ns);
        }
    }

    fn finished(&self, core: &Core) -> bool {
        self.over || (self.lost >= count(core.conns.len()) && core.unfinished() == 0)
    }
}

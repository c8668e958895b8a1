//! `churn`: short lives. Each connects, joins a room, writes one message, sees it come back and
//! answered, and vanishes.
//!
//! The first `rooms * observers` connections of the run stay and check that every life's message
//! comes, once and in order. The others are slots that one life after the other uses; a slot is
//! publisher number `slot` of every room. A life that finds no slot free waits, and its waiting
//! counts.

use std::collections::VecDeque;

use super::{NOBODY, Paced};
use crate::base::{at, count64};
use crate::client::stamp::Stamp;
use crate::core::{self, Core, Waiting};
use crate::plan::Churn;

const LIFE: u32 = 0;
const OVER: u32 = 1;
const LATE: u32 = 2;

/// How long lives that have begun late may take beyond the end, in nanoseconds.
const PATIENCE_NS: u64 = 5_000_000_000;

#[derive(Clone, Copy, Default)]
struct Life {
    seen: bool,
    answered: bool,
}

pub(crate) struct Script {
    options: Churn,
    paced: Paced,
    free: VecDeque<u32>,
    /// Lives that are due and have no slot, by when they were due.
    waiting: VecDeque<u64>,
    lives: Vec<Life>,
    alive: u32,
    over: bool,
    /// The time for lives that began late is over too.
    late: bool,
}

impl Script {
    pub(crate) fn new(core: &mut Core, options: Churn) -> Self {
        for _ in 0..options.rooms {
            core.add_room(options.slots);
        }
        let observers = options.rooms * options.observers;
        let mut free = VecDeque::new();
        for conn in core.plan.own() {
            let local = core.add_conn(&[conn % options.rooms]);
            if conn >= observers {
                free.push_back(local);
            }
        }
        let lives = vec![Life::default(); core.conns.len()];
        let paced = Paced::new(core, options.rate, 1);
        Self {
            options,
            paced,
            free,
            waiting: VecDeque::new(),
            lives,
            alive: 0,
            over: false,
            late: false,
        }
    }

    fn observers(&self) -> u32 {
        self.options.rooms * self.options.observers
    }

    /// The rank of a connection as a publisher, if it is a slot.
    fn rank(&self, core: &Core, conn: u32) -> Option<u32> {
        (core.plan.own().start + conn).checked_sub(self.observers())
    }

    fn begin(&mut self, core: &mut Core, due_ns: u64) {
        let Some(conn) = self.free.pop_front() else {
            self.waiting.push_back(due_ns);
            return;
        };
        self.alive += 1;
        self.lives[at(conn)] =
            Life { seen: core.plan.common.not_to_sender, answered: core.plan.common.no_answers };
        let room = core.rng.u32(0..self.options.rooms);
        core.conns[at(conn)].memberships[0].move_to(room);
        core.connect_at(conn, due_ns);
    }

    /// Begins all lives that are due; each worker has every so many-th.
    fn begin_all_due(&mut self, core: &mut Core) {
        let (worker, workers) = (u64::from(core.plan.worker), u64::from(core.plan.workers));
        while let Some((_, due_ns)) = self.paced.next(core, LIFE, |index| index % workers == worker)
        {
            self.begin(core, due_ns);
        }
    }

    fn is_over(&mut self, core: &mut Core) -> bool {
        let (worker, workers) = (u64::from(core.plan.worker), u64::from(core.plan.workers));
        self.paced.is_over(core, OVER, |index| index % workers == worker)
    }

    fn end_if_complete(&mut self, core: &mut Core, conn: u32) {
        let life = self.lives[at(conn)];
        if life.seen && life.answered {
            let abrupt = core.rng.f64() < self.options.abrupt;
            core.close(conn, abrupt);
            self.free_slot(core, conn);
        }
    }

    fn free_slot(&mut self, core: &mut Core, conn: u32) {
        self.alive -= 1;
        self.free.push_back(conn);
        if let Some(due_ns) = self.waiting.pop_front() {
            self.begin(core, due_ns);
        }
    }
}

impl core::Script for Script {
    fn connect(&mut self, core: &mut Core, _total: u32) {
        core.connect_all(self.observers());
    }

    fn go(&mut self, core: &mut Core, start_ns: u64) {
        core.stats.forget_times();
        self.paced.begin(core, start_ns);
        core.at(self.paced.end_ns, NOBODY, OVER);
        self.begin_all_due(core);
    }

    fn timer(&mut self, core: &mut Core, _conn: u32, what: u32, _due_ns: u64) {
        match what {
            LIFE => self.begin_all_due(core),
            OVER if !self.is_over(core) => {}
            OVER => {
                self.over = true;
                core.at(self.paced.end_ns + PATIENCE_NS, NOBODY, LATE);
            }
            _ => {
                // Lives that never had a slot are no better than messages that were never sent.
                core.stats.counts.not_sent += count64(self.waiting.len());
                self.late = true;
            }
        }
    }

    fn ready(&mut self, core: &mut Core, conn: u32, now_ns: u64) {
        if let Some(rank) = self.rank(core, conn) {
            core.publish(conn, 0, rank, now_ns);
        }
    }

    fn message(&mut self, core: &mut Core, conn: u32, stamp: Stamp, _now_ns: u64) {
        if self.rank(core, conn) == Some(stamp.rank) {
            self.lives[at(conn)].seen = true;
            self.end_if_complete(core, conn);
        }
    }

    fn answered(
        &mut self,
        core: &mut Core,
        conn: u32,
        waiting: Waiting,
        ok: bool,
        _payload: &str,
        _now_ns: u64,
    ) {
        if matches!(waiting, Waiting::Message { .. }) {
            self.lives[at(conn)].answered = true;
            // What was refused does not come.
            self.lives[at(conn)].seen |= !ok;
            self.end_if_complete(core, conn);
        }
    }

    fn lost(&mut self, core: &mut Core, conn: u32, _now_ns: u64) {
        if self.rank(core, conn).is_some() {
            self.free_slot(core, conn);
        }
    }

    fn gave_up(&mut self, core: &mut Core, conn: u32) {
        if self.rank(core, conn).is_some() {
            self.free_slot(core, conn);
        }
    }

    fn finished(&self, _core: &Core) -> bool {
        self.late || (self.over && self.alive == 0 && self.waiting.is_empty())
    }
}

/// How many lives can be expected at the same time, given the pace: a guess for the number of
/// slots.
pub(crate) fn slots_for(rate: f64) -> u32 {
    // Half a second of life is far more than any server needs that is not overrun.
    u32::try_from(crate::base::whole(rate * 0.5)).unwrap_or(u32::MAX).max(16)
}

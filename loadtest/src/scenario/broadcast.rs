//! `fanout`, `rooms` and `slow`: members of rooms, of whom some write at set times and, in `slow`,
//! some stop reading.
//!
//! Connection number `c` of the run is member number `c / rooms` of room `c % rooms`, and one of
//! its publishers if that number is small enough. Message number `k` is sent by publisher `k %
//! (rooms * publishers)`, so successive messages go to successive rooms.

use super::{NOBODY, Paced};
use crate::base::{at, count};
use crate::core::{self, Core};
use crate::plan::Broadcast;

const PUBLISH: u32 = 0;
const SLEEP: u32 = 1;
const WAKE: u32 = 2;
const OVER: u32 = 3;
/// How long the sleepers may take to catch up once they read again, before the end is counted.
const REJOIN: u32 = 4;

pub(crate) struct Script {
    options: Broadcast,
    paced: Paced,
    finished: bool,
}

impl Script {
    pub(crate) fn new(core: &mut Core, options: Broadcast) -> Self {
        for _ in 0..options.rooms {
            core.add_room(options.publishers);
        }
        for conn in core.plan.own() {
            let local = core.add_conn(&[conn % options.rooms]);
            if is_sleeper(&options, conn) {
                core.conns[at(local)].may_end = true;
                core.conns[at(local)].sleeper = true;
                core.conns[at(local)].receive_buffer_bytes = options.sleeper_buffer_bytes;
            }
        }
        core.recover = options.sleepers > 0;
        let paced = Paced::new(core, options.rate, options.burst);
        Self { options, paced, finished: false }
    }

    /// Which connection sends a message.
    fn publisher(options: &Broadcast, index: u64) -> u32 {
        let publishers = u64::from(options.rooms) * u64::from(options.publishers);
        count(usize::try_from(index % publishers).unwrap_or(0))
    }

    /// Publishes all that is due.
    fn publish(&mut self, core: &mut Core) {
        let Self { options, paced, .. } = self;
        let own = core.plan.own();
        while let Some((index, due_ns)) =
            paced.next(core, PUBLISH, |index| own.contains(&Self::publisher(options, index)))
        {
            let conn = Self::publisher(options, index);
            core.publish(conn - own.start, 0, conn / options.rooms, due_ns);
        }
    }

    fn is_over(&mut self, core: &mut Core) -> bool {
        let Self { options, paced, .. } = self;
        let own = core.plan.own();
        paced.is_over(core, OVER, |index| own.contains(&Self::publisher(options, index)))
    }

    fn sleepers(&self, core: &Core) -> Vec<u32> {
        let own = core.plan.own();
        own.clone()
            .filter(|conn| is_sleeper(&self.options, *conn))
            .map(|conn| conn - own.start)
            .collect()
    }
}

/// The last members of each room sleep; they are no publishers.
fn is_sleeper(options: &Broadcast, conn: u32) -> bool {
    conn / options.rooms >= options.members - options.sleepers
}

impl core::Script for Script {
    fn go(&mut self, core: &mut Core, start_ns: u64) {
        self.paced.begin(core, start_ns);
        let (window_ns, end_ns) = (start_ns + core.plan.common.warmup.0, self.paced.end_ns);
        self.publish(core);
        if self.options.sleepers > 0 {
            core.at(window_ns, NOBODY, SLEEP);
            core.at(end_ns, NOBODY, WAKE);
            core.at(end_ns + core.plan.common.drain.0, NOBODY, OVER);
        } else {
            core.at(end_ns, NOBODY, OVER);
        }
    }

    fn timer(&mut self, core: &mut Core, conn: u32, what: u32, due_ns: u64) {
        match what {
            PUBLISH => self.publish(core),
            SLEEP => {
                for conn in self.sleepers(core) {
                    core.pause(conn);
                }
            }
            WAKE => {
                for conn in self.sleepers(core) {
                    core.resume(conn, self);
                }
            }
            REJOIN => core.rejoin(conn, due_ns),
            OVER => self.finished = self.is_over(core),
            other => unreachable!("no appointment {other} is ever made"),
        }
    }

    fn lost(&mut self, core: &mut Core, conn: u32, now_ns: u64) {
        if core.conns[at(conn)].may_end {
            core.connect_at(conn, now_ns);
        }
    }

    fn ended(&mut self, core: &mut Core, conn: u32, _membership: u32, now_ns: u64) {
        if core.conns[at(conn)].may_end {
            // As phoenix.js does, whose first try to rejoin is after a second.
            core.at(now_ns + 200_000_000, conn, REJOIN);
        }
    }

    fn finished(&self, _core: &Core) -> bool {
        self.finished
    }
}

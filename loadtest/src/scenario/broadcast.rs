//! `fanout`, `rooms` and `slow`: members of rooms, of whom some write at set times and, in `slow`, some stop reading.
//!
//! Connection number `c` of the run is member number `c / rooms` of room `c % rooms`, and one of its publishers if that number is small
//! enough. Message number `k` is sent by publisher `k % (rooms * publishers)`, so successive messages go to successive rooms.

use crate::base::{at, count};
use crate::core::{self, Core};
use crate::plan::{Broadcast, Schedule};

const PUBLISH: u32 = 0;
const SLEEP: u32 = 1;
const WAKE: u32 = 2;
const OVER: u32 = 3;
/// How long the sleepers may take to catch up once they read again, before the end is counted.
const REJOIN: u32 = 4;

/// The connection of an appointment that is nobody's.
const NOBODY: u32 = u32::MAX;

pub(crate) struct Script {
    options: Broadcast,
    schedule: Schedule,
    /// The run's next message.
    index: u64,
    start_ns: u64,
    end_ns: u64,
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
        let common = &core.plan.common;
        let schedule = Schedule::new(options.rate, options.burst, common.arrivals, common.seed);
        Self { options, schedule, index: 0, start_ns: 0, end_ns: 0, finished: false }
    }

    /// Publishes all that is due, and makes an appointment for what is next of this worker's.
    fn publish(&mut self, core: &mut Core, first_due_ns: u64) {
        let publishers = u64::from(self.options.rooms) * u64::from(self.options.publishers);
        let own = core.plan.own();
        let mut due_ns = first_due_ns;
        loop {
            let conn = count(usize::try_from(self.index % publishers).unwrap_or(0));
            if own.contains(&conn) && due_ns >= self.start_ns {
                if due_ns > crate::base::now_ns() {
                    return core.at(due_ns, NOBODY, PUBLISH);
                }
                core.publish(conn - own.start, 0, conn / self.options.rooms, due_ns);
            }
            self.index += 1;
            due_ns = self.start_ns + self.schedule.next().unwrap_or(u64::MAX);
            if due_ns >= self.end_ns {
                return;
            }
        }
    }

    fn sleepers(&self, core: &Core) -> Vec<u32> {
        let own = core.plan.own();
        own.clone().filter(|conn| is_sleeper(&self.options, *conn)).map(|conn| conn - own.start).collect()
    }
}

/// The last members of each room sleep; they are no publishers.
fn is_sleeper(options: &Broadcast, conn: u32) -> bool {
    conn / options.rooms >= options.members - options.sleepers
}

impl core::Script for Script {
    fn go(&mut self, core: &mut Core, start_ns: u64) {
        self.start_ns = start_ns;
        let common = &core.plan.common;
        let window_ns = start_ns + common.warmup.0;
        self.end_ns = window_ns + common.duration.0;
        let first_ns = start_ns + self.schedule.next().unwrap_or(0);
        core.at(first_ns, NOBODY, PUBLISH);
        if self.options.sleepers > 0 {
            core.at(window_ns, NOBODY, SLEEP);
            core.at(self.end_ns, NOBODY, WAKE);
            core.at(self.end_ns + core.plan.common.drain.0, NOBODY, OVER);
        } else {
            core.at(self.end_ns, NOBODY, OVER);
        }
    }

    fn timer(&mut self, core: &mut Core, conn: u32, what: u32, due_ns: u64) {
        match what {
            PUBLISH => self.publish(core, due_ns),
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
            OVER => self.finished = true,
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

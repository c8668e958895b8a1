//! `ping`: round trips of a heartbeat, or of any event that is answered.
//!
//! With a rate, pings are due at set times whether or not the last is answered. Without one each connection sends its next ping when the last
//! one's answer has come: that is how one in flight is measured, and it says nothing of a server that stalls.

use crate::base::count;
use crate::core::{self, Core, Waiting};
use crate::plan::{Ping, Schedule};

const PING: u32 = 0;
const OVER: u32 = 1;
const NOBODY: u32 = u32::MAX;

pub(crate) struct Script {
    options: Ping,
    schedule: Schedule,
    index: u64,
    start_ns: u64,
    end_ns: u64,
    finished: bool,
}

impl Script {
    pub(crate) fn new(core: &mut Core, options: Ping) -> Self {
        let room = core.add_room(0);
        let rooms: &[u32] = if options.event == "heartbeat" { &[] } else { &[room] };
        for _ in core.plan.own() {
            core.add_conn(rooms);
        }
        let common = &core.plan.common;
        let rate = if options.rate > 0.0 { options.rate } else { 1.0 };
        let schedule = Schedule::new(rate, 1, common.arrivals, common.seed);
        Self { options, schedule, index: 0, start_ns: 0, end_ns: 0, finished: false }
    }

    fn ping(&self, core: &mut Core, conn: u32, due_ns: u64) {
        let now_ns = crate::base::now_ns();
        let membership = (self.options.event != "heartbeat").then_some(0);
        core.push(conn, membership, &self.options.event, b"{}", Some(Waiting::Ping), due_ns);
        core.stats.sent(due_ns, now_ns);
    }
}

impl core::Script for Script {
    fn go(&mut self, core: &mut Core, start_ns: u64) {
        self.start_ns = start_ns;
        self.end_ns = start_ns + core.plan.common.warmup.0 + core.plan.common.duration.0;
        core.at(self.end_ns, NOBODY, OVER);
        if self.options.rate > 0.0 {
            let first_ns = start_ns + self.schedule.next().unwrap_or(0);
            core.at(first_ns, NOBODY, PING);
        } else {
            for conn in 0..count(core.conns.len()) {
                core.at(start_ns, conn, PING);
            }
        }
    }

    fn timer(&mut self, core: &mut Core, conn: u32, what: u32, due_ns: u64) {
        match what {
            PING if conn != NOBODY => self.ping(core, conn, due_ns),
            PING => {
                let own = core.plan.own();
                let mut due_ns = due_ns;
                loop {
                    let conn =
                        count(usize::try_from(self.index % u64::from(self.options.connections)).unwrap_or(0));
                    if own.contains(&conn) && due_ns >= self.start_ns {
                        if due_ns > crate::base::now_ns() {
                            return core.at(due_ns, NOBODY, PING);
                        }
                        self.ping(core, conn - own.start, due_ns);
                    }
                    self.index += 1;
                    due_ns = self.start_ns + self.schedule.next().unwrap_or(u64::MAX);
                    if due_ns >= self.end_ns {
                        return;
                    }
                }
            }
            _ => self.finished = true,
        }
    }

    fn answered(
        &mut self,
        core: &mut Core,
        conn: u32,
        waiting: Waiting,
        _ok: bool,
        _payload: &str,
        _now_ns: u64,
    ) {
        // Due from here on, by the clock that was read when the answer came: our own handling of it is not the server's.
        let now_ns = crate::base::now_ns();
        if waiting == Waiting::Ping && self.options.rate <= 0.0 && now_ns < self.end_ns {
            self.ping(core, conn, now_ns);
        }
    }

    fn finished(&self, _core: &Core) -> bool {
        self.finished
    }
}

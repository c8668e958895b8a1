//! `ping`: round trips of a heartbeat, or of any event that is answered.
//!
//! With a rate, pings are due at set times whether or not the last is answered. Without one each
//! connection sends its next ping when the last one's answer has come: that is how one in flight is
//! measured, and it says nothing of a server that stalls.

use super::{NOBODY, Paced};
use crate::base::count;
use crate::core::{self, Core, Waiting};
use crate::plan::Ping;

const PING: u32 = 0;
const OVER: u32 = 1;

pub(crate) struct Script {
    options: Ping,
    paced: Paced,
    finished: bool,
}

impl Script {
    pub(crate) fn new(core: &mut Core, options: Ping) -> Self {
        let room = core.add_room(0);
        let rooms: &[u32] = if options.event == "heartbeat" { &[] } else { &[room] };
        for _ in core.plan.own() {
            core.add_conn(rooms);
        }
        let paced = Paced::new(core, if options.rate > 0.0 { options.rate } else { 1.0 }, 1);
        Self { options, paced, finished: false }
    }

    fn ping(&self, core: &mut Core, conn: u32, due_ns: u64) {
        if !core.is_ready(conn) {
            core.stats.counts.not_sent += 1;
            return;
        }
        let now_ns = crate::base::now_ns();
        let membership = (self.options.event != "heartbeat").then_some(0);
        core.push(conn, membership, &self.options.event, b"{}", Some(Waiting::Ping), due_ns);
        core.stats.sent(due_ns, now_ns);
    }
}

impl Script {
    /// Which connection sends a ping: each in its turn.
    fn pinger(connections: u32, index: u64) -> u32 {
        count(usize::try_from(index % u64::from(connections)).unwrap_or(0))
    }

    /// Sends all pings that are due.
    fn ping_all_due(&mut self, core: &mut Core) {
        let connections = self.options.connections;
        let pinger = |index| Self::pinger(connections, index);
        let own = core.plan.own();
        while let Some((index, due_ns)) =
            self.paced.next(core, PING, |index| own.contains(&pinger(index)))
        {
            self.ping(core, pinger(index) - own.start, due_ns);
        }
    }

    fn is_over(&mut self, core: &mut Core) -> bool {
        let (connections, own) = (self.options.connections, core.plan.own());
        self.options.rate <= 0.0
            || self
                .paced
                .is_over(core, OVER, |index| own.contains(&Self::pinger(connections, index)))
    }
}

impl core::Script for Script {
    fn go(&mut self, core: &mut Core, start_ns: u64) {
        self.paced.begin(core, start_ns);
        core.at(self.paced.end_ns, NOBODY, OVER);
        if self.options.rate > 0.0 {
            self.ping_all_due(core);
        } else {
            for conn in 0..count(core.conns.len()) {
                core.at(start_ns, conn, PING);
            }
        }
    }

    fn timer(&mut self, core: &mut Core, conn: u32, what: u32, due_ns: u64) {
        match what {
            PING if conn == NOBODY => self.ping_all_due(core),
            PING => self.ping(core, conn, due_ns),
            _ => self.finished = self.is_over(core),
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
        // Due from here on, by the clock that was read when the answer came: our own handling of it
        // is not the server's.
        let now_ns = crate::base::now_ns();
        if waiting == Waiting::Ping && self.options.rate <= 0.0 && now_ns < self.paced.end_ns {
            self.ping(core, conn, now_ns);
        }
    }

    fn finished(&self, _core: &Core) -> bool {
        self.finished
    }
}

//! `chat`: people. Each is in a few rooms, writes now and then (and says so while typing), looks at
//! older messages, and loses the connection sometimes.
//!
//! The first room is the most popular, and the tenth has a tenth of its members. Everybody in a
//! room may write there. A worker's people have rooms of their own: what each must receive is then
//! known in one place, even while people come and go. A person that comes back asks for what it
//! missed. It must get all of it if the server says so.
//!
//! A person's connection breaks only while no message of it is unanswered. Whether such a message
//! was accepted could not be known.

use super::NOBODY;
use crate::base::{Span, at, count, now_ns};
use crate::core::{self, Channel, Core, Waiting};
use crate::plan::{Chat, share};

const TYPE: u32 = 0;
const WRITE: u32 = 1;
const HISTORY: u32 = 2;
const BREAK: u32 = 3;
const OVER: u32 = 4;

/// How long it takes to write a line, on average, in nanoseconds.
const TYPING_NS: u64 = 2_000_000_000;

pub(crate) struct Script {
    options: Chat,
    /// For each connection and membership, its rank among the publishers of the room.
    ranks: Vec<Vec<u32>>,
    /// The membership each person is writing in.
    writing: Vec<u32>,
    end_ns: u64,
    over: bool,
}

impl Script {
    pub(crate) fn new(core: &mut Core, options: Chat) -> Self {
        let own_rooms = share(options.rooms, core.plan.worker, core.plan.workers);
        let mut members = vec![0; at(options.rooms)];
        let mut choices = Vec::new();
        let mut ranks = Vec::new();
        for _ in core.plan.own() {
            let rooms = choose(&mut core.rng, own_rooms.clone(), options.rooms_each);
            ranks.push(
                rooms
                    .iter()
                    .map(|room| {
                        members[at(*room)] += 1;
                        members[at(*room)] - 1
                    })
                    .collect(),
            );
            choices.push(rooms);
        }
        for publishers in members {
            core.add_room(publishers);
        }
        for rooms in &choices {
            core.add_conn(rooms);
        }
        core.recover = true;
        core.retry = true;
        let writing = vec![0; core.conns.len()];
        Self { options, ranks, writing, end_ns: 0, over: false }
    }

    fn again(&self, core: &mut Core, conn: u32, what: u32, mean: Span, from_ns: u64) {
        if mean.0 > 0 {
            let due_ns = from_ns + core.random_ns(mean.0);
            if due_ns < self.end_ns {
                core.at(due_ns, conn, what);
            }
        }
    }

    fn start_writing(&mut self, core: &mut Core, conn: u32, due_ns: u64) {
        let memberships = count(core.conns[at(conn)].memberships.len());
        let membership = core.rng.u32(0..memberships.max(1));
        self.writing[at(conn)] = membership;
        if self.options.typing && core.is_ready(conn) {
            core.push(conn, Some(membership), "typing", b"{}", None, due_ns);
        }
        let due_ns = due_ns + core.random_ns(TYPING_NS.min(self.options.write_every.0));
        if due_ns < self.end_ns {
            core.at(due_ns, conn, WRITE);
        }
    }

    fn write(&mut self, core: &mut Core, conn: u32, due_ns: u64) {
        let membership = self.writing[at(conn)];
        // A person that is away writes nothing.
        let place = core.conns[at(conn)].memberships.get(at(membership));
        if place.is_some_and(|place| place.channel == Channel::In) {
            core.publish(conn, membership, self.ranks[at(conn)][at(membership)], due_ns);
        }
        self.again(core, conn, TYPE, self.options.write_every, due_ns);
    }

    fn go_away(&mut self, core: &mut Core, conn: u32, due_ns: u64) {
        if core.pending(conn) > 0 || !core.is_ready(conn) {
            // Not in the midst of something.
            core.at(now_ns() + 50_000_000, conn, BREAK);
            return;
        }
        core.close(conn, true);
        core.stats.counts.reconnected += 1;
        let away_ns = core.random_ns(self.options.away.0);
        core.connect_at(conn, now_ns() + away_ns);
        self.again(core, conn, BREAK, self.options.break_every, due_ns + away_ns);
    }
}

/// Some different rooms, popular ones more often.
fn choose(rng: &mut fastrand::Rng, rooms: std::ops::Range<u32>, wanted: u32) -> Vec<u32> {
    let total: f64 = rooms.clone().map(|room| 1.0 / f64::from(room - rooms.start + 1)).sum();
    let mut chosen = Vec::new();
    while count(chosen.len()) < wanted.min(rooms.end - rooms.start) {
        let mut left = rng.f64() * total;
        let found = rooms.clone().find(|room| {
            left -= 1.0 / f64::from(room - rooms.start + 1);
            left < 0.0
        });
        if let Some(room) = found
            && !chosen.contains(&room)
        {
            chosen.push(room);
        }
    }
    chosen
}

impl core::Script for Script {
    fn go(&mut self, core: &mut Core, start_ns: u64) {
        core.stats.forget_times();
        self.end_ns = start_ns + core.plan.common.warmup.0 + core.plan.common.duration.0;
        core.at(self.end_ns, NOBODY, OVER);
        for conn in 0..count(core.conns.len()) {
            self.again(core, conn, TYPE, self.options.write_every, start_ns);
            self.again(core, conn, HISTORY, self.options.history_every, start_ns);
            self.again(core, conn, BREAK, self.options.break_every, start_ns);
        }
    }

    fn timer(&mut self, core: &mut Core, conn: u32, what: u32, due_ns: u64) {
        match what {
            OVER => self.over = true,
            _ if due_ns >= self.end_ns => {}
            TYPE => self.start_writing(core, conn, due_ns),
            WRITE => self.write(core, conn, due_ns),
            HISTORY => {
                if core.is_ready(conn) {
                    let memberships = count(core.conns[at(conn)].memberships.len());
                    let membership = core.rng.u32(0..memberships.max(1));
                    core.push(
                        conn,
                        Some(membership),
                        "history",
                        br#"{"limit":20}"#,
                        Some(Waiting::History),
                        due_ns,
                    );
                }
                self.again(core, conn, HISTORY, self.options.history_every, due_ns);
            }
            _ => self.go_away(core, conn, due_ns),
        }
    }

    fn lost(&mut self, core: &mut Core, conn: u32, now_ns: u64) {
        // The server has ended it, which is counted: the person comes back all the same.
        if now_ns < self.end_ns {
            let away_ns = core.random_ns(self.options.away.0);
            core.connect_at(conn, now_ns + away_ns);
        }
    }

    fn finished(&self, core: &Core) -> bool {
        // Those on their way back are waited for: what they missed is part of the check.
        self.over && (core.unfinished() == 0 || now_ns() > self.end_ns + 10_000_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_choose_different_rooms_and_popular_ones_more_often() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut members = [0; 10];
        for _ in 0..1_000 {
            let rooms = choose(&mut rng, 0..10, 3);
            let different: std::collections::BTreeSet<_> = rooms.iter().collect();
            assert_eq!(different.len(), 3);
            for room in rooms {
                members[at(room)] += 1;
            }
        }
        assert!(members[0] > 2 * members[9], "{members:?}");
        assert_eq!(choose(&mut rng, 4..6, 5).len(), 2, "no more than there are");
    }
}

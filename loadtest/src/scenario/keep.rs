//! `keep`: so many messages under way at a time, each followed by the next when it is answered. How
//! many a second a server keeps, and how long it takes to say so.
//!
//! Member number `j` of room number `r` is connection number `(r * members + j) % connections`, and
//! the first one is the room's publisher. Each message goes to a room at random: to all as often,
//! or, as people do, to few of them very often.

use super::NOBODY;
use crate::base::{at, count, now_ns};
use crate::core::{self, Core, Waiting};
use crate::plan::{Keep, share};

const SEND: u32 = 0;
const OVER: u32 = 1;

/// How long after a refusal the next message is sent.
const REFUSED_NS: u64 = 10_000_000;

pub(crate) struct Script {
    /// How many messages of this worker are under way at a time.
    in_flight: u32,
    rooms: Choice,
    /// By room that this worker publishes in: the connection that does, and by which of its
    /// memberships.
    publishers: Vec<(u32, u32)>,
    rng: fastrand::Rng,
    end_ns: u64,
    finished: bool,
}

impl Script {
    pub(crate) fn new(core: &mut Core, options: &Keep) -> Self {
        let Keep { connections, rooms, members, in_flight, zipf } = *options;
        let own = core.plan.own();
        let mut joined = vec![Vec::new(); own.len()];
        let mut publishers = Vec::new();
        for room in 0..rooms {
            core.add_room(1);
            for member in 0..members {
                let seat = u64::from(room) * u64::from(members) + u64::from(member);
                let conn = count(usize::try_from(seat % u64::from(connections)).unwrap_or(0));
                if !own.contains(&conn) {
                    continue;
                }
                let memberships: &mut Vec<u32> = &mut joined[at(conn - own.start)];
                if member == 0 {
                    publishers.push((conn - own.start, count(memberships.len())));
                }
                memberships.push(room);
            }
        }
        for rooms in &joined {
            core.add_conn(rooms);
        }
        let (worker, workers) = (core.plan.worker, core.plan.workers);
        Self {
            in_flight: count(share(in_flight, worker, workers).len()),
            rooms: Choice::new(count(publishers.len()), zipf),
            publishers,
            rng: fastrand::Rng::with_seed(core.plan.common.seed + u64::from(worker)),
            end_ns: 0,
            finished: false,
        }
    }

    fn send(&mut self, core: &mut Core) {
        let now = now_ns();
        if now >= self.end_ns || self.publishers.is_empty() {
            return;
        }
        let (conn, membership) = self.publishers[at(self.rooms.pick(&mut self.rng))];
        let not_sent = core.stats.counts.not_sent;
        core.publish(conn, membership, 0, now);
        if core.stats.counts.not_sent > not_sent {
            core.at(now + REFUSED_NS, NOBODY, SEND);
        }
    }
}

impl core::Script for Script {
    fn go(&mut self, core: &mut Core, start_ns: u64) {
        self.end_ns = start_ns + core.plan.common.warmup.0 + core.plan.common.duration.0;
        for _ in 0..self.in_flight {
            core.at(start_ns, NOBODY, SEND);
        }
        core.at(self.end_ns, NOBODY, OVER);
    }

    fn timer(&mut self, core: &mut Core, _conn: u32, what: u32, _due_ns: u64) {
        match what {
            SEND => self.send(core),
            _ => self.finished = true,
        }
    }

    fn answered(
        &mut self,
        core: &mut Core,
        _conn: u32,
        waiting: Waiting,
        ok: bool,
        _payload: &str,
        now_ns: u64,
    ) {
        match waiting {
            Waiting::Message { .. } if ok => self.send(core),
            Waiting::Message { .. } => core.at(now_ns + REFUSED_NS, NOBODY, SEND),
            _ => {}
        }
    }

    fn finished(&self, _core: &Core) -> bool {
        self.finished
    }
}

/// How rooms are chosen.
struct Choice {
    rooms: u32,
    /// By room: the weights of all up to it, in sum. Empty: all weigh the same.
    weights: Vec<f64>,
}

impl Choice {
    /// The room number `n` of them weighs `1 / n^zipf`, counted from 1.
    fn new(rooms: u32, zipf: f64) -> Self {
        let mut sum = 0.0;
        let weights = (1..=if zipf > 0.0 { rooms } else { 0 }).map(|number| {
            sum += f64::from(number).powf(-zipf);
            sum
        });
        Self { rooms, weights: weights.collect() }
    }

    fn pick(&self, rng: &mut fastrand::Rng) -> u32 {
        let Some(sum) = self.weights.last() else { return rng.u32(..self.rooms) };
        let point = rng.f64() * sum;
        count(self.weights.partition_point(|weight| *weight <= point)).min(self.rooms - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_chosen_alike_or_a_few_of_them_often() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut share_of_first = |zipf| {
            let choice = Choice::new(100, zipf);
            let picks = (0..10_000).map(|_| choice.pick(&mut rng));
            picks.inspect(|room| assert!(*room < 100)).filter(|room| *room == 0).count()
        };
        assert!((50..200).contains(&share_of_first(0.0)));
        // One in 5.19: the hundredth harmonic number.
        assert!((1_700..2_200).contains(&share_of_first(1.0)));
    }
}

//! `failover`: servers that share their rooms, while they are killed. Is there one order, is what
//! was acknowledged kept, and how long does it take until writes are acknowledged again?
//!
//! Connection number `c` of the run is member number `c / rooms` of room `c % rooms`, and one of
//! its publishers if that number is small enough. A publisher has one thing under way, a message or
//! a change of one, and does it again until it is acknowledged: a message with the same key.
//! Whoever is not answered in time, or loses its connection, comes back with its cursor: to its own
//! URL, or to the next one that takes it in. The last members of each room are banned meanwhile, by
//! the first.
//!
//! ```text
//! load ──> settle ──> read ──> judged
//!   settle: all are back at their own URL, all is acknowledged, all members are at one place and
//!           see each other, and who was banned is let in nowhere
//!   read:   one member of each room at each URL reads what is kept
//! ```
//!
//! Settling has `--drain`, and reading some seconds more; what is not so by then is judged as it
//! is. See [`Witness`] for what is judged. All connections are one worker's, since only who sees
//! all of them can tell one order.

use serde::Deserialize;

use super::NOBODY;
use crate::base::{SECOND_NS, at, count, count64, now_ns, real, whole};
use crate::client::dialect::{reason_of, response_of};
use crate::core::{self, Core, Script as _, Waiting};
use crate::order::Entry;
use crate::plan::Failover;
use crate::stats::{Metric, tell};
use crate::witness::{Broken, Changed, Witness};

use banned::Banned;
use made::{Made, Write};
use publisher::{Doing, Publishers};
use readings::Readings;

mod banned;
mod made;
mod publisher;
mod readings;

const SAY: u32 = 0;
const REJOIN: u32 = 1;
const LOOK: u32 = 2;
const READ: u32 = 3;
/// The first of the faults: each has a number of its own.
const FAULT: u32 = 16;

/// How often it is looked who waits for too long, and whether a fault's command has ended.
const LOOK_NS: u64 = 10_000_000;

/// How long after a refusal that names no time it is asked again.
const AGAIN_NS: u64 = 100_000_000;

/// How long after its refusal somebody who is banned tries to join again.
const BANNED_NS: u64 = SECOND_NS / 2;

/// How long reading may take in the end.
const READ_NS: u64 = 10 * SECOND_NS;

/// Reasons of a refusal after which the same is asked again.
const FOR_NOW: [&str; 6] =
    ["unavailable", "unconfirmed", "busy", "storage", "rate_limited", "unmatched topic"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Load,
    Settle,
    Read,
    Judged,
}

pub(crate) struct Script {
    options: Failover,
    publishers: Publishers,
    banned: Banned,
    stage: Stage,
    start_ns: u64,
    end_ns: u64,
    /// In the order of their answers.
    writes: Vec<Write>,
    made: Vec<Made>,
    readings: Readings,
}

impl Script {
    pub(crate) fn new(core: &mut Core, options: Failover) -> Self {
        for _ in 0..options.rooms {
            core.add_room(options.publishers);
        }
        let mut banned = Banned::default();
        for conn in core.plan.own() {
            let (room, rank) = (conn % options.rooms, conn / options.rooms);
            let local = core.add_conn(&[room]);
            core.conns[at(local)].may_end = true;
            if rank >= options.members - options.banned {
                banned.add(local, room, core.plan.common.urls.len());
            }
        }
        core.recover = true;
        core.retry = true;
        let rooms = core.plan.own().map(|conn| conn % options.rooms);
        core.witness = Some(Witness::new(core.plan.run, options.rooms, rooms));
        Self {
            publishers: Publishers::new(options.rooms * options.publishers),
            banned,
            options,
            stage: Stage::Load,
            start_ns: 0,
            end_ns: 0,
            writes: Vec::new(),
            made: Vec::new(),
            readings: Readings::default(),
        }
    }

    /// The time between two things that one publisher does.
    fn pause_ns(&self) -> u64 {
        let publishers = f64::from(self.options.rooms * self.options.publishers);
        whole(publishers / self.options.rate * real(SECOND_NS))
    }

    /// Lets a publisher do what is due, or what is not acknowledged yet.
    fn go_on(&mut self, core: &mut Core, conn: u32) {
        let now = now_ns();
        let (room, rank) = (conn % self.options.rooms, conn / self.options.rooms);
        let Some(publisher) = self.publishers.get(conn) else { return };
        if let (Some((_, doing)), Some(witness)) = (&publisher.doing, &core.witness)
            && !doing.is_possible(witness, conn)
        {
            publisher.doing = None;
        }
        if publisher.doing.is_none() {
            if let Some(victim) = publisher.ban_due(now) {
                publisher.begin(Doing::Ban(victim));
            } else if publisher.next_ns < self.end_ns && publisher.next_ns <= now {
                let due_ns = publisher.next_ns;
                let changes = core.rng.f64() < self.options.changes;
                let user = core.user(conn);
                let change = core.witness.as_ref().filter(|_| changes).and_then(|witness| {
                    Doing::change(witness, conn, rank, user, due_ns, &mut core.rng)
                });
                let doing = change.unwrap_or_else(|| Doing::Say(core.draft(room, rank, due_ns)));
                publisher.begin(doing);
            }
        }
        if !core.is_ready(conn) || publisher.sent_ns.is_some() {
            return;
        }
        let Some((number, doing)) = &publisher.doing else { return };
        publisher.sent_ns = Some(now);
        match doing {
            Doing::Say(draft) => core.say(conn, 0, *draft),
            doing => {
                let (event, payload) = doing.push(core, room);
                let waiting = Some(Waiting::Own(*number));
                core.push(conn, Some(0), event, payload.to_string().as_bytes(), waiting, now);
            }
        }
    }

    /// What a publisher does is acknowledged, or given up: the next may follow.
    fn settle(&mut self, core: &mut Core, conn: u32, now_ns: u64) {
        let pause_ns = self.pause_ns();
        let Some(publisher) = self.publishers.get(conn) else { return };
        publisher.doing = None;
        publisher.sent_ns = None;
        // What was due while it waited is not caught up with.
        publisher.next_ns = now_ns.max(publisher.next_ns + pause_ns);
        if publisher.next_ns < self.end_ns {
            core.at(publisher.next_ns, conn, SAY);
        }
        // One that became due meanwhile, and may be the last that it does.
        if !publisher.bans.is_empty() {
            core.at(now_ns, conn, SAY);
        }
    }

    /// What a publisher does is to be sent again.
    fn unsend(&mut self, conn: u32) {
        if let Some(publisher) = self.publishers.get(conn) {
            publisher.sent_ns = None;
        }
    }

    /// A message is acknowledged.
    fn acknowledge(&mut self, core: &mut Core, conn: u32, seq: u32, payload: &str, now_ns: u64) {
        #[derive(Deserialize)]
        struct Receipt<'a> {
            id: &'a str,
            offset: u64,
        }
        let (room, rank) = (conn % self.options.rooms, conn / self.options.rooms);
        let receipt = response_of(payload)
            .and_then(|response| serde_json::from_str::<Receipt<'_>>(response.get()).ok());
        let place = receipt.as_ref().and_then(|receipt| {
            let (epoch, _) = receipt.id.rsplit_once('-')?;
            Some(Entry { epoch, offset: receipt.offset })
        });
        match (place, &mut core.witness) {
            (Some(place), Some(witness)) => witness.acked(room, rank, seq, place),
            _ => core.malformed("a message is acknowledged without a place"),
        }
        // An answer may come to what was sent before, and was sent again.
        let Some(publisher) = self.publishers.get(conn).filter(|it| it.says(seq)) else { return };
        if let Some(sent_ns) = publisher.sent_ns {
            self.writes.push(Write { conn, sent_ns, acked_ns: now_ns });
        }
        self.settle(core, conn, now_ns);
    }

    /// A change or a ban is acknowledged.
    fn acknowledge_own(&mut self, core: &mut Core, conn: u32, number: u32, now_ns: u64) {
        let publisher = self.publishers.get(conn).filter(|it| it.does(number));
        let Some((_, doing)) = publisher.and_then(|it| it.doing.take()) else { return };
        match doing {
            Doing::Ban(victim) => self.banned.acknowledge(core, victim),
            Doing::Change(had, deed) => {
                core.stats.counts.changed += 1;
                if let Some(witness) = &mut core.witness {
                    witness.acked_deed(conn, had, deed);
                }
            }
            Doing::Say(_) => unreachable!("a message is acknowledged by its place"),
        }
        self.settle(core, conn, now_ns);
    }

    /// What a publisher did is refused.
    fn refused(&mut self, core: &mut Core, conn: u32, payload: &str, now_ns: u64) {
        let reason = reason_of(payload);
        let is_change = |doing: &Doing| matches!(doing, Doing::Change(..));
        let publisher = self.publishers.get(conn);
        let changes = publisher.and_then(|it| it.doing.as_ref()).is_some_and(|it| is_change(&it.1));
        if FOR_NOW.contains(&reason.as_str()) {
            tell(&mut core.stats.counts.retried, &reason);
            self.unsend(conn);
            core.at(again_ns(payload, now_ns), conn, SAY);
        } else {
            // Its author may have deleted it meanwhile.
            if !(changes && reason == "gone") {
                tell(&mut core.stats.counts.refused, &reason);
            }
            self.settle(core, conn, now_ns);
        }
    }

    fn look(&mut self, core: &mut Core) {
        let now = now_ns();
        for made in &mut self.made {
            made.look(now);
        }
        for conn in 0..count(core.conns.len()) {
            let is_late = |since| now.saturating_sub(since) > self.options.timeout.0;
            if core.waiting_since(conn).is_some_and(is_late) {
                core.dropped(conn, "not answered in time", now, self);
            }
        }
        if self.stage == Stage::Load && now >= self.end_ns {
            self.stage = Stage::Settle;
            self.come_home(core, now);
        }
        if self.stage == Stage::Settle {
            self.banned.begin(core, now);
        }
        let late_ns = self.end_ns + core.plan.common.drain.0;
        if self.stage == Stage::Settle && (self.is_settled(core) || now >= late_ns) {
            self.stage = Stage::Read;
            self.readings = Readings::of(self.options.rooms, core.plan.common.urls.len());
            self.read(core);
        }
        if now >= late_ns + READ_NS {
            self.judge(core);
        }
        if self.stage != Stage::Judged {
            core.at(now + LOOK_NS, NOBODY, LOOK);
        }
    }

    /// Those whose own server was away go back to it, so that each server has members to judge it.
    fn come_home(&mut self, core: &mut Core, now_ns: u64) {
        for conn in 0..count(core.conns.len()) {
            if core.is_ready(conn) && !core.is_at_home(conn) {
                core.close(conn, false);
                self.lost(core, conn, now_ns);
            }
        }
    }

    fn is_settled(&self, core: &Core) -> bool {
        self.publishers.busy() == 0
            && self.banned.is_settled()
            && (0..count(core.conns.len())).all(|conn| core.is_ready(conn) || self.banned.has(conn))
            && core.witness.as_ref().is_some_and(Witness::is_settled)
    }

    /// Asks for the next page.
    fn read(&mut self, core: &mut Core) {
        if self.stage == Stage::Read && self.readings.ask(core) {
            self.judge(core);
        }
    }

    /// Whoever reads is out: the same page is read by another, or again.
    fn stop_reading(&mut self, core: &mut Core, conn: u32, again_ns: u64) {
        if self.readings.stop(conn) {
            core.at(again_ns, NOBODY, READ);
        }
    }

    fn judge(&mut self, core: &mut Core) {
        let (Some(witness), false) = (&mut core.witness, self.stage == Stage::Judged) else {
            return;
        };
        self.stage = Stage::Judged;
        let findings = witness.conclude(now_ns());
        self.banned.judge(core);
        let stats = &mut core.stats;
        stats.counts.unanswered += count64(self.publishers.busy());
        stats.counts.told += findings.told;
        stats.counts.told_lost += findings.told_lost;
        for (broken, (times, examples)) in findings.broken {
            let counts = &mut stats.counts;
            let (name, counted) = match broken {
                Broken::Order => ("room_order", &mut counts.room_order),
                Broken::Twice => ("duplicate", &mut counts.duplicate),
                Broken::Gap => ("gaps", &mut counts.gaps),
                Broken::Lost => ("lost", &mut counts.lost),
                Broken::Unread => ("unread", &mut counts.unread),
                Broken::Differs => ("differing", &mut counts.differing),
                Broken::Ghost => ("ghosts", &mut counts.ghosts),
                Broken::Absent => ("presence_wrong", &mut counts.presence_wrong),
            };
            *counted += times;
            counts.examples.insert(name.to_owned(), examples);
        }
        // Before what the faults have started ends.
        for conn in 0..count(core.conns.len()) {
            if core.is_ready(conn) {
                core.close(conn, false);
            }
        }
        let publishers = self.publishers.count();
        for made in std::mem::take(&mut self.made) {
            made.tell(core, &self.options.faults, self.start_ns, publishers, &self.writes);
        }
    }
}

/// When it may be asked again after a refusal.
fn again_ns(payload: &str, now_ns: u64) -> u64 {
    #[derive(Deserialize)]
    struct Response {
        retry_ms: u64,
    }
    let response = response_of(payload)
        .and_then(|response| serde_json::from_str::<Response>(response.get()).ok());
    // A server's word is not to keep the run waiting for ever.
    now_ns + response.map_or(AGAIN_NS, |it| it.retry_ms.clamp(1, 5_000) * (SECOND_NS / 1_000))
}

impl core::Script for Script {
    fn go(&mut self, core: &mut Core, start_ns: u64) {
        core.stats.forget_times();
        self.start_ns = start_ns;
        self.end_ns = start_ns + core.plan.common.warmup.0 + core.plan.common.duration.0;
        let pause_ns = self.pause_ns();
        let publishers = count64(self.publishers.count());
        for (conn, publisher) in self.publishers.iter_mut() {
            publisher.next_ns = start_ns + pause_ns * u64::from(conn) / publishers.max(1);
            core.at(publisher.next_ns, conn, SAY);
        }
        // Spread over the load, each by the first member of its room.
        let Failover { rooms, members, banned, .. } = self.options;
        for victim in (members - banned) * rooms..members * rooms {
            let nth = u64::from(victim - (members - banned) * rooms);
            let due_ns =
                start_ns + (self.end_ns - start_ns) * (nth + 1) / u64::from(banned * rooms + 1);
            let room = victim % rooms;
            if let Some(publisher) = self.publishers.get(room) {
                publisher.bans.push((due_ns, victim));
                core.at(due_ns, room, SAY);
            }
        }
        for (number, fault) in (0..).zip(&self.options.faults) {
            core.at(start_ns + fault.at_ns(), NOBODY, FAULT + number);
        }
        core.at(start_ns, NOBODY, LOOK);
    }

    fn timer(&mut self, core: &mut Core, conn: u32, what: u32, due_ns: u64) {
        match what {
            SAY => self.go_on(core, conn),
            REJOIN => core.rejoin(conn, due_ns),
            LOOK => self.look(core),
            READ => self.read(core),
            fault => {
                let number = at(fault - FAULT);
                if let Some(fault) = self.options.faults.get(number) {
                    self.made.push(Made::start(core, number, fault));
                }
            }
        }
    }

    fn ready(&mut self, core: &mut Core, conn: u32, now_ns: u64) {
        self.go_on(core, conn);
        self.banned.answered(core, conn, true, now_ns);
    }

    fn answered(
        &mut self,
        core: &mut Core,
        conn: u32,
        waiting: Waiting,
        ok: bool,
        payload: &str,
        now_ns: u64,
    ) {
        match waiting {
            Waiting::Message { seq, .. } if ok => {
                self.acknowledge(core, conn, seq, payload, now_ns);
            }
            Waiting::Own(number) if ok => self.acknowledge_own(core, conn, number, now_ns),
            Waiting::Message { .. } | Waiting::Own(_) => {
                self.refused(core, conn, payload, now_ns);
            }
            Waiting::History if ok => {
                if self.readings.take(core, conn, payload) {
                    self.read(core);
                }
            }
            Waiting::History => self.stop_reading(core, conn, again_ns(payload, now_ns)),
            Waiting::Join(_) | Waiting::Ping | Waiting::Heartbeat => {}
        }
    }

    fn join_refused(&mut self, core: &mut Core, conn: u32, payload: &str, now_ns: u64) -> bool {
        let reason = reason_of(payload);
        let is_banned = self.banned.has(conn) && reason == "banned";
        let is_for_now = FOR_NOW.contains(&reason.as_str());
        if is_banned && self.banned.is_trying(conn) {
            self.banned.answered(core, conn, false, now_ns);
        } else if is_banned {
            // It goes on to try, as somebody would who does not believe it.
            core.at(now_ns + BANNED_NS, conn, REJOIN);
        } else if is_for_now {
            tell(&mut core.stats.counts.retried, &reason);
            core.at(again_ns(payload, now_ns), conn, REJOIN);
        }
        is_banned || is_for_now
    }

    fn event(&mut self, core: &mut Core, conn: u32, event: &str, payload: &str, now_ns: u64) {
        #[derive(Deserialize)]
        struct Turn<'a> {
            epoch: &'a str,
            offset: u64,
            change: u64,
        }
        let Some(witness) = &mut core.witness else { return };
        let told = match event {
            "room_epoch" => serde_json::from_str::<Turn<'_>>(payload).map(|turn| {
                let Turn { epoch, offset, change } = turn;
                witness.turned(conn, Entry { epoch, offset }, change);
                Vec::new()
            }),
            "msg_changed" => {
                let Some(changed) = Changed::read(payload, core.plan.run) else {
                    return core.malformed("a change without a number or an offset");
                };
                if !witness.changed(conn, &changed) {
                    // One was left out, which its number tells.
                    core.close(conn, false);
                    self.lost(core, conn, now_ns);
                }
                return;
            }
            _ => witness.present(conn, event, payload, now_ns),
        };
        match told {
            Ok(over_ns) => {
                for over_ns in over_ns {
                    core.stats.time(Metric::Ghost, over_ns);
                }
            }
            Err(error) => core.malformed(&format!("{event}: {error}")),
        }
    }

    fn lost(&mut self, core: &mut Core, conn: u32, now_ns: u64) {
        self.unsend(conn);
        core.stats.counts.reconnected += 1;
        if self.banned.is_trying(conn) {
            self.banned.lost(core, conn, now_ns);
        } else {
            let wait_ns = core.rng.u64(0..AGAIN_NS);
            core.connect_at(conn, now_ns + wait_ns);
        }
        self.stop_reading(core, conn, now_ns + AGAIN_NS);
    }

    fn ended(&mut self, core: &mut Core, conn: u32, _membership: u32, now_ns: u64) {
        self.unsend(conn);
        core.at(now_ns + AGAIN_NS, conn, REJOIN);
        self.stop_reading(core, conn, now_ns + AGAIN_NS);
    }

    fn finished(&self, _core: &Core) -> bool {
        self.stage == Stage::Judged
    }
}

//! `failover`: servers that share their rooms, while they are killed. Is there one order, is what
//! was acknowledged kept, and how long does it take until writes are acknowledged again?
//!
//! Connection number `c` of the run is member number `c / rooms` of room `c % rooms`, and one of
//! its publishers if that number is small enough. A publisher has one message under way, and says
//! it again, with the same key, until it is acknowledged. Whoever is not answered in time, or loses
//! its connection, comes back with its cursor: to its own URL, or to the next one that takes it in.
//!
//! ```text
//! load ──> settle ──> read ──> judged
//!   settle: all are back at their own URL, all messages are acknowledged, and all members are at
//!           one place and see each other
//!   read:   one member of each room at each URL reads what is kept
//! ```
//!
//! Settling has `--drain`, and reading some seconds more; what is not so by then is judged as it
//! is. See [`Witness`] for what is judged. All connections are one
//! worker's, since only who sees all of them can tell one order.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::NOBODY;
use crate::base::{SECOND_NS, at, count, count64, now_ns, real, whole};
use crate::client::dialect::{reason_of, response_of};
use crate::core::{self, Core, Draft, Script as _, Waiting};
use crate::fault::Running;
use crate::order::Entry;
use crate::plan::Failover;
use crate::stats::{FaultTold, Metric, tell};
use crate::witness::{Broken, Witness};

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

/// How long reading may take in the end.
const READ_NS: u64 = 10 * SECOND_NS;

/// Messages of a page that is read in the end.
const PAGE: u64 = 100;

/// Reasons of a refusal after which the same is asked again.
const FOR_NOW: [&str; 6] =
    ["unavailable", "unconfirmed", "busy", "storage", "rate_limited", "unmatched topic"];

/// A member that writes.
#[derive(Default)]
struct Publisher {
    /// What it says until that is acknowledged.
    draft: Option<Draft>,
    /// When the draft was sent last; none, if it is to be sent again.
    sent_ns: Option<u64>,
    /// When its next message is due.
    next_ns: u64,
}

/// A write that was acknowledged.
struct Write {
    /// The publisher's connection.
    conn: u32,
    sent_ns: u64,
    acked_ns: u64,
}

/// A fault whose time has come.
struct Made {
    number: usize,
    began_ns: u64,
    /// None where it could not be started.
    running: Option<Running>,
}

/// A room that is to be read at a URL.
struct Reading {
    room: u32,
    url: usize,
    /// All from this offset on was read.
    before: Option<u64>,
    /// Who reads, and for whose answer it waits.
    conn: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Load,
    Settle,
    Read,
    Judged,
}

pub(crate) struct Script {
    options: Failover,
    publishers: Vec<Publisher>,
    stage: Stage,
    start_ns: u64,
    end_ns: u64,
    /// In the order of their answers.
    writes: Vec<Write>,
    made: Vec<Made>,
    /// What is still to be read; the first is being read.
    readings: VecDeque<Reading>,
}

impl Script {
    pub(crate) fn new(core: &mut Core, options: Failover) -> Self {
        for _ in 0..options.rooms {
            core.add_room(options.publishers);
        }
        for conn in core.plan.own() {
            let local = core.add_conn(&[conn % options.rooms]);
            core.conns[at(local)].may_end = true;
        }
        core.recover = true;
        core.retry = true;
        let rooms = core.plan.own().map(|conn| conn % options.rooms);
        core.witness = Some(Witness::new(core.plan.run, options.rooms, rooms));
        let publishers = options.rooms * options.publishers;
        Self {
            publishers: (0..publishers).map(|_| Publisher::default()).collect(),
            options,
            stage: Stage::Load,
            start_ns: 0,
            end_ns: 0,
            writes: Vec::new(),
            made: Vec::new(),
            readings: VecDeque::new(),
        }
    }

    /// The time between two messages of one publisher.
    fn pause_ns(&self) -> u64 {
        let publishers = f64::from(self.options.rooms * self.options.publishers);
        whole(publishers / self.options.rate * real(SECOND_NS))
    }

    /// Lets a publisher say what is due, or what is not acknowledged yet.
    fn say(&mut self, core: &mut Core, conn: u32) {
        let now = now_ns();
        let (room, rank) = (conn % self.options.rooms, conn / self.options.rooms);
        let Some(publisher) = self.publishers.get_mut(at(conn)) else { return };
        if publisher.draft.is_none() && publisher.next_ns < self.end_ns && publisher.next_ns <= now
        {
            publisher.draft = Some(core.draft(room, rank, publisher.next_ns));
        }
        if let (Some(draft), None, true) = (publisher.draft, publisher.sent_ns, core.is_ready(conn))
        {
            publisher.sent_ns = Some(now);
            core.say(conn, 0, draft);
        }
    }

    /// A publisher's message is acknowledged, or given up: the next may follow.
    fn settle(&mut self, core: &mut Core, conn: u32, now_ns: u64) {
        let pause_ns = self.pause_ns();
        let publisher = &mut self.publishers[at(conn)];
        publisher.draft = None;
        publisher.sent_ns = None;
        // What was due while it waited is not caught up with.
        publisher.next_ns = now_ns.max(publisher.next_ns + pause_ns);
        if publisher.next_ns < self.end_ns {
            core.at(publisher.next_ns, conn, SAY);
        }
    }

    /// A publisher's message is to be sent again.
    fn unsend(&mut self, conn: u32) {
        if let Some(publisher) = self.publishers.get_mut(at(conn)) {
            publisher.sent_ns = None;
        }
    }

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
        let publisher = &self.publishers[at(conn)];
        if publisher.draft.is_some_and(|draft| draft.stamp.seq == seq) {
            if let Some(sent_ns) = publisher.sent_ns {
                self.writes.push(Write { conn, sent_ns, acked_ns: now_ns });
            }
            self.settle(core, conn, now_ns);
        }
    }

    fn make(&mut self, core: &mut Core, number: usize) {
        let Some(fault) = self.options.faults.get(number) else { return };
        let began_ns = now_ns();
        let running = Running::start(fault).inspect_err(|error| {
            tell(&mut core.stats.counts.reasons, &format!("fault {}: {error}", number + 1));
        });
        self.made.push(Made { number, began_ns, running: running.ok() });
    }

    fn look(&mut self, core: &mut Core) {
        let now = now_ns();
        for made in &mut self.made {
            if let Some(running) = &mut made.running {
                running.ended(now);
            }
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
        let late_ns = self.end_ns + core.plan.common.drain.0;
        if self.stage == Stage::Settle && (self.is_settled(core) || now >= late_ns) {
            self.begin_to_read(core);
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
        self.publishers.iter().all(|publisher| publisher.draft.is_none())
            && (0..count(core.conns.len())).all(|conn| core.is_ready(conn))
            && core.witness.as_ref().is_some_and(Witness::is_settled)
    }

    fn begin_to_read(&mut self, core: &mut Core) {
        self.stage = Stage::Read;
        let urls = core.plan.common.urls.len();
        let of_room = |room| {
            let urls = 0..urls;
            urls.map(move |url| Reading { room, url, before: None, conn: None })
        };
        self.readings = (0..self.options.rooms).flat_map(of_room).collect();
        self.read(core);
    }

    /// Asks for the next page.
    fn read(&mut self, core: &mut Core) {
        if self.stage != Stage::Read {
            return;
        }
        let Some(reading) = self.readings.front_mut() else { return self.judge(core) };
        let rooms = self.options.rooms;
        let is_there = |conn: &u32| {
            conn % rooms == reading.room && core.url(*conn) == reading.url && core.is_ready(*conn)
        };
        // Where nobody of a room is at a URL, nobody can be told anything else there.
        reading.conn = (0..count(core.conns.len())).find(is_there);
        let Some(conn) = reading.conn else {
            self.readings.pop_front();
            return self.read(core);
        };
        let before = reading.before.map(|before| format!("\"before\":{before},"));
        let payload = format!("{{{}\"limit\":{PAGE}}}", before.unwrap_or_default());
        let waiting = Some(Waiting::History);
        core.push(conn, Some(0), "history", payload.as_bytes(), waiting, now_ns());
    }

    fn read_page(&mut self, core: &mut Core, conn: u32, payload: &str) {
        #[derive(Deserialize)]
        struct Page<'a> {
            #[serde(borrow)]
            messages: Vec<&'a RawValue>,
            more: bool,
        }
        let Some(reading) = self.readings.front_mut().filter(|it| it.conn == Some(conn)) else {
            return;
        };
        let page = response_of(payload)
            .and_then(|response| serde_json::from_str::<Page<'_>>(response.get()).ok());
        let (Some(page), Some(witness)) = (page, &mut core.witness) else {
            return core.malformed("a page of history without messages");
        };
        let run = core.plan.run;
        let told: Vec<_> = page.messages.iter().map(|m| core::told(run, reading.room, m)).collect();
        witness.read(reading.room, reading.url, &told);
        let first = told.iter().find_map(|told| told.offset);
        let is_whole = first.is_none_or(|first| first <= witness.start(reading.room) + 1);
        reading.before = first;
        if is_whole || !page.more {
            self.readings.pop_front();
        }
        self.read(core);
    }

    /// Whoever reads is out: the same page is read by another, or again.
    fn stop_reading(&mut self, core: &mut Core, conn: u32, again_ns: u64) {
        if let Some(reading) = self.readings.front_mut().filter(|it| it.conn == Some(conn)) {
            reading.conn = None;
            core.at(again_ns, NOBODY, READ);
        }
    }

    fn judge(&mut self, core: &mut Core) {
        let (Some(witness), false) = (&mut core.witness, self.stage == Stage::Judged) else {
            return;
        };
        self.stage = Stage::Judged;
        let findings = witness.conclude(now_ns());
        let stats = &mut core.stats;
        let unsettled = self.publishers.iter().filter(|publisher| publisher.draft.is_some());
        stats.counts.unanswered += count64(unsettled.count());
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
        for made in std::mem::take(&mut self.made) {
            self.tell_of(core, made);
        }
    }

    /// Reports a fault: when its command was run, and when writes were acknowledged again that were
    /// sent after it had ended. What it has started ends with that.
    fn tell_of(&self, core: &mut Core, made: Made) {
        let Made { number, began_ns, mut running } = made;
        let stats = &mut core.stats;
        let ended = running.as_mut().and_then(|running| running.ended(now_ns()));
        let is_failed = running.is_none() || ended.is_some_and(|(_, code)| code.unwrap_or(0) != 0);
        stats.counts.faults_failed += u64::from(is_failed);
        let over_ns = ended.map_or(began_ns, |(ended_ns, _)| ended_ns);
        // By publisher: its first write after the fault.
        let mut first_ns = vec![None; self.publishers.len()];
        for write in self.writes.iter().filter(|write| write.sent_ns >= over_ns) {
            first_ns[at(write.conn)].get_or_insert(write.acked_ns - began_ns);
        }
        for again_ns in first_ns.iter().flatten() {
            stats.time(Metric::Resumed, *again_ns);
        }
        let fault = &self.options.faults[number];
        stats.faults.push(FaultTold {
            program: fault.program().to_owned(),
            due_ns: fault.at_ns(),
            began_ns: began_ns - self.start_ns,
            took_ns: ended.map(|(ended_ns, _)| ended_ns - began_ns),
            code: ended.and_then(|(_, code)| code),
            first_acked_ns: first_ns.iter().flatten().min().copied(),
            all_acked_ns: first_ns.into_iter().collect::<Option<Vec<_>>>().and_then(last),
        });
    }
}

fn last(times_ns: Vec<u64>) -> Option<u64> {
    times_ns.into_iter().max()
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
        let publishers = count64(self.publishers.len());
        for (conn, publisher) in (0..).zip(&mut self.publishers) {
            publisher.next_ns = start_ns + pause_ns * u64::from(conn) / publishers.max(1);
            core.at(publisher.next_ns, conn, SAY);
        }
        for (number, fault) in (0..).zip(&self.options.faults) {
            core.at(start_ns + fault.at_ns(), NOBODY, FAULT + number);
        }
        core.at(start_ns, NOBODY, LOOK);
    }

    fn timer(&mut self, core: &mut Core, conn: u32, what: u32, due_ns: u64) {
        match what {
            SAY => self.say(core, conn),
            REJOIN => core.rejoin(conn, due_ns),
            LOOK => self.look(core),
            READ => self.read(core),
            fault => self.make(core, at(fault - FAULT)),
        }
    }

    fn ready(&mut self, core: &mut Core, conn: u32, _now_ns: u64) {
        self.say(core, conn);
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
            Waiting::Message { .. } => {
                let reason = reason_of(payload);
                if FOR_NOW.contains(&reason.as_str()) {
                    tell(&mut core.stats.counts.retried, &reason);
                    self.unsend(conn);
                    core.at(again_ns(payload, now_ns), conn, SAY);
                } else {
                    tell(&mut core.stats.counts.refused, &reason);
                    self.settle(core, conn, now_ns);
                }
            }
            Waiting::History if ok => self.read_page(core, conn, payload),
            Waiting::History => self.stop_reading(core, conn, again_ns(payload, now_ns)),
            Waiting::Join(_) | Waiting::Ping | Waiting::Heartbeat => {}
        }
    }

    fn join_refused(&mut self, core: &mut Core, conn: u32, payload: &str, now_ns: u64) -> bool {
        let reason = reason_of(payload);
        let is_for_now = FOR_NOW.contains(&reason.as_str());
        if is_for_now {
            tell(&mut core.stats.counts.retried, &reason);
            core.at(again_ns(payload, now_ns), conn, REJOIN);
        }
        is_for_now
    }

    fn event(&mut self, core: &mut Core, conn: u32, event: &str, payload: &str, now_ns: u64) {
        #[derive(Deserialize)]
        struct Turn<'a> {
            epoch: &'a str,
            offset: u64,
        }
        let Some(witness) = &mut core.witness else { return };
        let told = match event {
            "room_epoch" => {
                serde_json::from_str::<Turn<'_>>(payload).map(|Turn { epoch, offset }| {
                    witness.turned(conn, Entry { epoch, offset });
                    Vec::new()
                })
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
        let wait_ns = core.rng.u64(0..AGAIN_NS);
        core.connect_at(conn, now_ns + wait_ns);
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

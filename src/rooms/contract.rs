//! What a home with any log must do, judged by a plain model that sees only what members are told
//! and what the log has kept.
//!
//! 1. the messages of a room come in order, without a hole, or a turn is told;
//! 2. `ok` comes after the member has its own message, and after the log has kept it, if the log
//!    promises that; and members hear only what is kept, if it promises that;
//! 3. what was refused is nowhere; of what is unconfirmed either is true;
//! 4. a key gives the receipt of the first message that had it;
//! 5. what was answered `ok` is there after a restart, unless the log says that it may be lost; a
//!    cursor is recovered exactly or not;
//! 6. a member is answered in the order in which it asked, and everything, and nobody else is;
//! 7. a page is next to what was asked, and has no hole and nothing that is not true; page by page
//!    the first message ever kept is reached, in memory or not.
//!
//! Each rule is seen to bark: a defect is planted, and the rule that is for it must find it.

use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::held::Planted;
use super::tests::{Home, Told, conn, hasher};
use super::*;
use crate::auth::identity::{Identity, NEVER_S};
use crate::base::rng::SplitMix64;
use crate::link::ids::{Asker, Cursor};
use crate::link::log::{FromLog, Log, LogAnswer, MemoryLog};
use crate::link::outbox::Timer;
use crate::link::record::{From, NewMessage, Received, Who, read};

mod judge;
#[path = "../../tests/sim/pretend_log.rs"]
#[expect(dead_code, reason = "some defects are planted by the simulator alone")]
mod pretend;

use judge::{Asked, Away, Judge, Member, audience, bodies, epoch, field, number};
use pretend::{LogDefect, PretendLog, Pretends};

/// What a log says later.
pub(crate) enum Heard {
    Pretend(RoomKey, pretend::Told),
    Real(LogAnswer),
}

impl Heard {
    fn message(&self) -> FromLog<'_> {
        match self {
            Self::Pretend(room, told) => told.message(*room),
            Self::Real(answer) => answer.said(),
        }
    }
}

/// A log that can be put to the test.
pub(crate) trait Subject: Log {
    /// Whether it keeps what is said beyond the life of its home, and beyond its memory.
    const KEEPS: bool;
    fn step(&mut self) {}
    fn next(&mut self) -> Option<Heard> {
        None
    }
    fn crash(&mut self) {}
    fn calm(&mut self) {}
    fn is_idle(&self) -> bool {
        true
    }
    /// Whether all that members hear is kept.
    fn shows_only_kept(&self) -> bool {
        false
    }
    /// Whether what was answered `ok` may be lost.
    fn may_lose_acked(&self) -> bool {
        false
    }
    /// The bodies of a room, and how many of them survive anything.
    fn truth(&self, _topic: &str) -> Option<(Vec<String>, usize)> {
        None
    }
}

impl Subject for MemoryLog {
    const KEEPS: bool = false;
}

impl Subject for PretendLog {
    const KEEPS: bool = true;
    fn step(&mut self) {
        PretendLog::step(self);
    }
    fn next(&mut self) -> Option<Heard> {
        PretendLog::next(self).map(|(room, told)| Heard::Pretend(room, told))
    }
    fn crash(&mut self) {
        PretendLog::crash(self, false);
    }
    fn calm(&mut self) {
        PretendLog::calm(self);
    }
    fn is_idle(&self) -> bool {
        PretendLog::is_idle(self)
    }
    fn shows_only_kept(&self) -> bool {
        self.pretends() == Pretends::SeenIsKept
    }
    fn may_lose_acked(&self) -> bool {
        self.pretends() == Pretends::OkIsTaken
    }
    fn truth(&self, topic: &str) -> Option<(Vec<String>, usize)> {
        let entries = self.rooms.get(topic).into_iter().flat_map(|room| &room.entries);
        let bodies = entries.map(|kept| kept.said.body.to_string()).collect();
        Some((bodies, self.durable(topic)))
    }
}

const TOPICS: [&str; 2] = ["room:tea", "room:mate"];
const SHARDS: u16 = 2;

struct Suite<L> {
    home: Home<L>,
    judge: Judge,
    rng: SplitMix64,
    numbers: u64,
    lives: u64,
    /// Whether nothing is said any more.
    is_over: bool,
}

/// Defects of the home that the suite must find.
#[derive(Clone, Copy, Debug, Default)]
struct Bugs {
    held: Planted,
    /// What was read of a recovery is told, though the room's memory has moved on.
    gap_in_recovery: bool,
}

impl<L: Subject> Suite<L> {
    fn new(log: L, seed: u64, bugs: Bugs) -> Self {
        let mut home = Home::with_log(log);
        // Of a log that keeps rooms, mostly not all is in memory.
        let tail = if L::KEEPS {
            [100_000, 1, 4, 0][usize::try_from(seed % 4).expect("small")]
        } else {
            100_000
        };
        home.settings.history.messages = tail;
        home.settings.rooms_max = 10;
        home.rooms.held.planted = bugs.held;
        home.rooms.reads.has_gaps = bugs.gap_in_recovery;
        let rng = SplitMix64::new(seed ^ 0x5eed);
        Self { home, judge: Judge::default(), rng, numbers: 0, lives: 1, is_over: false }
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.rng.below(count as u64)).expect("small")
    }

    fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Joins, as often as the log cannot open the room or read it, and returns the answer.
    fn join(&mut self, topic: usize, since: Option<Cursor>) -> (Member, String) {
        loop {
            if let Some(joined) = self.try_join(topic, since) {
                return joined;
            }
            self.judge.seen.insert("not opened");
            // What is in the way passes.
            self.home.mesh.log.step();
            self.hear_next();
            self.judge_told();
        }
    }

    /// The answer to a join, in the end; `None` if it was refused.
    fn await_join(&mut self) -> Option<(u16, Vec<u8>)> {
        let is_answer = |(_, record): &(u16, Vec<u8>)| {
            matches!(
                read(record),
                Received::ToMember(ToMember::Joined { .. } | ToMember::Refused { .. })
            )
        };
        loop {
            if let Some(at) = self.home.told.0.iter().position(is_answer) {
                let answer = self.home.told.0.remove(at);
                let is_refused =
                    matches!(read(&answer.1), Received::ToMember(ToMember::Refused { .. }));
                return (!is_refused).then_some(answer);
            }
            self.judge.seen.insert("waited");
            self.judge_told();
            let count = self.judge.members.len();
            if !self.is_over && count > 0 && self.below(3) == 0 {
                // The room moves on meanwhile, but keys stay within those that it remembers.
                let index = self.below(count);
                if self.judge.members[index].asked.is_empty() {
                    self.say(index);
                }
            }
            // It says what it was asked, whatever else happens meanwhile.
            if self.home.mesh.log.is_idle() || self.below(3) > 0 {
                self.hear_next();
            } else {
                self.home.mesh.log.step();
            }
            while self.home.with(Rooms::let_in_awaiting).is_some() {}
        }
    }

    fn try_join(&mut self, topic: usize, since: Option<Cursor>) -> Option<(Member, String)> {
        let number = self.next_number();
        let shard = u16::try_from(self.rng.below(u64::from(SHARDS))).expect("few");
        // Few users, who are here on many devices.
        let user = format!("u{}", self.below(4));
        let identity = Identity::new(&user, &user, NEVER_S, None).expect("valid");
        let join = ToHome::Join {
            conn: conn(number),
            audience: audience(topic, shard),
            topic: TOPICS[topic],
            who: Who::Here(&identity),
            speak: true,
            visible: true,
            since,
            limit: 100_000,
            meta: None,
            replaces: None,
            address: None,
        };
        self.home.with(|rooms, cx, told| rooms.ask_for_room(cx, told, shard, join));
        let (_, record) = self.await_join()?;
        let Received::ToMember(ToMember::Joined { home, slot, response, .. }) = read(&record)
        else {
            panic!("it may join")
        };
        let asker = Asker { conn: conn(number), slot };
        let member = Member {
            topic,
            shard,
            room: home,
            asker,
            user,
            asked: VecDeque::new(),
            last_own: 0,
            is_leaving: false,
        };
        let response = response.to_owned();
        self.judge_told();
        Some((member, response))
    }

    fn act(&mut self) {
        let count = self.judge.members.len();
        match self.below(26) {
            0..=2 if count < 8 => {
                let topic = self.below(TOPICS.len());
                let (member, response) = self.join(topic, None);
                let stream = (epoch(&response), number(&response, "offset"));
                self.judge.streams.entry((topic, member.shard)).or_insert(stream);
                self.judge.members.push(member);
            }
            3 if count > 0 => {
                let index = self.below(count);
                self.close(index);
            }
            4 if count > 0 => {
                let index = self.below(count);
                self.push(index, &Asked::Leave);
            }
            5 | 6 | 25 if count > 0 => {
                let index = self.below(count);
                self.ask_page(index);
            }
            24 => self.come_back(),
            7..=9 if count > 0 => {
                let index = self.below(count);
                self.push(index, &Asked::Custom);
            }
            10..=14 if count > 0 => {
                let index = self.below(count);
                self.say(index);
            }
            15 => {
                self.home.now_ms += 40;
                while let Some(timer) = self.home.timers.pop_due(self.home.now_ms) {
                    if let Timer::Room(key) = timer {
                        self.home.with(|rooms, cx, told| rooms.tick(cx, told, key));
                    }
                }
            }
            16 => self.go_away(),
            17 if self.below(8) == 0 => self.crash(),
            _ => {
                self.home.mesh.log.step();
                self.hear_next();
            }
        }
        self.judge_told();
    }

    fn say(&mut self, index: usize) {
        let body = format!("\"b{}\"", self.numbers + 1);
        let key = (self.below(2) == 0).then(|| format!("k{}", self.below(12)));
        self.push(index, &Asked::Message { body, key });
    }

    /// Asks for a page of what the member has heard of, or of the latest.
    fn ask_page(&mut self, index: usize) {
        let Member { topic, shard, .. } = self.judge.members[index];
        let heard = self.judge.streams.get(&(topic, shard)).map_or(0, |(_, last)| *last);
        let at = self.rng.below(heard + 3);
        let from = match self.below(4) {
            0 => From::Latest,
            1 => From::After(at),
            _ => From::Before(at),
        };
        let limit = 1 + u32::try_from(self.below(4)).expect("small");
        self.push(index, &Asked::Page { from, limit, heard });
    }

    fn push(&mut self, index: usize, what: &Asked) {
        let number = self.next_number();
        let reference = number.to_string();
        let member = &mut self.judge.members[index];
        if member.is_leaving {
            return;
        }
        let (home, asker, shard) = (member.room, member.asker, member.shard);
        member.is_leaving = matches!(what, Asked::Leave);
        member.asked.push_back((reference.clone(), what.clone()));
        let payload = format!("{{\"n\":{number}}}");
        let push = match what {
            Asked::Message { body, key } => ToHome::Publish {
                home,
                asker,
                reference: &reference,
                message: NewMessage { body, key: key.as_deref(), ..NewMessage::default() },
            },
            Asked::Custom => ToHome::Custom {
                home,
                asker,
                reference: &reference,
                event: "ping",
                payload: Payload::Json(&payload),
            },
            Asked::Page { from, limit, .. } => {
                let (from, limit) = (*from, *limit);
                ToHome::History { home, asker, reference: &reference, from, limit }
            }
            Asked::Leave => ToHome::Leave { home, asker, reference: Some(&reference) },
        };
        self.home.hear(shard, push);
    }

    fn close(&mut self, index: usize) {
        let member = self.judge.members.remove(index);
        self.judge.left(&member);
        let leave = ToHome::Leave { home: member.room, asker: member.asker, reference: None };
        self.home.hear(member.shard, leave);
    }

    /// A client that has the latest messages of a room goes away with its cursor.
    fn go_away(&mut self) {
        let topic = self.below(TOPICS.len());
        let (member, response) = self.join(topic, None);
        let change = (self.below(2) == 0).then_some(0);
        let cursor =
            Cursor { epoch: epoch(&response), offset: number(&response, "offset"), change };
        let bodies = bodies(field(&response, "messages"));
        self.judge.away.push(Away { topic, cursor, bodies });
        self.leave(&member);
    }

    fn leave(&mut self, member: &Member) {
        let (home, asker) = (member.room, member.asker);
        self.home.hear(member.shard, ToHome::Leave { home, asker, reference: None });
    }

    /// A client comes back with its cursor, whatever happens meanwhile.
    fn come_back(&mut self) {
        let count = self.judge.away.len();
        if count == 0 {
            return;
        }
        let index = self.below(count);
        let Away { topic, cursor, bodies: had } = self.judge.away[index].clone();
        let (member, response) = self.join(topic, Some(cursor));
        if field(&response, "recovered") == "true" {
            let missed = bodies(field(&response, "messages"));
            let last = number(&response, "offset");
            assert_eq!(
                cursor.offset + missed.len() as u64,
                last,
                "a recovery is exact: {cursor:?}"
            );
            self.judge.seen.insert("recovered under way");
            let bodies = [had, missed].concat();
            let cursor = Cursor { epoch: epoch(&response), offset: last, ..cursor };
            self.judge.away.push(Away { topic, cursor, bodies });
        }
        self.leave(&member);
    }

    fn hear_next(&mut self) {
        if let Some(heard) = self.home.mesh.log.next() {
            self.home.with(|rooms, cx, members| rooms.hear_log(cx, members, heard.message()));
        }
    }

    /// The home begins anew, and everybody has to join again.
    fn crash(&mut self) {
        self.lives += 1;
        self.judge.seen.insert("crash");
        let (planted, has_gaps) = (self.home.rooms.held.planted, self.home.rooms.reads.has_gaps);
        let mut next = Rooms::new(self.lives << 40, hasher);
        next.follow(&self.home.rooms);
        self.home.rooms = next;
        self.home.rooms.held.planted = planted;
        self.home.rooms.reads.has_gaps = has_gaps;
        self.home.mesh.log.crash();
        self.home.told = Told::default();
        self.judge.members.clear();
        self.judge.streams.clear();
        if self.home.mesh.log.may_lose_acked() {
            self.judge.forget_lost(&self.home.mesh.log);
        }
        if L::KEEPS {
            self.judge.check_acked(&self.home.mesh.log);
        } else {
            self.judge.keys.clear();
        }
    }

    fn judge_told(&mut self) {
        for (shard, record) in std::mem::take(&mut self.home.told.0) {
            let Received::ToMember(message) = read(&record) else { panic!("for a member") };
            self.judge.hear(&self.home.mesh.log, shard, message);
        }
        // Their shard lets go of them, as of those who lag.
        for (topic, shard) in std::mem::take(&mut self.judge.ended) {
            let is_there = |member: &Member| (member.topic, member.shard) == (topic, shard);
            while let Some(index) = self.judge.members.iter().position(is_there) {
                self.close(index);
            }
        }
    }

    /// Everything comes to rest, and then everything must be right.
    fn finish(&mut self) {
        self.is_over = true;
        self.home.mesh.log.calm();
        while !self.home.mesh.log.is_idle() {
            self.home.mesh.log.step();
            self.hear_next();
            self.judge_told();
        }
        for member in &self.judge.members {
            assert!(member.asked.is_empty(), "everything is answered: {:?}", member.asked);
        }
        assert!(self.home.rooms.pending.is_idle(), "and nothing is under way");
        if L::KEEPS {
            self.judge.check_acked(&self.home.mesh.log);
        }
        for (topic, name) in TOPICS.iter().enumerate() {
            let there = self.read_all(topic);
            if let Some((truth, _)) = self.home.mesh.log.truth(name) {
                assert_eq!(there, truth, "a room is as its log is");
            }
            for body in &there {
                assert!(!self.judge.refused.contains(body), "what was refused is nowhere: {body}");
            }
        }
        for Away { topic, cursor, bodies: had } in std::mem::take(&mut self.judge.away) {
            let (_, response) = self.join(topic, Some(cursor));
            if field(&response, "recovered") == "false" {
                self.judge.seen.insert("not recovered");
                continue;
            }
            self.judge.seen.insert("recovered");
            let missed = bodies(field(&response, "messages"));
            let all = self.read_all(topic);
            let missed_from = usize::try_from(cursor.offset).expect("few");
            assert_eq!(missed_from + missed.len(), all.len(), "a recovery is exact: {cursor:?}");
            assert!(all.ends_with(&[had, missed].concat()), "a recovery is exact: {cursor:?}");
        }
    }

    /// All bodies of a room, page by page from the last one back.
    fn read_all(&mut self, topic: usize) -> Vec<String> {
        let (member, response) = self.join(topic, None);
        let mut all = bodies(field(&response, "messages"));
        let mut first = number(&response, "offset") + 1 - all.len() as u64;
        let mut more = field(&response, "more") == "true";
        while more {
            let page = self.read_before(&member, first);
            let messages = bodies(field(&page, "messages"));
            assert!(!messages.is_empty(), "more is there if it is said to be: before {first}");
            first -= messages.len() as u64;
            all.splice(0..0, messages);
            more = field(&page, "more") == "true";
        }
        assert_eq!(first, 1, "the first message is reached");
        self.leave(&member);
        all
    }

    /// A page before an offset, as it is answered in the end.
    fn read_before(&mut self, member: &Member, offset: u64) -> String {
        let reference = self.next_number().to_string();
        let (home, asker, from) = (member.room, member.asker, From::Before(offset));
        let limit = 3;
        self.home.hear(
            member.shard,
            ToHome::History { home, asker, reference: &reference, from, limit },
        );
        loop {
            for (_, record) in std::mem::take(&mut self.home.told.0) {
                let Received::ToMember(message) = read(&record) else { panic!("for a member") };
                if let ToMember::Reply { status, response: Payload::Json(response), .. } = message {
                    assert_eq!(status, "ok", "all is well: {response}");
                    return response.to_owned();
                }
            }
            self.home.mesh.log.step();
            self.hear_next();
        }
    }
}

/// One run, from one seed. What happened in it.
fn run<L: Subject>(log: L, seed: u64, bugs: Bugs) -> BTreeSet<&'static str> {
    let mut suite = Suite::new(log, seed, bugs);
    for _ in 0..400 {
        suite.act();
    }
    suite.finish();
    if suite.home.rooms.reads.again > 0 {
        suite.judge.seen.insert("read again");
    }
    suite.judge.seen
}

/// Runs many seeds; what must be reached is reached.
fn check<L: Subject>(log: impl Fn(u64) -> L, reached: &[&'static str]) {
    let seeds = std::env::var("SIM_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    check_some(seeds.unwrap_or(150), log, reached);
}

/// Runs so many seeds; what must be reached is reached.
pub(crate) fn check_some<L: Subject>(seeds: u64, log: impl Fn(u64) -> L, reached: &[&'static str]) {
    let mut seen = BTreeSet::new();
    for seed in 0..seeds {
        match catch_unwind(AssertUnwindSafe(|| run(log(seed), seed, Bugs::default()))) {
            Ok(reached) => seen.extend(reached),
            Err(failure) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(failure);
            }
        }
    }
    for what in reached {
        assert!(seen.contains(what), "{what} was not reached: {seen:?}");
    }
}

/// What happens with pages and recoveries.
const READ: [&str; 4] = ["page", "page refused", "recovered under way", "read again"];

#[test]
fn memory_keeps_the_contract() {
    check(|_| MemoryLog, &["ok", "crash", "recovered", "not recovered"]);
}

#[test]
fn a_store_keeps_the_contract() {
    let reached = ["ok", "crash", "recovered", "not recovered", "refused", "unconfirmed"];
    let reached = [&reached[..], &["waited", "not opened"], &READ].concat();
    check(|seed| PretendLog::new(seed, Pretends::Store, None), &reached);
}

#[test]
fn a_store_that_delivers_after_the_commit_keeps_the_contract() {
    let reached = ["ok", "crash", "recovered", "refused", "unconfirmed", "waited"];
    check(|seed| PretendLog::new(seed, Pretends::SeenIsKept, None), &reached);
}

#[test]
fn a_store_that_answers_before_the_commit_keeps_the_rest_of_the_contract() {
    let reached = ["ok", "crash", "recovered", "not recovered", "refused", "lost"];
    check(|seed| PretendLog::new(seed, Pretends::OkIsTaken, None), &reached);
}

#[test]
fn an_engine_keeps_the_contract() {
    let reached =
        ["ok", "crash", "recovered", "not recovered", "refused", "unconfirmed", "turn", "ended"];
    let reached = [&reached[..], &["waited", "not opened"], &READ].concat();
    check(|seed| PretendLog::new(seed, Pretends::Engine, None), &reached);
}

/// Runs with a defect until one of these rules finds it.
#[track_caller]
fn bark<L: Subject>(log: impl Fn(u64) -> L, bugs: Bugs, rules: &[&str]) {
    let mut others = Vec::new();
    for seed in 0..60 {
        let failure = catch_unwind(AssertUnwindSafe(|| run(log(seed), seed, bugs)));
        let Err(failure) = failure else { continue };
        let text = failure.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| failure.downcast_ref::<&str>().copied()).unwrap_or_default();
        if rules.iter().any(|rule| text.contains(rule)) {
            return;
        }
        others.push(text.to_owned());
    }
    panic!("not found by {rules:?}, but by {others:#?}");
}

const NONE: Bugs = Bugs { held: Planted::Nothing, gap_in_recovery: false };

#[test]
fn an_answer_before_it_is_kept_is_found() {
    let rules = ["ok comes after it is kept"];
    let defect = Some(LogDefect::AckedBeforeKept);
    bark(|seed| PretendLog::new(seed, Pretends::Store, defect), NONE, &rules);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, defect), NONE, &rules);
}

#[test]
fn a_message_that_is_heard_before_it_is_kept_is_found() {
    let defect = Some(LogDefect::SeenBeforeKept);
    let log = |seed| PretendLog::new(seed, Pretends::SeenIsKept, defect);
    bark(log, NONE, &["what is heard is kept"]);
}

#[test]
fn an_epoch_that_outlives_a_loss_is_found() {
    let defect = Some(LogDefect::EpochKept);
    let rules = ["a recovery is exact", "a room is as its log is", "an offset has one message"];
    bark(|seed| PretendLog::new(seed, Pretends::Store, defect), NONE, &rules);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, defect), NONE, &rules);
}

#[test]
fn an_offset_that_is_used_again_is_found() {
    let defect = Some(LogDefect::OffsetReused);
    let rules = ["an offset has one message"];
    bark(|seed| PretendLog::new(seed, Pretends::Store, defect), NONE, &rules);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, defect), NONE, &rules);
}

#[test]
fn an_answer_that_overtakes_is_found() {
    let rules = ["answers do not overtake", "a leave is answered last"];
    let bugs = Bugs { held: Planted::Overtakes, ..NONE };
    bark(|seed| PretendLog::new(seed, Pretends::Store, None), bugs, &rules);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, None), bugs, &rules);
}

#[test]
fn an_answer_given_to_the_slots_next_owner_is_found() {
    let rules = ["nobody is answered what another asked"];
    let bugs = Bugs { held: Planted::NextOwner, ..NONE };
    bark(|seed| PretendLog::new(seed, Pretends::Store, None), bugs, &rules);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, None), bugs, &rules);
}

#[test]
fn a_page_that_is_older_than_what_its_reader_heard_is_found() {
    let rules = ["a page has all that its reader has heard"];
    let defect = Some(LogDefect::ReadTooEarly);
    bark(|seed| PretendLog::new(seed, Pretends::Store, defect), NONE, &rules);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, defect), NONE, &rules);
}

#[test]
fn a_page_that_another_asked_for_is_found() {
    let rules = ["a page has all that its reader has heard", "a page is what was asked for"];
    let defect = Some(LogDefect::ReadsSwapped);
    bark(|seed| PretendLog::new(seed, Pretends::Store, defect), NONE, &rules);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, defect), NONE, &rules);
}

#[test]
fn a_recovery_with_a_gap_where_memory_has_moved_on_is_found() {
    let bugs = Bugs { gap_in_recovery: true, ..NONE };
    bark(|seed| PretendLog::new(seed, Pretends::Store, None), bugs, &["a recovery is exact"]);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, None), bugs, &["a recovery is exact"]);
}

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
//!    the first message ever kept is reached, in memory or not;
//! 8. changes of messages are told in order, without a hole; who merges them has at every cut what
//!    the log has, live, by pages that are read meanwhile, and by a recovery;
//! 9. a page around a message, of a thread or of what is pinned has all of it that its reader has
//!    heard, and nothing else; whoever joins is told what is pinned, and no more is than may be;
//! 10. a reaction is answered after it is kept, and is there for good; all are told who has
//!     reacted, and whoever asks which reactions are its own;
//! 11. what was deleted is never seen again, unless a turn has lost that it was;
//! 12. a message that answers another one is in the thread of that, in memory or not;
//! 13. what is decided of a room, and what is reported, is answered after it is kept, and is there
//!     for good; whoever asks is told what holds, page by page all of it;
//! 14. what is done has a line in the audit trail, and that is kept with it, or neither is;
//! 15. nobody comes in who is banned, and no invite is good that was taken back;
//! 16. an `id` names the epoch in which its message was said, however many have come since.
//!
//! Each rule is seen to bark: a defect is planted, and the rule that is for it must find it.

use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::held::Planted;
use super::tests::{Home, Told, conn, hasher};
use super::*;
use crate::auth::identity::{Identity, NEVER_S};
use crate::auth::invite::Inviter;
use crate::auth::level::Level;
use crate::base::rng::SplitMix64;
use crate::limits::LINEAGE_EPOCHS_MAX;
use crate::link::ids::{Asker, Cursor};
use crate::link::log::{FromLog, Log, LogAnswer, Marks, MemoryLog, View};
use crate::link::record::{From, Received, Who, read};
use crate::link::said::MessageText;
use crate::room::planted::{Planted as InRoom, plant};

mod acts;
mod decided;
mod judge;
mod ledger;
mod planted;
#[path = "../../tests/sim/pretend_log/mod.rs"]
mod pretend;
mod reactions;
pub(crate) mod reader;
mod views;

use decided::check_joined;
use judge::{Away, Judge, Member, audience, field, number};
use ledger::Recorded;
use pretend::{LogDefect, PretendLog, Pretends};
use reader::{Reader, messages, object, of};

/// What a log says later.
pub(crate) enum Heard {
    Pretend(RoomKey, pretend::Told),
    #[cfg_attr(
        not(any(feature = "engine-redis", feature = "store")),
        expect(dead_code, reason = "only a store and an engine are real")
    )]
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
    /// In so many rounds everything comes to rest while it has something to do: with a defect it
    /// may have so for ever.
    const BUSY_ROUNDS_MAX: u32 = 300_000;
    fn step(&mut self) {}
    fn next(&mut self) -> Option<Heard> {
        None
    }
    fn crash(&mut self) {}
    fn calm(&mut self) {}
    fn is_idle(&self) -> bool {
        true
    }
    /// Asserts what must be so of it at rest.
    fn check(&self) {}
    /// Whether all that members hear is kept.
    fn shows_only_kept(&self) -> bool {
        false
    }
    /// Whether what was answered `ok` may be lost.
    fn may_lose_acked(&self) -> bool {
        false
    }
    /// The bodies of a room, as they are by now.
    fn truth(&self, _topic: &str) -> Option<Vec<String>> {
        None
    }
    /// Up to where a room survives anything.
    fn durable(&self, topic: &str) -> Marks {
        self.top(topic)
    }
    /// How far a room has come.
    fn top(&self, topic: &str) -> Marks {
        let count = self.truth(topic).map_or(0, |bodies| bodies.len());
        Marks { offset: count as u64, change: 0 }
    }
    /// The body of a message as it was said, if it can be told.
    fn said(&self, topic: &str, offset: u64) -> Option<String> {
        self.truth(topic)?.get(usize::try_from(offset).ok()? - 1).cloned()
    }
    /// Whether [`Subject::said`] tells that, though messages change.
    fn tells_states(&self) -> bool {
        false
    }
    /// The epoch that a room is in, if the log can tell.
    fn epoch(&self, _topic: &str) -> Option<u64> {
        None
    }
    /// The epoch in which a message was said, if the log can tell.
    fn said_in(&self, _topic: &str, _offset: u64) -> Option<u64> {
        None
    }
    /// A message as it was by a change, if the log can tell.
    fn state(&self, _topic: &str, _offset: u64, _change: u64) -> Option<MessageText> {
        None
    }
    /// The offsets of the messages that were pinned after a change, if the log can tell.
    fn pins_by(&self, _topic: &str, _change: u64) -> Option<Vec<u64>> {
        None
    }
    /// Whether others than its home change messages.
    fn has_others(&self) -> bool {
        false
    }
    /// Up to where a cursor of an epoch is true, if the log can tell and remembers that one.
    fn kept_of(&self, _topic: &str, _epoch: u64) -> Option<Marks> {
        None
    }
    /// Up to which offset it has let go of messages.
    fn gone(&self, _topic: &str) -> u64 {
        0
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
    fn truth(&self, topic: &str) -> Option<Vec<String>> {
        let Some(room) = self.rooms.get(topic) else { return Some(Vec::new()) };
        let latest = (1..=room.last()).filter_map(|offset| room.latest(offset));
        Some(latest.map(|message| message.said.body.into()).collect())
    }
    fn durable(&self, topic: &str) -> Marks {
        PretendLog::durable(self, topic)
    }
    fn top(&self, topic: &str) -> Marks {
        self.rooms.get(topic).map_or(Marks::default(), pretend::Room::top)
    }
    fn said(&self, topic: &str, offset: u64) -> Option<String> {
        Some(self.rooms.get(topic)?.state_by(offset, 0)?.said.body.into())
    }
    fn tells_states(&self) -> bool {
        true
    }
    fn epoch(&self, topic: &str) -> Option<u64> {
        self.rooms.get(topic).map(pretend::Room::epoch)
    }
    fn said_in(&self, topic: &str, offset: u64) -> Option<u64> {
        self.rooms.get(topic).map(|room| room.said_in(offset))
    }
    fn state(&self, topic: &str, offset: u64, change: u64) -> Option<MessageText> {
        self.rooms.get(topic)?.state_by(offset, change)
    }
    fn pins_by(&self, topic: &str, change: u64) -> Option<Vec<u64>> {
        let room = self.rooms.get(topic)?;
        let is_pinned = |offset: &u64| {
            let by = room.state_by(*offset, change);
            by.is_some_and(|message| message.fate().pinned.is_some())
        };
        Some((room.gone + 1..=room.last()).filter(is_pinned).collect())
    }
    fn has_others(&self) -> bool {
        self.pretends() == Pretends::Engine
    }
    fn kept_of(&self, topic: &str, epoch: u64) -> Option<Marks> {
        let room = self.rooms.get(topic)?;
        let mut ended = room.lineage.iter().take(LINEAGE_EPOCHS_MAX);
        let kept = ended.find(|(of, _)| *of == epoch).map(|(_, kept)| *kept);
        if epoch == room.epoch() { Some(room.top()) } else { kept }
    }
    fn gone(&self, topic: &str) -> u64 {
        self.rooms.get(topic).map_or(0, |room| room.gone)
    }
}

/// In so many rounds everything comes to rest whose log has nothing more to do, and is answered.
const ROUNDS_MAX: u32 = 10_000;

const TOPICS: [&str; 2] = ["room:tea", "room:mate"];
const SHARDS: u16 = 2;

/// What invites are signed with.
const SECRET: [u8; 32] = [7; 32];

struct Suite<L> {
    home: Home<Recorded<L>>,
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
    room: InRoom,
}

impl<L: Subject> Suite<L> {
    fn new(log: L, seed: u64, bugs: Bugs) -> Self {
        let is_lossy = log.may_lose_acked();
        let mut home = Home::with_log(Recorded::new(log, is_lossy));
        home.mesh.log.ledger.now_ms = 1_000_000 + home.now_ms;
        // Mostly not all is in memory, and of few changes which messages they were of.
        let of_four = |seed: u64| usize::try_from(seed % 4).expect("small");
        home.settings.history.messages = [100_000, 1, 4, 0][of_four(seed)];
        home.settings.chat.changes = [1_000, 3, 1_000, 8][of_four(seed / 4)];
        home.settings.chat.pins = [50, 2, 1, 3][of_four(seed / 2)];
        home.settings.chat.emoji_per_message = [20, 1, 20, 2][of_four(seed / 2)];
        home.settings.chat.react_tick_ms = [250, 1, 60, 1_000][of_four(seed)];
        home.settings.chat.stream_s = [60, 1, 60, 2][of_four(seed / 4)];
        home.settings.rooms_max = 10;
        home.settings.inviter = Some(Arc::new(Inviter::new(&SECRET)));
        home.rooms.held.planted = bugs.held;
        home.rooms.reads.has_gaps = bugs.gap_in_recovery;
        plant(bugs.room);
        let rng = SplitMix64::new(seed ^ 0x5eed);
        let mut judge = Judge::default();
        judge.pins_max = home.settings.chat.pins as usize;
        Self { home, judge, rng, numbers: 0, lives: 1, is_over: false }
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.rng.below(count as u64)).expect("small")
    }

    fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// One of few users, who are here on many devices, joins as often as the log cannot open the
    /// room or read it. Returns the answer.
    fn join(&mut self, topic: usize, since: Option<Cursor>) -> (Member, String) {
        loop {
            let user = format!("u{}", self.below(4));
            let level = [Level::Speak, Level::Speak, Level::Moderate, Level::Own][self.below(4)];
            if let Ok(joined) = self.try_join(topic, (&user, level), since, None) {
                return joined;
            }
            self.judge.seen.insert("not opened");
            // What is in the way passes.
            self.step();
            self.hear_next();
            self.judge_told();
        }
    }

    /// The answer to a join, in the end.
    fn await_join(&mut self) -> Vec<u8> {
        let is_answer = |(_, record): &(u16, Vec<u8>)| {
            matches!(
                read(record),
                Received::ToMember(ToMember::Joined { .. } | ToMember::Refused { .. })
            )
        };
        let mut rounds = 0;
        for _ in 0..L::BUSY_ROUNDS_MAX {
            // Another thread may have something to do, for as long as that takes.
            rounds += u32::from(self.home.mesh.log.tried.is_idle());
            if rounds == ROUNDS_MAX {
                break;
            }
            if let Some(at) = self.home.told.0.iter().position(is_answer) {
                return self.home.told.0.remove(at).1;
            }
            self.judge.seen.insert("waited");
            self.judge_told();
            let count = self.judge.members.len();
            if !self.is_over && count > 0 && self.below(3) == 0 {
                // The room moves on meanwhile, but keys stay within those that it remembers.
                let index = self.below(count);
                if self.judge.members[index].asked.is_empty() {
                    if self.below(2) == 0 {
                        self.say(index);
                    } else {
                        self.change(index);
                    }
                }
            }
            // It says what it was asked, whatever else happens meanwhile.
            if self.home.mesh.log.tried.is_idle() || self.below(3) > 0 {
                self.hear_next();
            } else {
                self.step();
            }
            while self.home.with(Rooms::let_in_awaiting).is_some() {}
        }
        panic!("a join is answered")
    }

    /// A user joins, and may bring an invite. Returns the answer.
    ///
    /// # Errors
    ///
    /// The answer, if it is refused.
    fn try_join(
        &mut self,
        topic: usize,
        (user, level): (&str, Level),
        since: Option<Cursor>,
        invite: Option<&str>,
    ) -> Result<(Member, String), String> {
        let number = self.next_number();
        let shard = u16::try_from(self.rng.below(u64::from(SHARDS))).expect("few");
        let identity = Identity::new(user, user, NEVER_S, None).expect("valid");
        let join = ToHome::Join {
            conn: conn(number),
            audience: audience(topic, shard),
            topic: TOPICS[topic],
            who: Who::Here(&identity),
            level,
            visible: true,
            since,
            limit: 100_000,
            meta: None,
            replaces: None,
            address: None,
            invite,
        };
        self.home.with(|rooms, cx, told| rooms.ask_for_room(cx, told, shard, join));
        let record = self.await_join();
        let (home, slot, response) = match read(&record) {
            Received::ToMember(ToMember::Joined { home, slot, response, .. }) => {
                (home, slot, response)
            }
            Received::ToMember(ToMember::Refused { response, .. }) => {
                return Err(response.to_owned());
            }
            other => unreachable!("a join is answered: {other:?}"),
        };
        let asker = Asker { conn: conn(number), slot };
        let member = Member {
            topic,
            shard,
            room: home,
            asker,
            user: user.to_owned(),
            level,
            asked: VecDeque::new(),
            last_own: 0,
            is_leaving: false,
        };
        let response = response.to_owned();
        check_joined(&mut self.home.mesh.log.ledger, &member, &response);
        self.judge_told();
        self.judge.sees_all(&self.home.mesh.log.tried, topic, &response);
        self.judge.check_mine(&self.home.mesh.log.tried, (topic, &member.user), &response);
        if field(&response, "recovered") == "false" {
            let reader = Reader::joined(topic, &response);
            self.judge.joined(&self.home.mesh.log.tried, &reader);
        }
        self.judge.check_pins(&self.home.mesh.log.tried, topic, &response);
        Ok((member, response))
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
        let knows_changes = self.below(4) > 0;
        self.judge.goes_away(Reader::joined(topic, &response), knows_changes);
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
        let Away { mut reader, knows_changes } = self.judge.away[index].clone();
        let member = self.rejoin(&mut reader, knows_changes);
        // It is there twice: as it was, and as it is by now.
        self.judge.goes_away(reader, knows_changes);
        self.leave(&member);
    }

    /// Lets a client come back, and judges what it has then.
    fn rejoin(&mut self, reader: &mut Reader, knows_changes: bool) -> Member {
        let change = reader.cursor().change.filter(|_| knows_changes);
        let cursor = Cursor { change, ..reader.cursor() };
        let (member, response) = self.join(reader.topic, Some(cursor));
        if !knows_changes {
            assert!(!response.contains("\"changed\""), "it would not know what that is");
        }
        if reader.rejoined(&response) {
            self.judge.seen.insert("recovered under way");
            if !knows_changes {
                // What it had may be as it was.
                reader.messages.retain(|offset, _| *offset > cursor.offset);
            }
            let rule = "a recovery makes equal";
            let log = &self.home.mesh.log.tried;
            self.judge.check_reader(log, reader, rule);
            let gone = if L::KEEPS { log.gone(TOPICS[reader.topic]) } else { u64::MAX };
            for message in messages(&object(&response), "changed") {
                let is_whole = message.contains_key("id") || of(&message, "offset") <= gone;
                assert!(is_whole, "what is kept of a deleted message is told: {message:?}");
                self.judge.seen.insert("changed meanwhile");
            }
        } else {
            self.judge.seen.insert("not recovered");
            // While things go wrong, what was missed may be out of reach.
            if self.is_over {
                self.check_not_kept(TOPICS[reader.topic], cursor);
            }
        }
        member
    }

    /// A cursor that is not recovered is not true any more, or something has been let go of.
    fn check_not_kept(&self, topic: &str, cursor: Cursor) {
        let log = &self.home.mesh.log.tried;
        let is_kept = log.kept_of(topic, cursor.epoch).is_some_and(|kept| {
            cursor.offset <= kept.offset && cursor.change.is_none_or(|of| of <= kept.change)
        });
        // Of what was let go of, changes that came later may be missed too.
        let is_gone = log.gone(topic) > 0;
        assert!(is_gone || !is_kept, "a cursor at what is kept is recovered: {topic} {cursor:?}");
    }

    /// The log does one thing. What was deleted, and is not any more, it has just lost.
    fn step(&mut self) {
        let log = &mut self.home.mesh.log.tried;
        log.step();
        if log.tells_states() {
            self.judge.forget_deleted(log);
        }
    }

    fn hear_next(&mut self) {
        if let Some(heard) = self.home.mesh.log.tried.next() {
            self.home.mesh.log.ledger.hears(&heard.message());
            self.judge.expects(&heard.message());
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
        self.home.mesh.log.tried.crash();
        self.home.mesh.log.ledger.crashed();
        self.home.told = Told::default();
        self.judge.members.clear();
        for reader in std::mem::take(&mut self.judge.streams).into_values() {
            self.judge.goes_away(reader, true);
        }
        self.judge.references.clear();
        self.judge.forget_deleted(&self.home.mesh.log.tried);
        if self.home.mesh.log.tried.may_lose_acked() {
            self.judge.forget_lost(&self.home.mesh.log.tried);
        }
        if L::KEEPS {
            self.judge.check_acked(&self.home.mesh.log.tried);
        } else {
            self.judge.keys.clear();
        }
    }

    fn judge_told(&mut self) {
        for (shard, record) in std::mem::take(&mut self.home.told.0) {
            let Received::ToMember(message) = read(&record) else { panic!("for a member") };
            let Recorded { tried, ledger } = &mut self.home.mesh.log;
            self.judge.hear(tried, ledger, shard, message);
        }
        self.judge.check_kicked();
        self.judge.check_invited(&mut self.home.mesh.log.ledger);
        self.home.mesh.log.ledger.note_judged();
        while let Some(asker) = self.judge.put_out.pop() {
            let index = self.judge.members.iter().position(|member| member.asker == asker);
            if let Some(index) = index {
                self.close(index);
            }
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
        self.home.mesh.log.tried.calm();
        let (mut rounds, mut busy) = (0, 0);
        while !self.home.mesh.log.tried.is_idle() || !self.home.rooms.collected.is_empty() {
            rounds += u32::from(self.home.mesh.log.tried.is_idle());
            busy += 1;
            let is_in_time = rounds < ROUNDS_MAX && busy < L::BUSY_ROUNDS_MAX;
            assert!(is_in_time, "everything comes to rest");
            self.pass(40);
            self.fire();
            self.step();
            self.hear_next();
            self.judge_told();
        }
        for member in &self.judge.members {
            assert!(member.asked.is_empty(), "everything is answered: {:?}", member.asked);
        }
        assert!(self.home.rooms.pending.is_idle(), "and nothing is under way");
        self.home.mesh.log.tried.check();
        if L::KEEPS {
            self.judge.check_acked(&self.home.mesh.log.tried);
            self.judge.check_threads(&self.home.mesh.log.tried);
        }
        self.judge.check_streams(&self.home.mesh.log.tried);
        for (topic, name) in TOPICS.iter().enumerate() {
            self.check_all_decided(topic);
            let there = self.read_all(topic);
            if let Some(truth) = self.home.mesh.log.tried.truth(name) {
                let body = |message: &reader::Message| message["body"].to_string();
                let bodies: Vec<String> = there.messages.values().map(body).collect();
                let gone = usize::try_from(self.home.mesh.log.tried.gone(name)).expect("few");
                assert_eq!(bodies, truth[gone.min(truth.len())..], "a room is as its log is");
            }
            let rule = "a page of a join is the truth";
            self.judge.check_reader(&self.home.mesh.log.tried, &there, rule);
            for stream in self.judge.streams.values().filter(|stream| stream.topic == topic) {
                let of = |reader: &Reader| (reader.epoch, reader.at);
                assert_eq!(of(stream), of(&there), "who is there has heard all");
                for (offset, mine) in &stream.messages {
                    let fresh = there.messages.get(offset);
                    let is_same = fresh.is_none_or(|fresh| fresh == mine);
                    assert!(is_same, "who heard all has what a page has: {mine:?} {fresh:?}");
                }
            }
        }
        for Away { mut reader, knows_changes } in std::mem::take(&mut self.judge.away) {
            let member = self.rejoin(&mut reader, knows_changes);
            self.judge.seen.insert("recovered");
            self.leave(&member);
        }
    }

    /// All messages of a room, page by page from the last one back.
    fn read_all(&mut self, topic: usize) -> Reader {
        let (member, response) = self.join(topic, None);
        let mut all = Reader::joined(topic, &response);
        let mut more = field(&response, "more") == "true";
        let mut first = number(&response, "offset") + 1 - all.messages.len() as u64;
        while more {
            let page = object(&self.read_before(&member, first));
            let read = messages(&page, "messages");
            let is_end =
                read.is_empty() && first <= self.home.mesh.log.tried.gone(TOPICS[topic]) + 1;
            if is_end {
                break;
            }
            assert!(!read.is_empty(), "more is there if it is said to be: before {first}");
            first -= read.len() as u64;
            all.read(&read);
            more = page["more"] == true;
        }
        if L::KEEPS {
            let gone = self.home.mesh.log.tried.gone(TOPICS[topic]);
            assert_eq!(first, gone + 1, "the first message is reached");
        }
        self.leave(&member);
        all
    }

    /// A page before an offset, as it is answered in the end.
    fn read_before(&mut self, member: &Member, offset: u64) -> String {
        let reference = self.next_number().to_string();
        let (home, asker, from) = (member.room, member.asker, From::Before(offset));
        let (reference, view, limit) = (&*reference, View::Room, 3);
        self.ask(member.shard, ToHome::History { home, asker, reference, view, from, limit })
    }

    /// What a push is answered in the end, when all else is at rest.
    fn ask(&mut self, shard: u16, push: ToHome<'_>) -> String {
        self.home.hear(shard, push);
        let (mut rounds, mut busy) = (0, 0);
        while rounds < ROUNDS_MAX && busy < L::BUSY_ROUNDS_MAX {
            busy += 1;
            for (_, record) in std::mem::take(&mut self.home.told.0) {
                let Received::ToMember(message) = read(&record) else { panic!("for a member") };
                if let ToMember::Reply { status, response: Payload::Json(response), .. } = message {
                    assert_eq!(status, "ok", "all is well: {response}");
                    return response.to_owned();
                }
            }
            rounds += u32::from(self.home.mesh.log.tried.is_idle());
            self.step();
            self.hear_next();
        }
        panic!("everything is answered")
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
    check_some(seeds.unwrap_or(100), log, reached);
}

/// Runs so many seeds; what must be reached is reached.
pub(crate) fn check_some<L: Subject>(seeds: u64, log: impl Fn(u64) -> L, reached: &[&'static str]) {
    let mut seen = BTreeSet::new();
    let from = std::env::var("SIM_FROM").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    for seed in from..seeds {
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

/// And with views.
const VIEWED: [&str; 5] = ["around", "thread", "pinned page", "pins", "too many pins"];

#[test]
fn memory_keeps_the_contract() {
    let reached = ["ok", "crash", "recovered", "not recovered", "too many emoji"];
    // It has no other state than what members are told.
    let is_told = |what: &&&str| !["mine", "told by whom"].contains(*what);
    let changed: Vec<_> = CHANGED.iter().filter(is_told).copied().collect();
    check(|_| MemoryLog, &[&reached[..], &changed, &VIEWED, &DECIDED].concat());
}

#[test]
fn a_store_keeps_the_contract() {
    let reached = ["ok", "crash", "recovered", "not recovered", "refused", "unconfirmed"];
    let others = ["waited", "not opened", "an answer to an answer"];
    let doubt = ["decision refused", "decision unconfirmed"];
    let reached = [&reached[..], &others, &READ, &CHANGED, &VIEWED, &DECIDED, &doubt].concat();
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
    let others = ["waited", "not opened", "decision refused", "kicked"];
    let reached = [&reached[..], &others, &READ, &CHANGED, &VIEWED, &DECIDED].concat();
    check(with_others, &reached);
}

/// An engine at which other nodes decide, too.
fn with_others(seed: u64) -> PretendLog {
    let mut log = PretendLog::new(seed, Pretends::Engine, None);
    log.others_decide = true;
    log.others_meet = true;
    log.others_kick = vec!["u0"];
    log.loses_places = true;
    log
}

/// An engine that fails over so often that rooms forget epochs in which something was said.
fn failing_over(seed: u64, defect: Option<LogDefect>) -> PretendLog {
    let mut log = PretendLog::new(seed, Pretends::Engine, defect);
    log.fails_over_in = 2;
    log.loses_places = true;
    log
}

#[test]
fn an_engine_that_fails_over_again_and_again_keeps_the_contract() {
    let reached = ["ok", "recovered", "not recovered", "turn", "ended", "page", "changed"];
    let reached = [&reached[..], &["said in an epoch that is forgotten"]].concat();
    check(|seed| failing_over(seed, None), &reached);
}

/// What is decided of rooms, and asked of that.
const DECIDED: [&str; 8] =
    ["set", "stood", "reported", "listed", "trail", "invite", "invited", "banned"];

/// What happens to messages that are there.
const CHANGED: [&str; 12] = [
    "done",
    "changed",
    "deleted",
    "gone",
    "not yours",
    "changed meanwhile",
    "reacted",
    "reaction refused",
    "mine",
    "told by whom",
    "appended",
    "append refused",
];

fn letting_go(seed: u64) -> PretendLog {
    let mut log = PretendLog::new(seed, Pretends::Store, None);
    log.lets_go = true;
    log
}

#[test]
fn a_store_that_lets_go_of_old_messages_keeps_the_contract() {
    let reached = ["ok", "recovered", "not recovered", "page", "done", "gone"];
    check(letting_go, &reached);
}

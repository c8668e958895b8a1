//! The log that the rooms of a shard have in a run: none beyond memory, or a pretend one.
//!
//! What it does not model: a log that is shared by shards, and the way of what it says to the
//! shard, which is a call here. `tests/hostile` runs the real rings; the engine's own tests would
//! notice what two homes at one log get wrong.

use chinwag::link::audit::LineText;
use chinwag::link::ids::RoomKey;
use chinwag::link::log::{
    Append, Appended, Audit, Find, Log, Marks, MemoryLog, Opening, Read, Say, Spoken, WhatText, Why,
};
use chinwag::link::said::{Act, MessageText, Replies};
use serde_json::{Value, json};

use crate::draws::Draws;
use crate::faults::Bug;
use crate::pretend_log::room::Decided;
use crate::pretend_log::{LogDefect, PretendLog, Pretends, Room, Told};
use crate::rights::{Facts, Ledger};

/// Which log a run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogKind {
    Memory,
    Store,
    SeenIsKept,
    OkIsTaken,
    Engine,
}

impl LogKind {
    /// What a seed has: most of them memory. A bug of a log needs one that has it.
    pub(crate) fn of(seed: u64, bug: Option<Bug>) -> Self {
        let some = if seed.is_multiple_of(2) { Self::Engine } else { Self::Store };
        match bug {
            Some(Bug::KeepEpoch | Bug::ReuseOffset | Bug::NameNoEpoch) => Self::Engine,
            Some(
                Bug::AckUnkept
                | Bug::SwapAnswers
                | Bug::AnswerStranger
                | Bug::OvertakeEntry
                | Bug::ReadTooEarly
                | Bug::ReadAsSaid
                | Bug::ForgetTombstone
                | Bug::GapInRecovery
                | Bug::ForgetDecision
                | Bug::AnswerLastOnly,
            ) => some,
            Some(Bug::SeeUnkept) => Self::SeenIsKept,
            Some(
                Bug::ListTooFew
                | Bug::FindElsewhere
                | Bug::FindUnkept
                | Bug::AckUndecided
                | Bug::ForgetLine,
            ) => Self::Store,
            Some(_) => Self::Memory,
            // Of a sequence of its own: what seeds with memory draw is not changed by it.
            None => match Draws::new(seed ^ 0x10_6b00c).below(8) {
                0 => match Draws::new(seed ^ 0x9_b0c5).below(3) {
                    0 => Self::SeenIsKept,
                    1 => Self::OkIsTaken,
                    _ => Self::Store,
                },
                1 | 2 => Self::Engine,
                _ => Self::Memory,
            },
        }
    }

    /// Whether rooms are there again when their home has let go of them.
    pub(crate) fn keeps(self) -> bool {
        self != Self::Memory
    }
}

/// A log of one of the kinds, and what it has been given.
pub(crate) struct SimLog {
    kept: Kept,
    pub(crate) ledger: Ledger,
    /// How often it has told that it has lost its place in a room.
    pub(crate) lost_places: u64,
}

/// What a log keeps.
enum Kept {
    Memory(MemoryLog),
    Pretend(Box<PretendLog>),
}

impl SimLog {
    pub(crate) fn new(kind: LogKind, seed: u64, bug: Option<Bug>) -> Self {
        let defect = match bug {
            Some(Bug::AckUnkept | Bug::AckUndecided) => Some(LogDefect::AckedBeforeKept),
            Some(Bug::KeepEpoch) => Some(LogDefect::EpochKept),
            Some(Bug::ReuseOffset) => Some(LogDefect::OffsetReused),
            Some(Bug::NameNoEpoch) => Some(LogDefect::EpochUnnamed),
            Some(Bug::ReadTooEarly) => Some(LogDefect::ReadTooEarly),
            Some(Bug::ReadAsSaid) => Some(LogDefect::ReadAsSaid),
            Some(Bug::ForgetTombstone) => Some(LogDefect::TombstoneForgotten),
            Some(Bug::SeeUnkept) => Some(LogDefect::SeenBeforeKept),
            Some(Bug::ListTooFew) => Some(LogDefect::ListsTooFew),
            Some(Bug::FindElsewhere) => Some(LogDefect::FindsElsewhere),
            Some(Bug::FindUnkept) => Some(LogDefect::FindsUnkept),
            Some(Bug::ForgetDecision) => Some(LogDefect::DecisionForgotten),
            Some(Bug::AnswerLastOnly) => Some(LogDefect::LastAnsweredOnly),
            Some(Bug::ForgetLine) => Some(LogDefect::LineForgotten),
            _ => None,
        };
        let pretends = match kind {
            LogKind::Memory => {
                let (kept, ledger) = (Kept::Memory(MemoryLog), Ledger::default());
                return Self { kept, ledger, lost_places: 0 };
            }
            LogKind::Store => Pretends::Store,
            LogKind::SeenIsKept => Pretends::SeenIsKept,
            LogKind::OkIsTaken => Pretends::OkIsTaken,
            LogKind::Engine => Pretends::Engine,
        };
        let mut log = PretendLog::new(seed, pretends, defect);
        // A room that is opened again is told its epochs anew, so it would never miss one.
        let may_lose_places = bug != Some(Bug::NameNoEpoch);
        log.loses_places = may_lose_places && Draws::new(seed ^ 0x105e5).one_in(2);
        let kept = Kept::Pretend(Box::new(log));
        let gives_order = matches!(kind, LogKind::Engine | LogKind::SeenIsKept);
        let ledger = Ledger::new(gives_order, kind == LogKind::Engine);
        Self { kept, ledger, lost_places: 0 }
    }

    fn pretend(&self) -> Option<&PretendLog> {
        match &self.kept {
            Kept::Memory(_) => None,
            Kept::Pretend(log) => Some(log),
        }
    }

    /// Does one thing, and says the next, if there is anything to say.
    pub(crate) fn says(&mut self) -> Option<(RoomKey, Told)> {
        let Kept::Pretend(log) = &mut self.kept else { return None };
        log.step();
        let (room, told) = log.next()?;
        if log.is_shared() {
            self.hears(room, &told);
        }
        Some((room, told))
    }

    /// The home of a room hears this of a log that it shares with others.
    fn hears(&mut self, room: RoomKey, told: &Told) {
        match told {
            Told::Entry { what, line, placed, .. } => {
                let line = line.as_ref().map(LineText::line);
                self.ledger.heard(room, what.what(), line.as_ref(), placed.at_ms);
            }
            Told::Opened { .. } => self.reopened(room),
            Told::Turned { .. } => self.lose_lines(),
            Told::Closed => self.lost_places += 1,
            _ => {}
        }
    }

    /// A room that others share has a home again: what is decided of it by then holds.
    fn reopened(&mut self, room: RoomKey) {
        self.lose_lines();
        let Kept::Pretend(log) = &self.kept else { return };
        let Some(topic) = self.ledger.topic(room).map(str::to_owned) else { return };
        let Some(of) = log.rooms.get(&topic) else { return };
        let Decided { founded, settings, standings } = &of.decided;
        let facts = Facts::new(&topic, founded.as_deref(), settings.as_deref(), standings.clone());
        self.ledger.reopened(&topic, facts);
    }

    /// Lines that the log has not any more are lost.
    fn lose_lines(&mut self) {
        let Kept::Pretend(log) = &self.kept else { return };
        self.ledger.lose_lines(|topic, number| {
            let mut lines = log.rooms.get(topic).into_iter().flat_map(|room| &room.audited);
            lines.any(|line| line.number == number)
        });
    }

    /// From now on nothing goes wrong.
    pub(crate) fn calm(&mut self) {
        if let Kept::Pretend(log) = &mut self.kept {
            log.calm();
        }
    }

    /// Its home has ended without a word.
    pub(crate) fn crash(&mut self) {
        if let Kept::Pretend(log) = &mut self.kept {
            // A shard that panics is not the thread that writes. Of what is answered at once, the
            // contract suite tries what is lost with both.
            log.crash(log.pretends() == Pretends::OkIsTaken);
        }
        self.lose_lines();
        let log = self.pretend();
        let mut ledger = self.ledger.clone();
        let room_of = |topic: &str| log.and_then(|log| log.rooms.get(topic));
        ledger.crashed(|topic| {
            let room = room_of(topic);
            room.map_or_else(Facts::default, |room| {
                let Decided { founded, settings, standings } = &room.decided;
                Facts::new(topic, founded.as_deref(), settings.as_deref(), standings.clone())
            })
        });
        self.ledger = ledger;
    }

    /// Whether there is nothing left to do or to say.
    pub(crate) fn is_idle(&self) -> bool {
        self.pretend().is_none_or(PretendLog::is_idle)
    }

    /// Whether it keeps something of this room, and lists it after a restart.
    pub(crate) fn lists(&self, topic: &str) -> bool {
        let is_kept = |log: &PretendLog| log.rooms.get(topic).is_some_and(Room::is_kept);
        self.pretend().is_some_and(|log| log.pretends() != Pretends::Engine && is_kept(log))
    }

    /// How many of the decisions of a room may still be lost: those that it was given last.
    pub(crate) fn unkept_decisions(&self, topic: &str) -> usize {
        let room = self.pretend().and_then(|log| log.rooms.get(topic));
        room.map_or(0, unkept_decisions)
    }

    /// Whether it has this room.
    pub(crate) fn has(&self, topic: &str) -> bool {
        self.pretend().is_some_and(|log| log.rooms.contains_key(topic))
    }

    /// Up to where a room survives anything.
    pub(crate) fn durable(&self, topic: &str) -> Marks {
        self.pretend().map_or(Marks::default(), |log| log.durable(topic))
    }

    /// The offset of a room's last message.
    pub(crate) fn last(&self, topic: &str) -> u64 {
        let room = self.pretend().and_then(|log| log.rooms.get(topic));
        room.map_or(0, Room::last)
    }

    /// The highest offset that a room has ever given: what it let go of then it has not any more,
    /// though it has lost what that made place for.
    pub(crate) fn highest(&self, topic: &str) -> u64 {
        let room = self.pretend().and_then(|log| log.rooms.get(topic));
        room.map_or(0, |room| room.longest)
    }

    /// The body at this offset, as it was said.
    pub(crate) fn body(&self, topic: &str, offset: u64) -> Option<String> {
        Some(body_of(&self.by_change(topic, offset, 0)?))
    }

    /// Whether the message at this offset has had this body at any time.
    pub(crate) fn has_had(&self, topic: &str, offset: u64, body: &str) -> bool {
        let change = self.latest(topic, offset).map_or(0, |latest| latest.fate().change);
        let was = |change| self.by_change(topic, offset, change);
        (0..=change).any(|change| was(change).is_some_and(|was| body_of(&was) == body))
    }

    /// A message as it was by a change.
    pub(crate) fn by_change(&self, topic: &str, offset: u64, change: u64) -> Option<MessageText> {
        self.pretend()?.rooms.get(topic)?.state_by(offset, change)
    }

    /// Which epoch a room is in, as clients see it.
    pub(crate) fn epoch(&self, topic: &str) -> Option<String> {
        Some(format!("{:016x}", self.pretend()?.rooms.get(topic)?.epoch()))
    }

    /// In which epoch a message was said, as clients see it.
    pub(crate) fn said_in(&self, topic: &str, offset: u64) -> Option<String> {
        Some(format!("{:016x}", self.pretend()?.rooms.get(topic)?.said_in(offset)))
    }

    /// How often a message was answered, if it was.
    pub(crate) fn replies(&self, topic: &str, root: u64) -> Option<Replies> {
        self.pretend()?.rooms.get(topic)?.replies(root, u64::MAX)
    }

    /// A message as it is.
    pub(crate) fn latest(&self, topic: &str, offset: u64) -> Option<MessageText> {
        self.by_change(topic, offset, u64::MAX)
    }
}

/// How much of what is decided of a room, and its home knows, may still be lost. What was noted, or
/// was so already, is nothing of that.
fn unkept_decisions(room: &Room) -> usize {
    let is_decision =
        |told: &&Told| matches!(told, Told::Entry { what, .. } if what.what().is_of_room());
    let untold = room.said.iter().filter(is_decision).count();
    let told = room.deciding.len().saturating_sub(untold);
    let deciding = || room.deciding.iter().take(told).map(|of| &of.decided);
    let before = std::iter::once(&room.decided_durably).chain(deciding());
    before.zip(deciding()).filter(|(was, is)| was != is).count()
}

fn body_of(message: &MessageText) -> String {
    serde_json::from_str(&message.said.body).expect("a JSON string")
}

/// A message as clients get it, which was said in an epoch.
pub(crate) fn as_told((epoch, offset): (&str, u64), message: &MessageText) -> Value {
    let (said, fate) = (&message.said, message.fate());
    let mut told = json!({
        "at": message.at_ms, "body": body_of(message), "id": format!("{epoch}-{offset}"),
        "name": said.name, "offset": offset, "user": said.user,
    });
    let key = said.key.as_deref().filter(|_| fate.deleted.is_none());
    let act = |act: Act<'_>| match act.by {
        Some(by) => json!({"at": act.at_ms, "by": by}),
        None => json!({"at": act.at_ms}),
    };
    let fields = [
        ("key", key.map(Value::from)),
        ("reply_to", said.reply_to.map(Value::from)),
        ("thread", said.thread.map(Value::from)),
        ("mentions", said.mentions.as_deref().map(parsed)),
        ("data", said.data.as_deref().map(parsed)),
        ("stream", said.stream.then_some(true.into())),
        ("change", (fate.change > 0).then(|| fate.change.into())),
        ("edited", fate.edited.map(act)),
        ("deleted", fate.deleted.map(act)),
        ("pinned", fate.pinned.map(act)),
        ("reactions", fate.reacted.map(reactions)),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            told[name] = value;
        }
    }
    told
}

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).expect("it is JSON")
}

/// What members are told of who has reacted: lines of an emoji and its users.
fn reactions(reacted: &str) -> Value {
    let mut reactions = json!({});
    for line in reacted.lines() {
        let mut users = line.split('\t');
        let emoji = users.next().expect("an emoji");
        let users: Vec<&str> = users.collect();
        let first = &users[..users.len().min(10)];
        reactions[emoji] = json!({"count": users.len(), "users": first});
    }
    reactions
}

impl Log for SimLog {
    fn keeps(&self) -> bool {
        self.pretend().is_some()
    }

    fn is_shared(&self) -> bool {
        match &self.kept {
            Kept::Memory(log) => log.is_shared(),
            Kept::Pretend(log) => log.is_shared(),
        }
    }

    fn open(&mut self, room: RoomKey, topic: &str, fresh_epoch: u64) -> Opening {
        self.ledger.open(room, topic);
        let opening = match &mut self.kept {
            Kept::Memory(log) => log.open(room, topic, fresh_epoch),
            Kept::Pretend(log) => log.open(room, topic, fresh_epoch),
        };
        if self.is_shared() && matches!(opening, Opening::Kept(_)) {
            self.reopened(room);
        }
        opening
    }

    fn append(&mut self, append: Append<'_>) -> Appended {
        let has_said = match &self.kept {
            Kept::Memory(_) => false,
            Kept::Pretend(log) => {
                let room = log.rooms.get(append.topic);
                let what = WhatText::new(append.entry.what);
                room.is_some_and(|room| room.of_key(&what).is_some())
            }
        };
        // What was said before was allowed then, and is not said now.
        if !has_said {
            self.ledger.check(&append);
        }
        let appended = match &mut self.kept {
            Kept::Memory(log) => log.append(append),
            Kept::Pretend(log) => log.append(append),
        };
        if !matches!(appended, Appended::Refused(_)) {
            self.ledger.took(&append);
        }
        appended
    }

    fn say(&mut self, say: Say<'_>) -> Spoken {
        match &mut self.kept {
            Kept::Memory(log) => log.say(say),
            Kept::Pretend(log) => log.say(say),
        }
    }

    fn finds(&self) -> bool {
        match &self.kept {
            Kept::Memory(log) => log.finds(),
            Kept::Pretend(log) => log.finds(),
        }
    }

    fn find(&mut self, find: Find<'_>) -> Result<(), Why> {
        match &mut self.kept {
            Kept::Memory(log) => log.find(find),
            Kept::Pretend(log) => log.find(find),
        }
    }

    fn audit(&mut self, audit: Audit) -> Result<(), Why> {
        match &mut self.kept {
            Kept::Memory(log) => log.audit(audit),
            Kept::Pretend(log) => log.audit(audit),
        }
    }

    fn list(&mut self, after: u64) -> bool {
        match &mut self.kept {
            Kept::Memory(log) => log.list(after),
            Kept::Pretend(log) => log.list(after),
        }
    }

    fn close(&mut self, room: RoomKey) {
        self.ledger.closed(room);
        match &mut self.kept {
            Kept::Memory(log) => log.close(room),
            Kept::Pretend(log) => log.close(room),
        }
    }

    fn reads(&self) -> bool {
        match &self.kept {
            Kept::Memory(log) => log.reads(),
            Kept::Pretend(log) => log.reads(),
        }
    }

    fn read(&mut self, read: Read<'_>) -> Result<(), Why> {
        match &mut self.kept {
            Kept::Memory(log) => log.read(read),
            Kept::Pretend(log) => log.read(read),
        }
    }
}

//! What a log was given of what is decided of its rooms, and what it says of that later.
//!
//! ```text
//!   decisions   d1 ── d2 ── d3 ── d4 ── d5        each with the line that came with it, and all
//!                           │           └ now     that holds from then on
//!                           └ kept: there for good; of the rest a crash may lose the last ones
//! ```
//!
//! It stands between a home and the log that is tried: a log hears of a decision in the moment in
//! which that begins to hold, or the home hears of it then, if several share the log. So an answer
//! is that of a version between the last time that answers were judged and now.
//!
//! Invariant: `judged` and `kept` are no more than there are decisions.
//!
//! Deliberately absent: what members are told of it (`decided`).

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use crate::auth::level::Standing;
use crate::link::audit::{AuditAct, AuditLine, INVITED, LineText};
use crate::link::ids::RoomKey;
use crate::link::log::{
    Append, Appended, Audit, Find, FromLog, Log, Opened, Opening, Read, Recall, Say, Spoken,
    Ticket, What, WhatText, Why,
};

/// The user of whom others decide than the home,
const STRANGER: &str = "stranger";

/// and the setting that they set: see [`Given::is_as_opened`].
const OTHERS_SETTING: &str = "edit_s";

/// More proposals than these are not looked at.
const UNHEARD_MAX: usize = 8;

/// What was decided of a room.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Facts {
    /// What it is called, if that was decided.
    title: Option<String>,
    settings: Value,
    pub(super) standings: BTreeMap<String, Standing>,
}

impl Facts {
    /// What a log says of a room that it opens.
    fn of(opened: &Opened) -> Self {
        let standings = opened.standings.iter().map(|(user, of)| (user.to_owned(), of));
        let settings = opened.settings.as_deref().map_or(Value::Null, parsed);
        let title = opened.founded.as_deref().map(str::to_owned);
        Self { title, settings, standings: standings.collect() }
    }

    /// Without what others decide than the home.
    fn without_others(mut self) -> Self {
        self.standings.remove(STRANGER);
        if let Some(settings) = self.settings.as_object_mut() {
            settings.remove(OTHERS_SETTING);
        }
        self.title = None;
        self
    }

    fn decide(&mut self, what: What<'_>) {
        match what {
            What::Settings { title, settings } => {
                (self.title, self.settings) = (Some(title.to_owned()), parsed(settings));
            }
            What::Standing { user, standing } => {
                self.standings.insert(user.to_owned(), standing);
            }
            What::Founded { .. } => unreachable!("nobody makes a room on purpose here"),
            What::Message(_) | What::Changed { .. } | What::Noted => {}
        }
    }

    pub(super) fn standing(&self, user: &str) -> Standing {
        self.standings.get(user).copied().unwrap_or_default()
    }

    /// How often its invites were taken back.
    pub(super) fn invites(&self) -> u64 {
        self.settings["invites"].as_u64().unwrap_or_default()
    }

    /// What members are told of the room, but for who is in it.
    pub(super) fn told(&self, topic: &str) -> Value {
        let mut told = if self.settings.is_null() { json!({}) } else { self.settings.clone() };
        let name = topic.strip_prefix("room:").unwrap_or_default();
        (told["room"], told["title"]) = (name.into(), self.title.as_deref().unwrap_or(name).into());
        told
    }

    /// What of it holds at a time, which is all that a log need keep.
    fn holding(&self, now_ms: u64) -> (&Option<String>, Value, BTreeMap<&str, Standing>) {
        let holds = |(user, standing): (_, Standing)| {
            let until_ms = |until_ms| if until_ms > now_ms { until_ms } else { 0 };
            let standing = Standing {
                muted_until_ms: until_ms(standing.muted_until_ms),
                banned_until_ms: until_ms(standing.banned_until_ms),
                ..standing
            };
            standing.holds(now_ms).then_some((user, standing))
        };
        let standings = self.standings.iter().map(|(user, of)| (user.as_str(), *of));
        let settings = if self.settings.is_null() { json!({}) } else { self.settings.clone() };
        (&self.title, settings, standings.filter_map(holds).collect())
    }
}

fn parsed(settings: &str) -> Value {
    serde_json::from_str(settings).expect("settings are JSON")
}

/// A line of an audit trail.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) act: AuditAct,
    /// As it is told, but for its time.
    pub(super) told: Value,
}

impl Line {
    fn new(line: &AuditLine<'_>) -> Self {
        let mut told = Vec::new();
        line.push(&mut told, 0);
        let mut told: Value = serde_json::from_slice(&told).expect("a line is JSON");
        told.as_object_mut().expect("an object").remove("at");
        Self { number: line.number, act: line.act, told }
    }
}

/// A decision, or a change of a message that has a line.
#[derive(Clone, Debug)]
pub(super) struct Decision {
    ticket: Option<Ticket>,
    /// The number of the change that the home heard of, if it is one.
    change: u64,
    pub(super) line: Option<Line>,
    /// What holds from it on.
    pub(super) facts: Facts,
    /// The user whom an invite has made a member, and by whom that was made.
    pub(super) invited: Option<(String, String)>,
}

/// What was decided of a room, in order.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) decisions: Vec<Decision>,
    /// Lines of changes that the log may have refused since.
    loose: Vec<Line>,
    /// How many decisions are there for good.
    pub(super) kept: usize,
    /// How many had been given when answers were judged last.
    pub(super) judged: usize,
    /// Whether the log may have lost what is not kept.
    may_lack: bool,
    /// Whether other homes share the log.
    is_shared: bool,
    /// What the log has said is kept, and the home has not heard of yet.
    kept_before: Vec<Ticket>,
    /// What the home has proposed and not heard of yet: the log may have it all the same.
    unheard: Vec<(Ticket, WhatText)>,
}

impl Given {
    /// What holds after so many decisions.
    pub(super) fn version(&self, count: usize) -> Facts {
        let last = count.checked_sub(1).map(|last| &self.decisions[last]);
        last.map_or_else(Facts::default, |last| last.facts.clone())
    }

    /// What held at any time since answers were judged last.
    pub(super) fn versions(&self) -> impl Iterator<Item = Facts> {
        (self.judged..=self.decisions.len()).map(|count| self.version(count))
    }

    /// After how many decisions a user began to stand as it does after so many.
    pub(super) fn stands_since(&self, user: &str, count: usize) -> usize {
        let standing = self.version(count).standing(user);
        let is_same = |before: &usize| self.version(*before).standing(user) == standing;
        (0..=count).rev().take_while(is_same).last().unwrap_or(count)
    }

    /// What may hold after so many decisions, with some of those that the home has not heard of.
    fn versions_with_unheard(&self, count: usize) -> impl Iterator<Item = Facts> {
        let unheard = &self.unheard[self.unheard.len().saturating_sub(UNHEARD_MAX)..];
        (0..1_u32 << unheard.len()).map(move |some| {
            let mut facts = self.version(count);
            for (_, (_, what)) in (0..).zip(unheard).filter(|(at, _)| some >> at & 1 == 1) {
                facts.decide(what.what());
            }
            facts
        })
    }

    /// Nothing will come of what the home has proposed.
    fn is_refused(&mut self, ticket: Ticket, why: Why) {
        if why != Why::Unconfirmed {
            self.unheard.retain(|(of, _)| *of != ticket);
        }
    }

    pub(super) fn latest(&self) -> Facts {
        self.version(self.decisions.len())
    }

    /// All lines that the trail may have.
    pub(super) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.decisions.iter().filter_map(|decision| decision.line.as_ref()).chain(&self.loose)
    }

    /// Whether a line may be one of which the home has not heard: of what others did meanwhile,
    /// also in the place of what was lost.
    pub(super) fn may_be_others(&self, number: u64) -> bool {
        let kept = self.decisions[..self.kept].iter().filter_map(|of| of.line.as_ref());
        self.is_shared && kept.map(|line| line.number).all(|known| known != number)
    }

    fn push(&mut self, ticket: Option<Ticket>, what: What<'_>, line: Option<&AuditLine<'_>>) {
        let mut facts = self.latest();
        facts.decide(what);
        let invited = line.filter(|line| line.set == Some(INVITED));
        let invited = invited.map(|line| {
            let user = line.user.expect("somebody is invited");
            (user.to_owned(), line.by.to_owned())
        });
        let line = line.map(Line::new);
        self.decisions.push(Decision { ticket, change: 0, line, facts, invited });
    }

    /// Notes what a log has accepted.
    fn accepted(
        &mut self,
        append: &Append<'_>,
        appended: Appended,
        (is_kept, now_ms): (bool, u64),
    ) {
        let Append { ticket, entry, .. } = *append;
        if self.is_shared {
            // It holds when it comes back.
            if entry.what.is_of_room() {
                self.unheard.push((ticket, WhatText::new(entry.what)));
            }
            return;
        }
        match entry.what {
            What::Message(_) => {}
            What::Changed { .. } if appended == Appended::Later => {
                self.loose.extend(entry.audit.map(Line::new));
            }
            what => {
                if entry.audit.is_none() && matches!(what, What::Changed { .. }) {
                    return;
                }
                let before = self.latest();
                self.push(Some(ticket), what, entry.audit);
                let is_other = before.holding(now_ms) != self.latest().holding(now_ms);
                assert!(!is_other || entry.audit.is_some(), "what is done has a line: {what:?}");
                if is_kept {
                    self.kept = self.decisions.len();
                }
            }
        }
    }

    /// The log says that one is kept: so are those before it.
    fn is_kept(&mut self, ticket: Ticket) {
        match self.decisions.iter().position(|of| of.ticket == Some(ticket)) {
            Some(at) => self.kept = self.kept.max(at + 1),
            None => self.kept_before.push(ticket),
        }
    }

    /// The home hears of an entry of a log that several share.
    fn heard(
        &mut self,
        ticket: Option<Ticket>,
        (change, now_ms): (u64, u64),
        (what, line): (What<'_>, Option<&AuditLine<'_>>),
    ) {
        self.unheard.retain(|(of, _)| Some(*of) != ticket);
        if line.is_none() && !what.is_of_room() {
            return;
        }
        let before = self.latest();
        self.push(ticket, what, line);
        self.decisions.last_mut().expect("it was pushed").change = change;
        // What was over when it was decided is over now.
        let is_other = before.holding(now_ms) != self.latest().holding(now_ms);
        assert!(!is_other || line.is_some(), "what is done has a line: {what:?}");
        if let Some(ticket) = ticket.filter(|ticket| self.kept_before.contains(ticket)) {
            self.is_kept(ticket);
        }
    }

    /// A room that others share has turned: lines of changes are lost with those.
    fn turned(&mut self, kept: u64) {
        for decision in self.decisions.iter_mut().filter(|decision| decision.change > kept) {
            decision.line = None;
        }
    }

    /// A room is there again: with all that was decided, or, if its log may have lost something,
    /// with all that is kept and all up to some decision behind that.
    fn is_as_opened(&mut self, opened: &Opened, now_ms: u64) {
        let told = Facts::of(opened);
        // Of what others decide its home may not have heard all.
        let is_same = |facts: Facts| {
            let own = [facts, told.clone()].map(Facts::without_others);
            own[0].holding(now_ms) == own[1].holding(now_ms)
        };
        let may_lack = self.may_lack || self.is_shared;
        let least = if may_lack { self.kept } else { self.decisions.len() };
        let all = (least..=self.decisions.len()).rev();
        let same: Vec<usize> =
            all.filter(|count| self.versions_with_unheard(*count).any(is_same)).collect();
        let rule = "what was decided is there when a room is opened again";
        assert!(!same.is_empty(), "{rule}: {opened:?} of {self:?}");
        let has_its_lines = |count: &&usize| {
            let lines = self.decisions[..**count].iter().filter_map(|of| of.line.as_ref());
            let newest = lines.map(|line| line.number).max().unwrap_or_default();
            let is_loose = |line: &Line| line.number == opened.audited && line.number > newest;
            let others = self.is_shared && opened.audited > newest;
            others || opened.audited == newest || self.loose.iter().any(is_loose)
        };
        let rule = "a line is kept with what was done, or neither is";
        let count = same.iter().find(has_its_lines);
        let count = *count.unwrap_or_else(|| panic!("{rule}: {} of {self:?}", opened.audited));
        self.decisions.truncate(count);
        if self.is_shared {
            // What was not kept may have been lost with its line.
            let unkept = self.decisions.iter_mut().skip(self.kept);
            self.loose.extend(unkept.filter_map(|decision| decision.line.take()));
        }
        if self.may_lack {
            self.loose.retain(|line| line.number <= opened.audited);
        }
        if self.is_shared && self.latest() != told {
            let (ticket, line, invited) = (None, None, None);
            self.decisions.push(Decision { ticket, change: 0, line, facts: told, invited });
        }
        self.may_lack = false;
        self.kept_before.clear();
        self.unheard.clear();
        // What a room begins with is there for good, unless the log may lose it with what it told.
        if !self.is_shared {
            self.kept = self.decisions.len();
        }
        self.judged = self.judged.min(self.kept);
    }

    /// Its home has ended, alone or with its log.
    fn crashed(&mut self) {
        self.may_lack = true;
        for decision in &mut self.decisions {
            decision.ticket = None;
        }
    }
}

/// All rooms. See the module.
#[derive(Default)]
pub(super) struct Ledger {
    rooms: BTreeMap<String, Given>,
    topics: HashMap<RoomKey, String>,
    /// The time, in milliseconds of Unix time.
    pub(super) now_ms: u64,
    /// Whether what was answered may be lost.
    is_lossy: bool,
    /// Whether other homes share the log.
    is_shared: bool,
}

impl Ledger {
    pub(super) fn of(&mut self, topic: &str) -> &mut Given {
        let given = self.rooms.entry(topic.to_owned()).or_default();
        given.is_shared = self.is_shared;
        given
    }

    /// All that was told by now was judged.
    pub(super) fn note_judged(&mut self) {
        for given in self.rooms.values_mut() {
            given.judged = given.decisions.len();
        }
    }

    /// The home hears this of its log.
    pub(super) fn hears(&mut self, message: &FromLog<'_>) {
        match message {
            FromLog::Opened { room, opened } => self.opened(*room, *opened),
            FromLog::Kept { room, ticket, .. } => {
                if let Some(given) = self.of_key(*room) {
                    given.is_kept(*ticket);
                }
            }
            FromLog::Refused { room, ticket, why } => {
                if let Some(given) = self.of_key(*room) {
                    given.is_refused(*ticket, *why);
                }
            }
            FromLog::Entry { room, ticket, placed, what, line, .. } if self.is_shared => {
                let now_ms = self.now_ms;
                if let Some(given) = self.of_key(*room) {
                    let line = line.map(LineText::line);
                    let change = placed.marks.change;
                    given.heard(*ticket, (change, now_ms), (*what, line.as_ref()));
                }
            }
            FromLog::Turned { room, kept, .. } if self.is_shared => {
                if let Some(given) = self.of_key(*room) {
                    given.turned(kept.change);
                }
            }
            _ => {}
        }
    }

    /// The room that a log calls so; none, if that is one of an earlier life of the home.
    fn of_key(&mut self, room: RoomKey) -> Option<&mut Given> {
        let topic = self.topics.get(&room)?;
        let given = self.rooms.entry(topic.clone()).or_default();
        given.is_shared = self.is_shared;
        Some(given)
    }

    fn opened(&mut self, room: RoomKey, opened: Option<&Opened>) {
        let (now_ms, none) = (self.now_ms, Opened::default());
        if let Some(given) = self.of_key(room) {
            given.is_as_opened(opened.unwrap_or(&none), now_ms);
        }
    }

    /// The home begins anew.
    pub(super) fn crashed(&mut self) {
        self.topics.clear();
        self.rooms.values_mut().for_each(Given::crashed);
    }
}

/// A log that is tried, behind the ledger of what it is given.
pub(super) struct Recorded<L> {
    pub(super) tried: L,
    pub(super) ledger: Ledger,
}

impl<L: Log> Recorded<L> {
    /// A log; `is_lossy`: what it says is kept may be lost.
    pub(super) fn new(tried: L, is_lossy: bool) -> Self {
        let is_shared = tried.is_shared();
        Self { tried, ledger: Ledger { is_lossy, is_shared, ..Ledger::default() } }
    }
}

impl<L: Log> Log for Recorded<L> {
    fn keeps(&self) -> bool {
        self.tried.keeps()
    }

    fn is_shared(&self) -> bool {
        self.tried.is_shared()
    }

    fn open(&mut self, room: RoomKey, topic: &str, fresh_epoch: u64) -> Opening {
        let opening = self.tried.open(room, topic, fresh_epoch);
        self.ledger.topics.insert(room, topic.to_owned());
        if !self.tried.keeps() {
            self.ledger.rooms.remove(topic);
        }
        match &opening {
            Opening::New => self.ledger.opened(room, None),
            Opening::Kept(opened) => self.ledger.opened(room, Some(opened)),
            Opening::Later | Opening::Refused(_) => {}
        }
        opening
    }

    fn append(&mut self, append: Append<'_>) -> Appended {
        let appended = self.tried.append(append);
        if !matches!(appended, Appended::Refused(_)) {
            let is_kept = appended == Appended::Kept && !self.ledger.is_lossy;
            let now_ms = self.ledger.now_ms;
            self.ledger.of(append.topic).accepted(&append, appended, (is_kept, now_ms));
        }
        appended
    }

    fn is_filling(&self) -> bool {
        self.tried.is_filling()
    }

    fn say(&mut self, say: Say<'_>) -> Spoken {
        self.tried.say(say)
    }

    fn reads(&self) -> bool {
        self.tried.reads()
    }

    fn read(&mut self, read: Read<'_>) -> Result<(), Why> {
        self.tried.read(read)
    }

    fn recall(&mut self, recall: Recall<'_>) -> Option<Appended> {
        self.tried.recall(recall)
    }

    fn catch_up(&mut self, room: RoomKey, ticket: Ticket) -> Result<(), Why> {
        self.tried.catch_up(room, ticket)
    }

    fn finds(&self) -> bool {
        self.tried.finds()
    }

    fn find(&mut self, find: Find<'_>) -> Result<(), Why> {
        self.tried.find(find)
    }

    fn audit(&mut self, audit: Audit) -> Result<(), Why> {
        self.tried.audit(audit)
    }

    fn close(&mut self, room: RoomKey) {
        self.tried.close(room);
    }
}

//! What was decided of rooms, as their homes gave it to the logs, and what follows from it for
//! somebody: worked out anew, from the page on the protocol.
//!
//! ```text
//!   versions   v0 ── v1 ───── v2 ─── v3          of a room: settings and standings
//!   moments    ───┴──┬────────┴──────┴──┬───>
//!                  asked              heard      what is answered was judged by v1, v2 or v3
//! ```
//!
//! A log hears of each decision in the moment in which it begins to hold, or says so then, if other
//! homes share it. So what is answered can be judged by what held at some time between question and
//! answer, and what a log is given by what holds then.
//!
//! What it does not model, and which test could notice: words that the operator has listed
//! (`room::rights_tests`), and what the token of somebody allows who is not there.

use std::cell::Cell;
use std::collections::BTreeMap;

use chinwag::auth::invite::Invite;
use chinwag::auth::level::{Level, NEVER_MS, Role, Standing};
use chinwag::base::time::Now;
use chinwag::link::audit::{AuditAct, AuditLine};
use chinwag::link::ids::RoomKey;
use chinwag::link::log::{Append, Entry, What};
use chinwag::link::said::MessageText;
use serde_json::{Value, json};

use crate::site::USERS;

/// A place in the order of all that happens on this thread.
pub(crate) type Moment = u64;

thread_local! {
    static MOMENTS: Cell<Moment> = const { Cell::new(0) };
}

/// The next moment: later than all before it.
pub(crate) fn moment() -> Moment {
    MOMENTS.set(MOMENTS.get() + 1);
    MOMENTS.get()
}

/// What was decided of a room.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Facts {
    /// Those that are not as by default, the title among them.
    pub(crate) settings: Value,
    standings: BTreeMap<String, Standing>,
}

impl Default for Facts {
    fn default() -> Self {
        Self { settings: json!({}), standings: BTreeMap::new() }
    }
}

impl Facts {
    /// What was decided of a room, as a log has kept it.
    pub(crate) fn new(
        topic: &str,
        title: Option<&str>,
        settings: Option<&str>,
        standings: BTreeMap<String, Standing>,
    ) -> Self {
        let settings = settings.map_or_else(|| json!({}), parsed);
        Self { settings: titled(settings, topic, title), standings }
    }

    pub(crate) fn standing(&self, user: &str) -> Standing {
        self.standings.get(user).copied().unwrap_or_default()
    }

    fn word(&self, setting: &str) -> &str {
        self.settings[setting].as_str().unwrap_or("all")
    }

    pub(crate) fn is_private(&self) -> bool {
        self.word("join") == "members"
    }

    pub(crate) fn slow_ms(&self) -> u64 {
        self.settings["slow_s"].as_u64().unwrap_or_default() * 1_000
    }

    pub(crate) fn takes_links(&self) -> bool {
        self.settings["links"] != false
    }

    /// The level that somebody needs who wishes these settings.
    pub(crate) fn needed_for(&self, wish: &Value) -> Level {
        let wish = wish.as_object().expect("a wish is an object");
        let has_title = self.settings.get("title").is_some() || self.owners() > 0;
        if ["join", "speak", "keep_s"].iter().any(|name| wish.contains_key(*name)) {
            Level::Own
        } else if wish.len() == 1 && wish.contains_key("title") && !has_title {
            Level::Speak
        } else {
            Level::Moderate
        }
    }

    fn owners(&self) -> usize {
        self.standings.values().filter(|standing| standing.role == Some(Role::Owner)).count()
    }

    /// Whether nobody but this user owns it who is neither muted nor banned.
    pub(crate) fn is_last_owner(&self, user: &str, now_ms: u64) -> bool {
        let is_free = |of: &Standing| held(*of, now_ms) == [None; 2];
        let owns = |of: &Standing| of.role == Some(Role::Owner);
        let mut others = self.standings.iter().filter(|(other, _)| *other != user);
        owns(&self.standing(user)) && !others.any(|(_, of)| owns(of) && is_free(of))
    }

    /// Whether a user whose token allows so much may decide that another stands so.
    fn may_stand(
        &self,
        room: &str,
        (by, token): (&str, Level),
        (user, next): (&str, Standing),
        now_ms: u64,
    ) -> bool {
        let (was, level) = (self.standing(user), self.level(by, token, now_ms));
        let is_self = by == user;
        let is_role_given = match (was.role, next.role) {
            (was, next) if was == next => true,
            (Some(Role::Owner), _) => is_self && !self.is_last_owner(user, now_ms),
            (Some(_), None) if is_self => true,
            (Some(is), Some(role)) if is_self && role < is => true,
            (None, Some(Role::Member)) if is_self => level >= Level::Join,
            (None, Some(Role::Member)) | (Some(Role::Member), None) => level >= Level::Moderate,
            _ => level >= Level::Own,
        };
        let role_alone = Standing { role: was.role, ..Standing::default() };
        // Whoever is not there has no token that says more, and whoever is may have one that says
        // less.
        let there = USERS.iter().find(|of| of.id == user).map(|of| of.level_in(room));
        let there = there.filter(|token| *token == Level::Join).unwrap_or(Level::Speak);
        let other = self.level_of(role_alone, there, now_ms);
        let is_above = level >= Level::Moderate && level > other;
        let [before, after] = [was, next].map(|of| held(of, now_ms));
        let is_lifted = before.iter().zip(after).all(|(was, is)| is.is_none() || is == *was);
        let may_hold = before == after || is_above || is_lifted && level >= Level::Own;
        let owns = |of: Standing| of.role == Some(Role::Owner);
        let leaves_one = match (owns(was), owns(next)) {
            (false, true) => after == [None; 2],
            (true, true) => is_lifted || !self.is_last_owner(user, now_ms),
            _ => true,
        };
        is_role_given && may_hold && leaves_one
    }

    /// What `room_members` is answered.
    pub(crate) fn listed_members(&self, wanted: &Value, now_ms: u64) -> Value {
        let after = wanted["after"].as_str().unwrap_or_default();
        let limit = wanted["limit"].as_u64().unwrap_or(100);
        let is_wanted = |standing: &Standing| match wanted["state"].as_str() {
            Some("muted") => standing.muted_until_ms > now_ms,
            Some("banned") => standing.banned_until_ms > now_ms,
            _ => standing.role.is_some(),
        };
        let behind = self.standings.iter().filter(|(user, _)| user.as_str() > after);
        let mut behind = behind.filter(|(_, standing)| is_wanted(standing));
        let mut members = Vec::new();
        for (user, standing) in behind.by_ref().take(usize::try_from(limit).expect("few")) {
            let mut told = json!({"user": user});
            let fields = [
                ("role", standing.role.map(|role| role.as_str().into())),
                ("muted_until", told_until(standing.muted_until_ms, now_ms).map(Value::from)),
                ("banned_until", told_until(standing.banned_until_ms, now_ms).map(Value::from)),
            ];
            for (name, value) in fields {
                if let Some(value) = value {
                    told[name] = value;
                }
            }
            members.push(told);
        }
        json!({"members": members, "more": behind.next().is_some()})
    }

    /// How often its invites were taken back.
    pub(crate) fn invites(&self) -> u64 {
        self.settings["invites"].as_u64().unwrap_or_default()
    }

    /// Whether a user may invite others, whose token allows so much.
    pub(crate) fn may_invite(&self, user: &str, token: Level, now_ms: u64) -> bool {
        let Standing { role, muted_until_ms, .. } = self.standing(user);
        let is_for_members = self.settings["invite"] == "members";
        let is_member = role.is_some() && token >= Level::Speak && muted_until_ms <= now_ms;
        is_for_members && is_member || self.level(user, token, now_ms) >= Level::Moderate
    }

    /// The times at which somebody is free of something, and one before all of them.
    pub(crate) fn ends_ms(&self) -> impl Iterator<Item = u64> {
        let standings = self.standings.values();
        let ends = standings.flat_map(|of| [of.muted_until_ms, of.banned_until_ms]);
        std::iter::once(0).chain(ends)
    }

    /// What a user may do whose token allows so much.
    pub(crate) fn level(&self, user: &str, token: Level, now_ms: u64) -> Level {
        self.level_of(self.standing(user), token, now_ms)
    }

    fn level_of(&self, standing: Standing, token: Level, now_ms: u64) -> Level {
        let Standing { role, muted_until_ms, banned_until_ms } = standing;
        if banned_until_ms > now_ms || token == Level::None {
            return Level::None;
        }
        let may_get_in = !self.is_private() || role.is_some();
        let may_speak = match self.word("speak") {
            "members" => role.is_some(),
            "moderators" => false,
            _ => true,
        };
        let plain = match (may_get_in, may_speak) {
            (false, _) => Level::None,
            (true, false) => Level::Join,
            (true, true) => Level::Speak,
        };
        let by_role = match role.filter(|_| token >= Level::Speak) {
            Some(Role::Owner) => Level::Own,
            Some(Role::Moderator) => Level::Moderate,
            Some(Role::Member) | None => Level::None,
        };
        let by_token = if token >= Level::Moderate { token } else { Level::None };
        let level = plain.min(token).max(by_role).max(by_token);
        if muted_until_ms > now_ms { level.min(Level::Join) } else { level }
    }

    /// Whether a user may react, whose token allows so much.
    pub(crate) fn may_react(&self, user: &str, token: Level, now_ms: u64) -> bool {
        let level = self.level(user, token, now_ms);
        let is_muted = self.standing(user).muted_until_ms > now_ms;
        let readers_may = self.settings["react"] == "all" && level >= Level::Join && !is_muted;
        level >= Level::Speak || readers_may
    }

    fn decide(&mut self, topic: &str, what: What<'_>) -> bool {
        match what {
            What::Settings { title, settings } => {
                self.settings = titled(parsed(settings), topic, Some(title));
            }
            What::Standing { user, standing } => {
                self.standings.insert(user.to_owned(), standing);
            }
            What::Founded { title, owner } => {
                self.settings = titled(self.settings.take(), topic, Some(title));
                self.standings.extend(owner.map(|owner| (owner.to_owned(), Standing::OWNER)));
            }
            What::Message(_) | What::Changed { .. } | What::Noted => return false,
        }
        true
    }
}

/// Settings, with a title that is not the name of the room.
fn titled(mut settings: Value, topic: &str, title: Option<&str>) -> Value {
    if let Some(title) = title.filter(|title| topic.strip_prefix("room:") != Some(title)) {
        settings["title"] = title.into();
    }
    settings
}

fn parsed(settings: &str) -> Value {
    serde_json::from_str(settings).expect("settings are JSON")
}

/// A time until which something holds, as it is told: 0 is for ever. None, if it is over.
pub(crate) fn told_until(until_ms: u64, now_ms: u64) -> Option<u64> {
    (until_ms > now_ms).then_some(if until_ms == NEVER_MS { 0 } else { until_ms })
}

/// A line of a room's audit trail, as it was given to its log.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) number: u64,
    pub(crate) given: Moment,
    /// As it is told; a log may give it another time.
    pub(crate) told: Value,
}

impl Line {
    fn new(line: &AuditLine<'_>, at_ms: u64) -> Self {
        let mut told = Vec::new();
        line.push(&mut told, at_ms);
        let told = serde_json::from_slice(&told).expect("a line is JSON");
        Self { number: line.number, given: moment(), told }
    }

    /// Whether it is told so.
    pub(crate) fn is_told_as(&self, told: &Value) -> bool {
        let mut told = told.clone();
        told["at"] = self.told["at"].clone();
        told == self.told
    }
}

/// What the trail says of who has become a member by an invite.
const INVITED: &str = r#"{"role":"member","invite":true}"#;

/// Until when somebody is muted and banned. What is over is forgotten at any time.
fn held(standing: Standing, now_ms: u64) -> [Option<u64>; 2] {
    let until_ms = [standing.muted_until_ms, standing.banned_until_ms];
    until_ms.map(|until_ms| told_until(until_ms, now_ms))
}

/// What a room's log has been given.
#[derive(Clone, Debug, Default)]
struct Decided {
    /// Its audit trail.
    lines: Vec<Line>,
    /// When its home was given it last.
    opened: Moment,
    /// What held from each moment on, in order.
    versions: Vec<(Moment, Facts)>,
    /// Whether it has a home now.
    is_open: bool,
    /// In slow mode: when a user may speak again, in milliseconds of monotonic time.
    speaks_again: BTreeMap<String, u64>,
    /// When each message was edited last, by its offset.
    edited: BTreeMap<u64, u64>,
    /// When each message was given, by its body.
    given: BTreeMap<String, Moment>,
}

/// What the logs of a shard's rooms have been given. See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    rooms: BTreeMap<String, Decided>,
    topics: BTreeMap<u64, String>,
    /// The invites that users have brought to joins: topic, user and what it says.
    brought: Vec<(String, &'static str, Invite)>,
    /// Whether the log gives entries their order, which may be proposed again then.
    gives_order: bool,
    /// Whether other homes share it, so that what is decided holds when it comes back.
    is_shared: bool,
    /// Whether it keeps rooms beyond the lives of their homes.
    keeps: bool,
    /// The time that it is.
    pub(crate) now: Option<Now>,
}

impl Ledger {
    /// That of a log that keeps rooms.
    pub(crate) fn new(gives_order: bool, is_shared: bool) -> Self {
        Self { gives_order, is_shared, keeps: true, ..Self::default() }
    }

    /// The topic of a room that is open.
    pub(crate) fn topic(&self, key: RoomKey) -> Option<&str> {
        self.topics.get(&key.to_u64()).map(String::as_str)
    }

    /// A room that others share is open, and this holds.
    pub(crate) fn reopened(&mut self, topic: &str, facts: Facts) {
        self.push(topic, facts);
    }

    /// The home of a room has heard of an entry that others may have made.
    pub(crate) fn heard(
        &mut self,
        key: RoomKey,
        what: What<'_>,
        line: Option<&AuditLine<'_>>,
        at_ms: u64,
    ) {
        let Some(topic) = self.topic(key).map(str::to_owned) else { return };
        if let Some(line) = line {
            let of = self.rooms.entry(topic.clone()).or_default();
            of.lines.push(Line::new(line, at_ms));
        }
        let mut facts = self.facts(&topic);
        if facts.decide(&topic, what) {
            self.push(&topic, facts);
        }
    }

    /// From now on this holds.
    fn push(&mut self, topic: &str, facts: Facts) {
        let of = self.rooms.entry(topic.to_owned()).or_default();
        if of.versions.is_empty() {
            of.versions.push((0, Facts::default()));
        }
        if facts.slow_ms() == 0 {
            of.speaks_again.clear();
        }
        of.versions.push((moment(), facts));
    }

    /// A room has a home again. What was decided of one that is not kept is forgotten.
    pub(crate) fn open(&mut self, key: RoomKey, topic: &str) {
        let keeps = self.keeps;
        self.topics.insert(key.to_u64(), topic.to_owned());
        let of = self.rooms.entry(topic.to_owned()).or_default();
        of.is_open = true;
        of.opened = moment();
        of.speaks_again.clear();
        if !keeps {
            of.lines.clear();
        }
        if !keeps && !of.versions.is_empty() {
            of.versions.push((moment(), Facts::default()));
        }
    }

    /// A user brings an invite to a join.
    pub(crate) fn bring(&mut self, brought: (String, &'static str, Invite)) {
        self.brought.push(brought);
    }

    /// When a room's home was given it last.
    pub(crate) fn opened(&self, topic: &str) -> Moment {
        self.rooms.get(topic).map_or(0, |of| of.opened)
    }

    /// The lines of a room's audit trail, in the order in which its log was given them.
    pub(crate) fn lines(&self, topic: &str) -> &[Line] {
        self.rooms.get(topic).map_or(&[], |of| &of.lines)
    }

    /// A room has none any more.
    pub(crate) fn closed(&mut self, key: RoomKey) {
        let topic = self.topics.remove(&key.to_u64());
        if let Some(of) = topic.and_then(|topic| self.rooms.get_mut(&topic)) {
            of.is_open = false;
        }
    }

    /// Lines of audit trails are lost with what was done: `has` tells which are still there.
    pub(crate) fn lose_lines(&mut self, has: impl Fn(&str, u64) -> bool) {
        for (topic, of) in &mut self.rooms {
            of.lines.retain(|line| has(topic, line.number));
        }
    }

    /// The home of all rooms has ended without a word. `kept` is what its log has of each.
    pub(crate) fn crashed(&mut self, kept: impl Fn(&str) -> Facts) {
        self.topics.clear();
        for (topic, of) in &mut self.rooms {
            of.is_open = false;
            if !of.versions.is_empty() {
                of.versions.push((moment(), kept(topic)));
            }
        }
    }

    /// An entry is given to a log: it is as what was decided allows.
    pub(crate) fn check(&self, append: &Append<'_>) {
        let Some(now) = self.now else { return };
        let Append { topic, entry, .. } = append;
        let facts = self.facts(topic);
        match &entry.what {
            What::Message(said) => {
                let Some((user, token)) = token_of(said.user, topic) else { return };
                let level = facts.level(user, token, now.unix_ms);
                assert!(
                    level >= Level::Speak,
                    "nobody speaks against what was decided: {user} in {topic} of {facts:?}"
                );
                let calls_all = said.mentions.is_some_and(|users| users.contains("\"@room\""));
                assert!(
                    !calls_all || level >= Level::Moderate,
                    "who mentions everybody looks after the room: {user} in {topic}"
                );
                let has_link = said.body.contains("http://");
                assert!(
                    !has_link || facts.takes_links() || level >= Level::Moderate,
                    "no link is taken where none may be: {user} in {topic}"
                );
                let of = self.rooms.get(*topic);
                // One that is proposed again was said before.
                let of = of.filter(|of| !of.given.contains_key(&text_of(said.body)));
                let again_ms = of.and_then(|of| of.speaks_again.get(user)).copied().unwrap_or(0);
                let wait_ms = again_ms.saturating_sub(now.mono_ms).min(facts.slow_ms());
                assert!(
                    wait_ms == 0 || level >= Level::Moderate,
                    "nobody speaks too soon in slow mode: {user} in {topic}"
                );
            }
            What::Changed { offset, message } => {
                self.check_audited(append, *offset, message);
                let of = self.rooms.get(*topic).and_then(|of| of.edited.get(offset));
                let edited = message.fate().edited.map(|edited| edited.at_ms);
                if let (Some(at_ms), true) = (edited, edited != of.copied()) {
                    check_edit(topic, &facts, (message.at_ms, at_ms), now);
                }
            }
            What::Standing { user, standing } if is_invited(entry) => {
                let line = entry.audit.expect("an invite is noted");
                self.check_invited(topic, line.by, (user, *standing), now);
            }
            What::Settings { .. } | What::Standing { .. } => {
                check_decision(topic, &facts, entry, now.unix_ms);
            }
            What::Noted => self.check_noted(topic, &facts, entry, now.unix_ms),
            What::Founded { .. } => {}
        }
    }

    /// A user becomes a member by an invite: one that it has brought, and that is good.
    fn check_invited(&self, topic: &str, by: &str, (user, next): (&str, Standing), now: Now) {
        let facts = self.facts(topic);
        let was = facts.standing(user);
        let is_banned = |user| facts.standing(user).banned_until_ms > now.unix_ms;
        let may_be = was.role.is_none() && !is_banned(user) && !is_banned(by);
        let is_it = |(of, whom, says): &(String, &str, Invite)| {
            let is_in_force = u64::from(says.taken_back) == facts.invites();
            let is_its = (&**of, *whom, &*says.by) == (topic, user, by);
            is_its && is_in_force && says.exp > now.unix_ms / 1_000
        };
        assert!(
            may_be && self.brought.iter().any(is_it),
            "an invite lets in exactly those who hold it: {user} in {topic}, by {by}"
        );
        let is_held_so = held(next, now.unix_ms) == held(was, now.unix_ms);
        let is_member = next.role == Some(Role::Member) && is_held_so;
        assert!(is_member, "an invite changes nothing else: {user} in {topic}");
    }

    /// What is done to a message of another has a line, and so has each pin.
    fn check_audited(&self, append: &Append<'_>, offset: u64, message: &MessageText) {
        let Append { topic, at_ms, entry, .. } = append;
        let (Some(now), author) = (self.now, &*message.said.user) else { return };
        if let Some(line) = entry.audit {
            let level = |(by, token)| self.facts(topic).level(by, token, now.unix_ms);
            assert_eq!((line.user, line.offset), (Some(author), Some(offset)), "a line says whose");
            assert!(
                token_of(line.by, topic).is_none_or(|by| level(by) >= Level::Moderate),
                "nobody decides what it may not: {line:?} in {topic}"
            );
            return;
        }
        let by = message.fate().deleted.and_then(|deleted| deleted.by);
        let is_of_another = by.is_some_and(|by| by != author);
        // Those that are purged have one line, which comes before.
        let is_purge = |line: &Line| {
            let told = &line.told;
            let is_its = told["by"].as_str() == by && told["user"] == author;
            is_its && told["at"] == *at_ms && told["set"]["purge_s"].is_u64()
        };
        assert!(
            self.gives_order || !is_of_another || self.lines(topic).iter().any(is_purge),
            "what is done to others has a line: {offset} in {topic} by {by:?}"
        );
    }

    /// Something is noted that changes nothing else: who does it may, and reports nothing twice.
    fn check_noted(&self, topic: &str, facts: &Facts, entry: &Entry<'_>, now_ms: u64) {
        let line = entry.audit.expect("what is noted is a line");
        let needed = match line.act {
            AuditAct::MsgReport => Level::Join,
            _ => Level::Moderate,
        };
        let level = |(by, token)| facts.level(by, token, now_ms);
        assert!(
            token_of(line.by, topic).is_none_or(|by| level(by) >= needed),
            "nobody decides what it may not: {line:?} in {topic}"
        );
        let is_same = |of: &Line| {
            of.told["act"] == "msg_report"
                && of.told["by"] == line.by
                && of.told["offset"].as_u64() == line.offset
        };
        assert!(
            line.act != AuditAct::MsgReport || self.keeps || !self.lines(topic).iter().any(is_same),
            "who reports again adds nothing: {line:?} in {topic}"
        );
    }

    /// A log has taken an entry.
    pub(crate) fn took(&mut self, append: &Append<'_>) {
        if let Some(line) = append.entry.audit.filter(|_| !self.is_shared) {
            let of = self.rooms.entry(append.topic.to_owned()).or_default();
            of.lines.push(Line::new(line, append.at_ms));
        }
        let Append { topic, entry: Entry { what, .. }, .. } = append;
        if let What::Message(said) = what {
            let (slow_ms, now) = (self.facts(topic).slow_ms(), self.now);
            let of = self.rooms.entry((*topic).to_owned()).or_default();
            let is_again = of.given.contains_key(&text_of(said.body));
            of.given.entry(text_of(said.body)).or_insert_with(moment);
            // One that is proposed again was counted before.
            if let Some(now) = now.filter(|_| slow_ms > 0 && !is_again) {
                of.speaks_again.insert(said.user.to_owned(), now.mono_ms + slow_ms);
            }
            return;
        }
        if let What::Changed { offset, message } = what {
            let of = self.rooms.entry((*topic).to_owned()).or_default();
            of.edited.extend(message.fate().edited.map(|edited| (*offset, edited.at_ms)));
            return;
        }
        if self.is_shared {
            // It holds when it comes back.
            return;
        }
        let mut facts = self.facts(topic);
        if facts.decide(topic, *what) {
            self.push(topic, facts);
        }
    }

    /// Whether there is something to know of a room.
    pub(crate) fn knows(&self, topic: &str) -> bool {
        self.rooms.contains_key(topic)
    }

    /// The shortest time for which a room was ever to keep its messages, in milliseconds.
    pub(crate) fn keep_ms(&self, topic: &str) -> Option<u64> {
        let versions = self.rooms.get(topic).into_iter().flat_map(|of| &of.versions);
        versions.filter_map(|(_, facts)| Some(facts.settings["keep_s"].as_u64()? * 1_000)).min()
    }

    /// How many things there were to know of a room, one behind the other.
    pub(crate) fn count(&self, topic: &str) -> usize {
        self.rooms.get(topic).map_or(0, |of| of.versions.len())
    }

    /// Whether a room has a home.
    pub(crate) fn is_open(&self, topic: &str) -> bool {
        self.rooms.get(topic).is_some_and(|of| of.is_open)
    }

    /// When a message was given to its log.
    pub(crate) fn given(&self, topic: &str, body: &str) -> Option<Moment> {
        self.rooms.get(topic)?.given.get(body).copied()
    }

    /// What holds now.
    pub(crate) fn facts(&self, topic: &str) -> Facts {
        let latest = self.rooms.get(topic).and_then(|of| of.versions.last());
        latest.map_or_else(Facts::default, |(_, facts)| facts.clone())
    }

    /// All that has held since a moment, and until another.
    pub(crate) fn between(&self, topic: &str, since: Moment, until: Moment) -> Vec<Facts> {
        let versions = self.rooms.get(topic).map_or(&[][..], |of| &of.versions);
        let first = versions.partition_point(|(from, _)| *from <= since).max(1) - 1;
        let behind = versions.partition_point(|(from, _)| *from <= until).max(1);
        let held = versions.get(first..behind).unwrap_or_default();
        if held.is_empty() {
            return vec![Facts::default()];
        }
        held.iter().map(|(_, facts)| facts.clone()).collect()
    }
}

/// A user that there is, and what its token allows in a room.
fn token_of(user: &str, topic: &str) -> Option<(&'static str, Level)> {
    let user = USERS.iter().find(|known| known.id == user)?;
    Some((user.id, user.level_in(topic.strip_prefix("room:")?)))
}

/// Whether somebody becomes a member by an invite.
fn is_invited(entry: &Entry<'_>) -> bool {
    entry.audit.is_some_and(|line| line.set == Some(INVITED))
}

/// Whoever decides something may do so, and what others are concerned by has a line.
fn check_decision(topic: &str, facts: &Facts, entry: &Entry<'_>, now_ms: u64) {
    let by = |user| token_of(entry.audit.map_or(user, |line| line.by), topic);
    let is_allowed = match entry.what {
        What::Settings { title, settings } => {
            let Some(line) = entry.audit else {
                let next = titled(parsed(settings), topic, Some(title));
                assert_eq!(facts.settings, next, "what is decided has a line: {topic}");
                return;
            };
            let wish = parsed(line.set.expect("it says what was asked for"));
            let level = |(by, token)| facts.level(by, token, now_ms);
            by("").is_none_or(|by| level(by) >= facts.needed_for(&wish))
        }
        What::Standing { user, standing } => {
            let next = (user, standing);
            let room = topic.strip_prefix("room:").expect("decisions are of rooms");
            by(user).is_none_or(|by| facts.may_stand(room, by, next, now_ms))
        }
        _ => true,
    };
    assert!(is_allowed, "nobody decides what it may not: {entry:?} in {topic} of {facts:?}");
}

/// Who edits does it in time: when it was said, and edited.
fn check_edit(topic: &str, facts: &Facts, (said_ms, edited_ms): (u64, u64), now: Now) {
    let Some(edit_s) = facts.settings["edit_s"].as_u64() else { return };
    let is_new = edited_ms == now.unix_ms;
    assert!(
        !is_new || edited_ms.saturating_sub(said_ms) <= edit_s * 1_000,
        "nobody edits what is too old: of {said_ms} at {edited_ms} in {topic}"
    );
}

fn text_of(json: &str) -> String {
    serde_json::from_str(json).expect("a body is JSON")
}

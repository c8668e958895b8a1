//! What members decide of rooms, report, and ask of both; and what they must be told then.
//!
//! Those of whom something is decided are none of those who talk, so that what is said is judged as
//! ever. They come in for a moment, and may bring an invite.
//!
//! Deliberately absent: who may decide what (`room::rights`, and `tests/sim/rights.rs`), and what
//! follows from it for those who talk, which the simulator tries.

use serde_json::{Value, json};

use super::judge::{Judge, Member, field};
use super::ledger::{Facts, Given, Ledger, Line};
use super::reader::object;
use super::{SECRET, Subject, Suite, TOPICS};
use crate::auth::invite::Inviter;
use crate::auth::level::{Inviters, Level, NEVER_MS, Reactors, Restraint, Role, Standing};
use crate::link::audit::{AuditAct, AuditWanted};
use crate::link::facts::{MemberWish, MembersWanted, Sentence, SettingsWish, told_until};
use crate::link::given::Given as Wished;
use crate::link::ids::{Asker, RoomKey};
use crate::link::record::ToHome;

/// Of so many users something is decided.
const USERS: usize = 5;

/// A setting, as it is to be.
#[derive(Clone, Debug)]
pub(super) enum Setting {
    Links(bool),
    Invite(Inviters),
    React(Reactors),
    /// No invite is good that was made before.
    Revoke,
    Data(Option<String>),
}

/// What is to become of a user.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    Role(Option<Role>),
    Mute(Sentence),
    Ban(Sentence),
}

impl Deed {
    fn is_done_to(self, standing: Standing, now_ms: u64) -> bool {
        let is_as = |sentence, until_ms: u64| match sentence {
            Sentence::Lifted => until_ms <= now_ms,
            Sentence::Seconds(_) => until_ms < NEVER_MS,
            Sentence::ForEver => until_ms == NEVER_MS,
        };
        match self {
            Self::Role(role) => standing.role == role,
            Self::Mute(sentence) => is_as(sentence, standing.muted_until_ms),
            Self::Ban(sentence) => is_as(sentence, standing.banned_until_ms),
        }
    }
}

/// What a member wishes. What is called `text` is a JSON string that no other has.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    /// The room is to be about something else, and another setting too.
    Set {
        text: String,
        setting: Setting,
    },
    Stand {
        text: String,
        user: String,
        deed: Deed,
    },
    Report {
        text: String,
        offset: u64,
        /// Whether its member has heard of that message.
        is_heard: bool,
    },
    Members {
        restraint: Option<Restraint>,
        after: String,
        limit: u32,
    },
    Trail(AuditWanted),
    Invite,
}

/// A wish, and how much had been decided by then.
#[derive(Clone, Debug)]
pub(super) struct Question {
    wish: Wish,
    since: usize,
}

/// Invites that were made, and those that users have brought.
#[derive(Default)]
pub(super) struct Invites {
    /// By their text.
    made: Vec<String>,
    /// By topic and user: of which room each is, by whom, and how often all had been taken back.
    brought: Vec<(usize, String, (String, String, u64))>,
}

impl Question {
    pub(super) fn push<'a>(
        &'a self,
        home: RoomKey,
        asker: Asker,
        reference: &'a str,
    ) -> ToHome<'a> {
        match &self.wish {
            Wish::Set { text, setting } => {
                let mut wish =
                    SettingsWish { topic: Wished::Value(text), ..SettingsWish::default() };
                match setting {
                    Setting::Links(links) => wish.links = Some(*links),
                    Setting::Invite(invite) => wish.invite = Some(*invite),
                    Setting::React(react) => wish.react = Some(*react),
                    Setting::Revoke => wish.revoke_invites = true,
                    Setting::Data(data) => {
                        wish.data = data.as_deref().map_or(Wished::Null, Wished::Value);
                    }
                }
                ToHome::Set { home, asker, reference, wish }
            }
            Wish::Stand { text, user, deed } => {
                let mut wish = MemberWish { user, reason: Some(text), ..MemberWish::default() };
                match *deed {
                    Deed::Role(role) => wish.role = role.map_or(Wished::Null, Wished::Value),
                    Deed::Mute(sentence) => wish.mute = Some(sentence),
                    Deed::Ban(sentence) => wish.ban = Some(sentence),
                }
                ToHome::Stand { home, asker, reference, wish }
            }
            Wish::Report { text, offset, is_heard: _ } => {
                ToHome::Report { home, asker, reference, offset: *offset, text: Some(text) }
            }
            Wish::Members { restraint, after, limit } => {
                let wanted = MembersWanted { restraint: *restraint, after, limit: *limit };
                ToHome::ListMembers { home, asker, reference, wanted }
            }
            Wish::Trail(wanted) => ToHome::Audit { home, asker, reference, wanted: *wanted },
            Wish::Invite => ToHome::Invite { home, asker, reference, for_s: 3_600 },
        }
    }
}

impl<L: Subject> Suite<L> {
    /// What a member wishes next.
    pub(super) fn question(&mut self, index: usize) -> Question {
        let text = format!("\"t{}\"", self.numbers + 1);
        let user = format!("d{}", self.below(USERS));
        let wish = match self.below(12) {
            0 | 1 => {
                let setting = match self.below(6) {
                    0 | 1 => Setting::Revoke,
                    2 => Setting::Invite(Inviters::ALL[self.below(2)]),
                    3 => Setting::React(Reactors::ALL[self.below(2)]),
                    4 => Setting::Links(self.below(2) == 0),
                    _ => Setting::Data((self.below(2) == 0).then(|| format!("{{\"d\":{text}}}"))),
                };
                Wish::Set { text, setting }
            }
            2..=5 => {
                let sentence = match self.below(5) {
                    0 => Sentence::Lifted,
                    1 => Sentence::Seconds(1),
                    2 => Sentence::Seconds(60),
                    _ => Sentence::ForEver,
                };
                let deed = match self.below(4) {
                    0 => Deed::Role(None),
                    1 => Deed::Role(Some([Role::Member, Role::Moderator][self.below(2)])),
                    2 => Deed::Mute(sentence),
                    _ => Deed::Ban(sentence),
                };
                Wish::Stand { text, user, deed }
            }
            6 | 7 => {
                let offset = self.some_message(index);
                let Member { topic, shard, .. } = self.judge.members[index];
                let stream = self.judge.streams.get(&(topic, shard));
                let is_heard = stream.is_some_and(|stream| offset <= stream.at.offset);
                Wish::Report { text, offset, is_heard }
            }
            8 | 9 => {
                let restraint = [None, Some(Restraint::Muted), Some(Restraint::Banned)];
                let after = if self.below(2) == 0 { user } else { String::new() };
                let limit = 1 + u32::try_from(self.below(3)).expect("small");
                Wish::Members { restraint: restraint[self.below(3)], after, limit }
            }
            10 => {
                let acts = AuditAct::ALL.map(Some);
                let act = acts.get(self.below(2 * acts.len())).copied().flatten();
                let before = if self.below(2) == 0 { u64::MAX } else { 1 + self.rng.below(20) };
                let limit = 1 + u32::try_from(self.below(6)).expect("small");
                Wish::Trail(AuditWanted { before, limit, act })
            }
            _ => Wish::Invite,
        };
        let topic = TOPICS[self.judge.members[index].topic];
        Question { wish, since: self.home.mesh.log.ledger.of(topic).decisions.len() }
    }

    /// One of those of whom something is decided comes in, perhaps with an invite, and goes.
    pub(super) fn visit(&mut self) {
        let topic = self.below(TOPICS.len());
        let user = format!("d{}", self.below(USERS));
        let count = self.judge.invites.made.len();
        let brings = count > 0 && self.below(4) > 0;
        let which = self.below(count.max(1));
        let invite = self.judge.invites.made.get(which).filter(|_| brings).cloned();
        if let Some(invite) = &invite {
            let of = Inviter::new(&SECRET).read(invite, 0).expect("it was made here");
            let of = (format!("room:{}", of.room), of.by, u64::from(of.taken_back));
            self.judge.invites.brought.push((topic, user.clone(), of));
        }
        let invite = invite.map(|invite| format!("\"{invite}\""));
        match self.try_join(topic, (&user, Level::Speak), None, invite.as_deref()) {
            Ok((member, _)) => self.leave(&member),
            Err(response) => {
                let ledger = &mut self.home.mesh.log.ledger;
                self.judge.check_not_let_in(ledger, (topic, &user), &response);
            }
        }
    }

    /// At rest all that was decided is told, page by page.
    pub(super) fn check_all_decided(&mut self, topic: usize) {
        let joined = self.try_join(topic, ("u0", Level::Own), None, None);
        let (member, _) = joined.expect("all is well");
        let Member { room, asker, shard, .. } = member;
        let question = |wish| Question { wish, since: 0 };
        for restraint in [None, Some(Restraint::Muted), Some(Restraint::Banned)] {
            let (mut all, mut more, limit) = (Vec::new(), true, 2);
            while more {
                let last = all.last().map_or("", |told: &Value| text_of(told, "user"));
                let wish = Wish::Members { restraint, after: last.to_owned(), limit };
                let reference = self.next_number().to_string();
                let page = self.ask(shard, question(wish).push(room, asker, &reference));
                let page = Value::Object(object(&page));
                let users = page["members"].as_array().expect("a page has users");
                more = page["more"] == true;
                assert!(!more || !users.is_empty(), "a page makes headway: {page}");
                all.extend_from_slice(users);
            }
            let ledger = &mut self.home.mesh.log.ledger;
            let now_ms = ledger.now_ms;
            let expected = listed(&ledger.of(TOPICS[topic]).latest(), restraint, "", now_ms);
            assert_eq!(all, expected, "a list of users has all of them: {restraint:?}");
        }
        let (mut all, mut before) = (Vec::new(), u64::MAX);
        loop {
            let wish = Wish::Trail(AuditWanted { before, limit: 3, act: None });
            let reference = self.next_number().to_string();
            let page = self.ask(shard, question(wish).push(room, asker, &reference));
            let page = Value::Object(object(&page));
            let lines = page["acts"].as_array().expect("a page has lines");
            all.extend_from_slice(lines);
            if page["more"] != true {
                break;
            }
            before = number_of(lines.last().expect("a page makes headway"));
        }
        let given = self.home.mesh.log.ledger.of(TOPICS[topic]);
        let numbers: Vec<u64> = all.iter().map(number_of).collect();
        assert!(numbers.is_sorted_by(|a, b| a > b), "the newest line is first: {numbers:?}");
        for decided in given.decisions.iter().filter_map(|of| of.line.as_ref()).filter(|_| L::KEEPS)
        {
            assert!(numbers.contains(&decided.number), "the trail has all: {decided:?} {all:?}");
        }
        for line in &all {
            check_line(given, line);
        }
        self.leave(&member);
    }
}

fn text_of<'a>(object: &'a Value, name: &str) -> &'a str {
    object[name].as_str().unwrap_or_default()
}

fn number_of(line: &Value) -> u64 {
    line["n"].as_u64().expect("a line has a number")
}

/// How a user stands, as those are told who look after the room.
fn told(user: &str, standing: Standing, now_ms: u64) -> Value {
    let mut told = json!({"user": user});
    if let Some(role) = standing.role {
        told["role"] = role.as_str().into();
    }
    let ends =
        [("muted_until", standing.muted_until_ms), ("banned_until", standing.banned_until_ms)];
    for (name, until_ms) in ends.into_iter().filter(|(_, until_ms)| *until_ms > now_ms) {
        told[name] = told_until(until_ms).into();
    }
    told
}

/// What was told of how a user stands, without what is over by now.
fn without_over(mut told: Value, now_ms: u64) -> Value {
    told.as_object_mut().expect("an object").retain(|name, until| {
        let is_over = until.as_u64().is_some_and(|until| until > 0 && until <= now_ms);
        !(name.ends_with("_until") && is_over)
    });
    told
}

/// The users behind one that are held to something, or have a role.
fn listed(facts: &Facts, restraint: Option<Restraint>, after: &str, now_ms: u64) -> Vec<Value> {
    let is_wanted = |standing: &Standing| match restraint {
        None => standing.role.is_some(),
        Some(Restraint::Muted) => standing.muted_until_ms > now_ms,
        Some(Restraint::Banned) => standing.banned_until_ms > now_ms,
    };
    let standings = facts.standings.iter().filter(|(user, of)| &***user > after && is_wanted(of));
    standings.map(|(user, standing)| told(user, *standing, now_ms)).collect()
}

/// A line says what was done.
fn check_line(given: &Given, told: &Value) {
    let mut told = told.clone();
    told.as_object_mut().expect("an object").remove("at");
    let is_it = given.lines().any(|line| line.told == told);
    let may_be = is_it || given.may_be_others(number_of(&told));
    assert!(may_be, "a line says what was done: {told}");
}

impl Judge {
    /// The answer to who decides, reports, or asks what was decided.
    pub(super) fn hear_decided<L: Subject>(
        &mut self,
        log: &L,
        (given, now_ms): (&mut Given, u64),
        index: usize,
        Question { wish, since }: Question,
        (status, response): (&str, &str),
    ) {
        if status == "error" {
            return self.hear_not_decided(log, given, index, &wish, response);
        }
        let Member { topic, level, .. } = self.members[index];
        let answer = Value::Object(object(response));
        match wish {
            Wish::Set { text, setting: _ } => {
                self.seen.insert("set");
                check_kept(log, given, &text, "a decision is answered after it is kept");
                // Whatever was set beside it, no other has this topic.
                assert_eq!(answer["topic"], text.trim_matches('"'), "an answered decision is that");
                check_room(given, since, topic, answer);
            }
            Wish::Stand { text, user, deed } => {
                self.seen.insert("stood");
                check_kept(log, given, &text, "a decision is answered after it is kept");
                let upto = if log.may_lose_acked() { given.decisions.len() } else { given.kept };
                let answer = without_over(answer, now_ms);
                let is_it = |count| {
                    let standing = given.version(count).standing(&user);
                    // What others are held to is told to those alone who look after the room.
                    let role_alone = Standing { role: standing.role, ..Standing::default() };
                    let of = if level < Level::Moderate { role_alone } else { standing };
                    told(&user, of, now_ms) == answer && deed.is_done_to(standing, now_ms)
                };
                let is_so = (given.stands_since(&user, since)..=upto).any(is_it);
                assert!(is_so, "an answered decision is that: {user} {deed:?} {answer} {given:?}");
            }
            Wish::Report { offset, text: _, is_heard: _ } => {
                self.seen.insert("reported");
                let by = &self.members[index].user;
                let is_it = |line: &Line| {
                    line.act == AuditAct::MsgReport
                        && line.told["by"] == **by
                        && line.told["offset"] == offset
                };
                let upto = if log.may_lose_acked() { given.decisions.len() } else { given.kept };
                let mut lines = given.decisions[..upto].iter().filter_map(|of| of.line.as_ref());
                assert!(lines.any(is_it), "a report is answered after it is kept: {offset} {by}");
            }
            Wish::Members { restraint, after, limit } => {
                self.seen.insert("listed");
                let limit = limit as usize;
                let is_it = |facts: Facts| {
                    let mut all = listed(&facts, restraint, &after, now_ms);
                    let more = all.len() > limit;
                    all.truncate(limit);
                    answer["members"] == Value::Array(all) && answer["more"] == more
                };
                assert!(
                    given.versions().any(is_it),
                    "a list of users has all of them, up to its bound: {wish:?} {answer} {given:?}",
                    wish = (restraint, after, limit),
                );
            }
            Wish::Trail(wanted) => self.hear_trail::<L>((given, since), wanted, &answer),
            Wish::Invite => {
                self.seen.insert("invite");
                let invite = answer["invite"].as_str().expect("an invite").to_owned();
                let read = Inviter::new(&SECRET).read(&invite, 0).expect("it was made here");
                let is_it = |facts: Facts| facts.invites() == u64::from(read.taken_back);
                assert!(given.versions().any(is_it), "an invite is of now: {read:?} {given:?}");
                self.invites.made.push(invite);
            }
        }
    }

    fn hear_not_decided<L: Subject>(
        &mut self,
        log: &L,
        given: &Given,
        index: usize,
        wish: &Wish,
        response: &str,
    ) {
        let Member { topic, shard, level, .. } = self.members[index];
        let reason = field(response, "reason").trim_matches('"');
        let is_nobodys = level < Level::Moderate;
        let is_right = match (reason, wish) {
            ("storage" | "unavailable" | "busy", _) => true,
            ("unconfirmed", _) => {
                self.seen.insert("decision unconfirmed");
                return;
            }
            // None of those of whom something is decided owns a room.
            ("unauthorized", Wish::Stand { .. }) => level < Level::Own,
            // A turn may have lost what was heard: then the channel has ended.
            ("invalid", Wish::Report { is_heard, .. }) => {
                !is_heard || self.ended.contains(&(topic, shard))
            }
            ("unauthorized", Wish::Members { restraint, .. }) => restraint.is_some() && is_nobodys,
            ("unauthorized", Wish::Set { .. } | Wish::Trail(_) | Wish::Invite) => is_nobodys,
            ("gone", Wish::Report { offset, .. }) => {
                let latest = log.state(TOPICS[topic], *offset, u64::MAX);
                let is_deleted = latest.is_none_or(|latest| latest.fate().deleted.is_some());
                // A turn that was not told yet may have lost that it was deleted.
                let was_deleted = !self.is_of_epoch(log, topic, shard);
                is_deleted || was_deleted || *offset <= log.gone(TOPICS[topic])
            }
            _ => false,
        };
        assert!(is_right, "what is refused is refused for its reason: {wish:?} {response}");
        if let Wish::Set { text, .. } | Wish::Stand { text, .. } | Wish::Report { text, .. } = wish
        {
            let is_there = given.decisions.iter().any(|of| is_of(of.line.as_ref(), text));
            assert!(!is_there, "a refused decision is nowhere: {wish:?}");
        }
        self.seen.insert("decision refused");
    }

    /// Lines of the trail: all that are wanted and were given before they were asked for, and none
    /// that were not.
    fn hear_trail<L: Subject>(
        &mut self,
        (given, since): (&Given, usize),
        wanted: AuditWanted,
        answer: &Value,
    ) {
        self.seen.insert("trail");
        let AuditWanted { before, limit, act } = wanted;
        let lines = answer["acts"].as_array().expect("a trail has lines");
        assert!(lines.len() <= limit as usize, "a page is as long as asked: {answer}");
        let numbers: Vec<u64> = lines.iter().map(number_of).collect();
        assert!(numbers.is_sorted_by(|a, b| a > b), "the newest line is first: {numbers:?}");
        let is_wanted = |line: &Line| line.number < before && act.is_none_or(|act| act == line.act);
        for line in lines {
            check_line(given, line);
            let is_one = given.lines().any(|of| of.number == number_of(line) && is_wanted(of));
            let is_one = is_one || given.may_be_others(number_of(line));
            assert!(is_one, "a page is what was asked for: {line} of {wanted:?}");
        }
        let more = answer["more"] == true;
        let upto = if more { numbers.last().copied().unwrap_or(u64::MAX) } else { 0 };
        let due = given.decisions[..since].iter().filter_map(|of| of.line.as_ref());
        // A room in memory lets go of lines when nobody is there.
        for line in due.filter(|line| L::KEEPS && line.number > upto && is_wanted(line)) {
            let rule = "the trail has all that was done";
            assert!(numbers.contains(&line.number), "{rule}: {line:?} {wanted:?} {answer}");
        }
        let is_more = given.lines().any(|line| line.number < upto && is_wanted(line));
        let is_more = is_more || upto > 1 && given.may_be_others(upto - 1);
        assert!(!more || !lines.is_empty() && is_more, "a trail goes on if it says so: {answer}");
    }

    /// Somebody was not let in: it is banned, or the log is in the way.
    fn check_not_let_in(
        &mut self,
        ledger: &mut Ledger,
        (topic, user): (usize, &str),
        response: &str,
    ) {
        let (now_ms, given) = (ledger.now_ms, ledger.of(TOPICS[topic]));
        match field(response, "reason") {
            "\"banned\"" => {
                self.seen.insert("banned");
                let is_banned = |facts: Facts| facts.standing(user).banned_until_ms > now_ms;
                assert!(given.versions().any(is_banned), "only who is banned is told so: {user}");
            }
            "\"storage\"" | "\"unavailable\"" | "\"busy\"" | "\"unconfirmed\"" => {}
            other => panic!("{other}"),
        }
    }

    /// Who was made a member by an invite has brought one that was good then.
    pub(super) fn check_invited(&mut self, ledger: &mut Ledger) {
        for (topic, name) in TOPICS.iter().enumerate() {
            let given = ledger.of(name);
            for count in given.judged..given.decisions.len() {
                let Some((user, by)) = &given.decisions[count].invited else { continue };
                self.seen.insert("invited");
                let before = given.version(count);
                let invite = ((*name).to_owned(), by.clone(), before.invites());
                let is_it = (topic, user.clone(), invite);
                let is_good = self.invites.brought.contains(&is_it);
                assert!(is_good, "an invite is good until it is taken back: {is_it:?}");
            }
        }
    }
}

/// What members are told of a room is what held at some time since so many decisions.
pub(super) fn check_room(given: &Given, since: usize, topic: usize, mut told: Value) {
    for name in ["members", "pins"] {
        told.as_object_mut().expect("an object").remove(name);
    }
    let mut counts = since..=given.decisions.len();
    let is_so = counts.any(|count| given.version(count).told(TOPICS[topic]) == told);
    assert!(is_so, "a room is told as was decided: {told} of {given:?}");
}

/// Somebody has come in: it is told how it stands, and is not banned.
pub(super) fn check_joined(ledger: &mut Ledger, member: &Member, response: &str) {
    let Member { topic, ref user, .. } = *member;
    let (now_ms, given) = (ledger.now_ms, ledger.of(TOPICS[topic]));
    let response = Value::Object(object(response));
    check_room(given, given.judged, topic, response["room"].clone());
    let is_so = |facts: Facts| {
        let standing = facts.standing(user);
        let told = told(user, standing, now_ms);
        let is_told = |name: &str| told[name] == response["you"][name];
        standing.banned_until_ms <= now_ms && is_told("role") && is_told("muted_until")
    };
    let rule = "who comes in is told how it stands, and is not banned";
    assert!(given.versions().any(is_so), "{rule}: {user} {} {given:?}", response["you"]);
}

/// Whether a line is that of what was called so.
fn is_of(line: Option<&Line>, text: &str) -> bool {
    let text = text.trim_matches('"');
    line.is_some_and(|line| line.told["text"] == text || line.told["set"]["topic"] == text)
}

/// A decision that is called so is kept, if it was none that held already.
fn check_kept<L: Subject>(log: &L, given: &Given, text: &str, rule: &str) {
    let at = given.decisions.iter().position(|of| is_of(of.line.as_ref(), text));
    let is_kept = at.is_none_or(|at| at < given.kept) || log.may_lose_acked();
    assert!(is_kept, "{rule}: {text} of {given:?}");
}

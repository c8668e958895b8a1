//! Who may do what: what clients decide of rooms and of each other, and what they are told of it.
//!
//! All that is allowed or refused is judged by what held at some time between question and answer:
//! see `rights`.

use chinwag::auth::level::{Level, NEVER_MS, Role, Standing};
use serde_json::{Value, json};

use crate::acts::Mouth;
use crate::client::{Ask, Client, Link, Member, Payload, Pending};
use crate::ears::Ears;
use crate::faults::Bug;
use crate::logs::LogKind;
use crate::rights::{Facts, Moment, moment, told_until};
use crate::site::{USERS, User};
use crate::world::{World, ledger_of};

/// What is to be decided, as it is pushed.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    /// `room_set`.
    Settings(Value),
    /// `room_member`.
    Standing(Value),
}

/// What a user might do in a room at some time, for all that is known of when that was.
pub(crate) struct Might {
    /// If all that ends had not ended yet, and all the same if it had.
    pub(crate) least: Level,
    pub(crate) most: Level,
    pub(crate) facts: Vec<Facts>,
    user: &'static str,
    token: Level,
    now_ms: u64,
}

impl Might {
    /// Whether a refusal may have this reason, because of what was decided.
    pub(crate) fn be_refused_for(&self, reason: &str, needed: Level) -> bool {
        let standings = || self.facts.iter().map(|facts| facts.standing(self.user));
        match reason {
            "unauthorized" => self.least < needed,
            "muted" => standings().any(|standing| standing.muted_until_ms > 0),
            "banned" => standings().any(|standing| standing.banned_until_ms > 0),
            _ => false,
        }
    }

    /// Whether a decision may be refused for a reason that others are not.
    pub(crate) fn refuse_decision(&self, wish: &Wish, reason: &str) -> bool {
        match (wish, reason) {
            (Wish::Settings(wish), "unauthorized") => {
                self.facts.iter().any(|facts| self.least < facts.needed_for(wish))
            }
            // It depends on the other one, too.
            (Wish::Standing(_), "unauthorized") => true,
            (Wish::Standing(wish), "last_owner") => {
                // Who is muted or banned does not count, and may have been so.
                let whose = wish["user"].as_str().expect("it is of somebody");
                let is_last = |facts: &Facts| facts.is_last_owner(whose, 0);
                let is_lowered = wish.get("role").is_some_and(|role| role != "owner");
                let holds = |name: &str| wish[name].as_i64().is_some_and(|held_s| held_s != 0);
                let is_one = is_lowered && whose == self.user;
                (is_one || holds("muted_s") || holds("banned_s")) && self.facts.iter().any(is_last)
            }
            (Wish::Standing(wish), "invalid") => {
                let whose = wish["user"].as_str().expect("it is of somebody");
                let mut standings = self.facts.iter().map(|facts| facts.standing(whose));
                let is_held = |of: Standing| of.muted_until_ms > 0 || of.banned_until_ms > 0;
                wish["role"] == "owner" && standings.any(is_held)
            }
            _ => self.be_refused_for(reason, Level::None),
        }
    }

    /// Whether it might have wished these settings.
    fn wish_settings(&self, wish: &Value) -> bool {
        let level = |facts: &Facts| facts.level(self.user, self.token, self.now_ms);
        self.facts.iter().any(|facts| level(facts) >= facts.needed_for(wish))
    }

    /// Whether a list of users may be refused for this.
    pub(crate) fn refuse_roll(&self, wanted: &Value, reason: &str) -> bool {
        let is_looked_after = wanted.get("state").is_some();
        let needed = if is_looked_after { Level::Moderate } else { Level::Join };
        reason == "unauthorized" && self.least < needed
    }

    /// Whether a message with this body may be refused for what was decided of the room.
    /// `calls_all`: it mentions everybody.
    pub(crate) fn refuse_message(&self, body: &str, calls_all: bool, reason: &str) -> bool {
        match reason {
            "unauthorized" if calls_all => self.least < Level::Moderate,
            "slow_mode" => self.facts.iter().any(|facts| facts.slow_ms() > 0),
            "rejected" => {
                body.contains("http://") && self.facts.iter().any(|facts| !facts.takes_links())
            }
            _ => self.be_refused_for(reason, Level::Speak),
        }
    }
}

impl Client {
    /// Decides something, if it may.
    pub(crate) fn decide(&mut self, mouth: &mut Mouth<'_>) {
        let topic = self.channel_or_topic(mouth);
        let room = topic.strip_prefix("room:").unwrap_or_default();
        if self.user().level_in(room) < Level::Moderate && !self.draws.one_in(4) {
            // Those who may not do it try it less often, and say something.
            return self.publish(mouth, false);
        }
        if topic.starts_with("room:") {
            self.decide_of(mouth, &topic);
        }
    }

    /// Decides something where it looks after a room in which it is.
    pub(crate) fn decide_or_not(&mut self, mouth: &mut Mouth<'_>) {
        let topic = self.channel_or_topic(mouth);
        let Some(room) = topic.strip_prefix("room:") else { return };
        if self.user().level_in(room) >= Level::Moderate {
            self.decide_of(mouth, &topic);
        }
    }

    fn decide_of(&mut self, mouth: &mut Mouth<'_>, topic: &str) {
        let is_of_room = self.draws.one_in(3);
        let wish = if is_of_room { self.some_settings(mouth) } else { self.some_standing() };
        self.wish(mouth, topic, wish);
    }

    /// Asks for a decision.
    pub(crate) fn wish(&mut self, mouth: &mut Mouth<'_>, topic: &str, wish: Wish) {
        let (event, payload) = match &wish {
            Wish::Settings(payload) => ("room_set", payload),
            Wish::Standing(payload) => ("room_member", payload),
        };
        if payload["kick"] == true {
            let user = payload["user"].as_str().expect("somebody is kicked");
            mouth.truth.kicked.insert((topic.to_owned(), user.to_owned()));
        }
        let payload = Payload::Json(payload.clone());
        self.push(mouth, topic, event, &payload, Some(Ask::Decide(wish)));
    }

    fn some_settings(&mut self, mouth: &Mouth<'_>) -> Wish {
        let draws = &mut self.draws;
        // Where a log lets go of messages by itself, that is not its time.
        let is_in_memory = !mouth.plan.log.keeps() && mouth.plan.bug.is_none();
        let keep_s = if is_in_memory { [1, 30, 1_000_000] } else { [1_000_000; 3] };
        Wish::Settings(match draws.below(13) {
            0 => json!({"join": draws.pick(&["all", "all", "members"])}),
            1 => json!({"speak": draws.pick(&["all", "all", "members", "moderators"])}),
            2 => json!({"react": draws.pick(&["all", "speakers"])}),
            3 => json!({"slow_s": draws.pick(&[0, 1, 5])}),
            4 => json!({"edit_s": draws.pick(&[Value::Null, json!(-1), json!(0), json!(5)])}),
            5 => json!({"links": draws.one_in(2), "slow_s": 0, "receipts": false}),
            6 | 7 => json!({"title": draws.pick(&["Tea time", "\u{e9} \"t\"", "tea"])}),
            8 => json!({"topic": draws.pick(&[Value::Null, json!("of \u{e9}\\")])}),
            9 => json!({"data": draws.pick(&[Value::Null, json!({"join": ["all", 1.5]})])}),
            10 => json!({"invite": draws.pick(&["members", "members", "moderators"])}),
            11 => json!({"revoke_invites": true, "receipts": true}),
            _ if draws.one_in(2) => json!({"keep_s": null}),
            _ => json!({"keep_s": draws.pick(&keep_s)}),
        })
    }

    fn some_standing(&mut self) -> Wish {
        let own = self.user().id;
        let draws = &mut self.draws;
        let user = if draws.one_in(6) { own } else { draws.pick(USERS).id };
        // For a time, for ever, or no longer.
        let how_long = [0, 0, 1, 600, 600, -1];
        let mut wish = json!({"user": user});
        match draws.below(8) {
            0 | 1 => wish["muted_s"] = json!(draws.pick(&how_long)),
            2 => wish["banned_s"] = json!(draws.pick(&how_long)),
            3 => wish["kick"] = json!(true),
            4 => {
                wish["banned_s"] = json!(draws.pick(&how_long));
                wish["purge_s"] = json!(draws.range(0, 60));
            }
            5 => wish["purge_s"] = json!(draws.range(0, 60)),
            _ => {
                let word = ["member", "member", "moderator", "owner", ""];
                let role = *draws.pick(&word);
                if draws.one_in(3) {
                    wish["user"] = own.into();
                }
                wish["role"] = if role.is_empty() { Value::Null } else { role.into() };
            }
        }
        Wish::Standing(wish)
    }
}

/// The settings of a room, of all that is told of it: with its title, if that is not its name.
fn settings_of(room: &Value) -> Value {
    let mut settings = room.clone();
    let fields = settings.as_object_mut().expect("a room is an object");
    for name in ["room", "title", "members"] {
        assert!(fields.contains_key(name), "it is always there: {name} in {room}");
    }
    let name = fields.remove("room");
    if fields.get("title") == name.as_ref() {
        fields.remove("title");
    }
    fields.remove("members");
    fields.remove("pins");
    settings
}

/// Whether the settings of a room are as a wish has them.
fn are_as_wished(room: &str, settings: &Value, wish: &Value) -> bool {
    let default = |name: &str| match name {
        "title" => json!(room),
        "join" | "speak" => json!("all"),
        "react" => json!("speakers"),
        "invite" => json!("moderators"),
        "slow_s" => json!(0),
        "receipts" => json!(false),
        "edit_s" | "keep_s" | "topic" | "data" => Value::Null,
        _ => json!(true),
    };
    let mut wishes = wish.as_object().expect("a wish is an object").iter();
    wishes.all(|(name, value)| match &**name {
        "revoke_invites" => settings["invites"].as_u64() > Some(0),
        name => settings.get(name).unwrap_or(&default(name)) == value,
    })
}

/// Whether a time until which something holds is told as it is.
fn is_told(told: &Value, until_ms: u64, now_ms: u64) -> bool {
    match told.as_u64() {
        None => until_ms <= now_ms,
        Some(0) => until_ms == NEVER_MS,
        Some(until) => until == until_ms,
    }
}

/// Whether a user is told how it stands: its role, and until when it is muted.
fn is_standing(told: &Value, standing: Standing, now_ms: u64) -> bool {
    let role = standing.role.map(Role::as_str);
    told["role"].as_str() == role && is_told(&told["muted_until"], standing.muted_until_ms, now_ms)
}

impl Ears<'_> {
    /// All that has held in a room since a moment.
    pub(crate) fn held_since(&self, topic: &str, since: Moment) -> Vec<Facts> {
        let ledger = ledger_of(self.hosts, topic);
        ledger.map_or_else(|| vec![Facts::default()], |of| of.between(topic, since, moment()))
    }

    /// What a user might do in a topic since a moment.
    pub(crate) fn might(&self, user: &'static User, topic: &str, since: Moment) -> Might {
        let facts = self.held_since(topic, since);
        let Some(room) = topic.strip_prefix("room:") else {
            let (least, most, token) = (Level::Speak, Level::Speak, Level::Speak);
            return Might { least, most, facts, user: user.id, token, now_ms: self.unix_ms };
        };
        let token = user.level_in(room);
        let levels = |now_ms| facts.iter().map(move |facts| facts.level(user.id, token, now_ms));
        let least = levels(0).min().expect("something holds");
        let most = levels(self.unix_ms).max().expect("something holds");
        Might { least, most, facts, user: user.id, token, now_ms: self.unix_ms }
    }

    /// Whoever does something in a room might do it.
    pub(crate) fn check_might(&self, user: &'static User, pending: &Pending, needed: Level) {
        let most = self.might(user, &pending.topic, pending.asked).most;
        assert!(
            most >= needed,
            "nobody acts against what was decided: {} in {:?}, which needs {needed:?}",
            user.id,
            pending
        );
    }

    /// Whoever joins might come in, unless it was in already: then it is put out behind that.
    pub(crate) fn check_entry(&self, user: &'static User, pending: &Pending) {
        let most = self.might(user, &pending.topic, pending.asked).most;
        assert!(
            pending.is_within || most >= Level::Join,
            "who is kept out is not let in: {} to {}",
            user.id,
            pending.topic
        );
    }

    /// A message that is heard was said while its hearer might be there.
    pub(crate) fn check_audience(&self, user: &'static User, topic: &str, message: &Value) {
        let Some(ledger) = ledger_of(self.hosts, topic) else { return };
        let body = message["body"].as_str().expect("a message has a body");
        let Some(given) = ledger.given(topic, body) else { return };
        // With one that gives the order, members hear of it later.
        let is_later = matches!(self.plan.log, LogKind::Engine | LogKind::SeenIsKept);
        let until = if is_later { moment() } else { given };
        let Some(room) = topic.strip_prefix("room:") else { return };
        let token = user.level_in(room);
        let facts = ledger.between(topic, given, until);
        assert!(
            facts.iter().any(|facts| facts.level(user.id, token, self.unix_ms) >= Level::Join),
            "who is out hears nothing of what is said then: {} hears {body} in {topic}",
            user.id
        );
    }

    /// A decision was answered: it holds, and is kept.
    pub(crate) fn check_decided(&mut self, user: &'static User, pending: &Pending, told: &Value) {
        let Ask::Decide(wish) = &pending.ask else { unreachable!("called for decisions") };
        let (now_ms, topic) = (self.unix_ms, &*pending.topic);
        let (needed, waits) = match wish {
            Wish::Settings(wish) => {
                let might = self.might(user, topic, pending.asked);
                let may_be = might.wish_settings(wish);
                assert!(may_be, "nobody acts against what was decided: {} in {pending:?}", user.id);
                (Level::None, true)
            }
            Wish::Standing(wish) => {
                let whose = wish["user"].as_str().expect("it is of somebody");
                let waits = ["role", "muted_s", "banned_s"];
                let waits = waits.iter().any(|name| wish.get(name).is_some());
                let role_of = |facts: &Facts| facts.standing(whose).role.map(Role::as_str);
                // What is so already, anybody may say.
                let mut held = self.held_since(topic, pending.asked).into_iter();
                let is_role_only = wish.as_object().is_some_and(|wish| wish.len() == 2)
                    && wish.get("role").is_some();
                let is_so = is_role_only && held.any(|of| role_of(&of) == wish["role"].as_str());
                (if whose == user.id || is_so { Level::None } else { Level::Moderate }, waits)
            }
        };
        self.check_might(user, pending, needed);
        let least = self.might(user, topic, pending.asked).least;
        let is_it = |facts: &Facts| match wish {
            Wish::Settings(wish) => {
                let settings = settings_of(told);
                let room = topic.strip_prefix("room:").expect("decisions are of rooms");
                facts.settings == settings && are_as_wished(room, &settings, wish)
            }
            Wish::Standing(wish) => {
                let whose = wish["user"].as_str().expect("it is of somebody");
                let mut standing = facts.standing(whose);
                // What others are held to is told to those alone who look after the room.
                let is_held = told.get("muted_until").or(told.get("banned_until")).is_some();
                if whose != user.id && least < Level::Moderate && !is_held {
                    standing = Standing { role: standing.role, ..Standing::default() };
                }
                let is_for = |wished: &Value, told: &Value| match wished.as_i64() {
                    None => true,
                    Some(-1) => *told == 0,
                    Some(0) => told.is_null(),
                    Some(_) => told.as_u64().is_some_and(|until| until > 0),
                };
                told["user"] == whose
                    && is_standing(told, standing, now_ms)
                    && is_told(&told["banned_until"], standing.banned_until_ms, now_ms)
                    && is_for(&wish["muted_s"], &told["muted_until"])
                    && is_for(&wish["banned_s"], &told["banned_until"])
                    && wish.get("role").is_none_or(|role| *role == told["role"])
            }
        };
        let Some(host) = self.hosts.iter().find(|host| host.net.log.ledger.knows(topic)) else {
            panic!("what is decided has a home: {topic}")
        };
        let log = &host.net.log;
        let held = log.ledger.between(topic, pending.asked, moment());
        let is_taken = self.plan.log == LogKind::OkIsTaken;
        let unkept = if waits && !is_taken { log.unkept_decisions(topic) } else { 0 };
        // Those that held last are those that may be lost.
        let kept =
            held.len().saturating_sub(unkept).max(usize::from(unkept < log.ledger.count(topic)));
        assert!(held.iter().any(is_it), "a decision holds when it is answered: {wish:?}, {told}");
        assert!(
            held[..kept.min(held.len())].iter().any(is_it),
            "a decision is answered after it is kept: {wish:?} in {topic}"
        );
        self.truth.saw("decided");
    }
}

impl Client {
    /// Asks how users stand in a room.
    pub(crate) fn ask_members(&mut self, mouth: &mut Mouth<'_>) {
        let topic = self.channel_or_topic(mouth);
        if !topic.starts_with("room:") {
            return;
        }
        let draws = &mut self.draws;
        let mut wanted = json!({});
        if draws.one_in(2) {
            wanted["state"] = json!(draws.pick(&["muted", "banned"]));
        }
        if draws.one_in(4) {
            wanted["after"] = json!(draws.pick(USERS).id);
        }
        if draws.one_in(3) {
            wanted["limit"] = json!(draws.range(1, 3));
        }
        let payload = Payload::Json(wanted.clone());
        self.push(mouth, &topic, "room_members", &payload, Some(Ask::ListMembers(wanted)));
    }
}

impl Ears<'_> {
    /// A list of users was answered: it is the truth of some time since it was asked for.
    pub(crate) fn check_members(&mut self, user: &'static User, pending: &Pending, told: &Value) {
        let Ask::ListMembers(wanted) = &pending.ask else {
            unreachable!("called for lists of users")
        };
        let is_looked_after = wanted.get("state").is_some();
        let needed = if is_looked_after { Level::Moderate } else { Level::Join };
        self.check_might(user, pending, needed);
        let held = self.held_since(&pending.topic, pending.asked);
        let is_it = |facts: &Facts| {
            // What is over is so from its end on.
            facts.ends_ms().any(|now_ms| facts.listed_members(wanted, now_ms) == *told)
        };
        assert!(held.iter().any(is_it), "a list of users is the truth: {told} of {held:?}");
        self.truth.saw("users listed");
    }
}

impl Member {
    /// What it is told of the room in which it is: as it has been since it asked to come in.
    pub(crate) fn told_room(&mut self, ears: &Ears<'_>, topic: &str, room: &Value) {
        self.settings = settings_of(room);
        let mut held = ears.held_since(topic, self.asked).into_iter();
        assert!(
            held.any(|facts| facts.settings == self.settings),
            "a member is told what was decided of its room: {room}"
        );
    }

    /// What it is told of itself.
    pub(crate) fn told_you(
        &mut self,
        ears: &Ears<'_>,
        user: &'static User,
        topic: &str,
        you: &Value,
    ) {
        if ears.plan.bug == Some(Bug::LetAllModerate) {
            // What comes of it is to be found, and not that it is told.
            return;
        }
        let might = ears.might(user, topic, self.asked);
        let speaks = you["speak"].as_bool().expect("it says whether it may speak");
        assert!(
            if speaks { might.most >= Level::Speak } else { might.least < Level::Speak },
            "a member is told what it may do: {} in {topic}, {you}",
            user.id
        );
        let level = you["level"].as_str().map(|level| level.parse::<Level>().expect("a level"));
        let is_level = |level| level >= might.least && level <= might.most;
        assert!(
            level.map_or(might.least < Level::Moderate, is_level),
            "a member is told its level: {} in {topic}, {you}",
            user.id
        );
        let mut held = might.facts.iter().map(|facts| facts.standing(user.id));
        assert!(
            held.any(|standing| is_standing(you, standing, ears.unix_ms)),
            "a member is told how it stands: {} in {topic}, {you}",
            user.id
        );
        self.you = you.clone();
    }
}

impl Link {
    /// It is put out of a room, because somebody has decided that.
    pub(crate) fn check_removed(
        &self,
        ears: &mut Ears<'_>,
        user: &'static User,
        topic: &str,
        (since, why): (Moment, &Value),
    ) {
        let held = ears.held_since(topic, since);
        let mut standings = held.iter().map(|facts| (facts, facts.standing(user.id)));
        let (what, may_be) = match why["reason"].as_str().expect("it says why") {
            "token" => {
                let room = topic.strip_prefix("room:").unwrap_or_default();
                ("removed", self.closed.contains(room))
            }
            "kicked" => {
                let kick = (topic.to_owned(), user.id.to_owned());
                ("kicked", ears.truth.kicked.contains(&kick))
            }
            "members" => {
                let is_it =
                    |(facts, of): (&Facts, Standing)| facts.is_private() && of.role.is_none();
                ("put out of a private room", standings.any(is_it))
            }
            "banned" => {
                let is_it = |(_, of): (&Facts, Standing)| {
                    why["until"].as_u64() == told_until(of.banned_until_ms, 0)
                };
                ("banned", standings.any(is_it))
            }
            other => panic!("nobody is put out for {other}"),
        };
        assert!(may_be, "who is put out is so for a reason: {} in {topic}, {why}", user.id);
        ears.truth.saw(what);
    }
}

impl World {
    /// What the members of a room were told last is what was decided, and all of them may be there.
    pub(crate) fn check_decisions(&self, topic: &str) {
        let facts = ledger_of(&self.hosts, topic).map(|of| of.facts(topic)).unwrap_or_default();
        let room = topic.strip_prefix("room:").expect("a room");
        let now_ms = self.latest_unix_ms;
        for (client, member) in self.members(topic) {
            let user = client.user();
            assert_eq!(
                member.settings, facts.settings,
                "what members were told of their room is the truth: client {} in {topic}",
                client.id
            );
            let standing = facts.standing(user.id);
            // What is over is over without a word.
            let is_over = |until: &Value| until.as_u64().is_some_and(|at| at > 0 && at <= now_ms);
            let mut you = member.you.clone();
            if is_over(&you["muted_until"]) {
                you["muted_until"] = Value::Null;
            }
            assert!(
                is_standing(&you, standing, now_ms),
                "what members were told of themselves is the truth: {you}, {standing:?} of client \
                 {} in {topic}",
                client.id
            );
            assert!(
                facts.level(user.id, user.level_in(room), now_ms) >= Level::Join,
                "nobody is where it may not be: client {} in {topic}",
                client.id
            );
        }
    }
}

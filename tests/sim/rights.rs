//! What was decided of rooms, as their homes gave it to the logs, and what follows from it for
//! somebody: worked out anew, from the page on the protocol.
//!
//! ```text
//!   versions   v0 ── v1 ───── v2 ─── v3          of a room: settings and standings
//!   moments    ───┴──┬────────┴──────┴──┬───>
//!                  asked              heard      what is answered was judged by v1, v2 or v3
//! ```
//!
//! A log hears of each decision in the moment in which it begins to hold. So what is answered can be
//! judged by what held at some time between question and answer, and what a log is given by what
//! holds then.
//!
//! What it does not model, and which test could notice: `mentions` of everybody and words that the
//! operator has listed (`room::rights_tests`), lists of users (`rooms::deciding_tests`).

use std::cell::Cell;
use std::collections::BTreeMap;

use chinwag::auth::level::{Level, NEVER_MS, Role, Standing};
use chinwag::base::time::Now;
use chinwag::link::ids::RoomKey;
use chinwag::link::log::{Append, Entry, What};
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
    /// Those that are not as by default.
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
    pub(crate) fn new(settings: Option<&str>, standings: BTreeMap<String, Standing>) -> Self {
        let settings = settings.map_or_else(|| json!({}), parsed);
        Self { settings, standings }
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

    /// What a user may do whose token allows so much.
    pub(crate) fn level(&self, user: &str, token: Level, now_ms: u64) -> Level {
        let Standing { role, muted_until_ms, banned_until_ms } = self.standing(user);
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

    fn decide(&mut self, what: What<'_>) -> bool {
        match what {
            What::Settings { settings, .. } => self.settings = parsed(settings),
            What::Standing { user, standing } => {
                self.standings.insert(user.to_owned(), standing);
            }
            What::Founded { owner, .. } => {
                self.standings.extend(owner.map(|owner| (owner.to_owned(), Standing::OWNER)));
            }
            What::Message(_) | What::Changed { .. } | What::Noted => return false,
        }
        true
    }
}

fn parsed(settings: &str) -> Value {
    serde_json::from_str(settings).expect("settings are JSON")
}

/// A time until which something holds, as it is told: 0 is for ever. None, if it is over.
pub(crate) fn told_until(until_ms: u64, now_ms: u64) -> Option<u64> {
    (until_ms > now_ms).then_some(if until_ms == NEVER_MS { 0 } else { until_ms })
}

/// What a room's log has been given.
#[derive(Clone, Debug, Default)]
struct Decided {
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
    /// The time that it is.
    pub(crate) now: Option<Now>,
}

impl Ledger {
    /// A room has a home again. What was decided of one that is not kept is forgotten.
    pub(crate) fn opened(&mut self, key: RoomKey, topic: &str, keeps: bool) {
        self.topics.insert(key.to_u64(), topic.to_owned());
        let of = self.rooms.entry(topic.to_owned()).or_default();
        of.is_open = true;
        of.speaks_again.clear();
        if !keeps && !of.versions.is_empty() {
            of.versions.push((moment(), Facts::default()));
        }
    }

    /// A room has none any more.
    pub(crate) fn closed(&mut self, key: RoomKey) {
        let topic = self.topics.remove(&key.to_u64());
        if let Some(of) = topic.and_then(|topic| self.rooms.get_mut(&topic)) {
            of.is_open = false;
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
        let Append { topic, entry: Entry { what, .. }, .. } = append;
        let facts = self.facts(topic);
        match what {
            What::Message(said) => {
                let Some((user, token)) = token_of(said.user, topic) else { return };
                let level = facts.level(user, token, now.unix_ms);
                assert!(
                    level >= Level::Speak,
                    "nobody speaks against what was decided: {user} in {topic} of {facts:?}"
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
                let of = self.rooms.get(*topic).and_then(|of| of.edited.get(offset));
                let edited = message.fate().edited.map(|edited| edited.at_ms);
                if let (Some(at_ms), true) = (edited, edited != of.copied()) {
                    check_edit(topic, &facts, (message.at_ms, at_ms), now);
                }
            }
            What::Founded { .. } | What::Settings { .. } | What::Standing { .. } | What::Noted => {}
        }
    }

    /// A log has taken an entry.
    pub(crate) fn took(&mut self, append: &Append<'_>) {
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
        let mut facts = self.facts(topic);
        if facts.decide(*what) {
            let of = self.rooms.entry((*topic).to_owned()).or_default();
            if of.versions.is_empty() {
                of.versions.push((0, Facts::default()));
            }
            if facts.slow_ms() == 0 {
                of.speaks_again.clear();
            }
            of.versions.push((moment(), facts));
        }
    }

    /// Whether there is something to know of a room.
    pub(crate) fn knows(&self, topic: &str) -> bool {
        self.rooms.contains_key(topic)
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

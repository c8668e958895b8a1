//! What clients do beside talking, and what a room may show of it: a message is edited, deleted,
//! pinned or reacted to, a user is let in, muted or banned, a room is about something else.
//!
//! Invariants: a message meets one kind of act, by its offset; an act says all that holds of its
//! target from then on. So of each target there is a list of states, and a room shows one of them:
//! the last one that was acked, or a later one.
//!
//! Deliberately absent: who asks, and how (`load`, and `tests/hostile/store_changes.rs`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Of so many pushes one is an act.
const PUSHES_PER_ACT: u64 = 4;

/// An act is about one of so many messages, which were acked last; and so many are pinned.
const LATE: usize = 8;

/// How many users are let in and put out.
const USERS: u64 = 5;

/// The room, as a target. A message is one by its offset, a user by its id.
pub(crate) const ROOM: &str = "room";

/// Of a message of which nothing became, or nothing is left.
pub(crate) const PLAIN: &str = "plain";

/// Of how many kinds messages are: each is edited, deleted, pinned or reacted to.
const KINDS: usize = 4;

/// Something that a client does.
pub(crate) struct Act {
    pub(crate) event: &'static str,
    pub(crate) payload: String,
    /// Of what: [`ROOM`] has the forms.
    pub(crate) target: String,
    /// What that is from then on.
    pub(crate) state: String,
}

/// The messages of a client that it does something about.
#[derive(Default)]
pub(crate) struct Said {
    /// By their kind.
    of: [Vec<u64>; KINDS],
    /// What was pinned, or reacted to, by their kind: the first one is the next not to be so.
    on: [VecDeque<u64>; KINDS],
}

impl Said {
    /// A message was acked.
    pub(crate) fn acked(&mut self, offset: u64) {
        self.of[usize::try_from(offset).unwrap() % KINDS].push(offset);
    }

    /// What its push with this number does, if that is no message.
    pub(crate) fn act(&mut self, number: u64) -> Option<Act> {
        if !number.is_multiple_of(PUSHES_PER_ACT) {
            return None;
        }
        let (kinds, turn) = (KINDS as u64 + 2, number / PUSHES_PER_ACT);
        let (kind, round) = (usize::try_from(turn % kinds).unwrap(), turn / kinds);
        match kind {
            KINDS => Some(stand(round)),
            _ if kind > KINDS => Some(name(number)),
            _ => self.change(kind, number, round),
        }
    }

    fn change(&mut self, kind: usize, number: u64, round: u64) -> Option<Act> {
        let (said, is_on) = (&mut self.of[kind], &mut self.on[kind]);
        let back = usize::try_from(round).unwrap() % LATE + 1;
        let at = said.len().checked_sub(back)?;
        let on = is_on.len() <= LATE;
        let offset = match kind {
            0 => said[at],
            1 => said.remove(at),
            _ if on => {
                is_on.push_back(said[at]);
                said[at]
            }
            _ => is_on.pop_front()?,
        };
        let edited = format!("edited {number}");
        let (event, rest, state) = match kind {
            0 => ("msg_edit", format!(r#","body":"{edited}""#), &*edited),
            1 => ("msg_delete", String::new(), "deleted"),
            2 => ("msg_pin", format!(r#","on":{on}"#), if on { "pinned" } else { PLAIN }),
            _ => {
                let rest = format!(r#","emoji":"+","on":{on}"#);
                ("msg_react", rest, if on { "reacted" } else { PLAIN })
            }
        };
        let payload = format!(r#"{{"offset":{offset}{rest}}}"#);
        Some(Act { event, payload, target: offset.to_string(), state: state.to_owned() })
    }
}

/// How a user stands is decided: its id tells that it is one of these.
fn stand(round: u64) -> Act {
    let (is_member, is_muted) = (round.is_multiple_of(2), round.is_multiple_of(3));
    let is_banned = round % 5 < 3;
    let role = if is_member { "\"member\"" } else { "null" };
    // For ever, or not.
    let [muted_s, banned_s] = [is_muted, is_banned].map(|on| if on { -1 } else { 0 });
    let target = format!("user-{}", round % USERS);
    let payload =
        format!(r#"{{"user":"{target}","role":{role},"muted_s":{muted_s},"banned_s":{banned_s}}}"#);
    let state = standing(is_member, is_muted, is_banned);
    Act { event: "room_member", payload, target, state }
}

/// The room is about something else, of which its audit trail tells.
fn name(number: u64) -> Act {
    let state = topic(number);
    let payload = format!(r#"{{"topic":"{state}"}}"#);
    Act { event: "room_set", payload, target: ROOM.to_owned(), state }
}

/// What a room is about from a push with this number on.
pub(crate) fn topic(number: u64) -> String {
    format!("topic {number}")
}

/// The state of a message that was this when it was said, by what it says and what became of it.
pub(crate) fn state<'a>(said: &str, body: &'a str, fates: &[&'a str]) -> &'a str {
    match fates {
        [] if body == said => PLAIN,
        [] => body,
        [fate @ "deleted"] if body.is_empty() => fate,
        [fate @ ("pinned" | "reacted")] if body == said => fate,
        _ => "of no kind",
    }
}

/// The state of a user.
pub(crate) fn standing(is_member: bool, is_muted: bool, is_banned: bool) -> String {
    format!("member {is_member}, muted {is_muted}, banned {is_banned}")
}

/// What was asked for of one target, in this order.
#[derive(Clone, Debug)]
struct Course {
    /// The first one is what it was before.
    states: Vec<String>,
    /// Which of them was acked last.
    acked: usize,
}

/// What was asked for of each target of a room, and what of it was acked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Courses {
    of: BTreeMap<String, Course>,
    /// By the number of the push: its target, and which of the states.
    pushed: BTreeMap<u64, (String, usize)>,
    /// Which pushes were acked.
    acked: BTreeSet<u64>,
}

impl Courses {
    /// Something is asked for.
    pub(crate) fn ask(&mut self, number: u64, target: &str, state: &str) {
        let course = self.of.entry(target.to_owned()).or_insert_with(|| {
            let before = match target.parse::<u64>() {
                Ok(_) => PLAIN.to_owned(),
                Err(_) if target == ROOM => String::new(),
                Err(_) => standing(false, false, false),
            };
            Course { states: vec![before], acked: 0 }
        });
        self.pushed.insert(number, (target.to_owned(), course.states.len()));
        course.states.push(state.to_owned());
    }

    /// It was acked: nothing from before may come back. Returns of what, and the state.
    pub(crate) fn ack(&mut self, number: u64) -> (&str, &str) {
        let (target, at) = &self.pushed[&number];
        let course = self.of.get_mut(target).expect("it was asked for");
        course.acked = course.acked.max(*at);
        self.acked.insert(number);
        (target, &course.states[*at])
    }

    /// As of when these were acked, with what was asked for by now.
    pub(crate) fn asked_since(&self, now: &Self) -> Self {
        let mut then = now.clone();
        for (target, course) in &mut then.of {
            course.acked = self.of.get(target).map_or(0, |before| before.acked);
        }
        then.acked.clone_from(&self.acked);
        then
    }

    /// The same, with what was taken away by now: messages that were deleted, and how users stand.
    pub(crate) fn taken_away_since(&self, now: &Self) -> Self {
        let mut then = self.asked_since(now);
        for (target, course) in &mut then.of {
            let acked = now.of[target].acked;
            let taken = match target.parse::<u64>() {
                Ok(_) => course.states[..=acked].iter().rposition(|state| state == "deleted"),
                Err(_) => (target != ROOM).then_some(acked),
            };
            course.acked = course.acked.max(taken.unwrap_or_default());
        }
        then
    }

    /// What is decided of: users, and the room.
    pub(crate) fn decided(&self) -> impl Iterator<Item = &str> {
        self.of.keys().map(String::as_str).filter(|target| target.parse::<u64>().is_err())
    }

    /// The numbers of what was acked of a target.
    pub(crate) fn acked(&self, target: &str) -> impl Iterator<Item = u64> {
        let acked = self.acked.iter().filter(move |number| self.pushed[number].0 == target);
        acked.copied()
    }

    /// Whether a target may be found in this state. The error says what is lost, or altered.
    pub(crate) fn check(&self, target: &str, found: &str) -> Result<(), String> {
        let course = self.of.get(target);
        let allowed = course.map_or(&[][..], |course| &course.states[course.acked..]);
        match allowed.first() {
            _ if allowed.iter().any(|state| state == found) => Ok(()),
            None if found == PLAIN => Ok(()),
            None => Err(format!("{target} is {found}, and nobody asked for anything")),
            Some(acked) => {
                Err(format!("{target}: {acked} was acked and is not there, but {found}"))
            }
        }
    }
}

//! What clients were told of what became of messages, of users and of rooms; and whether a room
//! shows it. Beside `kept`, which asks for the messages.
//!
//! The notes, each of one room: `ask NUMBER TARGET STATE` before a push, `did NUMBER EPOCH CHANGE`
//! when it is acked (a change of 0: it has none), `told EPOCH CHANGE OFFSET` of what members hear.

use std::collections::{BTreeMap, BTreeSet};

use chinwag::auth::level::{Role, Standing};
use chinwag::link::log::{Marks, Opened};
use chinwag::link::said::MessageText;
use serde_json::Value;

use crate::acts::{Courses, ROOM, standing, state, topic};

/// When the store is looked at: see `kept`.
const NOW_MS: u64 = 1_000;

/// A change that was acked.
#[derive(Clone, Debug)]
struct Acked {
    epoch: u64,
    offset: u64,
    state: String,
}

/// What the clients of one room were told so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changed {
    courses: Courses,
    /// By the change.
    acked: BTreeMap<u64, Acked>,
    /// By epoch and change: of which message.
    told: BTreeMap<(u64, u64), u64>,
}

impl Changed {
    /// How many changes were acked.
    pub(crate) fn acked(&self) -> usize {
        self.acked.len()
    }

    /// What was acked by then, and asked for or told by now.
    pub(crate) fn told_since(&self, now: &Self) -> Self {
        let courses = self.courses.asked_since(&now.courses);
        Self { courses, told: now.told.clone(), ..self.clone() }
    }

    /// The same, and what was taken away by now.
    pub(crate) fn taken_away_since(&self, now: &Self) -> Self {
        let courses = self.courses.taken_away_since(&now.courses);
        Self { courses, ..self.told_since(now) }
    }

    /// Takes a client's note.
    pub(crate) fn note(&mut self, what: &str, rest: &str) {
        let mut parts = rest.splitn(3, ' ');
        let mut part = || parts.next().unwrap();
        let epoch = |part: &str| u64::from_str_radix(part, 16).unwrap();
        match what {
            "ask" => self.courses.ask(part().parse().unwrap(), part(), part()),
            "did" => {
                let number = part().parse().unwrap();
                let (epoch, change) = (epoch(part()), part().parse().unwrap());
                self.ack(number, epoch, change);
            }
            _ => {
                let (epoch, change) = (epoch(part()), part().parse().unwrap());
                let offset = part().parse().unwrap();
                let before = self.told.insert((epoch, change), offset);
                assert!(before.is_none_or(|of| of == offset), "change {change} is given twice");
            }
        }
    }

    fn ack(&mut self, number: u64, epoch: u64, change: u64) {
        let (target, state) = self.courses.ack(number);
        if change > 0 {
            let (offset, state) = (target.parse().unwrap(), state.to_owned());
            let before = self.acked.insert(change, Acked { epoch, offset, state });
            // Whoever asks for what is so is told the change that made it so.
            assert!(before.is_none_or(|of| of.offset == offset), "change {change} is given twice");
        }
    }

    /// Whether a room shows all of it. `said` is what its messages said at first; `kept` tells up
    /// to where an epoch is true.
    pub(crate) fn check(
        &self,
        opened: &Opened,
        said: &[String],
        kept: impl Fn(u64) -> Option<Marks>,
    ) -> Result<(), String> {
        let top = opened.top;
        let floor = top.offset - opened.tail.len() as u64;
        // What is not there is lost with its message, of which `kept` tells.
        let row = |offset: u64| {
            let index = usize::try_from(offset.checked_sub(floor + 1)?).unwrap();
            Some((&**said.get(index)?, opened.tail.get(index)?))
        };
        let mut changes = BTreeSet::new();
        for ((offset, message), said) in (floor + 1..).zip(&opened.tail).zip(said) {
            self.courses.check(&offset.to_string(), shown(said, message))?;
            let change = message.fate().change;
            if change > top.change || change > 0 && !changes.insert(change) {
                return Err(format!("{offset} has change {change} of {}", top.change));
            }
            if (change == 0) != (message.fate.is_none()) {
                return Err(format!("{offset} has changed without a number: {:?}", message.fate()));
            }
        }
        for (change, Acked { epoch, offset, state }) in &self.acked {
            if top.change < *change {
                return Err(format!("change {change} was acked and is not there"));
            }
            if kept(*epoch).is_none_or(|kept| kept.change < *change) {
                return Err(format!("a cursor at {epoch:x} and change {change} is lost"));
            }
            let Some((said, message)) = row(*offset) else { continue };
            let now = message.fate().change;
            if now < *change || now == *change && shown(said, message) != state {
                return Err(format!("change {change} of {offset} was acked and is not there"));
            }
        }
        for ((epoch, change), offset) in &self.told {
            let is_promised = kept(*epoch).is_some_and(|kept| kept.change >= *change);
            let is_lost = |(_, message): (&str, &MessageText)| message.fate().change < *change;
            if is_promised && row(*offset).is_some_and(is_lost) {
                return Err(format!("change {change} of {offset} was told, and is not there"));
            }
            // In the epoch that goes on, nothing that was told may be missing.
            if *epoch == opened.epoch && *change > top.change {
                return Err(format!("change {change} was told, is not there, and none is told"));
            }
        }
        self.check_decisions(opened)
    }

    fn check_decisions(&self, opened: &Opened) -> Result<(), String> {
        let mut standings: BTreeMap<&str, Standing> = BTreeMap::new();
        standings.extend(opened.standings.iter());
        for target in self.courses.decided() {
            let found = if target == ROOM {
                let settings = opened.settings.as_deref().unwrap_or("{}");
                let settings: Value = serde_json::from_str(settings).map_err(|e| e.to_string())?;
                settings["topic"].as_str().unwrap_or_default().to_owned()
            } else {
                let of = standings.remove(target).unwrap_or_default();
                standing(of.role.is_some(), of.is_muted(NOW_MS), of.is_banned(NOW_MS))
            };
            self.courses.check(target, &found)?;
        }
        let is_owner = |standing: &Standing| standing.role == Some(Role::Owner);
        if self.courses.decided().next().is_some()
            && standings.values().filter(|of| is_owner(of)).count() != 1
        {
            return Err(format!("its owner was acked and is not there, but {standings:?}"));
        }
        Ok(())
    }

    /// Whether the audit trail tells of all that was acked, once and without a gap.
    pub(crate) fn check_audit(&self, page: &str) -> Result<(), String> {
        let page: Value = serde_json::from_str(page).map_err(|error| error.to_string())?;
        let lines = page["acts"].as_array().ok_or("it has no lines")?;
        let numbers = lines.iter().rev().map(|line| line["n"].as_u64().unwrap_or_default());
        if !numbers.eq(1..=lines.len() as u64) {
            return Err(format!("the audit trail has gaps: {page}"));
        }
        let topics: Vec<&str> =
            lines.iter().filter_map(|line| line["set"]["topic"].as_str()).collect();
        let is_lost = |number: &u64| {
            let topic = topic(*number);
            topics.iter().filter(|found| **found == topic).count() != 1
        };
        match self.courses.acked(ROOM).find(is_lost) {
            None => Ok(()),
            Some(number) => {
                Err(format!("{number}, in the audit trail, was acked and is not there"))
            }
        }
    }
}

/// The state of a message, as [`Courses`] know it.
fn shown<'a>(said: &str, message: &'a MessageText) -> &'a str {
    let fate = message.fate();
    let mut fates = Vec::new();
    fates.extend(fate.deleted.map(|_| "deleted"));
    fates.extend(fate.pinned.map(|_| "pinned"));
    fates.extend(fate.reacted.map(|_| "reacted"));
    state(said, message.said.body.trim_matches('"'), &fates)
}

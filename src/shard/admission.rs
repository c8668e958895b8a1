//! Who comes in, at a pace: upgrades and joins that are more than a turn should do wait in one line, and the next turns go on with it.
//!
//! After a break thousands come back at once. Each upgrade and each join is little work; all of them together are seconds of it, in which
//! those who are in would hear nothing, not even the answer to a heartbeat. So a turn does [`Limits::admissions_per_turn`] of it, reckoned
//! in work and not by a clock, and what is left waits in the order in which it came:
//!
//! - an upgrade, or the first poll of a session, as its connection, parked, with the request held as it came. It is let in after
//!   [`Limits::admission_wait_ms`] at the latest, whatever the budget: a client that is refused comes back, at a higher price, and a stock
//!   one may fall back to long polling for good. How many can be late at once is bounded, for accepting has a budget of its own;
//! - a join as the record that it came in, at the room's home. On its connection's side it is a join that the home has not answered yet,
//!   nothing else: heartbeats and all that is said in other topics pass it by, as in Phoenix, and only its own topic waits. After
//!   [`Limits::admission_wait_ms`] it is answered `busy`: clients try again by themselves, later and later, and one that is answered when it
//!   has given up is work for nothing.
//!
//! Invariants: whoever waits is called once; a connection that is parked before its upgrade is in the line.
//!
//! [`Limits::admissions_per_turn`]: crate::limits::Limits::admissions_per_turn
//! [`Limits::admission_wait_ms`]: crate::limits::Limits::admission_wait_ms

use std::collections::VecDeque;

use super::conn::{Conn, PARKED, Stage};
use super::message::{self, Field, Received, ToHome};
use super::{Io, Shard, Turn};
use crate::base::arena::Key;
use crate::limits::{ADMISSION_LINE_BYTES_MAX, ADMISSION_WORK_BYTES};

/// The line, and what is left of the turn's budget.
#[derive(Debug)]
pub(super) struct Admission {
    line: VecDeque<Waiting>,
    /// Of joins.
    line_bytes: usize,
    work_per_turn: u32,
    work_left: u32,
    /// Whether whoever asks next was called from the line.
    is_called: bool,
}

#[derive(Debug)]
struct Waiting {
    since_ms: u64,
    what: Entrant,
}

#[derive(Debug)]
enum Entrant {
    Upgrade(Key<Conn>),
    Join { shard: u16, record: Box<[u8]> },
}

impl Admission {
    pub(super) fn new(work_per_turn: u32) -> Self {
        let line = VecDeque::new();
        Self { line, line_bytes: 0, work_per_turn, work_left: work_per_turn, is_called: false }
    }

    /// Whether one more may come in now: if there is some of the budget left, and nobody waits who was first.
    pub(super) fn admits(&mut self) -> bool {
        std::mem::take(&mut self.is_called) || self.line.is_empty() && self.work_left > 0
    }

    /// Notes that somebody came in, and with how many bytes it was told so.
    pub(super) fn spend(&mut self, bytes: usize) {
        let work = 1 + u32::try_from(bytes / ADMISSION_WORK_BYTES).unwrap_or(u32::MAX - 1);
        self.work_left = self.work_left.saturating_sub(work);
    }

    /// How many bytes those have who wait.
    pub(super) fn line_bytes(&self) -> usize {
        self.line_bytes
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.line.len()
    }

    /// Lets go of the joins of a shard that has begun anew.
    pub(super) fn forget(&mut self, shard: u16) {
        self.line.retain(|waiting| !matches!(waiting.what, Entrant::Join { shard: of, .. } if of == shard));
        self.line_bytes = self.line.iter().map(Waiting::bytes).sum();
    }

    /// The next one whose turn it is, and whether it has waited for as long as anybody may.
    fn call(&mut self, now_ms: u64, wait_ms: u64) -> Option<(Entrant, bool)> {
        let is_late = now_ms >= self.line.front()?.since_ms + wait_ms;
        if self.work_left == 0 && !is_late {
            return None;
        }
        let first = self.line.pop_front()?;
        self.line_bytes -= first.bytes();
        Some((first.what, is_late))
    }
}

impl Waiting {
    fn bytes(&self) -> usize {
        match &self.what {
            Entrant::Upgrade(_) => 0,
            Entrant::Join { record, .. } => record.len(),
        }
    }
}

impl Shard {
    /// Has an upgrade wait, and its connection with it. The request must not be taken out of what was received.
    pub(super) fn line_up<I: Io>(&mut self, turn: &Turn<'_, I>, key: Key<Conn>) {
        self.flags[key.index() as usize] |= PARKED;
        self.admission.line.push_back(Waiting { since_ms: turn.now.mono_ms, what: Entrant::Upgrade(key) });
        self.metrics.parked_upgrades += 1;
    }

    /// Has a join wait. One that takes the place of an older one always may: until then its room has that.
    pub(super) fn line_up_join<I: Io>(&mut self, turn: &mut Turn<'_, I>, shard: u16, message: ToHome<'_>) {
        let is_full = self.admission.line_bytes > ADMISSION_LINE_BYTES_MAX;
        if is_full && matches!(message, ToHome::Join { replaces: None, .. }) {
            return self.home_refuse(turn, shard, message);
        }
        let mut record = Vec::new();
        message.put(&mut record);
        self.admission.line_bytes += record.len();
        let what = Entrant::Join { shard, record: record.into() };
        self.admission.line.push_back(Waiting { since_ms: turn.now.mono_ms, what });
        self.metrics.parked_joins += 1;
    }

    /// Lets in as many of those who wait as this turn may. What it does not use is for those who come before the next.
    pub(super) fn admit_waiting<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        self.admission.work_left = self.admission.work_per_turn;
        let wait_ms = self.settings.limits.admission_wait_ms;
        while let Some((entrant, is_late)) = self.admission.call(turn.now.mono_ms, wait_ms) {
            match entrant {
                Entrant::Upgrade(key) => {
                    self.admission.is_called = true;
                    self.go_on(turn, key);
                    self.admission.is_called = false;
                }
                Entrant::Join { shard, record } => {
                    let Received::ToHome(join @ ToHome::Join { replaces, .. }) = message::read(&record)
                    else {
                        unreachable!("only joins are put in line")
                    };
                    if is_late && replaces.is_none() || self.is_too_much(turn, shard, &join) {
                        self.home_refuse(turn, shard, join);
                    } else {
                        self.home_join(turn, shard, join);
                    }
                }
            }
        }
    }

    /// Says who must be in the line. For [`Shard::check_invariants`].
    pub(super) fn check_admission(&self) {
        let upgrades = self.admission.line.iter().filter_map(|waiting| match waiting.what {
            Entrant::Upgrade(key) => Some(key),
            Entrant::Join { .. } => None,
        });
        for (key, _) in self.conns.iter() {
            let is_parked = self.flags[key.index() as usize] & PARKED != 0;
            let waits = upgrades.clone().filter(|waiting| *waiting == key).count();
            if is_parked && self.stage_of(key) == Stage::Http {
                assert!(waits == 1 || self.unparked.contains(&key), "whoever is parked is called: {key:?}");
            }
        }
        let bytes: usize = self.admission.line.iter().map(Waiting::bytes).sum();
        assert_eq!(self.admission.line_bytes, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT_MS: u64 = 100;

    fn wait(admission: &mut Admission, since_ms: u64) {
        admission.line.push_back(Waiting { since_ms, what: Entrant::Upgrade(Key::NONE) });
    }

    #[test]
    fn a_turn_does_its_budget_and_not_one_more() {
        let mut admission = Admission::new(3);
        for _ in 0..3 {
            assert!(admission.admits());
            admission.spend(0);
        }
        assert!(!admission.admits());
        admission.work_left = 3;
        assert!(admission.admits());
        admission.spend(2 * ADMISSION_WORK_BYTES - 1);
        assert!(admission.admits(), "two of work");
        admission.spend(usize::MAX);
        assert!(!admission.admits());
    }

    #[test]
    fn nobody_overtakes_those_who_wait() {
        let mut admission = Admission::new(1);
        wait(&mut admission, 0);
        assert!(!admission.admits(), "though there is some of the budget left");
        assert!(admission.call(1, WAIT_MS).is_some());
        admission.is_called = true;
        assert!(admission.admits(), "who was called");
        admission.spend(0);
        assert!(!admission.admits(), "and not whoever comes along with it");
    }

    #[test]
    fn who_has_waited_long_enough_is_called_without_a_budget() {
        let mut admission = Admission::new(1);
        wait(&mut admission, 10);
        wait(&mut admission, 11);
        admission.spend(0);
        assert!(admission.call(9 + WAIT_MS, WAIT_MS).is_none());
        assert!(matches!(admission.call(10 + WAIT_MS, WAIT_MS), Some((_, true))));
        assert!(admission.call(10 + WAIT_MS, WAIT_MS).is_none());
        assert_eq!(admission.waiting(), 1);
    }

    #[test]
    fn joins_of_a_shard_that_begins_anew_are_let_go() {
        let mut admission = Admission::new(1);
        for shard in [1, 2, 1] {
            let what = Entrant::Join { shard, record: vec![0; 10].into() };
            admission.line.push_back(Waiting { since_ms: 0, what });
        }
        wait(&mut admission, 0);
        admission.forget(1);
        assert_eq!((admission.waiting(), admission.line.iter().map(Waiting::bytes).sum::<usize>()), (2, 10));
    }
}

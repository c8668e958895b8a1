//! The pace of upgrades and joins: those that exceed a turn's budget wait in one line, and the next
//! turns go on with it.
//!
//! After a break thousands of clients come back at once. One upgrade or join is little work, but
//! all together are seconds of it, in which present members would hear nothing, not even the answer
//! to a heartbeat. So a turn does [`Limits::admissions_per_turn`], counted in work and not by a
//! clock, and the rest waits in the order in which it came:
//!
//! - an upgrade, or the first poll of a session, waits as its parked connection, with the request
//!   held as it came. It is let in after [`Limits::admission_wait_ms`] at the latest, whatever the
//!   budget: a refused client comes back at a higher price, and a stock one may fall back to long
//!   polling for good. How many can be late at once is bounded, since accepting has a budget of its
//!   own;
//! - a join waits as its record, at the room's home. For its connection it is a join without an
//!   answer yet: heartbeats and other topics go on, as in Phoenix, and only its own topic waits.
//!   After [`Limits::admission_wait_ms`] it is answered `busy`: clients try again by themselves at
//!   growing intervals, and an answer to a client that has given up is wasted work.
//!
//! The answer to a join from another shard holds all that was missed, and many such answers are
//! more than the way there may hold. So when that way is filling, joins of that shard step aside,
//! and come in as it clears, of several shards in the order in which they came. A shard that reads
//! slowly delays no other. The bytes and time that joins wait aside are bounded as in the line.
//!
//! Invariants: each entrant is called once; a connection that is parked before its upgrade is in
//! the line; the joins of one shard come in in their order.
//!
//! Called by: `shard`, and `receive` and `route` with new entrants. Calls: `rooms`.
//!
//! [`Limits::admissions_per_turn`]: crate::limits::Limits::admissions_per_turn
//! [`Limits::admission_wait_ms`]: crate::limits::Limits::admission_wait_ms

use std::collections::VecDeque;

use super::{Shard, Turn};
use crate::base::slack::Slack;
use crate::conn::Stage;
use crate::limits::{ADMISSION_WORK_BYTES, MESH_PAUSE_BYTES};
use crate::link::field::Field;
use crate::link::ids::ConnKey;
use crate::link::io::Io;
use crate::link::record::{self, Received, ToHome};

/// The line, and the rest of the turn's budget.
#[derive(Debug)]
pub(super) struct Admission {
    line: VecDeque<Waiting>,
    /// By shard: joins that were called while the way there was filling.
    aside: Vec<VecDeque<Waiting>>,
    /// The length of all join records, in the line and aside.
    line_bytes: usize,
    work_per_turn: u32,
    work_left: u32,
    /// Whether the next question of [`Admission::admits`] is of an upgrade called from the line.
    is_called: bool,
}

#[derive(Debug)]
struct Waiting {
    since_ms: u64,
    what: Entrant,
}

#[derive(Debug)]
enum Entrant {
    Upgrade(ConnKey),
    Join { shard: u16, record: Box<[u8]> },
}

impl Admission {
    pub(super) fn new(work_per_turn: u32, shards: u16) -> Self {
        Self {
            line: VecDeque::new(),
            aside: (0..shards).map(|_| VecDeque::new()).collect(),
            line_bytes: 0,
            work_per_turn,
            work_left: work_per_turn,
            is_called: false,
        }
    }

    /// Whether one more upgrade may come in now: the line has called it, or the line is empty and
    /// the budget is not used up.
    pub(super) fn admits(&mut self) -> bool {
        std::mem::take(&mut self.is_called) || self.line.is_empty() && self.work_left > 0
    }

    /// Whether one more join of a shard may come in now: also, none of that shard may stand aside.
    pub(super) fn admits_join(&mut self, shard: u16) -> bool {
        self.aside[usize::from(shard)].is_empty() && self.admits()
    }

    /// Spends from the budget for an entrant that came in, with an answer of `bytes`.
    pub(super) fn spend(&mut self, bytes: usize) {
        let work = 1 + u32::try_from(bytes / ADMISSION_WORK_BYTES).unwrap_or(u32::MAX - 1);
        self.work_left = self.work_left.saturating_sub(work);
    }

    /// The length of all joins that wait, in bytes.
    pub(super) fn line_bytes(&self) -> usize {
        self.line_bytes
    }

    /// How many entrants wait.
    pub(super) fn waiting(&self) -> usize {
        self.line.len() + self.aside.iter().map(VecDeque::len).sum::<usize>()
    }

    /// Whether the next turn may have an entrant to let in. Joins aside count only if the budget
    /// held them up: the shard at the other end of their way wakes this one once it is clear.
    pub(super) fn has_more(&self) -> bool {
        !self.line.is_empty() || self.work_left == 0 && self.waiting() > 0
    }

    /// When the first join aside will be late, in milliseconds of monotonic time.
    pub(super) fn late_ms(&self, wait_ms: u64) -> Option<u64> {
        self.firsts_aside().map(|(since_ms, _)| since_ms + wait_ms).min()
    }

    /// For each shard with joins aside: since when the first one waits, and the shard.
    fn firsts_aside(&self) -> impl Iterator<Item = (u64, u16)> {
        (0..).zip(&self.aside).filter_map(|(shard, aside)| Some((aside.front()?.since_ms, shard)))
    }

    /// Gives back memory that many entrants at once needed.
    pub(super) fn trim(&mut self, kept: usize) {
        self.line.trim(kept);
        self.aside.iter_mut().for_each(|aside| aside.trim(kept));
    }

    /// Forgets the joins of a shard that has begun anew.
    pub(super) fn forget(&mut self, shard: u16) {
        self.line.retain(
            |waiting| !matches!(waiting.what, Entrant::Join { shard: of, .. } if of == shard),
        );
        self.aside[usize::from(shard)].clear();
        self.line_bytes = self.line_bytes_counted();
    }

    fn line_bytes_counted(&self) -> usize {
        self.line.iter().chain(self.aside.iter().flatten()).map(Waiting::bytes).sum()
    }

    /// Takes the next entrant that may come in, and whether it is late: it has waited for
    /// `wait_ms`. `is_filling` says whether the way to a shard is filling.
    fn call(
        &mut self,
        now_ms: u64,
        wait_ms: u64,
        is_filling: impl Fn(u16) -> bool,
    ) -> Option<(Entrant, bool)> {
        let is_late = |waiting: &Waiting| now_ms >= waiting.since_ms + wait_ms;
        let has_budget = self.work_left > 0;
        // The one that came first, so that no shard keeps another from the budget.
        let may =
            |since_ms: u64, shard| now_ms >= since_ms + wait_ms || has_budget && !is_filling(shard);
        let next = self.firsts_aside().filter(|(since_ms, shard)| may(*since_ms, *shard)).min();
        if let Some(first) = next.and_then(|(_, shard)| self.aside[usize::from(shard)].pop_front())
        {
            self.line_bytes -= first.bytes();
            let is_late = is_late(&first);
            return Some((first.what, is_late));
        }
        while let Some(first) = self.line.pop_front_if(|first| has_budget || is_late(first)) {
            let is_late = is_late(&first);
            if let Entrant::Join { shard, .. } = first.what {
                let aside = &mut self.aside[usize::from(shard)];
                if !is_late && (is_filling(shard) || !aside.is_empty()) {
                    aside.push_back(first);
                    continue;
                }
            }
            self.line_bytes -= first.bytes();
            return Some((first.what, is_late));
        }
        None
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

impl Admission {
    /// Puts an upgrade in line. Its request must stay in the input of the connection.
    pub(super) fn line_up(&mut self, now_ms: u64, key: ConnKey) {
        self.line.push_back(Waiting { since_ms: now_ms, what: Entrant::Upgrade(key) });
    }

    /// Whether the upgrade of a connection waits.
    fn has(&self, key: ConnKey) -> bool {
        let is_it = |waiting: &&Waiting| matches!(waiting.what, Entrant::Upgrade(of) if of == key);
        self.line.iter().filter(is_it).count() == 1
    }
}

impl Shard {
    /// Puts a join in line, or refuses it if the line is full. One that replaces an older
    /// membership is never refused, since the room has that one until then.
    pub(super) fn line_up_join<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        shard: u16,
        message: ToHome<'_>,
    ) {
        let is_full = self.admission.line_bytes > self.common.settings.admission_line_bytes;
        if is_full && matches!(message, ToHome::Join { replaces: None, .. }) {
            let cx = &mut self.common.cx(turn);
            return self.rooms.refuse(cx, &mut self.members, shard, message);
        }
        let record = message.into_record();
        self.admission.line_bytes += record.len();
        let what = Entrant::Join { shard, record };
        self.admission.line.push_back(Waiting { since_ms: turn.now.mono_ms, what });
        self.common.metrics.parked_joins += 1;
    }

    /// Lets in as many entrants as the budget of this turn allows. The rest of the budget is for
    /// those that arrive before the next turn.
    pub(super) fn admit_waiting<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        self.admission.work_left = self.admission.work_per_turn;
        self.let_in_awaiting(turn);
        let wait_ms = self.common.settings.limits.admission_wait_ms;
        loop {
            let is_filling = |shard| turn.io.waiting_bytes(shard) > MESH_PAUSE_BYTES;
            let called = self.admission.call(turn.now.mono_ms, wait_ms, is_filling);
            let Some((entrant, is_late)) = called else { return };
            match entrant {
                Entrant::Upgrade(key) => {
                    self.admission.is_called = true;
                    self.go_on(turn, key);
                    self.admission.is_called = false;
                }
                Entrant::Join { shard, record } => {
                    let Received::ToHome(join @ ToHome::Join { replaces, .. }) =
                        record::read(&record)
                    else {
                        unreachable!("only joins are put in line")
                    };
                    if is_late && replaces.is_none() {
                        let cx = &mut self.common.cx(turn);
                        self.rooms.refuse(cx, &mut self.members, shard, join);
                    } else {
                        self.join_room(turn, shard, join);
                    }
                    self.relay(turn);
                }
            }
        }
    }

    /// Lets in joins whose room has been loaded: they came before those in the line.
    fn let_in_awaiting<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        self.rooms.unblock_awaiting();
        while self.admission.work_left > 0
            && let Some(bytes) =
                self.rooms.let_in_awaiting(&mut self.common.cx(turn), &mut self.members)
        {
            self.admission.spend(bytes);
            self.relay(turn);
        }
    }

    /// Panics if a connection that is parked before its upgrade is not in the line.
    pub(super) fn check_admission(&self) {
        let conns = &self.members.conns;
        for key in conns.keys() {
            if conns.flags(key.index()).is_parked() && conns.stage(key) == Stage::Http {
                let has_waker = self.admission.has(key) || conns.has_waker(key);
                assert!(has_waker, "something lets a parked connection go on: {key:?}");
            }
        }
        assert_eq!(self.admission.line_bytes, self.admission.line_bytes_counted());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT_MS: u64 = 100;

    fn wait(admission: &mut Admission, since_ms: u64) {
        admission.line.push_back(Waiting { since_ms, what: Entrant::Upgrade(ConnKey::NONE) });
    }

    #[test]
    fn a_turn_does_its_budget_and_not_one_more() {
        let mut admission = Admission::new(3, 1);
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
        let mut admission = Admission::new(1, 1);
        wait(&mut admission, 0);
        assert!(!admission.admits(), "though there is some of the budget left");
        assert!(admission.call(1, WAIT_MS, |_| false).is_some());
        admission.is_called = true;
        assert!(admission.admits(), "who was called");
        admission.spend(0);
        assert!(!admission.admits(), "and not whoever comes along with it");
    }

    #[test]
    fn who_has_waited_long_enough_is_called_without_a_budget() {
        let mut admission = Admission::new(1, 1);
        wait(&mut admission, 10);
        wait(&mut admission, 11);
        admission.spend(0);
        assert!(admission.call(9 + WAIT_MS, WAIT_MS, |_| false).is_none());
        assert!(matches!(admission.call(10 + WAIT_MS, WAIT_MS, |_| false), Some((_, true))));
        assert!(admission.call(10 + WAIT_MS, WAIT_MS, |_| false).is_none());
        assert_eq!(admission.waiting(), 1);
    }

    /// A join from a shard, told apart by how long its record is.
    fn wait_to_join(admission: &mut Admission, since_ms: u64, shard: u16, bytes: usize) {
        let what = Entrant::Join { shard, record: vec![0; bytes].into() };
        admission.line.push_back(Waiting { since_ms, what });
        admission.line_bytes += bytes;
    }

    /// All who are called, none of whom costs anything: the bytes of each record, 0 for an upgrade,
    /// and whether it is late.
    fn called(
        admission: &mut Admission,
        now_ms: u64,
        is_filling: impl Fn(u16) -> bool,
    ) -> Vec<(usize, bool)> {
        let next = || {
            let (what, is_late) = admission.call(now_ms, WAIT_MS, &is_filling)?;
            Some((Waiting { since_ms: 0, what }.bytes(), is_late))
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn joins_whose_way_is_filling_step_aside_and_keep_their_order() {
        let mut admission = Admission::new(1, 3);
        for (shard, bytes) in [(1, 10), (2, 20), (1, 11)] {
            wait_to_join(&mut admission, 0, shard, bytes);
        }
        wait(&mut admission, 0);
        assert_eq!(called(&mut admission, 1, |shard| shard == 1), [(20, false), (0, false)]);
        assert_eq!((admission.waiting(), admission.line_bytes), (2, 21));
        assert!(admission.admits() && admission.admits_join(2), "nobody else waits for them");
        assert!(!admission.admits_join(1) && !admission.has_more(), "they wait for the way");
        wait_to_join(&mut admission, 1, 1, 12);
        assert!(admission.has_more());
        assert_eq!(called(&mut admission, 2, |_| false), [(10, false), (11, false), (12, false)]);
        assert_eq!((admission.waiting(), admission.line_bytes), (0, 0));
    }

    #[test]
    fn of_several_shards_whose_ways_have_cleared_the_join_that_came_first_is_first() {
        let mut admission = Admission::new(1, 3);
        for (since_ms, shard, bytes) in [(1, 2, 10), (2, 1, 20), (3, 2, 11), (4, 1, 21)] {
            wait_to_join(&mut admission, since_ms, shard, bytes);
        }
        assert_eq!(called(&mut admission, 5, |_| true), []);
        assert_eq!(admission.late_ms(WAIT_MS), Some(1 + WAIT_MS));
        assert_eq!(
            called(&mut admission, 5, |_| false),
            [(10, false), (20, false), (11, false), (21, false)]
        );
        assert_eq!(admission.late_ms(WAIT_MS), None);
    }

    #[test]
    fn who_comes_when_the_way_is_clear_does_not_overtake_those_aside() {
        let mut admission = Admission::new(1, 2);
        for bytes in [10, 11] {
            wait_to_join(&mut admission, 0, 1, bytes);
        }
        assert_eq!(called(&mut admission, 1, |_| true), []);
        admission.work_left = 0;
        assert!(admission.has_more(), "as far as is known they wait for the next budget");
        assert_eq!(called(&mut admission, 1, |_| false), []);
        wait_to_join(&mut admission, 1, 1, 12);
        assert_eq!(called(&mut admission, WAIT_MS, |_| true), [(10, true), (11, true)]);
        admission.work_left = 1;
        assert_eq!(called(&mut admission, WAIT_MS, |_| true), []);
        assert_eq!(called(&mut admission, WAIT_MS + 1, |_| true), [(12, true)]);
    }

    #[test]
    fn joins_of_a_shard_that_begins_anew_are_let_go() {
        let mut admission = Admission::new(1, 3);
        wait_to_join(&mut admission, 0, 1, 5);
        assert_eq!(called(&mut admission, 0, |_| true), []);
        for shard in [1, 2, 1] {
            wait_to_join(&mut admission, 0, shard, 10);
        }
        wait(&mut admission, 0);
        admission.forget(1);
        assert_eq!((admission.waiting(), admission.line_bytes), (2, 10));
    }
}

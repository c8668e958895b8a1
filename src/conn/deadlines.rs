//! When a connection is to be looked at, and what is found then: one that is idle, late, too slow,
//! or whose token has ended.
//!
//! A deadline is when to look, not yet a verdict: one number each in a dense array, swept a few
//! times a second, so that a byte that comes costs no more than to note when.

use super::Conns;
use super::input::Input;
use super::stage::Stage;
use crate::auth::identity::{Identity, NEVER_S};
use crate::limits::{ANSWER_STALL_MS, LINGER_MS};
use crate::link::ids::ConnKey;
use crate::link::io::Io;
use crate::link::outbox::Cx;

/// The deadline of those that have none.
pub(super) const NEVER: u32 = u32::MAX;

/// Times in the dense arrays: 128 ms, in 32 bits for 17 years. The last that is not after a time.
pub(super) fn coarse(ms: u64) -> u32 {
    u32::try_from(ms >> 7).unwrap_or(u32::MAX)
}

/// The first that is after a time: when to look for what is to have been done by then. Nobody has
/// less time than a limit says.
fn coarse_after(ms: u64) -> u32 {
    coarse(ms).saturating_add(1)
}

/// When so much has passed for certain since a coarse time.
pub(super) fn passed(since: u32, ms: u64) -> u32 {
    since.saturating_add(coarse_after(ms)).saturating_add(1)
}

/// What is found when a deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing: it has a new deadline, or waits for somebody else.
    Wait,
    /// It has been closing for as long as it may.
    Gone,
    /// Its token has ended.
    Expired,
    /// It is a session: its poll has waited long enough, or nobody polls it.
    Session,
    /// No whole request came in time.
    Late,
    /// Nothing was heard of it for as long as may be.
    Idle,
    /// A message took longer than it may.
    Slow,
}

impl Input {
    /// Since when the message has been coming that is not whole yet, if there is one: in fragments,
    /// or in a part of a frame.
    fn unfinished_since(&self, is_parked: bool) -> Option<u32> {
        let frame = (self.held.is_some() && !is_parked).then_some(self.began);
        self.assembler.first_fragment_ms().map(coarse).into_iter().chain(frame).min()
    }
}

impl Conns {
    /// Schedules a connection to be looked at when this time has come.
    pub(crate) fn set_deadline(&mut self, key: ConnKey, at_ms: u64) {
        self.deadlines[key.index() as usize] = coarse_after(at_ms);
    }

    /// Schedules a connection to be looked at when this time has come, or before.
    pub(super) fn set_deadline_by(&mut self, key: ConnKey, at_ms: u64) {
        let deadline = &mut self.deadlines[key.index() as usize];
        *deadline = (*deadline).min(coarse_after(at_ms));
    }

    /// Schedules the end of a connection that is being closed, unless it takes some more of its
    /// output before. A server that is about to stop waits for no slow reader.
    pub(super) fn set_closing_deadline<I: Io>(&mut self, cx: &Cx<'_, I>, key: ConnKey) {
        let index = key.index() as usize;
        let is_answer = self.stages[index] == Stage::Http && !self.flags[index].is_shut();
        let wait_ms = if is_answer && !cx.is_draining { ANSWER_STALL_MS } else { LINGER_MS };
        self.set_deadline(key, cx.now.mono_ms + wait_ms);
    }

    /// Schedules a connection's deadlines to be worked out anew at the next sweep.
    pub(super) fn reconsider(&mut self, key: ConnKey) {
        self.deadlines[key.index() as usize] = 0;
    }

    /// How many indices a sweep looks at.
    pub(crate) fn deadlines_count(&self) -> usize {
        self.deadlines.len()
    }

    /// The connection with this index, if its deadline has passed.
    pub(crate) fn due_at(&self, index: usize, now_ms: u64) -> Option<ConnKey> {
        let is_due = coarse(now_ms) >= self.deadlines[index];
        u32::try_from(index).ok().filter(|_| is_due).and_then(|index| self.arena.key_at(index))
    }

    /// Judges a connection whose deadline has passed. One that was heard of since gets a new one.
    pub(crate) fn judge<I: Io>(&mut self, cx: &Cx<'_, I>, key: ConnKey) -> Verdict {
        let Some(conn) = self.arena.get(key) else { return Verdict::Wait };
        let index = key.index() as usize;
        let flags = self.flags[index];
        if flags.is_closing() {
            return Verdict::Gone;
        }
        let expiry = conn.identity.as_ref().map_or(NEVER_S, Identity::expires_at_s);
        let left_ms = expiry.saturating_mul(1_000).saturating_sub(cx.now.unix_ms);
        if left_ms == 0 {
            return Verdict::Expired;
        }
        match self.stages[index] {
            _ if flags.is_session() => Verdict::Session,
            // It has asked in time, and waits to be let in; the line has a time of its own.
            Stage::Http if flags.is_parked() => Verdict::Wait,
            Stage::Http => Verdict::Late,
            // The other shard answers; the deadline is for what the client does.
            Stage::Waiting => Verdict::Wait,
            Stage::Unsettled | Stage::Settled | Stage::Echo => {
                let limits = &cx.settings.limits;
                let now = coarse(cx.now.mono_ms);
                let idle = passed(self.heard[index], limits.idle_ms);
                let input = self.inputs.of(conn.input);
                let slow = input.and_then(|input| input.unfinished_since(flags.is_parked()));
                let slow = slow.map(|began| passed(began, limits.message_ms));
                if idle <= now {
                    return Verdict::Idle;
                }
                if slow.is_some_and(|slow| slow <= now) {
                    return Verdict::Slow;
                }
                let expiry = coarse_after(cx.now.mono_ms.saturating_add(left_ms));
                let next = [Some(idle), slow, Some(expiry)].into_iter().flatten().min();
                self.deadlines[index] = next.unwrap_or(idle);
                Verdict::Wait
            }
        }
    }
}

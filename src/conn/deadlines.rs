//! Deadlines of connections: when each is to be inspected, and whether it is idle, late, too slow
//! or expired then.
//!
//! A deadline is a time of inspection, not a verdict. It is one number in a dense array, which is
//! swept a few times a second. So a byte that arrives costs no more than to note the time.
//!
//! Invariant: no deadline of an open connection is later than the end of its token, nor than the
//! warning before that, as the clock stands when it is set. [`Conns::schedule`] is the one place
//! that sets one, for sockets and sessions of long polling alike. Since the clock may be set, each
//! message is checked with [`Conns::has_expired`] as well.
//!
//! That a client has been warned is a bit of its deadline, and when it is to be is worked out from
//! its token: so an idle connection pays nothing for it.

use std::collections::HashMap;

use super::Conns;
use super::stage::Stage;
use crate::auth::identity::{Identity, NEVER_S};
use crate::base::slack::Slack;
use crate::base::time::Now;
use crate::limits::LINGER_MS;
use crate::link::ids::ConnKey;
use crate::link::io::{Io, Warning};
use crate::link::outbox::Cx;

/// When to inspect a connection, in coarse time, and whether its client has been told that its
/// token is about to end: the top bit. 31 bits of coarse time last 8 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deadline(u32);

impl Deadline {
    const WARNED: u32 = 1 << 31;

    /// Of a connection that has none, and has not been told.
    pub(super) const NEVER: Self = Self(!Self::WARNED);

    /// The coarse time.
    const fn at(self) -> u32 {
        self.0 & !Self::WARNED
    }

    /// Changes the time alone.
    fn set(&mut self, at: u32) {
        self.0 = self.0 & Self::WARNED | at.min(Self::NEVER.0);
    }

    const fn is_warned(self) -> bool {
        self.0 & Self::WARNED != 0
    }

    const fn set_warned(&mut self, is_set: bool) {
        self.0 = self.at() | if is_set { Self::WARNED } else { 0 };
    }
}

/// How long before the ends of their tokens clients are told.
pub(super) struct Warnings {
    /// In milliseconds. 0: they are not.
    lead_ms: u64,
    /// The same by index, for those whose token had less than twice that to live when they came:
    /// half of what it had. Few, and not for long.
    short_ms: HashMap<u32, u64, ahash::RandomState>,
}

impl Warnings {
    pub(super) fn new(lead_ms: u64, hasher: ahash::RandomState) -> Self {
        Self { lead_ms, short_ms: HashMap::with_hasher(hasher) }
    }

    fn lead_ms(&self, index: u32) -> u64 {
        if self.short_ms.is_empty() {
            return self.lead_ms;
        }
        self.short_ms.get(&index).copied().unwrap_or(self.lead_ms)
    }

    fn set(&mut self, index: u32, lead_ms: u64) {
        if lead_ms < self.lead_ms {
            self.short_ms.insert(index, lead_ms);
        } else {
            self.forget(index);
        }
    }

    /// Forgets a connection that is gone.
    pub(super) fn forget(&mut self, index: u32) {
        if !self.short_ms.is_empty() {
            self.short_ms.remove(&index);
        }
    }

    /// Gives back memory that most of is not needed.
    pub(super) fn trim(&mut self, kept: usize) {
        self.short_ms.trim(kept);
    }
}

/// A time as the dense arrays have it, rounded down: in units of 128 ms, so that 32 bits last 17
/// years.
pub(super) fn coarse(ms: u64) -> u32 {
    u32::try_from(ms >> 7).unwrap_or(u32::MAX)
}

/// The first coarse time after `ms`: when to inspect what must be done by then. So no limit gives
/// less time than it says.
fn coarse_after(ms: u64) -> u32 {
    coarse(ms).saturating_add(1)
}

/// The first coarse time at which `ms` have certainly passed since `since`.
pub(super) fn passed(since: u32, ms: u64) -> u32 {
    since.saturating_add(coarse_after(ms)).saturating_add(1)
}

/// What an inspection has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing: it has a new deadline, or waits for an answer.
    Wait,
    /// It was closing, and its time for that is over.
    Gone,
    /// Its token has ended.
    Expired,
    /// Its token is about to end, and its client has not been told.
    Expiring,
    /// It is a session of long polling: its poll has waited long enough, or no poll came in time.
    Session,
    /// No whole request came in time.
    Late,
    /// It sent nothing for too long.
    Idle,
    /// A message took too long to arrive.
    Slow,
}

impl Conns {
    /// Schedules the inspection of a connection at `at_ms`, or at the end of its token if that
    /// comes first.
    pub(crate) fn set_deadline(&mut self, now: Now, key: ConnKey, at_ms: u64) {
        self.schedule(now, key, coarse_after(at_ms));
    }

    /// See [`Conns::set_deadline`]; `at` is a coarse time.
    fn schedule(&mut self, now: Now, key: ConnKey, at: u32) {
        // A closing connection sends nothing more, and keeps its time to take its output.
        let is_closing = self.flags(key.index()).is_closing();
        let Warning { lead_ms, is_told } = self.warning(key);
        let until_ms = match self.token_left_ms(now, key) {
            _ if is_closing => u64::MAX,
            left_ms if is_told => left_ms,
            left_ms => left_ms.saturating_sub(lead_ms),
        };
        let end = coarse_after(now.mono_ms.saturating_add(until_ms));
        self.deadlines[key.index() as usize].set(at.min(end));
    }

    /// Goes on with another token of the same user, and returns the identity of the one before;
    /// `None` if there is no such connection.
    ///
    /// Requires: nothing. Changes: identity, warning, deadline. Emits: nothing.
    pub(crate) fn renew(&mut self, now: Now, key: ConnKey, identity: Identity) -> Option<Identity> {
        let old = self.identity(key).cloned()?;
        assert_eq!(old.user(), identity.user(), "a connection stays its user's");
        self.identify(now, key, identity);
        self.reconsider(key);
        Some(old)
    }

    /// Says who a live connection belongs to from now on. What there was to tell of another token
    /// is over.
    ///
    /// Requires: live; the caller schedules an inspection. Changes: identity, warning.
    pub(super) fn identify(&mut self, now: Now, key: ConnKey, identity: Identity) {
        let conn = self.arena.get_mut(key).expect("the caller has it");
        conn.identity = Some(identity);
        let lead_ms = self.token_left_ms(now, key) / 2;
        self.set_warning(key, Warning { lead_ms, is_told: false });
    }

    /// When a client is told that its token is about to end, and whether it has been.
    pub(crate) fn warning(&self, key: ConnKey) -> Warning {
        let is_told = self.deadlines[key.index() as usize].is_warned();
        Warning { lead_ms: self.warnings.lead_ms(key.index()), is_told }
    }

    /// Sets that, of one with a token; it is told no earlier than others are.
    pub(crate) fn set_warning(&mut self, key: ConnKey, warning: Warning) {
        self.warnings.set(key.index(), warning.lead_ms);
        self.deadlines[key.index() as usize].set_warned(warning.is_told);
    }

    /// How long a connection's token is still valid, in milliseconds; [`u64::MAX`] without a token.
    fn token_left_ms(&self, now: Now, key: ConnKey) -> u64 {
        match self.identity(key).map_or(NEVER_S, Identity::expires_at_s) {
            NEVER_S => u64::MAX,
            end_s => end_s.saturating_mul(1_000).saturating_sub(now.unix_ms),
        }
    }

    /// Whether a connection's token has expired: no message of it is handled any more.
    pub(crate) fn has_expired(&self, now: Now, key: ConnKey) -> bool {
        self.token_left_ms(now, key) == 0
    }

    /// Schedules the inspection of a connection at `at_ms`, unless it is scheduled before.
    pub(super) fn set_deadline_by(&mut self, key: ConnKey, at_ms: u64) {
        let deadline = &mut self.deadlines[key.index() as usize];
        deadline.set(deadline.at().min(coarse_after(at_ms)));
    }

    /// Schedules the end of a closing connection: in `out_ms` while it takes an answer over HTTP,
    /// as that of any that does not take its output, or in [`LINGER_MS`]. A server that is about to
    /// stop waits for no slow reader.
    pub(super) fn set_closing_deadline<I: Io>(&mut self, cx: &Cx<'_, I>, key: ConnKey) {
        let index = key.index() as usize;
        let is_answer = self.stages[index] == Stage::Http && !self.flags[index].is_shut();
        let out_ms = cx.settings.limits.out_ms;
        let wait_ms = if is_answer && !cx.is_draining { out_ms.max(LINGER_MS) } else { LINGER_MS };
        self.set_deadline(cx.now, key, cx.now.mono_ms + wait_ms);
    }

    /// Schedules an inspection at the next sweep, which sets a new deadline.
    pub(super) fn reconsider(&mut self, key: ConnKey) {
        self.deadlines[key.index() as usize].set(0);
    }

    /// How many indices a sweep inspects.
    pub(crate) fn deadlines_count(&self) -> usize {
        self.deadlines.len()
    }

    /// The connection with this index, if its deadline has passed.
    pub(crate) fn due_at(&self, index: usize, now_ms: u64) -> Option<ConnKey> {
        let is_due = coarse(now_ms) >= self.deadlines[index].at();
        u32::try_from(index).ok().filter(|_| is_due).and_then(|index| self.arena.key_at(index))
    }

    /// When a connection was last heard, at the latest: one that is parked is not read, and may
    /// have said something since.
    fn last_heard(&self, index: usize, now: u32) -> u32 {
        if self.flags[index].is_parked() { now } else { self.heard[index] }
    }

    /// Inspects a connection whose deadline has passed. One that is in time gets a new deadline.
    pub(crate) fn judge<I: Io>(&mut self, cx: &Cx<'_, I>, key: ConnKey) -> Verdict {
        let Some(conn) = self.arena.get(key) else { return Verdict::Wait };
        let index = key.index() as usize;
        let flags = self.flags[index];
        if flags.is_closing() {
            return Verdict::Gone;
        }
        if self.has_expired(cx.now, key) {
            return Verdict::Expired;
        }
        let Warning { lead_ms, is_told } = self.warning(key);
        if !is_told && self.token_left_ms(cx.now, key) <= lead_ms {
            self.deadlines[index].set_warned(true);
            return Verdict::Expiring;
        }
        match self.stages[index] {
            _ if flags.is_session() => match self.session_until_ms(key) {
                // Its deadline was the end of its token, and the clock was set back since.
                Some(until_ms) if until_ms > cx.now.mono_ms => {
                    self.set_deadline(cx.now, key, until_ms);
                    Verdict::Wait
                }
                _ => Verdict::Session,
            },
            // It asked in time, and waits for admission, which has a time limit of its own.
            Stage::Http if flags.is_parked() => Verdict::Wait,
            // It still takes its answer, or does not, which is for `out_ms` to say. The next
            // request has its time behind that.
            Stage::Http if flags.is_stuck() && conn.out.is_some() => {
                self.set_deadline(cx.now, key, cx.now.mono_ms + cx.settings.limits.idle_ms);
                Verdict::Wait
            }
            Stage::Http => Verdict::Late,
            // The other shard answers; the deadline is for what the client does.
            Stage::Waiting => Verdict::Wait,
            Stage::Unsettled | Stage::Settled | Stage::Echo => {
                let limits = &cx.settings.limits;
                let now = coarse(cx.now.mono_ms);
                let idle = passed(self.last_heard(index, now), limits.idle_ms);
                let input = self.inputs.of(conn.input);
                let slow = input.and_then(|input| input.unfinished_since(flags.is_parked()));
                let slow = slow.map(|began| passed(began, limits.message_ms));
                if idle <= now {
                    return Verdict::Idle;
                }
                if slow.is_some_and(|slow| slow <= now) {
                    return Verdict::Slow;
                }
                self.schedule(cx.now, key, slow.map_or(idle, |slow| slow.min(idle)));
                Verdict::Wait
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::flags::Flags;

    const NOW: Now = Now { mono_ms: 50_000, unix_ms: 1_000_000_000 };
    const END_S: u64 = 1_000_010;
    /// When a token that ends at [`END_S`] does, by the monotonic clock.
    const END_MS: u64 = 60_000;

    /// A connection with a token that ends then, and whether it is due at a time.
    #[track_caller]
    fn check(end_s: u64, prepare: impl Fn(&mut Conns, ConnKey), due: &[(u64, bool)]) {
        let hasher = |salt| ahash::RandomState::with_seeds(salt, 0, 0, 0);
        let mut conns = Conns::new(0, hasher);
        let key = conns.take_in(NOW.mono_ms);
        let identity = Identity::new("ann", "Ann", end_s, None).expect("a user");
        conns.identify(NOW, key, identity);
        prepare(&mut conns, key);
        for (at_ms, is_due) in due {
            assert_eq!(conns.due_at(0, *at_ms).is_some(), *is_due, "at {at_ms}");
        }
    }

    #[test]
    fn no_deadline_is_later_than_the_end_of_the_token_unless_all_is_said() {
        let at_end = [(END_MS - 1, false), (END_MS + 256, true)];
        let never = [(END_MS + 256, false), (u64::from(u32::MAX), false)];
        let late = |conns: &mut Conns, key| conns.set_deadline(NOW, key, u64::MAX / 2);
        let session = |conns: &mut Conns, key: ConnKey| {
            conns.flags[key.index() as usize] = Flags::of_session(false);
            late(conns, key);
        };
        let closing = |conns: &mut Conns, key: ConnKey| {
            conns.flags[key.index() as usize].set_closing();
            late(conns, key);
        };
        let early = |conns: &mut Conns, key| conns.set_deadline(NOW, key, END_MS - 5_000);
        let ended = |conns: &mut Conns, key| {
            let after = Now { mono_ms: END_MS + 1_000, unix_ms: END_S * 1_000 + 1_000 };
            conns.set_deadline(after, key, END_MS + 15_000);
        };
        check(END_S, late, &at_end);
        check(END_S, session, &at_end);
        check(END_S, closing, &never);
        check(END_S, early, &[(END_MS - 5_001, false), (END_MS - 4_744, true)]);
        check(END_S, ended, &[(END_MS + 1_256, true)]);
        check(NEVER_S, late, &never);
    }

    #[test]
    fn a_connection_that_is_not_read_may_have_said_something() {
        let hasher = |salt| ahash::RandomState::with_seeds(salt, 0, 0, 0);
        let mut conns = Conns::new(0, hasher);
        let key = conns.take_in(NOW.mono_ms);
        let then = coarse(NOW.mono_ms);
        assert_eq!(conns.last_heard(0, then + 9), then);
        conns.park(key);
        assert_eq!(conns.last_heard(0, then + 9), then + 9);
    }

    #[test]
    fn a_token_has_ended_from_its_last_second_on() {
        let hasher = |salt| ahash::RandomState::with_seeds(salt, 0, 0, 0);
        let mut conns = Conns::new(0, hasher);
        let key = conns.take_in(NOW.mono_ms);
        assert!(!conns.has_expired(NOW, key), "nobody yet");
        let identity = Identity::new("ann", "Ann", END_S, None).expect("a user");
        conns.identify(NOW, key, identity);
        let at = |unix_ms| Now { unix_ms, ..NOW };
        assert!(!conns.has_expired(at(END_S * 1_000 - 1), key));
        assert!(conns.has_expired(at(END_S * 1_000), key));
    }

    /// When a connection is inspected whose client is warned so long before the end, once it has
    /// been told or before.
    #[track_caller]
    fn check_warning(warn_ms: u64, is_told: bool, at_ms: u64) {
        let mut conns = Conns::new(warn_ms, |salt| ahash::RandomState::with_seeds(salt, 0, 0, 0));
        let key = conns.take_in(NOW.mono_ms);
        let identity = Identity::new("ann", "Ann", END_S, None).expect("a user");
        conns.identify(NOW, key, identity.clone());
        let Warning { lead_ms, .. } = conns.warning(key);
        conns.set_warning(key, Warning { lead_ms, is_told });
        conns.set_deadline(NOW, key, u64::MAX / 2);
        assert!(conns.due_at(0, at_ms - 1).is_none() && conns.due_at(0, at_ms + 256).is_some());
        conns.reconsider(key);
        assert_eq!(conns.warning(key).is_told, is_told, "a time changes nothing else");
        conns.identify(NOW, key, identity);
        assert!(!conns.warning(key).is_told, "each token is another");
        conns.forget(key);
        assert!(conns.warnings.short_ms.is_empty() && conns.deadlines[0] == Deadline::NEVER);
    }

    #[test]
    fn a_client_is_warned_before_the_end_at_half_of_its_time_at_the_earliest() {
        check_warning(0, false, END_MS);
        check_warning(3_000, false, END_MS - 3_000);
        check_warning(5_000, false, END_MS - 5_000);
        check_warning(60_000, false, END_MS - 5_000);
        check_warning(60_000, true, END_MS);
    }
}

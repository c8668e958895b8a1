//! The pace at which a room tells its members who is there.
//!
//! At a *tick* all members are told what has changed since the last one, in one `presence_diff`,
//! and newcomers since then are *greeted*: they are sent the whole list.
//!
//! A tick to `n` members is `n` writes. A room that fills, with a tick for each join, would make as
//! many writes as the square of its members. So each tick is followed by a rest that grows with the
//! number of members that were told. A quiet room tells at once, in one write with the answer to
//! the join. A room that fills makes a bounded number of writes a second, whatever its size and
//! however many join. A member that joins during a long rest is greeted without waiting for the
//! tick. When something is said in a resting room, its news goes along: a write that is made anyway
//! costs hardly more.
//!
//! Invariant: while there is news, a timer is set that is early enough. Callers set one for each
//! time that [`Pacing::request`] returns.
//!
//! Deliberately absent: what is told (`presence`), how it is written (`meta`), and timers.
//!
//! Called by: `room`. Calls: nothing.

use crate::limits::PresenceLimits;

/// When a room ticks. All times are in milliseconds of monotonic time.
#[derive(Debug, Default)]
#[expect(clippy::struct_field_names, reason = "each is a time, and says its unit")]
pub(crate) struct Pacing {
    /// When the next tick is due, if there is news.
    due_ms: Option<u64>,
    /// Since when there has been news, if there is.
    since_ms: u64,
    /// Until when the room collects.
    rests_until_ms: u64,
}

/// How soon the members are to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// At once, unless the room rests: a member came, or a speaker is new in the list.
    Now,
    /// After a rest: a member left. A page that is reloaded comes back in a moment, and then there
    /// is no news.
    AfterRest,
}

/// Rooms tick on a common grid, in milliseconds: a thousand small rooms that fill at once wake
/// their shard a few times, and not a thousand.
const TICK_GRID_MS: u64 = 16;

/// How old news must be to go along with what is said in the room, in milliseconds: a reloaded page
/// has come back by then, and a room with many messages needs no diff with each.
const ALONG_AFTER_MS: u64 = 500;

/// How long a room rests after it has told `told` members, in milliseconds: one `tick_ms`, and one
/// more for each member, up to `tick_max_ms`.
fn rest_ms(told: u32, limits: &PresenceLimits) -> u64 {
    (limits.tick_ms * (1 + u64::from(told))).min(limits.tick_max_ms.max(limits.tick_ms))
}

impl Pacing {
    /// Asks for a tick in a room of `members`. Returns the time to set a timer for, if none is set
    /// that is early enough.
    pub(crate) fn request(
        &mut self,
        now_ms: u64,
        urgency: Urgency,
        members: u32,
        limits: &PresenceLimits,
    ) -> Option<u64> {
        let patience_ms = match urgency {
            Urgency::Now => 0,
            Urgency::AfterRest => rest_ms(members, limits),
        };
        self.request_within(now_ms, patience_ms)
    }

    /// Asks for a tick that may wait for `patience_ms`, and must wait while the room rests.
    fn request_within(&mut self, now_ms: u64, patience_ms: u64) -> Option<u64> {
        if self.due_ms.is_none() {
            self.since_ms = now_ms;
        }
        let mut due_ms = (now_ms + patience_ms).max(self.rests_until_ms);
        if due_ms > now_ms {
            due_ms = due_ms.next_multiple_of(TICK_GRID_MS);
        }
        if self.due_ms.is_some_and(|earlier_ms| earlier_ms <= due_ms) {
            return None;
        }
        self.due_ms = Some(due_ms);
        Some(due_ms)
    }

    /// Takes the tick if it is due. True if it was. A timer whose tick was taken earlier finds none
    /// due.
    pub(crate) fn take_due(&mut self, now_ms: u64) -> bool {
        self.due_ms.take_if(|due_ms| *due_ms <= now_ms).is_some()
    }

    /// Takes the tick if its news may go along with something else that all members are sent now.
    /// True if it may.
    pub(crate) fn take_along(&mut self, now_ms: u64) -> bool {
        self.due_ms.take_if(|_| now_ms >= self.since_ms + ALONG_AFTER_MS).is_some()
    }

    /// Notes that `told` members have been told: the room rests.
    pub(crate) fn told(&mut self, now_ms: u64, members: u32, limits: &PresenceLimits) {
        self.rests_until_ms = now_ms + rest_ms(members, limits);
    }

    /// The time to the next tick, in milliseconds; 0 if none is set.
    pub(crate) fn wait_ms(&self, now_ms: u64) -> u64 {
        self.due_ms.map_or(0, |due_ms| due_ms.saturating_sub(now_ms))
    }

    /// Whether a tick is set.
    pub(crate) fn has_tick(&self) -> bool {
        self.due_ms.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PresenceLimits =
        PresenceLimits { tick_ms: 50, tick_max_ms: 2_000, full_max: 1_000, listed: 100 };

    /// Lets members come at these times, and gives the times at which so many are told.
    fn ticks(members: u32, comings_ms: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let (mut pacing, mut timers, mut ticks) = (Pacing::default(), Vec::new(), Vec::new());
        let mut comings_ms = comings_ms.into_iter().peekable();
        for now_ms in 0..20_000 {
            while comings_ms.next_if_eq(&now_ms).is_some() {
                timers.extend(pacing.request_within(now_ms, 0));
            }
            if timers.contains(&now_ms) && pacing.take_due(now_ms) {
                ticks.push(now_ms);
                pacing.told(now_ms, members, &LIMITS);
            }
        }
        ticks
    }

    #[test]
    fn a_quiet_room_tells_at_once() {
        assert_eq!(ticks(9, [1_000, 5_000, 9_000]), [1_000, 5_000, 9_000]);
        assert_eq!(ticks(10_000, [1_000, 5_000, 9_000]), [1_000, 5_000, 9_000]);
    }

    #[test]
    fn a_room_that_has_told_rests_the_longer_the_more_it_told() {
        assert_eq!(ticks(1, [1_000, 1_001]), [1_000, 1_104]);
        assert_eq!(ticks(9, [1_000, 1_001, 1_400]), [1_000, 1_504]);
        assert_eq!(ticks(10_000, [1_000, 1_001]), [1_000, 3_008], "but no longer than it may");
    }

    #[test]
    fn what_presence_costs_a_second_does_not_depend_on_how_many_come() {
        for members in [1, 3, 10, 30] {
            let ticks = ticks(members, (0..10_000).flat_map(|ms| [ms; 3]));
            let writes = ticks.len() as u64 * u64::from(members);
            assert!(
                writes <= 10_000 / LIMITS.tick_ms + 2 * u64::from(members),
                "{members}: {writes}"
            );
        }
    }

    #[test]
    fn the_last_change_is_told_within_a_tick_and_the_grid() {
        for members in [1, 5, 1_000] {
            for last_ms in 2_000..2_100 {
                let told_ms = *ticks(members, [1_990, last_ms]).last().expect("told");
                assert!(told_ms >= last_ms, "{members}: not before it is so");
                assert!(told_ms <= last_ms + rest_ms(members, &LIMITS) + TICK_GRID_MS, "{members}");
            }
        }
    }

    #[test]
    fn news_that_has_waited_goes_along_and_is_not_told_again() {
        let mut pacing = Pacing::default();
        assert!(!pacing.take_along(1_000), "there is none");
        pacing.told(1_000, 100, &LIMITS);
        assert_eq!(pacing.request_within(1_100, 0), Some(3_008));
        assert_eq!(pacing.request_within(1_500, 0), None);
        assert!(!pacing.take_along(1_599));
        assert!(pacing.take_along(1_600));
        pacing.told(1_600, 100, &LIMITS);
        assert!(!pacing.take_due(3_008) && !pacing.take_along(9_000));
        assert_eq!(pacing.request_within(1_700, 0), Some(3_600));
    }

    #[test]
    fn who_comes_back_is_told_together_with_its_leaving() {
        let mut pacing = Pacing::default();
        assert_eq!(pacing.request_within(1_000, 500), Some(1_504), "a leave can wait");
        assert_eq!(pacing.request_within(1_100, 500), None);
        assert_eq!(pacing.request_within(1_200, 0), Some(1_200), "who comes does not");
        assert!(pacing.take_due(1_200));
        pacing.told(1_200, 3, &LIMITS);
        assert!(!pacing.take_due(1_504), "the timer of the leave has been overtaken");
        assert_eq!(pacing.request_within(1_300, 0), Some(1_408));
    }
}

//! When a room tells its members who is there.
//!
//! At a *tick* all members are told what has changed since the last one, in one `presence_diff`,
//! and those who joined since then are *greeted*: they are sent the list of all (`greeting`).
//!
//! A tick to `n` members is `n` writes, whatever it says, and a room that fills would have one for
//! each join: the square of its members. So a tick is followed by a rest that grows with the number
//! of those who were told. A room that is quiet tells at once, in one write with the answer to the
//! join; one that fills tells at a pace at which its presence costs so many writes a second and no
//! more, whatever its size and however many come. Who joins while a room rests for long is greeted
//! without waiting, in one write with the answer too. And when something is said in a room that
//! rests, its news goes along: a write that is made anyway costs hardly more for it.
//!
//! Deliberately absent: what is told (`chat::presence`), and how it is written (`presence`).

use super::answers::text;
use super::greeting::List;
use super::home::Home;
use super::{Io, Shard, Timer, Turn, presence};
use crate::base::arena::Key;
use crate::chat::presence::Slot;
use crate::limits::PresenceLimits;
use crate::wire::phx::Payload;

/// What a home keeps for telling.
#[derive(Debug, Default)]
pub(super) struct Roll {
    pace: Pace,
    /// Those who joined and have not been greeted.
    pub(super) newcomers: Vec<Slot>,
    /// The list, as those are sent it who are greeted between two ticks: written for the first, and
    /// kept for those behind it.
    pub(super) list: Option<List>,
}

impl Roll {
    /// Says how its parts fit. For [`Shard::check_invariants`].
    pub(super) fn check(&self) {
        assert!(
            self.list.is_none() || self.has_tick(),
            "a list is kept until a tick, and one is set"
        );
    }

    /// The memory of the list.
    pub(super) fn list_bytes(&self) -> usize {
        self.list.as_ref().map_or(0, List::memory_bytes)
    }

    /// How long it is to the next tick, in milliseconds.
    pub(super) fn wait_ms(&self, now_ms: u64) -> u64 {
        self.pace.due_ms.map_or(0, |due_ms| due_ms.saturating_sub(now_ms))
    }

    /// Whether a tick is set.
    pub(super) fn has_tick(&self) -> bool {
        self.pace.due_ms.is_some()
    }

    /// Notes that a member has left.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.newcomers.retain(|newcomer| *newcomer != slot);
    }
}

/// When a room ticks. All times are in milliseconds of monotonic time.
#[derive(Debug, Default)]
#[expect(clippy::struct_field_names, reason = "each is a time, and says its unit")]
struct Pace {
    /// When the next tick is due, if there is anything to tell.
    due_ms: Option<u64>,
    /// Since when there has been something to tell, if there is.
    since_ms: u64,
    /// Until when the room collects.
    rests_until_ms: u64,
}

/// Rooms tick on a common grid, in milliseconds: a thousand small rooms that fill at once wake
/// their shard a few times, and not a thousand.
const TICK_GRID_MS: u64 = 16;

/// How long a room collects after it has told so many members, in milliseconds: as though each had
/// cost it a tick of a room of one.
fn rest_ms(told: u32, limits: &PresenceLimits) -> u64 {
    (limits.tick_ms * (1 + u64::from(told))).min(limits.tick_max_ms.max(limits.tick_ms))
}

impl Pace {
    /// There is something to tell, which may wait for so long, and must while the room rests. Gives
    /// the time for which a timer is to be set, if none is set that is early enough.
    fn ask(&mut self, now_ms: u64, patience_ms: u64) -> Option<u64> {
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

    /// Whether the time for a tick has come. A timer that another has overtaken finds that it has
    /// not.
    fn take_due(&mut self, now_ms: u64) -> bool {
        self.due_ms.take_if(|due_ms| *due_ms <= now_ms).is_some()
    }

    /// Whether there is news that may go along with something else that all are sent now; then it
    /// need not be told at its own time.
    fn take_along(&mut self, now_ms: u64) -> bool {
        self.due_ms.take_if(|_| now_ms >= self.since_ms + ALONG_AFTER_MS).is_some()
    }

    /// So many members have been told.
    fn told(&mut self, now_ms: u64, members: u32, limits: &PresenceLimits) {
        self.rests_until_ms = now_ms + rest_ms(members, limits);
    }
}

/// How old news must be to go along with what is said in the room, in milliseconds: who reloads a
/// page should have come back, and a room with many messages needs no diff with each.
const ALONG_AFTER_MS: u64 = 500;

/// How urgent it is that the members are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Somebody came, or has something to say.
    Came,
    /// Somebody left; who reloads a page is back in a moment, and both is told in one.
    Left,
}

impl Shard {
    /// Has a room's members told that something has changed.
    pub(super) fn set_tick<I: Io>(&mut self, turn: &Turn<'_, I>, key: Key<Home>, news: News) {
        let Some(home) = self.homes.get_mut(key) else { return };
        let patience_ms = match news {
            News::Came => 0,
            News::Left => rest_ms(home.presence.live_count(), &self.settings.presence),
        };
        if let Some(due_ms) = home.roll.pace.ask(turn.now.mono_ms, patience_ms) {
            self.timers.push(due_ms, Timer::Home(key));
        }
    }

    /// A room's tick: the news of who came and left since the last one, and the list for those who
    /// came. While a way to its members is filling it waits, and is told in one: of a shard that is
    /// stuck, ticks would pile up for as long as it is.
    pub(super) fn home_tick<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: Key<Home>) {
        let home = self.homes.get_mut(key);
        if !home.is_some_and(|home| home.roll.pace.take_due(turn.now.mono_ms)) {
            return;
        }
        let mut outposts = self.homes.get(key).into_iter().flat_map(|home| &home.outposts);
        if outposts.any(|outpost| self.is_filling(turn, outpost.shard)) {
            self.set_tick(turn, key, News::Left);
        } else {
            self.tell_news(turn, key);
        }
    }

    /// Something has been said to all in a room: its news goes along, if there is some that has
    /// waited.
    pub(super) fn tell_along<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: Key<Home>) {
        let home = self.homes.get_mut(key);
        if home.is_some_and(|home| home.roll.pace.take_along(turn.now.mono_ms)) {
            self.tell_news(turn, key);
        }
    }

    fn tell_news<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: Key<Home>) {
        self.let_list_go(key);
        let Some(home) = self.homes.get_mut(key) else { return };
        let epoch = home.history.cursor().epoch;
        let mut scratch = std::mem::take(&mut self.response);
        let mut told = false;
        if home.presence.tick(&self.settings.presence) {
            presence::push_diff(&mut scratch, &home.presence, epoch, &mut self.seen);
            home.presence.announce();
            self.tell_all(turn, key, "presence_diff", Payload::Json(text(&scratch)));
            scratch.clear();
            told = true;
        }
        if let Some(count) = self.homes.get_mut(key).and_then(|home| home.presence.count_news()) {
            presence::push_count(&mut scratch, count);
            self.tell_all(turn, key, "presence_count", Payload::Json(text(&scratch)));
            scratch.clear();
            told = true;
        }
        self.response = scratch;
        self.greet_newcomers(turn, key);
        self.reweigh(key);
        if let Some(home) = self.homes.get_mut(key).filter(|_| told) {
            home.roll.pace.told(
                turn.now.mono_ms,
                home.presence.live_count(),
                &self.settings.presence,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PresenceLimits =
        PresenceLimits { tick_ms: 50, tick_max_ms: 2_000, full_max: 1_000, listed: 100 };

    /// Has members come at these times, and gives the times at which so many are told.
    fn ticks(members: u32, comings_ms: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let (mut pace, mut timers, mut ticks) = (Pace::default(), Vec::new(), Vec::new());
        let mut comings_ms = comings_ms.into_iter().peekable();
        for now_ms in 0..20_000 {
            while comings_ms.next_if_eq(&now_ms).is_some() {
                timers.extend(pace.ask(now_ms, 0));
            }
            if timers.contains(&now_ms) && pace.take_due(now_ms) {
                ticks.push(now_ms);
                pace.told(now_ms, members, &LIMITS);
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
        let mut pace = Pace::default();
        assert!(!pace.take_along(1_000), "there is none");
        pace.told(1_000, 100, &LIMITS);
        assert_eq!(pace.ask(1_100, 0), Some(3_008));
        assert_eq!(pace.ask(1_500, 0), None);
        assert!(!pace.take_along(1_599));
        assert!(pace.take_along(1_600));
        pace.told(1_600, 100, &LIMITS);
        assert!(!pace.take_due(3_008) && !pace.take_along(9_000));
        assert_eq!(pace.ask(1_700, 0), Some(3_600));
    }

    #[test]
    fn who_comes_back_is_told_together_with_its_leaving() {
        let mut pace = Pace::default();
        assert_eq!(pace.ask(1_000, 500), Some(1_504), "a leave can wait");
        assert_eq!(pace.ask(1_100, 500), None);
        assert_eq!(pace.ask(1_200, 0), Some(1_200), "who comes does not");
        assert!(pace.take_due(1_200));
        pace.told(1_200, 3, &LIMITS);
        assert!(!pace.take_due(1_504), "the timer of the leave has been overtaken");
        assert_eq!(pace.ask(1_300, 0), Some(1_408));
    }
}

//! Hands a connection to the home of its first room, before its first join, if the room is small.
//!
//! The kernel gives a connection to any shard. A room of 20 with members on all shards wakes all of
//! them for each message, which costs more than the writes. So a shard that reads a connection's
//! first join hands the connection to the room's home, with its input that is not handled yet.
//! There the join is handled as if it had arrived there.
//!
//! ```text
//!   phx_join ── first of this connection? room lives elsewhere, and is small? ── parked ── end of turn: Io::hand_off ─┐
//!                                                                                                                   (reactor)
//!   the home ── Shard::take_over ── unparked: the join is handled here, and all that follows ────────────────────────┘
//! ```
//!
//! A large room stays on all shards: they write in parallel, and waking them costs little beside
//! the writes. A shard does not hand off to one that has many more connections, as far as it knows
//! ([`ToHome::Load`]). In these cases, and for later joins of other rooms, messages go through the
//! rings as ever: where a connection is only changes the cost.
//!
//! The connection's place goes with it. Each shard has an equal part of `limits.connections`. The
//! shard that takes a connection over may have one more, and the other one less, until a free place
//! is given back. In the same way a full shard is lent places by others, since the kernel does not
//! fill shards evenly.
//!
//! A shard that restarts has its own part again, and both sides forget what was lent to it or by
//! it. A connection may be under way then, and the queue that carries its socket keeps no order
//! with the rings that tell of the restart. So a handoff names the [`Lives`] of both shards, and
//! its place counts only if neither of them has restarted since. A handoff from a new life of the
//! other shard, of which this one has not heard yet, counts from when it does.
//!
//! Invariants: a connection is handed off at most once in its life, and has neither channels nor
//! output then, so no other shard knows of it.

use std::cmp::Ordering;

use super::{Shard, Turn};
use crate::conn::Stage;
use crate::limits::{LOAD_SLACK, LOAD_STEP};
use crate::link::ask::Ask;
use crate::link::ids::ConnKey;
use crate::link::io::{Handoff, Io, Lives};
use crate::link::record::ToHome;
use crate::link::topic::room_of;
use crate::wire::ws::close::CloseCode;

/// What is known here of another shard.
#[derive(Clone, Copy, Debug, Default)]
struct Other {
    /// How many connections it has.
    conns: u32,
    /// Whether it has no place left.
    is_full: bool,
    /// Which life of it is known here.
    life: u32,
    /// How many places came from that life, less those that went there.
    places: i64,
    /// How many came from a later one, and from which.
    early: i64,
    early_life: u32,
}

/// Who is to be handed off, and what is known of the others.
#[derive(Debug, Default)]
pub(super) struct Handoffs {
    /// In this turn, and to which shard.
    leaving: Vec<(ConnKey, u16)>,
    /// By shard.
    others: Box<[Other]>,
    /// What they know of this one: how many connections, and whether it is full.
    told: (u32, bool),
}

impl Handoffs {
    pub(super) fn new(shards: u16) -> Self {
        Self { others: (0..shards).map(|_| Other::default()).collect(), ..Self::default() }
    }

    fn other(&mut self, shard: u16) -> &mut Other {
        &mut self.others[usize::from(shard)]
    }

    /// What another shard says that it has, whether it is full, and how many places it gives.
    pub(super) fn learn(&mut self, shard: u16, conns: u32, is_full: bool, places: u32) {
        let other = self.other(shard);
        *other = Other { conns, is_full, places: other.places + i64::from(places), ..*other };
    }

    /// A shard has restarted: with its share, nobody in it, and knowing nothing.
    pub(super) fn forget(&mut self, shard: u16, life: u32) {
        let other = self.other(shard);
        let Other { early, early_life, .. } = *other;
        *other = match early_life.cmp(&life) {
            Ordering::Less => Other { life, ..Other::default() },
            Ordering::Equal => Other { life, places: early, ..Other::default() },
            // It has restarted once more, which is still to be heard of.
            Ordering::Greater => Other { life, early, early_life, ..Other::default() },
        };
        self.told = (0, false);
    }

    /// Keeps what a shard that restarts knows of the others: in which lives they are.
    pub(super) fn follow(&mut self, old: &Self) {
        for (other, old) in self.others.iter_mut().zip(&old.others) {
            other.life = old.life;
        }
    }

    /// A place goes to another shard with its connection. `life` is this shard's.
    fn depart(&mut self, shard: u16, life: u32) -> Lives {
        let other = self.other(shard);
        other.places -= 1;
        // Until that shard says how many it has.
        other.conns += 1;
        Lives { from: life, to: other.life }
    }

    /// A place comes from another shard with its connection. `life` is this shard's.
    fn arrive(&mut self, shard: u16, lives: Lives, life: u32) {
        let other = self.other(shard);
        if lives.to != life || lives.from < other.life {
            // The one that gave it has forgotten it, or will.
            return;
        }
        if lives.from == other.life {
            other.places += 1;
        } else if lives.from == other.early_life {
            other.early += 1;
        } else if lives.from > other.early_life {
            (other.early, other.early_life) = (1, lives.from);
        }
    }

    /// How many connections there may be, where `share` is this shard's own.
    pub(super) fn places(&self, share: u32) -> usize {
        let lent: i64 = self.others.iter().map(|other| other.places).sum();
        usize::try_from(i64::from(share) + lent).unwrap_or(0)
    }

    /// Whether a shard has so few connections that one of `here` may go there: up to half as many
    /// again as are here, and a few. Of fifty rooms thirty may have their home on one of two
    /// shards. With a rule much stricter some members of many rooms would be left behind, and one
    /// who is elsewhere costs a wake for each message. Hundreds of rooms fall more evenly.
    fn takes(&self, shard: u16, here: usize) -> bool {
        (self.others[usize::from(shard)].conns as usize) < here + here / 2 + LOAD_SLACK
    }

    /// How many of so many free places another shard is to have: those that came from it, and if it
    /// is full at least half. But never the last, or two shards would give it to each other for
    /// ever.
    fn give(&mut self, shard: u16, free: u32) -> u32 {
        let other = self.other(shard);
        let owed = u32::try_from(other.places).unwrap_or(0).min(free.saturating_sub(1));
        let places = if other.is_full { owed.max(free / 2) } else { owed };
        other.places -= i64::from(places);
        places
    }
}

impl Shard {
    /// A connection joins. If that is its first join, and to be done elsewhere, it is handed off at
    /// the end of the turn: the caller is to park it.
    pub(super) fn goes_elsewhere<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        key: ConnKey,
        topic: &str,
    ) -> bool {
        let conns = &mut self.members.conns;
        let stage = conns.replace_stage(key, Stage::Settled);
        if stage == Stage::Settled || self.common.settings.shards == 1 {
            return false;
        }
        let Some(room) = room_of(topic) else { return false };
        let may_join = conns.identity(key).is_some_and(|identity| identity.may_join(room));
        let (here, is_session) = (conns.len(), conns.flags(key.index()).is_session());
        let cx = self.common.cx(turn);
        let home = cx.home_of(topic);
        let goes = home != cx.id
            && may_join
            && self.directory.members(room) < cx.settings.gathered_members
            && !cx.is_draining
            && !is_session
            && !cx.is_filling(home)
            && self.handoffs.takes(home, here);
        if goes {
            self.handoffs.leaving.push((key, home));
        }
        goes
    }

    /// Hands off those that are to go. One that cannot, since its socket does not take what it is
    /// to be sent first, joins from here.
    pub(super) fn hand_off<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        let mut leaving = std::mem::take(&mut self.handoffs.leaving);
        for (key, shard) in leaving.drain(..) {
            let is_closing = self.members.conns.flags(key.index()).is_closing();
            if self.members.conns.contains(key) && !is_closing {
                if self.members.flush_conn(&mut self.common.cx(turn), key) {
                    self.depart(turn, key, shard);
                } else {
                    self.members.conns.unpark(key);
                }
            }
        }
        self.handoffs.leaving = leaving;
        self.relay(turn);
    }

    fn depart<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: ConnKey, shard: u16) {
        let warning = self.members.conns.warning(key);
        let Some((identity, serializer, held)) = self.members.conns.depart(key) else { return };
        let lives = self.handoffs.depart(shard, self.restart.life());
        let handoff = Handoff { from: self.common.id, lives, identity, warning, serializer, held };
        turn.io.hand_off(key.index(), shard, handoff);
    }

    /// Takes a connection over that another shard has handed off, with its place.
    pub fn take_over<I: Io>(&mut self, turn: &mut Turn<'_, I>, handoff: Handoff) -> ConnKey {
        let Handoff { from, lives, identity, warning, serializer, held } = handoff;
        self.common.metrics.handed_off += 1;
        self.handoffs.arrive(from, lives, self.restart.life());
        let conns = &mut self.members.conns;
        let key = conns.arrive(turn.now, identity, serializer, &held);
        conns.set_warning(key, warning);
        if self.common.draining.is_some() {
            self.members.close(&mut self.common.cx(turn), key, CloseCode::Restart, "");
        }
        key
    }

    /// Tells the other shards how many connections there are, if that has changed by much, and
    /// whether there is a place for another; gives places back, and some to those that have none.
    pub(super) fn tell_load<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let conns = number(self.members.conns.len());
        let places = number(self.handoffs.places(self.common.settings.conns_max));
        let mut free = places.saturating_sub(conns);
        let is_full = free == 0;
        let (told, told_full) = self.handoffs.told;
        let is_news = conns.abs_diff(told) >= told / 8 + LOAD_STEP || is_full != told_full;
        if is_news {
            self.handoffs.told = (conns, is_full);
        }
        let (me, shards) = (self.common.id, self.common.settings.shards);
        for shard in (0..shards).filter(|shard| *shard != me) {
            let places = self.handoffs.give(shard, free);
            free -= places;
            if is_news || places > 0 {
                let message = ToHome::Load { conns, is_full, places };
                self.ask(turn, Ask::Home { shard, message });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_hands_off_to_none_that_has_half_as_many_again_as_it_has_itself() {
        let mut handoffs = Handoffs::new(2);
        let slack = u32::try_from(LOAD_SLACK).unwrap();
        for (there, here, takes) in [
            (0, 0, true),
            (slack - 1, 0, true),
            (slack, 0, false),
            (1_199 + slack, 800, true),
            (1_200 + slack, 800, false),
        ] {
            handoffs.learn(1, there, false, 0);
            assert_eq!(handoffs.takes(1, here), takes, "{there} there, {here} here");
        }
        handoffs.forget(1, 1);
        assert!(handoffs.takes(1, 0));
    }

    #[test]
    fn places_that_went_elsewhere_are_missed_until_they_come_back() {
        let mut handoffs = Handoffs::new(2);
        handoffs.other(1).places -= 3;
        assert_eq!([2, 5].map(|share| handoffs.places(share)), [0, 2]);
        handoffs.learn(1, 10, false, 2);
        assert_eq!(handoffs.places(5), 4);
        handoffs.forget(1, 1);
        assert_eq!(handoffs.places(5), 5);
    }

    /// Two shards with ten places each, and what they know of each other.
    struct Pair {
        shards: [Handoffs; 2],
        lives: [u32; 2],
    }

    impl Pair {
        fn new() -> Self {
            Self { shards: [Handoffs::new(2), Handoffs::new(2)], lives: [0; 2] }
        }

        fn depart(&mut self, from: u16) -> Lives {
            let at = usize::from(from);
            self.shards[at].depart(1 - from, self.lives[at])
        }

        fn arrive(&mut self, to: u16, lives: Lives) {
            let at = usize::from(to);
            self.shards[at].arrive(1 - to, lives, self.lives[at]);
        }

        fn restart(&mut self, shard: u16) {
            let at = usize::from(shard);
            let mut next = Handoffs::new(2);
            next.follow(&self.shards[at]);
            self.shards[at] = next;
            self.lives[at] += 1;
        }

        /// The other one hears of it.
        fn hear_of(&mut self, shard: u16) {
            let at = usize::from(shard);
            self.shards[1 - at].forget(shard, self.lives[at]);
        }

        fn places(&self) -> [usize; 2] {
            self.shards.each_ref().map(|shard| shard.places(10))
        }
    }

    /// A connection goes from shard 0 to shard 1, and `restarted` restarts at `step` of its way;
    /// the other one hears of that at a later one. Twice, since a life is no longer the first then.
    #[track_caller]
    fn check_restart(restarted: u16, step: u32, heard: u32) {
        let mut pair = Pair::new();
        for _ in 0..2 {
            let mut lives = None;
            for now in 0..6 {
                if now == step {
                    pair.restart(restarted);
                }
                if now == heard {
                    pair.hear_of(restarted);
                }
                match now {
                    1 => lives = Some(pair.depart(0)),
                    3 => pair.arrive(1, lives.expect("it departed")),
                    _ => {}
                }
            }
            let [here, there] = pair.places();
            assert_eq!(here + there, 20, "{restarted} at {step}, heard at {heard}: {here} {there}");
        }
    }

    #[test]
    fn no_place_is_made_or_lost_when_a_shard_restarts_while_a_connection_is_under_way() {
        for restarted in [0, 1] {
            for step in 0..6 {
                for heard in step..6 {
                    check_restart(restarted, step, heard);
                }
            }
        }
    }

    #[test]
    fn no_place_is_lost_when_a_shard_has_restarted_twice_before_it_is_heard_of() {
        for departs_in_first in [false, true] {
            let mut pair = Pair::new();
            pair.restart(0);
            let first = departs_in_first.then(|| pair.depart(0));
            pair.restart(0);
            let second = pair.depart(0);
            for lives in first.into_iter().chain([second]) {
                pair.arrive(1, lives);
            }
            for life in [1, 2] {
                pair.shards[1].forget(0, life);
            }
            assert_eq!(pair.places(), [9, 11], "{departs_in_first}");
        }
    }

    #[test]
    fn what_is_owed_is_given_back_and_who_is_full_gets_half_but_never_the_last_place() {
        for (places, is_full, free, given) in [
            (3, false, 10, 3),
            (3, false, 3, 2),
            (3, false, 1, 0),
            (-3, false, 10, 0),
            (0, true, 10, 5),
            (8, true, 10, 8),
            (2, true, 10, 5),
            (0, true, 3, 1),
            (0, true, 1, 0),
            (0, true, 0, 0),
        ] {
            let mut handoffs = Handoffs::new(2);
            *handoffs.other(1) = Other { is_full, places, ..Other::default() };
            assert_eq!(handoffs.give(1, free), given, "{places} {is_full} {free}");
            assert_eq!(handoffs.other(1).places, places - i64::from(given));
        }
    }
}

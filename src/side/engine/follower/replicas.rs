//! What a primary has and its replicas may not have yet: it is told as kept when they do.
//!
//! A primary is asked whether they do by `WAIT`, for which it does nothing else that is asked on
//! the same connection. So it waits for a moment only, and is asked again: one replica that is gone
//! must not hold up what other rooms read and say. What was said meanwhile is asked for with it.
//!
//! Deliberately absent: which rooms a primary has, and clocks.

use super::Ways;
#[cfg(test)]
use super::planted::{self, Planted};
use crate::link::engine::FromEngine;
use crate::link::log::{Marks, Why};

/// An entry that a primary has.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) shard: u16,
    pub(super) number: u64,
    pub(super) marks: Marks,
    pub(super) at_ms: u64,
}

/// What is known of the replicas of one primary.
#[derive(Debug)]
pub(super) struct Replicas {
    /// How many must have what is told as kept.
    wanted: u32,
    /// What they may not have, with since when. First come those that are being asked for,
    waiting: Vec<(u64, Kept)>,
    /// which are so many, if they are.
    asked: Option<usize>,
}

impl Replicas {
    pub(super) fn of(wanted: u32) -> Self {
        Self { wanted, waiting: Vec::new(), asked: None }
    }

    /// Takes what the primary has. It is told now, if replicas need not have it.
    pub(super) fn keep(&mut self, ways: &mut impl Ways, now_ms: u64, kept: Kept) {
        #[cfg(test)]
        if planted::is(Planted::KeptBeforeReplicas) {
            return tell(ways, &kept);
        }
        if self.wanted == 0 {
            tell(ways, &kept);
        } else {
            self.waiting.push((now_ms, kept));
        }
    }

    /// How many replicas are to be waited for, if that is to be asked now.
    pub(super) fn ask(&mut self) -> Option<u32> {
        if self.waiting.is_empty() || self.asked.is_some() {
            return None;
        }
        self.asked = Some(self.waiting.len());
        Some(self.wanted)
    }

    /// So many have all that was asked for. What waits for them any longer than `timeout_ms` is in
    /// doubt.
    pub(super) fn answered(
        &mut self,
        ways: &mut impl Ways,
        now_ms: u64,
        timeout_ms: u64,
        count: u32,
    ) {
        let asked = self.asked.take().unwrap_or_default();
        if count >= self.wanted {
            self.waiting.drain(..asked).for_each(|(_, kept)| tell(ways, &kept));
            return;
        }
        let is_late = |since_ms: u64| now_ms.saturating_sub(since_ms) >= timeout_ms;
        let late = self.waiting.iter().take_while(|(since_ms, _)| is_late(*since_ms)).count();
        self.waiting.drain(..late).for_each(|(_, kept)| doubt(ways, &kept));
    }

    /// The connection has ended.
    pub(super) fn lost(self, ways: &mut impl Ways) {
        self.waiting.iter().for_each(|(_, kept)| doubt(ways, kept));
    }
}

fn tell(ways: &mut impl Ways, kept: &Kept) {
    let Kept { shard, number, marks, at_ms } = *kept;
    ways.tell(shard, &FromEngine::Kept { number, marks, at_ms });
}

fn doubt(ways: &mut impl Ways, kept: &Kept) {
    let Kept { shard, number, .. } = *kept;
    ways.tell(shard, &FromEngine::Refused { number, why: Why::Unconfirmed });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::side::engine::command::Command;

    /// What was told: each number, and whether it is kept.
    #[derive(Default)]
    struct Told(Vec<(u64, bool)>);

    impl Ways for Told {
        fn ask(&mut self, _: u64, _: Command) {
            unreachable!("whoever has replicas asks");
        }

        fn tell(&mut self, _: u16, message: &FromEngine<'_>) {
            self.0.push(match *message {
                FromEngine::Kept { number, .. } => (number, true),
                FromEngine::Refused { number, why: Why::Unconfirmed } => (number, false),
                _ => unreachable!("nothing else is told"),
            });
        }

        fn primary_of(&self, _: &str) -> u16 {
            0
        }

        fn is_busy(&self, _: u16) -> bool {
            false
        }

        fn disconnect(&mut self, _: &str) {}
    }

    fn kept(number: u64) -> Kept {
        Kept { shard: 0, number, marks: Marks::default(), at_ms: 0 }
    }

    #[test]
    fn what_no_replica_must_have_is_told_at_once() {
        let (mut replicas, mut told) = (Replicas::of(0), Told::default());
        replicas.keep(&mut told, 1, kept(1));
        assert_eq!((replicas.ask(), told.0), (None, vec![(1, true)]));
    }

    #[test]
    fn what_comes_while_replicas_are_asked_is_asked_for_with_the_next() {
        let (mut replicas, mut told) = (Replicas::of(2), Told::default());
        replicas.keep(&mut told, 1, kept(1));
        assert_eq!(replicas.ask(), Some(2));
        replicas.keep(&mut told, 2, kept(2));
        assert_eq!(replicas.ask(), None, "one question at a time");
        replicas.answered(&mut told, 3, 100, 2);
        assert_eq!(told.0, [(1, true)]);
        assert_eq!(replicas.ask(), Some(2));
        replicas.answered(&mut told, 4, 100, 3);
        assert_eq!(told.0, [(1, true), (2, true)]);
        assert_eq!(replicas.ask(), None);
    }

    #[test]
    fn too_few_are_asked_again_and_what_is_late_by_then_is_in_doubt() {
        let (mut replicas, mut told) = (Replicas::of(1), Told::default());
        replicas.keep(&mut told, 1, kept(1));
        assert_eq!(replicas.ask(), Some(1));
        replicas.keep(&mut told, 50, kept(2));
        replicas.answered(&mut told, 100, 100, 0);
        assert_eq!((replicas.ask(), &*told.0), (Some(1), &[][..]));
        replicas.answered(&mut told, 101, 100, 0);
        assert_eq!(told.0, [(1, false)]);
        assert_eq!(replicas.ask(), Some(1));
        replicas.answered(&mut told, 102, 100, 1);
        assert_eq!(told.0, [(1, false), (2, true)]);
    }

    #[test]
    fn all_that_waits_when_the_connection_ends_is_in_doubt() {
        let (mut replicas, mut told) = (Replicas::of(1), Told::default());
        replicas.keep(&mut told, 1, kept(1));
        replicas.ask();
        replicas.keep(&mut told, 1, kept(2));
        replicas.lost(&mut told);
        assert_eq!(told.0, [(1, false), (2, false)]);
    }
}

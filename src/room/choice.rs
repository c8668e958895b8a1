//! The members that a room lists when it is too large to list all of them.
//!
//! Up to `full_max` present members, all are listed. Above that, a list of all members for all
//! members would grow with the square of the room. So it is bounded: half of it is for those that
//! spoke last, half for those present for the longest, the *elders*. The choice is stable, since
//! each change is told to all: an elder stays until it leaves, and a speaker until as many others
//! have spoken.
//!
//! Deliberately absent: who is present, and who has been announced (`presence`).
//!
//! Called by: `presence`. Calls: nothing.

use std::collections::VecDeque;

use crate::base::bitset::BitSet;
use crate::limits::PresenceLimits;
use crate::link::ids::Slot;

/// The choice of one room.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// The elders, while the room is above `full_max`, with hysteresis. Boxed, since few rooms are.
    elders: Option<Box<BitSet>>,
    /// The last speakers, the latest at the back.
    speakers: VecDeque<Slot>,
}

impl Choice {
    /// Whether the list is bounded.
    pub(super) fn is_bounded(&self) -> bool {
        self.elders.is_some()
    }

    /// Notes that a present member spoke. False if it was the last speaker already.
    pub(super) fn note_speaker(&mut self, slot: Slot, limits: &PresenceLimits) -> bool {
        if self.speakers.back() == Some(&slot) {
            return false;
        }
        self.speakers.retain(|speaker| *speaker != slot);
        self.speakers.push_back(slot);
        if self.speakers.len() > half(limits) {
            self.speakers.pop_front();
        }
        true
    }

    /// Notes how many are present. The full list returns when a quarter of the members above the
    /// bound have gone, so that it does not flicker.
    pub(super) fn note_present(&mut self, present: u32, limits: &PresenceLimits) {
        let is_bounded = limits.full_max > 0
            && (present > limits.full_max
                || self.is_bounded() && present > limits.full_max - limits.full_max / 4);
        if is_bounded {
            self.elders.get_or_insert_default();
        } else {
            self.elders = None;
        }
    }

    /// The members of a bounded list, of those present. `arrival` is the rank of a slot's member in
    /// the order of joins.
    pub(super) fn target(
        &mut self,
        present: &BitSet,
        arrival: impl Fn(u32) -> u32,
        limits: &PresenceLimits,
    ) -> BitSet {
        let elders = self.elders.get_or_insert_default();
        refill(elders, present, arrival, limits);
        let mut target = BitSet::clone(elders);
        for speaker in &self.speakers {
            target.set(speaker.0, true);
        }
        target
    }

    /// Forgets a member that has left.
    pub(super) fn forget(&mut self, slot: Slot) {
        if let Some(elders) = &mut self.elders {
            elders.set(slot.0, false);
        }
        self.speakers.retain(|speaker| *speaker != slot);
    }
}

/// Chooses new elders in place of those that left.
fn refill(
    elders: &mut BitSet,
    present: &BitSet,
    arrival: impl Fn(u32) -> u32,
    limits: &PresenceLimits,
) {
    let missing = half(limits).saturating_sub(elders.count_ones() as usize);
    if missing == 0 {
        return;
    }
    let others = present.iter_ones().filter(|slot| !elders.contains(*slot));
    let mut candidates: Vec<(u32, u32)> = others.map(|slot| (arrival(slot), slot)).collect();
    if candidates.len() > missing {
        candidates.select_nth_unstable(missing - 1);
        candidates.truncate(missing);
    }
    for (_, slot) in candidates {
        elders.set(slot, true);
    }
}

/// Half the list is for speakers, half for elders.
fn half(limits: &PresenceLimits) -> usize {
    (limits.listed / 2).max(1) as usize
}

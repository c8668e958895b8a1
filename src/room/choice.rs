//! Whom a room lists when there are too many to list everybody.
//!
//! Up to `full_max` present, everybody is listed. Above, a list of all sent to all would grow with
//! the square of the room, so it is bounded: half of it is for those who spoke last, half for those
//! longest there. The choice is stable, for each change of it is told to everybody: an elder stays
//! until it leaves, and a speaker until as many others have spoken.
//!
//! Deliberately absent: who is present, and whom the members have been told of (`presence`).
//!
//! Called by: `presence`. Calls: nothing.

use std::collections::VecDeque;

use crate::base::bitset::BitSet;
use crate::limits::PresenceLimits;
use crate::link::ids::Slot;

/// The choice of one room.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// Whether the room is above `full_max`, with hysteresis.
    is_bounded: bool,
    elders: BitSet,
    /// Who spoke last, the latest at the back.
    speakers: VecDeque<Slot>,
}

impl Choice {
    /// Whether not everybody is listed.
    pub(super) fn is_bounded(&self) -> bool {
        self.is_bounded
    }

    /// Notes that a member spoke who is present. False if it was the last one who did.
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
        self.is_bounded = limits.full_max > 0
            && (present > limits.full_max
                || self.is_bounded && present > limits.full_max - limits.full_max / 4);
        if !self.is_bounded {
            self.elders.clear();
        }
    }

    /// Whom a bounded list is to have, of those who are present. `arrival` tells of a slot when its
    /// member came, among the others.
    pub(super) fn target(
        &mut self,
        present: &BitSet,
        arrival: impl Fn(u32) -> u32,
        limits: &PresenceLimits,
    ) -> BitSet {
        self.refill_elders(present, arrival, limits);
        let mut target = self.elders.clone();
        for speaker in &self.speakers {
            target.set(speaker.0, true);
        }
        target
    }

    /// Forgets a member that has left.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.elders.set(slot.0, false);
        self.speakers.retain(|speaker| *speaker != slot);
    }

    /// Chooses those longest there in place of elders who left.
    fn refill_elders(
        &mut self,
        present: &BitSet,
        arrival: impl Fn(u32) -> u32,
        limits: &PresenceLimits,
    ) {
        let missing = half(limits).saturating_sub(self.elders.count_ones() as usize);
        if missing == 0 {
            return;
        }
        let others = present.iter_ones().filter(|slot| !self.elders.contains(*slot));
        let mut candidates: Vec<(u32, u32)> = others.map(|slot| (arrival(slot), slot)).collect();
        if candidates.len() > missing {
            candidates.select_nth_unstable(missing - 1);
            candidates.truncate(missing);
        }
        for (_, slot) in candidates {
            self.elders.set(slot, true);
        }
    }
}

/// Half the list is for speakers, half for those longest there.
fn half(limits: &PresenceLimits) -> usize {
    (limits.listed / 2).max(1) as usize
}

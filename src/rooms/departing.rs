//! Members whose shard has begun anew, until they have left their rooms: so many in a turn.
//!
//! ```text
//!   Restarted ── forget_members ── nowhere: in no outpost ── depart_some, in each turn ── gone
//! ```
//!
//! From the call on nothing is told to that shard, and nothing is held for it. Who joins from its
//! new life is another member, with another slot. Only in counts and lists do the old ones stay
//! until they have left, and leave there as if they had gone one after another.
//!
//! Invariant: who is nowhere is a member in the line.
//!
//! Deliberately absent: how much a turn may do (`member::endings`).
//!
//! Called by: `shard`. Calls: `room`, `membership`, and whatever waits for an answer.

use std::collections::VecDeque;

use crate::base::slack::Slack;
use crate::limits::{LEAVING_WORK, VISITS_PER_WORK};
use crate::link::ids::{RoomKey, Slot};
use crate::link::io::Io;
use crate::link::outbox::Cx;
use crate::room::pacing::Urgency;
use crate::rooms::Rooms;
use crate::rooms::registry::Registered;

/// Those who have still to leave, by room, in the order in which their shards have begun anew.
#[derive(Debug, Default)]
pub(super) struct Departing {
    line: VecDeque<(RoomKey, VecDeque<Slot>)>,
}

impl Departing {
    /// Gives back memory that is mostly unused.
    pub(super) fn trim(&mut self, kept: usize) {
        self.line.trim(kept);
    }
}

impl Rooms {
    /// A shard has begun anew: all its members are to leave, and whatever it waits for is nobody's.
    ///
    /// Requires: nothing. Changes: held answers, what waits, outposts. Emits: nothing.
    pub(crate) fn forget_members<I: Io>(&mut self, cx: &mut Cx<'_, I>, shard: u16) {
        self.held.retain(|membership| membership.shard != shard);
        self.forget_awaiting(cx, shard);
        let awaited = self.reads.forget(shard).into_iter().chain(self.invited.forget(shard));
        for key in awaited.collect::<Vec<_>>() {
            self.retire_if_empty(cx, key);
        }
        for key in self.keys(|room| room.audience(shard).is_some()) {
            let Some(Registered { room, .. }) = self.arena.get_mut(key) else { continue };
            cx.budget.spend_for(room.members_count() as usize, VISITS_PER_WORK);
            self.departing.line.push_back((key, room.lose_shard(shard).into()));
        }
    }

    /// Lets some of them leave, until that was so much work. Returns how much it was.
    ///
    /// Requires: nothing. Changes: members. Emits: a tick, a listing.
    pub(crate) fn depart_some<I: Io>(&mut self, cx: &mut Cx<'_, I>, most: u32) -> u32 {
        let mut work = 0;
        while work < most
            && let Some((key, mut slots)) = self.departing.line.pop_front()
        {
            while work < most
                && let Some(slot) = slots.pop_front()
            {
                if let Some(Registered { room, .. }) = self.arena.get_mut(key) {
                    room.leave(slot);
                }
                cx.metrics.left_at_end += 1;
                work += LEAVING_WORK;
            }
            self.membership_changed(cx, key, Urgency::AfterRest);
            if !slots.is_empty() {
                self.departing.line.push_front((key, slots));
                break;
            }
        }
        work
    }

    /// Whether some have still to leave.
    pub(crate) fn has_departing(&self) -> bool {
        !self.departing.line.is_empty()
    }

    /// The same as [`Rooms::forget_members`], and they leave in the call.
    #[cfg(test)]
    pub(super) fn forget_all<I: Io>(&mut self, cx: &mut Cx<'_, I>, shard: u16) {
        self.forget_members(cx, shard);
        self.depart_some(cx, u32::MAX);
    }
}

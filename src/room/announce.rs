//! How a room's members learn who is there: changes come with a tick, and each newcomer gets the
//! list.
//!
//! Deliberately absent: the time of ticks (`pacing`), and lists that are kept for the next newcomer
//! (`rooms`).
//!
//! Called by: `rooms`. Calls: `presence`, `pacing`, `meta`.

use crate::base::bitset::BitSet;
use crate::base::time::Now;
use crate::limits::PresenceLimits;
use crate::link::field::Field;
use crate::link::ids::{Count, Place, Slot};
use crate::link::message::push_count;
use crate::room::meta::Named;
use crate::room::pacing::Urgency;
use crate::room::presence::{As, Version};
use crate::room::{Room, meta};

/// Memory for this many newcomers at once is kept.
const NEWCOMERS_KEPT: usize = 4;

impl Room {
    /// Attaches another meta to a member, or none. Returns whether there is something to tell.
    pub(crate) fn set_meta(&mut self, slot: Slot, meta: Option<&str>) -> bool {
        self.presence.set_meta(slot, meta.map(Box::from))
    }

    /// Asks for a tick. Returns the time to set a timer for, if none is set that is early enough.
    pub(crate) fn request_tick(
        &mut self,
        now: Now,
        urgency: Urgency,
        limits: &PresenceLimits,
    ) -> Option<u64> {
        self.pacing.request(now.mono_ms, urgency, self.presence.live_count(), limits)
    }

    /// Takes the tick if it is due. True if it was.
    pub(crate) fn take_due_tick(&mut self, now: Now) -> bool {
        self.pacing.take_due(now.mono_ms)
    }

    /// Takes the tick if its news may go along with what is said. True if it may.
    pub(crate) fn take_tick_along(&mut self, now: Now) -> bool {
        self.pacing.take_along(now.mono_ms)
    }

    /// The time to the next tick, in milliseconds; 0 if none is set.
    pub(crate) fn tick_wait_ms(&self, now: Now) -> u64 {
        self.pacing.wait_ms(now.mono_ms)
    }

    /// Whether a tick is set.
    pub(crate) fn has_tick(&self) -> bool {
        self.pacing.has_tick()
    }

    /// Appends the payload of a `presence_diff` since the last tick, and notes it as told. Returns
    /// false, and appends nothing, if there is no news. `seen` is working memory.
    pub(crate) fn tick(
        &mut self,
        limits: &PresenceLimits,
        seen: &mut BitSet,
        out: &mut Vec<u8>,
    ) -> bool {
        if !self.presence.tick(limits) {
            return false;
        }
        meta::push_diff(out, &self.presence, self.refs(), seen);
        if let Some(slices) = &mut self.slices {
            slices.note_news(&self.presence);
        }
        self.presence.announce();
        true
    }

    /// Appends the payload of `presence_count`, if the true number is news.
    pub(crate) fn push_count_news(&mut self, out: &mut Vec<u8>) -> bool {
        let news = self.presence.count_news();
        if let Some(count) = news {
            push_count(out, count);
        }
        news.is_some()
    }

    /// Notes that all members have been told: the room rests.
    pub(crate) fn rest(&mut self, now: Now, limits: &PresenceLimits) {
        self.pacing.told(now.mono_ms, self.presence.live_count(), limits);
    }

    /// Notes a member that is to be sent the list.
    pub(crate) fn expect_greeting(&mut self, slot: Slot) {
        self.newcomers.push(slot);
    }

    /// Members that have not been sent the list yet.
    pub(crate) fn newcomers(&self) -> &[Slot] {
        &self.newcomers
    }

    /// Notes that the newcomers have been greeted.
    pub(crate) fn greeted(&mut self) {
        self.newcomers.clear();
        self.newcomers.shrink_to(NEWCOMERS_KEPT);
    }

    /// Appends the list of announced members: the inside of a JSON object.
    pub(crate) fn push_list(&self, out: &mut Vec<u8>, seen: &mut BitSet) {
        let announced = (self.presence.announced(), As::Announced);
        meta::push_users(out, &self.presence, announced, self.refs(), seen);
    }

    /// What an entry of a member in a place is called.
    fn refs(&self) -> impl Fn(&Place, Version) -> Named + Copy {
        |place, version| match place {
            Place::Here(_) => Named { refs_from: self.refs_from, version },
            Place::Elsewhere(entry) => {
                let slices = self.slices.as_ref();
                let refs_from = slices.map_or(0, |slices| slices.refs_from(entry.refs()));
                let version = Version { number: entry.number(), replaces: entry.replaces() };
                Named { refs_from, version }
            }
        }
    }

    /// The number that goes with the list, where it is not complete.
    pub(crate) fn list_count(&self) -> Option<Count> {
        self.presence.told_count()
    }

    /// Appends the newcomers on a shard in the order in which they joined, each with its own entry
    /// for the list; empty if the list has one. Read by `member`.
    pub(crate) fn push_own_entries(&self, out: &mut Vec<u8>, shard: u16) {
        for slot in &self.newcomers {
            self.push_own_entry(out, shard, *slot);
        }
    }

    fn push_own_entry(&self, out: &mut Vec<u8>, shard: u16, slot: Slot) {
        let Some(address) = self.address(slot).filter(|address| address.shard == shard) else {
            return;
        };
        let Some(member) = self.member(slot) else { return };
        address.conn.put(out);
        let begin = out.len();
        0u32.put(out);
        if self.presence.is_unlisted(slot) {
            let device = std::iter::once((slot, member));
            let user = (member.identity.user(), As::Present);
            meta::push_user(out, &self.presence, user, device, self.refs());
        }
        let bytes = u32::try_from(out.len() - begin - 4).expect("an entry is small");
        out[begin..begin + 4].copy_from_slice(&bytes.to_le_bytes());
    }
}

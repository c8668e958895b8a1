//! Who is in a room, as bits.
//!
//! Each membership has a slot, a small dense number. Three sets of slots say all:
//!
//! - `present`: who is there and wishes to be seen;
//! - `announced`: whom the members have been told of;
//! - the *target*: whom they should have been told of. That is everybody present, and in a large
//!   room those whom [`Choice`] lists.
//!
//! At a tick the news is `target XOR announced`. Whoever came and left in between has changed no
//! bit.
//!
//! Invariants:
//!
//! 1. a slot is given out again only when its last member is neither there nor announced: the news
//!    of a leave needs its meta;
//! 2. `announced` is exactly what a client holds that has folded every diff since the room began;
//! 3. each user stands once in a diff, with its devices from the oldest to the newest.
//!
//! Deliberately absent: whom a large room lists (`choice`), how it is written (`meta`), when a tick
//! is, and what a member's place `P` means, which is kept for the caller.
//!
//! Called by: `room`, `meta`. Calls: `choice`.

use std::collections::HashMap;

use hashbrown::HashTable;
use slab::Slab;
use smallvec::SmallVec;

use crate::auth::identity::Identity;
use crate::base::bitset::BitSet;
use crate::base::slack::{self, Slack};
use crate::limits::PresenceLimits;
use crate::link::ids::{Count, Slot};
use crate::room::choice::Choice;

/// One membership: a user on one device. Every idle connection has one, so it is kept small.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "four facts, each on its own")]
pub struct Member<P> {
    /// Who it is.
    pub identity: Identity,
    /// Where it is, as the caller put it.
    pub place: P,
    /// When it joined, in seconds of Unix time, until 2106.
    pub online_at_s: u32,
    /// Counts the joins of this room: unique within one life of the room, and ordered, for 4
    /// billion of them.
    pub arrival: u32,
    /// Whether it wishes to be seen.
    visible: bool,
    /// Whether it is still there; a member that left stays until that is announced.
    live: bool,
    has_meta: bool,
    /// Whether its user may have other devices here: false for nearly everybody, who need not be
    /// looked up.
    shares_user: bool,
}

// With a place of 12 bytes.
const _: () = assert!(size_of::<Member<[u32; 3]>>() <= 32);

/// The members of one room, each with a place `P`.
#[derive(Debug)]
pub struct Presence<P> {
    members: Slab<Member<P>>,
    live_count: u32,
    arrivals: u32,
    /// What clients attached, where they did: JSON objects, by slot.
    metas: HashMap<u32, Box<str>, ahash::RandomState>,
    meta_bytes: usize,
    /// Those who wish to be seen, and are there or announced, found by their user's id.
    by_user: HashTable<Slot>,
    hasher: ahash::RandomState,
    present: BitSet,
    announced: BitSet,
    joins: BitSet,
    leaves: BitSet,
    choice: Choice,
    told: Option<Count>,
}

// Written out, for a derive would ask the same of `P`.
impl<P> Default for Presence<P> {
    fn default() -> Self {
        Self {
            members: Slab::new(),
            live_count: 0,
            arrivals: 0,
            metas: HashMap::default(),
            meta_bytes: 0,
            by_user: HashTable::new(),
            hasher: ahash::RandomState::default(),
            present: BitSet::new(),
            announced: BitSet::new(),
            joins: BitSet::new(),
            leaves: BitSet::new(),
            choice: Choice::default(),
            told: None,
        }
    }
}

impl<P> Presence<P> {
    /// Takes a member in, at its place. With `visible` false it is listed nowhere.
    ///
    /// # Panics
    ///
    /// With 2^32 members.
    pub fn join(
        &mut self,
        identity: Identity,
        place: P,
        meta: Option<Box<str>>,
        online_at_s: u64,
        visible: bool,
    ) -> Slot {
        self.arrivals = self.arrivals.wrapping_add(1);
        let slot = Slot(
            u32::try_from(self.members.vacant_key()).expect("fewer memberships than descriptors"),
        );
        let shares_user = visible && self.note_user(identity.user(), slot);
        if slot.index() >= self.members.capacity() {
            // Members are many, and an eighth in reserve is enough.
            self.members.reserve_exact((self.members.len() / 8).max(4));
        }
        self.members.insert(Member {
            identity,
            place,
            online_at_s: u32::try_from(online_at_s).unwrap_or(u32::MAX),
            arrival: self.arrivals,
            visible,
            live: true,
            has_meta: meta.is_some(),
            shares_user,
        });
        if let Some(meta) = meta {
            self.meta_bytes += meta.len();
            self.metas.insert(slot.0, meta);
        }
        self.live_count += 1;
        if visible {
            self.present.set(slot.0, true);
        }
        slot
    }

    /// Lets a member go.
    ///
    /// # Panics
    ///
    /// If it is not there: a membership would be ended twice.
    pub fn leave(&mut self, slot: Slot) {
        let member = &mut self.members[slot.index()];
        assert!(member.live, "a member leaves once");
        member.live = false;
        self.live_count -= 1;
        self.present.set(slot.0, false);
        self.choice.forget(slot);
        if !self.announced.contains(slot.0) {
            self.forget(slot);
        }
    }

    /// The member in a slot, if there is one that has not left.
    #[must_use]
    pub fn member(&self, slot: Slot) -> Option<&Member<P>> {
        self.members.get(slot.index()).filter(|member| member.live)
    }

    /// All members that have not left, in the order of their slots.
    pub fn members(&self) -> impl Iterator<Item = (Slot, &Member<P>)> {
        let live = self.members.iter().filter(|(_, member)| member.live);
        live.filter_map(|(index, member)| Some((Slot(u32::try_from(index).ok()?), member)))
    }

    /// How many memberships there are, the invisible ones included.
    #[must_use]
    pub fn live_count(&self) -> u32 {
        self.live_count
    }

    /// How many bytes of metas it holds, those of members who left and are still to be announced
    /// included.
    #[must_use]
    pub fn meta_bytes(&self) -> usize {
        self.meta_bytes
    }

    /// How many are present and visible.
    #[must_use]
    pub fn present_count(&self) -> u32 {
        self.present.count_ones()
    }

    /// Notes that a member spoke. Says whether the list changes by it, so that a tick is due.
    pub fn spoke(&mut self, slot: Slot, limits: &PresenceLimits) -> bool {
        self.present.contains(slot.0)
            && self.choice.note_speaker(slot, limits)
            && self.choice.is_bounded()
            && !self.announced.contains(slot.0)
    }

    /// Works out the news since the last tick: [`Presence::joins`] and [`Presence::leaves`]. True
    /// if there is any.
    ///
    /// To be followed by [`Presence::announce`] once it is written down.
    pub fn tick(&mut self, limits: &PresenceLimits) -> bool {
        let Self { members, present, announced, joins, leaves, choice, .. } = self;
        joins.clear();
        leaves.clear();
        choice.note_present(present.count_ones(), limits);
        if choice.is_bounded() {
            let arrival = |slot: u32| members[slot as usize].arrival;
            split_news(&choice.target(present, arrival, limits), announced, joins, leaves);
        } else {
            split_news(present, announced, joins, leaves);
        }
        !self.joins.is_empty() || !self.leaves.is_empty()
    }

    /// Who is to be announced by this tick.
    #[must_use]
    pub fn joins(&self) -> &BitSet {
        &self.joins
    }

    /// Who is to be taken off the list by this tick.
    #[must_use]
    pub fn leaves(&self) -> &BitSet {
        &self.leaves
    }

    /// Whom the members know of.
    #[must_use]
    pub fn announced(&self) -> &BitSet {
        &self.announced
    }

    /// Takes the news of [`Presence::tick`] as told.
    pub fn announce(&mut self) {
        let joins = std::mem::take(&mut self.joins);
        let leaves = std::mem::take(&mut self.leaves);
        joins.iter_ones().for_each(|slot| self.announced.set(slot, true));
        for slot in leaves.iter_ones() {
            self.announced.set(slot, false);
            if !self.members[slot as usize].live {
                self.forget(Slot(slot));
            }
        }
        (self.joins, self.leaves) = (joins, leaves);
        self.trim();
    }

    /// The true number, if it is news: in rooms too large for a full list, and once when they are
    /// no longer.
    pub fn count_news(&mut self) -> Option<Count> {
        let count = Count { present: self.present_count(), listed: self.announced.count_ones() };
        let told = self.told;
        let is_bounded = self.choice.is_bounded();
        self.told = is_bounded.then_some(count);
        (is_bounded && told != Some(count) || !is_bounded && told.is_some()).then_some(count)
    }

    /// The number that the members were told last, in rooms too large for a full list: it goes with
    /// [`Presence::announced`].
    #[must_use]
    pub fn told_count(&self) -> Option<Count> {
        self.told
    }

    /// Whether a member sees nothing of its user in the list, and so should be told of itself
    /// apart.
    #[must_use]
    pub fn is_unlisted(&self, slot: Slot) -> bool {
        let Some(member) = self.member(slot) else { return false };
        let mut devices = self.devices(member.identity.user()).into_iter();
        member.visible && !devices.any(|device| self.announced.contains(device.0))
    }

    /// What a member's client attached: a JSON object.
    #[must_use]
    pub fn meta(&self, slot: Slot) -> Option<&str> {
        let has_meta = self.members.get(slot.index()).is_some_and(|member| member.has_meta);
        if has_meta { self.metas.get(&slot.0).map(|meta| &**meta) } else { None }
    }

    /// Who a user is that has another device here, if it goes by this name there too.
    #[must_use]
    pub fn known(&self, user: &str, name: &str) -> Option<Identity> {
        let identity_of = |slot: &Slot| &self.members[slot.index()].identity;
        let is_it =
            |slot: &Slot| (identity_of(slot).user(), identity_of(slot).name()) == (user, name);
        self.by_user.find(self.hasher.hash_one(user), is_it).map(identity_of).cloned()
    }

    /// Visits the users who have a device in `set`, each once, with those devices, the oldest
    /// first. `seen` is only memory to work with.
    pub fn each_user(
        &self,
        set: &BitSet,
        seen: &mut BitSet,
        mut visit: impl FnMut(&str, &mut dyn Iterator<Item = (Slot, &Member<P>)>),
    ) {
        seen.clear();
        for slot in set.iter_ones() {
            let member = &self.members[slot as usize];
            let user = member.identity.user();
            if !member.shares_user {
                visit(user, &mut std::iter::once((Slot(slot), member)));
            } else if !seen.contains(slot) {
                let devices = self.devices(user);
                let of_set =
                    devices.iter().filter(|device| set.contains(device.0)).inspect(|device| {
                        seen.set(device.0, true);
                    });
                visit(user, &mut of_set.map(|device| (*device, &self.members[device.index()])));
            }
        }
    }

    /// Files a member that is about to come under its user's id. Says whether the user has other
    /// devices here.
    fn note_user(&mut self, user: &str, slot: Slot) -> bool {
        let Self { members, hasher, by_user, .. } = self;
        let hash = hasher.hash_one(user);
        let mut shares_user = false;
        for other in by_user.iter_hash(hash) {
            let other = &mut members[other.index()];
            if other.identity.user() == user {
                other.shares_user = true;
                shares_user = true;
            }
        }
        by_user.insert_unique(hash, slot, |slot| {
            hasher.hash_one(members[slot.index()].identity.user())
        });
        shares_user
    }

    /// The devices of a user that are there or still announced, oldest first.
    fn devices(&self, user: &str) -> SmallVec<[Slot; 8]> {
        let with_hash = self.by_user.iter_hash(self.hasher.hash_one(user));
        let is_theirs = |slot: &&Slot| self.members[slot.index()].identity.user() == user;
        let mut devices: SmallVec<[Slot; 8]> = with_hash.filter(is_theirs).copied().collect();
        // The count of arrivals may have started over.
        let age = |slot: &Slot| self.arrivals.wrapping_sub(self.members[slot.index()].arrival);
        devices.sort_unstable_by_key(|slot| std::cmp::Reverse(age(slot)));
        devices
    }

    /// Gives back the memory of many who were there. What is in `members` does not move, so what
    /// lies behind the last one goes.
    fn trim(&mut self) {
        self.members.trim(MEMBERS_KEPT);
        self.metas.trim(MEMBERS_KEPT);
        let Self { members, hasher, by_user, .. } = self;
        if let Some(places) = slack::places(by_user.len(), by_user.capacity(), MEMBERS_KEPT) {
            by_user
                .shrink_to(places, |slot| hasher.hash_one(members[slot.index()].identity.user()));
        }
    }

    /// Frees a slot.
    fn forget(&mut self, slot: Slot) {
        let member = self.members.remove(slot.index());
        if member.has_meta
            && let Some(meta) = self.metas.remove(&slot.0)
        {
            self.meta_bytes -= meta.len();
        }
        if member.visible {
            let hash = self.hasher.hash_one(member.identity.user());
            let entry = self.by_user.find_entry(hash, |other| *other == slot);
            entry.expect("who wishes to be seen is found by its user's id").remove();
        }
    }
}

/// For how many who have gone a room keeps the memory.
const MEMBERS_KEPT: usize = 8;

fn split_news(target: &BitSet, announced: &BitSet, joins: &mut BitSet, leaves: &mut BitSet) {
    for slot in target.xor_iter(announced) {
        if target.contains(slot) { &mut *joins } else { &mut *leaves }.set(slot, true);
    }
}

#[cfg(test)]
mod tests;

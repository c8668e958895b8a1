//! Presence: who is in a room, as bits.
//!
//! Each membership has a slot, a small dense number. Three sets of slots describe a room:
//!
//! - `present`: visible members that are there;
//! - `announced`: members that the others have been told of;
//! - the *target*: members that the others should have been told of. These are all present ones, or
//!   in a large room those that [`Choice`] lists.
//!
//! At a tick the news is `target XOR announced`. A member that came and left in between has changed
//! no bit.
//!
//! A member may attach another meta to itself. Then it has another ref, and its entry that was
//! announced leaves with the tick in which the new one joins.
//!
//! Members on other nodes have slots, too, and are seen as those here. They are not counted among
//! those that are told.
//!
//! Invariants:
//!
//! 1. a slot is reused only when its last member is neither there nor announced: the news of a
//!    leave needs its meta;
//! 2. `announced` is exactly the state of a client that has applied every diff since the room
//!    began;
//! 3. each user stands once in a diff, with its devices from the oldest to the newest;
//! 4. whoever has an entry that is told no more is announced, and leaves it with the next tick.
//!
//! Deliberately absent: the members that a large room lists (`choice`), the JSON (`meta`), the time
//! of ticks (`pacing`), and the meaning of a member's place `P`, which is kept for the caller.
//!
//! Called by: `room`, `meta`. Calls: `choice`.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;

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
    /// The user.
    pub identity: Identity,
    /// Its place, as the caller gave it.
    pub place: P,
    /// When it joined, in seconds of Unix time, until 2106.
    pub online_at_s: u32,
    /// Counts the joins of this room: unique within one life of the room, and ordered, for 4
    /// billion of them.
    pub arrival: u32,
    /// Whether it is listed.
    visible: bool,
    /// Whether it is still there; a member that left stays until that is announced.
    live: bool,
    has_meta: bool,
    /// Whether its user may have other devices here. False for nearly all, which saves a look-up.
    shares_user: bool,
}

// For a place of 12 bytes.
const _: () = assert!(size_of::<Member<[u32; 3]>>() <= 32);

/// What tells one entry of a member from another: a number out of the count of joins, and that of
/// the entry before it, if its member has replaced one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Of this entry.
    pub number: u32,
    /// Of the one before.
    pub replaces: Option<u32>,
}

/// How a member stands in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What its client attached: a JSON object.
    pub meta: Option<&'a str>,
    /// Which of its entries it is.
    pub version: Version,
}

/// Which entry of a member is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum As {
    /// The one that the others know.
    Announced,
    /// The one that they are to know.
    Present,
}

/// An entry that the others know, and that is no longer true.
#[derive(Debug)]
struct Outdated {
    meta: Option<Box<str>>,
    version: Version,
}

/// The members who have attached another meta than the one that they joined with, by slot.
#[derive(Debug, Default)]
struct Replaced {
    /// Which entry is theirs. Others have the number of their arrival.
    versions: BTreeMap<u32, Version>,
    /// What the others know of them, where that is an entry before.
    outdated: BTreeMap<u32, Outdated>,
}

/// The members of one room, each with a place `P`.
#[derive(Debug)]
pub struct Presence<P> {
    members: Slab<Member<P>>,
    live_count: u32,
    /// Visible members that are on other nodes, and those there that are not listed here.
    elsewhere: Elsewhere,
    arrivals: u32,
    /// The metas that clients attached, if any: JSON objects, by slot. Slots are our own numbers:
    /// nobody chooses any that collide, so their hasher needs no keys.
    metas: HashMap<u32, Box<str>, BuildHasherDefault<ahash::AHasher>>,
    meta_bytes: usize,
    /// Boxed, since in few rooms somebody has.
    replaced: Option<Box<Replaced>>,
    /// Visible members that are there or announced, by their user's id.
    by_user: HashTable<Slot>,
    hasher: ahash::RandomState,
    present: BitSet,
    announced: BitSet,
    joins: BitSet,
    leaves: BitSet,
    choice: Choice,
    told: Option<Count>,
}

/// How many visible members are on other nodes.
#[derive(Clone, Copy, Debug, Default)]
struct Elsewhere {
    /// Those that are members here.
    listed: u32,
    /// Those that are only counted.
    unlisted: u32,
}

// Written out, since a derive would require it of `P`.
impl<P> Default for Presence<P> {
    fn default() -> Self {
        Self {
            members: Slab::new(),
            live_count: 0,
            elsewhere: Elsewhere::default(),
            arrivals: 0,
            metas: HashMap::default(),
            meta_bytes: 0,
            replaced: None,
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
    /// Inserts a member. With `visible` false it is never listed.
    ///
    /// # Panics
    ///
    /// If there are 2^32 members.
    pub fn join(
        &mut self,
        identity: Identity,
        place: P,
        meta: Option<Box<str>>,
        online_at_s: u64,
        visible: bool,
    ) -> Slot {
        self.live_count += 1;
        self.insert(identity, place, meta, online_at_s, visible)
    }

    /// Inserts a member that is on another node: it is seen, and is none of those that are told.
    ///
    /// Whoever has left, and is back as it was before that is told, has never left: its entry is
    /// called as before, and a client that is told of a join and a leave of one entry forgets it.
    pub fn join_elsewhere(
        &mut self,
        identity: Identity,
        place: P,
        meta: Option<Box<str>>,
        online_at_s: u64,
    ) -> Slot
    where
        P: PartialEq,
    {
        self.elsewhere.listed += 1;
        let is_it = |slot: &Slot| {
            let member = &self.members[slot.index()];
            let is_called_so = member.place == place && member.identity.name() == identity.name();
            !member.live && is_called_so && self.metas.get(&slot.0) == meta.as_ref()
        };
        let Some(slot) = self.devices(identity.user()).into_iter().find(is_it) else {
            return self.insert(identity, place, meta, online_at_s, true);
        };
        self.members[slot.index()].live = true;
        self.present.set(slot.0, true);
        slot
    }

    fn insert(
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
            // Members are many: an eighth in reserve, not as much again.
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
        if visible {
            self.present.set(slot.0, true);
        }
        slot
    }

    /// Gives a member another identity of the same user, and changes its place.
    ///
    /// # Panics
    ///
    /// If it is another user's, or there is no member in this slot: somebody would speak as
    /// somebody else.
    pub fn renew(&mut self, slot: Slot, identity: Identity, change: impl FnOnce(&mut P)) {
        let member = &mut self.members[slot.index()];
        let is_same = member.identity.user() == identity.user();
        assert!(member.live && is_same, "a member stays the user that it is");
        member.identity = identity;
        change(&mut member.place);
    }

    /// Changes the place of a member.
    ///
    /// # Panics
    ///
    /// If there is none in this slot.
    pub fn set_place(&mut self, slot: Slot, place: P) {
        let member = &mut self.members[slot.index()];
        assert!(member.live, "a member has a place");
        member.place = place;
    }

    /// Attaches another meta to a member that is seen, or none. Returns whether there is something
    /// to tell.
    pub fn set_meta(&mut self, slot: Slot, meta: Option<Box<str>>) -> bool {
        let is_seen = self.member(slot).is_some_and(|member| member.visible);
        if !is_seen || self.meta(slot) == meta.as_deref() {
            return false;
        }
        let version = self.version(slot);
        let before = self.replace_meta(slot, meta);
        // An entry that nobody knows of yet is told as it is by then.
        if !self.announced.contains(slot.0) {
            return false;
        }
        self.arrivals = self.arrivals.wrapping_add(1);
        let Replaced { versions, outdated } = &mut **self.replaced.get_or_insert_default();
        let before_bytes = before.as_ref().map_or(0, |before| before.len());
        let known = outdated.entry(slot.0).or_insert_with(|| {
            self.meta_bytes += VERSION_MEMORY_BYTES + before_bytes;
            Outdated { meta: before, version }
        });
        let next = Version { number: self.arrivals, replaces: Some(known.version.number) };
        if versions.insert(slot.0, next).is_none() {
            self.meta_bytes += VERSION_MEMORY_BYTES;
        }
        true
    }

    fn replace_meta(&mut self, slot: Slot, meta: Option<Box<str>>) -> Option<Box<str>> {
        self.members[slot.index()].has_meta = meta.is_some();
        self.meta_bytes += meta.as_ref().map_or(0, |meta| meta.len());
        let before = match meta {
            Some(meta) => self.metas.insert(slot.0, meta),
            None => self.metas.remove(&slot.0),
        };
        self.meta_bytes -= before.as_ref().map_or(0, |before| before.len());
        before
    }

    /// Forgets what the others knew of a member: they have been told that it is over.
    fn forget_outdated(&mut self, slot: u32) {
        let outdated = self.replaced.as_mut().and_then(|replaced| replaced.outdated.remove(&slot));
        if let Some(Outdated { meta, .. }) = outdated {
            self.meta_bytes -= VERSION_MEMORY_BYTES + meta.map_or(0, |meta| meta.len());
        }
    }

    fn forget_version(&mut self, slot: Slot) {
        let Some(replaced) = &mut self.replaced else { return };
        if replaced.versions.remove(&slot.0).is_some() {
            self.meta_bytes -= VERSION_MEMORY_BYTES;
        }
        if replaced.versions.is_empty() {
            assert!(replaced.outdated.is_empty(), "who has another entry has a version");
            self.replaced = None;
        }
    }

    fn version(&self, slot: Slot) -> Version {
        let arrived = || Version { number: self.members[slot.index()].arrival, replaces: None };
        let replaced = self.replaced.as_ref();
        let version = replaced.and_then(|replaced| replaced.versions.get(&slot.0));
        version.copied().unwrap_or_else(arrived)
    }

    /// How a member stands in a list.
    #[must_use]
    pub fn entry(&self, slot: Slot, which: As) -> Entry<'_> {
        let replaced = self.replaced.as_ref().filter(|_| which == As::Announced);
        match replaced.and_then(|replaced| replaced.outdated.get(&slot.0)) {
            Some(Outdated { meta, version }) => Entry { meta: meta.as_deref(), version: *version },
            None => Entry { meta: self.meta(slot), version: self.version(slot) },
        }
    }

    /// Ends a membership.
    ///
    /// # Panics
    ///
    /// If there is none in this slot: it would be ended twice.
    pub fn leave(&mut self, slot: Slot) {
        self.end(slot);
        self.live_count -= 1;
    }

    /// Ends the membership of one that is on another node.
    ///
    /// # Panics
    ///
    /// As [`Presence::leave`].
    pub fn leave_elsewhere(&mut self, slot: Slot) {
        self.end(slot);
        self.elsewhere.listed -= 1;
    }

    fn end(&mut self, slot: Slot) {
        let member = &mut self.members[slot.index()];
        assert!(member.live, "a member leaves once");
        member.live = false;
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

    /// The member in a slot that is announced, though it may have left.
    #[must_use]
    pub fn announced_member(&self, slot: Slot) -> Option<&Member<P>> {
        self.members.get(slot.index()).filter(|_| self.announced.contains(slot.0))
    }

    /// Visits the places of all slots that are taken: of members, and of those whose leave is still
    /// to be announced.
    pub fn each_place(&self, visit: impl FnMut(&P)) {
        self.members.iter().map(|(_, member)| &member.place).for_each(visit);
    }

    /// How many memberships there are on this node, the invisible ones included.
    #[must_use]
    pub fn live_count(&self) -> u32 {
        self.live_count
    }

    /// How many members on other nodes are listed here.
    #[must_use]
    pub fn elsewhere_count(&self) -> u32 {
        self.elsewhere.listed
    }

    /// How many are present and visible on this node.
    #[must_use]
    pub fn here_count(&self) -> u32 {
        self.present.count_ones() - self.elsewhere.listed
    }

    /// Notes how many are present and visible on other nodes, and not listed here. Returns whether
    /// that is news.
    pub fn set_unlisted(&mut self, unlisted: u32) -> bool {
        std::mem::replace(&mut self.elsewhere.unlisted, unlisted) != unlisted
    }

    /// The length of all metas, in bytes, with those of members whose leave is still to be
    /// announced.
    #[must_use]
    pub fn meta_bytes(&self) -> usize {
        self.meta_bytes
    }

    /// How many are present and visible, on all nodes.
    #[must_use]
    pub fn present_count(&self) -> u32 {
        self.present.count_ones().saturating_add(self.elsewhere.unlisted)
    }

    /// Notes that a member spoke. Returns whether the list changes by it, so that a tick is due.
    pub fn spoke(&mut self, slot: Slot, limits: &PresenceLimits) -> bool {
        self.present.contains(slot.0)
            && self.choice.note_speaker(slot, limits)
            && self.choice.is_bounded()
            && !self.announced.contains(slot.0)
    }

    /// Computes the news since the last tick: [`Presence::joins`] and [`Presence::leaves`]. True if
    /// there is any.
    ///
    /// To be followed by [`Presence::announce`] once it is written down.
    pub fn tick(&mut self, limits: &PresenceLimits) -> bool {
        let present_count = self.present_count();
        let Self { members, replaced, present, announced, joins, leaves, choice, .. } = self;
        joins.clear();
        leaves.clear();
        choice.note_present(present_count, limits);
        if choice.is_bounded() {
            let arrival = |slot: u32| members[slot as usize].arrival;
            split_news(&choice.target(present, arrival, limits), announced, joins, leaves);
        } else {
            split_news(present, announced, joins, leaves);
        }
        for slot in replaced.iter().flat_map(|replaced| replaced.outdated.keys()) {
            // Whoever is told no more only leaves.
            joins.set(*slot, !leaves.contains(*slot));
            leaves.set(*slot, true);
        }
        !self.joins.is_empty() || !self.leaves.is_empty()
    }

    /// The members whose join this tick announces.
    #[must_use]
    pub fn joins(&self) -> &BitSet {
        &self.joins
    }

    /// The members whose leave this tick announces, or that it takes off the list.
    #[must_use]
    pub fn leaves(&self) -> &BitSet {
        &self.leaves
    }

    /// The members that the others know of.
    #[must_use]
    pub fn announced(&self) -> &BitSet {
        &self.announced
    }

    /// Notes that the news of [`Presence::tick`] has been told.
    pub fn announce(&mut self) {
        let joins = std::mem::take(&mut self.joins);
        let leaves = std::mem::take(&mut self.leaves);
        for slot in leaves.iter_ones() {
            self.forget_outdated(slot);
            self.announced.set(slot, false);
            if !self.members[slot as usize].live {
                self.forget(Slot(slot));
            }
        }
        joins.iter_ones().for_each(|slot| self.announced.set(slot, true));
        (self.joins, self.leaves) = (joins, leaves);
        self.trim();
    }

    /// The true number, if it is news: in rooms too large for a full list, and once when a room no
    /// longer is.
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

    /// Whether the list has no entry of a member's user, so that the member must be told of itself
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

    /// The identity of a user that has another device here under the same name.
    #[must_use]
    pub fn known(&self, user: &str, name: &str) -> Option<Identity> {
        let identity_of = |slot: &Slot| &self.members[slot.index()].identity;
        let is_it =
            |slot: &Slot| (identity_of(slot).user(), identity_of(slot).name()) == (user, name);
        self.by_user.find(self.hasher.hash_one(user), is_it).map(identity_of).cloned()
    }

    /// Visits the users who have a device in `set`, each once, with those devices, the oldest
    /// first. `seen` is working memory.
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

    /// Indexes a new member by its user's id. Returns whether the user has other devices here.
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
        let age = |slot: &Slot| self.arrivals.wrapping_sub(self.version(*slot).number);
        devices.sort_unstable_by_key(|slot| std::cmp::Reverse(age(slot)));
        devices
    }

    /// Gives back memory that many members at once needed. Members keep their slots, so only memory
    /// behind the last one is freed.
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
        self.forget_version(slot);
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

/// Memory for this many members that have gone is kept.
const MEMBERS_KEPT: usize = 8;

/// About what it takes to know of a version, or of an entry that is outdated, in bytes.
const VERSION_MEMORY_BYTES: usize = 48;

fn split_news(target: &BitSet, announced: &BitSet, joins: &mut BitSet, leaves: &mut BitSet) {
    for slot in target.xor_iter(announced) {
        if target.contains(slot) { &mut *joins } else { &mut *leaves }.set(slot, true);
    }
}

#[cfg(test)]
mod tests;

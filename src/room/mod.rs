//! One room as a state machine: what is said in it, in order, and who is there. **Knows no
//! connection, no shard and no I/O.**
//!
//! ```text
//!            ┌───────────────── Room ─────────────────┐
//!   join ───>│ presence   who is there, as bits       │──> slot, answer
//!   propose >│ (reads and judges, changes nothing)    │──> an entry for the log, or a refusal
//!   decide ─>│ facts      settings, standings         │──> who may stay, and who is told what
//!   apply ──>│ journal    messages by offset, keys    │──> the message or its change, as JSON
//!   typing ─>│ typists    who was said to be typing   │──> the event as JSON, or nothing
//!   tick ───>│ pacing     when the members are told   │──> diff, count, list of those there
//!   hear ───>│ slices     who is there on other nodes │──> what they are told of those here
//!            └────────────────────────────────────────┘
//! ```
//!
//! Every method takes the time and the limits as values, writes JSON into a buffer that it is
//! given, and returns what must follow. `rooms` decides which members are told, and how.
//!
//! A room has one writer, its home shard. So all members see one order, offsets have no gaps, and
//! nothing needs a lock. A member is a slot, and the address that its answers go to.
//!
//! Invariants, checked by [`Room::check_invariants`]:
//!
//! 1. every member is counted at its shard, and a shard without members has no outpost;
//! 2. an asker is the member in the slot that it names ([`Room::assert_member`], in production).
//!
//! Deliberately absent: connections, shards, sockets, the registry's bookkeeping.
//!
//! This file has the members of the room; `propose` what is said and kept, `verbs` what is done to
//! messages, `growth` how they grow, `reactions` who has reacted, `facts` what is decided of the
//! room, `rights` who may do and decide what, `views` pages of some messages, `lately` what a user
//! has said, `speech` what is not kept, `announce` how members learn who is there, `slices` how
//! nodes do.
//!
//! Called by: `rooms`. Calls: `journal`, `presence`, `pacing`, `encode`, `meta`.

mod announce;
pub(crate) mod audit;
mod changes;
mod choice;
pub(crate) mod encode;
pub(crate) mod facts;
pub(crate) mod growth;
pub mod history;
pub(crate) mod journal;
pub mod keys;
pub(crate) mod lately;
mod meanwhile;
pub(crate) mod meta;
pub(crate) mod pacing;
mod pins;
#[cfg(test)]
pub(crate) mod planted;
pub mod presence;
pub(crate) mod propose;
pub(crate) mod reactions;
pub(crate) mod resume;
mod rights;
#[cfg(test)]
mod rights_tests;
mod search;
pub(crate) mod slices;
pub(crate) mod speech;
mod standings;
#[cfg(test)]
mod tests;
pub(crate) mod verbs;
pub(crate) mod views;

use smallvec::SmallVec;

use encode::{JoinQuestion, push_joined};
use facts::Facts;
use history::History;
use journal::Journal;
use keys::KeyHash;
use pacing::Pacing;
use presence::{Member, Presence};
use slices::Slices;

use crate::auth::identity::Identity;
use crate::auth::level::Level;
use crate::base::time::Now;
use crate::limits::{HistoryLimits, KEY_MEMORY_BYTES, MEMBER_MEMORY_BYTES, ROOM_MEMORY_BYTES};
use crate::link::ids::{Address, Asker, AudienceKey, Place, Receipt, Slot};
use crate::link::message::push_listing;
use crate::link::record::Who;
use crate::link::topic::room_of;

/// A shard with members of the room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outpost {
    /// The shard.
    pub(crate) shard: u16,
    /// The members' record there.
    pub(crate) audience: AudienceKey,
    members: u32,
}

/// A topic and all that happens in it. See the module.
#[derive(Debug)]
pub(crate) struct Room {
    topic: Box<str>,
    title: Box<str>,
    journal: Journal,
    /// What was decided of it. Boxed, since nothing was of nearly all rooms.
    facts: Option<Box<Facts>>,
    /// What the refs of its members begin with. Not the epoch: a device keeps its ref over a turn,
    /// or its leave would name another.
    refs_from: u64,
    presence: Presence<Place>,
    /// What other nodes say of who is there. Boxed, since most servers are alone.
    slices: Option<Box<Slices>>,
    outposts: SmallVec<[Outpost; 2]>,
    pacing: Pacing,
    /// Members that have not been sent the list yet.
    newcomers: Vec<Slot>,
    /// Users that members were told to be typing, by a hash of their ids: the same on all devices,
    /// and after a rejoin.
    typists: SmallVec<[u64; 4]>,
    /// Until when members are not told again, in milliseconds of monotonic time.
    typing_until_ms: u64,
}

// What a plain room costs: each field more is paid a hundred thousand times.
const _: () = assert!(size_of::<Room>() <= 744);
// What becomes of messages, what is decided, and metas that change, cost such a room a pointer
// each.
const _: () = assert!(size_of::<Journal>() == size_of::<History>() + size_of::<usize>());
const _: () = assert!(size_of::<Option<Box<Facts>>>() == size_of::<usize>());

/// A wish to become a member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    /// Where the member is.
    pub(crate) address: Address,
    /// The members' record on that shard.
    pub(crate) audience: AudienceKey,
    /// Who it is.
    pub(crate) who: Who<'a>,
    /// Whether it wishes to be seen.
    pub(crate) visible: bool,
    /// What its client attached: a JSON object.
    pub(crate) meta: Option<&'a str>,
    /// The older membership that this one replaces.
    pub(crate) replaces: Option<Slot>,
}

impl Room {
    /// A room that nobody has been in. The epoch tells this life of it from any other.
    pub(crate) fn new(topic: &str, epoch: u64) -> Self {
        Self::with_journal(topic, Journal::new(epoch), epoch)
    }

    /// A room that goes on where its log has kept it. `refs_from` is an epoch that no room had.
    pub(crate) fn with_journal(topic: &str, journal: Journal, refs_from: u64) -> Self {
        Self {
            topic: topic.into(),
            title: room_of(topic).unwrap_or_default().into(),
            journal,
            facts: None,
            refs_from,
            presence: Presence::default(),
            slices: None,
            outposts: SmallVec::new(),
            pacing: Pacing::default(),
            newcomers: Vec::new(),
            typists: SmallVec::new(),
            typing_until_ms: 0,
        }
    }

    /// Its topic.
    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// Its name; none, if the topic is a user's own.
    pub(crate) fn name(&self) -> Option<&str> {
        room_of(&self.topic)
    }

    /// What it is called in lists.
    pub(crate) fn title(&self) -> &str {
        &self.title
    }

    /// Calls it so in lists.
    pub(crate) fn set_title(&mut self, title: &str) {
        self.title = title.into();
    }

    /// What it keeps.
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Remembers the key of a message that its log has, and that is before its tail.
    pub(crate) fn remember_key(&mut self, key: KeyHash, receipt: Receipt) {
        self.journal.remember_key(key, receipt);
    }

    /// The messages that it keeps.
    pub(crate) fn history(&self) -> &History {
        self.journal.history()
    }

    /// Whether the asker is the member in its slot.
    pub(crate) fn is_member(&self, shard: u16, asker: Asker) -> bool {
        let address = self.address(asker.slot);
        address.is_some_and(|address| (address.shard, address.conn) == (shard, asker.conn))
    }

    /// The member in a slot, if there is one here that has not left.
    pub(crate) fn member(&self, slot: Slot) -> Option<&Member<Place>> {
        self.presence.member(slot).filter(|member| member.place.here().is_some())
    }

    /// Where the member in a slot is, if there is one here that has not left.
    pub(crate) fn address(&self, slot: Slot) -> Option<Address> {
        self.presence.member(slot)?.place.here()
    }

    /// All members here that have not left, each with where it is, in the order of their slots.
    fn members_here(&self) -> impl Iterator<Item = (Slot, &Member<Place>, Address)> {
        let members = self.presence.members();
        members.filter_map(|(slot, member)| Some((slot, member, member.place.here()?)))
    }

    /// How many members there are here, the invisible ones included.
    pub(crate) fn members_count(&self) -> u32 {
        self.presence.live_count()
    }

    /// How many are present and visible, on all nodes.
    pub(crate) fn present_count(&self) -> u32 {
        self.presence.present_count()
    }

    /// How many are present and visible on this node.
    pub(crate) fn here_count(&self) -> u32 {
        self.presence.here_count()
    }

    /// The shards with members, each with the members' record there.
    pub(crate) fn outposts(&self) -> &[Outpost] {
        &self.outposts
    }

    /// The members' record on a shard.
    pub(crate) fn audience(&self, shard: u16) -> Option<AudienceKey> {
        let outpost = self.outposts.iter().find(|outpost| outpost.shard == shard)?;
        Some(outpost.audience)
    }

    /// About how much memory it takes besides its history, in bytes.
    pub(crate) fn weight_bytes(&self) -> usize {
        let count = self.presence.live_count() as usize + self.presence.elsewhere_count() as usize;
        let members = count * MEMBER_MEMORY_BYTES + self.presence.meta_bytes();
        let slices = self.slices.as_ref().map_or(0, |slices| slices.bytes());
        let keys = self.history().keys_count() * KEY_MEMORY_BYTES;
        let facts = self.facts.as_ref().map_or(0, |facts| facts.bytes());
        ROOM_MEMORY_BYTES + members + slices + keys + facts + self.journal.rare_bytes()
    }

    /// Checks that the asker is the member in its slot.
    ///
    /// # Panics
    ///
    /// If that slot is not the asker's: it would speak as somebody else, or in a room that it is
    /// not in.
    pub(crate) fn assert_member(&self, shard: u16, asker: Asker) {
        assert!(self.is_member(shard, asker), "a member speaks for itself: {shard} {asker:?}");
    }

    /// Takes a member in, and out the one that it replaces. Only a room lists its members.
    ///
    /// Requires: `replaces` is the asker's own slot. Changes: members, outposts. Emits: nothing;
    /// the caller asks for a tick.
    pub(crate) fn join(&mut self, now: Now, arrival: Arrival<'_>) -> Slot {
        let Arrival { address, audience, who, visible, meta, replaces } = arrival;
        if let Some(slot) = replaces {
            self.assert_member(address.shard, Asker { conn: address.conn, slot });
            self.leave(slot);
        }
        let visible = visible && self.name().is_some();
        let identity = self.identity_of(who);
        let online_at_s = now.unix_ms / 1_000;
        let (place, meta) = (Place::Here(address), meta.map(Box::from));
        let slot = self.presence.join(identity, place, meta, online_at_s, visible);
        match self.outposts.iter_mut().find(|outpost| outpost.shard == address.shard) {
            Some(outpost) => {
                outpost.members += 1;
                outpost.audience = audience;
            }
            None => self.outposts.push(Outpost { shard: address.shard, audience, members: 1 }),
        }
        slot
    }

    /// A member goes on under another identity of the same user, whose token allows so much. Who is
    /// there has been told by the old name, and is not told again; lists from now on have the new
    /// one.
    pub(crate) fn renew(&mut self, slot: Slot, who: Who<'_>, token: Level) {
        let identity = self.identity_of(who);
        self.presence.renew(slot, identity, |place| {
            let address = place.here().expect("only who is here has a token");
            *place = Place::Here(Address { token, ..address });
        });
    }

    /// An identity, shared with the user's other devices from other shards.
    fn identity_of(&self, who: Who<'_>) -> Identity {
        let known = match who {
            Who::There { user, name } => self.presence.known(user, name),
            Who::Here(_) => None,
        };
        known.unwrap_or_else(|| who.identity())
    }

    /// Appends the answer to a join.
    pub(crate) fn push_joined(
        &self,
        out: &mut Vec<u8>,
        slot: Slot,
        question: JoinQuestion<'_>,
        limits: &HistoryLimits,
    ) {
        push_joined(out, self, slot, question, limits);
    }

    /// Takes a member out; its leave is announced by the next tick. Nothing, if it is not there.
    pub(crate) fn leave(&mut self, slot: Slot) {
        let Some(address) = self.address(slot) else { return };
        self.presence.leave(slot);
        self.newcomers.retain(|newcomer| *newcomer != slot);
        if let Some(at) = self.outposts.iter().position(|outpost| outpost.shard == address.shard) {
            self.outposts[at].members -= 1;
            if self.outposts[at].members == 0 {
                self.outposts.swap_remove(at);
            }
        }
    }

    /// The members on a shard are on none any more, which has begun anew: they say and hear
    /// nothing. They are to leave; until then they are counted, and shown to others. Returns their
    /// slots.
    ///
    /// Requires: nothing. Changes: places, outposts. Emits: nothing.
    pub(crate) fn lose_shard(&mut self, shard: u16) -> Vec<Slot> {
        let there = self.members_here().filter(|(_, _, address)| address.shard == shard);
        let gone: Vec<_> = there.map(|(slot, _, address)| (slot, address)).collect();
        for (slot, address) in &gone {
            let nowhere = Address { shard: Address::NOWHERE, ..*address };
            self.presence.set_place(*slot, Place::Here(nowhere));
        }
        self.outposts.retain(|outpost| outpost.shard != shard);
        gone.into_iter().map(|(slot, _)| slot).collect()
    }

    /// Appends `{"members":2,"room":"tea","title":"Tea time"}`.
    pub(crate) fn push_listing(&self, out: &mut Vec<u8>) {
        let name = self.name().unwrap_or_default();
        push_listing(out, name, &self.title, self.presence.present_count());
    }

    /// Asserts the invariants of the module. For tests: it looks at everything.
    pub(crate) fn check_invariants(&self) {
        self.journal.check();
        for outpost in &self.outposts {
            let members = self.members_here();
            let there = members.filter(|(_, _, address)| address.shard == outpost.shard).count();
            assert_eq!(outpost.members as usize, there, "every member is counted at its shard");
            assert!(there > 0, "a shard without members has no outpost");
        }
        let there: u32 = self.outposts.iter().map(|outpost| outpost.members).sum();
        let is_nowhere = |address: &Address| address.shard == Address::NOWHERE;
        let nowhere = self.members_here().filter(|(.., address)| is_nowhere(address)).count();
        let live = self.presence.live_count() as usize;
        assert_eq!(there as usize + nowhere, live, "and each has one, or none any more");
        for slot in &self.newcomers {
            assert!(self.member(*slot).is_some(), "a newcomer is a member");
        }
        let listed = self.slices.as_ref().map_or(0, |slices| slices.check(&self.presence));
        assert_eq!(listed, self.presence.elsewhere_count(), "who is elsewhere is in a slice");
    }
}

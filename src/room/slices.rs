//! Who is in the room on other nodes, and what they are told of those who are here.
//!
//! ```text
//!   first member here ── enter ──> a slice that asks for the others'
//!   the room's tick ──── tell ───> what has changed here; a farewell, if nobody is left
//!   a slice of another node ─ hear ─> its members come into the presence, and leave it
//!   a difference ───────── hear ───> the same, if it is of what is known; else the slice is wanted
//!   each audit ─────────── hear ───> what is not known is wanted; who was silent for long is gone
//!   the first audit ────── say ────> asks again, if that was never heard here
//! ```
//!
//! Each node alone says who is there of its own: a *slice*, with the node's life and a version.
//! Others replace what they knew by it, and never merge. What is told here is what the members here
//! were told at the same tick, so nothing is remembered of it but the version.
//!
//! Members of others are members of [`Presence`] whose place is elsewhere. So ticks, lists and
//! counts know no difference.
//!
//! Invariants:
//!
//! 1. a member elsewhere is in one slice, under the number that its node gave it;
//! 2. while a room is not entered, it knows of nobody elsewhere;
//! 3. a slice is only replaced by one with a later stamp.
//!
//! Deliberately absent: lives that are over (`rooms::nodes`), and how anything is said.
//!
//! Called by: `room`, `rooms::nodes`. Calls: `presence`.

use std::collections::BTreeMap;
use std::mem;

use smallvec::SmallVec;

use crate::auth::identity::{Identity, NEVER_S};
use crate::base::bitset::BitSet;
use crate::limits::{
    NODES_PER_ROOM_MAX, PresenceLimits, SLICE_MEMBER_MEMORY_BYTES, SLICE_SILENT_ROUNDS,
};
use crate::link::ids::{Elsewhere, Place, Slot};
use crate::link::log::{NodeId, Ticket};
use crate::link::slice::{
    Head, Listed, ListedMember, SliceTold, Stamp, push_audit, push_diff, push_member, push_whole,
};
use crate::room::Room;
use crate::room::pacing::Urgency;
#[cfg(test)]
use crate::room::planted::{self, Planted};
use crate::room::presence::{As, Member, Presence, Version};

/// Which node this is, and what it counts for all rooms of a shard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Me {
    /// The node.
    pub(crate) node: NodeId,
    /// Its life; 0, if it has none yet.
    pub(crate) life: u64,
    /// The last version that was given. One count for all rooms: a room that comes again goes on
    /// behind what others know of it.
    versions: u64,
}

impl Me {
    fn next_stamp(&mut self) -> Stamp {
        self.versions += 1;
        Stamp { life: self.life, version: self.versions }
    }

    /// Goes on behind the versions that another life of the shard has given.
    pub(crate) fn follow(&mut self, other: &Self) {
        *self = *other;
    }
}

/// What a room has to tell other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    /// Who is here.
    News,
    /// The same, with the wish to be told by all others who is there.
    Hello,
    /// Nobody is here any more. The room is known to have left once it has heard that itself.
    Farewell,
}

/// What follows from something that was heard.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// How soon the members here are to be told, if there is news.
    pub(crate) news: Option<Urgency>,
    /// Nodes whose slices are wanted.
    pub(crate) wants: SmallVec<[NodeId; 1]>,
    /// If the node that said it is to be told the slice of this one: by what it asked for that.
    pub(crate) asked: Option<u64>,
}

/// How much of what others say is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// Whether there is memory for further members. If not, what has them is wanted at the next
    /// audit.
    pub(crate) may_grow: bool,
    /// How many members a slice may list: more are only counted.
    pub(crate) listed_max: usize,
}

impl Taken {
    /// As these limits have it. A node lists everybody in a room up to the bound, and a choice
    /// above it.
    pub(crate) fn new(may_grow: bool, limits: &PresenceLimits) -> Self {
        let listed_max = match limits.full_max {
            0 => usize::MAX,
            full_max => full_max.max(limits.listed) as usize,
        };
        Self { may_grow, listed_max }
    }
}

/// Whether others count on being told who is here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stand {
    /// Nobody is here, and all others know.
    #[default]
    Out,
    /// Somebody is here, or others are still to be told that nobody is.
    In,
    /// They have been told, and it is not known that they have heard it.
    Leaving(Ticket),
}

/// A node that is seen, its life, and its members: user and meta.
#[cfg(test)]
pub(crate) type Seen<'a> = (NodeId, u64, Vec<(&'a str, &'a str)>);

/// What one node has said of the room.
#[derive(Debug)]
struct Peer {
    node: NodeId,
    /// What is known of it, unless something was left out.
    known: Option<Stamp>,
    /// The latest that was heard of.
    latest: Stamp,
    /// How many audits of this node's own have come back since it was last heard.
    silent: u8,
    /// Whether its slice is on its way, as far as is known.
    is_wanted: bool,
    /// How many are present and visible there.
    count: u32,
    /// What the refs of its members begin with, by its place in [`Slices::refs`].
    refs: u16,
    /// Its members, by the numbers of their entries.
    members: BTreeMap<u32, Slot>,
}

impl Peer {
    fn new(node: NodeId, latest: Stamp) -> Self {
        Self {
            node,
            known: None,
            latest,
            // Until it is known that it hears this node.
            silent: SLICE_SILENT_ROUNDS - 1,
            is_wanted: false,
            count: 0,
            refs: 0,
            members: BTreeMap::new(),
        }
    }

    fn is_behind(&self) -> bool {
        self.known.is_none_or(|known| known < self.latest)
    }

    /// Forgets who is there.
    fn clear(&mut self, presence: &mut Presence<Place>) {
        (self.known, self.count) = (None, 0);
        for slot in mem::take(&mut self.members).into_values() {
            presence.leave_elsewhere(slot);
        }
    }
}

/// What a tick has told the members here of those here.
#[derive(Debug, Default)]
struct News {
    leaves: Vec<u32>,
    joins: Vec<u8>,
}

/// See the module.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is due, or was done, by itself")]
pub(crate) struct Slices {
    stand: Stand,
    /// What was said last.
    said: Stamp,
    /// How many were counted in that.
    said_count: u32,
    /// Whether anything was said since the room was entered, or of before is not taken back.
    has_said: bool,
    /// Whether the whole slice is to be said next.
    is_whole_due: bool,
    /// Whether the others are to be asked for theirs with that.
    is_hello_due: bool,
    news: News,
    peers: Vec<Peer>,
    /// What the refs of members elsewhere begin with.
    refs: Vec<u64>,
    /// When the room is to say again that it is there, in milliseconds of monotonic time.
    audit_at_ms: u64,
    /// The version with which all others were asked for theirs. Audits of before are no rounds.
    asked: u64,
    /// Whether that has not been heard yet. Until then others may say what is no longer so, and be
    /// gone before they hear it.
    is_asking: bool,
}

impl Slices {
    /// Notes that somebody is here. Returns whether nobody was.
    fn enter(&mut self) -> bool {
        if self.stand == Stand::In {
            return false;
        }
        // Those who have not heard the farewell know of members who are not here.
        self.has_said = self.stand != Stand::Out;
        self.stand = Stand::In;
        (self.is_whole_due, self.is_hello_due) = (true, true);
        true
    }

    /// Whether others still count on hearing of this room.
    fn is_known(&self) -> bool {
        self.stand != Stand::Out
    }

    /// Notes what a tick tells of those who are here. To be called before it is announced.
    pub(super) fn note_news(&mut self, presence: &Presence<Place>) {
        if self.stand != Stand::In || self.is_whole_due {
            return;
        }
        let here = |slot: &u32| {
            let member = presence.announced_member(Slot(*slot));
            member.is_some_and(|member| member.place.here().is_some())
        };
        let leaves = presence.leaves().iter_ones().filter(here);
        let numbers = leaves.map(|slot| presence.entry(Slot(slot), As::Announced).version.number);
        self.news.leaves.extend(numbers);
        for slot in presence.joins().iter_ones() {
            if let Some(member) = presence.member(Slot(slot)) {
                list(&mut self.news.joins, presence, (Slot(slot), member), As::Present);
            }
        }
    }

    /// Appends the record of what others are to be told by now, if there is anything.
    fn tell(
        &mut self,
        presence: &mut Presence<Place>,
        me: &mut Me,
        refs_from: u64,
        out: &mut Vec<u8>,
    ) -> Option<Telling> {
        let news = mem::take(&mut self.news);
        if self.stand != Stand::In {
            return None;
        }
        if presence.live_count() == 0 {
            self.forget_all(presence);
            if !mem::take(&mut self.has_said) {
                self.stand = Stand::Out;
                return None;
            }
            let head = Head { stamp: me.next_stamp(), refs_from, count: 0 };
            push_whole(out, head, false, 0);
            self.said = head.stamp;
            return Some(Telling::Farewell);
        }
        let count = presence.here_count();
        let has_news = !news.leaves.is_empty() || !news.joins.is_empty();
        let is_whole = self.is_whole_due || self.said.life != me.life;
        if me.life == 0 || !is_whole && !has_news && count == self.said_count {
            return None;
        }
        let before = mem::replace(&mut self.said, me.next_stamp());
        (self.said_count, self.has_said, self.is_whole_due) = (count, true, false);
        if !is_whole {
            let head = Head { stamp: self.said, refs_from, count };
            push_diff(out, head, before.version, &news.leaves, &news.joins);
            return Some(Telling::News);
        }
        let asks = mem::take(&mut self.is_hello_due);
        self.push_slice(out, presence, refs_from, (asks, 0));
        if !asks {
            return Some(Telling::News);
        }
        // Whoever is there answers before the next audit.
        (self.asked, self.is_asking) = (self.said.version, true);
        for peer in &mut self.peers {
            peer.silent = peer.silent.max(SLICE_SILENT_ROUNDS - 1);
        }
        Some(Telling::Hello)
    }

    /// Appends the record of the slice, as it was said last.
    fn push_slice(
        &self,
        out: &mut Vec<u8>,
        presence: &Presence<Place>,
        refs_from: u64,
        (asks, answers): (bool, u64),
    ) {
        let head = Head { stamp: self.said, refs_from, count: self.said_count };
        push_whole(out, head, asks, answers);
        for slot in presence.announced().iter_ones() {
            if let Some(member) = presence.announced_member(Slot(slot)) {
                list(out, presence, (Slot(slot), member), As::Announced);
            }
        }
    }

    /// Handles what another node says.
    fn hear(
        &mut self,
        presence: &mut Presence<Place>,
        from: NodeId,
        told: SliceTold<'_>,
        taken: Taken,
    ) -> Heard {
        let mut heard = Heard::default();
        let (stamp, answers) = match told {
            SliceTold::Want => {
                heard.asked = Some(0);
                return heard;
            }
            SliceTold::Audit(stamp) => (stamp, 0),
            SliceTold::Diff { head, .. } => (head.stamp, 0),
            SliceTold::Whole { head, answers, .. } => (head.stamp, answers),
        };
        let Some(at) = self.peer(from, stamp) else { return heard };
        if !self.is_asking || answers == self.asked {
            self.peers[at].silent = 0;
        }
        match told {
            SliceTold::Whole { head, asks, answers: _, members } => {
                heard.asked = asks.then_some(stamp.version);
                let is_later = self.peers[at].known.is_none_or(|known| known < stamp);
                #[cfg(test)]
                let is_later = match self.peers[at].known {
                    Some(known) if planted::is(Planted::LivesIgnored) => {
                        known.version < stamp.version
                    }
                    _ => is_later,
                };
                if is_later {
                    heard.news = self.replace(presence, at, head, members, taken);
                }
                self.peers[at].is_wanted = false;
            }
            SliceTold::Diff { head, from, leaves, joins } => {
                let is_next = self.peers[at].known == Some(Stamp { version: from, ..stamp });
                #[cfg(test)]
                let is_next = is_next || planted::is(Planted::DiffsMisapplied);
                let refs_from = self.refs_from(self.peers[at].refs);
                let has_place = taken.may_grow || joins.iter().next().is_none();
                if is_next && has_place && refs_from == head.refs_from {
                    let leaves = leaves.iter();
                    heard.news = self.change(presence, at, head, leaves, joins, taken);
                }
            }
            SliceTold::Audit(_) | SliceTold::Want => {}
        }
        let peer = &mut self.peers[at];
        // What could not be taken of the latest slice is not asked for again at once.
        let is_latest = matches!(told, SliceTold::Whole { .. }) && stamp == peer.latest;
        let wants = peer.is_behind() && !is_latest && taken.may_grow;
        if wants && !mem::replace(&mut peer.is_wanted, true) {
            heard.wants.push(from);
        }
        heard
    }

    /// Handles what this node has said itself, and all others have heard by now or will: each audit
    /// is a round in which everybody who is there should be heard.
    fn hear_own(
        &mut self,
        presence: &mut Presence<Place>,
        me: &Me,
        told: SliceTold<'_>,
        taken: Taken,
    ) -> Heard {
        let mut heard = Heard::default();
        let asked = Stamp { life: me.life, version: self.asked };
        match told {
            SliceTold::Audit(stamp) if stamp >= asked => {}
            SliceTold::Whole { head, .. } if head.stamp >= asked => {
                self.is_asking = false;
                return heard;
            }
            _ => return heard,
        }
        for peer in &mut self.peers {
            #[cfg(test)]
            if planted::is(Planted::SilenceBelieved) {
                peer.silent = 0;
            }
            peer.silent += 1;
            if peer.silent >= SLICE_SILENT_ROUNDS {
                heard.news = Some(Urgency::AfterRest);
                peer.clear(presence);
            } else if peer.is_behind() && taken.may_grow {
                // The answer to the last wish was lost, if there was one.
                peer.is_wanted = true;
                heard.wants.push(peer.node);
            }
        }
        self.peers.retain(|peer| peer.silent < SLICE_SILENT_ROUNDS);
        self.note_unlisted(presence);
        heard
    }

    /// The place of a node among those that were heard, which has said something of this stamp.
    fn peer(&mut self, node: NodeId, stamp: Stamp) -> Option<usize> {
        let at = match self.peers.iter().position(|peer| peer.node == node) {
            Some(at) => at,
            None if self.peers.len() >= NODES_PER_ROOM_MAX => return None,
            None => {
                self.peers.push(Peer::new(node, stamp));
                self.peers.len() - 1
            }
        };
        let peer = &mut self.peers[at];
        peer.latest = peer.latest.max(stamp);
        Some(at)
    }

    /// Replaces what was known of a node.
    fn replace(
        &mut self,
        presence: &mut Presence<Place>,
        at: usize,
        head: Head,
        members: Listed<'_>,
        taken: Taken,
    ) -> Option<Urgency> {
        let refs = self.intern(presence, head.refs_from)?;
        let peer = &mut self.peers[at];
        if !taken.may_grow && members.iter().any(|of| !peer.members.contains_key(&of.number)) {
            peer.known = None;
            return None;
        }
        let mut before = mem::take(&mut peer.members);
        let (mut has_joined, mut has_left) = (false, false);
        if peer.refs != refs {
            // Its room has begun anew: the same numbers are other entries.
            has_left = !before.is_empty();
            for slot in mem::take(&mut before).into_values() {
                presence.leave_elsewhere(slot);
            }
            peer.refs = refs;
        }
        for member in members.iter() {
            if peer.members.len() >= taken.listed_max || peer.members.contains_key(&member.number) {
                continue;
            }
            let known = before.remove(&member.number);
            has_joined |= known.is_none();
            if let Some(slot) = known.or_else(|| join(presence, refs, member)) {
                peer.members.insert(member.number, slot);
            }
        }
        has_left |= !before.is_empty();
        for slot in before.into_values() {
            presence.leave_elsewhere(slot);
        }
        (peer.known, peer.count) = (Some(head.stamp), head.count);
        urgency_of(has_joined, has_left | self.note_unlisted(presence))
    }

    /// Changes what was known of a node.
    fn change(
        &mut self,
        presence: &mut Presence<Place>,
        at: usize,
        head: Head,
        leaves: impl Iterator<Item = u32>,
        joins: Listed<'_>,
        taken: Taken,
    ) -> Option<Urgency> {
        let peer = &mut self.peers[at];
        let (mut has_joined, mut has_left) = (false, false);
        for number in leaves {
            if let Some(slot) = peer.members.remove(&number) {
                has_left = true;
                presence.leave_elsewhere(slot);
            }
        }
        for member in joins.iter() {
            if peer.members.len() >= taken.listed_max || peer.members.contains_key(&member.number) {
                continue;
            }
            if let Some(slot) = join(presence, peer.refs, member) {
                has_joined = true;
                peer.members.insert(member.number, slot);
            }
        }
        (peer.known, peer.count) = (Some(head.stamp), head.count);
        urgency_of(has_joined, has_left | self.note_unlisted(presence))
    }

    /// Counts those whom no slice lists. Returns whether there are more or fewer than before.
    fn note_unlisted(&self, presence: &mut Presence<Place>) -> bool {
        let unlisted = |peer: &Peer| {
            peer.count.saturating_sub(u32::try_from(peer.members.len()).unwrap_or(u32::MAX))
        };
        presence.set_unlisted(self.peers.iter().map(unlisted).fold(0, u32::saturating_add))
    }

    /// Forgets the nodes whose lives are over. Returns whether there is something to tell.
    fn give_up(
        &mut self,
        presence: &mut Presence<Place>,
        is_over: impl Fn(NodeId, u64) -> bool,
    ) -> bool {
        let before = presence.present_count();
        for peer in &mut self.peers {
            // It may have been heard in another life already, of which little is known yet.
            if is_over(peer.node, peer.known.unwrap_or(peer.latest).life) {
                peer.clear(presence);
            }
        }
        self.peers.retain(|peer| !is_over(peer.node, peer.latest.life));
        self.note_unlisted(presence);
        presence.present_count() != before
    }

    /// Forgets all that others have said.
    fn forget_all(&mut self, presence: &mut Presence<Place>) {
        for mut peer in mem::take(&mut self.peers) {
            peer.clear(presence);
        }
        presence.set_unlisted(0);
    }

    /// What the refs begin with that the room calls so.
    pub(super) fn refs_from(&self, refs: u16) -> u64 {
        self.refs.get(usize::from(refs)).copied().unwrap_or_default()
    }

    /// What the room calls refs that begin so. What nobody is called by any more is used again:
    /// members that have left are called by theirs until that is told.
    fn intern(&mut self, presence: &Presence<Place>, refs_from: u64) -> Option<u16> {
        let mut known = self.refs.iter().position(|known| *known == refs_from);
        if known.is_none() && self.refs.len() > 2 * self.peers.len() {
            let mut used = BitSet::new();
            self.peers.iter().for_each(|peer| used.set(peer.refs.into(), true));
            presence.each_place(|place| {
                if let Place::Elsewhere(entry) = place {
                    used.set(entry.refs().into(), true);
                }
            });
            let is_free = |at: &usize| u32::try_from(*at).is_ok_and(|at| !used.contains(at));
            known = (0..self.refs.len()).find(is_free);
        }
        let at = known.unwrap_or(self.refs.len());
        let refs = u16::try_from(at).ok()?;
        if at == self.refs.len() {
            self.refs.push(refs_from);
        } else {
            self.refs[at] = refs_from;
        }
        Some(refs)
    }

    /// What it takes besides the members of the presence, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let listed: usize = self.peers.iter().map(|peer| peer.members.len()).sum();
        size_of::<Self>()
            + self.peers.capacity() * size_of::<Peer>()
            + self.refs.capacity() * size_of::<u64>()
            + listed * SLICE_MEMBER_MEMORY_BYTES
    }

    /// Asserts the invariants of the module, and says how many members elsewhere it knows of.
    pub(super) fn check(&self, presence: &Presence<Place>) -> u32 {
        assert!(self.stand == Stand::In || self.peers.is_empty(), "who has left knows nobody");
        let mut count = 0;
        for peer in &self.peers {
            for (number, slot) in &peer.members {
                let place = presence.member(*slot).map(|member| member.place);
                let Some(Place::Elsewhere(entry)) = place else { panic!("it is elsewhere") };
                assert_eq!((entry.number(), entry.refs()), (*number, peer.refs), "it is called so");
                count += 1;
            }
        }
        count
    }
}

/// Appends a member that is here to a record.
fn list(
    out: &mut Vec<u8>,
    presence: &Presence<Place>,
    (slot, member): (Slot, &Member<Place>),
    which: As,
) {
    if member.place.here().is_none() {
        return;
    }
    let entry = presence.entry(slot, which);
    let Version { number, replaces } = entry.version;
    push_member(
        out,
        ListedMember {
            number,
            replaces: replaces.unwrap_or_default(),
            online_at_s: member.online_at_s,
            user: member.identity.user(),
            name: member.identity.name(),
            meta: entry.meta,
        },
    );
}

/// Lets a member of another node be seen here. `None`, if nobody may be called so.
fn join(presence: &mut Presence<Place>, refs: u16, member: ListedMember<'_>) -> Option<Slot> {
    let ListedMember { number, replaces, online_at_s, user, name, meta } = member;
    let known = presence.known(user, name);
    let identity = known.or_else(|| Identity::new(user, name, NEVER_S, None).ok())?;
    let place = Place::Elsewhere(Elsewhere::new(number, replaces, refs));
    Some(presence.join_elsewhere(identity, place, meta.map(Box::from), online_at_s.into()))
}

/// How soon news is told: a leave may wait, for whoever comes back in a moment on another node.
fn urgency_of(has_joined: bool, has_left: bool) -> Option<Urgency> {
    if has_joined { Some(Urgency::Now) } else { has_left.then_some(Urgency::AfterRest) }
}

impl Room {
    /// Notes that somebody is here whom other nodes are to hear of. Returns whether nobody was.
    pub(crate) fn enter_slices(&mut self) -> bool {
        self.slices.get_or_insert_default().enter()
    }

    /// Whether other nodes count on hearing of this room: it stays, though nobody is in it.
    pub(crate) fn is_known_elsewhere(&self) -> bool {
        #[cfg(test)]
        if planted::is(Planted::FarewellsUnheard) {
            return false;
        }
        self.slices.as_ref().is_some_and(|slices| slices.is_known())
    }

    /// Appends the record of what other nodes are to be told by now, if there is anything.
    pub(crate) fn tell_nodes(&mut self, me: &mut Me, out: &mut Vec<u8>) -> Option<Telling> {
        let slices = self.slices.as_mut()?;
        slices.tell(&mut self.presence, me, self.refs_from, out)
    }

    /// Appends the record of a farewell, if others count on hearing of this room, in which nobody
    /// is and which has lost its place. Of one that was said it will not be known whether they have
    /// heard it.
    pub(crate) fn tell_parting(&mut self, me: &mut Me, out: &mut Vec<u8>) -> bool {
        if let Some(slices) = &mut self.slices
            && matches!(slices.stand, Stand::Leaving(_))
        {
            (slices.stand, slices.has_said) = (Stand::In, true);
        }
        self.tell_nodes(me, out).is_some()
    }

    /// Appends the record of the whole slice, for a node that asks. False, if none was said.
    pub(crate) fn push_slice(&self, out: &mut Vec<u8>, answers: u64) -> bool {
        let said = self.slices.as_ref().filter(|of| of.stand == Stand::In && of.has_said);
        let Some(slices) = said else { return false };
        slices.push_slice(out, &self.presence, self.refs_from, (false, answers));
        true
    }

    /// Notes that others have been told that nobody is here: the answer has this ticket.
    pub(crate) fn note_farewell(&mut self, ticket: Ticket) {
        if let Some(slices) = &mut self.slices {
            slices.stand = Stand::Leaving(ticket);
        }
    }

    /// Notes that a farewell was heard by all. Returns whether it was the last one.
    pub(crate) fn has_left(&mut self, ticket: Ticket) -> bool {
        let leaving = self.slices.as_mut().filter(|of| of.stand == Stand::Leaving(ticket));
        leaving.map(|slices| slices.stand = Stand::Out).is_some()
    }

    /// Notes that others have not heard what was said last, or a farewell with this ticket: the
    /// whole slice is to be said. Returns whether it is.
    pub(crate) fn was_not_told(&mut self, farewell: Option<Ticket>) -> bool {
        let expected = farewell.map_or(Stand::In, Stand::Leaving);
        let Some(slices) = self.slices.as_mut().filter(|of| of.stand == expected) else {
            return false;
        };
        (slices.stand, slices.is_whole_due, slices.has_said) = (Stand::In, true, true);
        // With a farewell it has forgotten what they said.
        slices.is_hello_due |= farewell.is_some() || slices.is_asking;
        true
    }

    /// Notes that something may have been missed, here or by others. Returns whether there is
    /// something to be said.
    pub(crate) fn has_missed(&mut self) -> bool {
        let slices = self.slices.as_mut().filter(|of| of.stand == Stand::In);
        let due = slices.map(|slices| {
            (slices.is_whole_due, slices.is_hello_due) = (true, true);
        });
        due.is_some()
    }

    /// Handles what another node says of who is there, or what this one has said.
    pub(crate) fn hear_slice(
        &mut self,
        me: &Me,
        from: NodeId,
        told: SliceTold<'_>,
        taken: Taken,
    ) -> Heard {
        let Self { slices, presence, .. } = self;
        let Some(slices) = slices.as_mut().filter(|of| of.stand == Stand::In) else {
            return Heard::default();
        };
        if from == me.node {
            slices.hear_own(presence, me, told, taken)
        } else {
            slices.hear(presence, from, told, taken)
        }
    }

    /// Forgets the nodes whose lives are over. Returns whether there is something to tell.
    pub(crate) fn give_up_nodes(&mut self, is_over: impl Fn(NodeId, u64) -> bool) -> bool {
        let Self { slices, presence, .. } = self;
        slices.as_mut().is_some_and(|slices| slices.give_up(presence, is_over))
    }

    /// The nodes that are seen here, each with the life that it is known in and its members: user
    /// and meta.
    #[cfg(test)]
    pub(crate) fn nodes_seen(&self) -> Vec<Seen<'_>> {
        let shown = |slot: &Slot| {
            let member = self.presence.member(*slot).expect("it is seen");
            (member.identity.user(), self.presence.meta(*slot).unwrap_or_default())
        };
        let peers = self.slices.iter().flat_map(|slices| &slices.peers);
        let seen = peers.filter(|peer| !peer.members.is_empty());
        let seen = seen.filter_map(|peer| {
            Some((peer.node, peer.known?.life, peer.members.values().map(shown).collect()))
        });
        seen.collect()
    }

    /// Whether what was said of the room was said in another life of this node.
    pub(crate) fn is_of_another_life(&self, me: &Me) -> bool {
        let said = self.slices.as_ref().filter(|of| of.stand == Stand::In);
        said.is_some_and(|slices| slices.said.life != me.life)
    }

    /// Sets the time of the next audit.
    pub(crate) fn set_audit(&mut self, at_ms: u64) {
        if let Some(slices) = &mut self.slices {
            slices.audit_at_ms = at_ms;
        }
    }

    /// Whether an audit is due. A timer of before the room was left, or was asked to be audited
    /// sooner, finds none.
    pub(crate) fn is_audit_due(&self, now_ms: u64) -> bool {
        let slices = self.slices.as_ref().filter(|of| of.stand == Stand::In);
        slices.is_some_and(|slices| slices.audit_at_ms <= now_ms)
    }

    /// Appends the record of an audit. False, if the whole slice is to be said instead.
    pub(crate) fn push_audit(&mut self, me: &Me, out: &mut Vec<u8>) -> bool {
        let Some(slices) = &mut self.slices else { return false };
        if slices.is_asking {
            // It was not even heard here, so it is lost: nobody has answered, or will.
            (slices.is_whole_due, slices.is_hello_due) = (true, true);
        }
        let may_say = !slices.is_whole_due && slices.said.life == me.life;
        if may_say {
            push_audit(out, slices.said);
        }
        may_say
    }
}

//! All rooms of a shard: the home half. [`Rooms`] owns the rooms, asks them, and tells their
//! members.
//!
//! ```text
//!   member's shard ── ToHome ──> Rooms::hear ── Room ──> Tell ── ToMember ──> members' shards
//!                                  │
//!                  pending, held ──┤  what a log has (`under_way`), and the answers that wait for it
//!                  answering ──────┤  how members are answered, in order
//!                  registry ───────┤  which rooms there are, what they take, which one goes
//!                  loading ────────┤  rooms that are not there yet, and who waits for them
//!                  reading, reads ─┤  what is no longer in memory, and who waits for it
//!                  returning ──────┤  who comes back, and what it missed
//!                  changing ───────┤  what is done to messages that are there
//!                  collecting ─────┤  what is added to them, until it is told
//!                  streaming ──────┤  those that grow, until they are whole
//!                  again ──────────┤  what conflicts with what another node has done
//!                  aging ──────────┤  those that are too old
//!                  deciding ───────┤  what is decided of a room, and who must go
//!                  standing ───────┤  how users are to stand in it
//!                  purging ────────┤  what somebody has said of late, until it is gone
//!                  inviting ───────┤  who is invited, and who comes so
//!                  auditing ───────┤  what is reported, and what the audit trail says
//!                  founding ───────┤  rooms that are made on purpose
//!                  listings ───────┤  what the directories are told
//!                  nodes ──────────┤  who is there on other nodes, and what they are told
//!                  greeting ───────┤  who is sent the list, and lists that are kept
//!                  departing ──────┘  whose shard has begun anew, and who has still to leave
//! ```
//!
//! A topic's home is the shard that its hash names. Other shards ask it ([`ToHome`]) and are told
//! ([`ToMember`]), in the order of one ring. Members on the same shard ask by a function call with
//! the same values.
//!
//! Invariants, checked by [`Rooms::check`]:
//!
//! 1. a room is found by its topic, and every topic finds its room;
//! 2. a room that is empty and has nothing worth keeping is removed;
//! 3. the counted bytes of rooms and histories are those that they take;
//! 4. every kept list will be dropped at a tick, and their bytes are bounded;
//! 5. a held answer belongs to a member;
//! 6. a room has no member before it is loaded, and each request that waits for it is handled or
//!    refused.
//!
//! Deliberately absent: connections, and the pace of joins (`shard::admission`), which calls
//! [`Rooms::ask_for_room`] when a join may come in.
//!
//! Called by: `shard`. Calls: `room`, `directory`, and the members through [`Tell`].

mod again;
mod aging;
mod answering;
mod auditing;
#[cfg(test)]
mod auditing_tests;
mod changing;
mod collecting;
mod committing;
#[cfg(test)]
pub(crate) mod contract;
mod deciding;
#[cfg(test)]
mod deciding_tests;
mod departing;
mod entries;
mod founding;
mod greeting;
mod held;
mod inviting;
#[cfg(test)]
mod inviting_tests;
#[cfg(test)]
mod large_tests;
mod list;
mod listings;
mod loading;
mod membership;
mod nodes;
#[cfg(test)]
mod nodes_tests;
mod pending;
mod purging;
#[cfg(test)]
mod purging_tests;
mod reading;
mod reads;
mod registry;
mod returning;
mod searching;
#[cfg(test)]
pub(crate) mod shown;
mod speech;
mod standing;
mod streaming;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod threads_tests;
mod ticks;
mod under_way;

use std::collections::HashMap;

use aging::Ages;
use changing::Fetched;
use collecting::Collected;
use departing::Departing;
use founding::{Foundings, tell_not_made};
use greeting::Greeting;
use held::{Held, Membership};
use inviting::Invited;
use listings::Listings;
use loading::Loading;
use nodes::Nodes;
use pending::Pending;
use purging::Purges;
use reads::Reads;
use registry::{Registered, Registry};
use searching::Searches;
use streaming::Streams;

use crate::base::arena::Arena;
use crate::base::bitset::BitSet;
use crate::base::slack::{ENTRIES_KEPT, SCRATCH_BYTES_KEPT, Slack};
use crate::link::ids::{RoomKey, mark};
use crate::link::io::Io;
use crate::link::log::Ticket;
use crate::link::outbox::{Cx, Tell};
use crate::link::record::{ToHome, ToMember};
use crate::link::refusal::Refusal;
use crate::wire::phx::Payload;

/// All rooms of a shard. See the module.
pub(crate) struct Rooms {
    arena: Arena<Registered, mark::Room>,
    by_topic: HashMap<Box<str>, RoomKey, ahash::RandomState>,
    registry: Registry,
    listings: Listings,
    loading: Loading,
    reads: Reads,
    searches: Searches,
    invited: Invited,
    purges: Purges,
    foundings: Foundings,
    nodes: Nodes,
    greeting: Greeting,
    departing: Departing,
    /// Hash a user and the key of a message. The first alone hashes a user who types.
    key_hashers: [ahash::RandomState; 2],
    pending: Pending,
    collected: Collected,
    streams: Streams,
    ages: Ages,
    held: Held,
    /// The push from the queue that is being handled, and the ticket of its held answer.
    released: Option<(Membership, Ticket)>,
    /// Whether a push from the queue is being handled: such a push does not wait again.
    is_releasing: bool,
    /// Whose held answers are being given.
    giving: Option<Membership>,
    /// What was read for the push that is being handled.
    fetched: Option<Fetched>,
    /// The thread of the answer that is released, if that was read before it had to wait.
    read_thread: Option<u64>,
    /// How often what is being handled has been proposed.
    proposals: u32,
    scratch: Scratch,
}

/// Memory that is lent within one function.
#[derive(Default)]
struct Scratch {
    /// A response or payload.
    response: Vec<u8>,
    /// A response that refuses something: such a push allocates nothing either.
    refusal: String,
    /// Slots that have been written into a list.
    seen: BitSet,
}

impl Rooms {
    /// No rooms. `seed` must be new for each shard and each life of it: cursors of another life
    /// must not fit. `hasher` makes a hasher of a salt.
    pub(crate) fn new(seed: u64, hasher: impl Fn(u64) -> ahash::RandomState) -> Self {
        Self {
            arena: Arena::new(),
            by_topic: HashMap::with_hasher(hasher(2)),
            registry: Registry::new(seed),
            listings: Listings::default(),
            loading: Loading::default(),
            reads: Reads::default(),
            searches: Searches::default(),
            invited: Invited::default(),
            purges: Purges::default(),
            foundings: Foundings::default(),
            nodes: Nodes::default(),
            greeting: Greeting::default(),
            departing: Departing::default(),
            key_hashers: [hasher(3), hasher(4)],
            pending: Pending::default(),
            collected: Collected::default(),
            streams: Streams::default(),
            ages: Ages::default(),
            held: Held::default(),
            released: None,
            is_releasing: false,
            giving: None,
            fetched: None,
            read_thread: None,
            proposals: 0,
            scratch: Scratch::default(),
        }
    }

    /// Makes the keys of an earlier life of the shard miss here, and what it said to other nodes
    /// older than what is said here.
    pub(crate) fn follow(&mut self, other: &Self) {
        self.arena = Arena::following(&other.arena);
        self.nodes.follow(&other.nodes);
    }

    /// Handles a question from a member's shard. Joins go to [`Rooms::ask_for_room`] instead, at
    /// the pace of admission.
    ///
    /// # Panics
    ///
    /// If the message is a join or not for rooms, or if the asker is not the member in its slot: a
    /// bug of this server.
    pub(crate) fn hear<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        shard: u16,
        message: ToHome<'_>,
    ) {
        if self.is_too_much(cx, shard, &message) {
            return self.refuse(cx, members, shard, message);
        }
        if message.pushed_in().is_some_and(|room| self.loading.is_closed(room)) {
            return self.refuse_because(cx, members, shard, message, Refusal::Unavailable);
        }
        match message {
            ToHome::Leave { home, asker, reference } => {
                self.leave(cx, members, Membership { room: home, shard, asker }, reference);
            }
            ToHome::Publish { .. } => self.publish(cx, members, shard, message),
            ToHome::Change { .. } => self.change(cx, members, shard, message),
            ToHome::Add { .. } => self.add(cx, members, shard, message),
            ToHome::Custom { .. } => self.custom(cx, members, shard, message),
            ToHome::Typing { .. } => self.typing(cx, members, shard, message),
            ToHome::History { .. } => self.history(cx, members, shard, message),
            ToHome::Search { .. } => self.search(cx, members, shard, message),
            ToHome::Bounce { home, asker, reference, status, response } => {
                let answer = Answer { reference, status, response };
                self.reply(cx, members, Membership { room: home, shard, asker }, answer);
            }
            ToHome::Set { .. } => self.set(cx, members, shard, message),
            ToHome::Stand { .. } => self.stand(cx, members, shard, message),
            ToHome::ListMembers { .. } => self.list_members(cx, members, shard, message),
            ToHome::Report { .. } => self.report(cx, members, shard, message),
            ToHome::Audit { .. } => self.audit(cx, members, shard, message),
            ToHome::Invite { .. } => self.invite(cx, members, shard, message),
            ToHome::Meta { home, asker, reference, meta } => {
                let membership = Membership { room: home, shard, asker };
                self.attach(cx, members, membership, reference, meta);
            }
            ToHome::Renew { home, asker, who, level } => {
                let membership = Membership { room: home, shard, asker };
                self.renew(cx, members, membership, who, level);
            }
            ToHome::Create { .. } => {
                self.ask_for_room(cx, members, shard, message);
            }
            ToHome::Join { .. } | ToHome::Listing { .. } | ToHome::Load { .. } => {
                unreachable!("handled by the shard")
            }
        }
    }

    /// Whether a message must be refused now, since the way to a shard that would hear of it is too
    /// full. Broadcasts go to all shards with members in the room, a page of history to the
    /// asker's. A leave is never refused, and a join waits (`shard::admission`).
    fn is_too_much<I: Io>(&self, cx: &Cx<'_, I>, shard: u16, message: &ToHome<'_>) -> bool {
        match message {
            ToHome::Publish { home, .. }
            | ToHome::Change { home, .. }
            | ToHome::Add { home, .. }
            | ToHome::Set { home, .. }
            | ToHome::Stand { home, .. }
            | ToHome::Custom { home, .. }
            | ToHome::Typing { home, .. } => self.arena.get(*home).is_some_and(|registered| {
                registered.room.outposts().iter().any(|outpost| cx.is_busy(outpost.shard))
            }),
            ToHome::History { .. }
            | ToHome::Search { .. }
            | ToHome::ListMembers { .. }
            | ToHome::Audit { .. }
            | ToHome::Invite { .. }
            | ToHome::Meta { .. } => cx.is_busy(shard),
            // Nobody else hears a report, and its answer is short. The others are never refused for
            // a way that is full.
            ToHome::Report { .. }
            | ToHome::Bounce { .. }
            | ToHome::Create { .. }
            | ToHome::Renew { .. }
            | ToHome::Leave { .. }
            | ToHome::Join { .. }
            | ToHome::Listing { .. }
            | ToHome::Load { .. } => false,
        }
    }

    /// Refuses a message with `busy`.
    pub(crate) fn refuse<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        shard: u16,
        message: ToHome<'_>,
    ) {
        self.refuse_because(cx, members, shard, message, Refusal::Busy);
    }

    /// Refuses a message: answers with the reason, if an answer is expected.
    fn refuse_because<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        shard: u16,
        message: ToHome<'_>,
        refusal: Refusal,
    ) {
        refusal.count(cx.metrics);
        let response = &*refusal.response();
        match message {
            ToHome::Join { conn, audience, .. } => {
                members.tell(cx, shard, ToMember::Refused { conn, audience, response });
            }
            ToHome::Create { conn, .. } => {
                tell_not_made(cx, members, (shard, conn), refusal);
            }
            ToHome::Publish { home, asker, reference, .. }
            | ToHome::Change { home, asker, reference, .. }
            | ToHome::Add { home, asker, reference, .. }
            | ToHome::Set { home, asker, reference, .. }
            | ToHome::Stand { home, asker, reference, .. }
            | ToHome::ListMembers { home, asker, reference, .. }
            | ToHome::Report { home, asker, reference, .. }
            | ToHome::Audit { home, asker, reference, .. }
            | ToHome::Invite { home, asker, reference, .. }
            | ToHome::Meta { home, asker, reference, .. }
            | ToHome::Custom { home, asker, reference, .. }
            | ToHome::History { home, asker, reference, .. }
            | ToHome::Search { home, asker, reference, .. } => {
                let answer =
                    Answer { reference, status: "error", response: Payload::Json(response) };
                self.reply(cx, members, Membership { room: home, shard, asker }, answer);
            }
            // No answer is expected.
            ToHome::Typing { .. } => {}
            ToHome::Leave { .. }
            | ToHome::Bounce { .. }
            | ToHome::Renew { .. }
            | ToHome::Listing { .. }
            | ToHome::Load { .. } => unreachable!("never refused"),
        }
    }

    /// Whether joins wait for a room, or to be told of it, or other nodes to hear that it is empty:
    /// then it stays, though nobody is in it.
    fn is_awaited(&self, key: RoomKey) -> bool {
        let is_expected = |of: &Registered| of.room.is_known_elsewhere();
        self.loading.has(key)
            || self.reads.has_join(key)
            || self.invited.has(key)
            || self.foundings.has(key)
            || !self.nodes.is_alone() && self.arena.get(key).is_some_and(is_expected)
    }

    /// How many rooms there are.
    pub(crate) fn len(&self) -> usize {
        self.arena.len()
    }

    /// How many members all rooms have, on all shards.
    pub(crate) fn members_count(&self) -> usize {
        self.arena.iter().map(|(_, of)| of.room.members_count() as usize).sum()
    }

    /// Gives back memory that is mostly unused. See [`crate::base::slack`].
    pub(crate) fn tidy(&mut self) {
        self.let_lists_go();
        // All fields by name: a new one does not compile until it says what it gives back.
        let Self {
            arena: _,
            by_topic,
            registry,
            listings,
            loading,
            // At most some dozens, in a tree.
            reads: _,
            searches: _,
            invited: _,
            purges: _,
            foundings,
            nodes,
            greeting,
            departing,
            key_hashers: _,
            pending,
            collected,
            streams,
            // A tree.
            ages: _,
            held,
            released: _,
            is_releasing: _,
            giving: _,
            fetched: _,
            read_thread: _,
            proposals: _,
            scratch,
        } = self;
        by_topic.trim(ENTRIES_KEPT);
        registry.trim(ENTRIES_KEPT);
        listings.trim(ENTRIES_KEPT);
        loading.trim(ENTRIES_KEPT);
        foundings.trim(ENTRIES_KEPT);
        nodes.trim(ENTRIES_KEPT);
        greeting.trim(ENTRIES_KEPT, SCRATCH_BYTES_KEPT);
        departing.trim(ENTRIES_KEPT);
        pending.trim(ENTRIES_KEPT);
        collected.trim(ENTRIES_KEPT);
        streams.trim(ENTRIES_KEPT);
        held.trim(ENTRIES_KEPT);
        // A set of slots is as long as the largest room was, and a refusal is short.
        let Scratch { response, refusal: _, seen: _ } = scratch;
        response.trim(SCRATCH_BYTES_KEPT);
    }

    /// Asserts the invariants of the module. For tests: it looks at everything.
    pub(crate) fn check(&self) {
        assert_eq!(self.arena.len(), self.by_topic.len(), "every topic finds its room");
        for (key, registered) in self.arena.iter() {
            let room = &registered.room;
            assert_eq!(self.by_topic.get(room.topic()), Some(&key), "a room is found by its topic");
            room.check_invariants();
            registered.check();
            assert!(
                !registered.is_deserted() || self.is_awaited(key),
                "a room with nothing worth keeping goes away"
            );
        }
        for Membership { room, shard, asker } in self.held.memberships() {
            let of = self.arena.get(*room);
            let is_member = of.is_some_and(|of| of.room.is_member(*shard, *asker));
            assert!(is_member, "an answer that is held is of a member");
        }
        self.check_loading();
        self.check_reads();
        self.held.check();
        self.pending.check();
        self.check_collected();
        self.check_streams();
        self.check_ages();
        self.check_weight();
        self.check_lists();
    }
}

/// An answer to a push.
#[derive(Clone, Copy)]
struct Answer<'a> {
    reference: &'a str,
    status: &'a str,
    response: Payload<'a>,
}

impl<'a> Answer<'a> {
    fn ok(reference: &'a str, response: &'a str) -> Self {
        Self { reference, status: "ok", response: Payload::Json(response) }
    }
}

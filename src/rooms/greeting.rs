//! Sends newcomers the list of who is there, and keeps lists for the next newcomers of a room.
//!
//! A list is written once for all newcomers of a shard, and kept while the room rests, since
//! newcomers often follow one another. The memory of all kept lists is bounded. On the members'
//! shard, a newcomer that is not in the list gets it with its own entry added.
//!
//! Invariant: see [`crate::rooms`], 4.
//!
//! Deliberately absent: when a room ticks (`room::pacing`), and how a user is written
//! (`room::meta`).
//!
//! Called by: `rooms`, and `shard` at the end of a turn. Calls: `room`.

use smallvec::SmallVec;

use crate::base::slack::Slack;
use crate::base::spare::Spares;
use crate::link::ids::{RoomKey, Slot};
use crate::link::io::Io;
use crate::link::outbox::{Cx, Tell};
use crate::link::record::ToMember;
use crate::room::Outpost;
use crate::rooms::Rooms;
use crate::rooms::list::List;
use crate::rooms::registry::Registered;

/// How long a newcomer may wait for a tick, in milliseconds. As in Phoenix, a tick sends the list
/// after the diff that has the newcomer's own join.
const GREET_WITHIN_MS: u64 = 500;

/// How many bytes of lists are kept in all; a single list may be longer. Without a bound, a storm
/// would leave a list in every room, half as much as the memory of its members. An allocator keeps
/// memory that was touched once. A list that is not kept is written anew for the next newcomer.
const LISTS_BYTES_MAX: usize = 256 * 1_024;

/// How many buffers of lists are kept for the next room that needs one.
const SPARE_LISTS_MAX: usize = 16;

/// How large such a buffer may be, in bytes.
const SPARE_LIST_BYTES_MAX: usize = 16 * 1_024;

/// Rooms with newcomers to greet, and kept lists.
pub(super) struct Greeting {
    /// Rooms with newcomers of this turn whose next tick is too far off.
    rooms: Vec<RoomKey>,
    /// Memory to write a list in.
    list: Vec<u8>,
    /// Buffers for lists that are kept.
    spares: Spares,
    /// The rooms that keep a list, the last one needed at the end.
    kept: Vec<RoomKey>,
    /// The memory of these lists, in bytes.
    kept_bytes: usize,
}

impl Default for Greeting {
    fn default() -> Self {
        Self {
            rooms: Vec::new(),
            list: Vec::new(),
            spares: Spares::new(SPARE_LISTS_MAX, SPARE_LIST_BYTES_MAX),
            kept: Vec::new(),
            kept_bytes: 0,
        }
    }
}

impl Greeting {
    /// Gives back memory that was not needed.
    pub(super) fn trim(&mut self, entries_kept: usize, bytes_kept: usize) {
        self.spares.tidy();
        self.list.trim(bytes_kept);
        self.rooms.trim(entries_kept);
        self.kept.trim(entries_kept);
    }
}

impl Rooms {
    /// Schedules the greeting of a new member: at the next tick, or at the end of this turn if that
    /// is not soon.
    pub(super) fn expect_greeting<I: Io>(&mut self, cx: &Cx<'_, I>, key: RoomKey, slot: Slot) {
        let Some(Registered { room, .. }) = self.arena.get_mut(key) else { return };
        room.expect_greeting(slot);
        let rooms = &mut self.greeting.rooms;
        if room.tick_wait_ms(cx.now) > GREET_WITHIN_MS && rooms.last() != Some(&key) {
            rooms.push(key);
        }
    }

    /// Whether newcomers are to be greeted at the end of the turn.
    pub(crate) fn has_newcomers(&self) -> bool {
        !self.greeting.rooms.is_empty()
    }

    /// Greets the newcomers whose next tick is too far off.
    pub(crate) fn greet<I: Io>(&mut self, cx: &mut Cx<'_, I>, members: &mut impl Tell<I>) {
        let mut rooms = std::mem::take(&mut self.greeting.rooms);
        for key in rooms.drain(..) {
            self.greet_newcomers(cx, members, key);
            self.weigh(key);
        }
        self.greeting.rooms = rooms;
    }

    /// Sends the list to the newcomers of a room: one for all of a shard.
    pub(super) fn greet_newcomers<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
    ) {
        if self.arena.get(key).is_none_or(|of| of.room.newcomers().is_empty()) {
            return;
        }
        let kept = self.take_list(key);
        let Some(Registered { room, .. }) = self.arena.get_mut(key) else { return };
        let (written, own) = (&mut self.greeting.list, &mut self.scratch.response);
        if kept.is_none() {
            room.push_list(written, &mut self.scratch.seen);
        }
        let list = kept.as_ref().unwrap_or(written);
        let count = room.list_count();
        for Outpost { shard, audience, .. } in room.outposts() {
            room.push_own_entries(own, *shard);
            if !own.is_empty() {
                let state = ToMember::State { audience: *audience, list, count, own };
                members.tell(cx, *shard, state);
                own.clear();
            }
        }
        room.greeted();
        if room.has_tick() {
            let copy = || {
                // Of exact size: a list that grew may have twice the capacity that it needs.
                let mut copy = self.greeting.spares.take();
                copy.extend_from_slice(written);
                copy
            };
            let bytes = kept.unwrap_or_else(copy);
            self.keep_list(key, bytes);
        }
        self.greeting.list.clear();
    }

    /// Keeps the list of a room that rests, and drops the lists that have not been needed for the
    /// longest.
    fn keep_list(&mut self, key: RoomKey, bytes: Vec<u8>) {
        let Some(registered) = self.arena.get_mut(key) else { return };
        self.greeting.kept_bytes += bytes.capacity();
        self.greeting.kept.push(key);
        registered.list = Some(List { bytes, is_needed: true });
        while self.greeting.kept_bytes > LISTS_BYTES_MAX && self.greeting.kept.len() > 1 {
            self.let_list_go(self.greeting.kept[0]);
        }
    }

    /// Takes the list of a room, if it keeps one.
    fn take_list(&mut self, key: RoomKey) -> Option<Vec<u8>> {
        let list = self.arena.get_mut(key)?.list.take()?;
        self.greeting.kept_bytes -= list.bytes.capacity();
        self.greeting.kept.retain(|other| *other != key);
        Some(list.bytes)
    }

    /// Drops the list of a room, if it keeps one.
    pub(super) fn let_list_go(&mut self, key: RoomKey) {
        if let Some(bytes) = self.take_list(key) {
            self.greeting.spares.keep(bytes);
            self.weigh(key);
        }
    }

    /// Drops the lists that have not been sent since the last call: a new one is written for the
    /// next newcomer. A room may rest for seconds after it has filled, and a list takes as much
    /// memory as its members.
    pub(crate) fn let_lists_go(&mut self) {
        let mut is_needed = |key: &RoomKey| {
            let list = self.arena.get_mut(*key).and_then(|of| of.list.as_mut());
            list.is_some_and(|list| std::mem::take(&mut list.is_needed))
        };
        let unneeded: SmallVec<[_; 8]> =
            self.greeting.kept.iter().copied().filter(|key| !is_needed(key)).collect();
        for key in unneeded {
            self.let_list_go(key);
        }
    }

    /// The memory of all kept lists, in bytes.
    pub(crate) fn list_bytes(&self) -> usize {
        self.greeting.kept_bytes
    }

    /// Asserts that every kept list will be dropped. For [`Rooms::check`].
    pub(super) fn check_lists(&self) {
        let (mut count, mut bytes) = (0, 0);
        for (key, registered) in self.arena.iter() {
            if let Some(list) = &registered.list {
                assert!(self.greeting.kept.contains(&key), "a list is looked at until it is gone");
                count += 1;
                bytes += list.bytes.capacity();
            }
        }
        assert_eq!(
            (self.greeting.kept.len(), self.greeting.kept_bytes),
            (count, bytes),
            "and no other is counted"
        );
        assert!(bytes <= LISTS_BYTES_MAX || count == 1, "and those are bounded");
    }
}

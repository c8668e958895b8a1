//! Which rooms live on a shard: how many there may be, what they take, and which one goes when
//! there is no place.
//!
//! A room that nobody is in stays while it was made on purpose or has a history. It stands in a
//! queue then, the longest empty first; an entry of a room that was entered since is stale.
//!
//! Invariants: see [`crate::rooms`], 1 to 3.
//!
//! Deliberately absent: what happens in a room.
//!
//! Called by: `rooms`. Calls: `room`, the log.

use std::collections::VecDeque;

use crate::base::slack::Slack;
use crate::link::ids::{Receipt, RoomKey};
use crate::link::io::Io;
use crate::link::log::{Log, Opened, Opening};
use crate::link::outbox::Cx;
use crate::link::pressure::Pressure;
use crate::link::rates::AddressHash;
use crate::link::refusal::{ROOMS_LIMIT, Refusal};
use crate::link::topic::Topic;
use crate::room::Room;
use crate::room::journal::Journal;
use crate::rooms::Rooms;
use crate::rooms::greeting::List;

/// A room, and what the registry knows of it.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) room: Room,
    /// Whether it was made on purpose, and so stays when nobody is there.
    pub(super) is_founded: bool,
    /// The list, as those are sent it who are greeted between two ticks: written for the first, and
    /// kept for those behind it.
    pub(super) list: Option<List>,
    /// Whether the directories are to be told of it.
    pub(super) is_to_list: bool,
    /// Counts the times it became empty, so that an old entry of [`Registry::empty`] is not taken
    /// for a new one.
    emptied: u32,
    /// Whether it has an entry there.
    is_queued: bool,
    /// What it is counted for in [`Registry::rooms_bytes`].
    counted_bytes: usize,
}

impl Registered {
    fn new(room: Room) -> Self {
        Self {
            room,
            is_founded: false,
            list: None,
            is_to_list: false,
            emptied: 0,
            is_queued: false,
            counted_bytes: 0,
        }
    }

    /// About how much memory it takes besides its history, in bytes.
    fn weight_bytes(&self) -> usize {
        self.room.weight_bytes() + self.list.as_ref().map_or(0, List::memory_bytes)
    }

    /// Whether it stays when nobody is in it.
    pub(super) fn is_worth_keeping(&self) -> bool {
        self.is_founded || !self.room.history().is_empty()
    }

    /// Asserts how its parts fit. For [`Rooms::check`].
    pub(super) fn check(&self) {
        assert!(
            self.list.is_none() || self.room.has_tick(),
            "a list is kept until a tick, and one is set"
        );
    }
}

/// What the rooms of a shard take, and those that nobody is in.
pub(super) struct Registry {
    /// Those that nobody is in, the longest empty first. An entry is stale if the room was entered
    /// since.
    empty: VecDeque<(RoomKey, u32)>,
    /// The same, where nothing was said when the last one left.
    silent: VecDeque<(RoomKey, u32)>,
    /// Bytes of history over all rooms.
    history_bytes: usize,
    /// What all rooms take besides that, in bytes: see [`Registered::weight_bytes`].
    rooms_bytes: usize,
    /// Makes epochs: this life of the process, and a count.
    epochs: u64,
}

impl Registry {
    /// An empty one. The epochs follow this seed; it must be new for each life of a shard.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            empty: VecDeque::new(),
            silent: VecDeque::new(),
            history_bytes: 0,
            rooms_bytes: 0,
            epochs: seed,
        }
    }

    /// Queues a room to be evicted, once; if it is entered and left again, it goes to the back when
    /// its turn comes.
    pub(super) fn note_empty(&mut self, key: RoomKey, registered: &mut Registered) {
        registered.emptied = registered.emptied.wrapping_add(1);
        if !std::mem::replace(&mut registered.is_queued, true) {
            let emptied = registered.emptied;
            self.queue(registered.room.history().is_empty()).push_back((key, emptied));
        }
    }

    fn queue(&mut self, is_silent: bool) -> &mut VecDeque<(RoomKey, u32)> {
        if is_silent { &mut self.silent } else { &mut self.empty }
    }

    /// Counts a room for what it takes now.
    pub(super) fn weigh(&mut self, registered: &mut Registered) {
        let bytes = registered.weight_bytes();
        self.rooms_bytes = self.rooms_bytes - registered.counted_bytes + bytes;
        registered.counted_bytes = bytes;
    }

    /// Counts a history that had so many bytes for what it has now.
    pub(super) fn weigh_history(&mut self, bytes_before: usize, room: &Room) {
        self.history_bytes = self.history_bytes - bytes_before + room.history().kept_bytes();
    }

    /// Gives back the memory of many rooms that were empty at once.
    pub(super) fn trim(&mut self, kept: usize) {
        self.empty.trim(kept);
        self.silent.trim(kept);
    }

    fn next_epoch(&mut self) -> u64 {
        self.epochs = self.epochs.wrapping_add(1).max(1);
        self.epochs
    }
}

/// What a room is looked for, or made, for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose<'a> {
    /// A user joins it, from an address if that has rates.
    Join { user: &'a str, address: Option<AddressHash> },
    /// It is made on purpose, without a member.
    Create,
}

/// A room that was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is there, or begins with this.
    Open(RoomKey),
    /// What is there of it is not known yet: whoever asks waits.
    Loading(RoomKey),
}

impl Rooms {
    /// The room of a topic; made if there is none and there is place.
    ///
    /// # Errors
    ///
    /// If there is no place, and no room that could make some; if its log cannot open it; or if
    /// whoever joins makes too many.
    pub(super) fn find_or_make<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        topic: &str,
        purpose: Purpose<'_>,
    ) -> Result<Found, Refusal> {
        if let Some(key) = self.by_topic.get(topic) {
            let is_loading = self.loading.has(*key);
            return Ok(if is_loading { Found::Loading(*key) } else { Found::Open(*key) });
        }
        if let Purpose::Join { user, address } = purpose
            && Topic::parse(topic).and_then(Topic::room).is_some()
        {
            let (rates, limits) = (&cx.settings.rates, &cx.settings.limits);
            rates
                .take_room(user, address, cx.now.mono_ms, limits)
                .map_err(|retry| Refusal::RateLimited { limit: ROOMS_LIMIT, retry })?;
        }
        let is_full =
            self.arena.len() >= cx.settings.rooms_max as usize || cx.pressure >= Pressure::Joins;
        // What was said is not given up for a room in which nobody is and nothing may ever be said.
        let has_place = !is_full
            || match purpose {
                Purpose::Join { .. } => self.evict_longest_empty(cx),
                Purpose::Create => self.evict_from(cx, true),
            };
        if !has_place {
            return Err(Refusal::TooManyRooms);
        }
        let epoch = self.registry.next_epoch();
        let key = self.arena.vacant_key();
        let (room, found) = match cx.io.log().open(key, topic, epoch) {
            Opening::New => (Room::new(topic, epoch), Found::Open(key)),
            Opening::Kept(opened) => (self.reopen(cx, topic, &opened, epoch), Found::Open(key)),
            // An empty one holds the place, and nobody is told anything of it.
            Opening::Later => {
                self.loading.begin(key, epoch);
                (Room::new(topic, epoch), Found::Loading(key))
            }
            Opening::Refused(why) => return Err(why.refusal()),
        };
        let mut registered = Registered::new(room);
        self.registry.weigh(&mut registered);
        self.registry.weigh_history(0, &registered.room);
        let inserted = self.arena.insert(registered);
        assert_eq!(inserted, key, "its log calls it so");
        self.by_topic.insert(topic.into(), key);
        self.bound_history(cx, key);
        Ok(found)
    }

    /// Puts what is there of a room in its place, where that was told later. `refs_from` is an
    /// epoch that no room had.
    pub(super) fn set_opened<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: RoomKey,
        opened: &Opened,
        refs_from: u64,
    ) {
        let Some(registered) = self.arena.get(key) else { return };
        let topic: Box<str> = registered.room.topic().into();
        let room = self.reopen(cx, &topic, opened, refs_from);
        let Some(registered) = self.arena.get_mut(key) else { return };
        registered.room = room;
        self.registry.weigh(registered);
        self.registry.weigh_history(0, &registered.room);
        self.bound_history(cx, key);
    }

    /// A room as its log has kept it.
    fn reopen<I: Io>(
        &mut self,
        cx: &Cx<'_, I>,
        topic: &str,
        opened: &Opened,
        refs_from: u64,
    ) -> Room {
        let mut room = Room::with_journal(topic, Journal::opened(opened), refs_from);
        let before = opened.top.offset - opened.tail.len() as u64;
        let mut out = std::mem::take(&mut self.scratch.response);
        for (offset, (at_ms, said)) in (before + 1..).zip(&opened.tail) {
            let (said, receipt) = (said.said(), Receipt { offset, at_ms: *at_ms });
            let key_hash = said.key.map(|key| self.hash_key(said.user, key));
            room.apply(said, receipt, key_hash, &cx.settings.history, &mut out);
            out.clear();
        }
        self.scratch.response = out;
        room
    }

    /// Counts a room for what it takes now.
    pub(super) fn weigh(&mut self, key: RoomKey) {
        if let Some(registered) = self.arena.get_mut(key) {
            self.registry.weigh(registered);
        }
    }

    /// Evicts the room that nobody has been in for the longest: one where nothing was said, and
    /// only if there is none another. False if there is none of either.
    fn evict_longest_empty<I: Io>(&mut self, cx: &mut Cx<'_, I>) -> bool {
        self.evict_from(cx, true) || self.evict_from(cx, false)
    }

    /// Evicts the room that nobody has been in for the longest, of those where nothing was said or
    /// of the others. False if there is none.
    fn evict_from<I: Io>(&mut self, cx: &mut Cx<'_, I>, is_silent: bool) -> bool {
        // Twice, since each entry may be looked at again: a stale one goes to the back once.
        for _ in 0..2 * self.registry.queue(is_silent).len() {
            let Some((key, emptied)) = self.registry.queue(is_silent).pop_front() else {
                return false;
            };
            let Some(registered) = self.arena.get_mut(key) else { continue };
            // It may have gained or lost its history since it was queued.
            let is_silent_now = registered.room.history().is_empty();
            if registered.room.members_count() > 0 {
                registered.is_queued = false;
            } else if self.pending.has(key) || self.loading.has(key) {
                // Its log has not kept all of it yet, or joins wait for it.
                self.registry.queue(is_silent_now).push_back((key, emptied));
            } else if registered.emptied == emptied {
                self.remove(cx, key);
                return true;
            } else {
                let emptied = registered.emptied;
                self.registry.queue(is_silent_now).push_back((key, emptied));
            }
        }
        false
    }

    /// Removes a room, with all that it remembers.
    pub(super) fn remove<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: RoomKey) {
        self.let_list_go(key);
        let Some(registered) = self.arena.remove(key) else { return };
        cx.io.log().close(key);
        self.registry.rooms_bytes -= registered.counted_bytes;
        self.registry.history_bytes -= registered.room.history().kept_bytes();
        if let Some(name) = registered.room.name() {
            self.listings.note_removed(name);
        }
        self.by_topic.remove(registered.room.topic());
        if !self.pending.is_idle() {
            // Nobody is in it, so nobody waits.
            self.pending.lose(key, None);
        }
    }

    /// Keeps the history of all rooms within its bound: empty rooms go first, then the room that
    /// grew pays for itself.
    pub(super) fn bound_history<I: Io>(&mut self, cx: &mut Cx<'_, I>, grown: RoomKey) {
        while self.registry.history_bytes > cx.settings.history_bytes_max {
            if self.evict_from(cx, false) {
                continue;
            }
            let grown = self.arena.get_mut(grown).map(|registered| &mut registered.room);
            let Some(room) = grown.filter(|room| !room.history().is_empty()) else { return };
            let bytes_before = room.history().kept_bytes();
            room.drop_oldest();
            self.registry.weigh_history(bytes_before, room);
        }
    }

    /// A seed for epochs that are none of these.
    pub(crate) fn next_seed(&self) -> u64 {
        self.registry.epochs
    }

    /// The bytes of history over all rooms.
    pub(crate) fn history_bytes(&self) -> usize {
        self.registry.history_bytes
    }

    /// What all rooms take, in bytes, with what is under way in them, as it counts against the
    /// memory of a shard.
    pub(crate) fn bytes(&self) -> usize {
        // A buffer that grows has up to twice as much as is in it.
        self.registry.rooms_bytes
            + 2 * self.registry.history_bytes
            + self.pending.bytes()
            + self.held.bytes()
            + self.awaiting_bytes()
    }

    /// Asserts that every room is counted for what it takes. For [`Rooms::check`].
    pub(super) fn check_weight(&self) {
        let bytes: usize = self.arena.iter().map(|(_, of)| of.weight_bytes()).sum();
        assert_eq!(self.registry.rooms_bytes, bytes, "rooms are counted for what they take");
        let bytes: usize = self.arena.iter().map(|(_, of)| of.room.history().kept_bytes()).sum();
        assert_eq!(self.registry.history_bytes, bytes, "and so are their histories");
    }
}

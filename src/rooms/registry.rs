//! Which rooms live on a shard: how many there may be, the memory they take, and which one is
//! evicted for a new one.
//!
//! An empty room stays if it was made on purpose or has a history. It then stands in a queue, the
//! longest empty first. An entry is stale if the room was entered since.
//!
//! With a log that several homes share, it stays only for a while: its log has all of it, and would
//! tell this home all that is said in it.
//!
//! Invariants: see [`crate::rooms`], 1 to 3.
//!
//! Deliberately absent: what happens in a room.
//!
//! Called by: `rooms`. Calls: `room`, the log.

use std::collections::VecDeque;

use crate::base::slack::Slack;
use crate::limits::ROOM_COOLS_MS;
use crate::link::ids::{Receipt, RoomKey};
use crate::link::io::Io;
use crate::link::log::{Keyed, Log, Opened, Opening};
use crate::link::outbox::{Cx, Timer};
use crate::link::pressure::Pressure;
use crate::link::rates::AddressHash;
use crate::link::record::ToHome;
use crate::link::refusal::{ROOMS_LIMIT, Refusal};
use crate::link::topic::room_of;
use crate::room::Room;
use crate::room::journal::Journal;
use crate::rooms::Rooms;
use crate::rooms::list::List;

/// A room, and what the registry knows of it.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is so, or is not, by itself")]
pub(super) struct Registered {
    pub(super) room: Room,
    /// Whether it was made on purpose, and so stays when it is empty.
    pub(super) is_founded: bool,
    /// The list that newcomers between two ticks are sent: written for the first of them, and kept
    /// for the others.
    pub(super) list: Option<List>,
    /// Whether the directories are to be told of a change.
    pub(super) is_to_list: bool,
    /// When somebody came or left last, in milliseconds of monotonic time.
    pub(super) moved_ms: u64,
    /// Whether a timer is set by which it may go.
    is_cooling: bool,
    /// How often it became empty: tells stale entries of [`Registry::empty`] from good ones.
    emptied: u32,
    /// Whether it has an entry in one of the queues.
    is_queued: bool,
    /// Its share of [`Registry::rooms_bytes`].
    counted_bytes: usize,
}

impl Registered {
    fn new(room: Room) -> Self {
        Self {
            room,
            is_founded: false,
            list: None,
            is_to_list: false,
            moved_ms: 0,
            is_cooling: false,
            emptied: 0,
            is_queued: false,
            counted_bytes: 0,
        }
    }

    /// The memory that it takes besides its history, in bytes, roughly.
    fn weight_bytes(&self) -> usize {
        self.room.weight_bytes() + self.list.as_ref().map_or(0, List::memory_bytes)
    }

    /// Whether it stays when it is empty.
    pub(super) fn is_worth_keeping(&self) -> bool {
        self.is_founded || self.room.has_facts() || !self.room.history().is_empty()
    }

    /// Whether there is something of it that a log keeps beyond its memory.
    pub(super) fn has_begun(&self) -> bool {
        self.is_founded || self.room.has_facts() || self.room.journal().top().offset > 0
    }

    /// Whether it is empty, and does not stay.
    pub(super) fn is_deserted(&self) -> bool {
        self.room.members_count() == 0 && !self.is_worth_keeping()
    }

    /// Asserts that its parts agree. For [`Rooms::check`].
    pub(super) fn check(&self) {
        assert!(
            self.list.is_none() || self.room.has_tick(),
            "a list is kept until a tick, and one is set"
        );
    }
}

/// The memory that the rooms of a shard take, and the queues of empty rooms.
pub(super) struct Registry {
    /// Empty rooms with a history, the longest empty first. An entry is stale if the room was
    /// entered since.
    empty: VecDeque<(RoomKey, u32)>,
    /// Empty rooms without a history, in the same order.
    silent: VecDeque<(RoomKey, u32)>,
    /// Bytes of history over all rooms.
    history_bytes: usize,
    /// The memory of all rooms besides their histories, in bytes: see [`Registered::weight_bytes`].
    rooms_bytes: usize,
    /// The last epoch that was given out. The first is new for each life of a shard, and each room
    /// counts it up.
    epochs: u64,
}

impl Registry {
    /// A registry without rooms. Epochs count up from `seed`, which must be new for each life of a
    /// shard.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            empty: VecDeque::new(),
            silent: VecDeque::new(),
            history_bytes: 0,
            rooms_bytes: 0,
            epochs: seed,
        }
    }

    /// Queues an empty room for eviction, if it is not queued yet. One that was entered and left
    /// since goes to the back when its turn comes.
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

    /// Counts the memory of a room anew.
    pub(super) fn weigh(&mut self, registered: &mut Registered) {
        let bytes = registered.weight_bytes();
        self.rooms_bytes = self.rooms_bytes - registered.counted_bytes + bytes;
        registered.counted_bytes = bytes;
    }

    /// Counts the memory of a history anew, which was `bytes_before`.
    pub(super) fn weigh_history(&mut self, bytes_before: usize, room: &Room) {
        self.history_bytes = self.history_bytes - bytes_before + room.history().kept_bytes();
    }

    /// Gives back memory that many empty rooms at once needed.
    pub(super) fn trim(&mut self, kept: usize) {
        self.empty.trim(kept);
        self.silent.trim(kept);
    }

    fn next_epoch(&mut self) -> u64 {
        self.epochs = self.epochs.wrapping_add(1).max(1);
        self.epochs
    }
}

/// Why a room is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose<'a> {
    /// A user joins, from an address if that has rates.
    Join { user: &'a str, address: Option<AddressHash> },
    /// A client makes the room on purpose, without joining it.
    Create,
}

impl<'a> Purpose<'a> {
    /// That of a join or a creation.
    ///
    /// # Panics
    ///
    /// If it is neither.
    pub(super) fn of(message: &'a ToHome<'_>) -> Self {
        match message {
            ToHome::Join { who, address, .. } => Self::Join { user: who.user(), address: *address },
            ToHome::Create { .. } => Self::Create,
            _ => unreachable!("called for joins and creations"),
        }
    }
}

/// A room that was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is open: it was there, or has just been made.
    Open(RoomKey),
    /// Its log is still loading it: the request must wait.
    Loading(RoomKey),
}

impl Rooms {
    /// Finds the room of a topic, or makes it if there is place.
    ///
    /// # Errors
    ///
    /// If there is no place and no room can be evicted for it, if the log cannot open it, if the
    /// user or its address makes too many, or if none is made by joining it.
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
        // A topic of a user has nothing that is kept: a log that fails does not matter to it.
        let has_log = room_of(topic).is_some();
        let keeps = has_log && cx.io.log().keeps();
        // Before another room is evicted for it.
        if !keeps {
            take_making(cx, topic, purpose)?;
        }
        let is_full =
            self.arena.len() >= cx.settings.rooms_max as usize || cx.pressure >= Pressure::Joins;
        // A room with a history is not evicted for one that may stay empty for ever.
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
        let opening = if has_log { cx.io.log().open(key, topic, epoch) } else { Opening::New };
        let (mut registered, found) = match opening {
            Opening::New => {
                // Only now it is known that the room begins.
                if keeps && let Err(refusal) = take_making(cx, topic, purpose) {
                    cx.io.log().close(key);
                    return Err(refusal);
                }
                (Registered::new(Room::new(topic, epoch)), Found::Open(key))
            }
            Opening::Kept(opened) => {
                if opened.is_new
                    && let Err(refusal) = take_making(cx, topic, purpose)
                {
                    cx.io.log().close(key);
                    return Err(refusal);
                }
                (self.reopen(cx, key, topic, &opened, epoch), Found::Open(key))
            }
            // An empty room holds the place meanwhile, and nobody is told of it.
            Opening::Later => {
                self.loading.begin(key, epoch);
                (Registered::new(Room::new(topic, epoch)), Found::Loading(key))
            }
            Opening::Refused(why) => return Err(why.refusal()),
        };
        self.registry.weigh(&mut registered);
        self.registry.weigh_history(0, &registered.room);
        let inserted = self.arena.insert(registered);
        assert_eq!(inserted, key, "its log calls it so");
        self.by_topic.insert(topic.into(), key);
        self.note_age(cx, key);
        self.bound_history(cx, key);
        Ok(found)
    }

    /// Replaces the empty room that held a place by what its log has kept. `refs_from` is an epoch
    /// that no room has had.
    pub(super) fn set_opened<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: RoomKey,
        opened: &Opened,
        refs_from: u64,
    ) {
        let Some(registered) = self.arena.get(key) else { return };
        let topic: Box<str> = registered.room.topic().into();
        let Registered { room, is_founded, .. } = self.reopen(cx, key, &topic, opened, refs_from);
        let Some(registered) = self.arena.get_mut(key) else { return };
        (registered.room, registered.is_founded) = (room, is_founded);
        self.registry.weigh(registered);
        self.registry.weigh_history(0, &registered.room);
        self.bound_history(cx, key);
    }

    /// Makes a room from what its log has kept.
    fn reopen<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: RoomKey,
        topic: &str,
        opened: &Opened,
        refs_from: u64,
    ) -> Registered {
        let mut room = Room::with_journal(topic, Journal::opened(opened), refs_from);
        for Keyed { user, key, receipt } in &opened.keys {
            room.remember_key(self.hash_key(user, key), *receipt);
        }
        let before = opened.top.offset - opened.tail.len() as u64;
        let mut out = std::mem::take(&mut self.scratch.response);
        for (offset, message) in (before + 1..).zip(&opened.tail) {
            let (said, receipt) = (message.said.said(), Receipt { offset, at_ms: message.at_ms });
            let key_hash = said.key.map(|key| self.hash_key(said.user, key));
            let (history, fate) = (&cx.settings.history, message.fate());
            room.apply(said, fate, receipt, key_hash, history, &mut out);
            out.clear();
            if let Some(root) = said.thread {
                room.note_reply((root, offset), None, history);
            }
        }
        self.scratch.response = out;
        self.await_streams(cx, key, opened);
        if let Some(title) = &opened.founded {
            room.set_title(title);
        }
        let (settings, now_ms) = (opened.settings.as_deref(), cx.now.unix_ms);
        room.reopen_facts(settings, &opened.standings, opened.audited, now_ms);
        Registered { is_founded: opened.founded.is_some(), ..Registered::new(room) }
    }

    /// Counts the memory of a room anew.
    pub(super) fn weigh(&mut self, key: RoomKey) {
        if let Some(registered) = self.arena.get_mut(key) {
            self.registry.weigh(registered);
        }
    }

    /// Evicts the room that has been empty for the longest, first of those without a history. False
    /// if no room is empty.
    fn evict_longest_empty<I: Io>(&mut self, cx: &mut Cx<'_, I>) -> bool {
        self.evict_from(cx, true) || self.evict_from(cx, false)
    }

    /// Evicts the room that has been empty for the longest, of those with or without a history.
    /// False if there is none.
    fn evict_from<I: Io>(&mut self, cx: &mut Cx<'_, I>, is_silent: bool) -> bool {
        // Twice, since each entry may be looked at again: a stale one goes to the back once.
        for _ in 0..2 * self.registry.queue(is_silent).len() {
            let Some((key, emptied)) = self.registry.queue(is_silent).pop_front() else {
                return false;
            };
            let is_awaited =
                self.pending.has(key) || self.is_awaited(key) || self.foundings.has(key);
            let Some(registered) = self.arena.get_mut(key) else { continue };
            // It may have gained or lost its history since it was queued.
            let is_silent_now = registered.room.history().is_empty();
            if registered.room.members_count() > 0 {
                registered.is_queued = false;
            } else if is_awaited {
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

    /// Has an empty room go after a while, if other homes have it, too.
    pub(super) fn cool_down<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: RoomKey) {
        let Some(registered) = self.arena.get_mut(key) else { return };
        if cx.io.log().is_shared() && !std::mem::replace(&mut registered.is_cooling, true) {
            cx.timers.push(cx.now.mono_ms + ROOM_COOLS_MS, Timer::Cooled(key));
        }
    }

    /// Lets go of a room in which nobody has been for a while, unless something of it is under way,
    /// or it knows who may not speak yet.
    pub(crate) fn let_cooled_go<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: RoomKey) {
        // What a purge reads, too: it goes on when whoever has begun it has left.
        let is_at_work = self.pending.has(key) || self.asked(key).is_some();
        let stays = is_at_work || self.is_awaited(key);
        let Some(registered) = self.arena.get_mut(key) else { return };
        registered.is_cooling = false;
        if registered.room.members_count() > 0 {
            return;
        }
        let now_ms = cx.now.mono_ms;
        let is_warm = registered.moved_ms + ROOM_COOLS_MS > now_ms;
        if is_warm || stays || registered.room.has_slow_speakers(now_ms) {
            self.cool_down(cx, key);
        } else {
            self.remove(cx, key);
        }
    }

    /// Removes a room with its history. If its log keeps it, it stays in the list.
    pub(super) fn remove<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: RoomKey) {
        // What its log has been given it will keep, though nobody here hears of it any more.
        let is_asked = self.pending.has(key);
        let Some(registered) = self.take_out(cx, key) else { return };
        if let Some(name) = registered.room.name() {
            let may_list = !registered.room.is_private();
            let is_kept = may_list && (registered.has_begun() || is_asked) && cx.io.log().keeps();
            self.listings.note_removed(name, is_kept.then(|| registered.room.title()));
        }
    }

    /// Removes a room, of which the directories are told nothing.
    pub(super) fn take_out<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: RoomKey,
    ) -> Option<Registered> {
        self.let_list_go(key);
        let registered = self.arena.remove(key)?;
        self.collected.forget(key);
        self.streams.forget(key);
        self.ages.forget(key);
        if registered.room.name().is_some() {
            cx.io.log().close(key);
        }
        self.registry.rooms_bytes -= registered.counted_bytes;
        self.registry.history_bytes -= registered.room.history().kept_bytes();
        self.by_topic.remove(registered.room.topic());
        self.foundings.forget(key);
        if !self.pending.is_idle() {
            // It is empty, so no member waits for these tickets.
            self.pending.lose(key, None);
        }
        Some(registered)
    }

    /// Keeps the history of all rooms within its bound: evicts empty rooms first, then drops the
    /// oldest messages of the room that grew.
    pub(super) fn bound_history<I: Io>(&mut self, cx: &mut Cx<'_, I>, grown: RoomKey) {
        while self.registry.history_bytes > cx.settings.history_bytes_max {
            if self.evict_from(cx, false) {
                continue;
            }
            let grown = self.arena.get_mut(grown);
            let Some(registered) = grown.filter(|of| !of.room.history().is_empty()) else { return };
            let bytes_before = registered.room.history().kept_bytes();
            registered.room.drop_oldest();
            self.registry.weigh_history(bytes_before, &registered.room);
            // What was remembered of its changes may have gone with it.
            self.registry.weigh(registered);
        }
    }

    /// A seed for epochs beyond all that were given out here.
    pub(crate) fn next_seed(&self) -> u64 {
        self.registry.epochs
    }

    /// The bytes of history over all rooms.
    pub(crate) fn history_bytes(&self) -> usize {
        self.registry.history_bytes
    }

    /// The memory of all rooms, in bytes, with what is under way and held in them, as it counts
    /// against the bound of the shard.
    pub(crate) fn bytes(&self) -> usize {
        // A buffer that grows may have twice the capacity that it needs.
        self.registry.rooms_bytes
            + 2 * self.registry.history_bytes
            + self.pending.bytes()
            + self.collected.bytes()
            + self.streams.bytes()
            + self.ages.bytes()
            + self.held.bytes()
            + self.awaiting_bytes()
            + self.reads.bytes()
            + self.invited.bytes()
    }

    /// Asserts that the counted memory is what the rooms take. For [`Rooms::check`].
    pub(super) fn check_weight(&self) {
        let bytes: usize = self.arena.iter().map(|(_, of)| of.weight_bytes()).sum();
        assert_eq!(self.registry.rooms_bytes, bytes, "rooms are counted for what they take");
        let bytes: usize = self.arena.iter().map(|(_, of)| of.room.history().kept_bytes()).sum();
        assert_eq!(self.registry.history_bytes, bytes, "and so are their histories");
    }
}

/// Takes a room that a user makes by joining it from what the user and its address may make. A room
/// made on purpose is taken before its home is asked.
///
/// Where no room is made by joining it, nothing is taken: the answer is that of a room that is
/// there and not for this user, and so is what it costs.
pub(super) fn take_making<I: Io>(
    cx: &Cx<'_, I>,
    topic: &str,
    purpose: Purpose<'_>,
) -> Result<(), Refusal> {
    let Purpose::Join { user, address } = purpose else { return Ok(()) };
    if room_of(topic).is_none() {
        return Ok(());
    }
    if !cx.settings.implicit_rooms {
        return Err(Refusal::Unauthorized);
    }
    let (rates, limits) = (&cx.settings.rates, &cx.settings.limits);
    rates
        .take_room(user, address, cx.now.mono_ms, limits)
        .map_err(|retry| Refusal::RateLimited { limit: ROOMS_LIMIT, retry })
}

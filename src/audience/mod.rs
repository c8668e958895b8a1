//! The audiences of a shard: for each room, the members that are on this shard, and the log of
//! frames for them. **Nothing here knows what is said, or who may be here.**
//!
//! ```text
//!   room ── Deliver ──> log (encoded once) ── end of the turn ──> write(socket, log[cursor..])
//!                                             a slice a turn       for each seat
//! ```
//!
//! A broadcast is appended to the room's log once. At the end of the turn each member is written
//! what it has not had. A slow reader costs no more than its cursor, and the log behind it.
//!
//! Invariants:
//!
//! 1. no cursor points outside its room's log, and a log that nobody lags in is empty;
//! 2. an audience without members and without joins under way is removed.
//!
//! Called by: `member`, `shard`. Calls: `conn`, `directory` (the lobby), `wire`.

mod cadence;
mod flush;
mod lobby;
mod lobby_batch;
mod log;
mod seats;

use std::collections::HashMap;
use std::sync::Arc;

pub(crate) use flush::NO_SEAT;
use lobby::Lobby;
pub(crate) use log::{LogMemory, SPARE_BYTES_MAX, SPARE_MAX};
pub(crate) use seats::{Audience, WhyEnding};

use crate::base::arena::Arena;
use crate::base::slack::{ENTRIES_KEPT, Slack};
use crate::conn::Conns;
use crate::link::ids::{AudienceKey, RoomKey, mark};
use crate::link::metrics::Metrics;
use crate::wire::phx::Payload;

/// From this many members on, answers to connections are flushed before the room. In a smaller room
/// the room goes first, which saves a write where both go to one member; but a long flush would
/// hold up all answers.
const LONG_FLUSH_MEMBERS: usize = 100;

/// All audiences of a shard.
pub(crate) struct Audiences {
    arena: Arena<Audience, mark::Audience>,
    by_topic: HashMap<Box<str>, AudienceKey, ahash::RandomState>,
    log_memory: LogMemory,
    /// The audiences to be flushed.
    touched: Vec<AudienceKey>,
    /// Whether the writes of the last turn did not suffice for all of them.
    is_behind: bool,
    /// Seats that have been found to lag too far, in the flush under way.
    laggards: Vec<usize>,
    lobby: Lobby,
}

impl Audiences {
    /// No audiences yet. A member may lag by `lag_bytes` in their logs.
    pub(crate) fn new(lag_bytes: usize, hasher: ahash::RandomState) -> Self {
        Self {
            arena: Arena::new(),
            by_topic: HashMap::with_hasher(hasher),
            log_memory: LogMemory::new(lag_bytes),
            touched: Vec::new(),
            is_behind: false,
            laggards: Vec::new(),
            lobby: Lobby::default(),
        }
    }

    /// Makes the keys of another life of the shard find nothing here.
    pub(crate) fn follow(&mut self, other: &Self) {
        self.arena = Arena::following(&other.arena);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.arena.len()
    }

    /// An audience, if it is still there.
    pub(crate) fn get(&self, key: AudienceKey) -> Option<&Audience> {
        self.arena.get(key)
    }

    /// An audience to change, if it is still there.
    pub(crate) fn get_mut(&mut self, key: AudienceKey) -> Option<&mut Audience> {
        self.arena.get_mut(key)
    }

    /// All audiences, in the order of their slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (AudienceKey, &Audience)> {
        self.arena.iter()
    }

    /// The audience of a topic, if it has one.
    pub(crate) fn find(&self, topic: &str) -> Option<AudienceKey> {
        self.by_topic.get(topic).copied()
    }

    /// Where the room of an audience is, once that is known: its shard, and its key there.
    pub(crate) fn home(&self, key: AudienceKey) -> Option<(u16, RoomKey)> {
        let audience = self.arena.get(key)?;
        Some((audience.home_shard, audience.home?))
    }

    /// The same for the member in a seat: none, if the room does not know it any more.
    pub(crate) fn home_of_seat(&self, key: AudienceKey, seat: u32) -> Option<(u16, RoomKey)> {
        let why = self.arena.get(key)?.why_ending(seat);
        if why.is_some_and(|why| why.has_lost_home) { None } else { self.home(key) }
    }

    /// The channels of all who are seated in an audience now are to end: nothing more is written to
    /// them. False if there is nobody.
    pub(crate) fn begin_ending(&mut self, key: AudienceKey, why: Arc<WhyEnding>) -> bool {
        let Some(audience) = self.arena.get_mut(key) else { return false };
        audience.begin_ending(why);
        let has_some = audience.ending() > 0;
        // What only they lagged in may now be let go.
        self.touch(key);
        has_some
    }

    /// The channel of the member in a seat is to end: nothing more is written to it. Returns the
    /// seats that it and another have taken.
    pub(crate) fn begin_ending_of(&mut self, key: AudienceKey, seat: u32) -> [u32; 2] {
        let audience = self.arena.get_mut(key).expect("a channel has an audience");
        let taken = audience.begin_ending_of(seat);
        // What only this one lagged in may now be let go.
        self.touch(key);
        taken
    }

    /// Finds the audience of a topic, or makes it.
    pub(crate) fn find_or_make(&mut self, topic: &str, home_shard: u16) -> AudienceKey {
        if let Some(key) = self.by_topic.get(topic) {
            return *key;
        }
        let key = self.arena.insert(Audience::new(topic, home_shard));
        self.by_topic.insert(topic.into(), key);
        key
    }

    /// Removes an audience if nobody is in it.
    pub(crate) fn drop_if_deserted(&mut self, key: AudienceKey) {
        if self.arena.get(key).is_some_and(Audience::is_deserted)
            && let Some(audience) = self.arena.remove(key)
        {
            self.by_topic.remove(&audience.topic);
            self.log_memory.forget(audience.log_bytes());
        }
    }

    /// Appends a broadcast for the members here, to be sent at the end of the turn.
    pub(crate) fn deliver(
        &mut self,
        metrics: &mut Metrics,
        key: AudienceKey,
        event: &str,
        payload: Payload<'_>,
    ) {
        // The last member may have left while this was on its way.
        let Some(audience) = self.arena.get_mut(key) else { return };
        metrics.delivered += audience.hearers() as u64;
        audience.append(&mut self.log_memory, event, payload);
        self.touch(key);
    }

    /// Schedules an audience to be flushed at the end of the turn.
    pub(crate) fn touch(&mut self, key: AudienceKey) {
        if let Some(audience) = self.arena.get_mut(key)
            && !std::mem::replace(&mut audience.touched, true)
        {
            self.touched.push(key);
        }
    }

    /// Takes the audiences that are to be flushed. [`Audiences::put_touched`] brings back those
    /// that are to be flushed again.
    pub(crate) fn take_touched(&mut self) -> Vec<AudienceKey> {
        std::mem::take(&mut self.touched)
    }

    /// See [`Audiences::take_touched`]. What was touched while flushing waits for the next turn.
    /// `is_behind`: some were not reached.
    pub(crate) fn put_touched(&mut self, mut touched: Vec<AudienceKey>, is_behind: bool) {
        touched.append(&mut self.touched);
        self.touched = touched;
        self.is_behind = is_behind;
    }

    /// Whether the writes of the last turn did not suffice for all that were touched.
    pub(crate) fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Whether an audience collects for a while before it is flushed; `None` if it is gone.
    pub(crate) fn is_resting(&self, key: AudienceKey, now_ms: u64) -> Option<bool> {
        self.arena.get(key).map(|audience| now_ms < audience.cadence.rests_until_ms())
    }

    /// Whether a flush of an audience takes so long that answers to connections go first.
    pub(crate) fn is_long(&self, key: AudienceKey) -> bool {
        self.arena.get(key).is_some_and(|audience| audience.seats.len() >= LONG_FLUSH_MEMBERS)
    }

    /// Ends the rest of every audience whose logs are not empty, and returns these audiences.
    pub(crate) fn wake_all(&mut self) -> Vec<AudienceKey> {
        let with_log = self.arena.iter().filter(|(_, audience)| audience.log_bytes() > 0);
        let keys: Vec<_> = with_log.map(|(key, _)| key).collect();
        for key in &keys {
            if let Some(audience) = self.arena.get_mut(*key) {
                audience.cadence.wake();
            }
            self.touch(*key);
        }
        keys
    }

    /// Shrinks the logs of an audience to what its members still lag by.
    pub(crate) fn shrink_log(&mut self, key: AudienceKey) {
        if let Some(audience) = self.arena.get_mut(key) {
            audience.log.shrink(&mut self.log_memory);
            audience.log_v1.shrink(&mut self.log_memory);
        }
    }

    /// How much memory all logs have, in bytes.
    pub(crate) fn log_bytes(&self) -> usize {
        self.log_memory.lent_bytes()
    }

    /// The memory of the answers that the lobby keeps for the next joins, in bytes.
    pub(crate) fn lobby_bytes(&self) -> usize {
        self.lobby.answers_bytes()
    }

    /// Gives back memory that is mostly unused.
    pub(crate) fn tidy(&mut self) {
        let Self { arena: _, by_topic, log_memory, touched, is_behind: _, laggards, lobby } = self;
        lobby.tidy();
        log_memory.tidy();
        by_topic.trim(ENTRIES_KEPT);
        touched.trim(ENTRIES_KEPT);
        laggards.trim(ENTRIES_KEPT);
    }

    /// Panics if the parts do not agree. For tests: it looks at everything.
    pub(crate) fn check(&self, conns: &Conns) {
        for (key, audience) in self.arena.iter() {
            self.check_audience(conns, key, audience);
        }
        let apart = self.arena.iter().map(|(_, audience)| audience.apart as usize);
        assert_eq!(apart.sum::<usize>(), self.lobby.check());
        assert_eq!(self.arena.len(), self.by_topic.len());
        let log_bytes: usize = self.arena.iter().map(|(_, audience)| audience.log_bytes()).sum();
        assert_eq!(self.log_memory.lent_bytes(), log_bytes);
    }
}

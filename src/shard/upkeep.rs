//! The topics that live on a shard, all together: how many there may be, what they remember, which
//! goes when there is no room, and how the directories hear of them.

use std::collections::VecDeque;

use super::home::Home;
use super::message::ToHome;
use super::{Io, Shard, Timer, Turn};
use crate::base::arena::Key;
use crate::base::slack::Slack;
use crate::chat::topic::Topic;

/// How long a shard collects what changed in its rooms before it tells the directories, in
/// milliseconds.
const LISTING_MS: u64 = 50;

/// The topics that live on a shard.
#[derive(Default)]
pub(super) struct Upkeep {
    /// Those that nobody is in, the longest empty first. An entry is stale if the home was entered
    /// since.
    empty: VecDeque<(Key<Home>, u32)>,
    /// Bytes of history over all homes.
    pub(super) history_bytes: usize,
    /// What all homes take besides that, in bytes: see [`Home::weight_bytes`].
    pub(super) homes_bytes: usize,
    /// Homes whose listing changed.
    unlisted: Vec<Key<Home>>,
    /// Rooms that went away since the directories were told.
    removed_rooms: Vec<Box<str>>,
    /// Whether a time to tell them is set.
    listing: bool,
    /// Makes epochs: this life of the process, and a count.
    epochs: u64,
}

impl Upkeep {
    /// The epochs that follow this seed; it must be new for each life of a shard.
    pub(super) fn new(seed: u64) -> Self {
        Self { epochs: seed, ..Self::default() }
    }

    /// Lines a home up to be evicted, once; if it is entered and left again, it goes to the back
    /// when its turn comes.
    pub(super) fn note_empty(&mut self, key: Key<Home>, home: &mut Home) {
        home.emptied = home.emptied.wrapping_add(1);
        if !std::mem::replace(&mut home.queued, true) {
            self.empty.push_back((key, home.emptied));
        }
    }

    /// Gives back the memory of many rooms that were empty, or changed at once.
    pub(super) fn trim(&mut self, kept: usize) {
        self.empty.trim(kept);
        self.unlisted.trim(kept);
    }

    /// A seed for epochs that are none of these.
    pub(super) fn next_seed(&self) -> u64 {
        self.epochs
    }

    pub(super) fn next_epoch(&mut self) -> u64 {
        self.epochs = self.epochs.wrapping_add(1).max(1);
        self.epochs
    }
}

impl Shard {
    /// Has the directories told of every room here.
    pub(super) fn list_all(&mut self) {
        let homes: Vec<_> = self.homes.iter().map(|(key, _)| key).collect();
        for key in homes {
            self.unlist(key);
        }
    }

    /// Counts a home for what it takes now.
    pub(super) fn reweigh(&mut self, key: Key<Home>) {
        let Some(home) = self.homes.get_mut(key) else { return };
        let bytes = home.weight_bytes();
        self.upkeep.homes_bytes = self.upkeep.homes_bytes - home.counted_bytes + bytes;
        home.counted_bytes = bytes;
    }

    /// Has the directories told of a room.
    pub(super) fn unlist(&mut self, key: Key<Home>) {
        if let Some(home) = self.homes.get_mut(key)
            && !std::mem::replace(&mut home.unlisted, true)
        {
            self.upkeep.unlisted.push(key);
        }
    }

    /// Has the directories told, if there is anything to tell.
    pub(super) fn set_listings_tick<I: Io>(&mut self, turn: &Turn<'_, I>) {
        let has_news = !self.upkeep.unlisted.is_empty() || !self.upkeep.removed_rooms.is_empty();
        if has_news && !std::mem::replace(&mut self.upkeep.listing, true) {
            self.timers.push(turn.now.mono_ms + LISTING_MS, Timer::Listings);
        }
    }

    /// Tells every shard's directory what has changed here. While a way to one is filling, that
    /// waits, and is told in one.
    pub(super) fn send_listings<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        self.upkeep.listing = false;
        if self.is_any_filling(turn) {
            return;
        }
        let mut unlisted = std::mem::take(&mut self.upkeep.unlisted);
        for key in unlisted.drain(..) {
            let Some(home) = self.homes.get_mut(key) else { continue };
            home.unlisted = false;
            // Out of the home while they are told: a directory knows nothing of homes.
            let (topic, title) = (std::mem::take(&mut home.topic), std::mem::take(&mut home.title));
            let members = Some(home.presence.present_count());
            if let Some(room) = Topic::parse(&topic).and_then(Topic::room) {
                self.tell_directories(turn, room, &title, members);
            }
            if let Some(home) = self.homes.get_mut(key) {
                (home.topic, home.title) = (topic, title);
            }
        }
        for room in std::mem::take(&mut self.upkeep.removed_rooms) {
            if !self.home_by_topic.contains_key(&*crate::chat::topic::of_room(&room)) {
                self.tell_directories(turn, &room, "", None);
            }
        }
        self.upkeep.unlisted = unlisted;
    }

    fn tell_directories<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        room: &str,
        title: &str,
        members: Option<u32>,
    ) {
        for shard in 0..self.settings.shards {
            self.tell_home(turn, shard, ToHome::Listing { room, title, members });
        }
    }

    /// Lets go of the room that nobody has been in for the longest. False if there is none.
    pub(super) fn evict_longest_empty(&mut self) -> bool {
        while let Some((key, emptied)) = self.upkeep.empty.pop_front() {
            let Some(home) = self.homes.get_mut(key) else { continue };
            if home.presence.live_count() > 0 {
                home.queued = false;
            } else if home.emptied == emptied {
                self.remove_home(key);
                return true;
            } else {
                self.upkeep.empty.push_back((key, home.emptied));
            }
        }
        false
    }

    pub(super) fn remove_home(&mut self, key: Key<Home>) {
        self.let_list_go(key);
        let Some(home) = self.homes.remove(key) else { return };
        self.upkeep.homes_bytes -= home.counted_bytes;
        self.upkeep.history_bytes -= home.history.kept_bytes();
        if let Some(room) = home.room() {
            self.upkeep.removed_rooms.push(room.into());
        }
        self.home_by_topic.remove(&home.topic);
    }

    /// Keeps the history of all rooms within its bound: empty rooms go first, then the room that
    /// grew pays for itself.
    pub(super) fn bound_history(&mut self, grown: Key<Home>) {
        while self.upkeep.history_bytes > self.settings.history_bytes_max {
            if self.evict_longest_empty() {
                continue;
            }
            let Some(home) = self.homes.get_mut(grown).filter(|home| !home.history.is_empty())
            else {
                return;
            };
            self.upkeep.history_bytes -= home.history.kept_bytes();
            home.history.drop_oldest();
            self.upkeep.history_bytes += home.history.kept_bytes();
        }
    }

    /// Says that every home is counted for what it takes. For [`Shard::check_invariants`].
    pub(super) fn check_weight(&self) {
        let bytes: usize = self.homes.iter().map(|(_, home)| home.weight_bytes()).sum();
        assert_eq!(self.upkeep.homes_bytes, bytes, "homes are counted for what they take");
    }

    /// The bytes of history over all homes. For [`Shard::check_invariants`].
    pub(super) fn history_bytes_of_homes(&self) -> usize {
        self.homes.iter().map(|(_, home)| home.history.kept_bytes()).sum()
    }
}

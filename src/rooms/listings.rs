//! Tells the directories of all shards about the rooms here. Changes are collected for a moment,
//! and told together.
//!
//! Invariant: a room is in the queue exactly if its `is_to_list` is set. So it is told once, as it
//! is by then.
//!
//! Deliberately absent: rights to see a room, and what the lobby is told. Each shard's own
//! directory answers that.
//!
//! Called by: `rooms`, and `shard` for the timer. Calls: `room`, `directory`.

use crate::base::slack::Slack;
use crate::directory::Directory;
use crate::link::ids::RoomKey;
use crate::link::io::Io;
use crate::link::outbox::{Cx, Timer};
use crate::link::record::ToHome;
use crate::link::topic;
use crate::rooms::Rooms;
use crate::rooms::registry::Registered;

/// How long a shard collects changes of its rooms before it tells the directories, in milliseconds.
const LISTING_MS: u64 = 50;

/// Changes that the directories have not been told yet.
#[derive(Default)]
pub(super) struct Listings {
    /// Rooms whose listing changed.
    to_list: Vec<RoomKey>,
    /// Rooms that were removed since the directories were told.
    removed: Vec<Box<str>>,
    /// Whether the timer to tell them is set.
    is_set: bool,
}

impl Listings {
    /// Queues a room.
    pub(super) fn note(&mut self, key: RoomKey, registered: &mut Registered) {
        if !std::mem::replace(&mut registered.is_to_list, true) {
            self.to_list.push(key);
        }
    }

    /// Notes that a room has been removed.
    pub(super) fn note_removed(&mut self, name: &str) {
        self.removed.push(name.into());
    }

    /// Gives back memory that many changes at once needed.
    pub(super) fn trim(&mut self, kept: usize) {
        self.to_list.trim(kept);
    }
}

impl Rooms {
    /// Queues every room here for the directories to be told of.
    pub(crate) fn list_all(&mut self) {
        for key in self.keys(|_| true) {
            if !self.loading.has(key) {
                self.list(key);
            }
        }
    }

    /// Queues a room for the directories to be told of.
    pub(super) fn list(&mut self, key: RoomKey) {
        if let Some(registered) = self.arena.get_mut(key) {
            self.listings.note(key, registered);
        }
    }

    /// Sets the time at which the directories are told, if there is anything to tell.
    pub(crate) fn set_listings_tick<I: Io>(&mut self, cx: &mut Cx<'_, I>) {
        let Listings { to_list, removed, is_set } = &mut self.listings;
        let has_news = !to_list.is_empty() || !removed.is_empty();
        if has_news && !std::mem::replace(is_set, true) {
            cx.timers.push(cx.now.mono_ms + LISTING_MS, Timer::Listings);
        }
    }

    /// Tells every shard's directory what has changed here. This shard's own is `directory`. While
    /// a way to a shard is filling, nothing is told, and changes go on being collected.
    pub(crate) fn send_listings<I: Io>(&mut self, cx: &mut Cx<'_, I>, directory: &mut Directory) {
        self.listings.is_set = false;
        if cx.is_any_filling() {
            return;
        }
        for key in self.listings.to_list.drain(..) {
            let Some(registered) = self.arena.get_mut(key) else { continue };
            registered.is_to_list = false;
            let room = &registered.room;
            if let Some(name) = room.name() {
                send_listing(cx, directory, name, room.title(), Some(room.present_count()));
            }
        }
        for name in std::mem::take(&mut self.listings.removed) {
            // It may have been made again since.
            if !self.by_topic.contains_key(&*topic::of_room(&name)) {
                send_listing(cx, directory, &name, "", None);
            }
        }
    }
}

fn send_listing<I: Io>(
    cx: &mut Cx<'_, I>,
    directory: &mut Directory,
    room: &str,
    title: &str,
    members: Option<u32>,
) {
    for shard in 0..cx.settings.shards {
        if shard == cx.id {
            directory.learn(room, title, members);
        } else {
            cx.send(shard, ToHome::Listing { room, title, members });
        }
    }
}

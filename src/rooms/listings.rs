//! Tells the directories of all shards about the rooms here. Changes are collected for a moment,
//! and told together.
//!
//! Rooms that the log keeps and that are not open here are asked for from the start on, a portion
//! at a time, while there is work left in the turn and nothing is behind: a home serves meanwhile.
//!
//! Invariant: a room is in the queue exactly if its `is_to_list` is set. So it is told once, as it
//! is by then.
//!
//! Deliberately absent: rights to see a room, and what the lobby is told. Each shard's own
//! directory answers that.
//!
//! Called by: `rooms`, and `shard` for the timer. Calls: `room`, `directory`.

use crate::base::budget::Purse;
use crate::base::slack::Slack;
use crate::directory::Directory;
use crate::limits::{MESSAGE_WORK, STORE_LISTED_AGAIN_MS};
use crate::link::ids::RoomKey;
use crate::link::io::Io;
use crate::link::log::{ListedRoom, Log};
use crate::link::outbox::{Cx, Timer};
use crate::link::pressure::Pressure;
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
    /// Rooms that were removed since the directories were told, and the titles of those that their
    /// log keeps.
    removed: Vec<(Box<str>, Option<Box<str>>)>,
    /// Whether the timer to tell them is set.
    is_set: bool,
    kept: KeptRooms,
}

/// How far the log has been asked for the rooms that it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeptRooms {
    /// Those behind this place are asked for next, at the time, in milliseconds of monotonic time.
    Wanted { after: u64, from_ms: u64 },
    /// Those behind this place have been asked for. `is_again`: all of them are wanted after that.
    Asked { after: u64, is_again: bool },
    /// All have been listed, or there are none.
    Told,
}

impl Default for KeptRooms {
    fn default() -> Self {
        Self::Wanted { after: 0, from_ms: 0 }
    }
}

impl Listings {
    /// Queues a room.
    pub(super) fn note(&mut self, key: RoomKey, registered: &mut Registered) {
        if !std::mem::replace(&mut registered.is_to_list, true) {
            self.to_list.push(key);
        }
    }

    /// Notes that a room has been removed; with a title, that its log keeps it under that.
    pub(super) fn note_removed(&mut self, name: &str, kept: Option<&str>) {
        self.removed.push((name.into(), kept.map(Box::from)));
    }

    /// Gives back memory that many changes at once needed.
    pub(super) fn trim(&mut self, kept: usize) {
        self.to_list.trim(kept);
    }
}

impl Rooms {
    /// Queues every room here for the directories to be told of, and all that the log keeps.
    pub(crate) fn list_all(&mut self) {
        match &mut self.listings.kept {
            KeptRooms::Asked { is_again, .. } => *is_again = true,
            kept => *kept = KeptRooms::default(),
        }
        for key in self.keys(|_| true) {
            if !self.loading.has(key) {
                self.list(key);
            }
        }
    }

    /// Asks the log for more of the rooms that it keeps, if there are and nothing is behind.
    pub(crate) fn ask_for_kept<I: Io>(&mut self, cx: &mut Cx<'_, I>, directory: &Directory) {
        let KeptRooms::Wanted { after, from_ms } = self.listings.kept else { return };
        let may_ask = cx.now.mono_ms >= from_ms
            && cx.budget.has_left(Purse::Conns)
            && cx.pressure < Pressure::Joins
            && !directory.is_behind()
            && !cx.is_any_filling();
        // A sweep comes soon, and with it the next turn.
        if !may_ask {
            return;
        }
        let is_asked = cx.io.log().list(after);
        self.listings.kept =
            if is_asked { KeptRooms::Asked { after, is_again: false } } else { KeptRooms::Told };
    }

    /// Tells the directories of rooms that the log keeps. Those that are open here have told, and
    /// tell, of themselves.
    pub(crate) fn hear_kept<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        directory: &mut Directory,
        rooms: &[ListedRoom],
        next: Option<u64>,
    ) {
        let KeptRooms::Asked { is_again, .. } = self.listings.kept else { return };
        for ListedRoom { topic, founded } in rooms {
            cx.budget.spend(MESSAGE_WORK);
            let open = self.by_topic.get(topic).filter(|key| !self.loading.has(**key));
            let Some(name) = topic::room_of(topic) else { continue };
            if open.is_none() {
                send_listing(cx, directory, name, founded.as_deref().unwrap_or(name), Some(0));
            }
        }
        self.listings.kept = match next {
            _ if is_again => KeptRooms::default(),
            Some(after) => KeptRooms::Wanted { after, from_ms: 0 },
            None => KeptRooms::Told,
        };
    }

    /// Notes that the rooms that the log keeps cannot be listed now: they are asked for again.
    pub(crate) fn kept_not_listed<I: Io>(&mut self, cx: &mut Cx<'_, I>) {
        let KeptRooms::Asked { after, is_again } = self.listings.kept else { return };
        let after = if is_again { 0 } else { after };
        let from_ms = cx.now.mono_ms + STORE_LISTED_AGAIN_MS;
        self.listings.kept = KeptRooms::Wanted { after, from_ms };
    }

    /// Queues a room for the directories to be told of.
    pub(super) fn list(&mut self, key: RoomKey) {
        if let Some(registered) = self.arena.get_mut(key) {
            self.listings.note(key, registered);
        }
    }

    /// Sets the time at which the directories are told, if there is anything to tell.
    pub(crate) fn set_listings_tick<I: Io>(&mut self, cx: &mut Cx<'_, I>) {
        let Listings { to_list, removed, is_set, kept: _ } = &mut self.listings;
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
                let members = (!room.is_private()).then(|| room.present_count());
                send_listing(cx, directory, name, room.title(), members);
            }
        }
        for (name, kept) in std::mem::take(&mut self.listings.removed) {
            // It may have been made again since.
            let again = self.by_topic.get(&*topic::of_room(&name));
            if again.is_some_and(|key| !self.loading.has(*key)) {
                continue;
            }
            match kept {
                Some(title) => send_listing(cx, directory, &name, &title, Some(0)),
                None => send_listing(cx, directory, &name, "", None),
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

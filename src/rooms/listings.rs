//! Tells the directories of all shards about the rooms here. Changes are collected for a moment,
//! and told together.
//!
//! Rooms that the log keeps and that are not open here are asked for from the start on, a portion
//! at a time, while there is work left in the turn and nothing is behind: a home serves meanwhile.
//!
//! A log that several nodes share makes the list of all rooms itself ([`Log::lists_all`]). It is
//! told how many are here, and tells each shard what the list is by now, in which all nodes are
//! counted.
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
use crate::limits::{LIST_WATCH_MS, LISTINGS_PER_TURN_MAX, MESSAGE_WORK, STORE_LISTED_AGAIN_MS};
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
    removed: Vec<Removed>,
    /// Whether the timer to tell them is set.
    is_set: bool,
    kept: KeptRooms,
    /// Whether a room was left out for want of memory, of those that the log lists.
    is_short: bool,
    /// When the log is told again that somebody asks for the list, in milliseconds of monotonic
    /// time.
    watch_ms: u64,
}

/// The name of a room that was removed, and its title, if its log keeps it.
type Removed = (Box<str>, Option<Box<str>>);

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

    /// How many rooms of the queue a turn tells of, and those that were removed of which it does.
    fn take_some(&mut self) -> (usize, Vec<Removed>) {
        let count = self.to_list.len().min(LISTINGS_PER_TURN_MAX);
        let mut removed = std::mem::take(&mut self.removed);
        self.removed = removed.split_off(removed.len().min(LISTINGS_PER_TURN_MAX - count));
        (count, removed)
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
        if cx.io.log().lists_all() {
            return self.ask_for_all(cx, directory);
        }
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

    /// Asks the log for what has changed in the list that it makes, unless something is behind.
    fn ask_for_all<I: Io>(&mut self, cx: &mut Cx<'_, I>, directory: &Directory) {
        let now_ms = cx.now.mono_ms;
        if directory.take_asked() && now_ms >= self.listings.watch_ms {
            self.listings.watch_ms = now_ms + LIST_WATCH_MS;
            cx.io.log().watch();
        }
        let Listings { kept, is_short, .. } = &mut self.listings;
        let after = match *kept {
            _ if *is_short && cx.pressure < Pressure::Joins => 0,
            KeptRooms::Wanted { after, .. } => after,
            // What was asked before is answered when something has changed.
            KeptRooms::Asked { is_again: true, .. } => 0,
            KeptRooms::Asked { .. } | KeptRooms::Told => return,
        };
        if cx.budget.has_left(Purse::Conns) && !directory.is_behind() {
            *is_short &= after > 0;
            *kept = KeptRooms::Asked { after, is_again: false };
            cx.io.log().list(after);
        }
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
        let lists_all = cx.io.log().lists_all();
        for ListedRoom { topic, founded, present } in rooms {
            cx.budget.spend(MESSAGE_WORK);
            if lists_all {
                self.hear_listed(cx, directory, topic, founded.as_deref(), *present);
                continue;
            }
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

    /// Notes what the log that makes the list says of a room.
    fn hear_listed<I: Io>(
        &mut self,
        cx: &Cx<'_, I>,
        directory: &mut Directory,
        topic: &str,
        founded: Option<&str>,
        present: Option<u32>,
    ) {
        let Some(name) = topic::room_of(topic) else { return };
        if present.is_some() && cx.pressure >= Pressure::Joins && !directory.knows(name) {
            self.listings.is_short = true;
        } else {
            directory.learn(name, founded.unwrap_or(name), present);
        }
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
        let Listings { to_list, removed, is_set, .. } = &mut self.listings;
        let has_news = !to_list.is_empty() || !removed.is_empty();
        if has_news && !std::mem::replace(is_set, true) {
            cx.timers.push(cx.now.mono_ms + LISTING_MS, Timer::Listings);
        }
    }

    /// Tells every shard's directory what has changed here, as much as a turn may: the rest is told
    /// in the next ones. This shard's own is `directory`. While much waits for a shard, or
    /// for the log that makes the list, nothing is told, and changes go on being collected.
    pub(crate) fn send_listings<I: Io>(&mut self, cx: &mut Cx<'_, I>, directory: &mut Directory) {
        self.listings.is_set = false;
        let (count, removed) = if cx.io.log().lists_all() {
            if cx.io.log().is_filling() {
                return;
            }
            self.count_rooms(cx)
        } else {
            if cx.is_any_filling() {
                return;
            }
            self.tell_directories(cx, directory)
        };
        cx.budget.spend(u32::try_from(count + removed).unwrap_or(u32::MAX));
        let Listings { to_list, removed, is_set, .. } = &mut self.listings;
        to_list.drain(..count);
        if !to_list.is_empty() || !removed.is_empty() {
            *is_set = true;
            cx.timers.push(cx.now.mono_ms + 1, Timer::Listings);
        }
    }

    /// Returns of how many rooms: that are open, and that were removed.
    fn tell_directories<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        directory: &mut Directory,
    ) -> (usize, usize) {
        let (count, removed) = self.listings.take_some();
        let told = (count, removed.len());
        for at in 0..count {
            let key = self.listings.to_list[at];
            let Some(registered) = self.arena.get_mut(key) else { continue };
            registered.is_to_list = false;
            let room = &registered.room;
            if let Some(name) = room.name() {
                let members = (!room.is_private()).then(|| room.present_count());
                send_listing(cx, directory, name, room.title(), members);
            }
        }
        for (name, kept) in removed {
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
        told
    }
}

impl Rooms {
    /// Tells the log that makes the list how many are in rooms here. Returns of how many rooms:
    /// that are open, and that were removed.
    fn count_rooms<I: Io>(&mut self, cx: &mut Cx<'_, I>) -> (usize, usize) {
        let (count, removed) = self.listings.take_some();
        let told = (count, removed.len());
        for (name, _) in removed {
            let topic = topic::of_room(&name);
            if !self.by_topic.contains_key(&*topic) {
                cx.io.log().count(&topic, None);
            }
        }
        for at in 0..count {
            let key = self.listings.to_list[at];
            let Some(registered) = self.arena.get_mut(key) else { continue };
            registered.is_to_list = false;
            let room = &registered.room;
            if room.name().is_some() {
                // Members elsewhere are counted there: else they would be twice.
                let is_listed = room.members_count() > 0 && !room.is_private();
                cx.io.log().count(room.topic(), is_listed.then(|| room.here_count()));
            }
        }
        told
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Scope;
    use crate::link::log::{Append, Appended, Opening};
    use crate::rooms::tests::Home;

    /// A log that makes the list, and remembers what it is told and asked.
    #[derive(Default)]
    struct ListingLog {
        counts: Vec<(String, Option<u32>)>,
        asked: Vec<u64>,
        watches: u32,
        is_filling: bool,
    }

    impl Log for ListingLog {
        fn open(&mut self, _: RoomKey, _: &str, _: u64) -> Opening {
            Opening::New
        }
        fn append(&mut self, _: Append<'_>) -> Appended {
            Appended::Kept
        }
        fn is_filling(&self) -> bool {
            self.is_filling
        }
        fn close(&mut self, _: RoomKey) {}
        fn list(&mut self, after: u64) -> bool {
            self.asked.push(after);
            true
        }
        fn lists_all(&self) -> bool {
            true
        }
        fn count(&mut self, topic: &str, present: Option<u32>) {
            self.counts.push((topic.to_owned(), present));
        }
        fn watch(&mut self) {
            self.watches += 1;
        }
    }

    fn counts(
        home: &mut Home<ListingLog>,
        directory: &mut Directory,
    ) -> Vec<(String, Option<u32>)> {
        home.with(|rooms, cx, _| rooms.send_listings(cx, directory));
        std::mem::take(&mut home.mesh.log.counts)
    }

    fn asked(home: &mut Home<ListingLog>, directory: &Directory) -> Vec<u64> {
        home.with(|rooms, cx, _| rooms.ask_for_kept(cx, directory));
        std::mem::take(&mut home.mesh.log.asked)
    }

    fn listed(name: &str, present: Option<u32>) -> ListedRoom {
        ListedRoom { topic: topic::of_room(name).into(), founded: None, present }
    }

    #[test]
    fn a_log_that_makes_the_list_is_told_how_many_are_here_and_no_directory_is() {
        let (mut home, mut directory) =
            (Home::with_log(ListingLog::default()), Directory::default());
        for number in 1..=2 {
            home.try_join(0, number, "room:tea", "ann");
        }
        home.mesh.log.is_filling = true;
        assert_eq!(counts(&mut home, &mut directory), [], "much waits for it");
        home.mesh.log.is_filling = false;
        assert_eq!(counts(&mut home, &mut directory), [("room:tea".to_owned(), Some(2))]);
        home.with(|rooms, cx, _| rooms.forget_all(cx, 0));
        assert_eq!(counts(&mut home, &mut directory), [("room:tea".to_owned(), None)]);
        assert_eq!(directory.page(None, 10, &Scope::all()).0, []);
    }

    #[test]
    fn what_has_changed_in_the_list_is_asked_for_again_and_again() {
        let (mut home, mut directory) =
            (Home::with_log(ListingLog::default()), Directory::default());
        assert_eq!(asked(&mut home, &directory), [0]);
        assert_eq!(asked(&mut home, &directory), [0; 0], "the answer comes when there is one");
        let hear = |home: &mut Home<ListingLog>, directory: &mut Directory, room, next| {
            home.with(|rooms, cx, _| rooms.hear_kept(cx, directory, &[room], Some(next)));
        };
        hear(&mut home, &mut directory, listed("tea", Some(7)), 4);
        assert_eq!((directory.members("tea"), asked(&mut home, &directory)), (7, vec![4]));
        // Another shard has begun anew: what this one knew of its rooms is forgotten.
        home.with(|rooms, _, _| rooms.list_all());
        assert_eq!(asked(&mut home, &directory), [0]);
        hear(&mut home, &mut directory, listed("tea", None), 5);
        assert!(!directory.knows("tea"));
        assert_eq!(asked(&mut home, &directory), [5]);
    }

    #[test]
    fn without_memory_no_further_room_is_listed_and_with_it_all_are() {
        let (mut home, mut directory) =
            (Home::with_log(ListingLog::default()), Directory::default());
        directory.learn("tea", "tea", Some(1));
        asked(&mut home, &directory);
        home.pressure = Pressure::Joins;
        let rooms = [listed("tea", Some(2)), listed("mate", Some(3))];
        home.with(|all, cx, _| all.hear_kept(cx, &mut directory, &rooms, Some(2)));
        assert_eq!((directory.members("tea"), directory.knows("mate")), (2, false));
        assert_eq!(asked(&mut home, &directory), [2]);
        home.pressure = Pressure::None;
        assert_eq!(asked(&mut home, &directory), [0], "all again");
        home.with(|all, cx, _| all.hear_kept(cx, &mut directory, &rooms, Some(2)));
        assert_eq!(directory.members("mate"), 3);
        assert_eq!(asked(&mut home, &directory), [2]);
    }

    #[test]
    fn the_log_is_told_that_somebody_asks_for_the_list_now_and_then() {
        let (mut home, directory) = (Home::with_log(ListingLog::default()), Directory::default());
        asked(&mut home, &directory);
        assert_eq!(home.mesh.log.watches, 0);
        for (wait_ms, watches) in [(0, 1), (1, 1), (LIST_WATCH_MS, 2)] {
            home.now_ms += wait_ms;
            let _ = directory.page(None, 10, &Scope::all());
            asked(&mut home, &directory);
            assert_eq!(home.mesh.log.watches, watches);
        }
    }
}

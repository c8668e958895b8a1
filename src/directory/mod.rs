//! The list of all rooms, with titles and head counts, for the lobby and the API.
//!
//! ```text
//!   homes ── learn ──> tree by name, counts and largest below each node ──> count, largest, page
//!                 └──> what changed, once per room ── take_changes ──> the lobby
//! ```
//!
//! Every shard has its own copy, kept up to date by the rooms' homes, so each shard answers
//! questions for lists itself. An answer holds only rooms in the asker's [`Scope`], which is a list
//! of ranges of names; the directory is asked once for each range.
//!
//! Invariant: the cost of an answer is its length plus O(log rooms) for each range, and never a
//! walk over all rooms. [`Directory::take_visits`] counts the nodes that were visited.
//!
//! Deliberately absent: which rooms a user may see. The identity says that.
//!
//! Called by: `rooms`, `audience` (the lobby), `member`, `api`. Calls: nothing above `link`.

mod scope;
mod tree;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Bound;

pub use scope::{NameRange, Scope};
use tree::Tree;

use crate::limits::{LISTED_CHANGES_MAX, LISTING_MEMORY_BYTES, NAME_BYTES_MAX, TITLE_BYTES_MAX};
use crate::link::message::push_listing;
use crate::wire::json::push_array;

/// What a changed room takes in [`Directory::changed`], in bytes: its name, and its place in the
/// map.
const CHANGED_MEMORY_BYTES: usize = NAME_BYTES_MAX + 64;

const _: () = assert!(
    NAME_BYTES_MAX + TITLE_BYTES_MAX + 2 * tree::NODE_BYTES <= LISTING_MEMORY_BYTES,
    "what the worst case says of a room"
);

/// What is known of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Its title.
    pub title: Box<str>,
    /// How many are present in it.
    pub members: u32,
}

/// All rooms, by name.
#[derive(Debug, Default)]
pub struct Directory {
    rooms: Tree,
    /// Rooms that have changed since the lobby was told, and whether a member of the lobby may know
    /// of the room.
    changed: BTreeMap<Box<str>, bool>,
    /// The last room whose change was taken. The next ones by name go first, so that no room waits
    /// for ever.
    taken: Box<str>,
    is_watched: bool,
    /// Whether somebody has asked for rooms since [`Directory::take_asked`].
    is_asked: Cell<bool>,
}

impl Directory {
    /// Collects changes from now on, for [`Directory::take_changes`]. While nobody watches, none
    /// are collected.
    pub fn watch(&mut self) {
        self.is_watched = true;
    }

    /// Stops collecting changes, and drops those that were not taken.
    pub fn unwatch(&mut self) {
        self.is_watched = false;
        self.changed.clear();
    }

    /// Notes what a room's home says of it. Without `members` the room is gone.
    pub fn learn(&mut self, room: &str, title: &str, members: Option<u32>) {
        let rooms_before = self.rooms.len();
        let has_changed = match members {
            Some(members) => self.rooms.set(room, title, members),
            None => self.rooms.remove(room),
        };
        if !has_changed || !self.is_watched {
            return;
        }
        let is_new = self.rooms.len() > rooms_before;
        match self.changed.get(room) {
            // It came and went between two frames, and nobody was told. So the changes are bounded
            // by the rooms that exist or were told, however many come and go.
            Some(false) if members.is_none() => {
                self.changed.remove(room);
            }
            Some(_) => {}
            None => {
                self.changed.insert(room.into(), !is_new);
            }
        }
    }

    /// Notes that watchers may have heard of a room in another way: they must be told if it goes.
    pub fn note_shown(&mut self, room: &str) {
        if let Some(is_known) = self.changed.get_mut(room) {
            *is_known = true;
        }
    }

    /// How many members a room has; 0 if the room is not known.
    #[must_use]
    pub fn members(&self, room: &str) -> u32 {
        self.rooms.find(room).map_or(0, |listing| listing.members)
    }

    /// Whether a room is known.
    #[must_use]
    pub fn knows(&self, room: &str) -> bool {
        self.rooms.find(room).is_some()
    }

    /// Whether somebody has asked for rooms since the last call, or is told of changes.
    #[must_use]
    pub fn take_asked(&self) -> bool {
        self.is_asked.take() || self.is_watched
    }

    /// The names of all rooms, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rooms.from(b"").map(|(room, _)| room)
    }

    /// Whether changes wait to be taken.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Whether so many changes wait that what can wait behind them should.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.changed.len() >= LISTED_CHANGES_MAX
    }

    /// Offers each changed room to `take`, with its listing now, or `None` if it is gone, until
    /// `take` returns false. That room and the rest wait for the next call, which goes on there in
    /// the order of names, and starts over after the last.
    pub fn take_changes(&mut self, mut take: impl FnMut(&str, Option<&Listing>) -> bool) {
        loop {
            let behind = (Bound::Excluded(&*self.taken), Bound::Unbounded);
            let next = self.changed.range::<str, _>(behind).next();
            let Some((room, _)) = next.or_else(|| self.changed.first_key_value()) else { return };
            if !take(room, self.rooms.find(room)) {
                return;
            }
            let room = room.clone();
            self.changed.remove(&room);
            self.taken = room;
        }
    }

    /// At most `count` rooms of `scope` in order of name, from the first behind `after` on; and
    /// whether there are more.
    #[must_use]
    pub fn page(
        &self,
        after: Option<&str>,
        count: usize,
        scope: &Scope,
    ) -> (Vec<(&str, &Listing)>, bool) {
        self.is_asked.set(true);
        // No name contains a control character, so none lies between `after` and this.
        let after = after.map_or(Vec::new(), |after| [after.as_bytes(), b"\0"].concat());
        let mut page = Vec::new();
        for range in scope.ranges().iter().filter(|range| *range.end > *after) {
            let start = range.start.as_ref().max(after.as_slice());
            for (room, listing) in self.rooms.from(start) {
                if room.as_bytes() >= &*range.end {
                    break;
                }
                if page.len() == count {
                    return (page, true);
                }
                page.push((room, listing));
            }
        }
        (page, false)
    }

    /// The `count` rooms of `scope` with most members, most first and then by name; and how many
    /// rooms are in `scope`.
    #[must_use]
    pub fn largest(&self, count: usize, scope: &Scope) -> (Vec<(&str, &Listing)>, usize) {
        (self.rooms.largest(scope.ranges()).take(count).collect(), self.count(scope))
    }

    /// How many rooms are in `scope`.
    #[must_use]
    pub fn count(&self, scope: &Scope) -> usize {
        let count = |range: &NameRange| self.rooms.rank(&range.end) - self.rooms.rank(&range.start);
        if scope.is_all() { self.rooms.len() } else { scope.ranges().iter().map(count).sum() }
    }

    /// How many nodes of the tree were visited since the last call, by questions and changes.
    pub fn take_visits(&self) -> u64 {
        self.rooms.take_visits()
    }

    /// The memory of the directory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.rooms.bytes() + self.changed.len() * CHANGED_MEMORY_BYTES
    }

    /// Gives back memory that is mostly unused.
    pub(crate) fn tidy(&mut self) {
        self.rooms.tidy();
    }
}

/// Appends `[{"members":..,"room":..,"title":..}, ...]`.
pub fn push_rooms<'a>(out: &mut Vec<u8>, rooms: impl Iterator<Item = (&'a str, &'a Listing)>) {
    push_array(out, rooms, |out, (room, listing)| {
        push_listing(out, room, &listing.title, listing.members);
    });
}

#[cfg(test)]
mod tests;

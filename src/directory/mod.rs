//! The rooms there are, with titles and head counts: what the lobby and the API list.
//!
//! ```text
//!   homes ── learn ──> tree by name, counts and largest below each node ──> count, largest, page
//!                 └──> what changed, once per room ── take_changes ──> the lobby
//! ```
//!
//! Every shard holds one, told by the rooms' homes; so a list is answered where it is asked for,
//! and filtered by who asks: a [`Scope`] is a list of ranges of names, and a question to the
//! directory is one to each range.
//!
//! Invariant: what is answered costs what the answer is long, and the logarithm of how many rooms
//! there are for each range; never a look at all rooms, whoever asks. [`Directory::take_visits`]
//! says how many were looked at.
//!
//! Deliberately absent: which rooms a user may see. That is said by the identity.
//!
//! Called by: `rooms`, `audience` (the lobby), `member`, `api`. Calls: nothing above `link`.

mod scope;
mod tree;

use std::collections::BTreeMap;
use std::ops::Bound;

pub use scope::{NameRange, Scope};
use tree::Tree;

use crate::limits::{LISTING_MEMORY_BYTES, NAME_BYTES_MAX, TITLE_BYTES_MAX};
use crate::link::message::push_listing;

/// What a room takes of which there is news, in bytes: its name, and its place in a map.
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
    /// The rooms of which there is news for those who watch, and whether one of them may know of
    /// the room.
    changed: BTreeMap<Box<str>, bool>,
    /// The last room whose news was taken: the next ones come first, so that no room waits behind
    /// others for ever.
    taken: Box<str>,
    is_watched: bool,
}

impl Directory {
    /// From now on keeps what changes, for [`Directory::take_changes`]. It does not while nobody
    /// wants to know.
    pub fn watch(&mut self) {
        self.is_watched = true;
    }

    /// Keeps what changes no longer.
    pub fn unwatch(&mut self) {
        self.is_watched = false;
        self.changed.clear();
    }

    /// Notes what a room's home says of it; without `members` it is gone.
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
            // It came and went between two frames, and nobody was told. However many rooms do so,
            // what waits is bounded by the rooms there are and by what was told.
            Some(false) if members.is_none() => {
                self.changed.remove(room);
            }
            Some(_) => {}
            None => {
                self.changed.insert(room.into(), !is_new);
            }
        }
    }

    /// Notes that those who watch may have heard of a room otherwise: they are told if it goes.
    pub fn note_shown(&mut self, room: &str) {
        if let Some(is_known) = self.changed.get_mut(room) {
            *is_known = true;
        }
    }

    /// Whether there is such a room, as far as is known here.
    #[must_use]
    pub fn knows(&self, room: &str) -> bool {
        self.rooms.find(room).is_some()
    }

    /// How many are in a room; none, if it is not known.
    #[must_use]
    pub fn members(&self, room: &str) -> u32 {
        self.rooms.find(room).map_or(0, |listing| listing.members)
    }

    /// The names of all rooms, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rooms.from(b"").map(|(room, _)| room)
    }

    /// Whether there is news.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Offers the rooms that changed to `take`, each with what is known now, or `None` if it is
    /// gone, until it says that it does not take one. That one and the rest wait for the next call,
    /// which goes on there: by name, and from the first again behind the last.
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

    /// At most `count` rooms in order of name, from the first behind `after` on, of those in
    /// `scope`; and whether there are more.
    #[must_use]
    pub fn page(
        &self,
        after: Option<&str>,
        count: usize,
        scope: &Scope,
    ) -> (Vec<(&str, &Listing)>, bool) {
        // No name has a control character in it, so none is between the two.
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

    /// The `count` rooms with most members, most first and then by name, of those in `scope`; and
    /// of how many these are.
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

    /// How many rooms were looked at since the last call, to answer and to learn.
    pub fn take_visits(&self) -> u64 {
        self.rooms.take_visits()
    }

    /// What all of it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.rooms.bytes() + self.changed.len() * CHANGED_MEMORY_BYTES
    }

    /// Gives back memory that most of is not needed.
    pub(crate) fn tidy(&mut self) {
        self.rooms.tidy();
    }
}

/// Appends `[{"members":..,"room":..,"title":..}, ...]`.
pub fn push_rooms<'a>(out: &mut Vec<u8>, rooms: impl Iterator<Item = (&'a str, &'a Listing)>) {
    out.push(b'[');
    for (number, (room, listing)) in rooms.enumerate() {
        if number > 0 {
            out.push(b',');
        }
        push_listing(out, room, &listing.title, listing.members);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests;

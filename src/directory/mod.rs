//! The rooms there are, with titles and head counts: what the lobby and the API list.
//!
//! Every shard holds one, told by the rooms' homes; so a list is answered where it is asked for,
//! and filtered by who asks.
//!
//! Deliberately absent: which rooms a user may see. That is a question to the identity, passed in.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::link::message::push_listing;

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
    rooms: BTreeMap<Box<str>, Listing>,
    /// Those of which there is news for those who watch.
    changed: BTreeSet<Box<str>>,
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
        match (self.rooms.get_mut(room), members) {
            (None, None) => return,
            (Some(known), Some(members)) if known.members == members && *known.title == *title => {
                return;
            }
            (Some(known), Some(members)) => {
                known.members = members;
                if *known.title != *title {
                    known.title = title.into();
                }
            }
            (None, Some(members)) => {
                self.rooms.insert(room.into(), Listing { title: title.into(), members });
            }
            (Some(_), None) => {
                self.rooms.remove(room);
            }
        }
        if self.is_watched {
            self.changed.insert(room.into());
        }
    }

    /// How many are in a room; none, if it is not known.
    #[must_use]
    pub fn members(&self, room: &str) -> u32 {
        self.rooms.get(room).map_or(0, |listing| listing.members)
    }

    /// The names of all rooms, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rooms.keys().map(|room| &**room)
    }

    /// Whether there is news.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The rooms that changed since the last call, each with what is known now, or `None` if it is
    /// gone.
    pub fn take_changes(&mut self) -> Vec<(Box<str>, Option<Listing>)> {
        std::mem::take(&mut self.changed)
            .into_iter()
            .map(|room| {
                let listing = self.rooms.get(&room).cloned();
                (room, listing)
            })
            .collect()
    }

    /// At most `count` rooms in order of name, from the first behind `after` on, of those that
    /// `may_see` lets through; and whether there are more.
    pub fn page(
        &self,
        after: Option<&str>,
        count: usize,
        may_see: impl Fn(&str) -> bool,
    ) -> (Vec<(&str, &Listing)>, bool) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rooms =
            self.rooms.range::<str, _>((from, Bound::Unbounded)).filter(|(room, _)| may_see(room));
        let page = rooms.by_ref().take(count).map(|(room, listing)| (&**room, listing)).collect();
        (page, rooms.next().is_some())
    }

    /// The `count` rooms with most members, most first, of those that `may_see` lets through; and
    /// of how many these are.
    pub fn largest(
        &self,
        count: usize,
        may_see: impl Fn(&str) -> bool,
    ) -> (Vec<(&str, &Listing)>, usize) {
        let seen = self.rooms.iter().filter(|(room, _)| may_see(room));
        let mut rooms: Vec<_> = seen.map(|(room, listing)| (&**room, listing)).collect();
        let total = rooms.len();
        rooms.sort_by_key(|(room, listing)| (std::cmp::Reverse(listing.members), *room));
        rooms.truncate(count);
        (rooms, total)
    }

    /// How many rooms `may_see` lets through.
    pub fn count(&self, may_see: impl Fn(&str) -> bool) -> usize {
        self.rooms.keys().filter(|room| may_see(room)).count()
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
mod tests {
    use super::*;

    fn names<'a>(rooms: &[(&'a str, &Listing)]) -> Vec<&'a str> {
        rooms.iter().map(|(room, _)| *room).collect()
    }

    #[test]
    fn pages_follow_one_another_and_show_only_what_may_be_seen() {
        let mut directory = Directory::default();
        for (members, room) in ["a", "b", "c", "d", "secret"].into_iter().enumerate() {
            directory.learn(room, room, u32::try_from(members).ok());
        }
        let may_see = |room: &str| room != "secret";
        let (page, more) = directory.page(None, 2, may_see);
        assert_eq!((names(&page), more), (vec!["a", "b"], true));
        let (page, more) = directory.page(Some("b"), 2, may_see);
        assert_eq!((names(&page), more), (vec!["c", "d"], false));
        let (page, total) = directory.largest(2, may_see);
        assert_eq!((names(&page), total), (vec!["d", "c"], 4));
        assert_eq!(directory.count(|_| true), 5);
    }

    #[test]
    fn only_news_is_news() {
        let mut directory = Directory::default();
        directory.learn("z", "Z", Some(1));
        assert!(!directory.has_changed(), "nobody wants to know");
        directory.watch();
        directory.learn("a", "A", Some(1));
        assert_eq!(directory.take_changes().len(), 1);
        directory.learn("a", "A", Some(1));
        directory.learn("b", "", None);
        assert!(!directory.has_changed());
        directory.learn("a", "", None);
        assert_eq!(directory.take_changes(), [("a".into(), None)]);
        directory.learn("z", "z", Some(2));
        assert_eq!(
            directory.take_changes(),
            [("z".into(), Some(Listing { title: "z".into(), members: 2 }))]
        );
        directory.learn("z", "z", Some(3));
        directory.unwatch();
        assert!(!directory.has_changed());
    }
}

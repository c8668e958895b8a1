//! The list of all rooms of all nodes: what is kept of each in the engine, and how many are there
//! on each node.
//!
//! ```text
//!   what the engine keeps ── keep ──────┐
//!   how many are here ────── count ─────┼──> Row ── changes ──> each shard, at its own pace
//!   how many are elsewhere ─ elsewhere ─┘                  └──> other nodes: `counts`
//! ```
//!
//! A room is listed if something of it is kept, or somebody is there; not if it is private. It has
//! as many members as all nodes together say.
//!
//! Each room has one place in the order of changes, that of its last one. Shards are told from the
//! place on that they name. So one that begins anew is told all, and one that is slow each room
//! once.
//!
//! Invariants, checked by `List::check`:
//!
//! 1. of a room in which nobody is and of which nothing is kept there is a row only until all
//!    shards have been told that it is gone;
//! 2. there are at most [`CLUSTER_LISTED_MAX`] rows.
//!
//! Deliberately absent: how the engine is read (`listing`), and how nodes tell each other
//! (`counts`).

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;

#[cfg(test)]
use super::planted::{self, Planted};
use crate::limits::{CLUSTER_LISTED_MAX, COUNTS_LOOKS_MAX, STORE_LISTED_MAX};
use crate::link::engine::push_count;
use crate::link::kept::push_listed;
use crate::link::log::NodeId;
use crate::link::settings::home_of;
use crate::side::engine::command::Founded;
use crate::side::engine::partition::partition;

/// What the engine keeps of a room.
#[derive(Debug)]
struct Kept {
    founded: Option<Founded>,
    /// The last reading of its partition in which it was there.
    reading: u32,
}

/// A room.
#[derive(Debug)]
struct Row {
    topic: Arc<str>,
    kept: Option<Kept>,
    /// How many are present on this node, if it is listed for them.
    here: Option<u32>,
    elsewhere: SmallVec<[(NodeId, u32); 1]>,
    /// Its place in the order of changes; 0, if it was never listed.
    change: u64,
}

impl Row {
    fn new(topic: Arc<str>) -> Self {
        Self { topic, kept: None, here: None, elsewhere: SmallVec::new(), change: 0 }
    }

    fn founded(&self) -> Option<&Founded> {
        self.kept.as_ref()?.founded.as_ref()
    }

    /// How many are present in it, if it is listed.
    fn present(&self) -> Option<u32> {
        let is_private = self.founded().is_some_and(|founded| founded.is_private);
        if is_private || self.is_empty() {
            return None;
        }
        let elsewhere = self.elsewhere.iter().map(|(_, count)| *count);
        Some(elsewhere.fold(self.here.unwrap_or(0), u32::saturating_add))
    }

    fn is_empty(&self) -> bool {
        self.kept.is_none() && self.here.is_none() && self.elsewhere.is_empty()
    }

    fn of(&self, node: NodeId) -> Option<u32> {
        let of = self.elsewhere.iter().find(|(of, _)| *of == node);
        of.map(|(_, count)| *count)
    }

    fn set(&mut self, node: NodeId, count: Option<u32>) {
        self.elsewhere.retain(|(of, _)| *of != node);
        self.elsewhere.extend(count.map(|count| (node, count)));
    }
}

/// How far a shard has been told.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    upto: u64,
    /// What it calls its question for more, until that is answered.
    asked: Option<u64>,
}

/// What is new in the list for a shard.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct News {
    /// What the shard calls its question.
    pub(super) number: u64,
    /// See [`push_listed`].
    pub(super) rooms: Vec<u8>,
    /// The place behind them.
    pub(super) next: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct List {
    partitions: Vec<BTreeMap<Arc<str>, Row>>,
    count: usize,
    /// Rooms by their places in the order of changes.
    changes: BTreeMap<u64, Arc<str>>,
    last_change: u64,
    told: Vec<Told>,
    /// Up to which place there are no rows of rooms that are gone.
    trimmed: u64,
}

impl List {
    pub(super) fn new(partitions: u16, shards: u16) -> Self {
        Self {
            partitions: (0..partitions).map(|_| BTreeMap::new()).collect(),
            count: 0,
            changes: BTreeMap::new(),
            last_change: 0,
            told: vec![Told::default(); shards.into()],
            trimmed: 0,
        }
    }

    /// How many rooms it knows.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Over how many partitions rooms are spread.
    pub(super) fn partitions(&self) -> u16 {
        u16::try_from(self.partitions.len()).expect("made of so many")
    }

    /// Changes the row of a room, and notes what follows. `change` says whether it has another
    /// title.
    fn change(&mut self, topic: &str, change: impl FnOnce(&mut Row) -> bool) {
        let at = self.index(topic);
        let rows = &mut self.partitions[at];
        if !rows.contains_key(topic) {
            if self.count >= CLUSTER_LISTED_MAX {
                return;
            }
            let topic: Arc<str> = topic.into();
            rows.insert(Arc::clone(&topic), Row::new(topic));
            self.count += 1;
        }
        let Some(row) = rows.get_mut(topic) else { return };
        let before = row.present();
        let is_retitled = change(row);
        let present = row.present();
        if before != present || is_retitled && present.is_some() {
            self.changes.remove(&row.change);
            self.last_change += 1;
            row.change = self.last_change;
            self.changes.insert(row.change, Arc::clone(&row.topic));
        }
        if row.is_empty() && row.change <= self.trimmed {
            self.changes.remove(&row.change);
            rows.remove(topic);
            self.count -= 1;
        }
    }

    /// Notes that the engine keeps something of a room, as of a reading of its partition, and how
    /// it is listed, if it was made on purpose.
    pub(super) fn keep(&mut self, topic: &str, founded: Option<Founded>, reading: u32) {
        self.set_kept(topic, Some(Kept { founded, reading }));
    }

    /// Notes that nothing is kept of a room any more.
    pub(super) fn let_go(&mut self, topic: &str) {
        self.set_kept(topic, None);
    }

    fn set_kept(&mut self, topic: &str, kept: Option<Kept>) {
        self.change(topic, |row| {
            let before = std::mem::replace(&mut row.kept, kept);
            let title = |kept: Option<&Kept>| kept?.founded.as_ref().map(|of| of.title.clone());
            title(before.as_ref()) != title(row.kept.as_ref())
        });
    }

    /// Notes that a partition has been read: of what was not there nothing is kept any more.
    pub(super) fn end_reading(&mut self, partition: u16, reading: u32) {
        #[cfg(test)]
        if planted::is(Planted::ListsUnswept) {
            return;
        }
        let is_gone = |row: &&Row| row.kept.as_ref().is_some_and(|kept| kept.reading != reading);
        let rows = self.partitions[usize::from(partition)].values();
        let gone: Vec<_> = rows.filter(is_gone).map(|row| Arc::clone(&row.topic)).collect();
        for topic in gone {
            self.let_go(&topic);
        }
    }

    /// Notes how many are present in a room on this node. Returns its topic, if that is news.
    pub(super) fn count(&mut self, topic: &str, present: Option<u32>) -> Option<Arc<str>> {
        if self.here(topic) == present {
            return None;
        }
        self.change(topic, |row| {
            row.here = present;
            false
        });
        Some(topic.into())
    }

    fn index(&self, topic: &str) -> usize {
        partition(topic, self.partitions()).into()
    }

    fn row(&self, topic: &str) -> Option<&Row> {
        self.partitions[self.index(topic)].get(topic)
    }

    /// How many are present in a room on this node, if it is listed for them.
    pub(super) fn here(&self, topic: &str) -> Option<u32> {
        self.row(topic)?.here
    }

    /// Notes how many are present in a room on another node.
    pub(super) fn elsewhere(&mut self, node: NodeId, topic: &str, present: Option<u32>) {
        self.change(topic, |row| {
            row.set(node, present);
            false
        });
    }

    /// Replaces what another node has said of the rooms of some partitions.
    pub(super) fn replace<'a>(
        &mut self,
        node: NodeId,
        (from, upto): (u16, u16),
        rooms: impl Iterator<Item = (&'a str, Option<u32>)>,
    ) {
        let rooms: BTreeMap<_, _> = rooms.collect();
        let there = self.partitions[usize::from(from)..usize::from(upto)].iter();
        let there = there.flat_map(BTreeMap::values).filter(|row| row.of(node).is_some());
        let gone = there.filter(|row| !rooms.contains_key(&*row.topic));
        for topic in gone.map(|row| Arc::clone(&row.topic)).collect::<Vec<_>>() {
            self.elsewhere(node, &topic, None);
        }
        for (topic, present) in rooms {
            self.elsewhere(node, topic, present);
        }
    }

    /// Forgets what another node has said.
    pub(super) fn forget_node(&mut self, node: NodeId) {
        self.replace(node, (0, self.partitions()), std::iter::empty());
    }

    /// Forgets how many are in the rooms of a shard that has begun anew, which is to be told all.
    /// Returns those rooms.
    pub(super) fn restart(&mut self, shard: u16) -> Vec<Arc<str>> {
        let shards = u16::try_from(self.told.len()).expect("made of so many");
        self.told[usize::from(shard)] = Told::default();
        let rows = self.partitions.iter().flat_map(BTreeMap::values);
        let its = rows.filter(|row| row.here.is_some() && home_of(&row.topic, shards) == shard);
        let its: Vec<_> = its.map(|row| Arc::clone(&row.topic)).collect();
        for topic in &its {
            self.count(topic, None);
        }
        its
    }

    /// About so many of the rooms in which somebody is on this node, from a partition on, and
    /// before which one they end.
    pub(super) fn part(&self, from: u16, rooms_max: usize) -> (u16, Vec<u8>) {
        let (mut upto, mut rooms) = (from, Vec::new());
        let (mut counted, mut looked_at) = (0, 0);
        for rows in &self.partitions[usize::from(from)..] {
            if counted >= rooms_max || looked_at >= COUNTS_LOOKS_MAX {
                break;
            }
            for row in rows.values().filter(|row| row.here.is_some()) {
                push_count(&mut rooms, &row.topic, row.here);
                counted += 1;
            }
            looked_at += rows.len();
            upto += 1;
        }
        (upto, rooms)
    }

    /// Notes that a shard asks for what has changed behind a place, and has been told what was
    /// before it.
    pub(super) fn ask(&mut self, shard: u16, number: u64, after: u64) {
        self.told[usize::from(shard)] = Told { upto: after, asked: Some(number) };
        let told_all = self.told.iter().map(|told| told.upto).min().unwrap_or(0);
        while self.trimmed < told_all {
            let next = self.changes.range(self.trimmed + 1..=told_all).next();
            let Some((change, topic)) = next else {
                self.trimmed = told_all;
                return;
            };
            self.trimmed = *change;
            let topic = Arc::clone(topic);
            self.change(&topic, |_| false);
        }
    }

    /// What a shard that has asked is told, if there is something.
    pub(super) fn news(&mut self, shard: u16) -> Option<News> {
        let Told { upto, asked } = self.told[usize::from(shard)];
        // The last changes may be of rooms that are gone, as all the others know.
        let has_news = upto < self.last_change && self.changes.range(upto + 1..).next().is_some();
        let number = asked.filter(|_| has_news)?;
        let (mut rooms, mut next) = (Vec::new(), upto);
        for (change, topic) in self.changes.range(upto + 1..).take(STORE_LISTED_MAX as usize) {
            if let Some(row) = self.row(topic) {
                let title = row.founded().map(|founded| &*founded.title);
                push_listed(&mut rooms, topic, title, row.present());
            }
            next = *change;
        }
        self.told[usize::from(shard)].asked = None;
        Some(News { number, rooms, next })
    }

    /// Asserts the invariants of the module. For tests: it looks at everything.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let rows = || self.partitions.iter().flat_map(BTreeMap::values);
        assert_eq!(rows().count(), self.count, "rooms are counted");
        assert!(rows().all(|row| !row.is_empty() || row.change > self.trimmed), "who is gone goes");
        for (change, topic) in &self.changes {
            assert_eq!(
                self.row(topic).map(|row| row.change),
                Some(*change),
                "each change is of a room"
            );
        }
        let changed = rows().filter(|row| row.change > 0).count();
        assert_eq!(changed, self.changes.len(), "and each room has one");
    }

    /// All rooms that are listed, each with its title and how many are there.
    #[cfg(test)]
    pub(super) fn shown(&self) -> BTreeMap<String, (Option<String>, u32)> {
        let rows = self.partitions.iter().flat_map(BTreeMap::values);
        let shown = rows.filter_map(|row| {
            let title = row.founded().map(|founded| founded.title.to_string());
            Some((row.topic.to_string(), (title, row.present()?)))
        });
        shown.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::kept::read_listed;

    const PARTITIONS: u16 = 3;

    fn keep(list: &mut List, title: &str, is_private: bool) {
        list.keep("room:tea", Some(Founded { title: title.into(), is_private }), 1);
    }

    /// All that a shard is told from a place on, and the place behind it.
    fn told(list: &mut List, shard: u16, mut after: u64) -> (Vec<(String, Option<u32>)>, u64) {
        let mut told = Vec::new();
        list.ask(shard, 7, after);
        while let Some(news) = list.news(shard) {
            assert_eq!(news.number, 7);
            let rooms = read_listed(&news.rooms);
            told.extend(rooms.into_iter().map(|room| (room.topic.to_string(), room.present)));
            after = news.next;
            list.ask(shard, 7, after);
        }
        list.check();
        (told, after)
    }

    fn rooms(rooms: &[(&str, Option<u32>)]) -> Vec<(String, Option<u32>)> {
        rooms.iter().map(|(topic, present)| ((*topic).to_owned(), *present)).collect()
    }

    #[test]
    fn each_shard_is_told_all_that_has_changed_once_and_at_its_own_pace() {
        let mut list = List::new(PARTITIONS, 2);
        keep(&mut list, "Tea", false);
        list.count("room:mate", Some(1));
        let (all, first) = told(&mut list, 0, 0);
        assert_eq!(all, rooms(&[("room:tea", Some(0)), ("room:mate", Some(1))]));
        assert_eq!(told(&mut list, 0, first).0, [], "nothing is new");
        list.elsewhere(8, "room:tea", Some(2));
        list.elsewhere(9, "room:tea", Some(3));
        list.count("room:mate", None);
        let (news, second) = told(&mut list, 0, first);
        assert_eq!(news, rooms(&[("room:tea", Some(5)), ("room:mate", None)]));
        // The other one has been told nothing so far; each room comes once.
        assert_eq!(told(&mut list, 1, 0).0, rooms(&[("room:tea", Some(5)), ("room:mate", None)]));
        told(&mut list, 1, second);
        assert_eq!(list.len(), 1, "who is gone, and that has been told, is forgotten");
        assert_eq!(told(&mut list, 0, 0).0, rooms(&[("room:tea", Some(5))]), "all again");
    }

    #[test]
    fn a_private_room_is_not_listed_whoever_is_in_it() {
        let mut list = List::new(PARTITIONS, 1);
        keep(&mut list, "Tea", true);
        list.count("room:tea", Some(1));
        list.elsewhere(8, "room:tea", Some(2));
        assert_eq!(told(&mut list, 0, 0), (vec![], 0));
        keep(&mut list, "Tea", false);
        let (news, place) = told(&mut list, 0, 0);
        assert_eq!(news, rooms(&[("room:tea", Some(3))]));
        keep(&mut list, "Tea", true);
        assert_eq!(told(&mut list, 0, place).0, rooms(&[("room:tea", None)]));
    }

    #[test]
    fn another_title_is_news_and_what_was_so_is_none() {
        let mut list = List::new(PARTITIONS, 1);
        keep(&mut list, "Tea", false);
        let (_, place) = told(&mut list, 0, 0);
        keep(&mut list, "Tea", false);
        list.count("room:tea", None);
        list.elsewhere(8, "room:tea", None);
        assert_eq!(told(&mut list, 0, place).0, []);
        keep(&mut list, "Tea!", false);
        assert_eq!(told(&mut list, 0, place).0, rooms(&[("room:tea", Some(0))]));
    }

    #[test]
    fn what_a_reading_has_not_found_is_not_kept_and_what_came_meanwhile_is() {
        let mut list = List::new(1, 1);
        for topic in ["room:a", "room:b", "room:c"] {
            list.keep(topic, None, 1);
        }
        list.count("room:b", Some(1));
        list.keep("room:c", None, 2);
        list.keep("room:d", None, 2);
        list.end_reading(0, 2);
        let there = [("room:b", 1), ("room:c", 0), ("room:d", 0)];
        let there = there.map(|(topic, count)| (topic.to_owned(), (None, count)));
        assert_eq!(list.shown(), there.into());
        list.check();
    }

    #[test]
    fn who_was_in_the_rooms_of_a_shard_that_begins_anew_is_not_counted() {
        let mut list = List::new(PARTITIONS, 2);
        let topics: Vec<_> = (0..20).map(|room| format!("room:{room}")).collect();
        for topic in &topics {
            list.count(topic, Some(1));
        }
        let mut gone: Vec<_> = list.restart(1).iter().map(ToString::to_string).collect();
        let mut expected: Vec<_> =
            topics.iter().filter(|topic| home_of(topic, 2) == 1).cloned().collect();
        gone.sort();
        expected.sort();
        assert_eq!(gone, expected);
        assert_eq!(list.shown().len(), topics.len() - gone.len());
    }

    #[test]
    fn a_list_that_is_full_takes_no_further_room_and_goes_on_with_others() {
        let mut list = List::new(PARTITIONS, 1);
        list.count = CLUSTER_LISTED_MAX - 1;
        list.count("room:tea", Some(1));
        list.count("room:mate", Some(1));
        list.count("room:tea", Some(2));
        let there = [("room:tea".to_owned(), (None, 2))];
        assert_eq!(list.shown(), there.into());
    }
}

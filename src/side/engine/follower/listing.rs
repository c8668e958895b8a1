//! Keeps the list of rooms up to date: reads what the engine has of it, hears what changes there,
//! and tells and hears other nodes how many are in their rooms.
//!
//! ```text
//!   engine ── HearList, List, again and again ──┐
//!   homes ─── Count, Watch ─────────────────────┼──> List ── Listed ──> shards
//!   nodes <── Counted ──────────────────────────┘
//! ```
//!
//! Each partition of the list is heard first and then read, on one connection: what is heard before
//! the end of a reading is no older than what is read. Some partitions are read at a time, behind
//! what homes have asked. Later each is read once more from time to time, since nobody says when
//! the engine forgets a room.
//!
//! Called by: `side::engine::follower`. Calls: `list`, `counts`.

#[cfg(test)]
use std::collections::BTreeMap;

use super::counts::{Counts, Listening, To};
use super::leases::Leases;
use super::list::{List, News};
#[cfg(test)]
use super::planted::{self, Planted};
use super::saying::to_node;
use super::{Asked, Follower, Node, Ways};
use crate::limits::{COUNTS_ROOMS_MAX, LISTS_READ_AGAIN_MS, LISTS_READ_AT_ONCE};
use crate::link::engine::{Counted, FromEngine};
use crate::link::topic::LOBBY;
use crate::side::engine::command::{Command, HOUR_S, Listed};
use crate::side::engine::partition::partition;
use crate::side::engine::written::{counted, read_counted};

const HOUR_MS: u64 = 1_000 * HOUR_S;

/// How far the lists of the engine have been read.
#[derive(Debug, Default)]
struct Readings {
    /// Of each partition: counts its readings, over all connections.
    last: Vec<u32>,
    /// The partition that is read next; behind the last one, all have been on this connection.
    next: u16,
    under_way: usize,
    /// The one that is read again next, and when.
    again: u16,
    again_ms: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Listing {
    list: List,
    counts: Counts,
    readings: Readings,
    /// The time by the engine's clock, as it was last told, in milliseconds of Unix time.
    engine_ms: u64,
    /// For how long a room that was not founded is known, in hours, after the one in which it was
    /// renewed.
    known_hours: u64,
}

impl Listing {
    pub(super) fn new(node: &Node) -> Self {
        let last = vec![0; node.partitions.into()];
        Self {
            list: List::new(node.partitions, node.shards),
            counts: Counts::new(COUNTS_ROOMS_MAX),
            readings: Readings { last, ..Readings::default() },
            engine_ms: 0,
            // The script lets keys live for an hour more, and the hour had begun.
            known_hours: u64::from(node.room_s).div_ceil(HOUR_S) + 2,
        }
    }

    /// The time by the engine's clock, as it was last told, in milliseconds of Unix time.
    pub(super) fn engine_ms(&self) -> u64 {
        self.engine_ms
    }

    /// How many rooms the list knows.
    pub(super) fn rooms_count(&self) -> usize {
        self.list.len()
    }

    fn is_over(&self, listed: &Listed) -> bool {
        listed.founded.is_none() && listed.hour + self.known_hours < self.engine_ms / HOUR_MS
    }

    /// Notes what the engine has of a room.
    pub(super) fn keep(&mut self, listed: Listed) {
        let partition = partition(&listed.topic, self.list.partitions());
        let reading = self.readings.last[usize::from(partition)];
        if self.is_over(&listed) {
            self.list.let_go(&listed.topic);
        } else {
            self.list.keep(&listed.topic, listed.founded, reading);
        }
    }

    /// Notes how many are in a room here.
    pub(super) fn count(&mut self, topic: &str, present: Option<u32>) {
        if let Some(topic) = self.list.count(topic, present) {
            self.counts.changed(topic);
        }
    }

    /// Notes that somebody asks for the list.
    pub(super) fn watch(&mut self, now_ms: u64) {
        self.counts.watch(now_ms);
    }

    /// Notes that a shard asks for what has changed behind a place.
    pub(super) fn ask(&mut self, shard: u16, number: u64, after: u64) {
        self.list.ask(shard, number, after);
    }

    /// Forgets what a shard has said that has begun anew.
    pub(super) fn restart(&mut self, shard: u16) {
        for topic in self.list.restart(shard) {
            self.counts.changed(topic);
        }
    }

    /// Notes the time by the engine's clock.
    pub(super) fn set_time(&mut self, engine_ms: u64) {
        self.engine_ms = engine_ms;
    }

    /// Notes which nodes live.
    pub(super) fn note_living(&mut self, leases: &Leases) {
        self.counts.live(&mut self.list, leases.others());
    }

    /// All rooms that are listed, each with its title and how many are there.
    #[cfg(test)]
    pub(in crate::side::engine) fn shown(&self) -> BTreeMap<String, (Option<String>, u32)> {
        self.list.shown()
    }

    /// Asserts the invariants of its parts. For tests: it looks at everything.
    #[cfg(test)]
    pub(super) fn check(&self) {
        self.list.check();
    }
}

impl Follower {
    /// There is a connection: all is heard and read anew.
    pub(super) fn list_anew(&mut self, ways: &mut impl Ways) {
        let Listing { readings, counts, .. } = &mut self.listing;
        #[cfg(test)]
        if readings.next > 0 && planted::is(Planted::ListsReadOnce) {
            return;
        }
        (readings.next, readings.under_way) = (0, 0);
        counts.connected();
        self.read_lists(ways);
    }

    /// Reads the lists of partitions that were not read on this connection, some at a time.
    fn read_lists(&mut self, ways: &mut impl Ways) {
        loop {
            let Readings { next, under_way, .. } = &mut self.listing.readings;
            if *next >= self.node.partitions || *under_way >= LISTS_READ_AT_ONCE {
                return;
            }
            let partition = *next;
            *next += 1;
            #[cfg(test)]
            if planted::is(Planted::ListsUnheard) {
                self.read_list(ways, partition);
                continue;
            }
            self.ask(ways, Asked::Subscribe, Command::HearList { partition });
            self.read_list(ways, partition);
        }
    }

    fn read_list(&mut self, ways: &mut impl Ways, partition: u16) {
        let readings = &mut self.listing.readings;
        readings.under_way += 1;
        readings.last[usize::from(partition)] += 1;
        self.ask(ways, Asked::List(partition), Command::List { partition, cursor: 0 });
    }

    /// Goes on with what was read of a list, and where there is more.
    pub(super) fn list_was_read(
        &mut self,
        ways: &mut impl Ways,
        now_ms: u64,
        partition: u16,
        (cursor, rooms): (u64, Vec<Listed>),
    ) {
        let over = rooms.iter().filter(|listed| self.listing.is_over(listed));
        let topics: Vec<_> = over.map(|listed| listed.topic.clone()).collect();
        if self.listing.readings.last[usize::from(partition)] == 1 {
            let listed = rooms.iter().map(|listed| listed.topic.clone()).collect();
            self.note_listed(ways, listed);
        }
        for listed in rooms {
            self.listing.keep(listed);
        }
        if !topics.is_empty() {
            self.ask(ways, Asked::Nothing, Command::Forget { partition, topics });
        }
        if cursor != 0 {
            return self.ask(ways, Asked::List(partition), Command::List { partition, cursor });
        }
        let Listing { list, readings, .. } = &mut self.listing;
        list.end_reading(partition, readings.last[usize::from(partition)]);
        self.reading_ended(ways, now_ms);
    }

    /// One list less is being read.
    pub(super) fn reading_ended(&mut self, ways: &mut impl Ways, now_ms: u64) {
        let readings = &mut self.listing.readings;
        readings.under_way = readings.under_way.saturating_sub(1);
        readings.again_ms = now_ms + LISTS_READ_AGAIN_MS / u64::from(self.node.partitions);
        self.read_lists(ways);
    }

    /// Handles what another node says of its rooms, or of itself.
    pub(super) fn hear_node(&mut self, ways: &mut impl Ways, now_ms: u64, record: &[u8]) {
        let Ok((from, told)) = read_counted(record) else {
            // It is of a version that writes otherwise.
            self.counted.unreadable += 1;
            return;
        };
        if let Counted::Leaves { life } = told {
            return self.has_left(ways, from, life);
        }
        let Self { listing: Listing { list, counts, .. }, node, leases, .. } = self;
        // What this node has said it hears, too.
        let Some(life) = leases.life().filter(|_| from != node.id) else { return };
        let mut said = Vec::new();
        counts.hear(list, (now_ms, life), from, told, &mut |to, what| {
            said.push((to, counted(node.id, what)));
        });
        self.say_counts(ways, said);
    }

    fn say_counts(&mut self, ways: &mut impl Ways, said: Vec<(To, Vec<u8>)>) {
        for (to, record) in said {
            let command = match to {
                To::Node(node) => Command::Tell { node, record: to_node(LOBBY, &record) },
                To::Listeners => Command::Say { topic: LOBBY.into(), record },
            };
            self.ask(ways, Asked::Nothing, command);
        }
    }

    /// Tells shards what is new in the list, and does what is due. Returns when to come again at
    /// the latest, in milliseconds.
    pub(super) fn tick_listing(&mut self, ways: &mut impl Ways, now_ms: u64) -> u64 {
        for shard in 0..self.node.shards {
            if let Some(News { number, rooms, next }) = self.listing.list.news(shard) {
                ways.tell(shard, &FromEngine::Listed { number, rooms: &rooms, next });
            }
        }
        if !self.is_connected {
            return u64::MAX;
        }
        let Readings { next, under_way, again, again_ms, .. } = &mut self.listing.readings;
        let has_read = *next >= self.node.partitions && *under_way == 0;
        // What is being read says itself when that ends.
        let again_ms = if has_read { *again_ms } else { u64::MAX };
        if now_ms >= again_ms {
            let partition = *again;
            *again = (*again + 1) % self.node.partitions;
            self.read_list(ways, partition);
        }
        let Listing { list, counts, .. } = &mut self.listing;
        match counts.listens(list, now_ms) {
            Some(Listening::Begins) => {
                self.ask(ways, Asked::Subscribe, Command::Subscribe { topic: LOBBY.into() });
            }
            Some(Listening::Ends) => {
                self.ask(ways, Asked::Nothing, Command::Unsubscribe { topic: LOBBY.into() });
            }
            None => {}
        }
        let Self { listing: Listing { list, counts, .. }, node, leases, .. } = self;
        let Some(life) = leases.life() else { return again_ms };
        let mut said = Vec::new();
        let due_ms = counts.tick(list, (now_ms, life), leases.others(), &mut |to, what| {
            said.push((to, counted(node.id, what)));
        });
        self.say_counts(ways, said);
        due_ms.min(again_ms)
    }
}

//! How many are in the rooms of each node, as nodes tell each other: for the list, in which all of
//! them count.
//!
//! ```text
//!   somebody asks for the list ── Want ──> each other node, again and again
//!   a Want that knows too little ─ Part ─> the node that wants; it wants the next part then
//!   what has changed here ──────── Diff ─> all who listen, if there are any
//! ```
//!
//! As with who is in a room (`room::slices`), each node alone says what is so of its own, of a life
//! and a version, and others replace what they knew by it. Here the one who wants asks for all that
//! it needs, a part at a time: so nobody who says something remembers to whom. Of partitions before
//! the one that it wants next it knows what was so at its version; what comes in between it applies
//! to all.
//!
//! Invariants:
//!
//! 1. of a node that is not known to live, or in another life, nothing is known;
//! 2. nothing is said while nobody listens, but for parts that are wanted.
//!
//! Deliberately absent: who lives (`leases`), what others make of it (`list`), and how a record
//! travels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::list::List;
#[cfg(test)]
use super::planted::{self, Planted};
use crate::limits::{COUNTS_MS, COUNTS_WANT_MS, COUNTS_WANTED_MS, COUNTS_WATCHED_MS};
use crate::link::engine::{Counted, push_count, read_counts};
use crate::link::log::NodeId;

/// To whom something is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    /// One node.
    Node(NodeId),
    /// All who listen.
    Listeners,
}

/// What this node does besides speaking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listening {
    Begins,
    Ends,
}

/// Another node.
#[derive(Debug)]
struct Peer {
    life: u64,
    /// What is known of it is of this version; 0: nothing is.
    version: u64,
    /// The partition from which on nothing is known.
    next: u16,
    /// When it is told again that it is wanted.
    want_ms: u64,
}

impl Peer {
    fn new(life: u64) -> Self {
        Self { life, version: 0, next: 0, want_ms: 0 }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Counts {
    /// How many rooms are in one record, about.
    rooms_max: usize,
    /// What was said last, and the life in which it was.
    version: u64,
    life: u64,
    /// Whether something has changed of which nobody was told.
    is_stale: bool,
    /// Rooms that have changed since the last difference.
    changed: BTreeSet<Arc<str>>,
    /// When the last difference was said, and when the next one may be.
    said_ms: u64,
    diff_ms: u64,
    /// Who listens, and until when that is believed.
    listeners: BTreeMap<NodeId, u64>,
    /// Until when this node listens.
    watched_ms: u64,
    is_listening: bool,
    peers: BTreeMap<NodeId, Peer>,
}

impl Counts {
    /// Those of a node that knows no other. About so many rooms are in one record.
    pub(super) fn new(rooms_max: usize) -> Self {
        Self {
            rooms_max,
            version: 0,
            life: 0,
            is_stale: false,
            changed: BTreeSet::new(),
            said_ms: 0,
            diff_ms: 0,
            listeners: BTreeMap::new(),
            watched_ms: 0,
            is_listening: false,
            peers: BTreeMap::new(),
        }
    }

    /// Notes that somebody asks for the list.
    pub(super) fn watch(&mut self, now_ms: u64) {
        self.watched_ms = now_ms + COUNTS_WATCHED_MS;
    }

    /// Notes that a room here has changed.
    pub(super) fn changed(&mut self, topic: Arc<str>) {
        if self.listeners.is_empty() {
            self.is_stale = true;
        } else {
            self.changed.insert(topic);
        }
    }

    /// Notes that there is a new connection: what was said meanwhile was missed, and nobody is
    /// heard.
    pub(super) fn connected(&mut self) {
        self.is_listening = false;
        for peer in self.peers.values_mut() {
            *peer = Peer::new(peer.life);
        }
    }

    /// Notes which nodes live besides this one, and in which life. What was said in other lives is
    /// forgotten.
    pub(super) fn live(&mut self, list: &mut List, living: &BTreeMap<NodeId, u64>) {
        #[cfg(test)]
        if planted::is(Planted::CountsOfTheDead) {
            return;
        }
        let is_over = |node: &NodeId, peer: &Peer| living.get(node) != Some(&peer.life);
        let over = self.peers.extract_if(.., |node, peer| is_over(node, peer));
        for node in over.map(|(node, _)| node).collect::<Vec<_>>() {
            list.forget_node(node);
        }
    }

    /// Handles what another node says.
    pub(super) fn hear(
        &mut self,
        list: &mut List,
        (now_ms, life): (u64, u64),
        from: NodeId,
        told: Counted<'_>,
        say: &mut impl FnMut(To, Counted<'_>),
    ) {
        match told {
            Counted::Want { life: of, version, from: next } => {
                self.listeners.insert(from, now_ms + COUNTS_WANTED_MS);
                self.age(life);
                // The last difference may be on its way.
                let is_known = version == self.version || now_ms < self.said_ms + 2 * COUNTS_MS;
                #[cfg(test)]
                let is_known = is_known || planted::is(Planted::CountsUncompared);
                let is_whole = next >= list.partitions();
                if of == self.life && is_whole && is_known {
                    return;
                }
                let begin = if of == self.life && !is_whole { next } else { 0 };
                let (life, version) = (self.life, self.version);
                let (upto, rooms) = list.part(begin, self.rooms_max);
                let rooms = &rooms;
                say(To::Node(from), Counted::Part { life, version, from: begin, upto, rooms });
            }
            Counted::Part { life, version, from: begin, upto, rooms } => {
                let Some(peer) = self.peers.get_mut(&from).filter(|peer| peer.life == life) else {
                    return;
                };
                let is_part = begin < upto && upto <= list.partitions();
                // One that comes twice is of a wish that was said twice.
                if !is_part || begin != 0 && begin != peer.next {
                    return;
                }
                let Some(rooms) = read_counts(rooms) else { return };
                let is_of_one = begin == 0 || version == peer.version;
                #[cfg(test)]
                let is_of_one = is_of_one || planted::is(Planted::PartsMixed);
                if !is_of_one {
                    *peer = Peer::new(life);
                    return peer.want(now_ms, from, say);
                }
                (peer.version, peer.next) = (version, upto);
                list.replace(from, (begin, upto), rooms.into_iter());
                if upto < list.partitions() {
                    peer.want(now_ms, from, say);
                }
            }
            Counted::Diff { life, version, before, rooms } => {
                let Some(peer) = self.peers.get_mut(&from).filter(|peer| peer.life == life) else {
                    return;
                };
                let is_next = before == peer.version;
                #[cfg(test)]
                let is_next = is_next || planted::is(Planted::CountsMisapplied);
                // Until it is known it is on its way.
                if peer.version == 0 {
                    return;
                }
                let Some(rooms) = read_counts(rooms).filter(|_| is_next) else {
                    *peer = Peer::new(life);
                    return peer.want(now_ms, from, say);
                };
                peer.version = version;
                for (topic, present) in rooms {
                    list.elsewhere(from, topic, present);
                }
            }
            // Whoever knows the nodes that live handles it.
            Counted::Leaves { .. } => {}
        }
    }

    /// Another version, if something has changed that nobody was told.
    fn age(&mut self, life: u64) {
        let is_stale = std::mem::take(&mut self.is_stale);
        #[cfg(test)]
        let is_stale = is_stale && !planted::is(Planted::CountsStale);
        if is_stale || self.life != life || self.version == 0 {
            (self.version, self.life) = (self.version + 1, life);
        }
    }

    /// Does what is due, as long as this node is in a life. Returns when to come again.
    pub(super) fn tick(
        &mut self,
        list: &mut List,
        (now_ms, life): (u64, u64),
        living: &BTreeMap<NodeId, u64>,
        say: &mut impl FnMut(To, Counted<'_>),
    ) -> u64 {
        self.listeners.retain(|_, until_ms| *until_ms > now_ms);
        if self.listeners.is_empty() {
            self.is_stale |= !self.changed.is_empty();
            self.changed.clear();
        }
        if !self.changed.is_empty() && now_ms >= self.diff_ms {
            self.say_diff(list, now_ms, life, say);
        }
        let mut due_ms = if self.changed.is_empty() { u64::MAX } else { self.diff_ms };
        if self.is_listening {
            for (node, life) in living {
                let peer = self.peers.entry(*node).or_insert_with(|| Peer::new(*life));
                if now_ms >= peer.want_ms {
                    peer.want(now_ms, *node, say);
                }
                due_ms = due_ms.min(peer.want_ms);
            }
        }
        due_ms
    }

    /// Whether this node begins to listen, or does so no more; then what others said is forgotten.
    pub(super) fn listens(&mut self, list: &mut List, now_ms: u64) -> Option<Listening> {
        let listens = now_ms < self.watched_ms;
        if !listens {
            for node in std::mem::take(&mut self.peers).into_keys() {
                list.forget_node(node);
            }
        }
        match (std::mem::replace(&mut self.is_listening, listens), listens) {
            (false, true) => Some(Listening::Begins),
            (true, false) => Some(Listening::Ends),
            _ => None,
        }
    }

    fn say_diff(
        &mut self,
        list: &List,
        now_ms: u64,
        life: u64,
        say: &mut impl FnMut(To, Counted<'_>),
    ) {
        let before = self.version;
        (self.version, self.life) = (self.version + 1, life);
        let mut rooms = Vec::new();
        for _ in 0..self.rooms_max {
            let Some(topic) = self.changed.pop_first() else { break };
            push_count(&mut rooms, &topic, list.here(&topic));
        }
        self.said_ms = now_ms;
        // What is left goes on soon.
        self.diff_ms = if self.changed.is_empty() { now_ms + COUNTS_MS } else { now_ms + 1 };
        let diff = Counted::Diff { life, version: self.version, before, rooms: &rooms };
        say(To::Listeners, diff);
    }
}

impl Peer {
    /// Tells it that it is wanted.
    fn want(&mut self, now_ms: u64, node: NodeId, say: &mut impl FnMut(To, Counted<'_>)) {
        self.want_ms = now_ms + COUNTS_WANT_MS;
        #[cfg(test)]
        if self.version > 0 && planted::is(Planted::CountsUnwanted) {
            return;
        }
        let Self { life, version, next, .. } = *self;
        say(To::Node(node), Counted::Want { life, version, from: next });
    }
}

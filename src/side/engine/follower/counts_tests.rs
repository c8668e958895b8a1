//! Several nodes that tell each other how many are in their rooms, over a pretended broker: in the
//! end each that listens knows what is so on all.
//!
//! ```text
//!   Counts ── say ──> out ── k of it, in order ──> queue of each who is meant ── one by one ──> hear
//!                      │ a cut: some of it arrives, the rest is lost    │ a cut: it is lost
//! ```
//!
//! Nodes crash and come back, are cut off and connect again, are given up while they live, and hear
//! late of those who are. All change in between.
//!
//! What it does not model: what the engine keeps, and how nodes learn who lives.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::counts::{Counts, Listening, To};
use super::list::List;
use super::planted::{self, Planted};
use crate::base::rng::SplitMix64;
use crate::limits::{COUNTS_WANT_MS, COUNTS_WANTED_MS, COUNTS_WATCHED_MS};
use crate::link::engine::Counted;
use crate::link::field::Field;
use crate::link::kept::read_whole;
use crate::link::log::NodeId;

const NODES: u64 = 3;
/// Each room is in a part of its own, or nearly.
const PARTITIONS: u16 = 5;
const ROOMS: u64 = 12;
/// So few that a node says its rooms in several parts.
const ROOMS_AT_ONCE: usize = 2;

/// What a node says on its connection.
enum Sent {
    Listens(bool),
    Said(To, Vec<u8>),
}

struct Node {
    counts: Counts,
    list: List,
    life: u64,
    /// What is so here.
    there: BTreeMap<String, u32>,
    /// The others that live, as far as it knows.
    living: BTreeMap<NodeId, u64>,
    is_connected: bool,
    out: VecDeque<Sent>,
    queue: VecDeque<(NodeId, Vec<u8>)>,
    /// Whether the broker lets it hear what is said to all.
    hears: bool,
}

struct World {
    nodes: Vec<Option<Node>>,
    rng: SplitMix64,
    now_ms: u64,
    lives: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let nodes = (0..NODES).map(|_| None).collect();
        let mut world = Self { nodes, rng: SplitMix64::new(seed), now_ms: 1_000, lives: 0 };
        for at in 0..NODES {
            world.boot(at);
        }
        for _ in 0..NODES {
            (0..NODES).for_each(|at| world.look(at));
        }
        world
    }

    fn node(&mut self, at: u64) -> Option<&mut Node> {
        self.nodes[usize::try_from(at).expect("few")].as_mut()
    }

    fn boot(&mut self, at: u64) {
        self.lives += 1;
        self.nodes[usize::try_from(at).expect("few")] = Some(Node {
            counts: Counts::new(ROOMS_AT_ONCE),
            list: List::new(PARTITIONS, 1),
            life: self.lives,
            there: BTreeMap::new(),
            living: BTreeMap::new(),
            is_connected: true,
            out: VecDeque::new(),
            queue: VecDeque::new(),
            hears: false,
        });
    }

    /// A node learns who lives, if it is connected.
    fn look(&mut self, at: u64) {
        let living: BTreeMap<_, _> = (0..)
            .zip(&self.nodes)
            .filter_map(|(other, node)| Some((other, node.as_ref()?.life)))
            .filter(|(other, _)| *other != at)
            .collect();
        let Some(node) = self.node(at).filter(|node| node.is_connected) else { return };
        node.living.clone_from(&living);
        node.counts.live(&mut node.list, &living);
    }

    /// So many are in a room of a node from now on.
    fn set(&mut self, at: u64, room: u64, present: Option<u32>) {
        let Some(node) = self.node(at) else { return };
        let topic = format!("room:{room}");
        match present {
            Some(present) => node.there.insert(topic.clone(), present),
            None => node.there.remove(&topic),
        };
        if let Some(topic) = node.list.count(&topic, present) {
            node.counts.changed(topic);
        }
    }

    fn act(
        &mut self,
        at: u64,
        act: impl FnOnce(&mut Counts, &mut List, (u64, u64), &mut dyn FnMut(To, Counted<'_>)),
    ) {
        let now_ms = self.now_ms;
        let Some(node) = self.node(at) else { return };
        let Node { counts, list, life, out, is_connected, .. } = node;
        act(counts, list, (now_ms, *life), &mut |to, what: Counted<'_>| {
            if *is_connected {
                let mut record = Vec::new();
                what.put(&mut record);
                out.push_back(Sent::Said(to, record));
            }
        });
        list.check();
    }

    fn tick(&mut self, at: u64) {
        let now_ms = self.now_ms;
        let Some(node) = self.node(at).filter(|node| node.is_connected) else { return };
        if let Some(listening) = node.counts.listens(&mut node.list, now_ms) {
            node.out.push_back(Sent::Listens(listening == Listening::Begins));
        }
        let living = node.living.clone();
        self.act(at, |counts, list, now, mut say| {
            counts.tick(list, now, &living, &mut say);
        });
    }

    /// The connection of a node ends, at any place.
    fn cut(&mut self, at: u64) {
        for _ in 0..self.rng.below(4) {
            self.pass(at);
        }
        let Some(node) = self.node(at) else { return };
        (node.is_connected, node.hears) = (false, false);
        node.out.clear();
        node.queue.clear();
    }

    fn connect(&mut self, at: u64) {
        let Some(node) = self.node(at).filter(|node| !node.is_connected) else { return };
        node.is_connected = true;
        node.counts.connected();
    }

    /// The broker takes the next thing from a connection. False, if there is none.
    fn pass(&mut self, at: u64) -> bool {
        let Some(sent) = self.node(at).and_then(|node| node.out.pop_front()) else { return false };
        match sent {
            Sent::Listens(listens) => {
                if let Some(node) = self.node(at) {
                    node.hears = listens;
                }
            }
            Sent::Said(to, record) => {
                for (other, node) in (0..).zip(&mut self.nodes) {
                    let Some(node) = node.as_mut().filter(|of| of.is_connected) else { continue };
                    let is_for = match to {
                        To::Node(node) => node == other,
                        To::Listeners => node.hears,
                    };
                    if is_for && other != at {
                        node.queue.push_back((at, record.clone()));
                    }
                }
            }
        }
        true
    }

    /// A node hears the next thing. False, if there is none.
    fn take(&mut self, at: u64) -> bool {
        let Some((from, record)) = self.node(at).and_then(|node| node.queue.pop_front()) else {
            return false;
        };
        self.act(at, |counts, list, now, mut say| {
            counts.hear(list, now, from, read_whole(&record), &mut say);
        });
        true
    }

    fn step(&mut self) {
        let (at, draw) = (self.rng.below(NODES), self.rng.below(100));
        self.now_ms += self.rng.below(60);
        if self.node(at).is_none() {
            if draw < 20 {
                self.boot(at);
            }
            return;
        }
        match draw {
            0..30 => {
                let (room, count) = (self.rng.below(ROOMS), self.rng.below(4));
                let present = count.checked_sub(1).map(|count| u32::try_from(count).expect("few"));
                self.set(at, room, present);
            }
            30..33 => {
                let now_ms = self.now_ms;
                self.node(at).expect("it is there").counts.watch(now_ms);
            }
            33 => self.cut(at),
            34..38 => self.connect(at),
            38 => {
                self.cut(at);
                self.nodes[usize::try_from(at).expect("few")] = None;
            }
            39 => {
                // It was thought dead.
                self.lives += 1;
                let life = self.lives;
                self.node(at).expect("it is there").life = life;
            }
            40..46 => self.look(at),
            46 => self.now_ms += [COUNTS_WANT_MS, COUNTS_WANTED_MS][usize::from(draw % 2 == 0)],
            47 if self.rng.below(20) == 0 => self.now_ms += COUNTS_WATCHED_MS,
            47..60 => self.tick(at),
            _ => {
                self.pass(at);
                self.take(at);
            }
        }
    }

    fn drain(&mut self) {
        while (0..NODES).fold(false, |busy, at| busy | self.pass(at) | self.take(at)) {}
    }

    /// Nothing goes wrong any more, and all listen.
    fn calm(&mut self) {
        for at in 0..NODES {
            if self.node(at).is_none() {
                self.boot(at);
            }
            self.connect(at);
        }
        for _ in 0..3 * COUNTS_WANT_MS / 100 {
            self.now_ms += 100;
            for at in 0..NODES {
                let now_ms = self.now_ms;
                self.node(at).expect("it is there").counts.watch(now_ms);
                self.look(at);
                self.tick(at);
            }
            self.drain();
        }
    }

    fn judge(&self) {
        let nodes = || self.nodes.iter().flatten();
        let mut all: BTreeMap<String, (Option<String>, u32)> = BTreeMap::new();
        for (topic, count) in nodes().flat_map(|node| &node.there) {
            all.entry(topic.clone()).or_default().1 += count;
        }
        for node in nodes() {
            assert_eq!(node.list.shown(), all, "all nodes show the same");
        }
    }
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..600 {
        world.step();
    }
    world.calm();
    world.judge();
}

#[test]
fn in_the_end_all_nodes_count_the_same() {
    for seed in 0..500 {
        if let Err(failure) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            panic!("seed {seed}: {}", text_of(&*failure));
        }
    }
}

/// What a panic says.
fn text_of(failure: &(dyn Any + Send)) -> &str {
    let text = failure.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| failure.downcast_ref::<&str>().copied()).unwrap_or_default()
}

#[test]
fn each_rule_of_counts_is_needed() {
    for defect in [
        Planted::CountsOfTheDead,
        Planted::CountsStale,
        Planted::CountsUncompared,
        Planted::CountsMisapplied,
        Planted::PartsMixed,
        Planted::CountsUnwanted,
    ] {
        planted::plant(defect);
        let is_found = (0..500).any(|seed| catch_unwind(AssertUnwindSafe(|| run(seed))).is_err());
        planted::plant(Planted::Nothing);
        assert!(is_found, "{defect:?} is not found");
    }
}

#[test]
fn nothing_is_said_while_nobody_listens() {
    let mut world = World::new(1);
    world.set(0, 1, Some(2));
    for at in 0..NODES {
        world.now_ms += 10_000;
        world.tick(at);
        assert!(world.node(at).expect("it is there").out.is_empty());
    }
    // One listens: it is told what is so, and then what changes, all at once.
    let now_ms = world.now_ms;
    world.node(2).expect("it is there").counts.watch(now_ms);
    world.tick(2);
    world.drain();
    let shown = |world: &mut World, at| world.node(at).expect("it is there").list.shown();
    assert_eq!(shown(&mut world, 2)["room:1"].1, 2);
    world.set(0, 1, Some(3));
    world.set(0, 2, Some(4));
    world.now_ms += 1_000;
    world.tick(0);
    assert_eq!(world.node(0).expect("it is there").out.len(), 1, "one record");
    world.drain();
    let expected = [("room:1", 3), ("room:2", 4)];
    let expected = expected.map(|(topic, count)| (topic.to_owned(), (None, count)));
    assert_eq!(shown(&mut world, 2), expected.into());
    assert_eq!(shown(&mut world, 1), BTreeMap::new(), "who does not listen is told nothing");
    // Nobody asks any more.
    world.now_ms += COUNTS_WATCHED_MS;
    world.tick(2);
    assert_eq!(shown(&mut world, 2), BTreeMap::new());
}

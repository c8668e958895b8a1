//! Several nodes that have one room, over a pretended broker: in the end all of their members see
//! the same.
//!
//! ```text
//!   Rooms ── say ──> out ── k of it, in order ──> channels ──> queue ── one by one ──> hear_log
//!                     │ a cut: some of it arrives, the rest is lost        │ a cut: it is lost
//! ```
//!
//! Nodes crash and come back, are cut off and connect again, are taken for dead while they live,
//! and hear late of those who are. What their members are told is folded as a client does, and each
//! diff must fit. When nothing goes wrong any more, every member sees all members of all nodes, by
//! the same refs.
//!
//! What it does not model: entries, whose order is the log's own; several rooms, since each has a
//! slice of its own; more than one shard.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::base::rng::SplitMix64;
use crate::limits::SLICE_AUDIT_MS;
use crate::link::ids::Asker;
use crate::link::log::{
    Append, Appended, FromLog, Log, NodeId, Opening, Say, Spoken, UnkeptText, Why,
};
use crate::link::outbox::Timer;
use crate::link::record::{Received, read};
use crate::room::planted::{self, Planted};
use crate::rooms::shown::{Shown, fold};
use crate::rooms::tests::{Home, hasher, short};
use crate::rooms::*;

pub(super) const TOPIC: &str = "room:tea";
const NODES: u64 = 4;

/// What a node sends on its connection.
#[derive(Clone, Debug)]
pub(super) enum Sent {
    Hear,
    HearNoMore,
    Said(Said),
}

/// Something that is said, to all who hear the room or to one node.
#[derive(Clone, Debug)]
pub(super) struct Said {
    from: NodeId,
    /// The process that says it, and its ticket.
    by: u64,
    ticket: Option<Ticket>,
    to: Option<NodeId>,
    what: UnkeptText,
}

/// A node's end of the broker.
#[derive(Default)]
pub(super) struct End {
    pub(super) node: NodeId,
    pub(super) process: u64,
    pub(super) is_connected: bool,
    pub(super) room: Option<RoomKey>,
    pub(super) out: VecDeque<Sent>,
    /// What was said with a ticket and has not been answered.
    pub(super) unanswered: BTreeSet<Ticket>,
}

impl Log for End {
    fn keeps(&self) -> bool {
        false
    }

    fn open(&mut self, room: RoomKey, topic: &str, _: u64) -> Opening {
        assert_eq!((topic, self.room), (TOPIC, None), "there is one room, and it is opened once");
        self.room = Some(room);
        self.out.push_back(Sent::Hear);
        Opening::New
    }

    fn append(&mut self, _: Append<'_>) -> Appended {
        Appended::Kept
    }

    fn say(&mut self, say: Say<'_>) -> Spoken {
        let Say { room, topic, ticket, to, what } = say;
        assert_eq!((topic, self.room), (TOPIC, Some(room)), "something is said in an open room");
        if !self.is_connected {
            return Spoken::Refused(Why::Unavailable);
        }
        self.unanswered.extend(ticket);
        let (from, by, what) = (self.node, self.process, UnkeptText::new(what));
        self.out.push_back(Sent::Said(Said { from, by, ticket, to, what }));
        Spoken::Later
    }

    fn close(&mut self, room: RoomKey) {
        assert_eq!(self.room.take(), Some(room), "it is closed once");
        self.out.push_back(Sent::HearNoMore);
    }
}

pub(super) struct Node {
    pub(super) home: Home<End>,
    pub(super) life: u64,
    /// What the broker has for its connection, and whether the room is heard on that.
    pub(super) queue: VecDeque<Said>,
    pub(super) hears: bool,
    pub(super) members: Vec<(Asker, String, String)>,
    /// What its members see, once they were sent the list.
    pub(super) shown: Option<Shown>,
    /// The life that others take for over, though it is not.
    pub(super) doubted: u64,
    /// The lives that it has been told are over.
    pub(super) over: BTreeMap<NodeId, u64>,
    /// What its members were told, in short, where a test looks at that.
    pub(super) told: Option<Vec<String>>,
}

pub(super) struct World {
    pub(super) rng: SplitMix64,
    pub(super) now_ms: u64,
    pub(super) lives: u64,
    pub(super) devices: u64,
    pub(super) nodes: Vec<Option<Node>>,
    /// Lives that are over, and the nodes that have not been told yet.
    pub(super) over: Vec<(NodeId, u64, BTreeSet<u64>)>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut world = Self {
            rng: SplitMix64::new(seed),
            now_ms: 1_000,
            lives: 0,
            devices: 0,
            nodes: (0..NODES).map(|_| None).collect(),
            over: Vec::new(),
        };
        (0..NODES).for_each(|at| world.boot(at));
        world
    }

    pub(super) fn node(&mut self, at: u64) -> Option<&mut Node> {
        self.nodes[usize::try_from(at).expect("few")].as_mut()
    }

    pub(super) fn boot(&mut self, at: u64) {
        self.lives += 1;
        let life = self.lives;
        let end = End { node: at, process: life, ..End::default() };
        let mut home = Home::with_log(end);
        home.rooms = Rooms::new(life << 32, hasher);
        home.now_ms = self.now_ms;
        let (queue, members) = (VecDeque::new(), Vec::new());
        let node = Node {
            home,
            life,
            queue,
            hears: false,
            members,
            shown: None,
            doubted: 0,
            over: BTreeMap::new(),
            told: None,
        };
        self.nodes[usize::try_from(at).expect("few")] = Some(node);
        self.hear(at, FromLog::Life { node: at, life });
        self.connect(at);
    }

    /// A node hears something of its log, and its members what follows from it.
    pub(super) fn hear(&mut self, at: u64, message: FromLog<'_>) {
        self.act(at, |home| home.with(|rooms, cx, told| rooms.hear_log(cx, told, message)));
    }

    /// A node does something, and its members hear what follows from it.
    pub(super) fn act(&mut self, at: u64, act: impl FnOnce(&mut Home<End>)) {
        let now_ms = self.now_ms;
        let Some(node) = self.node(at) else { return };
        node.home.now_ms = now_ms;
        act(&mut node.home);
        node.fold();
    }

    pub(super) fn connect(&mut self, at: u64) {
        let Some(node) = self.node(at).filter(|node| !node.home.mesh.log.is_connected) else {
            return;
        };
        let end = &mut node.home.mesh.log;
        end.is_connected = true;
        end.out.clear();
        if let Some(room) = end.room {
            end.out.push_back(Sent::Hear);
            self.hear(at, FromLog::Missed { room });
        }
    }

    /// A connection ends: some of what was on its way arrives, and nothing is heard any more.
    pub(super) fn cut(&mut self, at: u64) {
        let Some(node) = self.node(at).filter(|node| node.home.mesh.log.is_connected) else {
            return;
        };
        let count = node.home.mesh.log.out.len() as u64 + 1;
        for _ in 0..self.rng.below(count) {
            self.pass(at);
        }
        let Some(node) = self.node(at) else { return };
        node.queue.clear();
        node.hears = false;
        let end = &mut node.home.mesh.log;
        end.is_connected = false;
        end.out.clear();
        let (room, unanswered) = (end.room, std::mem::take(&mut end.unanswered));
        for ticket in unanswered {
            let Some(room) = room else { continue };
            self.hear(at, FromLog::Refused { room, ticket, why: Why::Unconfirmed });
        }
    }

    /// The broker takes the next thing from a connection. False, if there is none.
    pub(super) fn pass(&mut self, at: u64) -> bool {
        let Some(node) = self.node(at).filter(|node| node.home.mesh.log.is_connected) else {
            return false;
        };
        match node.home.mesh.log.out.pop_front() {
            None => return false,
            Some(Sent::Hear) => node.hears = true,
            Some(Sent::HearNoMore) => node.hears = false,
            Some(Sent::Said(said)) => {
                for (number, node) in (0..).zip(&mut self.nodes) {
                    let Some(node) = node else { continue };
                    let is_for = said.to.map_or(node.hears, |to| to == number);
                    if is_for && node.home.mesh.log.is_connected {
                        node.queue.push_back(said.clone());
                    }
                }
            }
        }
        true
    }

    /// A node hears the next thing on its connection. False, if there is none.
    pub(super) fn take(&mut self, at: u64) -> bool {
        let Some(node) = self.node(at) else { return false };
        let Some(Said { from, by, ticket, to: _, what }) = node.queue.pop_front() else {
            return false;
        };
        let end = &mut node.home.mesh.log;
        let ticket = ticket.filter(|_| by == end.process);
        if let Some(ticket) = ticket {
            end.unanswered.remove(&ticket);
        }
        if let Some(room) = end.room {
            self.hear(at, FromLog::Heard { room, from, ticket, what: what.unkept() });
        }
        true
    }

    /// All that was said is heard.
    pub(super) fn drain(&mut self) {
        while (0..NODES).fold(false, |busy, at| busy | self.pass(at) | self.take(at)) {}
    }

    /// Time passes.
    pub(super) fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
        for at in 0..NODES {
            let now_ms = self.now_ms;
            while let Some(timer) = self.node(at).and_then(|node| node.home.timers.pop_due(now_ms))
            {
                self.act(at, |home| {
                    home.with(|rooms, cx, told| match timer {
                        Timer::Room(key) => rooms.tick(cx, told, key),
                        Timer::Slice(key) => rooms.audit_slice(cx, key),
                        Timer::Nodes => rooms.catch_up_with_nodes(cx),
                        _ => {}
                    });
                });
            }
        }
    }

    pub(super) fn join(&mut self, at: u64) {
        let user = format!("u{}", self.rng.below(5));
        self.join_as(at, &user);
    }

    pub(super) fn join_as(&mut self, at: u64, user: &str) {
        self.devices += 1;
        let (device, user) = (self.devices, user.to_owned());
        let meta = format!("{{\"d\":{device}}}");
        let mut asker = None;
        self.act(at, |home| {
            home.try_join_with_meta(device, TOPIC, &user, &meta);
            asker = home.told.0.iter().rev().find_map(|(_, record)| match read(record) {
                Received::ToMember(ToMember::Joined { slot, conn, .. }) => {
                    Some(Asker { conn, slot })
                }
                _ => None,
            });
        });
        if let Some(node) = self.node(at) {
            node.members.push((asker.expect("it may join"), user, meta));
        }
    }

    /// A member leaves, or has another meta.
    pub(super) fn change(&mut self, at: u64, leaves: bool) {
        self.devices += 1;
        let (draw, device) = (self.rng.next_u64(), self.devices);
        let Some(node) = self.node(at).filter(|node| !node.members.is_empty()) else { return };
        let index = usize::try_from(draw % node.members.len() as u64).expect("few");
        let Some(home) = node.home.mesh.log.room else { return };
        let (asker, user, _) = node.members.swap_remove(index);
        if leaves {
            let leave = ToHome::Leave { home, asker, reference: None };
            self.act(at, |home| home.hear(0, leave));
        } else {
            let meta = format!("{{\"d\":{device}}}");
            node.members.push((asker, user, meta.clone()));
            let meta = Some(&*meta);
            self.act(at, |of| of.hear(0, ToHome::Meta { home, asker, reference: "1", meta }));
        }
    }

    /// A life is given up: each node hears of it by itself.
    pub(super) fn give_up(&mut self, node: NodeId, life: u64) {
        let there = (0..NODES).filter(|at| *at != node);
        self.over.push((node, life, there.collect()));
    }

    /// One of the nodes hears of a life that is over.
    pub(super) fn hear_over(&mut self) {
        let Some(index) = self.over.len().checked_sub(1) else { return };
        let index = usize::try_from(self.rng.below(index as u64 + 1)).expect("few");
        let (node, life, untold) = &mut self.over[index];
        let (node, life) = (*node, *life);
        let Some(at) = untold.pop_first() else {
            self.over.swap_remove(index);
            return;
        };
        if let Some(of) = self.node(at) {
            let known = of.over.entry(node).or_default();
            *known = life.max(*known);
        }
        self.hear(at, FromLog::Gone { nodes: &[(node, life)] });
    }

    /// A node that was given up finds its lease gone, and takes another life.
    pub(super) fn live_on(&mut self, at: u64) {
        let life = self.lives + 1;
        let Some(node) = self
            .node(at)
            .filter(|node| node.home.mesh.log.is_connected && node.doubted == node.life)
        else {
            return;
        };
        node.life = life;
        self.lives = life;
        self.hear(at, FromLog::Life { node: at, life });
    }

    pub(super) fn step(&mut self) {
        let (at, draw) = (self.rng.below(NODES), self.rng.below(100));
        let Some(node) = self.node(at) else {
            if draw < 30 {
                self.boot(at);
            }
            return;
        };
        let (is_connected, life) = (node.home.mesh.log.is_connected, node.life);
        match draw {
            0..15 => self.join(at),
            15..28 => self.change(at, true),
            28..32 => self.change(at, false),
            32..35 => self.cut(at),
            35..42 => self.connect(at),
            42..44 => {
                self.cut(at);
                self.nodes[usize::try_from(at).expect("few")] = None;
                self.give_up(at, life);
            }
            44..46 => {
                node.doubted = life;
                self.give_up(at, life);
            }
            46..51 => self.live_on(at),
            51..57 => self.hear_over(),
            57..70 => {
                let ms = [20, 150, 400, 20_000][usize::try_from(draw % 4).expect("few")];
                self.wait(ms);
            }
            _ if is_connected => {
                for _ in 0..=self.rng.below(4) {
                    if self.rng.below(2) == 0 {
                        self.pass(at)
                    } else {
                        self.take(at)
                    };
                }
            }
            _ => {}
        }
    }

    /// Nothing goes wrong any more: all that was lost is noticed in the time of an audit.
    pub(super) fn calm(&mut self) {
        for at in 0..NODES {
            if self.node(at).is_none() {
                self.boot(at);
            }
            self.connect(at);
        }
        self.wait_for_audits();
        self.judge_pairs();
        while !self.over.is_empty() {
            self.hear_over();
        }
        (0..NODES).for_each(|at| self.live_on(at));
        self.wait_for_audits();
    }

    pub(super) fn wait_for_audits(&mut self) {
        self.drain();
        let mut left_ms = SLICE_AUDIT_MS / 4 * 5 + 30_000;
        while left_ms > 0 {
            let ms = left_ms.min(5_000);
            left_ms -= ms;
            self.wait(ms);
            self.drain();
        }
    }

    /// Each node that is in the room knows who is there on each other one, unless it was told that
    /// this one is no more.
    pub(super) fn judge_pairs(&self) {
        let rooms = (0..).zip(&self.nodes).filter_map(|(at, node)| {
            let node = node.as_ref().filter(|node| !node.members.is_empty())?;
            let of = node.home.rooms.arena.get(node.home.mesh.log.room?)?;
            Some((at, node, of.room.nodes_seen()))
        });
        let rooms: Vec<(NodeId, _, _)> = rooms.collect();
        for (to, one, seen) in &rooms {
            for (from, other, _) in rooms.iter().filter(|(from, ..)| from != to) {
                if one.over.get(from).is_some_and(|over| other.life <= *over) {
                    continue;
                }
                let seen = seen.iter().find(|(node, ..)| node == from);
                let seen = seen.into_iter().flat_map(|(.., members)| members.iter().copied());
                let there = other.members.iter().map(|(_, user, meta)| (&**user, &**meta));
                let (seen, there): (BTreeSet<_>, BTreeSet<_>) = (seen.collect(), there.collect());
                assert_eq!(seen, there, "a node that is there is seen as it is");
            }
        }
    }

    /// Every member sees all members of all nodes.
    pub(super) fn judge(&mut self) {
        let nodes = self.nodes.iter().flatten();
        let members = nodes.clone().flat_map(|node| &node.members);
        let all: BTreeSet<_> = members.map(|(_, user, meta)| (&**user, &**meta)).collect();
        let mut shown = None;
        for node in nodes.filter(|node| !node.members.is_empty()) {
            let own = node.shown.as_ref().expect("who is in has the list");
            let seen: BTreeSet<_> = own.values().map(|(user, meta)| (&**user, &**meta)).collect();
            assert_eq!(seen, all, "everybody sees all who are there");
            assert_eq!(own, *shown.get_or_insert(own), "by the same refs");
        }
        let rooms = self.nodes.iter().flatten().map(|node| node.home.rooms.len());
        let open = self.nodes.iter().flatten().filter(|node| !node.members.is_empty());
        assert_eq!(rooms.sum::<usize>(), open.count(), "a room is where somebody is");
    }
}

impl Node {
    /// Its members fold what they were told, as a client does.
    fn fold(&mut self) {
        for (_, record) in std::mem::take(&mut self.home.told.0) {
            let Received::ToMember(message) = read(&record) else { panic!("for a member") };
            if let Some(told) = &mut self.told {
                told.push(short(0, &record));
            }
            fold(&mut self.shown, &message);
        }
        let room = self.home.mesh.log.room.and_then(|key| self.home.rooms.arena.get(key));
        // Rooms are gone through a little later.
        let is_done = self.home.rooms.nodes.has_caught_up();
        for (node, life, _) in room.iter().filter(|_| is_done).flat_map(|of| of.room.nodes_seen()) {
            assert!(
                self.over.get(&node).is_none_or(|over| *over < life),
                "who is gone is not seen"
            );
        }
        if room.is_none_or(|of| of.room.members_count() == 0) {
            self.shown = None;
        }
    }
}

pub(super) fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..400 {
        world.step();
    }
    world.calm();
    world.judge();
}

#[test]
fn in_the_end_all_members_of_all_nodes_see_each_other() {
    for seed in 0..2_000 {
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

/// Runs with a defect until the rule that is for it finds it.
#[track_caller]
fn bark(planted: Planted, rule: &str) {
    planted::plant(planted);
    let is_found = (0..400).any(|seed| {
        let Err(failure) = catch_unwind(AssertUnwindSafe(|| run(seed))) else { return false };
        text_of(&*failure).contains(rule)
    });
    planted::plant(Planted::Nothing);
    assert!(is_found, "{planted:?} is not found");
}

#[test]
fn each_rule_of_slices_is_needed() {
    let (all, each) = ("everybody sees all who are there", "a node that is there is seen as it is");
    bark(Planted::TombstonesForgotten, "who is gone is not seen");
    bark(Planted::LivesIgnored, each);
    bark(Planted::NewLifeUnheard, all);
    bark(Planted::WantsUnsaid, each);
    bark(Planted::AuditsUnsaid, each);
    bark(Planted::DiffsMisapplied, each);
    bark(Planted::FarewellsUnheard, all);
    bark(Planted::SilenceBelieved, all);
}

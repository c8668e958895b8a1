//! Nodes with a pretended engine: everything of them but the connection, which does all that a
//! connection may do. What is asked and what is told is under way for a while, in order; it is cut
//! at any place; a push is lost without that; the engine fails over and loses its tail, refuses, or
//! stands still.
//!
//! | file | what it is |
//! |---|---|
//! | `engine` | the engine, and its replica |
//! | `node` | a node: its rings, its follower, and its connection |
//!
//! Here is the log of one node, with strangers who say something in between: see
//! `app/engine_contract.rs`. Several nodes are in `app/cluster_sim`.
//!
//! Deliberately absent: bytes on a wire (`tests/engine`).

mod engine;
mod node;

use std::collections::{BTreeSet, VecDeque};

pub(crate) use engine::{Holding, PretendedEngine, Push};
pub(crate) use node::PretendedNode;

use super::command::{Act, Append, Entry};
use super::log::EngineLog;
use super::written::Writer;
use crate::base::rng::SplitMix64;
use crate::link::engine::Told;
use crate::link::facts::Keep;
use crate::link::ids::RoomKey;
use crate::link::log::{LogAnswer, LogEnd, Marks};
use crate::link::said::Said;

#[path = "../../../../tests/engine/model.rs"]
#[allow(dead_code, reason = "what is not needed here is elsewhere")]
mod model;

/// This node, and the one that comes in between.
const NODE: u64 = 7;
const STRANGER: u64 = 8;

/// Over so many rooms are spread.
const PARTITIONS: u16 = 2;

/// Of so many messages of a room all are kept, unless it keeps less: how an engine trims its
/// streams is tried elsewhere.
const HISTORY: u64 = 1_000_000;

/// Each room has its turn to be looked at within a second, and is read behind that.
const AUDITED_MS: u64 = 3_000;

/// So many replicas must have what this node is told to be kept.
const REPLICAS: u32 = 1;

/// The log of a node with a pretended engine. Each step does one thing, drawn from its seed.
pub(crate) struct Pretended {
    pub(crate) log: EngineLog,
    node: PretendedNode,
    engine: PretendedEngine,
    rng: SplitMix64,
    is_calm: bool,
    strangers: u64,
    /// By this time it has been looked for all pushes that were lost.
    audited_ms: u64,
    /// What its home has not been told of what has reached its shard.
    ready: VecDeque<LogAnswer>,
    /// Rooms that are to be opened.
    pub(crate) opening: BTreeSet<RoomKey>,
}

impl Pretended {
    /// One that is connected.
    pub(crate) fn new(seed: u64) -> Self {
        let (engine, (mut node, log)) =
            (PretendedEngine::new(), PretendedNode::new(NODE, Keep::default()));
        node.connect(&engine, REPLICAS);
        Self {
            log,
            node,
            engine,
            rng: SplitMix64::new(seed),
            is_calm: false,
            strangers: 0,
            audited_ms: 0,
            ready: VecDeque::new(),
            opening: BTreeSet::new(),
        }
    }

    fn one_in(&mut self, count: u64) -> bool {
        !self.is_calm && self.rng.below(count) == 0
    }

    /// From now on nothing goes wrong.
    pub(crate) fn calm(&mut self) {
        self.is_calm = true;
    }

    /// The connection ends. What was asked may have been done, up to any place.
    fn cut(&mut self) {
        let done = self.rng.below(self.node.asked_count() + 1);
        for _ in 0..done {
            self.do_next();
        }
        self.node.disconnect(self.engine.now_ms);
    }

    /// The next thing that its home is told.
    pub(crate) fn next(&mut self) -> Option<LogAnswer> {
        let answer = self.ready.pop_front();
        if let Some(LogAnswer::Opened { room, .. } | LogAnswer::NotOpened { room, .. }) = &answer {
            self.opening.remove(room);
        }
        answer
    }

    /// Whether there is nothing left to do or to tell.
    pub(crate) fn is_idle(&self) -> bool {
        let is_told = self.node.is_still() && self.ready.is_empty();
        let is_told = is_told && self.engine.now_ms >= self.audited_ms;
        is_told && self.log.is_idle() && self.opening.is_empty()
    }

    /// Its home begins anew.
    pub(crate) fn crash(&mut self) {
        self.log.restarted();
        self.log.end_turn();
        self.opening.clear();
        self.ready.clear();
    }

    /// Does one thing.
    pub(crate) fn step(&mut self) {
        self.log.end_turn();
        self.do_one();
        if self.node.wants_end() {
            self.cut();
        }
        self.log.woke();
        while let Some(answer) = self.log.next() {
            self.ready.push_back(answer);
        }
    }

    fn do_one(&mut self) {
        self.engine.now_ms += self.rng.below(20);
        if self.one_in(30) {
            // It stands still for so long that whoever waits is told.
            self.engine.now_ms += 2_500;
        }
        self.node.turn(self.engine.now_ms);
        if !self.node.is_up() {
            if !self.one_in(3) {
                self.node.connect(&self.engine, REPLICAS);
            }
            return;
        }
        match self.rng.below(16) {
            0 if self.one_in(4) => self.cut(),
            1 if self.one_in(6) => {
                self.cut();
                self.engine.fail_over();
            }
            2 if !self.is_calm => self.stranger(),
            3 | 4 => self.engine.replicate(),
            5..=9 => self.do_next(),
            _ => self.node.tell_next(self.engine.now_ms),
        }
    }

    /// The engine does the next thing that it was asked.
    fn do_next(&mut self) {
        let coins = (self.one_in(25), self.rng.below(2) == 0);
        self.node.do_next(&mut self.engine, coins);
    }

    /// Another node says something.
    fn stranger(&mut self) {
        let topics = self.engine.topics();
        let at = usize::try_from(self.rng.below(topics.len() as u64)).expect("small");
        let Some(topic) = topics.get(at).filter(|topic| topic.starts_with("room:")) else { return };
        self.strangers += 1;
        let body = format!("\"s{}\"", self.strangers);
        let said = Said { user: "stranger", name: "stranger", body: &body, ..Said::default() };
        let writer = Writer { topic, node: STRANGER, shard: 0 };
        let record = writer.told(None, &Told::Message { said });
        let (act, line) = (Act::Message { key: None }, Vec::new());
        let entry = Entry { judged: None, act, record, line };
        let fresh_epoch = self.rng.next_u64();
        let append = Append { topic: topic.clone(), fresh_epoch, entries: vec![entry] };
        let (_, mut pushes) = self.engine.append(append);
        // News are lost on their way though the connection lives, as by a defect of somebody else.
        if pushes.iter().any(Push::is_news) && self.one_in(8) {
            pushes.retain(|push| !push.is_news());
            self.audited_ms = self.engine.now_ms + AUDITED_MS;
        }
        self.node.hear(&pushes);
    }

    /// Asserts that the list has the rooms of which the engine keeps something.
    pub(crate) fn check_list(&self) {
        let kept = 0..PARTITIONS;
        let kept = kept.flat_map(|partition| self.engine.model.list(partition, PARTITIONS));
        let listed = kept.filter(|of| !of.founded.as_ref().is_some_and(|of| of.is_private));
        let listed = listed.map(|of| {
            let title = of.founded.map(|founded| founded.title.into());
            (of.topic.into(), (title, 0))
        });
        assert_eq!(self.node.follower.shown(), listed.collect(), "what is kept is listed");
    }

    /// The bodies of a room, as they are by now.
    pub(crate) fn bodies(&self, topic: &str) -> Vec<String> {
        self.engine.bodies(topic)
    }

    /// Up to where a room survives anything.
    pub(crate) fn durable(&self, topic: &str) -> Marks {
        self.engine.durable(topic)
    }

    /// How far a room has come.
    pub(crate) fn top(&self, topic: &str) -> Marks {
        self.engine.top(topic)
    }
}

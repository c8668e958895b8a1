//! A node of a pretended engine: its rings, its follower, and a connection on which what is asked
//! and told is under way for a while, in order.
//!
//! Deliberately absent: its rooms, and when something happens: whoever has the node says that.

use std::collections::{BTreeSet, VecDeque};
use std::mem;
use std::sync::Arc;

use super::PARTITIONS;
use super::engine::{PretendedEngine, Push};
use crate::limits::EngineLimits;
use crate::link::engine::FromEngine;
use crate::link::facts::Keep;
use crate::link::field::Field;
use crate::link::kept::read_whole;
use crate::mesh::{self, Port, Wake};
use crate::side::engine::command::{Act, Command, Failure, Pushed, Reply};
use crate::side::engine::follower::{Connected, Follower, Node, Ways};
use crate::side::engine::log::EngineLog;
use crate::side::engine::partition::partition;
use crate::side::engine::view::TailBounds;

/// What the connection carries to the node.
enum Event {
    Answered(u64, Result<Reply, Failure>),
    Pushed(Pushed),
}

/// What is asked and told in a turn of the follower.
struct Wires<'a> {
    port: &'a mut Port,
    asked: &'a mut VecDeque<(u64, Command)>,
    is_up: bool,
    is_ended: &'a mut bool,
}

impl Ways for Wires<'_> {
    fn ask(&mut self, number: u64, command: Command) {
        if self.is_up {
            self.asked.push_back((number, command));
        }
    }

    fn tell(&mut self, shard: u16, message: &FromEngine<'_>) {
        let mut record = Vec::new();
        (*message).put(&mut record);
        self.port.send(shard, &record);
    }

    fn primary_of(&self, topic: &str) -> u16 {
        partition(topic, PARTITIONS)
    }

    fn is_busy(&self, _: u16) -> bool {
        false
    }

    fn disconnect(&mut self, _: &str) {
        *self.is_ended = true;
    }
}

struct NobodySleeps;

impl Wake for NobodySleeps {
    fn wake(&self) {}
}

/// See the module.
pub(crate) struct PretendedNode {
    id: u64,
    port: Port,
    pub(super) follower: Follower,
    /// Whether there is a connection, and on which of the engine's histories it was made.
    line: Option<u64>,
    /// Whether the follower has ended the connection: whoever has the node is to cut it.
    is_ended: bool,
    heard: BTreeSet<Box<str>>,
    heard_lists: BTreeSet<u16>,
    asked: VecDeque<(u64, Command)>,
    told: VecDeque<Event>,
}

impl PretendedNode {
    /// One that is not connected, and the log of its only shard. So much is kept of each room.
    pub(crate) fn new(id: u64, keep: Keep) -> (Self, EngineLog) {
        let mut ports = mesh::connect(2, 64);
        for port in &ports {
            port.set_waker(Arc::new(NobodySleeps));
        }
        let (port, of_shard) = (ports.pop().expect("two"), ports.pop().expect("two"));
        let (reads_at_once, call_entries, audit_s) = (2, 3, 1);
        let limits =
            EngineLimits { call_entries, reads_at_once, audit_s, ..EngineLimits::default() };
        // So few that more is read.
        let tail = TailBounds { messages: 2, bytes: 1_000_000 };
        let (partitions, room_s) = (PARTITIONS, 3_600);
        let has_archive = false;
        let node = Node { id, shards: 1, tail, partitions, has_archive, keep, room_s, limits };
        let node = Self {
            id,
            port,
            follower: Follower::new(node),
            line: None,
            is_ended: false,
            heard: BTreeSet::new(),
            heard_lists: BTreeSet::new(),
            asked: VecDeque::new(),
            told: VecDeque::new(),
        };
        (node, EngineLog::new(of_shard, 1, id, limits, false))
    }

    /// Lets the follower act.
    fn act(&mut self, now_ms: u64, act: impl FnOnce(&mut Follower, &mut Wires<'_>, u64)) {
        let Self { port, asked, line, is_ended, follower, .. } = self;
        let mut wires = Wires { port, asked, is_up: line.is_some(), is_ended };
        act(follower, &mut wires, now_ms);
        follower.end_turn(&mut wires);
        follower.check();
        self.port.end_turn();
    }

    /// Whether it is connected.
    pub(crate) fn is_up(&self) -> bool {
        self.line.is_some()
    }

    /// Whether it is connected, and nothing is under way.
    pub(crate) fn is_still(&self) -> bool {
        let is_answered = self.asked.is_empty() && self.told.is_empty();
        is_answered && self.is_up() && !self.port.has_waiting()
    }

    /// How many rooms it hears.
    pub(crate) fn heard_count(&self) -> usize {
        self.heard.len()
    }

    /// How much is asked and not done.
    pub(crate) fn asked_count(&self) -> u64 {
        self.asked.len() as u64
    }

    /// The room that lets go of messages with the next thing that the engine is asked, if it does.
    pub(crate) fn lets_go_next(&self) -> Option<&str> {
        let (_, Command::Append(append)) = self.asked.front()? else { return None };
        let is_it = append.entries.iter().any(|entry| matches!(entry.act, Act::LetGo { .. }));
        is_it.then_some(&append.topic)
    }

    /// Whether its follower wants the connection to end.
    pub(crate) fn wants_end(&mut self) -> bool {
        mem::take(&mut self.is_ended) && self.is_up()
    }

    /// Connects. So many replicas must have what is told as kept.
    pub(crate) fn connect(&mut self, engine: &PretendedEngine, replicas: u32) {
        self.line = Some(engine.branch());
        // Each partition has a primary of its own, and all of them one wire.
        let connected = Connected { replicas: vec![replicas; PARTITIONS.into()] };
        self.act(engine.now_ms, |follower, wires, now_ms| {
            follower.connected(wires, now_ms, connected);
        });
    }

    /// The connection ends. What is not answered by then is told to be lost, before the end is.
    pub(crate) fn disconnect(&mut self, now_ms: u64) {
        self.line = None;
        self.heard.clear();
        self.heard_lists.clear();
        let told = mem::take(&mut self.told).into_iter();
        let unheard = told.filter_map(|event| match event {
            Event::Answered(number, _) => Some(number),
            Event::Pushed(_) => None,
        });
        let mut lost: Vec<_> = unheard.collect();
        lost.extend(mem::take(&mut self.asked).into_iter().map(|(number, _)| number));
        for number in lost {
            self.act(now_ms, |follower, wires, now_ms| {
                follower.answered(wires, now_ms, number, Err(Failure::Lost));
            });
        }
        self.act(now_ms, |follower, wires, _| follower.lost(wires));
    }

    /// Hears all that its shard has said, and what time it is.
    pub(crate) fn turn(&mut self, now_ms: u64) {
        let mut record = Vec::new();
        while self.port.recv(&mut record).is_some() {
            self.act(now_ms, |follower, wires, now_ms| {
                follower.hear(wires, now_ms, 0, read_whole(&record));
            });
        }
        self.act(now_ms, |follower, wires, now_ms| {
            follower.tick(wires, now_ms);
        });
    }

    /// The engine does the next thing that it was asked, or refuses it. What it tells others.
    pub(crate) fn do_next(
        &mut self,
        engine: &mut PretendedEngine,
        (refuses, pushes_first): (bool, bool),
    ) -> Vec<Push> {
        let Some((number, command)) = self.asked.pop_front() else { return Vec::new() };
        if refuses && matches!(command, Command::Append(_) | Command::Say { .. }) {
            let failure = Failure::Refused("OOM".into());
            self.told.push_back(Event::Answered(number, Err(failure)));
            return Vec::new();
        }
        match &command {
            Command::Subscribe { topic } => {
                self.heard.insert(topic.clone());
            }
            Command::Unsubscribe { topic } => {
                self.heard.remove(topic);
            }
            Command::HearList { partition } => {
                self.heard_lists.insert(*partition);
            }
            _ => {}
        }
        let (answer, pushes) = engine.answer(self.line.unwrap_or_default(), command);
        let answered = Event::Answered(number, answer);
        // Redis pushes first, Valkey answers first.
        if pushes_first {
            self.hear(&pushes);
            self.told.push_back(answered);
        } else {
            self.told.push_back(answered);
            self.hear(&pushes);
        }
        pushes
    }

    /// What of this it hears is under way to it from now on.
    pub(crate) fn hear(&mut self, pushes: &[Push]) {
        for Push { to, pushed } in pushes {
            let is_heard = self.is_up()
                && match pushed {
                    Pushed::News { topic, .. } | Pushed::Said { topic, .. } => {
                        self.heard.contains(topic)
                    }
                    Pushed::Listed(listed) => {
                        self.heard_lists.contains(&partition(&listed.topic, PARTITIONS))
                    }
                    Pushed::Told { .. } => *to == Some(self.id),
                    Pushed::Foreign { topic } => {
                        topic.as_ref().is_some_and(|topic| self.heard.contains(topic))
                    }
                };
            if is_heard {
                self.told.push_back(Event::Pushed(pushed.clone()));
            }
        }
    }

    /// The node hears the next thing.
    pub(crate) fn tell_next(&mut self, now_ms: u64) {
        match self.told.pop_front() {
            Some(Event::Answered(number, result)) => self.act(now_ms, |follower, wires, now_ms| {
                follower.answered(wires, now_ms, number, result);
            }),
            Some(Event::Pushed(pushed)) => {
                self.act(now_ms, |follower, wires, now_ms| follower.pushed(wires, now_ms, pushed));
            }
            None => {}
        }
    }
}

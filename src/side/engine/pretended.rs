//! A node with a pretended engine: everything of it but the connection, which does all that a
//! connection may do. What is asked and what is told is under way for a while, in order; it is cut
//! at any place; a push is lost without that; the engine fails over and loses its tail, refuses, or
//! stands still; other nodes say, change and decide something in between.
//!
//! Each step does one thing, drawn from its seed.
//!
//! Deliberately absent: bytes on a wire (`tests/engine`), and other nodes that follow what is said
//! here (`tests/cluster`).

use std::collections::{BTreeSet, VecDeque};
use std::mem;
use std::sync::Arc;

use super::command::{
    Act, Append, Changed, Command, Entry, Failure, Message, Pushed, Reply, State,
};
use super::follower::{Connected, Follower, Node, Ways};
use super::log::EngineLog;
use super::partition::partition;
use super::view::{Messages, TailBounds};
use super::written::Writer;
use crate::base::rng::SplitMix64;
use crate::limits::EngineLimits;
use crate::link::engine::{FromEngine, Told};
use crate::link::ids::RoomKey;
use crate::link::kept::read_whole;
use crate::link::log::{LogAnswer, LogEnd, Marks};
use crate::link::record::Field;
use crate::link::said::Said;
use crate::mesh::{self, Port, Wake};

#[path = "../../../tests/engine/model.rs"]
#[allow(dead_code, reason = "what is not needed here is elsewhere")]
mod model;

use model::{Meta, Model};

/// This node, and the one that comes in between.
const NODE: u64 = 7;
const STRANGER: u64 = 8;

/// Over so many rooms are spread.
const PARTITIONS: u16 = 2;

/// Of so many messages of a room all are kept: what is let go of is tried elsewhere.
const HISTORY: u64 = 1_000_000;

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

/// A node with a pretended engine. See the module.
pub(crate) struct Pretended {
    pub(crate) log: EngineLog,
    port: Port,
    follower: Follower,
    rng: SplitMix64,
    is_calm: bool,
    now_ms: u64,
    /// The engine, and what a replica of it has.
    engine: Model,
    replica: Model,
    /// Whether there is a connection, and on which of the engine's histories it was made.
    line: Option<u64>,
    is_ended: bool,
    heard: BTreeSet<Box<str>>,
    heard_lists: BTreeSet<u16>,
    asked: VecDeque<(u64, Command)>,
    told: VecDeque<Event>,
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
        let node = Node { id: NODE, shards: 1, tail, partitions, room_s, limits };
        let mut pretended = Self {
            log: EngineLog::new(of_shard, 1, NODE, limits),
            port,
            follower: Follower::new(node),
            rng: SplitMix64::new(seed),
            is_calm: false,
            now_ms: 1_000,
            engine: Model::new(HISTORY),
            replica: Model::new(HISTORY),
            line: None,
            is_ended: false,
            heard: BTreeSet::new(),
            heard_lists: BTreeSet::new(),
            asked: VecDeque::new(),
            told: VecDeque::new(),
            strangers: 0,
            audited_ms: 0,
            ready: VecDeque::new(),
            opening: BTreeSet::new(),
        };
        pretended.connect();
        pretended
    }

    fn one_in(&mut self, count: u64) -> bool {
        !self.is_calm && self.rng.below(count) == 0
    }

    /// From now on nothing goes wrong.
    pub(crate) fn calm(&mut self) {
        self.is_calm = true;
    }

    /// Lets the follower act.
    fn act(&mut self, act: impl FnOnce(&mut Follower, &mut Wires<'_>, u64)) {
        let Self { port, asked, line, is_ended, follower, now_ms, .. } = self;
        let mut wires = Wires { port, asked, is_up: line.is_some(), is_ended };
        act(follower, &mut wires, *now_ms);
        follower.end_turn(&mut wires);
        follower.check();
        self.port.end_turn();
        if mem::take(&mut self.is_ended) {
            self.cut();
        }
    }

    fn connect(&mut self) {
        self.line = Some(self.engine.branch);
        // Each partition has a primary of its own, and all of them one wire.
        let connected = Connected { replicas: vec![1; PARTITIONS.into()] };
        self.act(|follower, wires, now_ms| follower.connected(wires, now_ms, connected));
    }

    /// The connection ends. What was asked may have been done, up to any place.
    fn cut(&mut self) {
        let done = self.rng.below(self.asked.len() as u64 + 1);
        for _ in 0..done {
            self.do_next();
        }
        self.line = None;
        self.heard.clear();
        // What is not answered by then is told to be lost, before the end is.
        let told = mem::take(&mut self.told).into_iter();
        let unheard = told.filter_map(|event| match event {
            Event::Answered(number, _) => Some(number),
            Event::Pushed(_) => None,
        });
        let mut lost: Vec<_> = unheard.collect();
        lost.extend(mem::take(&mut self.asked).into_iter().map(|(number, _)| number));
        for number in lost {
            self.act(|follower, wires, now_ms| {
                follower.answered(wires, now_ms, number, Err(Failure::Lost));
            });
        }
        self.heard_lists.clear();
        self.act(|follower, wires, _| follower.lost(wires));
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
        let is_still = self.asked.is_empty() && self.told.is_empty() && self.line.is_some();
        let is_told = self.ready.is_empty() && !self.port.has_waiting();
        let is_told = is_told && self.now_ms >= self.audited_ms;
        is_still && is_told && self.log.is_idle() && self.opening.is_empty()
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
        self.do_one();
        self.log.woke();
        while let Some(answer) = self.log.next() {
            self.ready.push_back(answer);
        }
    }

    fn do_one(&mut self) {
        self.log.end_turn();
        let mut record = Vec::new();
        while self.port.recv(&mut record).is_some() {
            self.act(|follower, wires, now_ms| {
                follower.hear(wires, now_ms, 0, read_whole(&record));
            });
        }
        self.now_ms += self.rng.below(20);
        if self.one_in(30) {
            // It stands still for so long that whoever waits is told.
            self.now_ms += 2_500;
        }
        self.act(|follower, wires, now_ms| {
            follower.tick(wires, now_ms);
        });
        if self.line.is_none() {
            if !self.one_in(3) {
                self.connect();
            }
            return;
        }
        match self.rng.below(16) {
            0 if self.one_in(4) => self.cut(),
            1 if self.one_in(6) => self.fail_over(),
            2 if !self.is_calm => self.stranger(),
            3 | 4 => self.replica = self.engine.clone(),
            5..=9 => self.do_next(),
            _ => self.tell_next(),
        }
    }

    /// The engine is what its replica was, or that with some more.
    fn fail_over(&mut self) {
        self.cut();
        let replica = self.replica.clone();
        self.engine.fail_over(&replica);
        self.replica = self.engine.clone();
    }

    /// The engine does the next thing that it was asked.
    fn do_next(&mut self) {
        // Whoever waits for replicas is answered when they have it.
        if let Some((_, Command::Wait { .. })) = self.asked.front() {
            self.replica = self.engine.clone();
        }
        let Some((number, command)) = self.asked.pop_front() else { return };
        if matches!(command, Command::Append(_) | Command::Say { .. }) && self.one_in(25) {
            let failure = Failure::Refused("OOM".into());
            return self.told.push_back(Event::Answered(number, Err(failure)));
        }
        let (answer, pushed) = self.answer(command);
        let answered = Event::Answered(number, answer);
        let pushed = pushed.into_iter().map(Event::Pushed);
        // Redis pushes first, Valkey answers first.
        if self.rng.below(2) == 0 {
            self.told.extend(pushed);
            self.told.push_back(answered);
        } else {
            self.told.push_back(answered);
            self.told.extend(pushed);
        }
    }

    fn answer(&mut self, command: Command) -> (Result<Reply, Failure>, Vec<Pushed>) {
        let branch = self.line.unwrap_or_default();
        let reply = match command {
            Command::Append(append) => return self.append(&append),
            Command::Look { topic } => return (self.engine.look(&topic, branch), Vec::new()),
            Command::Read { topic } => match self.engine.read(&topic, branch) {
                Ok(state) => Reply::State(state),
                Err(failure) => return (Err(failure), Vec::new()),
            },
            Command::Subscribe { topic } => {
                self.heard.insert(topic);
                Reply::Done
            }
            Command::Unsubscribe { topic } => {
                self.heard.remove(&topic);
                Reply::Done
            }
            Command::Say { topic, record } => {
                let is_heard = self.heard.contains(&topic);
                let said = is_heard.then_some(Pushed::Said { topic, record });
                return (Ok(Reply::Done), said.into_iter().collect());
            }
            Command::Lines { topic, before, count } => {
                let lines = self.engine.lines(&topic, before);
                Reply::Lines(lines.into_iter().take(count as usize).collect())
            }
            Command::Beat { node, life, lease_ms } => {
                self.engine.beat(node, life, lease_ms, self.now_ms)
            }
            Command::List { partition, .. } => {
                let rooms = self.engine.list(partition, PARTITIONS);
                Reply::Listed { cursor: 0, rooms }
            }
            Command::Forget { topics, .. } => {
                self.engine.forget(&topics);
                Reply::Done
            }
            Command::Leave { node, life } => {
                self.engine.leave(node, life);
                Reply::Done
            }
            Command::HearList { partition } => {
                self.heard_lists.insert(partition);
                Reply::Done
            }
            // Other nodes are none that hear.
            Command::Tell { .. } => Reply::Heard(0),
            Command::Ping => Reply::Done,
            Command::Wait { replicas, .. } => Reply::Replicas(replicas),
        };
        (Ok(reply), Vec::new())
    }

    fn append(&mut self, append: &Append) -> (Result<Reply, Failure>, Vec<Pushed>) {
        match self.engine.append(append, self.now_ms) {
            Ok((head, receipts, mut pushed)) => {
                pushed.retain(|pushed| self.is_heard(pushed));
                (Ok(Reply::Appended { head, receipts }), pushed)
            }
            Err(failure) => (Err(failure), Vec::new()),
        }
    }

    /// News are lost on their way though the connection lives, as by a defect of somebody else.
    fn lose_some(&mut self, pushed: &mut Vec<Pushed>) {
        let is_news = |of: &Pushed| matches!(of, Pushed::News { .. });
        if pushed.iter().any(is_news) && self.one_in(8) {
            pushed.retain(|of| !is_news(of));
            // Each room has its turn within a second, and is read behind it.
            self.audited_ms = self.now_ms + 3_000;
        }
    }

    fn is_heard(&self, pushed: &Pushed) -> bool {
        match pushed {
            Pushed::News { topic, .. } | Pushed::Said { topic, .. } => self.heard.contains(topic),
            Pushed::Listed(listed) => {
                self.heard_lists.contains(&partition(&listed.topic, PARTITIONS))
            }
            Pushed::Told { .. } => true,
        }
    }

    /// The node hears the next thing.
    fn tell_next(&mut self) {
        match self.told.pop_front() {
            Some(Event::Answered(number, result)) => self.act(|follower, wires, now_ms| {
                follower.answered(wires, now_ms, number, result);
            }),
            Some(Event::Pushed(pushed)) => {
                self.act(|follower, wires, now_ms| follower.pushed(wires, now_ms, pushed));
            }
            None => {}
        }
    }

    /// Another node says something.
    fn stranger(&mut self) {
        let topics: Vec<_> = self.engine.rooms.keys().cloned().collect();
        let Some(topic) = topics.get(self.below(topics.len())) else { return };
        if !topic.starts_with("room:") {
            return;
        }
        self.strangers += 1;
        let body = format!("\"s{}\"", self.strangers);
        let said = Said { user: "stranger", name: "stranger", body: &body, ..Said::default() };
        let writer = Writer { topic, node: STRANGER, shard: 0 };
        let record = writer.told(None, &Told::Message { said });
        let (act, line) = (Act::Message { key: None }, Vec::new());
        let entry = Entry { judged: None, act, record, line };
        let fresh_epoch = self.rng.next_u64();
        let append = Append { topic: topic.clone(), fresh_epoch, entries: vec![entry] };
        let (_, mut pushed) = self.append(&append);
        self.lose_some(&mut pushed);
        self.told.extend(pushed.into_iter().map(Event::Pushed));
    }

    /// Asserts that the list has the rooms of which the engine keeps something.
    pub(crate) fn check_list(&self) {
        let kept = (0..PARTITIONS).flat_map(|partition| self.engine.list(partition, PARTITIONS));
        let listed = kept.filter(|of| !of.founded.as_ref().is_some_and(|of| of.is_private));
        let listed = listed.map(|of| {
            let title = of.founded.map(|founded| founded.title.into());
            (of.topic.into(), (title, 0))
        });
        assert_eq!(self.follower.shown(), listed.collect(), "what is kept is listed");
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.rng.below(count as u64)).expect("small")
    }

    /// The bodies of a room, as they are by now.
    pub(crate) fn bodies(&self, topic: &str) -> Vec<String> {
        let state = State { head: None, is_current: true, ..self.state(topic) };
        let messages = Messages::of(topic, &state);
        (1..).map_while(|offset| Some(messages.get(offset)?.said.body.to_owned())).collect()
    }

    fn state(&self, topic: &str) -> State {
        let Some(room) = self.engine.rooms.get(topic) else { return State::default() };
        let messages: Vec<Message> = room.messages.entries.values().cloned().collect();
        let changed: Vec<Changed> = room.changed.values().cloned().collect();
        State { messages, changed, ..State::default() }
    }

    /// Up to where a room survives anything.
    pub(crate) fn durable(&self, topic: &str) -> Marks {
        top_of(&self.replica, topic)
    }

    /// How far a room has come.
    pub(crate) fn top(&self, topic: &str) -> Marks {
        top_of(&self.engine, topic)
    }
}

fn top_of(engine: &Model, topic: &str) -> Marks {
    match engine.rooms.get(topic).and_then(|room| room.meta.as_ref()) {
        Some(Meta::Ours(head, _)) => head.top,
        Some(Meta::Foreign) | None => Marks::default(),
    }
}

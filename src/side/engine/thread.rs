//! The thread of the engine: rings to the shards on one side, a connection on the other.
//!
//! ```text
//!   loop: rings ──> follower ──> commands
//!         answers, pushes ──> follower ──> rings
//!         what is due ──> follower
//!         nothing to do: waits for any of them, and for a connection if there is none
//! ```
//!
//! Deliberately absent: what a room is, and what follows from an answer (`follower`).
//!
//! Called by: `app`. Calls: `follower`, `redis`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{future, io, mem};

use tokio::runtime;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time;

use super::again::{Again, SHORT_LIVED_MAX, UNREACHED_MAX};
use super::command::Command;
use super::follower::{Connected, Follower, Node, Ways};
use super::log::EngineLog;
use super::older::{Answered, OlderEnd, Question};
use super::redis::{
    Cause, ConnectError, Connection, Connector, Event, Events, Facts, Target, events,
};
use super::stats::{EngineStats, Op};
use super::view::TailBounds;
use crate::limits::{EngineLimits, MESH_BUSY_BYTES, TOLD_BYTES_MAX};
use crate::link::engine::FromEngine;
use crate::link::facts::Keep;
use crate::link::field::Field;
use crate::link::kept::read_whole;
use crate::mesh::{self, Port, Wake};
use crate::side::Panics;

/// How many records and events are handled before the others are looked at.
const PER_TURN: usize = 1_024;

/// When a message is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// When one replica has it, if one is attached; else when the primary has it.
    Auto,
    /// When the primary has it.
    Primary,
    /// When so many replicas have it.
    Replicas(u32),
}

/// What an engine is started with.
pub struct Start {
    /// Which engine it is, and how rooms are kept there.
    pub target: Target,
    /// When a message is kept.
    pub ack: Ack,
    /// How many shards there are.
    pub shards: u16,
    /// How much of a room's end is told when it is opened.
    pub tail: TailBounds,
    /// What is kept of a room that has no bounds of its own, of what the engine keeps at all.
    pub keep: Keep,
    /// What the thread takes at a time, and for how long it waits.
    pub limits: EngineLimits,
    /// The way to the archive of what the engine lets go of, if there is one.
    pub archive: Option<OlderEnd>,
    /// The size of a ring between a shard and the thread, in words: a power of two.
    pub ring_words: usize,
    /// What is done when the thread panics: it is a defect, and nothing is kept from then on.
    pub on_panic: Arc<dyn Fn() + Send + Sync>,
}

/// Why an engine cannot be started.
#[derive(Debug)]
pub enum StartError {
    /// It is not fit to keep rooms: what is to be changed.
    Unfit(Box<str>),
    /// The system has no thread for it.
    Thread(io::Error),
}

/// An engine that is followed.
pub struct Engine {
    secret: [u8; 32],
    stats: Arc<EngineStats>,
    stop: Arc<Stop>,
    thread: JoinHandle<()>,
}

/// How the thread is told to end.
#[derive(Default)]
struct Stop {
    is_set: AtomicBool,
    wakes: Arc<Notify>,
}

/// Wakes the thread when a shard has something for it.
struct Wakes(Arc<Notify>);

impl Wake for Wakes {
    fn wake(&self) {
        self.0.notify_one();
    }
}

impl Engine {
    /// Connects to an engine, however long that takes, and begins its thread. Returns each shard's
    /// end of it.
    ///
    /// # Errors
    ///
    /// If it is not fit to keep rooms, or the system has no thread.
    ///
    /// # Panics
    ///
    /// If the size of rings is not a power of two.
    pub fn start(start: Start) -> Result<(Self, Vec<EngineLog>), StartError> {
        let mut connector = Connector::new(start.target.clone())
            .map_err(|error| StartError::Unfit(error.into_why()))?;
        let shards = start.shards;
        // Shards have nothing to say to each other here.
        let between = |from, to| if from == shards || to == shards { start.ring_words } else { 1 };
        let mut ports = mesh::connect_with(shards + 1, between);
        let port = ports.pop().expect("the last one is the thread's");
        let stop = Arc::new(Stop::default());
        port.set_waker(Arc::new(Wakes(Arc::clone(&stop.wakes))));
        let stats = Arc::new(EngineStats::default());
        let logs = ports.into_iter().map(|port| {
            let (node, limits) = (start.target.node, start.limits);
            EngineLog::new(port, shards, node, limits, start.archive.is_some())
        });
        let logs = logs.collect();
        let (tells, told) = std::sync::mpsc::channel();
        let (thread_stop, thread_stats) = (Arc::clone(&stop), Arc::clone(&stats));
        let thread = thread::Builder::new().name("engine".to_owned()).spawn(move || {
            let _panics = Panics(Arc::clone(&start.on_panic));
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime of one thread needs an epoll and an eventfd");
            runtime.block_on(async {
                // Nothing is served before there is a connection: no room could be opened.
                let first = line(&connector, Again::new(start.target.node), true).await;
                let secret = first.as_ref().map(|(connection, _)| connection.secret());
                // Whoever starts it may have gone.
                let _ = tells.send(secret.map_err(Clone::clone));
                if let Ok(line) = first {
                    connector.keep_secret(line.0.secret());
                    Turns::new(start, connector, port, thread_stop, thread_stats).run(line).await;
                }
            });
        });
        let thread = thread.map_err(StartError::Thread)?;
        match told.recv() {
            Ok(Ok(secret)) => Ok((Self { secret, stats, stop, thread }, logs)),
            Ok(Err(why)) => Err(StartError::Unfit(why)),
            Err(_) => Err(StartError::Unfit("its thread has ended: see the log".into())),
        }
    }

    /// What all nodes sign by that have no key of their own.
    #[must_use]
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// What it has counted.
    #[must_use]
    pub fn stats(&self) -> &Arc<EngineStats> {
        &self.stats
    }

    /// Asks for all that the shards have said, takes leave of the other nodes, and ends. The shards
    /// must have ended before.
    pub fn stop(self) {
        self.stop.is_set.store(true, Ordering::Release);
        self.stop.wakes.notify_one();
        // A panic was told when it happened.
        let _ = self.thread.join();
    }
}

/// A connection, and what comes from it.
type Line = (Connection, Events);

/// Connects, however long that takes.
///
/// # Errors
///
/// If rooms cannot be kept there, and it is the first connection. A later one goes on where it can
/// as soon as that is mended.
async fn line(connector: &Connector, mut again: Again, is_first: bool) -> Result<Line, Box<str>> {
    loop {
        let (teller, heard) = events(TOLD_BYTES_MAX);
        match connector.connect(teller).await {
            Ok(connection) => return Ok((connection, heard)),
            Err(ConnectError::Unfit(why)) if is_first => return Err(why),
            Err(ConnectError::Unfit(why)) => {
                tracing::error!(%why, "the engine is not fit to keep rooms any more");
            }
            Err(ConnectError::Passing(why)) => {
                tracing::warn!(%why, "the engine cannot be reached, which is waited for");
            }
        }
        time::sleep(again.wait(UNREACHED_MAX)).await;
    }
}

/// The next answer of an archive; never, if there is none, or it has ended.
async fn wait(archive: &mut Option<OlderEnd>) -> Option<Answered> {
    let answered = match archive {
        Some(archive) => archive.wait().await,
        None => None,
    };
    match answered {
        Some(answered) => Some(answered),
        None => future::pending().await,
    }
}

/// The thread's own state.
struct Turns {
    start: Start,
    connector: Connector,
    port: Port,
    stop: Arc<Stop>,
    stats: Arc<EngineStats>,
    began: Instant,
    follower: Follower,
    line: Option<Line>,
    /// When that was made,
    since: Instant,
    /// and when the next one is.
    again: Again,
    /// Why the connection is to end, if it is.
    ended: Option<(Box<str>, Cause)>,
    /// The next connection, while there is none: shards that speak do not begin it anew.
    connecting: Option<JoinSet<Result<Line, Box<str>>>>,
    record: Vec<u8>,
    /// What is not answered yet, by its number, and since when.
    under_way: UnderWay,
}

/// See [`Turns`].
type UnderWay = HashMap<u64, (Op, Instant), ahash::RandomState>;

/// What a follower acts on, in a turn.
struct Wires<'a> {
    port: &'a mut Port,
    stats: &'a EngineStats,
    under_way: &'a mut UnderWay,
    connection: Option<&'a Connection>,
    archive: Option<&'a OlderEnd>,
    ended: &'a mut Option<(Box<str>, Cause)>,
    record: Vec<u8>,
}

impl Ways for Wires<'_> {
    fn ask(&mut self, number: u64, command: Command) {
        if let Some(connection) = self.connection {
            self.stats.count_asked(&command);
            self.under_way.insert(number, (Op::of(&command), Instant::now()));
            connection.send(number, command);
        }
    }

    fn tell(&mut self, shard: u16, message: &FromEngine<'_>) {
        self.record.clear();
        (*message).put(&mut self.record);
        self.port.send(shard, &self.record);
    }

    fn primary_of(&self, topic: &str) -> u16 {
        self.connection.map_or(0, |connection| connection.primary_of(topic))
    }

    fn is_busy(&self, shard: u16) -> bool {
        self.port.waiting_bytes(shard) > MESH_BUSY_BYTES
    }

    fn disconnect(&mut self, why: &str) {
        self.ended.get_or_insert((why.into(), Cause::Other));
    }

    fn ask_archive(&mut self, number: u64, question: Question) -> bool {
        self.archive.is_some_and(|archive| archive.ask(number, question))
    }
}

impl Turns {
    fn new(
        start: Start,
        connector: Connector,
        port: Port,
        stop: Arc<Stop>,
        stats: Arc<EngineStats>,
    ) -> Self {
        let node = Node {
            id: start.target.node,
            shards: start.shards,
            tail: start.tail,
            partitions: start.target.partitions,
            has_archive: start.archive.is_some(),
            keep: start.keep,
            room_s: start.target.room_s,
            limits: start.limits,
        };
        Self {
            start,
            connector,
            port,
            stop,
            stats,
            began: Instant::now(),
            follower: Follower::new(node),
            line: None,
            since: Instant::now(),
            again: Again::new(node.id),
            ended: None,
            connecting: None,
            record: Vec::new(),
            under_way: UnderWay::default(),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Lets the follower act.
    fn act<R>(&mut self, act: impl FnOnce(&mut Follower, &mut Wires<'_>, u64) -> R) -> R {
        let now_ms = self.now_ms();
        let Self { start, port, stats, under_way, line, ended, record, follower, .. } = self;
        let connection = line.as_ref().map(|(connection, _)| connection);
        let (archive, record_taken) = (start.archive.as_ref(), mem::take(record));
        let mut wires =
            Wires { port, stats, under_way, connection, archive, ended, record: record_taken };
        let acted = act(follower, &mut wires, now_ms);
        self.record = wires.record;
        acted
    }

    async fn run(mut self, first: Line) {
        self.connected(first);
        loop {
            let is_busy = self.hear_shards() | self.hear_engine() | self.hear_archive();
            self.end_if_lost();
            let due_ms = self.act(|follower, wires, now_ms| {
                follower.end_turn(wires);
                follower.tick(wires, now_ms)
            });
            self.end_if_lost();
            self.stats.set_waiting(self.follower.rooms_count(), self.follower.waiting_bytes());
            self.stats.set_listed(self.follower.listed_count());
            self.stats.set_counted(self.follower.counted(), self.follower.nodes_count());
            self.stats.set_passed(self.follower.passed());
            self.stats.set_sentinels(self.connector.sentinels_answering());
            let told_bytes = self.line.as_ref().map_or(0, |(_, events)| events.waiting_bytes());
            self.stats.set_told_bytes(told_bytes);
            self.port.end_turn();
            if self.stop.is_set.load(Ordering::Acquire) && !is_busy {
                return self.leave().await;
            }
            if !is_busy && self.port.may_sleep() {
                self.rest(due_ms).await;
                self.port.woke();
            } else {
                // The connection moves bytes only when it is its turn.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Says that this node leaves, and waits until the engine has done all that it was asked.
    async fn leave(mut self) {
        self.act(|follower, wires, _| follower.leave(wires));
        let until = Instant::now() + Duration::from_millis(self.start.limits.timeout_ms);
        while !self.follower.is_idle()
            && let Some((_, events)) = &mut self.line
        {
            match time::timeout_at(until.into(), events.recv()).await {
                Ok(Some(event)) => self.hear_event(event),
                Ok(None) | Err(_) => return,
            }
            self.end_if_lost();
        }
    }

    /// Handles what shards have said. Returns whether there may be more.
    fn hear_shards(&mut self) -> bool {
        let mut record = Vec::new();
        for _ in 0..PER_TURN {
            let Some(shard) = self.port.recv(&mut record) else { return false };
            self.act(|follower, wires, now_ms| {
                follower.hear(wires, now_ms, shard, read_whole(&record));
            });
        }
        true
    }

    /// Handles what came on the connection. Returns whether there may be more.
    fn hear_engine(&mut self) -> bool {
        for _ in 0..PER_TURN {
            let Some((_, events)) = &mut self.line else { return false };
            let Some(event) = events.try_recv() else { return false };
            self.hear_event(event);
        }
        true
    }

    /// Handles what the archive has answered. Returns whether there may be more.
    fn hear_archive(&mut self) -> bool {
        for _ in 0..PER_TURN {
            let Some(archive) = &mut self.start.archive else { return false };
            let Some(answered) = archive.next() else { return false };
            self.archive_said(answered);
        }
        true
    }

    fn archive_said(&mut self, (number, result): Answered) {
        self.act(|follower, wires, _| follower.archive_said(wires, number, result));
    }

    fn hear_event(&mut self, event: Event) {
        match event {
            Event::Answered { number, result } => {
                if let Some((op, since)) = self.under_way.remove(&number) {
                    self.stats.count_answer(op, &result, since.elapsed());
                }
                self.act(|follower, wires, now_ms| {
                    follower.answered(wires, now_ms, number, result);
                });
            }
            Event::Pushed(pushed) => {
                self.stats.count_push();
                self.act(|follower, wires, now_ms| follower.pushed(wires, now_ms, pushed));
            }
            Event::Ended { why, cause } => {
                self.ended.get_or_insert((why, cause));
            }
        }
    }

    /// Waits until there is something to do, and connects meanwhile if that is to be done.
    async fn rest(&mut self, due_ms: u64) {
        let due = self.began + Duration::from_millis(due_ms);
        let wakes = Arc::clone(&self.stop.wakes);
        if let Some((_, events)) = &mut self.line {
            let archive = &mut self.start.archive;
            let (event, answered) = tokio::select! {
                () = wakes.notified() => (None, None),
                () = time::sleep_until(due.into()) => (None, None),
                event = events.recv() => (event, None),
                answered = wait(archive) => (None, answered),
            };
            if let Some(event) = event {
                self.hear_event(event);
            }
            if let Some(answered) = answered {
                self.archive_said(answered);
            }
            return;
        }
        let (connector, again) = (&self.connector, &mut self.again);
        let connecting = self.connecting.get_or_insert_with(|| {
            let (connector, wait) = (connector.clone(), again.wait(SHORT_LIVED_MAX));
            let unreached = again.anew();
            let mut connecting = JoinSet::new();
            connecting.spawn(async move {
                time::sleep(wait).await;
                line(&connector, unreached, false).await
            });
            connecting
        });
        let connected = tokio::select! {
            () = wakes.notified() => return,
            // What waits may have waited for as long as it may.
            () = time::sleep_until(due.into()) => return,
            connected = connecting.join_next() => connected,
        };
        self.connecting = None;
        if let Some(Ok(Ok(line))) = connected {
            self.connected(line);
        }
    }

    fn connected(&mut self, line: Line) {
        let replicas = line.0.facts().iter().map(|facts| self.replicas_of(facts)).collect();
        (self.line, self.since) = (Some(line), Instant::now());
        self.stats.set_up(true);
        self.act(|follower, wires, now_ms| {
            follower.connected(wires, now_ms, Connected { replicas });
        });
    }

    /// How many replicas of a primary must have what is told as kept.
    fn replicas_of(&self, facts: &Facts) -> u32 {
        let Facts { place, branch, replicas, version, is_valkey, has_aof, .. } = facts;
        let name = if *is_valkey { "Valkey" } else { "Redis" };
        tracing::info!(%place, %version, %branch, replicas, has_aof, "connected to {name}");
        let replicas = match self.start.ack {
            Ack::Primary => 0,
            Ack::Auto => (*replicas).min(1),
            Ack::Replicas(count) => count,
        };
        if replicas == 0 && !has_aof {
            tracing::warn!(
                %place,
                "the engine has no replica and no append-only file: if it ends, what was said since \
                 its last snapshot is lost"
            );
        }
        replicas
    }

    /// Ends the connection, if there is a reason to.
    fn end_if_lost(&mut self) {
        let Some((why, cause)) = self.ended.take() else { return };
        tracing::warn!(%why, "the connection to the engine has ended");
        self.stats.count_end(cause);
        self.again.lived(self.since.elapsed());
        if cause == Cause::Closed && self.follower.is_reading() && self.again.is_slow() {
            tracing::warn!(
                "the engine closes each connection while rooms are read: if its log speaks of \
                 output buffer limits, it needs larger ones: CONFIG SET \
                 client-output-buffer-limit \"pubsub 256mb 128mb 60\""
            );
        }
        self.line = None;
        self.under_way.clear();
        self.stats.set_up(false);
        self.act(|follower, wires, _| follower.lost(wires));
    }
}

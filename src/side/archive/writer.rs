//! The writer: a task that writes, as long as this node is the one that does.
//!
//! ```text
//!   lease ── rooms that wait ── read of both ── one transaction ── the engine is told
//! ```
//!
//! Whatever fails is done again later: until then rooms wait in the engine. Another node may reach
//! a database that this one does not, so it gives the lease back.
//!
//! Deliberately absent: what is written of a room (`plan`), and how (`writing`).
//!
//! Called by: `thread`. Calls: `plan`, `writing`, `database`, the engine.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time;

use super::database::{Database, DatabaseError, Line};
use super::plan::{Begin, Place, Plan};
use super::stats::ArchiveStats;
use super::thread::AGAIN;
use super::writing::{Written, forget_before, places, taken_back, write};
use crate::limits::{
    ARCHIVE_BYTES_AT_ONCE, ARCHIVE_LOOK_MS, ARCHIVE_ROOM_MESSAGES_AT_ONCE, ARCHIVE_ROOMS_AT_ONCE,
};
use crate::side::engine::command::Archived;
use crate::side::engine::redis::{Archivist, Known, Part};
use crate::side::engine::{EngineStats, Target};

/// How often what is not needed any more is forgotten.
const FORGET_EVERY: Duration = Duration::from_mins(10);

/// Writes, as long as this node is the one that does.
pub(super) struct Writer {
    target: Target,
    lease_ms: u64,
    engine: Arc<EngineStats>,
    database: Database,
    line: Option<Line>,
    /// The way to the engine, and which of its thread's connections that had then.
    archivist: Option<(u64, Archivist)>,
    /// Whether this node is the one that does.
    has_lease: bool,
    /// When what is not needed any more is forgotten next.
    forget_due: Instant,
    stats: Arc<ArchiveStats>,
}

/// Why a turn of the writer has ended before its end.
enum Broken {
    Engine(Box<str>),
    Database(DatabaseError),
}

impl From<redis::RedisError> for Broken {
    fn from(error: redis::RedisError) -> Self {
        Self::Engine(error.to_string().into())
    }
}

impl From<DatabaseError> for Broken {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl Writer {
    /// One that has not begun.
    pub(super) fn new(
        (target, lease_ms): (Target, u64),
        engine: Arc<EngineStats>,
        (database, line): (Database, Option<Line>),
        stats: Arc<ArchiveStats>,
    ) -> Self {
        let (archivist, has_lease, forget_due) = (None, false, Instant::now());
        Self { target, lease_ms, engine, database, line, archivist, has_lease, forget_due, stats }
    }

    /// Writes, for ever.
    pub(super) async fn run(&mut self) {
        loop {
            let pause = match self.turn().await {
                Ok(()) => Duration::from_millis(ARCHIVE_LOOK_MS),
                Err(broken) => {
                    self.stats.count_failure();
                    self.break_off(broken).await;
                    AGAIN
                }
            };
            time::sleep(pause).await;
        }
    }

    /// Lets go of what has failed. Another node may reach the database.
    async fn break_off(&mut self, broken: Broken) {
        match broken {
            Broken::Engine(why) => {
                tracing::warn!(%why, "the archive cannot be written, for the engine does not answer");
                self.archivist = None;
                self.has_lease = false;
            }
            Broken::Database(error) => {
                tracing::warn!(why = %error.into_why(), "the archive cannot be written");
                self.line = None;
                self.stats.set_up(false);
                self.leave().await;
            }
        }
        self.stats.set_writer(self.has_lease);
    }

    /// Gives the lease back.
    pub(super) async fn leave(&mut self) {
        let timeout = self.timeout();
        if mem::take(&mut self.has_lease)
            && let Some((_, archivist)) = &mut self.archivist
        {
            // It ends by itself.
            let _ = time::timeout(timeout, archivist.leave()).await;
        }
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.target.timeout_ms)
    }

    /// Writes all that waits, if this node is the one that does.
    async fn turn(&mut self) -> Result<(), Broken> {
        if !self.connect().await? || !self.lease().await? {
            self.stats.set_lag(0, 0);
            return Ok(());
        }
        let (mut rooms, mut entries) = (0, 0);
        let waiting = self.ask(async |archivist| {
            let partitions = 0..archivist.partitions();
            archivist.unarchived(partitions, ARCHIVE_ROOMS_AT_ONCE).await
        });
        for topics in waiting.await?.chunks(ARCHIVE_ROOMS_AT_ONCE) {
            // Two writers lock rooms in one order.
            let mut topics = topics.to_vec();
            topics.sort_unstable();
            while !topics.is_empty() {
                if !self.lease().await? {
                    return Ok(());
                }
                let (left, lag) = self.write_some(&topics).await?;
                rooms += topics.len() - left.len();
                entries += lag;
                topics = left;
            }
        }
        self.stats.set_lag(rooms, entries);
        if Instant::now() >= self.forget_due
            && let Some(line) = &self.line
        {
            Line::in_time(line.timeout(), forget_before(&line.client)).await?;
            self.forget_due = Instant::now() + FORGET_EVERY;
        }
        Ok(())
    }

    /// Sees to it that there are both connections. False, while the engine is away.
    async fn connect(&mut self) -> Result<bool, Broken> {
        let lives = self.engine.lives();
        // Whoever is primary is known to the engine's thread.
        if self.archivist.as_ref().is_some_and(|(of, _)| *of != lives) || !self.engine.is_up() {
            (self.archivist, self.has_lease) = (None, false);
        }
        self.stats.set_writer(self.has_lease);
        if !self.engine.is_up() {
            return Ok(false);
        }
        if self.archivist.is_none() {
            let connected = Archivist::connect(self.target.clone()).await;
            let archivist = connected.map_err(|error| Broken::Engine(error.into_why()))?;
            self.archivist = Some((lives, archivist));
        }
        if self.line.as_ref().is_none_or(|line| line.client.is_closed()) {
            self.line = None;
            self.line = Some(self.database.connect().await?);
        }
        self.stats.set_up(true);
        Ok(true)
    }

    /// Asks the engine something, within the time that it may take.
    async fn ask<T>(
        &mut self,
        question: impl AsyncFnOnce(&mut Archivist) -> redis::RedisResult<T>,
    ) -> Result<T, Broken> {
        let timeout = self.timeout();
        let Some((_, archivist)) = &mut self.archivist else {
            return Err(Broken::Engine("there is no connection".into()));
        };
        let answered = time::timeout(timeout, question(archivist)).await;
        let silent = || Broken::Engine("it has not answered in time".into());
        Ok(answered.map_err(|_| silent())??)
    }

    /// Holds the lease, or takes it. Whoever takes it looks at all rooms.
    async fn lease(&mut self) -> Result<bool, Broken> {
        let lease_ms = self.lease_ms;
        let had_lease = self.has_lease;
        self.has_lease = self.ask(async |archivist| archivist.lease(lease_ms).await).await?;
        self.stats.set_writer(self.has_lease);
        if self.has_lease && !had_lease {
            tracing::info!("this server writes the archive");
            let partitions = self.target.partitions;
            for partition in 0..partitions {
                self.ask(async |archivist| archivist.note_all(partition).await).await?;
            }
        }
        Ok(self.has_lease)
    }

    /// Writes rooms. Returns those of which there is more, and how much there was to be written.
    async fn write_some(&mut self, topics: &[Box<str>]) -> Result<(Vec<Box<str>>, u64), Broken> {
        let Some(line) = &self.line else { return Ok((Vec::new(), 0)) };
        let timeout = line.timeout();
        let mut there = Line::in_time(timeout, places(line, topics)).await?;
        let (mut plans, mut lag, mut bytes) = (Vec::new(), 0, 0);
        let (mut left, mut waiting) = (Vec::new(), topics.iter());
        for topic in waiting.by_ref() {
            let Some(part) = self.read_room(topic, &there).await? else { continue };
            let place = there.remove(topic);
            let behind = Begin::of(place.as_ref(), &part.head).behind();
            let top = part.head.top;
            lag += top.offset.saturating_sub(behind.offset);
            lag += top.change.saturating_sub(behind.change);
            let plan = Plan::of(topic, place, &part, self.target.node);
            bytes += plan.bytes();
            plans.push(plan);
            if bytes >= ARCHIVE_BYTES_AT_ONCE {
                break;
            }
        }
        left.extend(waiting.cloned());
        for (plan, written) in self.write_plans(&plans).await? {
            self.note_written(plan, written).await?;
            if plan.is_cut || written == Written::InPart {
                left.push(plan.topic.clone());
            }
        }
        Ok((left, lag))
    }

    /// Reads of a room what the archive does not have.
    async fn read_room(
        &mut self,
        topic: &str,
        there: &HashMap<Box<str>, Place>,
    ) -> Result<Option<Part>, Broken> {
        let head = match self.ask(async |archivist| archivist.head(topic).await).await? {
            Known::Head(head) => head,
            Known::Gone => {
                self.ask(async |archivist| archivist.is_gone(topic).await).await?;
                return Ok(None);
            }
            Known::Foreign => {
                tracing::warn!(topic, "a room is not archived that this version cannot read");
                self.stats.count_failure();
                return Ok(None);
            }
        };
        let place = there.get(topic);
        let begin = Begin::of(place, &head);
        if begin == Begin::Stale {
            tracing::warn!(topic, "the archive is further than the engine that it is written from");
            return Ok(None);
        }
        let others = match (begin, place, &self.line) {
            (Begin::Turned(kept), Some(place), Some(line)) => {
                Line::in_time(line.timeout(), taken_back(line, place, kept)).await?
            }
            _ => Vec::new(),
        };
        let (after, count) = (begin.behind().offset, ARCHIVE_ROOM_MESSAGES_AT_ONCE);
        let part =
            self.ask(async |archivist| archivist.read(topic, after, count, &others).await).await?;
        // It has turned meanwhile: it is read anew the next time.
        Ok(part.filter(|part| Begin::of(place, &part.head) == begin))
    }

    /// Writes rooms together, or, if that fails and one of them may be the reason, one by one.
    /// Returns those that are written.
    async fn write_plans<'p>(
        &mut self,
        plans: &'p [Plan],
    ) -> Result<Vec<(&'p Plan, Written)>, Broken> {
        let all: Vec<&Plan> = plans.iter().collect();
        if all.is_empty() {
            return Ok(Vec::new());
        }
        match self.write_at_once(&all).await {
            Ok(written) => return Ok(written),
            Err(error) if !error.is_of_question() => return Err(error.into()),
            Err(error) => {
                tracing::warn!(why = %error.into_why(), "rooms are archived one by one");
            }
        }
        let mut written = Vec::new();
        for plan in all {
            match self.write_at_once(&[plan]).await {
                Ok(of_room) => written.extend(of_room),
                Err(error) if !error.is_of_question() => return Err(error.into()),
                Err(error) => {
                    self.stats.count_failure();
                    let topic = &*plan.topic;
                    tracing::error!(topic, why = %error.into_why(), "a room is not archived");
                }
            }
        }
        Ok(written)
    }

    async fn write_at_once<'p>(
        &mut self,
        plans: &[&'p Plan],
    ) -> Result<Vec<(&'p Plan, Written)>, DatabaseError> {
        let Some(line) = &mut self.line else { return Ok(Vec::new()) };
        // Each statement has its own time, and there are several for each room.
        let timeout = line.timeout() * 10;
        let written = Line::in_time(timeout, write(line, plans)).await?;
        let plans = plans.iter().copied().zip(written);
        Ok(plans.filter(|(_, written)| *written != Written::No).collect())
    }

    /// Tells the engine, and counts.
    async fn note_written(&mut self, plan: &Plan, written: Written) -> Result<(), Broken> {
        self.stats.count_written(plan.rows.len() as u64);
        let unreadable = plan.unreadable();
        self.stats.count_unreadable(unreadable);
        if plan.gap > 0 {
            self.stats.count_gap(plan.gap);
            let (topic, upto, messages) = (&*plan.topic, plan.upto.offset, plan.gap);
            tracing::error!(
                topic,
                upto,
                messages,
                "the engine has let go of messages that were not archived: they are lost"
            );
        }
        let Plan { epoch, upto, floor, gone, .. } = *plan;
        let of = Archived { epoch, upto, floor };
        // While something is to be deleted, it is not all that it has let go of.
        let deleted = if written == Written::Yes { gone } else { 0 };
        self.ask(async |archivist| archivist.archived(&plan.topic, of, deleted).await).await
    }
}

//! The archive's thread: one task writes, as long as this node is the one that does, and others
//! answer questions.
//!
//! ```text
//!   writer:   lease ── rooms that wait ── read of both ── one transaction ── the engine is told
//!   readers:  question ── database ── reply, or why not
//! ```
//!
//! Whatever fails is tried again later: until then rooms wait in the engine, and questions are
//! refused.
//!
//! Deliberately absent: rings and shards. The engine's thread asks, and is answered.
//!
//! Called by: `app`. Calls: its files, `side::engine`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{io, panic};

use tokio::runtime;
use tokio::sync::Notify;

use super::database::{Database, DatabaseError, Line};
use super::readers;
use super::stats::ArchiveStats;
use super::writer::Writer;
use crate::side::Panics;
use crate::side::engine::older::ArchiveEnd;
use crate::side::engine::{EngineStats, Target};

/// After a failure nothing is tried for so long.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

/// What an archive is started with.
pub struct Start {
    /// Where it is: `postgres://`.
    pub url: Box<str>,
    /// How long connecting may take, and each statement, in milliseconds.
    pub timeout_ms: u64,
    /// The engine that it is of.
    pub target: Target,
    /// For how long a node that writes it is believed to live that does not say so, in
    /// milliseconds.
    pub lease_ms: u64,
    /// What the engine's thread counts: whether there is a connection, and which.
    pub engine: Arc<EngineStats>,
    /// The way to that thread.
    pub end: ArchiveEnd,
    /// What is done when the thread panics: it is a defect.
    pub on_panic: Arc<dyn Fn() + Send + Sync>,
}

/// Why an archive cannot be started.
#[derive(Debug)]
pub enum StartError {
    /// No archive can be kept there: what is to be changed.
    Unfit(Box<str>),
    /// The system has no thread for it.
    Thread(io::Error),
}

/// An archive that is written and read.
pub struct Archive {
    stats: Arc<ArchiveStats>,
    stop: Arc<Stop>,
    thread: JoinHandle<()>,
}

/// How the thread is told to end.
#[derive(Default)]
struct Stop {
    is_set: AtomicBool,
    wakes: Notify,
}

impl Stop {
    /// Waits until it is.
    async fn is_asked(&self) {
        while !self.is_set.load(Ordering::Acquire) {
            self.wakes.notified().await;
        }
    }
}

impl Archive {
    /// Begins the thread. A database that is not there is waited for by that, and by nobody else.
    ///
    /// # Errors
    ///
    /// If the database is there and no archive can be kept in it, its address is none, or the
    /// system has no thread.
    pub fn start(start: Start) -> Result<Self, StartError> {
        let prefix = start.target.prefix.clone();
        let database = Database::parse(&start.url, &prefix, start.timeout_ms);
        let database = database.map_err(StartError::Unfit)?;
        let (stats, stop) = (Arc::new(ArchiveStats::default()), Arc::new(Stop::default()));
        let (tells, told) = std::sync::mpsc::channel();
        let (thread_stats, thread_stop) = (Arc::clone(&stats), Arc::clone(&stop));
        let thread = thread::Builder::new().name("archive".to_owned()).spawn(move || {
            let _panics = Panics(Arc::clone(&start.on_panic));
            let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = tells.send(Err(error.to_string().into()));
                    return;
                }
            };
            runtime.block_on(async {
                let first = match database.connect().await {
                    Ok(line) => Ok(Some(line)),
                    Err(DatabaseError::Unfit(why)) => Err(why),
                    Err(error) => {
                        let why = error.into_why();
                        tracing::warn!(%why, "the archive cannot be reached, which is waited for");
                        Ok(None)
                    }
                };
                // Whoever starts it may have gone.
                let _ = tells.send(first.as_ref().map(|_| ()).map_err(Clone::clone));
                if let Ok(line) = first {
                    run(start, database, line, thread_stats, thread_stop).await;
                }
            });
        });
        let thread = thread.map_err(StartError::Thread)?;
        match told.recv() {
            Ok(Ok(())) => Ok(Self { stats, stop, thread }),
            Ok(Err(why)) => Err(StartError::Unfit(why)),
            Err(_) => Err(StartError::Unfit("its thread has ended: see the log".into())),
        }
    }

    /// What it has counted.
    #[must_use]
    pub fn stats(&self) -> &Arc<ArchiveStats> {
        &self.stats
    }

    /// Lets another node write, and ends. What is not written waits in the engine.
    pub fn stop(self) {
        self.stop.is_set.store(true, Ordering::Release);
        self.stop.wakes.notify_one();
        // A panic was told when it happened.
        let _ = self.thread.join();
    }
}

async fn run(
    start: Start,
    database: Database,
    line: Option<Line>,
    stats: Arc<ArchiveStats>,
    stop: Arc<Stop>,
) {
    let Start { target, lease_ms, engine, end, .. } = start;
    stats.set_up(line.is_some());
    let mut readers = readers::begin(end, &database, &stats);
    let mut writer = Writer::new((target, lease_ms), engine, (database, line), stats);
    tokio::select! {
        () = writer.run() => {}
        // Whatever it was about is done by another node, or in another life.
        () = stop.is_asked() => {}
        ended = readers.join_next() => {
            // A defect, which is told as one of this thread.
            if let Some(Err(error)) = ended && let Ok(cause) = error.try_into_panic() {
                panic::resume_unwind(cause);
            }
        }
    }
    writer.leave().await;
}

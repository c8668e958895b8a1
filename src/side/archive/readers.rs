//! Readers: tasks that answer questions, each with a connection of its own.
//!
//! A database that does not answer is asked by nobody for a moment, so that those who wait are
//! refused at once.
//!
//! Deliberately absent: what is found (`reading`).
//!
//! Called by: `thread`. Calls: `reading`, `database`.

use std::future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;
use tokio::time;

use super::database::{Database, DatabaseError, Line};
use super::reading::find;
use super::stats::ArchiveStats;
use super::thread::AGAIN;
use crate::limits::{ARCHIVE_OLDEST_STATEMENTS, ARCHIVE_READERS};
use crate::link::log::Why;
use crate::side::engine::older::{Answered, ArchiveEnd, Question, Reply, What};

/// How long a reader waits for the writer, which has not seen yet that a room has turned, before it
/// looks again.
const TURNS_LOOK: Duration = Duration::from_millis(50);

/// Begins them.
pub(super) fn begin(
    ArchiveEnd { asked, answers }: ArchiveEnd,
    database: &Database,
    stats: &Arc<ArchiveStats>,
) -> JoinSet<()> {
    let desk = Arc::new(Desk {
        asked: Mutex::new(asked),
        answers,
        database: database.clone(),
        stats: Arc::clone(stats),
        began: Instant::now(),
        down_until_ms: AtomicU64::new(0),
    });
    let mut readers = JoinSet::new();
    for _ in 0..ARCHIVE_READERS {
        readers.spawn(read(Arc::clone(&desk)));
    }
    readers
}

/// What all readers share.
struct Desk {
    asked: Mutex<UnboundedReceiver<(u64, Question)>>,
    answers: UnboundedSender<Answered>,
    database: Database,
    stats: Arc<ArchiveStats>,
    began: Instant,
    /// Until when, in milliseconds since then, nobody tries to connect: it was just tried in vain.
    down_until_ms: AtomicU64,
}

impl Desk {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn is_down(&self) -> bool {
        self.now_ms() < self.down_until_ms.load(Ordering::Relaxed)
    }

    fn note_down(&self) {
        let again_ms = u64::try_from(AGAIN.as_millis()).unwrap_or(u64::MAX);
        self.down_until_ms.store(self.now_ms() + again_ms, Ordering::Relaxed);
    }
}

/// Answers questions, one after another, as long as there are any.
async fn read(desk: Arc<Desk>) {
    let mut line = None;
    loop {
        let asked = desk.asked.lock().await.recv().await;
        let Some((number, question)) = asked else { return future::pending().await };
        let result = answer(&desk, &mut line, &question).await;
        desk.stats.count_read(&result);
        if desk.answers.send((number, result)).is_err() {
            return future::pending().await;
        }
    }
}

async fn answer(desk: &Desk, line: &mut Option<Line>, question: &Question) -> Result<Reply, Why> {
    let failed = |error: DatabaseError| {
        tracing::warn!(why = %error.into_why(), "the archive cannot be read");
        desk.note_down();
        Why::Unavailable
    };
    if desk.is_down() {
        return Err(Why::Unavailable);
    }
    let mut there = match line.take().filter(|line| !line.client.is_closed()) {
        Some(there) => there,
        None => desk.database.connect().await.map_err(failed)?,
    };
    // No home waits for what is too old.
    let statements = match question.what {
        What::Oldest { .. } => ARCHIVE_OLDEST_STATEMENTS,
        What::Page(_) | What::Words(_) => 1,
    };
    let (timeout, began) = (there.timeout(), Instant::now());
    loop {
        let found = Line::in_time(timeout * statements, find(&mut there, question)).await;
        match found {
            Ok(Some(found)) => {
                *line = Some(there);
                return Ok(question.reply(&found));
            }
            // Its writer has not seen that the room has turned.
            Ok(None) if began.elapsed() < timeout => time::sleep(TURNS_LOOK).await,
            Ok(None) => {
                *line = Some(there);
                return Err(Why::Busy);
            }
            Err(error) if error.is_of_question() => {
                tracing::debug!(why = %error.into_why(), "a question to the archive is refused");
                *line = Some(there);
                return Err(Why::Busy);
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

//! The index of words: `search.db`, derived from what is kept, which may be thrown away at any
//! time.
//!
//! ```text
//!   writer ── rooms that were written in ──> IndexQueue ── "store-indexer" ── search.db <── readers
//! ```
//!
//! A room is indexed up to an offset, which is committed with what was indexed. What was said since
//! is found by looking, at the start and whenever the writer has written: nothing of it is kept in
//! the database itself. A file that is damaged, of another version, or of another database is
//! deleted and made anew; readers that meet damage say so.
//!
//! What is deleted in the database is taken out of the index, word by word, which costs the same
//! however large that is. Its log is emptied soon after.
//!
//! The index may know messages that a power cut has taken from the database, whose offsets are then
//! given to others. So the life in which a room was indexed is committed too: what is behind an era
//! that began later is indexed anew.
//!
//! Invariants: a message is found only if a row of the database says it; an offset that is given
//! anew is not taken for one that was indexed; nothing waits for this thread.
//!
//! `indexer` is that thread, `words` is a reader's way in; what they share is here.
//!
//! Called by: `side::store::threads`, `side::store::reader`, `side::store::tools`. Calls:
//! `indexer`, `words`.

mod indexer;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use rusqlite::Connection;

pub(super) use self::indexer::Indexer;
pub(super) use self::words::Words;
use super::disk::remove_if_there;
use super::error::StoreError;

/// The name of the file beside the database.
const FILE: &str = "search.db";

/// Rooms that the index is behind in, and whether there is an index: what the threads share.
#[derive(Debug, Default)]
pub(super) struct IndexQueue {
    rooms: Mutex<BTreeSet<u32>>,
    indexer: OnceLock<Thread>,
    /// Whether this life of the database has begun.
    is_open: AtomicBool,
    /// Counts the files that there were. Readers that have an earlier one open it again.
    file: AtomicU64,
    /// The last of them that a reader has found to be damaged; 0 if there was none.
    damaged: AtomicU64,
    /// Whether all rooms that there were at the start have been indexed.
    is_whole: AtomicBool,
}

impl IndexQueue {
    /// Notes that something was written in rooms.
    pub(super) fn note(&self, rooms: impl IntoIterator<Item = u32>) {
        let mut waiting = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = waiting.is_empty();
        waiting.extend(rooms);
        if was_empty && !waiting.is_empty() {
            self.wake();
        }
    }

    /// Notes that this life of the database has begun: what is indexed is true of a life.
    pub(super) fn open(&self) {
        self.is_open.store(true, Ordering::Release);
        self.wake();
    }

    fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// Wakes the indexer, if it has begun.
    pub(super) fn wake(&self) {
        if let Some(indexer) = self.indexer.get() {
            indexer.unpark();
        }
    }

    /// Which file there is; none, as long as it is not whole.
    pub(super) fn file(&self) -> Option<u64> {
        self.is_whole.load(Ordering::Acquire).then(|| self.file.load(Ordering::Acquire))
    }

    /// Notes that a reader has found a file to be damaged: another one is made.
    pub(super) fn note_damaged(&self, file: u64) {
        self.damaged.fetch_max(file, Ordering::AcqRel);
        if self.is_damaged() {
            self.is_whole.store(false, Ordering::Release);
            self.wake();
        }
    }

    fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire) == self.file.load(Ordering::Acquire)
    }

    fn pop(&self) -> Option<u32> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner).pop_first()
    }

    fn count(&self) -> usize {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Makes the index of a store anew that no server has. `source` reads the database.
///
/// # Errors
///
/// Those of SQLite and of the disk.
pub(super) fn make_anew(folder: &Path, source: Connection) -> Result<(), StoreError> {
    delete(folder)?;
    let (queue, stats) = (Arc::default(), Arc::default());
    Indexer::new((source, Arc::default()), folder, queue, stats, Duration::ZERO).index_all()
}

/// The path of the index in the folder of a store.
pub(in crate::side::store) fn file_in(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// Deletes the index of a store, which is made anew when the store is next opened.
///
/// Whoever puts another database in its place must: offsets that are given anew would be taken for
/// those that were indexed.
///
/// # Errors
///
/// If it is there and cannot be deleted.
pub(super) fn delete(folder: &Path) -> Result<(), StoreError> {
    for ending in ["", "-wal", "-shm"] {
        remove_if_there(&folder.join(format!("{FILE}{ending}")))?;
    }
    Ok(())
}

//! Messages that have the words of a query: a reader's way into the index.
//!
//! Invariants: nothing in a query is syntax; a search ends when the read that it is part of does.
//!
//! Called by: `side::store::reader`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags, params};

use super::{IndexQueue, file_in};
use crate::side::store::error::{Cause, StoreError};
use crate::side::store::reader::Due;

/// After how many steps of SQLite's machine a search looks at the clock: it takes some for each of
/// its pages, in which there are hundreds of messages.
const STEPS_PER_LOOK: i32 = 10;

/// The ids of messages that have all words of a query, the newest first.
///
/// # Errors
///
/// Those of SQLite.
pub(super) fn find(
    index: &Connection,
    query: &str,
    (first, last): (i64, i64),
    limit: u32,
) -> Result<Vec<i64>, StoreError> {
    let Some(words) = words_of(query) else { return Ok(Vec::new()) };
    let sql = "SELECT rowid FROM find WHERE find MATCH ?1 AND rowid BETWEEN ?2 AND ?3 \
               ORDER BY rowid DESC LIMIT ?4";
    let mut hits = index.prepare_cached(sql)?;
    let ids = hits.query_map(params![words, first, last, limit], |row| row.get(0))?;
    ids.collect::<Result<_, _>>().map_err(StoreError::Sqlite)
}

/// A reader's way into the index.
pub(in crate::side::store) struct Words {
    folder: PathBuf,
    queue: Arc<IndexQueue>,
    due: Due,
    /// Which file is open, and it.
    open: Option<(u64, Connection)>,
}

impl Words {
    /// Reads it until `due`.
    pub(in crate::side::store) fn new(folder: &Path, queue: Arc<IndexQueue>, due: Due) -> Self {
        Self { folder: folder.to_owned(), queue, due, open: None }
    }

    /// As [`find`]. None, as long as there is no whole index: it may have been found now that there
    /// is none.
    ///
    /// # Errors
    ///
    /// Those of SQLite, and if it takes too long.
    pub(in crate::side::store) fn find(
        &mut self,
        query: &str,
        range: (i64, i64),
        limit: u32,
    ) -> Result<Option<Vec<i64>>, StoreError> {
        let Some(file) = self.queue.file() else { return Ok(None) };
        match self.index(file).and_then(|index| find(index, query, range, limit)) {
            Err(error) if error.cause() == Cause::Corrupt => {
                tracing::warn!(%error, "the index of words is damaged");
                self.open = None;
                self.queue.note_damaged(file);
                Ok(None)
            }
            found => found.map(Some),
        }
    }

    fn index(&mut self, file: u64) -> Result<&Connection, StoreError> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != file) {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let mut index = Connection::open_with_flags(file_in(&self.folder), flags)?;
            index.pragma_update(None, "query_only", true)?;
            self.due.bound(&mut index, STEPS_PER_LOOK)?;
            self.open = Some((file, index));
        }
        let (_, index) = self.open.as_ref().expect("it is open");
        Ok(index)
    }
}

/// A query as FTS5 takes it: each word a string of its own, so that nothing in it is syntax; of the
/// last one the beginning is enough. None, if there is no word in it.
fn words_of(query: &str) -> Option<String> {
    let is_between = |letter: char| letter.is_whitespace() || letter.is_control();
    let words = query.split(is_between).filter(|word| word.contains(char::is_alphanumeric));
    let words: Vec<_> = words.map(|word| format!("\"{}\"", word.replace('"', "\"\""))).collect();
    (!words.is_empty()).then(|| words.join(" ") + "*")
}

//! The index of words: `search.db`, derived from what is kept, which may be thrown away at any
//! time.
//!
//! ```text
//!   writer ── rooms that were written in ──> Behind ── "store-indexer" ── search.db <── readers
//! ```
//!
//! A room is indexed up to an offset, which is committed with what was indexed. What was said since
//! is found by looking, at the start and whenever the writer has written: nothing of it is kept in
//! the database itself. A file that is damaged, of another version, or of another database is
//! deleted and made anew; readers that meet damage say so.
//!
//! The index may know messages that a power cut has taken from the database, whose offsets are then
//! given to others. So the life in which a room was indexed is committed too: what is behind an era
//! that began later is indexed anew.
//!
//! Invariants: a message is found only if a row of the database says it; an offset that is given
//! anew is not taken for one that was indexed; nothing waits for this thread.
//!
//! Called by: `threads`, `reader`. Calls: `row`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, TransactionBehavior, params};

use super::disk::{Lives, open_private, remove_if_there};
use super::error::{Cause, StoreError};
use super::reader::Due;
use super::row::{OFFSET_MAX, ROOM_MAX, id_of, offset_of};
use super::stats::StoreStats;
use super::writer::top_of;

/// The name of the file beside the database.
const FILE: &str = "search.db";

/// "CHNS": this is an index of Chinwag.
const APPLICATION_ID: i64 = 0x4348_4E53;

/// The number of this version's form. A file of another one is made anew.
const VERSION: i64 = 2;

const SCHEMA: &str = "
    -- of: which database it is of. life: up to which life of that.
    CREATE TABLE meta(of INTEGER NOT NULL, life INTEGER NOT NULL) STRICT;
    -- rowid: the id of the message. The text is in the database.
    CREATE VIRTUAL TABLE find USING fts5(
        body, content='', contentless_delete=1, tokenize='unicode61 remove_diacritics 2'
    );
    -- What lies between is indexed. life: in which life of the database that was found last.
    CREATE TABLE upto(
        room INTEGER PRIMARY KEY, floor INTEGER NOT NULL, offset INTEGER NOT NULL,
        life INTEGER NOT NULL
    ) STRICT;
";

/// How many messages a transaction of the index has at most.
const STEP_MESSAGES: u32 = 1_000;

/// How many rooms are looked at together at the start.
const LOOK_ROOMS: u32 = 1_000;

/// How long the indexer waits once it has been told of something, so that more of it comes
/// together.
const GATHER: Duration = Duration::from_secs(1);

/// How long it waits after a failure of the disk.
const PAUSE: Duration = Duration::from_secs(10);

/// After how many steps of SQLite's machine a search looks at the clock: it takes some for each of
/// its pages, in which there are hundreds of messages.
const STEPS_PER_LOOK: i32 = 10;

/// Rooms that the index is behind in, and whether there is an index: what the threads share.
#[derive(Debug, Default)]
pub(super) struct Behind {
    rooms: Mutex<BTreeSet<u32>>,
    indexer: OnceLock<Thread>,
    /// Counts the files that there were. Readers that have an earlier one open it again.
    file: AtomicU64,
    /// The last of them that a reader has found to be damaged; 0 if there was none.
    damaged: AtomicU64,
    /// Whether all rooms that there were at the start have been indexed.
    is_whole: AtomicBool,
}

impl Behind {
    /// Notes that something was written in rooms.
    pub(super) fn note(&self, rooms: impl IntoIterator<Item = u32>) {
        let mut behind = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = behind.is_empty();
        behind.extend(rooms);
        if was_empty && !behind.is_empty() {
            self.wake();
        }
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

/// The path of the index in the folder of a store.
pub(super) fn file_in(folder: &Path) -> PathBuf {
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

/// The thread that indexes.
pub(super) struct Indexer {
    /// Reads the database.
    source: Connection,
    folder: PathBuf,
    behind: Arc<Behind>,
    stats: Arc<StoreStats>,
    lives: Lives,
    /// The room after the last one that was looked at since the start; none, if all were.
    next_room: Option<u32>,
}

impl Indexer {
    pub(super) fn new(
        source: Connection,
        folder: &Path,
        behind: Arc<Behind>,
        stats: Arc<StoreStats>,
    ) -> Self {
        let (folder, lives) = (folder.to_owned(), Lives::default());
        Self { source, folder, behind, stats, lives, next_room: Some(0) }
    }

    /// Indexes what is written, until it is to stop.
    pub(super) fn run(mut self, stop: &AtomicBool) {
        // Set once: there is one indexer.
        let _ = self.behind.indexer.set(thread::current());
        while !stop.load(Ordering::Acquire) {
            let ended = self.open().and_then(|mut index| self.follow(&mut index, stop));
            if let Err(error) = ended {
                tracing::warn!(%error, "the index of words is made anew");
                self.begin_anew();
                if !matches!(error, StoreError::Contradiction(_)) {
                    thread::park_timeout(PAUSE);
                }
            }
        }
    }

    /// Deletes a file that failed. Searches are refused until another one is whole.
    fn begin_anew(&mut self) {
        self.behind.is_whole.store(false, Ordering::Release);
        self.next_room = Some(0);
        if let Err(error) = delete(&self.folder) {
            tracing::error!(%error, "the index of words cannot be deleted");
        }
    }

    /// Opens the index, and makes it anew if it is not of this database or not of this form.
    pub(super) fn open(&mut self) -> Result<Connection, StoreError> {
        let number = |key| {
            let sql = "SELECT value FROM meta WHERE key = ?1";
            self.source.query_row(sql, [key], |row| row.get::<_, i64>(0))
        };
        let (of, life) = (number("created_at")?, number("life")?);
        self.lives = Lives { now: life, unclean: number("unclean")? };
        let file = file_in(&self.folder);
        let mut index = open_file(&file)?;
        if !is_of(&index, of, life).unwrap_or(false) {
            drop(index);
            delete(&self.folder)?;
            index = open_file(&file)?;
            // It is derived: what a power cut takes is indexed again.
            index.pragma_update(None, "journal_mode", "WAL")?;
            let step = index.transaction_with_behavior(TransactionBehavior::Immediate)?;
            step.execute_batch(SCHEMA)?;
            step.execute("INSERT INTO meta VALUES(?1, ?2)", params![of, life])?;
            // Deleted words are gone from the file when their segments are merged.
            step.execute("INSERT INTO find(find, rank) VALUES('deletemerge', 1)", [])?;
            step.pragma_update(None, "application_id", APPLICATION_ID)?;
            step.pragma_update(None, "user_version", VERSION)?;
            step.commit()?;
        }
        self.forget_rooms(&index)?;
        index.pragma_update(None, "synchronous", "NORMAL")?;
        index.pragma_update(None, "secure_delete", true)?;
        index.execute("UPDATE meta SET life = ?1", [life])?;
        self.behind.file.fetch_add(1, Ordering::Release);
        Ok(index)
    }

    /// Forgets rooms that the database has lost since: their numbers are given anew.
    fn forget_rooms(&self, index: &Connection) -> Result<(), StoreError> {
        let sql = "SELECT coalesce(max(id), 0) FROM room WHERE id <= ?1";
        let last: u32 = self.source.query_row(sql, [ROOM_MAX], |row| row.get(0))?;
        let sql = "DELETE FROM upto WHERE room > ?1 AND life < ?2";
        if index.execute(sql, params![last, self.lives.unclean])? > 0 {
            let sql = "DELETE FROM find WHERE rowid > ?1";
            index.execute(sql, [id_of(last, OFFSET_MAX)])?;
        }
        Ok(())
    }

    /// Indexes what there is, and then what comes.
    fn follow(&mut self, index: &mut Connection, stop: &AtomicBool) -> Result<(), StoreError> {
        while !stop.load(Ordering::Acquire) {
            if self.behind.is_damaged() {
                return Err(StoreError::Contradiction("a reader has found it to be damaged"));
            }
            let room = self.behind.pop();
            self.stats.set_search_lag(self.behind.count());
            if let Some(room) = room {
                if catch_up(&self.source, index, self.lives, room)? {
                    self.behind.note([room]);
                }
            } else if self.next_room.is_some() {
                self.look(index, stop)?;
            } else {
                thread::park();
                if !stop.load(Ordering::Acquire) {
                    thread::park_timeout(GATHER);
                }
            }
        }
        Ok(())
    }

    /// Looks for rooms that the index is behind in, some at a time.
    pub(super) fn look(
        &mut self,
        index: &mut Connection,
        stop: &AtomicBool,
    ) -> Result<(), StoreError> {
        let Some(first) = self.next_room else { return Ok(()) };
        let mut rooms = Vec::new();
        {
            // One beyond what there may be is damaged.
            let sql = "SELECT id FROM room WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3";
            let mut some = self.source.prepare_cached(sql)?;
            let which = params![first, ROOM_MAX, LOOK_ROOMS];
            for id in some.query_map(which, |row| row.get::<_, u32>(0))? {
                rooms.push(id?);
            }
        }
        for id in &rooms {
            self.next_room = Some(*id);
            let mut is_behind = true;
            while is_behind {
                if stop.load(Ordering::Acquire) {
                    return Ok(());
                }
                is_behind = catch_up(&self.source, index, self.lives, *id)?;
            }
        }
        self.next_room = rooms.last().map(|last| last + 1);
        if self.next_room.is_none() {
            self.behind.is_whole.store(true, Ordering::Release);
        }
        Ok(())
    }
}

/// Opens the file of an index, which has the words of others: it is its owner's alone.
fn open_file(file: &Path) -> Result<Connection, StoreError> {
    open_private(file)?;
    Ok(Connection::open(file)?)
}

/// Whether a file is an index of this form, of this database, and of no later life than this one.
fn is_of(index: &Connection, of: i64, life: i64) -> Result<bool, StoreError> {
    let number = |pragma| index.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    if (number("application_id")?, number("user_version")?) != (APPLICATION_ID, VERSION) {
        return Ok(false);
    }
    let found: Option<(i64, i64)> = index
        .query_row("SELECT of, life FROM meta", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(found.is_some_and(|(found, upto)| found == of && upto <= life))
}

/// What is indexed of a room: offsets between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Upto {
    floor: u64,
    offset: u64,
    /// In which life that was found last.
    life: i64,
}

impl Upto {
    fn of(index: &Connection, room: u32) -> Result<Self, StoreError> {
        let sql = "SELECT floor, offset, life FROM upto WHERE room = ?1";
        let had = index.prepare_cached(sql)?.query_row([room], |row| {
            Ok(Self { floor: offset_in(row, 0)?, offset: offset_in(row, 1)?, life: row.get(2)? })
        });
        Ok(had.optional()?.unwrap_or_default())
    }

    /// Up to which offset that is true still. After an end without order the database may have lost
    /// what was indexed, and gives its offsets anew: in an era that began since, or, as long as
    /// there is none, behind the last message. What was let go of may be back as well.
    fn still(
        self,
        look: &Connection,
        lives: Lives,
        room: u32,
        floor: u64,
    ) -> Result<u64, StoreError> {
        if self.life >= lives.unclean {
            return Ok(self.offset);
        }
        if floor < self.floor {
            return Ok(self.offset.min(floor));
        }
        let sql = "SELECT min(first) FROM era WHERE room = ?1 AND life > ?2";
        let first = look
            .prepare_cached(sql)?
            .query_row(params![room, self.life], |row| row.get::<_, Option<i64>>(0))?;
        let last = match first {
            Some(first) => first.cast_unsigned().saturating_sub(1),
            None => top_of(look, room)?.offset,
        };
        Ok(self.offset.min(last))
    }
}

/// An offset behind which there may be another one: if it is damaged, it is not beyond that.
fn offset_in(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.cast_unsigned().min(OFFSET_MAX - 1))
}

/// Indexes some of what was said in a room since it was last indexed, and lets go of what retention
/// has and of what is not true any more. True if there is more.
fn catch_up(
    source: &Connection,
    index: &mut Connection,
    lives: Lives,
    room: u32,
) -> Result<bool, StoreError> {
    // One look: an era and what is said in it come together.
    let look = source.unchecked_transaction()?;
    let row = "SELECT floor FROM room WHERE id = ?1";
    let floor = look.prepare_cached(row)?.query_row([room], |row| offset_in(row, 0)).optional()?;
    let Some(floor) = floor else { return Ok(false) };
    let step = index.transaction()?;
    let had = Upto::of(&step, room)?;
    let still = had.still(&look, lives, room, floor)?;
    let forget = |first, last| -> Result<(), StoreError> {
        let sql = "DELETE FROM find WHERE rowid BETWEEN ?1 AND ?2";
        step.prepare_cached(sql)?.execute(params![id_of(room, first), id_of(room, last)])?;
        Ok(())
    };
    if still < had.offset {
        forget(still + 1, had.offset)?;
    }
    let mut last = still.max(floor);
    let sql = "SELECT id, body FROM message WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3";
    let mut some = look.prepare_cached(sql)?;
    let range = params![id_of(room, last + 1), id_of(room, OFFSET_MAX), STEP_MESSAGES];
    let mut rows = some.query(range)?;
    let mut count = 0;
    loop {
        let row = match rows.next().map_err(StoreError::from) {
            Ok(Some(row)) => row,
            Ok(None) => break,
            // What lies behind a damaged page of the database has no words, and other rooms have.
            Err(error) if error.cause() == Cause::Corrupt => break,
            Err(error) => return Err(error),
        };
        let (id, body) = (row.get::<_, i64>(0)?, row.get_ref(1)?);
        // One that is damaged has no words.
        let text: Option<String> =
            body.as_str().ok().and_then(|body| serde_json::from_str(body).ok());
        if let Some(text) = text {
            let sql = "INSERT OR REPLACE INTO find(rowid, body) VALUES(?1, ?2)";
            step.prepare_cached(sql)?.execute(params![id, text])?;
        }
        (last, count) = (offset_of(id), count + 1);
    }
    if count == 0 && floor == had.floor && still == had.offset {
        return Ok(false);
    }
    if floor > had.floor {
        forget(had.floor, floor)?;
    }
    let sql = "INSERT INTO upto(room, floor, offset, life) VALUES(?1, ?2, ?3, ?4) \
               ON CONFLICT(room) DO UPDATE SET floor = excluded.floor, \
               offset = excluded.offset, life = excluded.life";
    let now = params![room, floor.cast_signed(), last.cast_signed(), lives.now];
    step.prepare_cached(sql)?.execute(now)?;
    step.commit()?;
    Ok(count == STEP_MESSAGES)
}

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
pub(super) struct Words {
    folder: PathBuf,
    behind: Arc<Behind>,
    due: Due,
    /// Which file is open, and it.
    open: Option<(u64, Connection)>,
}

impl Words {
    /// Reads it until `due`.
    pub(super) fn new(folder: &Path, behind: Arc<Behind>, due: Due) -> Self {
        Self { folder: folder.to_owned(), behind, due, open: None }
    }

    /// As [`find`]. None, as long as there is no whole index: it may have been found now that there
    /// is none.
    ///
    /// # Errors
    ///
    /// Those of SQLite, and if it takes too long.
    pub(super) fn find(
        &mut self,
        query: &str,
        range: (i64, i64),
        limit: u32,
    ) -> Result<Option<Vec<i64>>, StoreError> {
        let Some(file) = self.behind.file() else { return Ok(None) };
        match self.index(file).and_then(|index| find(index, query, range, limit)) {
            Err(error) if error.cause() == Cause::Corrupt => {
                tracing::warn!(%error, "the index of words is damaged");
                self.open = None;
                self.behind.note_damaged(file);
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::row::sum_of;
    use super::super::tests::{Folder, said};
    use super::*;

    /// A store with messages in it, and its index.
    struct World {
        folder: Folder,
        source: Connection,
        behind: Arc<Behind>,
    }

    impl World {
        fn new() -> Self {
            let folder = Folder::new();
            drop(folder.open());
            let source = Connection::open(folder.file()).expect("it is there");
            Self { folder, source, behind: Arc::default() }
        }

        fn indexer(&self) -> Indexer {
            let source = Connection::open(self.folder.file()).expect("it is there");
            Indexer::new(source, &self.folder.0, Arc::clone(&self.behind), Arc::default())
        }

        /// Says something in a room, from this offset on.
        fn say(&self, room: u32, first: u64, bodies: &[&str]) {
            let sql = "INSERT OR IGNORE INTO room(id, name, title, founded, created_at) \
                       VALUES(?1, 'room:' || ?1, '', 0, 0)";
            self.source.execute(sql, [room]).expect("a row");
            for (offset, body) in (first..).zip(bodies) {
                let (id, body) = (id_of(room, offset), format!("\"{body}\""));
                let sql = "INSERT INTO message(id, at, user, name, body, sum) VALUES(?1, 1, 'u', 'n', ?2, ?3)";
                let row = params![id, body, sum_of(id, 1, said(&body))];
                self.source.execute(sql, row).expect("a row");
            }
        }

        /// Brings the index up to date.
        fn index(&self) -> Connection {
            self.indexed().1
        }

        fn indexed(&self) -> (Indexer, Connection) {
            let mut indexer = self.indexer();
            let mut index = indexer.open().expect("it opens");
            while indexer.next_room.is_some() {
                indexer.look(&mut index, &AtomicBool::new(false)).expect("it is indexed");
            }
            (indexer, index)
        }

        fn sql(&self, sql: &str) {
            self.source.execute_batch(sql).expect("it is done");
        }

        /// The database ends, without order if a power cut has done this to it, and begins again.
        fn begin_again(&self, done: &str) {
            self.sql("UPDATE meta SET value = value + 1 WHERE key = 'life'");
            if !done.is_empty() {
                let sql = "UPDATE meta SET value = (SELECT value FROM meta WHERE key = 'life') \
                           WHERE key = 'unclean'";
                self.sql(&format!("{done}; {sql}"));
            }
        }

        /// A room is opened, and goes on in another epoch from this offset on.
        fn begin_era(&self, room: u32, first: u64) {
            let sql = "SELECT value FROM meta WHERE key = 'life'";
            let era = "INSERT INTO era(room, first, first_change, epoch, life)";
            self.sql(&format!("{era} VALUES({room}, {first}, 1, 7, ({sql}))"));
        }
    }

    /// The offsets in a room of messages with these words.
    fn offsets(index: &Connection, room: u32, query: &str) -> Vec<u64> {
        let range = (id_of(room, 1), id_of(room, OFFSET_MAX));
        let ids = find(index, query, range, 50).expect("it is asked");
        ids.into_iter().map(offset_of).collect()
    }

    #[test]
    fn words_are_found_in_their_room_the_newest_first() {
        let world = World::new();
        world.say(1, 1, &["Tea at five", "no coffee", "more t\\u00e9a, please", "teapots"]);
        world.say(2, 1, &["tea here too"]);
        let index = world.index();
        for (query, found) in [
            ("tea", &[4, 3, 1][..]),
            ("tea ", &[4, 3, 1]),
            ("TEA please", &[3]),
            ("tea five at", &[1]),
            ("coff", &[2]),
            ("cof fee", &[]),
            ("offee", &[]),
            ("t\u{e9}a", &[4, 3, 1]),
        ] {
            assert_eq!(offsets(&index, 1, query), found, "{query}");
        }
    }

    #[test]
    fn nothing_in_a_query_is_syntax() {
        let world = World::new();
        world.say(1, 1, &["a AND b", "body", "c-d"]);
        let index = world.index();
        for (query, found) in [
            ("\"", &[][..]),
            ("* ) (", &[]),
            ("", &[]),
            ("body:b", &[]),
            ("a OR body", &[]),
            ("NEAR(a b)", &[]),
            ("a AND b", &[1]),
            ("c-d", &[3]),
            ("\"c", &[3]),
            ("^body", &[2]),
            ("a\0AND\u{1}", &[1]),
            ("\0", &[]),
        ] {
            assert_eq!(offsets(&index, 1, query), found, "{query}");
        }
    }

    #[test]
    fn an_index_goes_on_where_it_was_and_in_steps() {
        let world = World::new();
        let many: Vec<_> = (0..STEP_MESSAGES * 2 + 5).map(|n| format!("w{n}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        world.say(7, 1, &many);
        let index = world.index();
        assert_eq!(offsets(&index, 7, "w2004"), [2_005]);
        drop(index);
        world.say(7, 2_006, &["later"]);
        let (indexer, mut index) = world.indexed();
        assert_eq!(offsets(&index, 7, "later"), [2_006]);
        let more = catch_up(&world.source, &mut index, indexer.lives, 7);
        assert!(!more.expect("it is indexed"), "all is there");
    }

    #[test]
    fn an_index_that_is_not_whole_holds_up_no_end() {
        let world = World::new();
        world.say(1, 1, &["tea"]);
        let mut indexer = world.indexer();
        let mut index = indexer.open().expect("it opens");
        let mut look = |stop| {
            indexer.look(&mut index, &AtomicBool::new(stop)).expect("it is indexed");
            (indexer.next_room, offsets(&index, 1, "tea").len())
        };
        assert_eq!(look(true), (Some(1), 0));
        assert_eq!(look(false), (Some(2), 1));
    }

    #[test]
    fn what_retention_has_let_go_of_is_not_found() {
        let world = World::new();
        world.say(1, 1, &["tea", "tea", "tea"]);
        let (indexer, mut index) = world.indexed();
        world.sql("UPDATE room SET floor = 2");
        catch_up(&world.source, &mut index, indexer.lives, 1).expect("it is indexed");
        assert_eq!(offsets(&index, 1, "tea"), [3]);
    }

    #[test]
    fn an_offset_that_a_power_cut_gives_anew_is_indexed_anew() {
        let cut = |upto: u64| {
            let (first, last) = (id_of(1, upto + 1), id_of(1, OFFSET_MAX));
            format!("DELETE FROM message WHERE id BETWEEN {first} AND {last}")
        };
        // Its era may begin before the index is opened or after.
        for is_opened_first in [true, false] {
            let world = World::new();
            world.say(1, 1, &["tea", "tea", "tea", "tea"]);
            world.say(2, 1, &["tea"]);
            world.begin_era(1, 1);
            drop(world.index());
            world.begin_again(&cut(2));
            if !is_opened_first {
                assert_eq!(offsets(&world.index(), 1, "tea"), [2, 1]);
            }
            world.begin_era(1, 3);
            world.say(1, 3, &["mate"]);
            let index = world.index();
            let found = |index: &Connection| ["tea", "mate"].map(|of| offsets(index, 1, of));
            assert_eq!(found(&index), [vec![2, 1], vec![3]], "{is_opened_first}");
            assert_eq!(offsets(&index, 2, "tea"), [1], "another room is as it was");
            // And so in the next lives, with an end in order between them.
            drop(index);
            world.begin_again("");
            world.say(1, 4, &["mate", "mate"]);
            drop(world.index());
            world.begin_again(&cut(4));
            world.begin_era(1, 5);
            world.say(1, 5, &["tea", "tea", "tea"]);
            let (indexer, mut index) = world.indexed();
            assert_eq!(found(&index), [vec![7, 6, 5, 2, 1], vec![4, 3]]);
            let more = catch_up(&world.source, &mut index, indexer.lives, 1);
            assert!(!more.expect("it is indexed"), "all is there");
        }
    }

    #[test]
    fn a_room_whose_number_is_given_anew_and_what_was_let_go_of_and_is_back_are_indexed_anew() {
        let world = World::new();
        world.say(1, 1, &["tea", "tea", "tea"]);
        world.say(2, 1, &["tea", "tea"]);
        world.sql("UPDATE room SET floor = 2 WHERE id = 1");
        drop(world.index());
        world.begin_again(
            "UPDATE room SET floor = 1 WHERE id = 1;
             DELETE FROM room WHERE id = 2; DELETE FROM message WHERE id >> 39 = 2",
        );
        let index = world.index();
        assert_eq!(offsets(&index, 1, "tea"), [3, 2]);
        assert_eq!(offsets(&index, 2, "tea"), [0; 0], "nobody is shown another room's words");
        drop(index);
        world.begin_era(2, 1);
        world.say(2, 1, &["mate"]);
        let index = world.index();
        assert_eq!(["tea", "mate"].map(|of| offsets(&index, 2, of)), [vec![], vec![1]]);
    }

    #[test]
    fn a_damaged_page_of_the_database_takes_words_of_its_room_only() {
        let world = World::new();
        let long = "tea ".repeat(200);
        for room in 1..=3 {
            world.say(room, 1, &[&*long; 20]);
        }
        world
            .source
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .expect("it is moved");
        let file = world.folder.file();
        let mut bytes = fs::read(&file).expect("a file");
        // The page of a message in the middle of the second room: no page is of this type.
        let count = bytes.chunks(4_096).filter(|page| page[0] == 0x0d).count();
        let is_leaf = |page: &&mut [u8]| page[0] == 0x0d;
        let page = bytes.chunks_mut(4_096).filter(is_leaf).nth(count / 2).expect("a page");
        page[0] = 0xff;
        fs::write(&file, bytes).expect("a file");
        let index = world.index();
        let found = [1, 2, 3].map(|room| offsets(&index, room, "tea").len());
        assert_eq!([found[0], found[2]], [20, 20]);
        assert!(found[1] < 20, "{found:?}");
    }

    #[test]
    fn a_search_that_takes_too_long_is_ended() {
        let world = World::new();
        let many: Vec<_> = ["odd", "even"].into_iter().cycle().take(20_000).collect();
        world.say(1, 1, &many);
        drop(world.index());
        let due = Due::default();
        let mut words = Words::new(&world.folder.0, Arc::clone(&world.behind), due.clone());
        let range = (id_of(1, 1), id_of(1, OFFSET_MAX));
        due.begin(60_000);
        // Each has half of them, and none has both.
        let found = words.find("odd even", range, 50).expect("it is asked");
        assert_eq!(found, Some(Vec::new()));
        due.begin(0);
        thread::sleep(Duration::from_millis(2));
        let error = words.find("odd even", range, 50).expect_err("it is late");
        assert!(error.is_late(), "{error}");
        due.begin(60_000);
        assert_eq!(
            words.find("odd", range, 50).expect("it is asked").map(|ids| ids.len()),
            Some(50)
        );
    }

    #[test]
    fn a_file_that_is_damaged_or_of_another_database_is_made_anew() {
        let world = World::new();
        world.say(1, 1, &["tea"]);
        drop(world.index());
        let file = file_in(&world.folder.0);
        fs::write(&file, b"no database").expect("a file");
        assert_eq!(offsets(&world.index(), 1, "tea"), [1]);
        // A database that was restored: it is of an earlier life.
        world.source.execute("UPDATE meta SET value = 0 WHERE key = 'life'", []).expect("a row");
        world.source.execute("DELETE FROM message", []).expect("rows");
        assert_eq!(offsets(&world.index(), 1, "tea"), [0; 0]);
    }
}

//! The thread that indexes what is written, room after room.
//!
//! Invariants: those of [`super`]; a step of the index and how far it came are one transaction.
//!
//! Called by: `side::store::threads`. Calls: `side::store::statements`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Row, Rows, TransactionBehavior, params};

use super::{IndexQueue, delete, file_in};
use crate::limits::STORE_ERASE_AGAIN_MS;
use crate::link::log::Marks;
use crate::side::store::disk::{Lives, checkpoint_all, open_private};
use crate::side::store::error::{Cause, StoreError};
use crate::side::store::gate::Gate;
use crate::side::store::row::{OFFSET_MAX, ROOM_MAX, id_of, offset_of};
use crate::side::store::statements::top_of;
use crate::side::store::stats::StoreStats;

/// "CHNS": this is an index of Chinwag.
const APPLICATION_ID: i64 = 0x4348_4E53;

/// The number of this version's form. A file of another one is made anew.
const VERSION: i64 = 4;

const SCHEMA: &str = "
    -- of: which database it is of. life: up to which life of that.
    CREATE TABLE meta(of INTEGER NOT NULL, life INTEGER NOT NULL) STRICT;
    -- rowid: the id of the message. With its text: without that its words cannot be found again, to
    -- take them out.
    CREATE VIRTUAL TABLE find USING fts5(body, tokenize='unicode61 remove_diacritics 2');
    -- What lies between is indexed, as it was after `change`. life: in which life of the database
    -- that was found last.
    CREATE TABLE upto(
        room INTEGER PRIMARY KEY, floor INTEGER NOT NULL, offset INTEGER NOT NULL,
        change INTEGER NOT NULL, life INTEGER NOT NULL
    ) STRICT;
";

/// How many messages a transaction of the index has at most, and how many it takes out. To take out
/// 30 words is a millisecond, however large the index is.
pub(super) const STEP_MESSAGES: u32 = 1_000;

/// How many rooms are looked at together at the start.
const LOOK_ROOMS: u32 = 1_000;

/// How long the indexer waits once it has been told of something, so that more of it comes
/// together.
const GATHER: Duration = Duration::from_secs(1);

/// How long it waits after a failure of the disk.
const PAUSE: Duration = Duration::from_secs(10);

/// The thread that indexes.
pub(in crate::side::store) struct Indexer {
    /// Reads the database.
    source: Connection,
    /// For each time that it does.
    gate: Arc<Gate>,
    folder: PathBuf,
    queue: Arc<IndexQueue>,
    stats: Arc<StoreStats>,
    pub(super) lives: Lives,
    /// The room after the last one that was looked at since the start; none, if all were.
    pub(super) next_room: Option<u32>,
    /// After how long what was taken out is gone from the log too.
    erase: Duration,
    /// When the log is emptied next; none, if nothing is in it.
    erase_due: Option<Instant>,
}

impl Indexer {
    pub(in crate::side::store) fn new(
        (source, gate): (Connection, Arc<Gate>),
        folder: &Path,
        queue: Arc<IndexQueue>,
        stats: Arc<StoreStats>,
        erase: Duration,
    ) -> Self {
        let (folder, lives) = (folder.to_owned(), Lives::default());
        let (next_room, erase_due) = (Some(0), None);
        Self { source, gate, folder, queue, stats, lives, next_room, erase, erase_due }
    }

    /// Indexes what is written, until it is to stop.
    pub(in crate::side::store) fn run(mut self, stop: &AtomicBool) {
        // Set once: there is one indexer.
        let _ = self.queue.indexer.set(thread::current());
        while !self.queue.is_open() && !stop.load(Ordering::Acquire) {
            thread::park();
        }
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

    /// Indexes all that there is, of a store that nobody writes.
    ///
    /// # Errors
    ///
    /// Those of SQLite and of the disk.
    pub(super) fn index_all(&mut self) -> Result<(), StoreError> {
        let mut index = self.open()?;
        while self.next_room.is_some() {
            self.look(&mut index, &AtomicBool::new(false))?;
        }
        checkpoint_all(&index)?;
        Ok(())
    }

    /// Deletes a file that failed. Searches are refused until another one is whole.
    fn begin_anew(&mut self) {
        self.queue.is_whole.store(false, Ordering::Release);
        self.next_room = Some(0);
        if let Err(error) = delete(&self.folder) {
            tracing::error!(%error, "the index of words cannot be deleted");
        }
    }

    /// Opens the index, and makes it anew if it is not of this database or not of this form.
    pub(in crate::side::store) fn open(&mut self) -> Result<Connection, StoreError> {
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
            // What is deleted is taken out of the pages that have it, at once. Else it would stay
            // until its segment is merged: of an index that is hardly written to, never. To merge
            // for its sake is to write all of the index again for each message.
            step.execute("INSERT INTO find(find, rank) VALUES('secure-delete', 1)", [])?;
            step.pragma_update(None, "application_id", APPLICATION_ID)?;
            step.pragma_update(None, "user_version", VERSION)?;
            step.commit()?;
        }
        self.forget_rooms(&index)?;
        index.pragma_update(None, "synchronous", "NORMAL")?;
        index.pragma_update(None, "secure_delete", true)?;
        index.execute("UPDATE meta SET life = ?1", [life])?;
        self.queue.file.fetch_add(1, Ordering::Release);
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
            if self.queue.is_damaged() {
                return Err(StoreError::Contradiction("a reader has found it to be damaged"));
            }
            self.erase_if_due(index)?;
            let room = self.queue.pop();
            self.stats.set_search_lag(self.queue.count());
            if let Some(room) = room {
                if self.catch_up(index, room)? {
                    self.queue.note([room]);
                }
            } else if self.next_room.is_some() {
                self.look(index, stop)?;
            } else {
                self.rest();
                if !stop.load(Ordering::Acquire) {
                    thread::park_timeout(GATHER);
                }
            }
        }
        // Where this fails, the next life does it.
        let _ = checkpoint_all(index);
        Ok(())
    }

    /// Indexes some of a room: see [`catch_up`].
    fn catch_up(&mut self, index: &mut Connection, room: u32) -> Result<bool, StoreError> {
        let erase = self.erase;
        self.erase_due.get_or_insert_with(|| Instant::now() + erase);
        let _inside = self.gate.enter();
        catch_up(&self.source, index, self.lives, room)
    }

    /// Waits until it is woken, or the log is to be emptied.
    fn rest(&self) {
        match self.erase_due {
            Some(due) => thread::park_timeout(due.saturating_duration_since(Instant::now())),
            None => thread::park(),
        }
    }

    /// Empties the log, if that is due: what was taken out of the index is still there. A search
    /// that is in the way ends in time, and is waited for.
    fn erase_if_due(&mut self, index: &Connection) -> Result<(), StoreError> {
        if self.erase_due.is_some_and(|due| due <= Instant::now()) {
            let is_empty = checkpoint_all(index)?;
            let again = Duration::from_millis(STORE_ERASE_AGAIN_MS);
            self.erase_due = (!is_empty).then(|| Instant::now() + again);
        }
        Ok(())
    }

    /// Looks for rooms that the index is behind in, some at a time.
    pub(in crate::side::store) fn look(
        &mut self,
        index: &mut Connection,
        stop: &AtomicBool,
    ) -> Result<(), StoreError> {
        let Some(first) = self.next_room else { return Ok(()) };
        let mut rooms = Vec::new();
        {
            let _inside = self.gate.enter();
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
                is_behind = self.catch_up(index, *id)?;
            }
        }
        self.next_room = rooms.last().map(|last| last + 1);
        if self.next_room.is_none() {
            self.queue.is_whole.store(true, Ordering::Release);
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
    /// The last change of a message that is indexed.
    change: u64,
    /// In which life that was found last.
    life: i64,
}

impl Upto {
    fn of(index: &Connection, room: u32) -> Result<Self, StoreError> {
        let sql = "SELECT floor, offset, change, life FROM upto WHERE room = ?1";
        let had = index.prepare_cached(sql)?.query_row([room], |row| {
            let (floor, offset) = (offset_in(row, 0)?, offset_in(row, 1)?);
            Ok(Self { floor, offset, change: offset_in(row, 2)?, life: row.get(3)? })
        });
        Ok(had.optional()?.unwrap_or_default())
    }

    /// Notes that of a room.
    fn put(self, index: &Connection, room: u32) -> Result<(), StoreError> {
        let sql = "INSERT INTO upto(room, floor, offset, change, life) VALUES(?1, ?2, ?3, ?4, ?5) \
                   ON CONFLICT(room) DO UPDATE SET floor = excluded.floor, \
                   offset = excluded.offset, change = excluded.change, life = excluded.life";
        let [floor, offset, change] = [self.floor, self.offset, self.change].map(u64::cast_signed);
        index.prepare_cached(sql)?.execute(params![room, floor, offset, change, self.life])?;
        Ok(())
    }

    /// What is left of it behind a step, and which offsets that takes out, where more is to be
    /// taken out than a step may. It stays of its life, in which that is found again.
    fn less_by_a_step(self, still: u64, floor: u64) -> Option<(Self, u64, u64)> {
        let most = u64::from(STEP_MESSAGES);
        if self.offset.saturating_sub(still) > most {
            let offset = self.offset - most;
            return Some((Self { offset, ..self }, offset + 1, self.offset));
        }
        let is_more = floor.min(still).saturating_sub(self.floor) > most;
        let less = Self { floor: self.floor + most, ..self };
        is_more.then_some((less, self.floor + 1, less.floor))
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
        let sql = "SELECT min(first), min(first_change) FROM era WHERE room = ?1 AND life > ?2";
        let firsts = look.prepare_cached(sql)?.query_row(params![room, self.life], |row| {
            Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?))
        })?;
        let before = |first: i64| first.cast_unsigned().saturating_sub(1);
        let last = match firsts {
            (Some(offset), Some(change)) => {
                Marks { offset: before(offset), change: before(change) }
            }
            _ => top_of(look, room)?,
        };
        // Of which message a change was lost is not known.
        Ok(if last.change < self.change { floor } else { self.offset.min(last.offset) })
    }
}

/// An offset behind which there may be another one: if it is damaged, it is not beyond that.
fn offset_in(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.cast_unsigned().min(OFFSET_MAX - 1))
}

/// Indexes some of what was said in a room since it was last indexed, and lets go of what retention
/// has and of what is not true any more. True if there is more.
pub(super) fn catch_up(
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
    if let Some((less, first, last)) = had.less_by_a_step(still, floor) {
        forget(first, last)?;
        less.put(&step, room)?;
        step.commit()?;
        return Ok(true);
    }
    if still < had.offset {
        forget(still + 1, had.offset)?;
    }
    let mut last = still.max(floor);
    let sql = "SELECT id, body FROM message WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3";
    let mut some = look.prepare_cached(sql)?;
    let range = params![id_of(room, last + 1), id_of(room, OFFSET_MAX), STEP_MESSAGES];
    let mut rows = some.query(range)?;
    let mut count = 0;
    while let Some(row) = next_row(&mut rows)? {
        let (id, body) = (row.get::<_, i64>(0)?, row.get_ref(1)?);
        put(&step, id, body.as_str().ok())?;
        (last, count) = (offset_of(id), count + 1);
    }
    drop(rows);
    // What is indexed anew is as it stands.
    let had_change = if still < had.offset { 0 } else { had.change };
    let (change, changed) = reindex(&look, &step, room, had_change, last)?;
    let is_as_it_was = floor == had.floor && still == had.offset && change == had.change;
    if count == 0 && is_as_it_was {
        return Ok(false);
    }
    if floor > had.floor {
        forget(had.floor, floor)?;
    }
    Upto { floor, offset: last, change, life: lives.now }.put(&step, room)?;
    step.commit()?;
    Ok(count == STEP_MESSAGES || changed == STEP_MESSAGES)
}

/// Indexes some of the messages of a room up to an offset that have changed behind a change, as
/// they are now. Returns the last change that is indexed, and how many there were.
fn reindex(
    look: &Connection,
    step: &Connection,
    room: u32,
    behind: u64,
    upto: u64,
) -> Result<(u64, u32), StoreError> {
    let sql = "SELECT id, body, change FROM message WHERE change > ?1 AND change <= ?2 AND id <= ?3 \
               ORDER BY change LIMIT ?4";
    let mut some = look.prepare_cached(sql)?;
    let (last, end) = (id_of(room, OFFSET_MAX), id_of(room, upto));
    let mut rows = some.query(params![id_of(room, behind), last, end, STEP_MESSAGES])?;
    let (mut change, mut count) = (behind, 0);
    while let Some(row) = next_row(&mut rows)? {
        let id = row.get::<_, i64>(0)?;
        let text = row.get_ref(1)?.as_str().ok();
        put(step, id, text)?;
        (change, count) = (offset_of(row.get(2)?), count + 1);
    }
    Ok((change, count))
}

/// The next row. None also where a page of the database is damaged: what lies behind it has no
/// words, and other rooms have.
fn next_row<'r, 's>(rows: &'r mut Rows<'s>) -> Result<Option<&'r Row<'s>>, StoreError> {
    match rows.next().map_err(StoreError::from) {
        Err(error) if error.cause() == Cause::Corrupt => Ok(None),
        row => row,
    }
}

/// Puts the words of a message, which is JSON, in the place of those that it had.
fn put(step: &Connection, id: i64, body: Option<&str>) -> Result<(), StoreError> {
    // One that is damaged has no words, nor has one that was deleted.
    let text: Option<String> = body.and_then(|body| serde_json::from_str(body).ok());
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        let sql = "INSERT OR REPLACE INTO find(rowid, body) VALUES(?1, ?2)";
        step.prepare_cached(sql)?.execute(params![id, text])?;
    } else {
        step.prepare_cached("DELETE FROM find WHERE rowid = ?1")?.execute([id])?;
    }
    Ok(())
}

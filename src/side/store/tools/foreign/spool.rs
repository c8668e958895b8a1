//! The messages of an export until their room is written: an export may have them in any order, and
//! more of them than fit into memory.
//!
//! They are in a database without a name. SQLite keeps that in memory as far as it is small, and
//! else in a file that nobody sees and that goes with the process.
//!
//! What is not to be taken is put in too. So it is counted once, however often it is given.
//!
//! Invariant: a room's messages come out in the order of their times, those of one time as they
//! were put in; each of them once, as the product calls it, in the newest state of it.
//!
//! Deliberately absent: what a message is to have (`lines`).

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Left, Post};
use crate::side::store::error::StoreError;

/// What SQLite keeps in memory of it, in KiB.
const CACHE_KIB: u32 = 8 * 1_024;

/// How many messages are taken out at a time. Each may have much that hangs on it.
const PAGE: u32 = 16;

/// See the module.
pub(super) struct Spool {
    conn: Connection,
    /// How many were put in.
    count: i64,
}

/// What there is of a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) messages: u64,
    /// Of how many of them something has become.
    pub(super) changed: u64,
    /// When the first one was said, in milliseconds of Unix time.
    pub(super) first_ms: Option<u64>,
}

/// Where a message has come to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u64,
    /// The first one of its thread, if it answers another.
    pub(super) thread: Option<u64>,
}

/// How far a room's messages were taken out: before the first of them by default.
#[derive(Clone, Copy, Debug)]
pub(super) struct At(i64, i64);

impl Default for At {
    fn default() -> Self {
        Self(-1, 0)
    }
}

impl Spool {
    pub(super) fn new() -> Result<Self, StoreError> {
        let conn = Connection::open("")?;
        // Nobody reads it again after a failure.
        conn.execute_batch(&format!(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{CACHE_KIB};
             CREATE TABLE post(room INTEGER, at INTEGER, number INTEGER, id TEXT, as_of INTEGER,
                 edited INTEGER, is_changed INTEGER, is_left INTEGER, note TEXT, text TEXT,
                 PRIMARY KEY(room, at, number)) WITHOUT ROWID;
             CREATE UNIQUE INDEX once ON post(room, at, id);
             CREATE TABLE place(id TEXT PRIMARY KEY, offset INTEGER, thread INTEGER) WITHOUT ROWID;
             BEGIN"
        ))?;
        Ok(Self { conn, count: 0 })
    }

    /// Puts a message of a room in. Returns false if it is in already: the same time, and the same
    /// name of the product's. Then the newer state of it stays, or of two alike the first.
    pub(super) fn put(&mut self, room: u32, post: &Post) -> Result<bool, StoreError> {
        let at = bounded(post.at_ms);
        let state = (bounded(post.as_of_ms), bounded(post.edited_ms.unwrap_or_default()));
        let id = Some(&post.id).filter(|id| !id.is_empty());
        let sql = "SELECT number, as_of, edited FROM post WHERE (room, at, id) = (?1, ?2, ?3)";
        let mut statement = self.conn.prepare_cached(sql)?;
        let same = statement.query_row(params![room, at, id], |row| {
            Ok((row.get::<_, i64>(0)?, (row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)))
        });
        let same = same.optional()?;
        if same.is_some_and(|(_, known)| known >= state) {
            return Ok(false);
        }
        self.count += 1;
        let number = same.map_or(self.count, |(number, _)| number);
        let left = post.left();
        let note = left.and_then(|left| match left {
            Left::Empty => None,
            Left::Note(kind) => Some(kind),
        });
        let text = if left.is_some() {
            String::new()
        } else {
            serde_json::to_string(post).map_err(std::io::Error::from)?
        };
        let sql = "INSERT OR REPLACE INTO post VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        self.conn.prepare_cached(sql)?.execute(params![
            room,
            at,
            number,
            id,
            state.0,
            state.1,
            post.is_changed(),
            left.is_some(),
            note,
            text
        ])?;
        Ok(same.is_none())
    }

    /// Gives what of a room is not to be taken: how much it is, by why it is left.
    pub(super) fn each_left(
        &self,
        room: u32,
        mut tell: impl FnMut(Left<'_>, u64),
    ) -> Result<(), StoreError> {
        let sql = "SELECT note, count(*) FROM post WHERE room = ? AND is_left GROUP BY note";
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query([room])?;
        while let Some(row) = rows.next()? {
            let note = row.get_ref(0)?.as_str_or_null().map_err(rusqlite::Error::from)?;
            let count = row.get::<_, i64>(1)?.cast_unsigned();
            tell(note.map_or(Left::Empty, Left::Note), count);
        }
        Ok(())
    }

    /// What of a room is to be taken.
    pub(super) fn totals(&self, room: u32) -> Result<Totals, StoreError> {
        let sql = "SELECT count(*), coalesce(sum(is_changed), 0), min(at) FROM post \
                   WHERE room = ? AND NOT is_left";
        let totals = self.conn.query_row(sql, [room], |row| {
            let first_ms: Option<i64> = row.get(2)?;
            let [messages, changed] = [row.get::<_, i64>(0)?, row.get(1)?].map(i64::cast_unsigned);
            Ok(Totals { messages, changed, first_ms: first_ms.map(i64::cast_unsigned) })
        });
        Ok(totals?)
    }

    /// The next messages of a room, and where to go on; none, if that was all.
    pub(super) fn next(&self, room: u32, at: At) -> Result<(Vec<Post>, At), StoreError> {
        let sql = "SELECT at, number, text FROM post WHERE room = ?1 AND (at, number) > (?2, ?3) \
                   AND NOT is_left ORDER BY at, number LIMIT ?4";
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query(params![room, at.0, at.1, PAGE])?;
        let (mut posts, mut at) = (Vec::new(), at);
        while let Some(row) = rows.next()? {
            at = At(row.get(0)?, row.get(1)?);
            let text = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
            posts.push(serde_json::from_str(text).map_err(std::io::Error::from)?);
        }
        Ok((posts, at))
    }

    /// Notes where a message of the room that is written stands, by what the product calls it.
    pub(super) fn note(&self, id: &str, place: Place) -> Result<(), StoreError> {
        let [offset, thread] =
            [Some(place.offset), place.thread].map(|of| of.map(u64::cast_signed));
        let sql = "INSERT OR REPLACE INTO place VALUES(?1, ?2, ?3)";
        self.conn.prepare_cached(sql)?.execute(params![id, offset, thread])?;
        Ok(())
    }

    /// Where such a message stands, if it was noted.
    pub(super) fn place(&self, id: &str) -> Result<Option<Place>, StoreError> {
        let mut statement =
            self.conn.prepare_cached("SELECT offset, thread FROM place WHERE id = ?")?;
        let place = statement.query_row([id], |row| {
            let thread: Option<i64> = row.get(1)?;
            let offset = row.get::<_, i64>(0)?.cast_unsigned();
            Ok(Place { offset, thread: thread.map(i64::cast_unsigned) })
        });
        Ok(place.optional()?)
    }

    /// Lets go of a room that is written.
    pub(super) fn forget(&self, room: u32) -> Result<(), StoreError> {
        self.conn.execute("DELETE FROM post WHERE room = ?", [room])?;
        self.conn.execute("DELETE FROM place", [])?;
        Ok(())
    }
}

/// A time as a row has it.
fn bounded(unix_ms: u64) -> i64 {
    i64::try_from(unix_ms).unwrap_or(i64::MAX)
}

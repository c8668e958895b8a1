//! What the command line does with a store: copies, exports and checks.
//!
//! ```text
//!   backup ── is there a server? ── yes: it makes the copy (`socket`)
//!                                └─ no:  it is made here
//!   restore ─ a copy in place of the store, without what was taken away since (`reapply`)
//!   export ── lines, by pages: a server may have the store; `html` makes pages of them to read
//!   import ── lines into an empty store, all or nothing; `foreign` makes lines of what other
//!             products export
//!   move ──── rooms, one by one, for an engine
//!   check ─── names each damage
//! ```
//!
//! Invariants: what is given is never changed; a store that a server has is only read.
//!
//! Deliberately absent: arguments, and how results are said (`app`).
//!
//! Called by: `app`. Calls: `side::store::copy`, `side::store::socket`,
//! `side::store::disk`, `side::store::schema`.

mod check;
mod export;
mod foreign;
mod html;
mod import;
mod line;
#[cfg(feature = "engine-redis")]
mod moving;
mod reapply;
mod restore;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

pub use check::{check, index_anew};
pub use export::{Choice, export};
pub use foreign::{Product, import_from};
pub use html::export_html;
pub use import::import;
#[cfg(feature = "engine-redis")]
pub use moving::{Extent, each_room, secret_of};
pub use reapply::Reapplied;
pub use restore::{Restored, restore};

use super::backups::name_by_hand;
use super::copy::{Partial, check_free, copy_all};
use super::disk::{FILE, lock};
use super::error::{Cause, StoreError};
use super::row::{self, EraRow, select_eras, select_rooms};
use super::{schema, socket};

/// How many rows are read at a time, so that no read holds up the log of a server.
const PAGE: u32 = 1_000;

/// After how many steps of SQLite's machine it is asked whether to go on: a moment.
const STEPS_PER_LOOK: i32 = 10_000;

/// How long another process may hold up a read: it opens or closes the store just now.
const WAIT: Duration = Duration::from_secs(5);

/// What is in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The file.
    pub file: PathBuf,
    /// How large it is.
    pub bytes: u64,
    /// How many messages are in it.
    pub messages: u64,
    /// When the newest one was said, in milliseconds of Unix time.
    pub newest_ms: Option<u64>,
}

/// Opens a file that is to be read. An error names it.
///
/// # Errors
///
/// Those of the system call.
pub fn open_named(file: &Path) -> io::Result<File> {
    File::open(file)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))
}

/// So many of something, as people read it: `1 room`, `2 rooms`.
#[must_use]
pub fn counted(count: u64, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// Copies a store, which a server may have, into a file; named by the time, if `to` is a folder, of
/// which copies go that were not finished. The file is on disk, and has been read again, when this
/// returns.
///
/// # Errors
///
/// If there is no store, if there is such a file already, if a server does not do it, if the disk
/// fails, or if what was written is not sound.
pub fn backup(folder: &Path, to: &Path, now_ms: u64) -> Result<Report, StoreError> {
    let store = folder.join(FILE);
    if !store.exists() {
        return Err(StoreError::Absent { file: store });
    }
    let to = if to.is_dir() { to.join(name_by_hand(to, now_ms)?) } else { to.to_owned() };
    check_free(&to)?;
    match lock(folder) {
        Ok(_lock) => {
            let from = open_to_read(&store, Version::UpToThis)?;
            let (partial, mut into) = Partial::begin(&to)?;
            copy_all(&from, &mut into)?;
            drop(into);
            partial.finish()?;
        }
        Err(StoreError::InUse { .. }) => {
            // The server stands in another folder.
            socket::ask(folder, &std::path::absolute(&to)?)?;
        }
        Err(error) => return Err(error),
    }
    inspect(&to, Version::UpToThis)
}

/// Which versions of a file will do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    This,
    UpToThis,
}

/// Opens a file that is a store, to read it.
fn open_to_read(file: &Path, version: Version) -> Result<Connection, StoreError> {
    let absent = || StoreError::Absent { file: file.to_owned() };
    if !file.is_file() {
        return Err(absent());
    }
    let opened = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(file, flags)?;
        conn.busy_timeout(WAIT)?;
        conn.pragma_update(None, "query_only", true)?;
        if schema::check(&conn, file)? {
            return Err(absent());
        }
        let found = schema::version_of(&conn)?;
        if version == Version::This && found < schema::VERSION {
            return Err(StoreError::Older { found, known: schema::VERSION });
        }
        Ok(conn)
    };
    opened().map_err(|error: StoreError| error.in_file(file))
}

/// Reads all of a copy that has just been made, until `is_stopped` says that it is not to. Returns
/// how many messages are in it.
///
/// # Errors
///
/// If it is not sound, or if it was stopped.
pub(super) fn inspect_copy(
    file: &Path,
    is_stopped: impl FnMut() -> bool + Send + 'static,
) -> Result<u64, StoreError> {
    let mut conn = open_to_read(file, Version::This)?;
    conn.progress_handler(STEPS_PER_LOOK, Some(is_stopped))?;
    Ok(inspect_by(&conn, file)?.messages)
}

/// Reads all of a file, and says what is in it.
fn inspect(file: &Path, version: Version) -> Result<Report, StoreError> {
    inspect_by(&open_to_read(file, version)?, file)
}

fn inspect_by(conn: &Connection, file: &Path) -> Result<Report, StoreError> {
    if let Some(what) = damages(conn)?.into_iter().next() {
        return Err(StoreError::Damaged { file: file.to_owned(), what });
    }
    let sql = "SELECT count(*), max(at) FROM message";
    let (messages, newest): (i64, Option<i64>) =
        conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Report {
        file: file.to_owned(),
        bytes: file.metadata()?.len(),
        messages: messages.cast_unsigned(),
        newest_ms: newest.map(i64::cast_unsigned),
    })
}

/// What SQLite finds wrong with a file.
fn damages(conn: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = conn.prepare("PRAGMA integrity_check")?;
    let found = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>();
    match found.map_err(StoreError::from) {
        Ok(found) if found == ["ok"] => Ok(Vec::new()),
        Ok(found) => Ok(found),
        // It may not even get so far as to name what is wrong.
        Err(error) if error.cause() == Cause::Corrupt => Ok(vec![error.to_string()]),
        Err(error) => Err(error),
    }
}

/// An epoch of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Era {
    first: u64,
    first_change: u64,
    epoch: u64,
    life: i64,
    /// Whether it is what was written.
    is_whole: bool,
}

impl Era {
    /// Whether it is behind another one of its room: each life of a server has its own.
    const fn follows(&self, before: &Self) -> bool {
        before.first <= self.first
            && before.first_change <= self.first_change
            && before.life < self.life
    }
}

/// The epochs of a room, the oldest first.
fn eras(conn: &Connection, room: u32) -> Result<Vec<Era>, StoreError> {
    let sql = select_eras!("WHERE room = ?1 ORDER BY first, life");
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([room])?;
    let mut eras = Vec::new();
    while let Some(row) = rows.next()? {
        let era = EraRow::read(row).ok_or(StoreError::Room { id: room, what: "an era" })?;
        let (EraRow { first, first_change, epoch, life, .. }, is_whole) = era;
        let [first, first_change, epoch] = [first, first_change, epoch].map(i64::cast_unsigned);
        eras.push(Era { first, first_change, epoch, life, is_whole });
    }
    Ok(eras)
}

/// The epoch that an offset is in.
fn epoch_of(eras: &[Era], offset: u64) -> Option<u64> {
    eras.iter().rev().find(|era| era.first <= offset).map(|era| era.epoch)
}

/// A row of `room`.
#[derive(Debug)]
struct RoomRow {
    id: u32,
    topic: String,
    title: String,
    founded: i64,
    created_at: i64,
    by: Option<String>,
    settings: Option<String>,
    floor: u64,
    last: u64,
    last_change: u64,
    changed_floor: u64,
    /// Whether it is what was written.
    is_whole: bool,
}

/// The next rooms behind one, in the order of their ids.
fn rooms(conn: &Connection, behind: u32, count: u32) -> Result<Vec<RoomRow>, StoreError> {
    let sql = select_rooms!("WHERE id > ?1 ORDER BY id LIMIT ?2");
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([behind, count])?;
    let mut rooms = Vec::new();
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        let read = row::RoomRow::read(row).ok_or(StoreError::Room { id, what: "its row" })?;
        let (room, is_whole) = read;
        rooms.push(RoomRow {
            id,
            topic: room.topic.to_owned(),
            title: room.title.to_owned(),
            founded: room.founded,
            created_at: room.created_at,
            by: room.by.map(str::to_owned),
            settings: room.settings.map(str::to_owned),
            floor: room.floor.cast_unsigned(),
            last: room.last.cast_unsigned(),
            last_change: room.last_change.cast_unsigned(),
            changed_floor: room.changed_floor.cast_unsigned(),
            is_whole,
        });
    }
    Ok(rooms)
}

//! A backup in place of the store, without what was taken away since.
//!
//! Clients have seen what was said after it. So it counts as the end of a life without order: each
//! room begins a new era when it is next opened, and a cursor beyond the backup is told so.
//!
//! Invariants: whenever the power is cut, the folder has the old store or the new one; the old one
//! stays, under another name.
//!
//! Deliberately absent: how something is taken away again (`reapply`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::reapply::{Reapplied, reapply};
use super::{Report, Version, inspect, open_to_read};
use crate::side::store::copy::{Partial, copy_all};
use crate::side::store::disk::{FILE, Lives, checkpoint_all, lock, made_at, sync_folder};
use crate::side::store::error::StoreError;
use crate::side::store::removed::Removed;
use crate::side::store::{index, schema};

/// What a restore has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What is in the store now.
    pub report: Report,
    /// What was there before, under its new names.
    pub moved: Vec<PathBuf>,
    /// What was taken away from it again.
    pub reapplied: Reapplied,
    /// Since when it is known what was taken away, in milliseconds of Unix time; none, if it is not
    /// known at all.
    pub known_since_ms: Option<u64>,
    /// How many lines of that are not what was written.
    pub damaged_lines: u64,
    /// Which files of that are of another store than the backup: nothing of them is taken away.
    pub of_others: Vec<&'static str>,
}

/// Puts a backup in place of the store, without what was taken away from that since. What was there
/// is called `*.before-STAMP` from then on. `epoch` is a number that nobody can guess.
///
/// # Errors
///
/// If a server has the store, if the file is no sound backup or of a later version, or if the disk
/// fails. Then the store is what it was.
pub fn restore(
    folder: &Path,
    backup: &Path,
    stamp: &str,
    epoch: u64,
) -> Result<Restored, StoreError> {
    // Before the folder may be made.
    inspect(backup, Version::UpToThis)?;
    let _lock = lock(folder)?;
    let store = folder.join(FILE);
    let from = open_to_read(backup, Version::UpToThis)?;
    let (partial, mut into) = Partial::begin(&store)?;
    copy_all(&from, &mut into)?;
    schema::migrate_copy(&mut into)?;
    let removed = Removed::read(folder, Some(made_at(&into)?))?;
    let reapplied = begin_anew(&into, epoch, &removed)?;
    drop((from, into));
    let moved = set_aside(folder, stamp)?;
    index::delete(folder)?;
    partial.replace()?;
    let report = inspect(&store, Version::UpToThis)?;
    let Removed { since_ms: known_since_ms, damaged: damaged_lines, of_others, .. } = removed;
    Ok(Restored { report, moved, reapplied, known_since_ms, damaged_lines, of_others })
}

/// Ends the life that a copy is of, without order, and takes away again what was taken away since.
fn begin_anew(copy: &Connection, epoch: u64, removed: &Removed) -> Result<Reapplied, StoreError> {
    // What is taken away is gone from the file too.
    copy.pragma_update(None, "secure_delete", true)?;
    let step = Transaction::new_unchecked(copy, TransactionBehavior::Immediate)?;
    step.execute("UPDATE meta SET value = 0 WHERE key = 'clean'", [])?;
    let sql = "UPDATE meta SET value = value + 1 WHERE key = 'life' RETURNING value";
    let now = step.query_row(sql, [], |row| row.get(0))?;
    let reapplied = reapply(&step, Lives { now, unclean: now }, epoch, removed)?;
    step.commit()?;
    Ok(reapplied)
}

/// Gives the files of a store second names, and takes away the first ones of all but the database.
fn set_aside(folder: &Path, stamp: &str) -> Result<Vec<PathBuf>, StoreError> {
    let store = folder.join(FILE);
    // What is in its log goes into the database, unless that is what is damaged.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let _ = Connection::open_with_flags(&store, flags)
        .map_err(StoreError::from)
        .and_then(|conn| checkpoint_all(&conn));
    let mut moved = Vec::new();
    for end in ["", "-wal", "-shm"] {
        let mut file = store.clone().into_os_string();
        file.push(end);
        let mut aside = store.clone().into_os_string();
        aside.push(format!(".before-{stamp}{end}"));
        let done = if end.is_empty() {
            // It has its name until the new one takes it.
            fs::hard_link(&file, &aside)
        } else {
            fs::rename(&file, &aside)
        };
        match done {
            Ok(()) => moved.push(aside.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    sync_folder(folder)?;
    Ok(moved)
}

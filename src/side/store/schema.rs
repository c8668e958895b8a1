//! What is in the file, and how a file of an earlier version becomes one of this.
//!
//! Invariants: `user_version` is the number of migrations that were applied, each in a transaction
//! of its own; a migration that was released is never changed.
//!
//! Deliberately absent: going back to an earlier version.

use rusqlite::{Connection, TransactionBehavior};

use super::error::StoreError;

/// "CHNW": this is a database of Chinwag.
const APPLICATION_ID: i64 = 0x4348_4E57;

/// From a file with `n` of them applied to one with `n + 1`.
const MIGRATIONS: &[&str] = &[
    // A message's id is `room.id << 39 | offset`: one B-tree in the order of rooms and of offsets,
    // in which a page, a recovery and what retention lets go of are ranges.
    "
    -- life: counts starts. unclean: the last life that followed an end without order. clean:
    -- whether the last end was in order. guest_secret: signs guests' tokens. created_at: Unix ms.
    CREATE TABLE meta(key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
    -- floor: all offsets up to it have been let go of. last, last_change: lower bounds of what was
    -- given out, so that an emptied room counts on. changed_floor: the greatest change among
    -- messages that were let go of.
    CREATE TABLE room(
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, title TEXT NOT NULL,
        founded INTEGER NOT NULL, created_at INTEGER NOT NULL, by TEXT, settings TEXT,
        floor INTEGER NOT NULL DEFAULT 0, last INTEGER NOT NULL DEFAULT 0,
        last_change INTEGER NOT NULL DEFAULT 0, changed_floor INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    -- Offsets and changes from these on belong to `epoch`, until the next one.
    CREATE TABLE era(
        room INTEGER NOT NULL, first INTEGER NOT NULL, first_change INTEGER NOT NULL,
        epoch INTEGER NOT NULL, life INTEGER NOT NULL, PRIMARY KEY(room, first, life)
    ) STRICT, WITHOUT ROWID;
    -- body: as it stood between the quotes of the JSON, and with them; '' once deleted. key: stays
    -- when deleted, for an outbox that sends it again. sum: over what is served. change:
    -- `room.id << 39 | its latest change`.
    CREATE TABLE message(
        id INTEGER PRIMARY KEY, at INTEGER NOT NULL, user TEXT NOT NULL, name TEXT NOT NULL,
        body TEXT NOT NULL, key TEXT, reply_to INTEGER, thread INTEGER, edited_at INTEGER,
        deleted_at INTEGER, deleted_by TEXT, extra TEXT, sum INTEGER NOT NULL, change INTEGER
    ) STRICT;
    CREATE UNIQUE INDEX changed ON message(change) WHERE change IS NOT NULL;
    ",
];

/// The number of this version's schema.
#[expect(clippy::cast_possible_wrap, reason = "a few")]
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Checks that a file is ours and not of a later version. True for an empty one.
///
/// # Errors
///
/// If it is another program's, of a later version, or cannot be read.
pub(super) fn check(conn: &Connection, file: &std::path::Path) -> Result<bool, StoreError> {
    let number = |pragma| conn.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let (application, found) = (number("application_id")?, number("user_version")?);
    if number("schema_version")? == 0 && application == 0 && found == 0 {
        return Ok(true);
    }
    if application != APPLICATION_ID {
        return Err(StoreError::Foreign { file: file.to_owned() });
    }
    if found > VERSION {
        return Err(StoreError::Newer { found, known: VERSION });
    }
    Ok(false)
}

/// How many migrations were applied to a file.
///
/// # Errors
///
/// Those of SQLite.
pub(super) fn version_of(conn: &Connection) -> Result<i64, StoreError> {
    Ok(conn.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// Brings a file to this version, which [`check`] has found to be ours.
///
/// # Errors
///
/// Those of SQLite; then the file is as it was before the step that failed.
pub(super) fn migrate(conn: &mut Connection) -> Result<(), StoreError> {
    let found: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (number, sql) in (1..).zip(MIGRATIONS).filter(|(number, _)| *number > found) {
        let step = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        step.execute_batch(sql)?;
        step.pragma_update(None, "application_id", APPLICATION_ID)?;
        step.pragma_update(None, "user_version", number)?;
        step.commit()?;
    }
    Ok(())
}

//! What is in the file, and how a file of an earlier version becomes one of this.
//!
//! Invariants: `user_version` is the number of migrations that were applied, each in a transaction
//! of its own; a migration that was released is never changed.
//!
//! Deliberately absent: going back to an earlier version.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior, params};

use super::copy::{Partial, copy_all};
use super::error::StoreError;
use super::row::{EraRow, Message, RoomRow, select_eras, select_rooms};
use crate::limits::STORE_MIGRATE_COPY_BYTES;
use crate::link::said::{Fate, Said};

/// "CHNW": this is a database of Chinwag.
const APPLICATION_ID: i64 = 0x4348_4E57;

/// What fills in what SQL cannot.
type Fill = fn(&Connection) -> Result<(), StoreError>;

/// A step from a version to the next.
#[derive(Clone, Copy)]
struct Migration {
    sql: &'static str,
    /// What is done then, in the same transaction.
    then: Option<Fill>,
}

impl Migration {
    const fn of(sql: &'static str) -> Self {
        Self { sql, then: None }
    }
}

/// From a file with `n` of them applied to one with `n + 1`.
const MIGRATIONS: &[Migration] = &[
    // A message's id is `room.id << 39 | offset`: one B-tree in the order of rooms and of offsets,
    // in which a page, a recovery and what retention lets go of are ranges.
    Migration::of(
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
    ),
    // sum: over all that is in the row, as a message has it.
    Migration {
        sql: "
    ALTER TABLE room ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE era ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
    ",
        then: Some(seal_all),
    },
    // What few messages have. A deleted one has its place and its author, and no more.
    Migration {
        sql: "
    ALTER TABLE message ADD COLUMN mentions TEXT;
    ALTER TABLE message ADD COLUMN data TEXT;
    ALTER TABLE message ADD COLUMN pinned_at INTEGER;
    ALTER TABLE message ADD COLUMN pinned_by TEXT;
    -- thread: the id of its first message.
    CREATE INDEX thread_of ON message(thread, id) WHERE thread IS NOT NULL;
    ",
        then: Some(seal_fates),
    },
    // How users stand in rooms: those of whom something was decided. role: 'member', 'moderator',
    // 'owner'. muted_until, banned_until: Unix ms, 0 if not, 2^63 - 1 for ever. And a room's pinned
    // messages, which its home is told of each time that it is opened.
    Migration::of(
        "
    CREATE TABLE standing(
        room INTEGER NOT NULL, user TEXT NOT NULL, role TEXT, muted_until INTEGER NOT NULL,
        banned_until INTEGER NOT NULL, sum INTEGER NOT NULL, PRIMARY KEY(room, user)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX pinned ON message(id) WHERE pinned_at IS NOT NULL;
    ",
    ),
    // reacted: who has reacted to a message, a line for each emoji, with its users. In the row, so
    // that a message is one thing, whoever reads or copies it. stream: 1 while it grows.
    Migration::of(
        "
    ALTER TABLE message ADD COLUMN reacted TEXT;
    ALTER TABLE message ADD COLUMN stream INTEGER;
    ",
    ),
    // The audit trails of rooms. id: `room.id << 39 | n`, and n from 1 on in each. act: the event
    // that asked for it. message: its offset. text: why, as JSON. asked: what was asked for, as
    // JSON.
    Migration::of(
        "
    CREATE TABLE audit(
        id INTEGER PRIMARY KEY, at INTEGER NOT NULL, act TEXT NOT NULL, by TEXT NOT NULL,
        user TEXT, message INTEGER, text TEXT, asked TEXT, sum INTEGER NOT NULL
    ) STRICT;
    ",
    ),
];

/// How many rows get their checksums at once.
const SEAL_ROWS: u32 = 1_000;

/// Writes the checksums of all rooms and eras, as they are. One whose columns cannot be read gets
/// none, and is damaged.
///
/// # Errors
///
/// Those of SQLite.
pub(super) fn seal_all(conn: &Connection) -> Result<(), StoreError> {
    let mut behind = -1;
    loop {
        let sql = select_rooms!("WHERE id > ?1 ORDER BY id LIMIT ?2");
        let mut statement = conn.prepare_cached(sql)?;
        let found = statement.query_map(params![behind, SEAL_ROWS], |row| {
            Ok((row.get::<_, i64>(0)?, RoomRow::read(row).map(|(room, _)| room.sum())))
        })?;
        let sums = found.collect::<Result<Vec<_>, _>>()?;
        let Some((last, _)) = sums.last() else { break };
        behind = *last;
        let sql = "UPDATE room SET sum = ?2 WHERE id = ?1";
        let mut seal = conn.prepare_cached(sql)?;
        for (id, sum) in &sums {
            if let Some(sum) = sum {
                seal.execute(params![id, sum])?;
            }
        }
    }
    let mut behind = (-1, 0, 0);
    loop {
        let sql = select_eras!(
            "WHERE (room, first, life) > (?1, ?2, ?3) ORDER BY room, first, life LIMIT ?4"
        );
        let mut statement = conn.prepare_cached(sql)?;
        let (room, first, life) = behind;
        let found = statement.query_map(params![room, first, life, SEAL_ROWS], |row| {
            let key = (row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(4)?);
            Ok((key, EraRow::read(row).map(|(era, _)| era.sum())))
        })?;
        let sums = found.collect::<Result<Vec<_>, _>>()?;
        let Some((last, _)) = sums.last() else { return Ok(()) };
        behind = *last;
        let sql = "UPDATE era SET sum = ?4 WHERE room = ?1 AND first = ?2 AND life = ?3";
        let mut seal = conn.prepare_cached(sql)?;
        for ((room, first, life), sum) in &sums {
            if let Some(sum) = sum {
                seal.execute(params![room, first, life, sum])?;
            }
        }
    }
}

/// Writes the checksums of messages that have more than what was said, over all of that. No server
/// has made such before; an import may have.
fn seal_fates(conn: &Connection) -> Result<(), StoreError> {
    // The columns that there are by then, and a NULL for each that `select_messages` has besides.
    let sql = "SELECT id, at, user, name, body, key, reply_to, sum, thread, change, edited_at, \
               deleted_at, deleted_by, pinned_at, pinned_by, mentions, data, NULL, NULL \
               FROM message \
               WHERE thread IS NOT NULL OR edited_at IS NOT NULL OR deleted_at IS NOT NULL \
               OR deleted_by IS NOT NULL OR extra IS NOT NULL OR change IS NOT NULL";
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut sums = Vec::new();
    while let Some(row) = rows.next()? {
        let Some((message, sum)) = Message::read(row) else { continue };
        let said = Said { thread: None, ..message.said };
        // One that is damaged stays so.
        if (Message { said, fate: Fate::default(), ..message }).sum() == sum {
            let is_deleted = message.fate.deleted.is_some();
            let body = if is_deleted { "\"\"" } else { message.said.body };
            let said = Said { body, ..message.said };
            sums.push((message.id, is_deleted, Message { said, ..message }.sum()));
        }
    }
    let sql =
        "UPDATE message SET body = iif(?2, '\"\"', body), extra = NULL, sum = ?3 WHERE id = ?1";
    let mut seal = conn.prepare(sql)?;
    for (id, is_deleted, sum) in sums {
        seal.execute(params![id, is_deleted, sum])?;
    }
    Ok(())
}

/// The number of this version's schema.
#[expect(clippy::cast_possible_wrap, reason = "a few")]
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Checks that a file is ours and not of a later version. True for an empty one.
///
/// # Errors
///
/// If it is another program's, of a later version, or cannot be read.
pub(super) fn check(conn: &Connection, file: &Path) -> Result<bool, StoreError> {
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

/// Brings a file to this version, which [`check`] has found to be ours. Before the first step there
/// is a copy of it beside it, called by its number; of a very large one only if `copies_large`.
///
/// # Errors
///
/// Those of SQLite; then the file is as it was before the step that failed.
pub(super) fn migrate(
    conn: &mut Connection,
    file: &Path,
    copies_large: bool,
) -> Result<(), StoreError> {
    let copied_bytes = if copies_large { u64::MAX } else { STORE_MIGRATE_COPY_BYTES };
    migrate_by(MIGRATIONS, conn, file, copied_bytes)
}

/// Up to `copied_bytes` a file is copied before it is migrated.
fn migrate_by(
    migrations: &[Migration],
    conn: &mut Connection,
    file: &Path,
    copied_bytes: u64,
) -> Result<(), StoreError> {
    let found = version_of(conn)?;
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    if found > 0 && found < known {
        let bytes = file.metadata()?.len();
        if bytes < copied_bytes {
            keep_copy(conn, file, found)?;
        } else {
            tracing::warn!(found, bytes, "the store is migrated without a copy: it is large");
        }
    }
    apply(migrations, conn, found)
}

/// Brings a copy to this version, which [`check`] has found to be ours. Nobody needs it as it was.
///
/// # Errors
///
/// Those of SQLite.
pub(super) fn migrate_copy(conn: &mut Connection) -> Result<(), StoreError> {
    let found = version_of(conn)?;
    apply(MIGRATIONS, conn, found)
}

/// Applies the steps behind the first `found`.
fn apply(migrations: &[Migration], conn: &mut Connection, found: i64) -> Result<(), StoreError> {
    let steps = (1..).zip(migrations).filter(|(number, _)| *number > found);
    for (number, Migration { sql, then }) in steps {
        let step = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        step.execute_batch(sql)?;
        if let Some(then) = then {
            then(&step)?;
        }
        step.pragma_update(None, "application_id", APPLICATION_ID)?;
        step.pragma_update(None, "user_version", number)?;
        step.commit()?;
    }
    Ok(())
}

/// Copies a file, as it is before it is migrated, to `<file>.v<found>`.
///
/// The store goes on from there, and so may whoever opens the copy: to that one the life that it is
/// of has ended without order, so that each room begins a new era.
fn keep_copy(conn: &Connection, file: &Path, found: i64) -> Result<(), StoreError> {
    let mut copy = file.as_os_str().to_owned();
    copy.push(format!(".v{found}"));
    let copy = Path::new(&copy);
    let (partial, mut into) = Partial::begin(copy)?;
    copy_all(conn, &mut into)?;
    into.execute("UPDATE meta SET value = 0 WHERE key = 'clean'", [])?;
    drop(into);
    // An earlier one was of a migration that has failed: this is newer.
    partial.replace()?;
    tracing::info!(found, copy = %copy.display(), "the store is copied before it is migrated");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::*;
    use crate::side::store::disk::remove_if_there;
    use crate::side::store::tests::{Folder, Home};

    const NEXT: &str = "ALTER TABLE room ADD COLUMN colour TEXT";

    /// The migrations that there are, and these.
    fn and(more: &[&'static str]) -> Vec<Migration> {
        let more = more.iter().map(|sql| Migration::of(sql));
        MIGRATIONS.iter().copied().chain(more).collect()
    }

    /// The copy from before a migration of this many.
    fn copy(folder: &Folder, version: i64) -> PathBuf {
        folder.0.join(format!("chat.db.v{version}"))
    }

    fn versions(folder: &Folder) -> (i64, i64) {
        let of = |file: &Path| version_of(&Connection::open(file).unwrap()).unwrap();
        (of(&folder.file()), of(&copy(folder, VERSION)))
    }

    /// A store of this version, closed.
    fn filled() -> Folder {
        let folder = Folder::new();
        let (_, writer) = folder.open();
        let mut home = Home::new(writer);
        home.open(1, 50);
        home.say(1, 0, &["\"a\""]);
        home.writer.close().unwrap();
        folder
    }

    #[test]
    fn each_step_is_whole_or_not_done_and_what_was_there_before_the_first_is_kept() {
        let folder = filled();
        let mut conn = Connection::open(folder.file()).unwrap();
        let count = |conn: &Connection, sql| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
        let bad = "CREATE TABLE half(x); INSERT INTO none VALUES(1)";
        let steps = and(&[NEXT, bad]);
        migrate_by(&steps, &mut conn, &folder.file(), u64::MAX).expect_err("the third fails");
        assert_eq!(versions(&folder), (VERSION + 1, VERSION));
        assert_eq!(count(&conn, "SELECT count(colour) FROM room"), Ok(0), "the second is done");
        assert!(count(&conn, "SELECT count(*) FROM half").is_err(), "nothing of the third is");
        let before = Connection::open(copy(&folder, VERSION)).unwrap();
        assert_eq!(count(&before, "SELECT count(*) FROM message"), Ok(1));
        assert!(count(&before, "SELECT count(colour) FROM room").is_err());
        let mode = fs::metadata(copy(&folder, VERSION)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "it is for its owner alone: {mode:o}");

        // Once it is mended it goes on from there.
        let steps = and(&[NEXT, "CREATE TABLE half(x)"]);
        migrate_by(&steps, &mut conn, &folder.file(), u64::MAX).unwrap();
        assert_eq!(versions(&folder), (VERSION + 2, VERSION));
        assert!(copy(&folder, VERSION + 1).exists());
        let partial = format!("chat.db.v{}.partial", VERSION + 1);
        assert!(!folder.0.join(partial).exists());
        assert_eq!(count(&conn, "SELECT count(*) FROM message"), Ok(1));
    }

    #[test]
    fn in_a_copy_that_is_opened_each_room_begins_a_new_epoch() {
        let folder = filled();
        let mut conn = Connection::open(folder.file()).unwrap();
        migrate_by(&and(&[NEXT]), &mut conn, &folder.file(), u64::MAX).unwrap();
        drop(conn);
        for log in ["chat.db-wal", "chat.db-shm"] {
            remove_if_there(&folder.0.join(log)).unwrap();
        }
        fs::rename(copy(&folder, VERSION), folder.file()).unwrap();
        let (_, writer) = folder.open();
        Home::new(writer).open(1, 51);
        let conn = Connection::open(folder.file()).unwrap();
        let sql = "SELECT group_concat(epoch ORDER BY first) FROM era";
        let epochs: String = conn.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(epochs, "50,51", "what follows was said otherwise in the file it is a copy of");
    }

    #[test]
    fn a_large_file_is_copied_only_if_that_is_asked_for() {
        for (copied_bytes, is_copied) in [(1, false), (u64::MAX, true)] {
            let folder = filled();
            let mut conn = Connection::open(folder.file()).unwrap();
            migrate_by(&and(&[NEXT]), &mut conn, &folder.file(), copied_bytes).unwrap();
            assert_eq!(version_of(&conn).unwrap(), VERSION + 1);
            assert_eq!(copy(&folder, VERSION).exists(), is_copied, "{copied_bytes}");
        }
    }

    #[test]
    fn without_the_copy_nothing_is_migrated_and_no_part_of_one_stays() {
        let folder = filled();
        fs::create_dir(copy(&folder, VERSION)).unwrap();
        let mut conn = Connection::open(folder.file()).unwrap();
        let steps = and(&[NEXT]);
        migrate_by(&steps, &mut conn, &folder.file(), u64::MAX).expect_err("its name is taken");
        assert_eq!(version_of(&conn).unwrap(), VERSION);
        assert!(!folder.0.join(format!("chat.db.v{VERSION}.partial")).exists());
    }

    #[test]
    fn a_file_that_is_up_to_date_is_not_copied() {
        let folder = filled();
        drop(folder.open());
        assert!(!copy(&folder, VERSION).exists());
        assert!(!copy(&folder, 0).exists(), "nor one that is made");
    }
}

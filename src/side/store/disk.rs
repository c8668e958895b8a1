//! The folder of a store: made, locked, opened, and what its last end was like.
//!
//! Each start is a *life*. After an end without order (`kill -9`, power), members may have seen
//! messages that were not kept, so each room begins a new era when it is next opened: see
//! `writer`. After an orderly end rooms go on as they were.
//!
//! That a life begins is noted in the file, which takes some space. On a disk that is full the
//! store is open all the same, and failing: the writer begins the life when there is space.
//!
//! Invariants: 1 of [`super`]; the lock is held as long as the connections are.
//!
//! Called by: `app`, and the threads of the store. Calls: `schema`, `writer`, `reader`.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{
    Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params,
};

use super::error::{Cause, StoreError};
use super::gate::Gate;
use super::index::{IndexQueue, Indexer, Words};
use super::place::Place;
use super::reader::{Due, Reader};
use super::removed::RemovedLog;
use super::schema;
use super::space::free_bytes;
use super::stats::StoreStats;
use super::writer::NewWriter;
use crate::limits::STORE_ROOMS;

/// The least SQLite that does not corrupt its log when two connections checkpoint at once.
const SQLITE_MIN: i32 = 3_051_003;

/// The name of the database in its folder.
pub(super) const FILE: &str = "chat.db";

/// The name of the lock in its folder.
const LOCK: &str = "lock";

/// To what length the log is cut when it begins anew, in bytes: 16 MiB.
const WAL_BYTES_KEPT: i64 = 16 * 1_024 * 1_024;

/// Where a store is, and how much memory it may use.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder. It is made, for its owner alone, if it is not there.
    pub path: PathBuf,
    /// Pages that the writer keeps, in bytes.
    pub writer_cache_bytes: usize,
    /// Pages that each reader keeps, in bytes.
    pub reader_cache_bytes: usize,
    /// Whether messages can be found by their words, beyond what is in memory.
    pub search: bool,
    /// How many rooms there may be. Those that are open when there are as many may still begin.
    pub rooms_max: u32,
    /// Whether a very large store is copied too before it is migrated.
    pub migrate_backup: bool,
    /// How much of the disk that a folder is on is free, in bytes.
    pub free_bytes: fn(&Path) -> io::Result<u64>,
}

impl Options {
    /// With the sizes that are measured well.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        const MIB: usize = 1_024 * 1_024;
        Self {
            path: path.into(),
            writer_cache_bytes: 16 * MIB,
            reader_cache_bytes: 8 * MIB,
            search: true,
            rooms_max: STORE_ROOMS,
            migrate_backup: false,
            free_bytes,
        }
    }
}

/// A store that is open and locked.
#[derive(Debug)]
pub(super) struct Disk {
    options: Options,
    guest_secret: [u8; 32],
    index_queue: Arc<IndexQueue>,
    gate: Arc<Gate>,
    /// Held as long as any connection.
    lock: Arc<File>,
}

/// What the file says of its lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lives {
    /// This one: 1 for the first.
    pub(super) now: i64,
    /// The last one that followed an end without order; 0 if there was none.
    pub(super) unclean: i64,
}

impl Disk {
    /// Opens a store, and makes it if it is not there. `made_secret` is for a store that has none
    /// yet. The writer is the only one there may ever be.
    ///
    /// # Errors
    ///
    /// If another process has it, if it is not ours or of a later version, or if the disk fails.
    pub(super) fn open(
        options: Options,
        made_secret: &[u8; 32],
        now_ms: u64,
    ) -> Result<(Self, NewWriter), StoreError> {
        let file = options.path.join(FILE);
        Self::open_file(options, &file, made_secret, now_ms).map_err(|error| error.in_file(&file))
    }

    fn open_file(
        options: Options,
        file: &Path,
        made_secret: &[u8; 32],
        now_ms: u64,
    ) -> Result<(Self, NewWriter), StoreError> {
        let version = rusqlite::version_number();
        if version < SQLITE_MIN {
            return Err(StoreError::OldSqlite { version });
        }
        let lock = Arc::new(lock(&options.path)?);
        open_private(file)?;
        let mut conn = Connection::open_with_flags(
            file,
            OpenFlags::SQLITE_OPEN_READ_WRITE
                | OpenFlags::SQLITE_OPEN_CREATE
                | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        if schema::check(&conn, file)? {
            // Only an empty file takes this.
            conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        }
        conn.pragma_update(None, "journal_mode", "WAL")?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        // Nobody else writes, and for readers it does not wait.
        conn.busy_timeout(Duration::ZERO)?;
        // Checkpoints are the writer's own: see there.
        conn.pragma_update(None, "wal_autocheckpoint", 0)?;
        leave_log_at_close(&conn)?;
        conn.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
        conn.pragma_update(None, "secure_delete", true)?;
        conn.pragma_update(None, "cache_size", cache_size(options.writer_cache_bytes))?;
        // A log that has seen a failed sync is never appended to, and its end is not remembered.
        let emptied = match checkpoint_all(&conn) {
            Err(error) if error.cause() != Cause::Full => return Err(error),
            emptied => emptied,
        };
        schema::migrate(&mut conn, file, options.migrate_backup)?;
        let life = NewLife { folder: options.path.clone(), made_secret: *made_secret, now_ms };
        let begun = emptied.and_then(|_| life.begin(&conn));
        let life = match begun {
            Ok(life) => Ok(life),
            // It is whole, and there may be space again.
            Err(error) if error.cause() == Cause::Full && secret_in(&conn).is_ok() => {
                Err((life, error))
            }
            Err(error) => return Err(error),
        };
        let guest_secret = secret_in(&conn)?;
        // SQLite syncs the folder for its log, not for the database or the folder itself.
        for folder in [Some(&*options.path), options.path.parent()].into_iter().flatten() {
            sync_folder(folder)?;
        }
        let place = Place::of(files_in(&options.path))?;
        let rooms_max = options.rooms_max;
        let writer = NewWriter::new(conn, life, rooms_max, place, Arc::clone(&lock))?;
        let (index_queue, gate) = (Arc::default(), Arc::default());
        Ok((Self { options, guest_secret, index_queue, gate, lock }, writer))
    }

    /// Another connection, which can only read.
    ///
    /// # Errors
    ///
    /// Those of SQLite.
    pub(super) fn reader(&self) -> Result<Reader, StoreError> {
        let due = Due::default();
        let words = Words::new(&self.options.path, Arc::clone(&self.index_queue), due.clone());
        Reader::new(self.open_to_read()?, words, due, Arc::clone(&self.lock))
    }

    fn open_to_read(&self) -> Result<Connection, StoreError> {
        let conn = Connection::open_with_flags(
            self.options.path.join(FILE),
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        leave_log_at_close(&conn)?;
        conn.pragma_update(None, "query_only", true)?;
        conn.pragma_update(None, "cache_size", cache_size(self.options.reader_cache_bytes))?;
        Ok(conn)
    }

    /// Whether there is an index of words.
    pub(super) fn has_index(&self) -> bool {
        self.options.search
    }

    /// What the writer, the indexer and readers share.
    pub(super) fn index_queue(&self) -> &Arc<IndexQueue> {
        &self.index_queue
    }

    /// What all go through that read.
    pub(super) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// What indexes the words of this store. What it takes out is gone from its log after `erase`.
    ///
    /// # Errors
    ///
    /// Those of SQLite.
    pub(super) fn indexer(
        &self,
        stats: Arc<StoreStats>,
        erase: Duration,
    ) -> Result<Indexer, StoreError> {
        let (queue, gate) = (Arc::clone(&self.index_queue), Arc::clone(&self.gate));
        let source = (self.open_to_read()?, gate);
        Ok(Indexer::new(source, &self.options.path, queue, stats, erase))
    }

    /// Signs guests' tokens, and is the same in each life.
    pub(super) fn guest_secret(&self) -> &[u8; 32] {
        &self.guest_secret
    }
}

/// The database in a folder, and its log.
pub(super) fn files_in(folder: &Path) -> Vec<PathBuf> {
    [String::from(FILE), format!("{FILE}-wal")].map(|name| folder.join(name)).into()
}

/// Whoever closes the file last leaves its log as it is: where the file is another one by then,
/// what was kept is only there. What is closed in order has emptied it before.
fn leave_log_at_close(conn: &Connection) -> Result<(), StoreError> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(())
}

/// Syncs the names in a folder. None is the present one.
pub(super) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    Ok(File::open(folder)?.sync_all()?)
}

/// Makes a folder for its owner alone, if there is none.
pub(super) fn make_folder(folder: &Path) -> Result<(), StoreError> {
    Ok(DirBuilder::new().recursive(true).mode(0o700).create(folder)?)
}

/// Makes a folder, and locks it against other processes.
pub(super) fn lock(folder: &Path) -> Result<File, StoreError> {
    make_folder(folder)?;
    let file = open_private(&folder.join(LOCK))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { folder: folder.to_owned() }),
        Err(TryLockError::Error(error)) => Err(StoreError::Io(error)),
    }
}

/// Opens a file, which is made, empty and for its owner alone, if there is none: a folder that was
/// there before may be open to others. SQLite gives its log the mode of the database.
pub(super) fn open_private(file: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    Ok(options.write(true).create(true).truncate(false).mode(0o600).open(file)?)
}

/// Removes a file, if there is one.
pub(super) fn remove_if_there(file: &Path) -> Result<(), StoreError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// As SQLite counts it: negative, in KiB.
fn cache_size(bytes: usize) -> i64 {
    -i64::try_from(bytes / 1_024).unwrap_or(i64::MAX)
}

/// Writes all that is committed into the database, syncs it, and empties the log. False if a reader
/// was in the way.
pub(super) fn checkpoint_all(conn: &Connection) -> Result<bool, StoreError> {
    let is_busy: bool = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    Ok(!is_busy)
}

/// A life that has begun.
#[derive(Default)]
pub(super) struct Life {
    /// Which one it is.
    pub(super) lives: Lives,
    /// Where what is taken away in it is noted. None, before it has begun.
    pub(super) removed: Option<RemovedLog>,
}

/// A life that is to begin.
pub(super) struct NewLife {
    /// Where the store is.
    folder: PathBuf,
    /// Signs guests' tokens, in a store that has no secret yet.
    made_secret: [u8; 32],
    /// Unix time, in milliseconds.
    now_ms: u64,
}

impl NewLife {
    /// Counts it, and notes how the last one ended. Before that nothing is written in it.
    ///
    /// # Errors
    ///
    /// Those of SQLite and of the disk; then it has not begun.
    pub(super) fn begin(&self, conn: &Connection) -> Result<Life, StoreError> {
        let step = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
        let number = |key| {
            let sql = "SELECT value FROM meta WHERE key = ?1";
            let found = step.query_row(sql, [key], |row| row.get::<_, i64>(0)).optional();
            found.map(Option::unwrap_or_default)
        };
        let last = number("life")?;
        let now = last.checked_add(1).ok_or(rusqlite::Error::IntegralValueOutOfRange(0, last))?;
        let is_clean = now == 1 || number("clean")? == 1;
        let unclean = if is_clean { number("unclean")? } else { now };
        let put = "INSERT INTO meta(key, value) VALUES(?1, ?2) ON CONFLICT(key) DO ";
        let replace = format!("{put} UPDATE SET value = excluded.value");
        for (key, value) in [("life", now), ("unclean", unclean), ("clean", 0)] {
            step.execute(&replace, params![key, value])?;
        }
        let keep = format!("{put} NOTHING");
        let now_ms = i64::try_from(self.now_ms).unwrap_or(i64::MAX);
        step.execute(&keep, params!["created_at", now_ms])?;
        step.execute(&keep, params!["guest_secret", self.made_secret])?;
        let mut removed = RemovedLog::open(&self.folder, made_at(&step)?, self.now_ms)?;
        if !is_clean {
            removed.settle(&step)?;
        }
        step.commit()?;
        Ok(Life { lives: Lives { now, unclean }, removed: Some(removed) })
    }
}

/// When a store was made, in milliseconds of Unix time: its copies are told from others by it. A
/// store has it from its first life on.
pub(super) fn made_at(conn: &Connection) -> Result<i64, StoreError> {
    let sql = "SELECT value FROM meta WHERE key = 'created_at'";
    Ok(conn.query_row(sql, [], |row| row.get(0))?)
}

/// What signs guests' tokens. A store has it from its first life on.
pub(super) fn secret_in(conn: &Connection) -> Result<[u8; 32], StoreError> {
    let sql = "SELECT value FROM meta WHERE key = 'guest_secret'";
    Ok(conn.query_row(sql, [], |row| row.get(0))?)
}

//! A copy of a database, made a few pages at a time, so that whoever writes can go on in between.
//!
//! ```text
//!   begin ─> FILE.partial ── step, step, ... ── finish: sync, then its name, sync of the folder
//!
//!   Copier ── Request ──> writer: copies, between its commits
//!      finishes <── Partial ──┘
//! ```
//!
//! The connection that is copied from is the one that writes: SQLite then takes over into the copy
//! what is written meanwhile. From any other connection it would begin again with each commit, or
//! hold up the log for as long as it takes.
//!
//! Invariants: a file has its name only when it is whole and on disk; nothing that was there before
//! is overwritten.
//!
//! Deliberately absent: who asks for it (`socket`, `backups`), and what is done between two steps
//! (`threads`).
//!
//! Called by: `threads`, `socket`, `backups`, `tools`, `schema`.

use std::ffi::c_int;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender, SyncSender};
use std::thread::Thread;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use super::disk::{remove_if_there, sync_folder};
use super::error::StoreError;
use super::stats::StoreStats;

/// How many pages are copied before whoever writes may go on: 256 KiB, less than a millisecond.
pub(super) const PAGES_PER_STEP: c_int = 64;

/// The end of a copy's name before it is whole.
pub(super) const PARTIAL: &str = ".partial";

/// A copy that the writer is asked for.
pub(super) struct Request {
    /// Its name.
    pub(super) to: PathBuf,
    /// Where to say that all pages are in it.
    pub(super) done: SyncSender<Result<Partial, StoreError>>,
}

/// How the writer is asked for a copy.
#[derive(Clone)]
pub(super) struct Copier {
    /// Where it takes requests.
    pub(super) requests: Sender<Request>,
    /// It is woken for each.
    pub(super) writer: Thread,
    /// Where a copy is counted.
    pub(super) stats: Arc<StoreStats>,
    /// The clock, in milliseconds of Unix time.
    pub(super) unix_ms: fn() -> u64,
}

impl Copier {
    /// Makes a copy with this name, and waits for it: for the writer, and for the disk. `check`
    /// reads it when it is on disk and has no name yet; what it finds wrong is an error.
    ///
    /// # Errors
    ///
    /// Those of SQLite and of the disk, those of `check`, and if the writer ends before it is done.
    pub(super) fn copy(
        &self,
        to: &Path,
        check: impl FnOnce(&Path) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let began_ms = (self.unix_ms)();
        let (done, copied) = mpsc::sync_channel(1);
        let ends = || StoreError::Refused("it is about to end".to_owned());
        self.requests.send(Request { to: to.to_owned(), done }).map_err(|_| ends())?;
        self.writer.unpark();
        let partial = copied.recv().map_err(|_| ends())??;
        // The disk is waited for here, where nobody waits.
        partial.sync()?;
        check(&partial.file)?;
        partial.give_name()?;
        self.stats.backed_up(began_ms);
        Ok(())
    }
}

/// A file that does not have its name yet. It goes with this, unless it is finished.
#[derive(Debug)]
pub(super) struct Partial {
    /// What it will be called.
    name: PathBuf,
    /// What it is called.
    file: PathBuf,
}

impl Partial {
    /// Begins a copy with this name. Returns the connection to copy into.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub(super) fn begin(name: &Path) -> Result<(Self, Connection), StoreError> {
        let mut file = name.as_os_str().to_owned();
        file.push(PARTIAL);
        let partial = Self { name: name.to_owned(), file: file.into() };
        // One that a power cut has left. What SQLite had beside it goes with the first write.
        remove_if_there(&partial.file)?;
        // Nobody else may read it, whatever the folder allows.
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial.file)?;
        let conn = open(&partial.file)?;
        // Until it is whole nobody misses it.
        conn.pragma_update(None, "journal_mode", "OFF")?;
        conn.pragma_update(None, "synchronous", "OFF")?;
        Ok((partial, conn))
    }

    /// Syncs a copy that is whole, and gives it its name.
    ///
    /// # Errors
    ///
    /// Those of the disk, and if there is such a file by now.
    pub(super) fn finish(self) -> Result<(), StoreError> {
        self.sync()?;
        self.give_name()
    }

    /// Gives a copy its name that is whole and on disk.
    fn give_name(self) -> Result<(), StoreError> {
        // Unlike a rename, a link overwrites nothing. Some file systems have none.
        match fs::hard_link(&self.file, &self.name) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                check_free(&self.name)?;
                fs::rename(&self.file, &self.name)?;
            }
            Err(_) => return Err(StoreError::Exists { file: self.name.clone() }),
            Ok(()) => {}
        }
        self.sync_names()
    }

    /// The same, in place of what is there.
    ///
    /// # Errors
    ///
    /// Those of the disk.
    pub(super) fn replace(self) -> Result<(), StoreError> {
        self.sync()?;
        fs::rename(&self.file, &self.name)?;
        self.sync_names()
    }

    /// One file that needs no log beside it, on disk.
    fn sync(&self) -> Result<(), StoreError> {
        open(&self.file)?.pragma_update(None, "journal_mode", "DELETE")?;
        Ok(File::open(&self.file)?.sync_all()?)
    }

    /// Puts the name on disk, too.
    fn sync_names(&self) -> Result<(), StoreError> {
        sync_folder(self.name.parent().unwrap_or(Path::new("")))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // It has been renamed, or its second name is in the way of nobody.
        let _ = fs::remove_file(&self.file);
    }
}

/// # Errors
///
/// If there is a file with this name.
pub(super) fn check_free(name: &Path) -> Result<(), StoreError> {
    match name.symlink_metadata() {
        Ok(_) => Err(StoreError::Exists { file: name.to_owned() }),
        Err(_) => Ok(()),
    }
}

fn open(file: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Ok(Connection::open_with_flags(file, flags)?)
}

/// Copies all of a database that nobody else writes.
///
/// # Errors
///
/// Those of SQLite.
pub(super) fn copy_all(from: &Connection, to: &mut Connection) -> Result<(), StoreError> {
    // All at once, or not at all: it waits for nobody.
    match Backup::new(from, to)?.step(-1)? {
        rusqlite::backup::StepResult::Done => Ok(()),
        _ => Err(StoreError::Busy),
    }
}

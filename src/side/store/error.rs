//! Why the store cannot do something: whose fault it is, and whether it may pass.
//!
//! Deliberately absent: what is done about it (`faults`).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use rusqlite::ffi;

/// What kind of failure it is, as far as it matters what is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The disk is full, or a quota is used up.
    Full,
    /// Less of the disk is free than is to stay free.
    Space,
    /// A sync failed: what the kernel says of the file from now on proves nothing.
    Sync,
    /// Another failure of the disk.
    Io,
    /// The files that are open are not at their paths any more.
    Gone,
    /// The file is damaged. It does not heal.
    Corrupt,
    /// Something that no disk does: a defect of ours.
    Defect,
}

impl Cause {
    /// As metrics and logs name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Space => "space",
            Self::Sync => "sync",
            Self::Io => "io",
            Self::Gone => "gone",
            Self::Corrupt => "corrupt",
            Self::Defect => "defect",
        }
    }
}

/// Why the store cannot do something.
#[derive(Debug)]
pub enum StoreError {
    /// Another process has the folder.
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The file is of a later version of the program.
    Newer {
        /// The file's number.
        found: i64,
        /// The last one that is known here.
        known: i64,
    },
    /// The file is a database of something else.
    Foreign {
        /// The file.
        file: PathBuf,
    },
    /// The SQLite that was linked is older than what is safe.
    OldSqlite {
        /// Its number.
        version: i32,
    },
    /// The file is of an earlier version, and whoever asks does not migrate.
    Older {
        /// The file's number.
        found: i64,
        /// The one that is needed.
        known: i64,
    },
    /// There is no store.
    Absent {
        /// Where it would be.
        file: PathBuf,
    },
    /// What would be written is there already.
    Exists {
        /// The file.
        file: PathBuf,
    },
    /// The store that should be filled has rooms.
    NotEmpty {
        /// Its folder.
        folder: PathBuf,
    },
    /// The file is damaged.
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A line of what is to be taken in is none.
    Line {
        /// Its number, from 1.
        number: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The server that has the store does not do what it was asked for.
    Refused(String),
    /// A call of the operating system fails: a folder or file cannot be made, opened or written, or
    /// a thread cannot be begun.
    Io(io::Error),
    /// Less of the disk is free than is to stay free.
    Space {
        /// How much is free, in bytes.
        free: u64,
    },
    /// A file that is open is not at its path any more: it was moved, removed or replaced.
    Gone {
        /// The path.
        file: PathBuf,
    },
    /// A reader is in the way.
    Busy,
    /// It ended while it failed.
    Ended,
    /// What is in the file cannot be what was written; in which way.
    Contradiction(&'static str),
    /// Something of a room is not what was written.
    Room {
        /// Its id.
        id: u32,
        /// What of it.
        what: &'static str,
    },
    /// SQLite says so.
    Sqlite(rusqlite::Error),
}

impl StoreError {
    /// Whether it is a read that took too long.
    pub(super) fn is_late(&self) -> bool {
        let code = match self {
            Self::Sqlite(error) => error.sqlite_error_code(),
            _ => None,
        };
        code == Some(ErrorCode::OperationInterrupted)
    }

    /// The same, of this file: what SQLite says of damage does not name it.
    pub(super) fn in_file(self, file: &Path) -> Self {
        match self {
            Self::Sqlite(error) if cause_of(&error) == Cause::Corrupt => {
                Self::Damaged { file: file.to_owned(), what: error.to_string() }
            }
            other => other,
        }
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::Sqlite(error) => cause_of(error),
            Self::Io(error) => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Cause::Full,
                _ => Cause::Io,
            },
            Self::Busy => Cause::Io,
            Self::InUse { .. }
            | Self::Newer { .. }
            | Self::Foreign { .. }
            | Self::OldSqlite { .. }
            | Self::Older { .. }
            | Self::Absent { .. }
            | Self::Exists { .. }
            | Self::NotEmpty { .. }
            | Self::Line { .. }
            | Self::Refused(_)
            | Self::Ended => Cause::Defect,
            Self::Damaged { .. } | Self::Contradiction(_) | Self::Room { .. } => Cause::Corrupt,
            Self::Space { .. } => Cause::Space,
            Self::Gone { .. } => Cause::Gone,
        }
    }
}

fn cause_of(error: &rusqlite::Error) -> Cause {
    let Some(error) = error.sqlite_error() else { return Cause::Defect };
    match (error.code, error.extended_code) {
        // Or the index of the log has no place on it.
        (ErrorCode::DiskFull, _) | (_, ffi::SQLITE_IOERR_SHMSIZE) => Cause::Full,
        (_, ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC) => Cause::Sync,
        (
            ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::DatabaseBusy
            // Too many readers at once for the log: these pass.
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::OperationInterrupted
            | ErrorCode::OutOfMemory,
            _,
        ) => Cause::Io,
        (ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _) => Cause::Corrupt,
        _ => Cause::Defect,
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { folder } => {
                write!(
                    f,
                    "{} is in use by another chinwag: stop it, or choose another store.path",
                    folder.display()
                )
            }
            Self::Newer { found, known } => write!(
                f,
                "the store has schema {found}, and this program knows up to {known}: use the newer program"
            ),
            Self::Foreign { file } => {
                write!(f, "{} is a database of another program", file.display())
            }
            Self::OldSqlite { version } => {
                write!(f, "SQLite {version} is too old: it may corrupt its log")
            }
            Self::Older { found, known } => write!(
                f,
                "the store has schema {found}, and this program needs {known}: a server of it that is started once migrates it"
            ),
            Self::Absent { file } => write!(f, "{}: there is no such store", file.display()),
            Self::Exists { file } => {
                write!(f, "{} is there already: choose another name", file.display())
            }
            Self::NotEmpty { folder } => {
                write!(f, "{} has rooms: only an empty store is filled", folder.display())
            }
            Self::Damaged { file, what } => write!(f, "{} is damaged: {what}", file.display()),
            Self::Line { number, what } => write!(f, "line {number}: {what}"),
            Self::Refused(why) => f.write_str(why),
            Self::Io(error) => error.fmt(f),
            Self::Space { free } => {
                write!(f, "only {free} bytes of the disk are free: see store.reserve_bytes")
            }
            Self::Gone { file } => write!(
                f,
                "{} was moved, removed or replaced while it is open: put it back, or start again",
                file.display()
            ),
            Self::Busy => f.write_str("a read is in the way"),
            Self::Ended => f.write_str("it ended before everything was kept"),
            Self::Contradiction(how) => f.write_str(how),
            Self::Room { id, what } => write!(f, "room {id}: {what} is not what was written"),
            Self::Sqlite(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StoreError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_cause() {
        let of = |code| {
            let error = ffi::Error::new(code);
            StoreError::from(rusqlite::Error::SqliteFailure(error, None)).cause()
        };
        assert_eq!(of(ffi::SQLITE_FULL), Cause::Full);
        assert_eq!(of(ffi::SQLITE_IOERR_SHMSIZE), Cause::Full);
        assert_eq!(StoreError::from(io::Error::from_raw_os_error(28)).cause(), Cause::Full);
        assert_eq!(StoreError::from(io::Error::from_raw_os_error(5)).cause(), Cause::Io);
        assert_eq!(of(ffi::SQLITE_IOERR_FSYNC), Cause::Sync);
        assert_eq!(of(ffi::SQLITE_IOERR_WRITE), Cause::Io);
        assert_eq!(of(ffi::SQLITE_PROTOCOL), Cause::Io);
        assert_eq!(of(ffi::SQLITE_CORRUPT), Cause::Corrupt);
        assert_eq!(of(ffi::SQLITE_NOTADB), Cause::Corrupt);
        assert_eq!(of(ffi::SQLITE_CONSTRAINT), Cause::Defect);
        let error = StoreError::from(rusqlite::Error::QueryReturnedNoRows);
        assert_eq!(error.cause(), Cause::Defect);
    }
}

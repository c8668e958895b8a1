//! Is what SQLite calls damage a disk that cannot be read?
//!
//! SQLite answers an `EIO` of a read with `SQLITE_CORRUPT`, as it does damage, and keeps the error
//! of the system to itself. But damage stays, and a disk may work again. So the first time it is
//! assumed that it may pass; if it does not, the files are read here, from their beginnings, a
//! piece each time. Only if all of it can be read they are damaged.
//!
//! Deliberately absent: whether what was read is right.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::error::{Cause, StoreError};

/// How much is read each time, in bytes: 256 MiB.
const STEP_BYTES: u64 = 256 * 1_024 * 1_024;

/// And at once.
const BUFFER_BYTES: usize = 1_024 * 1_024;

/// See the module. It is dropped behind the connection that writes: when a process closes a file,
/// all locks go that it had on that, SQLite's too.
#[derive(Debug, Default)]
pub(super) struct Probe {
    paths: Vec<PathBuf>,
    files: Vec<File>,
    /// Whether something has failed before.
    is_begun: bool,
    /// Which file is read next, and from where on.
    next: (usize, u64),
}

impl Probe {
    /// Of these files, if they are there.
    pub(super) fn of(paths: Vec<PathBuf>) -> Self {
        Self { paths, ..Self::default() }
    }

    /// What failed works again.
    pub(super) fn reset(&mut self) {
        (self.is_begun, self.next) = (false, (0, 0));
    }

    /// The cause of an error, of several that follow each other.
    pub(super) fn cause_of(&mut self, error: &StoreError) -> Cause {
        let is_sure = !matches!(error, StoreError::Sqlite(_)) || error.cause() != Cause::Corrupt;
        if is_sure {
            return error.cause();
        }
        if !std::mem::replace(&mut self.is_begun, true) {
            return Cause::Io;
        }
        match self.step(STEP_BYTES) {
            Ok(true) => Cause::Corrupt,
            Ok(false) => Cause::Io,
            Err(error) => {
                tracing::warn!(%error, "the database cannot be read");
                self.next = (0, 0);
                Cause::Io
            }
        }
    }

    /// Reads on. True if that was all.
    fn step(&mut self, bytes_max: u64) -> io::Result<bool> {
        if self.files.is_empty() {
            // The log need not be there.
            let paths = self.paths.iter().filter(|path| path.exists());
            self.files = paths.map(File::open).collect::<Result<_, _>>()?;
        }
        let mut buffer = vec![0; BUFFER_BYTES];
        let (mut index, mut at) = self.next;
        let mut left = bytes_max;
        while let Some(file) = self.files.get(index) {
            if left == 0 {
                self.next = (index, at);
                return Ok(false);
            }
            match file.read_at(&mut buffer, at)? {
                0 => (index, at) = (index + 1, 0),
                count => {
                    at += count as u64;
                    left = left.saturating_sub(count as u64);
                }
            }
        }
        self.next = (0, 0);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rusqlite::ffi;

    use super::*;
    use crate::side::store::tests::Folder;

    fn sqlite(code: i32) -> StoreError {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None).into()
    }

    #[test]
    fn damage_is_what_stays_though_all_can_be_read() {
        let folder = Folder::new();
        fs::create_dir(&folder.0).unwrap();
        let (file, log) = (folder.0.join("chat.db"), folder.0.join("chat.db-wal"));
        fs::write(&file, vec![1; 3 * BUFFER_BYTES]).unwrap();
        let mut probe = Probe::of(vec![file, log]);
        let damage = sqlite(ffi::SQLITE_CORRUPT);
        assert_eq!(probe.cause_of(&damage), Cause::Io, "it may pass");
        assert_eq!(probe.cause_of(&damage), Cause::Corrupt);
        probe.reset();
        assert_eq!(probe.cause_of(&damage), Cause::Io);
        assert_eq!(probe.cause_of(&sqlite(ffi::SQLITE_FULL)), Cause::Full);
        let contradiction = StoreError::Contradiction("no disk says that");
        assert_eq!(probe.cause_of(&contradiction), Cause::Corrupt);
    }

    #[test]
    fn a_file_is_read_in_pieces_to_its_end_and_one_that_cannot_be_read_is_an_error() {
        let folder = Folder::new();
        fs::create_dir(&folder.0).unwrap();
        let files = [1, 2].map(|name| folder.0.join(name.to_string()));
        fs::write(&files[0], vec![1; 2 * BUFFER_BYTES]).unwrap();
        fs::write(&files[1], [1; 10]).unwrap();
        let mut probe = Probe::of(files.to_vec());
        let mut step = || probe.step(BUFFER_BYTES as u64).unwrap();
        assert_eq!([step(), step(), step(), step()], [false, false, true, false]);
        // What is no file cannot be read.
        let mut probe = Probe::of(vec![folder.0.clone()]);
        assert!(probe.step(1).is_err());
        probe.is_begun = true;
        assert_eq!(probe.cause_of(&sqlite(ffi::SQLITE_CORRUPT)), Cause::Io);
    }
}

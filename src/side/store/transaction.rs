//! A transaction that writes. It is begun and ended by statements that are parsed once: in the
//! commit of a single message parsing is a good part of the work.
//!
//! Called by: `writer`, `retention`.

use std::ops::Deref;
use std::time::Duration;

use rusqlite::Connection;

use super::error::StoreError;

/// How long a reader may have that lock. It has it for microseconds.
const LOOKED_AT_MAX: Duration = Duration::from_millis(100);

/// See the module. What is not committed is undone.
pub(super) struct WriteTransaction<'a>(&'a Connection);

impl<'a> WriteTransaction<'a> {
    /// Begins. Nobody else writes until it ends.
    ///
    /// # Errors
    ///
    /// Those of SQLite.
    pub(super) fn begin(conn: &'a Connection) -> Result<Self, StoreError> {
        // Nobody else writes, but a reader that finds the log's index half written takes the lock
        // of those who do, to look again (`walIndexReadHdr` of SQLite).
        conn.busy_timeout(LOOKED_AT_MAX)?;
        let begun = conn.prepare_cached("BEGIN IMMEDIATE")?.execute([]);
        // What else finds readers in the way does not wait for them.
        conn.busy_timeout(Duration::ZERO)?;
        begun?;
        Ok(Self(conn))
    }

    /// Commits what was written.
    ///
    /// # Errors
    ///
    /// Those of SQLite; then nothing was written, as far as is known.
    pub(super) fn commit(self) -> Result<(), StoreError> {
        self.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }
}

impl Deref for WriteTransaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0
    }
}

impl Drop for WriteTransaction<'_> {
    fn drop(&mut self) {
        if !self.is_autocommit() {
            // Where that fails too, the store heals before it writes again.
            let _ = self.execute_batch("ROLLBACK");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::side::store::tests::Folder;

    #[test]
    fn it_waits_for_whoever_has_the_lock_for_a_moment() {
        let folder = Folder::new();
        drop(folder.open());
        let other = Connection::open(folder.file()).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let conn = Connection::open(folder.file()).unwrap();
        conn.busy_timeout(Duration::ZERO).unwrap();
        let (begins, begun) = mpsc::channel();
        let waits = thread::spawn(move || {
            begins.send(()).unwrap();
            WriteTransaction::begin(&conn).and_then(WriteTransaction::commit)
        });
        begun.recv().unwrap();
        // Long enough for one that does not wait to be told that it is locked.
        thread::sleep(Duration::from_millis(20));
        other.execute_batch("COMMIT").unwrap();
        waits.join().unwrap().unwrap();
    }
}

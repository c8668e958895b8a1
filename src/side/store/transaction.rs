//! A transaction that writes. It is begun and ended by statements that are parsed once: in the
//! commit of a single message parsing is a good part of the work.
//!
//! Called by: `writer`, `retention`.

use std::ops::Deref;

use rusqlite::Connection;

use super::error::StoreError;

/// See the module. What is not committed is undone.
pub(super) struct WriteTransaction<'a>(&'a Connection);

impl<'a> WriteTransaction<'a> {
    /// Begins. Nobody else writes until it ends.
    ///
    /// # Errors
    ///
    /// Those of SQLite.
    pub(super) fn begin(conn: &'a Connection) -> Result<Self, StoreError> {
        conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
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

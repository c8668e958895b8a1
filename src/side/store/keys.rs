//! The keys that the messages of a room were given, of those before the ones that are read with it:
//! whoever says such a message again is answered as the first time.
//!
//! They are read without the rest of their rows, since SQLite passes over the pages of a long text.
//! So no checksum is looked at, which is over all of a row. A key that is damaged is nobody's.
//!
//! Invariants: at most [`KEYS_PER_ROOM_MAX`] rows are read.
//!
//! Called by: `reader`.

use rusqlite::{Connection, Row, params};

use super::error::{Cause, StoreError};
use super::row::{id_of, offset_of};
use crate::limits::{KEY_BYTES_MAX, KEYS_PER_ROOM_MAX, NAME_BYTES_MAX};
use crate::link::ids::Receipt;
use crate::link::kept::Found;

/// The keys of the latest messages of a room whose last one is `last`, of those before `tail`; the
/// newest first, as far back as they can be read in time.
///
/// # Errors
///
/// Those of SQLite.
pub(super) fn keys_before(
    look: &Connection,
    id: u32,
    (tail, last): (u64, u64),
    damaged: &mut u64,
) -> Result<Vec<u8>, StoreError> {
    let mut keys = Vec::new();
    let first = (last + 1).saturating_sub(KEYS_PER_ROOM_MAX as u64).max(1);
    let sql = "SELECT id, at, user, key FROM message \
               WHERE id BETWEEN ?1 AND ?2 AND key IS NOT NULL ORDER BY id DESC";
    let mut statement = look.prepare_cached(sql)?;
    let mut rows = statement.query(params![id_of(id, first), id_of(id, tail.saturating_sub(1))])?;
    loop {
        match rows.next().map_err(StoreError::from) {
            Ok(Some(row)) => {
                if push_key(&mut keys, row).is_none() {
                    *damaged += 1;
                }
            }
            Ok(None) => return Ok(keys),
            Err(error) if error.cause() == Cause::Corrupt => {
                *damaged += 1;
                return Ok(keys);
            }
            // A room with fewer keys can be joined, and one that is never loaded cannot.
            Err(error) if error.is_late() => return Ok(keys),
            Err(error) => return Err(error),
        }
    }
}

/// None, if it is not what was written.
fn push_key(keys: &mut Vec<u8>, row: &Row<'_>) -> Option<()> {
    let number = |index| row.get::<_, i64>(index).ok();
    let text = |index| row.get_ref(index).ok()?.as_str().ok();
    let receipt = Receipt { offset: offset_of(number(0)?), at_ms: number(1)?.cast_unsigned() };
    let (user, key) = (text(2)?, text(3)?);
    let is_short = user.len() <= NAME_BYTES_MAX && key.len() <= KEY_BYTES_MAX;
    is_short.then(|| Found::push_key(keys, user, key, receipt))
}

//! What was taken away since a backup was made, taken away from it again.
//!
//! Clients know the changes that came after the backup by their numbers. So a room begins a new era
//! before a message in it is deleted again: a cursor beyond the backup is told, whatever number the
//! deletion has now.
//!
//! Deliberately absent: what was edited since. Its text is not known.
//!
//! Called by: `restore`. Calls: `side::store::statements`.

use rusqlite::Connection;

use crate::auth::level::Joiners;
use crate::link::facts::RoomSettings;
use crate::link::log::Marks;
use crate::link::said::{Act, Fate, Said, SaidText};
use crate::link::topic::room_of;
use crate::side::store::disk::Lives;
use crate::side::store::error::{Cause, StoreError};
use crate::side::store::removed::{Deleted, Removed, Stands};
use crate::side::store::row::{Message, StandingRow, id_of, select_messages};
use crate::side::store::statements::{
    begin_era_if_stale, begin_room, change, find, set, stand, standing_in, top_of,
};

/// What was taken away again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reapplied {
    /// Messages that are deleted again.
    pub deleted: u64,
    /// Users who stand again in a room as they did.
    pub stands: u64,
    /// What could not be, for the backup is damaged there.
    pub damaged: u64,
}

/// Takes all of it away again. `epoch` is that of the eras which rooms begin by it: nobody is ever
/// told it, since a start begins others behind them.
///
/// # Errors
///
/// Those of SQLite.
pub(super) fn reapply(
    step: &Connection,
    lives: Lives,
    epoch: u64,
    removed: &Removed,
) -> Result<Reapplied, StoreError> {
    let (mut reapplied, mut begun) = (Reapplied::default(), Vec::new());
    for deleted in &removed.deleted {
        let is_deleted = delete(step, lives, epoch, deleted);
        count(is_deleted, &mut reapplied.deleted, &mut reapplied.damaged)?;
    }
    for stands in removed.stands.values() {
        let is_moved = stand_again(step, (lives, epoch), stands, &mut begun);
        count(is_moved, &mut reapplied.stands, &mut reapplied.damaged)?;
    }
    Ok(reapplied)
}

/// One room that is damaged does not keep what was taken away from others from being so again.
fn count(
    done: Result<bool, StoreError>,
    count: &mut u64,
    damaged: &mut u64,
) -> Result<(), StoreError> {
    match done {
        Ok(is_done) => *count += u64::from(is_done),
        Err(error) if error.cause() == Cause::Corrupt => *damaged += 1,
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Deletes a message, if it is there and is not deleted.
fn delete(
    step: &Connection,
    lives: Lives,
    epoch: u64,
    deleted: &Deleted,
) -> Result<bool, StoreError> {
    let Some(room) = find(step, &deleted.topic)? else { return Ok(false) };
    let id = id_of(room, deleted.offset);
    let Some((at_ms, said)) = there(step, id, deleted.said)? else { return Ok(false) };
    begin_era_if_stale(step, lives, room, epoch)?;
    let said = Said { body: "\"\"", mentions: None, data: None, stream: false, ..said.said() };
    let fate = Fate {
        change: top_of(step, room)?.change + 1,
        deleted: Some(Act { at_ms: deleted.at, by: deleted.by.as_deref() }),
        ..Fate::default()
    };
    change(step, &Message { id, at_ms, said, fate })?;
    Ok(true)
}

/// The message with this id that was said then, unless it is deleted. One that is damaged is not
/// served, deleted or not.
fn there(step: &Connection, id: i64, said_ms: u64) -> Result<Option<(u64, SaidText)>, StoreError> {
    let mut statement = step.prepare_cached(select_messages!("WHERE id = ?1"))?;
    let mut rows = statement.query([id])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let message = Message::of(row).ok_or(StoreError::Contradiction("a message is damaged"))?;
    let is_it = message.at_ms == said_ms && message.fate.deleted.is_none();
    Ok(is_it.then(|| (message.at_ms, SaidText::new(message.said))))
}

/// Writes how a user stands, if that is something else. Of a room that has begun since, too: of
/// such `begun` has the ids.
///
/// Who might join such a room is not known any more. If somebody has a role in it, it may have been
/// for its members, and is from now on: its owner opens it again, and nobody closes what was read.
fn stand_again(
    step: &Connection,
    (lives, epoch): (Lives, u64),
    stands: &Stands,
    begun: &mut Vec<u32>,
) -> Result<bool, StoreError> {
    let unknown = StoreError::Contradiction("there is no such role");
    let standing = stands.standing().ok_or(unknown)?;
    if standing_in(step, &stands.topic, &stands.user)? == standing {
        return Ok(false);
    }
    let room = if let Some(room) = find(step, &stands.topic)? {
        room
    } else {
        let marks = (Marks::default(), stands.at);
        let room = begin_room(step, lives, &stands.topic, epoch, marks)?;
        begun.push(room);
        room
    };
    stand(step, StandingRow { room, user: &stands.user, standing })?;
    if standing.role.is_some() && begun.contains(&room) {
        begun.retain(|of| *of != room);
        let settings = RoomSettings { join: Joiners::Members, ..RoomSettings::DEFAULT };
        let title = room_of(&stands.topic).unwrap_or_default();
        set(step, room, title, &settings.json())?;
    }
    Ok(true)
}

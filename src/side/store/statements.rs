//! What is written of rooms, messages and standings, row by row: each within the transaction of
//! whoever calls.
//!
//! Invariants: 3 of [`super`]; a room has an era before it has messages; each row of a room, of an
//! era and of a message has its checksum.
//!
//! Deliberately absent: transactions, and what follows from a failure.
//!
//! Called by: `side::store::writer`, `side::store::open_rooms`, `side::store::tools`.

use rusqlite::{Connection, OptionalExtension, params};

use super::disk::Lives;
use super::error::StoreError;
use super::row::{
    EraRow, Message, OFFSET_MAX, ROOM_MAX, RoomRow, StandingRow, checked_offset, each_standing,
    id_of, offset_of, room_of, select_eras, select_rooms, with_room,
};
use crate::auth::level::{Role, Standing};
use crate::link::log::Marks;
use crate::link::said::{Act, Fate, Said};

/// The room of a topic, if anything was kept of it, in an epoch that has lost nothing.
pub(super) fn look_for(
    step: &Connection,
    lives: Lives,
    topic: &str,
    epoch: u64,
) -> Result<Option<u32>, StoreError> {
    let id = find(step, topic)?;
    if let Some(id) = id {
        begin_era_if_stale(step, lives, id, epoch)?;
    }
    Ok(id)
}

/// The room of a topic, if anything was kept of it.
pub(super) fn find(step: &Connection, topic: &str) -> Result<Option<u32>, StoreError> {
    // The index says where a room is, and the room says that it is the one: a bit that changed in
    // either must not lead to what was said in another.
    let sql = "SELECT id FROM room WHERE name = ?1";
    let found = step.prepare_cached(sql)?.query_row([topic], |row| row.get::<_, i64>(0));
    let Some(id) = found.optional()? else { return Ok(None) };
    let id = u32::try_from(id).ok().filter(|id| *id <= ROOM_MAX);
    let is_it = id.map(|id| with_room(step, id, |room| room.topic == topic)).transpose()?;
    if is_it != Some(true) {
        return Err(StoreError::Contradiction("the index of rooms leads to another room"));
    }
    Ok(id)
}

/// Writes the row of a room and its first era, before the first thing that is kept of it. Returns
/// its id.
pub(super) fn begin_room(
    step: &Connection,
    lives: Lives,
    topic: &str,
    epoch: u64,
    (top, at_ms): (Marks, u64),
) -> Result<u32, StoreError> {
    let sql = "INSERT INTO room(name, title, founded, created_at, sum) VALUES(?1, '', 0, ?2, 0)";
    step.prepare_cached(sql)?.execute(params![topic, number(at_ms)])?;
    let id = u32::try_from(step.last_insert_rowid()).ok().filter(|id| *id <= ROOM_MAX);
    let id = id.expect("there are fewer rooms than ids have place for");
    seal_room(step, id)?;
    push_era(step, lives, id, top, epoch)?;
    Ok(id)
}

/// Notes that a room was made on purpose, what it is called, and whose it is.
pub(super) fn found(
    step: &Connection,
    id: u32,
    title: &str,
    owner: Option<&str>,
) -> Result<(), StoreError> {
    let sum = with_room(step, id, |room| RoomRow { title, founded: 1, by: owner, ..*room }.sum())?;
    let sql = "UPDATE room SET title = ?2, founded = 1, by = ?3, sum = ?4 WHERE id = ?1";
    step.prepare_cached(sql)?.execute(params![id, title, owner, sum])?;
    if let Some(user) = owner {
        stand(step, StandingRow { room: id, user, standing: Standing::OWNER })?;
    }
    Ok(())
}

/// Writes the settings of a room, which is one made on purpose from now on.
pub(super) fn set(
    step: &Connection,
    id: u32,
    title: &str,
    settings: &str,
) -> Result<(), StoreError> {
    let settings = Some(settings);
    let sum = with_room(step, id, |room| RoomRow { title, founded: 1, settings, ..*room }.sum())?;
    let sql = "UPDATE room SET title = ?2, founded = 1, settings = ?3, sum = ?4 WHERE id = ?1";
    step.prepare_cached(sql)?.execute(params![id, title, settings, sum])?;
    Ok(())
}

/// Writes how a user stands in a room.
pub(super) fn stand(step: &Connection, row: StandingRow<'_>) -> Result<(), StoreError> {
    let StandingRow { room, user, standing } = row;
    let Standing { role, muted_until_ms, banned_until_ms } = standing;
    if standing == Standing::default() {
        let sql = "DELETE FROM standing WHERE room = ?1 AND user = ?2";
        step.prepare_cached(sql)?.execute(params![room, user])?;
        return Ok(());
    }
    let sql = "INSERT OR REPLACE INTO standing(room, user, role, muted_until, banned_until, sum) \
               VALUES(?1, ?2, ?3, ?4, ?5, ?6)";
    let values = params![
        room,
        user,
        role.map(Role::as_str),
        number(muted_until_ms),
        number(banned_until_ms),
        row.sum()
    ];
    step.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// How a user stands in the room of a topic.
///
/// # Errors
///
/// Those of SQLite, and if the room is not what was written.
pub(super) fn standing_in(
    step: &Connection,
    topic: &str,
    user: &str,
) -> Result<Standing, StoreError> {
    let mut found = Standing::default();
    let Some(id) = find(step, topic)? else { return Ok(found) };
    let damaged = each_standing(step, id, |row| {
        if row.user == user {
            found = row.standing;
        }
        Ok(())
    })?;
    if damaged > 0 {
        return Err(StoreError::Room { id, what: "how a user stands" });
    }
    Ok(found)
}

/// Begins a new era of a room whose latest one may have lost something that somebody saw: it is of
/// a life that has ended without order.
pub(super) fn begin_era_if_stale(
    step: &Connection,
    lives: Lives,
    id: u32,
    epoch: u64,
) -> Result<(), StoreError> {
    let latest = {
        let sql = select_eras!("WHERE room = ?1 ORDER BY first DESC, life DESC LIMIT 1");
        let mut statement = step.prepare_cached(sql)?;
        let mut rows = statement.query([id])?;
        rows.next()?.map(|row| EraRow::of(row, id)).transpose()?
    };
    if latest.is_some_and(|era| era.life >= lives.unclean) {
        return Ok(());
    }
    push_era(step, lives, id, top_of(step, id)?, epoch)
}

/// From behind `top` on, a room is in this epoch.
fn push_era(
    step: &Connection,
    lives: Lives,
    id: u32,
    top: Marks,
    epoch: u64,
) -> Result<(), StoreError> {
    let (first, first_change) = (number(top.offset + 1), number(top.change + 1));
    let (epoch, life) = (epoch.cast_signed(), lives.now);
    insert_era(step, EraRow { room: id, first, first_change, epoch, life })
}

/// Writes an era.
pub(super) fn insert_era(step: &Connection, era: EraRow) -> Result<(), StoreError> {
    let sql = "INSERT INTO era(room, first, first_change, epoch, life, sum) \
               VALUES(?1, ?2, ?3, ?4, ?5, ?6)";
    let EraRow { room, first, first_change, epoch, life } = era;
    let values = params![room, first, first_change, epoch, life, era.sum()];
    step.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// Writes the checksum of a room whose row was just written.
pub(super) fn seal_room(step: &Connection, id: u32) -> Result<(), StoreError> {
    let sum = {
        let mut statement = step.prepare_cached(select_rooms!("WHERE id = ?1"))?;
        let mut rows = statement.query([id])?;
        rows.next()?.and_then(RoomRow::read).map(|(room, _)| room.sum())
    };
    let sql = "UPDATE room SET sum = ?2 WHERE id = ?1";
    step.prepare_cached(sql)?.execute(params![id, sum])?;
    Ok(())
}

/// Where a room stands: what is there, or what was before it was let go of.
pub(super) fn top_of(conn: &Connection, id: u32) -> Result<Marks, StoreError> {
    let range = params![id_of(id, 0), id_of(id, OFFSET_MAX)];
    let greatest = |column: &str| -> Result<u64, StoreError> {
        let sql = format!("SELECT max({column}) FROM message WHERE {column} BETWEEN ?1 AND ?2");
        let found = conn.prepare_cached(&sql)?.query_row(range, |row| row.get::<_, Option<i64>>(0));
        Ok(found?.map_or(0, offset_of))
    };
    let sql = "SELECT last, last_change FROM room WHERE id = ?1";
    let noted = conn.prepare_cached(sql)?.query_row([id], |row| Ok((row.get(0)?, row.get(1)?)));
    let (last, last_change): (i64, i64) = noted?;
    Ok(Marks {
        offset: greatest("id")?.max(checked_offset(last)?),
        change: greatest("change")?.max(checked_offset(last_change)?),
    })
}

/// Writes a message, once.
pub(super) fn insert(step: &Connection, message: &Message<'_>) -> Result<(), StoreError> {
    let Message { id, at_ms, said, fate } = *message;
    let Said { user, name, body, key, reply_to, thread, mentions, data, stream } = said;
    let (at, sum) = (number(at_ms), message.sum());
    // Whatever a client names, all 64 bits of it: it is not known to be an offset.
    let reply_to = reply_to.map(u64::cast_signed);
    let written = if said.is_plain() && fate == Fate::default() {
        // Nearly all messages: half as many columns are bound.
        let sql = "INSERT INTO message(id, at, user, name, body, key, reply_to, sum) \
                   VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT(id) DO NOTHING";
        let values = params![id, at, user, name, body, key, reply_to, sum];
        step.prepare_cached(sql)?.execute(values)?
    } else {
        let sql = "INSERT INTO message(id, at, user, name, body, key, reply_to, sum, thread, \
                   mentions, data, change, edited_at, deleted_at, deleted_by, pinned_at, \
                   pinned_by, reacted, stream) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, \
                   ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19) ON CONFLICT(id) DO NOTHING";
        let Fate { change, edited, deleted, pinned, reacted, replies: _, epoch: _ } = fate;
        let place = |number: u64| id_of(room_of(id), number);
        let change = (change > 0).then(|| place(change));
        let values = params![
            id,
            at,
            user,
            name,
            body,
            key,
            reply_to,
            sum,
            thread.map(place),
            mentions,
            data,
            change,
            at_of(edited),
            at_of(deleted),
            by_of(deleted),
            at_of(pinned),
            by_of(pinned),
            reacted,
            stream.then_some(1)
        ];
        step.prepare_cached(sql)?.execute(values)?
    };
    if written == 1 {
        return Ok(());
    }
    // A batch that failed may have been written after all. Another message would be lost.
    let mut there = step.prepare_cached("SELECT sum FROM message WHERE id = ?1")?;
    if there.query_row([id], |row| row.get::<_, i64>(0))? != sum {
        return Err(StoreError::Contradiction("another message has the place of a new one"));
    }
    Ok(())
}

/// Writes that a message has become another one: what it is from now on. Nothing, if it has had
/// that change, or a later one.
pub(super) fn change(step: &Connection, message: &Message<'_>) -> Result<(), StoreError> {
    let Message { id, said, fate, .. } = *message;
    let Fate { change, edited, deleted, pinned, reacted, replies: _, epoch: _ } = fate;
    let sql = "UPDATE message SET body = ?2, mentions = ?3, data = ?4, edited_at = ?5, \
               deleted_at = ?6, deleted_by = ?7, pinned_at = ?8, pinned_by = ?9, change = ?10, \
               sum = ?11, reacted = ?12, stream = ?13 WHERE id = ?1 AND coalesce(change, 0) < ?10";
    let values = params![
        id,
        said.body,
        said.mentions,
        said.data,
        at_of(edited),
        at_of(deleted),
        by_of(deleted),
        at_of(pinned),
        by_of(pinned),
        id_of(room_of(id), change),
        message.sum(),
        reacted,
        said.stream.then_some(1)
    ];
    let is_written = step.prepare_cached(sql)?.execute(values)? > 0;
    let there = "SELECT 1 FROM message WHERE id = ?1";
    if !is_written && !step.prepare_cached(there)?.exists([id])? {
        // Retention has let go of it meanwhile: the room counts on.
        note_change(step, room_of(id), change)?;
    }
    Ok(())
}

/// Notes that a room has come as far as a change whose message is not there any more.
fn note_change(step: &Connection, id: u32, change: u64) -> Result<(), StoreError> {
    let (change, row) = with_room(step, id, |room| {
        let change = number(change);
        let last_change = room.last_change.max(change);
        let changed_floor = room.changed_floor.max(change);
        let row = RoomRow { last_change, changed_floor, ..*room };
        ((last_change, changed_floor), row.sum())
    })?;
    let sql = "UPDATE room SET last_change = ?2, changed_floor = ?3, sum = ?4 WHERE id = ?1";
    step.prepare_cached(sql)?.execute(params![id, change.0, change.1, row])?;
    Ok(())
}

fn at_of(act: Option<Act<'_>>) -> Option<i64> {
    act.map(|act| number(act.at_ms))
}

fn by_of(act: Option<Act<'_>>) -> Option<&str> {
    act.and_then(|act| act.by)
}

/// A number as SQLite has it.
///
/// # Panics
///
/// If it is beyond 2^63: no time and no offset is.
pub(super) fn number(number: u64) -> i64 {
    i64::try_from(number).expect("times and offsets are far below 2^63")
}

//! A store as lines of JSON, for other programs and for another store.
//!
//! It is read by pages, each with a look of its own. So a server which has the store is not held
//! up, and memory does not grow with it. Of each room there is what was in it when its turn came.
//!
//! Invariants: a message that does not fit its checksum is named, and is not exported.
//!
//! Deliberately absent: secrets. Guests' tokens do not outlive an export and import.

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use serde_json::value::RawValue;

use super::line::{
    EndLine, EraLine, FORMAT, HeadLine, Kind, MessageLine, RoomLine, StandingLine, TrailLine,
};
use super::{Era, PAGE, RoomRow, Version, epoch_of, eras, open_to_read, rooms};
use crate::link::audit::AuditLine;
use crate::link::facts::told_until;
use crate::link::message::push_epoch;
use crate::link::reacted::by_emoji;
use crate::link::said::{Act, Fate};
use crate::link::topic::{of_room, room_of};
use crate::side::store::audit::{AuditRow, each_audited};
use crate::side::store::disk::FILE;
use crate::side::store::error::StoreError;
use crate::side::store::row::{
    Message, OFFSET_MAX, ROOM_MAX, StandingRow, each_standing, id_of, offset_of, select_messages,
};
use crate::side::store::statements::top_of;

/// What is exported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Only the room with this name.
    pub room: Option<String>,
    /// Only messages from this time on, in milliseconds of Unix time: in the export, those before
    /// have been let go of.
    pub since_ms: Option<u64>,
}

/// Writes a store as lines, and tells each damage that it finds. Returns how many it has told.
///
/// # Errors
///
/// If there is no store, if the room is not in it or its row is damaged, or if it cannot be read
/// or written.
pub fn export(
    folder: &Path,
    choice: &Choice,
    out: &mut dyn Write,
    tell: &mut dyn FnMut(&str),
) -> Result<u64, StoreError> {
    write(folder, choice, false, out, tell)
}

/// The same for everybody to read: without rooms whose rows are damaged, for these say which users
/// may join; unless one is asked for.
///
/// # Errors
///
/// As [`export`].
pub(super) fn export_public(
    folder: &Path,
    choice: &Choice,
    out: &mut dyn Write,
    tell: &mut dyn FnMut(&str),
) -> Result<u64, StoreError> {
    write(folder, choice, choice.room.is_none(), out, tell)
}

fn write(
    folder: &Path,
    choice: &Choice,
    whole_only: bool,
    out: &mut dyn Write,
    tell: &mut dyn FnMut(&str),
) -> Result<u64, StoreError> {
    let file = folder.join(FILE);
    let conn = open_to_read(&file, Version::This)?;
    write_from(&conn, &file, choice, whole_only, out, tell).map_err(|error| error.in_file(&file))
}

fn write_from(
    conn: &Connection,
    file: &Path,
    choice: &Choice,
    whole_only: bool,
    out: &mut dyn Write,
    tell: &mut dyn FnMut(&str),
) -> Result<u64, StoreError> {
    // Before anything is written: half an export looks like one that is cut off.
    if let Some(room) = &choice.room {
        let sql = "SELECT 1 FROM room WHERE name = ?1";
        if !conn.prepare(sql)?.exists([of_room(room)])? {
            return Err(StoreError::Refused(format!("there is no room {room:?}")));
        }
    }
    let mut export = Export { out, tell, whole_only, damaged: 0, rooms: 0, messages: 0 };
    export.line(&HeadLine { kind: Kind::Chinwag, format: FORMAT })?;
    let mut behind = 0;
    loop {
        let page = rooms(conn, behind, PAGE)?;
        let Some(last) = page.last() else { break };
        behind = last.id;
        for room in page {
            let is_sound =
                room.id <= ROOM_MAX && room.floor < OFFSET_MAX && room.last <= OFFSET_MAX;
            let Some(name) = room_of(&room.topic).filter(|_| is_sound) else {
                export.damage(&format!("room {}: {:?} is no room", room.id, room.topic));
                continue;
            };
            if choice.room.as_deref().is_none_or(|chosen| chosen == name) {
                export.room(conn, name, room.id, choice.since_ms)?;
            }
        }
    }
    if let (Some(room), 0) = (&choice.room, export.rooms) {
        // It was there above, so it is its row that was told of.
        let what = format!("room {room:?} is in it, but its row is not what was written");
        return Err(StoreError::Damaged { file: file.to_owned(), what });
    }
    let (rooms, messages) = (export.rooms, export.messages);
    export.line(&EndLine { kind: Kind::End, rooms, messages })?;
    export.out.flush()?;
    Ok(export.damaged)
}

struct Export<'a> {
    out: &'a mut dyn Write,
    tell: &'a mut dyn FnMut(&str),
    /// Leave out rooms whose rows are not what was written.
    whole_only: bool,
    damaged: u64,
    rooms: u64,
    messages: u64,
}

impl Export<'_> {
    fn line(&mut self, line: &impl Serialize) -> Result<(), StoreError> {
        let mut text = serde_json::to_vec(line).map_err(std::io::Error::from)?;
        // JSON that is passed on as it came may have the ends of lines between its values.
        for end in text.iter_mut().filter(|byte| **byte == b'\n') {
            *end = b' ';
        }
        self.out.write_all(&text)?;
        Ok(self.out.write_all(b"\n")?)
    }

    fn damage(&mut self, what: &str) {
        self.damaged += 1;
        (self.tell)(what);
    }

    /// Writes a room: what it is, its eras, how users stand in it, its trail, its messages.
    fn room(
        &mut self,
        conn: &Connection,
        name: &str,
        id: u32,
        since_ms: Option<u64>,
    ) -> Result<(), StoreError> {
        // Where it stands, and its eras, in one look.
        let look = conn.unchecked_transaction()?;
        let Some(room) = rooms(&look, id - 1, 1)?.pop().filter(|room| room.id == id) else {
            return Ok(());
        };
        let (top, eras) = (top_of(&look, id)?, eras(&look, id)?);
        // What can be read of it may be all that there is.
        if !room.is_whole {
            self.damage(&format!("room {name:?}: its row is not what was written"));
            if self.whole_only {
                return Ok(());
            }
        }
        if eras.iter().any(|era| !era.is_whole) {
            self.damage(&format!("room {name:?}: an era is not what was written"));
        }
        let RoomRow { mut floor, .. } = room;
        if let Some(since_ms) = since_ms {
            floor = before(&look, id, (floor, top.offset), since_ms)?;
        }
        drop(look);
        self.line(&RoomLine {
            kind: Kind::Room,
            room: name.into(),
            title: room.title.into(),
            founded: room.founded,
            created_at: room.created_at,
            by: room.by.map(Cow::from),
            settings: room.settings.map(Cow::from),
            floor,
            last: top.offset,
            last_change: top.change,
            changed_floor: room.changed_floor,
        })?;
        self.rooms += 1;
        for era in &eras {
            self.line(&EraLine {
                kind: Kind::Era,
                room: name.into(),
                first: era.first,
                first_change: era.first_change,
                epoch: shown(era.epoch).into(),
                life: era.life,
            })?;
        }
        self.standings(conn, name, id)?;
        self.trail(conn, name, id)?;
        let mut next = floor + 1;
        while next <= top.offset {
            let Some(last) =
                self.page(conn, name, &eras, id_of(id, next), id_of(id, top.offset))?
            else {
                break;
            };
            next = offset_of(last) + 1;
        }
        Ok(())
    }

    /// Writes how users stand in a room.
    fn standings(&mut self, conn: &Connection, name: &str, id: u32) -> Result<(), StoreError> {
        let damaged = each_standing(conn, id, |StandingRow { user, standing, .. }| {
            let until = |until_ms| (until_ms > 0).then_some(told_until(until_ms));
            self.line(&StandingLine {
                kind: Kind::Standing,
                room: name.into(),
                user: user.into(),
                role: standing.role.map(|role| role.as_str().into()),
                muted_until: until(standing.muted_until_ms),
                banned_until: until(standing.banned_until_ms),
            })
        })?;
        if damaged > 0 {
            self.damage(&format!("room {name:?}: how a user stands is not what was written"));
        }
        Ok(())
    }

    /// Writes a room's audit trail.
    fn trail(&mut self, conn: &Connection, name: &str, id: u32) -> Result<(), StoreError> {
        let mut no_json = 0;
        let damaged = each_audited(conn, id, |AuditRow { at, line, .. }| {
            let AuditLine { number: n, act, by, user, offset, text, set } = line;
            let (Ok(text), Ok(set)) = (maybe_raw(text), maybe_raw(set)) else {
                no_json += 1;
                return Ok(());
            };
            self.line(&TrailLine {
                kind: Kind::Audit,
                room: name.into(),
                n,
                at,
                act: act.as_str().into(),
                by: by.into(),
                user: user.map(Cow::from),
                offset,
                text,
                set,
            })
        })?;
        if damaged + no_json > 0 {
            self.damage(&format!("room {name:?}: its audit trail is not what was written"));
        }
        Ok(())
    }

    /// Writes the messages of a page. Returns the id of its last one.
    fn page(
        &mut self,
        conn: &Connection,
        room: &str,
        eras: &[Era],
        from: i64,
        through: i64,
    ) -> Result<Option<i64>, StoreError> {
        let sql = select_messages!("WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3");
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query(params![from, through, PAGE])?;
        let mut last = None;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            last = Some(id);
            let offset = offset_of(id);
            let Some(line) = Message::of(row).and_then(|message| line_of(room, eras, &message))
            else {
                self.damage(&format!("room {room:?}: message {offset} is not what was written"));
                continue;
            };
            self.line(&line)?;
            self.messages += 1;
        }
        Ok(last)
    }
}

/// The offset before the first message above `floor`, up to `top`, that was said at a time or
/// later; `top`, if there is none.
fn before(
    conn: &Connection,
    id: u32,
    (floor, top): (u64, u64),
    since_ms: u64,
) -> Result<u64, StoreError> {
    let since = i64::try_from(since_ms).unwrap_or(i64::MAX);
    let sql = "SELECT id FROM message WHERE id BETWEEN ?1 AND ?2 AND at >= ?3 ORDER BY id LIMIT 1";
    let range = params![id_of(id, floor + 1), id_of(id, top), since];
    let first = conn.prepare_cached(sql)?.query_row(range, |row| row.get(0)).optional()?;
    Ok(first.map_or(top, |first| offset_of(first) - 1))
}

/// JSON as it stands; an error, if it is none.
fn raw(json: &str) -> Result<&RawValue, serde_json::Error> {
    serde_json::from_str(json)
}

/// The same, where there is any.
fn maybe_raw(json: Option<&str>) -> Result<Option<&RawValue>, serde_json::Error> {
    json.map(raw).transpose()
}

/// A message as a line; none, if it is not one that could have been written.
fn line_of<'a>(room: &'a str, eras: &[Era], message: &Message<'a>) -> Option<MessageLine<'a>> {
    let Message { id, at_ms, said, fate } = *message;
    let offset = offset_of(id);
    let epoch = epoch_of(eras, offset)?;
    let body = if fate.deleted.is_some() { None } else { Some(raw(said.body).ok()?) };
    let Fate { change, edited, deleted, pinned, reacted, replies: _, epoch: _ } = fate;
    let at_of = |act: Option<Act<'a>>| act.map(|act| act.at_ms);
    let by_of = |act: Option<Act<'a>>| act.and_then(|act| act.by).map(Cow::from);
    let reactions = reacted.map(|reacted| {
        let lines = by_emoji(reacted);
        lines.map(|(emoji, users)| (emoji.into(), users.map(Cow::from).collect())).collect()
    });
    Some(MessageLine {
        kind: Kind::Message,
        room: room.into(),
        offset,
        id: format!("{}-{offset}", shown(epoch)).into(),
        at: at_ms.cast_signed(),
        user: said.user.into(),
        name: said.name.into(),
        body,
        key: said.key.map(Cow::from),
        reply_to: said.reply_to,
        thread: said.thread,
        edited_at: at_of(edited),
        deleted_at: at_of(deleted),
        deleted_by: by_of(deleted),
        pinned_at: at_of(pinned),
        pinned_by: by_of(pinned),
        mentions: maybe_raw(said.mentions).ok()?,
        data: maybe_raw(said.data).ok()?,
        stream: said.stream,
        reactions,
        _extra: None,
        change: (change > 0).then_some(change),
    })
}

/// An epoch as clients see it.
pub(super) fn shown(epoch: u64) -> String {
    let mut digits = Vec::with_capacity(16);
    push_epoch(&mut digits, epoch);
    digits.iter().map(|digit| char::from(*digit)).collect()
}

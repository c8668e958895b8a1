//! The rooms of a store, one by one, as whoever keeps them from now on takes them.
//!
//! It is read by pages, and memory holds one room. No server may have the store meanwhile: what it
//! took in behind a page would be lost.
//!
//! Invariants: nothing in the store changes; what is damaged is named, and nobody may do more in a
//! room because of that.
//!
//! Deliberately absent: who takes them.

use std::ops::RangeInclusive;
use std::path::Path;

use rusqlite::{Connection, params};

use super::{Era, PAGE, RoomRow, Version, epoch_of, eras, open_to_read, rooms};
use crate::limits::LINEAGE_EPOCHS_MAX;
use crate::link::audit::LineText;
use crate::link::log::Marks;
use crate::link::said::MessageText;
use crate::link::topic::room_of;
use crate::link::whole::{WholeMessage, WholeRoom};
use crate::side::store::audit::{AuditRow, each_audited};
use crate::side::store::disk::{FILE, lock, secret_in};
use crate::side::store::error::StoreError;
use crate::side::store::row::{
    Message, OFFSET_MAX, ROOM_MAX, StandingRow, each_standing, id_of, offset_of, select_messages,
};
use crate::side::store::statements::top_of;

/// How much of a room is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// So many of its last messages.
    pub messages: u32,
    /// So many of the last lines of its audit trail.
    pub lines: usize,
}

/// What signs invites to the rooms of a store, and guests' tokens.
///
/// # Errors
///
/// If there is no store, or it cannot be read.
pub fn secret_of(folder: &Path) -> Result<[u8; 32], StoreError> {
    secret_in(&open_to_read(&folder.join(FILE), Version::This)?)
}

/// Hands each room of a store to `take`, and tells each damage that it finds. Returns how many it
/// has told.
///
/// # Errors
///
/// If there is no store, if a server has it, if it cannot be read; and those of `take`.
pub fn each_room<E: From<StoreError>>(
    folder: &Path,
    extent: Extent,
    mut take: impl FnMut(WholeRoom) -> Result<(), E>,
    tell: &mut dyn FnMut(&str),
) -> Result<u64, E> {
    let file = folder.join(FILE);
    if !file.exists() {
        return Err(StoreError::Absent { file }.into());
    }
    let _lock = lock(folder)?;
    let conn = open_to_read(&file, Version::This)?;
    let mut reading = Reading { conn: &conn, extent, tell, damaged: 0 };
    let mut behind = 0;
    loop {
        let page = rooms(&conn, behind, PAGE)?;
        let Some(last) = page.last() else { return Ok(reading.damaged) };
        behind = last.id;
        for row in page {
            if let Some(room) = reading.room(row)? {
                take(room)?;
            }
        }
    }
}

struct Reading<'a> {
    conn: &'a Connection,
    extent: Extent,
    tell: &'a mut dyn FnMut(&str),
    damaged: u64,
}

impl Reading<'_> {
    fn damage(&mut self, what: &str) {
        self.damaged += 1;
        (self.tell)(what);
    }

    /// A room; none, if it is damaged who may do what there.
    fn room(&mut self, row: RoomRow) -> Result<Option<WholeRoom>, StoreError> {
        let is_sound = row.id <= ROOM_MAX && row.floor < OFFSET_MAX && row.last <= OFFSET_MAX;
        let Some(name) = room_of(&row.topic).filter(|_| is_sound) else {
            self.damage(&format!("room {}: {:?} is no room", row.id, row.topic));
            return Ok(None);
        };
        let mut standings = Vec::new();
        let unread = each_standing(self.conn, row.id, |StandingRow { user, standing, .. }| {
            standings.push((user.into(), standing));
            Ok(())
        })?;
        if unread > 0 || !row.is_whole {
            // It may be private, or somebody may be banned from it.
            self.damage(&format!(
                "room {name:?}: who may do what in it is not what was written: it is left out"
            ));
            return Ok(None);
        }
        let (top, eras) = (top_of(self.conn, row.id)?, eras(self.conn, row.id)?);
        if eras.iter().any(|era| !era.is_whole) {
            self.damage(&format!("room {name:?}: an era is not what was written"));
        }
        let wanted = u64::from(self.extent.messages);
        let first = (row.floor + 1).max((top.offset + 1).saturating_sub(wanted));
        Ok(Some(WholeRoom {
            founded: (row.founded != 0).then(|| row.title.as_str().into()),
            settings: row.settings.as_deref().map(Box::from),
            standings,
            epochs: epochs(&eras, top),
            top,
            changed_floor: self.changed_before(&row, first)?,
            lines: self.lines(name, row.id)?,
            messages: self.messages(name, row.id, &eras, first..=top.offset)?,
            left_behind: first - 1 - row.floor,
            topic: row.topic.into(),
        }))
    }

    /// The greatest change of a message before the first one that is handed on.
    fn changed_before(&self, row: &RoomRow, first: u64) -> Result<u64, StoreError> {
        let sql = "SELECT max(change) FROM message WHERE id BETWEEN ?1 AND ?2";
        let before = params![id_of(row.id, row.floor + 1), id_of(row.id, first - 1)];
        let changed: Option<i64> = self.conn.query_row(sql, before, |row| row.get(0))?;
        Ok(row.changed_floor.max(changed.map_or(0, offset_of)))
    }

    /// Messages of a room.
    fn messages(
        &mut self,
        name: &str,
        id: u32,
        eras: &[Era],
        offsets: RangeInclusive<u64>,
    ) -> Result<Vec<WholeMessage>, StoreError> {
        let sql = select_messages!("WHERE id BETWEEN ?1 AND ?2 ORDER BY id");
        let mut statement = self.conn.prepare_cached(sql)?;
        let range = params![id_of(id, *offsets.start()), id_of(id, *offsets.end())];
        let mut rows = statement.query(range)?;
        let (mut messages, mut damaged) = (Vec::new(), Vec::new());
        while let Some(row) = rows.next()? {
            let offset = offset_of(row.get(0)?);
            match Message::of(row).zip(epoch_of(eras, offset)) {
                Some((Message { at_ms, said, fate, .. }, epoch)) => {
                    let message = MessageText::new(at_ms, said, fate);
                    messages.push(WholeMessage { offset, epoch, message });
                }
                None => damaged.push(offset),
            }
        }
        for offset in damaged {
            self.damage(&format!("room {name:?}: message {offset} is not what was written"));
        }
        Ok(messages)
    }

    /// The last lines of its audit trail.
    fn lines(&mut self, name: &str, id: u32) -> Result<Vec<(u64, LineText)>, StoreError> {
        let mut lines = Vec::new();
        let damaged = each_audited(self.conn, id, |AuditRow { at, line, .. }| {
            lines.push((at.cast_unsigned(), LineText::new(&line)));
            Ok(())
        })?;
        if damaged > 0 {
            self.damage(&format!("room {name:?}: its audit trail is not what was written"));
        }
        lines.drain(..lines.len().saturating_sub(self.extent.lines));
        Ok(lines)
    }
}

/// The epochs of a room by which cursors are judged, the latest first.
fn epochs(eras: &[Era], top: Marks) -> Vec<(u64, Marks)> {
    let mut kept = top;
    let epochs = eras.iter().rev().take(LINEAGE_EPOCHS_MAX).map(|era| {
        let of = (era.epoch, kept);
        let before = Marks {
            offset: era.first.saturating_sub(1),
            change: era.first_change.saturating_sub(1),
        };
        kept = kept.min(before);
        of
    });
    epochs.collect()
}

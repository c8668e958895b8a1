//! Is a store what was written? Each damage is named.
//!
//! Deliberately absent: mending. What is damaged is not served, and a backup brings it back. Only
//! the index of words is made anew, for it is derived.

use std::path::Path;

use rusqlite::{Connection, params};

use super::{
    PAGE, Report, RoomRow, Version, counted, damages, epoch_of, eras, inspect, open_to_read, rooms,
};
use crate::link::topic::room_of;
use crate::side::store::audit::each_audited;
use crate::side::store::disk::{FILE, lock};
use crate::side::store::error::StoreError;
use crate::side::store::index;
use crate::side::store::removed::Removed;
use crate::side::store::row::{
    Message, OFFSET_BITS, OFFSET_MAX, ROOM_MAX, each_standing, id_of, offset_of, select_messages,
};
use crate::side::store::statements::top_of;

/// Checks a store that no server has, or with `file` that one, and tells each damage. Returns what
/// is in it; none, if something is damaged.
///
/// # Errors
///
/// If there is no store, if a server has it, or if it is of another version.
pub fn check(
    folder: &Path,
    file: Option<&Path>,
    tell: &mut dyn FnMut(&str),
) -> Result<Option<Report>, StoreError> {
    let store = folder.join(FILE);
    let (file, lock) = match file {
        Some(file) => (file, None),
        None if !store.exists() => return Err(StoreError::Absent { file: store }),
        // It takes one long look, and the log of a server would grow for so long.
        None => (&*store, Some(lock(folder)?)),
    };
    let conn = open_to_read(file, Version::This)?;
    let mut check = Check { conn: &conn, tell, damaged: false };
    // With a file that is not sound, the rest may not be readable.
    if let Err(error) = check.all() {
        check.damage(&error.in_file(file).to_string());
    }
    let noted = lock.is_some().then(|| Removed::read(folder, None)).transpose()?;
    if let Some(Removed { damaged: lines @ 1.., .. }) = noted {
        let lines = counted(lines, "line");
        check.damage(&format!("removed.log: not what was written: {lines}"));
    }
    if check.damaged {
        return Ok(None);
    }
    inspect(file, Version::This).map(Some)
}

/// Makes the index of words anew, of a store that no server has. Returns how large it is, in bytes.
///
/// # Errors
///
/// If there is no store, if a server has it, if it is of another version, or if the disk fails.
pub fn index_anew(folder: &Path) -> Result<u64, StoreError> {
    let store = folder.join(FILE);
    if !store.exists() {
        return Err(StoreError::Absent { file: store });
    }
    let _lock = lock(folder)?;
    index::make_anew(folder, open_to_read(&store, Version::This)?)?;
    Ok(index::file_in(folder).metadata()?.len())
}

struct Check<'a> {
    conn: &'a Connection,
    tell: &'a mut dyn FnMut(&str),
    damaged: bool,
}

impl Check<'_> {
    fn damage(&mut self, what: &str) {
        self.damaged = true;
        (self.tell)(what);
    }

    fn all(&mut self) -> Result<(), StoreError> {
        for what in damages(self.conn)? {
            self.damage(&what);
        }
        let mut behind = 0;
        loop {
            let page = rooms(self.conn, behind, PAGE)?;
            let Some(last) = page.last() else { break };
            behind = last.id;
            for room in &page {
                self.room(room)?;
            }
        }
        for (what, table, room) in [
            ("messages", "message", &*format!("id >> {OFFSET_BITS}")),
            ("eras", "era", "room"),
            ("standings", "standing", "room"),
            ("lines of an audit trail", "audit", &*format!("id >> {OFFSET_BITS}")),
        ] {
            let sql =
                format!("SELECT count(*) FROM {table} WHERE {room} NOT IN (SELECT id FROM room)");
            let count: i64 = self.conn.query_row(&sql, [], |row| row.get(0))?;
            if count > 0 {
                self.damage(&format!("{count} {what} are of no room"));
            }
        }
        Ok(())
    }

    fn room(&mut self, row: &RoomRow) -> Result<(), StoreError> {
        let RoomRow { id, ref topic, floor, last, .. } = *row;
        let conn = self.conn;
        let mut say = |what: &str| self.damage(&format!("{topic}: {what}"));
        if room_of(topic).is_none() {
            say("it is no room's topic");
        }
        if id > ROOM_MAX || last > OFFSET_MAX || row.last_change > OFFSET_MAX {
            say("its number, or its counters, are beyond what there may be");
            return Ok(());
        }
        if !row.is_whole {
            say("its row is not what was written");
        }
        if floor > last || row.changed_floor > row.last_change {
            say("what was let go of is over what was said");
        }
        let (eras, top) = (eras(conn, id)?, top_of(conn, id)?);
        // A room that came alone, by an import, has its first one when it is opened.
        if eras.is_empty() && (top.offset, top.change) != (0, 0) {
            say("it has no era");
        }
        if eras.iter().any(|era| !era.is_whole) {
            say("an era is not what was written");
        }
        if eras.iter().any(|era| era.first == 0 || era.first_change == 0) {
            say("an era begins before the first message");
        }
        if !eras.windows(2).all(|pair| pair[1].follows(&pair[0])) {
            say("its eras do not follow each other");
        }
        if eras.last().is_some_and(|era| era.first > top.offset + 1) {
            say("its last messages are missing: an era begins behind them");
        }
        if each_standing(conn, id, |_| Ok(()))? > 0 {
            self.damage(&format!("{topic}: how a user stands is not what was written"));
        }
        if each_audited(conn, id, |_| Ok(()))? > 0 {
            self.damage(&format!("{topic}: its audit trail is not what was written"));
        }
        self.messages(row, &eras, top.offset)
    }

    /// Each row is what was written, and they follow each other without a gap.
    fn messages(
        &mut self,
        room: &RoomRow,
        eras: &[super::Era],
        top: u64,
    ) -> Result<(), StoreError> {
        let RoomRow { id, ref topic, floor, .. } = *room;
        let sql = select_messages!("WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3");
        let mut statement = self.conn.prepare_cached(sql)?;
        let (mut next, mut latest, mut from) = (floor + 1, 0, 0);
        loop {
            let range = params![id_of(id, from), id_of(id, OFFSET_MAX), PAGE];
            let mut rows = statement.query(range)?;
            let mut count = 0;
            while let Some(row) = rows.next()? {
                count += 1;
                let offset = offset_of(row.get(0)?);
                from = offset + 1;
                let mut say = |what: &str| self.damage(&format!("{topic}: {what}"));
                if offset <= floor {
                    say(&format!("message {offset} is there, and was let go of"));
                    continue;
                }
                if offset > next {
                    say(&missing(next, offset - 1));
                }
                next = offset + 1;
                let Some(message) = Message::of(row) else {
                    say(&format!("message {offset} is not what was written"));
                    continue;
                };
                if epoch_of(eras, offset).is_none() {
                    say(&format!("message {offset} is in no era"));
                }
                if message.at_ms < latest {
                    say(&format!("message {offset} is earlier than the one before"));
                }
                latest = message.at_ms;
            }
            if count < PAGE || from > OFFSET_MAX {
                break;
            }
        }
        if next <= top {
            self.damage(&format!("{topic}: {}", missing(next, top)));
        }
        Ok(())
    }
}

/// Names messages that are missing.
pub(super) fn missing(first: u64, last: u64) -> String {
    if first == last {
        format!("message {first} is missing")
    } else {
        format!("messages {first} to {last} are missing")
    }
}

//! The audit trails of rooms in the file: a row a line, each with its checksum.
//!
//! Deliberately absent: what is worth a line, and who may see it.
//!
//! Called by: `side::store::writer`, `side::store::reader`, `side::store::tools`.

use rusqlite::{Connection, Row, params};

use super::error::StoreError;
use super::row::{OFFSET_MAX, Sum, id_of, offset_of, room_of};
use super::statements::number;
use crate::limits::AUDIT_LINES_MAX;
use crate::link::audit::{AuditAct, AuditLine, AuditPage, AuditWanted};
use crate::link::kept::read_whole;

/// A query for rows of [`AuditRow`], with what stands behind `FROM audit`.
macro_rules! select_audit {
    ($which:literal) => {
        concat!("SELECT id, at, act, by, user, message, text, asked, sum FROM audit ", $which)
    };
}

/// A row of `audit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AuditRow<'a> {
    pub(super) room: u32,
    pub(super) at: i64,
    pub(super) line: AuditLine<'a>,
}

impl<'a> AuditRow<'a> {
    /// From a row: see [`select_audit`]. None, if it does not fit its checksum or has no such
    /// columns.
    pub(super) fn of(row: &'a Row<'_>) -> Option<Self> {
        let number = |index| row.get::<_, i64>(index).ok();
        let text = |index| row.get_ref(index).ok()?.as_str().ok();
        let maybe = |index| row.get_ref(index).ok()?.as_str_or_null().ok();
        let id = number(0)?;
        let line = AuditLine {
            number: offset_of(id),
            act: AuditAct::of(text(2)?)?,
            by: text(3)?,
            user: maybe(4)?,
            offset: row.get::<_, Option<i64>>(5).ok()?.map(i64::cast_unsigned),
            text: maybe(6)?,
            set: maybe(7)?,
        };
        let read = Self { room: room_of(id), at: number(1)?, line };
        (number(8)? == read.sum()).then_some(read)
    }

    /// Its checksum.
    pub(super) fn sum(self) -> i64 {
        let Self { room, at, line } = self;
        let AuditLine { number, act, by, user, offset, text, set } = line;
        let mut sum = Sum::default();
        let has = [user, text, set].map(|text| i64::from(text.is_some()));
        let offset = offset.map_or(-1, u64::cast_signed);
        sum.numbers(&[i64::from(room), number.cast_signed(), at, offset]);
        sum.numbers(&has);
        for text in [Some(act.as_str()), Some(by), user, text, set] {
            sum.text(text.unwrap_or_default());
        }
        sum.end()
    }
}

/// Goes through the audit trail of a room, the oldest line first. Returns how many rows are not
/// what was written.
///
/// # Errors
///
/// Those of SQLite, and those of `each`.
pub(super) fn each_audited(
    conn: &Connection,
    room: u32,
    mut each: impl FnMut(AuditRow<'_>) -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    let mut statement =
        conn.prepare_cached(select_audit!("WHERE id BETWEEN ?1 AND ?2 ORDER BY id"))?;
    let mut rows = statement.query(params![id_of(room, 0), id_of(room, OFFSET_MAX)])?;
    let mut damaged = 0;
    while let Some(row) = rows.next()? {
        match AuditRow::of(row) {
            Some(row) => each(row)?,
            None => damaged += 1,
        }
    }
    Ok(damaged)
}

/// Writes a line of a room's audit trail, once, and lets go of the oldest where they are too many.
pub(super) fn note(
    step: &Connection,
    room: u32,
    at_ms: u64,
    line: AuditLine<'_>,
) -> Result<(), StoreError> {
    let row = AuditRow { room, at: number(at_ms), line };
    let AuditLine { number: n, act, by, user, offset, text, set } = line;
    let sql = "INSERT INTO audit(id, at, act, by, user, message, text, asked, sum) \
               VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT(id) DO NOTHING";
    let offset = offset.map(u64::cast_signed);
    let (id, act) = (id_of(room, n), act.as_str());
    let values = params![id, row.at, act, by, user, offset, text, set, row.sum()];
    if step.prepare_cached(sql)?.execute(values)? == 0 {
        // A batch that failed may have been written after all.
        let mut there = step.prepare_cached("SELECT sum FROM audit WHERE id = ?1")?;
        if there.query_row([id], |row| row.get::<_, i64>(0))? != row.sum() {
            return Err(StoreError::Contradiction("another line has the place of a new one"));
        }
    }
    let through = n.saturating_sub(AUDIT_LINES_MAX);
    let sql = "DELETE FROM audit WHERE id BETWEEN ?1 AND ?2";
    step.prepare_cached(sql)?.execute(params![id_of(room, 0), id_of(room, through)])?;
    Ok(())
}

/// The same, of a line that came as a record, if it did.
pub(super) fn note_read(
    step: &Connection,
    room: u32,
    at_ms: u64,
    line: &[u8],
) -> Result<(), StoreError> {
    if line.is_empty() { Ok(()) } else { note(step, room, at_ms, read_whole(line)) }
}

/// The number of the last line of a room's trail; 0, if it has none.
///
/// # Errors
///
/// Those of SQLite.
pub(super) fn last(conn: &Connection, room: u32) -> Result<u64, StoreError> {
    let sql = "SELECT max(id) FROM audit WHERE id BETWEEN ?1 AND ?2";
    let range = params![id_of(room, 0), id_of(room, OFFSET_MAX)];
    let last = conn.prepare_cached(sql)?.query_row(range, |row| row.get::<_, Option<i64>>(0))?;
    Ok(last.map_or(0, offset_of))
}

/// Reads lines of a room's trail, of so many bytes about: the answer as it is told. Damaged ones
/// are left out.
///
/// # Errors
///
/// Those of SQLite.
pub(super) fn page(
    conn: &Connection,
    room: u32,
    wanted: AuditWanted,
    bytes: usize,
    damaged: &mut u64,
) -> Result<Vec<u8>, StoreError> {
    let AuditWanted { before, limit, act } = wanted;
    let sql =
        select_audit!("WHERE id BETWEEN ?1 AND ?2 AND (?3 IS NULL OR act = ?3) ORDER BY id DESC");
    let range = (id_of(room, 0), id_of(room, before.clamp(1, OFFSET_MAX) - 1));
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params![range.0, range.1, act.map(AuditAct::as_str)])?;
    let mut page = AuditPage::default();
    while let Some(row) = rows.next()? {
        let Some(AuditRow { at, line, .. }) = AuditRow::of(row) else {
            *damaged += 1;
            continue;
        };
        if page.count() == limit || page.bytes() > bytes {
            return Ok(page.end(true));
        }
        page.push(|out| line.push(out, at.cast_unsigned()));
    }
    Ok(page.end(false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::side::store::tests::{Folder, Home};

    fn line(number: u64) -> AuditLine<'static> {
        let (by, user, offset) = ("ann", Some("bob"), Some(3));
        let (text, set) = (Some("\"why\""), Some("{\"on\":true}"));
        AuditLine { number, act: AuditAct::MsgPin, by, user, offset, text, set }
    }

    /// A file that has one room, the first one.
    fn store(home: &mut Home) {
        home.open(1, 50);
        home.say(1, 0, &["\"x\""]);
    }

    fn numbers(conn: &Connection, damaged: &mut u64) -> Vec<u64> {
        let wanted = AuditWanted { before: u64::MAX, limit: 9, act: None };
        let page = page(conn, 1, wanted, 10_000, damaged).expect("it is read");
        let page: serde_json::Value = serde_json::from_slice(&page).expect("JSON");
        let acts = page["acts"].as_array().expect("an array").iter();
        acts.map(|act| act["n"].as_u64().expect("a number")).collect()
    }

    #[test]
    fn a_line_is_written_once_and_its_place_is_its_own() {
        let folder = Folder::new();
        let mut home = Home::new(folder.open().1);
        store(&mut home);
        let conn = home.writer.conn();
        for _ in 0..2 {
            note(conn, 1, 7, line(1)).expect("it is written, or was before");
        }
        assert_eq!(numbers(conn, &mut 0), [1]);
        let other = note(conn, 1, 7, AuditLine { by: "cat", ..line(1) });
        assert!(matches!(other, Err(StoreError::Contradiction(_))), "{other:?}");
        note_read(conn, 1, 7, &[]).expect("there is none");
        assert_eq!(last(conn, 1).expect("it is read"), 1);
        assert_eq!(last(conn, 2).expect("it is read"), 0);
    }

    #[test]
    fn the_oldest_lines_go_where_they_are_too_many() {
        let folder = Folder::new();
        let mut home = Home::new(folder.open().1);
        store(&mut home);
        let conn = home.writer.conn();
        for number in [1, 2, AUDIT_LINES_MAX, AUDIT_LINES_MAX + 1] {
            note(conn, 1, 7, line(number)).expect("it is written");
        }
        assert_eq!(numbers(conn, &mut 0), [AUDIT_LINES_MAX + 1, AUDIT_LINES_MAX, 2]);
    }

    #[test]
    fn whatever_is_changed_of_a_line_is_noticed_and_it_is_left_out() {
        let folder = Folder::new();
        let mut home = Home::new(folder.open().1);
        store(&mut home);
        let conn = home.writer.conn();
        let mut damaged = 0;
        for (count, change) in (1..).zip([
            "at = 8",
            "act = 'msg_report'",
            "act = 'sing'",
            "by = 'cat'",
            "user = 'cat'",
            "user = NULL",
            "message = 4",
            "message = NULL",
            "text = '\"no\"'",
            "text = NULL",
            "asked = NULL",
            "text = NULL, asked = '\"why\"'",
        ]) {
            note(conn, 1, 7, line(1)).expect("it is written");
            note(conn, 1, 7, line(2)).expect("it is written");
            let sql = format!("UPDATE audit SET {change} WHERE id & 511 = 1");
            conn.execute_batch(&sql).expect("it is changed");
            assert_eq!(numbers(conn, &mut damaged), [2], "{change}");
            assert_eq!(damaged, count, "{change}");
            assert_eq!(each_audited(conn, 1, |_| Ok(())).expect("they are read"), 1);
            conn.execute_batch("DELETE FROM audit").expect("they are gone");
        }
    }
}

//! Letting go of what is older, or more, than is to be kept.
//!
//! ```text
//!   rests ── after a minute ──> room after room, a few in each step, between two batches ── all ──> rests
//! ```
//!
//! A step deletes the oldest messages of rooms that are over a bound, which are one range each, and
//! notes in the same transaction how far that went: offsets go on, and a room that is emptied
//! counts on.
//!
//! The bytes of a room are counted once, in pieces, and then by what comes and goes.
//!
//! Invariants: a step is bounded; what is let go of is at the beginning of a room, without a gap.
//!
//! Deliberately absent: telling the rooms' homes (`threads`).
//!
//! Called by: `threads`. Calls: `statements`.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::error::StoreError;
use super::row::{OFFSET_MAX, RoomRow, id_of, offset_of, select_rooms, with_room};
use super::statements::{number, top_of};
use super::transaction::WriteTransaction;
use crate::limits::{
    STORE_SWEEP_COUNTED, STORE_SWEEP_LET_GO, STORE_SWEEP_ROOMS, STORE_VACUUM_PAGES,
};
use crate::link::log::Marks;

/// The bytes of a message, as they are bounded: its texts, who has reacted to it, and about what
/// its id, its time and its checksum take.
const SIZE: &str = "(octet_length(user) + octet_length(name) + octet_length(body) \
                    + ifnull(octet_length(key), 0) + ifnull(octet_length(reacted), 0) + 32)";

/// What is kept of each room. 0: no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// For how long, in seconds.
    pub seconds: u64,
    /// How many messages.
    pub messages: u64,
    /// How many bytes: of a message its text, its author, its key, who has reacted, and 32.
    pub bytes: u64,
}

/// Goes through the rooms. See the module.
pub(super) struct Retention {
    keep: Keep,
    /// How long it rests, in milliseconds.
    rest_ms: u64,
    /// When the next step is due, in milliseconds of the same clock as what [`Retention::step`] is
    /// given.
    due_ms: u64,
    /// The room behind which it goes on.
    behind: u32,
    sizes: HashMap<u32, Size, ahash::RandomState>,
}

/// How large a room is.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    bytes: u64,
    /// Up to which offset that is counted.
    through: u64,
}

/// What a step has done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// How many messages it has deleted.
    pub(super) deleted: u64,
    /// Of which rooms, up to which offset, and up to which change of these.
    pub(super) floors: Vec<(u32, Marks)>,
}

impl Step {
    /// Of which rooms it let go of messages, and up to which offset.
    #[cfg(test)]
    pub(super) fn offsets(&self) -> Vec<(u32, u64)> {
        self.floors.iter().map(|(room, marks)| (*room, marks.offset)).collect()
    }
}

impl Retention {
    /// The first step is due at once.
    pub(super) fn new(keep: Keep, rest_ms: u64) -> Self {
        let is_bounded = keep != Keep::default();
        let due_ms = if is_bounded { 0 } else { u64::MAX };
        Self { keep, rest_ms, due_ms, behind: 0, sizes: HashMap::default() }
    }

    /// When the next step is due; none, if there is no bound.
    pub(super) fn due_ms(&self) -> Option<u64> {
        (self.due_ms < u64::MAX).then_some(self.due_ms)
    }

    /// Looks at the next rooms, and lets go of what is over their bounds: a part of it, if it is
    /// much.
    ///
    /// # Errors
    ///
    /// Those of SQLite; then nothing was let go of.
    pub(super) fn step(
        &mut self,
        conn: &Connection,
        now_ms: u64,
        unix_ms: u64,
    ) -> Result<Step, StoreError> {
        let stepped = self.try_step(conn, now_ms, unix_ms);
        if stepped.is_err() {
            // They may be ahead of what is there.
            self.sizes.clear();
        }
        stepped
    }

    fn try_step(
        &mut self,
        conn: &Connection,
        now_ms: u64,
        unix_ms: u64,
    ) -> Result<Step, StoreError> {
        let step = WriteTransaction::begin(conn)?;
        let rooms = {
            let sql = select_rooms!("WHERE id > ?1 ORDER BY id LIMIT ?2");
            let mut statement = step.prepare_cached(sql)?;
            let found = statement.query_map(params![self.behind, STORE_SWEEP_ROOMS], |row| {
                Ok((row.get(0)?, RoomRow::of(row).map(|room| room.floor.cast_unsigned())))
            })?;
            found.collect::<Result<Vec<(u32, Option<u64>)>, _>>()?
        };
        let mut work = Work { let_go: STORE_SWEEP_LET_GO, counted: STORE_SWEEP_COUNTED };
        let (mut done, mut behind) = (Step::default(), self.behind);
        for &(id, floor) in &rooms {
            // A room whose row is damaged is left alone.
            let Some(floor) = floor else {
                behind = id;
                continue;
            };
            let (cut, is_all) = self.cut(&step, id, floor, unix_ms, &mut work)?;
            if cut > floor {
                let (deleted, change) = self.let_go(&step, id, floor, cut)?;
                done.deleted += deleted;
                done.floors.push((id, Marks { offset: cut, change }));
            }
            if !is_all {
                break;
            }
            behind = id;
        }
        step.commit()?;
        let is_end = rooms.len() < STORE_SWEEP_ROOMS as usize
            && rooms.last().is_none_or(|(last, _)| *last == behind);
        self.behind = if is_end { 0 } else { behind };
        if is_end {
            self.due_ms = now_ms + self.rest_ms;
        }
        Ok(done)
    }

    /// Up to where a room is to be let go of now, and whether that is all there is to do in it.
    fn cut(
        &mut self,
        step: &Connection,
        id: u32,
        floor: u64,
        unix_ms: u64,
        work: &mut Work,
    ) -> Result<(u64, bool), StoreError> {
        let top = top_of(step, id)?.offset;
        let reach = top.min(floor + work.let_go);
        let range = params![id_of(id, floor + 1), id_of(id, reach)];
        let mut wanted = floor;
        if self.keep.messages > 0 {
            wanted = wanted.max(top.saturating_sub(self.keep.messages));
        }
        if self.keep.seconds > 0 {
            let before_ms = unix_ms.saturating_sub(self.keep.seconds.saturating_mul(1_000));
            // Times of a room never decrease, so the first that stays ends it.
            let sql = "SELECT id, at FROM message WHERE id BETWEEN ?1 AND ?2 ORDER BY id";
            let mut statement = step.prepare_cached(sql)?;
            let mut rows = statement.query(range)?;
            while let Some(row) = rows.next()? {
                if row.get::<_, i64>(1)?.cast_unsigned() >= before_ms {
                    break;
                }
                wanted = wanted.max(offset_of(row.get(0)?));
            }
        }
        if self.keep.bytes > 0 {
            let Some(size) = self.count(step, id, floor, top, work)? else {
                return Ok((floor, false));
            };
            let mut bytes = size.bytes;
            let sql =
                format!("SELECT id, {SIZE} FROM message WHERE id BETWEEN ?1 AND ?2 ORDER BY id");
            let mut statement = step.prepare_cached(&sql)?;
            let mut rows = statement.query(range)?;
            while bytes > self.keep.bytes
                && let Some(row) = rows.next()?
            {
                bytes -= bytes.min(row.get::<_, i64>(1)?.cast_unsigned());
                wanted = wanted.max(offset_of(row.get(0)?));
            }
        }
        let cut = wanted.min(reach);
        work.let_go -= cut - floor;
        // With nothing left to give, there may be more.
        Ok((cut, cut == wanted && work.let_go > 0))
    }

    /// The size of a room; none, if it takes more steps to count it.
    fn count(
        &mut self,
        step: &Connection,
        id: u32,
        floor: u64,
        top: u64,
        work: &mut Work,
    ) -> Result<Option<Size>, StoreError> {
        let size = self.sizes.entry(id).or_default();
        size.through = size.through.max(floor);
        let reach = top.min(size.through + work.counted);
        if reach > size.through {
            let sql = format!("SELECT sum({SIZE}) FROM message WHERE id BETWEEN ?1 AND ?2");
            let range = params![id_of(id, size.through + 1), id_of(id, reach)];
            let bytes = step.prepare_cached(&sql)?;
            let bytes = { bytes }.query_row(range, |row| row.get::<_, Option<i64>>(0))?;
            size.bytes += bytes.unwrap_or_default().cast_unsigned();
            work.counted -= reach - size.through;
            size.through = reach;
        }
        Ok((size.through >= top).then_some(*size))
    }

    /// Deletes the messages of a room up to an offset, and notes that. Returns how many there were,
    /// and up to which change what became of messages cannot be told any more.
    fn let_go(
        &mut self,
        step: &Connection,
        id: u32,
        floor: u64,
        cut: u64,
    ) -> Result<(u64, u64), StoreError> {
        let top = top_of(step, id)?;
        let range = params![id_of(id, 0), id_of(id, cut)];
        let sql = format!(
            "SELECT count(*), max(change), sum({SIZE}) FROM message WHERE id BETWEEN ?1 AND ?2"
        );
        let mut statement = step.prepare_cached(&sql)?;
        let (count, change, bytes) = statement.query_row(range, |row| {
            let number = |index| row.get::<_, Option<i64>>(index).map(Option::unwrap_or_default);
            Ok((number(0)?, number(1)?, number(2)?))
        })?;
        step.prepare_cached("DELETE FROM message WHERE id BETWEEN ?1 AND ?2")?.execute(range)?;
        let (floor_now, last, last_change, changed_floor, sum) = with_room(step, id, |room| {
            let room = RoomRow {
                floor: number(cut),
                last: room.last.max(number(top.offset)),
                last_change: room.last_change.max(number(top.change)),
                changed_floor: room.changed_floor.max(number(offset_of(change))),
                ..*room
            };
            (room.floor, room.last, room.last_change, room.changed_floor, room.sum())
        })?;
        let sql = "UPDATE room SET floor = ?2, last = ?3, last_change = ?4, changed_floor = ?5, \
                   sum = ?6 WHERE id = ?1";
        let values = params![id, floor_now, last, last_change, changed_floor, sum];
        step.prepare_cached(sql)?.execute(values)?;
        debug_assert!(floor < cut && cut <= OFFSET_MAX);
        if let Some(size) = self.sizes.get_mut(&id) {
            size.bytes -= size.bytes.min(bytes.cast_unsigned());
        }
        Ok((count.cast_unsigned(), changed_floor.cast_unsigned()))
    }
}

/// How much a step may still do.
struct Work {
    let_go: u64,
    counted: u64,
}

/// Gives pages that nothing is in any more back to the file system. Returns how many there were
/// before: up to [`STORE_VACUUM_PAGES`] are given back.
///
/// # Errors
///
/// Those of SQLite.
pub(super) fn vacuum(conn: &Connection) -> Result<u32, StoreError> {
    let free = conn.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    if free == 0 {
        return Ok(0);
    }
    // It gives back a page each time that it is asked for a row.
    let sql = format!("PRAGMA incremental_vacuum({STORE_VACUUM_PAGES})");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(free)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::side::store::tests::{Folder, Home, at, bodies, load};

    /// As [`SIZE`] has it.
    const ROW_BYTES: u64 = 32;

    fn new(keep: Keep) -> Retention {
        Retention::new(keep, 60)
    }

    fn messages(messages: u64) -> Keep {
        Keep { messages, ..Keep::default() }
    }

    /// A writer with rooms of so many messages, each at 100 and its offset less one.
    fn filled(folder: &Folder, counts: &[usize]) -> Home {
        let (_, writer) = folder.open();
        let mut home = Home::new(writer);
        for (room, count) in (1..).zip(counts) {
            home.open(room, 50);
            home.say(room, 0, &vec!["\"12345678\""; *count]);
        }
        home
    }

    /// All steps of a sweep: what each has let go of.
    fn sweep(retention: &mut Retention, home: &Home, unix_ms: u64) -> Vec<Step> {
        let mut steps = Vec::new();
        while retention.due_ms == 0 {
            steps.push(retention.step(home.writer.conn(), 0, unix_ms).unwrap());
            assert!(steps.len() < 1_000, "it ends");
        }
        assert_eq!(retention.due_ms, 60);
        retention.due_ms = 0;
        steps
    }

    /// Which offsets are there, of how many.
    fn there(home: &Home, room: u32) -> Vec<u64> {
        let sql = "SELECT id FROM message WHERE id BETWEEN ?1 AND ?2 ORDER BY id";
        let mut statement = home.writer.conn().prepare(sql).unwrap();
        let range = params![id_of(room, 0), id_of(room, OFFSET_MAX)];
        let found = statement.query_map(range, |row| row.get(0).map(offset_of)).unwrap();
        found.map(Result::unwrap).collect()
    }

    #[test]
    fn without_a_bound_nothing_is_due() {
        assert_eq!(new(Keep::default()).due_ms(), None);
        assert_eq!(new(messages(1)).due_ms(), Some(0));
    }

    #[test]
    fn the_latest_messages_are_kept_and_offsets_go_on() {
        let folder = Folder::new();
        let mut home = filled(&folder, &[5, 2, 0, 3]);
        let mut retention = new(messages(2));
        let steps = sweep(&mut retention, &home, 0);
        // A room in which nothing was said has no row.
        assert_eq!((steps.len(), steps[0].deleted), (1, 4));
        assert_eq!(steps[0].offsets(), [(1, 3), (3, 1)]);
        assert_eq!((there(&home, 1), there(&home, 2)), (vec![4, 5], vec![1, 2]));
        assert_eq!(sweep(&mut retention, &home, 0), [Step::default()], "and that is all");
        home.say(1, 5, &["\"f\""]);
        assert_eq!(sweep(&mut retention, &home, 0)[0].offsets(), [(1, 4)]);
        assert_eq!(there(&home, 1), [5, 6]);
    }

    #[test]
    fn a_room_that_is_emptied_by_age_counts_on_in_the_next_life() {
        let folder = Folder::new();
        let home = filled(&folder, &[3, 4]);
        let mut retention = new(Keep { seconds: 1, ..Keep::default() });
        assert_eq!(sweep(&mut retention, &home, 1_100), [Step::default()], "just so old");
        let steps = sweep(&mut retention, &home, 1_103);
        assert_eq!((steps.len(), steps[0].deleted), (1, 6));
        assert_eq!(steps[0].offsets(), [(1, 3), (2, 3)]);
        assert_eq!((there(&home, 1), there(&home, 2)), (vec![], vec![4]));
        home.writer.close().unwrap();
        let (disk, writer) = folder.open();
        let (mut home, mut reader) = (Home::new(writer), disk.reader().unwrap());
        let id = home.open(1, 60);
        let opened = load(&mut reader, id);
        assert_eq!((opened.epoch, opened.top, opened.tail.len()), (50, at(3), 0));
        home.say(1, 3, &["\"d\""]);
        assert_eq!((load(&mut reader, id).top, bodies(&load(&mut reader, id)).len()), (at(4), 1));
    }

    #[test]
    fn bytes_are_bounded_as_messages_come_and_go() {
        let folder = Folder::new();
        // 1 for the user, 3 for the name, 10 for the body with its quotes.
        let size = 14 + ROW_BYTES;
        let mut home = filled(&folder, &[5, 3]);
        let mut retention = new(Keep { bytes: 3 * size, ..Keep::default() });
        assert_eq!(sweep(&mut retention, &home, 0)[0].offsets(), [(1, 2)]);
        home.say(1, 5, &["\"1234567\""]);
        assert_eq!(sweep(&mut retention, &home, 0)[0].offsets(), [(1, 3)]);
        home.say(2, 3, &["\"\"", "\"\"", "\"\""]);
        assert_eq!(sweep(&mut retention, &home, 0)[0].offsets(), [(2, 3)]);
        let counted: u64 = retention.sizes.values().map(|size| size.bytes).sum();
        let sql = format!("SELECT sum({SIZE}) FROM message");
        let there: i64 = home.writer.conn().query_row(&sql, [], |row| row.get(0)).unwrap();
        assert_eq!(counted, there.cast_unsigned());
    }

    #[test]
    fn a_step_is_bounded_and_the_next_one_goes_on() {
        let folder = Folder::new();
        let home = filled(&folder, &[1_300, 700, 10]);
        let steps = sweep(&mut new(messages(5)), &home, 0);
        let deleted: Vec<u64> = steps.iter().map(|step| step.deleted).collect();
        assert_eq!(deleted, [500, 500, 500, 495]);
        assert_eq!(steps[2].offsets(), [(1, 1_295), (2, 205)]);
        for room in 1..=3 {
            assert_eq!(there(&home, room).len(), 5);
        }
        drop(home);
        let folder = Folder::new();
        let home = filled(&folder, &[6_000, 6_000]);
        let mut retention = new(Keep { bytes: 1_000_000, ..Keep::default() });
        assert_eq!(sweep(&mut retention, &home, 0).len(), 3, "counted in pieces");
        let counted: Vec<u64> = [1, 2].map(|room| retention.sizes[&room].bytes).into();
        assert_eq!(counted, [6_000 * (14 + ROW_BYTES); 2]);
    }

    #[test]
    fn more_rooms_than_a_step_looks_at_are_all_looked_at() {
        let folder = Folder::new();
        let home = filled(&folder, &[2; 205]);
        let steps = sweep(&mut new(messages(1)), &home, 0);
        let rooms: Vec<u32> = steps.iter().flat_map(|step| &step.floors).map(|of| of.0).collect();
        assert_eq!((steps.len(), rooms), (3, (1..=205).collect()));
    }

    #[test]
    fn what_is_let_go_of_is_gone_from_the_file_which_becomes_smaller() {
        let folder = Folder::new();
        let (_, writer) = folder.open();
        let mut home = Home::new(writer);
        home.open(1, 50);
        let body = format!("\"{}\"", "not to be found ".repeat(100));
        home.say(1, 0, &[&*body; 900]);
        assert!(home.writer.empty_wal().unwrap());
        let before = std::fs::read(folder.file()).unwrap();
        let has = |bytes: &[u8]| bytes.windows(9).any(|window| window == b"not to be");
        assert!(has(&before));
        sweep(&mut new(Keep { seconds: 1, ..Keep::default() }), &home, 1_000_000);
        let mut count = 1;
        while vacuum(home.writer.conn()).unwrap() > STORE_VACUUM_PAGES {
            count += 1;
        }
        assert!(count > 1, "in pieces");
        assert_eq!(vacuum(home.writer.conn()).unwrap(), 0);
        home.say(1, 900, &["\"x\""]);
        assert!(home.writer.empty_wal().unwrap());
        let after = std::fs::read(folder.file()).unwrap();
        assert!(!has(&after), "it is overwritten");
        assert!(after.len() * 10 < before.len(), "{} of {}", after.len(), before.len());
    }
}

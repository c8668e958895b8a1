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
//! A room's own time goes before that of all rooms, whichever is longer; of its own number of
//! messages or bytes, and that of all rooms, the less counts. Where nothing bounds all rooms, only
//! those with bounds of their own are gone through. Which ones these are is looked for once, and
//! then told by the writer: a store in which there are none is left alone.
//!
//! Invariants: a step is bounded; what is let go of is at the beginning of a room, without a gap.
//!
//! Deliberately absent: telling the rooms' homes (`threads`).
//!
//! Called by: `threads`. Calls: `statements`.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::error::{Cause, StoreError};
use super::row::{OFFSET_MAX, RoomRow, id_of, offset_of, select_rooms, with_room};
use super::statements::{number, top_of};
use super::transaction::WriteTransaction;
use crate::base::bitset::BitSet;
use crate::limits::{
    STORE_SWEEP_COUNTED, STORE_SWEEP_LET_GO, STORE_SWEEP_ROOMS, STORE_SWEEP_SOUGHT,
    STORE_VACUUM_PAGES,
};
use crate::link::facts::{Keep, RoomKeep, RoomSettings};
use crate::link::log::Marks;

/// The bytes of a message, as they are bounded: its texts, who has reacted to it, and about what
/// its id, its time and its checksum take.
const SIZE: &str = "(octet_length(user) + octet_length(name) + octet_length(body) \
                    + ifnull(octet_length(key), 0) + ifnull(octet_length(reacted), 0) + 32)";

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
    /// When it went through all of them last.
    ended_ms: Option<u64>,
    /// Behind which room it looks for those with bounds of their own; none, if it knows them, or
    /// goes through all rooms anyway.
    sought: Option<u32>,
    /// Those that may have one: a bit for each room, 2 MiB at most.
    own: BitSet,
    /// The room that is looked at.
    at: Option<u32>,
    sizes: HashMap<u32, Size, ahash::RandomState>,
}

/// How large a room is.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    bytes: u64,
    /// Up to which offset that is counted.
    through: u64,
}

/// A room that is gone through.
struct Swept {
    id: u32,
    /// Up to where it was let go of; none, if its row is damaged.
    floor: Option<u64>,
    /// Its own bounds.
    own: RoomKeep,
}

impl Swept {
    fn of(id: u32, row: Option<RoomRow<'_>>) -> Self {
        let own = row.and_then(|row| row.settings).map(RoomSettings::keep_in);
        let own = own.unwrap_or_default();
        Self { id, floor: row.map(|row| row.floor.cast_unsigned()), own }
    }
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
        let sought = (keep == Keep::default()).then_some(0);
        Self {
            keep,
            rest_ms,
            due_ms: 0,
            behind: 0,
            ended_ms: None,
            sought,
            own: BitSet::new(),
            at: None,
            sizes: HashMap::default(),
        }
    }

    /// Notes that a room may have bounds of its own from now on: its messages are looked at at
    /// once, or as soon after others were as these will be again.
    pub(super) fn note(&mut self, rooms: impl Iterator<Item = u32>, now_ms: u64) {
        if self.is_of_all() {
            return;
        }
        for room in rooms {
            self.own.set(room, true);
            if self.due_ms == u64::MAX {
                let rested_ms = self.ended_ms.map_or(0, |ended_ms| ended_ms + self.rest_ms);
                self.due_ms = rested_ms.max(now_ms);
            }
        }
    }

    /// Whether something bounds all rooms.
    fn is_of_all(&self) -> bool {
        self.keep != Keep::default()
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
        if let Some(behind) = self.sought {
            return self.seek(conn, behind).map(|()| Step::default());
        }
        let stepped = self.try_step(conn, now_ms, unix_ms);
        let Err(error) = stepped else { return stepped };
        // They may be ahead of what is there.
        self.sizes.clear();
        match self.at.take() {
            // One that cannot be read does not keep what is said in others from being kept.
            Some(room) if error.cause() == Cause::Corrupt && !self.is_of_all() => {
                tracing::error!(%error, room, "what is old in a room stays: the file is damaged");
                self.own.set(room, false);
                Ok(Step::default())
            }
            _ => Err(error),
        }
    }

    /// Looks through the next rooms for those with bounds of their own.
    fn seek(&mut self, conn: &Connection, behind: u32) -> Result<(), StoreError> {
        let through = behind.saturating_add(STORE_SWEEP_SOUGHT);
        if_readable(self.seek_through(conn, behind, through))?;
        let sql = "SELECT coalesce(max(id), 0) FROM room";
        let last =
            conn.prepare_cached(sql).and_then(|mut last| last.query_row([], |row| row.get(0)));
        let last: Option<u32> = if_readable(last.map_err(StoreError::from))?;
        self.sought = last.filter(|last| through < *last).map(|_| through);
        if self.sought.is_none() && self.own.is_empty() {
            self.due_ms = u64::MAX;
        }
        Ok(())
    }

    /// Notes which of these rooms may have bounds of their own.
    fn seek_through(
        &mut self,
        conn: &Connection,
        behind: u32,
        through: u32,
    ) -> Result<(), StoreError> {
        // What is no setting is seen when the room is gone through.
        let sql = "SELECT id FROM room WHERE id > ?1 AND id <= ?2 AND instr(settings, 'keep_') > 0";
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query(params![behind, through])?;
        while let Some(row) = rows.next()? {
            self.own.set(row.get(0)?, true);
        }
        Ok(())
    }

    /// The next rooms that are gone through, as many as a step looks at.
    fn next_rooms(&mut self, step: &Connection) -> Result<Vec<Swept>, StoreError> {
        if self.is_of_all() {
            let sql = select_rooms!("WHERE id > ?1 ORDER BY id LIMIT ?2");
            let mut statement = step.prepare_cached(sql)?;
            let found = statement.query_map(params![self.behind, STORE_SWEEP_ROOMS], |row| {
                Ok(Swept::of(row.get(0)?, RoomRow::of(row)))
            })?;
            return Ok(found.collect::<Result<_, _>>()?);
        }
        let mut statement = step.prepare_cached(select_rooms!("WHERE id = ?1"))?;
        let ids = self.own.iter_from(self.behind + 1).take(STORE_SWEEP_ROOMS as usize);
        ids.map(|id| {
            self.at = Some(id);
            let mut rows = statement.query([id])?;
            Ok(Swept::of(id, rows.next()?.and_then(RoomRow::of)))
        })
        .collect()
    }

    fn try_step(
        &mut self,
        conn: &Connection,
        now_ms: u64,
        unix_ms: u64,
    ) -> Result<Step, StoreError> {
        let step = WriteTransaction::begin(conn)?;
        let rooms = self.next_rooms(&step)?;
        let mut work = Work { let_go: STORE_SWEEP_LET_GO, counted: STORE_SWEEP_COUNTED };
        let (mut done, mut behind) = (Step::default(), self.behind);
        for &Swept { id, floor, own } in &rooms {
            // A room whose row is damaged is left alone.
            let Some(floor) = floor else {
                behind = id;
                continue;
            };
            self.at = Some(id);
            if own == RoomKeep::default() && !self.is_of_all() {
                // All of it is kept again.
                self.own.set(id, false);
                behind = id;
                continue;
            }
            let keep = self.keep.of_room(own);
            let (cut, is_all) = self.cut(&step, (id, floor), (keep, unix_ms), &mut work)?;
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
        // What fails from here on is no room's.
        self.at = None;
        step.commit()?;
        let is_end = rooms.len() < STORE_SWEEP_ROOMS as usize
            && rooms.last().is_none_or(|last| last.id == behind);
        self.behind = if is_end { 0 } else { behind };
        if is_end {
            let is_needed = self.is_of_all() || !self.own.is_empty();
            self.due_ms = if is_needed { now_ms + self.rest_ms } else { u64::MAX };
            self.ended_ms = Some(now_ms);
        }
        Ok(done)
    }

    /// Up to where a room is to be let go of now, of whose messages so much is kept, and whether
    /// that is all there is to do in it.
    fn cut(
        &mut self,
        step: &Connection,
        (id, floor): (u32, u64),
        (keep, unix_ms): (Keep, u64),
        work: &mut Work,
    ) -> Result<(u64, bool), StoreError> {
        let top = top_of(step, id)?.offset;
        let reach = top.min(floor + work.let_go);
        let range = params![id_of(id, floor + 1), id_of(id, reach)];
        let mut wanted = floor;
        if keep.messages > 0 {
            wanted = wanted.max(top.saturating_sub(keep.messages));
        }
        if keep.seconds > 0 {
            let before_ms = keep.too_old_before(unix_ms);
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
        if keep.bytes > 0 {
            let Some(size) = self.count(step, id, floor, top, work)? else {
                return Ok((floor, false));
            };
            let mut bytes = size.bytes;
            let sql =
                format!("SELECT id, {SIZE} FROM message WHERE id BETWEEN ?1 AND ?2 ORDER BY id");
            let mut statement = step.prepare_cached(&sql)?;
            let mut rows = statement.query(range)?;
            while bytes > keep.bytes
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

/// What was found, unless the file is damaged there: where nothing bounds all rooms, all else goes
/// on without what cannot be read.
fn if_readable<T>(found: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match found {
        Err(error) if error.cause() == Cause::Corrupt => {
            tracing::error!(%error, "some rooms keep what is old: the file is damaged");
            Ok(None)
        }
        found => found.map(Some),
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

    /// Settings that keep messages for so long.
    fn keeps(home: &mut Home, room: u64, keep_s: Option<u64>) {
        let settings = RoomSettings { keep_s, ..RoomSettings::default() };
        home.set(room, &settings.json());
    }

    #[test]
    fn without_a_bound_nothing_is_due_once_no_room_is_found_to_have_one() {
        let folder = Folder::new();
        let home = filled(&folder, &[2, 2]);
        let mut retention = new(Keep::default());
        assert_eq!(retention.step(home.writer.conn(), 0, u64::MAX / 2).unwrap(), Step::default());
        assert_eq!(retention.due_ms(), None);
        assert_eq!(new(messages(1)).due_ms(), Some(0));
    }

    #[test]
    fn a_rooms_own_time_goes_before_that_of_all_whichever_is_longer() {
        let folder = Folder::new();
        let mut home = filled(&folder, &[3, 3, 3, 3]);
        keeps(&mut home, 1, Some(1));
        keeps(&mut home, 2, Some(100));
        // Of an application, and of nobody.
        home.set(3, r#"{"data":{"keep_s":1}}"#);
        home.set(4, r#"{"keep_s":"1"}"#);
        let mut alone = new(Keep::default());
        let let_go = |steps: Vec<Step>| -> Vec<(u32, u64)> {
            steps.iter().flat_map(Step::offsets).collect()
        };
        let found = let_go(sweep(&mut alone, &home, 1_102));
        assert_eq!(found, [(1, 2)], "and no other, where nothing bounds all");
        assert_eq!(alone.own.iter_ones().collect::<Vec<_>>(), [1, 2]);
        let mut beside = new(Keep { seconds: 50, ..Keep::default() });
        assert_eq!(let_go(sweep(&mut beside, &home, 50_102)), [(1, 3), (3, 2), (4, 2)]);
        assert_eq!(let_go(sweep(&mut beside, &home, 100_103)), [(2, 3), (3, 3), (4, 3)]);
        let mut few = new(messages(1));
        home.say(2, 3, &["\"d\"", "\"e\""]);
        assert_eq!(let_go(sweep(&mut few, &home, 0)), [(2, 4)], "what is narrower counts");
    }

    #[test]
    fn of_a_rooms_own_number_of_messages_or_bytes_and_that_of_all_the_less_counts() {
        let folder = Folder::new();
        let mut home = filled(&folder, &[9, 9, 9, 9]);
        let three = 3 * (14 + ROW_BYTES);
        home.set(1, r#"{"keep_messages":5}"#);
        home.set(2, &format!(r#"{{"keep_bytes":{three}}}"#));
        home.set(3, r#"{"keep_messages":8,"keep_bytes":1000000}"#);
        let let_go = |steps: Vec<Step>| -> Vec<(u32, u64)> {
            steps.iter().flat_map(Step::offsets).collect()
        };
        let mut alone = new(Keep::default());
        assert_eq!(let_go(sweep(&mut alone, &home, 0)), [(1, 4), (2, 6), (3, 1)]);
        assert_eq!(alone.own.iter_ones().collect::<Vec<_>>(), [1, 2, 3]);
        let mut beside = new(messages(7));
        let found = let_go(sweep(&mut beside, &home, 0));
        assert_eq!(found, [(3, 2), (4, 2)], "no room keeps more than each may");
        let mut fewer = new(Keep { bytes: 2 * (14 + ROW_BYTES), ..Keep::default() });
        let found = let_go(sweep(&mut fewer, &home, 0));
        assert_eq!(found, [(1, 7), (2, 7), (3, 7), (4, 7)]);
    }

    #[test]
    fn a_time_is_in_force_soon_after_it_was_set_and_until_it_is_none() {
        let folder = Folder::new();
        let mut home = filled(&folder, &[3]);
        let mut retention = new(Keep::default());
        let mut at = |home: &Home, noted: bool, now_ms| {
            if noted {
                retention.note(home.writer.timed().iter().copied(), now_ms);
            }
            let mut deleted = 0;
            while retention.due_ms().is_some_and(|due_ms| due_ms <= now_ms) {
                deleted += retention.step(home.writer.conn(), now_ms, 1_102).unwrap().deleted;
            }
            (deleted, retention.due_ms())
        };
        assert_eq!(at(&home, false, 0), (0, None));
        keeps(&mut home, 1, Some(1));
        assert_eq!(at(&home, true, 10), (2, Some(70)), "at once");
        keeps(&mut home, 1, None);
        assert_eq!(at(&home, true, 20), (0, Some(70)), "it is none, and that is not known yet");
        assert_eq!(at(&home, false, 70), (0, None));
        home.say(1, 3, &["\"d\""]);
        keeps(&mut home, 1, Some(1));
        assert_eq!(at(&home, true, 80), (0, Some(130)), "not more often than others");
        assert_eq!(at(&home, false, 130), (0, Some(190)));
    }

    #[test]
    fn many_rooms_with_a_time_of_their_own_are_gone_through_in_pieces() {
        let folder = Folder::new();
        let mut home = filled(&folder, &[700; 3]);
        let count = STORE_SWEEP_SOUGHT + 250;
        let more = format!(
            "WITH RECURSIVE n(id) AS (VALUES(4) UNION ALL SELECT id + 1 FROM n WHERE id < {count}) \
             INSERT INTO room(id, name, title, founded, created_at) \
             SELECT id, 'room:' || id, '', 0, 0 FROM n"
        );
        home.writer.conn().execute_batch(&more).unwrap();
        let timed = "UPDATE room SET settings = '{\"keep_s\":1}' WHERE id = 2 OR id % 10 = 1";
        home.writer.conn().execute_batch(timed).unwrap();
        crate::side::store::schema::seal_all(home.writer.conn()).unwrap();
        let mut retention = new(Keep::default());
        let steps = sweep(&mut retention, &home, 1_000_000);
        let deleted: Vec<u64> = steps.iter().map(|step| step.deleted).collect();
        // Two to look for them, then as many messages as a step may, or a hundred rooms.
        assert_eq!(deleted, [0, 0, 500, 500, 400, 0, 0], "{steps:?}");
        assert_eq!(there(&home, 3).len(), 700);
        assert_eq!(retention.own.count_ones(), 226);
        home.say(2, 700, &["\"late\""]);
        let again = sweep(&mut retention, &home, 1_000_000);
        assert_eq!((again.len(), again[0].offsets()), (3, vec![(2, 701)]), "all others rest");
    }

    #[test]
    fn a_room_whose_row_is_damaged_keeps_all_and_others_do_not() {
        let folder = Folder::new();
        let mut home = filled(&folder, &[2, 2]);
        keeps(&mut home, 1, Some(1));
        keeps(&mut home, 2, Some(1));
        home.writer.conn().execute_batch("UPDATE room SET title = 'other' WHERE id = 1").unwrap();
        let steps = sweep(&mut new(Keep::default()), &home, 1_000_000);
        assert_eq!(steps.last().unwrap().offsets(), [(2, 2)]);
        assert_eq!(there(&home, 1), [1, 2]);
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

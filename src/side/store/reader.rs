//! A connection that only reads: rooms that are opened, and ranges of what was said.
//!
//! Invariants: 4 of [`super`]; a read ends within [`READ_MS_MAX`], so that none keeps the log from
//! being emptied.
//!
//! Deliberately absent: who may read.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rusqlite::{Connection, params};

use super::audit;
use super::epochs::{Remembered, remembered};
use super::error::{Cause, StoreError};
use super::index::Words;
use super::keys::keys_before;
use super::row::{
    Message, Next, OFFSET_MAX, RoomRow, StandingRow, each_standing, id_of, next_row, offset_of,
    room_of, select_messages, select_rooms, with_room,
};
use super::statements::top_of;
use super::told::Told;
use super::views::{pins, view};
use crate::auth::level::Joiners;
use crate::limits::{
    HistoryLimits, KEYS_PER_ROOM_MAX, STORE_LISTED_LOOKS_MAX, STORE_LISTED_MAX, TAIL_BYTES_MAX,
    TAIL_MESSAGES_MAX, UNTOLD_FACTOR,
};
use crate::link::audit::AuditWanted;
use crate::link::facts::RoomSettings;
use crate::link::kept::{Found, Run, push_listed, push_numbered};
use crate::link::log::{Marks, Part, Sought, View, Wanted};

/// How long a read may take, in milliseconds.
pub(super) const READ_MS_MAX: u64 = 500;

/// After how many steps of SQLite's machine the clock is looked at: some microseconds.
const STEPS_PER_LOOK: i32 = 1_000;

/// How many hits are looked at together.
const FIND_STEP: u32 = 64;

/// And how often, for one answer.
const FIND_STEPS_MAX: usize = 64;

/// The connection. See the module.
pub(super) struct Reader {
    conn: Connection,
    words: Words,
    due: Due,
    /// How long a read may take, in milliseconds.
    ms_max: u64,
    /// How many rows did not fit their checksum, or could not be read.
    damaged: u64,
    /// Held as long as this.
    _lock: Arc<File>,
}

/// When the read under way of a thread is to end, whatever it reads in.
#[derive(Clone, Debug)]
pub(super) struct Due {
    began: Instant,
    /// In milliseconds since `began`.
    at_ms: Arc<AtomicU64>,
}

impl Default for Due {
    fn default() -> Self {
        Self { began: Instant::now(), at_ms: Arc::new(AtomicU64::new(u64::MAX)) }
    }
}

impl Due {
    /// From now on, what is read with a connection ends when it is due. It looks at the clock after
    /// so many steps of SQLite's machine.
    ///
    /// # Errors
    ///
    /// Those of SQLite.
    pub(super) fn bound(
        &self,
        conn: &mut Connection,
        steps_per_look: i32,
    ) -> Result<(), StoreError> {
        let due = self.clone();
        let is_late = move || due.elapsed_ms() > due.at_ms.load(Ordering::Relaxed);
        Ok(conn.progress_handler(steps_per_look, Some(is_late))?)
    }

    /// A read begins, which may take so many milliseconds.
    pub(super) fn begin(&self, within_ms: u64) {
        self.at_ms.store(self.elapsed_ms() + within_ms, Ordering::Relaxed);
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// How much of what was said last is read with a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailBounds {
    /// Messages.
    pub messages: u32,
    /// Their bytes as they are kept, about.
    pub bytes: usize,
}

impl TailBounds {
    /// What a room with such a history is opened with: all that it may have in memory, if a turn
    /// can take that in. Older messages are read when somebody asks for them.
    #[must_use]
    pub fn of(history: &HistoryLimits) -> Self {
        Self {
            messages: history.messages.min(TAIL_MESSAGES_MAX),
            bytes: history.room_bytes.min(TAIL_BYTES_MAX),
        }
    }
}

/// A room, as it is kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Loaded {
    epoch: u64,
    origin: u64,
    top: Marks,
    floor: Marks,
    founded: Option<Box<str>>,
    settings: Option<Box<str>>,
    standings: Vec<u8>,
    audited: u64,
    lineage: Vec<u8>,
    pins: Vec<u8>,
    keys: Vec<u8>,
    tail: Vec<u8>,
}

impl Loaded {
    /// As it is told.
    pub(super) fn found(&self) -> Found<'_> {
        Found {
            epoch: self.epoch,
            origin: self.origin,
            top: self.top,
            floor: self.floor,
            founded: self.founded.as_deref(),
            settings: self.settings.as_deref(),
            standings: &self.standings,
            audited: self.audited,
            lineage: &self.lineage,
            pins: &self.pins,
            keys: &self.keys,
            tail: &self.tail,
        }
    }
}

/// Messages that were read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    first: u64,
    more: bool,
    messages: Vec<u8>,
    /// How many messages those are.
    count: u64,
    /// How many of their bytes members are not told.
    untold: usize,
    changed: Vec<u8>,
    picked: Vec<u8>,
}

impl Page {
    /// Of messages that are not all of the room's.
    pub(super) fn of_view(picked: Vec<u8>, more: bool) -> Self {
        Self { more, picked, ..Self::default() }
    }

    /// As they are told.
    pub(super) fn run(&self) -> Run<'_> {
        let Self { first, more, messages, count: _, untold: _, changed, picked } = self;
        Run { first: *first, more: *more, messages, changed, picked }
    }
}

impl Reader {
    pub(super) fn new(
        mut conn: Connection,
        words: Words,
        due: Due,
        lock: Arc<File>,
    ) -> Result<Self, StoreError> {
        due.bound(&mut conn, STEPS_PER_LOOK)?;
        Ok(Self { conn, words, due, ms_max: READ_MS_MAX, damaged: 0, _lock: lock })
    }

    /// Reads may take so long from now on.
    #[cfg(test)]
    pub(super) fn set_ms_max(&mut self, ms_max: u64) {
        self.ms_max = ms_max;
    }

    /// How many times since this was last asked something was not served, for it was damaged.
    pub(super) fn take_damaged(&mut self) -> u64 {
        std::mem::take(&mut self.damaged)
    }

    fn begin(&self) {
        self.due.begin(self.ms_max);
    }

    /// Reads a room: where it stands, its epochs, and its last messages without a hole, as far back
    /// as they are whole, and can be read in time.
    ///
    /// # Errors
    ///
    /// Those of SQLite, and if not one message can be read in time.
    pub(super) fn load(&mut self, id: u32, bounds: TailBounds) -> Result<Loaded, StoreError> {
        self.begin();
        // One look, whatever is written meanwhile.
        let look = self.conn.unchecked_transaction()?;
        let top = top_of(&look, id)?;
        let (founded, settings, floor) = with_room(&look, id, |room| {
            let founded = (room.founded != 0).then(|| room.title.into());
            let (offset, change) = (room.floor, room.changed_floor);
            let floor = Marks { offset: offset.cast_unsigned(), change: change.cast_unsigned() };
            (founded, room.settings.map(Box::from), floor)
        })?;
        let mut standings = Vec::new();
        let damaged = each_standing(&look, id, |StandingRow { user, standing, .. }| {
            Found::push_standing(&mut standings, user, standing);
            Ok(())
        })?;
        // It may be a ban: rather nobody comes in than somebody who was put out.
        if damaged > 0 {
            return Err(StoreError::Room { id, what: "how its users stand" });
        }
        // Before what may take all the time that there is. The tail may turn out shorter.
        let in_memory = u64::from(bounds.messages).max(KEYS_PER_ROOM_MAX as u64);
        let first_in_memory = (top.offset + 1).saturating_sub(in_memory);
        let Remembered { present, origin, lineage } = remembered(&look, id, first_in_memory)?;
        let audited = audit::last(&look, id)?;
        let pins = pins(&look, id, &mut self.damaged)?;
        let pieces = last_pieces(&look, id, (floor, top), bounds, &mut self.damaged)?;
        let tail = pieces.backwards();
        let first = top.offset + 1 - pieces.len();
        let keys = keys_before(&look, id, (first, top.offset), &mut self.damaged)?;
        Ok(Loaded {
            epoch: present,
            origin,
            top,
            floor,
            founded,
            settings,
            standings,
            audited,
            lineage,
            pins,
            keys,
            tail,
        })
    }

    /// Reads messages of a room, without a hole: those next to the end of what is wanted, the upper
    /// one for the newest, the lower one for others. Damaged ones at that end are skipped. What
    /// cannot be read in time is left for the next question.
    ///
    /// # Errors
    ///
    /// Those of SQLite, and if not one message can be read in time.
    pub(super) fn read(&mut self, id: u32, wanted: Wanted) -> Result<Page, StoreError> {
        self.begin();
        // One look, whatever is written meanwhile.
        let look = self.conn.unchecked_transaction()?;
        match wanted {
            Wanted { view: View::Room, part: Part::Around(offset), .. } => {
                around(&look, id, wanted, offset, &mut self.damaged)
            }
            Wanted { view: View::Room, .. } => run(&look, id, wanted, &mut self.damaged),
            _ => view(&look, id, wanted, &mut self.damaged),
        }
    }

    /// Looks for messages of a room, the newest first; and before which offset there may be more, 0
    /// if there is none. None, if there is no whole index now.
    ///
    /// # Errors
    ///
    /// Those of SQLite, and if it takes too long.
    pub(super) fn find(
        &mut self,
        id: u32,
        sought: Sought<'_>,
    ) -> Result<Option<(Vec<u8>, u64)>, StoreError> {
        self.begin();
        let Sought { query, from, before, messages, bytes } = sought;
        let (mut hits, mut count) = (Vec::new(), 0);
        let mut last = before.clamp(1, OFFSET_MAX + 1) - 1;
        let mut statement = self.conn.prepare_cached(select_messages!("WHERE id = ?1"))?;
        let told = Told::of(&self.conn, id)?;
        // Some at a time: those of other users are passed over, and those without a row.
        for _ in 0..FIND_STEPS_MAX {
            let range = (id_of(id, 1), id_of(id, last));
            let Some(found) = self.words.find(query, range, FIND_STEP)? else { return Ok(None) };
            for hit in &found {
                let mut rows = statement.query([hit])?;
                let Some(row) = rows.next()? else { continue };
                let Some(mut message) = Message::of(row) else {
                    self.damaged += 1;
                    continue;
                };
                if from.is_some_and(|from| from != message.said.user) {
                    continue;
                }
                if count == messages || hits.len() > bytes {
                    return Ok(Some((hits, offset_of(*hit) + 1)));
                }
                if message.fate.deleted.is_some() {
                    continue;
                }
                told.note(&mut message)?;
                let Message { id, at_ms, said, fate } = message;
                push_numbered(&mut hits, offset_of(id), at_ms, said, fate);
                count += 1;
            }
            match found.last() {
                Some(oldest) if found.len() == FIND_STEP as usize => last = offset_of(*oldest) - 1,
                _ => return Ok(Some((hits, 0))),
            }
        }
        Ok(Some((hits, last + 1)))
    }

    /// Reads lines of the audit trail of a room, the newest first: the answer as it is told.
    ///
    /// # Errors
    ///
    /// Those of SQLite, and if it takes too long.
    pub(super) fn audit(
        &mut self,
        id: u32,
        wanted: AuditWanted,
        bytes: usize,
    ) -> Result<Vec<u8>, StoreError> {
        self.begin();
        audit::page(&self.conn, id, wanted, bytes, &mut self.damaged)
    }

    /// Appends some of the rooms behind an id that `is_wanted` names to a list. Returns behind
    /// which id there may be more.
    ///
    /// # Errors
    ///
    /// Those of SQLite, and if it takes too long.
    pub(super) fn list(
        &mut self,
        after: u64,
        is_wanted: impl Fn(&str) -> bool,
        rooms: &mut Vec<u8>,
    ) -> Result<Option<u64>, StoreError> {
        self.begin();
        let sql = select_rooms!("WHERE id > ?1 ORDER BY id LIMIT ?2");
        let mut statement = self.conn.prepare_cached(sql)?;
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let mut found = statement.query(params![after, STORE_LISTED_LOOKS_MAX])?;
        let (mut looked_at, mut listed, mut last) = (0, 0, 0);
        while let Some(row) = found.next()? {
            let id = row.get::<_, i64>(0)?;
            (looked_at, last) = (looked_at + 1, id.cast_unsigned());
            // A name that is damaged is nobody's.
            let Some(room) = RoomRow::of(row) else {
                tracing::error!(id, "the row of a room is not what was written: it is not listed");
                self.damaged += 1;
                continue;
            };
            let is_private = |settings: &str| RoomSettings::read(settings).join != Joiners::All;
            if is_wanted(room.topic) && !room.settings.is_some_and(is_private) {
                let founded = (room.founded != 0).then_some(room.title);
                push_listed(rooms, room.topic, founded, Some(0));
                listed += 1;
            }
            if listed == STORE_LISTED_MAX {
                return Ok(Some(last));
            }
        }
        Ok((looked_at == STORE_LISTED_LOOKS_MAX).then_some(last))
    }

    #[cfg(test)]
    pub(super) fn conn(&self) -> &Connection {
        self.begin();
        &self.conn
    }
}

/// The last messages of a room, the last one first, without a hole: as far back as they are whole,
/// and can be read in time.
///
/// # Errors
///
/// Those of SQLite, and if not one can be read in time.
fn last_pieces(
    conn: &Connection,
    id: u32,
    (floor, top): (Marks, Marks),
    bounds: TailBounds,
    damaged: &mut u64,
) -> Result<Pieces, StoreError> {
    let sql = select_messages!("WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC LIMIT ?3");
    let mut statement = conn.prepare_cached(sql)?;
    // One at least: it says how late it was in the room.
    let messages = bounds.messages.max(1);
    let range = params![id_of(id, 1), id_of(id, top.offset), messages];
    let mut rows = statement.query(range)?;
    let mut pieces = Pieces::default();
    // Not beyond the first one: what lies there is another room's, and may be damaged.
    while pieces.len() < top.offset.saturating_sub(floor.offset) {
        let row = match rows.next().map_err(StoreError::from) {
            Ok(Some(row)) => row,
            Ok(None) => {
                // Offsets have no gap: what is not there is hidden by damage of its page.
                *damaged += u64::from(pieces.len() < u64::from(messages));
                break;
            }
            Err(error) if error.cause() == Cause::Corrupt => {
                *damaged += 1;
                break;
            }
            // With a shorter tail it can be joined, and without one never.
            Err(error) if error.is_late() && pieces.len() > 0 => break,
            Err(error) => return Err(error),
        };
        let Some(message) = Message::of(row) else {
            *damaged += 1;
            break;
        };
        if offset_of(message.id) != top.offset - pieces.len() {
            *damaged += 1;
            break;
        }
        if !pieces.push(&message, bounds.bytes) {
            break;
        }
    }
    Ok(pieces)
}

/// Messages of a room, without a hole: see [`Reader::read`].
fn run(look: &Connection, id: u32, wanted: Wanted, damaged: &mut u64) -> Result<Page, StoreError> {
    let Wanted { after, upto, part, messages: count, bytes, changed, view: _ } = wanted;
    let is_newest = part == Part::Newest;
    let sql = if is_newest {
        select_messages!("WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC")
    } else {
        select_messages!("WHERE id BETWEEN ?1 AND ?2 ORDER BY id")
    };
    let mut statement = look.prepare_cached(sql)?;
    let mut rows = statement.query(params![id_of(id, after + 1), id_of(id, upto)])?;
    let told = Told::of(look, id)?;
    let (mut begin, mut more, mut pieces) = (0, false, Pieces::default());
    // Not beyond the last one that is wanted, as above.
    while pieces.len() < upto.saturating_sub(after) {
        let row = match next_row(&mut rows, pieces.len() > 0, damaged)? {
            Next::Row(row) => row,
            Next::End => break,
            Next::Cut => {
                more = true;
                break;
            }
        };
        let Some(mut message) = Message::of(row) else {
            *damaged += 1;
            if pieces.len() == 0 {
                continue;
            }
            more = true;
            break;
        };
        let offset = offset_of(message.id);
        if pieces.len() == 0 {
            begin = offset;
        }
        if !told.note_in_time(&mut message, pieces.len() > 0)? {
            more = true;
            break;
        }
        let next = if is_newest { begin - pieces.len() } else { begin + pieces.len() };
        // Behind what was let go of offsets have no gap.
        *damaged += u64::from(offset != next);
        let is_one_more = offset == next && pieces.len() < u64::from(count);
        if !is_one_more || !pieces.push(&message, bytes) {
            more = true;
            break;
        }
    }
    let first = if is_newest { (begin + 1).saturating_sub(pieces.len()) } else { begin };
    let (count, untold) = (pieces.len(), pieces.untold);
    let messages = if is_newest { pieces.backwards() } else { pieces.bytes };
    let mut page = Page { first, more, messages, count, untold, ..Page::default() };
    if let Some(behind) = changed {
        let bytes = bytes.saturating_sub(page.messages.len() - untold);
        let behind = (behind, after);
        let (changed, is_whole) = changed_behind(look, (id, &told), behind, bytes, damaged)?;
        (page.changed, page.more) = (changed, page.more || !is_whole);
    }
    Ok(page)
}

/// Messages of a room around one, without a hole; none, if that one cannot be told.
fn around(
    look: &Connection,
    id: u32,
    wanted: Wanted,
    offset: u64,
    damaged: &mut u64,
) -> Result<Page, StoreError> {
    let bytes = wanted.bytes / 2;
    let before = Wanted { upto: offset, part: Part::Newest, bytes, ..wanted };
    let mut page = run(look, id, before, damaged)?;
    if page.first + page.count != offset + 1 {
        return Ok(Page::default());
    }
    let bytes = wanted.bytes.saturating_sub(page.messages.len() - page.untold);
    let behind = Wanted { after: offset, part: Part::Oldest, bytes, ..wanted };
    match run(look, id, behind, damaged) {
        Ok(behind) if behind.count > 0 && behind.first == offset + 1 => {
            page.messages.extend_from_slice(&behind.messages);
            page.count += behind.count;
            page.untold += behind.untold;
            page.more |= behind.more;
        }
        // There is none, or the first one is damaged.
        Ok(behind) => page.more |= behind.count > 0,
        Err(error) if error.is_late() => page.more = true,
        Err(error) => return Err(error),
    }
    Ok(page)
}

/// Messages on their way, in the order in which they were read.
struct Pieces {
    bytes: Vec<u8>,
    /// How many of them members are not told.
    untold: usize,
    /// Where each begins, and where the last one ends.
    ends: Vec<usize>,
}

impl Default for Pieces {
    fn default() -> Self {
        Self { bytes: Vec::new(), untold: 0, ends: vec![0] }
    }
}

impl Pieces {
    fn len(&self) -> u64 {
        self.ends.len() as u64 - 1
    }

    /// Adds a message, unless all would be more than this; the first one may be.
    fn push(&mut self, message: &Message<'_>, bytes_max: usize) -> bool {
        let before = self.bytes.len();
        Found::push_message(&mut self.bytes, message.at_ms, message.said, message.fate);
        let untold = self.untold + message.untold_bytes();
        let has_place = fits(self.bytes.len(), untold, bytes_max) || before == 0;
        if has_place {
            self.untold = untold;
            self.ends.push(self.bytes.len());
        } else {
            self.bytes.truncate(before);
        }
        has_place
    }

    /// The last one first.
    fn backwards(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes.len());
        for piece in self.ends.windows(2).rev() {
            bytes.extend_from_slice(&self.bytes[piece[0]..piece[1]]);
        }
        bytes
    }
}

/// Whether messages on their way may have so many bytes, of which so many are not told, where so
/// many may be told.
pub(super) fn fits(bytes: usize, untold: usize, bytes_max: usize) -> bool {
    bytes - untold <= bytes_max && bytes <= bytes_max.saturating_mul(UNTOLD_FACTOR)
}

/// The messages of a room that have changed behind a change, those up to an offset, in the order of
/// their changes; and whether that is all: one may be damaged, or there may be more than `bytes`.
fn changed_behind(
    look: &Connection,
    (id, told): (u32, &Told<'_>),
    (behind, upto): (u64, u64),
    bytes: usize,
    damaged: &mut u64,
) -> Result<(Vec<u8>, bool), StoreError> {
    let (mut changed, mut untold, mut last) = (Vec::new(), 0, behind);
    if hides_changes(look, id, behind)? {
        *damaged += 1;
        return Ok((changed, false));
    }
    // Up to the first one of another room, and not up to the last change that there may be: an
    // entry of the index that is altered lies where it was, and would hide those behind it.
    let sql = select_messages!("INDEXED BY changed WHERE change > ?1 ORDER BY change");
    let mut statement = look.prepare_cached(sql)?;
    let mut rows = statement.query([id_of(id, behind)])?;
    while let Some(row) = rows.next()? {
        // Each row says itself that it is the one that the index means.
        let mut message = match Message::of(row) {
            Some(message) if room_of(message.id) != id => break,
            Some(message) if message.fate.change > last => message,
            _ => {
                *damaged += 1;
                return Ok((Vec::new(), false));
            }
        };
        last = message.fate.change;
        if offset_of(message.id) > upto {
            continue;
        }
        untold += message.untold_bytes();
        told.note(&mut message)?;
        let Message { id, at_ms, said, fate } = message;
        push_numbered(&mut changed, offset_of(id), at_ms, said, fate);
        if !fits(changed.len(), untold, bytes) {
            return Ok((Vec::new(), false));
        }
    }
    Ok((changed, true))
}

/// Whether the entry of the index of changes that lies before those of a room behind a change is
/// one of them: it is altered, and would hide itself.
fn hides_changes(look: &Connection, id: u32, behind: u64) -> Result<bool, StoreError> {
    let sql =
        select_messages!("INDEXED BY changed WHERE change <= ?1 ORDER BY change DESC LIMIT 1");
    let mut statement = look.prepare_cached(sql)?;
    let mut rows = statement.query([id_of(id, behind)])?;
    let is_hidden =
        |message: Message<'_>| room_of(message.id) == id && message.fate.change > behind;
    Ok(rows.next()?.is_some_and(|row| Message::of(row).is_none_or(is_hidden)))
}

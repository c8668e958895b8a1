//! The form of rows in the file: the ids of messages, what a row has, and its checksum.
//!
//! SQLite has no checksums of its own, so a bit that changed on the disk would be somebody else's
//! words. The sum is over all that is served, and over the id, so that a row which lies in the
//! wrong place is seen too.
//!
//! Deliberately absent: which rows are read.

use rusqlite::{Connection, Row, Rows};
use sha1::{Digest, Sha1};

use super::error::{Cause, StoreError};
use crate::auth::level::{Role, Standing};
use crate::link::said::{Act, Fate, Said};

/// How many bits of an id are its offset: 39, so 24 are its room and the sign is never used.
pub(super) const OFFSET_BITS: u32 = 39;

/// The greatest offset.
pub(super) const OFFSET_MAX: u64 = (1 << OFFSET_BITS) - 1;

/// The greatest id of a room.
pub(super) const ROOM_MAX: u32 = (1 << (63 - OFFSET_BITS)) - 1;

/// The key of a message: all of a room is one range, in the order in which it was said.
///
/// # Panics
///
/// If the room or the offset is beyond what there may be: the message would be another room's.
pub(super) fn id_of(room: u32, offset: u64) -> i64 {
    assert!(room <= ROOM_MAX, "room {room} has no place in an id");
    assert!(offset <= OFFSET_MAX, "offset {offset} has no place in an id");
    i64::from(room) << OFFSET_BITS | offset.cast_signed()
}

/// The room in an id of [`id_of`].
pub(super) fn room_of(id: i64) -> u32 {
    u32::try_from(id >> OFFSET_BITS).expect("24 bits")
}

/// The offset in an id.
pub(super) fn offset_of(id: i64) -> u64 {
    id.cast_unsigned() & OFFSET_MAX
}

/// A number of a room's row that says how far its offsets or changes have come.
///
/// # Errors
///
/// If no offset is so large: the row is damaged.
pub(super) fn checked_offset(number: i64) -> Result<u64, StoreError> {
    let offset = u64::try_from(number).ok().filter(|offset| *offset < OFFSET_MAX);
    offset.ok_or(StoreError::Contradiction("a room has come further than there are offsets"))
}

/// A query for rows of [`Message`], with what stands behind `FROM message`.
///
/// Each column that is added here and read by [`Message::read`] needs a `NULL` at its place in the
/// query of `schema::seal_fates` too: that reads rows of files which do not have it yet.
macro_rules! select_messages {
    ($which:literal) => {
        concat!(
            "SELECT id, at, user, name, body, key, reply_to, sum, thread, change, edited_at, \
             deleted_at, deleted_by, pinned_at, pinned_by, mentions, data, reacted, stream \
             FROM message ",
            $which
        )
    };
}

pub(super) use select_messages;

/// A row of `message`, as far as it is served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) id: i64,
    pub(super) at_ms: u64,
    pub(super) said: Said<'a>,
    pub(super) fate: Fate<'a>,
}

impl<'a> Message<'a> {
    /// From the first columns of a row: see [`select_messages`]. None, if it does not fit its
    /// checksum or has no such columns.
    pub(super) fn of(row: &'a Row<'_>) -> Option<Self> {
        let (message, sum) = Self::read(row)?;
        (sum == message.sum()).then_some(message)
    }

    /// The same, and the checksum that is in the row; none, if it has no such columns.
    pub(super) fn read(row: &'a Row<'_>) -> Option<(Self, i64)> {
        let number = |index| row.get::<_, i64>(index).ok();
        let text = |index| row.get_ref(index).ok()?.as_str().ok();
        let maybe = |index| row.get_ref(index).ok()?.as_str_or_null().ok();
        let maybe_number = |index| {
            let number = row.get::<_, Option<i64>>(index).ok()?;
            Some(number.map(i64::cast_unsigned))
        };
        let (id, at) = (number(0)?, number(1)?);
        // In the same room, or it is not what was written.
        let place = |index| match row.get::<_, Option<i64>>(index).ok()? {
            None => Some(None),
            Some(of) => (of >> OFFSET_BITS == id >> OFFSET_BITS).then(|| Some(offset_of(of))),
        };
        let said = Said {
            user: text(2)?,
            name: text(3)?,
            body: text(4)?,
            key: maybe(5)?,
            reply_to: maybe_number(6)?,
            thread: place(8)?,
            mentions: maybe(15)?,
            data: maybe(16)?,
            stream: row.get::<_, Option<i64>>(18).ok()?.is_some(),
        };
        let act = |at_ms: Option<u64>, by| at_ms.map(|at_ms| Act { at_ms, by });
        let fate = Fate {
            change: place(9)?.unwrap_or_default(),
            edited: act(maybe_number(10)?, None),
            deleted: act(maybe_number(11)?, maybe(12)?),
            pinned: act(maybe_number(13)?, maybe(14)?),
            reacted: maybe(17)?,
            // What is told besides: see `told`.
            replies: None,
            epoch: None,
        };
        Some((Self { id, at_ms: at.cast_unsigned(), said, fate }, number(7)?))
    }

    /// How many bytes of it go along to its home, and are not told. About.
    pub(super) fn untold_bytes(&self) -> usize {
        self.fate.reacted.map_or(0, str::len)
    }

    /// A checksum over all of it and its place. Of a message that has none of what came with later
    /// versions, it is what it was before these.
    pub(super) fn sum(&self) -> i64 {
        let Self { id, at_ms, said, fate } = *self;
        let Said { user, name, body, key, reply_to, thread, mentions, data, stream } = said;
        let mut sum = Sum::default();
        sum.numbers(&[id, at_ms.cast_signed()]);
        for text in [user, name, body, key.unwrap_or_default()] {
            sum.text(text);
        }
        sum.0.update([u8::from(key.is_some()), u8::from(reply_to.is_some())]);
        sum.0.update(reply_to.unwrap_or_default().to_le_bytes());
        if !said.is_plain() || fate != Fate::default() {
            let Fate { change, edited, deleted, pinned, reacted, replies: _, epoch: _ } = fate;
            sum.numbers(&[thread.unwrap_or_default().cast_signed(), change.cast_signed()]);
            for text in [mentions, data] {
                sum.text(text.unwrap_or_default());
            }
            for act in [edited, deleted, pinned] {
                let at_ms = act.map_or(-1, |act| act.at_ms.cast_signed());
                sum.numbers(&[at_ms]);
                sum.text(act.and_then(|act| act.by).unwrap_or_default());
            }
            if let Some(reacted) = reacted {
                sum.text(reacted);
            }
            if stream {
                sum.numbers(&[1]);
            }
        }
        sum.end()
    }
}

/// What checksums are made of: the first 8 bytes of SHA-1, which is the same on each machine and in
/// each version, and is a dependency already.
#[derive(Default)]
pub(super) struct Sum(Sha1);

impl Sum {
    pub(super) fn numbers(&mut self, numbers: &[i64]) {
        for number in numbers {
            self.0.update(number.to_le_bytes());
        }
    }

    /// With its length, so that no text can take a letter of the next one.
    pub(super) fn text(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text.as_bytes());
    }

    pub(super) fn end(self) -> i64 {
        let digest: [u8; 20] = self.0.finalize().into();
        let (first, _) = digest.split_first_chunk().expect("20 bytes");
        i64::from_le_bytes(*first)
    }
}

/// A query for rows of [`RoomRow`], with what stands behind `FROM room`.
macro_rules! select_rooms {
    ($which:literal) => {
        concat!(
            "SELECT id, name, title, founded, created_at, by, settings, floor, last, last_change, \
             changed_floor, sum FROM room ",
            $which
        )
    };
}

pub(super) use select_rooms;

/// A row of `room`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RoomRow<'a> {
    pub(super) id: i64,
    pub(super) topic: &'a str,
    pub(super) title: &'a str,
    pub(super) founded: i64,
    pub(super) created_at: i64,
    pub(super) by: Option<&'a str>,
    pub(super) settings: Option<&'a str>,
    pub(super) floor: i64,
    pub(super) last: i64,
    pub(super) last_change: i64,
    pub(super) changed_floor: i64,
}

impl<'a> RoomRow<'a> {
    /// From a row: see [`select_rooms`]. None, if it does not fit its checksum or has no such
    /// columns.
    pub(super) fn of(row: &'a Row<'_>) -> Option<Self> {
        let (room, is_whole) = Self::read(row)?;
        is_whole.then_some(room)
    }

    /// The same, and whether it fits its checksum.
    pub(super) fn read(row: &'a Row<'_>) -> Option<(Self, bool)> {
        let number = |index| row.get::<_, i64>(index).ok();
        let text = |index| row.get_ref(index).ok()?.as_str().ok();
        let maybe = |index| row.get_ref(index).ok()?.as_str_or_null().ok();
        let room = Self {
            id: number(0)?,
            topic: text(1)?,
            title: text(2)?,
            founded: number(3)?,
            created_at: number(4)?,
            by: maybe(5)?,
            settings: maybe(6)?,
            floor: number(7)?,
            last: number(8)?,
            last_change: number(9)?,
            changed_floor: number(10)?,
        };
        Some((room, number(11)? == room.sum()))
    }

    /// Its checksum.
    pub(super) fn sum(&self) -> i64 {
        let Self { id, topic, title, founded, created_at, by, settings, .. } = *self;
        let Self { floor, last, last_change, changed_floor, .. } = *self;
        let mut sum = Sum::default();
        let has = [by, settings].map(|text| i64::from(text.is_some()));
        sum.numbers(&[id, founded, created_at, floor, last, last_change, changed_floor]);
        sum.numbers(&has);
        for text in [topic, title, by.unwrap_or_default(), settings.unwrap_or_default()] {
            sum.text(text);
        }
        sum.end()
    }
}

/// Reads the row of a room.
///
/// # Errors
///
/// Those of SQLite, and if there is none that is what was written.
pub(super) fn with_room<R>(
    conn: &Connection,
    id: u32,
    read: impl FnOnce(&RoomRow<'_>) -> R,
) -> Result<R, StoreError> {
    let mut statement = conn.prepare_cached(select_rooms!("WHERE id = ?1"))?;
    let mut rows = statement.query([id])?;
    let room = rows.next()?.and_then(RoomRow::of);
    room.map(|room| read(&room)).ok_or(StoreError::Room { id, what: "its row" })
}

/// A query for rows of [`EraRow`], with what stands behind `FROM era`.
macro_rules! select_eras {
    ($which:literal) => {
        concat!("SELECT room, first, first_change, epoch, life, sum FROM era ", $which)
    };
}

pub(super) use select_eras;

/// A row of `era`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EraRow {
    pub(super) room: u32,
    pub(super) first: i64,
    pub(super) first_change: i64,
    pub(super) epoch: i64,
    pub(super) life: i64,
}

impl EraRow {
    /// From a row of a room: see [`select_eras`].
    ///
    /// # Errors
    ///
    /// If it is not what was written.
    pub(super) fn of(row: &Row<'_>, id: u32) -> Result<Self, StoreError> {
        match Self::read(row) {
            Some((era, true)) => Ok(era),
            _ => Err(StoreError::Room { id, what: "an era" }),
        }
    }

    /// The same, and whether it fits its checksum; none, if it has no such columns.
    pub(super) fn read(row: &Row<'_>) -> Option<(Self, bool)> {
        let number = |index| row.get::<_, i64>(index).ok();
        let era = Self {
            room: row.get(0).ok()?,
            first: number(1)?,
            first_change: number(2)?,
            epoch: number(3)?,
            life: number(4)?,
        };
        Some((era, number(5)? == era.sum()))
    }

    /// Its checksum.
    pub(super) fn sum(self) -> i64 {
        let Self { room, first, first_change, epoch, life } = self;
        let mut sum = Sum::default();
        sum.numbers(&[i64::from(room), first, first_change, epoch, life]);
        sum.end()
    }
}

/// A row of `standing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StandingRow<'a> {
    pub(super) room: u32,
    pub(super) user: &'a str,
    pub(super) standing: Standing,
}

impl<'a> StandingRow<'a> {
    /// From a row, with the checksum that is in it: see [`each_standing`]. None, if it has no such
    /// columns.
    fn read(row: &'a Row<'_>) -> Option<(Self, i64)> {
        let number = |index| row.get::<_, i64>(index).ok();
        let role = match row.get_ref(2).ok()?.as_str_or_null().ok()? {
            Some(word) => Some(Role::of(word)?),
            None => None,
        };
        let (muted_until_ms, banned_until_ms) =
            (number(3)?.cast_unsigned(), number(4)?.cast_unsigned());
        let standing = Standing { role, muted_until_ms, banned_until_ms };
        let user = row.get_ref(1).ok()?.as_str().ok()?;
        Some((Self { room: row.get(0).ok()?, user, standing }, number(5)?))
    }

    /// Its checksum.
    pub(super) fn sum(self) -> i64 {
        let Self { room, user, standing } = self;
        let Standing { role, muted_until_ms, banned_until_ms } = standing;
        let mut sum = Sum::default();
        let untils = [muted_until_ms, banned_until_ms].map(u64::cast_signed);
        sum.numbers(&[i64::from(room), untils[0], untils[1]]);
        sum.text(user);
        sum.text(role.map_or("", Role::as_str));
        sum.end()
    }
}

/// Whether a row of [`StandingRow`] is not what was written, and may have been this room's.
fn is_damaged_in(row: &Row<'_>, room: u32) -> bool {
    match StandingRow::read(row) {
        Some((read, sum)) if read.sum() == sum => false,
        Some((read, sum)) => read.room == room || StandingRow { room, ..read }.sum() == sum,
        None => row.get::<_, u32>(0).map_or(true, |of| of == room),
    }
}

/// A query for rows of [`StandingRow`], with what stands behind `FROM standing`.
macro_rules! select_standings {
    ($which:literal) => {
        concat!("SELECT room, user, role, muted_until, banned_until, sum FROM standing ", $which)
    };
}

/// Goes through how users stand in a room, in the order of their ids. Returns how many rows are not
/// what was written.
///
/// A row whose room is altered lies where it was, so the rows next to the room's are looked at too:
/// otherwise it would hide itself, and those behind it.
///
/// # Errors
///
/// Those of SQLite, and those of `each`.
pub(super) fn each_standing(
    conn: &Connection,
    room: u32,
    mut each: impl FnMut(StandingRow<'_>) -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    let mut damaged = 0;
    let before = select_standings!("WHERE room < ?1 ORDER BY room DESC, user DESC LIMIT 1");
    let mut statement = conn.prepare_cached(before)?;
    if let Some(row) = statement.query([room])?.next()? {
        damaged += u64::from(is_damaged_in(row, room));
    }
    let from = select_standings!("WHERE room >= ?1 ORDER BY room, user");
    let mut statement = conn.prepare_cached(from)?;
    let mut rows = statement.query([room])?;
    while let Some(row) = rows.next()? {
        match StandingRow::read(row) {
            Some((row, sum)) if row.sum() == sum && row.room == room => each(row)?,
            Some((row, sum)) if row.sum() == sum => break,
            _ => damaged += u64::from(is_damaged_in(row, room)),
        }
    }
    Ok(damaged)
}

/// What comes next of the rows that a page is made of.
pub(super) enum Next<'rows> {
    Row(&'rows Row<'rows>),
    /// That was all.
    End,
    /// It is damaged, or would take too long. There may be more behind it.
    Cut,
}

/// Takes a row for a page, which may end before one that cannot be read if it has something.
///
/// # Errors
///
/// Those of SQLite, if it may not end.
pub(super) fn next_row<'rows>(
    rows: &'rows mut Rows<'_>,
    may_end: bool,
    damaged: &mut u64,
) -> Result<Next<'rows>, StoreError> {
    match rows.next().map_err(StoreError::from) {
        Ok(row) => Ok(row.map_or(Next::End, Next::Row)),
        Err(error) if may_end && error.cause() == Cause::Corrupt => {
            *damaged += 1;
            Ok(Next::Cut)
        }
        // Whoever asks again would not get further.
        Err(error) if may_end && error.is_late() => Ok(Next::Cut),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_in_the_order_of_rooms_and_of_offsets() {
        let ids = [(0, 1), (1, 0), (1, 1), (1, OFFSET_MAX), (2, 0), (ROOM_MAX, OFFSET_MAX)];
        let ids = ids.map(|(room, offset)| id_of(room, offset));
        assert!(ids.is_sorted() && ids[0] > 0, "{ids:?}");
        assert_eq!((room_of(id_of(3, 77)), offset_of(id_of(3, 77))), (3, 77));
    }

    #[test]
    #[should_panic(expected = "has no place")]
    fn no_room_reaches_into_the_next_one() {
        id_of(0, OFFSET_MAX + 1);
    }

    #[test]
    fn whatever_is_changed_changes_the_sum() {
        let said = Said { user: "ab", name: "c", body: "\"x\"", ..Said::default() };
        let plain = Message { id: 1, at_ms: 2, said, fate: Fate::default() };
        let of = |said| Message { said, ..plain };
        let fated = |fate| Message { fate, ..plain };
        let act = |at_ms, by| Some(Act { at_ms, by });
        let fate = Fate { change: 3, ..Fate::default() };
        let sums = [
            plain,
            Message { id: 2, ..plain },
            Message { at_ms: 3, ..plain },
            of(Said { user: "a", name: "bc", ..said }),
            of(Said { body: "\"y\"", ..said }),
            of(Said { key: Some(""), ..said }),
            of(Said { reply_to: Some(0), ..said }),
            of(Said { thread: Some(1), ..said }),
            of(Said { mentions: Some("[]"), ..said }),
            of(Said { data: Some("[]"), ..said }),
            fated(fate),
            fated(Fate { edited: act(0, None), ..fate }),
            fated(Fate { deleted: act(0, None), ..fate }),
            fated(Fate { deleted: act(0, Some("a")), ..fate }),
            fated(Fate { pinned: act(0, Some("a")), ..fate }),
        ]
        .map(|message| message.sum());
        for (at, sum) in sums.iter().enumerate() {
            assert!(!sums[..at].contains(sum), "{at}");
        }
        // A file outlives the program: this never changes.
        assert_eq!(sums[0], SUM_OF_OLD);
    }

    const SUM_OF_OLD: i64 = -3_860_752_856_939_639_642;

    #[test]
    fn whatever_is_changed_of_a_room_or_an_era_changes_its_sum() {
        let room = RoomRow {
            id: 1,
            topic: "room:a",
            title: "A",
            founded: 1,
            created_at: 2,
            by: None,
            settings: None,
            floor: 3,
            last: 4,
            last_change: 5,
            changed_floor: 6,
        };
        let rooms = [
            room,
            RoomRow { id: 2, ..room },
            RoomRow { topic: "room:", title: "aA", ..room },
            RoomRow { title: "B", ..room },
            RoomRow { founded: 0, ..room },
            RoomRow { created_at: 3, ..room },
            RoomRow { by: Some(""), ..room },
            RoomRow { settings: Some(""), ..room },
            RoomRow { by: Some("x"), ..room },
            RoomRow { settings: Some("x"), ..room },
            RoomRow { floor: 4, last: 3, ..room },
            RoomRow { last_change: 6, changed_floor: 5, ..room },
        ];
        let era = EraRow { room: 1, first: 2, first_change: 3, epoch: -4, life: 5 };
        let eras = [
            era,
            EraRow { room: 2, first: 1, ..era },
            EraRow { first_change: 4, ..era },
            EraRow { epoch: 4, ..era },
            EraRow { life: 6, ..era },
        ];
        let standing = Standing { role: None, muted_until_ms: 2, banned_until_ms: 3 };
        let stands = |role, standing| StandingRow {
            room: 1,
            user: "ann",
            standing: Standing { role, ..standing },
        };
        let standings = [
            stands(None, standing),
            stands(Some(Role::Owner), standing),
            stands(None, Standing { muted_until_ms: 3, banned_until_ms: 2, ..standing }),
            StandingRow { room: 2, ..stands(None, standing) },
            StandingRow { user: "bob", ..stands(None, standing) },
        ];
        let sums = rooms.iter().map(RoomRow::sum).chain(eras.map(EraRow::sum));
        let sums: Vec<i64> = sums.chain(standings.map(StandingRow::sum)).collect();
        for (at, sum) in sums.iter().enumerate() {
            assert!(!sums[..at].contains(sum), "{at}");
        }
        // A file outlives the program: these never change.
        assert_eq!((sums[0], sums[rooms.len()]), SUMS_OF_OLD);
    }

    const SUMS_OF_OLD: (i64, i64) = (1_229_377_765_404_147_748, 3_479_826_321_650_330_498);
}

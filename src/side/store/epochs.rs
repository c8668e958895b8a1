//! The epochs of a room: which of them it is told when it is opened, and which ones of messages
//! that are read later.
//!
//! An end without order begins an epoch in every room, so there may be any number, and most of them
//! empty. A room remembers the last ones, by which cursors are judged, and those that name a
//! message in its memory. A message further back comes with the epoch in which it was said.
//!
//! Deliberately absent: when an epoch begins (`statements`), and what a cursor of one is good for
//! (`room::resume`).
//!
//! Called by: `side::store::reader`, `side::store::told`.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::error::StoreError;
use super::row::{EraRow, Message, offset_of, select_eras};
use crate::limits::LINEAGE_EPOCHS_MAX;
use crate::link::kept::Found;
use crate::link::log::Marks;

/// By how many ended epochs cursors are judged, as SQLite counts.
#[expect(clippy::cast_possible_wrap, reason = "there are few")]
const JUDGED: i64 = LINEAGE_EPOCHS_MAX as i64;

/// The epochs that a room is told of.
pub(super) struct Remembered {
    /// The one that it is in.
    pub(super) present: u64,
    /// The one that it began in.
    pub(super) origin: u64,
    /// Those before the present one: see [`Found::push_epoch`].
    pub(super) lineage: Vec<u8>,
}

/// The epochs of a room that has messages from an offset on in its memory, or later ones. What it
/// takes grows with those that are told, and not with all that there ever were.
///
/// # Errors
///
/// Those of SQLite, and if one of them is not what was written.
pub(super) fn remembered(
    look: &Connection,
    id: u32,
    in_memory: u64,
) -> Result<Remembered, StoreError> {
    let oldest = select_eras!("WHERE room = ?1 ORDER BY first, life LIMIT 1");
    let mut statement = look.prepare_cached(oldest)?;
    let mut rows = statement.query([id])?;
    let first = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let origin = EraRow::of(first, id)?.epoch.cast_unsigned();
    let latest = select_eras!("WHERE room = ?1 ORDER BY first DESC, life DESC LIMIT ?2");
    let mut statement = look.prepare_cached(latest)?;
    let mut rows = statement.query(params![id, JUDGED + 1])?;
    let (mut present, mut lineage, mut kept) = (None, Vec::new(), Marks::default());
    while let Some(row) = rows.next()? {
        let era = EraRow::of(row, id)?;
        if present.is_some() {
            Found::push_epoch(&mut lineage, era.epoch.cast_unsigned(), kept);
        }
        present.get_or_insert(era.epoch.cast_unsigned());
        kept = before(&era);
    }
    // Those before name messages alone.
    while kept.offset >= in_memory.max(1) {
        let Some(era) = era_of(look, id, kept.offset)? else { break };
        Found::push_epoch(&mut lineage, era.epoch.cast_unsigned(), kept);
        kept = before(&era);
    }
    Ok(Remembered { present: present.unwrap_or(origin), origin, lineage })
}

/// The era in which a message was said. Of those that begin at one offset only the last one has
/// messages.
fn era_of(look: &Connection, id: u32, offset: u64) -> Result<Option<EraRow>, StoreError> {
    let sql =
        select_eras!("WHERE room = ?1 AND first <= ?2 ORDER BY first DESC, life DESC LIMIT 1");
    let mut statement = look.prepare_cached(sql)?;
    let mut rows = statement.query(params![id, offset.cast_signed()])?;
    rows.next()?.map(|row| EraRow::of(row, id)).transpose()
}

/// Up to where the epoch before one is true. All begin at 1 or later, unless the file is damaged:
/// then nothing before is true.
fn before(era: &EraRow) -> Marks {
    let [offset, change] = [era.first, era.first_change].map(i64::cast_unsigned);
    Marks { offset: offset.saturating_sub(1), change: change.saturating_sub(1) }
}

/// Names the epochs of messages that are further back than a room remembers.
pub(super) struct Epochs<'look> {
    look: &'look Connection,
    room: u32,
    /// Where the oldest of the epochs begins by which cursors are judged; none, if that are all.
    oldest_first: Option<i64>,
}

impl<'look> Epochs<'look> {
    /// Of a room.
    ///
    /// # Errors
    ///
    /// Those of SQLite.
    pub(super) fn of(look: &'look Connection, id: u32) -> Result<Self, StoreError> {
        let sql = "SELECT first FROM era WHERE room = ?1 ORDER BY first DESC, life DESC \
                   LIMIT 1 OFFSET ?2";
        let mut statement = look.prepare_cached(sql)?;
        let oldest_first = statement.query_row(params![id, JUDGED], |row| row.get(0)).optional()?;
        Ok(Self { look, room: id, oldest_first })
    }

    /// Notes of a message in which epoch it was said, if its room may not know.
    ///
    /// # Errors
    ///
    /// Those of SQLite, and if the epoch is not what was written.
    pub(super) fn note(&self, message: &mut Message<'_>) -> Result<(), StoreError> {
        let offset = offset_of(message.id);
        if self.oldest_first.is_some_and(|first| first > offset.cast_signed())
            && let Some(era) = era_of(self.look, self.room, offset)?
        {
            message.fate.epoch = Some(era.epoch.cast_unsigned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::log::{Opened, Part, View, Wanted};
    use crate::link::said::MessageText;
    use crate::link::store::ToStore;
    use crate::side::store::batch::Batch;
    use crate::side::store::reader::Reader;
    use crate::side::store::tests::{Folder, Home, key, load, push, said};

    /// So many lives have ended without order, each after a message in those that `has_message`
    /// names. Life `n` has given epoch `n`.
    fn after(lives: u64, has_message: impl Fn(u64) -> bool) -> (Folder, Home, Reader, u32) {
        let folder = Folder::new();
        let mut offset = 0;
        for life in 1..lives {
            let (_, writer) = folder.open();
            let mut home = Home::new(writer);
            home.open(1, life);
            if has_message(life) {
                home.say(1, offset, &["\"a\""]);
                offset += 1;
            }
        }
        let (disk, writer) = folder.open();
        let (mut home, reader) = (Home::new(writer), disk.reader().unwrap());
        let id = home.open(1, lives).unwrap();
        (folder, home, reader, id)
    }

    fn epochs(opened: &Opened) -> Vec<u64> {
        opened.lineage.iter().map(|(epoch, _)| *epoch).collect()
    }

    /// The first messages of a room, by what they are told with.
    fn told(reader: &mut Reader, id: u32, wanted: Wanted) -> Vec<Option<u64>> {
        let stretch = reader.read(id, wanted).unwrap().run().stretch();
        let placed = stretch.picked.iter().chain(&stretch.changed).map(|(_, message)| message);
        let epoch = |message: &MessageText| message.fate().epoch;
        stretch.messages.iter().chain(placed).map(epoch).collect()
    }

    const ALL: Wanted = Wanted {
        after: 0,
        upto: 3,
        part: Part::All,
        messages: 9,
        bytes: 10_000,
        changed: None,
        view: View::Room,
    };

    #[test]
    fn a_room_is_told_the_last_epochs_and_before_them_those_that_name_what_is_in_memory() {
        let (_folder, _home, mut reader, id) = after(40, |life| [1, 5, 9].contains(&life));
        let opened = load(&mut reader, Some(id));
        assert_eq!((opened.epoch, opened.origin, opened.top.offset), (40, 1, 3));
        let expected: Vec<u64> = (24..40).rev().chain([9, 5, 1]).collect();
        assert_eq!(epochs(&opened), expected);
        let kept = opened.lineage.iter().map(|(_, kept)| kept.offset);
        assert_eq!(kept.skip(16).collect::<Vec<_>>(), [3, 2, 1]);
    }

    #[test]
    fn a_message_that_is_read_comes_with_its_epoch_where_its_room_may_not_know_it() {
        let is_old = |life| [1, 5, 24].contains(&life);
        let (_folder, mut home, mut reader, id) = after(40, is_old);
        assert_eq!(told(&mut reader, id, ALL), [Some(1), Some(5), None], "24 is among the last");
        let thread = Wanted { view: View::Thread(2), ..ALL };
        assert_eq!(told(&mut reader, id, thread), [Some(5)]);
        let around = Wanted { part: Part::Around(2), ..ALL };
        assert_eq!(told(&mut reader, id, around), [Some(1), Some(5), None]);
        home.delete(1, Marks { offset: 3, change: 0 }, 2);
        let changed = Wanted { after: 3, changed: Some(0), ..ALL };
        assert_eq!(told(&mut reader, id, changed), [Some(5)]);
    }

    #[test]
    fn epochs_of_messages_that_are_not_in_memory_are_not_told() {
        let (_folder, mut home, mut reader, id) = after(40, |life| [1, 5].contains(&life));
        let mut batch = Batch::default();
        for offset in 2..2_000 {
            let (number, top) = (1_000 + offset, Marks { offset, change: 0 });
            let said = said("\"b\"");
            push(&mut batch, ToStore::Append { number, room: key(1), top, at_ms: 1, said });
        }
        home.writer.write(&batch, &mut Vec::new()).unwrap();
        let opened = load(&mut reader, Some(id));
        assert_eq!((opened.origin, opened.top.offset), (1, 2_000));
        assert_eq!(epochs(&opened), (24..40).rev().collect::<Vec<_>>());
        assert_eq!(told(&mut reader, id, ALL), [Some(1), Some(5), None]);
    }
}

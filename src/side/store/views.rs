//! Messages of a room that are not all of it: those of a thread, and those that are pinned.
//!
//! Each has an index of its own, which has only these: however long a room is, others cost nothing.
//! An index says where a message is, and the message says that it is the one.
//!
//! Deliberately absent: who may read.
//!
//! Called by: `reader`. Calls: `row`, `told`.

use rusqlite::{Connection, Rows, params};

use super::error::StoreError;
use super::reader::{Page, fits};
use super::row::{Message, Next, OFFSET_MAX, id_of, next_row, offset_of, select_messages};
use super::told::Told;
use crate::limits::PINS_MAX;
use crate::link::field::Field as _;
use crate::link::kept::push_numbered;
use crate::link::log::{Part, View, Wanted};

/// The offsets of the pinned messages of a room, ascending, one behind the other; of very many the
/// last ones. Damaged ones are left out, and counted.
pub(super) fn pins(look: &Connection, id: u32, damaged: &mut u64) -> Result<Vec<u8>, StoreError> {
    let sql = select_messages!(
        "INDEXED BY pinned WHERE pinned_at IS NOT NULL AND id BETWEEN ?1 AND ?2 \
         ORDER BY id DESC LIMIT ?3"
    );
    let mut statement = look.prepare_cached(sql)?;
    let mut rows = statement.query(params![id_of(id, 1), id_of(id, OFFSET_MAX), PINS_MAX])?;
    let mut offsets = Vec::new();
    while let Some(row) = rows.next()? {
        match Message::of(row).filter(|message| message.fate.pinned.is_some()) {
            Some(message) => offsets.push(offset_of(message.id)),
            None => *damaged += 1,
        }
    }
    let mut pins = Vec::new();
    for offset in offsets.into_iter().rev() {
        offset.put(&mut pins);
    }
    Ok(pins)
}

/// Messages of a view, those next to the end of what is wanted. Damaged ones are left out, and
/// counted. What cannot be read in time is left for the next question.
pub(super) fn view(
    look: &Connection,
    id: u32,
    wanted: Wanted,
    damaged: &mut u64,
) -> Result<Page, StoreError> {
    let Wanted { after, upto, part, messages, bytes, changed: _, view } = wanted;
    let is_newest = part == Part::Newest;
    let mut picked = Picked {
        told: Told::of(look, id)?,
        pieces: Vec::new(),
        bytes: 0,
        untold: 0,
        messages_max: messages,
        bytes_max: bytes,
    };
    let range = (id_of(id, after + 1), id_of(id, upto));
    let is_all = match view {
        View::Room => unreachable!("read as a run"),
        View::Pins => {
            let sql = if is_newest {
                select_messages!(
                    "INDEXED BY pinned WHERE pinned_at IS NOT NULL AND id BETWEEN ?1 AND ?2 \
                     ORDER BY id DESC"
                )
            } else {
                select_messages!(
                    "INDEXED BY pinned WHERE pinned_at IS NOT NULL AND id BETWEEN ?1 AND ?2 \
                     ORDER BY id"
                )
            };
            let mut statement = look.prepare_cached(sql)?;
            picked.pick(&mut statement.query(range)?, damaged)?
        }
        View::Thread(root) => {
            let root = id_of(id, root);
            let root_sql = select_messages!("WHERE id = ?3 AND id BETWEEN ?1 AND ?2");
            // The first one is not among those that name it.
            let sqls = if is_newest {
                let sql =
                    select_messages!("WHERE thread = ?3 AND id BETWEEN ?1 AND ?2 ORDER BY id DESC");
                [sql, root_sql]
            } else {
                let sql =
                    select_messages!("WHERE thread = ?3 AND id BETWEEN ?1 AND ?2 ORDER BY id");
                [root_sql, sql]
            };
            let mut is_all = true;
            for sql in sqls {
                let mut statement = look.prepare_cached(sql)?;
                let mut rows = statement.query(params![range.0, range.1, root])?;
                is_all = is_all && picked.pick(&mut rows, damaged)?;
            }
            is_all
        }
    };
    let mut pieces = picked.pieces;
    if is_newest {
        pieces.reverse();
    }
    Ok(Page::of_view(pieces.concat(), !is_all))
}

/// Messages that are picked out, as they are told.
struct Picked<'look> {
    told: Told<'look>,
    pieces: Vec<Vec<u8>>,
    bytes: usize,
    /// How many of them members are not told.
    untold: usize,
    messages_max: u32,
    bytes_max: usize,
}

impl Picked<'_> {
    /// Picks rows as long as there may be more. Whether that is all.
    fn pick(&mut self, rows: &mut Rows<'_>, damaged: &mut u64) -> Result<bool, StoreError> {
        loop {
            let row = match next_row(rows, !self.pieces.is_empty(), damaged)? {
                Next::Row(row) => row,
                Next::End => return Ok(true),
                Next::Cut => return Ok(false),
            };
            if self.pieces.len() == self.messages_max as usize {
                return Ok(false);
            }
            let Some(mut message) = Message::of(row) else {
                *damaged += 1;
                continue;
            };
            if !self.told.note_in_time(&mut message, !self.pieces.is_empty())? {
                return Ok(false);
            }
            let mut piece = Vec::new();
            self.untold += message.untold_bytes();
            let Message { id, at_ms, said, fate } = message;
            push_numbered(&mut piece, offset_of(id), at_ms, said, fate);
            self.bytes += piece.len();
            let fits = fits(self.bytes, self.untold, self.bytes_max);
            if !fits && !self.pieces.is_empty() {
                return Ok(false);
            }
            self.pieces.push(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::log::{Marks, Stretch};
    use crate::link::said::{Act, Fate, Said};
    use crate::link::store::ToStore;
    use crate::side::store::batch::Batch;
    use crate::side::store::reader::Reader;
    use crate::side::store::tests::{Folder, Home, key, load, meddle, push, said};

    /// A store with rooms 1 and 2. In the first one, which is returned, messages 2, 4 and 5 are in
    /// the thread of message 1; messages 2, 3 and 6 are pinned, and message 5 was.
    fn filled() -> (Folder, Home, Reader, u32) {
        let folder = Folder::new();
        let (disk, writer) = folder.open();
        let (mut home, reader) = (Home::new(writer), disk.reader().unwrap());
        home.open(1, 50);
        home.open(2, 50);
        let mut batch = Batch::default();
        let said_in = |offset| {
            let is_in = |room, offset| room == 2 || [2, 4, 5].contains(&offset);
            move |room| Said { thread: is_in(room, offset).then_some(1), ..said("\"a\"") }
        };
        for room in [1, 2] {
            for offset in 1..=6 {
                let top = Marks { offset: offset - 1, change: 0 };
                let (number, said) = (room * 100 + offset, said_in(offset)(room));
                push(&mut batch, ToStore::Append { number, room: key(room), top, at_ms: 1, said });
            }
        }
        for (change, (offset, is_pinned)) in
            (0..).zip([(6, true), (5, true), (5, false), (2, true), (3, true)])
        {
            let top = Marks { offset: 6, change };
            let pinned = is_pinned.then_some(Act { at_ms: 9, by: Some("mod") });
            let (number, fate) = (300 + change, Fate { pinned, ..Fate::default() });
            let (room, said) = (key(1), said_in(offset)(1));
            let (at_ms, said_ms) = (2, 1);
            push(
                &mut batch,
                ToStore::Change {
                    number,
                    room,
                    top,
                    at_ms,
                    offset,
                    said_ms,
                    said,
                    fate,
                    audit: &[],
                },
            );
        }
        home.writer.write(&batch, &mut Vec::new()).unwrap();
        let id = home.open(1, 50).unwrap();
        (folder, home, reader, id)
    }

    type Told = (Vec<u64>, bool);

    fn read(
        reader: &mut Reader,
        id: u32,
        view: View,
        part: Part,
    ) -> impl FnMut(Range, u32) -> Told {
        move |(after, upto), messages| {
            let (bytes, changed) = (1_000, None);
            let wanted = Wanted { after, upto, part, messages, bytes, changed, view };
            let Stretch { messages, picked, more, .. } =
                reader.read(id, wanted).unwrap().run().stretch();
            assert!(messages.is_empty(), "they are picked");
            (picked.iter().map(|(offset, _)| *offset).collect(), more)
        }
    }

    type Range = (u64, u64);

    #[test]
    fn a_thread_is_its_first_message_and_those_that_name_it() {
        let (_folder, _home, mut reader, id) = filled();
        let thread = View::Thread(1);
        let mut newest = read(&mut reader, id, thread, Part::Newest);
        assert_eq!(newest((0, 6), 9), (vec![1, 2, 4, 5], false));
        assert_eq!(newest((0, 6), 4), (vec![1, 2, 4, 5], false));
        assert_eq!(newest((0, 6), 3), (vec![2, 4, 5], true));
        assert_eq!(newest((0, 6), 0), (vec![], true));
        assert_eq!(newest((0, 3), 9), (vec![1, 2], false));
        assert_eq!(newest((1, 4), 9), (vec![2, 4], false));
        drop(newest);
        let mut oldest = read(&mut reader, id, thread, Part::Oldest);
        assert_eq!(oldest((0, 6), 2), (vec![1, 2], true));
        assert_eq!(oldest((2, 6), 9), (vec![4, 5], false));
        drop(oldest);
        let alone = read(&mut reader, id, View::Thread(3), Part::Newest)((0, 6), 9);
        assert_eq!(alone, (vec![3], false), "nobody has answered it");
    }

    #[test]
    fn what_is_pinned_is_read_and_told_when_the_room_is_opened() {
        let (_folder, _home, mut reader, id) = filled();
        assert_eq!(load(&mut reader, Some(id)).pins, [2, 3, 6]);
        let mut newest = read(&mut reader, id, View::Pins, Part::Newest);
        assert_eq!(newest((0, 6), 9), (vec![2, 3, 6], false));
        assert_eq!(newest((0, 6), 2), (vec![3, 6], true));
        assert_eq!(newest((2, 5), 9), (vec![3], false));
        drop(newest);
        let mut oldest = read(&mut reader, id, View::Pins, Part::Oldest);
        assert_eq!(oldest((0, 6), 1), (vec![2], true));
    }

    #[test]
    fn a_page_of_a_view_has_a_message_however_long_that_is_and_within_its_bytes_others() {
        let (_folder, _home, mut reader, id) = filled();
        let (after, upto, part, messages, changed) = (0, 6, Part::Newest, 9, None);
        for (bytes, expected) in [(1, 1), (200, 3), (1_000, 4)] {
            let view = View::Thread(1);
            let wanted = Wanted { after, upto, part, messages, bytes, changed, view };
            let found = reader.read(id, wanted).unwrap().run().stretch();
            assert_eq!((found.picked.len(), found.more), (expected, expected < 4), "{bytes}");
        }
    }

    #[test]
    fn what_is_damaged_is_left_out_and_counted() {
        let (folder, _home, mut reader, id) = filled();
        for offset in [2, 6] {
            let row = id_of(id, offset);
            meddle(&folder.file(), &format!("UPDATE message SET body = '\"!\"' WHERE id = {row}"));
        }
        assert_eq!(load(&mut reader, Some(id)).pins, [3]);
        // One of them was met in the tail, too.
        assert_eq!(reader.take_damaged(), 3);
        let pins = read(&mut reader, id, View::Pins, Part::Newest)((0, 6), 9);
        assert_eq!(pins, (vec![3], false));
        let thread = read(&mut reader, id, View::Thread(1), Part::Newest)((0, 6), 9);
        assert_eq!(thread, (vec![1, 4, 5], false));
        assert_eq!(reader.take_damaged(), 3);
    }

    #[test]
    fn a_page_around_a_message_is_whole_or_ends_at_what_is_damaged() {
        let (folder, _home, mut reader, id) = filled();
        let around = |reader: &mut Reader, (after, upto), offset, bytes| {
            let (part, messages, changed, view) = (Part::Around(offset), 9, None, View::Room);
            let wanted = Wanted { after, upto, part, messages, bytes, changed, view };
            let found = reader.read(id, wanted).unwrap().run().stretch();
            (found.first, found.messages.len())
        };
        assert_eq!(around(&mut reader, (0, 6), 4, 10_000), (1, 6));
        assert_eq!(around(&mut reader, (2, 5), 4, 10_000), (3, 3));
        assert_eq!(around(&mut reader, (3, 4), 4, 10_000), (4, 1));
        assert_eq!(around(&mut reader, (0, 6), 4, 1), (4, 2), "one on each side, however long");
        let row = id_of(id, 3);
        meddle(&folder.file(), &format!("UPDATE message SET body = '\"!\"' WHERE id = {row}"));
        assert_eq!(around(&mut reader, (0, 6), 4, 10_000), (4, 3));
        assert_eq!(around(&mut reader, (0, 6), 2, 10_000), (1, 2));
        assert_eq!(around(&mut reader, (0, 6), 3, 10_000).1, 0, "it cannot be told");
    }

    #[test]
    fn each_view_has_an_index_whatever_else_is_in_the_room() {
        let (_folder, _home, reader, _) = filled();
        let plan = |which: &str| {
            let sql = format!("EXPLAIN QUERY PLAN SELECT body FROM message {which}");
            let mut statement = reader.conn().prepare(&sql).unwrap();
            let steps = statement.query_map([], |row| row.get::<_, String>(3)).unwrap();
            steps.map(Result::unwrap).collect::<Vec<_>>().join("; ")
        };
        let thread = plan("WHERE thread = 3 AND id BETWEEN 1 AND 9 ORDER BY id DESC");
        assert!(thread.contains("thread_of") && !thread.contains("TEMP"), "{thread}");
        let pins = plan(
            "INDEXED BY pinned WHERE pinned_at IS NOT NULL AND id BETWEEN 1 AND 9 ORDER BY id",
        );
        assert!(pins.contains("SEARCH") && !pins.contains("TEMP"), "{pins}");
    }
}

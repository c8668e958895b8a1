//! How often messages were answered: what a page says of those that are the first of a thread.
//!
//! Nothing of it is kept. It is counted where it is read, in the index of threads, and only of
//! messages in whose reach the room has a thread at all.
//!
//! Deliberately absent: the answers themselves, which are a view (`views`).
//!
//! Called by: `told`. Calls: `row`.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::error::StoreError;
use super::row::{Message, OFFSET_MAX, id_of, offset_of};
use crate::limits::STORE_REPLIES_COUNTED_MAX;
use crate::link::said::Replies;

/// Counts the replies to messages of a room, in one look at it. See the module.
pub(super) struct ReplyCounter<'look> {
    look: &'look Connection,
    /// The first and the last message with an answer; none, in most rooms.
    threads: Option<(i64, i64)>,
}

impl<'look> ReplyCounter<'look> {
    /// Of a room.
    ///
    /// # Errors
    ///
    /// Those of SQLite.
    pub(super) fn of(look: &'look Connection, id: u32) -> Result<Self, StoreError> {
        let range = [id_of(id, 1), id_of(id, OFFSET_MAX)];
        let end = |sql| {
            let mut statement = look.prepare_cached(sql)?;
            statement.query_row(range, |row| row.get::<_, i64>(0)).optional()
        };
        let first = end("SELECT thread FROM message WHERE thread BETWEEN ?1 AND ?2 \
                         ORDER BY thread LIMIT 1")?;
        let Some(first) = first else { return Ok(Self { look, threads: None }) };
        let last = end("SELECT thread FROM message WHERE thread BETWEEN ?1 AND ?2 \
                        ORDER BY thread DESC LIMIT 1")?;
        Ok(Self { look, threads: Some((first, last.unwrap_or(first))) })
    }

    /// Notes of a message how often it was answered. Of very many answers the last ones count.
    ///
    /// # Errors
    ///
    /// Those of SQLite.
    pub(super) fn note(&self, message: &mut Message<'_>) -> Result<(), StoreError> {
        let id = message.id;
        if self.threads.is_none_or(|(first, last)| !(first..=last).contains(&id)) {
            return Ok(());
        }
        let sql = "SELECT count(*), max(id) FROM \
                   (SELECT id FROM message WHERE thread = ?1 ORDER BY id DESC LIMIT ?2)";
        let mut statement = self.look.prepare_cached(sql)?;
        let counted = statement.query_row(params![id, STORE_REPLIES_COUNTED_MAX], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?))
        })?;
        if let (count, Some(last)) = counted {
            let (count, last) = (count.cast_unsigned(), offset_of(last));
            message.fate.replies = Some(Replies { count, last });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::log::{Marks, Part, View, Wanted};
    use crate::link::said::{MessageText, Said};
    use crate::link::store::ToStore;
    use crate::side::store::batch::Batch;
    use crate::side::store::reader::Reader;
    use crate::side::store::tests::{Folder, Home, key, push, said};

    /// A store with rooms 1 and 2, of `count` messages each. In room 1, which is returned, those
    /// that `thread_of` names are in a thread.
    fn filled(count: u64, thread_of: impl Fn(u64) -> Option<u64>) -> (Folder, Home, Reader, u32) {
        let folder = Folder::new();
        let (disk, writer) = folder.open();
        let (mut home, reader) = (Home::new(writer), disk.reader().unwrap());
        home.open(2, 50);
        home.open(1, 50);
        let mut batch = Batch::default();
        for room in [1, 2] {
            for offset in 1..=count {
                let top = Marks { offset: offset - 1, change: 0 };
                let thread = thread_of(offset).filter(|_| room == 1);
                let (number, said) = (room * 1_000_000 + offset, Said { thread, ..said("\"a\"") });
                push(&mut batch, ToStore::Append { number, room: key(room), top, at_ms: 1, said });
            }
        }
        home.writer.write(&batch, &mut Vec::new()).unwrap();
        let id = home.open(1, 50).unwrap();
        (folder, home, reader, id)
    }

    fn counts<'a>(read: impl IntoIterator<Item = &'a MessageText>) -> Vec<Option<(u64, u64)>> {
        let counted = |message: &MessageText| message.fate().replies;
        let pair = |replies: Replies| (replies.count, replies.last);
        read.into_iter().map(|message| counted(message).map(pair)).collect()
    }

    #[test]
    fn whoever_reads_a_message_is_told_how_often_it_was_answered() {
        let thread_of =
            |offset| [(3, 2), (4, 2), (6, 5), (7, 2)].into_iter().find(|of| of.0 == offset);
        let (_folder, _home, mut reader, id) = filled(8, |offset| Some(thread_of(offset)?.1));
        let mut read = |part, view, (after, upto)| {
            let (messages, bytes, changed) = (9, 10_000, None);
            let wanted = Wanted { after, upto, part, messages, bytes, changed, view };
            let found = reader.read(id, wanted).unwrap().run().stretch();
            counts(found.messages.iter().chain(found.picked.iter().map(|(_, message)| message)))
        };
        let all = [None, Some((3, 7)), None, None, Some((1, 6)), None, None, None];
        for part in [Part::Newest, Part::Oldest, Part::All, Part::Around(4)] {
            assert_eq!(read(part, View::Room, (0, 8)), all, "{part:?}");
        }
        // Whatever is wanted, all answers count.
        assert_eq!(read(Part::Newest, View::Room, (1, 2)), [Some((3, 7))]);
        let thread = [Some((3, 7)), None, None, None];
        assert_eq!(read(Part::Newest, View::Thread(2), (0, 8)), thread);
    }

    #[test]
    fn a_tail_leaves_it_to_its_room_to_count() {
        let (_folder, _home, mut reader, id) = filled(3, |offset| (offset == 3).then_some(2));
        let opened = crate::side::store::tests::load(&mut reader, Some(id));
        assert_eq!(counts(&opened.tail), [None; 3]);
    }

    #[test]
    fn no_more_answers_are_counted_than_may_be_and_the_last_one_is_told() {
        let most = u64::from(STORE_REPLIES_COUNTED_MAX);
        let many = most + 5;
        let (_folder, _home, mut reader, id) = filled(many + 1, |offset| (offset > 1).then_some(1));
        let (messages, bytes, changed, view) = (1, 10_000, None, View::Room);
        let wanted = Wanted { after: 0, upto: 1, part: Part::All, messages, bytes, changed, view };
        let found = reader.read(id, wanted).unwrap().run().stretch();
        assert_eq!(counts(&found.messages), [Some((most, many + 1))]);
    }

    #[test]
    fn they_are_counted_in_the_index_alone() {
        let (_folder, _home, reader, _) = filled(1, |_| None);
        let sql = "EXPLAIN QUERY PLAN SELECT id FROM message WHERE thread = 3 \
                   ORDER BY id DESC LIMIT 9";
        let plan = reader.conn().query_row(sql, [], |row| row.get::<_, String>(3)).unwrap();
        assert!(plan.contains("COVERING INDEX thread_of"), "{plan}");
    }
}

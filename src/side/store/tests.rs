//! The parts of a store together, on real files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::batch::Batch;
use super::disk::{Disk, Options};
use super::error::{Cause, StoreError};
use super::reader::{Loaded, Reader, TailBounds};
use super::removed::{Removed, RemovedLine, RemovedLog};
use super::retention::Retention;
use super::row::{OFFSET_BITS, StandingRow, id_of};
use super::schema;
use super::statements::stand;
use super::writer::{Asked, Question, Writer};
use crate::auth::level::{NEVER_MS, Standing};
use crate::base::arena::Key;
use crate::limits::HistoryLimits;
use crate::link::facts::Keep;
use crate::link::field::Field;
use crate::link::ids::{Receipt, RoomKey};
use crate::link::kept::read_hits;
use crate::link::log::{Keyed, Marks, Opened, Part, Sought, Stretch, View, Wanted};
use crate::link::said::{Act, Fate, MessageText, Said};
use crate::link::store::ToStore;

const TAIL: TailBounds = TailBounds { messages: 1_000, bytes: 512 * 1_024 };

/// A folder that goes when the test ends.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("chinwag-store-{process}-{count}"));
        Self(path)
    }

    pub(super) fn open(&self) -> (Disk, Writer) {
        self.try_open().expect("it opens")
    }

    fn try_open(&self) -> Result<(Disk, Writer), StoreError> {
        let (disk, writer) = Disk::open(Options::at(&self.0), &[7; 32], 1_000)?;
        let (writer, why_not) = writer.here();
        why_not.map_or(Ok((disk, writer)), Err)
    }

    pub(super) fn file(&self) -> PathBuf {
        self.0.join("chat.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What is on the disk, whatever the store makes of it.
pub(crate) struct Kept(Connection);

impl Kept {
    pub(crate) fn of(folder: &Folder) -> Self {
        Self(Connection::open(folder.file()).expect("it opens"))
    }

    /// The bodies of a room, in their order.
    pub(crate) fn bodies(&self, topic: &str) -> Vec<String> {
        let sql = format!(
            "SELECT body FROM message JOIN room ON message.id >> {OFFSET_BITS} = room.id \
             WHERE room.name = ?1 ORDER BY message.id"
        );
        let mut statement = self.0.prepare_cached(&sql).expect("it is SQL");
        let bodies = statement.query_map([topic], |row| row.get(0)).expect("it is read");
        bodies.map(|body| body.expect("a text")).collect()
    }
}

pub(super) fn key(room: u64) -> RoomKey {
    Key::from_u64(1 << 32 | room)
}

#[expect(clippy::large_types_passed_by_value, reason = "as a shard writes it")]
pub(super) fn push(batch: &mut Batch, record: ToStore<'_>) {
    let mut bytes = Vec::new();
    record.put(&mut bytes);
    batch.push(0, &bytes);
}

pub(super) fn said(body: &str) -> Said<'_> {
    Said { user: "u", name: "Ann", body, ..Said::default() }
}

/// A home with one room after another.
pub(super) struct Home {
    pub(super) writer: Writer,
    next: u64,
}

impl Home {
    pub(super) fn new(writer: Writer) -> Self {
        Self { writer, next: 0 }
    }

    /// Opens a room, in this epoch if it begins or begins a new era.
    pub(super) fn open(&mut self, room: u64, epoch: u64) -> Option<u32> {
        let mut batch = Batch::default();
        self.next += 1;
        let topic = format!("room:{room}");
        let number = self.next;
        push(&mut batch, ToStore::Open { number, room: key(room), topic: &topic, epoch });
        let mut openings = Vec::new();
        self.writer.write(&batch, &mut openings).expect("it is written");
        let [opening] = &openings[..] else { panic!("one was opened: {openings:?}") };
        let Question { id, is_full, .. } = *opening;
        assert_eq!(*opening, Question { shard: 0, number, id, is_full, asked: Asked::Tail });
        opening.id
    }

    /// Says something in a room, each behind what stands at `after`.
    pub(super) fn say(&mut self, room: u64, after: u64, bodies: &[&str]) {
        let written = self.try_say(room, after, bodies);
        written.expect("it is written");
    }

    /// Gives a room these settings.
    pub(super) fn set(&mut self, room: u64, settings: &str) {
        let mut batch = Batch::default();
        self.next += 1;
        let (number, room, title) = (self.next, key(room), "T");
        push(&mut batch, ToStore::Settings { number, room, at_ms: 7, title, settings, audit: &[] });
        self.writer.write(&batch, &mut Vec::new()).expect("it is written");
    }

    /// Deletes a message of [`Home::say`], of a room that stands at `top`.
    pub(super) fn delete(&mut self, room: u64, top: Marks, offset: u64) {
        let mut batch = Batch::default();
        self.next += 1;
        let (number, room, said_ms) = (self.next, key(room), 99 + offset);
        let deleted = Some(Act { at_ms: 900, by: Some("mod") });
        let fate = Fate { deleted, ..Fate::default() };
        let (at_ms, said, audit) = (900, said("\"\""), &[]);
        let record =
            ToStore::Change { number, room, top, at_ms, offset, said_ms, said, fate, audit };
        push(&mut batch, record);
        self.writer.write(&batch, &mut Vec::new()).expect("it is written");
    }

    /// From now on a user is banned in a room until then.
    pub(super) fn ban(&mut self, room: u64, user: &str, banned_until_ms: u64) {
        self.try_ban(room, user, banned_until_ms).expect("it is written");
    }

    pub(super) fn try_ban(
        &mut self,
        room: u64,
        user: &str,
        banned_until_ms: u64,
    ) -> Result<(), StoreError> {
        self.stand(room, user, Standing { banned_until_ms, ..Standing::default() })
    }

    pub(super) fn stand(
        &mut self,
        room: u64,
        user: &str,
        standing: Standing,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        self.next += 1;
        let (number, room, at_ms, audit) = (self.next, key(room), 900, &[]);
        push(&mut batch, ToStore::Standing { number, room, at_ms, user, standing, audit });
        self.writer.write(&batch, &mut Vec::new())
    }

    fn try_say(&mut self, room: u64, after: u64, bodies: &[&str]) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        for (offset, body) in (after..).zip(bodies) {
            self.next += 1;
            let top = Marks { offset, change: 0 };
            let (number, said) = (self.next, said(body));
            let at_ms = 100 + offset;
            push(&mut batch, ToStore::Append { number, room: key(room), top, at_ms, said });
        }
        self.writer.write(&batch, &mut Vec::new())
    }
}

pub(super) fn load(reader: &mut Reader, id: Option<u32>) -> Opened {
    let loaded: Loaded = reader.load(id.expect("it is there"), TAIL).expect("it loads");
    loaded.found().opened()
}

pub(super) fn bodies(opened: &Opened) -> Vec<&str> {
    opened.tail.iter().map(|message| &*message.said.body).collect()
}

pub(super) fn at(offset: u64) -> Marks {
    Marks { offset, change: 0 }
}

/// What is done to a file behind the store's back.
pub(super) fn meddle(file: &Path, sql: &str) {
    Connection::open(file).expect("it opens").execute_batch(sql).expect("it is done");
}

/// The same, with checksums that say that it was written so.
pub(super) fn rewrite(file: &Path, sql: &str) {
    meddle(file, sql);
    schema::seal_all(&Connection::open(file).expect("it opens")).expect("it is done");
}

#[test]
fn a_room_is_there_after_an_orderly_end_in_its_epoch() {
    let folder = Folder::new();
    let (disk, writer) = folder.open();
    let mut home = Home::new(writer);
    assert_eq!(home.open(1, 50), None, "it begins");
    assert_eq!(home.open(2, 51), None);
    home.say(1, 0, &["\"a\"", "\"b\""]);
    // What a client names need not be the offset of a message.
    let keyed = Said { key: Some("k"), reply_to: Some(u64::MAX), name: "é", ..said("\"c\"") };
    let mut batch = Batch::default();
    let append = ToStore::Append {
        number: 9,
        room: key(1),
        top: at(2),
        at_ms: u64::from(u32::MAX),
        said: keyed,
    };
    push(&mut batch, append);
    home.writer.write(&batch, &mut Vec::new()).unwrap();
    home.writer.close().unwrap();
    drop(disk);

    let (disk, writer) = folder.open();
    let (mut home, mut reader) = (Home::new(writer), disk.reader().unwrap());
    assert_eq!(home.open(2, 61), None, "nothing was said in it");
    let id = home.open(1, 60);
    let opened = load(&mut reader, id);
    assert_eq!((opened.epoch, opened.top, opened.kept), (50, at(3), at(3)));
    assert_eq!(opened.lineage, []);
    assert_eq!(opened.tail[0], MessageText::new(100, said("\"a\""), Fate::default()));
    assert_eq!(opened.tail[2], MessageText::new(u64::from(u32::MAX), keyed, Fate::default()));
    assert_eq!(bodies(&opened), ["\"a\"", "\"b\"", "\"c\""]);
}

#[test]
fn after_an_end_without_order_a_room_goes_on_in_a_new_epoch_that_remembers_the_old_one() {
    let folder = Folder::new();
    let (_, writer) = folder.open();
    let mut home = Home::new(writer);
    home.open(1, 50);
    home.open(2, 51);
    home.say(1, 0, &["\"a\"", "\"b\""]);
    home.say(2, 0, &["\"x\""]);
    drop(home);

    let (disk, writer) = folder.open();
    let (mut home, mut reader) = (Home::new(writer), disk.reader().unwrap());
    let id = home.open(1, 60);
    let opened = load(&mut reader, id);
    assert_eq!((opened.epoch, opened.top), (60, at(2)));
    assert_eq!(opened.lineage, [(50, at(2))]);
    home.say(1, 2, &["\"c\""]);
    assert_eq!(home.open(1, 61), id, "let go of and opened again");
    assert_eq!(load(&mut reader, id).epoch, 60, "within one life it goes on");
    drop((home, disk, reader));

    let (disk, writer) = folder.open();
    let (mut home, mut reader) = (Home::new(writer), disk.reader().unwrap());
    let id = home.open(1, 70);
    let opened = load(&mut reader, id);
    assert_eq!((opened.epoch, opened.top), (70, at(3)));
    assert_eq!(opened.lineage, [(60, at(3)), (50, at(2))]);
    assert_eq!(bodies(&opened), ["\"a\"", "\"b\"", "\"c\""]);
    home.writer.close().unwrap();
    drop((disk, reader));

    // An orderly end in between does not make up for what was before it.
    let (disk, writer) = folder.open();
    let (mut home, mut reader) = (Home::new(writer), disk.reader().unwrap());
    let ids = [home.open(1, 80), home.open(2, 81)];
    assert_eq!(load(&mut reader, ids[0]).epoch, 70);
    let opened = load(&mut reader, ids[1]);
    assert_eq!((opened.epoch, &opened.lineage[..]), (81, &[(51, at(1))][..]));
}

#[test]
fn a_room_that_was_emptied_counts_on() {
    let folder = Folder::new();
    let (disk, writer) = folder.open();
    let mut home = Home::new(writer);
    home.open(1, 50);
    home.say(1, 0, &["\"a\"", "\"b\""]);
    rewrite(&folder.file(), "UPDATE room SET last = 2, floor = 2; DELETE FROM message;");
    let id = home.open(1, 51);
    let opened = load(&mut disk.reader().unwrap(), id);
    assert_eq!((opened.epoch, opened.top, opened.tail), (50, at(2), Vec::new()));
}

#[test]
fn a_tail_is_bounded_and_ends_with_the_last_message() {
    let folder = Folder::new();
    let (disk, writer) = folder.open();
    let (mut home, mut reader) = (Home::new(writer), disk.reader().unwrap());
    home.open(1, 50);
    home.say(1, 0, &["\"a\"", "\"b\"", "\"c\"", "\"d\""]);
    let id = home.open(1, 51).unwrap();
    let mut tail = |bounds| {
        let opened = reader.load(id, bounds).unwrap().found().opened();
        assert_eq!(opened.top, at(4));
        bodies(&opened).join(",")
    };
    assert_eq!(tail(TailBounds { messages: 2, ..TAIL }), "\"c\",\"d\"");
    assert_eq!(tail(TailBounds { messages: 0, ..TAIL }), "\"d\"", "which says how late it is");
    assert_eq!(tail(TailBounds { bytes: 1, ..TAIL }), "\"d\"", "one is there, however long");
    assert_eq!(tail(TailBounds { bytes: 100, ..TAIL }), "\"b\",\"c\",\"d\"");
}

#[test]
fn the_keys_of_the_last_thousand_messages_are_there_whatever_the_tail_has() {
    let folder = Folder::new();
    let (disk, writer) = folder.open();
    let (mut home, mut reader) = (Home::new(writer), disk.reader().unwrap());
    // Another room's, before and behind it.
    for room in 1..=3 {
        home.open(room, 50);
    }
    let mut say = |room, keyed: &[u64], upto| {
        let mut batch = Batch::default();
        for offset in 1..=upto {
            let top = Marks { offset: offset - 1, change: 0 };
            let key_text = format!("k{offset}");
            let is_keyed = keyed.contains(&offset);
            let said = Said { key: is_keyed.then_some(&*key_text), ..said("\"x\"") };
            let (number, at_ms, room) = (9, 100 + offset, key(room));
            push(&mut batch, ToStore::Append { number, room, top, at_ms, said });
        }
        home.writer.write(&batch, &mut Vec::new()).expect("it is written");
    };
    say(1, &[2], 2);
    say(2, &[4, 5, 6, 1_001, 1_002, 1_003], 1_004);
    say(3, &[1], 1);
    let id = home.open(2, 51).unwrap();
    let keys = |reader: &mut Reader, messages| {
        let opened = reader.load(id, TailBounds { messages, ..TAIL }).unwrap().found().opened();
        assert_eq!(opened.tail.len(), messages as usize);
        let told = |of: &Keyed| {
            let Keyed { user, key, receipt: Receipt { offset, at_ms } } = of;
            assert_eq!((&**user, &**key, *at_ms), ("u", &*format!("k{offset}"), 100 + offset));
            *offset
        };
        opened.keys.iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(keys(&mut reader, 3), [5, 6, 1_001], "those of the tail go with it");
    assert_eq!(keys(&mut reader, 999), [5]);
    assert_eq!(keys(&mut reader, 1_000), [0; 0]);
}

#[test]
fn what_is_read_is_next_to_what_was_asked_and_says_whether_there_is_more() {
    let folder = Folder::new();
    let (disk, writer) = folder.open();
    let (mut home, mut reader) = (Home::new(writer), disk.reader().unwrap());
    home.open(1, 50);
    home.open(2, 51);
    home.say(1, 0, &["\"a\"", "\"b\"", "\"c\"", "\"d\"", "\"e\""]);
    home.say(2, 0, &["\"other\""]);
    let id = home.open(1, 51).unwrap();
    let mut read = |after, upto, part, messages, bytes| {
        let wanted = Wanted { after, upto, part, messages, bytes, changed: None, view: View::Room };
        let Stretch { first, messages, more, .. } =
            reader.read(id, wanted).unwrap().run().stretch();
        let bodies: Vec<_> = messages.iter().map(|of| of.said.body.trim_matches('"')).collect();
        (first, bodies.concat(), more)
    };
    let is = |first, bodies: &str, more| (first, bodies.to_owned(), more);
    assert_eq!(read(0, 4, Part::Newest, 2, 1_000), is(3, "cd", true));
    assert_eq!(read(0, 2, Part::Newest, 2, 1_000), is(1, "ab", false));
    assert_eq!(read(0, 5, Part::Newest, 9, 1), is(5, "e", true), "one, however long");
    assert_eq!(read(2, 5, Part::Newest, 9, 1_000), is(3, "cde", false));
    assert_eq!(read(1, 4, Part::Oldest, 2, 1_000), is(2, "bc", true));
    assert_eq!(read(1, 3, Part::Oldest, 2, 1_000), is(2, "bc", false));
    assert_eq!(read(1, 4, Part::All, u32::MAX, 1_000), is(2, "bcd", false));
    assert_eq!(read(1, 4, Part::All, u32::MAX, 70), is(2, "bc", true));
    assert_eq!(read(5, 9, Part::All, u32::MAX, 1_000), is(0, "", false), "of no other room");
    assert_eq!(read(0, 0, Part::Newest, 9, 1_000).1, "");
}

#[test]
fn what_cannot_be_read_in_time_is_left_out_and_the_rest_is_told() {
    const COUNT: usize = 20_000;
    let folder = Folder::new();
    let (disk, writer) = folder.open();
    let (mut home, mut reader) = (Home::new(writer), disk.reader().unwrap());
    home.open(1, 50);
    home.say(1, 0, &vec!["\"a\""; COUNT]);
    let id = home.open(1, 50).unwrap();
    // So many take longer than that.
    reader.set_ms_max(1);
    let bounds = TailBounds { messages: u32::MAX, bytes: usize::MAX };
    let upto = COUNT as u64;
    let wanted = |part| Wanted {
        after: 0,
        upto,
        part,
        messages: u32::MAX,
        bytes: usize::MAX,
        changed: None,
        view: View::Room,
    };
    let is_some = |count| (1..COUNT).contains(&count);
    // It may end before the first one: then it is asked again.
    let is_told = |read: &mut dyn FnMut() -> Result<(), StoreError>| {
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(error) = read() {
            assert!(error.is_late() && Instant::now() < deadline, "{error}");
        }
    };
    is_told(&mut || {
        let loaded = reader.load(id, bounds)?;
        let opened = loaded.found().opened();
        assert_eq!(opened.top, at(upto));
        assert!(is_some(bodies(&opened).len()));
        Ok(())
    });
    for part in [Part::Newest, Part::Oldest, Part::All] {
        is_told(&mut || {
            let Stretch { messages, more, .. } = reader.read(id, wanted(part))?.run().stretch();
            assert!(is_some(messages.len()) && more);
            Ok(())
        });
    }
}

#[test]
fn a_search_that_passes_over_many_names_where_it_goes_on() {
    let folder = Folder::new();
    let (disk, writer) = folder.open();
    let mut home = Home::new(writer);
    home.open(1, 50);
    home.say(1, 0, &vec!["\"tea\""; 5_000]);
    let mut indexer = disk.indexer(Arc::default(), Duration::ZERO).unwrap();
    let mut index = indexer.open().unwrap();
    for _ in 0..2 {
        indexer.look(&mut index, &AtomicBool::new(false)).unwrap();
    }
    let mut reader = disk.reader().unwrap();
    let mut find = |from, before| {
        let sought = Sought { query: "tea", from, before, messages: 2, bytes: 10_000 };
        let (hits, more_before) = reader.find(1, sought).unwrap().expect("the index is whole");
        (read_hits(&hits, more_before).messages.len(), more_before)
    };
    assert_eq!(find(None, u64::MAX), (2, 4_999));
    assert_eq!(find(None, 4_999), (2, 4_997));
    assert_eq!(find(None, 3), (2, 0));
    // Nobody is called so.
    let (count, before) = find(Some("x"), u64::MAX);
    assert!(count == 0 && (1..5_000).contains(&before), "{before}");
    assert_eq!(find(Some("x"), before), (0, 0));
}

#[test]
fn a_page_ends_at_what_is_damaged_and_the_next_goes_on_behind_it() {
    let folder = Folder::new();
    let (disk, writer) = folder.open();
    let (mut home, mut reader) = (Home::new(writer), disk.reader().unwrap());
    home.open(1, 50);
    home.say(1, 0, &["\"a\"", "\"b\"", "\"c\"", "\"d\"", "\"e\""]);
    let id = home.open(1, 51).unwrap();
    let row = id_of(id, 3);
    meddle(&folder.file(), &format!("UPDATE message SET body = '\"!\"' WHERE id = {row}"));
    let mut read = |after, upto, part| {
        let wanted = Wanted {
            after,
            upto,
            part,
            messages: 9,
            bytes: 1_000,
            changed: None,
            view: View::Room,
        };
        let Stretch { first, messages, more, .. } =
            reader.read(id, wanted).unwrap().run().stretch();
        assert_eq!(reader.take_damaged(), 1);
        (first, messages.len(), more)
    };
    assert_eq!(read(0, 5, Part::Newest), (4, 2, true));
    assert_eq!(read(0, 3, Part::Newest), (1, 2, false));
    assert_eq!(read(0, 5, Part::Oldest), (1, 2, true));
    assert_eq!(read(2, 5, Part::Oldest), (4, 2, false));
    assert_eq!(read(0, 5, Part::All), (1, 2, true), "no recovery is whole");
}

#[test]
fn what_was_written_before_is_written_once_and_another_message_is_not_in_its_place() {
    let folder = Folder::new();
    let (disk, writer) = folder.open();
    let mut home = Home::new(writer);
    home.open(1, 50);
    home.say(1, 0, &["\"a\""]);
    home.say(1, 0, &["\"a\"", "\"b\""]);
    let id = home.open(1, 51);
    let mut reader = disk.reader().unwrap();
    assert_eq!(bodies(&load(&mut reader, id)), ["\"a\"", "\"b\""]);
    // It would be told as kept, and is not.
    let error = home.try_say(1, 1, &["\"another\"", "\"c\""]).unwrap_err();
    assert_eq!(error.cause(), Cause::Corrupt);
    assert_eq!(bodies(&load(&mut reader, id)), ["\"a\"", "\"b\""]);
}

#[test]
fn a_change_that_was_written_before_hides_nothing_and_one_of_what_is_gone_does() {
    let folder = Folder::new();
    let (disk, writer) = folder.open();
    let mut home = Home::new(writer);
    home.open(1, 50);
    home.say(1, 0, &["\"tea\""]);
    let mut change = |after, offset| {
        let top = Marks { offset: 1, change: after };
        let (room, said, fate) = (key(1), said("\"mate\""), Fate::default());
        let mut batch = Batch::default();
        let (number, at_ms, said_ms) = (9, 200, 100);
        let record =
            ToStore::Change { number, room, top, at_ms, offset, said_ms, said, fate, audit: &[] };
        push(&mut batch, record);
        home.writer.write(&batch, &mut Vec::new()).expect("it is written");
        let opened = load(&mut disk.reader().expect("it opens"), Some(1));
        (opened.top.change, opened.floor.change)
    };
    assert_eq!(change(0, 1), (1, 0));
    assert_eq!(change(0, 1), (1, 0), "nobody can tell that it was a second time");
    assert_eq!(change(1, 7), (2, 2), "what became of it cannot be told any more");
}

#[test]
fn a_room_that_the_index_mistakes_for_another_is_not_opened_and_others_are() {
    let folder = Folder::new();
    let (_, writer) = folder.open();
    let mut home = Home::new(writer);
    for room in 1..=2 {
        home.open(room, 50);
        home.say(room, 0, &["\"a\""]);
    }
    home.writer.close().unwrap();
    // In the index a name stands before the id of its room.
    let mut file = fs::read(folder.file()).unwrap();
    let is_entry = |bytes: &[u8]| bytes == b"room:2\x02";
    let at = file.windows(7).position(is_entry).expect("an index of names");
    file[at + 6] = 1;
    fs::write(folder.file(), file).unwrap();
    let (_disk, mut writer) = folder.open();
    let mut batch = Batch::default();
    for (number, room) in [(8, 1), (9, 2)] {
        let topic = format!("room:{room}");
        push(&mut batch, ToStore::Open { number, room: key(room), topic: &topic, epoch: 60 });
    }
    let mut openings = Vec::new();
    writer.write(&batch, &mut openings).unwrap();
    assert_eq!(
        openings,
        [Question { shard: 0, number: 8, id: Some(1), asked: Asked::Tail, is_full: false }]
    );
    let damaged = writer.take_damaged();
    assert!(matches!(&damaged[..], [room] if room.number == 9), "{damaged:?}");
}

#[test]
fn a_page_that_is_damaged_takes_its_rooms_with_it_and_not_the_batch() {
    let folder = Folder::new();
    let (_, writer) = folder.open();
    let mut home = Home::new(writer);
    for room in 1..=300 {
        home.open(room, 50);
        home.say(room, 0, &["\"a\""]);
    }
    home.writer.close().unwrap();
    let mut file = fs::read(folder.file()).unwrap();
    // A leaf of the table of rooms (the file format of SQLite, 1.6).
    let is_it = |page: &[u8]| page[0] == 0x0d && page.windows(8).any(|name| name == b"room:150");
    file.chunks_mut(4_096).find(|page| is_it(page)).expect("a page of rooms")[0] = 0xff;
    fs::write(folder.file(), file).unwrap();
    let (_disk, mut writer) = folder.open();
    let mut batch = Batch::default();
    let open = |batch: &mut Batch, number, room| {
        let topic = format!("room:{room}");
        push(batch, ToStore::Open { number, room: key(room), topic: &topic, epoch: 60 });
    };
    for (number, room) in [(7, 299), (8, 150), (9, 300)] {
        open(&mut batch, number, room);
    }
    let (room, top) = (key(300), at(1));
    push(&mut batch, ToStore::Append { number: 10, room, top, at_ms: 200, said: said("\"b\"") });
    let mut openings = Vec::new();
    writer.write(&batch, &mut openings).unwrap();
    assert_eq!(openings.iter().map(|of| of.id).collect::<Vec<_>>(), [Some(299), Some(300)]);
    let damaged = writer.take_damaged();
    assert!(matches!(&damaged[..], [room] if room.number == 8), "{damaged:?}");
    assert_eq!(Kept::of(&folder).bodies("room:300"), ["\"a\"", "\"b\""]);
    // Where all is damaged, it is the file's matter.
    let mut batch = Batch::default();
    for number in 0..20 {
        open(&mut batch, number, 140 + number);
    }
    assert_eq!(writer.write(&batch, &mut Vec::new()).unwrap_err().cause(), Cause::Corrupt);
}

#[test]
fn a_batch_that_fails_can_be_written_again() {
    let folder = Folder::new();
    let (disk, writer) = folder.open();
    let (mut home, mut reader) = (Home::new(writer), disk.reader().unwrap());
    home.open(1, 50);
    home.open(2, 51);
    home.say(1, 0, &["\"a\""]);
    // So that the pages of a new room, and of its messages, have no place.
    let pages = "PRAGMA max_page_count = 1";
    home.writer.conn().query_row(pages, [], |row| row.get::<_, i64>(0)).unwrap();
    let long = format!("\"{}\"", "x".repeat(100_000));
    let error = home.try_say(2, 0, &["\"x\"", &long]).unwrap_err();
    assert_eq!(error.cause(), Cause::Full);
    let error = home.try_say(2, 0, &["\"x\"", &long]).unwrap_err();
    assert_eq!(error.cause(), Cause::Full, "and again");
    assert!(home.writer.heal().unwrap());
    assert_eq!(load(&mut reader, Some(1)).top, at(1), "what was kept can be read");
    let pages = "PRAGMA max_page_count = 1000000";
    home.writer.conn().query_row(pages, [], |row| row.get::<_, i64>(0)).unwrap();
    home.say(2, 0, &["\"x\"", &long]);
    let id = home.open(2, 52);
    assert_eq!(bodies(&load(&mut reader, id)), ["\"x\"", &long]);
    assert_eq!(load(&mut reader, id).epoch, 51);
}

#[test]
fn what_a_batch_that_fails_has_opened_and_closed_is_as_it_was_when_it_is_written_again() {
    let folder = Folder::new();
    let (disk, writer) = folder.open();
    let mut home = Home::new(writer);
    let mut reader = disk.reader().unwrap();
    home.open(1, 50);
    home.say(1, 0, &["\"a\""]);
    home.open(2, 51);
    let long = format!("\"{}\"", "x".repeat(100_000));
    let append = |room, offset, body| ToStore::Append {
        number: 1,
        room: key(room),
        top: at(offset),
        at_ms: 1_000,
        said: said(body),
    };
    // Both are closed; then the second one's key is another room's.
    let mut batch = Batch::default();
    push(&mut batch, append(1, 1, "\"b\""));
    push(&mut batch, ToStore::Close { room: key(1) });
    push(&mut batch, append(2, 0, "\"c\""));
    push(&mut batch, ToStore::Restarted {});
    push(&mut batch, ToStore::Open { number: 9, room: key(2), topic: "room:3", epoch: 52 });
    push(&mut batch, append(2, 0, &long));
    home.writer.conn().query_row("PRAGMA max_page_count = 1", [], |_| Ok(())).unwrap();
    for _ in 0..2 {
        let failed = home.writer.write(&batch, &mut Vec::new());
        assert_eq!(failed.unwrap_err().cause(), Cause::Full);
        assert!(home.writer.heal().unwrap());
    }
    home.writer.conn().query_row("PRAGMA max_page_count = 1000000", [], |_| Ok(())).unwrap();
    home.writer.write(&batch, &mut Vec::new()).unwrap();
    for (room, said) in [(1, vec!["\"a\"", "\"b\""]), (2, vec!["\"c\""]), (3, vec![&*long])] {
        let id = home.open(room, 60);
        assert_eq!(bodies(&load(&mut reader, id)), said);
    }
}

#[test]
fn what_was_noted_as_taken_away_without_its_commit_is_put_right_by_the_next_life() {
    let folder = Folder::new();
    let last_word = || {
        let stands = Removed::read(&folder.0, None).unwrap().stands;
        let words = stands.into_values().filter_map(|of| of.standing());
        words.map(|standing| standing.banned_until_ms).collect::<Vec<_>>()
    };
    let (_, writer) = folder.open();
    let mut home = Home::new(writer);
    home.open(1, 50);
    home.ban(1, "eve", NEVER_MS);
    assert_eq!(last_word(), [NEVER_MS]);
    meddle(
        &folder.file(),
        "CREATE TRIGGER full BEFORE DELETE ON standing BEGIN SELECT RAISE(ABORT, 'no'); END",
    );
    home.try_ban(1, "eve", 0).expect_err("it is not written");
    assert_eq!(last_word(), [NEVER_MS], "what has failed before is not noted");
    drop(home);
    // As a power cut leaves it that comes between the note and its commit.
    let mut removal = RemovedLine::default();
    removal.push_standing("room:1", "eve", 901, Standing::default());
    RemovedLog::open(&folder.0, 1_000, 0).unwrap().note(&removal).unwrap();
    assert_eq!(last_word(), [0]);
    let (_, writer) = folder.open();
    assert_eq!(last_word(), [NEVER_MS], "that is how it stands");
    writer.close().unwrap();
    let size = || folder.0.join("removed.log").metadata().unwrap().len();
    let before = size();
    folder.open().1.close().unwrap();
    assert_eq!(size(), before, "there is nothing more to be put right");
}

#[test]
fn a_shard_that_begins_anew_opens_its_rooms_anew() {
    let folder = Folder::new();
    let (disk, writer) = folder.open();
    let mut home = Home::new(writer);
    home.open(1, 50);
    home.say(1, 0, &["\"a\""]);
    let mut batch = Batch::default();
    push(&mut batch, ToStore::Restarted {});
    home.writer.write(&batch, &mut Vec::new()).unwrap();
    let id = home.open(1, 51);
    let opened = load(&mut disk.reader().unwrap(), id);
    assert_eq!((opened.epoch, opened.top), (50, at(1)), "nothing that was said is lost by that");
}

#[test]
#[should_panic(expected = "opened before")]
fn nothing_is_said_in_a_room_that_is_not_open() {
    let folder = Folder::new();
    let mut home = Home::new(folder.open().1);
    home.open(1, 50);
    let mut batch = Batch::default();
    push(&mut batch, ToStore::Close { room: key(1) });
    home.writer.write(&batch, &mut Vec::new()).unwrap();
    home.say(1, 0, &["\"a\""]);
}

#[test]
fn an_altered_row_is_not_served_and_what_is_behind_it_is() {
    for column in ["body = '\"!\"'", "user = 'eve'", "at = at + 1", "key = ''", "sum = 0"] {
        let folder = Folder::new();
        let (disk, writer) = folder.open();
        let (mut home, mut reader) = (Home::new(writer), disk.reader().unwrap());
        home.open(1, 50);
        home.say(1, 0, &["\"a\"", "\"b\"", "\"c\""]);
        let id = home.open(1, 51);
        let row = id_of(id.unwrap(), 2);
        meddle(&folder.file(), &format!("UPDATE message SET {column} WHERE id = {row}"));
        assert_eq!(bodies(&load(&mut reader, id)), ["\"c\""], "{column}");
        assert_eq!(reader.take_damaged(), 1);
    }
}

#[test]
fn a_room_whose_own_row_or_era_is_altered_is_not_opened_nor_listed_and_others_are() {
    for (alter, is_listed) in [
        ("UPDATE room SET title = 'other' WHERE id = 1", false),
        ("UPDATE room SET founded = 1 WHERE id = 1", false),
        ("UPDATE room SET floor = 1 WHERE id = 1", false),
        ("UPDATE room SET last = 9 WHERE id = 1", false),
        ("UPDATE room SET created_at = 9, sum = sum + 1 WHERE id = 1", false),
        ("UPDATE era SET epoch = 9 WHERE room = 1", true),
        ("UPDATE era SET first_change = 9 WHERE room = 1", true),
        ("UPDATE era SET sum = 0 WHERE room = 1", true),
    ] {
        let folder = Folder::new();
        let (disk, writer) = folder.open();
        let mut home = Home::new(writer);
        let mut reader = disk.reader().unwrap();
        let mut ids = Vec::new();
        for room in 1..=2 {
            home.open(room, 50);
            home.say(room, 0, &["\"a\""]);
            ids.extend(home.open(room, 51));
        }
        meddle(&folder.file(), alter);
        let loaded = reader.load(ids[0], TAIL).expect_err(alter);
        assert!(loaded.to_string().starts_with("room 1: "), "{loaded}");
        assert_eq!(bodies(&load(&mut reader, Some(ids[1]))), ["\"a\""]);
        let mut listed = Vec::new();
        reader.list(0, |_| true, &mut listed).unwrap();
        let count = crate::link::kept::read_listed(&listed).len();
        assert_eq!((count, reader.take_damaged()), if is_listed { (2, 0) } else { (1, 1) });
        let mut batch = Batch::default();
        for (number, room) in [(8, 1), (9, 2)] {
            let topic = format!("room:{room}");
            push(&mut batch, ToStore::Open { number, room: key(room), topic: &topic, epoch: 60 });
        }
        let mut openings = Vec::new();
        home.writer.write(&batch, &mut openings).unwrap();
        assert_eq!(openings.iter().map(|of| of.id).collect::<Vec<_>>(), [Some(2)], "{alter}");
        let damaged = home.writer.take_damaged();
        assert!(matches!(&damaged[..], [room] if room.number == 8), "{damaged:?}");
        assert_eq!(damaged[0].error.to_string(), loaded.to_string());
    }
}

#[test]
fn a_room_in_which_a_standing_is_altered_is_not_opened_and_others_are() {
    for alter in [
        "UPDATE standing SET banned_until = 0 WHERE user = 'bob'",
        "UPDATE standing SET muted_until = 0 WHERE user = 'bob'",
        "UPDATE standing SET role = 'owner' WHERE user = 'bob'",
        "UPDATE standing SET role = 'sing' WHERE user = 'bob'",
        "UPDATE standing SET user = 'bod' WHERE user = 'bob'",
        "UPDATE standing SET sum = 0 WHERE user = 'bob'",
    ] {
        let folder = Folder::new();
        let (disk, writer) = folder.open();
        let mut home = Home::new(writer);
        let mut reader = disk.reader().unwrap();
        let mut ids = Vec::new();
        for room in 1..=3 {
            home.open(room, 50);
            home.say(room, 0, &["\"a\""]);
            ids.extend(home.open(room, 51));
        }
        let standing = Standing { muted_until_ms: 9, banned_until_ms: 9, ..Standing::default() };
        // Next to each other in the file.
        for (room, user) in [(ids[0], "ann"), (ids[1], "bob"), (ids[2], "cat")] {
            stand(home.writer.conn(), StandingRow { room, user, standing }).unwrap();
        }
        reader.load(ids[1], TAIL).expect("all is whole");
        meddle(&folder.file(), alter);
        let refused = reader.load(ids[1], TAIL).expect_err(alter);
        assert_eq!(refused.to_string(), "room 2: how its users stand is not what was written");
        assert_eq!(refused.cause(), Cause::Corrupt);
        for id in [ids[0], ids[2]] {
            assert_eq!(bodies(&load(&mut reader, Some(id))), ["\"a\""], "{alter}");
        }
    }
}

#[test]
fn what_changes_a_row_of_a_room_changes_its_checksum() {
    let folder = Folder::new();
    let (disk, writer) = folder.open();
    let (mut home, mut reader) = (Home::new(writer), disk.reader().unwrap());
    home.open(1, 50);
    let mut batch = Batch::default();
    let (room, title) = (key(1), "A");
    push(&mut batch, ToStore::Founding { number: 2, room, at_ms: 7, title, owner: None });
    home.writer.write(&batch, &mut Vec::new()).unwrap();
    home.say(1, 0, &["\"a\"", "\"b\""]);
    let keep = Keep { messages: 1, ..Keep::default() };
    let step = Retention::new(keep, 60).step(home.writer.conn(), 0, 0).unwrap();
    assert_eq!(step.offsets(), [(1, 1)]);
    let id = home.open(1, 51);
    let opened = load(&mut reader, id);
    assert_eq!((opened.founded.as_deref(), opened.top, opened.tail.len()), (Some("A"), at(2), 1));
}

#[test]
fn a_message_that_is_missing_is_told_and_one_that_was_let_go_of_is_not() {
    let folder = Folder::new();
    let (disk, writer) = folder.open();
    let (mut home, mut reader) = (Home::new(writer), disk.reader().unwrap());
    home.open(1, 50);
    home.say(1, 0, &["\"a\"", "\"b\"", "\"c\"", "\"d\"", "\"e\""]);
    let keep = Keep { messages: 4, ..Keep::default() };
    Retention::new(keep, 60).step(home.writer.conn(), 0, 0).unwrap();
    let id = home.open(1, 51);
    assert_eq!(bodies(&load(&mut reader, id)).len(), 4);
    let few = TailBounds { messages: 2, ..TAIL };
    assert_eq!(bodies(&reader.load(id.unwrap(), few).unwrap().found().opened()).len(), 2);
    assert_eq!(reader.take_damaged(), 0);
    for (offset, left) in [(2, 3), (4, 1)] {
        meddle(&folder.file(), &format!("DELETE FROM message WHERE id = {}", id_of(1, offset)));
        assert_eq!(bodies(&load(&mut reader, id)).len(), left);
        assert_eq!(reader.take_damaged(), 1, "{offset}");
    }
    let wanted = Wanted {
        after: 0,
        upto: 5,
        part: Part::Oldest,
        messages: 9,
        bytes: 1_000,
        changed: None,
        view: View::Room,
    };
    let page = reader.read(id.unwrap(), wanted).unwrap();
    assert_eq!((page.run().stretch().messages.len(), page.run().more), (1, true));
    assert_eq!(reader.take_damaged(), 1);
}

#[test]
fn a_read_that_does_not_end_is_ended() {
    let folder = Folder::new();
    let (disk, _writer) = folder.open();
    let reader = disk.reader().unwrap();
    let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) \
                   SELECT count(*) FROM n";
    let error = reader.conn().query_row(endless, [], |_| Ok(())).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::OperationInterrupted));
}

#[test]
fn a_checkpoint_empties_the_log_and_what_it_held_is_there() {
    let folder = Folder::new();
    let (disk, writer) = folder.open();
    let mut home = Home::new(writer);
    let wal_bytes = || fs::metadata(folder.0.join("chat.db-wal")).unwrap().len();
    home.open(1, 50);
    home.say(1, 0, &["\"a\""]);
    assert!(home.writer.wal_bytes() > 0 && wal_bytes() > 0);
    home.writer.checkpoint().unwrap();
    assert_eq!(home.writer.wal_bytes(), 0);
    home.say(1, 1, &["\"b\""]);
    assert!(home.writer.empty_wal().unwrap());
    assert_eq!(wal_bytes(), 0);
    let id = home.open(1, 51);
    assert_eq!(bodies(&load(&mut disk.reader().unwrap(), id)), ["\"a\"", "\"b\""]);
}

#[test]
fn the_folder_is_its_owners_alone_and_one_process_has_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let (disk, writer) = folder.open();
    assert_eq!(fs::metadata(&folder.0).unwrap().permissions().mode() & 0o777, 0o700);
    let second = folder.try_open().err().unwrap();
    assert!(matches!(second, StoreError::InUse { .. }), "{second}");
    drop(disk);
    assert!(folder.try_open().is_err(), "the writer has it still");
    drop(writer);
    folder.open();
}

#[test]
fn the_secret_of_guests_stays() {
    let folder = Folder::new();
    let (disk, writer) = folder.open();
    assert_eq!(disk.guest_secret(), &[7; 32]);
    drop((disk, writer));
    let (disk, _writer) = Disk::open(Options::at(&folder.0), &[8; 32], 2_000).unwrap();
    assert_eq!(disk.guest_secret(), &[7; 32]);
}

#[test]
fn what_is_kept_is_for_its_owner_alone_in_a_folder_that_is_not() {
    let folder = Folder::new();
    fs::create_dir(&folder.0).unwrap();
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755)).unwrap();
    let (disk, writer) = folder.open();
    Home::new(writer).open(1, 50);
    drop(disk.indexer(Arc::default(), Duration::ZERO).unwrap().open().unwrap());
    for file in fs::read_dir(&folder.0).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?}: {mode:o}", file.file_name());
    }
}

#[test]
fn numbers_that_no_store_writes_are_errors_or_nothing_worse() {
    let folder = Folder::new();
    let (disk, writer) = folder.open();
    let mut home = Home::new(writer);
    home.open(1, 50);
    home.say(1, 0, &["\"a\""]);
    drop((disk, home));
    rewrite(&folder.file(), "UPDATE era SET first = 0, first_change = 0");
    let (disk, writer) = folder.open();
    let (mut home, mut reader) = (Home::new(writer), disk.reader().unwrap());
    let id = home.open(1, 51);
    assert_eq!(bodies(&load(&mut reader, id)), ["\"a\""]);
    drop((disk, home, reader));
    meddle(&folder.file(), "UPDATE room SET id = 1 << 25");
    let (disk, mut writer) = folder.open();
    let mut batch = Batch::default();
    push(&mut batch, ToStore::Open { number: 1, room: key(1), topic: "room:1", epoch: 52 });
    writer.write(&batch, &mut Vec::new()).unwrap();
    assert_eq!(writer.take_damaged().len(), 1);
    drop((disk, writer));
    for last in ["-1", "1 << 40"] {
        meddle(&folder.file(), &format!("UPDATE room SET id = 1, last = {last}"));
        let (disk, mut writer) = folder.open();
        let mut batch = Batch::default();
        push(&mut batch, ToStore::Open { number: 1, room: key(1), topic: "room:1", epoch: 53 });
        writer.write(&batch, &mut Vec::new()).unwrap();
        assert_eq!(writer.take_damaged().len(), 1, "{last}");
        let error = disk.reader().unwrap().load(1, TAIL).unwrap_err();
        assert_eq!(error.cause(), Cause::Corrupt, "{last}");
    }
    meddle(&folder.file(), "UPDATE meta SET value = 9223372036854775807 WHERE key = 'life'");
    assert!(folder.try_open().is_err());
}

#[test]
fn a_file_of_a_later_version_or_of_another_program_is_refused() {
    let folder = Folder::new();
    drop(folder.open());
    meddle(&folder.file(), "PRAGMA user_version = 99");
    let error = folder.try_open().err().unwrap();
    assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
    let known = schema::VERSION.to_string();
    assert!(error.to_string().contains("99") && error.to_string().contains(&known), "{error}");
    meddle(&folder.file(), "PRAGMA user_version = 1; PRAGMA application_id = 5");
    let error = folder.try_open().err().unwrap();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");

    let other = Folder::new();
    fs::create_dir(&other.0).unwrap();
    meddle(&other.file(), "CREATE TABLE t(x)");
    assert!(matches!(other.try_open().err().unwrap(), StoreError::Foreign { .. }));
    fs::write(other.file(), [b'x'; 4_096]).unwrap();
    assert_eq!(other.try_open().err().unwrap().cause(), Cause::Corrupt);
}

#[test]
fn a_room_is_opened_with_what_memory_may_have_but_with_no_more_than_a_turn_takes_in() {
    let of = |messages, room_bytes| {
        TailBounds::of(&HistoryLimits { messages, room_bytes, ..HistoryLimits::default() })
    };
    assert_eq!(of(1_000, 524_288), TailBounds { messages: 1_000, bytes: 524_288 });
    assert_eq!(of(0, 16_777_216), TailBounds { messages: 0, bytes: 2_097_152 });
    assert_eq!(of(1_000_000, 20_000), TailBounds { messages: 4_000, bytes: 20_000 });
}

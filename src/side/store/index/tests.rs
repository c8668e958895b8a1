//! The index of words, on real files.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, params};

use super::indexer::{Indexer, STEP_MESSAGES, catch_up};
use super::words::{Words, find};
use super::{IndexQueue, file_in};
use crate::link::said::Fate;
use crate::side::store::reader::Due;
use crate::side::store::row::{Message, OFFSET_BITS, OFFSET_MAX, id_of, offset_of};
use crate::side::store::tests::{Folder, said};

/// A store with messages in it, and its index.
struct World {
    folder: Folder,
    source: Connection,
    queue: Arc<IndexQueue>,
}

impl World {
    fn new() -> Self {
        let folder = Folder::new();
        drop(folder.open());
        let source = Connection::open(folder.file()).expect("it is there");
        Self { folder, source, queue: Arc::default() }
    }

    fn indexer(&self) -> Indexer {
        let source = Connection::open(self.folder.file()).expect("it is there");
        let (queue, stats) = (Arc::clone(&self.queue), Arc::default());
        Indexer::new((source, Arc::default()), &self.folder.0, queue, stats, Duration::ZERO)
    }

    /// Says something in a room, from this offset on.
    fn say(&self, room: u32, first: u64, bodies: &[&str]) {
        let sql = "INSERT OR IGNORE INTO room(id, name, title, founded, created_at) \
                   VALUES(?1, 'room:' || ?1, '', 0, 0)";
        self.source.execute(sql, [room]).expect("a row");
        for (offset, body) in (first..).zip(bodies) {
            let (id, body) = (id_of(room, offset), format!("\"{body}\""));
            let sql = "INSERT INTO message(id, at, user, name, body, sum) VALUES(?1, 1, 'u', 'n', ?2, ?3)";
            let message = Message { id, at_ms: 1, said: said(&body), fate: Fate::default() };
            let row = params![id, body, message.sum()];
            self.source.execute(sql, row).expect("a row");
        }
    }

    /// Brings the index up to date.
    fn index(&self) -> Connection {
        self.indexed().1
    }

    fn indexed(&self) -> (Indexer, Connection) {
        let mut indexer = self.indexer();
        let mut index = indexer.open().expect("it opens");
        while indexer.next_room.is_some() {
            indexer.look(&mut index, &AtomicBool::new(false)).expect("it is indexed");
        }
        (indexer, index)
    }

    fn sql(&self, sql: &str) {
        self.source.execute_batch(sql).expect("it is done");
    }

    /// The database ends, without order if a power cut has done this to it, and begins again.
    fn begin_again(&self, done: &str) {
        self.sql("UPDATE meta SET value = value + 1 WHERE key = 'life'");
        if !done.is_empty() {
            let sql = "UPDATE meta SET value = (SELECT value FROM meta WHERE key = 'life') \
                       WHERE key = 'unclean'";
            self.sql(&format!("{done}; {sql}"));
        }
    }

    /// A room is opened, and goes on in another epoch from this offset on.
    fn begin_era(&self, room: u32, first: u64) {
        let sql = "SELECT value FROM meta WHERE key = 'life'";
        let era = "INSERT INTO era(room, first, first_change, epoch, life)";
        self.sql(&format!("{era} VALUES({room}, {first}, 1, 7, ({sql}))"));
    }
}

/// The offsets in a room of messages with these words.
fn offsets(index: &Connection, room: u32, query: &str) -> Vec<u64> {
    let range = (id_of(room, 1), id_of(room, OFFSET_MAX));
    let ids = find(index, query, range, 50).expect("it is asked");
    ids.into_iter().map(offset_of).collect()
}

#[test]
fn words_are_found_in_their_room_the_newest_first() {
    let world = World::new();
    world.say(1, 1, &["Tea at five", "no coffee", "more t\\u00e9a, please", "teapots"]);
    world.say(2, 1, &["tea here too"]);
    let index = world.index();
    for (query, found) in [
        ("tea", &[4, 3, 1][..]),
        ("tea ", &[4, 3, 1]),
        ("TEA please", &[3]),
        ("tea five at", &[1]),
        ("coff", &[2]),
        ("cof fee", &[]),
        ("offee", &[]),
        ("t\u{e9}a", &[4, 3, 1]),
    ] {
        assert_eq!(offsets(&index, 1, query), found, "{query}");
    }
}

#[test]
fn nothing_in_a_query_is_syntax() {
    let world = World::new();
    world.say(1, 1, &["a AND b", "body", "c-d"]);
    let index = world.index();
    for (query, found) in [
        ("\"", &[][..]),
        ("* ) (", &[]),
        ("", &[]),
        ("body:b", &[]),
        ("a OR body", &[]),
        ("NEAR(a b)", &[]),
        ("a AND b", &[1]),
        ("c-d", &[3]),
        ("\"c", &[3]),
        ("^body", &[2]),
        ("a\0AND\u{1}", &[1]),
        ("\0", &[]),
    ] {
        assert_eq!(offsets(&index, 1, query), found, "{query}");
    }
}

#[test]
fn an_index_goes_on_where_it_was_and_in_steps() {
    let world = World::new();
    let many: Vec<_> = (0..STEP_MESSAGES * 2 + 5).map(|n| format!("w{n}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    world.say(7, 1, &many);
    let index = world.index();
    assert_eq!(offsets(&index, 7, "w2004"), [2_005]);
    drop(index);
    world.say(7, 2_006, &["later"]);
    let (indexer, mut index) = world.indexed();
    assert_eq!(offsets(&index, 7, "later"), [2_006]);
    let more = catch_up(&world.source, &mut index, indexer.lives, 7);
    assert!(!more.expect("it is indexed"), "all is there");
}

#[test]
fn an_index_that_is_not_whole_holds_up_no_end() {
    let world = World::new();
    world.say(1, 1, &["tea"]);
    let mut indexer = world.indexer();
    let mut index = indexer.open().expect("it opens");
    let mut look = |stop| {
        indexer.look(&mut index, &AtomicBool::new(stop)).expect("it is indexed");
        (indexer.next_room, offsets(&index, 1, "tea").len())
    };
    assert_eq!(look(true), (Some(1), 0));
    assert_eq!(look(false), (Some(2), 1));
}

#[test]
fn what_retention_has_let_go_of_is_not_found() {
    let world = World::new();
    world.say(1, 1, &["tea", "tea", "tea"]);
    let (indexer, mut index) = world.indexed();
    world.sql("UPDATE room SET floor = 2");
    catch_up(&world.source, &mut index, indexer.lives, 1).expect("it is indexed");
    assert_eq!(offsets(&index, 1, "tea"), [3]);
}

#[test]
fn what_is_not_to_be_found_any_more_is_taken_out_in_steps() {
    let many = STEP_MESSAGES * 2 + 5;
    for is_power_cut in [false, true] {
        let world = World::new();
        let bodies: Vec<_> = (1..=many).map(|n| format!("tea w{n}")).collect();
        world.say(7, 1, &bodies.iter().map(String::as_str).collect::<Vec<_>>());
        world.say(8, 1, &["tea"]);
        let (mut indexer, mut index) = world.indexed();
        if is_power_cut {
            drop(index);
            world.begin_again(&format!("DELETE FROM message WHERE id > {}", id_of(7, 2)));
            indexer = world.indexer();
            index = indexer.open().expect("it opens");
        } else {
            world.sql(&format!("UPDATE room SET floor = {many} - 2"));
        }
        let count = |index: &Connection| {
            let sql = "SELECT count(*) FROM find WHERE find MATCH 'tea'";
            index.query_row(sql, [], |row| row.get::<_, u32>(0)).expect("it is asked")
        };
        let before = count(&index);
        let mut more = || {
            catch_up(&world.source, &mut index, indexer.lives, 7)
                .map(|more| (more, before - count(&index)))
        };
        assert_eq!(more().expect("it is indexed"), (true, STEP_MESSAGES), "{is_power_cut}");
        assert_eq!(more().expect("it is indexed"), (true, STEP_MESSAGES * 2));
        assert_eq!(more().expect("it is indexed"), (false, many - 2));
        let left = if is_power_cut { vec![2, 1] } else { [many, many - 1].map(u64::from).into() };
        assert_eq!(offsets(&index, 7, "tea"), left);
        index
            .execute("INSERT INTO find(find, rank) VALUES('integrity-check', 1)", [])
            .expect("no word is left of what is not there");
    }
}

#[test]
fn an_offset_that_a_power_cut_gives_anew_is_indexed_anew() {
    let cut = |upto: u64| {
        let (first, last) = (id_of(1, upto + 1), id_of(1, OFFSET_MAX));
        format!("DELETE FROM message WHERE id BETWEEN {first} AND {last}")
    };
    // Its era may begin before the index is opened or after.
    for is_opened_first in [true, false] {
        let world = World::new();
        world.say(1, 1, &["tea", "tea", "tea", "tea"]);
        world.say(2, 1, &["tea"]);
        world.begin_era(1, 1);
        drop(world.index());
        world.begin_again(&cut(2));
        if !is_opened_first {
            assert_eq!(offsets(&world.index(), 1, "tea"), [2, 1]);
        }
        world.begin_era(1, 3);
        world.say(1, 3, &["mate"]);
        let index = world.index();
        let found = |index: &Connection| ["tea", "mate"].map(|of| offsets(index, 1, of));
        assert_eq!(found(&index), [vec![2, 1], vec![3]], "{is_opened_first}");
        assert_eq!(offsets(&index, 2, "tea"), [1], "another room is as it was");
        // And so in the next lives, with an end in order between them.
        drop(index);
        world.begin_again("");
        world.say(1, 4, &["mate", "mate"]);
        drop(world.index());
        world.begin_again(&cut(4));
        world.begin_era(1, 5);
        world.say(1, 5, &["tea", "tea", "tea"]);
        let (indexer, mut index) = world.indexed();
        assert_eq!(found(&index), [vec![7, 6, 5, 2, 1], vec![4, 3]]);
        let more = catch_up(&world.source, &mut index, indexer.lives, 1);
        assert!(!more.expect("it is indexed"), "all is there");
    }
}

#[test]
fn a_room_whose_number_is_given_anew_and_what_was_let_go_of_and_is_back_are_indexed_anew() {
    let world = World::new();
    world.say(1, 1, &["tea", "tea", "tea"]);
    world.say(2, 1, &["tea", "tea"]);
    world.sql("UPDATE room SET floor = 2 WHERE id = 1");
    drop(world.index());
    world.begin_again(&format!(
        "UPDATE room SET floor = 1 WHERE id = 1;
         DELETE FROM room WHERE id = 2; DELETE FROM message WHERE id >> {OFFSET_BITS} = 2"
    ));
    let index = world.index();
    assert_eq!(offsets(&index, 1, "tea"), [3, 2]);
    assert_eq!(offsets(&index, 2, "tea"), [0; 0], "nobody is shown another room's words");
    drop(index);
    world.begin_era(2, 1);
    world.say(2, 1, &["mate"]);
    let index = world.index();
    assert_eq!(["tea", "mate"].map(|of| offsets(&index, 2, of)), [vec![], vec![1]]);
}

#[test]
fn a_damaged_page_of_the_database_takes_words_of_its_room_only() {
    check_damaged_page("");
    // And where messages are read by their changes.
    check_damaged_page("UPDATE message SET change = id");
}

#[track_caller]
fn check_damaged_page(sql: &str) {
    let world = World::new();
    let long = "tea ".repeat(200);
    for room in 1..=3 {
        world.say(room, 1, &[&*long; 20]);
    }
    world.sql(sql);
    world.source.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("it is moved");
    let file = world.folder.file();
    let mut bytes = fs::read(&file).expect("a file");
    // The page of a message in the middle of the second room: no page is of this type.
    let count = bytes.chunks(4_096).filter(|page| page[0] == 0x0d).count();
    let is_leaf = |page: &&mut [u8]| page[0] == 0x0d;
    let page = bytes.chunks_mut(4_096).filter(is_leaf).nth(count / 2).expect("a page");
    page[0] = 0xff;
    fs::write(&file, bytes).expect("a file");
    let index = world.index();
    let found = [1, 2, 3].map(|room| offsets(&index, room, "tea").len());
    assert_eq!([found[0], found[2]], [20, 20]);
    assert!(found[1] < 20, "{found:?}");
}

#[test]
fn a_search_that_takes_too_long_is_ended() {
    let world = World::new();
    let many: Vec<_> = ["odd", "even"].into_iter().cycle().take(20_000).collect();
    world.say(1, 1, &many);
    drop(world.index());
    let due = Due::default();
    let mut words = Words::new(&world.folder.0, Arc::clone(&world.queue), due.clone());
    let range = (id_of(1, 1), id_of(1, OFFSET_MAX));
    due.begin(60_000);
    // Each has half of them, and none has both.
    let found = words.find("odd even", range, 50).expect("it is asked");
    assert_eq!(found, Some(Vec::new()));
    due.begin(0);
    thread::sleep(Duration::from_millis(2));
    let error = words.find("odd even", range, 50).expect_err("it is late");
    assert!(error.is_late(), "{error}");
    due.begin(60_000);
    assert_eq!(words.find("odd", range, 50).expect("it is asked").map(|ids| ids.len()), Some(50));
}

#[test]
fn a_file_that_is_damaged_or_of_another_database_is_made_anew() {
    let world = World::new();
    world.say(1, 1, &["tea"]);
    drop(world.index());
    let file = file_in(&world.folder.0);
    fs::write(&file, b"no database").expect("a file");
    assert_eq!(offsets(&world.index(), 1, "tea"), [1]);
    // A database that was restored: it is of an earlier life.
    world.source.execute("UPDATE meta SET value = 0 WHERE key = 'life'", []).expect("a row");
    world.source.execute("DELETE FROM message", []).expect("rows");
    assert_eq!(offsets(&world.index(), 1, "tea"), [0; 0]);
}

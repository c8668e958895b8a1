//! What shards hear when the disk fails, the file is damaged or the files are elsewhere.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::{Home, PATIENCE, start};
use crate::limits::StoreLimits;
use crate::link::field::Field;
use crate::link::log::{Appended, Log, LogAnswer, LogEnd, Opening, Why};
use crate::link::store::FromStore;
use crate::mesh::connect_with;
use crate::side::store::log::{Promise, StoreLog};
use crate::side::store::tests::{Folder, key, said};

#[test]
fn a_file_that_is_damaged_where_it_is_written_is_given_up() {
    let folder = Folder::new();
    let (store, mut homes) = start(&folder, 1, 1);
    homes[0].open(key(1), "room:a", 50);
    homes[0].append(key(1), 1, said("\"tea\""));
    homes[0].kept();
    drop(homes);
    store.stop().unwrap();
    let file = folder.file();
    let mut bytes = fs::read(&file).unwrap();
    let has = |page: &[u8]| page.windows(5).any(|here| here == b"\"tea\"");
    // No page is of this type.
    bytes.chunks_mut(4_096).find(|page| has(page)).expect("a page of messages")[0] = 0xff;
    fs::write(&file, bytes).unwrap();
    let (store, mut homes) = start(&folder, 1, 1);
    homes[0].log.open(key(1), "room:b", 51);
    while !matches!(homes[0].answer(), LogAnswer::Opened { opened: None, .. }) {}
    homes[0].append(key(1), 1, said("\"mate\""));
    assert_eq!(homes[0].refused(), (1, Why::Unconfirmed));
    let began = Instant::now();
    let has_failed = || {
        let mut text = String::new();
        store.stats().push_text(&mut text);
        let is_named = !text.contains("errors_total{code=\"corrupt\"} 0");
        text.contains("store_state{state=\"failed\"} 1") && is_named
    };
    while !has_failed() {
        assert!(began.elapsed() < PATIENCE, "it does not heal");
        thread::sleep(Duration::from_millis(1));
    }
    drop(homes);
    assert!(store.stop().is_err());
}

#[test]
fn what_is_said_while_the_files_are_elsewhere_is_not_told_as_kept() {
    let folder = Folder::new();
    let elsewhere = folder.0.with_extension("moved");
    let (store, mut homes) = start(&folder, 1, 1);
    homes[0].open(key(1), "room:a", 50);
    homes[0].append(key(1), 1, said("\"a\""));
    homes[0].kept();
    fs::rename(&folder.0, &elsewhere).unwrap();
    homes[0].append(key(1), 2, said("\"b\""));
    assert_eq!(homes[0].refused(), (2, Why::Unconfirmed));
    assert!(!store.stats().is_working());
    let mut text = String::new();
    store.stats().push_text(&mut text);
    assert!(!text.contains("errors_total{code=\"gone\"} 0"), "{text}");
    // It was a mistake.
    fs::rename(&elsewhere, &folder.0).unwrap();
    assert_eq!(homes[0].kept(), (key(1), 2));
    drop(homes);
    store.stop().unwrap();
    let (store, mut homes) = start(&folder, 1, 1);
    assert_eq!(homes[0].open(key(1), "room:a", 51).unwrap().top.offset, 2);
    for offset in 3..=4 {
        homes[0].append(key(1), offset, said("\"c\""));
        homes[0].kept();
    }
    // While nothing is said it is noticed too.
    let copy = folder.0.join("copy.db");
    fs::copy(folder.file(), &copy).unwrap();
    fs::rename(&copy, folder.file()).unwrap();
    let began = Instant::now();
    let tries = || {
        let mut text = String::new();
        store.stats().push_text(&mut text);
        let (_, rest) = text.split_once("errors_total{code=\"gone\"} ").unwrap();
        rest.split('\n').next().unwrap().parse::<u64>().unwrap()
    };
    // It is tried again, and to heal would be to empty the log into a file that is no more.
    while tries() < 3 {
        assert!(began.elapsed() < PATIENCE, "the file is another one");
        thread::sleep(Duration::from_millis(1));
    }
    drop(homes);
    assert!(store.stop().is_err(), "that is no end in order");
    // What was kept and is only in the log is left there.
    let (store, mut homes) = start(&folder, 1, 1);
    assert_eq!(homes[0].open(key(1), "room:a", 52).unwrap().top.offset, 4);
    drop(homes);
    store.stop().unwrap();
}

#[test]
fn what_is_under_way_when_the_disk_fails_is_in_doubt_and_kept_when_it_works_again() {
    let folder = Folder::new();
    let (store, mut homes) = start(&folder, 2, 1);
    let (busy, idle) = homes.split_at_mut(1);
    let (home, other) = (&mut busy[0], &mut idle[0]);
    home.open(key(1), "room:a", 50);
    home.append(key(1), 1, said("\"a\""));
    home.kept();
    // Somebody else has the file: for the writer that is a disk that does not take anything.
    let stranger = rusqlite::Connection::open(folder.file()).unwrap();
    stranger.execute_batch("BEGIN IMMEDIATE").unwrap();
    home.append(key(1), 2, said("\"b\""));
    home.append(key(1), 3, said("\"c\""));
    assert_eq!(home.log.open(key(2), "room:b", 51), Opening::Later);
    assert_eq!(home.read(key(1), 90, 1), Ok(()));
    assert_eq!(home.read(key(1), 91, 1), Ok(()));
    assert_eq!(home.refused(), (2, Why::Unconfirmed));
    assert_eq!(home.refused(), (3, Why::Unconfirmed));
    let not_opened = LogAnswer::NotOpened { room: key(2), why: Why::Storage };
    assert_eq!(home.answer(), not_opened);
    for ticket in [90, 91] {
        let not_read = LogAnswer::NotRead { room: key(1), ticket, why: Why::Storage };
        assert_eq!(home.answer(), not_read);
    }
    assert_eq!(home.read(key(1), 92, 1), Err(Why::Storage));
    assert!(!store.stats().is_working());
    assert_eq!(home.append(key(1), 4, said("\"d\"")), Appended::Refused(Why::Storage));
    assert_eq!(home.log.open(key(3), "room:c", 52), Opening::Refused(Why::Storage));

    stranger.execute_batch("ROLLBACK").unwrap();
    assert_eq!(home.kept(), (key(1), 2), "its key gives the one answer");
    assert_eq!(home.kept(), (key(1), 3));
    while home.append(key(1), 4, said("\"d\"")) != Appended::Ordered {
        // That it is healed comes behind that.
        assert_eq!(home.log.next(), None);
        thread::yield_now();
    }
    assert_eq!(home.kept(), (key(1), 4));
    assert!(store.stats().is_working());
    assert_eq!(other.log.next(), None, "it hears of both, and nothing of it was under way");
    assert_eq!(other.open(key(1), "room:d", 53), None);
    store.stop().unwrap();
    let (store, mut homes) = start(&folder, 1, 1);
    let opened = homes[0].open(key(1), "room:a", 60).unwrap();
    assert_eq!((opened.epoch, opened.tail.len()), (50, 4));
    store.stop().unwrap();
}

#[test]
fn nothing_is_taken_before_what_was_in_doubt_is_kept() {
    let mut ports = connect_with(2, |_, _| 64);
    let mut writer = ports.pop().unwrap();
    let log = StoreLog::new(
        ports.pop().unwrap(),
        Promise::SeenIsKept,
        StoreLimits::default(),
        (1, 1),
        true,
        Arc::default(),
        Arc::default(),
    );
    let mut home = Home { log, next: 0 };
    let mut say = |message: FromStore<'_>| {
        let mut record = Vec::new();
        message.put(&mut record);
        writer.send(0, &record);
        writer.end_turn();
    };
    assert_eq!(home.log.open(key(1), "room:a", 50), Opening::Later);
    say(FromStore::Opened { number: 1, found: None });
    assert_eq!(home.log.next(), Some(LogAnswer::Opened { room: key(1), opened: None }));
    // One is in the batch that fails, and one behind it in the ring.
    for offset in [1, 2] {
        assert_eq!(home.append(key(1), offset, said("\"a\"")), Appended::Later);
    }
    say(FromStore::Failing {});
    assert_eq!(home.refused(), (1, Why::Unconfirmed));
    assert_eq!(home.refused(), (2, Why::Unconfirmed));
    say(FromStore::Kept { through: 2 });
    say(FromStore::Healed {});
    while home.log.next().is_some() {}
    // Nobody has heard of the second one, so that its key would be taken again.
    assert_eq!(home.append(key(1), 3, said("\"a\"")), Appended::Refused(Why::Storage));
    say(FromStore::Kept { through: 3 });
    assert_eq!(home.heard().1, 2);
    assert_eq!(home.append(key(1), 3, said("\"a\"")), Appended::Refused(Why::Storage));
    assert_eq!(home.kept().1, 2);
    assert_eq!(home.append(key(1), 3, said("\"b\"")), Appended::Later);
}

#[test]
fn an_end_while_it_fails_is_one_without_order() {
    let folder = Folder::new();
    let (store, mut homes) = start(&folder, 1, 1);
    homes[0].open(key(1), "room:a", 50);
    homes[0].append(key(1), 1, said("\"a\""));
    homes[0].kept();
    let stranger = rusqlite::Connection::open(folder.file()).unwrap();
    stranger.execute_batch("BEGIN IMMEDIATE").unwrap();
    // It has a place, so members have seen it.
    homes[0].append(key(1), 2, said("\"b\""));
    assert_eq!(homes[0].refused(), (2, Why::Unconfirmed));
    drop(homes);
    assert!(store.stop().is_err());
    drop(stranger);
    let (store, mut homes) = start(&folder, 1, 1);
    let opened = homes[0].open(key(1), "room:a", 60).unwrap();
    assert_eq!((opened.epoch, opened.top.offset), (60, 1), "who saw the second is told");
    store.stop().unwrap();
}

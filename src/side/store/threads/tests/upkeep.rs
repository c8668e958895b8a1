//! What is let go of, what is deleted and gone from all files, and a disk with too little space.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{Home, PATIENCE, Start, begin, start, start_as, start_of, start_with};
use crate::limits::{STORE_LOG_FACTOR, STORE_REST_MS, StoreLimits};
use crate::link::facts::Keep;
use crate::link::field::Field;
use crate::link::log::{Log, LogAnswer, LogEnd, Marks, Opening, What, Why};
use crate::link::said::{Act, Fate, MessageText};
use crate::link::store::FromStore;
use crate::mesh::connect_with;
use crate::side::store::disk::Options;
use crate::side::store::log::{Promise, StoreLog};
use crate::side::store::tests::{Folder, Home as Direct, key, said};

#[test]
fn what_is_let_go_of_is_told_to_whoever_has_the_room_and_offsets_go_on() {
    let folder = Folder::new();
    let keep = Keep { messages: 2, ..Keep::default() };
    let (store, mut homes) = start_with(&folder, 2, 1, keep, 0);
    homes[1].open(key(1), "room:b", 50);
    let home = &mut homes[0];
    home.open(key(1), "room:a", 50);
    for offset in 1..=5 {
        home.append(key(1), offset, said("\"x\""));
    }
    home.log.end_turn();
    // In one step or in several, as they are kept.
    loop {
        match home.answer() {
            LogAnswer::LetGo { room, floor } if room == key(1) && floor.offset == 3 => break,
            LogAnswer::LetGo { room, floor: Marks { offset: 1..3, .. } } if room == key(1) => {}
            LogAnswer::Kept { .. } => {}
            other => panic!("something is let go of, not {other:?}"),
        }
    }
    let mut text = String::new();
    store.stats().push_text(&mut text);
    assert!(text.contains("chinwag_store_retention_deleted_total 3"), "{text}");
    assert!(homes[1].log.next().is_none(), "nobody else is told");
    drop(homes);
    store.stop().unwrap();
    // All of it is too old for these.
    let keep = Keep { seconds: 900, ..Keep::default() };
    let (store, _homes) = start_with(&folder, 1, 1, keep, 0);
    let has_let_go = || {
        let mut text = String::new();
        store.stats().push_text(&mut text);
        text.contains("chinwag_store_retention_deleted_total 2")
    };
    while !has_let_go() {
        thread::yield_now();
    }
    store.stop().unwrap();
    let (store, mut homes) = start(&folder, 1, 1);
    let opened = homes[0].open(key(1), "room:a", 51).expect("it is there");
    assert_eq!((opened.epoch, opened.top.offset, opened.tail.len()), (50, 5, 0));
    assert_eq!(opened.floor, Marks { offset: 5, change: 0 }, "and what it has not is told");
    drop(homes);
    store.stop().unwrap();
}

#[test]
fn a_rooms_own_time_is_in_force_at_once_and_in_the_next_life_where_nothing_bounds_all() {
    let folder = Folder::new();
    let (store, mut homes) = start(&folder, 1, 1);
    let home = &mut homes[0];
    for (room, topic) in [(1, "room:1"), (2, "room:2")] {
        home.open(key(room), topic, 50);
    }
    for (room, offset) in [1, 2].into_iter().flat_map(|room| (1..=3).map(move |at| (room, at))) {
        home.append(key(room), offset, said("\"x\""));
    }
    let settings = r#"{"keep_s":900}"#;
    home.decide(key(1), What::Settings { title: "Tea", settings });
    home.log.end_turn();
    loop {
        match home.answer() {
            LogAnswer::LetGo { room, floor } => {
                assert_eq!((room, floor), (key(1), Marks { offset: 3, change: 0 }));
                break;
            }
            LogAnswer::Kept { .. } => {}
            other => panic!("something is let go of, not {other:?}"),
        }
    }
    drop(homes);
    store.stop().unwrap();
    // Said at the end of a life, before anything was let go of again.
    let (disk, writer) = folder.open();
    let mut last = Direct::new(writer);
    last.open(1, 51);
    last.say(1, 3, &["\"y\""]);
    last.writer.close().unwrap();
    drop(disk);
    let (store, mut homes) = start(&folder, 1, 1);
    let deleted = |count: u32| {
        let mut text = String::new();
        store.stats().push_text(&mut text);
        text.contains(&format!("chinwag_store_retention_deleted_total {count}"))
    };
    let began = Instant::now();
    while !deleted(1) {
        assert!(began.elapsed() < PATIENCE, "it is looked for");
        thread::yield_now();
    }
    let opened = homes[0].open(key(2), "room:2", 51).expect("it is there");
    assert_eq!((opened.tail.len(), opened.floor), (3, Marks::default()), "and in no other");
    drop(homes);
    store.stop().unwrap();
}

#[test]
fn what_is_deleted_or_edited_away_is_gone_from_all_files_while_others_speak() {
    check_gone(Keep::default(), |home| {
        let top = |change| Marks { offset: 2, change };
        let edited = Fate { edited: Some(Act { at_ms: 7, by: None }), ..Fate::default() };
        home.change(key(1), top(0), 1, &MessageText::new(7, said("\"tea\""), edited));
        let deleted = Fate { deleted: Some(Act { at_ms: 7, by: None }), ..Fate::default() };
        home.change(key(1), top(1), 2, &MessageText::new(7, said("\"\""), deleted));
    });
}

#[test]
fn what_a_room_does_not_keep_any_more_is_gone_from_all_files_while_others_speak() {
    check_gone(Keep::default(), |home| {
        let settings = r#"{"keep_s":900}"#;
        home.decide(key(1), What::Settings { title: "Tea", settings });
    });
    check_gone(Keep { messages: 2, ..Keep::default() }, |home| {
        for offset in 3..=4 {
            home.append(key(1), offset, said("\"mate\""));
        }
    });
}

/// Two words are said, and are gone from all files after `act`, though nothing rests.
#[track_caller]
fn check_gone(keep: Keep, act: impl FnOnce(&mut Home)) {
    const WORDS: [&str; 2] = ["zanzibar", "timbuktu"];
    let folder = Folder::new();
    let (store, mut homes) = start_with(&folder, 1, 1, keep, 0);
    let home = &mut homes[0];
    home.open(key(1), "room:a", 50);
    home.open(key(2), "room:b", 50);
    for (offset, word) in (1..).zip(WORDS) {
        home.append(key(1), offset, said(&format!("\"{word}\"")));
    }
    let has = |files: [&str; 2], word: &str| {
        let files = files.map(|file| fs::read(folder.0.join(file)).unwrap_or_default());
        files.iter().any(|file| file.windows(word.len()).any(|part| part == word.as_bytes()))
    };
    let is_there = |word| has(["chat.db", "chat.db-wal"], word);
    let is_indexed = |word| has(["search.db", "search.db-wal"], word);
    let began = Instant::now();
    while !WORDS.iter().all(|word| is_there(word) && is_indexed(word)) {
        assert!(began.elapsed() < PATIENCE, "they are kept, and indexed");
        thread::yield_now();
    }
    act(home);
    // So often that nothing rests, and so seldom that logs and segments do not go by their size.
    let said_apart = Duration::from_millis(STORE_REST_MS / 2);
    let (acted, mut offset) = (Instant::now(), 0_u32);
    while WORDS.iter().any(|word| is_there(word) || is_indexed(word)) {
        if acted.elapsed() >= said_apart * offset {
            offset += 1;
            home.append(key(2), offset.into(), said("\"mate\""));
            home.log.end_turn();
        }
        assert!(acted.elapsed() < PATIENCE, "{WORDS:?} are gone");
        thread::yield_now();
    }
    drop(homes);
    store.stop().unwrap();
    assert!(WORDS.iter().all(|word| !is_there(word) && !is_indexed(word)), "and stay so");
}

#[test]
fn what_is_let_go_of_while_a_room_is_loaded_is_told_behind_what_was_found() {
    let mut ports = connect_with(2, |_, _| 64);
    let mut writer = ports.pop().unwrap();
    let mut log = StoreLog::new(
        ports.pop().unwrap(),
        Promise::OkIsKept,
        StoreLimits::default(),
        (1, 1),
        true,
        Arc::default(),
        Arc::default(),
    );
    assert_eq!(log.open(key(1), "room:a", 50), Opening::Later);
    log.end_turn();
    let mut say = |message: FromStore<'_>| {
        let mut record = Vec::new();
        message.put(&mut record);
        writer.send(0, &record);
        writer.end_turn();
    };
    let floor = Marks { offset: 3, change: 0 };
    let let_go = |room| LogAnswer::LetGo { room: key(room), floor };
    say(FromStore::LetGo { room: key(1), floor });
    say(FromStore::LetGo { room: key(2), floor });
    assert_eq!(log.next(), Some(let_go(2)), "that one is open");
    assert_eq!(log.next(), None);
    // A reader had looked before.
    say(FromStore::Opened { number: 1, found: None });
    assert_eq!(log.next(), Some(LogAnswer::Opened { room: key(1), opened: None }));
    assert_eq!((log.next(), log.next()), (Some(let_go(1)), None));
}

#[test]
fn the_log_grows_to_what_it_may_have_and_is_then_moved_into_the_database() {
    // Both are less than what is moved at rest.
    for checkpoint_bytes in [64 * 1_024, 256 * 1_024] {
        check_moved_at(checkpoint_bytes);
    }
}

/// A log becomes so large and a commit larger, however much is said.
#[track_caller]
fn check_moved_at(checkpoint_bytes: usize) {
    /// More than a commit of one message writes.
    const COMMIT_BYTES: u64 = 64 * 1_024;
    let folder = Folder::new();
    let limits = StoreLimits { checkpoint_bytes, ..StoreLimits::default() };
    // Nothing is deleted, so it is emptied for that at the start only.
    let (store, mut homes) = begin(Start { limits, ..start_of(Options::at(&folder.0), 1, 1) });
    let home = &mut homes[0];
    home.open(key(1), "room:a", 50);
    let log_bytes = || folder.0.join("chat.db-wal").metadata().map_or(0, |log| log.len());
    let (least, began) = (u64::try_from(checkpoint_bytes).unwrap(), Instant::now());
    let body = format!("\"{}\"", "x".repeat(4_096));
    let (mut offset, mut enough) = (0, u64::MAX);
    while offset < enough {
        assert!(began.elapsed() < PATIENCE, "{} of {least} bytes after {offset}", log_bytes());
        offset += 1;
        home.append(key(1), offset, said(&body));
        home.kept();
        let bytes = log_bytes();
        assert!(bytes <= least + COMMIT_BYTES, "{bytes} of {least} bytes after {offset}");
        if bytes > least {
            // As much again would not have place.
            enough = enough.min(3 * offset);
        }
    }
    drop(homes);
    store.stop().unwrap();
}

#[test]
fn a_log_does_not_grow_for_as_long_as_there_is_always_somebody_who_reads() {
    const CHECKPOINT_BYTES: usize = 64 * 1_024;
    const MOST: u64 = (STORE_LOG_FACTOR * CHECKPOINT_BYTES) as u64 + 64 * 1_024;
    // Some milliseconds: what is read is what there was when it began.
    const READ: &str = "WITH RECURSIVE n(x) AS (SELECT id FROM room UNION ALL SELECT x + 1 FROM n \
                        LIMIT 30000) SELECT max(x) FROM n";
    let folder = Folder::new();
    let limits = StoreLimits { checkpoint_bytes: CHECKPOINT_BYTES, ..StoreLimits::default() };
    let (store, mut homes) = begin(Start { limits, ..start_of(Options::at(&folder.0), 1, 1) });
    let home = &mut homes[0];
    home.open(key(1), "room:a", 50);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let conn = Connection::open(folder.file()).unwrap();
                let mut read = conn.prepare(READ).unwrap();
                while !is_over.load(Ordering::Relaxed) {
                    let _inside = store.gate.enter();
                    assert!(read.exists([]).unwrap());
                }
            });
        }
        let body = format!("\"{}\"", "x".repeat(4_096));
        let mut largest = 0;
        for offset in 1..=200 {
            home.append(key(1), offset, said(&body));
            home.kept();
            largest = largest.max(folder.0.join("chat.db-wal").metadata().unwrap().len());
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(largest > 2 * CHECKPOINT_BYTES as u64, "they are in the way: {largest} bytes");
        assert!(largest <= MOST, "{largest} of {MOST} bytes");
    });
    drop(homes);
    store.stop().unwrap();
}

#[test]
fn with_too_little_space_nothing_is_taken_until_there_is_more() {
    let folder = Folder::new();
    let (store, mut homes) = start_with(&folder, 1, 1, Keep::default(), u64::MAX);
    assert_eq!(homes[0].log.open(key(1), "room:a", 50), Opening::Later);
    let not_opened = LogAnswer::NotOpened { room: key(1), why: Why::Storage };
    assert_eq!(homes[0].answer(), not_opened);
    assert!(!store.stats().is_working());
    let mut text = String::new();
    store.stats().push_text(&mut text);
    assert!(!text.contains("errors_total{code=\"space\"} 0"), "{text}");
    drop(homes);
    assert!(store.stop().is_err(), "it did not end well");
    let (store, mut homes) = start_with(&folder, 1, 1, Keep::default(), 1);
    assert_eq!(homes[0].open(key(1), "room:a", 50), None);
    drop(homes);
    store.stop().unwrap();
}

fn file_bytes(folder: &Path) -> io::Result<u64> {
    Ok(folder.join("chat.db").metadata()?.len())
}

#[test]
fn what_is_not_to_be_kept_goes_while_there_is_too_little_space_which_may_be_enough() {
    let folder = Folder::new();
    let (store, mut homes) = start(&folder, 1, 1);
    homes[0].open(key(1), "room:a", 50);
    let body = format!("\"{}\"", "x".repeat(1_000));
    for offset in 1..=2_000 {
        homes[0].append(key(1), offset, said(&body));
        homes[0].kept();
    }
    drop(homes);
    store.stop().unwrap();
    assert!(file_bytes(&folder.0).unwrap() > 2_000_000);
    let options = Options {
        // A disk on which there is nothing else.
        free_bytes: |folder| Ok(3_000_000 - 3_000_000.min(file_bytes(folder)?)),
        ..Options::at(&folder.0)
    };
    let keep = Keep { messages: 2, ..Keep::default() };
    let (store, mut homes) = start_as(options, 1, 1, Promise::OkIsKept, (keep, 2_500_000));
    let began = Instant::now();
    let has_healed = || {
        let mut text = String::new();
        store.stats().push_text(&mut text);
        store.stats().is_working() && !text.contains("errors_total{code=\"space\"} 0")
    };
    while !has_healed() {
        assert!(began.elapsed() < PATIENCE, "there is enough in the end");
        thread::sleep(Duration::from_millis(1));
    }
    let opened = loop {
        // What was told of failing comes first.
        homes[0].log.woke();
        while homes[0].log.next().is_some() {}
        match homes[0].log.open(key(2), "room:a", 51) {
            Opening::Later => break homes[0].answer(),
            refused => assert!(began.elapsed() < PATIENCE, "{refused:?}"),
        }
    };
    let LogAnswer::Opened { opened: Some(opened), .. } = opened else { panic!("{opened:?}") };
    assert_eq!((opened.top.offset, opened.tail.len(), opened.epoch), (2_000, 2, 50));
    drop(homes);
    store.stop().unwrap();
}

//! The threads of a store and the shards' ends of them, on real files.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::backups::Backups;
use super::disk::Options;
use super::error::StoreError;
use super::log::{Promise, StoreLog};
use super::reader::TailBounds;
use super::retention::Keep;
use super::stats::StoreStats;
use super::tests::{Folder, key, said};
use super::threads::{Start, Store};
use super::tools;
use crate::limits::STORE_LISTED_MAX;
use crate::link::ids::{Receipt, RoomKey};
use crate::link::log::{
    Append, Appended, Entry, Find, Judged, Log, LogAnswer, LogEnd, Marks, Opened, Opening, Part,
    Read, Said, Sought, Stretch, Wanted, What, Why,
};
use crate::link::record::Field;
use crate::link::settings::home_of;
use crate::link::store::FromStore;
use crate::mesh::{Wake, connect_with};

const TAIL: TailBounds = TailBounds { messages: 1_000, bytes: 512 * 1_024 };

/// How long something may take before a test fails.
const PATIENCE: Duration = Duration::from_mins(1);

/// A shard that does nothing but this.
struct Home {
    log: StoreLog,
    next: u64,
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(&self) {
        self.0.unpark();
    }
}

fn start(folder: &Folder, shards: u16, readers: u16) -> (Store, Vec<Home>) {
    start_with(folder, shards, readers, Keep::default(), 0)
}

fn start_with(
    folder: &Folder,
    shards: u16,
    readers: u16,
    keep: Keep,
    reserve_bytes: u64,
) -> (Store, Vec<Home>) {
    start_as(Options::at(&folder.0), shards, readers, Promise::OkIsKept, (keep, reserve_bytes))
}

fn start_promising(
    options: Options,
    shards: u16,
    readers: u16,
    promise: Promise,
) -> (Store, Vec<Home>) {
    start_as(options, shards, readers, promise, (Keep::default(), 0))
}

fn start_as(
    options: Options,
    shards: u16,
    readers: u16,
    promise: Promise,
    (keep, reserve_bytes): (Keep, u64),
) -> (Store, Vec<Home>) {
    begin(Start {
        options,
        tail: TAIL,
        made_secret: [7; 32],
        now_ms: 1_000,
        shards,
        readers,
        keep,
        sweep_ms: 1,
        reserve_bytes,
        unix_ms: || 1_000_000,
        backups: None,
        promise,
        // So small that records cross in pieces.
        ring_words: 64,
        on_panic: Arc::new(|| {}),
    })
}

fn begin(start: Start) -> (Store, Vec<Home>) {
    let (store, logs) = Store::start(start).expect("it starts");
    let home = |log: StoreLog| {
        log.set_waker(Arc::new(Unpark(thread::current())));
        Home { log, next: 0 }
    };
    (store, logs.into_iter().map(home).collect())
}

impl Home {
    fn answer(&mut self) -> LogAnswer {
        loop {
            self.log.woke();
            if let Some(answer) = self.log.next() {
                return answer;
            }
            self.log.end_turn();
            if self.log.may_sleep() {
                // A lost wake-up fails the test, and does not hang it.
                thread::park_timeout(Duration::from_secs(30));
            }
        }
    }

    fn open(&mut self, room: RoomKey, topic: &str, epoch: u64) -> Option<Opened> {
        assert_eq!(self.log.open(room, topic, epoch), Opening::Later);
        match self.answer() {
            LogAnswer::Opened { room: of, opened } if of == room => opened,
            other => panic!("{room:?} is opened, not {other:?}"),
        }
    }

    /// The reason for which the append with this ticket is refused.
    fn refused(&mut self) -> (u64, Why) {
        match self.answer() {
            LogAnswer::Refused { ticket, why, .. } => (ticket, why),
            other => panic!("something is refused, not {other:?}"),
        }
    }

    fn read(&mut self, room: RoomKey, ticket: u64, upto: u64) -> Result<(), Why> {
        let wanted = Wanted { after: 0, upto, part: Part::Newest, messages: 3, bytes: 1_000 };
        self.log.read(Read { room, topic: "", ticket, wanted })
    }

    fn append(&mut self, room: RoomKey, offset: u64, said: Said<'_>) -> Appended {
        self.next += 1;
        let entry = Entry { judged: Judged::default(), what: What::Message(said) };
        let top = Marks { offset: offset - 1, change: 0 };
        let (ticket, topic) = (self.next, "");
        self.log.append(Append { room, topic, ticket, top, at_ms: 7, entry })
    }

    fn found(&mut self, room: RoomKey, title: &str) -> Appended {
        self.next += 1;
        let entry = Entry { judged: Judged::default(), what: What::Founded { title } };
        let (ticket, topic, top) = (self.next, "", Marks::default());
        self.log.append(Append { room, topic, ticket, top, at_ms: 7, entry })
    }

    /// What the home hears of only now.
    fn heard(&mut self) -> (RoomKey, u64, String) {
        match self.answer() {
            LogAnswer::Entry { room, receipt: Receipt { offset, at_ms: 7 }, said, .. } => {
                (room, offset, String::from(said.body))
            }
            other => panic!("something is heard, not {other:?}"),
        }
    }

    fn kept(&mut self) -> (RoomKey, u64) {
        match self.answer() {
            LogAnswer::Kept { room, receipt: Receipt { offset, at_ms: 7 }, .. } => (room, offset),
            other => panic!("something is kept, not {other:?}"),
        }
    }
}

#[test]
fn what_is_told_as_kept_is_there_in_the_next_life() {
    let folder = Folder::new();
    let (store, mut homes) = start(&folder, 2, 2);
    for (number, home) in (0..).zip(&mut homes) {
        let topic = |room: u64| format!("room:{number}-{room}");
        for room in 1..=3 {
            assert_eq!(home.open(key(room), &topic(room), 50 + room), None);
        }
        for offset in 1..=100 {
            for room in 1..=3 {
                let body = format!("\"{number}-{room}-{offset}\"");
                assert_eq!(home.append(key(room), offset, said(&body)), Appended::Ordered);
            }
        }
        for offset in 1..=100 {
            for room in 1..=3 {
                assert_eq!(home.kept(), (key(room), offset), "in their order");
            }
        }
    }
    store.stop().unwrap();
    let (store, mut homes) = start(&folder, 1, 1);
    for number in 0..2 {
        for room in 1..=3 {
            let topic = format!("room:{number}-{room}");
            let opened = homes[0].open(key(10 * number + room), &topic, 99).expect("it is there");
            assert_eq!((opened.epoch, opened.top.offset, opened.tail.len()), (50 + room, 100, 100));
            let (_, last) = &opened.tail[99];
            assert_eq!(&*last.body, format!("\"{number}-{room}-100\""));
        }
    }
    store.stop().unwrap();
}

#[test]
fn a_backup_is_made_while_messages_are_kept() {
    let folder = Folder::new();
    let (store, mut homes) = start(&folder, 1, 1);
    let home = &mut homes[0];
    home.open(key(1), "room:a", 50);
    let body = format!("\"{}\"", "x".repeat(1_000));
    let mut last = 0;
    let mut say = |home: &mut Home| {
        for offset in last + 1..=last + 20 {
            assert_eq!(home.append(key(1), offset, said(&body)), Appended::Ordered);
        }
        last += 20;
        while home.kept().1 < last {}
        last
    };
    // Many steps' worth.
    let mut before = 0;
    while before < 3_000 {
        before = say(home);
    }
    let copy = folder.0.join("copy.db");
    let (report, kept) = thread::scope(|scope| {
        let backup = scope.spawn(|| tools::backup(&folder.0, &copy, ""));
        let mut kept = before;
        while !backup.is_finished() {
            kept = say(home);
        }
        (backup.join().unwrap().unwrap(), kept)
    });
    assert!(kept > before, "it goes on meanwhile");
    assert!((before..=kept).contains(&report.messages), "{before} to {kept}: {report:?}");
    assert_eq!((report.newest_ms, report.file), (Some(7), copy.clone()));
    let damages = &mut |what: &str| panic!("{what}");
    assert!(tools::check(&folder.0, Some(&copy), damages).unwrap().is_some());
    let mode = fs::metadata(&copy).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = tools::backup(&folder.0, &copy, "");
    assert!(matches!(again, Err(StoreError::Exists { .. })));
    // What cannot be written is told, and nothing else happens.
    let nowhere = tools::backup(&folder.0, &folder.0.join("none/copy.db"), "");
    assert!(matches!(nowhere, Err(StoreError::Refused(why)) if why.contains("No such file")));
    say(home);
    let socket = folder.0.join("socket");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    store.stop().unwrap();
    assert!(!socket.exists());
}

/// A clock that goes on by a second each time somebody looks.
fn seconds() -> u64 {
    static NOW_MS: AtomicU64 = AtomicU64::new(1_795_336_170_000);
    NOW_MS.fetch_add(1_000, Ordering::Relaxed)
}

/// A store that makes a backup every other second, and keeps two of them.
fn begin_with_backups(folder: &Folder, copies: &Folder) -> (Store, Vec<Home>) {
    begin(Start {
        options: Options::at(&folder.0),
        tail: TAIL,
        made_secret: [7; 32],
        now_ms: 1_000,
        shards: 1,
        readers: 1,
        keep: Keep::default(),
        sweep_ms: 60_000,
        reserve_bytes: 0,
        unix_ms: seconds,
        backups: Some(Backups { folder: copies.0.clone(), every_s: 2, keep: 2 }),
        promise: Promise::OkIsKept,
        ring_words: 64,
        on_panic: Arc::new(|| {}),
    })
}

/// The number of a line of the metrics.
fn counted(stats: &StoreStats, name: &str) -> u64 {
    let mut text = String::new();
    stats.push_text(&mut text);
    let name = format!("chinwag_store_{name} ");
    text.lines().find_map(|line| line.strip_prefix(&*name)?.parse().ok()).expect("it is there")
}

#[test]
fn a_copy_that_is_not_sound_gets_no_name() {
    let (folder, copies) = (Folder::new(), Folder::new());
    let (store, mut homes) = start(&folder, 1, 1);
    homes[0].open(key(1), "room:a", 50);
    homes[0].append(key(1), 1, said("\"x\""));
    while homes[0].kept().1 < 1 {}
    drop(homes);
    store.stop().unwrap();
    // In the index of rooms, or in the room: then they do not fit each other.
    let mut bytes = fs::read(folder.file()).unwrap();
    let at = bytes.windows(6).position(|of| of == b"room:a").expect("it was written");
    bytes[at + 5] = b'b';
    fs::write(folder.file(), bytes).unwrap();
    let (store, homes) = begin_with_backups(&folder, &copies);
    let began = Instant::now();
    while counted(store.stats(), "backup_failures_total") < 2 {
        assert_eq!(counted(store.stats(), "last_backup_unix"), 0);
        assert!(began.elapsed() < Duration::from_mins(1), "too long");
        thread::yield_now();
    }
    drop(homes);
    store.stop().unwrap();
    assert_eq!(fs::read_dir(&copies.0).unwrap().count(), 0, "nor does it stay");
}

#[test]
fn backups_are_made_by_the_clock_and_as_many_are_kept_as_are_to_be() {
    let (folder, copies) = (Folder::new(), Folder::new());
    fs::write(&copies.0, "in the way").unwrap();
    let (store, mut homes) = begin_with_backups(&folder, &copies);
    let home = &mut homes[0];
    home.open(key(1), "room:a", 50);
    let mut last = 0;
    let mut say_until = |is_so: &mut dyn FnMut() -> bool| {
        let began = Instant::now();
        while !is_so() {
            last += 1;
            assert_eq!(home.append(key(1), last, said("\"x\"")), Appended::Ordered);
            while home.kept().1 < last {}
            assert!(began.elapsed() < Duration::from_mins(1), "too long");
        }
        last
    };
    let stats = Arc::clone(store.stats());
    let value = |name| counted(&stats, name);
    // What fails is told, and tried again.
    say_until(&mut || value("backup_failures_total") > 1);
    assert_eq!(value("last_backup_unix"), 0);
    fs::remove_file(&copies.0).unwrap();
    fs::create_dir(&copies.0).unwrap();
    fs::write(copies.0.join("chat-monday.db"), "somebody else's").unwrap();
    let made = |copies: &Folder| {
        let mut names: Vec<String> = fs::read_dir(&copies.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with("Z.db"))
            .collect();
        names.sort_unstable();
        names
    };
    let mut seen = BTreeSet::new();
    let said = say_until(&mut || {
        let names = made(&copies);
        // The third one is there for a moment before the first one goes.
        assert!(names.len() <= 3, "{names:?}");
        seen.extend(names);
        seen.len() >= 5
    });
    assert!(value("last_backup_unix") > 1_795_336_170);
    drop(homes);
    store.stop().unwrap();
    let names = made(&copies);
    assert_eq!(names.len(), 2, "{names:?}");
    let newest = seen.iter().rev().take(2).rev().chain(&names).max();
    assert_eq!(newest, names.last(), "the newest ones are kept");
    let mut messages = Vec::new();
    for name in &names {
        let copy = copies.0.join(name);
        let damages = &mut |what: &str| panic!("{what}");
        let report = tools::check(&folder.0, Some(&copy), damages).unwrap().unwrap();
        messages.push(report.messages);
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(0 < messages[0] && messages[0] <= messages[1] && messages[1] <= said, "{messages:?}");
    assert_eq!(fs::read(copies.0.join("chat-monday.db")).unwrap(), b"somebody else's");
    assert_eq!(fs::read_dir(&copies.0).unwrap().count(), 3, "and nothing else is there");
}

#[test]
fn a_folder_whose_path_is_too_long_for_a_socket_has_no_backup_while_it_is_open() {
    let mut folder = Folder::new();
    folder.0.push("x".repeat(100));
    let (store, _homes) = start(&folder, 1, 1);
    let copy = folder.0.join("copy.db");
    let refused = tools::backup(&folder.0, &copy, "");
    assert!(matches!(refused, Err(StoreError::Refused(why)) if why.contains("too long")));
    store.stop().unwrap();
    tools::backup(&folder.0, &copy, "").expect("without a server it is made here");
    folder.0.pop();
}

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
            LogAnswer::LetGo { room, through: 3 } if room == key(1) => break,
            LogAnswer::LetGo { room, through: 1..3 } if room == key(1) => {}
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
    drop(homes);
    store.stop().unwrap();
}

#[test]
fn what_is_let_go_of_while_a_room_is_loaded_is_told_behind_what_was_found() {
    let mut ports = connect_with(2, |_, _| 64);
    let mut writer = ports.pop().unwrap();
    let mut log =
        StoreLog::new(ports.pop().unwrap(), Promise::OkIsKept, (1, 1), true, Arc::default());
    assert_eq!(log.open(key(1), "room:a", 50), Opening::Later);
    log.end_turn();
    let mut say = |message: FromStore<'_>| {
        let mut record = Vec::new();
        message.put(&mut record);
        writer.send(0, &record);
        writer.end_turn();
    };
    let let_go = |room| LogAnswer::LetGo { room: key(room), through: 3 };
    say(FromStore::LetGo { room: key(1), through: 3 });
    say(FromStore::LetGo { room: key(2), through: 3 });
    assert_eq!(log.next(), Some(let_go(2)), "that one is open");
    assert_eq!(log.next(), None);
    // A reader had looked before.
    say(FromStore::Opened { number: 1, found: None });
    assert_eq!(log.next(), Some(LogAnswer::Opened { room: key(1), opened: None }));
    assert_eq!((log.next(), log.next()), (Some(let_go(1)), None));
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
fn what_was_said_before_the_end_is_written_whether_or_not_somebody_waits_for_it() {
    let folder = Folder::new();
    let (store, mut homes) = start(&folder, 1, 1);
    homes[0].open(key(1), "room:a", 50);
    for offset in 1..=500 {
        homes[0].append(key(1), offset, said("\"x\""));
    }
    homes[0].log.end_turn();
    // The rings are small: the rest goes as the writer makes room.
    while homes[0].kept().1 < 500 {}
    drop(homes);
    store.stop().unwrap();
    let (store, mut homes) = start(&folder, 1, 1);
    let opened = homes[0].open(key(1), "room:a", 51).unwrap();
    assert_eq!((opened.epoch, opened.top.offset), (50, 500));
    store.stop().unwrap();
}

#[test]
fn a_room_is_loaded_behind_all_that_was_said_in_it() {
    let folder = Folder::new();
    let (store, mut homes) = start(&folder, 1, 1);
    let home = &mut homes[0];
    home.open(key(1), "room:a", 50);
    for round in 1..=50 {
        home.append(key(round), round, said("\"x\""));
        home.log.close(key(round));
        assert_eq!(home.log.open(key(round + 1), "room:a", 99), Opening::Later);
        // They are of two threads, and come in either order.
        let mut answers = [home.answer(), home.answer()];
        answers.sort_by_key(|answer| matches!(answer, LogAnswer::Opened { .. }));
        let [LogAnswer::Kept { room, receipt, .. }, LogAnswer::Opened { opened, .. }] = answers
        else {
            panic!("one is kept and one is there: {answers:?}")
        };
        assert_eq!((room, receipt.offset), (key(round), round));
        let opened = opened.expect("it is there");
        assert_eq!((opened.top.offset, opened.epoch), (round, 50));
    }
    store.stop().unwrap();
}

#[test]
fn a_room_is_read_behind_all_that_was_said_in_it_and_though_it_is_closed() {
    let folder = Folder::new();
    let (store, mut homes) = start(&folder, 1, 2);
    let home = &mut homes[0];
    home.open(key(1), "room:a", 50);
    assert_eq!(home.read(key(1), 7, 1), Ok(()));
    let nothing = LogAnswer::Read { room: key(1), ticket: 7, stretch: Stretch::default() };
    assert_eq!(home.answer(), nothing, "nothing was said in it yet");
    for round in 1..=50 {
        home.append(key(1), round, said(&format!("\"{round}\"")));
        assert_eq!(home.read(key(1), 1_000 + round, round), Ok(()));
        if round == 50 {
            home.log.close(key(1));
        }
        // Of two threads, in any order.
        let answers = [home.answer(), home.answer()];
        let is_kept = |answer: &&LogAnswer| matches!(answer, LogAnswer::Kept { .. });
        assert_eq!(answers.iter().filter(is_kept).count(), 1, "{answers:?}");
        let read = answers.iter().find_map(|answer| match answer {
            LogAnswer::Read { room, ticket, stretch } => Some((*room, *ticket, stretch)),
            _ => None,
        });
        let (room, ticket, stretch) = read.expect("it is read");
        assert_eq!((room, ticket), (key(1), 1_000 + round));
        let last = stretch.messages.last().map(|(_, said)| said.body.trim_matches('"'));
        assert_eq!(last, Some(&*round.to_string()));
        let count = round.min(3);
        let found = (stretch.first, stretch.messages.len() as u64, stretch.more);
        assert_eq!(found, (round + 1 - count, count, round > 3));
    }
    store.stop().unwrap();
}

/// The offsets of messages with a word, or why they are not looked for.
fn found(home: &mut Home, room: RoomKey, query: &str) -> Result<Vec<u64>, Why> {
    let sought = Sought { query, from: None, before: u64::MAX, messages: 9, bytes: 1_000 };
    home.log.find(Find { room, ticket: 1, sought })?;
    match home.answer() {
        LogAnswer::Found { hits, .. } => Ok(hits.messages.iter().map(|of| of.0).collect()),
        LogAnswer::NotRead { why, .. } => Err(why),
        other => panic!("something is found, not {other:?}"),
    }
}

/// Asks until the index is there.
fn found_at_last(home: &mut Home, room: RoomKey, query: &str) -> Vec<u64> {
    let began = Instant::now();
    loop {
        match found(home, room, query) {
            Ok(offsets) => return offsets,
            Err(Why::Busy) => assert!(began.elapsed() < PATIENCE, "it is made in the end"),
            Err(why) => panic!("{why:?}"),
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_index_whose_damage_only_a_reader_meets_is_made_anew() {
    let folder = Folder::new();
    let (store, mut homes) = start(&folder, 1, 1);
    homes[0].open(key(1), "room:a", 50);
    homes[0].append(key(1), 1, said("\"tea\""));
    homes[0].kept();
    while found_at_last(&mut homes[0], key(1), "tea") != [1] {}
    drop(homes);
    store.stop().unwrap();
    let file = folder.0.join("search.db");
    let mut bytes = fs::read(&file).unwrap();
    let has = |page: &[u8]| page.windows(4).any(|here| here == b"0tea");
    let page = bytes.chunks_mut(4_096).find(|page| has(page)).expect("a page of words");
    // No page is of this type.
    page[0] = 0xff;
    fs::write(&file, bytes).unwrap();
    // Nothing is written from now on, so the indexer has nothing to do.
    let (store, mut homes) = start(&folder, 1, 1);
    homes[0].open(key(1), "room:a", 51);
    assert_eq!(found_at_last(&mut homes[0], key(1), "tea"), [1]);
    drop(homes);
    store.stop().unwrap();
}

#[test]
fn a_shard_that_begins_anew_hears_nothing_of_its_old_life() {
    let folder = Folder::new();
    let (store, mut homes) = start(&folder, 1, 1);
    let home = &mut homes[0];
    home.open(key(1), "room:a", 50);
    home.append(key(1), 1, said("\"x\""));
    home.log.open(key(2), "room:b", 51);
    home.read(key(1), 5, 1).unwrap();
    home.log.restarted();
    let opened = home.open(key(3), "room:a", 52).expect("what it had said is there");
    assert_eq!((opened.top.offset, opened.epoch), (1, 50));
    home.append(key(3), 2, said("\"y\""));
    assert_eq!(home.kept(), (key(3), 2));
    store.stop().unwrap();
}

#[test]
fn too_much_that_waits_is_refused_before_it_has_a_place() {
    let folder = Folder::new();
    let (store, mut homes) = start(&folder, 1, 1);
    let home = &mut homes[0];
    home.open(key(1), "room:a", 50);
    let body = format!("\"{}\"", "x".repeat(10_000));
    let mut offset = 1;
    // Nothing is passed on in one turn, whatever the writer does meanwhile.
    let refused = loop {
        match home.append(key(1), offset, said(&body)) {
            Appended::Ordered => offset += 1,
            refused => break refused,
        }
        assert!(offset < 1_000, "a megabyte is enough");
    };
    assert_eq!(refused, Appended::Refused(Why::Busy));
    assert_eq!(home.log.open(key(2), "room:b", 51), Opening::Refused(Why::Busy));
    for kept in 1..offset {
        assert_eq!(home.kept(), (key(1), kept));
    }
    assert_eq!(home.append(key(1), offset, said(&body)), Appended::Ordered);
    assert_eq!(home.kept(), (key(1), offset), "and goes on behind what was taken");
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
/// All rooms of a home that are kept: their topics and titles, in order.
fn listed(home: &mut Home) -> Vec<(String, Option<String>)> {
    let (mut rooms, mut after) = (Vec::new(), Some(0));
    while let Some(from) = after {
        assert!(home.log.list(from));
        let LogAnswer::Listed { rooms: some, next } = home.answer() else { panic!("they are") };
        assert!(some.len() <= STORE_LISTED_MAX as usize, "a portion");
        rooms.extend(
            some.into_iter().map(|room| (String::from(room.topic), room.founded.map(String::from))),
        );
        after = next;
    }
    rooms.sort_unstable();
    rooms
}

#[test]
fn rooms_that_were_founded_or_spoken_in_are_listed_to_their_homes_and_no_others() {
    let folder = Folder::new();
    let (store, mut homes) = start(&folder, 1, 1);
    let home = &mut homes[0];
    for room in 1..=400 {
        home.open(key(room), &format!("room:{room:03}"), 50);
        if room % 2 == 0 {
            let title = format!("Room {room}");
            assert_eq!(home.found(key(room), &title), Appended::Ordered);
            assert_eq!(home.kept(), (key(room), 0));
        } else if room % 3 == 0 {
            home.append(key(room), 1, said("\"x\""));
            home.kept();
        }
    }
    store.stop().unwrap();
    let (store, mut homes) = start(&folder, 2, 2);
    let there = homes.iter_mut().map(listed).collect::<Vec<_>>();
    for (shard, rooms) in (0..).zip(&there) {
        assert!(rooms.len() > 100, "{}", rooms.len());
        assert!(rooms.iter().all(|(topic, _)| home_of(topic, 2) == shard));
    }
    let mut there = there.concat();
    there.sort_unstable();
    let expected = (1..=400)
        .filter(|room| room % 2 == 0 || room % 3 == 0)
        .map(|room| (format!("room:{room:03}"), (room % 2 == 0).then(|| format!("Room {room}"))));
    assert!(there.into_iter().eq(expected));
    let opened = homes[0].open(key(1), "room:002", 51).expect("it is there");
    assert_eq!((opened.founded.as_deref(), opened.epoch), (Some("Room 2"), 50));
    let opened = homes[0].open(key(2), "room:003", 51).expect("it is there");
    assert_eq!((opened.founded, opened.top.offset), (None, 1));
    assert_eq!(homes[0].open(key(3), "room:001", 51), None, "nothing of it was worth keeping");
    store.stop().unwrap();
}

#[test]
fn past_as_many_rooms_as_may_be_none_begins_and_those_there_are_open() {
    let folder = Folder::new();
    let options = Options { rooms_max: 2, ..Options::at(&folder.0) };
    let (store, mut homes) = start_promising(options, 1, 1, Promise::OkIsKept);
    let home = &mut homes[0];
    for room in 1..=2 {
        home.open(key(room), &format!("room:{room}"), 50);
        home.append(key(room), 1, said("\"x\""));
        home.kept();
    }
    assert_eq!(home.log.open(key(3), "room:3", 50), Opening::Later);
    assert_eq!(home.answer(), LogAnswer::NotOpened { room: key(3), why: Why::Full });
    home.log.close(key(1));
    assert!(home.open(key(4), "room:1", 51).is_some());
    store.stop().unwrap();
}

#[test]
fn what_is_seen_is_kept_and_has_its_place_before() {
    let folder = Folder::new();
    let (store, mut homes) = start_promising(Options::at(&folder.0), 1, 1, Promise::SeenIsKept);
    let home = &mut homes[0];
    home.open(key(1), "room:a", 50);
    // Its home stands where it was until it hears of them.
    for body in ["\"a\"", "\"b\"", "\"c\""] {
        assert_eq!(home.append(key(1), 1, said(body)), Appended::Later);
    }
    for (offset, body) in (1..).zip(["\"a\"", "\"b\"", "\"c\""]) {
        assert_eq!(home.heard(), (key(1), offset, body.to_owned()));
        assert_eq!(home.kept(), (key(1), offset), "and then it is answered");
    }
    assert_eq!(home.append(key(1), 4, said("\"d\"")), Appended::Later);
    assert_eq!(home.heard(), (key(1), 4, "\"d\"".to_owned()));
    home.kept();

    let stranger = rusqlite::Connection::open(folder.file()).unwrap();
    stranger.execute_batch("BEGIN IMMEDIATE").unwrap();
    home.append(key(1), 5, said("\"e\""));
    assert_eq!(home.refused(), (5, Why::Unconfirmed), "nobody has heard it");
    stranger.execute_batch("ROLLBACK").unwrap();
    assert_eq!(home.heard(), (key(1), 5, "\"e\"".to_owned()), "it is kept after all");
    assert_eq!(home.kept(), (key(1), 5));
    store.stop().unwrap();
    let (store, mut homes) = start(&folder, 1, 1);
    let opened = homes[0].open(key(1), "room:a", 60).unwrap();
    let bodies: Vec<_> = opened.tail.iter().map(|(_, said)| &*said.body).collect();
    assert_eq!(bodies, ["\"a\"", "\"b\"", "\"c\"", "\"d\"", "\"e\""]);
    store.stop().unwrap();
}

#[test]
fn what_is_answered_at_once_is_written_and_a_store_that_fails_takes_nothing() {
    let folder = Folder::new();
    let (store, mut homes) = start_promising(Options::at(&folder.0), 1, 1, Promise::OkIsTaken);
    let home = &mut homes[0];
    home.open(key(1), "room:a", 50);
    for offset in 1..=200 {
        assert_eq!(home.append(key(1), offset, said("\"x\"")), Appended::Kept);
        home.log.end_turn();
    }
    assert_eq!(home.found(key(1), "A"), Appended::Kept);
    // A load goes behind all of it, and does not wait for what gathers.
    home.log.close(key(1));
    let opened = home.open(key(2), "room:a", 51).expect("it is there");
    assert_eq!((opened.top.offset, opened.founded.as_deref()), (200, Some("A")));

    let stranger = rusqlite::Connection::open(folder.file()).unwrap();
    stranger.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(home.append(key(2), 201, said("\"y\"")), Appended::Kept);
    let mut offset = 202;
    home.log.end_turn();
    // The stranger may be a reader, for which the writer waits a moment.
    while store.stats().is_working() {
        thread::yield_now();
    }
    while home.append(key(2), offset, said("\"y\"")) == Appended::Kept {
        offset += 1;
        home.log.end_turn();
        assert_eq!(home.log.next(), None);
        thread::yield_now();
    }
    let refused = home.append(key(2), offset, said("\"y\""));
    assert_eq!(refused, Appended::Refused(Why::Storage));
    stranger.execute_batch("ROLLBACK").unwrap();
    drop(stranger);
    while home.append(key(2), offset, said("\"y\"")) != Appended::Kept {
        home.log.woke();
        assert_eq!(home.log.next(), None);
        thread::yield_now();
    }
    home.log.end_turn();
    drop(homes);
    store.stop().unwrap();
    let (store, mut homes) = start(&folder, 1, 1);
    assert_eq!(homes[0].open(key(1), "room:a", 60).unwrap().top.offset, offset);
    store.stop().unwrap();
}

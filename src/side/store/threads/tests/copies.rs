//! Copies that the writer makes while it writes: on request, and by the clock.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::super::{Start, Store};
use super::{Home, begin, counted, start, start_of};
use crate::link::log::Appended;
use crate::side::store::backups::Backups;
use crate::side::store::disk::Options;
use crate::side::store::error::StoreError;
use crate::side::store::tests::{Folder, key, said};
use crate::side::store::tools;

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
        let backup = scope.spawn(|| tools::backup(&folder.0, &copy, 0));
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
    let again = tools::backup(&folder.0, &copy, 0);
    assert!(matches!(again, Err(StoreError::Exists { .. })));
    // What cannot be written is told, and nothing else happens.
    let nowhere = tools::backup(&folder.0, &folder.0.join("none/copy.db"), 0);
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
        sweep_ms: 60_000,
        erase_ms: 60_000,
        unix_ms: seconds,
        backups: Some(Backups { folder: copies.0.clone(), every_s: 2, keep: 2 }),
        ..start_of(Options::at(&folder.0), 1, 1)
    })
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
    let refused = tools::backup(&folder.0, &copy, 0);
    assert!(matches!(refused, Err(StoreError::Refused(why)) if why.contains("too long")));
    store.stop().unwrap();
    tools::backup(&folder.0, &copy, 0).expect("without a server it is made here");
    folder.0.pop();
}

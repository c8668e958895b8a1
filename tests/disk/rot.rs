//! Bit rot: one bit of a store's file is altered after another, and each time all rooms are opened,
//! what is old in them is read, and what their audit trails say.
//!
//! What is served must be what was written, and what is not served must be told: the file is
//! refused, a room is, or a row is counted as damaged. Of how users stand each row is served as it
//! was, or nobody comes in: a ban that is missing lets somebody in. What SQLite itself cannot see
//! is counted here, so that it does not grow unseen: see [`SILENT_IN_1000_MAX`].
//!
//! Deliberately absent: bits that change while the server runs, in pages that it has in memory.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use chinwag::link::log::{Marks, Opened, Stretch};
use chinwag::link::said::MessageText;
use chinwag::side::store::tools;
use serde_json::Value;

use crate::kept::Look;
use crate::peer::{Peer, text};
use crate::server::{PATIENCE, Server};
use crate::shim::Disk;
use crate::{Draws, from_env};

/// How many bits are altered in CI, one at a time.
const FLIPS: usize = 600;

/// Of 1,000 bits, how many may be altered so that something is missing and nobody is told.
///
/// SQLite has no checksums of its pages. Each row has one, and what is missing between messages is
/// seen; but a bit in the index of names may hide a room, one in that of pins a pin, and one in the
/// page of its last messages or lines those. `store check` sees each of them. Of 12,000 bits 19
/// did.
const SILENT_IN_1000_MAX: usize = 5;

/// A page of the file.
const PAGE_BYTES: usize = 4_096;

/// The first byte of a page that ends the tree of an index (the file format of SQLite, 1.6).
const INDEX_LEAF: u8 = 0x0a;

/// What such a page begins with (the same), for each room's users: its head, and where each row is.
const STANDINGS_HEAD_BYTES: usize = 8 + 2 * ROOMS.len() * (STANDINGS.len() + 1);

/// What an index of changes has of each room: an entry for each, with two numbers of six bytes.
const CHANGES_BYTES: usize = 5 * 16;

const ROOMS: [&str; 3] = ["tea", "coffee", "cocoa"];

/// What is decided of a user in each room, beside that one has made it.
const STANDINGS: [(&str, &str); 3] =
    [("eve", r#""banned_s":-1"#), ("max", r#""muted_s":-1"#), ("zoe", r#""role":"moderator""#)];

/// What was there before anything was altered.
type Written = BTreeMap<&'static str, Room>;

/// What is read of a room.
#[derive(Debug, PartialEq)]
struct Room {
    opened: Opened,
    /// What a cursor in the middle recovers.
    recovered: Stretch,
    /// The lines of its audit trail.
    audited: Vec<Value>,
}

/// Where a cursor is in the middle: half of the messages are behind it, and all but one change.
const MIDDLE: Marks = Marks { offset: 8, change: 1 };

/// What came of one bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Nothing: it lies where nothing is read, or nobody is told of it.
    Unseen,
    /// Something is not served, and it is told.
    Told,
    /// Something is not served, and nobody is told.
    Silent,
}

/// What came of all.
#[derive(Debug, Default)]
struct Counts {
    unseen: usize,
    told: usize,
    silent: usize,
}

/// A server whose store has a little of everything.
fn talked(disk: &Disk) -> Server {
    let server = disk.serve(&[]);
    let owner = server.token("Ann");
    for room in ROOMS {
        server.found(&owner, room);
        let (mut ann, mut bob) = (Peer::open(&server, &owner), server.guest("Bob"));
        for (name, peer) in [("Ann", &mut ann), ("Bob", &mut bob)] {
            assert!(peer.join(room, "{}").contains(r#""status":"ok""#));
            for number in 2..10 {
                let body = format!("{name} says {number} in {room}");
                let more = if number % 2 == 1 { r#","key":"k","reply_to":1"# } else { "" };
                let more = more.replace('k', &format!("k{number}"));
                ask(peer, room, number, "new_msg", &format!(r#""body":"{body}"{more}"#));
            }
        }
        let of_messages = [
            ("msg_edit", format!(r#""offset":2,"body":"edited in {room}""#)),
            ("msg_delete", r#""offset":3"#.to_owned()),
            ("msg_pin", r#""offset":4"#.to_owned()),
            ("msg_pin", r#""offset":12"#.to_owned()),
            ("msg_react", format!(r#""offset":5,"emoji":"+{room}""#)),
            ("room_set", format!(r#""topic":"about {room}","join":"members""#)),
        ];
        let of_users = STANDINGS.map(|(user, how)| {
            ("room_member", format!(r#""user":"{user}",{how},"reason":"so in {room}""#))
        });
        for (number, (event, payload)) in (10..).zip(of_messages.into_iter().chain(of_users)) {
            ask(&mut ann, room, number, event, &payload);
        }
    }
    server
}

/// Such a store after an orderly end, as the bytes of its file.
fn written(disk: &Disk) -> (Vec<u8>, Written) {
    let server = talked(disk);
    server.terminate();
    let (status, log) = Server::wait(server, PATIENCE);
    assert_eq!(status.code(), Some(0), "{log}");
    let mut look = Look::begin(&disk.store()).unwrap();
    let mut all = Written::new();
    for room in ROOMS {
        let read = Room::read(&mut look, room).unwrap().expect("it was written");
        assert_eq!((read.opened.tail.len(), read.recovered.messages.len()), (16, 8));
        assert_eq!((read.opened.pins.len(), read.recovered.changed.len()), (2, 3));
        assert_eq!((read.opened.standings.len(), read.audited.len()), (4, 6));
        all.insert(room, read);
    }
    look.end().unwrap();
    (fs::read(disk.store().join("chat.db")).unwrap(), all)
}

/// Pushes something, and waits until it is acked.
fn ask(peer: &mut Peer, room: &str, number: u64, event: &str, payload: &str) {
    peer.send_raw(&text(&format!(r#"["1","{number}","room:{room}","{event}",{{{payload}}}]"#)));
    let answer = peer.await_text(&format!(r#"["1","{number}","room:{room}","phx_reply""#));
    assert!(answer.contains(r#""status":"ok""#), "{answer}");
}

fn topic(room: &str) -> String {
    format!("room:{room}")
}

/// Makes a folder anew, with these files.
fn fill(folder: &Path, files: &[(&str, &[u8])]) {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).unwrap();
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// Opens all rooms of a file. The error says what may never be.
fn look(folder: &Path, file: &[u8], written: &Written) -> Result<Outcome, String> {
    fill(folder, &[("chat.db", file)]);
    let begun = catch_unwind(AssertUnwindSafe(|| Look::begin(folder)));
    let Ok(mut look) = begun.map_err(|_| "a panic at the start")? else {
        return Ok(Outcome::Told);
    };
    let mut outcome = Outcome::Unseen;
    for (room, was) in written {
        let read = Room::read(&mut look, room);
        if look.has_panicked() {
            return Err("a panic of a thread".to_owned());
        }
        let of = match read {
            Err(_) => Outcome::Told,
            Ok(None) => Outcome::Silent,
            Ok(Some(read)) => was.judge(&read).map_err(|what| format!("{room}: {what}"))?,
        };
        outcome = outcome.max(of);
    }
    let is_told = look.counts("chinwag_store_damaged_rows_total")
        || look.counts("chinwag_store_errors_total{code=\"corrupt\"}");
    // That it cannot be closed in order is told, and what follows from it.
    let _ = look.end();
    Ok(if outcome == Outcome::Silent && is_told { Outcome::Told } else { outcome })
}

impl Room {
    /// Reads all of a room. The error says what cannot be read of it.
    fn read(look: &mut Look, room: &str) -> Result<Option<Self>, String> {
        let Some(opened) = look.open(&topic(room))? else { return Ok(None) };
        let recovered = look.recover(&topic(room), MIDDLE, opened.top)?;
        let audited: Value = serde_json::from_str(&look.audit()?).map_err(|e| e.to_string())?;
        let audited = audited["acts"].as_array().ok_or("no lines")?.clone();
        Ok(Some(Self { opened, recovered, audited }))
    }

    /// Without its epochs.
    fn timeless(self) -> Self {
        let opened = Opened { epoch: 0, lineage: Vec::new(), ..self.opened };
        Self { opened, ..self }
    }

    /// What is served of a room must be what was written. The error says what is not.
    fn judge(&self, read: &Self) -> Result<Outcome, String> {
        let (was, opened) = (&self.opened, &read.opened);
        let top = opened.top.offset;
        let said = |(offset, message): (u64, &MessageText)| {
            let before = usize::try_from(offset - 1).ok().and_then(|index| was.tail.get(index));
            let is_same = before == Some(message);
            if is_same { Ok(()) } else { Err(format!("{offset}: {message:?} was {before:?}")) }
        };
        let first = top + 1 - opened.tail.len() as u64;
        (first..).zip(&opened.tail).try_for_each(said)?;
        let Stretch { first, messages, changed, more, .. } = &read.recovered;
        (*first..).zip(messages).try_for_each(said)?;
        changed.iter().map(|(offset, message)| (*offset, message)).try_for_each(said)?;
        if let Some(line) = read.audited.iter().find(|line| !self.audited.contains(line)) {
            return Err(format!("{line} is no line of {:?}", self.audited));
        }
        let settings = |opened: &Opened| (opened.founded.clone(), opened.settings.clone());
        let is_altered = |(user, standing)| was.standings.of(user) != Some(standing);
        if settings(opened) != settings(was) || opened.standings.iter().any(is_altered) {
            return Err(format!("what was decided: {opened:?}"));
        }
        let is_same = (opened.epoch, opened.top, &opened.tail) == (was.epoch, was.top, &was.tail)
            && (&opened.pins, opened.audited) == (&was.pins, was.audited)
            && opened.standings == was.standings
            && (*more || read.recovered == self.recovered)
            && read.audited == self.audited;
        // With another epoch all that had a cursor are told by that.
        let is_told = opened.epoch != was.epoch;
        Ok(if is_same || is_told { Outcome::Unseen } else { Outcome::Silent })
    }
}

/// Whether `store check` names a damage of a file, or no server starts with it.
fn is_named(folder: &Path, file: &[u8]) -> bool {
    fill(folder, &[("chat.db", file)]);
    let mut named = 0;
    let checked = tools::check(folder, None, &mut |_| named += 1);
    let is_content = checked.is_ok_and(|report| report.is_some());
    assert!(!is_content || named == 0, "what is named is no report");
    !is_content || Look::begin(folder).is_err()
}

/// Alters bits, one after another, and counts what comes of them.
fn flip(disk: &Disk, file: &[u8], written: &Written, bits: impl Iterator<Item = usize>) -> Counts {
    let mut counts = Counts::default();
    let mut faults = Vec::new();
    for bit in bits {
        let mut altered = file.to_vec();
        altered[bit / 8] ^= 1 << (bit % 8);
        let outcome = look(disk.scratch(), &altered, written);
        if outcome != Ok(Outcome::Unseen) && !is_named(disk.scratch(), &altered) {
            faults.push(format!("byte {}, bit {}: `store check` is content", bit / 8, bit % 8));
        }
        match outcome {
            Ok(Outcome::Unseen) => counts.unseen += 1,
            Ok(Outcome::Told) => counts.told += 1,
            Ok(Outcome::Silent) => {
                println!("silent: byte {}, bit {}", bit / 8, bit % 8);
                counts.silent += 1;
            }
            Err(fault) => faults.push(format!("byte {}, bit {}: {fault}", bit / 8, bit % 8)),
        }
    }
    println!("{counts:?} of {} bytes", file.len());
    assert!(faults.is_empty(), "{faults:#?}");
    counts
}

#[test]
fn no_altered_bit_is_ever_served_and_what_is_missing_is_told() {
    let disk = Disk::new();
    let (file, written) = written(&disk);
    let all = file.len() * 8;
    let flips = from_env("DISK_FLIPS", FLIPS).min(all);
    let mut draws = Draws(from_env("DISK_SEED", 0x5eed) as u64);
    // Spread over the file.
    let bits = (0..flips).map(|flip| flip * all / flips + draws.below(all / flips));
    let counts = flip(&disk, &file, &written, bits);
    assert!(counts.told > flips / 20, "it is looked at: {counts:?}");
    assert!(counts.silent * 1_000 <= flips * SILENT_IN_1000_MAX, "{counts:?}");
}

#[test]
fn no_room_is_ever_served_as_another() {
    let disk = Disk::new();
    let (file, written) = written(&disk);
    // Each bit of the index from names to rooms: a page of its own, whose entries stand at its end.
    let is_index = |page: &[u8]| {
        let text = String::from_utf8_lossy(page);
        page[0] == INDEX_LEAF && ROOMS.into_iter().all(|room| text.contains(&topic(room)))
    };
    let page = file.chunks(PAGE_BYTES).position(is_index).expect("an index of names");
    let end = (page + 1) * PAGE_BYTES;
    let counts = flip(&disk, &file, &written, (end - 60) * 8..end * 8);
    assert!(counts.told > 30, "{counts:?}");
}

/// The head of a log, in bytes, and what it has for each page (the same, 4.1).
const LOG_HEAD_BYTES: usize = 32;
const LOG_PAGE_BYTES: usize = 24 + PAGE_BYTES;

#[test]
fn an_altered_bit_of_the_log_ends_it_there_and_alters_nothing_before() {
    let disk = Disk::new();
    let server = talked(&disk);
    // What was said last is in no other place.
    server.kill();
    let [file, log] =
        ["chat.db", "chat.db-wal"].map(|name| fs::read(disk.store().join(name)).unwrap());
    // Without epochs, which begin anew after such an end.
    let read = |log: &[u8]| -> Result<Vec<Option<Room>>, String> {
        fill(disk.scratch(), &[("chat.db", &file), ("chat.db-wal", log)]);
        let mut look = Look::begin(disk.scratch())?;
        let rooms = ROOMS.map(|room| Room::read(&mut look, room).map(|of| of.map(Room::timeless)));
        look.end()?;
        rooms.into_iter().collect()
    };
    let whole = read(&log);
    assert!(whole.iter().flatten().all(Option::is_some), "{whole:?}");
    let flips = from_env("DISK_FLIPS", FLIPS) / 10;
    let mut draws = Draws(from_env("DISK_SEED", 0x5eed) as u64);
    let mut shorter = 0;
    for _ in 0..flips {
        let at = draws.below(log.len());
        let pages = at.checked_sub(LOG_HEAD_BYTES).map(|behind| behind / LOG_PAGE_BYTES);
        let end = pages.map_or(0, |pages| LOG_HEAD_BYTES + pages * LOG_PAGE_BYTES);
        let mut altered = log.clone();
        altered[at] ^= 1 << draws.below(8);
        let (found, expected) = (read(&altered), read(&log[..end]));
        assert_eq!(found, expected, "byte {at} of {}", log.len());
        shorter += usize::from(found != whole);
    }
    assert!(shorter > flips / 2, "it is looked at: {shorter} of {flips}");
}

#[test]
fn no_change_is_hidden_by_an_altered_bit() {
    let disk = Disk::new();
    let (file, written) = written(&disk);
    // Bits of the index of changes that are of the room between the others.
    let count: u64 = written.values().map(|room| room.opened.top.change).sum();
    let is_index = |page: &[u8]| page[0] == INDEX_LEAF && u64::from(page[4]) == count;
    let page = file.chunks(PAGE_BYTES).position(is_index).expect("an index of changes");
    let [begin, end] = [2, 1].map(|rooms| (page + 1) * PAGE_BYTES - rooms * CHANGES_BYTES);
    let counts = flip(&disk, &file, &written, (begin * 8..end * 8).step_by(3));
    assert!(counts.told > 100, "{counts:?}");
    assert_eq!(counts.silent, 0, "{counts:?}");
}

#[test]
fn nobody_is_let_in_by_an_altered_bit() {
    let disk = Disk::new();
    let (file, written) = written(&disk);
    // Each bit of where the rows of all rooms lie, and of one of the room between the others.
    let (banned, _) = STANDINGS[0];
    let places = |page: &[u8]| -> Vec<usize> {
        let is_leaf = page[0] == INDEX_LEAF;
        let at = |at: &usize| is_leaf && page[*at..].starts_with(banned.as_bytes());
        (0..page.len()).filter(at).collect()
    };
    let mut pages = file.chunks(PAGE_BYTES).map(places).enumerate();
    let (page, places) = pages.find(|(_, places)| places.len() == ROOMS.len()).expect("standings");
    let begin = page * PAGE_BYTES;
    let row = begin + places[1];
    let bytes = (begin..begin + STANDINGS_HEAD_BYTES).chain(row - 9..row + 20);
    let counts = flip(&disk, &file, &written, bytes.flat_map(|byte| byte * 8..byte * 8 + 8));
    assert!(counts.told > 300, "{counts:?}");
    // What only all of the file could tell: the page is said to have fewer rows.
    assert!(counts.silent <= 2, "{counts:?}");
}

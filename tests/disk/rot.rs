//! Bit rot: one bit of a store's file is altered after another, and each time all rooms are opened.
//!
//! What is served must be what was written, and what is not served must be told: the file is
//! refused, a room is, or a row is counted as damaged. What SQLite itself cannot see is counted
//! here, so that it does not grow unseen: see [`SILENT_IN_1000_MAX`].
//!
//! Deliberately absent: bits that change while the server runs, in pages that it has in memory.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use chinwag::link::log::Opened;

use crate::kept::Look;
use crate::peer::text;
use crate::server::{PATIENCE, Server};
use crate::shim::Disk;
use crate::{Draws, from_env};

/// How many bits are altered in CI, one at a time.
const FLIPS: usize = 600;

/// Of 1,000 bits, how many may be altered so that something is missing and nobody is told.
///
/// SQLite has no checksums of its pages. Each row has one, and what is missing between messages is
/// seen; but a bit in the index of names may hide a room, and one in the page of its last messages
/// those, which `integrity_check` sees. Of 16,384 bits 21 did.
const SILENT_IN_1000_MAX: usize = 5;

/// A page of the file.
const PAGE_BYTES: usize = 4_096;

/// The first byte of a page that ends the tree of an index (the file format of SQLite, 1.6).
const INDEX_LEAF: u8 = 0x0a;

const ROOMS: [&str; 3] = ["tea", "coffee", "cocoa"];

/// What was there before anything was altered.
type Written = BTreeMap<&'static str, Opened>;

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

/// A store with a little of everything, as the bytes of its file.
fn written(disk: &Disk) -> (Vec<u8>, Written) {
    let server = disk.serve(&[]);
    for room in ROOMS {
        for name in ["Ann", "Bob"] {
            let mut peer = server.guest(name);
            assert!(peer.join(room, "{}").contains(r#""status":"ok""#));
            for number in 2..10 {
                let body = format!("{name} says {number} in {room}");
                let more = if number % 2 == 1 { r#","key":"k","reply_to":1"# } else { "" };
                let more = more.replace('k', &format!("k{number}"));
                let payload = format!(r#"{{"body":"{body}"{more}}}"#);
                let push = format!(r#"["1","{number}","room:{room}","new_msg",{payload}]"#);
                peer.send_raw(&text(&push));
                assert!(peer.await_text("phx_reply").contains(r#""status":"ok""#));
            }
        }
    }
    server.terminate();
    let (status, log) = Server::wait(server, PATIENCE);
    assert_eq!(status.code(), Some(0), "{log}");
    let mut look = Look::begin(&disk.store()).unwrap();
    let open = |room| (room, look.open(&topic(room)).unwrap().expect("it was written"));
    let all: Written = ROOMS.into_iter().map(open).collect();
    assert!(all.values().all(|room| room.tail.len() == 16));
    look.end().unwrap();
    (fs::read(disk.store().join("chat.db")).unwrap(), all)
}

fn topic(room: &str) -> String {
    format!("room:{room}")
}

/// Opens all rooms of a file. The error says what may never be.
fn look(folder: &Path, file: &[u8], written: &Written) -> Result<Outcome, String> {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("chat.db"), file).unwrap();
    let begun = catch_unwind(AssertUnwindSafe(|| Look::begin(folder)));
    let Ok(mut look) = begun.map_err(|_| "a panic at the start")? else {
        return Ok(Outcome::Told);
    };
    let mut outcome = Outcome::Unseen;
    for (room, was) in written {
        let opened = look.open(&topic(room));
        if look.has_panicked() {
            return Err("a panic of a thread".to_owned());
        }
        let of = match opened {
            Err(_) => Outcome::Told,
            Ok(None) => Outcome::Silent,
            Ok(Some(opened)) => judge(room, &opened, was)?,
        };
        outcome = outcome.max(of);
    }
    let is_told = look.counts("chinwag_store_damaged_rows_total")
        || look.counts("chinwag_store_errors_total{code=\"corrupt\"}");
    // That it cannot be closed in order is told, and what follows from it.
    let _ = look.end();
    Ok(if outcome == Outcome::Silent && is_told { Outcome::Told } else { outcome })
}

/// What is served of a room must be what was written.
fn judge(room: &str, opened: &Opened, was: &Opened) -> Result<Outcome, String> {
    let top = opened.top.offset;
    let first = top - opened.tail.len() as u64;
    for (offset, message) in (first..).zip(&opened.tail) {
        let before = usize::try_from(offset).ok().and_then(|offset| was.tail.get(offset));
        if before != Some(message) {
            return Err(format!("{room}, {}: {message:?} was {before:?}", offset + 1));
        }
    }
    let is_same = (opened.epoch, opened.top, &opened.tail) == (was.epoch, was.top, &was.tail);
    // With another epoch all that had a cursor are told by that.
    let is_told = opened.epoch != was.epoch;
    Ok(if is_same || is_told { Outcome::Unseen } else { Outcome::Silent })
}

/// Alters bits, one after another, and counts what comes of them.
fn flip(disk: &Disk, file: &[u8], written: &Written, bits: impl Iterator<Item = usize>) -> Counts {
    let mut counts = Counts::default();
    let mut faults = Vec::new();
    for bit in bits {
        let mut altered = file.to_vec();
        altered[bit / 8] ^= 1 << (bit % 8);
        match look(disk.scratch(), &altered, written) {
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

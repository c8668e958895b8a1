//! The threads of a store and the shards' ends of them, on real files.

mod copies;
mod failing;
mod reading;
mod upkeep;
mod writing;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::{Start, Store};
use crate::limits::StoreLimits;
use crate::link::audit::AuditLine;
use crate::link::facts::Keep;
use crate::link::ids::RoomKey;
use crate::link::log::{
    Append, Appended, Entry, Judged, Log, LogAnswer, LogEnd, Marks, Opened, Opening, Part, Placed,
    Read, View, Wanted, What, WhatText, Why,
};
use crate::link::said::{MessageText, Said};
use crate::mesh::Wake;
use crate::side::store::disk::Options;
use crate::side::store::log::{Promise, StoreLog};
use crate::side::store::reader::TailBounds;
use crate::side::store::stats::StoreStats;
use crate::side::store::tests::Folder;

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
    begin(Start { keep, reserve_bytes, promise, ..start_of(options, shards, readers) })
}

/// What nearly all are started with.
fn start_of(options: Options, shards: u16, readers: u16) -> Start {
    Start {
        options,
        tail: TAIL,
        made_secret: [7; 32],
        now_ms: 1_000,
        shards,
        readers,
        keep: Keep::default(),
        sweep_ms: 1,
        erase_ms: 1,
        reserve_bytes: 0,
        unix_ms: || 1_000_000,
        backups: None,
        promise: Promise::OkIsKept,
        limits: StoreLimits::default(),
        // So small that records cross in pieces.
        ring_words: 64,
        on_panic: Arc::new(|| {}),
    }
}

fn begin(start: Start) -> (Store, Vec<Home>) {
    let (store, logs) = Store::start(start).expect("it starts");
    let home = |log: StoreLog| {
        log.set_waker(Arc::new(Unpark(thread::current())));
        Home { log, next: 0 }
    };
    (store, logs.into_iter().map(home).collect())
}

/// The number of a line of the metrics.
fn counted(stats: &StoreStats, name: &str) -> u64 {
    let mut text = String::new();
    stats.push_text(&mut text);
    let name = format!("chinwag_store_{name} ");
    text.lines().find_map(|line| line.strip_prefix(&*name)?.parse().ok()).expect("it is there")
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
        let wanted = Wanted {
            after: 0,
            upto,
            part: Part::Newest,
            messages: 3,
            bytes: 1_000,
            changed: None,
            view: View::Room,
        };
        self.log.read(Read { room, topic: "", ticket, wanted })
    }

    fn append(&mut self, room: RoomKey, offset: u64, said: Said<'_>) -> Appended {
        self.next += 1;
        let entry = Entry { judged: Judged::default(), what: What::Message(said), audit: None };
        let top = Marks { offset: offset - 1, change: 0 };
        let (ticket, topic) = (self.next, "");
        self.log.append(Append { room, topic, ticket, top, at_ms: 7, entry })
    }

    /// A message has become another one, behind so many messages and changes.
    fn change(&mut self, room: RoomKey, top: Marks, offset: u64, message: &MessageText) {
        self.next += 1;
        let what = What::Changed { offset, message };
        let entry = Entry { judged: Judged::default(), what, audit: None };
        let (ticket, topic) = (self.next, "");
        self.log.append(Append { room, topic, ticket, top, at_ms: 7, entry });
    }

    fn found(&mut self, room: RoomKey, title: &str) -> Appended {
        self.decide(room, What::Founded { title, owner: None })
    }

    fn decide(&mut self, room: RoomKey, what: What<'_>) -> Appended {
        self.decide_noted(room, what, None)
    }

    fn decide_noted(
        &mut self,
        room: RoomKey,
        what: What<'_>,
        audit: Option<&AuditLine<'_>>,
    ) -> Appended {
        self.next += 1;
        let entry = Entry { judged: Judged::default(), what, audit };
        let (ticket, topic, top) = (self.next, "", Marks::default());
        self.log.append(Append { room, topic, ticket, top, at_ms: 7, entry })
    }

    /// What the home hears of only now.
    fn heard(&mut self) -> (RoomKey, u64, String) {
        match self.answer() {
            LogAnswer::Entry {
                room,
                placed: Placed { marks: Marks { offset, .. }, at_ms: 7 },
                what: WhatText::Message(said),
                ..
            } => (room, offset, String::from(said.body)),
            other => panic!("something is heard, not {other:?}"),
        }
    }

    fn kept(&mut self) -> (RoomKey, u64) {
        match self.answer() {
            LogAnswer::Kept {
                room,
                placed: Placed { marks: Marks { offset, .. }, at_ms: 7 },
                ..
            } => (room, offset),
            other => panic!("something is kept, not {other:?}"),
        }
    }
}

//! The store, with its threads and files, put to the contract that every log of rooms keeps. Here,
//! since rooms know no store, and the store no rooms.

use std::sync::Arc;
use std::thread;

use crate::limits::StoreLimits;
use crate::link::facts::Keep;
use crate::link::ids::RoomKey;
use crate::link::log::{Append, Appended, Audit, Log, LogEnd, Opening, Read, Why};
use crate::mesh::Wake;
use crate::rooms::contract::{Heard, Subject, check_some};
use crate::side::store::{Folder, Kept, Options, Promise, Start, Store, StoreLog, TailBounds};

/// How many runs there are: each commit is one on the disk.
const SEEDS: u64 = 32;

/// A shard's end of a store of its own.
struct RealLog {
    log: Option<StoreLog>,
    store: Option<Store>,
    kept: Kept,
    _folder: Folder,
}

struct NobodySleeps;

impl Wake for NobodySleeps {
    fn wake(&self) {}
}

impl RealLog {
    fn new() -> Self {
        let folder = Folder::new();
        let (store, mut logs) = Store::start(Start {
            options: Options::at(&folder.0),
            // So few that keys are those of messages that are not loaded.
            tail: TailBounds { messages: 2, bytes: 1_000_000 },
            made_secret: [7; 32],
            now_ms: 1_000,
            shards: 1,
            readers: 2,
            // So small that records cross in pieces.
            ring_words: 64,
            promise: Promise::OkIsKept,
            limits: StoreLimits::default(),
            keep: Keep::default(),
            sweep_ms: 60_000,
            erase_ms: 60_000,
            reserve_bytes: 0,
            unix_ms: || 1_000,
            backups: None,
            on_panic: Arc::new(|| {}),
        })
        .expect("it starts");
        let log = logs.pop().expect("a shard's end");
        log.set_waker(Arc::new(NobodySleeps));
        let kept = Kept::of(&folder);
        Self { log: Some(log), store: Some(store), kept, _folder: folder }
    }

    fn log(&mut self) -> &mut StoreLog {
        self.log.as_mut().expect("until it is dropped")
    }
}

impl Drop for RealLog {
    fn drop(&mut self) {
        self.log = None;
        let stopped = self.store.take().map(Store::stop);
        if !thread::panicking() {
            stopped.expect("it runs until then").expect("it ends in order");
        }
    }
}

impl Log for RealLog {
    fn open(&mut self, room: RoomKey, topic: &str, fresh_epoch: u64) -> Opening {
        self.log().open(room, topic, fresh_epoch)
    }

    fn append(&mut self, append: Append<'_>) -> Appended {
        self.log().append(append)
    }

    fn reads(&self) -> bool {
        true
    }

    fn read(&mut self, read: Read<'_>) -> Result<(), Why> {
        self.log().read(read)
    }

    fn audit(&mut self, audit: Audit) -> Result<(), Why> {
        self.log().audit(audit)
    }

    fn close(&mut self, room: RoomKey) {
        self.log().close(room);
    }
}

impl Subject for RealLog {
    const KEEPS: bool = true;
    /// A round takes no time, and its threads take what a busy machine gives them.
    const BUSY_ROUNDS_MAX: u32 = 100_000_000;

    fn step(&mut self) {
        self.log().end_turn();
        thread::yield_now();
    }

    fn next(&mut self) -> Option<Heard> {
        self.log().woke();
        let answer = self.log().next();
        self.log().end_turn();
        answer.map(Heard::Real)
    }

    /// Its home begins anew.
    fn crash(&mut self) {
        self.log().restarted();
    }

    fn is_idle(&self) -> bool {
        self.log.as_ref().is_some_and(StoreLog::is_idle)
    }

    fn truth(&self, topic: &str) -> Option<Vec<String>> {
        Some(self.kept.bodies(topic))
    }
}

#[test]
fn the_store_keeps_the_contract() {
    let others = ["set", "stood", "reported", "listed", "trail", "invited", "banned"];
    let reached = ["ok", "crash", "recovered", "waited", "page", "recovered under way"];
    let reached = [&reached[..], &others].concat();
    check_some(SEEDS, |_| RealLog::new(), &reached);
}

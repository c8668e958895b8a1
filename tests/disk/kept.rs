//! What clients were told, and whether a folder keeps it: asked of the store's own code.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use chinwag::base::arena::Key;
use chinwag::link::ids::RoomKey;
use chinwag::link::log::{Log, LogAnswer, LogEnd, Opened, Opening};
use chinwag::link::said::MessageText;
use chinwag::mesh::Wake;
use chinwag::side::store::{Keep, Options, Promise, Start, Store, StoreLog, TailBounds};
use rusqlite::Connection;

use crate::load::{CLIENTS, body, room};

/// The epoch that a room begins in which must begin one when it is opened here.
const FRESH: u64 = 1;

/// What clients were told so far.
#[derive(Clone, Default)]
pub(crate) struct Told {
    /// How many messages of each room are not let go of, if not all.
    keep: Option<u64>,
    /// By room and offset: the epoch, and what was said.
    acked: BTreeMap<(usize, u64), (u64, String)>,
    /// By room, epoch and offset. It may never have been kept.
    seen: BTreeMap<(usize, u64, u64), String>,
}

impl Told {
    /// How much was acked.
    pub(crate) fn acked(&self) -> usize {
        self.acked.len()
    }

    /// Of a store that lets go of older ones.
    pub(crate) fn keeping(messages: u64) -> Self {
        Self { keep: Some(messages), ..Self::default() }
    }

    /// What was acked by then, and seen by now.
    pub(crate) fn seen_since(&self, now: &Self) -> Self {
        Self { seen: now.seen.clone(), ..self.clone() }
    }

    /// Takes a client's note: see `load`.
    pub(crate) fn note(&mut self, note: &str) {
        let mut parts = note.splitn(4, ' ');
        let mut part = || parts.next().unwrap();
        let (what, room, id, body) = (part(), part().parse().unwrap(), part(), part());
        let (epoch, offset) = id.split_once('-').unwrap();
        let epoch = u64::from_str_radix(epoch, 16).unwrap();
        let offset = offset.parse().unwrap();
        if what == "ack" {
            let before = self.acked.insert((room, offset), (epoch, body.to_owned()));
            assert!(before.is_none(), "offset {offset} of room {room} was given twice");
        } else {
            self.seen.insert((room, epoch, offset), body.to_owned());
        }
    }

    /// Whether a folder keeps all that was acked, once, in order and unaltered, and tells who has
    /// seen more. The error says what it does not.
    pub(crate) fn check(&self, folder: &Path) -> Result<(), String> {
        let opened = Look::begin(folder).and_then(|mut look| {
            let all = (0..CLIENTS).map(|client| look.open(&format!("room:{}", room(client))));
            let all: Result<Vec<_>, _> = all.collect();
            look.end()?;
            all
        })?;
        for (client, opened) in opened.into_iter().enumerate() {
            let opened = opened.unwrap_or_default();
            self.check_room(client, &opened).map_err(|what| format!("room {client}: {what}"))?;
        }
        let sql = "PRAGMA integrity_check";
        let check = Connection::open(folder.join("chat.db"))
            .and_then(|conn| conn.query_row(sql, [], |row| row.get::<_, String>(0)));
        match check {
            Ok(found) if found == "ok" => Ok(()),
            Ok(found) => Err(format!("integrity: {found}")),
            Err(error) => Err(format!("integrity: {error}")),
        }
    }

    fn check_room(&self, client: usize, opened: &Opened) -> Result<(), String> {
        let top = opened.top.offset;
        // What is there has no gap.
        let floor = top - opened.tail.len() as u64;
        if floor > self.keep.map_or(0, |keep| top.saturating_sub(keep)) {
            return Err(format!("{} messages up to offset {top}", opened.tail.len()));
        }
        let mut once = HashSet::new();
        for (offset, MessageText { said, .. }) in (floor + 1..).zip(&opened.tail) {
            let text = said.body.trim_matches('"');
            let number = text.split(' ').nth(1).and_then(|number| number.parse().ok());
            let is_whole = number.is_some_and(|number| text == body(client, number));
            if !is_whole
                || said.key.as_deref() != number.map(|number| number.to_string()).as_deref()
            {
                return Err(format!("{offset} is altered: {text}"));
            }
            if !once.insert(number) {
                return Err(format!("{number:?} is there twice"));
            }
        }
        let at = |offset: u64| {
            let index = usize::try_from(offset - floor - 1).unwrap();
            opened.tail.get(index).map(|message| message.said.body.trim_matches('"'))
        };
        // Up to where an epoch is true; none, if it is not known.
        let kept = |epoch: u64| {
            if epoch == opened.epoch {
                return Some(top);
            }
            let of = |(old, kept): &(u64, _)| (*old == epoch).then_some(*kept);
            opened.lineage.iter().find_map(of).map(|marks| marks.offset)
        };
        let is_let_go_of = |offset: u64| offset <= floor;
        for ((_, offset), (epoch, text)) in self.acked.range((client, 0)..(client + 1, 0)) {
            if is_let_go_of(*offset) {
                continue;
            }
            if at(*offset) != Some(text) {
                return Err(format!("{offset} was acked and is not there: {text}"));
            }
            if kept(*epoch).is_none_or(|kept| kept < *offset) {
                return Err(format!("a cursor at {epoch:x}-{offset}, which was acked, is lost"));
            }
        }
        for ((of, epoch, offset), text) in &self.seen {
            if is_let_go_of(*offset) {
                continue;
            }
            let is_promised = kept(*epoch).is_some_and(|kept| kept >= *offset);
            if *of == client && is_promised && at(*offset) != Some(text) {
                return Err(format!("{epoch:x}-{offset} was seen, and now is another message"));
            }
            // In the epoch that goes on, nothing that was seen may be missing.
            if *of == client && *epoch == opened.epoch && *offset > top {
                return Err(format!("{epoch:x}-{offset} was seen, is not there, and none is told"));
            }
        }
        Ok(())
    }
}

/// A store that is opened to look at what it keeps.
pub(crate) struct Look {
    store: Store,
    log: StoreLog,
    has_panicked: Arc<AtomicBool>,
    next: u64,
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(&self) {
        self.0.unpark();
    }
}

impl Look {
    /// Opens a folder.
    pub(crate) fn begin(folder: &Path) -> Result<Self, String> {
        let has_panicked = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&has_panicked);
        let started = Store::start(Start {
            options: Options::at(folder),
            tail: TailBounds { messages: 1_000_000, bytes: usize::MAX },
            made_secret: [7; 32],
            now_ms: 1_000,
            shards: 1,
            readers: 1,
            ring_words: 64 * 1_024,
            promise: Promise::OkIsKept,
            keep: Keep::default(),
            sweep_ms: 60_000,
            reserve_bytes: 0,
            unix_ms: || 1_000,
            backups: None,
            on_panic: Arc::new(move || flag.store(true, Ordering::SeqCst)),
        });
        let (store, mut logs) = started.map_err(|error| format!("it cannot be opened: {error}"))?;
        let log = logs.pop().expect("of one shard");
        log.set_waker(Arc::new(Unpark(thread::current())));
        Ok(Self { store, log, has_panicked, next: 0 })
    }

    /// What is there of a room.
    pub(crate) fn open(&mut self, topic: &str) -> Result<Option<Opened>, String> {
        self.next += 1;
        let room: RoomKey = Key::from_u64(1 << 32 | self.next);
        if self.log.open(room, topic, FRESH) != Opening::Later {
            return Err(format!("{topic} is refused"));
        }
        loop {
            self.log.woke();
            match self.log.next() {
                Some(LogAnswer::Opened { room: of, opened }) if of == room => return Ok(opened),
                Some(LogAnswer::NotOpened { .. }) => return Err(format!("{topic} cannot be read")),
                Some(other) => panic!("{topic} is opened, not {other:?}"),
                None => {}
            }
            if self.has_panicked.load(Ordering::SeqCst) {
                return Err("a thread of the store has panicked".to_owned());
            }
            self.log.end_turn();
            if self.log.may_sleep() {
                thread::park_timeout(Duration::from_secs(1));
            }
        }
    }

    /// Whether a line stands in its metrics with a number that is not 0.
    pub(crate) fn counts(&self, name: &str) -> bool {
        let mut text = String::new();
        self.store.stats().push_text(&mut text);
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(name));
        lines.any(|rest| rest.trim_start().parse::<u64>().is_ok_and(|count| count > 0))
    }

    /// Whether a thread of the store has panicked.
    pub(crate) fn has_panicked(&self) -> bool {
        self.has_panicked.load(Ordering::SeqCst)
    }

    /// Closes it.
    pub(crate) fn end(self) -> Result<(), String> {
        drop(self.log);
        self.store.stop().map_err(|error| format!("it cannot be closed: {error}"))
    }
}

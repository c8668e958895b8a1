//! What clients were told, and whether a folder keeps it: asked of the store's own code.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use chinwag::base::arena::Key;
use chinwag::limits::StoreLimits;
use chinwag::link::audit::AuditWanted;
use chinwag::link::facts::Keep;
use chinwag::link::ids::RoomKey;
use chinwag::link::log::{
    Audit, Log, LogAnswer, LogEnd, Marks, Opened, Opening, Part, Read, Stretch, View, Wanted,
};
use chinwag::link::said::MessageText;
use chinwag::mesh::Wake;
use chinwag::side::store::{Options, Promise, Start, Store, StoreLog, TailBounds};
use rusqlite::Connection;

use crate::changed::Changed;
use crate::load::{CLIENTS, body, room};

/// The epoch that a room begins in which must begin one when it is opened here.
const FRESH: u64 = 1;

/// The bound of what is read at once, in bytes: more than there is.
const BYTES_MAX: usize = 1 << 30;

/// What clients were told so far.
#[derive(Clone, Default)]
pub(crate) struct Told {
    /// How many messages of each room are not let go of, if not all.
    keep: Option<u64>,
    /// Whether messages that are lost are passed over, to see what is lost of the rest.
    of_changes_only: bool,
    /// What became of messages, users and rooms, by room.
    changed: [Changed; CLIENTS],
    /// By room and offset: the epoch, and what was said.
    acked: BTreeMap<(usize, u64), (u64, String)>,
    /// By room, epoch and offset. It may never have been kept.
    seen: BTreeMap<(usize, u64, u64), String>,
}

impl Told {
    /// How much was acked.
    pub(crate) fn acked(&self) -> usize {
        self.acked.len() + self.changes()
    }

    /// How many changes were.
    pub(crate) fn changes(&self) -> usize {
        self.changed.iter().map(Changed::acked).sum()
    }

    /// Of changes and decisions, wherever there are messages.
    pub(crate) fn of_changes() -> Self {
        Self { of_changes_only: true, ..Self::default() }
    }

    /// Of a store that lets go of older ones.
    pub(crate) fn keeping(messages: u64) -> Self {
        Self { keep: Some(messages), ..Self::default() }
    }

    /// What was acked by then, and seen by now.
    pub(crate) fn seen_since(&self, now: &Self) -> Self {
        self.since(now, Changed::told_since)
    }

    /// The same, without what was taken away by now.
    pub(crate) fn restored_since(&self, now: &Self) -> Self {
        self.since(now, Changed::taken_away_since)
    }

    fn since(&self, now: &Self, by: impl Fn(&Changed, &Changed) -> Changed) -> Self {
        let both = self.changed.iter().zip(&now.changed);
        let changed: Vec<Changed> = both.map(|(then, now)| by(then, now)).collect();
        let changed = changed.try_into().expect("one of each client");
        Self { changed, seen: now.seen.clone(), ..self.clone() }
    }

    /// Takes a client's note: see `load`.
    pub(crate) fn note(&mut self, note: &str) {
        let (what, rest) = note.split_once(' ').unwrap();
        let (room, rest) = rest.split_once(' ').unwrap();
        let room: usize = room.parse().unwrap();
        match what {
            "ack" | "seen" => {}
            "refused" => return,
            _ => return self.changed[room].note(what, rest),
        }
        let (id, body) = rest.split_once(' ').unwrap();
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
        let mut look = Look::begin(folder)?;
        for client in 0..CLIENTS {
            let topic = format!("room:{}", room(client));
            self.check_in(&mut look, client, &topic).map_err(|what| format!("{topic}: {what}"))?;
        }
        look.end()?;
        let sql = "PRAGMA integrity_check";
        let check = Connection::open(folder.join("chat.db"))
            .and_then(|conn| conn.query_row(sql, [], |row| row.get::<_, String>(0)));
        match check {
            Ok(found) if found == "ok" => Ok(()),
            Ok(found) => Err(format!("integrity: {found}")),
            Err(error) => Err(format!("integrity: {error}")),
        }
    }

    fn check_in(&self, look: &mut Look, client: usize, topic: &str) -> Result<(), String> {
        let found = look.open(topic)?;
        let is_there = found.is_some();
        let opened = found.unwrap_or_default();
        let (numbers, said) = said(client, &opened)?;
        if !self.of_changes_only {
            self.check_room(client, &opened, &numbers, &said)?;
        }
        let changed = &self.changed[client];
        changed.check(&opened, &said, |epoch| kept(&opened, epoch))?;
        if is_there {
            changed.check_audit(&look.audit()?)?;
            check_recovery(look, topic, &opened)?;
        }
        Ok(())
    }

    fn check_room(
        &self,
        client: usize,
        opened: &Opened,
        numbers: &[u64],
        said: &[String],
    ) -> Result<(), String> {
        let top = opened.top.offset;
        // What is there has no gap.
        let floor = top - opened.tail.len() as u64;
        if floor > self.keep.map_or(0, |keep| top.saturating_sub(keep)) {
            return Err(format!("{} messages up to offset {top}", opened.tail.len()));
        }
        let mut once = HashSet::new();
        if let Some(number) = numbers.iter().find(|number| !once.insert(**number)) {
            return Err(format!("{number} is there twice"));
        }
        // What was said there at first, whatever it says now.
        let at = |offset: u64| said.get(usize::try_from(offset - floor - 1).unwrap());
        let kept = |epoch| kept(opened, epoch).map(|marks| marks.offset);
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

/// What the messages of a room said at first, by the numbers that their client gave them, and
/// these.
fn said(client: usize, opened: &Opened) -> Result<(Vec<u64>, Vec<String>), String> {
    let of = |message: &MessageText| {
        let number = message.said.key.as_deref().and_then(|key| key.parse().ok());
        let number = number.ok_or_else(|| format!("it is altered: {message:?}"))?;
        Ok((number, body(client, number)))
    };
    opened.tail.iter().map(of).collect()
}

/// Up to where an epoch is true; none, if it is not known.
fn kept(opened: &Opened, epoch: u64) -> Option<Marks> {
    let of = |(old, kept): &(u64, Marks)| (*old == epoch).then_some(*kept);
    if epoch == opened.epoch { Some(opened.top) } else { opened.lineage.iter().find_map(of) }
}

/// Whether a cursor in the middle of a room recovers what is behind it, and nothing else.
fn check_recovery(look: &mut Look, topic: &str, opened: &Opened) -> Result<(), String> {
    let Opened { top, floor, tail, .. } = opened;
    if floor.offset + tail.len() as u64 != top.offset {
        return Err(format!("{} messages from {floor:?} to {top:?}", tail.len()));
    }
    let since = Marks {
        offset: floor.offset.midpoint(top.offset),
        change: floor.change.midpoint(top.change),
    };
    let stretch = look.recover(topic, since, *top)?;
    let (before, behind) =
        tail.split_at(tail.len() - usize::try_from(top.offset - since.offset).unwrap());
    let first = since.offset + 1 - before.len() as u64;
    let has_changed = |(_, message): &(u64, &MessageText)| message.fate().change > since.change;
    let mut changed: Vec<(u64, &MessageText)> = (first..).zip(before).filter(has_changed).collect();
    changed.sort_by_key(|(_, message)| message.fate().change);
    let told = stretch.changed.iter().map(|(offset, message)| (*offset, message));
    if stretch.more || stretch.messages != behind || !told.eq(changed) {
        return Err(format!("a cursor at {since:?} recovers another room than there is"));
    }
    Ok(())
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
            limits: StoreLimits::default(),
            keep: Keep::default(),
            sweep_ms: 60_000,
            erase_ms: 60_000,
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
        if self.log.open(self.room(), topic, FRESH) != Opening::Later {
            return Err(format!("{topic} is refused"));
        }
        match self.answer()? {
            LogAnswer::Opened { opened, .. } => Ok(opened),
            LogAnswer::NotOpened { .. } => Err(format!("{topic} cannot be read")),
            other => panic!("{topic} is opened, not {other:?}"),
        }
    }

    /// The audit trail of the room that was opened last.
    pub(crate) fn audit(&mut self) -> Result<Box<str>, String> {
        let wanted = AuditWanted { before: u64::MAX, limit: u32::MAX, act: None };
        let (room, bytes) = (self.room(), BYTES_MAX);
        let asked = self.log.audit(Audit { room, ticket: 1, wanted, bytes });
        match asked.map(|()| self.answer()) {
            Ok(Ok(LogAnswer::Audited { page, .. })) => Ok(page),
            other => Err(format!("its audit trail cannot be read: {other:?}")),
        }
    }

    /// What a cursor of the room that was opened last recovers.
    pub(crate) fn recover(
        &mut self,
        topic: &str,
        since: Marks,
        top: Marks,
    ) -> Result<Stretch, String> {
        let wanted = Wanted {
            after: since.offset,
            upto: top.offset,
            part: Part::All,
            messages: u32::MAX,
            bytes: BYTES_MAX,
            changed: Some(since.change),
            view: View::Room,
        };
        let asked = self.log.read(Read { room: self.room(), topic, ticket: 1, wanted });
        match asked.map(|()| self.answer()) {
            Ok(Ok(LogAnswer::Read { stretch, .. })) => Ok(stretch),
            other => Err(format!("a cursor at {since:?} cannot be recovered: {other:?}")),
        }
    }

    /// The room that was opened last.
    fn room(&self) -> RoomKey {
        Key::from_u64(1 << 32 | self.next)
    }

    fn answer(&mut self) -> Result<LogAnswer, String> {
        loop {
            self.log.woke();
            if let Some(answer) = self.log.next() {
                return Ok(answer);
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

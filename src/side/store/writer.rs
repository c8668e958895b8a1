//! The one connection that writes: batches of what shards said, the eras of rooms, checkpoints.
//!
//! ```text
//!   Open ───> is the room there? may its latest epoch have lost something? then a new era
//!   Append ─> its row; before the first one of a room, the room's own and its first era
//!   Read ───> for a reader, when the batch is kept
//! ```
//!
//! A batch is one transaction. A message costs one row, and no index is written for it.
//!
//! Invariants:
//!
//! 1. a batch is written whole or not at all, and can be written again: what it says is final;
//! 2. an era is written ahead of what is said in it;
//! 3. what a batch takes away is noted on disk before it is committed: see `removed`;
//! 4. nobody else checkpoints.
//!
//! Deliberately absent: what is done about a failure (`faults`), and reading rooms (`reader`).

use std::fs::File;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::audit::note_read;
use super::batch::Batch;
use super::disk::{Life, NewLife, checkpoint_all};
use super::error::{Cause, StoreError};
use super::open_rooms::{OpenRoom, OpenRooms};
use super::place::Place;
use super::reader::READ_MS_MAX;
use super::removed::RemovedLine;
use super::row::{Message, StandingRow, id_of};
use super::statements::{change, found, insert, look_for, set, stand};
use super::transaction::WriteTransaction;
use crate::auth::level::Standing;
use crate::link::audit::AuditWanted;
use crate::link::facts::{RoomKeep, RoomSettings};
use crate::link::field::Field as _;
use crate::link::ids::RoomKey;
use crate::link::kept::read_whole;
use crate::link::log::{Marks, Wanted};
use crate::link::said::Fate;
use crate::link::store::{LoadPart, ToStore};

/// How often a batch is begun anew, each time without a room that the file is damaged at.
const ANEW_MAX: usize = 8;

/// Bytes of a page in the log, with its header.
const WAL_PAGE_BYTES: usize = 4_096 + 24;

/// The connection. See the module. It stays on one thread, where a copy of the file that is being
/// made shares it: see `copy`.
pub(super) struct Writer {
    conn: Rc<Connection>,
    life: Life,
    /// A life that could not begin, for the disk was full: nothing is written before.
    put_off: Option<NewLife>,
    rooms: OpenRooms,
    /// Pages in the log, as of the last commit.
    wal_pages: Arc<AtomicUsize>,
    /// Rooms that were written in by the last batch, some more than once.
    written: Vec<u32>,
    /// Rooms that were told by the last batch what to keep of their messages.
    timed: Vec<u32>,
    /// How long the disk has taken for the last batch.
    committed_in: Duration,
    /// Whether the last batch has changed what was there: that is in the log as it was.
    has_overwritten: bool,
    /// Whether nothing was committed since the log was emptied.
    is_wal_empty: bool,
    /// When a commit is on disk, if that was said.
    sync: Option<OnDisk>,
    /// Rooms that could not be looked for in the last batch: the file is damaged there.
    damaged: Vec<Damaged>,
    /// Where the files are that it writes.
    place: Place,
    /// Held as long as this.
    _lock: Arc<File>,
}

/// A question about a room: what is there of one that was opened, or what can be read of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// Who asks.
    pub(super) shard: u16,
    /// As it called that.
    pub(super) number: u64,
    /// The room; none, if nothing was kept of it.
    pub(super) id: Option<u32>,
    /// What is read of it.
    pub(super) asked: Asked,
    /// Whether there is no place for it to begin.
    pub(super) is_full: bool,
}

/// What a question asks: [`LoadPart`] with a memory of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// What there is: it was opened.
    Tail,
    /// These messages.
    Messages(Wanted),
    /// Messages with these words: a [`Sought`](crate::link::log::Sought) as a record.
    Words(Box<[u8]>),
    /// Lines of the audit trail, of so many bytes about.
    Audit(AuditWanted, usize),
}

impl Asked {
    /// What a record asks.
    fn by(record: &ToStore<'_>) -> Self {
        match *record {
            ToStore::Read { wanted, .. } => Self::Messages(wanted),
            ToStore::Find { sought, .. } => Self::Words(sought.into_record()),
            ToStore::Audit { wanted, bytes, .. } => Self::Audit(wanted, bytes),
            _ => Self::Tail,
        }
    }

    /// As a reader is told.
    pub(super) fn part(&self) -> LoadPart<'_> {
        match self {
            Self::Tail => LoadPart::Tail,
            Self::Messages(wanted) => LoadPart::Messages(*wanted),
            Self::Words(record) => LoadPart::Words(read_whole(record)),
            Self::Audit(wanted, bytes) => LoadPart::Audit(*wanted, *bytes),
        }
    }
}

/// A room that was to be opened, and that the file is damaged at.
#[derive(Debug)]
pub(super) struct Damaged {
    /// Who opens it.
    pub(super) shard: u16,
    /// As it called that.
    pub(super) number: u64,
    /// What SQLite says.
    pub(super) error: StoreError,
}

/// What a look for a room has found.
enum Looked {
    /// Its id; none, if nothing was kept of it.
    Is(Option<u32>),
    /// Damage: it is left out of the batch.
    Damaged,
    /// Damage that SQLite itself has met: it does not commit what was begun.
    Undone,
}

/// When a batch is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnDisk {
    /// When it is written, with all before it.
    Now,
    /// With a later one, or when the log is moved into the database.
    Later,
}

/// A writer that has not come to its thread.
pub(super) struct NewWriter {
    conn: Connection,
    life: Result<Life, (NewLife, StoreError)>,
    rooms_count: u32,
    rooms_max: u32,
    wal_pages: Arc<AtomicUsize>,
    place: Place,
    lock: Arc<File>,
}

impl NewWriter {
    pub(super) fn new(
        mut conn: Connection,
        life: Result<Life, (NewLife, StoreError)>,
        rooms_max: u32,
        place: Place,
        lock: Arc<File>,
    ) -> Result<Self, StoreError> {
        let wal_pages = Arc::new(AtomicUsize::new(0));
        let pages = Arc::clone(&wal_pages);
        conn.wal_hook(Some(move |_: &mut _, count| {
            pages.store(usize::try_from(count).unwrap_or_default(), Ordering::Relaxed);
            Ok(())
        }))?;
        let sql = "SELECT coalesce(max(id), 0) FROM room";
        let rooms_count = conn.query_row(sql, [], |row| row.get(0))?;
        Ok(Self { conn, life, rooms_count, rooms_max, wal_pages, place, lock })
    }

    /// The writer, on the thread that it stays on; and why it must be healed first, if so.
    pub(super) fn here(self) -> (Writer, Option<StoreError>) {
        let Self { conn, life, rooms_count, rooms_max, wal_pages, place, lock } = self;
        let (life, put_off, why) = match life {
            Ok(life) => (life, None, None),
            Err((life, why)) => (Life::default(), Some(life), Some(why)),
        };
        let writer = Writer {
            conn: Rc::new(conn),
            life,
            put_off,
            rooms: OpenRooms::new(rooms_count, rooms_max),
            wal_pages,
            written: Vec::new(),
            timed: Vec::new(),
            committed_in: Duration::ZERO,
            has_overwritten: false,
            is_wal_empty: false,
            sync: None,
            damaged: Vec::new(),
            place,
            _lock: lock,
        };
        (writer, why)
    }
}

impl Writer {
    /// The connection, for a copy of the file that is made between two batches.
    pub(super) fn shared_conn(&self) -> Rc<Connection> {
        Rc::clone(&self.conn)
    }

    /// From now on, what [`Writer::write`] writes is on disk when `sync` says.
    ///
    /// # Errors
    ///
    /// Those of SQLite.
    pub(super) fn set_sync(&mut self, sync: OnDisk) -> Result<(), StoreError> {
        if self.sync == Some(sync) {
            return Ok(());
        }
        let level = match sync {
            OnDisk::Now => "FULL",
            OnDisk::Later => "NORMAL",
        };
        self.conn.pragma_update(None, "synchronous", level)?;
        self.sync = Some(sync);
        Ok(())
    }

    /// Writes a batch in one transaction, and appends what was asked to `questions`. When this has
    /// returned, all of it is on disk, if [`Writer::set_sync`] says so.
    ///
    /// # Errors
    ///
    /// Those of SQLite; then nothing of it was written, as far as is known.
    pub(super) fn write(
        &mut self,
        batch: &Batch,
        questions: &mut Vec<Question>,
    ) -> Result<(), StoreError> {
        self.written.clear();
        self.timed.clear();
        self.has_overwritten = false;
        let count = questions.len();
        self.damaged.clear();
        for _ in 0..ANEW_MAX {
            let written = self.try_write(batch, questions);
            if matches!(written, Ok(true)) {
                self.rooms.committed();
                if let Some(removed) = &mut self.life.removed {
                    removed.note_committed();
                }
                return Ok(());
            }
            questions.truncate(count);
            self.written.clear();
            self.rooms.undo();
            written?;
        }
        // That is more than some rooms.
        Err(self.damaged.pop().expect("one each time").error)
    }

    /// False if a room was found that the file is damaged at: without that it is to be tried again.
    fn try_write(
        &mut self,
        batch: &Batch,
        questions: &mut Vec<Question>,
    ) -> Result<bool, StoreError> {
        let conn = self.shared_conn();
        let step = WriteTransaction::begin(&conn)?;
        let mut removal = RemovedLine::default();
        for (shard, record) in batch.iter() {
            match record {
                ToStore::Open { number, room, topic, epoch } => {
                    let looked = self.look_for_room(&step, (shard, number), topic, epoch)?;
                    match looked {
                        Looked::Is(id) => {
                            self.rooms.open(
                                shard,
                                room,
                                OpenRoom { topic: topic.into(), epoch, id },
                            );
                            let is_full = id.is_none() && self.rooms.is_full();
                            let asked = Asked::Tail;
                            questions.push(Question { shard, number, id, asked, is_full });
                        }
                        Looked::Damaged => {}
                        Looked::Undone => return Ok(false),
                    }
                }
                ToStore::Append { .. } | ToStore::Change { .. } => {
                    self.write_message(&step, shard, &record, &mut removal)?;
                }
                ToStore::Founding { .. }
                | ToStore::Settings { .. }
                | ToStore::Standing { .. }
                | ToStore::Note { .. } => {
                    self.write_decision(&step, shard, &record, &mut removal)?;
                }
                ToStore::Read { number, room, .. }
                | ToStore::Find { number, room, .. }
                | ToStore::Audit { number, room, .. } => {
                    let (id, asked) = (self.rooms.id_of(shard, room), Asked::by(&record));
                    questions.push(Question { shard, number, id, is_full: false, asked });
                }
                ToStore::Close { room } => self.rooms.close((shard, room.to_u64())),
                ToStore::Restarted {} => self.rooms.close_all(shard),
            }
        }
        // What would be in a file that nobody finds again is not kept.
        self.place.check()?;
        if let Some(removed) = &mut self.life.removed {
            removed.note(&removal)?;
        }
        let began = Instant::now();
        step.commit()?;
        self.committed_in = began.elapsed();
        self.is_wal_empty = false;
        Ok(true)
    }

    /// Looks for a room that a shard opens under a number.
    ///
    /// # Errors
    ///
    /// Those of SQLite. Damage is none: one room that cannot be read does not keep all others from
    /// being kept.
    fn look_for_room(
        &mut self,
        step: &Connection,
        (shard, number): (u16, u64),
        topic: &str,
        epoch: u64,
    ) -> Result<Looked, StoreError> {
        if self.damaged.iter().any(|of| (of.shard, of.number) == (shard, number)) {
            return Ok(Looked::Damaged);
        }
        match look_for(step, self.life.lives, topic, epoch) {
            Ok(id) => Ok(Looked::Is(id)),
            Err(error) if error.cause() == Cause::Corrupt => {
                let may_go_on = !matches!(error, StoreError::Sqlite(_));
                self.damaged.push(Damaged { shard, number, error });
                Ok(if may_go_on { Looked::Damaged } else { Looked::Undone })
            }
            Err(error) => Err(error),
        }
    }

    /// Writes a message, or what it is from now on.
    fn write_message(
        &mut self,
        step: &Connection,
        shard: u16,
        record: &ToStore<'_>,
        removal: &mut RemovedLine,
    ) -> Result<(), StoreError> {
        let lives = self.life.lives;
        let id = match *record {
            ToStore::Append { room, top, at_ms, said, .. } => {
                let id = self.rooms.id_in(step, lives, (shard, room), top, at_ms)?;
                let id_here = id_of(id, top.offset + 1);
                insert(step, &Message { id: id_here, at_ms, said, fate: Fate::default() })?;
                id
            }
            ToStore::Change { room, top, at_ms, offset, said_ms, said, fate, audit, .. } => {
                let id = self.rooms.id_in(step, lives, (shard, room), top, at_ms)?;
                let fate = Fate { change: top.change + 1, ..fate };
                if let Some(act) = fate.deleted {
                    let topic = self.rooms.topic_of(shard, room);
                    removal.push_deleted(topic, offset, said_ms, act);
                }
                let id_here = id_of(id, offset);
                change(step, &Message { id: id_here, at_ms: said_ms, said, fate })?;
                self.has_overwritten = true;
                note_read(step, id, at_ms, audit)?;
                id
            }
            _ => unreachable!("called for messages"),
        };
        if self.written.last() != Some(&id) {
            self.written.push(id);
        }
        Ok(())
    }

    /// Writes what was decided of a room.
    fn write_decision(
        &mut self,
        step: &Connection,
        shard: u16,
        record: &ToStore<'_>,
        removal: &mut RemovedLine,
    ) -> Result<(), StoreError> {
        let lives = self.life.lives;
        let (rooms, timed) = (&mut self.rooms, &mut self.timed);
        match *record {
            ToStore::Founding { room, at_ms, title, owner, .. } => {
                let id = rooms.id_to_decide(step, lives, (shard, room), at_ms)?;
                found(step, id, title, owner)?;
                if let Some(owner) = owner {
                    let topic = rooms.topic_of(shard, room);
                    removal.push_standing(topic, owner, at_ms, Standing::OWNER);
                }
            }
            ToStore::Settings { room, at_ms, title, settings, audit, .. } => {
                let id = rooms.id_to_decide(step, lives, (shard, room), at_ms)?;
                set(step, id, title, settings)?;
                self.has_overwritten = true;
                note_read(step, id, at_ms, audit)?;
                if RoomSettings::keep_in(settings) != RoomKeep::default() {
                    timed.push(id);
                }
            }
            ToStore::Standing { room, at_ms, user, standing, audit, .. } => {
                let id = rooms.id_to_decide(step, lives, (shard, room), at_ms)?;
                stand(step, StandingRow { room: id, user, standing })?;
                removal.push_standing(rooms.topic_of(shard, room), user, at_ms, standing);
                self.has_overwritten = true;
                note_read(step, id, at_ms, audit)?;
            }
            ToStore::Note { room, at_ms, line, .. } => {
                let id = rooms.id_to_decide(step, lives, (shard, room), at_ms)?;
                note_read(step, id, at_ms, line)?;
            }
            _ => unreachable!("called for decisions"),
        }
        Ok(())
    }

    /// How long the disk has taken for the last batch: to write it to the log, and to sync that.
    pub(super) fn committed_in(&self) -> Duration {
        self.committed_in
    }

    /// Looks whether the files are where they were.
    ///
    /// # Errors
    ///
    /// If not, and those of the disk.
    pub(super) fn check_place(&self) -> Result<(), StoreError> {
        self.place.check()
    }

    /// The rooms that were written in by the last batch, some more than once.
    pub(super) fn written(&self) -> &[u32] {
        &self.written
    }

    /// The rooms that were told by the last batch what to keep of their messages, some of them by
    /// settings that others have followed.
    pub(super) fn timed(&self) -> &[u32] {
        &self.timed
    }

    /// Whether the last batch has changed what was there: as it was it is in the log until that is
    /// emptied.
    pub(super) fn has_overwritten(&self) -> bool {
        self.has_overwritten
    }

    /// The rooms of the last batch that cannot be opened, and are not among its openings.
    pub(super) fn take_damaged(&mut self) -> Vec<Damaged> {
        std::mem::take(&mut self.damaged)
    }

    /// How large the log is, in bytes, as of the last commit.
    pub(super) fn wal_bytes(&self) -> usize {
        self.wal_pages.load(Ordering::Relaxed) * WAL_PAGE_BYTES
    }

    /// Whether the log is known to be empty.
    pub(super) fn is_wal_empty(&self) -> bool {
        self.is_wal_empty
    }

    /// Moves what is in the log into the database, and syncs it, as far as no reader is in the way.
    /// Returns how many pages are left.
    ///
    /// # Errors
    ///
    /// Those of SQLite, and if the database is not where it was: what is in the log may be only
    /// there then.
    pub(super) fn checkpoint(&mut self) -> Result<u64, StoreError> {
        self.place.check()?;
        let sql = "PRAGMA wal_checkpoint(PASSIVE)";
        let (pages, moved): (i64, i64) =
            self.conn.query_row(sql, [], |row| Ok((row.get(1)?, row.get(2)?)))?;
        if pages == moved {
            // The next commit begins it anew.
            self.wal_pages.store(0, Ordering::Relaxed);
        }
        Ok(u64::try_from(pages - moved).unwrap_or_default())
    }

    /// Moves all that is in the log into the database, and empties it. False if a reader was in the
    /// way.
    ///
    /// # Errors
    ///
    /// As [`Writer::checkpoint`].
    pub(super) fn empty_wal(&mut self) -> Result<bool, StoreError> {
        if self.is_wal_empty {
            return Ok(true);
        }
        self.place.check()?;
        let is_empty = checkpoint_all(&self.conn)?;
        if is_empty {
            self.wal_pages.store(0, Ordering::Relaxed);
            self.is_wal_empty = true;
        }
        Ok(is_empty)
    }

    /// The same, with as much patience as a read takes at most: those that begin meanwhile are in
    /// nobody's way.
    ///
    /// # Errors
    ///
    /// As [`Writer::checkpoint`].
    pub(super) fn empty_wal_at_last(&mut self) -> Result<bool, StoreError> {
        self.conn.busy_timeout(Duration::from_millis(2 * READ_MS_MAX))?;
        let is_empty = self.empty_wal();
        self.conn.busy_timeout(Duration::ZERO)?;
        is_empty
    }

    /// Makes the file fit for commits again, after one has failed: a log that has seen a failed
    /// sync is never appended to. False if a reader was in the way.
    ///
    /// # Errors
    ///
    /// Those of SQLite; then it is not.
    pub(super) fn heal(&mut self) -> Result<bool, StoreError> {
        if !self.conn.is_autocommit() {
            self.conn.execute_batch("ROLLBACK")?;
        }
        self.is_wal_empty = false;
        if !self.empty_wal()? {
            return Ok(false);
        }
        if let Some(life) = &self.put_off {
            self.life = life.begin(&self.conn)?;
            self.put_off = None;
            self.is_wal_empty = false;
        }
        Ok(true)
    }

    /// Who has a room open, and what that calls it: for each of these that somebody has.
    pub(super) fn who_has<'a>(
        &'a self,
        floors: &'a [(u32, Marks)],
    ) -> impl Iterator<Item = (u16, RoomKey, Marks)> + 'a {
        self.rooms.who_has(floors)
    }

    /// It was written to by somebody else who has the connection.
    pub(super) fn note_written(&mut self) {
        self.is_wal_empty = false;
    }

    /// Ends in order: rooms go on in their epochs.
    ///
    /// # Errors
    ///
    /// As [`Writer::checkpoint`]; then the end counts as one without order.
    pub(super) fn close(mut self) -> Result<(), StoreError> {
        self.place.check()?;
        self.set_sync(OnDisk::Now)?;
        self.conn.execute("UPDATE meta SET value = 1 WHERE key = 'clean'", [])?;
        self.is_wal_empty = false;
        self.empty_wal()?;
        Ok(())
    }

    pub(super) fn conn(&self) -> &Connection {
        &self.conn
    }
}

//! What an archive is written from: rooms of which something is not there yet, and who of all nodes
//! writes it.
//!
//! ```text
//!   cw:archiver ── lease: one node ──> cw:{p}:d ── rooms ──> m, s, x ── archive ──> cw:{p}:h
//! ```
//!
//! Two nodes that both take themselves for the writer do no harm: what is written is compared in
//! the archive. So the lease is no lock.
//!
//! Nothing that is found in a room is an error for others: what cannot be read of it is told as
//! such, with its place.
//!
//! Deliberately absent: the archive.

use std::collections::BTreeMap;
use std::str;

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value, cmd, pipe};

use super::connect::{Connector, Made};
use super::keys::Names;
use super::library::fcall;
use super::read::meta_of;
use super::slots::slot;
use super::{ConnectError, Target};
use crate::base::word;
use crate::link::log::Marks;
use crate::side::engine::command::{Archived, Head};

/// About how many rooms of a list are looked at together.
const LISTED_AT_ONCE: u32 = 256;

/// A message as it stands in the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::side) enum Entry {
    /// As it was said.
    Said {
        /// When it was accepted, in milliseconds of Unix time.
        at_ms: u64,
        /// In which epoch.
        epoch: u64,
        /// What was said.
        record: Vec<u8>,
    },
    /// As it has become.
    Changed {
        /// The number of its last change.
        change: u64,
        /// Whether it is deleted.
        is_deleted: bool,
        /// What it is.
        record: Vec<u8>,
    },
    /// It is not what the script writes.
    Foreign,
}

/// Where a room stands.
#[derive(Debug)]
pub(in crate::side) enum Known {
    /// There.
    Head(Head),
    /// It is not there any more.
    Gone,
    /// There is something that this version does not know.
    Foreign,
}

/// A part of a room.
#[derive(Debug, Default)]
pub(in crate::side) struct Part {
    /// Where it stands.
    pub(in crate::side) head: Head,
    /// Messages, by offset: those that were asked for, and all that have changed.
    pub(in crate::side) entries: BTreeMap<u64, Entry>,
    /// Up to which offset nothing is left out, if not up to the last one.
    pub(in crate::side) upto: Option<u64>,
}

/// Wires by which an archive is written.
pub(in crate::side) struct Archivist {
    made: Made,
    target: Target,
    names: Names,
}

impl Archivist {
    /// Connects to an engine.
    ///
    /// # Errors
    ///
    /// Those of [`ConnectError`].
    pub(in crate::side) async fn connect(target: Target) -> Result<Self, ConnectError> {
        let names = Names::new(&target);
        let made = Connector::new(target.clone())?.connect_to_ask(&names).await?;
        Ok(Self { made, target, names })
    }

    /// Takes the lease to write the archive, or holds it for longer. False, if another node has it.
    ///
    /// # Errors
    ///
    /// Those of the engine.
    pub(in crate::side) async fn lease(&mut self, lease_ms: u64) -> RedisResult<bool> {
        let (key, node) = (self.names.archiver(), self.own_name());
        let (redis, _) = self.made.wire_of(slot(&key));
        let mut take = cmd("SET");
        take.arg(&key).arg(&node).arg("NX").arg("GET").arg("PX").arg(lease_ms);
        let held: Option<Vec<u8>> = take.query_async(redis).await?;
        if held.as_ref().is_some_and(|held| *held != node) {
            return Ok(false);
        }
        if held.is_some() {
            let mut renew = cmd("SET");
            renew.arg(&key).arg(&node).arg("PX").arg(lease_ms);
            renew.query_async::<()>(redis).await?;
        }
        Ok(true)
    }

    /// Gives the lease back, if this node has it.
    ///
    /// # Errors
    ///
    /// Those of the engine.
    pub(in crate::side) async fn leave(&mut self) -> RedisResult<()> {
        let (key, node) = (self.names.archiver(), self.own_name());
        let (redis, _) = self.made.wire_of(slot(&key));
        let held: Option<Vec<u8>> = cmd("GET").arg(&key).query_async(redis).await?;
        if held.is_some_and(|held| held == node) {
            cmd("DEL").arg(&key).query_async::<()>(redis).await?;
        }
        Ok(())
    }

    fn own_name(&self) -> Vec<u8> {
        word::hex(self.target.node).to_vec()
    }

    /// How many partitions there are.
    pub(in crate::side) fn partitions(&self) -> u16 {
        self.target.partitions
    }

    /// Rooms of which something is not in the archive, of some partitions, those that wait longest
    /// first: so many of each at most.
    ///
    /// # Errors
    ///
    /// Those of the engine.
    pub(in crate::side) async fn unarchived(
        &mut self,
        partitions: impl Iterator<Item = u16>,
        count: usize,
    ) -> RedisResult<Vec<Box<str>>> {
        let mut by_primary: BTreeMap<u16, redis::Pipeline> = BTreeMap::new();
        for partition in partitions {
            let primary = self.made.slots.primary_of(self.names.slot_of(partition));
            let questions = by_primary.entry(primary).or_insert_with(pipe);
            let last = isize::try_from(count).unwrap_or(isize::MAX) - 1;
            questions.cmd("ZRANGE").arg(self.names.unarchived(partition)).arg(0).arg(last);
        }
        let mut rooms = Vec::new();
        for (primary, questions) in by_primary {
            let (redis, _) = &mut self.made.wires[usize::from(primary)];
            let found: Vec<Vec<Vec<u8>>> = questions.query_async(redis).await?;
            // What is no text is no room, and what has a zero byte none for a database.
            let found = found.into_iter().flatten().filter(|topic| !topic.contains(&0));
            rooms.extend(found.filter_map(|topic| Some(String::from_utf8(topic).ok()?.into())));
        }
        Ok(rooms)
    }

    /// Notes of all rooms of a partition of which nothing is known to be in the archive that they
    /// wait for it.
    ///
    /// # Errors
    ///
    /// Those of the engine.
    pub(in crate::side) async fn note_all(&mut self, partition: u16) -> RedisResult<()> {
        let names = &self.names;
        let [listed, archived, unarchived] =
            [names.listed(partition), names.archived(partition), names.unarchived(partition)];
        let (redis, _) = self.made.wire_of(names.slot_of(partition));
        let mut cursor = 0_u64;
        loop {
            let mut scan = cmd("HSCAN");
            scan.arg(&listed).arg(cursor).arg("COUNT").arg(LISTED_AT_ONCE);
            let (next, rooms): (u64, Pairs) = scan.query_async(redis).await?;
            if !rooms.is_empty() {
                let mut look = cmd("HMGET");
                look.arg(&archived);
                for (topic, _) in &rooms {
                    look.arg(topic);
                }
                let known: Vec<Option<Vec<u8>>> = look.query_async(redis).await?;
                let unknown = rooms.iter().zip(known).filter(|(_, known)| known.is_none());
                let mut note = cmd("ZADD");
                note.arg(&unarchived).arg("NX");
                let mut count = 0;
                for ((topic, _), _) in unknown {
                    note.arg(0).arg(topic);
                    count += 1;
                }
                if count > 0 {
                    note.query_async::<()>(redis).await?;
                }
            }
            cursor = next;
            if cursor == 0 {
                return Ok(());
            }
        }
    }

    /// Where a room stands.
    ///
    /// # Errors
    ///
    /// Those of the engine.
    pub(in crate::side) async fn head(&mut self, topic: &str) -> RedisResult<Known> {
        let meta = self.names.of(topic).meta();
        let redis = self.wire(topic);
        let meta: Option<Vec<u8>> = cmd("GET").arg(meta).query_async(redis).await?;
        let Some(meta) = meta else { return Ok(Known::Gone) };
        Ok(meta_of(&meta).map_or(Known::Foreign, |meta| Known::Head(meta.head)))
    }

    /// Some of the messages of a room behind an offset, and all that have changed, and those with
    /// these offsets; `None`, if it is gone, or there is something else.
    ///
    /// # Errors
    ///
    /// Those of the engine.
    pub(in crate::side) async fn read(
        &mut self,
        topic: &str,
        after: u64,
        count: u64,
        others: &[u64],
    ) -> RedisResult<Option<Part>> {
        let names = self.names.of(topic);
        let (meta, stream, changed) = (names.meta(), names.stream(), names.changed());
        let mut questions = pipe();
        questions.atomic();
        questions.cmd("GET").arg(&meta);
        questions.cmd("XRANGE").arg(&stream).arg(format!("{}-0", after + 1)).arg("+");
        questions.arg("COUNT").arg(count);
        questions.cmd("HGETALL").arg(&changed);
        for offset in others {
            let id = format!("{offset}-0");
            questions.cmd("XRANGE").arg(&stream).arg(&id).arg(&id);
        }
        let redis = self.wire(topic);
        let answers: Vec<Value> = questions.query_async(redis).await?;
        let mut answers = answers.into_iter();
        let mut next = || answers.next().unwrap_or_default();
        let head = match next() {
            Value::BulkString(meta) => meta_of(&meta).map(|meta| meta.head),
            _ => None,
        };
        let Some(head) = head else { return Ok(None) };
        let mut part = Part { head, ..Part::default() };
        let found = said(next(), &mut part.entries);
        if found.count == count {
            part.upto = found.last;
        }
        for (offset, value) in pairs(next()) {
            let offset = str::from_utf8(&offset).ok().and_then(|offset| offset.parse().ok());
            if let Some(offset) = offset {
                part.entries.insert(offset, changed_of(&value).unwrap_or(Entry::Foreign));
            }
        }
        for _ in others {
            said(next(), &mut part.entries);
        }
        Ok(Some(part))
    }

    /// Tells the engine what of a room is in the archive, and up to which offset nothing is left
    /// there that the room has let go of.
    ///
    /// # Errors
    ///
    /// Those of the engine.
    pub(in crate::side) async fn archived(
        &mut self,
        topic: &str,
        of: Archived,
        gone: u64,
    ) -> RedisResult<()> {
        let names = self.names.of(topic);
        let [.., archived, unarchived, _] = names.all();
        let (meta, stream, history_s) = (names.meta(), names.stream(), self.target.history_s);
        let mut note = fcall("archived");
        note.arg(4).arg(&[meta, stream, archived, unarchived]);
        let Archived { epoch, upto, floor } = of;
        let epoch = word::hex(epoch);
        note.arg(topic).arg(&epoch).arg(upto.offset).arg(upto.change);
        note.arg(floor.offset).arg(floor.change).arg(history_s).arg(gone);
        note.query_async::<Value>(self.wire(topic)).await.map(drop)
    }

    /// Notes that there is nothing to be archived of a room that is gone.
    ///
    /// # Errors
    ///
    /// Those of the engine.
    pub(in crate::side) async fn is_gone(&mut self, topic: &str) -> RedisResult<()> {
        let none = Archived { epoch: 0, upto: Marks::default(), floor: Marks::default() };
        self.archived(topic, none, 0).await
    }

    fn wire(&mut self, topic: &str) -> &mut MultiplexedConnection {
        &mut self.made.wire_of(self.names.slot_of_room(topic)).0
    }
}

/// What was found of a stream.
struct Found {
    count: u64,
    last: Option<u64>,
}

/// Adds messages of a stream that have not changed.
fn said(value: Value, entries: &mut BTreeMap<u64, Entry>) -> Found {
    let mut found = Found { count: 0, last: None };
    let Value::Array(stream) = value else { return found };
    for entry in stream {
        found.count += 1;
        let Value::Array(parts) = entry else { continue };
        let Ok([Value::BulkString(id), fields]) = <[Value; 2]>::try_from(parts) else { continue };
        let offset = str::from_utf8(&id).ok().and_then(|id| id.split_once('-')?.0.parse().ok());
        let Some(offset) = offset else { continue };
        found.last = Some(offset);
        let entry = said_of(fields).unwrap_or(Entry::Foreign);
        entries.entry(offset).or_insert(entry);
    }
    found
}

fn said_of(fields: Value) -> Option<Entry> {
    let Value::Array(fields) = fields else { return None };
    let [_, record, _, time] = <[Value; 4]>::try_from(fields).ok()?;
    let (Value::BulkString(record), Value::BulkString(time)) = (record, time) else { return None };
    let (at_ms, epoch) = str::from_utf8(&time).ok()?.split_once(' ')?;
    let epoch = u64::from_str_radix(epoch, 16).ok()?;
    Some(Entry::Said { at_ms: at_ms.parse().ok()?, epoch, record })
}

fn changed_of(value: &[u8]) -> Option<Entry> {
    let mut words = value.splitn(3, |byte| *byte == b' ');
    let change = str::from_utf8(words.next()?).ok()?.parse().ok()?;
    let is_deleted = words.next()? == b"d";
    Some(Entry::Changed { change, is_deleted, record: words.next()?.to_vec() })
}

/// The fields and values of a hash.
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn pairs(value: Value) -> Pairs {
    redis::from_redis_value(value).unwrap_or_default()
}

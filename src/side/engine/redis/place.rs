//! Rooms that were kept elsewhere are placed in the engine.
//!
//! ```text
//!   meta: moving ── keys of before: DEL ──> messages, lines, keys ──> facts, list, meta
//!                                            many commands             one transaction
//! ```
//!
//! A room is there as soon as its meta is. Until then that says that it is being placed, and no
//! server opens it. So one whose placing was cut off is placed again from the beginning, and one
//! that is there is left alone.
//!
//! Deliberately absent: rooms that servers make meanwhile. Whoever places rooms asks before each
//! one whether there are any.

use std::collections::HashSet;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisResult, Value, cmd, pipe};

use super::connect::{Connector, Made};
use super::keys::{LAYOUT, Names};
use super::slots::slot;
use super::{ConnectError, Target};
use crate::base::word;
use crate::link::ids::Receipt;
use crate::link::log::Marks;
use crate::side::engine::command::{Ended, Founded, HOUR_S, Head, State};

/// How much is under way at a time, in bytes, about.
const PART_BYTES: usize = 1 << 20;

/// The meta of a room that is being placed: no version of a server understands it.
const MOVING: &str = "0 moving";

/// All of a room.
pub(in crate::side::engine) struct Whole {
    pub(in crate::side::engine) topic: Box<str>,
    /// Where it stands, its messages and facts. There must be a head.
    pub(in crate::side::engine) state: State,
    /// Which of its changed messages are pinned.
    pub(in crate::side::engine) pinned: HashSet<u64>,
    /// How it is listed, if it was made on purpose.
    pub(in crate::side::engine) founded: Option<Founded>,
    /// The lines of its audit trail, each with its number.
    pub(in crate::side::engine) lines: Vec<(u64, Vec<u8>)>,
    /// The hashes of its messages' keys.
    pub(in crate::side::engine) keys: Vec<(u64, Receipt)>,
}

/// Wires by which rooms are placed.
pub(in crate::side::engine) struct Mover {
    made: Made,
    target: Target,
    names: Names,
}

impl Mover {
    /// Connects to an engine.
    ///
    /// # Errors
    ///
    /// Those of [`ConnectError`].
    pub(in crate::side::engine) async fn connect(target: Target) -> Result<Self, ConnectError> {
        let names = Names::new(&target);
        let made = Connector::new(target.clone())?.connect_to_ask(&names).await?;
        Ok(Self { made, target, names })
    }

    /// How many servers have the engine.
    ///
    /// # Errors
    ///
    /// Those of the engine.
    pub(in crate::side::engine) async fn nodes(&mut self) -> RedisResult<u64> {
        let nodes = self.names.nodes();
        let (redis, _) = self.made.wire_of(slot(&nodes));
        let (now_s, _): (u64, u64) = cmd("TIME").query_async(redis).await?;
        let living = format!("{now_s}000");
        let mut count = cmd("ZCOUNT");
        count.arg(nodes).arg(living).arg("+inf");
        count.query_async(redis).await
    }

    /// Places a room. False, if it is there.
    ///
    /// # Errors
    ///
    /// Those of the engine: then it is not there.
    pub(in crate::side::engine) async fn place(&mut self, whole: &Whole) -> RedisResult<bool> {
        let [meta, stream, keys, older, changed, facts, audit, listed, _, unarchived, due] =
            self.names.of(&whole.topic).all();
        let (redis, of) = self.made.wire_of(self.names.slot_of_room(&whole.topic));
        let branch = of.branch.clone();
        // Until all is there, nobody can open it.
        let mut begin = cmd("SET");
        begin.arg(&meta).arg(MOVING).arg("NX").arg("GET");
        let there: Option<String> = begin.query_async(redis).await?;
        if there.is_some_and(|there| there != MOVING) {
            return Ok(false);
        }
        let Whole { topic, state, pinned, founded, lines, keys: receipts } = whole;
        let Some(head) = &state.head else { unreachable!("a room that is placed has a head") };
        let mut parts = Parts { redis, part: pipe(), bytes: 0 };
        parts.part.cmd("DEL").arg(&[&stream, &keys, &older, &changed, &facts, &audit]).ignore();
        for message in &state.messages {
            let at = format!("{} {:016x}", message.at_ms, message.epoch);
            let id = format!("{}-0", message.offset);
            let record = &message.record;
            let command = parts.command("XADD", record.len()).await?;
            command.arg(&stream).arg(id).arg("d").arg(record).arg("t").arg(at);
        }
        let last = state.messages.last().map_or(0, |last| last.offset);
        if last < head.top.offset {
            // The stream has seen it: offsets go on behind it, should the meta ever be lost.
            let id = format!("{}-0", head.top.offset);
            parts.command("XADD", 0).await?.arg(&stream).arg(&id).arg("d").arg("");
            parts.command("XDEL", 0).await?.arg(&stream).arg(&id);
        }
        for of in &state.changed {
            let fate = match of.is_deleted {
                true => 'd',
                false if pinned.contains(&of.offset) => 'p',
                false => '-',
            };
            let value = [format!("{} {fate} ", of.change).as_bytes(), &of.record].concat();
            let command = parts.command("HSET", value.len()).await?;
            command.arg(&changed).arg(of.offset).arg(value);
        }
        for (number, line) in lines {
            let command = parts.command("XADD", line.len()).await?;
            command.arg(&audit).arg(format!("{number}-0")).arg("d").arg(line);
        }
        for (hash, Receipt { offset, at_ms }) in receipts {
            let receipt = format!("{:016x} {offset} {at_ms}", head.epoch);
            let command = parts.command("HSET", receipt.len()).await?;
            command.arg(&keys).arg(&word::hex(*hash)).arg(receipt);
        }
        parts.send().await?;
        let mut last = pipe();
        last.atomic();
        for (name, value) in &state.facts {
            last.cmd("HSET").arg(&facts).arg(&**name).arg(value);
        }
        let target = &self.target;
        let mut expire = |key: &str, after_s: u32| {
            last.cmd("EXPIRE").arg(key).arg(u64::from(after_s) + HOUR_S);
        };
        expire(&stream, target.history_s);
        expire(&changed, target.history_s);
        expire(&keys, target.key_s);
        if founded.is_none() {
            expire(&facts, target.room_s);
            expire(&audit, target.room_s);
        }
        let mut set = cmd("SET");
        set.arg(&meta).arg(meta_of(head, &branch));
        if founded.is_none() {
            set.arg("EX").arg(u64::from(target.room_s) + HOUR_S);
        }
        last.cmd("HSET").arg(&listed).arg(&**topic).arg(listed_as(founded.as_ref(), head.at_ms));
        // Whoever knows what is kept of it looks at it soon.
        last.cmd("ZADD").arg(&due).arg("NX").arg(head.at_ms).arg(&**topic);
        if target.archive_slack > 0 {
            last.cmd("ZADD").arg(&unarchived).arg("NX").arg(head.at_ms).arg(&**topic);
        }
        last.add_command(set);
        last.query_async::<Value>(redis).await?;
        Ok(true)
    }
}

/// Commands that are sent some at a time.
struct Parts<'a> {
    redis: &'a mut MultiplexedConnection,
    part: Pipeline,
    bytes: usize,
}

impl Parts<'_> {
    /// Begins a command of so many bytes, about.
    async fn command(&mut self, name: &str, bytes: usize) -> RedisResult<&mut Pipeline> {
        if self.bytes + bytes > PART_BYTES {
            self.send().await?;
        }
        self.bytes += bytes;
        Ok(self.part.cmd(name))
    }

    /// Sends what there is.
    async fn send(&mut self) -> RedisResult<()> {
        self.bytes = 0;
        let part = std::mem::take(&mut self.part);
        part.query_async::<Value>(self.redis).await.map(drop)
    }
}

/// How a room is listed, as it is written: see `keys`.
fn listed_as(founded: Option<&Founded>, at_ms: u64) -> String {
    let (kind, title) = match founded {
        Some(Founded { title, is_private: true }) => ('p', &**title),
        Some(Founded { title, is_private: false }) => ('o', &**title),
        None => ('-', ""),
    };
    format!("{kind}{} {title}", at_ms / 1_000 / HOUR_S)
}

/// Where a room stands, as it is written: see `keys`.
fn meta_of(head: &Head, branch: &str) -> String {
    let Head { epoch, top, rev, floor, audited, at_ms, gone, lineage } = head;
    let turn = |of: &Ended| {
        let Ended { epoch, kept: Marks { offset, change }, rev, audited } = of;
        format!("{epoch:016x}:{offset}/{change}/{rev}/{audited}")
    };
    let lineage: Vec<_> = lineage.iter().map(turn).collect();
    format!(
        "{LAYOUT} {epoch:016x} {} {} {rev} {floor} {audited} {at_ms} {} {} {branch} {}",
        top.offset,
        top.change,
        gone.offset,
        gone.change,
        lineage.join(",")
    )
}

/// What the script and the rest of the server write and read of a room, it must be placed as.
#[cfg(test)]
mod tests {
    use super::super::library::Library;
    use super::super::read;
    use super::*;
    use crate::side::engine::command::Listed;

    #[test]
    fn a_room_that_is_placed_stands_as_it_is_read() {
        let ended = |epoch, offset| {
            let kept = Marks { offset, change: 1 };
            Ended { epoch, kept, rev: 2, audited: 3 }
        };
        for lineage in [vec![], vec![ended(7, 9), ended(u64::MAX, 4)]] {
            let (epoch, top) = (0xE1, Marks { offset: 9, change: 3 });
            let (rev, audited, floor, at_ms) = (5, 6, 2, 1_700_000_000_000);
            let gone = Marks { offset: 4, change: 1 };
            let head = Head { epoch, top, rev, audited, floor, at_ms, gone, lineage };
            let meta = read::meta_of(meta_of(&head, "ab").as_bytes()).expect("it is a meta");
            assert_eq!((meta.head, &*meta.branch), (head, "ab"));
        }
        assert!(read::meta_of(MOVING.as_bytes()).is_none(), "nobody opens what is being placed");
    }

    #[test]
    fn a_room_that_is_placed_is_listed_as_it_is_read() {
        let founded = |title: &str, is_private| Founded { title: title.into(), is_private };
        for founded in [None, Some(founded("Tea time", false)), Some(founded("", true))] {
            let text = listed_as(founded.as_ref(), 7 * HOUR_S * 1_000);
            let listed = Listed { topic: "room:tea".into(), founded, hour: 7 };
            assert_eq!(read::listed_as(b"room:tea", text.as_bytes()), Some(listed));
        }
    }

    /// It writes the same in another language.
    #[test]
    fn the_script_counts_the_same_hours_and_has_the_same_layout() {
        let hours = format!("local HOUR_S = {HOUR_S}\n");
        let meta = meta_of(&Head::default(), "ab");
        let words = "(%x+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%x+) (.*)$'";
        let pattern = format!("local META = '^{} {words}\n", meta.split(' ').next().expect("one"));
        assert_eq!(meta.split(' ').count(), pattern.split(' ').count() - 3, "{meta}");
        for line in [hours, pattern] {
            assert!(Library::ours().text.contains(&line), "{line}");
        }
    }
}

//! How much memory a shard uses, how much it may use, and what it does when that is reached.
//!
//! Each limit bounds what one connection or one room may cost. Their product bounds the whole
//! ([`worst_case`]), but is far more than machines have: nearly all connections would have to lag
//! as far as they may at once. So the memory in use is counted against a bound of its own,
//! [`Limits::memory_bytes`], with three marks below it ([`MEMORY_MARKS_PERCENT`]). Past the first
//! no connection is accepted. Past the second no join and no new room is let in. Past the third the
//! largest holders are relieved: the channels that lag furthest in a room are evicted, and their
//! clients rejoin with their cursors; connections that do not take their output, or never end their
//! messages, are closed, with 1013 if they still take that. Their memory is free in the same turn,
//! for the bound is to hold. Of many channels most end in later turns (`member::endings`).
//!
//! Memory is counted at the end of each turn and after each socket that is read; if the bound is
//! passed then, the other sockets are read in the next turn. Buffers count with their allocated
//! bytes, and records with a generous fixed size. Messages in fragments are counted every
//! [`MEMORY_LOOK_MS`], since that takes a walk over them.
//!
//! Deliberately absent: the memory of the kernel for sockets, and memory that the allocator keeps.
//!
//! Called by: `shard` at the end of a turn, `reactor`. Calls: `member`, `audience`, `conn`.
//!
//! [`Limits::memory_bytes`]: crate::limits::Limits::memory_bytes
//! [`MEMORY_MARKS_PERCENT`]: crate::limits::MEMORY_MARKS_PERCENT

use std::cmp::Reverse;

use super::{Settings, Shard, Turn};
use crate::audience::{LogMemory, SPARE_BYTES_MAX, SPARE_MAX};
use crate::limits::{
    ARCHIVE_READS_BYTES_MAX, AUDIT_MEMORY_BYTES_MAX, CHANGE_MEMORY_BYTES, CHUNKING_BYTES_MAX,
    CLIENT_FRAME_HEADER_BYTES_MAX, COLLECTED_BYTES_PER_ROOM_MAX, CONN_MEMORY_BYTES,
    HTTP_BODY_BYTES_MAX, INVITE_BYTES_MAX, JOINS_UNDER_WAY_MAX, KEY_MEMORY_BYTES,
    KEYS_PER_ROOM_MAX, LISTING_MEMORY_BYTES, LOBBY_ANSWERS_BYTES_MAX, MEMBER_MEMORY_BYTES,
    MEMORY_LOOK_MS, MESH_BUSY_BYTES, META_BYTES_MAX, NAME_BYTES_MAX, OUT_FACTOR,
    PENDING_MEMORY_BYTES, PIN_MEMORY_BYTES, POOL_BUFFER_BYTES_MAX, POOL_BUFFERS_MAX,
    REACTED_BYTES_MAX, REACTED_MEMORY_BYTES, READ_BUFFER_BYTES, REPORTS_KNOWN_MAX,
    ROOM_MEMORY_BYTES, SLICE_MEMBER_MEMORY_BYTES, SPEAKER_MEMORY_BYTES, SPEAKERS_KNOWN_MAX,
    STANDING_MEMORY_BYTES, STORE_ANSWERS_BYTES_MAX, STREAM_MEMORY_BYTES, TOLD_BYTES_MAX,
    TOPIC_BYTES_MAX, UNDER_WAY_PER_ROOM_MAX, WAITING_PUSHES_PER_ROOM_MAX,
};
use crate::link::ids::{AudienceKey, ConnKey};
use crate::link::io::Io;
use crate::link::outbox::Timer;
use crate::link::pressure::Pressure;

/// The length of an entry of a list besides the user's id and name and a meta, in bytes.
const LIST_ENTRY_BYTES: usize = 128;

/// The last count.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) used_bytes: usize,
    /// The part of messages in fragments, when they were last counted.
    fragments_bytes: usize,
    look_at_ms: u64,
}

/// A holder of memory that can be freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    /// The log of an audience, held by the members that lag furthest.
    Log(AudienceKey),
    /// A connection's held input and waiting output.
    Conn(ConnKey),
}

impl Shard {
    /// The memory that this shard uses, in bytes.
    fn used_bytes(&mut self) -> usize {
        self.members.conns.len() * CONN_MEMORY_BYTES
            + self.members.audiences.len() * ROOM_MEMORY_BYTES
            + self.rooms.bytes()
            + self.members.audiences.log_bytes()
            + self.members.audiences.lobby_bytes()
            + self.directory.bytes()
            + self.members.conns.lent_bytes()
            + self.memory.fragments_bytes
            + self.admission.line_bytes()
    }

    /// Counts the memory in use, and relieves the largest holders while it is too much.
    pub(super) fn weigh<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        let is_due = turn.now.mono_ms >= self.memory.look_at_ms;
        if is_due {
            self.memory.look_at_ms = turn.now.mono_ms + MEMORY_LOOK_MS;
            self.memory.fragments_bytes = self.members.conns.fragments_bytes();
        }
        self.note_weight();
        if self.common.pressure == Pressure::Over {
            // First a flush: no member is evicted for what a room only collects between two
            // flushes.
            self.members.flush_logs(&mut self.common.cx(turn));
            self.relay(turn);
            self.note_weight();
        }
        while self.common.pressure == Pressure::Over {
            let has_holders = self.relieve(turn);
            // Even if no holder was found: the flush may have freed logs.
            self.note_weight();
            if !has_holders {
                break;
            }
        }
        if is_due && self.common.pressure > Pressure::None {
            // Without this timer nothing might wake the shard, and it would refuse connections for
            // ever.
            self.common.timers.push(self.memory.look_at_ms, Timer::Weigh);
        }
    }

    fn note_weight(&mut self) {
        let bytes_max = self.common.settings.memory_bytes_max;
        self.memory.used_bytes = self.used_bytes();
        self.common.pressure = Pressure::of(self.memory.used_bytes, bytes_max);
        if self.common.pressure == Pressure::Over {
            // Messages in fragments are counted anew: some may have gone since the last look.
            self.memory.fragments_bytes = self.members.conns.fragments_bytes();
            self.memory.used_bytes = self.used_bytes();
            self.common.pressure = Pressure::of(self.memory.used_bytes, bytes_max);
        }
    }

    /// Whether so much is in use that no more sockets may be read in this turn. Reading all of them
    /// could bring 256 KiB of each, and as much in answers.
    pub fn is_full(&mut self) -> bool {
        self.used_bytes() > self.common.settings.memory_bytes_max
    }

    /// Relieves the largest holders until enough should be free. False if no holder was relieved.
    fn relieve<I: Io>(&mut self, turn: &mut Turn<'_, I>) -> bool {
        let bytes_max = self.common.settings.memory_bytes_max;
        let mut over = self.memory.used_bytes.saturating_sub(bytes_max).max(1);
        let mut lost = Vec::new();
        let mut has_closed = false;
        for (Reverse(bytes), holder) in self.holders() {
            if over == 0 {
                break;
            }
            match holder {
                Holder::Log(key) => {
                    if self.members.evict_furthest(&mut self.common.cx(turn), key) {
                        lost.push(key);
                        // The members that are left lag by less than half as much.
                        over = over.saturating_sub(bytes / 2);
                    }
                }
                Holder::Conn(key) => {
                    self.members.close_for_memory(&mut self.common.cx(turn), key);
                    self.relay(turn);
                    has_closed = true;
                    over = over.saturating_sub(bytes);
                }
            }
        }
        self.members.flush_logs(&mut self.common.cx(turn));
        for key in &lost {
            self.members.audiences.shrink_log(*key);
        }
        self.relay(turn);
        self.relay_evicted(turn);
        self.members.flush_all_conns(&mut self.common.cx(turn));
        self.relay(turn);
        has_closed || !lost.is_empty()
    }

    /// All holders of memory that can be freed, and how much each holds, the largest first.
    fn holders(&self) -> Vec<(Reverse<usize>, Holder)> {
        let (conns, audiences) = (&self.members.conns, &self.members.audiences);
        let logs = audiences.iter().map(|(key, one)| (one.log_bytes(), Holder::Log(key)));
        let buffers = conns.keys().map(|key| (conns.buffered_bytes(key), Holder::Conn(key)));
        let holders = logs.chain(buffers).filter(|(bytes, _)| *bytes > 0);
        let mut holders: Vec<_> = holders.map(|(bytes, holder)| (Reverse(bytes), holder)).collect();
        holders.sort_unstable();
        holders
    }
}

/// A part of [`worst_case`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub what: &'static str,
    /// How many there may be.
    pub count: u64,
    /// How much each may take, in bytes.
    pub each_bytes: u64,
    /// Whether it counts against `limits.memory_bytes`. Other parts are allocated in any case.
    pub is_counted: bool,
}

impl Part {
    /// What all of them take, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.count.saturating_mul(self.each_bytes)
    }
}

/// The memory of all shards if everything is as large as its own limit allows, with rings of
/// `ring_words` words between them.
#[must_use]
pub fn worst_case(settings: &Settings, ring_words: usize) -> Vec<Part> {
    let limits = &settings.limits;
    let shards = u64::from(settings.shards);
    let conns = u64::from(settings.conns_max).saturating_mul(shards);
    let rooms = u64::from(settings.rooms_max).saturating_mul(shards);
    let members = conns.saturating_mul(u64::from(limits.channels_per_conn));
    let held_bytes = 2 * READ_BUFFER_BYTES + limits.message_bytes + CLIENT_FRAME_HEADER_BYTES_MAX;
    // The body of a post, by a client of long polling or one that pretends to be.
    let posted_bytes =
        2 * READ_BUFFER_BYTES + limits.head_bytes + HTTP_BODY_BYTES_MAX + CHUNKING_BYTES_MAX;
    let input_bytes = posted_bytes.max(held_bytes + limits.message_bytes);
    let readers = u64::from(settings.store_readers);
    // A room that is loaded, a page or a recovery.
    let read_bytes = settings.history.room_bytes.max(settings.history.page_bytes);
    let log_bytes = LogMemory::new(limits.room_lag_bytes).lagging_bytes();
    let fixed =
        |what, count, each_bytes| Part { is_counted: false, ..part(what, count, each_bytes) };
    let mut parts = vec![
        part(
            "connections, with the rights in a token",
            conns,
            CONN_MEMORY_BYTES + limits.head_bytes,
        ),
        part("memberships, with a meta", members, MEMBER_MEMORY_BYTES + META_BYTES_MAX),
        // Twice, since a buffer that grows may have twice the capacity that it needs. Four times
        // the name, for id and name with escapes.
        part(
            "lists for those who join while a room rests",
            members,
            2 * (4 * NAME_BYTES_MAX + META_BYTES_MAX + LIST_ENTRY_BYTES),
        ),
        part("input that is not whole: a request, or frames and a message", conns, input_bytes),
        // Counted as of sessions of long polling, which take little else of a connection.
        part(
            "output that is not taken",
            conns,
            OUT_FACTOR * limits.conn_out_bytes + limits.message_bytes,
        ),
        // On each shard, in two encodings. A room that nobody is in has no log.
        part(
            "logs of rooms in which somebody lags",
            2 * members.min(rooms.saturating_mul(shards)),
            log_bytes,
        ),
        part("history, and what it grows by", 2 * shards, settings.history_bytes_max),
        part(
            "rooms, with the keys of their messages",
            rooms,
            ROOM_MEMORY_BYTES + KEYS_PER_ROOM_MAX * KEY_MEMORY_BYTES,
        ),
        part(
            "lists of rooms",
            rooms.max(u64::from(settings.store_rooms)).saturating_mul(shards),
            LISTING_MEMORY_BYTES,
        ),
        part("pages of the store", 1, settings.store_cache_bytes),
        part("first answers of the lobby", shards, LOBBY_ANSWERS_BYTES_MAX),
        part("joins that wait", shards, settings.admission_line_bytes),
        // Twice, as lists above. A reader waits while more than that has not been taken. It has an
        // answer in up to three forms, and so has a shard: as it came, as values, and as it goes.
        fixed(
            "answers of the store on their way",
            readers.saturating_mul(shards),
            2 * (STORE_ANSWERS_BYTES_MAX + read_bytes),
        ),
        fixed(
            "answers of the store that are made or taken",
            if readers == 0 { 0 } else { readers + shards },
            3 * read_bytes,
        ),
        fixed("rings", shards * shards, ring_words * size_of::<u64>()),
        fixed("records that wait for another shard", shards * (shards - 1), MESH_BUSY_BYTES),
        fixed(
            "buffers for reading, and spare ones",
            shards,
            READ_BUFFER_BYTES
                + POOL_BUFFERS_MAX * POOL_BUFFER_BYTES_MAX
                + SPARE_MAX * SPARE_BYTES_MAX,
        ),
    ];
    parts.extend(of_chat(settings, rooms, conns));
    parts.extend(settings.is_clustered.then(|| of_nodes(settings, rooms)));
    parts
        .extend(settings.is_clustered.then(|| fixed("what an engine has told", 1, TOLD_BYTES_MAX)));
    let waiting = || fixed("rooms for which an archive is asked", 1, ARCHIVE_READS_BYTES_MAX);
    parts.extend(settings.has_archive.then(waiting));
    parts
}

/// What so many rooms have of members on other nodes: as many as may be listed, with a meta. Where
/// there is no bound to that, nobody comes in past the second mark.
fn of_nodes(settings: &Settings, rooms: u64) -> Part {
    let listed = match settings.presence.full_max {
        0 => u64::MAX,
        full_max => rooms.saturating_mul(full_max.max(settings.presence.listed).into()),
    };
    let each_bytes = MEMBER_MEMORY_BYTES + SLICE_MEMBER_MEMORY_BYTES + META_BYTES_MAX;
    part("members on other nodes, with a meta", listed, each_bytes)
}

/// A part that is counted.
const fn part(what: &'static str, count: u64, each_bytes: usize) -> Part {
    Part { what, count, each_bytes: each_bytes as u64, is_counted: true }
}

/// What so many rooms have of what is decided in them, and of what becomes of messages.
fn of_chat(settings: &Settings, rooms: u64, conns: u64) -> [Part; 10] {
    let limits = &settings.limits;
    let readers = u64::from(settings.store_readers);
    let chat = &settings.chat;
    let in_memory = rooms.saturating_mul(u64::from(settings.history.messages));
    // A message with all that its author gave, or an invite and a meta.
    let push_bytes = PENDING_MEMORY_BYTES
        + limits.body_bytes
        + chat.data_bytes
        + chat.mentions as usize * NAME_BYTES_MAX;
    let join_bytes = PENDING_MEMORY_BYTES + 4 * NAME_BYTES_MAX + META_BYTES_MAX + INVITE_BYTES_MAX;
    let of_store = |count| if readers == 0 { 0 } else { count };
    [
        part(
            "what was decided of rooms, and how users stand in them",
            rooms,
            ROOM_MEMORY_BYTES
                + TOPIC_BYTES_MAX
                + chat.data_bytes
                + chat.members_per_room as usize * STANDING_MEMORY_BYTES,
        ),
        // Twice, as lists above. The last: a hash and a ticket of each.
        part(
            "audit trails of rooms, and what was reported in them",
            rooms,
            AUDIT_MEMORY_BYTES_MAX + 2 * REPORTS_KNOWN_MAX * 2 * size_of::<u64>(),
        ),
        part(
            "who has spoken of late in rooms in slow mode",
            rooms,
            2 * SPEAKERS_KNOWN_MAX * SPEAKER_MEMORY_BYTES,
        ),
        part(
            "which messages of rooms have changed, and are pinned",
            rooms,
            chat.changes as usize * CHANGE_MEMORY_BYTES + chat.pins as usize * PIN_MEMORY_BYTES,
        ),
        // In a log that has more than memory. What is too much is forgotten, and read anew.
        part(
            "what becomes of messages of rooms while others are read",
            of_store(rooms),
            settings.history.room_bytes,
        ),
        part(
            "who has reacted to messages in memory",
            in_memory,
            REACTED_MEMORY_BYTES + REACTED_BYTES_MAX,
        ),
        part("messages that grow", in_memory, STREAM_MEMORY_BYTES),
        part(
            "reactions and pieces that are collected",
            rooms,
            COLLECTED_BYTES_PER_ROOM_MAX + REACTED_BYTES_MAX + push_bytes,
        ),
        part(
            "messages and decisions that the store has not kept, and what waits behind them",
            of_store(rooms),
            (UNDER_WAY_PER_ROOM_MAX + WAITING_PUSHES_PER_ROOM_MAX) * push_bytes,
        ),
        part(
            "joins that wait for the store, with an invite",
            of_store(conns.saturating_mul(JOINS_UNDER_WAY_MAX as u64)),
            join_bytes,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{HistoryLimits, Limits, PresenceLimits};

    #[test]
    fn the_worst_case_is_what_the_limits_multiply_to() {
        let limits = Limits {
            connections: 1_000,
            channels_per_conn: 10,
            message_bytes: 100_000,
            conn_out_bytes: 1_000_000,
            room_lag_bytes: 800_000,
            rooms: 200,
            ..Limits::default()
        };
        let history = HistoryLimits { total_bytes: 5_000_000, ..HistoryLimits::default() };
        let settings = Settings::new(2, limits, history, PresenceLimits::default(), Vec::new());
        let parts = worst_case(&settings, 1_024);
        let bytes = |name: &str| {
            parts.iter().find(|part| part.what.starts_with(name)).expect("a part").bytes()
        };
        assert_eq!(bytes("connections"), 1_000 * (512 + 8_192));
        assert_eq!(bytes("memberships"), 10_000 * (256 + 1_024));
        assert_eq!(bytes("lists for"), 10_000 * 2 * (512 + 1_024 + 128));
        let input = 1_000 * (2 * 65_536 + 8_192 + 1_048_576 + 16_384);
        assert_eq!(bytes("input"), input, "as a request");
        let large = Limits { message_bytes: 1_000_000, ..settings.limits.clone() };
        let large = Settings { limits: large, ..settings.clone() };
        let of_frames = worst_case(&large, 1_024)[3].bytes();
        assert_eq!(of_frames, 1_000 * (2 * 65_536 + 1_000_000 + 14 + 1_000_000), "as frames");
        assert_eq!(bytes("output"), 1_000 * 4_100_000, "as sessions of long polling");
        assert_eq!(bytes("logs"), 2 * 400 * 1_000_000, "200 rooms on two shards, in two encodings");
        assert_eq!(bytes("history"), 10_000_000);
        assert_eq!(bytes("rooms"), 200 * (2_048 + 1_000 * 96));
        let decided = 2_048 + 1_024 + 4_096 + 10_000 * 128;
        assert_eq!(bytes("what was decided"), 200 * decided);
        assert_eq!(bytes("audit trails"), 200 * (65_536 + 2 * 64 * 16));
        assert_eq!(bytes("who has spoken"), 200 * 2 * 8_192 * 16);
        assert_eq!(bytes("which messages"), 200 * (1_000 * 64 + 50 * 32));
        assert_eq!(bytes("who has reacted"), 200 * 1_000 * (48 + 262_144));
        assert_eq!(bytes("messages that grow"), 200 * 1_000 * 64);
        let push = 256 + 16_384 + 4_096 + 50 * 128;
        assert_eq!(bytes("reactions and pieces"), 200 * (16 * 1_048_576 + 262_144 + push));
        assert_eq!(bytes("messages and decisions"), 0);
        assert_eq!(bytes("joins that wait for the store"), 0);
        assert_eq!(bytes("what becomes of messages"), 0);
        assert_eq!(bytes("lists of rooms"), 2 * 200 * LISTING_MEMORY_BYTES as u64);
        assert_eq!(bytes("rings"), 4 * 8_192);
        assert_eq!(bytes("answers of the store on"), 0);
        assert_eq!(bytes("answers of the store that"), 0);
        let history =
            HistoryLimits { room_bytes: 500_000, page_bytes: 800_000, ..settings.history };
        let kept = Settings { history, ..settings.clone() }.with_store(7_000_000, 3, 300);
        let parts = worst_case(&kept, 1_024);
        let bytes = |name: &str| {
            parts.iter().find(|part| part.what.starts_with(name)).expect("a part").bytes()
        };
        assert_eq!(bytes("lists of rooms"), 2 * 300 * LISTING_MEMORY_BYTES as u64);
        assert_eq!(bytes("messages and decisions"), 200 * (4_096 + 256) * push);
        assert_eq!(bytes("what becomes of messages"), 200 * 500_000);
        let join = 256 + 512 + 1_024 + 1_024;
        assert_eq!(bytes("joins that wait for the store"), 1_000 * 4 * join);
        assert_eq!(bytes("pages of the store"), 7_000_000);
        assert_eq!(bytes("answers of the store on"), 3 * 2 * 2 * (1_048_576 + 800_000));
        assert_eq!(bytes("answers of the store that"), (3 + 2) * 3 * 800_000);
    }
}

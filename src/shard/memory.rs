//! How much memory a shard has in use, what may be used at most, and what gives when that is
//! reached.
//!
//! Each limit bounds what one connection or one room may cost. Their product bounds the whole
//! ([`worst_case`]), but that is far more than machines have: nearly all connections would have to
//! lag as far as they may at once. So what is in use is counted against a bound of its own,
//! [`Limits::memory_bytes`], and there are three marks below it ([`MEMORY_MARKS_PERCENT`]). Past
//! the first nobody is accepted; past the second nobody joins, and no room is made; past the third
//! those go who hold the most: whoever lags furthest in a room loses its place, loudly, and comes
//! back with its cursor; whoever does not take its answers, or never ends its messages, is closed:
//! with 1013 if it still takes that.
//!
//! It is counted at the end of each turn, and behind each socket that is read (if it is full then,
//! the others are read in the next turn), in bytes of buffers as they are allocated, and for
//! records by what one takes, rounded up generously. Messages that come in fragments are looked at
//! every [`MEMORY_LOOK_MS`], for that takes a walk over them.
//!
//! Deliberately absent: the memory of the kernel for sockets, and of the allocator for what it does
//! not give back.
//!
//! [`Limits::memory_bytes`]: crate::limits::Limits::memory_bytes
//! [`MEMORY_MARKS_PERCENT`]: crate::limits::MEMORY_MARKS_PERCENT

use std::cmp::Reverse;

use super::{Settings, Shard, Turn};
use crate::audience::{LogMemory, SPARE_BYTES_MAX, SPARE_MAX};
use crate::limits::{
    CHUNKING_BYTES_MAX, CLIENT_FRAME_HEADER_BYTES_MAX, CONN_MEMORY_BYTES, HTTP_BODY_BYTES_MAX,
    KEY_MEMORY_BYTES, KEYS_PER_ROOM_MAX, LISTING_MEMORY_BYTES, LOBBY_ANSWERS_BYTES_MAX,
    MEMBER_MEMORY_BYTES, MEMORY_LOOK_MS, MESH_BUSY_BYTES, META_BYTES_MAX, NAME_BYTES_MAX,
    OUT_FACTOR, POOL_BUFFER_BYTES_MAX, POOL_BUFFERS_MAX, READ_BUFFER_BYTES, ROOM_MEMORY_BYTES,
};
use crate::link::ids::{AudienceKey, ConnKey};
use crate::link::io::Io;
use crate::link::outbox::Timer;
use crate::link::pressure::Pressure;

/// What an entry of a list has besides the user's id and name and a meta, in bytes.
const LIST_ENTRY_BYTES: usize = 128;

/// What was found the last time.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) used_bytes: usize,
    /// Of messages in fragments, when they were last looked at.
    fragments_bytes: usize,
    look_at_ms: u64,
}

/// Whoever holds memory that can be had back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    /// Those who lag furthest in a room.
    Log(AudienceKey),
    /// Of a connection what was not handled yet, and what it does not take.
    Conn(ConnKey),
}

impl Shard {
    /// What this shard has in use, in bytes.
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

    /// Looks how much is in use, and makes those that hold the most let go of it while it is too
    /// much.
    pub(super) fn weigh<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        let is_due = turn.now.mono_ms >= self.memory.look_at_ms;
        if is_due {
            self.memory.look_at_ms = turn.now.mono_ms + MEMORY_LOOK_MS;
            self.memory.fragments_bytes = self.members.conns.fragments_bytes();
        }
        self.note_weight();
        if self.common.pressure == Pressure::Over {
            // Nobody is to go for what a room only collects.
            self.members.flush_logs(&mut self.common.cx(turn));
            self.relay(turn);
            self.note_weight();
        }
        while self.common.pressure == Pressure::Over {
            let has_holders = self.relieve(turn);
            // Even if nobody had to go for it: a log may have been sent by now.
            self.note_weight();
            if !has_holders {
                break;
            }
        }
        if is_due && self.common.pressure > Pressure::None {
            // Nothing else may happen until somebody is let in again.
            self.common.timers.push(self.memory.look_at_ms, Timer::Weigh);
        }
    }

    fn note_weight(&mut self) {
        let bytes_max = self.common.settings.memory_bytes_max;
        self.memory.used_bytes = self.used_bytes();
        self.common.pressure = Pressure::of(self.memory.used_bytes, bytes_max);
        if self.common.pressure == Pressure::Over {
            // Of messages in fragments by what they take now: some may have gone since they were
            // looked at.
            self.memory.fragments_bytes = self.members.conns.fragments_bytes();
            self.memory.used_bytes = self.used_bytes();
            self.common.pressure = Pressure::of(self.memory.used_bytes, bytes_max);
        }
    }

    /// Whether so much is in use that nothing more is to be read in this turn. A turn that read all
    /// that its sockets have could bring a quarter of a mebibyte of each, and as much in answers.
    pub fn is_full(&mut self) -> bool {
        self.used_bytes() > self.common.settings.memory_bytes_max
    }

    /// Makes the largest holders let go until enough is free, as far as can be told beforehand.
    /// False if nobody holds anything.
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
                    if self.members.evict_furthest(&mut self.common.metrics, key) {
                        lost.push(key);
                        // Those who are left lag by less than half as much.
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
        self.members.flush_conns(&mut self.common.cx(turn));
        self.relay(turn);
        has_closed || !lost.is_empty()
    }

    /// Whatever holds memory that can be had back, and how much, the largest first.
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
    /// Whether it counts against `limits.memory_bytes`. What does not is there in any case.
    pub is_counted: bool,
}

impl Part {
    /// What all of them take, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.count.saturating_mul(self.each_bytes)
    }
}

/// What all shards may take if everything is as large as its own limit allows, with rings of so
/// many words between them.
#[must_use]
pub fn worst_case(settings: &Settings, ring_words: usize) -> Vec<Part> {
    let limits = &settings.limits;
    let shards = u64::from(settings.shards);
    let conns = u64::from(settings.conns_max).saturating_mul(shards);
    let rooms = u64::from(settings.rooms_max).saturating_mul(shards);
    let members = conns.saturating_mul(u64::from(limits.channels_per_conn));
    let held_bytes = 2 * READ_BUFFER_BYTES + limits.message_bytes + CLIENT_FRAME_HEADER_BYTES_MAX;
    // What a client that polls posts, or whoever says that it does.
    let posted_bytes =
        2 * READ_BUFFER_BYTES + limits.head_bytes + HTTP_BODY_BYTES_MAX + CHUNKING_BYTES_MAX;
    let input_bytes = posted_bytes.max(held_bytes + limits.message_bytes);
    let log_bytes = LogMemory::new(limits.room_lag_bytes).lagging_bytes();
    let part = |what, count, each_bytes: usize| Part {
        what,
        count,
        each_bytes: each_bytes as u64,
        is_counted: true,
    };
    let fixed =
        |what, count, each_bytes| Part { is_counted: false, ..part(what, count, each_bytes) };
    vec![
        part(
            "connections, with the rights in a token",
            conns,
            CONN_MEMORY_BYTES + limits.head_bytes,
        ),
        part("memberships, with a meta", members, MEMBER_MEMORY_BYTES + META_BYTES_MAX),
        // Of all members, in memory that has grown to twice its need; names may need escapes.
        part(
            "lists for those who join while a room rests",
            members,
            2 * (4 * NAME_BYTES_MAX + META_BYTES_MAX + LIST_ENTRY_BYTES),
        ),
        part("input that is not whole: a request, or frames and a message", conns, input_bytes),
        // As sessions of long polling, which take the least of a connection beside it.
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
        part("lists of rooms", rooms.saturating_mul(shards), LISTING_MEMORY_BYTES),
        part("first answers of the lobby", shards, LOBBY_ANSWERS_BYTES_MAX),
        part("joins that wait", shards, settings.admission_line_bytes),
        fixed("rings", shards * shards, ring_words * size_of::<u64>()),
        fixed("records that wait for another shard", shards * (shards - 1), MESH_BUSY_BYTES),
        fixed(
            "buffers for reading, and spare ones",
            shards,
            READ_BUFFER_BYTES
                + POOL_BUFFERS_MAX * POOL_BUFFER_BYTES_MAX
                + SPARE_MAX * SPARE_BYTES_MAX,
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
        assert_eq!(bytes("lists of rooms"), 2 * 200 * LISTING_MEMORY_BYTES as u64);
        assert_eq!(bytes("rings"), 4 * 8_192);
    }
}

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

use std::cmp::Reverse;

use super::audience::Audience;
use super::conn::{BLOCKED, CLOSING, Conn, SESSION};
use super::log::{LogMemory, SPARE_BYTES_MAX, SPARE_MAX};
use super::{Io, Settings, Shard, Timer, Turn};
use crate::base::arena::Key;
use crate::limits::{
    CLIENT_FRAME_HEADER_BYTES_MAX, CONN_MEMORY_BYTES, HTTP_BODY_BYTES_MAX, KEY_MEMORY_BYTES,
    KEYS_PER_ROOM_MAX, MEMBER_MEMORY_BYTES, MEMORY_LOOK_MS, MEMORY_MARKS_PERCENT, MESH_BUSY_BYTES,
    META_BYTES_MAX, NAME_BYTES_MAX, POLLED_OUT_FACTOR, POOL_BUFFER_BYTES_MAX, POOL_BUFFERS_MAX,
    READ_BUFFER_BYTES, ROOM_MEMORY_BYTES, TOKEN_BYTES_MAX,
};
use crate::wire::ws::close::CloseCode;

/// What an entry of a list has besides the user's id and name and a meta, in bytes.
const LIST_ENTRY_BYTES: usize = 128;

/// How near the bound it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pressure {
    #[default]
    None,
    /// Nobody is accepted.
    Conns,
    /// And nobody joins.
    Joins,
    /// And those who hold the most let go of it.
    Over,
}

impl Pressure {
    fn of(used_bytes: usize, bytes_max: usize) -> Self {
        let is_past = |percent: usize| used_bytes / 100 >= bytes_max / 10_000 * percent;
        let [conns, joins, over] = MEMORY_MARKS_PERCENT;
        match () {
            () if is_past(over) => Self::Over,
            () if is_past(joins) => Self::Joins,
            () if is_past(conns) => Self::Conns,
            () => Self::None,
        }
    }
}

/// What was found the last time.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) pressure: Pressure,
    pub(super) used_bytes: usize,
    /// Of messages in fragments, when they were last looked at.
    fragments_bytes: usize,
    look_at_ms: u64,
}

/// Whoever holds memory that can be had back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    /// Those who lag furthest in a room.
    Log(Key<Audience>),
    /// Of a connection what was not handled yet, and what it does not take.
    Conn(Key<Conn>),
}

impl Shard {
    /// What this shard has in use, in bytes.
    fn used_bytes(&mut self) -> usize {
        self.conns.len() * CONN_MEMORY_BYTES
            + self.audiences.len() * ROOM_MEMORY_BYTES
            + self.upkeep.homes_bytes
            // A buffer that grows has up to twice as much as is in it.
            + 2 * self.upkeep.history_bytes
            + self.log_memory.lent_bytes()
            + self.buffers.lent_bytes()
            + self.memory.fragments_bytes
            + self.admission.line_bytes()
    }

    /// Looks how much is in use, and has those who hold the most let go of it while it is too much.
    pub(super) fn weigh<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        let is_due = turn.now.mono_ms >= self.memory.look_at_ms;
        if is_due {
            self.memory.look_at_ms = turn.now.mono_ms + MEMORY_LOOK_MS;
            self.memory.fragments_bytes = self.inputs.heap_bytes();
        }
        self.note_weight();
        if self.memory.pressure == Pressure::Over {
            // Nobody is to go for what a room only collects.
            self.flush_logs(turn);
            self.note_weight();
        }
        while self.memory.pressure == Pressure::Over {
            let has_holders = self.relieve(turn);
            // Even if nobody had to go for it: a log may have been sent by now.
            self.note_weight();
            if !has_holders {
                break;
            }
        }
        if is_due && self.memory.pressure > Pressure::None {
            // Nothing else may happen until somebody is let in again.
            self.timers.push(self.memory.look_at_ms, Timer::Weigh);
        }
    }

    fn note_weight(&mut self) {
        self.memory.used_bytes = self.used_bytes();
        self.memory.pressure = Pressure::of(self.memory.used_bytes, self.settings.memory_bytes_max);
        if self.memory.pressure == Pressure::Over {
            // Of messages in fragments by what they take now: some may have gone since they were
            // looked at.
            self.memory.fragments_bytes = self.inputs.heap_bytes();
            self.memory.used_bytes = self.used_bytes();
            self.memory.pressure =
                Pressure::of(self.memory.used_bytes, self.settings.memory_bytes_max);
        }
    }

    /// Whether so much is in use that nothing more is to be read in this turn. A turn that read all
    /// that its sockets have could bring a quarter of a mebibyte of each, and as much in answers.
    pub fn is_full(&mut self) -> bool {
        self.used_bytes() > self.settings.memory_bytes_max
    }

    /// Has the largest holders let go until enough is free, as far as can be told beforehand. False
    /// if nobody holds anything.
    fn relieve<I: Io>(&mut self, turn: &mut Turn<'_, I>) -> bool {
        let mut over = self.memory.used_bytes.saturating_sub(self.settings.memory_bytes_max).max(1);
        let mut lost = Vec::new();
        let mut has_closed = false;
        for (Reverse(bytes), holder) in self.holders() {
            if over == 0 {
                break;
            }
            match holder {
                Holder::Log(key) => {
                    if self.lose_furthest(key) {
                        lost.push(key);
                        // Those who are left lag by less than half as much.
                        over = over.saturating_sub(bytes / 2);
                    }
                }
                Holder::Conn(key) => {
                    self.close_for_memory(turn, key);
                    has_closed = true;
                    over = over.saturating_sub(bytes);
                }
            }
        }
        self.flush_logs(turn);
        for key in &lost {
            self.shrink_log(*key);
        }
        self.dismiss(turn);
        self.flush_conns(turn);
        has_closed || !lost.is_empty()
    }

    /// Sends what is in the rooms' logs to all who take it, whether a room rests or not. A log is
    /// let go of when all have been written to.
    fn flush_logs<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        let with_log = self.audiences.iter().filter(|(_, audience)| audience.log_bytes() > 0);
        let keys: Vec<_> = with_log.map(|(key, _)| key).collect();
        for key in &keys {
            if let Some(audience) = self.audiences.get_mut(*key) {
                audience.cadence.wake();
            }
            self.touch_audience(*key);
        }
        self.flush_audiences(turn);
        while keys.iter().any(|key| self.audiences.get(*key).is_some_and(Audience::is_half_flushed))
        {
            self.flush_audiences(turn);
        }
    }

    /// Whoever holds memory that can be had back, and how much, the largest first.
    fn holders(&self) -> Vec<(Reverse<usize>, Holder)> {
        let logs = self.audiences.iter().filter(|(_, audience)| audience.log_bytes() > 0);
        let logs = logs.map(|(key, audience)| (Reverse(audience.log_bytes()), Holder::Log(key)));
        let conns = self.conns.iter();
        let conns =
            conns.map(|(key, conn)| (Reverse(self.buffered_bytes(conn)), Holder::Conn(key)));
        let mut holders: Vec<_> =
            logs.chain(conns.filter(|(Reverse(bytes), _)| *bytes > 0)).collect();
        holders.sort_unstable();
        holders
    }

    /// Closes a connection for what it holds, and says why if that can be done without keeping it.
    fn close_for_memory<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: Key<Conn>) {
        if !self.conns.contains(key) {
            return;
        }
        let flags = self.flags[key.index() as usize];
        self.metrics.closed_for_memory += u64::from(flags & CLOSING == 0);
        let speaks = self.stage_of(key).is_open() && flags & CLOSING == 0;
        if speaks && (flags & BLOCKED == 0 || flags & SESSION != 0) {
            self.close(turn, key, CloseCode::TryLater, "no memory");
        } else {
            // A close frame would have to wait behind all that is not taken; and a request may
            // still be answered by another shard.
            self.remove(turn, key);
        }
    }

    /// Ends the channels of those who lag at least half as far as the furthest in a room. False if
    /// nobody does.
    fn lose_furthest(&mut self, key: Key<Audience>) -> bool {
        let Some(audience) = self.audiences.get(key) else { return false };
        let lags: Vec<usize> = (0..audience.seats.len())
            .map(|seat| {
                let flags = self.flags[audience.seats[seat].conn as usize];
                if flags & BLOCKED == 0 { 0 } else { audience.pending(seat, flags).len() }
            })
            .collect();
        let furthest = lags.iter().copied().max().unwrap_or_default();
        if furthest == 0 {
            return false;
        }
        // From the back, since letting one go moves the last into its seat.
        for (seat, _) in lags.iter().enumerate().rev().filter(|(_, lag)| **lag * 2 >= furthest) {
            self.metrics.lost_for_memory += 1;
            self.lose(key, seat);
        }
        true
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
    let posted_bytes = 2 * READ_BUFFER_BYTES + limits.head_bytes + HTTP_BODY_BYTES_MAX;
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
        part("connections, with the rights in a token", conns, CONN_MEMORY_BYTES + TOKEN_BYTES_MAX),
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
            POLLED_OUT_FACTOR * limits.conn_out_bytes + limits.message_bytes,
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
    fn the_marks_are_passed_one_after_another() {
        let percent = |percent: usize| Pressure::of(percent * 10_000, 1_000_000);
        assert_eq!(percent(79), Pressure::None);
        assert_eq!([percent(80), percent(89)], [Pressure::Conns; 2]);
        assert_eq!([percent(90), percent(99)], [Pressure::Joins; 2]);
        assert_eq!(percent(100), Pressure::Over);
        assert_eq!(Pressure::of(1 << 60, usize::MAX), Pressure::None, "without a bound");
    }

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
        assert_eq!(bytes("connections"), 1_000 * (512 + 4_096));
        assert_eq!(bytes("memberships"), 10_000 * (256 + 1_024));
        assert_eq!(bytes("lists"), 10_000 * 2 * (512 + 1_024 + 128));
        assert_eq!(bytes("input"), 1_000 * (2 * 65_536 + 8_192 + 1_048_576), "as a request");
        let large = Limits { message_bytes: 1_000_000, ..settings.limits.clone() };
        let large = Settings { limits: large, ..settings.clone() };
        let of_frames = worst_case(&large, 1_024)[3].bytes();
        assert_eq!(of_frames, 1_000 * (2 * 65_536 + 1_000_000 + 14 + 1_000_000), "as frames");
        assert_eq!(bytes("output"), 1_000 * 4_100_000, "as sessions of long polling");
        assert_eq!(bytes("logs"), 2 * 400 * 1_000_000, "200 rooms on two shards, in two encodings");
        assert_eq!(bytes("history"), 10_000_000);
        assert_eq!(bytes("rooms"), 200 * (2_048 + 1_000 * 96));
        assert_eq!(bytes("rings"), 4 * 8_192);
    }
}

//! The members of a room that are on this shard, and the log of frames for them.
//!
//! A member here is a [`Seat`]: eight bytes, its connection and how far in the log it is. All that
//! is said in a room is appended to the log once, and at the end of the turn
//! [`Shard::flush_audience`] writes to each member what it has not had.
//!
//! Deliberately absent: who may be here, and in which order things are said. That is the home's.

use std::cmp::Ordering;
use std::ops::Range;

use smallvec::SmallVec;

use super::cadence::Cadence;
use super::channels::{Channel, Passage};
use super::conn::{BLOCKED, Conn, HAS_OUT, SESSION, SPEAKS_V1};
use super::home::Home;
use super::log::{Log, LogMemory, Position};
use super::{Io, Shard, Turn};
use crate::base::arena::Key;
use crate::base::slack::Slack;
use crate::chat::topic::LOBBY;
use crate::wire::phx::{Payload, Serializer};
use crate::wire::ws::frame::frame_bytes_at;

/// A member's place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    /// The index of a live connection that lists this audience among its channels.
    pub(super) conn: u32,
    /// What it has been sent.
    pub(super) cursor: Position,
}

/// The members of one room on this shard.
#[derive(Debug)]
pub(super) struct Audience {
    pub(super) topic: Box<str>,
    pub(super) home_shard: u16,
    /// Known from the first join on. The lobby has none: each shard holds the directory itself.
    pub(super) home: Option<Key<Home>>,
    pub(super) seats: Vec<Seat>,
    /// Members of the lobby who may not see every room, and are told apart of those that they may.
    pub(super) apart: SmallVec<[u32; 2]>,
    /// Joins that the home has not answered yet. They keep the audience.
    pub(super) joining: u32,
    /// Members who have not been sent `presence_state` yet, in the order in which they joined.
    pub(super) newcomers: Vec<Key<Conn>>,
    /// Members that are leaving and have no seat any more. They keep it too.
    pub(super) unheard: u32,
    log: Log,
    /// The same in the old encoding, for as long as there are members who speak it.
    log_v1: Log,
    seats_v1: u32,
    /// Whether it is in [`Shard::touched`].
    touched: bool,
    /// The seat where the flush goes on: one of a room that is too large for one turn goes on in
    /// the next. What is said meanwhile goes along to those it has not come to yet, so each flush
    /// takes a member all that there is, and a burst is one write for nearly everybody. Whoever
    /// takes a seat before that meanwhile is found behind the last slice.
    next_seat: usize,
    pub(super) cadence: Cadence,
}

impl Audience {
    pub(super) fn new(topic: &str, home_shard: u16) -> Self {
        Self {
            topic: topic.into(),
            home_shard,
            home: None,
            seats: Vec::new(),
            apart: SmallVec::new(),
            joining: 0,
            unheard: 0,
            newcomers: Vec::new(),
            log: Log::default(),
            log_v1: Log::default(),
            seats_v1: 0,
            touched: false,
            next_seat: 0,
            cadence: Cadence::default(),
        }
    }

    fn log(&self, flags: u8) -> &Log {
        if flags & SPEAKS_V1 == 0 { &self.log } else { &self.log_v1 }
    }

    /// What a member has not been sent yet.
    pub(super) fn pending(&self, seat: usize, flags: u8) -> &[u8] {
        self.log(flags).after(self.seats[seat].cursor)
    }

    /// Notes that a member has been sent everything.
    pub(super) fn catch_up(&mut self, seat: usize, flags: u8) {
        self.seats[seat].cursor = self.log(flags).end();
    }

    /// Takes a member in: it hears what is said from now on. Gives its seat.
    pub(super) fn sit(&mut self, conn: u32, flags: u8) -> u32 {
        let seat = u32::try_from(self.seats.len()).expect("fewer members than descriptors");
        if self.seats.len() == self.seats.capacity() {
            // Seats are many, and an eighth in reserve is enough.
            self.seats.reserve_exact((self.seats.len() / 8).max(4));
        }
        self.seats.push(Seat { conn, cursor: self.log(flags).end() });
        self.seats_v1 += u32::from(flags & SPEAKS_V1 != 0);
        seat
    }

    /// Lets the member in a seat go. The last one takes that seat; if somebody does, its connection
    /// is returned.
    pub(super) fn stand(&mut self, seat: u32, flags: u8) -> Option<u32> {
        self.seats.swap_remove(seat as usize);
        self.seats.trim(SEATS_KEPT);
        self.seats_v1 -= u32::from(flags & SPEAKS_V1 != 0);
        self.seats.get(seat as usize).map(|moved| moved.conn)
    }

    fn is_deserted(&self) -> bool {
        self.seats.is_empty() && self.apart.is_empty() && self.joining == 0 && self.unheard == 0
    }

    /// Whether a flush is under way that the next turn goes on with.
    pub(super) fn is_half_flushed(&self) -> bool {
        self.next_seat > 0
    }

    /// Bytes of memory that its logs hold.
    pub(super) fn log_bytes(&self) -> usize {
        self.log.capacity_bytes() + self.log_v1.capacity_bytes()
    }

    /// Appends a broadcast to the logs.
    fn append(&mut self, memory: &mut LogMemory, event: &str, payload: Payload<'_>) {
        let topic = &self.topic;
        if self.seats.len() > self.seats_v1 as usize {
            self.log.append(memory, |out| Serializer::V2.broadcast(out, topic, event, payload));
        }
        if self.seats_v1 > 0 {
            self.log_v1.append(memory, |out| Serializer::V1.broadcast(out, topic, event, payload));
        }
    }

    /// Lets go of what every member has had. Says whether somebody has not had everything whose
    /// socket might take it: who came to an earlier seat during the flush, or to whom something was
    /// said meanwhile.
    fn release(&mut self, memory: &mut LogMemory, flags: &[u8]) -> bool {
        let (mut oldest, mut oldest_v1) = (self.log.end(), self.log_v1.end());
        let mut is_missed = false;
        for Seat { conn, cursor } in &self.seats {
            let flags = flags[*conn as usize];
            let (end, oldest) = match flags & SPEAKS_V1 {
                0 => (self.log.end(), &mut oldest),
                _ => (self.log_v1.end(), &mut oldest_v1),
            };
            if cursor.order(*oldest) == Ordering::Less {
                *oldest = *cursor;
            }
            is_missed |= *cursor != end && flags & BLOCKED == 0;
        }
        self.log.release_before(memory, oldest);
        self.log_v1.release_before(memory, oldest_v1);
        is_missed
    }
}

/// For how many members who have gone an audience keeps the memory.
const SEATS_KEPT: usize = 8;

/// How a write of several frames ended: after how many bytes whole frames end, and what is left of
/// the one that was cut.
fn cut(frames: &[u8], written: usize) -> (usize, &[u8]) {
    let mut end = 0;
    while end < written {
        end += frame_bytes_at(&frames[end..]);
    }
    (end, &frames[written..end])
}

impl Shard {
    /// The audience of a topic, made if there is none.
    pub(super) fn audience_of(&mut self, topic: &str, home_shard: u16) -> Key<Audience> {
        if let Some(key) = self.audience_by_topic.get(topic) {
            return *key;
        }
        let key = self.audiences.insert(Audience::new(topic, home_shard));
        self.audience_by_topic.insert(topic.into(), key);
        key
    }

    /// Lets an audience go if nobody is in it.
    pub(super) fn drop_if_deserted(&mut self, key: Key<Audience>) {
        if self.audiences.get(key).is_some_and(Audience::is_deserted)
            && let Some(audience) = self.audiences.remove(key)
        {
            self.audience_by_topic.remove(&audience.topic);
            self.log_memory.forget(audience.log_bytes());
        }
    }

    /// Appends a broadcast for the members here, to be sent at the end of the turn.
    pub(super) fn deliver(&mut self, key: Key<Audience>, event: &str, payload: Payload<'_>) {
        // The last member may have left while this was on its way.
        let Some(audience) = self.audiences.get_mut(key) else { return };
        self.metrics.delivered += audience.seats.len() as u64;
        audience.append(&mut self.log_memory, event, payload);
        self.touch_audience(key);
    }

    /// Has an audience flushed at the end of the turn.
    pub(super) fn touch_audience(&mut self, key: Key<Audience>) {
        if let Some(audience) = self.audiences.get_mut(key)
            && !std::mem::replace(&mut audience.touched, true)
        {
            self.touched.push(key);
        }
    }

    /// Moves what a member has not been sent yet to its own output, so that what is appended there
    /// next comes after it.
    ///
    /// Not for a member whose socket takes nothing: its log may be long, and it would cost memory
    /// of its own.
    pub(super) fn settle(&mut self, key: Key<Audience>, seat: u32) {
        let Some(audience) = self.audiences.get_mut(key).filter(|_| seat != Channel::NO_SEAT)
        else {
            return;
        };
        let conn = audience.seats[seat as usize].conn;
        let flags = self.flags[conn as usize];
        if flags & (BLOCKED | SESSION) == BLOCKED
            || audience.pending(seat as usize, flags).is_empty()
        {
            return;
        }
        let mut missed = std::mem::take(&mut self.scratch);
        missed.extend_from_slice(audience.pending(seat as usize, flags));
        audience.catch_up(seat as usize, flags);
        self.output(conn).extend_from_slice(&missed);
        missed.clear();
        self.scratch = missed;
        // It may have been the last one that lagged.
        self.touch_audience(key);
    }

    /// Flushes every audience in which something was said, except those that are to collect for a
    /// while.
    pub(super) fn flush_audiences<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        let mut touched = std::mem::take(&mut self.touched);
        touched.retain(|key| {
            let Some(audience) = self.audiences.get_mut(*key) else { return false };
            if turn.now.mono_ms < audience.cadence.rests_until_ms() {
                return true;
            }
            if audience.seats.len() >= LONG_FLUSH_MEMBERS {
                self.flush_conns(turn);
            }
            self.flush_audience(turn, *key)
        });
        // Whoever was touched while flushing waits for the next turn.
        touched.append(&mut self.touched);
        self.touched = touched;
    }

    /// Sends each member what it has not had, or as many of them as a turn may. True if it is to go
    /// on.
    fn flush_audience<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: Key<Audience>) -> bool {
        let began_us = turn.io.elapsed_us();
        let Some(audience) = self.audiences.get_mut(key) else { return false };
        let mut writes_left = self.settings.writes_per_flush;
        let mut seat = audience.next_seat;
        if seat == 0 {
            audience.cadence.begin(began_us);
        }
        while seat < audience.seats.len() && writes_left > 0 {
            let conn = audience.seats[seat].conn;
            let flags = self.flags[conn as usize];
            let log = if flags & SPEAKS_V1 == 0 { &audience.log } else { &audience.log_v1 };
            let pending = log.after(audience.seats[seat].cursor);
            let this = seat;
            seat += 1;
            if pending.is_empty() {
                continue;
            }
            if flags & (BLOCKED | HAS_OUT) == 0 {
                writes_left -= 1;
                let written = turn.io.write(conn, pending);
                if written == pending.len() {
                    audience.seats[this].cursor = log.end();
                    continue;
                }
                let (whole, rest) = cut(pending, written);
                audience.seats[this].cursor = audience.seats[this].cursor.plus(whole);
                self.flags[conn as usize] |= BLOCKED;
                if !rest.is_empty() {
                    super::output::out_of(
                        &mut self.conns,
                        &mut self.buffers,
                        &mut self.flags,
                        conn,
                    )
                    .extend_from_slice(rest);
                }
            } else if flags & BLOCKED == 0 {
                // Its own output goes first, and the room's along with it in the same write.
                super::output::out_of(&mut self.conns, &mut self.buffers, &mut self.flags, conn)
                    .extend_from_slice(pending);
                audience.seats[this].cursor = log.end();
                continue;
            }
            if flags & SESSION != 0 {
                self.stirred.push(conn);
            }
            if log.after(audience.seats[this].cursor).len() > self.settings.limits.room_lag_bytes {
                self.laggards.push(this);
            }
        }
        audience.next_seat = seat;
        // From the back, since letting one go moves the last into its seat.
        while let Some(seat) = self.laggards.pop() {
            self.lose(key, seat);
        }
        self.end_slice(turn.now.mono_ms, key, began_us..turn.io.elapsed_us())
    }

    /// After a slice of a flush, from when to when in microseconds: the next one is due at once, or
    /// the flush is over and the room may rest. True if it is to be flushed again.
    fn end_slice(&mut self, now_ms: u64, key: Key<Audience>, slice_us: Range<u64>) -> bool {
        let Some(audience) = self.audiences.get_mut(key) else { return false };
        audience.cadence.spend(slice_us.end.saturating_sub(slice_us.start));
        if audience.next_seat >= audience.seats.len() {
            audience.next_seat = 0;
            audience.touched = audience.release(&mut self.log_memory, &self.flags);
            audience.cadence.end(now_ms, slice_us.end);
        }
        let (touched, rests_until_ms) = (audience.touched, audience.cadence.rests_until_ms());
        if touched || rests_until_ms > now_ms {
            self.timers.push(rests_until_ms.max(now_ms), super::Timer::Pace(key));
        }
        self.drop_if_deserted(key);
        touched
    }

    /// Gives back what a log has beyond what somebody lags by.
    pub(super) fn shrink_log(&mut self, key: Key<Audience>) {
        if let Some(audience) = self.audiences.get_mut(key) {
            audience.log.shrink(&mut self.log_memory);
            audience.log_v1.shrink(&mut self.log_memory);
        }
    }

    /// Sends a member whose socket takes bytes again what it missed. False if it is blocked again.
    pub(super) fn resume_seat<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        key: Key<Audience>,
        seat: u32,
    ) -> bool {
        let Some(audience) = self.audiences.get_mut(key) else { return true };
        let seat = seat as usize;
        let conn = audience.seats[seat].conn;
        let flags = self.flags[conn as usize];
        let pending = audience.pending(seat, flags);
        if pending.is_empty() {
            return true;
        }
        let written = turn.io.write(conn, pending);
        let (whole, rest) = cut(pending, written);
        let blocked = written < pending.len();
        if !rest.is_empty() {
            super::output::out_of(&mut self.conns, &mut self.buffers, &mut self.flags, conn)
                .extend_from_slice(rest);
        }
        audience.seats[seat].cursor = audience.seats[seat].cursor.plus(whole);
        if blocked {
            self.flags[conn as usize] |= BLOCKED;
        }
        // The log may hold nothing but what this one had missed, which may have been all up to a
        // frame that was cut.
        self.touch_audience(key);
        !blocked
    }

    /// Ends the channel of a member who is too far behind: loudly, so that it comes back with its
    /// cursor.
    pub(super) fn lose(&mut self, key: Key<Audience>, seat: usize) {
        let Some(audience) = self.audiences.get(key) else { return };
        let Some(conn) = self.conns.key_at(audience.seats[seat].conn) else { return };
        let passage =
            self.conns.get(conn).and_then(|conn| conn.channel(key)).map(|channel| channel.passage);
        if passage == Some(Passage::Leaving) {
            // What it has not had it has asked not to have.
            return self.give_up_seat(conn, key);
        }
        self.metrics.lagged += 1;
        self.crash_channel(conn, key, "lagging");
    }

    /// Says how the seats and the channels fit. For [`Shard::check_invariants`].
    pub(super) fn check_audience(&self, key: Key<Audience>, audience: &Audience) {
        assert_eq!(
            self.audience_by_topic.get(&*audience.topic),
            Some(&key),
            "an audience is found by its topic"
        );
        let mut seats_v1 = 0;
        for (seat, Seat { conn, cursor }) in audience.seats.iter().enumerate() {
            let member = self.conns.get_at(*conn).expect("a seat is taken by a live connection");
            let channel = member.channel(key).expect("who lists this audience");
            assert_eq!(channel.seat as usize, seat, "and knows its seat");
            let flags = self.flags[*conn as usize];
            seats_v1 += u32::from(flags & SPEAKS_V1 != 0);
            let log = audience.log(flags);
            assert_ne!(cursor.order(log.end()), Ordering::Greater, "nobody is ahead of the log");
            let _ = log.after(*cursor);
        }
        let lags = |seat: usize| {
            !audience.pending(seat, self.flags[audience.seats[seat].conn as usize]).is_empty()
        };
        assert!(
            audience.touched || audience.log_bytes() == 0 || (0..audience.seats.len()).any(lags),
            "a log that nobody lags in is empty"
        );
        assert_eq!(seats_v1, audience.seats_v1);
        assert!(!audience.is_deserted(), "an audience has somebody in it");
        assert!(&*audience.topic == LOBBY || audience.home.is_some() || audience.seats.is_empty());
    }
}

/// From how many members on answers to connections go before what is said to a room: in a small one
/// a write is saved where both go to one member, but a long flush would hold all answers up.
const LONG_FLUSH_MEMBERS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ws::frame::{Opcode, push_frame};

    #[test]
    fn a_cut_write_leaves_the_rest_of_one_frame() {
        let mut frames = Vec::new();
        for payload in ["a", "bcd", ""] {
            push_frame(&mut frames, Opcode::Text, payload.as_bytes());
        }
        let ends = [0, 3, 8, 10];
        for written in 0..=frames.len() {
            let (whole, rest) = cut(&frames, written);
            assert!(ends.contains(&whole) && whole >= written);
            assert_eq!(rest, &frames[written..whole]);
            assert!(ends.iter().all(|end| *end < written || *end >= whole), "the nearest boundary");
        }
    }
}

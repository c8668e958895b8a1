//! The members of one room that are on this shard: their seats, and what each has been sent.
//!
//! A member here is a [`Seat`]: eight bytes, its connection and how far in the log it is.
//!
//! Deliberately absent: who may be here, and in which order things are said. That is the room's.

use std::cmp::Ordering;

use super::cadence::Cadence;
use super::log::{Log, LogMemory, Position};
use crate::base::slack::Slack;
use crate::conn::Conns;
use crate::link::ids::{ConnKey, RoomKey};
use crate::wire::phx::{Payload, Serializer};

/// A member's place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seat {
    /// The index of a live connection that lists this audience among its channels.
    pub(crate) conn: u32,
    /// What it has been sent.
    pub(crate) cursor: Position,
}

/// The members of one room on this shard.
#[derive(Debug)]
pub(crate) struct Audience {
    pub(crate) topic: Box<str>,
    pub(crate) home_shard: u16,
    /// Known from the first join on. The lobby has none: each shard holds the directory itself.
    pub(crate) home: Option<RoomKey>,
    pub(crate) seats: Vec<Seat>,
    /// How many members of the lobby may not see every room: they have no seat, and are told of
    /// those that they may see.
    pub(super) apart: u32,
    /// Joins that the home has not answered yet. They keep the audience.
    pub(crate) joining: u32,
    /// Members who have not been sent `presence_state` yet, in the order in which they joined.
    pub(crate) newcomers: Vec<ConnKey>,
    /// Members that are leaving and have no seat any more. They keep it too.
    pub(crate) unheard: u32,
    pub(super) log: Log,
    /// The same in the old encoding, for as long as there are members who speak it.
    pub(super) log_v1: Log,
    pub(super) seats_v1: u32,
    /// Whether it is among those to be flushed.
    pub(super) touched: bool,
    /// The seat where the flush goes on: one of a room that is too large for one turn goes on in
    /// the next. What is said meanwhile goes along to those it has not come to yet, so each flush
    /// takes a member all that there is, and a burst is one write for nearly everybody. Whoever
    /// takes a seat before that meanwhile is found behind the last slice.
    pub(super) next_seat: usize,
    pub(crate) cadence: Cadence,
}

impl Audience {
    pub(crate) fn new(topic: &str, home_shard: u16) -> Self {
        Self {
            topic: topic.into(),
            home_shard,
            home: None,
            seats: Vec::new(),
            apart: 0,
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

    pub(super) fn log(&self, speaks_v1: bool) -> &Log {
        if speaks_v1 { &self.log_v1 } else { &self.log }
    }

    /// What a member has not been sent yet.
    pub(crate) fn pending(&self, seat: usize, speaks_v1: bool) -> &[u8] {
        self.log(speaks_v1).after(self.seats[seat].cursor)
    }

    /// Notes that a member has been sent everything.
    pub(crate) fn catch_up(&mut self, seat: usize, speaks_v1: bool) {
        self.seats[seat].cursor = self.log(speaks_v1).end();
    }

    /// Takes a member in: it hears what is said from now on. Gives its seat.
    pub(crate) fn sit(&mut self, conn: u32, speaks_v1: bool) -> u32 {
        let seat = u32::try_from(self.seats.len()).expect("fewer members than descriptors");
        if self.seats.len() == self.seats.capacity() {
            // Seats are many, and an eighth in reserve is enough.
            self.seats.reserve_exact((self.seats.len() / 8).max(4));
        }
        self.seats.push(Seat { conn, cursor: self.log(speaks_v1).end() });
        self.seats_v1 += u32::from(speaks_v1);
        seat
    }

    /// Lets the member in a seat go. The last one takes that seat; if somebody does, its connection
    /// is returned.
    pub(crate) fn stand(&mut self, seat: u32, speaks_v1: bool) -> Option<u32> {
        self.seats.swap_remove(seat as usize);
        self.seats.trim(SEATS_KEPT);
        self.seats_v1 -= u32::from(speaks_v1);
        self.seats.get(seat as usize).map(|moved| moved.conn)
    }

    pub(super) fn is_deserted(&self) -> bool {
        self.seats.is_empty() && self.apart == 0 && self.joining == 0 && self.unheard == 0
    }

    /// Whether a flush is under way that the next turn goes on with.
    pub(crate) fn is_half_flushed(&self) -> bool {
        self.next_seat > 0
    }

    /// Bytes of memory that its logs hold.
    pub(crate) fn log_bytes(&self) -> usize {
        self.log.capacity_bytes() + self.log_v1.capacity_bytes()
    }

    /// Appends a broadcast to the logs.
    pub(super) fn append(&mut self, memory: &mut LogMemory, event: &str, payload: Payload<'_>) {
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
    pub(super) fn release(&mut self, memory: &mut LogMemory, conns: &Conns) -> bool {
        let (mut oldest, mut oldest_v1) = (self.log.end(), self.log_v1.end());
        let mut is_missed = false;
        for Seat { conn, cursor } in &self.seats {
            let flags = conns.flags(*conn);
            let (end, oldest) = if flags.speaks_v1() {
                (self.log_v1.end(), &mut oldest_v1)
            } else {
                (self.log.end(), &mut oldest)
            };
            if cursor.order(*oldest) == Ordering::Less {
                *oldest = *cursor;
            }
            is_missed |= *cursor != end && !flags.is_blocked();
        }
        self.log.release_before(memory, oldest);
        self.log_v1.release_before(memory, oldest_v1);
        is_missed
    }
}

/// For how many members who have gone an audience keeps the memory.
const SEATS_KEPT: usize = 8;

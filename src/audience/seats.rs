//! The members of one room that are on this shard: their seats, and what each has been sent.
//!
//! A member here is a [`Seat`] of eight bytes: its connection, and its cursor in the log.
//!
//! ```text
//!   seats   0 .. ending                    ending .. len
//!           their channels end, in parts   hear what is said
//! ```
//!
//! When the channels of all who are seated end, or of many of them, that takes several turns. Until
//! its own has ended such a member hears nothing more, and its cursor means nothing. Whoever stays,
//! or joins meanwhile, sits behind it.
//!
//! Deliberately absent: rights to be here, and the order of what is said. Both belong to the room.

use std::cmp::Ordering;
use std::sync::Arc;

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
    /// Up to where it has been sent the log.
    pub(crate) cursor: Position,
}

/// The members of one room on this shard.
#[derive(Debug)]
pub(crate) struct Audience {
    pub(crate) topic: Box<str>,
    pub(crate) home_shard: u16,
    /// The room's key at its home, known from the first answer to a join on. The lobby has none:
    /// each shard holds the directory itself.
    pub(crate) home: Option<RoomKey>,
    pub(crate) seats: Vec<Seat>,
    /// How many members of the lobby may not see every room. They have no seat, and are told only
    /// of rooms that they may see.
    pub(super) apart: u32,
    /// Joins that the home has not answered yet. The audience stays for them.
    pub(crate) joining: u32,
    /// Members who have not been sent `presence_state` yet, in the order in which they joined.
    pub(crate) newcomers: Vec<ConnKey>,
    /// Members that are leaving and have no seat any more. The audience stays for them too.
    pub(crate) unheard: u32,
    pub(super) log: Log,
    /// The same in the old encoding, for as long as there are members who speak it.
    pub(super) log_v1: Log,
    pub(super) seats_v1: u32,
    /// Whether it is in the list of audiences to be flushed.
    pub(super) touched: bool,
    /// The seat where the next slice begins. What is said between two slices goes along to the
    /// seats that the flush has not reached, so that a burst is one write for nearly every member.
    /// A member that has moved to an earlier seat meanwhile is found by [`Audience::release`].
    pub(super) next_seat: usize,
    pub(crate) cadence: Cadence,
    /// How many of the first seats are of members whose channels end.
    ending: u32,
    /// Why all do who were seated; none, where each has a reason of its own (`member::endings`).
    /// Elsewhere, since they do in nearly no audience.
    why: Option<Arc<WhyEnding>>,
}

/// Why the channels of all members who were seated end.
#[derive(Debug)]
pub(crate) struct WhyEnding {
    /// What their clients are told.
    pub(crate) reason: Box<str>,
    /// Whether their home has begun anew. It knows none of them then, and is told of none.
    pub(crate) has_lost_home: bool,
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
            ending: 0,
            why: None,
        }
    }

    /// The channels of all who are seated now are to end: see the module.
    pub(super) fn begin_ending(&mut self, why: Arc<WhyEnding>) {
        self.ending = u32::try_from(self.seats.len()).expect("fewer members than descriptors");
        self.why = (self.ending > 0).then_some(why);
        // Whoever waits for the list is one of them.
        self.newcomers.clear();
        self.next_seat = 0;
    }

    /// The channel of the member in a seat is to end. It changes seats with the first of those who
    /// stay: returns both seats.
    pub(super) fn begin_ending_of(&mut self, seat: u32) -> [u32; 2] {
        assert!(seat >= self.ending, "a channel is to end once");
        let first = self.ending;
        self.seats.swap(seat as usize, first as usize);
        self.ending += 1;
        [first, seat]
    }

    /// How many of the first seats are of members whose channels end.
    pub(crate) fn ending(&self) -> usize {
        self.ending as usize
    }

    /// Whether the channel of the member in a seat is to end.
    pub(crate) fn is_ending(&self, seat: u32) -> bool {
        seat < self.ending
    }

    /// Whether channels end here since the home of the room has begun anew.
    pub(crate) fn has_lost_home(&self) -> bool {
        self.why.as_ref().is_some_and(|why| why.has_lost_home)
    }

    /// Why the channel of the member in a seat ends with all others; `None` if it does not.
    pub(crate) fn why_ending(&self, seat: u32) -> Option<&Arc<WhyEnding>> {
        self.why.as_ref().filter(|_| seat < self.ending)
    }

    /// How many hear what is said.
    pub(super) fn hearers(&self) -> usize {
        self.seats.len() - self.ending()
    }

    pub(super) fn log(&self, speaks_v1: bool) -> &Log {
        if speaks_v1 { &self.log_v1 } else { &self.log }
    }

    /// What a member has not been sent yet, and is to be.
    pub(crate) fn pending(&self, seat: usize, speaks_v1: bool) -> &[u8] {
        if seat < self.ending() {
            return &[];
        }
        self.log(speaks_v1).after(self.seats[seat].cursor)
    }

    /// Notes that a member has been sent everything.
    pub(crate) fn catch_up(&mut self, seat: usize, speaks_v1: bool) {
        self.seats[seat].cursor = self.log(speaks_v1).end();
    }

    /// Seats a member, which hears what is said from now on. Returns its seat.
    pub(crate) fn sit(&mut self, conn: u32, speaks_v1: bool) -> u32 {
        let seat = u32::try_from(self.seats.len()).expect("fewer members than descriptors");
        if self.seats.len() == self.seats.capacity() {
            // Seats are many: an eighth in reserve, not as much again.
            self.seats.reserve_exact((self.seats.len() / 8).max(4));
        }
        self.seats.push(Seat { conn, cursor: self.log(speaks_v1).end() });
        self.seats_v1 += u32::from(speaks_v1);
        seat
    }

    /// Removes a seat. The last member moves into it, or of those whose channels end the last of
    /// them, and the last member into that one's. Returns the seats that others have taken.
    pub(crate) fn stand(&mut self, seat: u32, speaks_v1: bool) -> [Option<u32>; 2] {
        let mut left = seat;
        if seat < self.ending {
            self.ending -= 1;
            left = self.ending;
            self.seats.swap(seat as usize, left as usize);
            if self.ending == 0 {
                self.why = None;
            }
        }
        self.seats.swap_remove(left as usize);
        self.seats.trim(SEATS_KEPT);
        self.seats_v1 -= u32::from(speaks_v1);
        let is_taken = (left as usize) < self.seats.len();
        [(seat != left).then_some(seat), is_taken.then_some(left)]
    }

    pub(super) fn is_deserted(&self) -> bool {
        self.seats.is_empty() && self.apart == 0 && self.joining == 0 && self.unheard == 0
    }

    /// Whether a flush is under way, and goes on in the next turn.
    pub(crate) fn is_half_flushed(&self) -> bool {
        self.next_seat > 0
    }

    /// The memory of its logs, in bytes.
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

    /// Releases what every member has had. Returns whether a member has not had everything though
    /// its socket might take it: one that moved to an earlier seat during the flush, or that
    /// something was said to meanwhile.
    pub(super) fn release(&mut self, memory: &mut LogMemory, conns: &Conns) -> bool {
        let (mut oldest, mut oldest_v1) = (self.log.end(), self.log_v1.end());
        let mut is_missed = false;
        for Seat { conn, cursor } in &self.seats[self.ending()..] {
            let flags = conns.flags(*conn);
            let (end, oldest) = if flags.speaks_v1() {
                (self.log_v1.end(), &mut oldest_v1)
            } else {
                (self.log.end(), &mut oldest)
            };
            if cursor.order(*oldest) == Ordering::Less {
                *oldest = *cursor;
            }
            is_missed |= *cursor != end && !flags.hears_nothing();
        }
        self.log.release_before(memory, oldest);
        self.log_v1.release_before(memory, oldest_v1);
        is_missed
    }
}

/// Memory for this many seats is kept when members have gone.
const SEATS_KEPT: usize = 8;

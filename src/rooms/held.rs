//! Held answers: those that wait for a log, and later ones that wait behind them.
//!
//! An answer whose message is not kept yet holds back all later answers to that member in that
//! room, so a topic answers in the order in which it was asked. Heartbeats, other topics and other
//! members do not wait.
//!
//! Invariants:
//!
//! 1. a line belongs to a membership, by room, shard, connection and slot, and ends with it. So no
//!    held answer names a free slot, and the slot's next owner never gets one;
//! 2. a ticket that has been resolved is never resolved again: tickets are given out once;
//! 3. a line is never empty, so with a log in memory there are no lines;
//! 4. a membership that waits for a ticket has a line with an answer that waits for it.
//!
//! A leave that the client asked for waits in the line. The end of a connection ends the line.
//!
//! Deliberately absent: the content of answers, and a bound on how long they wait. Every log
//! answers in the end.
//!
//! Called by: `rooms`. Calls: nothing.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};

use smallvec::SmallVec;

use crate::base::slack::Slack;
use crate::limits::PENDING_MEMORY_BYTES;
use crate::link::ids::{Asker, RoomKey};
use crate::link::log::Ticket;
use crate::rooms::Answer;
use crate::wire::phx::Payload;

/// A membership in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Seat {
    pub(super) room: RoomKey,
    pub(super) shard: u16,
    pub(super) asker: Asker,
}

/// An answer in a line.
#[derive(Debug)]
pub(super) enum HeldAnswer {
    /// The answer to a push, which is not known yet.
    Waits { ticket: Ticket, reference: Box<str> },
    /// The answer to a push.
    Reply { reference: Box<str>, status: Box<str>, is_json: bool, response: Box<[u8]> },
    /// The member leaves, and is answered.
    Leave { reference: Box<str> },
}

impl HeldAnswer {
    fn new(answer: Answer<'_>) -> Self {
        let Answer { reference, status, response } = answer;
        let (is_json, response) = match response {
            Payload::Json(text) => (true, text.as_bytes()),
            Payload::Binary(data) => (false, data),
        };
        Self::Reply {
            reference: reference.into(),
            status: status.into(),
            is_json,
            response: response.into(),
        }
    }

    /// The memory of the answer, in bytes.
    fn bytes(&self) -> usize {
        PENDING_MEMORY_BYTES
            + match self {
                Self::Waits { reference, .. } | Self::Leave { reference } => reference.len(),
                Self::Reply { reference, status, response, .. } => {
                    reference.len() + status.len() + response.len()
                }
            }
    }
}

/// All answers that are held. See the module.
#[derive(Default)]
pub(super) struct Held {
    lines: HashMap<Seat, VecDeque<HeldAnswer>, ahash::RandomState>,
    /// The memberships that wait for a ticket. Several, if a key was sent again before its answer.
    waiters: BTreeMap<Ticket, SmallVec<[Seat; 1]>>,
    /// What all lines take, in bytes.
    bytes: usize,
    #[cfg(test)]
    pub(super) planted: Planted,
}

/// Defects that the contract suite must find.
#[cfg(test)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Planted {
    #[default]
    Nothing,
    /// An answer does not wait behind those before it.
    Overtakes,
    /// A line outlives its membership, and is given to the next one in the slot.
    NextOwner,
}

impl Held {
    /// Whether answers to this member wait.
    pub(super) fn holds(&self, seat: Seat) -> bool {
        #[cfg(test)]
        if self.planted == Planted::Overtakes {
            return false;
        }
        !self.lines.is_empty() && self.lines.contains_key(&seat)
    }

    /// Holds an answer until its ticket is resolved.
    pub(super) fn wait(&mut self, seat: Seat, ticket: Ticket, reference: &str) {
        let waits = HeldAnswer::Waits { ticket, reference: reference.into() };
        self.hold(seat, waits);
        self.waiters.entry(ticket).or_default().push(seat);
    }

    /// Holds an answer until those before it have been given.
    pub(super) fn push(&mut self, seat: Seat, answer: Answer<'_>) {
        self.hold(seat, HeldAnswer::new(answer));
    }

    /// Holds a leave until the answers before it have been given.
    pub(super) fn push_leave(&mut self, seat: Seat, reference: &str) {
        let leave = HeldAnswer::Leave { reference: reference.into() };
        self.hold(seat, leave);
    }

    fn hold(&mut self, seat: Seat, held: HeldAnswer) {
        self.bytes += held.bytes();
        self.lines.entry(seat).or_default().push_back(held);
    }

    /// What all lines take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Replaces a ticket: its waiters wait for another one from now on.
    pub(super) fn rename(&mut self, from: Ticket, to: Ticket) {
        // All its waiters may have left.
        let Some(seats) = self.waiters.remove(&from) else { return };
        for seat in &seats {
            let line = self.lines.get_mut(seat);
            for held in line.into_iter().flatten() {
                if let HeldAnswer::Waits { ticket, .. } = held
                    && *ticket == from
                {
                    *ticket = to;
                }
            }
        }
        self.waiters.entry(to).or_default().extend(seats);
    }

    /// Gives a ticket its answer: status and response. Returns the memberships whose lines may
    /// move.
    pub(super) fn resolve(
        &mut self,
        resolved: Ticket,
        status: &str,
        response: Payload<'_>,
    ) -> SmallVec<[Seat; 1]> {
        let seats = self.waiters.remove(&resolved).unwrap_or_default();
        for seat in &seats {
            // Without a line the member has left.
            for held in self.lines.get_mut(seat).into_iter().flatten() {
                if let HeldAnswer::Waits { ticket, reference } = held
                    && *ticket == resolved
                {
                    let answer = HeldAnswer::new(Answer { reference, status, response });
                    self.bytes = self.bytes - held.bytes() + answer.bytes();
                    *held = answer;
                }
            }
        }
        seats
    }

    /// Takes the next answer to this member, if it is known.
    pub(super) fn pop(&mut self, seat: Seat) -> Option<HeldAnswer> {
        let line = self.lines.get_mut(&seat)?;
        let next = line.pop_front_if(|next| !matches!(next, HeldAnswer::Waits { .. }));
        self.bytes -= next.as_ref().map_or(0, HeldAnswer::bytes);
        if line.is_empty() {
            self.lines.remove(&seat);
        }
        next
    }

    /// Ends the line of a membership that has ended.
    pub(super) fn end(&mut self, seat: Seat) {
        #[cfg(test)]
        if self.planted == Planted::NextOwner {
            return;
        }
        if self.lines.is_empty() {
            return;
        }
        for held in self.lines.remove(&seat).into_iter().flatten() {
            self.bytes -= held.bytes();
            let HeldAnswer::Waits { ticket, .. } = held else { continue };
            if let Entry::Occupied(mut waiters) = self.waiters.entry(ticket) {
                waiters.get_mut().retain(|waiter| *waiter != seat);
                if waiters.get().is_empty() {
                    waiters.remove();
                }
            }
        }
    }

    /// Gives back memory that many lines at once needed.
    pub(super) fn trim(&mut self, kept: usize) {
        self.lines.trim(kept);
    }

    /// Ends all lines that `is_kept` does not name.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&Seat) -> bool) {
        let ended: Vec<_> = self.lines.keys().filter(|seat| !is_kept(seat)).copied().collect();
        for seat in ended {
            self.end(seat);
        }
    }

    /// Asserts the invariants of this module alone. For [`crate::rooms::Rooms::check`].
    pub(super) fn check(&self) {
        #[cfg(test)]
        if self.planted != Planted::Nothing {
            return;
        }
        let bytes: usize = self.lines.values().flatten().map(HeldAnswer::bytes).sum();
        assert_eq!(bytes, self.bytes, "lines are counted for what they take");
        assert!(self.lines.values().all(|line| !line.is_empty()), "a line is never empty");
        for (awaited, seats) in &self.waiters {
            let is_it = |held: &HeldAnswer| match held {
                HeldAnswer::Waits { ticket, .. } => ticket == awaited,
                _ => false,
            };
            let has_it =
                |seat: &Seat| self.lines.get(seat).is_some_and(|line| line.iter().any(is_it));
            assert!(!seats.is_empty() && seats.iter().all(has_it), "who waits has a line");
        }
    }

    /// The memberships with a line, in no order. For [`crate::rooms::Rooms::check`].
    pub(super) fn seats(&self) -> impl Iterator<Item = &Seat> {
        let seats = self.lines.keys();
        #[cfg(test)]
        // The suite's model must find this defect, not this check.
        let seats = seats.filter(|_| self.planted != Planted::NextOwner);
        seats
    }

    /// The planted defect: a former owner's line in this slot becomes this member's.
    #[cfg(test)]
    pub(super) fn hand_over(&mut self, seat: Seat) {
        if self.planted != Planted::NextOwner {
            return;
        }
        let is_of_slot = |other: &&Seat| {
            other.room == seat.room && other.asker.slot == seat.asker.slot && **other != seat
        };
        let Some(before) = self.lines.keys().find(is_of_slot).copied() else { return };
        let line = self.lines.remove(&before).unwrap_or_default();
        self.lines.insert(seat, line);
        for seats in self.waiters.values_mut() {
            for other in seats.iter_mut().filter(|other| **other == before) {
                *other = seat;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::arena::Key;
    use crate::link::ids::Slot;

    fn seat(slot: u32) -> Seat {
        let asker = Asker { conn: Key::from_u64(1 << 32), slot: Slot(slot) };
        Seat { room: Key::from_u64(1 << 32 | 5), shard: 1, asker }
    }

    #[test]
    fn a_line_that_ends_leaves_nobody_who_waits_and_takes_no_memory() {
        let mut held = Held::default();
        for slot in [1, 2] {
            held.wait(seat(slot), 7, "1");
            held.push(seat(slot), Answer::ok("2", "{}"));
        }
        held.wait(seat(1), 8, "3");
        held.check();
        held.end(seat(1));
        held.check();
        assert_eq!(held.waiters.len(), 1, "nobody waits for the other ticket");
        held.rename(8, 9);
        assert_eq!(held.waiters.len(), 1, "nor under another name");
        held.retain(|_| false);
        held.check();
        assert!(held.waiters.is_empty() && held.bytes() == 0, "{:?}", held.waiters);
    }

    #[test]
    fn answers_are_counted_for_what_they_take_until_they_are_given() {
        let mut held = Held::default();
        held.wait(seat(1), 7, "1");
        held.push_leave(seat(1), "2");
        let before = held.bytes();
        assert_eq!(held.resolve(7, "ok", Payload::Json("{\"offset\":1}")).as_slice(), [seat(1)]);
        assert!(held.bytes() > before);
        held.check();
        assert!(matches!(held.pop(seat(1)), Some(HeldAnswer::Reply { .. })));
        assert!(matches!(held.pop(seat(1)), Some(HeldAnswer::Leave { .. })));
        assert!(held.bytes() == 0 && held.pop(seat(1)).is_none());
    }
}

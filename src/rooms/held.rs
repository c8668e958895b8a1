//! Held answers: those that wait for a log, and later ones that wait behind them.
//!
//! An answer whose message is not kept yet holds back all later answers to that member in that
//! room. So a topic answers in the order in which it was asked. Heartbeats, other topics and other
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
use crate::link::ids::{Asker, ConnKey, RoomKey, Slot};
use crate::link::log::Ticket;
use crate::rooms::Answer;
use crate::wire::phx::Payload;

/// A membership in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Membership {
    pub(super) room: RoomKey,
    pub(super) shard: u16,
    pub(super) asker: Asker,
}

impl Membership {
    /// Of nobody: whom the server itself acts for. Nobody is ever in its slot.
    pub(super) fn of_nobody(room: RoomKey) -> Self {
        let asker = Asker { conn: ConnKey::from_u64(1 << 32), slot: Slot(u32::MAX) };
        Self { room, shard: 0, asker }
    }
}

/// An answer in a line.
#[derive(Debug)]
pub(super) enum HeldAnswer {
    /// The answer to a push, which is not known yet.
    Waits { ticket: Ticket, reference: Box<str> },
    /// The answer to a push.
    Reply { reference: Box<str>, status: Box<str>, is_json: bool, response: Box<[u8]> },
    /// A push that asks what the room is: it is handled when those before it are answered, since
    /// members may hear of something newer until then.
    Asks { reference: Box<str>, record: Box<[u8]> },
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
                Self::Asks { reference, record } => reference.len() + record.len(),
                Self::Reply { reference, status, response, .. } => {
                    reference.len() + status.len() + response.len()
                }
            }
    }
}

/// All answers that are held. See the module.
#[derive(Default)]
pub(super) struct Held {
    lines: HashMap<Membership, VecDeque<HeldAnswer>, ahash::RandomState>,
    /// The memberships that wait for a ticket. Several, if a key was sent again before its answer.
    waiters: BTreeMap<Ticket, SmallVec<[Membership; 1]>>,
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
    pub(super) fn holds(&self, membership: Membership) -> bool {
        #[cfg(test)]
        if self.planted == Planted::Overtakes {
            return false;
        }
        !self.lines.is_empty() && self.lines.contains_key(&membership)
    }

    /// Holds an answer until its ticket is resolved.
    pub(super) fn wait(&mut self, membership: Membership, ticket: Ticket, reference: &str) {
        let waits = HeldAnswer::Waits { ticket, reference: reference.into() };
        self.hold(membership, waits);
        self.waiters.entry(ticket).or_default().push(membership);
    }

    /// Holds an answer until those before it have been given.
    pub(super) fn push(&mut self, membership: Membership, answer: Answer<'_>) {
        self.hold(membership, HeldAnswer::new(answer));
    }

    /// Holds a push until the answers before its own have been given.
    pub(super) fn push_asks(&mut self, membership: Membership, reference: &str, record: Box<[u8]>) {
        self.hold(membership, HeldAnswer::Asks { reference: reference.into(), record });
    }

    /// Holds an answer, before all others, until its ticket is resolved.
    pub(super) fn wait_first(&mut self, membership: Membership, ticket: Ticket, reference: &str) {
        let waits = HeldAnswer::Waits { ticket, reference: reference.into() };
        self.bytes += waits.bytes();
        self.lines.entry(membership).or_default().push_front(waits);
        self.waiters.entry(ticket).or_default().push(membership);
    }

    /// Holds a leave until the answers before it have been given.
    pub(super) fn push_leave(&mut self, membership: Membership, reference: &str) {
        let leave = HeldAnswer::Leave { reference: reference.into() };
        self.hold(membership, leave);
    }

    fn hold(&mut self, membership: Membership, held: HeldAnswer) {
        self.bytes += held.bytes();
        self.lines.entry(membership).or_default().push_back(held);
    }

    /// What all lines take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether somebody still waits for a ticket.
    pub(super) fn is_awaited(&self, ticket: Ticket) -> bool {
        self.waiters.contains_key(&ticket)
    }

    /// Replaces a ticket: its waiters wait for another one from now on.
    pub(super) fn rename(&mut self, from: Ticket, to: Ticket) {
        // All its waiters may have left.
        let Some(memberships) = self.waiters.remove(&from) else { return };
        for membership in &memberships {
            let line = self.lines.get_mut(membership);
            for held in line.into_iter().flatten() {
                if let HeldAnswer::Waits { ticket, .. } = held
                    && *ticket == from
                {
                    *ticket = to;
                }
            }
        }
        self.waiters.entry(to).or_default().extend(memberships);
    }

    /// Gives a ticket its answer: status and response. Returns the memberships whose lines may
    /// move.
    pub(super) fn resolve(
        &mut self,
        resolved: Ticket,
        status: &str,
        response: Payload<'_>,
    ) -> SmallVec<[Membership; 1]> {
        let memberships = self.waiters.remove(&resolved).unwrap_or_default();
        for membership in &memberships {
            // Without a line the member has left.
            for held in self.lines.get_mut(membership).into_iter().flatten() {
                if let HeldAnswer::Waits { ticket, reference } = held
                    && *ticket == resolved
                {
                    let answer = HeldAnswer::new(Answer { reference, status, response });
                    self.bytes = self.bytes - held.bytes() + answer.bytes();
                    *held = answer;
                }
            }
        }
        memberships
    }

    /// Takes the next answer to this member, if it is known.
    pub(super) fn pop(&mut self, membership: Membership) -> Option<HeldAnswer> {
        let line = self.lines.get_mut(&membership)?;
        let next = line.pop_front_if(|next| !matches!(next, HeldAnswer::Waits { .. }));
        self.bytes -= next.as_ref().map_or(0, HeldAnswer::bytes);
        if line.is_empty() {
            self.lines.remove(&membership);
        }
        next
    }

    /// Ends the line of a membership that has ended.
    pub(super) fn end(&mut self, membership: Membership) {
        #[cfg(test)]
        if self.planted == Planted::NextOwner {
            return;
        }
        if self.lines.is_empty() {
            return;
        }
        for held in self.lines.remove(&membership).into_iter().flatten() {
            self.bytes -= held.bytes();
            let HeldAnswer::Waits { ticket, .. } = held else { continue };
            if let Entry::Occupied(mut waiters) = self.waiters.entry(ticket) {
                waiters.get_mut().retain(|waiter| *waiter != membership);
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
    pub(super) fn retain(&mut self, is_kept: impl Fn(&Membership) -> bool) {
        let ended: Vec<_> =
            self.lines.keys().filter(|membership| !is_kept(membership)).copied().collect();
        for membership in ended {
            self.end(membership);
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
        for (awaited, memberships) in &self.waiters {
            let is_it = |held: &HeldAnswer| match held {
                HeldAnswer::Waits { ticket, .. } => ticket == awaited,
                _ => false,
            };
            let has_it = |membership: &Membership| {
                self.lines.get(membership).is_some_and(|line| line.iter().any(is_it))
            };
            assert!(
                !memberships.is_empty() && memberships.iter().all(has_it),
                "who waits has a line"
            );
        }
    }

    /// The memberships with a line, in no order. For [`crate::rooms::Rooms::check`].
    pub(super) fn memberships(&self) -> impl Iterator<Item = &Membership> {
        let memberships = self.lines.keys();
        #[cfg(test)]
        // The suite's model must find this defect, not this check.
        let memberships = memberships.filter(|_| self.planted != Planted::NextOwner);
        memberships
    }

    /// The planted defect: a former owner's line in this slot becomes this member's.
    #[cfg(test)]
    pub(super) fn hand_over(&mut self, membership: Membership) {
        if self.planted != Planted::NextOwner {
            return;
        }
        let is_of_slot = |other: &&Membership| {
            other.room == membership.room
                && other.asker.slot == membership.asker.slot
                && **other != membership
        };
        let Some(before) = self.lines.keys().find(is_of_slot).copied() else { return };
        let line = self.lines.remove(&before).unwrap_or_default();
        self.lines.insert(membership, line);
        for memberships in self.waiters.values_mut() {
            for other in memberships.iter_mut().filter(|other| **other == before) {
                *other = membership;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::arena::Key;
    use crate::link::ids::Slot;

    fn membership(slot: u32) -> Membership {
        let asker = Asker { conn: Key::from_u64(1 << 32), slot: Slot(slot) };
        Membership { room: Key::from_u64(1 << 32 | 5), shard: 1, asker }
    }

    #[test]
    fn a_line_that_ends_leaves_nobody_who_waits_and_takes_no_memory() {
        let mut held = Held::default();
        for slot in [1, 2] {
            held.wait(membership(slot), 7, "1");
            held.push(membership(slot), Answer::ok("2", "{}"));
        }
        held.wait(membership(1), 8, "3");
        held.check();
        held.end(membership(1));
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
        held.wait(membership(1), 7, "1");
        held.push_leave(membership(1), "2");
        let before = held.bytes();
        assert_eq!(
            held.resolve(7, "ok", Payload::Json("{\"offset\":1}")).as_slice(),
            [membership(1)]
        );
        assert!(held.bytes() > before);
        held.check();
        assert!(matches!(held.pop(membership(1)), Some(HeldAnswer::Reply { .. })));
        assert!(matches!(held.pop(membership(1)), Some(HeldAnswer::Leave { .. })));
        assert!(held.bytes() == 0 && held.pop(membership(1)).is_none());
    }
}

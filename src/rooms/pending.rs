//! Entries that a log has and has not answered for good, and what is said in a room behind them.
//!
//! ```text
//!   publish ── append ──> Ordered: applied and told; its answer waits for `Kept`
//!                     └─> Later:   applied and told when it comes back, and then answered
//!   custom, typing        behind a Later of their room, in order
//! ```
//!
//! What members say comes back to them in the order in which they said it. So while an entry of a
//! room is under way that was judged by another revision than the room has now, and so may have to
//! be proposed again, further messages of the room wait.
//!
//! Invariants: a room has a queue only while something of it is under way without an order; what
//! waits in it is bounded.
//!
//! Deliberately absent: deadlines. A log answers every append in the end, if only `unconfirmed`.
//!
//! Called by: `rooms`. Calls: nothing.

use std::collections::{BTreeMap, HashMap, VecDeque};

use smallvec::SmallVec;

use crate::base::slack::Slack;
use crate::limits::WAITING_PUSHES_PER_ROOM_MAX;
use crate::link::ids::{Receipt, RoomKey};
use crate::link::log::{Judged, SaidText, Ticket};
use crate::room::history::KeyHash;
use crate::rooms::held::Seat;

/// An entry that has not been answered for good.
#[derive(Debug)]
pub(super) struct UnderWay {
    /// Who proposed it.
    pub(super) seat: Seat,
    pub(super) said: SaidText,
    pub(super) key_hash: Option<KeyHash>,
    /// What it was judged by.
    pub(super) judged: Judged,
    /// Whether that was a conflict, and it is to be proposed again.
    pub(super) is_parked: bool,
    /// Its ticket when it was proposed first: its place among what its members said.
    pub(super) first_ticket: Ticket,
    /// How often it was proposed.
    pub(super) proposals: u32,
    /// Its place, once members were told.
    pub(super) applied_at: Option<u64>,
    /// What its publisher is told, once it is kept.
    pub(super) receipt: Option<Receipt>,
    /// Whether it is kept.
    pub(super) is_confirmed: bool,
    /// Whether its publisher was told that it may be kept.
    pub(super) is_doubtful: bool,
}

/// A push that waits: who made it, and its record.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) seat: Seat,
    /// What its answer waits for, if it has one.
    pub(super) ticket: Option<Ticket>,
    pub(super) record: Box<[u8]>,
    is_message: bool,
    /// The last ticket before it.
    behind: Ticket,
}

/// What is under way. See the module.
#[derive(Default)]
pub(super) struct Pending {
    under_way: BTreeMap<(RoomKey, Ticket), UnderWay>,
    queues: HashMap<RoomKey, VecDeque<Waiting>, ahash::RandomState>,
    tickets: Ticket,
}

impl Pending {
    /// A ticket that none has.
    pub(super) fn next_ticket(&mut self) -> Ticket {
        self.tickets += 1;
        self.tickets
    }

    /// Gives back the memory of many that waited at once.
    pub(super) fn trim(&mut self, kept: usize) {
        self.queues.trim(kept);
    }

    /// Whether nothing is under way: so it is with a log in memory.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty() && self.queues.is_empty()
    }

    /// Whether something of a room is under way.
    pub(super) fn has(&self, room: RoomKey) -> bool {
        !self.is_idle() && self.of_room(room).next().is_some()
    }

    pub(super) fn insert(&mut self, ticket: Ticket, entry: UnderWay) {
        self.under_way.insert((entry.seat.room, ticket), entry);
    }

    pub(super) fn get_mut(&mut self, room: RoomKey, ticket: Ticket) -> Option<&mut UnderWay> {
        self.under_way.get_mut(&(room, ticket))
    }

    pub(super) fn remove(&mut self, room: RoomKey, ticket: Ticket) -> Option<UnderWay> {
        self.under_way.remove(&(room, ticket))
    }

    fn of_room(&self, room: RoomKey) -> impl Iterator<Item = (Ticket, &UnderWay)> {
        let all = self.under_way.range((room, Ticket::MIN)..=(room, Ticket::MAX));
        all.map(|((_, ticket), entry)| (*ticket, entry))
    }

    /// The entry of a room that has this key, and whether it is in doubt.
    pub(super) fn of_key(&self, room: RoomKey, key: Option<KeyHash>) -> Option<(Ticket, bool)> {
        if key.is_none() || self.is_idle() {
            return None;
        }
        let (ticket, entry) = self.of_room(room).find(|(_, entry)| entry.key_hash == key)?;
        Some((ticket, entry.is_doubtful))
    }

    /// The entries of a room that are kept and wait to be applied.
    pub(super) fn confirmed(&self, room: RoomKey) -> SmallVec<[Ticket; 2]> {
        let confirmed = self.of_room(room).filter(|(_, entry)| entry.is_confirmed);
        confirmed.map(|(ticket, _)| ticket).collect()
    }

    /// Whether an entry of a room has no place yet, of those of which this is so.
    fn is_unordered(&self, room: RoomKey, is_meant: impl Fn(&UnderWay) -> bool) -> bool {
        self.of_room(room).any(|(_, entry)| entry.applied_at.is_none() && is_meant(entry))
    }

    /// Whether an event that is not kept must wait in a room.
    pub(super) fn must_event_wait(&self, room: RoomKey) -> bool {
        !self.is_idle() && (self.queues.contains_key(&room) || self.is_unordered(room, |_| true))
    }

    /// Whether a message must wait in a room where this is what it would be judged by.
    pub(super) fn must_message_wait(&self, room: RoomKey, judged: Judged) -> bool {
        if self.is_idle() {
            return false;
        }
        let queue = self.queues.get(&room);
        queue.into_iter().flatten().any(|waiting| waiting.is_message)
            || self.is_unordered(room, |entry| entry.judged != judged)
    }

    /// Whether as much waits in a room as may.
    pub(super) fn is_full(&self, room: RoomKey) -> bool {
        self.queues.get(&room).is_some_and(|queue| queue.len() >= WAITING_PUSHES_PER_ROOM_MAX)
    }

    /// Has a push wait in its room.
    pub(super) fn queue(
        &mut self,
        seat: Seat,
        ticket: Option<Ticket>,
        record: Box<[u8]>,
        is_message: bool,
    ) {
        let behind = self.tickets;
        let waiting = Waiting { seat, ticket, record, is_message, behind };
        self.queues.entry(seat.room).or_default().push_back(waiting);
    }

    /// The next entry of a room to be proposed again, where this is what it would be judged by: in
    /// the order in which they were proposed first, and none while one before it may still
    /// conflict.
    pub(super) fn next_again(&self, room: RoomKey, judged: Judged) -> Option<Ticket> {
        if self.is_idle() {
            return None;
        }
        let may_conflict = |entry: &UnderWay| entry.applied_at.is_none() && entry.judged != judged;
        let old = self.of_room(room).filter(|(_, entry)| entry.is_parked || may_conflict(entry));
        let (ticket, first) = old.min_by_key(|(_, entry)| entry.first_ticket)?;
        // Where nothing has changed yet that is known here, the change is still to be heard of.
        (first.is_parked && first.judged != judged).then_some(ticket)
    }

    /// Takes the next push of a room that need not wait any more; `judged` is what it would be
    /// judged by.
    pub(super) fn pop(&mut self, room: RoomKey, judged: Judged) -> Option<Waiting> {
        let next = self.queues.get(&room)?.front()?;
        let waits = if next.is_message {
            self.is_unordered(room, |entry| entry.judged != judged)
        } else {
            self.is_unordered(room, |entry| entry.first_ticket <= next.behind)
        };
        if waits {
            return None;
        }
        let queue = self.queues.get_mut(&room)?;
        let next = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&room);
        }
        next
    }

    /// Forgets all of a room that is removed, or of one that has turned what is applied behind an
    /// offset. Returns the tickets that are answered no more.
    pub(super) fn lose(&mut self, room: RoomKey, behind: Option<u64>) -> Vec<Ticket> {
        let is_lost = |entry: &UnderWay| {
            behind.is_none_or(|last| entry.applied_at.is_some_and(|offset| offset > last))
        };
        if behind.is_none() {
            self.queues.remove(&room);
        }
        let lost = self.of_room(room).filter(|(_, entry)| is_lost(entry));
        let lost: Vec<_> = lost.map(|(ticket, _)| ticket).collect();
        for ticket in &lost {
            self.under_way.remove(&(room, *ticket));
        }
        lost
    }
}

//! Entries that a log has not answered for good yet, and the pushes that wait behind them.
//!
//! ```text
//!   publish ── append ──> Ordered: applied and told; its answer waits for `Kept`
//!                     └─> Later:   applied and told when it comes back, and then answered
//!   custom, typing        behind a Later of their room, in order; what is then said Later itself
//!                         waits only to be heard, and nothing waits for it but answers
//! ```
//!
//! Members hear what they said in the order in which they said it. An entry that was judged by an
//! older revision than the room's may conflict, and be proposed again. So further messages of the
//! room wait while such an entry is under way.
//!
//! A message, a change or what is appended may wait for what is read: see `reading`. It holds up
//! what its own member pushes next, which waits behind it there, and nobody else.
//!
//! Invariants:
//!
//! 1. a room has a queue only while an entry of it is under way without an order;
//! 2. the entries of a room that are under way, and the pushes behind them, are bounded;
//! 3. a publish never looks through all that is under way: each room has an index of entries
//!    without a place, of keys, and of entries to be proposed again.
//!
//! Deliberately absent: deadlines. A log answers every append in the end, at worst `unconfirmed`.
//!
//! Called by: `rooms`. Calls: `under_way`.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use smallvec::SmallVec;

use crate::base::slack::Slack;
use crate::limits::{
    PENDING_MEMORY_BYTES, PROPOSALS_MAX, UNDER_WAY_PER_ROOM_MAX, WAITING_PUSHES_PER_ROOM_MAX,
};
use crate::link::ids::RoomKey;
use crate::link::log::{Judged, Marks, Placed, Ticket};
use crate::link::said::MessageText;
use crate::room::keys::KeyHash;
#[cfg(test)]
use crate::room::planted::{self, Planted};
use crate::rooms::held::Membership;
use crate::rooms::under_way::{Again, UnderWay, Was};

/// Which pushes wait in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One that is not kept: it waits for all that was proposed before it.
    Event,
    /// A change waits for the same. What is said behind it waits in the queue, for the change is
    /// proposed only then.
    Change,
    /// A message waits only while an entry may conflict.
    Message,
}

/// A push that waits in its room's queue.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) membership: Membership,
    /// What its held answer waits for. `None` of `typing`, which is not answered.
    pub(super) ticket: Option<Ticket>,
    pub(super) record: Box<[u8]>,
    kind: Kind,
    /// Entries whose first ticket is at most this one go before it.
    behind: Ticket,
    /// Of an answer to a message that was read for it: the thread that it is in.
    pub(super) thread: Option<u64>,
}

impl Waiting {
    /// What it takes, in bytes.
    fn bytes(&self) -> usize {
        PENDING_MEMORY_BYTES + self.record.len()
    }
}

/// The entries of one room that are under way, and the pushes that wait there.
#[derive(Debug, Default)]
struct OfRoom {
    under_way: BTreeMap<Ticket, UnderWay>,
    /// The entries without a place, by first ticket and ticket.
    unordered: BTreeSet<(Ticket, Ticket)>,
    /// How many of `unordered` are no messages: what they change is not known yet.
    changes: usize,
    /// How many of `unordered` are decisions: what is said behind them would be a conflict.
    decisions: usize,
    /// How many of `unordered` were judged by each epoch and revision.
    judged: BTreeMap<Judged, u32>,
    /// The entries to be proposed again, by first ticket and ticket.
    parked: BTreeSet<(Ticket, Ticket)>,
    /// The entries that are kept and wait to be applied.
    confirmed: BTreeSet<Ticket>,
    by_key: HashMap<KeyHash, Ticket, ahash::RandomState>,
    queue: VecDeque<Waiting>,
    /// How many of the queue will be entries.
    entries: usize,
    /// The members of whom a push waits for a read and holds up others, each once, and that read.
    readers: SmallVec<[(Membership, Ticket); 1]>,
    /// What was said and not kept, and waits to be heard, with whose it is.
    said: BTreeMap<Ticket, Membership>,
}

impl OfRoom {
    fn is_idle(&self) -> bool {
        self.under_way.is_empty()
            && self.queue.is_empty()
            && self.readers.is_empty()
            && self.said.is_empty()
    }

    /// The read that a push of a member waits for which holds up others.
    fn read_of(&self, membership: Membership) -> Option<Ticket> {
        #[cfg(test)]
        if planted::is(Planted::OwnOvertaken) {
            return None;
        }
        let of_member = self.readers.iter().find(|(reader, _)| *reader == membership);
        of_member.map(|(_, read)| *read)
    }

    /// Whether a push that will be an entry is before one of this member, or one of its own that is
    /// not kept: a log that says that later would say it behind the entry.
    fn is_behind_entry(&self, membership: Membership) -> bool {
        let is_own = |next: &Waiting| next.membership == membership;
        self.entries > 0 || self.read_of(membership).is_some() || self.queue.iter().any(is_own)
    }

    /// Inserts an entry, or inserts it again after a change.
    fn insert(&mut self, ticket: Ticket, entry: UnderWay) {
        let place = (entry.first_ticket, ticket);
        if entry.applied_at.is_none() {
            self.unordered.insert(place);
            self.changes += usize::from(!entry.is_said());
            self.decisions += usize::from(entry.is_decision);
            *self.judged.entry(entry.judged).or_default() += 1;
        }
        if entry.is_parked {
            self.parked.insert(place);
        }
        if entry.is_confirmed {
            self.confirmed.insert(ticket);
        }
        if let Some(key_hash) = entry.key_hash {
            self.by_key.insert(key_hash, ticket);
        }
        self.under_way.insert(ticket, entry);
    }

    fn remove(&mut self, ticket: Ticket) -> Option<UnderWay> {
        let entry = self.under_way.remove(&ticket)?;
        let place = (entry.first_ticket, ticket);
        if self.unordered.remove(&place) {
            self.changes -= usize::from(!entry.is_said());
            self.decisions -= usize::from(entry.is_decision);
            if let Some(count) = self.judged.get_mut(&entry.judged) {
                *count -= 1;
                if *count == 0 {
                    self.judged.remove(&entry.judged);
                }
            }
        }
        self.parked.remove(&place);
        self.confirmed.remove(&ticket);
        if let Some(key_hash) = entry.key_hash
            && self.by_key.get(&key_hash) == Some(&ticket)
        {
            self.by_key.remove(&key_hash);
        }
        Some(entry)
    }

    /// Whether an entry without a place was judged by anything but `judged`.
    fn has_old(&self, judged: Judged) -> bool {
        self.judged.len() > usize::from(self.judged.contains_key(&judged))
    }

    /// Whether what is said behind the entries without a place may come before one of them, or be
    /// a conflict.
    fn may_conflict(&self, judged: Judged) -> bool {
        self.decisions > 0 || self.has_old(judged)
    }
}

/// What is under way. See the module.
#[derive(Default)]
pub(super) struct Pending {
    rooms: HashMap<RoomKey, OfRoom, ahash::RandomState>,
    tickets: Ticket,
    /// What all of it takes, in bytes.
    bytes: usize,
}

impl Pending {
    /// A new ticket.
    pub(super) fn next_ticket(&mut self) -> Ticket {
        self.tickets += 1;
        self.tickets
    }

    /// The last ticket that was given.
    pub(super) fn last_ticket(&self) -> Ticket {
        self.tickets
    }

    /// Gives back memory that many rooms at once needed.
    pub(super) fn trim(&mut self, kept: usize) {
        self.rooms.trim(kept);
    }

    /// What all of it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is under way in any room. Always so with a log in memory.
    pub(super) fn is_idle(&self) -> bool {
        self.rooms.is_empty()
    }

    /// Whether entries of a room are under way.
    pub(super) fn has(&self, room: RoomKey) -> bool {
        self.rooms.get(&room).is_some_and(|of| !of.under_way.is_empty())
    }

    pub(super) fn insert(&mut self, ticket: Ticket, entry: UnderWay) {
        self.bytes += entry.bytes();
        self.rooms.entry(entry.membership.room).or_default().insert(ticket, entry);
    }

    pub(super) fn get(&self, room: RoomKey, ticket: Ticket) -> Option<&UnderWay> {
        self.rooms.get(&room)?.under_way.get(&ticket)
    }

    /// Changes an entry, if it is still under way. Its key and content must stay.
    pub(super) fn change(
        &mut self,
        room: RoomKey,
        ticket: Ticket,
        change: impl FnOnce(&mut UnderWay),
    ) {
        let Some(of) = self.rooms.get_mut(&room) else { return };
        if let Some(mut entry) = of.remove(ticket) {
            change(&mut entry);
            of.insert(ticket, entry);
        }
    }

    /// Answers others along with an entry that is still under way.
    pub(super) fn answer_along(
        &mut self,
        room: RoomKey,
        ticket: Ticket,
        answers: impl IntoIterator<Item = (Ticket, Box<str>)>,
    ) {
        self.weighed(room, ticket, |entry| entry.along.extend(answers));
    }

    /// Takes those who are answered along with an entry.
    pub(super) fn take_along(&mut self, room: RoomKey, ticket: Ticket) -> Vec<(Ticket, Box<str>)> {
        self.weighed(room, ticket, |entry| std::mem::take(&mut entry.along)).unwrap_or_default()
    }

    /// Changes what an entry takes.
    fn weighed<R>(
        &mut self,
        room: RoomKey,
        ticket: Ticket,
        change: impl FnOnce(&mut UnderWay) -> R,
    ) -> Option<R> {
        let entry = self.rooms.get_mut(&room)?.under_way.get_mut(&ticket)?;
        self.bytes -= entry.bytes();
        let changed = change(entry);
        self.bytes += entry.bytes();
        Some(changed)
    }

    pub(super) fn remove(&mut self, room: RoomKey, ticket: Ticket) -> Option<UnderWay> {
        let entry = self.rooms.get_mut(&room)?.remove(ticket)?;
        self.bytes -= entry.bytes();
        self.forget_idle(room);
        Some(entry)
    }

    fn forget_idle(&mut self, room: RoomKey) {
        if self.rooms.get(&room).is_some_and(OfRoom::is_idle) {
            self.rooms.remove(&room);
        }
    }

    /// The entry of a room that has this key, and whether it is in doubt.
    pub(super) fn of_key(&self, room: RoomKey, key: Option<KeyHash>) -> Option<(Ticket, bool)> {
        if self.is_idle() {
            return None;
        }
        let of = self.rooms.get(&room)?;
        let ticket = *of.by_key.get(&key?)?;
        Some((ticket, of.under_way.get(&ticket)?.is_doubtful))
    }

    /// The entry of a room that has this place, and whether it is in doubt. A decision has none.
    pub(super) fn of_place(&self, room: RoomKey, marks: Marks) -> Option<(Ticket, bool)> {
        // Of a message that has never changed this is asked, too.
        if marks == Marks::default() {
            return None;
        }
        let mut under_way = self.rooms.get(&room)?.under_way.iter();
        let (ticket, entry) = under_way.find(|(_, entry)| entry.applied_at == Some(marks))?;
        Some((*ticket, entry.is_doubtful))
    }

    /// The entries of a room that are kept and wait to be applied.
    pub(super) fn confirmed(&self, room: RoomKey) -> SmallVec<[Ticket; 2]> {
        self.rooms.get(&room).into_iter().flat_map(|of| &of.confirmed).copied().collect()
    }

    /// Whether an event of a member that is not kept must wait.
    pub(super) fn must_event_wait(&self, membership: Membership) -> bool {
        let waits = |of: &OfRoom| {
            !of.queue.is_empty() || !of.unordered.is_empty() || of.read_of(membership).is_some()
        };
        !self.is_idle() && self.rooms.get(&membership.room).is_some_and(waits)
    }

    /// Whether what is judged by messages as they stand must wait in a room: one of them may have
    /// become another one. What is said meanwhile is no hindrance, or it might wait for ever.
    pub(super) fn must_change_wait(&self, room: RoomKey) -> bool {
        !self.is_idle() && self.rooms.get(&room).is_some_and(|of| of.changes > 0)
    }

    /// Whether what a member appends to a message must wait: it comes behind what its author did to
    /// that before.
    pub(super) fn must_text_wait(&self, membership: Membership) -> bool {
        let waits = |of: &OfRoom| of.changes > 0 || of.is_behind_entry(membership);
        !self.is_idle() && self.rooms.get(&membership.room).is_some_and(waits)
    }

    /// Whether a message of a member must wait, in a room that is at `judged` now.
    pub(super) fn must_message_wait(&self, membership: Membership, judged: Judged) -> bool {
        let waits = |of: &OfRoom| of.is_behind_entry(membership) || of.may_conflict(judged);
        !self.is_idle() && self.rooms.get(&membership.room).is_some_and(waits)
    }

    /// Notes that something was said that is not kept, and waits to be heard.
    pub(super) fn note_said(&mut self, membership: Membership, ticket: Ticket) {
        let of = self.rooms.entry(membership.room).or_default();
        of.said.insert(ticket, membership);
        self.bytes += PENDING_MEMORY_BYTES;
    }

    /// Takes something that was said, and has been heard or refused: whose it was.
    pub(super) fn take_said(&mut self, room: RoomKey, ticket: Ticket) -> Option<Membership> {
        let membership = self.rooms.get_mut(&room)?.said.remove(&ticket)?;
        self.bytes -= PENDING_MEMORY_BYTES;
        self.forget_idle(room);
        Some(membership)
    }

    /// Notes that a push of a member waits for a read, and others behind it.
    pub(super) fn note_reader(&mut self, membership: Membership, read: Ticket) {
        let of = self.rooms.entry(membership.room).or_default();
        of.readers.push((membership, read));
    }

    /// Nothing waits for a read of a room any more.
    pub(super) fn forget_readers(&mut self, room: RoomKey, read: Ticket) {
        let Some(of) = self.rooms.get_mut(&room) else { return };
        of.readers.retain(|(_, of_reader)| *of_reader != read);
        self.forget_idle(room);
    }

    /// The read that a push of a member waits for which holds up others.
    pub(super) fn read_of(&self, membership: Membership) -> Option<Ticket> {
        self.rooms.get(&membership.room)?.read_of(membership)
    }

    /// Takes the pushes of a member out of the queue of its room, each with what its held answer
    /// waits for.
    pub(super) fn take_queued(
        &mut self,
        membership: Membership,
    ) -> Vec<(Option<Ticket>, Box<[u8]>)> {
        let Some(of) = self.rooms.get_mut(&membership.room) else { return Vec::new() };
        let is_its = |next: &Waiting| next.membership == membership;
        let (taken, left): (Vec<_>, _) = of.queue.drain(..).partition(is_its);
        of.queue = left.into();
        of.entries -= taken.iter().filter(|next| next.kind != Kind::Event).count();
        self.bytes -= taken.iter().map(Waiting::bytes).sum::<usize>();
        self.forget_idle(membership.room);
        taken.into_iter().map(|next| (next.ticket, next.record)).collect()
    }

    /// The members of whom a push waits for a read and holds up others, and that read. For
    /// [`crate::rooms::Rooms::check`].
    pub(super) fn readers(&self) -> impl Iterator<Item = &(Membership, Ticket)> {
        self.rooms.values().flat_map(|of| &of.readers)
    }

    /// Takes all pushes out of the queue of a room. Returns what their held answers wait for.
    pub(super) fn take_queue(&mut self, room: RoomKey) -> Vec<Ticket> {
        let Some(of) = self.rooms.get_mut(&room) else { return Vec::new() };
        let queue = std::mem::take(&mut of.queue);
        of.entries = 0;
        self.bytes -= queue.iter().map(Waiting::bytes).sum::<usize>();
        self.forget_idle(room);
        queue.into_iter().filter_map(|waiting| waiting.ticket).collect()
    }

    /// A room has turned, and has nothing behind this offset any more: what is about a message
    /// there is not proposed again, for another one may be in its place. Returns those that would
    /// be now.
    pub(super) fn forget_again(&mut self, room: RoomKey, behind: u64) -> Vec<Ticket> {
        let under_way = self.rooms.get(&room).into_iter().flat_map(|of| &of.under_way);
        let is_it =
            |(_, of): &(&Ticket, &UnderWay)| of.applied_at.is_none() && of.is_about_behind(behind);
        let lost: Vec<Ticket> = under_way.filter(is_it).map(|(ticket, _)| *ticket).collect();
        let is_parked =
            |pending: &Self, ticket| pending.get(room, ticket).is_some_and(|entry| entry.is_parked);
        let (parked, rest): (Vec<_>, Vec<_>) =
            lost.into_iter().partition(|ticket| is_parked(self, *ticket));
        for ticket in rest {
            self.change(room, ticket, |entry| entry.proposals = PROPOSALS_MAX);
        }
        parked
    }

    /// The deletions of a purge that are under way, in the order in which they were proposed.
    pub(super) fn of_purge(&self, room: RoomKey, purge: Ticket) -> Vec<Ticket> {
        let under_way = self.rooms.get(&room).into_iter().flat_map(|of| &of.under_way);
        let is_its = |(_, entry): &(&Ticket, &UnderWay)| matches!(entry.again, Again::Purge { purge: of, .. } if of == purge);
        under_way.filter(is_its).map(|(ticket, _)| *ticket).collect()
    }

    /// Takes what is told of an entry that is under way.
    pub(super) fn take_answer(&mut self, room: RoomKey, ticket: Ticket) -> Option<Box<str>> {
        self.weighed(room, ticket, |entry| entry.answer.take())?
    }

    /// From now on this is told of an entry that is under way.
    pub(super) fn set_answer(&mut self, room: RoomKey, ticket: Ticket, answer: Box<str>) {
        self.weighed(room, ticket, |entry| entry.answer = Some(answer));
    }

    /// Another node has changed a message: what a purge knows of it is that from now on.
    pub(super) fn note_changed(
        &mut self,
        room: RoomKey,
        offset: u64,
        message: &MessageText,
        change: u64,
    ) {
        let Some(of) = self.rooms.get_mut(&room).filter(|of| of.changes > 0) else { return };
        for entry in of.under_way.values_mut() {
            let is_purge = matches!(entry.again, Again::Purge { .. });
            if let Some(was) = entry.was.as_mut().filter(|was| is_purge && was.offset == offset) {
                self.bytes -= was.message.memory_bytes();
                was.message = message.clone();
                was.message.fate.get_or_insert_default().change = change;
                was.is_news = true;
                self.bytes += was.message.memory_bytes();
            }
        }
    }

    /// Whether a decision about a room is not known to be kept.
    pub(super) fn has_decision(&self, room: RoomKey) -> bool {
        let is_one = |entry: &UnderWay| entry.placed.is_some_and(Placed::is_decision);
        let has_one = |of: &OfRoom| of.under_way.values().any(is_one);
        !self.is_idle() && self.rooms.get(&room).is_some_and(has_one)
    }

    /// Whether as many pushes wait in a room as may.
    pub(super) fn is_full(&self, room: RoomKey) -> bool {
        let is_full = |of: &OfRoom| of.queue.len() >= WAITING_PUSHES_PER_ROOM_MAX;
        self.rooms.get(&room).is_some_and(is_full)
    }

    /// Whether as many entries of a room are under way as may be: its log is behind.
    pub(super) fn is_behind(&self, room: RoomKey) -> bool {
        let under_way = |of: &OfRoom| of.under_way.len() + of.said.len();
        let is_behind = |of: &OfRoom| under_way(of) >= UNDER_WAY_PER_ROOM_MAX;
        !self.is_idle() && self.rooms.get(&room).is_some_and(is_behind)
    }

    /// Queues a push in its room.
    pub(super) fn queue(
        &mut self,
        membership: Membership,
        ticket: Option<Ticket>,
        record: Box<[u8]>,
        (kind, thread): (Kind, Option<u64>),
    ) {
        let behind = ticket.unwrap_or(self.tickets);
        let waiting = Waiting { membership, ticket, record, kind, behind, thread };
        self.weigh_waiting(&waiting).push_back(waiting);
    }

    /// Queues a change in its room before all others, behind the entries that are there by now.
    pub(super) fn queue_first(
        &mut self,
        membership: Membership,
        ticket: Ticket,
        record: Box<[u8]>,
    ) {
        let (kind, behind) = (Kind::Change, self.tickets);
        let ticket = Some(ticket);
        let waiting = Waiting { membership, ticket, record, kind, behind, thread: None };
        self.weigh_waiting(&waiting).push_front(waiting);
    }

    /// Counts what is to wait in its room. Returns where.
    fn weigh_waiting(&mut self, waiting: &Waiting) -> &mut VecDeque<Waiting> {
        self.bytes += waiting.bytes();
        let of = self.rooms.entry(waiting.membership.room).or_default();
        of.entries += usize::from(waiting.kind != Kind::Event);
        &mut of.queue
    }

    /// The next entry to be proposed again, in a room that is at `judged` now. They go in the order
    /// in which they were proposed first, and none goes while one before it may still conflict.
    /// `is_as_was` says whether a message is still what it was when its change was proposed.
    pub(super) fn next_again(
        &self,
        room: RoomKey,
        judged: Judged,
        is_as_was: impl Fn(&Was) -> bool,
    ) -> Option<Ticket> {
        let of = self.rooms.get(&room)?;
        let parked = of.parked.first();
        let is_other = |(_, ticket): &&(Ticket, Ticket)| of.under_way[ticket].judged != judged;
        // All of them are looked through only if one is old.
        let old = of.unordered.iter().filter(|_| of.has_old(judged)).find(is_other);
        let (_, ticket) = *parked.into_iter().chain(old).min()?;
        let first = &of.under_way[&ticket];
        // If it was judged by what is known now, what it conflicted with is not known here yet.
        let is_news = first.judged != judged
            || first.was.as_ref().is_some_and(|was| was.is_news || !is_as_was(was));
        (first.is_parked && is_news).then_some(ticket)
    }

    /// Takes the next push that need not wait any more, in a room that is at `judged` now.
    pub(super) fn pop(&mut self, room: RoomKey, judged: Judged) -> Option<Waiting> {
        let of = self.rooms.get_mut(&room)?;
        let is_behind = |next: &Waiting| {
            of.unordered.first().is_some_and(|(first_ticket, _)| *first_ticket <= next.behind)
        };
        let next = of.queue.front()?;
        let waits = match next.kind {
            Kind::Message => of.may_conflict(judged),
            Kind::Event | Kind::Change => is_behind(next),
        };
        if waits {
            return None;
        }
        let next = of.queue.pop_front()?;
        of.entries -= usize::from(next.kind != Kind::Event);
        self.bytes -= next.bytes();
        self.forget_idle(room);
        Some(next)
    }

    /// Forgets the entries that have a place beyond `kept`, in a room that has turned; without
    /// `kept` all of a room that is removed or closed, and what waits to be heard. Returns their
    /// tickets, and those along with them.
    pub(super) fn lose(&mut self, room: RoomKey, kept: Option<Marks>) -> Vec<Ticket> {
        let is_lost = |entry: &UnderWay| kept.is_none_or(|kept| entry.is_lost_behind(kept));
        let Some(of) = self.rooms.get_mut(&room) else { return Vec::new() };
        if kept.is_none() {
            self.bytes -= of.queue.drain(..).map(|waiting| waiting.bytes()).sum::<usize>();
            of.readers.clear();
            of.entries = 0;
        }
        let lost = of.under_way.iter().filter(|(_, entry)| is_lost(entry));
        let lost: Vec<_> = lost.map(|(ticket, _)| *ticket).collect();
        let mut tickets = Vec::new();
        for ticket in lost {
            let Some(entry) = of.remove(ticket) else { continue };
            self.bytes -= entry.bytes();
            tickets.push(ticket);
            tickets.extend(entry.along.into_iter().map(|(along, _)| along));
        }
        if kept.is_none() {
            self.bytes -= of.said.len() * PENDING_MEMORY_BYTES;
            tickets.extend(std::mem::take(&mut of.said).into_keys());
        }
        self.forget_idle(room);
        tickets
    }

    /// Asserts that the indices agree with the entries. For [`crate::rooms::Rooms::check`].
    pub(super) fn check(&self) {
        let mut bytes = 0;
        for of in self.rooms.values() {
            assert!(!of.is_idle(), "a room with nothing under way is forgotten");
            let mut judged = BTreeMap::new();
            let mut counts = [0; 4];
            let unordered = || of.under_way.values().filter(|entry| entry.applied_at.is_none());
            let changes = unordered().filter(|entry| !entry.is_said()).count();
            let decisions = unordered().filter(|entry| entry.is_decision).count();
            assert_eq!((changes, decisions), (of.changes, of.decisions), "as are changes");
            for (ticket, entry) in &of.under_way {
                bytes += entry.bytes();
                let place = (entry.first_ticket, *ticket);
                if entry.applied_at.is_none() {
                    *judged.entry(entry.judged).or_default() += 1;
                    counts[0] += 1;
                    assert!(of.unordered.contains(&place), "it has no place");
                }
                counts[1] += usize::from(entry.is_parked && of.parked.contains(&place));
                counts[2] += usize::from(entry.is_confirmed && of.confirmed.contains(ticket));
                counts[3] += usize::from(entry.key_hash.is_some());
            }
            let kept = [of.unordered.len(), of.parked.len(), of.confirmed.len(), of.by_key.len()];
            assert_eq!((counts, &judged), (kept, &of.judged), "an index is of what is under way");
            assert!(of.queue.len() <= WAITING_PUSHES_PER_ROOM_MAX, "what waits is bounded");
            let entries = of.queue.iter().filter(|waiting| waiting.kind != Kind::Event);
            assert_eq!(entries.count(), of.entries, "what will be entries is counted");
            bytes += of.queue.iter().map(Waiting::bytes).sum::<usize>();
            bytes += of.said.len() * PENDING_MEMORY_BYTES;
        }
        assert_eq!(bytes, self.bytes, "and all of it is counted for what it takes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::arena::Key;
    use crate::link::ids::{Asker, Slot};
    use crate::link::said::{Said, SaidText};

    const ROOM: u64 = 1 << 32 | 7;

    fn at(offset: u64) -> Marks {
        Marks { offset, change: 0 }
    }

    fn entry(first_ticket: Ticket, rev: u64) -> UnderWay {
        let asker = Asker { conn: Key::from_u64(1 << 32), slot: Slot(0) };
        let said = Said { user: "u", name: "U", body: "\"hello\"", ..Said::default() };
        let membership = Membership { room: Key::from_u64(ROOM), shard: 0, asker };
        UnderWay {
            again: Again::Said(SaidText::new(said)),
            key_hash: Some(KeyHash([first_ticket, 0])),
            ..UnderWay::new(membership, first_ticket, Judged { epoch: 1, rev })
        }
    }

    #[test]
    fn what_is_under_way_is_indexed_and_counted_and_nothing_is_left_of_it() {
        let (room, mut pending) = (Key::from_u64(ROOM), Pending::default());
        let (old, new) = (Judged { epoch: 1, rev: 1 }, Judged { epoch: 1, rev: 2 });
        for ticket in 1..=3 {
            pending.insert(ticket, entry(ticket, 1));
        }
        pending.check();
        assert!(pending.bytes() > 3 * PENDING_MEMORY_BYTES);
        let of_room = pending.get(room, 3).expect("under way").membership;
        assert!(!pending.must_message_wait(of_room, old));
        assert!(pending.must_message_wait(of_room, new));
        assert_eq!(pending.of_key(room, Some(KeyHash([2, 0]))), Some((2, false)));
        // The first conflicts: it goes first, once the change is known.
        pending.change(room, 2, |entry| entry.is_parked = true);
        let again = |pending: &Pending, judged| pending.next_again(room, judged, |_| true);
        assert_eq!(again(&pending, new), None, "the first may still conflict");
        pending.change(room, 1, |entry| entry.applied_at = Some(at(1)));
        assert_eq!(again(&pending, old), None, "the change is to be heard of");
        assert_eq!(again(&pending, new), Some(2));
        pending.check();
        assert_eq!(pending.lose(room, Some(at(0))), [1], "what had a place behind it");
        pending.queue(of_room, None, Box::from(*b"record"), (Kind::Message, None));
        assert!(pending.must_message_wait(of_room, old), "behind another");
        pending.check();
        assert_eq!(pending.lose(room, None), [2, 3]);
        assert!(pending.is_idle() && pending.bytes() == 0);
        pending.check();
    }

    #[test]
    fn a_message_that_waits_for_a_read_holds_up_its_own_member_alone() {
        let (room, mut pending) = (Key::from_u64(ROOM), Pending::default());
        let judged = Judged { epoch: 1, rev: 1 };
        let ann = entry(1, 1).membership;
        let bob = Membership { shard: 1, ..ann };
        pending.note_reader(ann, 7);
        pending.check();
        let waits = |pending: &Pending, member| {
            let (message, event) =
                (pending.must_message_wait(member, judged), pending.must_event_wait(member));
            assert_eq!((message, event), (pending.must_text_wait(member), message));
            message
        };
        assert_eq!((waits(&pending, ann), waits(&pending, bob)), (true, false));
        assert_eq!((pending.read_of(ann), pending.read_of(bob)), (Some(7), None));
        pending.queue(bob, None, Box::from(*b"record"), (Kind::Message, None));
        assert!(waits(&pending, bob));
        pending.forget_readers(room, 8);
        assert_eq!(pending.read_of(ann), Some(7), "that was another read");
        pending.forget_readers(room, 7);
        pending.check();
        assert!(waits(&pending, ann), "behind what is in the queue");
        assert!(pending.take_queued(ann).is_empty());
        assert_eq!(pending.take_queued(bob), [(None, Box::from(*b"record"))]);
        assert!(pending.is_idle() && pending.bytes() == 0);
        pending.note_reader(ann, 9);
        assert_eq!(pending.lose(room, None), [0; 0]);
        assert!(pending.is_idle() && pending.bytes() == 0);
    }

    #[test]
    fn a_message_waits_behind_an_event_of_its_own_member() {
        let (room, mut pending) = (Key::from_u64(ROOM), Pending::default());
        let judged = Judged { epoch: 1, rev: 1 };
        pending.insert(1, entry(1, 1));
        let ann = entry(1, 1).membership;
        let bob = Membership { shard: 1, ..ann };
        assert!(!pending.must_message_wait(bob, judged));
        assert!(pending.must_event_wait(bob), "behind an entry without a place");
        pending.queue(bob, None, Box::from(*b"record"), (Kind::Event, None));
        assert!(pending.must_message_wait(bob, judged) && pending.must_text_wait(bob));
        assert!(!pending.must_message_wait(ann, judged), "it is another's");
        pending.change(room, 1, |entry| entry.applied_at = Some(at(1)));
        assert!(pending.pop(room, judged).is_some_and(|next| next.membership == bob));
        assert!(!pending.must_message_wait(bob, judged));
        pending.check();
    }

    #[test]
    fn a_room_has_no_more_under_way_than_may_be() {
        let (room, mut pending) = (Key::from_u64(ROOM), Pending::default());
        for ticket in 1..=UNDER_WAY_PER_ROOM_MAX as u64 {
            assert!(!pending.is_behind(room));
            pending.insert(ticket, entry(ticket, 1));
        }
        assert!(pending.is_behind(room));
        pending.remove(room, 1);
        assert!(!pending.is_behind(room));
        // What is said and not kept is one of them, and is counted.
        let (bytes, ticket) = (pending.bytes(), UNDER_WAY_PER_ROOM_MAX as u64 + 1);
        let membership = entry(ticket, 1).membership;
        pending.note_said(membership, ticket);
        pending.check();
        assert!(pending.is_behind(room) && pending.bytes() > bytes);
        assert_eq!(pending.take_said(room, ticket), Some(membership));
        assert_eq!((pending.take_said(room, ticket), pending.bytes()), (None, bytes));
        pending.note_said(membership, ticket);
        assert_eq!(pending.lose(room, Some(at(0))), [0; 0], "a turn loses nothing of that");
        assert_eq!(pending.lose(room, None).last(), Some(&ticket), "whoever waits is to hear it");
        assert!(pending.is_idle() && pending.bytes() == 0);
    }
}

//! What is added to messages by many, or often: it is collected, and told of a message at once.
//!
//! ```text
//!   add ── the message is there ── collected ─┬─ the room was quiet: told now
//!                                             └─ else at its tick: tell_collected
//!   tell_collected ── each message as it is by then, and all that is added ── Log::append ── told
//!        └────────────────────────── a conflict: with the next tick ──┘ └─ each is answered when
//!                                                                          it is kept
//!   an edit ── what its author has appended before is told first: tell_appended
//! ```
//!
//! However many react to a message, it changes once in a tick. What is answered is kept: so all
//! whose part is in a change are answered with it.
//!
//! Invariants:
//!
//! 1. what is collected is judged by the room and the message as they are when it is told;
//! 2. a message stays known while something is collected for it, though memory lets go of it: see
//!    `Journal::message`;
//! 3. what is collected is bounded, and counted.
//!
//! Deliberately absent: who may add what (`room::rights`), and what becomes of it
//! (`room::reactions`, `room::growth`).
//!
//! Called by: `rooms`, `again`, `changing`, and `shard` for the timer. Calls: `room`, `changing`,
//! `committing`, `entries`, `reads`, `speech`, `pending`, `held`.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::base::slack::Slack;
use crate::limits::{
    COLLECTED_BYTES_PER_ROOM_MAX, COLLECTED_BYTES_PER_TURN, COLLECTED_MESSAGES_PER_TURN_MAX,
    COLLECTED_PER_ROOM_MAX, MOVED_BYTES_PER_TURN, PENDING_MEMORY_BYTES, PROPOSALS_MAX,
    UNTOLD_FACTOR,
};
use crate::link::field::Field;
use crate::link::ids::{RoomKey, Slot};
use crate::link::io::Io;
use crate::link::log::{Judged, Log, Placed, Ticket, Why};
use crate::link::outbox::{Cx, Tell, Timer};
use crate::link::reacted::push_reactions;
use crate::link::record::{Addition, Received, ToHome, read};
use crate::link::refusal::Refusal;
use crate::link::said::MessageText;
use crate::room::Room;
use crate::room::growth::Growth;
#[cfg(test)]
use crate::room::planted::{self, Planted};
use crate::room::reactions::Toggling;
use crate::rooms::Rooms;
use crate::rooms::changing::{Known, Proposed, may_change_at_all};
use crate::rooms::entries::take_fanout;
use crate::rooms::held::Membership;
use crate::rooms::registry::Registered;
use crate::rooms::under_way::{Again, UnderWay};
use crate::wire::phx::Payload;

/// What is collected in all rooms. See the module.
#[derive(Default)]
pub(super) struct Collected {
    /// Those that are not quiet.
    rooms: HashMap<RoomKey, OfRoom, ahash::RandomState>,
    /// What all of it takes, in bytes.
    bytes: usize,
}

/// What is collected in a room.
struct OfRoom {
    /// When it is told, in milliseconds of monotonic time.
    due_ms: u64,
    /// When its timer fires, if it has one.
    armed_ms: Option<u64>,
    by_offset: BTreeMap<u64, Batch>,
    /// The messages in the order in which they are told: none waits for ever behind others.
    order: VecDeque<u64>,
    /// What its log has been given and may find to be a conflict: by ticket, each of a message.
    told: BTreeMap<Ticket, (u64, Batch)>,
    /// How many additions there are.
    count: usize,
    /// What they take, in bytes.
    bytes: usize,
}

impl OfRoom {
    fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.by_offset.values().chain(self.told.values().map(|(_, batch)| batch))
    }
}

/// What is collected for a message.
#[derive(Default)]
struct Batch {
    /// As it was when the first one came, where memory may let go of it before its log does.
    known: Option<MessageText>,
    /// The last ticket by then.
    known_at: Ticket,
    added: Vec<Added>,
    /// What the room was judged by when it was told last, and was a conflict.
    judged: Judged,
    /// How often it was one since something was heard of the message or the room.
    conflicts: u32,
}

/// An addition that waits. Its answer is held.
struct Added {
    membership: Membership,
    ticket: Ticket,
    record: Box<[u8]>,
}

/// A message while what was collected for it is added.
struct Sum<'a> {
    message: &'a MessageText,
    /// Who has reacted by now, once somebody reacts, and what members are told of all who had, in
    /// bytes: that is told again, whoever reacts.
    reactions: Option<(Toggling<'a>, usize)>,
    /// What it says by now, once something is appended.
    growth: Option<Growth>,
}

/// What somebody is told who has added something.
#[derive(Clone, Copy)]
enum Told<'a> {
    /// How many have reacted with this emoji.
    Count(&'a str),
    /// How many bytes the message has.
    Bytes(usize),
}

impl Batch {
    fn bytes(&self) -> usize {
        let added: usize = self.added.iter().map(Added::bytes).sum();
        added + bytes_known(self.known.as_ref())
    }
}

fn bytes_known(known: Option<&MessageText>) -> usize {
    known.map_or(0, MessageText::memory_bytes)
}

impl Added {
    fn bytes(&self) -> usize {
        PENDING_MEMORY_BYTES + self.record.len()
    }

    fn push(&self) -> ToHome<'_> {
        let Received::ToHome(push) = read(&self.record) else { unreachable!("a push waits") };
        push
    }
}

impl Collected {
    /// Whether as much is collected in a room as may be.
    fn is_full(&self, room: RoomKey) -> bool {
        let is_full = |of: &OfRoom| {
            of.count >= COLLECTED_PER_ROOM_MAX || of.bytes >= COLLECTED_BYTES_PER_ROOM_MAX
        };
        self.rooms.get(&room).is_some_and(is_full)
    }

    /// Whether something is collected in a room for a message as it was.
    pub(super) fn has_known(&self, room: RoomKey) -> bool {
        // A log has all of them, or none.
        let has_known = |of: &OfRoom| of.batches().next().is_some_and(|of| of.known.is_some());
        !self.rooms.is_empty() && self.rooms.get(&room).is_some_and(has_known)
    }

    /// The last ticket when the first of the messages that are to stay known in a room was so.
    pub(super) fn oldest_known(&self, room: RoomKey) -> Option<Ticket> {
        let batches = self.rooms.get(&room)?.batches();
        batches.filter(|batch| batch.known.is_some()).map(|batch| batch.known_at).min()
    }

    /// Adds to what is collected for a message, which is `known` if it is the first.
    fn push(&mut self, room: RoomKey, offset: u64, known: Option<MessageText>, added: Added) {
        let of = self.rooms.entry(room).or_insert_with(|| OfRoom {
            due_ms: 0,
            armed_ms: None,
            by_offset: BTreeMap::new(),
            order: VecDeque::new(),
            told: BTreeMap::new(),
            count: 0,
            bytes: 0,
        });
        let batch = of.by_offset.entry(offset).or_default();
        let mut bytes = added.bytes();
        if batch.added.is_empty() {
            of.order.push_back(offset);
            bytes += bytes_known(known.as_ref());
            (batch.known, batch.known_at) = (known, added.ticket);
        }
        batch.added.push(added);
        of.count += 1;
        of.bytes += bytes;
        self.bytes += bytes;
    }

    /// Takes what is collected for the first message, as many additions as a turn tells. The others
    /// stay, and are the next.
    fn pop(&mut self, room: RoomKey) -> Option<(u64, Batch)> {
        let offset = self.rooms.get_mut(&room)?.order.pop_front()?;
        Some((offset, self.take(room, offset)?))
    }

    /// The same of a message before its turn.
    fn pop_of(&mut self, room: RoomKey, offset: u64) -> Option<Batch> {
        self.rooms.get_mut(&room)?.order.retain(|other| *other != offset);
        self.take(room, offset)
    }

    /// Takes what is collected for a message that is in the order no more.
    fn take(&mut self, room: RoomKey, offset: u64) -> Option<Batch> {
        let of = self.rooms.get_mut(&room)?;
        let mut batch = of.by_offset.remove(&offset)?;
        let mut bytes = 0;
        let fits = |added: &Added| {
            bytes += added.record.len();
            bytes <= COLLECTED_BYTES_PER_TURN
        };
        let count = batch.added.iter().map(fits).take_while(|fits| *fits).count().max(1);
        let mut taken = batch.bytes();
        if count < batch.added.len() {
            let (known, added) = (batch.known.clone(), batch.added.split_off(count));
            let left = Batch { known, added, ..batch };
            taken -= left.bytes();
            of.order.push_front(offset);
            of.by_offset.insert(offset, left);
        }
        of.count -= batch.added.len();
        of.bytes -= taken;
        self.bytes -= taken;
        Some(batch)
    }

    /// Keeps what its log has been given until it is known to be no conflict.
    fn keep_told(&mut self, room: RoomKey, ticket: Ticket, offset: u64, batch: Batch) {
        let Some(of) = self.rooms.get_mut(&room) else { return };
        let bytes = batch.bytes();
        of.bytes += bytes;
        self.bytes += bytes;
        of.count += batch.added.len();
        of.told.insert(ticket, (offset, batch));
    }

    /// Takes what its log was given under a ticket.
    fn take_told(&mut self, room: RoomKey, ticket: Ticket) -> Option<(u64, Batch)> {
        if self.rooms.is_empty() {
            return None;
        }
        let of = self.rooms.get_mut(&room)?;
        let (offset, batch) = of.told.remove(&ticket)?;
        let bytes = batch.bytes();
        of.bytes -= bytes;
        self.bytes -= bytes;
        of.count -= batch.added.len();
        Some((offset, batch))
    }

    /// What its log was given under a ticket has its place, or is refused.
    pub(super) fn forget_told(&mut self, room: RoomKey, ticket: Ticket) {
        self.take_told(room, ticket);
    }

    /// Puts what was a conflict before all that was collected since.
    fn put_back(&mut self, room: RoomKey, offset: u64, mut batch: Batch) {
        let Some(of) = self.rooms.get_mut(&room) else { return };
        of.count += batch.added.len();
        let mut before = 0;
        match of.by_offset.remove(&offset) {
            Some(since) => {
                before = since.bytes();
                batch.added.extend(since.added);
            }
            None => of.order.push_front(offset),
        }
        of.bytes = of.bytes - before + batch.bytes();
        self.bytes = self.bytes - before + batch.bytes();
        of.by_offset.insert(offset, batch);
    }

    /// Whether something is collected for a message.
    fn has(&self, room: RoomKey, offset: u64) -> bool {
        self.rooms.get(&room).is_some_and(|of| of.by_offset.contains_key(&offset))
    }

    /// Whether something that a member appends to a message is collected, and was no conflict yet:
    /// that waits for what it is one with.
    fn has_text(&self, membership: Membership, offset: u64) -> bool {
        let of = if self.rooms.is_empty() { None } else { self.rooms.get(&membership.room) };
        let batch = of.and_then(|of| of.by_offset.get(&offset)).filter(|of| of.conflicts == 0);
        let is_own_text = |added: &Added| {
            let is_text =
                matches!(added.push(), ToHome::Add { addition: Addition::Text { .. }, .. });
            is_text && added.membership == membership
        };
        batch.is_some_and(|batch| batch.added.iter().any(is_own_text))
    }

    /// Forgets what is collected in a room that is gone: nobody waits for it.
    pub(super) fn forget(&mut self, room: RoomKey) {
        let of = if self.rooms.is_empty() { None } else { self.rooms.remove(&room) };
        self.bytes -= of.map_or(0, |of| of.bytes);
    }

    /// What all of it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is collected in any room.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.rooms.values().all(|of| of.batches().next().is_none())
    }

    /// Gives back memory that many rooms at once needed.
    pub(super) fn trim(&mut self, kept: usize) {
        self.rooms.trim(kept);
    }
}

impl<'a> Sum<'a> {
    fn new(message: &'a MessageText) -> Self {
        Self { message, reactions: None, growth: None }
    }

    /// Adds what a member adds. Returns what it is told.
    ///
    /// # Errors
    ///
    /// Why it may not.
    fn add<I: Io>(
        &mut self,
        cx: &Cx<'_, I>,
        room: &'a Room,
        (slot, user): (Slot, &'a str),
        addition: Addition<'a>,
    ) -> Result<Told<'a>, Refusal> {
        room.may_add(slot, addition, cx.now.unix_ms)?;
        let bytes = addition.bytes() + user.len();
        match addition {
            Addition::Reaction { emoji, on } => {
                let reacted = self.message.reacted().unwrap_or_default();
                let (reactions, told_bytes) = self
                    .reactions
                    .get_or_insert_with(|| (Toggling::new(reacted), bytes_told(reacted)));
                take_fanout(cx, room, user, bytes + *told_bytes)?;
                reactions.toggle(user, (emoji, on), &cx.settings.chat)?;
                Ok(Told::Count(emoji))
            }
            Addition::Text { text, is_last } => {
                let growth = self.growth.get_or_insert_with(|| Growth::new(&self.message.said));
                growth.may_append(user, text, cx.settings.limits.body_bytes)?;
                take_fanout(cx, room, user, bytes)?;
                // What may not be said may come in two pieces.
                let blocked = cx.settings.blocked.as_deref();
                if blocked.is_some() || !room.settings().links {
                    let whole = growth.with(text);
                    room.may_send(slot, &whole, None, blocked, cx.now.unix_ms)?;
                }
                Ok(Told::Bytes(growth.append(text, is_last)))
            }
        }
    }

    /// What somebody is told in the end.
    fn answer(&self, told: Told<'_>) -> Box<str> {
        let (name, number) = match told {
            Told::Count(emoji) => {
                ("count", self.reactions.as_ref().map_or(0, |(of, _)| of.count(emoji)))
            }
            Told::Bytes(bytes) => ("bytes", bytes),
        };
        format!("{{\"{name}\":{number}}}").into()
    }

    /// What members are told of who had reacted before, in bytes, if that is told.
    fn summary_bytes(&self) -> usize {
        self.reactions.as_ref().map_or(0, |(_, told_bytes)| *told_bytes)
    }

    /// What the message has become; none, if it is as it was.
    fn finish(self) -> Option<MessageText> {
        let reacted = self.reactions.map(|(of, _)| of.text());
        let reacted = reacted.filter(|reacted| reacted.as_deref() != self.message.reacted());
        let growth = self.growth.filter(Growth::is_changed);
        if reacted.is_none() && growth.is_none() {
            return None;
        }
        let mut next = self.message.clone();
        if let Some(reacted) = reacted {
            next.fate.get_or_insert_default().reacted = reacted;
        }
        if let Some(growth) = growth {
            growth.finish(&mut next.said);
        }
        Some(next)
    }
}

/// The planted defect: of a message what it was is taken for what it is.
#[cfg(test)]
fn as_it_was(here: Option<MessageText>, known: Option<&MessageText>) -> Option<MessageText> {
    let Some(known) = known.filter(|_| planted::is(Planted::JudgedByOld)) else { return here };
    let mut old = known.clone();
    old.fate.get_or_insert_default().change = here.map_or(0, |here| here.fate().change);
    Some(old)
}

fn tickets_of(added: &[Added]) -> impl Iterator<Item = Ticket> {
    added.iter().map(|added| added.ticket)
}

/// What members are told of who has reacted, in bytes.
fn bytes_told(reacted: &str) -> usize {
    let mut out = Vec::new();
    push_reactions(&mut out, reacted);
    out.len()
}

impl Rooms {
    /// Handles what a member adds to a message.
    ///
    /// Requires: the asker is a member. Changes: what is collected, or the journal. Emits:
    /// `msg_changed` to all shards with members, and the answer when that is kept.
    pub(super) fn add<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        shard: u16,
        push: ToHome<'_>,
    ) {
        let ToHome::Add { home: key, asker, reference, offset, addition } = push else {
            unreachable!("called for additions")
        };
        let membership = Membership { room: key, shard, asker };
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        room.assert_member(shard, asker);
        // What is appended comes behind what its author did to the message before. A reaction has
        // no such order, and is judged when it is told.
        let is_text = matches!(addition, Addition::Text { .. });
        if is_text && !self.is_releasing && self.pending.must_text_wait(membership) {
            return self.wait(cx, members, membership, Some(reference), push);
        }
        let is_full = self.pending.is_behind(key) || self.collected.is_full(key);
        let allowed = room
            .may_add(asker.slot, addition, cx.now.unix_ms)
            .and_then(|()| may_change_at_all(cx))
            .and(if is_full { Err(Refusal::Busy) } else { Ok(()) });
        if let Err(refusal) = allowed {
            return self.answer_refused(cx, members, membership, reference, refusal);
        }
        let mut known = None;
        // Behind the first one, what the message is by then is looked at when it is told.
        if !self.collected.has(key, offset) {
            match self.message_at(cx, key, offset) {
                Ok(Some(message)) if message.fate().deleted.is_none() => {
                    known = cx.io.log().reads().then_some(message);
                }
                Ok(None) => {
                    return self.fetch(cx, members, membership, reference, offset, push);
                }
                gone => {
                    let refusal = gone.err().unwrap_or(Refusal::Gone);
                    return self.answer_refused(cx, members, membership, reference, refusal);
                }
            }
        }
        let ticket = self.pending.next_ticket();
        self.hold(membership, ticket, reference);
        let added = Added { membership, ticket, record: push.into_record() };
        self.collected.push(key, offset, known, added);
        if self.collected.rooms.get(&key).is_some_and(|of| of.armed_ms.is_none()) {
            self.tell_collected(cx, members, key);
        }
    }

    /// Handles that the timer of a room has fired.
    pub(crate) fn collected_due<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
    ) {
        let now_ms = cx.now.mono_ms;
        let Some(of) = self.collected.rooms.get_mut(&key) else { return };
        if of.armed_ms.is_some_and(|armed_ms| armed_ms <= now_ms) {
            of.armed_ms = None;
            self.tell_collected(cx, members, key);
        }
    }

    /// Has a room's timer fire at this time, or before.
    fn arm_collected<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: RoomKey, at_ms: u64) {
        let Some(of) = self.collected.rooms.get_mut(&key) else { return };
        if of.armed_ms.is_none_or(|armed_ms| armed_ms > at_ms) {
            of.armed_ms = Some(at_ms);
            cx.timers.push(at_ms, Timer::Collected(key));
        }
    }

    /// Tells what is collected in a room that had to wait for its log, and need not any more.
    pub(super) fn tell_collected_late<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
    ) {
        let waits = |of: &OfRoom| !of.by_offset.is_empty() && of.due_ms <= cx.now.mono_ms;
        let has_waiting = self.collected.rooms.get(&key).is_some_and(waits);
        if has_waiting && !self.pending.must_change_wait(key) {
            self.tell_collected(cx, members, key);
        }
    }

    /// Tells what is collected in a room, if it is time: as many messages as a turn may. If nothing
    /// is, the room has become quiet.
    ///
    /// Changes: what is collected, the journal or what is under way. Emits: `msg_changed` to all
    /// shards with members, and answers.
    fn tell_collected<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
    ) {
        let Some(of) = self.collected.rooms.get_mut(&key) else { return };
        if cx.now.mono_ms < of.due_ms {
            let due_ms = of.due_ms;
            return self.arm_collected(cx, key, due_ms);
        }
        if of.by_offset.is_empty() && of.told.is_empty() {
            self.collected.rooms.remove(&key);
            return;
        }
        let now_ms = cx.now.mono_ms;
        let tick_ms = cx.settings.chat.react_tick_ms;
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        let is_filling = room.outposts().iter().any(|outpost| cx.is_filling(outpost.shard));
        // A change is judged by the message as it stands. See `tell_collected_late`.
        if is_filling || self.pending.must_change_wait(key) || self.pending.is_behind(key) {
            return self.arm_collected(cx, key, now_ms + tick_ms);
        }
        let (mut bytes, mut moved_bytes) = (0, 0);
        for _ in 0..COLLECTED_MESSAGES_PER_TURN_MAX {
            let is_enough = bytes > COLLECTED_BYTES_PER_TURN || moved_bytes > MOVED_BYTES_PER_TURN;
            if is_enough || cx.io.log().is_filling() {
                break;
            }
            let Some((offset, batch)) = self.collected.pop(key) else { break };
            moved_bytes += self.moved_bytes(key, offset);
            bytes += self.tell_batch(cx, members, key, offset, batch);
            // The rest of it is judged by what it is then.
            if self.collected.has(key, offset) {
                break;
            }
        }
        self.read_ends(key);
        let is_filling = cx.io.log().is_filling();
        let Some(of) = self.collected.rooms.get_mut(&key) else { return };
        of.due_ms = now_ms + if of.by_offset.is_empty() || is_filling { tick_ms } else { 1 };
        let due_ms = of.due_ms;
        self.arm_collected(cx, key, due_ms);
    }

    /// Tells what a member has appended to a message, before it says that in another way: the edit
    /// comes behind. Returns whether it has to wait until the log has given what was told a place.
    pub(super) fn tell_appended<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        membership: Membership,
        offset: u64,
    ) -> bool {
        let key = membership.room;
        while self.collected.has_text(membership, offset) {
            if self.pending.must_change_wait(key) {
                return true;
            }
            let Some(batch) = self.collected.pop_of(key, offset) else { break };
            self.tell_batch(cx, members, key, offset, batch);
            self.read_ends(key);
            if self.pending.must_change_wait(key) {
                return true;
            }
        }
        false
    }

    /// Tells what is added to a message. Returns how much that is, in bytes: what each member is
    /// told, and a part of what is written.
    fn tell_batch<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        offset: u64,
        batch: Batch,
    ) -> usize {
        let Some(Registered { room, .. }) = self.arena.get(key) else { return 0 };
        let is_let_go = offset <= room.journal().log_floor().offset;
        let Batch { known, known_at, added, judged: before, conflicts } = batch;
        let here = room.message(offset);
        #[cfg(test)]
        let here = as_it_was(here, known.as_ref());
        if here.is_none() && room.journal().is_forgotten(known_at) {
            self.refuse_all(cx, members, tickets_of(&added), Refusal::Busy);
            return 0;
        }
        // What it is a conflict with is heard in the end. Where it is not, the log has not read
        // what it knows.
        let judged = room.journal().judged();
        let conflicts = if here.is_none() && before == judged { conflicts } else { 0 };
        if conflicts >= PROPOSALS_MAX {
            self.refuse_all(cx, members, tickets_of(&added), Refusal::Busy);
            return 0;
        }
        let message = here.or(known);
        let message = message.filter(|message| !is_let_go && message.fate().deleted.is_none());
        let Some(message) = message else {
            self.refuse_all(cx, members, tickets_of(&added), Refusal::Gone);
            return 0;
        };
        let mut told_bytes = message.memory_bytes() / UNTOLD_FACTOR;
        let mut sum = Sum::new(&message);
        let (mut told, mut refused, mut first) = (Vec::new(), Vec::new(), None);
        for added in &added {
            let Membership { shard, asker, .. } = added.membership;
            // Whoever has left meanwhile was not answered, and has added nothing.
            let is_there = room.is_member(shard, asker) && self.held.is_awaited(added.ticket);
            let ToHome::Add { addition, .. } = added.push() else { continue };
            let Some(member) = room.member(asker.slot).filter(|_| is_there) else { continue };
            let user = member.identity.user();
            told_bytes += addition.bytes() + user.len();
            match sum.add(cx, room, (asker.slot, user), addition) {
                Ok(what) => {
                    told.push((added.ticket, what));
                    first.get_or_insert(added.membership);
                }
                Err(refusal) => refused.push((added.ticket, refusal)),
            }
        }
        told_bytes += sum.summary_bytes();
        let answers: Vec<(Ticket, Box<str>)> =
            told.into_iter().map(|(ticket, told)| (ticket, sum.answer(told))).collect();
        let next = sum.finish();
        let is_told = |of: &Added| answers.iter().any(|(ticket, _)| *ticket == of.ticket);
        let again = if cx.io.log().is_shared() {
            let again = added.into_iter().filter(is_told).collect();
            Some(Batch { known: Some(message.clone()), known_at, added: again, judged, conflicts })
        } else {
            None
        };
        for (ticket, refusal) in refused {
            self.refuse_held(cx, members, ticket, refusal);
        }
        if let Some(first) = first {
            self.propose_added(cx, members, first, (offset, &message, next), (answers, again));
        }
        told_bytes
    }

    /// Gives its log what a message is to be with all that was added; answers each when it is kept.
    fn propose_added<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        membership: Membership,
        (offset, was, next): (u64, &MessageText, Option<MessageText>),
        (answers, again): (Vec<(Ticket, Box<str>)>, Option<Batch>),
    ) {
        let key = membership.room;
        let changed = if let Some(next) = &next {
            (offset, Some(was), next)
        } else {
            // It is so already, by a change that may not be kept yet.
            let Placed { marks, .. } = Placed::change(was.fate().change, cx.now.unix_ms);
            match self.known_of(key, marks) {
                Known::Kept => return self.answer_added(cx, members, &answers),
                Known::UnderWay(ticket) => {
                    return self.pending.answer_along(key, ticket, answers);
                }
                Known::Doubtful => {
                    let refusal = Why::Unconfirmed.refusal();
                    return self.refuse_all(cx, members, answers.iter().map(|of| of.0), refusal);
                }
                Known::Heard => (offset, None, was),
            }
        };
        match self.propose_change(cx, members, membership, changed, None) {
            Ok(Proposed::Kept(placed)) => {
                self.note_kept_if_told(cx, key, placed);
                self.answer_added(cx, members, &answers);
            }
            Ok(Proposed::UnderWay(ticket, entry)) => {
                #[cfg(test)]
                if planted::is(Planted::ReactionsUnkept) {
                    self.answer_added(cx, members, &answers);
                }
                let entry = UnderWay { along: answers, ..entry };
                let Some(batch) = again else { return self.pending.insert(ticket, entry) };
                self.pending.insert(ticket, UnderWay { again: Again::Collect, ..entry });
                self.collected.keep_told(key, ticket, offset, batch);
            }
            Err(why) => self.refuse_all(cx, members, answers.iter().map(|of| of.0), why.refusal()),
        }
    }

    fn answer_added<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        answers: &[(Ticket, Box<str>)],
    ) {
        for (ticket, answer) in answers {
            self.resolve(cx, members, *ticket, "ok", Payload::Json(answer));
        }
    }

    /// Collects again what its log was given under a ticket, and was a conflict: it is told with
    /// the next tick. False, if the room has turned since.
    pub(super) fn collect_again<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: RoomKey,
        ticket: Ticket,
    ) -> bool {
        let Some((offset, mut batch)) = self.collected.take_told(key, ticket) else { return false };
        batch.conflicts += 1;
        #[cfg(test)]
        if planted::is(Planted::ConflictsDropped) {
            return true;
        }
        self.collected.put_back(key, offset, batch);
        let due_ms = cx.now.mono_ms + cx.settings.chat.react_tick_ms;
        if let Some(of) = self.collected.rooms.get_mut(&key) {
            of.due_ms = of.due_ms.max(due_ms);
        }
        self.arm_collected(cx, key, due_ms);
        true
    }

    /// Refuses all that is collected in a room. What its log has been given is not collected again.
    pub(super) fn refuse_collected<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        refusal: Refusal,
    ) {
        while let Some((_, batch)) = self.collected.pop(key) {
            self.refuse_all(cx, members, tickets_of(&batch.added), refusal);
        }
        let told = self.collected.rooms.get(&key).into_iter().flat_map(|of| of.told.keys());
        for ticket in told.copied().collect::<Vec<_>>() {
            self.collected.forget_told(key, ticket);
        }
    }

    /// Asserts the invariants of the module. For [`Rooms::check`].
    pub(super) fn check_collected(&self) {
        let mut bytes = 0;
        for (key, of) in &self.collected.rooms {
            assert!(self.arena.contains(*key), "what is collected is of a room");
            let count: usize = of.batches().map(|batch| batch.added.len()).sum();
            assert_eq!(count, of.count, "what is collected is counted");
            assert_eq!(of.order.len(), of.by_offset.len(), "and each message is told once");
            let of_bytes = of.batches().map(Batch::bytes).sum::<usize>();
            assert_eq!(of_bytes, of.bytes, "for what it takes");
            assert!(of.armed_ms.is_some(), "and has a timer");
            bytes += of_bytes;
        }
        assert_eq!(bytes, self.collected.bytes, "in all");
    }
}

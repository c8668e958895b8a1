//! Reads of messages that are no longer in a room's memory: pages of the history, and what clients
//! missed that come back.
//!
//! ```text
//!   history, join ── Log::read ── here, in order of tickets
//!   FromLog::Read ──┬─> a page:     the answer that is held for it
//!                   ├─> a recovery: what was read, and what is in memory by then. Where memory has
//!                   │               moved on meanwhile, the messages between are read too
//!                   └─> a message:  the pushes that wait for it go on, see `changing`, and those
//!                                   behind a message of their own member among them
//!   FromLog::NotRead ─> refused, with a time; what waits behind a message goes on
//! ```
//!
//! What is read may be older than what members have heard since it was asked. So a message that has
//! changed meanwhile is told as memory knows it: see `Journal::message`. How long memory knows that
//! depends on the ticket of the oldest read under way: see `room::meanwhile`. What was asked before
//! something of that had to be forgotten is read anew, as what was read in another epoch.
//!
//! A page has its place among the held answers of its member. A join waits here, and its room stays
//! for it; its client is not a member yet.
//!
//! Invariants:
//!
//! 1. the reads under way are bounded, and so is what waits for them: a read counts until it is
//!    answered, though nobody waits for it any more;
//! 2. an answer goes to the membership that asked, or to nobody;
//! 3. what was read in another epoch is not told, nor what lacks a change that is forgotten: it is
//!    read anew, or its client is told to ask again.
//!
//! Deliberately absent: deadlines. Every log answers in the end.
//!
//! Called by: `rooms`, `purging`. Calls: `room`, `held`, `pending`, `membership`, `changing`,
//! `committing`, `purging`, the log.

use std::collections::BTreeMap;
use std::mem;

use crate::limits::{
    ANSWER_BYTES_PER_WORK, MESSAGE_WORK, READS_OF_MESSAGES_MAX, READS_OF_ONE_MAX,
    READS_UNDER_WAY_MAX, WAITING_PUSHES_PER_ROOM_MAX,
};
use crate::link::ids::{Cursor, RoomKey};
use crate::link::io::Io;
use crate::link::log::{Log, Part, Read, Stretch, Ticket, View, Wanted, Why};
use crate::link::message::text;
use crate::link::outbox::{Cx, Tell};
use crate::link::record::{Field, From, Received, ToHome, read};
use crate::link::refusal::Refusal;
use crate::link::said::{Fate, MessageText};
use crate::room::Room;
use crate::room::journal::{Missed, Older};
use crate::rooms::Rooms;
use crate::rooms::changing::Fetched;
use crate::rooms::held::Membership;
use crate::rooms::purging::Purge;
use crate::rooms::registry::Registered;
use crate::wire::phx::Payload;

/// All reads under way. See the module.
#[derive(Default)]
pub(super) struct Reads {
    under_way: BTreeMap<Ticket, Reading>,
    /// What the joins and pushes among them take, in bytes.
    bytes: usize,
    /// A defect that the contract suite must find: what was read of a recovery is told, though the
    /// room's memory has moved on.
    #[cfg(test)]
    pub(super) has_gaps: bool,
    /// How often something was read again, since its room had moved on.
    #[cfg(test)]
    pub(super) again: u64,
}

/// A read under way.
struct Reading {
    room: RoomKey,
    /// The room's epoch when it was asked.
    epoch: u64,
    wanted: Wanted,
    /// How often it has been asked.
    attempts: u32,
    whom: Whom,
}

/// Who waits for a read.
enum Whom {
    /// A member, for a page that begins or ends there. Its answer is held.
    Page(Membership, From),
    /// A client that comes back.
    Join(Returning),
    /// Pushes about one message, in their order.
    Pushes(Vec<Waiting>),
    /// A purge.
    Purge(Box<Purge>),
    /// Nobody any more.
    Nobody,
}

/// A push that waits for the message that it is about.
struct Waiting {
    membership: Membership,
    /// Of its held answer. `None` of `typing`, which is not answered.
    ticket: Option<Ticket>,
    record: Box<[u8]>,
    /// Whether it only waits behind a message of its member, which waits for that.
    is_behind: bool,
}

impl Waiting {
    fn new(
        membership: Membership,
        ticket: Option<Ticket>,
        push: ToHome<'_>,
        is_behind: bool,
    ) -> Self {
        Self { membership, ticket, record: push.into_record(), is_behind }
    }
}

/// A join that waits for what it missed.
struct Returning {
    shard: u16,
    /// The ticket under which what was read was asked first. `None` while nothing was.
    since: Option<Ticket>,
    /// The join.
    record: Box<[u8]>,
    /// What was read of what it missed, from its cursor on.
    read: Vec<MessageText>,
    /// The messages that it has and that had changed, if they were read.
    changed: Option<Vec<(u64, MessageText)>>,
}

impl Returning {
    /// What it takes, in bytes.
    fn bytes(&self) -> usize {
        let changed = self.changed.iter().flatten().map(|(_, message)| message);
        let messages = self.read.iter().chain(changed);
        self.record.len() + messages.map(MessageText::memory_bytes).sum::<usize>()
    }

    fn join(&self) -> ToHome<'_> {
        let Received::ToHome(join) = read(&self.record) else { unreachable!("a join waits") };
        join
    }

    /// Where it stands. A client without a cursor has missed nothing.
    fn cursor(&self) -> Option<Cursor> {
        cursor_of(&self.join())
    }

    /// Up to where it has all, once it is given what was read.
    fn upto(&self, cursor: Cursor) -> u64 {
        cursor.offset + self.read.len() as u64
    }
}

impl Reading {
    /// The ticket under which what its answer is made of was asked first. This is its own one.
    fn since(&self, ticket: Ticket) -> Ticket {
        match &self.whom {
            Whom::Join(returning) => returning.since.unwrap_or(ticket),
            Whom::Page(..) | Whom::Pushes(_) | Whom::Purge(_) | Whom::Nobody => ticket,
        }
    }

    fn of(self, whom: Whom) -> Self {
        Self { whom, ..self }
    }

    fn bytes(&self) -> usize {
        match &self.whom {
            Whom::Join(returning) => returning.bytes(),
            Whom::Pushes(pushes) => pushes.iter().map(|push| push.record.len()).sum(),
            Whom::Page(..) | Whom::Purge(_) | Whom::Nobody => 0,
        }
    }
}

impl Reads {
    fn is_full(&self) -> bool {
        self.under_way.len() >= READS_UNDER_WAY_MAX
    }

    fn insert(&mut self, ticket: Ticket, reading: Reading) {
        self.bytes += reading.bytes();
        self.under_way.insert(ticket, reading);
    }

    fn take(&mut self, ticket: Ticket) -> Option<Reading> {
        let reading = self.under_way.remove(&ticket)?;
        self.bytes -= reading.bytes();
        Some(reading)
    }

    /// The read of one message that pushes wait for, if it is under way.
    fn of_message(&self, room: RoomKey, offset: u64) -> Option<Ticket> {
        let is_it = |(_, of): &(&Ticket, &Reading)| {
            (of.room, of.wanted.upto) == (room, offset) && matches!(of.whom, Whom::Pushes(_))
        };
        self.under_way.iter().find(is_it).map(|(ticket, _)| *ticket)
    }

    /// Adds a push to those that wait for a read of one message.
    fn add(&mut self, read: Ticket, waiting: Waiting) -> Result<(), Refusal> {
        let reading = self.under_way.get_mut(&read);
        let Some(Reading { whom: Whom::Pushes(pushes), .. }) = reading else {
            unreachable!("pushes wait for it")
        };
        if pushes.len() >= WAITING_PUSHES_PER_ROOM_MAX {
            return Err(Refusal::Busy);
        }
        self.bytes += waiting.record.len();
        pushes.push(waiting);
        Ok(())
    }

    /// How many purges wait.
    pub(super) fn purges_count(&self) -> usize {
        let is_purge = |of: &&Reading| matches!(of.whom, Whom::Purge(_));
        self.under_way.values().filter(is_purge).count()
    }

    /// Whether a join to a room waits: then the room stays.
    pub(super) fn has_join(&self, room: RoomKey) -> bool {
        let is_its = |of: &Reading| of.room == room && matches!(of.whom, Whom::Join(_));
        self.under_way.values().any(is_its)
    }

    /// The ticket of what was asked first of a room and is still being read.
    fn oldest(&self, room: RoomKey) -> Option<Ticket> {
        let of_room = self.under_way.iter().filter(|(_, of)| of.room == room);
        of_room.map(|(ticket, of)| of.since(*ticket)).min()
    }

    /// What the joins and pushes that wait take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets the joins of a shard that has begun anew. Returns their rooms.
    pub(super) fn forget(&mut self, shard: u16) -> Vec<RoomKey> {
        let mut rooms = Vec::new();
        for reading in self.under_way.values_mut() {
            let is_its = matches!(&reading.whom, Whom::Join(returning) if returning.shard == shard);
            if is_its {
                self.bytes -= reading.bytes();
                reading.whom = Whom::Nobody;
                rooms.push(reading.room);
            }
        }
        rooms
    }
}

impl Rooms {
    /// Asks the log for a page of the history. The answer is held until then.
    ///
    /// # Errors
    ///
    /// Why it cannot be read now.
    pub(super) fn read_page<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        membership: Membership,
        reference: &str,
        from: From,
        wanted: Wanted,
    ) -> Result<(), Refusal> {
        let (ticket, asked) = self.ask_log(cx, membership.room, wanted, 1)?;
        self.reads.insert(ticket, asked.of(Whom::Page(membership, from)));
        self.hold(membership, ticket, reference);
        Ok(())
    }

    /// Asks the log for what a client has missed, if it has to be read: then the join waits, and
    /// this is true.
    ///
    /// # Errors
    ///
    /// Why it cannot be read now.
    pub(super) fn read_missed<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: RoomKey,
        shard: u16,
        join: &ToHome<'_>,
    ) -> Result<bool, Refusal> {
        let Some(Registered { room, .. }) = self.arena.get(key) else { return Ok(false) };
        let Some(cursor) = cursor_of(join).filter(|_| cx.io.log().reads()) else {
            return Ok(false);
        };
        let limits = &cx.settings.history;
        let Some(wanted) = missed_in_log(room, cursor, None, limits.page_bytes, cx) else {
            return Ok(false);
        };
        let (ticket, asked) = self.ask_log(cx, key, wanted, 1)?;
        let record = join.into_record();
        let returning = Returning { shard, since: None, record, read: Vec::new(), changed: None };
        self.reads.insert(ticket, asked.of(Whom::Join(returning)));
        Ok(true)
    }

    /// Asks the log for one message, for a push that waits for it: one read, whoever asks. Returns
    /// its ticket.
    ///
    /// # Errors
    ///
    /// Why it cannot be read now.
    pub(super) fn read_message<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        membership: Membership,
        ticket: Ticket,
        offset: u64,
        push: ToHome<'_>,
    ) -> Result<Ticket, Refusal> {
        let key = membership.room;
        let waiting = Waiting::new(membership, Some(ticket), push, false);
        if let Some(read) = self.reads.of_message(key, offset) {
            self.reads.add(read, waiting)?;
            return Ok(read);
        }
        let of_pushes = |of: &&Reading| matches!(of.whom, Whom::Pushes(_));
        if self.reads.under_way.values().filter(of_pushes).count() >= READS_OF_MESSAGES_MAX {
            return Err(Refusal::Busy);
        }
        let after = offset - 1;
        let (part, messages, bytes) = (Part::All, 1, usize::MAX);
        let (upto, changed, view) = (offset, None, View::Room);
        let wanted = Wanted { after, upto, part, messages, bytes, changed, view };
        let (read, asked) = self.ask_log(cx, key, wanted, 1)?;
        self.reads.insert(read, asked.of(Whom::Pushes(vec![waiting])));
        Ok(read)
    }

    /// Asks the log for messages that a purge may be of. Gives it back, if they cannot be read now.
    pub(super) fn read_for_purge<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        wanted: Wanted,
        purge: Purge,
    ) -> Result<(), Purge> {
        let Ok((ticket, asked)) = self.ask_log(cx, purge.room(), wanted, 1) else {
            return Err(purge);
        };
        self.reads.insert(ticket, asked.of(Whom::Purge(Box::new(purge))));
        Ok(())
    }

    /// Has a push wait behind a message of its member that waits for a read.
    pub(super) fn wait_behind<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        membership: Membership,
        read: Ticket,
        reference: Option<&str>,
        push: ToHome<'_>,
    ) {
        let ticket = reference.map(|reference| self.hold_waiting(membership, reference));
        let waiting = Waiting::new(membership, ticket, push, true);
        self.add_behind(cx, members, read, waiting);
    }

    /// Has what a member pushed behind a message wait behind that, if it came from the queue of its
    /// room: there they are behind it no more.
    pub(super) fn move_behind<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        membership: Membership,
        read: Ticket,
    ) {
        // What the queue has of this member was pushed before, unless the message came out of it.
        if !self.is_releasing {
            return;
        }
        for (ticket, record) in self.pending.take_queued(membership) {
            let waiting = Waiting { membership, ticket, record, is_behind: true };
            self.add_behind(cx, members, read, waiting);
        }
    }

    fn add_behind<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        read: Ticket,
        waiting: Waiting,
    ) {
        let ticket = waiting.ticket;
        if let (Err(refusal), Some(ticket)) = (self.reads.add(read, waiting), ticket) {
            self.refuse_held(cx, members, ticket, refusal);
        }
    }

    /// The last ticket, if something of a room is being read or looked for, or a message is to stay
    /// known.
    pub(super) fn asked(&self, key: RoomKey) -> Option<Ticket> {
        let is_read = self.reads.oldest(key).is_some()
            || self.searches.oldest(key).is_some()
            || self.collected.has_known(key);
        is_read.then(|| self.pending.last_ticket())
    }

    /// Whether what was asked of a room under this ticket may lack something that is not known here
    /// any more.
    pub(super) fn is_forgotten(&self, key: RoomKey, asked: Ticket) -> bool {
        self.arena.get(key).is_some_and(|of| of.room.journal().is_forgotten(asked))
    }

    /// Notes that something of a room has been read or found.
    pub(super) fn read_ends(&mut self, key: RoomKey) {
        let (reads, searches) = (self.reads.oldest(key), self.searches.oldest(key));
        let known = self.collected.oldest_known(key);
        let oldest = [reads, searches, known].into_iter().flatten().min();
        if let Some(registered) = self.arena.get_mut(key) {
            registered.room.note_read(oldest);
            self.registry.weigh(registered);
        }
    }

    /// Gives a read to the log of a room, for the `attempts`th time. The caller notes for whom.
    fn ask_log<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: RoomKey,
        wanted: Wanted,
        attempts: u32,
    ) -> Result<(Ticket, Reading), Refusal> {
        let Some(Registered { room, .. }) = self.arena.get(key) else { return Err(Refusal::Busy) };
        if self.reads.is_full() {
            return Err(Refusal::Busy);
        }
        #[cfg(test)]
        if attempts > 1 {
            self.reads.again += 1;
        }
        let ticket = self.pending.next_ticket();
        let question = Read { room: key, topic: room.topic(), ticket, wanted };
        cx.io.log().read(question).map_err(Why::refusal)?;
        let epoch = room.journal().epoch();
        let whom = Whom::Nobody;
        Ok((ticket, Reading { room: key, epoch, wanted, attempts, whom }))
    }

    /// Handles what a log has read.
    pub(super) fn was_read<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        ticket: Ticket,
        stretch: &Stretch,
    ) {
        let Some(reading) = self.reads.take(ticket) else { return };
        let since = reading.since(ticket);
        let Reading { room: key, epoch, wanted, attempts, whom } = reading;
        let present = self.arena.get(key).map(|of| of.room.journal().epoch());
        let is_of_use = present == Some(epoch) && !self.is_forgotten(key, since);
        match whom {
            // Its member may have left.
            Whom::Page(membership, from) if self.held.is_awaited(ticket) => {
                let of_room = self.arena.get(key).map(|registered| &registered.room);
                let again = match of_room.filter(|_| is_of_use) {
                    Some(room) => read_again(room, from, (wanted, attempts), stretch),
                    None => Some(wanted),
                };
                if let Some(wanted) = again {
                    let of = (membership, ticket, from);
                    self.read_page_again(cx, members, of, wanted, attempts);
                } else {
                    self.answer_page(cx, members, (membership, ticket, from), wanted, stretch);
                }
            }
            Whom::Join(mut returning) => {
                let is_next = !stretch.messages.is_empty() && stretch.first == wanted.after + 1;
                let has_messages = is_next || wanted.upto == wanted.after;
                let is_whole = is_of_use && !stretch.more && has_messages;
                if is_whole {
                    returning.since = Some(since);
                    returning.read.extend_from_slice(&stretch.messages);
                    if wanted.changed.is_some() {
                        returning.changed = Some(stretch.changed.clone());
                    }
                } else if !is_of_use {
                    returning.since = None;
                    returning.read.clear();
                    returning.changed = None;
                }
                let may_go_on = is_whole || !is_of_use;
                self.go_on_returning(cx, members, key, returning, may_go_on.then_some(attempts));
            }
            Whom::Pushes(pushes) => {
                let is_it = stretch.first == wanted.upto;
                let message = stretch.messages.first().filter(|_| is_it);
                // Of another epoch it is nothing to judge by. Its client may ask again.
                let message = if is_of_use { Ok(message) } else { Err(Refusal::Busy) };
                let read = Reading { room: key, epoch, wanted, attempts, whom: Whom::Nobody };
                self.go_on_waiting(cx, members, (ticket, read), pushes, message);
            }
            Whom::Purge(purge) => {
                self.purge_read(cx, members, *purge, Some(stretch).filter(|_| is_of_use));
            }
            Whom::Page(..) | Whom::Nobody => {}
        }
        self.read_ends(key);
    }

    /// Handles that a log could not read something.
    pub(super) fn was_not_read<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        ticket: Ticket,
        why: Why,
    ) {
        let Some(mut read) = self.reads.take(ticket) else { return };
        let key = read.room;
        match mem::replace(&mut read.whom, Whom::Nobody) {
            Whom::Page(..) => self.refuse_held(cx, members, ticket, why.refusal()),
            Whom::Join(returning) => {
                self.refuse_returning(cx, members, key, &returning, why.refusal());
            }
            Whom::Pushes(pushes) => {
                self.go_on_waiting(cx, members, (ticket, read), pushes, Err(why.refusal()));
            }
            Whom::Purge(purge) => self.refuse_held(cx, members, purge.held, why.refusal()),
            Whom::Nobody => {}
        }
        self.read_ends(key);
    }

    /// Goes on with the pushes that waited for a read of one message, in their order. If there is
    /// nothing to judge them by, those about that message are refused.
    fn go_on_waiting<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        (read_ticket, asked): (Ticket, Reading),
        pushes: Vec<Waiting>,
        message: Result<Option<&MessageText>, Refusal>,
    ) {
        let (key, offset) = (asked.room, asked.wanted.upto);
        // What one of them waits for from now on is another read.
        self.pending.forget_readers(key, read_ticket);
        // It counts as read until all of them have gone on: what one does the next one must see,
        // and not what was read.
        self.reads.insert(read_ticket, asked);
        for Waiting { membership, ticket, record, is_behind } in pushes {
            // What one of them does may be too much to be known for the next one.
            let is_forgotten = self.is_forgotten(key, read_ticket);
            let message = if is_forgotten { message.and(Err(Refusal::Busy)) } else { message };
            let fetched = match (message, ticket) {
                (Ok(message), _) => {
                    Some(Fetched { room: key, offset, message: message.map(as_kept) })
                }
                (Err(refusal), Some(ticket)) if !is_behind => {
                    self.refuse_held(cx, members, ticket, refusal);
                    continue;
                }
                (Err(_), _) => None,
            };
            let Received::ToHome(push) = read(&record) else { unreachable!("only pushes wait") };
            cx.budget.spend(MESSAGE_WORK);
            self.go_on_fetched(cx, members, (membership, ticket), push, fetched);
        }
        self.reads.take(read_ticket);
    }

    fn answer_page<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        (membership, ticket, from): (Membership, Ticket, From),
        wanted: Wanted,
        stretch: &Stretch,
    ) {
        if let Part::Around(offset) = wanted.part
            && !stretch.has(offset)
        {
            // Its log has let go of it meanwhile, or it is damaged.
            return self.refuse_held(cx, members, ticket, Refusal::Gone);
        }
        let settings = cx.settings;
        self.answer_read(cx, members, (membership, ticket), |room, out| {
            room.push_view_read(out, from, wanted, stretch, &settings.history);
            if let Some(member) = room.member(membership.asker.slot) {
                room.push_mine(out, 0, member.identity.user(), stretch.reactions());
            }
        });
    }

    /// Answers a member with what its room makes of what was read for it. Of a read or a search.
    pub(super) fn answer_read<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        (membership, ticket): (Membership, Ticket),
        push: impl FnOnce(&Room, &mut Vec<u8>),
    ) {
        if cx.is_busy(membership.shard) {
            return self.refuse_held(cx, members, ticket, Refusal::Busy);
        }
        let Some(Registered { room, .. }) = self.arena.get(membership.room) else { return };
        let mut out = Vec::new();
        push(room, &mut out);
        cx.budget.spend_for(out.len(), ANSWER_BYTES_PER_WORK);
        self.resolve(cx, members, ticket, "ok", Payload::Json(text(&out)));
    }

    /// Asks for a page again: its room has turned while it was read, or moved on, or too much has
    /// changed.
    fn read_page_again<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        (membership, ticket, from): (Membership, Ticket, From),
        wanted: Wanted,
        attempts: u32,
    ) {
        let again = if attempts < READS_OF_ONE_MAX {
            self.ask_log(cx, membership.room, wanted, attempts + 1)
        } else {
            Err(Refusal::Busy)
        };
        match again {
            Ok((again, asked)) => {
                self.reads.insert(again, asked.of(Whom::Page(membership, from)));
                self.held.rename(ticket, again);
            }
            Err(refusal) => self.refuse_held(cx, members, ticket, refusal),
        }
    }

    /// Goes on with a join that something was read for, which has been asked `attempts` times; if
    /// that is none, it cannot be told all.
    fn go_on_returning<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        mut returning: Returning,
        attempts: Option<u32>,
    ) {
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        let (Some(cursor), Some(attempts)) = (returning.cursor(), attempts) else {
            return self.enter_returning(cx, members, key, &returning, false);
        };
        // What is in memory is told from there.
        let before = (room.history().first() - 1).saturating_sub(cursor.offset);
        returning.read.truncate(usize::try_from(before).unwrap_or(usize::MAX));
        let is_whole = returning.read.len() as u64 == before;
        #[cfg(test)]
        let is_whole = is_whole || self.reads.has_gaps;
        if is_whole {
            return self.enter_returning(cx, members, key, &returning, true);
        }
        let has_bytes: usize = returning.read.iter().map(|of| of.said.text_bytes()).sum();
        let bytes = cx.settings.history.page_bytes.saturating_sub(has_bytes);
        // After a turn, or where too much has changed, nothing that was read is of use.
        let has = returning.changed.is_some() || cursor.change.is_none();
        let upto = has.then_some(returning.upto(cursor));
        let wanted = missed_in_log(room, cursor, upto, bytes, cx);
        let Some(wanted) = wanted.filter(|_| attempts < READS_OF_ONE_MAX) else {
            return self.enter_returning(cx, members, key, &returning, false);
        };
        match self.ask_log(cx, key, wanted, attempts + 1) {
            Ok((ticket, asked)) => self.reads.insert(ticket, asked.of(Whom::Join(returning))),
            Err(refusal) => self.refuse_returning(cx, members, key, &returning, refusal),
        }
    }

    /// Lets a client in that waited for what it missed: with that, if it is whole.
    fn enter_returning<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        returning: &Returning,
        is_whole: bool,
    ) {
        if is_first(returning) && cx.is_busy(returning.shard) {
            return self.refuse_returning(cx, members, key, returning, Refusal::Busy);
        }
        // It may have been banned while it waited.
        if let Err(refusal) = self.may_enter(cx, key, &returning.join()) {
            return self.refuse_returning(cx, members, key, returning, refusal);
        }
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        let mut messages = Vec::new();
        let after = returning.cursor().map_or(0, |cursor| cursor.offset);
        for (offset, message) in (after + 1..).zip(&returning.read) {
            room.push_read(&mut messages, offset, message);
        }
        messages.pop_if(|last| *last == b',');
        let changed: Option<BTreeMap<u64, Vec<u8>>> = returning.changed.as_ref().map(|changed| {
            let read = |(offset, message): &(u64, MessageText)| {
                let mut out = Vec::new();
                room.push_read(&mut out, *offset, message);
                out.pop();
                (*offset, out)
            };
            changed.iter().map(read).collect()
        });
        let changed_texts = returning.changed.iter().flatten().map(|(offset, of)| (*offset, of));
        let read = (after + 1..).zip(&returning.read).chain(changed_texts);
        let reactions = read.filter_map(|(offset, of)| Some((offset, of.reacted()?)));
        let reactions = &*reactions.collect::<Vec<_>>();
        let older =
            Older::Read { after, messages: &messages, changed: changed.as_ref(), reactions };
        let older = if is_whole { older } else { Older::InLog };
        let bytes = self.enter(cx, members, key, returning.shard, returning.join(), older);
        cx.budget.spend_for(bytes, ANSWER_BYTES_PER_WORK);
    }

    /// Refuses a client that waited for what it missed, or lets it in without that: a home takes in
    /// again whoever is in already.
    fn refuse_returning<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        returning: &Returning,
        refusal: Refusal,
    ) {
        if !is_first(returning) {
            return self.enter_returning(cx, members, key, returning, false);
        }
        self.refuse_because(cx, members, returning.shard, returning.join(), refusal);
        self.retire_if_empty(cx, key);
    }

    /// Refuses what a held answer waits for.
    pub(super) fn refuse_held<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        ticket: Ticket,
        refusal: Refusal,
    ) {
        refusal.count(cx.metrics);
        self.resolve(cx, members, ticket, "error", Payload::Json(&refusal.response()));
    }

    /// Refuses what all of these held answers wait for.
    pub(super) fn refuse_all<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        tickets: impl IntoIterator<Item = Ticket>,
        refusal: Refusal,
    ) {
        for ticket in tickets {
            self.refuse_held(cx, members, ticket, refusal);
        }
    }

    /// Asserts the invariants of the module. For [`Rooms::check`].
    pub(super) fn check_reads(&self) {
        let Reads { under_way, bytes, .. } = &self.reads;
        assert!(under_way.len() <= READS_UNDER_WAY_MAX, "reads are bounded");
        let counted: usize = under_way.values().map(Reading::bytes).sum();
        assert_eq!(counted, *bytes, "what waits for reads is counted");
        for reading in under_way.values() {
            let stays = !matches!(reading.whom, Whom::Join(_)) || self.arena.contains(reading.room);
            assert!(stays, "a room stays while a join to it waits");
        }
        for (membership, read) in self.pending.readers() {
            let whom = under_way.get(read).map(|reading| &reading.whom);
            let is_its = |waiting: &Waiting| waiting.membership == *membership;
            let waits = matches!(whom, Some(Whom::Pushes(pushes)) if pushes.iter().any(is_its));
            assert!(waits, "a message that waits for a read is among those that do");
        }
    }
}

/// A message without what only a read says of it.
pub(super) fn as_kept(read: &MessageText) -> MessageText {
    MessageText::new(read.at_ms, read.said.said(), Fate { replies: None, ..read.fate() })
}

/// What a page is still to be read of, if what was read for it the `attempts`th time does not do.
fn read_again(
    room: &Room,
    from: From,
    (wanted, attempts): (Wanted, u32),
    stretch: &Stretch,
) -> Option<Wanted> {
    let is_early = attempts < READS_OF_ONE_MAX && room.lacks_pin(wanted, stretch);
    if is_early || room.is_read_in_vain(from, wanted, stretch) {
        return Some(wanted);
    }
    let first = room.history().first();
    // The log has let go of all of it, and memory has moved on past what is next.
    let is_past = stretch.messages.is_empty()
        && (wanted.view, wanted.part) == (View::Room, Part::Oldest)
        && first > wanted.upto + 1;
    is_past.then(|| Wanted { after: wanted.upto, upto: first - 1, ..wanted })
}

/// Whether a client is not in the room already.
fn is_first(returning: &Returning) -> bool {
    matches!(returning.join(), ToHome::Join { replaces: None, .. })
}

fn cursor_of(join: &ToHome<'_>) -> Option<Cursor> {
    match join {
        ToHome::Join { since, .. } => *since,
        _ => None,
    }
}

/// What is to be read of what a client missed, from behind `has` on, if it can be told all. Nothing
/// is told of rooms that are a user's own.
fn missed_in_log<I: Io>(
    room: &Room,
    cursor: Cursor,
    has: Option<u64>,
    bytes: usize,
    cx: &Cx<'_, I>,
) -> Option<Wanted> {
    room.name()?;
    let missed = room.journal().recover(cursor, Older::InLog, &cx.settings.history)?;
    let Missed::InLog { after, upto, changed } = missed else { return None };
    // What has changed was read with the first of it.
    let (after, changed) = has.map_or((after, changed), |has| (has, None));
    let (part, messages, view) = (Part::All, u32::MAX, View::Room);
    Some(Wanted { after, upto, part, messages, bytes, changed, view })
}

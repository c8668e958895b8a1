//! The reads under way, and who waits for each.
//!
//! Invariants:
//!
//! 1. they are bounded, and so is what waits for them: a read counts until it is answered, though
//!    nobody waits for it any more;
//! 2. while something of a room is read, its changes stay known: see `room::meanwhile`.
//!
//! Deliberately absent: what becomes of what was read (`reading`, `returning`, `purging`).
//!
//! Called by: `rooms`, `reading`, `returning`, `changing`, `collecting`, `searching`, `speech`,
//! `purging`, `membership`, `registry`. Calls: `room`, the log.

use std::collections::BTreeMap;

use crate::limits::{READS_UNDER_WAY_MAX, WAITING_PUSHES_PER_ROOM_MAX};
use crate::link::field::Field;
use crate::link::ids::{Cursor, RoomKey};
use crate::link::io::Io;
use crate::link::log::{Log, Part, Read, Ticket, View, Wanted, Why};
use crate::link::outbox::Cx;
use crate::link::record::{From, Received, ToHome, read};
use crate::link::refusal::Refusal;
use crate::link::said::MessageText;
use crate::rooms::Rooms;
use crate::rooms::held::Membership;
use crate::rooms::purging::Purge;
use crate::rooms::registry::Registered;

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
pub(super) struct Reading {
    pub(super) room: RoomKey,
    /// The room's epoch when it was asked.
    pub(super) epoch: u64,
    pub(super) wanted: Wanted,
    /// How often it has been asked.
    pub(super) attempts: u32,
    pub(super) whom: Whom,
}

/// Who waits for a read.
pub(super) enum Whom {
    /// A member, for a page that begins or ends there. Its answer is held.
    Page(Membership, From),
    /// A client that comes back, for what it missed; or, if it may have heard more elsewhere than
    /// its room has, for that.
    Join(Returning),
    /// Pushes about one message, in their order.
    Pushes(Vec<Waiting>),
    /// A purge.
    Purge(Box<Purge>),
    /// Nobody any more.
    Nobody,
}

/// A push that waits for the message that it is about.
pub(super) struct Waiting {
    pub(super) membership: Membership,
    /// Of its held answer. `None` of `typing`, which is not answered.
    pub(super) ticket: Option<Ticket>,
    pub(super) record: Box<[u8]>,
    /// Whether it only waits behind another push of its member, which waits for that.
    pub(super) is_behind: bool,
}

/// A join that waits for what it missed.
pub(super) struct Returning {
    pub(super) shard: u16,
    /// The ticket under which what was read was asked first. `None` while nothing was.
    pub(super) since: Option<Ticket>,
    /// Whether it waits until its room has caught up, and nothing was read for it yet.
    pub(super) is_ahead: bool,
    /// The join.
    pub(super) record: Box<[u8]>,
    /// What was read of what it missed, from its cursor on.
    pub(super) read: Vec<MessageText>,
    /// The messages that it has and that had changed, if they were read.
    pub(super) changed: Option<Vec<(u64, MessageText)>>,
}

impl Returning {
    pub(super) fn new(shard: u16, is_ahead: bool, join: ToHome<'_>) -> Self {
        let record = join.into_record();
        Self { shard, since: None, is_ahead, record, read: Vec::new(), changed: None }
    }

    /// What it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let changed = self.changed.iter().flatten().map(|(_, message)| message);
        let messages = self.read.iter().chain(changed);
        self.record.len() + messages.map(MessageText::memory_bytes).sum::<usize>()
    }

    pub(super) fn join(&self) -> ToHome<'_> {
        let Received::ToHome(join) = read(&self.record) else { unreachable!("a join waits") };
        join
    }

    /// Where it stands. A client without a cursor has missed nothing.
    pub(super) fn cursor(&self) -> Option<Cursor> {
        cursor_of(&self.join())
    }

    /// Up to where it has all, once it is given what was read.
    pub(super) fn upto(&self, cursor: Cursor) -> u64 {
        cursor.offset + self.read.len() as u64
    }
}

impl Waiting {
    pub(super) fn new(
        membership: Membership,
        ticket: Option<Ticket>,
        push: ToHome<'_>,
        is_behind: bool,
    ) -> Self {
        Self { membership, ticket, record: push.into_record(), is_behind }
    }
}

impl Reading {
    /// The ticket under which what its answer is made of was asked first. This is its own one.
    pub(super) fn since(&self, ticket: Ticket) -> Ticket {
        match &self.whom {
            Whom::Join(returning) => returning.since.unwrap_or(ticket),
            Whom::Page(..) | Whom::Pushes(_) | Whom::Purge(_) | Whom::Nobody => ticket,
        }
    }

    /// The same, for somebody.
    pub(super) fn of(self, whom: Whom) -> Self {
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

    /// Adds one that the log has been given.
    pub(super) fn insert(&mut self, ticket: Ticket, reading: Reading) {
        self.bytes += reading.bytes();
        self.under_way.insert(ticket, reading);
    }

    /// Takes one out that has ended.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<Reading> {
        let reading = self.under_way.remove(&ticket)?;
        self.bytes -= reading.bytes();
        Some(reading)
    }

    /// The read of one message that pushes wait for, if it is under way.
    pub(super) fn of_message(&self, room: RoomKey, offset: u64) -> Option<Ticket> {
        let is_it = |(_, of): &(&Ticket, &Reading)| {
            (of.room, of.wanted.upto) == (room, offset) && matches!(of.whom, Whom::Pushes(_))
        };
        self.under_way.iter().find(is_it).map(|(ticket, _)| *ticket)
    }

    /// Adds a push to those that wait for a read of one message.
    pub(super) fn add(&mut self, read: Ticket, waiting: Waiting) -> Result<(), Refusal> {
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

    /// How many of them are of one message.
    pub(super) fn messages_count(&self) -> usize {
        let is_of_pushes = |of: &&Reading| matches!(of.whom, Whom::Pushes(_));
        self.under_way.values().filter(is_of_pushes).count()
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

    /// Takes the joins to a room that wait, each with its shard.
    pub(super) fn take_joins(&mut self, room: RoomKey) -> Vec<(u16, Box<[u8]>)> {
        let mut joins = Vec::new();
        for reading in self.under_way.values_mut().filter(|reading| reading.room == room) {
            if !matches!(reading.whom, Whom::Join(_)) {
                continue;
            }
            self.bytes -= reading.bytes();
            if let Whom::Join(returning) = std::mem::replace(&mut reading.whom, Whom::Nobody) {
                joins.push((returning.shard, returning.record));
            }
        }
        joins
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
    pub(super) fn ask_log<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: RoomKey,
        wanted: Wanted,
        attempts: u32,
    ) -> Result<(Ticket, Reading), Refusal> {
        let Some(Registered { room, .. }) = self.arena.get(key) else { return Err(Refusal::Busy) };
        if self.reads.is_full() || self.loading.is_closed(key) {
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

    /// Has a room told all that has its place there by now. The caller notes for whom.
    pub(super) fn ask_to_catch_up<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: RoomKey,
    ) -> Option<(Ticket, Reading)> {
        let Registered { room, .. } = self.arena.get(key)?;
        if self.reads.is_full() || self.loading.is_closed(key) {
            return None;
        }
        let ticket = self.pending.next_ticket();
        cx.io.log().catch_up(key, ticket).ok()?;
        let (epoch, upto) = (room.journal().epoch(), room.journal().top().offset);
        let (part, view) = (Part::All, View::Room);
        let wanted = Wanted { after: upto, upto, part, messages: 0, bytes: 0, changed: None, view };
        Some((ticket, Reading { room: key, epoch, wanted, attempts: 1, whom: Whom::Nobody }))
    }

    /// Asserts the invariants of the reads. For [`Rooms::check`].
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
            assert!(waits, "what waits for a read and holds up others is among those that do");
        }
    }
}

/// The cursor of a join.
pub(super) fn cursor_of(join: &ToHome<'_>) -> Option<Cursor> {
    match join {
        ToHome::Join { since, .. } => *since,
        _ => None,
    }
}

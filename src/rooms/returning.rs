//! Clients that come back, while what they missed is read.
//!
//! ```text
//!   join ── Log::read ── FromLog::Read ─┬─> all of it is there: the answer, from that and memory
//!                                       ├─> memory has moved on: what is between is read too
//!                                       └─> it cannot be told all: `recovered: false`
//! ```
//!
//! A join waits here, and its room stays for it; its client is not a member yet.
//!
//! Invariant: what is told was read in the room's epoch, and lacks no change that is forgotten.
//!
//! Deliberately absent: what a client missed (`room::resume`).
//!
//! Called by: `membership`, `reading`. Calls: `room`, `reads`, `membership`, the log.

use std::collections::BTreeMap;

use crate::limits::{ANSWER_BYTES_PER_WORK, READS_OF_ONE_MAX};
use crate::link::ids::{Cursor, RoomKey};
use crate::link::io::Io;
use crate::link::log::{Log, Part, Ticket, View, Wanted};
use crate::link::outbox::{Cx, Tell};
use crate::link::record::{Field, Received, ToHome, read};
use crate::link::refusal::Refusal;
use crate::link::said::MessageText;
use crate::room::Room;
use crate::room::journal::{Missed, Older};
use crate::rooms::Rooms;
use crate::rooms::reads::Whom;
use crate::rooms::registry::Registered;

/// A join that waits for what it missed.
pub(super) struct Returning {
    pub(super) shard: u16,
    /// The ticket under which what was read was asked first. `None` while nothing was.
    pub(super) since: Option<Ticket>,
    /// The join.
    pub(super) record: Box<[u8]>,
    /// What was read of what it missed, from its cursor on.
    pub(super) read: Vec<MessageText>,
    /// The messages that it has and that had changed, if they were read.
    pub(super) changed: Option<Vec<(u64, MessageText)>>,
}

impl Returning {
    /// What it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
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

impl Rooms {
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

    /// Goes on with a join that something was read for, which has been asked `attempts` times; if
    /// that is none, it cannot be told all.
    pub(super) fn go_on_returning<I: Io>(
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
    pub(super) fn refuse_returning<I: Io>(
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

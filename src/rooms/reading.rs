//! Reads of messages that are no longer in a room's memory: pages of the history, and messages that
//! pushes are about.
//!
//! ```text
//!   history, join ── Log::read ── here, in order of tickets
//!   FromLog::Read ──┬─> a page:     the answer that is held for it
//!                   ├─> a recovery: see `returning`
//!                   ├─> a purge:    see `purging`
//!                   └─> a message:  the pushes that wait for it go on, see `changing`, and those
//!                                   behind another of their own member among them
//!   FromLog::NotRead ─> refused, with a time; what waits behind a message goes on
//! ```
//!
//! What is read may be older than what members have heard since it was asked. So a message that has
//! changed meanwhile is told as memory knows it: see `Journal::message`. How long memory knows that
//! depends on the ticket of the oldest read under way: see `room::meanwhile`. What was asked before
//! something of that had to be forgotten is read anew, as what was read in another epoch.
//!
//! A page has its place among the held answers of its member.
//!
//! Invariants:
//!
//! 1. an answer goes to the membership that asked, or to nobody;
//! 2. what was read in another epoch is not told, nor what lacks a change that is forgotten: it is
//!    read anew, or its client is told to ask again.
//!
//! Deliberately absent: deadlines. Every log answers in the end.
//!
//! Called by: `rooms`, `speech`, `changing`, `committing`, `purging`, `searching`. Calls: `room`,
//! `reads`, `returning`, `held`, `pending`, `changing`, `committing`, `purging`, the log.

use std::mem;

use crate::limits::{ANSWER_BYTES_PER_WORK, MESSAGE_WORK, READS_OF_MESSAGES_MAX, READS_OF_ONE_MAX};
use crate::link::io::Io;
use crate::link::log::{Part, Stretch, Ticket, View, Wanted, Why};
use crate::link::message::text;
use crate::link::outbox::{Cx, Tell};
use crate::link::record::{From, Received, ToHome, read};
use crate::link::refusal::Refusal;
use crate::link::said::MessageText;
use crate::room::Room;
use crate::rooms::Rooms;
use crate::rooms::changing::Fetched;
use crate::rooms::held::Membership;
use crate::rooms::purging::Purge;
use crate::rooms::reads::{Reading, Waiting, Whom};
use crate::rooms::registry::Registered;
use crate::wire::phx::Payload;

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
        if self.reads.messages_count() >= READS_OF_MESSAGES_MAX {
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

    /// Asks the log for messages that a purge may be of.
    ///
    /// # Errors
    ///
    /// The purge, and why they cannot be read now.
    pub(super) fn read_for_purge<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        wanted: Wanted,
        purge: Box<Purge>,
    ) -> Result<(), (Box<Purge>, Refusal)> {
        match self.ask_log(cx, purge.room(), wanted, 1) {
            Ok((ticket, asked)) => {
                self.reads.insert(ticket, asked.of(Whom::Purge(purge)));
                Ok(())
            }
            Err(refusal) => Err((purge, refusal)),
        }
    }

    /// Has a push wait behind another one of its member that waits for a read.
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

    /// Has what a member pushed behind a push that waits for a read wait there too, if that came
    /// from the queue of its room: there they are behind it no more.
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
            Whom::Join(returning) if returning.is_ahead => {
                self.go_on_caught_up(cx, members, key, &returning);
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
            // It is judged by what its room knows.
            Whom::Join(returning) if returning.is_ahead => {
                self.go_on_caught_up(cx, members, key, &returning);
            }
            Whom::Join(returning) => {
                self.refuse_returning(cx, members, key, &returning, why.refusal());
            }
            Whom::Pushes(pushes) => {
                self.go_on_waiting(cx, members, (ticket, read), pushes, Err(why.refusal()));
            }
            Whom::Purge(purge) => self.cut_purge_short(cx, members, *purge, why.refusal()),
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
                    Some(Fetched { room: key, offset, message: message.map(MessageText::as_kept) })
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

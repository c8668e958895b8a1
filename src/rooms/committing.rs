//! What follows a proposal: the later answers of a log, and the pushes that wait behind entries
//! without a place.
//!
//! ```text
//!   FromLog::Entry ──> applied, told to all; what waited behind it in the room goes on
//!   FromLog::Kept ───> the receipt, once the entry is applied too
//!   FromLog::Refused ─> after a conflict see `again`, else an error
//!   FromLog::Turned ──> a new epoch, told to all; what was lost is never answered `ok`
//!   FromLog::Read ────> see `reading`
//!   FromLog::Found ───> see `searching`
//!   FromLog::LetGo ───> the oldest messages go from memory, too
//!   FromLog::Closed ──> see `loading`
//!   FromLog::Heard ───> see `speech`, and `nodes` of who is there
//! ```
//!
//! Deliberately absent: threads and deadlines. Both belong to the log.
//!
//! Called by: `rooms`, and `shard` with what a log says. Calls: `room`, `again`, `collecting`,
//! `deciding`, `entries`, `founding`, `held`, `loading`, `pending`, `reading`, `speech`.

use std::iter;

use crate::link::audit::{AuditLine, LineText};
use crate::link::field::Field;
use crate::link::ids::RoomKey;
use crate::link::io::Io;
use crate::link::log::{FromLog, Log, Marks, Placed, Ticket, What, Why};
use crate::link::message::{push_epoch_told, text};
use crate::link::outbox::{Cx, Tell};
use crate::link::record::{NewMessage, Received, ToHome, ToMember, read};
use crate::link::refusal::Refusal;
use crate::link::said::MessageText;
#[cfg(test)]
use crate::room::planted::{self, Planted};
use crate::room::{Outpost, Room};
use crate::rooms::Rooms;
use crate::rooms::entries::deliver;
use crate::rooms::held::Membership;
use crate::rooms::pending::Kind;
use crate::rooms::registry::Registered;
use crate::rooms::under_way::Again;
use crate::wire::phx::Payload;

/// The reason that channels end with when their room has lost what they may have seen.
const TURNED: &str = "turned";

impl Rooms {
    /// Handles what a log says. Nobody is told anything of a room that is gone.
    pub(crate) fn hear_log<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        message: FromLog<'_>,
    ) {
        match message {
            FromLog::Opened { room, opened } => self.was_opened(cx, room, opened),
            FromLog::NotOpened { room, why } => self.was_not_opened(cx, members, room, why),
            FromLog::Closed { room } => self.was_closed(cx, members, room),
            FromLog::Entry { room, ticket, placed, rev, what, line, was_missed } => {
                let line = line.map(LineText::line);
                let what = (what, line, was_missed);
                self.came_back(cx, members, room, ticket, rev, placed, what);
            }
            FromLog::Kept { room, ticket, placed } => {
                self.note_kept(room, placed.marks);
                self.pending.change(room, ticket, |entry| entry.placed = Some(placed));
                self.founding_is_kept(cx, members, room, ticket);
                // If its key had been used before, no entry of its own will come.
                self.resolve_kept(cx, members, room, ticket);
            }
            FromLog::Refused { room, ticket, why } => {
                self.founding_is_doubtful(cx, members, room, ticket, why);
                self.say_was_refused(cx, members, room, ticket, why);
                self.was_refused(cx, members, room, ticket, why);
                // It may have been all that the room was there for.
                self.remove_if_deserted(cx, room);
            }
            FromLog::Read { room: _, ticket, stretch } => {
                self.was_read(cx, members, ticket, stretch);
            }
            FromLog::Found { room: _, ticket, hits } => {
                self.was_found(cx, members, ticket, |room, out| room.push_hits(out, hits));
            }
            FromLog::Audited { room: _, ticket, page } => {
                let push = |_: &Room, out: &mut Vec<u8>| out.extend_from_slice(page.as_bytes());
                self.was_found(cx, members, ticket, push);
            }
            FromLog::NotRead { room: _, ticket, why } => {
                if !self.was_not_found(cx, members, ticket, why) {
                    self.was_not_read(cx, members, ticket, why);
                }
            }
            FromLog::Turned { room, epoch, kept } => {
                self.turn_epoch(cx, members, room, epoch, kept);
            }
            FromLog::LetGo { room, floor } => self.let_go(cx, room, floor),
            FromLog::Heard { room, from, ticket, what } => {
                self.hear_unkept(cx, members, room, from, ticket, what);
            }
            FromLog::Missed { room } => self.was_missed(cx, room),
            FromLog::Life { node, life } => self.lives(cx, node, life),
            FromLog::Gone { nodes } => self.are_over(cx, nodes),
            FromLog::Listed { .. }
            | FromLog::NotListed
            | FromLog::SessionAsked { .. }
            | FromLog::SessionAnswered { .. } => {
                unreachable!("the shard hears it, which has the directory and the sessions")
            }
        }
    }

    /// Lets go of messages: whoever asks for them is told that they are gone.
    fn let_go<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: RoomKey, floor: Marks) {
        let Some(registered) = self.arena.get_mut(key) else { return };
        let bytes_before = registered.room.history().kept_bytes();
        registered.room.let_go(floor);
        self.registry.weigh_history(bytes_before, &registered.room);
        self.registry.weigh(registered);
        // Of an empty room there may be nothing left to keep.
        self.remove_if_deserted(cx, key);
    }

    /// Handles the next entry of a room, proposed here or on another node.
    #[expect(clippy::too_many_arguments, reason = "they are the fields of one message")]
    fn came_back<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        ticket: Option<Ticket>,
        rev: u64,
        placed: Placed,
        (what, line, was_missed): (What<'_>, Option<AuditLine<'_>>, bool),
    ) {
        let Some(Registered { room, .. }) = self.arena.get_mut(key) else { return };
        room.apply_rev(rev);
        // With this log, a message is kept only when the log says so.
        room.note_kept(Marks::default());
        let applied_at = Some(placed.marks);
        let own = ticket.filter(|ticket| self.pending.get(key, *ticket).is_some());
        if let Some(line) = &line {
            self.note_audit(cx, key, line, placed.at_ms);
        }
        match what {
            What::Message(said) => {
                let key_hash = said.key.map(|key| self.hash_key(said.user, key));
                self.commit(cx, members, key, said, placed.receipt(), key_hash);
                // If another node used this key first, no entry will come of the message under way
                // here.
                if let Some((ticket, _)) = self.pending.of_key(key, key_hash) {
                    self.pending.change(key, ticket, |same| same.applied_at = applied_at);
                }
            }
            What::Changed { offset, message } => {
                let change = placed.marks.change;
                let (changed, change) = ((offset, message), (change, was_missed));
                self.came_changed(cx, members, key, own, changed, change);
            }
            What::Founded { .. } | What::Settings { .. } | What::Standing { .. } | What::Noted => {
                self.was_decided(cx, members, key, own, (what, line));
            }
        }
        if let Some(ticket) = own {
            self.pending.change(key, ticket, |own| own.applied_at = applied_at);
            self.collected.forget_told(key, ticket);
            let membership = self.pending.get(key, ticket).map(|own| own.membership);
            if let (What::Message(_), Some(membership)) = (what, membership) {
                self.spoke_if_there(cx, membership);
            }
            if what.is_of_room() {
                self.go_on_decided(cx, members, key, ticket);
            }
        }
        self.release(cx, members, key);
        self.tell_collected_late(cx, members, key);
        // After `release`, so that answers come behind what was said before them. `Kept` may have
        // come before this entry.
        self.resolve_applied(cx, members, key);
        self.tell_along(cx, members, key);
        self.remove_if_deserted(cx, key);
    }

    /// A message has become another one: by what was proposed here under a ticket, or elsewhere.
    fn came_changed<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        own: Option<Ticket>,
        (offset, message): (u64, &MessageText),
        (change, was_missed): (u64, bool),
    ) {
        let is_shared = cx.io.log().is_shared();
        let Some(Registered { room, .. }) = self.arena.get_mut(key) else { return };
        if is_shared {
            room.skip_changes(change);
        }
        let own = own.and_then(|ticket| self.pending.get(key, ticket)?.was.as_deref());
        // Others may have changed it meanwhile.
        let was = own.filter(|was| room.is_as_was(was.offset, &was.message, was.top));
        let was = was.filter(|was| was.offset == offset).map(|was| was.message.clone());
        let changed = (offset, was.as_ref(), message);
        self.commit_change(cx, members, key, changed, (change, was_missed));
        self.pending.note_changed(key, offset, message, change);
    }

    /// Answers the publishers of entries that are kept and have been applied.
    fn resolve_applied<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
    ) {
        for ticket in self.pending.confirmed(key) {
            self.resolve_kept(cx, members, key, ticket);
        }
    }

    /// Answers whoever proposed an entry that is kept. If the room has not applied it yet, only
    /// notes that.
    fn resolve_kept<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        ticket: Ticket,
    ) {
        let top = self.arena.get(key).map_or(Marks::default(), |of| of.room.journal().top());
        let entry = self.pending.get(key, ticket);
        let Some((placed, applied_at)) = entry.and_then(|of| Some((of.placed?, of.applied_at)))
        else {
            return;
        };
        // A decision has no number by which it is known to be applied.
        let is_applied = applied_at.is_some() || !placed.is_decision();
        #[cfg(test)]
        let is_applied = is_applied || planted::is(Planted::AnsweredUnapplied);
        if !is_applied || !placed.marks.is_within(top) {
            return self.pending.change(key, ticket, |entry| entry.is_confirmed = true);
        }
        self.founding_is_kept(cx, members, key, ticket);
        let mut out = Vec::new();
        match self.pending.get(key, ticket).and_then(|entry| entry.answer.as_ref()) {
            Some(answer) => out.extend_from_slice(answer.as_bytes()),
            None => self.push_placed(&mut out, key, placed),
        }
        self.finish(cx, members, key, ticket, "ok", Payload::Json(text(&out)));
    }

    /// Handles a refused append. After a conflict it goes on once the room knows the change.
    fn was_refused<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        ticket: Ticket,
        why: Why,
    ) {
        if why == Why::Conflict && self.goes_again(cx, members, key, ticket) {
            return;
        }
        let Some(entry) = self.pending.get(key, ticket) else { return };
        if entry.placed.is_none() {
            let refusal = match (why, &entry.again) {
                // A message with its key may have been heard: then it is in doubt, not refused.
                _ if entry.applied_at.is_some() => Why::Unconfirmed.refusal(),
                (Why::Conflict, Again::Recall(refusal)) => *refusal,
                _ => why.refusal(),
            };
            return self.fail(cx, members, key, ticket, refusal);
        }
        // The home gave the order and members have seen it: the log keeps it in the end, or the
        // room turns. Until then it is in doubt, and so is every message with its key.
        self.pending.change(key, ticket, |entry| entry.is_doubtful = true);
        let along = self.pending.take_along(key, ticket);
        let all = iter::once(ticket).chain(along.into_iter().map(|(along, _)| along));
        self.refuse_all(cx, members, all, Why::Unconfirmed.refusal());
    }

    /// Answers a publisher that its message was refused, and why.
    pub(super) fn fail<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        ticket: Ticket,
        refusal: Refusal,
    ) {
        refusal.count(cx.metrics);
        if let Some(registered) = self.arena.get_mut(key) {
            registered.room.forget_report(ticket);
        }
        self.founding_is_refused(cx, members, ticket, refusal);
        self.finish(cx, members, key, ticket, "error", Payload::Json(&refusal.response()));
    }

    /// Ends an entry with its final answer, and goes on with what waited behind it.
    ///
    /// Changes: what is under way, held answers. Emits: the answers that waited for the ticket.
    pub(super) fn finish<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        ticket: Ticket,
        status: &str,
        response: Payload<'_>,
    ) {
        let along = self.pending.take_along(key, ticket);
        self.pending.remove(key, ticket);
        self.collected.forget_told(key, ticket);
        self.resolve(cx, members, ticket, status, response);
        for (along, answer) in along {
            let response = if status == "ok" { Payload::Json(&answer) } else { response };
            self.resolve(cx, members, along, status, response);
        }
        self.release(cx, members, key);
        self.tell_collected_late(cx, members, key);
    }

    /// Moves a room to a new epoch. If a member may have seen what is lost, all its channels end.
    /// Clients rejoin with their cursors: up to what was kept they recover exactly, beyond that
    /// they are told.
    fn turn_epoch<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        epoch: u64,
        kept: Marks,
    ) {
        let Some(registered) = self.arena.get_mut(key) else { return };
        let bytes_before = registered.room.history().kept_bytes();
        let is_lossy = registered.room.turn(epoch, kept);
        registered.room.forget_reports();
        self.registry.weigh_history(bytes_before, &registered.room);
        self.registry.weigh(registered);
        let room = &registered.room;
        if is_lossy {
            end_channels(cx, members, room);
        } else {
            let mut out = Vec::new();
            let Marks { offset, change } = room.journal().top();
            push_epoch_told(&mut out, epoch, offset, change);
            deliver(cx, members, room, "room_epoch", Payload::Json(text(&out)));
        }
        // It was to be judged by messages that may be lost. Nothing of it was accepted.
        self.refuse_collected(cx, members, key, Refusal::Busy);
        if is_lossy {
            let waiting = self.pending.take_queue(key);
            self.refuse_all(cx, members, waiting, Refusal::Busy);
        }
        for ticket in self.pending.forget_again(key, kept.offset) {
            self.fail(cx, members, key, ticket, Refusal::Busy);
        }
        let lost = self.pending.lose(key, Some(kept));
        self.refuse_all(cx, members, lost, Why::Unconfirmed.refusal());
        self.release(cx, members, key);
        self.remove_if_deserted(cx, key);
    }

    /// Queues a push until its room may go on; behind a message of its member that waits for a
    /// read, if there is one.
    pub(super) fn wait<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        membership: Membership,
        reference: Option<&str>,
        push: ToHome<'_>,
    ) {
        if let Some(read) = self.pending.read_of(membership) {
            return self.wait_behind(cx, members, membership, read, reference, push);
        }
        if self.pending.is_full(membership.room) {
            return self.refuse(cx, members, membership.shard, push);
        }
        let ticket = reference.map(|reference| self.hold_waiting(membership, reference));
        let kind = match push {
            ToHome::Publish { .. } => Kind::Message,
            ToHome::Change { .. }
            | ToHome::Add { .. }
            | ToHome::Set { .. }
            | ToHome::Stand { .. } => Kind::Change,
            // It has its place among the entries only with a log that several homes share.
            ToHome::Report { .. } if cx.io.log().is_shared() => Kind::Change,
            ToHome::Custom { .. } | ToHome::Typing { .. } | ToHome::Report { .. } => Kind::Event,
            ToHome::Join { .. }
            | ToHome::Leave { .. }
            | ToHome::ListMembers { .. }
            | ToHome::Audit { .. }
            | ToHome::Invite { .. }
            | ToHome::Meta { .. }
            | ToHome::History { .. }
            | ToHome::Search { .. }
            | ToHome::Bounce { .. }
            | ToHome::Create { .. }
            | ToHome::Listing { .. }
            | ToHome::Renew { .. }
            | ToHome::Load { .. } => unreachable!("it does not wait in its room"),
        };
        let thread = match push {
            ToHome::Publish { message: NewMessage { reply_to: Some(to), .. }, .. } => {
                // It is not read again: while it is, others go before it.
                self.fetched.as_ref().and_then(|fetched| fetched.thread(membership.room, to))
            }
            _ => None,
        };
        self.pending.queue(membership, ticket, push.into_record(), (kind, thread));
    }

    /// Queues a push before all that wait in its room, until what is under way has its place.
    pub(super) fn wait_first(&mut self, membership: Membership, reference: &str, push: ToHome<'_>) {
        let ticket = self.hold_waiting(membership, reference);
        self.pending.queue_first(membership, ticket, push.into_record());
    }

    /// Goes on with what waits in a room: first entries that conflicted, then pushes behind them.
    pub(super) fn release<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
    ) {
        if self.pending.is_idle() || self.is_releasing {
            return;
        }
        self.propose_again(cx, members, key);
        while let Some(Registered { room, .. }) = self.arena.get(key) {
            let Some(next) = self.pending.pop(key, room.journal().judged()) else { return };
            let Membership { shard, asker, .. } = next.membership;
            if !room.is_member(shard, asker) {
                // Its connection has closed, and expects no answer.
                continue;
            }
            let Received::ToHome(push) = read(&next.record) else {
                unreachable!("only pushes wait")
            };
            (self.is_releasing, self.read_thread) = (true, next.thread);
            self.hear_held(cx, members, next.membership, next.ticket, push);
            (self.is_releasing, self.read_thread) = (false, None);
        }
    }
}

/// Ends the channels of all members of a room, whose clients rejoin with their cursors.
pub(super) fn end_channels<I: Io>(cx: &mut Cx<'_, I>, members: &mut impl Tell<I>, room: &Room) {
    for Outpost { shard, audience, .. } in room.outposts() {
        members.tell(cx, *shard, ToMember::Ended { audience: *audience, reason: TURNED });
    }
}

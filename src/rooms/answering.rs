//! Answers to members: at once, or behind those that are held for them.
//!
//! ```text
//!   answer_* ── reply ─┬ nothing is held for the member ── told
//!                      └ behind what is held            ── Held
//!   hold ── Held ── resolve: what its ticket waited for ── give_all, in order
//! ```
//!
//! A push that waits has its place among the held answers, by its ticket. When it is handled, its
//! answer comes there.
//!
//! Invariant: a member is answered in the order in which it has pushed.
//!
//! Deliberately absent: what the answers wait for (`committing`, `reading`, `pending`).
//!
//! Called by: `rooms`, and nearly all files beside it. Calls: `room`, `held`, `pending`,
//! `founding`, `inviting`, `purging`.

use std::mem;

use crate::link::field::Field as _;
use crate::link::ids::{Asker, Receipt, RoomKey};
use crate::link::io::Io;
use crate::link::log::{Placed, Ticket};
use crate::link::message::{push_change_number, push_receipt, text};
use crate::link::outbox::{Cx, Tell};
use crate::link::record::{Received, ToHome, ToMember, read};
use crate::link::refusal::Refusal;
use crate::room::Room;
use crate::rooms::held::{HeldAnswer, Membership};
use crate::rooms::registry::Registered;
use crate::rooms::under_way::UnderWay;
use crate::rooms::{Answer, Rooms};
use crate::wire::phx::Payload;

impl Rooms {
    /// Answers a publisher with the receipt of its message.
    pub(super) fn answer_ok<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        membership: Membership,
        reference: &str,
        receipt: Receipt,
    ) {
        self.answer_placed(cx, members, membership, reference, Placed::message(receipt));
    }

    /// Answers whoever proposed an entry that its log has kept in the call.
    pub(super) fn answer_kept<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        membership: Membership,
        reference: &str,
        placed: Placed,
    ) {
        self.note_kept_if_told(cx, membership.room, placed);
        self.answer_placed(cx, members, membership, reference, placed);
    }

    /// Answers whoever proposed an entry with the place that it has.
    pub(super) fn answer_placed<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        membership: Membership,
        reference: &str,
        placed: Placed,
    ) {
        let mut out = std::mem::take(&mut self.scratch.response);
        self.push_placed(&mut out, membership.room, placed);
        self.reply(cx, members, membership, Answer::ok(reference, text(&out)));
        out.clear();
        self.scratch.response = out;
    }

    /// Appends the answer to whoever proposed an entry: of a message its receipt and the epoch of
    /// its offset, of a change its number.
    pub(super) fn push_placed(&self, out: &mut Vec<u8>, room: RoomKey, placed: Placed) {
        if placed.marks.offset == 0 {
            return push_change_number(out, placed.marks.change);
        }
        let receipt = placed.receipt();
        let of = self.arena.get(room);
        let epoch = of.map_or(0, |of| of.room.journal().epoch_of(receipt.offset));
        push_receipt(out, epoch, receipt);
    }

    pub(super) fn answer_refused<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        membership: Membership,
        reference: &str,
        refusal: Refusal,
    ) {
        refusal.count(cx.metrics);
        let mut out = std::mem::take(&mut self.scratch.refusal);
        out.clear();
        refusal.push_response(&mut out);
        let response = Payload::Json(&out);
        self.reply(cx, members, membership, Answer { reference, status: "error", response });
        self.scratch.refusal = out;
    }

    /// Answers a member, behind all held answers to it.
    pub(super) fn reply<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        membership: Membership,
        answer: Answer<'_>,
    ) {
        if let Some((_, ticket)) = self.released.take_if(|(released, _)| *released == membership) {
            return self.resolve(cx, members, ticket, answer.status, answer.response);
        }
        let Some(Registered { room, .. }) = self.arena.get(membership.room) else { return };
        if self.held.holds(membership) {
            room.assert_member(membership.shard, membership.asker);
            self.held.push(membership, answer);
        } else {
            reply(cx, members, room, membership, answer);
        }
    }

    /// Holds a push that asks what the room is, if answers to its member are held: else its answer
    /// would be older than what the member hears before it is given. Returns whether there is
    /// nothing to answer now: it is held, or its room is gone.
    ///
    /// Requires: the asker is a member.
    pub(super) fn asks_later(
        &mut self,
        membership: Membership,
        reference: &str,
        push: ToHome<'_>,
    ) -> bool {
        let Some(Registered { room, .. }) = self.arena.get(membership.room) else { return true };
        room.assert_member(membership.shard, membership.asker);
        let is_its_turn = self.released.is_some_and(|(released, _)| released == membership);
        if is_its_turn || !self.held.holds(membership) {
            return false;
        }
        self.held.push_asks(membership, reference, push.into_record());
        true
    }

    /// Holds the answer to a push that waits, and returns its ticket. A push that had waited keeps
    /// that: it is its place in the order in which things were said, too.
    pub(super) fn hold_waiting(&mut self, membership: Membership, reference: &str) -> Ticket {
        if let Some((_, placed)) = self.released.take_if(|(released, _)| *released == membership) {
            return placed;
        }
        let ticket = self.pending.next_ticket();
        self.held.wait(membership, ticket, reference);
        ticket
    }

    /// Holds the answer to an entry until its log has answered for good.
    pub(super) fn hold_under_way(&mut self, ticket: Ticket, reference: &str, entry: UnderWay) {
        // What had waited keeps its place: what was said behind it still waits.
        let first_ticket = self.released.map_or(ticket, |(_, placed)| placed);
        let membership = entry.membership;
        self.pending.insert(ticket, UnderWay { first_ticket, ..entry });
        self.hold(membership, ticket, reference);
    }

    /// Holds an answer until its ticket is resolved. A push that had waited keeps its place in the
    /// line.
    pub(super) fn hold(&mut self, membership: Membership, ticket: Ticket, reference: &str) {
        match self.released.take_if(|(released, _)| *released == membership) {
            Some((_, placed)) => self.held.rename(placed, ticket),
            None => self.held.wait(membership, ticket, reference),
        }
    }

    /// Gives a ticket its answer, and sends the answers that were held behind it.
    pub(super) fn resolve<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        ticket: Ticket,
        status: &str,
        response: Payload<'_>,
    ) {
        for membership in self.held.resolve(ticket, status, response) {
            self.give_all(cx, members, membership);
        }
        self.go_on_invited(cx, members, ticket, status, response);
        self.go_on_purged(cx, members, ticket, status, response);
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
        self.founding_is_refused(cx, members, ticket, refusal);
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

    /// Sends a member the held answers that are known.
    fn give_all<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        membership: Membership,
    ) {
        // Of a push that is handled here, whose answer is the next one: the loop goes on with that.
        if self.giving == Some(membership) {
            return;
        }
        let outer = self.giving.replace(membership);
        while let Some(held) = self.held.pop(membership) {
            self.give(cx, members, membership, &held);
        }
        self.giving = outer;
    }

    fn give<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        membership: Membership,
        held: &HeldAnswer,
    ) {
        match held {
            HeldAnswer::Waits { .. } => unreachable!("it waits still"),
            HeldAnswer::Reply { reference, status, is_json, response } => {
                let Some(Registered { room, .. }) = self.arena.get(membership.room) else { return };
                let response = if *is_json {
                    Payload::Json(text(response))
                } else {
                    Payload::Binary(response)
                };
                reply(cx, members, room, membership, Answer { reference, status, response });
            }
            HeldAnswer::Asks { reference, record } => {
                let Received::ToHome(push) = read(record) else { unreachable!("a push waits") };
                let ticket = self.pending.next_ticket();
                self.held.wait_first(membership, ticket, reference);
                self.hear_held(cx, members, membership, Some(ticket), push);
            }
            HeldAnswer::Leave { reference } => {
                self.leave(cx, members, membership, Some(reference));
            }
        }
    }

    /// Handles a push that had waited: its answer, if it has one, already has its place among the
    /// held ones.
    pub(super) fn hear_held<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        membership: Membership,
        ticket: Option<Ticket>,
        push: ToHome<'_>,
    ) {
        let released = ticket.map(|ticket| (membership, ticket));
        let outer = mem::replace(&mut self.released, released);
        self.hear(cx, members, membership.shard, push);
        self.released = outer;
    }
}

/// Answers a member at once.
fn reply<I: Io>(
    cx: &mut Cx<'_, I>,
    members: &mut impl Tell<I>,
    room: &Room,
    membership: Membership,
    answer: Answer<'_>,
) {
    let Membership { shard, asker, .. } = membership;
    room.assert_member(shard, asker);
    let Some(audience) = room.audience(shard) else { return };
    let (Asker { conn, slot }, Answer { reference, status, response }) = (asker, answer);
    members.tell(cx, shard, ToMember::Reply { conn, audience, slot, reference, status, response });
}

//! Searches: messages of a room by their words.
//!
//! ```text
//!   msg_search ─┬─ the log finds more than memory has: Log::find ── here ── the held answer
//!               └─ else: what the room has in memory
//! ```
//!
//! Invariants: the searches under way are bounded, and count until they are answered; an answer
//! goes to the membership that asked, or to nobody.
//!
//! Deliberately absent: rates, and rights, which the member's shard checks.
//!
//! Called by: `rooms`. Calls: `room`, `held`, `reading`, `reads`, the log.

use std::collections::BTreeMap;

use crate::limits::{ANSWER_BYTES_PER_WORK, SEARCHES_UNDER_WAY_MAX};
use crate::link::ids::RoomKey;
use crate::link::io::Io;
use crate::link::log::{Find, Log, Sought, Ticket, Why};
use crate::link::message::text;
use crate::link::outbox::{Cx, Tell};
use crate::link::record::{Searched, ToHome};
use crate::link::refusal::Refusal;
use crate::room::Room;
use crate::rooms::held::Membership;
use crate::rooms::registry::Registered;
use crate::rooms::{Answer, Rooms};
use crate::wire::json;

/// All searches under way, and what is looked up in audit trails: each with whom it is for.
#[derive(Default)]
pub(super) struct Searches(BTreeMap<Ticket, Membership>);

impl Searches {
    /// The ticket of what was looked for first in a room, and still is.
    pub(super) fn oldest(&self, room: RoomKey) -> Option<Ticket> {
        self.0.iter().find(|(_, membership)| membership.room == room).map(|(ticket, _)| *ticket)
    }
}

impl Rooms {
    /// Answers with the messages that have the words that are looked for, the newest first.
    ///
    /// Requires: the asker is a member. Emits: the answer, or `Log::find` and the answer later.
    pub(super) fn search<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        shard: u16,
        push: ToHome<'_>,
    ) {
        let ToHome::Search { home: key, asker, reference, searched } = push else {
            unreachable!("called for searches")
        };
        let membership = Membership { room: key, shard, asker };
        if self.asks_later(membership, reference, push) {
            return;
        }
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        let bytes_max = cx.settings.history.page_bytes;
        if cx.io.log().finds() {
            let Searched { query, from, before, limit: messages } = searched;
            let query = json::string(query).unwrap_or_default();
            let from = from.and_then(json::string);
            let before = before.unwrap_or(u64::MAX);
            let (query, from, bytes) = (&*query, from.as_deref(), bytes_max);
            let sought = Sought { query, from, before, messages, bytes };
            return self.look_up(cx, members, membership, reference, |cx, ticket| {
                cx.io.log().find(Find { room: key, ticket, sought })
            });
        }
        let mut out = std::mem::take(&mut self.scratch.response);
        let looked_at_bytes = room.push_found(&mut out, searched, bytes_max);
        // What was looked at costs as much as if it were told.
        cx.budget.spend_for(looked_at_bytes, ANSWER_BYTES_PER_WORK);
        self.reply(cx, members, membership, Answer::ok(reference, text(&out)));
        out.clear();
        self.scratch.response = out;
    }

    /// Asks the log for what a member wants to know, and holds the answer until that is found.
    pub(super) fn look_up<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        membership: Membership,
        reference: &str,
        ask: impl FnOnce(&mut Cx<'_, I>, Ticket) -> Result<(), Why>,
    ) {
        if self.searches.0.len() >= SEARCHES_UNDER_WAY_MAX {
            return self.answer_refused(cx, members, membership, reference, Refusal::Busy);
        }
        let ticket = self.pending.next_ticket();
        match ask(cx, ticket) {
            Ok(()) => {
                self.searches.0.insert(ticket, membership);
                self.hold(membership, ticket, reference);
            }
            Err(why) => {
                self.answer_refused(cx, members, membership, reference, why.refusal());
            }
        }
    }

    /// Answers with what a log has found: `push` appends it.
    pub(super) fn was_found<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        ticket: Ticket,
        push: impl FnOnce(&Room, &mut Vec<u8>),
    ) {
        let Some(membership) = self.searches.0.remove(&ticket) else { return };
        if self.is_forgotten(membership.room, ticket) {
            self.refuse_held(cx, members, ticket, Refusal::Busy);
        // Its member may have left.
        } else if self.held.is_awaited(ticket) {
            self.answer_read(cx, members, (membership, ticket), push);
        }
        self.read_ends(membership.room);
    }

    /// Handles that a log could not look for something. False if that was no search.
    pub(super) fn was_not_found<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        ticket: Ticket,
        why: Why,
    ) -> bool {
        let Some(membership) = self.searches.0.remove(&ticket) else { return false };
        self.refuse_held(cx, members, ticket, why.refusal());
        self.read_ends(membership.room);
        true
    }
}

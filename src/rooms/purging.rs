//! Purges: what a user has said of late is deleted, in memory or not.
//!
//! ```text
//!   stand ── in memory: purge ─┬─ that is all of it ── the answer, when it is kept
//!                              └─ go on: kept ── Log::read ── here ── purge ── kept ── ...
//! ```
//!
//! What is no longer in memory is read a stretch at a time, the newest first, each when the
//! deletions of the one before are kept. So a turn has the work of one stretch. It ends at the time
//! from which on messages are to go, after [`PURGED_MESSAGES_MAX`] of them, or where it has looked
//! through as many as it may: then its answer says that there may be more, and before which
//! message. Whoever asks again names that one, and the purge goes on there. Nothing is kept of it
//! meanwhile: so it does at another node, and after a restart.
//!
//! Where something goes wrong when messages are deleted already, it ends there, and its answer says
//! the same: how many are, and where the others may be.
//!
//! Invariants: the purges under way are bounded; each has an answer that is held, or nobody who
//! waits for it any more, and goes on without.
//!
//! Deliberately absent: who may purge (`room::rights`).
//!
//! Called by: `deciding`, `reading`, `again`, `rooms`. Calls: `room`, `changing`, `entries`,
//! `reading`, `pending`, `held`, the log.

use std::collections::BTreeMap;

use crate::auth::level::Level;
use crate::limits::{
    EDIT_FOR_EVER_S, MOVED_BYTES_PER_TURN, PURGE_READ_MESSAGES, PURGE_READS_MAX,
    PURGED_MESSAGES_MAX, PURGES_UNDER_WAY_MAX, VISITS_PER_WORK,
};
use crate::link::ids::RoomKey;
use crate::link::io::Io;
use crate::link::log::{Log, Part, Stretch, Ticket, View, Wanted, Why};
use crate::link::message::{MESSAGE_BYTES_MIN, text};
use crate::link::outbox::{Cx, Tell};
use crate::link::record::Verb;
use crate::link::refusal::Refusal;
use crate::link::said::MessageText;
use crate::room::verbs::{Actor, judge};
use crate::rooms::Rooms;
use crate::rooms::changing::Proposed;
use crate::rooms::entries::take_fanout;
use crate::rooms::held::Membership;
use crate::rooms::registry::Registered;
use crate::rooms::under_way::{Again, UnderWay};
use crate::wire::json::push_unsigned;
use crate::wire::phx::Payload;

/// The purges that wait for a deletion, or a decision, to be kept: by that.
#[derive(Default)]
pub(super) struct Purges(BTreeMap<Ticket, Purge>);

/// A purge that has done what there was in memory.
pub(super) struct Begun<'a> {
    /// Whose messages go, by whose decision.
    pub(super) user: &'a str,
    pub(super) by: &'a str,
    /// Those that were said from then on, in milliseconds of Unix time.
    pub(super) since_ms: u64,
    /// How many are gone.
    pub(super) count: usize,
    /// What is before this offset is still to be looked at; none, if that is all.
    pub(super) before: Option<u64>,
    /// Whether others that are in memory could not be deleted.
    pub(super) is_cut_short: bool,
    /// How its answer begins.
    pub(super) answer: Vec<u8>,
}

/// What was deleted of some messages.
pub(super) struct Deleted {
    /// How many.
    pub(super) count: usize,
    /// The last deletion, if its log will say more of it.
    pub(super) last: Option<(Ticket, UnderWay)>,
    /// The first one that is not, and why.
    pub(super) refused: Option<(u64, Why)>,
}

/// A purge under way. See [`Begun`].
pub(super) struct Purge {
    room: RoomKey,
    user: Box<str>,
    by: Box<str>,
    since_ms: u64,
    count: usize,
    /// How many of those are known to be kept, and what `before` was by then.
    kept: usize,
    kept_before: Option<u64>,
    answer: Vec<u8>,
    /// The answer that is held.
    pub(super) held: Ticket,
    /// What is before this offset is still to be looked at; none, if that is all.
    before: Option<u64>,
    /// How often it may still read.
    reads_left: u32,
    /// Whether it ends when what it has done is kept, for something could not be deleted.
    is_cut_short: bool,
}

impl Purge {
    /// Its room.
    pub(super) fn room(&self) -> RoomKey {
        self.room
    }
}

/// Appends to an object how many messages a purge has deleted, and before which one there may be
/// more; and its end.
fn push_purged(out: &mut Vec<u8>, count: usize, before: Option<u64>) {
    out.extend_from_slice(b",\"purged\":");
    push_unsigned(out, count as u64);
    if let Some(before) = before {
        out.extend_from_slice(b",\"more\":true,\"before\":");
        push_unsigned(out, before);
    }
    out.push(b'}');
}

impl Rooms {
    /// Deletes these messages, as far as they are known to be there, up to one that its log does
    /// not take.
    pub(super) fn purge<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        membership: Membership,
        messages: Vec<(u64, MessageText)>,
        by: &str,
    ) -> Deleted {
        let actor = Actor { user: by, level: Level::Moderate, now_ms: cx.now.unix_ms };
        let is_shared = cx.io.log().is_shared();
        let purge = self.pending.next_ticket();
        let (mut count, mut last) = (0, None);
        for (offset, was) in messages {
            let Ok(Some(next)) = judge(Verb::Delete, &was, actor, EDIT_FOR_EVER_S) else {
                continue;
            };
            let changed = (offset, Some(&was), &next);
            let proposed = self.propose_change(cx, members, membership, changed, None);
            let under_way = match proposed {
                Ok(Proposed::Kept(placed)) => {
                    self.note_kept_if_told(cx, membership.room, placed);
                    None
                }
                Ok(Proposed::UnderWay(ticket, entry)) if is_shared => {
                    let again = Again::Purge { by: by.into(), purge };
                    Some((ticket, UnderWay { again, ..entry }))
                }
                Ok(Proposed::UnderWay(ticket, entry)) => Some((ticket, entry)),
                Err(why) => return Deleted { count, last, refused: Some((offset, why)) },
            };
            // They are kept in order, so the last of them says it for all.
            self.await_unheard(std::mem::replace(&mut last, under_way));
            count += 1;
        }
        Deleted { count, last, refused: None }
    }

    /// The deletions of a purge are kept in order, so that the last one says it for all. This one
    /// is the last from now on: it is proposed again.
    pub(super) fn answers_for_purge(&mut self, key: RoomKey, purge: Ticket, ticket: Ticket) {
        for other in self.pending.of_purge(key, purge) {
            if other != ticket {
                self.hand_on(key, other, ticket);
            }
        }
    }

    /// Whatever waits for one deletion waits for another one.
    fn hand_on(&mut self, key: RoomKey, from: Ticket, to: Ticket) {
        self.held.rename(from, to);
        if let Some(purge) = self.purges.0.remove(&from) {
            self.purges.0.insert(to, purge);
        }
        if let Some(answer) = self.pending.take_answer(key, from) {
            self.pending.set_answer(key, to, answer);
        }
    }

    /// Deletes a message of a purge again, as it is by now, if it is still to be deleted.
    pub(super) fn delete_again<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        (ticket, mut entry): (Ticket, UnderWay),
        (by, purge): (Box<str>, Ticket),
    ) {
        let (key, proposals) = (entry.membership.room, entry.proposals);
        let Some(was) = entry.was.take() else { return };
        let here = self.arena.get(key).and_then(|of| of.room.message(was.offset));
        let (offset, was) = (was.offset, here.unwrap_or(was.message));
        let (membership, first_ticket) = (entry.membership, entry.first_ticket);
        self.pending.insert(ticket, entry);
        let actor = Actor { user: &by, level: Level::Moderate, now_ms: cx.now.unix_ms };
        let Ok(Some(next)) = judge(Verb::Delete, &was, actor, EDIT_FOR_EVER_S) else {
            // Another has deleted it. Whoever waits for it waits for the others.
            if let Some(last) = self.pending.of_purge(key, purge).last().copied() {
                self.hand_on(key, ticket, last);
            }
            let answer = self.pending.take_answer(key, ticket);
            let answer = answer.as_deref().unwrap_or("{}");
            return self.finish(cx, members, key, ticket, "ok", Payload::Json(answer));
        };
        let outer = std::mem::replace(&mut self.proposals, proposals);
        let changed = (offset, Some(&was), &next);
        let proposed = self.propose_change(cx, members, membership, changed, None);
        self.proposals = outer;
        match proposed {
            Ok(Proposed::UnderWay(again, proposed)) => {
                let of_purge = Again::Purge { by, purge };
                let entry = UnderWay { first_ticket, again: of_purge, ..proposed };
                self.pending.insert(again, entry);
                self.hand_on(key, ticket, again);
                self.answers_for_purge(key, purge, again);
                self.pending.remove(key, ticket);
            }
            Ok(Proposed::Kept(_)) => unreachable!("a log that several homes share answers later"),
            Err(why) => self.fail(cx, members, key, ticket, why.refusal()),
        }
    }

    /// Answers a purge, when what it has done is kept; or goes on with it beyond memory, if it may,
    /// and has something to look at there.
    pub(super) fn answer_purge<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        (membership, reference): (Membership, &str),
        begun: Begun<'_>,
        under_way: Option<(Ticket, UnderWay)>,
    ) {
        let Begun { user, by, since_ms, count, before, is_cut_short, mut answer } = begun;
        let is_over = count == PURGED_MESSAGES_MAX || is_cut_short;
        let may_read = before.is_some() && cx.io.log().reads() && !is_over;
        let is_crowded = self.purges.0.len() + self.reads.purges_count() >= PURGES_UNDER_WAY_MAX;
        if may_read && is_crowded && count == 0 {
            self.await_unheard(under_way);
            return self.answer_refused(cx, members, membership, reference, Refusal::Busy);
        }
        if !may_read || is_crowded {
            push_purged(&mut answer, count, before);
            let answer = text(&answer);
            return self.answer_with(cx, members, membership, reference, under_way, answer);
        }
        let held = self.pending.next_ticket();
        self.hold(membership, held, reference);
        let purge = Purge {
            room: membership.room,
            user: user.into(),
            by: by.into(),
            since_ms,
            count,
            kept: 0,
            kept_before: None,
            answer,
            held,
            before,
            reads_left: PURGE_READS_MAX,
            is_cut_short: false,
        };
        self.go_on_purging(cx, members, purge, under_way);
    }

    /// Goes on with a purge when what it has done is kept.
    fn go_on_purging<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        purge: Purge,
        under_way: Option<(Ticket, UnderWay)>,
    ) {
        if let Some((ticket, entry)) = under_way {
            self.await_unheard(Some((ticket, entry)));
            self.purges.0.insert(ticket, purge);
        } else {
            self.purge_next(cx, members, purge);
        }
    }

    /// An entry was answered for good, which a purge may wait for.
    pub(super) fn go_on_purged<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        ticket: Ticket,
        status: &str,
        response: Payload<'_>,
    ) {
        let Some(purge) = self.purges.0.remove(&ticket) else { return };
        if status == "ok" {
            return self.purge_next(cx, members, purge);
        }
        if purge.kept > 0 {
            let (count, before) = (purge.kept, purge.kept_before);
            return self.end_purge(cx, members, Purge { count, before, ..purge });
        }
        self.resolve(cx, members, purge.held, status, response);
    }

    /// Ends a purge that cannot go on: what is done is done, and else it is refused.
    pub(super) fn cut_purge_short<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        purge: Purge,
        refusal: Refusal,
    ) {
        match purge.count {
            0 => self.refuse_held(cx, members, purge.held, refusal),
            _ => self.end_purge(cx, members, purge),
        }
    }

    /// Reads the next messages that may be a purge's, or ends it. All that it has done is kept.
    fn purge_next<I: Io>(&mut self, cx: &mut Cx<'_, I>, members: &mut impl Tell<I>, purge: Purge) {
        let purge = Purge { kept: purge.count, kept_before: purge.before, ..purge };
        let Some(Registered { room, .. }) = self.arena.get(purge.room) else { return };
        let after = room.journal().log_floor().offset;
        let Some(before) = purge.before.filter(|before| *before > after + 1) else {
            return self.end_purge(cx, members, Purge { before: None, ..purge });
        };
        let is_full = purge.count == PURGED_MESSAGES_MAX;
        if is_full || purge.is_cut_short || purge.reads_left == 0 {
            return self.end_purge(cx, members, purge);
        }
        let (part, messages, changed) = (Part::Newest, PURGE_READ_MESSAGES, None);
        let (upto, bytes, view) = (before - 1, cx.settings.history.page_bytes, View::Room);
        let wanted = Wanted { after, upto, part, messages, bytes, changed, view };
        let purge = Purge { reads_left: purge.reads_left - 1, ..purge };
        if let Err((purge, refusal)) = self.read_for_purge(cx, wanted, Box::new(purge)) {
            self.cut_purge_short(cx, members, *purge, refusal);
        }
    }

    /// Deletes what a log has read of what is a purge's. `stretch` is none, if that cannot be used.
    pub(super) fn purge_read<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        purge: Purge,
        stretch: Option<&Stretch>,
    ) {
        let Some(stretch) = stretch else { return self.purge_next(cx, members, purge) };
        let Purge { room: key, ref user, ref by, since_ms, count, .. } = purge;
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        let (mut found, mut before) = (Vec::new(), Some(stretch.first));
        let mut moved_bytes = 0;
        cx.budget.spend_for(stretch.messages.len(), VISITS_PER_WORK);
        for (index, read) in stretch.messages.iter().enumerate().rev() {
            let offset = stretch.first + index as u64;
            // What is known here is newer.
            let message = room.message(offset).unwrap_or_else(|| read.as_kept());
            let is_before = message.at_ms < since_ms;
            let is_all_that_may_go =
                count + found.len() == PURGED_MESSAGES_MAX || moved_bytes > MOVED_BYTES_PER_TURN;
            if is_before || is_all_that_may_go {
                before = Some(offset + 1).filter(|_| !is_before);
                break;
            }
            if message.said.user == *user && message.fate().deleted.is_none() {
                moved_bytes += room.history().moved_bytes(offset);
                found.push((offset, message));
            }
        }
        let before = before.filter(|_| !stretch.messages.is_empty());
        let nobody = Membership::of_nobody(key);
        let allowed = if self.pending.is_behind(key) {
            Err(Refusal::Busy)
        } else {
            take_fanout(cx, room, by, found.len() * MESSAGE_BYTES_MIN)
        };
        // What is done is done, and whoever asks again goes on with the rest.
        if let Err(refusal) = allowed {
            return self.cut_purge_short(cx, members, purge, refusal);
        }
        let Deleted { count: new, last, refused } = self.purge(cx, members, nobody, found, by);
        let is_cut_short = refused.is_some();
        let before = refused.map_or(before, |(offset, _)| Some(offset + 1));
        let purge = Purge { count: count + new, before, is_cut_short, ..purge };
        match refused.filter(|_| last.is_none()) {
            Some((_, why)) => self.cut_purge_short(cx, members, purge, why.refusal()),
            None => self.go_on_purging(cx, members, purge, last),
        }
    }

    /// Answers a purge.
    fn end_purge<I: Io>(&mut self, cx: &mut Cx<'_, I>, members: &mut impl Tell<I>, purge: Purge) {
        let Purge { held, mut answer, count, before, .. } = purge;
        push_purged(&mut answer, count, before);
        self.resolve(cx, members, held, "ok", Payload::Json(text(&answer)));
    }
}

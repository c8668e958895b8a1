//! Entries that were judged by what another node has changed meanwhile: they go on from there.
//!
//! ```text
//!   FromLog::Refused, a conflict ─┬ a message ──────────── said again, as it was
//!                                 ├ a push, an invite ──── judged again from the beginning, by the
//!                                 │                        room as it is by then
//!                                 ├ a deletion of a purge  of the message as it is by then
//!                                 └ what was collected ─── with the next tick
//! ```
//!
//! They wait until the room has heard of the change, and go at most [`PROPOSALS_MAX`] times; what
//! is collected only where nothing is heard in between. Messages go in the order in which they were
//! said. All else is as if it had come only now: what was said behind it does not wait for it.
//! Whoever may not any more what it might then is refused.
//!
//! Deliberately absent: stores and memory, at which nobody else decides.
//!
//! Called by: `committing`. Calls: `room`, `pending`, `held`, `collecting`, `entries`, `founding`,
//! `inviting`, `purging`, `speech`, the log.

use std::mem;

use crate::limits::PROPOSALS_MAX;
use crate::link::ids::RoomKey;
use crate::link::io::Io;
use crate::link::log::{Appended, Entry, Log, Ticket, What};
use crate::link::outbox::{Cx, Tell};
use crate::link::record::{Received, read};
use crate::link::refusal::Refusal;
use crate::link::said::SaidText;
use crate::rooms::Rooms;
use crate::rooms::entries::append_of;
use crate::rooms::held::Membership;
use crate::rooms::registry::Registered;
use crate::rooms::under_way::{Again, UnderWay, Was};

impl Rooms {
    /// An entry is a conflict: it goes on when the room knows with what. False, if it does not.
    pub(super) fn goes_again<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        ticket: Ticket,
    ) -> bool {
        let Some(entry) = self.pending.get(key, ticket) else { return false };
        match &entry.again {
            Again::Never | Again::Recall(_) => return false,
            Again::Collect => {
                if !self.collect_again(cx, key, ticket) {
                    return false;
                }
                self.pending.remove(key, ticket);
            }
            _ if entry.proposals >= PROPOSALS_MAX => return false,
            Again::Purge { purge, .. } => {
                let purge = *purge;
                self.pending.change(key, ticket, |entry| entry.is_parked = true);
                self.answers_for_purge(key, purge, ticket);
            }
            Again::Said(_) => self.pending.change(key, ticket, |entry| entry.is_parked = true),
            Again::Push(_) | Again::Join | Again::Found => {
                let first_ticket = self.pending.next_ticket();
                self.pending.change(key, ticket, |entry| {
                    (entry.is_parked, entry.first_ticket) = (true, first_ticket);
                });
            }
        }
        self.release(cx, members, key);
        true
    }

    /// Goes on with the entries that conflicted, as far as the room knows with what, in the order
    /// in which they were proposed first.
    pub(super) fn propose_again<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
    ) {
        while let Some(Registered { room, .. }) = self.arena.get(key) {
            let is_as_was = |was: &Was| room.is_as_was(was.offset, &was.message, was.top);
            let judged = room.journal().judged();
            let Some(ticket) = self.pending.next_again(key, judged, is_as_was) else { return };
            let Some(mut entry) = self.pending.remove(key, ticket) else { return };
            let proposals = entry.proposals;
            match mem::replace(&mut entry.again, Again::Never) {
                Again::Said(said) => self.say_again(cx, members, (ticket, entry), said),
                Again::Push(record) => self.judge_again(cx, members, (ticket, entry), &record),
                Again::Purge { by, purge } => {
                    self.delete_again(cx, members, (ticket, entry), (by, purge));
                }
                Again::Join => self.with_proposals(proposals, |rooms| {
                    rooms.join_again(cx, members, ticket);
                }),
                Again::Found => self.with_proposals(proposals, |rooms| {
                    rooms.found_again(cx, members, key, ticket);
                }),
                Again::Never | Again::Recall(_) | Again::Collect => {
                    unreachable!("it is not parked")
                }
            }
        }
    }

    /// Handles something that has been proposed so often.
    fn with_proposals(&mut self, proposals: u32, handle: impl FnOnce(&mut Self)) {
        let outer = mem::replace(&mut self.proposals, proposals);
        handle(self);
        self.proposals = outer;
    }

    /// Proposes a message again.
    fn say_again<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        (ticket, mut entry): (Ticket, UnderWay),
        text: SaidText,
    ) {
        let Membership { room: key, shard, asker } = entry.membership;
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        // What has changed may be what its author may do, who may have left meanwhile.
        let allowed = if room.is_member(shard, asker) {
            room.may_speak(asker.slot, cx.now.unix_ms)
        } else {
            room.may_have_said(text.said().user, cx.now.unix_ms)
        };
        if let Err(refusal) = allowed {
            self.pending.insert(ticket, entry);
            return self.fail(cx, members, key, ticket, refusal);
        }
        let judged = room.journal().judged();
        let again = self.pending.next_ticket();
        let proposed = Entry { judged, what: What::Message(text.said()), audit: None };
        let at_ms = room.next_receipt(cx.now).at_ms;
        let appended = cx.io.log().append(append_of(key, room, again, at_ms, proposed));
        (entry.judged, entry.is_parked, entry.again) = (judged, false, Again::Said(text));
        entry.proposals += 1;
        self.held.rename(ticket, again);
        self.pending.insert(again, entry);
        match appended {
            Appended::Later => {}
            Appended::Refused(why) => self.fail(cx, members, key, again, why.refusal()),
            Appended::Kept | Appended::Ordered => {
                unreachable!("a log that gives the order in the call has no conflicts")
            }
        }
    }

    /// Judges a push from the beginning, as one that had waited.
    fn judge_again<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        (ticket, entry): (Ticket, UnderWay),
        record: &[u8],
    ) {
        let (membership, proposals) = (entry.membership, entry.proposals);
        let Membership { room: key, shard, asker } = membership;
        let Some(registered) = self.arena.get_mut(key) else { return };
        registered.room.forget_report(ticket);
        if !registered.room.is_member(shard, asker) {
            // Whoever has left is not answered. Others may have asked for the same.
            self.pending.insert(ticket, entry);
            return self.fail(cx, members, key, ticket, Refusal::Busy);
        }
        let Received::ToHome(push) = read(record) else { unreachable!("only pushes wait") };
        let place = self.pending.next_ticket();
        self.held.rename(ticket, place);
        let outer = mem::replace(&mut self.is_releasing, true);
        self.with_proposals(proposals, |rooms| {
            rooms.hear_held(cx, members, membership, Some(place), push);
        });
        self.is_releasing = outer;
    }
}

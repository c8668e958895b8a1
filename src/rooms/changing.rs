//! What members do to messages that are there: edit, delete, pin.
//!
//! ```text
//!   change ── the message is in memory ── verbs::judge ── Log::append ── commit_change, answer
//!          └─ only the log has it ── fetch ── when it is read, from the beginning
//! ```
//!
//! A change is judged by the message as it stands. So it waits while an entry of its room is under
//! way without a place; and what only a log has is read first. So is the message that another one
//! answers, for its thread (`speech`).
//!
//! Invariants:
//!
//! 1. a change is proposed only in a room of which no other change is under way without a place;
//! 2. of a message that is not in memory, the latest state is known as long as something older may
//!    be read: see `Journal::message`;
//! 3. who waits for a message that is read waits in the order in which it asked, and what else its
//!    member does behind that.
//!
//! Deliberately absent: what may be done (`room::verbs`).
//!
//! Called by: `rooms`, `speech`, `collecting`, `streaming`, `deciding`, `membership`. Calls:
//! `room`, `registry`, `reading`, `reads`, `entries`, `collecting`, `pending`, `held`, the log.

use crate::limits::MOVED_BYTES_PER_WORK;
use crate::link::audit::AuditLine;
use crate::link::field::Field as _;
use crate::link::ids::RoomKey;
use crate::link::io::Io;
use crate::link::log::{Appended, Entry, Log, Marks, Placed, Ticket, What, Why};
use crate::link::message::text;
use crate::link::outbox::{Cx, Tell};
use crate::link::record::{Addition, ToHome, Verb};
use crate::link::refusal::{CHANGES_LIMIT, PINS_LIMIT, Refusal};
use crate::link::said::MessageText;
use crate::room::Room;
use crate::room::verbs::{Actor, judge};
use crate::rooms::Rooms;
use crate::rooms::auditing::audited;
use crate::rooms::entries::{append_of, deliver, take_fanout};
use crate::rooms::held::Membership;
use crate::rooms::registry::Registered;
use crate::rooms::under_way::{Again, UnderWay, Was};
use crate::wire::phx::Payload;

/// A message that was read for the push that is being handled; none, if its log has let go of it.
pub(super) struct Fetched {
    pub(super) room: RoomKey,
    pub(super) offset: u64,
    pub(super) message: Option<MessageText>,
}

impl Fetched {
    fn is(&self, room: RoomKey, offset: u64) -> bool {
        (self.room, self.offset) == (room, offset)
    }

    /// The thread that an answer to a message is in, if that is this one.
    pub(super) fn thread(&self, room: RoomKey, offset: u64) -> Option<u64> {
        let thread = self.message.as_ref().and_then(|message| message.said.thread);
        self.is(room, offset).then(|| thread.unwrap_or(offset))
    }
}

/// What is known of a change that has been applied.
pub(super) enum Known {
    /// It is kept.
    Kept,
    /// Its log will say whether it is.
    UnderWay(Ticket),
    /// Whoever proposed it was told that it may be kept.
    Doubtful,
    /// It was proposed elsewhere, and only heard: nothing will be said of it.
    Heard,
}

/// What has become of an entry that its log took.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub(super) enum Proposed {
    /// It is kept, at this place.
    Kept(Placed),
    /// Its log will say more of it, by this ticket.
    UnderWay(Ticket, UnderWay),
}

impl Rooms {
    /// Handles what a member does to a message.
    ///
    /// Requires: the asker is a member. Changes: journal, or what is under way. Emits:
    /// `msg_changed` to all shards with members, then the answer; with a log that answers later,
    /// both come later.
    pub(super) fn change<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        shard: u16,
        push: ToHome<'_>,
    ) {
        let ToHome::Change { home: key, asker, reference, offset, verb } = push else {
            unreachable!("called for changes")
        };
        let membership = Membership { room: key, shard, asker };
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        room.assert_member(shard, asker);
        if !self.is_releasing && self.pending.must_event_wait(membership) {
            return self.wait(cx, members, membership, Some(reference), push);
        }
        if self.pending.is_behind(key) {
            return self.answer_refused(cx, members, membership, reference, Refusal::Busy);
        }
        let blocked = cx.settings.blocked.as_deref();
        let allowed = room
            .may_change(asker.slot, verb, blocked, cx.now.unix_ms)
            .and_then(|()| may_change_at_all(cx));
        if let Err(refusal) = allowed {
            return self.answer_refused(cx, members, membership, reference, refusal);
        }
        if matches!(verb, Verb::Edit { .. }) && self.tell_appended(cx, members, membership, offset)
        {
            return self.wait_first(membership, reference, push);
        }
        let message = match self.message_at(cx, key, offset) {
            Ok(Some(message)) => message,
            Ok(None) => return self.fetch(cx, members, membership, reference, offset, push),
            Err(refusal) => {
                return self.answer_refused(cx, members, membership, reference, refusal);
            }
        };
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        let Some(author) = room.member(asker.slot).map(|member| &member.identity) else { return };
        let now_ms = cx.now.unix_ms;
        let level = room.level_at(asker.slot, now_ms);
        let actor = Actor { user: author.user(), level, now_ms };
        let (by, number) = (Box::<str>::from(actor.user), room.next_audit_number());
        let edit_s = room.settings().edit_s.unwrap_or(cx.settings.chat.edit_s);
        let judged = judge(verb, &message, actor, edit_s);
        let judged = judged.and_then(|next| {
            take_fanout(cx, room, author.user(), verb.bytes())?;
            Ok(next)
        });
        let is_new_pin = verb == Verb::Pin { on: true };
        let judged = judged.and_then(|next| match next {
            Some(_) if is_new_pin => self.take_pin(cx, key).map(|()| next),
            _ => Ok(next),
        });
        let (was, next) = match judged {
            Ok(Some(next)) => (Some(message), next),
            // It is so already.
            Ok(None) => {
                let placed = Placed::change(message.fate().change, now_ms);
                if self.answer_like(cx, members, membership, reference, placed) {
                    return;
                }
                // It was only heard: the log says when it is kept.
                (None, message)
            }
            Err(refusal) => {
                return self.answer_refused(cx, members, membership, reference, refusal);
            }
        };
        let changed = (offset, was.as_ref(), &next);
        let audit = audited(number, verb, &by, (offset, &next)).filter(|_| was.is_some());
        match self.propose_change(cx, members, membership, changed, audit.as_ref()) {
            Ok(Proposed::Kept(placed)) => {
                self.answer_kept(cx, members, membership, reference, placed);
            }
            Ok(Proposed::UnderWay(ticket, entry)) if cx.io.log().is_shared() => {
                let again = Again::Push(push.into_record());
                self.hold_under_way(ticket, reference, UnderWay { again, ..entry });
            }
            Ok(Proposed::UnderWay(ticket, entry)) => self.hold_under_way(ticket, reference, entry),
            Err(why) => {
                self.answer_refused(cx, members, membership, reference, why.refusal());
            }
        }
    }

    /// Gives its log that a message is to be another one than it was, if that is known, with what
    /// the audit trail says of it. What has its place holds, and is told.
    ///
    /// # Errors
    ///
    /// Why the log does not take it.
    pub(super) fn propose_change<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        membership: Membership,
        (offset, was, next): (u64, Option<&MessageText>, &MessageText),
        audit: Option<&AuditLine<'_>>,
    ) -> Result<Proposed, Why> {
        let (key, now_ms) = (membership.room, cx.now.unix_ms);
        if self.loading.is_closed(key) {
            return Err(Why::Unavailable);
        }
        let is_shared = cx.io.log().is_shared();
        let Some(Registered { room, .. }) = self.arena.get(key) else { return Err(Why::Busy) };
        let entry = Entry {
            judged: room.journal().judged(),
            what: What::Changed { offset, message: next },
            audit,
        };
        let placed = Placed::change(room.journal().top().change + 1, now_ms);
        let ticket = self.pending.next_ticket();
        let appended = cx.io.log().append(append_of(key, room, ticket, now_ms, entry));
        match appended {
            Appended::Kept | Appended::Ordered => {
                let changed = (offset, was, next);
                self.commit_change(cx, members, key, changed, (placed.marks.change, false));
            }
            Appended::Later => {}
            Appended::Refused(why) => return Err(why),
        }
        if let Some(line) = audit.filter(|_| !is_shared) {
            self.note_audit(cx, key, line, now_ms);
        }
        if appended == Appended::Kept {
            return Ok(Proposed::Kept(placed));
        }
        let is_ordered = appended == Appended::Ordered;
        let top = placed.marks.change - 1;
        let was = was.or(is_shared.then_some(next)).filter(|_| !is_ordered).cloned();
        let was = was.map(|message| Box::new(Was { offset, top, message, is_news: false }));
        let entry = UnderWay {
            was,
            proposals: 1 + self.proposals,
            applied_at: is_ordered.then_some(placed.marks),
            placed: is_ordered.then_some(placed),
            ..UnderWay::new(membership, ticket, entry.judged)
        };
        Ok(Proposed::UnderWay(ticket, entry))
    }

    /// Answers as whoever changed a message to what it is: when that is kept. Returns false, and
    /// answers nothing, if that is not known and will not be.
    fn answer_like<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        membership: Membership,
        reference: &str,
        placed: Placed,
    ) -> bool {
        match self.known_of(membership.room, placed.marks) {
            Known::UnderWay(ticket) => self.hold(membership, ticket, reference),
            Known::Doubtful => {
                let refusal = Why::Unconfirmed.refusal();
                self.answer_refused(cx, members, membership, reference, refusal);
            }
            Known::Kept => self.answer_placed(cx, members, membership, reference, placed),
            Known::Heard => return false,
        }
        true
    }

    /// What is known of a change that has been applied.
    pub(super) fn known_of(&self, key: RoomKey, marks: Marks) -> Known {
        let is_kept = |of: &Registered| of.room.journal().is_change_kept(marks.change);
        match self.pending.of_place(key, marks) {
            Some((ticket, false)) => Known::UnderWay(ticket),
            Some((_, true)) => Known::Doubtful,
            None if self.arena.get(key).is_some_and(is_kept) => Known::Kept,
            None => Known::Heard,
        }
    }

    /// Applies that a message has become another one, and tells all members. Does nothing if that
    /// was applied before.
    ///
    /// Requires: every earlier change has been applied. Changes: journal, registry. Emits:
    /// `msg_changed`.
    pub(super) fn commit_change<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        changed: (u64, Option<&MessageText>, &MessageText),
        change: (u64, bool),
    ) {
        let asked = self.asked(key);
        let Some(registered) = self.arena.get_mut(key) else { return };
        let room = &mut registered.room;
        let out = &mut self.scratch.response;
        let bytes_before = room.history().kept_bytes();
        cx.budget.spend_for(room.history().moved_bytes(changed.0), MOVED_BYTES_PER_WORK);
        let limits = (&cx.settings.history, &cx.settings.chat);
        if !room.apply_change(changed, change, asked, limits, out) {
            return;
        }
        self.registry.weigh_history(bytes_before, room);
        cx.metrics.changed += 1;
        deliver(cx, members, room, "msg_changed", Payload::Json(text(out)));
        out.clear();
        self.registry.weigh(registered);
        self.bound_history(cx, key);
        let (offset, was, message) = changed;
        let has_grown = was.is_none_or(|was| was.said.body != message.said.body);
        // There may have been no place for all of the room.
        let grows = message.said.stream && self.arena.contains(key);
        self.note_stream(cx, key, offset, (grows, has_grown));
    }

    /// How many bytes of a room's memory a change of a message moves.
    pub(super) fn moved_bytes(&self, key: RoomKey, offset: u64) -> usize {
        self.arena.get(key).map_or(0, |of| of.room.history().moved_bytes(offset))
    }

    /// Looks whether one more message may be pinned.
    ///
    /// # Errors
    ///
    /// If there are as many as may be.
    fn take_pin<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: RoomKey) -> Result<(), Refusal> {
        let Some(registered) = self.arena.get_mut(key) else { return Ok(()) };
        let max = cx.settings.chat.pins;
        let count = registered.room.count_pins(cx.io.log().reads());
        self.registry.weigh(registered);
        if count >= max as usize {
            return Err(Refusal::TooMany { limit: PINS_LIMIT, max });
        }
        Ok(())
    }

    /// A message as it stands; `None`, if it is to be read first.
    ///
    /// # Errors
    ///
    /// If there is no such message.
    pub(super) fn message_at<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: RoomKey,
        offset: u64,
    ) -> Result<Option<MessageText>, Refusal> {
        let Some(Registered { room, .. }) = self.arena.get(key) else { return Err(Refusal::Gone) };
        if offset == 0 || offset > room.history().last() {
            let message = "the offset of a message of this room";
            return Err(Refusal::Invalid { field: "offset", message });
        }
        if let Some(message) = room.message(offset) {
            return Ok(Some(message));
        }
        match self.fetched.take_if(|fetched| fetched.is(key, offset)) {
            Some(Fetched { message, .. }) => message.map(Some).ok_or(Refusal::Gone),
            None if cx.io.log().reads() => Ok(None),
            None => Err(Refusal::Gone),
        }
    }

    /// Has a message read, and then handles a push from the beginning. What its member pushes
    /// meanwhile waits behind that, unless it has no order.
    pub(super) fn fetch<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        membership: Membership,
        reference: &str,
        offset: u64,
        push: ToHome<'_>,
    ) {
        let ticket = self.hold_waiting(membership, reference);
        match self.read_message(cx, membership, ticket, offset, push) {
            Ok(read) if holds_up(push) => {
                self.pending.note_reader(membership, read);
                self.move_behind(cx, members, membership, read);
            }
            Ok(_) => {}
            Err(refusal) => self.refuse_held(cx, members, ticket, refusal),
        }
    }

    /// Goes on with a push for which a message was read, or which waited behind such a one.
    pub(super) fn go_on_fetched<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        (membership, ticket): (Membership, Option<Ticket>),
        push: ToHome<'_>,
        fetched: Option<Fetched>,
    ) {
        let Membership { room, shard, asker } = membership;
        let is_member = |of: &Registered| of.room.is_member(shard, asker);
        let is_there = match ticket {
            Some(ticket) => self.held.is_awaited(ticket),
            None => self.arena.get(room).is_some_and(is_member),
        };
        // Its member may have left.
        if !is_there {
            return;
        }
        // Its place is behind what others have said since it came: they did not wait.
        let place = ticket.map(|ticket| {
            let place = self.pending.next_ticket();
            self.held.rename(ticket, place);
            place
        });
        self.fetched = fetched;
        self.hear_held(cx, members, membership, place, push);
        self.fetched = None;
    }
}

/// Whether what a member pushes waits while this push of it waits for a message that is read. A
/// reaction and a report have no place in the order of what it does.
fn holds_up(push: ToHome<'_>) -> bool {
    let is_reaction = |addition| matches!(addition, Addition::Reaction { .. });
    match push {
        ToHome::Add { addition, .. } => !is_reaction(addition),
        push => !matches!(push, ToHome::Report { .. }),
    }
}

/// The thread that an answer to a message is in; none, if that message is to be read first.
pub(super) fn thread_of<I: Io>(
    cx: &mut Cx<'_, I>,
    room: &Room,
    fetched: Option<&Fetched>,
    (key, reply_to): (RoomKey, u64),
) -> Option<u64> {
    let fetched = fetched.and_then(|fetched| fetched.thread(key, reply_to));
    fetched.or_else(|| room.thread_of(reply_to, cx.io.log().reads()))
}

/// Whether messages may change at all where this server runs.
///
/// # Errors
///
/// If none is remembered to have.
pub(super) fn may_change_at_all<I: Io>(cx: &Cx<'_, I>) -> Result<(), Refusal> {
    match cx.settings.chat.changes {
        0 => Err(Refusal::TooMany { limit: CHANGES_LIMIT, max: 0 }),
        _ => Ok(()),
    }
}

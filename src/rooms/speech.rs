//! What members say in the rooms of a shard, and the pages of history that they ask for.
//!
//! ```text
//!   publish ─┬ only the log has what it answers ── fetch      (`changing` goes on)
//!            ├ refused ── Log::recall: was it said before?
//!            └ Room::propose ── Log::append ─┬ Kept, Ordered: commit ── deliver, answer
//!                                            └ Later: hold    (`committing` goes on)
//!   custom, typing ── Log::say ─┬ Now: deliver, answer
//!                               └ Later: hold ── FromLog::Heard ── deliver, answer
//! ```
//!
//! What is said and not kept waits behind entries without a place, and what is said behind it waits
//! for nothing: a log says it in the order in which it was asked. So the answers alone are held.
//!
//! Invariant: nothing is done for an asker before it is known to be a member
//! ([`Room::assert_member`]).
//!
//! Deliberately absent: what a token allows at all, and rates other than that of bytes to all
//! members, which the member's shard checks.
//!
//! Called by: `rooms`. Calls: `room`, `registry`, `reading`, `changing`, `entries`, `ticks`,
//! `pending`, `held`, the log.

use std::iter;

use crate::limits::ANSWER_BYTES_PER_WORK;
use crate::link::ids::{Receipt, RoomKey, Slot};
use crate::link::io::Io;
use crate::link::log::{
    Appended, Judged, Log, Marks, NodeId, Placed, Recall, Say, Spoken, Ticket, Unkept, Why,
};
use crate::link::message::text;
use crate::link::outbox::{Cx, Tell};
use crate::link::record::{NewMessage, ToHome};
use crate::link::refusal::Refusal;
use crate::link::said::{Fate, Said, SaidText};
use crate::link::topic::{NEW_MSG, TYPING};
use crate::room::Room;
use crate::room::keys::KeyHash;
use crate::room::speech::push_typing;
use crate::rooms::changing::{may_change_at_all, thread_of};
use crate::rooms::entries::{append_of, deliver, take_fanout};
use crate::rooms::held::Membership;
use crate::rooms::registry::Registered;
use crate::rooms::under_way::{Again, UnderWay};
use crate::rooms::{Answer, Rooms};
use crate::wire::phx::Payload;

/// What is known of the message that used a key.
#[derive(Clone, Copy)]
enum SaidBefore {
    /// Its log will say whether it is kept.
    UnderWay(Ticket),
    /// Whoever said it was answered: it is kept, or may be.
    Answered(Result<Receipt, Why>),
    /// It is applied, and not known to be kept.
    Heard,
}

/// How a log has taken a message.
#[derive(Clone, Copy)]
struct Given {
    appended: Appended,
    ticket: Ticket,
    judged: Judged,
    /// Its place, if the log leaves the order to the home.
    receipt: Receipt,
    key_hash: Option<KeyHash>,
}

impl Rooms {
    /// Handles a message for the history.
    ///
    /// Requires: the asker is a member. Changes: journal, or what is under way. Emits: `new_msg` to
    /// all shards with members, then the answer; with a log that answers later, both come later.
    pub(super) fn publish<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        shard: u16,
        push: ToHome<'_>,
    ) {
        let ToHome::Publish { home: key, asker, reference, .. } = push else {
            unreachable!("called for messages")
        };
        let membership = Membership { room: key, shard, asker };
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        room.assert_member(shard, asker);
        let judged = room.journal().judged();
        if !self.is_releasing && self.pending.must_message_wait(membership, judged) {
            return self.wait(cx, members, membership, Some(reference), push);
        }
        if let Err(refusal) = self.try_publish(cx, members, (membership, reference), push) {
            self.answer_refused(cx, members, membership, reference, refusal);
        }
    }

    /// The same for a message whose turn it is.
    ///
    /// # Errors
    ///
    /// Why it is not taken: nothing has changed then.
    fn try_publish<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        (membership, reference): (Membership, &str),
        push: ToHome<'_>,
    ) -> Result<(), Refusal> {
        let Membership { room: key, asker, .. } = membership;
        let ToHome::Publish { message, .. } = push else { unreachable!("called for messages") };
        let Some(Registered { room, .. }) = self.arena.get(key) else { return Ok(()) };
        let Some(author) = room.member(asker.slot).map(|member| member.identity.clone()) else {
            return Ok(());
        };
        let NewMessage { body, key: message_key, reply_to, mentions, data, stream } = message;
        let (now_ms, blocked) = (cx.now.unix_ms, cx.settings.blocked.as_deref());
        let key_hash = message_key.map(|key| self.hash_key(author.user(), key));
        let said_before = self.said_before(key, (room, asker.slot), key_hash, now_ms);
        match said_before {
            None => {
                if let Err(refusal) = room.may_send(asker.slot, body, mentions, blocked, now_ms) {
                    let said = (author.user(), message_key);
                    return self.refuse_unless_said(cx, (membership, reference), said, refusal);
                }
            }
            // It goes to the log again: that knows the key, and says when it is kept.
            Some(SaidBefore::Heard) => {}
            // An earlier message with this key is still under way: both get its answer.
            Some(SaidBefore::UnderWay(ticket)) => {
                self.hold(membership, ticket, reference);
                return Ok(());
            }
            Some(SaidBefore::Answered(answer)) => {
                self.answer_again(cx, members, (membership, reference), answer);
                return Ok(());
            }
        }
        if self.pending.is_behind(key) {
            return Err(Refusal::Busy);
        }
        let (user, name) = (author.user(), author.name());
        if stream {
            may_change_at_all(cx)?;
        }
        let mut thread = None;
        if let Some(reply_to) = reply_to {
            let read = self.read_thread.take();
            let known = || thread_of(cx, room, self.fetched.as_ref(), (key, reply_to));
            thread = read.or_else(known);
            if thread.is_none() {
                self.fetch(cx, members, membership, reference, reply_to, push);
                return Ok(());
            }
        }
        let said =
            Said { user, name, body, key: message_key, reply_to, thread, mentions, data, stream };
        let entry = room.propose(said)?;
        // Nobody waits to say what was said before.
        let is_slow = room.settings().slow_s > 0 && said_before.is_none();
        let speaker = if is_slow { self.key_hashers[0].hash_one(user) } else { 0 };
        if is_slow
            && let Err(refusal) =
                room.may_speak_again(asker.slot, speaker, (now_ms, cx.now.mono_ms))
        {
            let said = (user, message_key);
            return self.refuse_unless_said(cx, (membership, reference), said, refusal);
        }
        take_fanout(cx, room, user, message.bytes())?;
        let receipt = room.next_receipt(cx.now);
        let ticket = self.pending.next_ticket();
        let append = append_of(key, room, ticket, receipt.at_ms, entry);
        let appended = cx.io.log().append(append);
        if let Appended::Refused(why) = appended {
            let is_heard = self.heard(key, key_hash).is_some();
            return Err(if is_heard { Why::Unconfirmed } else { why }.refusal());
        }
        if is_slow && let Some(registered) = self.arena.get_mut(key) {
            registered.room.note_spoken(speaker, cx.now.mono_ms);
            self.registry.weigh(registered);
        }
        let given = Given { appended, ticket, judged: entry.judged, receipt, key_hash };
        self.was_given(cx, members, (membership, reference), said, given);
        Ok(())
    }

    /// Goes on with a message that its log has taken: says it, if it has its place, and answers it,
    /// or holds the answer until it is kept.
    #[inline]
    fn was_given<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        (membership, reference): (Membership, &str),
        said: Said<'_>,
        given: Given,
    ) {
        let Membership { room: key, asker, .. } = membership;
        let Given { appended, ticket, judged, receipt, key_hash } = given;
        let has_place = appended != Appended::Later;
        if has_place {
            self.commit(cx, members, key, said, receipt, key_hash);
            self.spoke(cx, key, asker.slot);
        }
        let placed = Placed::message(receipt);
        if appended == Appended::Kept {
            self.answer_kept(cx, members, membership, reference, placed);
        } else {
            let heard = if has_place { Some(receipt) } else { self.heard(key, key_hash) };
            let entry = UnderWay {
                again: Again::Said(SaidText::new(said)),
                key_hash,
                applied_at: heard.map(|receipt| Placed::message(receipt).marks),
                placed: has_place.then_some(placed),
                ..UnderWay::new(membership, ticket, judged)
            };
            self.hold_under_way(ticket, reference, entry);
        }
        if has_place {
            self.tell_along(cx, members, key);
        }
    }

    /// Notes that entries of a room are kept up to here.
    pub(super) fn note_kept(&mut self, room: RoomKey, upto: Marks) {
        if let Some(Registered { room, .. }) = self.arena.get_mut(room) {
            room.note_kept(upto);
        }
    }

    /// Notes that an entry is kept, of which its log says nothing more.
    pub(super) fn note_kept_if_told<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        room: RoomKey,
        placed: Placed,
    ) {
        if cx.io.log().keeps() {
            self.note_kept(room, placed.marks);
        }
    }

    /// What is known of the message that used a key, if one did. Whoever may not be here any more
    /// learns nothing by a key.
    #[inline]
    fn said_before(
        &self,
        key: RoomKey,
        (room, slot): (&Room, Slot),
        key_hash: Option<KeyHash>,
        now_ms: u64,
    ) -> Option<SaidBefore> {
        let key_hash = key_hash?;
        let before = match self.pending.of_key(key, Some(key_hash)) {
            Some((_, true)) => SaidBefore::Answered(Err(Why::Unconfirmed)),
            Some((ticket, false)) => SaidBefore::UnderWay(ticket),
            None => {
                let receipt = room.history().of_key(key_hash)?;
                let is_kept = room.journal().is_kept(receipt.offset);
                if is_kept { SaidBefore::Answered(Ok(receipt)) } else { SaidBefore::Heard }
            }
        };
        room.may_be_here(slot, now_ms).is_ok().then_some(before)
    }

    /// Asks the log of a room whether a message was said before that is to be refused, and of which
    /// the room does not know that.
    ///
    /// # Errors
    ///
    /// The refusal, if there is nothing to be asked.
    fn refuse_unless_said<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        (membership, reference): (Membership, &str),
        (user, message_key): (&str, Option<&str>),
        refusal: Refusal,
    ) -> Result<(), Refusal> {
        let key = membership.room;
        let Some(Registered { room, .. }) = self.arena.get(key) else { return Ok(()) };
        let may_be_here = room.may_be_here(membership.asker.slot, cx.now.unix_ms).is_ok();
        let judged = room.journal().judged();
        let asks = message_key.filter(|_| may_be_here && !self.pending.is_behind(key));
        let ticket = self.pending.next_ticket();
        let recalled = asks.and_then(|message_key| {
            cx.io.log().recall(Recall { room: key, ticket, user, key: message_key })
        });
        match recalled {
            None => Err(refusal),
            Some(Appended::Refused(why)) => Err(why.refusal()),
            Some(Appended::Later) => {
                let again = Again::Recall(refusal);
                let key_hash = message_key.map(|key| self.hash_key(user, key));
                let entry =
                    UnderWay { again, key_hash, ..UnderWay::new(membership, ticket, judged) };
                self.hold_under_way(ticket, reference, entry);
                Ok(())
            }
            Some(Appended::Kept | Appended::Ordered) => {
                unreachable!("a home that gives the order remembers all keys")
            }
        }
    }

    /// Answers a message that was said before as the first one was.
    fn answer_again<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        (membership, reference): (Membership, &str),
        answer: Result<Receipt, Why>,
    ) {
        match answer {
            Ok(receipt) => self.answer_ok(cx, members, membership, reference, receipt),
            Err(why) => self.answer_refused(cx, members, membership, reference, why.refusal()),
        }
    }

    /// The receipt of the message that used a key, if it has been applied here.
    fn heard(&self, room: RoomKey, key_hash: Option<KeyHash>) -> Option<Receipt> {
        self.arena.get(room)?.room.history().of_key(key_hash?)
    }

    /// Applies a message under its receipt and tells all members. Does nothing if it was applied
    /// before.
    ///
    /// Requires: every earlier message has been applied. Changes: journal, registry. Emits:
    /// `new_msg`.
    pub(super) fn commit<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        said: Said<'_>,
        receipt: Receipt,
        key_hash: Option<KeyHash>,
    ) {
        let asked = said.thread.and_then(|_| self.asked(key));
        let Some(registered) = self.arena.get_mut(key) else { return };
        let room = &mut registered.room;
        let out = &mut self.scratch.response;
        let bytes_before = room.history().kept_bytes();
        if !room.apply(said, Fate::default(), receipt, key_hash, &cx.settings.history, out) {
            return;
        }
        if let Some(root) = said.thread {
            room.note_reply((root, receipt.offset), asked, &cx.settings.history);
        }
        self.registry.weigh_history(bytes_before, room);
        cx.metrics.published += 1;
        deliver(cx, members, room, NEW_MSG, Payload::Json(text(out)));
        out.clear();
        // The oldest message may have gone, with what was remembered of its changes.
        if key_hash.is_some() || asked.is_some() || room.journal().top().change > 0 {
            self.registry.weigh(registered);
        }
        self.bound_history(cx, key);
        // There may have been no place for all of the room.
        if said.stream && self.arena.contains(key) {
            self.note_stream(cx, key, receipt.offset, (true, true));
        }
    }

    /// Handles a custom event, which is passed on as it is and not kept.
    pub(super) fn custom<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        shard: u16,
        push: ToHome<'_>,
    ) {
        let ToHome::Custom { home: key, asker, reference, event, payload } = push else {
            unreachable!("called for custom events")
        };
        let membership = Membership { room: key, shard, asker };
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        room.assert_member(shard, asker);
        if !self.is_releasing && self.pending.must_event_wait(membership) {
            return self.wait(cx, members, membership, Some(reference), push);
        }
        let Some(member) = room.member(asker.slot) else { return };
        let user = member.identity.user();
        let may_follow = || if self.pending.is_behind(key) { Err(Refusal::Busy) } else { Ok(()) };
        let allowed = room
            .may_speak(asker.slot, cx.now.unix_ms)
            .and_then(|()| may_follow())
            .and_then(|()| take_fanout(cx, room, user, payload.bytes_count()));
        if let Err(refusal) = allowed {
            return self.answer_refused(cx, members, membership, reference, refusal);
        }
        let ticket = self.pending.next_ticket();
        match say(cx, key, room, Some(ticket), Unkept::Custom { event, payload }) {
            Spoken::Now => {}
            Spoken::Later => {
                self.pending.note_said(membership, ticket);
                return self.hold(membership, ticket, reference);
            }
            Spoken::Refused(why) => {
                let refusal = why.refusal();
                return self.answer_refused(cx, members, membership, reference, refusal);
            }
        }
        self.spoke(cx, key, asker.slot);
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        deliver(cx, members, room, event, payload);
        self.reply(cx, members, membership, Answer::ok(reference, "{}"));
        self.tell_along(cx, members, key);
    }

    /// Handles what was said in a room and not kept, here or on another node.
    pub(super) fn hear_unkept<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        from: NodeId,
        ticket: Option<Ticket>,
        what: Unkept<'_>,
    ) {
        let Some(Registered { room, .. }) = self.arena.get_mut(key) else { return };
        match what {
            Unkept::Custom { event, payload } => {
                deliver(cx, members, room, event, payload);
                let own = ticket.and_then(|ticket| self.pending.take_said(key, ticket));
                if let Some((ticket, membership)) = ticket.zip(own) {
                    self.spoke_if_there(cx, membership);
                    self.resolve(cx, members, ticket, "ok", Payload::Json("{}"));
                }
                self.tell_along(cx, members, key);
            }
            Unkept::Typing { user, name, thread } => {
                let typist = self.key_hashers[0].hash_one(user);
                if room.may_type(cx.now, typist, &cx.settings.presence) {
                    self.tell_typing(cx, members, key, (user, name, thread));
                }
            }
            Unkept::Presence(record) => self.hear_slice(cx, key, from, ticket, record),
        }
    }

    /// Handles that nobody will hear what was said and not kept, if this was that.
    pub(super) fn say_was_refused<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        ticket: Ticket,
        why: Why,
    ) {
        if self.pending.take_said(key, ticket).is_some() {
            self.refuse_held(cx, members, ticket, why.refusal());
        } else {
            self.slice_was_refused(cx, key, Some(ticket));
        }
    }

    /// Tells the members of a room that one of them types.
    pub(super) fn typing<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        shard: u16,
        push: ToHome<'_>,
    ) {
        let ToHome::Typing { home: key, asker, thread } = push else {
            unreachable!("called for members who type")
        };
        let Some(Registered { room, .. }) = self.arena.get_mut(key) else { return };
        room.assert_member(shard, asker);
        let membership = Membership { room: key, shard, asker };
        if !self.is_releasing && self.pending.must_event_wait(membership) {
            return self.wait(cx, members, membership, None, push);
        }
        let Some(member) = room.member(asker.slot) else { return };
        if room.may_speak(asker.slot, cx.now.unix_ms).is_err() {
            return;
        }
        let identity = member.identity.clone();
        let (user, name) = (identity.user(), identity.name());
        let typist = self.key_hashers[0].hash_one(user);
        // Where it is heard later, what is said has the same rate as what is then told, apart.
        let typist = if self.nodes.is_alone() { typist } else { !typist };
        if !room.may_type(cx.now, typist, &cx.settings.presence) {
            return;
        }
        match say(cx, key, room, None, Unkept::Typing { user, name, thread }) {
            Spoken::Now => self.tell_typing(cx, members, key, (user, name, thread)),
            // It is told when it is heard, or not at all: nobody waits for an answer.
            Spoken::Later | Spoken::Refused(_) => {}
        }
    }

    fn tell_typing<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        (user, name, thread): (&str, &str, Option<u64>),
    ) {
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        let out = &mut self.scratch.response;
        push_typing(out, user, name, thread);
        deliver(cx, members, room, TYPING, Payload::Json(text(out)));
        out.clear();
    }

    /// Answers with a page of the history: from memory, or when its log has read it.
    pub(super) fn history<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        shard: u16,
        push: ToHome<'_>,
    ) {
        let ToHome::History { home: key, asker, reference, view, from, limit } = push else {
            unreachable!("called for pages")
        };
        let membership = Membership { room: key, shard, asker };
        if self.asks_later(membership, reference, push) {
            return;
        }
        let (reaches_back, limits) = (cx.io.log().reads(), &cx.settings.history);
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        if let Err(refusal) = room.check_page(view, from, reaches_back) {
            return self.answer_refused(cx, members, membership, reference, refusal);
        }
        let in_log = reaches_back.then(|| room.view_in_log(view, from, limit, limits)).flatten();
        if let Some(wanted) = in_log {
            if let Err(refusal) = self.read_page(cx, membership, reference, from, wanted) {
                self.answer_refused(cx, members, membership, reference, refusal);
            }
            return;
        }
        let mut out = std::mem::take(&mut self.scratch.response);
        let looked_at_bytes = room.push_view(&mut out, (view, from, limit), reaches_back, limits);
        if let Some(member) = room.member(asker.slot) {
            room.push_mine(&mut out, 0, member.identity.user(), iter::empty());
        }
        // What was looked at costs as much as if it were told.
        cx.budget.spend_for(looked_at_bytes, ANSWER_BYTES_PER_WORK);
        self.reply(cx, members, membership, Answer::ok(reference, text(&out)));
        out.clear();
        self.scratch.response = out;
    }

    /// Hashes a user together with the key that the user gave a message.
    pub(super) fn hash_key(&self, user: &str, key: &str) -> KeyHash {
        KeyHash(self.key_hashers.each_ref().map(|hasher| hasher.hash_one((user, key))))
    }

    /// Notes that a member spoke, when its message has come back from the log. A member that left
    /// is none.
    pub(super) fn spoke_if_there<I: Io>(&mut self, cx: &mut Cx<'_, I>, membership: Membership) {
        let Membership { room, shard, asker } = membership;
        if self.arena.get(room).is_some_and(|of| of.room.is_member(shard, asker)) {
            self.spoke(cx, room, asker.slot);
        }
    }
}

/// Says something that is not kept to all nodes that have a room. A user's own topic is this node's
/// alone, as its log does not know it.
fn say<I: Io>(
    cx: &mut Cx<'_, I>,
    key: RoomKey,
    room: &Room,
    ticket: Option<Ticket>,
    what: Unkept<'_>,
) -> Spoken {
    if room.name().is_none() {
        return Spoken::Now;
    }
    cx.io.log().say(Say { room: key, topic: room.topic(), ticket, to: None, what })
}

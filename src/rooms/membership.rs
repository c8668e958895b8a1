//! Joins and leaves of the rooms of a shard, and the rooms that are made and removed by them.
//!
//! Deliberately absent: the pace of joins (`shard::admission`).
//!
//! Called by: `rooms`, `shard`. Calls: `room`, `registry`, `returning`, `deciding`, `changing`,
//! `listings`, `greeting`, `ticks`.

use crate::auth::level::Level;
use crate::limits::LEAVING_WORK;
use crate::link::ids::{Address, Asker, RoomKey};
use crate::link::io::Io;
use crate::link::log::Log;
use crate::link::message::text;
use crate::link::outbox::{Cx, Tell};
use crate::link::record::{ToHome, ToMember, Who};
use crate::link::refusal::Refusal;
use crate::room::encode::JoinQuestion;
use crate::room::journal::Older;
use crate::room::pacing::Urgency;
use crate::room::{Arrival, Room};
use crate::rooms::changing::may_change_at_all;
use crate::rooms::held::Membership;
use crate::rooms::registry::{Found, Purpose, Registered};
use crate::rooms::{Answer, Rooms};

impl Rooms {
    /// Handles a join or a creation: finds the room or makes it, and goes on in it. If the room is
    /// being loaded, the request waits for that. Returns the bytes of a join's answer; 0 if the
    /// request waits, was refused, or is a creation.
    ///
    /// # Panics
    ///
    /// If the message is neither.
    pub(crate) fn ask_for_room<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        shard: u16,
        message: ToHome<'_>,
    ) -> usize {
        let (ToHome::Join { topic, .. } | ToHome::Create { topic, .. }) = message else {
            unreachable!("called for joins and creations")
        };
        match self.find_or_make(cx, topic, Purpose::of(&message)) {
            Ok(Found::Open(key)) => return self.go_on_in_room(cx, members, key, shard, message),
            Ok(Found::Loading(key)) if self.loading.is_closed(key) => {
                self.await_closed(cx, members, key, shard, message);
            }
            Ok(Found::Loading(key)) => self.await_room(cx, members, key, shard, message),
            Err(refusal) => self.refuse_because(cx, members, shard, message, refusal),
        }
        0
    }

    /// Goes on with a join or a creation whose room is open. Returns the bytes of a join's answer;
    /// 0 if it waits for what its log must read, or was refused.
    pub(super) fn go_on_in_room<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        shard: u16,
        message: ToHome<'_>,
    ) -> usize {
        if self.loading.is_closed(key) {
            self.await_closed(cx, members, key, shard, message);
            return 0;
        }
        if let ToHome::Create { conn, title, user, .. } = message {
            self.create(cx, members, key, (shard, conn), (title, user));
            return 0;
        }
        let accepted = match self.accept_invite(cx, members, key, shard, &message) {
            Ok(true) => return 0,
            Ok(false) => self.may_enter(cx, key, &message),
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = accepted {
            self.refuse_because(cx, members, shard, message, refusal);
            self.retire_if_empty(cx, key);
            return 0;
        }
        if self.must_catch_up(cx, key, shard, &message) {
            return 0;
        }
        self.come_back(cx, members, key, shard, message)
    }

    /// Goes on with a join that may come in: reads first what its client has missed, if that is no
    /// longer in memory. Returns the bytes of the answer; 0 if it waits for that, or was refused.
    pub(super) fn come_back<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        shard: u16,
        message: ToHome<'_>,
    ) -> usize {
        let older = if cx.io.log().reads() { Older::InLog } else { Older::Gone };
        match self.read_missed(cx, key, shard, &message) {
            Ok(false) => {}
            Ok(true) => return 0,
            // A home takes in again whoever is in already.
            Err(_) if matches!(message, ToHome::Join { replaces: Some(_), .. }) => {}
            Err(refusal) => {
                self.refuse_because(cx, members, shard, message, refusal);
                self.retire_if_empty(cx, key);
                return 0;
            }
        }
        self.enter(cx, members, key, shard, message, older)
    }

    /// Whether a join may come into a room that is open. One that replaces a membership may: a home
    /// takes in again whoever is in already, and then puts it out.
    pub(super) fn may_enter<I: Io>(
        &self,
        cx: &Cx<'_, I>,
        key: RoomKey,
        join: &ToHome<'_>,
    ) -> Result<(), Refusal> {
        let ToHome::Join { who, level, replaces, .. } = join else { return Ok(()) };
        let Some(Registered { room, .. }) = self.arena.get(key) else { return Ok(()) };
        match room.may_join(who.user(), *level, cx.now.unix_ms) {
            Err(refusal) if replaces.is_none() => Err(refusal),
            _ => Ok(()),
        }
    }

    /// Lets a member into a room that is there. `older` is what there is of the messages before
    /// those in memory. Returns the bytes of the answer.
    pub(super) fn enter<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        shard: u16,
        message: ToHome<'_>,
        older: Older<'_>,
    ) -> usize {
        let ToHome::Join {
            conn,
            audience,
            topic: _,
            who,
            level,
            visible,
            since,
            limit,
            meta,
            replaces,
            address: _,
            invite: _,
        } = message
        else {
            unreachable!("called for joins")
        };
        if let Some(slot) = replaces {
            // That channel has ended: the client drops all answers that are still held for it.
            self.held.end(Membership { room: key, shard, asker: Asker { conn, slot } });
        }
        let Some(Registered { room, .. }) = self.arena.get_mut(key) else { return 0 };
        let address = Address { shard, token: level, conn };
        let slot = room.join(cx.now, Arrival { address, audience, who, visible, meta, replaces });
        #[cfg(test)]
        self.held.hand_over(Membership { room: key, shard, asker: Asker { conn, slot } });
        let is_greeted = visible && room.name().is_some();
        let out = &mut self.scratch.response;
        let may_change = may_change_at_all(cx).is_ok();
        let question = JoinQuestion { now_ms: cx.now.unix_ms, since, limit, older, may_change };
        room.push_joined(out, slot, question, &cx.settings.history);
        let joined = ToMember::Joined { conn, audience, home: key, slot, response: text(out) };
        members.tell(cx, shard, joined);
        let response_bytes = out.len();
        out.clear();
        self.membership_changed(cx, key, Urgency::Now);
        if is_greeted {
            self.expect_greeting(cx, key, slot);
        }
        if replaces.is_some() {
            self.put_out_if_unwanted(cx, members, key, slot);
        }
        response_bytes
    }

    /// Ends a membership. With a `reference` the client asked for it: it is answered, behind all
    /// held answers, and ends with that. Without one, the held answers are dropped.
    pub(super) fn leave<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        membership: Membership,
        reference: Option<&str>,
    ) {
        let Membership { room: key, shard, asker } = membership;
        let Some(Registered { room, .. }) = self.arena.get_mut(key) else { return };
        room.assert_member(shard, asker);
        if shard != cx.id {
            // Of a member that is here this has been paid with its channel.
            cx.budget.spend(LEAVING_WORK);
        }
        if let Some(reference) = reference.filter(|_| self.held.holds(membership)) {
            return self.held.push_leave(membership, reference);
        }
        self.held.end(membership);
        // Before the member leaves: it may be the last one of its shard.
        let audience = room.audience(shard);
        room.leave(asker.slot);
        if let (Some(reference), Some(audience)) = (reference, audience) {
            let Asker { conn, slot } = asker;
            members.tell(cx, shard, ToMember::Left { conn, audience, slot, reference });
        }
        self.membership_changed(cx, key, Urgency::AfterRest);
    }

    /// A member goes on with another token: what it says from now on has the name in that, and is
    /// judged by what that allows.
    pub(super) fn renew<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        membership: Membership,
        who: Who<'_>,
        token: Level,
    ) {
        let Membership { room: key, shard, asker } = membership;
        let Some(Registered { room, .. }) = self.arena.get_mut(key) else { return };
        room.assert_member(shard, asker);
        room.renew(asker.slot, who, token);
        // With less, it may be no moderator any more, in a room that is for members.
        self.put_out_if_unwanted(cx, members, key, asker.slot);
    }

    /// A member attaches another meta to its presence, or none: the others see that with the next
    /// tick, as if it had left and joined in one.
    pub(super) fn attach<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        membership: Membership,
        reference: &str,
        meta: Option<&str>,
    ) {
        let Membership { room: key, shard, asker } = membership;
        let Some(registered) = self.arena.get_mut(key) else { return };
        registered.room.assert_member(shard, asker);
        // It may have been put out, and not know it yet.
        if let Err(refusal) = registered.room.may_be_here(asker.slot, cx.now.unix_ms) {
            return self.answer_refused(cx, members, membership, reference, refusal);
        }
        let is_news = registered.room.set_meta(asker.slot, meta);
        self.registry.weigh(registered);
        if is_news {
            self.set_tick(cx, key, Urgency::Now);
        }
        self.reply(cx, members, membership, Answer::ok(reference, "{}"));
    }

    /// The keys of the rooms that `is_meant` names, in the order of the arena.
    pub(super) fn keys(&self, is_meant: impl Fn(&Room) -> bool) -> Vec<RoomKey> {
        let meant = self.arena.iter().filter(|(_, of)| is_meant(&of.room));
        meant.map(|(key, _)| key).collect()
    }

    /// Follows a join or leave: schedules a tick for the members, here and on other nodes, and a
    /// listing for the directories, and retires the room if it is empty.
    pub(super) fn membership_changed<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: RoomKey,
        urgency: Urgency,
    ) {
        self.weigh(key);
        if let Some(registered) = self.arena.get_mut(key) {
            registered.moved_ms = cx.now.mono_ms;
        }
        self.note_slice(cx, key);
        if self.arena.get(key).is_some_and(|of| of.room.name().is_some()) {
            self.set_tick(cx, key, urgency);
            self.list(key);
        }
        self.retire_if_empty(cx, key);
    }

    /// Retires a room if it is empty: queues it for eviction, and has it go after a while if other
    /// homes have it, too; or removes it if nothing of it is worth keeping.
    pub(super) fn retire_if_empty<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: RoomKey) {
        if self.loading.is_closed(key) {
            return self.retire_closed(cx, key);
        }
        let is_awaited = self.is_awaited(key);
        let Some(registered) = self.arena.get_mut(key) else { return };
        if registered.room.members_count() > 0 || is_awaited {
            return;
        }
        if registered.is_worth_keeping() {
            if registered.room.shrink_trail() {
                self.registry.weigh(registered);
            }
            self.registry.note_empty(key, registered);
            self.cool_down(cx, key);
        } else {
            self.remove(cx, key);
        }
    }

    /// Removes an empty room of which nothing is worth keeping any more.
    pub(super) fn remove_if_deserted<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: RoomKey) {
        if self.arena.get(key).is_some_and(Registered::is_deserted) && !self.is_awaited(key) {
            self.remove(cx, key);
        }
    }
}

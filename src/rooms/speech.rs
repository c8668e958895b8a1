//! What members say in the rooms of a shard, and ask of what was said.
//!
//! A member is checked before anything is done for it: see [`Room::check`].
//!
//! Deliberately absent: rights and rates. The member's shard has looked at them.
//!
//! Called by: `rooms`. Calls: `room`, `registry`, `ticks`.

use crate::link::ids::{Asker, RoomKey};
use crate::link::io::Io;
use crate::link::message::{push_receipt, text};
use crate::link::outbox::{Cx, Tell};
use crate::link::record::{ToHome, ToMember};
use crate::room::history::KeyHash;
use crate::room::speech::{Message, Publication};
use crate::room::{Outpost, Room};
use crate::rooms::registry::Registered;
use crate::rooms::{Answer, Rooms};
use crate::wire::phx::Payload;

impl Rooms {
    /// A message for the history.
    pub(super) fn publish<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        shard: u16,
        message: ToHome<'_>,
    ) {
        let ToHome::Publish { home: key, asker, reference, body, key: message_key, reply_to } =
            message
        else {
            unreachable!("called for messages")
        };
        let Some(registered) = self.arena.get_mut(key) else { return };
        let room = &mut registered.room;
        room.check(shard, asker);
        let Some(member) = room.member(asker.slot) else { return };
        let key_hash = message_key.map(|key| {
            let user = member.identity.user();
            KeyHash(self.key_hashers.each_ref().map(|hasher| hasher.hash_one((user, key))))
        });
        let out = &mut self.scratch.response;
        let bytes_before = room.history().kept_bytes();
        let message = Message { body, key: message_key, reply_to };
        let publication =
            room.publish(cx.now, asker.slot, message, key_hash, &cx.settings.history, out);
        let Some(Publication { receipt, is_new }) = publication else { return };
        if is_new {
            self.registry.weigh_history(bytes_before, room);
            cx.metrics.published += 1;
            deliver(cx, members, room, "new_msg", Payload::Json(text(out)));
            out.clear();
            if key_hash.is_some() {
                self.registry.weigh(registered);
            }
            self.bound_history(key, cx.settings.history_bytes_max);
            self.spoke(cx, key, asker.slot);
        }
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        let out = &mut self.scratch.response;
        push_receipt(out, room.history().cursor().epoch, receipt);
        reply(cx, members, room, shard, asker, Answer::ok(reference, text(out)));
        out.clear();
        if is_new {
            self.tell_along(cx, members, key);
        }
    }

    /// An event that passes as it is.
    pub(super) fn custom<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        shard: u16,
        message: ToHome<'_>,
    ) {
        let ToHome::Custom { home: key, asker, reference, event, payload } = message else {
            unreachable!("called for custom events")
        };
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        room.check(shard, asker);
        self.spoke(cx, key, asker.slot);
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        deliver(cx, members, room, event, payload);
        reply(cx, members, room, shard, asker, Answer::ok(reference, "{}"));
        self.tell_along(cx, members, key);
    }

    /// That a member types.
    pub(super) fn typing<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        shard: u16,
        key: RoomKey,
        asker: Asker,
    ) {
        let Some(Registered { room, .. }) = self.arena.get_mut(key) else { return };
        room.check(shard, asker);
        let Some(member) = room.member(asker.slot) else { return };
        let typist = self.key_hashers[0].hash_one(member.identity.user());
        let out = &mut self.scratch.response;
        if room.typing(cx.now, asker.slot, typist, &cx.settings.presence, out) {
            deliver(cx, members, room, "typing", Payload::Json(text(out)));
            out.clear();
        }
    }

    /// A page of what was said.
    pub(super) fn history<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        shard: u16,
        message: ToHome<'_>,
    ) {
        let ToHome::History { home: key, asker, reference, from, limit } = message else {
            unreachable!("called for pages")
        };
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        let out = &mut self.scratch.response;
        room.push_page(out, from, limit, &cx.settings.history);
        reply(cx, members, room, shard, asker, Answer::ok(reference, text(out)));
        out.clear();
    }
}

/// Says something to every member: once to each shard that has any.
pub(super) fn deliver<I: Io>(
    cx: &mut Cx<'_, I>,
    members: &mut impl Tell<I>,
    room: &Room,
    event: &str,
    payload: Payload<'_>,
) {
    for Outpost { shard, audience, .. } in room.outposts() {
        members.tell(cx, *shard, ToMember::Deliver { audience: *audience, event, payload });
    }
}

/// Answers a member.
pub(super) fn reply<I: Io>(
    cx: &mut Cx<'_, I>,
    members: &mut impl Tell<I>,
    room: &Room,
    shard: u16,
    asker: Asker,
    answer: Answer<'_>,
) {
    room.check(shard, asker);
    let Some(audience) = room.audience(shard) else { return };
    let (Asker { conn, slot }, Answer { reference, status, response }) = (asker, answer);
    members.tell(cx, shard, ToMember::Reply { conn, audience, slot, reference, status, response });
}

//! Ticks: when a room's members are told who came and left, and what delays that.
//!
//! Deliberately absent: the pace (`room::pacing`), and what is told (`room::announce`).
//!
//! Called by: `rooms`, and `shard` for the timer. Calls: `room`, `entries`, `greeting`,
//! `nodes`.

use crate::link::ids::{RoomKey, Slot};
use crate::link::io::Io;
use crate::link::message::{presence_diffs, text};
use crate::link::outbox::{Cx, Tell, Timer};
use crate::room::pacing::Urgency;
use crate::rooms::Rooms;
use crate::rooms::entries::deliver;
use crate::rooms::registry::Registered;
use crate::wire::phx::Payload;

impl Rooms {
    /// Schedules a tick of a room, since its members have changed.
    pub(super) fn set_tick<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: RoomKey, urgency: Urgency) {
        let Some(Registered { room, .. }) = self.arena.get_mut(key) else { return };
        if let Some(due_ms) = room.request_tick(cx.now, urgency, &cx.settings.presence) {
            cx.timers.push(due_ms, Timer::Room(key));
        }
    }

    /// Notes that a member spoke, which may bring it into the list of a large room.
    pub(super) fn spoke<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: RoomKey, slot: Slot) {
        if let Some(Registered { room, .. }) = self.arena.get_mut(key)
            && room.spoke(slot, &cx.settings.presence)
        {
            self.set_tick(cx, key, Urgency::Now);
        }
    }

    /// Ticks a room: tells who came and left since the last tick, and sends newcomers the list.
    /// While a way to its members is filling, the tick is delayed: ticks would pile up for a shard
    /// that is stuck.
    pub(crate) fn tick<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
    ) {
        let Some(Registered { room, .. }) = self.arena.get_mut(key) else { return };
        if !room.take_due_tick(cx.now) {
            return;
        }
        if room.outposts().iter().any(|outpost| cx.is_filling(outpost.shard)) {
            self.set_tick(cx, key, Urgency::AfterRest);
        } else {
            self.tell_news(cx, members, key);
        }
    }

    /// Sends the news of a room along with something that was said to all its members, if a tick is
    /// set and may be taken early.
    pub(super) fn tell_along<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
    ) {
        if self.arena.get_mut(key).is_some_and(|of| of.room.take_tick_along(cx.now)) {
            self.tell_news(cx, members, key);
        }
    }

    fn tell_news<I: Io>(&mut self, cx: &mut Cx<'_, I>, members: &mut impl Tell<I>, key: RoomKey) {
        // A kept list has the members that were known before this tick.
        self.let_list_go(key);
        let Some(Registered { room, .. }) = self.arena.get_mut(key) else { return };
        let limits = &cx.settings.presence;
        let (out, seen) = (&mut self.scratch.response, &mut self.scratch.seen);
        let has_diff = room.tick(limits, seen, out);
        if has_diff {
            for diff in presence_diffs(text(out)) {
                deliver(cx, members, room, "presence_diff", Payload::Json(&diff));
            }
            out.clear();
        }
        let has_count = room.push_count_news(out);
        if has_count {
            deliver(cx, members, room, "presence_count", Payload::Json(text(out)));
            out.clear();
        }
        if !self.nodes.is_alone() {
            self.tell_nodes(cx, key);
        }
        self.greet_newcomers(cx, members, key);
        let Some(registered) = self.arena.get_mut(key) else { return };
        self.registry.weigh(registered);
        if has_diff || has_count {
            registered.room.rest(cx.now, &cx.settings.presence);
        }
    }
}

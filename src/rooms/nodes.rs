//! The other nodes of a cluster: what they are told of who is in a room here, and what they say.
//!
//! ```text
//!   join, leave, tick ── Room::tell_nodes ──> Log::say          a slice, a difference, a farewell
//!   FromLog::Heard ───── Room::hear_slice ──> a tick; a wish, or the slice, to that node
//!   FromLog::Missed ───> the whole slice, and the others are asked for theirs
//!   FromLog::Life ─────> the whole slices of all rooms, some at a time
//!   FromLog::Gone ─────> their members leave all rooms, some at a time
//! ```
//!
//! A life that is over is known for an hour. What it said may come late, and must not bring its
//! members back.
//!
//! A room in which somebody was here stays until it has heard its own farewell: else others might
//! never hear that nobody is.
//!
//! Invariant: without a life of this node nothing is said, and no room has a slice.
//!
//! When this node drains, the last leave of each room says so at once. What remains when it ends is
//! over by the node's goodbye, which others hear as `FromLog::Gone`.
//!
//! Deliberately absent: leases and goodbyes, which belong to the log; and how many are in a room
//! for the list (`listings`).
//!
//! Called by: `rooms`, and `shard` for the timers. Calls: `room::slices`, the log, `ticks`.

use std::collections::{BTreeMap, VecDeque};

use crate::base::rng::SplitMix64;
use crate::base::slack::Slack;
use crate::limits::{
    ANSWER_BYTES_PER_WORK, NODE_OVER_MS, NODES_OVER_MAX, ROOMS_TOLD_AT_ONCE, ROOMS_TOLD_EVERY_MS,
    SLICE_ANSWER_MS, SLICE_AUDIT_MS,
};
use crate::link::ids::RoomKey;
use crate::link::io::Io;
use crate::link::log::{Log, NodeId, Say, Spoken, Ticket, Unkept, Why};
use crate::link::outbox::{Cx, Timer};
use crate::link::pressure::Pressure;
use crate::link::slice::{SliceTold, push_want};
use crate::room::pacing::Urgency;
#[cfg(test)]
use crate::room::planted::{self, Planted};
use crate::room::slices::{Me, Taken, Telling};
use crate::rooms::Rooms;
use crate::rooms::registry::Registered;
use crate::wire::json::Checker;

/// What a shard knows of the cluster. See the module.
#[derive(Default)]
pub(super) struct Nodes {
    me: Me,
    /// Nodes whose lives are over.
    over: BTreeMap<NodeId, Over>,
    /// Rooms that are to be gone through, since nodes have gone or this one has another life.
    behind: VecDeque<RoomKey>,
    json: Checker,
}

/// A life that is over, with all before it.
#[derive(Clone, Copy, Debug)]
struct Over {
    life: u64,
    /// Until when it is known, in milliseconds of monotonic time.
    until_ms: u64,
}

impl Nodes {
    /// Whether this node has no life among others. Always so without an engine.
    pub(super) fn is_alone(&self) -> bool {
        self.me.life == 0
    }

    /// Goes on where another life of the shard ended.
    pub(super) fn follow(&mut self, other: &Self) {
        self.me.follow(&other.me);
        self.over.clone_from(&other.over);
    }

    /// Gives back memory that many rooms at once needed.
    pub(super) fn trim(&mut self, kept: usize) {
        self.behind.trim(kept);
    }

    /// Whether all rooms have been gone through.
    #[cfg(test)]
    pub(super) fn has_caught_up(&self) -> bool {
        self.behind.is_empty()
    }

    fn is_over(&self, node: NodeId, life: u64) -> bool {
        self.over.get(&node).is_some_and(|over| life <= over.life)
    }

    /// Notes that lives are over.
    fn note_over(&mut self, nodes: &[(NodeId, u64)], now_ms: u64) {
        self.over.retain(|_, over| over.until_ms > now_ms);
        for (node, life) in nodes {
            let known = self.over.get(node).map_or(0, |over| over.life);
            let (life, until_ms) = (known.max(*life), now_ms + NODE_OVER_MS);
            self.over.insert(*node, Over { life, until_ms });
        }
        while self.over.len() > NODES_OVER_MAX {
            let first = self.over.iter().min_by_key(|(_, over)| over.until_ms);
            let Some(node) = first.map(|(node, _)| *node) else { return };
            self.over.remove(&node);
        }
    }
}

impl Rooms {
    /// Handles which node this is, and in which life: all rooms are said again.
    pub(super) fn lives<I: Io>(&mut self, cx: &mut Cx<'_, I>, node: NodeId, life: u64) {
        if (self.nodes.me.node, self.nodes.me.life) == (node, life) {
            return;
        }
        #[cfg(test)]
        if !self.nodes.is_alone() && planted::is(Planted::NewLifeUnheard) {
            return;
        }
        (self.nodes.me.node, self.nodes.me.life) = (node, life);
        self.go_through_all(cx);
    }

    /// Handles that lives of nodes are over: their members leave all rooms.
    pub(super) fn are_over<I: Io>(&mut self, cx: &mut Cx<'_, I>, nodes: &[(NodeId, u64)]) {
        self.nodes.note_over(nodes, cx.now.mono_ms);
        self.go_through_all(cx);
    }

    fn go_through_all<I: Io>(&mut self, cx: &mut Cx<'_, I>) {
        if self.nodes.behind.is_empty() {
            cx.timers.push(cx.now.mono_ms, Timer::Nodes);
        }
        self.nodes.behind = self.keys(|room| room.name().is_some()).into();
    }

    /// Goes through some of the rooms that are behind what is known of nodes.
    pub(crate) fn catch_up_with_nodes<I: Io>(&mut self, cx: &mut Cx<'_, I>) {
        for _ in 0..ROOMS_TOLD_AT_ONCE {
            let Some(key) = self.nodes.behind.pop_front() else { return };
            let Some(Registered { room, .. }) = self.arena.get_mut(key) else { continue };
            if room.give_up_nodes(|node, life| self.nodes.is_over(node, life)) {
                self.note_elsewhere(cx, key, Urgency::AfterRest);
            }
            self.enter_slices(cx, key);
            let of = self.arena.get(key);
            if of.is_some_and(|of| of.room.is_of_another_life(&self.nodes.me)) {
                self.set_tick(cx, key, Urgency::Now);
            }
        }
        if !self.nodes.behind.is_empty() {
            cx.timers.push(cx.now.mono_ms + ROOMS_TOLD_EVERY_MS, Timer::Nodes);
        }
    }

    /// Follows a join or leave: other nodes are told at the next tick. When this node drains, the
    /// last leave is told at once, since there may be no tick any more.
    pub(super) fn note_slice<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: RoomKey) {
        if self.nodes.is_alone() {
            return;
        }
        self.enter_slices(cx, key);
        if cx.is_draining && self.arena.get(key).is_some_and(|of| of.room.members_count() == 0) {
            self.tell_nodes(cx, key);
        }
    }

    /// Begins to tell other nodes of a room, if somebody is here.
    fn enter_slices<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: RoomKey) {
        let Some(Registered { room, .. }) = self.arena.get_mut(key) else { return };
        if room.members_count() > 0 && room.name().is_some() && room.enter_slices() {
            self.set_audit(cx, key, cx.now.mono_ms + self.audit_ms(key));
            self.weigh(key);
        }
    }

    /// Tells other nodes what is to be told of a room by now.
    pub(super) fn tell_nodes<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: RoomKey) {
        let Some(Registered { room, .. }) = self.arena.get_mut(key) else { return };
        let mut record = std::mem::take(&mut self.scratch.response);
        if let Some(telling) = room.tell_nodes(&mut self.nodes.me, &mut record) {
            let is_farewell = telling == Telling::Farewell;
            let ticket = is_farewell.then(|| self.pending.next_ticket());
            if let Some(ticket) = ticket {
                room.note_farewell(ticket);
            }
            match self.say_slice(cx, key, ticket, None, &record) {
                Spoken::Later if telling == Telling::Hello => {
                    self.set_audit(cx, key, cx.now.mono_ms + SLICE_ANSWER_MS);
                }
                Spoken::Later => {}
                Spoken::Now | Spoken::Refused(_) => self.slice_was_refused(cx, key, ticket),
            }
        } else {
            // Others may never have been told that somebody was here.
            self.retire_if_empty(cx, key);
        }
        record.clear();
        self.scratch.response = record;
        // With the last member the room has forgotten what others said.
        self.weigh(key);
    }

    /// Tells other nodes that nobody is in a room any more in which its log has lost its place. Who
    /// does not hear it makes up for that by its audits.
    pub(super) fn part<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: RoomKey) {
        let Some(Registered { room, .. }) = self.arena.get_mut(key) else { return };
        let mut record = std::mem::take(&mut self.scratch.response);
        if room.tell_parting(&mut self.nodes.me, &mut record) {
            cx.io.log().part(room.topic(), &record);
        }
        record.clear();
        self.scratch.response = record;
    }

    /// Notes that other nodes have not heard what was said of a room: it is said again in a while.
    pub(super) fn slice_was_refused<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: RoomKey,
        farewell: Option<Ticket>,
    ) {
        let Some(Registered { room, .. }) = self.arena.get_mut(key) else { return };
        if room.was_not_told(farewell) {
            self.set_audit(cx, key, cx.now.mono_ms + SLICE_ANSWER_MS);
        }
    }

    fn say_slice<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: RoomKey,
        ticket: Option<Ticket>,
        to: Option<NodeId>,
        record: &[u8],
    ) -> Spoken {
        let Some(Registered { room, .. }) = self.arena.get(key) else { return Spoken::Now };
        // Its log has lost its place there: who is in it is told when it is open again.
        if self.loading.is_closed(key) {
            return Spoken::Refused(Why::Unavailable);
        }
        cx.budget.spend_for(record.len(), ANSWER_BYTES_PER_WORK);
        let what = Unkept::Presence(record);
        cx.io.log().say(Say { room: key, topic: room.topic(), ticket, to, what })
    }

    /// Handles what a node says of who is in a room, this one included.
    pub(super) fn hear_slice<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: RoomKey,
        from: NodeId,
        ticket: Option<Ticket>,
        record: &[u8],
    ) {
        cx.budget.spend_for(record.len(), ANSWER_BYTES_PER_WORK);
        let Some(Registered { room, .. }) = self.arena.get_mut(key) else { return };
        if let Some(ticket) = ticket {
            if room.has_left(ticket) {
                self.retire_if_empty(cx, key);
            }
            return;
        }
        let Some(told) = SliceTold::read(record, &mut self.nodes.json) else { return };
        let is_over = told.life().is_some_and(|life| self.nodes.is_over(from, life));
        #[cfg(test)]
        let is_over = is_over && !planted::is(Planted::TombstonesForgotten);
        if is_over {
            return;
        }
        let taken = Taken::new(cx.pressure < Pressure::Joins, &cx.settings.presence);
        let heard = room.hear_slice(&self.nodes.me, from, told, taken);
        if from != self.nodes.me.node {
            let metrics = &mut *cx.metrics;
            match told {
                SliceTold::Whole { .. } => metrics.slices_whole += 1,
                SliceTold::Diff { .. } => metrics.slices_diff += 1,
                SliceTold::Audit(_) => metrics.slices_audit += 1,
                SliceTold::Want => metrics.slices_want += 1,
            }
            let differs = matches!(told, SliceTold::Audit(_)) && !heard.wants.is_empty();
            metrics.slices_differ += u64::from(differs);
        }
        let mut record = Vec::new();
        if let Some(asked) = heard.asked
            && room.push_slice(&mut record, asked)
        {
            self.say_slice(cx, key, None, Some(from), &record);
        }
        let is_wanted = !heard.wants.is_empty();
        #[cfg(test)]
        let is_wanted = is_wanted && !planted::is(Planted::WantsUnsaid);
        for node in heard.wants.into_iter().filter(|_| is_wanted) {
            cx.metrics.slices_wanted += 1;
            record.clear();
            push_want(&mut record);
            self.say_slice(cx, key, None, Some(node), &record);
        }
        if let Some(urgency) = heard.news {
            self.note_elsewhere(cx, key, urgency);
        } else {
            self.weigh(key);
        }
    }

    /// Follows a change of who is elsewhere, as a join or leave here.
    fn note_elsewhere<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: RoomKey, urgency: Urgency) {
        self.weigh(key);
        self.set_tick(cx, key, urgency);
        self.list(key);
    }

    /// Handles that something said in a room may have been missed, here or by others.
    pub(super) fn was_missed<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: RoomKey) {
        let Some(Registered { room, .. }) = self.arena.get_mut(key) else { return };
        if room.has_missed() {
            self.set_tick(cx, key, Urgency::Now);
        }
    }

    /// Says that a room's slice still holds, if that is due; or all of it, if the others may not
    /// have heard that.
    pub(crate) fn audit_slice<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: RoomKey) {
        let now_ms = cx.now.mono_ms;
        let Some(Registered { room, .. }) = self.arena.get_mut(key) else { return };
        if !room.is_audit_due(now_ms) {
            return;
        }
        let mut record = Vec::new();
        #[cfg(test)]
        if planted::is(Planted::AuditsUnsaid) {
            return;
        }
        if room.push_audit(&self.nodes.me, &mut record) {
            self.say_slice(cx, key, None, None, &record);
        } else {
            self.set_tick(cx, key, Urgency::Now);
        }
        self.set_audit(cx, key, now_ms + self.audit_ms(key));
    }

    fn set_audit<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: RoomKey, at_ms: u64) {
        if let Some(Registered { room, .. }) = self.arena.get_mut(key) {
            room.set_audit(at_ms);
            cx.timers.push(at_ms, Timer::Slice(key));
        }
    }

    /// How long to wait for the next audit of a room, in milliseconds: about [`SLICE_AUDIT_MS`],
    /// and another time for each room of each node.
    fn audit_ms(&self, key: RoomKey) -> u64 {
        let draw = SplitMix64::new(self.nodes.me.life ^ key.to_u64()).next_u64();
        SLICE_AUDIT_MS / 4 * 3 + draw % (SLICE_AUDIT_MS / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::level::Level;
    use crate::link::log::{Append, Appended, FromLog, Opening};
    use crate::link::record::ToHome;
    use crate::rooms::tests::Home;

    /// A log that others have, too, and has heard what is said of who is there.
    #[derive(Default)]
    struct Heard {
        said: Vec<Vec<u8>>,
        parts: Vec<Vec<u8>>,
    }

    impl Log for Heard {
        fn is_shared(&self) -> bool {
            true
        }
        fn open(&mut self, _: RoomKey, _: &str, _: u64) -> Opening {
            Opening::New
        }
        fn append(&mut self, _: Append<'_>) -> Appended {
            Appended::Later
        }
        fn say(&mut self, say: Say<'_>) -> Spoken {
            let Unkept::Presence(record) = say.what else { panic!("nothing else is said") };
            self.said.push(record.to_vec());
            Spoken::Later
        }
        fn part(&mut self, _: &str, record: &[u8]) {
            self.parts.push(record.to_vec());
        }
        fn close(&mut self, _: RoomKey) {}
    }

    /// The version of a slice in which nobody is; `None` of another.
    fn empty(record: &[u8]) -> Option<u64> {
        let told = SliceTold::read(record, &mut Checker::default()).expect("it is read");
        let SliceTold::Whole { head, .. } = told else { panic!("{told:?}") };
        (head.count == 0).then_some(head.stamp.version)
    }

    #[test]
    fn where_a_room_loses_its_place_its_farewell_is_said_though_it_was_under_way() {
        for is_under_way in [false, true] {
            let mut home = Home::with_log(Heard::default());
            let hear = |home: &mut Home<Heard>, said: FromLog<'_>| {
                home.with(|rooms, cx, told| rooms.hear_log(cx, told, said));
            };
            hear(&mut home, FromLog::Life { node: 7, life: 3 });
            let (room, asker) = home.enter(0, 1, "ann", Level::Speak);
            let tick = |home: &mut Home<Heard>| {
                home.now_ms += 5_000;
                while home.fire_next() {}
            };
            tick(&mut home);
            let leave = ToHome::Leave { home: room, asker, reference: None };
            home.hear(0, leave);
            if is_under_way {
                tick(&mut home);
            }
            let farewell = home.mesh.log.said.last().map(|record| empty(record));
            assert_eq!(farewell.map(|of| of.is_some()), Some(is_under_way));
            hear(&mut home, FromLog::Closed { room });
            let [part] = &home.mesh.log.parts[..] else { panic!("it is said once") };
            let (part, farewell) = (empty(part), farewell.flatten());
            assert!(part.is_some() && part > farewell, "{part:?} behind {farewell:?}");
        }
    }
}

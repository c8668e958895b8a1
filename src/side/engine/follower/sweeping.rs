//! Rooms are looked at whether something of them is too old, or too much: by one node of all, since
//! nobody may be in them.
//!
//! ```text
//!   first node:  Due ── rooms of a partition ──> Read ──┬──────────────────────> Append(LetGo)
//!                                                       └─ the archive is asked ──^
//!   all nodes:   a room is opened, or set, or spoken in ──> Age
//! ```
//!
//! The engine knows when each room is to be looked at that has a bound, and hands it out again
//! later to whoever asks: so a node that ends, or is cut off, loses nothing. What a room keeps, and
//! what follows from it, is judged here, by the engine's clock. What was judged by settings of
//! before is not done.
//!
//! One room is looked at at a time, behind what homes have asked. Deliberately absent: what goes
//! (`retention`), and how homes hear of it (`followed`).

use std::collections::VecDeque;

#[cfg(test)]
use super::planted::{self, Planted};
use super::{Asked, Follower, RoomId, Ways};
use crate::limits::{
    RETENTION_AGAIN_MS, RETENTION_REST_MS, RETENTION_ROOMS_AT_ONCE, RETENTION_STEP_MS,
    RETENTION_SWEEP_MS,
};
use crate::link::facts::{Keep, RoomKeep};
use crate::link::log::Marks;
use crate::side::engine::command::{Act, Append, Command, Entry, Receipt, Reply, State};
use crate::side::engine::older::{Question, Reply as Older, What};
use crate::side::engine::partition::partition;
use crate::side::engine::retention::Cut;
use crate::side::engine::view::{Decided, Messages};
use crate::side::engine::written::warned;

/// A room that is looked at.
pub(super) struct Looked {
    topic: Box<str>,
    /// What it keeps,
    keep: Keep,
    /// and where it stood: its epoch and revision.
    judged: (u64, u64),
    /// How far it had come,
    top: Marks,
    /// and up to which offset it had let go of messages.
    gone: u64,
    /// What follows.
    cut: Cut,
}

/// What a room was asked to let go of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cutting {
    /// So many messages.
    count: u64,
    /// How far it had come when it was looked at.
    top: Marks,
}

/// See the module.
#[derive(Default)]
pub(super) struct Sweep {
    /// The partition that is asked for next, and when.
    next: u16,
    due_ms: u64,
    /// Whether there may be more of its rooms than were answered.
    has_more: bool,
    /// Rooms that are to be looked at,
    waiting: VecDeque<Box<str>>,
    /// and the engine's time when they were answered, in milliseconds of Unix time.
    engine_ms: u64,
    /// Whether one is being looked at, or asked for.
    is_busy: bool,
    /// The one of which an archive was asked, under this number.
    older: Option<(u64, Looked)>,
}

impl Follower {
    /// The connection has ended: rooms that were not looked at are handed out again.
    pub(super) fn sweep_lost(&mut self) {
        let Sweep { next, due_ms, .. } = self.sweep;
        self.sweep = Sweep { next, due_ms, ..Sweep::default() };
    }

    /// Asks which rooms are to be looked at, if this node is the one that does. Returns when to
    /// come again, in milliseconds.
    pub(super) fn tick_sweep(&mut self, ways: &mut impl Ways, now_ms: u64) -> u64 {
        if self.sweep.is_busy || !self.leases.is_first() {
            return u64::MAX;
        }
        let Sweep { next, due_ms, is_busy, .. } = &mut self.sweep;
        if now_ms < *due_ms {
            return *due_ms;
        }
        let partitions = u64::from(self.node.partitions);
        let step_ms = RETENTION_STEP_MS.max(RETENTION_SWEEP_MS / partitions);
        (*is_busy, *due_ms) = (true, now_ms + step_ms);
        let (count, again_ms) = (RETENTION_ROOMS_AT_ONCE, RETENTION_AGAIN_MS);
        let due = Command::Due { partition: *next, count, again_ms };
        self.ask(ways, Asked::Due, due);
        u64::MAX
    }

    /// Looks at rooms.
    pub(super) fn are_due(&mut self, ways: &mut impl Ways, engine_ms: u64, topics: Vec<Box<str>>) {
        self.sweep.has_more = topics.len() == RETENTION_ROOMS_AT_ONCE as usize;
        (self.sweep.waiting, self.sweep.engine_ms) = (topics.into(), engine_ms);
        self.sweep_next(ways);
    }

    /// Looks at the next room, if there is one.
    pub(super) fn sweep_next(&mut self, ways: &mut impl Ways) {
        let Sweep { next, waiting, is_busy, has_more, due_ms, .. } = &mut self.sweep;
        if let Some(topic) = waiting.pop_front() {
            return self.read_whole(ways, Asked::Sweep(topic.clone()), topic);
        }
        *is_busy = false;
        if std::mem::take(has_more) {
            *due_ms = 0;
        } else {
            *next = (*next + 1) % self.node.partitions;
        }
    }

    /// Goes on with what was read of a room.
    pub(super) fn sweep_was_read(&mut self, ways: &mut impl Ways, topic: Box<str>, state: State) {
        let decided = warned(Decided::of(&topic, &state.facts));
        let keep = decided.map(|decided| self.node.keep.of_room(decided.keep()));
        let Some((head, keep)) = state.head.as_ref().zip(keep).filter(|(_, of)| of.is_bound())
        else {
            // Of a room whose settings cannot be read all is kept. Who opens it is told.
            return self.ask_not_to_look(ways, topic);
        };
        let engine_ms = self.sweep.engine_ms;
        let cut = Cut::of(&Messages::of(&topic, &state), head, keep, engine_ms);
        let (judged, gone) = ((head.epoch, head.rev), head.gone.offset);
        let looked = Looked { topic, keep, judged, top: head.top, gone, cut };
        let is_archived = self.node.has_archive
            && state.archived.is_some_and(|of| head.knows(of.epoch) && of.upto.offset > gone);
        if !is_archived {
            return self.let_go(ways, looked);
        }
        let what = What::Oldest { before_ms: keep.too_old_before(engine_ms), cut };
        let (topic, epoch) = (looked.topic.clone(), head.epoch);
        let asked = self.last_number + 1;
        if ways.ask_archive(asked, Question { topic, epoch, state, what }) {
            self.last_number = asked;
            self.sweep.older = Some((asked, looked));
        } else {
            self.sweep_next(ways);
        }
    }

    /// Goes on with what an archive has of the room that is looked at. False, if it was not asked
    /// under this number for that.
    pub(super) fn sweep_is_answered(
        &mut self,
        ways: &mut impl Ways,
        asked: u64,
        result: Option<&Older>,
    ) -> bool {
        let Some((_, mut looked)) = self.sweep.older.take_if(|(of, _)| *of == asked) else {
            return false;
        };
        match result {
            Some(Older::Oldest(cut)) => {
                looked.cut = looked.cut.with(*cut);
                self.let_go(ways, looked);
            }
            // It is looked at again later.
            _ => self.sweep_next(ways),
        }
        true
    }

    fn let_go(&mut self, ways: &mut impl Ways, looked: Looked) {
        let Looked { topic, keep, judged, top, gone, cut } = looked;
        let due_in_ms = cut.due_in_ms(keep, self.sweep.engine_ms, RETENTION_REST_MS);
        let act = Act::LetGo { upto: cut.upto, due_in_ms };
        let entry = Entry { judged: Some(judged), act, record: Vec::new(), line: Vec::new() };
        let asked = Asked::LetGo(
            topic.clone(),
            Cutting { count: cut.upto.offset.saturating_sub(gone), top },
        );
        let append = Append { topic, fresh_epoch: self.next_epoch(), entries: vec![entry] };
        self.ask(ways, asked, Command::Append(append));
    }

    /// A room has let go of messages, or not.
    pub(super) fn has_let_go(
        &mut self,
        ways: &mut impl Ways,
        topic: Box<str>,
        Cutting { count, top }: Cutting,
        reply: Option<&Reply>,
    ) {
        if let Some(Reply::Appended { head, receipts }) = reply
            && let [Receipt::Decided { .. }] = receipts[..]
        {
            self.counted.let_go += count;
            // When it is to be looked at next was set without what was said since it was read.
            if head.top != top {
                self.ask_to_look(ways, vec![topic], Some(RETENTION_REST_MS));
            }
        }
        self.sweep_next(ways);
    }

    fn ask_not_to_look(&mut self, ways: &mut impl Ways, topic: Box<str>) {
        self.ask_to_look(ways, vec![topic], None);
        self.sweep_next(ways);
    }

    /// Asks for rooms to be looked at within so many milliseconds. They are of one partition.
    pub(super) fn ask_to_look(
        &mut self,
        ways: &mut impl Ways,
        topics: Vec<Box<str>>,
        in_ms: Option<u64>,
    ) {
        let Some(first) = topics.first() else { return };
        let partition = partition(first, self.node.partitions);
        self.ask(ways, Asked::Nothing, Command::Age { partition, topics, in_ms });
    }

    /// A room was read that is followed: it is to be looked at when something of it is too old.
    pub(super) fn note_age(&mut self, ways: &mut impl Ways, id: RoomId, state: &State) {
        let (Some(followed), Some(head)) = (self.rooms.get(&id), &state.head) else { return };
        let keep = self.node.keep.of_room(followed.aging.own);
        if !keep.is_bound() {
            return;
        }
        let (topic, now_ms) = (followed.topic.clone(), self.listing.engine_ms());
        let cut = Cut::of(&Messages::of(&topic, state), head, keep, now_ms);
        let is_over = cut.upto.offset > head.gone.offset;
        let in_ms = if is_over { Some(0) } else { cut.due_in_ms(keep, now_ms, 0) };
        if in_ms.is_some() {
            self.ask_to_look(ways, vec![topic], in_ms);
        }
    }

    /// Something was told of a room: it is to be looked at, if that may be over a bound.
    pub(super) fn note_told(&mut self, ways: &mut impl Ways, now_ms: u64, id: RoomId) {
        let of_all = self.node.keep;
        let Some(followed) = self.rooms.get_mut(&id) else { return };
        if let Some(in_ms) = followed.aging.look_in_ms(of_all, now_ms) {
            let topic = followed.topic.clone();
            self.ask_to_look(ways, vec![topic], Some(in_ms));
        }
    }

    /// These rooms are in the list. Nobody may have opened them since this server keeps messages
    /// for another time.
    pub(super) fn note_listed(&mut self, ways: &mut impl Ways, topics: Vec<Box<str>>) {
        if self.node.keep.is_bound() {
            self.ask_to_look(ways, topics, Some(RETENTION_SWEEP_MS));
        }
    }
}

/// What of a followed room bears on when it is looked at.
#[derive(Debug, Default)]
pub(super) struct Aging {
    /// What it keeps by its own settings.
    own: RoomKeep,
    /// Whether that has changed, or what it was asked for may be lost,
    was_set: bool,
    /// or something was said or changed, since it was asked for to be looked at.
    has_grown: bool,
    /// Until when it will have been looked at as it was asked for, in milliseconds. For what is
    /// said it is asked for from then on.
    look_ms: u64,
}

impl Aging {
    /// It was opened with these settings.
    pub(super) fn begins(&mut self, own: RoomKeep) {
        self.own = own;
    }

    /// It has these settings from now on.
    pub(super) fn keeps(&mut self, own: RoomKeep) {
        self.was_set |= std::mem::replace(&mut self.own, own) != own;
        #[cfg(test)]
        if planted::is(Planted::KeepUnheard) {
            self.was_set = false;
        }
    }

    /// Something was said or changed in it.
    pub(super) fn grows(&mut self) {
        self.has_grown = true;
    }

    /// Within how many milliseconds it is to be looked at, after something was told of it; `None`,
    /// if it is anyway.
    fn look_in_ms(&mut self, of_all: Keep, now_ms: u64) -> Option<u64> {
        let keep = of_all.of_room(self.own);
        let has_grown = std::mem::take(&mut self.has_grown);
        // Time passes by itself.
        let is_counted = keep.messages > 0 || keep.bytes > 0;
        let in_ms = if std::mem::take(&mut self.was_set) && keep.is_bound() {
            0
        } else if is_counted && has_grown && now_ms >= self.look_ms {
            RETENTION_REST_MS
        } else {
            return None;
        };
        self.look_ms = self.look_ms.max(now_ms + in_ms);
        Some(in_ms)
    }

    /// The connection has ended, by which something was heard last at a time: what was asked not
    /// long before may be lost.
    pub(super) fn lost(&mut self, heard_ms: u64) {
        self.was_set |= self.look_ms > 0 && heard_ms < self.look_ms + RETENTION_REST_MS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    /// One that keeps so many messages, as all rooms do.
    fn few() -> Keep {
        Keep { messages: 3, ..Keep::default() }
    }

    #[test]
    fn a_room_that_grows_is_looked_at_once_in_a_while() {
        let mut aging = Aging::default();
        assert_eq!(aging.look_in_ms(few(), MINUTE), None);
        aging.grows();
        assert_eq!(aging.look_in_ms(few(), MINUTE), Some(RETENTION_REST_MS));
        aging.grows();
        assert_eq!(aging.look_in_ms(few(), MINUTE + 1), None, "it is anyway");
        aging.grows();
        let next = aging.look_in_ms(few(), MINUTE + RETENTION_REST_MS);
        assert_eq!(next, Some(RETENTION_REST_MS));
        aging.grows();
        assert_eq!(aging.look_in_ms(Keep::default(), 2 * MINUTE), None, "all is kept");
    }

    #[test]
    fn what_was_asked_shortly_before_a_connection_ended_is_asked_again() {
        let mut aging = Aging::default();
        aging.lost(MINUTE);
        assert_eq!(aging.look_in_ms(few(), MINUTE), None, "nothing was asked");
        aging.keeps(RoomKeep { messages: Some(2), ..RoomKeep::default() });
        assert_eq!(aging.look_in_ms(few(), MINUTE), Some(0));
        aging.lost(MINUTE + RETENTION_REST_MS - 1);
        assert_eq!(aging.look_in_ms(few(), 2 * MINUTE), Some(0));
        aging.lost(4 * MINUTE);
        assert_eq!(aging.look_in_ms(few(), 4 * MINUTE), None, "it was heard long ago");
    }
}

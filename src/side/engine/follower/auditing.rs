//! Where rooms stand is compared with the engine again and again: what is pushed may be lost, and
//! an engine may be emptied, and nobody says so.
//!
//! The answer comes behind all that was pushed before it, on the same connection. So whatever a
//! room has then that its home was not told is a hole, and is read. If messages and changes are in
//! it, the room is opened again: which of them was first is not kept.
//!
//! A room is looked at out of turn when something is heard on its channel that no node says, and
//! no script: somebody else can do there what they want. That is counted and logged, and disturbs
//! nothing else.
//!
//! Rooms have their turns one after the other, evenly over `engine.audit_s`. Deliberately absent:
//! how a hole is closed (`following`).

use std::ops::Bound;

use super::catch_up::has_missed_nothing;
use super::followed::Stage;
#[cfg(test)]
use super::planted::{self, Planted};
use super::{Asked, Follower, RoomId, Ways};
use crate::side::engine::command::{Command, Head};

/// Between two audits the thread may rest so long at least, in milliseconds.
const REST_MS: u64 = 100;

/// What others do in the engine is logged so often at most, in milliseconds.
const OTHERS_LOG_MS: u64 = 60_000;

/// When something is logged again that others may do as often as they want.
#[derive(Debug, Default)]
pub(super) struct LogPace {
    due_ms: u64,
}

impl LogPace {
    /// Whether it is logged now; not again too soon then.
    pub(super) fn is_due(&mut self, now_ms: u64) -> bool {
        let is_due = now_ms >= self.due_ms;
        if is_due {
            self.due_ms = now_ms + OTHERS_LOG_MS;
        }
        is_due
    }
}

/// What has become of where a room stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Its home was told all of it.
    Nothing,
    /// Something is missing, or the room is just being read.
    BeingRead,
}

/// Whose turn it was.
#[derive(Debug, Default)]
pub(super) struct Audits {
    /// The room that was audited last.
    last: RoomId,
    /// Up to this time all had their turn whose turn it was.
    upto_ms: u64,
    /// What others have said,
    foreign_log: LogPace,
    /// and rooms that this version does not know.
    pub(super) unknown_log: LogPace,
}

impl Follower {
    /// There is a connection: all rooms are looked at anyway.
    pub(super) fn audit_anew(&mut self, now_ms: u64) {
        self.audits.upto_ms = now_ms;
    }

    /// Asks where those rooms stand whose turn it is. Returns when to come again, in milliseconds.
    pub(super) fn audit(&mut self, ways: &mut impl Ways, now_ms: u64) -> u64 {
        let (count, every_ms) = (self.rooms.len() as u64, self.node.limits.audit_ms());
        #[cfg(test)]
        let count = if planted::is(Planted::AuditOff) { 0 } else { count };
        if count == 0 {
            self.audits.upto_ms = now_ms;
            return u64::MAX;
        }
        let elapsed_ms = now_ms.saturating_sub(self.audits.upto_ms);
        let due = (elapsed_ms * count / every_ms).min(self.node.limits.looks_at_once as u64);
        for _ in 0..due.min(count) {
            self.audit_next(ways);
        }
        // What the rooms of a node that stood still have missed is not made up for.
        let is_late = elapsed_ms * count / every_ms > due;
        self.audits.upto_ms =
            if is_late { now_ms } else { self.audits.upto_ms + due * every_ms / count };
        self.audits.upto_ms + (every_ms / count).max(REST_MS)
    }

    fn audit_next(&mut self, ways: &mut impl Ways) {
        let behind = (Bound::Excluded(self.audits.last), Bound::Unbounded);
        let next = self.rooms.range(behind).next().or_else(|| self.rooms.first_key_value());
        let Some((id, followed)) = next else { return };
        let (id, topic) = (*id, followed.topic.clone());
        let is_live = followed.stage == Stage::Live;
        self.audits.last = id;
        if is_live {
            self.ask(ways, Asked::Audit(id), Command::Look { topic });
        }
    }

    /// Compares where a room stands with what its home was told, and reads what is missing.
    pub(super) fn audited(
        &mut self,
        ways: &mut impl Ways,
        id: RoomId,
        head: Option<&Head>,
        is_current: bool,
    ) -> Found {
        let followed = self.rooms.get_mut(&id).filter(|of| of.stage == Stage::Live);
        let Some(followed) = followed.filter(|of| of.known.is_some()) else {
            return Found::BeingRead;
        };
        let has_missed_nothing =
            |head: &&Head| followed.known.as_ref().is_some_and(|of| has_missed_nothing(of, head));
        if let Some(head) = head.filter(|_| is_current).filter(has_missed_nothing) {
            followed.tell_gone(ways, head.gone);
            return Found::Nothing;
        }
        // Where the engine is on another history the room turns, of which nobody was told yet.
        if is_current {
            self.note_hole(id);
        }
        self.read_again(ways, id);
        Found::BeingRead
    }

    /// Handles that something was heard which no node says, on the channel of a room if it was on
    /// one: that is looked at.
    pub(super) fn heard_foreign(&mut self, ways: &mut impl Ways, now_ms: u64, topic: Option<&str>) {
        self.counted.foreign += 1;
        if self.audits.foreign_log.is_due(now_ms) {
            let times = self.counted.foreign;
            tracing::warn!(
                ?topic,
                times,
                "something was published on channels of rooms that no server says: has somebody \
                 else the engine's password?"
            );
        }
        let id = topic.and_then(|topic| self.by_topic.get(topic).copied());
        let Some((id, followed)) = id.and_then(|id| Some((id, self.rooms.get_mut(&id)?))) else {
            return;
        };
        if followed.stage == Stage::Live && !std::mem::replace(&mut followed.is_suspect, true) {
            let topic = followed.topic.clone();
            self.ask(ways, Asked::Audit(id), Command::Look { topic });
        }
    }

    /// Notes that a room was looked at.
    pub(super) fn note_audited(&mut self, id: RoomId) {
        if let Some(followed) = self.rooms.get_mut(&id) {
            followed.is_suspect = false;
        }
    }

    /// Notes that something is missing of what a home was to be told.
    pub(super) fn note_hole(&mut self, id: RoomId) {
        self.counted.holes += 1;
        if let Some(followed) = self.rooms.get_mut(&id) {
            followed.has_hole = true;
        }
    }
}

//! Entries are appended: one call of a room is under way at a time, and what comes meanwhile goes
//! with the next.
//!
//! Deliberately absent: retries, and when what was appended is safe (`replicas`).

use super::followed::{Call, Followed, Waits};
#[cfg(test)]
use super::planted::{self, Planted};
use super::replicas::Kept;
use super::{Asked, Follower, RoomId, Ways};
use crate::link::engine::{Act, FromEngine, read_facts};
use crate::link::ids::RoomKey;
use crate::link::log::{Marks, Why};
use crate::side::engine::command::{
    Act as CommandAct, Append, Command, Entry, Failure, Founded, Head, Receipt,
};

impl Follower {
    /// Takes an entry.
    pub(super) fn append(
        &mut self,
        ways: &mut impl Ways,
        now_ms: u64,
        key: (u16, RoomKey),
        number: u64,
        entry: Entry,
    ) {
        let limits = &self.node.limits;
        // Of a room that is closed it is answered that it is: by `Closed`, or not at all.
        let Some(id) = self.by_key.get(&key).copied() else { return };
        let Some(followed) = self.rooms.get_mut(&id) else { return };
        let waits = Waits::new(number, entry, now_ms);
        let why = if !self.is_connected {
            Some(Why::Unavailable)
        } else if followed.waiting_count() >= limits.room_waiting
            || self.waiting_bytes + waits.bytes() > limits.waiting_bytes
        {
            Some(Why::Busy)
        } else {
            None
        };
        if let Some(why) = why {
            return ways.tell(key.0, &FromEngine::Refused { number, why });
        }
        self.waiting_bytes += waits.bytes();
        self.late_ms = self.late_ms.min(now_ms + limits.timeout_ms);
        followed.push(waits);
        self.call(ways, now_ms, id);
    }

    /// Appends what waits in a room, if nothing of it is under way and it is followed.
    pub(super) fn call(&mut self, ways: &mut impl Ways, now_ms: u64, id: RoomId) {
        let entries_max = self.node.limits.call_entries;
        let Some(followed) = self.rooms.get_mut(&id) else { return };
        let Some(entries) = followed.next_call(entries_max, now_ms) else { return };
        let topic = followed.topic.clone();
        let append = Append { topic, fresh_epoch: self.next_epoch(), entries };
        self.ask(ways, Asked::Append(id), Command::Append(append));
    }

    /// An epoch that no room has had.
    pub(super) fn next_epoch(&mut self) -> u64 {
        #[cfg(test)]
        if planted::is(Planted::EpochReused) {
            return 1;
        }
        self.epochs.next_u64()
    }

    /// Tells who waits for it what has become of what was appended.
    pub(super) fn appended(
        &mut self,
        ways: &mut impl Ways,
        now_ms: u64,
        id: RoomId,
        head: &Head,
        receipts: &[Receipt],
    ) {
        let Some(followed) = self.rooms.get_mut(&id) else { return };
        let Some(Call { numbers, bytes, .. }) = followed.call.take() else { return };
        followed.spoken_ms = now_ms;
        self.waiting_bytes -= bytes;
        let shard = followed.key.0;
        let primary = usize::from(ways.primary_of(&followed.topic));
        let replicas = &mut self.replicas[primary];
        for (number, receipt) in numbers.into_iter().zip(receipts) {
            let (marks, at_ms) = match *receipt {
                Receipt::Stale | Receipt::Conflict => {
                    ways.tell(shard, &FromEngine::Refused { number, why: Why::Conflict });
                    continue;
                }
                Receipt::Gone => {
                    ways.tell(shard, &FromEngine::Refused { number, why: Why::Gone });
                    continue;
                }
                Receipt::Message { offset, at_ms } => (Marks { offset, change: 0 }, at_ms),
                Receipt::Change { change } => (Marks { offset: 0, change }, head.at_ms),
                Receipt::Decided { .. } => (Marks::default(), head.at_ms),
            };
            replicas.keep(ways, now_ms, Kept { shard, number, marks, at_ms });
        }
        self.call(ways, now_ms, id);
    }

    /// Tells who waits for it that nothing was appended.
    pub(super) fn not_appended(
        &mut self,
        ways: &mut impl Ways,
        now_ms: u64,
        id: RoomId,
        failure: &Failure,
    ) {
        let why = match failure {
            // It takes no more, and may again in a moment.
            Failure::Refused(_) => Why::Busy,
            Failure::Layout | Failure::Elsewhere(_) => Why::Unavailable,
            Failure::Lost => Why::Unconfirmed,
        };
        let Some(followed) = self.rooms.get_mut(&id) else { return };
        let Some(Call { numbers, bytes, .. }) = followed.call.take() else { return };
        self.waiting_bytes -= bytes;
        let shard = followed.key.0;
        for number in numbers {
            ways.tell(shard, &FromEngine::Refused { number, why });
        }
        if *failure == Failure::Layout {
            return self.lose_unknown(ways, now_ms, id);
        }
        self.call(ways, now_ms, id);
    }

    /// Answers what has waited for too long: what is under way may be kept, the rest is not.
    pub(super) fn give_up_late(&mut self, ways: &mut impl Ways, now_ms: u64) {
        let timeout_ms = self.node.limits.timeout_ms;
        for followed in self.rooms.values_mut() {
            let (shard, _) = followed.key;
            followed.give_up_awaiting(ways, now_ms, timeout_ms);
            let (refused, bytes) = followed.give_up(now_ms, timeout_ms);
            self.waiting_bytes -= bytes;
            for (number, why) in refused {
                ways.tell(shard, &FromEngine::Refused { number, why });
            }
        }
        let oldest_ms = self.rooms.values().filter_map(Followed::oldest_ms).min();
        self.late_ms = oldest_ms.map_or(u64::MAX, |since_ms| since_ms + timeout_ms);
    }
}

/// What an entry does, as the engine is asked for it.
pub(super) fn act_of(act: Act<'_>) -> CommandAct {
    match act {
        Act::Message { key } => CommandAct::Message { key: key.map(u64::to_be_bytes) },
        Act::Change { offset, expected, is_deleted, is_pinned, heard } => {
            CommandAct::Change { offset, expected, is_deleted, is_pinned, heard }
        }
        Act::Decision { title, is_private, facts } => {
            let founded = title.map(|title| Founded { title: title.into(), is_private });
            CommandAct::Decision { founded, facts: read_facts(facts) }
        }
        Act::Note {} => CommandAct::Note,
    }
}

//! Homes that wait until they have been told all that has its place in a room by now: a client has
//! come that may have heard more of it at another node.
//!
//! ```text
//!   CatchUp ── Look ──┬─> nothing is missing: CaughtUp
//!                     └─> something is, or the room is just read: CaughtUp behind what was read
//! ```
//!
//! The answer comes behind all that was pushed before it. What is read of a room while that answer
//! comes was asked for later, so it has all of that, too.
//!
//! Whoever has waited for `engine.timeout_ms` is told that it cannot be known.
//!
//! Deliberately absent: how what is missing is found (`following`), and who waits for it.

use super::auditing::Found;
use super::followed::Followed;
use super::{Asked, Follower, RoomId, Ways};
use crate::link::engine::FromEngine;
use crate::link::ids::RoomKey;
use crate::link::log::Why;
use crate::side::engine::command::{Command, Head};

/// Who waits until all of a room is told.
#[derive(Debug, Default)]
pub(super) struct Awaits {
    /// The oldest first.
    numbers: Vec<Await>,
}

#[derive(Debug)]
struct Await {
    number: u64,
    since_ms: u64,
    /// Whether the engine has answered, and what is being read has the rest.
    is_being_read: bool,
}

impl Awaits {
    /// Since when somebody waits.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.numbers.first().map(|of| of.since_ms)
    }

    /// Takes those who have waited for so long.
    fn take_late(&mut self, now_ms: u64, timeout_ms: u64) -> Vec<u64> {
        self.take(|of| now_ms.saturating_sub(of.since_ms) >= timeout_ms)
    }

    /// Takes those who wait for what has been read.
    fn take_read(&mut self) -> Vec<u64> {
        self.take(|of| of.is_being_read)
    }

    fn take(&mut self, is_meant: impl Fn(&Await) -> bool) -> Vec<u64> {
        self.numbers.extract_if(.., |of| is_meant(of)).map(|of| of.number).collect()
    }
}

impl Follower {
    /// A home wants to be told all that has its place in a room.
    pub(super) fn await_all(
        &mut self,
        ways: &mut impl Ways,
        now_ms: u64,
        key: (u16, RoomKey),
        number: u64,
    ) {
        let Some((id, topic)) = self.room_to_read(ways, key, number) else { return };
        let Some(followed) = self.rooms.get_mut(&id) else { return };
        followed.awaits.numbers.push(Await { number, since_ms: now_ms, is_being_read: false });
        self.late_ms = self.late_ms.min(now_ms + self.node.limits.timeout_ms);
        self.ask(ways, Asked::Await(id, number), Command::Look { topic });
    }

    /// Goes on with where a room stands that somebody waits for.
    pub(super) fn stands_for(
        &mut self,
        ways: &mut impl Ways,
        id: RoomId,
        number: u64,
        head: Option<&Head>,
        is_current: bool,
    ) {
        let Some(followed) = self.rooms.get_mut(&id) else { return };
        // It may have waited for too long.
        let Some(at) = followed.awaits.numbers.iter().position(|of| of.number == number) else {
            return;
        };
        followed.awaits.numbers[at].is_being_read = true;
        if self.audited(ways, id, head, is_current) == Found::Nothing {
            self.tell_caught_up(ways, id);
        }
    }

    /// Tells those who wait for what has been read of a room, which is told by now.
    pub(super) fn tell_caught_up(&mut self, ways: &mut impl Ways, id: RoomId) {
        let Some(followed) = self.rooms.get_mut(&id) else { return };
        let shard = followed.key.0;
        for number in followed.awaits.take_read() {
            ways.tell(shard, &FromEngine::CaughtUp { number });
        }
    }

    /// Tells whoever waits under this number that it cannot be known.
    pub(super) fn stands_nowhere(&mut self, ways: &mut impl Ways, id: RoomId, number: u64) {
        let Some(followed) = self.rooms.get_mut(&id) else { return };
        let taken = followed.awaits.take(|of| of.number == number);
        tell_unknown(ways, followed.key.0, taken);
    }
}

impl Followed {
    /// Tells those who have waited for too long that it cannot be known.
    pub(super) fn give_up_awaiting(&mut self, ways: &mut impl Ways, now_ms: u64, timeout_ms: u64) {
        tell_unknown(ways, self.key.0, self.awaits.take_late(now_ms, timeout_ms));
    }

    /// Tells all who wait.
    pub(super) fn lose_awaiting(&mut self, ways: &mut impl Ways) {
        tell_unknown(ways, self.key.0, self.awaits.take(|_| true));
    }
}

fn tell_unknown(ways: &mut impl Ways, shard: u16, numbers: Vec<u64>) {
    for number in numbers {
        ways.tell(shard, &FromEngine::NotRead { number, why: Why::Unavailable });
    }
}

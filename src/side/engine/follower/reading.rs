//! What homes want to read of rooms that are followed: pages of messages, messages with words in
//! them, and lines of the audit trail.
//!
//! ```text
//!   page ── the room is read ──┬─ it has all of it ──────────────────────────────> its home
//!                              └─ the archive is asked ── the room is looked at ──> its home
//! ```
//!
//! The archive may have by then what its home has not been told: the last look is behind that.
//!
//! Deliberately absent: what a page has (`side::engine::view`).

use super::followed::Stage;
#[cfg(test)]
use super::planted::{self, Planted};
use super::{Asked, Follower, RoomId, Ways};
use crate::limits::{ARCHIVE_READS_BYTES_MAX, ARCHIVE_READS_MAX};
use crate::link::audit::{AuditPage, AuditWanted};
use crate::link::engine::FromEngine;
use crate::link::ids::RoomKey;
use crate::link::log::Why;
use crate::link::message::text;
use crate::side::engine::command::{Command, State};
use crate::side::engine::older::{Question, Reply as Older, What};
use crate::side::engine::view::Messages;
use crate::side::engine::written::{read_line, warned};

/// A home that waits for what the archive has.
pub(super) struct WaitsForOlder {
    id: RoomId,
    /// As its home calls the question.
    number: u64,
    /// The room's epoch then.
    epoch: u64,
    /// What the engine has of it, in bytes.
    bytes: usize,
}

/// Lines of an audit trail that are being read.
pub(super) struct Trail {
    pub(super) number: u64,
    wanted: AuditWanted,
    bytes: usize,
    /// Those that were read.
    page: AuditPage,
    /// How many could not be, and were not counted yet.
    unreadable: u64,
}

impl Follower {
    /// A home wants messages of a room.
    pub(super) fn read_page(
        &mut self,
        ways: &mut impl Ways,
        key: (u16, RoomKey),
        number: u64,
        what: What,
    ) {
        if self.to_read.len() >= self.node.limits.pages_waiting {
            return ways.tell(key.0, &FromEngine::NotRead { number, why: Why::Busy });
        }
        if let Some((id, topic)) = self.room_to_read(ways, key, number) {
            self.read_whole(ways, Asked::Page(id, number, what), topic);
        }
    }

    /// A home wants lines of a room's audit trail.
    pub(super) fn read_trail(&mut self, ways: &mut impl Ways, key: (u16, RoomKey), trail: Trail) {
        if let Some((id, topic)) = self.room_to_read(ways, key, trail.number) {
            // Whether the engine has lost some of what was told is for its home to hear first.
            if self.rooms.get(&id).is_none_or(|followed| followed.stage != Stage::Live) {
                let (number, why) = (trail.number, Why::Busy);
                return ways.tell(key.0, &FromEngine::NotRead { number, why });
            }
            let question = trail.question(topic);
            self.ask(ways, Asked::Lines(id, Box::new(trail)), question);
        }
    }

    /// Tells a home the page of what was read, or asks the archive for what is missing.
    pub(super) fn page_was_read(
        &mut self,
        ways: &mut impl Ways,
        id: RoomId,
        number: u64,
        what: What,
        state: State,
    ) {
        let Some(followed) = self.rooms.get(&id) else { return };
        let shard = followed.key.0;
        // Of another epoch, its home is to hear of that first.
        let is_of_now = followed.is_of_now(&state);
        #[cfg(test)]
        let is_of_now = is_of_now || planted::is(Planted::PageOfAnotherEpoch);
        if !is_of_now {
            ways.tell(shard, &FromEngine::NotRead { number, why: Why::Busy });
            // The engine is on another history by itself: nothing need be said for that.
            if !state.is_current && followed.stage == Stage::Live {
                self.read_again(ways, id);
            }
            return;
        }
        let head = state.head.as_ref();
        // What was pushed is told by now. Else it was lost, or the room is being read: its home is
        // to hear of it before whoever is shown the page.
        let known = followed.known.as_ref().zip(head);
        let is_told = known.is_some_and(|(known, head)| head.top.is_within(known.top));
        #[cfg(test)]
        let is_told = is_told || planted::is(Planted::PageOfAnotherEpoch);
        if !is_told {
            let (topic, come_to) = (followed.topic.clone(), followed.stage);
            if come_to == Stage::Away {
                return ways.tell(shard, &FromEngine::NotRead { number, why: Why::Busy });
            }
            if come_to == Stage::Live {
                self.note_hole(id);
                self.read_again(ways, id);
            }
            return self.read_whole(ways, Asked::Page(id, number, what), topic);
        }
        let is_archived = self.node.has_archive
            && state.archived.is_some_and(|of| head.is_some_and(|head| head.knows(of.epoch)));
        if let What::Page(wanted) = what {
            let messages = Messages::of(&followed.topic, &state);
            let page = messages.page(wanted);
            if !is_archived || messages.has_all(wanted, &page) {
                return ways.tell(shard, &FromEngine::Read { number, run: page.run() });
            }
        } else if !is_archived {
            // Nothing was said that it could have, or it is to be written yet.
            let (more_before, hits) = (0, &[][..]);
            return ways.tell(shard, &FromEngine::Found { number, more_before, hits });
        }
        let epoch = head.map_or(0, |head| head.epoch);
        let question = Question { topic: followed.topic.clone(), epoch, state, what };
        let (asked, bytes) = (self.last_number + 1, question.state.bytes());
        let waiting: usize = self.older.values().map(|of| of.bytes).sum();
        let is_too_much = waiting > 0 && waiting + bytes > ARCHIVE_READS_BYTES_MAX;
        if self.older.len() >= ARCHIVE_READS_MAX || is_too_much {
            ways.tell(shard, &FromEngine::NotRead { number, why: Why::Busy });
        } else if ways.ask_archive(asked, question) {
            self.last_number = asked;
            self.older.insert(asked, WaitsForOlder { id, number, epoch, bytes });
        } else {
            ways.tell(shard, &FromEngine::NotRead { number, why: Why::Unavailable });
        }
    }

    /// Goes on with what the archive has: its home is to be told first what was said by then.
    pub(in crate::side::engine) fn archive_said(
        &mut self,
        ways: &mut impl Ways,
        asked: u64,
        result: Result<Older, Why>,
    ) {
        if self.sweep_is_answered(ways, asked, result.as_ref().ok()) {
            return;
        }
        let Some(WaitsForOlder { id, number, epoch, .. }) = self.older.remove(&asked) else {
            return;
        };
        let Some(followed) = self.rooms.get(&id) else { return };
        let (shard, _) = followed.key;
        let is_there = followed.known.as_ref().is_some_and(|known| known.epoch == epoch);
        let why = match result {
            Err(why) => why,
            Ok(_) if !self.is_connected => Why::Unavailable,
            Ok(_) if !is_there => Why::Busy,
            Ok(older) => {
                let look = Command::Look { topic: followed.topic.clone() };
                return self.ask(ways, Asked::Older(id, number, Box::new(older)), look);
            }
        };
        ways.tell(shard, &FromEngine::NotRead { number, why });
    }

    /// Tells a home what the archive has, if its room is in the epoch that this is of.
    pub(super) fn tell_older(
        &mut self,
        ways: &mut impl Ways,
        id: RoomId,
        number: u64,
        older: &Older,
        epoch: Option<u64>,
    ) {
        let Some(followed) = self.rooms.get(&id) else { return };
        let (shard, _) = followed.key;
        if epoch.is_none() || followed.known.as_ref().map(|known| known.epoch) != epoch {
            return ways.tell(shard, &FromEngine::NotRead { number, why: Why::Busy });
        }
        match older {
            Older::Page(page) => ways.tell(shard, &FromEngine::Read { number, run: page.run() }),
            Older::Hits { hits, more_before } => {
                let more_before = *more_before;
                ways.tell(shard, &FromEngine::Found { number, more_before, hits });
            }
            // No home asks for that.
            Older::Oldest(_) => {}
        }
    }

    /// Tells a home the lines that were read, or reads more of them.
    pub(super) fn lines_were_read(
        &mut self,
        ways: &mut impl Ways,
        id: RoomId,
        mut trail: Box<Trail>,
        lines: &[(u64, Vec<u8>)],
    ) {
        let Some(followed) = self.rooms.get(&id) else { return };
        let (shard, topic) = (followed.key.0, followed.topic.clone());
        let more = trail.add(&topic, lines);
        self.counted.unreadable += std::mem::take(&mut trail.unreadable);
        if let Some(more) = more {
            let page = trail.page.end(more);
            let (number, page) = (trail.number, text(&page));
            return ways.tell(shard, &FromEngine::Lines { number, page });
        }
        let question = trail.question(topic);
        self.ask(ways, Asked::Lines(id, trail), question);
    }

    /// The room of which a home wants to read something; none, if that is refused.
    pub(super) fn room_to_read(
        &self,
        ways: &mut impl Ways,
        key: (u16, RoomKey),
        number: u64,
    ) -> Option<(RoomId, Box<str>)> {
        let id = self.by_key.get(&key).copied().filter(|_| self.is_connected);
        let room = id.and_then(|id| Some((id, self.rooms.get(&id)?.topic.clone())));
        if room.is_none() {
            ways.tell(key.0, &FromEngine::NotRead { number, why: Why::Unavailable });
        }
        room
    }

    pub(super) fn not_read(&self, ways: &mut impl Ways, id: RoomId, number: u64) {
        if let Some(followed) = self.rooms.get(&id) {
            let (shard, _) = followed.key;
            ways.tell(shard, &FromEngine::NotRead { number, why: Why::Unavailable });
        }
    }
}

impl Trail {
    /// One of which nothing has been read, of so many bytes about.
    pub(super) fn new(number: u64, wanted: AuditWanted, bytes: usize) -> Self {
        Self { number, wanted, bytes, page: AuditPage::default(), unreadable: 0 }
    }

    /// The question for the next lines. Of all acts: the engine does not know which is which.
    fn question(&self, topic: Box<str>) -> Command {
        let AuditWanted { before, limit, .. } = self.wanted;
        // One more than wanted says whether there are more.
        Command::Lines { topic, before, count: limit.saturating_add(1) }
    }

    /// Adds lines that were read. Says whether there are more of those that are wanted; `None`, if
    /// more must be read for that.
    fn add(&mut self, topic: &str, lines: &[(u64, Vec<u8>)]) -> Option<bool> {
        let AuditWanted { limit, act, .. } = self.wanted;
        for (number, record) in lines {
            self.wanted.before = *number;
            let Some((at_ms, line)) = warned(read_line(topic, *number, record)) else {
                self.unreadable += 1;
                continue;
            };
            if act.is_some_and(|act| act != line.act) {
                continue;
            }
            let is_full = self.page.count() > 0 && self.page.bytes() > self.bytes;
            if self.page.count() == limit || is_full {
                return Some(true);
            }
            self.page.push(|out| line.push(out, at_ms));
        }
        (lines.len() <= limit as usize).then_some(false)
    }
}

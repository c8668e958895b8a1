//! The topic `lobby`: the list of rooms, and its changes, coalesced.
//!
//! ```text
//!   join ── answer: the largest rooms, encoded once per pattern of rights and frame
//!   tick ── batch: what changed, as much as fits into a frame
//!             ├──> the log of those who may see every room
//!             └──> each pattern of rights: its part, encoded once ──> its members, some per turn
//! ```
//!
//! It has no home: each shard serves its own members from its own directory. Members who may see
//! every room share one log. The others are kept by their [`Scope`]: who may see the same rooms
//! shares one frame.
//!
//! Nothing is lost: a change that does not fit waits in the directory, coalesced by room, and the
//! next batch is taken when every member has had this one. A member that joins in between has an
//! answer that is newer than the batch; should it have the batch too, then the newer state waits in
//! the directory and comes with the next.
//!
//! An answer that was made since the last batch is given to all who join before the next: what
//! changed meanwhile waits in the directory, and is told to them then.
//!
//! Deliberately absent: how it is joined (`member::lobby`); what a frame says (`lobby_batch`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use slab::Slab;

use super::Audiences;
use super::lobby_batch::{Batch, Frame};
use crate::base::slack::Slack;
use crate::conn::Conns;
use crate::directory::{Directory, Scope, push_rooms};
use crate::limits::{
    LOBBY_ANSWERS_BYTES_MAX, LOBBY_LOOK_COST_BYTES, LOBBY_ROOMS_MAX, LOBBY_TICK_MS,
    LOBBY_TURN_BYTES, LOBBY_WRITE_COST_BYTES,
};
use crate::link::ids::AudienceKey;
use crate::link::io::Io;
use crate::link::outbox::{Cx, Timer};
use crate::link::topic::LOBBY;
use crate::wire::json::push_unsigned;
use crate::wire::phx::Payload;

/// How long it takes until the next members are told of the same batch, in milliseconds: in the
/// next turn, but not in this one.
const SLICE_MS: u64 = 1;

/// For how many patterns memory is kept when there are none.
const PATTERNS_KEPT: usize = 16;

/// When the lobby is told, and the members who may not see every room.
#[derive(Debug, Default)]
pub(super) struct Lobby {
    /// Whether a time is set.
    is_ticking: bool,
    told_ms: u64,
    /// What is being told.
    batch: Batch,
    /// Patterns whose members have not had the batch.
    untold: VecDeque<usize>,
    /// The pattern that is being told, and its members who have not had the batch.
    telling: (usize, Vec<u32>),
    patterns: Slab<Pattern>,
    by_scope: BTreeMap<Scope, usize>,
    /// The pattern of each connection.
    by_conn: BTreeMap<u32, usize>,
    answers: Answers,
}

/// Members who may see the same rooms.
#[derive(Debug)]
struct Pattern {
    scope: Scope,
    /// Their connections.
    members: BTreeSet<u32>,
}

/// The first answers of joins since the last batch.
#[derive(Debug, Default)]
struct Answers {
    by_scope: BTreeMap<Scope, Arc<[u8]>>,
    bytes: usize,
}

impl Answers {
    /// The answer for a scope, made if there is none.
    fn find(&mut self, directory: &mut Directory, scope: &Scope) -> Arc<[u8]> {
        if let Some(answer) = self.by_scope.get(scope) {
            return Arc::clone(answer);
        }
        let (rooms, total) = directory.largest(LOBBY_ROOMS_MAX, scope);
        let mut answer = b"{\"rooms\":".to_vec();
        push_rooms(&mut answer, rooms.iter().copied());
        answer.extend_from_slice(b",\"total\":");
        push_unsigned(&mut answer, total as u64);
        answer.push(b'}');
        let shown: Vec<Box<str>> = rooms.iter().map(|(room, _)| (*room).into()).collect();
        for room in shown {
            directory.note_shown(&room);
        }
        if self.bytes + answer.len() > LOBBY_ANSWERS_BYTES_MAX {
            self.clear();
        }
        self.bytes += answer.len();
        let answer: Arc<[u8]> = answer.into();
        self.by_scope.insert(scope.clone(), Arc::clone(&answer));
        answer
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Lobby {
    /// Takes in a member who may not see every room.
    fn sit(&mut self, conn: u32, scope: Scope) {
        let pattern = *self.by_scope.entry(scope).or_insert_with_key(|scope| {
            self.patterns.insert(Pattern { scope: scope.clone(), members: BTreeSet::new() })
        });
        self.patterns[pattern].members.insert(conn);
        let before = self.by_conn.insert(conn, pattern);
        assert!(before.is_none(), "a connection is in the lobby once");
    }

    /// Lets such a member go. False if it was not there.
    fn stand(&mut self, conn: u32) -> bool {
        let Some(pattern) = self.by_conn.remove(&conn) else { return false };
        let Pattern { scope, members } = &mut self.patterns[pattern];
        members.remove(&conn);
        if members.is_empty() {
            self.by_scope.remove(scope);
            self.patterns.remove(pattern);
        }
        true
    }

    /// What the kept first answers take, in bytes.
    pub(super) fn answers_bytes(&self) -> usize {
        self.answers.bytes
    }

    /// Whether somebody has not had the batch.
    fn is_telling(&self) -> bool {
        !self.untold.is_empty() || !self.telling.1.is_empty()
    }

    /// Takes the next batch.
    fn take(&mut self, directory: &mut Directory) {
        // Whoever joins from here on would not hear of what is in the batch.
        self.answers.clear();
        self.batch.fill(directory);
        self.untold.extend(self.patterns.iter().map(|(pattern, _)| pattern));
    }

    /// Goes on with the batch, for as many members as a turn may. `tell` sends a frame to a
    /// connection, and says how many bytes that were.
    fn tell_some(&mut self, mut tell: impl FnMut(u32, &mut Frame) -> usize) {
        let mut left_bytes = LOBBY_TURN_BYTES;
        while left_bytes > 0 {
            let is_new = self.telling.1.is_empty();
            if is_new {
                let Some(pattern) = self.untold.pop_front() else { return };
                self.telling.0 = pattern;
            }
            let (pattern, waiting) = &mut self.telling;
            let Some(Pattern { scope, members }) = self.patterns.get(*pattern) else {
                waiting.clear();
                continue;
            };
            let looked_bytes = scope.ranges().len().max(1) * LOBBY_LOOK_COST_BYTES;
            left_bytes = left_bytes.saturating_sub(looked_bytes);
            let Some(payload) = self.batch.payload(scope) else {
                waiting.clear();
                continue;
            };
            if is_new {
                waiting.extend(members);
            }
            let mut frame = Frame::new(payload);
            while left_bytes > 0
                && let Some(conn) = waiting.pop()
            {
                // It may have left since the batch was taken.
                if members.contains(&conn) {
                    let told_bytes = tell(conn, &mut frame) + LOBBY_WRITE_COST_BYTES;
                    left_bytes = left_bytes.saturating_sub(told_bytes);
                }
            }
        }
    }

    /// Forgets what nobody is there to hear.
    fn rest(&mut self) {
        self.is_ticking = false;
        self.untold.clear();
        self.telling.1.clear();
        self.answers.clear();
    }

    /// Gives back memory that most of is not needed.
    pub(super) fn tidy(&mut self) {
        self.patterns.trim(PATTERNS_KEPT);
        self.untold.trim(PATTERNS_KEPT);
        self.telling.1.trim(PATTERNS_KEPT);
    }

    /// How many members are here who may not see every room. Panics if the parts do not fit each
    /// other: for tests, it looks at everything.
    pub(super) fn check(&self) -> usize {
        assert_eq!(self.patterns.len(), self.by_scope.len());
        for (scope, pattern) in &self.by_scope {
            let pattern = &self.patterns[*pattern];
            assert!(pattern.scope == *scope && !pattern.members.is_empty(), "somebody needs it");
        }
        for (conn, pattern) in &self.by_conn {
            assert!(self.patterns[*pattern].members.contains(conn));
        }
        let members: usize = self.patterns.iter().map(|(_, one)| one.members.len()).sum();
        assert_eq!(members, self.by_conn.len(), "each in one pattern");
        members
    }
}

impl Audiences {
    /// Takes a member into the lobby who may not see every room.
    pub(crate) fn sit_apart(&mut self, key: AudienceKey, conn: u32, scope: Scope) {
        if let Some(audience) = self.arena.get_mut(key) {
            audience.apart += 1;
            self.lobby.sit(conn, scope);
        }
    }

    /// Lets such a member go, if the audience is the lobby and the connection one of them.
    pub(crate) fn stand_apart(&mut self, key: AudienceKey, conn: u32) {
        if let Some(audience) = self.arena.get_mut(key)
            && audience.apart > 0
            && self.lobby.stand(conn)
        {
            audience.apart -= 1;
        }
    }

    /// The answer to a join of the lobby: the largest rooms in a scope, and how many it has.
    pub(crate) fn lobby_answer(&mut self, directory: &mut Directory, scope: &Scope) -> Arc<[u8]> {
        self.lobby.answers.find(directory, scope)
    }

    /// Schedules the lobby to be told of changes, if there are any.
    pub(crate) fn set_lobby_tick<I: Io>(&mut self, cx: &mut Cx<'_, I>, directory: &Directory) {
        if directory.has_changed() && !self.lobby.is_ticking {
            self.lobby.is_ticking = true;
            let due_ms = cx.now.mono_ms.max(self.lobby.told_ms + LOBBY_TICK_MS);
            cx.timers.push(due_ms, Timer::Lobby);
        }
    }

    /// Tells the lobby's members what has changed, or goes on with it.
    ///
    /// Requires: nothing. Changes: the batch, logs, output. Emits: the next timer, while some
    /// member has not had the batch.
    pub(crate) fn lobby_tick<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        conns: &mut Conns,
        directory: &mut Directory,
    ) {
        let Some(key) = self.find(LOBBY) else {
            self.lobby.rest();
            return directory.unwatch();
        };
        if !self.lobby.is_telling() {
            self.lobby.told_ms = cx.now.mono_ms;
            self.lobby.take(directory);
            if let Some(payload) = self.lobby.batch.payload(&Scope::all()) {
                self.deliver(cx.metrics, key, "rooms", Payload::Json(&payload));
            }
        }
        self.lobby.tell_some(|conn, frame| {
            if conns.key_at(conn).is_none_or(|key| conns.is_closing(key)) {
                return 0;
            }
            let bytes = frame.bytes(conns.serializer(conn));
            conns.output(conn).extend_from_slice(bytes);
            bytes.len()
        });
        self.lobby.is_ticking = self.lobby.is_telling();
        if self.lobby.is_ticking {
            cx.timers.push(cx.now.mono_ms + SLICE_MS, Timer::Lobby);
        }
    }
}

#[cfg(test)]
mod tests;

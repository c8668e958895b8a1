//! Requests for sessions of long polling that live at another node: they are passed on over its
//! channel, and the answers come back over this node's.
//!
//! ```text
//!   shard ── AskSession ──> pass, numbered ── Tell ──> its node ── SessionAsked ──> shard
//!         <─ SessionAnswered ── by its number <── Tell ── its node <── AnswerSession ──┘
//!
//!   None ── poll, post ──> Asked ── heard ──> Heard ── answer ──> None
//!   Asked ── nobody hears it, though its node lives; the connection ends ──> Held (a poll)
//!   Heard ── the connection ends ──> Held (a poll)
//!   Held ── after a while, or with a connection ──> Asked
//!   Asked, Heard, Held ── its node is gone, its time is over, abandoned ──> None
//! ```
//!
//! A poll may be passed on again, since its ticket says which answers its client has had: whatever
//! was lost on the way, its session notices. So a poll waits where its node, or the engine, is away
//! for a moment, and is told 204 when its time is over: its client polls again. A post is passed on
//! once. Of one that may have been taken, its client is told that nobody knows.
//!
//! Invariants: each question is answered once, within its time, unless it is abandoned; what waits
//! is bounded.
//!
//! Deliberately absent: sessions, and what a token proves: it was looked at before.
//!
//! Called by: `side::engine::follower`. Calls: `leases`.

use std::collections::{BTreeMap, BTreeSet};

#[cfg(test)]
use super::planted::{self, Planted};
use super::saying::to_node;
use super::{Asked, Follower, Ways};
use crate::base::arena::Key;
use crate::limits::{PASS_AGAIN_MS, PASSED_BYTES_MAX, PASSES_AT_ONCE, PASSES_MAX, POLL_WINDOW_MS};
use crate::link::engine::{FromEngine, Passed};
use crate::link::ids::{ConnKey, Ticket};
use crate::link::log::NodeId;
use crate::link::polled::{BUSY, GONE, LOST, NOTHING};
use crate::link::record::{FromSession, ToSession};
use crate::side::engine::command::{Command, Failure, Reply};
use crate::side::engine::written::{self, read_passed};

/// What is said of sessions stands where the topic of a room would.
pub(super) const SESSIONS: &str = "sessions";

/// How far a question has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It is a poll, and waits to be passed on.
    Held,
    /// The engine has not said whether anybody hears it.
    Asked,
    /// Its node has heard it.
    Heard,
}

/// A question that waits for its answer.
#[derive(Debug)]
struct Pass {
    shard: u16,
    /// What the shard calls it.
    asked: u64,
    conn: ConnKey,
    node: NodeId,
    /// Whose session; of a post nothing is kept to pass it on again.
    ticket: Ticket,
    is_poll: bool,
    stage: Stage,
    /// When it is looked at next, and when it is answered in any case.
    due_ms: u64,
    until_ms: u64,
}

impl Pass {
    /// The answer to a post that has this status, or to a poll that is to begin anew.
    fn refusal(&self, post_status: u16) -> FromSession<'static> {
        let conn = self.conn;
        if self.is_poll {
            FromSession::Gone { conn }
        } else {
            FromSession::Posted { conn, status: post_status }
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Passing {
    passes: BTreeMap<u64, Pass>,
    by_asker: BTreeMap<(u16, ConnKey), u64>,
    /// When each is due.
    due: BTreeSet<(u64, u64)>,
    /// Counts what is passed on, once each.
    last: u64,
    /// How many bytes the engine has not taken.
    bytes: usize,
}

impl Passing {
    /// How many questions wait for their answers.
    pub(super) fn waiting_count(&self) -> usize {
        self.passes.len()
    }

    /// How many there have been.
    pub(super) fn count(&self) -> u64 {
        self.last
    }

    fn add(&mut self, pass: Pass) -> u64 {
        self.last += 1;
        self.by_asker.insert((pass.shard, pass.conn), self.last);
        self.due.insert((pass.due_ms, self.last));
        self.passes.insert(self.last, pass);
        self.last
    }

    fn take(&mut self, number: u64) -> Option<Pass> {
        let pass = self.passes.remove(&number)?;
        self.by_asker.remove(&(pass.shard, pass.conn));
        self.due.remove(&(pass.due_ms, number));
        Some(pass)
    }

    /// Notes how far one has come, and when it is looked at again.
    fn set(&mut self, number: u64, stage: Stage, due_ms: u64) {
        let Some(pass) = self.passes.get_mut(&number) else { return };
        self.due.remove(&(pass.due_ms, number));
        (pass.stage, pass.due_ms) = (stage, due_ms.min(pass.until_ms));
        self.due.insert((pass.due_ms, number));
    }

    /// Those of which something holds, in their order.
    fn those(&self, is_so: impl Fn(&Pass) -> bool) -> Vec<u64> {
        let those = self.passes.iter().filter(|(_, pass)| is_so(pass));
        those.map(|(number, _)| *number).collect()
    }

    /// Asserts the invariants. For tests: it looks at everything.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let (count, due) = (self.passes.len(), self.due.len());
        assert_eq!(
            (self.by_asker.len(), due),
            (count, count),
            "each is found, and comes to an end"
        );
        assert!(count <= PASSES_MAX, "what waits is bounded");
        let has_held_post =
            self.passes.values().any(|pass| !pass.is_poll && pass.stage == Stage::Held);
        assert!(!has_held_post, "a post is passed on once");
    }
}

impl Follower {
    /// Handles what a shard asks of a session at another node.
    pub(super) fn ask_session(
        &mut self,
        ways: &mut impl Ways,
        now_ms: u64,
        (shard, asked): (u16, u64),
        node: NodeId,
        message: ToSession<'_>,
    ) {
        let (is_poll, bytes) = match message {
            ToSession::Poll { .. } => (true, 0),
            ToSession::Post { frames, .. } => (false, frames.len()),
            ToSession::Abandon { conn, .. } => return self.abandon(ways, (shard, conn)),
        };
        let is_full = self.passing.waiting_count() >= PASSES_MAX
            || self.passing.bytes + bytes > PASSED_BYTES_MAX;
        if is_full || !is_poll && !self.is_connected {
            if let Some(refusal) = message.refusal(BUSY) {
                tell_answer(ways, (shard, asked), refusal);
            }
            return;
        }
        let wait_ms = if is_poll { POLL_WINDOW_MS } else { 0 } + self.node.limits.timeout_ms;
        let until_ms = now_ms + wait_ms;
        let (conn, ticket) = (message.conn(), message.ticket());
        let (stage, due_ms) = (Stage::Held, until_ms);
        let pass = Pass { shard, asked, conn, node, ticket, is_poll, stage, due_ms, until_ms };
        let number = self.passing.add(pass);
        self.pass_on(ways, number, message);
    }

    /// Passes a question on, if there is a connection.
    fn pass_on(&mut self, ways: &mut impl Ways, number: u64, message: ToSession<'_>) {
        let Some(pass) = self.passing.passes.get(&number) else { return };
        if !self.is_connected {
            return;
        }
        let (node, until_ms) = (pass.node, pass.until_ms);
        self.passing.set(number, Stage::Asked, until_ms);
        let message = message.of_conn(Key::from_u64(number));
        self.tell_node(ways, node, Some(number), Passed::Ask { message });
    }

    fn tell_node(
        &mut self,
        ways: &mut impl Ways,
        node: NodeId,
        number: Option<u64>,
        passed: Passed<'_>,
    ) {
        let record = to_node(SESSIONS, &written::passed(self.node.id, passed));
        self.passing.bytes += record.len();
        let asked = Asked::Pass { number, bytes: record.len() };
        self.ask(ways, asked, Command::Tell { node, record });
    }

    /// Nobody waits for the answer to a poll any more.
    fn abandon(&mut self, ways: &mut impl Ways, asker: (u16, ConnKey)) {
        let number = self.passing.by_asker.get(&asker).copied();
        let Some((number, pass)) = number.and_then(|of| Some((of, self.passing.take(of)?))) else {
            return;
        };
        if pass.is_poll && pass.stage != Stage::Held {
            let (conn, ticket) = (Key::from_u64(number), pass.ticket);
            let message = ToSession::Abandon { conn, ticket };
            self.tell_node(ways, pass.node, None, Passed::Ask { message });
        }
    }

    /// A shard has begun anew: nobody there waits.
    pub(super) fn abandon_all(&mut self, ways: &mut impl Ways, shard: u16) {
        for number in self.passing.those(|pass| pass.shard == shard) {
            let Some(pass) = self.passing.passes.get(&number) else { continue };
            let asker = (shard, pass.conn);
            self.abandon(ways, asker);
        }
    }

    /// Handles what the engine says to something that was passed on.
    pub(super) fn was_passed(
        &mut self,
        ways: &mut impl Ways,
        now_ms: u64,
        (number, bytes): (Option<u64>, usize),
        result: &Result<Reply, Failure>,
    ) {
        self.passing.bytes -= bytes;
        if matches!(result, Err(Failure::Elsewhere(_))) {
            // The connection ends with that.
            return;
        }
        let Some(number) = number else { return };
        let Some(pass) = self.passing.passes.get(&number) else { return };
        let (node, until_ms) = (pass.node, pass.until_ms);
        match result {
            Ok(Reply::Heard(1..)) => self.passing.set(number, Stage::Heard, until_ms),
            Ok(Reply::Heard(0)) if !self.leases.lives(node) => self.refuse(ways, number, GONE),
            // It may hear again in a moment, or the engine take it.
            _ if pass.is_poll => self.passing.set(number, Stage::Held, now_ms + PASS_AGAIN_MS),
            _ => self.refuse(ways, number, BUSY),
        }
    }

    /// Answers a question without its session: a post by this status.
    fn refuse(&mut self, ways: &mut impl Ways, number: u64, post_status: u16) {
        if let Some(pass) = self.passing.take(number) {
            tell_answer(ways, (pass.shard, pass.asked), pass.refusal(post_status));
        }
    }

    /// The connection has ended: polls wait for the next one, posts are in doubt.
    pub(super) fn lose_passed(&mut self, ways: &mut impl Ways) {
        self.passing.bytes = 0;
        for number in self.passing.those(|_| true) {
            let Some(pass) = self.passing.passes.get(&number) else { continue };
            if pass.is_poll {
                let until_ms = pass.until_ms;
                self.passing.set(number, Stage::Held, until_ms);
            } else {
                let status = LOST;
                #[cfg(test)]
                let status = if planted::is(Planted::PostDenied) { BUSY } else { status };
                self.refuse(ways, number, status);
            }
        }
    }

    /// There is a connection again: what waits for that is passed on soon.
    pub(super) fn pass_again(&mut self, now_ms: u64) {
        for number in self.passing.those(|pass| pass.stage == Stage::Held) {
            self.passing.set(number, Stage::Held, now_ms);
        }
    }

    /// Nodes are gone: whoever waits for them is told.
    pub(super) fn give_up_nodes(&mut self, ways: &mut impl Ways) {
        let leases = &self.leases;
        let numbers = self.passing.those(|pass| !leases.lives(pass.node));
        for number in numbers {
            // It may have taken what was posted, before.
            self.refuse(ways, number, LOST);
        }
    }

    /// Does what is due, some at a time. Returns when to come again.
    pub(super) fn tick_passing(&mut self, ways: &mut impl Ways, now_ms: u64) -> u64 {
        for _ in 0..PASSES_AT_ONCE {
            let Some((due_ms, number)) = self.passing.due.first().copied() else { break };
            if due_ms > now_ms {
                break;
            }
            let Some(pass) = self.passing.passes.get(&number) else { break };
            if now_ms >= pass.until_ms {
                self.give_up(ways, number);
            } else {
                let (conn, ticket) = (pass.conn, pass.ticket);
                self.pass_on(ways, number, ToSession::Poll { conn, ticket });
            }
        }
        self.passing.due.first().map_or(u64::MAX, |(due_ms, _)| *due_ms)
    }

    /// The time of a question is over.
    fn give_up(&mut self, ways: &mut impl Ways, number: u64) {
        let Some(pass) = self.passing.passes.get(&number) else { return };
        #[cfg(test)]
        if planted::is(Planted::PassWithoutEnd) {
            return;
        }
        if !pass.is_poll || !self.leases.lives(pass.node) {
            return self.refuse(ways, number, LOST);
        }
        // What its session may have answered is lost, which that notices with the next poll.
        let (asker, conn) = ((pass.shard, pass.asked), pass.conn);
        self.passing.take(number);
        tell_answer(ways, asker, FromSession::Polled { conn, status: NOTHING, messages: &[] });
    }

    /// Passes on what a session here answers another node.
    pub(super) fn answer_session(
        &mut self,
        ways: &mut impl Ways,
        node: NodeId,
        message: FromSession<'_>,
    ) {
        // Whoever waits there notices.
        if !self.is_connected {
            return;
        }
        let message = match message {
            FromSession::Polled { conn, messages, .. }
                if self.passing.bytes + messages.len() > PASSED_BYTES_MAX =>
            {
                FromSession::Gone { conn }
            }
            message => message,
        };
        self.tell_node(ways, node, None, Passed::Answer { message });
    }

    /// Handles what another node says of sessions.
    pub(super) fn hear_passed(&mut self, ways: &mut impl Ways, record: &[u8]) {
        let Ok((node, passed)) = read_passed(record) else {
            // Its client is told that by its own node, in time.
            self.counted.unreadable += 1;
            return;
        };
        match passed {
            Passed::Ask { message } => {
                let shard = message.ticket().shard;
                let refusal = if shard >= self.node.shards {
                    message.refusal(GONE)
                } else if matches!(message, ToSession::Post { .. }) && ways.is_busy(shard) {
                    message.refusal(BUSY)
                } else {
                    return ways.tell(shard, &FromEngine::SessionAsked { node, message });
                };
                if let Some(refusal) = refusal {
                    self.answer_session(ways, node, refusal);
                }
            }
            Passed::Answer { message } => {
                let number = message.conn().to_u64();
                #[cfg(test)]
                let number = match self.passing.passes.first_key_value() {
                    Some((first, _)) if planted::is(Planted::AnswerMisled) => *first,
                    _ => number,
                };
                let is_posted = matches!(message, FromSession::Posted { .. });
                // Of who has been answered already, or is gone, it is of no use.
                let is_asked = self
                    .passing
                    .passes
                    .get(&number)
                    .is_some_and(|pass| pass.node == node && pass.is_poll != is_posted);
                if let Some(pass) = is_asked.then(|| self.passing.take(number)).flatten() {
                    let asker = (pass.shard, pass.asked);
                    tell_answer(ways, asker, message.to_conn(pass.conn));
                }
            }
        }
    }
}

fn tell_answer(ways: &mut impl Ways, (shard, number): (u16, u64), message: FromSession<'_>) {
    ways.tell(shard, &FromEngine::SessionAnswered { number, message });
}

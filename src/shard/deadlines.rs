//! When a connection is to be looked at, and what is found then: who is idle, late, too slow, or
//! has a token that has ended.
//!
//! A deadline is when to look, not yet a verdict: one number each in a dense array, swept a few
//! times a second, so that a byte that comes costs no more than to note when.

use super::channels::Channel;
use super::conn::{CLOSING, Conn, PARKED, SESSION, Stage};
use super::input::Input;
use super::{Io, Shard, Turn};
use crate::base::arena::Key;
use crate::chat::identity::{Identity, NEVER_S};
use crate::wire::phx::{Outgoing, Payload};
use crate::wire::ws::close::CloseCode;

/// Times in the dense arrays: 128 ms, in 32 bits for 17 years. The last that is not after a time.
pub(super) fn coarse(ms: u64) -> u32 {
    u32::try_from(ms >> 7).unwrap_or(u32::MAX)
}

/// The first that is after a time: when to look for what is to have been done by then. Nobody has
/// less time than a limit says.
fn coarse_after(ms: u64) -> u32 {
    coarse(ms).saturating_add(1)
}

/// When so much has passed for certain since a coarse time.
fn passed(since: u32, ms: u64) -> u32 {
    since.saturating_add(coarse_after(ms)).saturating_add(1)
}

impl Input {
    /// Since when the message has been coming that is not whole yet, if there is one: in fragments,
    /// or in a part of a frame.
    fn unfinished_since(&self, flags: u8) -> Option<u32> {
        let frame = (self.held.is_some() && flags & PARKED == 0).then_some(self.began);
        self.assembler.first_fragment_ms().map(coarse).into_iter().chain(frame).min()
    }
}

impl Shard {
    /// Has a connection looked at when this time has come.
    pub(super) fn deadline(&mut self, key: Key<Conn>, at_ms: u64) {
        self.deadlines[key.index() as usize] = coarse_after(at_ms);
    }

    /// Has a connection looked at when this time has come, or before.
    pub(super) fn deadline_by(&mut self, key: Key<Conn>, at_ms: u64) {
        let deadline = &mut self.deadlines[key.index() as usize];
        *deadline = (*deadline).min(coarse_after(at_ms));
    }

    /// Gives a connection between two requests its time to be idle.
    pub(super) fn rest(&mut self, key: Key<Conn>, now_ms: u64) {
        self.deadline(key, now_ms + self.settings.limits.idle_ms);
    }

    /// Has a connection's deadlines worked out anew at the next sweep.
    pub(super) fn reconsider(&mut self, key: Key<Conn>) {
        self.deadlines[key.index() as usize] = 0;
    }

    /// Ends or re-arms every connection whose time has come.
    pub(super) fn sweep<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        self.rates.forget_rested(turn.now.mono_ms, &self.settings.limits);
        let now = coarse(turn.now.mono_ms);
        for index in 0..self.deadlines.len() {
            if now >= self.deadlines[index]
                && let Some(key) =
                    u32::try_from(index).ok().and_then(|index| self.conns.key_at(index))
            {
                self.due(turn, key);
            }
        }
    }

    /// A deadline has passed. It is when to look, not yet a verdict: whoever was heard of since
    /// gets a new one.
    fn due<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: Key<Conn>) {
        let Some(conn) = self.conns.get(key) else { return };
        let index = key.index() as usize;
        if self.flags[index] & CLOSING != 0 {
            return self.remove(turn, key);
        }
        let expiry = conn.identity.as_ref().map_or(NEVER_S, Identity::expires_at_s);
        let left_ms = expiry.saturating_mul(1_000).saturating_sub(turn.now.unix_ms);
        if left_ms == 0 {
            return self.expire(turn, key);
        }
        match self.stages[index] {
            _ if self.flags[index] & SESSION != 0 => self.session_due(turn, key),
            // It has asked in time, and waits to be let in; the line has a time of its own.
            Stage::Http if self.flags[index] & PARKED != 0 => {}
            Stage::Http => {
                self.metrics.late += 1;
                self.remove(turn, key);
            }
            // The other shard answers; the deadline is for what the client does.
            Stage::Waiting => {}
            Stage::Unsettled | Stage::Settled | Stage::Echo => {
                let now = coarse(turn.now.mono_ms);
                let idle = passed(self.heard[index], self.settings.limits.idle_ms);
                let input = self.inputs.of(conn.input);
                let slow = input.and_then(|input| input.unfinished_since(self.flags[index]));
                let slow = slow.map(|began| passed(began, self.settings.limits.message_ms));
                if idle <= now {
                    // As Phoenix does.
                    self.metrics.idle += 1;
                    self.close(turn, key, CloseCode::Protocol, "");
                } else if slow.is_some_and(|slow| slow <= now) {
                    self.metrics.slow += 1;
                    self.close(turn, key, CloseCode::Policy, "message too slow");
                } else {
                    let expiry = coarse_after(turn.now.mono_ms.saturating_add(left_ms));
                    self.deadlines[index] = [Some(idle), slow, Some(expiry)]
                        .into_iter()
                        .flatten()
                        .min()
                        .unwrap_or(idle);
                }
            }
        }
    }

    /// Tells a connection that its token has expired, on its own topic where it listens, and closes
    /// it.
    fn expire<I: Io>(&mut self, turn: &mut Turn<'_, I>, key: Key<Conn>) {
        let Some(conn) = self.conns.get(key) else { return };
        // Not one that is still being joined: nothing is said on a topic before the join is
        // answered.
        let own = conn.channels.iter().filter(|channel| channel.seat != Channel::NO_SEAT).find_map(
            |channel| {
                let audience = self.audiences.get(channel.audience)?;
                let is_own = audience.topic.starts_with("user:");
                is_own.then(|| (audience.topic.clone(), self.join_ref(key, channel)))
            },
        );
        if let Some((topic, join_ref)) = own {
            let payload = Payload::Json("{}");
            let message = Outgoing {
                join_ref: join_ref.as_json(),
                reference: "null",
                topic: &topic,
                event: "token_expired",
                payload,
            };
            self.push(key, &message);
        }
        self.metrics.expired += 1;
        self.close(turn, key, CloseCode::TokenExpired, "token expired");
    }
}

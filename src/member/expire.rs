//! What becomes of connections whose deadline has passed.

use std::fmt;

use super::Members;
use crate::audience::NO_SEAT;
use crate::auth::identity::{Identity, NEVER_S};
use crate::conn::Verdict;
use crate::limits::SWEPT_PER_WORK;
use crate::link::ids::ConnKey;
use crate::link::io::Io;
use crate::link::outbox::Cx;
use crate::link::topic::PHOENIX;
use crate::wire::phx::{Outgoing, Payload};
use crate::wire::ws::close::CloseCode;

impl Members {
    /// Ends or re-arms the connections whose time has come, as many as a turn may end. False if the
    /// sweep is to go on in another turn.
    pub(crate) fn sweep<I: Io>(&mut self, cx: &mut Cx<'_, I>) -> bool {
        let now_ms = cx.now.mono_ms;
        let from = std::mem::take(&mut self.endings.swept);
        let count = self.conns.deadlines_count();
        for index in from..count {
            if let Some(key) = self.conns.due_at(index, now_ms) {
                if !self.endings.has_left() {
                    cx.budget.spend_for(index - from, SWEPT_PER_WORK);
                    self.endings.swept = index;
                    return false;
                }
                self.due(cx, key);
            }
        }
        cx.budget.spend_for(count.saturating_sub(from), SWEPT_PER_WORK);
        for key in self.conns.stuck_for(now_ms, cx.settings.limits.out_ms) {
            if self.conns.flags(key.index()).is_closing() {
                continue;
            }
            if !self.endings.has_left() {
                self.endings.swept = count;
                return false;
            }
            cx.metrics.overflowed += 1;
            if self.conns.stage(key).is_open() {
                self.close(cx, key, CloseCode::TryLater, "does not read");
            } else {
                self.remove(cx, key);
            }
        }
        true
    }

    /// A deadline has passed. It is when to look, not yet a verdict.
    fn due<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: ConnKey) {
        match self.conns.judge(cx, key) {
            Verdict::Wait => {}
            Verdict::Gone => {
                // All but what it had of an answer is lost.
                cx.metrics.overflowed += u64::from(self.conns.has_answer(key));
                self.remove(cx, key);
            }
            Verdict::Expired => self.expire(cx, key),
            Verdict::Expiring => {
                self.warn(key);
                // Why else it may have been due, and until when it has time now.
                self.due(cx, key);
            }
            Verdict::Session => self.session_due(cx, key),
            Verdict::Late => {
                cx.metrics.late += 1;
                self.remove(cx, key);
            }
            Verdict::Idle => {
                cx.metrics.idle += 1;
                // As Phoenix does.
                self.close(cx, key, CloseCode::Protocol, "");
            }
            Verdict::Slow => {
                cx.metrics.slow += 1;
                self.close(cx, key, CloseCode::Policy, "message too slow");
            }
        }
    }

    /// Tells a connection that its token has expired, on its own topic where it listens, and closes
    /// it. A session that nobody polls at this moment is a member of nothing from now on, and tells
    /// the next poll.
    ///
    /// Requires: live, not closing. Changes: channels, output. Emits: later one `Leave` per joined
    /// channel.
    pub(crate) fn expire<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: ConnKey) {
        if self.renewals.contains(key) {
            // It was told that it goes on, and does when its channels have been told.
            return;
        }
        self.say_on_own(key, "token_expired", "{}");
        cx.metrics.expired += 1;
        let is_session = self.conns.flags(key.index()).is_session();
        if is_session && !self.conns.is_polled(key) && self.conns.out_bytes(key) > 0 {
            self.leave_all(cx, key);
            return self.conns.end_unpolled(cx.now, key);
        }
        self.close(cx, key, CloseCode::TokenExpired, "token expired");
    }

    /// Tells a connection that its token is about to end: on its own topic where it listens, and on
    /// that of the heartbeat, where every client can hear it.
    ///
    /// Requires: live, not closing. Changes: output. Emits: nothing.
    fn warn(&mut self, key: ConnKey) {
        let Some(identity) = self.conns.identity(key) else { return };
        let payload = format!("{{\"expires_at\":{}}}", ExpiresAt(identity));
        self.say_on_own(key, "token_expiring", &payload);
        let message = Outgoing {
            join_ref: "null",
            reference: "null",
            topic: PHOENIX,
            event: "token_expiring",
            payload: Payload::Json(&payload),
        };
        self.conns.push(key, &message);
    }

    /// Says something to a connection on its user's own topic, if it has joined that.
    fn say_on_own(&mut self, key: ConnKey, event: &str, payload: &str) {
        // Not on one that is still being joined: nothing is said on a topic before the join is
        // answered.
        let joined = self.channels(key).iter().filter(|channel| channel.seat != NO_SEAT);
        let own = joined.copied().find_map(|channel| {
            let audience = self.audiences.get(channel.audience)?;
            let is_own = audience.topic.starts_with("user:");
            is_own.then(|| (audience.topic.clone(), self.join_ref(key, &channel)))
        });
        if let Some((topic, join_ref)) = own {
            let message = Outgoing {
                join_ref: join_ref.as_json(),
                reference: "null",
                topic: &topic,
                event,
                payload: Payload::Json(payload),
            };
            self.conns.push(key, &message);
        }
    }
}

/// When a connection of this identity ends, in seconds of Unix time; `null` for never.
pub(crate) struct ExpiresAt<'a>(pub(crate) &'a Identity);

impl fmt::Display for ExpiresAt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.expires_at_s() {
            NEVER_S => f.write_str("null"),
            end_s => write!(f, "{end_s}"),
        }
    }
}

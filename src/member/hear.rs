//! What a room's home says to its members here.

use super::Members;
use crate::limits::CHANNELS_PER_WORK;
use crate::link::ids::{AudienceKey, ConnKey};
use crate::link::io::Io;
use crate::link::outbox::{Cx, Tell};
use crate::link::record::ToMember;

impl<I: Io> Tell<I> for Members {
    /// A message to one's own shard is a call, with the same values.
    fn tell(&mut self, cx: &mut Cx<'_, I>, shard: u16, message: ToMember<'_>) {
        if shard == cx.id {
            self.hear(cx, message);
        } else {
            cx.send(shard, message);
        }
    }
}

impl Members {
    /// Handles what a room's home says to the members here.
    pub(crate) fn hear<I: Io>(&mut self, cx: &mut Cx<'_, I>, message: ToMember<'_>) {
        if let Some((conn, audience)) = one_told(&message) {
            // Its channel is looked for among all that it has.
            cx.budget.spend_for(self.channels_count(conn), CHANNELS_PER_WORK);
            let is_put_out = matches!(message, ToMember::Removed { .. });
            if self.endings.has_audiences() && !is_put_out {
                // What the home says now it says to one whose channel has ended.
                self.end_before_turn(conn, audience);
            }
        }
        match message {
            ToMember::Joined { conn, audience, home, slot, response } => {
                if let Some(audience) = self.audiences.get_mut(audience) {
                    audience.home = Some(home);
                }
                self.joined(conn, audience, slot, response);
            }
            ToMember::Refused { conn, audience, response } => {
                self.refused(conn, audience, response);
            }
            ToMember::Left { conn, audience, slot, reference } => {
                self.left(conn, audience, slot, reference);
            }
            ToMember::Reply { conn, audience, slot, reference, status, response } => {
                self.replied(conn, audience, slot, reference, status, response);
            }
            ToMember::Deliver { audience, event, payload } => {
                self.audiences.deliver(cx.metrics, audience, event, payload);
            }
            ToMember::State { audience, list, count, own } => {
                self.show(cx, audience, list, count, own);
            }
            ToMember::Told { conn, audience, slot, event, payload } => {
                self.told(conn, audience, slot, (event, payload));
            }
            ToMember::Removed { conn, audience, slot, may_return, payload } => {
                self.removed(cx, (conn, audience, slot), may_return, payload);
            }
            ToMember::Ended { audience, reason } => self.end_all(cx, audience, reason),
            ToMember::Created { conn, status, retry_ms, body } => {
                self.conns.created(cx, conn, status, retry_ms, body);
            }
        }
    }
}

/// The connection and the audience that a message is for, if it is for the channel of one.
fn one_told(message: &ToMember<'_>) -> Option<(ConnKey, AudienceKey)> {
    match *message {
        ToMember::Joined { conn, audience, .. }
        | ToMember::Refused { conn, audience, .. }
        | ToMember::Left { conn, audience, .. }
        | ToMember::Reply { conn, audience, .. }
        | ToMember::Told { conn, audience, .. }
        | ToMember::Removed { conn, audience, .. } => Some((conn, audience)),
        ToMember::Deliver { .. }
        | ToMember::State { .. }
        | ToMember::Ended { .. }
        | ToMember::Created { .. } => None,
    }
}

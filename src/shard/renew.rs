//! Another token on a connection that there is: `access_token`.
//!
//! A push as any other, but that it is for the server alone: it needs the site, which knows tokens,
//! and then each channel of its connection. So the shard leads it from part to part.
//!
//! Called by: `receive`. Calls: `member`, `route`, [`Site`](crate::shard::Site).

use std::fmt::Write as _;

use super::{Shard, Turn};
use crate::auth::identity::Identity;
use crate::limits::TOKEN_WORK;
use crate::link::io::Io;
use crate::link::refusal::Refusal;
use crate::member::{ExpiresAt, Push};
use crate::wire::json::push_string;
use crate::wire::phx::Payload;

impl Shard {
    /// Verifies the token of a push, and goes on with it; or says why not, and changes nothing.
    ///
    /// Requires: joined, no join under way. Changes: identity, warning, deadline, channels. Emits:
    /// the answer, then a `Renew` for each channel that stays, and a `Leave` for each that ends.
    pub(super) fn renew<I: Io>(&mut self, turn: &mut Turn<'_, I>, push: Push<'_>) {
        let mut desk = std::mem::take(&mut self.desk);
        desk.bytes.clear();
        desk.text.clear();
        let renewed = self.identify_anew(turn, push);
        match &renewed {
            Ok(identity) => {
                push_string(&mut desk.bytes, identity.user());
                let user = std::str::from_utf8(&desk.bytes).expect("a string is UTF-8");
                let end = ExpiresAt(identity);
                // Writing to a string cannot fail.
                let _ = write!(desk.text, "{{\"expires_at\":{end},\"user\":{user}}}");
            }
            Err(refusal) => {
                refusal.count(&mut self.common.metrics);
                refusal.push_response(&mut desk.text);
            }
        }
        let response = Payload::Json(&desk.text);
        // Before anything ends: a channel that is gone is answered nothing.
        let answer = self.members.answer_renewal(push, renewed.as_ref().ok(), response);
        if let Some(ask) = answer {
            self.ask(turn, ask);
            if let Some(shard) = ask.shard() {
                self.members.conns.pause_if_filling(&self.common.cx(turn), push.conn, shard);
            }
        }
        self.desk = desk;
        if let Ok(identity) = renewed {
            self.common.metrics.renewed += 1;
            self.members.renew(turn.now, push.conn, &identity);
            self.relay(turn);
            let mut at = 0;
            while at < self.members.channels_count(push.conn) {
                let count = self.members.channels_count(push.conn);
                if let Some(ask) = self.members.tell_renewed(push.conn, at, &identity) {
                    self.ask(turn, ask);
                }
                // Its home may have ended that channel in the call: the next one is in its place.
                if self.members.channels_count(push.conn) == count {
                    at += 1;
                }
            }
        }
    }

    /// Whose token a push brings.
    ///
    /// # Errors
    ///
    /// Why it is not taken: its form, its rate, that it is not good, or another user's.
    fn identify_anew<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        push: Push<'_>,
    ) -> Result<Identity, Refusal> {
        let token = self.members.take_renewal(&self.common.cx(turn), push)?;
        self.common.budget.spend(TOKEN_WORK);
        let identity = self.api.site.identify(&token, turn.now).ok_or(Refusal::Unauthorized)?;
        let present = self.members.conns.identity(push.conn);
        if present.is_none_or(|present| present.user() != identity.user()) {
            return Err(Refusal::UserMismatch);
        }
        Ok(identity)
    }
}

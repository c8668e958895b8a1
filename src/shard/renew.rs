//! Another token on a connection that there is: `access_token`.
//!
//! A push as any other, but that it is for the server alone: it needs the site, which knows tokens,
//! and then each channel of its connection. So the shard leads it from part to part, and where
//! these channels are many, from turn to turn.
//!
//! Called by: `receive`. Calls: `member`, `route`, [`Site`](crate::shard::Site).

use std::fmt::Write as _;

use super::{Shard, Turn};
use crate::auth::identity::Identity;
use crate::limits::{LEAVING_WORK, TOKEN_WORK};
use crate::link::io::Io;
use crate::link::refusal::Refusal;
use crate::member::{ExpiresAt, Push, Renewal};
use crate::wire::json::push_string;
use crate::wire::phx::Payload;

impl Shard {
    /// Verifies the token of a push, and goes on with it; or says why not, and changes nothing.
    ///
    /// Requires: joined, no join under way. Changes: as [`Shard::renew_some`]. Emits: the answer,
    /// and then the same.
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
            if let Some(renewal) = self.members.begin_renewal(push.conn, identity) {
                self.renew_some(turn, renewal);
            }
        }
    }

    /// Goes on with what ends, with those whose shard has begun anew, and with connections that go
    /// on with another token, as far as the work of a turn goes. Each has its part before one has
    /// another.
    pub(super) fn go_on_ending<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        while (self.members.has_endings() || self.rooms.has_departing()) && self.members.may_end() {
            let cx = &mut self.common.cx(turn);
            self.members.end_some_more(cx);
            let work = self.rooms.depart_some(cx, self.members.part_of_ending(cx));
            self.members.spend_ending(cx, work);
            if let Some(renewal) = self.members.next_renewal() {
                self.renew_some(turn, renewal);
            }
        }
        self.relay(turn);
    }

    /// Goes on with channels of a connection that goes on with another token, as many as it may at
    /// a time and the turn has work for. It has that token when none is left.
    ///
    /// Requires: no join under way. Changes: identity, warning, deadline, channels. Emits: `Renew`
    /// for each channel that stays, `Leave` for each that ends.
    fn renew_some<I: Io>(&mut self, turn: &mut Turn<'_, I>, mut renewal: Renewal) {
        let mut part = self.members.part_of_ending(&self.common.cx(turn));
        while self.members.has_to_renew(&renewal) {
            if part == 0 || !self.members.may_end() {
                return self.members.renew_later(renewal);
            }
            part = part.saturating_sub(LEAVING_WORK);
            self.members.spend_ending(&mut self.common.cx(turn), LEAVING_WORK);
            if let Some(ask) = self.members.renew_next(&mut renewal) {
                self.ask(turn, ask);
            }
            self.relay(turn);
        }
        self.members.end_renewal(turn.now, renewal);
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

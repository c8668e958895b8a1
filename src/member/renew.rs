//! What another token changes for the channels of its connection.
//!
//! ```text
//!   access_token ── take_renewal ── (the site verifies) ── answer_renewal ── renew ─┬ tell_renewed
//!                                                                                   └ end_forbidden
//! ```
//!
//! Rights hold from the next message on, since each is judged by the identity of the connection.
//! So what is left to do is to end what is allowed no more, and to tell homes the name.
//!
//! Deliberately absent: tokens (`auth`), and who verifies them (`api`).
//!
//! Called by: `shard`. Calls: `audience`, `conn`, `params`.

use std::borrow::Cow;

use super::Members;
use super::channels::{Channel, State};
use super::params::token_given;
use super::push::Push;
use crate::auth::identity::Identity;
use crate::auth::level::Level;
use crate::base::time::Now;
use crate::directory::Scope;
use crate::link::ask::Ask;
use crate::link::ids::{Asker, AudienceKey, ConnKey, Slot};
use crate::link::io::Io;
use crate::link::outbox::Cx;
use crate::link::record::{ToHome, Who};
use crate::link::refusal::{JOIN_LIMIT, Refusal};
use crate::link::topic::{LOBBY, room_of};
use crate::wire::phx::Payload;

impl Members {
    /// The token that a push brings.
    ///
    /// Requires: joined. Changes: the rate. Emits: nothing.
    ///
    /// # Errors
    ///
    /// Why it is not even looked at.
    pub(crate) fn take_renewal<'m, I: Io>(
        &self,
        cx: &Cx<'_, I>,
        push: Push<'m>,
    ) -> Result<Cow<'m, str>, Refusal> {
        let limits = &cx.settings.limits;
        // As at the connection: there it stands in a request's head.
        let token = token_given(push.message.payload?, limits.head_bytes)?;
        let user = self.conns.identity(push.conn).map_or("", Identity::user);
        cx.settings
            .rates
            .take_renewal(user, cx.now.mono_ms, limits)
            .map_err(|retry| Refusal::RateLimited { limit: JOIN_LIMIT, retry })?;
        Ok(token)
    }

    /// Answers a push of a token: `ok` if there is an identity. In order, unless the channel is to
    /// end: what it is still to be answered ends with it.
    pub(crate) fn answer_renewal<'m>(
        &mut self,
        push: Push<'m>,
        identity: Option<&Identity>,
        response: Payload<'m>,
    ) -> Option<Ask<'m>> {
        let Some(identity) = identity else {
            return self.answer_in_order(push, "error", response);
        };
        if self.is_allowed(identity, push.audience) {
            return self.answer_in_order(push, "ok", response);
        }
        self.answer(push.conn, push.audience, &push.message.reference, "ok", response);
        None
    }

    fn is_allowed(&self, identity: &Identity, audience: AudienceKey) -> bool {
        let room = self.audiences.get(audience).and_then(|audience| room_of(&audience.topic));
        room.is_none_or(|room| identity.may_join(room))
    }

    /// Goes on with another identity of the same user, and ends the channels that it may not have.
    ///
    /// Requires: no join under way, unless it is gone. Changes: identity, warning, deadline,
    /// channels. Emits: later one `Leave` per channel that ends.
    pub(crate) fn renew(&mut self, now: Now, conn: ConnKey, identity: &Identity) {
        let Some(old) = self.conns.renew(now, conn, identity.clone()) else { return };
        let sees_the_same = Scope::of(&old) == Scope::of(identity);
        let channels = self.channels(conn).iter().map(|channel| channel.audience);
        for audience in channels.collect::<Vec<_>>() {
            if !self.is_allowed(identity, audience) {
                self.end_forbidden(conn, audience, "{\"reason\":\"token\"}");
            } else if !sees_the_same && self.is_lobby(audience) {
                // Its list is another one now. A stock client joins again, and is sent that.
                self.evict(conn, audience, "token");
            }
        }
    }

    /// A room's home puts a member out. A newer join under way is answered first. If the member may
    /// return, the home lets that in, and it is ended here in its turn; else the home has judged,
    /// or judges, the join by what holds then.
    pub(super) fn removed(
        &mut self,
        (conn, audience, slot): (ConnKey, AudienceKey, Slot),
        may_return: bool,
        payload: &str,
    ) {
        match self.channel(conn, audience).filter(|one| one.slot == slot).map(|one| one.state) {
            None => {}
            Some(State::Rejoining) => {
                let arrival = self.arrivals.get_mut(&(conn, audience));
                if let Some(arrival) = arrival.filter(|_| may_return) {
                    arrival.put_out = Some(payload.into());
                }
            }
            Some(_) => self.end_forbidden(conn, audience, payload),
        }
    }

    /// A room's home tells a member something, behind all that it has said before.
    pub(super) fn told(
        &mut self,
        conn: ConnKey,
        audience: AudienceKey,
        slot: Slot,
        message: (&str, &str),
    ) {
        let channel = self.channel(conn, audience);
        let is_it = |one: &&Channel| {
            one.slot == slot && matches!(one.state, State::Joined | State::Rejoining)
        };
        let Some(channel) = channel.filter(is_it).copied() else { return };
        let join_ref = self.join_ref(conn, &channel);
        self.audiences.settle(&mut self.conns, audience, channel.seat);
        self.say_alone(conn, audience, &join_ref, message);
    }

    fn is_lobby(&self, audience: AudienceKey) -> bool {
        self.audiences.get(audience).is_some_and(|audience| &*audience.topic == LOBBY)
    }

    /// `Joined -> (gone)`, `Leaving -> LeavingUnheard`: a channel ends that its user may not have
    /// any more, so that a stock client does not join it again. `why` is JSON.
    ///
    /// Requires: no join of it under way. Changes: the channel, its seat. Emits: `room_removed`,
    /// `phx_close`; later a `Leave`.
    pub(super) fn end_forbidden(&mut self, conn: ConnKey, audience: AudienceKey, why: &str) {
        let Some(channel) = self.channel(conn, audience).copied() else { return };
        match channel.state {
            State::Joined => {}
            State::Leaving => return self.leave_unheard(conn, audience),
            State::LeavingUnheard => return,
            State::Joining | State::Rejoining => unreachable!("it waits for joins"),
        }
        let join_ref = self.join_ref(conn, &channel);
        // What was said until now was for it.
        self.audiences.settle(&mut self.conns, audience, channel.seat);
        self.say_alone(conn, audience, &join_ref, ("room_removed", why));
        self.say_closed(conn, audience, &join_ref);
        let home = self.audiences.home(audience);
        self.remove_channel(conn, audience);
        let asker = Asker { conn, slot: channel.slot };
        self.asks.extend(home.map(|(shard, home)| Ask::leave(shard, home, asker)));
        self.audiences.drop_if_deserted(audience);
        // It may have waited for answers to what was asked in the channel that has ended.
        self.conns.unpark(conn);
    }

    /// What the home of a connection's channel is to know of its new identity.
    pub(crate) fn tell_renewed<'i>(
        &self,
        conn: ConnKey,
        at: usize,
        identity: &'i Identity,
    ) -> Option<Ask<'i>> {
        let channel = self.channels(conn).get(at).filter(|one| one.state == State::Joined)?;
        let (shard, home) = self.audiences.home(channel.audience)?;
        let asker = Asker { conn, slot: channel.slot };
        let room = self.audiences.get(channel.audience).and_then(|of| room_of(&of.topic));
        let level = room.map_or(Level::Speak, |room| identity.level_in(room));
        let message = ToHome::Renew { home, asker, who: Who::Here(identity), level };
        Some(Ask::Home { shard, message })
    }
}

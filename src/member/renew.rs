//! What another token changes for the channels of its connection.
//!
//! ```text
//!   access_token ── take_renewal ── (the site verifies) ── answer_renewal ── begin_renewal ──┐
//!                                            ┌───────────── end_renewal <── no channel left ─┤
//!   its next messages are judged by that <───┘             ┌─ for each channel, renew_next ──┘
//!                                                          └─> end_forbidden, tell_renewed
//! ```
//!
//! First what is allowed no more ends, and homes are told the name. Then the connection has its
//! other identity, by which all that it says is judged. Of thousands of channels a turn has a part:
//! until the last of them the connection has the old identity, and waits.
//!
//! Deliberately absent: tokens (`auth`), and who verifies them (`api`).
//!
//! Called by: `shard`. Calls: `audience`, `conn`, `params`.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};

use super::Members;
use super::channels::{Channel, State};
use super::params::token_given;
use super::push::Push;
use crate::auth::identity::Identity;
use crate::auth::level::Level;
use crate::base::slack::{ENTRIES_KEPT, Slack};
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

    /// A connection is to go on with another identity of the same user. `None` if it is gone.
    pub(crate) fn begin_renewal(&self, conn: ConnKey, identity: Identity) -> Option<Renewal> {
        let old = self.conns.identity(conn)?;
        let sees_the_same = Scope::of(old) == Scope::of(&identity);
        Some(Renewal { conn, identity, sees_the_same, left: self.channels_count(conn) })
    }

    /// Whether a connection that goes on with another identity has channels that are not of that.
    pub(crate) fn has_to_renew(&self, renewal: &Renewal) -> bool {
        renewal.left.min(self.channels_count(renewal.conn)) > 0
    }

    /// Goes on with the next channel, the last one first: what ends moves none that is to come. One
    /// that is not allowed any more ends; of another one its home is told.
    ///
    /// Requires: no join under way. Changes: the channel. Emits: as [`Members::end_forbidden`], or
    /// `Renew`.
    pub(crate) fn renew_next<'r>(&mut self, renewal: &'r mut Renewal) -> Option<Ask<'r>> {
        let Renewal { conn, ref identity, sees_the_same, ref mut left } = *renewal;
        *left = (*left).min(self.channels_count(conn)).checked_sub(1)?;
        let channel = self.channels(conn).get(*left).copied()?;
        if !self.is_allowed(identity, channel.audience) {
            self.end_forbidden(conn, channel.audience, "{\"reason\":\"token\"}");
            None
        } else if !sees_the_same && self.is_lobby(channel.audience) {
            // Its list is another one now. A stock client joins again, and is sent that.
            self.evict(conn, channel.audience, "token");
            None
        } else {
            self.tell_renewed(conn, channel, identity)
        }
    }

    /// Goes on with another identity in all that follows.
    ///
    /// Requires: no channel left to renew. Changes: identity, warning, deadline. Emits: nothing.
    pub(crate) fn end_renewal(&mut self, now: Now, renewal: Renewal) {
        let Renewal { conn, identity, .. } = renewal;
        if !self.conns.is_closing(conn) && self.conns.renew(now, conn, identity).is_some() {
            self.conns.unpark(conn);
        }
    }

    /// Goes on with the other channels of a connection in the next turns. It is heard no further
    /// until then.
    pub(crate) fn renew_later(&mut self, renewal: Renewal) {
        self.conns.park(renewal.conn);
        self.renewals.put(renewal);
    }

    /// A room's home puts a member out. A newer join under way is answered first. If the member may
    /// return, the home lets that in, and it is ended here in its turn; else the home has judged,
    /// or judges, the join by what holds then.
    pub(super) fn removed<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
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
            Some(_) => self.put_out(cx, conn, audience, payload),
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
        let home = self.audiences.home_of_seat(audience, channel.seat);
        self.remove_channel(conn, audience);
        let asker = Asker { conn, slot: channel.slot };
        self.asks.extend(home.map(|(shard, home)| Ask::leave(shard, home, asker)));
        self.audiences.drop_if_deserted(audience);
        // It may have waited for answers to what was asked in the channel that has ended.
        self.conns.unpark(conn);
    }

    /// What the home of a connection's channel is to know of its new identity.
    fn tell_renewed<'i>(
        &self,
        conn: ConnKey,
        channel: Channel,
        identity: &'i Identity,
    ) -> Option<Ask<'i>> {
        if channel.state != State::Joined {
            return None;
        }
        let (shard, home) = self.audiences.home_of_seat(channel.audience, channel.seat)?;
        let asker = Asker { conn, slot: channel.slot };
        let room = self.audiences.get(channel.audience).and_then(|of| room_of(&of.topic));
        let level = room.map_or(Level::Speak, |room| identity.level_in(room));
        let message = ToHome::Renew { home, asker, who: Who::Here(identity), level };
        Some(Ask::Home { shard, message })
    }
}

/// A connection on its way to another identity of its user.
#[derive(Debug)]
pub(crate) struct Renewal {
    conn: ConnKey,
    identity: Identity,
    /// Whether both may see the same rooms.
    sees_the_same: bool,
    /// How many of its channels, from the first on, are not of that identity yet.
    left: usize,
}

/// Connections that are on their way in later turns, in order. Each waits meanwhile, so it is here
/// once. Some may be gone.
#[derive(Debug)]
pub(super) struct Renewals {
    line: VecDeque<ConnKey>,
    by_conn: HashMap<ConnKey, Renewal, ahash::RandomState>,
}

impl Renewals {
    /// Nobody is.
    pub(super) fn new(hasher: ahash::RandomState) -> Self {
        Self { line: VecDeque::new(), by_conn: HashMap::with_hasher(hasher) }
    }

    fn put(&mut self, renewal: Renewal) {
        self.line.push_back(renewal.conn);
        self.by_conn.insert(renewal.conn, renewal);
    }

    /// Takes the next one.
    pub(super) fn next(&mut self) -> Option<Renewal> {
        self.by_conn.remove(&self.line.pop_front()?)
    }

    /// Whether a connection waits for its other identity.
    pub(super) fn contains(&self, conn: ConnKey) -> bool {
        !self.by_conn.is_empty() && self.by_conn.contains_key(&conn)
    }

    /// Panics if the parts do not agree. For tests.
    pub(super) fn check(&self) {
        assert_eq!(self.line.len(), self.by_conn.len(), "each stands in the line once");
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// Gives back memory that is mostly unused.
    pub(super) fn trim(&mut self) {
        let Self { line, by_conn } = self;
        line.trim(ENTRIES_KEPT);
        by_conn.trim(ENTRIES_KEPT);
    }
}

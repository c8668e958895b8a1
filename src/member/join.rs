//! A join, from the client's wish to its answer.
//!
//! The joiner's shard asks the topic's home, and the home's answer comes through the same ring as
//! all that is said in the room afterwards; so the member takes its seat exactly where what it has
//! been told ends.

use super::channels::{Arrival, Channel, State};
use super::params::JoinParams;
use super::refs::{JoinRef, Ref};
use super::{Dispatch, Members};
use crate::auth::identity::Identity;
use crate::auth::level::Level;
use crate::directory::Directory;
use crate::link::ask::Ask;
use crate::link::ids::{Asker, AudienceKey, ConnKey, Slot};
use crate::link::io::Io;
use crate::link::outbox::Cx;
use crate::link::pressure::Pressure;
use crate::link::record::{ToHome, Who};
use crate::link::refusal::{JOIN_LIMIT, Refusal};
use crate::link::topic::Topic;
use crate::wire::phx::Message;

/// Who joins, and with what.
pub(crate) struct Joiner<'m> {
    pub(crate) conn: ConnKey,
    pub(crate) identity: &'m Identity,
    pub(crate) message: &'m Message<'m>,
    pub(crate) topic: &'m str,
}

impl Members {
    /// Handles a join: returns what is to be asked of the topic's home, or answers it.
    pub(crate) fn join<'m, I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        directory: &mut Directory,
        joiner: &Joiner<'m>,
    ) -> Option<Ask<'m>> {
        let Joiner { conn, message, .. } = joiner;
        match self.try_join(cx, directory, joiner) {
            Ok(ask) => ask,
            Err(Refusal::Unmatched) => {
                let Dispatch::Done = self.answer_unmatched(*conn, message) else { return None };
                None
            }
            Err(refusal) => {
                refusal.count(cx.metrics);
                let response = refusal.response();
                self.answer_alone(*conn, message, &message.join_ref, "error", &response);
                None
            }
        }
    }

    /// `(none) -> Joining`, `Joined -> Rejoining`, or into the lobby at once.
    ///
    /// All checks come before the first mutation, so that a refused join leaves no trace: no empty
    /// audience, no half membership. The cheapest comes first, and none depends on whether a
    /// *stranger's* room exists.
    fn try_join<'m, I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        directory: &mut Directory,
        joiner: &Joiner<'m>,
    ) -> Result<Option<Ask<'m>>, Refusal> {
        let Joiner { conn, identity, message, topic } = *joiner;
        let parsed = Topic::parse(topic).ok_or(Refusal::Unmatched)?;
        let limits = &cx.settings.limits;
        let level = match parsed {
            Topic::Room(room) => identity.level_in(room),
            Topic::User(user) if identity.user() == user => Level::Speak,
            Topic::User(_) => Level::None,
            Topic::Lobby => Level::Join,
        };
        if level < Level::Join {
            return Err(Refusal::Unauthorized);
        }
        let known = self.audiences.find(topic);
        let replaces = known.and_then(|audience| self.channel(conn, audience)).map(|one| one.slot);
        if replaces.is_none() && self.channels_count(conn) >= limits.channels_per_conn as usize {
            return Err(Refusal::TooManyChannels);
        }
        let params = JoinParams::parse(message.payload?)?;
        let shard = cx.home_of(topic);
        if parsed != Topic::Lobby && cx.is_busy(shard) {
            return Err(Refusal::Busy);
        }
        if replaces.is_none() && cx.pressure >= Pressure::Joins {
            return Err(Refusal::NoMemory);
        }
        cx.settings
            .rates
            .take_join(identity.user(), cx.now.mono_ms, limits)
            .map_err(|retry| Refusal::RateLimited { limit: JOIN_LIMIT, retry })?;
        if parsed == Topic::Lobby {
            self.join_lobby(cx, directory, joiner);
            return Ok(None);
        }

        // For the rate of rooms that are made: only the home knows whether this join makes one.
        let address = cx.rated_peer(conn);
        let audience = self.audiences.find_or_make(topic, shard);
        if let Some(record) = self.audiences.get_mut(audience) {
            record.joining += 1;
        }
        let join_ref = JoinRef::of(message);
        if let Some(channel) = self.channel_mut(conn, audience) {
            channel.state = State::Rejoining;
        } else {
            self.insert_channel(conn, Channel::joining(audience), &join_ref);
        }
        let reference = Ref::of(&message.reference);
        let visible = params.visible;
        let arrival = Arrival { join_ref, reference, visible, put_out: None };
        self.arrivals.insert((conn, audience), arrival);
        let JoinParams { since, limit, visible, meta, invite } = params;
        let who = Who::Here(identity);
        let message = ToHome::Join {
            conn,
            audience,
            topic,
            who,
            level,
            visible,
            since,
            limit,
            meta,
            replaces,
            address,
            invite,
        };
        Ok(Some(Ask::Home { shard, message }))
    }

    /// `Joining -> Joined`, `Rejoining -> Joined`: the home has taken the member in.
    ///
    /// If the connection has gone since, so does the membership.
    pub(super) fn joined(
        &mut self,
        conn: ConnKey,
        audience: AudienceKey,
        slot: Slot,
        response: &str,
    ) {
        let Some(record) = self.audiences.get_mut(audience) else {
            unreachable!("a join under way keeps the audience")
        };
        record.joining -= 1;
        let Some(arrival) = self.arrivals.remove(&(conn, audience)) else {
            let home = self.audiences.home(audience);
            let leave = home.map(|(shard, home)| Ask::leave(shard, home, Asker { conn, slot }));
            self.asks.extend(leave);
            self.audiences.drop_if_deserted(audience);
            return;
        };
        let Arrival { join_ref, reference, visible, put_out } = arrival;
        let old = match self.channel(conn, audience).map(|channel| channel.state) {
            Some(State::Joining) => None,
            Some(State::Rejoining) => self.remove_channel(conn, audience).map(|old| {
                self.insert_channel(conn, old.channel, &join_ref);
                old.join_ref
            }),
            _ => unreachable!("the home answers in order, and who left has no join under way"),
        };
        let speaks_v1 = self.conns.flags(conn.index()).speaks_v1();
        let Some(record) = self.audiences.get_mut(audience) else { return };
        let seat = record.sit(conn.index(), speaks_v1);
        let is_room = Topic::parse(&record.topic).is_some_and(|topic| topic.room().is_some());
        if visible && is_room {
            record.newcomers.push(conn);
        }
        let Some(channel) = self.channel_mut(conn, audience) else { return };
        channel.slot = slot;
        channel.state = State::Joined;
        channel.seat = seat;
        channel.outstanding = 0;
        self.answer_join(conn, audience, reference.as_json(), "ok", response);
        if let Some(old) = old {
            self.say_closed(conn, audience, &old);
        }
        self.conns.unpark(conn);
        if let Some(why) = put_out {
            self.end_forbidden(conn, audience, &why);
        }
    }

    /// `Joining -> (gone)`: the home has not taken the member in.
    pub(super) fn refused(&mut self, conn: ConnKey, audience: AudienceKey, response: &str) {
        if let Some(record) = self.audiences.get_mut(audience) {
            record.joining -= 1;
        }
        let state = self.channel(conn, audience).map(|channel| channel.state);
        if state == Some(State::Joining)
            && let Some(Arrival { reference, .. }) = self.arrivals.remove(&(conn, audience))
        {
            self.answer_join(conn, audience, reference.as_json(), "error", response);
            self.remove_channel(conn, audience);
            self.conns.unpark(conn);
        }
        self.audiences.drop_if_deserted(audience);
    }
}

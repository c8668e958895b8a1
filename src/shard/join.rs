//! A join, from the client's wish to its answer.
//!
//! The joiner's shard asks the topic's home, and the home's answer comes through the same ring as
//! all that is said in the room afterwards; so the member takes its seat exactly where what it has
//! been told ends.

use super::audience::Audience;
use super::channels::{Arrival, Channel, Passage};
use super::conn::{Conn, Flow};
use super::memory::Pressure;
use super::message::{Asker, ToHome, Who};
use super::params::JoinParams;
use super::refs::{JoinRef, Ref};
use super::refusal::Refusal;
use super::{Io, Shard, Turn};
use crate::base::arena::Key;
use crate::room::presence::Slot;
use crate::link::topic::Topic;
use crate::wire::phx::Message;

impl Shard {
    pub(super) fn join<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        conn: Key<Conn>,
        message: &Message<'_>,
        topic: &str,
    ) -> Flow {
        match self.try_join(turn, conn, message, topic) {
            Ok(()) => Flow::Next,
            Err(Refusal::Unmatched) => self.answer_unmatched(conn, message),
            Err(refusal) => {
                refusal.count(&mut self.metrics);
                self.answer_alone(conn, message, &message.join_ref, "error", &refusal.response())
            }
        }
    }

    /// Asks the topic's home for a membership.
    ///
    /// All checks come before the first mutation, so that a refused join leaves no trace: no empty
    /// audience, no half membership. The cheapest comes first, and none depends on whether a
    /// *stranger's* room exists.
    fn try_join<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        key: Key<Conn>,
        message: &Message<'_>,
        topic: &str,
    ) -> Result<(), Refusal> {
        let parsed = Topic::parse(topic).ok_or(Refusal::Unmatched)?;
        let limits = &self.settings.limits;
        let home_shard = self.home_of(topic);
        let is_busy = self.is_busy(turn, home_shard);
        let is_short = self.memory.pressure >= Pressure::Joins;
        let Some(conn) = self.conns.get_mut(key) else { return Ok(()) };
        let Some(identity) = conn.identity.clone() else { return Err(Refusal::Unauthorized) };
        let (allowed, speak) = match parsed {
            Topic::Room(room) => (identity.may_join(room), identity.may_speak(room)),
            Topic::User(user) => (identity.user() == user, true),
            Topic::Lobby => (true, false),
        };
        if !allowed {
            return Err(Refusal::Unauthorized);
        }
        let known = self.audience_by_topic.get(topic).copied();
        let replaces =
            known.and_then(|audience| conn.channel(audience)).map(|channel| channel.slot);
        if replaces.is_none() && conn.channels.len() >= limits.channels_per_conn as usize {
            return Err(Refusal::TooManyChannels);
        }
        let params = JoinParams::parse(message.payload?)?;
        if parsed != Topic::Lobby && is_busy {
            return Err(Refusal::Busy);
        }
        if replaces.is_none() && is_short {
            return Err(Refusal::NoMemory);
        }
        self.rates
            .take_join(key.index(), turn.now.mono_ms, limits)
            .map_err(|retry| Refusal::RateLimited { limit: "limits.join_per_s", retry })?;
        if parsed == Topic::Lobby {
            self.join_lobby(turn, key, message);
            return Ok(());
        }

        // The home must have heard of an end before it hears of what comes after it: it would greet
        // one connection as two members.
        self.dismiss(turn);
        let audience = self.audience_of(topic, home_shard);
        if let Some(record) = self.audiences.get_mut(audience) {
            record.joining += 1;
        }
        let Some(conn) = self.conns.get_mut(key) else { return Ok(()) };
        let join_ref = JoinRef::of(message);
        if let Some(channel) = conn.channel_mut(audience) {
            channel.passage = Passage::Rejoining;
        } else {
            self.put_channel(key, Channel::joining(audience, params.visible), &join_ref);
        }
        let arrival =
            Arrival { join_ref, reference: Ref::of(&message.reference), visible: params.visible };
        self.arrivals.insert((key, audience), arrival);
        let JoinParams { since, limit, visible, meta } = params;
        let who = Who::Here(&identity);
        self.tell_home(
            turn,
            home_shard,
            ToHome::Join {
                conn: key,
                audience,
                topic,
                who,
                speak,
                visible,
                since,
                limit,
                meta,
                replaces,
            },
        );
        Ok(())
    }

    /// The home has taken the member in.
    pub(super) fn joined<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        conn: Key<Conn>,
        audience: Key<Audience>,
        slot: Slot,
        response: &str,
    ) {
        let Some(record) = self.audiences.get_mut(audience) else {
            unreachable!("a join under way keeps the audience")
        };
        record.joining -= 1;
        let Some(Arrival { join_ref, reference, visible }) =
            self.arrivals.remove(&(conn, audience))
        else {
            // The connection has gone since; so does the membership.
            self.leave_home(turn, audience, Asker { conn, slot }, None);
            self.drop_if_deserted(audience);
            return;
        };
        let passage =
            self.conns.get(conn).and_then(|conn| conn.channel(audience)).map(|one| one.passage);
        let old = match passage {
            Some(Passage::Joining) => None,
            Some(Passage::Rejoining) => self.stand_up(conn, audience).map(|old| {
                self.put_channel(conn, Channel { visible, ..old.channel }, &join_ref);
                old.join_ref
            }),
            _ => unreachable!("the home answers in order, and who left has no join under way"),
        };
        let flags = self.flags[conn.index() as usize];
        let (Some(record), Some(member)) =
            (self.audiences.get_mut(audience), self.conns.get_mut(conn))
        else {
            return;
        };
        let Some(channel) = member.channel_mut(audience) else { return };
        channel.slot = slot;
        channel.passage = Passage::Over;
        channel.seat = record.sit(conn.index(), flags);
        channel.outstanding = 0;
        if channel.visible
            && Topic::parse(&record.topic).is_some_and(|topic| topic.room().is_some())
        {
            record.newcomers.push(conn);
        }
        self.answer_join(conn, audience, reference.as_json(), "ok", response);
        if let Some(old) = old {
            self.say_closed(conn, audience, &old);
        }
        self.unpark(conn);
    }

    /// The home has not taken the member in.
    pub(super) fn refused(&mut self, conn: Key<Conn>, audience: Key<Audience>, response: &str) {
        if let Some(record) = self.audiences.get_mut(audience) {
            record.joining -= 1;
        }
        let passage =
            self.conns.get(conn).and_then(|conn| conn.channel(audience)).map(|one| one.passage);
        if passage == Some(Passage::Joining)
            && let Some(Arrival { reference, .. }) = self.arrivals.remove(&(conn, audience))
        {
            self.answer_join(conn, audience, reference.as_json(), "error", response);
            self.stand_up(conn, audience);
            self.unpark(conn);
        }
        self.drop_if_deserted(audience);
    }
}

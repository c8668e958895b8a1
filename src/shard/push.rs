//! A push in a joined channel, from the client to the room's home, and its answer.

use std::borrow::Cow;

use super::audience::Audience;
use super::conn::Conn;
use super::message::{Asker, ToHome};
use super::params::{Publish, page_wanted, signed};
use super::refusal::{PUBLISH_LIMIT, Refusal};
use super::{Io, Shard, Turn};
use crate::base::arena::Key;
use crate::room::presence::Slot;
use crate::link::topic::Topic;
use crate::limits::EVENT_BYTES_MAX;
use crate::wire::phx::{Message, Payload};

impl Shard {
    /// Handles a push in a joined channel.
    pub(super) fn channel_push<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        conn: Key<Conn>,
        audience: Key<Audience>,
        message: &Message<'_>,
        event: &str,
    ) {
        let (status, response) = match self.try_push(turn, conn, audience, message, event) {
            Ok(None) => return,
            Ok(Some(response)) => ("ok", response),
            Err(refusal) => {
                refusal.count(&mut self.metrics);
                ("error", Answer::Own(refusal.response()))
            }
        };
        let response = match &response {
            Answer::Own(text) => Payload::Json(text),
            Answer::Echo(payload) => *payload,
        };
        self.answer_in_order(turn, conn, audience, &message.reference, status, response);
    }

    /// Answers here, unless answers of the home are under way: then by way of the home, behind
    /// them.
    fn answer_in_order<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        conn: Key<Conn>,
        audience: Key<Audience>,
        reference: &str,
        status: &str,
        response: Payload<'_>,
    ) {
        let Some(channel) = self.conns.get(conn).and_then(|conn| conn.channel(audience)) else {
            return;
        };
        let asker = Asker { conn, slot: channel.slot };
        if channel.outstanding > 0
            && let Some(Audience { home: Some(home), home_shard, .. }) =
                self.audiences.get(audience)
        {
            let (home, home_shard) = (*home, *home_shard);
            self.expect_answer(conn, audience);
            self.tell_home(
                turn,
                home_shard,
                ToHome::Bounce { home, asker, reference, status, response },
            );
            self.pause_if_filling(turn, conn, home_shard);
        } else {
            self.answer(conn, audience, reference, status, response);
        }
    }

    /// Takes a push to the home, or answers it at once. All checks come before anything is sent.
    fn try_push<'m, I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        key: Key<Conn>,
        audience: Key<Audience>,
        message: &Message<'m>,
        event: &str,
    ) -> Result<Option<Answer<'m>>, Refusal> {
        let (Some(conn), Some(record)) = (self.conns.get_mut(key), self.audiences.get(audience))
        else {
            return Ok(None);
        };
        let Some(channel) = conn.channels.iter_mut().find(|channel| channel.audience == audience)
        else {
            return Ok(None);
        };
        if event == "echo" {
            return Ok(Some(Answer::Echo(message.payload?)));
        }
        let Some(home) = record.home else { return Err(Refusal::ReadOnly) };
        let home_shard = record.home_shard;
        let room = Topic::parse(&record.topic).and_then(Topic::room);
        let speaks = room.is_none_or(|room| {
            conn.identity.as_ref().is_some_and(|identity| identity.may_speak(room))
        });
        let asker = Asker { conn: key, slot: channel.slot };
        let reference = &*message.reference;
        let limits = &self.settings.limits;
        if event == "history" && room.is_none() {
            return Err(Refusal::Invalid { field: "event", message: "there is no history here" });
        }
        if event != "history" && !speaks {
            return Err(Refusal::Unauthorized);
        }
        if event.len() > EVENT_BYTES_MAX {
            return Err(Refusal::TooLarge { field: "event", max_bytes: EVENT_BYTES_MAX });
        }
        // History too: forty bytes that ask for it are answered with up to a page of it.
        self.rates
            .take_publish(key.index(), turn.now.mono_ms, limits)
            .map_err(|retry| Refusal::RateLimited { limit: PUBLISH_LIMIT, retry })?;
        let payload = message.payload?;
        let given_key;
        let mut memory = std::mem::take(&mut self.signed);
        let push = match event {
            "new_msg" if room.is_some() => {
                let Publish { body, key, reply_to } = Publish::parse(payload, limits.body_bytes)?;
                given_key = key.unwrap_or_default();
                let key = (!given_key.is_empty()).then_some(&*given_key);
                ToHome::Publish { home, asker, reference, body, key, reply_to }
            }
            "typing" => ToHome::Typing { home, asker },
            "history" => {
                let (from, limit) = page_wanted(payload)?;
                ToHome::History { home, asker, reference, from, limit }
            }
            _ => {
                let user = conn.identity.as_ref().map_or("", |identity| identity.user());
                let payload = match payload {
                    Payload::Json(object) => Payload::Json(signed(object, user, &mut memory)?),
                    binary @ Payload::Binary(_) => binary,
                };
                ToHome::Custom { home, asker, reference, event, payload }
            }
        };
        if self.is_busy(turn, home_shard) {
            return Err(Refusal::Busy);
        }
        if !matches!(push, ToHome::Typing { .. }) {
            self.expect_answer(key, audience);
        }
        self.tell_home(turn, home_shard, push);
        self.signed = memory;
        self.pause_if_filling(turn, key, home_shard);
        Ok(None)
    }

    fn expect_answer(&mut self, conn: Key<Conn>, audience: Key<Audience>) {
        if let Some(channel) = self.conns.get_mut(conn).and_then(|conn| conn.channel_mut(audience))
        {
            channel.outstanding = channel.outstanding.saturating_add(1);
        }
    }

    /// An answer of the home to a push: it comes after what the home had said before.
    pub(super) fn replied(
        &mut self,
        conn: Key<Conn>,
        audience: Key<Audience>,
        slot: Slot,
        reference: &str,
        status: &str,
        response: Payload<'_>,
    ) {
        let Some(channel) = self.conns.get_mut(conn).and_then(|conn| conn.channel_mut(audience))
        else {
            return;
        };
        if channel.slot != slot {
            return;
        }
        channel.outstanding = channel.outstanding.saturating_sub(1);
        let seat = channel.seat;
        self.settle(audience, seat);
        self.answer(conn, audience, reference, status, response);
    }
}

/// An answer that needs no home.
#[derive(Debug)]
enum Answer<'m> {
    Own(Cow<'static, str>),
    /// The payload as it came.
    Echo(Payload<'m>),
}

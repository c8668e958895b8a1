//! A push in a joined channel, from the client to the room's home, and its answer.
//!
//! Called by: `shard`, `member` with what a home answers. Calls: `audience`, `conn`, `params`.

use std::borrow::Cow;

use super::Members;
use super::params::{
    MessageBounds, Publish, page_wanted, reaction_wanted, search_wanted, signed, text_wanted,
    typing_wanted, verb_wanted,
};
use super::wishes::{
    audit_wanted, invite_wanted, member_wanted, members_wanted, meta_wanted, report_wanted,
    settings_wanted,
};
use crate::auth::identity::Identity;
use crate::auth::level::Level;
use crate::limits::{ANSWERS_UNDER_WAY_MAX, EVENT_BYTES_MAX, PUSHES_UNDER_WAY_MAX};
use crate::link::ask::{Ask, Desk};
use crate::link::ids::{Asker, AudienceKey, ConnKey, RoomKey, Slot};
use crate::link::io::Io;
use crate::link::outbox::Cx;
use crate::link::rates::PUSH_QUARTERS;
use crate::link::record::{NewMessage, ToHome};
use crate::link::refusal::{PUBLISH_LIMIT, Refusal, SEARCH_LIMIT};
use crate::link::settings::Settings;
use crate::link::topic::{
    ECHO, HISTORY, MSG_APPEND, MSG_DELETE, MSG_REACT, MSG_REPORT, NEW_MSG, ROOM_AUDIT, ROOM_INVITE,
    ROOM_MEMBER, ROOM_MEMBERS, ROOM_META, ROOM_SET, SEARCH, TYPING, is_about_room, is_addition,
    is_reserved, is_verb, room_of,
};
use crate::wire::phx::{Message, Payload};

/// A push in a channel.
#[derive(Clone, Copy)]
pub(crate) struct Push<'m> {
    pub(crate) conn: ConnKey,
    pub(crate) audience: AudienceKey,
    pub(crate) message: &'m Message<'m>,
    pub(crate) event: &'m str,
}

impl Members {
    /// Returns the question to the room's home, or answers at once.
    ///
    /// All checks come before anything is asked, the cheapest first. Requires: joined. Changes: the
    /// rates, the count of outstanding answers. Emits: one question to the home, as
    /// [`Members::for_home`] has it, which is answered unless it is `Typing`. Of `echo`: `Bounce`,
    /// if answers are outstanding.
    ///
    /// # Errors
    ///
    /// Why the push is refused. The caller answers with [`Members::answer_in_order`].
    pub(crate) fn push<'m, I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        push: Push<'m>,
        desk: &'m mut Desk,
    ) -> Result<Option<Ask<'m>>, Refusal> {
        let Push { conn, audience, message, event } = push;
        let Some(channel) = self.channel(conn, audience) else { return Ok(None) };
        let asker = Asker { conn, slot: channel.slot };
        if event == ECHO {
            return Ok(self.answer_in_order(push, "ok", message.payload?));
        }
        let Some((shard, home)) = self.audiences.home(audience) else {
            return Err(Refusal::ReadOnly);
        };
        let Some(record) = self.audiences.get(audience) else { return Ok(None) };
        let room = room_of(&record.topic);
        let identity = self.conns.identity(conn);
        let level_in = |room| identity.map_or(Level::None, |identity| identity.level_in(room));
        let level = room.map_or(Level::Speak, level_in);
        let speaks = level >= Level::Speak;
        let limits = &cx.settings.limits;
        let is_ours =
            event == SEARCH || is_verb(event) || is_addition(event) || is_about_room(event);
        if (is_ours || event == HISTORY) && room.is_none() {
            let message = "there is no such thing here: this is no room";
            return Err(Refusal::Invalid { field: "event", message });
        }
        let reads =
            matches!(event, HISTORY | SEARCH | ROOM_MEMBERS | ROOM_AUDIT | ROOM_INVITE | ROOM_META);
        // Whose token lets it only read may still leave a room that it is a member of.
        // And react, where the room lets readers; report what it has read, and take back what it
        // has said.
        let is_for_readers = matches!(event, ROOM_MEMBER | MSG_REACT | MSG_REPORT | MSG_DELETE);
        if !reads && !speaks && !is_for_readers {
            return Err(Refusal::Unauthorized);
        }
        if is_reserved(event) && !is_ours {
            let message = "a name that the server does not keep for itself";
            return Err(Refusal::Invalid { field: "event", message });
        }
        if event.len() > EVENT_BYTES_MAX {
            return Err(Refusal::TooLarge { field: "event", max_bytes: EVENT_BYTES_MAX });
        }
        // History too: a question of forty bytes is answered with up to a page.
        let (rates, user) = (&cx.settings.rates, identity.map_or("", Identity::user));
        rates
            .take_publish(user, quarters_of(event), cx.now.mono_ms, limits)
            .map_err(|retry| Refusal::RateLimited { limit: PUBLISH_LIMIT, retry })?;
        // What the disk is asked for, or what somebody has to look at.
        if matches!(event, SEARCH | ROOM_AUDIT | MSG_REPORT) {
            rates
                .take_search(user, cx.now.mono_ms, limits)
                .map_err(|retry| Refusal::RateLimited { limit: SEARCH_LIMIT, retry })?;
        }
        let to = (home, asker, room.is_some());
        let message = self.for_home(cx.settings, push, to, desk)?;
        if cx.is_busy(shard) {
            return Err(Refusal::Busy);
        }
        if !matches!(message, ToHome::Typing { .. }) {
            self.expect_answer(conn, audience);
        }
        Ok(Some(Ask::Home { shard, message }))
    }

    /// What a push that is allowed says to the room's home.
    ///
    /// # Errors
    ///
    /// What is wrong with its payload.
    fn for_home<'m>(
        &self,
        settings: &Settings,
        push: Push<'m>,
        (home, asker, is_room): (RoomKey, Asker, bool),
        desk: &'m mut Desk,
    ) -> Result<ToHome<'m>, Refusal> {
        let Push { conn, audience: _, message, event } = push;
        let reference = &*message.reference;
        let payload = message.payload?;
        let bounds = || MessageBounds::of(settings);
        Ok(match event {
            NEW_MSG if is_room => {
                let message = message_wanted(payload, bounds(), &mut desk.text)?;
                ToHome::Publish { home, asker, reference, message }
            }
            _ if is_verb(event) => {
                let (offset, verb) = verb_wanted(event, payload, bounds())?;
                ToHome::Change { home, asker, reference, offset, verb }
            }
            MSG_REACT => {
                let (offset, addition) = reaction_wanted(payload, &mut desk.text)?;
                ToHome::Add { home, asker, reference, offset, addition }
            }
            MSG_APPEND => {
                let (offset, addition) = text_wanted(payload, bounds())?;
                ToHome::Add { home, asker, reference, offset, addition }
            }
            ROOM_SET => {
                let wish = settings_wanted(payload, bounds())?;
                ToHome::Set { home, asker, reference, wish }
            }
            ROOM_MEMBER => {
                let wish = member_wanted(payload, &mut desk.text)?;
                ToHome::Stand { home, asker, reference, wish }
            }
            ROOM_MEMBERS => {
                let wanted = members_wanted(payload, &mut desk.text)?;
                ToHome::ListMembers { home, asker, reference, wanted }
            }
            ROOM_AUDIT => {
                let wanted = audit_wanted(payload)?;
                ToHome::Audit { home, asker, reference, wanted }
            }
            ROOM_INVITE => {
                let for_s = invite_wanted(payload)?;
                ToHome::Invite { home, asker, reference, for_s }
            }
            ROOM_META => {
                let meta = meta_wanted(payload)?;
                ToHome::Meta { home, asker, reference, meta }
            }
            MSG_REPORT => {
                let (offset, text) = report_wanted(payload)?;
                ToHome::Report { home, asker, reference, offset, text }
            }
            TYPING => ToHome::Typing { home, asker, thread: typing_wanted(payload)? },
            HISTORY => {
                let (view, from, limit) = page_wanted(payload)?;
                ToHome::History { home, asker, reference, view, from, limit }
            }
            SEARCH => {
                let searched = search_wanted(payload)?;
                ToHome::Search { home, asker, reference, searched }
            }
            // It would tell the room what is meant for the server.
            _ if is_reserved(event) => unreachable!("no question is made of {event}"),
            _ => {
                let payload = self.payload_to_pass(settings, conn, payload, &mut desk.bytes)?;
                ToHome::Custom { home, asker, reference, event, payload }
            }
        })
    }

    /// The payload of an event that members only pass to each other, as they are sent it.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    fn payload_to_pass<'m>(
        &self,
        settings: &Settings,
        conn: ConnKey,
        payload: Payload<'m>,
        out: &'m mut Vec<u8>,
    ) -> Result<Payload<'m>, Refusal> {
        // The bound of a body: a payload is sent to every member, so each of its bytes costs once a
        // member.
        if payload.bytes_count() > settings.limits.body_bytes {
            let max_bytes = settings.limits.body_bytes;
            return Err(Refusal::TooLarge { field: "payload", max_bytes });
        }
        let user = self.conns.identity(conn).map_or("", Identity::user);
        Ok(match payload {
            Payload::Json(object) => Payload::Json(signed(object, user, out)?),
            binary @ Payload::Binary(_) => binary,
        })
    }

    /// Answers here. If answers of the home are outstanding, asks the home to send this one back
    /// behind them.
    pub(crate) fn answer_in_order<'m>(
        &mut self,
        push: Push<'m>,
        status: &'static str,
        response: Payload<'m>,
    ) -> Option<Ask<'m>> {
        let Push { conn, audience, message, .. } = push;
        let channel = self.channel(conn, audience)?;
        let asker = Asker { conn, slot: channel.slot };
        let reference = &*message.reference;
        if channel.outstanding > 0
            && let Some((shard, home)) = self.audiences.home(audience)
        {
            self.expect_answer(conn, audience);
            let message = ToHome::Bounce { home, asker, reference, status, response };
            return Some(Ask::Home { shard, message });
        }
        self.answer(conn, audience, reference, status, response);
        None
    }

    fn expect_answer(&mut self, conn: ConnKey, audience: AudienceKey) {
        if let Some(channel) = self.channel_mut(conn, audience) {
            channel.outstanding += 1;
            assert!(channel.outstanding <= PUSHES_UNDER_WAY_MAX, "a push past that waits");
        }
    }

    /// Handles the home's answer to a push. All that the home said before comes before it.
    pub(super) fn replied(
        &mut self,
        conn: ConnKey,
        audience: AudienceKey,
        slot: Slot,
        reference: &str,
        status: &str,
        response: Payload<'_>,
    ) {
        let channel = self.channel_mut(conn, audience).filter(|channel| channel.slot == slot);
        let Some(channel) = channel else { return };
        channel.outstanding = channel.outstanding.saturating_sub(1);
        let (seat, outstanding) = (channel.seat, channel.outstanding);
        let may_ask =
            outstanding < ANSWERS_UNDER_WAY_MAX || outstanding + 1 == PUSHES_UNDER_WAY_MAX;
        if may_ask {
            self.conns.unpark(conn);
        }
        self.audiences.settle(&mut self.conns, audience, seat);
        self.answer(conn, audience, reference, status, response);
    }
}

/// What a push says that is a message. Its key, if that had escapes, is written anew into `text`.
///
/// # Errors
///
/// What is wrong with its payload.
fn message_wanted<'m>(
    payload: Payload<'m>,
    bounds: MessageBounds,
    text: &'m mut String,
) -> Result<NewMessage<'m>, Refusal> {
    let Publish { message, key } = Publish::parse(payload, bounds)?;
    let key = key.map(|key| match key {
        Cow::Borrowed(key) => key,
        Cow::Owned(key) => {
            *text = key;
            &**text
        }
    });
    Ok(NewMessage { key, ..message })
}

/// What an event costs of the rate of pushes, in quarters of one: what comes often costs least.
fn quarters_of(event: &str) -> u64 {
    if matches!(event, MSG_REACT | TYPING) { 1 } else { PUSH_QUARTERS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_types_or_reacts_pays_a_quarter_of_a_push_and_a_push_is_four_of_them() {
        assert_eq!([MSG_REACT, TYPING].map(quarters_of), [1, 1]);
        let others = [NEW_MSG, HISTORY, MSG_APPEND, MSG_DELETE, ROOM_META, "an event"];
        assert_eq!(others.map(quarters_of), [PUSH_QUARTERS; 6]);
        assert_eq!(PUSH_QUARTERS, 4);
    }
}

//! What a client's messages do: `Phoenix.Socket` and `Phoenix.Channel`, seen from one connection.
//!
//! A channel is a topic that a connection has joined. While it is on its way in or out, the connection is parked by the next message for
//! that topic; everything else is answered in the order in which it came, also where the room's home is another shard.
//!
//! Source: `wire` as recorded from Phoenix 1.8 (`docs/protocol.md`), `Phoenix.Socket.handle_in/4`.

use std::borrow::Cow;

use super::audience::Audience;
use super::channels::{Arrival, Channel, Passage};
use super::conn::{Conn, Flow, out_of};
use super::home::Home;
use super::memory::Pressure;
use super::message::{Asker, From, ToHome, Who};
use super::refs::{JoinRef, PackedRef, Ref};
use super::{Io, Metrics, Shard, Turn};
use crate::base::arena::Key;
use crate::base::bucket::RetryMs;
use crate::chat::history::Cursor;
use crate::chat::presence::Slot;
use crate::chat::topic::{self, Topic};
use crate::limits::{
    EVENT_BYTES_MAX, KEY_BYTES_MAX, META_BYTES_MAX, PAGE_MESSAGES_DEFAULT, PAGE_MESSAGES_MAX, REF_BYTES_MAX,
};
use crate::wire::json;
use crate::wire::phx::{Message, Outgoing, Payload};
use crate::wire::ws::close::CloseCode;
use crate::wire::ws::frame::Opcode;

/// A channel that has ended, and what was kept beside it.
#[derive(Debug)]
pub(super) struct Departed {
    pub(super) channel: Channel,
    pub(super) join_ref: JoinRef,
    /// The join that it was about to be replaced by, or that was to begin it.
    pub(super) arrival: Option<Arrival>,
}

/// A membership that ended here and that its home does not know of yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dismissed {
    home: Key<Home>,
    pub(super) home_shard: u16,
    asker: Asker,
}

/// Why a push or join is refused, and what the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nobody answers to this topic, or it has not been joined.
    Unmatched,
    /// The token does not allow it.
    Unauthorized,
    /// As many channels as one connection may have.
    TooManyChannels,
    /// Something is not as the protocol says.
    Invalid { field: &'static str, message: &'static str },
    /// Something is over its limit.
    TooLarge { field: &'static str, max_bytes: usize },
    /// Too many pushes or joins.
    RateLimited { limit: &'static str, retry: RetryMs },
    /// The shard that owns the room is behind.
    Busy,
    /// Memory is short.
    NoMemory,
    /// A custom payload names somebody else.
    UserMismatch,
    /// The lobby takes no pushes.
    ReadOnly,
    /// No new room can be made.
    TooManyRooms,
}

/// What limits pushes, as a refusal names it.
const PUBLISH_LIMIT: &str = "limits.publish_per_s";

/// After what time a client may try again when another shard is behind, in milliseconds.
const BUSY_RETRY_MS: u32 = 250;

/// And when memory is short.
const MEMORY_RETRY_MS: u32 = 2_000;

impl Refusal {
    /// Counts it, if it is a limit's.
    pub(super) fn count(self, metrics: &mut Metrics) {
        match self {
            Self::RateLimited { limit: PUBLISH_LIMIT, .. } => metrics.refused_publish += 1,
            Self::RateLimited { .. } => metrics.refused_join += 1,
            Self::TooManyChannels => metrics.refused_channels += 1,
            Self::TooManyRooms => metrics.refused_rooms += 1,
            Self::TooLarge { .. } => metrics.refused_length += 1,
            Self::Busy => metrics.refused_busy += 1,
            Self::NoMemory => metrics.refused_memory += 1,
            Self::Unmatched
            | Self::Unauthorized
            | Self::Invalid { .. }
            | Self::UserMismatch
            | Self::ReadOnly => {}
        }
    }

    /// The response, as JSON.
    pub(super) fn response(self) -> Cow<'static, str> {
        match self {
            Self::Unmatched => r#"{"reason":"unmatched topic"}"#.into(),
            Self::Unauthorized => r#"{"reason":"unauthorized"}"#.into(),
            Self::TooManyChannels => r#"{"reason":"too many channels joined"}"#.into(),
            Self::Invalid { field, message } => {
                format!(r#"{{"field":"{field}","message":"{message}","reason":"invalid"}}"#).into()
            }
            Self::TooLarge { field, max_bytes } => {
                format!(r#"{{"field":"{field}","max_bytes":{max_bytes},"reason":"too_large"}}"#).into()
            }
            Self::RateLimited { limit, retry: RetryMs(retry_ms) } => {
                format!(r#"{{"limit":"{limit}","reason":"rate_limited","retry_ms":{retry_ms}}}"#).into()
            }
            Self::Busy => format!(r#"{{"reason":"busy","retry_ms":{BUSY_RETRY_MS}}}"#).into(),
            Self::NoMemory => format!(r#"{{"reason":"busy","retry_ms":{MEMORY_RETRY_MS}}}"#).into(),
            Self::UserMismatch => r#"{"reason":"user_mismatch"}"#.into(),
            Self::ReadOnly => r#"{"reason":"read_only"}"#.into(),
            Self::TooManyRooms => r#"{"reason":"too_many_rooms"}"#.into(),
        }
    }
}

/// What a join asks for besides the topic.
#[derive(Debug)]
struct JoinParams<'a> {
    since: Option<Cursor>,
    limit: u32,
    visible: bool,
    meta: Option<&'a str>,
}

impl<'a> JoinParams<'a> {
    fn parse(payload: Payload<'a>) -> Result<Self, Refusal> {
        let mut params = Self { since: None, limit: PAGE_MESSAGES_DEFAULT, visible: true, meta: None };
        // Phoenix takes any payload for a join; only an object can ask for something.
        let Payload::Json(object) = payload else { return Ok(params) };
        let [since, limit, presence, meta] = given(object, ["since", "limit", "presence", "meta"]);
        if let Some(since) = since {
            params.since = cursor(since)?;
        }
        if let Some(limit) = limit {
            params.limit = page_limit(limit)?;
        }
        if let Some(presence) = presence {
            let message = "true or false";
            params.visible =
                json::boolean(presence).ok_or(Refusal::Invalid { field: "presence", message })?;
        }
        if let Some(meta) = meta {
            if !json::is_object(meta) {
                return Err(Refusal::Invalid { field: "meta", message: "an object" });
            }
            if meta.len() > META_BYTES_MAX {
                return Err(Refusal::TooLarge { field: "meta", max_bytes: META_BYTES_MAX });
            }
            params.meta = Some(meta);
        }
        Ok(params)
    }
}

/// Those of these fields that are there and not null.
fn given<'a, const N: usize>(object: &'a str, names: [&str; N]) -> [Option<&'a str>; N] {
    json::fields(object, names).map(|value| value.filter(|value| *value != "null"))
}

/// A cursor as the client keeps it. An epoch that is none of ours is a cursor into nothing, and not an error.
fn cursor(since: &str) -> Result<Option<Cursor>, Refusal> {
    let invalid = Refusal::Invalid {
        field: "since",
        message: "an object with an epoch (string) and an offset (number)",
    };
    let [epoch, offset] = given(since, ["epoch", "offset"]);
    let epoch = epoch.and_then(json::string).ok_or(invalid)?;
    let offset = offset.and_then(json::unsigned).ok_or(invalid)?;
    // An epoch that does not parse is still an answer to "were you there?": no. Epoch 0 is never given out.
    let epoch = super::home::parse_epoch(&epoch).unwrap_or(0);
    Ok(Some(Cursor { epoch, offset }))
}

fn page_limit(limit: &str) -> Result<u32, Refusal> {
    json::unsigned(limit)
        .and_then(|limit| u32::try_from(limit).ok())
        .filter(|limit| *limit <= PAGE_MESSAGES_MAX)
        .ok_or(Refusal::Invalid { field: "limit", message: "a number from 0 to 100" })
}

impl Shard {
    /// Handles one message of a client.
    pub(super) fn message<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        conn: Key<Conn>,
        opcode: Opcode,
        bytes: &[u8],
    ) -> Flow {
        let Some(serializer) = self.conns.get(conn).map(|conn| conn.serializer) else { return Flow::Next };
        let decoded = match opcode {
            Opcode::Binary => self.decoder.binary(bytes, serializer),
            _ => self.decoder.text(bytes, serializer),
        };
        self.metrics.messages_in += 1;
        match decoded {
            Ok(message) if message.join_ref.len().max(message.reference.len()) <= REF_BYTES_MAX => {
                self.dispatch(turn, conn, &message)
            }
            _ => {
                self.metrics.malformed += 1;
                self.close(turn, conn, CloseCode::Internal, "");
                Flow::Next
            }
        }
    }

    fn dispatch<I: Io>(&mut self, turn: &mut Turn<'_, I>, conn: Key<Conn>, message: &Message<'_>) -> Flow {
        let Some(topic) = message.topic() else { return self.answer_unmatched(conn, message) };
        let event = message.event();
        let event = event.as_deref();
        if topic == topic::PHOENIX {
            if event != Some("heartbeat") {
                return self.answer_unmatched(conn, message);
            }
            return self.answer_alone(conn, message, "null", "ok", "{}");
        }
        let channel = self.audience_by_topic.get(&*topic).copied();
        let channel = channel.and_then(|audience| self.conns.get(conn)?.channel(audience));
        if channel.is_some_and(|channel| channel.passage != Passage::Over) {
            return Flow::Park;
        }
        let Some(channel) = channel else {
            return match event {
                Some("phx_join") => self.join(turn, conn, message, &topic),
                Some("phx_leave") => self.answer_alone(conn, message, &message.join_ref, "ok", "{}"),
                _ => self.answer_unmatched(conn, message),
            };
        };
        let audience = channel.audience;
        match event {
            Some("phx_join") => return self.join(turn, conn, message, &topic),
            // Of a join that is over: what it wanted to say is over too.
            _ if !self.join_ref(conn, channel).owns(message) => {}
            Some("phx_leave") => self.leave(turn, conn, audience, &message.reference),
            Some(event) if !topic::is_reserved(event) => {
                self.channel_push(turn, conn, audience, message, event);
            }
            _ => self.crash_channel(conn, audience, "channel_crash"),
        }
        Flow::Next
    }

    /// Answers for no channel, echoing the topic as it came.
    fn answer_alone(
        &mut self,
        conn: Key<Conn>,
        message: &Message<'_>,
        join_ref: &str,
        status: &str,
        response: &str,
    ) -> Flow {
        let topic = message.topic();
        let reference = &message.reference;
        if let Some(topic) = topic {
            let payload = Payload::Json(response);
            self.reply(conn, &Outgoing { join_ref, reference, topic: &topic, event: status, payload });
        } else if let Some(serializer) = self.conns.get(conn).map(|conn| conn.serializer) {
            serializer.reply_to_topic_json(
                self.output(conn.index()),
                join_ref,
                reference,
                &message.topic_json,
                status,
                response,
            );
        }
        Flow::Next
    }

    fn answer_unmatched(&mut self, conn: Key<Conn>, message: &Message<'_>) -> Flow {
        self.answer_alone(conn, message, "null", "error", &Refusal::Unmatched.response())
    }

    fn join<I: Io>(
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
    /// All checks come before the first mutation, so that a refused join leaves no trace: no empty audience, no half membership. The
    /// cheapest comes first, and none depends on whether a *stranger's* room exists.
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
        let replaces = known.and_then(|audience| conn.channel(audience)).map(|channel| channel.slot);
        if replaces.is_none() && conn.channels.len() >= limits.channels_per_conn as usize {
            return Err(Refusal::TooManyChannels);
        }
        let params = JoinParams::parse(message.payload)?;
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
        let arrival = Arrival { join_ref, reference: Ref::of(&message.reference), visible: params.visible };
        self.arrivals.insert((key, audience), arrival);
        let JoinParams { since, limit, visible, meta } = params;
        let who = Who::Here(&identity);
        self.tell_home(
            turn,
            home_shard,
            ToHome::Join { conn: key, audience, topic, who, speak, visible, since, limit, meta, replaces },
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
        let Some(Arrival { join_ref, reference, visible }) = self.arrivals.remove(&(conn, audience)) else {
            // The connection has gone since; so does the membership.
            self.leave_home(turn, audience, Asker { conn, slot }, None);
            self.drop_if_deserted(audience);
            return;
        };
        let passage = self.conns.get(conn).and_then(|conn| conn.channel(audience)).map(|one| one.passage);
        let old = match passage {
            Some(Passage::Joining) => None,
            Some(Passage::Rejoining) => self.stand_up(conn, audience).map(|old| {
                self.put_channel(conn, Channel { visible, ..old.channel }, &join_ref);
                old.join_ref
            }),
            _ => unreachable!("the home answers in order, and who left has no join under way"),
        };
        let flags = self.flags[conn.index() as usize];
        let (Some(record), Some(member)) = (self.audiences.get_mut(audience), self.conns.get_mut(conn))
        else {
            return;
        };
        let Some(channel) = member.channel_mut(audience) else { return };
        channel.slot = slot;
        channel.passage = Passage::Over;
        channel.seat = record.sit(conn.index(), flags);
        channel.outstanding = 0;
        if channel.visible && Topic::parse(&record.topic).is_some_and(|topic| topic.room().is_some()) {
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
        let passage = self.conns.get(conn).and_then(|conn| conn.channel(audience)).map(|one| one.passage);
        if passage == Some(Passage::Joining)
            && let Some(Arrival { reference, .. }) = self.arrivals.remove(&(conn, audience))
        {
            self.answer_join(conn, audience, reference.as_json(), "error", response);
            self.stand_up(conn, audience);
            self.unpark(conn);
        }
        self.drop_if_deserted(audience);
    }

    fn leave<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        conn: Key<Conn>,
        audience: Key<Audience>,
        reference: &str,
    ) {
        let Some(channel) = self.conns.get_mut(conn).and_then(|conn| conn.channel_mut(audience)) else {
            return;
        };
        let asker = Asker { conn, slot: channel.slot };
        channel.passage = Passage::Leaving;
        if self.audiences.get(audience).is_some_and(|audience| audience.home.is_some()) {
            self.leave_home(turn, audience, asker, Some(reference));
        } else {
            self.left(conn, audience, asker.slot, reference);
        }
    }

    /// The home has let the member go: it has been told everything that was said until then, and the channel ends.
    pub(super) fn left(&mut self, conn: Key<Conn>, audience: Key<Audience>, slot: Slot, reference: &str) {
        let Some(channel) = self.conns.get(conn).and_then(|conn| conn.channel(audience)) else { return };
        if channel.slot != slot {
            return;
        }
        let (join_ref, seat) = (self.join_ref(conn, channel), channel.seat);
        if seat != Channel::NO_SEAT {
            self.settle(audience, seat);
        }
        self.answer(conn, audience, reference, "ok", Payload::Json("{}"));
        self.say_closed(conn, audience, &join_ref);
        self.stand_up(conn, audience);
        self.unpark(conn);
        self.drop_if_deserted(audience);
    }

    /// Ends a channel from our side, loudly; a stock client joins again.
    pub(super) fn crash_channel(&mut self, conn: Key<Conn>, audience: Key<Audience>, reason: &'static str) {
        let Some(record) = self.audiences.get(audience) else { return };
        let Some(channel) = self.conns.get(conn).and_then(|conn| conn.channel(audience)) else { return };
        let (home, home_shard) = (record.home, record.home_shard);
        let join_ref = self.join_ref(conn, channel);
        self.say_lost(conn, audience, &join_ref, reason);
        let Some(Departed { channel, arrival, .. }) = self.stand_up(conn, audience) else { return };
        match (channel.passage, arrival) {
            // A newer join is under way, and will be answered.
            (Passage::Rejoining, Some(arrival)) => {
                // Without the old slot: answers to what was asked in the channel that has ended are not for this one.
                self.put_channel(conn, Channel::joining(audience, arrival.visible), &arrival.join_ref);
                self.arrivals.insert((conn, audience), arrival);
            }
            // The audience may be gone by the time the home is told: the last of it may be this one.
            (Passage::Over, _) => {
                let asker = Asker { conn, slot: channel.slot };
                self.dismissed.extend(home.map(|home| Dismissed { home, home_shard, asker }));
            }
            _ => {
                unreachable!("only a member loses its place, and one that leaves keeps it until it has left")
            }
        }
        self.drop_if_deserted(audience);
    }

    /// Tells the homes of channels that ended here.
    pub(super) fn dismiss<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        while let Some(Dismissed { home, home_shard, asker }) = self.dismissed.pop() {
            self.tell_home(turn, home_shard, ToHome::Leave { home, asker, reference: None });
        }
    }

    /// Ends every membership of a connection.
    pub(super) fn leave_all<I: Io>(&mut self, turn: &mut Turn<'_, I>, conn: Key<Conn>) {
        while let Some(audience) =
            self.conns.get(conn).and_then(|conn| conn.channels.last()).map(|last| last.audience)
        {
            let Some(Departed { channel, .. }) = self.stand_up(conn, audience) else { return };
            // If a passage is under way, its answer says it too: one to a join that finds nobody is a leave.
            if channel.passage == Passage::Over {
                self.leave_home(turn, audience, Asker { conn, slot: channel.slot }, None);
            }
            self.drop_if_deserted(audience);
        }
    }

    fn leave_home<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        audience: Key<Audience>,
        asker: Asker,
        reference: Option<&str>,
    ) {
        if let Some(Audience { home: Some(home), home_shard, .. }) = self.audiences.get(audience) {
            let (home, home_shard) = (*home, *home_shard);
            self.tell_home(turn, home_shard, ToHome::Leave { home, asker, reference });
        }
    }

    /// Takes a channel from its connection, with what is kept beside it, and its seat from the audience.
    pub(super) fn stand_up(&mut self, conn: Key<Conn>, audience: Key<Audience>) -> Option<Departed> {
        let member = self.conns.get_mut(conn)?;
        let at = member.channels.iter().position(|channel| channel.audience == audience)?;
        let channel = member.channels.remove(at);
        let record = self.audiences.get_mut(audience)?;
        record.newcomers.retain(|newcomer| *newcomer != conn);
        record.apart.retain(|member| *member != conn.index());
        if channel.passage == Passage::LeavingUnheard {
            record.unheard -= 1;
        }
        self.vacate(conn, audience, channel.seat);
        // What the others have had may now be let go.
        self.touch_audience(audience);
        let join_ref = self.join_ref(conn, &channel);
        self.odd_refs.remove(&(conn, audience));
        let arrival = self.arrivals.remove(&(conn, audience));
        Some(Departed { channel: Channel { seat: Channel::NO_SEAT, ..channel }, join_ref, arrival })
    }

    /// Takes a seat from the audience, if there is one.
    fn vacate(&mut self, conn: Key<Conn>, audience: Key<Audience>, seat: u32) {
        let Some(record) = self.audiences.get_mut(audience).filter(|_| seat != Channel::NO_SEAT) else {
            return;
        };
        if let Some(moved) = record.stand(seat, self.flags[conn.index() as usize])
            && let Some(moved) = self.conns.get_at_mut(moved).and_then(|moved| moved.channel_mut(audience))
        {
            moved.seat = seat;
        }
    }

    /// A member that is leaving hears nothing more until it has left.
    pub(super) fn give_up_seat(&mut self, conn: Key<Conn>, audience: Key<Audience>) {
        let channel = self.conns.get_mut(conn).and_then(|conn| conn.channel_mut(audience));
        let (Some(channel), Some(record)) = (channel, self.audiences.get_mut(audience)) else { return };
        channel.passage = Passage::LeavingUnheard;
        let seat = std::mem::replace(&mut channel.seat, Channel::NO_SEAT);
        record.unheard += 1;
        record.newcomers.retain(|newcomer| *newcomer != conn);
        self.vacate(conn, audience, seat);
    }

    /// Gives a connection a channel, with the ref of its join.
    pub(super) fn put_channel(&mut self, conn: Key<Conn>, channel: Channel, join_ref: &JoinRef) {
        let Some(member) = self.conns.get_mut(conn) else { return };
        let packed = PackedRef::of(join_ref);
        if packed == PackedRef::ODD {
            self.odd_refs.insert((conn, channel.audience), join_ref.clone());
        }
        member.channels.push(Channel { join_ref: packed, ..channel });
    }

    /// The ref of the join that made a channel.
    pub(super) fn join_ref(&self, conn: Key<Conn>, channel: &Channel) -> JoinRef {
        let odd = || self.odd_refs.get(&(conn, channel.audience)).cloned();
        channel.join_ref.unpack().or_else(odd).expect("a ref that is no number is kept beside its channel")
    }

    /// Says how the channels and what is kept beside them fit. For [`Shard::check_invariants`].
    pub(super) fn check_channels(&self) {
        let all =
            || self.conns.iter().flat_map(|(key, conn)| conn.channels.iter().map(move |one| (key, one)));
        let odd = all().filter(|(_, channel)| channel.join_ref == PackedRef::ODD);
        let arriving =
            all().filter(|(_, channel)| matches!(channel.passage, Passage::Joining | Passage::Rejoining));
        let (mut odd_count, mut arriving_count) = (0, 0);
        for (key, channel) in odd {
            assert!(self.odd_refs.contains_key(&(key, channel.audience)), "an odd ref is kept");
            odd_count += 1;
        }
        for (key, channel) in arriving {
            assert!(self.arrivals.contains_key(&(key, channel.audience)), "a join will be answered");
            arriving_count += 1;
        }
        assert_eq!(
            (self.odd_refs.len(), self.arrivals.len()),
            (odd_count, arriving_count),
            "and no other is kept"
        );
    }

    /// Answers a push in a channel: with its join's ref.
    pub(super) fn answer(
        &mut self,
        conn: Key<Conn>,
        audience: Key<Audience>,
        reference: &str,
        status: &str,
        response: Payload<'_>,
    ) {
        self.answer_with(conn, audience, JoinRef::in_answers, reference, status, response);
    }

    /// Answers the join that made a channel. Other than a push it is told a null as it came.
    pub(super) fn answer_join(
        &mut self,
        conn: Key<Conn>,
        audience: Key<Audience>,
        reference: &str,
        status: &str,
        response: &str,
    ) {
        self.answer_with(conn, audience, JoinRef::as_json, reference, status, Payload::Json(response));
    }

    fn answer_with(
        &mut self,
        conn: Key<Conn>,
        audience: Key<Audience>,
        join_ref: fn(&JoinRef) -> &str,
        reference: &str,
        status: &str,
        response: Payload<'_>,
    ) {
        let Some(member) = self.conns.get(conn) else { return };
        let (Some(channel), serializer) = (member.channel(audience), member.serializer) else { return };
        let channel_ref = self.join_ref(conn, channel);
        self.touch_conn(conn.index());
        let out = out_of(&mut self.conns, &mut self.buffers, &mut self.flags, conn.index());
        let Some(Audience { topic, .. }) = self.audiences.get(audience) else { return };
        // Also while a newer join is under way: what is answered here was pushed before it.
        let join_ref = join_ref(&channel_ref);
        serializer.reply(out, &Outgoing { join_ref, reference, topic, event: status, payload: response });
    }

    pub(super) fn say_closed(&mut self, conn: Key<Conn>, audience: Key<Audience>, join_ref: &JoinRef) {
        self.say_ended(conn, audience, join_ref, "phx_close", &[b"{}"]);
    }

    /// Tells a client that a channel of it has ended though it did not ask for that.
    pub(super) fn say_lost(
        &mut self,
        conn: Key<Conn>,
        audience: Key<Audience>,
        join_ref: &JoinRef,
        reason: &str,
    ) {
        let payload: [&[u8]; 3] = [b"{\"reason\":\"", reason.as_bytes(), b"\"}"];
        self.say_ended(conn, audience, join_ref, "phx_error", &payload);
    }

    /// Both refs of such a message are the join's.
    fn say_ended(
        &mut self,
        conn: Key<Conn>,
        audience: Key<Audience>,
        join_ref: &JoinRef,
        event: &str,
        payload: &[&[u8]],
    ) {
        let Some(serializer) = self.conns.get(conn).map(|conn| conn.serializer) else { return };
        self.touch_conn(conn.index());
        let out = out_of(&mut self.conns, &mut self.buffers, &mut self.flags, conn.index());
        let Some(Audience { topic, .. }) = self.audiences.get(audience) else { return };
        let (join_ref, empty) = (join_ref.as_json(), Payload::Json("{}"));
        let message = Outgoing { join_ref, reference: join_ref, topic, event, payload: empty };
        serializer.push_parts(out, &message, payload);
    }

    /// Handles a push in a joined channel.
    fn channel_push<I: Io>(
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
            Answer::Echo => message.payload,
        };
        self.answer_in_order(turn, conn, audience, &message.reference, status, response);
    }

    /// Answers here, unless answers of the home are under way: then by way of the home, behind them.
    fn answer_in_order<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        conn: Key<Conn>,
        audience: Key<Audience>,
        reference: &str,
        status: &str,
        response: Payload<'_>,
    ) {
        let Some(channel) = self.conns.get_mut(conn).and_then(|conn| conn.channel_mut(audience)) else {
            return;
        };
        let asker = Asker { conn, slot: channel.slot };
        if channel.outstanding > 0
            && let Some(Audience { home: Some(home), home_shard, .. }) = self.audiences.get(audience)
        {
            channel.outstanding += 1;
            let (home, home_shard) = (*home, *home_shard);
            self.tell_home(turn, home_shard, ToHome::Bounce { home, asker, reference, status, response });
            self.pause_if_filling(turn, conn, home_shard);
        } else {
            self.answer(conn, audience, reference, status, response);
        }
    }

    /// Takes a push to the home, or answers it at once. All checks come before anything is sent.
    fn try_push<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        key: Key<Conn>,
        audience: Key<Audience>,
        message: &Message<'_>,
        event: &str,
    ) -> Result<Option<Answer>, Refusal> {
        let (Some(conn), Some(record)) = (self.conns.get_mut(key), self.audiences.get(audience)) else {
            return Ok(None);
        };
        let Some(channel) = conn.channels.iter_mut().find(|channel| channel.audience == audience) else {
            return Ok(None);
        };
        if event == "echo" {
            return Ok(Some(Answer::Echo));
        }
        let Some(home) = record.home else { return Err(Refusal::ReadOnly) };
        let home_shard = record.home_shard;
        let room = Topic::parse(&record.topic).and_then(Topic::room);
        let speaks =
            room.is_none_or(|room| conn.identity.as_ref().is_some_and(|identity| identity.may_speak(room)));
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
        let given_key;
        let mut memory = std::mem::take(&mut self.signed);
        let push = match event {
            "new_msg" if room.is_some() => {
                let Publish { body, key, reply_to } = Publish::parse(message.payload, limits.body_bytes)?;
                given_key = key.unwrap_or_default();
                let key = (!given_key.is_empty()).then_some(&*given_key);
                ToHome::Publish { home, asker, reference, body, key, reply_to }
            }
            "typing" => ToHome::Typing { home, asker },
            "history" => {
                let (from, limit) = page_wanted(message.payload)?;
                ToHome::History { home, asker, reference, from, limit }
            }
            _ => {
                let user = conn.identity.as_ref().map_or("", |identity| identity.user());
                let payload = match message.payload {
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
        if let Some(channel) = self.conns.get_mut(conn).and_then(|conn| conn.channel_mut(audience)) {
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
        let Some(channel) = self.conns.get_mut(conn).and_then(|conn| conn.channel_mut(audience)) else {
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
enum Answer {
    Own(Cow<'static, str>),
    /// The payload as it came.
    Echo,
}

/// The payload of `new_msg`.
#[derive(Debug)]
struct Publish<'a> {
    /// With its quotes, as it came.
    body: &'a str,
    key: Option<Cow<'a, str>>,
    reply_to: Option<u64>,
}

impl<'a> Publish<'a> {
    fn parse(payload: Payload<'a>, body_bytes_max: usize) -> Result<Self, Refusal> {
        let invalid = |field, message| Refusal::Invalid { field, message };
        let Payload::Json(object) = payload else { return Err(invalid("body", "a message is JSON")) };
        let [body, key, reply_to] = given(object, ["body", "key", "reply_to"]);
        let body = body
            .filter(|body| body.starts_with('"') && body.len() > 2)
            .ok_or(invalid("body", "a string that is not empty"))?;
        if body.len() - 2 > body_bytes_max {
            return Err(Refusal::TooLarge { field: "body", max_bytes: body_bytes_max });
        }
        let key = key.map(|key| json::string(key).ok_or(invalid("key", "a string"))).transpose()?;
        if key.as_deref().is_some_and(str::is_empty) {
            return Err(invalid("key", "a string that is not empty"));
        }
        if key.as_deref().is_some_and(|key| key.len() > KEY_BYTES_MAX) {
            return Err(Refusal::TooLarge { field: "key", max_bytes: KEY_BYTES_MAX });
        }
        let reply_to = reply_to
            .map(|offset| json::unsigned(offset).ok_or(invalid("reply_to", "the offset of a message")))
            .transpose()?;
        Ok(Self { body, key, reply_to })
    }
}

/// What `history` asks for.
fn page_wanted(payload: Payload<'_>) -> Result<(From, u32), Refusal> {
    let invalid = |field| Refusal::Invalid { field, message: "the offset of a message" };
    let Payload::Json(object) = payload else { return Ok((From::Latest, PAGE_MESSAGES_DEFAULT)) };
    let [before, after, limit] = given(object, ["before", "after", "limit"]);
    let limit = limit.map_or(Ok(PAGE_MESSAGES_DEFAULT), page_limit)?;
    let from = match (before, after) {
        (None, None) => From::Latest,
        (Some(before), None) => From::Before(json::unsigned(before).ok_or(invalid("before"))?),
        (None, Some(after)) => From::After(json::unsigned(after).ok_or(invalid("after"))?),
        (Some(_), Some(_)) => {
            return Err(Refusal::Invalid { field: "after", message: "not together with before" });
        }
    };
    Ok((from, limit))
}

/// A custom payload with its sender in it: as it came if it names the sender, else with `user` put in front.
///
/// *Every* `user` in it counts, under any spelling: clients differ in which of two they see.
fn signed<'a>(object: &'a str, user: &str, out: &'a mut Vec<u8>) -> Result<&'a str, Refusal> {
    if !json::is_object(object) {
        return Err(Refusal::Invalid { field: "payload", message: "an object" });
    }
    let mut named = false;
    for (key, value) in json::members(object) {
        if json::string(key).as_deref() == Some("user") {
            named = true;
            if json::string(value).as_deref() != Some(user) {
                return Err(Refusal::UserMismatch);
            }
        }
    }
    if named {
        return Ok(object);
    }
    out.clear();
    out.extend_from_slice(b"{\"user\":");
    json::push_string(out, user);
    let inside = object.trim_start().get(1..).unwrap_or_default();
    if !inside.trim_start().starts_with('}') {
        out.push(b',');
    }
    out.extend_from_slice(inside.as_bytes());
    Ok(std::str::from_utf8(out).expect("JSON and a string are UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_custom_payload_gets_its_sender_and_keeps_every_other_byte() {
        let signed = |object| signed(object, "bob", &mut Vec::new()).map(str::to_owned);
        assert_eq!(signed("{}").as_deref(), Ok(r#"{"user":"bob"}"#));
        assert_eq!(signed(" { } ").as_deref(), Ok(r#"{"user":"bob" } "#));
        assert_eq!(
            signed(r#"{ "x":1.0e5,"y":"\u00e9"}"#).as_deref(),
            Ok(r#"{"user":"bob", "x":1.0e5,"y":"\u00e9"}"#)
        );
        assert_eq!(signed(r#"{"x":1, "user":"bob"}"#).as_deref(), Ok(r#"{"x":1, "user":"bob"}"#));
        assert_eq!(signed(r#"{"user":"ann"}"#), Err(Refusal::UserMismatch));
        assert_eq!(signed(r#"{"user":"bob","us\u0065r":"ann"}"#), Err(Refusal::UserMismatch));
        assert_eq!(signed(r#"{"user":null}"#), Err(Refusal::UserMismatch));
        assert!(matches!(signed("[1]"), Err(Refusal::Invalid { .. })));
    }

    #[test]
    fn refusals_are_json_with_a_reason() {
        for refusal in [
            Refusal::Unmatched,
            Refusal::Invalid { field: "body", message: "a string" },
            Refusal::TooLarge { field: "body", max_bytes: 1 },
            Refusal::RateLimited { limit: "limits.publish_per_s", retry: RetryMs(5) },
            Refusal::Busy,
            Refusal::NoMemory,
        ] {
            let response = refusal.response();
            assert!(json::Checker::default().check(response.as_bytes()).is_ok());
            assert!(json::field(&response, "reason").is_some());
        }
    }

    #[test]
    fn a_message_says_what_is_wrong_with_it() {
        let parse = |payload| Publish::parse(Payload::Json(payload), 8);
        assert_eq!(parse(r#"{"body":"hi","key":"k","reply_to":3}"#).expect("valid").body, "\"hi\"");
        for (payload, field) in [
            ("{}", "body"),
            ("[]", "body"),
            (r#"{"body":1}"#, "body"),
            (r#"{"body":""}"#, "body"),
            (r#"{"body":"a","key":""}"#, "key"),
            (r#"{"body":"a","key":1}"#, "key"),
            (r#"{"body":"a","reply_to":-1}"#, "reply_to"),
        ] {
            assert!(
                matches!(parse(payload), Err(Refusal::Invalid { field: named, .. }) if named == field),
                "{payload}"
            );
        }
        assert_eq!(parse(r#"{"body":"12345678"}"#).expect("at the limit").body.len(), 10);
        assert!(matches!(
            parse(r#"{"body":"123456789"}"#),
            Err(Refusal::TooLarge { field: "body", max_bytes: 8 })
        ));
    }
}

//! What a client's messages do: `Phoenix.Socket` and `Phoenix.Channel`, seen from one connection.
//!
//! A channel is a topic that a connection has joined. While it is on its way in or out, the
//! connection is parked by the next message for that topic; everything else is answered in the
//! order in which it came, also where the room's home is another shard.
//!
//! How a channel begins is in `join`, what is said in it in `push`; here is what tells them apart,
//! and how it ends.
//!
//! Source: `wire` as recorded from Phoenix 1.8 (`docs/protocol.md`), `Phoenix.Socket.handle_in/4`.

use super::audience::Audience;
use super::channels::{Arrival, Channel, Passage};
use super::conn::{Conn, Flow};
use super::home::Home;
use super::message::{Asker, ToHome};
use super::output::out_of;
use super::refs::{JoinRef, PackedRef};
use super::refusal::Refusal;
use super::{Io, Shard, Turn};
use crate::base::arena::Key;
use crate::room::presence::Slot;
use crate::link::topic;
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

impl Shard {
    /// Handles one message of a client.
    pub(super) fn message<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        conn: Key<Conn>,
        opcode: Opcode,
        bytes: &[u8],
    ) -> Flow {
        if !self.conns.contains(conn) {
            return Flow::Next;
        }
        let serializer = self.serializer_of(conn.index());
        let decoded = match opcode {
            Opcode::Binary => self.decoder.binary(bytes, serializer),
            _ => self.decoder.text(bytes, serializer),
        };
        let flow = if let Ok(message) = decoded {
            self.dispatch(turn, conn, &message)
        } else {
            self.metrics.malformed += 1;
            self.close(turn, conn, CloseCode::Internal, "");
            Flow::Next
        };
        // One that is parked is offered again, here or on another shard: it counts there.
        if flow == Flow::Next {
            self.metrics.messages_in += 1;
        }
        flow
    }

    fn dispatch<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        conn: Key<Conn>,
        message: &Message<'_>,
    ) -> Flow {
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
                Some("phx_join") if self.goes_elsewhere(turn, conn, &topic) => Flow::Park,
                Some("phx_join") => self.join(turn, conn, message, &topic),
                Some("phx_leave") => {
                    self.answer_alone(conn, message, &message.join_ref, "ok", "{}")
                }
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
            // An event that cannot be read: the answer says so.
            None if message.payload.is_err() => {
                self.channel_push(turn, conn, audience, message, "");
            }
            _ => self.crash_channel(conn, audience, "channel_crash"),
        }
        Flow::Next
    }

    /// Answers for no channel, echoing the topic as it came.
    pub(super) fn answer_alone(
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
            self.reply(
                conn,
                &Outgoing { join_ref, reference, topic: &topic, event: status, payload },
            );
        } else if self.conns.contains(conn) {
            let serializer = self.serializer_of(conn.index());
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

    pub(super) fn answer_unmatched(&mut self, conn: Key<Conn>, message: &Message<'_>) -> Flow {
        self.answer_alone(conn, message, "null", "error", &Refusal::Unmatched.response())
    }

    fn leave<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        conn: Key<Conn>,
        audience: Key<Audience>,
        reference: &str,
    ) {
        let Some(channel) = self.conns.get_mut(conn).and_then(|conn| conn.channel_mut(audience))
        else {
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

    /// The home has let the member go: it has been told everything that was said until then, and
    /// the channel ends.
    pub(super) fn left(
        &mut self,
        conn: Key<Conn>,
        audience: Key<Audience>,
        slot: Slot,
        reference: &str,
    ) {
        let Some(channel) = self.conns.get(conn).and_then(|conn| conn.channel(audience)) else {
            return;
        };
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
    pub(super) fn crash_channel(
        &mut self,
        conn: Key<Conn>,
        audience: Key<Audience>,
        reason: &'static str,
    ) {
        let Some(record) = self.audiences.get(audience) else { return };
        let Some(channel) = self.conns.get(conn).and_then(|conn| conn.channel(audience)) else {
            return;
        };
        let (home, home_shard) = (record.home, record.home_shard);
        let join_ref = self.join_ref(conn, channel);
        self.say_lost(conn, audience, &join_ref, reason);
        let Some(Departed { channel, arrival, .. }) = self.stand_up(conn, audience) else { return };
        match (channel.passage, arrival) {
            // A newer join is under way, and will be answered.
            (Passage::Rejoining, Some(arrival)) => {
                // Without the old slot: answers to what was asked in the channel that has ended are
                // not for this one.
                self.put_channel(
                    conn,
                    Channel::joining(audience, arrival.visible),
                    &arrival.join_ref,
                );
                self.arrivals.insert((conn, audience), arrival);
            }
            // The audience may be gone by the time the home is told: the last of it may be this
            // one.
            (Passage::Over, _) => {
                let asker = Asker { conn, slot: channel.slot };
                self.dismissed.extend(home.map(|home| Dismissed { home, home_shard, asker }));
            }
            _ => {
                unreachable!(
                    "only a member loses its place, and one that leaves keeps it until it has left"
                )
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
            // If a passage is under way, its answer says it too: one to a join that finds nobody is
            // a leave.
            if channel.passage == Passage::Over {
                self.leave_home(turn, audience, Asker { conn, slot: channel.slot }, None);
            }
            self.drop_if_deserted(audience);
        }
    }

    pub(super) fn leave_home<I: Io>(
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

    /// Takes a channel from its connection, with what is kept beside it, and its seat from the
    /// audience.
    pub(super) fn stand_up(
        &mut self,
        conn: Key<Conn>,
        audience: Key<Audience>,
    ) -> Option<Departed> {
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
        let Some(record) = self.audiences.get_mut(audience).filter(|_| seat != Channel::NO_SEAT)
        else {
            return;
        };
        if let Some(moved) = record.stand(seat, self.flags[conn.index() as usize])
            && let Some(moved) =
                self.conns.get_at_mut(moved).and_then(|moved| moved.channel_mut(audience))
        {
            moved.seat = seat;
        }
    }

    /// A member that is leaving hears nothing more until it has left.
    pub(super) fn give_up_seat(&mut self, conn: Key<Conn>, audience: Key<Audience>) {
        let channel = self.conns.get_mut(conn).and_then(|conn| conn.channel_mut(audience));
        let (Some(channel), Some(record)) = (channel, self.audiences.get_mut(audience)) else {
            return;
        };
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
        channel
            .join_ref
            .unpack()
            .or_else(odd)
            .expect("a ref that is no number is kept beside its channel")
    }

    /// Says how the channels and what is kept beside them fit. For [`Shard::check_invariants`].
    pub(super) fn check_channels(&self) {
        let all = || {
            self.conns
                .iter()
                .flat_map(|(key, conn)| conn.channels.iter().map(move |one| (key, one)))
        };
        let odd = all().filter(|(_, channel)| channel.join_ref == PackedRef::ODD);
        let arriving = all().filter(|(_, channel)| {
            matches!(channel.passage, Passage::Joining | Passage::Rejoining)
        });
        let (mut odd_count, mut arriving_count) = (0, 0);
        for (key, channel) in odd {
            assert!(self.odd_refs.contains_key(&(key, channel.audience)), "an odd ref is kept");
            odd_count += 1;
        }
        for (key, channel) in arriving {
            assert!(
                self.arrivals.contains_key(&(key, channel.audience)),
                "a join will be answered"
            );
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
        self.answer_with(
            conn,
            audience,
            JoinRef::as_json,
            reference,
            status,
            Payload::Json(response),
        );
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
        let Some(channel) = member.channel(audience) else { return };
        let serializer = self.serializer_of(conn.index());
        let channel_ref = self.join_ref(conn, channel);
        self.touch_conn(conn.index());
        let out = out_of(&mut self.conns, &mut self.buffers, &mut self.flags, conn.index());
        let Some(Audience { topic, .. }) = self.audiences.get(audience) else { return };
        // Also while a newer join is under way: what is answered here was pushed before it.
        let join_ref = join_ref(&channel_ref);
        serializer
            .reply(out, &Outgoing { join_ref, reference, topic, event: status, payload: response });
    }

    pub(super) fn say_closed(
        &mut self,
        conn: Key<Conn>,
        audience: Key<Audience>,
        join_ref: &JoinRef,
    ) {
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
        if !self.conns.contains(conn) {
            return;
        }
        let serializer = self.serializer_of(conn.index());
        self.touch_conn(conn.index());
        let out = out_of(&mut self.conns, &mut self.buffers, &mut self.flags, conn.index());
        let Some(Audience { topic, .. }) = self.audiences.get(audience) else { return };
        let (join_ref, empty) = (join_ref.as_json(), Payload::Json("{}"));
        let message = Outgoing { join_ref, reference: join_ref, topic, event, payload: empty };
        serializer.push_parts(out, &message, payload);
    }
}

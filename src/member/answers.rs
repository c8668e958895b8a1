//! What a client is told about its channels: answers, ends.

use super::refs::JoinRef;
use super::{Dispatch, Members};
use crate::link::ids::{AudienceKey, ConnKey};
use crate::link::refusal::Refusal;
use crate::wire::phx::{Message, Outgoing, Payload};

impl Members {
    /// Answers for no channel, echoing the topic as it came.
    pub(super) fn answer_alone<'m>(
        &mut self,
        conn: ConnKey,
        message: &Message<'_>,
        join_ref: &str,
        status: &str,
        response: &str,
    ) -> Dispatch<'m> {
        let reference = &message.reference;
        if let Some(topic) = message.topic() {
            let payload = Payload::Json(response);
            let reply = Outgoing { join_ref, reference, topic: &topic, event: status, payload };
            self.conns.reply(conn, &reply);
        } else if self.conns.contains(conn) {
            let serializer = self.conns.serializer(conn.index());
            serializer.reply_to_topic_json(
                self.conns.output(conn.index()),
                join_ref,
                reference,
                &message.topic_json,
                status,
                response,
            );
        }
        Dispatch::Done
    }

    /// Answers that nobody listens to the topic.
    pub(super) fn answer_unmatched<'m>(
        &mut self,
        conn: ConnKey,
        message: &Message<'_>,
    ) -> Dispatch<'m> {
        self.answer_alone(conn, message, "null", "error", &Refusal::Unmatched.response())
    }

    /// Answers a push in a channel: with its join's ref.
    pub(super) fn answer(
        &mut self,
        conn: ConnKey,
        audience: AudienceKey,
        reference: &str,
        status: &str,
        response: Payload<'_>,
    ) {
        self.answer_with(conn, audience, JoinRef::in_answers, reference, status, response);
    }

    /// Answers the join that made a channel. Unlike in the answer to a push, a ref of null is sent
    /// as it came.
    pub(super) fn answer_join(
        &mut self,
        conn: ConnKey,
        audience: AudienceKey,
        reference: &str,
        status: &str,
        response: &str,
    ) {
        let response = Payload::Json(response);
        self.answer_with(conn, audience, JoinRef::as_json, reference, status, response);
    }

    fn answer_with(
        &mut self,
        conn: ConnKey,
        audience: AudienceKey,
        join_ref: fn(&JoinRef) -> &str,
        reference: &str,
        status: &str,
        response: Payload<'_>,
    ) {
        let Some(channel) = self.channel(conn, audience) else { return };
        let channel_ref = self.join_ref(conn, channel);
        let serializer = self.conns.serializer(conn.index());
        let out = self.conns.output(conn.index());
        let Some(audience) = self.audiences.get(audience) else { return };
        // Also while a newer join is under way: what is answered here was pushed before it.
        let (join_ref, topic) = (join_ref(&channel_ref), &*audience.topic);
        let reply = Outgoing { join_ref, reference, topic, event: status, payload: response };
        serializer.reply(out, &reply);
    }

    /// Tells a client that its channel has ended, as it asked.
    pub(super) fn say_closed(&mut self, conn: ConnKey, audience: AudienceKey, join_ref: &JoinRef) {
        self.say_ended(conn, audience, join_ref, "phx_close", &[b"{}"]);
    }

    /// Tells one client an event in its channel, such as why that is about to be closed:
    /// `phx_close` says no reason. The payload is JSON.
    pub(super) fn say_alone(
        &mut self,
        conn: ConnKey,
        audience: AudienceKey,
        join_ref: &JoinRef,
        (event, payload): (&str, &str),
    ) {
        let Some(audience) = self.audiences.get(audience) else { return };
        let message = Outgoing {
            join_ref: join_ref.as_json(),
            reference: "null",
            topic: &audience.topic,
            event,
            payload: Payload::Json(payload),
        };
        self.conns.push(conn, &message);
    }

    /// Tells a client that its channel has ended without its asking.
    pub(super) fn say_lost(
        &mut self,
        conn: ConnKey,
        audience: AudienceKey,
        join_ref: &JoinRef,
        reason: &str,
    ) {
        let payload: [&[u8]; 3] = [b"{\"reason\":\"", reason.as_bytes(), b"\"}"];
        self.say_ended(conn, audience, join_ref, "phx_error", &payload);
    }

    /// Both refs of such a message are the join's.
    fn say_ended(
        &mut self,
        conn: ConnKey,
        audience: AudienceKey,
        join_ref: &JoinRef,
        event: &str,
        payload: &[&[u8]],
    ) {
        if !self.conns.contains(conn) {
            return;
        }
        let serializer = self.conns.serializer(conn.index());
        let out = self.conns.output(conn.index());
        let Some(audience) = self.audiences.get(audience) else { return };
        let (join_ref, topic, empty) = (join_ref.as_json(), &*audience.topic, Payload::Json("{}"));
        let message = Outgoing { join_ref, reference: join_ref, topic, event, payload: empty };
        serializer.push_parts(out, &message, payload);
    }
}

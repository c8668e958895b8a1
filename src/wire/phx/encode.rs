//! From the server's messages to bytes, appended to the caller's buffer as finished WebSocket
//! frames.

use std::borrow::Cow;

use super::Payload;
use crate::wire::json::{self, push_string};
use crate::wire::ws::frame::{Opcode, begin_frame, finish_frame};

/// The encodings that a client can ask for by `vsn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serializer {
    /// `vsn=1.0.x` or none: JSON objects. No binary.
    V1,
    /// `vsn=2.0.x`: JSON arrays, and a binary form for binary payloads.
    V2,
}

/// A message from the server. The refs are JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing<'a> {
    /// The join's ref; `null` in a broadcast.
    pub join_ref: &'a str,
    /// The ref of the push that is answered; `null` if it answers none.
    pub reference: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// The event; in an answer the status.
    pub event: &'a str,
    /// The payload; in an answer the response.
    pub payload: Payload<'a>,
}

impl Serializer {
    /// What `vsn` asks for, by Phoenix' rules `~> 1.0.0` and `~> 2.0.0`; no `vsn` is 1.
    #[must_use]
    pub fn from_vsn(vsn: Option<&str>) -> Option<Self> {
        let Some(vsn) = vsn else { return Some(Self::V1) };
        let (of, patch) = if let Some(patch) = vsn.strip_prefix("1.0.") {
            (Self::V1, patch)
        } else {
            (Self::V2, vsn.strip_prefix("2.0.")?)
        };
        let is_number = !patch.is_empty()
            && patch.len() <= 9
            && patch.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then_some(of)
    }

    /// Appends a broadcast: what every member of a room gets. V1 has no binary; its clients get
    /// nothing of it.
    pub fn broadcast(self, out: &mut Vec<u8>, topic: &str, event: &str, payload: Payload<'_>) {
        self.push(out, &Outgoing { join_ref: "null", reference: "null", topic, event, payload });
    }

    /// Appends a push to one client.
    pub fn push(self, out: &mut Vec<u8>, message: &Outgoing<'_>) {
        match (self, message.payload) {
            (_, Payload::Json(payload)) => self.json(out, message, &[payload.as_bytes()]),
            (Self::V2, Payload::Binary(data)) => binary_push(out, message, data),
            (Self::V1, Payload::Binary(_)) => {}
        }
    }

    /// Appends a JSON push whose payload is the concatenation of `parts`.
    pub fn push_parts(self, out: &mut Vec<u8>, message: &Outgoing<'_>, parts: &[&[u8]]) {
        self.json(out, message, parts);
    }

    /// Appends an answer: `phx_reply` with `message.event` as the status and `message.payload` as
    /// the response.
    pub fn reply(self, out: &mut Vec<u8>, message: &Outgoing<'_>) {
        let Outgoing { event: status, payload, .. } = *message;
        match (self, payload) {
            (_, Payload::Json(response)) => self.json(
                out,
                &Outgoing { event: "phx_reply", ..*message },
                &[
                    b"{\"response\":",
                    response.as_bytes(),
                    b",\"status\":\"",
                    status.as_bytes(),
                    b"\"}",
                ],
            ),
            (Self::V2, Payload::Binary(data)) => binary_reply(out, message, data),
            (Self::V1, Payload::Binary(_)) => {
                self.reply(out, &Outgoing { payload: Payload::Json("{}"), ..*message });
            }
        }
    }

    /// Appends an answer for a topic that need not be a string: it is echoed as the JSON it came
    /// as.
    pub fn reply_to_topic_json(
        self,
        out: &mut Vec<u8>,
        join_ref: &str,
        reference: &str,
        topic_json: &str,
        status: &str,
        response: &str,
    ) {
        let frame = begin_frame(out);
        let text = match self {
            Self::V2 => format!(
                r#"[{join_ref},{reference},{topic_json},"phx_reply",{{"response":{response},"status":"{status}"}}]"#
            ),
            Self::V1 => format!(
                r#"{{"event":"phx_reply","payload":{{"response":{response},"status":"{status}"}},"ref":{reference},"topic":{topic_json}}}"#
            ),
        };
        out.extend_from_slice(text.as_bytes());
        finish_frame(out, frame, Opcode::Text);
    }

    fn json(self, out: &mut Vec<u8>, message: &Outgoing<'_>, payload: &[&[u8]]) {
        let frame = begin_frame(out);
        match self {
            Self::V2 => {
                out.push(b'[');
                out.extend_from_slice(message.join_ref.as_bytes());
                out.push(b',');
                out.extend_from_slice(message.reference.as_bytes());
                out.push(b',');
                push_string(out, message.topic);
                out.push(b',');
                push_string(out, message.event);
                out.push(b',');
                for part in payload {
                    out.extend_from_slice(part);
                }
                out.push(b']');
            }
            Self::V1 => {
                out.extend_from_slice(b"{\"event\":");
                push_string(out, message.event);
                out.extend_from_slice(b",\"payload\":");
                for part in payload {
                    out.extend_from_slice(part);
                }
                out.extend_from_slice(b",\"ref\":");
                out.extend_from_slice(message.reference.as_bytes());
                out.extend_from_slice(b",\"topic\":");
                push_string(out, message.topic);
                out.push(b'}');
            }
        }
        finish_frame(out, frame, Opcode::Text);
    }
}

/// The kinds of a server's binary messages.
const PUSH: u8 = 0;
const REPLY: u8 = 1;
const BROADCAST: u8 = 2;

/// `00 jl tl el` `join_ref` topic event data; without a `join_ref` it is a broadcast, `02 tl el`
/// topic event data.
fn binary_push(out: &mut Vec<u8>, message: &Outgoing<'_>, data: &[u8]) {
    let frame = begin_frame(out);
    if message.join_ref == "null" {
        out.push(BROADCAST);
        fields(out, [message.topic, message.event]);
    } else {
        out.push(PUSH);
        fields(out, [&*raw(message.join_ref), message.topic, message.event]);
    }
    out.extend_from_slice(data);
    finish_frame(out, frame, Opcode::Binary);
}

/// `01 jl rl tl sl` `join_ref` ref topic status data.
fn binary_reply(out: &mut Vec<u8>, message: &Outgoing<'_>, data: &[u8]) {
    let frame = begin_frame(out);
    out.push(REPLY);
    let (join_ref, reference) = (raw(message.join_ref), raw(message.reference));
    fields(out, [&*join_ref, &reference, message.topic, message.event]);
    out.extend_from_slice(data);
    finish_frame(out, frame, Opcode::Binary);
}

/// A ref as binary messages carry it: the string that it stands for; other JSON as its text, and
/// `null` as nothing. Without escapes it lies there already.
fn raw(reference: &str) -> Cow<'_, str> {
    match reference {
        "null" => Cow::Borrowed(""),
        _ => json::string(reference).unwrap_or(Cow::Borrowed(reference)),
    }
}

/// The lengths of all fields, a byte each, then the fields. Refs, topics and events are bounded far
/// below 256 bytes before they get here.
fn fields<const N: usize>(out: &mut Vec<u8>, fields: [&str; N]) {
    for field in fields {
        out.push(
            u8::try_from(field.len()).expect("refs, topics and events are bounded by limits.rs"),
        );
    }
    for field in fields {
        out.extend_from_slice(field.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ws::frame::frame_bytes_at;

    /// The payload of the only frame in `out`.
    fn payload_of(out: &[u8]) -> &[u8] {
        assert_eq!(frame_bytes_at(out), out.len(), "one frame");
        &out[if out.len() < 128 { 2 } else { 4 }..]
    }

    const REPLY: Outgoing<'static> = Outgoing {
        join_ref: "\"1\"",
        reference: "\"2\"",
        topic: "room:b",
        event: "ok",
        payload: Payload::Json("{\"a\":1}"),
    };

    #[test]
    fn an_answer_in_v2_is_the_array_that_phoenix_sends() {
        let mut out = Vec::new();
        Serializer::V2.reply(&mut out, &REPLY);
        assert_eq!(
            payload_of(&out),
            br#"["1","2","room:b","phx_reply",{"response":{"a":1},"status":"ok"}]"#
        );
    }

    #[test]
    fn an_answer_in_v1_is_the_object_that_phoenix_sends() {
        let mut out = Vec::new();
        Serializer::V1.reply(&mut out, &REPLY);
        assert_eq!(payload_of(&out), br#"{"event":"phx_reply","payload":{"response":{"a":1},"status":"ok"},"ref":"2","topic":"room:b"}"#);
    }

    #[test]
    fn binary_messages_are_as_recorded() {
        let mut out = Vec::new();
        Serializer::V2.reply(
            &mut out,
            &Outgoing { reference: "\"5\"", payload: Payload::Binary(b"\x00\xff\xfe"), ..REPLY },
        );
        assert_eq!(payload_of(&out), b"\x01\x01\x01\x06\x0215room:bok\x00\xff\xfe");
        out.clear();
        Serializer::V2.broadcast(&mut out, "room:b", "raw", Payload::Binary(b"\x00\xff\xfe"));
        assert_eq!(payload_of(&out), b"\x02\x06\x03room:braw\x00\xff\xfe");
        out.clear();
        Serializer::V2.push(
            &mut out,
            &Outgoing {
                join_ref: "\"12\"",
                topic: "wire:b",
                event: "pushed",
                payload: Payload::Binary(b"\x01\x02"),
                ..REPLY
            },
        );
        assert_eq!(payload_of(&out), b"\x00\x02\x06\x0612wire:bpushed\x01\x02");
        out.clear();
        Serializer::V1.broadcast(&mut out, "room:b", "raw", Payload::Binary(b"\x00"));
        assert!(out.is_empty(), "V1 has no binary");
    }

    #[test]
    fn a_ref_in_a_binary_message_is_the_string_itself() {
        for (json, bytes) in [
            (r#""a\"b""#, &b"a\"b"[..]),
            (r#""\\""#, b"\\"),
            (r#""\u0000\n""#, b"\0\n"),
            (r#""\ud83d\ude00""#, "\u{1f600}".as_bytes()),
            ("\"\u{e9}\"", "\u{e9}".as_bytes()),
            (r#""""#, b""),
            ("null", b""),
            ("7", b"7"),
            (r#"{"a":"b"}"#, br#"{"a":"b"}"#),
        ] {
            let mut out = Vec::new();
            let payload = Payload::Binary(b"!");
            Serializer::V2
                .reply(&mut out, &Outgoing { join_ref: json, reference: json, payload, ..REPLY });
            let length = u8::try_from(bytes.len()).unwrap();
            let lengths = [1, length, length, 6, 2];
            assert_eq!(payload_of(&out), [&lengths, bytes, bytes, b"room:bok!"].concat(), "{json}");
        }
    }

    #[test]
    fn vsn_follows_phoenix_rules() {
        for (vsn, expected) in [
            (None, Some(Serializer::V1)),
            (Some("1.0.0"), Some(Serializer::V1)),
            (Some("1.0.9"), Some(Serializer::V1)),
            (Some("2.0.0"), Some(Serializer::V2)),
            (Some("2.0.5"), Some(Serializer::V2)),
            (Some("1.1.0"), None),
            (Some("2.1.0"), None),
            (Some("3.0.0"), None),
            (Some("2.0"), None),
            (Some("2.0."), None),
            (Some("abc"), None),
            (Some(""), None),
            (Some("2.0.0-rc.1"), None),
        ] {
            assert_eq!(Serializer::from_vsn(vsn), expected, "{vsn:?}");
        }
    }
}

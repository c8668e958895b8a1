//! From a client's bytes to a [`Message`].

use std::borrow::Cow;

use super::{Malformed, Message, Payload, Serializer};
use crate::wire::json::{self, Checker};

/// Decodes messages; keeps the JSON checker's buffers warm.
#[derive(Default)]
pub struct Decoder {
    checker: Checker,
}

impl Decoder {
    /// Decodes a text message in the encoding that the client asked for by `vsn`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if it is not JSON, or not of the encoding's shape.
    pub fn text<'a>(
        &mut self,
        bytes: &'a [u8],
        serializer: Serializer,
    ) -> Result<Message<'a>, Malformed> {
        let text = self.checker.check(bytes).map_err(|json::Malformed| Malformed)?;
        match serializer {
            Serializer::V2 => array(text),
            Serializer::V1 => object(text),
        }
    }

    /// Decodes a binary message. V1 clients have no binary encoding; what they send is read as
    /// text, whatever the frame says.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the header is truncated or of another kind than a push.
    pub fn binary<'a>(
        &mut self,
        bytes: &'a [u8],
        serializer: Serializer,
    ) -> Result<Message<'a>, Malformed> {
        match serializer {
            Serializer::V1 => self.text(bytes, serializer),
            Serializer::V2 => push(bytes),
        }
    }
}

/// `[join_ref, ref, topic, event, payload]`; further elements are ignored.
fn array(text: &str) -> Result<Message<'_>, Malformed> {
    let mut elements = json::elements(text);
    let mut next = || elements.next().ok_or(Malformed);
    Ok(Message {
        join_ref: Cow::Borrowed(next()?),
        reference: Cow::Borrowed(next()?),
        topic_json: Cow::Borrowed(next()?),
        event_json: Cow::Borrowed(next()?),
        payload: Payload::Json(next()?),
    })
}

/// `{"topic", "event", "payload", "ref"}`, and `join_ref` where the client has one.
fn object(text: &str) -> Result<Message<'_>, Malformed> {
    let field = |name| json::field(text, name).ok_or(Malformed);
    Ok(Message {
        join_ref: Cow::Borrowed(json::field(text, "join_ref").unwrap_or("null")),
        reference: Cow::Borrowed(field("ref")?),
        topic_json: Cow::Borrowed(field("topic")?),
        event_json: Cow::Borrowed(field("event")?),
        payload: Payload::Json(field("payload")?),
    })
}

/// The kind byte of a client's binary push; the only kind that a client sends.
const PUSH: u8 = 0;

/// `00 jl rl tl el`, then `join_ref`, ref, topic, event, data.
fn push(bytes: &[u8]) -> Result<Message<'_>, Malformed> {
    let [PUSH, lengths @ ..] = bytes else { return Err(Malformed) };
    let (lengths, mut rest) = lengths.split_first_chunk::<4>().ok_or(Malformed)?;
    let mut next = |length: u8| {
        let (field, after) = rest.split_at_checked(usize::from(length)).ok_or(Malformed)?;
        rest = after;
        simdutf8::basic::from_utf8(field).map_err(|_| Malformed)
    };
    let [join_ref, reference, topic, event] =
        [next(lengths[0])?, next(lengths[1])?, next(lengths[2])?, next(lengths[3])?].map(as_json);
    Ok(Message {
        join_ref,
        reference,
        topic_json: topic,
        event_json: event,
        payload: Payload::Binary(rest),
    })
}

fn as_json(text: &str) -> Cow<'static, str> {
    let mut out = Vec::with_capacity(text.len() + 2);
    json::push_string(&mut out, text);
    Cow::Owned(String::from_utf8(out).expect("a JSON string of UTF-8 is UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, serializer: Serializer, expected: Option<[&str; 5]>) {
        let decoded = Decoder::default().text(text.as_bytes(), serializer).ok().map(|message| {
            let Payload::Json(payload) = message.payload else { panic!("text has JSON payloads") };
            [message.join_ref, message.reference, message.topic_json, message.event_json]
                .map(Cow::into_owned)
                .into_iter()
                .chain([payload.to_owned()])
                .collect::<Vec<_>>()
        });
        assert_eq!(
            decoded.as_deref(),
            expected.map(|fields| fields.map(str::to_owned)).as_ref().map(<[String; 5]>::as_slice),
            "{text}"
        );
    }

    #[test]
    fn a_v2_message_is_an_array_of_five_or_more() {
        check(
            r#"["1","2","room:a","new_msg",{"body":"hi"}]"#,
            Serializer::V2,
            Some(["\"1\"", "\"2\"", "\"room:a\"", "\"new_msg\"", "{\"body\":\"hi\"}"]),
        );
        check(
            r#" [null , 7,5,null, [1, 2] ,"more"] "#,
            Serializer::V2,
            Some(["null", "7", "5", "null", "[1, 2]"]),
        );
        for malformed in
            ["", "{}", "[]", "[1,2,3,4]", "1", "[1,2,3,4,5", r#"["1","2","t","e",{"a":"\ud800"}]"#]
        {
            check(malformed, Serializer::V2, None);
        }
    }

    #[test]
    fn a_v1_message_is_an_object_with_four_keys() {
        check(
            r#"{"topic":"t","event":"e","payload":{},"ref":"1"}"#,
            Serializer::V1,
            Some(["null", "\"1\"", "\"t\"", "\"e\"", "{}"]),
        );
        check(
            r#"{"join_ref":"3","topic":"t","event":"e","payload":{},"ref":null}"#,
            Serializer::V1,
            Some(["\"3\"", "null", "\"t\"", "\"e\"", "{}"]),
        );
        check(r#"{"topic":"t","event":"e","payload":{}}"#, Serializer::V1, None);
        check("[null,\"1\",\"t\",\"e\",{}]", Serializer::V1, None);
    }

    #[test]
    fn a_binary_push_has_four_lengths_and_the_rest_is_data() {
        let bytes = b"\x00\x01\x01\x06\x0415room:becho\x00\xff\xfe";
        let message = Decoder::default().binary(bytes, Serializer::V2).expect("a push");
        assert_eq!(message.join_ref, "\"1\"");
        assert_eq!(message.reference, "\"5\"");
        assert_eq!(message.topic().as_deref(), Some("room:b"));
        assert_eq!(message.event().as_deref(), Some("echo"));
        assert_eq!(message.payload, Payload::Binary(b"\x00\xff\xfe"));
        for cut in 0..bytes.len() - 3 {
            assert_eq!(
                Decoder::default().binary(&bytes[..cut], Serializer::V2),
                Err(Malformed),
                "cut at {cut}"
            );
        }
        assert_eq!(
            Decoder::default().binary(b"\x01\x00\x00\x00\x00", Serializer::V2),
            Err(Malformed)
        );
        assert_eq!(
            Decoder::default().binary(b"\x00\x01\x00\x00\x00\xff", Serializer::V2),
            Err(Malformed)
        );
    }
}

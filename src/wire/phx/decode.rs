//! From a client's bytes to a [`Message`].

use std::borrow::Cow;

use super::{Malformed, Message, Payload, Serializer, Unfit};
use crate::limits::{JSON_DEPTH_MAX, REF_BYTES_MAX};
use crate::wire::json::{self, Checker, Excess, Flaw};

/// Decodes messages; keeps the JSON checker's buffers warm.
#[derive(Default)]
pub struct Decoder {
    checker: Checker,
}

impl Decoder {
    /// Decodes a text message in the encoding that the client asked for by `vsn`.
    ///
    /// What is not taken is only looked for in the five fields: further elements are ignored.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if it is not JSON, or not of the encoding's shape.
    pub fn text<'a>(
        &mut self,
        text: &'a str,
        serializer: Serializer,
    ) -> Result<Message<'a>, Malformed> {
        let is_fit = match self.checker.check(text) {
            Ok(()) => true,
            Err(Flaw::Malformed) => return Err(Malformed),
            Err(Flaw::Excess(_)) => false,
        };
        let mut message = match serializer {
            Serializer::V2 => array(text),
            Serializer::V1 => object(text),
        }?;
        if !is_fit && let Some((field, excess)) = self.find_excess(&message)? {
            message.payload = Err(Unfit::Json { field, excess });
        }
        bound(&mut message);
        Ok(message)
    }

    /// The first field of a well-formed message that has what is not taken.
    fn find_excess(
        &mut self,
        message: &Message<'_>,
    ) -> Result<Option<(&'static str, Excess)>, Malformed> {
        let payload =
            if let Ok(Payload::Json(payload)) = message.payload { payload } else { "null" };
        for (field, text) in [
            ("join_ref", &*message.join_ref),
            ("ref", &message.reference),
            ("topic", &message.topic_json),
            ("event", &message.event_json),
            ("payload", payload),
        ] {
            // The envelope is one level of the nesting.
            if json::depth(text) >= u32::from(JSON_DEPTH_MAX) {
                return Ok(Some((field, Excess::Depth)));
            }
            match self.checker.check(text) {
                Ok(()) => {}
                Err(Flaw::Excess(excess)) => return Ok(Some((field, excess))),
                Err(Flaw::Malformed) => return Err(Malformed),
            }
        }
        Ok(None)
    }

    /// Decodes a binary message. V1 clients have no binary encoding; what they send is read as
    /// text, whatever the frame says.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the header is truncated or of another kind than a push, or the text is
    /// none.
    pub fn binary<'a>(
        &mut self,
        bytes: &'a [u8],
        serializer: Serializer,
    ) -> Result<Message<'a>, Malformed> {
        match serializer {
            Serializer::V1 => {
                let text = simdutf8::basic::from_utf8(bytes).map_err(|_| Malformed)?;
                self.text(text, serializer)
            }
            Serializer::V2 => {
                let mut message = push(bytes)?;
                bound(&mut message);
                Ok(message)
            }
        }
    }
}

/// Refuses the payload of a message if a ref is too long to be kept, and gives refs the one
/// spelling that they have when they come as bytes: so refs are the same if their texts are.
fn bound(message: &mut Message<'_>) {
    for (field, text) in [("join_ref", &mut message.join_ref), ("ref", &mut message.reference)] {
        respell(text);
        if text.len() > REF_BYTES_MAX && message.payload.is_ok() {
            message.payload = Err(Unfit::RefTooLong { field });
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
        payload: Ok(Payload::Json(next()?)),
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
        payload: Ok(Payload::Json(field("payload")?)),
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
        payload: Ok(Payload::Binary(rest)),
    })
}

/// Writes a string of JSON with no escapes in it but those that must be. It is never longer.
fn respell(text: &mut Cow<'_, str>) {
    // One without escapes is borrowed, and stays as it is.
    let Some(Cow::Owned(string)) = json::string(text) else { return };
    *text = as_json(&string);
}

fn as_json(text: &str) -> Cow<'static, str> {
    let mut out = Vec::with_capacity(text.len() + 2);
    json::push_string(&mut out, text);
    Cow::Owned(String::from_utf8(out).expect("a JSON string of UTF-8 is UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::phx::Outgoing;

    #[track_caller]
    fn check(text: &str, serializer: Serializer, expected: Option<[&str; 5]>) {
        let decoded = Decoder::default().text(text, serializer).ok().map(|message| {
            let Ok(Payload::Json(payload)) = message.payload else { panic!("it is JSON: {text}") };
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
        for malformed in [
            "",
            "{}",
            "[]",
            "[1,2,3,4]",
            "1",
            "[1,2,3,4,5",
            r#"["1","2","t","e",{"a":"\ud800"}"#,
            r#"["1","2","t","\ud800"]"#,
        ] {
            check(malformed, Serializer::V2, None);
        }
    }

    /// Five fields, of which this one is not taken, in both encodings; the others are as they came.
    #[track_caller]
    fn check_unfit(fields: [&str; 5], expected: Option<Unfit>) {
        let [join_ref, reference, topic, event, payload] = fields;
        let array = format!("[{}]", fields.join(","));
        let object = format!(
            r#"{{"join_ref":{join_ref},"ref":{reference},"topic":{topic},"event":{event},"payload":{payload}}}"#
        );
        for (text, serializer) in [(array, Serializer::V2), (object, Serializer::V1)] {
            let mut decoder = Decoder::default();
            let message = decoder.text(&text, serializer).expect("a message");
            assert_eq!(message.payload.err(), expected, "{text:.100}");
            let others =
                [message.join_ref, message.reference, message.topic_json, message.event_json];
            assert_eq!(others, fields[..4], "{text:.100}");
            for cut in 0..text.len() {
                assert_eq!(decoder.text(&text[..cut], serializer), Err(Malformed));
            }
        }
    }

    #[test]
    fn well_formed_json_that_is_not_taken_leaves_a_message_that_can_be_answered() {
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let (deepest, too_deep, digits) = (deep(127), deep(128), "9".repeat(400));
        let good = ["\"1\"", "\"2\"", "\"t\"", "\"e\"", "{}"];
        let names = ["join_ref", "ref", "topic", "event", "payload"];
        for (at, field) in names.into_iter().enumerate() {
            for (text, excess) in [
                (&*too_deep, Excess::Depth),
                ("\"cut \\ud83d\"", Excess::LoneSurrogate),
                ("1e400", Excess::Number),
                (&digits, Excess::Number),
            ] {
                let mut fields = good;
                fields[at] = text;
                check_unfit(fields, Some(Unfit::Json { field, excess }));
            }
        }
        check_unfit(["\"1\"", "\"2\"", "\"t\"", "\"e\"", &deepest], None);
    }

    #[test]
    fn a_ref_is_bounded_in_text_and_in_bytes() {
        let longest = format!("\"{}\"", "a".repeat(REF_BYTES_MAX - 2));
        let longer = format!("\"{}\"", "a".repeat(REF_BYTES_MAX - 1));
        check_unfit([&longest, &longest, "\"t\"", "\"e\"", "{}"], None);
        for (field, [join_ref, reference]) in
            [("join_ref", [&*longer, "\"2\""]), ("ref", ["null", &longer])]
        {
            let unfit = Some(Unfit::RefTooLong { field });
            check_unfit([join_ref, reference, "\"t\"", "\"e\"", "{}"], unfit);
        }
        let push = [b"\0\0\xff\x01\x01".as_slice(), &[b'1'; 255], b"te\xff"].concat();
        let message = Decoder::default().binary(&push, Serializer::V2).expect("a push");
        assert_eq!(message.payload, Err(Unfit::RefTooLong { field: "ref" }));
        assert_eq!(message.reference.len(), 257);
    }

    #[test]
    fn a_ref_is_the_same_however_it_is_spelled_and_whichever_way_it_comes() {
        for (bytes, spellings) in [
            ("a", &[r#""a""#, r#""\u0061""#][..]),
            ("a\"b", &[r#""a\"b""#, r#""a\u0022b""#]),
            ("\\/", &[r#""\\/""#, r#""\u005c\/""#]),
            ("\u{1f600}\u{1f}\n", &["\"\u{1f600}\\u001F\\n\"", r#""\ud83d\ude00\u001f\u000a""#]),
            ("", &[r#""""#]),
        ] {
            let length = u8::try_from(bytes.len()).unwrap();
            let push =
                [&[0, length, length, 1, 1], bytes.as_bytes(), bytes.as_bytes(), b"te"].concat();
            let mut decoder = Decoder::default();
            let binary = decoder.binary(&push, Serializer::V2).expect("a push");
            for spelling in spellings {
                let text = format!(r#"[{spelling},{spelling},"t","e",{{}}]"#);
                let message = decoder.text(&text, Serializer::V2).expect("a message");
                assert_eq!(message.join_ref, spellings[0]);
                assert_eq!(message.reference, spellings[0]);
                assert_eq!(
                    (&message.join_ref, &message.reference),
                    (&binary.join_ref, &binary.reference)
                );
                // And back.
                let mut out = Vec::new();
                let outgoing = Outgoing {
                    join_ref: &message.join_ref,
                    reference: &message.reference,
                    topic: "t",
                    event: "ok",
                    payload: Payload::Binary(b""),
                };
                Serializer::V2.reply(&mut out, &outgoing);
                assert!(out.ends_with(&[bytes.as_bytes(), bytes.as_bytes(), b"tok"].concat()));
            }
        }
        // What is no string is not spelled otherwise.
        let text = r#"[{"\u0061":1},["\/"],"t","e",{}]"#;
        let mut decoder = Decoder::default();
        let message = decoder.text(text, Serializer::V2).expect("a message");
        assert_eq!((&*message.join_ref, &*message.reference), (r#"{"\u0061":1}"#, r#"["\/"]"#));
    }

    #[test]
    fn what_is_ignored_may_be_anything() {
        check(
            r#"["1","2","t","e",{},"\ud800",1e999]"#,
            Serializer::V2,
            Some(["\"1\"", "\"2\"", "\"t\"", "\"e\"", "{}"]),
        );
        check(
            r#"{"topic":"t","\ud800":0,"event":"e","payload":{},"ref":"1","payload":1e999}"#,
            Serializer::V1,
            Some(["null", "\"1\"", "\"t\"", "\"e\"", "{}"]),
        );
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
        assert_eq!(message.payload, Ok(Payload::Binary(b"\x00\xff\xfe")));
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

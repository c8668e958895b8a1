//! What stands in the text frames: Phoenix Channels V2, or the same conversation in the manner of
//! Socket.IO.
//!
//! The reader takes an envelope apart by hand and borrows from it, because it runs once per
//! delivery. Whatever it does not recognise at once (escapes, odd spacing) goes to `serde_json`, so
//! it is never wrong, only slower.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Which conversation the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Dialect {
    /// Phoenix Channels, V2 text: `[join_ref, ref, topic, event, payload]`.
    Phoenix,
    /// Socket.IO 5 over Engine.IO 4: `42<ref>["event", topic, payload]` with acknowledgements.
    Socketio,
}

/// What a server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Incoming<'a> {
    /// The answer to the push or join with this `ref`.
    Reply {
        /// The `ref` it answers.
        reference: u32,
        /// Whether its status is `ok`.
        ok: bool,
        /// The payload, with status and response.
        payload: &'a str,
    },
    /// Anything else that has a topic.
    Event {
        /// The topic, as written.
        topic: &'a str,
        /// The event, as written.
        event: &'a str,
        /// The payload's JSON.
        payload: &'a str,
    },
    /// The transport is ready for joins (Socket.IO alone says so).
    Ready,
    /// Answer with this text at once (Engine.IO's ping, Socket.IO's connect).
    Answer(&'static str),
    /// Nothing that concerns us.
    Nothing,
    /// Not a message of this dialect.
    Malformed,
}

impl Dialect {
    /// Whether joins may be sent as soon as the WebSocket is open.
    pub(crate) fn ready_when_open(self) -> bool {
        self == Self::Phoenix
    }

    /// Writes a push. `join_ref` is the `ref` of the topic's join; a join is a push with its own.
    pub(crate) fn push(
        self,
        out: &mut Vec<u8>,
        join_ref: u32,
        reference: u32,
        topic: &str,
        event: &str,
        payload: &[u8],
    ) {
        match self {
            Self::Phoenix => {
                out.extend_from_slice(b"[\"");
                number(out, join_ref);
                out.extend_from_slice(b"\",\"");
                number(out, reference);
                out.extend_from_slice(b"\",\"");
                out.extend_from_slice(topic.as_bytes());
                out.extend_from_slice(b"\",\"");
                out.extend_from_slice(event.as_bytes());
                out.extend_from_slice(b"\",");
                out.extend_from_slice(payload);
                out.push(b']');
            }
            Self::Socketio => {
                out.extend_from_slice(b"42");
                number(out, reference);
                out.extend_from_slice(b"[\"");
                out.extend_from_slice(event.strip_prefix("phx_").unwrap_or(event).as_bytes());
                out.extend_from_slice(b"\",\"");
                out.extend_from_slice(topic.as_bytes());
                out.extend_from_slice(b"\",");
                out.extend_from_slice(payload);
                out.push(b']');
            }
        }
    }

    /// Writes a heartbeat; `false` if the client has none to send in this dialect.
    pub(crate) fn heartbeat(self, out: &mut Vec<u8>, reference: u32) -> bool {
        if self == Self::Phoenix {
            out.extend_from_slice(b"[null,\"");
            number(out, reference);
            out.extend_from_slice(b"\",\"phoenix\",\"heartbeat\",{}]");
        }
        self == Self::Phoenix
    }

    /// Reads a text message.
    pub(crate) fn read(self, text: &str) -> Incoming<'_> {
        match self {
            Self::Phoenix => {
                phoenix(text).or_else(|| phoenix_slow(text)).unwrap_or(Incoming::Malformed)
            }
            Self::Socketio => socketio(text),
        }
    }
}

/// The `response` of a reply as JSON, if it has one.
pub(crate) fn response_of(payload: &str) -> Option<&RawValue> {
    #[derive(Deserialize)]
    struct Reply<'a> {
        #[serde(borrow)]
        response: Option<&'a RawValue>,
    }
    serde_json::from_str::<Reply<'_>>(payload).ok()?.response
}

/// The `reason` in the answer to a push that was refused; `error` where it tells none.
pub(crate) fn reason_of(payload: &str) -> String {
    #[derive(Deserialize)]
    struct Response {
        reason: Option<String>,
    }
    response_of(payload)
        .and_then(|response| serde_json::from_str::<Response>(response.get()).ok())
        .and_then(|response| response.reason)
        .unwrap_or_else(|| "error".to_owned())
}

fn number(out: &mut Vec<u8>, value: u32) {
    let mut digits = [0; 10];
    let mut left = value;
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// The usual form: no white space between elements, no escapes in the first four.
fn phoenix(text: &str) -> Option<Incoming<'_>> {
    let rest = text.strip_prefix('[')?;
    let (_, rest) = element(rest)?;
    let (reference, rest) = element(rest)?;
    let (topic, rest) = element(rest)?;
    let (event, rest) = element(rest)?;
    let payload = rest.strip_suffix(']')?;
    if event == Some("phx_reply") {
        return reply(reference?.parse().ok()?, payload);
    }
    Some(Incoming::Event { topic: topic?, event: event?, payload })
}

/// One of the first four elements and what follows its comma; `None` inside for `null`.
fn element(text: &str) -> Option<(Option<&str>, &str)> {
    if let Some(rest) = text.strip_prefix("null,") {
        return Some((None, rest));
    }
    let inner = text.strip_prefix('"')?;
    let end = memchr::memchr2(b'"', b'\\', inner.as_bytes())?;
    let rest = inner[end..].strip_prefix("\",")?;
    Some((Some(&inner[..end]), rest))
}

fn reply(reference: u32, payload: &str) -> Option<Incoming<'_>> {
    #[derive(Deserialize)]
    struct Status<'a> {
        status: &'a str,
    }
    // An object that ends so cannot end inside `response`: that would need another brace.
    let ok = payload.ends_with(r#","status":"ok"}"#)
        || payload.starts_with(r#"{"status":"ok","#)
        || serde_json::from_str::<Status<'_>>(payload).ok()?.status == "ok";
    Some(Incoming::Reply { reference, ok, payload })
}

/// Any JSON spacing and escapes.
fn phoenix_slow(text: &str) -> Option<Incoming<'_>> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Ref<'a> {
        Text(&'a str),
        Number(u32),
    }
    type Envelope<'a> = (&'a RawValue, Option<Ref<'a>>, &'a RawValue, &'a RawValue, &'a RawValue);
    #[derive(Deserialize)]
    struct Borrowed<'a>(#[serde(borrow)] Envelope<'a>);
    let Borrowed((_, reference, topic, event, payload)) = serde_json::from_str(text).ok()?;
    let event = event.get().trim_matches('"');
    if event == "phx_reply" {
        let reference = match reference? {
            Ref::Text(text) => text.parse().ok()?,
            Ref::Number(number) => number,
        };
        return reply(reference, payload.get());
    }
    Some(Incoming::Event { topic: topic.get().trim_matches('"'), event, payload: payload.get() })
}

fn socketio(text: &str) -> Incoming<'_> {
    match text.as_bytes() {
        // Engine.IO open: ask for the main namespace.
        [b'0', ..] => Incoming::Answer("40"),
        // Engine.IO ping: the server's heartbeat.
        [b'2'] => Incoming::Answer("3"),
        [b'4', b'0', ..] => Incoming::Ready,
        [b'4', b'3', ..] => socketio_ack(&text[2..]).unwrap_or(Incoming::Malformed),
        [b'4', b'2', ..] => socketio_event(&text[2..]).unwrap_or(Incoming::Malformed),
        [b'4' | b'6', ..] => Incoming::Nothing,
        _ => Incoming::Malformed,
    }
}

fn socketio_ack(text: &str) -> Option<Incoming<'_>> {
    let bracket = text.find('[')?;
    let reference = text[..bracket].parse().ok()?;
    reply(reference, text[bracket..].strip_prefix('[')?.strip_suffix(']')?)
}

fn socketio_event(text: &str) -> Option<Incoming<'_>> {
    let (event, rest) = element(text.strip_prefix('[')?)?;
    let (topic, rest) = element(rest)?;
    Some(Incoming::Event { topic: topic?, event: event?, payload: rest.strip_suffix(']')? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_is_json_that_serde_reads() {
        let mut out = Vec::new();
        Dialect::Phoenix.push(&mut out, 1, 4_294_967_295, "room:7", "new_msg", br#"{"body":"x"}"#);
        assert_eq!(out, br#"["1","4294967295","room:7","new_msg",{"body":"x"}]"#);
        out.clear();
        Dialect::Socketio.push(&mut out, 1, 20, "room:7", "phx_join", b"{}");
        assert_eq!(out, br#"4220["join","room:7",{}]"#);
    }

    #[track_caller]
    fn check(dialect: Dialect, text: &str, expected: Incoming<'_>) {
        assert_eq!(dialect.read(text), expected, "{text}");
    }

    #[test]
    fn replies_are_recognised_in_any_order_of_keys_and_any_spacing() {
        for (text, ok) in [
            (r#"["1","7","room:1","phx_reply",{"response":{},"status":"ok"}]"#, true),
            (
                r#"["1","7","room:1","phx_reply",{"status":"ok","response":{"status":"error"}}]"#,
                true,
            ),
            (
                r#"["1","7","room:1","phx_reply",{"status":"error","response":{"status":"ok"}}]"#,
                false,
            ),
            (
                concat!(
                    r#"["1","7","room:1","phx_reply",{"response":"#,
                    r#"{"a":"\",\"status\":\"ok\"}"},"status":"error"}]"#
                ),
                false,
            ),
            (r#" [ "1", "7", "room:1", "phx_reply", {"status" : "ok"} ] "#, true),
            (r#"[null,7,"room:1","phx_reply",{"status":"ok","response":{}}]"#, true),
        ] {
            match Dialect::Phoenix.read(text) {
                Incoming::Reply { reference: 7, ok: read, .. } => assert_eq!(read, ok, "{text}"),
                other => panic!("{text} read as {other:?}"),
            }
        }
    }

    #[test]
    fn broadcasts_are_taken_apart_in_place() {
        check(
            Dialect::Phoenix,
            r#"[null,null,"room:1","new_msg",{"body":"a]b"}]"#,
            Incoming::Event { topic: "room:1", event: "new_msg", payload: r#"{"body":"a]b"}"# },
        );
        check(
            Dialect::Socketio,
            r#"42["new_msg","room:1",{"body":"x"}]"#,
            Incoming::Event { topic: "room:1", event: "new_msg", payload: r#"{"body":"x"}"# },
        );
    }

    #[test]
    fn socketio_is_greeted_answered_and_acknowledged() {
        check(Dialect::Socketio, r#"0{"sid":"x","pingInterval":25000}"#, Incoming::Answer("40"));
        check(Dialect::Socketio, r#"40{"sid":"x"}"#, Incoming::Ready);
        check(Dialect::Socketio, "2", Incoming::Answer("3"));
        let payload = r#"{"status":"ok","response":{}}"#;
        check(
            Dialect::Socketio,
            r#"4312[{"status":"ok","response":{}}]"#,
            Incoming::Reply { reference: 12, ok: true, payload },
        );
    }

    #[test]
    fn what_is_no_message_is_malformed_and_reasons_are_found() {
        for text in ["", "[", "{}", r#"["1","2","room:1"]"#, r#"["1","x","t","phx_reply",{}]"#] {
            check(Dialect::Phoenix, text, Incoming::Malformed);
        }
        assert_eq!(
            reason_of(r#"{"status":"error","response":{"reason":"rate_limited"}}"#),
            "rate_limited"
        );
        assert_eq!(reason_of(r#"{"status":"error","response":{}}"#), "error");
    }
}

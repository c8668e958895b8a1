//! One message of the server, out of the frame that it came in.

use serde_json::Value;

use crate::client::Payload;
use crate::frames::Frame;

/// One message of the server, whatever its encoding.
pub(super) struct Heard {
    /// V1 does not tell.
    pub(super) join_ref: Option<String>,
    pub(super) reference: String,
    pub(super) topic: String,
    pub(super) event: String,
    pub(super) payload: Payload,
}

impl Heard {
    pub(super) fn parse(frame: Frame, v1: bool) -> Self {
        match frame {
            Frame::Binary(bytes) => Self::binary(&bytes),
            Frame::Text(text) => {
                let value: Value =
                    serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"));
                let string = |value: &Value| value.as_str().expect("a string").to_owned();
                if v1 {
                    let object = value.as_object().expect("V1 speaks in objects");
                    assert_eq!(object.len(), 4, "always the same four keys: {text}");
                    return Self {
                        join_ref: None,
                        reference: value["ref"].to_string(),
                        topic: string(&value["topic"]),
                        event: string(&value["event"]),
                        payload: Payload::Json(value["payload"].clone()),
                    };
                }
                let array = value.as_array().expect("V2 speaks in arrays");
                assert_eq!(array.len(), 5, "always five elements: {text}");
                Self {
                    join_ref: Some(array[0].to_string()),
                    reference: array[1].to_string(),
                    topic: string(&array[2]),
                    event: string(&array[3]),
                    payload: Payload::Json(array[4].clone()),
                }
            }
            Frame::Close(..) | Frame::Pong(_) => unreachable!("only messages are parsed"),
        }
    }

    /// The three kinds of binary messages. An answer becomes what it would be as text.
    fn binary(bytes: &[u8]) -> Self {
        let fields = match bytes[0] {
            0 => 3,
            1 => 4,
            2 => 2,
            other => panic!("a server does not send binary messages of kind {other}"),
        };
        let mut rest = &bytes[1 + fields..];
        let mut texts = bytes[1..=fields].iter().map(|length| {
            let (text, after) = rest.split_at(usize::from(*length));
            rest = after;
            std::str::from_utf8(text).expect("fields are text").to_owned()
        });
        let mut next = || texts.next().expect("as many as there are lengths");
        let quoted = |text: String| Value::from(text).to_string();
        let (join_ref, reference) = match fields {
            4 => (quoted(next()), quoted(next())),
            3 => (quoted(next()), "null".to_owned()),
            _ => ("null".to_owned(), "null".to_owned()),
        };
        let (topic, event) = (next(), next());
        let event = if fields == 4 { format!("phx_reply {event}") } else { event };
        let payload = Payload::Binary(rest.to_vec());
        Self { join_ref: Some(join_ref), reference, topic, event, payload }
    }

    pub(super) fn json(&self) -> &Value {
        match &self.payload {
            Payload::Json(value) => value,
            Payload::Binary(_) => panic!("{} on {} has a JSON payload", self.event, self.topic),
        }
    }
}

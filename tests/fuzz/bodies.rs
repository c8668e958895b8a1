//! What is tried on any bytes: plain functions, which the fuzzer calls, and `tests/corpus.rs` with
//! what it has found.
//!
//! `cargo install cargo-fuzz`, then `cargo fuzz run --fuzz-dir tests/fuzz NAME --sanitizer none`,
//! with NAME `head`, `http`, `ws`, `phx`, `token` or `poll`. A stable compiler will do.

use std::collections::HashMap;
use std::sync::LazyLock;

use chinwag::auth::token::{Claims, Key, Parties, Signer, Verifier};
use chinwag::limits::{Limits, REF_BYTES_MAX};
use chinwag::wire::http::origin::request_allowed;
use chinwag::wire::http::query::{query_param, query_params};
use chinwag::wire::http::upgrade::{check_upgrade, subprotocols};
use chinwag::wire::http::{parse_body, parse_head};
use chinwag::wire::phx::poll::push_posted;
use chinwag::wire::phx::{Decoder, Payload, Serializer, Unfit};
use chinwag::wire::ws::FrameError;
use chinwag::wire::ws::frame::next_frame;
use chinwag::wire::ws::message::Assembler;
use serde::de::IgnoredAny;
use serde_json::Value;

/// The head of a request: a whole one is the same whatever follows, and no prefix of it is whole.
pub(crate) fn head(data: &[u8]) {
    let limits = Limits { head_bytes: 1_024, ..Limits::default() };
    let Ok(Some(head)) = parse_head(data, &limits) else { return };
    assert!(head.head_bytes <= data.len().min(limits.head_bytes));
    let followed = [&data[..head.head_bytes], b"GET / HTTP/1.1\r\n\0"].concat();
    assert_eq!(
        format!("{:?}", parse_head(&followed, &limits)),
        format!("{:?}", Ok::<_, ()>(Some(&head)))
    );
    for cut in 0..head.head_bytes {
        assert_eq!(parse_head(&data[..cut], &limits), Ok(None), "decided at {cut} bytes");
    }
    let _ = (
        check_upgrade(&head),
        subprotocols(&head),
        request_allowed(&head, &[""; 0]),
        head.keep_alive(),
    );
    let query = head.query.unwrap_or_default();
    let _ = (query_param(query, "vsn"), query_params(query, "token"));
}

/// Requests: wherever the stream is cut, it holds the same ones. The first two bytes say where.
pub(crate) fn http(data: &[u8]) {
    let Some(([first, step], stream)) = data.split_first_chunk() else { return };
    let whole = requests(stream, &[stream.len()]);
    assert_eq!(requests(stream, &[usize::from(*first), usize::from(*step) + 1]), whole);
    assert_eq!(requests(stream, &[1]), whole);
}

/// The requests of a stream in pieces of these lengths, the last of them again and again; and
/// whether it is refused behind them. Why is not compared: the first piece that shows it says so.
fn requests(stream: &[u8], pieces: &[usize]) -> (Vec<String>, bool) {
    let limits = Limits { head_bytes: 256, ..Limits::default() };
    let (mut told, mut begin, mut end) = (Vec::new(), 0, 0);
    for index in 0.. {
        let length = pieces[usize::min(index, pieces.len() - 1)];
        end = stream.len().min(end + length);
        loop {
            let waiting = &stream[begin..end];
            let head = match parse_head(waiting, &limits) {
                Ok(Some(head)) => head,
                Ok(None) => break,
                Err(_) => return (told, true),
            };
            let body = match parse_body(&head, &waiting[head.head_bytes..], 64) {
                Ok(Some(body)) => body,
                Ok(None) => break,
                Err(_) => return (told, true),
            };
            assert!(body.content.len() <= body.taken.min(64));
            told.push(format!("{head:?} {:?}", body.content.escape_ascii().to_string()));
            begin += head.head_bytes + body.taken;
        }
        if end == stream.len() {
            break;
        }
    }
    (told, false)
}

/// Frames: wherever the stream is cut, it means the same. The first two bytes say where.
pub(crate) fn ws(data: &[u8]) {
    let Some(([first, step], stream)) = data.split_first_chunk() else { return };
    let whole = feed(stream, &[stream.len()]);
    assert_eq!(feed(stream, &[usize::from(*first), usize::from(*step) + 1]), whole);
    assert_eq!(feed(stream, &[1]), whole);
}

/// What comes of a stream in pieces of these lengths, the last of them again and again.
fn feed(mut stream: &[u8], pieces: &[usize]) -> (Vec<String>, Option<FrameError>) {
    let limits = Limits { frame_bytes: 400, message_bytes: 600, fragments: 5, ..Limits::default() };
    let (mut assembler, mut waiting, mut told) = (Assembler::new(), Vec::new(), Vec::new());
    for index in 0.. {
        let length = pieces[usize::min(index, pieces.len() - 1)];
        let (piece, rest) = stream.split_at(length.min(stream.len()));
        waiting.extend_from_slice(piece);
        stream = rest;
        loop {
            let (header, payload, taken) = match next_frame(&mut waiting, &limits) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => return (told, Some(error)),
            };
            match assembler.accept(&header, &waiting[payload], 0, &limits) {
                Ok(incoming) => told.push(format!("{incoming:?}")),
                Err(error) => return (told, Some(error)),
            }
            assert!(assembler.heap_bytes() < 4 * limits.message_bytes);
            waiting.drain(..taken);
        }
        if stream.is_empty() {
            break;
        }
    }
    (told, None)
}

/// Messages, with `serde_json` as the judge. The first byte chooses the encoding.
pub(crate) fn phx(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else { return };
    let mut decoder = Decoder::default();
    let serializer = if choice & 1 == 0 { Serializer::V2 } else { Serializer::V1 };
    if choice & 2 != 0 {
        if let Ok(message) = decoder.binary(bytes, serializer) {
            let _ = (message.topic(), message.event());
        }
        return;
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let answer = decoder.text(text, serializer);
    // Of what it ignores serde_json knows no limits: it is well-formed, or it is not.
    let text = Some(text).filter(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
    let Ok(message) = answer else {
        let Some(text) = text else { return };
        match serializer {
            Serializer::V2 => {
                let elements = serde_json::from_str::<Vec<IgnoredAny>>(text);
                assert!(
                    elements.is_ok_and(|all| all.len() < 5) || !starts_with(text, '['),
                    "{text}"
                );
            }
            Serializer::V1 => {
                #[expect(clippy::zero_sized_map_values, reason = "serde reads no object as a set")]
                let members = serde_json::from_str::<HashMap<String, IgnoredAny>>(text);
                // A key may have half of a surrogate pair.
                let lacks_one = members.map_or(true, |members| {
                    ["ref", "topic", "event", "payload"]
                        .iter()
                        .any(|name| !members.contains_key(*name))
                });
                assert!(lacks_one, "{text}");
            }
        }
        return;
    };
    let text = text.expect("what is taken for a message is JSON");
    let envelope =
        [&*message.join_ref, &message.reference, &message.topic_json, &message.event_json];
    // As a value serde_json takes no more than 127 levels, no half surrogate pairs, and no number
    // that is infinite: what may be in a field.
    let value = |field: &str| serde_json::from_str::<Value>(field).ok();
    match message.payload {
        Ok(Payload::Json(payload)) => {
            let [join_ref, reference, topic, event] = envelope;
            let fields = [join_ref, reference, topic, event, payload]
                .map(|field| value(field).expect(field));
            let too_long = join_ref.len().max(reference.len()) > REF_BYTES_MAX;
            assert!(!too_long, "{text}");
            assert_eq!(message.topic().as_deref(), fields[2].as_str());
            // Of two fields of one name serde_json takes the last, and which one is ours is not
            // promised.
            if let (Serializer::V2, Some(judged)) = (serializer, value(text)) {
                assert_eq!(fields, [0, 1, 2, 3, 4].map(|index| judged[index].clone()));
            }
        }
        Err(Unfit::RefTooLong { .. }) => {
            assert!(envelope[..2].iter().any(|field| field.len() > REF_BYTES_MAX), "{text}");
        }
        Err(Unfit::Json { field, .. }) => {
            let names = ["join_ref", "ref", "topic", "event"];
            if let Some(at) = names.iter().position(|name| *name == field) {
                assert_eq!(value(envelope[at]), None, "{text}");
            } else {
                assert!(value(text).is_none(), "{text}");
                assert!(envelope.iter().all(|field| value(field).is_some()), "{text}");
            }
        }
        Ok(Payload::Binary(_)) => unreachable!("it came as text"),
    }
}

fn starts_with(text: &str, bracket: char) -> bool {
    text.trim_ascii_start().starts_with(bracket)
}

const SECRET: &[u8] = b"a secret of at least 32 bytes, for fuzzing";

static GOOD: LazyLock<(Verifier, String)> = LazyLock::new(|| {
    let sub = "u1".to_owned();
    let claims = Claims { sub, name: None, exp: 2_000, iat: 1_000, rooms: None, guest: false };
    let token = Signer::new(SECRET, Parties::default()).unwrap().sign(&claims);
    (Verifier::new(vec![Key::from_secret(SECRET).unwrap()], Parties::default()).unwrap(), token)
});

/// Tokens: none is good but the one that was signed. `*` stands for it, so that the fuzzer has
/// something to change.
pub(crate) fn token(data: &[u8]) {
    let (verifier, good) = &*GOOD;
    let Ok(text) = std::str::from_utf8(data) else { return };
    let token = text.replacen('*', good, 1);
    for now_s in [0, 1_500, u64::MAX] {
        let verdict = verifier.verify(&token, now_s);
        assert!(verdict.is_err() || token == *good, "{token}");
    }
}

/// Bodies of long polling: what comes of one is whole frames, as a client sends them.
pub(crate) fn poll(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else { return };
    let mut frames = b"before".to_vec();
    let pushed = push_posted(&mut frames, body, choice & 1 != 0);
    assert!(frames.starts_with(b"before"));
    let mut frames = frames.split_off(6);
    assert!(pushed.is_ok() || frames.is_empty());
    let limits = Limits { frame_bytes: usize::MAX, message_bytes: usize::MAX, ..Limits::default() };
    while !frames.is_empty() {
        let (header, _, taken) = next_frame(&mut frames, &limits).unwrap().expect("whole frames");
        assert!(header.fin);
        frames.drain(..taken);
    }
}

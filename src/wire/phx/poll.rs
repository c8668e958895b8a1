//! Long polling: the messages of a socket in the bodies of requests and answers.
//!
//! A session is a socket whose frames travel by HTTP, so both directions are put in terms of frames
//! here: what a client posts becomes frames as a client would have sent them, and a server's frames
//! become the strings of an answer. Source: `Phoenix.Transports.LongPoll`, `phoenix.js`'
//! `longpoll.js`.
//!
//! Deliberately absent: binary messages to the client. `phoenix.js` parses every string as JSON, so
//! it cannot take one (and throws at what Phoenix sends); an answer with binary data comes with an
//! empty response instead, other binary messages do not come.

use data_encoding::BASE64;

use super::Malformed;
use crate::wire::json::push_string;
use crate::wire::ws::frame::{Opcode, decode_server_frame, push_client_frame};

/// Appends the messages of a POST as frames: one text message, or lines (`application/x-ndjson`) of
/// text messages, which begin with `[` or `{`, and of binary ones in base64.
///
/// # Errors
///
/// [`Malformed`] if a line is neither. Nothing is appended then.
pub fn push_posted(out: &mut Vec<u8>, body: &[u8], is_ndjson: bool) -> Result<(), Malformed> {
    if !is_ndjson {
        push_client_frame(out, Opcode::Text, body);
        return Ok(());
    }
    let begin = out.len();
    for line in
        body.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
    {
        match line.first() {
            // Phoenix kills the session over the empty line that many programs end their output
            // with.
            None => {}
            Some(b'[' | b'{') => push_client_frame(out, Opcode::Text, line),
            Some(_) => {
                let Ok(data) = BASE64.decode(line) else {
                    out.truncate(begin);
                    return Err(Malformed);
                };
                push_client_frame(out, Opcode::Binary, &data);
            }
        }
    }
    Ok(())
}

/// Appends a server's frames as JSON strings, parted by commas, until `out` has more than
/// `bytes_max`; `first` says whether there is none before them yet. Returns how many bytes these
/// frames took: whole ones.
///
/// # Panics
///
/// If these are no frames of ours.
pub fn push_messages(
    out: &mut Vec<u8>,
    frames: &[u8],
    first: &mut bool,
    bytes_max: usize,
) -> usize {
    let mut left = frames;
    while !left.is_empty() && out.len() <= bytes_max {
        let (opcode, payload, rest) = decode_server_frame(left);
        left = rest;
        let mut push = |text: &str| {
            if !std::mem::take(first) {
                out.push(b',');
            }
            push_string(out, text);
        };
        match opcode {
            Opcode::Text => push(std::str::from_utf8(payload).expect("our text is UTF-8")),
            Opcode::Binary => {
                if let Some(reply) = reply_without_data(payload) {
                    push(&reply);
                }
            }
            Opcode::Close | Opcode::Ping | Opcode::Pong | Opcode::Continuation => {}
        }
    }
    frames.len() - left.len()
}

/// A binary answer as a text one with an empty response; `None` for other binary messages.
fn reply_without_data(payload: &[u8]) -> Option<String> {
    let [1, lengths @ ..] = payload else { return None };
    let (lengths, mut rest) = lengths.split_first_chunk::<4>()?;
    let mut quoted = [const { String::new() }; 4];
    for (field, length) in quoted.iter_mut().zip(lengths) {
        let (text, after) = rest.split_at_checked(usize::from(*length))?;
        rest = after;
        let mut json = Vec::new();
        push_string(&mut json, std::str::from_utf8(text).ok()?);
        *field = String::from_utf8(json).ok()?;
    }
    let [join_ref, reference, topic, status] = quoted;
    Some(format!(
        r#"[{join_ref},{reference},{topic},"phx_reply",{{"response":{{}},"status":{status}}}]"#
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::wire::ws::frame::{next_frame, push_frame};

    #[track_caller]
    fn check(body: &str, expected: Option<&[(Opcode, &[u8])]>) {
        let mut out = Vec::new();
        let posted = push_posted(&mut out, body.as_bytes(), true).ok().map(|()| {
            let mut messages = Vec::new();
            let mut rest = &mut out[..];
            while let Some((header, payload, taken)) =
                next_frame(rest, &Limits::default()).expect("frames as a client's")
            {
                messages.push((header.opcode, rest[payload].to_vec()));
                rest = &mut rest[taken..];
            }
            messages
        });
        let expected = expected.map(|all| {
            all.iter().map(|(opcode, data)| (*opcode, data.to_vec())).collect::<Vec<_>>()
        });
        assert_eq!(posted, expected, "{body:?}");
    }

    #[test]
    fn lines_are_text_or_base64() {
        check(
            "[1]\r\n{\"a\":1}\nAAEC",
            Some(&[
                (Opcode::Text, b"[1]"),
                (Opcode::Text, b"{\"a\":1}"),
                (Opcode::Binary, &[0, 1, 2]),
            ]),
        );
        check("[1]\n", Some(&[(Opcode::Text, b"[1]")]));
        check("", Some(&[]));
        check("[1]\nno base64!", None);
    }

    #[test]
    fn frames_become_strings_and_binary_answers_become_text() {
        let mut frames = Vec::new();
        push_frame(&mut frames, Opcode::Text, br#"["a"]"#);
        push_frame(&mut frames, Opcode::Binary, b"\x02\x01\x01te\xff");
        push_frame(&mut frames, Opcode::Binary, b"\x01\x01\x01\x06\x0215room:bok\x00\xff");
        push_frame(&mut frames, Opcode::Close, b"");
        let mut out = Vec::new();
        assert_eq!(push_messages(&mut out, &frames, &mut true, usize::MAX), frames.len());
        assert_eq!(
            String::from_utf8(out).expect("JSON"),
            r#""[\"a\"]","[\"1\",\"5\",\"room:b\",\"phx_reply\",{\"response\":{},\"status\":\"ok\"}]""#
        );
    }

    #[test]
    fn of_many_frames_as_many_are_taken_as_fit_and_one_at_least() {
        let mut frames = Vec::new();
        for text in ["[1]", "[22]", "[333]"] {
            push_frame(&mut frames, Opcode::Text, text.as_bytes());
        }
        let taken = |bytes_max| {
            let mut out = Vec::new();
            let taken = push_messages(&mut out, &frames, &mut true, bytes_max);
            (taken, String::from_utf8(out).expect("JSON"))
        };
        assert_eq!(taken(0), (5, r#""[1]""#.into()));
        assert_eq!(taken(4), taken(0));
        assert_eq!(taken(5), (11, r#""[1]","[22]""#.into()));
        assert_eq!(taken(usize::MAX), (18, r#""[1]","[22]","[333]""#.into()));
    }
}

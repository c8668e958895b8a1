//! The files in `cases/`.
//!
//! ```text
//! ### what the case is about          a new case, on a server of its own; after it perhaps:
//! # a remark
//! [once]                              play it in one room only, since it takes long
//! [limits.idle_ms=1000]               configure the server so
//! A--> ["1","1","room:?",...]         a text message of the client A; without a letter it is the only client. Lines that follow each
//!                                     other are sent in one write
//! A--> BIN 00 01 fe                   a binary message
//! A--> CLOSE 03 e8                    a close frame with this payload
//! A--> FRAME 89 `abc` 00              a frame with this first byte and payload, masked
//! A--> RAW 81 01 `x`                  just these bytes
//! H--> GET /socket/longpoll?vsn=2.0.0 an HTTP request: its version and `Host` are added
//!     origin: https://x               a header; `<upgrade>` stands for the four of a WebSocket
//!     [body] [null,"1",...]           the body, with \r and \n
//!     [base64] 00 01 fe               the same, in base64
//! A<-- ["1","1","room:?",...]         what must come next, and in the same way:
//! A<-- BIN .. / PONG .. / CLOSE 1011, after which the connection ends / FIN / HTTP/1.1 200 OK
//! A<-- (nothing)                      nothing comes
//! A: drops its connection             without a close
//! the server is told to stop          by SIGTERM
//! ```

/// A sequence of things said and answered.
pub(crate) struct Case {
    pub(crate) title: String,
    pub(crate) once: bool,
    pub(crate) settings: Vec<String>,
    /// With the number of their line.
    pub(crate) steps: Vec<(usize, Step)>,
}

pub(crate) enum Step {
    /// In one write.
    Send { to: String, messages: Vec<Sent> },
    /// One message; the lines of one answer of HTTP.
    Expect { from: String, lines: Vec<String> },
    /// Nothing is there to be read.
    Quiet { by: String },
    /// The connection is dropped.
    Drop { who: String },
    /// SIGTERM.
    Stop,
}

/// What a client sends: its lines.
pub(crate) struct Sent(Vec<String>);

/// Reads a file of cases, of the lines that differ those of Chinwag.
pub(crate) fn parse(file: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in (1..).zip(file.lines()) {
        let line = line.strip_prefix("+ ").unwrap_or(line);
        if line.is_empty()
            || line.starts_with("# ")
            || line.starts_with("@@ ")
            || line.starts_with("- ")
        {
            continue;
        }
        if let Some(title) = line.strip_prefix("### ") {
            cases.push(Case {
                title: title.into(),
                once: false,
                settings: Vec::new(),
                steps: Vec::new(),
            });
            continue;
        }
        let case = cases.last_mut().unwrap_or_else(|| panic!("line {number} belongs to no case"));
        if let Some(more) = line.strip_prefix("    ") {
            match case.steps.last_mut().map(|(_, step)| step) {
                Some(Step::Send { messages, .. }) => {
                    messages.last_mut().expect("never empty").0.push(more.into());
                }
                Some(Step::Expect { lines, .. }) => lines.push(more.into()),
                _ => panic!("line {number} continues nothing"),
            }
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            if name == "once" { case.once = true } else { case.settings.push(name.into()) }
        } else if let Some((to, message)) = line.split_once("-->") {
            let message = Sent(vec![message.strip_prefix(' ').unwrap_or(message).into()]);
            match case.steps.last_mut() {
                Some((_, Step::Send { to: last, messages })) if last == to => {
                    messages.push(message);
                }
                _ => {
                    case.steps
                        .push((number, Step::Send { to: to.into(), messages: vec![message] }));
                }
            }
        } else if let Some((from, "(nothing)")) = line.split_once("<-- ") {
            case.steps.push((number, Step::Quiet { by: from.into() }));
        } else if let Some((from, message)) = line.split_once("<-- ") {
            case.steps
                .push((number, Step::Expect { from: from.into(), lines: vec![message.into()] }));
        } else if let Some(who) = line.strip_suffix(": drops its connection") {
            case.steps.push((number, Step::Drop { who: who.into() }));
        } else if line == "the server is told to stop" {
            case.steps.push((number, Step::Stop));
        } else {
            panic!("line {number} is not understood: {line}");
        }
    }
    cases
}

const METHODS: [&str; 7] = ["GET ", "POST ", "PUT ", "DELETE ", "HEAD ", "OPTIONS ", "PATCH "];

/// The key that RFC 6455 has as its example, and that was used for the recording.
pub(crate) const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13";

/// Clients must mask (RFC 6455, 5.3).
const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

impl Sent {
    /// Whether this is a request.
    pub(crate) fn is_http(&self) -> bool {
        METHODS.iter().any(|method| self.0[0].starts_with(method))
    }

    /// Appends the bytes on the wire; `fill` puts in what is not known before.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, fill: impl Fn(&str) -> String) {
        if self.is_http() {
            return self.encode_request(out, fill);
        }
        let (kind, rest) = self.0[0].split_once(' ').unwrap_or((&self.0[0], ""));
        match kind {
            "BIN" => push_frame(out, 0x82, &bytes_of(&fill(rest))),
            "CLOSE" => push_frame(out, 0x88, &bytes_of(rest)),
            "FRAME" => {
                let bytes = bytes_of(rest);
                push_frame(out, bytes[0], &bytes[1..]);
            }
            "RAW" => out.extend(bytes_of(rest)),
            _ => push_frame(out, 0x81, fill(&self.0[0]).as_bytes()),
        }
    }

    fn encode_request(&self, out: &mut Vec<u8>, fill: impl Fn(&str) -> String) {
        let mut version = "HTTP/1.1";
        let (mut headers, mut host, mut body) = (String::new(), "Host: localhost\r\n", None);
        for line in &self.0[1..] {
            match line.as_str() {
                "<upgrade>" => headers.extend([UPGRADE, "\r\n"]),
                "<no host>" => host = "",
                "<HTTP/1.0>" => version = "HTTP/1.0",
                line => match line.split_once("] ") {
                    Some(("[body", text)) => {
                        body = Some(fill(text).replace("\\r", "\r").replace("\\n", "\n"));
                    }
                    Some(("[base64", bytes)) => {
                        body = Some(data_encoding::BASE64.encode(&bytes_of(&fill(bytes))));
                    }
                    _ => headers.extend([fill(line).as_str(), "\r\n"]),
                },
            }
        }
        if let Some(body) = &body {
            headers.extend(["Content-Length: ", &body.len().to_string(), "\r\n"]);
        }
        let request = format!(
            "{} {version}\r\n{host}{headers}\r\n{}",
            fill(&self.0[0]),
            body.unwrap_or_default()
        );
        out.extend_from_slice(request.as_bytes());
    }
}

/// Bytes in hexadecimal, and text in backticks.
pub(crate) fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (at, part) in text.split('`').enumerate() {
        if at % 2 == 1 {
            bytes.extend_from_slice(part.as_bytes());
        } else {
            let digits: Vec<u8> = part.bytes().filter(|byte| *byte != b' ').collect();
            bytes.extend(data_encoding::HEXLOWER.decode(&digits).expect("hexadecimal"));
        }
    }
    bytes
}

fn push_frame(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
    out.push(first);
    match u16::try_from(payload.len()) {
        Ok(bytes @ 0..126) => out.push(0x80 + u8::try_from(bytes).expect("below 126")),
        Ok(bytes) => {
            out.push(0x80 + 126);
            out.extend_from_slice(&bytes.to_be_bytes());
        }
        Err(_) => {
            out.push(0x80 + 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

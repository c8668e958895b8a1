//! The upgrade, from the client's side (RFC 6455, 4.1).

use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

/// Why no WebSocket came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Another status than 101.
    Status(u16),
    /// Not an HTTP response, or not a correct upgrade.
    Malformed,
}

/// The longest head of a response, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1_024;

/// A request and the key it was made with.
pub(crate) fn request(host: &str, path_and_query: &str) -> (Vec<u8>, String) {
    let key = generate_key();
    let request = format!(
        "GET {path_and_query} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    (request.into_bytes(), key)
}

/// Reads the response: how many bytes its head has, or `None` while it is not complete.
///
/// # Errors
/// The server refused, or does not know how to upgrade.
pub(crate) fn response(bytes: &[u8], key: &str) -> Result<Option<usize>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) | Err(_) => return Err(Refusal::Malformed),
    };
    match head.code {
        Some(101) => {}
        Some(status) => return Err(Refusal::Status(status)),
        None => return Err(Refusal::Malformed),
    }
    let value = |name: &str| {
        head.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value)
    };
    let right = derive_accept_key(key.as_bytes());
    let accepted = value("sec-websocket-accept") == Some(right.as_bytes())
        && value("upgrade").is_some_and(|upgrade| upgrade.eq_ignore_ascii_case(b"websocket"))
        // None was offered, so none may be in force.
        && value("sec-websocket-extensions").is_none();
    if accepted { Ok(Some(length)) } else { Err(Refusal::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(key: &str, extra: &str) -> Vec<u8> {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n{extra}\r\n",
            derive_accept_key(key.as_bytes())
        )
        .into_bytes()
    }

    #[test]
    fn a_correct_answer_is_accepted_once_it_is_whole() {
        let (_, key) = request("h", "/");
        let answer = answer(&key, "");
        assert_eq!(response(&answer, &key), Ok(Some(answer.len())));
        for cut in 0..answer.len() {
            assert_eq!(response(&answer[..cut], &key), Ok(None), "decided at {cut}");
        }
    }

    #[test]
    fn a_refusal_a_wrong_key_and_an_extension_nobody_asked_for_are_not() {
        let (_, key) = request("h", "/");
        assert_eq!(response(b"HTTP/1.1 403 Forbidden\r\n\r\n", &key), Err(Refusal::Status(403)));
        assert_eq!(response(&answer("other", ""), &key), Err(Refusal::Malformed));
        let extension = answer(&key, "Sec-WebSocket-Extensions: permessage-deflate\r\n");
        assert_eq!(response(&extension, &key), Err(Refusal::Malformed));
        assert_eq!(response(b"SSH-2.0-x\r\n", &key), Err(Refusal::Malformed));
    }
}

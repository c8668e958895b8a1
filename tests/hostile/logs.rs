//! What a hostile run leaves in the log: lines of ours, and nothing of theirs.

use crate::peer::{Peer, TEXT, ask, connect, frame, publish, upgrade};
use crate::server::{PATIENCE, Server};

#[test]
fn nobody_writes_a_line_of_their_own_and_no_token_or_message_is_logged() {
    let server = Server::start(&["shards=2", "log.level=debug", "drain_s=1"]);
    let token = server.token("Ann");
    let forged = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJmb3JnZWQifQ.c2lnbmF0dXJlLWZvcmdlZA";
    let evil = "x%0Alevel=error%20msg=forged";
    for request in [
        upgrade(forged, ""),
        upgrade(evil, ""),
        upgrade(&token, "Origin: http://evil\u{1b}[2J.example\r\n"),
        upgrade(&token, "Origin: http://foreign.example\r\n"),
        format!("GET /{evil} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: forged\r\n\r\n"),
        format!("GET /api/rooms HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {forged}\r\n\r\n"),
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: forged\nlevel=error\r\n\r\n".to_owned(),
        "POST /api/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 23\r\n\r\n{\"name\":\"forged\\nlevel\"}"
            .to_owned(),
    ] {
        assert!(ask(&server, request.as_bytes()).status >= 400, "{request}");
    }
    let mut peer = Peer::new(connect(&server));
    peer.send_raw(upgrade(&token, "").as_bytes());
    assert_eq!(peer.answer().status, 101);
    peer.join("forged", r#"{"meta":{"a":"forged"}}"#);
    peer.send_raw(&publish("forged", 2, "forged \\n message"));
    peer.await_text("forged");
    peer.send_raw(&frame(TEXT, true, b"forged\nlevel=error"));
    assert_eq!(peer.closed().0, 1011);
    server.terminate();
    let (status, log) = server.wait(PATIENCE);
    assert_eq!(status.code(), Some(0));
    assert!(log.contains("token refused"), "{log}");
    // What an operator looks for whose proxy does not pass `Host` on.
    assert!(log.contains(" origin=http://foreign.example host=localhost\n"), "{log}");
    for line in log.lines() {
        assert!(
            line.starts_with("time=20")
                && line.contains(" level=")
                && line.contains(" from=chinwag"),
            "{line}"
        );
        assert!(
            !line.contains("forged") && !line.contains(&token) && !line.contains("level=error"),
            "{line}"
        );
    }
}

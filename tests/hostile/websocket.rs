//! Frames and messages that should not be, and how the socket is closed.

use std::io::Write;

use crate::peer::{
    BINARY, CLOSE, CONTINUATION, PING, PONG, Peer, TEXT, connect, frame, number, text, upgrade,
};
use crate::server::{Server, pause, until};

#[track_caller]
fn check_closed(server: &Server, token: &str, bytes: &[u8], code: u16) {
    let mut peer = Peer::open(server, token);
    peer.send_raw(bytes);
    assert_eq!(
        peer.closed().0,
        code,
        "{:?}",
        bytes[..bytes.len().min(20)].escape_ascii().to_string()
    );
}

#[test]
fn a_close_is_answered_and_codes_that_may_not_be_sent_break_the_protocol() {
    let server = Server::start(&["shards=1"]);
    let token = server.token("Ann");
    check_closed(&server, &token, &frame(CLOSE, true, b""), 1000);
    for (codes, answer) in [
        (&[1000_u16, 1001, 1003, 1007, 1011, 3000, 4999][..], 1000),
        (&[0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535], 1002),
    ] {
        for code in codes {
            check_closed(&server, &token, &frame(CLOSE, true, &code.to_be_bytes()), answer);
        }
    }
    check_closed(&server, &token, &frame(CLOSE, true, b"\x03"), 1002);
    check_closed(&server, &token, &frame(CLOSE, true, b"\x03\xe8\xff"), 1002);
}

#[test]
fn what_is_no_frame_or_message_is_answered_with_the_code_for_it() {
    let server = Server::start(&["shards=1"]);
    let token = server.token("Ann");
    let too_long = vec![b' '; 64 * 1_024 + 1];
    let deep = format!(
        "[null,\"1\",\"phoenix\",\"heartbeat\",{}{}]",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    for (bytes, code) in [
        (&b"\x81\x02hi"[..], 1002),                              // unmasked
        (&frame(TEXT | 0x40, true, b"hi"), 1002),                // a reserved bit
        (&frame(0x3, true, b"hi"), 1002),                        // a reserved opcode
        (&frame(0xb, true, b""), 1002),                          // and for control
        (&frame(PING, false, b""), 1002),                        // control in fragments
        (&frame(PING, true, &[0; 126]), 1002),                   // control too long
        (&frame(CONTINUATION, true, b"hi"), 1002),               // of nothing
        (&[frame(TEXT, false, b"a"), text("b")].concat(), 1002), // one message in another
        (b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff", 1002),     // a length of 64 bits, all set
        (b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 1009),
        (&frame(TEXT, true, b"\xff"), 1007),
        (&[frame(TEXT, false, b"\xe2\x82"), frame(CONTINUATION, false, b"x")].concat(), 1007),
        (&frame(TEXT, true, &too_long), 1009),
        (
            &[
                frame(TEXT, false, &too_long[..40_000]),
                frame(CONTINUATION, true, &too_long[..40_000]),
            ]
            .concat(),
            1009,
        ),
        (&text(""), 1011),
        (&text("{}"), 1011),
        (&text("[1,2,3,4]"), 1011),
        (&text("[null,\"1\",\"phoenix\",\"heartbeat\",{}"), 1011),
        (&text("[null,\"1\",\"phoenix\",\"heartbeat\",{\"a\":\"\\ud800\"}"), 1011),
        (&frame(BINARY, true, b""), 1011),
        (&frame(BINARY, true, b"\0\xff\xff\xff\xff"), 1011),
        (&text(&deep[..60_000]), 1011),
    ] {
        check_closed(&server, &token, bytes, code);
    }
    // The server is none the worse for it.
    let mut peer = Peer::open(&server, &token);
    assert!(peer.join("tea", "{}").contains("\"ok\""));
}

#[test]
fn json_that_is_not_taken_costs_its_push_and_nothing_else() {
    let server = Server::start(&["shards=1"]);
    let token = server.token("Ann");
    let mut peer = Peer::open(&server, &token);
    assert!(peer.join("tea", "{}").contains("\"ok\""));
    let deep = "[".repeat(128) + &"]".repeat(128);
    let digits = "9".repeat(617);
    let long = "9".repeat(129);
    for (message, field) in [
        (format!(r#"["1","7","room:tea","doc",{deep}]"#), "payload"),
        (r#"["1","7","room:tea","new_msg",{"body":"cut \ud83d"}]"#.to_owned(), "payload"),
        (format!(r#"["1","7","room:tea","echo",{{"n":{digits}}}]"#), "payload"),
        (r#"["1","7","room:tea","\udc00",{}]"#.to_owned(), "event"),
        (r#"["1","7","room:tea","phx_join",[1e999]]"#.to_owned(), "payload"),
        (r#"["\udc00","7","room:new","phx_join",{}]"#.to_owned(), "join_ref"),
        (format!(r#"["1",{long},"room:tea","doc",{{}}]"#), "ref"),
    ] {
        peer.send_raw(&text(&message));
        let answer = peer.await_text("phx_reply");
        assert!(answer.contains(&format!(r#"{{"field":"{field}","message":""#)), "{answer:.300}");
        assert!(answer.contains(r#""reason":"invalid"},"status":"error"}]"#), "{answer:.300}");
    }
    // What is not read may be anything, and what there is lives on.
    peer.send_raw(&text(r#"["1","8","room:tea","echo",{"a":1},"\ud800"]"#));
    peer.await_text(r#"["1","8","room:tea","phx_reply",{"response":{"a":1},"status":"ok"}]"#);
    peer.send_raw(&text(r#"["1","9","room:tea","phx_leave",{"a":"\ud800"}]"#));
    peer.await_text(r#"["1","9","room:tea","phx_reply",{"response":{},"status":"ok"}]"#);
}

#[test]
fn fragments_are_counted_and_one_too_many_ends_it() {
    let server = Server::start(&["shards=1", "limits.fragments=16"]);
    let token = server.token("Ann");
    let mut heartbeat: Vec<Vec<u8>> =
        vec![frame(TEXT, false, br#"[null,"2","phoenix","heartbeat","#)];
    heartbeat.extend((0..14).map(|_| frame(CONTINUATION, false, b"")));
    let mut peer = Peer::open(&server, &token);
    peer.send_raw(&heartbeat.concat());
    peer.send_raw(&frame(CONTINUATION, true, b"{}]"));
    peer.await_text(r#"[null,"2","phoenix","phx_reply""#);
    heartbeat.push(frame(CONTINUATION, false, b""));
    heartbeat.push(frame(CONTINUATION, true, b"{}]"));
    check_closed(&server, &token, &heartbeat.concat(), 1008);
}

#[test]
fn a_message_that_does_not_end_has_an_absolute_time() {
    let server = Server::start(&["shards=1", "limits.message_ms=1000", "limits.idle_ms=60000"]);
    let token = server.token("Ann");
    // In fragments with pings between them, in one frame byte by byte, and in a header that is not
    // whole.
    let ping = frame(PING, true, b"");
    for (begun, and_then) in [
        (frame(TEXT, false, b"["), &ping[..]),
        (frame(TEXT, true, &vec![b' '; 60_000])[..100].to_vec(), b" "),
        (b"\x81".to_vec(), b""),
    ] {
        let mut peer = Peer::open(&server, &token);
        peer.send_raw(&begun);
        let mut stream = peer.stream.try_clone().unwrap();
        let (begun, and_then) = (begun[0], and_then.to_vec());
        let feeder = std::thread::spawn(move || {
            while stream.write_all(&and_then).is_ok() {
                if and_then.is_empty() {
                    return;
                }
                pause();
            }
        });
        assert_eq!(peer.closed(), (1008, "message too slow".to_owned()), "{begun:x}");
        drop(peer);
        feeder.join().unwrap();
    }
}

#[test]
fn who_is_silent_is_closed_and_who_answers_pings_is_not() {
    let server = Server::start(&["shards=1", "limits.idle_ms=1000"]);
    let token = server.token("Ann");
    let mut lively = Peer::open(&server, &token);
    let mut silent = Peer::open(&server, &token);
    let closed = std::thread::spawn(move || silent.closed());
    while !closed.is_finished() {
        lively.send_raw(&frame(PONG, true, b""));
        pause();
    }
    assert_eq!(closed.join().unwrap().0, 1002);
    lively.send_raw(&frame(PING, true, b"still there"));
    assert_eq!(lively.frame(), Some((PONG, b"still there".to_vec())));
}

#[test]
fn after_the_close_frame_tcp_ends_whatever_the_peer_does() {
    let server = Server::start(&["shards=1"]);
    let token = server.token("Ann");
    let files = server.files();
    // One that keeps talking, one that says nothing more, one that has never read.
    let mut talker = Peer::open(&server, &token);
    talker.send_raw(&frame(CLOSE, true, b""));
    assert_eq!(talker.closed().0, 1000);
    let mut silent = Peer::open(&server, &token);
    silent.send_raw(&text("no"));
    let mut deaf = Peer::new(connect(&server));
    deaf.send_raw(upgrade(&token, "").as_bytes());
    deaf.send_raw(&frame(0x3, true, b""));
    until("the talker is cut off", || {
        talker.stream.write_all(&frame(PING, true, &[0; 100])).is_err()
    });
    until("the others are let go", || server.files() <= files);
    assert_eq!(silent.closed().0, 1011);
    assert_eq!(deaf.answer().status, 101);
    assert_eq!(deaf.closed().0, 1002);
}

#[test]
fn binary_messages_of_any_shape_hurt_nobody() {
    let server = Server::start(&["shards=2"]);
    let mut peer = server.guest("Ann");
    let mut other = server.guest("Bob");
    for peer in [&mut peer, &mut other] {
        peer.join("tea", r#"{"presence":false}"#);
    }
    // join_ref, ref, topic, event, and data that is anything.
    let push =
        [&b"\0\x01\x01\x08\x01"[..], b"1", b"2", b"room:tea", b"x", b"\0\xff\xfe[]"].concat();
    peer.send_raw(&frame(BINARY, true, &push));
    let heard = loop {
        if let Some((BINARY, payload)) = other.frame() {
            break payload;
        }
    };
    assert!(heard.ends_with(b"\0\xff\xfe[]"), "{heard:?}");
    peer.send_raw(&crate::peer::publish("tea", 3, "still here"));
    assert_eq!(number(&other.await_text("still here"), "offset"), 1);
}

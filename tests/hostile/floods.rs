//! Too much of something that is fine in itself: the refusal says which limit it was, and when to
//! try again.
//!
//! Memory is measured in pages of up to 2 MiB, so the bounds here are far above what is used and
//! far below what a pile would take.

use std::collections::HashSet;
use std::io::Write;

use chinwag::limits::{ANSWER_BYTES_PER_WORK, LEAVING_WORK, REQUEST_WORK, TOKEN_WORK, TURN_WORK};

use crate::metrics;
use crate::peer::{
    Answer, CLOSE, PING, PONG, Peer, TEXT, ask, connect, frame, join, number, publish, text,
    upgrade,
};
use crate::server::{Server, until};

/// Sends these at once, and counts the answers that are in order and those that are refused for
/// this limit.
#[track_caller]
fn flood(peer: &mut Peer, messages: &[Vec<u8>], limit: &str) -> (usize, usize) {
    peer.send_raw(&messages.concat());
    let mut counts = (0, 0);
    for _ in messages {
        let answer = peer.await_text(r#""phx_reply""#);
        if answer.contains(r#""status":"ok""#) {
            counts.0 += 1;
        } else {
            assert!(
                answer.contains(&format!(r#""limit":"{limit}","reason":"rate_limited""#)),
                "{answer}"
            );
            assert!((1..=1_000).contains(&number(&answer, "retry_ms")), "{answer}");
            counts.1 += 1;
        }
    }
    counts
}

#[test]
fn pushes_past_the_burst_are_refused_until_the_time_that_the_refusal_names() {
    let server = Server::start(&["shards=2", "limits.publish_per_s=1", "limits.publish_burst=5"]);
    let mut peer = server.guest("Ann");
    peer.join("tea", "{}");
    let messages: Vec<_> = (0..50).map(|reference| publish("tea", reference, "x")).collect();
    let (accepted, refused) = flood(&mut peer, &messages, "limits.publish_per_s");
    assert!((5..=7).contains(&accepted), "{accepted} accepted, {refused} refused");
    peer.send_raw(&publish("tea", 99, "x"));
    let retry_ms = number(&peer.await_text(r#""99""#), "retry_ms");
    std::thread::sleep(std::time::Duration::from_millis(retry_ms));
    peer.send_raw(&publish("tea", 100, "x"));
    assert!(peer.await_text(r#""100""#).contains(r#""status":"ok""#), "at the time named it may");
}

#[test]
fn joins_past_the_burst_are_refused_and_others_are_let_in() {
    let server = Server::start(&["shards=2", "limits.join_per_s=1", "limits.join_burst=5"]);
    let mut peer = server.guest("Ann");
    let joins: Vec<_> =
        (0..50).map(|room| join(&format!("room-{room}"), r#"{"presence":false}"#)).collect();
    let (accepted, refused) = flood(&mut peer, &joins, "limits.join_per_s");
    assert!((5..=7).contains(&accepted), "{accepted} accepted, {refused} refused");
    assert!(server.guest("Bob").join("tea", "{}").contains("\"ok\""));
}

#[test]
fn channels_of_a_connection_and_rooms_of_the_server_are_bounded() {
    let server = Server::start(&["shards=1", "limits.channels_per_conn=3", "limits.rooms=4"]);
    let mut peer = server.guest("Ann");
    for room in ["a", "b", "c"] {
        assert!(peer.join(room, "{}").contains("\"ok\""));
    }
    assert!(peer.join("d", "{}").contains("too many channels joined"));
    let mut other = server.guest("Bob");
    assert!(other.join("d", "{}").contains("\"ok\""));
    assert!(other.join("e", "{}").contains("too_many_rooms"));
    let answer = ask(&server, new_room(&server.token("Eve"), "e").as_bytes());
    let expected = r#"{"error":{"message":"no new room can be made","reason":"too_many_rooms"}}"#;
    assert_eq!((answer.status, &*answer.body), (503, expected));
    // An empty room makes place for a new one.
    other.send(r#"["1","2","room:d","phx_leave",{}]"#);
    other.await_text("phx_reply");
    assert!(other.join("e", "{}").contains("\"ok\""));
}

#[test]
fn who_leaves_a_room_may_join_another_in_the_same_breath() {
    let server = Server::start(&["shards=2", "limits.channels_per_conn=1", "limits.join_per_s=0"]);
    let mut ann = server.guest("Ann");
    assert!(ann.join("r0", "{}").contains(r#""status":"ok""#));
    // Their homes are on both shards, and a home elsewhere answers later.
    for room in 1..=20 {
        let leave = format!(r#"["1","2","room:r{}","phx_leave",{{}}]"#, room - 1);
        ann.send_raw(&[text(&leave), join(&format!("r{room}"), "{}")].concat());
        let answer = ann.await_text(&format!(r#""room:r{room}","phx_reply""#));
        assert!(answer.contains(r#""status":"ok""#), "{answer}");
    }
}

#[test]
fn a_user_makes_no_more_rooms_over_http_than_it_may() {
    let server = Server::start(&["shards=2", "limits.rooms_per_s=1", "limits.rooms_burst=3"]);
    let token = server.token("Ann");
    let mut peer = Peer::new(connect(&server));
    let answers: Vec<_> = (0..4)
        .map(|number| {
            peer.send_raw(new_room(&token, &format!("r{number}")).as_bytes());
            peer.answer()
        })
        .collect();
    assert_eq!(
        answers.iter().map(|answer| answer.status).collect::<Vec<_>>(),
        [201, 201, 201, 429]
    );
    let refused = &answers[3];
    let expected = r#"{"error":{"message":"too many rooms at once: see limits.rooms_per_s","reason":"rate_limited"}}"#;
    assert_eq!(refused.body, expected);
    assert!(refused.head.contains("\r\nretry-after: 1\r\n"), "{}", refused.head);
    // A new connection is no new burst, and nobody else is concerned.
    assert_eq!(ask(&server, new_room(&token, "r4").as_bytes()).status, 429);
    assert_eq!(ask(&server, new_room(&server.token("Bob"), "r4").as_bytes()).status, 201);
}

/// The request that makes a room.
fn new_room(token: &str, room: &str) -> String {
    let body = format!(r#"{{"room":"{room}"}}"#);
    let length = body.len();
    format!(
        "POST /api/rooms HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

#[test]
fn a_body_may_be_as_long_as_the_limit_says_and_not_a_byte_longer() {
    let server = Server::start(&["shards=1", "limits.body_bytes=100"]);
    let mut peer = server.guest("Ann");
    peer.join("tea", r#"{"presence":false}"#);
    peer.send_raw(&publish("tea", 2, &"x".repeat(100)));
    assert!(peer.await_text("phx_reply").contains("\"ok\""));
    peer.send_raw(&publish("tea", 3, &"x".repeat(101)));
    let answer = peer.await_text("phx_reply");
    assert!(
        answer.contains(r#"{"field":"body","max_bytes":100,"reason":"too_large"}"#),
        "{answer}"
    );
}

#[test]
fn pings_from_one_that_does_not_read_pile_up_nowhere() {
    let server = Server::start(&["shards=1"]);
    let mut peer = server.guest("Ann");
    let before = server.resident_bytes();
    let pings = frame(PING, true, &[b'p'; 125]).repeat(1_000);
    peer.stream.set_write_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
    // Some 50 MB of pongs, if all were answered.
    for _ in 0..400 {
        if peer.stream.write_all(&pings).is_err() {
            break;
        }
    }
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes for one that only asks");
    assert!(server.guest("Bob").join("tea", "{}").contains("\"ok\""));
}

#[test]
fn a_million_small_fragments_and_frames_cost_no_memory() {
    let server = Server::start(&["shards=1", "limits.fragments=1000000"]);
    let mut peer = server.guest("Ann");
    let before = server.resident_bytes();
    let some = frame(0, false, b"").repeat(10_000);
    peer.send_raw(&frame(TEXT, false, b""));
    for _ in 0..99 {
        peer.send_raw(&some);
    }
    peer.send_raw(&frame(PING, true, b"?"));
    assert_eq!(peer.frame(), Some((PONG, b"?".to_vec())));
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes for nothing");
    peer.send_raw(&frame(0, true, br#"[null,"1","phoenix","heartbeat",{}]"#));
    peer.await_text("phx_reply");
}

#[test]
fn who_asks_on_and_never_reads_is_not_answered_for_ever() {
    let server =
        Server::start(&["shards=1", "limits.conn_out_bytes=131072", "history.page_bytes=65536"]);
    let before = server.resident_bytes();
    let mut peer = server.guest("Ann");
    peer.stream.set_write_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
    let echo = text(&format!(r#"["1","1","room:tea","echo","{}"]"#, "x".repeat(16_000))).repeat(20);
    peer.join("tea", "{}");
    while peer.stream.write_all(&echo).is_ok() {}
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes for one that does not read");
    // Answers of HTTP neither.
    let mut asker = connect(&server);
    asker.set_write_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
    let requests = b"GET /style.css HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(10_000);
    while asker.write_all(&requests).is_ok() {}
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes for one that does not read");
}

/// A request for the numbers of the server: its answer says in which turn it was made.
const NUMBERS: &str = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// What the requests of a flood cost that were answered in one turn, as far as that can be seen:
/// what was left of the work of the turn before, and its own.
#[derive(Default)]
struct Turn {
    number: u64,
    work: u64,
}

impl Turn {
    /// A request was answered in a turn.
    fn answered(&mut self, number: u64, request: &str, answer: &Answer) {
        if number != self.number {
            *self = Self { number, ..Self::default() };
        }
        let answer_bytes = answer.head.len() + answer.body.len();
        let token = if request.starts_with("POST") { TOKEN_WORK } else { 0 };
        // What was begun with some work left is finished.
        let has_left = self.work < 2 * u64::from(TURN_WORK);
        assert!(has_left, "no turn does more than its work: {} and more", self.work);
        self.work +=
            u64::from(REQUEST_WORK + token) + (answer_bytes / ANSWER_BYTES_PER_WORK) as u64;
    }
}

#[test]
fn no_turn_answers_more_requests_than_its_work_allows_however_many_there_are() {
    const TIMES: usize = 2_000;
    let server = Server::start(&["shards=1", "http.metrics=true", "limits.tokens_per_s_per_ip=0"]);
    let session = r#"{"name":"Ann"}"#;
    let head = "POST /api/session HTTP/1.1\r\nHost: localhost\r\nContent-Length:";
    for request in [
        NUMBERS,
        "GET /style.css HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /api/rooms?limit=1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        &format!("{head} {}\r\n\r\n{session}", session.len()),
    ] {
        let mut flood = Peer::new(connect(&server));
        let mut other = server.guest("Bob");
        let requests = format!("{request}{NUMBERS}").repeat(TIMES);
        let (mut turn, mut turns) = (Turn::default(), HashSet::new());
        let mut writer = flood.stream.try_clone().expect("a socket");
        std::thread::scope(|scope| {
            // Who writes must not wait for who reads.
            scope.spawn(move || writer.write_all(requests.as_bytes()));
            for _ in 0..TIMES {
                let answer = flood.answer();
                assert!([200, 201, 401].contains(&answer.status), "{request}: {answer:?}");
                let numbers = flood.answer();
                let number = metrics::read(&numbers.body, "chinwag_turns_total");
                // Where a turn begins it may have been the last one of that before.
                if number == turn.number {
                    turn.answered(number, request, &answer);
                }
                turn.answered(number, NUMBERS, &numbers);
                turns.insert(number);
            }
        });
        assert!(turns.len() > 5, "{request}: {} turns", turns.len());
        other.send(r#"[null,"1","phoenix","heartbeat",{}]"#);
        other.await_text("phx_reply");
    }
}

/// What the server has done by now: its turns, the memberships that ended with their connection,
/// and how many rooms there are.
fn numbers(server: &Server) -> [u64; 3] {
    let answer = ask(server, NUMBERS.as_bytes());
    let names = ["chinwag_turns_total", "chinwag_memberships_ended_total", "chinwag_rooms"];
    names.map(|name| metrics::read(&answer.body, name))
}

#[test]
fn a_connection_with_ten_thousand_channels_ends_over_many_turns_in_which_others_are_answered() {
    const CHANNELS: u64 = 10_000;
    let most = u64::from((TURN_WORK / 2).div_ceil(LEAVING_WORK));
    for (shards, is_closed) in [(1, false), (1, true), (2, false)] {
        let server = Server::start(&[
            &format!("shards={shards}"),
            "http.metrics=true",
            "limits.channels_per_conn=10000",
            "limits.join_per_s=0",
            "limits.rooms_per_s=0",
        ]);
        let mut ann = server.guest("Ann");
        let mut writer = ann.stream.try_clone().expect("a socket");
        let joins = (0..CHANNELS).flat_map(|room| join(&format!("r{room}"), "{}"));
        let joins: Vec<u8> = joins.collect();
        std::thread::scope(|scope| {
            // Who writes must not wait for who reads.
            scope.spawn(move || writer.write_all(&joins));
            for _ in 0..CHANNELS {
                let answer = ann.await_text("phx_reply");
                assert!(answer.contains(r#""status":"ok""#), "{answer}");
            }
        });
        let mut bob = server.guest("Bob");
        let [begun, _, rooms] = numbers(&server);
        assert_eq!(rooms, CHANNELS);
        if is_closed {
            ann.send_raw(&frame(CLOSE, true, &[]));
        } else {
            drop(ann);
        }
        let (mut turns, mut ended) = (begun, 0);
        until("it has left all rooms", || {
            bob.send(r#"[null,"1","phoenix","heartbeat",{}]"#);
            bob.await_text("phx_reply");
            let [now, left, rooms] = numbers(&server);
            // Those of the turn in which the numbers were read are in part among them.
            let may_leave = (now - turns + 2) * most;
            assert!(left - ended <= may_leave, "{} left in {} turns", left - ended, now - turns);
            (turns, ended) = (now, left);
            left == CHANNELS && rooms == 0
        });
        assert!(turns - begun >= CHANNELS / most, "{} turns", turns - begun);
    }
}

#[test]
fn connections_from_one_address_are_bounded_and_a_place_that_is_free_is_given_again() {
    let server = Server::start(&["shards=1", "limits.connections_per_ip=5"]);
    let token = server.token("Ann");
    let files = server.files();
    let mut peers: Vec<Peer> = Vec::new();
    // The connection that asked for the token may be one of the five for a little while yet.
    until("there are five", || {
        let mut peer = Peer::new(connect(&server));
        let sent = peer.stream.write_all(upgrade(&token, "").as_bytes());
        if sent.is_ok() && peer.answer_or_end().is_some() {
            peers.push(peer);
        }
        peers.len() == 5
    });
    for _ in 0..20 {
        // Closed at once: refused, rather than accepted and lost.
        Peer::new(connect(&server)).ended();
    }
    assert!(server.files() <= files + 5);
    drop(peers.pop());
    until("there is a place again", || {
        let mut stream = connect(&server);
        let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).is_ok() && Peer::new(stream).answer_or_end().is_some()
    });
}

/// Asks for a session of long polling, and gives the status in the answer.
fn open_session(peer: &mut Peer, token: &str) -> u64 {
    let request =
        format!("GET /socket/longpoll?vsn=2.0.0&token={token} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    peer.send_raw(request.as_bytes());
    number(&peer.answer().body, "status")
}

#[test]
fn sessions_of_one_user_are_bounded_however_few_connections_open_them() {
    let server = Server::start(&["shards=1"]);
    let (ann, bob) = (server.token("Ann"), server.token("Bob"));
    let mut peer = Peer::new(connect(&server));
    let statuses: Vec<_> = (0..40).map(|_| open_session(&mut peer, &ann)).collect();
    assert_eq!(statuses, [[410; 32].as_slice(), &[403; 8]].concat());
    assert_eq!(open_session(&mut peer, &bob), 410, "nobody else is concerned");
}

#[test]
fn sessions_count_for_the_address_that_opened_them() {
    let server = Server::start(&["shards=1", "limits.connections_per_ip=5"]);
    let token = server.token("Ann");
    let mut peer = Peer::new(connect(&server));
    // The connection that asked for the token may be one of the five for a little while yet.
    let mut opened = 0;
    until("there are four beside the connection", || {
        opened += u64::from(open_session(&mut peer, &token) == 410);
        opened == 4
    });
    assert_eq!(open_session(&mut peer, &token), 403);
    Peer::new(connect(&server)).ended();
}

#[test]
fn a_new_connection_of_a_user_is_no_new_burst() {
    let server = Server::start(&["shards=1", "limits.publish_per_s=1", "limits.publish_burst=5"]);
    let token = server.token("Ann");
    let mut accepted = 0;
    for _ in 0..5 {
        let mut peer = Peer::open(&server, &token);
        peer.join("tea", r#"{"presence":false}"#);
        let messages: Vec<_> = (0..20).map(|reference| publish("tea", reference, "x")).collect();
        accepted += flood(&mut peer, &messages, "limits.publish_per_s").0;
    }
    assert!((5..=12).contains(&accepted), "{accepted} accepted");
}

//! Members that read slowly, or not at all: others do not notice, memory stays, and they catch up.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use crate::crowd::{Crowd, Member};
use crate::metrics::value;
use crate::peer::{Peer, ask, connect, join, number, publish, upgrade};
use crate::server::{Server, until};

/// How many messages are on their way at once.
const WINDOW: u64 = 8;
const BODY_BYTES: usize = 15_000;

#[test]
fn a_hundred_that_stop_reading_cost_the_others_nothing_and_the_server_little() {
    const MEMBERS: usize = 1_000;
    const STUCK: usize = 100;
    const WARM: u64 = 5;
    const MESSAGES: u64 = 400 + (WARM - 1) * WINDOW; // 6 MB, after some that everybody reads
    let server = Server::start(&[
        "shards=2",
        "limits.join_per_s=0",
        "limits.publish_per_s=0",
        "limits.fanout_bytes_per_s=0",
    ]);
    let token = server.token("Ann");
    let mut opening = upgrade(&token, "").into_bytes();
    opening.extend(join("tea", r#"{"presence":false,"limit":0}"#));
    let mut crowd = Crowd::connect(&server, MEMBERS, &opening);
    crowd.members[..STUCK].iter().for_each(Member::limit_window);
    crowd.until("all are in", |members| members.iter().all(|member| member.joined == 1));
    let body = "x".repeat(BODY_BYTES);
    let speaker = MEMBERS - 1;
    let (mut before, mut most) = (0, 0);
    for window in 1..=MESSAGES / WINDOW {
        if window == WARM {
            before = server.resident_bytes();
            crowd.members[..STUCK].iter_mut().for_each(|member| member.is_stuck = true);
        }
        for reference in 0..WINDOW {
            crowd.send(speaker, &publish("tea", reference, &body));
        }
        let heard = window * WINDOW;
        crowd.until("all who read have heard it", |members| {
            members[STUCK..].iter().all(|member| member.offset == heard)
        });
        // These read as good as nothing.
        for member in &mut crowd.members[..10] {
            member.read_a_byte();
        }
        most = most.max(server.resident_bytes());
    }
    for member in &crowd.members[STUCK..] {
        assert!(member.heard == MESSAGES && !member.has_lagged && member.closed.is_none());
    }
    assert_eq!(u64::from(crowd.members[speaker].acked), MESSAGES);
    let grown = most - before;
    assert!(grown < 8 << 20, "{grown} bytes for a hundred that do not read");

    // When they read again they are told, join with what they know, and are up to date.
    for index in 0..STUCK {
        crowd.unstick(index);
    }
    crowd.until("they are told", |members| {
        members[..STUCK].iter().all(|member| member.has_lagged || member.closed.is_some())
    });
    let rejoin = join(
        "tea",
        &format!(
            r#"{{"presence":false,"limit":1,"since":{{"epoch":"0","offset":{}}}}}"#,
            MESSAGES - 1
        ),
    );
    for index in 0..STUCK {
        let member = &crowd.members[index];
        assert!(
            member.offset < MESSAGES,
            "{index}: {} {} {:?}",
            member.offset,
            member.has_lagged,
            member.closed
        );
        crowd.send(index, &rejoin);
    }
    crowd
        .until("they are back", |members| members[..STUCK].iter().all(|member| member.joined == 2));
    crowd.send(speaker, &publish("tea", 1, "welcome back"));
    crowd.until("all hear the next one", |members| {
        members.iter().all(|member| member.offset == MESSAGES + 1)
    });
}

#[test]
fn who_lagged_recovers_exactly_what_it_missed() {
    const MESSAGES: u64 = 400;
    let server = Server::start(&[
        "shards=2",
        "limits.join_per_s=0",
        "limits.publish_per_s=0",
        "limits.room_lag_bytes=131092",
        "history.room_bytes=16777216",
        // Else it may have no more than 4 MiB.
        "chat.changes=0",
        "history.page_bytes=8388608",
        "limits.conn_out_bytes=16777216",
    ]);
    let stream = connect(&server);
    // A small window, so that little is in the kernel's hands.
    socket2::SockRef::from(&stream).set_recv_buffer_size(128 * 1_024).unwrap();
    let mut slow = Peer::open_on(stream, &server.token("Slow"));
    let answer = slow.join("tea", r#"{"presence":false}"#);
    let epoch = answer.split_once(r#""epoch":""#).unwrap().1.split('"').next().unwrap().to_owned();
    let mut speaker = server.guest("Ann");
    speaker.join("tea", r#"{"presence":false}"#);
    let body = "x".repeat(BODY_BYTES);
    for reference in 1..=MESSAGES {
        speaker.send_raw(&publish("tea", reference, &body));
        assert!(speaker.await_text("phx_reply").contains("\"ok\""));
    }
    let mut offset = 0;
    loop {
        let text = slow.await_text("[");
        if text.contains("\"phx_error\"") {
            assert!(text.contains(r#"{"reason":"lagging"}"#), "{text}");
            break;
        }
        assert_eq!(number(&text, "offset"), offset + 1);
        offset += 1;
    }
    assert!(offset < MESSAGES);
    let answer =
        slow.join("tea", &format!(r#"{{"since":{{"epoch":"{epoch}","offset":{offset}}}}}"#));
    assert!(answer.contains(r#""recovered":true"#));
    // The cursor and the messages, in whatever order these stand.
    let mut offsets: Vec<u64> = answer
        .split(r#""offset":"#)
        .skip(1)
        .map(|rest| number(&format!("\"offset\":{rest}"), "offset"))
        .collect();
    offsets.sort_unstable();
    let missed: Vec<u64> = (offset + 1..=MESSAGES).chain([MESSAGES]).collect();
    assert_eq!(offsets, missed);
}

#[test]
fn who_joins_many_rooms_in_one_write_and_reads_slowly_is_let_into_all_of_them() {
    const ROOMS: usize = 80;
    const MESSAGES: u64 = 50;
    // What the rooms have to say is nine times as much as may ever wait for a connection.
    let server = Server::start(&[
        "shards=2",
        "limits.join_per_s=0",
        "limits.publish_per_s=0",
        "history.page_bytes=65536",
        "limits.conn_out_bytes=131072",
    ]);
    let mut speaker = server.guest("Ann");
    let body = "x".repeat(1_200);
    let rooms: Vec<_> = (0..ROOMS).map(|number| format!("room {number}")).collect();
    for room in &rooms {
        speaker.join(room, r#"{"presence":false}"#);
        (1..=MESSAGES).for_each(|reference| speaker.send_raw(&publish(room, reference, &body)));
        let last = format!(r#""offset":{MESSAGES}}},"status":"ok"}}"#);
        while !speaker.await_text("phx_reply").contains(&last) {}
    }
    let stream = connect(&server);
    socket2::SockRef::from(&stream).set_recv_buffer_size(32 * 1_024).unwrap();
    let mut slow = Peer::open_on(stream, &server.token("Slow"));
    let joins: Vec<u8> =
        rooms.iter().flat_map(|room| join(room, r#"{"presence":false}"#)).collect();
    slow.send_raw(&joins);
    let mut joined: Vec<_> = rooms
        .iter()
        .map(|_| {
            let answer = slow.await_text("phx_reply");
            assert_eq!(answer.matches(&body).count() as u64, MESSAGES);
            answer.split('"').nth(5).unwrap().strip_prefix("room:").unwrap().to_owned()
        })
        .collect();
    joined.sort_unstable_by_key(|room| rooms.iter().position(|named| named == room));
    assert_eq!(joined, rooms);
    slow.send(r#"[null,"2","phoenix","heartbeat",{}]"#);
    slow.await_text("phoenix");
}

/// Far more than the kernel keeps for a socket.
const ANSWERS_BYTES: usize = 8 << 20;
const ASSET: &[u8] = b"GET /style.css HTTP/1.1\r\nHost: localhost\r\n\r\n";
const LAST_ASSET: &[u8] =
    b"GET /style.css HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[test]
fn an_answer_goes_out_whole_to_a_slow_reader_that_has_said_its_last() {
    // Far more than may wait for a connection, so that most of what it asks waits in turn.
    let server = Server::start(&["shards=1"]);
    let asset_bytes = ask(&server, ASSET).body.len();
    let count = ANSWERS_BYTES / asset_bytes;
    let read = |last: &[u8], ends_its_half: bool| {
        let mut stream = connect(&server);
        socket2::SockRef::from(&stream).set_recv_buffer_size(128 * 1_024).unwrap();
        stream.write_all(&[&ASSET.repeat(count - 1), last].concat()).unwrap();
        if ends_its_half {
            stream.shutdown(Shutdown::Write).unwrap();
        }
        let mut received = Vec::new();
        // Over more than four seconds, twice as long as a connection lingers.
        while (&mut stream).take(ANSWERS_BYTES as u64 / 64).read_to_end(&mut received).unwrap() > 0
        {
            thread::sleep(Duration::from_millis(70));
        }
        let received = String::from_utf8_lossy(&received);
        assert_eq!(received.matches("HTTP/1.1 200 OK\r\n").count(), count, "{ends_its_half}");
        let (_, body) = received.rsplit_once("\r\n\r\n").unwrap();
        assert_eq!(body.len(), asset_bytes, "the last one is whole");
    };
    thread::scope(|scope| {
        for (last, ends_its_half) in [(LAST_ASSET, false), (ASSET, true), (LAST_ASSET, true)] {
            scope.spawn(move || read(last, ends_its_half));
        }
    });
}

#[test]
fn a_request_that_another_shard_answers_is_answered_to_one_that_has_said_its_last() {
    let server = Server::start(&["shards=4"]);
    let token = server.token("ann");
    for number in 0..16 {
        let body = format!(r#"{{"room":"r{number}","title":"Room"}}"#);
        let request = format!(
            "POST /api/rooms HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = connect(&server);
        stream.write_all(&[request.as_bytes(), ASSET].concat()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        let received = String::from_utf8_lossy(&received);
        assert!(received.starts_with("HTTP/1.1 201 "), "{number}: {received}");
        assert_eq!(received.matches("HTTP/1.1 200 OK\r\n").count(), 1, "and the next one");
    }
}

#[test]
fn a_reader_that_takes_nothing_of_its_last_answer_is_closed_in_time() {
    let server = Server::start(&[
        "shards=1",
        "limits.join_per_s=0",
        "limits.conn_out_bytes=536870912",
        "limits.out_ms=2000",
        "http.metrics=true",
    ]);
    let count = ANSWERS_BYTES / ask(&server, ASSET).body.len();
    let mut stream = connect(&server);
    stream.write_all(&[&ASSET.repeat(count - 1), LAST_ASSET].concat()).unwrap();
    until("it is there beside the one that asks", || value(&server, "chinwag_connections") == 2);
    until("it is gone", || value(&server, "chinwag_connections") == 1);
    assert_eq!(value(&server, "chinwag_closed_total{reason=\"overflowed\"}"), 1);
}

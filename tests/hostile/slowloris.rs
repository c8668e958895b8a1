//! Thousands that say a byte a second: in a head, in a body, in a frame's header. Others are served
//! meanwhile, and every place is free again once its time is up.

use std::time::{Duration, Instant};

use crate::crowd::Crowd;
use crate::metrics::value;
use crate::peer::{join, publish, upgrade};
use crate::server::{Server, until};

const LORISES: usize = 5_000;

/// How long a request or a message may take, in milliseconds. A frame's header of 14 bytes, a byte
/// a second, takes longer.
const ALLOWED_MS: u64 = 5_000;

#[test]
fn thousands_at_a_byte_a_second_cost_the_others_nothing_and_are_gone_when_their_time_is_up() {
    let allowed =
        [format!("limits.handshake_ms={ALLOWED_MS}"), format!("limits.message_ms={ALLOWED_MS}")];
    let server = Server::start(&[
        "shards=2",
        "http.metrics=true",
        "limits.publish_per_s=0",
        &allowed[0],
        &allowed[1],
    ]);
    let opening = upgrade(&server.token("Ann"), "");
    let mut lorises = Crowd::connect(&server, 0, b"");
    for number in 0..LORISES {
        lorises.enter(&server, &begun(number, &opening));
    }
    let greeting = [opening.as_bytes(), &join("tea", r#"{"presence":false}"#)].concat();
    let mut honest = Crowd::connect(&server, 1, &greeting);
    honest.until("one is let in among them", |members| members[0].joined == 1);

    let (mut seconds, mut since, mut asked) = (0, Instant::now(), 0);
    while lorises.members.iter().any(|member| !member.has_ended) {
        if since.elapsed() >= Duration::from_secs(1) {
            since = Instant::now();
            seconds += 1;
            assert!(seconds < 60, "some live on by saying a byte now and then");
            for number in 0..LORISES {
                lorises.send(number, &[further(number, seconds)]);
            }
            honest.enter(&server, &greeting);
        }
        // Whoever speaks is answered, one message after the other.
        if honest.members[0].acked == asked {
            asked += 1;
            honest.send(0, &publish("tea", asked.into(), "still here"));
        }
        lorises.turn();
        honest.turn();
    }
    assert!(seconds >= 3, "they were there for a while: {seconds} s");
    assert!(asked > 20, "and {asked} messages meanwhile");
    honest.until("all who came meanwhile are in", |members| {
        members.iter().all(|member| member.joined == 1)
    });
    for (number, member) in lorises.members.iter().enumerate() {
        // Who had an open socket is told why; the others were never answered.
        assert_eq!(member.closed, (number % 3 == 2).then_some(1008), "{number}");
    }
    let late = value(&server, "chinwag_requests_refused_total{reason=\"late\"}");
    let slow = value(&server, "chinwag_closed_total{reason=\"slow\"}");
    assert_eq!((late, slow), (2 * LORISES as u64 / 3 + 1, LORISES as u64 / 3));
    drop(honest);
    until("their places are free", || {
        value(&server, "chinwag_connections") == 1 && server.files() < 100
    });
}

/// What a loris begins with.
fn begun(number: usize, opening: &str) -> Vec<u8> {
    match number % 3 {
        0 => b"GET /socket/websocket HTTP/1.1\r\nHost: localhost\r\nX-Slow: ".to_vec(),
        1 => b"POST /api/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n"
            .to_vec(),
        _ => [opening.as_bytes(), b"\x81"].concat(),
    }
}

/// And what it goes on with: a length of 64 bits and a mask, where it is a frame's header.
fn further(number: usize, seconds: u32) -> u8 {
    match (number % 3, seconds) {
        (0 | 1, _) => b'x',
        (_, 1) => 0xff,
        _ => 0,
    }
}

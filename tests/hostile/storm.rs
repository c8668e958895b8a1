//! More who come than may be in, or than a turn can take.

use std::time::{Duration, Instant};

use crate::crowd::{Crowd, Member};
use crate::metrics::{value, value_on};
use crate::peer::{Peer, connect, join, publish, text, upgrade};
use crate::server::{Server, until};

const INSIDE: usize = 40;
const WAITING: usize = 20;
const REFUSED: &str = "chinwag_refused_total{limit=\"limits.connections\"}";

fn open(members: &[Member]) -> usize {
    members.iter().filter(|member| member.is_open).count()
}

/// A full house, with somebody before the door; and a connection to ask for numbers.
fn full_house(wait: &str) -> (Server, Crowd, Peer) {
    // One more for those who ask for tokens and numbers.
    let connections = format!("limits.connections={}", INSIDE + 1);
    let server = Server::start(&[
        "shards=1",
        "limits.join_per_s=0",
        "http.metrics=true",
        &connections,
        wait,
    ]);
    let opening = upgrade(&server.token("Ann"), "").into_bytes();
    let mut probe = Peer::new(connect(&server));
    // It has its place now, and the one that asked for the token has left.
    while value_on(&mut probe, "chinwag_connections") > 1 {}
    let mut crowd = Crowd::connect(&server, INSIDE, &opening);
    crowd.until("the house is full", |members| open(members) == INSIDE);
    for _ in 0..WAITING {
        crowd.enter(&server, &opening);
    }
    (server, crowd, probe)
}

#[test]
fn before_a_full_house_they_wait_quietly_and_are_in_as_soon_as_somebody_leaves() {
    let (server, mut crowd, mut probe) = full_house("limits.admission_wait_ms=60000");
    let (turns, ticks) = (value_on(&mut probe, "chinwag_turns_total"), server.ticks());
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(1) {
        crowd.turn();
    }
    let (turns, ticks) =
        (value_on(&mut probe, "chinwag_turns_total") - turns, server.ticks() - ticks);
    assert!(turns < 50 && ticks < 20, "{turns} turns and {ticks} of 100 ticks for doing nothing");
    assert_eq!(open(&crowd.members), INSIDE);
    assert!(crowd.members.iter().all(|member| !member.has_ended), "nobody is turned away");
    for index in 0..WAITING {
        crowd.leave(index);
    }
    let since = Instant::now();
    crowd.until("those who waited are in", |members| members.iter().all(|member| member.is_open));
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    assert_eq!(value_on(&mut probe, REFUSED), 0);
}

#[test]
fn before_a_house_that_stays_full_nobody_waits_for_ever() {
    let (server, mut crowd, mut probe) = full_house("limits.admission_wait_ms=300");
    let files = server.files();
    crowd.until("they are turned away", |members| {
        members[INSIDE..].iter().all(|member| member.has_ended)
    });
    assert!(crowd.members[..INSIDE].iter().all(|member| !member.has_ended));
    assert_eq!(open(&crowd.members), INSIDE);
    assert_eq!(value_on(&mut probe, REFUSED), WAITING as u64);
    assert_eq!(server.files(), files, "and nothing is left of them");
    // The next ones wait anew, and have their chance.
    crowd.leave(0);
    let mut late = Peer::new(connect(&server));
    late.send_raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(late.answer().status, 200);
}

#[test]
fn a_storm_past_the_pace_waits_and_everybody_gets_in() {
    const STORM: usize = 500;
    let server = Server::start(&[
        "shards=2",
        "limits.join_per_s=0",
        "http.metrics=true",
        "limits.admissions_per_turn=1",
    ]);
    let mut opening = upgrade(&server.token("Ann"), "").into_bytes();
    opening.extend(join("tea", r#"{"limit":0}"#));
    opening.extend(join("milk", r#"{"limit":0}"#));
    let mut crowd = Crowd::connect(&server, STORM, &opening);
    crowd.until("everybody is in", |members| members.iter().all(|member| member.joined == 2));
    assert!(crowd.members.iter().all(|member| !member.has_ended));
    for what in ["upgrade", "join"] {
        let parked = value(&server, &format!("chinwag_admissions_parked_total{{what=\"{what}\"}}"));
        assert!(parked > 0, "a budget of one is not enough for a {what}");
    }
    // A shard writes its counts down at the end of its turn.
    until("nobody waits any more", || value(&server, "chinwag_admissions_waiting") == 0);
}

#[test]
fn who_come_back_to_long_histories_all_at_once_are_all_let_in() {
    const RETURNING: usize = 60;
    // On two shards, whichever of them each is at home on.
    const ROOMS: [&str; 4] = ["tea", "milk", "news", "rain"];
    const MESSAGES: usize = 16;
    let server = Server::start(&[
        "shards=2",
        "limits.join_per_s=0",
        "limits.publish_per_s=0",
        "limits.admission_wait_ms=60000",
    ]);
    let mut speaker = server.guest("Ann");
    let body = "x".repeat(15_000);
    for room in ROOMS {
        speaker.send_raw(&join(room, r#"{"presence":false}"#));
        speaker.await_text("phx_reply");
        for number in 0..MESSAGES {
            speaker.send_raw(&publish(room, number as u64, &body));
            speaker.await_text("phx_reply");
        }
    }
    // 240 KB each: of one room more than may wait in the way to another shard.
    let mut opening = upgrade(&server.token("Bob"), "").into_bytes();
    opening.extend(ROOMS.iter().flat_map(|room| join(room, r#"{"presence":false}"#)));
    let mut crowd = Crowd::connect(&server, RETURNING, &opening);
    // A refusal would be seen by who is refused.
    crowd.until("everybody is in", |members| {
        members.iter().all(|member| member.joined as usize == ROOMS.len())
    });
    assert!(crowd.members.iter().all(|member| !member.has_ended));
}

#[test]
fn a_heartbeat_is_answered_ahead_of_joins_that_wait() {
    const ROOMS: usize = 50;
    let server =
        Server::start(&["shards=1", "limits.join_per_s=0", "limits.admissions_per_turn=1"]);
    let mut peer = server.guest("Ann");
    let mut messages: Vec<_> =
        (0..ROOMS).map(|room| join(&format!("room-{room}"), r#"{"presence":false}"#)).collect();
    messages.push(text(r#"[null,"9","phoenix","heartbeat",{}]"#));
    peer.send_raw(&messages.concat());
    let mut joined = 0;
    loop {
        let answer = peer.await_text("phx_reply");
        if answer.contains("\"phoenix\"") {
            break;
        }
        joined += 1;
    }
    assert!(joined < ROOMS, "it was said last, and waits for none of them");
    for _ in joined..ROOMS {
        assert!(peer.await_text("phx_reply").contains("\"ok\""));
    }
}

//! The end: asked for once, twice, and with thousands there.

use std::time::Duration;

use crate::crowd::Crowd;
use crate::peer::{join, publish, upgrade};
use crate::server::{PATIENCE, Server, until};

const CLIENTS: usize = 5_000;
const ROOMS: usize = 20;
const DRAIN_S: u64 = 3;

#[test]
fn everybody_is_told_and_has_heard_what_was_acked_and_it_ends_in_time() {
    let server = Server::start(&[
        "shards=2",
        "limits.join_per_s=0",
        &format!("drain_s={DRAIN_S}"),
        "limits.publish_per_s=0",
    ]);
    let token = server.token("Ann");
    let mut crowd = Crowd::connect(&server, 0, b"");
    for client in 0..CLIENTS {
        let mut opening = upgrade(&token, "").into_bytes();
        opening.extend(join(&room(client), r#"{"presence":false,"limit":0}"#));
        crowd.enter(&server, &opening);
    }
    crowd.until("all are in", |members| members.iter().all(|member| member.joined == 1));
    for client in 0..ROOMS {
        crowd.send(client, &publish(&room(client), 1, "before"));
    }
    server.terminate();
    // They go on talking while they are sent away.
    while crowd.members.iter().any(|member| !member.has_ended) {
        for client in (0..CLIENTS).step_by(97) {
            crowd.send(client, &publish(&room(client), 2, "meanwhile"));
        }
        crowd.turn();
    }
    for member in &crowd.members {
        assert_eq!(member.closed, Some(1012));
        // Who was heard saying something has heard it too: a message comes before its answer.
        assert!(member.heard >= u64::from(member.acked));
    }
    let (status, log) = server.wait(Duration::from_secs(DRAIN_S) + PATIENCE);
    assert_eq!(status.code(), Some(0), "{log}");
}

fn room(client: usize) -> String {
    format!("room-{}", client % ROOMS)
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let server = Server::start(&["shards=2", "limits.join_per_s=0", "drain_s=3600"]);
    let peers: Vec<_> = (0..10).map(|_| server.guest("Ann")).collect();
    server.terminate();
    until("the drain has begun", || server.log().contains("stopping"));
    server.terminate();
    let (status, log) = server.wait(PATIENCE);
    assert_eq!(status.code(), Some(0), "{log}");
    for mut peer in peers {
        while peer.frame().is_some() {}
    }
}

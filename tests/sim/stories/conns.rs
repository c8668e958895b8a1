//! Connections before they have joined: tokens, times and rates.

use chinwag::limits::Limits;

use super::{ROOM, count, plan, tell, waiting, world, world_of};
use crate::acts::UPGRADE_KEY;
use crate::world::World;

/// A request for a socket.
fn upgrade() -> Vec<u8> {
    let token = crate::site::token(0, 2_000_000_000);
    format!(
        "GET /socket/websocket?vsn=2.0.0&token={token} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {UPGRADE_KEY}\r\n\r\n"
    )
    .into_bytes()
}

#[test]
fn of_many_tokens_in_one_request_the_last_two_are_looked_at() {
    let mut world = world(&plan(1, Limits::default()), &[]);
    let mut answer = |tokens: &str| {
        let pipe = world.open(0).expect("there is room");
        let request = String::from_utf8(upgrade()).expect("text").replacen("&token=", tokens, 1);
        world.hosts[0].net.pipes[pipe].to_server.extend_from_slice(request.as_bytes());
        while world.settle() {}
        String::from_utf8_lossy(&world.hosts[0].net.pipes[pipe].to_client[..12]).into_owned()
    };
    assert_eq!(answer("&token=bad&token="), "HTTP/1.1 101");
    let token = crate::site::token(0, 2_000_000_000);
    assert_eq!(
        answer(&format!("&token={token}&token=bad&x=")),
        "HTTP/1.1 101",
        "a session's may be the other"
    );
    assert_eq!(answer(&format!("&token={token}&token=bad&token=bad&x=")), "HTTP/1.1 403");
}

#[test]
fn nobody_has_less_time_than_the_limits_say() {
    let limits =
        Limits { message_ms: 1_000, idle_ms: 1_500, handshake_ms: 1_000, ..Limits::default() };
    for begin_ms in [0, 1, 60, 127] {
        let mut world = world(&plan(1, limits.clone()), &[]);
        world.pass(begin_ms);
        let [asks, begins, is_silent] = [0; 3].map(|host| world.open(host).expect("there is room"));
        let upgrade = upgrade();
        world.hosts[0].net.pipes[asks].to_server.extend_from_slice(&upgrade[..20]);
        for pipe in [begins, is_silent] {
            world.hosts[0].net.pipes[pipe].to_server.extend_from_slice(&upgrade);
        }
        while world.settle() {}
        world.hosts[0].net.pipes[begins].to_server.extend_from_slice(&[0x81, 0x85]);
        let ends = |world: &mut World, ms| {
            world.pass(ms);
            while world.settle() {}
            let metrics = world.hosts[0].shard.metrics();
            (metrics.late, metrics.slow, metrics.idle)
        };
        world.settle();
        assert_eq!(ends(&mut world, 999), (0, 0, 0), "{begin_ms}");
        assert_eq!(ends(&mut world, 500), (1, 1, 0), "{begin_ms}");
        assert_eq!(ends(&mut world, 500), (1, 1, 1), "{begin_ms}");
    }
}

#[test]
fn who_has_asked_in_time_and_waits_to_be_let_in_is_not_late() {
    let limits = Limits {
        admissions_per_turn: 1,
        admission_wait_ms: 60_000,
        handshake_ms: 1_000,
        ..Limits::default()
    };
    let mut world = world(&plan(1, limits), &[]);
    let upgrade = upgrade();
    for _ in 0..4 {
        let pipe = world.open(0).expect("there is room");
        world.hosts[0].net.pipes[pipe].to_server.extend_from_slice(&upgrade);
    }
    world.settle();
    assert_eq!(waiting(&world), 2, "one came in at once, and one with the turn");
    // A turn may take as long as that.
    world.pass(2_000);
    while world.settle() {}
    let metrics = world.hosts[0].shard.metrics();
    assert_eq!((metrics.upgrades, metrics.late), (4, 0));
}

#[test]
fn a_user_has_one_rate_over_all_shards_and_transports() {
    let limits = Limits { publish_burst: 4, publish_per_s: 1, ..Limits::default() };
    for polls in [false, true] {
        let mut world = world_of(&plan(2, limits.clone()), &[(0, 0), (0, 1), (1, 1)], polls);
        for client in 0..3 {
            tell(&mut world, client, |client, mouth| client.join(mouth, ROOM));
        }
        let before = count(&world, "published");
        for client in 0..3 {
            world.write(client, |client, mouth| {
                for number in 0..4 {
                    let body = format!("{} {number}", client.id);
                    client.publish_body(mouth, ROOM, &body, None, None);
                }
            });
        }
        world.rest();
        let refused = count(&world, "rate_limited");
        // Whoever polls has taken some time to join, which is as well.
        assert!((3..=4).contains(&refused), "four of eight of one user: {refused}");
        assert!(count(&world, "published") - before >= 8);
    }
}

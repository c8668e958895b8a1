//! Sessions of long polling.

use chinwag::limits::{Limits, SWEEP_MS};

use super::{ROOM, both_ways, count, plan, tell, world, world_of};
use crate::plan::Plan;
use crate::world::World;

/// Clients of these users, who poll, each by way of the shard beside it.
fn polling_world(plan: &Plan, clients: &[(usize, usize)]) -> World {
    world_of(plan, clients, true)
}

#[test]
fn who_posts_on_while_nothing_can_be_handled_is_refused_in_the_end() {
    let limits = Limits { publish_per_s: 0, ..Limits::default() };
    both_ways(|here, _| {
        let mut world = polling_world(&plan(2, limits.clone()), &[(0, here)]);
        world.jam(true);
        // Some of these are at home on the other shard, and the answers to those joins do not come.
        let rooms = [ROOM, "room:news", "room:r5", "room:r6"];
        world.write(0, |client, mouth| rooms.iter().for_each(|room| client.join(mouth, room)));
        for number in 0..200 {
            world.write(0, |client, mouth| {
                let body = format!("{number} {}", "b".repeat(15_000));
                client.publish_body(mouth, rooms[number % rooms.len()], &body, None, None);
            });
            while world.settle() {}
        }
        assert_eq!(count(&world, "session lost"), 1);
        world.jam(false);
        world.heal();
        world.rest();
        world.check_rest();
    });
}

/// Asks by one connection of a shard for a session, or by one that there is, and gives what is
/// answered at once.
fn request(
    world: &mut World,
    pipe: (usize, usize),
    method: &str,
    session: &str,
    body: &str,
) -> String {
    request_until(world, pipe, 2_000_000_000, method, session, body)
}

/// The same with a token that ends at a time, in seconds of Unix time.
fn request_until(
    world: &mut World,
    pipe: (usize, usize),
    end_s: u64,
    method: &str,
    session: &str,
    body: &str,
) -> String {
    let request = format!(
        "{method} /socket/longpoll?vsn=2.0.0&token={}&token={session} HTTP/1.1\r\nHost: x\r\n\
         Content-Length: {}\r\n\r\n{body}",
        crate::site::token(0, end_s),
        body.len()
    );
    world.hosts[pipe.0].net.pipes[pipe.1].to_server.extend_from_slice(request.as_bytes());
    while world.settle() {}
    let said = std::mem::take(&mut world.hosts[pipe.0].net.pipes[pipe.1].to_client);
    String::from_utf8(said).expect("text")
}

/// Begins a session by a connection, and gives its token.
fn session_by(world: &mut World, pipe: (usize, usize)) -> String {
    session_in(&request(world, pipe, "GET", "", ""))
}

/// The session's token in an answer.
fn session_in(answer: &str) -> String {
    let (_, session) = answer.split_once("\"token\":\"").expect("a session");
    session.trim_end_matches("\"}").to_owned()
}

#[test]
fn a_session_ends_with_its_token_however_often_it_is_polled_and_is_told_so() {
    both_ways(|here, there| {
        let mut world = world(&plan(2, Limits::default()), &[]);
        let pipe = (here, world.open(here).expect("there is room"));
        let other = (there, world.open(there).expect("there is room"));
        let end_s = world.now.unix_ms / 1_000 + 12;
        let mut session = session_in(&request_until(&mut world, pipe, end_s, "GET", "", ""));
        let join = r#"["1","1","user:ann","phx_join",{}]"#;
        request(&mut world, other, "POST", &session, join);
        let joined = request(&mut world, pipe, "GET", &session, "");
        assert!(joined.contains("phx_reply"), "{joined}");
        session = session_in(&joined);
        let mut told = String::new();
        while told.is_empty() {
            assert!(world.now.unix_ms < end_s * 1_000 + 2_000, "it hears of the end");
            let heartbeat = r#"[null,"1","phoenix","heartbeat",{}]"#;
            let posted = request(&mut world, other, "POST", &session, heartbeat);
            let is_over = world.now.unix_ms >= end_s * 1_000;
            let status = if is_over { 410 } else { 200 };
            assert!(posted.contains(&format!(r#"{{"status":{status}}}"#)), "{posted}");
            let polled = request(&mut world, pipe, "GET", &session, "");
            if is_over {
                told = polled;
                break;
            }
            assert!(polled.contains("phx_reply"), "{polled}");
            session = session_in(&polled);
            world.pass(700);
            world.turn(here);
        }
        assert!(told.contains("token_expired"), "{told}");
        let after = request(&mut world, pipe, "GET", &session, "");
        assert!(after.contains(r#"{"status":500}"#), "{after}");
        assert_eq!(world.hosts[here].shard.metrics().expired, 1);
    });
}

#[test]
fn a_poll_that_waits_when_the_token_ends_hears_of_it() {
    let mut world = world(&plan(1, Limits::default()), &[]);
    let pipe = (0, world.open(0).expect("there is room"));
    let end_s = world.now.unix_ms / 1_000 + 5;
    let session = session_in(&request_until(&mut world, pipe, end_s, "GET", "", ""));
    request(&mut world, pipe, "POST", &session, r#"["1","1","user:ann","phx_join",{}]"#);
    let session = session_in(&request(&mut world, pipe, "GET", &session, ""));
    assert_eq!(request(&mut world, pipe, "GET", &session, ""), "", "the poll waits");
    world.pass(5_000 + 2 * SWEEP_MS);
    while world.settle() {}
    let told = world.hosts[0].net.pipes[pipe.1].to_client.clone();
    let told = String::from_utf8(told).expect("text");
    assert!(told.contains("token_expired"), "{told}");
}

#[test]
fn who_posts_while_the_way_to_the_session_stands_still_is_told_that_it_is_busy() {
    let mut world = world(&Plan { ring_bytes: 1_000, ..plan(2, Limits::default()) }, &[]);
    let there = (1, world.open(1).expect("there is room"));
    let session = session_by(&mut world, there);
    world.jam(true);
    // Of one post: whoever has been told of no jam may post as much as a request holds.
    world.hosts[0].net.spare_bytes = 6_000;
    let body = format!(r#"[null,"1","phoenix","heartbeat",{{"padding":"{}"}}]"#, "p".repeat(5_000));
    let mut refused = 0;
    for _ in 0..20 {
        let here = (0, world.open(0).expect("there is room"));
        let answer = request(&mut world, here, "POST", &session, &body);
        assert!(answer.is_empty() || answer.contains(r#"{"status":503}"#), "{answer}");
        refused += u64::from(!answer.is_empty());
    }
    assert_eq!(refused, 16, "four are more than fits");
    assert_eq!(world.hosts[0].shard.metrics().refused_busy, refused);
}

#[test]
fn a_session_that_posts_while_a_join_is_under_way_lives_on_however_short_a_message_may_take() {
    both_ways(|here, _| {
        let mut world = world(&plan(2, Limits { message_ms: 100, ..Limits::default() }), &[]);
        let pipe = (here, world.open(here).expect("there is room"));
        let session = session_by(&mut world, pipe);
        world.jam(true);
        let posted = |world: &mut World, message: &str| {
            assert!(
                request(world, pipe, "POST", &session, message).contains(r#"{"status":200}"#),
                "{message}"
            );
        };
        for (number, event) in ["phx_join", "typing", "typing"].into_iter().enumerate() {
            posted(&mut world, &format!(r#"["1","{number}","{ROOM}","{event}",{{}}]"#));
        }
        world.pass(2 * SWEEP_MS);
        while world.settle() {}
        posted(&mut world, r#"[null,"9","phoenix","heartbeat",{}]"#);
    });
}

#[test]
fn a_poll_is_not_taken_for_one_with_the_same_number_on_another_shard() {
    let mut world = world(&plan(2, Limits::default()), &[]);
    // The first connection of each shard: they have the same number.
    let [there, here] = [0, 1].map(|host| (host, world.open(host).expect("there is room")));
    let session = session_by(&mut world, here);
    let session = &*session;
    assert_eq!(request(&mut world, there, "GET", session, ""), "", "the poll waits");
    world.jam(true);
    // Another poll takes over, and the first one breaks before it hears of that.
    assert_eq!(request(&mut world, here, "GET", session, ""), "");
    world.hosts[0].net.pipes[there.1].reset = true;
    while world.settle() {}
    world.jam(false);
    while world.settle() {}
    let other = (1, world.open(1).expect("there is room"));
    let heartbeat = r#"[null,"1","phoenix","heartbeat",{}]"#;
    assert!(request(&mut world, other, "POST", session, heartbeat).contains(r#"{"status":200}"#));
    let polled =
        String::from_utf8(world.hosts[1].net.pipes[here.1].to_client.clone()).expect("text");
    assert!(polled.contains("phx_reply"), "the poll is answered: {polled}");
}

#[test]
fn who_polls_and_comes_back_to_many_rooms_at_once_is_let_in_everywhere() {
    let limits = Limits { publish_per_s: 0, conn_out_bytes: 8_000, ..Limits::default() };
    let mut plan = plan(2, limits);
    plan.settings.history.page_bytes = 4_000;
    let rooms = [ROOM, "room:news", "room:r5", "room:r6"];
    let mut world = polling_world(&plan, &[(0, 0)]);
    for room in rooms {
        tell(&mut world, 0, |client, mouth| client.join(mouth, room));
        tell(&mut world, 0, |client, mouth| {
            client.publish_body(mouth, room, &format!("{room} {}", "b".repeat(3_500)), None, None);
        });
    }
    tell(&mut world, 0, |client, mouth| rooms.iter().for_each(|room| client.leave(mouth, room)));
    tell(&mut world, 0, |client, mouth| {
        for room in rooms {
            client.join_anew(mouth, room);
        }
    });
    assert_eq!((count(&world, "session lost"), count(&world, "joined")), (0, 8));
}

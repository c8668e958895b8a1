//! Tokens that end, are about to end, and are replaced on their connection.

use chinwag::limits::{Limits, SWEEP_MS};
use serde_json::json;

use super::{ROOM, both_ways, count, plan, tell, world};
use crate::client::Ask;
use crate::plan::Plan;
use crate::site::token;
use crate::world::World;

/// Clients of these users, each on the shard beside it, in the room and on its own topic. The first
/// one may poll, and has a token that lasts so long; those of the others last.
fn talking(clients: &[(usize, usize)], polls: bool, token_s: u64) -> World {
    let shards = 1 + clients.iter().map(|(_, host)| *host).max().expect("somebody");
    let shards = u16::try_from(shards).expect("few");
    // Nobody here sends heartbeats.
    let limits = Limits { idle_ms: 86_400_000, ..Limits::default() };
    let plan = Plan { token_s, ..plan(shards, limits) };
    let mut world = World::new(&Plan { clients: clients.len(), ..plan });
    for (id, (user, host)) in clients.iter().enumerate() {
        let client = &mut world.clients[id];
        (client.user, client.polls) = (*user, polls && id == 0);
        (client.v1, client.refless, client.hides) = (false, false, false);
        world.connect_to(id, *host);
        world.plan.token_s = 1_000_000;
    }
    go_on(&mut world, 4_000);
    for id in 0..clients.len() {
        let own = format!("user:{}", world.clients[id].user().id);
        for topic in [ROOM, &own] {
            world.write(id, |client, mouth| client.join(mouth, topic));
            go_on(&mut world, 200);
        }
    }
    world
}

/// Goes on for `ms`.
fn go_on(world: &mut World, ms: u64) {
    for _ in 0..ms.div_ceil(50) {
        while world.settle() {}
        world.pass(50);
    }
}

/// Where a story is told: on one shard and on two, over a socket and polling.
fn everywhere(story: impl Fn(&[(usize, usize)], bool)) {
    for polls in [false, true] {
        story(&[(0, 0), (1, 0)], polls);
        both_ways(|here, there| story(&[(0, here), (1, there)], polls));
    }
}

/// When the first client's connection ends, in milliseconds of Unix time.
fn end_ms(world: &World) -> u64 {
    world.clients[0].link.as_ref().expect("connected").expires_at_s * 1_000
}

/// Says something in the room.
fn say(world: &mut World, client: usize, body: &str) {
    world.write(client, |client, mouth| client.publish_body(mouth, ROOM, body, None, None));
    go_on(world, 200);
}

/// Pushes a token of the first client.
fn renew(world: &mut World, topic: &str, token: &str, ask: Ask) {
    world.write(0, |client, mouth| client.push_token(mouth, topic, &json!(token), ask));
    go_on(world, 300);
}

/// Whether the first client is in a topic.
fn is_in(world: &World, topic: &str) -> bool {
    world.clients[0].link.as_ref().is_some_and(|link| link.member(topic).is_some())
}

#[test]
fn who_goes_on_with_another_token_stays_over_the_end_of_the_first_and_no_longer() {
    everywhere(|clients, polls| {
        let mut world = talking(clients, polls, 30);
        let first_ms = end_ms(&world);
        let last_s = first_ms / 1_000 + 60;
        renew(&mut world, ROOM, &token(0, last_s), Ask::Renew { expires_at_s: last_s });
        assert_eq!((count(&world, "renewed"), end_ms(&world)), (1, last_s * 1_000));
        let left_ms = first_ms - world.now.unix_ms;
        go_on(&mut world, left_ms + 4 * SWEEP_MS);
        assert!(world.now.unix_ms > first_ms && is_in(&world, ROOM));
        say(&mut world, 0, "after the end of the first");
        assert_eq!(count(&world, "published"), 1);
        let left_ms = last_s * 1_000 - world.now.unix_ms;
        go_on(&mut world, left_ms + 4 * SWEEP_MS);
        assert!(!is_in(&world, ROOM), "and it ends with the second");
    });
}

#[test]
fn an_end_is_told_once_for_each_token_on_ones_own_topic_and_beside_the_channels() {
    everywhere(|clients, polls| {
        let mut world = talking(clients, polls, 200);
        let warned = |world: &World| {
            world.clients[0].link.as_ref().expect("connected").warned_s.clone().map(|of| of.len())
        };
        let left_ms = end_ms(&world) - world.now.unix_ms;
        go_on(&mut world, left_ms - 61_000);
        assert_eq!(warned(&world), [0, 0], "too early");
        go_on(&mut world, 1_000 + 4 * SWEEP_MS);
        assert_eq!(warned(&world), [1, 1]);
        go_on(&mut world, 10_000);
        assert_eq!(warned(&world), [1, 1], "once");
        // Half of forty seconds is sooner than a minute.
        let end_s = world.now.unix_ms / 1_000 + 40;
        renew(&mut world, ROOM, &token(0, end_s), Ask::Renew { expires_at_s: end_s });
        go_on(&mut world, 15_000);
        assert_eq!(warned(&world), [1, 1], "not before half of its time");
        go_on(&mut world, 7_000);
        assert_eq!(warned(&world), [2, 2]);
    });
}

#[test]
fn a_token_that_is_not_good_or_of_another_changes_nothing() {
    everywhere(|clients, polls| {
        let mut world = talking(clients, polls, 1_000_000);
        let (before_ms, far_s) = (end_ms(&world), world.now.unix_ms / 1_000 + 2_000_000);
        for (token, reason) in [
            ("0.x".to_owned(), "unauthorized"),
            (token(0, 1_000_000), "unauthorized"),
            (token(1, far_s), "user_mismatch"),
            ("0.".repeat(8_192), "too_large"),
        ] {
            renew(&mut world, ROOM, &token, Ask::Wrong(reason));
        }
        assert_eq!((count(&world, "renewed"), end_ms(&world)), (0, before_ms));
        assert_eq!((count(&world, "unauthorized"), count(&world, "user_mismatch")), (2, 1));
        say(&mut world, 0, "as before");
        assert_eq!(count(&world, "published"), 1);
    });
}

#[test]
fn a_room_that_the_next_token_does_not_allow_is_left_and_the_others_are_not() {
    everywhere(|clients, polls| {
        let mut world = talking(clients, polls, 1_000_000);
        world.write(0, |client, mouth| client.join(mouth, "room:news"));
        go_on(&mut world, 300);
        let end_s = world.now.unix_ms / 1_000 + 500_000;
        for pushed_in in [ROOM, "room:news"] {
            say(&mut world, 1, &format!("before {pushed_in}"));
            let closed = format!("{}.not=tea", token(0, end_s));
            renew(&mut world, pushed_in, &closed, Ask::Renew { expires_at_s: end_s });
            assert!(!is_in(&world, ROOM) && is_in(&world, "room:news"));
            say(&mut world, 1, &format!("after {pushed_in}"));
            world.write(0, |client, mouth| client.join(mouth, ROOM));
            go_on(&mut world, 300);
            assert!(!is_in(&world, ROOM), "it may not come back");
            let members = world.hosts.iter().map(|host| host.shard.population().members);
            assert_eq!(members.sum::<usize>(), 4, "two of their own, one in each room");
            let open = token(0, end_s);
            renew(&mut world, "room:news", &open, Ask::Renew { expires_at_s: end_s });
            world.write(0, |client, mouth| client.join(mouth, ROOM));
            go_on(&mut world, 300);
            assert!(is_in(&world, ROOM), "until the next token allows it again");
        }
        assert_eq!((count(&world, "removed"), count(&world, "renewed")), (2, 4));
    });
}

#[test]
fn a_token_waits_for_the_join_that_is_under_way() {
    let mut world = talking(&[(0, 0), (1, 1)], false, 1_000_000);
    // At home on the other shard, be it the one or the other.
    let rooms = ["room:tea", "room:news", "room:r5", "room:r6"];
    world.jam(true);
    let end_s = world.now.unix_ms / 1_000 + 500_000;
    world.write(0, |client, mouth| {
        rooms[1..].iter().for_each(|room| client.join(mouth, room));
        let closed = format!("{}.not=news", token(0, end_s));
        client.push_token(mouth, "user:ann", &json!(closed), Ask::Renew { expires_at_s: end_s });
    });
    while world.settle() {}
    assert_eq!(count(&world, "renewed"), 0, "some of these are under way");
    world.jam(false);
    go_on(&mut world, 300);
    assert_eq!((count(&world, "renewed"), count(&world, "removed")), (1, 1));
    assert!(!is_in(&world, "room:news") && is_in(&world, "room:r5") && is_in(&world, "room:r6"));
}

#[test]
fn the_name_in_the_next_token_is_in_what_is_said_from_then_on() {
    for clients in [[(0, 0), (1, 0)], [(0, 0), (1, 1)], [(0, 1), (1, 0)]] {
        let mut world = talking(&clients, false, 1_000_000);
        let end_s = world.now.unix_ms / 1_000 + 500_000;
        let anna = format!("{}.as=Anna", token(0, end_s));
        renew(&mut world, "user:ann", &anna, Ask::Renew { expires_at_s: end_s });
        world.truth.renamed.insert("ann", "Anna");
        say(&mut world, 0, "by another name");
        assert_eq!(count(&world, "published"), 1);
    }
}

#[test]
fn a_lobby_that_shows_other_rooms_begins_anew() {
    for clients in [[(0, 0), (1, 0)], [(0, 0), (1, 1)]] {
        let mut world = talking(&clients, false, 1_000_000);
        world.write(0, |client, mouth| client.join(mouth, "lobby"));
        go_on(&mut world, 1_000);
        let end_s = world.now.unix_ms / 1_000 + 500_000;
        let same = token(0, end_s + 1);
        renew(&mut world, "lobby", &same, Ask::Renew { expires_at_s: end_s + 1 });
        assert!(is_in(&world, "lobby"));
        let closed = format!("{}.not=tea", token(0, end_s));
        renew(&mut world, "lobby", &closed, Ask::Renew { expires_at_s: end_s });
        assert!(!is_in(&world, "lobby"));
        world.write(0, |client, mouth| client.join(mouth, "lobby"));
        go_on(&mut world, 1_000);
        let link = world.clients[0].link.as_ref().expect("connected");
        let rooms = &link.member("lobby").expect("in it").rooms;
        assert!(!rooms.contains_key("tea"), "{rooms:?}");
    }
}

#[test]
fn who_has_expired_neither_speaks_nor_hears_whatever_it_speaks_by() {
    everywhere(|clients, polls| {
        let mut world = talking(clients, polls, 12);
        let left_ms = end_ms(&world) - world.now.unix_ms;
        go_on(&mut world, left_ms - 100);
        assert!(is_in(&world, ROOM));
        // It ends while the client does not look, which goes on as if nothing were.
        world.pass(100 + 2 * SWEEP_MS);
        (0..world.hosts.len()).for_each(|host| world.turn(host));
        world.write(0, |client, mouth| {
            client.publish_body(mouth, ROOM, "too late", None, None);
        });
        say(&mut world, 1, "among ourselves");
        assert_eq!((count(&world, "published"), cursor(&world)), (1, 0));
        assert!(!is_in(&world, ROOM));
        let members = world.hosts.iter().map(|host| host.shard.population().members);
        assert_eq!(members.sum::<usize>(), 2, "the other, in the room and on its own topic");
    });
}

/// The last offset that the first client has heard in the room.
fn cursor(world: &World) -> u64 {
    world.clients[0].cursors.get(ROOM).map_or(0, |cursor| cursor.offset)
}

#[test]
fn pushes_of_tokens_have_the_rate_of_joins() {
    let limits = Limits { join_per_s: 1, join_burst: 5, ..Limits::default() };
    let mut world = world(&plan(1, limits), &[(0, 0)]);
    tell(&mut world, 0, |client, mouth| client.join(mouth, ROOM));
    let now_s = world.now.unix_ms / 1_000;
    world.write(0, |client, mouth| {
        for number in 0..20 {
            let expires_at_s = now_s + 1_000 + number;
            let ask = Ask::Renew { expires_at_s };
            client.push_token(mouth, ROOM, &json!(token(0, expires_at_s)), ask);
        }
    });
    world.rest();
    assert_eq!((count(&world, "renewed"), count(&world, "rate_limited")), (5, 15));
}

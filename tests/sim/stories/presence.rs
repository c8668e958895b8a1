//! Who is seen in a room, and when.

use chinwag::limits::{Limits, PresenceLimits, SWEEP_MS};
use serde_json::json;

use super::{ROOM, at_once, both_ways, count, plan, seen_by, tell, world};
use crate::acts::Mouth;
use crate::client::{Ask, Client};
use crate::world::World;

#[test]
fn who_crashes_alone_on_its_shard_is_gone_from_the_room() {
    both_ways(|here, there| {
        let mut world = world(&plan(2, Limits::default()), &[(0, here), (1, there)]);
        for client in [0, 1] {
            tell(&mut world, client, |client, mouth| client.join(mouth, ROOM));
        }
        assert_eq!(seen_by(&world, 0), ["ann", "bob"]);
        tell(&mut world, 1, |client, mouth| {
            client.push_text(mouth, ROOM, "phx_x", &json!({}), Ask::Wrong(""));
        });
        assert_eq!(count(&world, "channel_crash"), 1);
        assert_eq!(seen_by(&world, 0), ["ann"]);
    });
}

#[test]
fn who_crashes_and_joins_again_at_once_is_there_once() {
    both_ways(|here, there| {
        let mut plan = plan(2, Limits::default());
        (plan.settings.presence.tick_ms, plan.settings.presence.tick_max_ms) = (500, 2_000);
        let mut world = world(&plan, &[(0, here), (1, there)]);
        let crash = |client: &mut Client, mouth: &mut Mouth<'_>| {
            client.push_text(mouth, ROOM, "phx_x", &json!({}), Ask::Wrong(""));
        };
        // The room that has just told who is there rests: who comes is sent the list by itself,
        // with its own entry.
        at_once(&mut world, 0, |client, mouth| client.join(mouth, ROOM));
        at_once(&mut world, 1, |client, mouth| {
            client.join(mouth, ROOM);
            crash(client, mouth);
            client.join(mouth, ROOM);
        });
        assert_eq!(seen_by(&world, 1), ["ann", "bob"]);
        world.rest();
        assert_eq!([0, 1].map(|client| seen_by(&world, client)), [["ann", "bob"], ["ann", "bob"]]);
        world.check_rest();
    });
}

#[test]
fn a_user_types_once_a_tick_on_however_many_devices() {
    let mut world = world(&plan(2, Limits::default()), &[(0, 0), (0, 1), (1, 0)]);
    for client in 0..3 {
        tell(&mut world, client, |client, mouth| client.join(mouth, ROOM));
    }
    for client in [0, 1, 0, 1] {
        world.write(client, |client, mouth| client.typing(mouth, ROOM, None));
    }
    world.rest();
    assert_eq!(count(&world, "typing"), 3, "each member hears it once");
}

/// Five devices of Ann in the room, and Bob and Fay outside; nothing has happened for a while.
fn five_devices(here: usize, there: usize) -> World {
    let hosts = [here, there, here, there, here];
    let mut clients: Vec<_> = hosts.iter().map(|host| (0, *host)).collect();
    clients.extend([(1, there), (5, there)]);
    let mut world = world(&plan(2, Limits::default()), &clients);
    for client in 0..5 {
        tell(&mut world, client, |client, mouth| client.join(mouth, ROOM));
    }
    world
}

#[test]
fn who_joins_a_quiet_room_is_seen_at_once_and_who_joins_a_busy_one_sees_at_once() {
    both_ways(|here, there| {
        let mut world = five_devices(here, there);
        at_once(&mut world, 5, |client, mouth| client.join(mouth, ROOM));
        let with_bob = ["ann", "ann", "ann", "ann", "ann", "bob"];
        assert_eq!(
            (seen_by(&world, 0), seen_by(&world, 5)),
            (with_bob.to_vec(), with_bob.to_vec())
        );
        at_once(&mut world, 6, |client, mouth| client.join(mouth, ROOM));
        let with_fay = [&with_bob[..], &["fay"]].concat();
        assert_eq!((seen_by(&world, 0), seen_by(&world, 6)), (with_bob.to_vec(), with_fay.clone()));
        world.rest();
        assert_eq!((seen_by(&world, 0), seen_by(&world, 6)), (with_fay.clone(), with_fay));
        world.check_rest();
    });
}

#[test]
fn a_list_is_kept_for_those_who_follow_and_not_for_as_long_as_the_room_rests() {
    let presence =
        PresenceLimits { tick_ms: 5_000, tick_max_ms: 5_000, ..PresenceLimits::default() };
    let mut plan = plan(1, Limits::default());
    plan.settings.presence = presence;
    let mut world = world(&plan, &[(0, 0), (1, 0), (2, 0), (5, 0)]);
    let list_bytes = |world: &World| world.hosts[0].shard.population().list_bytes;
    let later = |world: &mut World, ms: u64| {
        world.pass(ms);
        while world.settle() {}
    };
    at_once(&mut world, 0, |client, mouth| client.join(mouth, ROOM));
    assert_eq!(list_bytes(&world), 0, "a room that is quiet tells at once");
    for client in [1, 2] {
        at_once(&mut world, client, |client, mouth| client.join(mouth, ROOM));
        assert!(list_bytes(&world) > 0, "now it rests, and somebody may follow");
        later(&mut world, SWEEP_MS);
    }
    assert!(list_bytes(&world) > 0, "somebody did");
    later(&mut world, SWEEP_MS);
    assert_eq!(list_bytes(&world), 0, "and nobody after that");
    at_once(&mut world, 3, |client, mouth| client.join(mouth, ROOM));
    assert_eq!(
        (seen_by(&world, 0).len(), seen_by(&world, 3).len()),
        (1, 2),
        "it is written anew, while the room rests"
    );
    later(&mut world, 5_000);
    assert_eq!((seen_by(&world, 0).len(), list_bytes(&world)), (4, 0), "and told to all");
    world.rest();
    world.check_rest();
}

#[test]
fn who_leaves_is_told_with_who_comes_next() {
    both_ways(|here, there| {
        let mut world = five_devices(here, there);
        tell(&mut world, 5, |client, mouth| client.join(mouth, ROOM));
        at_once(&mut world, 5, |client, mouth| client.leave(mouth, ROOM));
        assert!(seen_by(&world, 0).contains(&"bob"), "not told yet");
        at_once(&mut world, 6, |client, mouth| client.join(mouth, ROOM));
        assert!(
            !seen_by(&world, 0).contains(&"bob") && seen_by(&world, 0).contains(&"fay"),
            "told together"
        );
        world.rest();
        world.check_rest();
    });
}

//! Large rooms, and members that take nothing.

use std::collections::BTreeSet;

use chinwag::limits::Limits;

use super::{ROOM, at_once, both_ways, count, go_on, plan, seen_by, tell, world};
use crate::acts::Mouth;
use crate::client::Client;
use crate::logs::LogKind;
use crate::plan::Plan;
use crate::world::World;

#[test]
fn a_large_room_is_written_to_in_slices_and_holds_nobody_up() {
    let mut plan = plan(1, Limits::default());
    plan.settings.writes_per_flush = 2;
    let mut world = world(&plan, &[(0, 0), (1, 0), (2, 0), (3, 0), (0, 0), (1, 0), (0, 0)]);
    let (large, small): (Vec<usize>, usize) = ((0..6).collect(), 6);
    let topic = |client: usize| if client == small { "room:news" } else { ROOM };
    for client in 0..=small {
        tell(&mut world, client, |client, mouth| client.join(mouth, topic(client.id)));
    }
    let last = |world: &World, client: usize| {
        let link = world.clients[client].link.as_ref().expect("connected");
        link.member(topic(client)).expect("in the room").last
    };
    for client in [0, small] {
        let say = |client: &mut Client, mouth: &mut Mouth<'_>| {
            client.publish_body(mouth, topic(client.id), topic(client.id), None, None);
        };
        world.write(client, say);
    }
    world.settle();
    let told = large.iter().filter(|client| last(&world, **client) == 1).count();
    assert_eq!((last(&world, small), told), (1, 3), "who said it with the answer, and two others");
    world.rest();
    assert!(large.iter().all(|client| last(&world, *client) == 1));
    world.check_rest();
}

#[test]
fn what_is_said_during_a_flush_goes_along_to_those_it_has_not_come_to() {
    let mut plan = plan(1, Limits::default());
    plan.settings.writes_per_flush = 2;
    let mut world = world(&plan, &[(0, 0), (1, 0), (2, 0), (3, 0), (0, 0), (1, 0)]);
    for client in 0..6 {
        tell(&mut world, client, |client, mouth| client.join(mouth, ROOM));
    }
    let before = world.hosts[0].net.writes;
    let say = |world: &mut World, body: &str| {
        world.write(0, |client, mouth| client.publish_body(mouth, ROOM, body, None, None));
    };
    say(&mut world, "one");
    world.settle();
    // The first is with its author and two others now.
    say(&mut world, "two");
    world.rest();
    world.check_rest();
    assert_eq!(world.hosts[0].net.writes - before, 3 + 1 + 3 + 2, "three others got both in one");
}

#[test]
fn who_came_while_the_room_rested_is_told_along_with_what_is_said() {
    both_ways(|here, there| {
        let mut plan = plan(2, Limits::default());
        plan.settings.presence.tick_ms = 20_000;
        plan.settings.presence.tick_max_ms = 60_000;
        let mut world = world(&plan, &[(0, here), (1, there)]);
        tell(&mut world, 0, |client, mouth| client.join(mouth, ROOM));
        world.write(1, |client, mouth| client.join(mouth, ROOM));
        while world.settle() {}
        let say = |world: &mut World, body: &str| {
            world.write(1, |client, mouth| client.publish_body(mouth, ROOM, body, None, None));
            while world.settle() {}
        };
        world.pass(499);
        say(&mut world, "soon");
        assert_eq!(seen_by(&world, 0), ["ann"]);
        world.pass(1);
        say(&mut world, "a moment later");
        assert_eq!(seen_by(&world, 0), ["ann", "bob"]);
        world.rest();
        world.check_rest();
    });
}

/// Two members of a room, in which little is enough to fall behind.
fn world_of_laggards(here: usize, there: usize) -> World {
    let limits = Limits {
        room_lag_bytes: 3_000,
        publish_burst: 1_000,
        publish_per_s: 0,
        ..Limits::default()
    };
    let mut world = world(&plan(2, limits), &[(0, here), (1, there)]);
    for client in [0, 1] {
        tell(&mut world, client, |client, mouth| client.join(mouth, ROOM));
    }
    world
}

#[test]
fn who_falls_behind_while_it_leaves_hears_nothing_more_rather_than_with_a_gap() {
    both_ways(|here, there| {
        let mut world = world_of_laggards(here, there);
        let say = |world: &mut World, what: &'static str, times: usize| {
            world.write(0, |client, mouth| {
                (0..times).for_each(|number| {
                    let body = format!("{what} {number} {}", "b".repeat(900));
                    client.publish_body(mouth, ROOM, &body, None, None);
                });
            });
            while world.settle() {}
        };
        // The second one takes nothing, and its leave is long on its way: it could be heard only by
        // who goes on as if it were a member.
        world.window(1, 0);
        world.hosts[there].net.jammed.fill(true);
        world.write(1, |client, mouth| client.leave(mouth, ROOM));
        say(&mut world, "too much", 8);
        world.window(1, 1 << 24);
        say(&mut world, "and then", 2);
        world.hosts[there].net.jammed.fill(false);
        world.rest();
        world.check_rest();
        assert_eq!(count(&world, "left"), 1);
        // Back, it has all that it missed.
        tell(&mut world, 1, |client, mouth| client.join(mouth, ROOM));
        world.check_rest();
    });
}

#[test]
fn who_falls_behind_while_it_waits_for_answers_is_read_on() {
    both_ways(|here, there| {
        let mut world = world_of_laggards(here, there);
        // The second one takes nothing. It waits for its pages, which come when it has lost its
        // channel, and are dropped.
        world.window(1, 0);
        world.write(0, |client, mouth| {
            (0..8).for_each(|number| {
                let body = format!("{number} {}", "b".repeat(900));
                client.publish_body(mouth, ROOM, &body, None, None);
            });
        });
        world.write(1, |client, mouth| {
            (0..6).for_each(|_| client.ask_history(mouth, ROOM, None, None, None));
            client.heartbeat(mouth);
        });
        world.step_by_step();
        world.window(1, 1 << 24);
        world.rest();
        world.check_rest();
        assert_eq!((count(&world, "lagging"), count(&world, "idle")), (1, 0));
    });
}

#[test]
fn who_takes_nothing_of_a_room_is_closed_in_time_though_it_types_on() {
    both_ways(|here, there| {
        let limits = Limits { out_ms: 5_000, ..Limits::default() };
        let mut world = world(&plan(2, limits), &[(0, here), (1, there)]);
        for client in [0, 1] {
            tell(&mut world, client, |client, mouth| client.join(mouth, ROOM));
        }
        world.window(1, 0);
        at_once(&mut world, 0, |client, mouth| {
            client.publish_body(mouth, ROOM, "hello", None, None);
        });
        for _ in 0..20 {
            // There is no answer to that, so of its own nothing waits.
            at_once(&mut world, 1, |client, mouth| client.typing(mouth, ROOM, None));
            world.pass(500);
        }
        assert_eq!(world.hosts[there].shard.metrics().overflowed, 1);
        assert!(world.clients[1].link.is_none());
        world.rest();
        world.check_rest();
    });
}

/// One that takes nothing leaves a room which loses some of what it was sent. What happened.
fn story_of_a_leave(here: usize, there: usize, seed: u64) -> BTreeSet<&'static str> {
    let plan = Plan { seed, log: LogKind::Engine, ..plan(2, Limits::default()) };
    let mut world = world(&plan, &[(0, here), (1, there)]);
    for client in [0, 1] {
        world.write(client, |client, mouth| client.join(mouth, ROOM));
    }
    go_on(&mut world, 4);
    world.window(1, 0);
    world.write(0, |client, mouth| {
        (0..8).for_each(|number| {
            client.publish_body(mouth, ROOM, &number.to_string(), None, None);
        });
    });
    go_on(&mut world, 6);
    world.hosts[there].net.jammed.fill(true);
    world.write(1, |client, mouth| client.leave(mouth, ROOM));
    go_on(&mut world, 40);
    world.hosts[there].net.jammed.fill(false);
    world.heal();
    world.rest();
    world.check_rest();
    world.truth.seen.keys().copied().collect()
}

#[test]
fn who_leaves_a_room_that_turns_holds_up_nothing_of_what_it_was_sent() {
    both_ways(|here, there| {
        let happened: BTreeSet<_> =
            (0..24).flat_map(|seed| story_of_a_leave(here, there, seed)).collect();
        assert!(happened.contains("turned") && happened.contains("left"), "{happened:?}");
    });
}

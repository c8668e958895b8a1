//! Short stories: what once went wrong, told step by step, so that it stays right whatever the
//! seeds will be.

use std::collections::BTreeSet;

use chinwag::limits::{HistoryLimits, Limits, PresenceLimits, SWEEP_MS};
use chinwag::shard::Settings;
use serde_json::json;

use crate::acts::{Mouth, UPGRADE_KEY};
use crate::client::{Ask, Client, Payload};
use crate::faults::Bug;
use crate::logs::LogKind;
use crate::plan::Plan;
use crate::world::World;

const ROOM: &str = "room:tea";

/// A world without faults, in which nothing happens by itself.
fn plan(shards: u16, limits: Limits) -> Plan {
    let mut settings = Settings::new(
        shards,
        limits,
        HistoryLimits::default(),
        PresenceLimits::default(),
        Vec::new(),
    );
    // Who is put on a shard stays there.
    settings.gathered_members = 0;
    let window = 1 << 24;
    let (short_write, slow_work, ring_bytes) = (u64::MAX, u64::MAX, 1 << 24);
    let (body_bytes, token_s) = (settings.limits.body_bytes, 1_000_000);
    let rooms = vec!["tea", "news", "r5", "r6"];
    let plan = Plan::new(0, 0, None);
    Plan {
        shards,
        // Unless a story is about another.
        log: LogKind::Memory,
        rooms,
        settings,
        window,
        ring_bytes,
        short_write,
        slow_work,
        body_bytes,
        token_s,
        ..plan
    }
}

/// Clients of these users, each connected to the shard beside it.
fn world(plan: &Plan, clients: &[(usize, usize)]) -> World {
    world_of(plan, clients, false)
}

fn world_of(plan: &Plan, clients: &[(usize, usize)], polls: bool) -> World {
    let mut world = World::new(&Plan { clients: clients.len(), ..plan.clone() });
    for (id, (user, host)) in clients.iter().enumerate() {
        let client = &mut world.clients[id];
        (client.user, client.v1, client.polls, client.refless, client.hides) =
            (*user, false, polls, false, false);
        world.connect_to(id, *host);
    }
    world.rest();
    world
}

/// Has a client write, and goes on until all is quiet.
fn tell(world: &mut World, client: usize, say: impl FnOnce(&mut Client, &mut Mouth<'_>)) {
    world.write(client, say);
    world.rest();
}

/// The users that a client sees in the room, each as often as it is there.
fn seen_by(world: &World, client: usize) -> Vec<&str> {
    let link = world.clients[client].link.as_ref().expect("connected");
    let state = &link.member(ROOM).expect("in the room").fold.state;
    state.iter().flat_map(|(user, metas)| metas.iter().map(move |_| &**user)).collect()
}

/// How often something was seen in a run.
fn count(world: &World, what: &str) -> u64 {
    world.truth.seen.get(what).copied().unwrap_or_default()
}

/// Each of two shards as the home of the room.
fn both_ways(story: impl Fn(usize, usize)) {
    story(0, 1);
    story(1, 0);
}

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

#[test]
fn an_answer_to_a_channel_that_has_crashed_is_not_for_the_join_after_it() {
    both_ways(|here, there| {
        let limits = Limits { room_lag_bytes: 3_000, publish_burst: 1_000, ..Limits::default() };
        let mut world = world(&plan(2, limits), &[(0, here), (1, there)]);
        for client in [0, 1] {
            tell(&mut world, client, |client, mouth| client.join(mouth, ROOM));
        }
        let wave = |client: &mut Client, mouth: &mut Mouth<'_>, number: String| {
            mouth.truth.say_custom(&number, client.user, ROOM, "wave");
            let payload = Payload::Json(json!({"n": number, "padding": "p".repeat(1_000)}));
            client.push(
                mouth,
                ROOM,
                "wave",
                &payload,
                Some(Ask::Custom { number, may_be_too_large: false }),
            );
        };
        // The second one takes nothing more; it hears of a push, and of its second join, only after
        // it has fallen behind.
        world.window(1, 0);
        world.write(0, |client, mouth| {
            (0..8).for_each(|number| wave(client, mouth, format!("a{number}")));
        });
        world.write(1, |client, mouth| {
            wave(client, mouth, "b".to_owned());
            client.join(mouth, ROOM);
        });
        world.step_by_step();
        world.window(1, 1 << 24);
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

/// Goes on for a while. A log that fails, and other nodes at it, never rest.
fn go_on(world: &mut World, times: usize) {
    for _ in 0..times {
        world.settle();
        world.pass(5);
    }
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

#[test]
fn nothing_is_said_on_a_topic_that_is_still_being_joined() {
    both_ways(|here, there| {
        let mut world =
            world(&Plan { token_s: 5, ..plan(2, Limits::default()) }, &[(0, here), (0, there)]);
        for client in [0, 1] {
            world.write(client, |client, mouth| client.join(mouth, "user:ann"));
        }
        world.jam(true);
        world.settle();
        world.pass(6_000);
        world.settle();
        assert_eq!(count(&world, "expired"), 2, "the clients have heard what there was to hear");
        world.jam(false);
        world.rest();
    });
}

#[test]
fn a_user_types_once_a_tick_on_however_many_devices() {
    let mut world = world(&plan(2, Limits::default()), &[(0, 0), (0, 1), (1, 0)]);
    for client in 0..3 {
        tell(&mut world, client, |client, mouth| client.join(mouth, ROOM));
    }
    for client in [0, 1, 0, 1] {
        world.write(client, |client, mouth| client.typing(mouth, ROOM));
    }
    world.rest();
    assert_eq!(count(&world, "typing"), 3, "each member hears it once");
}

#[test]
fn the_lobby_hears_of_a_room_that_made_place_for_something_else() {
    let mut world = world(&plan(1, Limits { rooms: 2, ..Limits::default() }), &[(0, 0), (1, 0)]);
    tell(&mut world, 0, |client, mouth| client.join(mouth, "lobby"));
    for room in [ROOM, "room:news"] {
        tell(&mut world, 0, |client, mouth| client.join(mouth, room));
        tell(&mut world, 0, |client, mouth| {
            client.publish_body(mouth, room, &format!("kept in {room}"), None, None);
        });
        world.clients[0].wants.clear();
        tell(&mut world, 0, |client, mouth| client.leave(mouth, room));
    }
    tell(&mut world, 1, |client, mouth| client.join(mouth, "user:bob"));
    world.check_rest();
    let lobby =
        world.clients[0].link.as_ref().and_then(|link| link.member("lobby")).expect("in the lobby");
    assert_eq!(lobby.rooms.keys().collect::<Vec<_>>(), ["news"]);
}

#[test]
fn a_room_that_is_entered_and_left_for_ever_costs_no_more_than_once() {
    let limits = Limits { join_per_s: 0, ..Limits::default() };
    let mut world = world(&plan(1, limits), &[(0, 0)]);
    tell(&mut world, 0, |client, mouth| client.join(mouth, ROOM));
    tell(&mut world, 0, |client, mouth| client.publish_body(mouth, ROOM, "kept", None, None));
    for _ in 0..300 {
        world.write(0, |client, mouth| client.leave(mouth, ROOM));
        world.settle();
        world.write(0, |client, mouth| client.join(mouth, ROOM));
        world.settle();
    }
    world.rest();
}

#[test]
fn who_asks_for_the_history_again_and_again_is_told_to_wait() {
    let limits = Limits { publish_burst: 5, publish_per_s: 1, ..Limits::default() };
    let mut world = world(&plan(1, limits), &[(0, 0)]);
    tell(&mut world, 0, |client, mouth| client.join(mouth, ROOM));
    world.write(0, |client, mouth| {
        (0..50).for_each(|_| client.ask_history(mouth, ROOM, None, None, None));
    });
    world.rest();
    assert_eq!((count(&world, "history"), count(&world, "rate_limited")), (5, 45));
}

/// Two shards and a member of the room on each; the ways between them are narrow, and stand still.
fn jammed(here: usize, there: usize, bug: Option<Bug>) -> World {
    let limits = Limits { publish_per_s: 0, ..Limits::default() };
    let narrow = Plan { ring_bytes: 1_000, bug, ..plan(2, limits) };
    let mut world = world(&narrow, &[(0, here), (1, there)]);
    for client in [0, 1] {
        tell(&mut world, client, |client, mouth| client.join(mouth, ROOM));
        tell(&mut world, client, |client, mouth| {
            (0..20).for_each(|number| {
                let body = format!("{}-{number} {}", client.id, "b".repeat(900));
                client.publish_body(mouth, ROOM, &body, None, None);
            });
        });
    }
    world.jam(true);
    for host in &mut world.hosts {
        host.net.spare_bytes = 100_000;
    }
    world
}

/// Has one client do something a hundred times over while the ways stand still, and then lets them
/// go on.
fn insist(act: impl Fn(&mut Client, &mut Mouth<'_>, u64)) {
    insist_with(None, act);
}

/// The same with a planted bug.
fn insist_with(bug: Option<Bug>, act: impl Fn(&mut Client, &mut Mouth<'_>, u64)) {
    both_ways(|here, there| {
        let mut world = jammed(here, there, bug);
        for number in 0..200 {
            for client in [0, 1] {
                world.write(client, |client, mouth| act(client, mouth, number));
            }
            while world.settle() {}
        }
        world.jam(false);
        world.rest();
        world.check_rest();
    });
}

fn publish_on(client: &mut Client, mouth: &mut Mouth<'_>, number: u64) {
    let body = format!("{}+{number} {}", client.id, "b".repeat(900));
    client.publish_body(mouth, ROOM, &body, None, None);
}

#[test]
fn who_publishes_while_a_way_stands_still_is_told_that_it_is_busy() {
    insist(publish_on);
}

#[test]
#[should_panic(expected = "what waits for another shard is bounded")]
fn a_way_that_seems_never_to_stand_still_takes_more_than_it_may() {
    insist_with(Some(Bug::NeverFull), publish_on);
}

#[test]
fn who_sends_events_while_a_way_stands_still_is_told_that_it_is_busy() {
    insist(|client, mouth, number| {
        let number = format!("{}+{number}", client.id);
        mouth.truth.say_custom(&number, client.user, ROOM, "wave");
        let payload = Payload::Json(json!({"n": number, "padding": "p".repeat(2_000)}));
        client.push(
            mouth,
            ROOM,
            "wave",
            &payload,
            Some(Ask::Custom { number, may_be_too_large: false }),
        );
    });
}

#[test]
fn who_reads_the_history_while_a_way_stands_still_is_told_that_it_is_busy() {
    insist(|client, mouth, _| client.ask_history(mouth, ROOM, None, None, None));
}

#[test]
fn who_joins_while_a_way_stands_still_is_told_that_it_is_busy() {
    insist(|client, mouth, _| {
        client.leave(mouth, ROOM);
        client.join(mouth, ROOM);
    });
}

/// Thirty on another shard than the one who has filled the room's history join at the same moment,
/// while the way to them stands still. The history is sixteen times as much as makes a way fill up,
/// so one answer is as much as may be. Gives the world as it is then.
fn thirty_join_through_a_narrow_way(here: usize, there: usize) -> World {
    thirty_join_with(here, there, plan(2, Limits::default()))
}

/// The same with other limits, or with a planted bug. One more is there, and does not join.
fn thirty_join_with(here: usize, there: usize, plan: Plan) -> World {
    let mut narrow = Plan { ring_bytes: 1_000, ..plan };
    narrow.settings.limits.publish_per_s = 0;
    // So that they are told of each other before all is quiet.
    narrow.settings.presence.tick_ms = 20;
    let clients: Vec<_> =
        (0..=31).map(|client| (client % 2, if client == 0 { here } else { there })).collect();
    let mut world = world(&narrow, &clients);
    tell(&mut world, 0, |client, mouth| client.join(mouth, ROOM));
    tell(&mut world, 0, |client, mouth| {
        (0..20).for_each(|number| {
            client.publish_body(mouth, ROOM, &format!("{number} {}", "b".repeat(900)), None, None);
        });
    });
    let net = &mut world.hosts[here].net;
    net.jammed.fill(true);
    net.spare_bytes = 50_000;
    for client in 1..=30 {
        world.write(client, |client, mouth| client.join(mouth, ROOM));
    }
    while world.settle() {}
    world
}

/// How many joins wait.
fn waiting(world: &World) -> usize {
    let waiting = world.hosts.iter().map(|host| host.shard.metrics().waiting);
    usize::try_from(waiting.sum::<u64>()).expect("a few")
}

/// How many of them are in the room.
fn members(world: &World) -> usize {
    let links = world.clients.iter().filter_map(|client| client.link.as_ref());
    links.filter(|link| link.member(ROOM).is_some()).count()
}

#[test]
fn many_who_join_at_once_from_elsewhere_wait_for_the_way_and_are_all_let_in() {
    both_ways(|here, there| {
        let mut world = thirty_join_through_a_narrow_way(here, there);
        let are_at_home = members(&world) == 31;
        assert_eq!(waiting(&world), if are_at_home { 0 } else { 29 });
        assert!(world.hosts[here].net.in_ring(there) < 40_000, "one answer is what may be");
        assert_ne!(
            world.hosts[here].shard.next_due(),
            Some(0),
            "nothing is to be done until there is room"
        );
        world.hosts[here].net.jammed.fill(false);
        while world.settle() {}
        assert_eq!((members(&world), count(&world, "busy")), (31, 0));
        world.rest();
        world.check_rest();
    });
}

#[test]
fn who_has_waited_too_long_for_a_way_is_told_that_it_is_busy() {
    both_ways(|here, there| {
        let mut world = thirty_join_through_a_narrow_way(here, there);
        let are_at_home = members(&world) == 31;
        let wait_ms = Limits::default().admission_wait_ms;
        world.pass(wait_ms - 1);
        while world.settle() {}
        assert_eq!(waiting(&world), if are_at_home { 0 } else { 29 });
        let due_ms = world.hosts[here].shard.next_due().expect("there is always something");
        assert!(are_at_home || due_ms <= world.now.mono_ms + 1, "it does not sleep for longer");
        world.pass(1);
        while world.settle() {}
        assert_eq!(waiting(&world), 0);
        world.hosts[here].net.jammed.fill(false);
        while world.settle() {}
        let expected = if are_at_home { (31, 0) } else { (2, 29) };
        assert_eq!((members(&world), count(&world, "busy")), expected);
        world.rest();
        world.check_rest();
    });
}

#[test]
#[should_panic(expected = "what waits for another shard is bounded")]
fn joins_that_do_not_wait_for_the_way_are_answered_with_more_than_may_wait_in_it() {
    both_ways(|here, there| {
        let plan = plan(2, Limits { admissions_per_turn: 1_000, ..Limits::default() });
        thirty_join_with(here, there, Plan { bug: Some(Bug::NeverFull), ..plan });
    });
}

#[test]
fn who_joins_when_the_way_is_free_again_does_not_overtake_those_who_wait_for_it() {
    both_ways(|here, there| {
        let mut world = thirty_join_through_a_narrow_way(here, there);
        let are_at_home = members(&world) == 31;
        world.hosts[there].net.jammed.fill(true);
        world.write(31, |client, mouth| client.join(mouth, ROOM));
        while world.settle() {}
        world.jam(false);
        // The home has no turn in between, in which it could call those who wait.
        world.ring(here, there, usize::MAX);
        let came = world.ring(there, here, usize::MAX);
        assert_eq!((came, waiting(&world)), if are_at_home { (0, 0) } else { (1, 30) });
        while world.settle() {}
        assert_eq!((members(&world), count(&world, "busy")), (32, 0));
        world.rest();
        world.check_rest();
    });
}

#[test]
fn of_more_who_wait_for_a_way_than_the_line_holds_the_rest_is_told_that_it_is_busy() {
    both_ways(|here, there| {
        let mut plan = plan(2, Limits::default());
        // Each is some 60 to 90, and one more than this is taken.
        plan.settings.admission_line_bytes = 500;
        let mut world = thirty_join_with(here, there, plan);
        let are_at_home = members(&world) == 31;
        let held = waiting(&world);
        assert!(if are_at_home { held == 0 } else { (5..10).contains(&held) }, "{held}");
        world.jam(false);
        while world.settle() {}
        let joined = if are_at_home { 31 } else { 2 + held };
        assert_eq!((members(&world), count(&world, "busy")), (joined, 31 - joined as u64));
        world.rest();
        world.check_rest();
    });
}

#[test]
fn who_goes_while_its_join_waits_for_the_way_leaves_nothing_behind() {
    both_ways(|here, there| {
        let mut world = thirty_join_through_a_narrow_way(here, there);
        for client in 1..=31 {
            world.lose_link(client);
        }
        while world.settle() {}
        world.jam(false);
        while world.settle() {}
        let members: usize = world.hosts.iter().map(|host| host.shard.population().members).sum();
        assert_eq!((members, waiting(&world)), (1, 0));
        world.rest();
        world.check_rest();
    });
}

#[test]
fn who_joins_anew_while_a_way_stands_still_is_let_in_however_long_that_takes() {
    both_ways(|here, there| {
        let mut world = jammed(here, there, None);
        world.hosts[there].net.jammed.fill(false);
        let are_remote = world.hosts[there].shard.population().members == 0;
        // This fills the way.
        at_once(&mut world, 0, |client, mouth| publish_on(client, mouth, 0));
        at_once(&mut world, 1, |client, mouth| client.join_anew(mouth, ROOM));
        assert_eq!(waiting(&world), usize::from(are_remote));
        world.pass(Limits::default().admission_wait_ms);
        while world.settle() {}
        assert_eq!(waiting(&world), 0);
        world.jam(false);
        world.rest();
        assert_eq!(count(&world, "busy"), 0);
        world.check_rest();
    });
}

#[test]
fn who_comes_and_goes_while_a_way_stands_still_is_told_in_one() {
    both_ways(|here, there| {
        let narrow =
            Plan { ring_bytes: 1_000, ..plan(2, Limits { join_per_s: 0, ..Limits::default() }) };
        let mut world = world(&narrow, &[(0, here), (1, there), (2, here), (5, there)]);
        for client in [0, 1] {
            tell(&mut world, client, |client, mouth| client.join(mouth, ROOM));
        }
        world.jam(true);
        // Each time long enough for a tick, and for the directories to be told; together not so
        // long that anybody is idle.
        for _ in 0..60 {
            for act in [Client::join, Client::leave] {
                for client in [2, 3] {
                    at_once(&mut world, client, |client, mouth| act(client, mouth, ROOM));
                }
                world.pass(400);
                while world.settle() {}
            }
        }
        for host in &world.hosts {
            let waiting = [here, there].map(|shard| host.net.in_ring(shard));
            assert!(
                waiting.iter().all(|bytes| *bytes < 2_000),
                "told a hundred times: {waiting:?} bytes"
            );
        }
        world.jam(false);
        world.rest();
        world.check_rest();
        assert_eq!([0, 1].map(|client| seen_by(&world, client)), [["ann", "bob"]; 2]);
    });
}

#[test]
fn who_echoes_behind_a_push_while_a_way_stands_still_is_not_read_any_more() {
    insist(|client, mouth, number| {
        if number == 0 {
            client.publish_body(mouth, ROOM, &format!("{}", client.id), None, None);
        }
        let payload = Payload::Json(json!("e".repeat(5_000)));
        client.push(mouth, ROOM, "echo", &payload.clone(), Some(Ask::Echo(payload)));
    });
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

/// Has a client write, and all that follows from it happen at the same moment.
fn at_once(world: &mut World, client: usize, say: impl FnOnce(&mut Client, &mut Mouth<'_>)) {
    world.write(client, say);
    while world.settle() {}
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

#[test]
fn pages_that_another_shard_asks_for_are_work_of_the_home_and_again_where_they_are_told() {
    both_ways(|here, there| {
        let mut plan = plan(2, Limits { publish_per_s: 0, ..Limits::default() });
        plan.settings.turn_work = 20;
        let clients: Vec<_> =
            (0..9).map(|client| (client % 2, if client == 0 { here } else { there })).collect();
        let mut world = world(&plan, &clients);
        for client in 0..9 {
            tell(&mut world, client, |client, mouth| client.join(mouth, ROOM));
        }
        tell(&mut world, 0, |client, mouth| {
            (0..20).for_each(|number| {
                client.publish_body(
                    mouth,
                    ROOM,
                    &format!("{number} {}", "b".repeat(900)),
                    None,
                    None,
                );
            });
        });
        let answered = |world: &World| count(world, "history");
        let before = answered(&world);
        world.jam(true);
        for client in 1..9 {
            world.write(client, |client, mouth| client.ask_history(mouth, ROOM, None, None, None));
        }
        while world.settle() {}
        // They are asked where the room is.
        let is_elsewhere = answered(&world) == before;
        if !is_elsewhere {
            return;
        }
        world.jam(false);
        // Each page is more than a turn has work for, so there is one a turn, on both sides.
        for told in 1..=8 {
            assert_eq!(world.ring(there, here, usize::MAX), 1, "of {}", 9 - told);
            world.turn(here);
        }
        assert_eq!(world.ring(there, here, usize::MAX), 0);
        for told in 1..=8 {
            assert_eq!(world.ring(here, there, usize::MAX), 1, "of {}", 9 - told);
            world.turn(there);
        }
        assert_eq!(world.ring(here, there, usize::MAX), 0);
        world.rest();
        assert_eq!(answered(&world), before + 8);
        world.check_rest();
    });
}

/// A room whose home begins anew, by what its log has kept of it.
fn story_of_a_restart(log: LogKind, seed: u64, happened: &mut BTreeSet<&'static str>) {
    let plan = Plan { seed, log, ..plan(2, Limits::default()) };
    for (here, there) in [(0, 1), (1, 0)] {
        let mut world = world(&plan, &[(0, here), (1, there), (5, there)]);
        for client in 0..3 {
            world.write(client, |client, mouth| {
                client.wants.insert(ROOM.to_owned());
                client.join(mouth, ROOM);
            });
        }
        go_on(&mut world, 4);
        for number in 0..12 {
            let says = |client: &mut Client, mouth: &mut Mouth<'_>| {
                let (body, key) = (format!("{number}"), format!("k{number}"));
                client.publish_body(mouth, ROOM, &body, Some(&key), None);
            };
            world.write(number % 3, says);
            // Some of them are kept, some are seen, and some are on their way.
            for _ in 0..seed % 4 {
                world.settle();
            }
        }
        world.restart(here);
        world.finish();
        happened.extend(world.truth.seen.keys());
    }
}

#[test]
fn a_room_whose_home_begins_anew_is_there_as_far_as_its_log_has_kept_it() {
    for (log, reached) in [
        // It turns the epoch, for it may have lost something.
        (LogKind::Store, &["restarted", "recovered", "recovered over a turn"][..]),
        (LogKind::Engine, &["restarted", "recovered"][..]),
    ] {
        let mut happened = BTreeSet::new();
        for seed in 0..16 {
            story_of_a_restart(log, seed, &mut happened);
        }
        for what in reached {
            assert!(happened.contains(what), "{what} with {log:?}: {happened:?}");
        }
    }
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

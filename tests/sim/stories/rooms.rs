//! Rooms: joins, leaves, what is kept, and homes that begin anew.

use std::collections::BTreeSet;

use chinwag::limits::Limits;
use serde_json::json;

use super::{ROOM, both_ways, count, go_on, plan, tell, world};
use crate::acts::Mouth;
use crate::client::{Ask, Client, Payload};
use crate::faults::Bug;
use crate::logs::LogKind;
use crate::plan::Plan;

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

/// Rooms in which something was said, and whose homes begin anew while nobody is in them.
fn story_of_a_list(bug: Option<Bug>) {
    let plan = Plan { log: LogKind::Store, bug, ..plan(2, Limits::default()) };
    let mut world = world(&plan, &[(0, 0), (1, 1)]);
    for host in &mut world.hosts {
        host.net.log.calm();
    }
    for room in &plan.rooms {
        let topic = format!("room:{room}");
        tell(&mut world, 0, |client, mouth| client.join(mouth, &topic));
        tell(&mut world, 0, |client, mouth| {
            client.publish_body(mouth, &topic, room, None, None);
        });
        tell(&mut world, 0, |client, mouth| client.leave(mouth, &topic));
    }
    for host in [0, 1] {
        world.restart(host);
    }
    world.rest();
    world.connect_to(1, 1);
    tell(&mut world, 1, |client, mouth| client.join(mouth, "lobby"));
    world.check_rest();
    assert!(count(&world, "rooms listed that are kept") >= 2, "each home tells of its own");
    let lobby = world.clients[1].link.as_ref().and_then(|link| link.member("lobby"));
    assert_eq!(lobby.expect("in the lobby").rooms.len(), plan.rooms.len());
}

#[test]
fn rooms_that_are_kept_are_listed_after_their_homes_begin_anew_though_nobody_is_in_them() {
    story_of_a_list(None);
}

#[test]
#[should_panic(expected = "the lobby lists all that is kept")]
fn planted_a_room_that_is_left_out_of_that_list_is_found() {
    story_of_a_list(Some(Bug::ListTooFew));
}

/// Searches in two rooms while things are said, before and after their homes begin anew.
fn story_of_searches(log: LogKind, bug: Option<Bug>) {
    let limits = Limits { search_per_s: 0, publish_per_s: 0, ..Limits::default() };
    let mut found = 0;
    for seed in 0..8 {
        let plan = Plan { seed, bug, log, ..plan(2, limits.clone()) };
        let mut world = world(&plan, &[(0, 0), (1, 1)]);
        for client in [0, 1] {
            for room in &plan.rooms[..2] {
                let topic = format!("room:{room}");
                world.write(client, |client, mouth| {
                    client.wants.insert(topic.clone());
                    client.join(mouth, &topic);
                });
            }
        }
        go_on(&mut world, 8);
        for number in 0..12 {
            let topic = format!("room:{}", plan.rooms[number % 2]);
            let (body, key) = (format!("found {number}"), format!("k{number}"));
            world.write(number % 2, |client, mouth| {
                client.publish_body(mouth, &topic, &body, Some(&key), None);
            });
            world.write(number / 2 % 2, |client, mouth| client.search(mouth, &topic, "found"));
            world.settle();
        }
        world.restart(0);
        world.restart(1);
        world.finish();
        for room in &plan.rooms[..2] {
            let topic = format!("room:{room}");
            tell(&mut world, 0, |client, mouth| client.search(mouth, &topic, "found"));
        }
        world.check_rest();
        found += world.truth.found.len();
    }
    assert!(found > 20, "{found} were found");
}

#[test]
fn what_is_found_was_said_in_that_room_and_is_kept_over_restarts() {
    story_of_searches(LogKind::Store, None);
    story_of_searches(LogKind::SeenIsKept, None);
}

#[test]
#[should_panic(expected = "what was found has what was looked for")]
fn planted_a_message_of_another_room_that_is_found_is_noticed() {
    story_of_searches(LogKind::Store, Some(Bug::FindElsewhere));
}

#[test]
#[should_panic(expected = "what was found is kept")]
fn planted_a_message_that_is_found_and_not_kept_is_noticed() {
    story_of_searches(LogKind::Store, Some(Bug::FindUnkept));
}

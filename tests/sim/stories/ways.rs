//! Ways between shards that are narrow or stand still.

use chinwag::limits::Limits;
use serde_json::json;

use super::{ROOM, at_once, both_ways, count, plan, seen_by, tell, waiting, world};
use crate::acts::Mouth;
use crate::client::{Ask, Client, Payload};
use crate::faults::Bug;
use crate::plan::Plan;
use crate::world::World;

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

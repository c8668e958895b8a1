//! What a turn does at most, however much comes together: writes to the members of many rooms, and
//! ends of connections.

use super::{World, frame, upgrade};
use crate::limits::{ENDING_WORK, SWEEP_MS};
use crate::link::ids::ConnKey;
use crate::wire::ws::frame::Opcode;

/// Rooms whose home is the shard.
fn rooms(count: usize) -> Vec<String> {
    World::rooms(0).take(count).collect()
}

/// A connection in these rooms.
fn enter(world: &mut World, user: &str, rooms: &[String]) -> ConnKey {
    let conn = world.accept();
    world.receive(conn, &upgrade(&format!("/socket/websocket?vsn=2.0.0&token={user}")));
    for (at, room) in rooms.iter().enumerate() {
        let join = r#""phx_join",{"presence":false}"#;
        world.say(conn, &format!(r#"["{at}","{at}","room:{room}",{join}]"#));
    }
    assert_eq!(world.shard.members.channels_count(conn), rooms.len());
    conn
}

/// Whether the shard has something to do at once.
fn is_due(world: &World) -> bool {
    world.shard.next_due().is_some_and(|due_ms| due_ms <= world.now.mono_ms)
}

fn said(world: &World) -> usize {
    world.net.told.iter().filter(|told| *told == "new_msg").count()
}

#[test]
fn a_turn_writes_to_so_many_members_of_all_rooms_and_the_next_begins_with_the_others() {
    const PER_TURN: u32 = 7;
    let mut world = World::with_settings(|settings| settings.writes_per_turn = PER_TURN);
    let rooms = rooms(5);
    let speaker = enter(&mut world, "ann", &rooms);
    for user in ["bob", "cat", "dan"] {
        enter(&mut world, user, &rooms);
    }
    let all = 4 * rooms.len();
    let mut pushes = Vec::new();
    for (at, room) in rooms.iter().enumerate() {
        let push = format!(r#"["{at}","p{at}","room:{room}","new_msg",{{"body":"hi"}}]"#);
        pushes.extend(frame(Opcode::Text, push.as_bytes()));
    }
    world.net.told.clear();
    world.receive(speaker, &pushes);
    let mut heard = said(&world);
    // What the speaker hears goes out with its answers, by one write.
    assert!(heard <= PER_TURN as usize + rooms.len(), "{heard} in the first turn");
    while heard < all {
        assert!(is_due(&world), "the next turn has work");
        world.pass(0);
        let more = said(&world) - heard;
        assert!((1..=PER_TURN as usize).contains(&more), "{more} in a turn, after {heard}");
        heard += more;
    }
    assert_eq!(heard, all, "each member hears each message once");
    assert!(!is_due(&world), "and then it rests");
}

#[test]
fn a_room_that_speaks_on_and_on_does_not_keep_the_others_waiting() {
    let mut world = World::with_settings(|settings| settings.writes_per_turn = 2);
    let rooms = rooms(3);
    let speaker = enter(&mut world, "ann", &rooms[..1]);
    let others = enter(&mut world, "bob", &rooms);
    enter(&mut world, "cat", &rooms);
    let push = |at: usize, body: &str| {
        format!(r#"["{at}","p","room:{}","new_msg",{{"body":"{body}"}}]"#, rooms[at])
    };
    world.say(others, &push(1, "one"));
    world.say(others, &push(2, "two"));
    world.net.told.clear();
    for _ in 0..20 {
        world.say(speaker, &push(0, "more"));
    }
    let heads: Vec<_> = world.shard.members.audiences.iter().collect();
    let waiting = heads.iter().filter(|(_, audience)| audience.log_bytes() > 0).count();
    assert!(waiting <= 1, "only the room that goes on has more to say: {waiting}");
}

/// How many connections are left after each turn, until none is.
fn ends(world: &mut World) -> Vec<usize> {
    let mut left = vec![world.shard.conns_count()];
    while !world.shard.is_empty() {
        world.pass(1);
        left.push(world.shard.conns_count());
        assert!(left.len() < 1_000, "they end");
    }
    left
}

const PER_TURN: usize = 3;

fn crowd(count: usize) -> (World, Vec<ConnKey>) {
    let work = 2 * ENDING_WORK * u32::try_from(PER_TURN).expect("a few");
    let mut world = World::with_settings(|settings| settings.turn_work = work);
    let conns = (0..count).map(|at| enter(&mut world, &format!("u{at}"), &[])).collect();
    (world, conns)
}

#[test]
fn of_connections_that_break_together_a_turn_removes_so_many() {
    let (mut world, conns) = crowd(10);
    world.with(|shard, turn| conns.iter().for_each(|conn| shard.hung_up(turn, *conn)));
    let left = ends(&mut world);
    assert!(left.windows(2).all(|two| two[0] - two[1] <= PER_TURN), "{left:?}");
    assert!(left[0] >= 10 - 2 * PER_TURN, "{left:?}");
}

#[test]
fn of_connections_whose_time_is_up_together_a_turn_ends_so_many() {
    let (mut world, conns) = crowd(10);
    world.net.told.clear();
    world.pass(world.shard.settings().limits.idle_ms + SWEEP_MS);
    let mut closed = 0;
    for _ in 0..conns.len() {
        let now = world.net.told.iter().filter(|told| *told == "close 1002").count();
        assert!(now - closed <= PER_TURN, "{now} after {closed}");
        closed = now;
        world.pass(1);
    }
    assert_eq!(closed, conns.len(), "all are told");
}

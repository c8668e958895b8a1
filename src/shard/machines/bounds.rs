//! What a turn does at most, however much comes together: writes to the members of many rooms, and
//! ends of connections.

use std::sync::Arc;

use super::{World, frame, upgrade};
use crate::auth::level::Level;
use crate::base::arena::Key;
use crate::limits::{
    CHANNELS_PER_WORK, CONN_WRITES_PER_TURN, ENDING_WORK, LEAVING_PART, LEAVING_WORK, SWEEP_MS,
    TIMER_WORK, TIMERS_PART,
};
use crate::link::field::Field as _;
use crate::link::ids::{AudienceKey, ConnKey, Slot};
use crate::link::record::{Received, ToHome, ToMember, Who, read};
use crate::link::topic::of_room;
use crate::wire::phx::Payload;
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

#[test]
fn of_rooms_that_tick_at_the_same_time_a_turn_ticks_so_many() {
    const PER_TURN: u32 = 3;
    let mut world =
        World::with_settings(|settings| settings.turn_work = PER_TURN * TIMER_WORK * TIMERS_PART);
    let rooms = rooms(20);
    let conns = ["ann", "bob"].map(|user| {
        let conn = world.accept();
        world.receive(conn, &upgrade(&format!("/socket/websocket?vsn=2.0.0&token={user}")));
        for (at, room) in rooms.iter().enumerate() {
            world.say(conn, &format!(r#"["{at}","{at}","room:{room}","phx_join",{{}}]"#));
        }
        world.pass(5_000);
        while is_due(&world) {
            world.pass(0);
        }
        conn
    });
    world.with(|shard, turn| shard.hung_up(turn, conns[1]));
    while is_due(&world) {
        world.pass(0);
    }
    world.net.told.clear();
    let told = |world: &World| {
        world.net.told.iter().filter(|told| told.starts_with("presence_diff")).count()
    };
    world.pass(5_000);
    let mut heard = told(&world);
    assert!(heard <= PER_TURN as usize, "{heard} in the first turn");
    while heard < rooms.len() {
        assert!(is_due(&world), "the next turn has work");
        world.pass(0);
        let more = told(&world) - heard;
        assert!(more <= PER_TURN as usize, "{more} in a turn, after {heard}");
        heard += more;
    }
    assert_eq!(heard, rooms.len(), "each tells once who has gone");
}

#[test]
fn of_connections_that_are_each_told_something_a_turn_writes_to_so_many() {
    let mut crowd = Crowd::of(CONN_WRITES_PER_TURN + 100);
    crowd.world.net.told.clear();
    let (audience, event, payload) = (crowd.audience, "room_you", "{}");
    let conns = crowd.conns.clone();
    crowd.world.with(|shard, turn| {
        for (slot, conn) in (0..).map(Slot).zip(conns) {
            let told = ToMember::Told { conn, audience, slot, event, payload };
            shard.members.hear(&mut shard.common.cx(turn), told);
        }
    });
    let told = |crowd: &Crowd| crowd.told("room_you");
    assert_eq!(told(&crowd), CONN_WRITES_PER_TURN);
    while is_due(&crowd.world) {
        crowd.world.pass(0);
    }
    assert_eq!(told(&crowd), crowd.conns.len(), "each is told once");
}

#[test]
fn what_one_of_many_channels_is_told_costs_the_search_for_it() {
    let work = |channels: usize| {
        let mut world = World::with_settings(|settings| {
            settings.limits.join_per_s = 0;
            settings.limits.channels_per_conn = 1_000;
            settings.limits.rooms_per_s = 0;
        });
        let rooms = rooms(channels);
        let conn = enter(&mut world, "ann", &rooms);
        let topic = of_room(&rooms[0]);
        let audience = world.shard.members.audiences.find(&topic).expect("it is in it");
        let done = world.shard.common.budget.done();
        let (slot, event, payload) = (Slot(0), "room_you", "{}");
        let told = ToMember::Told { conn, audience, slot, event, payload };
        world.with(|shard, turn| shard.members.hear(&mut shard.common.cx(turn), told));
        world.shard.common.budget.done() - done
    };
    let (channels, few) = (1_000, work(1));
    assert_eq!(work(channels) - few, (channels / CHANNELS_PER_WORK) as u64);
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
    let work = ENDING_WORK * u32::try_from(PER_TURN).expect("a few");
    let mut world = World::with_settings(|settings| settings.endings_work = work);
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

/// How many channels may be left in a turn here, by one connection at a time, and how many it has.
const LEFT_PER_TURN: usize = 16;
const PART: usize = LEFT_PER_TURN / LEAVING_PART as usize;
const CHANNELS: usize = 90;

/// How a connection ends that has many channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    HungUp,
    ClosedByPeer,
    ClosedForMemory,
    Broken,
}

/// A shard with ann and bob in many rooms, where ends may leave so many channels in a turn.
fn full_house() -> (World, Vec<String>, ConnKey, ConnKey) {
    let work = LEAVING_WORK * u32::try_from(LEFT_PER_TURN).expect("a few");
    let mut world = World::with_settings(|settings| {
        settings.endings_work = work;
        settings.limits.join_per_s = 0;
    });
    let rooms = rooms(CHANNELS);
    let ann = enter(&mut world, "ann", &rooms);
    let bob = enter(&mut world, "bob", &rooms);
    (world, rooms, ann, bob)
}

fn end(world: &mut World, conn: ConnKey, end: End) {
    match end {
        End::HungUp => world.with(|shard, turn| shard.hung_up(turn, conn)),
        End::ClosedByPeer => world.receive(conn, &frame(Opcode::Close, &[])),
        End::ClosedForMemory => world.with(|shard, turn| {
            shard.members.close_for_memory(&mut shard.common.cx(turn), conn);
        }),
        End::Broken => world.receive(conn, b"\xff\xff\xff"),
    }
}

#[test]
fn a_connection_with_many_channels_leaves_so_many_in_a_turn_and_others_are_answered_meanwhile() {
    for how in [End::HungUp, End::ClosedByPeer, End::ClosedForMemory, End::Broken] {
        let (mut world, rooms, ann, bob) = full_house();
        let mut members = world.shard.population().members;
        assert_eq!(members, 2 * CHANNELS);
        let mut turns = 0;
        end(&mut world, ann, how);
        loop {
            world.shard.check_invariants();
            let left = members - world.shard.population().members;
            // It has had a part of the turn before.
            let most = LEFT_PER_TURN + if turns == 0 { PART } else { 0 };
            assert!(left <= most, "{how:?}: {left} in a turn");
            members -= left;
            if members == CHANNELS {
                break;
            }
            assert!(is_due(&world), "the next turn has work");
            assert_eq!(world.shard.members.channels_count(ann), 0, "it is in nothing any more");
            world.net.told.clear();
            let heartbeat = frame(Opcode::Text, br#"[null,"h","phoenix","heartbeat",{}]"#);
            let room = &rooms[turns];
            let push = format!(r#"["{turns}","m","room:{room}","new_msg",{{"body":"hi"}}]"#);
            world.receive(bob, &[heartbeat, frame(Opcode::Text, push.as_bytes())].concat());
            let told = |of: &str| world.net.told.iter().filter(|told| *told == of).count();
            assert_eq!((told("ok"), told("new_msg")), (2, 1), "only bob hears: {how:?}");
            turns += 1;
        }
        assert!(turns >= CHANNELS / LEFT_PER_TURN / 2, "{turns}");
        while is_due(&world) {
            world.pass(0);
        }
        let closing = world.shard.conns_count() - 1;
        assert_eq!(closing, usize::from(how != End::HungUp), "{how:?}");
        world.with(|shard, turn| shard.hung_up(turn, ann));
        assert_eq!(world.shard.conns_count(), 1);
    }
}

#[test]
fn who_comes_back_while_its_connection_leaves_is_there_and_the_other_is_gone_once() {
    let (mut world, rooms, ann, _) = full_house();
    let again = world.accept();
    world.receive(again, &upgrade("/socket/websocket?vsn=2.0.0&token=ann"));
    // All in one turn: those rooms have been left that it joined last, and not those before.
    let mut joins = Vec::new();
    for (at, room) in rooms.iter().enumerate() {
        let join = format!(r#"["{at}","{at}","room:{room}","phx_join",{{}}]"#);
        joins.extend(frame(Opcode::Text, join.as_bytes()));
    }
    world.with(|shard, turn| {
        shard.hung_up(turn, ann);
        shard.received(turn, again, &mut joins);
    });
    assert!(world.shard.population().members > 2 * CHANNELS, "the other has not left yet");
    while is_due(&world) {
        world.pass(0);
        world.shard.check_invariants();
    }
    assert_eq!(world.shard.population().members, 2 * CHANNELS);
    assert_eq!(world.shard.members.channels_count(again), CHANNELS);
    for room in &rooms {
        let key = world.shard.members.audiences.find(&of_room(room)).expect("they are in it");
        let audience = world.shard.members.audiences.get(key).expect("they are in it");
        assert_eq!(audience.seats.len(), 2, "bob, and ann as she is back");
    }
}

#[test]
fn a_connection_that_goes_while_it_is_parting_is_removed_once_and_nothing_waits_for_it() {
    let (mut world, _, ann, bob) = full_house();
    end(&mut world, ann, End::ClosedByPeer);
    for _ in 0..3 {
        world.with(|shard, turn| shard.hung_up(turn, ann));
        world.shard.check_invariants();
    }
    end(&mut world, bob, End::HungUp);
    let left = ends(&mut world);
    assert!(left.len() > 2, "{left:?}");
    let population = world.shard.population();
    assert_eq!((population.members, population.audiences, population.buffers), (0, 0, 0));
    assert!(!world.shard.members.has_work());
}

#[test]
fn a_room_that_loses_its_place_and_one_that_speaks_much_do_not_wait_for_who_is_parting() {
    let (mut world, rooms, ann, bob) = full_house();
    let lag_bytes = world.shard.settings().limits.room_lag_bytes;
    end(&mut world, ann, End::ClosedByPeer);
    let body = "x".repeat(world.shard.settings().limits.body_bytes / 2);
    let push = format!(r#"["0","m","room:{}","new_msg",{{"body":"{body}"}}]"#, rooms[0]);
    let lagged = world.shard.metrics().lagged;
    let mut said_bytes = 0;
    while said_bytes <= 2 * lag_bytes {
        world.with(|shard, turn| {
            shard.received(turn, bob, &mut frame(Opcode::Text, push.as_bytes()));
            shard.members.flush_audiences(&mut shard.common.cx(turn));
            shard.check_invariants();
        });
        said_bytes += push.len();
    }
    assert!(world.shard.members.audiences.log_bytes() <= 2 * lag_bytes);
    assert_eq!(world.shard.metrics().lagged, lagged, "nobody lags who hears nothing");
}

/// How many members a room has here.
const MEMBERS: usize = 200;

/// A shard with so many members of a room whose home is the other shard.
struct Crowd {
    world: World,
    topic: String,
    conns: Vec<ConnKey>,
    audience: AudienceKey,
    slots: u32,
}

impl Crowd {
    fn new() -> Self {
        Self::of(MEMBERS)
    }

    fn of(members: usize) -> Self {
        let work = LEAVING_WORK * u32::try_from(LEFT_PER_TURN).expect("a few");
        let mut world = World::with_settings(|settings| {
            settings.endings_work = work;
            settings.limits.join_per_s = 0;
        });
        let topic = of_room(&World::room(1));
        let conns = (0..members).map(|_| world.take_over()).collect();
        let mut crowd = Self { world, topic, conns, audience: Key::from_u64(9 << 32), slots: 0 };
        for at in 0..members {
            crowd.enter(at);
        }
        crowd.world.pass(0);
        assert_eq!(crowd.seats(), members);
        crowd
    }

    /// One of them joins, and the home takes it in.
    fn enter(&mut self, at: usize) {
        let (conn, topic) = (self.conns[at], &self.topic);
        self.world.say(conn, &format!(r#"["{at}","j","{topic}","phx_join",{{}}]"#));
        // The last that was sent may be what ends in this turn.
        if let Received::ToHome(ToHome::Join { audience, .. }) = read(&self.world.net.sent) {
            self.audience = audience;
        }
        let audience = self.audience;
        let (home, slot) = (Key::from_u64(1 << 32), Slot(self.slots));
        self.slots += 1;
        self.world.hear(ToMember::Joined { conn, audience, home, slot, response: "{}" });
    }

    fn deliver(&mut self) {
        let (audience, payload) = (self.audience, Payload::Json("{}"));
        self.world.hear(ToMember::Deliver { audience, event: "new_msg", payload });
    }

    /// The home puts all out but the first few, by one decision, and says something behind that.
    fn put_out_but(&mut self, stay: usize) {
        let (audience, payload) = (self.audience, r#"{"reason":"members"}"#);
        let removed = (stay..MEMBERS).map(|at| {
            let (conn, slot) = (self.conns[at], Slot(u32::try_from(at).expect("a few")));
            ToMember::Removed { conn, audience, slot, may_return: false, payload }
        });
        let payload = Payload::Json("{}");
        let said = ToMember::Deliver { audience, event: "new_msg", payload };
        let records = removed.chain([said]).map(|message| {
            let mut record = Vec::new();
            message.put(&mut record);
            record
        });
        self.world.with(|shard, turn| {
            records.for_each(|record| shard.heard_from(turn, 1, &record));
        });
    }

    fn seats(&self) -> usize {
        let audience = self.world.shard.members.audiences.get(self.audience);
        audience.map_or(0, |audience| audience.seats.len())
    }

    fn told(&self, what: &str) -> usize {
        self.world.net.told.iter().filter(|told| *told == what).count()
    }

    /// Passes turns until all channels have ended that are to, and something is said meanwhile.
    /// Returns how many turns it took.
    fn pass_all(&mut self, stay: usize) -> usize {
        let mut turns = 0;
        while self.seats() > stay {
            let before = self.seats();
            assert!(is_due(&self.world), "the next turn has work");
            self.deliver();
            self.world.shard.check_invariants();
            // It has had a part of the turn before.
            let most = LEFT_PER_TURN + PART;
            assert!(before - self.seats() <= most, "{} in a turn", before - self.seats());
            turns += 1;
        }
        turns
    }
}

#[test]
fn when_a_room_ends_all_its_channels_a_turn_ends_so_many_and_none_of_them_hears_what_follows() {
    let mut crowd = Crowd::new();
    crowd.world.net.told.clear();
    let audience = crowd.audience;
    crowd.world.hear(ToMember::Ended { audience, reason: "turned" });
    assert!(crowd.seats() >= MEMBERS - LEFT_PER_TURN - PART, "{}", crowd.seats());
    // One comes back before its turn: first its channel ends, and the home hears so.
    crowd.world.net.told.clear();
    crowd.enter(0);
    let told = &crowd.world.net.told;
    let at = |what: &str| told.iter().position(|told| told == what).expect(what);
    assert!(at("Leave") < at("Join"), "{told:?}");
    crowd.world.shard.check_invariants();
    let ended = MEMBERS - crowd.seats() + 1;
    crowd.world.net.told.clear();
    let turns = crowd.pass_all(1);
    assert!(turns >= MEMBERS / LEFT_PER_TURN / 2, "{turns}");
    assert_eq!(crowd.told("phx_error turned"), MEMBERS - ended);
    assert_eq!(crowd.told("Leave"), MEMBERS - ended, "the home is told of each");
    assert_eq!(crowd.told("new_msg"), turns, "only who has come back hears");
}

#[test]
fn who_joins_again_as_its_room_ends_all_channels_is_told_the_end_first_and_then_answered() {
    let mut crowd = Crowd::new();
    // The first to come is the last whose channel ends.
    let (conn, audience, topic) = (crowd.conns[0], crowd.audience, crowd.topic.clone());
    crowd.world.say(conn, &format!(r#"["9","9","{topic}","phx_join",{{}}]"#));
    crowd.world.hear(ToMember::Ended { audience, reason: "turned" });
    crowd.world.net.told.clear();
    crowd.world.hear(ToMember::Refused { conn, audience, response: r#"{"reason":"busy"}"# });
    let told = &crowd.world.net.told;
    let at = |what: &str| told.iter().position(|told| told == what).expect(what);
    assert!(at("phx_error turned") < at("error busy"), "{told:?}");
    assert_eq!(crowd.world.shard.members.state(conn, &topic), None);
    crowd.world.shard.check_invariants();
    crowd.pass_all(0);
}

#[test]
fn when_a_home_begins_anew_a_turn_ends_so_many_channels_and_it_is_told_of_none() {
    let mut crowd = Crowd::new();
    crowd.world.net.told.clear();
    crowd.world.hear_restart();
    assert!(crowd.seats() >= MEMBERS - LEFT_PER_TURN - PART, "{}", crowd.seats());
    crowd.enter(0);
    // Others go meanwhile, or say something first.
    let (gone, conn) = (crowd.conns[1], crowd.conns[2]);
    crowd.world.with(|shard, turn| shard.hung_up(turn, gone));
    let leave = format!(r#"["2","l","{}","phx_leave",{{}}]"#, crowd.topic);
    crowd.world.say(conn, &leave);
    crowd.world.shard.check_invariants();
    let turns = crowd.pass_all(1);
    assert!(turns >= MEMBERS / LEFT_PER_TURN / 2, "{turns}");
    assert_eq!(crowd.told("phx_error restarted"), MEMBERS - 1, "all but who has gone");
    assert_eq!(crowd.told("Leave"), 0, "the home knows none of them");
    assert_eq!(crowd.told("new_msg"), turns, "only who has come back hears");
}

#[test]
fn a_home_that_turns_at_once_after_it_began_anew_ends_the_channels_of_those_it_knows() {
    let mut crowd = Crowd::new();
    crowd.world.hear_restart();
    crowd.enter(0);
    crowd.world.net.told.clear();
    let audience = crowd.audience;
    crowd.world.hear(ToMember::Ended { audience, reason: "turned" });
    assert_eq!((crowd.told("Leave"), crowd.told("phx_error turned")), (1, 1));
    crowd.pass_all(0);
    assert_eq!(crowd.told("Leave"), 1, "it knows no other");
    assert!(crowd.told("phx_error restarted") > 0);
}

#[test]
fn a_token_that_ends_many_channels_ends_so_many_in_a_turn_and_is_heard_no_further_until_then() {
    let (mut world, rooms, ann, bob) = full_house();
    let token =
        format!(r#"["0","t","room:{}","access_token",{{"token":"ann nowhere"}}]"#, rooms[0]);
    let heartbeat = |world: &mut World, conn, how: &str| {
        world.say(conn, &format!(r#"[null,"{how}","phoenix","heartbeat",{{}}]"#));
    };
    world.net.told.clear();
    world.say(ann, &token);
    let is_told = |world: &World, what: &str| world.net.told.iter().any(|told| told == what);
    assert!(is_told(&world, "ok"), "it is answered at once");
    let left = world.shard.members.channels_count(ann);
    assert!(left >= CHANNELS - LEFT_PER_TURN - PART, "{left} of the first turn");
    world.net.told.clear();
    heartbeat(&mut world, ann, "h");
    assert!(!is_told(&world, "ok"), "it waits");
    let mut left = world.shard.members.channels_count(ann);
    let mut turns = 2;
    while left > 0 {
        assert!(is_due(&world), "the next turn has work");
        world.net.told.clear();
        heartbeat(&mut world, bob, "h");
        assert!(is_told(&world, "ok"), "others are answered");
        world.shard.check_invariants();
        let now = world.shard.members.channels_count(ann);
        assert!(left - now <= LEFT_PER_TURN, "{} in a turn", left - now);
        left = now;
        turns += 1;
    }
    assert!(turns >= CHANNELS / LEFT_PER_TURN, "{turns}");
    assert_eq!(world.net.told.iter().filter(|told| *told == "ok").count(), 2, "and it is heard");
    assert_eq!(world.shard.population().members, CHANNELS, "bob stays");
    assert!(!world.shard.members.has_work());
}

#[test]
fn a_token_that_ends_while_another_is_told_everywhere_ends_nothing() {
    let (mut world, rooms, ann, _) = full_house();
    let room = &rooms[0];
    world.say(ann, &format!(r#"["0","t","room:{room}","access_token",{{"token":"ann nowhere"}}]"#));
    let expire = |world: &mut World| {
        world.net.told.clear();
        world.with(|shard, turn| shard.members.expire(&mut shard.common.cx(turn), ann));
        world.net.told.iter().filter(|told| *told == "close 4001").count()
    };
    assert_eq!(expire(&mut world), 0, "it was told that it goes on");
    assert!(world.shard.members.channels_count(ann) > 0);
    while is_due(&world) {
        world.pass(0);
    }
    assert_eq!(expire(&mut world), 1, "the other one ends, too");
}

#[test]
fn who_goes_while_its_token_is_renewed_is_gone_and_one_that_may_stay_is_told_everywhere() {
    let (mut world, rooms, ann, bob) = full_house();
    let token = |user: &str| {
        format!(r#"["0","t","room:{}","access_token",{{"token":"{user}"}}]"#, rooms[0])
    };
    world.say(ann, &token("ann nowhere"));
    world.say(bob, &token("bob"));
    assert!(world.shard.members.channels_count(ann) > 0);
    world.with(|shard, turn| shard.hung_up(turn, ann));
    while is_due(&world) {
        world.pass(0);
        world.shard.check_invariants();
    }
    assert_eq!((world.shard.conns_count(), world.shard.population().members), (1, CHANNELS));
    world.net.told.clear();
    world.say(bob, &format!(r#"["1","m","room:{}","new_msg",{{"body":"hi"}}]"#, rooms[1]));
    assert!(world.net.told.iter().any(|told| told == "new_msg"), "{:?}", world.net.told);
}

/// What they are told who are put out, and what follows.
const REMOVED: &str = "room_removed members";

#[test]
fn when_a_room_puts_many_out_a_turn_tells_so_many_and_none_of_them_hears_what_follows() {
    const STAY: usize = 3;
    /// The first of those whose channels end in later turns: the last that are put out are told
    /// first then.
    const FIRST: usize = STAY + LEFT_PER_TURN;
    let mut crowd = Crowd::new();
    crowd.world.net.told.clear();
    crowd.put_out_but(STAY);
    crowd.world.shard.check_invariants();
    assert!(crowd.seats() >= MEMBERS - 2 * LEFT_PER_TURN, "{}", crowd.seats());
    assert_eq!(crowd.told("new_msg"), STAY, "who is put out hears nothing from then on");
    // It is put out again before its turn: that is not told by itself.
    crowd.put_out_but(STAY);
    assert!(crowd.seats() >= MEMBERS - 4 * LEFT_PER_TURN, "{}", crowd.seats());
    // One says something before its turn, others go.
    let (conn, gone) = (crowd.conns[FIRST], crowd.conns[FIRST + 1]);
    let push = format!(r#"["{FIRST}","p","{}","new_msg",{{"body":"hi"}}]"#, crowd.topic);
    crowd.world.say(conn, &push);
    assert!(!crowd.world.net.told.iter().any(|told| told == "Publish"), "nothing is asked for it");
    assert_eq!(crowd.world.shard.members.channels_count(conn), 0);
    crowd.world.with(|shard, turn| shard.hung_up(turn, gone));
    crowd.world.shard.check_invariants();
    let said = crowd.told("new_msg");
    let turns = crowd.pass_all(STAY);
    assert!(turns >= MEMBERS / LEFT_PER_TURN / 2, "{turns}");
    assert_eq!(crowd.told("new_msg") - said, STAY * turns, "only who stays hears");
    assert_eq!(crowd.told(REMOVED), MEMBERS - STAY - 1, "all but who has gone");
    assert_eq!(crowd.told("Leave"), MEMBERS - STAY, "the home is told of each");
    assert_eq!(crowd.seats(), STAY);
}

#[test]
fn a_room_that_loses_its_place_while_it_puts_many_out_ends_them_all_and_a_home_is_told_of_none() {
    for is_lost in [false, true] {
        let mut crowd = Crowd::new();
        crowd.world.net.told.clear();
        crowd.put_out_but(MEMBERS / 2);
        if is_lost {
            crowd.world.hear_restart();
        } else {
            let audience = crowd.audience;
            crowd.world.hear(ToMember::Ended { audience, reason: "turned" });
        }
        crowd.pass_all(0);
        let leaves = crowd.told("Leave");
        if is_lost {
            assert!(leaves <= 2 * LEFT_PER_TURN, "{leaves} after it began anew");
        } else {
            assert_eq!(leaves, MEMBERS);
            assert_eq!(crowd.told(REMOVED), MEMBERS / 2, "who is put out is told so");
        }
        assert!(!crowd.world.shard.members.has_work());
    }
}

#[test]
fn when_another_shard_begins_anew_a_turn_lets_so_many_of_its_members_leave_and_tells_it_nothing() {
    let work = LEAVING_WORK * u32::try_from(LEFT_PER_TURN).expect("a few");
    let mut world = World::with_settings(|settings| {
        settings.endings_work = work;
        settings.limits.rooms_per_s = 0;
    });
    let topics: Vec<String> = rooms(2).iter().map(|room| of_room(room)).collect();
    let join = |world: &mut World, number: usize, topic: &str| {
        let conn = Key::from_u64(1 << 32 | number as u64);
        let (user, audience) = (format!("u{number}"), Key::from_u64(9 << 32));
        world.hear(ToHome::Join {
            conn,
            audience,
            topic,
            who: Who::There { user: &user, name: &user },
            level: Level::Speak,
            visible: true,
            since: None,
            limit: 0,
            meta: None,
            replaces: None,
            address: None,
            invite: None,
        });
    };
    for number in 0..MEMBERS {
        join(&mut world, number, &topics[number % 2]);
    }
    while is_due(&world) {
        world.pass(0);
    }
    let members = |world: &World| world.shard.population().members;
    assert_eq!(members(&world), MEMBERS);
    world.hear_restart();
    let left = members(&world);
    assert!(left >= MEMBERS - LEFT_PER_TURN - PART, "{left}");
    // One of its new life comes in before they have left, and stays.
    world.net.told.clear();
    join(&mut world, MEMBERS, &topics[1]);
    let mut turns = 0;
    let mut left = members(&world);
    while left > 1 {
        assert!(is_due(&world), "the next turn has work");
        world.pass(0);
        world.shard.check_invariants();
        let now = members(&world);
        assert!(left - now <= LEFT_PER_TURN + PART, "{} in a turn", left - now);
        left = now;
        turns += 1;
    }
    assert!(turns >= MEMBERS / LEFT_PER_TURN / 2, "{turns}");
    assert_eq!(world.net.told.iter().filter(|told| *told == "Joined").count(), 1);
    assert_eq!(world.net.told.iter().filter(|told| *told == "Removed").count(), 0);
    assert_eq!(world.shard.rooms.len(), 1, "and a room goes that is empty");
}

#[test]
fn of_many_who_take_too_much_memory_a_turn_ends_so_many_and_their_log_is_let_go_of_at_once() {
    let mut crowd = Crowd::new();
    crowd.world.pass(0);
    let world = &mut crowd.world;
    world.net.takes = Some(0);
    let used_bytes = world.shard.population().memory_bytes;
    let settings = Arc::make_mut(&mut world.shard.common.settings);
    settings.memory_bytes_max = used_bytes + 64 * 1_024;
    world.net.told.clear();
    let (audience, body) = (crowd.audience, format!("\"{}\"", "a".repeat(48 * 1_024)));
    let payload = Payload::Json(&body);
    crowd.world.hear(ToMember::Deliver { audience, event: "new_msg", payload });
    crowd.world.hear(ToMember::Deliver { audience, event: "new_msg", payload });
    let shard = &crowd.world.shard;
    assert_eq!(shard.metrics().lost_for_memory, MEMBERS as u64, "all lag alike");
    assert_eq!(shard.members.audiences.log_bytes(), 0, "nobody is waited for");
    assert!(shard.population().memory_bytes <= shard.common.settings.memory_bytes_max);
    assert!(crowd.seats() >= MEMBERS - 2 * LEFT_PER_TURN, "{}", crowd.seats());
    let turns = crowd.pass_all(0);
    assert!(turns >= MEMBERS / LEFT_PER_TURN / 2, "{turns}");
    assert_eq!(crowd.told("Leave"), MEMBERS, "the home is told of each");
    assert_eq!(crowd.world.shard.metrics().lagged, MEMBERS as u64);
}

//! What clients see of members on other nodes, and of what is said there and not kept.
//!
//! Deliberately absent: what goes wrong between nodes (`world`).

mod world;

use std::collections::BTreeMap;

use serde_json::Value;
use world::World;

use crate::limits::MEMBER_MEMORY_BYTES;
use crate::link::ids::Asker;
use crate::link::log::{FromLog, View};
use crate::link::pressure::Pressure;
use crate::rooms::shown::{Shown, entries};
use crate::rooms::*;

impl World {
    /// A quiet one, in which is noted what members are told.
    fn quiet() -> Self {
        let mut world = Self::new(0);
        world.nodes.iter_mut().flatten().for_each(|node| node.told = Some(Vec::new()));
        world
    }

    /// All that was said is heard, and told.
    fn settle(&mut self) {
        for _ in 0..8 {
            self.wait(500);
            self.drain();
        }
    }

    /// What members of a node were told since the last call, of what begins so.
    fn told(&mut self, at: u64, event: &str) -> Vec<String> {
        let told = self.node(at).and_then(|node| node.told.replace(Vec::new()));
        let begin = format!("0 {event} ");
        told.into_iter()
            .flatten()
            .filter_map(|told| Some(told.strip_prefix(&begin)?.into()))
            .collect()
    }

    fn diffs(&mut self, at: u64) -> Vec<Value> {
        let told = self.told(at, "presence_diff");
        told.iter().map(|diff| serde_json::from_str(diff).expect("JSON")).collect()
    }

    /// Where the only member of a node is.
    fn only(&mut self, at: u64) -> (RoomKey, Asker) {
        let node = self.node(at).expect("it is there");
        let [(asker, ..)] = *node.members else { panic!("there is one") };
        (node.home.mesh.log.room.expect("it is open"), asker)
    }

    fn presence(&mut self, at: u64, full_max: u32, listed: u32) {
        let node = self.node(at).expect("it is there");
        let limits = &mut node.home.settings.presence;
        (limits.full_max, limits.listed) = (full_max, listed);
    }

    /// What a member pushes, of whom there is one on its node.
    fn push(&mut self, at: u64, push: impl FnOnce(RoomKey, Asker) -> ToHome<'static>) {
        let (home, asker) = self.only(at);
        self.act(at, |of| of.hear(0, push(home, asker)));
    }
}

fn users(of: &Value) -> Vec<&str> {
    of.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn custom(home: RoomKey, asker: Asker) -> ToHome<'static> {
    let payload = Payload::Json("{\"x\":1}");
    ToHome::Custom { home, asker, reference: "7", event: "wave", payload }
}

#[test]
fn who_comes_and_goes_on_another_node_is_told_once_and_by_the_same_ref() {
    let mut world = World::quiet();
    world.join_as(0, "ann");
    world.settle();
    world.diffs(0);
    world.join_as(1, "bob");
    world.settle();
    let [diff] = &*world.diffs(0) else { panic!("one diff") };
    assert_eq!((users(&diff["joins"]), users(&diff["leaves"])), (vec!["bob"], vec![]));
    // It comes into a room that it does not know, and is told the rest when that is known.
    let joins: Vec<_> = world.diffs(1).iter().flat_map(|diff| entries(&diff["joins"])).collect();
    let own = world.node(0).and_then(|node| node.shown.clone()).expect("a list");
    assert_eq!(joins.into_iter().collect::<Shown>(), own);
    world.change(1, true);
    world.settle();
    let [left] = &*world.diffs(0) else { panic!("one diff") };
    assert_eq!(left["leaves"], diff["joins"], "what leaves is what joined");
    world.judge();
}

#[test]
fn a_user_with_devices_on_two_nodes_is_one_user() {
    let mut world = World::quiet();
    for at in [0, 1] {
        world.join_as(at, "ann");
        world.settle();
    }
    for at in [0, 1] {
        let shown = world.node(at).and_then(|node| node.shown.clone()).expect("a list");
        assert_eq!(shown.values().map(|(user, _)| &**user).collect::<Vec<_>>(), ["ann", "ann"]);
    }
    world.diffs(0);
    world.join_as(0, "bob");
    world.settle();
    let list = world.told(0, "state");
    assert_eq!(list.len(), 1, "who comes is sent one list");
    // One of them goes, and the other is still there.
    world.change(1, true);
    world.settle();
    let shown = world.node(0).and_then(|node| node.shown.clone()).expect("a list");
    let there: Vec<_> = shown.values().map(|(user, _)| &**user).collect();
    assert_eq!(there.iter().filter(|user| **user == "ann").count(), 1);
    world.judge();
}

#[test]
fn another_meta_on_another_node_is_a_leave_and_a_join_in_one_diff() {
    let mut world = World::quiet();
    world.join_as(0, "ann");
    world.join_as(1, "bob");
    world.settle();
    world.diffs(0);
    world.change(1, false);
    world.settle();
    let [diff] = &*world.diffs(0) else { panic!("one diff") };
    assert_eq!((users(&diff["joins"]), users(&diff["leaves"])), (vec!["bob"], vec!["bob"]));
    let [before] = &*diff["leaves"]["bob"]["metas"].as_array().expect("metas").clone() else {
        panic!("one meta")
    };
    assert_eq!(diff["joins"]["bob"]["metas"][0]["phx_ref_prev"], before["phx_ref"]);
    world.judge();
}

#[test]
fn the_members_of_a_node_that_died_leave_in_one_diff() {
    let mut world = World::quiet();
    world.join_as(0, "ann");
    for user in ["bob", "cy", "dan"] {
        world.join_as(1, user);
    }
    world.settle();
    world.diffs(0);
    let life = world.node(1).expect("it is there").life;
    world.nodes[1] = None;
    world.settle();
    assert_eq!(world.diffs(0), Vec::<Value>::new(), "its lease is not over");
    world.hear(0, FromLog::Gone { nodes: &[(1, life)] });
    world.settle();
    let [diff] = &*world.diffs(0) else { panic!("one diff") };
    assert_eq!(users(&diff["leaves"]), ["bob", "cy", "dan"]);
    // It comes back, and is another one.
    world.boot(1);
    world.join_as(1, "bob");
    world.settle();
    world.judge();
}

#[test]
fn a_large_room_tells_other_nodes_a_choice_and_how_many_there_are() {
    let mut world = World::quiet();
    for at in 0..3 {
        world.presence(at, 4, 2);
    }
    for at in 0..3 {
        for _ in 0..3 {
            world.devices += 1;
            let user = format!("user{}", world.devices);
            world.join_as(at, &user);
            world.settle();
        }
    }
    for at in 0..3 {
        let counts = world.told(at, "presence_count");
        let last = counts.last().expect("they are told how many there are");
        assert!(last.contains("\"count\":9"), "{last}");
        let node = world.node(at).expect("it is there");
        let shown = node.shown.as_ref().expect("a list").len();
        assert!(shown <= 2, "a choice: {shown}");
        let of = node.home.mesh.log.room.and_then(|key| node.home.rooms.arena.get(key));
        let seen = of.map(|of| of.room.nodes_seen()).expect("it is open");
        let listed: usize = seen.iter().map(|(.., members)| members.len()).sum();
        assert!(listed <= 2 * 2, "of each of the others a choice: {listed}");
    }
    // With fewer there is everybody again.
    for at in 0..3 {
        world.change(at, true);
        world.change(at, true);
        world.settle();
    }
    world.judge();
}

#[test]
fn an_event_is_told_when_it_is_heard_and_then_answered() {
    let mut world = World::quiet();
    world.join_as(0, "ann");
    world.join_as(1, "bob");
    world.settle();
    world.told(0, "");
    world.told(1, "");
    world.push(0, custom);
    // What it asks behind that waits for the answer.
    let from = crate::link::record::From::Latest;
    world.push(0, |home, asker| ToHome::History {
        home,
        asker,
        reference: "8",
        view: View::Room,
        from,
        limit: 1,
    });
    let of = |world: &mut World, at| world.node(at).and_then(|of| of.told.replace(Vec::new()));
    assert_eq!(of(&mut world, 0), Some(vec![]), "it is said, and not heard yet");
    world.drain();
    let heard = "0 wave {\"x\":1}".to_owned();
    let told = of(&mut world, 0).expect("noted");
    assert_eq!(told[..2], [heard.clone(), "0 reply 7 ok {}".to_owned()]);
    assert!(told[2].starts_with("0 reply 8 ok"), "{told:?}");
    assert_eq!(of(&mut world, 1), Some(vec![heard]));
    // Nobody knows whether it was heard.
    world.push(0, custom);
    world.cut(0);
    let told = of(&mut world, 0).expect("noted");
    assert!(told.last().is_some_and(|last| last.contains("unconfirmed")), "{told:?}");
    world.push(0, custom);
    let told = of(&mut world, 0).expect("noted");
    assert!(told.last().is_some_and(|last| last.contains("unavailable")), "{told:?}");
    world.node(0).expect("it is there").home.rooms.check();
}

#[test]
fn who_types_is_told_once_for_a_while_on_whatever_node() {
    let mut world = World::quiet();
    for at in [0, 1] {
        world.join_as(at, "ann");
    }
    world.settle();
    for _ in 0..3 {
        for at in [0, 1] {
            world.push(at, |home, asker| ToHome::Typing { home, asker, thread: None });
        }
    }
    world.drain();
    for at in [0, 1] {
        let told = world.told(at, "typing");
        assert_eq!(told, [r#"{"name":"ann","user":"ann"}"#], "node {at}");
    }
}

#[test]
fn without_memory_others_are_not_taken_in_and_with_it_they_are() {
    let mut world = World::quiet();
    world.join_as(0, "ann");
    world.settle();
    world.node(0).expect("it is there").home.pressure = Pressure::Joins;
    world.join_as(1, "bob");
    world.settle();
    let shown =
        |world: &mut World| world.node(0).and_then(|of| of.shown.clone()).map(|of| of.len());
    assert_eq!(shown(&mut world), Some(1));
    world.node(0).expect("it is there").home.pressure = Pressure::None;
    world.wait_for_audits();
    assert_eq!(shown(&mut world), Some(2));
}

#[test]
fn what_nodes_say_of_who_is_there_is_counted_and_an_audit_that_differs_too() {
    let mut world = World::quiet();
    world.join_as(0, "ann");
    world.join_as(1, "bob");
    world.settle();
    let metrics = |world: &mut World, at| world.node(at).expect("it is there").home.metrics;
    let before = metrics(&mut world, 0);
    assert!(before.slices_whole > 0);
    world.change(1, false);
    world.settle();
    assert_eq!(metrics(&mut world, 0).slices_diff, before.slices_diff + 1);
    world.wait_for_audits();
    let before = metrics(&mut world, 0);
    assert_eq!((before.slices_audit > 0, before.slices_differ), (true, 0));
    // What is said then is lost on its way to one of them.
    world.change(1, false);
    world.wait(5_000);
    while world.pass(1) {}
    world.node(0).expect("it is there").queue.clear();
    world.wait_for_audits();
    let after = metrics(&mut world, 0);
    assert_eq!(after.slices_differ, 1);
    assert_eq!(after.slices_wanted, before.slices_wanted + 1);
    assert!(metrics(&mut world, 1).slices_want > 0);
    world.judge();
}

/// As by an engine that has no memory for a moment.
#[test]
fn a_room_whose_question_who_is_there_was_lost_asks_again_and_nobody_leaves_meanwhile() {
    let mut world = World::quiet();
    world.join_as(0, "ann");
    world.join_as(1, "bob");
    world.settle();
    let (room, _) = world.only(0);
    world.hear(0, FromLog::Missed { room });
    world.wait(500);
    let lost = std::mem::take(&mut world.node(0).expect("it is there").home.mesh.log.out);
    assert_eq!(lost.len(), 1, "{lost:?}");
    world.diffs(0);
    for _ in 0..3 {
        world.wait_for_audits();
    }
    assert_eq!(world.diffs(0), Vec::<Value>::new());
}

#[test]
fn a_room_that_is_left_is_forgotten_here_and_elsewhere() {
    let mut world = World::quiet();
    world.join_as(0, "ann");
    world.settle();
    let bytes = world.node(0).expect("it is there").home.rooms.bytes();
    for user in ["bob", "cy"] {
        world.join_as(1, user);
    }
    world.settle();
    let with_others = world.node(0).expect("it is there").home.rooms.bytes();
    assert!(with_others >= bytes + 2 * MEMBER_MEMORY_BYTES, "they are counted");
    world.change(1, true);
    world.change(1, true);
    world.settle();
    assert_eq!(world.node(1).expect("it is there").home.rooms.len(), 0);
    let node = world.node(0).expect("it is there");
    assert_eq!(node.shown.as_ref().map(BTreeMap::len), Some(1));
    let of = node.home.mesh.log.room.and_then(|key| node.home.rooms.arena.get(key));
    assert_eq!(of.map(|of| of.room.nodes_seen().len()), Some(0));
}

#[test]
fn a_node_that_drains_says_at_once_that_nobody_is_left() {
    let mut world = World::quiet();
    world.join_as(0, "ann");
    world.join_as(1, "bob");
    world.settle();
    world.node(1).expect("it is there").home.is_draining = true;
    world.diffs(0);
    world.change(1, true);
    // No tick of its own is needed.
    world.drain();
    world.nodes[1] = None;
    world.settle();
    let [diff] = &*world.diffs(0) else { panic!("one diff") };
    assert_eq!(users(&diff["leaves"]), ["bob"]);
}

//! Nodes at a Redis Cluster: rooms are spread over primaries, and nobody hears of that, whatever
//! slots and primaries do.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::clusters::Cluster;
use crate::faults::{say_at_last, told};
use crate::list::all_list;
use crate::nodes::{Client, node};
use crate::server;
use crate::servers::{KINDS, Kind};

/// Over so many partitions rooms are spread, if nothing else is configured.
const PARTITIONS: u16 = 1024;

fn two_nodes(cluster: &Cluster) -> [server::Server; 2] {
    [(); 2].map(|()| node(&cluster.url(), &[]))
}

/// Rooms that are at this primary at first, each with its slot.
fn rooms_at(cluster: &Cluster, primary: usize) -> impl Iterator<Item = (String, u16)> {
    let rooms = (0..).map(|number| {
        let room = format!("r{number}");
        let slot = cluster.slot_of(&format!("room:{room}"), PARTITIONS);
        (room, slot)
    });
    rooms.filter(move |(_, slot)| cluster.first_of(*slot) == primary)
}

fn room_at(cluster: &Cluster, primary: usize) -> (String, u16) {
    rooms_at(cluster, primary).next().expect("some room is there")
}

/// Nobody has missed anything, or heard it twice.
#[track_caller]
fn check_whole(heard: &[(u64, String)]) {
    let expected: Vec<_> = (1..=heard.len() as u64).map(|n| (n, format!("m{n}"))).collect();
    assert_eq!(heard, expected, "each once, in order");
}

#[test]
fn rooms_of_all_primaries_are_one_chat() {
    for kind in KINDS {
        let cluster = Cluster::start(kind, 3);
        let nodes = two_nodes(&cluster);
        let rooms: Vec<_> = (0..12).map(|number| format!("r{number:02}")).collect();
        let mut members = Vec::new();
        for room in &rooms {
            let mut ann = Client::join(&nodes[0], "ann", room, &json!({}));
            let mut bob = Client::join(&nodes[1], "bob", room, &json!({}));
            let user = bob.user();
            while ann.hear("presence_diff")["joins"].get(&user).is_none() {}
            assert_eq!(ann.say("one"), 1);
            bob.hear_until("one");
            assert_eq!(bob.say("two"), 2);
            ann.hear_until("two");
            members.push((ann, bob));
        }
        let listed: Vec<_> = rooms.iter().map(|room| (&**room, &**room, 2)).collect();
        all_list(&nodes, "rooms of all primaries", &listed);
        for primary in &cluster.primaries {
            let keys: Vec<String> = told(primary, &["KEYS", "cw:*:m:room:*"]);
            assert!(!keys.is_empty(), "{kind:?}: each has some of them");
        }
    }
}

#[test]
fn whoever_is_in_a_room_whose_slot_moves_hears_each_message_once_and_in_order() {
    let cluster = Cluster::start(Kind::Redis, 3);
    let nodes = two_nodes(&cluster);
    let ((room, slot), (other, _)) = (room_at(&cluster, 0), room_at(&cluster, 1));
    let mut bob = Client::join(&nodes[1], "bob", &room, &json!({}));
    let mut dan = Client::join(&nodes[1], "dan", &other, &json!({}));
    let (is_over, said) = (AtomicBool::new(false), AtomicU64::new(0));
    // Says something in both rooms, again and again.
    let speak = || {
        let mut ann = Client::join(&nodes[0], "ann", &room, &json!({}));
        let mut cyd = Client::join(&nodes[0], "cyd", &other, &json!({}));
        for number in 1.. {
            // A message is not said twice, however often it has to be sent.
            let body = format!("m{number}");
            assert_eq!(say_at_last(&mut ann, &body), number);
            assert_eq!(say_at_last(&mut cyd, &body), number);
            said.store(number, Ordering::Release);
            if is_over.load(Ordering::Acquire) {
                return;
            }
        }
    };
    let mut heard = Vec::new();
    thread::scope(|scope| {
        let speaker = scope.spawn(speak);
        let mut hear_until = |number: u64| {
            while heard.last().is_none_or(|(offset, _)| *offset < number) {
                let message = bob.hear("new_msg");
                let offset = message["offset"].as_u64().expect("an offset");
                heard.push((offset, message["body"].as_str().expect("text").to_owned()));
            }
        };
        hear_until(3);
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            cluster.begin_to_move(slot, from, to);
            while cluster.move_keys(slot, from, to, 1) {}
            cluster.end_to_move(slot, from, to);
            hear_until(said.load(Ordering::Acquire) + 2);
        }
        is_over.store(true, Ordering::Release);
        speaker.join().expect("all is said");
        hear_until(said.load(Ordering::Acquire));
    });
    check_whole(&heard);
    check_whole(&dan.hear_until(&format!("m{}", said.load(Ordering::Acquire))));
    // Whoever was away since the beginning misses nothing either.
    let eve = Client::join(&nodes[0], "eve", &room, &bob.cursor(0, 0));
    assert_eq!(eve.joined["response"]["recovered"], true, "{}", eve.joined);
}

#[test]
fn only_messages_whose_primary_has_lost_its_replica_wait_and_nothing_else() {
    let cluster = Cluster::start_with_replica(Kind::Redis, 3, 4_000);
    let node = node(&cluster.url(), &["engine.timeout_ms=20000"]);
    let mut rooms = rooms_at(&cluster, 0);
    let [(room, _), (same, _)] = [(); 2].map(|()| rooms.next().expect("another one"));
    let (other, _) = room_at(&cluster, 1);
    let mut ann = Client::join(&node, "ann", &room, &json!({}));
    let mut bob = Client::join(&node, "bob", &other, &json!({}));
    assert_eq!(ann.say("one"), 1);
    let replica = cluster.replica.as_ref().expect("it has one");
    replica.signal("-STOP");
    let since = Instant::now();
    let message = ann.push("new_msg", &json!({ "body": "two" }));
    // This primary never had a replica, and that one is asked something else.
    assert_eq!(bob.say("one"), 1);
    Client::join(&node, "cyd", &same, &json!({}));
    assert!(since.elapsed() < Duration::from_secs(20), "it waits for nobody's replica");
    replica.signal("-CONT");
    let answer = ann.answer(message);
    assert_eq!(answer["response"]["offset"], 2, "{answer}");
}

#[test]
fn a_primary_that_dies_is_gone_on_without_as_soon_as_its_replica_takes_over() {
    // As short as a busy machine allows.
    let mut cluster = Cluster::start_with_replica(Kind::Redis, 3, 2_000);
    let nodes = two_nodes(&cluster);
    let ((room, _), (other, _)) = (room_at(&cluster, 0), room_at(&cluster, 1));
    let mut ann = Client::join(&nodes[0], "ann", &room, &json!({}));
    let mut bob = Client::join(&nodes[1], "bob", &room, &json!({}));
    let mut cyd = Client::join(&nodes[0], "cyd", &other, &json!({}));
    let mut dan = Client::join(&nodes[1], "dan", &other, &json!({}));
    // The replica has each of these, or it would not have been answered.
    for number in 1..=20 {
        for client in [&mut ann, &mut cyd] {
            assert_eq!(say_at_last(client, &format!("m{number}")), number);
        }
    }
    cluster.primaries[0].kill();
    for client in [&mut ann, &mut cyd] {
        assert_eq!(say_at_last(client, "m21"), 21);
    }
    for client in [&mut bob, &mut dan] {
        check_whole(&client.hear_until("m21"));
    }
    let cursor = bob.cursor(20, 0);
    let late = Client::join_at_last(&nodes[1], "bob", &room, &cursor);
    assert_eq!(late.joined["response"]["recovered"], true, "{}", late.joined);
    assert_eq!(late.joined["response"]["messages"][0]["body"], "m21", "{}", late.joined);
}

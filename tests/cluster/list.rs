//! The list of rooms is one over all nodes: which there are, what they are called, how many are in
//! them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::nodes::{Client, node, nodes};
use crate::peer::{self, Peer};
use crate::server::{Server as Node, until};
use crate::servers::{KINDS, Kind, Server};

/// Rooms with their titles and how many are in them.
type Rooms = BTreeMap<String, (String, u64)>;

/// The list as a node answers it.
fn list(node: &Node) -> Rooms {
    let answer = peer::ask(node, b"GET /api/rooms?limit=1000 HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert_eq!(answer.status, 200, "{answer:?}");
    let body: Value = serde_json::from_str(&answer.body).expect("JSON");
    let rooms = body["rooms"].as_array().expect("a list").iter().map(|room| {
        let text = |name: &str| room[name].as_str().expect("text").to_owned();
        (text("room"), (text("title"), room["members"].as_u64().expect("a number")))
    });
    rooms.collect()
}

/// Waits until all nodes have these rooms in their lists, and no others.
#[track_caller]
pub(crate) fn all_list(nodes: &[Node], what: &str, expected: &[(&str, &str, u64)]) {
    let rooms = expected
        .iter()
        .map(|(room, title, count)| ((*room).to_owned(), ((*title).to_owned(), *count)));
    let expected: Rooms = rooms.collect();
    for (at, node) in nodes.iter().enumerate() {
        let mut last = Rooms::new();
        let is_so = || {
            last = list(node);
            last == expected
        };
        until(&format!("{what}, at node {at}"), is_so);
    }
}

fn join(node: &Node, name: &str, room: &str) -> Client {
    Client::join(node, name, room, &json!({}))
}

#[test]
fn all_nodes_list_the_same_rooms_with_all_who_are_there() {
    for kind in KINDS {
        let engine = Server::start(kind, &[]);
        let nodes = nodes(&engine, 3, &[]);
        let token = nodes[0].token("mod");
        nodes[0].found(&token, "tea");
        all_list(&nodes, "what is founded", &[("tea", "tea", 0)]);
        let mut owner = Client::join_as(&nodes[0], &token, "tea", &json!({}));
        let bob = join(&nodes[1], "bob", "tea");
        // Another device of the same node, and a room of which nothing is kept.
        let cyd = join(&nodes[1], "cyd", "tea");
        let _dan = join(&nodes[2], "dan", "mate");
        all_list(&nodes, "who is there", &[("mate", "mate", 1), ("tea", "tea", 3)]);
        drop(cyd);
        let set = owner.ask("room_set", &json!({ "title": "Tea time" }));
        assert_eq!(set["status"], "ok", "{set}");
        all_list(&nodes, "another title", &[("mate", "mate", 1), ("tea", "Tea time", 2)]);
        let set = owner.ask("room_set", &json!({ "join": "members" }));
        assert_eq!(set["status"], "ok", "{set}");
        all_list(&nodes, "a private room", &[("mate", "mate", 1)]);
        let set = owner.ask("room_set", &json!({ "join": "all" }));
        assert_eq!(set["status"], "ok", "{set}");
        all_list(&nodes, "no more", &[("mate", "mate", 1), ("tea", "Tea time", 1)]);
        drop((owner, bob));
        all_list(&nodes, "all have left", &[("mate", "mate", 1), ("tea", "Tea time", 0)]);
    }
}

#[test]
fn a_room_of_which_nothing_is_kept_goes_with_the_last_who_is_in_it_anywhere() {
    let engine = Server::start(Kind::Redis, &[]);
    let nodes = nodes(&engine, 2, &[]);
    let (ann, bob) = (join(&nodes[0], "ann", "tea"), join(&nodes[1], "bob", "tea"));
    all_list(&nodes, "both", &[("tea", "tea", 2)]);
    drop(ann);
    all_list(&nodes, "one", &[("tea", "tea", 1)]);
    drop(bob);
    all_list(&nodes, "none", &[]);
}

#[test]
fn members_of_the_lobby_hear_what_happens_at_other_nodes() {
    let engine = Server::start(Kind::Redis, &[]);
    let nodes = nodes(&engine, 2, &[]);
    let mut lobby = Peer::open(&nodes[0], &nodes[0].token("ann"));
    lobby.send(r#"["1","1","lobby","phx_join",{}]"#);
    lobby.await_text("phx_reply");
    let mut bob = join(&nodes[1], "bob", "tea");
    lobby.await_text(r#"{"members":1,"room":"tea","title":"tea"}"#);
    bob.say("hello");
    drop(bob);
    lobby.await_text(r#"{"members":0,"room":"tea","title":"tea"}"#);
}

#[test]
fn the_members_of_a_node_that_dies_are_not_counted_any_more() {
    let engine = Server::start(Kind::Valkey, &[]);
    let mut nodes = nodes(&engine, 2, &[]);
    let _ann = join(&nodes[0], "ann", "tea");
    let _bob = join(&nodes[1], "bob", "tea");
    let _cyd = join(&nodes[1], "cyd", "mate");
    all_list(&nodes, "all", &[("mate", "mate", 1), ("tea", "tea", 2)]);
    nodes.pop().expect("the second").kill();
    all_list(&nodes, "the others", &[("tea", "tea", 1)]);
}

#[test]
fn a_node_that_ends_takes_leave_at_once() {
    let engine = Server::start(Kind::Redis, &[]);
    // Whoever would wait for the end of a lease would wait for longer than this test does.
    let settings = ["cluster.lease_ms=120000", "drain_s=0"];
    let mut nodes = nodes(&engine, 2, &settings);
    let mut ann = join(&nodes[0], "ann", "tea");
    let bob = join(&nodes[1], "bob", "tea");
    let user = bob.user();
    while ann.hear("presence_diff")["joins"].get(&user).is_none() {}
    all_list(&nodes, "both", &[("tea", "tea", 2)]);
    let second = nodes.pop().expect("the second");
    second.terminate();
    while ann.hear("presence_diff")["leaves"].get(&user).is_none() {}
    all_list(&nodes, "one", &[("tea", "tea", 1)]);
    drop(second);
}

#[test]
fn rooms_are_listed_when_all_nodes_have_begun_again() {
    let engine = Server::start(Kind::Valkey, &[]);
    let first = nodes(&engine, 2, &[]);
    let token = first[0].token("mod");
    first[0].found(&token, "tea");
    let mut ann = join(&first[1], "ann", "mate");
    ann.say("hello");
    // Joined, and nothing more.
    let _bob = join(&first[1], "bob", "zen");
    let all = [("mate", "mate", 1), ("tea", "tea", 0), ("zen", "zen", 1)];
    all_list(&first, "all", &all);
    first.iter().for_each(Node::kill);
    let nodes = nodes(&engine, 2, &[]);
    all_list(&nodes, "what is kept", &[("mate", "mate", 0), ("tea", "tea", 0)]);
}

#[test]
fn what_happened_while_the_engine_was_away_is_listed_when_it_is_back() {
    let mut engine = Server::start(Kind::Redis, &["--appendonly", "yes"]);
    let nodes = [(); 2].map(|()| node(&engine.url(), &[]));
    let mut ann = join(&nodes[0], "ann", "tea");
    let bob = join(&nodes[1], "bob", "tea");
    ann.say("hello");
    all_list(&nodes, "both", &[("tea", "tea", 2)]);
    engine.kill();
    drop(bob);
    engine.begin_again();
    all_list(&nodes, "one", &[("tea", "tea", 1)]);
    // What it has lost is in no list, but for those who are there.
    engine.kill();
    engine.forget();
    drop(ann);
    engine.begin_again();
    all_list(&nodes, "nothing", &[]);
}

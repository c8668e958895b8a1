//! `chinwag move`: the rooms of a store go on at several nodes.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::clusters::Cluster;
use crate::faults::{has, told};
use crate::nodes::{Client, SECRET, node, nodes};
use crate::server::{PATIENCE, Server};
use crate::servers::{self, Kind};

/// A folder for a store, which goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("chinwag-moving-{}-{name}", std::process::id())))
    }

    /// Serves a store there, with the secret that nodes have.
    fn serve(&self) -> Server {
        let path = format!("store.path={}", self.0.display());
        Server::start(&[&path, SECRET, "auth.guests=true", "shards=2", "limits.publish_per_s=0"])
    }

    /// Moves the store into an engine, of which so many messages of a room are kept.
    fn move_to(&self, engine: &str, history: u32) -> Output {
        Command::new(env!("CARGO_BIN_EXE_chinwag"))
            .arg("move")
            .arg(&self.0)
            .args(["--set", SECRET, "--set", &format!("engine.url={engine}")])
            .args(["--set", &format!("engine.history={history}")])
            .args(["--set", "history.messages=10"])
            .env_clear()
            .output()
            .expect("the program can be started")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn stop(server: Server) {
    server.terminate();
    let (status, log) = server.wait(PATIENCE);
    assert_eq!(status.code(), Some(0), "{log}");
}

#[track_caller]
fn check(output: &Output, code: i32, said: &str) {
    let [out, err] = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said));
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    assert!([out, err].iter().any(|text| text.contains(said)), "{output:?}");
}

#[track_caller]
fn ok(answer: &Value) -> Value {
    assert_eq!(answer["status"], "ok", "{answer}");
    answer["response"].clone()
}

/// What there is to see in a room, but for how it is called: its messages, pinned ones, lines, and
/// the answer to a key that was used.
fn seen(client: &mut Client) -> [Value; 4] {
    let page = ok(&client.ask("history", &json!({ "limit": 100 })))["messages"].clone();
    let pinned = ok(&client.ask("history", &json!({ "pinned": true })))["messages"].clone();
    let acts = ok(&client.ask("room_audit", &json!({})))["acts"].clone();
    let again = ok(&client.ask("new_msg", &json!({ "body": "one", "key": "k1" })));
    [page, pinned, acts, again]
}

#[test]
fn a_room_of_a_store_goes_on_in_an_engine_as_if_nothing_had_been() {
    let folder = Folder::new("room");
    let server = folder.serve();
    let (anns, bobs) = (server.token("ann"), server.token("bob"));
    server.found(&anns, "tea");
    let mut ann = Client::join_as(&server, &anns, "tea", &json!({}));
    let mut bob = Client::join_as(&server, &bobs, "tea", &json!({}));
    ok(&ann.ask("new_msg", &json!({ "body": "one", "key": "k1" })));
    for body in ["two", "three", "four"] {
        ann.say(body);
    }
    ok(&bob.ask("new_msg", &json!({ "body": "five", "reply_to": 2 })));
    let early = ann.cursor(4, 0);
    ok(&ann.ask("msg_edit", &json!({ "offset": 1, "body": "won" })));
    ok(&bob.ask("msg_react", &json!({ "offset": 2, "emoji": "🍵" })));
    ok(&ann.ask("msg_pin", &json!({ "offset": 2 })));
    ok(&ann.ask("msg_delete", &json!({ "offset": 3 })));
    ok(&ann.ask("room_set", &json!({ "topic": "leaves" })));
    ok(&ann.ask("room_member", &json!({ "user": bob.user(), "banned_s": 3600 })));
    let invite = ok(&ann.ask("room_invite", &json!({})))["invite"].clone();
    let before = seen(&mut ann);
    let late = ann.cursor(5, 4);
    stop(server);

    let engine = servers::Server::start(Kind::Redis, &[]);
    check(
        &folder.move_to(&engine.url(), 1_000),
        0,
        "rooms: 1 moved, 0 left alone that were there\n",
    );
    check(
        &folder.move_to(&engine.url(), 1_000),
        0,
        "rooms: 0 moved, 1 left alone that were there\n",
    );

    let nodes = nodes(&engine, 2, &[]);
    let mut ann = Client::join_as(&nodes[0], &anns, "tea", &late);
    let joined = &ann.joined["response"];
    assert_eq!(joined["recovered"], true, "{joined}");
    assert_eq!((&joined["messages"], &joined["changed"]), (&json!([]), &Value::Null), "{joined}");
    assert_eq!(joined["room"]["topic"], "leaves", "{joined}");
    assert_eq!(seen(&mut ann), before);
    // At the other node, by a cursor from before the changes.
    let ann = Client::join_as(&nodes[1], &anns, "tea", &early);
    let joined = &ann.joined["response"];
    assert_eq!(joined["recovered"], true, "{joined}");
    let bodies = |of: &Value| -> Vec<Value> {
        of.as_array().expect("a list").iter().map(|message| message["body"].clone()).collect()
    };
    assert_eq!(bodies(&joined["messages"]), ["five"], "{joined}");
    assert_eq!(bodies(&joined["changed"]), [json!("won"), json!("two"), json!("")], "{joined}");
    let mut ann = Client::join_as(&nodes[1], &anns, "tea", &json!({}));
    assert_eq!(ann.say("six"), 6);
    let refused = Client::try_join(&nodes[1], &bobs, "tea");
    assert_eq!(refused["response"]["reason"], "banned", "{refused}");
    ok(&ann.ask("room_set", &json!({ "join": "members" })));
    Client::join(&nodes[1], "cyd", "tea", &json!({ "invite": invite }));
    // A server that has the engine would not hear of rooms that come from elsewhere.
    check(&folder.move_to(&engine.url(), 1_000), 71, "in use by 2 servers");
}

#[test]
fn what_an_engine_does_not_keep_stays_behind_and_cursors_before_it_are_told() {
    let folder = Folder::new("long");
    let server = folder.serve();
    let token = server.token("ann");
    let mut ann = Client::join_as(&server, &token, "tea", &json!({}));
    for count in 1..=12 {
        ann.say(&count.to_string());
    }
    ok(&ann.ask("msg_edit", &json!({ "offset": 1, "body": "uno" })));
    ok(&ann.ask("msg_edit", &json!({ "offset": 12, "body": "doce" })));
    let (lost, there) = (ann.cursor(12, 0), ann.cursor(12, 1));
    stop(server);
    let engine = servers::Server::start(Kind::Valkey, &[]);
    check(
        &folder.move_to(&engine.url(), 10),
        0,
        "messages: 10 moved, 2 before them stay in the store\n",
    );
    let nodes = nodes(&engine, 1, &["engine.history=10", "history.messages=10"]);
    for (cursor, recovered) in [(lost, false), (there, true)] {
        let ann = Client::join_as(&nodes[0], &token, "tea", &cursor);
        assert_eq!(ann.joined["response"]["recovered"], recovered, "{}", ann.joined);
    }
    let mut ann = Client::join_as(&nodes[0], &token, "tea", &json!({}));
    let page = ok(&ann.ask("history", &json!({ "limit": 100 })));
    let messages = page["messages"].as_array().expect("a list");
    assert_eq!((messages.len(), &messages[0]["offset"]), (10, &json!(3)), "{page}");
    assert_eq!(messages[9]["body"], "doce", "{page}");
    assert_eq!(ann.say("13"), 13);
}

#[test]
fn a_room_is_closed_to_all_until_all_of_it_is_moved() {
    let folder = Folder::new("part");
    let server = folder.serve();
    let owner = server.token("owner");
    // Nothing was said in it.
    server.found(&owner, "den");
    let mut room = Client::join_as(&server, &owner, "den", &json!({}));
    ok(&room.ask("room_set", &json!({ "join": "members" })));
    stop(server);
    let engine = servers::Server::start(Kind::Redis, &[]);
    check(&folder.move_to(&engine.url(), 1_000), 0, "rooms: 1 moved");
    // As it is where the command was killed: of the facts nothing is there.
    let mut look = engine.look();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*:room:den").query(&mut look).expect("keys");
    for key in &keys {
        let is_meta = key.contains(":m:");
        let mut cut = redis::cmd(if is_meta { "SET" } else { "DEL" });
        cut.arg(key).arg(is_meta.then_some("0 moving"));
        cut.query::<redis::Value>(&mut look).expect("it is cut short");
    }
    let stranger = nodes(&engine, 1, &[]);
    let refused = Client::try_join(&stranger[0], &stranger[0].token("eve"), "den");
    assert_eq!(refused["response"]["reason"], "unavailable", "{refused}");
    for node in stranger {
        stop(node);
    }
    check(
        &folder.move_to(&engine.url(), 1_000),
        0,
        "rooms: 1 moved, 0 left alone that were there\n",
    );
    let nodes = nodes(&engine, 1, &[]);
    let refused = Client::try_join(&nodes[0], &nodes[0].token("eve"), "den");
    assert_eq!(refused["response"]["reason"], "unauthorized", "{refused}");
    Client::join_as(&nodes[0], &owner, "den", &json!({}));
}

#[test]
fn what_cannot_be_moved_is_said() {
    let folder = Folder::new("none");
    let engine = servers::Server::start(Kind::Redis, &[]);
    check(&folder.move_to(&engine.url(), 1_000), 78, "chat.db");
    let server = folder.serve();
    check(&folder.move_to(&engine.url(), 1_000), 71, "in use by another chinwag");
    stop(server);
    check(&folder.move_to(&engine.url(), 1_000), 0, "rooms: 0 moved");
}

#[test]
fn rooms_of_a_store_go_to_those_primaries_of_a_cluster_that_have_them() {
    let folder = Folder::new("cluster");
    let server = folder.serve();
    let rooms: Vec<_> = (0..8).map(|number| format!("r{number}")).collect();
    let said = rooms.iter().map(|room| {
        let mut ann = Client::join(&server, "ann", room, &json!({}));
        ann.say(room);
        ann.cursor(0, 0)
    });
    let cursors: Vec<_> = said.collect();
    stop(server);
    let cluster = Cluster::start(Kind::Redis, 2);
    let moved = "rooms: 8 moved, 0 left alone that were there\n";
    check(&folder.move_to(&cluster.url(), 1_000), 0, moved);
    for primary in &cluster.primaries {
        let branch = has(primary, "master_replid").expect("it is told");
        let metas: Vec<String> = told(primary, &["KEYS", "cw:*:m:*"]);
        assert!(!metas.is_empty(), "each has some of them");
        for meta in &metas {
            let meta: String = told(primary, &["GET", meta]);
            assert!(meta.contains(&format!(" {branch} ")), "it need not turn: {meta}");
        }
    }
    let node = node(&cluster.url(), &[]);
    for (room, cursor) in rooms.iter().zip(&cursors) {
        let mut bob = Client::join(&node, "bob", room, cursor);
        let joined = &bob.joined["response"];
        assert_eq!(joined["recovered"], true, "{joined}");
        assert_eq!(joined["messages"][0]["body"], **room, "{joined}");
        assert_eq!(bob.say("on"), 2);
    }
}

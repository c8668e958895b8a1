//! What goes wrong: the engine dies, stands still or loses what it had.

use chinwag::side::engine::partition::partition;
use redis::FromRedisValue;
use serde_json::json;

use crate::nodes::{Client, metric, node, two_who_have_spoken};
use crate::server::until;
use crate::servers::{Kind, Server};
use crate::switch::Switch;

/// Starts an engine that may begin again with all that it has acknowledged.
pub(crate) fn engine(kind: Kind) -> Server {
    Server::start(kind, &["--appendonly", "yes", "--appendfsync", "always"])
}

/// What an engine answers to its administrator.
pub(crate) fn told<A: FromRedisValue>(engine: &Server, words: &[&str]) -> A {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]).query(&mut engine.look()).expect("an answer")
}

/// What an engine says of its replication; nothing, if whoever turns it ends all connections.
pub(crate) fn has(engine: &Server, name: &str) -> Option<String> {
    let client = redis::Client::open(engine.url()).expect("an address");
    let mut look = client.get_connection().ok()?;
    let all: String = redis::cmd("INFO").arg("replication").query(&mut look).ok()?;
    all.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned()))
}

/// An engine follows another, or none.
fn follow(engine: &Server, host: &str, port: &str) {
    told::<()>(engine, &["REPLICAOF", host, port]);
}

/// Waits until a replica has all that its primary has.
pub(crate) fn wait_for_replica(primary: &Server, replica: &Server) {
    until("the replica has it", || {
        let offset = has(primary, "master_repl_offset");
        offset.is_some() && has(replica, "slave_repl_offset") == offset
    });
}

/// Says something until it is accepted. Returns its offset.
pub(crate) fn say_at_last(client: &mut Client, body: &str) -> u64 {
    let mut offset = None;
    until("it is accepted", || {
        let answer = client.ask("new_msg", &json!({ "body": body, "key": body }));
        offset = answer["response"]["offset"].as_u64();
        offset.is_some()
    });
    offset.expect("it was")
}

#[test]
fn an_engine_that_begins_again_with_what_it_had_is_gone_on_with() {
    let mut engine = engine(Kind::Redis);
    let nodes = [(); 2].map(|()| node(&engine.url(), &[]));
    let (mut ann, mut bob) = two_who_have_spoken(&nodes);
    engine.kill();
    let refused = ann.ask("new_msg", &json!({ "body": "lost" }));
    let reason = refused["response"]["reason"].as_str().expect("a reason");
    assert!(["unavailable", "unconfirmed"].contains(&reason), "{refused}");
    engine.begin_again();
    let offset = say_at_last(&mut ann, "two");
    // The one before it was refused, and not kept.
    assert_eq!(offset, 2);
    assert_eq!(bob.hear_until("two"), [(2, "two".to_owned())], "on the same connection");
    // Nothing was lost: whoever stood there is told only that the epoch is another.
    let cursor = bob.cursor(1, 0);
    let bob = Client::join(&nodes[0], "bob", "tea", &cursor);
    assert_eq!(bob.joined["response"]["recovered"], true, "{}", bob.joined);
    assert_ne!(bob.joined["response"]["epoch"], ann.joined["response"]["epoch"]);
}

#[test]
fn whoever_was_in_rooms_that_an_engine_has_lost_is_told() {
    let mut engine = engine(Kind::Redis);
    let nodes = [(); 2].map(|()| node(&engine.url(), &[]));
    let (mut ann, mut bob) = two_who_have_spoken(&nodes);
    engine.kill();
    engine.forget();
    engine.begin_again();
    bob.hear("phx_error");
    ann.hear("phx_error");
    let cursor = bob.cursor(1, 0);
    let bob = Client::join(&nodes[1], "bob", "tea", &cursor);
    assert_eq!(bob.joined["response"]["recovered"], false, "{}", bob.joined);
}

#[test]
fn an_engine_that_stands_still_holds_up_nothing_else_and_what_it_took_is_in_doubt() {
    let engine = engine(Kind::Redis);
    let nodes = [(); 2].map(|()| node(&engine.url(), &["engine.timeout_ms=300"]));
    let mut ann = Client::join(&nodes[0], "ann", "tea", &json!({}));
    ann.say("one");
    engine.signal("-STOP");
    let message = json!({ "body": "two", "key": "k" });
    let doubtful = ann.ask("new_msg", &message);
    assert_eq!(doubtful["response"]["reason"], "unconfirmed", "{doubtful}");
    // Heartbeats and rooms that are in memory go on.
    let page = ann.ask("history", &json!({}));
    assert_eq!(page["status"], "ok", "{page}");
    engine.signal("-CONT");
    let mut answer = doubtful;
    until("it is told whether it was kept", || {
        answer = ann.ask("new_msg", &message);
        answer["status"] == "ok"
    });
    assert_eq!(answer["response"]["offset"], 2, "it is not said twice: {answer}");
    assert_eq!(ann.say("three"), 3);
}

/// An engine, and a replica that has all of it.
pub(crate) fn pair(kind: Kind) -> (Server, Server) {
    let (primary, replica) = (engine(kind), engine(kind));
    follow(&replica, "127.0.0.1", &primary.port.to_string());
    until("it is a replica", || has(&replica, "master_link_status").as_deref() == Some("up"));
    (primary, replica)
}

#[test]
fn a_failover_that_loses_the_last_messages_is_told_to_those_who_have_seen_them_and_to_no_others() {
    let (mut primary, replica) = pair(Kind::Redis);
    let way = Switch::to(primary.port);
    // `ok` does not wait for the replica.
    let nodes = [(); 2].map(|()| node(&way.url(), &["engine.ack=primary"]));
    check_lost_tail(&nodes, &mut primary, &replica, || {
        follow(&replica, "NO", "ONE");
        way.lead(Some(replica.port));
    });
}

/// Lets the primary die with something that its replica has not heard. `fail_over` is called then.
pub(crate) fn check_lost_tail(
    nodes: &[crate::server::Server; 2],
    primary: &mut Server,
    replica: &Server,
    fail_over: impl FnOnce(),
) {
    let mut ann = Client::join(&nodes[0], "ann", "tea", &json!({}));
    let mut bob = Client::join(&nodes[1], "bob", "mate", &json!({}));
    let mut cyd = Client::join(&nodes[1], "cyd", "tea", &json!({}));
    ann.say("kept");
    bob.say("kept too");
    cyd.hear_until("kept");
    wait_for_replica(primary, replica);
    // The replica hears nothing of the next one, though it goes on to ask.
    told::<()>(primary, &["ACL", "SETUSER", "default", "-psync", "-sync"]);
    told::<()>(primary, &["CLIENT", "KILL", "TYPE", "replica"]);
    assert_eq!(ann.say("lost"), 2);
    cyd.hear_until("lost");
    primary.kill();
    fail_over();
    // Those who have seen it are told, at each node.
    ann.hear("phx_error");
    cyd.hear("phx_error");
    // Those who have seen nothing that is lost stay.
    assert_eq!(bob.hear("room_epoch")["offset"], 1);
    assert_eq!(say_at_last(&mut bob, "on"), 2);
    // Who stood before it is recovered, who stood behind it is told.
    let exact = Client::join(&nodes[0], "dan", "tea", &ann.cursor(1, 0));
    assert_eq!(exact.joined["response"]["recovered"], true, "{}", exact.joined);
    let told = Client::join(&nodes[1], "eve", "tea", &ann.cursor(2, 0));
    assert_eq!(told.joined["response"]["recovered"], false, "{}", told.joined);
    // The number is given again, in the new epoch.
    let mut fay = Client::join(&nodes[0], "fay", "tea", &json!({}));
    assert_eq!(say_at_last(&mut fay, "again"), 2);
    assert_ne!(fay.joined["response"]["epoch"], ann.joined["response"]["epoch"]);
}

#[test]
fn what_waits_for_a_replica_is_there_after_a_failover() {
    let (mut primary, replica) = pair(Kind::Redis);
    let way = Switch::to(primary.port);
    let nodes = [(); 2].map(|()| node(&way.url(), &["engine.ack=replica"]));
    let mut ann = Client::join(&nodes[0], "ann", "tea", &json!({}));
    for offset in 1..=20 {
        assert_eq!(ann.say(&format!("m{offset}")), offset);
    }
    primary.kill();
    follow(&replica, "NO", "ONE");
    way.lead(Some(replica.port));
    let bob = Client::join_at_last(&nodes[1], "bob", "tea", &ann.cursor(0, 0));
    let messages = bob.joined["response"]["messages"].as_array().expect("a list").len();
    assert_eq!((messages, &bob.joined["response"]["recovered"]), (20, &json!(true)));
}

#[test]
fn a_node_that_is_cut_off_is_not_believed_and_then_catches_up() {
    let engine = engine(Kind::Redis);
    let (here, there) = (Switch::to(engine.port), Switch::to(engine.port));
    let nodes = [node(&here.url(), &[]), node(&there.url(), &[])];
    let (mut ann, mut bob) = two_who_have_spoken(&nodes);
    there.lead(None);
    ann.say("two");
    let refused = bob.ask("new_msg", &json!({ "body": "nobody hears me" }));
    let reason = refused["response"]["reason"].as_str().expect("a reason");
    assert!(["unavailable", "unconfirmed"].contains(&reason), "{refused}");
    let edited = ann.ask("msg_edit", &json!({ "offset": 1, "body": "won" }));
    assert_eq!(edited["status"], "ok", "{edited}");
    there.lead(Some(engine.port));
    assert_eq!(bob.hear_until("two"), [(2, "two".to_owned())]);
    assert_eq!(bob.hear("msg_changed")["body"], "won");
    assert_eq!(say_at_last(&mut bob, "three"), 3);
}

#[test]
fn what_somebody_else_says_on_the_channel_of_a_room_disturbs_nobody() {
    let engine = engine(Kind::Redis);
    let nodes = [(); 2].map(|()| node(&engine.url(), &["http.metrics=true"]));
    let (mut ann, mut bob) = two_who_have_spoken(&nodes);
    let channel = format!("cw:{{{}}}:room:tea", partition("room:tea", 1_024));
    for said in ["", "X", "E", "Enew", "S?"] {
        told::<u64>(&engine, &["SPUBLISH", &channel, said]);
    }
    assert_eq!(ann.say("two"), 2);
    assert_eq!(bob.hear_until("two"), [(2, "two".to_owned())]);
    for node in &nodes {
        assert_eq!(metric(node, "engine_foreign_total"), 4);
        assert_eq!(metric(node, "engine_connection_lives_total"), 1);
        assert_eq!(metric(node, "engine_holes_total"), 0);
        assert_eq!(node.log().matches("no server says").count(), 1, "{}", node.log());
    }
}

#[test]
fn what_is_to_be_set_is_said_where_an_engine_cuts_off_whoever_reads_rooms() {
    let engine = engine(Kind::Redis);
    let (here, there) = (Switch::to(engine.port), Switch::to(engine.port));
    let nodes = [node(&here.url(), &[]), node(&there.url(), &[])];
    let (mut ann, mut bob) = two_who_have_spoken(&nodes);
    there.lead(None);
    let body = "x".repeat(4_000);
    for offset in 2..=101 {
        assert_eq!(ann.say(&body), offset);
    }
    let limit = |limit: &str| {
        let limits = format!("pubsub {limit}");
        told::<()>(&engine, &["CONFIG", "SET", "client-output-buffer-limit", &limits]);
    };
    limit("32kb 0 0");
    there.lead(Some(engine.port));
    until("it is said what is to be set", || nodes[1].log().contains("client-output-buffer-limit"));
    limit("256mb 128mb 60");
    assert_eq!(say_at_last(&mut bob, "on"), 102);
}

//! What a server refuses: a connection, or something that it is asked.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;

use chinwag::side::engine::command::{Act, Append, Command, Entry, Failure, Reply, State};
use chinwag::side::engine::redis::{ConnectError, Target};

use super::node::{Node, message, runtime, target};
use super::servers::{KINDS, Kind, Server};
use super::world::library;

const TOPIC: &str = "room:tea";

/// Why there is no connection, with what is to be done, or as something that passes.
fn refusal(target: &Target) -> ConnectError {
    runtime().block_on(async { Node::connect(target).await.err().expect("no connection") })
}

#[track_caller]
pub(crate) fn check_unfit(target: &Target, words: &[&str]) {
    match refusal(target) {
        ConnectError::Unfit(why) => {
            for word in words {
                assert!(why.contains(word), "{word}: {why}");
            }
        }
        ConnectError::Passing(why) => panic!("it passes: {why}"),
    }
}

#[track_caller]
pub(crate) fn check_passing(target: &Target, word: &str) {
    match refusal(target) {
        ConnectError::Passing(why) => assert!(why.contains(word), "{word}: {why}"),
        ConnectError::Unfit(why) => panic!("it stops the server: {why}"),
    }
}

pub(crate) fn ask(server: &Server, words: &[&str]) {
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(*word);
    }
    command.exec(&mut server.look()).unwrap_or_else(|error| panic!("{words:?}: {error}"));
}

#[test]
fn a_server_in_which_rooms_cannot_be_kept_is_refused_with_what_is_to_be_done() {
    for kind in KINDS {
        let server = Server::start(kind, &[]);
        let target = target(&server, 1);
        runtime().block_on(async { Node::connect(&target).await.map(drop).expect("a connection") });

        ask(&server, &["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
        check_unfit(&target, &["allkeys-lru", "CONFIG SET maxmemory-policy noeviction"]);
        ask(&server, &["CONFIG", "SET", "maxmemory-policy", "noeviction"]);

        let others = Target { partitions: 32, ..target.clone() };
        check_unfit(&others, &["partitions in cw:cfg is 16, and here 32", "engine.partitions"]);
        ask(&server, &["HSET", "cw:cfg", "layout", "2"]);
        check_unfit(&target, &["layout in cw:cfg is 2", "version"]);
        ask(&server, &["HSET", "cw:cfg", "layout", "1"]);

        ask(&server, &["SET", "other:cfg", "somebody else's"]);
        let there = Target { prefix: "other".into(), ..target.clone() };
        check_unfit(&there, &["WRONGTYPE", "other:cfg", "engine.prefix"]);

        ask(&server, &["ACL", "SETUSER", "default", ">secret"]);
        check_unfit(&target, &["NOAUTH"]);
        let with = |user: &str| {
            let url = format!("redis://{user}@127.0.0.1:{}", server.port).into();
            Target { url, ..target.clone() }
        };
        check_unfit(&with(":wrong"), &["WRONGPASS"]);
        runtime().block_on(async {
            Node::connect(&with(":secret")).await.map(drop).expect("a connection");
        });
    }
}

/// The message has the command that helps, so it is called here.
#[test]
fn a_user_without_rights_is_refused_with_those_that_are_needed() {
    for kind in KINDS {
        let server = Server::start(kind, &[]);
        ask(&server, &["ACL", "SETUSER", "chat", "on", ">pw"]);
        let url = format!("redis://chat:pw@127.0.0.1:{}", server.port).into();
        let target = Target { url, ..target(&server, 1) };
        let ConnectError::Unfit(why) = refusal(&target) else { panic!("it passes") };
        let (_, fix) = why.split_once("ACL SETUSER NAME ").expect("what is to be done");
        let rights: Vec<&str> = fix.split(' ').collect();
        ask(&server, &[&["ACL", "SETUSER", "chat"], &*rights].concat());
        runtime().block_on(async {
            let mut node = Node::connect(&target).await.expect("a connection");
            node.append(TOPIC, 1, vec![message(b"tea")]).await;
        });
        for (lost, named) in [("-xadd", "XADD"), ("-spublish", "SPUBLISH"), ("-zadd", "ZADD")] {
            ask(&server, &["ACL", "SETUSER", "chat", lost]);
            check_unfit(&target, &["may not call", named, "ACL SETUSER"]);
            ask(&server, &["ACL", "SETUSER", "chat", &lost.replace('-', "+")]);
        }
        ask(&server, &["ACL", "SETUSER", "chat", "resetchannels", "&other:*"]);
        check_unfit(&target, &["SPUBLISH, SSUBSCRIBE"]);
        ask(&server, &["ACL", "SETUSER", "chat", "resetchannels", "&cw:*", "resetkeys", "~o:*"]);
        check_unfit(&target, &["ACL SETUSER"]);
    }
}

/// Else a user could be let in who may not call it.
#[test]
fn every_command_that_the_script_calls_is_looked_at_when_a_connection_is_made() {
    let calls: Vec<&str> =
        library().split("call('").skip(1).filter_map(|call| call.split('\'').next()).collect();
    assert!(calls.len() > 30, "calls are found: {calls:?}");
    for name in calls {
        assert!(library().contains(&format!("{{'{name}'")), "{name}");
    }
}

#[test]
fn an_address_that_is_none_is_refused() {
    let server = Server::start(Kind::Redis, &[]);
    let with = |url: &str| Target { url: url.into(), ..target(&server, 1) };
    check_unfit(&with("localhost"), &["engine.url"]);
    check_unfit(&with("redis+sentinel://localhost"), &["engine.url", "no service"]);
    check_unfit(&with(&format!("{}/3", server.url())), &["database", "engine.prefix"]);
}

#[test]
fn a_server_that_will_be_there_is_waited_for() {
    let server = Server::start(Kind::Redis, &[]);
    let other = Server::start(Kind::Redis, &[]);
    let mut target = target(&server, 1);
    ask(&server, &["REPLICAOF", "127.0.0.1", &other.port.to_string()]);
    check_passing(&target, "replica");
    ask(&server, &["REPLICAOF", "NO", "ONE"]);
    server.signal("-STOP");
    target.timeout_ms = 100;
    check_passing(&target, "100 ms");
    drop(server);
    check_passing(&target, "refused");
}

/// No such server can be had, so one is pretended that says what it is and nothing else.
#[test]
fn a_server_that_is_too_old_or_tells_too_little_is_refused() {
    let fit = "redis_version:7.0.0\r\ncluster_enabled:0\r\nmaxmemory_policy:noeviction\r\n\
               role:master\r\nmaster_replid:ab\r\n";
    for (good, bad, word) in [
        ("redis_version:7.0.0", "redis_version:6.2.14", "Redis 6.2.14: 7.0"),
        ("cluster_enabled:0", "cluster_enabled:1", "cluster"),
        ("master_replid:ab\r\n", "", "master_replid"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let info = fit.replace(good, bad);
        let pretended = thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a connection");
            for line in BufReader::new(&stream).lines().map_while(Result::ok) {
                match &*line {
                    "INFO" => {
                        let said = format!("${}\r\n{info}\r\n", info.len());
                        (&stream).write_all(said.as_bytes()).expect("it is written");
                    }
                    "HELLO" | "CLIENT" => (&stream).write_all(b"+OK\r\n").expect("it is written"),
                    _ => {}
                }
            }
        });
        let url = format!("redis://127.0.0.1:{port}").into();
        let server = Server::start(Kind::Redis, &[]);
        check_unfit(&Target { url, ..target(&server, 1) }, &[word]);
        pretended.join().expect("it has ended");
    }
}

#[test]
fn what_a_server_does_not_take_is_refused_and_leaves_no_trace() {
    for kind in KINDS {
        let server = Server::start(kind, &[]);
        runtime().block_on(async {
            let mut node = Node::connect(&target(&server, 1)).await.expect("a connection");
            node.append(TOPIC, 1, vec![message(b"tea")]).await;
            let before = node.read(TOPIC).await;
            for (cause, undo, expected) in [
                (
                    &["CONFIG", "SET", "maxmemory", "1"][..],
                    &["CONFIG", "SET", "maxmemory", "0"][..],
                    Failure::Refused("OOM".into()),
                ),
                (
                    &["CONFIG", "SET", "min-replicas-to-write", "1"],
                    &["CONFIG", "SET", "min-replicas-to-write", "0"],
                    Failure::Refused("NOREPLICAS".into()),
                ),
                (
                    &["REPLICAOF", "127.0.0.1", "1"],
                    &["REPLICAOF", "NO", "ONE"],
                    Failure::Elsewhere("READONLY".into()),
                ),
                (
                    &["FUNCTION", "FLUSH"],
                    &["FUNCTION", "LOAD", library()],
                    Failure::Elsewhere("ERR".into()),
                ),
            ] {
                ask(&server, cause);
                let refused = append(&mut node).await.expect_err("it is refused");
                assert_eq!(code_of(refused), expected, "{cause:?}");
                ask(&server, undo);
                let after = node.read(TOPIC).await;
                assert_eq!(
                    (after.head, after.messages),
                    (before.head.clone(), before.messages.clone())
                );
            }
            assert!(append(&mut node).await.is_ok());
        });
    }
}

/// Nodes are not dead because there is no memory, and rooms can be read.
#[test]
fn a_server_without_memory_hears_that_nodes_live_and_lets_rooms_be_read() {
    for kind in KINDS {
        let server = Server::start(kind, &[]);
        runtime().block_on(async {
            let mut node = Node::connect(&target(&server, 1)).await.expect("a connection");
            let (is_deleted, is_pinned) = (false, false);
            let act = Act::Change { offset: 1, expected: 0, is_deleted, is_pinned, heard: 0 };
            let facts = vec![("a".into(), b"1".to_vec()), ("b".into(), b"2".to_vec())];
            let decision = Act::Decision { founded: None, facts };
            let changed = [act, decision].map(|act| Entry { act, ..message(b"tea") });
            let entries = changed.into_iter().chain([message(b"cup"), message(b"pot")]);
            node.append(TOPIC, 1, vec![message(b"tea")]).await;
            node.append(TOPIC, 1, entries.collect()).await;
            let before = node.read(TOPIC).await;
            assert_eq!(
                (before.messages.len(), before.changed.len(), before.facts.len()),
                (2, 1, 2)
            );
            ask(&server, &["CONFIG", "SET", "maxmemory", "1"]);
            assert_eq!(node.read(TOPIC).await, before);
            let beat = Command::Beat { node: 1, life: 0, lease_ms: 1000 };
            assert!(matches!(node.call(beat).await.0, Ok(Reply::Nodes { .. })));
            let lines = Command::Lines { topic: TOPIC.into(), before: 9, count: 9 };
            assert_eq!(node.call(lines).await.0, Ok(Reply::Lines(Vec::new())));
            // So can whoever comes anew.
            Node::connect(&target(&server, 2)).await.map(drop).expect("a connection");
        });
    }
}

#[test]
fn a_topic_under_which_something_else_lies_is_refused_alone() {
    let server = Server::start(Kind::Redis, &[]);
    runtime().block_on(async {
        let mut node = Node::connect(&target(&server, 1)).await.expect("a connection");
        ask(&server, &["LPUSH", "cw:{6}:m:room:tea", "1"]);
        let read = node.call(Command::Read { topic: TOPIC.into() }).await.0;
        assert_eq!(code_of(read.expect_err("it is refused")), Failure::Refused("WRONGTYPE".into()));
        assert!(matches!(append(&mut node).await, Err(Failure::Refused(_))));
        assert_eq!(node.read("room:other").await, State::default());
    });
}

async fn append(node: &mut Node) -> Result<Reply, Failure> {
    let entries = vec![message(b"tea")];
    node.call(Command::Append(Append { topic: TOPIC.into(), fresh_epoch: 2, entries })).await.0
}

/// Of the reason only its first word, which servers do not change.
fn code_of(failure: Failure) -> Failure {
    let first = |why: Box<str>| why.split(' ').next().unwrap_or_default().into();
    match failure {
        Failure::Refused(why) => Failure::Refused(first(why)),
        Failure::Elsewhere(why) => Failure::Elsewhere(first(why)),
        other => other,
    }
}

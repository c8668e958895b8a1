//! Two versions side by side, up and back down, while people talk and the engine dies: nodes of
//! this one, and another that is played by hand, so that it can do what no version does yet.

use std::process::Command;

use chinwag::side::engine::partition::partition;
use chinwag::side::engine::redis::Library;
use redis::FromRedisValue;
use serde_json::{Value, json};

use crate::faults::{engine, say_at_last, told};
use crate::nodes::{Client, SECRET, metric, node, two_who_have_spoken};
use crate::server::{self, until};
use crate::servers::{KINDS, Server};

const TOPIC: &str = "room:tea";

/// Entries of a stream with messages: each has its id, the name of its record and that, and the
/// name of its time and that.
type Said = Vec<(String, (String, Vec<u8>, String, String))>;

/// A node of another version.
struct Other<'e> {
    engine: &'e Server,
    /// Which functions it calls.
    library: String,
}

impl<'e> Other<'e> {
    /// One whose functions are others, and keep the same.
    fn with_functions(engine: &'e Server) -> Self {
        let library = "chinwag_1_0123456789abcdef".to_owned();
        let text = Library::ours().text.replace(&*Library::ours().name, &library);
        told::<String>(engine, &["FUNCTION", "LOAD", "REPLACE", &text]);
        Self { engine, library }
    }

    /// One that calls the functions of this version.
    fn with_ours(engine: &'e Server) -> Self {
        Self { engine, library: Library::ours().name.to_string() }
    }

    fn key(kind: &str) -> String {
        format!("cw:{{{}}}:{kind}", partition(TOPIC, 1_024))
    }

    fn of_room(kind: char) -> String {
        Self::key(&format!("{kind}:{TOPIC}"))
    }

    fn ask<A: FromRedisValue>(&self, words: &[&str]) -> A {
        told(self.engine, words)
    }

    /// Where the room stands, as it is written.
    fn meta(&self) -> String {
        self.ask(&["GET", &Self::of_room('m')])
    }

    /// The record of the room's last message.
    fn last_record(&self) -> Vec<u8> {
        let last: Said = self.ask(&["XREVRANGE", &Self::of_room('s'), "+", "-", "COUNT", "1"]);
        let (_, (_, record, ..)) = last.into_iter().next().expect("something was said");
        record
    }

    /// Says something with this record.
    fn append(&self, record: &[u8]) {
        let keys = ['m', 's', 'k', 'o', 'x', 'r', 'a'].map(Self::of_room);
        let of_list = ["f", "h", "d"].map(Self::key);
        let list_channel = format!("cw:l:{{{}}}", partition(TOPIC, 1_024));
        let mut call = redis::cmd("FCALL");
        call.arg(format!("{}_append", self.library)).arg(10).arg(&keys).arg(&of_list);
        // An epoch, if the room turns with this.
        call.arg("00000000000000e9").arg(Self::key(TOPIC)).arg(TOPIC);
        call.arg(&[1_000, 604_800, 2_592_000, 3_600, 10_000]).arg(list_channel).arg(0);
        call.arg("m").arg("").arg(record).arg("").arg("");
        call.exec(&mut self.engine.look()).expect("it is appended");
    }

    /// Says on the room's channel what this version does not know.
    fn publish(&self, said: &[u8]) {
        let mut publish = redis::cmd("SPUBLISH");
        publish.arg(Self::key(TOPIC)).arg(said).exec(&mut self.engine.look()).expect("it is said");
    }
}

/// The answer to a join.
fn try_join(node: &server::Server, name: &str) -> Value {
    let answer = node.guest(name).join("tea", "{}");
    serde_json::from_str::<Value>(&answer).expect("JSON")[4].clone()
}

fn check_unavailable(answer: &Value) {
    let of = |part: &str| answer["response"][part].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (&answer["status"], of("reason")),
        (&json!("error"), "unavailable".into()),
        "{answer}"
    );
}

#[test]
fn versions_with_functions_of_their_own_are_one_chat_up_and_back_down_though_the_engine_dies() {
    for kind in KINDS {
        let mut engine = engine(kind);
        let nodes = [(); 2].map(|()| node(&engine.url(), &[]));
        let (mut ann, mut bob) = two_who_have_spoken(&nodes);
        let record = Other::with_functions(&engine).last_record();
        let repeated = |offset| [(offset, "one".to_owned())];
        let mut offset = 1;
        for round in 0..3 {
            // Up: it says again what was said first.
            Other::with_functions(&engine).append(&record);
            for client in [&mut ann, &mut bob] {
                assert_eq!(client.hear_until("one"), repeated(offset + 1));
            }
            let body = format!("up {round}");
            assert_eq!(ann.say(&body), offset + 2);
            assert_eq!(bob.hear_until(&body), [(offset + 2, body)]);
            engine.kill();
            engine.begin_again();
            if round == 1 {
                // Else it may be the first to find that the engine has begun again.
                Client::join_at_last(&nodes[0], "dan", "mate", &json!({}));
            }
            Other::with_functions(&engine).append(&record);
            for client in [&mut ann, &mut bob] {
                assert_eq!(client.hear_until("one"), repeated(offset + 3));
            }
            // And back down: nobody calls its functions any more.
            let body = format!("down {round}");
            offset = say_at_last(&mut ann, &body);
            assert_eq!(bob.hear_until(&body), [(offset, body)]);
        }
        let third = node(&engine.url(), &[]);
        let joined = Client::join(&third, "cyd", "tea", &bob.cursor(1, 0)).joined;
        let count = joined["response"]["messages"].as_array().expect("a list").len() as u64;
        assert_eq!((count, &joined["response"]["recovered"]), (offset - 1, &json!(true)));
    }
}

#[test]
fn what_a_newer_version_says_in_a_room_is_told_to_be_missing_and_stays_as_it_is() {
    for kind in KINDS {
        let mut engine = engine(kind);
        let nodes = [(); 2].map(|()| node(&engine.url(), &["http.metrics=true"]));
        let (mut ann, mut bob) = two_who_have_spoken(&nodes);
        let mut cyd = Client::join(&nodes[0], "cyd", "mate", &json!({}));
        cyd.say("elsewhere");
        let other = Other::with_ours(&engine);
        // What is not kept is left out.
        other.publish(b"S\x02 is typing");
        let record = [b"\x02", &other.last_record()[1..]].concat();
        other.append(&record);
        for client in [&mut ann, &mut bob] {
            client.hear("phx_error");
        }
        for node in &nodes {
            until("it is counted", || metric(node, "engine_unreadable_total") > 1);
            until("it is said", || node.log().contains("layout 2 is newer than this version"));
        }
        engine.kill();
        engine.begin_again();
        let mut bob = Client::join_at_last(&nodes[1], "bob", "tea", &ann.cursor(1, 0));
        assert_eq!(bob.joined["response"]["recovered"], false, "{}", bob.joined);
        assert_eq!(say_at_last(&mut bob, "on"), 3);
        let other = Other::with_ours(&engine);
        let found: Said = other.ask(&["XRANGE", &Other::of_room('s'), "2-0", "2-0"]);
        assert_eq!(found[0].1.1, record, "it is left alone");
        assert_eq!(say_at_last(&mut cyd, "still here"), 2);
    }
}

#[test]
fn a_room_of_another_layout_is_closed_and_left_alone_until_it_is_of_ours_again() {
    for kind in KINDS {
        let mut engine = engine(kind);
        let nodes = [(); 2].map(|()| node(&engine.url(), &["http.metrics=true"]));
        let (mut ann, mut bob) = two_who_have_spoken(&nodes);
        let mut cyd = Client::join(&nodes[1], "cyd", "mate", &json!({}));
        cyd.say("elsewhere");
        let (ours, newer) = (Other::with_ours(&engine).meta(), "2 something else");
        told::<()>(&engine, &["SET", &Other::of_room('m'), newer]);
        // Who says something in it hears of it, and who is told what nobody understands.
        let refused = ann.ask("new_msg", &json!({ "body": "two", "key": "k" }));
        check_unavailable(&refused);
        ann.hear("phx_error");
        Other::with_ours(&engine).publish(b"F something else");
        bob.hear("phx_error");
        for is_first in [true, false] {
            for node in &nodes {
                if is_first {
                    check_unavailable(&try_join(node, "dan"));
                    until("it is counted", || metric(node, "engine_unreadable_total") > 0);
                    until("it is said", || node.log().contains("another version"));
                }
            }
            assert_eq!(say_at_last(&mut cyd, &format!("{is_first}")), 3 - u64::from(is_first));
            if is_first {
                engine.kill();
                engine.begin_again();
            }
        }
        let other = Other::with_ours(&engine);
        for node in &nodes {
            check_unavailable(&try_join(node, "dan"));
        }
        assert_eq!(other.meta(), newer);
        assert_eq!(other.ask::<u64>(&["XLEN", &Other::of_room('s')]), 1);
        other.ask::<()>(&["SET", &Other::of_room('m'), &ours]);
        let mut bob = Client::join(&nodes[1], "bob", "tea", &bob.cursor(1, 0));
        assert_eq!(bob.joined["response"]["recovered"], true, "{}", bob.joined);
        assert_eq!(say_at_last(&mut bob, "two"), 2);
    }
}

#[test]
fn an_engine_of_another_layout_is_refused_by_those_who_have_it_and_by_those_who_begin() {
    for kind in KINDS {
        let mut engine = engine(kind);
        let nodes = [(); 2].map(|()| node(&engine.url(), &["http.metrics=true"]));
        let (mut ann, mut bob) = two_who_have_spoken(&nodes);
        let before = Other::with_ours(&engine).meta();
        told::<()>(&engine, &["HSET", "cw:cfg", "layout", "2"]);
        for node in &nodes {
            until("it is given up", || metric(node, "engine_up") == 0);
            until("it is said why", || {
                let log = node.log();
                let refused = log.lines().find(|line| line.contains("not fit to keep rooms"));
                refused.is_some_and(|line| line.contains("layout in cw:cfg is 2, and here 1"))
            });
        }
        check_unavailable(&ann.ask("new_msg", &json!({ "body": "two" })));
        let third = Command::new(env!("CARGO_BIN_EXE_chinwag"))
            .args(["--listen", "127.0.0.1:0", "--set", SECRET])
            .args(["--set", &format!("engine.url={}", engine.url())])
            .env_clear()
            .output()
            .expect("the program can be started");
        let said = String::from_utf8_lossy(&third.stderr);
        assert_eq!(third.status.code(), Some(78), "{said}");
        assert!(said.contains("layout in cw:cfg is 2, and here 1"), "{said}");
        engine.kill();
        engine.begin_again();
        assert_eq!(Other::with_ours(&engine).meta(), before);
        assert_eq!(metric(&nodes[0], "engine_up"), 0);
        // Back down: those who are there go on by themselves, on their connections.
        told::<()>(&engine, &["HSET", "cw:cfg", "layout", "1"]);
        assert_eq!(say_at_last(&mut ann, "two"), 2);
        assert_eq!(bob.hear_until("two"), [(2, "two".to_owned())]);
    }
}

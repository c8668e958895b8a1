//! Nodes of two versions have one engine: each calls the functions that it was built with, what
//! they keep is the same, and what one of them does not know it leaves alone.

use std::collections::BTreeMap;

use chinwag::link::log::Marks;
use chinwag::side::engine::command::{Act, Command, Entry, Founded, Pushed, Reply};
use chinwag::side::engine::redis::{Event, Library, Target};
use redis::{Connection, FromRedisValue, Value};

use super::node::{Node, message, runtime, target};
use super::refusals::{ask, check_unfit};
use super::servers::{KINDS, Server};

const TOPIC: &str = "room:tea";

fn told<A: FromRedisValue>(look: &mut Connection, words: &[&str]) -> A {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]).query(look).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// The libraries that a server has: their names and texts.
fn libraries(look: &mut Connection) -> BTreeMap<String, String> {
    let told: Vec<BTreeMap<String, Value>> = told(look, &["FUNCTION", "LIST", "WITHCODE"]);
    let text = |of: &BTreeMap<String, Value>, name: &str| {
        redis::from_redis_value(of[name].clone()).expect("text")
    };
    told.iter().map(|of| (text(of, "library_name"), text(of, "library_code"))).collect()
}

/// The same functions by names of their own, as another version has them.
fn of_another_version() -> (String, String) {
    let name = "chinwag_1_0123456789abcdef".to_owned();
    (Library::ours().text.replace(&*Library::ours().name, &name), name)
}

/// Before names had a hash of the text in them, an older text had the same name.
#[test]
fn functions_of_other_versions_are_neither_called_nor_replaced() {
    for kind in KINDS {
        let server = Server::start(kind, &[]);
        let mut look = server.look();
        let functions = ["append", "archived", "beat", "forget", "lacks", "read"];
        let wrong = |name: &str| {
            let begin = format!("#!lua name={name}\n");
            let each = functions.map(|function| {
                format!(
                    "redis.register_function('{name}_{function}', function() return 'no' end)\n"
                )
            });
            begin + &each.concat()
        };
        let (other, other_name) = of_another_version();
        let mut loaded = BTreeMap::from([("chinwag_1".to_owned(), wrong("chinwag_1"))]);
        loaded.insert("chinwag_2".to_owned(), wrong("chinwag_2"));
        loaded.insert(other_name, other);
        for text in loaded.values() {
            told::<String>(&mut look, &["FUNCTION", "LOAD", text]);
        }
        runtime().block_on(async {
            let mut node = Node::connect(&target(&server, 1)).await.expect("a connection");
            node.append(TOPIC, 1, vec![message(b"tea")]).await;
            assert_eq!(node.read(TOPIC).await.messages.len(), 1);
        });
        let ours = Library::ours();
        loaded.insert(ours.name.to_string(), ours.text.to_string());
        assert_eq!(libraries(&mut look), loaded);
    }
}

/// As another version does that keeps what this one keeps.
#[test]
fn what_is_appended_by_functions_of_another_version_is_heard_and_read() {
    for kind in KINDS {
        let server = Server::start(kind, &[]);
        let mut look = server.look();
        let (other, name) = of_another_version();
        told::<String>(&mut look, &["FUNCTION", "LOAD", &other]);
        runtime().block_on(async {
            let mut node = Node::connect(&target(&server, 1)).await.expect("a connection");
            node.call(Command::Subscribe { topic: TOPIC.into() }).await.0.expect("it is heard");
            for offset in 1..=4 {
                let (record, by_other) = (format!("m{offset}"), offset % 2 == 0);
                if by_other {
                    append_by(&mut look, &name, &record);
                } else {
                    node.append(TOPIC, 1, vec![message(record.as_bytes())]).await;
                }
                if by_other {
                    let [Pushed::News { news, .. }] = &node.hear().await[..] else {
                        panic!("it is heard");
                    };
                    assert_eq!((news.before.offset, news.head.top.offset), (offset - 1, offset));
                }
            }
            let state = node.read(TOPIC).await;
            let records: Vec<_> = state.messages.iter().map(|of| &*of.record).collect();
            assert_eq!(records, [b"m1", b"m2", b"m3", b"m4"]);
            assert!(state.head.expect("it stands").lineage.is_empty(), "nobody has turned it");
        });
    }
}

/// Says something in the room as `write` has a node say it.
fn append_by(look: &mut Connection, library: &str, record: &str) {
    let mut call = redis::cmd("FCALL");
    let keys = ["m", "s", "k", "o", "x", "r", "a"].map(|kind| format!("cw:{{6}}:{kind}:{TOPIC}"));
    let of_list = ["f", "h", "d"].map(|kind| format!("cw:{{6}}:{kind}"));
    call.arg(format!("{library}_append")).arg(10).arg(&keys).arg(&of_list);
    call.arg("0000000000000002").arg(format!("cw:{{6}}:{TOPIC}")).arg(TOPIC);
    call.arg(&[64, 604_800, 2_592_000, 3_600, 100]).arg("cw:l:{6}").arg(0);
    call.arg("m").arg("").arg(record).arg("").arg("");
    call.exec(look).expect("it is appended");
}

#[test]
fn a_layout_that_is_raised_ends_connections_and_none_is_made_until_it_is_ours_again() {
    for kind in KINDS {
        let server = Server::start(kind, &[]);
        let target = target(&server, 1);
        runtime().block_on(async {
            let mut node = Node::connect(&target).await.expect("a connection");
            node.append(TOPIC, 1, vec![message(b"tea")]).await;
            for (layout, fix) in [("2", "version"), ("", "version")] {
                ask(&server, &["HSET", "cw:cfg", "layout", layout]);
                let why = loop {
                    if let Event::Ended { why, .. } = node.events.recv().await.expect("an event") {
                        break why;
                    }
                };
                let named = format!("layout in cw:cfg is {layout}, and here 1");
                assert!(why.contains(&named) && why.contains(fix), "{why}");
                let refused = Node::connect(&target).await.err().expect("no connection");
                assert!(refused.clone().into_why().contains(&named), "{refused:?}");
                ask(&server, &["HSET", "cw:cfg", "layout", "1"]);
                node = Node::connect(&target).await.expect("a connection");
            }
            // An engine that was emptied has none, and is given ours by the next connection.
            ask(&server, &["HDEL", "cw:cfg", "layout"]);
            node.append(TOPIC, 1, vec![message(b"cup")]).await;
            assert_eq!(node.read(TOPIC).await.messages.len(), 2);
        });
        ask(&server, &["HSET", "cw:cfg", "layout", "2"]);
        check_unfit(&target, &["layout in cw:cfg is 2, and here 1", "version"]);
    }
}

/// When the room's entries were accepted, by a clock that is far ahead: it stands still for them.
const AT_MS: &str = "4102444800000";

/// Other versions have them: who changes them gives the layout a new number.
#[test]
fn what_is_kept_and_published_is_byte_for_byte_that_of_its_layout() {
    let golden = include_str!("keys-1.txt");
    for kind in KINDS {
        let server = Server::start(kind, &[]);
        let mut look = server.look();
        let mut written = done_and_published(&server, &mut look);
        written.extend(kept(&mut look));
        let is_golden = golden.lines().skip(1).eq(written.iter().map(String::as_str));
        assert!(is_golden, "{kind:?}:\n{}", written.join("\n"));
    }
}

/// Has a node do something of each kind. Returns what was published on the way.
fn done_and_published(server: &Server, look: &mut Connection) -> Vec<String> {
    let mut ear = server.look();
    for channel in [&*format!("cw:{{6}}:{TOPIC}"), "cw:l:{6}"] {
        let mut hear = redis::cmd("SSUBSCRIBE");
        hear.arg(channel);
        ear.send_packed_command(&hear.get_packed_command()).expect("it is asked");
        ear.recv_response().expect("it is heard from now on");
    }
    let target = Target { archive_slack: 100, ..target(server, 1) };
    runtime().block_on(async {
        let mut node = Node::connect(&target).await.expect("a connection");
        node.append(TOPIC, 0xE1, Vec::new()).await;
        put_clock_on(look);
        let keyed = Entry { act: Act::Message { key: Some([7; 8]) }, ..message(b"said") };
        let others = [b"edited", b"binned", b"pinned"].map(|record| message(record));
        node.append(TOPIC, 0, [&[keyed], &others[..]].concat()).await;
        let change = |offset, is_deleted, is_pinned| {
            let act = Act::Change { offset, expected: 0, is_deleted, is_pinned, heard: 3 };
            let line = if is_deleted { b"line".to_vec() } else { Vec::new() };
            Entry { act, line, ..message(b"changed") }
        };
        let changes = [change(2, false, false), change(3, true, false), change(4, false, true)];
        node.append(TOPIC, 0, changes.into()).await;
        let founded = Some(Founded { title: "Tea".into(), is_private: false });
        let facts = vec![("t".into(), b"Tea".to_vec()), ("s:bob".into(), b"muted".to_vec())];
        let decided = Entry { act: Act::Decision { founded, facts }, ..message(b"decided") };
        let noted = Entry { act: Act::Note, line: b"noted line".to_vec(), ..message(b"noted") };
        node.append(TOPIC, 0, vec![decided, noted]).await;
        let beat = Command::Beat { node: 1, life: 0, lease_ms: 100_000 };
        node.call(beat).await.0.expect("it lives");
    });
    // It has been a replica for a moment.
    ask(server, &["REPLICAOF", "127.0.0.1", "1"]);
    ask(server, &["REPLICAOF", "NO", "ONE"]);
    runtime().block_on(async {
        let mut node = Node::connect(&target).await.expect("a connection");
        // On which history it is it asks once a second.
        let is_turned = |answer: &Reply| match answer {
            Reply::Appended { head, .. } => head.epoch != 0xE1,
            other => panic!("{other:?}"),
        };
        while !is_turned(&node.append(TOPIC, 0xE2, Vec::new()).await) {}
        node.append(TOPIC, 0, vec![message(b"last")]).await;
        let act = Act::LetGo { upto: Marks { offset: 2, change: 0 }, due_in_ms: Some(0) };
        node.append(TOPIC, 0, vec![Entry { act, ..message(b"") }]).await;
    });
    let keys = ["m:room:tea", "s:room:tea", "h", "d"].map(|key| format!("cw:{{6}}:{key}"));
    let mut note = redis::cmd("FCALL");
    note.arg(Library::ours().function("archived")).arg(4).arg(&keys).arg(TOPIC);
    note.arg("00000000000000e2").arg(4).arg(3).arg(0).arg(0).arg(60).arg(0);
    note.exec(look).expect("it is noted");
    told::<u64>(look, &["SPUBLISH", "cw:l:{6}", "that is all"]);
    let mut published = Vec::new();
    loop {
        let push = ear.recv_response().expect("a push");
        let (_, channel, said): (String, String, Vec<u8>) =
            redis::from_redis_value(push).expect("what is published");
        if said == b"that is all" {
            return published;
        }
        published.push(format!("{channel} < {}", said.escape_ascii()));
    }
}

/// The room's last entry was accepted by a server whose clock was ahead.
fn put_clock_on(look: &mut Connection) {
    let key = format!("cw:{{6}}:m:{TOPIC}");
    let meta: String = told(look, &["GET", &key]);
    let mut words: Vec<&str> = meta.split(' ').collect();
    words[7] = AT_MS;
    told::<()>(look, &["SET", &key, &words.join(" "), "KEEPTTL"]);
}

/// All that a server has, but for what is another each time.
fn kept(look: &mut Connection) -> Vec<String> {
    let branch: String = told(look, &["INFO", "replication"]);
    let branch = branch.lines().find_map(|line| line.strip_prefix("master_replid:"));
    let branch = branch.expect("it has a history").trim().to_owned();
    let mut keys: Vec<String> = told(look, &["KEYS", "*"]);
    keys.sort_unstable();
    let mut kept = Vec::new();
    for key in keys {
        let kind: String = told(look, &["TYPE", &key]);
        let read: &[&str] = match &*kind {
            "string" => &["GET", &key],
            "hash" => &["HGETALL", &key],
            "stream" => &["XRANGE", &key, "-", "+"],
            "zset" => &["ZRANGE", &key, "0", "-1", "WITHSCORES"],
            other => panic!("{key} is a {other}"),
        };
        let mut words = words_of(told(look, read), &kind);
        // A life is the time at which it began, and a lease ends some time after now.
        if key == "cw:nodes" {
            words = words.iter().map(|word| word[..17].to_owned() + "LIFE LEASE").collect();
        }
        let words = words.into_iter().map(|word| word.replace(&branch, "BRANCH"));
        kept.extend(words.map(|word| format!("{key} {kind}: {word}")));
    }
    kept
}

/// The parts of a value, in an order of their own.
fn words_of(value: Value, kind: &str) -> Vec<String> {
    let word = |value: &Value| match value {
        Value::BulkString(bytes) => bytes.escape_ascii().to_string(),
        other => panic!("{other:?}"),
    };
    let Value::Array(values) = value else { return vec![word(&value)] };
    let mut words: Vec<String> = match kind {
        "stream" => values
            .iter()
            .map(|entry| match entry {
                Value::Array(parts) => {
                    let [id, Value::Array(fields)] = &parts[..] else { panic!("{parts:?}") };
                    let fields: Vec<_> = fields.iter().map(word).collect();
                    format!("{} {}", word(id), fields.join(" "))
                }
                other => panic!("{other:?}"),
            })
            .collect(),
        _ => {
            values.chunks(2).map(|pair| format!("{} {}", word(&pair[0]), word(&pair[1]))).collect()
        }
    };
    words.sort_unstable();
    words
}

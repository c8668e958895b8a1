//! Long history: what the engine lets go of is read from PostgreSQL, whatever dies meanwhile. All
//! pages are compared with what was acknowledged.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::clusters::Cluster;
use crate::database::Database;
use crate::faults::{has, pair, say_at_last, told, wait_for_replica};
use crate::nodes::{Client, SECRET, node};
use crate::retention::{self, PARTITIONS};
use crate::server::{Server, until};
use crate::servers::{self, KINDS, Kind};
use crate::switch::Switch;

/// Little is kept in memory and in the engine, so that most is in the archive alone.
const LITTLE: [&str; 2] = ["history.messages=10", "engine.history=20"];

/// Streams are trimmed by whole nodes of so many messages.
const THIN: [&str; 4] = ["--stream-node-max-entries", "10", "--appendonly", "yes"];

fn archived(url: &str, database: &Database, settings: &[&str]) -> Server {
    let archive = format!("archive.url={}", database.url("chat"));
    node(url, &[&LITTLE[..], &[&archive, "http.metrics=true"], settings].concat())
}

/// What a room has, by offset: bodies, or nothing of what is deleted.
type Said = BTreeMap<u64, Option<String>>;

fn body_of(message: &Value) -> (u64, Option<String>) {
    let offset = message["offset"].as_u64().expect("an offset");
    let is_deleted = message.get("deleted").is_some();
    (offset, (!is_deleted).then(|| message["body"].as_str().expect("a body").to_owned()))
}

/// Messages, and whether there is more.
type Page = (Vec<(u64, Option<String>)>, bool);

/// A page; `None`, while the archive is not there.
fn page(client: &mut Client, params: &Value) -> Option<Page> {
    let answer = client.ask("history", params);
    if answer["status"] != "ok" {
        let reason = answer["response"]["reason"].as_str().expect("a reason");
        assert!(["busy", "unavailable", "rate_limited"].contains(&reason), "{answer}");
        return None;
    }
    let messages = answer["response"]["messages"].as_array().expect("a list");
    let more = answer["response"]["more"].as_bool().expect("whether there is more");
    Some((messages.iter().map(body_of).collect(), more))
}

fn page_at_last(client: &mut Client, params: &Value) -> Page {
    let mut found = None;
    until("a page is read", || {
        found = page(client, params);
        found.is_some()
    });
    found.expect("it was")
}

/// All pages of a room, from the newest to the first message.
fn all_pages(client: &mut Client) -> Said {
    let (mut all, mut before) = (Said::new(), None);
    loop {
        let params = before.map_or(json!({}), |before: u64| json!({ "before": before }));
        let (messages, more) = page_at_last(client, &params);
        let Some((first, _)) = messages.first() else { return all };
        before = Some(*first);
        for (offset, body) in messages {
            assert!(all.insert(offset, body).is_none(), "{offset} is in two pages");
        }
        if !more {
            return all;
        }
    }
}

/// All pages have what was said, and each message as it stands by then.
#[track_caller]
fn check(found: &Said, said: &Said) {
    let differs = |one: &Said, other: &Said| {
        let differs = one.iter().filter(|(offset, body)| other.get(offset) != Some(*body));
        differs.map(|(offset, body)| (*offset, body.clone())).collect::<Vec<_>>()
    };
    let (mut missing, mut others) = (differs(said, found), differs(found, said));
    missing.truncate(10);
    others.truncate(10);
    assert!(missing.is_empty() && others.is_empty(), "missing {missing:?}, instead {others:?}");
}

/// The same, of whoever can read them, as soon as the last one is there.
#[track_caller]
fn check_pages(client: &mut Client, said: &Said) {
    let last = said.last_key_value().map(|(offset, _)| *offset);
    until("the last message is there", || {
        let (messages, _) = page_at_last(client, &json!({ "limit": 1 }));
        messages.last().map(|(offset, _)| *offset) == last
    });
    check(&all_pages(client), said);
}

/// The number behind a name in what a server counts.
fn counted(node: &Server, name: &str) -> u64 {
    let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let answer = crate::peer::ask(node, request);
    let value = answer.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name}: {}", answer.body)).parse().expect("a number")
}

fn is_writer(node: &Server) -> bool {
    counted(node, "chinwag_archive_writer") == 1
}

/// Waits until one of them writes the archive, and returns which.
fn writer(nodes: &[Server]) -> usize {
    let mut found = None;
    until("one of them writes the archive", || {
        found = nodes.iter().position(is_writer);
        found.is_some()
    });
    found.expect("one does")
}

/// Waits until all of a room is in the archive, up to this offset.
fn wait_for_archive(database: &Database, room: &str, upto: u64) {
    let asked = format!(
        "SELECT coalesce(max(last), 0) FROM chinwag_room WHERE topic = 'room:{room}' AND is_present"
    );
    until("it is archived", || database.tell(&asked).parse::<u64>().is_ok_and(|last| last >= upto));
}

/// Waits until nothing waits for the archive any more.
fn wait_for_nothing(engines: &[&servers::Server]) {
    until("nothing waits for the archive", || {
        engines.iter().all(|engine| told::<Vec<String>>(engine, &["KEYS", "cw:*:d"]).is_empty())
    });
}

/// Says so much, and returns what was acknowledged.
fn say_many(client: &mut Client, count: u64) -> Said {
    let mut said = Said::new();
    for number in 1..=count {
        let body = format!("message number {number}");
        said.insert(client.say(&body), Some(body));
    }
    said
}

/// How many messages of a room are in the engine.
fn in_engine(engine: &servers::Server, room: &str) -> u64 {
    let keys: Vec<String> = told(engine, &["KEYS", &format!("cw:*:s:room:{room}")]);
    keys.iter().map(|key| told::<u64>(engine, &["XLEN", key])).sum()
}

/// Some messages more, so that the engine lets go of those that are archived.
fn say_until_trimmed(engine: &servers::Server, client: &mut Client, said: &mut Said) {
    until("the engine has let go of what is archived", || {
        for _ in 0..32 {
            let body = "on and on".to_owned();
            said.insert(client.say(&body), Some(body));
        }
        in_engine(engine, "tea") < 100
    });
}

#[test]
fn what_the_engine_lets_go_of_is_read_to_the_first_message_ever_said() {
    for kind in KINDS {
        let (engine, database) = (servers::Server::start(kind, &THIN), Database::start());
        let nodes = [(); 2].map(|()| archived(&engine.url(), &database, &[]));
        let mut ann = Client::join(&nodes[0], "ann", "tea", &json!({}));
        let mut said = say_many(&mut ann, 300);
        wait_for_archive(&database, "tea", 300);
        say_until_trimmed(&engine, &mut ann, &mut said);
        let mut bob = Client::join(&nodes[1], "bob", "tea", &json!({}));
        check_pages(&mut bob, &said);
        // Forwards, and in the middle.
        let (messages, more) = page_at_last(&mut bob, &json!({ "after": 100, "limit": 7 }));
        let offsets: Vec<_> = messages.iter().map(|(offset, _)| *offset).collect();
        assert_eq!((offsets, more), ((101..=107).collect(), true));
        let (messages, _) = page_at_last(&mut bob, &json!({ "around": 50, "limit": 5 }));
        let offsets: Vec<_> = messages.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(offsets, [48, 49, 50, 51, 52]);
        // Who was away for long is told all of it, if that fits.
        let cursor = ann.cursor(250, 0);
        let mut cyd = Client::join(&nodes[1], "cyd", "tea", &cursor);
        assert_eq!(cyd.joined["response"]["recovered"], true, "{}", cyd.joined);
        let missed: Said = cyd.joined["response"]["messages"]
            .as_array()
            .expect("a list")
            .iter()
            .map(body_of)
            .collect();
        check(&missed, &said.split_off(&251));
        // It is found by its words, wherever it is.
        let found = cyd.ask("msg_search", &json!({ "query": "Number 17" }));
        let found: Vec<u64> = found["response"]["messages"]
            .as_array()
            .unwrap_or_else(|| panic!("{found}"))
            .iter()
            .map(|message| body_of(message).0)
            .collect();
        assert_eq!(found, [&(170..=179).rev().collect::<Vec<_>>()[..], &[17]].concat());
        let none = cyd.ask("msg_search", &json!({ "query": "' & :* number" }));
        assert_eq!(none["response"]["messages"].as_array().map(Vec::len), Some(20), "{none}");
    }
}

#[test]
fn an_old_message_is_changed_and_seen_so_by_all_and_nothing_of_a_deleted_one_is_left() {
    let (engine, database) = (servers::Server::start(Kind::Redis, &THIN), Database::start());
    let nodes = [(); 2].map(|()| archived(&engine.url(), &database, &[]));
    let mut ann = Client::join(&nodes[0], "ann", "tea", &json!({}));
    let mut said = Said::new();
    let mut say = |ann: &mut Client, body: &str| {
        let offset = ann.say(body);
        said.insert(offset, Some(body.to_owned()));
        offset
    };
    let [edited, deleted, threaded] =
        ["first form", "a secret nobody may keep", "the root"].map(|body| say(&mut ann, body));
    let reply = ann.ask("new_msg", &json!({ "body": "the reply", "reply_to": threaded }));
    let reply = reply["response"]["offset"].as_u64().expect("an offset");
    said.insert(reply, Some("the reply".to_owned()));
    said.extend(say_many(&mut ann, 150));
    wait_for_archive(&database, "tea", 150);
    say_until_trimmed(&engine, &mut ann, &mut said);
    let change = |client: &mut Client, event: &str, payload: Value| {
        until("it is changed", || client.ask(event, &payload)["status"] == "ok");
    };
    // Twice: the second time its last change is known to the archive alone.
    change(&mut ann, "msg_edit", json!({ "offset": edited, "body": "second form" }));
    change(&mut ann, "msg_delete", json!({ "offset": deleted }));
    let mut bob = Client::join(&nodes[1], "bob", "tea", &json!({}));
    said.insert(edited, Some("second form".to_owned()));
    said.insert(deleted, None);
    check_pages(&mut bob, &said);
    wait_for_nothing(&[&engine]);
    say_until_trimmed(&engine, &mut ann, &mut said);
    wait_for_nothing(&[&engine]);
    let keys: Vec<String> = told(&engine, &["KEYS", "cw:*:x:room:tea"]);
    let known: Vec<Option<String>> =
        keys.iter().map(|key| told(&engine, &["HGET", key, &edited.to_string()])).collect();
    assert!(known.iter().all(Option::is_none), "the engine has let go of it: {known:?}");
    change(&mut ann, "msg_edit", json!({ "offset": edited, "body": "third form" }));
    said.insert(edited, Some("third form".to_owned()));
    check_pages(&mut bob, &said);
    wait_for_nothing(&[&engine]);
    check_pages(&mut bob, &said);
    let thread = page_at_last(&mut bob, &json!({ "thread": threaded }));
    let offsets: Vec<_> = thread.0.iter().map(|(offset, _)| *offset).collect();
    assert_eq!((offsets, thread.1), (vec![threaded, reply], false));
    // Neither in what is there, nor in what was there before, nor among the words.
    for (table, column) in [("message", "record"), ("before", "record"), ("message", "unread")] {
        let secret = format!(
            "SELECT count(*) FROM chinwag_{table} WHERE position('secret'::bytea in {column}) > 0"
        );
        assert_eq!(database.tell(&secret), "0", "{table}.{column}");
    }
    let words = "SELECT count(*) FROM chinwag_message WHERE words::text LIKE '%secret%'";
    assert_eq!(database.tell(words), "0");
    let found = bob.ask("msg_search", &json!({ "query": "secret" }));
    assert_eq!(found["response"]["messages"], json!([]), "{found}");
}

#[test]
fn another_server_goes_on_with_the_archive_of_one_that_is_killed() {
    let (engine, database) = (servers::Server::start(Kind::Redis, &THIN), Database::start());
    let mut nodes = Vec::from([(); 3].map(|()| archived(&engine.url(), &database, &[])));
    let dead = nodes.swap_remove(writer(&nodes));
    let mut ann = Client::join(&nodes[0], "ann", "tea", &json!({}));
    let mut said = say_many(&mut ann, 100);
    dead.kill();
    said.extend(say_many(&mut ann, 200));
    writer(&nodes);
    wait_for_archive(&database, "tea", 300);
    say_until_trimmed(&engine, &mut ann, &mut said);
    let mut bob = Client::join(&nodes[1], "bob", "tea", &json!({}));
    check_pages(&mut bob, &said);
    let gaps: u64 =
        nodes.iter().map(|node| counted(node, "chinwag_archive_gap_messages_total")).sum();
    assert_eq!(gaps, 0);
}

#[test]
fn a_database_that_is_away_disturbs_no_chat_and_has_all_of_it_afterwards() {
    let (engine, mut database) = (servers::Server::start(Kind::Redis, &THIN), Database::start());
    let nodes = [(); 2].map(|()| archived(&engine.url(), &database, &[]));
    let mut ann = Client::join(&nodes[0], "ann", "tea", &json!({}));
    let mut bob = Client::join(&nodes[1], "bob", "tea", &json!({}));
    let is_over = AtomicBool::new(false);
    let mut said = thread::scope(|scope| {
        let speaker = scope.spawn(|| {
            let mut said = Said::new();
            for number in 1..=800 {
                let body = format!("m{number}");
                said.insert(ann.say(&body), Some(body));
            }
            is_over.store(true, Ordering::Release);
            said
        });
        database.end();
        let heard = bob.hear_until("m800");
        assert_eq!(heard.len(), 800, "each is heard, whether there is an archive or not");
        speaker.join().expect("nothing was refused")
    });
    let away = bob.ask("history", &json!({ "before": 20 }));
    assert!(away["status"] == "ok" || away["response"]["reason"] == "unavailable", "{away}");
    // A server begins without it, too.
    let third = archived(&engine.url(), &database, &[]);
    Client::join(&third, "cyd", "tea", &json!({}));
    database.begin_again();
    wait_for_archive(&database, "tea", 800);
    say_until_trimmed(&engine, &mut ann, &mut said);
    let mut dan = Client::join(&third, "dan", "tea", &json!({}));
    check_pages(&mut dan, &said);
}

#[test]
fn what_the_engine_cannot_keep_while_the_database_is_away_is_a_gap_that_is_told() {
    let (engine, mut database) = (servers::Server::start(Kind::Redis, &THIN), Database::start());
    let node = archived(&engine.url(), &database, &[]);
    let mut ann = Client::join(&node, "ann", "tea", &json!({}));
    let mut said = say_many(&mut ann, 40);
    let deleted = ann.ask("msg_delete", &json!({ "offset": 38 }));
    assert_eq!(deleted["status"], "ok", "{deleted}");
    said.insert(38, None);
    wait_for_nothing(&[&engine]);
    let before = ann.cursor(45, 1);
    database.end();
    // Nobody is shown what was there before, however long the archive has not heard of a change.
    let deleted = ann.ask("msg_delete", &json!({ "offset": 39 }));
    assert_eq!(deleted["status"], "ok", "{deleted}");
    said.insert(39, None);
    let edited = ann.ask("msg_edit", &json!({ "offset": 37, "body": "later form" }));
    assert_eq!(edited["status"], "ok", "{edited}");
    said.insert(37, Some("later form".to_owned()));
    said.extend(say_many(&mut ann, 1_400));
    database.begin_again();
    wait_for_nothing(&[&engine]);
    let gap = counted(&node, "chinwag_archive_gap_messages_total");
    assert!((300..400).contains(&gap), "{gap}");
    assert!(node.log().contains("were not archived: they are lost"), "{}", node.log());
    let mut bob = Client::join(&node, "bob", "tea", &before);
    assert_eq!(bob.joined["response"]["recovered"], false, "{}", bob.joined);
    // Pages go on before it and behind it.
    let found = all_pages(&mut bob);
    let missing: Vec<u64> =
        said.keys().copied().filter(|offset| !found.contains_key(offset)).collect();
    assert_eq!(missing, (41..41 + gap).collect::<Vec<_>>());
    said.retain(|offset, _| found.contains_key(offset));
    check(&found, &said);
}

#[test]
fn what_a_failover_loses_is_in_the_archive_of_no_room() {
    let (mut primary, replica) = pair(Kind::Redis);
    let database = Database::start();
    let way = Switch::to(primary.port);
    let settings = ["engine.ack=primary"];
    let nodes = [(); 2].map(|()| archived(&way.url(), &database, &settings));
    let mut ann = Client::join(&nodes[0], "ann", "tea", &json!({}));
    let mut said = say_many(&mut ann, 40);
    let edit = |client: &mut Client, body: &str| {
        let edited = client.ask("msg_edit", &json!({ "offset": 3, "body": body }));
        assert_eq!(edited["status"], "ok", "{edited}");
    };
    edit(&mut ann, "kept form");
    said.insert(3, Some("kept form".to_owned()));
    wait_for_nothing(&[&primary]);
    wait_for_replica(&primary, &replica);
    told::<()>(&primary, &["ACL", "SETUSER", "default", "-psync", "-sync"]);
    told::<()>(&primary, &["CLIENT", "KILL", "TYPE", "replica"]);
    assert_eq!(ann.say("lost one"), 41);
    assert_eq!(ann.say("lost two"), 42);
    edit(&mut ann, "lost form");
    wait_for_nothing(&[&primary]);
    wait_for_archive(&database, "tea", 42);
    primary.kill();
    told::<()>(&replica, &["REPLICAOF", "NO", "ONE"]);
    until("it is a primary", || has(&replica, "role").as_deref() == Some("master"));
    way.lead(Some(replica.port));
    let mut bob = Client::join_at_last(&nodes[1], "bob", "tea", &json!({}));
    assert_eq!(say_at_last(&mut bob, "found"), 41);
    said.insert(41, Some("found".to_owned()));
    check_pages(&mut bob, &said);
    wait_for_nothing(&[&replica]);
    // And when the engine has let go of them.
    let mut dan = Client::join_at_last(&nodes[0], "dan", "tea", &json!({}));
    for number in 0..200 {
        let body = format!("more {number}");
        said.insert(dan.say(&body), Some(body));
    }
    wait_for_nothing(&[&replica]);
    check_pages(&mut dan, &said);
    let eras = "SELECT count(*) FROM chinwag_era JOIN chinwag_room ON room = id \
                WHERE topic = 'room:tea' AND is_present";
    assert!(database.tell(eras).parse::<u32>().is_ok_and(|eras| eras >= 2));
}

#[test]
fn a_room_that_the_engine_has_lost_begins_anew_and_what_was_archived_of_it_stays() {
    let (mut engine, database) = (servers::Server::start(Kind::Redis, &THIN), Database::start());
    let node = archived(&engine.url(), &database, &[]);
    let mut ann = Client::join(&node, "ann", "tea", &json!({}));
    say_many(&mut ann, 30);
    wait_for_nothing(&[&engine]);
    engine.kill();
    engine.forget();
    engine.begin_again();
    ann.hear("phx_error");
    let mut bob = Client::join_at_last(&node, "bob", "tea", &json!({}));
    let said = Said::from([(say_at_last(&mut bob, "anew"), Some("anew".to_owned()))]);
    wait_for_nothing(&[&engine]);
    check_pages(&mut bob, &said);
    let kept = "SELECT count(*) FROM chinwag_message JOIN chinwag_room ON room = id \
                WHERE NOT is_present";
    assert_eq!(database.tell(kept), "30");
}

#[test]
fn what_cannot_be_read_is_left_out_and_nothing_older_is_shown_for_it() {
    let (engine, database) = (servers::Server::start(Kind::Redis, &THIN), Database::start());
    let nodes = [archived(&engine.url(), &database, &[])];
    let mut ann = Client::join(&nodes[0], "ann", "tea", &json!({}));
    let mut said = say_many(&mut ann, 150);
    wait_for_nothing(&[&engine]);
    drop(ann);
    // As a later version writes: a message, and what became of an old one.
    let [stream]: [String; 1] =
        told::<Vec<String>>(&engine, &["KEYS", "cw:*:s:room:tea"]).try_into().expect("one");
    let [changed, meta, waiting] =
        ["x:room:tea", "m:room:tea", "d"].map(|name| stream.replace("s:room:tea", name));
    let written: String = told(&engine, &["GET", &meta]);
    let mut words: Vec<&str> = written.split(' ').collect();
    assert_eq!((words[2], words[3]), ("150", "0"));
    (words[2], words[3]) = ("151", "1");
    let time = format!("{} {}", words[7], words[1]);
    told::<()>(&engine, &["XADD", &stream, "151-0", "d", "\u{7f}newer", "t", &time]);
    told::<()>(&engine, &["XDEL", &stream, "5-0"]);
    told::<()>(&engine, &["HSET", &changed, "5", "1 d \u{7f}newer"]);
    told::<()>(&engine, &["SET", &meta, &words.join(" ")]);
    told::<()>(&engine, &["ZADD", &waiting, "1", "room:tea"]);
    wait_for_archive(&database, "tea", 151);
    let unread = "SELECT count(*) FROM chinwag_message WHERE record IS NULL";
    assert_eq!(database.tell(unread), "2", "the others go on");
    let kept = "SELECT count(*) FROM chinwag_message WHERE words::text LIKE '%number%'";
    assert_eq!(database.tell(kept), "149", "nothing of what it was is left");
    assert_eq!(counted(&nodes[0], "chinwag_archive_unreadable_total"), 2);
    let log = nodes[0].log();
    assert!(log.contains("s:room:tea") && log.contains("x:room:tea 5"), "{log}");
    said.remove(&5);
    // At another server, whose room is not open yet; and when the engine has let go of it.
    let other = archived(&engine.url(), &database, &[]);
    let mut bob = Client::join_at_last(&other, "bob", "tea", &json!({}));
    check_pages(&mut bob, &said);
    told::<()>(&engine, &["HDEL", &changed, "5"]);
    check_pages(&mut bob, &said);
    let found = bob.ask("msg_search", &json!({ "query": "number 5", "limit": 50 }));
    let found = found["response"]["messages"].as_array().unwrap_or_else(|| panic!("{found}"));
    assert!(!found.is_empty() && found.iter().all(|message| body_of(message).0 != 5));
}

#[test]
fn rooms_of_all_primaries_of_a_cluster_are_archived() {
    let cluster = Cluster::start(Kind::Redis, 3);
    let database = Database::start();
    let nodes = [(); 2].map(|()| archived(&cluster.url(), &database, &[]));
    let mut rooms = Vec::new();
    for number in 0..6 {
        let room = format!("r{number}");
        let mut ann = Client::join(&nodes[0], "ann", &room, &json!({}));
        let said = say_many(&mut ann, 150);
        rooms.push((room, said));
    }
    wait_for_nothing(&cluster.primaries.iter().collect::<Vec<_>>());
    for (room, said) in rooms {
        let mut bob = Client::join(&nodes[1], "bob", &room, &json!({}));
        check_pages(&mut bob, &said);
    }
}

#[test]
fn rooms_that_were_there_before_the_archive_are_in_it_too() {
    let (engine, database) = (servers::Server::start(Kind::Redis, &[]), Database::start());
    let before = node(&engine.url(), &LITTLE);
    let said = say_many(&mut Client::join(&before, "ann", "tea", &json!({})), 15);
    drop(before);
    let node = archived(&engine.url(), &database, &[]);
    wait_for_archive(&database, "tea", 15);
    check_pages(&mut Client::join(&node, "bob", "tea", &json!({})), &said);
}

#[test]
fn a_database_that_speaks_tls_is_believed_by_its_certificate() {
    let (engine, mut database) = (servers::Server::start(Kind::Redis, &[]), Database::start());
    let certificate = database.speak_tls();
    let archive = database.url("chat").replace("sslmode=disable", "sslmode=require");
    let [url, archive] = [format!("engine.url={}", engine.url()), format!("archive.url={archive}")];
    let settings = [&*url, &archive, SECRET, "auth.guests=true", "http.metrics=true"];
    // Somebody else may be there: nothing is told to that, and chat goes on.
    let other = Server::start(&settings);
    Client::join(&other, "ann", "tea", &json!({})).say("one");
    assert!(other.log().contains("certificate"), "{}", other.log());
    assert_eq!(counted(&other, "chinwag_archive_up"), 0);
    let node = Server::start_in(&settings, &[("SSL_CERT_FILE", certificate.as_os_str())]);
    wait_for_archive(&database, "tea", 1);
    assert_eq!(counted(&node, "chinwag_archive_up"), 1);
}

#[test]
fn a_database_that_is_not_fit_is_refused_at_the_start_with_what_is_to_be_changed() {
    let (engine, database) = (servers::Server::start(Kind::Redis, &[]), Database::start());
    let latin = "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0";
    database.tell_of("postgres", latin);
    drop(archived(&engine.url(), &database, &[]));
    let refused = |database: &str, settings: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_chinwag"))
            .args(["--listen", "127.0.0.1:0", "--set", SECRET])
            .args(["--set", &format!("engine.url={}", engine.url())])
            .args(["--set", &format!("archive.url={database}")])
            .args(settings.iter().flat_map(|setting| ["--set", setting]))
            .env_clear()
            .output()
            .expect("the program can be started");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains("archive.url: no archive can be kept there: "), "{said}");
        said
    };
    let chat = database.url("chat");
    assert!(refused(&database.url("latin"), &[]).contains("encoding is LATIN1"));
    assert!(refused(&database.url("none"), &[]).contains("3D000"));
    let other = refused(&chat, &["engine.prefix=other"]);
    assert!(other.contains("archive of engine.prefix = \"cw\""), "{other}");
    let nobody = chat.replace("postgres@", "nobody:hush@");
    let nobody = refused(&nobody, &[]);
    assert!(nobody.contains("28000") && !nobody.contains("hush"), "{nobody}");
    database.tell("UPDATE chinwag_archive SET version = 99");
    assert!(refused(&chat, &[]).contains("its schema is 99"));
}

/// The first message of a room in the archive, and how many there are.
fn there(database: &Database) -> (u64, u64) {
    let asked = |what: &str| {
        let asked = format!("SELECT coalesce({what}, 0) FROM chinwag_message");
        database.tell(&asked).parse().expect("a number")
    };
    (asked("min(\"offset\")"), asked("count(*)"))
}

#[test]
fn what_is_too_old_goes_from_the_archive_too() {
    let (engine, database) = (servers::Server::start(Kind::Redis, &THIN), Database::start());
    let settings = [PARTITIONS, "history.keep_s=6"];
    let nodes = [(); 2].map(|()| archived(&engine.url(), &database, &settings));
    let mut ann = Client::join(&nodes[0], "ann", "tea", &json!({}));
    let mut said = say_many(&mut ann, 300);
    let edited = ann.ask("msg_edit", &json!({ "offset": 7, "body": "an old secret" }));
    assert_eq!(edited["status"], "ok", "{edited}");
    wait_for_archive(&database, "tea", 300);
    // What cannot be read goes with what is said behind it.
    database
        .tell("UPDATE chinwag_message SET record = '\\x00' WHERE \"offset\" BETWEEN 101 AND 280");
    say_until_trimmed(&engine, &mut ann, &mut said);
    let old = said.last_key_value().map_or(0, |(offset, _)| *offset);
    until("nothing of it is left in the archive", || {
        ann.say("something new");
        there(&database).0 > old
    });
    let mut bob = Client::join(&nodes[1], "bob", "tea", &json!({}));
    let first = all_pages(&mut bob).first_key_value().map(|(offset, _)| *offset);
    assert!(first.is_some_and(|first| first > old), "{first:?} is shown, {old} has gone");
    let before = "SELECT count(*) FROM chinwag_before";
    assert_eq!(database.tell(before), "0");
    let found = bob.ask("msg_search", &json!({ "query": "secret" }));
    assert_eq!(found["response"]["messages"], json!([]), "{found}");
    let late = Client::join(&nodes[1], "cyd", "tea", &ann.cursor(200, 0));
    assert_eq!(late.joined["response"]["recovered"], false, "{}", late.joined);
    let gaps: u64 =
        nodes.iter().map(|node| counted(node, "chinwag_archive_gap_messages_total")).sum();
    assert_eq!(gaps, 0, "it was not lost");
    drop((ann, bob, late));
    until("and all of it, when nobody is there", || there(&database).1 == 0);
}

#[test]
fn a_room_keeps_so_many_messages_in_the_archive_as_it_is_set_to() {
    let (engine, database) = (servers::Server::start(Kind::Redis, &THIN), Database::start());
    let node = archived(&engine.url(), &database, &[PARTITIONS]);
    let owner = node.token("ann");
    node.found(&owner, "tea");
    let mut ann = Client::join_as(&node, &owner, "tea", &json!({}));
    // More than are summed up at a time, by far. The engine waits for an archive for 1,000.
    let mut said = Said::new();
    for upto in [550, 1_100, 1_650, 2_200] {
        said.extend(say_many(&mut ann, 550));
        wait_for_archive(&database, "tea", upto);
    }
    assert_eq!(there(&database), (1, 2_200));
    say_until_trimmed(&engine, &mut ann, &mut said);
    let last = said.last_key_value().map_or(0, |(offset, _)| *offset);
    wait_for_archive(&database, "tea", last);
    let ok = |set: Value| assert_eq!(set["status"], "ok", "{set}");
    let newest = "SELECT record FROM chinwag_message ORDER BY \"offset\" DESC LIMIT 1700";
    let bytes = format!("SELECT sum(octet_length(record)) FROM ({newest}) AS newest");
    let bytes: u64 = database.tell(&bytes).parse().expect("a number");
    ok(ann.ask("room_set", &json!({ "keep_bytes": bytes })));
    // Those that the engine has are counted a little otherwise.
    until("as much is left", || (1_600..=1_800).contains(&there(&database).1));
    said = said.split_off(&there(&database).0);
    check_pages(&mut ann, &said);
    ok(ann.ask("room_set", &json!({ "keep_messages": 200 })));
    until("as many are left", || there(&database) == (last - 199, 200));
    said = said.split_off(&(last - 199));
    check_pages(&mut ann, &said);
    // Some hundred bytes each.
    ok(ann.ask("room_set", &json!({ "keep_bytes": 10_000 })));
    until("fewer are left", || (20..200).contains(&there(&database).1));
    let (first, _) = there(&database);
    check_pages(&mut ann, &said.split_off(&first));
    ok(ann.ask("room_set", &json!({ "keep_bytes": 1 })));
    until("none is left", || there(&database).1 == 0);
    assert_eq!(retention::in_engine(&engine, "tea"), 0);
    assert_eq!(ann.say("offsets go on"), last + 1);
}

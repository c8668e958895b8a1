//! A disk that fails under a server that runs, seen by its clients: what is answered, what goes on
//! all the same, that it heals, and that all that was acked is there after it.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::journal::Record;
use crate::kept::{Look, Told};
use crate::load::Load;
use crate::peer::{self as http, Peer, ask, publish, text};
use crate::server::{PATIENCE, Server, until};
use crate::shim::{Disk, has_ended};

/// Two members of a room, and what was acked to the first.
struct Room {
    ann: Peer,
    bob: Peer,
    next: u64,
    /// By offset, from 1 on; none, where it is not known yet.
    acked: Vec<(u64, String)>,
}

/// What a publish was answered.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Offset(u64),
    Refused(String),
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn say(reference: u64, key: u64) -> Vec<u8> {
    let payload = format!(r#"{{"body":"m{key}","key":"k{key}"}}"#);
    text(&format!(r#"["1","{reference}","room:tea","new_msg",{payload}]"#))
}

impl Room {
    fn enter(server: &Server) -> Self {
        let (mut ann, mut bob) = (server.guest("Ann"), server.guest("Bob"));
        for peer in [&mut ann, &mut bob] {
            assert!(peer.join("tea", "{}").contains(r#""status":"ok""#));
        }
        Self { ann, bob, next: 100, acked: Vec::new() }
    }

    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The answer to Ann's push with this reference.
    fn answer(&mut self, reference: u64) -> Answer {
        let answer = self.ann.await_text(&format!(r#"["1","{reference}","room:tea","phx_reply""#));
        let answer = parse(&answer);
        let response = &answer[4]["response"];
        match response["reason"].as_str() {
            None => Answer::Offset(response["offset"].as_u64().unwrap()),
            Some(reason) => {
                let retry_ms = response["retry_ms"].as_u64();
                assert!(retry_ms.is_some_and(|ms| ms > 0), "when to try again: {answer}");
                assert!(response.get("offset").is_none(), "{answer}");
                Answer::Refused(reason.to_owned())
            }
        }
    }

    /// Ann says something with this key.
    fn say(&mut self, key: u64) -> Answer {
        let reference = self.next();
        self.ann.send_raw(&say(reference, key));
        let answer = self.answer(reference);
        if let Answer::Offset(offset) = answer {
            self.acked.push((offset, format!("m{key}")));
        }
        answer
    }

    /// What Bob hears of Ann next.
    fn heard(&mut self) -> (u64, String) {
        let heard = parse(&self.bob.await_text(r#""new_msg""#));
        let offset = heard[4]["offset"].as_u64().unwrap();
        (offset, heard[4]["body"].as_str().unwrap().to_owned())
    }

    /// All that needs no disk goes on: heartbeats, typing, joins and leaves of a room in memory,
    /// and who is there.
    fn live(&mut self, server: &Server) {
        for peer in [&mut self.ann, &mut self.bob] {
            peer.send(r#"[null,"7","phoenix","heartbeat",{}]"#);
            peer.await_text(r#"[null,"7","phoenix","phx_reply",{"response":{},"status":"ok"}]"#);
        }
        let typing = self.next();
        self.ann.send(&format!(r#"["1","{typing}","room:tea","typing",{{}}]"#));
        assert!(self.bob.await_text(r#""typing""#).contains(r#""name":"Ann""#));
        let mut eve = server.guest("Eve");
        let joined = eve.join("tea", "{}");
        assert!(
            joined.contains(r#""status":"ok""#) && joined.contains(r#""body":"m1""#),
            "{joined}"
        );
        assert!(self.bob.await_text(r#""presence_diff""#).contains("Eve"));
        drop(eve);
        assert!(self.bob.await_text(r#""presence_diff""#).contains(r#""leaves":{"#));
    }

    /// Says it again and again until it is taken.
    fn say_until_taken(&mut self, key: u64) -> u64 {
        let mut offset = None;
        until("the disk works again", || match self.say(key) {
            Answer::Offset(taken) => {
                offset = Some(taken);
                true
            }
            Answer::Refused(_) => false,
        });
        offset.unwrap()
    }

    /// After `kill -9` all that was acked is there, once and in order.
    fn check(&self, disk: &Disk, server: Server) {
        server.kill();
        drop(server);
        disk.rule("");
        let server = disk.serve(&[]);
        let joined = parse(&server.guest("Ann").join("tea", r#"{"presence":false}"#));
        let messages = joined[4]["response"]["messages"].as_array().unwrap();
        let there: Vec<(u64, String)> = messages
            .iter()
            .map(|of| (of["offset"].as_u64().unwrap(), of["body"].as_str().unwrap().to_owned()))
            .collect();
        let mut acked = self.acked.clone();
        acked.sort_unstable();
        acked.dedup();
        assert!(there.iter().map(|(offset, _)| *offset).eq(1..=there.len() as u64), "{there:?}");
        let is_there = |message: &(u64, String)| there.contains(message);
        assert!(acked.iter().all(is_there), "{acked:?} of {there:?}");
        let mut once: Vec<&String> = there.iter().map(|(_, body)| body).collect();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), there.len(), "no message twice: {there:?}");
    }
}

fn get(server: &Server, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let answer = ask(server, request.as_bytes());
    (answer.status, answer.body)
}

fn post(server: &Server, path: &str, headers: &str, body: &str) -> http::Answer {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n");
    ask(server, format!("{head}{headers}\r\n{body}").as_bytes())
}

/// The token and the id of a new guest.
fn session(server: &Server) -> (String, String) {
    let body = parse(&post(server, "/api/session", "", r#"{"name":"Eve"}"#).body);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&body["token"]), text(&body["user"]))
}

/// Makes a room on purpose.
fn make(server: &Server, room: &str) -> http::Answer {
    let (token, _) = session(server);
    let headers = format!("authorization: Bearer {token}\r\n");
    post(server, "/api/rooms", &headers, &format!(r#"{{"room":"{room}","title":"T"}}"#))
}

/// The number of a line of the metrics.
fn metric(server: &Server, name: &str) -> u64 {
    let (_, text) = get(server, "/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.trim().parse().ok()).unwrap_or_else(|| panic!("{name} in {text}"))
}

const METRICS: &[&str] = &["http.metrics=true"];

/// A disk that does not take writes, by these rules and counted as this, and works again once the
/// rules are gone, if not before.
#[track_caller]
fn check_failing(rules: &str, code: &str) {
    let disk = Disk::new();
    let server = disk.serve(METRICS);
    let mut room = Room::enter(&server);
    for key in 1..=10 {
        assert_eq!(room.say(key), Answer::Offset(key));
        assert_eq!(room.heard(), (key, format!("m{key}")));
    }
    disk.rule(rules);
    assert_eq!(room.say(11), Answer::Refused("unconfirmed".to_owned()), "{rules}");
    // It had its place, and was delivered at once.
    assert_eq!(room.heard(), (11, "m11".to_owned()));
    assert_eq!(room.say(12), Answer::Refused("storage".to_owned()), "{rules}");
    assert_eq!(get(&server, "/readyz"), (503, "storage\n".to_owned()));
    assert_eq!(metric(&server, "chinwag_store_state{state=\"failing\"}"), 1);
    assert!(metric(&server, &format!("chinwag_store_errors_total{{code=\"{code}\"}}")) > 0);
    room.live(&server);
    // A room that is not in memory cannot be looked for, nor made.
    let elsewhere = server.guest("Eve").join("elsewhere", "{}");
    assert!(elsewhere.contains(r#""reason":"storage""#), "{elsewhere}");
    let refused = make(&server, "elsewhere");
    let error = &parse(&refused.body)["error"];
    assert_eq!((refused.status, error["reason"].as_str()), (503, Some("storage")), "{refused:?}");
    assert!(error["retry_ms"].as_u64().is_some_and(|ms| ms > 0), "{refused:?}");
    assert!(refused.head.contains("retry-after: 1"), "{refused:?}");
    // Of a user's own topic nothing is kept.
    let (token, user) = session(&server);
    let mut own = Peer::open(&server, &token);
    own.send(&format!(r#"["1","1","user:{user}","phx_join",{{}}]"#));
    let joined = own.await_text("phx_reply");
    assert!(joined.contains(r#""status":"ok""#), "{joined}");

    disk.rule("");
    // Its key gives the one answer: it was kept after all. What was refused was not.
    assert_eq!(room.say_until_taken(11), 11, "{rules}");
    assert_eq!(room.say(12), Answer::Offset(12));
    assert_eq!(room.heard(), (12, "m12".to_owned()), "what was refused was not heard");
    assert_eq!(get(&server, "/readyz"), (200, "ok\n".to_owned()));
    assert_eq!(metric(&server, "chinwag_store_state{state=\"ok\"}"), 1);
    assert!(server.guest("Eve").join("elsewhere", "{}").contains(r#""status":"ok""#));
    assert_eq!(make(&server, "new").status, 201);
    room.check(&disk, server);
}

#[test]
fn a_write_that_fails() {
    check_failing("write@chat.db-wal:1:EIO:*", "io");
}

#[test]
fn a_write_that_fails_within_a_commit() {
    check_failing("write@chat.db-wal:2:EIO:*", "io");
}

#[test]
fn a_disk_that_is_full() {
    check_failing("write@chat.db-wal:2:short\nwrite@chat.db-wal:3:ENOSPC:*", "full");
}

#[test]
fn a_sync_that_fails_once() {
    // It would heal by itself, if the log could be emptied.
    check_failing("sync@chat.db-wal:1:EIO\nwrite@chat.db:1:EIO:*", "sync");
}

/// What mounts a file system of 4 MiB, of which most is taken, in the folder `$0`, and becomes the
/// rest of what it is told.
const MOUNTS: &str = "mount -t tmpfs -o size=4m small \"$0\" \
                      && head -c 3M /dev/zero >\"$0/filler\" && exec \"$@\"";

#[test]
fn a_file_system_that_is_full_takes_what_is_said_again_when_it_has_space() {
    // Of its own, as anybody may mount it where there are namespaces of users.
    let namespaces = ["--user", "--map-root-user", "--mount"];
    let may = Command::new("unshare").args(namespaces).arg("true").status();
    if !may.is_ok_and(|status| status.success()) {
        return eprintln!("left out: nobody may mount a file system here");
    }
    let disk = Disk::new();
    let folder = disk.elsewhere("small");
    fs::create_dir(&folder).unwrap();
    let mut command = Command::new("unshare");
    command.args(namespaces).args(["sh", "-c", MOUNTS]).arg(&folder);
    command.arg(env!("CARGO_BIN_EXE_chinwag"));
    let path = format!("store.path={}/store", folder.display());
    let settings = [METRICS, &[&path, "store.reserve_bytes=0", "limits.publish_per_s=0"]].concat();
    let server = Server::start_by(command, &settings, &[("PATH", OsStr::new("/usr/bin:/bin"))]);
    // Nobody else sees it there.
    let seen = PathBuf::from(format!("/proc/{}/root{}", server.pid(), folder.display()));
    let mut room = Room::enter(&server);
    let mut key = 0;
    let refused = loop {
        key += 1;
        if let Answer::Refused(why) = room.say(key) {
            break why;
        }
        assert_eq!(room.heard(), (key, format!("m{key}")));
        assert!(key < 100_000, "it is never full");
    };
    assert_eq!(refused, "unconfirmed");
    assert_eq!(room.heard(), (key, format!("m{key}")), "it had its place");
    assert!(metric(&server, "chinwag_store_errors_total{code=\"full\"}") > 0);
    for peer in [&mut room.ann, &mut room.bob] {
        peer.send(r#"[null,"7","phoenix","heartbeat",{}]"#);
        peer.await_text(r#"[null,"7","phoenix","phx_reply",{"response":{},"status":"ok"}]"#);
    }
    fs::remove_file(seen.join("filler")).unwrap();
    assert_eq!(room.say_until_taken(key), key, "it was kept after all");
    until("it is told", || get(&server, "/readyz").0 == 200);
    assert_eq!(room.say_until_taken(key + 1), key + 1);
    // It ends with the server.
    let kept = disk.elsewhere("kept");
    fs::create_dir(&kept).unwrap();
    let stopped = Command::new("kill").args(["-STOP", &server.pid().to_string()]).status();
    assert!(stopped.unwrap().success());
    for name in ["chat.db", "chat.db-wal"] {
        fs::copy(seen.join("store").join(name), kept.join(name)).unwrap();
    }
    server.kill();
    let mut look = Look::begin(&kept).unwrap();
    let opened = look.open("room:tea").unwrap().unwrap();
    assert_eq!(opened.top.offset, key + 1);
    let acked = &room.acked[room.acked.len() - opened.tail.len()..];
    let bodies = opened.tail.iter().map(|message| message.said.body.trim_matches('"'));
    assert!(bodies.eq(acked.iter().map(|(_, body)| &**body)), "once and in order");
    look.end().unwrap();
}

/// A server that starts on a disk that is full, after an end as this makes it.
#[track_caller]
fn check_start_on_a_full_disk(end: fn(&Server)) {
    let disk = Disk::new();
    let server = disk.serve(METRICS);
    let mut room = Room::enter(&server);
    for key in 1..=10 {
        assert_eq!(room.say(key), Answer::Offset(key));
    }
    end(&server);
    until("it has ended", || has_ended(&server));
    drop(server);
    disk.rule("write@chat.db:1:ENOSPC:*\nwrite@chat.db-wal:1:ENOSPC:*");
    let server = disk.serve(METRICS);
    until("it is told", || get(&server, "/readyz") == (503, "storage\n".to_owned()));
    assert_eq!(metric(&server, "chinwag_store_state{state=\"failing\"}"), 1);
    let errors = || metric(&server, "chinwag_store_errors_total{code=\"full\"}");
    until("it is tried again", || errors() > 1);
    let refused = server.guest("Eve").join("tea", "{}");
    assert!(refused.contains(r#""reason":"storage""#), "{refused}");
    assert_eq!(make(&server, "elsewhere").status, 503);
    disk.rule("");
    until("there is space", || get(&server, "/readyz").0 == 200);
    let mut room = Room { acked: room.acked, ..Room::enter(&server) };
    assert_eq!(room.say(11), Answer::Offset(11));
    room.check(&disk, server);
}

#[test]
fn a_disk_that_is_full_at_the_start() {
    check_start_on_a_full_disk(Server::terminate);
}

#[test]
fn a_disk_that_is_full_at_the_start_after_a_kill() {
    check_start_on_a_full_disk(Server::kill);
}

#[test]
fn a_disk_that_heals_by_itself_needs_nobody() {
    let disk = Disk::new();
    let server = disk.serve(METRICS);
    let mut room = Room::enter(&server);
    assert_eq!(room.say(1), Answer::Offset(1));
    disk.rule("sync@chat.db-wal:1:drop");
    assert_eq!(room.say(2), Answer::Refused("unconfirmed".to_owned()));
    assert_eq!(room.say_until_taken(2), 2);
    assert_eq!(room.say(3), Answer::Offset(3));
    room.check(&disk, server);
}

#[test]
fn a_second_sync_that_fails_ends_it_and_the_room_lives_on_in_memory() {
    let disk = Disk::new();
    let server = disk.serve(METRICS);
    let mut room = Room::enter(&server);
    assert_eq!(room.say(1), Answer::Offset(1));
    disk.rule("sync@chat.db-wal:1:EIO");
    assert_eq!(room.say(2), Answer::Refused("unconfirmed".to_owned()));
    assert_eq!(room.say_until_taken(2), 2);
    disk.rule("sync@chat.db-wal:1:drop");
    assert_eq!(room.say(3), Answer::Refused("unconfirmed".to_owned()));
    until("it is given up", || metric(&server, "chinwag_store_state{state=\"failed\"}") == 1);
    assert_eq!(room.say(4), Answer::Refused("storage".to_owned()));
    assert_eq!(get(&server, "/readyz").0, 503);
    room.live(&server);
    room.check(&disk, server);
}

#[test]
fn a_slow_disk_delays_the_answers_that_wait_for_it_and_nothing_else() {
    let disk = Disk::new();
    let server = disk.serve(METRICS);
    let mut room = Room::enter(&server);
    assert_eq!(room.say(1), Answer::Offset(1));
    assert_eq!(room.heard(), (1, "m1".to_owned()));
    disk.rule("sync@chat.db-wal:1:sleep=2000:1");
    let reference = room.next();
    room.ann.send_raw(&say(reference, 2));
    assert_eq!(room.heard(), (2, "m2".to_owned()), "it is delivered at once");
    // Each of these is answered, on the connection that waits too.
    room.live(&server);
    room.ann.send(r#"[null,"8","phoenix","heartbeat",{}]"#);
    let first = room.ann.await_text("phx_reply");
    assert!(first.contains("phoenix"), "before the message: {first}");
    assert_eq!(get(&server, "/readyz").0, 200, "slow is not failing");
    assert_eq!(room.answer(reference), Answer::Offset(2));
    room.acked.push((2, "m2".to_owned()));
    assert_eq!(room.say(3), Answer::Offset(3));
    room.check(&disk, server);
}

#[test]
fn what_cannot_be_noted_as_taken_away_is_in_doubt_and_is_noted_once_when_the_disk_works_again() {
    for rule in ["sync@removed.log:1:EIO:2", "write@removed.log:1:ENOSPC:2"] {
        let disk = Disk::new();
        let server = disk.serve(METRICS);
        let mut room = Room::enter(&server);
        assert_eq!(room.say(1), Answer::Offset(1));
        disk.rule(rule);
        delete_in_doubt(&mut room);
        delete_until_done(&mut room);
        server.kill();
        drop(server);
        let noted = fs::read_to_string(disk.store().join("removed.log")).unwrap();
        assert_eq!(noted.matches(r#""offset":1,"#).count(), 1, "{noted}");
        let mut look = Look::begin(&disk.store()).unwrap();
        let opened = look.open("room:tea").unwrap().unwrap();
        assert!(opened.tail[0].fate().deleted.is_some());
        look.end().unwrap();
    }
}

/// Has the first message deleted by a server that cannot say whether it is.
fn delete_in_doubt(room: &mut Room) {
    room.ann.send(r#"["1","7","room:tea","msg_delete",{"offset":1}]"#);
    let answer = room.ann.await_text(r#"["1","7","room:tea","phx_reply""#);
    assert!(answer.contains(r#""reason":"unconfirmed""#), "{answer}");
}

/// Deletes the first message, which may be in doubt for a while.
fn delete_until_done(room: &mut Room) {
    until("it is so", || {
        room.ann.send(r#"["1","8","room:tea","msg_delete",{"offset":1}]"#);
        let answer = room.ann.await_text(r#"["1","8","room:tea","phx_reply""#);
        answer.contains(r#""status":"ok""#)
    });
}

/// How often the disk has failed under a server.
fn errors(server: &Server) -> u64 {
    let (_, text) = get(server, "/metrics");
    let counts = text.lines().filter(|line| line.starts_with("chinwag_store_errors_total{"));
    counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn a_disk_that_fails_while_what_was_taken_away_is_turned_over_heals_by_itself() {
    for rule in
        ["open@removed.log:1:ENOSPC:*", "write@removed.log:1:ENOSPC:*", "sync@/store:1:EIO:*"]
    {
        let disk = Disk::new();
        let server = disk.serve(METRICS);
        server.terminate();
        until("it has ended", || has_ended(&server));
        drop(server);
        // It has no space for one more deletion.
        let [new, old] = ["removed.log", "removed.log.old"].map(|name| disk.store().join(name));
        let first = fs::read(&new).unwrap();
        fs::write(&new, first.repeat(32 * 1_024 * 1_024 / first.len())).unwrap();
        let server = disk.serve(METRICS);
        let mut room = Room::enter(&server);
        assert_eq!(room.say(1), Answer::Offset(1));
        disk.rule(rule);
        delete_in_doubt(&mut room);
        assert!(old.exists(), "{rule}: it is between the two");
        until("it is tried again, and in vain", || errors(&server) > 2);
        assert_eq!(get(&server, "/readyz").0, 503, "{rule}");
        disk.rule("");
        delete_until_done(&mut room);
        server.kill();
        drop(server);
        let noted = fs::read_to_string(&new).unwrap();
        let lines: Vec<&str> = noted.lines().collect();
        assert_eq!(lines.len(), 2, "{rule}: {noted}");
        assert!(lines[0].contains(r#""since":"#) && lines[1].contains(r#""offset":1,"#), "{noted}");
    }
}

#[test]
fn what_is_taken_away_is_noted_only_where_the_folder_is_known_to_have_the_file() {
    let disk = Disk::new();
    let server = disk.serve(METRICS);
    server.terminate();
    until("it has ended", || has_ended(&server));
    drop(server);
    // As is done where what was deleted is to be brought back.
    fs::remove_file(disk.store().join("removed.log")).unwrap();
    // The life is begun when there is space, and the file in it.
    disk.rule("write@chat.db:1:ENOSPC:*\nwrite@chat.db-wal:1:ENOSPC:*");
    let server = disk.serve(METRICS);
    until("it is told", || get(&server, "/readyz").0 == 503);
    disk.rule("sync@/store:1:ENOSPC:*");
    let before = errors(&server);
    until("it is tried again, and in vain", || errors(&server) > before + 2);
    assert!(disk.store().join("removed.log").exists());
    disk.rule("");
    until("there is space", || get(&server, "/readyz").0 == 200);
    let mut room = Room::enter(&server);
    assert_eq!(room.say(1), Answer::Offset(1));
    room.check(&disk, server);
}

#[test]
fn a_store_that_does_not_get_on_refuses_before_a_message_has_a_place_and_holds_so_much() {
    const WAITING_BYTES: usize = 512 * 1_024;
    const LONG: usize = 15_000;
    let disk = Disk::new();
    let waiting = format!("store.waiting_bytes={WAITING_BYTES}");
    let settings = [METRICS, &["shards=1", "limits.publish_per_s=0", &waiting]].concat();
    let server = disk.serve(&settings);
    let mut room = Room::enter(&server);
    let mut eve = server.guest("Eve");
    eve.join("tea", "{}");
    assert_eq!(room.say(1), Answer::Offset(1));
    assert_eq!(room.heard(), (1, "m1".to_owned()));
    disk.rule("sync@chat.db-wal:1:sleep=8000:1");
    // Its commit is under way before the others are said, or they would have its place, too.
    let slow = room.next();
    room.ann.send_raw(&say(slow, 2));
    assert_eq!(room.heard(), (2, "m2".to_owned()));
    until("the commit is slow", || disk.is_asleep());
    // More than a ring and what may wait behind it have place for.
    let long = |number: u64| format!("m{number} {}", "x".repeat(LONG));
    let numbers = 3..=100;
    for number in numbers.clone() {
        let payload = format!(r#"{{"body":"{}"}}"#, long(number));
        room.ann.send(&format!(r#"["1","{number}","room:tea","new_msg",{payload}]"#));
    }
    // All of it is handled by then. Her own answers wait for their turn.
    room.ann.send(r#"[null,"8","phoenix","heartbeat",{}]"#);
    let first = room.ann.await_text("phx_reply");
    assert!(first.contains("phoenix"), "before any message: {first}");
    eve.send(r#"["1","9","room:tea","new_msg",{"body":"more"}]"#);
    let refused = eve.await_text(r#"["1","9","room:tea","phx_reply""#);
    assert!(refused.contains(r#""reason":"busy""#) && !refused.contains("offset"), "{refused}");
    let waits = metric(&server, "chinwag_store_waiting_bytes{shard=\"0\"}");
    let most = (WAITING_BYTES + 2 * LONG) as u64;
    assert!((WAITING_BYTES as u64..most).contains(&waits), "{waits} bytes wait");
    let held = metric(&server, "chinwag_store_held_answers{shard=\"0\"}");
    assert_eq!(room.answer(slow), Answer::Offset(2));
    room.acked.push((2, "m2".to_owned()));
    let (mut taken, mut refused) = (2, 0);
    for number in numbers {
        match room.answer(number) {
            // Those that are refused have no place, and leave none empty. On a busy machine the
            // store may get on before the last of them is said.
            Answer::Offset(offset) => {
                taken += 1;
                assert_eq!(offset, taken);
                assert_eq!(room.heard(), (offset, long(number)));
                room.acked.push((offset, long(number)));
            }
            Answer::Refused(why) => {
                refused += 1;
                assert_eq!(why, "busy");
            }
        }
    }
    assert!((1..taken).contains(&held), "no more is held than was taken: {held} of {taken}");
    assert!(refused > 0, "all of {taken} were taken");
    let offset = room.say_until_taken(101);
    assert_eq!((offset, room.heard()), (taken + 1, (taken + 1, "m101".to_owned())));
    server.kill();
    drop(server);
    let mut look = Look::begin(&disk.store()).unwrap();
    let opened = look.open("room:tea").unwrap().unwrap();
    let bodies = opened.tail.iter().map(|message| message.said.body.trim_matches('"'));
    assert!(bodies.eq(room.acked.iter().map(|(_, body)| &**body)), "and no other");
    look.end().unwrap();
}

/// What comes of a cursor: what there is behind it, or nothing if it is told that it does not hold.
fn recover(server: &Server, token: &str, since: (&str, u64, u64)) -> Option<(Value, Value)> {
    let (epoch, offset, change) = since;
    let since = format!(r#"{{"epoch":"{epoch}","offset":{offset},"change":{change}}}"#);
    let params = format!(r#"{{"presence":false,"since":{since}}}"#);
    let joined = parse(&Peer::open(server, token).join("tea", &params));
    let response = &joined[4]["response"];
    let recovered = response["recovered"].as_bool().unwrap();
    recovered.then(|| (response["messages"].clone(), response["changed"].clone()))
}

/// Pushes something, and waits until it is acked.
fn ack(peer: &mut Peer, reference: u64, event: &str, payload: &str) {
    peer.send(&format!(r#"["1","{reference}","room:tea","{event}",{payload}]"#));
    let answer = peer.await_text(&format!(r#"["1","{reference}","room:tea","phx_reply""#));
    assert!(answer.contains(r#""status":"ok""#), "{answer}");
}

#[test]
fn a_cursor_at_what_was_seen_and_not_kept_is_told_after_kill_9_and_those_before_are_exact() {
    let disk = Disk::new();
    let server = disk.serve(METRICS);
    let token = server.token("Ann");
    let (mut ann, mut bob) = (Peer::open(&server, &token), server.guest("Bob"));
    bob.join("tea", "{}");
    let joined = parse(&ann.join("tea", "{}"));
    let epoch = joined[4]["response"]["epoch"].as_str().unwrap();
    for number in 1..=3 {
        ack(&mut ann, number, "new_msg", r#"{"body":"kept"}"#);
    }
    ack(&mut ann, 4, "msg_edit", r#"{"offset":1,"body":"kept too"}"#);
    // No commit comes to its end any more.
    disk.rule("write@chat.db-wal:1:sleep=60000:*");
    ann.send(r#"["1","5","room:tea","new_msg",{"body":"lost"}]"#);
    bob.await_text(r#""body":"lost""#);
    ann.send(r#"["1","6","room:tea","msg_edit",{"offset":2,"body":"lost too"}]"#);
    bob.await_text(r#""body":"lost too""#);
    server.kill();
    drop(server);
    disk.rule("");

    let server = disk.serve(&[]);
    let none = || (Value::Array(Vec::new()), Value::Null);
    assert_eq!(recover(&server, &token, (epoch, 3, 1)), Some(none()), "at what was acked");
    let ahead = [(epoch, 4, 2), (epoch, 4, 1), (epoch, 3, 2)];
    for since in ahead {
        assert_eq!(recover(&server, &token, since), None, "{since:?}");
    }
    // Nor once there is something else of these numbers.
    let mut ann = Peer::open(&server, &token);
    ann.join("tea", "{}");
    ack(&mut ann, 1, "new_msg", r#"{"body":"another"}"#);
    ack(&mut ann, 2, "msg_edit", r#"{"offset":3,"body":"another too"}"#);
    for since in ahead {
        assert_eq!(recover(&server, &token, since), None, "{since:?}");
    }
    let (messages, changed) = recover(&server, &token, (epoch, 3, 1)).expect("it was acked");
    let of = |list: &Value| -> Vec<(u64, String)> {
        let list = list.as_array().unwrap().iter();
        let text = |of: &Value| of["body"].as_str().unwrap().to_owned();
        list.map(|of| (of["offset"].as_u64().unwrap(), text(of))).collect()
    };
    assert_eq!(of(&messages), [(4, "another".to_owned())]);
    assert_eq!(of(&changed), [(3, "another too".to_owned())]);
}

#[test]
fn sigterm_under_load_loses_nothing_that_was_acked() {
    let disk = Disk::new();
    let notes = disk.notes();
    let mut load = Load::default();
    let server = load.run(disk.serve(&[]), &notes, 500, Server::terminate);
    let (status, log) = server.wait(PATIENCE);
    assert_eq!(status.code(), Some(0), "{log}");
    let mut told = Told::default();
    for record in disk.read_journal() {
        if let Record::Noted(note) = record {
            told.note(&note);
        }
    }
    // Acts that were acked together may be one change.
    assert!(told.acked() >= 250, "{}", told.acked());
    told.check(&disk.store()).unwrap();
}

#[test]
fn a_damaged_page_is_named_and_takes_its_room_with_it_and_no_others() {
    let disk = Disk::new();
    let server = disk.serve(METRICS);
    let rooms = ["tea", "coffee", "cocoa"];
    let mut ann = server.guest("Ann");
    for room in rooms {
        assert!(ann.join(room, "{}").contains(r#""status":"ok""#));
        // So long that each has pages of its own.
        for number in 2..22 {
            ann.send_raw(&publish(room, number, &format!("{room} {}", room.repeat(200))));
            assert!(ann.await_text("phx_reply").contains(r#""status":"ok""#));
        }
    }
    server.terminate();
    until("it has ended", || has_ended(&server));
    let file = disk.store().join("chat.db");
    let mut bytes = fs::read(&file).unwrap();
    let has = |page: &[u8], room: &str| {
        let text = format!("{room} {room}");
        page.windows(text.len()).any(|here| here == text.as_bytes())
    };
    for page in bytes.chunks_mut(4_096) {
        // Two rooms may share one, which is both rooms' loss.
        if has(page, "coffee") && !has(page, "tea") && !has(page, "cocoa") {
            // No page is of this type.
            page[0] = 0xff;
        }
    }
    fs::write(&file, bytes).unwrap();
    let server = disk.serve(METRICS);
    let mut bob = server.guest("Bob");
    let refused = bob.join("coffee", "{}");
    assert!(refused.contains(r#""reason":"storage""#) && refused.contains("retry_ms"), "{refused}");
    assert!(metric(&server, "chinwag_store_errors_total{code=\"corrupt\"}") > 0);
    until("it is named", || server.log().contains("malformed"));
    for room in ["tea", "cocoa", "milk"] {
        assert!(bob.join(room, "{}").contains(r#""status":"ok""#), "{room}");
        bob.send_raw(&publish(room, 9, "still here"));
        let answer = bob.await_text(r#""9""#);
        assert!(answer.contains(r#""status":"ok""#), "{room}: {answer}");
    }
    assert_eq!(get(&server, "/readyz").0, 200);
}

#[test]
fn a_read_that_fails_within_a_commit_is_no_damage() {
    let disk = Disk::new();
    let server = disk.serve(METRICS);
    let mut room = Room::enter(&server);
    for key in 1..=10 {
        assert_eq!(room.say(key), Answer::Offset(key));
    }
    server.terminate();
    until("it has ended", || has_ended(&server));
    let acked = room.acked;
    let server = disk.serve(METRICS);
    let mut room = Room { acked, ..Room::enter(&server) };
    // The writer has read no page of messages yet.
    disk.rule("read@chat.db:1:EIO:*");
    assert_eq!(room.say(11), Answer::Refused("unconfirmed".to_owned()));
    assert_eq!(metric(&server, "chinwag_store_state{state=\"failing\"}"), 1);
    // As often as it is tried again.
    let errors = || metric(&server, "chinwag_store_errors_total{code=\"io\"}");
    until("it is tried again", || errors() > 3);
    assert_eq!(metric(&server, "chinwag_store_state{state=\"failing\"}"), 1, "{}", server.log());
    disk.rule("");
    assert_eq!(room.say_until_taken(11), 11);
    assert_eq!(room.say(12), Answer::Offset(12));
    room.check(&disk, server);
}

#[test]
fn a_disk_that_cannot_be_read_refuses_rooms_that_are_not_in_memory_and_no_others() {
    let disk = Disk::new();
    let server = disk.serve(METRICS);
    let mut room = Room::enter(&server);
    for key in 1..=10 {
        assert_eq!(room.say(key), Answer::Offset(key));
    }
    drop(room);
    server.terminate();
    until("it has ended", || has_ended(&server));
    let server = disk.serve(METRICS);
    let mut lobby = server.guest("Ann");
    assert!(lobby.join("lobby", "{}").contains(r#""status":"ok""#));
    disk.rule("read@chat.db:1:EIO:*");
    let refused = server.guest("Bob").join("tea", "{}");
    assert!(refused.contains(r#""reason":"storage""#) && refused.contains("retry_ms"), "{refused}");
    assert!(server.guest("Bob").join("lobby", "{}").contains(r#""status":"ok""#));
    disk.rule("");
    until("it can be read again", || {
        let joined = server.guest("Bob").join("tea", "{}");
        joined.contains(r#""body":"m10""#)
    });
}

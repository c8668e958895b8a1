//! A store with many rooms: a server that starts with it serves at once, reads a room when somebody
//! joins it, and has no more in memory than it may.

use std::env;
use std::io::{BufWriter, Write};
use std::process::{Command, Stdio};

use crate::peer::ask;
use crate::server::{Server, until};
use crate::store::{Folder, messages};

/// How many rooms there are, unless `LARGE_ROOMS` says so.
const ROOMS: usize = 2_000;

/// How many messages each has.
const EACH: usize = 10;

/// So many that they are not listed before somebody has joined.
const MANY: usize = 100_000;

/// How many rooms may be in memory, and how many are joined.
const IN_MEMORY: usize = 50;
const JOINED: usize = 200;

fn name(room: usize) -> String {
    format!("room-{room}")
}

fn body(room: usize, offset: usize) -> String {
    format!("message {offset} of {room}, {}", "and some words more ".repeat(8))
}

/// Fills a store as an export says.
fn fill(folder: &Folder, rooms: usize) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chinwag"));
    command.env_clear().args(["import", "--set", &folder.setting()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it begins");
    let mut out = BufWriter::new(child.stdin.take().expect("a pipe"));
    let mut put = |line: String| writeln!(out, "{line}").expect("it is read");
    put(r#"{"kind":"chinwag","format":1}"#.to_owned());
    for room in 0..rooms {
        let of = format!(r#""room":"{}""#, name(room));
        let stands = format!(r#""floor":0,"last":{EACH},"last_change":0,"changed_floor":0"#);
        put(format!(r#"{{"kind":"room",{of},"title":"","founded":0,"created_at":1,{stands}}}"#));
        let epoch = format!("{:016x}", room + 1);
        put(format!(
            r#"{{"kind":"era",{of},"first":1,"first_change":1,"epoch":"{epoch}","life":1}}"#
        ));
        for offset in 1..=EACH {
            let said = format!(r#""user":"u","name":"Ann","body":"{}""#, body(room, offset));
            let at = format!(r#""offset":{offset},"id":"{epoch}-{offset}","at":{offset}"#);
            put(format!(r#"{{"kind":"message",{of},{at},{said}}}"#));
        }
    }
    put(format!(r#"{{"kind":"end","rooms":{rooms},"messages":{}}}"#, rooms * EACH));
    drop(out);
    assert!(child.wait().expect("it ends").success());
}

fn metric(server: &Server, name: &str) -> usize {
    let metrics = ask(server, b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.expect(name).parse().expect("a number")
}

/// Whether all rooms are in the list.
fn is_listed(server: &Server, rooms: usize) -> bool {
    let answer = ask(server, b"GET /api/rooms?limit=1 HTTP/1.1\r\nhost: localhost\r\n\r\n");
    answer.body.contains(&format!(r#""total":{rooms}"#))
}

#[test]
fn a_server_with_many_rooms_on_disk_serves_at_once_and_reads_those_that_are_joined() {
    let rooms = env::var("LARGE_ROOMS").map_or(ROOMS, |count| count.parse().expect("a number"));
    let folder = Folder::new();
    fill(&folder, rooms);
    let in_memory = format!("limits.rooms={IN_MEMORY}");
    let server = Server::start(&[
        &folder.setting(),
        &in_memory,
        "shards=2",
        "limits.join_per_s=0",
        "http.metrics=true",
    ]);
    let mut ann = server.guest("Ann");
    // The list may not be there yet, and nobody waits for it.
    for joined in 0..JOINED {
        // All over the file.
        let room = joined * 7_919 % rooms;
        let answer = ann.join(&name(room), "{}");
        let there = messages(&answer);
        let said = (1..=EACH).map(|offset| (offset as u64, body(room, offset)));
        assert!(there.into_iter().eq(said), "{answer}");
        if joined == 0 && rooms >= MANY {
            assert!(!is_listed(&server, rooms), "nobody waits for the list");
        }
        ann.send(&format!(r#"["1","l{joined}","room:{}","phx_leave",{{}}]"#, name(room)));
        ann.await_text(&format!(r#""l{joined}""#));
    }
    assert!(metric(&server, "chinwag_rooms") <= IN_MEMORY);
    let loaded = metric(&server, r#"chinwag_store_reads_total{kind="room"}"#);
    assert!((JOINED..JOINED + IN_MEMORY).contains(&loaded), "{loaded} of {rooms} were read");
    // In the end all of them are listed.
    until("the list is whole", || is_listed(&server, rooms));
    // Pages of the database, the list on each shard, and the program: not what was said.
    let (most, there) = (96 * 1_024 * 1_024 + rooms as u64 * 500, server.resident_bytes());
    assert!(there < most, "{there} bytes for {rooms} rooms");
    server.kill();
}

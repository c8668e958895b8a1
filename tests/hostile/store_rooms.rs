//! Rooms on disk, as a list: after any end they are there with their titles, over HTTP and in the
//! lobby, before anybody joins them. And what the modes of the store promise.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::peer::{Answer, Peer, ask, number, text};
use crate::server::{PATIENCE, Server, until};
use crate::store::Folder;

/// The rooms that are listed, by name: title and how many are present.
type Rooms = BTreeMap<String, (String, u64)>;

fn serve(folder: &Folder, settings: &[&str]) -> Server {
    let path = format!("store.path={}", folder.0.display());
    let common = [&*path, "shards=2", "limits.join_per_s=0", "limits.publish_per_s=0"];
    Server::start(&[&common[..], settings].concat())
}

fn found(server: &Server, token: &str, room: &str, title: &str) -> Answer {
    let body = format!(r#"{{"room":"{room}","title":"{title}"}}"#);
    let length = body.len();
    let request = format!(
        "POST /api/rooms HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    ask(server, request.as_bytes())
}

fn read(rooms: &Value) -> Rooms {
    let one = |room: &Value| {
        let text = |name: &str| room[name].as_str().expect("text").to_owned();
        (text("room"), (text("title"), room["members"].as_u64().expect("a count")))
    };
    rooms.as_array().expect("a list").iter().map(one).collect()
}

fn over_http(server: &Server) -> Rooms {
    let answer = ask(server, b"GET /api/rooms?limit=100 HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let body: Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!(body["more"], false, "{body}");
    read(&body["rooms"])
}

/// What a member of the lobby has been told, from its join on.
struct Lobby {
    peer: Peer,
    rooms: Rooms,
}

impl Lobby {
    fn join(server: &Server, token: &str) -> Self {
        let mut peer = Peer::open(server, token);
        peer.send(r#"["1","1","lobby","phx_join",{}]"#);
        let answer: Value = serde_json::from_str(&peer.await_text("phx_reply")).expect("JSON");
        let rooms = read(&answer[4]["response"]["rooms"]);
        Self { peer, rooms }
    }

    /// Reads on until this is what there is.
    fn await_rooms(&mut self, expected: &Rooms) {
        while self.rooms != *expected {
            let text = self.peer.await_text(r#""lobby","rooms""#);
            let changes: Value = serde_json::from_str(&text).expect("JSON");
            self.rooms.extend(read(&changes[4]["changed"]));
            for gone in changes[4]["removed"].as_array().expect("a list") {
                self.rooms.remove(gone.as_str().expect("a name"));
            }
        }
    }
}

/// Rooms that are founded, rooms in which something is said, and one in which nothing is.
fn fill(server: &Server, token: &str) -> Rooms {
    let mut rooms = Rooms::new();
    for count in 0..20 {
        let (room, title) = (format!("founded-{count}"), format!("Title {count} \u{e9}"));
        let answer = found(server, token, &room, &title);
        assert_eq!(answer.status, 201, "{answer:?}");
        rooms.insert(room, (title, 0));
    }
    let mut peer = Peer::open(server, token);
    for count in 0..10 {
        let room = format!("spoken-{count}");
        assert!(peer.join(&room, r#"{"presence":false}"#).contains(r#""status":"ok""#));
        say(&mut peer, &room, "hello");
        rooms.insert(room.clone(), (room, 0));
    }
    assert!(peer.join("silent", "{}").contains(r#""status":"ok""#));
    // In a founded one, too: its title stays.
    assert!(peer.join("founded-3", r#"{"presence":false}"#).contains(r#""status":"ok""#));
    say(&mut peer, "founded-3", "hello");
    rooms
}

fn say(peer: &mut Peer, room: &str, body: &str) {
    let payload = format!(r#"{{"body":"{body}"}}"#);
    peer.send_raw(&text(&format!(r#"["1","2","room:{room}","new_msg",{payload}]"#)));
    let answer = peer.await_text("phx_reply");
    assert!(answer.contains(r#""status":"ok""#), "{answer}");
}

/// All that was there is there, before anybody joins.
fn check(server: &Server, token: &str, expected: &Rooms) {
    let mut lobby = Lobby::join(server, token);
    lobby.await_rooms(expected);
    until("the list is as it was", || over_http(server) == *expected);
    // A room that is not loaded is there, and keeps its title.
    let again = found(server, token, "founded-7", "Another title");
    assert_eq!(again.status, 200, "{again:?}");
    assert!(again.body.contains("Title 7"), "{again:?}");
    let mut peer = Peer::open(server, token);
    let answer = peer.join("founded-3", r#"{"presence":false}"#);
    assert!(answer.contains(r#""title":"Title 3"#) && answer.contains("hello"), "{answer}");
    assert_eq!(number(&answer, "offset"), 1);
    drop(peer);
    until("nobody is in it", || over_http(server) == *expected);
    lobby.await_rooms(expected);
}

fn orderly(server: Server) {
    server.terminate();
    let (status, log) = server.wait(PATIENCE + Duration::from_secs(30));
    assert_eq!(status.code(), Some(0), "{log}");
}

/// Fills, ends without and with order, and looks each time.
fn survives(settings: &[&str]) {
    let folder = Folder::new();
    let server = serve(&folder, settings);
    let token = server.token("Ann");
    let expected = fill(&server, &token);
    if settings.iter().any(|setting| setting.starts_with("store.ack=accept")) {
        // What `kill -9` may lose is 50 ms: all of it is there before anybody asks.
        orderly(server);
    } else {
        server.kill();
    }
    let server = serve(&folder, settings);
    check(&server, &token, &expected);
    orderly(server);
    let server = serve(&folder, settings);
    check(&server, &token, &expected);
}

#[test]
fn rooms_and_titles_are_there_after_kill_9_and_after_an_orderly_stop() {
    survives(&[]);
}

#[test]
fn so_they_are_where_delivery_waits_for_the_commit() {
    survives(&["store.deliver=after_commit"]);
}

#[test]
fn so_they_are_where_answers_do_not_wait_after_an_orderly_stop() {
    survives(&["store.ack=accept_may_lose_1s"]);
}

#[test]
fn where_answers_do_not_wait_kill_9_loses_nothing_of_a_second_ago() {
    let folder = Folder::new();
    let settings = ["store.ack=accept_may_lose_1s", "http.metrics=true"];
    let server = serve(&folder, &settings);
    let token = server.token("Ann");
    let mut peer = Peer::open(&server, &token);
    peer.join("tea", r#"{"presence":false}"#);
    for count in 0..50 {
        say(&mut peer, "tea", &format!("m{count}"));
    }
    until("all of it is committed", || {
        let metrics = ask(&server, b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").body;
        metrics.lines().any(|line| line == "chinwag_store_batch_messages_sum 50")
    });
    server.kill();
    let server = serve(&folder, &settings);
    let answer = Peer::open(&server, &token).join("tea", r#"{"presence":false}"#);
    assert_eq!(number(&answer, "offset"), 50, "{answer}");
}

#[test]
fn where_delivery_waits_everybody_has_the_same_in_the_same_order() {
    let folder = Folder::new();
    let server = serve(&folder, &["store.deliver=after_commit"]);
    let token = server.token("Ann");
    let mut peers: Vec<Peer> = (0..3).map(|_| Peer::open(&server, &token)).collect();
    for peer in &mut peers {
        assert!(peer.join("tea", r#"{"presence":false}"#).contains(r#""status":"ok""#));
    }
    // Many under way at once, of two who speak at the same time.
    for count in 0..100 {
        for peer in &mut peers[..2] {
            let payload = format!(r#"{{"body":"m{count}"}}"#);
            let message = format!(r#"["1","{count}","room:tea","new_msg",{payload}]"#);
            peer.send_raw(&text(&message));
        }
    }
    let heard: Vec<Vec<String>> = peers
        .iter_mut()
        .map(|peer| (0..200).map(|_| peer.await_text(r#""new_msg""#)).collect())
        .collect();
    let offsets: Vec<u64> = heard[0].iter().map(|text| number(text, "offset")).collect();
    assert_eq!(offsets, (1..=200).collect::<Vec<_>>());
    assert_eq!(heard[0], heard[1]);
    assert_eq!(heard[0], heard[2]);
}

#[test]
fn past_as_many_rooms_as_may_be_kept_no_new_one_is_made() {
    let folder = Folder::new();
    let server = serve(&folder, &["store.rooms=3"]);
    let token = server.token("Ann");
    for room in ["a", "b", "c"] {
        assert_eq!(found(&server, &token, room, "T").status, 201);
    }
    let refused = found(&server, &token, "d", "T");
    assert_eq!(refused.status, 503);
    assert!(refused.body.contains("too_many_rooms"), "{refused:?}");
    let mut peer = Peer::open(&server, &token);
    let answer = peer.join("d", "{}");
    assert!(answer.contains("too_many_rooms"), "{answer}");
    assert_eq!(found(&server, &token, "a", "T").status, 200);
}

#[test]
fn who_joins_a_room_that_is_kept_makes_none() {
    let folder = Folder::new();
    let server = serve(&folder, &[]);
    let token = server.token("Ann");
    for count in 0..5 {
        assert_eq!(found(&server, &token, &format!("r{count}"), "T").status, 201);
    }
    server.kill();
    let server = serve(&folder, &["limits.rooms_per_s=1", "limits.rooms_burst=1"]);
    let mut peer = Peer::open(&server, &token);
    for count in 0..5 {
        let answer = peer.join(&format!("r{count}"), r#"{"presence":false}"#);
        assert!(answer.contains(r#""status":"ok""#), "{answer}");
    }
    let joins = ["new-0", "new-1"].map(|room| peer.join(room, r#"{"presence":false}"#));
    let refused = joins.iter().filter(|answer| answer.contains("limits.rooms_per_s")).count();
    assert_eq!(refused, 1, "{joins:?}");
}

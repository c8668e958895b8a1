//! A shard panics: its connections are told, the others go on, and nothing of its old life is left.

use std::io::Write;
use std::net::TcpStream;

use chinwag::limits::RESTARTS_MAX;

use crate::metrics::value;
use crate::peer::{Peer, TEXT, ask, connect, frame, join, number, publish, text, upgrade};
use crate::server::{PATIENCE, Server, until};

const MEMBERS: usize = 40;
const ROOMS: usize = 6;

/// What became of a member of all rooms.
enum Fate {
    /// Its own shard panicked.
    Closed,
    /// These rooms' home did.
    Lost(Vec<usize>),
}

#[test]
fn a_shard_that_panics_begins_anew_and_the_others_go_on() {
    let server = Server::start(&[
        "shards=2",
        "echo=true",
        "http.metrics=true",
        "limits.join_per_s=0",
        "limits.rooms_per_s=0",
        "limits.join_burst=1000",
    ]);
    let token = server.token("Ann");
    let mut members: Vec<Peer> = (0..MEMBERS).map(|_| enter(&server, &token)).collect();
    let mut closed = 0;
    for panics in 1..=4 {
        // Some are on their way in and out at that very moment.
        let mut restless: Vec<Peer> = (0..20).map(|_| Peer::open(&server, &token)).collect();
        for (number, peer) in restless.iter_mut().enumerate() {
            let room = format!("room-{}", number % ROOMS);
            let leave = text(&format!(r#"["1","2","room:{room}","phx_leave",{{}}]"#));
            peer.send_raw(&[join(&room, "{}"), leave].concat().repeat(40));
        }
        let mut bomb = Peer::new(connect(&server));
        bomb.send_raw(upgrade(&token, "").replace("/socket/websocket", "/echo").as_bytes());
        assert_eq!(bomb.answer().status, 101);
        bomb.send_raw(&frame(TEXT, true, b"panic"));
        assert_eq!(bomb.closed().0, 1011);
        drop(restless);
        until("it is counted", || value(&server, "chinwag_restarts_total") == panics);

        // Everybody asks whether they are still there, and is either closed, or answered behind the
        // news.
        let mut survivors = Vec::new();
        let mut lost_rooms: Option<Vec<usize>> = None;
        for mut member in members.drain(..) {
            match fate(&mut member) {
                Fate::Closed => closed += 1,
                Fate::Lost(rooms) => {
                    assert!(
                        lost_rooms.get_or_insert_with(|| rooms.clone()) == &rooms,
                        "all lose the same"
                    );
                    for room in rooms {
                        let answer = member.join(&format!("room-{room}"), "{}");
                        assert!(answer.contains("\"ok\""), "{answer}");
                    }
                    survivors.push(member);
                }
            }
        }
        assert!(!survivors.is_empty(), "the other shard goes on");
        // Once all have found their way to the other shard, none may be closed.
        assert!(closed > 0, "who was on the shard is closed");
        let lost = lost_rooms.unwrap();
        assert!(
            !lost.is_empty() && lost.len() < ROOMS,
            "both shards are home to some of the rooms: {lost:?}"
        );
        members = survivors;
        while members.len() < MEMBERS {
            members.push(enter(&server, &token));
        }
        // Nobody is there twice, and none of those who were closed.
        for room in 0..ROOMS {
            until("there are no ghosts", || {
                let answer = ask(&server, b"GET /api/rooms HTTP/1.1\r\nHost: localhost\r\n\r\n");
                let listing = answer
                    .body
                    .split('{')
                    .find(|listing| listing.contains(&format!("\"room-{room}\"")));
                listing.is_some_and(|listing| number(listing, "members") == MEMBERS as u64)
            });
            members[0].send_raw(&publish(
                &format!("room-{room}"),
                7,
                &format!("{panics} in {room}"),
            ));
            for member in &mut members {
                let heard = member.await_text(&format!("\"{panics} in {room}\""));
                // Rooms that live on count on; the others begin again.
                let offset = number(&heard, "offset");
                assert!(offset <= panics && (offset == 1 || !lost.contains(&room)), "{heard}");
            }
        }
    }
    let log = server.log();
    assert!(log.contains("as asked") && log.lines().all(|line| line.starts_with("time=")), "{log}");
    drop(members);
    server.terminate();
    assert_eq!(server.wait(PATIENCE).0.code(), Some(0));
}

fn enter(server: &Server, token: &str) -> Peer {
    let mut peer = Peer::open(server, token);
    // Whose first is the lobby stays on the shard that took it in.
    peer.send(r#"["0","0","lobby","phx_join",{}]"#);
    assert!(peer.await_text("phx_reply").contains("\"ok\""));
    for room in 0..ROOMS {
        peer.send_raw(&join(&format!("room-{room}"), "{}"));
    }
    for _ in 0..ROOMS {
        assert!(peer.await_text("phx_reply").contains("\"ok\""));
    }
    peer
}

fn fate(member: &mut Peer) -> Fate {
    // It may have been reset by now.
    let heartbeat = text(r#"[null,"9","phoenix","heartbeat",{}]"#);
    let _ = member.stream.write_all(&heartbeat);
    let mut lost = Vec::new();
    loop {
        match member.frame() {
            Some((TEXT, payload)) => {
                let text = String::from_utf8(payload).unwrap();
                if text.contains("\"phx_error\"") {
                    assert!(text.contains(r#"{"reason":"restarted"}"#), "{text}");
                    let (_, room) = text.split_once("room:room-").unwrap();
                    lost.push(room[..1].parse().unwrap());
                } else if text.starts_with(r#"[null,"9","phoenix""#) {
                    if !lost.is_empty() {
                        lost.sort_unstable();
                        return Fate::Lost(lost);
                    }
                    // The news is on its way between the shards.
                    member.send_raw(&heartbeat);
                }
            }
            Some((_, payload)) => {
                assert_eq!(payload.first_chunk().map(|code| u16::from_be_bytes(*code)), Some(1011));
                return Fate::Closed;
            }
            None => return Fate::Closed,
        }
    }
}

#[test]
fn a_server_of_one_shard_begins_anew_too() {
    let server = Server::start(&["shards=1", "echo=true"]);
    let mut peer = server.guest("Ann");
    peer.join("tea", "{}");
    let mut bomb = Peer::new(connect(&server));
    bomb.send_raw(upgrade("", "").replace("/socket/websocket", "/echo").as_bytes());
    assert_eq!(bomb.answer().status, 101);
    bomb.send_raw(&frame(TEXT, true, b"panic"));
    assert_eq!((bomb.closed().0, peer.closed().0), (1011, 1011));
    let answer = server.guest("Bob").join("tea", "{}");
    assert_eq!((number(&answer, "offset"), number(&answer, "members")), (0, 1));
}

#[test]
fn a_shard_that_panics_again_and_again_ends_the_process_in_order() {
    // Of one shard, so that it is the same one each time; the others would be drained as it is.
    let server = Server::start(&["shards=1", "echo=true"]);
    let ask_for_it = || {
        let mut bomb = Peer::new(connect(&server));
        bomb.send_raw(upgrade("", "").replace("/socket/websocket", "/echo").as_bytes());
        assert_eq!(bomb.answer().status, 101);
        bomb.send_raw(&frame(TEXT, true, b"panic"));
        assert_eq!(bomb.closed().0, 1011);
    };
    for _ in 0..RESTARTS_MAX {
        ask_for_it();
    }
    let answer = server.guest("Ann").join("tea", "{}");
    assert!(answer.contains("\"ok\""), "so often it goes on: {answer}");
    ask_for_it();
    let (status, log) = server.wait(PATIENCE);
    assert_eq!(status.code(), Some(70), "{log}");
    assert!(log.contains("giving up"), "{log}");
}

#[test]
fn when_one_shard_gives_up_the_clients_of_the_others_are_told_to_come_back() {
    let server = Server::start(&["shards=2", "echo=true"]);
    let mut bystanders: Vec<Peer> = (0..40).map(|_| server.guest("Ann")).collect();
    // Whichever shard they reach: of so many, one gets its sixth, and then nobody is let in any
    // more.
    for _ in 0..=2 * RESTARTS_MAX {
        let Ok(stream) = TcpStream::connect(server.address) else { break };
        let mut bomb = Peer::new(stream);
        let sent =
            bomb.stream.write_all(upgrade("", "").replace("/socket/websocket", "/echo").as_bytes());
        if sent.is_err() || bomb.answer_or_end().is_none() {
            break;
        }
        bomb.send_raw(&frame(TEXT, true, b"panic"));
        while bomb.frame().is_some() {}
    }
    for peer in &mut bystanders {
        assert!(
            matches!(peer.closed().0, 1011 | 1012),
            "its own shard panicked, or it is told to come back"
        );
    }
    assert_eq!(server.wait(PATIENCE).0.code(), Some(70));
}

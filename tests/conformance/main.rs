//! Chinwag beside Phoenix, frame by frame: what a recorded client of Phoenix 1.8 said is said to
//! the real server over raw TCP, and what comes back is compared with what Phoenix answered.
//!
//! The files in `cases/` are written like diffs. What has no mark in front is common to both; `-`
//! is Phoenix' alone and `+` Chinwag's, and the line `@@ NAME` above them names the difference.
//! Every one of these stands, with its reason, in the table "Differences from Phoenix" of
//! `docs/protocol.md`, and no other stands there.
//!
//! What is compared is bytes, except where a case says otherwise by a placeholder ([`pattern`]),
//! and except for the headers in [`peer::HEADERS_OF_NO_CONCERN`]. Each case has a server to itself,
//! with one shard and with two, and is played in several rooms, so that their homes and the
//! connections' shards come in all combinations.
//!
//! Deliberately absent: what only the application that was recorded did (events that reply in odd
//! ways, that push, that stop the channel).

mod case;
mod pattern;
mod peer;
mod server;

use std::collections::BTreeSet;

use case::{Case, Step};
use pattern::Bindings;
use peer::Peer;
use server::Server;

/// The rooms that a case is played in: `room:?` in a case becomes one of them after the other. Of
/// two shards each is the home of some.
const ROOMS: [char; 4] = ['a', 'b', 'e', 'i'];

#[test]
fn upgrades_are_answered_as_by_phoenix() {
    play(include_str!("cases/1-connect.txt"));
}

#[test]
fn messages_are_answered_as_by_phoenix() {
    play(include_str!("cases/2-messages.txt"));
}

#[test]
fn messages_in_one_write_are_answered_as_by_phoenix() {
    play(include_str!("cases/2b-bursts.txt"));
}

#[test]
fn connections_end_as_with_phoenix() {
    play(include_str!("cases/2c-closes.txt"));
}

#[test]
fn presence_is_told_as_by_phoenix() {
    play(include_str!("cases/3-presence.txt"));
}

#[test]
fn binary_messages_are_as_phoenix_has_them() {
    play(include_str!("cases/4-binary.txt"));
}

#[test]
fn version_1_is_as_phoenix_has_it() {
    play(include_str!("cases/5-v1.txt"));
}

#[test]
fn long_polling_is_as_phoenix_has_it() {
    play(include_str!("cases/6-longpoll.txt"));
}

#[test]
fn every_difference_is_documented_and_no_other() {
    let shown: BTreeSet<_> = [
        include_str!("cases/1-connect.txt"),
        include_str!("cases/2-messages.txt"),
        include_str!("cases/2b-bursts.txt"),
        include_str!("cases/2c-closes.txt"),
        include_str!("cases/3-presence.txt"),
        include_str!("cases/4-binary.txt"),
        include_str!("cases/5-v1.txt"),
        include_str!("cases/6-longpoll.txt"),
    ]
    .into_iter()
    .flat_map(str::lines)
    .filter_map(|line| line.strip_prefix("@@ "))
    .collect();
    let told: BTreeSet<_> = include_str!("../../docs/protocol.md")
        .split_once("## 6. Differences from Phoenix")
        .expect("docs/protocol.md has the section")
        .1
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name))
        .collect();
    assert_eq!(shown, told, "left: in the cases; right: in docs/protocol.md");
}

/// Plays the cases of a file against servers of one and of two shards.
#[track_caller]
fn play(file: &str) {
    let cases = case::parse(file);
    assert!(!cases.is_empty());
    let mut wrong = Vec::new();
    for shards in [1, 2] {
        for case in &cases {
            let server = Server::start(shards, &case.settings);
            let rooms = if case.once { &ROOMS[..1] } else { &ROOMS };
            let played = rooms.iter().try_for_each(|room| {
                Stage::new(&server, *room)
                    .play(case)
                    .map_err(|message| format!("in room:{room}, {message}"))
            });
            if let Err(message) = played {
                wrong.push(format!("### {}\nwith {shards} shards, {message}\n", case.title));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} cases are not as they should be:\n\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// One performance of a case.
struct Stage<'a> {
    server: &'a Server,
    room: char,
    peers: Vec<(String, Peer)>,
    bindings: Bindings,
}

impl<'a> Stage<'a> {
    fn new(server: &'a Server, room: char) -> Self {
        Self { server, room, peers: Vec::new(), bindings: Bindings::default() }
    }

    fn play(mut self, case: &Case) -> Result<(), String> {
        for (number, step) in &case.steps {
            self.step(step).map_err(|message| format!("line {number}: {message}"))?;
        }
        for (name, peer) in &mut self.peers {
            peer.expect_quiet()
                .map_err(|message| format!("at the end, {name:?} was told more: {message}"))?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Send { to, messages } => {
                let mut bytes = Vec::new();
                for message in messages {
                    message.encode(&mut bytes, |text| self.fill(text));
                }
                let is_http = messages[0].is_http();
                self.peer(to, is_http)?.send(&bytes)
            }
            Step::Expect { from, lines } => {
                let mut expected: Vec<_> = lines.iter().map(|line| self.in_room(line)).collect();
                let is_http = expected[0].starts_with("HTTP/");
                if is_http {
                    peer::sort_headers(&mut expected);
                }
                let seen = self.peer(from, is_http)?.next(is_http)?;
                self.bindings.compare(&expected.join("\n"), &seen)
            }
            Step::Quiet { by } => self.peer(by, false)?.expect_quiet(),
            Step::Drop { who } => {
                self.peers.retain(|(name, _)| name != who);
                Ok(())
            }
            Step::Stop => {
                self.server.terminate();
                Ok(())
            }
        }
    }

    /// The peer of this name; made, and for anything but HTTP made a WebSocket, when it is first
    /// named.
    fn peer(&mut self, name: &str, is_http: bool) -> Result<&mut Peer, String> {
        if let Some(at) = self.peers.iter().position(|(known, _)| known == name) {
            return Ok(&mut self.peers[at].1);
        }
        let mut peer = Peer::connect(self.server.port);
        if !is_http {
            let (user, vsn) = match name {
                "" | "A" => ("alice", "&vsn=2.0.0"),
                "B" | "C" => ("bob", "&vsn=2.0.0"),
                "V1" => ("v1", "&vsn=1.0.0"),
                _ => return Err(format!("nobody knows who {name:?} is")),
            };
            peer.upgrade(server::token(user), vsn)?;
        }
        self.peers.push((name.to_owned(), peer));
        let at = self.peers.len() - 1;
        Ok(&mut self.peers[at].1)
    }

    /// `room:?`, as text or in hexadecimal.
    fn in_room(&self, text: &str) -> String {
        let hex = |room: char| format!("72 6f 6f 6d 3a {:02x}", u32::from(room));
        text.replace("room:?", &format!("room:{}", self.room)).replace(&hex('?'), &hex(self.room))
    }

    /// What is sent, with tokens and what has been bound before in it.
    fn fill(&self, text: &str) -> String {
        let mut text = self.bindings.fill(&self.in_room(text));
        for user in server::USERS {
            let token = server::token(user);
            let base64 = data_encoding::BASE64.encode(token.as_bytes());
            text = text
                .replace(&format!("<{user}>"), token)
                .replace(&format!("<{user} base64>"), base64.trim_end_matches('='))
                .replace(&format!("<{user} padded base64>"), &base64);
        }
        text
    }
}

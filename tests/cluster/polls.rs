//! Sessions of long polling that are asked for at another node than the one that they live at.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::faults::{engine, say_at_last};
use crate::nodes::{Client, metric, node, nodes};
use crate::peer::{self, Peer};
use crate::server::{Server, until};
use crate::servers::{KINDS, Kind};

/// A client that polls, in the room `tea`.
struct Polling {
    token: String,
    /// What it has been told.
    heard: Vec<Value>,
}

impl Polling {
    /// Begins a session at a node.
    fn begin(node: &Server, name: &str) -> Self {
        let path = format!("/socket/longpoll?vsn=2.0.0&token={}", node.token(name));
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = read(&peer::ask(node, request.as_bytes()).body);
        assert_eq!(answer["status"], 410, "a new session: {answer}");
        Self { token: answer["token"].as_str().expect("a token").to_owned(), heard: Vec::new() }
    }

    /// The same, as a member of the room, which it asks for at other nodes in turn.
    fn join(home: &Server, others: &[Server], name: &str) -> Self {
        let mut session = Self::begin(home, name);
        let join = r#"["1","1","room:tea","phx_join",{}]"#;
        assert_eq!(session.post(others.last().expect("a node"), &[join]), 200);
        let joined = session.hear(others, |message| message[1] == "1");
        assert_eq!(joined[4]["status"], "ok", "{joined}");
        session
    }

    fn request(&self, method: &str, headers: &str, body: &str) -> String {
        format!(
            "{method} /socket/longpoll?vsn=2.0.0 HTTP/1.1\r\nHost: localhost\r\n\
             X-Phoenix-LongPoll-Token: {}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        )
    }

    /// Asks for what there is, without waiting for it.
    fn ask(&self, node: &Server) -> Peer {
        let mut peer = Peer::new(peer::connect(node));
        peer.send_raw(self.request("GET", "", "").as_bytes());
        peer
    }

    /// Takes the answer to a poll. Returns its status.
    fn take(&mut self, mut peer: Peer) -> u64 {
        let answer = read(&peer.answer().body);
        if let Some(token) = answer["token"].as_str() {
            token.clone_into(&mut self.token);
        }
        let messages = answer["messages"].as_array().into_iter().flatten();
        self.heard.extend(messages.map(|message| read(message.as_str().expect("text"))));
        answer["status"].as_u64().expect("a status")
    }

    fn poll(&mut self, node: &Server) -> u64 {
        self.take(self.ask(node))
    }

    /// Posts messages together. Returns the status.
    fn post(&self, node: &Server, messages: &[&str]) -> u64 {
        let headers = "Content-Type: application/x-ndjson\r\n";
        let request = self.request("POST", headers, &messages.join("\n"));
        read(&peer::ask(node, request.as_bytes()).body)["status"].as_u64().expect("a status")
    }

    /// Polls at these nodes in turn until something is heard.
    fn hear(&mut self, nodes: &[Server], is_it: impl Fn(&Value) -> bool) -> Value {
        for node in nodes.iter().cycle() {
            if let Some(message) = self.heard.iter().find(|message| is_it(message)) {
                return message.clone();
            }
            let status = self.poll(node);
            assert!([200, 204].contains(&status), "{status}");
        }
        unreachable!("there is a node")
    }

    /// The bodies that it has heard, up to this one.
    fn hear_until(&mut self, nodes: &[Server], body: &str) -> Vec<String> {
        let is_said = |message: &Value| message[3] == "new_msg";
        self.hear(nodes, |message| is_said(message) && message[4]["body"] == body);
        let said = self.heard.iter().filter(|message| is_said(message));
        said.map(|message| message[4]["body"].as_str().expect("a body").to_owned()).collect()
    }
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// How many requests for sessions elsewhere wait at a node.
fn passing(node: &Server) -> u64 {
    metric(node, "engine_passing")
}

fn said(reference: usize, body: &str) -> String {
    format!(r#"["1","{reference}","room:tea","new_msg",{{"body":"{body}"}}]"#)
}

#[test]
fn a_session_is_polled_and_posted_to_at_any_node() {
    for kind in KINDS {
        let engine = engine(kind);
        let nodes = nodes(&engine, 3, &[]);
        let mut ann = Polling::join(&nodes[0], &nodes, "ann");
        let mut bob = Client::join(&nodes[1], "bob", "tea", &json!({}));
        let mut expected = Vec::new();
        for round in 0..6 {
            let body = format!("bob-{round}");
            bob.say(&body);
            // Some of it in bodies that are longer than an answer to a poll.
            let long = "x".repeat(if round % 2 == 0 { 1 } else { 2_000 });
            let bodies: Vec<_> = (0..40).map(|n| format!("ann-{round}-{n}-{long}")).collect();
            let messages: Vec<_> =
                bodies.iter().enumerate().map(|(n, body)| said(10 + n, body)).collect();
            let messages: Vec<_> = messages.iter().map(String::as_str).collect();
            assert_eq!(ann.post(&nodes[round % 3], &messages), 200);
            let last = bodies.last().expect("some").clone();
            expected.extend([body].into_iter().chain(bodies));
            assert_eq!(ann.hear_until(&nodes, &last), expected, "{kind:?}: in order, and once");
            bob.hear_until(&last);
        }
    }
}

#[test]
fn a_poll_that_waits_at_another_node_is_answered_and_gives_way_to_the_next() {
    let engine = engine(Kind::Redis);
    let nodes = nodes(&engine, 2, &["http.metrics=true"]);
    let mut ann = Polling::join(&nodes[0], &nodes, "ann");
    let mut bob = Client::join(&nodes[0], "bob", "tea", &json!({}));
    // From then on nothing is said.
    ann.hear(&nodes, |message| message.to_string().contains("bob"));
    let first = ann.ask(&nodes[1]);
    until("it is passed on", || passing(&nodes[1]) == 1);
    let second = ann.ask(&nodes[1]);
    assert_eq!(ann.take(first), 204);
    assert_eq!(passing(&nodes[1]), 1, "the other one waits");
    bob.say("hello");
    assert_eq!(ann.take(second), 200);
    assert_eq!(ann.hear_until(&nodes, "hello"), ["hello"]);
    until("none waits", || passing(&nodes[1]) == 0);
}

#[test]
fn an_answer_that_was_lost_ends_its_session_at_whichever_node_that_shows() {
    let engine = engine(Kind::Valkey);
    let nodes = nodes(&engine, 2, &[]);
    let mut ann = Polling::join(&nodes[0], &nodes, "ann");
    let before = ann.token.clone();
    ann.post(&nodes[1], &[&said(2, "hello")]);
    ann.hear_until(&nodes, "hello");
    let late = Polling { token: before, heard: Vec::new() };
    let status = |of: &Polling, node| read(&of.ask(node).answer().body)["status"].as_u64();
    assert_eq!(status(&late, &nodes[1]), Some(500), "it lacks an answer");
    for node in &nodes {
        assert_eq!(ann.post(node, &[&said(3, "more")]), 410, "so nobody goes on");
        assert_eq!(status(&ann, node), Some(500));
    }
}

#[test]
fn a_token_that_no_node_has_signed_is_of_no_session() {
    let engine = engine(Kind::Redis);
    let nodes = nodes(&engine, 2, &[]);
    let ann = Polling::join(&nodes[0], &nodes, "ann");
    // The node's number, and the signature.
    for at in [45, 60, 93] {
        let other = if &ann.token[at..=at] == "A" { "B" } else { "A" };
        let token = [&ann.token[..at], other, &ann.token[at + 1..]].concat();
        let mut forged = Polling { token, heard: Vec::new() };
        assert_eq!(forged.post(&nodes[1], &[&said(2, "no")]), 410);
        assert_eq!(forged.poll(&nodes[1]), 500);
    }
    assert_eq!(ann.post(&nodes[1], &[&said(2, "yes")]), 200);
}

#[test]
fn the_sessions_of_a_node_that_dies_are_gone_at_the_others_in_their_time() {
    let engine = engine(Kind::Redis);
    let [home, other] = [(); 2].map(|()| node(&engine.url(), &[]));
    let other = [other];
    let mut ann = Polling::join(&home, &other, "ann");
    let mut cyd = Polling::join(&home, &other, "cyd");
    while cyd.heard.len() < 4 {
        cyd.poll(&other[0]);
    }
    let waits = ann.ask(&other[0]);
    let since = Instant::now();
    home.kill();
    until("it is known to be gone", || {
        let status = cyd.post(&other[0], &[&said(2, "hello")]);
        // It may have been heard by who was just killed.
        assert!([410, 500, 503].contains(&status), "{status}");
        status == 410
    });
    assert_eq!(cyd.poll(&other[0]), 500);
    // It may have been answered before: then the next one is told.
    let mut status = ann.take(waits);
    while status == 200 {
        status = ann.poll(&other[0]);
    }
    assert_eq!(status, 500);
    assert!(since.elapsed() < Duration::from_secs(8), "a lease and a heartbeat, not a poll's time");
    // And begins anew.
    Polling::join(&other[0], &other, "ann");
}

#[test]
fn a_node_that_stops_ends_the_polls_that_wait_elsewhere() {
    let engine = engine(Kind::Redis);
    let [home, other] = [(); 2].map(|()| node(&engine.url(), &["drain_s=0"]));
    let other = [other];
    let mut ann = Polling::join(&home, &other, "ann");
    let waits = ann.ask(&other[0]);
    let since = Instant::now();
    home.terminate();
    let mut status = ann.take(waits);
    while status == 200 {
        status = ann.poll(&other[0]);
    }
    assert_eq!(status, 500);
    assert!(since.elapsed() < Duration::from_secs(8), "long before a poll's time is over");
}

#[test]
fn a_session_outlives_an_engine_that_goes_for_a_moment() {
    let mut engine = engine(Kind::Redis);
    let [home, other] = [(); 2].map(|()| node(&engine.url(), &[]));
    let other = [other];
    let mut ann = Polling::join(&home, &other, "ann");
    let mut bob = Client::join(&home, "bob", "tea", &json!({}));
    bob.say("one");
    ann.hear_until(&other, "one");
    let waits = ann.ask(&other[0]);
    engine.kill();
    until("nothing is posted elsewhere", || {
        let status = ann.post(&other[0], &[&said(2, "no")]);
        // It may have been under way.
        assert!([500, 503].contains(&status), "{status}");
        status == 503
    });
    engine.begin_again();
    say_at_last(&mut bob, "two");
    assert!([200, 204].contains(&ann.take(waits)));
    assert_eq!(ann.hear_until(&other, "two"), ["one", "two"], "in the same session");
    assert_eq!(ann.post(&other[0], &[&said(3, "three")]), 200);
    assert_eq!(ann.hear_until(&other, "three"), ["one", "two", "three"]);
}

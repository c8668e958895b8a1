//! Nodes of one cluster, and what a client says and hears at them.

use serde_json::{Value, json};

use crate::peer::{Peer, ask};
use crate::server::{Server, until};
use crate::servers;

/// A secret that all nodes have.
pub(crate) const SECRET: &str = "auth.secret=kP9vQ2xW7mZ4tL8sR3nB6yH1cJ5dF0gA-uEoIiKqXw2";

/// Starts nodes with one engine.
pub(crate) fn nodes(engine: &servers::Server, count: usize, settings: &[&str]) -> Vec<Server> {
    (0..count).map(|_| node(&engine.url(), settings)).collect()
}

/// Starts a node.
pub(crate) fn node(url: &str, settings: &[&str]) -> Server {
    let url = format!("engine.url={url}");
    let common = [
        &*url,
        SECRET,
        "auth.guests=true",
        "shards=2",
        "limits.publish_per_s=0",
        "limits.join_per_s=0",
        "cluster.lease_ms=1500",
        "cluster.heartbeat_ms=200",
        "presence.tick_ms=50",
    ];
    Server::start(&[&common[..], settings].concat())
}

/// Ann at one node and Bob at another, who have said and heard `one` in one room.
pub(crate) fn two_who_have_spoken(nodes: &[Server; 2]) -> (Client, Client) {
    let mut ann = Client::join(&nodes[0], "ann", "tea", &json!({}));
    let mut bob = Client::join(&nodes[1], "bob", "tea", &json!({}));
    ann.say("one");
    bob.hear_until("one");
    (ann, bob)
}

/// A number that a node counts; it must be told to have them.
pub(crate) fn metric(node: &Server, name: &str) -> u64 {
    let metrics = ask(node, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").body;
    let series = format!("chinwag_{name} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&series));
    value.expect("it is measured").parse().expect("a number")
}

/// A client in one room.
pub(crate) struct Client {
    peer: Peer,
    room: String,
    reference: u64,
    /// The answer to its join.
    pub(crate) joined: Value,
}

impl Client {
    /// Joins a room as a guest.
    pub(crate) fn join(node: &Server, name: &str, room: &str, params: &Value) -> Self {
        Self::join_as(node, &node.token(name), room, params)
    }

    /// The answer to a join with a token.
    pub(crate) fn try_join(node: &Server, token: &str, room: &str) -> Value {
        read(&Peer::open(node, token).join(room, "{}"))[4].clone()
    }

    /// Joins a room with a token.
    pub(crate) fn join_as(node: &Server, token: &str, room: &str, params: &Value) -> Self {
        let mut peer = Peer::open(node, token);
        let joined = read(&peer.join(room, &params.to_string()));
        let mut client = Self { peer, room: room.to_owned(), reference: 1, joined: Value::Null };
        client.joined = joined[4].clone();
        assert_eq!(client.joined["status"], "ok", "{joined}");
        client
    }

    /// Joins a room as a guest, as soon as its node can open that.
    pub(crate) fn join_at_last(node: &Server, name: &str, room: &str, params: &Value) -> Self {
        let token = node.token(name);
        until("the room can be opened", || {
            let mut peer = Peer::open(node, &token);
            read(&peer.join(room, &params.to_string()))[4]["status"] == "ok"
        });
        Self::join_as(node, &token, room, params)
    }

    /// Pushes an event, and returns the answer's reference.
    pub(crate) fn push(&mut self, event: &str, payload: &Value) -> u64 {
        self.reference += 1;
        let (reference, room) = (self.reference, &self.room);
        self.peer.send(&format!(r#"["1","{reference}","room:{room}","{event}",{payload}]"#));
        reference
    }

    /// Pushes an event, and returns its answer.
    pub(crate) fn ask(&mut self, event: &str, payload: &Value) -> Value {
        let reference = self.push(event, payload);
        self.answer(reference)
    }

    /// The answer with this reference; what is told before is passed over.
    pub(crate) fn answer(&mut self, reference: u64) -> Value {
        let wanted = format!(r#""{reference}","room:{}","phx_reply""#, self.room);
        read(&self.peer.await_text(&wanted))[4].clone()
    }

    /// Says something that is accepted. Returns its offset.
    pub(crate) fn say(&mut self, body: &str) -> u64 {
        let answer = self.ask("new_msg", &json!({ "body": body }));
        assert_eq!(answer["status"], "ok", "{answer}");
        answer["response"]["offset"].as_u64().expect("an offset")
    }

    /// The payload of the next event of this name.
    pub(crate) fn hear(&mut self, event: &str) -> Value {
        read(&self.peer.await_text(&format!("\"{event}\"")))[4].clone()
    }

    /// Waits for one of these events.
    pub(crate) fn hear_any(&mut self, events: &[&str]) {
        let is_one = |text: &str| events.iter().any(|event| text.contains(&format!("\"{event}\"")));
        while !is_one(&self.peer.await_text("")) {}
    }

    /// The messages that are heard until one with this body is, each with its offset.
    pub(crate) fn hear_until(&mut self, body: &str) -> Vec<(u64, String)> {
        let mut heard = Vec::new();
        loop {
            let message = self.hear("new_msg");
            let of = |name: &str| message[name].as_str().expect("text").to_owned();
            heard.push((message["offset"].as_u64().expect("an offset"), of("body")));
            if of("body") == body {
                return heard;
            }
        }
    }

    /// Where it stands by the answer to its join.
    pub(crate) fn cursor(&self, offset: u64, change: u64) -> Value {
        let epoch = &self.joined["response"]["epoch"];
        json!({ "since": { "epoch": epoch, "offset": offset, "change": change } })
    }

    /// Its user's id.
    pub(crate) fn user(&self) -> String {
        self.joined["response"]["you"]["user"].as_str().expect("an id").to_owned()
    }
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

//! Clients that talk, and do what `acts` has, until the server has gone; and note what they were
//! told.

use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use crate::acts::{Act, Said};
use crate::peer::{Peer, TEXT, text};
use crate::server::{Server, until};
use crate::shim::{Notes, has_ended};

/// How many messages of a client are under way at once: some commits are of one message, some of
/// many.
const UNDER_WAY: [usize; 4] = [1, 3, 10, 25];

/// The longest body, in bytes: a message may take several sectors, and pages of its own.
const BODY_BYTES_MAX: u64 = 5_000;

/// A room per client.
pub(crate) const CLIENTS: usize = UNDER_WAY.len();

/// The room of a client.
pub(crate) fn room(client: usize) -> String {
    format!("room-{client}")
}

/// The body of a client's message with this number. Nobody else says the same, and whether it is
/// whole can be seen.
pub(crate) fn body(client: usize, number: u64) -> String {
    let letter = &"abcdefghijklmnopqrstuvwxyz"[usize::try_from(number % 26).unwrap()..][..1];
    let pad = number * number * 37 % if number.is_multiple_of(9) { BODY_BYTES_MAX } else { 300 };
    let pad = letter.repeat(usize::try_from(pad).unwrap());
    format!("{client} {number} {pad}")
}

/// The clients, over the lives of a server.
#[derive(Default)]
pub(crate) struct Load([Client; CLIENTS]);

/// One of them. Its room is its own.
#[derive(Default)]
struct Client {
    /// The number of its last push.
    last: u64,
    token: String,
    said: Said,
}

impl Load {
    /// Talks to a server until all are in and so much is acked, then makes it end, and talks until
    /// it has. What is acked or seen is noted. Returns what is left of it.
    pub(crate) fn run(
        &mut self,
        server: Server,
        notes: &Notes,
        acks_wanted: u32,
        end: impl FnOnce(&Server),
    ) -> Server {
        let come = Come::default();
        for (number, client) in self.0.iter_mut().enumerate() {
            if client.token.is_empty() {
                client.token = server.token("Ann");
                server.found(&client.token, &room(number));
            }
        }
        thread::scope(|scope| {
            for (number, client) in self.0.iter_mut().enumerate() {
                let (peer, come) = (Peer::open(&server, &client.token), &come);
                scope.spawn(move || client.talk(number, peer, notes, come));
            }
            // However this ends: they talk until it has.
            let _ended = Ended(&server);
            until("enough is acked", || come.is_enough(acks_wanted));
            end(&server);
            until("it has ended", || has_ended(&server));
        });
        server
    }
}

/// How far they have come.
#[derive(Default)]
struct Come {
    joined: AtomicUsize,
    acks: AtomicU32,
}

impl Come {
    fn is_enough(&self, acks_wanted: u32) -> bool {
        self.joined.load(Ordering::Relaxed) == CLIENTS
            && self.acks.load(Ordering::Relaxed) >= acks_wanted
    }
}

/// Ends a server when it is dropped.
struct Ended<'a>(&'a Server);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.kill();
    }
}

impl Client {
    fn talk(&mut self, client: usize, mut peer: Peer, notes: &Notes, come: &Come) {
        let mut answer = peer.join(&room(client), r#"{"presence":false,"limit":0}"#);
        // Nobody is let in while the disk does not work: clients try again.
        while answer.contains(r#""reason":"storage""#) {
            answer = peer.join(&room(client), r#"{"presence":false,"limit":0}"#);
        }
        assert!(answer.contains(r#""status":"ok""#), "{answer}");
        come.joined.fetch_add(1, Ordering::Relaxed);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let mut epoch = answer[4]["response"]["epoch"].as_str().unwrap().to_owned();
        // By their numbers; what was said, unless it is an act.
        let mut under_way: HashMap<String, Option<String>> = HashMap::new();
        loop {
            while under_way.len() < UNDER_WAY[client] {
                let (push, said) = self.next(client, notes);
                under_way.insert(self.last.to_string(), said);
                if peer.stream.write_all(&text(&push)).is_err() {
                    break;
                }
            }
            let Some((opcode, payload)) = peer.frame() else { return };
            if opcode != TEXT {
                continue;
            }
            let frame: Value = serde_json::from_slice(&payload).unwrap();
            let (reference, payload) = (&frame[1], &frame[4]);
            match frame[3].as_str().unwrap() {
                "new_msg" => {
                    let (id, body) = (payload["id"].as_str(), payload["body"].as_str());
                    notes.put(&format!("seen {client} {} {}", id.unwrap(), body.unwrap()));
                }
                "msg_changed" => {
                    let (change, offset) = (&payload["change"], &payload["offset"]);
                    notes.put(&format!("told {client} {epoch} {change} {offset}"));
                }
                "room_epoch" => payload["epoch"].as_str().unwrap().clone_into(&mut epoch),
                "phx_reply" => {
                    let number = reference.as_str().unwrap();
                    let said = under_way.remove(number).unwrap();
                    if payload["status"] == "ok" {
                        come.acks.fetch_add(1, Ordering::Relaxed);
                        let response = &payload["response"];
                        let told = if let Some(body) = said {
                            self.said_at(client, response, &body)
                        } else {
                            let change = response["change"].as_u64().unwrap_or_default();
                            format!("did {client} {number} {epoch} {change}")
                        };
                        notes.put(&told);
                    } else {
                        // Nothing is promised then.
                        notes.put(&format!("refused {client} {number}"));
                    }
                }
                _ => {}
            }
        }
    }

    /// The note of a message that was acked: the epoch in which it was said, its offset, its body.
    fn said_at(&mut self, client: usize, response: &Value, body: &str) -> String {
        self.said.acked(response["offset"].as_u64().unwrap());
        format!("ack {client} {} {body}", response["id"].as_str().unwrap())
    }

    /// What comes next: the push, and what is said with it, unless it is an act.
    fn next(&mut self, client: usize, notes: &Notes) -> (String, Option<String>) {
        self.last += 1;
        let (number, room) = (self.last, room(client));
        let (event, payload, said) = if let Some(act) = self.said.act(number) {
            let Act { event, payload, target, state } = act;
            notes.put(&format!("ask {client} {number} {target} {state}"));
            (event, payload, None)
        } else {
            let body = body(client, number);
            ("new_msg", format!(r#"{{"body":"{body}","key":"{number}"}}"#), Some(body))
        };
        (format!(r#"["1","{number}","room:{room}","{event}",{payload}]"#), said)
    }
}

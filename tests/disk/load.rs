//! Clients that talk until the server has gone, and note what they were told.

use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use serde_json::Value;

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
    let letter = char::from(b'a' + u8::try_from(number % 26).unwrap());
    let pad = number * number * 37 % if number.is_multiple_of(9) { BODY_BYTES_MAX } else { 300 };
    let pad: String = std::iter::repeat_n(letter, usize::try_from(pad).unwrap()).collect();
    format!("{client} {number} {pad}")
}

/// What each client will say next, over the lives of a server.
#[derive(Default)]
pub(crate) struct Load {
    next: [u64; CLIENTS],
}

impl Load {
    /// Talks to a server until so much is acked, then makes it end, and talks until it has. What is
    /// acked or seen is noted. Returns what is left of it.
    pub(crate) fn run(
        &mut self,
        server: Server,
        notes: &Notes,
        acks_wanted: u32,
        end: impl FnOnce(&Server),
    ) -> Server {
        let acks = AtomicU32::new(0);
        let tokens: Vec<String> = (0..CLIENTS).map(|_| server.token("Ann")).collect();
        thread::scope(|scope| {
            let clients = self.next.iter_mut().zip(&tokens).enumerate();
            for (client, (next, token)) in clients {
                let (server, acks) = (&server, &acks);
                scope.spawn(move || talk(client, next, Peer::open(server, token), notes, acks));
            }
            // However this ends: they talk until it has.
            let _ended = Ended(&server);
            until("enough is acked", || acks.load(Ordering::Relaxed) >= acks_wanted);
            end(&server);
            until("it has ended", || has_ended(&server));
        });
        server
    }
}

/// Ends a server when it is dropped.
struct Ended<'a>(&'a Server);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.kill();
    }
}

fn talk(client: usize, next: &mut u64, mut peer: Peer, notes: &Notes, acks: &AtomicU32) {
    let room = room(client);
    let answer = peer.join(&room, r#"{"presence":false,"limit":0}"#);
    assert!(answer.contains(r#""status":"ok""#), "{answer}");
    let mut under_way: HashMap<String, String> = HashMap::new();
    loop {
        while under_way.len() < UNDER_WAY[client] {
            *next += 1;
            let body = body(client, *next);
            let push = format!(
                r#"["1","{next}","room:{room}","new_msg",{{"body":"{body}","key":"{next}"}}]"#
            );
            under_way.insert(next.to_string(), body);
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
        let (what, message, body) = match frame[3].as_str().unwrap() {
            "new_msg" => ("seen", payload, payload["body"].as_str().unwrap().to_owned()),
            "phx_reply" if payload["status"] == "ok" => {
                acks.fetch_add(1, Ordering::Relaxed);
                let body = under_way.remove(reference.as_str().unwrap()).unwrap();
                ("ack", &payload["response"], body)
            }
            // It says so itself, and nothing is promised then.
            "phx_reply" => {
                under_way.remove(reference.as_str().unwrap()).unwrap();
                continue;
            }
            _ => continue,
        };
        // The epoch in which it was said, and its offset.
        let id = message["id"].as_str().unwrap();
        notes.put(&format!("{what} {client} {id} {body}"));
    }
}

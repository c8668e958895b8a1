//! A chat server on axum, as its users write them: a task and a channel per connection, a map of
//! rooms behind a lock.
//!
//! A message is encoded once; its bytes are shared by all members. The writing task sends all that
//! waits before it flushes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::routing::get;
use axum::serve::ListenerExt;
use futures_util::{SinkExt, StreamExt};
use serde_json::value::RawValue;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

type Outbox = UnboundedSender<Utf8Bytes>;
type Rooms = Arc<Mutex<HashMap<String, HashMap<u64, Outbox>>>>;

static NEXT: AtomicU64 = AtomicU64::new(1);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().and_then(|port| port.parse().ok()).unwrap_or(4101);
    let threads: usize = arguments.next().and_then(|threads| threads.parse().ok()).unwrap_or(1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let router = Router::new().route(
            "/socket/websocket",
            get(|State(rooms): State<Rooms>, upgrade: WebSocketUpgrade| async move {
                upgrade.on_upgrade(move |socket| serve(socket, rooms))
            }),
        );
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        axum::serve(listener, router.with_state(Rooms::default())).await.unwrap();
    });
}

async fn serve(socket: WebSocket, rooms: Rooms) {
    let (mut sink, mut stream) = socket.split();
    let (outbox, mut inbox) = unbounded_channel::<Utf8Bytes>();
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let writer = tokio::spawn(async move {
        while let Some(text) = inbox.recv().await {
            let mut next = Some(text);
            while let Some(text) = next {
                if sink.feed(Message::Text(text)).await.is_err() {
                    return;
                }
                next = inbox.try_recv().ok();
            }
            if sink.flush().await.is_err() {
                return;
            }
        }
    });
    let mut joined: Vec<String> = Vec::new();
    while let Some(Ok(message)) = stream.next().await {
        match message {
            Message::Text(text) => {
                if handle(&text, id, &outbox, &rooms, &mut joined).is_none() {
                    break;
                }
            }
            Message::Close(_) => break,
            _ => {}
        }
    }
    leave(&rooms, id, &joined);
    writer.abort();
}

fn handle(
    text: &str,
    id: u64,
    outbox: &Outbox,
    rooms: &Rooms,
    joined: &mut Vec<String>,
) -> Option<()> {
    let (join_ref, reference, topic, event, payload): (
        &RawValue,
        &RawValue,
        &str,
        &str,
        &RawValue,
    ) = serde_json::from_str(text).ok()?;
    match event {
        "heartbeat" | "typing" => {}
        "phx_join" => {
            rooms.lock().unwrap().entry(topic.to_owned()).or_default().insert(id, outbox.clone());
            joined.push(topic.to_owned());
        }
        "phx_leave" => {
            leave(rooms, id, &[topic.to_owned()]);
            joined.retain(|room| room != topic);
        }
        _ => {
            let message = Utf8Bytes::from(format!("[null,null,\"{topic}\",\"{event}\",{payload}]"));
            for member in rooms.lock().unwrap().get(topic).into_iter().flat_map(HashMap::values) {
                let _gone = member.send(message.clone());
            }
        }
    }
    let answer = format!(
        "[{join_ref},{reference},\"{topic}\",\"phx_reply\",{{\"response\":{{}},\"status\":\"ok\"}}]"
    );
    outbox.send(answer.into()).ok()
}

fn leave(rooms: &Rooms, id: u64, topics: &[String]) {
    let mut rooms = rooms.lock().unwrap();
    for topic in topics {
        if let Some(members) = rooms.get_mut(topic) {
            members.remove(&id);
            if members.is_empty() {
                rooms.remove(topic);
            }
        }
    }
}

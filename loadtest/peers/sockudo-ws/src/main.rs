//! A chat server on sockudo-ws: its own pub/sub, a channel per connection, and its corked writer.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use serde_json::value::RawValue;
use sockudo_ws::handshake::server_handshake;
use sockudo_ws::pubsub::{PubSub, SubscriberId};
use sockudo_ws::{Config, Message, WebSocketStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

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
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let rooms = Arc::new(PubSub::new());
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _best_effort = stream.set_nodelay(true);
            tokio::spawn(serve(stream, Arc::clone(&rooms)));
        }
    });
}

async fn serve(mut stream: TcpStream, rooms: Arc<PubSub>) {
    if server_handshake(&mut stream).await.is_err() {
        return;
    }
    let mut socket = WebSocketStream::server(stream, Config::default());
    let (outbox, mut inbox) = unbounded_channel::<Message>();
    let id = rooms.create_subscriber(outbox.clone());
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    let text = String::from_utf8_lossy(&text);
                    if handle(&text, id, &outbox, &rooms).is_none() {
                        break;
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => {}
            },
            // All that waits is written before it is flushed.
            Some(message) = inbox.recv() => {
                let mut next = Some(message);
                while let Some(message) = next {
                    next = match socket.feed(message).await {
                        Ok(()) => inbox.try_recv().ok(),
                        // The flush will say so too.
                        Err(_) => None,
                    };
                }
                if socket.flush().await.is_err() {
                    break;
                }
            }
        }
    }
    rooms.remove_subscriber(id);
}

fn handle(
    text: &str,
    id: SubscriberId,
    outbox: &UnboundedSender<Message>,
    rooms: &PubSub,
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
        "phx_join" => drop(rooms.subscribe(id, topic)),
        "phx_leave" => drop(rooms.unsubscribe(id, topic)),
        _ => {
            rooms.publish(
                topic,
                Message::text(format!("[null,null,\"{topic}\",\"{event}\",{payload}]")),
            );
        }
    }
    let answer = format!(
        "[{join_ref},{reference},\"{topic}\",\"phx_reply\",{{\"response\":{{}},\"status\":\"ok\"}}]"
    );
    outbox.send(Message::text(answer)).ok()
}

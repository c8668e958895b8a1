//! A small server that makes mistakes on purpose, to see whether the generator notices.
//!
//! It speaks Phoenix V2 over `tungstenite`, one thread per connection, and is simple rather than
//! fast. Without faults it is correct, which the tests check too. Every fault is counted out, not
//! drawn: the thousandth delivery is the same in every run.
//!
//! The server is a process of its own, because its CPU and memory are part of some tests. The
//! process is the test binary again, which runs nothing but [`faulty_server`] there. So nothing of
//! the server is in the released tool.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::Value;
use serde_json::value::RawValue;
use tungstenite::Message;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// The faults of the process, as options. Only the process of a faulty server has them.
const FAULTS: &str = "LOADTEST_FAULTS";

/// What to do wrong. Everything is counted per delivery, over all connections; 0 is never.
#[derive(Parser, Clone, Copy, Debug)]
#[command(no_binary_name = true)]
struct Faults {
    /// Drop every so many-th delivery.
    #[arg(long, default_value_t = 0)]
    drop: u64,
    /// Deliver every so many-th twice.
    #[arg(long, default_value_t = 0)]
    duplicate: u64,
    /// Deliver every so many-th after the next one to the same member.
    #[arg(long, default_value_t = 0)]
    swap: u64,
    /// Change a byte of every so many-th.
    #[arg(long, default_value_t = 0)]
    corrupt: u64,
    /// Deliver every so many-th as the continuation of a message that never began.
    #[arg(long, default_value_t = 0)]
    break_off: u64,
    /// Deliver every so many-th under the topic of another room.
    #[arg(long, default_value_t = 0)]
    stray: u64,
    /// Deliver every so many-th under the offset of the next one.
    #[arg(long, default_value_t = 0)]
    renumber: u64,
    /// Do not number messages, as many servers do not.
    #[arg(long)]
    unnumbered: bool,
    /// Do not answer every so many-th push.
    #[arg(long, default_value_t = 0)]
    mute: u64,
    /// Refuse every so many-th push as `rate_limited`, and send it to nobody.
    #[arg(long, default_value_t = 0)]
    refuse: u64,
    /// Close a connection at every so many-th push.
    #[arg(long, default_value_t = 0)]
    hang_up: u64,
    /// Take in so many connections and no more; 0: all.
    #[arg(long, default_value_t = 0)]
    accept: u64,
    /// Deliver everything so many milliseconds later.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
}

/// The command that starts the server with these faults. It says on standard output where it
/// listens, and ends when its standard input does.
pub(super) fn command(faults: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test binary has a path"));
    command
        .args(["common::faulty::faulty_server", "--exact", "--ignored", "--nocapture"])
        .env(FAULTS, faults.join(" "))
        .stdin(Stdio::piped());
    command
}

#[test]
#[ignore = "not a test, but the process of a faulty server: the tests start it"]
fn faulty_server() {
    // All ignored tests may be asked for at once; then there is nobody to serve.
    let Ok(faults) = std::env::var(FAULTS) else { return };
    serve(Faults::parse_from(faults.split_whitespace()));
}

/// A member of a room, as the server sees it: where to write, and a delivery that waits for the
/// next one.
struct Member {
    conn: u64,
    socket: Arc<Mutex<TcpStream>>,
    held_back: Option<Vec<u8>>,
}

/// A room: its members, and the offset of its last message.
#[derive(Default)]
struct Room {
    members: Vec<Member>,
    offset: u64,
}

#[derive(Default)]
struct State {
    rooms: HashMap<String, Room>,
    deliveries: u64,
    pushes: u64,
}

/// What is to be written at some time.
type Later = (Instant, Arc<Mutex<TcpStream>>, Vec<u8>);

struct Server {
    faults: Faults,
    state: Mutex<State>,
    /// What is to be written later, in order.
    later: Option<mpsc::Sender<Later>>,
}

type Envelope = (Value, Value, String, String, Box<RawValue>);

/// Serves until standard input ends, as it does when the test is over or killed.
fn serve(faults: Faults) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    let port = listener.local_addr().expect("it is bound").port();
    // On a line of its own: the test harness has begun one with the name of the test.
    println!("\nlistening on ws://127.0.0.1:{port}/socket/websocket");
    let later = (faults.delay_ms > 0).then(delayer);
    let server = Arc::new(Server { faults, state: Mutex::default(), later });
    thread::spawn(|| {
        let _ended = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    for (conn, stream) in (0..).zip(listener.incoming()) {
        let (Ok(stream), server) = (stream, Arc::clone(&server)) else { continue };
        if faults.accept > 0 && conn >= faults.accept {
            continue;
        }
        let serve = move || {
            server.connection(conn, stream);
            server.leave(conn, None);
        };
        // Small stacks: there is a thread for each connection.
        if thread::Builder::new().stack_size(256 * 1_024).spawn(serve).is_err() {
            eprintln!("no thread for another connection");
        }
    }
}

/// A thread that writes what it is given once its time has come.
fn delayer() -> mpsc::Sender<Later> {
    let (sender, receiver) = mpsc::channel::<Later>();
    thread::spawn(move || {
        for (when, socket, bytes) in receiver {
            thread::sleep(when.saturating_duration_since(Instant::now()));
            write(&socket, &bytes);
        }
    });
    sender
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(socket: &Mutex<TcpStream>, bytes: &[u8]) {
    // A client that is gone is noticed by its reader.
    let _gone = locked(socket).write_all(bytes);
}

fn text_frame(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let frame = Frame::message(text.as_bytes().to_vec(), OpCode::Data(Data::Text), true);
    frame.format(&mut bytes).expect("a frame is written to memory");
    bytes
}

/// Whether the `count`th is one of every so many.
fn is_due(every: u64, count: u64) -> bool {
    every > 0 && count.is_multiple_of(every)
}

impl Server {
    fn connection(&self, conn: u64, stream: TcpStream) {
        let Ok(writer) = stream.set_nodelay(true).and_then(|()| stream.try_clone()) else { return };
        let writer = Arc::new(Mutex::new(writer));
        let Ok(mut socket) = tungstenite::accept(stream) else { return };
        while let Ok(message) = socket.read() {
            let Message::Text(text) = message else { continue };
            let Ok(envelope) = serde_json::from_str::<Envelope>(&text) else { return };
            if self.push(conn, &writer, envelope).is_none() {
                return;
            }
        }
    }

    /// Handles one push; `None` hangs up.
    fn push(&self, conn: u64, writer: &Arc<Mutex<TcpStream>>, envelope: Envelope) -> Option<()> {
        let (join_ref, reference, topic, event, payload) = envelope;
        let answer = |status: &str, response: &str| {
            let payload = format!("{{\"response\":{response},\"status\":\"{status}\"}}");
            text_frame(&format!(
                "[{join_ref},{reference},{},\"phx_reply\",{payload}]",
                Value::from(topic.as_str())
            ))
        };
        match event.as_str() {
            "heartbeat" | "history" | "echo" => write(writer, &answer("ok", "{}")),
            "typing" => {}
            "phx_join" => {
                let member = Member { conn, socket: Arc::clone(writer), held_back: None };
                let mut state = locked(&self.state);
                let room = state.rooms.entry(topic.clone()).or_default();
                room.members.push(member);
                let entry = if self.faults.unnumbered {
                    "{}".to_owned()
                } else {
                    format!("{{\"epoch\":\"only\",\"offset\":{}}}", room.offset)
                };
                // Before anything that is said in the room from now on.
                write(writer, &answer("ok", &entry));
            }
            "phx_leave" => {
                self.leave(conn, Some(&topic));
                write(writer, &answer("ok", "{}"));
            }
            _ => {
                let mut state = locked(&self.state);
                state.pushes += 1;
                let pushes = state.pushes;
                if is_due(self.faults.hang_up, pushes) {
                    return None;
                }
                if is_due(self.faults.refuse, pushes) {
                    write(writer, &answer("error", "{\"reason\":\"rate_limited\"}"));
                    return Some(());
                }
                self.broadcast(&mut state, &topic, &event, payload.get());
                if !is_due(self.faults.mute, pushes) {
                    self.deliver(writer, answer("ok", "{}"));
                }
            }
        }
        Some(())
    }

    fn broadcast(&self, state: &mut State, topic: &str, event: &str, payload: &str) {
        let State { rooms, deliveries, .. } = state;
        let Some(room) = rooms.get_mut(topic) else { return };
        room.offset += 1;
        let of_room = room.offset;
        let frame_under = |topic: &str, offset: u64| {
            let numbered = if self.faults.unnumbered {
                payload.to_owned()
            } else {
                payload.replacen('{', &format!("{{\"offset\":{offset},"), 1)
            };
            text_frame(&format!("[null,null,{},\"{event}\",{numbered}]", Value::from(topic)))
        };
        let frame = frame_under(topic, of_room);
        for member in &mut room.members {
            *deliveries += 1;
            let (faults, count) = (&self.faults, *deliveries);
            let mut frame = frame.clone();
            if is_due(faults.drop, count) {
                continue;
            }
            if is_due(faults.corrupt, count) {
                let middle = frame.len() - 20;
                frame[middle] ^= 1;
            }
            if is_due(faults.break_off, count) {
                // A final frame's opcode of text is 1, that of a continuation 0 (RFC 6455, 5.2).
                frame[0] &= 0xf0;
            }
            if is_due(faults.stray, count) {
                frame = frame_under(&format!("{topic}x"), of_room);
            }
            if is_due(faults.renumber, count) {
                frame = frame_under(topic, of_room + 1);
            }
            if is_due(faults.swap, count) && member.held_back.is_none() {
                member.held_back = Some(frame);
                continue;
            }
            let again = is_due(faults.duplicate, count).then(|| frame.clone());
            let held_back = member.held_back.take();
            for frame in [Some(frame), again, held_back].into_iter().flatten() {
                self.deliver(&member.socket, frame);
            }
        }
    }

    fn deliver(&self, socket: &Arc<Mutex<TcpStream>>, frame: Vec<u8>) {
        match &self.later {
            Some(later) => {
                let when = Instant::now() + Duration::from_millis(self.faults.delay_ms);
                let _over = later.send((when, Arc::clone(socket), frame));
            }
            None => write(socket, &frame),
        }
    }

    /// Takes a connection out of one room, or of all.
    fn leave(&self, conn: u64, topic: Option<&str>) {
        for (name, room) in &mut locked(&self.state).rooms {
            if topic.is_none_or(|topic| topic == name) {
                room.members.retain(|member| member.conn != conn);
            }
        }
    }
}

/// What was held back and never followed by another delivery: nothing is left to swap it with.
impl Drop for Member {
    fn drop(&mut self) {
        if let Some(frame) = self.held_back.take() {
            write(&self.socket, &frame);
        }
    }
}

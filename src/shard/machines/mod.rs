//! The state machines of a shard, each as a table: for each state and event, the next state, and
//! what is told.
//!
//! ```text
//!   table ──┬ every pair of a state and an event stands in it once
//!           ├ the shard does what each row says
//!           └ its changes are the arrows in the machine's header, and no others
//! ```
//!
//! The shard is a real one, the first of two. What it writes, sends and closes is noted as *told*.
//! The tests play the other shard.
//!
//! [`bounds`] has the same shard do more than a turn's work.
//!
//! Deliberately absent: the content of messages (`tests/conformance`), and sequences of events
//! (`tests/sim`).

mod bounds;
mod channel;
mod connection;
mod session;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::{Io, Request, Routed, Settings, Shard, Site, Turn};
use crate::auth::identity::{Identity, Rights};
use crate::base::time::Now;
use crate::limits::{HistoryLimits, Limits, PresenceLimits};
use crate::link::field::Field;
use crate::link::ids::ConnKey;
use crate::link::io::{Handoff, Lives, Warning};
use crate::link::log::MemoryLog;
use crate::link::record::{FromSession, Received, Restart, ToHome, read};
use crate::link::topic::of_room;
use crate::wire::json::{elements, field};
use crate::wire::phx::Serializer;
use crate::wire::ws::frame::{Opcode, decode_server_frame, push_client_frame};

/// Declares states or events, with a list of all of them.
macro_rules! all {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            const ALL: &[Self] = &[$(Self::$variant),*];
        }
    };
}
use all;

/// A state, events, the next state after each of them, and what is told.
type Row<S, E> = (S, &'static [E], S, &'static str);

/// What a row tells where the code must panic: only a bug of another shard leads there.
const PANICS: &str = "panics";

/// A machine as a table sees it: it can be driven by events, and knows its state.
trait Machine: Default {
    type State: Copy + Debug + PartialEq + 'static;
    type Event: Copy + Debug + PartialEq + 'static;

    /// The events that lead a fresh shard to a state.
    fn way(state: Self::State) -> &'static [Self::Event];

    /// Makes an event happen.
    fn happen(&mut self, world: &mut World, event: Self::Event);

    /// Its state now.
    fn state(&self, world: &mut World) -> Self::State;
}

/// Holds a table against the shard, and against the drawing in the header of its machine.
#[track_caller]
fn check<M: Machine>(
    source: &str,
    (states, events): (&[M::State], &[M::Event]),
    table: &[Row<M::State, M::Event>],
) {
    let mut changes = BTreeSet::new();
    for state in states {
        for event in events {
            let is_meant = |row: &&Row<_, _>| row.0 == *state && row.1.contains(event);
            let rows: Vec<_> = table.iter().filter(is_meant).collect();
            let [(.., next, told)] = rows[..] else {
                panic!("{state:?}, {event:?} stands in the table {} times", rows.len())
            };
            let expected = (Some(*next).filter(|_| *told != PANICS), (*told).to_owned());
            assert_eq!(try_out::<M>(*state, *event), expected, "{state:?}, {event:?}");
            if next != state {
                changes.insert((words(state), words(event), words(next)));
            }
        }
    }
    let drawn = arrows(source);
    let undrawn: Vec<_> = changes.difference(&drawn).collect();
    let wrong: Vec<_> = drawn.difference(&changes).collect();
    assert!(undrawn.is_empty() && wrong.is_empty(), "not drawn: {undrawn:?}; not so: {wrong:?}");
}

/// The state after an event, and what is told; `None` and [`PANICS`] if it panics.
fn try_out<M: Machine>(state: M::State, event: M::Event) -> (Option<M::State>, String) {
    let (mut world, mut machine) = (World::new(), M::default());
    for event in M::way(state) {
        machine.happen(&mut world, *event);
    }
    assert_eq!(machine.state(&mut world), state, "the way there");
    world.net.told.clear();
    let happen = AssertUnwindSafe(|| machine.happen(&mut world, event));
    if catch_unwind(happen).is_err() {
        return (None, PANICS.to_owned());
    }
    world.shard.check_invariants();
    let next = machine.state(&mut world);
    (Some(next), world.net.told.join(", "))
}

/// A name as drawings are compared: in lower case.
fn words(name: &impl Debug) -> String {
    format!("{name:?}").to_lowercase()
}

/// The arrows of a drawing in a header: `State ── event, event ──> State ── event ──> State`, from
/// several states where they stand in a list.
fn arrows(source: &str) -> BTreeSet<(String, String, String)> {
    let mut arrows = BTreeSet::new();
    for line in source.lines().filter(|line| line.contains("──>")) {
        let line = line.trim_start_matches([' ', '/', '!']);
        let parts: Vec<&str> = line.split("──").map(|part| part.trim_matches(['>', ' '])).collect();
        for arrow in parts.windows(3).step_by(2) {
            let [from, events, to] = arrow else { unreachable!("windows of three") };
            for from in from.split(", ") {
                for event in events.split(", ") {
                    let [from, event, to] = [from, event, to].map(str::to_lowercase);
                    arrows.insert((from, event.replace(' ', ""), to));
                }
            }
        }
    }
    arrows
}

/// The sockets of a shard, and its way to the other one: notes what it does with them as told.
#[derive(Default)]
struct Net {
    log: MemoryLog,
    told: Vec<String>,
    /// What was sent to the other shard last.
    sent: Vec<u8>,
    /// What was written last.
    written: Vec<u8>,
    /// How many bytes the sockets take yet, if not all: then it is not told what they are.
    takes: Option<usize>,
}

impl Io for Net {
    type Log = MemoryLog;

    fn log(&mut self) -> &mut MemoryLog {
        &mut self.log
    }

    fn write(&mut self, _: u32, bytes: &[u8]) -> usize {
        self.written = bytes.to_vec();
        if let Some(left) = &mut self.takes {
            let taken = bytes.len().min(*left);
            *left -= taken;
            return taken;
        }
        self.told.extend(written(bytes));
        bytes.len()
    }

    fn shut(&mut self, _: u32) {
        self.told.push("shut".to_owned());
    }

    fn close(&mut self, _: u32) {}

    fn resume(&mut self, _: u32) {}

    fn hand_off(&mut self, _: u32, _: u16, _: Handoff) {
        self.told.push("handed off".to_owned());
    }

    fn send(&mut self, _: u16, record: &[u8]) {
        self.told.extend(sent(record));
        self.sent = record.to_vec();
    }

    fn waiting_bytes(&self, _: u16) -> usize {
        0
    }

    fn elapsed_us(&self) -> u64 {
        0
    }
}

/// What a client is told, in words: an answer's status, or an event with its reason.
fn written(bytes: &[u8]) -> Vec<String> {
    let mut told = Vec::new();
    let mut frames = bytes;
    if let Some(head) = bytes.strip_prefix(b"HTTP/1.1 ") {
        told.push(String::from_utf8_lossy(&head[..3]).into_owned());
        let end = bytes.windows(4).position(|end| end == b"\r\n\r\n").expect("a whole head") + 4;
        frames = if head.starts_with(b"101") { &bytes[end..] } else { &[] };
    }
    while !frames.is_empty() {
        let (opcode, payload, rest) = decode_server_frame(frames);
        frames = rest;
        told.push(match opcode {
            Opcode::Text => message(std::str::from_utf8(payload).expect("text")),
            Opcode::Close => {
                let code = payload.first_chunk().expect("a code");
                format!("close {}", u16::from_be_bytes(*code))
            }
            other => format!("{other:?}"),
        });
    }
    told
}

/// A message of Phoenix in words.
fn message(text: &str) -> String {
    let parts: Vec<&str> = elements(text).collect();
    let [.., event, payload] = parts[..] else { panic!("no message: {text}") };
    let of = |object, name| field(object, name).unwrap_or_default().trim_matches('"');
    let (event, reason) = match event.trim_matches('"') {
        "phx_reply" => {
            let response = field(payload, "response").unwrap_or_default();
            (of(payload, "status"), of(response, "reason"))
        }
        event => (event, of(payload, "reason")),
    };
    format!("{event} {reason}").trim_end().to_owned()
}

/// What another shard is told, in words. Leaves out what shards tell each other at any time.
fn sent(record: &[u8]) -> Option<String> {
    let name = |message: &dyn Debug| {
        let text = format!("{message:?}");
        text.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default().to_owned()
    };
    match read(record) {
        Received::ToHome(ToHome::Load { .. } | ToHome::Listing { .. }) | Received::Restart(_) => {
            None
        }
        Received::ToHome(message) => Some(name(&message)),
        Received::ToMember(message) => Some(name(&message)),
        Received::ToSession(message) => Some(name(&message)),
        Received::FromSession(FromSession::Polled { status, .. }) => {
            Some(format!("Polled {status}"))
        }
        Received::FromSession(FromSession::Posted { status, .. }) => {
            Some(format!("Posted {status}"))
        }
        Received::FromSession(message) => Some(name(&message)),
    }
}

/// A site at which every token is its user's name, and valid until [`World::END_S`]. With the word
/// `nowhere` behind it, it allows no room. A post makes a room.
struct Open;

impl Site for Open {
    fn identify(&self, token: &str, _: Now) -> Option<Identity> {
        let (user, rights) = match token.strip_suffix(" nowhere") {
            Some(user) => (user, Rights::new([]).ok()),
            None => (token, None),
        };
        Identity::new(user, user, World::END_S, rights).ok()
    }

    fn secret(&self) -> Option<u128> {
        Some(7)
    }

    fn respond(&self, request: &Request<'_, '_>, out: &mut Vec<u8>) -> Routed {
        if request.head.method == "POST" {
            let (room, title) = (World::room(1), String::new());
            return Routed::CreateRoom { user: "ann".into(), room, title, origin: None };
        }
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        Routed::Answered
    }
}

/// The first of two shards.
struct World {
    shard: Shard,
    net: Net,
    now: Now,
}

impl World {
    /// When tokens end, in seconds of Unix time.
    const END_S: u64 = 2_000_000;

    fn new() -> Self {
        Self::with_settings(|_| ())
    }

    /// One where some settings are others.
    fn with_settings(set: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Self::settings();
        settings.echo = true;
        set(&mut settings);
        let now = Now { mono_ms: 1_000_000, unix_ms: 1_000_000_000 };
        let shard = Shard::new(0, Arc::new(settings), Arc::new(Open), 7, now);
        Self { shard, net: Net::default(), now }
    }

    fn settings() -> Settings {
        let limits = (Limits::default(), HistoryLimits::default(), PresenceLimits::default());
        Settings::new(2, limits.0, limits.1, limits.2, Vec::new())
    }

    /// A room whose home is this shard.
    fn room(home: u16) -> String {
        Self::rooms(home).next().expect("half of all")
    }

    /// All of them.
    fn rooms(home: u16) -> impl Iterator<Item = String> {
        let settings = Self::settings();
        let rooms = (0..).map(|number| format!("r{number}"));
        rooms.filter(move |room| settings.home_of(&of_room(room)) == home)
    }

    /// Calls the shard, and ends the turn.
    fn with<R>(&mut self, act: impl FnOnce(&mut Shard, &mut Turn<'_, Net>) -> R) -> R {
        let mut turn = Turn { now: self.now, io: &mut self.net };
        let result = act(&mut self.shard, &mut turn);
        self.shard.turn(&mut turn);
        result
    }

    /// Accepts a connection.
    fn accept(&mut self) -> ConnKey {
        self.with(Shard::open).expect("there is place")
    }

    /// Takes over a connection of Ann's, which stays here.
    fn take_over(&mut self) -> ConnKey {
        let identity = Identity::new("ann", "ann", Self::END_S, None).expect("a user");
        let (lives, held) = (Lives { from: 0, to: 0 }, Vec::new());
        let warning = Warning { lead_ms: 0, is_told: false };
        let handoff =
            Handoff { from: 1, lives, identity, warning, serializer: Serializer::V2, held };
        self.with(|shard, turn| shard.take_over(turn, handoff))
    }

    /// Bytes come from a client.
    fn receive(&mut self, conn: ConnKey, bytes: &[u8]) {
        self.with(|shard, turn| shard.received(turn, conn, &mut bytes.to_vec()));
    }

    /// A client sends a message, given as its five parts.
    fn say(&mut self, conn: ConnKey, message: &str) {
        self.receive(conn, &frame(Opcode::Text, message.as_bytes()));
    }

    /// The other shard sends a record.
    fn hear<'m>(&mut self, message: impl Field<'m>) {
        let mut record = Vec::new();
        message.put(&mut record);
        self.with(|shard, turn| shard.heard_from(turn, 1, &record));
    }

    /// The other shard has begun anew.
    fn hear_restart(&mut self) {
        self.hear(Restart::Restarted { life: 1 });
    }

    /// `ms` pass, and a turn.
    fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.unix_ms += ms;
        self.with(|_, _| ());
    }

    /// A connection's socket takes so many bytes more.
    fn take(&mut self, conn: ConnKey, bytes: usize) {
        self.net.takes = Some(bytes);
        self.with(|shard, turn| shard.writable(turn, conn));
    }

    /// Notes as told that a connection is parked, if it is.
    fn note_parked(&mut self, conn: ConnKey) {
        if self.shard.members.conns.flags(conn.index()).is_parked() {
            self.net.told.push("parked".to_owned());
        }
    }
}

/// A request for a WebSocket.
fn upgrade(target: &str) -> Vec<u8> {
    let head = format!(
        "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    head.into_bytes()
}

/// A client's frame.
fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_client_frame(&mut bytes, opcode, payload);
    bytes
}

#[test]
fn a_drawing_is_read_arrow_by_arrow() {
    let drawn = arrows("//!   A, C ── one, two by two ──> B ── three ──> A\n//! A line without.\n");
    let expected = [
        ("a", "one", "b"),
        ("a", "twobytwo", "b"),
        ("c", "one", "b"),
        ("c", "twobytwo", "b"),
        ("b", "three", "a"),
    ];
    assert_eq!(
        drawn,
        expected.map(|(from, event, to)| (from.into(), event.into(), to.into())).into()
    );
}

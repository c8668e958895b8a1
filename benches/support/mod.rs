//! A shard to measure: no sockets, everybody is who they say, and everything that is written is
//! taken.

use std::io::Write as _;
use std::sync::Arc;

use chinwag::auth::identity::{Identity, NEVER_S};
use chinwag::base::time::Now;
use chinwag::limits::{HistoryLimits, Limits, PresenceLimits};
use chinwag::link::ids::ConnKey;
use chinwag::link::log::MemoryLog;
use chinwag::shard::{Handoff, Io, Request, Routed, Settings, Shard, Site, Turn};
use chinwag::wire::ws::frame::{Opcode, push_client_frame};

/// A site that knows everybody by the token's own text.
struct Anybody;

impl Site for Anybody {
    fn identify(&self, token: &str, _: Now) -> Option<Identity> {
        Identity::new(token, token, NEVER_S, None).ok()
    }

    fn secret(&self) -> Option<u128> {
        None
    }

    fn respond(&self, _: &Request<'_, '_>, _: &mut Vec<u8>) -> Routed {
        Routed::Answered
    }
}

/// Sockets that take everything, and keep nothing.
#[derive(Default)]
pub(crate) struct Sink {
    log: MemoryLog,
    /// How often something was written.
    pub(crate) writes: u64,
    /// Connections with lower numbers than this take the first bytes of what they are given, and
    /// then nothing more.
    pub(crate) sleepers: u32,
}

impl Io for Sink {
    type Log = MemoryLog;

    fn log(&mut self) -> &mut MemoryLog {
        &mut self.log
    }

    fn write(&mut self, conn: u32, bytes: &[u8]) -> usize {
        self.writes += 1;
        if conn < self.sleepers { bytes.len().min(100) } else { bytes.len() }
    }

    fn shut(&mut self, _: u32) {}

    fn close(&mut self, _: u32) {}

    fn resume(&mut self, _: u32) {}

    fn hand_off(&mut self, _: u32, _: u16, _: Handoff) {}

    fn send(&mut self, _: u16, _: &[u8]) {}

    fn waiting_bytes(&self, _: u16) -> usize {
        0
    }

    fn elapsed_us(&self) -> u64 {
        0
    }
}

/// A shard, its sink and its time.
pub(crate) struct Bench {
    /// Under test.
    pub(crate) shard: Shard,
    /// What it wrote to.
    pub(crate) sink: Sink,
    now: Now,
}

impl Bench {
    /// An empty shard without rates.
    pub(crate) fn new() -> Self {
        let limits = Limits {
            publish_per_s: 0,
            join_per_s: 0,
            admissions_per_turn: u32::MAX,
            ..Limits::default()
        };
        let settings = Settings::new(
            1,
            limits,
            HistoryLimits::default(),
            PresenceLimits::default(),
            Vec::new(),
        );
        let now = Now { mono_ms: 1_000, unix_ms: 1_700_000_000_000 };
        let shard = Shard::new(0, Arc::new(settings), Arc::new(Anybody), 1, now);
        Self { shard, sink: Sink::default(), now }
    }

    /// Connects user number so and so, by one packet with the upgrade and the join.
    pub(crate) fn connect(&mut self, number: u32, room: u32) -> ConnKey {
        let turn = &mut Turn { now: self.now, io: &mut self.sink };
        let key = self.shard.open(turn).expect("there is room");
        let mut bytes = Vec::new();
        write!(
            bytes,
            "GET /socket/websocket?vsn=2.0.0&token=g_{number:016} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .expect("memory takes everything");
        push_client_frame(&mut bytes, Opcode::Text, join(room).as_bytes());
        self.receive(key, &bytes);
        key
    }

    /// So many members, spread over so many rooms, whose presence has been told; and the last one
    /// of them, in the last room.
    pub(crate) fn filled(members: u32, rooms: u32) -> (Self, ConnKey) {
        let mut bench = Self::new();
        let mut last = bench.connect(0, 0);
        for number in 1..members {
            last = bench.connect(number, number % rooms);
            // Before the turn's budget of admissions is used up.
            if number % 24 == 0 {
                bench.pass(1);
            }
        }
        for _ in 0..4 {
            bench.pass(2_000);
        }
        // A turn writes to so many members and no more: rooms that wait for the next one still hold
        // what these are to be told.
        let mut writes = 0;
        while writes < bench.sink.writes {
            writes = bench.sink.writes;
            bench.pass(1);
        }
        (bench, last)
    }

    /// Bytes come from a connection.
    pub(crate) fn receive(&mut self, key: ConnKey, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        self.shard.received(&mut Turn { now: self.now, io: &mut self.sink }, key, &mut bytes);
    }

    /// A text message comes from a connection, and the turn ends.
    pub(crate) fn say(&mut self, key: ConnKey, message: &str) {
        let mut bytes = Vec::with_capacity(message.len() + 14);
        push_client_frame(&mut bytes, Opcode::Text, message.as_bytes());
        self.receive(key, &bytes);
        self.pass(0);
    }

    /// Time passes, and a turn ends.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.unix_ms += ms;
        self.shard.turn(&mut Turn { now: self.now, io: &mut self.sink });
    }
}

/// A join as a client sends it.
pub(crate) fn join(room: u32) -> String {
    format!(r#"["1","1","room:r{room}","phx_join",{{"limit":0}}]"#)
}

/// A message of 100 bytes as a client sends it.
pub(crate) fn publish(room: u32) -> String {
    publish_bytes(room, 100)
}

/// The same of so many bytes.
#[allow(dead_code, reason = "not every bench needs it")]
pub(crate) fn publish_bytes(room: u32, bytes: usize) -> String {
    format!(r#"["1","7","room:r{room}","new_msg",{{"body":"{}"}}]"#, "x".repeat(bytes))
}

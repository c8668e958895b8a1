//! What a connection costs in memory, and a broadcast in our own time: one shard, no sockets, counted exactly.
//!
//! `cargo bench --bench footprint -- 100000 1000` connects 100,000 members in 1,000 rooms and prints bytes of heap per joined connection,
//! presence on, and the time of a broadcast per member into a sink that takes everything.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use chinwag::base::time::Now;
use chinwag::chat::identity::{Identity, NEVER_S};
use chinwag::limits::{HistoryLimits, Limits, PresenceLimits};
use chinwag::shard::{Io, Request, Routed, Settings, Shard, Site, Turn};
use chinwag::wire::ws::frame::{Opcode, push_client_frame};

/// Counts what is allocated and not freed.
struct Counting;

static HEAP_BYTES: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait; it only counts and passes on")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HEAP_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HEAP_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

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
struct Sink {
    writes: u64,
    bytes: u64,
}

impl Io for Sink {
    fn write(&mut self, _: u32, bytes: &[u8]) -> usize {
        self.writes += 1;
        self.bytes += bytes.len() as u64;
        bytes.len()
    }

    fn shut(&mut self, _: u32) {}

    fn close(&mut self, _: u32) {}

    fn resume(&mut self, _: u32) {}

    fn send(&mut self, _: u16, _: &[u8]) {}

    fn waiting_bytes(&self, _: u16) -> usize {
        0
    }

    fn elapsed_us(&self) -> u64 {
        0
    }
}

fn main() {
    let mut counts = std::env::args().filter_map(|argument| argument.parse::<u32>().ok());
    let conns = counts.next().unwrap_or(100_000);
    let rooms = counts.next().unwrap_or(1_000).max(1);
    let limits = Limits { publish_per_s: 0, join_per_s: 0, ..Limits::default() };
    let settings = Settings::new(1, limits, HistoryLimits::default(), PresenceLimits::default(), Vec::new());
    let mut now = Now { mono_ms: 1_000, unix_ms: 1_700_000_000_000 };
    let mut shard = Shard::new(0, Arc::new(settings), Arc::new(Anybody), 1, now);
    let mut sink = Sink::default();
    let before = HEAP_BYTES.load(Ordering::Relaxed);
    let mut last = None;
    let began = Instant::now();
    for number in 0..conns {
        let turn = &mut Turn { now, io: &mut sink };
        let key = shard.open(turn, IpAddr::V4(Ipv4Addr::LOCALHOST)).expect("there is room");
        let mut bytes = Vec::new();
        write!(
            bytes,
            "GET /socket/websocket?vsn=2.0.0&token=g_{number:016} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .expect("memory takes everything");
        let join = format!(r#"["1","1","room:r{}","phx_join",{{"limit":0}}]"#, number % rooms);
        push_client_frame(&mut bytes, Opcode::Text, join.as_bytes());
        shard.received(turn, key, &mut bytes);
        last = Some(key);
        if number % 1_000 == 999 {
            now.mono_ms += 100;
            shard.turn(&mut Turn { now, io: &mut sink });
        }
    }
    for _ in 0..4 {
        now.mono_ms += 2_000;
        shard.turn(&mut Turn { now, io: &mut sink });
    }
    let joined = began.elapsed();
    let heap = HEAP_BYTES.load(Ordering::Relaxed) - before;
    println!(
        "{conns} connections joined in {rooms} rooms, {:.1} us each",
        joined.as_secs_f64() * 1e6 / f64::from(conns)
    );
    println!(
        "{:.0} bytes of heap a connection",
        f64::from(u32::try_from(heap).unwrap_or(u32::MAX)) / f64::from(conns)
    );

    let key = last.expect("at least one connection");
    let mut publish = |times: u32| {
        let writes = sink.writes;
        let began = Instant::now();
        for number in 0..times {
            let push = format!(
                r#"["1","{number}","room:r{}","new_msg",{{"body":"{}"}}]"#,
                (conns - 1) % rooms,
                "x".repeat(100)
            );
            let mut bytes = Vec::new();
            push_client_frame(&mut bytes, Opcode::Text, push.as_bytes());
            shard.received(&mut Turn { now, io: &mut sink }, key, &mut bytes);
            shard.turn(&mut Turn { now, io: &mut sink });
        }
        (began.elapsed(), sink.writes - writes)
    };
    publish(10);
    let (spent, writes) = publish(100);
    println!(
        "{:.1} ns of our own a member and broadcast, {} writes",
        spent.as_secs_f64() * 1e9 / f64::from(u32::try_from(writes).unwrap_or(u32::MAX)),
        writes
    );
}

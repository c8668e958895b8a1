//! In the steady state nothing allocates, and a storm leaves nothing behind: an allocator that
//! counts, and two shards driven directly.
//!
//! Each test of the steady state warms its shards up, and then asks that a hundred further rounds
//! allocate nothing at all. `ZERO_ALLOC_TRACE=1` prints where the first allocation of each round
//! came from.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use chinwag::auth::identity::{Identity, NEVER_S, Rights};
use chinwag::auth::level::Level;
use chinwag::base::phrases::Phrases;
use chinwag::base::time::Now;
use chinwag::limits::{HistoryLimits, Limits, PresenceLimits};
use chinwag::link::ids::ConnKey;
use chinwag::link::log::MemoryLog;
use chinwag::shard::{Handoff, Io, Request, Routed, Settings, Shard, Site, Turn};

/// Counts what the thread that runs a test allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static COUNTS: Cell<bool> = const { Cell::new(false) };
    /// What it has allocated and not freed, in bytes.
    static HELD_BYTES: Cell<usize> = const { Cell::new(0) };
}

fn hold(bytes: usize, freed_bytes: usize) {
    let _ = HELD_BYTES
        .try_with(|held| held.set(held.get().wrapping_add(bytes).wrapping_sub(freed_bytes)));
}

fn count() {
    // A thread that is ending has no counters any more.
    if COUNTS.try_with(Cell::get) == Ok(true) {
        let counted = ALLOCATIONS.with(|allocations| allocations.replace(allocations.get() + 1));
        if counted == 0 {
            COUNTS.with(|counts| counts.set(false));
            if std::env::var_os("ZERO_ALLOC_TRACE").is_some() {
                eprintln!("{}", std::backtrace::Backtrace::force_capture());
            }
            COUNTS.with(|counts| counts.set(true));
        }
    }
}

#[expect(unsafe_code, reason = "an allocator is declared so; it hands everything on")]
// SAFETY: every method hands its arguments to the system's allocator as they are, and its answer
// back.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        hold(layout.size(), 0);
        // SAFETY: the caller's promise about the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        hold(0, layout.size());
        // SAFETY: the caller's promise that this came from here, with this layout.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        hold(size, layout.size());
        // SAFETY: the caller's promise that this came from here, with this layout.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Sockets that take everything, and the way to the other shard: one buffer of records, each behind
/// its length.
struct Net {
    log: MemoryLog,
    written: usize,
    way: Vec<u8>,
}

impl Io for Net {
    type Log = MemoryLog;

    fn log(&mut self) -> &mut MemoryLog {
        &mut self.log
    }

    fn write(&mut self, _: u32, bytes: &[u8]) -> usize {
        self.written += bytes.len();
        bytes.len()
    }

    fn shut(&mut self, _: u32) {}

    fn close(&mut self, _: u32) {}

    fn resume(&mut self, _: u32) {}

    fn hand_off(&mut self, _: u32, _: u16, _: Handoff) {
        unreachable!("each stays where it is")
    }

    fn send(&mut self, _: u16, record: &[u8]) {
        let length = u32::try_from(record.len()).expect("records are small here");
        self.way.extend_from_slice(&length.to_le_bytes());
        self.way.extend_from_slice(record);
    }

    fn waiting_bytes(&self, _: u16) -> usize {
        0
    }

    fn elapsed_us(&self) -> u64 {
        0
    }
}

/// Every token is good, and names its owner. The first user owns all rooms.
struct Open;

impl Site for Open {
    fn identify(&self, token: &str, _: Now) -> Option<Identity> {
        let rights = || Rights::new([("*", Level::Own)]).ok();
        Identity::new(token, token, NEVER_S, (token == "u0").then(rights).flatten()).ok()
    }

    fn secret(&self) -> Option<u128> {
        None
    }

    fn respond(&self, _: &Request<'_, '_>, _: &mut Vec<u8>) -> Routed {
        Routed::Answered
    }
}

/// Two shards, and three connections on each.
struct Server {
    shards: [Shard; 2],
    nets: [Net; 2],
    conns: Vec<(usize, ConnKey)>,
    now: Now,
    /// What is being read, and what is being carried over.
    read: Vec<u8>,
    carried: Vec<u8>,
}

const CONNS: usize = 6;

/// Rooms that live on the first and on the second shard.
fn rooms() -> [String; 2] {
    // Whoever asks for a room on a shard that is not its home says so by sending something.
    let is_home_first = |room: &str| {
        let mut server = Server::new();
        let (host, key) = server.conns[0];
        let mut bytes = frame(&format!(r#"["1","1","{room}","phx_join",{{}}]"#));
        server.shards[host].received(
            &mut Turn { now: server.now, io: &mut server.nets[host] },
            key,
            &mut bytes,
        );
        server.nets[host].way.is_empty()
    };
    let room = |first| {
        (0..1_000)
            .map(|number| format!("room:r{number}"))
            .find(|room| is_home_first(room) == first)
            .expect("there is one")
    };
    [room(true), room(false)]
}

/// A client's frame, with a mask that does nothing.
fn frame(text: &str) -> Vec<u8> {
    let mut bytes = vec![0x81];
    if let Ok(short @ ..126) = u8::try_from(text.len()) {
        bytes.push(0x80 | short);
    } else {
        bytes.push(0x80 | 0x7e);
        bytes.extend_from_slice(&u16::try_from(text.len()).expect("small").to_be_bytes());
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// The request for a socket of a user with this number.
fn upgrade(number: usize) -> String {
    format!(
        "GET /socket/websocket?vsn=2.0.0&token=u{number} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

impl Server {
    fn new() -> Self {
        Self::with_settings(|_| {})
    }

    fn with_settings(change: impl FnOnce(&mut Settings)) -> Self {
        let limits = Limits { publish_per_s: 0, join_per_s: 0, ..Limits::default() };
        // So few messages that the history is full, and stays as large as it is.
        let history = HistoryLimits { messages: 20, ..HistoryLimits::default() };
        let mut settings = Settings::new(2, limits, history, PresenceLimits::default(), Vec::new());
        // Rooms are on both.
        settings.gathered_members = 0;
        change(&mut settings);
        let settings = Arc::new(settings);
        let now = Now { mono_ms: 1_000_000, unix_ms: 1_795_336_253_000 };
        let shard = |id: u16| Shard::new(id, settings.clone(), Arc::new(Open), u64::from(id), now);
        let net = || Net { log: MemoryLog, written: 0, way: Vec::with_capacity(1 << 20) };
        let mut server = Self {
            shards: [shard(0), shard(1)],
            nets: [net(), net()],
            conns: Vec::new(),
            now,
            read: Vec::with_capacity(1 << 20),
            carried: Vec::with_capacity(1 << 20),
        };
        for number in 0..CONNS {
            let host = number % 2;
            let turn = &mut Turn { now, io: &mut server.nets[host] };
            let key = server.shards[host].open(turn).expect("there is place");
            server.conns.push((host, key));
            server.says(number, upgrade(number).as_bytes());
        }
        server.turns();
        server
    }

    /// A server with everybody in both rooms.
    fn with_rooms(rooms: &[String; 2]) -> Self {
        Self::new().joined(rooms)
    }

    fn joined(mut self, rooms: &[String; 2]) -> Self {
        let server = &mut self;
        for conn in 0..CONNS {
            for room in rooms {
                server.says(conn, &frame(&format!(r#"["1","1","{room}","phx_join",{{}}]"#)));
            }
        }
        server.turns();
        server.pass(1_000);
        self
    }

    fn says(&mut self, conn: usize, bytes: &[u8]) {
        let (host, key) = self.conns[conn];
        self.read.clear();
        self.read.extend_from_slice(bytes);
        let turn = &mut Turn { now: self.now, io: &mut self.nets[host] };
        assert!(self.shards[host].received(turn, key, &mut self.read), "the shard reads on");
    }

    /// What is allocated by this thread, but for what carries bytes here.
    fn held_bytes(&self) -> usize {
        let ways: usize = self.nets.iter().map(|net| net.way.capacity()).sum();
        HELD_BYTES.with(Cell::get) - ways - self.read.capacity() - self.carried.capacity()
    }

    /// Turns of both shards, until there is nothing under way.
    fn turns(&mut self) {
        loop {
            for host in 0..2 {
                std::mem::swap(&mut self.carried, &mut self.nets[1 - host].way);
                let mut rest = &self.carried[..];
                while let Some((length, after)) = rest.split_first_chunk::<4>() {
                    let (record, after) = after.split_at(u32::from_le_bytes(*length) as usize);
                    let from = u16::try_from(1 - host).expect("0 or 1");
                    let turn = &mut Turn { now: self.now, io: &mut self.nets[host] };
                    self.shards[host].heard_from(turn, from, record);
                    rest = after;
                }
                self.carried.clear();
                self.shards[host].turn(&mut Turn { now: self.now, io: &mut self.nets[host] });
            }
            if self.nets.iter().all(|net| net.way.is_empty()) {
                return;
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.unix_ms += ms;
        self.turns();
    }
}

/// Runs rounds until everything is warm, and then some more that must not allocate. Each must write
/// something.
#[track_caller]
fn check(server: &mut Server, round: impl Fn(&mut Server)) {
    for _ in 0..200 {
        round(server);
    }
    let written = |server: &Server| server.nets[0].written + server.nets[1].written;
    let before = written(server);
    COUNTS.with(|counts| counts.set(true));
    for _ in 0..100 {
        round(server);
    }
    COUNTS.with(|counts| counts.set(false));
    let allocations = ALLOCATIONS.with(Cell::take);
    assert!(written(server) > before, "the rounds do something");
    assert_eq!(allocations, 0, "in 100 rounds");
}

/// Everybody says this, in a room that lives here and in one that lives there.
fn check_push(event: &str, payload: &str) {
    let rooms = rooms();
    let mut server = Server::with_rooms(&rooms);
    let frames = rooms.map(|room| frame(&format!(r#"["1","2","{room}","{event}",{payload}]"#)));
    check(&mut server, |server| {
        for conn in 0..CONNS {
            for frame in &frames {
                server.says(conn, frame);
            }
        }
        server.turns();
        server.pass(60);
    });
}

#[test]
fn a_message_and_its_way_to_every_member_on_both_shards() {
    check_push("new_msg", r#"{"body":"Hello, how are you? I am fine."}"#);
}

#[test]
fn a_message_that_is_searched_for_phrases_and_has_none_but_in_longer_words() {
    let rooms = rooms();
    let phrases = Phrases::parse("cat\nK\u{e4}se\nfree money").expect("good").map(Arc::new);
    let server = Server::with_settings(|settings| settings.blocked = phrases);
    let mut server = server.joined(&rooms);
    let bodies =
        ["Hello, how are you?", "Concat the \u{c4}rger.", "k\u{c4}SEbrot", "free\u{a0} moneys"];
    let frames = bodies.map(|body| {
        let push = |room| format!(r#"["1","2","{room}","new_msg",{{"body":"{body}"}}]"#);
        rooms.each_ref().map(|room| frame(&push(room)))
    });
    check(&mut server, |server| {
        for frames in &frames {
            for conn in 0..CONNS {
                for frame in frames {
                    server.says(conn, frame);
                }
            }
            server.turns();
            server.pass(60);
        }
    });
}

#[test]
fn an_answer_with_mentions_and_data_in_a_room_whose_messages_change() {
    let rooms = rooms();
    let mut server = Server::with_rooms(&rooms);
    let payload = r#"{"body":"Fine.","reply_to":2,"mentions":["u1"],"data":{"a":[1]}}"#;
    for (event, payload) in [
        ("new_msg", r#"{"body":"Hello."}"#),
        ("new_msg", r#"{"body":"How are you?","reply_to":1}"#),
        ("msg_edit", r#"{"offset":1,"body":"Hi."}"#),
    ] {
        for room in &rooms {
            server.says(0, &frame(&format!(r#"["1","2","{room}","{event}",{payload}]"#)));
        }
        server.turns();
    }
    let frames = rooms.map(|room| frame(&format!(r#"["1","2","{room}","new_msg",{payload}]"#)));
    check(&mut server, |server| {
        for conn in 0..CONNS {
            for frame in &frames {
                server.says(conn, frame);
            }
        }
        server.turns();
        server.pass(60);
    });
}

/// The frames of a push in each room.
fn pushes(rooms: &[String; 2], event: &str, payload: &str) -> [Vec<u8>; 2] {
    rooms.each_ref().map(|room| frame(&format!(r#"["1","2","{room}","{event}",{payload}]"#)))
}

/// Does something that may allocate.
fn aside(server: &mut Server, does: impl FnOnce(&mut Server)) {
    let counts = COUNTS.replace(false);
    does(server);
    COUNTS.set(counts);
}

#[test]
fn a_message_in_rooms_with_members_a_mute_and_slow_mode() {
    let rooms = rooms();
    let mut server = Server::with_rooms(&rooms);
    for (event, payload) in [
        ("room_set", r#"{"slow_s":1,"speak":"members","links":false}"#),
        ("room_member", r#"{"user":"u1","role":"moderator"}"#),
        ("room_member", r#"{"user":"u2","role":"member"}"#),
        ("room_member", r#"{"user":"u3","role":"member"}"#),
        ("room_member", r#"{"user":"u4","role":"member","muted_s":-1}"#),
    ] {
        for frame in &pushes(&rooms, event, payload) {
            server.says(0, frame);
        }
        server.turns();
    }
    let frames = pushes(&rooms, "new_msg", r#"{"body":"Hello."}"#);
    check(&mut server, |server| {
        // Those who may, one who is muted, one who is no member, and one for whom it is too soon.
        for conn in (0..CONNS).chain([2]) {
            for frame in &frames {
                server.says(conn, frame);
            }
        }
        server.turns();
        server.pass(1_100);
    });
}

#[test]
fn a_message_in_rooms_with_reactions_pins_and_a_message_that_grows() {
    let rooms = rooms();
    let mut server = Server::with_rooms(&rooms);
    let frames = pushes(&rooms, "new_msg", r#"{"body":"Hello."}"#);
    let streams = pushes(&rooms, "new_msg", r#"{"body":"It ","stream":true}"#);
    let first = Cell::new(1);
    check(&mut server, |server| {
        let offset = first.replace(first.get() + 1 + CONNS);
        aside(server, |server| {
            let mut pushed = vec![streams.clone()];
            for (event, of, rest) in [
                ("msg_append", offset, r#","text":"grows. ""#),
                ("msg_react", offset, r#","emoji":"ok""#),
                ("msg_pin", offset, ""),
                // One before it has ended by then, and is not pinned any more.
                ("msg_append", offset.saturating_sub(1 + CONNS).max(1), r#","done":true"#),
                ("msg_pin", offset.saturating_sub(2 * (1 + CONNS)).max(1), r#","on":false"#),
            ] {
                pushed.push(pushes(&rooms, event, &format!(r#"{{"offset":{of}{rest}}}"#)));
            }
            for frames in &pushed {
                for frame in frames {
                    server.says(0, frame);
                }
                server.turns();
            }
            // All that was collected is told.
            server.pass(300);
        });
        for conn in 0..CONNS {
            for frame in &frames {
                server.says(conn, frame);
            }
        }
        server.turns();
        server.pass(60);
    });
}

#[test]
fn a_custom_event_that_names_its_sender() {
    let rooms = rooms();
    let mut server = Server::with_rooms(&rooms);
    let frames: Vec<Vec<u8>> = (0..CONNS)
        .map(|conn| {
            frame(&format!(r#"["1","2","{}","wave",{{"user":"u{conn}"}}]"#, rooms[conn % 2]))
        })
        .collect();
    check(&mut server, |server| {
        frames.iter().enumerate().for_each(|(conn, frame)| server.says(conn, frame));
        server.turns();
    });
}

#[test]
fn a_custom_event_to_which_the_sender_is_added() {
    check_push("wave", r#"{"x":1.5,"y":[1,2]}"#);
}

#[test]
fn a_custom_event_that_is_refused() {
    check_push("wave", "[1]");
    check_push("wave", r#"{"user":"somebody else"}"#);
}

#[test]
fn typing() {
    check_push("typing", "{}");
}

#[test]
fn an_echo() {
    check_push("echo", r#"{"x":1}"#);
}

#[test]
fn a_page_of_history() {
    let rooms = rooms();
    let mut server = Server::with_rooms(&rooms);
    let says = rooms
        .each_ref()
        .map(|room| frame(&format!(r#"["1","2","{room}","new_msg",{{"body":"hi"}}]"#)));
    let asks = rooms
        .each_ref()
        .map(|room| frame(&format!(r#"["1","3","{room}","history",{{"limit":10}}]"#)));
    for frame in says.iter().cycle().take(60) {
        server.says(0, frame);
    }
    server.turns();
    check(&mut server, |server| {
        for frame in &asks {
            server.says(0, frame);
        }
        server.turns();
    });
}

#[test]
fn a_heartbeat() {
    let mut server = Server::new();
    let heartbeat = frame(r#"[null,"7","phoenix","heartbeat",{}]"#);
    check(&mut server, |server| {
        (0..CONNS).for_each(|conn| server.says(conn, &heartbeat));
        server.turns();
    });
}

#[test]
fn a_ping() {
    let mut server = Server::new();
    check(&mut server, |server| {
        (0..CONNS).for_each(|conn| server.says(conn, b"\x89\x84\0\0\0\0ping"));
        server.turns();
    });
}

#[test]
fn a_frame_that_comes_in_two_parts() {
    let mut server = Server::new();
    let heartbeat = frame(r#"[null,"7","phoenix","heartbeat",{}]"#);
    check(&mut server, |server| {
        for part in [&heartbeat[..9], &heartbeat[9..]] {
            (0..CONNS).for_each(|conn| server.says(conn, part));
            server.turns();
        }
    });
}

#[test]
#[should_panic(expected = "in 100 rounds")]
fn an_allocation_is_seen() {
    let mut server = Server::new();
    let heartbeat = frame(r#"[null,"7","phoenix","heartbeat",{}]"#);
    check(&mut server, |server| {
        let copy = heartbeat.clone();
        server.says(0, &copy);
        server.turns();
    });
}

#[test]
fn a_join_a_leave_and_a_crash_in_a_room_with_others_in_it() {
    let rooms = rooms();
    let mut server = Server::with_rooms(&rooms);
    let says = |event| {
        rooms.each_ref().map(|room| frame(&format!(r#"["1","1","{room}","{event}",{{}}]"#)))
    };
    let (joins, leaves, crashes) = (says("phx_join"), says("phx_leave"), says("phx_nonsense"));
    let heartbeat = frame(r#"[null,"7","phoenix","heartbeat",{}]"#);
    check(&mut server, |server| {
        (0..CONNS).for_each(|conn| server.says(conn, &heartbeat));
        // At home and from afar, and one after the other: who is in no room at all has nothing to
        // keep its rooms in.
        for (conn, room) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            for ends in [&leaves, &crashes] {
                server.says(conn, &ends[room]);
                server.turns();
                server.says(conn, &joins[room]);
                server.turns();
                // While the room rests.
                server.pass(50);
            }
        }
        server.pass(1_000);
    });
}

#[test]
fn a_second_join_in_the_place_of_the_first() {
    let rooms = rooms();
    let mut server = Server::with_rooms(&rooms);
    let joins =
        rooms.each_ref().map(|room| frame(&format!(r#"["1","1","{room}","phx_join",{{}}]"#)));
    let heartbeat = frame(r#"[null,"7","phoenix","heartbeat",{}]"#);
    check(&mut server, |server| {
        (0..CONNS).for_each(|conn| server.says(conn, &heartbeat));
        for frame in &joins {
            server.says(0, frame);
        }
        server.turns();
        server.pass(600);
    });
}

/// So many come at once, join a room with others in it, say something, begin to say more, and are
/// gone.
const STORM: usize = 20_000;

/// What lies at each connection's index stays: its places in dense arrays, and those of its chunk.
const PLACE_BYTES: usize = 24;

/// What may be left besides: memory for whoever comes next.
const LEFT_BYTES: usize = 512 * 1_024;

#[test]
fn a_storm_leaves_no_memory_behind() {
    let rooms = rooms();
    let mut server = Server::with_rooms(&rooms);
    let others: Vec<_> = rooms.iter().map(|room| room.replace(':', ":other-")).collect();
    let settle = |server: &mut Server| (0..40).for_each(|_| server.pass(500));
    settle(&mut server);
    let before = server.held_bytes();
    for number in 0..STORM {
        let host = number % 2;
        let turn = &mut Turn { now: server.now, io: &mut server.nets[host] };
        let key = server.shards[host].open(turn).expect("there is place");
        let mut bytes = upgrade(number).into_bytes();
        for room in rooms.iter().chain(&others) {
            bytes.extend(frame(&format!(r#"["1","1","{room}","phx_join",{{}}]"#)));
        }
        server.shards[host].received(turn, key, &mut bytes);
        server.conns.push((host, key));
    }
    (0..10).for_each(|_| server.pass(300));
    for (host, key) in server.conns.drain(CONNS..).collect::<Vec<_>>() {
        let turn = &mut Turn { now: server.now, io: &mut server.nets[host] };
        let mut bytes = frame(&format!(r#"["1","2","{}","typing",{{}}]"#, rooms[0]));
        bytes.truncate(20);
        server.shards[host].received(turn, key, &mut bytes);
        server.conns.push((host, key));
    }
    server.turns();
    for (host, key) in server.conns.split_off(CONNS) {
        let turn = &mut Turn { now: server.now, io: &mut server.nets[host] };
        server.shards[host].hung_up(turn, key);
    }
    // A turn ends some of them.
    while server.shards.iter().map(Shard::conns_count).sum::<usize>() > CONNS {
        server.pass(1);
    }
    settle(&mut server);
    server.conns.shrink_to(CONNS);
    let left = server.held_bytes().saturating_sub(before);
    assert!(
        left <= STORM * PLACE_BYTES + LEFT_BYTES,
        "{left} bytes are left of {STORM} who have gone"
    );
}

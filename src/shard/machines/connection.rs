//! What a connection speaks, from its first byte to its end: `conn/stage.rs`.

use super::{Machine, Row, World, all, check, frame, upgrade};
use crate::conn::Stage;
use crate::limits::Limits;
use crate::link::ids::ConnKey;
use crate::link::record::ToMember;
use crate::link::topic::of_room;
use crate::wire::ws::frame::Opcode;

all! {
    /// [`Stage`], and that it is being closed, or is not there.
    At { None, Http, Waiting, Unsettled, Settled, Echo, Closing, }
}

impl At {
    fn of(world: &World, conn: ConnKey) -> Self {
        let conns = &world.shard.members.conns;
        if !conns.contains(conn) {
            return Self::None;
        }
        if conns.flags(conn.index()).is_closing() {
            return Self::Closing;
        }
        match conns.stage(conn) {
            Stage::Http => Self::Http,
            Stage::Waiting => Self::Waiting,
            Stage::Unsettled => Self::Unsettled,
            Stage::Settled => Self::Settled,
            Stage::Echo => Self::Echo,
        }
    }
}

all! {
    Event {
        /// The kernel has one more.
        Accepted,
        /// Another shard hands one off.
        TakenOver,
        /// A request that is answered here, on a connection that is kept.
        Request,
        /// The same, on one that is not.
        LastRequest,
        /// A request that another shard answers.
        Question,
        /// That shard answers, or has begun anew.
        Answer,
        /// See `Answer`.
        Restarted,
        /// A request for a WebSocket.
        Upgrade,
        /// The same, for one that says what it hears.
        EchoUpgrade,
        /// A message that is no join.
        Heartbeat,
        /// A join of a room whose home is here.
        Join,
        /// A join of a small room whose home is on another shard.
        JoinElsewhere,
        /// A close frame.
        CloseFrame,
        /// Nothing is heard for as long as may be.
        Deadline,
        /// The server stops.
        Drain,
        /// The peer has ended its half.
        Ended,
        /// It is gone.
        HungUp,
    }
}

/// What is for a connection that speaks HTTP.
const REQUESTS: &[Event] =
    &[Event::Request, Event::LastRequest, Event::Question, Event::Upgrade, Event::EchoUpgrade];

/// What is for a WebSocket.
const FRAMES: &[Event] = &[Event::Heartbeat, Event::Join, Event::JoinElsewhere, Event::CloseFrame];

const TABLE: &[Row<At, Event>] = &[
    // Its key finds nothing any more.
    (At::None, REQUESTS, At::None, ""),
    (At::None, FRAMES, At::None, ""),
    (At::None, &[Event::Accepted], At::Http, ""),
    (At::None, &[Event::TakenOver], At::Settled, ""),
    (At::None, &[Event::Answer, Event::Restarted, Event::Deadline], At::None, ""),
    (At::None, &[Event::Drain, Event::Ended, Event::HungUp], At::None, ""),
    //
    (At::Http, &[Event::Accepted, Event::TakenOver], At::Http, ""),
    (At::Http, &[Event::Request], At::Http, "200"),
    (At::Http, &[Event::LastRequest], At::Closing, "200, shut"),
    (At::Http, &[Event::Question], At::Waiting, "Create, parked"),
    (At::Http, &[Event::Upgrade], At::Unsettled, "101"),
    (At::Http, &[Event::EchoUpgrade], At::Echo, "101"),
    (At::Http, FRAMES, At::Closing, "400, shut"),
    (At::Http, &[Event::Answer, Event::Restarted], At::Http, ""),
    (At::Http, &[Event::Drain], At::Closing, "shut"),
    (At::Http, &[Event::Deadline, Event::Ended, Event::HungUp], At::None, ""),
    //
    (At::Waiting, &[Event::Accepted, Event::TakenOver], At::Waiting, "parked"),
    (At::Waiting, REQUESTS, At::Waiting, "parked"),
    (At::Waiting, FRAMES, At::Waiting, "parked"),
    (At::Waiting, &[Event::Answer], At::Http, "201"),
    (At::Waiting, &[Event::Restarted], At::Http, "503"),
    // It is answered first.
    (At::Waiting, &[Event::Deadline, Event::Drain], At::Waiting, "parked"),
    (At::Waiting, &[Event::Ended, Event::HungUp], At::None, ""),
    //
    (At::Unsettled, &[Event::Accepted, Event::TakenOver], At::Unsettled, ""),
    (At::Unsettled, REQUESTS, At::Closing, "close 1002, shut"),
    (At::Unsettled, &[Event::Answer, Event::Restarted], At::Unsettled, ""),
    (At::Unsettled, &[Event::Heartbeat], At::Unsettled, "ok"),
    (At::Unsettled, &[Event::Join], At::Settled, "ok, presence_diff, presence_state"),
    (At::Unsettled, &[Event::JoinElsewhere], At::None, "handed off"),
    (At::Unsettled, &[Event::CloseFrame], At::Closing, "close 1000, shut"),
    (At::Unsettled, &[Event::Deadline], At::Closing, "close 1002, shut"),
    (At::Unsettled, &[Event::Drain], At::Closing, "close 1012, shut"),
    (At::Unsettled, &[Event::Ended, Event::HungUp], At::None, ""),
    //
    (At::Settled, &[Event::Accepted, Event::TakenOver], At::Settled, ""),
    (At::Settled, REQUESTS, At::Closing, "close 1002, shut"),
    (At::Settled, &[Event::Answer, Event::Restarted], At::Settled, ""),
    (At::Settled, &[Event::Heartbeat], At::Settled, "ok"),
    (At::Settled, &[Event::Join], At::Settled, "ok, presence_diff, presence_state"),
    (At::Settled, &[Event::JoinElsewhere], At::Settled, "Join"),
    (At::Settled, &[Event::CloseFrame], At::Closing, "close 1000, shut"),
    (At::Settled, &[Event::Deadline], At::Closing, "close 1002, shut"),
    (At::Settled, &[Event::Drain], At::Closing, "close 1012, shut"),
    (At::Settled, &[Event::Ended, Event::HungUp], At::None, ""),
    //
    (At::Echo, &[Event::Accepted, Event::TakenOver], At::Echo, ""),
    (At::Echo, REQUESTS, At::Closing, "close 1002, shut"),
    (At::Echo, &[Event::Answer, Event::Restarted], At::Echo, ""),
    (At::Echo, &[Event::Heartbeat], At::Echo, "heartbeat"),
    (At::Echo, &[Event::Join, Event::JoinElsewhere], At::Echo, "phx_join"),
    (At::Echo, &[Event::CloseFrame], At::Closing, "close 1000, shut"),
    (At::Echo, &[Event::Deadline], At::Closing, "close 1002, shut"),
    (At::Echo, &[Event::Drain], At::Closing, "close 1012, shut"),
    (At::Echo, &[Event::Ended, Event::HungUp], At::None, ""),
    // What it sends is thrown away.
    (At::Closing, REQUESTS, At::Closing, ""),
    (At::Closing, FRAMES, At::Closing, ""),
    (At::Closing, &[Event::Accepted, Event::TakenOver], At::Closing, ""),
    (At::Closing, &[Event::Answer, Event::Restarted, Event::Drain], At::Closing, ""),
    (At::Closing, &[Event::Deadline, Event::Ended, Event::HungUp], At::None, ""),
];

/// The connection that all is about. Newcomers change nothing for it.
struct Subject(ConnKey);

impl Default for Subject {
    fn default() -> Self {
        Self(ConnKey::NONE)
    }
}

impl Subject {
    fn or(&mut self, newcomer: ConnKey) {
        if self.0 == ConnKey::NONE {
            self.0 = newcomer;
        }
    }
}

impl Machine for Subject {
    type State = At;
    type Event = Event;

    fn way(state: At) -> &'static [Event] {
        match state {
            At::None => &[],
            At::Http => &[Event::Accepted],
            At::Waiting => &[Event::Accepted, Event::Question],
            At::Unsettled => &[Event::Accepted, Event::Upgrade],
            At::Settled => &[Event::TakenOver],
            At::Echo => &[Event::Accepted, Event::EchoUpgrade],
            At::Closing => &[Event::Accepted, Event::Upgrade, Event::CloseFrame],
        }
    }

    fn happen(&mut self, world: &mut World, event: Event) {
        let conn = self.0;
        let get = |header: &str| format!("GET / HTTP/1.1\r\nHost: x\r\n{header}\r\n");
        let join = |home| format!(r#"["1","1","{}","phx_join",{{}}]"#, of_room(&World::room(home)));
        match event {
            Event::Accepted => self.or(world.accept()),
            Event::TakenOver => self.or(world.take_over()),
            Event::Request => world.receive(conn, get("").as_bytes()),
            Event::LastRequest => world.receive(conn, get("Connection: close\r\n").as_bytes()),
            Event::Question => {
                world.receive(conn, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
            }
            Event::Answer => {
                world.hear(ToMember::Created { conn, status: 201, retry_ms: 0, body: "{}" });
            }
            Event::Restarted => world.hear_restart(),
            Event::Upgrade => {
                world.receive(conn, &upgrade("/socket/websocket?vsn=2.0.0&token=ann"));
            }
            Event::EchoUpgrade => world.receive(conn, &upgrade("/echo")),
            Event::Heartbeat => world.say(conn, r#"[null,"1","phoenix","heartbeat",{}]"#),
            Event::Join => world.say(conn, &join(0)),
            Event::JoinElsewhere => world.say(conn, &join(1)),
            Event::CloseFrame => world.receive(conn, &frame(Opcode::Close, &[])),
            Event::Deadline => world.pass(world.shard.settings().limits.idle_ms + 2_000),
            Event::Drain => world.with(|shard, turn| shard.drain(turn, 0)),
            Event::Ended => world.with(|shard, turn| shard.ended(turn, conn)),
            Event::HungUp => world.with(|shard, turn| shard.hung_up(turn, conn)),
        }
        world.note_parked(conn);
    }

    fn state(&self, world: &mut World) -> At {
        At::of(world, self.0)
    }
}

#[test]
fn a_connection_goes_where_its_table_says() {
    let source = include_str!("../../conn/stage.rs");
    check::<Subject>(source, (At::ALL, Event::ALL), TABLE);
}

/// A connection that has asked this, and takes five bytes of the answer each 20 s.
fn slow_reader(world: &mut World, request: &[u8]) -> ConnKey {
    let conn = world.accept();
    world.net.takes = Some(5);
    world.receive(conn, request);
    for _ in 0..6 {
        world.pass(20_000);
        world.take(conn, 5);
    }
    conn
}

#[test]
fn an_answer_that_is_taken_slowly_is_sent_to_its_end() {
    for (manner, told) in [("close", "shut"), ("keep-alive", "")] {
        let mut world = World::new();
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\nConnection: {manner}\r\n\r\n");
        let conn = slow_reader(&mut world, request.as_bytes());
        assert!(world.shard.members.conns.has_answer(conn), "{manner}: there is some left");
        world.take(conn, 1_000);
        assert!(!world.shard.members.conns.has_answer(conn), "{manner}: and it is sent");
        assert_eq!(world.net.told.join(", "), told, "{manner}");

        let conn = slow_reader(&mut world, request.as_bytes());
        let before = world.shard.metrics().overflowed;
        world.pass(Limits::default().out_ms + 1_000);
        assert!(!world.shard.members.conns.contains(conn), "{manner}: it takes nothing");
        assert_eq!(world.shard.metrics().overflowed, before + 1, "{manner}: and is counted");
    }
}

#[test]
fn who_takes_no_answer_is_read_no_further_before_a_heartbeat_would_wait_too_long() {
    let mut world = World::new();
    let conn = world.take_over();
    world.net.takes = Some(0);
    let heartbeat = frame(Opcode::Text, br#"[null,"1","phoenix","heartbeat",{}]"#);
    for _ in 0..100 {
        world.receive(conn, &heartbeat.repeat(100));
    }
    let conns = &mut world.shard.members.conns;
    let most = Limits::default().out_mark_bytes();
    assert!((most..most + 1_000).contains(&conns.out_bytes(conn)) && most <= 128 * 1_024);
    assert!(conns.flags(conn.index()).is_parked());
}

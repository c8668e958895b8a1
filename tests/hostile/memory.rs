//! Memory runs short: who is outside stays there first, then nobody joins, then those go who hold
//! the most; nobody else notices.

use crate::metrics::{value, value_on};
use crate::peer::{Peer, connect, join, number, publish};
use crate::server::{Server, until};

/// The bound. Nothing in here comes near it but the log of a room with a member that does not take
/// it.
const MEMORY_BYTES: u64 = 8 << 20;
const MARKS: [u64; 3] = [MEMORY_BYTES * 80 / 100, MEMORY_BYTES * 90 / 100, MEMORY_BYTES];
const BODY_BYTES: usize = 16_000;

const USED: &str = "chinwag_memory_bytes";
const REFUSED: &str = "chinwag_refused_total{limit=\"limits.memory_bytes\"}";
const LOST: &str = "chinwag_lost_for_memory_total";

fn start(settings: &[&str]) -> Server {
    let memory = format!("limits.memory_bytes={MEMORY_BYTES}");
    let mut all = vec![
        "shards=1",
        "http.metrics=true",
        "limits.publish_per_s=0",
        "limits.admission_wait_ms=100",
        "limits.room_lag_bytes=409600",
        "history.messages=0",
        "history.total_bytes=1048576",
        &memory,
    ];
    all.extend(settings);
    Server::start(&all)
}

/// A session of long polling that never polls: it has no socket that could take anything, so all
/// that is for it stays in the server.
struct DeafSession {
    token: String,
    poster: Peer,
}

impl DeafSession {
    fn open(server: &Server) -> Self {
        let token = server.token("Deaf");
        let mut poster = Peer::new(connect(server));
        let request = format!(
            "GET /socket/longpoll?vsn=2.0.0&token={token} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        );
        poster.send_raw(request.as_bytes());
        let answer = poster.answer();
        let (_, rest) =
            answer.body.split_once(r#""token":""#).unwrap_or_else(|| panic!("{answer:?}"));
        Self { token: rest.split('"').next().unwrap().to_owned(), poster }
    }

    /// Says these, a line each. False if the session has ended.
    fn say(&mut self, messages: &str) -> bool {
        let request = format!(
            "POST /socket/longpoll?vsn=2.0.0&token={} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n\
             Content-Length: {}\r\n\r\n{messages}",
            self.token,
            messages.len()
        );
        self.poster.send_raw(request.as_bytes());
        self.poster.answer().body.contains("200")
    }

    /// Joins all rooms.
    fn join_rooms(&mut self) {
        let message =
            |room| format!(r#"["1","1","room:room-{room}","phx_join",{{"presence":false}}]"#);
        assert!(self.say(&(0..ROOMS).map(message).collect::<Vec<_>>().join("\n")));
    }
}

/// Rooms with a member that does not take what is said; each holds half a mebibyte when it is full.
const ROOMS: usize = 24;
const MESSAGES: u64 = 22;

/// Says as much in a room as makes its log full, and waits until that has been seen.
fn fill(room: usize, speaker: &mut Peer, probe: &mut Peer) -> u64 {
    let before = value_on(probe, USED);
    let body = "x".repeat(BODY_BYTES);
    for reference in 0..MESSAGES {
        speaker.send_raw(&publish(&format!("room-{room}"), reference, &body));
        assert!(speaker.await_text("phx_reply").contains("\"ok\""), "who is in goes on");
    }
    let mut used = before;
    until("it is counted", || {
        used = value_on(probe, USED);
        used > before + (1 << 18) || value_on(probe, LOST) > 0
    });
    used
}

#[test]
fn as_memory_runs_short_nobody_comes_then_nobody_joins_then_the_laggards_go() {
    let server = start(&[]);
    let mut session = DeafSession::open(&server);
    session.join_rooms();
    let mut probe = Peer::new(connect(&server));
    let mut speaker = server.guest("Ann");
    for room in 0..ROOMS {
        speaker.join(&format!("room-{room}"), r#"{"presence":false}"#);
    }
    let mut rooms = 0..ROOMS;
    let mut fill_up_to = |bytes: u64, speaker: &mut Peer, probe: &mut Peer| {
        while fill(rooms.next().expect("there are more rooms than memory"), speaker, probe) < bytes
        {
        }
        assert_eq!(value_on(probe, LOST), 0, "nobody goes before the last mark");
    };
    fill_up_to(MARKS[0] - (1 << 20), &mut speaker, &mut probe);
    assert!(server.guest("Bob").join("tea", "{}").contains("\"ok\""));
    assert_eq!(value_on(&mut probe, REFUSED), 0);

    fill_up_to(MARKS[0], &mut speaker, &mut probe);
    Peer::new(connect(&server)).ended();
    assert_eq!(value_on(&mut probe, REFUSED), 1, "a connection");
    assert!(speaker.join("milk", "{}").contains("\"ok\""), "who is in may still join");

    fill_up_to(MARKS[1], &mut speaker, &mut probe);
    speaker.send_raw(&join("coffee", "{}"));
    let answer = speaker.await_text("coffee");
    assert!(answer.contains("\"busy\"") && number(&answer, "retry_ms") > 0, "{answer}");
    assert_eq!(value_on(&mut probe, REFUSED), 2, "and a join");

    // The last mark is never seen: those who lag have gone by then.
    while value_on(&mut probe, LOST) == 0 {
        fill(rooms.next().expect("there are more rooms than memory"), &mut speaker, &mut probe);
        assert!(value_on(&mut probe, USED) < MARKS[2]);
    }
    assert!(value_on(&mut probe, LOST) < 5, "and no more than need be");
    // It is no client of ours: with this it ends, and all is free again.
    assert!(!session.say("[]"));
    until("there is room again", || value_on(&mut probe, USED) < MARKS[0]);
    assert!(server.guest("Bob").join("coffee", "{}").contains("\"ok\""));
    assert_eq!(value(&server, "chinwag_closed_total{reason=\"memory\"}"), 0);
}

#[test]
fn who_holds_the_most_is_closed_and_those_who_hold_little_are_not() {
    let server = start(&["limits.conn_out_bytes=67108864"]);
    let mut probe = Peer::new(connect(&server));
    let mut bystander = server.guest("Ann");
    bystander.join("tea", "{}");
    let mut sessions = [DeafSession::open(&server), DeafSession::open(&server)];
    let echo = format!(r#"["1","2","room:tea","echo","{}"]"#, "x".repeat(50_000));
    for session in &mut sessions {
        assert!(session.say(r#"["1","1","room:tea","phx_join",{"presence":false}]"#));
    }
    // One holds a little, the other more and more.
    let [modest, greedy] = &mut sessions;
    assert!(modest.say(&echo));
    while greedy.say(&echo) {
        assert!(value_on(&mut probe, USED) < MEMORY_BYTES);
    }
    assert!(modest.say(&echo));
    assert_eq!(value_on(&mut probe, "chinwag_closed_total{reason=\"memory\"}"), 1);
    bystander.send(r#"[null,"9","phoenix","heartbeat",{}]"#);
    bystander.await_text("phx_reply");
}

//! A session of long polling: `conn/session.rs`.

use super::{Machine, Row, World, all, check, frame};
use crate::base::arena::Key;
use crate::conn::SessionToken;
use crate::limits::{POLL_ANSWER_BYTES, SESSION_TIMEOUT_MS, slow_link_ms};
use crate::link::ids::{ConnKey, Ticket};
use crate::link::record::{FromSession, Received, ToSession, read};
use crate::wire::json::field;
use crate::wire::ws::frame::Opcode;

all! {
    /// Whether there is something for it, and whether a poll waits.
    At { None, Quiet, Loaded, Polled, Ended, }
}

impl At {
    fn of(world: &mut World, session: ConnKey) -> Self {
        let conns = &mut world.shard.members.conns;
        if !conns.contains(session) {
            return Self::None;
        }
        let is_closing = conns.flags(session.index()).is_closing();
        match (is_closing, conns.is_polled(session), conns.out_bytes(session) > 0) {
            (true, ..) => Self::Ended,
            (_, true, _) => Self::Polled,
            (.., true) => Self::Loaded,
            _ => Self::Quiet,
        }
    }
}

all! {
    Event {
        /// A client asks for one.
        Opened,
        /// A poll of who has had all answers.
        Poll,
        /// A poll of who has not had the last one.
        LatePoll,
        /// Something comes for it: the answer to what is posted.
        Answer,
        /// A close frame is posted.
        CloseFrame,
        /// The connection that polls has gone.
        Abandoned,
        /// The shard of that connection has begun anew.
        Restarted,
        /// The poll has waited for as long as it may, or there was none.
        Deadline,
        /// The token ends.
        Expired,
        /// The server stops.
        Drain,
    }
}

const TABLE: &[Row<At, Event>] = &[
    (At::None, &[Event::Opened], At::Quiet, "200"),
    (At::None, &[Event::Poll, Event::LatePoll], At::None, "Gone"),
    (At::None, &[Event::Answer, Event::CloseFrame], At::None, "Posted 410"),
    (At::None, &[Event::Abandoned, Event::Restarted, Event::Deadline], At::None, ""),
    (At::None, &[Event::Expired, Event::Drain], At::None, ""),
    //
    (At::Quiet, &[Event::Opened], At::Quiet, "200"),
    (At::Quiet, &[Event::Poll], At::Polled, ""),
    // What was in the answer that was lost is gone, and so is the session.
    (At::Quiet, &[Event::LatePoll], At::None, "Gone"),
    (At::Quiet, &[Event::Answer], At::Loaded, "Posted 200"),
    (At::Quiet, &[Event::CloseFrame], At::None, "Posted 400"),
    (At::Quiet, &[Event::Abandoned, Event::Restarted], At::Quiet, ""),
    (At::Quiet, &[Event::Deadline, Event::Expired, Event::Drain], At::None, ""),
    //
    (At::Loaded, &[Event::Opened], At::Loaded, "200"),
    (At::Loaded, &[Event::Poll], At::Quiet, "Polled 200"),
    (At::Loaded, &[Event::LatePoll], At::None, "Gone"),
    (At::Loaded, &[Event::Answer], At::Loaded, "Posted 200"),
    (At::Loaded, &[Event::CloseFrame], At::None, "Posted 400"),
    (At::Loaded, &[Event::Abandoned, Event::Restarted], At::Loaded, ""),
    // There is something to be told, and the end behind it.
    (At::Loaded, &[Event::Expired], At::Ended, ""),
    (At::Loaded, &[Event::Deadline, Event::Drain], At::None, ""),
    //
    (At::Polled, &[Event::Opened], At::Polled, "200"),
    (At::Polled, &[Event::Poll], At::Polled, "Polled 204"),
    // Of nobody: who polls now has had all.
    (At::Polled, &[Event::LatePoll], At::Polled, "Gone"),
    (At::Polled, &[Event::Answer], At::Quiet, "Posted 200, Polled 200"),
    (At::Polled, &[Event::CloseFrame], At::None, "Polled 500, Posted 400"),
    (At::Polled, &[Event::Abandoned, Event::Restarted], At::Quiet, ""),
    (At::Polled, &[Event::Deadline], At::Quiet, "Polled 204"),
    (At::Polled, &[Event::Expired, Event::Drain], At::None, "Polled 500"),
    //
    (At::Ended, &[Event::Opened], At::Ended, "200"),
    (At::Ended, &[Event::Poll], At::None, "Polled 200"),
    // The end is for who has had all before it.
    (At::Ended, &[Event::LatePoll], At::Ended, "Gone"),
    (At::Ended, &[Event::Answer, Event::CloseFrame], At::Ended, "Posted 410"),
    (At::Ended, &[Event::Abandoned, Event::Restarted, Event::Expired], At::Ended, ""),
    (At::Ended, &[Event::Deadline, Event::Drain], At::None, ""),
];

/// A session on this shard. A connection of the other shard polls it, and another one posts.
struct Subject(Ticket);

impl Default for Subject {
    fn default() -> Self {
        Self(Ticket { shard: 0, key: ConnKey::NONE, secret: 0, answer: 0 })
    }
}

impl Subject {
    /// Opens a session, and learns its ticket if it is the first.
    fn open(&mut self, world: &mut World) {
        let opener = world.accept();
        let request = b"GET /socket/longpoll?vsn=2.0.0&token=ann HTTP/1.1\r\nHost: x\r\n\r\n";
        world.receive(opener, request);
        if self.0.key == ConnKey::NONE {
            let answer = String::from_utf8_lossy(&world.net.written);
            let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
            let token = field(body, "token")
                .and_then(|token| SessionToken::read(token.trim_matches('"'), None));
            self.0 = token.expect("a token").ticket;
        }
        world.with(|shard, turn| shard.hung_up(turn, opener));
    }
}

impl Machine for Subject {
    type State = At;
    type Event = Event;

    fn way(state: At) -> &'static [Event] {
        match state {
            At::None => &[],
            At::Quiet => &[Event::Opened],
            At::Polled => &[Event::Opened, Event::Poll],
            At::Loaded => &[Event::Opened, Event::Answer],
            At::Ended => &[Event::Opened, Event::Answer, Event::Expired],
        }
    }

    fn happen(&mut self, world: &mut World, event: Event) {
        let ticket = self.0;
        let late = Ticket { answer: ticket.answer.wrapping_sub(1), ..ticket };
        let (conn, posts) = (Key::from_u64(5 << 32), Key::from_u64(6 << 32));
        match event {
            Event::Opened => self.open(world),
            Event::Poll => world.hear(ToSession::Poll { conn, ticket }),
            Event::LatePoll => world.hear(ToSession::Poll { conn, ticket: late }),
            Event::Answer => {
                let frames = &frame(Opcode::Text, br#"[null,"1","phoenix","heartbeat",{}]"#);
                world.hear(ToSession::Post { conn: posts, ticket, frames });
            }
            Event::CloseFrame => {
                let frames = &frame(Opcode::Close, &[]);
                world.hear(ToSession::Post { conn: posts, ticket, frames });
            }
            Event::Abandoned => world.hear(ToSession::Abandon { conn, ticket }),
            Event::Restarted => world.hear_restart(),
            Event::Deadline => world.pass(SESSION_TIMEOUT_MS + 1_000),
            Event::Expired => {
                let left_ms = World::END_S * 1_000 - world.now.unix_ms;
                world.pass(left_ms);
            }
            Event::Drain => world.with(|shard, turn| shard.drain(turn, 0)),
        }
    }

    fn state(&self, world: &mut World) -> At {
        At::of(world, self.0.key)
    }
}

#[test]
fn a_session_goes_where_its_table_says() {
    let source = include_str!("../../conn/session.rs");
    check::<Subject>(source, (At::ALL, Event::ALL), TABLE);
}

/// So many heartbeats are posted to a session, and handled.
fn post_heartbeats(world: &mut World, ticket: Ticket, count: usize) {
    let heartbeat = frame(Opcode::Text, br#"[null,"1","phoenix","heartbeat",{}]"#);
    let frames = &heartbeat.repeat(count);
    world.hear(ToSession::Post { conn: Key::from_u64(6 << 32), ticket, frames });
    (0..20).for_each(|_| world.pass(1));
}

/// Polls, and returns the messages in the answer.
fn polled(world: &mut World, ticket: Ticket) -> String {
    world.hear(ToSession::Poll { conn: Key::from_u64(5 << 32), ticket });
    let Received::FromSession(FromSession::Polled { messages, .. }) = read(&world.net.sent) else {
        panic!("it is answered")
    };
    String::from_utf8(messages.to_vec()).expect("JSON")
}

#[test]
fn an_answer_is_bounded_and_the_rest_is_left_for_the_next_poll() {
    let (mut world, mut subject) = (World::new(), Subject::default());
    subject.open(&mut world);
    post_heartbeats(&mut world, subject.0, 1_000);
    let replies = |messages: &str| messages.matches("phx_reply").count();
    let first = polled(&mut world, subject.0);
    assert!((POLL_ANSWER_BYTES..POLL_ANSWER_BYTES + 200).contains(&first.len()));
    let second = polled(&mut world, subject.0.next());
    assert_eq!(replies(&first) + replies(&second), 1_000, "and nothing is lost");
}

#[test]
fn a_session_has_time_for_the_answer_that_its_client_receives() {
    let (mut world, mut subject) = (World::new(), Subject::default());
    subject.open(&mut world);
    post_heartbeats(&mut world, subject.0, 500);
    let received_ms = slow_link_ms(polled(&mut world, subject.0).len());
    assert!(received_ms > 5_000);
    let mut is_there = |after_ms| {
        world.pass(after_ms);
        world.shard.members.conns.contains(subject.0.key)
    };
    assert!(is_there(received_ms + SESSION_TIMEOUT_MS - 1_000), "it is received, and then some");
    assert!(!is_there(3_000));
}

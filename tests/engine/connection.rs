//! One connection: what it finds, in which order it answers and tells, and how it ends.

use std::time::Duration;

use chinwag::side::engine::command::{Command, Failure, News, Place, Pushed, Reply};
use chinwag::side::engine::redis::{Cause, Event};
use tokio::time::timeout;

use super::node::{Node, message, runtime, target};
use super::proxy::Proxy;
use super::servers::{KINDS, Kind, Server};

const TOPIC: &str = "room:tea";

#[test]
fn what_a_server_is_is_known_from_the_start() {
    for kind in KINDS {
        let server = Server::start(kind, &["--appendonly", "yes", "--appendfsync", "always"]);
        runtime().block_on(async {
            let node = Node::connect(&target(&server, 7)).await.expect("a connection");
            let facts = &node.connection.facts()[0];
            assert_eq!(facts.is_valkey, kind == Kind::Valkey);
            assert_eq!((facts.replicas, facts.has_aof), (0, true));
            assert_eq!(facts.appendfsync.as_deref(), Some("always"));
            assert!(!facts.version.is_empty() && facts.branch.len() == 40, "{facts:?}");
        });
    }
}

/// Whoever reads a room may leave out what it heard before the answer, and misses nothing behind
/// it: so none of the crate's ways for answers and for pushes is faster than the other.
#[test]
fn what_is_heard_behind_the_answer_of_a_read_goes_on_where_that_ends() {
    for kind in KINDS {
        let server = Server::start(kind, &[]);
        runtime().block_on(async {
            let target = target(&server, 1);
            let mut speaker = Node::connect(&target).await.expect("a connection");
            let mut reader = Node::connect(&target).await.expect("a connection");
            for round in 0..200 {
                // Neither waits for the other, so the read is somewhere among these.
                for _ in 0..8 {
                    speaker.send_append(TOPIC, 1, vec![message(b"tea")]);
                }
                reader.send(Command::Subscribe { topic: TOPIC.into() });
                let read = reader.send(Command::Read { topic: TOPIC.into() });
                let said = speaker.send(Command::Ping);
                speaker.wait(said).await;
                let last = reader.send(Command::Unsubscribe { topic: TOPIC.into() });
                check_order(&mut reader, read, last, round * 8).await;
            }
        });
    }
}

/// Looks at all that is told until the last answer.
async fn check_order(reader: &mut Node, read: u64, last: u64, said_before: u64) {
    let mut top = None;
    loop {
        match reader.events.recv().await.expect("an event") {
            Event::Answered { number, .. } if number == last => break,
            Event::Answered { number, result: Ok(Reply::State(state)) } => {
                assert_eq!(number, read);
                top = Some(state.head.map_or(0, |head| head.top.offset));
            }
            Event::Answered { result, .. } => assert_eq!(result, Ok(Reply::Done)),
            Event::Pushed(Pushed::News { news: News { entries, .. }, .. }) => {
                let Place::Message(offset) = entries[0].place else { panic!("{entries:?}") };
                match &mut top {
                    Some(top) => {
                        *top += 1;
                        assert_eq!(offset, *top, "nothing is missed, and nothing told again");
                    }
                    None => assert!(offset > said_before, "it is of this round: {offset}"),
                }
            }
            event => panic!("{event:?}"),
        }
    }
    assert_eq!(top, Some(said_before + 8));
}

#[test]
fn each_command_is_answered_once_before_the_end_and_nothing_comes_after_it() {
    for kind in KINDS {
        let server = Server::start(kind, &[]);
        runtime().block_on(async {
            let mut node = Node::connect(&target(&server, 1)).await.expect("a connection");
            node.append(TOPIC, 1, vec![message(b"tea")]).await;
            server.signal("-STOP");
            let numbers: Vec<u64> =
                (0..100).map(|_| node.send_append(TOPIC, 1, vec![message(b"tea")])).collect();
            server.signal("-KILL");
            for expected in numbers {
                let event = node.events.recv().await.expect("an event");
                let result = Err(Failure::Lost);
                assert_eq!(event, Event::Answered { number: expected, result });
            }
            let end = node.events.recv().await.expect("an event");
            assert!(matches!(end, Event::Ended { .. }), "{end:?}");
            node.send(Command::Ping);
            drop(node.connection);
            assert_eq!(node.events.recv().await, None, "nothing comes after the end");
        });
    }
}

#[test]
fn a_connection_that_is_dropped_is_closed_and_tells_nothing() {
    let server = Server::start(Kind::Redis, &[]);
    runtime().block_on(async {
        let mut node = Node::connect(&target(&server, 1)).await.expect("a connection");
        let mut witness = Node::connect(&target(&server, 2)).await.expect("a connection");
        node.send(Command::Ping);
        drop(node.connection);
        assert_eq!(node.events.recv().await, None);
        // Its own channel is heard by nobody once it is closed.
        let mut look = server.look();
        let channel = format!("cw:n:{:016x}", 1);
        loop {
            let counts: Vec<redis::Value> = redis::cmd("PUBSUB")
                .arg(&["SHARDNUMSUB", &channel])
                .query(&mut look)
                .expect("a count");
            if counts.last() == Some(&redis::Value::Int(0)) {
                break;
            }
            witness.hear().await;
        }
    });
}

/// The crate would take it for the answer of the next command, and all others would be wrong.
#[test]
fn a_subscription_that_the_server_ends_ends_the_connection() {
    let channel = "cw:{6}:room:tea";
    let push = format!(">3\r\n$12\r\nsunsubscribe\r\n${}\r\n{channel}\r\n:1\r\n", channel.len());
    let why = end_after(push.as_bytes());
    assert!(why.contains("ended a subscription"), "{why}");
}

#[test]
fn what_is_not_understood_ends_the_connection() {
    for (said, why) in [
        (&b"?\r\n"[..], "parse"),
        (b":1\r\n:2\r\n", "another form"),
        (b"$3\r\nabc\r\n", "another form"),
        (b"*1\r\n$3\r\nabc\r\n", "another form"),
        (b"%1\r\n+a\r\n+b\r\n", "another form"),
        (b">2\r\n$8\r\nsmessage\r\n$15\r\ncw:{6}:room:tea\r\n", "another form"),
        (b">3\r\n$8\r\nsmessage\r\n:1\r\n:2\r\n", "another form"),
    ] {
        let ended = end_after(said).to_lowercase();
        assert!(ended.contains(why), "{}: {ended}", String::from_utf8_lossy(said));
    }
}

/// Whoever has the engine's password may say anything there.
#[test]
fn what_somebody_else_says_on_our_channels_is_told_as_such_and_ends_nothing() {
    for kind in KINDS {
        let server = Server::start(kind, &[]);
        runtime().block_on(async {
            let mut node = Node::connect(&target(&server, 1)).await.expect("a connection");
            node.call(Command::Subscribe { topic: TOPIC.into() }).await.0.expect("it is heard");
            node.call(Command::HearList { partition: 6 }).await.0.expect("it is heard");
            let mut look = server.look();
            let mut say = |channel: &str, what: &[u8]| {
                let mut say = redis::cmd("SPUBLISH");
                say.arg(channel).arg(what).exec(&mut look).expect("it is said");
            };
            for what in [&b""[..], b"X", b"E", b"Enew", &[0xFF; 100]] {
                say("cw:{6}:room:tea", what);
                let foreign = Pushed::Foreign { topic: Some(TOPIC.into()) };
                assert_eq!(node.hear().await, [foreign], "{what:?}");
            }
            for what in [&b""[..], b"X", &[0xFF; 100]] {
                say("cw:l:{6}", what);
                assert_eq!(node.hear().await, [Pushed::Foreign { topic: None }], "{what:?}");
            }
            let number = node.send_append(TOPIC, 1, vec![message(b"tea")]);
            node.wait(number).await;
        });
    }
}

#[test]
fn a_connection_on_which_more_is_pushed_than_is_taken_ends() {
    let server = Server::start(Kind::Redis, &[]);
    runtime().block_on(async {
        let connector = Node::connector(&target(&server, 1)).expect("an address");
        let mut slow = Node::connect_within(&connector, 20_000).await.expect("a connection");
        slow.call(Command::Subscribe { topic: TOPIC.into() }).await.0.expect("it is heard");
        let mut speaker = Node::connect(&target(&server, 2)).await.expect("a connection");
        for _ in 0..100 {
            speaker.append(TOPIC, 1, vec![message(&[7; 1_000])]).await;
        }
        let mut pushes = 0;
        let cause = loop {
            match slow.events.recv().await.expect("an event") {
                Event::Pushed(_) => pushes += 1,
                Event::Ended { cause, .. } => break cause,
                event @ Event::Answered { .. } => panic!("{event:?}"),
            }
        };
        assert_eq!(cause, Cause::Overflown);
        assert!((10..20).contains(&pushes), "what came before that is told: {pushes}");
        assert_eq!(slow.events.waiting_bytes(), 0);
    });
}

#[test]
fn a_connection_on_which_more_is_answered_than_is_taken_ends_but_not_for_one_room() {
    let server = Server::start(Kind::Redis, &[]);
    runtime().block_on(async {
        let connector = Node::connector(&target(&server, 1)).expect("an address");
        let mut node = Node::connect_within(&connector, 20_000).await.expect("a connection");
        node.append(TOPIC, 1, vec![message(&[7; 1_000]); 40]).await;
        assert_eq!(node.read(TOPIC).await.messages.len(), 40, "it is larger than what may wait");
        let mut other = Node::connect(&target(&server, 2)).await.expect("a connection");
        for _ in 0..100 {
            node.send(Command::Read { topic: TOPIC.into() });
            other.append(TOPIC, 1, vec![message(b"tea")]).await;
        }
        let mut answers = Vec::new();
        let cause = loop {
            match node.events.recv().await.expect("an event") {
                Event::Answered { result, .. } => answers.push(result),
                Event::Ended { cause, .. } => break cause,
                event @ Event::Pushed(_) => panic!("{event:?}"),
            }
        };
        assert_eq!(cause, Cause::Overflown);
        let [Ok(Reply::State(_)), lost @ ..] = &answers[..] else { panic!("{answers:?}") };
        assert!(lost.iter().all(|lost| *lost == Err(Failure::Lost)), "what was asked is answered");
        assert!(!lost.is_empty() && node.events.waiting_bytes() == 0);
    });
}

/// Why a connection ends on which something is said that was not asked for, while a room is
/// appended to.
fn end_after(said: &[u8]) -> String {
    let server = Server::start(Kind::Redis, &[]);
    let proxy = Proxy::start(server.port);
    runtime().block_on(async {
        let mut target = target(&server, 1);
        target.url = format!("redis://127.0.0.1:{}", proxy.port).into();
        let mut node = Node::connect(&target).await.expect("a connection");
        node.append(TOPIC, 1, vec![message(b"tea")]).await;
        server.signal("-STOP");
        let number = node.send_append(TOPIC, 1, vec![message(b"tea")]);
        proxy.say(said);
        let mut next = async || timeout(Duration::from_secs(10), node.events.recv()).await;
        let answer = next().await.expect("in time");
        assert_eq!(answer, Some(Event::Answered { number, result: Err(Failure::Lost) }));
        match next().await.expect("in time") {
            Some(Event::Ended { why, .. }) => why.into(),
            event => panic!("{event:?}"),
        }
    })
}

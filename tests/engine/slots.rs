//! A node at a cluster: each primary is asked for what it has, and what is said when slots move, or
//! somebody is not there. What members hear meanwhile is in `tests/cluster/`.

use std::collections::BTreeSet;
use std::time::Duration;

use chinwag::side::engine::command::{Command, Failure, Pushed, Receipt, Reply};
use chinwag::side::engine::partition::partition;
use chinwag::side::engine::redis::{ConnectError, Event, Target};
use tokio::time::timeout;

use super::clusters::Cluster;
use super::node::{Node, PARTITIONS, message, runtime, target};
use super::refusals::{ask, check_passing, check_unfit};
use super::servers::{KINDS, Kind, Server};

fn of(cluster: &Cluster, node: u64) -> Target {
    with_url(cluster.url(), &cluster.primaries[0], node)
}

fn with_url(url: String, server: &Server, node: u64) -> Target {
    Target { url: url.into(), ..target(server, node) }
}

/// A room of each partition.
fn rooms() -> Vec<String> {
    let of = |wanted| {
        let mut names = (0..).map(|number| format!("room:{number}"));
        names.find(|topic| partition(topic, PARTITIONS) == wanted).expect("some number is in it")
    };
    (0..PARTITIONS).map(of).collect()
}

fn slot_of(cluster: &Cluster, topic: &str) -> u16 {
    cluster.slot_of(topic, PARTITIONS)
}

/// The answer to a command. What is told by other primaries meanwhile is kept in `heard`.
async fn call(
    node: &mut Node,
    command: Command,
    heard: &mut Vec<Pushed>,
) -> Result<Reply, Failure> {
    let asked = node.send(command);
    loop {
        match next(node).await {
            Event::Answered { number, result } if number == asked => return result,
            Event::Pushed(pushed) => heard.push(pushed),
            event => panic!("{event:?}"),
        }
    }
}

async fn next(node: &mut Node) -> Event {
    let event = timeout(Duration::from_secs(20), node.events.recv()).await;
    event.expect("in time").expect("an event")
}

/// Why a connection ends. What is answered before is left out.
async fn ended(node: &mut Node) -> Box<str> {
    loop {
        if let Event::Ended { why, .. } = next(node).await {
            return why;
        }
    }
}

fn append(topic: &str, epoch: u64) -> Command {
    let topic = topic.into();
    let entries = vec![message(b"tea")];
    let append = chinwag::side::engine::command::Append { topic, fresh_epoch: epoch, entries };
    Command::Append(append)
}

/// Which rooms are on which primary, as those say.
fn kept(cluster: &Cluster) -> Vec<BTreeSet<String>> {
    let rooms = |server: &Server| {
        let keys: Vec<String> =
            redis::cmd("KEYS").arg("cw:*:m:*").query(&mut server.look()).expect("keys");
        keys.iter().map(|key| key.split_once(":m:").expect("a topic").1.to_owned()).collect()
    };
    cluster.primaries.iter().map(rooms).collect()
}

#[test]
fn each_primary_has_its_rooms_and_all_is_heard_on_one_connection() {
    for kind in KINDS {
        let cluster = Cluster::start(kind, 3);
        let rooms = rooms();
        runtime().block_on(async {
            let mut here = Node::connect(&of(&cluster, 1)).await.expect("a connection");
            // Who is configured leads to the others.
            let url = format!("redis+cluster://127.0.0.1:{}", cluster.primaries[2].port);
            let second = with_url(url, &cluster.primaries[0], 2);
            let mut there = Node::connect(&second).await.expect("a connection");
            assert_eq!(here.connection.facts().len(), 3);
            assert_eq!(here.connection.secret(), there.connection.secret());
            let mut heard = Vec::new();
            for (partition, topic) in (0..PARTITIONS).zip(&rooms) {
                let subscribe = Command::Subscribe { topic: topic.as_str().into() };
                for command in [subscribe, Command::HearList { partition }] {
                    assert_eq!(call(&mut there, command, &mut heard).await, Ok(Reply::Done));
                }
                let answer = call(&mut here, append(topic, 7), &mut Vec::new()).await;
                let Ok(Reply::Appended { receipts, .. }) = answer else { panic!("{answer:?}") };
                assert!(matches!(receipts[..], [Receipt::Message { offset: 1, .. }]));
                let read = call(&mut there, Command::Read { topic: (**topic).into() }, &mut heard);
                let Ok(Reply::State(state)) = read.await else { panic!("{topic}") };
                assert!(state.is_current, "the branch is that of its primary");
                let list = call(&mut there, Command::List { partition, cursor: 0 }, &mut heard);
                let Ok(Reply::Listed { rooms, .. }) = list.await else { panic!("{topic}") };
                assert_eq!(rooms.iter().map(|room| &*room.topic).collect::<Vec<_>>(), [&**topic]);
            }
            let record = b"told".to_vec();
            let tell = Command::Tell { node: 2, record: record.clone() };
            assert_eq!(call(&mut here, tell, &mut Vec::new()).await, Ok(Reply::Heard(1)));
            while !heard.contains(&Pushed::Told { record: record.clone() }) || heard.len() < 33 {
                match next(&mut there).await {
                    Event::Pushed(pushed) => heard.push(pushed),
                    event => panic!("{event:?}"),
                }
            }
            let news = heard.iter().filter_map(|pushed| match pushed {
                Pushed::News { topic, .. } => Some(String::from(&**topic)),
                _ => None,
            });
            assert_eq!(news.collect::<BTreeSet<_>>(), rooms.iter().cloned().collect());
            for (node, life) in [(1, 0), (2, 0)] {
                let beat = Command::Beat { node, life, lease_ms: 60_000 };
                let beat = call(&mut here, beat, &mut Vec::new()).await;
                let Ok(Reply::Nodes { nodes, .. }) = beat else { panic!("{beat:?}") };
                assert_eq!(nodes.len() as u64, node);
            }
            let wait = |primary| Command::Wait { primary, replicas: 1, timeout_ms: 1 };
            for primary in 0..3 {
                let replicas = call(&mut here, wait(primary), &mut Vec::new()).await;
                assert_eq!(replicas, Ok(Reply::Replicas(0)));
            }
        });
        let kept = kept(&cluster);
        for topic in &rooms {
            let first = cluster.first_of(slot_of(&cluster, topic));
            assert!(kept[first].contains(topic), "{kind:?}: {topic} is not at {first}");
        }
        assert_eq!(kept.iter().map(BTreeSet::len).sum::<usize>(), rooms.len());
    }
}

#[test]
fn what_is_asked_of_a_slot_that_moves_is_refused_and_then_the_connection_ends() {
    for kind in KINDS {
        let cluster = Cluster::start(kind, 2);
        let rooms = rooms();
        let topic = &*rooms[0];
        let slot = slot_of(&cluster, topic);
        let from = cluster.first_of(slot);
        let to = 1 - from;
        runtime().block_on(async {
            let mut node = Node::connect(&of(&cluster, 1)).await.expect("a connection");
            let mut heard = Vec::new();
            let subscribe = Command::Subscribe { topic: topic.into() };
            call(&mut node, subscribe, &mut heard).await.expect("it is heard");
            for topic in &rooms {
                call(&mut node, append(topic, 7), &mut heard).await.expect("it is taken");
            }
            cluster.begin_to_move(slot, from, to);
            // Of its keys all are still here, but for those that are nowhere; then some; then none.
            for (count, word) in [(0, "TRYAGAIN"), (1, "TRYAGAIN"), (100, "ASK")] {
                if count > 0 {
                    cluster.move_keys(slot, from, to, count);
                }
                let appended = call(&mut node, append(topic, 8), &mut heard).await;
                check_refused(&appended, &[word]);
                let read = call(&mut node, Command::Read { topic: topic.into() }, &mut heard).await;
                check_refused(&read, &["ASK", "TRYAGAIN"]);
                for other in rooms.iter().filter(|topic| slot_of(&cluster, topic) != slot) {
                    let appended = call(&mut node, append(other, 8), &mut heard).await;
                    assert!(appended.is_ok(), "{other}: {appended:?}");
                }
            }
            cluster.end_to_move(slot, from, to);
            let why = ended(&mut node).await;
            assert!(why.contains("has ended a subscription"), "{why}");
            let mut node = connect_at_last(&of(&cluster, 1)).await;
            let read = call(&mut node, Command::Read { topic: topic.into() }, &mut heard).await;
            let Ok(Reply::State(state)) = read else { panic!("{read:?}") };
            assert!(!state.is_current, "it is another engine's history");
            let appended = call(&mut node, append(topic, 8), &mut heard).await;
            let Ok(Reply::Appended { head, receipts }) = appended else { panic!("{appended:?}") };
            assert!(matches!(receipts[..], [Receipt::Message { offset: 2, .. }]), "{receipts:?}");
            let lineage = head.lineage.iter().map(|ended| (ended.epoch, ended.kept.offset));
            assert_eq!((head.epoch, lineage.collect::<Vec<_>>()), (8, vec![(7, 1)]));
        });
    }
}

#[track_caller]
fn check_refused(answer: &Result<Reply, Failure>, words: &[&str]) {
    let Err(Failure::Refused(why)) = answer else { panic!("{words:?}: {answer:?}") };
    assert!(words.iter().any(|word| why.starts_with(word)), "{words:?}: {why}");
}

/// A connection, as soon as all primaries agree.
async fn connect_at_last(target: &Target) -> Node {
    let connector = Node::connector(target).expect("an address");
    let connect = async {
        loop {
            match Node::connect_by(&connector).await {
                Ok(node) => return node,
                Err(ConnectError::Passing(_)) => tokio::task::yield_now().await,
                Err(ConnectError::Unfit(why)) => panic!("{why}"),
            }
        }
    };
    timeout(Duration::from_secs(20), connect).await.expect("in time")
}

#[test]
fn a_slot_that_is_heard_of_by_nobody_is_missed_by_asking_for_it_and_by_looking() {
    let cluster = Cluster::start(Kind::Redis, 2);
    let topic = &*rooms()[0];
    let slot = slot_of(&cluster, topic);
    let from = cluster.first_of(slot);
    runtime().block_on(async {
        let rarely = Target { ping_ms: 600_000, ..of(&cluster, 1) };
        let mut asks = Node::connect(&rarely).await.expect("a connection");
        let mut looks = Node::connect(&of(&cluster, 2)).await.expect("a connection");
        // The first look is over.
        looks.hear().await;
        asks.hear().await;
        cluster.begin_to_move(slot, from, 1 - from);
        cluster.end_to_move(slot, from, 1 - from);
        let why = ended(&mut looks).await;
        assert!(why.contains(&format!("of who has slot {slot}")), "{why}");
        let answer = call(&mut asks, append(topic, 7), &mut Vec::new()).await;
        let Err(Failure::Elsewhere(why)) = &answer else { panic!("{answer:?}") };
        assert!(why.starts_with("MOVED"), "{why}");
    });
}

#[test]
fn one_primary_that_is_silent_or_gone_ends_all_and_each_command_is_answered_once_before() {
    let cluster = Cluster::start(Kind::Redis, 2);
    let target = Target { dead_ms: 500, timeout_ms: 1_000, ..of(&cluster, 1) };
    let second = &cluster.primaries[1];
    let place = format!("127.0.0.1:{}", second.port);
    let why = end_by(&target, || second.signal("-STOP"));
    assert_eq!(&*why, format!("{place}: it does not answer"));
    check_passing(&target, "has not answered in 1000 ms");
    second.signal("-CONT");
    end_by(&target, || second.signal("-KILL"));
    check_passing(&target, &place);
}

/// Something is asked of all primaries, and then one of them is lost. Why the connection ends.
fn end_by(target: &Target, lose: impl FnOnce()) -> Box<str> {
    runtime().block_on(async {
        let mut node = connect_at_last(target).await;
        lose();
        let asked: BTreeSet<_> = rooms().iter().map(|topic| node.send(append(topic, 7))).collect();
        let mut answered = BTreeSet::new();
        let why = loop {
            match next(&mut node).await {
                Event::Answered { number, result } => {
                    assert!(matches!(result, Ok(_) | Err(Failure::Lost)), "{result:?}");
                    assert!(answered.insert(number), "{number} is answered once");
                }
                Event::Ended { why, .. } => break why,
                Event::Pushed(_) => {}
            }
        };
        assert_eq!(answered, asked);
        assert!(node.events.try_recv().is_none(), "nothing comes behind the end");
        why
    })
}

#[test]
fn what_is_wrong_with_a_cluster_is_said_with_what_is_to_be_done() {
    for kind in KINDS {
        let alone = Server::start(kind, &[]);
        let url = format!("redis+cluster://127.0.0.1:{}", alone.port);
        check_unfit(&with_url(url, &alone, 1), &["is no part of a cluster", "redis://"]);

        let cluster = Cluster::start(kind, 2);
        let target = of(&cluster, 1);
        let second = &cluster.primaries[1];
        check_unfit(&with_url(second.url(), second, 1), &["part of a cluster", "redis+cluster://"]);

        ask(second, &["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
        let place = format!("127.0.0.1:{}", second.port);
        check_unfit(&target, &[&place, "allkeys-lru"]);
        ask(second, &["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
        connects(&target);
        let others = Target { partitions: 32, ..target.clone() };
        check_unfit(&others, &["partitions in cw:cfg is 16, and here 32"]);

        check_rights(&cluster);
        ask(second, &["CLUSTER", "DELSLOTS", "16383"]);
        check_passing(&target, "slot 16383");
    }
}

/// The message has the command that helps, so it is called here.
fn check_rights(cluster: &Cluster) {
    let as_chat = cluster.url().replacen("://", "://chat:pw@", 1);
    let target = with_url(as_chat, &cluster.primaries[0], 1);
    for server in &cluster.primaries {
        ask(server, &["ACL", "SETUSER", "chat", "on", ">pw", "~cw:*", "&cw:*", "+info"]);
    }
    check_unfit(&target, &["NOPERM", "+cluster|slots"]);
    for server in &cluster.primaries {
        ask(server, &["ACL", "SETUSER", "chat", "+cluster|slots"]);
    }
    let refused = runtime().block_on(async { Node::connect(&target).await.err() });
    let Some(ConnectError::Unfit(why)) = refused else { panic!("{refused:?}") };
    let (_, fix) = why.split_once("ACL SETUSER NAME ").expect("what is to be done");
    for server in &cluster.primaries {
        let chat = ["ACL", "SETUSER", "chat", "on", ">pw", "reset", "on", ">pw"];
        ask(server, &[&chat, &*fix.split(' ').collect::<Vec<_>>()].concat());
    }
    connects(&target);
}

fn connects(target: &Target) {
    runtime().block_on(async { Node::connect(target).await.map(drop).expect("a connection") });
}

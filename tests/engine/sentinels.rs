//! Sentinels: whom of them is believed, and what is said where none can be. What they do when a
//! primary dies is in `tests/cluster/`; here each is alone, and told what it believes.

use std::thread;
use std::time::Duration;

use chinwag::side::engine::redis::{ConnectError, Event, Target};
use tokio::time::timeout;

use super::node::{Node, message, runtime, target};
use super::refusals::{ask, check_passing, check_unfit};
use super::servers::{KINDS, Kind, Server};

/// A sentinel that knows of a failover with this number, which has led to this server.
fn sentinel(kind: Kind, epoch: u64, primary: &Server) -> Server {
    let port = primary.port;
    let config =
        format!("sentinel monitor tea 127.0.0.1 {port} 1\nsentinel config-epoch tea {epoch}\n");
    Server::sentinel(kind, &config)
}

/// A sentinel that wants a password.
fn locked_sentinel(kind: Kind, primary: &Server) -> Server {
    let port = primary.port;
    let config = format!("sentinel monitor tea 127.0.0.1 {port} 1\nrequirepass secret\n");
    Server::sentinel(kind, &config)
}

/// The service of these ports, as a node with this server's settings is told of it.
fn service(ports: &[u16], server: &Server) -> Target {
    let places: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    with_url(format!("redis+sentinel://{}/tea", places.join(",")), server)
}

fn with_url(url: String, server: &Server) -> Target {
    Target { url: url.into(), ..target(server, 1) }
}

/// Which of these servers a node is connected to.
async fn where_is(node: &mut Node, servers: &[&Server]) -> usize {
    let topic = "room:where";
    node.append(topic, 1, vec![message(b"here")]).await;
    let is_there = |server: &&Server| {
        let found = redis::cmd("KEYS").arg("cw:*:s:room:where").query(&mut server.look());
        let keys: Vec<String> = found.expect("keys");
        ask(server, &["FLUSHALL"]);
        !keys.is_empty()
    };
    let found: Vec<_> = servers.iter().map(is_there).collect();
    found.iter().position(|is_there| *is_there).expect("it is at one of them")
}

#[test]
fn a_sentinel_that_has_not_heard_of_the_last_failover_is_believed_by_nobody_for_long() {
    for kind in KINDS {
        let (old, new) = (Server::start(kind, &[]), Server::start(kind, &[]));
        let (late, knows) = (sentinel(kind, 1, &old), sentinel(kind, 2, &new));
        runtime().block_on(async {
            // Only the late one can be asked, so it is believed.
            knows.signal("-STOP");
            let target = service(&[late.port, knows.port], &old);
            let connector = Node::connector(&target).expect("an address");
            let mut node = Node::connect_by(&connector).await.expect("a connection");
            assert_eq!(where_is(&mut node, &[&old, &new]).await, 0);
            knows.signal("-CONT");
            match timeout(Duration::from_secs(10), node.events.recv()).await.expect("in time") {
                Some(Event::Ended { why, .. }) => {
                    let named = format!("name 127.0.0.1:{} as primary", new.port);
                    assert!(why.contains(&named), "{why}");
                }
                event => panic!("{event:?}"),
            }
            // From now on it is not, whichever is faster.
            for _ in 0..20 {
                node = Node::connect_by(&connector).await.expect("a connection");
                assert_eq!(where_is(&mut node, &[&old, &new]).await, 1);
            }
        });
    }
}

/// As when all of them were made anew: their numbers begin again.
#[test]
fn sentinels_that_all_know_of_fewer_failovers_than_before_are_believed() {
    let (old, new) = (Server::start(Kind::Redis, &[]), Server::start(Kind::Redis, &[]));
    let sentinel = sentinel(Kind::Redis, 7, &old);
    runtime().block_on(async {
        let connector = Node::connector(&service(&[sentinel.port], &old)).expect("an address");
        let mut node = Node::connect_by(&connector).await.expect("a connection");
        assert_eq!(where_is(&mut node, &[&old, &new]).await, 0);
        ask(&sentinel, &["SENTINEL", "REMOVE", "tea"]);
        ask(&sentinel, &["SENTINEL", "MONITOR", "tea", "127.0.0.1", &new.port.to_string(), "1"]);
        let ended = timeout(Duration::from_secs(10), node.events.recv()).await.expect("in time");
        assert!(matches!(ended, Some(Event::Ended { .. })), "{ended:?}");
        let mut node = Node::connect_by(&connector).await.expect("a connection");
        assert_eq!(where_is(&mut node, &[&old, &new]).await, 1);
    });
}

#[test]
fn sentinels_that_are_away_or_refuse_are_done_without_and_others_are_learned_of() {
    let server = Server::start(Kind::Redis, &[]);
    let (away, locked) = (sentinel(Kind::Redis, 0, &server), locked_sentinel(Kind::Redis, &server));
    let (configured, learned) =
        (sentinel(Kind::Redis, 0, &server), sentinel(Kind::Redis, 0, &server));
    let (away_port, locked_port) = (away.port, locked.port);
    drop(away);
    runtime().block_on(async {
        let target = service(&[away_port, locked_port, configured.port], &server);
        let connector = Node::connector(&target).expect("an address");
        let mut node = Node::connect_by(&connector).await.expect("a connection");
        where_is(&mut node, &[&server]).await;
        // As soon as it is named it is asked as those that are configured.
        timeout(Duration::from_secs(30), wait_until_asked(&learned, &mut node))
            .await
            .expect("in time");
        drop(configured);
        drop(node);
        let mut node = Node::connect_by(&connector).await.expect("a connection");
        where_is(&mut node, &[&server]).await;
    });
}

async fn wait_until_asked(sentinel: &Server, node: &mut Node) {
    let mut look = sentinel.look();
    while !is_asked(&mut look) {
        node.hear().await;
    }
}

/// Whether somebody else has asked a sentinel all that it is asked.
fn is_asked(look: &mut redis::Connection) -> bool {
    let list: String = redis::cmd("CLIENT").arg("LIST").query(look).expect("a list");
    list.contains("cmd=sentinel|sentinels")
}

#[test]
fn a_primary_that_hangs_while_it_is_connected_to_is_left_as_soon_as_sentinels_give_it_up() {
    let (old, new) = (Server::start(Kind::Redis, &[]), Server::start(Kind::Redis, &[]));
    let (late, knows) = (sentinel(Kind::Redis, 1, &old), sentinel(Kind::Redis, 2, &new));
    let service = service(&[late.port, knows.port], &old);
    let target = Target { timeout_ms: 600_000, ..service };
    let mut look = late.look();
    knows.signal("-STOP");
    old.signal("-STOP");
    let speaks = thread::spawn(move || {
        while !is_asked(&mut look) {
            thread::yield_now();
        }
        knows.signal("-CONT");
        knows
    });
    check_passing(&target, &format!("by now they name 127.0.0.1:{}", new.port));
    speaks.join().expect("it has spoken");
}

#[test]
fn what_is_wrong_with_sentinels_is_said_with_what_is_to_be_done() {
    for kind in KINDS {
        let server = Server::start(kind, &[]);
        let open = sentinel(kind, 0, &server);
        let place = format!("127.0.0.1:{}", open.port);
        let of = |url: String| with_url(url, &server);
        let unknown = of(format!("redis+sentinel://{place}/pot"));
        check_unfit(&unknown, &[&place, "knows no service pot", "SENTINEL MASTERS"]);
        check_unfit(&service(&[server.port], &server), &["is no sentinel"]);
        // It may be the one that is away which knows.
        check_passing(&of(format!("redis+sentinel://{place},127.0.0.1:1/pot")), "no service pot");

        let mut locked = locked_sentinel(kind, &server);
        let place = format!("127.0.0.1:{}", locked.port);
        check_unfit(&service(&[locked.port], &server), &[&place, "NOAUTH", "sentinel_password"]);
        let with = |who: &str| of(format!("redis+sentinel://{place}/tea?{who}"));
        check_unfit(
            &with("sentinel_password=wrong"),
            &["authentication failed", "sentinel_password"],
        );
        connects(&with("sentinel_password=secret"));
        check_rights(&locked, &with("sentinel_user=chat&sentinel_password=pw"));

        let with = with("sentinel_password=secret");
        let by_name = format!("127.0.0.1:{}, which sentinels name as primary", server.port);
        ask(&server, &["REPLICAOF", "127.0.0.1", "1"]);
        check_passing(&with, &format!("{by_name}: it is a replica"));
        drop(server);
        check_passing(&with, &by_name);
        locked.kill();
        check_passing(&with, &place);
    }
}

/// The message has the command that helps, so it is called here.
fn check_rights(sentinel: &Server, target: &Target) {
    let as_default = |words: &[&str]| {
        let url = format!("redis://:secret@127.0.0.1:{}", sentinel.port);
        let mut connection = redis::Client::open(url).expect("an address").get_connection();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]).exec(connection.as_mut().expect("a connection")).expect("done");
    };
    as_default(&["ACL", "SETUSER", "chat", "on", ">pw"]);
    let refused = runtime().block_on(async { Node::connect(target).await.err() });
    let Some(ConnectError::Unfit(why)) = refused else { panic!("{refused:?}") };
    let (_, fix) = why.split_once("ACL SETUSER NAME ").expect("what is to be done");
    as_default(&[&["ACL", "SETUSER", "chat"], &*fix.split(' ').collect::<Vec<_>>()].concat());
    connects(target);
}

fn connects(target: &Target) {
    runtime().block_on(async { Node::connect(target).await.map(drop).expect("a connection") });
}

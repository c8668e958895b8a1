//! Three sentinels that watch a primary and its replica: nodes go where those say, and nowhere
//! else.

use serde_json::json;

use crate::faults::{check_lost_tail, has, pair, say_at_last, told, wait_for_replica};
use crate::nodes::{Client, node, two_who_have_spoken};
use crate::peer::ask;
use crate::server::{self, until};
use crate::servers::{KINDS, Kind, Server};

/// What nodes are at engines: another user than sentinels, who alone can be cut off then.
const CHAT: &[&str] = &["ACL", "SETUSER", "chat", "on", ">p@ss", "~*", "&*", "+@all"];

/// Sentinels do in half a second what otherwise takes some, and wait for a busy machine before they
/// think that their clock was set. Pings come no faster: what a replica has said is out of date for
/// them after five, and they ask it once a second.
const IN_A_HURRY: [&[&str]; 4] = [
    &["INFO-PERIOD", "100"],
    &["PING-PERIOD", "500"],
    &["PUBLISH-PERIOD", "500"],
    &["TILT-TRIGGER", "60000"],
];

/// A primary with its replica, and who watches them.
struct Watched {
    primary: Server,
    replica: Server,
    sentinels: Vec<Server>,
}

impl Watched {
    fn start(kind: Kind) -> Self {
        let (primary, replica) = pair(kind);
        for engine in [&primary, &replica] {
            told::<()>(engine, CHAT);
        }
        let port = primary.port;
        let config = format!(
            "sentinel monitor tea 127.0.0.1 {port} 2\n\
             sentinel down-after-milliseconds tea 1000\n\
             sentinel failover-timeout tea 3000\n"
        );
        let sentinels = [(); 3].map(|()| {
            let sentinel = Server::sentinel(kind, &config);
            told::<()>(&sentinel, &[&["SENTINEL", "DEBUG"], &*IN_A_HURRY.concat()].concat());
            sentinel
        });
        until("sentinels know all that there is", || {
            sentinels.iter().all(|sentinel| {
                knows(sentinel, "num-slaves") == "1"
                    && knows(sentinel, "num-other-sentinels") == "2"
            })
        });
        Self { primary, replica, sentinels: sentinels.into() }
    }

    fn url(&self) -> String {
        let places: Vec<_> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        format!("redis+sentinel://chat:p%40ss@{}/tea", places.join(","))
    }

    fn nodes(&self, settings: &[&str]) -> [server::Server; 2] {
        [(); 2].map(|()| node(&self.url(), &[settings, &["http.metrics=true"]].concat()))
    }

    /// Waits until all sentinels name the replica as primary.
    fn wait_for_failover(&self) {
        let port = self.replica.port.to_string();
        until("sentinels have chosen", || {
            self.sentinels.iter().all(|sentinel| knows(sentinel, "port") == port)
        });
    }

    /// Waits until the old primary has become a replica of the other one, and has all of it.
    fn wait_for_return(&self) {
        until("it is a replica now", || {
            has(&self.primary, "master_port") == Some(self.replica.port.to_string())
                && has(&self.primary, "master_link_status").as_deref() == Some("up")
        });
    }
}

/// What a sentinel says of the primary.
fn knows(sentinel: &Server, name: &str) -> String {
    let all: Vec<(String, String)> = told(sentinel, &["SENTINEL", "MASTER", "tea"]);
    let found = all.into_iter().find(|(key, _)| key == name);
    found.expect("it is told").1
}

fn role(engine: &Server) -> Option<String> {
    has(engine, "role")
}

/// Sentinels give it up, since it does not answer them any more, and cannot turn it. Nodes are
/// answered.
fn cut_off(engine: &Server) {
    told::<()>(engine, &["ACL", "SETUSER", "default", "-ping", "-slaveof"]);
}

fn let_in(engine: &Server) {
    told::<()>(engine, &["ACL", "SETUSER", "default", "+ping", "+slaveof"]);
}

/// A gauge or counter of a node.
fn counted(node: &server::Server, name: &str) -> u64 {
    let answer = ask(node, b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    answer.body.lines().find_map(value).expect("it is counted")
}

/// How many messages an engine has of the room.
fn said(engine: &Server) -> u64 {
    let keys: Vec<String> = told(engine, &["KEYS", "cw:*:s:room:tea"]);
    keys.first().map_or(0, |key| told(engine, &["XLEN", key]))
}

#[test]
fn nodes_follow_sentinels_to_the_new_primary_and_those_who_saw_what_is_lost_are_told() {
    for kind in KINDS {
        let mut watched = Watched::start(kind);
        // `ok` does not wait for the replica.
        let nodes = watched.nodes(&["engine.ack=primary"]);
        let Watched { primary, replica, .. } = &mut watched;
        check_lost_tail(&nodes, primary, replica, || ());
    }
}

#[test]
fn an_old_primary_that_begins_again_is_not_gone_to_and_becomes_a_replica() {
    let mut watched = Watched::start(Kind::Redis);
    let nodes = watched.nodes(&["engine.ack=replica"]);
    let (mut ann, mut bob) = two_who_have_spoken(&nodes);
    watched.primary.kill();
    watched.wait_for_failover();
    watched.primary.begin_again();
    // There are two now, until somebody tells the old one.
    cut_off(&watched.primary);
    assert_eq!(role(&watched.primary).as_deref(), Some("master"));
    let late = node(&watched.url(), &["engine.ack=primary"]);
    let mut cyd = Client::join(&late, "cyd", "tea", &bob.cursor(1, 0));
    assert_eq!(cyd.joined["response"]["recovered"], true, "{}", cyd.joined);
    assert_eq!(role(&watched.primary).as_deref(), Some("master"), "it was one all the while");
    cyd.say("two");
    let_in(&watched.primary);
    watched.wait_for_return();
    // There is a replica again, so messages are acknowledged again.
    assert_eq!(say_at_last(&mut ann, "three"), 3);
    for client in [&mut bob, &mut cyd] {
        client.hear_until("three");
    }
    wait_for_replica(&watched.replica, &watched.primary);
}

#[test]
fn a_primary_that_sentinels_alone_have_given_up_is_left_within_a_moment() {
    let mut watched = Watched::start(Kind::Redis);
    // The primary answers all the while, so nodes have no other reason to leave it.
    let nodes = watched.nodes(&["engine.ack=primary"]);
    let (mut ann, mut bob) = two_who_have_spoken(&nodes);
    cut_off(&watched.primary);
    watched.wait_for_failover();
    let have = |name, count| nodes.iter().all(|node| counted(node, name) == count);
    until("nodes have left it", || have("chinwag_engine_connection_lives_total", 2));
    assert_eq!(role(&watched.primary).as_deref(), Some("master"), "it is one still");
    assert_eq!(say_at_last(&mut ann, "two"), 2);
    bob.hear_until("two");
    assert_eq!(said(&watched.primary), 1, "nothing was said to it");
    assert_eq!(said(&watched.replica), 2);
    until("all sentinels are asked", || have("chinwag_engine_sentinels", 3));
    watched.sentinels.pop();
    until("one is missed", || have("chinwag_engine_sentinels", 2));
    let_in(&watched.primary);
    watched.wait_for_return();
    assert_eq!(ann.say("three"), 3);
    bob.hear_until("three");
}

#[test]
fn a_primary_that_stood_still_for_too_long_is_not_believed_when_it_goes_on() {
    let watched = Watched::start(Kind::Redis);
    // Nodes would wait for it, if it were not for sentinels.
    let nodes = watched.nodes(&["engine.ack=primary", "engine.dead_ms=600000"]);
    let (mut ann, mut bob) = two_who_have_spoken(&nodes);
    // What it has not heard would be lost, and both be told.
    wait_for_replica(&watched.primary, &watched.replica);
    watched.primary.signal("-STOP");
    let doubtful = ann.ask("new_msg", &json!({ "body": "two", "key": "k" }));
    assert_eq!(doubtful["response"]["reason"], "unconfirmed", "{doubtful}");
    watched.wait_for_failover();
    let mut answer = doubtful;
    until("it is said at the new one", || {
        answer = ann.ask("new_msg", &json!({ "body": "two", "key": "k" }));
        answer["status"] == "ok"
    });
    assert_eq!(answer["response"]["offset"], 2);
    bob.hear_until("two");
    watched.primary.signal("-CONT");
    // What was on its way to the old one is said there, and is lost with what that was.
    for offset in 3..=20 {
        assert_eq!(ann.say(&format!("m{offset}")), offset);
    }
    bob.hear_until("m20");
    watched.wait_for_return();
    assert_eq!(ann.say("last"), 21);
    bob.hear_until("last");
}

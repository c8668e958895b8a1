//! The nodes of a cluster: what they say of who has which slots, each time it has to be known.
//!
//! ```text
//!            ┌── node: slots ──> primaries ── all agree ──> Connection ──┐
//!   ask ─────┼── node: the same                                         │ each is asked again
//!            └── node: silent       slots moved, or one is silent <──────┘ and again
//! ```
//!
//! A node that is cut off with an old primary, or has not heard yet that slots have moved, must not
//! be believed. So what one says counts only if all primaries that it names say the same of all
//! slots in which there is something of ours. Those that are named by nobody any more disagree with
//! those that are.
//!
//! Slots are looked after only here. A primary that is asked for what it has no more answers
//! `MOVED`, or ends a subscription by itself: then all is asked anew, too.
//!
//! Deliberately absent: replicas, which are only asked where the primaries are.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo};
use tokio::task::JoinSet;
use tokio::time::{self, MissedTickBehavior};

use super::address::at;
use super::connect::{ConnectError, not_made, unfit};
use super::fit::{call, command, foreign};
use super::life::{Connection, Signs};
use super::slots::{Member, NoSlots, Slots};

/// How many nodes are asked that are not configured.
const NAMED_MAX: usize = 16;

/// What a node has said, and where that is.
type Said = (ConnectionInfo, Result<Slots, ConnectError>);

/// The nodes of a cluster that are asked.
pub(super) struct Nodes {
    /// One at least.
    configured: Vec<ConnectionInfo>,
    /// Others, of the cluster that was connected to last.
    named: Vec<ConnectionInfo>,
}

/// The answers of all that are asked, as they come.
pub(super) struct Answers(JoinSet<Said>);

impl Answers {
    pub(super) async fn next(&mut self) -> Option<Said> {
        let answered = self.0.join_next().await?;
        Some(answered.expect("no task of it is ended, and none panics"))
    }
}

impl Nodes {
    pub(super) fn new(configured: Vec<ConnectionInfo>) -> Self {
        Self { configured, named: Vec::new() }
    }

    /// Asks all at once, so that one that is silent holds nobody up.
    pub(super) fn ask(&self, timeout: Duration) -> Answers {
        let mut answers = JoinSet::new();
        for info in self.configured.iter().chain(&self.named).cloned() {
            answers.spawn(async move {
                let asked = time::timeout(timeout, ask(info.clone())).await;
                let said = asked.unwrap_or_else(|_| Err(ConnectError::silent(timeout)));
                let said = said.map_err(|failure| failure.at(info.addr()));
                (info, said)
            });
        }
        Answers(answers)
    }

    /// Notes whom the node at this place knows.
    pub(super) fn learn(&mut self, asked: &ConnectionInfo, slots: &Slots) {
        let members = slots.primaries.iter().chain(&slots.replicas);
        let places = members.map(|member| place(asked, member));
        let is_new = |info: &ConnectionInfo| {
            self.configured.iter().all(|configured| configured.addr() != info.addr())
        };
        self.named = places.filter(is_new).take(NAMED_MAX).collect();
    }
}

/// Where the primaries are, as the node at this place says.
pub(super) fn primaries(asked: &ConnectionInfo, slots: &Slots) -> Vec<ConnectionInfo> {
    slots.primaries.iter().map(|member| place(asked, member)).collect()
}

/// Where a node is that another one has named.
fn place(asked: &ConnectionInfo, member: &Member) -> ConnectionInfo {
    let host = match (&member.host, asked.addr()) {
        (Some(host), _) => host,
        (None, ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. }) => &**host,
        (None, _) => unreachable!("nodes are named by host and port"),
    };
    at(asked, host, member.port)
}

async fn ask(info: ConnectionInfo) -> Result<Slots, ConnectError> {
    // Deadlines are those of whoever asks.
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let client = Client::open(info).map_err(|error| not_made(&error))?;
    let mut redis = client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .map_err(|error| not_made(&error))?;
    slots_of(&mut redis).await
}

/// Who has which slots, as a node says.
async fn slots_of(redis: &mut MultiplexedConnection) -> Result<Slots, ConnectError> {
    let answer = call(redis, command(&["CLUSTER", "SLOTS"])).await?;
    let answer = answer.map_err(|error| {
        let why = format!("{} {}", error.code(), error.details().unwrap_or_default());
        match error.code() {
            "NOPERM" | "NOAUTH" => unfit(format!("{why}: ACL SETUSER NAME +cluster|slots")),
            "ERR" if why.contains("cluster support disabled") => {
                unfit(format!("{why}: it is no part of a cluster, so engine.url is redis://"))
            }
            _ => ConnectError::Passing(why.into()),
        }
    })?;
    Slots::read(answer).map_err(|none| match none {
        NoSlots::Malformed => foreign(),
        NoSlots::Missing(slot) => {
            ConnectError::Passing(format!("it knows nobody who has slot {slot}").into())
        }
    })
}

/// Asks a primary whether it says the same of these slots.
pub(super) async fn check_agrees(
    redis: &mut MultiplexedConnection,
    slots: &Slots,
    ours: &[u16],
) -> Result<(), ConnectError> {
    match slots_of(redis).await?.differs(slots, ours) {
        None => Ok(()),
        Some(slot) => {
            let why = format!("another node says otherwise of who has slot {slot}");
            Err(ConnectError::Passing(why.into()))
        }
    }
}

/// Asks all primaries of a connection again and again, and returns as soon as one says that one of
/// these slots is somebody else's, or gives no sign: why the connection is of no use any more.
pub(super) fn changed(
    connection: &Connection,
    ours: &[u16],
    (every, dead): (Duration, Duration),
) -> impl Future<Output = String> + Send + use<> {
    let slots = connection.slots().clone();
    let mut watches = JoinSet::new();
    for ((redis, signs), facts) in connection.wires().zip(connection.facts()) {
        let (slots, ours, place) = (slots.clone(), ours.to_vec(), facts.place.clone());
        watches.spawn(async move {
            let why = watch(redis, signs, (&slots, &ours), (every, dead)).await;
            format!("{place}: {why}")
        });
    }
    async move {
        let ended = watches.join_next().await.expect("there is a primary");
        ended.expect("no task of it is ended, and none panics")
    }
}

/// The same, of one primary.
async fn watch(
    mut redis: MultiplexedConnection,
    signs: Signs,
    (slots, ours): (&Slots, &[u16]),
    (every, dead): (Duration, Duration),
) -> Box<str> {
    let mut turns = time::interval(every);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let before = signs.count();
        match time::timeout(dead, check_agrees(&mut redis, slots, ours)).await {
            Ok(Err(failure)) => return failure.into_why(),
            Err(_) if signs.count() == before => return "it does not answer".into(),
            // Else it is busy with what it was asked before.
            Ok(Ok(())) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use redis::{IntoConnectionInfo, Value};

    use super::*;

    fn info(url: &str) -> ConnectionInfo {
        url.into_connection_info().expect("an address")
    }

    /// One primary with its replica, as a node says that knows no host of its own.
    fn slots() -> Slots {
        let named = |host: Value, port, id: &str| {
            Value::Array(vec![host, Value::Int(port), Value::BulkString(id.into())])
        };
        let replica = named(Value::BulkString(b"two".into()), 2, "b");
        let run = vec![Value::Int(0), Value::Int(16_383), named(Value::Nil, 1, "a"), replica];
        Slots::read(Value::Array(vec![Value::Array(run)])).expect("slots")
    }

    #[test]
    fn a_node_without_a_host_is_where_it_was_asked_and_has_the_same_user() {
        let asked = info("redis://u:p@one:7");
        let primaries = primaries(&asked, &slots());
        let [primary] = &primaries[..] else { panic!("{primaries:?}") };
        assert_eq!(primary.addr().to_string(), "one:1");
        assert_eq!(primary.redis_settings().password(), Some("p"));
    }

    #[test]
    fn nodes_that_are_named_are_asked_as_long_as_they_are_and_none_twice() {
        let asked = info("redis://one:1");
        let mut nodes = Nodes::new(vec![asked.clone()]);
        nodes.learn(&asked, &slots());
        let named: Vec<_> = nodes.named.iter().map(|info| info.addr().to_string()).collect();
        assert_eq!(named, ["two:2"]);
        nodes.learn(&info("redis://three:7"), &slots());
        let named: Vec<_> = nodes.named.iter().map(|info| info.addr().to_string()).collect();
        assert_eq!(named, ["three:1", "two:2"]);
    }
}

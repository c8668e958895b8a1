//! Clusters of real servers: some primaries with the same number of slots each, and where one is
//! wanted a replica of the first.

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use chinwag::side::engine::partition::partition;
use redis::{FromRedisValue, RedisResult, Value};

use super::servers::{Kind, Server};

/// How many slots there are.
const SLOTS: usize = 16_384;

/// How long a cluster may take to agree.
const PATIENCE: Duration = Duration::from_mins(1);

/// A cluster. Its servers are stopped when it is dropped.
pub(crate) struct Cluster {
    pub(crate) primaries: Vec<Server>,
    pub(crate) replica: Option<Server>,
}

impl Cluster {
    /// Starts one in which nobody takes over, and waits until all of it agrees.
    pub(crate) fn start(kind: Kind, primaries: usize) -> Self {
        Self::start_with(kind, primaries, false, 60_000)
    }

    /// Starts one with a replica, which takes over when the first primary has been silent for so
    /// long, in milliseconds.
    pub(crate) fn start_with_replica(kind: Kind, primaries: usize, node_timeout_ms: u32) -> Self {
        Self::start_with(kind, primaries, true, node_timeout_ms)
    }

    fn start_with(kind: Kind, primaries: usize, has_replica: bool, node_timeout_ms: u32) -> Self {
        let member = || member(kind, node_timeout_ms);
        let (primaries, places): (Vec<_>, Vec<_>) = (0..primaries).map(|_| member()).unzip();
        let (replica, place) = has_replica.then(member).unzip();
        let cluster = Self { primaries, replica };
        for (at, server) in cluster.primaries.iter().enumerate() {
            let bound = |at: usize| at * SLOTS / cluster.primaries.len();
            let [first, last] = [bound(at), bound(at + 1) - 1].map(|slot| slot.to_string());
            told::<()>(server, &["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
            // Else nodes have to find out whose slots count.
            told::<()>(server, &["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()]);
        }
        // Each meets each: else it takes some seconds until they have heard of each other.
        for (at, (port, bus)) in places.iter().chain(&place).enumerate() {
            for server in cluster.servers().take(at) {
                told::<()>(server, &["CLUSTER", "MEET", "127.0.0.1", port, bus]);
            }
        }
        if let Some(replica) = &cluster.replica {
            let first: String = told(&cluster.primaries[0], &["CLUSTER", "MYID"]);
            wait(|| ask::<()>(replica, &["CLUSTER", "REPLICATE", &first]).is_ok());
        }
        cluster.wait_for_agreement();
        cluster
    }

    fn servers(&self) -> impl Iterator<Item = &Server> {
        self.primaries.iter().chain(&self.replica)
    }

    fn wait_for_agreement(&self) {
        let members = self.primaries.len() + usize::from(self.replica.is_some());
        let agrees = |server: &Server| {
            let info: String = told(server, &["CLUSTER", "INFO"]);
            let runs: Vec<Vec<Value>> = told(server, &["CLUSTER", "SLOTS"]);
            let named: usize = runs.iter().map(|run| run.len() - 2).sum();
            info.contains("cluster_state:ok") && named == members
        };
        wait(|| self.servers().all(agrees));
        if let Some(replica) = &self.replica {
            let is_up = |info: String| info.contains("master_link_status:up");
            wait(|| is_up(told(replica, &["INFO", "replication"])));
        }
    }

    /// The address by which nodes know it.
    pub(crate) fn url(&self) -> String {
        let place = |server: &Server| format!("127.0.0.1:{}", server.port);
        let places: Vec<_> = self.primaries.iter().map(place).collect();
        format!("redis+cluster://{}", places.join(","))
    }

    /// The slot of a room.
    pub(crate) fn slot_of(&self, topic: &str, partitions: u16) -> u16 {
        let tag = format!("{{{}}}", partition(topic, partitions));
        told(&self.primaries[0], &["CLUSTER", "KEYSLOT", &tag])
    }

    /// The primary that had a slot when the cluster was started.
    pub(crate) fn first_of(&self, slot: u16) -> usize {
        let count = self.primaries.len();
        (0..count).rfind(|at| at * SLOTS / count <= slot.into()).expect("one of them")
    }

    /// A slot begins to move from one primary to another.
    pub(crate) fn begin_to_move(&self, slot: u16, from: usize, to: usize) {
        let [source, target] = [&self.primaries[from], &self.primaries[to]];
        let [source_id, target_id] = [source, target].map(id);
        let slot = slot.to_string();
        told::<()>(target, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source_id]);
        told::<()>(source, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target_id]);
    }

    /// Some keys of a slot that moves go to the other primary. False, if there are none left.
    pub(crate) fn move_keys(&self, slot: u16, from: usize, to: usize, count: usize) -> bool {
        let [source, target] = [&self.primaries[from], &self.primaries[to]];
        let [slot, count] = [slot.into(), count].map(|number: usize| number.to_string());
        let keys: Vec<String> = told(source, &["CLUSTER", "GETKEYSINSLOT", &slot, &count]);
        let port = target.port.to_string();
        let migrate = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        if !keys.is_empty() {
            told::<()>(source, &[&migrate, &*keys].concat());
        }
        !keys.is_empty()
    }

    /// A slot has moved: all are told.
    pub(crate) fn end_to_move(&self, slot: u16, from: usize, to: usize) {
        let (slot, to_id) = (slot.to_string(), id(&self.primaries[to]));
        let others = (0..self.primaries.len()).filter(|at| ![from, to].contains(at));
        for at in [to, from].into_iter().chain(others) {
            told::<()>(&self.primaries[at], &["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
        }
    }
}

/// A server that belongs to a cluster of its own, with its port and that for others like it.
fn member(kind: Kind, node_timeout_ms: u32) -> (Server, (String, String)) {
    let bus = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let bus = bus.expect("a port").port().to_string();
    let node_timeout_ms = node_timeout_ms.to_string();
    let settings = [
        ["--cluster-enabled", "yes"],
        ["--cluster-port", &bus],
        ["--cluster-node-timeout", &node_timeout_ms],
        ["--cluster-replica-validity-factor", "0"],
    ];
    let server = Server::start(kind, &settings.concat());
    let port = server.port.to_string();
    (server, (port, bus))
}

fn id(server: &Server) -> String {
    told(server, &["CLUSTER", "MYID"])
}

fn ask<A: FromRedisValue>(server: &Server, words: &[&str]) -> RedisResult<A> {
    redis::cmd(words[0]).arg(&words[1..]).query(&mut server.look())
}

/// What a server answers to its administrator.
fn told<A: FromRedisValue>(server: &Server, words: &[&str]) -> A {
    ask(server, words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

fn wait(mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < PATIENCE, "the cluster does not agree");
        thread::sleep(Duration::from_millis(10));
    }
}

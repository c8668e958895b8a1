//! A server with two nodes, and the model beside it. What is asked is asked of both; where they
//! answer or tell otherwise, that is an error and not a panic, so that planted defects can be
//! looked for.

use std::collections::BTreeSet;
use std::time::SystemTime;

use chinwag::side::engine::command::{
    Append, Command, Entry, Failure, Head, Listed, Pushed, Receipt, Reply,
};
use chinwag::side::engine::partition::partition;
use chinwag::side::engine::redis::Library;
use redis::Connection;

use super::model::{Kept, Meta, Model, Room};
use super::node::{Node, PARTITIONS, target};
use super::servers::Server;

/// The library as it is.
pub(crate) fn library() -> &'static str {
    &Library::ours().text
}

/// How many lines of an audit trail the server must keep.
const AUDIT_LINES: u64 = 100;

pub(crate) struct World {
    pub(crate) model: Model,
    /// What the model and the server were at some time.
    then: (Model, Vec<Dump>),
    library: String,
    look: Connection,
    nodes: [Member; 2],
}

struct Member {
    number: u64,
    node: Node,
    /// The engine's history, as far as the node knows.
    branch: u64,
    hears: BTreeSet<Box<str>>,
    hears_lists: BTreeSet<u16>,
}

/// A key, its value as the server writes it, and when it expires.
type Dump = (Vec<u8>, Vec<u8>, u64);

/// What a room can lose.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Meta,
    Messages,
    Changed,
}

impl World {
    /// Of a server on which nothing was done.
    pub(crate) async fn new(server: &Server, library: &str) -> Self {
        let mut look = server.look();
        load(&mut look, library);
        let connect = async |number| {
            let node = Node::connect(&target(server, number)).await.expect("a connection");
            let (hears, hears_lists) = (BTreeSet::new(), BTreeSet::new());
            Member { number, node, branch: 0, hears, hears_lists }
        };
        let nodes = [connect(1).await, connect(2).await];
        let model = Model::new(target(server, 1).history.into());
        let library = library.to_owned();
        Self { then: (model.clone(), dump(&mut look)), model, library, look, nodes }
    }

    /// Asks one node for something.
    pub(crate) async fn ask(&mut self, by: usize, command: Command) -> Result<(), String> {
        let before_ms = now_ms();
        let (mut answer, heard) = self.nodes[by].node.call(command.clone()).await;
        if let Ok(Reply::Listed { rooms, .. }) = &mut answer {
            rooms.iter_mut().for_each(round_hour);
            rooms.sort_by(|one, other| one.topic.cmp(&other.topic));
        }
        if let Ok(Reply::Due { topics, .. }) = &mut answer {
            topics.sort();
        }
        let (expected, told) = self.expect(by, &command, &answer, before_ms)?;
        equal(&command, "answer", &answer, &expected)?;
        let other = self.nodes[1 - by].node.hear().await;
        for (member, mut heard) in [(by, heard), (1 - by, other)] {
            heard.iter_mut().for_each(round_hours);
            let told = told.iter().filter(|told| self.nodes[member].is_told(told, &command));
            equal(&command, "pushes", &heard, &told.cloned().collect())?;
        }
        match command {
            Command::Subscribe { topic } => drop(self.nodes[by].hears.insert(topic)),
            Command::Unsubscribe { topic } => drop(self.nodes[by].hears.remove(&topic)),
            Command::HearList { partition } => {
                self.nodes[by].hears_lists.insert(partition);
            }
            _ => {}
        }
        Ok(())
    }

    /// Appends by the first node.
    pub(crate) async fn append(&mut self, topic: &str, entries: Vec<Entry>) -> Result<(), String> {
        let append = Append { topic: topic.into(), fresh_epoch: 0xF00D, entries };
        self.ask(0, Command::Append(append)).await
    }

    /// The answer that the model gives, and what it tells.
    fn expect(
        &mut self,
        by: usize,
        command: &Command,
        answer: &Result<Reply, Failure>,
        before_ms: u64,
    ) -> Result<(Result<Reply, Failure>, Vec<Pushed>), String> {
        let told = |pushed| (Ok(Reply::Done), vec![pushed]);
        Ok(match command {
            Command::Append(append) => {
                // The engine's clock cannot be known, but it is this machine's.
                let now_ms = match answer {
                    Ok(Reply::Appended { head, receipts }) => {
                        self.check_time(&append.topic, head, receipts, before_ms)?
                    }
                    _ => before_ms,
                };
                match self.model.append(append, now_ms) {
                    Ok((head, receipts, mut told)) => {
                        self.nodes[by].branch = self.model.branch;
                        told.iter_mut().for_each(round_hours);
                        (Ok(Reply::Appended { head, receipts }), told)
                    }
                    Err(failure) => (Err(failure), Vec::new()),
                }
            }
            Command::Read { topic } => {
                (self.model.read(topic, self.nodes[by].branch).map(Reply::State), Vec::new())
            }
            Command::Look { topic } => (self.model.look(topic, self.nodes[by].branch), Vec::new()),
            Command::Lines { topic, before, count } => {
                (Ok(self.expect_lines(topic, *before, *count, answer)), Vec::new())
            }
            Command::Beat { node, life, lease_ms } => {
                let Ok(Reply::Nodes { now_ms, .. }) = answer else {
                    return Err(format!("{command:?}: {answer:?}"));
                };
                (Ok(self.model.beat(*node, *life, *lease_ms, *now_ms)), Vec::new())
            }
            Command::Say { topic, record } => {
                told(Pushed::Said { topic: topic.clone(), record: record.clone() })
            }
            Command::Tell { node, record } => {
                let ears = self.nodes.iter().filter(|of| of.number == *node).count();
                let heard = Reply::Heard(u32::try_from(ears).expect("few"));
                (Ok(heard), vec![Pushed::Told { record: record.clone() }])
            }
            Command::List { partition, .. } => {
                let mut rooms = self.model.list(*partition, PARTITIONS);
                rooms.iter_mut().for_each(round_hour);
                // So few come at once.
                (Ok(Reply::Listed { cursor: 0, rooms }), Vec::new())
            }
            Command::Forget { topics, .. } => {
                self.model.forget(topics);
                (Ok(Reply::Done), Vec::new())
            }
            Command::Age { topics, in_ms, .. } => {
                self.model.age(topics, *in_ms, before_ms);
                (Ok(Reply::Done), Vec::new())
            }
            Command::Due { partition, count, again_ms } => {
                let Ok(Reply::Due { now_ms, .. }) = answer else {
                    return Err(format!("{command:?}: {answer:?}"));
                };
                let asked = (*count, *again_ms);
                let mut due = self.model.due((*partition, PARTITIONS), asked, *now_ms);
                if let Reply::Due { topics, .. } = &mut due {
                    topics.sort();
                }
                (Ok(due), Vec::new())
            }
            Command::Leave { node, life } => {
                self.model.leave(*node, *life);
                (Ok(Reply::Done), Vec::new())
            }
            Command::Subscribe { .. }
            | Command::Unsubscribe { .. }
            | Command::HearList { .. }
            | Command::Ping => (Ok(Reply::Done), Vec::new()),
            Command::Wait { .. } => (Ok(Reply::Replicas(0)), Vec::new()),
        })
    }

    /// Answers what the engine's clock has said, if anything was done.
    fn check_time(
        &self,
        topic: &str,
        head: &Head,
        receipts: &[Receipt],
        before_ms: u64,
    ) -> Result<u64, String> {
        let room = self.model.rooms.get(topic);
        let last = match room.and_then(|room| room.meta.as_ref()) {
            Some(Meta::Ours(head, _)) => head.at_ms,
            _ => 0,
        };
        let is_now = (before_ms.max(last)..=now_ms().max(last)).contains(&head.at_ms);
        if is_now || head.at_ms == last {
            return Ok(head.at_ms);
        }
        Err(format!("{topic} was at {last}, now {before_ms}: {head:?}, {receipts:?}"))
    }

    /// The engine may have more lines than it must.
    fn expect_lines(
        &self,
        topic: &str,
        before: u64,
        count: u32,
        answer: &Result<Reply, Failure>,
    ) -> Reply {
        let mut lines = self.model.lines(topic, before);
        lines.truncate(usize::try_from(count).expect("it is small"));
        let last = self.model.rooms.get(topic).map_or(0, |room| room.lines.last);
        if let Ok(Reply::Lines(found)) = answer {
            let must = lines.iter().take_while(|(number, _)| number + AUDIT_LINES > last).count();
            lines.truncate(found.len().max(must));
        }
        Reply::Lines(lines)
    }

    /// Remembers the server as it is.
    pub(crate) fn remember(&mut self) {
        self.then = (self.model.clone(), dump(&mut self.look));
    }

    /// The server becomes another one, which has what was remembered.
    pub(crate) fn fail_over(&mut self) {
        let (model, keys) = &self.then;
        self.model.fail_over(model);
        ask(&mut self.look, &["FLUSHALL"]);
        for (key, value, ttl_ms) in keys {
            let restored =
                redis::cmd("RESTORE").arg(key).arg(ttl_ms).arg(value).exec(&mut self.look);
            restored.expect("a key is restored");
        }
        self.turn_server();
    }

    /// The server becomes another one, which has all.
    pub(crate) fn turn(&mut self) {
        self.model.fail_over(&self.model.clone());
        self.turn_server();
    }

    fn turn_server(&mut self) {
        // It has been a replica for a moment, of a server that was never reached.
        ask(&mut self.look, &["REPLICAOF", "127.0.0.1", "1"]);
        ask(&mut self.look, &["REPLICAOF", "NO", "ONE"]);
        // Another server's library has never asked on which history it is.
        load(&mut self.look, &self.library);
    }

    /// A part of a room is lost, as if it had expired or somebody had removed it.
    pub(crate) fn lose(&mut self, topic: &str, part: Part) {
        let Some(room) = self.model.rooms.get_mut(topic) else { return };
        let kind = match part {
            Part::Meta => {
                room.meta = None;
                'm'
            }
            Part::Messages => {
                room.messages = Kept::default();
                's'
            }
            Part::Changed => {
                room.changed.clear();
                'x'
            }
        };
        let key = self.key(topic, kind);
        ask(&mut self.look, &["DEL", &key]);
    }

    /// The room's last entry was accepted by a server whose clock was ahead.
    pub(crate) fn put_clock_on(&mut self, topic: &str) {
        let Some(room) = self.model.rooms.get_mut(topic) else { return };
        let Some(Meta::Ours(head, _)) = &mut room.meta else { return };
        head.at_ms += 100;
        let at_ms = head.at_ms.to_string();
        let key = self.key(topic, 'm');
        let written: String = redis::cmd("GET").arg(&key).query(&mut self.look).expect("a meta");
        let mut words: Vec<&str> = written.split(' ').collect();
        words[7] = &at_ms;
        ask(&mut self.look, &["SET", &key, &words.join(" "), "KEEPTTL"]);
    }

    /// A later version has written the room; then, that is taken back.
    pub(crate) async fn with_foreign_meta(
        &mut self,
        topic: &str,
        then: Command,
    ) -> Result<(), String> {
        let Some(room) = self.model.rooms.get_mut(topic) else { return Ok(()) };
        let Some(meta) = room.meta.take() else { return Ok(()) };
        room.meta = Some(Meta::Foreign);
        let key = self.key(topic, 'm');
        let written: String = redis::cmd("GET").arg(&key).query(&mut self.look).expect("a meta");
        ask(&mut self.look, &["SET", &key, "2 something else", "KEEPTTL"]);
        self.ask(0, then).await?;
        self.ask(1, Command::Read { topic: topic.into() }).await?;
        ask(&mut self.look, &["SET", &key, &written, "KEEPTTL"]);
        self.model.rooms.get_mut(topic).expect("it is there").meta = Some(meta);
        Ok(())
    }

    /// The room as the model has it.
    pub(crate) fn room(&self, topic: &str) -> Room {
        self.model.rooms.get(topic).cloned().unwrap_or_default()
    }

    /// The name of a room's key, found without asking what makes it.
    fn key(&mut self, topic: &str, kind: char) -> String {
        let pattern = format!("cw:*:{kind}:{topic}");
        let mut found: Vec<String> =
            redis::cmd("KEYS").arg(&pattern).query(&mut self.look).expect("keys");
        found.pop().unwrap_or(pattern)
    }
}

impl Member {
    /// Whether something that was told is told to this one.
    fn is_told(&self, told: &Pushed, command: &Command) -> bool {
        match told {
            Pushed::News { topic, .. } | Pushed::Said { topic, .. } => self.hears.contains(topic),
            Pushed::Listed(listed) => {
                self.hears_lists.contains(&partition(&listed.topic, PARTITIONS))
            }
            Pushed::Told { .. } => {
                matches!(command, Command::Tell { node, .. } if *node == self.number)
            }
            Pushed::Foreign { .. } => false,
        }
    }
}

/// The engine's hour is that of now, or the one before if that has just begun.
fn round_hour(listed: &mut Listed) {
    let now = now_ms() / 3_600_000;
    assert!((now - 1..=now + 1).contains(&listed.hour), "{listed:?}");
    listed.hour = 0;
}

fn round_hours(pushed: &mut Pushed) {
    if let Pushed::Listed(listed) = pushed {
        round_hour(listed);
    }
}

fn equal<T: std::fmt::Debug + PartialEq>(
    command: &Command,
    what: &str,
    engine: &T,
    model: &T,
) -> Result<(), String> {
    if engine == model {
        return Ok(());
    }
    Err(format!("{command:#?}\n{what} of the engine: {engine:#?}\n{what} of the model: {model:#?}"))
}

fn ask(look: &mut Connection, words: &[&str]) {
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(*word);
    }
    command.exec(look).unwrap_or_else(|error| panic!("{words:?}: {error}"));
}

/// The script with a defect: `bad` stands where `good` has stood.
#[track_caller]
pub(crate) fn planted(what: &str, good: &str, bad: &str) -> String {
    assert_eq!(library().matches(good).count(), 1, "{what}: the script is another one");
    library().replace(good, bad)
}

/// Has a server take this script.
pub(crate) fn load(look: &mut Connection, library: &str) {
    ask(look, &["FUNCTION", "LOAD", "REPLACE", library]);
}

fn dump(look: &mut Connection) -> Vec<Dump> {
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(look).expect("keys");
    let read = |key: Vec<u8>| {
        let value = redis::cmd("DUMP").arg(&key).query(look).expect("a value");
        let ttl_ms: i64 = redis::cmd("PTTL").arg(&key).query(look).expect("when it expires");
        (key, value, u64::try_from(ttl_ms).unwrap_or(0))
    };
    keys.into_iter().map(read).collect()
}

fn now_ms() -> u64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("a clock");
    u64::try_from(now.as_millis()).expect("it is not so late")
}

//! A connection as a node of Chinwag has it, with one command at a time.

use chinwag::side::engine::command::{Act, Append, Command, Entry, Failure, Pushed, Reply, State};
use chinwag::side::engine::redis::{
    ConnectError, Connection, Connector, Event, Events, Target, events,
};
use tokio::runtime::{Builder, Runtime};

use super::servers::Server;

/// Over so many rooms are spread.
pub(crate) const PARTITIONS: u16 = 16;

/// What the tests' servers are asked for: little, so that trimming is reached soon.
pub(crate) fn target(server: &Server, node: u64) -> Target {
    Target {
        url: server.url().into(),
        prefix: "cw".into(),
        partitions: PARTITIONS,
        node,
        made_secret: [7; 32],
        timeout_ms: 10_000,
        ping_ms: 100,
        dead_ms: 10_000,
        history: 64,
        history_s: 604_800,
        room_s: 2_592_000,
        key_s: 3600,
        audit_lines: 100,
        archive_slack: 0,
    }
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A message without a key or a line.
pub(crate) fn message(record: &[u8]) -> Entry {
    let act = Act::Message { key: None };
    Entry { judged: None, act, record: record.to_vec(), line: Vec::new() }
}

pub(crate) struct Node {
    pub(crate) connection: Connection,
    pub(crate) events: Events,
    asked: u64,
}

impl Node {
    pub(crate) async fn connect(target: &Target) -> Result<Self, ConnectError> {
        Self::connect_by(&Self::connector(target)?).await
    }

    /// What makes one connection after another.
    pub(crate) fn connector(target: &Target) -> Result<Connector, ConnectError> {
        Connector::new(target.clone())
    }

    pub(crate) async fn connect_by(connector: &Connector) -> Result<Self, ConnectError> {
        Self::connect_within(connector, usize::MAX).await
    }

    /// The same, for so many bytes of what is pushed and not taken.
    pub(crate) async fn connect_within(
        connector: &Connector,
        bytes_max: usize,
    ) -> Result<Self, ConnectError> {
        let (told, events) = events(bytes_max);
        Ok(Self { connection: connector.connect(told).await?, events, asked: 0 })
    }

    /// Calls a command, and answers too what was heard until all that it has caused is.
    pub(crate) async fn call(&mut self, command: Command) -> (Result<Reply, Failure>, Vec<Pushed>) {
        let number = self.send(command);
        // The engine may tell what an answer has caused before or behind it.
        let last = self.send(Command::Ping);
        let (mut answer, mut heard) = (None, Vec::new());
        loop {
            match self.events.recv().await.expect("an event") {
                Event::Answered { number: of, result } if of == number => answer = Some(result),
                Event::Answered { number, result } => {
                    assert_eq!((number, result), (last, Ok(Reply::Done)));
                    return (answer.expect("answers come in order"), heard);
                }
                Event::Pushed(pushed) => heard.push(pushed),
                Event::Ended { why, .. } => panic!("the connection has ended: {why}"),
            }
        }
    }

    /// Sends a command, and answers the number by which its answer is known.
    pub(crate) fn send(&mut self, command: Command) -> u64 {
        self.asked += 1;
        self.connection.send(self.asked, command);
        self.asked
    }

    pub(crate) fn send_append(&mut self, topic: &str, epoch: u64, entries: Vec<Entry>) -> u64 {
        self.send(Command::Append(Append { topic: topic.into(), fresh_epoch: epoch, entries }))
    }

    /// Leaves out all that is told up to an answer.
    pub(crate) async fn wait(&mut self, last: u64) {
        let is_last =
            |event: &Event| matches!(event, Event::Answered { number, .. } if *number == last);
        while !is_last(&self.events.recv().await.expect("an event")) {}
    }

    /// What was heard since the last call.
    pub(crate) async fn hear(&mut self) -> Vec<Pushed> {
        self.call(Command::Ping).await.1
    }

    pub(crate) async fn append(
        &mut self,
        topic: &str,
        fresh_epoch: u64,
        entries: Vec<Entry>,
    ) -> Reply {
        let append = Append { topic: topic.into(), fresh_epoch, entries };
        self.call(Command::Append(append)).await.0.expect("an answer")
    }

    pub(crate) async fn read(&mut self, topic: &str) -> State {
        match self.call(Command::Read { topic: topic.into() }).await.0 {
            Ok(Reply::State(state)) => state,
            other => panic!("{other:?}"),
        }
    }
}

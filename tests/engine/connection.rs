//! One connection: what is asked and answered, in which order, and what ends it.

use chinwag::side::engine::command::{Act, Command, Entry, Place, Pushed, Receipt, Reply};

use super::node::{Node, runtime, target};
use super::servers::{KINDS, Server};

fn message(record: &[u8]) -> Entry {
    let act = Act::Message { key: None };
    Entry { judged: None, act, record: record.to_vec(), line: Vec::new() }
}

#[test]
fn smoke() {
    for kind in KINDS {
        let server = Server::start(kind, &[]);
        runtime().block_on(async {
            let mut node = Node::connect(&target(&server, 7)).await.expect("a connection");
            println!("{:?}", node.connection.facts());
            println!("{:?}", node.call(Command::Subscribe { topic: "room:tea".into() }).await);
            println!("{:?}", node.append("room:tea", 0xe1, vec![message(b"hello")]).await);
            println!("{:?}", node.read("room:tea").await);
            println!("{:?}", node.call(Command::Tell { node: 7, record: b"me".to_vec() }).await);
            println!(
                "{:?}",
                node.call(Command::Say { topic: "room:tea".into(), record: b"me".to_vec() }).await
            );
            println!("{:?}", node.call(Command::Beat { node: 7, life: 0, lease_ms: 1000 }).await);
            println!(
                "{:?}",
                node.call(Command::Lines { topic: "room:tea".into(), before: u64::MAX, count: 9 })
                    .await
            );
            println!("{:?}", node.call(Command::Wait { replicas: 0, timeout_ms: 10 }).await);
            println!(
                "{:?}",
                node.call(Command::Append(chinwag::side::engine::command::Append {
                    topic: "room:tea".into(),
                    fresh_epoch: 1,
                    entries: vec![message(b"x")]
                }))
                .await
            );
            println!("{:?}", node.call(Command::Unsubscribe { topic: "room:tea".into() }).await);
        });
    }
}

//! A primary that dies, and a replica that takes its place without the last that was answered: who
//! stood where both agree goes on, and who stood beyond that can see it.

use std::collections::BTreeMap;

use chinwag::link::log::Marks;
use chinwag::side::engine::command::{
    Act, Append, Command, Ended, Entry, Head, News, Place, Pushed, Receipt, Reply, State,
};
use chinwag::side::engine::redis::ConnectError;

use super::model::Model;
use super::node::{Node, message, runtime, target};
use super::servers::{KINDS, Kind, Server};

const TOPIC: &str = "room:tea";
const OLD: u64 = 0x01D;
const NEW: u64 = 0x2E3;

/// A message that was lost, and one that was kept, as their keys.
const LOST: u64 = 65;
const KEPT: u64 = 7;

fn keyed(key: u64) -> Entry {
    let act = Act::Message { key: Some(key.to_be_bytes()) };
    Entry { act, ..message(format!("tea {key}").as_bytes()) }
}

fn change(offset: u64, is_deleted: bool) -> Entry {
    let act = Act::Change { offset, expected: 0, is_deleted, is_pinned: false, heard: 0 };
    Entry { act, ..message(b"pot") }
}

fn decision(value: &[u8]) -> Entry {
    let facts = vec![("b:eve".into(), value.to_vec())];
    Entry { act: Act::Decision { founded: None, facts }, line: b"who".to_vec(), ..message(b"ban") }
}

/// A node, and a model of the engine that it speaks to.
struct Speaker {
    node: Node,
    model: Model,
    /// All that was told of the room: each message by its offset, each change by its number.
    messages: BTreeMap<u64, Vec<u8>>,
    changes: BTreeMap<u64, u64>,
}

impl Speaker {
    async fn append(&mut self, fresh_epoch: u64, entries: Vec<Entry>) -> (Head, Vec<Receipt>) {
        let append = Append { topic: TOPIC.into(), fresh_epoch, entries };
        let (answer, heard) = self.node.call(Command::Append(append.clone())).await;
        let Ok(Reply::Appended { head, receipts }) = answer else { panic!("{answer:?}") };
        let (expected, given, told) = self.model.append(&append, head.at_ms).expect("it is taken");
        assert_eq!((&head, &receipts), (&expected, &given));
        // It hears the room, and not the list.
        let is_of_room = |told: &Pushed| matches!(told, Pushed::News { .. });
        assert_eq!(heard, told.into_iter().filter(is_of_room).collect::<Vec<_>>());
        for pushed in heard {
            let Pushed::News { news: News { entries, .. }, .. } = pushed else { continue };
            for done in entries {
                match done.place {
                    Place::Message(offset) => drop(self.messages.insert(offset, done.record)),
                    Place::Change { change, offset, .. } => {
                        self.changes.insert(change, offset);
                    }
                    Place::Decision(_) | Place::Note => {}
                }
            }
        }
        (head, receipts)
    }

    async fn hear_of_room(&mut self) {
        let subscribed = self.node.call(Command::Subscribe { topic: TOPIC.into() }).await.0;
        assert_eq!(subscribed, Ok(Reply::Done));
    }
}

#[test]
fn a_replica_that_has_all_goes_on_in_another_epoch_from_the_last_place() {
    for kind in KINDS {
        runtime().block_on(fail_over(kind, false));
    }
}

#[test]
fn a_replica_that_lacks_the_last_says_up_to_where_it_is_true() {
    for kind in KINDS {
        runtime().block_on(fail_over(kind, true));
    }
}

async fn fail_over(kind: Kind, is_behind: bool) {
    let (primary, replica) = (Server::start(kind, &[]), Server::start(kind, &[]));
    let (mut look, mut info) = (replica.look(), replica.look());
    let mut follow = |host: &str, port: &str| {
        redis::cmd("REPLICAOF").arg(host).arg(port).exec(&mut look).expect("it is done");
    };
    let node = Node::connect(&target(&primary, 1)).await.expect("a connection");
    let branch = node.connection.facts()[0].branch.clone();
    let model = Model::new(target(&primary, 1).history.into());
    let mut speaker = Speaker { node, model, messages: BTreeMap::new(), changes: BTreeMap::new() };
    follow("127.0.0.1", &primary.port.to_string());
    // Valkey counts for `WAIT` a replica too that has not loaded its first copy.
    loop {
        let info: String = redis::cmd("INFO").arg("replication").query(&mut info).expect("it says");
        if info.contains("master_link_status:up") {
            break;
        }
    }
    speaker.hear_of_room().await;
    speaker.append(OLD, (1..=60).map(keyed).collect()).await;
    speaker.append(OLD, vec![change(20, false), decision(b"")]).await;
    wait_for_replica(&mut speaker.node).await;
    let then = speaker.model.clone();

    // The replica hears nothing of this, if it is behind; but all of it is answered and told.
    if is_behind {
        follow("127.0.0.1", "1");
    }
    speaker.append(OLD, (61..=70).map(keyed).collect()).await;
    let lost = vec![change(30, true), change(40, false), decision(b"banned")];
    let (before, _) = speaker.append(OLD, lost).await;
    if is_behind {
        speaker.model = then;
    } else {
        wait_for_replica(&mut speaker.node).await;
    }
    let Head { top: kept, rev, audited, .. } = read(&speaker.model).head.expect("a head");
    assert_eq!(kept == before.top, !is_behind);
    let early = Node::connect(&target(&replica, 1)).await.err().expect("no connection");
    assert!(matches!(early, ConnectError::Passing(_)), "{early:?}");
    drop(primary);
    follow("NO", "ONE");

    speaker.model.fail_over(&speaker.model.clone());
    speaker.node = Node::connect(&target(&replica, 1)).await.expect("a connection");
    assert_ne!(speaker.node.connection.facts()[0].branch, branch);
    let found = speaker.node.read(TOPIC).await;
    assert!(!found.is_current, "it must be turned before it is told");
    assert_eq!(found, read(&speaker.model), "{kind:?}");
    speaker.hear_of_room().await;
    let seen = (speaker.messages.clone(), speaker.changes.clone());
    // Nothing is said, and yet everybody hears that the room has turned.
    let (head, _) = speaker.append(NEW, Vec::new()).await;
    let ended = Ended { epoch: OLD, kept, rev, audited };
    assert_eq!((head.epoch, &head.lineage), (NEW, &vec![ended]));
    check_judged(&mut speaker, &before).await;
    check_keys(&mut speaker, kept, is_behind).await;
    // Others say more than was lost.
    speaker.append(NEW, (101..=120).map(keyed).collect()).await;
    speaker.append(NEW, (41..=44).map(|offset| change(offset, true)).collect()).await;
    let state = speaker.node.read(TOPIC).await;
    assert!(state.is_current);
    check_cursors(&state, seen, kept);
}

async fn wait_for_replica(node: &mut Node) {
    let wait = Command::Wait { primary: 0, replicas: 1, timeout_ms: 10_000 };
    while node.call(wait.clone()).await.0 != Ok(Reply::Replicas(1)) {}
}

fn read(model: &Model) -> State {
    // The connection is of the history that the model is on.
    model.read(TOPIC, model.branch).expect("it is ours")
}

/// What was judged by the old epoch is stale, even where the numbers fit again.
async fn check_judged(speaker: &mut Speaker, before: &Head) {
    let rev = read(&speaker.model).head.expect("a head").rev;
    for rev in [rev, before.rev] {
        let judged = Some((OLD, rev));
        let entries = vec![Entry { judged, ..change(50, true) }, Entry { judged, ..keyed(200) }];
        let (_, receipts) = speaker.append(NEW, entries).await;
        assert_eq!(receipts, [Receipt::Stale, Receipt::Stale]);
    }
}

/// A message that is there is not said again, and one that was lost is.
async fn check_keys(speaker: &mut Speaker, kept: Marks, is_behind: bool) {
    let (head, receipts) = speaker.append(NEW, vec![keyed(KEPT), keyed(LOST)]).await;
    let offsets = receipts.iter().map(|receipt| match receipt {
        Receipt::Message { offset, .. } => *offset,
        other => panic!("{other:?}"),
    });
    let lost = if is_behind { kept.offset + 1 } else { LOST };
    assert_eq!(offsets.collect::<Vec<_>>(), [KEPT, lost]);
    assert_eq!(head.top.offset, kept.offset + u64::from(is_behind));
}

/// Up to where the lineage says so, what was told is what is there; beyond that, numbers mean
/// something else.
fn check_cursors(
    state: &State,
    (messages, changes): (BTreeMap<u64, Vec<u8>>, BTreeMap<u64, u64>),
    kept: Marks,
) {
    let now: BTreeMap<u64, &Vec<u8>> =
        state.messages.iter().map(|message| (message.offset, &message.record)).collect();
    let last: BTreeMap<u64, u64> =
        state.changed.iter().map(|changed| (changed.offset, changed.change)).collect();
    for (offset, record) in &messages {
        let is_there = now.get(offset).is_some_and(|now| *now == record);
        let has_changed = last.contains_key(offset);
        let is_trimmed = now.keys().next().is_some_and(|first| offset < first);
        assert!(is_there || has_changed || is_trimmed || *offset > kept.offset, "{offset}");
        assert!(*offset <= kept.offset || !is_there, "{offset} is beyond {kept:?}");
    }
    for (change, offset) in &changes {
        let is_there = last.get(offset) == Some(change);
        assert_eq!(is_there, *change <= kept.change, "{change} of {offset}, and {kept:?}");
    }
}

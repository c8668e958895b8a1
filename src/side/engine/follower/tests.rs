//! A follower alone: what it asks and tells, where neither an engine nor a home is needed.

use super::room::Stage;
use super::*;
use crate::base::arena::Key;
use crate::link::engine::Told;
use crate::link::log::Marks;
use crate::link::said::Said;
use crate::side::engine::command::{Done, Head, News, Place, State};
use crate::side::engine::written::Writer;

const NODE: u64 = 7;

/// What was asked and told.
#[derive(Default)]
pub(super) struct Recorder {
    pub(super) asked: Vec<(u64, Command)>,
    pub(super) told: Vec<String>,
    pub(super) ended: Option<&'static str>,
}

impl Ways for Recorder {
    fn ask(&mut self, number: u64, command: Command) {
        self.asked.push((number, command));
    }

    fn tell(&mut self, _: u16, message: &FromEngine<'_>) {
        self.told.push(match message {
            FromEngine::Opened { room, .. } => format!("opened {}", room.to_u64()),
            FromEngine::NotOpened { room, .. } => format!("not opened {}", room.to_u64()),
            FromEngine::Closed { room } => format!("closed {}", room.to_u64()),
            FromEngine::Entry { room, marks, .. } => {
                format!("entry {} {}", room.to_u64(), marks.offset)
            }
            _ => return,
        });
    }

    fn disconnect(&mut self, why: &'static str) {
        self.ended = Some(why);
    }
}

/// A node with some rooms, which an engine without anything in it has opened.
pub(super) fn with_rooms(topics: &[&str]) -> (Follower, Recorder) {
    let tail = TailBounds { messages: 10, bytes: 1_000 };
    let limits = EngineLimits::default();
    let node = Node { id: NODE, shards: 1, tail, partitions: 1, room_s: 3_600, limits };
    let (mut follower, mut ways) = (Follower::new(node), Recorder::default());
    follower.connected(&mut ways, 0, Connected { replicas: 0 });
    for (topic, room) in topics.iter().zip(1..) {
        let room = Key::from_u64(room);
        follower.hear(&mut ways, 0, 0, ToEngine::Open { room, topic });
    }
    answer_reads(&mut follower, &mut ways, &head(0));
    let live = follower.rooms.values().filter(|of| of.stage == Stage::Live);
    assert_eq!(live.count(), topics.len(), "{:?}", ways.told);
    ways.told.clear();
    (follower, ways)
}

/// Where a room stands that has so many messages.
pub(super) fn head(offset: u64) -> Head {
    Head { epoch: 1, top: Marks { offset, change: 0 }, at_ms: offset, ..Head::default() }
}

/// Answers what is read with rooms that stand there, and have nothing in them.
pub(super) fn answer_reads(follower: &mut Follower, ways: &mut Recorder, head: &Head) {
    while let Some(at) = ways.asked.iter().position(|(_, of)| matches!(of, Command::Read { .. })) {
        let (number, _) = ways.asked.remove(at);
        let state = State { head: Some(head.clone()), is_current: true, ..State::default() };
        follower.answered(ways, 0, number, Ok(Reply::State(state)));
    }
}

/// A message is pushed, as the first of its room.
fn push(follower: &mut Follower, ways: &mut Recorder, topic: &str, record: Vec<u8>) {
    let done = Done { place: Place::Message(1), record, line: (0, Vec::new()) };
    let news = News { head: head(1), before: Marks::default(), entries: vec![done] };
    follower.pushed(ways, 0, Pushed::News { topic: topic.into(), news });
    follower.check();
}

fn message(topic: &str) -> Vec<u8> {
    let said = Said { user: "ann", name: "Ann", body: "\"hi\"", ..Said::default() };
    Writer { topic, node: NODE, shard: 0 }.told(None, &Told::Message { said })
}

#[test]
fn a_record_in_a_wrong_place_closes_its_room_and_no_other() {
    let fact = Writer { topic: "room:tea", node: NODE, shard: 0 }.title("Tea").1;
    for record in [fact, message("room:mate"), b"somebody else's".to_vec(), Vec::new()] {
        let (mut follower, mut ways) = with_rooms(&["room:tea", "room:mate"]);
        push(&mut follower, &mut ways, "room:tea", record);
        push(&mut follower, &mut ways, "room:mate", message("room:mate"));
        assert_eq!(ways.told, ["closed 1", "entry 2 1"]);
        assert_eq!(ways.ended, None);
    }
}

#[test]
fn a_room_whose_facts_are_not_ours_is_not_opened() {
    let writer = Writer { topic: "room:tea", node: NODE, shard: 0 };
    let (_, title) = writer.title("Tea");
    let newer = [&[u8::MAX], &title[1..]].concat();
    for (name, value, is_opened) in [
        ("t", title.clone(), true),
        ("S", title.clone(), false),
        ("t", message("room:tea"), false),
        // It is left as it is: the room is not opened, so nobody decides anything in it.
        ("t", newer, false),
    ] {
        let (mut follower, mut ways) = with_rooms(&[]);
        let room = Key::from_u64(1);
        follower.hear(&mut ways, 0, 0, ToEngine::Open { room, topic: "room:tea" });
        let read = ways.asked.iter().find(|(_, of)| matches!(of, Command::Read { .. }));
        let number = read.expect("it is read").0;
        let facts = vec![(name.into(), value)];
        let state = State { head: Some(head(0)), is_current: true, facts, ..State::default() };
        follower.answered(&mut ways, 0, number, Ok(Reply::State(state)));
        assert_eq!(ways.told, [if is_opened { "opened 1" } else { "not opened 1" }]);
        let is_written = ways.asked.iter().any(|(_, of)| matches!(of, Command::Append(_)));
        assert!(!is_written, "nothing is written over it");
    }
}

//! A follower alone: what it asks and tells, where neither an engine nor a home is needed.

use super::followed::Stage;
use super::saying::to_node;
use super::*;
use crate::base::arena::Key;
use crate::limits::ARCHIVE_READS_BYTES_MAX;
use crate::link::audit::AuditWanted;
use crate::link::engine::{Act, Told, read_lives};
use crate::link::facts::Keep;
use crate::link::log::{Judged, Marks, Part, View, Wanted};
use crate::link::said::{Fate, Said};
use crate::link::slice::{Head as SliceHead, Stamp, push_whole};
use crate::side::engine::command::{
    Archived, Done, Ended, Head, Message as EngineMessage, News, Place, State,
};
use crate::side::engine::older::{Found, Row};
use crate::side::engine::written::Writer;

const NODE: u64 = 7;

/// What was asked and told.
#[derive(Default)]
pub(super) struct Recorder {
    pub(super) asked: Vec<(u64, Command)>,
    pub(super) told: Vec<String>,
    pub(super) ended: Option<Box<str>>,
    /// What the archive was asked.
    pub(super) archive: Vec<(u64, Question)>,
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
            FromEngine::Entry { room, marks, was_missed, .. } => {
                let which = if *was_missed { "missed" } else { "entry" };
                format!("{which} {} {}", room.to_u64(), marks.offset)
            }
            FromEngine::Turned { room, .. } => format!("turned {}", room.to_u64()),
            FromEngine::LetGo { room, floor } => {
                format!("let go {} {}", room.to_u64(), floor.offset)
            }
            FromEngine::Read { number, run } => {
                let stretch = run.stretch();
                let offsets = (stretch.first..).take(stretch.messages.len());
                format!("read {number} {:?} {}", offsets.collect::<Vec<_>>(), stretch.more)
            }
            FromEngine::Gone { nodes } => format!("gone {:?}", read_lives(nodes)),
            FromEngine::CaughtUp { number } => format!("caught up {number}"),
            FromEngine::NotRead { number, .. } => format!("not read {number}"),
            _ => return,
        });
    }

    fn primary_of(&self, _: &str) -> u16 {
        0
    }

    fn is_busy(&self, _: u16) -> bool {
        false
    }

    fn disconnect(&mut self, why: &str) {
        self.ended = Some(why.into());
    }

    fn ask_archive(&mut self, number: u64, question: Question) -> bool {
        self.archive.push((number, question));
        true
    }
}

/// How a node is set that has one shard and an engine of one partition.
pub(super) fn node(id: u64, tail: TailBounds) -> Node {
    Node {
        id,
        shards: 1,
        tail,
        partitions: 1,
        has_archive: false,
        keep: Keep::default(),
        room_s: 3_600,
        limits: EngineLimits::default(),
    }
}

/// A node with some rooms, which an engine without anything in it has opened.
pub(super) fn with_rooms(topics: &[&str]) -> (Follower, Recorder) {
    let node = node(NODE, TailBounds { messages: 10, bytes: 1_000 });
    let (mut follower, mut ways) = (Follower::new(node), Recorder::default());
    follower.connected(&mut ways, 0, Connected { replicas: vec![0] });
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

/// What the engine was asked of this kind, and is not answered yet.
fn taken(ways: &mut Recorder, is_it: impl Fn(&Command) -> bool) -> Vec<u64> {
    let taken = ways.asked.extract_if(.., |(_, command)| is_it(command));
    taken.map(|(number, _)| number).collect()
}

fn looks(ways: &mut Recorder) -> Vec<u64> {
    taken(ways, |command| matches!(command, Command::Look { .. }))
}

fn message(topic: &str) -> Vec<u8> {
    let said = Said { user: "ann", name: "Ann", body: "\"hi\"", ..Said::default() };
    Writer { topic, node: NODE, shard: 0 }.told(None, &Told::Message { said })
}

/// A room with an archive, whose home asks for a page that the archive has. Returns as which number
/// the archive was asked.
fn asked_of_archive(follower: &mut Follower, ways: &mut Recorder) -> u64 {
    ask_of_archive(follower, ways, None);
    let (asked, question) = ways.archive.pop().expect("the engine has nothing of it");
    assert_eq!((question.epoch, &*question.topic), (1, "room:tea"));
    asked
}

/// A home asks for such a page, where the engine may have a message that is not in it.
fn ask_of_archive(follower: &mut Follower, ways: &mut Recorder, record: Option<Vec<u8>>) {
    follower.node.has_archive = true;
    let (part, view, changed) = (Part::Newest, View::Room, None);
    let wanted = Wanted { after: 0, upto: 2, part, messages: 9, bytes: 1_000, changed, view };
    follower.hear(ways, 0, 0, ToEngine::Read { number: 5, room: Key::from_u64(1), wanted });
    let number = taken(ways, |command| matches!(command, Command::Read { .. }))[0];
    let archived = Some(Archived { epoch: 1, upto: head(2).top, floor: Marks::default() });
    let message = record.map(|record| EngineMessage { offset: 9, at_ms: 1, epoch: 1, record });
    let messages = message.into_iter().collect();
    let (head, is_current) = (Some(head(2)), true);
    let state = State { head, is_current, messages, archived, ..State::default() };
    follower.answered(ways, 0, number, Ok(Reply::State(state)));
}

#[test]
fn what_waits_for_an_archive_is_bounded_in_bytes_but_for_one_room() {
    let (mut follower, mut ways) = with_archive();
    for is_asked in [true, false] {
        ask_of_archive(&mut follower, &mut ways, Some(vec![0; ARCHIVE_READS_BYTES_MAX + 1]));
        assert_eq!(ways.told, if is_asked { &[][..] } else { &["not read 5"] });
        assert_eq!(ways.archive.len(), 1);
    }
    let (asked, _) = ways.archive.pop().expect("the first one");
    follower.archive_said(&mut ways, asked, Err(Why::Busy));
    for _ in 0..2 {
        ask_of_archive(&mut follower, &mut ways, Some(vec![0; ARCHIVE_READS_BYTES_MAX / 3]));
    }
    assert_eq!(ways.archive.len(), 2, "what is answered gives its place back");
}

/// A room that stands behind its second message.
fn with_archive() -> (Follower, Recorder) {
    let (mut follower, mut ways) = with_rooms(&["room:tea"]);
    for known in follower.rooms.values_mut().filter_map(|of| of.known.as_mut()) {
        *known = head(2);
    }
    ways.told.clear();
    (follower, ways)
}

fn page() -> Older {
    let said = Said { user: "ann", name: "Ann", body: "\"hi\"", ..Said::default() };
    let writer = Writer { topic: "room:tea", node: NODE, shard: 0 };
    let row = |offset| {
        let record = Some(writer.archived(offset, 5, said, Fate::default()));
        Row { offset, change: 0, record }
    };
    let found = Found { rows: vec![row(1), row(2)], upto: head(2).top, ..Found::default() };
    let (part, view, changed) = (Part::Newest, View::Room, None);
    let wanted = Wanted { after: 0, upto: 2, part, messages: 9, bytes: 1_000, changed, view };
    let state = State { head: Some(head(2)), is_current: true, ..State::default() };
    let (topic, what) = ("room:tea".into(), What::Page(wanted));
    Question { topic, epoch: 1, state, what }.reply(&found)
}

#[test]
fn what_the_archive_has_is_told_behind_what_the_engine_has_said_by_then() {
    let (mut follower, mut ways) = with_archive();
    let asked = asked_of_archive(&mut follower, &mut ways);
    follower.archive_said(&mut ways, asked, Ok(page()));
    assert!(ways.told.is_empty(), "the engine is asked first: {:?}", ways.told);
    let look = looks(&mut ways)[0];
    let stands = Reply::Stands { head: Some(head(2)), is_current: true };
    follower.answered(&mut ways, 0, look, Ok(stands));
    assert_eq!(ways.told, ["read 5 [1, 2] false"]);
}

#[test]
fn what_the_archive_has_of_a_room_that_has_turned_meanwhile_is_told_to_nobody() {
    let turned = Head { epoch: 2, ..head(2) };
    let (mut follower, mut ways) = with_archive();
    let asked = asked_of_archive(&mut follower, &mut ways);
    follower.archive_said(&mut ways, asked, Ok(page()));
    let look = looks(&mut ways)[0];
    let stands = Reply::Stands { head: Some(turned), is_current: true };
    follower.answered(&mut ways, 0, look, Ok(stands));
    assert_eq!(ways.told, ["not read 5"]);
    // Or the connection has ended.
    let (mut follower, mut ways) = with_archive();
    let asked = asked_of_archive(&mut follower, &mut ways);
    follower.archive_said(&mut ways, asked, Ok(page()));
    follower.lost(&mut ways);
    assert_eq!(ways.told, ["not read 5"]);
    let (mut follower, mut ways) = with_archive();
    let asked = asked_of_archive(&mut follower, &mut ways);
    follower.archive_said(&mut ways, asked, Err(Why::Busy));
    assert_eq!(ways.told, ["not read 5"]);
}

/// The only message of a room, as it is kept.
fn kept(record: Vec<u8>) -> Reply {
    let messages = vec![EngineMessage { offset: 1, at_ms: 1, epoch: 1, record }];
    let state = State { head: Some(head(1)), is_current: true, messages, ..State::default() };
    Reply::State(state)
}

fn reads(ways: &mut Recorder) -> Vec<u64> {
    taken(ways, |command| matches!(command, Command::Read { .. }))
}

#[test]
fn a_record_in_a_wrong_place_closes_its_room_and_no_other() {
    let fact = Writer { topic: "room:tea", node: NODE, shard: 0 }.title("Tea").1;
    for record in [fact, message("room:mate"), b"somebody else's".to_vec(), Vec::new()] {
        let (mut follower, mut ways) = with_rooms(&["room:tea", "room:mate"]);
        push(&mut follower, &mut ways, "room:tea", record.clone());
        push(&mut follower, &mut ways, "room:mate", message("room:mate"));
        assert_eq!(ways.told, ["entry 2 1"]);
        let [read] = reads(&mut ways)[..] else { panic!("it is read") };
        follower.answered(&mut ways, 0, read, Ok(kept(record)));
        assert_eq!(ways.told, ["entry 2 1", "closed 1"]);
        assert_eq!(ways.ended, None);
    }
}

#[test]
fn a_record_that_is_not_kept_so_is_read_as_it_is_kept() {
    let (mut follower, mut ways) = with_rooms(&["room:tea"]);
    push(&mut follower, &mut ways, "room:tea", b"somebody else's".to_vec());
    let [read] = reads(&mut ways)[..] else { panic!("it is read") };
    follower.answered(&mut ways, 0, read, Ok(kept(message("room:tea"))));
    assert_eq!(ways.told, ["missed 1 1"]);
}

#[test]
fn what_no_node_says_in_a_room_has_it_looked_at_once_and_nothing_else_happens() {
    let (mut follower, mut ways) = with_rooms(&["room:tea", "room:mate"]);
    let say = |follower: &mut Follower, ways: &mut Recorder| {
        follower.pushed(ways, 0, Pushed::Foreign { topic: Some("room:tea".into()) });
    };
    for _ in 0..3 {
        say(&mut follower, &mut ways);
    }
    follower.pushed(&mut ways, 0, Pushed::Foreign { topic: Some("room:none".into()) });
    follower.pushed(&mut ways, 0, Pushed::Told { record: vec![7] });
    let [look] = looks(&mut ways)[..] else { panic!("it is looked at once") };
    follower.answered(&mut ways, 0, look, Ok(stands(0)));
    assert_eq!((ways.told.len(), reads(&mut ways).len(), &ways.ended), (0, 0, &None));
    assert_eq!(follower.counted(), Counted { foreign: 5, ..Counted::default() });
    say(&mut follower, &mut ways);
    assert_eq!(looks(&mut ways).len(), 1, "and again");
}

/// As by a version that has it in another layout, and says what follows on its channel.
#[test]
fn a_room_that_this_version_does_not_know_any_more_is_closed_whoever_notices_and_no_other_is() {
    for way in 0..3 {
        let (mut follower, mut ways) = with_rooms(&["room:tea", "room:mate"]);
        let (room, judged, act) = (Key::from_u64(1), Judged { epoch: 1, rev: 0 }, Act::Note {});
        let (number, record, line) = (7, &b"?"[..], &b"?"[..]);
        let append = ToEngine::Append { number, room, judged, act, record, line };
        follower.hear(&mut ways, 0, 0, append);
        let asked = match way {
            0 => taken(&mut ways, |command| matches!(command, Command::Append(_))),
            1 => {
                let topic = Some("room:tea".into());
                follower.pushed(&mut ways, 0, Pushed::Foreign { topic });
                looks(&mut ways)
            }
            _ => {
                follower.lost(&mut ways);
                follower.connected(&mut ways, 0, Connected { replicas: vec![0] });
                let is_it = |topic: &str| topic == "room:tea";
                taken(&mut ways, |of| matches!(of, Command::Look { topic } if is_it(topic)))
            }
        };
        follower.answered(&mut ways, 0, asked[0], Err(Failure::Layout));
        follower.check();
        assert_eq!(ways.told, ["closed 1"], "{way}");
        assert_eq!((follower.counted().unreadable, &ways.ended), (1, &None));
        assert_eq!(follower.waiting_bytes(), 0);
    }
}

#[test]
fn what_is_said_in_a_layout_that_is_newer_is_left_out_and_counted() {
    let (mut follower, mut ways) = with_rooms(&["room:tea"]);
    let newer = vec![2, 0, 0];
    let pushes = [
        Pushed::Said { topic: "room:tea".into(), record: newer.clone() },
        Pushed::Said { topic: LOBBY.into(), record: newer.clone() },
        Pushed::Told { record: to_node(SESSIONS, &newer) },
    ];
    for pushed in pushes {
        follower.pushed(&mut ways, 0, pushed);
    }
    assert_eq!((ways.told.len(), &ways.ended), (0, &None));
    assert_eq!(follower.counted(), Counted { unreadable: 3, ..Counted::default() });
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

#[test]
fn a_push_that_was_lost_is_found_and_told_within_the_time_of_an_audit() {
    let (mut follower, mut ways) = with_rooms(&["room:tea", "room:mate"]);
    let mut looked = Vec::new();
    for now_ms in (0..60_000).step_by(100) {
        follower.audit(&mut ways, now_ms);
        looked.extend(looks(&mut ways));
    }
    assert_eq!(looked.len(), 1, "the other has its turn later");
    follower.audit(&mut ways, 60_000);
    looked.extend(looks(&mut ways));
    let [quiet, holed] = looked[..] else { panic!("each is looked at once: {looked:?}") };
    follower.answered(&mut ways, 60_000, quiet, Ok(stands(0)));
    assert_eq!(follower.counted(), Counted::default(), "where nothing was said nothing is read");
    follower.answered(&mut ways, 60_000, holed, Ok(stands(1)));
    assert_eq!((follower.counted().holes, follower.counted().repairs), (1, 0));
    let [read] = reads(&mut ways)[..] else { panic!("it is read") };
    follower.answered(&mut ways, 60_000, read, Ok(kept(message("room:mate"))));
    assert_eq!(ways.told, ["missed 2 1"]);
    assert_eq!((follower.counted().holes, follower.counted().repairs), (1, 1));
    follower.check();
}

#[test]
fn a_page_with_what_its_home_was_not_told_is_shown_behind_that() {
    let (mut follower, mut ways) = with_rooms(&["room:tea"]);
    let (part, view, changed) = (Part::Newest, View::Room, None);
    let wanted = Wanted { after: 0, upto: 9, part, messages: 9, bytes: 1_000, changed, view };
    let room = Key::from_u64(1);
    follower.hear(&mut ways, 0, 0, ToEngine::Read { number: 5, room, wanted });
    let [page] = reads(&mut ways)[..] else { panic!("it is read") };
    // The push of that was lost.
    follower.answered(&mut ways, 0, page, Ok(kept(message("room:tea"))));
    assert_eq!(ways.told, [""; 0]);
    let [missed, page] = reads(&mut ways)[..] else { panic!("both are read") };
    follower.answered(&mut ways, 0, missed, Ok(kept(message("room:tea"))));
    assert_eq!(ways.told, ["missed 1 1"]);
    follower.answered(&mut ways, 0, page, Ok(kept(message("room:tea"))));
    assert_eq!(ways.told, ["missed 1 1", "read 5 [1] false"]);
    assert_eq!((follower.counted().holes, follower.counted().repairs), (1, 1));
    follower.check();
}

#[test]
fn lines_are_read_behind_whatever_the_engine_may_have_lost() {
    let (mut follower, mut ways) = with_rooms(&["room:tea"]);
    follower.lost(&mut ways);
    follower.connected(&mut ways, 0, Connected { replicas: vec![0] });
    let (room, wanted) = (Key::from_u64(1), AuditWanted { before: 9, limit: 9, act: None });
    let lines = |number| ToEngine::Lines { number, room, wanted, bytes: 1_000 };
    let is_lines = |command: &Command| matches!(command, Command::Lines { .. });
    follower.hear(&mut ways, 0, 0, lines(5));
    assert_eq!(ways.told, ["not read 5"]);
    assert!(taken(&mut ways, is_lines).is_empty());
    let stands = Reply::Stands { head: Some(head(0)), is_current: true };
    let look = looks(&mut ways)[0];
    follower.answered(&mut ways, 0, look, Ok(stands));
    follower.hear(&mut ways, 0, 0, lines(6));
    assert_eq!(taken(&mut ways, is_lines).len(), 1);
}

/// A home asks for all that there is of its only room. Returns what the engine is asked.
fn catch_up(follower: &mut Follower, ways: &mut Recorder, number: u64) -> u64 {
    follower.hear(ways, 0, 0, ToEngine::CatchUp { number, room: Key::from_u64(1) });
    let [look] = looks(ways)[..] else { panic!("it is looked at") };
    look
}

fn stands(offset: u64) -> Reply {
    Reply::Stands { head: Some(head(offset)), is_current: true }
}

#[test]
fn a_home_that_may_be_behind_is_told_all_and_then_that_it_is_not() {
    // What was pushed before the answer came before that.
    let (mut follower, mut ways) = with_rooms(&["room:tea"]);
    let look = catch_up(&mut follower, &mut ways, 5);
    push(&mut follower, &mut ways, "room:tea", message("room:tea"));
    follower.answered(&mut ways, 0, look, Ok(stands(1)));
    assert_eq!(ways.told, ["entry 1 1", "caught up 5"]);
    // What was lost is read.
    let (mut follower, mut ways) = with_rooms(&["room:tea"]);
    let look = catch_up(&mut follower, &mut ways, 5);
    follower.answered(&mut ways, 0, look, Ok(stands(1)));
    assert_eq!(ways.told, [""; 0]);
    let [read] = reads(&mut ways)[..] else { panic!("it is read") };
    follower.answered(&mut ways, 0, read, Ok(kept(message("room:tea"))));
    assert_eq!(ways.told, ["missed 1 1", "caught up 5"]);
}

#[test]
fn a_home_that_may_be_behind_is_answered_in_time_and_once() {
    let timeout_ms = EngineLimits::default().timeout_ms;
    for way in 0..3 {
        let (mut follower, mut ways) = with_rooms(&["room:tea"]);
        let look = catch_up(&mut follower, &mut ways, 5);
        match way {
            0 => {
                follower.tick(&mut ways, timeout_ms - 1);
                assert_eq!(ways.told, [""; 0]);
                follower.tick(&mut ways, timeout_ms);
            }
            1 => follower.answered(&mut ways, 0, look, Err(Failure::Layout)),
            _ => follower.lost(&mut ways),
        }
        follower.answered(&mut ways, timeout_ms, look, Ok(stands(0)));
        // One that this version does not know is closed.
        assert_eq!(
            ways.told,
            if way == 1 { &["not read 5", "closed 1"][..] } else { &["not read 5"] }
        );
    }
    let (mut follower, mut ways) = with_rooms(&["room:tea"]);
    follower.lost(&mut ways);
    follower.hear(&mut ways, 0, 0, ToEngine::CatchUp { number: 6, room: Key::from_u64(1) });
    assert_eq!(ways.told, ["not read 6"]);
}

#[test]
fn audits_are_spread_evenly_over_their_time_and_none_is_forgotten() {
    let topics: Vec<_> = (0..600).map(|number| format!("room:{number}")).collect();
    let topics: Vec<_> = topics.iter().map(String::as_str).collect();
    let (mut follower, mut ways) = with_rooms(&topics);
    let mut looked = std::collections::BTreeSet::new();
    for now_ms in (0..=60_000).step_by(200) {
        follower.audit(&mut ways, now_ms);
        let asked = ways.asked.extract_if(.., |(_, of)| matches!(of, Command::Look { .. }));
        let asked: Vec<_> = asked.map(|(_, command)| format!("{command:?}")).collect();
        assert!(asked.len() <= 2, "{} at {now_ms}", asked.len());
        looked.extend(asked);
    }
    assert_eq!(looked.len(), topics.len());
}

#[test]
fn a_room_of_an_engine_that_was_emptied_is_opened_again_though_nobody_speaks() {
    let (mut follower, mut ways) = with_rooms(&["room:tea"]);
    follower.audit(&mut ways, 60_000);
    let [look] = looks(&mut ways)[..] else { panic!("it is looked at") };
    let gone = Reply::Stands { head: None, is_current: false };
    follower.answered(&mut ways, 60_000, look, Ok(gone));
    let read = taken(&mut ways, |command| matches!(command, Command::Read { .. }));
    follower.answered(&mut ways, 60_000, read[0], Ok(Reply::State(State::default())));
    let touch = taken(&mut ways, |command| matches!(command, Command::Append(_)));
    let anew = Head { epoch: 2, ..head(0) };
    let touched = Reply::Appended { head: anew.clone(), receipts: Vec::new() };
    follower.answered(&mut ways, 60_000, touch[0], Ok(touched));
    answer_reads(&mut follower, &mut ways, &anew);
    assert_eq!(ways.told, ["closed 1"]);
    assert_eq!(follower.counted().told, 1);
}

#[test]
fn turns_are_counted_by_whether_something_was_lost() {
    for (kept, turns) in [(1, Turns { kept: 1, lost: 0 }), (0, Turns { kept: 0, lost: 1 })] {
        let (mut follower, mut ways) = with_rooms(&["room:tea"]);
        push(&mut follower, &mut ways, "room:tea", message("room:tea"));
        let kept = Marks { offset: kept, change: 0 };
        let lineage = vec![Ended { epoch: 1, kept, rev: 0, audited: 0 }];
        let head = Head { epoch: 2, top: kept, lineage, ..head(0) };
        let news = News { head, before: kept, entries: Vec::new() };
        let topic = "room:tea".into();
        follower.pushed(&mut ways, 0, Pushed::News { topic, news });
        assert_eq!(follower.counted().turns, turns);
    }
}

#[test]
fn rooms_behind_another_connection_are_counted_as_reopened() {
    let (mut follower, mut ways) = with_rooms(&["room:tea"]);
    follower.lost(&mut ways);
    follower.connected(&mut ways, 1, Connected { replicas: vec![0] });
    let [look] = looks(&mut ways)[..] else { panic!("it is looked at") };
    let stands = Reply::Stands { head: Some(head(0)), is_current: true };
    follower.answered(&mut ways, 1, look, Ok(stands));
    assert_eq!(follower.counted(), Counted { reopened: 1, ..Counted::default() });
}

#[test]
fn that_nobody_is_in_a_room_any_more_is_said_until_the_engine_has_taken_it() {
    let (mut follower, mut ways) = with_rooms(&[]);
    let says = |ways: &mut Recorder| taken(ways, |command| matches!(command, Command::Say { .. }));
    let part = ToEngine::Part { topic: "room:tea", record: b"nobody" };
    follower.lost(&mut ways);
    follower.hear(&mut ways, 0, 0, part);
    assert_eq!(says(&mut ways), [0; 0]);
    follower.connected(&mut ways, 0, Connected { replicas: vec![0] });
    let mut now_ms = 0;
    for way in 0..3 {
        follower.tick(&mut ways, now_ms);
        let [say] = says(&mut ways)[..] else { panic!("it is said") };
        match way {
            0 => follower.answered(&mut ways, now_ms, say, Err(Failure::Refused("OOM".into()))),
            1 => {
                follower.lost(&mut ways);
                follower.connected(&mut ways, now_ms, Connected { replicas: vec![0] });
            }
            _ => follower.answered(&mut ways, now_ms, say, Ok(Reply::Done)),
        }
        follower.tick(&mut ways, now_ms);
        assert_eq!(says(&mut ways), [0; 0], "not at once");
        now_ms += EngineLimits::default().ping_ms;
    }
    follower.tick(&mut ways, now_ms);
    assert_eq!(says(&mut ways), [0; 0]);
}

/// As by one that says who is in a room as soon as it lives, and dies before others are told that
/// it has: while those are not answered, its lease ends.
#[test]
fn a_node_that_dies_before_it_is_known_to_live_is_gone_for_what_it_has_said_in_rooms() {
    let (mut follower, mut ways) = with_rooms(&["room:tea"]);
    let lease_ms = follower.node.limits.lease_ms;
    let other = Writer { topic: "room:tea", node: 9, shard: 0 };
    let (stamp, mut slice) = (Stamp { life: 5, version: 1 }, Vec::new());
    push_whole(&mut slice, SliceHead { stamp, refs_from: 1, count: 0 }, true, 0);
    let mut beats = |follower: &mut Follower, now_ms, nodes| {
        follower.beat(&mut ways, now_ms);
        let beat = taken(&mut ways, |command| matches!(command, Command::Beat { .. }));
        let beat = *beat.last().expect("it is asked");
        let lives = Reply::Nodes { now_ms, life: 3, nodes };
        follower.answered(&mut ways, now_ms, beat, Ok(lives));
        let record = other.told(None, &Told::Presence { record: &slice });
        let topic = "room:tea".into();
        follower.pushed(&mut ways, now_ms, Pushed::Said { topic, record });
        std::mem::take(&mut ways.told)
    };
    let me = || vec![(NODE, 3)];
    assert_eq!(beats(&mut follower, 0, me()), [""; 0]);
    // For a lease after it has answered again nobody is missed.
    assert_eq!(beats(&mut follower, lease_ms, me()), [""; 0]);
    assert_eq!(beats(&mut follower, 2 * lease_ms - 1, me()), [""; 0]);
    assert_eq!(beats(&mut follower, 2 * lease_ms, me()), ["gone [(9, 5)]"]);
    assert_eq!(beats(&mut follower, 2 * lease_ms + 1, me()), [""; 0], "once");
}

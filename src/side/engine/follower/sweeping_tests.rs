//! Which rooms are looked at, by whom, and what is asked of the engine then.

use super::tests::{Recorder, head, with_rooms};
use super::*;
use crate::limits::RETENTION_REST_MS;
use crate::link::log::Marks;
use crate::side::engine::command::{
    Act, Append, Archived, Changed, Failure, Head, News, Pushed, Receipt, State,
};
use crate::side::engine::follower::Connected;
use crate::side::engine::retention::Cut;

/// The engine's time, in milliseconds of Unix time.
const NOW_MS: u64 = 1_000_000;

/// A node that keeps messages for so many seconds, and is the only one, or not the first.
fn node(seconds: u64, is_first: bool) -> (Follower, Recorder) {
    let (mut follower, mut ways) = with_rooms(&["room:tea"]);
    follower.node.keep.seconds = seconds;
    let other = if is_first { follower.node.id + 1 } else { follower.node.id - 1 };
    let nodes = vec![(follower.node.id, 1), (other, 1)];
    let beat = taken(&mut ways, |command| matches!(command, Command::Beat { .. }));
    let reply = Reply::Nodes { now_ms: NOW_MS, life: 1, nodes };
    follower.answered(&mut ways, 0, beat[0].0, Ok(reply));
    ways.asked.clear();
    (follower, ways)
}

fn taken(ways: &mut Recorder, is_it: impl Fn(&Command) -> bool) -> Vec<(u64, Command)> {
    ways.asked.extract_if(.., |(_, command)| is_it(command)).collect()
}

/// The number of the only question of this kind.
fn asked(ways: &mut Recorder, is_it: impl Fn(&Command) -> bool) -> (u64, Command) {
    let mut taken = taken(ways, is_it);
    assert_eq!(taken.len(), 1, "{taken:?}");
    taken.remove(0)
}

fn is_due(command: &Command) -> bool {
    matches!(command, Command::Due { .. })
}

fn is_read(command: &Command) -> bool {
    matches!(command, Command::Read { .. })
}

/// Time passes, while the engine answers.
fn tick_at(follower: &mut Follower, ways: &mut Recorder, now_ms: u64) {
    follower.heard_ms = now_ms;
    follower.tick(ways, now_ms);
    assert_eq!(ways.ended, None);
}

/// Time passes; rooms are answered that are due.
fn tick(follower: &mut Follower, ways: &mut Recorder, topics: &[&str]) {
    tick_at(follower, ways, 60_000);
    let (number, _) = asked(ways, is_due);
    let topics = topics.iter().map(|topic| Box::from(*topic)).collect();
    follower.answered(ways, 60_000, number, Ok(Reply::Due { now_ms: NOW_MS, topics }));
}

/// A room of which nothing but this is known.
fn state(head: Head) -> State {
    State { head: Some(head), is_current: true, ..State::default() }
}

fn let_go(ways: &mut Recorder) -> (u64, Act) {
    let (number, command) = asked(ways, |command| matches!(command, Command::Append(_)));
    let Command::Append(Append { mut entries, .. }) = command else { unreachable!() };
    let entry = entries.pop().expect("one");
    assert_eq!(entry.judged, Some((1, 0)), "what is set meanwhile is not passed over");
    (number, entry.act)
}

#[test]
fn one_of_all_nodes_asks_which_rooms_are_to_be_looked_at() {
    let (mut follower, mut ways) = node(9, false);
    tick_at(&mut follower, &mut ways, 60_000);
    assert!(taken(&mut ways, is_due).is_empty());
    let (mut follower, mut ways) = node(9, true);
    tick(&mut follower, &mut ways, &[]);
    tick_at(&mut follower, &mut ways, 60_001);
    assert!(taken(&mut ways, is_due).is_empty(), "not again at once");
    tick_at(&mut follower, &mut ways, 120_000);
    assert_eq!(taken(&mut ways, is_due).len(), 1);
}

#[test]
fn rooms_are_looked_at_one_after_the_other_whatever_becomes_of_each() {
    let (mut follower, mut ways) = node(9, true);
    tick(&mut follower, &mut ways, &["room:one", "room:two", "room:tea", "room:gone"]);
    let (number, _) = asked(&mut ways, is_read);
    follower.answered(&mut ways, 60_000, number, Err(Failure::Layout));
    let (number, _) = asked(&mut ways, is_read);
    follower.answered(&mut ways, 60_000, number, Ok(Reply::State(state(head(3)))));
    let (number, act) = let_go(&mut ways);
    let upto = Marks::default();
    assert_eq!(act, Act::LetGo { upto, due_in_ms: Some(10_000) }, "nothing of it is known");
    follower.answered(&mut ways, 60_000, number, Err(Failure::Refused("OOM".into())));
    let (number, _) = asked(&mut ways, is_read);
    follower.answered(&mut ways, 60_000, number, Ok(Reply::State(state(head(3)))));
    let (number, _) = let_go(&mut ways);
    let receipts = vec![Receipt::Stale];
    let reply = Reply::Appended { head: head(3), receipts };
    follower.answered(&mut ways, 60_000, number, Ok(reply));
    // Of what has expired nothing is to be looked at any more.
    let (number, _) = asked(&mut ways, is_read);
    follower.answered(&mut ways, 60_000, number, Ok(Reply::State(State::default())));
    let (_, age) = asked(&mut ways, |command| matches!(command, Command::Age { .. }));
    assert!(matches!(age, Command::Age { in_ms: None, .. }), "{age:?}");
    assert!(taken(&mut ways, is_read).is_empty());
    assert_eq!(follower.counted().let_go, 0);
}

#[test]
fn an_archive_is_asked_for_what_is_older_and_what_goes_is_counted() {
    let (mut follower, mut ways) = node(9, true);
    follower.node.has_archive = true;
    tick(&mut follower, &mut ways, &["room:tea"]);
    let (number, _) = asked(&mut ways, is_read);
    let archived = Some(Archived { epoch: 1, upto: head(30).top, floor: Marks::default() });
    let state = State { archived, ..state(head(30)) };
    follower.answered(&mut ways, 60_000, number, Ok(Reply::State(state)));
    let (asked_as, question) = ways.archive.pop().expect("it is asked");
    let What::Oldest { before_ms, .. } = question.what else { panic!("for what is older") };
    assert_eq!(before_ms, NOW_MS - 9_000);
    let upto = Marks { offset: 20, change: 4 };
    let cut = Cut { upto, oldest_ms: Some(NOW_MS - 8_000), bytes_left: None, first: 31 };
    follower.archive_said(&mut ways, asked_as, Ok(Older::Oldest(cut)));
    let (number, act) = let_go(&mut ways);
    assert_eq!(act, Act::LetGo { upto, due_in_ms: Some(10_000) });
    let receipts = vec![Receipt::Decided { rev: 0 }];
    let reply = Reply::Appended { head: head(30), receipts };
    follower.answered(&mut ways, 60_000, number, Ok(reply));
    assert_eq!(follower.counted().let_go, 20);
}

#[test]
fn a_connection_that_ends_leaves_nothing_behind_that_holds_up_the_next() {
    let (mut follower, mut ways) = node(9, true);
    follower.node.has_archive = true;
    tick(&mut follower, &mut ways, &["room:tea", "room:mate"]);
    follower.lost(&mut ways);
    follower.connected(&mut ways, 60_000, Connected { replicas: vec![0] });
    tick_at(&mut follower, &mut ways, 120_000);
    assert_eq!(taken(&mut ways, is_due).len(), 1);
}

#[test]
fn a_home_hears_up_to_where_its_room_has_let_go_however_that_is_seen() {
    let gone = Marks { offset: 2, change: 1 };
    let stands = Head { gone, ..head(3) };
    let heard = "let go 1 2";
    let (mut follower, mut ways) = with_rooms(&["room:tea"]);
    for known in follower.rooms.values_mut().filter_map(|of| of.known.as_mut()) {
        *known = head(3);
    }
    let news = News { head: stands.clone(), before: head(3).top, entries: Vec::new() };
    let pushed = Pushed::News { topic: "room:tea".into(), news };
    follower.pushed(&mut ways, 0, pushed.clone());
    follower.pushed(&mut ways, 0, pushed);
    assert_eq!(ways.told, [heard], "once");
    // A push was lost: the next look sees it.
    let (mut follower, mut ways) = with_rooms(&["room:tea"]);
    for known in follower.rooms.values_mut().filter_map(|of| of.known.as_mut()) {
        *known = head(3);
    }
    let id = *follower.rooms.keys().next().expect("one");
    follower.audited(&mut ways, id, Some(&stands), true);
    assert_eq!(ways.told, [heard]);
}

#[test]
fn a_room_that_is_opened_says_when_it_is_to_be_looked_at() {
    let changed = |offset| Changed { offset, change: 1, is_deleted: false, record: Vec::new() };
    let (mut follower, mut ways) = node(9, true);
    let id = *follower.rooms.keys().next().expect("one");
    let state = State { changed: vec![changed(1)], ..state(head(1)) };
    follower.note_age(&mut ways, id, &state);
    let (_, age) = asked(&mut ways, |command| matches!(command, Command::Age { .. }));
    assert!(matches!(age, Command::Age { in_ms: Some(9_000), .. }), "{age:?}");
    follower.node.keep.seconds = 0;
    follower.note_age(&mut ways, id, &state);
    assert!(ways.asked.is_empty(), "without a bound never: {:?}", ways.asked);
}

/// What a room was asked to let go of sets when it is looked at next, and knows nothing of what was
/// said since the room was read.
#[test]
fn a_room_in_which_something_was_said_while_it_was_looked_at_is_looked_at_again() {
    for (top, expected) in [(3, 0), (4, 1)] {
        let (mut follower, mut ways) = node(9, true);
        tick(&mut follower, &mut ways, &["room:one"]);
        let (number, _) = asked(&mut ways, is_read);
        follower.answered(&mut ways, 60_000, number, Ok(Reply::State(state(head(3)))));
        let (number, _) = let_go(&mut ways);
        let receipts = vec![Receipt::Decided { rev: 1 }];
        let reply = Reply::Appended { head: head(top), receipts };
        follower.answered(&mut ways, 60_000, number, Ok(reply));
        let ages = taken(&mut ways, |command| {
            matches!(command, Command::Age { in_ms: Some(RETENTION_REST_MS), .. })
        });
        assert_eq!(ages.len(), expected, "at {top}");
    }
}

//! Rooms with as many bytes in memory as may be where messages are changed: what a turn does there.

use super::tests::Home;
use crate::auth::level::Level;
use crate::limits::{CHANGING_ROOM_BYTES_MAX, MOVED_BYTES_PER_TURN, MOVED_BYTES_PER_WORK};
use crate::link::facts::MemberWish;
use crate::link::ids::{Asker, RoomKey};
use crate::link::log::MemoryLog;
use crate::link::record::{Addition, NewMessage, ToHome};

/// How many messages such a room has here: each is as long as the others.
const MESSAGES: usize = 1_000;

/// A room that is full of what bob says, and perhaps goes on to say; and a moderator in it.
fn full_room(stream: bool) -> (Home<MemoryLog>, RoomKey, Asker) {
    let mut home = Home::new();
    home.settings.history.messages = 10_000;
    home.settings.history.room_bytes = CHANGING_ROOM_BYTES_MAX;
    let (room, asker) = home.enter(0, 1, "mod", Level::Moderate);
    let (_, bob) = home.enter(0, 2, "bob", Level::Speak);
    let body = format!("\"{}\"", "x".repeat(CHANGING_ROOM_BYTES_MAX / MESSAGES - 200));
    let message = NewMessage { body: &body, stream, ..NewMessage::default() };
    for _ in 0..MESSAGES {
        home.hear(0, ToHome::Publish { home: room, asker: bob, reference: "5", message });
    }
    home.take_told();
    (home, room, asker)
}

/// Does something in a turn of its own. Returns the changes, and what was told last.
fn turn(home: &mut Home<MemoryLog>, act: impl FnOnce(&mut Home<MemoryLog>)) -> (usize, String) {
    let done = home.budget.done();
    act(home);
    let moved_bytes = (home.budget.done() - done) * MOVED_BYTES_PER_WORK as u64;
    let bytes_max = (MOVED_BYTES_PER_TURN + 2 * CHANGING_ROOM_BYTES_MAX) as u64;
    assert!(moved_bytes < bytes_max, "{moved_bytes} bytes are moved in a turn");
    let told = home.take_told();
    let changes = told.iter().filter(|told| told.contains("msg_changed")).count();
    assert!(changes == 0 || moved_bytes > 0, "what is moved costs something");
    (changes, told.last().cloned().unwrap_or_default())
}

#[test]
fn a_purge_of_old_messages_moves_no_more_than_a_turn_may_and_goes_on_when_it_is_asked_again() {
    let (mut home, room, asker) = full_room(false);
    let (mut before, mut deleted) = (Some(101), 0);
    while before.is_some() {
        let wish = MemberWish { user: "bob", purge_s: Some(60), ..MemberWish::default() };
        let wish = MemberWish { purge_before: before, ..wish };
        let (changes, answer) = turn(&mut home, |home| home.stand((room, asker), wish));
        assert!(changes > 0, "{answer}");
        assert!(answer.contains(&format!(r#""purged":{changes}"#)), "{answer}");
        deleted += changes;
        let next = answer.split_once(r#""before":"#).map(|(_, next)| next.trim_end_matches('}'));
        before = next.map(|next| next.parse().expect("an offset"));
    }
    assert_eq!(deleted, 100);
}

#[test]
fn reactions_to_old_messages_are_told_in_as_many_turns_as_it_takes_to_move_what_is_behind_them() {
    let (mut home, room, asker) = full_room(false);
    let mut told = 0;
    for offset in 1..=50 {
        let addition = Addition::Reaction { emoji: "x", on: true };
        let push = ToHome::Add { home: room, asker, reference: "6", offset, addition };
        told += turn(&mut home, |home| home.hear(0, push)).0;
    }
    assert_eq!(told, 1, "the others are collected");
    home.now_ms += home.settings.chat.react_tick_ms;
    let mut turns = 0;
    while told < 50 {
        let due = |home: &mut Home<MemoryLog>| {
            home.with(|rooms, cx, told| rooms.collected_due(cx, told, room));
        };
        let (changes, _) = turn(&mut home, due);
        assert!(changes > 0, "{told} were told in {turns} turns");
        told += changes;
        turns += 1;
        home.now_ms += 1;
    }
    assert!(turns > 2, "{turns}");
}

#[test]
fn messages_that_grow_no_more_end_in_as_many_turns_as_it_takes_to_move_what_is_behind_them() {
    let (mut home, room, _) = full_room(true);
    home.now_ms += home.settings.chat.stream_s * 1_000;
    let (mut ended, mut turns) = (0, 0);
    while ended < MESSAGES {
        let end = |home: &mut Home<MemoryLog>| {
            home.with(|rooms, cx, told| rooms.end_streams(cx, told, room));
        };
        let (changes, _) = turn(&mut home, end);
        assert!(changes > 0, "{ended} were ended in {turns} turns");
        ended += changes;
        turns += 1;
    }
    assert!(turns > MESSAGES / 64 + 5, "{turns}");
}

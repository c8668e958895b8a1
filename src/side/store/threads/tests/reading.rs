//! What readers answer, behind all that was said before: rooms, pages, searches, lists.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::{Home, PATIENCE, start};
use crate::limits::STORE_LISTED_MAX;
use crate::link::ids::RoomKey;
use crate::link::log::{Appended, Find, Log, LogAnswer, Opening, Sought, Stretch, Why};
use crate::link::settings::home_of;
use crate::side::store::tests::{Folder, key, said};

#[test]
fn a_room_is_loaded_behind_all_that_was_said_in_it() {
    let folder = Folder::new();
    let (store, mut homes) = start(&folder, 1, 1);
    let home = &mut homes[0];
    home.open(key(1), "room:a", 50);
    for round in 1..=50 {
        home.append(key(round), round, said("\"x\""));
        home.log.close(key(round));
        assert_eq!(home.log.open(key(round + 1), "room:a", 99), Opening::Later);
        // They are of two threads, and come in either order.
        let mut answers = [home.answer(), home.answer()];
        answers.sort_by_key(|answer| matches!(answer, LogAnswer::Opened { .. }));
        let [LogAnswer::Kept { room, placed, .. }, LogAnswer::Opened { opened, .. }] = answers
        else {
            panic!("one is kept and one is there: {answers:?}")
        };
        assert_eq!((room, placed.marks.offset), (key(round), round));
        let opened = opened.expect("it is there");
        assert_eq!((opened.top.offset, opened.epoch), (round, 50));
    }
    store.stop().unwrap();
}

#[test]
fn a_room_is_read_behind_all_that_was_said_in_it_and_though_it_is_closed() {
    let folder = Folder::new();
    let (store, mut homes) = start(&folder, 1, 2);
    let home = &mut homes[0];
    home.open(key(1), "room:a", 50);
    assert_eq!(home.read(key(1), 7, 1), Ok(()));
    let nothing = LogAnswer::Read { room: key(1), ticket: 7, stretch: Stretch::default() };
    assert_eq!(home.answer(), nothing, "nothing was said in it yet");
    for round in 1..=50 {
        home.append(key(1), round, said(&format!("\"{round}\"")));
        assert_eq!(home.read(key(1), 1_000 + round, round), Ok(()));
        if round == 50 {
            home.log.close(key(1));
        }
        // Of two threads, in any order.
        let answers = [home.answer(), home.answer()];
        let is_kept = |answer: &&LogAnswer| matches!(answer, LogAnswer::Kept { .. });
        assert_eq!(answers.iter().filter(is_kept).count(), 1, "{answers:?}");
        let read = answers.iter().find_map(|answer| match answer {
            LogAnswer::Read { room, ticket, stretch } => Some((*room, *ticket, stretch)),
            _ => None,
        });
        let (room, ticket, stretch) = read.expect("it is read");
        assert_eq!((room, ticket), (key(1), 1_000 + round));
        let last = stretch.messages.last().map(|of| of.said.body.trim_matches('"'));
        assert_eq!(last, Some(&*round.to_string()));
        let count = round.min(3);
        let found = (stretch.first, stretch.messages.len() as u64, stretch.more);
        assert_eq!(found, (round + 1 - count, count, round > 3));
    }
    store.stop().unwrap();
}

/// The offsets of messages with a word, or why they are not looked for.
fn found(home: &mut Home, room: RoomKey, query: &str) -> Result<Vec<u64>, Why> {
    let sought = Sought { query, from: None, before: u64::MAX, messages: 9, bytes: 1_000 };
    home.log.find(Find { room, ticket: 1, sought })?;
    match home.answer() {
        LogAnswer::Found { hits, .. } => Ok(hits.messages.iter().map(|of| of.0).collect()),
        LogAnswer::NotRead { why, .. } => Err(why),
        other => panic!("something is found, not {other:?}"),
    }
}

/// Asks until the index is there.
fn found_at_last(home: &mut Home, room: RoomKey, query: &str) -> Vec<u64> {
    let began = Instant::now();
    loop {
        match found(home, room, query) {
            Ok(offsets) => return offsets,
            Err(Why::Busy) => assert!(began.elapsed() < PATIENCE, "it is made in the end"),
            Err(why) => panic!("{why:?}"),
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_index_whose_damage_only_a_reader_meets_is_made_anew() {
    let folder = Folder::new();
    let (store, mut homes) = start(&folder, 1, 1);
    homes[0].open(key(1), "room:a", 50);
    homes[0].append(key(1), 1, said("\"tea\""));
    homes[0].kept();
    while found_at_last(&mut homes[0], key(1), "tea") != [1] {}
    drop(homes);
    store.stop().unwrap();
    let file = folder.0.join("search.db");
    let mut bytes = fs::read(&file).unwrap();
    let has = |page: &[u8]| page.windows(4).any(|here| here == b"0tea");
    let page = bytes.chunks_mut(4_096).find(|page| has(page)).expect("a page of words");
    // No page is of this type.
    page[0] = 0xff;
    fs::write(&file, bytes).unwrap();
    // Nothing is written from now on, so the indexer has nothing to do.
    let (store, mut homes) = start(&folder, 1, 1);
    homes[0].open(key(1), "room:a", 51);
    assert_eq!(found_at_last(&mut homes[0], key(1), "tea"), [1]);
    drop(homes);
    store.stop().unwrap();
}

/// All rooms of a home that are kept: their topics and titles, in order.
fn listed(home: &mut Home) -> Vec<(String, Option<String>)> {
    let (mut rooms, mut after) = (Vec::new(), Some(0));
    while let Some(from) = after {
        assert!(home.log.list(from));
        let LogAnswer::Listed { rooms: some, next } = home.answer() else { panic!("they are") };
        assert!(some.len() <= STORE_LISTED_MAX as usize, "a portion");
        rooms.extend(
            some.into_iter().map(|room| (String::from(room.topic), room.founded.map(String::from))),
        );
        after = next;
    }
    rooms.sort_unstable();
    rooms
}

#[test]
fn rooms_that_were_founded_or_spoken_in_are_listed_to_their_homes_and_no_others() {
    let folder = Folder::new();
    let (store, mut homes) = start(&folder, 1, 1);
    let home = &mut homes[0];
    for room in 1..=400 {
        home.open(key(room), &format!("room:{room:03}"), 50);
        if room % 2 == 0 {
            let title = format!("Room {room}");
            assert_eq!(home.found(key(room), &title), Appended::Ordered);
            assert_eq!(home.kept(), (key(room), 0));
        } else if room % 3 == 0 {
            home.append(key(room), 1, said("\"x\""));
            home.kept();
        }
    }
    store.stop().unwrap();
    let (store, mut homes) = start(&folder, 2, 2);
    let there = homes.iter_mut().map(listed).collect::<Vec<_>>();
    for (shard, rooms) in (0..).zip(&there) {
        assert!(rooms.len() > 100, "{}", rooms.len());
        assert!(rooms.iter().all(|(topic, _)| home_of(topic, 2) == shard));
    }
    let mut there = there.concat();
    there.sort_unstable();
    let expected = (1..=400)
        .filter(|room| room % 2 == 0 || room % 3 == 0)
        .map(|room| (format!("room:{room:03}"), (room % 2 == 0).then(|| format!("Room {room}"))));
    assert!(there.into_iter().eq(expected));
    let opened = homes[0].open(key(1), "room:002", 51).expect("it is there");
    assert_eq!((opened.founded.as_deref(), opened.epoch), (Some("Room 2"), 50));
    let opened = homes[0].open(key(2), "room:003", 51).expect("it is there");
    assert_eq!((opened.founded, opened.top.offset), (None, 1));
    assert_eq!(homes[0].open(key(3), "room:001", 51), None, "nothing of it was worth keeping");
    store.stop().unwrap();
}

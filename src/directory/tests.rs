//! The directory against a plain list that is sorted and counted anew for each question.

use std::cmp::Reverse;

use super::*;
use crate::auth::identity::{Identity, NEVER_S, Rights};
use crate::auth::level::Level;
use crate::base::rng::SplitMix64;

fn names<'a>(rooms: &[(&'a str, &Listing)]) -> Vec<&'a str> {
    rooms.iter().map(|(room, _)| *room).collect()
}

fn identity(rules: &[(&str, Level)]) -> Identity {
    Identity::new("u", "U", NEVER_S, Rights::new(rules.iter().copied()).ok()).unwrap()
}

fn changes(directory: &mut Directory) -> Vec<(String, Option<u32>)> {
    let mut changes = Vec::new();
    directory.take_changes(|room, listing| {
        changes.push((room.to_owned(), listing.map(|listing| listing.members)));
        true
    });
    changes
}

#[test]
fn pages_follow_one_another_and_show_only_what_may_be_seen() {
    let mut directory = Directory::default();
    for (members, room) in ["a", "b", "c", "d", "secret"].into_iter().enumerate() {
        directory.learn(room, room, u32::try_from(members).ok());
    }
    let scope = Scope::of(&identity(&[("*", Level::Join), ("secret", Level::None)]));
    let (page, more) = directory.page(None, 2, &scope);
    assert_eq!((names(&page), more), (vec!["a", "b"], true));
    let (page, more) = directory.page(Some("b"), 2, &scope);
    assert_eq!((names(&page), more), (vec!["c", "d"], false));
    let (page, total) = directory.largest(2, &scope);
    assert_eq!((names(&page), total), (vec!["d", "c"], 4));
    assert_eq!(directory.count(&Scope::all()), 5);
}

#[test]
fn only_news_is_news() {
    let mut directory = Directory::default();
    directory.learn("z", "Z", Some(1));
    assert!(!directory.has_changed(), "nobody wants to know");
    directory.watch();
    directory.learn("a", "A", Some(1));
    assert_eq!(changes(&mut directory).len(), 1);
    directory.learn("a", "A", Some(1));
    directory.learn("b", "", None);
    assert!(!directory.has_changed());
    directory.learn("a", "", None);
    assert_eq!(changes(&mut directory), [("a".to_owned(), None)]);
    directory.learn("z", "z", Some(2));
    assert_eq!(changes(&mut directory), [("z".to_owned(), Some(2))]);
    directory.learn("z", "zz", Some(2));
    assert_eq!(changes(&mut directory), [("z".to_owned(), Some(2))], "a title is news");
    directory.learn("z", "z", Some(3));
    directory.unwatch();
    assert!(!directory.has_changed());
}

#[test]
fn a_room_that_nobody_was_told_of_goes_without_a_word() {
    let mut directory = Directory::default();
    directory.learn("old", "old", Some(0));
    directory.watch();
    for number in 0..1_000 {
        let room = format!("brief-{number}");
        directory.learn(&room, &room, Some(1));
        directory.learn(&room, &room, Some(2));
        directory.learn(&room, "", None);
    }
    assert!(!directory.has_changed());
    // One that an answer has shown must be told to be gone; so must one that is older.
    directory.learn("shown", "shown", Some(1));
    directory.note_shown("shown");
    directory.learn("shown", "", None);
    directory.learn("old", "", None);
    // And one that came back before that was told.
    directory.learn("old", "old", Some(7));
    directory.learn("old", "", None);
    assert_eq!(changes(&mut directory), [("old".to_owned(), None), ("shown".to_owned(), None)]);
}

#[test]
fn what_is_not_taken_waits_and_no_room_waits_behind_others_for_ever() {
    let mut directory = Directory::default();
    directory.watch();
    let mut taken = Vec::new();
    for turn in 0..10 {
        // These change all the time, and come first by name.
        for room in ["a", "b", "c"] {
            directory.learn(room, room, Some(turn));
        }
        if turn == 0 {
            directory.learn("z", "z", Some(1));
        }
        let mut is_first = true;
        directory.take_changes(|room, _| {
            if is_first {
                taken.push(room.to_owned());
            }
            std::mem::take(&mut is_first)
        });
    }
    assert_eq!(&taken[..4], ["a", "b", "c", "z"]);
    assert!(directory.has_changed());
}

/// What the directory answers, found the plain way.
fn check(directory: &Directory, model: &BTreeMap<String, u32>, who: &Identity, rng: u64) {
    let scope = Scope::of(who);
    let seen: Vec<_> = model.iter().filter(|(room, _)| who.may_join(room)).collect();
    assert_eq!(directory.count(&scope), seen.len());
    let count = usize::try_from(rng % 12).unwrap();
    let mut by_members = seen.clone();
    by_members.sort_by_key(|(room, members)| (Reverse(**members), *room));
    let (largest, total) = directory.largest(count, &scope);
    let largest: Vec<_> = largest.iter().map(|(room, one)| (*room, one.members)).collect();
    let expected: Vec<_> =
        by_members.iter().take(count).map(|(room, members)| (room.as_str(), **members)).collect();
    assert_eq!((largest, total), (expected, seen.len()));
    let after = (rng & 1 == 1).then(|| name(rng >> 8));
    let behind = |room: &str| after.as_deref().is_none_or(|after| room > after);
    let rest: Vec<_> = seen.iter().filter(|(room, _)| behind(room)).collect();
    let (page, more) = directory.page(after.as_deref(), count, &scope);
    let expected: Vec<_> = rest.iter().take(count).map(|(room, _)| room.as_str()).collect();
    assert_eq!((names(&page), more), (expected, rest.len() > count));
}

fn name(number: u64) -> String {
    let first = ["a", "b", "team-", "é"][usize::try_from(number % 4).unwrap()];
    format!("{first}{}", number / 4 % 60)
}

#[test]
fn it_answers_as_a_list_that_is_sorted_and_counted() {
    let readers = [
        identity(&[("*", Level::Join)]),
        identity(&[]),
        identity(&[("team-*", Level::Speak), ("team-1*", Level::None), ("a7", Level::Join)]),
        identity(&[
            ("*", Level::Join),
            ("b*", Level::None),
            ("b1*", Level::Join),
            ("é", Level::None),
        ]),
        Identity::new("u", "U", NEVER_S, None).unwrap(),
    ];
    for seed in 0..20 {
        let mut rng = SplitMix64::new(seed);
        let (mut directory, mut model) = (Directory::default(), BTreeMap::new());
        // It grows, then shrinks, so that both ways of losing balance are met.
        for step in 0..600 {
            let room = name(rng.next_u64());
            if rng.below(10) < if step < 300 { 2 } else { 7 } {
                directory.learn(&room, "", None);
                model.remove(&room);
            } else {
                let members = u32::try_from(rng.below(4)).unwrap();
                directory.learn(&room, &room, Some(members));
                model.insert(room, members);
            }
            if step % 10 == 0 {
                directory.rooms.check();
            }
            let who = &readers[usize::try_from(rng.below(5)).unwrap()];
            check(&directory, &model, who, rng.next_u64());
        }
        for room in directory.names().map(str::to_owned).collect::<Vec<_>>() {
            directory.learn(&room, "", None);
        }
        assert_eq!(directory.names().count(), 0);
    }
}

#[test]
fn rooms_that_come_in_order_of_name_leave_the_tree_balanced() {
    let mut directory = Directory::default();
    for number in 0..5_000 {
        directory.learn(&format!("{number:05}"), "", Some(0));
    }
    directory.rooms.check();
    for number in 0..4_000 {
        directory.learn(&format!("{number:05}"), "", None);
    }
    directory.rooms.check();
    assert_eq!(directory.count(&Scope::all()), 1_000);
}

#[test]
fn what_a_directory_takes_is_counted_and_given_back() {
    let mut directory = Directory::default();
    assert_eq!(directory.bytes(), 0);
    for number in 0..1_000 {
        directory.learn(&format!("{number:05}"), "title", Some(1));
    }
    let full = directory.bytes();
    assert!(full >= 1_000 * (tree::NODE_BYTES + 10), "{full}");
    directory.watch();
    directory.learn("00001", "a title", Some(1));
    assert!(directory.bytes() > full + 2, "the longer title, and that there is news");
    for number in 0..1_000 {
        directory.learn(&format!("{number:05}"), "", None);
    }
    directory.unwatch();
    directory.tidy();
    assert!(
        directory.bytes() <= full / 4,
        "but for what is kept for the next: {}",
        directory.bytes()
    );
}

/// How many rooms a question looked at.
fn visits<'d, R>(directory: &'d Directory, ask: impl FnOnce(&'d Directory) -> R) -> u64 {
    directory.take_visits();
    let _answer = ask(directory);
    directory.take_visits()
}

#[test]
fn a_question_at_a_hundred_thousand_rooms_looks_at_no_more_than_it_answers() {
    let mut directory = Directory::default();
    let mut rng = SplitMix64::new(1);
    for number in 0..100_000 {
        let members = u32::try_from(rng.below(1_000)).unwrap();
        directory.learn(&format!("team-{}-{number}", number % 100), "title", Some(members));
    }
    let all = Scope::all();
    let few = Scope::of(&identity(&[("team-7-*", Level::Join), ("team-8-8", Level::Join)]));
    let none = Scope::of(&identity(&[("x*", Level::Join), ("*", Level::None)]));
    // Ninety-nine of a hundred rooms are not for this one.
    let holes: Vec<String> = (1..100).map(|team| format!("team-{team}-*")).collect();
    let holes = holes.iter().map(|hole| (hole.as_str(), Level::None)).chain([("*", Level::Join)]);
    let holes = Scope::of(&identity(&holes.collect::<Vec<_>>()));
    // The depth is at most 42: see the tree.
    let depth = 42;
    for scope in [&all, &few, &none, &holes] {
        let ranges = u64::try_from(scope.ranges().len()).unwrap();
        let count = visits(&directory, |directory| directory.count(scope));
        assert!(count <= 2 * ranges * depth, "{count} to count");
        for (limit, answer) in [(1_usize, 1), (100, 100), (1_000, 1_000)] {
            let page = visits(&directory, |directory| directory.page(None, limit, scope));
            assert!(page <= ranges * 2 * depth + 3 * answer, "{page} for a page of {limit}");
            let largest = visits(&directory, |directory| directory.largest(limit, scope));
            let bound = 4 * ranges * depth + 2 * depth * answer;
            assert!(largest <= bound, "{largest} for the {limit} largest");
        }
    }
    directory.learn("team-7-7", "title", Some(5_000));
    let learn = directory.take_visits();
    assert!((1..=2 * depth).contains(&learn), "{learn} to learn");
    assert_eq!(names(&directory.largest(1, &few).0), ["team-7-7"]);
}

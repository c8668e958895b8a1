//! Names that are taken, order, bounds: what holds whatever the product is.

use super::*;
use crate::limits::{BODY_BYTES_MAX, NAME_BYTES_MAX, REACTED_BYTES_MAX};

/// All lines of some rooms, and what is told of them.
fn lines_of(rooms: &[(Room, Vec<Post>)]) -> (Vec<serde_json::Value>, Vec<String>) {
    let mut out = Vec::new();
    let notes = give(rooms, &mut |line| {
        out.push(serde_json::from_slice(line).unwrap());
        Ok(())
    });
    (out, notes.unwrap())
}

/// Takes in lines of rooms, as the command does.
fn taken_in(rooms: &[(Room, Vec<Post>)]) -> Result<(), StoreError> {
    let folder = Folder::new();
    let tell = &mut |what: &str| panic!("{what}");
    fill(&folder.0, &[7; 32], 1, tell, |import| give(rooms, &mut |line| import.line(line)))
        .map(drop)
}

fn give(rooms: &[(Room, Vec<Post>)], take: &mut Take<'_>) -> Result<Vec<String>, StoreError> {
    let mut lines = Lines::begin(Product::Slack, Path::new("export.zip"), take)?;
    // What comes of one room stands between what comes of others.
    let mut posts: Vec<_> = (0..)
        .zip(rooms)
        .flat_map(|(number, (_, posts))| posts.iter().map(move |post| (number, post)))
        .collect();
    posts.reverse();
    for (number, post) in posts {
        let text = serde_json::to_string(post).unwrap();
        lines.post(number, serde_json::from_str(&text).unwrap())?;
    }
    for (number, (room, _)) in (0..).zip(rooms) {
        lines.room(number, room)?;
    }
    lines.end()
}

fn post(id: &str, at_ms: u64, body: &str) -> Post {
    let (user, name) = ("u".to_owned(), "U".to_owned());
    Post { id: id.to_owned(), at_ms, user, name, body: body.to_owned(), ..Post::default() }
}

#[test]
fn rooms_have_names_of_their_own() {
    let named = |name: &str| (Room { name: name.to_owned(), ..Room::default() }, Vec::new());
    let long = "é".repeat(100);
    let (lines, _) =
        lines_of(&[named("a"), named("a"), named(""), named("\n"), named(&long), named(&long)]);
    let rooms = lines.iter().filter(|line| line["kind"] == "room");
    let seen: Vec<_> = rooms.map(|room| room["room"].as_str().unwrap()).collect();
    assert_eq!(seen[..4], ["a", "a-2", "room", "room-2"]);
    assert!(seen.iter().all(|name| name.len() <= NAME_BYTES_MAX));
    assert_eq!(seen[5], format!("{}-2", seen[4]));
}

#[test]
fn an_answer_stands_behind_what_it_answers_and_in_its_thread() {
    let answer =
        |id: &str, at_ms, to: &str| Post { reply_to: Some(to.to_owned()), ..post(id, at_ms, id) };
    // They come in any order; the last two answer what comes later, and nothing.
    let posts = vec![
        answer("c", 30, "b"),
        answer("b", 20, "a"),
        post("a", 10, "a"),
        answer("d", 5, "a"),
        answer("e", 40, "x"),
    ];
    let (lines, notes) = lines_of(&[(Room::default(), posts)]);
    assert_eq!(notes, ["messages of their own: answers to what is not taken, or comes later: 2"]);
    let messages = lines.iter().filter(|line| line["kind"] == "message");
    let seen: Vec<_> = messages
        .map(|line| {
            let number = |field: &str| line[field].as_u64().unwrap_or_default();
            (line["body"].as_str().unwrap(), number("offset"), number("reply_to"), number("thread"))
        })
        .collect();
    let expected = [("d", 1, 0, 0), ("a", 2, 0, 0), ("b", 3, 2, 2), ("c", 4, 3, 2), ("e", 5, 0, 0)];
    assert_eq!(seen, expected);
}

#[test]
fn what_is_longer_than_a_server_takes_is_shortened_and_taken_in() {
    let users: Vec<_> =
        (0..20_000).map(|number| format!("user {number:04} {}", "x".repeat(90))).collect();
    let files = (0..200).map(|number| Attached {
        name: format!("file {number} {}", "y".repeat(100)),
        media_type: None,
        bytes: Some(number),
        url: None,
    });
    let rich = Post {
        user: "\u{7}".to_owned(),
        name: "n".repeat(1_000),
        files: files.collect(),
        mentions: users.clone(),
        reactions: vec![("👍".to_owned(), users.clone()), ("x".repeat(500), users)],
        edited_ms: Some(3),
        pinned_ms: Some(4),
        ..post("a", 2, &"\u{1}".repeat(2 * BODY_BYTES_MAX))
    };
    let room = || Room {
        name: "tea".to_owned(),
        title: "t".repeat(9_000),
        topic: "\"".repeat(9_000),
        is_private: true,
        creator: Some("u\n1".to_owned()),
        members: vec!["u1".to_owned(), "u2".to_owned(), "u2".to_owned(), String::new()],
        ..Room::default()
    };
    let (_, notes) = lines_of(&[
        (room(), vec![post("b", 1, " \n")]),
        (room(), vec![post("c", 1, &"\u{1}".repeat(BODY_BYTES_MAX))]),
    ]);
    assert_eq!(
        notes,
        [
            "left out: messages of \"tea\" without text and files: 1",
            "shortened: messages of \"tea-2\": 1"
        ]
    );
    let (lines, notes) = lines_of(&[(room(), vec![])]);
    assert_eq!((lines.len(), notes.len()), (6, 0), "it is the room with its owner and a member");
    taken_in(&[(room(), vec![rich.clone(), post("b", 1, " ")])]).unwrap();
    let (lines, notes) = lines_of(&[(room(), vec![rich])]);
    let message = lines.iter().find(|line| line["kind"] == "message").unwrap();
    let count = |value: &serde_json::Value| value.as_array().unwrap().len();
    let reacted = count(&message["reactions"][0][1]);
    let files = count(&message["data"]["files"]);
    assert_eq!(
        notes,
        [
            "shortened: messages of \"tea\": 1".to_owned(),
            format!(
                "left out: reactions that are there twice, or have no place: {}",
                40_000 - reacted
            ),
            "left out: mentions that have no place: 19950".to_owned(),
            format!("left out: names of files that have no place: {}", 200 - files),
        ]
    );
}

#[test]
fn a_message_that_is_there_twice_is_taken_once() {
    let posts = vec![post("a", 7, "hi"), post("b", 7, "hi"), post("a", 7, "hi"), post("", 7, "x")];
    let (lines, notes) = lines_of(&[(Room::default(), posts.clone()), (Room::default(), posts)]);
    assert_eq!(notes, ["left out: messages that are there twice: 2"], "one in each room");
    assert_eq!(said(&lines).len(), 6);
    assert_eq!(lines.last().unwrap()["messages"], 6);
}

#[test]
fn messages_of_one_time_stay_in_their_order_however_many_there_are() {
    let posts: Vec<_> = (0..50).map(|number| post("", 7, &format!("m{number}"))).collect();
    let bodies: Vec<_> = posts.iter().rev().map(|post| post.body.clone()).collect();
    let (lines, _) = lines_of(&[(Room::default(), posts)]);
    let messages = lines.iter().filter(|line| line["kind"] == "message");
    let seen: Vec<_> = messages.map(|line| line["body"].as_str().unwrap()).collect();
    assert_eq!(seen, bodies, "they were put in from the last on");
}

#[test]
fn what_a_store_does_not_take_is_named_by_where_it_stands_in_the_export() {
    let late = Post { place: "tea/day.json: $[3]".to_owned(), ..post("a", u64::MAX, "hi") };
    let error = taken_in(&[(Room::default(), vec![post("b", 1, "hi"), late])]).unwrap_err();
    let expected = "tea/day.json: $[3]: `at` is before 1, or far from now";
    assert!(error.to_string().contains(expected), "{error}");
    assert!(matches!(error, StoreError::Damaged { file, .. } if file == Path::new("export.zip")));
    let created_ms = Some(u64::MAX);
    let late =
        Room { name: "tea".to_owned(), created_ms, place: "$[7]".to_owned(), ..Room::default() };
    let error = taken_in(&[(late, vec![])]).unwrap_err();
    assert!(error.to_string().contains("$[7]: `created_at` is far from now"), "{error}");
}

#[test]
fn short_names_of_emoji_are_their_emoji_and_others_stay_names() {
    assert_eq!(emoji("thumbsup"), "👍");
    assert_eq!(emoji("+1::skin-tone-3"), "👍");
    assert_eq!(emoji("party_parrot"), ":party_parrot:");
    assert_eq!(emoji(""), "", "which is none");
}

#[test]
fn as_many_reactions_are_kept_as_fit_however_often_they_are_given() {
    let user = |number: usize| format!("{number:04}{}", "u".repeat(95));
    // What a store keeps of them: an emoji, its users, and a byte behind each.
    let fitting = (REACTED_BYTES_MAX - "👍".len() - 1) / (99 + 1);
    let users: Vec<_> = (0..=fitting).map(user).collect();
    let twice = users.iter().flat_map(|user| [user, user]);
    let parts: Vec<_> = twice.map(|user| ("👍".to_owned(), vec![user.clone()])).collect();
    let reacted = Post { reactions: parts, ..post("a", 1, "hi") };
    let (lines, notes) = lines_of(&[(Room::default(), vec![reacted.clone()])]);
    let message = lines.iter().find(|line| line["kind"] == "message").unwrap();
    let reactions = message["reactions"].as_array().unwrap();
    assert_eq!(reactions.len(), 1);
    assert_eq!(reactions[0][1].as_array().unwrap().len(), fitting);
    let left = 2 * users.len() - fitting;
    assert_eq!(
        notes,
        [format!("left out: reactions that are there twice, or have no place: {left}")]
    );
    let room = Room { name: "tea".to_owned(), ..Room::default() };
    taken_in(&[(room, vec![reacted])]).unwrap();
}

#[test]
fn of_what_is_there_twice_the_newest_state_is_taken() {
    let state =
        |body: &str, as_of_ms, edited_ms| Post { edited_ms, as_of_ms, ..post("a", 7, body) };
    for (states, expected) in [
        // The export that was made last, though it comes first; or else the last edit.
        (vec![state("new", 9, None), state("old", 8, Some(8))], "new"),
        (vec![state("old", 8, Some(8)), state("new", 9, None)], "new"),
        (vec![state("old", 0, Some(8)), state("new", 0, Some(9))], "new"),
        (vec![state("new", 0, Some(9)), state("old", 0, None)], "new"),
        // They are put in from the last on.
        (vec![state("second", 0, None), state("first", 0, None)], "first"),
    ] {
        let (lines, notes) = lines_of(&[(Room::default(), states)]);
        assert_eq!(said(&lines), [("room", "u", expected, 0)]);
        assert_eq!(notes, ["left out: messages that are there twice: 1"]);
    }
}

#[test]
fn what_is_left_out_is_counted_once_however_often_it_is_there() {
    let note = |id: &str| Post { note: Some("join".to_owned()), ..post(id, 7, "joined") };
    let reacted = |id: &str| Post {
        reactions: vec![(String::new(), vec!["u".to_owned()])],
        unnamed_count: 2,
        ..post(id, 7, "hi")
    };
    let pin = Post { note: Some("pin".to_owned()), ..reacted("n") };
    let once = [note("a"), note("b"), post("c", 7, " "), reacted("d"), pin];
    let (lines, notes) = lines_of(&[(Room::default(), [once.clone(), once].concat())]);
    assert_eq!(said(&lines), [("room", "u", "hi", 0)]);
    assert_eq!(
        notes,
        [
            "left out: messages of \"room\" without text and files: 1",
            "left out: what the product itself has noted: join 2, pin 1",
            "left out: messages that are there twice: 1",
            "left out: reactions that are there twice, or have no place: 1",
            "left out: reactions of which the export does not say whose they are: 2",
        ]
    );
}

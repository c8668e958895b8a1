//! What a fixture does not show: zips, names that are taken, bounds. Whole exports: `tests/store`.

use std::fs::{self, File};
use std::io::Write as _;

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;
use crate::limits::{BODY_BYTES_MAX, NAME_BYTES_MAX};
use crate::side::store::tests::Folder;

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
fn an_export_in_a_zip_is_read_as_one_in_a_folder() {
    let folder = Folder::new();
    fs::create_dir_all(&folder.0).unwrap();
    let path = folder.0.join("export.zip");
    let mut zip = ZipWriter::new(File::create_new(&path).unwrap());
    let channels = r#"[{"id":"C1","name":"tea","created":1}]"#;
    let day = r#"[{"type":"message","user":"U1","text":"hi","ts":"2.5"}]"#;
    for (name, content) in [("tea/2026-11-01.json", day), ("channels.json", channels)] {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    zip.finish().unwrap();
    let mut out = Vec::new();
    let take = &mut |line: &[u8]| {
        out.extend_from_slice(line);
        Ok(())
    };
    convert(Product::Slack, Archive::open(&path).unwrap(), take).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains(r#""at":2500,"user":"U1","name":"U1","body":"hi""#), "{out}");

    let cut = folder.0.join("cut.zip");
    let whole = fs::read(&path).unwrap();
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(Archive::open(&cut), Err(StoreError::Damaged { .. })));
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
    let (lines, _) = lines_of(&[(Room::default(), posts)]);
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
    taken_in(&[(room(), vec![rich, post("b", 1, " ")])]).unwrap();
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
}

#[test]
fn short_names_of_emoji_are_their_emoji_and_others_stay_names() {
    assert_eq!(emoji("thumbsup"), "👍");
    assert_eq!(emoji("+1::skin-tone-3"), "👍");
    assert_eq!(emoji("party_parrot"), ":party_parrot:");
}

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

/// The files of an export in a folder.
fn folder_with(files: &[(&str, &[u8])]) -> Folder {
    let folder = Folder::new();
    for (name, content) in files {
        let path = folder.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

/// What comes of an export: its lines, and what is told of it.
fn converted(
    product: Product,
    file: &Path,
) -> Result<(Vec<serde_json::Value>, Vec<String>), StoreError> {
    let mut out = Vec::new();
    let notes = convert(product, Archive::open(file)?, &mut |line| {
        out.push(serde_json::from_slice(line).unwrap());
        Ok(())
    })?;
    Ok((out, notes))
}

/// The same of files that are an export.
fn taken(product: Product, files: &[(&str, &str)]) -> (Vec<serde_json::Value>, Vec<String>) {
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    converted(product, &folder_with(&files).0).unwrap()
}

/// What is said against files that are none.
fn refused(product: Product, files: &[(&str, &[u8])]) -> String {
    converted(product, &folder_with(files).0).unwrap_err().to_string()
}

/// Of each message its room, author, text, and the offset of what it answers.
fn said(lines: &[serde_json::Value]) -> Vec<(&str, &str, &str, u64)> {
    let messages = lines.iter().filter(|line| line["kind"] == "message");
    messages
        .map(|message| {
            let text = |field: &str| message[field].as_str().unwrap_or_default();
            let answered = message["reply_to"].as_u64().unwrap_or_default();
            (text("room"), text("user"), text("body"), answered)
        })
        .collect()
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
    let (lines, notes) = lines_of(&[(Room::default(), posts)]);
    assert_eq!(
        notes,
        ["messages of their own: answers to what is not in the export, or comes later: 2"]
    );
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
fn what_a_folder_has_beside_files_and_what_a_file_has_beside_utf_8_is_named() {
    let channels: (&str, &[u8]) = ("channels.json", br#"[{"id":"C1","name":"tea","created":1}]"#);
    let day = br#"[{"user":"U1","text":"hi","ts":"2.5"}]"#;
    let marked = [b"\xef\xbb\xbf", &day[..]].concat();
    let utf16: Vec<u8> = day.iter().flat_map(|byte| [*byte, 0]).collect();
    let latin = day.iter().map(|byte| if *byte == b'i' { 0xe4 } else { *byte }).collect::<Vec<_>>();

    let folder = folder_with(&[
        channels,
        ("tea/1.json", &marked),
        ("__MACOSX/tea/._1.json", b"\0\x05\x16\x07"),
        ("tea/._1.json", b"\0\x05\x16\x07"),
    ]);
    let (lines, notes) = converted(Product::Slack, &folder.0).unwrap();
    assert_eq!((said(&lines), notes), (vec![("tea", "U1", "hi", 0)], vec![]));

    std::os::unix::fs::symlink("/etc", folder.0.join("tea/etc")).unwrap();
    let error = converted(Product::Slack, &folder.0).unwrap_err().to_string();
    assert!(error.contains("tea/etc: it is neither a file nor a folder"), "{error}");
    for (name, content, expected) in [
        ("tea/1.json", &*utf16, "tea/1.json: "),
        ("tea/1.json", &latin, "tea/1.json: "),
        ("a/b/c/d/e/1.json", day, "a/b/c/d/e: it is too deep within other folders"),
    ] {
        let error = refused(Product::Slack, &[channels, (name, content)]);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn names_in_a_zip_lead_nowhere_and_what_was_altered_in_one_is_named() {
    let zipped = |names: &[&str]| {
        let folder = folder_with(&[("secret.json", br#"[{"user":"U1","text":"hi","ts":"2.5"}]"#)]);
        let path = folder.0.join("export.zip");
        let mut zip = ZipWriter::new(File::create_new(&path).unwrap());
        let stored = SimpleFileOptions::default();
        let stored = stored.compression_method(zip::CompressionMethod::Stored);
        for name in names {
            zip.start_file(*name, stored).unwrap();
            let content = if name.ends_with("channels.json") {
                r#"[{"id":"C1","name":".."},{"id":"C2","name":"tea"}]"#
            } else {
                r#"[{"user":"U1","text":"inside","ts":"2.5"}]"#
            };
            zip.write_all(content.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        (folder, path)
    };
    let (_folder, path) =
        zipped(&["channels.json", "../secret.json", "/etc/passwd.json", "tea/1.json"]);
    let (lines, notes) = converted(Product::Slack, &path).unwrap();
    assert_eq!(said(&lines), [("..", "U1", "inside", 0), ("tea", "U1", "inside", 0)]);
    assert_eq!(notes, ["left out: files of channels that are not in the export: 1"]);

    let mut altered = fs::read(&path).unwrap();
    let at = altered.windows(6).rposition(|six| six == b"inside").unwrap();
    altered[at] = b'x';
    fs::write(&path, altered).unwrap();
    let error = converted(Product::Slack, &path).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("tea/1.json: "), "{error}");
}

#[test]
fn of_slack_a_thread_outlives_its_deleted_beginning_and_what_slack_notes_is_told_by_kind() {
    let channels = r#"[{"id":"C1","name":"tea","members":null,"pins":[{"id":"9.0","created":1}]}]"#;
    let day = r#"[
        {"subtype":"tombstone","user":"USLACKBOT","text":"This message was deleted.","ts":"1.0",
            "thread_ts":"1.0"},
        {"user":"U1","text":"so","ts":"2.0","thread_ts":"1.0","reactions":null,"files":null},
        {"subtype":"file_comment","text":"nice","ts":"3.0","comment":{"user":"U2"}},
        {"user":"U1","text":"lost","ts":"4.0","thread_ts":"0.5"},
        {"subtype":"channel_join","user":"U1","text":"","ts":"5.0"},
        {"subtype":"channel_join","user":"U2","text":"","ts":"6.0"},
        {"subtype":"pinned_item","user":"U2","text":"","ts":"7.0"}
    ]"#;
    let (lines, notes) = taken(
        Product::Slack,
        &[("channels.json", channels), ("tea/1.json", day), ("a.json", "{}")],
    );
    let expected = [
        ("tea", "USLACKBOT", "This message was deleted.", 0),
        ("tea", "U1", "so", 1),
        ("tea", "U2", "nice", 0),
        ("tea", "U1", "lost", 0),
    ];
    assert_eq!(said(&lines), expected);
    assert_eq!(
        notes,
        [
            "left out: files that have no messages: 1",
            "left out: pins of \"tea\" of what was not said: 1",
            "left out: what the product itself has noted: channel_join 2, pinned_item 1",
            "messages of their own: answers to what is not in the export, or comes later: 1",
        ]
    );
}

#[test]
fn of_mattermost_no_answer_and_no_member_is_lost_by_what_it_hangs_on() {
    let lines = [
        r#"{"type":"version","version":1}"#,
        r#"{"type":"user","user":{"username":"ann","teams":[{"name":"t","channels":[{"name":"den"},{"name":"gone"}]}]}}"#,
        r#"{"type":"channel","channel":{"team":"t","name":"den","type":"P"}}"#,
        r#"{"type":"post","post":{"team":"t","channel":"den","user":"ann","type":"system_purpose","message":"x","create_at":1,"replies":[{"user":"bob","message":"why?","create_at":2}]}}"#,
        r#"{"type":"post","post":{"team":"t","channel":"den","user":"ci","message":"","props":{"attachments":[{"fallback":"build 7"},7]},"create_at":3}}"#,
        r#"{"type":"post","post":null}"#,
        r#"{"type":"playbook"}"#,
    ];
    let text = lines.join("\n");
    let (lines, notes) = taken(Product::Mattermost, &[("a.jsonl", &text)]);
    assert_eq!(said(&lines), [("den", "bob", "why?", 0), ("den", "ci", "build 7", 0)]);
    let standing = lines.iter().find(|line| line["kind"] == "standing").unwrap();
    assert_eq!((&standing["user"], &standing["role"]), (&"ann".into(), &"member".into()));
    assert_eq!(
        notes,
        [
            "left out: lines of kinds that are not known: 2",
            "left out: members of channels that are not in the export: 1",
            "left out: what the product itself has noted: system_purpose 1",
            "messages of their own: answers to what is not in the export, or comes later: 1",
        ]
    );
    let error = refused(Product::Mattermost, &[("a.jsonl", b"{}"), ("b.jsonl", b"{}")]);
    assert!(error.contains("there are a.jsonl and b.jsonl"), "{error}");
}

#[test]
fn of_discord_the_parts_of_a_channel_are_one_room_and_what_was_passed_on_is_said() {
    let part = |channel: &str, messages: &str| {
        format!(r#"{{"channel":{{"id":"{channel}","name":"tea"}},"messages":[{messages}]}}"#)
    };
    let message = |id: &str, rest: &str| {
        format!(
            r#"{{"id":"{id}","type":"Default","timestamp":"2026-10-31T07:00:0{id}Z","author":{{"id":"u"}},{rest}}}"#
        )
    };
    let one = message("1", r#""content":"one""#);
    let two = message("2", r#""content":"two","reference":{"messageId":"1"}"#);
    let passed_on =
        r#""content":"","forwardedMessage":{"content":"news","stickers":[{"name":"wow"}]}"#;
    let three = message("3", passed_on);
    let four = message("4", r#""stickers":[{"name":"hm","sourceUrl":"https://example.com/a?b"}]"#);
    let (lines, notes) = taken(
        Product::Discord,
        &[
            ("tea.json", &part("7", &format!("{one},{two}"))),
            ("tea [part 2].json", &part("7", &format!("{two},{three},{four}"))),
            ("other.json", &part("8", &one)),
            ("unnamed.json", &part("", &one)),
            ("unnamed too.json", &part("", &one)),
        ],
    );
    let expected = [
        ("tea", "u", "one", 0),
        ("tea-2", "u", "one", 0),
        ("tea-2", "u", "two", 1),
        ("tea-2", "u", "news", 0),
        ("tea-2", "u", "", 0),
        ("tea-3", "u", "one", 0),
        ("tea-4", "u", "one", 0),
    ];
    assert_eq!(said(&lines), expected);
    assert_eq!(notes[1..], ["left out: messages that are there twice: 1"]);
    let data: Vec<_> = lines.iter().map(|line| &line["data"]).filter(|of| of.is_object()).collect();
    assert_eq!(
        data,
        [
            &serde_json::json!({"files": [{"name": "wow"}]}),
            &serde_json::json!({"files": [{"name": "hm", "url": "https://example.com/a"}]}),
        ]
    );
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

//! Exports of Mattermost that are not as the fixture is.

use std::io::Write as _;

use super::*;

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

/// A line for a channel that all of its team may join.
const TEA: &str = r#"{"type":"channel","channel":{"team":"t","name":"tea","type":"O"}}"#;

#[test]
fn what_hangs_on_posts_of_mattermost_is_not_taken_for_the_export() {
    let attached = "data/20261101/teams/noteam/channels/c1/users/u1/f1/log.jsonl";
    let files = [("import.jsonl", TEA), (attached, "{"), ("data/20261101/a.png", "x")];
    let (lines, notes) = taken(Product::Mattermost, &files);
    assert_eq!(lines[1]["room"], "tea");
    assert_eq!(
        notes,
        [
            "passed over: files that are no .jsonl: 1, the first is \"data/20261101/a.png\"",
            "left out: files that hang on posts: 1",
        ]
    );
}

#[test]
fn what_has_no_channels_of_mattermost_is_refused_with_what_was_looked_for() {
    let no_file = "there is no .jsonl in it";
    let no_channel = "no line has a channel";
    for (files, expected) in [
        (&[][..], no_file),
        (&[("__MACOSX/._import.jsonl", "\0"), (".DS_Store", "\0")], no_file),
        (&[("import.json", TEA)], no_file),
        (&[("import.jsonl", "")], no_channel),
        (&[("import.jsonl", "\n{}\n{\"type\":\"version\",\"version\":1}\n")], no_channel),
    ] {
        let folder = Folder::new();
        fs::create_dir_all(&folder.0).unwrap();
        let zipped = folder.0.join("export.zip");
        let mut zip = zip::ZipWriter::new(fs::File::create_new(&zipped).unwrap());
        for (name, content) in files {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(content.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
        let unpacked = folder_with(&files);
        fs::create_dir_all(&unpacked.0).unwrap();
        for path in [&unpacked.0, &zipped] {
            let error = converted(Product::Mattermost, path).unwrap_err().to_string();
            assert!(error.contains("no export of Mattermost"), "{error}");
            assert!(error.contains(expected), "{error}");
        }
    }
}

#[test]
fn a_channel_of_mattermost_that_is_there_twice_is_one_room_as_its_last_line_has_it() {
    let team = r#"{"type":"team","team":{"name":"t"}}"#;
    let channel = |header: &str, kind: &str| {
        format!(
            r#"{{"type":"channel","channel":{{"team":"t","name":"den","type":"{kind}","header":"{header}"}}}}"#
        )
    };
    let user = |name: &str| {
        format!(
            r#"{{"type":"user","user":{{"username":"{name}","teams":[{{"name":"t","channels":[{{"name":"den"}}]}}]}}}}"#
        )
    };
    let post = |at: u64| {
        format!(
            r#"{{"type":"post","post":{{"team":"t","channel":"den","user":"ann","message":"m{at}","create_at":{at}}}}}"#
        )
    };
    // Two exports, one behind the other.
    let text = [
        team.to_owned(),
        channel("old", "P"),
        user("ann"),
        post(1),
        team.to_owned(),
        channel("new", "O"),
        user("ann"),
        user("bob"),
        post(2),
    ];
    let (lines, notes) = taken(Product::Mattermost, &[("a.jsonl", &text.join("\n"))]);
    let rooms: Vec<_> = lines.iter().filter(|line| line["kind"] == "room").collect();
    assert_eq!(rooms.len(), 1);
    assert_eq!(rooms[0]["room"], "den", "there is one team");
    let settings = rooms[0]["settings"].as_str().unwrap();
    assert!(settings.contains("new") && settings.contains("members"), "{settings}");
    let members = lines.iter().filter(|line| line["kind"] == "standing");
    assert_eq!(members.map(|line| &line["user"]).collect::<Vec<_>>(), ["ann", "bob"]);
    assert_eq!(said(&lines), [("den", "ann", "m1", 0), ("den", "ann", "m2", 0)]);
    assert_eq!(notes, ["left out: channels that are there twice: 1"]);
}

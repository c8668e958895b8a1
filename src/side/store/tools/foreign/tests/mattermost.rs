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
            "left out: lines of which nothing is taken: playbook 1, post 1",
            "left out: members of channels that are not in the export: 1",
            "left out: what the product itself has noted: system_purpose 1",
            "messages of their own: answers to what is not taken, or comes later: 1",
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

#[test]
fn lines_of_mattermost_of_which_nothing_is_taken_are_counted_by_kind() {
    let text = [
        r#"{"type":"version","version":1}"#,
        r#"{"type":"role","role":{"name":"r"}}"#,
        r#"{"type":"scheme","scheme":{"name":"s"}}"#,
        r#"{"type":"bot","bot":{"username":"b"}}"#,
        r#"{"type":"bot","bot":{"username":"c"}}"#,
        r#"{"type":"emoji","emoji":{"name":"kraken"}}"#,
        TEA,
        r#"{"type":"direct_channel","direct_channel":{"members":["a","b"]}}"#,
        r#"{"type":"direct_post","direct_post":{"user":"a","replies":[{"user":"b"},{"user":"a"}]}}"#,
        r#"{"type":"post","post":{"team":"t","channel":"gone","user":"a","replies":[{"user":"b"}]}}"#,
        r"{}",
    ];
    let (_, notes) = taken(Product::Mattermost, &[("a.jsonl", &text.join("\n"))]);
    assert_eq!(
        notes,
        [
            "left out: direct messages: 3",
            "left out: messages of channels that are not in the export, or come later: 2",
            "left out: lines of which nothing is taken: bot 2, direct_channel 1, emoji 1, role 1, \
             scheme 1, without a kind 1",
        ]
    );
}

#[test]
fn what_is_null_in_lines_of_mattermost_is_as_if_it_were_not_there() {
    let text = [
        TEA,
        r#"{"type":"channel","channel":{"team":"t","name":"den","display_name":null,"type":"O","header":null,"purpose":null,"deleted_at":null}}"#,
        r#"{"type":"user","user":{"username":"ann","nickname":null,"first_name":null,"last_name":null,"teams":null}}"#,
        r#"{"type":"user","user":{"username":"bob","teams":[{"name":null,"channels":null}]}}"#,
        r#"{"type":"post","post":{"team":"t","channel":"den","user":null,"type":null,"message":"hi","props":null,"create_at":null,"edit_at":null,"is_pinned":null,"reactions":null,"replies":null,"attachments":null}}"#,
        r#"{"type":"post","post":{"team":"t","channel":"den","user":"ann","message":null,"create_at":1,"replies":[{"user":null,"message":null}],"attachments":[{"path":null}],"reactions":[{"user":null,"emoji_name":null}]}}"#,
    ];
    let (lines, _) = taken(Product::Mattermost, &[("a.jsonl", &text.join("\n"))]);
    assert_eq!(said(&lines), [("den", "unknown", "hi", 0), ("den", "ann", "", 0)]);
}

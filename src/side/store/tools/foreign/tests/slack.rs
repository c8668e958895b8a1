//! Exports of Slack that are not as the fixture is.

use super::*;

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
            "messages of their own: answers to what is not taken, or comes later: 1",
        ]
    );
}

#[test]
fn what_hangs_on_messages_of_slack_is_not_taken_for_a_day() {
    let (lines, notes) = taken(
        Product::Slack,
        &[
            ("channels.json", r#"[{"id":"C1","name":"tea"}]"#),
            ("tea/2026-11-01.json", r#"[{"user":"U1","text":"hi","ts":"1.0"}]"#),
            ("tea/attachments/F1-package.json", "{"),
        ],
    );
    assert_eq!(said(&lines), [("tea", "U1", "hi", 0)]);
    assert_eq!(notes, ["left out: files that have no messages: 1"]);
}

#[test]
fn reactions_of_slack_may_lack_their_count_or_their_users() {
    let day = r#"[{"user":"U1","text":"hi","ts":"1.0","reactions":[
        {"name":"+1","users":["U1","U2"]},
        {"name":"tada","users":["U2"],"count":3},
        {"name":"eyes","users":null,"count":2},
        {"name":"wave","users":["U1"],"count":null}
    ]}]"#;
    let channels = r#"[{"id":"C1","name":"tea"}]"#;
    let (lines, notes) = taken(Product::Slack, &[("channels.json", channels), ("tea/1.json", day)]);
    let message = lines.iter().find(|line| line["kind"] == "message").unwrap();
    let expected = serde_json::json!([["👍", ["U1", "U2"]], ["🎉", ["U2"]], ["👋", ["U1"]]]);
    assert_eq!(message["reactions"], expected);
    let unnamed = "reactions of which the export does not say whose they are: 4";
    assert_eq!(notes, [format!("left out: {unnamed}")]);
}

#[test]
fn a_channel_of_slack_that_is_there_twice_is_one_room_and_private_if_one_of_them_is() {
    let channels =
        r#"[{"id":"C1","name":"tea"},{"id":"C2","name":"tea"},{"id":"C3","name":"den"}]"#;
    let groups = r#"[{"id":"G1","name":"den","members":["U1"]}]"#;
    let day = r#"[{"user":"U1","text":"hi","ts":"1.0"}]"#;
    let (lines, notes) = taken(
        Product::Slack,
        &[
            ("channels.json", channels),
            ("groups.json", groups),
            ("tea/1.json", day),
            ("den/1.json", day),
        ],
    );
    assert_eq!(said(&lines), [("tea", "U1", "hi", 0), ("den", "U1", "hi", 0)]);
    let rooms: Vec<_> = lines.iter().filter(|line| line["kind"] == "room").collect();
    assert_eq!(rooms.len(), 2);
    assert!(rooms[0]["settings"].is_null(), "{}", rooms[0]);
    assert!(rooms[1]["settings"].as_str().unwrap().contains("members"), "{}", rooms[1]);
    assert_eq!(notes, ["left out: channels that are there twice: 2"]);
}

#[test]
fn what_has_no_channels_of_slack_is_refused_with_what_was_looked_for() {
    let error = refused(Product::Slack, &[("export/channels.json", b"[]")]);
    assert!(error.contains("there is no channels.json at its top"), "{error}");
    let error = refused(Product::Slack, &[("channels.json", b"[]"), ("groups.json", b"[]")]);
    assert!(error.contains("channels.json and groups.json have no channel"), "{error}");
}

#[test]
fn what_is_null_in_an_export_of_slack_is_as_if_it_were_not_there() {
    let channels = r#"[{"id":"C1","name":"tea","created":null,"creator":null,"is_archived":null,
        "members":null,"topic":null,"purpose":{"value":null},"pins":[{"id":null,"created":null}]}]"#;
    let users = r#"[{"id":"U1","name":null,"deleted":true,"real_name":null,
        "profile":{"display_name":null,"real_name":null}},{"id":null,"name":"x","profile":null}]"#;
    let day = r#"[{"subtype":null,"user":"U1","bot_id":null,"username":null,"text":"hi","ts":"1.0",
        "thread_ts":null,"edited":{"ts":null},"comment":null,"reactions":[{"name":null,"users":null}],
        "files":[{"name":null,"title":null,"mimetype":null,"size":null}],
        "attachments":[{"fallback":null,"text":null}]},
        {"user":null,"text":null,"ts":"2.0"}]"#;
    let (lines, _) = taken(
        Product::Slack,
        &[
            ("channels.json", channels),
            ("groups.json", "null"),
            ("users.json", users),
            ("dms.json", r#"[{"id":null,"name":null}]"#),
            ("tea/1.json", day),
        ],
    );
    assert_eq!(said(&lines), [("tea", "U1", "hi", 0)]);
}

#[test]
fn a_pin_or_an_edit_of_slack_may_lack_its_time() {
    let channels = r#"[{"id":"C1","name":"tea","pins":[{"id":"5.0"},{"id":"6.0","created":7}]}]"#;
    let day = r#"[{"text":"a","ts":"5.0"},{"text":"b","ts":"6.0","edited":{"ts":"0.0"}}]"#;
    let (lines, _) = taken(Product::Slack, &[("channels.json", channels), ("tea/1.json", day)]);
    let messages: Vec<_> = lines.iter().filter(|line| line["kind"] == "message").collect();
    assert_eq!(messages[0]["pinned_at"], 5_000, "at the earliest");
    assert_eq!(messages[1]["pinned_at"], 7_000);
    assert!(messages[1]["edited_at"].is_null());
}

#[test]
fn a_time_of_slack_is_digits_around_a_point() {
    let channels: (&str, &[u8]) = ("channels.json", br#"[{"id":"C1","name":"tea"}]"#);
    for ts in ["", "-5.0", "+5.0", "5.+1", "1e9", "nan", "99999999999999999999.0"] {
        let day = format!(r#"[{{"text":"hi","ts":"{ts}"}}]"#);
        let error = refused(Product::Slack, &[channels, ("tea/1.json", day.as_bytes())]);
        let expected = format!("tea/1.json: $[0]: {ts:?} is no time of a message");
        assert!(error.contains(&expected), "{error}");
    }
}

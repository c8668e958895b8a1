//! Exports of Discord that are not as the fixture is.

use super::*;

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
fn what_hangs_on_messages_of_discord_is_not_taken_for_a_channel() {
    let channel = r#"{"channel":{"id":"1","name":"tea"},"messages":[]}"#;
    let (lines, notes) = taken(
        Product::Discord,
        &[
            ("tea.json", channel),
            ("tea.json_Files/broken-0A1B2.json", "{"),
            ("tea.json_Files/milk-0A1B2.json", channel),
            ("package.json", r#"{"name":"milk"}"#),
        ],
    );
    let rooms = lines.iter().filter(|line| line["kind"] == "room").count();
    assert_eq!(rooms, 1);
    assert_eq!(
        notes[..2],
        ["left out: files that hang on messages: 2", "left out: files that are no channel: 1"]
    );
}

#[test]
fn what_is_passed_on_and_what_comes_from_another_channel_answers_nothing() {
    let messages = r#"
        {"id":"1","type":"Default","timestamp":"2026-10-31T07:00:01Z","author":{"id":"u"},"content":"news"},
        {"id":"2","type":"Default","timestamp":"2026-10-31T07:00:02Z","author":{"id":"u"},"content":"",
            "reference":{"type":"Forward","messageId":"1","channelId":"7","guildId":"6"},
            "forwardedMessage":{"timestamp":"2026-10-31T07:00:01Z","content":"news"}},
        {"id":"3","type":"Default","timestamp":"2026-10-31T07:00:03Z","author":{"id":"u"},"content":"followed",
            "reference":{"type":"Default","messageId":"1","channelId":"8","guildId":"9"}},
        {"id":"4","type":"Reply","timestamp":"2026-10-31T07:00:04Z","author":{"id":"u"},"content":"really?",
            "reference":{"type":"Default","messageId":"1","channelId":"7","guildId":"6"}}"#;
    let channel = format!(r#"{{"channel":{{"id":"7","name":"tea"}},"messages":[{messages}]}}"#);
    let (lines, notes) = taken(Product::Discord, &[("tea.json", &channel)]);
    let expected = [
        ("tea", "u", "news", 0),
        ("tea", "u", "news", 0),
        ("tea", "u", "followed", 0),
        ("tea", "u", "really?", 1),
    ];
    assert_eq!(said(&lines), expected);
    assert_eq!(notes.len(), 1, "{notes:?}");
}

#[test]
fn of_discord_files_that_overlap_the_one_that_was_exported_last_counts() {
    let file = |exported_at: &str, topic: &str, body: &str| {
        let reaction = r#"{"emoji":{"name":"👍"},"count":3}"#;
        let messages = format!(
            r#"{{"id":"1","type":"GuildMemberJoin","timestamp":"?","reactions":[{reaction}]}},
            {{"id":"2","type":"Default","timestamp":"2026-10-31T07:00:02Z","author":{{"id":"u"}},
                "content":"{body}","reactions":[{reaction}]}}"#
        );
        format!(
            r#"{{"channel":{{"id":"7","name":"tea","topic":"{topic}"}},"exportedAt":{exported_at},
            "messages":[{messages}]}}"#
        )
    };
    let (lines, notes) = taken(
        Product::Discord,
        &[
            ("a.json", &file(r#""2026-11-01T10:00:00.0000000+02:00""#, "old", "old")),
            ("b.json", &file(r#""2026-11-01T09:00:00.0000000+00:00""#, "new", "new")),
            ("c.json", &file("null", "none", "none")),
        ],
    );
    assert_eq!(said(&lines), [("tea", "u", "new", 0)]);
    assert!(lines[1]["settings"].as_str().unwrap().contains("new"), "{}", lines[1]);
    assert_eq!(
        notes[1..],
        [
            "left out: what the product itself has noted: GuildMemberJoin 1",
            "left out: messages that are there twice: 2",
            "left out: reactions of which the export does not say whose they are: 3",
        ]
    );
}

#[test]
fn what_is_null_in_an_export_of_discord_is_as_if_it_were_not_there() {
    let messages = r#"{"id":"1","type":"Default","timestamp":"2026-10-31T07:00:01Z",
        "timestampEdited":null,"isPinned":null,"content":null,
        "author":{"id":"u","name":null,"nickname":null},
        "attachments":[{"url":null,"fileName":null,"fileSizeBytes":null}],
        "embeds":[{"title":null,"description":null,"url":null}],
        "stickers":[{"name":null,"sourceUrl":null}],
        "reactions":[{"emoji":null,"count":null,"users":null}],"mentions":[{"id":null}],
        "reference":{"messageId":null,"channelId":null},"forwardedMessage":null},
        {"id":null,"type":null,"timestamp":null,"author":null,"attachments":null,"embeds":null,
        "stickers":null,"reactions":null,"mentions":null,"reference":null}"#;
    let channel = format!(
        r#"{{"channel":{{"id":"7","type":null,"name":null,"topic":null}},"messages":[{messages}]}}"#
    );
    let (lines, notes) = taken(Product::Discord, &[("tea.json", &channel)]);
    assert_eq!(said(&lines), [("room", "u", "", 0)]);
    assert_eq!(notes[1..], ["left out: what the product itself has noted: without a kind 1"]);
}

#[test]
fn what_says_how_messages_are_to_be_taken_stands_before_them() {
    let message = r#"{"id":"1","type":"Default","timestamp":"2026-10-31T07:00:01Z"}"#;
    let channel = r#""channel":{"id":"1","name":"tea"}"#;
    let exported = r#""exportedAt":"2026-11-01T00:00:00Z""#;
    for (fields, expected) in [
        (format!(r#""messages":[{message}],{channel}"#), "`channel`"),
        (format!(r#""messages":[{message}]"#), "`channel`"),
        (format!(r#"{channel},"messages":[{message}],{exported}"#), "`exportedAt`"),
    ] {
        let file = format!("{{{fields}}}");
        let error = refused(Product::Discord, &[("tea.json", file.as_bytes())]);
        let expected = format!("tea.json: its {expected} is not before its `messages`");
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn of_what_discord_notes_the_times_do_not_matter() {
    let note = r#"{"id":"1","type":"Call","timestamp":"?","timestampEdited":"?"}"#;
    let channel = format!(r#"{{"channel":{{"id":"1","name":"tea"}},"messages":[{note}]}}"#);
    let (_, notes) = taken(Product::Discord, &[("tea.json", &channel)]);
    assert_eq!(notes[1..], ["left out: what the product itself has noted: Call 1"]);
}

#[test]
fn channels_of_discord_without_an_id_have_epochs_of_their_own() {
    let channel = r#"{"channel":{"name":"tea"},"messages":[]}"#;
    let (lines, _) = taken(Product::Discord, &[("a.json", channel), ("b.json", channel)]);
    let eras: Vec<_> = lines.iter().filter(|line| line["kind"] == "era").collect();
    assert_eq!(eras.len(), 2);
    assert_ne!(eras[0]["epoch"], eras[1]["epoch"]);
}

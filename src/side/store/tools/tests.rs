//! The tools of the command line, on real files. With a server: `threads`.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::*;
use crate::auth::level::{Joiners, NEVER_MS, Standing};
use crate::link::audit::{AuditAct, AuditLine};
use crate::link::facts::RoomSettings;
use crate::link::field::Field as _;
use crate::link::log::{Marks, Opened};
use crate::link::said::{Act, Fate, Said};
use crate::link::store::ToStore;
use crate::side::store::batch::Batch;
use crate::side::store::tests::{Folder, Home, at, bodies, key, load, meddle, push, said};

/// Tells nothing, for there is nothing to tell.
fn none(what: &str) {
    panic!("{what}");
}

/// A store with two rooms, which has ended in order.
fn filled() -> Folder {
    let folder = Folder::new();
    let (_disk, writer) = folder.open();
    let mut home = Home::new(writer);
    home.open(1, 50);
    home.open(2, 51);
    home.say(1, 0, &["\"a\"", "\"b \\n \\u00e9 é \\\" \\\\\"", "\"c\""]);
    home.say(2, 0, &["\"x\""]);
    let rich = Said { key: Some("k"), reply_to: Some(2), name: "Ann \"é\"", ..said("\"d\"") };
    let mut batch = Batch::default();
    push(
        &mut batch,
        ToStore::Append { number: 9, room: key(1), top: at(3), at_ms: 103, said: rich },
    );
    let mut line = Vec::new();
    AuditLine {
        number: 7,
        act: AuditAct::MsgReport,
        by: "u",
        user: Some("v"),
        offset: Some(2),
        text: Some("\"why\""),
        set: Some("{\n\"a\":1.0}"),
    }
    .put(&mut line);
    push(&mut batch, ToStore::Note { number: 10, room: key(1), at_ms: 104, line: &line });
    home.writer.write(&batch, &mut Vec::new()).unwrap();
    home.writer.close().unwrap();
    folder
}

fn exported(folder: &Path, choice: &Choice) -> String {
    let mut out = Vec::new();
    assert_eq!(export(folder, choice, &mut out, &mut none).unwrap(), 0);
    String::from_utf8(out).unwrap()
}

fn all(folder: &Folder) -> String {
    exported(&folder.0, &Choice::default())
}

fn imported(lines: &str) -> (Folder, Result<Report, StoreError>) {
    imported_telling(lines, &mut none)
}

fn imported_telling(
    lines: &str,
    tell: &mut dyn FnMut(&str),
) -> (Folder, Result<Report, StoreError>) {
    let folder = Folder::new();
    let report = import(&folder.0, &mut lines.as_bytes(), &[8; 32], 5, tell);
    (folder, report)
}

#[test]
fn a_restored_store_is_what_was_copied_and_its_rooms_are_in_new_epochs() {
    let folder = filled();
    let copies = Folder::new();
    fs::create_dir(&copies.0).unwrap();
    let report = backup(&folder.0, &copies.0, 0).unwrap();
    let copy = copies.0.join("chinwag-19700101T000000Z.db");
    assert_eq!((&report.file, report.messages, report.newest_ms), (&copy, 5, Some(103)));
    assert_eq!(fs::read_dir(&copies.0).unwrap().count(), 1, "one file is all there is");
    let before = all(&folder);

    let (disk, writer) = folder.open();
    let mut home = Home::new(writer);
    home.open(1, 60);
    home.say(1, 4, &["\"lost\""]);
    let refused = restore(&folder.0, &copy, "then", 1);
    assert!(matches!(refused, Err(StoreError::InUse { .. })), "{refused:?}");
    home.writer.close().unwrap();
    drop(disk);
    assert_ne!(all(&folder), before);
    let index = folder.0.join("search.db");
    fs::write(&index, "it knows what the copy does not have").unwrap();

    let Restored { report, moved, .. } = restore(&folder.0, &copy, "then", 1).unwrap();
    assert_eq!((report.file, report.messages), (folder.file(), 5));
    assert_eq!(moved, [folder.0.join("chat.db.before-then")]);
    assert_eq!(all(&folder), before, "what was copied");
    assert!(!index.exists(), "it is made anew");
    let (report, set_aside) = (check(&folder.0, Some(&moved[0]), &mut none).unwrap(), 6);
    assert_eq!(report.unwrap().messages, set_aside);

    let (disk, writer) = folder.open();
    let (mut home, mut reader) = (Home::new(writer), disk.reader().unwrap());
    let id = home.open(1, 70);
    let opened = load(&mut reader, id);
    assert_eq!((opened.epoch, opened.top), (70, at(4)), "offset 5 will be another message");
    assert_eq!(opened.lineage, [(50, at(4))], "a cursor beyond it is told");
    assert_eq!(*bodies(&opened).last().unwrap(), "\"d\"");
    assert_eq!(disk.guest_secret(), &[7; 32]);
}

/// A room as it is in a store that was restored: opened by a server that starts there.
fn reopened(folder: &Folder, room: u64) -> Option<Opened> {
    let (disk, writer) = folder.open();
    let (mut home, mut reader) = (Home::new(writer), disk.reader().unwrap());
    home.open(room, 70).map(|id| load(&mut reader, Some(id)))
}

#[test]
fn what_was_taken_away_since_a_backup_is_not_brought_back_by_it() {
    let folder = Folder::new();
    let copy = folder.0.join("copy.db");
    let (_, writer) = folder.open();
    let mut home = Home::new(writer);
    home.open(1, 50);
    home.open(2, 51);
    home.say(1, 0, &["\"a\"", "\"b\"", "\"c\""]);
    home.ban(1, "lifted", NEVER_MS);
    home.writer.close().unwrap();
    backup(&folder.0, &copy, 0).unwrap();

    let (_, writer) = folder.open();
    let mut home = Home::new(writer);
    home.open(1, 60);
    home.open(2, 61);
    home.delete(1, at(3), 2);
    home.ban(1, "eve", 5_000);
    home.ban(1, "eve", NEVER_MS);
    home.ban(1, "lifted", 0);
    // A room that the backup does not know, and a message.
    home.ban(2, "eve", NEVER_MS);
    home.say(1, 3, &["\"d\""]);
    home.delete(1, Marks { offset: 4, change: 1 }, 4);
    home.writer.close().unwrap();

    let restored = restore(&folder.0, &copy, "then", 9).unwrap();
    assert_eq!(restored.reapplied, Reapplied { deleted: 1, stands: 3, damaged: 0 });
    assert_eq!((restored.known_since_ms, restored.damaged_lines), (Some(1_000), 0));
    check(&folder.0, None, &mut none).unwrap().expect("it is sound");
    let has = |text: &str| {
        let bytes = fs::read(folder.file()).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    assert!(has("\"a\"") && !has("\"b\""), "it is gone from the file");
    let opened = reopened(&folder, 1).expect("it is there");
    assert_eq!(bodies(&opened), ["\"a\"", "\"\"", "\"c\""]);
    let deleted = Some(Act { at_ms: 900, by: Some("mod") });
    assert_eq!(opened.tail[1].fate(), Fate { change: 1, deleted, ..Fate::default() });
    let banned = Standing { banned_until_ms: NEVER_MS, ..Standing::default() };
    assert_eq!(opened.standings, [("eve", banned)].into_iter().collect());
    // A client that had seen another change 1 in epoch 50 or 60 has not seen this one.
    assert_eq!(opened.top, Marks { offset: 3, change: 1 });
    assert_eq!(opened.lineage, [(9, opened.top), (50, at(3))]);
    let opened = reopened(&folder, 2).expect("it is there");
    assert_eq!(opened.standings, [("eve", banned)].into_iter().collect());

    // Once more: nothing is left to be done but of what the backup has. And what is said in the
    // place of a message that was deleted is another one.
    let (_, writer) = folder.open();
    let mut home = Home::new(writer);
    home.open(1, 80);
    let mut batch = Batch::default();
    let (number, room, at_ms) = (9, key(1), 7_000);
    push(&mut batch, ToStore::Append { number, room, top: at(3), at_ms, said: said("\"e\"") });
    home.writer.write(&batch, &mut Vec::new()).unwrap();
    home.writer.close().unwrap();
    let later = folder.0.join("later.db");
    backup(&folder.0, &later, 0).unwrap();
    let restored = restore(&folder.0, &later, "later", 9).unwrap();
    assert_eq!(restored.reapplied, Reapplied::default());
    assert_eq!(bodies(&reopened(&folder, 1).unwrap()), ["\"a\"", "\"\"", "\"c\"", "\"e\""]);
}

#[test]
fn a_room_that_has_begun_since_a_backup_and_in_which_somebody_has_a_role_is_for_members() {
    let folder = Folder::new();
    let copy = folder.0.join("copy.db");
    let (_, writer) = folder.open();
    let mut home = Home::new(writer);
    home.open(1, 50);
    home.say(1, 0, &["\"a\""]);
    backup_of(&home, &copy);
    home.open(2, 51);
    home.open(3, 52);
    home.ban(2, "eve", NEVER_MS);
    home.ban(3, "eve", NEVER_MS);
    home.stand(3, "owner", Standing::OWNER).unwrap();
    home.stand(1, "owner", Standing::OWNER).unwrap();
    home.writer.close().unwrap();
    let restored = restore(&folder.0, &copy, "then", 9).unwrap();
    assert_eq!(restored.reapplied, Reapplied { deleted: 0, stands: 4, damaged: 0 });
    let joiners = |room| {
        let opened = reopened(&folder, room).expect("it is there");
        opened.settings.as_deref().map(RoomSettings::read).unwrap_or_default().join
    };
    // The backup says of the first who may join it; in the second nobody was let in by a decision.
    let seen = [1, 2, 3].map(joiners);
    assert_eq!(seen, [Joiners::All, Joiners::All, Joiners::Members]);
}

#[test]
fn what_is_damaged_in_a_backup_or_in_what_was_noted_is_counted_and_the_rest_is_taken_away() {
    let folder = Folder::new();
    let copy = folder.0.join("copy.db");
    let (_, writer) = folder.open();
    let mut home = Home::new(writer);
    home.open(1, 50);
    home.say(1, 0, &["\"a\"", "\"b\"", "\"c\""]);
    backup_of(&home, &copy);
    for offset in 1..=3 {
        home.delete(1, Marks { offset: 3, change: offset - 1 }, offset);
    }
    home.writer.close().unwrap();
    meddle(&copy, "UPDATE message SET user = 'w' WHERE id & 511 = 1");
    let log = folder.0.join("removed.log");
    let lines = fs::read_to_string(&log).unwrap();
    fs::write(&log, lines.replacen("\"offset\":2", "\"offset\":9", 1)).unwrap();
    let restored = restore(&folder.0, &copy, "then", 9).unwrap();
    assert_eq!(restored.reapplied, Reapplied { deleted: 1, stands: 0, damaged: 1 });
    assert_eq!(restored.damaged_lines, 1);
    let mut told = Vec::new();
    assert_eq!(check(&folder.0, None, &mut |what| told.push(what.to_owned())).unwrap(), None);
    assert!(told.contains(&"removed.log: not what was written: 1 line".to_owned()), "{told:?}");
}

#[test]
fn what_was_taken_away_in_a_store_is_not_taken_away_in_another_one() {
    let (folder, copies) = (Folder::new(), Folder::new());
    fs::create_dir(&copies.0).unwrap();
    let [own, others] = ["own.db", "others.db"].map(|name| copies.0.join(name));
    let mut home = Home::new(folder.open().1);
    home.open(1, 50);
    home.say(1, 0, &["\"a\"", "\"b\""]);
    for copy in [&own, &others] {
        backup_of(&home, copy);
    }
    meddle(&others, "UPDATE meta SET value = value + 1 WHERE key = 'created_at'");
    home.delete(1, Marks { offset: 2, change: 0 }, 1);
    home.ban(1, "eve", 99);
    home.writer.close().unwrap();

    let restored = restore(&folder.0, &others, "then", 9).unwrap();
    assert_eq!((restored.reapplied, restored.known_since_ms), (Reapplied::default(), None));
    assert_eq!(restored.of_others, ["removed.log"]);
    assert_eq!(bodies(&reopened(&folder, 1).unwrap()), ["\"a\"", "\"b\""]);
    // A server has begun its own there by then.
    let restored = restore(&folder.0, &own, "later", 9).unwrap();
    assert_eq!(restored.reapplied, Reapplied { deleted: 1, stands: 1, damaged: 0 });
    assert_eq!((restored.known_since_ms, restored.of_others), (Some(1_000), vec!["removed.log"]));
    assert_eq!(bodies(&reopened(&folder, 1).unwrap()), ["\"\"", "\"b\""]);
}

/// A copy of what is written.
fn backup_of(home: &Home, copy: &Path) {
    let (partial, mut into) = Partial::begin(copy).unwrap();
    copy_all(home.writer.conn(), &mut into).unwrap();
    drop(into);
    partial.finish().unwrap();
}

#[test]
fn what_a_backup_that_was_killed_has_left_goes_with_the_next_one_and_nothing_else_does() {
    let (folder, copies) = (filled(), Folder::new());
    fs::create_dir(&copies.0).unwrap();
    let left = ["chinwag-20261122T082930Z.db.partial", "chinwag-20261122T082930Z.db.partial-wal"];
    let made = "chinwag-20261122T082931Z.db.partial";
    let others = ["chat-20261122T082930Z.db.partial", "chinwag-x.db.partial", "mine.db.partial"];
    let began = SystemTime::UNIX_EPOCH + Duration::from_hours(1_000);
    for name in left.iter().chain(&others).chain([&made]) {
        let file = fs::File::create(copies.0.join(name)).unwrap();
        // Somebody makes this one just now.
        let idle = if *name == made { Duration::from_mins(59) } else { Duration::from_mins(61) };
        file.set_modified(began - idle).unwrap();
    }
    backup(&folder.0, &copies.0, 1_000 * 3_600_000).unwrap();
    let mut names: Vec<_> = fs::read_dir(&copies.0)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    let [by_clock, no_time, mine] = others;
    assert_eq!(names, [by_clock, "chinwag-19700211T160000Z.db", made, no_time, mine]);
}

#[test]
fn a_file_that_is_no_sound_backup_is_not_restored() {
    let folder = filled();
    let before = all(&folder);
    let copy = folder.0.join("copy.db");
    backup(&folder.0, &copy, 0).unwrap();
    let refused = |copy: &Path, expected: &str| {
        let error = restore(&folder.0, copy, "then", 1).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(all(&folder), before);
        assert!(!folder.0.join("chat.db.before-then").exists());
    };
    refused(&folder.0.join("none.db"), "no such store");
    let text = folder.0.join("text.db");
    fs::write(&text, "this is no database, though it is longer than a header\n".repeat(99))
        .unwrap();
    refused(&text, "not a database");
    let mut bytes = fs::read(&copy).unwrap();
    let at = bytes.len() - 4_096;
    bytes[at..at + 8].fill(0xEE);
    fs::write(&copy, &bytes).unwrap();
    refused(&copy, "is damaged");
    fs::remove_file(&copy).unwrap();
    backup(&folder.0, &copy, 0).unwrap();
    meddle(&copy, "PRAGMA user_version = 99");
    refused(&copy, "schema 99");
}

#[test]
fn a_restore_finds_no_store_and_makes_one() {
    let (folder, other) = (filled(), Folder::new());
    let copy = folder.0.join("copy.db");
    backup(&folder.0, &copy, 0).unwrap();
    let restored = restore(&other.0, &copy, "then", 1).unwrap();
    assert_eq!((restored.report.messages, restored.moved), (5, Vec::new()));
    assert_eq!(all(&other), all(&folder));
}

#[test]
fn what_is_not_there_is_not_copied_and_what_is_there_is_not_overwritten() {
    let folder = Folder::new();
    let absent = |result: Result<Report, StoreError>| {
        assert!(matches!(&result, Err(StoreError::Absent { .. })), "{result:?}");
    };
    absent(backup(&folder.0, Path::new("/tmp/none/x"), 0));
    absent(check(&folder.0, None, &mut none).map(|report| report.expect("an error")));
    assert!(!folder.0.exists(), "looking makes nothing");
    let folder = filled();
    let copy = folder.0.join("copy.db");
    fs::write(&copy, "precious").unwrap();
    let refused = backup(&folder.0, &copy, 0);
    assert!(matches!(refused, Err(StoreError::Exists { .. })), "{refused:?}");
    assert_eq!(fs::read(&copy).unwrap(), b"precious");
}

#[test]
fn what_is_exported_and_imported_is_exported_the_same() {
    let folder = filled();
    let lines = all(&folder);
    let message = r#"{"kind":"message","room":"1","offset":4,"id":"0000000000000032-4","at":103,"user":"u","name":"Ann \"é\"","body":"d","key":"k","reply_to":2}"#;
    assert!(lines.lines().any(|line| line == message), "{lines}");
    let noted = r#"{"kind":"audit","room":"1","n":7,"at":104,"act":"msg_report","by":"u","user":"v","offset":2,"text":"why","set":{ "a":1.0}}"#;
    assert!(lines.lines().any(|line| line == noted), "{lines}");
    assert!(lines.contains(r#""body":"b \n \u00e9 é \" \\""#), "byte for byte: {lines}");
    let (copy, report) = imported(&lines);
    assert_eq!(report.unwrap().messages, 5);
    assert_eq!(all(&copy), lines);
    check(&copy.0, None, &mut none).unwrap().expect("it is sound");

    let (disk, writer) = copy.open();
    let (mut home, mut reader) = (Home::new(writer), disk.reader().unwrap());
    let opened = load(&mut reader, home.open(1, 60).or_else(|| panic!("it is there")));
    assert_eq!((opened.epoch, opened.lineage), (60, vec![(50, at(4))]));
    assert_eq!(disk.guest_secret(), &[8; 32], "secrets are not exported");
    drop((disk, home, reader));
    let again = import(&copy.0, &mut lines.as_bytes(), &[8; 32], 5, &mut none);
    assert!(matches!(again, Err(StoreError::NotEmpty { .. })), "{again:?}");
}

#[test]
fn a_part_is_exported_as_if_the_rest_had_been_let_go_of() {
    let folder = filled();
    let room = Some("1".to_owned());
    let one = exported(&folder.0, &Choice { room: room.clone(), since_ms: None });
    assert!(one.contains("\"room\":\"1\"") && !one.contains("\"room\":\"2\""), "{one}");
    let late = exported(&folder.0, &Choice { room, since_ms: Some(102) });
    assert_eq!(late.matches("\"kind\":\"message\"").count(), 2, "{late}");
    assert!(late.contains(r#""floor":2,"last":4"#), "{late}");
    let (copy, report) = imported(&late);
    assert_eq!(report.unwrap().messages, 2);
    assert_eq!(all(&copy), late);
    check(&copy.0, None, &mut none).unwrap().expect("it is sound");
    let nothing = exported(&folder.0, &Choice { room: None, since_ms: Some(1_000) });
    let (copy, _) = imported(&nothing);
    let (_disk, writer) = copy.open();
    let mut home = Home::new(writer);
    let id = home.open(1, 60).expect("it is there");
    let top = crate::side::store::statements::top_of(home.writer.conn(), id).unwrap();
    assert_eq!(top, at(4), "an emptied room counts on");
    let none = export(
        &folder.0,
        &Choice { room: Some("tea".to_owned()), since_ms: None },
        &mut Vec::new(),
        &mut none,
    );
    assert!(none.unwrap_err().to_string().contains("no room \"tea\""));
}

#[test]
fn pages_follow_each_other() {
    let folder = Folder::new();
    let (_disk, writer) = folder.open();
    let mut home = Home::new(writer);
    for room in 1..=3 {
        home.open(room, 50);
        home.say(room, 0, &vec!["\"x\""; 1 + 1_100 * usize::try_from(room).unwrap()]);
    }
    home.writer.close().unwrap();
    let lines = all(&folder);
    assert_eq!(lines.matches("\"kind\":\"message\"").count(), 6_603);
    let (copy, _) = imported(&lines);
    assert_eq!(all(&copy), lines);
    check(&copy.0, None, &mut none).unwrap().expect("it is sound");
}

#[test]
fn a_bad_line_is_named_and_nothing_is_taken_in() {
    let lines = all(&filled());
    let at = |part: &str| lines.lines().position(|line| line.contains(part)).unwrap() + 1;
    let (second, noted) = (at("\"offset\":2,\"id\""), at("\"n\":7"));
    let (long, body) = ("x".repeat(129), "x".repeat(1_024 * 1_024 + 1));
    let first_era = r#""first":1,"first_change":1,"epoch":"0000000000000032","#;
    let later_life = r#""first":1,"first_change":1,"epoch":"0000000000000031","life":9}"#;
    let second_era =
        r#""kind":"era","room":"1","first":2,"first_change":1,"epoch":"0000000000000032","#;
    for (from, to, number, expected) in [
        ("\"format\":1", "\"format\":2", 1, "format 2"),
        ("\"kind\":\"chinwag\"", "\"kind\":\"end\"", 1, "begins with a line"),
        ("\"offset\":2,\"id", "\"offset\":3,\"id", second, "would be \"0000000000000032-3\""),
        ("\"offset\":2,\"id", "\"offset\":1,\"id", second, "offset 1 is not behind 1"),
        ("\"offset\":2,\"id", "\"offset\":9,\"id", second, "up to 4"),
        ("\"offset\":2,\"id", "\"offset\":-2,\"id", second, "invalid value"),
        ("\"body\":\"a\"", "\"body\":1", second - 1, "no text"),
        ("\"body\":\"a\"", "\"body\":\"\n\"", second - 1, "control character"),
        (",\"body\":\"a\"", "", second - 1, "no text"),
        (
            "\"user\":\"u\",\"name\":\"Ann\",\"body\":\"a\"",
            "\"user\":\"u\"",
            second - 1,
            "missing field",
        ),
        ("\"body\":\"a\"", "\"body\":\"a\",\"colour\":1", second - 1, "unknown field `colour`"),
        ("\"epoch\":\"0000000000000032\"", "\"epoch\":\"32\"", 3, "16 digits"),
        ("\"first\":1,", "\"first\":9,", 3, "behind the end"),
        (first_era, &format!("{later_life}\n{{{second_era}"), 4, "behind those before it"),
        ("\"floor\":0,", "\"floor\":9,", 2, "`floor` is over"),
        ("\"last\":4,", "\"last\":549755813887,", 2, "beyond what there may be"),
        ("\"title\":\"", &format!("\"title\":\"{}", "x".repeat(257)), 2, "longer than 256"),
        ("\"title\":\"", "\"title\":\"a\\n", 2, "`title` has a control character"),
        ("\"room\":\"1\"", &format!("\"room\":\"{long}\""), 2, "`room` is not 1 to 128 bytes"),
        ("\"user\":\"u\"", &format!("\"user\":\"{long}\""), second - 1, "`user` is not 1 to 128"),
        ("\"user\":\"u\"", "\"user\":\"\\u0007\"", second - 1, "`user` is not 1 to 128 bytes"),
        ("\"name\":\"Ann\"", "\"name\":\"\"", second - 1, "`name` is not 1 to 128 bytes without"),
        ("\"key\":\"k\"", &format!("\"key\":\"{long}\""), second + 2, "`key` is longer than 64"),
        ("\"key\":\"k\"", "\"key\":\"\"", second + 2, "`key` is empty"),
        (
            "\"body\":\"a\"",
            &format!("\"body\":\"{body}\""),
            second - 1,
            "`body` is longer than 1048576",
        ),
        ("\"body\":\"a\"", &format!("\"body\":\"a\",\"data\":\"{body}\""), second - 1, "`data` is"),
        ("\"act\":\"msg_report\"", "\"act\":\"sing\"", noted, "no act that is noted"),
        ("\"n\":7", "\"n\":0", noted, "`n` is not behind 0"),
        ("\"at\":104", "\"at\":99999999999999999", noted, "far from now"),
        ("\"text\":\"why\"", "\"text\":1", noted, "`text` does not begin with \""),
        ("\"set\":{", "\"set\":[{}],\"x\":{", noted, "unknown field `x`"),
        ("\"set\":{ \"a\":1.0}", "\"set\":[]", noted, "`set` does not begin with {"),
        ("\"by\":\"u\"", "\"by\":\"\"", noted, "`by` is not 1 to 128 bytes"),
        ("\"life\":", "\"life\":92233720368547758", 3, "so many"),
        ("-1\",\"at\":", "-1\",\"at\":-", second - 1, "`at` is before 0"),
        ("-1\",\"at\":", "-1\",\"at\":99999999999999", second - 1, "far from now"),
        (
            "{\"kind\":\"era\",\"room\":\"1\"",
            "{\"kind\":\"era\",\"room\":\"2\"",
            3,
            "not stand behind",
        ),
        (
            "\"room\":\"2\",\"title\"",
            "\"room\":\"1\",\"title\"",
            at("\"room\":\"2\",\"title\""),
            "second time",
        ),
        ("\"messages\":5", "\"messages\":6", lines.lines().count(), "2 rooms and 6 messages"),
    ] {
        assert!(lines.contains(from), "{from}");
        let (folder, report) = imported(&lines.replacen(from, to, 1));
        let error = report.expect_err(expected).to_string();
        let begin = format!("line {number}: ");
        let to = &to[..to.len().min(200)];
        assert!(error.starts_with(&begin) && error.contains(expected), "{to}: {error}");
        assert_eq!(all(&folder).lines().count(), 2, "nothing but its ends");
        // And the store that has nothing takes the right one.
        import(&folder.0, &mut lines.as_bytes(), &[8; 32], 5, &mut none).unwrap();
    }
    let cut: String = lines.split_inclusive('\n').take(4).collect();
    let error = imported(&cut).1.unwrap_err().to_string();
    assert_eq!(error, "line 5: the export is cut off: its last line is missing");
    let error = imported(&lines[..lines.len() - 1]).1.unwrap_err().to_string();
    assert!(error.contains("it is cut off, or too long"), "{error}");
}

#[test]
fn what_an_export_lacks_is_told_and_at_the_ends_of_a_room_it_counts_as_gone() {
    let lines = all(&filled());
    for (lost, told, is_sound, floor, last) in [
        (&[1][..], "message 1 is missing", true, 1, 4),
        (&[1, 2], "messages 1 to 2 are missing", true, 2, 4),
        (&[3, 4], "messages 3 to 4 are missing", true, 0, 2),
        (&[1, 2, 3, 4], "messages 1 to 4 are missing", true, 4, 4),
        (&[2, 3], "messages 2 to 3 are missing", false, 0, 4),
    ] {
        let is_lost = |line: &&str| {
            let is_it = |offset| line.contains(&format!("\"room\":\"1\",\"offset\":{offset},"));
            lost.iter().any(is_it)
        };
        let messages = format!("\"messages\":{}", 5 - lost.len());
        let salvaged: String = lines
            .split_inclusive('\n')
            .filter(|line| !is_lost(line))
            .map(|line| line.replace("\"messages\":5", &messages))
            .collect();
        let mut heard = Vec::new();
        let (copy, report) = imported_telling(&salvaged, &mut |what| heard.push(what.to_owned()));
        assert_eq!(report.unwrap().messages, 5 - lost.len() as u64);
        assert_eq!(heard, [format!("room \"1\": {told}")]);
        let report = check(&copy.0, None, &mut |what| assert!(!is_sound, "{lost:?}: {what}"));
        assert_eq!(report.unwrap().is_some(), is_sound);
        let bounds = format!("\"floor\":{floor},\"last\":{last},");
        assert!(all(&copy).contains(&bounds), "{lost:?}: {}", all(&copy));
        let (disk, writer) = copy.open();
        let (mut home, mut reader) = (Home::new(writer), disk.reader().unwrap());
        let opened = load(&mut reader, home.open(1, 60));
        assert_eq!(
            (opened.epoch, opened.top, &*opened.lineage),
            (60, at(last), &[(50, at(last))][..])
        );
        home.say(1, last, &["\"new\""]);
    }
}

#[test]
fn each_damage_is_named() {
    let sound = filled();
    for (sql, expected) in [
        ("UPDATE message SET body = '\"z\"' WHERE id & 511 = 2", "room:1: message 2 is not what"),
        ("DELETE FROM message WHERE id & 511 = 2", "room:1: message 2 is missing"),
        ("DELETE FROM message WHERE id & 511 IN (2, 3)", "messages 2 to 3 are missing"),
        ("UPDATE room SET last = 6 WHERE name = 'room:1'", "messages 5 to 6 are missing"),
        ("UPDATE room SET floor = 2, last = 4 WHERE name = 'room:1'", "message 2 is there, and"),
        ("UPDATE room SET floor = 7", "over what was said"),
        ("DELETE FROM room WHERE name = 'room:2'", "1 messages are of no room"),
        ("DELETE FROM era", "room:2: it has no era"),
        ("UPDATE era SET first = 2", "message 1 is in no era"),
        ("INSERT INTO era SELECT room, 3, 1, 9, 0, 0 FROM era", "do not follow each other"),
        ("INSERT INTO era SELECT room, 9, 1, 9, 2, 0 FROM era", "last messages are missing"),
        ("UPDATE room SET name = 'tea' WHERE id = 1", "tea: it is no room's topic"),
        ("UPDATE room SET title = 'B' WHERE name = 'room:1'", "room:1: its row is not what was"),
        ("UPDATE era SET epoch = epoch + 1 WHERE room = 1", "room:1: an era is not what was"),
        ("UPDATE audit SET by = 'z'", "room:1: its audit trail is not what was written"),
        ("UPDATE audit SET id = id | 9 << 39", "1 lines of an audit trail are of no room"),
        ("UPDATE message SET change = 5 WHERE id & 511 = 4", "room:1: message 4 is not what"),
    ] {
        let folder = Folder::new();
        fs::create_dir(&folder.0).unwrap();
        fs::copy(sound.file(), folder.file()).unwrap();
        check(&folder.0, None, &mut none).unwrap().expect("it is sound");
        meddle(&folder.file(), sql);
        let mut told = Vec::new();
        let report = check(&folder.0, None, &mut |what| told.push(what.to_owned())).unwrap();
        assert_eq!(report, None);
        assert!(told.iter().any(|what| what.contains(expected)), "{expected}: {told:?}");
    }
    // What does not fit its checksum is not exported, and is counted.
    meddle(&sound.file(), "UPDATE message SET user = 'w' WHERE id & 511 = 2");
    let (mut out, mut told) = (Vec::new(), Vec::new());
    let tell = &mut |what: &str| told.push(what.to_owned());
    assert_eq!(export(&sound.0, &Choice::default(), &mut out, tell).unwrap(), 1);
    assert_eq!(told, ["room \"1\": message 2 is not what was written"]);
    assert_eq!(String::from_utf8(out).unwrap().matches("\"kind\":\"message\"").count(), 4);
    let (copy, report) = {
        let mut out = Vec::new();
        let _ = export(&sound.0, &Choice::default(), &mut out, &mut |_| {});
        imported_telling(&String::from_utf8(out).unwrap(), &mut |_| {})
    };
    assert_eq!(report.unwrap().messages, 4, "the rest is brought back");
    drop(copy);
}

#[test]
fn a_room_that_is_asked_for_and_is_damaged_is_not_said_to_be_missing() {
    let folder = filled();
    meddle(&folder.file(), "UPDATE room SET last = 1 << 62 WHERE name = 'room:1'");
    let choice = Choice { room: Some("1".to_owned()), since_ms: None };
    let mut told = Vec::new();
    let tell = &mut |what: &str| told.push(what.to_owned());
    let error = export(&folder.0, &choice, &mut Vec::new(), tell).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("room \"1\" is in it, but its row"), "{error}");
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn a_room_in_which_nothing_was_said_is_imported_without_an_era_and_is_sound() {
    let room = r#"{"kind":"room","room":"tea","title":"Tea","founded":1,"created_at":2,"floor":0,"last":0,"last_change":0,"changed_floor":0}"#;
    let lines = ["{\"kind\":\"chinwag\",\"format\":1}", room];
    let end = "{\"kind\":\"end\",\"rooms\":1,\"messages\":0}\n";
    let (folder, report) = imported(&[&lines.join("\n"), end].join("\n"));
    assert_eq!(report.unwrap().messages, 0);
    check(&folder.0, None, &mut none).unwrap().expect("it is sound");
}

#[test]
fn the_index_of_words_is_made_anew_and_the_server_goes_on_with_it() {
    let folder = filled();
    let file = folder.0.join("search.db");
    fs::write(&file, "damaged").unwrap();
    fs::write(folder.0.join("search.db-wal"), "what was beside it").unwrap();
    assert_eq!(index_anew(&folder.0).unwrap(), file.metadata().unwrap().len());
    let count = |sql| {
        let index = Connection::open(&file).unwrap();
        index.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let found = "SELECT count(*) FROM find WHERE find MATCH 'd'";
    assert_eq!((count("SELECT count(*) FROM find"), count(found)), (5, 1));
    // It is of this life of the store, or the next one would make it anew.
    meddle(&file, "DELETE FROM find WHERE rowid & 511 = 4");
    let (disk, writer) = folder.open();
    let mut indexer = disk.indexer(Arc::default(), Duration::ZERO).unwrap();
    drop(indexer.open().unwrap());
    assert_eq!(count(found), 0);
    assert!(matches!(index_anew(&folder.0), Err(StoreError::InUse { .. })));
    drop((disk, writer));
    let absent = index_anew(&folder.0.join("none"));
    assert!(matches!(absent, Err(StoreError::Absent { .. })), "{absent:?}");
}

#[test]
fn a_store_that_a_server_has_is_not_checked_and_is_exported() {
    let folder = filled();
    let lines = all(&folder);
    let (_disk, writer) = folder.open();
    let mut home = Home::new(writer);
    assert!(matches!(check(&folder.0, None, &mut none), Err(StoreError::InUse { .. })));
    assert_eq!(all(&folder), lines);
    home.open(2, 60);
    home.say(2, 1, &["\"y\""]);
    assert!(all(&folder).contains("\"y\""), "what is committed is there");
}

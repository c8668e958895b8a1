//! What other products have exported, in their documented shapes, and what comes of it: as an
//! export of ours, and as pages to read.
//!
//! `UPDATE_FIXTURES=1` writes what is expected anew: then read the difference.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::Folder;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store/foreign")
}

/// Compares with what is expected.
fn expect(name: &str, text: &str) {
    let file = fixtures().join(name);
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&file).unwrap(), "{name}");
}

/// A store in a folder of this name, filled with a product's export, and what was told of it.
fn imported(name: &str, product: &str, export: &str) -> (Folder, String) {
    let folder = Folder::new(name);
    let file = fixtures().join(export);
    let output = folder.run(&["import", "--from", product, file.to_str().unwrap()]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}");
    (folder, told)
}

fn exported(folder: &Folder) -> String {
    let output = folder.run(&["export"]);
    assert_eq!(output.status.code(), Some(0));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_other_products_export_is_taken_in_as_rooms_with_messages_threads_and_reactions() {
    for (product, export) in
        [("slack", "slack"), ("mattermost", "mattermost.jsonl"), ("discord", "discord.json")]
    {
        let (folder, told) = imported(&format!("from-{product}"), product, export);
        expect(&format!("{product}.expected.jsonl"), &exported(&folder));
        expect(&format!("{product}.expected.txt"), &told);
        folder.serve();
        assert_eq!(folder.run(&["store", "check"]).status.code(), Some(0), "{product}");
    }
}

#[test]
fn what_is_no_export_of_a_product_is_refused_and_the_store_stays_empty() {
    let expected = [
        ("slack", "discord.json", "there is no channels.json"),
        ("mattermost", "discord.json", "line 1: it is none of such an export"),
        ("mattermost", "slack", "there is no .jsonl"),
        ("discord", "mattermost.jsonl", "trailing characters at line 2"),
        ("discord", "slack/channels.json", "expected a channel with its messages"),
        ("discord", "slack", "D01/2017-11-06.json: "),
    ];
    for (product, export, wanted) in expected {
        let folder = Folder::new(&format!("not-from-{product}-{}", export.replace('/', "-")));
        let file = fixtures().join(export);
        let output = folder.run(&["import", "--from", product, file.to_str().unwrap()]);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(65), "{product} {export}: {told}");
        assert!(told.contains(wanted), "{product} {export}: {told}");
        assert_eq!(exported(&folder).lines().count(), 2, "a beginning and an end");
    }
}

/// A line of a bulk export of Mattermost: a post.
fn post(at_ms: u64, channel: &str, message: &str) -> String {
    format!(
        r#"{{"type":"post","post":{{"team":"t","channel":"{channel}","user":"ann","message":"{message}","create_at":{at_ms}}}}}"#
    )
}

/// Lines of a bulk export: a team, and these channels.
fn channels(names: &[&str]) -> Vec<String> {
    let channel = |name| {
        format!(r#"{{"type":"channel","channel":{{"team":"t","name":"{name}","type":"O"}}}}"#)
    };
    let team = r#"{"type":"team","team":{"name":"t"}}"#.to_owned();
    std::iter::once(team).chain(names.iter().map(channel)).collect()
}

#[test]
fn what_a_store_does_not_take_is_named_by_its_line_in_the_users_own_file() {
    let folder = Folder::new("from-mattermost-late");
    let file = folder.0.join("export.jsonl");
    let posts = [post(1, "tea", "one"), post(u64::MAX / 2, "tea", "late")];
    let lines = [&channels(&["milk", "tea"])[..], &posts].concat();
    fs::write(&file, lines.join("\n")).unwrap();
    let output = folder.run(&["import", "--from", "mattermost", file.to_str().unwrap()]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(65), "{told}");
    let expected = format!("{} is damaged: line 5: `at` is", file.display());
    assert!(told.contains(&expected), "{told}");
}

/// Takes in a file of so many messages of 10,000 bytes in `rooms`, in less memory than it has
/// bytes.
fn take_in_large(product: &str, file: &Path, folder: &Folder, rooms: u64, messages: u64) {
    let bytes = file.metadata().unwrap().len();
    let args = ["import", "--from", product, file.to_str().unwrap()];
    let output = folder.run_within(bytes * 3 / 4, &args);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{bytes} bytes: {told}");
    assert_eq!(exported(folder).lines().count() as u64, 2 + 2 * rooms + messages);
}

#[test]
fn an_export_of_mattermost_is_taken_in_in_bounded_memory() {
    const MESSAGES: u64 = 8_000;
    let folder = Folder::new("from-mattermost-large");
    let file = folder.0.join("export.jsonl");
    let mut out = BufWriter::new(File::create_new(&file).unwrap());
    for line in channels(&["milk", "tea"]) {
        writeln!(out, "{line}").unwrap();
    }
    let body = "x".repeat(10_000);
    for number in 0..MESSAGES {
        let channel = if number % 2 == 0 { "milk" } else { "tea" };
        writeln!(out, "{}", post(1_700_000_000_000 + number, channel, &body)).unwrap();
    }
    drop(out);
    take_in_large("mattermost", &file, &folder, 2, MESSAGES);
}

#[test]
fn a_channel_of_discord_is_taken_in_in_bounded_memory() {
    const MESSAGES: u64 = 8_000;
    let folder = Folder::new("from-discord-large");
    let file = folder.0.join("tea.json");
    let mut out = BufWriter::new(File::create_new(&file).unwrap());
    write!(out, r#"{{"channel":{{"id":"1","name":"tea"}},"messages":["#).unwrap();
    let body = "x".repeat(10_000);
    for number in 0..MESSAGES {
        let (minute, second) = (number / 60 % 60, number % 60);
        let time = format!("2026-10-31T{:02}:{minute:02}:{second:02}Z", number / 3_600);
        let comma = if number > 0 { "," } else { "" };
        let message = format!(
            r#"{{"id":"{number}","type":"Default","timestamp":"{time}","author":{{"id":"u"}},"content":"{body}"}}"#
        );
        write!(out, "{comma}{message}").unwrap();
    }
    write!(out, "]}}").unwrap();
    drop(out);
    take_in_large("discord", &file, &folder, 1, MESSAGES);
}

#[test]
fn a_store_is_written_as_pages_to_read_without_what_not_everybody_may() {
    let (folder, _) = imported("pages", "slack", "slack");
    let to = folder.0.join("pages");
    let write = ["export", "--format", "html", "--to", to.to_str().unwrap()];
    assert_eq!(folder.run(&write).status.code(), Some(0));
    let mut names: Vec<_> = fs::read_dir(&to).unwrap().map(|of| of.unwrap().file_name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["general", "index.html", "random"], "and not the private one");
    for page in ["index.html", "general/1.html"] {
        let text = fs::read_to_string(to.join(page)).unwrap();
        expect(&format!("slack.pages/{page}"), &text);
    }
    // A second time it would lie over what is there.
    assert_eq!(folder.run(&write).status.code(), Some(71));
    let asked = folder.0.join("asked");
    let write = ["export", "--format", "html", "--room", "board", "--to", asked.to_str().unwrap()];
    assert_eq!(folder.run(&write).status.code(), Some(0));
    assert!(fs::read_to_string(asked.join("board/1.html")).unwrap().contains("between us"));
}

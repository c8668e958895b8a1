//! Blocks of code in the pages: each says what it is; a configuration is accepted, what is sent is
//! JSON, and commands have the options that they are given.
//!
//! What is left to others: whether code parses (`blocks.test.mjs` beside this), the commands of the
//! load generator (`loadtest/tests/pages.rs`), and whether README's blocks do what it says
//! (`tests/readme`). `rust`, `nginx` and `text` are parts of something, and not judged.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use chinwag::app::cli;
use chinwag::app::config::Surroundings;
use serde_json::Value;

use crate::blocks::{self, Block};

/// A configuration with all that a command may need.
const CONFIG: &str = "[auth]\nsecret = '9GkXo0fXcQm1mUqv3T2bJ7yqkq8WcR5hZ4nVtA6sLpE='\n\
                      [store]\npath = '/srv/chat'\n";

/// A secret that a server takes.
const SECRET: &str = "'9GkXo0fXcQm1mUqv3T2bJ7yqkq8WcR5hZ4nVtA6sLpE='";

/// What is wrong with a block.
fn fault(block: &Block) -> Option<String> {
    let Block { language, text, .. } = block;
    let faults: Vec<String> = match &**language {
        "toml" => {
            // A secret that stands in a page is one that no server takes.
            let text = text.replace("\"...\"", SECRET);
            vec![refused(&["chinwag".into(), "check".into(), "FILE".into()], &text)?]
        }
        "sh" => blocks::commands(text, "chinwag")
            .into_iter()
            .filter_map(|words| Some(format!("{words:?}: {}", refused(&words, CONFIG)?)))
            .collect(),
        "json" => vec![serde_json::from_str::<Value>(text).err()?.to_string()],
        "frames" => frames(text).iter().filter_map(|frame| no_frame(frame)).collect(),
        "js" | "python" | "rust" | "nginx" | "text" => Vec::new(),
        "" => vec!["it does not say what it is".to_owned()],
        other => vec![format!("nobody knows what `{other}` is")],
    };
    (!faults.is_empty()).then(|| format!("{}: {}", block.at, faults.join("; ")))
}

/// Why a command is refused that finds this configuration in any file; none, if it is not.
fn refused(words: &[String], config: &str) -> Option<String> {
    let read = |_: &Path| -> io::Result<String> { Ok(config.to_owned()) };
    let surroundings = Surroundings { variables: &[], read: &read };
    let exit = cli::parse(words.iter().map(OsString::from), &surroundings).err()?;
    // What helps is no mistake.
    (exit.code != 0).then_some(exit.text)
}

/// What is sent either way, as `--> [...]` or `<-- [...]` each; the rest of a long one is indented.
fn frames(text: &str) -> Vec<String> {
    let mut frames: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        match frames.last_mut().filter(|_| line.starts_with(' ')) {
            Some(frame) => frame.push_str(line.trim_start()),
            None => frames.push(line.to_owned()),
        }
    }
    frames
}

/// What is wrong with one: it is an array of five, in which `...` stands for what is left out.
fn no_frame(frame: &str) -> Option<String> {
    let json = ["--> ", "<-- "].iter().find_map(|way| frame.strip_prefix(way));
    let Some(json) = json else { return Some(format!("it goes neither way: {frame}")) };
    let json = json.replace("[...]", "[]").replace("{...,", "{");
    match serde_json::from_str::<Vec<Value>>(&json) {
        Ok(fields) if fields.len() == 5 => None,
        Ok(fields) => Some(format!("it has {} fields: {frame}", fields.len())),
        Err(error) => Some(format!("{error}: {frame}")),
    }
}

#[test]
fn every_block_of_code_is_what_it_says() {
    let blocks = blocks::all(crate::root());
    let count = |language| blocks.iter().filter(|block| block.language == language).count();
    assert!(count("sh") > 20 && count("frames") > 8 && count("toml") > 1, "blocks are found");
    let commands =
        blocks.iter().flat_map(|Block { text, .. }| blocks::commands(text, "chinwag")).count();
    assert!(commands > 20, "commands are found: {commands}");
    let faults: Vec<_> = blocks.iter().filter_map(fault).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

/// What is wrong with a block of one language.
#[track_caller]
fn check(language: &str, text: &str, expected: Option<&str>) {
    let found = blocks::of("page", &format!("# A page\n\n  ```{language}\n  {text}\n  ```\n"));
    let [block] = &*found else { panic!("one block: {}", found.len()) };
    assert_eq!((&*block.at, &*block.text), ("page:4", &*format!("{text}\n")));
    let fault = fault(block);
    let is_as_expected = match expected {
        None => fault.is_none(),
        Some(expected) => fault.as_ref().is_some_and(|fault| fault.contains(expected)),
    };
    assert!(is_as_expected, "{fault:?} of {text}");
}

#[test]
fn a_block_that_is_not_what_it_says_is_seen() {
    check("toml", "listen = \"127.0.0.1:4000\"", None);
    check("toml", "auth.secret = \"...\"", None);
    check("toml", "lisen = \"0.0.0.0:4000\"", Some("lisen"));
    check("toml", "limits.idle_ms = 1", Some("limits.idle_ms"));
    check("toml", "listen =", Some("page:4"));
    check("json", "{\"a\": [1]}", None);
    check("json", "{a: 1}", Some("key must be a string"));
    check("frames", "--> [null,\"1\",\"t\",\"e\",{...,\"b\":[...]}]", None);
    check("frames", "<-- [null,\"1\",\"t\",\"e\"]", Some("4 fields"));
    check("frames", "<-- [null,\"1\",\"t\",\"e\",{]", Some("key must be a string"));
    check("frames", "[null,\"1\",\"t\",\"e\",{}]", Some("neither way"));
    check("sh", "chinwag check FILE", None);
    check("sh", "A=b target/release/chinwag --set 'store.path=/a b' >out 2>&1 & true # so", None);
    check("sh", "chinwag chek FILE", Some("chek"));
    check("sh", "true && chinwag --shard 2", Some("--shard"));
    check("sh", "chinwag --set limits.idle=5", Some("limits.idle"));
    check("sh", "chinwag export --config FILE --to $(mktemp -d)", Some("--format html"));
    check("", "who knows", Some("does not say"));
    check("jsno", "{}", Some("jsno"));
    check("text", "who knows", None);
}

#[test]
fn commands_are_read_as_a_shell_reads_them() {
    let text =
        "X=1 a/tool 'b c' \"d\"e \\\n  f\\ g $(h (i) 'j') >k 2>>l 3 # m\ntool|tool;n tool&tool\n";
    let found = blocks::commands(text, "tool");
    let first = ["a/tool", "b c", "de", "f g", "$(h (i) 'j')", "3"].map(str::to_owned);
    assert_eq!(found[0], first);
    assert_eq!(found[1..], [["tool"], ["tool"], ["tool"]]);
}

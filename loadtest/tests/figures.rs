//! The command that measures what `docs/benchmarks.md` tells: a small run of it, and that the page
//! and it have the same scenarios.
//!
//! Needs the server and Python: `cargo build && cargo test -p loadtest --test figures -- --ignored`.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Folder, LOADTEST};

/// What stands in backquotes in a table of the page, and is no scenario.
const NO_SCENARIOS: &[&str] = &["ok", "send"];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

/// Whether a word may be the name of a scenario.
fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_lowercase())
        && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[test]
#[ignore = "needs Python"]
fn the_page_and_the_command_have_the_same_scenarios() {
    let mut python = Command::new("python3");
    python.args(["-c", "import measured; print(*measured.SCENARIOS)"]).current_dir(folder());
    let output = python.output().expect("python3 is there");
    let told = String::from_utf8(output.stdout).expect("text");
    let measured: BTreeSet<&str> = told.split_whitespace().collect();
    assert!(measured.contains("fanout"), "{told}");
    let page = fs::read_to_string(folder().join("../docs/benchmarks.md")).expect("the page");
    // Every second part of a line stands in backquotes.
    let rows = page.lines().filter(|line| line.starts_with('|'));
    let on_page: BTreeSet<&str> = rows
        .flat_map(|row| row.split('`').skip(1).step_by(2))
        .filter(|word| is_name(word) && !NO_SCENARIOS.contains(word))
        .collect();
    let unknown: Vec<_> = on_page.difference(&measured).collect();
    assert!(unknown.is_empty(), "on the page, and no scenarios: {unknown:?}");
    let quoted = |name: &&&str| page.contains(&format!("`{name}`"));
    let missing: Vec<_> = measured.iter().filter(|name| !quoted(name)).collect();
    assert!(missing.is_empty(), "not on the page: {missing:?}");
}

#[test]
#[ignore = "needs the server and Python"]
fn a_run_has_a_table_and_is_made_once() {
    let server = Path::new(LOADTEST).with_file_name("chinwag");
    assert!(server.exists(), "build the server first: cargo build");
    let out = Folder::new("figures");
    let figures = || {
        let mut command = Command::new(folder().join("figures"));
        command.args(["--only", "echo-alone,disk", "--rounds", "1", "--loadtest", LOADTEST]);
        command.arg("--server").arg(format!("this={}", server.display()));
        let output = command.arg("--out").arg(&out.0).output().expect("python3 is there");
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    };
    let first = figures();
    assert_eq!(first.matches(" s  ok\n").count(), 2, "{first}");
    assert!(first.contains("### echo-alone") && first.contains("| runs | 1 |"), "{first}");
    assert!(first.contains("| | this |") && !first.contains("| – |"), "{first}");
    let again = figures();
    assert!(first.ends_with(&again), "nothing is run again, and the tables are the same: {again}");
}

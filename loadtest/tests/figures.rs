//! The command that measures what `docs/benchmarks.md` tells: a small run of it, what it makes of
//! runs that fail, and that the page and it have the same scenarios.
//!
//! Needs Python and the server:
//! `cargo build && cargo test --package loadtest --test figures -- --ignored`.

mod common;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Folder, LOADTEST};

/// What stands in backquotes in a table of the page, and is no scenario.
const NO_SCENARIOS: &[&str] =
    &["ok", "send", "duplicate", "differing", "gaps", "ghosts", "lost", "unanswered", "unread"];

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

/// A folder of results, and a load generator that is a script.
struct Pretended {
    folder: Folder,
}

impl Pretended {
    fn new(name: &str) -> Self {
        Self { folder: Folder::new(name) }
    }

    /// Another build of the load generator.
    fn build(&self, script: &str) {
        let loadtest = self.folder.0.join("loadtest");
        fs::write(&loadtest, format!("#!/bin/sh\n{script}\n")).expect("a script");
        fs::set_permissions(&loadtest, Permissions::from_mode(0o755)).expect("it is ours");
    }

    /// What `figures` says, and its exit code. The servers are the script too, but none is started.
    fn figures(&self, arguments: &[&str]) -> (String, Option<i32>) {
        let loadtest = self.folder.0.join("loadtest");
        let mut command = Command::new(folder().join("figures"));
        command.arg("--out").arg(self.folder.0.join("out")).arg("--loadtest").arg(&loadtest);
        command.arg("--server").arg(format!("this={}", loadtest.display())).args(arguments);
        let output = command.output().expect("python3 is there");
        (said(&output), output.status.code())
    }
}

/// Prints the table of `disk`, of one batch.
const DISK: &str = "echo '       1           1000     1.0 ms     2.0 ms'";

#[test]
#[ignore = "needs Python"]
fn results_of_another_build_are_in_no_table() {
    let pretended = Pretended::new("figures-builds");
    pretended.build(DISK);
    let (first, code) = pretended.figures(&["--only", "disk", "--rounds", "2"]);
    assert!(first.contains("| runs | 2 |") && code == Some(0), "{first}");
    pretended.build(DISK);
    let (second, code) = pretended.figures(&["--only", "disk", "--rounds", "1"]);
    assert!(second.contains("| runs | 1 |") && code == Some(0), "{second}");
    assert!(second.contains("\nIn no table: 1 of other builds"), "{second}");
    let out = pretended.folder.0.join("out");
    let (report, _) = pretended.figures(&["--report", &out.to_string_lossy()]);
    assert!(second.ends_with(&report), "the same without a run: {report}");
}

#[test]
#[ignore = "needs Python"]
fn a_run_that_goes_wrong_has_no_result_and_the_others_are_made() {
    let pretended = Pretended::new("figures-wrong");
    // The report of `floor` is not what it should be.
    let floor = "case $* in floor*) while [ $# -gt 1 ]; do shift; done; echo '{}' >$1; exit;; esac";
    for (script, reason) in [
        (format!("{floor}; exit 3"), "loadtest ended with 3"),
        (format!("{floor}; {DISK}; exit 3"), "loadtest ended with 3"),
        (floor.to_owned(), "it told no figures"),
    ] {
        pretended.build(&script);
        for _ in ["at first", "again"] {
            let (told, code) = pretended.figures(&["--only", "floor,disk", "--rounds", "2"]);
            assert_eq!(told.matches(&format!("NO RESULT: {reason}, ")).count(), 2, "{told}");
            assert_eq!(told.matches("NO RESULT: KeyError('batches'), ").count(), 2, "{told}");
            assert!(told.contains("\n0 runs: "), "{told}");
            assert!(told.ends_with("figures: 4 of 4 runs have no result\n"), "{told}");
            assert_eq!(code, Some(1), "{told}");
        }
    }
    pretended.build(&format!("{floor}; {DISK}"));
    let (told, code) = pretended.figures(&["--only", "floor,disk", "--rounds", "1"]);
    assert!(told.contains("\n1 runs: ") && told.contains("### disk"), "{told}");
    assert_eq!(code, Some(1), "{told}");
}

#[test]
#[ignore = "needs Python"]
fn runs_for_which_there_is_no_time_are_missing() {
    let pretended = Pretended::new("figures-time");
    pretended.build(DISK);
    let (told, code) = pretended.figures(&["--only", "disk", "--rounds", "2", "--minutes", "0"]);
    assert!(told.contains("the time is over: 2 of 2 runs are not made"), "{told}");
    assert!(told.ends_with("figures: 2 of 2 runs have no result\n"), "{told}");
    assert_eq!(code, Some(1), "{told}");
}

//! The commands of the load generator that pages name, and those that `figures` runs: it has what
//! they say. So has `figures` what pages say of it.

#[path = "../../tests/pages/blocks.rs"]
mod blocks;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const LOADTEST: &str = env!("CARGO_BIN_EXE_loadtest");

/// The commands of a program in the pages, in blocks for a shell and in backquotes, each with where
/// it is.
fn commands(program: &str) -> Vec<(String, Vec<String>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
    let blocks = blocks::all(root).into_iter().filter(|block| block.language == "sh");
    let mut texts: Vec<_> = blocks.map(|block| (block.at, block.text)).collect();
    for path in blocks::pages(root) {
        let parts = blocks::parts(&fs::read_to_string(&path).expect("pages are text"));
        let quoted = parts.into_iter().skip(1).step_by(2);
        texts.extend(quoted.map(|text| (path.display().to_string(), text)));
    }
    // A word in capitals stands for one of many.
    let stands_for = |word: &String| word.len() > 1 && word.bytes().all(|c| c.is_ascii_uppercase());
    let commands = texts.into_iter().flat_map(|(at, text)| {
        blocks::commands(&text, program).into_iter().map(move |words| (at.clone(), words))
    });
    commands.filter(|(_, words)| words.len() > 1 && !words.iter().any(stands_for)).collect()
}

/// Why a command is refused; none, if it is not.
fn refused(words: &[String], output: &Output) -> Option<String> {
    let text = String::from_utf8_lossy(&output.stderr);
    (!output.status.success()).then(|| format!("{words:?}: {text}"))
}

/// The same of one of the load generator. It is only asked for help, with its options before that:
/// so what it lacks is not seen.
fn no_load(words: &[String]) -> Option<String> {
    let mut command = Command::new(LOADTEST);
    // The process that a page has begun before.
    let pid = std::process::id().to_string();
    command.args(words[1..].iter().map(|word| if word == "$!" { &pid } else { word }));
    refused(words, &command.arg("--help").output().expect("it runs"))
}

/// The same of one of `figures`, which only says what it would run.
fn no_measuring(words: &[String]) -> Option<String> {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("figures"));
    // For the servers of a page, which are not there, stands another program. A report is made of
    // nothing there.
    command.current_dir(env!("CARGO_TARGET_TMPDIR"));
    command.args(words[1..].iter().map(|word| match word.split_once('=') {
        Some((name, path)) if !name.starts_with('-') => {
            word.replace(path.split('@').next().unwrap_or_default(), LOADTEST)
        }
        _ => word.clone(),
    }));
    let server = format!("--server=page={LOADTEST}");
    refused(words, &command.args([&*server, "--dry-run"]).output().expect("Python is there"))
}

/// Asserts that each of these commands is one; `why` says what is wrong with one that is not.
#[track_caller]
fn check(commands: &[(String, Vec<String>)], why: fn(&[String]) -> Option<String>) {
    let fault = |(at, words): &(String, Vec<String>)| Some(format!("{at}: {}", why(words)?));
    let faults: Vec<_> = commands.iter().filter_map(fault).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

/// A command of a page as its words.
fn words(text: &str, program: &str) -> Vec<String> {
    blocks::commands(text, program).remove(0)
}

#[test]
fn every_command_in_the_pages_is_one() {
    let commands = commands("loadtest");
    assert!(commands.len() > 2, "commands are found: {commands:?}");
    check(&commands, no_load);
}

#[test]
fn a_command_that_is_none_is_seen() {
    let page = "target/release/loadtest keep --rooms 5 --server-pid $!";
    assert_eq!(no_load(&words(page, "loadtest")), None);
    for (text, part) in [("loadtest kep", "kep"), ("loadtest keep --room 5", "--room")] {
        let why = no_load(&words(text, "loadtest"));
        assert!(why.is_some_and(|why| why.contains(part)), "{text}");
    }
}

#[test]
#[ignore = "needs Python"]
fn every_command_that_figures_runs_is_one() {
    let told = "import measured
for scenario in measured.SCENARIOS.values():
    print(*scenario.commands(), sep='\\n')";
    let mut python = Command::new("python3");
    python.args(["-c", told]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = python.output().expect("python3 is there");
    let commands = blocks::commands(&String::from_utf8_lossy(&output.stdout), "loadtest");
    assert!(commands.len() > 40, "commands are found: {output:?}");
    let faults: Vec<_> = commands.iter().filter_map(|words| no_load(words)).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
#[ignore = "needs Python"]
fn every_way_to_measure_in_the_pages_is_one() {
    let commands = commands("figures");
    assert!(commands.len() > 5, "commands are found: {commands:?}");
    check(&commands, no_measuring);
    for (text, part) in [
        ("loadtest/figures --only fanout,romos", "no romos"),
        ("loadtest/figures --server axom", "axom"),
        ("loadtest/figures --server now=a/chinwag@fanot", "no fanot"),
        ("loadtest/figures --hours 1", "--hours"),
    ] {
        let why = no_measuring(&words(text, "figures"));
        assert!(why.is_some_and(|why| why.contains(part)), "{text}");
    }
}

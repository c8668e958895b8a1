//! The commands of the load generator that pages name: it has what they say.

#[path = "../../tests/pages/blocks.rs"]
mod blocks;

use std::path::Path;
use std::process::Command;

use blocks::Block;

/// Why a command is refused; none, if it is not. It is only asked for help, with its options before
/// that: so what it lacks is not seen.
fn refused(words: &[String]) -> Option<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    // The process that a page has begun before.
    let pid = std::process::id().to_string();
    command.args(words[1..].iter().map(|word| if word == "$!" { &pid } else { word }));
    let output = command.arg("--help").output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (!output.status.success()).then(|| format!("{words:?}: {text}"))
}

#[test]
fn every_command_in_the_pages_is_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
    let blocks = blocks::all(root).into_iter().filter(|block| block.language == "sh");
    let commands = blocks.flat_map(|Block { at, text, .. }| {
        blocks::commands(&text, "loadtest").into_iter().map(move |words| (at.clone(), words))
    });
    let mut count = 0;
    let faults: Vec<_> = commands
        .inspect(|_| count += 1)
        .filter_map(|(at, words)| Some(format!("{at}: {}", refused(&words)?)))
        .collect();
    assert!(count > 5, "commands are found: {count}");
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn a_command_that_is_none_is_seen() {
    let words = |text: &str| blocks::commands(text, "loadtest").remove(0);
    assert_eq!(refused(&words("target/release/loadtest keep --rooms 5 --server-pid $!")), None);
    for (text, part) in [("loadtest kep", "kep"), ("loadtest keep --room 5", "--room")] {
        assert!(refused(&words(text)).is_some_and(|why| why.contains(part)), "{text}");
    }
}

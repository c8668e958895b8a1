//! Every library that cargo knows of here, for whatever platform and for tests too, has a licence
//! that lets the program be used, changed and passed on by anybody, in a binary too.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Licences by their SPDX names. All ask for no more than that their text goes along
/// (`docs/deploy/licences` prints it).
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether an SPDX expression can be met with what is allowed. `AND` binds closer than `OR`, of
/// which `/` is an older form.
fn is_met(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &words[..];
    let is_met = any_of(&mut rest);
    is_met && rest.is_empty()
}

fn any_of(words: &mut &[&str]) -> bool {
    let mut is_met = all_of(words);
    while take(words, "OR") {
        is_met |= all_of(words);
    }
    is_met
}

fn all_of(words: &mut &[&str]) -> bool {
    let mut is_met = one(words);
    while take(words, "AND") {
        is_met &= one(words);
    }
    is_met
}

fn one(words: &mut &[&str]) -> bool {
    if take(words, "(") {
        let is_met = any_of(words);
        return take(words, ")") && is_met;
    }
    let Some((name, rest)) = words.split_first() else { return false };
    *words = rest;
    let mut name = (*name).to_owned();
    if take(words, "WITH")
        && let Some((exception, rest)) = words.split_first()
    {
        name = format!("{name} WITH {exception}");
        *words = rest;
    }
    ALLOWED.contains(&&*name)
}

fn take(words: &mut &[&str], word: &str) -> bool {
    let is_next = words.first() == Some(&word);
    if is_next {
        *words = &words[1..];
    }
    is_next
}

#[test]
fn an_expression_is_met_where_the_choice_and_all_that_is_asked_for_are_allowed() {
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("GPL-2.0-only OR MIT", true),
        ("GPL-2.0-only/MIT", true),
        ("MIT AND GPL-2.0-only", false),
        ("MIT AND GPL-2.0-only OR ISC", true),
        ("MIT AND (GPL-2.0-only OR ISC)", true),
        ("(MIT OR Apache-2.0) AND MPL-2.0", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("GPL-2.0-only WITH Classpath-exception-2.0", false),
        ("MIT OR", true),
        ("MIT ISC", false),
        ("(MIT", false),
        ("", false),
    ] {
        assert_eq!(is_met(expression), expected, "{expression}");
    }
}

#[test]
fn every_library_may_be_used_changed_and_passed_on() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        // Of what other systems need, nothing has been fetched.
        .args(["--filter-platform", "host-tuple"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100, "the libraries are found: {}", packages.len());
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !is_met(package["license"].as_str().unwrap_or_default()))
        .map(|package| {
            format!("{} {}: {}", package["name"], package["version"], package["license"])
        })
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn long_runs_allow_the_same() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/long/deny.toml");
    let settings: toml::Table = toml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let allowed = settings["licenses"]["allow"].as_array().unwrap();
    let allowed: Vec<&str> = allowed.iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(allowed, ALLOWED);
}

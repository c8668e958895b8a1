//! What no compiler checks: which module may know of which, and what only a few places may touch.
//!
//! The layers are those of `docs/ARCHITECTURE.md`: a module uses those to the left of it, never to
//! the right. Comments may name anything.

use std::fs;
use std::path::{Path, PathBuf};

/// A module, and the modules that it may use besides itself.
const LAYERS: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("base", &["limits"]),
    ("wire", &["limits", "base"]),
    ("chat", &["limits", "base", "wire"]),
    ("mesh", &["limits", "base"]),
    ("shard", &["limits", "base", "wire", "chat"]),
    ("reactor", &["limits", "base", "mesh", "shard"]),
    ("app", &["limits", "base", "wire", "chat", "mesh", "shard", "reactor"]),
    ("main", &["app"]),
];

/// A word, and the only places where it may stand: beginnings of paths below `src`.
const RESERVED: &[(&str, &[&str])] = &[
    // Time is a number passed in.
    ("Instant::now", &["reactor/", "app/"]),
    ("SystemTime::now", &["reactor/", "app/"]),
    // None of our own: what stands in this file is not part of the server, but of loom's check for
    // races.
    ("unsafe", &["mesh/sync.rs"]),
    ("mio::", &["reactor/", "app/"]),
    ("socket2::", &["reactor/"]),
    ("std::thread", &["reactor/", "app/", "mesh/tests.rs", "mesh/loom_tests.rs"]),
    ("std::fs", &["app/"]),
    ("std::env", &["app/", "main.rs"]),
    ("std::process", &["app/", "main.rs"]),
    // Randomness comes in as a seed, or from whoever knows secrets.
    ("getrandom", &["app/"]),
    ("println!", &["app/"]),
];

/// What is wrong in one file, given by its path below `src`.
fn faults(path: &str, text: &str) -> Vec<String> {
    let module = path.split(['/', '.']).next().unwrap_or_default();
    let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == module) else {
        return if path == "lib.rs" {
            Vec::new()
        } else {
            vec![format!("{path}: {module} has no layer")]
        };
    };
    let mut faults = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let mut fault = |what: String| faults.push(format!("src/{path}:{}: {what}", number + 1));
        for root in ["crate::", "chinwag::", "super::"] {
            for (at, _) in code.match_indices(root) {
                let used = code[at + root.len()..]
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next();
                let used = used.unwrap_or_default();
                // What `super` leads to is within the module, unless it is the name of another.
                let is_within = root == "super::" && LAYERS.iter().all(|(layer, _)| *layer != used);
                if used != module && !is_within && !allowed.contains(&used) {
                    fault(format!("{module} knows nothing of `{used}`"));
                }
            }
        }
        for (word, places) in RESERVED {
            if code.contains(word) && !places.iter().any(|place| path.starts_with(place)) {
                fault(format!("`{word}` may stand in {places:?} only"));
            }
        }
    }
    faults
}

/// All files below `src`, by their path there, with what is in them.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path
                    .strip_prefix(&root)
                    .expect("below the root")
                    .to_string_lossy()
                    .replace('\\', "/");
                sources.push((name, fs::read_to_string(&path).expect("sources are text")));
            }
        }
    }
    sources.sort();
    sources
}

#[test]
fn no_module_knows_of_one_to_its_right_and_nobody_touches_what_is_not_its_own() {
    let sources = sources();
    assert!(sources.len() > 40, "the sources are found: {}", sources.len());
    let faults: Vec<String> = sources.iter().flat_map(|(path, text)| faults(path, text)).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[track_caller]
fn check(path: &str, line: &str, expected: &str) {
    let text = format!("//! A file.\n{line}\n");
    let faults = faults(path, &text);
    assert!(
        matches!(&faults[..], [fault] if fault.contains(expected)),
        "{path}: {line}: {faults:?}"
    );
}

#[test]
fn what_is_forbidden_is_seen() {
    check("wire/json.rs", "use crate::chat::topic::Topic;", "wire knows nothing of `chat`");
    check(
        "base/arena.rs",
        "    fn f() -> crate::wire::json::Malformed {",
        "base knows nothing of `wire`",
    );
    check("chat/history.rs", "use crate::shard::Shard;", "chat knows nothing of `shard`");
    check("shard/mod.rs", "use crate::{mesh::Port, reactor};", "shard knows nothing of ``");
    check("mesh/ring.rs", "use crate::chat::topic;", "mesh knows nothing of `chat`");
    check("reactor/mod.rs", "use crate::chat::topic;", "reactor knows nothing of `chat`");
    check("limits.rs", "use crate::base::time::Now;", "limits knows nothing of `base`");
    check("side/store.rs", "", "side has no layer");
    check("chat/history.rs", "use super::super::shard::Shard;", "chat knows nothing of `shard`");
    check("shard/conn.rs", "let now = std::time::Instant::now();", "`Instant::now`");
    check("shard/conn.rs", "let now = SystemTime::now();", "`SystemTime::now`");
    check("base/arena.rs", "unsafe { *at }", "`unsafe`");
    check("shard/mod.rs", "use mio::Poll;", "`mio::`");
}

#[test]
fn what_is_allowed_is_let_through() {
    for (path, line) in [
        ("wire/json.rs", "/// See `crate::shard` for who uses it, and unsafe for what it is not."),
        ("shard/mod.rs", "use crate::chat::topic::Topic; // not `crate::app`"),
        ("shard/conn.rs", "use super::{Io, Shard};"),
        ("reactor/clock.rs", "let now = Instant::now();"),
        ("wire/http/head.rs", "use super::super::json;"),
    ] {
        assert_eq!(faults(path, line), Vec::<String>::new(), "{path}: {line}");
    }
}

/// Where a test that is named as `a::b::c` may stand.
fn places(module: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = module.replace("::", "/");
    ["tests/hostile", "tests/sim", "tests", "src"]
        .iter()
        .flat_map(|folder| [format!("{folder}/{path}.rs"), format!("{folder}/{path}/mod.rs")])
        .map(|file| root.join(file))
        .collect()
}

#[test]
fn the_tests_that_are_named_as_proofs_are_there() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ARCHITECTURE.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, proofs) = page.split_once("<!-- proofs: begin -->").unwrap();
    let (proofs, _) = proofs.split_once("<!-- proofs: end -->").unwrap();
    // Every second part stands in backquotes.
    let named = proofs.split('`').skip(1).step_by(2).filter_map(|name| name.rsplit_once("::"));
    let named: Vec<(&str, &str)> = named.filter(|(_, name)| name.contains('_')).collect();
    assert!(named.len() > 50, "the names are found: {}", named.len());
    for (module, name) in named {
        let is_there = |path: &PathBuf| {
            fs::read_to_string(path).is_ok_and(|text| text.contains(&format!("fn {name}()")))
        };
        assert!(
            places(module).iter().any(is_there),
            "{module}::{name} is named as a proof, and is not there"
        );
    }
}

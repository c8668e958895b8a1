//! What no compiler checks: which folder may know of which, what only a few places may touch, and
//! how wide a line may be.
//!
//! The table is that of `docs/ARCHITECTURE.md`: a folder uses those above it that it names, and
//! what these may use. Comments may name anything.

#[path = "architecture/circles.rs"]
mod circles;

use std::fs;
use std::path::{Path, PathBuf};

/// A folder below `src`, and the folders that it may use besides itself; what these may use it may
/// use too. Each stands above those that use it.
const LAYERS: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("base", &["limits"]),
    ("auth", &["base"]),
    ("wire", &["base"]),
    ("mesh", &["base"]),
    ("link", &["auth", "wire", "mesh"]),
    ("directory", &["link"]),
    ("room", &["link"]),
    ("rooms", &["room", "directory"]),
    ("conn", &["link"]),
    ("audience", &["conn", "directory"]),
    ("member", &["audience"]),
    ("api", &["conn", "directory"]),
    ("shard", &["api", "member", "rooms"]),
    ("side", &["link"]),
    ("reactor", &["shard", "mesh"]),
    ("app", &["reactor", "side"]),
    ("main", &["app"]),
];

/// How many parts a shard is made of at most.
const SHARD_FIELDS_MAX: usize = 12;

/// How wide code and comments may be, in characters. A string that is longer is not broken.
const WIDTH_MAX: usize = 100;

/// The folders with code of ours, and those in them with what is built or fetched.
const OURS: &[&str] = &["src", "tests", "loadtest", "benches"];
const NOT_OURS: &[&str] = &["target", "build", "vendor", "node_modules", ".venv"];

/// All folders that one may use.
fn uses(folder: &str) -> Vec<&'static str> {
    let named = LAYERS.iter().find(|(layer, _)| *layer == folder).map_or(&[][..], |(_, of)| *of);
    let mut all = named.to_vec();
    for layer in named {
        all.extend(uses(layer));
    }
    all
}

/// A word, and the only places where it may stand: beginnings of paths below `src`.
const RESERVED: &[(&str, &[&str])] = &[
    // Time is a number passed in.
    ("Instant::now", &["reactor/", "app/", "side/"]),
    ("SystemTime::now", &["reactor/", "app/"]),
    // None of our own: what stands in this file is not part of the server, but of loom's check for
    // races.
    ("unsafe", &["mesh/sync.rs"]),
    ("mio::", &["reactor/", "app/"]),
    ("socket2::", &["reactor/"]),
    ("rusqlite", &["side/store/"]),
    ("tokio::", &["side/archive/", "side/engine/"]),
    ("tokio_postgres", &["side/archive/"]),
    (
        "std::thread",
        &["reactor/", "app/", "side/", "mesh/tests.rs", "mesh/loom_tests.rs", "base/rate_table.rs"],
    ),
    ("std::fs", &["app/", "side/"]),
    ("std::env", &["app/", "main.rs", "rooms/contract.rs", "side/store/tests.rs"]),
    ("std::process", &["app/", "main.rs", "side/store/tests.rs"]),
    // Composition stands in one place.
    ("impl Shard", &["shard/"]),
    // Randomness comes in as a seed, or from whoever knows secrets.
    ("getrandom", &["app/"]),
    ("println!", &["app/", "rooms/contract.rs"]),
];

/// What is wrong in one file, given by its path below `src`.
fn faults(path: &str, text: &str) -> Vec<String> {
    let module = path.split(['/', '.']).next().unwrap_or_default();
    if LAYERS.iter().all(|(layer, _)| *layer != module) {
        let faults = vec![format!("{path}: {module} has no layer")];
        return if path == "lib.rs" { Vec::new() } else { faults };
    }
    let allowed = uses(module);
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
    sources_below("src")
}

/// The same of another folder.
fn sources_below(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut sources = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                let is_ours = NOT_OURS.iter().all(|name| !path.ends_with(name));
                folders.extend(is_ours.then_some(path));
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
fn no_folder_knows_of_one_below_it_and_nobody_touches_what_is_not_its_own() {
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
    check("wire/json.rs", "use crate::link::topic::Topic;", "wire knows nothing of `link`");
    check(
        "base/arena.rs",
        "    fn f() -> crate::wire::json::Malformed {",
        "base knows nothing of `wire`",
    );
    check("room/history.rs", "use crate::shard::Shard;", "room knows nothing of `shard`");
    check("conn/input.rs", "use crate::room::Room;", "conn knows nothing of `room`");
    check("rooms/mod.rs", "use crate::member::Members;", "rooms knows nothing of `member`");
    check("member/mod.rs", "impl Shard {", "`impl Shard`");
    check("shard/mod.rs", "use crate::{mesh::Port, reactor};", "shard knows nothing of ``");
    check("mesh/ring.rs", "use crate::link::topic;", "mesh knows nothing of `link`");
    check("reactor/mod.rs", "use crate::app::boot;", "reactor knows nothing of `app`");
    check("limits/mod.rs", "use crate::base::time::Now;", "limits knows nothing of `base`");
    check("cellar/store.rs", "", "cellar has no layer");
    check("side/store/log.rs", "use crate::shard::Shard;", "side knows nothing of `shard`");
    check("room/history.rs", "use rusqlite::Connection;", "`rusqlite`");
    check("room/history.rs", "use super::super::shard::Shard;", "room knows nothing of `shard`");
    check("shard/route.rs", "let now = std::time::Instant::now();", "`Instant::now`");
    check("shard/route.rs", "let now = SystemTime::now();", "`SystemTime::now`");
    check("base/arena.rs", "unsafe { *at }", "`unsafe`");
    check("shard/mod.rs", "use mio::Poll;", "`mio::`");
}

#[test]
fn what_is_allowed_is_let_through() {
    for (path, line) in [
        ("wire/json.rs", "/// See `crate::shard` for who uses it, and unsafe for what it is not."),
        ("shard/mod.rs", "use crate::link::topic::Topic; // not `crate::app`"),
        ("shard/route.rs", "use super::{Io, Shard};"),
        ("reactor/clock.rs", "let now = Instant::now();"),
        ("wire/http/head.rs", "use super::super::json;"),
    ] {
        assert_eq!(faults(path, line), Vec::<String>::new(), "{path}: {line}");
    }
}

#[test]
fn each_folder_stands_below_those_that_it_uses() {
    for (at, (folder, named)) in LAYERS.iter().enumerate() {
        let above = &LAYERS[..at];
        for used in *named {
            let is_above = above.iter().any(|(layer, _)| layer == used);
            assert!(is_above, "{folder} uses {used}, which stands below it");
        }
    }
}

#[test]
fn a_shard_is_made_of_a_few_parts() {
    let sources = sources();
    let (_, shard) = sources.iter().find(|(path, _)| path == "shard/mod.rs").unwrap();
    let (_, fields) = shard.split_once("pub struct Shard {").expect("the shard");
    let (fields, _) = fields.split_once("\n}").expect("its end");
    let fields = fields.lines().filter(|line| !line.trim_start().starts_with("//"));
    let count = fields.filter(|line| line.contains(':')).count();
    assert!((6..=SHARD_FIELDS_MAX).contains(&count), "{count} fields");
}

/// The lines that are too wide.
fn wide(text: &str) -> Vec<&str> {
    // A picture or a table is as wide as what it shows.
    let mut is_picture = false;
    let is_wide = |line: &&str| {
        is_picture ^= line.trim_start_matches([' ', '/', '!']).starts_with("```");
        let is_shown = is_picture || line.contains(['"', '|']);
        line.chars().count() > WIDTH_MAX && !is_shown
    };
    text.lines().filter(is_wide).collect()
}

#[test]
fn code_and_comments_are_no_wider_than_they_may_be() {
    for folder in OURS {
        let sources = sources_below(folder);
        assert!(sources.len() > 3, "the sources are found: {folder}");
        let wide = sources.iter().map(|(path, text)| (path, wide(text)));
        let wide: Vec<_> = wide.filter(|(_, lines)| !lines.is_empty()).collect();
        assert!(wide.is_empty(), "{folder}: {wide:#?}");
    }
}

#[test]
fn a_line_that_is_too_wide_is_seen() {
    let line = |start: &str, columns: usize| format!("{start:é<columns$}\n");
    let picture = format!("/// ```text\n{}/// ```\n", line("///", 101));
    let seen = line("//!", 101);
    assert_eq!(wide(&[line("//!", 100), picture, seen.clone()].concat()), [seen.trim_end()]);
    assert_eq!(wide(&(line("    \"", 101) + &line("//! |", 101))), [""; 0]);
}

/// Where a test that is named as `a::b::c` may stand.
fn places(module: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = module.replace("::", "/");
    ["tests/hostile", "tests/sim", "tests/disk", "tests/store", "tests", "src"]
        .iter()
        .flat_map(|folder| [format!("{folder}/{path}.rs"), format!("{folder}/{path}/mod.rs")])
        .map(|file| root.join(file))
        .collect()
}

#[test]
fn the_tests_that_are_named_as_proofs_are_there() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/proofs.md");
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

/// A call on the way of a message as the page has it: what is called, and the files that its line
/// names, by their paths below `src`.
struct Step<'p> {
    /// `name`, or `Type::name`.
    call: &'p str,
    files: Vec<String>,
}

/// The steps of a drawing. A line has a folder, calls in order, and files of that folder; or a file
/// of the store and calls.
fn steps(drawings: &str) -> Vec<Step<'_>> {
    let is_file = |word: &str| Path::new(word).extension().is_some_and(|of| of == "rs");
    let mut steps = Vec::new();
    for line in drawings.lines() {
        let mut words = line.split_whitespace().map(|word| word.trim_matches([',', ';', ':']));
        let Some(first) = words.next() else { continue };
        let (folder, own) =
            if is_file(first) { ("side/store", Some(first)) } else { (first, None) };
        // Calls have `>` between them; what comes behind the last of them is said about them.
        let mut calls = Vec::from_iter(words.next());
        let mut said = words.peekable();
        while said.next_if_eq(&">").is_some() {
            calls.extend(said.next());
        }
        let files: Vec<String> = own
            .into_iter()
            .chain(said.filter(|word| is_file(word)))
            .map(|file| format!("{folder}/{file}"))
            .collect();
        steps.extend(calls.into_iter().map(|call| Step { call, files: files.clone() }));
    }
    steps
}

/// Whether what a step calls is a function, or a type, of one of its files. What a trait leads to
/// stands in the trait.
fn is_there(step: &Step<'_>, sources: &[(String, String)]) -> bool {
    let (of, name) = step.call.rsplit_once("::").unwrap_or(("", step.call));
    let is_trait = ["Io", "Tell"].contains(&of);
    let is_type = name.starts_with(|c: char| c.is_ascii_uppercase());
    let kind = if is_type { "struct" } else { "fn" };
    let defined = format!("{kind} {name}");
    sources.iter().any(|(path, text)| {
        let is_named = step.files.contains(path) || (is_trait && path.starts_with("link/"));
        let follows = |at: usize| text[at + defined.len()..].starts_with(['(', '<', ' ']);
        is_named && text.match_indices(&defined).any(|(at, _)| follows(at))
    })
}

#[test]
fn the_way_of_a_message_is_as_the_page_has_it() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ARCHITECTURE.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once("\n## A message's way").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let drawings = section.split("```").skip(1).step_by(2);
    let drawings: Vec<&str> = drawings.map(|text| text.trim_start_matches("text")).collect();
    let steps: Vec<Step<'_>> = drawings.iter().flat_map(|text| steps(text)).collect();
    assert!(steps.len() > 50, "the steps are found: {}", steps.len());
    let sources = sources();
    let lost = steps.iter().filter(|step| !is_there(step, &sources));
    let lost: Vec<_> = lost.map(|Step { call, files }| format!("{call}: {files:?}")).collect();
    assert!(lost.is_empty(), "{lost:#?}");
}

#[test]
fn a_step_that_is_not_where_the_page_has_it_is_seen() {
    let sources = [
        ("room/rights.rs".to_owned(), "fn may_send(&self)".to_owned()),
        ("link/io.rs".to_owned(), "fn write(&mut self)".to_owned()),
    ];
    for (line, expected) in [
        ("  room   Room::may_send > Io::write  rights.rs, and more", [true, true].as_slice()),
        ("  room   may > may_send   rights.rs", &[false, true]),
        ("  rooms  may_send         rights.rs", &[false]),
        ("  room   may_send         propose.rs rights", &[false]),
    ] {
        let found: Vec<bool> = steps(line).iter().map(|step| is_there(step, &sources)).collect();
        assert_eq!(found, expected, "{line}");
    }
}

/// The header of a file: its lines of `//!`, as one text.
fn header(text: &str) -> String {
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

/// What stands in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The texts of the files that a name means in a file: a module beside it, or below `src`.
fn named<'s>(sources: &'s [(String, String)], path: &str, name: &str) -> Vec<&'s str> {
    let name = name.trim_start_matches("crate::").replace("::", "/");
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let places =
        [name.clone(), format!("{folder}/{name}"), path.replace(".rs", &format!("/{name}"))];
    let is_meant = |of: &str| {
        places
            .iter()
            .any(|place| of == format!("{place}.rs") || of.starts_with(&format!("{place}/")))
    };
    sources.iter().filter(|(of, _)| is_meant(of)).map(|(_, text)| &**text).collect()
}

/// The names in a header that mean nothing: of callers and of what is called, and paths.
fn stale_names(sources: &[(String, String)], path: &str, text: &str) -> Vec<String> {
    let header = header(text);
    let calls = header.split_once("Called by:").map_or("", |(_, calls)| calls);
    // A link to a type is held by rustdoc.
    let is_module =
        |name: &&str| name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.contains('/');
    let calls = quoted(calls).filter(is_module);
    let is_path = |name: &&str| {
        name.contains("::") && name.chars().all(|c| c.is_ascii_lowercase() || "_:".contains(c))
    };
    let is_known = |name: &&str| {
        let item = name.rsplit_once("::").is_some_and(|(module, item)| {
            let files = named(sources, path, module);
            files.iter().any(|text| text.contains(&format!("fn {item}")))
        });
        item || !named(sources, path, name).is_empty()
    };
    let names = calls.chain(quoted(&header).filter(is_path)).filter(|name| !is_known(name));
    names.map(|name| format!("src/{path}: `{name}` is not there")).collect()
}

#[test]
fn the_modules_that_headers_name_are_there() {
    let sources = sources();
    let stale: Vec<_> =
        sources.iter().flat_map(|(path, text)| stale_names(&sources, path, text)).collect();
    assert!(stale.is_empty(), "{stale:#?}");
    for line in ["See `chat::token`.", "Called by: `house`.", "See `room::history::forget_it`."] {
        let text = format!("//! {line}\n");
        assert_eq!(stale_names(&sources, "room/mod.rs", &text).len(), 1, "{line}");
    }
}

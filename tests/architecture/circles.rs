//! Files of one folder that import each other in a circle.
//!
//! What a file names with `use` or by its path it imports, and a re-export is the file that has it.
//! A module may name what encloses it, as a chapter names its book: an `impl` in `rooms/speech.rs`
//! names `Rooms`.
//!
//! Deliberately absent: methods that are called on a type, tests, and the contract suite.

use std::collections::{BTreeMap, BTreeSet};

use super::sources;

/// Beginnings of paths below `src` in which circles are known, with the reason.
const KNOWN: &[(&str, &str)] = &[
    ("app/cluster_sim/", "a client asks, and the judge judges what was asked"),
    ("side/", "threads, files and connections of one storage know each other; not parted yet"),
    ("wire/http/", "an error has a status, a response answers a head, and a head may be an error"),
    ("wire/ws/", "an error says how it closes, and what closes is a frame"),
];

/// A module, as the names on the way to it.
type Module = Vec<String>;

fn module_of(path: &str) -> Module {
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').map(str::to_owned).collect()
}

/// The code of a file without comments and without its tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The paths that the tree of a `use` names.
fn paths(tree: &str) -> Vec<String> {
    let Some((start, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        return vec![path.split_whitespace().collect()];
    };
    let rest = rest.rsplit_once('}').map_or(rest, |(rest, _)| rest);
    let mut depth = 0;
    let branches = rest.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    let branches = branches.filter(|branch| !branch.trim().is_empty());
    branches.flat_map(|branch| paths(&format!("{start}{branch}"))).collect()
}

/// What a file names: each path, and whether others may name it through this file.
fn named(code: &str) -> Vec<(String, bool)> {
    let mut named = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let before = code[..at].rsplit('\n').next().unwrap_or_default().trim();
        if before.is_empty() || before.starts_with("pub") {
            let tree = code[at + 4..].split(';').next().unwrap_or_default();
            named.extend(paths(tree).into_iter().map(|path| (path, !before.is_empty())));
        }
    }
    let is_of_path = |c: char| c.is_alphanumeric() || "_:".contains(c);
    let words = code
        .split(|c| !is_of_path(c))
        .filter(|word| ["crate::", "super::", "self::"].iter().any(|root| word.starts_with(root)));
    named.extend(words.map(|word| (word.to_owned(), false)));
    named
}

/// The files, by module, with the modules that each imports.
fn imports(sources: &[(String, String)]) -> BTreeMap<Module, BTreeSet<Module>> {
    let is_test = |path: &str| path.contains("tests") || path.contains("contract");
    let files: BTreeMap<Module, Vec<(String, bool)>> = sources
        .iter()
        .filter(|(path, _)| !is_test(path))
        .map(|(path, text)| (module_of(path), named(&code(text))))
        .collect();
    // The module that a path leads to from another one, and the item in it.
    let resolve = |from: &Module, path: &str| -> Option<(Module, String)> {
        let mut names = path.split("::").peekable();
        let mut module = match names.peek().copied()? {
            "crate" => Vec::new(),
            "self" | "super" => from.clone(),
            child if files.contains_key(&[from.as_slice(), &[child.to_owned()]].concat()) => {
                from.clone()
            }
            _ => return None,
        };
        while let Some(root) = names.next_if(|name| ["crate", "self", "super"].contains(name)) {
            if root == "super" {
                module.pop();
            }
        }
        while let Some(name) = names.peek() {
            let inner = [module.as_slice(), &[(*name).to_owned()]].concat();
            if !files.contains_key(&inner) {
                break;
            }
            module = inner;
            names.next();
        }
        files.contains_key(&module).then(|| (module, names.next().unwrap_or_default().to_owned()))
    };
    let own = |module: &Module, item: &str| {
        let passed = files[module].iter().filter(|(_, is_passed)| *is_passed);
        let mut resolved = passed.filter_map(|(path, _)| resolve(module, path));
        resolved.find(|(_, passed)| passed == item).map_or_else(|| module.clone(), |(of, _)| of)
    };
    let of_file = |(module, named): (&Module, &Vec<(String, bool)>)| {
        let resolved = named.iter().filter_map(|(path, _)| resolve(module, path));
        let used = resolved.map(|(of, item)| own(&of, &item)).filter(|of| !module.starts_with(of));
        (module.clone(), used.collect())
    };
    files.iter().map(of_file).collect()
}

/// The files that import themselves over others, by path below `src`.
fn in_circles(sources: &[(String, String)]) -> Vec<String> {
    let imports = imports(sources);
    let is_in_circle = |module: &Module| {
        let mut seen = BTreeSet::new();
        let mut next = vec![module];
        while let Some(from) = next.pop() {
            next.extend(imports[from].iter().filter(|used| seen.insert(*used)));
        }
        seen.contains(module)
    };
    let circles = sources.iter().map(|(path, _)| path).filter(|path| {
        let module = module_of(path);
        imports.contains_key(&module) && is_in_circle(&module)
    });
    circles.cloned().collect()
}

#[test]
fn no_files_of_a_folder_import_each_other_in_a_circle() {
    let circles = in_circles(&sources());
    let is_known = |path: &&String| KNOWN.iter().any(|(start, _)| path.starts_with(start));
    let unknown: Vec<_> = circles.iter().filter(|path| !is_known(path)).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
    for (start, reason) in KNOWN {
        let is_there = circles.iter().any(|path| path.starts_with(start));
        assert!(is_there, "{start}: there is no circle any more: {reason}");
    }
}

#[track_caller]
fn check(files: &[(&str, &str)], expected: &[&str]) {
    let sources: Vec<_> =
        files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    assert_eq!(in_circles(&sources), expected);
}

#[test]
fn a_circle_is_seen_and_a_chapter_may_name_its_book() {
    let (a, b, book) = ("rooms/a.rs", "rooms/b.rs", ("rooms/mod.rs", "mod a;\nuse a::A;"));
    check(&[(a, "use crate::rooms::b::{B, C};"), (b, "fn f(_: super::a::A) {}"), book], &[a, b]);
    check(&[(a, "use crate::rooms::b::B;"), (b, "// use crate::rooms::a::A;"), book], &[]);
    check(&[(a, "use super::Rooms;"), book], &[]);
    let passes = ("rooms/mod.rs", "pub use a::A;\npub(super) use b::{\n    B as C,\n    D,\n};");
    check(&[(a, "use super::D;"), (b, "use crate::{\n    rooms::{A},\n};"), passes], &[a, b]);
}

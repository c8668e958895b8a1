//! `docs/conformance.md` and the sources name the same sections of RFCs.
//!
//! A comment names one as `RFC 6455, 5.5.2`, also across two lines, and several as `5.5.2 and
//! 5.5.3`. A row of the page that names files is obeyed there; any other says why it is not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A section: the RFC's number, and `5.5.2`.
type Section = (u32, String);

/// The sections that the comments of a source name.
fn named(source: &str) -> BTreeSet<Section> {
    let comments = source.lines().filter_map(|line| line.split_once("//"));
    let comments: Vec<_> =
        comments.map(|(_, comment)| comment.trim_start_matches(['/', '!']).trim()).collect();
    let text = comments.join(" ");
    text.match_indices("RFC ").flat_map(|(at, _)| sections(&text[at..])).collect()
}

/// The sections of a text that begins with `RFC NNNN, X.Y`; none if it begins otherwise.
fn sections(text: &str) -> Vec<Section> {
    let mut sections = Vec::new();
    let Some(rest) = text.strip_prefix("RFC ") else { return sections };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (number, mut rest) = rest.split_at(digits);
    while let Some(after) = rest.strip_prefix(if sections.is_empty() { ", " } else { " and " }) {
        let end = after.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(after.len());
        let section = after[..end].trim_end_matches('.');
        if section.is_empty() {
            break;
        }
        sections.push((number.parse().expect("the number of an RFC"), section.to_owned()));
        rest = &after[section.len()..];
    }
    sections
}

/// All files below a folder of sources, by their path there.
fn sources(folder: &Path, prefix: &str, into: &mut BTreeMap<String, BTreeSet<Section>>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        if path.is_dir() {
            sources(&path, &format!("{prefix}{name}/"), into);
        } else if name.ends_with(".rs") {
            let source = fs::read_to_string(&path).expect("sources are text");
            into.insert(format!("{prefix}{name}"), named(&source));
        }
    }
}

/// The rows of the page: a section, and the files in which it is obeyed.
fn rows(page: &str) -> Vec<(Section, Vec<String>)> {
    let mut rows = Vec::new();
    let mut rfc = "";
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            rfc = heading.split_once(':').map_or("", |(rfc, _)| rfc);
        }
        let row = line.strip_prefix("| ").and_then(|row| row.strip_suffix(" |"));
        let cells: Vec<_> = row.unwrap_or_default().split(" | ").collect();
        let [section, _, place] = cells[..] else { continue };
        let whole = if rfc.is_empty() { section.to_owned() } else { format!("{rfc}, {section}") };
        // Every second part stands in backquotes.
        let files = place.split('`').skip(1).step_by(2);
        let files = files.filter(|name| name.rsplit_once('.').is_some_and(|(_, end)| end == "rs"));
        for section in sections(&whole) {
            rows.push((section, files.clone().map(str::to_owned).collect()));
        }
    }
    rows
}

/// What is wrong with a page, for these sources.
fn faults(page: &str, sources: &BTreeMap<String, BTreeSet<Section>>) -> Vec<String> {
    let rows = rows(page);
    let mut faults = Vec::new();
    for (file, named) in sources {
        for section in named {
            if !rows.iter().any(|(told, _)| told == section) {
                faults.push(format!("src/{file} names {section:?}, and the page does not"));
            }
        }
    }
    for (section, files) in &rows {
        for file in files {
            if !sources.get(file).is_some_and(|named| named.contains(section)) {
                faults.push(format!("{section:?} is obeyed in src/{file}, which does not name it"));
            }
        }
    }
    faults
}

#[test]
fn the_page_and_the_sources_name_the_same_sections() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/conformance.md")).expect("the page");
    let mut all = BTreeMap::new();
    sources(&root.join("src"), "", &mut all);
    assert!(all.len() > 40, "the sources are found: {}", all.len());
    assert!(rows(&page).len() > 60, "the rows are found: {}", rows(&page).len());
    let faults = faults(&page, &all);
    assert!(faults.is_empty(), "{faults:#?}");
}

#[track_caller]
fn check_named(source: &str, expected: &[(u32, &str)]) {
    let expected: BTreeSet<_> =
        expected.iter().map(|(rfc, section)| (*rfc, (*section).to_owned())).collect();
    assert_eq!(named(source), expected, "{source}");
}

#[test]
fn sections_are_found_however_a_comment_names_them() {
    check_named("// RFC 6455, 5.5.2.", &[(6455, "5.5.2")]);
    check_named("/// It is (RFC 9110, 5.6.7 and 6.6.1): so.", &[(9110, "5.6.7"), (9110, "6.6.1")]);
    check_named("//! no length (RFC\n    //! 9110, 8.6).", &[(9110, "8.6")]);
    check_named("/// of a server (RFC 6455,\n/// 5.2)", &[(6455, "5.2")]);
    check_named("f(); // RFC 7518, 3.1; RFC 8037, 3.1", &[(7518, "3.1"), (8037, "3.1")]);
    check_named("// RFC 6454, and RFC 9112, 6 and nothing", &[(9112, "6")]);
    check_named("// RFC 9110 and 9112, RFC 8032's first test\nlet RFC = 1;", &[]);
}

#[test]
fn what_one_names_and_the_other_does_not_is_seen() {
    let page = "## RFC 6455: x\n| 5.1 | a | `a.rs` |\n| 5.2 | b | because |\n\n## Others\n\
        | RFC 8259, 7 | c | `b.rs`, `c.rs` |\n";
    let check = |sources: &[(&str, &str)], expected: usize| {
        let sources = sources.iter().map(|(file, text)| ((*file).to_owned(), named(text)));
        let faults = faults(page, &sources.collect());
        assert_eq!(faults.len(), expected, "{faults:?}");
    };
    let (a, b, c) =
        (("a.rs", "// RFC 6455, 5.1"), ("b.rs", "// RFC 8259, 7"), ("c.rs", "// RFC 8259, 7"));
    check(&[a, b, c], 0);
    check(&[a, b, c, ("d.rs", "// RFC 6455, 5.2")], 0);
    check(&[a, b, c, ("d.rs", "// RFC 6455, 5.3")], 1);
    check(&[a, b, c, ("d.rs", "// RFC 8259, 5.1")], 1);
    check(&[a, b, ("c.rs", "")], 1);
    check(&[("a.rs", "// RFC 6455, 5.2"), b], 2);
}

//! Links within the pages lead somewhere: to a file that is there, and to a heading in it. And each
//! page can be found from the table of contents.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::{blocks, root};

/// Where the links of a page lead: all `](target)` but those of code, and those to other sites.
fn links(page: &str) -> Vec<String> {
    let text: String = blocks::parts(page).into_iter().step_by(2).collect();
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).filter(|target| !target.contains("://")).collect()
}

/// The anchors of a page, as GitHub makes them of its headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for line in blocks::prose(page).filter(|line| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let anchor = heading.chars().filter(kept).collect::<String>().replace(' ', "-");
        let again = (1..).map(|number| format!("{anchor}-{number}"));
        let free = std::iter::once(anchor.clone()).chain(again).find(|one| !anchors.contains(one));
        anchors.extend(free);
    }
    anchors
}

/// What is wrong with a link that stands in a page of this folder.
fn fault(folder: &Path, own: &str, target: &str) -> Option<String> {
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let file = folder.join(path);
    if !path.is_empty() && !file.exists() {
        return Some(format!("{target}: there is no such file"));
    }
    if anchor.is_empty() {
        return None;
    }
    let page = if path.is_empty() { own.to_owned() } else { fs::read_to_string(file).ok()? };
    (!anchors(&page).contains(anchor)).then(|| format!("{target}: there is no such heading"))
}

#[test]
fn every_link_within_the_pages_leads_somewhere() {
    let mut count = 0;
    let mut faults = Vec::new();
    for path in blocks::pages(root()) {
        let page = fs::read_to_string(&path).expect("pages are text");
        let folder = path.parent().expect("a file is in a folder");
        for target in links(&page) {
            count += 1;
            let fault = fault(folder, &page, &target);
            faults.extend(fault.map(|fault| format!("{}: {fault}", path.display())));
        }
    }
    assert!(count > 50, "the links are found: {count}");
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_table_of_contents_has_every_page() {
    let contents = fs::read_to_string(root().join("docs/README.md")).unwrap();
    let linked: BTreeSet<String> = links(&contents).into_iter().collect();
    let docs = root().join("docs");
    let paths = blocks::pages(root());
    let names: Vec<_> = paths.iter().filter_map(|path| path.strip_prefix(&docs).ok()).collect();
    assert!(names.len() > 8, "the pages are found");
    for name in names {
        let name = name.to_string_lossy();
        assert!(name == "README.md" || linked.contains(&*name), "{name} is not in docs/README.md");
    }
}

#[test]
fn a_link_that_leads_nowhere_is_seen() {
    let page = "# A page\n\nSee [below](#b-c) or\n[that](style.md#files). `[no](x.md)`\n\n```md\n[no](y.md)\n# No\n```\n## B, `c`\n";
    assert_eq!(links(page), ["#b-c", "style.md#files"]);
    assert_eq!(anchors(page), BTreeSet::from(["a-page".to_owned(), "b-c".to_owned()]));
    let twice = anchors("## On\n## On\n");
    assert_eq!(twice, BTreeSet::from(["on".to_owned(), "on-1".to_owned()]));
    let docs = root().join("docs");
    for (target, expected) in [
        ("style.md", None),
        ("style.md#files", None),
        ("#b-c", None),
        ("../README.md", None),
        ("deploy", None),
        ("#b-d", Some("no such heading")),
        ("style.md#cellars", Some("no such heading")),
        ("cellar.md", Some("no such file")),
        ("README.md/style.md", Some("no such file")),
    ] {
        let fault = fault(&docs, page, target);
        let is_as_expected = fault.as_deref().map(|fault| fault.split_once("there is ").unwrap().1);
        assert_eq!(is_as_expected, expected, "{target}");
    }
}

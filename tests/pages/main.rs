//! The pages, README among them: links lead somewhere, blocks of code are what they say they are,
//! sentences are short, and nothing is left to be filled in.

mod blocks;
mod code;
mod links;
mod sentences;

use std::fs;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn nothing_in_the_pages_is_left_to_be_filled_in() {
    let mut left = Vec::new();
    for path in blocks::pages(root()) {
        let page = fs::read_to_string(&path).expect("pages are text");
        let lines = (1..).zip(page.lines()).filter(|(_, line)| line.contains("TODO"));
        left.extend(lines.map(|(number, line)| format!("{}:{number}: {line}", path.display())));
    }
    assert!(left.is_empty(), "{left:#?}");
}

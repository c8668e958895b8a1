//! No sentence of the pages is too long to be read at once.

use std::fs;

use crate::{blocks, root};

/// The most words of a sentence. Those that stand in code are not counted.
const WORDS_MAX: usize = 25;

/// What is read as one: a heading, a paragraph, an item of a list, or a cell of a table.
fn passages(page: &str) -> Vec<String> {
    let mut passages = vec![String::new()];
    for line in blocks::prose(page) {
        let line = line.trim();
        if line.starts_with('|') {
            passages.extend(cells(line));
            passages.push(String::new());
            continue;
        }
        let number = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let is_item = ["- ", "* "].iter().any(|mark| line.starts_with(mark))
            || number.len() < line.len() && number.starts_with(". ");
        let is_heading = line.starts_with('#');
        if line.is_empty() || is_heading || is_item {
            passages.push(String::new());
        }
        let passage = passages.last_mut().expect("there is one");
        passage.push_str(line);
        passage.push(' ');
        if is_heading {
            passages.push(String::new());
        }
    }
    passages
}

/// The cells of a table's row. A bar in code, or behind a backslash, is part of its cell.
fn cells(row: &str) -> Vec<String> {
    let (mut cells, mut is_code, mut is_escaped) = (vec![String::new()], false, false);
    for c in row.chars() {
        is_code ^= c == '`';
        if c == '|' && !is_code && !is_escaped {
            cells.push(String::new());
        } else {
            cells.last_mut().expect("there is one").push(c);
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    cells
}

/// The sentences of a passage that are too long, without what stands in code.
fn long_ones(passage: &str) -> Vec<String> {
    // What stands in code is every second part: backquotes come in pairs within a passage.
    let text: String = passage.split('`').step_by(2).collect();
    let mut sentences = vec![Vec::new()];
    for word in text.split_whitespace() {
        sentences.last_mut().expect("there is one").push(word);
        if word.trim_end_matches(['*', '_', ')', '"']).ends_with(['.', '!', '?']) {
            sentences.push(Vec::new());
        }
    }
    // What has neither a letter nor a digit is no word.
    let is_word = |word: &&&str| word.contains(char::is_alphanumeric);
    let is_long = |words: &Vec<&str>| words.iter().filter(is_word).count() > WORDS_MAX;
    sentences.iter().filter(|words| is_long(words)).map(|words| words.join(" ")).collect()
}

#[test]
fn no_sentence_of_the_pages_is_too_long_to_be_read_at_once() {
    let mut long = Vec::new();
    for path in blocks::pages(root()) {
        let page = fs::read_to_string(&path).expect("pages are text");
        let of_page =
            passages(&page).iter().flat_map(|passage| long_ones(passage)).collect::<Vec<_>>();
        long.extend(of_page.into_iter().map(|text| format!("{}: {text}", path.display())));
    }
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn sentences_end_where_they_do() {
    let words = |count: usize| vec!["word"; count].join(" ");
    for short in [
        format!("{}.", words(25)),
        format!("**{}.** {}.", words(20), words(20)),
        format!("{}\n- {}\n12. {}", words(20), words(20), words(20)),
        format!("| {} | {} |\n| {} |", words(20), words(20), words(20)),
        format!("| `a|{}` | {} |", words(30), words(20)),
        format!("# {}\n{}", words(20), words(20)),
        format!("{} `{}`.", words(25), words(25)),
    ] {
        let long: Vec<_> = passages(&short).iter().flat_map(|passage| long_ones(passage)).collect();
        assert!(long.is_empty(), "{long:?}");
    }
    for long in [
        format!("{}.", words(26)),
        format!("{},\n{}", words(13), words(13)),
        format!("| `a|b` {} | c |", words(26)),
        format!("| {} \\| {} |", words(13), words(13)),
    ] {
        let passages = passages(&long);
        assert_eq!(
            passages.iter().map(|passage| long_ones(passage).len()).sum::<usize>(),
            1,
            "{long}"
        );
    }
}

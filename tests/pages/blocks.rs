//! The blocks of code in the pages, and the commands in those for a shell.
//!
//! What it does not model of a shell: variables, loops, and what stands in `$(...)`, which is part
//! of a word.

use std::fs;
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::str::Chars;

/// A block of code.
pub(crate) struct Block {
    /// Where it is: the page, and the number of its first line.
    pub(crate) at: String,
    /// What it says that it is; empty, if it says nothing.
    pub(crate) language: String,
    /// Its lines, without the indent of a list.
    pub(crate) text: String,
}

/// README and all pages below `docs`.
pub(crate) fn pages(root: &Path) -> Vec<PathBuf> {
    fn below(folder: &Path, pages: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder of pages") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                below(&path, pages);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    let mut pages = vec![root.join("README.md")];
    below(&root.join("docs"), &mut pages);
    pages
}

/// All blocks of all pages.
pub(crate) fn all(root: &Path) -> Vec<Block> {
    let blocks = pages(root).into_iter().flat_map(|path| {
        let page = fs::read_to_string(&path).expect("pages are text");
        of(&path.strip_prefix(root).expect("below it").display().to_string(), &page)
    });
    blocks.collect()
}

/// The blocks of a page.
pub(crate) fn of(name: &str, page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for (number, line) in (1..).zip(lines(page)) {
        match line {
            Line::Begin(language) => {
                let (at, language) = (format!("{name}:{}", number + 1), language.to_owned());
                blocks.push(Block { at, language, text: String::new() });
            }
            Line::Code(code) => {
                let text = &mut blocks.last_mut().expect("it has begun").text;
                text.push_str(code);
                text.push('\n');
            }
            Line::Prose(_) | Line::End => {}
        }
    }
    blocks
}

/// The lines of a page that are in no block.
pub(crate) fn prose(page: &str) -> impl Iterator<Item = &str> {
    lines(page).filter_map(|line| match line {
        Line::Prose(text) => Some(text),
        Line::Begin(_) | Line::Code(_) | Line::End => None,
    })
}

/// The prose of a page in parts, of which every second one stands in backquotes.
pub(crate) fn parts(page: &str) -> Vec<String> {
    // A part may go on in the next line.
    let text = prose(page).collect::<Vec<_>>().join(" ");
    text.split('`').map(str::to_owned).collect()
}

/// What a line of a page is.
enum Line<'a> {
    Prose(&'a str),
    /// The fence before a block, with what the block says that it is.
    Begin(&'a str),
    /// Without the indent of the fence.
    Code(&'a str),
    End,
}

fn lines(page: &str) -> impl Iterator<Item = Line<'_>> {
    let mut indent = None;
    page.lines().map(move |line| {
        let text = line.trim_start();
        match (indent, text.strip_prefix("```")) {
            (None, None) => Line::Prose(line),
            (None, Some(language)) => {
                indent = Some(line.len() - text.len());
                Line::Begin(language)
            }
            (Some(indent), None) => Line::Code(line.get(indent..).unwrap_or_default()),
            (Some(_), Some(_)) => {
                indent = None;
                Line::End
            }
        }
    })
}

/// The commands of a program in a block for a shell, each as its words, the program first: without
/// comments, the variables that are set for it, and where its output goes.
pub(crate) fn commands(text: &str, program: &str) -> Vec<Vec<String>> {
    let mut shell = Shell { rest: text.chars().peekable(), ..Shell::default() };
    shell.read();
    let is_its = |words: &Vec<String>| {
        words.first().is_some_and(|first| first.rsplit('/').next() == Some(program))
    };
    shell.commands.into_iter().filter(is_its).collect()
}

/// Reads words as a shell does.
struct Shell<'a> {
    rest: Peekable<Chars<'a>>,
    word: Option<String>,
    /// Whether the word is where output goes, or input comes from.
    is_file: bool,
    words: Vec<String>,
    commands: Vec<Vec<String>>,
}

impl Default for Shell<'_> {
    fn default() -> Self {
        let (word, words, commands) = (None, Vec::new(), Vec::new());
        Self { rest: "".chars().peekable(), word, is_file: false, words, commands }
    }
}

impl Shell<'_> {
    fn read(&mut self) {
        while let Some(c) = self.rest.next() {
            match c {
                '\\' => match self.rest.next() {
                    // A line that goes on.
                    Some('\n') | None => {}
                    Some(c) => self.push(c),
                },
                '\'' | '"' => {
                    self.word.get_or_insert_default();
                    let quoted: String = self.rest.by_ref().take_while(|of| *of != c).collect();
                    quoted.chars().for_each(|c| self.push(c));
                }
                '$' if self.rest.peek() == Some(&'(') => self.substitution(),
                '#' if self.word.is_none() => {
                    self.rest.by_ref().find(|c| *c == '\n');
                    self.end_command();
                }
                '>' | '<' => {
                    // Which of its files it is.
                    self.word.take_if(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
                    self.end_word();
                    self.is_file = true;
                    while self.rest.next_if(|c| matches!(c, '>' | '&')).is_some() {}
                }
                '\n' | ';' | '&' | '|' => self.end_command(),
                c if c.is_whitespace() => self.end_word(),
                c => self.push(c),
            }
        }
        self.end_command();
    }

    fn push(&mut self, c: char) {
        self.word.get_or_insert_default().push(c);
    }

    fn substitution(&mut self) {
        self.push('$');
        let mut depth = 0;
        while let Some(c) = self.rest.next() {
            self.push(c);
            depth += i32::from(c == '(') - i32::from(c == ')');
            if depth == 0 {
                return;
            }
        }
    }

    fn end_word(&mut self) {
        let Some(word) = self.word.take() else { return };
        let is_variable = |name: &str| name.bytes().all(|c| c.is_ascii_uppercase() || c == b'_');
        let is_set = self.words.is_empty()
            && word.split_once('=').is_some_and(|(name, _)| is_variable(name));
        if !std::mem::take(&mut self.is_file) && !is_set {
            self.words.push(word);
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        let words = std::mem::take(&mut self.words);
        if !words.is_empty() {
            self.commands.push(words);
        }
    }
}

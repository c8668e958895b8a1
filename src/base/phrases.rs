//! Phrases that are looked for in a text, all at once.
//!
//! ```text
//!   lines ── parse ── Phrases ── is_any_in(text) ── is there one that is no part of a longer word?
//! ```
//!
//! Both are folded in the same way: each character is lower-cased on its own, whatever stands
//! beside it, and white space of any kind and length is one space. So `ß` is not `ss`, `ς` is not
//! `σ`, and what is written as one character is not what is written as two.
//!
//! An end of a phrase that is a letter or a digit has none beside it in the text. Beside another
//! end, as of an emoji, anything may stand. An underscore is no letter: it is how a word is marked.
//!
//! A text is walked once, character by character, with no memory but the stack. What a match began
//! behind is remembered for as many bytes as a phrase may have.
//!
//! Deliberately absent: where lines and texts come from. In scripts that put no space between words
//! a phrase is found only where a whole run of letters is it.

use std::fmt;

use aho_corasick::Anchored;
use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::nfa::contiguous::NFA;

use crate::limits::{PHRASE_BYTES_MAX, PHRASES_BYTES_MAX, PHRASES_MAX};

/// What begins a line that is no phrase.
const COMMENT: char = '#';

/// Some programs begin a file with it.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// So many faults are told: a file of something else has one in each line.
const FAULTS_TOLD: usize = 10;

/// Phrases, ready to be looked for. See the module.
pub struct Phrases {
    automaton: NFA,
    /// Its state before a text.
    start: StateID,
    /// Of each phrase, in the order of the automaton.
    ends: Box<[Ends]>,
}

/// Which ends of a phrase must be those of a word.
#[derive(Clone, Copy)]
struct Ends {
    first: bool,
    last: bool,
}

/// Why lines are no phrases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, counted from 1. `None`: all of them.
    pub line: Option<usize>,
    /// What is wrong, for people.
    pub reason: String,
}

impl Phrases {
    /// The phrases of a text, one a line. Empty lines and those that begin with `#` are none.
    /// `None` if there is not one.
    ///
    /// # Errors
    ///
    /// With what is wrong, the first ten of it.
    pub fn parse(text: &str) -> Result<Option<Self>, Vec<Fault>> {
        if text.len() > PHRASES_BYTES_MAX {
            let reason = format!("has {} bytes, and may have {PHRASES_BYTES_MAX}", text.len());
            return Err(vec![Fault { line: None, reason }]);
        }
        let (mut phrases, mut faults) = (Vec::new(), Vec::new());
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with(COMMENT) {
                continue;
            }
            let phrase: String = folded(line).collect();
            let reason = if phrase.chars().any(char::is_control) {
                "has a control character".to_owned()
            } else if phrase.len() > PHRASE_BYTES_MAX {
                format!("has {} bytes, and may have {PHRASE_BYTES_MAX}", phrase.len())
            } else if phrases.len() == PHRASES_MAX {
                format!("is one phrase more than the {PHRASES_MAX} that there may be")
            } else {
                phrases.push(phrase);
                continue;
            };
            faults.push(Fault { line: Some(number), reason });
            if faults.len() == FAULTS_TOLD || phrases.len() == PHRASES_MAX {
                break;
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok((!phrases.is_empty()).then(|| Self::new(&phrases)))
    }

    fn new(phrases: &[String]) -> Self {
        // A text is walked a byte at a time: what skips bytes is not used.
        let automaton = NFA::builder().prefilter(false).build(phrases);
        let automaton = automaton.expect("phrases of so few bytes have few states");
        let start = automaton.start_state(Anchored::No).expect("it searches from anywhere");
        let ends = |phrase: &String| Ends {
            first: phrase.chars().next().is_some_and(is_of_word),
            last: phrase.chars().next_back().is_some_and(is_of_word),
        };
        Self { automaton, start, ends: phrases.iter().map(ends).collect() }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// The memory that they take, in bytes, roughly.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.automaton.memory_usage() + size_of_val(&*self.ends)
    }

    /// Whether one of them is in a text. Allocates nothing.
    #[must_use]
    pub fn is_any_in(&self, text: &str) -> bool {
        let mut state = self.start;
        // Of each folded character that a phrase may have begun with, by its first byte: whether it
        // follows one of a word. Older ones are written over.
        let mut follows_word = [false; PHRASE_BYTES_MAX];
        let mut was_of_word = false;
        let mut walked_bytes = 0;
        let mut characters = folded(text).peekable();
        while let Some(character) = characters.next() {
            follows_word[walked_bytes % PHRASE_BYTES_MAX] = was_of_word;
            was_of_word = is_of_word(character);
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                state = self.automaton.next_state(Anchored::No, state, byte);
            }
            walked_bytes += character.len_utf8();
            if !self.automaton.is_match(state) {
                continue;
            }
            let is_word_next = characters.peek().copied().is_some_and(is_of_word);
            for index in 0..self.automaton.match_len(state) {
                let phrase = self.automaton.match_pattern(state, index);
                let began_at = walked_bytes - self.automaton.pattern_len(phrase);
                let Ends { first, last } = self.ends[phrase.as_usize()];
                let is_part =
                    first && follows_word[began_at % PHRASE_BYTES_MAX] || last && is_word_next;
                if !is_part {
                    return true;
                }
            }
        }
        false
    }
}

impl fmt::Debug for Phrases {
    /// Without the phrases: there may be ten thousand.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Phrases").field("count", &self.count()).finish_non_exhaustive()
    }
}

/// A text as it is compared.
fn folded(text: &str) -> impl Iterator<Item = char> {
    let mut was_space = false;
    text.chars().flat_map(char::to_lowercase).filter_map(move |character| {
        let is_space = character.is_whitespace();
        let is_more_space = std::mem::replace(&mut was_space, is_space) && is_space;
        (!is_more_space).then_some(if is_space { ' ' } else { character })
    })
}

/// Whether a folded character is one of a word: a letter, a digit, or an accent on either.
fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '\u{300}'..='\u{36f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(phrases: &str, texts: &[(&str, bool)]) {
        let phrases = Phrases::parse(phrases).expect("good").expect("some");
        for (text, is_in) in texts {
            assert_eq!(phrases.is_any_in(text), *is_in, "{text:?}");
            // What stands around a word, and is of none, changes nothing.
            for around in [" ", ", ", "\n", "_", "«", "😀", "\u{3000}"] {
                let text = format!("{around}{text}{around}");
                assert_eq!(phrases.is_any_in(&text), *is_in, "{text:?}");
            }
            for letters in ["x", "7", "ü", "я", "\u{301}"] {
                let text = format!("{letters} {text} {letters}");
                assert_eq!(phrases.is_any_in(&text), *is_in, "{text:?}");
            }
        }
    }

    #[track_caller]
    fn check_faults(text: &str, expected: &[(Option<usize>, &str)]) {
        let faults = Phrases::parse(text).expect_err("it is bad");
        let faults: Vec<_> = faults.iter().map(|fault| (fault.line, &*fault.reason)).collect();
        assert_eq!(faults, expected);
    }

    #[test]
    fn a_phrase_is_found_wherever_it_stands_and_not_within_a_word() {
        check(
            "cat\ndog",
            &[
                ("cat", true),
                ("the cat sat", true),
                ("the cat", true),
                ("dog, cat", true),
                ("a dog!", true),
                ("cat's", true),
                ("_cat_", true),
                ("concat", false),
                ("cats", false),
                ("cat9", false),
                ("9cat", false),
                ("cat\u{301}", false),
                ("catdog", false),
                ("concat, cats, cat", true),
                ("ca t", false),
                ("", false),
                ("ca", false),
            ],
        );
    }

    #[test]
    fn upper_and_lower_case_are_one_in_any_script() {
        check(
            "Käse\nпРИВЕТ\nΣας\nİz",
            &[
                ("KÄSE", true),
                ("käse", true),
                ("Kase", false),
                ("käsebrot", false),
                ("ükäse", false),
                ("Привет", true),
                ("приветы", false),
                ("ΣΑς", true),
                // A sigma at an end is not told from others: this is another word.
                ("ΣΑΣ", false),
                ("İZ", true),
                ("iz", false),
            ],
        );
        check("straße", &[("STRAßE", true), ("STRASSE", false)]);
    }

    #[test]
    fn a_phrase_may_have_spaces_and_these_are_of_any_kind_and_length() {
        check(
            "  buy  now \nfree\tmoney",
            &[
                ("Buy now!", true),
                ("buy \u{a0}\r\n\u{2003} now", true),
                ("free money", true),
                ("buynow", false),
                ("buy nows", false),
                ("buy, now", false),
                ("rebuy now", false),
            ],
        );
    }

    #[test]
    fn phrases_that_overlap_are_each_looked_for() {
        check("cat\nconcat", &[("concat", true), ("cat", true), ("aconcat", false)]);
        check("a b\nb c d\nc", &[("a bb c d", true), ("xa b c d", true), ("a bx", false)]);
        // The longer one is part of a word, and the shorter one in it is not.
        check("red hot\nhot", &[("bored hot", true), ("red hots", false)]);
        check("hot dog\nhot", &[("hot dogs", true), ("shot dogs", false)]);
        check("aa", &[("aaa", false), ("aaa aa", true)]);
    }

    #[test]
    fn beside_an_end_that_is_no_letter_anything_may_stand() {
        check(
            "🖕\nc++\n$$",
            &[("nice🖕one", true), ("c++x", true), ("xc++", false), ("a$$b", true)],
        );
    }

    #[test]
    fn the_longest_phrase_is_found_behind_a_long_text() {
        let longest = "é".repeat(PHRASE_BYTES_MAX / 2);
        for before_bytes in
            [0, 1, 200, PHRASE_BYTES_MAX - 1, PHRASE_BYTES_MAX, 5 * PHRASE_BYTES_MAX + 3]
        {
            let before = " ".to_owned() + &"x".repeat(before_bytes);
            check(
                &longest,
                &[
                    (&format!("{before} {longest}"), true),
                    (&format!("{before}{longest}"), before_bytes == 0),
                    (&format!("{before} {longest}x"), false),
                ],
            );
        }
    }

    #[test]
    fn lines_are_phrases_but_for_empty_ones_and_comments() {
        let of = |text| Phrases::parse(text).expect("good").map_or(0, |phrases| phrases.count());
        assert_eq!(of("\u{feff}# these\r\n\r\ncat\r\n \t\n  # and\ndog"), 2);
        for none in ["", "\n\n", "# cat", "\u{feff}# cat\n"] {
            assert_eq!(of(none), 0, "{none:?}");
        }
        check("\u{feff}cat\r\ndog\r\n", &[("cat", true), ("dog", true), ("bird", false)]);
    }

    #[test]
    fn what_is_no_phrase_is_said_by_its_line() {
        let long = "x".repeat(PHRASE_BYTES_MAX + 1);
        let text = format!("cat\n\nd\u{0}g\n{long}\n");
        let too_long = "has 257 bytes, and may have 256";
        check_faults(&text, &[(Some(3), "has a control character"), (Some(4), too_long)]);
        let faults = Phrases::parse(&"\u{1}\n".repeat(100)).expect_err("all are bad");
        assert_eq!((faults.len(), faults[9].line), (FAULTS_TOLD, Some(10)));
        let most = "a\n".repeat(PHRASES_MAX);
        assert_eq!(Phrases::parse(&most).expect("good").expect("some").count(), PHRASES_MAX);
        let one_more = "is one phrase more than the 10000 that there may be";
        check_faults(&format!("# a\n{most}b\nc\n"), &[(Some(PHRASES_MAX + 2), one_more)]);
        let large = "#".repeat(PHRASES_BYTES_MAX + 1);
        check_faults(&large, &[(None, "has 262145 bytes, and may have 262144")]);
    }

    #[test]
    fn the_most_phrases_take_a_bounded_memory() {
        let bytes_each = PHRASES_BYTES_MAX / PHRASES_MAX - 1;
        let line = |number: usize| format!("{number:05}").repeat(9)[..bytes_each].to_owned() + "\n";
        let text: String = (0..PHRASES_MAX).map(line).collect();
        let phrases = Phrases::parse(&text).expect("good").expect("some");
        assert!(phrases.memory_bytes() < 16 * PHRASES_BYTES_MAX, "{}", phrases.memory_bytes());
        assert_eq!(format!("{phrases:?}"), "Phrases { count: 10000, .. }");
    }
}

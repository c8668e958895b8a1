//! The words of a text, as they are looked for: a word is a run of letters and digits, and upper
//! case is lower case.
//!
//! Deliberately absent: accents, which are part of a word here.

/// The words of a text, in order.
pub fn words(text: &str) -> impl Iterator<Item = String> {
    let runs = text.split(|c: char| !c.is_alphanumeric());
    runs.filter(|run| !run.is_empty()).map(str::to_lowercase)
}

//! What is not compared byte for byte: a case says so by a placeholder.
//!
//! | placeholder | stands for | why |
//! |---|---|---|
//! | `<joined>` | the response to a join, any JSON | it is the application's |
//! | `<joined escaped>` | the same, as JSON within a string of JSON | |
//! | `<message>` | the payload of `new_msg`, any JSON | it is the application's |
//! | `<receipt>` | the response to `new_msg`, any JSON | it is the application's |
//! | `<meta NAME>` | a presence meta: an object with a `phx_ref` of 16 characters | the rest of it is the application's |
//! | `<session NAME>` | a token of long polling, without its quotes | it is opaque |
//!
//! The same NAME stands for the same `phx_ref` or token wherever it comes, and another NAME for
//! another. That of a session changes with each answer that has messages: its NAME is the latest.

use std::collections::BTreeMap;

use serde_json::Value;

/// What the placeholders with a name have stood for so far.
#[derive(Default)]
pub(crate) struct Bindings(BTreeMap<String, String>);

impl Bindings {
    /// Compares what came with what was to come.
    pub(crate) fn compare(&mut self, expected: &str, seen: &str) -> Result<(), String> {
        self.try_compare(expected, seen)
            .map_err(|why| format!("{why}\n  expected {expected}\n  but saw  {seen}"))
    }

    /// Puts in what has been bound.
    pub(crate) fn fill(&self, text: &str) -> String {
        self.0
            .iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("<{name}>"), value))
    }

    fn try_compare(&mut self, mut expected: &str, mut seen: &str) -> Result<(), String> {
        while let Some((name, before, after)) = next_placeholder(expected) {
            seen = seen.strip_prefix(before).ok_or("other bytes")?;
            seen = match name.split_once(' ') {
                None => after_json(seen)?.1,
                Some(("joined", _)) => {
                    let literal = next_placeholder(after).map_or(after, |(_, literal, _)| literal);
                    &seen[seen.find(literal).ok_or("other bytes")?..]
                }
                Some(("meta", _)) => {
                    let (value, rest) = after_json(seen)?;
                    let reference =
                        value["phx_ref"].as_str().filter(|reference| reference.len() == 16);
                    self.bind(name, reference.ok_or("a meta without a phx_ref of 16 characters")?)?;
                    rest
                }
                Some(("session", _)) => {
                    let (token, _) = seen.split_once('"').ok_or("a token that does not end")?;
                    self.0.remove(name);
                    self.bind(name, token)?;
                    &seen[token.len()..]
                }
                Some(_) => unreachable!("next_placeholder knows them all"),
            };
            expected = after;
        }
        if expected == seen { Ok(()) } else { Err("other bytes".into()) }
    }

    fn bind(&mut self, name: &str, value: &str) -> Result<(), String> {
        if let Some((other, _)) =
            self.0.iter().find(|(other, known)| *known == value && *other != name)
        {
            return Err(format!("{name} is the same as {other}"));
        }
        let known = self.0.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        if known == value { Ok(()) } else { Err(format!("{name} was {known}, and is {value} now")) }
    }
}

/// The next placeholder's name, and what is before and after it.
fn next_placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let known = |name: &str| {
        matches!(name, "joined" | "joined escaped" | "message" | "receipt")
            || name.starts_with("meta ")
            || name.starts_with("session ")
    };
    text.match_indices('<').find_map(|(at, _)| {
        let (name, after) = text[at + 1..].split_once('>')?;
        known(name).then_some((name, &text[..at], after))
    })
}

/// Reads one JSON value.
fn after_json(text: &str) -> Result<(Value, &str), String> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter();
    let value = values.next().and_then(Result::ok).ok_or("no JSON where a placeholder stands")?;
    let end = values.byte_offset();
    Ok((value, &text[end..]))
}

//! JSON as the server needs it: checked once as a whole, then walked as spans of the original text.
//!
//! A chat server forwards payloads; it must know that they are valid, look at a few fields, and
//! pass the rest on byte for byte. A parsed tree loses the bytes. So [`Checker`] lets `simd-json`
//! judge a copy of the text, and the rest of this module walks text *that has been judged valid*:
//! it finds where values begin and end, and never has to report an error of its own.
//!
//! Two things can be wrong with a text. It is no JSON at all, or it is well-formed and has more in
//! it than is passed on to others ([`Excess`]). The second can still be walked.
//!
//! Deliberately absent: numbers beyond `u64`, and writing of anything but strings, integers and
//! arrays.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use crate::base::word;
use crate::limits::JSON_DEPTH_MAX;

/// Why a text is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It is not one value of JSON (RFC 8259, 2).
    Malformed,
    /// It is one, and has something in it that is not taken. The text can be walked.
    Excess(Excess),
}

/// What well-formed JSON may have by its grammar, and is not taken here. RFC 8259 leaves all of
/// them to the receiver, and receivers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// Nested deeper than [`JSON_DEPTH_MAX`] (RFC 8259, 9).
    Depth,
    /// Half of a surrogate pair as an escape: no character (RFC 8259, 8.2).
    LoneSurrogate,
    /// A number that is infinite in 64 bits of floating point (RFC 8259, 6).
    Number,
}

/// Judges whether a text is one JSON value. Keeps its buffers, so that a warm one allocates
/// nothing.
#[derive(Default)]
pub struct Checker {
    warm: Option<Warm>,
}

struct Warm {
    /// `simd-json` unescapes strings in place; the text itself must stay as it came.
    copy: Vec<u8>,
    buffers: simd_json::Buffers,
    tape: simd_json::Tape<'static>,
}

/// A document larger than this is rare; what it made the buffers grow to is given back.
const KEPT_BYTES_MAX: usize = 64 * 1_024;

impl Checker {
    /// Judges whether `text` is one JSON value.
    ///
    /// # Errors
    ///
    /// A [`Flaw`], for whatever reason.
    pub fn check(&mut self, text: &str) -> Result<(), Flaw> {
        if !has_pairs_only(text.as_bytes()) {
            return Err(flaw_of(text));
        }
        let Warm { mut copy, mut buffers, tape } = self.warm.take().unwrap_or_else(|| Warm {
            copy: Vec::new(),
            buffers: simd_json::Buffers::with_max_depth(1_024, usize::from(JSON_DEPTH_MAX)),
            tape: simd_json::Tape::null(),
        });
        copy.clear();
        copy.extend_from_slice(text.as_bytes());
        copy.resize(text.len() + simd_json::INPUT_PADDING, 0);
        let mut tape = tape.reset();
        let verdict = simd_json::fill_tape_padded(&mut copy, text.len(), &mut buffers, &mut tape);
        let tape = tape.reset();
        if copy.len() <= KEPT_BYTES_MAX {
            self.warm = Some(Warm { copy, buffers, tape });
        }
        verdict.map_err(|_| flaw_of(text))
    }
}

/// What is wrong with a text that is not taken. Slow, and rarely asked.
fn flaw_of(text: &str) -> Flaw {
    // Of what is ignored serde_json checks the grammar and nothing else, without recursion.
    if serde_json::from_str::<IgnoredAny>(text).is_err() {
        Flaw::Malformed
    } else if depth(text) > u32::from(JSON_DEPTH_MAX) {
        Flaw::Excess(Excess::Depth)
    } else if !has_pairs_only(text.as_bytes()) {
        Flaw::Excess(Excess::LoneSurrogate)
    } else {
        Flaw::Excess(Excess::Number)
    }
}

/// How deep the arrays and objects of well-formed JSON are nested; 0 for any other value.
#[must_use]
pub fn depth(text: &str) -> u32 {
    let bytes = text.as_bytes();
    let (mut depth, mut deepest, mut at) = (0_u32, 0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at += string_bytes(&bytes[at..]);
                continue;
            }
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    deepest
}

/// Whether each `\u` escape of a surrogate has its other half.
///
/// A lone one has no meaning in UTF-8: Phoenix closes the socket, browsers would see U+FFFD, and
/// parsers disagree.
fn has_pairs_only(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let escape = &rest[at..];
        if escape.get(1) != Some(&b'u') {
            rest = escape.get(2..).unwrap_or_default();
            continue;
        }
        match hex4(escape.get(2..)) {
            Some(0xD800..=0xDBFF) => {
                let low = escape.get(6..8) == Some(b"\\u")
                    && matches!(hex4(escape.get(8..)), Some(0xDC00..=0xDFFF));
                if !low {
                    return false;
                }
                rest = &escape[12..];
            }
            Some(0xDC00..=0xDFFF) => return false,
            _ => rest = escape.get(6..).unwrap_or_default(),
        }
    }
    true
}

fn hex4(digits: Option<&[u8]>) -> Option<u32> {
    digits?
        .get(..4)?
        .iter()
        .try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}

fn skip_space(text: &str) -> &str {
    &text[space_bytes(text.as_bytes())..]
}

/// How many bytes of white space (RFC 8259, 2) these begin with. In well-formed JSON no other is as
/// low outside of strings.
#[inline]
fn space_bytes(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| **byte <= b' ').count()
}

/// The length of the value that `bytes` begin with, which must be the inside of well-formed JSON: 0
/// where a bracket closes.
fn value_bytes(bytes: &[u8]) -> usize {
    match bytes.first() {
        Some(b'"') => string_bytes(bytes),
        Some(b'[' | b'{') => {
            let mut depth = 0u32;
            let mut at = 0;
            while at < bytes.len() {
                match bytes[at] {
                    b'"' => {
                        at += string_bytes(&bytes[at..]);
                        continue;
                    }
                    b'[' | b'{' => depth += 1,
                    b']' | b'}' => {
                        depth -= 1;
                        if depth == 0 {
                            return at + 1;
                        }
                    }
                    _ => {}
                }
                at += 1;
            }
            bytes.len()
        }
        _ => bytes
            .iter()
            .position(|byte| *byte <= b' ' || matches!(byte, b',' | b']' | b'}'))
            .unwrap_or(bytes.len()),
    }
}

/// The length of the string that `bytes` begins with, both quotes included.
#[inline]
fn string_bytes(bytes: &[u8]) -> usize {
    // Keys, refs and topics end within a word.
    let word = bytes.get(1..).and_then(word::first_of);
    match word.and_then(|word| word::first(quote_or_backslash(word))) {
        Some(at) if bytes[1 + at] == b'"' => at + 2,
        _ => long_string_bytes(bytes),
    }
}

/// Marks the first byte of a word that ends a string or begins an escape: see [`word`].
#[inline]
fn quote_or_backslash(word: u64) -> u64 {
    word::equal(word, b'"') | word::equal(word, b'\\')
}

/// The length of a string that is longer, or has escapes.
#[inline(never)]
fn long_string_bytes(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}

/// The elements of an array, each as the text it came in.
///
/// `text` must be well-formed JSON; a value that is no array has no elements.
pub fn elements(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = inside(text, b'[');
    std::iter::from_fn(move || take_value(&mut rest))
}

/// The members of an object in their order, each key and value as the text it came in (the key with
/// its quotes).
///
/// `text` must be well-formed JSON; a value that is no object has no members. Keys may repeat.
pub fn members(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = inside(text, b'{');
    std::iter::from_fn(move || {
        let key = take_value(&mut rest)?;
        rest = skip_space(rest).strip_prefix(':').unwrap_or_default();
        Some((key, take_value(&mut rest)?))
    })
}

/// What follows the opening bracket, up to the end of the text.
fn inside(text: &str, open: u8) -> &str {
    let text = skip_space(text);
    if text.as_bytes().first() == Some(&open) { &text[1..] } else { "" }
}

/// Takes the next value and the comma before it off `rest`, unless the bracket closes there.
fn take_value<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let mut text = skip_space(rest);
    if let Some(behind) = text.strip_prefix(',') {
        text = skip_space(behind);
    }
    let (value, behind) = text.split_at(value_bytes(text.as_bytes()));
    *rest = behind;
    (!value.is_empty()).then_some(value)
}

/// Whether checked text is an object.
#[must_use]
pub fn is_object(text: &str) -> bool {
    skip_space(text).starts_with('{')
}

/// The value of the first member with this name. The first wins where a key repeats, as with Jason.
#[must_use]
pub fn field<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let [value] = fields(object, [name]);
    value
}

/// The values of the first members with each of these names. See [`field`].
#[must_use]
pub fn fields<'a, const N: usize>(object: &'a str, names: [&str; N]) -> [Option<&'a str>; N] {
    let mut values = [None; N];
    let mut missing = N;
    for (key, value) in members(object) {
        if let Some(place) = place_of(key, &names).filter(|place| values[*place].is_none()) {
            values[place] = Some(value);
            missing -= 1;
            if missing == 0 {
                break;
            }
        }
    }
    values
}

/// Which of these names checked text is, however it is spelled. None of them has an escape.
fn place_of(key: &str, names: &[&str]) -> Option<usize> {
    let as_it_is = key.strip_prefix('"')?.strip_suffix('"')?;
    let of = |text: &str| names.iter().position(|name| *name == text);
    of(as_it_is).or_else(|| has_escape(as_it_is.as_bytes()).then(|| of(&string(key)?)).flatten())
}

/// The string that well-formed JSON stands for, or `None` if it is no string, or one with half a
/// surrogate pair.
#[must_use]
pub fn string(text: &str) -> Option<Cow<'_, str>> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if !has_escape(inner.as_bytes()) {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(text).ok().map(Cow::Owned)
}

/// Whether the inside of a string has a backslash.
fn has_escape(inner: &[u8]) -> bool {
    // Refs, topics and events are shorter than what a call of a vector routine is worth.
    if inner.len() < 16 { inner.contains(&b'\\') } else { memchr::memchr(b'\\', inner).is_some() }
}

/// The whole number that checked text stands for, or `None` if it is none or does not fit.
#[must_use]
pub fn unsigned(text: &str) -> Option<u64> {
    text.parse().ok()
}

/// The truth value that checked text stands for.
#[must_use]
pub fn boolean(text: &str) -> Option<bool> {
    text.parse().ok()
}

/// Appends `text` as a JSON string, escaping what must be (RFC 8259, 7) and nothing else, as Jason
/// does.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let at = plain_bytes(rest);
        if at == rest.len() {
            break;
        }
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0C => out.extend_from_slice(b"\\f"),
            control => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(control >> 4)]);
                out.push(HEX[usize::from(control & 15)]);
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// How many of these bytes can stand in a string as they are, from the first on.
fn plain_bytes(bytes: &[u8]) -> usize {
    let Some(last) = bytes.last_chunk() else { return plain_bytes_of_few(bytes) };
    let first_special = |word| word::first(special(u64::from_le_bytes(word)));
    let (words, _) = bytes.as_chunks::<{ word::BYTES }>();
    for (at, word) in words.iter().enumerate() {
        if let Some(first) = first_special(*word) {
            return at * word::BYTES + first;
        }
    }
    // It begins among those that are looked at already, of which none was found.
    first_special(*last).map_or(bytes.len(), |first| bytes.len() - word::BYTES + first)
}

/// The same of fewer bytes than a word has: names and topics mostly.
#[inline]
fn plain_bytes_of_few(bytes: &[u8]) -> usize {
    if word::ends_of(bytes).is_some_and(|word| special(word) == 0) {
        return bytes.len();
    }
    let is_special = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
    bytes.iter().position(is_special).unwrap_or(bytes.len())
}

/// Marks the first byte of a word that cannot stand in a string as it is: see [`word`].
#[inline]
fn special(word: u64) -> u64 {
    word::less(word, 0x20) | quote_or_backslash(word)
}

/// Appends a whole number.
pub fn push_unsigned(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends an array. `push` appends an element of it.
pub fn push_array<T>(
    out: &mut Vec<u8>,
    elements: impl IntoIterator<Item = T>,
    mut push: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (at, element) in elements.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        push(out, element);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, flaw: Option<Flaw>) {
        let mut checker = Checker::default();
        for _ in 0..2 {
            assert_eq!(checker.check(text).err(), flaw, "{text:.100}");
        }
    }

    const MALFORMED: Option<Flaw> = Some(Flaw::Malformed);
    const DEPTH: Option<Flaw> = Some(Flaw::Excess(Excess::Depth));
    const SURROGATE: Option<Flaw> = Some(Flaw::Excess(Excess::LoneSurrogate));
    const NUMBER: Option<Flaw> = Some(Flaw::Excess(Excess::Number));

    #[test]
    fn valid_json_passes_and_anything_else_does_not() {
        for text in [
            "{}",
            "[]",
            "1",
            "\"a\"",
            "null",
            " [1 , 2] ",
            "12345678901234567890123",
            "-0",
            "\"\\ud83d\\ude00\"",
            "\"\\\\ud800\"",
            "1e308",
            "1e-400",
            "0e400",
        ] {
            check(text, None);
        }
        for text in [
            "",
            "[",
            "[1,]",
            "{\"a\"}",
            "01",
            "nul",
            "\"\\x\"",
            "\"\u{1}\"",
            "[1] 2",
            "\"\\ud800",
            "\"\\ud80\"",
            "[\"\\ud800\"",
            "1e",
            "1e999.",
        ] {
            check(text, MALFORMED);
        }
    }

    #[test]
    fn what_is_well_formed_and_too_much_is_told_from_what_is_no_json() {
        for text in ["\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\"", "{\"\\udfff\":[1]}"] {
            check(text, SURROGATE);
        }
        for text in [&*"9".repeat(400), "[-1e309]", "{\"a\":1e99999999999999999999}"] {
            check(text, NUMBER);
        }
    }

    #[test]
    fn nesting_is_accepted_up_to_the_limit_and_no_deeper() {
        let nested = |depth: u16| "[".repeat(usize::from(depth)) + &"]".repeat(usize::from(depth));
        check(&nested(JSON_DEPTH_MAX), None);
        check(&nested(JSON_DEPTH_MAX + 1), DEPTH);
        check(&nested(60_000), DEPTH);
        check(&nested(60_000)[1..], MALFORMED);
        check(&"[".repeat(60_000), MALFORMED);
        check(
            &format!("[{}, \"]]]\\\"[[[\"]", "{\"a\":".repeat(127) + "1" + &"}".repeat(127)),
            None,
        );
        check(&format!("[{}]", "{\"a\":".repeat(128) + "[]" + &"}".repeat(128)), DEPTH);
    }

    #[test]
    fn the_depth_is_that_of_brackets_outside_of_strings() {
        for (text, expected) in
            [("1", 0), ("\"[[\"", 0), ("[]", 1), (r#"[{"[\"[": {}}, [[1]]]"#, 3), ("[[],[],{}]", 2)]
        {
            assert_eq!(depth(text), expected, "{text}");
        }
    }

    #[test]
    fn spans_are_what_came() {
        let text = r#" [ "a,\"]" , {"b": [1, {"c":"}"}]} ,-1.5e3,null , []  ] "#;
        let spans: Vec<_> = elements(text).collect();
        assert_eq!(spans, [r#""a,\"]""#, r#"{"b": [1, {"c":"}"}]}"#, "-1.5e3", "null", "[]"]);
        let pairs: Vec<_> = members(r#"{ "a" : 1 , "b":{"c": 2}, "a":3 }"#).collect();
        assert_eq!(pairs, [("\"a\"", "1"), ("\"b\"", "{\"c\": 2}"), ("\"a\"", "3")]);
        assert_eq!(
            elements("[]").count()
                + elements("{}").count()
                + members("[1]").count()
                + members("{ }").count(),
            0
        );
    }

    #[test]
    fn a_string_ends_at_its_quote_however_long_it_is_and_wherever_it_has_escapes() {
        for length in 0..40 {
            for at in 0..=length {
                for escape in ["", "\\\"", "\\\\", "\\u0041"] {
                    let string =
                        ["\"", &"x".repeat(at), escape, &"é".repeat(length - at), "\""].concat();
                    for text in [format!("[{string}]"), format!("[{string},{string} , 1]")] {
                        assert_eq!(elements(&text).next(), Some(&*string));
                        assert_eq!(elements(&text).nth(1), text.contains(',').then_some(&*string));
                    }
                }
            }
        }
    }

    #[test]
    fn a_field_is_found_under_any_spelling_of_its_name_and_the_first_wins() {
        assert_eq!(field(r#"{"x":0,"us\u0065r":"a","user":"b"}"#, "user"), Some("\"a\""));
        assert_eq!(field(r#"{"x":{"user":1}}"#, "user"), None);
        assert_eq!(field("[1]", "user"), None);
        assert_eq!(
            fields(r#"{"b":null,"\u0061":1,"c":[2],"a":3,"b":4,"":5}"#, ["a", "x", "b", ""]),
            [Some("1"), None, Some("null"), Some("5")]
        );
        assert_eq!(fields("{}", ["a"]), [None]);
    }

    #[test]
    fn whatever_must_be_escaped_is_wherever_it_stands() {
        for length in 0..40 {
            for at in 0..length {
                for special in ["\"", "\\", "\0", "\u{1f}", "\n"] {
                    let text =
                        ["x".repeat(at), special.into(), "\u{7f}".repeat(length - at - 1)].concat();
                    let mut out = Vec::new();
                    push_string(&mut out, &text);
                    assert_eq!(serde_json::from_slice::<String>(&out).expect("a string"), text);
                }
            }
        }
    }

    #[test]
    fn strings_survive_a_round_trip() {
        for text in ["", "a", "\"\\/\n\r\t\u{8}\u{c}\0\u{1f}", "é😀\u{2028}"] {
            let mut out = Vec::new();
            push_string(&mut out, text);
            let written = std::str::from_utf8(&out).expect("UTF-8 in, UTF-8 out");
            check(written, None);
            assert_eq!(string(written).as_deref(), Some(text));
        }
    }
}

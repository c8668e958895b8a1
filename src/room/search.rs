//! Looking for words in the messages that a room has in memory.
//!
//! A word is a run of letters and digits, and upper case is lower case. The store's index finds the
//! same and more: it knows accents (`side::store::index`).
//!
//! Deliberately absent: who may search, and how often.
//!
//! Called by: `rooms`. Calls: `history`.

use crate::base::words::words;
use crate::limits::SEARCH_LOOKED_BYTES_MAX;
use crate::link::log::Hits;
use crate::link::message::text;
use crate::link::record::Searched;
use crate::room::Room;
use crate::wire::json;

/// Words that are looked for. All of them must be there; of the last one the beginning is enough.
#[derive(Debug)]
struct Words {
    /// None in a query without a word, which finds nothing.
    last: Option<String>,
    /// In order, and each once.
    others: Vec<String>,
}

impl Words {
    fn of(query: &str) -> Self {
        let mut others: Vec<_> = words(query).collect();
        let last = others.pop();
        others.sort_unstable();
        others.dedup();
        Self { last, others }
    }

    /// Reads the text once, and no further than it must: a body may be thousands of words.
    fn are_in(&self, text: &str) -> bool {
        let Some(last) = &self.last else { return false };
        let (mut is_last_there, mut missing) = (false, self.others.clone());
        words(text).any(|word| {
            is_last_there |= word.starts_with(last.as_str());
            if let Ok(place) = missing.binary_search(&word) {
                missing.remove(place);
            }
            is_last_there && missing.is_empty()
        })
    }
}

impl Room {
    /// Appends the answer to `msg_search`, the newest message first. Returns how many bytes were
    /// looked at: where that is as much as one search may, whoever asks goes on behind it.
    pub(crate) fn push_found(
        &self,
        out: &mut Vec<u8>,
        searched: Searched<'_>,
        bytes_max: usize,
    ) -> usize {
        let Searched { query, from, before, limit } = searched;
        let words = Words::of(&json::string(query).unwrap_or_default());
        let from = from.and_then(json::string);
        let is_wanted = |message: &str| {
            let [body, user] = json::fields(message, ["body", "user"]);
            (from.is_none() || user.and_then(json::string) == from)
                && body.and_then(json::string).is_some_and(|body| words.are_in(&body))
        };
        let (mut count, mut looked_at) = (0, 0);
        let (mut behind, mut more_before) = (None, None);
        out.extend_from_slice(b"{\"messages\":[");
        let begin = out.len();
        for message in self.history().newest_before(before.unwrap_or(u64::MAX)) {
            if looked_at >= SEARCH_LOOKED_BYTES_MAX {
                more_before = behind.map(offset_of);
                break;
            }
            looked_at += message.len();
            if is_wanted(text(message)) {
                if count == limit || out.len() - begin + message.len() > bytes_max && count > 0 {
                    more_before = behind.map(offset_of);
                    break;
                }
                if count > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(message);
                count += 1;
            }
            behind = Some(text(message));
        }
        push_end(out, more_before);
        looked_at
    }

    /// Appends the answer to `msg_search` of what a log has found. What is beyond the room's top is
    /// no message of it.
    pub(crate) fn push_hits(&self, out: &mut Vec<u8>, hits: &Hits) {
        let top = self.history().last();
        out.extend_from_slice(b"{\"messages\":[");
        for (offset, message) in hits.messages.iter().filter(|(offset, _)| *offset <= top) {
            // It may have been deleted since it was found.
            let now = self.message(*offset);
            if now.as_ref().unwrap_or(message).fate().deleted.is_none() {
                self.push_read(out, *offset, message);
            }
        }
        out.pop_if(|last| *last == b',');
        push_end(out, hits.more_before);
    }
}

/// Ends an answer, with before which offset to go on, if there may be more.
fn push_end(out: &mut Vec<u8>, more_before: Option<u64>) {
    let Some(before) = more_before else { return out.extend_from_slice(b"],\"more\":false}") };
    out.extend_from_slice(b"],\"before\":");
    json::push_unsigned(out, before);
    out.extend_from_slice(b",\"more\":true}");
}

/// The offset of a message as it is told.
fn offset_of(message: &str) -> u64 {
    let [offset] = json::fields(message, ["offset"]);
    offset.and_then(|offset| offset.parse().ok()).expect("a message has an offset")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_words_must_be_there_and_the_beginning_of_the_last_one() {
        for (query, text, is_in) in [
            ("tea", "Tea at five", true),
            ("TEA fi", "tea at five", true),
            ("five tea", "tea at five", true),
            ("fi tea", "tea at five", false),
            ("ea", "tea", false),
            ("tea", "teapot", true),
            ("tea ", "teapot", true),
            ("tea, five!", "(five) teas", false),
            ("\u{e9}t\u{e9}", "L'\u{c9}T\u{c9}", true),
            ("", "tea", false),
            ("?!", "?!", false),
            ("a a b a te", "b a tea", true),
            ("tea b b", "b tea", true),
            ("tea five tea", "tea at four", false),
            ("tea five five", "tea at four", false),
        ] {
            assert_eq!(Words::of(query).are_in(text), is_in, "{query:?} in {text:?}");
        }
    }
}

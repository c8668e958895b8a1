//! What of an export fits here: names, texts, reactions, mentions and files, within their bounds.
//!
//! What does not fit is cut, or left away; how much that was is for the caller to tell.
//!
//! Deliberately absent: where what fits is written (`lines`).

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{Attached, Post};
use crate::limits::{
    BODY_BYTES_MAX, ChatLimits, NAME_BYTES_MAX, REACTED_BYTES_MAX, TOPIC_BYTES_MAX,
};
use crate::link::reacted::is_emoji;
use crate::side::store::error::StoreError;

/// A byte of a text takes so many in JSON, at most.
const ESCAPED_BYTES_MAX: usize = 6;

/// How many reactions there are, of which it is known whose they are.
pub(super) fn reacted_count(reactions: &[(String, Vec<String>)]) -> u64 {
    reactions.iter().map(|(_, users)| users.len() as u64).sum()
}

/// Who has reacted, as far as it may be kept: each emoji once, and each user once for it. Those of
/// an emoji may be given in several parts.
pub(super) fn reactions(given: &[(String, Vec<String>)]) -> Vec<(String, Vec<String>)> {
    let mut kept: Vec<(String, Vec<String>)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut seen: HashSet<(&str, String)> = HashSet::new();
    let mut bytes = 0;
    for (emoji, users) in given.iter().filter(|(emoji, _)| is_emoji(emoji)) {
        for user in users.iter().map(|name| user(name)).filter(|user| !user.is_empty()) {
            if !seen.insert((emoji, user.clone())) {
                continue;
            }
            let place = places.get(&**emoji).copied();
            // A line of them has the emoji once, and a byte behind each name.
            let of_emoji = if place.is_none() { emoji.len() + 1 } else { 0 };
            bytes += of_emoji + user.len() + 1;
            if bytes > REACTED_BYTES_MAX {
                return kept;
            }
            let place = place.unwrap_or_else(|| {
                kept.push((emoji.clone(), Vec::new()));
                places.insert(emoji, kept.len() - 1);
                kept.len() - 1
            });
            kept[place].1.push(user);
        }
    }
    kept
}

/// Who is mentioned, as many as there is place for; and how many others are.
pub(super) fn mentions(post: &Post) -> Result<(Option<Box<RawValue>>, u64), StoreError> {
    let mut mentioned: Vec<_> = post.mentions.iter().map(|name| user(name)).collect();
    mentioned.retain(|user| !user.is_empty());
    mentioned.sort_unstable();
    mentioned.dedup();
    let left = mentioned.split_off(mentioned.len().min(ChatLimits::default().mentions as usize));
    let kept = if mentioned.is_empty() { None } else { Some(raw(&mentioned)?) };
    Ok((kept, left.len() as u64))
}

/// The files that hung on it, as `data`, as many as it has place for; and how many others there
/// are.
pub(super) fn files(files: &[Attached]) -> Result<(Option<Box<RawValue>>, u64), StoreError> {
    #[derive(Serialize)]
    struct Data<'a> {
        files: &'a [Attached],
    }
    let bytes_max = ChatLimits::default().data_bytes;
    // Each has a comma behind it, but for the last.
    let (mut count, mut bytes) = (0, r#"{"files":[]}"#.len() - ",".len());
    for file in files {
        bytes += raw(file)?.get().len() + ",".len();
        if bytes > bytes_max {
            break;
        }
        count += 1;
    }
    let kept = if count == 0 { None } else { Some(raw(&Data { files: &files[..count] })?) };
    Ok((kept, (files.len() - count) as u64))
}

/// A value as JSON.
pub(super) fn raw(value: &impl Serialize) -> Result<Box<RawValue>, StoreError> {
    Ok(to_raw_value(value).map_err(std::io::Error::from)?)
}

/// A topic in JSON, cut so that it fits.
pub(super) fn topic(text: &str) -> Option<String> {
    let text = cut(text, TOPIC_BYTES_MAX);
    // Within the quotes, which one character has too.
    let mut left = TOPIC_BYTES_MAX - "\"\"".len();
    let fits = text.chars().take_while(|c| {
        let bytes = serde_json::to_string(c).map_or(usize::MAX, |json| json.len() - "\"\"".len());
        let fits = bytes <= left;
        left = left.saturating_sub(bytes);
        fits
    });
    let fits = fits.collect::<String>();
    serde_json::to_string(&fits).ok().filter(|_| !fits.is_empty())
}

/// A user's id, as it is known here; empty, if nothing is left of it.
pub(super) fn user(id: &str) -> String {
    cut(id, NAME_BYTES_MAX)
}

/// A text without control characters and white space around it, of so many bytes at most.
pub(super) fn cut(text: &str, bytes_max: usize) -> String {
    let mut text: String = text.trim().chars().filter(|c| !c.is_control()).collect();
    text.truncate(text.floor_char_boundary(bytes_max));
    text.truncate(text.trim_end().len());
    text
}

/// A body that fits, whatever it takes in JSON.
pub(super) fn cut_body(body: &str) -> String {
    let bytes_max = BODY_BYTES_MAX / ESCAPED_BYTES_MAX;
    body[..body.floor_char_boundary(bytes_max)].to_owned()
}

//! What other products export, as the lines of an export of ours: `import` judges these like any
//! others, so what is written could have been written by a server.
//!
//! ```text
//!   zip, folder or file ── Archive ── slack | mattermost | discord ─┬─ Post ── Spool ──┐
//!                                                                   └─ Room ───────── Lines ── import
//! ```
//!
//! Messages wait in the spool until their room is written, so what is in memory does not grow with
//! how many there are. What errors name is where something stands in the export.
//!
//! Users are known here by the ids that the product has of them. What has no place here is left
//! out, and told: direct messages, files (but for their names), what nobody said.
//!
//! Deliberately absent: reading again what was imported before. An import fills an empty store.

mod archive;
mod discord;
mod fit;
mod json;
mod lines;
mod mattermost;
mod shape;
mod slack;
mod spool;
#[cfg(test)]
mod tests;
mod told;

use std::path::Path;

use serde::{Deserialize, Serialize};

use self::archive::Archive;
use self::lines::{Lines, Take};
use super::Report;
use super::import::fill;
use crate::side::store::error::StoreError;

/// A product that rooms come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// A workspace's export: a zip, or the folder in it.
    Slack,
    /// A bulk export: lines of JSON, or the zip around them.
    Mattermost,
    /// Channels as JSON by `DiscordChatExporter`: one file, or a folder or zip of some.
    Discord,
}

impl Product {
    /// How the names of the files end that its exports have messages in.
    fn kind(self) -> &'static str {
        match self {
            Self::Slack | Self::Discord => "json",
            Self::Mattermost => "jsonl",
        }
    }
}

/// Takes in what another product has exported. `made_secret` signs guests' tokens, if the store has
/// no secret yet.
///
/// # Errors
///
/// If the store has rooms or a server, if it is no such export, or if the disk fails. Then nothing
/// was taken in.
pub fn import_from(
    product: Product,
    folder: &Path,
    file: &Path,
    made_secret: &[u8; 32],
    now_ms: u64,
    tell: &mut dyn FnMut(&str),
) -> Result<Report, StoreError> {
    let archive = Archive::open(file, product.kind())?;
    let (notes, report) = fill(folder, made_secret, now_ms, tell, |import| {
        convert(product, archive, &mut |line| import.line(line))
    })?;
    for what in &notes {
        tell(what);
    }
    Ok(report)
}

/// Gives an export of another product to `take`, as lines. Returns what is to be told of it.
fn convert(
    product: Product,
    archive: Archive,
    take: &mut Take<'_>,
) -> Result<Vec<String>, StoreError> {
    let mut lines = Lines::begin(product, archive.path(), take)?;
    archive.passed().for_each(|what| lines.told.note(what));
    match product {
        Product::Slack => slack::convert(archive, &mut lines)?,
        Product::Mattermost => mattermost::convert(archive, &mut lines)?,
        Product::Discord => discord::convert(archive, &mut lines)?,
    }
    lines.end()
}

/// A room of another product. What was said in it comes by itself.
#[derive(Default)]
struct Room {
    /// Where it stands in the export.
    place: String,
    /// Which one it is, to the product.
    id: String,
    name: String,
    title: String,
    topic: String,
    /// Only its members join it.
    is_private: bool,
    /// Nobody speaks in it any more.
    is_archived: bool,
    /// Unix time, in milliseconds.
    created_ms: Option<u64>,
    creator: Option<String>,
    /// Of a private one.
    members: Vec<String>,
}

/// A message of another product.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Post {
    /// Where it stands in the export.
    place: String,
    /// Which one of the room it is, to the product.
    id: String,
    /// Unix time, in milliseconds.
    at_ms: u64,
    user: String,
    name: String,
    body: String,
    /// Which one it answers.
    reply_to: Option<String>,
    edited_ms: Option<u64>,
    pinned_ms: Option<u64>,
    mentions: Vec<String>,
    files: Vec<Attached>,
    /// Emoji, with the users that have reacted.
    reactions: Vec<(String, Vec<String>)>,
    /// How many reactions there are of which it is not known whose they are.
    unnamed_count: u64,
    /// How many others have no place here.
    lost_count: u64,
    /// The kind of what the product itself has noted: nobody has said that.
    note: Option<String>,
    /// When it was as it is here, in milliseconds of Unix time; 0, if the export does not say.
    as_of_ms: u64,
}

impl Post {
    /// Whether something has become of it since it was said.
    fn is_changed(&self) -> bool {
        self.edited_ms.is_some() || self.pinned_ms.is_some() || !self.reactions.is_empty()
    }

    /// Why it is not taken, if it is not.
    fn left(&self) -> Option<Left<'_>> {
        let says_nothing = self.body.trim().is_empty() && self.files.is_empty();
        let note = self.note.as_deref().map(Left::Note);
        note.or(says_nothing.then_some(Left::Empty))
    }
}

/// Why a message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left<'a> {
    /// It has neither text nor files.
    Empty,
    /// The product itself has noted it; its kind.
    Note(&'a str),
}

/// A file that hung on a message, by the names that `data.files` has for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Attached {
    name: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

/// The emoji of a short name, as most products write it; of one that is a product's own, the name
/// between colons; empty, if there is no name.
fn emoji(name: &str) -> String {
    // The colour of a skin comes behind, and some have it alone.
    let base = name.split("::").next().unwrap_or(name);
    emojis::get_by_shortcode(base)
        .map_or_else(|| own_emoji(base), |emoji| emoji.as_str().to_owned())
}

/// One that is a product's own: its name between colons, if it has any.
fn own_emoji(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(":{name}:") }
}

/// How many reactions have no name, of so many with so many names.
fn unnamed(count: Option<u64>, users: &[impl Sized]) -> u64 {
    count.unwrap_or_default().saturating_sub(users.len() as u64)
}

/// The first of some texts that is not empty.
fn first_of<'a>(texts: impl IntoIterator<Item = Option<&'a str>>) -> Option<&'a str> {
    texts.into_iter().flatten().find(|text| !text.trim().is_empty())
}

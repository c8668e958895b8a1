//! A workspace's export of Slack: `channels.json`, `groups.json` (private channels), `users.json`,
//! and a folder for each channel with a file for each day.
//!
//! Source: "How to read Slack data exports", and the message object of Slack's Web API.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::archive::{Archive, place};
use super::json;
use super::lines::Lines;
use super::shape::shapes;
use super::{Attached, Post, Room, emoji, first_of, unnamed};
use crate::side::store::error::StoreError;

shapes! {
    struct User {
        id: String,
        name: String,
        real_name: Option<String>,
        profile: Option<Profile>,
    }

    struct Profile {
        display_name: Option<String>,
        real_name: Option<String>,
    }
}

impl User {
    /// What others see.
    fn shown(&self) -> &str {
        let profile = self.profile.as_ref();
        first_of([
            profile.and_then(|profile| profile.display_name.as_deref()),
            profile.and_then(|profile| profile.real_name.as_deref()),
            self.real_name.as_deref(),
            Some(&self.name),
        ])
        .unwrap_or(&self.id)
    }
}

shapes! {
    struct Channel {
        id: String,
        name: String,
        /// Unix time, in seconds.
        created: u64,
        creator: Option<String>,
        is_archived: bool,
        members: Vec<String>,
        topic: Option<Text>,
        purpose: Option<Text>,
        pins: Vec<Pin>,
    }

    struct Text {
        value: Option<String>,
    }

    /// A message that is pinned, by its time.
    struct Pin {
        id: String,
        /// Unix time, in seconds.
        created: u64,
    }

    struct Message {
        subtype: Option<String>,
        user: Option<String>,
        bot_id: Option<String>,
        username: Option<String>,
        text: Option<String>,
        ts: String,
        thread_ts: Option<String>,
        edited: Option<Edited>,
        /// What a `file_comment` is.
        comment: Option<Comment>,
        reactions: Vec<Reaction>,
        files: Vec<File>,
        attachments: Vec<Attachment>,
    }

    struct Comment {
        user: Option<String>,
    }

    struct Edited {
        ts: String,
    }

    struct Reaction {
        name: String,
        /// Not all of them need be among the users.
        count: Option<u64>,
        users: Vec<String>,
    }

    struct File {
        name: Option<String>,
        title: Option<String>,
        mimetype: Option<String>,
        size: Option<u64>,
    }

    /// What an app shows below a message, or instead of one.
    struct Attachment {
        fallback: Option<String>,
        text: Option<String>,
    }

    /// A conversation that is no channel. Its folder is called as it is, or by its id.
    struct Direct {
        id: String,
        name: Option<String>,
    }
}

/// Kinds of messages that a user or an app has said, beside those without a kind. Slack itself
/// notes the others. A `tombstone` stands for a message that was answered, and then deleted: it
/// begins the thread of the answers.
const SAID: [&str; 7] = [
    "bot_message",
    "me_message",
    "thread_broadcast",
    "reply_broadcast",
    "file_share",
    "file_comment",
    "tombstone",
];

/// Files of an export that no messages are in, and that are read or say nothing of rooms.
const KNOWN_FILES: [&str; 6] = [
    "channels.json",
    "groups.json",
    "users.json",
    "dms.json",
    "mpims.json",
    "integration_logs.json",
];

/// A channel of an export.
struct Listed {
    channel: Channel,
    /// Where it stands.
    place: String,
    is_private: bool,
}

/// Who everybody is, and how channels are called: by ids.
struct Known {
    users: HashMap<String, User>,
    channels: HashMap<String, String>,
}

pub(super) fn convert(mut archive: Archive, lines: &mut Lines<'_, '_>) -> Result<(), StoreError> {
    let channels = read_channels(&mut archive, lines)?;
    let ids = channels.iter().map(|Listed { channel, .. }| (&channel.id, &channel.name));
    let ids = ids.map(|(id, name)| (id.clone(), name.clone())).collect();
    let mut known = Known { users: HashMap::new(), channels: ids };
    json::each(&mut archive, "users.json", |_, user: User| {
        known.users.insert(user.id.clone(), user);
        Ok(())
    })?;
    let mut folders: HashSet<_> = channels.iter().map(|of| of.channel.name.clone()).collect();
    folders.extend(read_direct(&mut archive, lines)?);
    tell_of_others(&archive, &folders, lines);
    for (number, Listed { channel, place, is_private }) in (0..).zip(channels) {
        take_messages(&mut archive, number, &channel, &known, lines)?;
        lines.room(number, &Room { place, is_private, ..room(channel, &known) })?;
    }
    Ok(())
}

/// All channels, of which there is one at least.
fn read_channels(
    archive: &mut Archive,
    lines: &mut Lines<'_, '_>,
) -> Result<Vec<Listed>, StoreError> {
    let mut channels = Channels::default();
    if !channels.read(archive, "channels.json", false)? {
        let what = "it is no export of Slack: there is no channels.json at its top";
        return Err(archive.damaged("", what));
    }
    channels.read(archive, "groups.json", true)?;
    if channels.all.is_empty() {
        let what = "it is no export of Slack: channels.json and groups.json have no channel";
        return Err(archive.damaged("", what));
    }
    lines.told.leave_out(channels.twice_count, "channels that are there twice");
    Ok(channels.all)
}

/// Leaves out direct conversations. Returns the names of their folders.
fn read_direct(
    archive: &mut Archive,
    lines: &mut Lines<'_, '_>,
) -> Result<Vec<String>, StoreError> {
    let mut folders = Vec::new();
    for name in ["dms.json", "mpims.json"] {
        json::each(archive, name, |_, Direct { id, name }| {
            folders.push(name.unwrap_or(id));
            Ok(())
        })?;
    }
    lines.told.leave_out(folders.len() as u64, "direct conversations");
    Ok(folders)
}

/// Notes which files are not read: those of no such folder, and those that have no messages.
fn tell_of_others(archive: &Archive, folders: &HashSet<String>, lines: &mut Lines<'_, '_>) {
    let (mut homeless_count, mut other_count) = (0, 0);
    for name in archive.names() {
        match name.split_once('/') {
            Some((folder, _)) if !folders.contains(folder) => homeless_count += 1,
            Some((_, day)) => other_count += u64::from(day.contains('/')),
            None => other_count += u64::from(!KNOWN_FILES.contains(&name)),
        }
    }
    lines.told.leave_out(homeless_count, "files of channels that are not in the export");
    lines.told.leave_out(other_count, "files that have no messages");
}

/// All channels, each once by its name.
#[derive(Default)]
struct Channels {
    all: Vec<Listed>,
    /// Where each name is among all.
    places: HashMap<String, usize>,
    /// How many there are besides.
    twice_count: u64,
}

impl Channels {
    /// Reads those of a file. Returns false if there is none.
    fn read(
        &mut self,
        archive: &mut Archive,
        file: &str,
        is_private: bool,
    ) -> Result<bool, StoreError> {
        json::each(archive, file, |at, channel| {
            self.add(Listed { channel, place: place(file, format_args!("$[{at}]")), is_private });
            Ok(())
        })
    }

    /// Adds one, or what it says to the first of its name. A folder is of all that have its name,
    /// so it is private if one of them is.
    fn add(&mut self, mut listed: Listed) {
        // Some have no other name than their id.
        if listed.channel.name.is_empty() {
            listed.channel.name.clone_from(&listed.channel.id);
        }
        match self.places.entry(listed.channel.name.clone()) {
            Entry::Vacant(place) => {
                place.insert(self.all.len());
                self.all.push(listed);
            }
            Entry::Occupied(place) => {
                self.twice_count += 1;
                let known = &mut self.all[*place.get()];
                known.is_private |= listed.is_private;
                known.channel.members.extend(listed.channel.members);
            }
        }
    }
}

fn room(channel: Channel, known: &Known) -> Room {
    let topic = [&channel.topic, &channel.purpose]
        .map(|text| text.as_ref().and_then(|text| text.value.as_deref()));
    Room {
        topic: plain(first_of(topic).unwrap_or_default(), known, &mut Vec::new()),
        id: channel.id,
        title: channel.name.clone(),
        name: channel.name,
        is_archived: channel.is_archived,
        created_ms: Some(channel.created.saturating_mul(1_000)).filter(|at| *at > 0),
        creator: channel.creator,
        members: channel.members,
        ..Room::default()
    }
}

/// Takes what was said in a channel.
fn take_messages(
    archive: &mut Archive,
    number: u32,
    channel: &Channel,
    known: &Known,
    lines: &mut Lines<'_, '_>,
) -> Result<(), StoreError> {
    let pins: HashMap<_, _> = channel.pins.iter().map(|pin| (&*pin.id, pin.created)).collect();
    let mut pinned = HashSet::new();
    let days: Vec<_> = archive.names_in(&channel.name).map(str::to_owned).collect();
    for day in days {
        json::each(archive, &day, |at, message: Message| {
            let place = place(&day, format_args!("$[{at}]"));
            let note = message.subtype.clone().filter(|kind| !SAID.contains(&&**kind));
            let at_ms = match milliseconds(&message.ts) {
                // It is only counted.
                None if note.is_some() => 0,
                at_ms => at_ms.ok_or_else(|| {
                    lines.damaged(&place, format!("{:?} is no time of a message", message.ts))
                })?,
            };
            let pin = pins.get_key_value(&*message.ts).filter(|_| note.is_none());
            pinned.extend(pin.map(|(id, _)| *id));
            // Where it is not known when, it was at the earliest when it was said.
            let pinned_ms = pin.map(|(_, created)| created.saturating_mul(1_000).max(at_ms));
            let post = post(message, at_ms, pinned_ms, known);
            lines.post(number, Post { place, note, ..post })
        })?;
    }
    let lost_count = (pins.len() - pinned.len()) as u64;
    let what = format!("pins of {:?} of what was not said", channel.name);
    lines.told.leave_out(lost_count, &what);
    Ok(())
}

fn post(message: Message, at_ms: u64, pinned_ms: Option<u64>, known: &Known) -> Post {
    let commenter = message.comment.as_ref().and_then(|comment| comment.user.as_ref());
    let author = message.user.as_ref().or(commenter);
    let shown = author.and_then(|id| known.users.get(id)).map(User::shown);
    let author = author.map(|id| &**id);
    let name = first_of([message.username.as_deref(), shown, author]);
    let user = first_of([author, message.bot_id.as_deref()]);
    let mut mentions = Vec::new();
    let texts = message.attachments.iter().flat_map(|attachment| {
        [attachment.fallback.as_deref(), attachment.text.as_deref()].into_iter()
    });
    let text = first_of(std::iter::once(message.text.as_deref()).chain(texts)).unwrap_or_default();
    Post {
        at_ms,
        user: user.unwrap_or("bot").to_owned(),
        name: name.unwrap_or("bot").to_owned(),
        body: plain(text, known, &mut mentions),
        // The first message of a thread names itself.
        reply_to: message.thread_ts.filter(|thread| *thread != message.ts),
        edited_ms: message.edited.and_then(|edited| milliseconds(&edited.ts)).filter(|at| *at > 0),
        pinned_ms,
        mentions,
        files: message
            .files
            .into_iter()
            .map(|file| Attached {
                name: file.name.or(file.title).unwrap_or_default(),
                media_type: file.mimetype,
                bytes: file.size,
                // Slack's own is for its members, and may have a token in it.
                url: None,
            })
            .collect(),
        unnamed_count: message.reactions.iter().map(|of| unnamed(of.count, &of.users)).sum(),
        reactions: message
            .reactions
            .into_iter()
            .map(|reaction| (emoji(&reaction.name), reaction.users))
            .collect(),
        id: message.ts,
        ..Post::default()
    }
}

/// A text as people read it: what stands in angle brackets is a user, a channel, a word to all, or
/// a link, perhaps with what to show for it.
fn plain(text: &str, known: &Known, mentions: &mut Vec<String>) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, marked)) = rest.split_once('<') {
        let Some((inside, after)) = marked.split_once('>') else { break };
        plain.push_str(&unescaped(before));
        let (what, label) = match inside.split_once('|') {
            Some((what, label)) => (what, Some(unescaped(label))),
            None => (inside, None),
        };
        if let Some(id) = what.strip_prefix('@') {
            mentions.push(id.to_owned());
            let name = known.users.get(id).map(|user| user.shown().to_owned());
            plain.push('@');
            plain.push_str(&name.or(label).unwrap_or_else(|| id.to_owned()));
        } else if let Some(id) = what.strip_prefix('#') {
            plain.push('#');
            let name = known.channels.get(id).cloned();
            plain.push_str(&name.or(label).unwrap_or_else(|| id.to_owned()));
        } else if let Some(word) = what.strip_prefix('!') {
            let word = word.split('^').next().unwrap_or(word);
            plain.push_str(&label.unwrap_or_else(|| format!("@{word}")));
        } else {
            let link = unescaped(what);
            match label.filter(|label| *label != link && !link.ends_with(&**label)) {
                Some(label) => plain.extend([&*label, " (", &*link, ")"]),
                None => plain.push_str(&link),
            }
        }
        rest = after;
    }
    plain.push_str(&unescaped(rest));
    plain
}

/// Slack escapes three characters, and no other.
fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// The time of a message, by which Slack names it: `1512085950.000216`.
fn milliseconds(ts: &str) -> Option<u64> {
    let (seconds, parts) = ts.split_once('.').unwrap_or((ts, ""));
    // A number may have a sign, which a time has not.
    if !seconds.bytes().chain(parts.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{parts:0<3}");
    let seconds: u64 = seconds.parse().ok()?;
    seconds.checked_mul(1_000)?.checked_add(thousandths.get(..3)?.parse().ok()?)
}

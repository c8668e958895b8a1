//! A workspace's export of Slack: `channels.json`, `groups.json` (private channels), `users.json`,
//! and a folder for each channel with a file for each day.
//!
//! Source: "How to read Slack data exports", and the message object of Slack's Web API.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::archive::{Archive, place};
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

/// Kinds of messages that somebody has said; by the others Slack itself tells who came and went. A
/// `tombstone` stands for a message that was deleted, and answered before: it begins their thread.
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
    let Some(public) = archive.json::<Vec<Channel>>("channels.json")? else {
        let what = "it is no export of Slack: there is no channels.json at its top";
        return Err(archive.damaged("", what));
    };
    let private: Vec<Channel> = archive.json("groups.json")?.unwrap_or_default();
    let (channels, twice_count) = once(public, private);
    if channels.is_empty() {
        let what = "it is no export of Slack: channels.json and groups.json have no channel";
        return Err(archive.damaged("", what));
    }
    lines.told.leave_out(twice_count, "channels that are there twice");
    let users: Vec<User> = archive.json("users.json")?.unwrap_or_default();
    let mut direct: Vec<Direct> = Vec::new();
    for name in ["dms.json", "mpims.json"] {
        direct.extend(archive.json::<Vec<Direct>>(name)?.unwrap_or_default());
    }
    lines.told.leave_out(direct.len() as u64, "direct conversations");
    let direct = direct.iter().map(|of| of.name.as_ref().unwrap_or(&of.id));
    let names = channels.iter().map(|of| &of.channel.name);
    let folders: HashSet<&str> = names.chain(direct).map(|name| &**name).collect();
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
    let ids = channels.iter().map(|Listed { channel, .. }| (&channel.id, &channel.name));
    let ids = ids.map(|(id, name)| (id.clone(), name.clone())).collect();
    let users = users.into_iter().map(|user| (user.id.clone(), user)).collect();
    let known = Known { users, channels: ids };
    for (number, Listed { channel, place, is_private }) in (0..).zip(channels) {
        say(&mut archive, number, &channel, &known, lines)?;
        lines.room(number, &Room { place, is_private, ..room(&channel, &known) })?;
    }
    Ok(())
}

/// All channels, each once by its name, as the first has it, and how many there are besides. A
/// folder is of one of them, so it is private if any of that name is.
fn once(public: Vec<Channel>, private: Vec<Channel>) -> (Vec<Listed>, u64) {
    let listed = |file: &'static str, is_private| {
        move |(at, channel)| Listed {
            channel,
            place: place(file, format_args!("$[{at}]")),
            is_private,
        }
    };
    let public = public.into_iter().enumerate().map(listed("channels.json", false));
    let private = private.into_iter().enumerate().map(listed("groups.json", true));
    let mut all: Vec<Listed> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut twice_count = 0;
    for listed in public.chain(private) {
        match places.entry(listed.channel.name.clone()) {
            Entry::Vacant(place) => {
                place.insert(all.len());
                all.push(listed);
            }
            Entry::Occupied(place) => {
                twice_count += 1;
                let known = &mut all[*place.get()];
                known.is_private |= listed.is_private;
                known.channel.members.extend(listed.channel.members);
            }
        }
    }
    (all, twice_count)
}

fn room(channel: &Channel, known: &Known) -> Room {
    let topic = [&channel.topic, &channel.purpose]
        .map(|text| text.as_ref().and_then(|text| text.value.as_deref()));
    Room {
        id: channel.id.clone(),
        name: channel.name.clone(),
        title: channel.name.clone(),
        topic: plain(first_of(topic).unwrap_or_default(), known, &mut Vec::new()),
        is_archived: channel.is_archived,
        created_ms: Some(channel.created.saturating_mul(1_000)),
        creator: channel.creator.clone(),
        members: channel.members.clone(),
        ..Room::default()
    }
}

/// Reads what was said in a channel.
fn say(
    archive: &mut Archive,
    number: u32,
    channel: &Channel,
    known: &Known,
    lines: &mut Lines<'_, '_>,
) -> Result<(), StoreError> {
    let mut pins: HashMap<_, _> = channel.pins.iter().map(|pin| (&*pin.id, pin.created)).collect();
    let days: Vec<_> = archive.names_in(&channel.name).map(str::to_owned).collect();
    for day in days {
        let messages = archive.json::<Vec<Message>>(&day)?.unwrap_or_default();
        for (at, message) in messages.into_iter().enumerate() {
            let place = place(&day, format_args!("$[{at}]"));
            let note = message.subtype.clone().filter(|kind| !SAID.contains(&&**kind));
            let at_ms = match milliseconds(&message.ts) {
                // It is only counted.
                None if note.is_some() => 0,
                at_ms => at_ms.ok_or_else(|| {
                    archive.damaged(&place, format!("{:?} is no time of a message", message.ts))
                })?,
            };
            let pinned_ms = pins.remove(&*message.ts).map(|created| created.saturating_mul(1_000));
            let post = post(message, at_ms, pinned_ms, known);
            lines.post(number, Post { place, note, ..post })?;
        }
    }
    lines
        .told
        .leave_out(pins.len() as u64, &format!("pins of {:?} of what was not said", channel.name));
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
        edited_ms: message.edited.and_then(|edited| milliseconds(&edited.ts)),
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
    let thousandths = format!("{parts:0<3}");
    let seconds: u64 = seconds.parse().ok()?;
    seconds.checked_mul(1_000)?.checked_add(thousandths.get(..3)?.parse().ok()?)
}

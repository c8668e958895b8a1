//! Channels of Discord as `DiscordChatExporter` writes them in JSON: a file for each, or several.
//! What a file says of its channel stands before the messages, which are taken as they come.
//!
//! Source: the format's description and its `JsonMessageWriter`.

use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::archive::{Archive, place};
use super::json::{Each, Reading};
use super::lines::Lines;
use super::shape::shapes;
use super::told::Told;
use super::{Attached, Post, Room, first_of, own_emoji, unnamed};
use crate::side::store::error::StoreError;
use crate::side::store::tools::counted;

shapes! {
    struct Channel {
        id: String,
        #[serde(rename = "type")]
        kind: String,
        name: String,
        topic: Option<String>,
    }

    #[serde(rename_all = "camelCase")]
    struct Message {
        id: String,
        #[serde(rename = "type")]
        kind: String,
        timestamp: String,
        timestamp_edited: Option<String>,
        is_pinned: bool,
        content: String,
        author: Author,
        attachments: Vec<Attachment>,
        embeds: Vec<Embed>,
        stickers: Vec<Sticker>,
        reactions: Vec<Reaction>,
        mentions: Vec<Author>,
        reference: Option<Reference>,
        #[serde(rename = "forwardedMessage")]
        forwarded: Option<Forwarded>,
    }

    /// A message of elsewhere that somebody has passed on.
    struct Forwarded {
        content: String,
        attachments: Vec<Attachment>,
        embeds: Vec<Embed>,
        stickers: Vec<Sticker>,
    }

    #[serde(rename_all = "camelCase")]
    struct Sticker {
        name: String,
        source_url: Option<String>,
    }

    struct Author {
        id: String,
        name: String,
        nickname: Option<String>,
    }

    #[serde(rename_all = "camelCase")]
    struct Attachment {
        url: Option<String>,
        file_name: String,
        file_size_bytes: Option<u64>,
    }

    struct Embed {
        title: Option<String>,
        description: Option<String>,
        url: Option<String>,
    }

    struct Reaction {
        emoji: Emoji,
        count: Option<u64>,
        /// Not in exports of earlier versions.
        users: Vec<Author>,
    }

    struct Emoji {
        /// Of a server's own one.
        id: Option<String>,
        name: String,
    }

    #[serde(rename_all = "camelCase")]
    struct Reference {
        message_id: Option<String>,
        /// Not in exports of earlier versions.
        channel_id: Option<String>,
    }
}

/// Kinds of messages that somebody has said. What a bot answers to a command has no name there, but
/// a number.
const SAID: [&str; 5] = ["Default", "Reply", "ChatInputCommand", "20", "23"];

pub(super) fn convert(mut archive: Archive, lines: &mut Lines<'_, '_>) -> Result<(), StoreError> {
    let (mut names, attached): (Vec<_>, Vec<_>) =
        archive.names().map(str::to_owned).partition(|name| !is_attached(name));
    if archive.is_alone() {
        names.push(String::new());
    }
    let mut gathering = Gathering::default();
    for name in names {
        let reading = Reading::new();
        let mut part = Part::default();
        let (gathering, lines) = (&mut gathering, &mut *lines);
        let seed = PartSeed { reading: &reading, name: &name, part: &mut part, gathering, lines };
        reading.read(&mut archive, &name, seed)?;
        match part {
            Part { number: Some(_), .. } => {}
            Part { is_direct: true, .. } => gathering.direct_count += 1,
            Part { channel: Some(_), .. } => {
                return Err(archive.damaged(&name, "it has a `channel`, and no `messages`"));
            }
            Part { channel: None, .. } => gathering.other_count += 1,
        }
    }
    let Gathering { all, direct_count, other_count, .. } = gathering;
    if all.is_empty() && direct_count == 0 {
        let what = "it is no export of Discord: no .json has a `channel` with `messages`";
        return Err(archive.damaged("", what));
    }
    let rooms: Vec<_> = all
        .into_iter()
        .map(|Gathered { place, channel, .. }| Room { place, ..room(channel) })
        .collect();
    for (number, room) in (0..).zip(&rooms) {
        lines.room(number, room)?;
    }
    lines.told.leave_out(attached.len() as u64, "files that hang on messages");
    lines.told.leave_out(other_count, "files that are no channel");
    lines.told.leave_out(direct_count, "direct conversations");
    let private_count = rooms.iter().filter(|room| room.is_private).count() as u64;
    tell_who_may_join(rooms.len() as u64 - private_count, private_count, &mut lines.told);
    Ok(())
}

/// Notes for whom rooms are, of which an export says nothing.
fn tell_who_may_join(open_count: u64, private_count: u64, told: &mut Told) {
    if open_count > 0 {
        told.note(format!(
            "open to all, for an export of Discord does not say who may see a channel: {}",
            counted(open_count, "room")
        ));
    }
    if private_count > 0 {
        told.note(format!(
            "nobody's, for it does not say who is in a private thread: {}; only a token of level \
             moderate lets somebody in",
            counted(private_count, "room")
        ));
    }
}

/// The channels of all files.
#[derive(Default)]
struct Gathering {
    /// The number of a room is its place here.
    all: Vec<Gathered>,
    /// By the channel's id.
    numbers: HashMap<String, u32>,
    /// Files of direct conversations.
    direct_count: u64,
    /// Files that are something else.
    other_count: u64,
}

/// A channel, of which each file has a part.
struct Gathered {
    place: String,
    channel: Channel,
    /// When what is known of it was so, in milliseconds of Unix time.
    as_of_ms: u64,
}

impl Gathering {
    /// Takes a channel, as the file has it that was exported last. Returns its number, or `None`
    /// if there are more than there may be.
    fn begin(&mut self, gathered: Gathered) -> Option<u32> {
        let next = u32::try_from(self.all.len()).ok()?;
        let number = match &*gathered.channel.id {
            "" => next,
            id => *self.numbers.entry(id.to_owned()).or_insert(next),
        };
        match self.all.get_mut(number as usize) {
            Some(known) if known.as_of_ms < gathered.as_of_ms => *known = gathered,
            Some(_) => {}
            None => self.all.push(gathered),
        }
        Some(number)
    }
}

/// What is known of a file while it is read.
#[derive(Default)]
struct Part {
    channel: Option<Channel>,
    /// When it was made, in milliseconds of Unix time; 0, if that is not known.
    as_of_ms: u64,
    /// Once its messages have come.
    number: Option<u32>,
    is_direct: bool,
}

/// Reads a file: its channel, and each message when it comes.
struct PartSeed<'r, 'p, 'l, 'a, 't> {
    reading: &'r Reading,
    name: &'p str,
    part: &'p mut Part,
    gathering: &'p mut Gathering,
    lines: &'l mut Lines<'a, 't>,
}

impl<'de> DeserializeSeed<'de> for PartSeed<'_, '_, '_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PartSeed<'_, '_, '_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a channel with its messages")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(field) = map.next_key::<String>()? {
            match &*field {
                "channel" => {
                    let channel: Option<Channel> = map.next_value()?;
                    self.part.is_direct =
                        channel.as_ref().is_some_and(|of| of.kind.starts_with("Direct"));
                    self.part.channel = channel;
                }
                "exportedAt" if self.part.number.is_some() => {
                    let failure = self.comes_late("exportedAt");
                    return Err(self.reading.fail(failure));
                }
                "exportedAt" => {
                    let at: Option<String> = map.next_value()?;
                    let at = at.and_then(|at| milliseconds(&at).ok());
                    self.part.as_of_ms = at.unwrap_or_default();
                }
                "messages" if self.part.is_direct => {
                    map.next_value_seed(Each::new(self.reading, |_, _: IgnoredAny| Ok(())))?;
                }
                "messages" => {
                    let number =
                        self.begin().map_err(|failure| self.reading.fail::<A::Error>(failure))?;
                    let reading = self.reading;
                    let take = |at, message| self.take(number, at, message);
                    map.next_value_seed(Each::new(reading, take))?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

impl PartSeed<'_, '_, '_, '_, '_> {
    /// Begins with the messages of the channel.
    fn begin(&mut self) -> Result<u32, StoreError> {
        let Some(channel) = self.part.channel.take() else {
            return Err(self.comes_late("channel"));
        };
        let (place, as_of_ms) = (place(self.name, "$.channel"), self.part.as_of_ms);
        let number = self.gathering.begin(Gathered { place, channel, as_of_ms });
        self.part.number = number;
        number.ok_or_else(|| self.lines.damaged(self.name, "more channels than there may be"))
    }

    /// That a field which says how messages are to be taken does not stand before them.
    fn comes_late(&self, field: &str) -> StoreError {
        let what = format!("its `{field}` is not before its `messages`");
        self.lines.damaged(self.name, what)
    }

    /// Takes the message at this place among those of the channel.
    fn take(&mut self, number: u32, at: usize, message: Message) -> Result<(), StoreError> {
        let place = place(self.name, format_args!("$.messages[{at}]"));
        let channel = &self.gathering.all[number as usize].channel;
        let post = post(message, &channel.id).map_err(|what| self.lines.damaged(&place, what))?;
        self.lines.post(number, Post { place, as_of_ms: self.part.as_of_ms, ..post })
    }
}

/// Whether a file is one that hung on a message: the exporter puts those of `tea.json` into a
/// folder `tea.json_Files`.
fn is_attached(name: &str) -> bool {
    name.split('/').rev().skip(1).any(|folder| folder.ends_with("_Files"))
}

fn room(channel: Channel) -> Room {
    Room {
        id: channel.id,
        title: channel.name.clone(),
        name: channel.name,
        topic: channel.topic.unwrap_or_default(),
        is_private: channel.kind.contains("Private"),
        ..Room::default()
    }
}

/// A message of a channel as a post; an error says what is wrong with it.
fn post(message: Message, channel: &str) -> Result<Post, String> {
    // One that is passed on names where it stands, and one that comes from a channel that is
    // followed names that: neither is an answer.
    let answered = message.reference.filter(|reference| {
        message.forwarded.is_none()
            && reference.channel_id.as_deref().is_none_or(|id| id == channel)
    });
    // A message that passes another on has no text of its own.
    let passed_on = message.forwarded.unwrap_or_default();
    let (shown, shown_on) = (embedded(&message.embeds), embedded(&passed_on.embeds));
    let texts = [&message.content, &shown, &passed_on.content, &shown_on];
    let body = first_of(texts.map(|text| Some(&**text))).unwrap_or_default().to_owned();
    // What comes behind a URL signs it for a day.
    let unsigned = |url: String| url.split('?').next().unwrap_or_default().to_owned();
    let attachments = message.attachments.into_iter().chain(passed_on.attachments);
    let attachments = attachments.map(|attachment| Attached {
        name: attachment.file_name,
        media_type: None,
        bytes: attachment.file_size_bytes,
        url: attachment.url.map(unsigned),
    });
    let stickers = message.stickers.into_iter().chain(passed_on.stickers).map(|sticker| Attached {
        name: sticker.name,
        media_type: None,
        bytes: None,
        url: sticker.source_url.map(unsigned),
    });
    let unnamed_count = message.reactions.iter().map(|of| unnamed(of.count, &of.users)).sum();
    let reactions = message.reactions.into_iter().map(|Reaction { emoji, users, .. }| {
        let is_own = emoji.id.is_some_and(|id| !id.is_empty());
        let name = if is_own { own_emoji(&emoji.name) } else { emoji.name };
        (name, users.into_iter().map(|user| user.id).collect())
    });
    let note = (!SAID.contains(&&*message.kind)).then_some(message.kind);
    let edited_ms = message.timestamp_edited.as_deref().map(milliseconds).transpose();
    let (at_ms, edited_ms) = match (milliseconds(&message.timestamp), edited_ms) {
        // It is only counted.
        (at_ms, _) if note.is_some() => (at_ms.unwrap_or_default(), None),
        (at_ms, edited_ms) => (at_ms?, edited_ms?),
    };
    Ok(Post {
        at_ms,
        name: message.author.nickname.unwrap_or(message.author.name),
        user: message.author.id,
        body,
        reply_to: answered.and_then(|reference| reference.message_id),
        edited_ms,
        pinned_ms: message.is_pinned.then_some(at_ms),
        mentions: message.mentions.into_iter().map(|user| user.id).collect(),
        files: attachments.chain(stickers).collect(),
        reactions: reactions.collect(),
        unnamed_count,
        note,
        id: message.id,
        ..Post::default()
    })
}

/// What bots show below a message, where there is no other text.
fn embedded(embeds: &[Embed]) -> String {
    let lines = embeds.iter().flat_map(|embed| [&embed.title, &embed.description, &embed.url]);
    lines.flatten().map(String::as_str).collect::<Vec<_>>().join("\n")
}

/// A time of ISO 8601.
fn milliseconds(text: &str) -> Result<u64, String> {
    let time = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|error| format!("{text:?} is no time: {error}"))?;
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000)
        .map_err(|_| format!("{text:?} is before 1970"))
}

//! Channels of Discord as `DiscordChatExporter` writes them in JSON: a file for each, or several.
//!
//! Source: the format's description and its `JsonMessageWriter`.

use std::collections::HashMap;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::archive::{Archive, place};
use super::lines::Lines;
use super::shape::shapes;
use super::{Attached, Post, Room, first_of, unnamed};
use crate::side::store::error::StoreError;
use crate::side::store::tools::counted;

shapes! {
    /// A file. Another one that is JSON has neither a channel nor messages.
    #[serde(rename_all = "camelCase")]
    struct Export {
        channel: Option<Channel>,
        /// When it was made.
        exported_at: Option<String>,
        messages: Option<Vec<Message>>,
    }

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

/// A channel, of which each file has a part.
struct Gathered {
    place: String,
    channel: Channel,
    /// When what is known of it was so, in milliseconds of Unix time.
    as_of_ms: u64,
}

pub(super) fn convert(mut archive: Archive, lines: &mut Lines<'_, '_>) -> Result<(), StoreError> {
    let (mut names, attached): (Vec<_>, Vec<_>) =
        archive.names().map(str::to_owned).partition(|name| !is_attached(name));
    if archive.is_alone() {
        names.push(String::new());
    }
    let (mut open_count, mut private_count, mut direct_count) = (0_u64, 0_u64, 0);
    let mut other_count = 0;
    let mut all: Vec<Gathered> = Vec::new();
    let mut numbers: HashMap<String, u32> = HashMap::new();
    for name in names {
        let Some(export) = archive.json::<Export>(&name)? else { continue };
        let Export { channel, exported_at, messages } = export;
        let (channel, messages) = match (channel, messages) {
            (Some(channel), Some(messages)) => (channel, messages),
            (None, None) => {
                other_count += 1;
                continue;
            }
            (Some(_), None) => return Err(archive.damaged(&name, "it has no `messages`")),
            (None, Some(_)) => return Err(archive.damaged(&name, "it has no `channel`")),
        };
        if channel.kind.starts_with("Direct") {
            direct_count += 1;
            continue;
        }
        let next = u32::try_from(all.len())
            .map_err(|_| archive.damaged(&name, "more channels than there may be"))?;
        let number = match &*channel.id {
            "" => next,
            id => *numbers.entry(id.to_owned()).or_insert(next),
        };
        let as_of_ms = exported_at.and_then(|at| milliseconds(&at).ok()).unwrap_or_default();
        let gathered = Gathered { place: place(&name, "$.channel"), channel, as_of_ms };
        match all.get_mut(number as usize) {
            Some(known) if known.as_of_ms < as_of_ms => *known = gathered,
            Some(_) => {}
            None => all.push(gathered),
        }
        for (at, message) in messages.into_iter().enumerate() {
            let place = place(&name, format_args!("$.messages[{at}]"));
            let post = post(message, &all[number as usize].channel.id)
                .map_err(|what| archive.damaged(&place, what))?;
            lines.post(number, Post { place, as_of_ms, ..post })?;
        }
    }
    for (number, Gathered { place, channel, .. }) in (0..).zip(all) {
        let room = Room { place, ..room(channel) };
        if room.is_private {
            private_count += 1;
        } else {
            open_count += 1;
        }
        lines.room(number, &room)?;
    }
    if open_count + private_count + direct_count == 0 {
        return Err(archive.damaged("", "it is no export of Discord: no .json has a channel"));
    }
    lines.told.leave_out(attached.len() as u64, "files that hang on messages");
    lines.told.leave_out(other_count, "files that are no channel");
    lines.told.leave_out(direct_count, "direct conversations");
    lines.told.note(format!(
        "open to all, for an export of Discord does not say who may see a channel: {}",
        counted(open_count, "room")
    ));
    if private_count > 0 {
        lines.told.note(format!(
            "nobody's, for it does not say who is in a private thread: {}; only a token of level \
             moderate lets somebody in",
            counted(private_count, "room")
        ));
    }
    Ok(())
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
        let name = if is_own { format!(":{}:", emoji.name) } else { emoji.name };
        (name, users.into_iter().map(|user| user.id).collect())
    });
    let note = (!SAID.contains(&&*message.kind)).then_some(message.kind);
    let at_ms = match milliseconds(&message.timestamp) {
        // It is only counted.
        Err(_) if note.is_some() => 0,
        at_ms => at_ms?,
    };
    Ok(Post {
        at_ms,
        name: message.author.nickname.unwrap_or(message.author.name),
        user: message.author.id,
        body,
        reply_to: answered.and_then(|reference| reference.message_id),
        edited_ms: message.timestamp_edited.as_deref().map(milliseconds).transpose()?,
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

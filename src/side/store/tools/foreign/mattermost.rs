//! A bulk export of Mattermost: a line of JSON for each team, channel, user and post; in a zip it
//! is its one `.jsonl`.
//!
//! Source: "Bulk loading data", Mattermost's documentation, and its `imports` package.

use std::collections::HashMap;

use serde::Deserialize;

use super::archive::{Archive, is_of_kind};
use super::lines::Lines;
use super::{Attached, Post, Room, emoji, first_of};
use crate::side::store::error::StoreError;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    team: Option<Team>,
    channel: Option<Channel>,
    user: Option<User>,
    post: Option<Written>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Team {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Channel {
    team: String,
    name: String,
    display_name: Option<String>,
    /// `O`: all of the team may join; `P`: its members.
    #[serde(rename = "type")]
    kind: String,
    header: Option<String>,
    purpose: Option<String>,
    /// Unix time, in milliseconds: it is archived.
    deleted_at: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
    nickname: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    teams: Option<Vec<UserTeam>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct UserTeam {
    name: String,
    channels: Option<Vec<UserChannel>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct UserChannel {
    name: String,
}

/// A post, or a reply to one.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Written {
    team: String,
    channel: String,
    user: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    message: Option<String>,
    /// Unix time, in milliseconds.
    create_at: u64,
    edit_at: Option<u64>,
    is_pinned: Option<bool>,
    reactions: Option<Vec<Reaction>>,
    replies: Option<Vec<Written>>,
    attachments: Option<Vec<Attachment>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reaction {
    user: String,
    emoji_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Attachment {
    path: String,
}

/// A channel, with all that was said in it.
#[derive(Default)]
struct Said {
    room: Room,
    team: String,
}

pub(super) fn convert(mut archive: Archive, lines: &mut Lines<'_>) -> Result<(), StoreError> {
    let name = archive.names().iter().find(|name| is_of_kind(name, "jsonl")).cloned();
    if name.is_none() && !archive.names().is_empty() {
        return Err(archive.damaged("", "it is no export of Mattermost: there is no .jsonl"));
    }
    let name = name.unwrap_or_default();
    let content = archive.read(&name)?.unwrap_or_default();
    let mut teams = 0;
    // In the order of the export.
    let mut channels: Vec<Said> = Vec::new();
    let mut by_name: HashMap<(String, String), usize> = HashMap::new();
    let mut names: HashMap<String, String> = HashMap::new();
    let (mut direct, mut homeless, mut noted) = (0, 0, 0);
    for (number, text) in (1..).zip(content.split(|byte| *byte == b'\n')) {
        if text.trim_ascii().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_slice(text).map_err(|error| {
            archive.damaged(&name, format!("line {number} is no line of such an export: {error}"))
        })?;
        match line {
            Line { team: Some(Team { name }), .. } => teams += usize::from(!name.is_empty()),
            Line { channel: Some(channel), .. } => {
                by_name.insert((channel.team.clone(), channel.name.clone()), channels.len());
                channels.push(Said { team: channel.team.clone(), room: room(channel) });
            }
            Line { user: Some(user), .. } => {
                for (team, channel) in user.channels() {
                    if let Some(at) = by_name.get(&(team, channel)) {
                        channels[*at].room.members.push(user.username.clone());
                    }
                }
                names.insert(user.username.clone(), user.shown());
            }
            Line { post: Some(post), .. } => {
                let at = by_name.get(&(post.team.clone(), post.channel.clone()));
                let Some(Said { room, .. }) = at.and_then(|at| channels.get_mut(*at)) else {
                    homeless += 1;
                    continue;
                };
                noted += take(&mut room.posts, post, None, &names);
            }
            Line { kind, .. } => direct += usize::from(kind == "direct_post"),
        }
    }
    lines.leave_out(direct, "direct messages");
    lines.leave_out(homeless, "messages of channels that are not in the export");
    lines.leave_out(noted, "notes of who came and went");
    for Said { mut room, team } in channels {
        if teams > 1 {
            room.name = format!("{team}-{}", room.name);
        }
        lines.room(room)?;
    }
    Ok(())
}

fn room(channel: Channel) -> Room {
    let topic = first_of([channel.header.as_deref(), channel.purpose.as_deref()]);
    Room {
        id: format!("{}/{}", channel.team, channel.name),
        topic: topic.unwrap_or_default().to_owned(),
        title: channel.display_name.unwrap_or_else(|| channel.name.clone()),
        name: channel.name,
        is_private: channel.kind != "O",
        is_archived: channel.deleted_at.is_some_and(|at| at > 0),
        ..Room::default()
    }
}

/// Takes a post with its replies. Returns how many were none.
fn take(
    posts: &mut Vec<Post>,
    mut message: Written,
    root: Option<&str>,
    names: &HashMap<String, String>,
) -> usize {
    let replies = message.replies.take().unwrap_or_default();
    // What Mattermost itself says of a channel.
    if message.kind.as_deref().is_some_and(|kind| kind.starts_with("system_")) {
        return 1;
    }
    let id = posts.len().to_string();
    posts.push(post(message, id.clone(), root, names));
    replies.into_iter().map(|reply| take(posts, reply, Some(&id), names)).sum()
}

fn post(message: Written, id: String, root: Option<&str>, names: &HashMap<String, String>) -> Post {
    let mut reactions: Vec<(String, Vec<String>)> = Vec::new();
    for Reaction { user, emoji_name } in message.reactions.unwrap_or_default() {
        let emoji = emoji(&emoji_name);
        match reactions.iter_mut().find(|(known, _)| *known == emoji) {
            Some((_, users)) => users.push(user),
            None => reactions.push((emoji, vec![user])),
        }
    }
    let file_name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let files = message.attachments.unwrap_or_default().into_iter().map(|attachment| Attached {
        name: file_name(&attachment.path),
        media_type: None,
        bytes: None,
        url: None,
    });
    Post {
        id,
        at_ms: message.create_at,
        name: names.get(&message.user).unwrap_or(&message.user).clone(),
        user: message.user,
        body: message.message.unwrap_or_default(),
        reply_to: root.map(str::to_owned),
        edited_ms: message.edit_at.filter(|at| *at > 0),
        pinned_ms: message.is_pinned.unwrap_or_default().then_some(message.create_at),
        mentions: Vec::new(),
        files: files.collect(),
        reactions,
    }
}

impl User {
    /// What others see.
    fn shown(&self) -> String {
        let whole = [self.first_name.as_deref(), self.last_name.as_deref()]
            .into_iter()
            .flatten()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" ");
        let names = [self.nickname.as_deref(), Some(&*whole)];
        first_of(names).unwrap_or(&self.username).to_owned()
    }

    /// The channels it is a member of, each behind its team.
    fn channels(&self) -> impl Iterator<Item = (String, String)> {
        self.teams.iter().flatten().flat_map(|team| {
            let channels = team.channels.iter().flatten();
            channels.map(|channel| (team.name.clone(), channel.name.clone()))
        })
    }
}

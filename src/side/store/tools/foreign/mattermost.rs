//! A bulk export of Mattermost: a line of JSON for each team, channel, user and post; in a zip it
//! is its one `.jsonl`. It is read a line at a time: what is kept of it does not grow with the
//! posts, which come in the order of their times whatever their channel is.
//!
//! Source: "Bulk loading data", Mattermost's documentation, and its `imports` package.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read};

use serde_json::Value;

use super::archive::{Archive, BYTE_ORDER_MARK, place};
use super::json::ELEMENT_BYTES_MAX;
use super::lines::Lines;
use super::shape::shapes;
use super::told::{Kinds, Told};
use super::{Attached, Post, Room, emoji, first_of};
use crate::side::store::error::StoreError;

shapes! {
    struct Line {
        #[serde(rename = "type")]
        kind: String,
        team: Option<Team>,
        channel: Option<Channel>,
        user: Option<User>,
        post: Option<Written>,
        direct_post: Option<Written>,
    }

    struct Team {
        name: String,
    }

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

    struct User {
        username: String,
        nickname: Option<String>,
        first_name: Option<String>,
        last_name: Option<String>,
        teams: Vec<UserTeam>,
    }

    struct UserTeam {
        name: String,
        channels: Vec<UserChannel>,
    }

    struct UserChannel {
        name: String,
    }

    /// A post, or a reply to one.
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
        is_pinned: bool,
        reactions: Vec<Reaction>,
        replies: Vec<Written>,
        attachments: Vec<Attachment>,
        /// Whatever integrations put there.
        props: Value,
    }

    struct Reaction {
        user: String,
        emoji_name: String,
    }

    struct Attachment {
        path: String,
    }
}

/// What is known of an export, as its lines come.
#[derive(Default)]
struct Known {
    teams: HashSet<String>,
    /// In the order of the export, each with its team: the number of a room is its place here.
    channels: Vec<(Room, String)>,
    /// By team and name.
    by_name: HashMap<(String, String), u32>,
    /// What others see of users.
    names: HashMap<String, String>,
    /// Members of channels that have not come yet.
    awaited: HashMap<(String, String), Vec<String>>,
    /// Channels that were there already.
    twice: u64,
    /// Messages that somebody has sent to some others only.
    direct: u64,
    /// Messages of channels that have not come before them.
    homeless: u64,
    /// Lines of which nothing is taken.
    others: Kinds,
}

pub(super) fn convert(mut archive: Archive, lines: &mut Lines<'_, '_>) -> Result<(), StoreError> {
    let name = main_file(&archive)?;
    let known = read(&mut archive, &name, lines)?;
    if known.channels.is_empty() {
        return Err(archive.damaged(&name, "it is no export of Mattermost: no line has a channel"));
    }
    let attached_count = (archive.names().count() as u64).saturating_sub(1);
    lines.told.leave_out(attached_count, "files that hang on posts");
    known.tell(&mut lines.told);
    for (number, (mut room, team)) in (0..).zip(known.channels) {
        if known.teams.len() > 1 {
            room.name = format!("{team}-{}", room.name);
        }
        lines.room(number, &room)?;
    }
    Ok(())
}

/// Reads the lines of a file.
fn read(archive: &mut Archive, name: &str, lines: &mut Lines<'_, '_>) -> Result<Known, StoreError> {
    let mut known = Known::default();
    let Some(file) = archive.file(name)? else { return Ok(known) };
    let mut file = BufReader::new(file);
    let mut text = Vec::new();
    for number in 1_u64.. {
        text.clear();
        let place = place(name, format_args!("line {number}"));
        let read = (&mut file).take(ELEMENT_BYTES_MAX + 1).read_until(b'\n', &mut text);
        read.map_err(|error| lines.unreadable(&place, error))?;
        if text.is_empty() {
            break;
        }
        if text.len() as u64 > ELEMENT_BYTES_MAX {
            let what = format!("it is longer than {ELEMENT_BYTES_MAX} bytes");
            return Err(lines.damaged(&place, what));
        }
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text);
        if text.trim_ascii().is_empty() {
            continue;
        }
        let line = serde_json::from_slice(text).map_err(|error| {
            // Its own number of a line is always 1.
            let what = error.to_string().replace(" at line 1 column ", " at byte ");
            lines.damaged(&place, format!("it is none of such an export: {what}"))
        })?;
        known.take_line(line, place, lines)?;
    }
    Ok(known)
}

/// The name of the file of lines: the only one that is in no folder, or in the fewest. Others may
/// hang on posts.
fn main_file(archive: &Archive) -> Result<String, StoreError> {
    if archive.is_alone() {
        return Ok(String::new());
    }
    let depth = |name: &&str| name.split('/').count();
    let least = archive.names().map(|name| depth(&name)).min();
    let mut names = archive.names().filter(|name| Some(depth(name)) == least);
    match (names.next(), names.next()) {
        (Some(name), None) => Ok(name.to_owned()),
        (Some(one), Some(other)) => {
            let what = format!("each export is a store of its own: there are {one} and {other}");
            Err(archive.damaged("", what))
        }
        (None, _) => {
            Err(archive.damaged("", "it is no export of Mattermost: there is no .jsonl in it"))
        }
    }
}

impl Known {
    /// Notes what of the lines is not taken.
    fn tell(&self, told: &mut Told) {
        told.leave_out(self.twice, "channels that are there twice");
        told.leave_out(self.direct, "direct messages");
        let homeless = "messages of channels that are not in the export, or come later";
        told.leave_out(self.homeless, homeless);
        told.leave_out_kinds(&self.others, "lines of which nothing is taken");
        let homeless_count = self.awaited.values().map(|members| members.len() as u64).sum();
        told.leave_out(homeless_count, "members of channels that are not in the export");
    }

    /// Takes what a line says.
    fn take_line(
        &mut self,
        line: Line,
        place: String,
        lines: &mut Lines<'_, '_>,
    ) -> Result<(), StoreError> {
        match line {
            Line { team: Some(Team { name }), .. } => drop(self.teams.insert(name)),
            Line { channel: Some(channel), .. } => self.take_channel(channel, place, lines)?,
            Line { user: Some(user), .. } => {
                for of in user.channels() {
                    let Some(number) = self.by_name.get(&of).map(|number| *number as usize) else {
                        self.awaited.entry(of).or_default().push(user.username.clone());
                        continue;
                    };
                    let room = self.channels.get_mut(number);
                    // Nobody asks who is in one that all may join.
                    if let Some((room, _)) = room.filter(|(room, _)| room.is_private) {
                        room.members.push(user.username.clone());
                    }
                }
                self.names.insert(user.username.clone(), user.shown());
            }
            Line { post: Some(post), .. } => {
                let of = (post.team.clone(), post.channel.clone());
                match self.by_name.get(&of).copied() {
                    Some(room) => self.take_post(room, post, (place, None), lines)?,
                    None => self.homeless += post.count(),
                }
            }
            Line { direct_post: Some(post), .. } => self.direct += post.count(),
            // It says of which version of the format the lines are.
            Line { kind, .. } if kind == "version" => {}
            Line { kind, .. } => self.others.add(&kind, 1),
        }
        Ok(())
    }

    /// Takes a channel; one that is there already as it is now. It stays private, and keeps its
    /// members.
    fn take_channel(
        &mut self,
        channel: Channel,
        place: String,
        lines: &Lines<'_, '_>,
    ) -> Result<(), StoreError> {
        let of = (channel.team.clone(), channel.name.clone());
        let mut room = Room { place, ..room(channel) };
        if let Some(number) = self.by_name.get(&of) {
            let (known, _) = &mut self.channels[*number as usize];
            room.is_private |= known.is_private;
            room.members = std::mem::take(&mut known.members);
            *known = room;
            self.twice += 1;
            return Ok(());
        }
        let number = u32::try_from(self.channels.len())
            .map_err(|_| lines.damaged(&room.place, "more channels than there may be"))?;
        let awaited = self.awaited.remove(&of).unwrap_or_default();
        room.members.extend(awaited.into_iter().filter(|_| room.is_private));
        self.channels.push((room, of.0.clone()));
        self.by_name.insert(of, number);
        Ok(())
    }

    /// Takes a post, with its replies: by where it stands, which no other one does.
    fn take_post(
        &mut self,
        room: u32,
        mut message: Written,
        (place, answered): (String, Option<&str>),
        lines: &mut Lines<'_, '_>,
    ) -> Result<(), StoreError> {
        let replies = std::mem::take(&mut message.replies);
        // What Mattermost itself says of a channel. Somebody may have answered that all the same.
        let note = message.kind.clone().filter(|kind| kind.starts_with("system_"));
        let post = post(message, place.clone(), answered, &self.names);
        lines.post(room, Post { note, ..post })?;
        for (number, reply) in replies.into_iter().enumerate() {
            let of_reply = format!("{place}, replies[{number}]");
            self.take_post(room, reply, (of_reply, Some(&place)), lines)?;
        }
        Ok(())
    }
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

fn post(
    message: Written,
    place: String,
    answered: Option<&str>,
    names: &HashMap<String, String>,
) -> Post {
    let reactions = message.reactions.into_iter();
    let reactions = reactions.map(|of| (emoji(&of.emoji_name), vec![of.user]));
    let file_name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let files = message.attachments.into_iter().map(|attachment| Attached {
        name: file_name(&attachment.path),
        media_type: None,
        bytes: None,
        url: None,
    });
    Post {
        id: place.clone(),
        place,
        at_ms: message.create_at,
        name: names.get(&message.user).unwrap_or(&message.user).clone(),
        user: message.user,
        body: first_of([message.message.as_deref(), Some(&attached(&message.props))])
            .unwrap_or_default()
            .to_owned(),
        reply_to: answered.map(str::to_owned),
        edited_ms: message.edit_at.filter(|at| *at > 0),
        pinned_ms: message.is_pinned.then_some(message.create_at),
        mentions: Vec::new(),
        files: files.collect(),
        reactions: reactions.collect(),
        ..Post::default()
    }
}

/// What integrations show below a post, as lines: for posts that have no other text.
fn attached(props: &Value) -> String {
    let texts = props["attachments"].as_array().into_iter().flatten().filter_map(|attachment| {
        first_of(["text", "fallback", "title"].map(|field| attachment[field].as_str()))
    });
    texts.collect::<Vec<_>>().join("\n")
}

impl Written {
    /// How many messages it is, with its replies.
    fn count(&self) -> u64 {
        1 + self.replies.iter().map(Self::count).sum::<u64>()
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
        self.teams.iter().flat_map(|team| {
            let channels = team.channels.iter();
            channels.map(|channel| (team.name.clone(), channel.name.clone()))
        })
    }
}

//! Rooms of other products as the lines of an export.
//!
//! Invariants: rooms have different names; the messages of a room are in the order of their times,
//! with offsets from 1 on; an answer stands behind what it answers.

use std::collections::{HashMap, HashSet};
use std::io::Write;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use sha1::{Digest, Sha1};

use super::{Attached, Post, Product, Room};
use crate::auth::level::{Joiners, Role, Speakers};
use crate::limits::{
    BODY_BYTES_MAX, ChatLimits, NAME_BYTES_MAX, REACTED_BYTES_MAX, TITLE_BYTES_MAX, TOPIC_BYTES_MAX,
};
use crate::link::facts::RoomSettings;
use crate::link::reacted::is_emoji;
use crate::side::store::error::StoreError;
use crate::side::store::tools::export::shown;
use crate::side::store::tools::line::{
    EndLine, EraLine, FORMAT, HeadLine, Kind, MessageLine, Reaction, RoomLine, StandingLine,
};

/// A byte of a text takes so many in JSON, at most.
const ESCAPED_BYTES_MAX: usize = 6;

/// What is written so far.
pub(super) struct Lines<'a> {
    product: Product,
    out: &'a mut dyn Write,
    names: HashSet<String>,
    rooms: u64,
    messages: u64,
    notes: Vec<String>,
}

impl<'a> Lines<'a> {
    pub(super) fn begin(product: Product, out: &'a mut dyn Write) -> Result<Self, StoreError> {
        let (names, notes) = (HashSet::new(), Vec::new());
        let mut lines = Self { product, out, names, rooms: 0, messages: 0, notes };
        lines.line(&HeadLine { kind: Kind::Chinwag, format: FORMAT })?;
        Ok(lines)
    }

    /// Ends the export. Returns what was noted.
    pub(super) fn end(mut self) -> Result<Vec<String>, StoreError> {
        let (rooms, messages) = (self.rooms, self.messages);
        self.line(&EndLine { kind: Kind::End, rooms, messages })?;
        self.out.flush()?;
        Ok(self.notes)
    }

    /// Notes that something has no place here.
    pub(super) fn leave_out(&mut self, count: usize, what: &str) {
        if count > 0 {
            self.notes.push(format!("left out: {what}: {count}"));
        }
    }

    /// Notes what whoever imports it should know.
    pub(super) fn note(&mut self, what: String) {
        self.notes.push(what);
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), StoreError> {
        serde_json::to_writer(&mut *self.out, line).map_err(std::io::Error::from)?;
        Ok(self.out.write_all(b"\n")?)
    }

    /// Writes a room, with all that was said in it.
    pub(super) fn room(&mut self, mut room: Room) -> Result<(), StoreError> {
        let name = self.free_name(&room.name);
        let said_nothing = |post: &Post| post.body.trim().is_empty() && post.files.is_empty();
        let posts_count = room.posts.len();
        room.posts.retain(|post| !said_nothing(post));
        for post in &mut room.posts {
            post.reactions = reactions(&post.reactions);
        }
        let empty_count = posts_count - room.posts.len();
        self.leave_out(empty_count, &format!("messages of {name:?} without text and files"));
        room.posts.sort_by_key(|post| post.at_ms);
        let changed = room.posts.iter().filter(|post| is_changed(post)).count() as u64;

        let settings = RoomSettings {
            topic: topic(&room.topic).map(Into::into),
            join: if room.is_private { Joiners::Members } else { Joiners::All },
            speak: if room.is_archived { Speakers::Moderators } else { Speakers::All },
            ..RoomSettings::DEFAULT
        };
        let creator = room.creator.as_deref().map(user).filter(|creator| !creator.is_empty());
        let title = cut(&room.title, TITLE_BYTES_MAX);
        // Where that is not known, the first message is the next best.
        let first_ms = room.posts.first().map(|post| post.at_ms);
        let created_ms = room.created_ms.or(first_ms).unwrap_or_default();
        let created_at = milliseconds(created_ms);
        self.line(&RoomLine {
            kind: Kind::Room,
            room: name.as_str().into(),
            title: if title.is_empty() { name.clone() } else { title }.into(),
            founded: 1,
            created_at,
            by: creator.clone().map(Into::into),
            settings: (settings != RoomSettings::DEFAULT).then(|| settings.json().into()),
            floor: 0,
            last: room.posts.len() as u64,
            last_change: changed,
            changed_floor: changed,
        })?;
        self.rooms += 1;
        let epoch = self.epoch(&room.id);
        self.line(&EraLine {
            kind: Kind::Era,
            room: name.as_str().into(),
            first: 1,
            first_change: 1,
            epoch: shown(epoch).into(),
            life: 0,
        })?;
        self.standings(&name, &room, creator)?;
        self.posts(&name, epoch, &room.posts)
    }

    /// Who made a room owns it; who is in a private one is its member.
    fn standings(
        &mut self,
        name: &str,
        room: &Room,
        creator: Option<String>,
    ) -> Result<(), StoreError> {
        let members = room.members.iter().filter(|_| room.is_private).map(|member| user(member));
        let mut standings: Vec<_> = members.map(|member| (member, Role::Member)).collect();
        if let Some(creator) = creator {
            standings.retain(|(member, _)| *member != creator);
            standings.push((creator, Role::Owner));
        }
        standings.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        standings.dedup_by(|one, other| one.0 == other.0);
        for (user, role) in standings.into_iter().filter(|(user, _)| !user.is_empty()) {
            self.line(&StandingLine {
                kind: Kind::Standing,
                room: name.into(),
                user: user.into(),
                role: Some(role.as_str().into()),
                muted_until: None,
                banned_until: None,
            })?;
        }
        Ok(())
    }

    fn posts(&mut self, room: &str, epoch: u64, posts: &[Post]) -> Result<(), StoreError> {
        let mut offsets = HashMap::new();
        let mut threads: Vec<Option<u64>> = Vec::new();
        let (mut change, mut shortened) = (0, 0);
        for (offset, post) in (1_u64..).zip(posts) {
            let answered = post.reply_to.as_deref().and_then(|id| offsets.get(id)).copied();
            let thread = answered.map(|answered: u64| {
                let of_answered = usize::try_from(answered - 1).ok().and_then(|at| threads.get(at));
                of_answered.copied().flatten().unwrap_or(answered)
            });
            offsets.insert(post.id.as_str(), offset);
            threads.push(thread);
            let is_changed = is_changed(post);
            change += u64::from(is_changed);

            let body = cut_body(&post.body);
            shortened += usize::from(body.len() < post.body.len());
            let user = user(&post.user);
            let user = if user.is_empty() { "unknown".to_owned() } else { user };
            let name = cut(&post.name, NAME_BYTES_MAX);
            self.line(&MessageLine {
                kind: Kind::Message,
                room: room.into(),
                offset,
                id: format!("{}-{offset}", shown(epoch)).into(),
                at: milliseconds(post.at_ms),
                name: if name.is_empty() { user.clone() } else { name }.into(),
                user: user.into(),
                body: Some(&raw(&body)?),
                key: None,
                reply_to: answered,
                thread,
                edited_at: post.edited_ms,
                deleted_at: None,
                deleted_by: None,
                pinned_at: post.pinned_ms,
                pinned_by: None,
                mentions: mentions(post)?.as_deref(),
                data: files(&post.files)?.as_deref(),
                stream: false,
                reactions: (!post.reactions.is_empty()).then(|| borrowed(&post.reactions)),
                _extra: None,
                change: is_changed.then_some(change),
            })?;
            self.messages += 1;
        }
        if shortened > 0 {
            self.notes.push(format!("shortened: messages of {room:?}: {shortened}"));
        }
        Ok(())
    }

    /// A name that no other room has: with a number, if it must be.
    fn free_name(&mut self, wanted: &str) -> String {
        let base = cut(wanted, NAME_BYTES_MAX - 8);
        let base = if base.is_empty() { "room".to_owned() } else { base };
        let numbered = (2_u32..).map(|number| format!("{base}-{number}"));
        let mut names = std::iter::once(base.clone()).chain(numbered);
        let free = names.find(|name| !self.names.contains(name)).unwrap_or(base);
        self.names.insert(free.clone());
        free
    }

    /// An epoch for a room: the same for the same one, and for no other.
    fn epoch(&self, id: &str) -> u64 {
        let digest = Sha1::digest(format!("{:?} {id}", self.product));
        digest.iter().take(8).fold(0, |epoch, byte| epoch << 8 | u64::from(*byte))
    }
}

/// Whether something has become of it since it was said.
fn is_changed(post: &Post) -> bool {
    post.edited_ms.is_some() || post.pinned_ms.is_some() || !post.reactions.is_empty()
}

/// Who has reacted, as far as it may be kept.
fn reactions(given: &[(String, Vec<String>)]) -> Vec<(String, Vec<String>)> {
    let mut kept: Vec<(String, Vec<String>)> = Vec::new();
    let mut bytes = 0;
    for (emoji, users) in given.iter().filter(|(emoji, _)| is_emoji(emoji)) {
        let at = kept.iter().position(|(known, _)| known == emoji).unwrap_or_else(|| {
            kept.push((emoji.clone(), Vec::new()));
            kept.len() - 1
        });
        bytes += emoji.len() + 1;
        for user in users.iter().map(|name| user(name)).filter(|user| !user.is_empty()) {
            bytes += user.len() + 1;
            if bytes <= REACTED_BYTES_MAX && !kept[at].1.contains(&user) {
                kept[at].1.push(user);
            }
        }
    }
    kept.retain(|(_, users)| !users.is_empty());
    kept
}

/// The same, for a line.
fn borrowed(reactions: &[(String, Vec<String>)]) -> Vec<Reaction<'_>> {
    reactions
        .iter()
        .map(|(emoji, users)| (emoji.into(), users.iter().map(Into::into).collect()))
        .collect()
}

fn mentions(post: &Post) -> Result<Option<Box<RawValue>>, StoreError> {
    let mut mentioned: Vec<_> = post.mentions.iter().map(|name| user(name)).collect();
    mentioned.retain(|user| !user.is_empty());
    mentioned.sort_unstable();
    mentioned.dedup();
    mentioned.truncate(ChatLimits::default().mentions as usize);
    if mentioned.is_empty() { Ok(None) } else { raw(&mentioned).map(Some) }
}

/// The files that hung on it, as `data`: as many as it has place for.
fn files(files: &[Attached]) -> Result<Option<Box<RawValue>>, StoreError> {
    #[derive(Serialize)]
    struct Data<'a> {
        files: &'a [Attached],
    }
    let bytes_max = ChatLimits::default().data_bytes;
    for count in (1..=files.len()).rev() {
        let data = raw(&Data { files: &files[..count] })?;
        if data.get().len() <= bytes_max {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

fn raw(value: &impl Serialize) -> Result<Box<RawValue>, StoreError> {
    Ok(to_raw_value(value).map_err(std::io::Error::from)?)
}

/// A topic in JSON, cut so that it fits.
fn topic(text: &str) -> Option<String> {
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
fn user(id: &str) -> String {
    cut(id, NAME_BYTES_MAX)
}

/// A text without control characters and white space around it, of so many bytes at most.
fn cut(text: &str, bytes_max: usize) -> String {
    let mut text: String = text.trim().chars().filter(|c| !c.is_control()).collect();
    text.truncate(text.floor_char_boundary(bytes_max));
    text.truncate(text.trim_end().len());
    text
}

/// A body that fits, whatever it takes in JSON.
fn cut_body(body: &str) -> String {
    let bytes_max = BODY_BYTES_MAX / ESCAPED_BYTES_MAX;
    body[..body.floor_char_boundary(bytes_max)].to_owned()
}

fn milliseconds(unix_ms: u64) -> i64 {
    i64::try_from(unix_ms).unwrap_or(i64::MAX)
}

//! Rooms of other products as the lines of an export.
//!
//! Invariants: rooms have different names; the messages of a room are in the order of their times,
//! with offsets from 1 on; an answer stands behind what it answers.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha1::{Digest, Sha1};

use super::archive::{place, unreadable};
use super::fit::{cut, cut_body, files, mentions, raw, reacted_count, reactions, topic, user};
use super::spool::{At, Place, Spool, Totals};
use super::told::Told;
use super::{Left, Post, Product, Room};
use crate::auth::level::{Joiners, Role, Speakers};
use crate::limits::{NAME_BYTES_MAX, TITLE_BYTES_MAX};
use crate::link::facts::RoomSettings;
use crate::side::store::error::StoreError;
use crate::side::store::tools::export::shown;
use crate::side::store::tools::import::Fault;
use crate::side::store::tools::line::{
    EndLine, EraLine, FORMAT, HeadLine, Kind, MessageLine, Reaction, RoomLine, StandingLine,
};

/// What takes the lines.
pub(super) type Take<'a> = dyn FnMut(&[u8]) -> Result<(), Fault> + 'a;

/// What is written so far.
pub(super) struct Lines<'a, 't> {
    product: Product,
    /// The export.
    file: PathBuf,
    take: &'a mut Take<'t>,
    /// The one that is written.
    line: Vec<u8>,
    spool: Spool,
    names: HashSet<String>,
    /// By a name that rooms wanted: the number that the next of them is tried with.
    numbers: HashMap<String, u32>,
    rooms: u64,
    messages: u64,
    /// What is to be told of it.
    pub(super) told: Told,
}

impl<'a, 't> Lines<'a, 't> {
    pub(super) fn begin(
        product: Product,
        file: &Path,
        take: &'a mut Take<'t>,
    ) -> Result<Self, StoreError> {
        let mut lines = Self {
            product,
            file: file.to_owned(),
            take,
            line: Vec::new(),
            spool: Spool::new()?,
            names: HashSet::new(),
            numbers: HashMap::new(),
            rooms: 0,
            messages: 0,
            told: Told::default(),
        };
        lines.line("", &HeadLine { kind: Kind::Chinwag, format: FORMAT })?;
        Ok(lines)
    }

    /// Ends the export. Returns what is to be told of it.
    pub(super) fn end(mut self) -> Result<Vec<String>, StoreError> {
        let (rooms, messages) = (self.rooms, self.messages);
        self.line("", &EndLine { kind: Kind::End, rooms, messages })?;
        Ok(self.told.end())
    }

    /// That something at this place in the export is not what it should be.
    pub(super) fn damaged(&self, within: &str, what: impl Into<String>) -> StoreError {
        StoreError::Damaged { file: self.file.clone(), what: place(within, what.into()) }
    }

    /// Why this place in the export cannot be read.
    pub(super) fn unreadable(&self, within: &str, error: std::io::Error) -> StoreError {
        unreadable(&self.file, within, error)
    }

    /// Gives a line that is made of what stands at this place in the export.
    fn line(&mut self, within: &str, line: &impl Serialize) -> Result<(), StoreError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line).map_err(std::io::Error::from)?;
        self.line.push(b'\n');
        (self.take)(&self.line).map_err(|fault| match fault {
            Fault::Line(what) => self.damaged(within, what),
            Fault::Store(error) => error,
        })
    }

    /// Takes a message of a room that will be written under this number. They come in any order.
    pub(super) fn post(&mut self, room: u32, mut post: Post) -> Result<(), StoreError> {
        let is_left = post.left().is_some();
        let given_count = reacted_count(&post.reactions);
        post.reactions = reactions(&post.reactions);
        post.lost_count = given_count - reacted_count(&post.reactions);
        let is_new = self.spool.put(room, &post)?;
        self.told.left.twice += u64::from(!is_new && !is_left);
        Ok(())
    }

    /// Writes a room, with all that was said in it: what came under its number.
    pub(super) fn room(&mut self, number: u32, room: &Room) -> Result<(), StoreError> {
        let name = self.free_name(&room.name);
        let mut empty_count = 0;
        self.spool.each_left(number, |left, count| match left {
            Left::Empty => empty_count += count,
            Left::Note(kind) => self.told.leave_out_notes(kind, count),
        })?;
        self.told.leave_out(empty_count, &format!("messages of {name:?} without text and files"));
        let Totals { messages, changed, first_ms } = self.spool.totals(number)?;

        let creator = room.creator.as_deref().map(user).filter(|creator| !creator.is_empty());
        let title = cut(&room.title, TITLE_BYTES_MAX);
        let settings = settings(room);
        // Where that is not known, the first message is the next best.
        let created_ms = room.created_ms.or(first_ms).unwrap_or_default();
        let line = RoomLine {
            kind: Kind::Room,
            room: name.as_str().into(),
            title: if title.is_empty() { name.clone() } else { title }.into(),
            founded: 1,
            created_at: milliseconds(created_ms),
            by: creator.clone().map(Into::into),
            settings: (settings != RoomSettings::DEFAULT).then(|| settings.json().into()),
            floor: 0,
            last: messages,
            last_change: changed,
            changed_floor: changed,
        };
        self.line(&room.place, &line)?;
        self.rooms += 1;
        let epoch = self.epoch(&room.id, &name);
        let line = EraLine {
            kind: Kind::Era,
            room: name.as_str().into(),
            first: 1,
            first_change: 1,
            epoch: shown(epoch).into(),
            life: 0,
        };
        self.line(&room.place, &line)?;
        self.standings(&name, room, creator)?;
        self.posts(number, &name, epoch)?;
        self.spool.forget(number)
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
            let line = StandingLine {
                kind: Kind::Standing,
                room: name.into(),
                user: user.into(),
                role: Some(role.as_str().into()),
                muted_until: None,
                banned_until: None,
            };
            self.line(&room.place, &line)?;
        }
        Ok(())
    }

    fn posts(&mut self, number: u32, room: &str, epoch: u64) -> Result<(), StoreError> {
        let (mut offset, mut change, mut shortened) = (0, 0, 0);
        let mut at = At::default();
        loop {
            let (posts, behind) = self.spool.next(number, at)?;
            if posts.is_empty() {
                break;
            }
            at = behind;
            for post in posts {
                offset += 1;
                change += u64::from(post.is_changed());
                let body = cut_body(&post.body);
                shortened += u64::from(body.len() < post.body.len());
                self.message(room, epoch, (offset, change), &post, &body)?;
            }
        }
        if shortened > 0 {
            self.told.note(format!("shortened: messages of {room:?}: {shortened}"));
        }
        Ok(())
    }

    /// Writes a message; `change` is the number of its change, if something has become of it.
    fn message(
        &mut self,
        room: &str,
        epoch: u64,
        (offset, change): (u64, u64),
        post: &Post,
        body: &str,
    ) -> Result<(), StoreError> {
        let answered = post.reply_to.as_deref().map(|id| self.spool.place(id)).transpose()?;
        let answered = answered.flatten();
        self.told.left.answers += u64::from(post.reply_to.is_some() && answered.is_none());
        let thread = answered.map(|answered| answered.thread.unwrap_or(answered.offset));
        self.spool.note(&post.id, Place { offset, thread })?;
        let user = user(&post.user);
        let user = if user.is_empty() { "unknown".to_owned() } else { user };
        let name = cut(&post.name, NAME_BYTES_MAX);
        let (mentions, mentions_left) = mentions(post)?;
        let (data, files_left) = files(&post.files)?;
        self.told.left.mentions += mentions_left;
        self.told.left.reactions += post.lost_count;
        self.told.left.unnamed += post.unnamed_count;
        self.told.left.files += files_left;
        let body = raw(&body)?;
        let line = MessageLine {
            kind: Kind::Message,
            room: room.into(),
            offset,
            id: format!("{}-{offset}", shown(epoch)).into(),
            at: milliseconds(post.at_ms),
            name: if name.is_empty() { user.clone() } else { name }.into(),
            user: user.into(),
            body: Some(&body),
            key: None,
            reply_to: answered.map(|answered| answered.offset),
            thread,
            edited_at: post.edited_ms,
            deleted_at: None,
            deleted_by: None,
            pinned_at: post.pinned_ms,
            pinned_by: None,
            mentions: mentions.as_deref(),
            data: data.as_deref(),
            stream: false,
            reactions: (!post.reactions.is_empty()).then(|| borrowed(&post.reactions)),
            _extra: None,
            change: post.is_changed().then_some(change),
        };
        self.line(&post.place, &line)?;
        self.messages += 1;
        Ok(())
    }

    /// A name that no other room has: with a number, if it must be.
    fn free_name(&mut self, wanted: &str) -> String {
        let base = cut(wanted, NAME_BYTES_MAX - 8);
        let base = if base.is_empty() { "room".to_owned() } else { base };
        let number = self.numbers.entry(base.clone()).or_insert(1);
        loop {
            let name = if *number == 1 { base.clone() } else { format!("{base}-{number}") };
            *number += 1;
            if self.names.insert(name.clone()) {
                return name;
            }
        }
    }

    /// An epoch for a room: the same for the same one, and for no other. One without an id is known
    /// by its name.
    fn epoch(&self, id: &str, name: &str) -> u64 {
        let known_by = if id.is_empty() { format!(" {name}") } else { id.to_owned() };
        let digest = Sha1::digest(format!("{:?} {known_by}", self.product));
        digest.iter().take(8).fold(0, |epoch, byte| epoch << 8 | u64::from(*byte))
    }
}

/// What a room is set to.
fn settings(room: &Room) -> RoomSettings {
    RoomSettings {
        topic: topic(&room.topic).map(Into::into),
        join: if room.is_private { Joiners::Members } else { Joiners::All },
        speak: if room.is_archived { Speakers::Moderators } else { Speakers::All },
        ..RoomSettings::DEFAULT
    }
}

/// Reactions, for a line.
fn borrowed(reactions: &[(String, Vec<String>)]) -> Vec<Reaction<'_>> {
    reactions
        .iter()
        .map(|(emoji, users)| (emoji.into(), users.iter().map(Into::into).collect()))
        .collect()
}

fn milliseconds(unix_ms: u64) -> i64 {
    i64::try_from(unix_ms).unwrap_or(i64::MAX)
}

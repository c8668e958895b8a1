//! What is asked of an archive for a home that reads, and what that answers: values, so that what
//! decides (`follower`) knows no database.
//!
//! ```text
//!   follower ── Question ──> archive ── rows, laid under what the engine has ──> Reply ──> follower
//! ```
//!
//! What the engine has of the room was read before the question. So whatever the archive lacks by
//! then is in that, and what both have is told as the later change of it says.
//!
//! Deliberately absent: when the archive is asked, and what it is written from.

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::command::State;
use super::retention::Cut;
use super::view::{Messages, Page};
use crate::link::kept::push_numbered;
use crate::link::log::{Marks, Sought, Wanted, Why};
use crate::link::said::Replies;

/// Something that a home wants to know of a room.
pub(in crate::side) struct Question {
    /// The room's topic.
    pub(in crate::side) topic: Box<str>,
    /// The epoch in which it is: what the archive has of another one is of no use.
    pub(in crate::side) epoch: u64,
    /// What the engine has of it.
    pub(in crate::side) state: State,
    /// What is wanted.
    pub(in crate::side) what: What,
}

/// What is wanted of a room.
#[derive(Clone, Debug)]
pub(in crate::side) enum What {
    /// Messages.
    Page(Wanted),
    /// Messages with words in them.
    Words(Words),
    /// Up to where it is to let go of messages, for retention and not for a home.
    Oldest {
        /// Those go that were said before this time, in milliseconds of Unix time,
        before_ms: u64,
        /// and those that go by what the engine has.
        cut: Cut,
    },
}

/// [`Sought`], with memory of its own.
#[derive(Clone, Debug)]
pub(in crate::side) struct Words {
    /// What is looked for.
    pub(in crate::side) query: Box<str>,
    /// Whose they are, if it matters.
    pub(in crate::side) from: Option<Box<str>>,
    /// Those before this offset.
    pub(in crate::side) before: u64,
    /// How many there may be.
    pub(in crate::side) messages: u32,
    /// How many bytes they may have, about.
    bytes: usize,
}

impl Words {
    /// A copy.
    pub(super) fn new(sought: Sought<'_>) -> Self {
        let Sought { query, from, before, messages, bytes } = sought;
        Self { query: query.into(), from: from.map(Box::from), before, messages, bytes }
    }
}

/// A message as the archive has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::side) struct Row {
    /// Its offset.
    pub(in crate::side) offset: u64,
    /// The number of its last change.
    pub(in crate::side) change: u64,
    /// What it is; `None`, if what was to be written of it could not be read.
    pub(in crate::side) record: Option<Vec<u8>>,
}

/// What an archive has found.
#[derive(Debug, Default)]
pub(in crate::side) struct Found {
    /// The messages, each once.
    pub(in crate::side) rows: Vec<Row>,
    /// Whether there are more that have changed than it has given.
    pub(in crate::side) is_cut: bool,
    /// How often messages were answered that are the first of a thread, each with its offset.
    pub(in crate::side) replies: Vec<(u64, Replies)>,
    /// All messages up to here are in the archive.
    pub(in crate::side) upto: Marks,
    /// Up to where it is to let go of messages, if that was asked.
    pub(in crate::side) cut: Option<Cut>,
}

/// An answer, as a home is told.
pub(in crate::side) enum Reply {
    /// Messages.
    Page(Page),
    /// Messages that were found, the newest first, and before which offset there may be more; 0, if
    /// there are none.
    Hits { hits: Vec<u8>, more_before: u64 },
    /// Up to where it is to let go of messages.
    Oldest(Cut),
}

impl Question {
    /// What the archive has found, laid under what the engine has.
    pub(in crate::side) fn reply(&self, found: &Found) -> Reply {
        let messages = Messages::with_archive(&self.topic, &self.state, found);
        match &self.what {
            What::Page(wanted) => {
                let mut page = messages.page(*wanted);
                page.more |= found.is_cut;
                Reply::Page(page)
            }
            What::Words(words) => hits(&messages, words, &found.rows),
            What::Oldest { cut, .. } => Reply::Oldest(found.cut.unwrap_or(*cut)),
        }
    }
}

fn hits(messages: &Messages<'_>, words: &Words, rows: &[Row]) -> Reply {
    let mut offsets: Vec<u64> = rows.iter().map(|row| row.offset).collect();
    offsets.sort_unstable_by_key(|offset| std::cmp::Reverse(*offset));
    let (mut hits, mut count) = (Vec::new(), 0);
    for offset in &offsets {
        let is_full = count == words.messages || hits.len() > words.bytes;
        if is_full {
            return Reply::Hits { hits, more_before: offset + 1 };
        }
        // It may have been deleted since.
        let Some(of) = messages.told(*offset).filter(|of| of.fate.deleted.is_none()) else {
            continue;
        };
        push_numbered(&mut hits, *offset, of.at_ms, of.said, of.fate);
        count += 1;
    }
    // As many as were asked for: some may have been deleted.
    let is_all = offsets.len() <= words.messages as usize;
    let last = offsets.last().copied().unwrap_or_default();
    Reply::Hits { hits, more_before: if is_all { 0 } else { last } }
}

/// What comes back for a question, by its number.
pub(in crate::side) type Answered = (u64, Result<Reply, Why>);

/// The engine's end of the way to an archive.
pub struct OlderEnd {
    asks: UnboundedSender<(u64, Question)>,
    answers: UnboundedReceiver<Answered>,
}

/// The archive's end of it.
pub struct ArchiveEnd {
    /// What is asked.
    pub(in crate::side) asked: UnboundedReceiver<(u64, Question)>,
    /// Where it is answered.
    pub(in crate::side) answers: UnboundedSender<Answered>,
}

/// Both ends of a way.
#[must_use]
pub fn connect() -> (OlderEnd, ArchiveEnd) {
    let (asks, asked) = unbounded_channel();
    let (tells, answers) = unbounded_channel();
    (OlderEnd { asks, answers }, ArchiveEnd { asked, answers: tells })
}

impl OlderEnd {
    /// Asks something. False, if nobody is there.
    pub(super) fn ask(&self, number: u64, question: Question) -> bool {
        self.asks.send((number, question)).is_ok()
    }

    /// The next answer, if one has come.
    pub(super) fn next(&mut self) -> Option<Answered> {
        self.answers.try_recv().ok()
    }

    /// Waits for the next answer.
    pub(super) async fn wait(&mut self) -> Option<Answered> {
        self.answers.recv().await
    }
}

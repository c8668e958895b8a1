//! An entry that a log has not answered for good: who proposed it, what it was judged by, and what
//! becomes of it after a conflict.
//!
//! Deliberately absent: the others of its room, and what waits behind it (`pending`).
//!
//! Called by: `rooms`. Calls: nothing.

use crate::limits::PENDING_MEMORY_BYTES;
use crate::link::log::{Judged, Marks, Placed, Ticket};
use crate::link::record::{Received, read};
use crate::link::refusal::Refusal;
use crate::link::said::{MessageText, SaidText};
use crate::room::keys::KeyHash;
use crate::rooms::held::Membership;

/// What a message was when a change of it was proposed.
#[derive(Debug, Clone)]
pub(super) struct Was {
    /// Its offset.
    pub(super) offset: u64,
    /// The last change of its room by then.
    pub(super) top: u64,
    pub(super) message: MessageText,
    /// Whether it was another one when the change was proposed.
    pub(super) is_news: bool,
}

/// What becomes of an entry after a conflict.
#[derive(Debug)]
pub(super) enum Again {
    /// It is refused.
    Never,
    /// It only asked whether a message was said before, which is refused for this if it was not.
    Recall(Refusal),
    /// A message is proposed again as it was said.
    Said(SaidText),
    /// The push that asked for it is judged from the beginning.
    Push(Box<[u8]>),
    /// A message is deleted as it is by then, by decision of a user: by a purge, of which all but
    /// the last deletion are known to be kept by that.
    Purge {
        /// Whose decision it is.
        by: Box<str>,
        /// What all deletions of the purge have in common.
        purge: Ticket,
    },
    /// What was collected is told with the next tick: see `collecting`.
    Collect,
    /// The joins that wait for it are judged from the beginning: see `inviting`.
    Join,
    /// Whoever asked for the room asks again: see `founding`.
    Found,
}

impl Again {
    /// What it takes, in bytes.
    fn bytes(&self) -> usize {
        match self {
            Self::Said(said) => said.text_bytes(),
            Self::Push(record) => record.len(),
            Self::Purge { by, .. } => by.len(),
            Self::Never | Self::Recall(_) | Self::Collect | Self::Join | Self::Found => 0,
        }
    }
}

/// An entry that has not been answered for good.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is something that it is, or is not")]
pub(super) struct UnderWay {
    /// Who proposed it.
    pub(super) membership: Membership,
    /// What becomes of it after a conflict.
    pub(super) again: Again,
    /// Whether what is said behind it waits for it: it decides who may say what.
    pub(super) is_decision: bool,
    pub(super) key_hash: Option<KeyHash>,
    /// What a message was that has changed: one that may not be in memory when its log has placed
    /// the entry, or has found a conflict.
    pub(super) was: Option<Box<Was>>,
    /// The epoch and revision that it was judged by.
    pub(super) judged: Judged,
    /// Whether it conflicted, and is to be proposed again.
    pub(super) is_parked: bool,
    /// Its ticket when it was proposed first: its place in the order in which things were said.
    pub(super) first_ticket: Ticket,
    /// How often it has been proposed.
    pub(super) proposals: u32,
    /// Its place, once it has been applied and told.
    pub(super) applied_at: Option<Marks>,
    /// The place that its publisher is told once it is kept.
    pub(super) placed: Option<Placed>,
    /// What is told instead, of a decision about the room.
    pub(super) answer: Option<Box<str>>,
    /// The others whose part is in it, each with what it is told once that is kept.
    pub(super) along: Vec<(Ticket, Box<str>)>,
    /// Whether it is kept, and waits only to be applied.
    pub(super) is_confirmed: bool,
    /// Whether its publisher was told that it may be kept.
    pub(super) is_doubtful: bool,
}

impl UnderWay {
    /// An entry that nothing is known of yet but that it was proposed.
    pub(super) const fn new(membership: Membership, ticket: Ticket, judged: Judged) -> Self {
        Self {
            membership,
            again: Again::Never,
            is_decision: false,
            key_hash: None,
            was: None,
            judged,
            is_parked: false,
            first_ticket: ticket,
            proposals: 1,
            applied_at: None,
            placed: None,
            answer: None,
            along: Vec::new(),
            is_confirmed: false,
            is_doubtful: false,
        }
    }

    /// What it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let answer = self.answer.as_ref().map_or(0, |answer| answer.len());
        let along =
            self.along.iter().map(|(_, answer)| size_of::<(Ticket, Box<str>)>() + answer.len());
        let was = self.was.as_ref().map_or(0, |was| was.message.memory_bytes());
        let answer = answer + along.sum::<usize>() + was;
        PENDING_MEMORY_BYTES + self.again.bytes() + answer
    }

    /// Whether it is lost in a room that has turned, and is still there up to `kept`. One that was
    /// kept and has not come back by then never does.
    pub(super) fn is_lost_behind(&self, kept: Marks) -> bool {
        match (self.applied_at, self.placed) {
            (Some(at), _) => !at.is_within(kept),
            (None, Some(placed)) if self.is_confirmed => {
                placed.is_decision() || !placed.marks.is_within(kept)
            }
            (None, _) => false,
        }
    }

    /// Whether it is something that is said. What others change is not known yet.
    pub(super) fn is_said(&self) -> bool {
        matches!(self.again, Again::Said(_))
    }

    /// Whether it is about a message behind this offset, as far as it would be proposed again.
    pub(super) fn is_about_behind(&self, offset: u64) -> bool {
        let about = match &self.again {
            Again::Said(said) => said.reply_to,
            Again::Push(record) => {
                let Received::ToHome(push) = read(record) else { unreachable!("only pushes wait") };
                push.about()
            }
            Again::Purge { .. } => self.was.as_ref().map(|was| was.offset),
            Again::Never | Again::Recall(_) | Again::Collect | Again::Join | Again::Found => None,
        };
        about.is_some_and(|about| about > offset)
    }
}

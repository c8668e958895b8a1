//! What a log is asked to read of an open room and to look for in it, and what it found.
//!
//! Deliberately absent: what becomes of it on its way back to who has asked, which is the home's
//! (`rooms/reading.rs`).

use crate::link::audit::AuditWanted;
use crate::link::field::Field;
use crate::link::ids::RoomKey;
use crate::link::log::Ticket;
use crate::link::said::MessageText;

/// What a log is asked to read of an open room.
#[derive(Clone, Copy, Debug)]
pub struct Read<'a> {
    /// The room, as the answer names it.
    pub room: RoomKey,
    /// Its topic.
    pub topic: &'a str,
    /// Names the read in its answer.
    pub ticket: Ticket,
    /// Which messages.
    pub wanted: Wanted,
}

/// Which messages of a room are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Those behind this offset,
    pub after: u64,
    /// and up to this one, which the home has applied.
    pub upto: u64,
    /// Which of them, if they are too many.
    pub part: Part,
    /// How many there may be.
    pub messages: u32,
    /// How many bytes they may have, about. One message may have more.
    pub bytes: usize,
    /// And also, of those up to `after`, all that have changed behind this change, if they are
    /// asked for.
    pub changed: Option<u64>,
    /// Among which messages: the bounds above are of these.
    pub view: View,
}

/// Among which messages of a room something is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// All of them.
    #[default]
    Room,
    /// Those of a thread: the message with this offset, and all whose `thread` that is.
    Thread(u64),
    /// Those that are pinned.
    Pins,
}

impl Field<'_> for View {
    fn put(self, out: &mut Vec<u8>) {
        let (number, root) = match self {
            Self::Room => (0u8, 0),
            Self::Thread(root) => (1, root),
            Self::Pins => (2, 0),
        };
        number.put(out);
        root.put(out);
    }

    fn read(record: &mut &[u8]) -> Option<Self> {
        let (number, root) = (u8::read(record)?, u64::read(record)?);
        Some(match number {
            0 => Self::Room,
            1 => Self::Thread(root),
            2 => Self::Pins,
            _ => return None,
        })
    }
}

/// Which part of a range of messages is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The newest, for a page before an offset.
    Newest,
    /// The oldest, for a page after an offset.
    Oldest,
    /// All of it, for a recovery: only of use if it is whole. Read from the oldest on.
    All,
    /// Those around the message with this offset, which is one of them: on each side the nearest.
    /// Of all messages of the room only.
    Around(u64),
}

/// Messages of a room that were read, in order and without a gap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    /// The offset of the first one; of no meaning if there is none. It may be behind the first that
    /// was wanted, and the last one before the last, where messages were let go of or are damaged.
    pub first: u64,
    /// As they stand.
    pub messages: Vec<MessageText>,
    /// Whether there is more of what was wanted: before these, or behind them where the oldest were
    /// wanted.
    pub more: bool,
    /// The messages that have changed, if they were asked for, each with its offset, in the order
    /// of these: all of them, or there is `more`.
    pub changed: Vec<(u64, MessageText)>,
    /// The messages, each with its offset, in the order of these, where they were not wanted among
    /// all of the room. Then there is nothing in `messages`.
    pub picked: Vec<(u64, MessageText)>,
}

impl Stretch {
    /// The messages that there are reactions to, each with who has reacted.
    pub(crate) fn reactions(&self) -> impl Iterator<Item = (u64, &str)> {
        let messages = (self.first..).zip(&self.messages);
        let placed = self.changed.iter().chain(&self.picked).map(|(offset, of)| (*offset, of));
        messages.chain(placed).filter_map(|(offset, of)| Some((offset, of.reacted()?)))
    }

    /// Whether a message is among [`Stretch::messages`].
    pub(crate) fn has(&self, offset: u64) -> bool {
        (self.first..self.first + self.messages.len() as u64).contains(&offset)
    }
}

/// What a log is asked to look for in an open room.
#[derive(Clone, Copy, Debug)]
pub struct Find<'a> {
    /// The room, as the answer names it.
    pub room: RoomKey,
    /// Names the search in its answer.
    pub ticket: Ticket,
    /// What is looked for.
    pub sought: Sought<'a>,
}

/// Which messages are looked for, the newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sought<'a> {
    /// Words that must all be in them; of the last one the beginning.
    pub query: &'a str,
    /// The user whose they are, if it matters.
    pub from: Option<&'a str>,
    /// Those before this offset.
    pub before: u64,
    /// How many there may be.
    pub messages: u32,
    /// How many bytes they may have, about. One message may have more.
    pub bytes: usize,
}

/// What a log is asked to read of the audit trail of an open room.
#[derive(Clone, Copy, Debug)]
pub struct Audit {
    /// The room, as the answer names it.
    pub room: RoomKey,
    /// Names the question in its answer.
    pub ticket: Ticket,
    /// Which lines.
    pub wanted: AuditWanted,
    /// How many bytes they may have, about.
    pub bytes: usize,
}

/// Messages that were found, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// Each with its offset.
    pub messages: Vec<(u64, MessageText)>,
    /// Before which offset there may be more.
    pub more_before: Option<u64>,
}

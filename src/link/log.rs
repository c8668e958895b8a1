//! The port to what keeps a room's entries. A room proposes an entry; its log gives it an order and
//! keeps it, or refuses it.
//!
//! ```text
//!   Rooms ── open(topic) ─────> Log ── Opening: in the call, or FromLog::Opened
//!   Rooms ── append(Append) ──> Log ── Appended: in the call
//!   Rooms ── read(Read) ──────> Log
//!   Rooms ── say(Say) ────────> Log ── Spoken: in the call
//!                                │
//!   Rooms <───── FromLog ────────┘     later, in the order of the log
//! ```
//!
//! | | memory | store | engine |
//! |---|---|---|---|
//! | `open` says | [`Opening::New`] | [`Opening::Later`] | [`Opening::Later`] |
//! | `append` says | [`Appended::Kept`] | [`Appended::Ordered`] | [`Appended::Later`] |
//! | who gives the place | the home | the home | the log: [`FromLog::Entry`] |
//! | `say` says | [`Spoken::Now`] | [`Spoken::Now`] | [`Spoken::Later`] |
//! | the publisher is answered | in the call | at [`FromLog::Kept`] | behind its entry and `Kept` |
//!
//! Which one the rooms have, `app/keeping.rs` chooses: it opens the store that is configured, and
//! without one `app/boot.rs` gives each shard a [`MemoryLog`].
//!
//! The rules for every log, which `rooms::contract` checks:
//!
//! 1. entries of a room come in order and without a gap, or [`FromLog::Turned`] comes before them;
//! 2. after a restart an entry that was `Kept` is there, with all earlier ones of its room, or the
//!    room's lineage says up to where they are;
//! 3. [`Why::Storage`] and [`Why::Unavailable`]: nothing was kept, and nothing will be;
//!    [`Why::Unconfirmed`]: either is possible; [`Why::Conflict`]: nothing was done, the home may
//!    propose again. What has changed is told, too, before that or behind it. What was judged in an
//!    epoch that has ended is a conflict;
//! 4. a log that gives the order remembers keys: a key that was used before gets the first receipt,
//!    in [`FromLog::Kept`], and no second entry. Where the home gives the order, the home remembers
//!    them;
//! 5. an entry is a final state: one that comes twice is applied once;
//! 6. a log that opens a room later says nothing of it before [`FromLog::Opened`] or
//!    [`FromLog::NotOpened`]. One of them always comes, unless the room is closed first;
//! 7. a read is answered once, with [`FromLog::Read`] or [`FromLog::NotRead`], even if its room is
//!    closed meanwhile. What is read has all that the home had applied when it asked; and if the
//!    room turned before it was read, that is said first. A message that was said before the last
//!    [`LINEAGE_EPOCHS_MAX`](crate::limits::LINEAGE_EPOCHS_MAX) epochs that have ended comes with
//!    its own ([`Fate::epoch`](crate::link::said::Fate::epoch)), for its home may have forgotten
//!    it: also where it is found, and where another node has changed it;
//! 8. what is decided of a room has its place among the entries: in the call, or, if that was
//!    answered with [`Appended::Later`], when it comes back. It is there when the room is opened
//!    again. What a room is opened with is kept, or a turn that loses something of it is said;
//! 9. the line of an entry is kept with that, or neither is;
//! 10. a log that several homes share ([`Log::is_shared`]) gives all entries their order, and lines
//!     their numbers. Each home hears all of them, its own with their tickets, each once. Of
//!     changes that it has missed it may hear the last one of each message, so that numbers between
//!     are never said. A turn that may have lost a decision that was told is not said: the room is
//!     [`FromLog::Closed`], as it is where the log has lost its place in it otherwise;
//! 11. what is said and not kept is heard at most once, by all who hear the room, in one order with
//!     each other and with the entries of the room. If it was `Later` and has a ticket, one of
//!     [`FromLog::Heard`] and [`FromLog::Refused`] follows. A say is never before an append that
//!     was placed when it was said, and never behind one that was asked for later;
//! 12. if something said in an open room may have been missed here, or not have been heard by
//!     others, [`FromLog::Missed`] follows once the room is heard again.
//!
//! Deliberately absent: blocking, and errors. A log answers when it can, and says with a [`Why`]
//! what it cannot do.

use std::sync::Arc;

use crate::auth::level::Standing;
use crate::link::audit::{AuditLine, AuditWanted, LineText};
use crate::link::ids::{Receipt, RoomKey};
use crate::link::refusal::Refusal;
use crate::link::said::{MessageText, Said, SaidText};
use crate::mesh::Wake;
use crate::wire::phx::Payload;

/// Names an append until its final answer. Given out once within the life of a shard.
pub type Ticket = u64;

/// A node of a cluster, as others name it.
pub type NodeId = u64;

/// How far a room has come: its two counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The offset of the last message.
    pub offset: u64,
    /// The number of the last change of a message.
    pub change: u64,
}

impl Marks {
    /// The smaller of each counter.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self { offset: self.offset.min(other.offset), change: self.change.min(other.change) }
    }

    /// The greater of each counter.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { offset: self.offset.max(other.offset), change: self.change.max(other.change) }
    }

    /// Whether neither counter is beyond the other's.
    #[must_use]
    pub fn is_within(self, other: Self) -> bool {
        self.offset <= other.offset && self.change <= other.change
    }
}

/// What a room keeps: a final state, and what it was judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// If the log has other values for the room, the entry is a conflict.
    pub judged: Judged,
    /// What it says.
    pub what: What<'a>,
    /// What the room's audit trail says of it, which is kept with it.
    pub audit: Option<&'a AuditLine<'a>>,
}

/// What an entry was judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Judged {
    /// The room's epoch: after a turn numbers may be given again.
    pub epoch: u64,
    /// The revision of its settings and standings. Told to nodes, never to clients.
    pub rev: u64,
}

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What<'a> {
    /// A new message.
    Message(Said<'a>),
    /// A message has become another one.
    Changed {
        /// Which message.
        offset: u64,
        /// What it is from now on. The number of the change is that of the entry's place. Where it
        /// was deleted it says nothing, but its key stays.
        message: &'a MessageText,
    },
    /// The room was made on purpose, and is called so in lists.
    Founded {
        /// Its title.
        title: &'a str,
        /// The user whose it is from now on.
        owner: Option<&'a str>,
    },
    /// The settings of the room are these from now on, and it stays when it is empty.
    Settings {
        /// What it is called in lists.
        title: &'a str,
        /// All others: see [`RoomSettings`](crate::link::facts::RoomSettings).
        settings: &'a str,
    },
    /// A user stands so in the room from now on.
    Standing {
        /// The user's id.
        user: &'a str,
        /// All that holds of it.
        standing: Standing,
    },
    /// Nothing, but for the line of the audit trail.
    Noted,
}

impl What<'_> {
    /// Whether it is about the room, and not about a message.
    #[must_use]
    pub fn is_of_room(&self) -> bool {
        match self {
            Self::Message(_) | Self::Changed { .. } => false,
            Self::Founded { .. } | Self::Settings { .. } | Self::Standing { .. } | Self::Noted => {
                true
            }
        }
    }
}

/// What an entry says, with memory of its own: [`What`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "see `What`")]
pub enum WhatText {
    Message(SaidText),
    Changed(u64, Box<MessageText>),
    Founded { title: Box<str>, owner: Option<Box<str>> },
    Settings { title: Box<str>, settings: Box<str> },
    Standing { user: Box<str>, standing: Standing },
    Noted,
}

impl WhatText {
    /// A copy.
    #[must_use]
    pub fn new(what: What<'_>) -> Self {
        match what {
            What::Message(said) => Self::Message(SaidText::new(said)),
            What::Changed { offset, message } => Self::Changed(offset, Box::new(message.clone())),
            What::Founded { title, owner } => {
                Self::Founded { title: title.into(), owner: owner.map(Box::from) }
            }
            What::Settings { title, settings } => {
                Self::Settings { title: title.into(), settings: settings.into() }
            }
            What::Standing { user, standing } => Self::Standing { user: user.into(), standing },
            What::Noted => Self::Noted,
        }
    }

    /// As it is said.
    #[must_use]
    pub fn what(&self) -> What<'_> {
        match self {
            Self::Message(said) => What::Message(said.said()),
            Self::Changed(offset, message) => What::Changed { offset: *offset, message },
            Self::Founded { title, owner } => What::Founded { title, owner: owner.as_deref() },
            Self::Settings { title, settings } => What::Settings { title, settings },
            Self::Standing { user, standing } => What::Standing { user, standing: *standing },
            Self::Noted => What::Noted,
        }
    }
}

/// The place of an entry: the counter that it has moved, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The number that it has: a message its offset, a change its change. The other one is 0.
    pub marks: Marks,
    /// When it was accepted, in milliseconds of Unix time.
    pub at_ms: u64,
}

impl Placed {
    /// Of a message.
    #[must_use]
    pub fn message(receipt: Receipt) -> Self {
        let Receipt { offset, at_ms } = receipt;
        Self { marks: Marks { offset, change: 0 }, at_ms }
    }

    /// Of what is decided of the room: neither counter.
    #[must_use]
    pub fn decision(at_ms: u64) -> Self {
        Self { marks: Marks::default(), at_ms }
    }

    /// Whether it is that of a decision.
    #[must_use]
    pub fn is_decision(self) -> bool {
        self.marks == Marks::default()
    }

    /// Of a change.
    #[must_use]
    pub fn change(change: u64, at_ms: u64) -> Self {
        Self { marks: Marks { offset: 0, change }, at_ms }
    }

    /// What the publisher of a message is told.
    #[must_use]
    pub fn receipt(self) -> Receipt {
        Receipt { offset: self.marks.offset, at_ms: self.at_ms }
    }
}

/// What a log is asked to keep.
#[derive(Clone, Copy, Debug)]
pub struct Append<'a> {
    /// The room, as answers name it.
    pub room: RoomKey,
    /// Its topic, by which it is found after a restart.
    pub topic: &'a str,
    /// Names the append in answers.
    pub ticket: Ticket,
    /// The home's counters before this entry. A log that leaves the order to the home keeps the
    /// entry right behind them.
    pub top: Marks,
    /// The time that the home gives the entry, in milliseconds of Unix time: never before that of
    /// the last one.
    pub at_ms: u64,
    /// What is to be kept.
    pub entry: Entry<'a>,
}

/// What a log says in the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It has its place, right behind the last entry, and is kept.
    Kept,
    /// It has its place, right behind the last entry. A [`FromLog`] will say whether it is kept.
    Ordered,
    /// A [`FromLog`] will say its place, and another whether it is kept.
    Later,
    /// Nothing was done.
    Refused(Why),
}

/// What is said in a room and not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unkept<'a> {
    /// An event of an application.
    Custom {
        /// Its name.
        event: &'a str,
        /// What it says.
        payload: Payload<'a>,
    },
    /// A user types.
    Typing {
        /// The user's id.
        user: &'a str,
        /// Its name.
        name: &'a str,
        /// The thread in which it does.
        thread: Option<u64>,
    },
    /// Who is there, as a home tells the homes of the room on other nodes. They alone know what it
    /// means.
    Presence(&'a [u8]),
}

/// What is said in a room and not kept, with memory of its own: [`Unkept`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "see `Unkept`")]
pub enum UnkeptText {
    Custom { event: Box<str>, payload: PayloadText },
    Typing { user: Box<str>, name: Box<str>, thread: Option<u64> },
    Presence(Box<[u8]>),
}

/// The payload of an event, with memory of its own: [`Payload`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "see `Payload`")]
pub enum PayloadText {
    Json(Box<str>),
    Binary(Box<[u8]>),
}

impl UnkeptText {
    /// A copy.
    #[must_use]
    pub fn new(what: Unkept<'_>) -> Self {
        match what {
            Unkept::Custom { event, payload } => {
                let payload = match payload {
                    Payload::Json(text) => PayloadText::Json(text.into()),
                    Payload::Binary(data) => PayloadText::Binary(data.into()),
                };
                Self::Custom { event: event.into(), payload }
            }
            Unkept::Typing { user, name, thread } => {
                Self::Typing { user: user.into(), name: name.into(), thread }
            }
            Unkept::Presence(record) => Self::Presence(record.into()),
        }
    }

    /// As it is said.
    #[must_use]
    pub fn unkept(&self) -> Unkept<'_> {
        match self {
            Self::Custom { event, payload } => {
                let payload = match payload {
                    PayloadText::Json(text) => Payload::Json(text),
                    PayloadText::Binary(data) => Payload::Binary(data),
                };
                Unkept::Custom { event, payload }
            }
            Self::Typing { user, name, thread } => Unkept::Typing { user, name, thread: *thread },
            Self::Presence(record) => Unkept::Presence(record),
        }
    }
}

/// What a log is asked to tell all who hear a room, and not to keep.
#[derive(Clone, Copy, Debug)]
pub struct Say<'a> {
    /// The room, as answers name it.
    pub room: RoomKey,
    /// Its topic, by which other nodes know it.
    pub topic: &'a str,
    /// Names it in its answer, if somebody waits for that.
    pub ticket: Option<Ticket>,
    /// The node that alone is to hear it. Then the order is that of what the two say to each other.
    pub to: Option<NodeId>,
    /// What is said.
    pub what: Unkept<'a>,
}

/// What a log says in the call to what is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// Nobody hears the room but its home: the home tells its members now, and has no others to
    /// tell.
    Now,
    /// A [`FromLog::Heard`] will follow, at this node too, unless it is for another node alone.
    Later,
    /// Nobody will hear it.
    Refused(Why),
}

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

/// Why an entry was refused, or something could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The disk did not take it, or does not give it. Nothing was kept.
    Storage,
    /// The engine cannot be reached. Nothing was kept.
    Unavailable,
    /// It is not known whether it was kept.
    Unconfirmed,
    /// Too much is under way. Nothing was kept.
    Busy,
    /// What it was judged by has changed. Nothing was kept; the home proposes again.
    Conflict,
    /// There are as many rooms as may be. Nothing was kept.
    Full,
    /// The message that was to be changed has been let go of. Nothing was kept.
    Gone,
}

impl Why {
    /// What the client is told.
    pub(crate) fn refusal(self) -> Refusal {
        match self {
            Self::Storage => Refusal::Storage,
            Self::Unavailable => Refusal::Unavailable,
            Self::Unconfirmed => Refusal::Unconfirmed,
            // A conflict is told only after it was proposed again often enough.
            Self::Busy | Self::Conflict => Refusal::Busy,
            Self::Full => Refusal::TooManyRooms,
            Self::Gone => Refusal::Gone,
        }
    }
}

/// What a log says later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromLog<'a> {
    /// A room is open that the log said it would open later.
    Opened {
        /// The room.
        room: RoomKey,
        /// What was kept of it; `None` if it is new, and begins in the epoch that was given.
        opened: Option<&'a Opened>,
    },
    /// The log has lost its place in a room: nothing more is said of it, and its appends that have
    /// not been answered are in doubt. It may be opened again.
    Closed {
        /// The room.
        room: RoomKey,
    },
    /// A room could not be opened.
    NotOpened {
        /// The room.
        room: RoomKey,
        /// Why.
        why: Why,
    },
    /// The next entry of a room, proposed here or elsewhere. Not sent for one that was
    /// [`Appended::Ordered`].
    Entry {
        /// The room.
        room: RoomKey,
        /// The append that it answers, if that was made here.
        ticket: Option<Ticket>,
        /// Where it stands.
        placed: Placed,
        /// The room's `rev` with it.
        rev: u64,
        /// What it says.
        what: What<'a>,
        /// Its line of the audit trail, if it has one and the log has given that its number.
        line: Option<&'a LineText>,
    },
    /// An append is kept, or its key had been used for one that is.
    Kept {
        /// The room.
        room: RoomKey,
        /// Which append.
        ticket: Ticket,
        /// Where it stands, or the one that had its key.
        placed: Placed,
    },
    /// An append, or what was said and not kept, was refused.
    Refused {
        /// The room.
        room: RoomKey,
        /// Which append, or say.
        ticket: Ticket,
        /// Why.
        why: Why,
    },
    /// What was to be read.
    Read {
        /// The room.
        room: RoomKey,
        /// Which read.
        ticket: Ticket,
        /// The messages.
        stretch: &'a Stretch,
    },
    /// What was looked for.
    Found {
        /// The room.
        room: RoomKey,
        /// Which search.
        ticket: Ticket,
        /// The messages.
        hits: &'a Hits,
    },
    /// The lines of an audit trail.
    Audited {
        /// The room.
        room: RoomKey,
        /// Which question.
        ticket: Ticket,
        /// The answer: see [`AuditPage`](crate::link::audit::AuditPage).
        page: &'a str,
    },
    /// Something could not be read or looked for.
    NotRead {
        /// The room.
        room: RoomKey,
        /// Which read.
        ticket: Ticket,
        /// Why.
        why: Why,
    },
    /// Rooms that are kept: the answer to [`Log::list`].
    Listed {
        /// Some of them.
        rooms: &'a [ListedRoom],
        /// Behind which place there are more, or will be; `None` if these are the last.
        next: Option<u64>,
    },
    /// They cannot be read now.
    NotListed,
    /// The room goes on in a new epoch, since entries of it may be lost.
    Turned {
        /// The room.
        room: RoomKey,
        /// The new epoch.
        epoch: u64,
        /// Up to where all entries are still there.
        kept: Marks,
    },
    /// Messages of a room have been let go of, as the log was told to: nobody is given them any
    /// more.
    LetGo {
        /// The room.
        room: RoomKey,
        /// Up to which offset, and the greatest change among them: what became of messages up to
        /// it cannot be told.
        floor: Marks,
    },
    /// Something was said in a room that is not kept, here or on another node.
    Heard {
        /// The room.
        room: RoomKey,
        /// The node that it was said on.
        from: NodeId,
        /// The say that it was, if that was made here.
        ticket: Option<Ticket>,
        /// What was said.
        what: Unkept<'a>,
    },
    /// What was said in a room and not kept may have been missed here, or not have been heard by
    /// others. From now on it is heard again.
    Missed {
        /// The room.
        room: RoomKey,
    },
    /// Of no room: which node this is, and in which life. Said before anything of a room, and again
    /// when it has begun another life, since the others may have given up the one before. Said to
    /// each shard, and again to one that has begun anew.
    Life {
        /// The node.
        node: NodeId,
        /// Its life: greater than all before.
        life: u64,
    },
    /// Of no room: nodes whose lives are over, those among them that have begun another.
    Gone {
        /// Each with the life that is, and all before that.
        nodes: &'a [(NodeId, u64)],
    },
    /// Of no room: another node asks for a session of long polling here. Answered by
    /// [`Log::answer_session`].
    SessionAsked {
        /// The node.
        from: NodeId,
        /// What it asks, as shards of one node do.
        record: &'a [u8],
    },
    /// Of no room: the answer to [`Log::ask_session`].
    SessionAnswered {
        /// What it says, as shards of one node do.
        record: &'a [u8],
    },
}

/// What a log that other threads are behind says later, with memory of its own: [`FromLog`] for
/// whoever carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "see `FromLog`")]
pub enum LogAnswer {
    Opened {
        room: RoomKey,
        opened: Option<Opened>,
    },
    NotOpened {
        room: RoomKey,
        why: Why,
    },
    Entry {
        room: RoomKey,
        ticket: Option<Ticket>,
        placed: Placed,
        rev: u64,
        what: WhatText,
        line: Option<LineText>,
    },
    Closed {
        room: RoomKey,
    },
    Kept {
        room: RoomKey,
        ticket: Ticket,
        placed: Placed,
    },
    Refused {
        room: RoomKey,
        ticket: Ticket,
        why: Why,
    },
    Read {
        room: RoomKey,
        ticket: Ticket,
        stretch: Stretch,
    },
    Found {
        room: RoomKey,
        ticket: Ticket,
        hits: Hits,
    },
    Audited {
        room: RoomKey,
        ticket: Ticket,
        page: Box<str>,
    },
    NotRead {
        room: RoomKey,
        ticket: Ticket,
        why: Why,
    },
    LetGo {
        room: RoomKey,
        floor: Marks,
    },
    Listed {
        rooms: Vec<ListedRoom>,
        next: Option<u64>,
    },
    NotListed,
    Turned {
        room: RoomKey,
        epoch: u64,
        kept: Marks,
    },
    Heard {
        room: RoomKey,
        from: NodeId,
        ticket: Option<Ticket>,
        what: UnkeptText,
    },
    Missed {
        room: RoomKey,
    },
    Life {
        node: NodeId,
        life: u64,
    },
    Gone {
        nodes: Vec<(NodeId, u64)>,
    },
    SessionAsked {
        from: NodeId,
        record: Box<[u8]>,
    },
    SessionAnswered {
        record: Box<[u8]>,
    },
}

impl LogAnswer {
    /// As it is said.
    #[must_use]
    pub fn said(&self) -> FromLog<'_> {
        match *self {
            Self::Opened { room, ref opened } => FromLog::Opened { room, opened: opened.as_ref() },
            Self::NotOpened { room, why } => FromLog::NotOpened { room, why },
            Self::Entry { room, ticket, placed, rev, ref what, ref line } => {
                let (what, line) = (what.what(), line.as_ref());
                FromLog::Entry { room, ticket, placed, rev, what, line }
            }
            Self::Closed { room } => FromLog::Closed { room },
            Self::Kept { room, ticket, placed } => FromLog::Kept { room, ticket, placed },
            Self::Refused { room, ticket, why } => FromLog::Refused { room, ticket, why },
            Self::Read { room, ticket, ref stretch } => FromLog::Read { room, ticket, stretch },
            Self::Found { room, ticket, ref hits } => FromLog::Found { room, ticket, hits },
            Self::Audited { room, ticket, ref page } => FromLog::Audited { room, ticket, page },
            Self::NotRead { room, ticket, why } => FromLog::NotRead { room, ticket, why },
            Self::LetGo { room, floor } => FromLog::LetGo { room, floor },
            Self::Listed { ref rooms, next } => FromLog::Listed { rooms, next },
            Self::NotListed => FromLog::NotListed,
            Self::Turned { room, epoch, kept } => FromLog::Turned { room, epoch, kept },
            Self::Heard { room, from, ticket, ref what } => {
                FromLog::Heard { room, from, ticket, what: what.unkept() }
            }
            Self::Missed { room } => FromLog::Missed { room },
            Self::Life { node, life } => FromLog::Life { node, life },
            Self::Gone { ref nodes } => FromLog::Gone { nodes },
            Self::SessionAsked { from, ref record } => FromLog::SessionAsked { from, record },
            Self::SessionAnswered { ref record } => FromLog::SessionAnswered { record },
        }
    }
}

/// A room that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRoom {
    /// Its topic.
    pub topic: Box<str>,
    /// Its title, if it was made on purpose.
    pub founded: Option<Box<str>>,
    /// How many are present in it, as far as its log knows. `None`: it is in the list no more.
    pub present: Option<u32>,
}

/// What a log knows of a room that is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// The epoch that the room is in.
    pub epoch: u64,
    /// Whether nothing was ever said or decided in it: it begins, in an epoch that its log has
    /// given it.
    pub is_new: bool,
    /// The one that it began in.
    pub origin: u64,
    /// Its counters.
    pub top: Marks,
    /// The revision of its settings and standings.
    pub rev: u64,
    /// What is up to here is kept for good.
    pub kept: Marks,
    /// Its title, if it was made on purpose.
    pub founded: Option<Box<str>>,
    /// Its settings, if some were decided.
    pub settings: Option<Box<str>>,
    /// How users stand in it.
    pub standings: Vec<(Box<str>, Standing)>,
    /// The number of the last line of its audit trail; 0, if it has none.
    pub audited: u64,
    /// The epochs before it, the latest first, and up to where each is still true:
    /// [`LINEAGE_EPOCHS_MAX`](crate::limits::LINEAGE_EPOCHS_MAX), and of those before them the ones
    /// in which messages of the tail, or of `keys`, were said.
    pub lineage: Vec<(u64, Marks)>,
    /// Up to where messages, and changes of those, have been let go of.
    pub floor: Marks,
    /// The offsets of its pinned messages, ascending; of very many the last ones.
    pub pins: Vec<u64>,
    /// By which of the changes that are not kept for good a message was pinned, or was so no more:
    /// in order, each with the offset.
    pub unkept_pins: Vec<(u64, u64)>,
    /// Which keys messages before the tail were given, in their order.
    pub keys: Vec<Keyed>,
    /// Its last messages, without a gap.
    pub tail: Vec<MessageText>,
}

/// The key that a user gave a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// The user's id.
    pub user: Box<str>,
    /// Its key.
    pub key: Box<str>,
    /// The receipt of the message.
    pub receipt: Receipt,
}

/// What a log says in the call when it is asked to open a room.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub enum Opening {
    /// The room is new, and begins in the epoch that was given.
    New,
    /// What was kept of it.
    Kept(Opened),
    /// A [`FromLog::Opened`] or [`FromLog::NotOpened`] will follow.
    Later,
    /// It cannot be opened now.
    Refused(Why),
}

/// Keeps the entries of rooms. Calls of [`MemoryLog`] are compiled away.
pub trait Log {
    /// Whether a room of which something was kept is there when its home has let go of it.
    #[inline]
    fn keeps(&self) -> bool {
        true
    }

    /// Whether other homes than this one have its rooms, too: see rule 10.
    #[inline]
    fn is_shared(&self) -> bool {
        false
    }

    /// Opens a room. A new one begins in `fresh_epoch`. Answers name it by `room` from now on.
    fn open(&mut self, room: RoomKey, topic: &str, fresh_epoch: u64) -> Opening;

    /// Takes an entry of an open room.
    fn append(&mut self, append: Append<'_>) -> Appended;

    /// Whether so much waits for it that what may come later should: messages have the rest of the
    /// place.
    #[inline]
    fn is_filling(&self) -> bool {
        false
    }

    /// Whether it has more of a room than the room's memory: [`Log::read`] is called only then.
    #[inline]
    fn reads(&self) -> bool {
        false
    }

    /// Reads messages of an open room. The answer will follow.
    ///
    /// # Errors
    ///
    /// Why it cannot be read now. Then there is no answer.
    fn read(&mut self, _: Read<'_>) -> Result<(), Why> {
        Err(Why::Unavailable)
    }

    /// Whether it finds more in a room than the room's memory: [`Log::find`] is called only then.
    #[inline]
    fn finds(&self) -> bool {
        false
    }

    /// Looks for messages of an open room. The answer will follow: [`FromLog::Found`] or
    /// [`FromLog::NotRead`].
    ///
    /// # Errors
    ///
    /// Why nothing can be looked for now. Then there is no answer.
    fn find(&mut self, _: Find<'_>) -> Result<(), Why> {
        Err(Why::Unavailable)
    }

    /// Reads lines of the audit trail of an open room, where [`Log::reads`]. The answer will
    /// follow: [`FromLog::Audited`] or [`FromLog::NotRead`].
    ///
    /// # Errors
    ///
    /// Why they cannot be read now. Then there is no answer.
    fn audit(&mut self, _: Audit) -> Result<(), Why> {
        Err(Why::Unavailable)
    }

    /// Tells all who hear an open room something that is not kept, or one other node.
    #[inline]
    fn say(&mut self, _: Say<'_>) -> Spoken {
        Spoken::Now
    }

    /// Closes a room. Later answers about it are ignored.
    fn close(&mut self, room: RoomKey);

    /// Asks for the rooms of this home that are kept, open or not: some of those behind a place, in
    /// any order. 0 is before all of them. [`FromLog::Listed`] or [`FromLog::NotListed`] will
    /// follow; false, if there is nothing to be listed.
    fn list(&mut self, _after: u64) -> bool {
        false
    }

    /// Whether it makes the list of all rooms, of all homes that share it. Then homes tell it how
    /// many are in their rooms, [`Log::list`] is of the rooms of all homes, in the order in which
    /// they have changed, and is answered when there are some. A room may come again.
    #[inline]
    fn lists_all(&self) -> bool {
        false
    }

    /// Notes how many are present in a room, and visible, at this home. `None`: nobody is there, or
    /// it is in no list.
    fn count(&mut self, _topic: &str, _present: Option<u32>) {}

    /// Notes that somebody asks for the list of rooms.
    fn watch(&mut self) {}

    /// Passes a record on to another node, which asks for a session of long polling there.
    /// [`FromLog::SessionAnswered`] will follow, if it asks for an answer; false, if it is not
    /// taken now.
    fn ask_session(&mut self, _node: NodeId, _record: &[u8]) -> bool {
        false
    }

    /// Passes a record on to another node, which answers [`FromLog::SessionAsked`]. It may be lost
    /// on the way.
    fn answer_session(&mut self, _node: NodeId, _record: &[u8]) {}

    /// Whether answers to other nodes find a way now.
    fn answers_sessions(&self) -> bool {
        false
    }
}

/// What drives a log: the end of it that a shard's loop carries. All of it does nothing where no
/// other thread is behind it.
pub trait LogEnd: Log {
    /// How others wake this shard when there is something to be heard.
    fn set_waker(&self, waker: Arc<dyn Wake>);

    /// The next thing that is said.
    fn next(&mut self) -> Option<LogAnswer>;

    /// Passes on what was asked in this turn.
    fn end_turn(&mut self);

    /// Whether the shard may sleep until it is woken: see [`crate::mesh::Port::may_sleep`].
    fn may_sleep(&mut self) -> bool;

    /// The shard goes on, whatever woke it.
    fn woke(&self);

    /// The shard has begun anew: nobody waits for what was asked before.
    fn restarted(&mut self);
}

impl LogEnd for MemoryLog {
    fn set_waker(&self, _: Arc<dyn Wake>) {}

    #[inline]
    fn next(&mut self) -> Option<LogAnswer> {
        None
    }

    #[inline]
    fn end_turn(&mut self) {}

    #[inline]
    fn may_sleep(&mut self) -> bool {
        true
    }

    #[inline]
    fn woke(&self) {}

    fn restarted(&mut self) {}
}

/// The log that keeps nothing beyond the room: the room's own memory is all there is.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryLog;

impl Log for MemoryLog {
    #[inline]
    fn keeps(&self) -> bool {
        false
    }

    #[inline]
    fn open(&mut self, _: RoomKey, _: &str, _: u64) -> Opening {
        Opening::New
    }

    #[inline]
    fn append(&mut self, _: Append<'_>) -> Appended {
        Appended::Kept
    }

    #[inline]
    fn close(&mut self, _: RoomKey) {}
}

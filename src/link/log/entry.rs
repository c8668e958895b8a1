//! What is said in a room: an [`Entry`], which its log keeps and gives a place, and [`Unkept`],
//! which is told and forgotten.
//!
//! Each has two forms: one that borrows from where it is said, and one with memory of its own
//! (`...Text`), for whoever carries it.
//!
//! Deliberately absent: who is asked to keep it, and what the answer is.

use crate::auth::level::Standing;
use crate::link::audit::AuditLine;
use crate::link::ids::Receipt;
use crate::link::said::{MessageText, Said, SaidText};
use crate::wire::phx::Payload;

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

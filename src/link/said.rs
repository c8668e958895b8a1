//! A message as parts of the server pass it on: what its author said, and what became of it.
//!
//! ```text
//!   Said ── its author's, said once, never another          new_msg
//!   Fate ── edited, deleted, pinned, reacted to             msg_changed
//! ```
//!
//! Each borrows, and has a twin with memory of its own, called `...Text`.
//!
//! Deliberately absent: offsets, which belong to a place in a room, and JSON (`message`).

/// What somebody said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said<'a> {
    /// Its author's id.
    pub user: &'a str,
    /// The name that its author goes by.
    pub name: &'a str,
    /// A JSON string with its quotes.
    pub body: &'a str,
    /// What its author's client calls it.
    pub key: Option<&'a str>,
    /// The offset of the message that it answers.
    pub reply_to: Option<u64>,
    /// And of the first one of that thread.
    pub thread: Option<u64>,
    /// The users whom it mentions: a JSON array of strings.
    pub mentions: Option<&'a str>,
    /// What its author's application attached: a JSON object.
    pub data: Option<&'a str>,
    /// Whether there is more to come: its author appends to it.
    pub stream: bool,
}

impl Said<'_> {
    /// Whether it has nothing but what messages had at first: nearly all are so, and are written
    /// and told in the form that they had then.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        let Self { thread, mentions, data, stream, .. } = self;
        thread.is_none() && mentions.is_none() && data.is_none() && !*stream
    }
}

/// When something was done to a message, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Act<'a> {
    /// In milliseconds of Unix time.
    pub at_ms: u64,
    /// A user's id; `None` if it goes without saying, since its author did it.
    pub by: Option<&'a str>,
}

/// What became of a message since it was said: nothing, of most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate<'a> {
    /// The number of its latest change; 0 before the first.
    pub change: u64,
    /// When its text was changed last.
    pub edited: Option<Act<'a>>,
    /// When it was deleted. Then nothing is left of what was said.
    pub deleted: Option<Act<'a>>,
    /// Since when it is pinned.
    pub pinned: Option<Act<'a>>,
    /// Who has reacted to it: see [`reacted`](crate::link::reacted). Members are told how many.
    pub reacted: Option<&'a str>,
    /// How often it was answered. Only of what a log has read: a room counts by itself.
    pub replies: Option<Replies>,
    /// The epoch in which it was said. Only of what a log has read or another node has changed, and
    /// further back than its room remembers: that names all others.
    pub epoch: Option<u64>,
}

impl Fate<'_> {
    /// Whether nothing became of the message that it has fields for: so it is of nearly all.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        let Self { change, edited, deleted, pinned, reacted, replies: _, epoch: _ } = self;
        let is_acted_on = edited.is_some() || deleted.is_some() || pinned.is_some();
        *change == 0 && !is_acted_on && reacted.is_none()
    }
}

/// How often a message was answered that is the first of a thread. Derived from the answers, and
/// not kept: deleted ones count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replies {
    /// How many answers there are, up to the last one.
    pub count: u64,
    /// The offset of the last one.
    pub last: u64,
}

/// [`Said`] with memory of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "see `Said`")]
pub struct SaidText {
    pub user: Box<str>,
    pub name: Box<str>,
    pub body: Box<str>,
    pub key: Option<Box<str>>,
    pub reply_to: Option<u64>,
    pub thread: Option<u64>,
    pub mentions: Option<Box<str>>,
    pub data: Option<Box<str>>,
    pub stream: bool,
}

impl SaidText {
    /// A copy.
    #[must_use]
    pub fn new(said: Said<'_>) -> Self {
        Self {
            user: said.user.into(),
            name: said.name.into(),
            body: said.body.into(),
            key: said.key.map(Box::from),
            reply_to: said.reply_to,
            thread: said.thread,
            mentions: said.mentions.map(Box::from),
            data: said.data.map(Box::from),
            stream: said.stream,
        }
    }

    /// How much memory its texts take, in bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let Self { user, name, body, key, mentions, data, .. } = self;
        let maybe = [key, mentions, data].map(|text| text.as_ref().map_or(0, |text| text.len()));
        user.len() + name.len() + body.len() + maybe.iter().sum::<usize>()
    }

    /// As it is said.
    #[must_use]
    pub fn said(&self) -> Said<'_> {
        Said {
            user: &self.user,
            name: &self.name,
            body: &self.body,
            key: self.key.as_deref(),
            reply_to: self.reply_to,
            thread: self.thread,
            mentions: self.mentions.as_deref(),
            data: self.data.as_deref(),
            stream: self.stream,
        }
    }
}

/// [`Act`] with memory of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "see `Act`")]
pub struct ActText {
    pub at_ms: u64,
    pub by: Option<Box<str>>,
}

impl ActText {
    /// A copy.
    #[must_use]
    pub fn new(act: Act<'_>) -> Self {
        Self { at_ms: act.at_ms, by: act.by.map(Box::from) }
    }

    /// As it was done.
    #[must_use]
    pub fn act(&self) -> Act<'_> {
        Act { at_ms: self.at_ms, by: self.by.as_deref() }
    }
}

/// [`Fate`] with memory of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "see `Fate`")]
pub struct FateText {
    pub change: u64,
    pub edited: Option<ActText>,
    pub deleted: Option<ActText>,
    pub pinned: Option<ActText>,
    pub reacted: Option<Box<str>>,
    pub replies: Option<Replies>,
    pub epoch: Option<u64>,
}

impl FateText {
    /// A copy.
    #[must_use]
    pub fn new(fate: Fate<'_>) -> Self {
        let Fate { change, edited, deleted, pinned, reacted, replies, epoch } = fate;
        let [edited, deleted, pinned] = [edited, deleted, pinned].map(|act| act.map(ActText::new));
        Self { change, edited, deleted, pinned, reacted: reacted.map(Box::from), replies, epoch }
    }

    /// As it is.
    #[must_use]
    pub fn fate(&self) -> Fate<'_> {
        let Self { change, edited, deleted, pinned, reacted, replies, epoch } = self;
        let [edited, deleted, pinned] =
            [edited, deleted, pinned].map(|act| act.as_ref().map(ActText::act));
        let (change, replies, epoch) = (*change, *replies, *epoch);
        Fate { change, edited, deleted, pinned, reacted: reacted.as_deref(), replies, epoch }
    }
}

/// A message as it stands by now, with memory of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageText {
    /// When it was accepted, in milliseconds of Unix time.
    pub at_ms: u64,
    /// What was said.
    pub said: SaidText,
    /// What became of it. Boxed, since nothing became of most.
    pub fate: Option<Box<FateText>>,
}

impl MessageText {
    /// A copy.
    #[must_use]
    pub fn new(at_ms: u64, said: Said<'_>, fate: Fate<'_>) -> Self {
        let has_fate = fate != Fate::default();
        let fate = has_fate.then(|| Box::new(FateText::new(fate)));
        Self { at_ms, said: SaidText::new(said), fate }
    }

    /// A copy without what only a read says of it.
    #[must_use]
    pub fn as_kept(&self) -> Self {
        Self::new(self.at_ms, self.said.said(), Fate { replies: None, ..self.fate() })
    }

    /// What became of it.
    #[must_use]
    pub fn fate(&self) -> Fate<'_> {
        self.fate.as_deref().map(FateText::fate).unwrap_or_default()
    }

    /// Who has reacted to it.
    #[must_use]
    pub fn reacted(&self) -> Option<&str> {
        self.fate.as_deref()?.reacted.as_deref()
    }

    /// How much memory it takes, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let fate = self.fate.as_ref().map_or(0, |fate| {
            size_of::<FateText>() + fate.reacted.as_ref().map_or(0, |reacted| reacted.len())
        });
        size_of::<Self>() + self.said.text_bytes() + fate
    }
}

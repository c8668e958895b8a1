//! What an engine is asked, and what it answers and says: values, so that what decides (`follower`)
//! knows no protocol, and tests can put a pretended engine in the place of a real one.
//!
//! ```text
//!   follower ── Command ──> redis ── RESP3 ──> Redis, Valkey
//!        <─ Reply, Pushed ──        <────
//! ```
//!
//! Deliberately absent: how a command is written (`redis`), and what a record means (`record`).

use crate::link::log::Marks;

/// Something that the engine is asked to do. Commands of one connection are done in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Append entries to a room, in one step; without any, only look on which history of the engine
    /// the room is. Answered by [`Reply::Appended`].
    Append(Append),
    /// Read all that there is of a room. Answered by [`Reply::State`].
    Read {
        /// The room's topic.
        topic: Box<str>,
    },
    /// Look where a room stands, and nothing else. Answered by [`Reply::Stands`].
    Look {
        /// The room's topic.
        topic: Box<str>,
    },
    /// Hear what is said in a room. Answered by [`Reply::Done`], after which nothing is missed.
    Subscribe {
        /// The room's topic.
        topic: Box<str>,
    },
    /// Hear it no more. Answered by [`Reply::Done`].
    Unsubscribe {
        /// The room's topic.
        topic: Box<str>,
    },
    /// Say something in a room that is not kept. Answered by [`Reply::Done`].
    Say {
        /// The room's topic.
        topic: Box<str>,
        /// What is said.
        record: Vec<u8>,
    },
    /// Read lines of a room's audit trail, the newest first. Answered by [`Reply::Lines`].
    Lines {
        /// The room's topic.
        topic: Box<str>,
        /// Those before this number.
        before: u64,
        /// So many at most.
        count: u32,
    },
    /// Say that this node lives, and ask which others do. Answered by [`Reply::Nodes`].
    Beat {
        /// The node.
        node: u64,
        /// Its life: the time of the engine at which it began; 0, if it has none yet.
        life: u64,
        /// For how long it is believed, in milliseconds.
        lease_ms: u64,
    },
    /// Say something to one node. Answered by [`Reply::Heard`].
    Tell {
        /// The node.
        node: u64,
        /// What is said.
        record: Vec<u8>,
    },
    /// Say that a life of this node is over. Answered by [`Reply::Done`].
    Leave {
        /// The node.
        node: u64,
        /// The life.
        life: u64,
    },
    /// Hear what changes in the list of a partition: the rooms of which something is kept. Answered
    /// by [`Reply::Done`], after which nothing is missed.
    HearList {
        /// The partition.
        partition: u16,
    },
    /// Read some of the rooms of a partition of which something is kept. Answered by
    /// [`Reply::Listed`].
    List {
        /// The partition.
        partition: u16,
        /// Where the answer before this one has ended; 0 begins.
        cursor: u64,
    },
    /// Take those of these rooms out of the list of a partition of which nothing is kept any more.
    /// Answered by [`Reply::Done`].
    Forget {
        /// The partition.
        partition: u16,
        /// Their topics.
        topics: Vec<Box<str>>,
    },
    /// Look at rooms of a partition within so many milliseconds, whether something of them is too
    /// old. Answered by [`Reply::Done`].
    Age {
        /// The partition.
        partition: u16,
        /// Their topics.
        topics: Vec<Box<str>>,
        /// If one is to be looked at sooner anyway, that stays. `None`: they are not looked at.
        in_ms: Option<u64>,
    },
    /// Which rooms of a partition are to be looked at now. Answered by [`Reply::Due`].
    Due {
        /// The partition.
        partition: u16,
        /// So many at most.
        count: u32,
        /// In how many milliseconds they are answered again, unless they were looked at.
        again_ms: u64,
    },
    /// Look whether the engine answers: the first primary, if there are several. Answered by
    /// [`Reply::Done`].
    Ping,
    /// Wait until so many replicas of a primary have all that it was asked before. Answered by
    /// [`Reply::Replicas`].
    Wait {
        /// The number of the primary.
        primary: u16,
        /// How many.
        replicas: u32,
        /// For how long at most, in milliseconds.
        timeout_ms: u64,
    },
}

/// Entries for a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The room's topic.
    pub topic: Box<str>,
    /// The room's epoch, if it begins or turns with this.
    pub fresh_epoch: u64,
    /// What is to be kept, in order.
    pub entries: Vec<Entry>,
}

/// What is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The epoch and revision that it was judged by: if the room is in another epoch, or has
    /// another revision, it is [`Receipt::Stale`]. `None`: whatever they are.
    pub judged: Option<(u64, u64)>,
    /// What it does.
    pub act: Act,
    /// What is kept and told of it.
    pub record: Vec<u8>,
    /// Its line of the audit trail, without the number; empty, if it has none.
    pub line: Vec<u8>,
}

/// What an entry does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A message.
    Message {
        /// The hash of its author and key, if it has one.
        key: Option<[u8; 8]>,
    },
    /// A message becomes another one.
    Change {
        /// Which message.
        offset: u64,
        /// The number of its last change before; 0, if it has never changed. If it has another one,
        /// the entry is a [`Receipt::Conflict`].
        expected: u64,
        /// Whether it is deleted.
        is_deleted: bool,
        /// Whether it is pinned from then on.
        is_pinned: bool,
        /// The last change of the room that whoever has judged it had heard of: one that the engine
        /// does not know any more is among these.
        heard: u64,
    },
    /// Something is decided of the room. Counts its revision on.
    Decision {
        /// How the room is listed, if it is made on purpose by this, or is listed otherwise.
        founded: Option<Founded>,
        /// Facts of the room: each is set, or removed where the value is empty.
        facts: Vec<(Box<str>, Vec<u8>)>,
    },
    /// Nothing, but it is told, and its line is kept.
    Note,
    /// The room lets go of its oldest messages. Its receipt is [`Receipt::Decided`].
    LetGo {
        /// Of those up to this offset. Of their changes up to this one nobody can be told any more.
        upto: Marks,
        /// In how many milliseconds it is looked at again, if so.
        due_in_ms: Option<u64>,
    },
}

/// How a room is listed that was made on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founded {
    /// Its title.
    pub title: Box<str>,
    /// Whether it is in no list.
    pub is_private: bool,
}

/// Rooms are listed by the hour in which they were renewed, and keys live for so many seconds
/// longer than is asked for: the script renews them once an hour.
pub const HOUR_S: u64 = 3_600;

/// A room of which something is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its topic.
    pub topic: Box<str>,
    /// How it is listed, if it was made on purpose.
    pub founded: Option<Founded>,
    /// When it was renewed last, in hours of Unix time. One that was not made on purpose is
    /// forgotten some time after that.
    pub hour: u64,
}

/// Where a room stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Its epoch.
    pub epoch: u64,
    /// The last offset and the last change.
    pub top: Marks,
    /// Counts its decisions.
    pub rev: u64,
    /// The number of the last line of its audit trail.
    pub audited: u64,
    /// Changes up to this one may be forgotten.
    pub floor: u64,
    /// When the last entry was accepted, in milliseconds of Unix time.
    pub at_ms: u64,
    /// Up to where it has let go of messages since they were too old, or too many.
    pub gone: Marks,
    /// The epochs before, the latest first.
    pub lineage: Vec<Ended>,
}

impl Head {
    /// Whether a room remembers an epoch.
    pub(in crate::side) fn knows(&self, epoch: u64) -> bool {
        self.epoch == epoch || self.lineage.iter().any(|of| of.epoch == epoch)
    }
}

/// An epoch that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The epoch.
    pub epoch: u64,
    /// Up to where what was said in it is still there.
    pub kept: Marks,
    /// The revision up to which what was decided in it still holds.
    pub rev: u64,
    /// Up to which number the lines of its audit trail still stand.
    pub audited: u64,
}

/// What has become of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// A message has this offset, or had it when its key was used first.
    Message {
        /// The offset.
        offset: u64,
        /// When it was accepted, in milliseconds of Unix time.
        at_ms: u64,
    },
    /// A change has this number.
    Change {
        /// The number.
        change: u64,
    },
    /// It is decided or noted; the revision with it.
    Decided {
        /// The revision.
        rev: u64,
    },
    /// It was judged by what has changed: nothing was done.
    Stale,
    /// The message has changed since: nothing was done.
    Conflict,
    /// The message has been let go of: nothing was done.
    Gone,
}

/// A message that has not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its offset.
    pub offset: u64,
    /// When it was accepted, in milliseconds of Unix time.
    pub at_ms: u64,
    /// The epoch in which it was said.
    pub epoch: u64,
    /// As it was appended.
    pub record: Vec<u8>,
}

/// A message that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Its offset.
    pub offset: u64,
    /// The number of its last change.
    pub change: u64,
    /// Whether it is deleted.
    pub is_deleted: bool,
    /// As it was appended.
    pub record: Vec<u8>,
}

/// All that there is of a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Where it stands; `None`, if that is not known: it is new, or was forgotten. Nothing else is
    /// told then, before an [`Append`] has given the room its place.
    pub head: Option<Head>,
    /// Whether that is of the engine's history of now; else what came last may be lost, and an
    /// [`Append`] without entries turns the room.
    pub is_current: bool,
    /// Its last messages, but for those that have changed, in order.
    pub messages: Vec<Message>,
    /// The messages that have changed, in the order of their offsets.
    pub changed: Vec<Changed>,
    /// What was decided of it.
    pub facts: Vec<(Box<str>, Vec<u8>)>,
    /// What of it is in the archive, as far as the engine was told.
    pub archived: Option<Archived>,
}

/// What of a room is in the archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Archived {
    /// In which epoch that was.
    pub epoch: u64,
    /// All messages and changes up to these,
    pub upto: Marks,
    /// but for those up to these.
    pub floor: Marks,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Where the room stands now, and a receipt for each entry.
    Appended {
        /// Where it stands.
        head: Head,
        /// One for each entry, in order.
        receipts: Vec<Receipt>,
    },
    /// What there is of a room.
    State(State),
    /// Where a room stands; as in [`State`].
    Stands {
        /// `None`, if that is not known.
        head: Option<Head>,
        /// Whether that is of the engine's history of now.
        is_current: bool,
    },
    /// Lines of an audit trail, each with its number, the newest first.
    Lines(Vec<(u64, Vec<u8>)>),
    /// The engine's time, in milliseconds; this node's life, which is another one than was said if
    /// its lease had ended; and all nodes that live, each with its life.
    Nodes {
        /// In milliseconds of Unix time.
        now_ms: u64,
        /// Of this node.
        life: u64,
        /// Each node with its life, this one among them.
        nodes: Vec<(u64, u64)>,
    },
    /// Some of the rooms of a partition of which something is kept. Those that are there all the
    /// while come once, or more often, between the first answer and the last.
    Listed {
        /// Where it goes on; 0, if that was the last of it.
        cursor: u64,
        /// The rooms.
        rooms: Vec<Listed>,
    },
    /// Rooms that are to be looked at now.
    Due {
        /// The engine's time, in milliseconds of Unix time.
        now_ms: u64,
        /// Their topics, those that have waited longest first.
        topics: Vec<Box<str>>,
    },
    /// How many replicas have it.
    Replicas(u32),
    /// How many have heard it: none, if its node has no connection now, or is gone.
    Heard(u32),
    /// It is done.
    Done,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The engine has no memory left, does not take writes now, or has too few replicas; or the
    /// slot of a room is just moving. Nothing was done.
    Refused(Box<str>),
    /// What is there of the room has a layout that this version does not know. Nothing was done.
    Layout,
    /// It is no primary, or not of that, or has not what it needs: another connection must be made.
    /// Nothing was done.
    Elsewhere(Box<str>),
    /// The connection has ended before an answer came: it may have been done.
    Lost,
}

/// What is said on a room's channel by the engine, when entries have been appended, the room has
/// turned, or has let go of messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Where the room stands behind them.
    pub head: Head,
    /// Where it stood before.
    pub before: Marks,
    /// The entries that were done.
    pub entries: Vec<Done>,
}

/// An entry that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Its place.
    pub place: Place,
    /// As it was appended.
    pub record: Vec<u8>,
    /// Its line of the audit trail, with the number; 0 and empty, if it has none.
    pub line: (u64, Vec<u8>),
}

/// The place of an entry that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The offset of a message.
    Message(u64),
    /// A change of a message.
    Change {
        /// Its number.
        change: u64,
        /// The message.
        offset: u64,
        /// Whether that is deleted.
        is_deleted: bool,
    },
    /// A decision, with the revision that follows from it.
    Decision(u64),
    /// Nothing but its line, or what it tells.
    Note,
}

/// What is heard on a connection without having been asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// Entries of a room.
    News {
        /// The room's topic.
        topic: Box<str>,
        /// What was done.
        news: News,
    },
    /// Something that is not kept.
    Said {
        /// The room's topic.
        topic: Box<str>,
        /// What was said.
        record: Vec<u8>,
    },
    /// A room is listed so from now on.
    Listed(Listed),
    /// Something for this node alone.
    Told {
        /// What was said.
        record: Vec<u8>,
    },
    /// Something that no node and no script says, on a channel of theirs.
    Foreign {
        /// The room's topic, if it was on the channel of one.
        topic: Option<Box<str>>,
    },
}

impl Reply {
    /// What it takes beside its own size, in bytes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Appended { head, receipts } => head.bytes() + size_of_val(&**receipts),
            Self::State(state) => state.bytes(),
            Self::Stands { head, .. } => head.as_ref().map_or(0, Head::bytes),
            Self::Lines(lines) => {
                size_of_val(&**lines) + lines.iter().map(|(_, line)| line.len()).sum::<usize>()
            }
            Self::Nodes { nodes, .. } => size_of_val(&**nodes),
            Self::Listed { rooms, .. } => rooms.iter().map(Listed::bytes).sum(),
            Self::Due { topics, .. } => {
                size_of_val(&**topics) + topics.iter().map(|topic| topic.len()).sum::<usize>()
            }
            Self::Replicas(_) | Self::Heard(_) | Self::Done => 0,
        }
    }
}

impl State {
    /// What it takes beside its own size, in bytes, about.
    pub(in crate::side) fn bytes(&self) -> usize {
        let Self { head, is_current: _, messages, changed, facts, archived: _ } = self;
        let messages = messages.iter().map(|of| size_of::<Message>() + of.record.len());
        let changed = changed.iter().map(|of| size_of::<Changed>() + of.record.len());
        let fact = |(name, value): &(Box<str>, Vec<u8>)| {
            size_of::<(Box<str>, Vec<u8>)>() + name.len() + value.len()
        };
        let facts = facts.iter().map(fact);
        head.as_ref().map_or(0, Head::bytes) + messages.chain(changed).chain(facts).sum::<usize>()
    }
}

impl Listed {
    /// What it takes, in bytes, about.
    fn bytes(&self) -> usize {
        let title = self.founded.as_ref().map_or(0, |of| of.title.len());
        size_of::<Self>() + self.topic.len() + title
    }
}

impl Head {
    /// What it takes beside its own size, in bytes, about.
    fn bytes(&self) -> usize {
        size_of_val(&*self.lineage)
    }
}

impl News {
    /// What they take beside their own size, in bytes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let of = |done: &Done| size_of::<Done>() + done.record.len() + done.line.1.len();
        self.head.bytes() + self.entries.iter().map(of).sum::<usize>()
    }
}

impl Pushed {
    /// What it takes, in bytes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let bytes = match self {
            Self::News { topic, news } => topic.len() + news.bytes(),
            Self::Said { topic, record } => topic.len() + record.len(),
            Self::Listed(listed) => listed.bytes(),
            Self::Told { record } => record.len(),
            Self::Foreign { topic } => topic.as_ref().map_or(0, |topic| topic.len()),
        };
        size_of::<Self>() + bytes
    }
}

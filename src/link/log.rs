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
//! Which one the rooms have, `app/boot.rs` chooses: the store that `app/keeping.rs` opens, or the
//! engine that `app/cluster.rs` opens, as it is configured. Without either each shard has a
//! [`MemoryLog`].
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
//!    in [`FromLog::Kept`], and no second entry. [`Log::recall`] asks for that alone. Where the
//!    home gives the order, the home remembers them;
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
//!     others, [`FromLog::Missed`] follows once the room is heard again;
//! 13. what [`Log::catch_up`] asks for is answered as a read, once and in a bounded time. With
//!     [`FromLog::Read`] all is told that had its place in the room when that was asked.
//!
//! Deliberately absent: blocking, and errors. A log answers when it can, and says with a [`Why`]
//! what it cannot do.

mod entry;
mod read;

use std::sync::Arc;

pub use entry::{Entry, Judged, Marks, PayloadText, Placed, Unkept, UnkeptText, What, WhatText};
pub use read::{Audit, Find, Hits, Part, Read, Sought, Stretch, View, Wanted};

use crate::link::audit::LineText;
use crate::link::ids::{Receipt, RoomKey};
use crate::link::refusal::Refusal;
use crate::link::said::MessageText;
use crate::link::standings::Standings;
use crate::mesh::Wake;

/// Names an append until its final answer. Given out once within the life of a shard.
pub type Ticket = u64;

/// A node of a cluster, as others name it.
pub type NodeId = u64;

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

/// Which message may have been said before.
#[derive(Clone, Copy, Debug)]
pub struct Recall<'a> {
    /// The room, as answers name it.
    pub room: RoomKey,
    /// Names the question in answers.
    pub ticket: Ticket,
    /// Its author.
    pub user: &'a str,
    /// The key that its author has given it.
    pub key: &'a str,
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
        /// Whether it was missed, and is told later. Then messages are told as they are by now,
        /// each with its last change alone.
        was_missed: bool,
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
        was_missed: bool,
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
            Self::Entry { room, ticket, placed, rev, ref what, ref line, was_missed } => {
                let (what, line) = (what.what(), line.as_ref());
                FromLog::Entry { room, ticket, placed, rev, what, line, was_missed }
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
    pub standings: Standings,
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

    /// Asks whether a message was said before in an open room, where the log remembers keys of
    /// which its home may know nothing; else none. If so, [`FromLog::Kept`] has the first receipt,
    /// and if not, [`FromLog::Refused`] says [`Why::Conflict`].
    #[inline]
    fn recall(&mut self, _: Recall<'_>) -> Option<Appended> {
        None
    }

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

    /// Has an open room told all that has its place there by now, where [`Log::is_shared`]: its
    /// home may be behind other nodes. The answer will follow: [`FromLog::Read`] of nothing, or
    /// [`FromLog::NotRead`].
    ///
    /// # Errors
    ///
    /// Why it cannot be known now. Then there is no answer.
    fn catch_up(&mut self, _: RoomKey, _: Ticket) -> Result<(), Why> {
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

    /// Tells others of a room in which this log has lost its place that nobody is in it here any
    /// more, as soon as it can. Nothing says whether they have heard it.
    #[inline]
    fn part(&mut self, _topic: &str, _record: &[u8]) {}

    /// Closes a room. Later answers about it are ignored.
    fn close(&mut self, room: RoomKey);

    /// Asks for the rooms of this home that are kept, open or not: some of those behind a place, in
    /// any order. 0 is before all of them. [`FromLog::Listed`] or [`FromLog::NotListed`] will
    /// follow; false, if there is nothing to be listed.
    fn list(&mut self, _after: u64) -> bool {
        false
    }

    /// Whether it makes the list of all rooms, of all homes that share it. Then homes tell it how
    /// many are in their rooms. [`Log::list`] is of the rooms of all homes, in the order in which
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

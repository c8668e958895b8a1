//! What the parts of a server call each other by: keys, slots, cursors.
//!
//! A key is marked by an empty type, so that a record or a timer can name a connection without its
//! holder knowing what a connection is.

use crate::auth::level::Level;
use crate::base::arena::Key;

/// Types that mark keys and have no values.
pub mod mark {
    /// Marks the keys of connections.
    #[derive(Debug)]
    pub enum Conn {}
    /// Marks the keys of audiences.
    #[derive(Debug)]
    pub enum Audience {}
    /// Marks the keys of rooms.
    #[derive(Debug)]
    pub enum Room {}
}

/// A connection, on the shard that it is on.
pub type ConnKey = Key<mark::Conn>;

/// The members of one room that are on one shard.
pub type AudienceKey = Key<mark::Audience>;

/// A room, on its home shard.
pub type RoomKey = Key<mark::Room>;

/// A membership's place in its room: a small dense number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(pub u32);

impl Slot {
    /// The slot of those that are no members.
    pub const NONE: Self = Self(u32::MAX);

    /// The slot as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a member is, and what it may do there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The shard that its connection is on.
    pub shard: u16,
    /// What the token of its connection allows. Beside the shard, where it takes no memory.
    pub token: Level,
    /// The connection.
    pub conn: ConnKey,
}

impl Address {
    /// The shard of a member that is on none any more, since its own has begun anew: the number of
    /// no shard.
    pub const NOWHERE: u16 = u16::MAX;
}

const _: () = assert!(size_of::<Address>() == 12);

/// Where a member of a room is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On a shard of this node.
    Here(Address),
    /// On another node: it is seen here, and asks nothing.
    Elsewhere(Elsewhere),
}

/// How another node calls the entry of a member.
///
/// As bytes: with the alignment of numbers it would not fit beside the mark in [`Place`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    number: [u8; 4],
    replaces: [u8; 4],
    refs: u16,
}

impl Elsewhere {
    /// An entry with this number, which has replaced the one with the number `replaces`, or 0. What
    /// its refs begin with the room calls `refs`.
    #[must_use]
    pub fn new(number: u32, replaces: u32, refs: u16) -> Self {
        Self { number: number.to_le_bytes(), replaces: replaces.to_le_bytes(), refs }
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u32 {
        u32::from_le_bytes(self.number)
    }

    /// The number of the entry that it has replaced.
    #[must_use]
    pub fn replaces(self) -> Option<u32> {
        Some(u32::from_le_bytes(self.replaces)).filter(|number| *number != 0)
    }

    /// What the room calls the beginning of its refs.
    #[must_use]
    pub fn refs(self) -> u16 {
        self.refs
    }
}

// Nearly all members are here, and pay nothing for the others.
const _: () = assert!(size_of::<Place>() == size_of::<Address>());

impl Place {
    /// The address of a member that is here.
    #[must_use]
    pub fn here(self) -> Option<Address> {
        match self {
            Self::Here(address) => Some(address),
            Self::Elsewhere(_) => None,
        }
    }
}

/// Which membership asks, so that the answer finds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asker {
    /// The connection, on the shard that sent the message.
    pub conn: ConnKey,
    /// Its membership.
    pub slot: Slot,
}

/// Which session of long polling, and the proof that it is one's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The shard that the session lives on.
    pub shard: u16,
    /// The session's connection there.
    pub key: ConnKey,
    /// 128 random bits.
    pub secret: u128,
    /// The last answer with messages that its holder has had: the number of those before it.
    pub answer: u32,
}

impl Ticket {
    /// What comes with the next answer that has messages.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { answer: self.answer.wrapping_add(1), ..self }
    }

    /// Whether both are of one session, whatever their holders have had of it.
    #[must_use]
    pub fn is_of_same(&self, other: &Self) -> bool {
        Self { answer: other.answer, ..*self } == *other
    }
}

/// Where a reader stands in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Which life of the room the offset belongs to.
    pub epoch: u64,
    /// The last offset that the reader has.
    pub offset: u64,
    /// The last change of what became of a message that the reader has; none, if it knows of no
    /// changes.
    pub change: Option<u64>,
}

/// What a publisher is told, the first time and again when it repeats a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The message's place in the room.
    pub offset: u64,
    /// When it was accepted, in milliseconds of Unix time.
    pub at_ms: u64,
}

/// How many are present in a room, and of how many its list speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Everybody present and visible.
    pub present: u32,
    /// Those in the list.
    pub listed: u32,
}

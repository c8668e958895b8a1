//! The messages between shards: [`ToHome`] from a member's shard to a room's home, and [`ToMember`]
//! back; [`ToSession`] from a polling connection to its session, and [`FromSession`] back; and
//! [`Restart`] of the shards themselves.
//!
//! To its own shard a part passes such a value with a function call. To another shard it becomes a
//! record in a ring, which is written and read here, and each value in it by [`Field`]. Values
//! borrow: a record is read in place.
//!
//! A record begins with the number of its message. Free are 26, 32 to 40, 44 to 60, 64 to 80, and
//! those from 83 on, whoever the message is for: a number that is given twice does not compile. The
//! simulator's planted bugs know messages by them (`tests/sim/faults.rs`). The rings of a store are
//! others, with numbers of their own (`link::store`).
//!
//! These records never leave the process, so one that cannot be read is a bug, and panics: see
//! [`Field::take`]. What comes from elsewhere is read by [`Field::read`].

use crate::auth::identity::{Identity, NEVER_S};
use crate::auth::level::Level;
use crate::link::audit::AuditWanted;
use crate::link::facts::{MemberWish, MembersWanted, SettingsWish};
use crate::link::field::{Field, read_if, struct_fields};
use crate::link::given::Given;
use crate::link::ids::{Asker, AudienceKey, ConnKey, Count, Cursor, RoomKey, Slot, Ticket};
use crate::link::log::View;
use crate::link::rates::AddressHash;
use crate::wire::phx::Payload;

/// The user that joins: its identity from a connection of this shard, or its texts from another
/// shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who<'a> {
    Here(&'a Identity),
    There { user: &'a str, name: &'a str },
}

impl Who<'_> {
    /// The user's id.
    pub(crate) fn user(&self) -> &str {
        match self {
            Self::Here(identity) => identity.user(),
            Self::There { user, .. } => user,
        }
    }

    /// The identity of a membership. From another shard it comes without rights, which the
    /// connection's shard checks.
    pub(crate) fn identity(self) -> Identity {
        match self {
            Self::Here(identity) => identity.clone(),
            Self::There { user, name } => {
                Identity::new(user, name, NEVER_S, None).expect("it was one before")
            }
        }
    }
}

/// Declares messages, with their encoding as records: the number of the message, then its fields in
/// order.
macro_rules! records {
    (
        $(#[$doc:meta])* $name:ident {
            $(
                $(#[$variant_doc:meta])*
                $tag:literal $variant:ident { $($field:ident: $type:ty),* $(,)? }
            )*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name<'a> {
            $($(#[$variant_doc])* $variant { $($field: $type),* },)*
        }

        impl crate::link::record::Numbered for $name<'_> {
            const NUMBERS: &'static [u8] = &[$($tag),*];
        }

        impl<'a> Field<'a> for $name<'a> {
            fn put(self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant { $($field),* } => {
                        out.push($tag);
                        $($field.put(out);)*
                    })*
                }
            }

            fn read(record: &mut &'a [u8]) -> Option<Self> {
                Some(match u8::read(record)? {
                    $($tag => Self::$variant { $($field: Field::read(record)?),* },)*
                    _ => return None,
                })
            }
        }
    };
}

#[cfg(any(feature = "engine-redis", feature = "store"))]
pub(super) use records;

/// Messages that records tell apart by their first byte.
pub(super) trait Numbered {
    /// The numbers that are given.
    const NUMBERS: &'static [u8];
}

records! {
    /// From a member's shard to a room's home.
    ToHome {
        /// Asks to become a member. Answered by [`ToMember::Joined`] or [`ToMember::Refused`].
        ///
        /// `level` is what the token allows; `replaces` is the membership that this one takes the
        /// place of; `address` is where it comes from, if its shard knows of no such room; `invite`
        /// is what it brings, a JSON string.
        1 Join {
            conn: ConnKey, audience: AudienceKey, topic: &'a str, who: Who<'a>, level: Level,
            visible: bool,
            since: Option<Cursor>, limit: u32, meta: Option<&'a str>, replaces: Option<Slot>,
            address: Option<AddressHash>, invite: Option<&'a str>,
        }
        /// Ends a membership. Answered by [`ToMember::Left`] if there is a `reference`: then the
        /// client asked for it.
        2 Leave { home: RoomKey, asker: Asker, reference: Option<&'a str> }
        /// A message for the history. Answered by [`ToMember::Reply`].
        3 Publish { home: RoomKey, asker: Asker, reference: &'a str, message: NewMessage<'a> }
        /// Something is done to a message. Answered by [`ToMember::Reply`].
        13 Change { home: RoomKey, asker: Asker, reference: &'a str, offset: u64, verb: Verb<'a> }
        /// Something is added to a message, as often happens. Answered by [`ToMember::Reply`].
        17 Add {
            home: RoomKey, asker: Asker, reference: &'a str, offset: u64, addition: Addition<'a>,
        }
        /// The settings of the room are to be others. Answered by [`ToMember::Reply`].
        14 Set { home: RoomKey, asker: Asker, reference: &'a str, wish: SettingsWish<'a> }
        /// A user is to stand otherwise in the room. Answered by [`ToMember::Reply`].
        15 Stand { home: RoomKey, asker: Asker, reference: &'a str, wish: MemberWish<'a> }
        /// Asks how users stand in the room. Answered by [`ToMember::Reply`].
        16 ListMembers {
            home: RoomKey,
            asker: Asker,
            reference: &'a str,
            wanted: MembersWanted<'a>,
        }
        /// A message is reported to those who look after the room. Answered by [`ToMember::Reply`].
        18 Report {
            home: RoomKey, asker: Asker, reference: &'a str, offset: u64, text: Option<&'a str>,
        }
        /// Asks for lines of the audit trail. Answered by [`ToMember::Reply`].
        20 Audit { home: RoomKey, asker: Asker, reference: &'a str, wanted: AuditWanted }
        /// Asks for an invite that is good for so many seconds. Answered by [`ToMember::Reply`].
        11 Invite { home: RoomKey, asker: Asker, reference: &'a str, for_s: u64 }
        /// The member attaches another meta to its presence, or none. Answered by
        /// [`ToMember::Reply`].
        0 Meta { home: RoomKey, asker: Asker, reference: &'a str, meta: Option<&'a str> }
        /// A custom event, passed on as it is. Answered by [`ToMember::Reply`].
        4 Custom {
            home: RoomKey, asker: Asker, reference: &'a str, event: &'a str, payload: Payload<'a>,
        }
        /// A member types, perhaps in the thread of this message. Not answered.
        5 Typing { home: RoomKey, asker: Asker, thread: Option<u64> }
        /// Asks for a page of the history. Answered by [`ToMember::Reply`].
        6 History {
            home: RoomKey, asker: Asker, reference: &'a str, view: View, from: From, limit: u32,
        }
        /// Looks for messages. Answered by [`ToMember::Reply`].
        12 Search { home: RoomKey, asker: Asker, reference: &'a str, searched: Searched<'a> }
        /// An answer of the member's shard, which must not overtake the home's answers under way.
        /// Sent back by [`ToMember::Reply`].
        7 Bounce {
            home: RoomKey, asker: Asker, reference: &'a str, status: &'a str,
            response: Payload<'a>,
        }
        /// Asks for a room without joining it, which is to be this user's. Answered by
        /// [`ToMember::Created`].
        8 Create { conn: ConnKey, topic: &'a str, title: &'a str, user: &'a str }
        /// Tells the receiving shard's directory of a room. Without `members` the room is gone.
        9 Listing { room: &'a str, title: &'a str, members: Option<u32> }
        /// The member goes on with another token: by which name, and what that allows, from now
        /// on. Not answered.
        19 Renew { home: RoomKey, asker: Asker, who: Who<'a>, level: Level }
        /// How many connections the sender has, whether it is full, and how many places it gives
        /// away: see the module `handoff`.
        10 Load { conns: u32, is_full: bool, places: u32 }
    }
}

records! {
    /// From a room's home to the shard of a member.
    ToMember {
        /// The join was accepted. The response is JSON.
        21 Joined {
            conn: ConnKey, audience: AudienceKey, home: RoomKey, slot: Slot, response: &'a str,
        }
        /// The join was refused, and has left no trace.
        22 Refused { conn: ConnKey, audience: AudienceKey, response: &'a str }
        /// The membership has ended.
        23 Left { conn: ConnKey, audience: AudienceKey, slot: Slot, reference: &'a str }
        /// An answer to a push.
        24 Reply {
            conn: ConnKey, audience: AudienceKey, slot: Slot, reference: &'a str, status: &'a str,
            response: Payload<'a>,
        }
        /// An event for every member.
        25 Deliver { audience: AudienceKey, event: &'a str, payload: Payload<'a> }
        /// The list of who is there, for newcomers: the inside of a JSON object. `count` is given
        /// if the list is not complete. `own` has an entry for each newcomer, in the order in which
        /// they joined: see the module `greeting`.
        27 State { audience: AudienceKey, list: &'a [u8], count: Option<Count>, own: &'a [u8] }
        /// The answer to [`ToHome::Create`]: a status of HTTP, after how many milliseconds to try
        /// again, if that is worth it, or 0, and a body.
        28 Created { conn: ConnKey, status: u16, retry_ms: u32, body: &'a str }
        /// The channels of all members of the audience end with `phx_error`: stock clients join
        /// again with their cursors. Each membership ends as that of an evicted laggard does.
        29 Ended { audience: AudienceKey, reason: &'a str }
        /// An event for this member only. The payload is JSON.
        30 Told {
            conn: ConnKey, audience: AudienceKey, slot: Slot, event: &'a str, payload: &'a str,
        }
        /// The member is put out: `room_removed` with this payload, which is JSON, then
        /// `phx_close`. Its membership ends with the [`ToHome::Leave`] that follows. `may_return`:
        /// it was only kicked, so its home lets in a join that is under way, and that is to be
        /// ended as well; any other the home judges itself.
        31 Removed {
            conn: ConnKey, audience: AudienceKey, slot: Slot, may_return: bool, payload: &'a str,
        }
    }
}

records! {
    /// From the shard of a connection that polls to the shard of its session, perhaps at another
    /// node.
    ToSession {
        /// A poll. Answered by [`FromSession::Polled`] or [`FromSession::Gone`].
        41 Poll { conn: ConnKey, ticket: Ticket }
        /// A post: messages as a client's frames. Answered by [`FromSession::Posted`].
        42 Post { conn: ConnKey, ticket: Ticket, frames: &'a [u8] }
        /// The polling connection has gone. Not answered.
        43 Abandon { conn: ConnKey, ticket: Ticket }
    }
}

records! {
    /// Back from the session.
    FromSession {
        /// Messages, as JSON strings separated by commas, and a status of long polling.
        61 Polled { conn: ConnKey, status: u16, messages: &'a [u8] }
        /// There is no such session.
        62 Gone { conn: ConnKey }
        /// Whether a post was taken: a status of long polling.
        63 Posted { conn: ConnKey, status: u16 }
    }
}

/// What shards tell each other of their lives: see `shard::restart`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    /// The sender has begun anew. Earlier records from it and to it are void.
    Restarted { life: u32 },
    /// The sender knows of this life of the receiver, and what comes next is for it.
    Hello { life: u32 },
}

const RESTARTED: u8 = 81;
const HELLO: u8 = 82;

impl Numbered for Restart {
    const NUMBERS: &'static [u8] = &[RESTARTED, HELLO];
}

impl Field<'_> for Restart {
    fn put(self, out: &mut Vec<u8>) {
        let (tag, life) = match self {
            Self::Restarted { life } => (RESTARTED, life),
            Self::Hello { life } => (HELLO, life),
        };
        out.push(tag);
        life.put(out);
    }

    fn read(record: &mut &[u8]) -> Option<Self> {
        Some(match u8::read(record)? {
            RESTARTED => Self::Restarted { life: u32::read(record)? },
            HELLO => Self::Hello { life: u32::read(record)? },
            _ => return None,
        })
    }
}

/// Where a page of history begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Latest,
    Before(u64),
    After(u64),
    Around(u64),
}

/// A message that a member wishes to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NewMessage<'a> {
    /// A JSON string with its quotes.
    pub(crate) body: &'a str,
    /// What its client calls it.
    pub(crate) key: Option<&'a str>,
    /// The offset of the message that it answers.
    pub(crate) reply_to: Option<u64>,
    /// The users whom it mentions: a JSON array of strings.
    pub(crate) mentions: Option<&'a str>,
    /// What its application attaches: a JSON object.
    pub(crate) data: Option<&'a str>,
    /// Whether there is more to come.
    pub(crate) stream: bool,
}

impl NewMessage<'_> {
    /// What members are sent of it, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let maybe = |text: Option<&str>| text.map_or(0, str::len);
        self.body.len() + maybe(self.mentions) + maybe(self.data)
    }
}

impl ToSession<'_> {
    /// Of which session it is.
    pub(crate) fn ticket(&self) -> Ticket {
        match *self {
            Self::Poll { ticket, .. }
            | Self::Post { ticket, .. }
            | Self::Abandon { ticket, .. } => ticket,
        }
    }

    /// The answer, if it asks for one, that says what has not been done: to a post its status. A
    /// poll has one only, with which its client begins anew.
    pub(crate) fn refusal(&self, post_status: u16) -> Option<FromSession<'static>> {
        match *self {
            Self::Poll { conn, .. } => Some(FromSession::Gone { conn }),
            Self::Post { conn, .. } => Some(FromSession::Posted { conn, status: post_status }),
            Self::Abandon { .. } => None,
        }
    }
}

impl FromSession<'_> {
    /// Whom it answers.
    pub(crate) fn conn(&self) -> ConnKey {
        match *self {
            Self::Polled { conn, .. } | Self::Gone { conn } | Self::Posted { conn, .. } => conn,
        }
    }
}

impl ToHome<'_> {
    /// The room of a push of a member; none, if it is none.
    #[inline]
    pub(crate) fn pushed_in(&self) -> Option<RoomKey> {
        match *self {
            Self::Publish { home, .. }
            | Self::Change { home, .. }
            | Self::Add { home, .. }
            | Self::Custom { home, .. }
            | Self::Typing { home, .. }
            | Self::History { home, .. }
            | Self::Search { home, .. }
            | Self::Set { home, .. }
            | Self::Stand { home, .. }
            | Self::ListMembers { home, .. }
            | Self::Report { home, .. }
            | Self::Audit { home, .. }
            | Self::Invite { home, .. }
            | Self::Meta { home, .. } => Some(home),
            Self::Join { .. }
            | Self::Leave { .. }
            | Self::Bounce { .. }
            | Self::Renew { .. }
            | Self::Create { .. }
            | Self::Listing { .. }
            | Self::Load { .. } => None,
        }
    }

    /// The offset of the message that a push is about, if it is about one that is there.
    pub(crate) fn about(&self) -> Option<u64> {
        match *self {
            Self::Publish { message, .. } => message.reply_to,
            Self::Change { offset, .. }
            | Self::Add { offset, .. }
            | Self::Report { offset, .. } => Some(offset),
            _ => None,
        }
    }
}

/// What is done to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb<'a> {
    /// Its author says it in another way.
    Edit {
        /// A JSON string with its quotes.
        body: Option<&'a str>,
        /// A JSON array of strings.
        mentions: Given<&'a str>,
        /// A JSON object.
        data: Given<&'a str>,
    },
    /// Nothing is left of it but its place.
    Delete,
    /// It is pinned, or no longer.
    Pin {
        /// Which of them.
        on: bool,
    },
}

impl Verb<'_> {
    /// What members are sent of it, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Edit { body, mentions, data } => {
                body.map_or(0, str::len) + mentions.bytes() + data.bytes()
            }
            Self::Delete | Self::Pin { .. } => 0,
        }
    }
}

/// What is added to a message: by many, or often, so that it is collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addition<'a> {
    /// A reaction, or it is taken back.
    Reaction {
        /// With what: see [`is_emoji`](crate::link::reacted::is_emoji).
        emoji: &'a str,
        /// Whether it is set; else it is taken back.
        on: bool,
    },
    /// More of what it says, by its author.
    Text {
        /// A JSON string with its quotes.
        text: &'a str,
        /// Whether nothing more is to come.
        is_last: bool,
    },
}

impl Addition<'_> {
    /// What members are sent of it, in bytes, besides by whom it is.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Reaction { emoji, .. } => emoji.len(),
            Self::Text { text, .. } => text.len(),
        }
    }
}

/// What a search is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Searched<'a> {
    /// Words, as a JSON string: see `room::search`.
    pub(crate) query: &'a str,
    /// A user's id as a JSON string: then of its messages only.
    pub(crate) from: Option<&'a str>,
    /// Messages before this offset only.
    pub(crate) before: Option<u64>,
    /// So many at most.
    pub(crate) limit: u32,
}

/// Any message, as it comes out of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received<'a> {
    ToHome(ToHome<'a>),
    ToMember(ToMember<'a>),
    ToSession(ToSession<'a>),
    FromSession(FromSession<'a>),
    Restart(Restart),
}

/// What a record is one of.
#[derive(Clone, Copy)]
enum Kind {
    ToHome,
    ToMember,
    ToSession,
    FromSession,
    Restart,
}

/// By number: what a message is one of.
type Kinds = [Option<Kind>; 1 << u8::BITS];

static KINDS: Kinds = {
    let kinds = [None; 1 << u8::BITS];
    let kinds = given(kinds, ToHome::NUMBERS, Kind::ToHome);
    let kinds = given(kinds, ToMember::NUMBERS, Kind::ToMember);
    let kinds = given(kinds, ToSession::NUMBERS, Kind::ToSession);
    let kinds = given(kinds, FromSession::NUMBERS, Kind::FromSession);
    given(kinds, Restart::NUMBERS, Kind::Restart)
};

/// Gives out numbers, each of them once.
const fn given(mut kinds: Kinds, numbers: &[u8], kind: Kind) -> Kinds {
    let mut at = 0;
    while at < numbers.len() {
        let number = numbers[at] as usize;
        assert!(kinds[number].is_none(), "two messages have the same number");
        kinds[number] = Some(kind);
        at += 1;
    }
    kinds
}

/// Reads a record.
///
/// # Panics
///
/// If it was not written by [`Field::put`] of a message.
pub(crate) fn read(mut record: &[u8]) -> Received<'_> {
    let rest = &mut record;
    let number = *rest.first().expect("a record has a number");
    let message = match KINDS[usize::from(number)] {
        Some(Kind::ToHome) => Received::ToHome(ToHome::take(rest)),
        Some(Kind::ToMember) => Received::ToMember(ToMember::take(rest)),
        Some(Kind::ToSession) => Received::ToSession(ToSession::take(rest)),
        Some(Kind::FromSession) => Received::FromSession(FromSession::take(rest)),
        Some(Kind::Restart) => Received::Restart(Restart::take(rest)),
        None => unreachable!("no message has the number {number}"),
    };
    assert!(rest.is_empty(), "a record holds one message and nothing behind it");
    message
}

/// The newcomers of a shard in the order in which they joined, each with its own entry for the
/// list; empty if the list has one. The field `own` of [`ToMember::State`].
pub(crate) struct OwnEntries<'a>(&'a [u8]);

impl<'a> OwnEntries<'a> {
    /// Reads what was written by a room.
    pub(crate) const fn of(own: &'a [u8]) -> Self {
        Self(own)
    }

    /// Takes the entry of a newcomer, and skips those before it, which have gone in the meantime.
    pub(crate) fn entry(&mut self, conn: ConnKey) -> &'a [u8] {
        while !self.0.is_empty() {
            let (of, entry) = (ConnKey::take(&mut self.0), Field::take(&mut self.0));
            if of == conn {
                return entry;
            }
        }
        &[]
    }
}

struct_fields!(Searched<'a> { query, from, before, limit });

/// Which of the fields that few messages have are there. Nearly all have none, or a key, and cost
/// one byte.
mod has {
    pub(super) const KEY: u8 = 1;
    pub(super) const REPLY_TO: u8 = 2;
    pub(super) const MENTIONS: u8 = 4;
    pub(super) const DATA: u8 = 8;
    pub(super) const STREAM: u8 = 16;
}

impl<'a> Field<'a> for NewMessage<'a> {
    fn put(self, out: &mut Vec<u8>) {
        let Self { body, key, reply_to, mentions, data, stream } = self;
        let flag = |is_there: bool, flag: u8| if is_there { flag } else { 0 };
        let flags = flag(key.is_some(), has::KEY)
            | flag(reply_to.is_some(), has::REPLY_TO)
            | flag(mentions.is_some(), has::MENTIONS)
            | flag(data.is_some(), has::DATA)
            | flag(stream, has::STREAM);
        flags.put(out);
        body.put(out);
        for text in [key, mentions, data].into_iter().flatten() {
            text.put(out);
        }
        if let Some(reply_to) = reply_to {
            reply_to.put(out);
        }
    }

    fn read(record: &mut &'a [u8]) -> Option<Self> {
        let flags = u8::read(record)?;
        let is = |flag: u8| flags & flag != 0;
        Some(Self {
            body: Field::read(record)?,
            key: read_if(is(has::KEY), record)?,
            mentions: read_if(is(has::MENTIONS), record)?,
            data: read_if(is(has::DATA), record)?,
            reply_to: read_if(is(has::REPLY_TO), record)?,
            stream: is(has::STREAM),
        })
    }
}

impl<'a> Field<'a> for Verb<'a> {
    fn put(self, out: &mut Vec<u8>) {
        match self {
            Self::Edit { body, mentions, data } => {
                0_u8.put(out);
                body.put(out);
                mentions.put(out);
                data.put(out);
            }
            Self::Delete => 1_u8.put(out),
            Self::Pin { on } => {
                2_u8.put(out);
                on.put(out);
            }
        }
    }

    fn read(record: &mut &'a [u8]) -> Option<Self> {
        Some(match u8::read(record)? {
            0 => {
                let (body, mentions) = (Field::read(record)?, Field::read(record)?);
                Self::Edit { body, mentions, data: Field::read(record)? }
            }
            1 => Self::Delete,
            2 => Self::Pin { on: bool::read(record)? },
            _ => return None,
        })
    }
}

impl<'a> Field<'a> for Addition<'a> {
    fn put(self, out: &mut Vec<u8>) {
        match self {
            Self::Reaction { emoji, on } => {
                0_u8.put(out);
                emoji.put(out);
                on.put(out);
            }
            Self::Text { text, is_last } => {
                1_u8.put(out);
                text.put(out);
                is_last.put(out);
            }
        }
    }

    fn read(record: &mut &'a [u8]) -> Option<Self> {
        Some(match u8::read(record)? {
            0 => Self::Reaction { emoji: Field::read(record)?, on: bool::read(record)? },
            1 => Self::Text { text: Field::read(record)?, is_last: bool::read(record)? },
            _ => return None,
        })
    }
}

impl<'a> Field<'a> for Who<'a> {
    fn put(self, out: &mut Vec<u8>) {
        let (user, name) = match self {
            Self::Here(identity) => (identity.user(), identity.name()),
            Self::There { user, name } => (user, name),
        };
        user.put(out);
        name.put(out);
    }

    fn read(record: &mut &'a [u8]) -> Option<Self> {
        Some(Self::There { user: Field::read(record)?, name: Field::read(record)? })
    }
}

impl Field<'_> for From {
    fn put(self, out: &mut Vec<u8>) {
        let (number, offset) = match self {
            Self::Latest => (0u8, 0),
            Self::Before(offset) => (1, offset),
            Self::After(offset) => (2, offset),
            Self::Around(offset) => (3, offset),
        };
        number.put(out);
        offset.put(out);
    }

    fn read(record: &mut &[u8]) -> Option<Self> {
        let (number, offset) = (u8::read(record)?, u64::read(record)?);
        Some(match number {
            0 => Self::Latest,
            1 => Self::Before(offset),
            2 => Self::After(offset),
            3 => Self::Around(offset),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::level::{Inviters, Joiners, Reactors, Restraint, Role, Speakers};
    use crate::base::arena::Key;
    use crate::link::audit::AuditAct;
    use crate::link::facts::Sentence;

    #[track_caller]
    fn check(message: ToHome<'_>) {
        let mut record = Vec::new();
        message.put(&mut record);
        assert_eq!(read(&record), Received::ToHome(message));
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let asker = Asker { conn: Key::from_u64(0x1_0000_0002), slot: Slot(7) };
        let home = Key::from_u64(0x3_0000_0004);
        check(ToHome::Join {
            conn: asker.conn,
            audience: Key::from_u64(0x5_0000_0006),
            topic: "room:é",
            who: Who::There { user: "u", name: "" },
            level: Level::Speak,
            visible: false,
            since: Some(Cursor { epoch: u64::MAX, offset: 1, change: Some(2) }),
            limit: 50,
            meta: Some("{}"),
            replaces: Some(Slot(1)),
            address: Some(AddressHash(3)),
            invite: Some("\"inv_é\""),
        });
        check(ToHome::Invite { home, asker, reference: "1", for_s: 7 });
        for meta in [None, Some("{}")] {
            check(ToHome::Meta { home, asker, reference: "1", meta });
        }
        let bare = NewMessage { body: "\"hi\"", ..NewMessage::default() };
        let mentions = Some("[\"u\"]");
        let rich =
            NewMessage { key: Some("k"), reply_to: Some(3), mentions, data: Some("{}"), ..bare };
        let grows = NewMessage { stream: true, ..bare };
        for message in [bare, rich, grows, NewMessage { mentions, ..bare }] {
            check(ToHome::Publish { home, asker, reference: "\"1\"", message });
        }
        let edit = Verb::Edit { body: None, mentions: Given::Null, data: Given::Value("{}") };
        let pins = [true, false].map(|on| Verb::Pin { on });
        for verb in [edit, Verb::Delete].into_iter().chain(pins) {
            check(ToHome::Change { home, asker, reference: "1", offset: 7, verb });
        }
        for on in [true, false] {
            let addition = Addition::Reaction { emoji: "👍", on };
            check(ToHome::Add { home, asker, reference: "1", offset: 7, addition });
            let addition = Addition::Text { text: "\"é\"", is_last: on };
            check(ToHome::Add { home, asker, reference: "1", offset: 7, addition });
        }
        for thread in [None, Some(7)] {
            check(ToHome::Typing { home, asker, thread });
        }
        check(ToHome::Custom {
            home,
            asker,
            reference: "1",
            event: "e",
            payload: Payload::Binary(b"\xff"),
        });
        for view in [View::Room, View::Thread(7), View::Pins] {
            let (reference, limit) = ("1", 0);
            for from in [From::Latest, From::Before(8), From::After(9), From::Around(10)] {
                check(ToHome::History { home, asker, reference, view, from, limit });
            }
        }
        for (from, before) in [(None, None), (Some("\"u\""), Some(4))] {
            let searched = Searched { query: "\"é\"", from, before, limit: 9 };
            check(ToHome::Search { home, asker, reference: "1", searched });
        }
        let who = Who::There { user: "u", name: "Ü" };
        check(ToHome::Renew { home, asker, who, level: Level::Own });
        let mut record = Vec::new();
        let created = ToMember::Created { conn: asker.conn, status: 201, retry_ms: 0, body: "{}" };
        created.put(&mut record);
        assert_eq!(read(&record), Received::ToMember(created));
    }

    #[test]
    fn the_numbers_that_the_header_calls_free_are_free() {
        let is_free = |number: &u8| KINDS[usize::from(*number)].is_none();
        let free: Vec<u8> = (0..=u8::MAX).filter(is_free).collect();
        let named = [26..=26, 32..=40, 44..=60, 64..=80, 83..=u8::MAX];
        assert_eq!(free, named.into_iter().flatten().collect::<Vec<_>>());
    }

    #[test]
    fn what_is_wished_of_a_room_is_read_as_it_was_written() {
        let asker = Asker { conn: Key::from_u64(0x1_0000_0002), slot: Slot(7) };
        let home = Key::from_u64(0x3_0000_0004);
        let given = SettingsWish {
            title: Some("\"é\""),
            topic: Given::Null,
            join: Some(Joiners::Members),
            speak: Some(Speakers::Moderators),
            react: Some(Reactors::All),
            slow_s: Some(5),
            edit_s: Given::Value(7),
            keep_s: Given::Null,
            keep_messages: Given::Value(8),
            keep_bytes: Given::Null,
            receipts: Some(true),
            links: Some(false),
            invite: Some(Inviters::Members),
            revoke_invites: true,
            data: Given::Value("{}"),
        };
        for wish in [given, SettingsWish::default()] {
            check(ToHome::Set { home, asker, reference: "1", wish });
        }
        let given = MemberWish {
            user: "é",
            role: Given::Value(Role::Owner),
            mute: Some(Sentence::Seconds(5)),
            ban: Some(Sentence::ForEver),
            kick: true,
            purge_s: Some(9),
            purge_before: Some(8),
            reason: Some("\"é\""),
        };
        let lifts = MemberWish { mute: Some(Sentence::Lifted), ..MemberWish::default() };
        for wish in [given, lifts] {
            check(ToHome::Stand { home, asker, reference: "1", wish });
        }
        for restraint in [None, Some(Restraint::Muted), Some(Restraint::Banned)] {
            let wanted = MembersWanted { restraint, after: "é", limit: 7 };
            check(ToHome::ListMembers { home, asker, reference: "1", wanted });
        }
        for text in [None, Some("\"é\"")] {
            check(ToHome::Report { home, asker, reference: "1", offset: 7, text });
        }
        for act in [None, Some(AuditAct::MsgReport)] {
            let wanted = AuditWanted { before: 9, limit: 7, act };
            check(ToHome::Audit { home, asker, reference: "1", wanted });
        }
    }
}

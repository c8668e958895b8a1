//! Rooms and messages as whoever keeps them hands them to a home: as records, written one by one.
//!
//! ```text
//!   Found ── what is there of a room that is opened ──> Opened
//!   Run ──── messages that were read ─────────────────> Stretch
//!   rooms that are listed, and how many are there ────> ListedRoom
//! ```
//!
//! Deliberately absent: who keeps them (`store`, `engine`), and what a row is.

use crate::auth::level::Standing;
use crate::link::field::{Field, struct_fields};
use crate::link::ids::Receipt;
use crate::link::log::{Hits, Keyed, ListedRoom, Marks, Opened, Part, Sought, Stretch, Wanted};
use crate::link::record::NewMessage;
use crate::link::said::{Act, Fate, MessageText, Replies, Said};

/// [`Stretch`] on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run<'a> {
    /// The offset of the first message.
    pub(crate) first: u64,
    /// Whether there is more.
    pub(crate) more: bool,
    /// The messages: see [`Found::push_message`].
    pub(crate) messages: &'a [u8],
    /// Those that have changed: see [`push_numbered`].
    pub(crate) changed: &'a [u8],
    /// Those that are not all of the room's: see [`push_numbered`].
    pub(crate) picked: &'a [u8],
}

impl Run<'_> {
    /// With a memory of its own.
    pub(crate) fn stretch(self) -> Stretch {
        let Self { first, more, messages, changed, picked } = self;
        let (changed, picked) = (read_numbered(changed), read_numbered(picked));
        Stretch { first, messages: read_messages(messages), more, changed, picked }
    }
}

struct_fields!(Run<'a> { first, more, messages, changed, picked });

/// Appends a room to a list: its title, if it was made on purpose, and how many are there, if it is
/// still listed.
pub(crate) fn push_listed(
    rooms: &mut Vec<u8>,
    topic: &str,
    founded: Option<&str>,
    present: Option<u32>,
) {
    topic.put(rooms);
    founded.put(rooms);
    present.put(rooms);
}

/// The rooms of a list, each with a memory of its own.
pub(crate) fn read_listed(mut rooms: &[u8]) -> Vec<ListedRoom> {
    let mut listed = Vec::new();
    while !rooms.is_empty() {
        let topic = <&str>::take(&mut rooms).into();
        let founded = <Option<&str> as Field>::take(&mut rooms).map(Box::from);
        let present = <Option<u32> as Field>::take(&mut rooms);
        listed.push(ListedRoom { topic, founded, present });
    }
    listed
}

/// Appends a message with its offset: one that was found, or that has changed.
pub(crate) fn push_numbered(
    messages: &mut Vec<u8>,
    offset: u64,
    at_ms: u64,
    said: Said<'_>,
    fate: Fate<'_>,
) {
    offset.put(messages);
    Found::push_message(messages, at_ms, said, fate);
}

/// [`Hits`] with a memory of their own.
pub(crate) fn read_hits(record: &[u8], more_before: u64) -> Hits {
    let more_before = (more_before > 0).then_some(more_before);
    Hits { messages: read_numbered(record), more_before }
}

fn read_numbered(mut record: &[u8]) -> Vec<(u64, MessageText)> {
    let mut messages = Vec::new();
    while !record.is_empty() {
        messages.push((u64::take(&mut record), read_message(&mut record)));
    }
    messages
}

fn read_messages(mut record: &[u8]) -> Vec<MessageText> {
    let mut messages = Vec::new();
    while !record.is_empty() {
        messages.push(read_message(&mut record));
    }
    messages
}

fn read_message(record: &mut &[u8]) -> MessageText {
    let at_ms = u64::take(record);
    MessageText::new(at_ms, Field::take(record), Field::take(record))
}

/// [`Opened`] on its way: the tail and the lineage are read one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found<'a> {
    /// The epoch that the room is in.
    pub(crate) epoch: u64,
    /// The one that it began in.
    pub(crate) origin: u64,
    /// Where it stands.
    pub(crate) top: Marks,
    /// Up to where it has let go of messages, and of changes of those.
    pub(crate) floor: Marks,
    /// Its title, if it was made on purpose.
    pub(crate) founded: Option<&'a str>,
    /// Its settings, if some were decided.
    pub(crate) settings: Option<&'a str>,
    /// How users stand in it: see [`Found::push_standing`].
    pub(crate) standings: &'a [u8],
    /// The number of the last line of its audit trail.
    pub(crate) audited: u64,
    /// The epochs before: see [`Found::push_epoch`].
    pub(crate) lineage: &'a [u8],
    /// The offsets of its pinned messages, one behind the other.
    pub(crate) pins: &'a [u8],
    /// The keys of messages before the tail: see [`Found::push_key`].
    pub(crate) keys: &'a [u8],
    /// The last messages: see [`Found::push_message`].
    pub(crate) tail: &'a [u8],
}

impl Found<'_> {
    /// Appends an epoch to a lineage, the latest first.
    pub(crate) fn push_epoch(lineage: &mut Vec<u8>, epoch: u64, kept: Marks) {
        epoch.put(lineage);
        kept.put(lineage);
    }

    /// Appends how a user stands.
    pub(crate) fn push_standing(standings: &mut Vec<u8>, user: &str, standing: Standing) {
        user.put(standings);
        standing.put(standings);
    }

    /// Appends the key of a message, the newest first.
    #[cfg(feature = "store")]
    pub(crate) fn push_key(keys: &mut Vec<u8>, user: &str, key: &str, receipt: Receipt) {
        user.put(keys);
        key.put(keys);
        receipt.put(keys);
    }

    /// Appends a message to a tail, the oldest first.
    pub(crate) fn push_message(tail: &mut Vec<u8>, at_ms: u64, said: Said<'_>, fate: Fate<'_>) {
        at_ms.put(tail);
        said.put(tail);
        fate.put(tail);
    }

    /// With a memory of its own.
    pub(crate) fn opened(self) -> Opened {
        let Self {
            epoch,
            origin,
            top,
            floor,
            founded,
            settings,
            mut standings,
            audited,
            mut lineage,
            mut pins,
            mut keys,
            tail,
        } = self;
        let (founded, settings) = (founded.map(Box::from), settings.map(Box::from));
        let kept = top;
        let mut opened = Opened {
            epoch,
            origin,
            top,
            kept,
            founded,
            settings,
            audited,
            floor,
            ..Opened::default()
        };
        opened.standings = std::iter::from_fn(|| {
            (!standings.is_empty())
                .then(|| (<&str>::take(&mut standings), Field::take(&mut standings)))
        })
        .collect();
        while !lineage.is_empty() {
            opened.lineage.push((u64::take(&mut lineage), Marks::take(&mut lineage)));
        }
        while !pins.is_empty() {
            opened.pins.push(u64::take(&mut pins));
        }
        while !keys.is_empty() {
            let [user, key] = [(); 2].map(|()| <&str>::take(&mut keys).into());
            opened.keys.push(Keyed { user, key, receipt: Receipt::take(&mut keys) });
        }
        opened.keys.reverse();
        opened.tail = read_messages(tail);
        opened
    }
}

struct_fields!(Found<'a> {
    epoch, origin, top, floor, founded, settings, standings, audited, lineage, pins, keys, tail,
});

struct_fields!(Marks { offset, change });

struct_fields!(Receipt { offset, at_ms });

struct_fields!(Sought<'a> { query, from, before, messages, bytes });

impl Field<'_> for Wanted {
    fn put(self, out: &mut Vec<u8>) {
        let Self { after, upto, part, messages, bytes, changed, view } = self;
        after.put(out);
        upto.put(out);
        let (part, middle): (u8, u64) = match part {
            Part::Newest => (0, 0),
            Part::Oldest => (1, 0),
            Part::All => (2, 0),
            Part::Around(offset) => (3, offset),
        };
        part.put(out);
        middle.put(out);
        messages.put(out);
        bytes.put(out);
        changed.put(out);
        view.put(out);
    }

    fn read(record: &mut &[u8]) -> Option<Self> {
        let (after, upto) = (u64::read(record)?, u64::read(record)?);
        let part = match (u8::read(record)?, u64::read(record)?) {
            (0, _) => Part::Newest,
            (1, _) => Part::Oldest,
            (2, _) => Part::All,
            (_, offset) => Part::Around(offset),
        };
        let (messages, bytes) = (u32::read(record)?, usize::read(record)?);
        let (changed, view) = (Field::read(record)?, Field::read(record)?);
        Some(Self { after, upto, part, messages, bytes, changed, view })
    }
}

impl<'a> Field<'a> for Said<'a> {
    fn put(self, out: &mut Vec<u8>) {
        let Self { user, name, body, key, reply_to, thread, mentions, data, stream } = self;
        user.put(out);
        name.put(out);
        NewMessage { body, key, reply_to, mentions, data, stream }.put(out);
        thread.put(out);
    }

    fn read(record: &mut &'a [u8]) -> Option<Self> {
        let (user, name) = (Field::read(record)?, Field::read(record)?);
        let NewMessage { body, key, reply_to, mentions, data, stream } = Field::read(record)?;
        let thread = Field::read(record)?;
        Some(Self { user, name, body, key, reply_to, thread, mentions, data, stream })
    }
}

struct_fields!(Act<'a> { at_ms, by });

struct_fields!(Replies { count, last });

impl<'a> Field<'a> for Fate<'a> {
    fn put(self, out: &mut Vec<u8>) {
        let is_there = self != Self::default();
        is_there.put(out);
        if is_there {
            let Self { change, edited, deleted, pinned, reacted, replies, epoch } = self;
            change.put(out);
            edited.put(out);
            deleted.put(out);
            pinned.put(out);
            reacted.put(out);
            replies.put(out);
            epoch.put(out);
        }
    }

    fn read(record: &mut &'a [u8]) -> Option<Self> {
        if !bool::read(record)? {
            return Some(Self::default());
        }
        let change = u64::read(record)?;
        let (edited, deleted) = (Field::read(record)?, Field::read(record)?);
        let (pinned, reacted) = (Field::read(record)?, Field::read(record)?);
        let (replies, epoch) = (Field::read(record)?, Field::read(record)?);
        Some(Self { change, edited, deleted, pinned, reacted, replies, epoch })
    }
}

/// The value that a record holds, of which nothing is known; `None`, if it does not hold one, and
/// nothing behind it.
#[cfg(feature = "engine-redis")]
pub(crate) fn try_read_whole<'a, T: Field<'a>>(mut record: &'a [u8]) -> Option<T> {
    T::read(&mut record).filter(|_| record.is_empty())
}

/// Reads a record of this process that holds one message and nothing behind it.
///
/// # Panics
///
/// If it was not written by [`Field::put`] of one.
pub(crate) fn read_whole<'a, T: Field<'a>>(mut record: &'a [u8]) -> T {
    let message = T::take(&mut record);
    assert!(record.is_empty(), "a record holds one message and nothing behind it");
    message
}

/// Asserts that what is read of a record is the message that was written. For tests of those who
/// say something by one.
#[cfg(test)]
#[track_caller]
pub(crate) fn check_written<'a, T: Field<'a> + Copy + PartialEq + std::fmt::Debug>(
    message: T,
    record: &'a mut Vec<u8>,
) {
    message.put(record);
    assert_eq!(read_whole::<T>(record), message);
}

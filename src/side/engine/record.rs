//! What nodes read of each other: records, with a layout, a checksum and who wrote them.
//!
//! ```text
//!   layout 1 │ checksum 8 │ node 8 │ shard 2 │ number 9 │ inside
//! ```
//!
//! The checksum is also of what a record is for: its [`Purpose`], which is not written down, since
//! the place where it is found says it. So a record that somebody has put elsewhere is refused, as
//! one is that is damaged, or was written by somebody else. One of a newer layout is told apart: a
//! later version has written it, and this one must not write in its place.
//!
//! Deliberately absent: what is inside (`written`).

use std::fmt;

use sha1::{Digest, Sha1};

use crate::link::field::{Field, struct_fields};

/// The layout that this version writes, and the only one that it reads.
const LAYOUT: u8 = 1;

/// The layout and the checksum.
const SEAL_BYTES: usize = 9;

/// What a record is for. It is shown as its key is named in `redis::keys`, without what all names
/// begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose<'a> {
    /// A message of a room, as it was said.
    Message {
        /// The room's topic.
        topic: &'a str,
    },
    /// A message of a room that has changed, as it is by then.
    Changed {
        /// The room's topic.
        topic: &'a str,
        /// Which message.
        offset: u64,
    },
    /// What was decided or noted in a room, as it is told.
    Decided {
        /// The room's topic.
        topic: &'a str,
    },
    /// What was decided of a room, as it stands.
    Fact {
        /// The room's topic.
        topic: &'a str,
        /// The fact's name.
        name: &'a str,
    },
    /// A line of a room's audit trail.
    Line {
        /// The room's topic.
        topic: &'a str,
    },
    /// What is said in a room and not kept.
    Said {
        /// The room's topic.
        topic: &'a str,
    },
    /// A message of a room as the archive has it.
    Archived {
        /// The room's topic.
        topic: &'a str,
        /// Which message.
        offset: u64,
    },
    /// What nodes tell each other of all their rooms, and of themselves.
    Nodes,
    /// What nodes ask each other of sessions of long polling, and answer.
    Sessions,
}

impl Purpose<'_> {
    /// Adds it to a checksum: its number, then what has a length behind that, then the rest.
    fn hash(self, hash: Sha1) -> Sha1 {
        let (number, topic, name, offset): (u8, &str, &str, u64) = match self {
            Self::Message { topic } => (1, topic, "", 0),
            Self::Changed { topic, offset } => (2, topic, "", offset),
            Self::Decided { topic } => (3, topic, "", 0),
            Self::Fact { topic, name } => (4, topic, name, 0),
            Self::Line { topic } => (5, topic, "", 0),
            Self::Said { topic } => (6, topic, "", 0),
            Self::Nodes => (7, "", "", 0),
            Self::Sessions => (8, "", "", 0),
            Self::Archived { topic, offset } => (9, topic, "", offset),
        };
        let mut hash = hash.chain_update([number]);
        for text in [topic, name] {
            hash = hash.chain_update((text.len() as u64).to_le_bytes()).chain_update(text);
        }
        hash.chain_update(offset.to_le_bytes())
    }
}

impl fmt::Display for Purpose<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message { topic } => write!(out, "s:{}", topic.escape_debug()),
            Self::Changed { topic, offset } => write!(out, "x:{} {offset}", topic.escape_debug()),
            Self::Fact { topic, name } => {
                write!(out, "r:{} {}", topic.escape_debug(), name.escape_debug())
            }
            Self::Line { topic } => write!(out, "a:{}", topic.escape_debug()),
            Self::Decided { topic } | Self::Said { topic } => topic.escape_debug().fmt(out),
            Self::Archived { topic, offset } => {
                write!(out, "the archive: {} {offset}", topic.escape_debug())
            }
            Self::Nodes | Self::Sessions => out.write_str("the channel of nodes"),
        }
    }
}

/// Who has written a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::side) struct Origin {
    /// The node.
    pub(super) node: u64,
    /// The shard there.
    pub(super) shard: u16,
    /// What that calls it, if it expects an answer.
    pub(super) number: Option<u64>,
}

struct_fields!(Origin { node, shard, number });

/// Why a record is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// A later version has written it, in this layout.
    Newer(u8),
    /// It is damaged, stands in a place for which it was not written, or is somebody else's.
    Foreign,
}

impl fmt::Display for Unread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer(layout) => write!(out, "layout {layout} is newer than this version"),
            Self::Foreign => out.write_str("it is damaged, or was not written for this place"),
        }
    }
}

/// A record for this purpose, with what `inside` appends.
pub(super) fn sealed(
    purpose: Purpose<'_>,
    origin: Origin,
    inside: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let mut record = vec![0; SEAL_BYTES];
    origin.put(&mut record);
    inside(&mut record);
    let (seal, sealed) = record.split_at_mut(SEAL_BYTES);
    seal[0] = LAYOUT;
    seal[1..].copy_from_slice(&checksum(purpose, sealed));
    record
}

/// Who has written a record that was found where one for this purpose belongs, and what is inside.
///
/// # Errors
///
/// If this version did not write it for that.
pub(super) fn unsealed<'a>(
    purpose: Purpose<'_>,
    record: &'a [u8],
) -> Result<(Origin, &'a [u8]), Unread> {
    let (layout, rest) = record.split_first().ok_or(Unread::Foreign)?;
    if *layout > LAYOUT {
        return Err(Unread::Newer(*layout));
    }
    let (sum, mut sealed) = rest
        .split_at_checked(SEAL_BYTES - 1)
        .filter(|_| *layout == LAYOUT)
        .ok_or(Unread::Foreign)?;
    if *sum != checksum(purpose, sealed) {
        return Err(Unread::Foreign);
    }
    let origin = Origin::read(&mut sealed).ok_or(Unread::Foreign)?;
    Ok((origin, sealed))
}

/// The first 8 bytes of SHA-1: the same on each machine and in each version.
fn checksum(purpose: Purpose<'_>, bytes: &[u8]) -> [u8; 8] {
    first_bytes(purpose.hash(Sha1::new()).chain_update(bytes))
}

/// What the engine calls the key of a user's message.
pub(super) fn key_hash(user: &str, key: &str) -> u64 {
    // A user has no zero byte.
    let hash = Sha1::new().chain_update(user).chain_update([0]).chain_update(key);
    u64::from_be_bytes(first_bytes(hash))
}

fn first_bytes(hash: Sha1) -> [u8; 8] {
    let hash = hash.finalize();
    std::array::from_fn(|at| hash[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin = Origin { node: u64::MAX, shard: 3, number: Some(7) };
    const LINE: Purpose<'_> = Purpose::Line { topic: "room:tea" };

    fn inside(out: &mut Vec<u8>) {
        out.extend_from_slice(b"inside");
    }

    /// Purposes, each of which is another one than all others.
    const PURPOSES: [Purpose<'_>; 17] = [
        Purpose::Message { topic: "room:tea" },
        Purpose::Message { topic: "room:te" },
        Purpose::Changed { topic: "room:tea", offset: 1 },
        Purpose::Changed { topic: "room:tea", offset: 2 },
        Purpose::Changed { topic: "room:te", offset: 1 },
        Purpose::Decided { topic: "room:tea" },
        Purpose::Fact { topic: "room:tea", name: "t" },
        Purpose::Fact { topic: "room:tea", name: "S" },
        Purpose::Fact { topic: "room:teat", name: "" },
        Purpose::Fact { topic: "room:te", name: "at" },
        LINE,
        Purpose::Line { topic: "room:te" },
        Purpose::Said { topic: "room:tea" },
        Purpose::Archived { topic: "room:tea", offset: 1 },
        Purpose::Archived { topic: "room:tea", offset: 2 },
        Purpose::Nodes,
        Purpose::Sessions,
    ];

    #[test]
    fn what_is_read_is_what_was_written() {
        for number in [None, Some(7)] {
            let origin = Origin { number, ..ORIGIN };
            let record = sealed(LINE, origin, inside);
            assert_eq!(unsealed(LINE, &record), Ok((origin, &b"inside"[..])));
        }
        assert_eq!(unsealed(LINE, &sealed(LINE, ORIGIN, |_| ())), Ok((ORIGIN, &b""[..])));
    }

    #[test]
    fn a_record_is_read_where_it_was_written_for_and_nowhere_else() {
        for (at, written) in PURPOSES.into_iter().enumerate() {
            let record = sealed(written, ORIGIN, inside);
            for (other, place) in PURPOSES.into_iter().enumerate() {
                assert_eq!(unsealed(place, &record).is_ok(), at == other, "{written} in {place}");
            }
        }
    }

    #[test]
    fn what_is_cut_short_or_damaged_is_refused() {
        let record = sealed(LINE, ORIGIN, inside);
        for length in 0..record.len() {
            assert_eq!(unsealed(LINE, &record[..length]), Err(Unread::Foreign), "{length}");
        }
        for at in 1..record.len() {
            let mut damaged = record.clone();
            damaged[at] ^= 1;
            assert_eq!(unsealed(LINE, &damaged), Err(Unread::Foreign), "{at}");
        }
    }

    #[test]
    fn a_newer_layout_is_told_apart_whatever_is_behind_it() {
        let record = sealed(LINE, ORIGIN, inside);
        let with = |layout: u8| [&[layout], &record[1..]].concat();
        assert_eq!(unsealed(LINE, &with(LAYOUT - 1)), Err(Unread::Foreign));
        for newer in [LAYOUT + 1, u8::MAX] {
            assert_eq!(unsealed(LINE, &with(newer)), Err(Unread::Newer(newer)));
            assert_eq!(unsealed(LINE, &[newer]), Err(Unread::Newer(newer)));
        }
    }

    #[test]
    fn a_key_is_its_users() {
        let hashes = [("ann", "b"), ("an", "nb"), ("bob", "b"), ("ann", "c")]
            .map(|(user, key)| key_hash(user, key));
        for (at, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..at].contains(hash), "{at}");
        }
    }
}

//! What nodes read of each other: records, with a layout, a checksum and who wrote them.
//!
//! ```text
//!   layout 1 │ checksum 8 │ node 8 │ shard 2 │ number 9 │ inside
//! ```
//!
//! Records of another layout, and what is damaged or was written by somebody else, are refused:
//! behind the checksum a record is as this version wrote it, and is read as one from a ring.
//!
//! Deliberately absent: what is inside (`link::engine`, `room`).

use sha1::{Digest, Sha1};

use crate::link::record::{Field, struct_fields};

/// The layout that this version writes, and the only one that it reads.
const LAYOUT: u8 = 1;

/// The layout and the checksum.
const SEAL_BYTES: usize = 9;

/// Who has written a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// The node.
    pub(super) node: u64,
    /// The shard there.
    pub(super) shard: u16,
    /// What that calls it, if it expects an answer.
    pub(super) number: Option<u64>,
}

struct_fields!(Origin { node, shard, number });

/// A record.
pub(super) fn sealed(origin: Origin, inside: &[u8]) -> Vec<u8> {
    let mut record = vec![0; SEAL_BYTES];
    origin.put(&mut record);
    record.extend_from_slice(inside);
    let (seal, sealed) = record.split_at_mut(SEAL_BYTES);
    seal[0] = LAYOUT;
    seal[1..].copy_from_slice(&checksum(sealed));
    record
}

/// Who has written a record, and what is inside. `None`, if this version did not write it so.
pub(super) fn unsealed(record: &[u8]) -> Option<(Origin, &[u8])> {
    let (seal, mut sealed) = record.split_at_checked(SEAL_BYTES)?;
    let is_ours = seal[0] == LAYOUT && seal[1..] == checksum(sealed);
    let origin = is_ours.then(|| Origin::take(&mut sealed))?;
    Some((origin, sealed))
}

/// The first 8 bytes of SHA-1: the same on each machine and in each version.
fn checksum(bytes: &[u8]) -> [u8; 8] {
    first_bytes(Sha1::new().chain_update(bytes))
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

    #[test]
    fn what_is_read_is_what_was_written() {
        for number in [None, Some(7)] {
            let origin = Origin { number, ..ORIGIN };
            let record = sealed(origin, b"inside");
            assert_eq!(unsealed(&record), Some((origin, &b"inside"[..])));
        }
        assert_eq!(unsealed(&sealed(ORIGIN, b"")), Some((ORIGIN, &b""[..])));
    }

    #[test]
    fn what_is_cut_short_damaged_or_of_another_layout_is_refused() {
        let record = sealed(ORIGIN, b"inside");
        for length in 0..record.len() {
            assert_eq!(unsealed(&record[..length]), None, "{length}");
        }
        for at in 0..record.len() {
            let mut damaged = record.clone();
            damaged[at] ^= 1;
            assert_eq!(unsealed(&damaged), None, "{at}");
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

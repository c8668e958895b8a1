//! The form of a message in the file: its id, its row, and its checksum.
//!
//! SQLite has no checksums of its own, so a bit that changed on the disk would be somebody else's
//! words. The sum is over all that is served, and over the id, so that a row which lies in the
//! wrong place is seen too.
//!
//! Deliberately absent: which rows are read.

use rusqlite::Row;
use sha1::{Digest, Sha1};

use super::error::StoreError;
use crate::link::log::Said;

/// How many bits of an id are its offset: 39, so 24 are its room and the sign is never used.
const OFFSET_BITS: u32 = 39;

/// The greatest offset.
pub(super) const OFFSET_MAX: u64 = (1 << OFFSET_BITS) - 1;

/// The greatest id of a room.
pub(super) const ROOM_MAX: u32 = (1 << (63 - OFFSET_BITS)) - 1;

/// The key of a message: all of a room is one range, in the order in which it was said.
///
/// # Panics
///
/// If the room or the offset is beyond what there may be: the message would be another room's.
pub(super) fn id_of(room: u32, offset: u64) -> i64 {
    assert!(room <= ROOM_MAX, "room {room} has no place in an id");
    assert!(offset <= OFFSET_MAX, "offset {offset} has no place in an id");
    i64::from(room) << OFFSET_BITS | offset.cast_signed()
}

/// The offset in an id.
pub(super) fn offset_of(id: i64) -> u64 {
    id.cast_unsigned() & OFFSET_MAX
}

/// A number of a room's row that says how far its offsets or changes have come.
///
/// # Errors
///
/// If no offset is so large: the row is damaged.
pub(super) fn checked_offset(number: i64) -> Result<u64, StoreError> {
    let offset = u64::try_from(number).ok().filter(|offset| *offset < OFFSET_MAX);
    offset.ok_or(StoreError::Contradiction("a room has come further than there are offsets"))
}

/// A query for rows of [`Message`], with what stands behind `FROM message`.
macro_rules! select_messages {
    ($which:literal) => {
        concat!("SELECT id, at, user, name, body, key, reply_to, sum FROM message ", $which)
    };
}

pub(super) use select_messages;

/// A row of `message`, as far as it is served.
pub(super) struct Message<'a> {
    pub(super) id: i64,
    pub(super) at_ms: u64,
    pub(super) said: Said<'a>,
}

impl<'a> Message<'a> {
    /// From the first columns of a row: see [`select_messages`]. None, if it does not fit its
    /// checksum or has no such columns.
    pub(super) fn of(row: &'a Row<'_>) -> Option<Self> {
        let number = |index| row.get::<_, i64>(index).ok();
        let text = |index| row.get_ref(index).ok()?.as_str().ok();
        let maybe = |index| row.get_ref(index).ok()?.as_str_or_null().ok();
        let (id, at) = (number(0)?, number(1)?);
        let reply_to = row.get::<_, Option<i64>>(6).ok()?.map(i64::cast_unsigned);
        let (user, name, body) = (text(2)?, text(3)?, text(4)?);
        let said = Said { user, name, body, key: maybe(5)?, reply_to };
        let is_whole = number(7)? == sum_of(id, at, said);
        is_whole.then_some(Self { id, at_ms: at.cast_unsigned(), said })
    }
}

/// A checksum over a message and its place: the first 8 bytes of SHA-1, which is the same on each
/// machine and in each version, and is a dependency already.
pub(super) fn sum_of(id: i64, at_ms: i64, said: Said<'_>) -> i64 {
    let Said { user, name, body, key, reply_to } = said;
    let mut hasher = Sha1::new();
    hasher.update(id.to_le_bytes());
    hasher.update(at_ms.to_le_bytes());
    // With their lengths, so that no text can take a letter of the next one.
    for text in [user, name, body, key.unwrap_or_default()] {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.update([u8::from(key.is_some()), u8::from(reply_to.is_some())]);
    hasher.update(reply_to.unwrap_or_default().to_le_bytes());
    let digest: [u8; 20] = hasher.finalize().into();
    let (first, _) = digest.split_first_chunk().expect("20 bytes");
    i64::from_le_bytes(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_in_the_order_of_rooms_and_of_offsets() {
        let ids = [(0, 1), (1, 0), (1, 1), (1, OFFSET_MAX), (2, 0), (ROOM_MAX, OFFSET_MAX)];
        let ids = ids.map(|(room, offset)| id_of(room, offset));
        assert!(ids.is_sorted() && ids[0] > 0, "{ids:?}");
        assert_eq!(offset_of(id_of(3, 77)), 77);
    }

    #[test]
    #[should_panic(expected = "has no place")]
    fn no_room_reaches_into_the_next_one() {
        id_of(0, OFFSET_MAX + 1);
    }

    #[test]
    fn whatever_is_changed_changes_the_sum() {
        let said = Said { user: "ab", name: "c", body: "\"x\"", key: None, reply_to: None };
        let sums = [
            sum_of(1, 2, said),
            sum_of(2, 2, said),
            sum_of(1, 3, said),
            sum_of(1, 2, Said { user: "a", name: "bc", ..said }),
            sum_of(1, 2, Said { body: "\"y\"", ..said }),
            sum_of(1, 2, Said { key: Some(""), ..said }),
            sum_of(1, 2, Said { reply_to: Some(0), ..said }),
        ];
        for (at, sum) in sums.iter().enumerate() {
            assert!(!sums[..at].contains(sum), "{at}");
        }
        // A file outlives the program: this never changes.
        assert_eq!(sums[0], SUM_OF_OLD);
    }

    const SUM_OF_OLD: i64 = -3_860_752_856_939_639_642;
}

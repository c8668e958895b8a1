//! What the script says on a room's channel, as `struct.pack` in `chinwag_1.lua` writes it: numbers
//! are little endian, and a length stands before what has one.

use super::super::command::{Done, Head, News, Place};
use super::read::lineage;
use crate::link::log::Marks;

/// Reads news, without the byte before them that says what they are. `None`, if they are none.
pub(super) fn read(mut bytes: &[u8]) -> Option<News> {
    let bytes = &mut bytes;
    let epoch = std::str::from_utf8(cut(bytes, 16)?).ok()?;
    let epoch = u64::from_str_radix(epoch, 16).ok()?;
    let before = marks(bytes)?;
    let top = marks(bytes)?;
    let [rev, audited, floor, at_ms] =
        [number(bytes)?, number(bytes)?, number(bytes)?, number(bytes)?];
    let gone = marks(bytes)?;
    let lineage = lineage(std::str::from_utf8(counted(bytes)?).ok()?)?;
    let count = length(bytes)?;
    let entries = (0..count).map(|_| done(bytes)).collect::<Option<Vec<_>>>()?;
    let head = Head { epoch, top, rev, audited, floor, at_ms, gone, lineage };
    bytes.is_empty().then_some(News { head, before, entries })
}

fn done(bytes: &mut &[u8]) -> Option<Done> {
    let kind = cut(bytes, 1)?[0];
    let [place, offset] = [number(bytes)?, number(bytes)?];
    let place = match kind {
        b'm' => Place::Message(place),
        b'c' | b'x' => Place::Change { change: place, offset, is_deleted: kind == b'x' },
        b'd' => Place::Decision(place),
        b'n' => Place::Note,
        _ => return None,
    };
    let record = counted(bytes)?.to_vec();
    Some(Done { place, record, line: (number(bytes)?, counted(bytes)?.to_vec()) })
}

fn marks(bytes: &mut &[u8]) -> Option<Marks> {
    Some(Marks { offset: number(bytes)?, change: number(bytes)? })
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    cut(bytes, 8)?.try_into().ok().map(u64::from_le_bytes)
}

fn length(bytes: &mut &[u8]) -> Option<usize> {
    let length = cut(bytes, 4)?.try_into().ok().map(u32::from_le_bytes)?;
    usize::try_from(length).ok()
}

fn counted<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = length(bytes)?;
    cut(bytes, length)
}

fn cut<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (first, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::super::super::command::Ended;
    use super::*;

    /// News of two entries, as the script packs them.
    fn packed() -> Vec<u8> {
        let mut bytes = b"00000000000000e1".to_vec();
        let numbers = [4_u64, 1, 5, 2, 3, 7, 1, 1_700_000_000_000, 3, 1];
        bytes.extend(numbers.into_iter().flat_map(u64::to_le_bytes));
        push(&mut bytes, b"00000000000000e0:4/1/2/7,00000000000000df:2/0/0/0");
        bytes.extend(2_u32.to_le_bytes());
        for (kind, number, offset, line) in [(b'm', 5_u64, 0_u64, 0_u64), (b'x', 2, 3, 7)] {
            bytes.push(kind);
            bytes.extend([number, offset].into_iter().flat_map(u64::to_le_bytes));
            push(&mut bytes, b"record");
            bytes.extend(line.to_le_bytes());
            push(&mut bytes, if line == 0 { b"" } else { b"line" });
        }
        bytes
    }

    fn push(bytes: &mut Vec<u8>, what: &[u8]) {
        bytes.extend(u32::try_from(what.len()).expect("it is short").to_le_bytes());
        bytes.extend(what);
    }

    #[test]
    fn news_are_read_as_they_are_packed() {
        let marks = |offset, change| Marks { offset, change };
        let head = Head {
            epoch: 0xE1,
            top: marks(5, 2),
            rev: 3,
            audited: 7,
            floor: 1,
            at_ms: 1_700_000_000_000,
            gone: marks(3, 1),
            lineage: vec![
                Ended { epoch: 0xE0, kept: marks(4, 1), rev: 2, audited: 7 },
                Ended { epoch: 0xDF, kept: marks(2, 0), rev: 0, audited: 0 },
            ],
        };
        let deleted = Place::Change { change: 2, offset: 3, is_deleted: true };
        let record = b"record".to_vec();
        let entries = vec![
            Done { place: Place::Message(5), record: record.clone(), line: (0, Vec::new()) },
            Done { place: deleted, record, line: (7, b"line".to_vec()) },
        ];
        assert_eq!(read(&packed()), Some(News { head, before: marks(4, 1), entries }));
    }

    #[test]
    fn news_that_are_cut_or_go_on_are_none_and_no_byte_is_a_panic() {
        let packed = packed();
        for cut in 0..packed.len() {
            assert!(read(&packed[..cut]).is_none(), "{cut}");
            for byte in [0, b'0', b',', 0x7F, 0xFF] {
                let mut other = packed.clone();
                other[cut] = byte;
                let _ = read(&other);
            }
        }
        assert!(read(&[&packed[..], b"x"].concat()).is_none());
    }
}

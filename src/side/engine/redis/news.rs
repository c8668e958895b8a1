//! What the script says on a room's channel, as `struct.pack` in `chinwag_1.lua` writes it: numbers
//! are little endian, and a length stands before what has one.

use super::super::command::{Done, Head, News, Place};
use super::read::{Malformed, lineage};
use crate::link::log::Marks;

/// Reads news, without the byte before them that says what they are.
pub(super) fn read(bytes: &[u8]) -> Result<News, Malformed> {
    parse(bytes).ok_or(Malformed("news on a room's channel"))
}

fn parse(mut bytes: &[u8]) -> Option<News> {
    let bytes = &mut bytes;
    let epoch = std::str::from_utf8(cut(bytes, 16)?).ok()?;
    let epoch = u64::from_str_radix(epoch, 16).ok()?;
    let before = marks(bytes)?;
    let top = marks(bytes)?;
    let [rev, audited, floor, at_ms] =
        [number(bytes)?, number(bytes)?, number(bytes)?, number(bytes)?];
    let lineage = lineage(std::str::from_utf8(counted(bytes)?).ok()?)?;
    let count = length(bytes)?;
    let entries = (0..count).map(|_| done(bytes)).collect::<Option<Vec<_>>>()?;
    let head = Head { epoch, top, rev, audited, floor, at_ms, lineage };
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

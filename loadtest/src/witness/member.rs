//! One member of a room: what it holds, and whether what comes to it may come now.

use std::collections::{BTreeMap, BTreeSet};

use super::findings::{Broken, Findings};
use super::states::{Changed, States};
use super::{Had, Kept, Place, text};
use crate::base::count64;
use crate::order::Message;

/// The most offsets that a message may be ahead of the next one and still leave a gap of its own.
///
/// An offset is the server's word, and memory is taken by it: a wrong one must not take all.
const AHEAD_MAX: u64 = 1_000_000;

#[derive(Debug)]
pub(super) struct Member {
    pub(super) room: u32,
    /// Its join was answered, and neither its channel nor its connection has ended since.
    pub(super) is_in: bool,
    /// It is to be out.
    pub(super) is_banned: bool,
    /// All up to here was told.
    pub(super) cursor: Option<Place>,
    /// By offset, without a gap but for what is missing.
    pub(super) held: BTreeMap<u64, Kept>,
    /// How many changes of messages it was told of, or of what came of them.
    pub(super) change: u64,
    /// What has become of what it holds.
    pub(super) states: States,
    /// Offsets within what it holds that never came.
    missing: BTreeSet<u64>,
}

impl Member {
    /// One that was never in its room.
    pub(super) fn new(room: u32) -> Self {
        Self {
            room,
            is_in: false,
            is_banned: false,
            cursor: None,
            held: BTreeMap::new(),
            change: 0,
            states: States::default(),
            missing: BTreeSet::new(),
        }
    }

    /// It is told that it may have missed something: what it held is discarded, and it begins anew
    /// behind a place.
    pub(super) fn begin_at(&mut self, place: Place, findings: &mut Findings) {
        self.count_gaps(findings);
        self.held.clear();
        self.states.clear();
        self.cursor = Some(place);
    }

    /// The latest messages of the run that it holds and that are not deleted to it, the newest
    /// first.
    pub(super) fn latest(&self) -> impl Iterator<Item = Had> {
        self.held.iter().rev().filter_map(|(&offset, kept)| {
            let Message::Ours { rank, seq } = kept.message else { return None };
            (!self.states.is_deleted(offset)).then_some(Had { offset, rank, seq })
        })
    }

    /// It is told of a change. Says whether that is the next one; if another was left out, it is to
    /// come back, and has what it had.
    pub(super) fn change(&mut self, changed: &Changed, findings: &mut Findings) -> bool {
        let (room, number, has) = (self.room, changed.number(), self.change);
        findings.add(Broken::Twice, u64::from(number <= has), || {
            format!("room {room}: change {number} comes to a member that has {has} of them")
        });
        let is_next = number <= has + 1;
        if is_next {
            self.states.merge(changed);
            self.change = has.max(number);
        }
        is_next
    }

    /// Its join is answered: it has all up to a change, with what has become of messages by now.
    pub(super) fn catch_up<'a>(&mut self, change: u64, now: impl Iterator<Item = &'a Changed>) {
        for changed in now {
            self.states.replace(changed);
        }
        self.change = change;
    }

    /// Its room goes on in another epoch, behind a change, and nothing that it holds is lost.
    pub(super) fn turned(&mut self, change: u64, findings: &mut Findings) {
        let (room, has) = (self.room, self.change);
        findings.add(Broken::Gap, has.abs_diff(change), || {
            format!("room {room}: a member that has {has} changes is told that there are {change}")
        });
        self.change = change;
    }

    /// It is in, or its epoch has turned, and it is told that it has all up to a place.
    pub(super) fn joined(&mut self, place: Place, findings: &mut Findings) {
        if let Some(cursor) = self.cursor {
            self.miss(cursor.offset.saturating_add(1), place.offset, findings);
            let (room, has, offset) = (self.room, cursor.offset, place.offset);
            // Nothing has told that the rest of what it holds is lost.
            findings.add(Broken::Gap, has.saturating_sub(offset), || {
                format!(
                    "room {room}: a member that has all up to {has} is told that it is {offset}"
                )
            });
        }
        self.cursor = Some(place);
        self.is_in = true;
    }

    /// It is told what stands at an offset.
    ///
    /// Requires: it has a cursor.
    pub(super) fn take(&mut self, offset: u64, kept: Kept, findings: &mut Findings) {
        let Some(cursor) = &mut self.cursor else { return };
        let next = cursor.offset.saturating_add(1);
        let room = self.room;
        if offset >= next {
            cursor.offset = offset;
            self.miss(next, offset - 1, findings);
        } else if self.missing.remove(&offset) {
            findings.add(Broken::Order, 1, || {
                format!("room {room}: {offset} comes behind {}", next - 1)
            });
        } else {
            let is_again = self.held.get(&offset).is_none_or(|known| known.agrees(kept));
            let broken = if is_again { Broken::Twice } else { Broken::Order };
            return findings.add(broken, 1, || {
                format!("room {room}: {offset} comes again, as {}", text(kept.message))
            });
        }
        self.held.insert(offset, kept);
    }

    /// Offsets from `first` to `last`, if that is not before it, have not come.
    fn miss(&mut self, first: u64, last: u64, findings: &mut Findings) {
        let room = self.room;
        if last.saturating_sub(first) > AHEAD_MAX {
            findings.add(Broken::Gap, (last - first).saturating_add(1), || {
                format!("room {room}: {last} is far ahead of {first}, which is the next")
            });
        } else {
            self.missing.extend(first..=last);
        }
    }

    /// Counts what never came.
    pub(super) fn count_gaps(&mut self, findings: &mut Findings) {
        let missing = std::mem::take(&mut self.missing);
        let room = self.room;
        findings.add(Broken::Gap, count64(missing.len()), || {
            let first = missing.first().copied().unwrap_or_default();
            format!("room {room}: {first} never came to a member that went on behind it")
        });
    }
}

/// Counts the messages of the run that stand in a list twice.
pub(super) fn count_doubles(room: u32, list: &BTreeMap<u64, Kept>, findings: &mut Findings) {
    let mut places = BTreeMap::new();
    for (offset, kept) in list {
        let Message::Ours { rank, seq } = kept.message else { continue };
        if let Some(before) = places.insert((rank, seq), *offset) {
            findings.add(Broken::Twice, 1, || {
                format!("room {room}: {} stands at {before} and {offset}", text(kept.message))
            });
        }
    }
}

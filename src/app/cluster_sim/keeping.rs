//! What may be gone of a room, and what must be:
//!
//! 1. nothing goes that is neither too old nor too much, by what the room was set to then;
//! 2. what is gone at a node stays gone there, and is in no page or recovery of it any more;
//! 3. a page has no hole, and ends where the room has let go of what was before, not earlier;
//! 4. whoever comes back for what is gone is told so, and nobody else is;
//! 5. in the end all that is too old or too much is gone.
//!
//! A failover may bring back what replicas had not let go of. It goes once more.

use super::client::TOPICS;
use super::judge::Judge;
use crate::limits::{RETENTION_AGAIN_MS, RETENTION_REST_MS, RETENTION_SWEEP_MS};
use crate::link::facts::{Keep, RoomKeep};
use crate::link::ids::Cursor;
use crate::link::log::Marks;
use crate::rooms::contract::reader::{Message, of};
use crate::side::engine::Holding;

/// What a message takes at most, in bytes.
const SIZE_MAX: u64 = 160;

/// So much later than it is too old is all of it gone, in milliseconds.
const GONE_WITHIN_MS: u64 = RETENTION_AGAIN_MS + RETENTION_SWEEP_MS + RETENTION_REST_MS;

/// So long are messages kept where something else bounds them, in seconds: longer than a run.
const LONG_S: u64 = 900;

/// What is kept of each room in the run of a seed where rooms let go of something.
pub(super) fn keep_of(seed: u64) -> Keep {
    match seed % 4 {
        0 => Keep { seconds: 8, ..Keep::default() },
        1 => Keep { messages: 12, ..Keep::default() },
        2 => Keep { bytes: 1_000, ..Keep::default() },
        _ => Keep { seconds: LONG_S, ..Keep::default() },
    }
}

/// What a room is set to keep by its owner.
pub(super) fn some_keep(draw: u64) -> RoomKeep {
    let own = RoomKeep::default();
    match draw % 8 {
        0 => RoomKeep { seconds: Some(3), ..own },
        1 => RoomKeep { seconds: Some(20), messages: Some(30), ..own },
        2 => RoomKeep { seconds: Some(LONG_S), ..own },
        3 => RoomKeep { messages: Some(4), ..own },
        4 => RoomKeep { messages: Some(20), ..own },
        5 => RoomKeep { bytes: Some(400), ..own },
        6 => RoomKeep { bytes: Some(2_000), ..own },
        _ => own,
    }
}

/// What a room keeps: its own time goes before that of all rooms, and of the rest the less counts.
fn kept(of_all: Keep, own: RoomKeep) -> Keep {
    let less = |of_all: u64, own: Option<u64>| {
        let bounds = [of_all, own.unwrap_or(0)];
        bounds.into_iter().filter(|bound| *bound > 0).min().unwrap_or(0)
    };
    Keep {
        seconds: own.seconds.unwrap_or(of_all.seconds),
        messages: less(of_all.messages, own.messages),
        bytes: less(of_all.bytes, own.bytes),
    }
}

/// Asserts that a room in which nothing was said for long has let go of all that it is to.
pub(super) fn check_bounds(held: &Holding, of_all: Keep, now_ms: u64) {
    let keep = kept(of_all, held.own);
    let (mut count, mut bytes) = (0, 0);
    for (offset, at_ms, size) in &held.messages {
        (count, bytes) = (count + 1, bytes + size);
        let is_too_old = keep.seconds > 0 && at_ms + keep.seconds * 1_000 + GONE_WITHIN_MS < now_ms;
        assert!(!is_too_old, "what is too old is gone: {offset} of {at_ms} at {now_ms}, {keep:?}");
    }
    assert!(keep.messages == 0 || count <= keep.messages, "{count} messages are left: {keep:?}");
    assert!(keep.bytes == 0 || bytes <= keep.bytes, "{bytes} bytes are left: {keep:?}");
}

/// Asserts that somebody is not told what was gone when it asked: all up to `floor`.
pub(super) fn check_shown(topic: usize, floor: u64, told: &[Message]) {
    let mut offsets = told.iter().map(|message| of(message, "offset"));
    let shown = offsets.find(|offset| *offset <= floor);
    assert_eq!(shown, None, "what is gone up to {floor} of {} is not told", TOPICS[topic]);
}

impl Judge {
    /// A room has let go of messages, up to `gone`. It was `held` before.
    pub(super) fn lets_go(
        &mut self,
        topic: usize,
        held: &Holding,
        gone: Marks,
        (of_all, now_ms): (Keep, u64),
    ) {
        assert!(held.gone.is_within(gone), "what is gone stays gone: {:?}, {gone:?}", held.gone);
        assert!(gone.is_within(held.top), "nothing is gone that was not said: {gone:?}");
        let keep = kept(of_all, held.own);
        for (offset, at_ms, size) in &held.messages {
            assert!(*size <= SIZE_MAX, "messages are small: {size}");
            if *offset > gone.offset {
                break;
            }
            let behind = held.top.offset - offset;
            let is_too_old = keep.seconds > 0 && at_ms + keep.seconds * 1_000 < now_ms;
            let is_too_many = keep.messages > 0 && behind >= keep.messages;
            // Some may have been longer than they are by now.
            let is_too_much = keep.bytes > 0 && (behind + 1) * SIZE_MAX > keep.bytes;
            assert!(
                is_too_old || is_too_many || is_too_much,
                "nothing goes that is to be kept: {offset} of {at_ms} at {now_ms}, {keep:?}"
            );
            for (is_it, why) in [
                (is_too_old, "let go of what is too old"),
                (is_too_many, "let go of what is too many"),
                (is_too_much, "let go of what is too much"),
            ] {
                if is_it {
                    self.reached.insert(why);
                }
            }
        }
        self.gone[topic] = self.gone[topic].max(gone);
    }

    /// A failover makes of what is gone what is gone at the replica.
    pub(super) fn brings_back(&mut self, topic: usize, at_replica: Marks, gone: Marks) {
        if at_replica.offset < gone.offset {
            self.reached.insert("brought back what was gone");
            let least = self.brought_back[topic].unwrap_or(u64::MAX);
            self.brought_back[topic] = Some(least.min(at_replica.offset));
        }
    }

    /// Up to which offset all is gone, whatever fails over, where a node takes this for gone.
    pub(super) fn surely_gone(&self, topic: usize, floor: u64) -> u64 {
        self.brought_back[topic].map_or(floor, |back| back.min(floor))
    }

    /// A room at a node takes for gone what is up to this offset, and has done so up to `known`.
    pub(super) fn check_floor(&self, topic: usize, floor: u64, known: u64) {
        let known = self.surely_gone(topic, known);
        assert!(floor >= known, "what is gone stays gone in {}: {floor}, {known}", TOPICS[topic]);
        let gone = self.gone[topic];
        assert!(floor <= gone.offset, "{} has all behind {gone:?}, not {floor}", TOPICS[topic]);
    }

    /// Whether whoever has this cursor has missed something that is gone.
    pub(super) fn is_gone(&self, topic: usize, cursor: Cursor) -> bool {
        let Marks { offset, change } = self.gone[topic];
        cursor.offset < offset || cursor.change.unwrap_or_default() < change
    }

    /// Somebody is shown a page.
    pub(super) fn check_page(
        &mut self,
        topic: usize,
        (before, floor): (u64, u64),
        page: &[Message],
        has_more: bool,
    ) {
        check_shown(topic, floor, page);
        let offsets: Vec<u64> = page.iter().map(|message| of(message, "offset")).collect();
        let first = offsets.first().copied().unwrap_or(before);
        assert!(offsets.iter().copied().eq((first..).take(offsets.len())), "no hole: {offsets:?}");
        if has_more {
            assert!(!offsets.is_empty(), "whoever asks for more is told more");
            return;
        }
        let gone = self.gone[topic].offset;
        assert!(first <= gone + 1, "a page ends where nothing is before: {first}, {gone}");
        if first > 1 {
            self.reached.insert("read to what is gone");
        }
    }
}

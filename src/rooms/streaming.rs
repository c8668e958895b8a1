//! Messages that grow: said piece by piece, by a bot that types for a minute.
//!
//! ```text
//!   new_msg, stream ── opens ──> grows ── msg_append, done ──> is whole
//!                                  └─ nothing for a while ───> is whole: ended here
//! ```
//!
//! Each piece is a change, and is collected as a reaction is: see `collecting`. A message that is
//! not appended to any more is ended here, so that nobody waits for the rest of it for ever.
//!
//! Deliberately absent: who may append, and what (`room::growth`). And messages that have left
//! memory before they were whole, of a room that is kept: they stay as they are until their author
//! appends to them.
//!
//! Called by: `rooms`, and `shard` for the timer. Calls: `room`, `changing`, `pending`.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use crate::base::slack::Slack;
use crate::limits::{COLLECTED_MESSAGES_PER_TURN_MAX, MOVED_BYTES_PER_TURN, STREAM_MEMORY_BYTES};
use crate::link::ids::RoomKey;
use crate::link::io::Io;
use crate::link::log::{Log, Opened};
use crate::link::outbox::{Cx, Tell, Timer};
use crate::rooms::Rooms;
use crate::rooms::changing::Proposed;
use crate::rooms::held::Membership;
use crate::rooms::registry::Registered;

/// How much later those are looked at again that could not be ended, at least, in milliseconds.
const LATER_MS: u64 = 500;

/// The messages that grow, in all rooms. See the module.
#[derive(Default)]
pub(super) struct Streams {
    rooms: HashMap<RoomKey, OfRoom, ahash::RandomState>,
    /// How many there are.
    count: usize,
}

/// The messages of a room that grow.
#[derive(Default)]
struct OfRoom {
    /// When each is ended unless it grows, in milliseconds of monotonic time, by offset.
    due_ms: BTreeMap<u64, u64>,
    /// Whether a timer will look at them.
    is_armed: bool,
}

impl Streams {
    /// Forgets those of a room that is gone.
    pub(super) fn forget(&mut self, room: RoomKey) {
        if !self.rooms.is_empty() {
            self.count -= self.rooms.remove(&room).map_or(0, |of| of.due_ms.len());
        }
    }

    /// What all of them take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.count * STREAM_MEMORY_BYTES
    }

    /// Gives back memory that many rooms at once needed.
    pub(super) fn trim(&mut self, kept: usize) {
        self.rooms.trim(kept);
    }
}

impl Rooms {
    /// Notes whether a message grows, as it has just been said or changed: by something appended,
    /// or otherwise.
    pub(super) fn note_stream<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: RoomKey,
        offset: u64,
        (grows, has_grown): (bool, bool),
    ) {
        if grows {
            let due_ms = cx.now.mono_ms + cx.settings.chat.stream_s * 1_000;
            let of = self.streams.rooms.entry(key).or_default();
            match of.due_ms.entry(offset) {
                Entry::Vacant(place) => {
                    place.insert(due_ms);
                    self.streams.count += 1;
                }
                Entry::Occupied(mut place) if has_grown => *place.get_mut() = due_ms,
                Entry::Occupied(_) => {}
            }
            self.arm_streams(cx, key);
        } else if let Some(of) = self.streams.rooms.get_mut(&key) {
            self.streams.count -= usize::from(of.due_ms.remove(&offset).is_some());
        }
    }

    /// Has a timer look at the messages of a room when the first of them may be over.
    fn arm_streams<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: RoomKey) {
        let Some(of) = self.streams.rooms.get_mut(&key).filter(|of| !of.is_armed) else { return };
        let Some(next_ms) = of.due_ms.values().min() else {
            self.streams.rooms.remove(&key);
            return;
        };
        of.is_armed = true;
        cx.timers.push((*next_ms).max(cx.now.mono_ms + LATER_MS), Timer::Streams(key));
    }

    /// Awaits the rest of the messages of a room that its log has kept, of those in memory.
    pub(super) fn await_streams<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: RoomKey,
        opened: &Opened,
    ) {
        let before = opened.top.offset - opened.tail.len() as u64;
        let tail = (before + 1..).zip(&opened.tail);
        for (offset, _) in tail.filter(|(_, message)| message.said.stream) {
            self.note_stream(cx, key, offset, (true, true));
        }
    }

    /// Ends the messages of a room that have not grown for so long: as many as a turn may.
    ///
    /// Changes: the journal, or what is under way. Emits: `msg_changed` to all shards with members.
    pub(crate) fn end_streams<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
    ) {
        let Some(of) = self.streams.rooms.get_mut(&key) else { return };
        of.is_armed = false;
        let is_due = |(_, due_ms): &(&u64, &u64)| **due_ms <= cx.now.mono_ms;
        let due = of.due_ms.iter().filter(is_due).map(|(offset, _)| *offset);
        let due: Vec<u64> = due.take(COLLECTED_MESSAGES_PER_TURN_MAX as usize).collect();
        // A change is judged by the message as it stands, and those that are told once are enough.
        let waits = self.pending.must_change_wait(key) || self.pending.is_behind(key);
        let mut moved_bytes = 0;
        for offset in due {
            let must_wait = waits || cx.io.log().is_filling() || cx.is_any_filling();
            if must_wait || moved_bytes > MOVED_BYTES_PER_TURN {
                break;
            }
            moved_bytes += self.moved_bytes(key, offset);
            self.end_stream(cx, members, key, offset);
        }
        self.arm_streams(cx, key);
    }

    fn end_stream<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        offset: u64,
    ) {
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        let Some(was) = room.message(offset).filter(|message| message.said.stream) else {
            return self.note_stream(cx, key, offset, (false, false));
        };
        let mut next = was.clone();
        next.said.stream = false;
        let nobody = Membership::of_nobody(key);
        match self.propose_change(cx, members, nobody, (offset, Some(&was), &next), None) {
            Ok(Proposed::Kept(placed)) => self.note_kept_if_told(cx, key, placed),
            Ok(Proposed::UnderWay(ticket, entry)) => self.pending.insert(ticket, entry),
            // It is tried again.
            Err(_) => {}
        }
    }

    /// Asserts that they are counted. For [`Rooms::check`].
    pub(super) fn check_streams(&self) {
        let count: usize = self.streams.rooms.values().map(|of| of.due_ms.len()).sum();
        assert_eq!(count, self.streams.count, "messages that grow are counted");
        for (key, of) in &self.streams.rooms {
            assert!(self.arena.contains(*key), "and of a room");
            assert!(of.is_armed, "and none is forgotten");
        }
    }
}

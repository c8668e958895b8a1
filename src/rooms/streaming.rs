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

use std::collections::{BTreeMap, HashMap};

use crate::base::slack::Slack;
use crate::link::ids::RoomKey;
use crate::link::io::Io;
use crate::link::log::{Log, Opened};
use crate::link::outbox::{Cx, Tell, Timer};
use crate::rooms::Rooms;
use crate::rooms::changing::Proposed;
use crate::rooms::held::Membership;
use crate::rooms::registry::Registered;

/// About what a message that grows takes here, in bytes.
const STREAM_MEMORY_BYTES: usize = 64;

/// The messages that grow, in all rooms. See the module.
#[derive(Default)]
pub(super) struct Streams {
    /// When each is ended unless it grows, in milliseconds of monotonic time, by offset.
    rooms: HashMap<RoomKey, BTreeMap<u64, u64>, ahash::RandomState>,
}

impl Streams {
    /// Forgets those of a room that is gone.
    pub(super) fn forget(&mut self, room: RoomKey) {
        if !self.rooms.is_empty() {
            self.rooms.remove(&room);
        }
    }

    /// What all of them take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.rooms.values().map(BTreeMap::len).sum::<usize>() * STREAM_MEMORY_BYTES
    }

    /// Gives back memory that many rooms at once needed.
    pub(super) fn trim(&mut self, kept: usize) {
        self.rooms.trim(kept);
    }
}

impl Rooms {
    /// Notes whether a message grows, as it has just been said or changed.
    pub(super) fn note_stream<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: RoomKey,
        offset: u64,
        grows: bool,
    ) {
        if grows {
            let due_ms = cx.now.mono_ms + cx.settings.chat.stream_s * 1_000;
            let of = self.streams.rooms.entry(key).or_default();
            if of.insert(offset, due_ms).is_none() {
                cx.timers.push(due_ms, Timer::Streams(key));
            }
        } else if let Some(of) = self.streams.rooms.get_mut(&key) {
            of.remove(&offset);
            if of.is_empty() {
                self.streams.rooms.remove(&key);
            }
        }
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
            self.note_stream(cx, key, offset, true);
        }
    }

    /// Ends the messages of a room that have not grown for so long.
    pub(crate) fn end_streams<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
    ) {
        let Some(of) = self.streams.rooms.get(&key) else { return };
        let due: Vec<u64> = of
            .iter()
            .filter(|(_, due_ms)| **due_ms <= cx.now.mono_ms)
            .map(|(offset, _)| *offset)
            .collect();
        for offset in due {
            // A change is judged by the message as it stands.
            if self.pending.must_event_wait(key) || self.pending.is_behind(key) {
                break;
            }
            self.end_stream(cx, members, key, offset);
        }
        let Some(next_ms) = self.streams.rooms.get(&key).and_then(|of| of.values().min()) else {
            return;
        };
        cx.timers.push((*next_ms).max(cx.now.mono_ms + 1_000), Timer::Streams(key));
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
            return self.note_stream(cx, key, offset, false);
        };
        let mut next = was.clone();
        next.said.stream = false;
        let nobody = Membership::of_nobody(key);
        match self.propose_change(cx, members, nobody, (offset, Some(&was), &next)) {
            Ok(Proposed::Kept(placed)) => {
                if cx.io.log().keeps() {
                    self.note_kept(key, placed.marks);
                }
            }
            Ok(Proposed::UnderWay(ticket, entry)) => self.pending.insert(ticket, entry),
            // It is tried again.
            Err(_) => {}
        }
    }
}

//! How the answer to a join and a page of history are written.
//!
//! Deliberately absent: messages and receipts (`link::message`), presence (`meta`).
//!
//! Called by: `room`. Calls: `journal`, `presence`.

use crate::auth::level::Level;
use crate::limits::HistoryLimits;
use crate::link::ids::{Cursor, Slot};
use crate::link::message::push_epoch;
use crate::room::Room;
use crate::room::history::Page;
use crate::room::journal::{Missed, Older};
#[cfg(test)]
use crate::room::planted::{self, Planted};
use crate::wire::json::{push_array, push_string, push_unsigned};

/// What a join asks to be told besides that it took place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JoinQuestion<'a> {
    /// Now, in milliseconds of Unix time.
    pub(crate) now_ms: u64,
    /// Where the client stood, if it has been here before.
    pub(crate) since: Option<Cursor>,
    /// How many messages the latest page is to have.
    pub(crate) limit: u32,
    /// What there is of the messages before those in memory.
    pub(crate) older: Older<'a>,
    /// Whether messages change at all where this server runs: a client is told how far they have.
    pub(crate) may_change: bool,
}

/// Appends the answer to a join.
pub(crate) fn push_joined(
    out: &mut Vec<u8>,
    room: &Room,
    slot: Slot,
    question: JoinQuestion<'_>,
    limits: &HistoryLimits,
) {
    let JoinQuestion { now_ms, since, limit, older, may_change } = question;
    let start = out.len();
    out.push(b'{');
    if room.name().is_some() {
        let journal = room.journal();
        let missed = since.and_then(|since| journal.recover(since, older, limits));
        let (recovered, changed) = match missed {
            Some(Missed::All { older, newer, changed }) => (Some((older, newer)), changed),
            Some(Missed::InLog { .. }) | None => (None, Vec::new()),
        };
        #[cfg(test)]
        let changed =
            if planted::is(Planted::RecoveryWithoutChanged) { Vec::new() } else { changed };
        if may_change {
            out.extend_from_slice(b"\"change\":");
            push_unsigned(out, journal.top().change);
            out.push(b',');
        }
        // They may have changed before that was switched off.
        if !changed.is_empty() {
            out.extend_from_slice(b"\"changed\":[");
            out.extend_from_slice(&changed);
            out.extend_from_slice(b"],");
        }
        out.extend_from_slice(b"\"epoch\":\"");
        push_epoch(out, journal.epoch());
        out.extend_from_slice(b"\",");
        // What was missed begins where the client stands, so it has what is before; the page may
        // have more before it.
        let (before, page) =
            recovered.unwrap_or_else(|| (&[], room.latest(limit, older != Older::Gone, limits)));
        push_page(out, before, page);
        out.extend_from_slice(b",\"offset\":");
        push_unsigned(out, room.history().last());
        out.extend_from_slice(if recovered.is_some() {
            b",\"recovered\":true,"
        } else {
            b",\"recovered\":false,"
        });
        out.extend_from_slice(b"\"room\":");
        room.push_room(out);
        push_pins(out, room, older != Older::Gone);
        out.push(b',');
    }
    out.extend_from_slice(b"\"you\":{");
    let member = room.member(slot);
    if let Some(member) = member {
        out.extend_from_slice(b"\"name\":");
        push_string(out, member.identity.name());
        let speaks = room.level_at(slot, now_ms) >= Level::Speak;
        out.extend_from_slice(if speaks {
            b",\"speak\":true,\"user\":"
        } else {
            b",\"speak\":false,\"user\":"
        });
        push_string(out, member.identity.user());
        room.push_rights(out, slot, now_ms);
    }
    out.extend_from_slice(b"}}");
    if let Some(member) = member {
        let read = if let Older::Read { reactions, .. } = older { reactions } else { &[] };
        room.push_mine(out, start, member.identity.user(), read.iter().copied());
    }
}

/// Appends which messages are pinned to a room's listing, if any are.
fn push_pins(out: &mut Vec<u8>, room: &Room, reaches_back: bool) {
    let mut pins = room.pins(reaches_back).peekable();
    if pins.peek().is_none() {
        return;
    }
    out.pop_if(|last| *last == b'}');
    out.extend_from_slice(b",\"pins\":");
    push_array(out, pins, push_unsigned);
    out.push(b'}');
}

/// Appends a page of history, with messages before it: the inside of an object.
pub(crate) fn push_page(out: &mut Vec<u8>, older: &[u8], page: Page<'_>) {
    out.extend_from_slice(b"\"messages\":[");
    out.extend_from_slice(older);
    if !older.is_empty() && !page.messages.is_empty() {
        out.push(b',');
    }
    out.extend_from_slice(page.messages);
    out.extend_from_slice(if page.more { b"],\"more\":true" } else { b"],\"more\":false" });
}

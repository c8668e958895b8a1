//! What the entries of all kinds have in common on their way: what they cost, the question to the
//! log, and what members hear.
//!
//! Deliberately absent: what an entry is, and what becomes of it (`speech`, `changing`,
//! `deciding`).
//!
//! Called by: `speech`, `changing`, `deciding`, `collecting`, `committing`, `purging`, `standing`,
//! `again`, `ticks`. Calls: `room`.

use crate::link::ids::RoomKey;
use crate::link::io::Io;
use crate::link::log::{Append, Entry};
use crate::link::outbox::{Cx, Tell};
use crate::link::record::ToMember;
use crate::link::refusal::{FANOUT_LIMIT, Refusal};
use crate::room::{Outpost, Room};
use crate::wire::phx::Payload;

/// Takes what all members together are sent of a message from what its user may say. At the home,
/// since the speaker's own shard knows only some of the members.
pub(super) fn take_fanout<I: Io>(
    cx: &Cx<'_, I>,
    room: &Room,
    user: &str,
    bytes: usize,
) -> Result<(), Refusal> {
    let (rates, limits) = (&cx.settings.rates, &cx.settings.limits);
    rates
        .take_fanout(user, (bytes, room.members_count()), cx.now.mono_ms, limits)
        .map_err(|retry| Refusal::RateLimited { limit: FANOUT_LIMIT, retry })
}

/// The question to the log of a room: to keep an entry, at the place after the journal's top.
pub(super) fn append_of<'a>(
    key: RoomKey,
    room: &'a Room,
    ticket: u64,
    at_ms: u64,
    entry: Entry<'a>,
) -> Append<'a> {
    Append { room: key, topic: room.topic(), ticket, top: room.journal().top(), at_ms, entry }
}

/// Tells every member of a room an event: one message to each shard that has members.
pub(super) fn deliver<I: Io>(
    cx: &mut Cx<'_, I>,
    members: &mut impl Tell<I>,
    room: &Room,
    event: &str,
    payload: Payload<'_>,
) {
    for Outpost { shard, audience, .. } in room.outposts() {
        members.tell(cx, *shard, ToMember::Deliver { audience: *audience, event, payload });
    }
}

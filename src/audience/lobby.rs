//! The topic `lobby`: the list of rooms, and its changes, coalesced.
//!
//! It has no home: each shard serves its own members from its own directory. Members who may see
//! every room share one log; the others are told apart, each of the rooms that it may see.
//!
//! Deliberately absent: how it is joined (`member::lobby`).

use super::Audiences;
use crate::conn::Conns;
use crate::directory::{Directory, Listing, push_rooms};
use crate::limits::LOBBY_TICK_MS;
use crate::link::ids::AudienceKey;
use crate::link::io::Io;
use crate::link::message::text;
use crate::link::outbox::{Cx, Timer};
use crate::link::topic::LOBBY;
use crate::wire::json::push_string;
use crate::wire::phx::{Outgoing, Payload};

/// When the lobby is told.
#[derive(Debug, Default)]
pub(super) struct Lobby {
    /// Whether a time is set.
    is_ticking: bool,
    told_ms: u64,
}

/// What changed of a room: what is known of it now, or nothing if it is gone.
type Change = (Box<str>, Option<Listing>);

impl Audiences {
    /// Schedules the lobby to be told of changes, if there are any.
    pub(crate) fn set_lobby_tick<I: Io>(&mut self, cx: &mut Cx<'_, I>, directory: &Directory) {
        if directory.has_changed() && !self.lobby.is_ticking {
            self.lobby.is_ticking = true;
            let due_ms = cx.now.mono_ms.max(self.lobby.told_ms + LOBBY_TICK_MS);
            cx.timers.push(due_ms, Timer::Lobby);
        }
    }

    /// Tells the lobby's members what has changed.
    pub(crate) fn lobby_tick<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        conns: &mut Conns,
        directory: &mut Directory,
    ) {
        self.lobby.is_ticking = false;
        self.lobby.told_ms = cx.now.mono_ms;
        let Some(key) = self.find(LOBBY) else { return directory.unwatch() };
        let changes = directory.take_changes();
        let mut payload = Vec::new();
        push_changes(&mut payload, &changes, |_| true);
        self.deliver(cx.metrics, key, "rooms", Payload::Json(text(&payload)));
        let apart = self.get(key).map(|audience| audience.apart.clone()).unwrap_or_default();
        for conn in apart {
            self.tell_apart(conns, key, conn, &changes);
        }
    }

    fn tell_apart(&self, conns: &mut Conns, key: AudienceKey, conn: u32, changes: &[Change]) {
        let Some(conn) = conns.key_at(conn) else { return };
        let Some(identity) = conns.identity(conn) else { return };
        let is_news = changes.iter().any(|(room, _)| identity.may_join(room));
        if !is_news || self.get(key).is_none() {
            return;
        }
        let mut payload = Vec::new();
        push_changes(&mut payload, changes, |room| identity.may_join(room));
        let payload = Payload::Json(text(&payload));
        let (join_ref, reference) = ("null", "null");
        conns.push(conn, &Outgoing { join_ref, reference, topic: LOBBY, event: "rooms", payload });
    }
}

/// Appends `{"changed":[...],"removed":[...]}` of those rooms that `may_see` lets through.
fn push_changes(out: &mut Vec<u8>, changes: &[Change], may_see: impl Fn(&str) -> bool) {
    let seen = || changes.iter().filter(|(room, _)| may_see(room));
    out.extend_from_slice(b"{\"changed\":");
    push_rooms(out, seen().filter_map(|(room, listing)| Some((&**room, listing.as_ref()?))));
    out.extend_from_slice(b",\"removed\":[");
    for (number, (room, _)) in seen().filter(|(_, listing)| listing.is_none()).enumerate() {
        if number > 0 {
            out.push(b',');
        }
        push_string(out, room);
    }
    out.extend_from_slice(b"]}");
}

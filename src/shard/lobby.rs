//! The topic `lobby`: the list of rooms, and its changes, coalesced.
//!
//! It has no home: each shard serves its own members from its own
//! [`Directory`](crate::chat::directory::Directory). Members who may see every room share one log;
//! the others are told apart, each of the rooms that it may see.

use super::answers::{push_listing, text};
use super::audience::Audience;
use super::channels::{Channel, Passage};
use super::conn::Conn;
use super::refs::JoinRef;
use super::{Io, Shard, Timer, Turn};
use crate::base::arena::Key;
use crate::chat::directory::Listing;
use crate::chat::topic::LOBBY;
use crate::limits::{LOBBY_ROOMS_MAX, LOBBY_TICK_MS};
use crate::wire::json::{push_string, push_unsigned};
use crate::wire::phx::{Message, Outgoing, Payload};

impl Shard {
    /// Lets a connection into the lobby. A second join of it takes the place of the first.
    pub(super) fn join_lobby<I: Io>(
        &mut self,
        turn: &Turn<'_, I>,
        conn: Key<Conn>,
        message: &Message<'_>,
    ) {
        let audience = self.audience_of(LOBBY, self.id);
        self.directory.watch();
        let old = self.stand_up(conn, audience);
        let flags = self.flags[conn.index() as usize];
        let Some(identity) = self.conns.get(conn).and_then(|conn| conn.identity.clone()) else {
            return;
        };
        let mut channel = Channel { passage: Passage::Over, ..Channel::joining(audience, false) };
        if let Some(record) = self.audiences.get_mut(audience) {
            if identity.is_unrestricted() {
                channel.seat = record.sit(conn.index(), flags);
            } else {
                record.apart.push(conn.index());
            }
        }
        self.put_channel(conn, channel, &JoinRef::of(message));
        let (rooms, total) =
            self.directory.largest(LOBBY_ROOMS_MAX, |room| identity.may_join(room));
        let mut response = Vec::new();
        response.extend_from_slice(b"{\"rooms\":");
        push_rooms(&mut response, rooms.iter().copied());
        response.extend_from_slice(b",\"total\":");
        push_unsigned(&mut response, total as u64);
        response.push(b'}');
        self.answer_join(conn, audience, &message.reference, "ok", text(&response));
        if let Some(old) = old {
            self.say_closed(conn, audience, &old.join_ref);
        }
        self.set_lobby_tick(turn);
    }

    /// Has the lobby told of changes, if there are any and anybody to tell.
    pub(super) fn set_lobby_tick<I: Io>(&mut self, turn: &Turn<'_, I>) {
        if self.directory.has_changed() && !self.lobby_ticking {
            self.lobby_ticking = true;
            let due_ms = turn.now.mono_ms.max(self.lobby_told_ms + LOBBY_TICK_MS);
            self.timers.push(due_ms, Timer::Lobby);
        }
    }

    /// Tells the lobby's members what has changed.
    pub(super) fn lobby_tick<I: Io>(&mut self, turn: &Turn<'_, I>) {
        self.lobby_ticking = false;
        self.lobby_told_ms = turn.now.mono_ms;
        let Some(key) = self.audience_by_topic.get(LOBBY).copied() else {
            return self.directory.unwatch();
        };
        let changes = self.directory.take_changes();
        let mut payload = Vec::new();
        push_changes(&mut payload, &changes, |_| true);
        self.deliver(key, "rooms", Payload::Json(text(&payload)));
        let apart =
            self.audiences.get(key).map(|audience| audience.apart.clone()).unwrap_or_default();
        for conn in apart {
            self.tell_apart(key, conn, &changes);
        }
    }

    fn tell_apart(
        &mut self,
        key: Key<Audience>,
        conn: u32,
        changes: &[(Box<str>, Option<Listing>)],
    ) {
        let Some(conn) = self.conns.key_at(conn) else { return };
        let Some(identity) = self.conns.get(conn).and_then(|conn| conn.identity.clone()) else {
            return;
        };
        if !changes.iter().any(|(room, _)| identity.may_join(room)) || !self.audiences.contains(key)
        {
            return;
        }
        let mut payload = Vec::new();
        push_changes(&mut payload, changes, |room| identity.may_join(room));
        let payload = Payload::Json(text(&payload));
        let message =
            Outgoing { join_ref: "null", reference: "null", topic: LOBBY, event: "rooms", payload };
        self.push(conn, &message);
    }
}

/// Appends `[{"members":..,"room":..,"title":..}, ...]`.
pub fn push_rooms<'a>(out: &mut Vec<u8>, rooms: impl Iterator<Item = (&'a str, &'a Listing)>) {
    out.push(b'[');
    for (number, (room, listing)) in rooms.enumerate() {
        if number > 0 {
            out.push(b',');
        }
        push_listing(out, room, &listing.title, listing.members);
    }
    out.push(b']');
}

/// Appends `{"changed":[...],"removed":[...]}` of those rooms that `may_see` lets through.
fn push_changes(
    out: &mut Vec<u8>,
    changes: &[(Box<str>, Option<Listing>)],
    may_see: impl Fn(&str) -> bool,
) {
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

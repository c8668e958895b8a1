//! How the lobby is joined: at once, for it has no home.

use super::Members;
use super::channels::{Channel, State};
use super::join::Joiner;
use super::refs::JoinRef;
use crate::directory::{Directory, push_rooms};
use crate::limits::LOBBY_ROOMS_MAX;
use crate::link::io::Io;
use crate::link::message::text;
use crate::link::outbox::Cx;
use crate::link::topic::LOBBY;
use crate::wire::json::push_unsigned;

impl Members {
    /// `(none) -> Joined`: lets a connection into the lobby. A second join of it takes the place of
    /// the first.
    pub(super) fn join_lobby<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        directory: &mut Directory,
        joiner: &Joiner<'_>,
    ) {
        let Joiner { conn, identity, message, .. } = *joiner;
        let audience = self.audiences.found(LOBBY, cx.id);
        directory.watch();
        let old = self.remove_channel(conn, audience);
        let speaks_v1 = self.conns.flags(conn.index()).speaks_v1();
        let mut channel = Channel { state: State::Joined, ..Channel::joining(audience) };
        if let Some(record) = self.audiences.get_mut(audience) {
            if identity.is_unrestricted() {
                channel.seat = record.sit(conn.index(), speaks_v1);
            } else {
                record.apart.push(conn.index());
            }
        }
        self.insert_channel(conn, channel, &JoinRef::of(message));
        let (rooms, total) = directory.largest(LOBBY_ROOMS_MAX, |room| identity.may_join(room));
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
        self.audiences.set_lobby_tick(cx, directory);
    }
}

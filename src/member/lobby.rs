//! How the lobby is joined: at once, for it has no home.

use super::Members;
use super::channels::{Channel, State};
use super::join::Joiner;
use super::refs::JoinRef;
use crate::directory::{Directory, Scope};
use crate::link::io::Io;
use crate::link::message::text;
use crate::link::outbox::Cx;
use crate::link::topic::LOBBY;

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
        let audience = self.audiences.find_or_make(LOBBY, cx.id);
        directory.watch();
        let old = self.remove_channel(conn, audience);
        let speaks_v1 = self.conns.flags(conn.index()).speaks_v1();
        let mut channel = Channel { state: State::Joined, ..Channel::joining(audience) };
        let scope = Scope::of(identity);
        let answer = self.audiences.lobby_answer(directory, &scope);
        if !scope.is_all() {
            self.audiences.sit_apart(audience, conn.index(), scope);
        } else if let Some(record) = self.audiences.get_mut(audience) {
            channel.seat = record.sit(conn.index(), speaks_v1);
        }
        self.insert_channel(conn, channel, &JoinRef::of(message));
        self.answer_join(conn, audience, &message.reference, "ok", text(&answer));
        if let Some(old) = old {
            self.say_closed(conn, audience, &old.join_ref);
        }
        self.audiences.set_lobby_tick(cx, directory);
    }
}

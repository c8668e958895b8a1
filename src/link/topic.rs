//! What a topic names.

use crate::base::name::is_name;

/// The topic of the list of rooms.
pub const LOBBY: &str = "lobby";

/// The topic of the heartbeat; it cannot be joined.
pub const PHOENIX: &str = "phoenix";

const ROOM_PREFIX: &str = "room:";
const USER_PREFIX: &str = "user:";

/// A topic that can be joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic<'a> {
    /// `room:NAME`.
    Room(&'a str),
    /// `lobby`.
    Lobby,
    /// `user:ID`.
    User(&'a str),
}

impl<'a> Topic<'a> {
    /// Reads a topic, or says that nobody answers to it.
    #[must_use]
    pub fn parse(topic: &'a str) -> Option<Self> {
        if let Some(name) = topic.strip_prefix(ROOM_PREFIX) {
            return is_name(name).then_some(Self::Room(name));
        }
        if let Some(user) = topic.strip_prefix(USER_PREFIX) {
            return is_name(user).then_some(Self::User(user));
        }
        (topic == LOBBY).then_some(Self::Lobby)
    }

    /// The room's name, if it is a room.
    #[must_use]
    pub fn room(self) -> Option<&'a str> {
        match self {
            Self::Room(name) => Some(name),
            Self::Lobby | Self::User(_) => None,
        }
    }
}

/// The name of the room with this topic; none, if it is no room's.
#[must_use]
pub fn room_of(topic: &str) -> Option<&str> {
    Topic::parse(topic).and_then(Topic::room)
}

/// The topic of the room with this name.
#[must_use]
pub fn of_room(name: &str) -> String {
    format!("{ROOM_PREFIX}{name}")
}

/// Whether an event is one of Phoenix' own: a client that pushes one in a channel ends the channel,
/// as there.
#[must_use]
pub fn is_phoenix(event: &str) -> bool {
    event.starts_with("phx_") || event.starts_with("presence_")
}

/// Beginnings of names that are never passed on.
///
/// Stock `phoenix.js` takes `chan_reply_REF` for the answer to its own push, so whoever may speak
/// could forge answers. `access_token` carries a token in clients of Supabase, which would be told
/// to the room. The others are the server's own verbs and events, present and to come.
const RESERVED: &[&str] =
    &["chan_reply_", "msg_", "room_", "user_", "file_", "token_", ACCESS_TOKEN];

/// What a client pushes to say something, and what members hear of it.
pub(crate) const NEW_MSG: &str = "new_msg";

/// What a client pushes while its user types, and what members hear of it.
pub(crate) const TYPING: &str = "typing";

/// What a client pushes for a page of messages.
pub(crate) const HISTORY: &str = "history";

/// What a client pushes to be answered with what it has sent.
pub(crate) const ECHO: &str = "echo";

/// What a client pushes to look for messages.
pub(crate) const SEARCH: &str = "msg_search";

/// What a client pushes to say a message of its own in another way.
pub(crate) const MSG_EDIT: &str = "msg_edit";

/// What a client pushes to delete a message.
pub(crate) const MSG_DELETE: &str = "msg_delete";

/// What a client pushes to pin a message, or to unpin it.
pub(crate) const MSG_PIN: &str = "msg_pin";

/// What a client pushes to react to a message, or not any more.
pub(crate) const MSG_REACT: &str = "msg_react";

/// What a client pushes to append to a message of its own that grows.
pub(crate) const MSG_APPEND: &str = "msg_append";

/// What a client pushes to report a message to those who look after its room.
pub(crate) const MSG_REPORT: &str = "msg_report";

/// What a client pushes to have other settings of a room.
pub(crate) const ROOM_SET: &str = "room_set";

/// What a client pushes to have a user stand otherwise in a room.
pub(crate) const ROOM_MEMBER: &str = "room_member";

/// What a client pushes to be told how users stand in a room.
pub(crate) const ROOM_MEMBERS: &str = "room_members";

/// What a client pushes to be told what was done to a room, and what was reported.
pub(crate) const ROOM_AUDIT: &str = "room_audit";

/// What a client pushes to get an invite.
pub(crate) const ROOM_INVITE: &str = "room_invite";

/// What a client pushes to attach another meta to its presence.
pub(crate) const ROOM_META: &str = "room_meta";

/// Whether an event is about the room itself, and who may do what in it.
pub(crate) fn is_about_room(event: &str) -> bool {
    let is_of_all = matches!(event, ROOM_SET | ROOM_MEMBER | ROOM_MEMBERS | ROOM_AUDIT);
    is_of_all || matches!(event, ROOM_INVITE | ROOM_META | MSG_REPORT)
}

/// What clients push to do something to a message that is there. For each, `member::params` makes a
/// verb of its payload.
pub(crate) const VERBS: [&str; 3] = [MSG_EDIT, MSG_DELETE, MSG_PIN];

/// Whether an event does something to a message that is there.
pub(crate) fn is_verb(event: &str) -> bool {
    VERBS.contains(&event)
}

/// Whether an event adds something to a message that is there, as often happens.
pub(crate) fn is_addition(event: &str) -> bool {
    matches!(event, MSG_REACT | MSG_APPEND)
}

/// What a client pushes to go on with another token. For the server alone, and on any topic.
pub(crate) const ACCESS_TOKEN: &str = "access_token";

/// Whether an event may not be used by an application: it is refused, and never passed on.
#[must_use]
pub fn is_reserved(event: &str) -> bool {
    RESERVED.iter().any(|name| event.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::NAME_BYTES_MAX;

    #[test]
    fn names_that_a_client_or_the_server_gives_a_meaning_are_reserved() {
        for event in ["chan_reply_1", "access_token", "msg_edit", "room_epoch", "token_expired"] {
            assert!(is_reserved(event) && !is_phoenix(event), "{event}");
        }
        for event in ["phx_reply", "presence_state"] {
            assert!(is_phoenix(event) && !is_reserved(event), "{event}");
        }
        for event in ["new_msg", "typing", "history", "echo", "x:y", "chan", "", "rooms", "msg"] {
            assert!(!is_reserved(event) && !is_phoenix(event), "{event}");
        }
    }

    #[test]
    fn topics_are_rooms_users_the_lobby_or_nothing() {
        let long = "x".repeat(NAME_BYTES_MAX);
        for (topic, expected) in [
            ("room:tea", Some(Topic::Room("tea"))),
            ("room:a:b", Some(Topic::Room("a:b"))),
            ("room:ünï 😀", Some(Topic::Room("ünï 😀"))),
            ("user:g_1", Some(Topic::User("g_1"))),
            ("lobby", Some(Topic::Lobby)),
            ("room:", None),
            ("room", None),
            ("room:a\nb", None),
            ("room:\u{7f}", None),
            ("lobby:", None),
            ("phoenix", None),
            ("", None),
            (&format!("room:{long}"), Some(Topic::Room(&long))),
            (&format!("room:{long}x"), None),
        ] {
            assert_eq!(Topic::parse(topic), expected, "{topic:?}");
        }
    }
}

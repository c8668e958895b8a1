//! Who is in a room, as its members are told: folded as a client does, where each diff must fit.

use std::collections::BTreeMap;

use serde_json::Value;

#[cfg(feature = "engine-redis")]
use super::Rooms;
#[cfg(feature = "engine-redis")]
use crate::link::ids::Cursor;
#[cfg(feature = "engine-redis")]
use crate::link::log::NodeId;
use crate::link::record::ToMember;
use crate::wire::phx::Payload;

#[cfg(feature = "engine-redis")]
impl Rooms {
    /// Whether a room is open here that knows less than a client with this cursor.
    pub(crate) fn is_behind(&self, topic: &str, cursor: Cursor) -> bool {
        let room = self.by_topic.get(topic).filter(|key| !self.loading.has(**key));
        let room = room.and_then(|key| self.arena.get(*key));
        room.is_some_and(|of| of.room.journal().is_behind(cursor))
    }

    /// Up to which offset a room that is open here has let go of messages.
    pub(crate) fn floor(&self, topic: &str) -> Option<u64> {
        let room = self.by_topic.get(topic).filter(|key| !self.loading.has(**key));
        let room = room.and_then(|key| self.arena.get(*key));
        room.map(|of| of.room.journal().log_floor().offset)
    }

    /// Whom a room has at each other node, by the life that this is known of.
    pub(crate) fn elsewhere(&self, topic: &str) -> Vec<(NodeId, u64, Vec<String>)> {
        let room = self.by_topic.get(topic).and_then(|key| self.arena.get(*key));
        let seen = room.into_iter().flat_map(|of| of.room.nodes_seen());
        let users = |members: Vec<(&str, &str)>| {
            members.into_iter().map(|(user, _)| user.to_owned()).collect()
        };
        seen.map(|(node, life, members)| (node, life, users(members))).collect()
    }
}

/// By ref, the user and its meta.
pub(crate) type Shown = BTreeMap<String, (String, String)>;

/// Folds what members are told into what they are shown, which is nothing before they were sent
/// the list.
pub(crate) fn fold(shown: &mut Option<Shown>, message: &ToMember<'_>) {
    match message {
        ToMember::Deliver { event: "presence_diff", payload: Payload::Json(diff), .. } => {
            let Some(shown) = shown else { return };
            let diff: Value = serde_json::from_str(diff).expect("JSON");
            for (device, entry) in entries(&diff["leaves"]) {
                assert_eq!(shown.remove(&device), Some(entry), "who leaves was there");
            }
            for (device, entry) in entries(&diff["joins"]) {
                let before = shown.insert(device, entry);
                assert_eq!(before, None, "who joins was not there");
            }
        }
        ToMember::State { list, .. } => {
            let list = std::str::from_utf8(list).expect("UTF-8");
            let list: Value = serde_json::from_str(&format!("{{{list}}}")).expect("JSON");
            let list: Shown = entries(&list).collect();
            let shown = shown.get_or_insert_with(|| list.clone());
            assert_eq!(*shown, list, "a newcomer is told what the others know");
        }
        _ => {}
    }
}

/// Entries of a list or a diff: the ref of each, and whose it is.
pub(crate) fn entries(users: &Value) -> impl Iterator<Item = (String, (String, String))> {
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    users.as_object().expect("an object").iter().flat_map(move |(user, of)| {
        let metas = of["metas"].as_array().expect("an array").iter();
        metas.map(move |meta| (text(&meta["phx_ref"]), (user.clone(), meta["meta"].to_string())))
    })
}

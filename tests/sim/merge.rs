//! What a client has of a room, merged by the rule for clients: a patch or a whole message counts
//! only if its `change` is larger than mine.
//!
//! The contract suite has a merging client of its own (`rooms::contract`), which knows what the log
//! has at every cut. Here it hears through sockets and rings.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The messages that a client has of a room, by offset.
pub(crate) type Has = BTreeMap<u64, Value>;

/// The number of a message's latest change; 0 before the first.
pub(crate) fn change_of(message: &Value) -> u64 {
    message["change"].as_u64().unwrap_or_default()
}

fn offset_of(message: &Value) -> u64 {
    message["offset"].as_u64().expect("a message has an offset")
}

/// Hears `msg_changed`.
pub(crate) fn patch(has: &mut Has, patch: &Value) {
    let Some(mine) = has.get_mut(&offset_of(patch)) else { return };
    if change_of(mine) >= change_of(patch) {
        return;
    }
    if let Some(more) = patch["append"].as_str() {
        // Whoever has heard all that came before has the message as it was.
        let prev = patch["prev"].as_u64().expect("what is appended says to what");
        assert_eq!(change_of(mine), prev, "a patch that appends names the change before it");
        mine["body"] = json!([mine["body"].as_str().expect("a body"), more].concat());
    }
    let mine = mine.as_object_mut().expect("a message is an object");
    let fields = patch.as_object().expect("a patch is an object").iter();
    // Who has just reacted is for whoever keeps which reactions are its own.
    for (name, value) in fields.filter(|(name, _)| !["by", "prev", "append"].contains(&&***name)) {
        if value.is_null() {
            mine.remove(name);
        } else {
            mine.insert(name.clone(), value.clone());
        }
    }
}

/// How often a message was answered, and by which one last.
fn replies_of(message: &Value) -> (u64, u64) {
    let number = |name| message["replies"][name].as_u64().unwrap_or_default();
    (number("count"), number("last"))
}

/// Comes back with a cursor: what is beyond that it is told anew. In another epoch a turn may have
/// lost it, with what is counted or known of earlier messages by it.
pub(crate) fn forget_beyond(has: &mut Has, (offset, change): (u64, u64), is_same_epoch: bool) {
    has.retain(|at, mine| {
        let is_ahead = change_of(mine) > change || replies_of(mine).1 > offset;
        *at <= offset && (is_same_epoch || !is_ahead)
    });
}

/// Is told a message that moves its cursor: it counts at the first one of its thread, unless it
/// does so already.
pub(crate) fn count_reply(has: &mut Has, message: &Value) {
    let thread = message["thread"].as_u64();
    let Some(root) = thread.and_then(|thread| has.get_mut(&thread)) else { return };
    let ((count, last), offset) = (replies_of(root), offset_of(message));
    if offset > last {
        root["replies"] = json!({"count": count + 1, "last": offset});
    }
}

/// Is given a whole message; of one that it does not have only if `is_new` says so.
pub(crate) fn whole(has: &mut Has, message: &Value, is_new: bool) {
    let offset = offset_of(message);
    let Some(mine) = has.get(&offset) else {
        if is_new {
            has.insert(offset, message.clone());
        }
        return;
    };
    // Another message has its place: what was there is lost.
    let is_another = message.get("id").is_some_and(|id| mine.get("id") != Some(id));
    // How often it was answered is no change of it: what counts more of them is newer.
    let counts_more = replies_of(mine).1 < replies_of(message).1;
    let counted = if counts_more || is_another { message } else { mine };
    let replies = counted.get("replies").cloned();
    let is_newer = change_of(mine) < change_of(message) || is_another;
    let mut message = if is_newer { message.clone() } else { mine.clone() };
    if let Some(replies) = replies {
        message["replies"] = replies;
    }
    if message.get("id").is_none() {
        // Of one that is no longer kept only that it was deleted is told.
        for name in ["at", "id", "name", "reply_to", "thread", "user"] {
            if let Some(kept) = mine.get(name) {
                message[name] = kept.clone();
            }
        }
    }
    has.insert(offset, message);
}

/// What two can be compared by: of one of whom only that it was deleted is known, no more.
pub(crate) fn comparable(mine: &Value, other: &Value) -> (Value, Value) {
    let is_bare =
        |message: &Value| message["deleted"].as_object().is_some_and(serde_json::Map::is_empty);
    if !is_bare(mine) && !is_bare(other) {
        return (mine.clone(), other.clone());
    }
    let bare = |message: &Value| {
        let is_deleted = message["deleted"].is_object();
        let names = ["body", "change", "offset"];
        json!([names.map(|name| message[name].clone()), is_deleted])
    };
    (bare(mine), bare(other))
}

#[test]
fn what_a_turn_may_have_lost_is_not_counted_any_more() {
    let message = |offset: u64, thread: Option<u64>| {
        let mut message = json!({"offset": offset, "id": format!("1-{offset}"), "body": "b"});
        if let Some(thread) = thread {
            message["thread"] = json!(thread);
        }
        message
    };
    let mut has: Has = (1..=3).map(|offset| (offset, message(offset, None))).collect();
    for reply in [message(4, Some(1)), message(5, Some(2))] {
        count_reply(&mut has, &reply);
        whole(&mut has, &reply, true);
    }
    let offsets = |has: &Has| has.keys().copied().collect::<Vec<_>>();
    let mut same = has.clone();
    forget_beyond(&mut same, (4, 0), true);
    assert_eq!(offsets(&same), [1, 2, 3, 4], "those that count more are told again");
    forget_beyond(&mut has, (4, 0), false);
    assert_eq!(offsets(&has), [1, 3, 4], "message 2 was answered beyond the cursor");
}

//! What lives how long: keys of the engine by the clock, keys of messages by their number too.

use chinwag::side::engine::command::{Act, Entry, Founded};
use redis::Connection;

use super::node::{Node, message, runtime, target};
use super::servers::{KINDS, Kind, Server};
use super::world::{World, library, planted};

const TOPIC: &str = "room:tea";
const HOUR_S: u64 = 3600;

/// For how long each of a room's keys is still there, in seconds; `None`, if it has no end.
fn lives(look: &mut Connection, kind: char) -> Option<u64> {
    let pattern = format!("cw:*:{kind}:{TOPIC}");
    let keys: Vec<String> = redis::cmd("KEYS").arg(&pattern).query(look).expect("keys");
    let [key] = &keys[..] else { panic!("{kind}: {keys:?}") };
    let ttl: i64 = redis::cmd("TTL").arg(key).query(look).expect("a time");
    u64::try_from(ttl).ok()
}

fn keyed(key: u64) -> Entry {
    Entry { act: Act::Message { key: Some(key.to_be_bytes()) }, ..message(b"tea") }
}

fn decision(title: Option<&str>) -> Entry {
    let facts = vec![("s:u".into(), b"muted".to_vec())];
    let founded = title.map(|title| Founded { title: title.into(), is_private: false });
    Entry { act: Act::Decision { founded, facts }, ..message(b"settings") }
}

fn change(offset: u64) -> Entry {
    let (is_deleted, is_pinned) = (false, false);
    let act = Act::Change { offset, expected: 0, is_deleted, is_pinned, heard: 0 };
    Entry { act, line: b"who, when".to_vec(), ..message(b"pot") }
}

#[test]
fn each_key_of_a_room_expires_with_what_it_belongs_to() {
    for kind in KINDS {
        let server = Server::start(kind, &[]);
        let mut look = server.look();
        runtime().block_on(async {
            let target = target(&server, 1);
            let mut node = Node::connect(&target).await.expect("a connection");
            let (history_s, room_s) = (u64::from(target.history_s), u64::from(target.room_s));
            let around = |from: u64, lives: Option<u64>| {
                lives.is_some_and(|lives| (from + 1..=from + HOUR_S).contains(&lives))
            };
            // Each call makes keys that are not there when the hour is seen to be another one.
            for entry in [message(b"tea"), keyed(1), change(1), decision(None)] {
                node.append(TOPIC, 1, vec![entry]).await;
            }
            node.append(TOPIC, 1, vec![keyed(2)]).await;
            for kind in ['s', 'x'] {
                assert!(around(history_s, lives(&mut look, kind)), "{kind}");
            }
            for kind in ['m', 'r', 'a'] {
                assert!(around(room_s, lives(&mut look, kind)), "{kind}");
            }
            assert!(around(u64::from(target.key_s) - HOUR_S, lives(&mut look, 'k')));

            // What was founded stays, with all that is decided of it.
            node.append(TOPIC, 1, vec![decision(Some("Tea"))]).await;
            node.append(TOPIC, 1, vec![message(b"tea"), change(2)]).await;
            for kind in ['m', 'r', 'a'] {
                assert_eq!(lives(&mut look, kind), None, "{kind}");
            }
            for kind in ['s', 'x'] {
                assert!(around(history_s, lives(&mut look, kind)), "{kind}");
            }
        });
    }
}

/// Says more messages with keys than are remembered, and then some of them again.
async fn say_again(server: &Server, library: &str) -> Result<(), String> {
    let mut world = World::new(server, library).await;
    for first in (0..2176).step_by(64) {
        world.append(TOPIC, (first..first + 64).map(keyed).collect()).await?;
    }
    let said = world.room(TOPIC).messages.last;
    // At least the last thousand, and at most two thousand, are known.
    world.append(TOPIC, (1176..2176).map(keyed).collect()).await?;
    if world.room(TOPIC).messages.last != said {
        return Err("a late key is not known".to_owned());
    }
    world.append(TOPIC, (0..176).map(keyed).collect()).await?;
    if world.room(TOPIC).messages.last != said + 176 {
        return Err("an early key is still known".to_owned());
    }
    Ok(())
}

#[test]
fn the_last_thousand_keys_are_known_and_those_before_two_thousand_are_not() {
    for kind in KINDS {
        let server = Server::start(kind, &[]);
        runtime().block_on(async { say_again(&server, library()).await }).expect("no difference");
    }
    for (what, good, bad) in [
        ("older keys are not looked for", " or call('HGET', room.older, key)", ""),
        ("no key is forgotten", "call('RENAME', room.keys, room.older)", ""),
        (
            "older keys are forgotten",
            "call('RENAME', room.keys, room.older)",
            "call('DEL', room.keys)",
        ),
    ] {
        let library = planted(what, good, bad);
        let server = Server::start(Kind::Redis, &[]);
        let found = runtime().block_on(async { say_again(&server, &library).await });
        assert!(found.is_err(), "{what}: nothing differs");
    }
}

//! For how long messages are kept where several nodes share an engine: what is too old, or too
//! much, is let go of at each node and in the engine, also of rooms in which nobody is.

use serde_json::{Value, json};

use crate::faults::told;
use crate::nodes::{Client, nodes};
use crate::server::{Server, until};
use crate::servers::{self, KINDS};

/// Few, so that each is asked for soon.
pub(crate) const PARTITIONS: &str = "engine.partitions=4";

/// How many messages the engine has of a room, changed ones among them.
pub(crate) fn in_engine(engine: &servers::Server, room: &str) -> u64 {
    let count = |kind: &str, command: &str| -> u64 {
        let keys: Vec<String> = told(engine, &["KEYS", &format!("cw:*:{kind}:room:{room}")]);
        keys.iter().map(|key| told::<u64>(engine, &[command, key])).sum()
    };
    count("s", "XLEN") + count("x", "HLEN")
}

/// The offsets of a room's last page.
fn page(client: &mut Client) -> Vec<u64> {
    let answer = client.ask("history", &json!({}));
    let messages = answer["response"]["messages"].as_array();
    let messages = messages.unwrap_or_else(|| panic!("{answer}"));
    messages.iter().map(|of| of["offset"].as_u64().expect("an offset")).collect()
}

fn recovered(node: &Server, cursor: &Value) -> Value {
    Client::join(node, "dan", "tea", cursor).joined["response"]["recovered"].clone()
}

#[test]
fn what_is_too_old_goes_at_each_server_and_in_the_engine_whether_somebody_is_there_or_not() {
    for kind in KINDS {
        let engine = servers::Server::start(kind, &[]);
        let nodes = nodes(&engine, 2, &["history.keep_s=3", PARTITIONS]);
        let mut bob = Client::join(&nodes[1], "bob", "tea", &json!({}));
        let mut ann = Client::join(&nodes[0], "ann", "tea", &json!({}));
        let mut cyd = Client::join(&nodes[0], "cyd", "mate", &json!({}));
        assert_eq!(cyd.say("nobody stays for this"), 1);
        drop(cyd);
        assert_eq!([ann.say("one"), ann.say("two"), ann.say("three")], [1, 2, 3]);
        let changed = [
            ann.ask("msg_edit", &json!({ "offset": 1, "body": "first" })),
            ann.ask("msg_delete", &json!({ "offset": 2 })),
        ];
        assert!(changed.iter().all(|answer| answer["status"] == "ok"), "{changed:?}");
        until("the engine has nothing of it", || in_engine(&engine, "tea") == 0);
        until("nor of a room that nobody is in", || in_engine(&engine, "mate") == 0);
        for client in [&mut ann, &mut bob] {
            until("no page has it", || page(client).is_empty());
            let edit = client.ask("msg_edit", &json!({ "offset": 1, "body": "again" }));
            assert_eq!(edit["response"]["reason"], "gone", "{edit}");
        }
        // Offsets go on, and who has all up to there has missed nothing.
        assert_eq!(bob.say("four"), 4);
        assert_eq!(recovered(&nodes[0], &ann.cursor(3, 2)), true);
        assert_eq!(recovered(&nodes[0], &ann.cursor(2, 2)), false);
        assert_eq!(recovered(&nodes[0], &ann.cursor(3, 1)), false);
        let mut cyd = Client::join(&nodes[1], "cyd", "mate", &json!({}));
        assert_eq!((page(&mut cyd), cyd.say("somebody")), (vec![], 2));
    }
}

#[test]
fn what_a_room_keeps_by_its_own_settings_goes_before_what_all_keep() {
    let engine = servers::Server::start(servers::Kind::Redis, &[]);
    let nodes = nodes(&engine, 2, &[PARTITIONS]);
    let owner = nodes[0].token("ann");
    nodes[0].found(&owner, "tea");
    let mut ann = Client::join_as(&nodes[0], &owner, "tea", &json!({}));
    let mut bob = Client::join(&nodes[1], "bob", "tea", &json!({}));
    for number in 1..=9 {
        assert_eq!(ann.say(&format!("m{number}")), number);
    }
    let set = ann.ask("room_set", &json!({ "keep_messages": 4 }));
    assert_eq!(set["status"], "ok", "{set}");
    until("all but the last go", || page(&mut bob) == [6, 7, 8, 9]);
    until("in the engine, too", || in_engine(&engine, "tea") == 4);
    // It goes on so.
    assert_eq!([bob.say("m10"), bob.say("m11")], [10, 11]);
    until("all but the last go", || page(&mut ann) == [8, 9, 10, 11]);
    let set = ann.ask("room_set", &json!({ "keep_messages": null, "keep_s": 2 }));
    assert_eq!(set["status"], "ok", "{set}");
    drop((ann, bob));
    until("time alone has all of them go", || in_engine(&engine, "tea") == 0);
}

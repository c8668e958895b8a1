//! Rooms are one over all nodes: order, changes, decisions, what is not kept, who is there.

use serde_json::{Value, json};

use crate::nodes::{Client, nodes};
use crate::server::until;
use crate::servers::{KINDS, Kind, Server};

fn on_each(kind: Kind, count: usize) -> (Server, Vec<crate::server::Server>) {
    let engine = Server::start(kind, &[]);
    let nodes = nodes(&engine, count, &[]);
    (engine, nodes)
}

#[test]
fn members_on_all_nodes_hear_one_order() {
    for kind in KINDS {
        let (_engine, nodes) = on_each(kind, 3);
        let mut clients: Vec<_> = nodes
            .iter()
            .enumerate()
            .map(|(at, node)| Client::join(node, &format!("u{at}"), "tea", &json!({})))
            .collect();
        let references: Vec<Vec<u64>> = clients
            .iter_mut()
            .enumerate()
            .map(|(at, client)| {
                (0..20)
                    .map(|n| client.push("new_msg", &json!({ "body": format!("{at}-{n}") })))
                    .collect()
            })
            .collect();
        let _ = references;
        let mut last = Vec::new();
        for client in &mut clients {
            let mut heard = Vec::new();
            while heard.len() < 60 {
                let message = client.hear("new_msg");
                heard.push((message["offset"].clone(), message["body"].clone()));
            }
            let offsets: Vec<_> = heard.iter().map(|(offset, _)| offset.as_u64()).collect();
            assert_eq!(offsets, (1..=60).map(Some).collect::<Vec<_>>(), "without a hole");
            last.push(heard);
        }
        assert!(last.windows(2).all(|two| two[0] == two[1]), "{kind:?}: one order");
    }
}

#[test]
fn whoever_comes_back_elsewhere_is_told_exactly_what_it_missed() {
    let (_engine, nodes) = on_each(Kind::Redis, 2);
    let mut ann = Client::join(&nodes[0], "ann", "tea", &json!({}));
    let mut bob = Client::join(&nodes[1], "bob", "tea", &json!({}));
    let mut cyd = Client::join(&nodes[1], "cyd", "tea", &json!({}));
    assert_eq!((ann.say("one"), ann.say("two")), (1, 2));
    bob.hear_until("two");
    let cursor = bob.cursor(2, 0);
    drop(bob);
    ann.say("three");
    let edited = ann.ask("msg_edit", &json!({ "offset": 1, "body": "won" }));
    assert_eq!(edited["response"]["change"], 1, "{edited}");
    // At another node than before.
    let bob = Client::join(&nodes[0], "bob", "tea", &cursor);
    check_missed(&bob.joined["response"]);
    // And at the one before, as soon as that has heard of it.
    cyd.hear("msg_changed");
    let bob = Client::join(&nodes[1], "bob", "tea", &cursor);
    check_missed(&bob.joined["response"]);
}

fn check_missed(response: &Value) {
    assert_eq!(response["recovered"], true, "{response}");
    let bodies = |of: &Value| -> Vec<Value> {
        of.as_array().expect("a list").iter().map(|message| message["body"].clone()).collect()
    };
    assert_eq!(bodies(&response["messages"]), ["three"], "{response}");
    assert_eq!(bodies(&response["changed"]), ["won"], "{response}");
}

#[test]
fn a_key_gives_the_first_receipt_at_any_node() {
    let (_engine, nodes) = on_each(Kind::Valkey, 2);
    let token = nodes[0].token("ann");
    let mut here = Client::join_as(&nodes[0], &token, "tea", &json!({}));
    let mut there = Client::join_as(&nodes[1], &token, "tea", &json!({}));
    let message = json!({ "body": "once", "key": "k1" });
    let first = here.ask("new_msg", &message);
    assert_eq!(there.ask("new_msg", &message), first);
    assert_eq!(there.say("next"), 2);
}

#[test]
fn a_key_that_only_the_engine_knows_is_answered_as_the_first_time_to_whoever_is_muted_since() {
    for kind in KINDS {
        let engine = Server::start(kind, &[]);
        let nodes = nodes(&engine, 2, &["history.messages=2"]);
        let owner = nodes[0].token("owner");
        nodes[0].found(&owner, "tea");
        let mut owner = Client::join_as(&nodes[0], &owner, "tea", &json!({}));
        let token = nodes[0].token("ann");
        let mut ann = Client::join_as(&nodes[0], &token, "tea", &json!({}));
        let message = json!({ "body": "once", "key": "k1" });
        let first = ann.ask("new_msg", &message);
        assert_eq!(first["response"]["offset"], 1, "{first}");
        for offset in 2..6 {
            assert_eq!(owner.say("more"), offset);
        }
        let muted = owner.ask("room_member", &json!({ "user": ann.user(), "muted_s": -1 }));
        assert_eq!(muted["status"], "ok", "{muted}");
        // A node that has the end of the room alone.
        let mut ann = Client::join_as(&nodes[1], &token, "tea", &json!({}));
        let others = [json!({ "body": "other", "key": "k2" }), json!({ "body": "other" })];
        for other in &others {
            let refused = ann.ask("new_msg", other);
            assert_eq!(refused["response"]["reason"], "muted", "{refused}");
        }
        assert_eq!(ann.ask("new_msg", &message), first);
        assert_eq!(owner.say("last"), 6, "nothing else was said");
    }
}

#[test]
fn changes_of_two_nodes_are_neither_lost_nor_mixed() {
    let (_engine, nodes) = on_each(Kind::Redis, 2);
    let mut ann = Client::join(&nodes[0], "ann", "tea", &json!({}));
    let mut bob = Client::join(&nodes[1], "bob", "tea", &json!({}));
    ann.say("hello");
    bob.hear_until("hello");
    let emojis = ["👍", "🎉", "🐢", "☕"];
    let at_once: Vec<_> = emojis
        .iter()
        .map(|emoji| {
            let react = json!({ "offset": 1, "emoji": emoji });
            (ann.push("msg_react", &react), bob.push("msg_react", &react))
        })
        .collect();
    for (anns, bobs) in at_once {
        let answers = [ann.answer(anns), bob.answer(bobs)];
        assert!(answers.iter().all(|answer| answer["status"] == "ok"), "{answers:?}");
    }
    for client in [&mut ann, &mut bob] {
        // A node may have been answered before it has heard of all that the other one did.
        until("all have reacted", || {
            let page = client.ask("history", &json!({}));
            let reactions = &page["response"]["messages"][0]["reactions"];
            emojis.iter().all(|emoji| reactions[emoji]["count"] == 2)
        });
    }
    let deleted = ann.ask("msg_delete", &json!({ "offset": 1 }));
    assert_eq!(deleted["status"], "ok", "{deleted}");
    while bob.hear("msg_changed")["deleted"].is_null() {}
}

#[test]
fn what_is_decided_at_one_node_holds_at_all_others() {
    KINDS.into_iter().for_each(decide);
}

fn decide(kind: Kind) {
    let (_engine, nodes) = on_each(kind, 2);
    let token = nodes[0].token("mod");
    nodes[0].found(&token, "tea");
    let mut owner = Client::join_as(&nodes[0], &token, "tea", &json!({}));
    let bobs = nodes[1].token("bob");
    let mut bob = Client::join_as(&nodes[1], &bobs, "tea", &json!({}));
    let set = owner.ask("room_set", &json!({ "topic": "leaves", "speak": "members" }));
    assert_eq!(set["status"], "ok", "{set}");
    assert_eq!(bob.hear("room_changed")["topic"], "leaves");
    let refused = bob.ask("new_msg", &json!({ "body": "may I?" }));
    assert_eq!(refused["status"], "error", "{refused}");
    let user = bob.user();
    let banned = owner.ask("room_member", &json!({ "user": user, "banned_s": 3600 }));
    assert_eq!(banned["status"], "ok", "{banned}");
    bob.hear("room_removed");
    let audit = owner.ask("room_audit", &json!({}));
    let acts = audit["response"]["acts"].as_array().expect("lines");
    let numbers: Vec<_> = acts.iter().map(|line| line["n"].as_u64()).collect();
    assert_eq!(numbers, [Some(2), Some(1)], "{audit}");
}

#[test]
fn what_is_not_kept_is_heard_everywhere_behind_what_was_said_before() {
    let (_engine, nodes) = on_each(Kind::Valkey, 2);
    let mut ann = Client::join(&nodes[0], "ann", "tea", &json!({}));
    let mut bob = Client::join(&nodes[1], "bob", "tea", &json!({}));
    let message = ann.push("new_msg", &json!({ "body": "first" }));
    let wave = ann.push("wave", &json!({ "hand": "left" }));
    assert_eq!(ann.answer(message)["status"], "ok");
    assert_eq!(ann.answer(wave)["status"], "ok");
    bob.hear_until("first");
    assert_eq!(bob.hear("wave")["hand"], "left");
    ann.push("typing", &json!({}));
    bob.hear("typing");
}

#[test]
fn who_is_there_is_known_everywhere_and_the_dead_are_gone() {
    let (_engine, mut nodes) = on_each(Kind::Redis, 2);
    let mut ann = Client::join(&nodes[0], "ann", "tea", &json!({}));
    let bob = Client::join(&nodes[1], "bob", "tea", &json!({}));
    let user = bob.user();
    while ann.hear("presence_diff")["joins"].get(&user).is_none() {}
    let mut cyd = Client::join(&nodes[0], "cyd", "tea", &json!({}));
    assert!(cyd.hear("presence_state").get(&user).is_some(), "whoever comes later knows, too");
    nodes.pop().expect("the second").kill();
    while ann.hear("presence_diff")["leaves"].get(&user).is_none() {}
    drop(bob);
}

//! Who is kicked or banned at one node, and is at another: it is out there as soon as that hears of
//! it, which is at once, or when it has found its way to the engine again. Until then it says
//! nothing.

use serde_json::{Value, json};

use crate::faults::{engine, say_at_last};
use crate::nodes::{Client, node};
use crate::server::{Server, until};
use crate::servers::KINDS;
use crate::switch::Switch;

/// A room whose owner is at the first node, and two at the second: one is to be kicked, one banned.
struct Room<'n> {
    nodes: &'n [Server; 2],
    owner: Client,
    kicked: Client,
    banned: Client,
    /// Of both.
    tokens: [String; 2],
}

impl<'n> Room<'n> {
    fn new(nodes: &'n [Server; 2]) -> Self {
        let owner = nodes[0].token("owner");
        nodes[0].found(&owner, "tea");
        let mut owner = Client::join_as(&nodes[0], &owner, "tea", &json!({}));
        let tokens = ["kim", "ban"].map(|name| nodes[1].token(name));
        let join = |token: &String| Client::join_as(&nodes[1], token, "tea", &json!({}));
        let [mut kicked, mut banned] = [&tokens[0], &tokens[1]].map(join);
        owner.say("hello");
        for client in [&mut kicked, &mut banned] {
            client.hear_until("hello");
        }
        Self { nodes, owner, kicked, banned, tokens }
    }

    /// The owner puts both out.
    fn decide(&mut self) {
        for (client, wish) in [(&self.kicked, "kick"), (&self.banned, "banned_s")] {
            let how = if wish == "kick" { json!(true) } else { json!(-1) };
            let wish = json!({ "user": client.user(), wish: how });
            let answer = self.owner.ask("room_member", &wish);
            assert_eq!(answer["status"], "ok", "{answer}");
        }
    }

    /// What they say is refused.
    fn check_silent(&mut self) {
        for client in [&mut self.kicked, &mut self.banned] {
            let answer = client.ask("new_msg", &json!({ "body": "but" }));
            assert_eq!(answer["status"], "error", "{answer}");
        }
    }

    /// Who is kicked may come back, to the node where it was; who is banned may to none. Nothing
    /// was said meanwhile.
    fn check_decided(&mut self) {
        let [kicked, banned] = &self.tokens;
        let mut answer = Value::Null;
        until("the room can be opened", || {
            answer = Client::try_join(&self.nodes[1], kicked, "tea");
            answer["response"]["reason"] != "unavailable"
        });
        assert_eq!(answer["status"], "ok", "{answer}");
        for node in self.nodes {
            let answer = Client::try_join(node, banned, "tea");
            assert_eq!(answer["response"]["reason"], "banned", "{answer}");
        }
        assert_eq!(say_at_last(&mut self.owner, "bye"), 2);
    }
}

#[test]
fn who_is_kicked_or_banned_at_one_node_is_out_at_another() {
    for kind in KINDS {
        let engine = engine(kind);
        let nodes = [(); 2].map(|()| node(&engine.url(), &[]));
        let mut room = Room::new(&nodes);
        room.decide();
        for (client, reason) in [(&mut room.kicked, "kicked"), (&mut room.banned, "banned")] {
            let removed = client.hear("room_removed");
            assert_eq!(removed["reason"], reason, "{removed}");
            client.hear("phx_close");
        }
        room.check_silent();
        room.check_decided();
    }
}

#[test]
fn who_is_kicked_or_banned_while_its_node_is_cut_off_is_out_when_that_is_back() {
    for kind in KINDS {
        let engine = engine(kind);
        let (here, there) = (Switch::to(engine.port), Switch::to(engine.port));
        let nodes = [&here, &there].map(|way| node(&way.url(), &[]));
        let mut room = Room::new(&nodes);
        there.lead(None);
        room.decide();
        room.check_silent();
        there.lead(Some(engine.port));
        for client in [&mut room.kicked, &mut room.banned] {
            // Its node may take it as soon as it is back, and not before it knows what was decided.
            client.push("new_msg", &json!({ "body": "but still" }));
            client.hear("phx_error");
        }
        room.check_decided();
    }
}

#[test]
fn who_is_kicked_or_banned_is_out_though_the_engine_dies_as_soon_as_it_has_answered() {
    for kind in KINDS {
        let mut engine = engine(kind);
        let nodes = [(); 2].map(|()| node(&engine.url(), &[]));
        let mut room = Room::new(&nodes);
        room.decide();
        engine.kill();
        engine.begin_again();
        // They may have heard of it before.
        for client in [&mut room.kicked, &mut room.banned] {
            client.hear_any(&["room_removed", "phx_error"]);
        }
        room.check_silent();
        room.check_decided();
    }
}

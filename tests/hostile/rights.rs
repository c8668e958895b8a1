//! A room that puts somebody out, with all that they have.

use std::time::Instant;

use crate::crowd::Crowd;
use crate::peer::{Peer, join, publish, upgrade};
use crate::server::Server;

const CONNECTIONS: usize = 1_000;

#[test]
fn a_ban_puts_out_a_thousand_connections_and_none_of_them_is_heard_or_comes_back() {
    let server = Server::start(&["limits.join_burst=10000", "limits.publish_burst=10000"]);
    let token = server.token("Mod");
    server.found(&token, "tea");
    let mut owner = Peer::open(&server, &token);
    owner.join("tea", "{}");
    let token = server.token("Bob");
    let answer = Peer::open(&server, &token).join("elsewhere", "{}");
    let (_, rest) = answer.split_once(r#""user":""#).expect("it says who one is");
    let bob = rest.split('"').next().expect("an id");

    let quiet = r#"{"presence":false}"#;
    let sent = [upgrade(&token, "").into_bytes(), join("tea", quiet)].concat();
    let mut crowd = Crowd::connect(&server, CONNECTIONS, &sent);
    crowd.until("all are in", |members| members.iter().all(|one| one.joined == 1));
    let began = Instant::now();
    owner
        .send(&format!(r#"["1","7","room:tea","room_member",{{"user":"{bob}","banned_s":3600}}]"#));
    owner.await_text("\"banned_until\"");
    let answered = began.elapsed();
    // What each says when the ban is answered is not taken, whether it has heard of it or not.
    for index in 0..CONNECTIONS {
        crowd.send(index, &publish("tea", 2, "late"));
    }
    crowd.until("all are out", |members| members.iter().all(|one| one.is_out));
    // Told, and no test: `docs/benchmarks.md` has it.
    eprintln!("answered after {answered:?}, the last is out after {:?}", began.elapsed());
    for index in 0..CONNECTIONS {
        crowd.send(index, &join("tea", quiet));
    }
    crowd.until("nobody comes back", |members| members.iter().all(|one| one.refused > 0));
    assert!(crowd.members.iter().all(|one| one.joined == 1 && one.acked == 0));
    owner.send(r#"["1","8","room:tea","new_msg",{"body":"mine"}]"#);
    let heard = owner.await_text("\"new_msg\"");
    assert!(heard.contains("\"mine\"") && heard.contains("\"offset\":1,"), "{heard}");
}

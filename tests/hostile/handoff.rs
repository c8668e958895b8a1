//! A connection goes to the shard where its first room lives: nothing that it sent is lost on the
//! way, in whatever pieces it came.

use std::io::Write;

use crate::metrics::{value, value_on};
use crate::peer::{self, Peer, join, number, publish, text};
use crate::server::{Server, until};

/// Enough that the kernel gives some to each of two shards.
const PEERS: u64 = 20;

const HANDED_OFF: &str = "chinwag_handed_off_total";

#[test]
fn who_goes_to_its_rooms_shard_is_answered_in_order_and_all_hear_each_other() {
    let server = Server::start(&["shards=2", "http.metrics=true"]);
    let mut peers: Vec<Peer> =
        (0..PEERS).map(|number| server.guest(&format!("guest {number}"))).collect();
    for (number, peer) in peers.iter_mut().enumerate() {
        let heartbeat = text(r#"[null,"3","phoenix","heartbeat",{}]"#);
        let all =
            [join("tea", "{}"), publish("tea", 2, &format!("said {number}")), heartbeat].concat();
        // The cut is somewhere else each time.
        let (first, rest) = all.split_at(all.len() * (number + 1) / 21);
        peer.send_raw(first);
        peer.send_raw(rest);
    }
    for peer in &mut peers {
        for answered in [r#""1","room:tea""#, r#""2","room:tea""#, r#""3","phoenix""#] {
            assert!(peer.await_text(answered).contains(r#""status":"ok""#), "{answered}");
        }
    }
    // A shard writes its counts down at the end of its turn.
    until("those and only those who came to the other shard are counted", || {
        (1..PEERS).contains(&value(&server, HANDED_OFF))
    });
    // One that had to wait, for its way to another shard or for an answer, is one all the same.
    until("each message is counted once", || {
        value(&server, "chinwag_messages_in_total") == 3 * PEERS
    });
    peers[0].send_raw(&publish("tea", 4, "to all"));
    for peer in &mut peers {
        assert_eq!(number(&peer.await_text("to all"), "offset"), PEERS + 1);
    }
}

#[test]
fn connections_from_one_address_are_counted_over_all_shards_wherever_they_go() {
    let server = Server::start(&["shards=2", "http.metrics=true", "limits.connections_per_ip=10"]);
    let token = server.token("Ann");
    let enter = || {
        let mut peer = Peer::new(peer::connect(&server));
        let sent = peer.stream.write_all(peer::upgrade(&token, "").as_bytes());
        (sent.is_ok() && peer.answer_or_end().is_some()).then_some(peer)
    };
    // One of the ten, that can be asked while all others are there.
    let mut probe = Peer::new(peer::connect(&server));
    assert_eq!(value_on(&mut probe, HANDED_OFF), 0);
    // The connection that asked for the token may be another for a little while yet.
    let fill = |peers: &mut Vec<Peer>| {
        until("there are ten", || {
            peers.extend(enter());
            peers.len() + 1 == 10
        });
        for peer in &mut *peers {
            assert!(peer.join("tea", "{}").contains("\"ok\""));
        }
        assert!((0..20).all(|_| enter().is_none()), "one more than may be");
    };
    let mut peers = Vec::new();
    fill(&mut peers);
    // Some of them were handed off, and their places are free again where they went.
    peers.clear();
    fill(&mut peers);
    until("those and only those who came to the other shard are counted", || {
        (1..20).contains(&value_on(&mut probe, HANDED_OFF))
    });
}

#[test]
fn a_place_goes_along_and_in_all_there_are_as_many_as_may_be() {
    let server =
        Server::start(&["shards=2", "limits.connections=4", "limits.admission_wait_ms=100"]);
    let token = server.token("Ann");
    let mut peers = Vec::new();
    // The kernel may give it to the shard that is full; then it comes again.
    let enter = |peers: &mut Vec<Peer>| {
        until("another one is let in", || {
            let mut peer = Peer::new(peer::connect(&server));
            peer.send_raw(peer::upgrade(&token, "").as_bytes());
            let is_in = peer.answer_or_end().is_some();
            if is_in {
                assert!(peer.join("tea", "{}").contains("\"ok\""));
                peers.push(peer);
            }
            is_in
        });
    };
    (0..4).for_each(|_| enter(&mut peers));
    for _ in 0..20 {
        let mut fifth = Peer::new(peer::connect(&server));
        fifth.ended();
    }
    peers.pop();
    enter(&mut peers);
}

#[test]
fn a_shard_that_is_full_is_lent_places_however_the_kernel_spreads_connections() {
    let server =
        Server::start(&["shards=2", "limits.connections=16", "limits.admission_wait_ms=30000"]);
    let token = server.token("Ann");
    // Each of two shards may have one that it does not give away.
    let mut peers: Vec<Peer> = (0..15).map(|_| Peer::new(peer::connect(&server))).collect();
    for peer in &mut peers {
        peer.send_raw(peer::upgrade(&token, "").as_bytes());
        assert_eq!(peer.answer().status, 101);
    }
}

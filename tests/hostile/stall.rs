//! A shard that is busy with one thing for too long: that is said, and counted.

use crate::metrics::value;
use crate::peer::{Peer, TEXT, connect, frame, upgrade};
use crate::server::{Server, until};

#[test]
fn a_shard_that_is_stuck_is_said_to_be_and_goes_on_afterwards() {
    let server = Server::start(&["shards=2", "echo=true", "http.metrics=true"]);
    let mut peer = Peer::new(connect(&server));
    peer.send_raw(upgrade("", "").replace("/socket/websocket", "/echo").as_bytes());
    assert_eq!(peer.answer().status, 101);
    // Longer and longer, for nobody knows how fast this machine is.
    let mut rounds = 1_u64 << 27;
    while !server.log().contains("a shard is stuck") {
        assert!(rounds < 1 << 40, "nobody says so");
        rounds *= 2;
        peer.send(&format!("stall {rounds}"));
        assert_eq!(peer.frame().map(|(opcode, _)| opcode), Some(TEXT), "it goes on afterwards");
    }
    until("it is counted", || value(&server, "chinwag_stalls_total") > 0);
    peer.send_raw(&frame(TEXT, true, b"still here"));
    assert_eq!(peer.frame(), Some((TEXT, b"still here".to_vec())));
}

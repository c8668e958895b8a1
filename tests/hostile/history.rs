//! History on disk: pages reach back to the first message, and cursors recover whatever memory has
//! let go of, while the room goes on and after `kill -9`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::peer::{Peer, number, text};
use crate::server::Server;
use crate::store::{Folder, field, messages, say};

/// How many messages a room has before anybody reads.
const SAID: u64 = 5_000;

/// How many are in memory.
const TAIL: u64 = 200;

fn serve(folder: &Folder) -> Server {
    Server::start(&[
        &folder.setting(),
        "shards=2",
        "limits.publish_per_s=0",
        "limits.join_per_s=0",
        &format!("history.messages={TAIL}"),
        // A recovery of all fits, and an answer to it.
        "history.page_bytes=16777216",
        "limits.conn_out_bytes=67108864",
    ])
}

/// Says things from `key` on until `is_over`, so many at a time, and returns what stands where.
fn talk(
    peer: &mut Peer,
    key: u64,
    at_a_time: u64,
    is_over: impl Fn(u64) -> bool,
) -> BTreeMap<u64, String> {
    let (mut next, mut stands) = (key, BTreeMap::new());
    loop {
        while next - key < stands.len() as u64 + at_a_time && !is_over(next) {
            peer.send_raw(&say("tea", next));
            next += 1;
        }
        if stands.len() as u64 == next - key {
            return stands;
        }
        let answer = peer.await_text("phx_reply");
        assert!(answer.contains(r#""status":"ok""#), "{answer}");
        let said = answer.split('"').nth(3).unwrap();
        stands.insert(number(&answer, "offset"), format!("m{said}"));
    }
}

/// All messages of the room, page by page from the last one back.
fn read_all(peer: &mut Peer, last: u64) -> BTreeMap<u64, String> {
    let (mut all, mut before, mut reference) = (BTreeMap::new(), last + 1, 100);
    loop {
        reference += 1;
        let ask = format!(r#"{{"before":{before},"limit":100}}"#);
        peer.send_raw(&text(&format!(r#"["1","{reference}","room:tea","history",{ask}]"#)));
        let answer = peer.await_text(&format!(r#""{reference}","room:tea","phx_reply""#));
        let mut page = messages(&answer);
        let first = *page.keys().next().unwrap_or_else(|| panic!("an empty page: {answer}"));
        assert!(page.keys().copied().eq(first..before), "before {before}: {:?}", page.keys());
        all.append(&mut page);
        before = first;
        let more = answer.contains(r#""more":true"#);
        assert_eq!(more, before > 1, "{answer}");
        if !more {
            return all;
        }
    }
}

/// Joins with a cursor, and checks that all is told that was said since.
fn recover(server: &Server, token: &str, epoch: &str, since: u64, stands: &BTreeMap<u64, String>) {
    let mut peer = Peer::open(server, token);
    let cursor = format!(r#"{{"epoch":"{epoch}","offset":{since}}}"#);
    let answer = peer.join("tea", &format!(r#"{{"presence":false,"since":{cursor}}}"#));
    assert!(answer.contains(r#""recovered":true"#), "since {since}: {answer}");
    let told = messages(&answer);
    let last = number(&answer, "offset");
    assert!(told.keys().copied().eq(since + 1..=last), "since {since} to {last}");
    for (offset, body) in told {
        assert!(stands.get(&offset).is_none_or(|of| *of == body), "{body} at {offset}");
    }
}

#[test]
fn history_reaches_the_first_message_and_any_cursor_recovers_while_others_speak_and_after_kill_9() {
    let folder = Folder::new();
    let server = serve(&folder);
    let token = server.token("Ann");
    let mut speaker = Peer::open(&server, &token);
    let first_epoch = field(&speaker.join("tea", r#"{"presence":false}"#), "epoch").to_owned();
    let stands = talk(&mut speaker, 1, 50, |next| next > SAID);
    assert!(stands.keys().copied().eq(1..=SAID));
    let cursors = [0, 1, 2, 1_234, SAID - TAIL - 1, SAID - TAIL, SAID - TAIL + 1, SAID];

    let is_over = AtomicBool::new(false);
    let later = thread::scope(|scope| {
        let live = scope
            .spawn(|| // One at a time: memory moves on more slowly than the disk is read.
            talk(&mut speaker, SAID + 1, 1, |_| is_over.load(Ordering::Relaxed)));
        // Ends the other, however this ends.
        let over = Over(&is_over);
        let mut reader = Peer::open(&server, &token);
        reader.join("tea", r#"{"presence":false}"#);
        assert_eq!(read_all(&mut reader, SAID), stands);
        for since in cursors {
            recover(&server, &token, &first_epoch, since, &stands);
        }
        drop(over);
        live.join().unwrap()
    });
    assert!(!later.is_empty());
    let all: BTreeMap<_, _> = stands.into_iter().chain(later).collect();

    server.kill();
    drop(server);
    let server = serve(&folder);
    let mut reader = Peer::open(&server, &token);
    let answer = reader.join("tea", r#"{"presence":false}"#);
    let last = number(&answer, "offset");
    assert_eq!(read_all(&mut reader, last), all, "all was acked, so it is there and no more is");
    for since in cursors.into_iter().chain([last]) {
        recover(&server, &token, &first_epoch, since, &all);
        if since > SAID {
            let epoch = field(&answer, "epoch");
            recover(&server, &token, epoch, since, &all);
        }
    }
}

/// Says that it is over when it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

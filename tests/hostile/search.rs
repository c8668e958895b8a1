//! Searches in a room: in memory, and in all that is kept.

use std::time::Duration;

use crate::peer::{Peer, text};
use crate::server::{PATIENCE, Server, until};
use crate::store::{Folder, messages, say};

/// A server with rooms in a folder and little of them in memory, in which anybody may speak and
/// search on.
fn start(folder: &Folder) -> Server {
    let path = format!("store.path={}", folder.0.display());
    Server::start(&[
        &path,
        "history.messages=10",
        "limits.publish_per_s=0",
        "limits.search_per_s=0",
    ])
}

fn search(peer: &mut Peer, payload: &str) -> String {
    peer.send_raw(&text(&format!(r#"["1","s","room:tea","msg_search",{payload}]"#)));
    peer.await_text(r#""s","room:tea","phx_reply""#)
}

/// The offsets in an answer, the newest first.
fn offsets(answer: &str) -> Vec<u64> {
    messages(answer).into_keys().rev().collect()
}

/// Says so many messages, and waits until the last one is answered.
fn say_some(peer: &mut Peer, keys: std::ops::RangeInclusive<u64>) {
    let last = *keys.end();
    for key in keys {
        peer.send_raw(&say("tea", key));
    }
    peer.await_text(&format!(r#""{last}","room:tea","phx_reply""#));
}

#[test]
fn words_are_found_in_what_is_in_memory_and_bad_searches_are_told_what_is_wrong() {
    let server = Server::start(&["limits.publish_per_s=0", "limits.search_per_s=0"]);
    let mut ann = server.guest("Ann");
    ann.join("tea", "{}");
    say_some(&mut ann, 1..=30);
    let found = search(&mut ann, r#"{"query":"M1"}"#);
    assert_eq!(offsets(&found), [19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 1], "{found}");
    assert!(found.contains(r#""more":false"#), "{found}");
    let page = search(&mut ann, r#"{"query":"m1","limit":2,"before":19}"#);
    assert_eq!(offsets(&page), [18, 17], "{page}");
    assert!(page.ends_with(r#""before":17,"more":true},"status":"ok"}]"#), "{page}");
    let nobody = search(&mut ann, r#"{"query":"m1","from":"nobody"}"#);
    assert!(nobody.contains(r#""messages":[],"more":false"#), "{nobody}");
    for (payload, field) in [
        ("{}", "query"),
        (r#"{"query":"x"}"#, "query"),
        (r#"{"query":5}"#, "query"),
        (r#"{"query":"m1","limit":0}"#, "limit"),
        (r#"{"query":"m1","limit":51}"#, "limit"),
        (r#"{"query":"m1","before":"x"}"#, "before"),
        (r#"{"query":"m1","from":7}"#, "from"),
    ] {
        let answer = search(&mut ann, payload);
        let wrong = format!(r#""field":"{field}""#);
        assert!(answer.contains(&wrong) && answer.contains("invalid"), "{payload}: {answer}");
    }
    server.kill();
}

#[test]
fn searches_have_a_rate_of_their_own() {
    let server = Server::start(&["limits.search_burst=2"]);
    let mut ann = server.guest("Ann");
    ann.join("tea", "{}");
    let answers = [(); 3].map(|()| search(&mut ann, r#"{"query":"tea"}"#));
    assert!(answers[1].contains(r#""status":"ok""#), "{answers:?}");
    assert!(answers[2].contains("limits.search_per_s"), "{answers:?}");
    server.kill();
}

/// Waits until the index is whole and has followed.
fn until_found(peer: &mut Peer, key: u64) {
    until("it is found", || {
        let found = search(peer, &format!(r#"{{"query":"m{key}"}}"#));
        found.contains(r#""status":"ok""#) && offsets(&found) == [key]
    });
}

#[test]
fn an_index_that_is_cut_off_or_deleted_while_many_speak_hurts_nobody_and_comes_back() {
    let folder = Folder::new();
    let server = start(&folder);
    let mut ann = server.guest("Ann");
    ann.join("tea", "{}");
    let said = |peer: &mut Peer, keys: std::ops::RangeInclusive<u64>| {
        for key in keys {
            // So many words that no thread has the whole index in memory.
            let words: Vec<String> = (0..900).map(|word| format!("{key}w{word}")).collect();
            let payload = format!(r#"{{"body":"m{key} {}"}}"#, words.join(" "));
            peer.send_raw(&text(&format!(r#"["1","{key}","room:tea","new_msg",{payload}]"#)));
            let answer = peer.await_text(&format!(r#""{key}","room:tea","phx_reply""#));
            assert!(answer.contains(&format!(r#""offset":{key}"#)), "{answer}");
        }
    };
    said(&mut ann, 1..=200);
    until_found(&mut ann, 200);
    let file = folder.0.join("search.db");
    for (first, is_deleted) in [(201, false), (401, true)] {
        said(&mut ann, first..=first + 99);
        if is_deleted {
            for end in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(file.with_extension(format!("db{end}")));
            }
        } else {
            let index = std::fs::File::options().write(true).open(&file).unwrap();
            index.set_len(1_000).unwrap();
        }
        said(&mut ann, first + 100..=first + 199);
        for key in [first + 199, first + 99, 107] {
            until_found(&mut ann, key);
        }
    }
    server.terminate();
    let (status, log) = server.wait(PATIENCE + Duration::from_secs(30));
    // Whether the damage was met while it ran, or is only when it starts again, is chance.
    assert_eq!(status.code(), Some(0), "{log}");
    let server = start(&folder);
    let mut bob = server.guest("Bob");
    bob.join("tea", "{}");
    for key in [600, 450, 107] {
        until_found(&mut bob, key);
    }
    server.kill();
}

#[test]
fn all_that_is_kept_is_found_before_a_restart_and_after_it() {
    let folder = Folder::new();
    let server = start(&folder);
    let mut ann = server.guest("Ann");
    ann.join("tea", "{}");
    say_some(&mut ann, 1..=300);
    // It is busy until it has looked at what there was, and then follows a moment later.
    until_found(&mut ann, 300);
    assert_eq!(offsets(&search(&mut ann, r#"{"query":"m7"}"#)).last(), Some(&7));
    server.terminate();
    let (status, log) = server.wait(PATIENCE + Duration::from_secs(30));
    assert_eq!(status.code(), Some(0), "{log}");

    // Without its index, which is made anew.
    std::fs::remove_file(folder.0.join("search.db")).unwrap();
    let server = start(&folder);
    let mut bob = server.guest("Bob");
    bob.join("tea", "{}");
    let mut found = String::new();
    until("the index is whole", || {
        found = search(&mut bob, r#"{"query":"m12","limit":50}"#);
        found.contains(r#""status":"ok""#)
    });
    assert_eq!(offsets(&found), [129, 128, 127, 126, 125, 124, 123, 122, 121, 120, 12], "{found}");
    server.kill();
}

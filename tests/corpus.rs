//! Replays what the fuzzer has found (`tests/fuzz/corpus`), and changes it a little.

#[path = "fuzz/bodies.rs"]
mod bodies;

use std::fs;
use std::path::Path;

use chinwag::base::rng::SplitMix64;

/// Runs a body on every file of its corpus, and on variations of it.
fn replay(name: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let mut rng = SplitMix64::new(1);
    let mut count = 0;
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for path in files {
        let data = fs::read(path).unwrap();
        body(&data);
        for _ in 0..20 {
            let mut data = data.clone();
            for _ in 0..=rng.below(4) {
                if let Some(at) = rng.below(data.len() as u64 + 1).checked_sub(1) {
                    data[usize::try_from(at).unwrap()] ^= 1 << rng.below(8);
                }
            }
            body(&data);
        }
        count += 1;
    }
    assert!(count > 0, "there is a corpus");
}

#[test]
fn heads_of_requests() {
    replay("head", bodies::head);
}

#[test]
fn requests_wherever_they_are_cut() {
    replay("http", bodies::http);
}

#[test]
fn frames_wherever_they_are_cut() {
    replay("ws", bodies::ws);
}

#[test]
fn messages_as_serde_json_reads_them() {
    replay("phx", bodies::phx);
}

#[test]
fn tokens() {
    replay("token", bodies::token);
}

#[test]
fn bodies_of_long_polling() {
    replay("poll", bodies::poll);
}

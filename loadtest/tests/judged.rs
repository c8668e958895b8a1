//! What a journal of a run says of a server that is killed again and again, by a judge that shares
//! no code with either: `tests/disk/judge.py`. And the judge objects to what is wrong.
//!
//! Needs the server and Python: `cargo build && cargo test -p loadtest --test judged -- --ignored`.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use common::{Folder, LOADTEST, Server};

/// How long anything that must happen may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often the server is killed.
const KILLS: usize = 3;

/// How many lines are written before each of that, and in the end.
const LINES: usize = 3_000;

impl Folder {
    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a name in UTF-8").to_owned()
    }

    fn serve(&self, port: u16) -> Server {
        let binary = Path::new(LOADTEST).with_file_name("chinwag");
        assert!(binary.exists(), "build the server first: cargo build");
        let mut command = Command::new(binary);
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--shards", "2"]);
        let store = format!("store.path={}", self.path("store"));
        for setting in [&*store, "limits.join_per_s=0", "limits.publish_per_s=0"] {
            command.args(["--set", setting]);
        }
        Server::start(command, |line| {
            let (_, address) = line.split_once("http://localhost:")?;
            Some(address.split(' ').next()?.to_owned())
        })
    }

    /// Whether the judge has nothing to object to, and what it says.
    fn judge(&self, journal: &str, store: &str) -> (bool, String) {
        let judge = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/disk/judge.py");
        let output = Command::new("python3")
            .arg(judge)
            .args([&self.path(journal), "--store", &self.path(store)])
            .output()
            .expect("python3 is there");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// A copy of the journal with another line in the place of each for which there is one; one
    /// there must be.
    fn altered(&self, alter: impl Fn(&Value, &str) -> Option<String>) -> (bool, String) {
        let text = fs::read_to_string(self.path("journal")).expect("the journal");
        let mut is_altered = false;
        let lines = text.lines().map(|line| {
            let frame: Value = serde_json::from_str(line).expect("a line");
            let other = alter(&frame, line).filter(|_| !is_altered);
            is_altered |= other.is_some();
            other.unwrap_or_else(|| line.to_owned())
        });
        let lines: Vec<String> = lines.collect();
        assert!(is_altered);
        fs::write(self.path("altered"), lines.join("\n")).expect("it is written");
        self.judge("altered", "store/chat.db")
    }

    /// A copy of the store that something was done to.
    fn meddled(&self, sql: &str) -> (bool, String) {
        fs::copy(self.path("store/chat.db"), self.path("meddled.db")).expect("it is copied");
        let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); \
                      c.executescript(sys.argv[2]); c.commit()";
        let mut command = Command::new("python3");
        command.args(["-c", script, &self.path("meddled.db"), sql]);
        assert!(command.status().expect("python3 is there").success());
        self.judge("journal", "meddled.db")
    }
}

fn lines(path: &str) -> usize {
    fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

#[test]
#[ignore = "needs the server: cargo build"]
fn a_judge_that_shares_no_code_finds_each_room_a_list_and_objects_to_what_is_none() {
    let folder = Folder::new("judged");
    let mut server = folder.serve(0);
    let port: u16 = server.url.parse().expect("a port");
    let url = format!("ws://127.0.0.1:{port}/socket/websocket?vsn=2.0.0");
    let journal = folder.path("journal");
    let mut load = Command::new(LOADTEST)
        .args(["chat", "--url", &url, "--quiet", "--journal", &journal, "--users", "24"])
        .args(["--rooms", "4", "--write-every", "60ms", "--history-every", "1s"])
        .args(["--break-every", "2s", "--away", "100ms", "--warmup", "0s", "--duration", "600s"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the tool runs");
    for life in 0..=KILLS {
        if life > 0 {
            // It is killed where it is.
            drop(server);
            server = folder.serve(port);
        }
        let since = Instant::now();
        let wanted = lines(&journal) + LINES;
        while lines(&journal) < wanted {
            assert!(since.elapsed() < PATIENCE, "{} lines in life {life}", lines(&journal));
            thread::sleep(Duration::from_millis(50));
        }
    }
    load.kill().expect("it runs");
    load.wait().expect("it ends");
    // A server that is killed lets members see what it has not kept; this one ends in order.
    server.terminate();

    let (is_right, said) = folder.judge("journal", "store/chat.db");
    assert!(is_right, "{said}");
    let counts: Value = serde_json::from_str(said.trim()).expect("its counts");
    let count = |name: &str| counts[name].as_u64().unwrap_or_default();
    assert!(count("acked") > 100 && count("recovered") > 10, "{said}");
    assert!(count("kept") >= count("acked") && count("seen") > count("acked"), "{said}");

    // Planted: each must be found, and called what it is.
    let heard = |line: &Value, event: &str| line["heard"][3] == event;
    let is_ack =
        |line: &Value| heard(line, "phx_reply") && line["heard"][4]["response"]["id"].is_string();
    let with_offset = |line: &Value, text: &str, add: i64| {
        let payload = &line["heard"][4];
        let of = if payload["offset"].is_u64() { payload } else { &payload["response"] };
        let offset = of["offset"].as_i64().expect("an offset");
        let epoch = of["id"].as_str()?.rsplit_once('-').expect("an id").0.to_owned();
        let text =
            text.replace(&format!("\"offset\":{offset}"), &format!("\"offset\":{}", offset + add));
        Some(text.replace(&format!("{epoch}-{offset}"), &format!("{epoch}-{}", offset + add)))
    };
    let planted =
        [
            (
                "a body that is altered on its way",
                folder.altered(|line, text| {
                    heard(line, "new_msg").then(|| text.replace("\"body\":\"", "\"body\":\"!"))
                }),
                ", and was ",
            ),
            (
                "a message that is passed over",
                folder.altered(|line, text| {
                    if !heard(line, "new_msg") || line["heard"][4]["offset"].as_u64() < Some(20) {
                        return None;
                    }
                    with_offset(line, text, 1)
                }),
                " comes behind ",
            ),
            (
                "an ack of what is not kept",
                folder.altered(|line, text| {
                    if is_ack(line) { with_offset(line, text, 1_000_000) } else { None }
                }),
                " was acked, None is there",
            ),
            (
                "a message that the store has lost",
                folder.meddled("DELETE FROM message WHERE id & 511 = 20;"),
                "its offsets have gaps",
            ),
            (
                "a message that is there twice",
                folder.meddled(
                    "UPDATE message SET body = (SELECT body FROM message AS m \
                 WHERE m.id = message.id - 1) WHERE id & 511 = 20;",
                ),
                "a body is there twice",
            ),
            (
                "a message of nobody",
                folder.meddled("UPDATE message SET body = '\"hi\"' WHERE id & 511 = 20;"),
                "nobody said 'hi'",
            ),
            (
                "an epoch that ends before what was acked in it",
                folder.meddled("UPDATE era SET first = 2 WHERE first > 2;"),
                "its epoch ended before",
            ),
        ];
    for (what, (is_right, said), objection) in planted {
        assert!(!is_right && said.contains(objection), "{what}: {said}");
    }
}

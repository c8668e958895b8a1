//! Every scenario, small, against Chinwag itself with one shard and with two: a test of
//! correctness, never of speed.
//!
//! The server is not a dependency of this crate, so it has to be built first: `cargo build && cargo
//! test -p loadtest -- --ignored`.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Folder, LOADTEST, Outcome, Server, run};

/// Runs one scenario against a fresh server with each number of shards.
fn on_shards(scenario: &str, options: &[&str], check: impl Fn(&Outcome)) {
    on_shards_with(&[], scenario, options, check);
}

/// The same, with a server that is configured so.
fn on_shards_with(settings: &[&str], scenario: &str, options: &[&str], check: impl Fn(&Outcome)) {
    for shards in ["1", "2"] {
        let server = chinwag_with(&[&["--shards", shards], settings].concat());
        let outcome = run(&server, scenario, &[options, &["--server-pid", &server.pid()]].concat());
        assert_eq!(outcome.code, 0, "{shards} shards\n{}", outcome.said);
        check(&outcome);
    }
}

fn binary() -> PathBuf {
    let binary = Path::new(LOADTEST).with_file_name("chinwag");
    assert!(binary.exists(), "build the server first: cargo build");
    binary
}

fn chinwag_with(options: &[&str]) -> Server {
    let mut command = Command::new(binary());
    // A free port of the system's choice is told in the first line.
    command.args(["--listen", "127.0.0.1:0", "--set", "store.path="]).args(options);
    Server::start(command, |line| {
        let (_, address) = line.split_once("http://")?;
        let port = address.split([' ', '/']).next()?.rsplit(':').next()?.parse::<u16>().ok()?;
        Some(format!("ws://127.0.0.1:{port}/socket/websocket?vsn=2.0.0"))
    })
}

#[test]
#[ignore = "needs the server: cargo build"]
fn fanout() {
    on_shards("fanout", &["--members", "60", "--rate", "50"], |outcome| {
        assert_eq!(
            (outcome.count("sent"), outcome.count("delivered"), outcome.count("answered")),
            (60, 3_600, 60)
        );
    });
}

#[test]
#[ignore = "needs the server: cargo build"]
fn fanout_in_bursts() {
    on_shards("fanout", &["--members", "80", "--rate", "128", "--burst", "64"], |outcome| {
        assert_eq!(outcome.count("delivered"), outcome.count("sent") * 80);
    });
}

#[test]
#[ignore = "needs the server: cargo build"]
fn rooms() {
    on_shards("rooms", &["--rooms", "10", "--members", "8", "--rate", "200"], |outcome| {
        assert_eq!((outcome.count("sent"), outcome.count("delivered")), (240, 240 * 8));
    });
}

#[test]
#[ignore = "needs the server: cargo build"]
fn pings() {
    for push in ["heartbeat", "echo"] {
        on_shards("ping", &["--connections", "4", "--rate", "100", "--push", push], |outcome| {
            // `echo` is a push, and a connection may make 20 a second beyond its burst of 60.
            assert_eq!(outcome.count("answered"), 120);
        });
    }
}

#[test]
#[ignore = "needs the server: cargo build"]
fn keep() {
    let folder = Folder::new("keep");
    let store = format!("store.path={}", folder.0.display());
    let settings =
        ["--set", &*store, "--set", "limits.publish_per_s=0", "--set", "limits.join_per_s=0"];
    let options = ["--rooms", "12", "--members", "3", "--connections", "6", "--in-flight", "20"];
    on_shards_with(&settings, "keep", &[&options[..], &["--zipf", "1"]].concat(), |outcome| {
        assert!(outcome.count("sent") > 20, "{}", outcome.said);
        assert_eq!(outcome.count("answered"), outcome.count("sent"));
        assert_eq!(outcome.count("delivered"), outcome.count("sent") * 3);
    });
}

#[test]
#[ignore = "needs the server: cargo build"]
fn idle() {
    on_shards(
        "idle",
        &["--connections", "100", "--steps", "2", "--settle", "100ms", "--per-room", "10"],
        |outcome| {
            assert_eq!(outcome.count("joined"), 100);
        },
    );
}

#[test]
#[ignore = "needs the server: cargo build"]
fn connections_come_from_several_addresses() {
    let server = chinwag_with(&["--shards", "1", "--set", "limits.connections_per_ip=10"]);
    let many = ["--connections", "25", "--steps", "1", "--settle", "10ms"];
    run(&server, "idle", &[&many[..], &["--per-source", "10"]].concat()).is_ok();
    let refused = run(&server, "idle", &many);
    assert_eq!((refused.code, refused.count("connected")), (1, 10), "{}", refused.said);
}

#[test]
#[ignore = "needs the server: cargo build"]
fn churn() {
    on_shards("churn", &["--rate", "40", "--rooms", "3", "--observers", "2"], |outcome| {
        assert_eq!((outcome.count("sent"), outcome.count("delivered")), (48, 48 * 3));
    });
}

#[test]
#[ignore = "needs the server: cargo build"]
fn storm() {
    on_shards("storm", &["--connections", "100", "--duration", "20s"], |outcome| {
        assert_eq!((outcome.count("reconnected"), outcome.time("ready", "count")), (100, 100));
    });
}

#[test]
#[ignore = "needs the server: cargo build"]
fn slow_members_are_told_and_catch_up() {
    // 12 MB for each sleeper: well over what the kernel hides in its buffers (4 MiB on Linux) and
    // the lag that a room allows (1 MiB).
    let options = [
        "--members",
        "20",
        "--sleepers",
        "3",
        "--rate",
        "200",
        "--size",
        "15000",
        "--duration",
        "4s",
    ];
    on_shards("slow", &options, |outcome| {
        assert!(outcome.count("ended_loudly") >= 3, "{}", outcome.said);
    });
}

#[test]
#[ignore = "needs the server: cargo build"]
fn presence() {
    let options = ["--members", "60", "--within", "500ms", "--observers", "3", "--duration", "4s"];
    // Each half of the time is long enough for who came or left last to be told.
    let settings = ["--set", "presence.tick_max_ms=500"];
    on_shards_with(&settings, "presence", &options, |outcome| {
        assert_eq!(outcome.time("seen", "count"), 6);
    });
}

#[test]
#[ignore = "needs the server: cargo build"]
fn chat_with_breaks_is_recovered() {
    let people =
        ["--users", "60", "--rooms", "6", "--write-every", "500ms", "--history-every", "1s"];
    let breaks = ["--break-every", "1s", "--away", "300ms", "--duration", "3s"];
    on_shards("chat", &[&people[..], &breaks].concat(), |outcome| {
        assert!(
            outcome.count("reconnected") > 0 && outcome.count("recovered") > 0,
            "{}",
            outcome.said
        );
    });
}

/// The key of tokens that several servers take.
const SECRET: &str = "6Zk1Qe5oTq2mR8vYxW3uJ7aHcN4sLpB9";

/// A server whose rooms are kept in a folder.
fn chinwag_in(folder: &Folder) -> Server {
    let store = format!("store.path={}", folder.0.display());
    chinwag_with(&["--shards", "2", "--set", &store, "--set", &format!("auth.secret={SECRET}")])
}

/// A command that kills a server, does something to its folder, and starts it again there. The one
/// that it starts is waited for: it ends with the run.
fn restart(server: &Server, folder: &Folder, meanwhile: &str) -> String {
    let (_, address) = server.url.split_once("//").expect("a URL");
    let address = address.split('/').next().expect("an address");
    format!(
        "kill -9 {}; {meanwhile}; exec {} --listen {address} --shards 2 --set store.path={} --set \
         auth.secret={SECRET}",
        server.pid(),
        binary().display(),
        folder.0.display()
    )
}

/// Runs `failover` against a server by two of its names, with these faults.
fn failover(server: &Server, faults: &[&str]) -> Outcome {
    let other = server.url.replace("127.0.0.1", "localhost");
    let rooms = ["--rooms", "3", "--members", "4", "--rate", "60", "--changes", "0.3"];
    let rest = ["--url", &other, "--warmup", "0s", "--duration", "5s", "--drain", "20s"];
    let own = ["--banned", "1", "--secret", SECRET];
    let faults = faults.iter().flat_map(|fault| ["--fault", fault]).collect::<Vec<_>>();
    run(server, "failover", &[&rooms[..], &rest, &own, &faults].concat())
}

#[test]
#[ignore = "needs the server: cargo build"]
fn a_server_that_is_killed_and_comes_back_has_one_order_and_keeps_what_it_acknowledged() {
    let folder = Folder::new("failover");
    let server = chinwag_in(&folder);
    let paused = format!("500: kill -STOP {0}; sleep 0.3; kill -CONT {0}", server.pid());
    let outcome =
        failover(&server, &[&paused, &format!("1500: {}", restart(&server, &folder, "sleep 1"))]);
    outcome.is_ok();
    // All have lost their connection, and some were at the other name until they came home.
    assert!((12..=24).contains(&outcome.count("reconnected")), "{}", outcome.said);
    // Beside these, the channels of those who were banned while they were there.
    assert!((12..=12 + 3).contains(&outcome.count("ended_loudly")), "{}", outcome.said);
    assert_eq!(outcome.count("told_lost"), 0);
    assert_eq!((outcome.count("banned"), outcome.count("changed") > 0), (3, true));
    assert!(outcome.count("answered") >= outcome.count("sent"), "{}", outcome.said);
    let faults = outcome.report["faults"].as_array().expect("what was done");
    let number = |fault: usize, name: &str| faults[fault][name].as_u64();
    assert_eq!((faults.len(), number(0, "code")), (2, Some(0)), "{}", outcome.said);
    assert!(number(0, "first_acked_ns") >= Some(300_000_000), "{}", outcome.said);
    // It serves until the end, so it has none.
    assert_eq!(number(1, "took_ns"), None, "{}", outcome.said);
    assert!(number(1, "all_acked_ns").is_some(), "{}", outcome.said);
    assert!(!(outcome.said + &outcome.report.to_string()).contains(SECRET));
}

#[test]
#[ignore = "needs the server: cargo build"]
fn what_a_copy_of_the_store_lacks_is_told() {
    let (folder, copy) = (Folder::new("restored"), Folder::new("restored-copy"));
    let server = chinwag_in(&folder);
    let (of, to) = (folder.0.display(), copy.0.display());
    // Together with what is in the log beside the database.
    let back_up = format!("1000: cp {of}/chat.db* {to}");
    let restore = restart(&server, &folder, &format!("rm {of}/chat.db*; cp {to}/chat.db* {of}"));
    let outcome = failover(&server, &[&back_up, &format!("2000: {restore}")]);
    outcome.is_ok();
    assert!(outcome.count("told_lost") > 0 && outcome.count("told") > 0, "{}", outcome.said);
}

#[test]
#[ignore = "needs the server: cargo build"]
fn what_is_taken_out_of_a_store_in_secret_is_missed() {
    let folder = Folder::new("robbed");
    let server = chinwag_in(&folder);
    let sql = "DELETE FROM message WHERE (id & 511) BETWEEN 5 AND 7";
    let rob = format!(
        "python3 -c 'import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); \
         c.commit()' {}/chat.db '{sql}'",
        folder.0.display()
    );
    let outcome = failover(&server, &[&format!("2000: {}", restart(&server, &folder, &rob))]);
    assert_eq!((outcome.code, outcome.count("lost") > 0), (1, true), "{}", outcome.said);
}

#[test]
#[ignore = "needs the server: cargo build"]
fn two_servers_that_share_nothing_have_no_one_order() {
    let (folder, other) = (Folder::new("one"), Folder::new("other"));
    let (server, stranger) = (chinwag_in(&folder), chinwag_in(&other));
    let rooms = ["--rooms", "3", "--members", "4", "--rate", "60", "--secret", SECRET];
    let options = ["--url", &stranger.url, "--drain", "500ms"];
    let outcome = run(&server, "failover", &[&rooms[..], &options].concat());
    assert_eq!(outcome.code, 1, "{}", outcome.said);
    for count in ["room_order", "lost", "presence_wrong"] {
        assert!(outcome.count(count) > 0, "{count}\n{}", outcome.said);
    }
}

#[test]
#[ignore = "needs the server: cargo build"]
fn floods() {
    for shards in ["1", "2"] {
        let server = chinwag_with(&["--shards", shards, "--set", "http.metrics=true"]);
        for what in [
            "publish",
            "join",
            "ping",
            "fragments",
            "connects",
            "requests",
            "requests --path /metrics",
            "requests --path /main.js",
            "sessions",
            "leaves --channels 20",
        ] {
            let options = ["--url", &server.url, "--duration", "300ms", "--rate", "2000"];
            let output = Command::new(LOADTEST)
                .arg("flood")
                .args(what.split(' '))
                .args(options)
                .output()
                .expect("it runs");
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success() && said.ends_with("of which the server ended 0\n"),
                "{what}: {said}"
            );
        }
    }
}

//! What goes wrong: the engine dies, stands still or loses what it had.

use std::env;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::nodes::{Client, node};
use crate::server::until;

/// An engine that may end and begin again at its address.
struct Engine {
    process: Option<Child>,
    folder: PathBuf,
    port: u16,
}

impl Engine {
    fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let port = free.expect("a port").port();
        let folder = env::temp_dir().join(format!("chinwag-cluster-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let mut engine = Self { process: None, folder, port };
        engine.begin();
        engine
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// It begins, with what it had written.
    fn begin(&mut self) {
        let process = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", "always", "--dir"])
            .arg(&self.folder)
            .stdout(Stdio::null())
            .spawn();
        self.process = Some(process.expect("apt-get install redis-server"));
        until("it listens", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it can be killed");
            process.wait().expect("it has ended");
        }
    }

    /// Nothing is left of what it had.
    fn forget(&self) {
        fs::remove_dir_all(&self.folder).expect("its folder");
        fs::create_dir_all(&self.folder).expect("a folder");
    }

    fn signal(&self, name: &str) {
        let pid = self.process.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().expect("kill").success());
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Says something until it is accepted. Returns its offset.
fn say_at_last(client: &mut Client, body: &str) -> u64 {
    let mut offset = None;
    until("it is accepted", || {
        let answer = client.ask("new_msg", &json!({ "body": body, "key": body }));
        offset = answer["response"]["offset"].as_u64();
        offset.is_some()
    });
    offset.expect("it was")
}

#[test]
fn an_engine_that_begins_again_with_what_it_had_is_gone_on_with() {
    let mut engine = Engine::start();
    let nodes = [(); 2].map(|()| node(&engine.url(), &[]));
    let mut ann = Client::join(&nodes[0], "ann", "tea", &json!({}));
    let mut bob = Client::join(&nodes[1], "bob", "tea", &json!({}));
    ann.say("one");
    bob.hear_until("one");
    engine.kill();
    let refused = ann.ask("new_msg", &json!({ "body": "lost" }));
    let reason = refused["response"]["reason"].as_str().expect("a reason");
    assert!(["unavailable", "unconfirmed"].contains(&reason), "{refused}");
    engine.begin();
    let offset = say_at_last(&mut ann, "two");
    // The one before it was refused, and not kept.
    assert_eq!(offset, 2);
    assert_eq!(bob.hear_until("two"), [(2, "two".to_owned())], "on the same connection");
    // Nothing was lost: whoever stood there is told only that the epoch is another.
    let cursor = bob.cursor(1, 0);
    let bob = Client::join(&nodes[0], "bob", "tea", &cursor);
    assert_eq!(bob.joined["response"]["recovered"], true, "{}", bob.joined);
    assert_ne!(bob.joined["response"]["epoch"], ann.joined["response"]["epoch"]);
}

#[test]
fn whoever_was_in_rooms_that_an_engine_has_lost_is_told() {
    let mut engine = Engine::start();
    let nodes = [(); 2].map(|()| node(&engine.url(), &[]));
    let mut ann = Client::join(&nodes[0], "ann", "tea", &json!({}));
    let mut bob = Client::join(&nodes[1], "bob", "tea", &json!({}));
    ann.say("one");
    bob.hear_until("one");
    engine.kill();
    engine.forget();
    engine.begin();
    bob.hear("phx_error");
    ann.hear("phx_error");
    let cursor = bob.cursor(1, 0);
    let bob = Client::join(&nodes[1], "bob", "tea", &cursor);
    assert_eq!(bob.joined["response"]["recovered"], false, "{}", bob.joined);
}

#[test]
fn an_engine_that_stands_still_holds_up_nothing_else_and_what_it_took_is_in_doubt() {
    let engine = Engine::start();
    let nodes = [(); 2].map(|()| node(&engine.url(), &["engine.timeout_ms=300"]));
    let mut ann = Client::join(&nodes[0], "ann", "tea", &json!({}));
    ann.say("one");
    engine.signal("-STOP");
    let message = json!({ "body": "two", "key": "k" });
    let doubtful = ann.ask("new_msg", &message);
    assert_eq!(doubtful["response"]["reason"], "unconfirmed", "{doubtful}");
    // Heartbeats and rooms that are in memory go on.
    let page = ann.ask("history", &json!({}));
    assert_eq!(page["status"], "ok", "{page}");
    engine.signal("-CONT");
    let mut answer = doubtful;
    until("it is told whether it was kept", || {
        answer = ann.ask("new_msg", &message);
        answer["status"] == "ok"
    });
    assert_eq!(answer["response"]["offset"], 2, "it is not said twice: {answer}");
    assert_eq!(ann.say("three"), 3);
}

//! Rooms on disk: what was acked is there after `kill -9`, once and in order, and cursors go on.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use chinwag::limits::LINEAGE_EPOCHS_MAX;

use crate::peer::{Peer, ask, number, text};
use crate::server::{PATIENCE, Server, until};

/// A folder for a store, which goes when the test ends.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(format!("chinwag-hostile-store-{process}-{count}")))
    }

    /// The setting that names it.
    pub(crate) fn setting(&self) -> String {
        format!("store.path={}", self.0.display())
    }

    pub(crate) fn serve(&self) -> Server {
        Server::start(&[
            &self.setting(),
            "shards=2",
            "limits.publish_per_s=0",
            "limits.join_per_s=0",
            // The tail reaches back to the first message, however much a round has time to say.
            "history.messages=50000",
            "history.room_bytes=4194304",
            "history.page_bytes=8388608",
            "limits.conn_out_bytes=16777216",
            "limits.search_per_s=0",
            // Whoever reacts waits for it.
            "chat.react_tick_ms=1",
        ])
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Ends a server when it is dropped.
pub(crate) struct Killed<'a>(pub(crate) &'a Server);

impl Drop for Killed<'_> {
    fn drop(&mut self) {
        self.0.kill();
    }
}

pub(crate) fn say(room: &str, key: u64) -> Vec<u8> {
    let payload = format!(r#"{{"body":"m{key}","key":"k{key}"}}"#);
    text(&format!(r#"["1","{key}","room:{room}","new_msg",{payload}]"#))
}

pub(crate) fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let begin = format!("\"{name}\":\"");
    let (_, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("no {name} in {text}"));
    rest.split('"').next().unwrap()
}

/// The messages in an answer, by offset: their bodies, each offset once.
pub(crate) fn messages(answer: &str) -> BTreeMap<u64, String> {
    let mut found = BTreeMap::new();
    let (_, list) = answer.split_once(r#""messages":["#).unwrap_or_else(|| panic!("{answer}"));
    for message in list.split(r#"{"at":"#).skip(1) {
        let offset = number(message.split("\"user\":").next().unwrap(), "offset");
        let is_new = found.insert(offset, field(message, "body").to_owned()).is_none();
        assert!(is_new, "offset {offset} twice");
    }
    found
}

/// A client that counts what it says, and remembers what was acked.
pub(crate) struct Client {
    pub(crate) room: String,
    pub(crate) token: String,
    pub(crate) next: u64,
    /// By key: the offset that it was told.
    pub(crate) acked: BTreeMap<u64, u64>,
    /// Where it stands.
    cursor: Option<(String, u64)>,
    /// The room's epochs, the first one first.
    pub(crate) epochs: Vec<String>,
}

impl Client {
    /// Of a room, with a token that is good in each life of the server.
    pub(crate) fn new(server: &Server, room: &str) -> Self {
        Self {
            room: room.to_owned(),
            token: server.token("Ann"),
            next: 1,
            acked: BTreeMap::new(),
            cursor: None,
            epochs: Vec::new(),
        }
    }

    pub(crate) fn enter(&mut self, server: &Server) -> Peer {
        let mut peer = Peer::open(server, &self.token);
        let since = self.cursor.as_ref().map_or_else(String::new, |(epoch, offset)| {
            format!(r#","since":{{"epoch":"{epoch}","offset":{offset}}}"#)
        });
        let params = format!(r#"{{"presence":false,"limit":0{since}}}"#);
        let answer = peer.join(&self.room, &params);
        assert!(answer.contains(r#""status":"ok""#), "{answer}");
        if self.cursor.is_some() {
            // Its cursor is at what was acked, so at what is there.
            assert!(answer.contains(r#""recovered":true"#), "{answer}");
        }
        let epoch = field(&answer, "epoch");
        if self.epochs.last().is_none_or(|last| last != epoch) {
            self.epochs.push(epoch.to_owned());
        }
        self.cursor = Some((epoch.to_owned(), self.cursor_offset()));
        peer
    }

    fn cursor_offset(&self) -> u64 {
        self.acked.values().copied().max().unwrap_or_default()
    }

    /// Says again what was not acked, and then more and more, until the server has gone. Counts
    /// what is acked.
    pub(crate) fn talk(&mut self, peer: &mut Peer, acks: &AtomicU32) {
        let open: Vec<u64> = (1..self.next).filter(|key| !self.acked.contains_key(key)).collect();
        let mut open = VecDeque::from(open);
        let mut under_way = 0;
        loop {
            // So many that a commit is always under way while the next one gathers.
            while under_way < 50 {
                let key = open.pop_front().unwrap_or_else(|| {
                    self.next += 1;
                    self.next - 1
                });
                if peer.stream.write_all(&say(&self.room, key)).is_err() {
                    return;
                }
                under_way += 1;
            }
            let Some((_, payload)) = peer.frame() else { return };
            let answer = String::from_utf8(payload).unwrap();
            if answer.contains("phx_reply") {
                assert!(answer.contains(r#""status":"ok""#), "{answer}");
                let key = answer.split('"').nth(3).unwrap().parse().unwrap();
                let offset = number(&answer, "offset");
                self.acked.insert(key, offset);
                self.cursor.as_mut().unwrap().1 = self.cursor_offset();
                acks.fetch_add(1, Ordering::Relaxed);
                under_way -= 1;
            }
        }
    }

    /// All that was acked is there, where it was acked, and nothing is there twice.
    fn check(&self, server: &Server) {
        let mut peer = Peer::open(server, &self.token);
        // From before the first message, over as many ends without order as a room remembers.
        let (forgotten, known) =
            self.epochs.split_at(self.epochs.len().saturating_sub(LINEAGE_EPOCHS_MAX));
        let params = |epoch: &str| {
            format!(r#"{{"presence":false,"since":{{"epoch":"{epoch}","offset":0}}}}"#)
        };
        if let Some(epoch) = forgotten.last() {
            let answer = Peer::open(server, &self.token).join(&self.room, &params(epoch));
            assert!(answer.contains(r#""recovered":false"#), "{answer}");
        }
        let answer = peer.join(&self.room, &params(&known[0]));
        assert!(answer.contains(r#""recovered":true"#), "{answer}");
        let there = messages(&answer);
        for (key, offset) in &self.acked {
            assert_eq!(there.get(offset), Some(&format!("m{key}")), "acked at {offset}");
        }
        let mut bodies: Vec<&String> = there.values().collect();
        let count = bodies.len();
        bodies.sort_unstable();
        bodies.dedup();
        assert_eq!(bodies.len(), count, "no message twice");
        assert!(there.keys().copied().eq(1..=count as u64), "no hole");
    }
}

#[test]
fn what_was_acked_is_there_after_kill_9_once_and_in_order_and_cursors_go_on() {
    let folder = Folder::new();
    let mut clients: Vec<Client> = Vec::new();
    // `tests/long/run` has many more.
    let rounds = std::env::var("KILL_ROUNDS").map_or(5, |count| count.parse().unwrap());
    for round in 0..rounds {
        let server = folder.serve();
        if round == 0 {
            let names = (0..4).map(|number| format!("room-{number}"));
            clients.extend(names.map(|name| Client::new(&server, &name)));
        }
        let peers: Vec<Peer> = clients.iter_mut().map(|client| client.enter(&server)).collect();
        let acks = AtomicU32::new(0);
        thread::scope(|scope| {
            // However this ends: they talk until it has.
            let _killed = Killed(&server);
            for (client, mut peer) in clients.iter_mut().zip(peers) {
                let acks = &acks;
                scope.spawn(move || client.talk(&mut peer, acks));
            }
            until("enough is acked", || acks.load(Ordering::Relaxed) > 200 + 50 * (round % 5));
        });
    }
    let server = folder.serve();
    for client in &mut clients {
        client.check(&server);
        let mut peer = client.enter(&server);
        peer.send_raw(&say(&client.room, client.next));
        assert!(peer.await_text("phx_reply").contains(r#""status":"ok""#));
    }
}

#[test]
fn a_message_that_is_said_again_after_kill_9_is_one_however_much_was_said_behind_it() {
    let folder = Folder::new();
    let serve = || Server::start(&[&folder.setting(), "shards=1", "limits.publish_per_s=0"]);
    let server = serve();
    let token = server.token("Ann");
    let say_it = |server: &Server, much: u64| {
        let mut peer = Peer::open(server, &token);
        peer.join("tea", r#"{"presence":false}"#);
        peer.send_raw(&say("tea", 1));
        let answer = peer.await_text("phx_reply");
        // More than a room has in memory.
        let long = "x".repeat(15_000);
        for _ in 0..much {
            let push = format!(r#"["1","2","room:tea","new_msg",{{"body":"{long}"}}]"#);
            peer.send_raw(&text(&push));
            peer.await_text("phx_reply");
        }
        (number(&answer, "offset"), number(&answer, "at"))
    };
    let first = say_it(&server, 40);
    drop(Killed(&server));
    drop(server);
    assert_eq!(say_it(&serve(), 0), first);
}

#[test]
fn ids_keys_and_invites_are_good_over_more_ends_than_a_room_judges_cursors_by() {
    let folder = Folder::new();
    // All but two messages are read from the disk.
    let settings = ["shards=1", "limits.join_per_s=0", "history.messages=2"];
    let serve = || Server::start(&[&[&*folder.setting()], &settings[..]].concat());
    let mut server = serve();
    let [ann, bob] = ["Ann", "Bob"].map(|name| server.token(name));
    server.found(&ann, "tea");
    let mut peer = Peer::open(&server, &ann);
    peer.join("tea", r#"{"presence":false}"#);
    peer.send(r#"["1","a","room:tea","room_set",{"join":"members"}]"#);
    peer.await_text(r#"["1","a","#);
    peer.send(r#"["1","b","room:tea","room_invite",{}]"#);
    let answer = peer.await_text(r#"["1","b","#);
    let with_invite = format!(r#"{{"invite":"{}"}}"#, field(&answer, "invite"));
    let mut ids = Vec::new();
    for key in 1..=LINEAGE_EPOCHS_MAX as u64 + 3 {
        let mut peer = Peer::open(&server, &ann);
        peer.join("tea", r#"{"presence":false}"#);
        peer.send_raw(&say("tea", key));
        ids.push(field(&peer.await_text("phx_reply"), "id").to_owned());
        drop(Killed(&server));
        server = serve();
    }
    let mut peer = Peer::open(&server, &ann);
    peer.join("tea", r#"{"presence":false}"#);
    let in_log = ids.len() - 2;
    let ids_in_log = |peer: &mut Peer| -> Vec<String> {
        let payload = format!(r#"{{"before":{},"limit":100}}"#, in_log + 1);
        peer.send(&format!(r#"["1","c","room:tea","history",{payload}]"#));
        let answer = peer.await_text(r#"["1","c","#);
        answer.split(r#""id":""#).skip(1).map(|of| of.split('"').next().unwrap().into()).collect()
    };
    assert_eq!(ids_in_log(&mut peer), ids[..in_log]);
    peer.send_raw(&say("tea", 1));
    assert_eq!(field(&peer.await_text("phx_reply"), "id"), ids[0], "it was said before");
    // What is read, and is another one from now on, keeps its id.
    peer.send(r#"["1","d","room:tea","msg_edit",{"offset":1,"body":"tea"}]"#);
    peer.await_text(r#"["1","d","#);
    assert_eq!(ids_in_log(&mut peer), ids[..in_log]);
    let mut peer = Peer::open(&server, &bob);
    assert!(!peer.join("tea", "{}").contains(r#""status":"ok""#), "it is for members");
    let answer = peer.join("tea", &with_invite);
    assert!(answer.contains(r#""status":"ok""#), "{answer}");
}

#[test]
fn an_orderly_stop_keeps_epochs_and_a_cursor_ahead_of_all_acks() {
    let folder = Folder::new();
    let server = folder.serve();
    let token = server.token("Ann");
    let mut peer = Peer::open(&server, &token);
    let answer = peer.join("tea", r#"{"presence":false}"#);
    let epoch = field(&answer, "epoch").to_owned();
    for key in 1..=20 {
        peer.send_raw(&say("tea", key));
    }
    // All that it saw is there, acked or not.
    let mut seen = 0;
    while seen < 20 {
        seen = number(&peer.await_text("new_msg"), "offset");
    }
    server.terminate();
    let (status, log) = server.wait(PATIENCE + Duration::from_secs(30));
    assert_eq!(status.code(), Some(0), "{log}");
    let server = folder.serve();
    let mut peer = Peer::open(&server, &token);
    let since = format!(r#"{{"presence":false,"since":{{"epoch":"{epoch}","offset":{seen}}}}}"#);
    let answer = peer.join("tea", &since);
    assert!(answer.contains(r#""recovered":true"#) && field(&answer, "epoch") == epoch, "{answer}");
}

#[test]
fn a_second_server_for_one_folder_is_refused_and_the_first_goes_on() {
    let folder = Folder::new();
    let server = folder.serve();
    let second = Command::new(env!("CARGO_BIN_EXE_chinwag"))
        .args(["--listen", "127.0.0.1:0", "--set"])
        .arg(format!("store.path={}", folder.0.display()))
        .env_clear()
        .output()
        .unwrap();
    let error = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(71), "{error}");
    assert!(error.contains(&*folder.0.to_string_lossy()) && error.contains("in use"), "{error}");
    let mut peer = server.guest("Ann");
    assert!(peer.join("tea", "{}").contains(r#""status":"ok""#));
}

#[test]
fn the_numbers_of_the_store_are_served() {
    let folder = Folder::new();
    let server = Server::start(&[&folder.setting(), "shards=1", "http.metrics=true"]);
    let mut peer = server.guest("Ann");
    peer.join("tea", "{}");
    peer.send_raw(&say("tea", 1));
    assert!(peer.await_text("phx_reply").contains(r#""status":"ok""#));
    let get = |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        ask(&server, request.as_bytes())
    };
    let metrics = get("/metrics").body;
    for line in [
        "chinwag_store_state{state=\"ok\"} 1",
        "chinwag_store_batch_messages_sum 1",
        "chinwag_store_reads_total{kind=\"page\"} 0",
        "chinwag_store_errors_total{code=\"full\"} 0",
        "chinwag_store_waiting_bytes{shard=\"0\"} 0",
        "chinwag_store_checkpoint_pages_left 0",
    ] {
        assert!(metrics.lines().any(|of| of == line), "{line} in {metrics}");
    }
    let db_bytes = metrics.lines().find_map(|line| line.strip_prefix("chinwag_store_db_bytes "));
    assert!(db_bytes.unwrap().parse::<u64>().unwrap() >= 4_096, "{metrics}");
    assert_eq!(get("/readyz").status, 200);
}

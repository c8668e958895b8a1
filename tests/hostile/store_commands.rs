//! The commands that look after a store, as processes beside a server and without one.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crate::metrics::value;
use crate::peer::{Peer, ask, number};
use crate::server::{PATIENCE, Server, until};
use crate::store::{Client, Folder, Killed, field, messages, say};

/// Runs a command for the store in a folder.
fn run(folder: &Folder, args: &[&str]) -> Output {
    command(folder, args).stdin(Stdio::null()).output().unwrap()
}

fn command(folder: &Folder, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chinwag"));
    command.args(args).arg("--set").arg(format!("store.path={}", folder.0.display())).env_clear();
    command
}

#[track_caller]
fn check(output: &Output, code: i32, stdout: &str, stderr: &str) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    assert!(out.contains(stdout) && out.is_empty() == stdout.is_empty(), "{out}");
    assert!(err.contains(stderr) && err.is_empty() == stderr.is_empty(), "{err}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn stop(server: Server) {
    server.terminate();
    let (status, log) = server.wait(PATIENCE + Duration::from_secs(30));
    assert_eq!(status.code(), Some(0), "{log}");
}

/// What a client is told that comes back with this cursor.
fn come_back(server: &Server, client: &Client, offset: u64) -> String {
    let mut peer = Peer::open(server, &client.token);
    let since = format!(r#""since":{{"epoch":"{}","offset":{offset}}}"#, client.epochs[0]);
    peer.join(&client.room, &format!(r#"{{"presence":false,{since}}}"#))
}

/// Says so many messages, and waits until each is kept.
fn say_all(server: &Server, client: &mut Client, count: u64) -> Peer {
    let mut peer = client.enter(server);
    for key in 1..=count {
        peer.send_raw(&say(&client.room, key));
        let answer = peer.await_text("phx_reply");
        assert!(answer.contains(r#""status":"ok""#), "{answer}");
        client.acked.insert(key, key);
    }
    client.next = count + 1;
    peer
}

#[test]
fn a_backup_under_load_brings_back_all_that_was_acked_before_it_and_later_cursors_are_told() {
    let (folder, backups) = (Folder::new(), Folder::new());
    fs::create_dir(&backups.0).unwrap();
    let server = folder.serve();
    let mut client = Client::new(&server, "tea");
    let before = 100;
    let mut peer = say_all(&server, &mut client, before);
    let acks = AtomicU32::new(0);
    let made = thread::scope(|scope| {
        let _killed = Killed(&server);
        let acks = &acks;
        let client = &mut client;
        scope.spawn(move || client.talk(&mut peer, acks));
        until("there is load", || acks.load(Ordering::Relaxed) > 500);
        let made = run(&folder, &["backup", text(&backups.0)]);
        let then = acks.load(Ordering::Relaxed);
        until("the load goes on", || acks.load(Ordering::Relaxed) > then + 200);
        made
    });
    check(&made, 0, " bytes, ", "");
    let backup = fs::read_dir(&backups.0).unwrap().next().unwrap().unwrap().path();
    assert!(String::from_utf8(made.stdout).unwrap().starts_with(text(&backup)));
    drop(server);
    check(&run(&folder, &["restore", text(&backup)]), 0, "chat.db.before-", "");
    check(&run(&folder, &["store", "check"]), 0, "ok\n", "");

    let server = folder.serve();
    let answer = come_back(&server, &client, 0);
    assert!(answer.contains(r#""recovered":true"#), "{answer}");
    assert_ne!(field(&answer, "epoch"), client.epochs[0]);
    let there = messages(&answer);
    let last = there.len() as u64;
    assert!(there.keys().copied().eq(1..=last), "no hole");
    assert!(last >= before + 500, "{last}: all that was acked before it is in it");
    for (key, offset) in client.acked.iter().filter(|(_, offset)| **offset <= last) {
        assert_eq!(there.get(offset), Some(&format!("m{key}")), "acked at {offset}");
    }
    let beyond = client.acked.values().copied().max().unwrap();
    assert!(beyond > last, "something was said after it");
    let answer = come_back(&server, &client, beyond);
    assert!(answer.contains(r#""recovered":false"#), "{answer}");
    let answer = come_back(&server, &client, last);
    assert!(answer.contains(r#""recovered":true"#), "{answer}");
}

#[test]
fn a_server_makes_a_backup_by_itself_and_none_before_its_time_after_a_restart() {
    let (folder, backups) = (Folder::new(), Folder::new());
    let setting = format!("store.backup={}", backups.0.display());
    let serve = || Server::start(&[&folder.setting(), &setting, "shards=1", "http.metrics=true"]);
    let server = serve();
    let last = |server: &Server| value(server, "chinwag_store_last_backup_unix");
    until("there is one", || last(&server) > 0);
    let made = || {
        let entries = fs::read_dir(&backups.0).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let names = made();
    assert_eq!(names.len(), 1, "{names:?}");
    check(&run(&folder, &["store", "check", text(&names[0])]), 0, "ok\n", "");
    stop(server);
    // As if it had been an hour ago: another one had another name.
    let time = ["-u", "-d", "1 hour ago", "+chat-%Y%m%dT%H%M%SZ.db"];
    let name = Command::new("date").args(time).output().unwrap().stdout;
    let names = [backups.0.join(str::from_utf8(&name).unwrap().trim())];
    fs::rename(&made()[0], &names[0]).unwrap();
    let server = serve();
    until("it has seen that", || last(&server) > 0);
    // One that is asked for comes behind one that were made by mistake.
    let asked = Folder::new();
    check(&run(&folder, &["backup", text(&asked.0)]), 0, "0 messages", "");
    stop(server);
    fs::remove_file(&asked.0).unwrap();
    assert_eq!(made(), names);
}

#[test]
fn what_is_exported_from_a_server_is_imported_the_same_and_cursors_go_on() {
    let (folder, other, files) = (Folder::new(), Folder::new(), Folder::new());
    fs::create_dir(&files.0).unwrap();
    let server = folder.serve();
    let mut client = Client::new(&server, "tea");
    say_all(&server, &mut client, 30);
    say_all(&server, &mut Client::new(&server, "caf\u{e9}"), 3);
    let lines = run(&folder, &["export"]);
    check(&lines, 0, r#""kind":"end","rooms":2,"messages":33"#, "");
    let file = files.0.join("chat.jsonl");
    fs::write(&file, &lines.stdout).unwrap();
    check(&run(&other, &["import", text(&file)]), 0, "33 messages, the newest at 20", "");
    assert_eq!(run(&other, &["export"]).stdout, lines.stdout);
    check(&run(&other, &["import", text(&file)]), 71, "", "only an empty store is filled");
    stop(server);

    let server = other.serve();
    client.token = server.token("Ann");
    let answer = come_back(&server, &client, 10);
    assert!(answer.contains(r#""recovered":true"#), "{answer}");
    assert_eq!(messages(&answer).len(), 20);
    let answer = come_back(&server, &client, 31);
    assert!(answer.contains(r#""recovered":false"#), "it may have been seen, and is not there");
}

#[test]
fn a_store_that_a_server_has_is_copied_and_read_and_left_alone() {
    let folder = Folder::new();
    let server = folder.serve();
    let mut client = Client::new(&server, "tea");
    let mut peer = say_all(&server, &mut client, 3);
    let backup = folder.0.join("b.db");
    check(&run(&folder, &["backup", text(&backup)]), 0, "3 messages", "");
    check(&run(&folder, &["backup", text(&backup)]), 71, "", "is there already");
    check(&run(&folder, &["store", "check", text(&backup)]), 0, "ok\n", "");
    let name = folder.0.to_str().unwrap();
    for args in [&["restore", text(&backup)][..], &["store", "check"]] {
        check(&run(&folder, args), 71, "", &format!("chinwag: {name} is in use by another"));
    }
    check(&run(&folder, &["import"]), 71, "", "has rooms");
    check(&run(&folder, &["export", "--room", "coffee"]), 71, "", "no room \"coffee\"");
    peer.send_raw(&say("tea", 4));
    assert!(peer.await_text("phx_reply").contains(r#""status":"ok""#), "it goes on");
}

#[test]
fn what_is_wrong_is_said_with_its_exit_code() {
    let folder = Folder::new();
    for args in [&["backup", "/tmp/b.db"][..], &["export"], &["store", "check"]] {
        let mut without = Command::new(env!("CARGO_BIN_EXE_chinwag"));
        let output = without.args(args).args(["--set", "store.path="]).env_clear().output();
        check(&output.unwrap(), 78, "", "set store.path");
        check(&run(&folder, args), 78, "", "there is no such store");
    }
    let nothing = run(&folder, &["import"]);
    check(&nothing, 65, "", "chinwag: line 1: the export is cut off");
    let none = folder.0.join("none.db");
    check(&run(&folder, &["restore", text(&none)]), 78, "", "there is no such store");
    check(&run(&folder, &["backup", "/dev/full/b.db"]), 71, "", "chinwag: ");
    let garbage = folder.0.join("garbage.db");
    fs::write(&garbage, "no database, however long it may be".repeat(1_000)).unwrap();
    let said = |file: &Path| format!("{} is damaged: file is not a database", file.display());
    for args in [&["restore"][..], &["store", "check"]] {
        let output = run(&folder, &[args, &[text(&garbage)]].concat());
        check(&output, 65, "", &said(&garbage));
    }
    let damaged = Folder::new();
    fs::create_dir(&damaged.0).unwrap();
    let file = damaged.0.join("chat.db");
    fs::copy(&garbage, &file).unwrap();
    for args in [&["export"][..], &["store", "check"]] {
        check(&run(&damaged, args), 65, "", &said(&file));
    }
    check(&run(&damaged, &["--listen", "127.0.0.1:0"]), 71, "", &said(&file));
    // Nobody who reads: there is nobody to tell, and it ends.
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = command(&folder, &["export"]).stdout(full).output().unwrap();
    check(&output, 71, "", "No space left");
}

#[test]
fn what_is_let_go_of_is_gone_and_a_cursor_before_it_is_told() {
    let folder = Folder::new();
    let server = folder.serve();
    let mut client = Client::new(&server, "tea");
    say_all(&server, &mut client, 30);
    stop(server);
    let path = format!("store.path={}", folder.0.display());
    let server = Server::start(&[&path, "store.keep_messages=10", "http.metrics=true"]);
    let metrics = || ask(&server, b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").body;
    until("20 are let go of", || {
        metrics().contains("\nchinwag_store_retention_deleted_total 20\n")
    });
    let answer = come_back(&server, &client, 19);
    assert!(answer.contains(r#""recovered":false"#), "{answer}");
    assert!(messages(&answer).keys().copied().eq(21..=30), "{answer}");
    let answer = come_back(&server, &client, 20);
    assert!(answer.contains(r#""recovered":true"#), "{answer}");
    let mut peer = Peer::open(&server, &client.token);
    peer.join("tea", "{}");
    peer.send_raw(&say("tea", 31));
    let answer = peer.await_text("phx_reply");
    assert_eq!(number(&answer, "offset"), 31, "{answer}");
    let lines = String::from_utf8(run(&folder, &["export"]).stdout).unwrap();
    assert!(lines.contains(r#""floor":20,"last":31"#), "{lines}");
}

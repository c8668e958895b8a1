//! A service manager: what it passes to the server, and what it is told.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::peer::{Peer, connect, upgrade};
use crate::server::{PATIENCE, Server, until};

/// A socket that hears what the server says to its manager; gone when it is dropped.
struct Manager {
    path: PathBuf,
    socket: UnixDatagram,
}

impl Manager {
    fn new(name: &str) -> Self {
        let name = format!("chinwag-notify-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { path, socket }
    }

    /// The next thing that is said.
    fn heard(&self) -> String {
        let mut bytes = [0; 4_096];
        let count = self.socket.recv(&mut bytes).expect("something is said");
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    /// Whether nothing more is said for as long as this.
    fn is_silent_for(&self, patience: Duration) -> bool {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let error = self.socket.recv(&mut [0; 4_096]).err();
        error.is_some_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Forgets what was said until now.
    fn forget(&self) {
        self.socket.set_nonblocking(true).unwrap();
        while self.socket.recv(&mut [0; 4_096]).is_ok() {}
        self.socket.set_nonblocking(false).unwrap();
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[test]
fn the_manager_hears_of_the_beginning_of_each_while_and_of_the_end() {
    let manager = Manager::new("life");
    let env = [("NOTIFY_SOCKET", manager.path.as_os_str()), ("WATCHDOG_USEC", "1000000".as_ref())];
    let server = Server::start_in(&["drain_s=0"], &env);
    let ready = manager.heard();
    assert!(ready.starts_with("READY=1\nSTATUS=Chinwag "), "{ready}");
    assert!(ready.contains(&format!("http://localhost:{}", server.address.port())), "{ready}");
    for _ in 0..3 {
        assert_eq!(manager.heard(), "WATCHDOG=1\n");
    }
    server.terminate();
    let mut said = manager.heard();
    while said == "WATCHDOG=1\n" {
        said = manager.heard();
    }
    assert_eq!(said, "STOPPING=1\n");
    let (status, _) = server.wait(PATIENCE);
    assert!(status.success());
}

#[test]
fn the_manager_is_not_told_that_all_is_well_while_a_shard_is_stuck() {
    let manager = Manager::new("stuck");
    let env = [("NOTIFY_SOCKET", manager.path.as_os_str()), ("WATCHDOG_USEC", "1000000".as_ref())];
    let server = Server::start_in(&["shards=2", "echo=true"], &env);
    let mut peer = Peer::new(connect(&server));
    peer.send_raw(upgrade("", "").replace("/socket/websocket", "/echo").as_bytes());
    assert_eq!(peer.answer().status, 101);
    // For longer than anybody waits.
    peer.send(&format!("stall {}", 1_u64 << 62));
    until("it is noticed", || server.log().contains("a shard is stuck"));
    manager.forget();
    // Four times as long as it takes otherwise.
    assert!(manager.is_silent_for(Duration::from_secs(2)));
    server.kill();
}

#[test]
fn a_manager_that_has_gone_changes_nothing() {
    let env = [("NOTIFY_SOCKET", Path::new("/nowhere/notify").as_os_str())];
    let server = Server::start_in(&["drain_s=0"], &env);
    server.terminate();
    let (status, _) = server.wait(PATIENCE);
    assert!(status.success());
}

const ACTIVATE: &str = "/usr/bin/systemd-socket-activate";

/// A server to which these sockets are passed; killed when it is dropped.
struct Passed(Child);

impl Passed {
    /// None where the tool that passes them is not installed.
    fn start(addresses: &[SocketAddr], settings: &[&str]) -> Option<Self> {
        if !Path::new(ACTIVATE).exists() {
            eprintln!("not tried: there is no {ACTIVATE}");
            return None;
        }
        let child = Command::new(ACTIVATE)
            .args(addresses.iter().map(|address| format!("--listen={address}")))
            .arg(env!("CARGO_BIN_EXE_chinwag"))
            .args(["--set", "store.path="])
            .args(settings.iter().flat_map(|setting| ["--set", setting]))
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Some(Self(child.unwrap()))
    }

    /// The first line on standard output. Empty if the process ends without one.
    fn greeting(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An address that nobody listens on.
fn free(ip: [u8; 4]) -> SocketAddr {
    TcpListener::bind(SocketAddr::from((ip, 0))).unwrap().local_addr().unwrap()
}

/// Connects as soon as somebody listens there, which makes the tool begin the server.
fn knock(address: SocketAddr) -> TcpStream {
    let mut stream = None;
    until("somebody listens", || {
        stream = TcpStream::connect(address).ok();
        stream.is_some()
    });
    stream.unwrap()
}

#[track_caller]
fn is_served(stream: TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut peer = Peer::new(stream);
    peer.send_raw(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert_eq!(peer.answer().status, 200);
}

#[test]
fn a_server_accepts_from_the_sockets_that_are_passed_to_it() {
    let addresses = [free([127, 0, 0, 1]), free([127, 0, 0, 2])];
    let Some(mut server) = Passed::start(&addresses, &["shards=3", "drain_s=0"]) else { return };
    let first = knock(addresses[0]);
    let greeting = server.greeting();
    assert!(greeting.contains(&format!("http://localhost:{}", addresses[0].port())), "{greeting}");
    // Who knocked before it ran has waited; all others are let in by whichever shard.
    is_served(first);
    for address in addresses.iter().cycle().take(20) {
        is_served(TcpStream::connect(address).unwrap());
    }
}

#[test]
fn a_passed_socket_that_others_can_reach_is_refused_by_a_server_for_this_machine() {
    let port = free([127, 0, 0, 1]).port();
    let address = SocketAddr::from(([0, 0, 0, 0], port));
    let Some(mut server) = Passed::start(&[address], &[]) else { return };
    let _first = knock(SocketAddr::from(([127, 0, 0, 1], port)));
    assert_eq!(server.greeting(), "");
    let mut said = String::new();
    server.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(
        said.contains("which can be reached by others, and listen is for this machine"),
        "{said}"
    );
    assert_eq!(server.0.wait().unwrap().code(), Some(78));
}

#[test]
fn more_sockets_than_shards_are_refused() {
    let addresses = [free([127, 0, 0, 1]), free([127, 0, 0, 2])];
    let Some(mut server) = Passed::start(&addresses, &["shards=1"]) else { return };
    let _first = knock(addresses[0]);
    assert_eq!(server.greeting(), "");
    assert_eq!(server.0.wait().unwrap().code(), Some(78));
}

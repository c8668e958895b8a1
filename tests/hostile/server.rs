//! A server as a process of its own, and what can be seen of it from outside.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::peer::{self, Peer};

/// How long anything that must happen may take. Far more than it does take, for the machine may be
/// busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running server; killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub address: SocketAddr,
    log: Arc<Mutex<String>>,
    logger: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server on a free port, with these settings: in memory only, unless they say where
    /// it keeps what is said.
    pub(crate) fn start(settings: &[&str]) -> Self {
        Self::start_in(settings, &[])
    }

    /// The same, in this environment.
    pub(crate) fn start_in(settings: &[&str], env: &[(&str, &OsStr)]) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_chinwag")), settings, env)
    }

    /// The same, by a command that ends as the server.
    pub(crate) fn start_by(
        mut command: Command,
        settings: &[&str],
        env: &[(&str, &OsStr)],
    ) -> Self {
        let mut child = command
            .args(["--listen", "127.0.0.1:0", "--set", "store.path="])
            .args(settings.iter().flat_map(|setting| ["--set", setting]))
            .env_clear()
            .envs(env.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.split_once("localhost:").and_then(|(_, rest)| rest.split(' ').next());
        let Some(port) = port.and_then(|port| port.parse::<u16>().ok()) else {
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            panic!("no port in {line:?}: {}: {said}", output.status)
        };
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, sink) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&log));
        let logger = thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut log = sink.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Self { child, address: SocketAddr::from(([127, 0, 0, 1], port)), log, logger: Some(logger) }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A guest's token.
    pub(crate) fn token(&self, name: &str) -> String {
        let body = format!(r#"{{"name":"{name}"}}"#);
        let request = format!(
            "POST /api/session HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = peer::ask(self, request.as_bytes());
        let (_, rest) =
            answer.body.split_once(r#""token":""#).unwrap_or_else(|| panic!("{answer:?}"));
        rest.split('"').next().unwrap().to_owned()
    }

    /// Makes a room on purpose: whose token it is decides in it.
    pub(crate) fn found(&self, token: &str, room: &str) {
        let body = format!(r#"{{"room":"{room}"}}"#);
        let head = "POST /api/rooms HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer";
        let length = body.len();
        let request = format!("{head} {token}\r\ncontent-length: {length}\r\n\r\n{body}");
        let made = peer::ask(self, request.as_bytes());
        assert_eq!(made.status, 201, "{made:?}");
    }

    /// A guest with an open socket.
    pub(crate) fn guest(&self, name: &str) -> Peer {
        Peer::open(self, &self.token(name))
    }

    /// Ends it without a word, as `kill -9` does, and waits until it holds no file any more.
    pub(crate) fn kill(&self) {
        let status =
            Command::new("kill").args(["-KILL", &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
        // One that has ended, and that nobody has waited for, is a zombie: its last thread.
        let at = |name: &str| format!("/proc/{}/{name}", self.pid());
        until("it has ended", || {
            let is_zombie = |stat: String| stat.contains(") Z ");
            let threads = fs::read_dir(at("task")).map_or(0, Iterator::count);
            threads <= 1 && fs::read_to_string(at("stat")).map_or(true, is_zombie)
        });
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        let status =
            Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end, and returns how it was and all that was logged.
    pub(crate) fn wait(mut self, patience: Duration) -> (ExitStatus, String) {
        let since = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(since.elapsed() < patience, "it does not end\n{}", self.log()),
            }
            pause();
        };
        self.logger.take().unwrap().join().unwrap();
        (status, self.log())
    }

    /// What has been logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The memory that it has, in bytes: its own, without the pages of its program, which come in
    /// as they are needed.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024
    }

    /// The processor time that it has used, in hundredths of a second (`USER_HZ`).
    pub(crate) fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // Behind the name, which is in parentheses: utime and stime are the 12th and 13th.
        let (_, rest) = stat.rsplit_once(')').unwrap();
        rest.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    /// How many files it has open.
    pub(crate) fn files(&self) -> u64 {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count() as u64
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < PATIENCE, "in vain: {what}");
        pause();
    }
}

/// Between two looks at something that nobody announces.
pub(crate) fn pause() {
    thread::sleep(Duration::from_millis(10));
}

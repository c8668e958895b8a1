//! The server under test, as a process on a free port.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

const BINARY: &str = env!("CARGO_BIN_EXE_chinwag");
const SECRET: (&str, &str) =
    ("CHINWAG_AUTH__SECRET", "9GkXo0fXcQm1mUqv3T2bJ7yqkq8WcR5hZ4nVtA6sLpE=");

/// Who takes part. None of them may join `room:deny`.
pub(crate) const USERS: [&str; 3] = ["alice", "bob", "v1"];

/// A running server; it is killed when this is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
}

impl Server {
    /// Starts one. `settings` are `KEY=VALUE`.
    pub(crate) fn start(shards: u16, settings: &[String]) -> Self {
        let mut child = Command::new(BINARY)
            .args(["--listen", "127.0.0.1:0", "--set", "store.path="])
            .args(["--shards", &shards.to_string()])
            .args(settings.iter().flat_map(|setting| ["--set", setting]))
            .env_clear()
            .envs([SECRET])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program can be started");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
        let port =
            line.split("localhost:").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        Self { child, port: port.unwrap_or_else(|| panic!("no port in {line:?}")) }
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, where a case stops it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A user's token, made by the program itself.
pub(crate) fn token(user: &str) -> &'static str {
    static TOKENS: OnceLock<Vec<String>> = OnceLock::new();
    let tokens = TOKENS.get_or_init(|| USERS.map(sign).into());
    &tokens[USERS.iter().position(|known| *known == user).expect("a user")]
}

fn sign(user: &str) -> String {
    let output = Command::new(BINARY)
        .args(["token", "--user", user, "--rooms", "*=speak", "--rooms", "deny=none"])
        .env_clear()
        .envs([SECRET])
        .output()
        .expect("the program can be started");
    let token = String::from_utf8(output.stdout).expect("a token is ASCII");
    assert!(!token.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    token.trim_end().to_owned()
}

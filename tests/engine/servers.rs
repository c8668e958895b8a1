//! Real servers, Redis and Valkey: each on a port of its own with a folder of its own, and stopped
//! by whoever has it.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use redis::{Client, Connection};

/// The configuration of a sentinel, which writes into it, too.
const CONFIG: &str = "server.conf";

/// A program that speaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Redis,
    Valkey,
}

/// Both, since they differ in what is said first.
pub(crate) const KINDS: [Kind; 2] = [Kind::Redis, Kind::Valkey];

impl Kind {
    fn program(self) -> PathBuf {
        let named = match self {
            Self::Redis => env::var_os("CHINWAG_REDIS"),
            Self::Valkey => env::var_os("CHINWAG_VALKEY"),
        };
        let name = match self {
            Self::Redis => "redis-server",
            Self::Valkey => "valkey-server",
        };
        named.map_or_else(|| name.into(), PathBuf::from)
    }

    /// What to do if it is not there.
    fn missing(self) -> &'static str {
        match self {
            Self::Redis => "apt-get install redis-server, or name it in CHINWAG_REDIS",
            Self::Valkey => {
                "tests/engine/valkey prints where it is, and fetches it first if it is not there: \
                 name that in CHINWAG_VALKEY"
            }
        }
    }
}

/// A server. It is stopped when it is dropped.
pub(crate) struct Server {
    kind: Kind,
    is_sentinel: bool,
    extra: Vec<String>,
    process: Child,
    folder: PathBuf,
    pub(crate) port: u16,
}

impl Server {
    /// Starts one that keeps nothing on disk.
    pub(crate) fn start(kind: Kind, extra: &[&str]) -> Self {
        Self::start_with(kind, None, extra)
    }

    /// Starts a sentinel, with the lines of its configuration.
    pub(crate) fn sentinel(kind: Kind, config: &str) -> Self {
        Self::start_with(kind, Some(config), &[])
    }

    fn start_with(kind: Kind, config: Option<&str>, extra: &[&str]) -> Self {
        // Somebody else may take a port that was free.
        (0..10).find_map(|_| Self::try_start(kind, config, extra)).expect("a server starts")
    }

    fn try_start(kind: Kind, config: Option<&str>, extra: &[&str]) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("chinwag-engine-{}-{count}", std::process::id());
        let folder = env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a folder");
        if let Some(config) = config {
            fs::write(folder.join(CONFIG), config).expect("it is written");
        }
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let port = port.expect("a port").port();
        let extra: Vec<String> = extra.iter().map(ToString::to_string).collect();
        let (process, is_ready) = launch(kind, config.is_some(), port, &folder, &extra);
        let server = Self { kind, is_sentinel: config.is_some(), extra, process, folder, port };
        is_ready.then_some(server)
    }

    /// Ends it without a word.
    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// It begins again at its port, with what is in its folder.
    pub(crate) fn begin_again(&mut self) {
        let (process, is_ready) =
            launch(self.kind, self.is_sentinel, self.port, &self.folder, &self.extra);
        self.process = process;
        assert!(is_ready, "it begins again");
    }

    /// Nothing is left in its folder.
    pub(crate) fn forget(&self) {
        fs::remove_dir_all(&self.folder).expect("its folder");
        fs::create_dir_all(&self.folder).expect("a folder");
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection for what a test does behind the server's back.
    pub(crate) fn look(&self) -> Connection {
        Client::open(self.url()).and_then(|client| client.get_connection()).expect("a connection")
    }

    /// Sends a signal, named as `kill` does.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status().expect("kill");
        assert!(sent.success(), "kill {name}");
    }
}

/// Starts the program, and says whether it has come as far as to listen.
fn launch(
    kind: Kind,
    is_sentinel: bool,
    port: u16,
    folder: &Path,
    extra: &[String],
) -> (Child, bool) {
    let mut command = Command::new(kind.program());
    let ready = if is_sentinel {
        command.arg(folder.join(CONFIG)).arg("--sentinel");
        "+monitor master"
    } else {
        command.args(["--save", "", "--repl-diskless-sync-delay", "0"]);
        "Ready to accept connections"
    };
    let process = command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"])
        .arg(folder)
        .args(extra)
        .stdout(Stdio::piped())
        .spawn();
    let mut process = process.unwrap_or_else(|error| {
        let _ = fs::remove_dir_all(folder);
        panic!("{kind:?} does not start ({error}): {}", kind.missing());
    });
    let mut said = BufReader::new(process.stdout.take().expect("a pipe")).lines();
    let is_ready = said.by_ref().map_while(Result::ok).any(|line| line.contains(ready));
    // It must not wait for a reader.
    thread::spawn(move || said.map_while(Result::ok).for_each(drop));
    (process, is_ready)
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

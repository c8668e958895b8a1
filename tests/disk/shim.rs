//! The layer between a server and its disk: `shim.c`, compiled once, and what it is told.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::journal;
use crate::server::Server;

/// The compiled layer.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/disk/shim.c");
        let library = folder.join(format!("shim-{}.so", std::process::id()));
        let compiled = Command::new("cc")
            .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .status()
            .expect("there is a C compiler, as for SQLite");
        assert!(compiled.success());
        // Another run may have it loaded: it keeps the file that it has.
        let name = folder.join("shim.so");
        fs::rename(&library, &name).unwrap();
        name
    })
}

/// The layer of a process, by its environment.
fn layer<'a>(watched: &'a Path, rules: &'a Path) -> [(&'a str, &'a OsStr); 3] {
    [
        ("LD_PRELOAD", library().as_os_str()),
        ("SHIM_DIR", watched.as_os_str()),
        ("SHIM_RULES", rules.as_os_str()),
    ]
}

/// A folder for a store, for the journal of its files and for rules; it goes when the test ends.
pub(crate) struct Disk {
    root: PathBuf,
    scratch: PathBuf,
}

impl Disk {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let root = std::env::temp_dir().canonicalize().unwrap();
        let name = format!("chinwag-disk-{process}-{count}");
        let root = root.join(&name);
        fs::create_dir_all(&root).unwrap();
        // Where a sync is free, if there is such a place: hundreds of stores are opened there.
        let memory = Path::new("/dev/shm");
        let scratch = if memory.is_dir() { memory.join(name) } else { root.join("scratch") };
        Self { root, scratch }
    }

    /// The folder that is watched.
    pub(crate) fn watched(&self) -> PathBuf {
        self.root.join("disk")
    }

    /// The store's folder in it.
    pub(crate) fn store(&self) -> PathBuf {
        self.watched().join("store")
    }

    /// A file that is not watched.
    pub(crate) fn elsewhere(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Another folder, which may not be there yet.
    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }

    fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// From now on these rules hold, as `shim.c` explains them; none, if it is empty.
    pub(crate) fn rule(&self, rules: &str) {
        let (name, new) = (self.root.join("rules"), self.root.join("rules.new"));
        fs::write(&new, rules).unwrap();
        fs::rename(new, name).unwrap();
    }

    /// Whether a call waits, because a rule says so.
    pub(crate) fn is_asleep(&self) -> bool {
        self.root.join("rules.asleep").exists()
    }

    /// Starts a server whose disk can fail.
    pub(crate) fn serve(&self, settings: &[&str]) -> Server {
        self.start(settings, &[])
    }

    /// Starts a server whose disk can fail and keeps a journal. A sync costs nothing then.
    pub(crate) fn serve_with_journal(&self, settings: &[&str]) -> Server {
        self.start(settings, &[("SHIM_JOURNAL", self.journal().as_os_str())])
    }

    fn start(&self, settings: &[&str], env: &[(&str, &OsStr)]) -> Server {
        let path = self.path();
        let mut all = vec![&*path, "shards=2", "limits.publish_per_s=0", "limits.join_per_s=0"];
        // Whoever reacts waits for it.
        all.push("chat.react_tick_ms=1");
        all.extend(settings);
        let (watched, rules) = (self.watched(), self.root.join("rules"));
        let mut layer = layer(&watched, &rules).to_vec();
        layer.extend(env);
        Server::start_in(&all, &layer)
    }

    /// The setting that names the store.
    fn path(&self) -> String {
        format!("store.path={}", self.store().display())
    }

    /// Runs a command for the store; with `journal`, it keeps one. No server may do so meanwhile.
    pub(crate) fn run(&self, args: &[&OsStr], journal: bool) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chinwag"));
        command.env_clear().args(args).args(["--set", &self.path()]);
        if journal {
            let (watched, rules) = (self.watched(), self.root.join("rules"));
            command.envs(layer(&watched, &rules)).env("SHIM_JOURNAL", self.journal());
        }
        command.output().unwrap()
    }

    /// Where a client says what it was told: its place in the journal is after that.
    pub(crate) fn notes(&self) -> Notes {
        Notes(OpenOptions::new().append(true).create(true).open(self.journal()).unwrap())
    }

    /// All that was done so far.
    pub(crate) fn read_journal(&self) -> Vec<journal::Record> {
        journal::read(&fs::read(self.journal()).unwrap(), &self.watched())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

/// Whether a server runs no more: what is left of it waits for its parent.
pub(crate) fn has_ended(server: &Server) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z"))
}

/// See [`Disk::notes`].
pub(crate) struct Notes(File);

impl Notes {
    pub(crate) fn put(&self, text: &str) {
        (&self.0).write_all(&journal::note(text)).unwrap();
    }
}

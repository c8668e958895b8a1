//! Stores of each released schema, as they were then: opened by the program of today, and exported.
//!
//! `schema-N.sql` is such a store as a dump, whose beginning says how it was made; `schema-N.jsonl`
//! is what it must be exported as. A schema that was released never changes, and neither do these;
//! of `extra`, which no server has filled before schema 3, nothing is exported.

mod foreign;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rusqlite::Connection;

/// The schema of this program.
const VERSION: i64 = 6;

/// A folder that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("chinwag-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn conn(&self) -> Connection {
        Connection::open(self.0.join("chat.db")).unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chinwag"));
        let path = format!("store.path={}", self.0.display());
        command.args(args).args(["--set", &path, "--set", "listen=127.0.0.1:0"]).env_clear();
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// The same, with so much memory of its own at most.
    fn run_within(&self, memory_bytes: u64, args: &[&str]) -> Output {
        let command = self.command(args);
        let limit = format!("ulimit -d {}; exec \"$0\" \"$@\"", memory_bytes / 1_024);
        let mut shell = Command::new("sh");
        shell.args(["-c", &limit]).arg(command.get_program()).args(command.get_args());
        shell.env_clear().output().unwrap()
    }

    /// Starts a server, which migrates the store, and stops it.
    fn serve(&self) {
        let mut server =
            self.command(&[]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("Chinwag "), "{line}");
        let pid = server.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert_eq!(server.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store");
    fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn a_store_of_each_released_schema_is_opened_and_exported_byte_for_byte() {
    for version in 1..=VERSION {
        let folder = Folder::new(&format!("schema-{version}"));
        folder.conn().execute_batch(&fixture(&format!("schema-{version}.sql"))).unwrap();
        folder.serve();
        let exported = folder.run(&["export"]);
        assert_eq!(exported.status.code(), Some(0));
        let exported = String::from_utf8(exported.stdout).unwrap();
        assert_eq!(exported, fixture(&format!("schema-{version}.jsonl")), "schema {version}");
        assert_eq!(folder.run(&["store", "check"]).status.code(), Some(0));
        let sql = "SELECT value FROM meta WHERE key = 'guest_secret'";
        let secret: [u8; 32] = folder.conn().query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(secret, [7; 32], "guests stay logged in");
        let now: i64 =
            folder.conn().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(now, VERSION);
    }
}

#[test]
fn a_store_of_a_later_version_is_left_alone_by_all_and_both_numbers_are_said() {
    let folder = Folder::new("schema-later");
    folder.conn().execute_batch(&fixture("schema-1.sql")).unwrap();
    folder.conn().pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(folder.0.join("chat.db")).unwrap();
    for args in [&[][..], &["export"], &["store", "check"], &["import"], &["backup", "/tmp"]] {
        let output = folder.run(args);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{args:?}: {error}");
        let numbers = format!("the store has schema 99, and this program knows up to {VERSION}");
        assert!(error.contains(&numbers), "{error}");
    }
    assert_eq!(fs::read(folder.0.join("chat.db")).unwrap(), before);
}

//! Starts servers and runs the tool, as a user would: by its command line.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal};
use serde_json::Value;

mod faulty;

/// The tool under test.
pub(crate) const LOADTEST: &str = env!("CARGO_BIN_EXE_loadtest");

/// A server process that ends with the test.
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) url: String,
}

impl Server {
    /// The faulty server with these faults.
    pub(crate) fn faulty(faults: &[&str]) -> Self {
        Self::start(faulty::command(faults), |line| {
            line.strip_prefix("listening on ").map(str::to_owned)
        })
    }

    /// Any server that says on standard output where it listens.
    pub(crate) fn start(mut command: Command, url: impl Fn(&str) -> Option<String>) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the server starts");
        let stdout = child.stdout.take().expect("it is piped");
        let url = BufReader::new(stdout).lines().map_while(Result::ok).find_map(|line| url(&line));
        Self { child, url: url.expect("the server tells where it listens") }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// Asks it to end, and waits until it has ended in order.
    pub(crate) fn terminate(mut self) {
        let process = Pid::from_child(&self.child);
        rustix::process::kill_process(process, Signal::TERM).expect("it runs");
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already is left alone.
        let _ = self.child.kill();
        self.child.wait().expect("it ends");
    }
}

/// A folder that goes when the test ends.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    /// A new one, of this process and this name.
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("chinwag-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a run came to.
pub(crate) struct Outcome {
    /// The exit code.
    pub(crate) code: i32,
    /// The report.
    pub(crate) report: Value,
    /// The table, and anything else said.
    pub(crate) said: String,
}

impl Outcome {
    /// A count of the report.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.report["counts"][name]
            .as_u64()
            .unwrap_or_else(|| panic!("no count {name} in\n{}", self.said))
    }

    /// A figure of one of the times, in nanoseconds.
    pub(crate) fn time(&self, metric: &str, figure: &str) -> u64 {
        self.report["times"][metric][figure]
            .as_u64()
            .unwrap_or_else(|| panic!("no {metric} in\n{}", self.said))
    }

    /// That nothing went wrong.
    #[track_caller]
    pub(crate) fn is_ok(&self) {
        assert_eq!(
            (self.code, &self.report["problems"]),
            (0, &Value::Array(Vec::new())),
            "{}",
            self.said
        );
    }
}

/// Runs the tool with what it must not run, and gives what it says of that.
#[track_caller]
pub(crate) fn refused(arguments: &[&str]) -> String {
    let output = Command::new(LOADTEST).args(arguments).output().expect("the tool runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}: {said}");
    said
}

/// Runs a scenario against a server, for a short time unless told otherwise.
pub(crate) fn run(server: &Server, scenario: &str, options: &[&str]) -> Outcome {
    let output = Command::new(LOADTEST)
        .args([scenario, "--url", &server.url, "--quiet", "--json", "-"])
        .args(["--warmup", "200ms", "--duration", "1s", "--drain", "3s"])
        .args(options)
        .output()
        .expect("the tool runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("no report: {error}\n{said}"));
    Outcome { code: output.status.code().expect("it ends by itself"), report, said }
}

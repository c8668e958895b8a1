//! A share of `tests/long/cluster`: three servers and a real engine that come to harm, and one row
//! in which something is lost that nobody is told of, which must be found.
//!
//! Needs Python, the server, and Redis or Valkey:
//! `cargo build && cargo test --package loadtest --test cluster -- --ignored`.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Folder, LOADTEST};

/// Puts clusters through rows, each of which must come out as it says.
#[track_caller]
fn check(rows: &str) {
    let server = Path::new(LOADTEST).with_file_name("chinwag");
    assert!(server.exists(), "build the server first: cargo build");
    let out = Folder::new(&format!("cluster-{rows}"));
    let table = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/long/cluster");
    let mut command = Command::new(table);
    command.args(["--only", rows, "--loadtest", LOADTEST]).arg("--server").arg(&server);
    let output = command.arg("--out").arg(&out.0).output().expect("python3 is there");
    let said = String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    for row in rows.split(',') {
        assert!(said.contains(&format!("| `{row}` | ")), "{said}");
    }
}

#[test]
#[ignore = "needs the server, Python and an engine"]
fn an_engine_that_begins_again_has_all_that_was_acknowledged_and_nobody_has_to_come_back() {
    check("engine-restarted");
}

#[test]
#[ignore = "needs the server, Python and an engine"]
fn a_failover_to_a_replica_that_lags_loses_nothing_that_nobody_is_told_of() {
    check("lost-tail");
}

#[test]
#[ignore = "needs the server, Python and an engine"]
fn an_engine_that_goes_back_and_keeps_its_epoch_is_found() {
    check("planted-loss");
}

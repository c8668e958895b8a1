//! The program as a process: what it prints where, and how it ends.

use std::process::{Command, Output};

/// Runs `chinwag` with these arguments and, of the environment, nothing but these variables.
fn run(args: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chinwag"))
        .args(args)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .expect("the program can be started")
}

#[track_caller]
fn check(output: &Output, code: i32, stdout: &str, stderr: &str) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    assert!(out.contains(stdout) && out.is_empty() == stdout.is_empty(), "{out}");
    assert!(err.contains(stderr) && err.is_empty() == stderr.is_empty(), "{err}");
}

#[test]
fn help_and_version_go_to_standard_output() {
    check(&run(&["--help"], &[]), 0, "limits.idle_ms [default: 60_000 ms]", "");
    check(&run(&["--version"], &[]), 0, concat!("chinwag ", env!("CARGO_PKG_VERSION"), "\n"), "");
}

#[test]
fn a_wrong_argument_is_usage_and_a_wrong_value_configuration() {
    check(&run(&["--port", "1"], &[]), 2, "", "unexpected argument '--port'");
    check(
        &run(&["--listen", "0.0.0.0:0"], &[]),
        78,
        "",
        "--listen: listen: 0.0.0.0:0 can be reached by others",
    );
    check(
        &run(&["check"], &[("CHINWAG_SHARD", "1")]),
        78,
        "",
        "CHINWAG_SHARD: no such key; did you mean CHINWAG_SHARDS?",
    );
}

#[test]
fn check_reads_the_file_and_opens_nothing() {
    let directory = std::env::temp_dir().join(format!("chinwag-check-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("chinwag.toml");
    let file = path.to_str().unwrap();
    std::fs::write(&path, "shards = 2\n").unwrap();
    check(&run(&["check", file], &[]), 0, "ok\n", "");
    std::fs::write(&path, "shards = 2\n[limits]\nidle_ms = 0\n").unwrap();
    check(
        &run(&["check", file], &[]),
        78,
        "",
        &format!("  {file}:3: limits.idle_ms = 0: must be 1_000 to 86_400_000 ms\n"),
    );
    std::fs::remove_file(&path).unwrap();
    check(&run(&["check", file], &[]), 78, "", &format!("--config: cannot read {file}: No such file"));
    std::fs::remove_dir(&directory).unwrap();
}

#[test]
fn a_token_is_one_line_and_needs_a_secret() {
    let secret = [("CHINWAG_AUTH__SECRET", "a secret of at least 32 bytes ...")];
    let output = run(&["token", "--user", "u1", "--rooms", "team-*=speak"], &secret);
    check(&output, 0, ".", "");
    let token = String::from_utf8(output.stdout).unwrap();
    assert_eq!((token.lines().count(), token.matches('.').count()), (1, 2), "{token}");
    check(&run(&["token", "--user", "u1"], &[]), 78, "", "there must be a secret");
    check(&run(&["token", "--user", ""], &secret), 2, "", "--user and --name must be");
}

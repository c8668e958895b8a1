//! A token that is given to the tool is in nothing that it says or writes.

mod common;

use std::process::Command;

use common::{LOADTEST, Server, refused, run};

const SECRET: &str = "SECRETTOKEN";

#[track_caller]
fn is_silent(said: &str) {
    assert!(!said.contains(SECRET), "{said}");
}

#[test]
fn tls_is_refused_at_the_command_line_with_what_is_allowed() {
    let url = format!("wss://127.0.0.1:4000/socket/websocket?vsn=2.0.0&token={SECRET}");
    for command in [&["ping"][..], &["capacity"], &["flood", "ping"], &["ping", "--with-floor"]] {
        let said = refused(&[command, &["--duration", "1s", "--url", &url]].concat());
        assert_eq!(
            said,
            "loadtest: --url: `wss://127.0.0.1:4000/socket/websocket` asks for TLS, which the \
             generator does not speak; allowed is ws://HOST:PORT/PATH\n"
        );
    }
}

#[test]
fn a_url_that_is_no_option_is_repeated_without_its_query() {
    let url = format!("ws://127.0.0.1:4000/socket?token={SECRET}");
    for wrong in [url.clone(), format!("--members={url}"), format!("--size={url}")] {
        let said = refused(&["fanout", &wrong]);
        is_silent(&said);
        assert!(said.contains("ws://127.0.0.1:4000/socket"), "{said}");
    }
}

#[test]
fn a_file_of_options_that_cannot_be_read_is_named_by_its_line_alone() {
    let path = std::env::temp_dir().join(format!("loadtest-secret-{}.toml", std::process::id()));
    std::fs::write(&path, format!("rate = 5\ntoken = \"{SECRET}\nquiet = true\n")).unwrap();
    let said = refused(&["ping", "--config", path.to_str().unwrap()]);
    std::fs::remove_file(&path).unwrap();
    is_silent(&said);
    assert!(said.contains(", line 2: "), "{said}");
}

#[test]
fn a_run_says_and_writes_no_token() {
    let server = Server::faulty(&[]);
    let page = std::env::temp_dir().join(format!("loadtest-secret-{}.html", std::process::id()));
    let url = format!("{}?vsn=2.0.0&token={SECRET}", server.url);
    let join = format!(r#"{{"a":[{{"user_token":"{SECRET}"}}],"limit":5}}"#);
    let secrets = ["--url", &url, "--token", SECRET, "--secret", SECRET, "--join-payload", &join];
    let options = ["--members", "3", "--rate", "20", "--html", page.to_str().unwrap()];
    for workers in ["--threads", "--processes"] {
        let outcome = run(&server, "fanout", &[&secrets[..], &options, &[workers, "2"]].concat());
        outcome.is_ok();
        is_silent(&outcome.said);
        is_silent(&outcome.report.to_string());
        is_silent(&std::fs::read_to_string(&page).unwrap());
        let told = &outcome.report["options"];
        assert_eq!(told["urls"][0], server.url.as_str());
        assert_eq!(told["join_payload"], r#"{"a":[{"user_token":"(not told)"}],"limit":5}"#);
    }
    std::fs::remove_file(page).unwrap();
}

#[test]
fn a_server_that_is_gone_is_told_of_without_a_token() {
    let gone = Server::faulty(&[]);
    // No path: the query is right behind the host, which errors name.
    let host = gone.url.trim_end_matches("/socket/websocket");
    let url = format!("{host}?token={SECRET}");
    drop(gone);
    for command in [&["fanout", "--members", "3", "--warmup", "0s"][..], &["flood", "ping"]] {
        let output = Command::new(LOADTEST)
            .args(command)
            .args(["--url", &url, "--duration", "200ms", "--auth", "token", "--token", SECRET])
            .output()
            .unwrap();
        assert!(!output.status.success());
        is_silent(&String::from_utf8_lossy(&output.stderr));
        is_silent(&String::from_utf8_lossy(&output.stdout));
    }
}

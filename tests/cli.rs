//! The program as a process: what it prints where, and how it ends.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// As `openssl rand -base64 48` writes one.
const SECRET: &str = "aEQYTpD+4wEPCQEcH206uMvn2CwlK1Y9EWjSjA7hz6AdyfTIG1cl/SN1bYkQPh7L";

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
fn a_variable_of_somebody_else_is_told_and_stops_nothing() {
    let own = [("CHINWAG_BIN", "hunter2")];
    let told = "CHINWAG_BIN: no such key; chinwag --help lists them";
    check(&run(&["check"], &own), 78, "", told);
    let secret = ("CHINWAG_AUTH__SECRET", SECRET);
    check(&run(&["token", "--user", "u1"], &[own[0], secret]), 0, ".", told);
    let mut command = Command::new(env!("CARGO_BIN_EXE_chinwag"));
    command.args(["--listen", "127.0.0.1:0", "--set", "store.path="]).env_clear().envs(own);
    let mut server = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("Chinwag "), "{line}");
    line.clear();
    BufReader::new(server.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let expected = format!("msg=configuration problem=\"{told}\"\n");
    assert!(line.contains(" level=warn ") && line.ends_with(&expected), "{line}");
    assert!(!line.contains("hunter2"), "{line}");
    stops_well(server);
}

#[test]
fn what_kubernetes_makes_for_services_beside_it_is_left_alone() {
    let variables = [
        ("CHINWAG_WEB_SERVICE_HOST", "10.0.0.1"),
        ("CHINWAG_WEB_SERVICE_PORT", "4000"),
        ("CHINWAG_WEB_PORT", "tcp://10.0.0.1:4000"),
        ("CHINWAG_WEB_PORT_4000_TCP", "tcp://10.0.0.1:4000"),
        ("CHINWAG_WEB_PORT_4000_TCP_PROTO", "tcp"),
    ];
    check(&run(&["check"], &variables), 0, "ok\n", "");
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
    let words = directory.join("words.txt");
    let words = words.to_str().unwrap();
    std::fs::write(&path, format!("chat.blocked_file = {words:?}\n")).unwrap();
    std::fs::write(words, "# animals\ncat\n").unwrap();
    check(&run(&["check", file], &[]), 0, "ok\n", "");
    std::fs::write(words, "cat\nd\u{0}g\n").unwrap();
    check(
        &run(&["check", file], &[]),
        78,
        "",
        &format!("  {file}:1: chat.blocked_file: {words}:2: has a control character\n"),
    );
    std::fs::write(words, b"cat\n\xff\n").unwrap();
    let told = format!("  {file}:1: chat.blocked_file: {words}: is no text in UTF-8\n");
    check(&run(&["check", file], &[]), 78, "", &told);
    std::fs::remove_file(words).unwrap();
    std::fs::remove_file(&path).unwrap();
    check(
        &run(&["check", file], &[]),
        78,
        "",
        &format!("--config: cannot read {file}: No such file"),
    );
    std::fs::remove_dir(&directory).unwrap();
}

#[test]
fn check_fails_where_the_machine_would_not_let_the_server_start() {
    let output = run(&["check", "--set", "limits.connections=10_000_000"], &[]);
    check(&output, 71, "", "chinwag: limits.connections is 10000000, and only ");
}

#[test]
fn a_token_is_one_line_and_needs_a_secret() {
    let secret = [("CHINWAG_AUTH__SECRET", SECRET)];
    let output = run(&["token", "--user", "u1", "--rooms", "team-*=speak"], &secret);
    check(&output, 0, ".", "");
    let token = String::from_utf8(output.stdout).unwrap();
    assert_eq!((token.lines().count(), token.matches('.').count()), (1, 2), "{token}");
    check(&run(&["token", "--user", "u1"], &[]), 78, "", "there must be a secret");
    check(&run(&["token", "--user", ""], &secret), 2, "", "--user and --name must be");
}

/// Somewhere that takes nothing: each write fails, as on a full disk, or into a pipe whose reader
/// has gone.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("Linux has one").into()
}

/// A server on a free port, with these outputs.
fn serve(stdout: Stdio, stderr: Stdio) -> Child {
    serve_with(&[], stdout, stderr)
}

/// The same, with further arguments.
fn serve_with(args: &[&str], stdout: Stdio, stderr: Stdio) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chinwag"));
    command.args(["--listen", "127.0.0.1:0", "--set", "store.path="]).args(args).env_clear();
    command.stdout(stdout).stderr(stderr).spawn().expect("the program can be started")
}

/// Where a server says that it is, by the first line on its standard output.
fn address_of(server: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let (_, address) = line.split_once("http://").expect("it says where it is");
    address.split(' ').next().unwrap_or_default().replace("localhost", "127.0.0.1")
}

/// Asks it to stop: it must do so as if its outputs were whole.
#[track_caller]
fn stops_well(mut server: Child) {
    let killed = Command::new("kill").args(["-TERM", &server.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(server.wait().unwrap().code(), Some(0));
}

#[test]
fn a_log_that_cannot_be_written_is_lost_and_nothing_else() {
    let mut server = serve(Stdio::piped(), full());
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("Chinwag "), "{line}");
    stops_well(server);
    let mut bad = Command::new(env!("CARGO_BIN_EXE_chinwag"));
    bad.args(["--listen", "203.0.113.1:4000", "--set", &format!("auth.secret={SECRET}")]);
    assert_eq!(bad.env_clear().stderr(full()).status().unwrap().code(), Some(71));
}

#[test]
fn rooms_are_kept_beside_where_it_is_started_and_a_folder_that_cannot_be_made_is_named() {
    use std::os::unix::fs::PermissionsExt;

    let folder = std::env::temp_dir().join(format!("chinwag-here-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chinwag"));
        command.args(["--listen", "127.0.0.1:0"]).env_clear().current_dir(&folder);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut server = start();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let kept = folder.join("chinwag-data");
    assert!(line.contains(&format!("rooms are kept in {}", kept.display())), "{line}");
    let mode = kept.metadata().unwrap().permissions().mode();
    assert_eq!((mode & 0o777, kept.join("chat.db").exists()), (0o700, true));
    stops_well(server);
    std::fs::remove_dir_all(&kept).unwrap();
    // A file is where the folder would be.
    std::fs::write(&kept, "").unwrap();
    let output = start().wait_with_output().unwrap();
    let said = "store.path = \"chinwag-data\": ";
    check(&output, 71, "", said);
    check(&output, 71, "", "\"\" keeps nothing on disk");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_log_that_nobody_reads_holds_nobody_up() {
    // The pipe is there, and full after some hundred lines.
    let mut server = serve_with(&["--set", "log.level=debug"], Stdio::piped(), Stdio::piped());
    let address = address_of(&mut server);
    let ask = |stream: &mut TcpStream, path: &str| {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 1_024];
        let count = stream.read(&mut answer).expect("it is answered");
        String::from_utf8_lossy(&answer[..count]).into_owned()
    };
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    for _ in 0..3_000 {
        let refused = ask(&mut stream, "/socket/websocket?vsn=2.0.0&token=a.b.c");
        assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    }
    assert!(ask(&mut stream, "/healthz").starts_with("HTTP/1.1 200 "));
    drop(stream);
    // It does not wait for the reader for ever.
    stops_well(server);
}

#[test]
fn a_greeting_that_nobody_takes_does_not_end_the_server() {
    let mut server = serve(full(), Stdio::piped());
    let mut log = BufReader::new(server.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    assert!(line.contains("memory is bounded"), "{line}");
    stops_well(server);
    log.read_to_string(&mut line).unwrap();
    assert!(!line.contains("level=error"), "{line}");
}

#[test]
fn health_asks_the_server_where_it_listens() {
    for setting in ["listen_proxy_protocol=false", "listen_proxy_protocol=true"] {
        let mut server = serve_with(&["--set", setting], Stdio::piped(), Stdio::null());
        let address = address_of(&mut server);
        let ask = || run(&["health", "--listen", &address, "--set", setting], &[]);
        check(&ask(), 0, "ready\n", "");
        stops_well(server);
        check(&ask(), 1, "", &format!("chinwag: nobody answers at {address}: "));
    }
}

#[test]
fn health_is_not_deceived_by_something_else() {
    for (answer, said) in [
        ("HTTP/1.1 503 Service Unavailable\r\n\r\nstorage\n", "chinwag: not ready: 503 storage\n"),
        ("220 mail.example ESMTP\r\n", "is no server of ours\n"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let other = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1_024];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        check(&run(&["health", "--listen", &address], &[]), 1, "", said);
        other.join().unwrap();
    }
}

#[test]
fn the_manual_is_a_page_for_each_command() {
    let folder = std::env::temp_dir().join(format!("chinwag-man-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    check(&run(&["man", folder.to_str().unwrap()], &[]), 0, "", "");
    let page = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    assert!(page("chinwag.1").contains("limits.idle_ms"), "every key stands there");
    for command in ["check", "health", "token", "backup", "restore", "export", "import", "store"] {
        assert!(page(&format!("chinwag-{command}.1")).contains(".TH chinwag-"), "{command}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
    check(&run(&["man", folder.to_str().unwrap()], &[]), 71, "", "No such file");
}

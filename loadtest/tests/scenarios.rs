//! Every scenario, small, against a correct server: each passes, and counts what it should.

mod common;

use std::process::{Command, Stdio};

use common::{LOADTEST, Server, refused, run};

#[test]
fn rooms_deliver_to_their_own_members_alone() {
    let outcome =
        run(&Server::faulty(&[]), "rooms", &["--rooms", "5", "--members", "8", "--rate", "100"]);
    outcome.is_ok();
    assert_eq!((outcome.count("sent"), outcome.count("delivered")), (120, 120 * 8));
}

#[test]
fn threads_and_processes_come_to_the_same() {
    let server = Server::faulty(&[]);
    for split in [["--threads", "2"], ["--processes", "2"]] {
        let outcome = run(
            &server,
            "rooms",
            &[&["--rooms", "5", "--members", "8", "--rate", "100"], &split[..]].concat(),
        );
        outcome.is_ok();
        assert_eq!(
            (outcome.count("sent"), outcome.count("delivered")),
            (120, 120 * 8),
            "{split:?}"
        );
        assert_eq!(outcome.report["workers"], 2);
    }
}

#[test]
fn members_of_each_room_are_at_all_urls_and_what_each_process_takes_is_told() {
    let (one, other) = (Server::faulty(&[]), Server::faulty(&[]));
    let rooms = ["--rooms", "3", "--members", "4", "--rate", "100"];
    let pids = ["--server-pid", &one.pid(), "--server-pid", &other.pid()];
    let twice = run(&one, "rooms", &[&rooms[..], &["--url", &one.url], &pids].concat());
    twice.is_ok();
    assert_eq!(twice.report["servers"].as_array().unwrap().len(), 2);
    assert!(twice.said.contains("of these server 2"), "{}", twice.said);
    // Each tells half of the members, two of each room, what it is told itself: of twelve that the
    // messages of three rooms are to reach in all.
    let apart = run(&one, "rooms", &[&rooms[..], &["--url", &other.url]].concat());
    assert_eq!(
        (apart.code, apart.count("sent"), apart.count("delivered"), apart.count("lost")),
        (1, 120, 120 * 2, 120 * 2),
        "{}",
        apart.said
    );
}

#[test]
fn bursts_and_random_arrivals_deliver_all() {
    let server = Server::faulty(&[]);
    let burst = run(&server, "fanout", &["--members", "20", "--rate", "64", "--burst", "16"]);
    burst.is_ok();
    assert_eq!(burst.count("delivered"), burst.count("sent") * 20);
    let random =
        run(&server, "fanout", &["--members", "20", "--rate", "64", "--arrivals", "poisson"]);
    random.is_ok();
    assert_eq!(random.count("delivered"), random.count("sent") * 20);
}

#[test]
fn pings_are_answered_at_a_rate_and_one_after_the_other() {
    let server = Server::faulty(&[]);
    let paced = run(&server, "ping", &["--connections", "4", "--rate", "100"]);
    paced.is_ok();
    assert_eq!(paced.count("answered"), 120);
    let one_by_one = run(&server, "ping", &["--push", "echo"]);
    one_by_one.is_ok();
    assert!(one_by_one.time("round_trip", "count") > 0);
}

#[test]
fn idle_connections_are_held_and_the_servers_memory_is_told_by_step() {
    let server = Server::faulty(&[]);
    let options = ["--connections", "60", "--steps", "3", "--settle", "50ms", "--per-room", "10"];
    let outcome = run(&server, "idle", &[&options[..], &["--server-pid", &server.pid()]].concat());
    outcome.is_ok();
    assert_eq!((outcome.count("connected"), outcome.count("joined")), (60, 60));
    let steps: Vec<u64> = outcome.report["server"]["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step[0].as_u64().unwrap())
        .collect();
    assert_eq!(steps, [20, 40, 60]);
    assert!(outcome.report["server"]["bytes_per_conn"].as_f64().unwrap() > 0.0);
}

#[test]
fn every_short_life_is_seen_by_those_who_stay() {
    let outcome =
        run(&Server::faulty(&[]), "churn", &["--rate", "40", "--rooms", "3", "--observers", "2"]);
    outcome.is_ok();
    // Two observers and the one who wrote.
    assert_eq!(
        (outcome.count("sent"), outcome.count("delivered"), outcome.count("left")),
        (48, 48 * 3, 48)
    );
}

#[test]
fn after_a_storm_all_are_back() {
    let outcome = run(&Server::faulty(&[]), "storm", &["--connections", "80", "--duration", "20s"]);
    outcome.is_ok();
    assert_eq!((outcome.count("reconnected"), outcome.time("ready", "count")), (80, 80));
}

#[test]
fn who_slept_gets_everything_or_is_told() {
    let outcome = run(
        &Server::faulty(&[]),
        "slow",
        &[
            "--members",
            "10",
            "--sleepers",
            "2",
            "--rate",
            "50",
            "--size",
            "1000",
            "--publishers",
            "3",
        ],
    );
    outcome.is_ok();
    assert_eq!(outcome.count("delivered"), outcome.count("sent") * 10);
    assert!(
        outcome.time("overdue", "max_ns") > outcome.time("delivery", "p50_ns"),
        "the sleepers are timed apart"
    );
}

#[test]
fn people_chat_break_and_come_back() {
    let people =
        ["--users", "40", "--rooms", "6", "--write-every", "500ms", "--history-every", "1s"];
    let breaks = ["--break-every", "1s", "--away", "100ms", "--duration", "2s"];
    for (faults, threads) in [(&[][..], "1"), (&[], "2"), (&["--unnumbered"], "1")] {
        let server = Server::faulty(faults);
        let outcome =
            run(&server, "chat", &[&people[..], &breaks, &["--threads", threads]].concat());
        outcome.is_ok();
        assert!(outcome.count("reconnected") > 0 && outcome.count("sent") > 0, "{}", outcome.said);
        assert!(outcome.time("history", "count") > 0);
    }
}

#[test]
fn presence_that_a_server_does_not_have_is_missed() {
    let options = ["--members", "10", "--within", "200ms", "--observers", "2"];
    let outcome = run(&Server::faulty(&[]), "presence", &options);
    assert_eq!((outcome.code, outcome.count("presence_wrong")), (1, 4), "{}", outcome.said);
}

#[test]
fn a_server_that_is_not_there_gives_no_result_but_a_failed_one() {
    // Nobody listens on the port of a server that is gone.
    let gone = Server::faulty(&[]);
    let url = gone.url.clone();
    drop(gone);
    let output = Command::new(LOADTEST)
        .args([
            "fanout",
            "--url",
            &url,
            "--members",
            "3",
            "--duration",
            "200ms",
            "--warmup",
            "0s",
            "-q",
            "--json",
            "-",
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("FAILED connect_failed: 3"));
}

#[test]
fn a_server_elsewhere_is_not_loaded_without_being_asked_twice() {
    let output =
        Command::new(LOADTEST).args(["fanout", "--url", "ws://192.0.2.1:80/"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--remote"));
}

#[test]
fn the_floor_is_measured_and_held_against_a_run() {
    let directory = std::env::temp_dir().join(format!("loadtest-floor-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let floor = Command::new(LOADTEST)
        .args([
            "floor",
            "--sockets",
            "20",
            "--duration",
            "100ms",
            "--runs",
            "3",
            "--batch",
            "1,4",
            "--json",
        ])
        .arg(path("floor.json"))
        .output()
        .unwrap();
    assert!(floor.status.success(), "{}", String::from_utf8_lossy(&floor.stderr));
    let server = Server::faulty(&[]);
    let options = [
        "--members",
        "20",
        "--rate",
        "100",
        "--server-pid",
        &server.pid(),
        "--floor",
        &path("floor.json"),
    ];
    let outcome = run(
        &server,
        "fanout",
        &[&options[..], &["--html", &path("run.html"), "--label", "</script>"]].concat(),
    );
    outcome.is_ok();
    assert!(outcome.report["floor"]["ratio"].as_f64().unwrap() > 0.0);
    std::fs::write(path("run.json"), outcome.report.to_string()).unwrap();
    let compared = Command::new(LOADTEST)
        .args(["report", &path("run.json"), &path("run.json"), "--html", &path("both.html")])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&compared.stdout).contains("| fanout | </script> | 2 |"));
    for page in ["run.html", "both.html"] {
        let page = std::fs::read_to_string(path(page)).unwrap();
        assert_eq!(page.matches("</script>").count(), 2, "no label may end the page's script");
    }
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_floor_is_measured_before_and_after_the_run_that_asks_for_it() {
    let server = Server::faulty(&[]);
    let options =
        ["--members", "20", "--rate", "100", "--server-pid", &server.pid(), "--with-floor"];
    let outcome = run(&server, "fanout", &options);
    outcome.is_ok();
    let floor = &outcome.report["floor"];
    assert!(floor["ratio"].as_f64().unwrap() > 0.0);
    let method = floor["method"].as_str().unwrap();
    assert!(method.contains("20 sockets, 100 rounds/s to 20 each"), "{method}");
    assert!(method.ends_with("median of 8"), "{method}");
}

#[test]
fn the_floor_of_several_threads_is_measured_too() {
    let output = Command::new(LOADTEST)
        .args([
            "floor",
            "--sockets",
            "21",
            "--group",
            "7",
            "--duration",
            "100ms",
            "--runs",
            "2",
            "--batch",
            "1",
        ])
        .args(["--threads", "2"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("bare process of 2 threads"), "{told}");
}

#[test]
fn a_file_gives_the_options() {
    let path = std::env::temp_dir().join(format!("loadtest-{}.toml", std::process::id()));
    std::fs::write(&path, "rate = 50\n[fanout]\nmembers = 7\n").unwrap();
    let outcome = run(&Server::faulty(&[]), "fanout", &["--config", path.to_str().unwrap()]);
    std::fs::remove_file(path).unwrap();
    outcome.is_ok();
    assert_eq!((outcome.count("sent"), outcome.count("delivered")), (60, 60 * 7));
}

#[test]
fn what_cannot_be_run_is_refused_with_what_is_allowed() {
    let file = std::env::temp_dir().join(format!("loadtest-misspelt-{}.toml", std::process::id()));
    std::fs::write(&file, "[fanuot]\nmembers = 5\n").unwrap();
    let nowhere = std::env::temp_dir().join("loadtest-no-such-directory").join("run.json");
    for (arguments, said) in [
        (&["idle", "--duration", "0s"][..], "--duration must be above 0"),
        (&["fanout", "--ramp", "0"], "--ramp must be above 0"),
        (&["fanout", "--burst", "0"], "--burst must be above 0"),
        (&["fanout", "--rate", "1e12"], "at most 10000000"),
        (&["ping", "--rate=-1"], "--rate must be above 0"),
        (
            &["rooms", "--rooms", "100000", "--members", "100000"],
            "more than 10,000,000 connections",
        ),
        (&["churn", "--abrupt", "7"], "--abrupt must be from 0 to 1"),
        (&["capacity", "--factor", "1"], "--factor must be above 1"),
        (&["capacity", "--from", "50", "--to", "15"], "--from must not be above --to"),
        (&["capacity", "--with-floor"], "capacity has no floor"),
        (
            &["presence", "--members", "3", "--observers", "3"],
            "--observers must be below --members",
        ),
        (
            &["presence", "--within", "5s", "--duration", "10s"],
            "--duration must be more than twice --within",
        ),
        (&["chat", "--rooms", "1", "--threads", "2", "--auth", "none"], "--rooms is 1"),
        (&["failover", "--threads", "2", "--auth", "none"], "failover has one worker"),
        (&["failover", "--publishers", "7"], "--publishers must not be above --members"),
        (
            &[
                "failover",
                "--members",
                "2",
                "--url",
                "ws://[::1]:1/",
                "--url",
                "ws://[::1]:2/",
                "--url",
                "ws://[::1]:3/",
            ],
            "--members must be as many as there are --url",
        ),
        (&["failover", "--not-to-sender"], "--not-to-sender is for servers without"),
        (&["failover", "--changes", "1"], "--changes must be from 0 to below 1"),
        (&["failover", "--banned", "5", "--secret", "x"], "--banned must leave those who write"),
        (&["failover", "--banned", "1"], "--banned needs --secret"),
        (&["failover", "--fault", "kill -9 1"], "is not AT_MS: COMMAND"),
        (&["failover", "--fault", "12000: true"], "12000 ms is not before the end"),
        (&["fanout", "--limit", "p95=20ms"], "there is no figure `p95`"),
        (&["flood", "ping", "--json", "-"], "there is no --json"),
        (
            &["flood", "ping", "--url", "ws://127.0.0.1:1/", "--url", "ws://127.0.0.1:2/"],
            "--url may be given once",
        ),
        (&["flood", "ping", "--rate", "inf"], "at most 10000000"),
        (&["fanout", "--config", file.to_str().unwrap()], "[fanuot]: there is no such scenario"),
        (&["fanout", "--json", nowhere.to_str().unwrap()], "there is no directory"),
    ] {
        let refusal = refused(arguments);
        assert!(refusal.contains(said), "{arguments:?}: {refusal}");
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn a_limit_on_what_the_run_does_not_have_is_not_kept() {
    let server = Server::faulty(&[]);
    let limits = ["--limit", "cpu=1s", "--limit", "floor=100", "--limit", "p99.9=1m"];
    let options =
        ["--connections", "10", "--steps", "1", "--settle", "10ms", "--server-pid", &server.pid()];
    let outcome = run(&server, "idle", &[&options[..], &limits].concat());
    let problems = outcome.report["problems"].as_array().unwrap();
    assert_eq!((outcome.code, problems.len()), (1, 2), "{}", outcome.said);
    assert!(
        outcome.said.contains("limit floor=100: this run has no such figure"),
        "{}",
        outcome.said
    );
}

#[test]
fn the_highest_rate_is_the_only_thing_on_standard_output() {
    let options = ["--members", "5", "--from", "20", "--to", "20"];
    let outcome = run(&Server::faulty(&[]), "capacity", &options);
    outcome.is_ok();
    assert_eq!(outcome.report["figures"][0]["value"], 20.0);
}

#[test]
fn capacity_keeps_limits_below_a_millisecond_and_those_of_any_run() {
    let server = Server::faulty(&["--delay-ms", "1"]);
    for limit in [["--p99", "900us"], ["--limit", "p50=900us"]] {
        let options =
            ["capacity", "--url", &server.url, "--members", "5", "--from", "20", "--to", "20"];
        let short = ["--duration", "500ms", "--warmup", "0s", "--json", "-"];
        let said = refused(&[&options[..], &short, &limit].concat());
        assert!(said.contains("not even the first rate") && said.contains("=900"), "{said}");
    }
}

#[test]
fn a_restart_that_never_comes_fails_the_storm() {
    let server = Server::faulty(&[]);
    let outcome = run(&server, "storm", &["--connections", "20", "--on-close"]);
    assert_eq!((outcome.code, outcome.count("not_closed")), (1, 20), "{}", outcome.said);
}

#[test]
fn lives_that_never_begin_are_counted() {
    // The first is never answered, and there is one slot.
    let server = Server::faulty(&["--mute", "1"]);
    let outcome = run(&server, "churn", &["--rate", "10", "--slots", "1", "--drain", "0s"]);
    assert_eq!(
        (
            outcome.code,
            outcome.count("sent"),
            outcome.count("unanswered"),
            outcome.count("not_sent")
        ),
        (1, 1, 1, 11),
        "{}",
        outcome.said
    );
}

#[test]
fn people_who_do_not_come_back_are_missed() {
    let server = Server::faulty(&["--accept", "10"]);
    let people = [
        "--users",
        "10",
        "--rooms",
        "2",
        "--break-every",
        "300ms",
        "--away",
        "10ms",
        "--history-every",
        "0s",
    ];
    let outcome = run(&server, "chat", &[&people[..], &["--auth", "none"]].concat());
    assert!(outcome.count("reconnected") > 0, "{}", outcome.said);
    assert_eq!(
        (outcome.code, outcome.count("connect_failed")),
        (1, outcome.count("reconnected")),
        "{}",
        outcome.said
    );
}

#[test]
fn a_floor_of_more_sockets_than_descriptors_is_refused() {
    let limited =
        format!("ulimit -n 64 && exec {LOADTEST} floor --sockets 100 --duration 100ms --runs 1");
    let output = Command::new("sh").args(["-c", &limited]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("of 100 of the floor"), "{said}");
}

#[test]
fn a_process_that_is_gone_or_is_not_the_server_gives_no_figures() {
    let server = Server::faulty(&[]);
    for (seconds, warning) in [("0.5", "ended during the run"), ("60", "is it the server?")] {
        let mut other = Command::new("sleep").arg(seconds).spawn().unwrap();
        let pid = other.id().to_string();
        let outcome =
            run(&server, "fanout", &["--members", "5", "--rate", "20", "--server-pid", &pid]);
        let _may_have_ended = other.kill();
        other.wait().unwrap();
        outcome.is_ok();
        assert!(outcome.said.contains(warning), "{}", outcome.said);
    }
}

#[test]
fn what_a_client_cannot_send_in_time_is_not_sent() {
    let outcome =
        run(&Server::faulty(&[]), "rooms", &["--rooms", "2", "--members", "2", "--rate", "10e6"]);
    assert_eq!(outcome.code, 1, "{}", outcome.said);
    assert!(outcome.said.contains("FAILED not_sent: "), "{}", outcome.said);
    assert_eq!(outcome.count("sent") + outcome.count("not_sent"), 12_000_000, "{}", outcome.said);
}

#[test]
fn a_result_is_written_though_nobody_reads_the_table() {
    let server = Server::faulty(&[]);
    let path = std::env::temp_dir().join(format!("loadtest-unread-{}.json", std::process::id()));
    let mut child = Command::new(LOADTEST)
        .args([
            "ping",
            "--url",
            &server.url,
            "--duration",
            "100ms",
            "--warmup",
            "0s",
            "-q",
            "--json",
        ])
        .arg(&path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(std::fs::read_to_string(&path).unwrap().contains("\"round_trip\""));
    std::fs::remove_file(path).unwrap();
}

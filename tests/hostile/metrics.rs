//! What happened can be seen afterwards.

use std::collections::HashSet;

use crate::peer::{CLOSE, Peer, TEXT, ask, connect, frame, join, publish, text};
use crate::server::{Server, until};

/// The value of a series.
pub(crate) fn value(server: &Server, series: &str) -> u64 {
    value_on(&mut Peer::new(connect(server)), series)
}

/// The same, asked on a connection that is there already.
pub(crate) fn value_on(peer: &mut Peer, series: &str) -> u64 {
    peer.send_raw(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = peer.answer();
    assert_eq!(answer.status, 200);
    read(&answer.body, series)
}

/// The value of a series among all of them.
pub(crate) fn read(metrics: &str, series: &str) -> u64 {
    let line = metrics
        .lines()
        .find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
    line.unwrap_or_else(|| panic!("no {series} in {metrics}"))
        .rsplit(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn each_limit_that_was_reached_is_counted() {
    let server = Server::start(&[
        "shards=2",
        "http.metrics=true",
        "limits.publish_burst=1",
        "limits.publish_per_s=1",
        "limits.join_burst=3",
        "limits.join_per_s=1",
        "limits.channels_per_conn=2",
        "limits.fragments=2",
        "limits.body_bytes=10",
        "limits.idle_ms=3000",
        "limits.handshake_ms=2000",
    ]);
    let token = server.token("Ann");
    let mut peer = Peer::open(&server, &token);
    let messages = [
        join("a", "{}"),
        publish("a", 2, "x"),
        publish("a", 3, "x"),
        join("b", "{}"),
        join("c", "{}"),
        join("a", "{}"),
        join("a", "{}"),
    ];
    peer.send_raw(&messages.concat());
    for _ in &messages {
        peer.await_text("phx_reply");
    }
    // Of somebody else: rates belong to the user.
    let mut other = Peer::open(&server, &server.token("Bob"));
    other.send_raw(&[join("a", "{}"), publish("a", 4, "longer than ten")].concat());
    other.await_text("too_large");
    for bytes in [
        frame(CLOSE, true, b"\x03"),
        text("no"),
        frame(TEXT, true, &vec![b' '; 70_000]),
        [frame(TEXT, false, b""), frame(0, false, b""), frame(0, false, b"")].concat(),
    ] {
        let mut peer = Peer::open(&server, &token);
        peer.send_raw(&bytes);
        peer.closed();
    }
    ask(&server, b"GET / HTTP/1.1\r\n\r\n");
    ask(&server, format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(10_000)).as_bytes());
    ask(&server, b"GET /socket/websocket HTTP/1.1\r\nHost: localhost\r\n\r\n");
    Peer::new(connect(&server)).ended();
    assert_eq!(peer.closed().0, 1002, "idle");
    // A shard writes its numbers down at the end of a turn, which another one's answer may
    // overtake.
    for series in [
        "chinwag_refused_total{limit=\"limits.publish_per_s\"}",
        "chinwag_refused_total{limit=\"limits.join_per_s\"}",
        "chinwag_refused_total{limit=\"limits.channels_per_conn\"}",
        "chinwag_refused_total{limit=\"limits.body_bytes\"}",
        "chinwag_requests_refused_total{reason=\"malformed\"}",
        "chinwag_requests_refused_total{reason=\"too_long\"}",
        "chinwag_requests_refused_total{reason=\"late\"}",
        "chinwag_requests_refused_total{reason=\"unauthorized\"}",
        "chinwag_closed_total{reason=\"protocol\"}",
        "chinwag_closed_total{reason=\"malformed\"}",
        "chinwag_closed_total{reason=\"too_big\"}",
        "chinwag_closed_total{reason=\"fragments\"}",
        "chinwag_closed_total{reason=\"idle\"}",
        "chinwag_published_total",
    ] {
        until(series, || value(&server, series) > 0);
    }
    assert_eq!(value(&server, "chinwag_published_total"), 1);
    assert_eq!(value(&server, "chinwag_restarts_total"), 0);
    until("nobody but us is there", || value(&server, "chinwag_connections") == 1);
}

#[test]
fn what_a_number_is_to_be_measured_by_stands_beside_it() {
    let server = Server::start(&["shards=2", "http.metrics=true", "limits.connections=100"]);
    assert_eq!(value(&server, "chinwag_limit{limit=\"limits.connections\"}"), 100);
    // Not configured: it is the machine's.
    assert!(value(&server, "chinwag_limit{limit=\"limits.memory_bytes\"}") > 0);
}

/// The format by its own words (0.0.4): each name is explained once and before its rows, all of
/// which stand together, no row twice.
#[test]
fn prometheus_can_read_the_numbers() {
    let server = Server::start(&["shards=2", "http.metrics=true"]);
    let answer = ask(&server, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(answer.body.ends_with('\n'), "{}", answer.body);
    let (mut seen, mut rows) = (HashSet::new(), HashSet::new());
    let mut family = "";
    for line in answer.body.lines() {
        if let Some(explained) = line.strip_prefix("# HELP ") {
            family = explained.split_once(' ').expect("a help says something").0;
            assert!(seen.insert(family), "{family} twice");
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let kind =
                typed.strip_prefix(family).expect("the type of what was just explained").trim();
            assert_eq!(kind == "counter", family.ends_with("_total"), "{line}");
            assert!(matches!(kind, "counter" | "gauge"), "{line}");
        } else if let Some(about) = line.strip_prefix("# ") {
            assert!(about.starts_with('{'), "{line}");
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a name and a number");
            assert_eq!(series.split('{').next(), Some(family), "{line}");
            assert!(value.parse::<u64>().is_ok() && rows.insert(series), "{line}");
        }
    }
    assert!(rows.contains("chinwag_major_page_faults_total"), "{rows:?}");
}

#[test]
fn numbers_are_for_those_who_switched_them_on() {
    assert_eq!(
        ask(&Server::start(&["shards=1"]), b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .status,
        404
    );
}

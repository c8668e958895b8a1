//! Requests that should not be, and how they are refused.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use crate::peer::{Peer, ask, connect, join, text, upgrade};
use crate::server::{PATIENCE, Server, until};

/// Requests in which two parsers in a row might read different things, and the status of the
/// refusal. The connection ends with it.
const REFUSED: &[(&str, u16)] = &[
    ("GET / HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n Host: localhost\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: localhost\r\nX: 1\r\n 2\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: localhost\r\nX: 1\r\n\t2\r\n\r\n", 400),
    ("GET / HTTP/1.1\nHost: localhost\n\n", 400),
    ("GET / HTTP/1.1\r\nHost: localhost\nX: 1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: localhost\r\nX: 1\r2\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: localhost\r\nX: \0\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: localhost\r\nX: \x01\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: localhost\r\nX: \x7f\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: localhost\r\nX\0: 1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: localhost\r\n: 1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: localhost\r\nX\r\n\r\n", 400),
    ("GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("GET / / HTTP/1.1\r\nHost: localhost\r\n\r\n", 505),
    ("GET http://localhost/healthz HTTP/1.1\r\n\r\n", 400),
    ("GET http://ann@localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("GET ftp://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("GET /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("GET /%2 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ("GET\r\n\r\n", 400),
    ("\x16\x03\x01\x02\x05\x01\x01", 400),
    ("GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
    // Smuggling: where does the body end?
    (
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1, 1\r\n\r\na", 400),
    ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: +1\r\n\r\na", 400),
    ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0x1\r\n\r\na", 400),
    ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length:\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\n\r\n", 400),
    (
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\na b: c\r\n\r\n",
        400,
    ),
    ("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n4001\r\n", 413),
    (
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        413,
    ),
    ("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400),
    (
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    ("POST / HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65537\r\n\r\n", 413),
    ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n", 413),
];

#[test]
fn what_could_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_read() {
    let server = Server::start(&["shards=1"]);
    let next = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (request, status) in REFUSED {
        let mut peer = Peer::new(connect(&server));
        peer.send_raw(request.as_bytes());
        // The server may have closed already, and that is as it should be.
        let _ = peer.stream.write_all(next.as_bytes());
        let answer = peer.answer();
        assert_eq!(answer.status, *status, "{request:?}: {answer:?}");
        assert!(answer.head.contains("connection: close"), "{request:?}: {answer:?}");
        peer.ended();
    }
}

#[test]
fn a_request_in_single_bytes_is_one_too_and_many_in_a_packet_are_answered_in_order() {
    let server = Server::start(&["shards=2"]);
    let mut peer = Peer::new(connect(&server));
    for byte in
        b"POST /api/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\n\r\n{\"name\":\"Zoe\"}"
    {
        peer.send_raw(&[*byte]);
    }
    let answer = peer.answer();
    assert_eq!(answer.status, 201, "{answer:?}");
    peer.send_raw(
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /no HTTP/1.1\r\nHost: localhost\r\n\r\n\
          GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    );
    for status in [200, 404, 200] {
        assert_eq!(peer.answer().status, status);
    }
    peer.ended();
}

#[test]
fn a_body_in_chunks_is_one_too_however_they_come() {
    let server = Server::start(&["shards=1"]);
    let request =
        b"POST /api/session HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
        8;a=b\r\n{\"name\":\r\n06\r\n\"Zoe\"}\r\n0\r\nX: y\r\n\r\n";
    let mut peer = Peer::new(connect(&server));
    for byte in request {
        peer.send_raw(&[*byte]);
    }
    assert_eq!(peer.answer().status, 201);
    // The next request begins where the last chunk ends.
    peer.send_raw(
        &[&request[..], b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", request].concat(),
    );
    for status in [201, 200, 201] {
        assert_eq!(peer.answer().status, status);
    }
}

#[test]
fn who_waits_before_the_body_is_told_to_go_on_or_refused() {
    let server = Server::start(&["shards=1"]);
    let mut peer = Peer::new(connect(&server));
    let head = |length: usize| {
        format!(
            "POST /api/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\
             Expect: 100-continue\r\n\r\n"
        )
    };
    for _ in 0..2 {
        peer.send_raw(head(14).as_bytes());
        let mut told = [0; 25];
        peer.stream.read_exact(&mut told).unwrap();
        assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
        for byte in b"{\"name\":\"Zoe\"}" {
            peer.send_raw(&[*byte]);
        }
        assert_eq!(peer.answer().status, 201);
    }
    // Who does not wait need not be told.
    peer.send_raw((head(14) + "{\"name\":\"Zoe\"}").as_bytes());
    assert_eq!(peer.answer().status, 201);
    peer.send_raw(head(16 * 1_024 + 1).as_bytes());
    assert_eq!(peer.answer().status, 413);
    peer.ended();
}

#[test]
fn a_target_may_be_a_whole_url() {
    let server = Server::start(&["shards=1"]);
    let answer = ask(&server, b"GET http://localhost/healthz HTTP/1.1\r\nHost: b\r\n\r\n");
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn pages_of_listed_origins_may_use_the_api_and_no_others() {
    let server = Server::start(&["shards=2", "http.origins=https://app.example"]);
    let token = server.token("Ann");
    let session = "{\"name\":\"Zoe\"}";
    for (request, body, status) in [
        ("POST /api/session", session, 201),
        ("POST /api/session", "", 400),
        ("PUT /api/session", "", 405),
        ("GET /api/rooms", "", 200),
        ("GET /api/rooms?limit=x", "", 400),
        ("POST /api/rooms", "{\"room\":\"tea\"}", 201),
        ("POST /api/rooms", "{\"room\":\"tea\"}", 200),
        ("OPTIONS /api/session", "", 204),
        ("OPTIONS /api/rooms", "", 204),
        ("GET /healthz", "", 200),
        ("GET /nothing", "", 404),
    ] {
        let is_api = request.contains("/api/");
        for (origin, is_named) in [("https://app.example", is_api), ("https://evil.example", false)]
        {
            let answer = ask(
                &server,
                format!(
                    "{request} HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\
                     Authorization: Bearer {token}\r\nAccess-Control-Request-Method: POST\r\n\
                     Content-Length: {}\r\n\r\n{body}",
                    body.len()
                )
                .as_bytes(),
            );
            let named = format!("access-control-allow-origin: {origin}\r\nvary: origin\r\n");
            assert_eq!(answer.head.contains(&named), is_named, "{request} {origin}: {answer:?}");
            assert_eq!(answer.head.contains("access-control-"), is_named, "{answer:?}");
            // A stranger's page makes nothing new: the room is there already.
            let is_refused = !is_named && request.starts_with("OPTIONS");
            let expected = match (is_refused, status, is_named) {
                (true, ..) => 405,
                (_, 201, false) if request == "POST /api/rooms" => 200,
                _ => status,
            };
            assert_eq!(answer.status, expected, "{request} {origin}: {answer:?}");
        }
    }
}

#[test]
fn who_has_no_token_is_told_which_kind_is_wanted() {
    let server = Server::start(&["shards=1"]);
    let answer = ask(&server, b"POST /api/rooms HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(answer.status, 401, "{answer:?}");
    assert!(answer.head.contains("www-authenticate: bearer\r\n"), "{answer:?}");
}

#[test]
fn paths_lead_nowhere_but_to_what_is_served() {
    let server = Server::start(&["shards=1"]);
    for path in [
        "/../Cargo.toml",
        "/%2e%2e/Cargo.toml",
        "/..%2fCargo.toml",
        "/..%5cCargo.toml",
        "/%2e%2e%2f%2e%2e%2fetc/passwd",
        "/.%00/",
        "//etc/passwd",
        "/./",
        "/index.html/..",
        "/echo",
        "/socket",
        "/API/ROOMS",
        "/api/rooms/",
        "/%61pi/rooms",
    ] {
        let answer =
            ask(&server, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
}

#[test]
fn methods_that_are_not_for_a_path_are_refused_with_those_that_are() {
    let server = Server::start(&["shards=1"]);
    for (method, path, allow) in [
        ("DELETE", "/", "get, head"),
        ("POST", "/", "get, head"),
        ("PUT", "/api/rooms", "get, head, post"),
        ("GET", "/api/session", "post"),
        ("TRACE", "/", "get, head"),
    ] {
        let answer =
            ask(&server, format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
        assert!(
            answer.head.contains(&format!("allow: {allow}\r\n")),
            "{method} {path}: {answer:?}"
        );
    }
}

#[test]
fn a_head_may_be_as_long_as_the_limit_says_and_not_a_byte_longer() {
    let server = Server::start(&["shards=1", "limits.head_bytes=2048"]);
    let head = |bytes: usize| {
        let rest = bytes - "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: \r\n\r\n".len();
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(rest))
    };
    assert_eq!(ask(&server, head(2_048).as_bytes()).status, 200);
    assert_eq!(ask(&server, head(2_049).as_bytes()).status, 431);
    let target = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(2_048));
    assert_eq!(ask(&server, target.as_bytes()).status, 414);
    let headers = |count: usize| {
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: 1\r\n".repeat(count - 1))
    };
    assert_eq!(ask(&server, headers(64).as_bytes()).status, 200);
    assert_eq!(ask(&server, headers(65).as_bytes()).status, 431);
}

#[test]
fn what_a_browser_behind_proxies_sends_passes() {
    let server = Server::start(&["shards=1"]);
    // 45 headers, 6 KiB.
    let headers = format!("X-Header: {}\r\n", "v".repeat(150)).repeat(38);
    let request = upgrade(&server.token("Ann"), &headers);
    assert!(request.len() > 6 * 1_024, "{}", request.len());
    assert_eq!(ask(&server, request.as_bytes()).status, 101);
}

#[test]
fn an_upgrade_must_be_one_in_every_part() {
    let server = Server::start(&["shards=1"]);
    let token = server.token("Ann");
    let good = upgrade(&token, "");
    assert_eq!(ask(&server, good.as_bytes()).status, 101);
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (part, instead, status) in [
        ("GET ", "POST ", 400),
        ("HTTP/1.1", "HTTP/1.0", 400),
        ("Upgrade: websocket\r\n", "", 400),
        ("Upgrade: websocket\r\n", "Upgrade: h2c\r\n", 400),
        ("Upgrade: websocket\r\n", "Upgrade: websocket\r\nUpgrade: websocket\r\n", 400),
        ("Connection: Upgrade\r\n", "", 400),
        ("Connection: Upgrade\r\n", "Connection: keep-alive\r\n", 400),
        (key, "", 400),
        (key, "Sec-WebSocket-Key: \r\n", 400),
        (key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j\r\n", 400),
        (key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWU=\r\n", 400),
        (key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\r\n", 400),
        (key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==\r\n", 400),
        (key, "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!==\r\n", 400),
        (key, &key.repeat(2), 400),
        ("Version: 13", "Version: 12", 426),
        ("Version: 13", "Version: 013", 426),
        ("Sec-WebSocket-Version: 13\r\n", "", 426),
        (
            "Sec-WebSocket-Version: 13\r\n",
            "Sec-WebSocket-Version: 13\r\nContent-Length: 3\r\n\r\nabc",
            400,
        ),
        ("vsn=2.0.0", "vsn=3.0.0", 403),
        ("token=", "token=x", 403),
        ("Host: localhost\r\n", "Host: localhost\r\nOrigin: http://y\r\n", 403),
        (
            "Host: localhost\r\n",
            "Host: localhost\r\nOrigin: http://localhost\r\nOrigin: http://localhost\r\n",
            403,
        ),
        ("Host: localhost\r\n", "Host: localhost\r\nOrigin: null\r\n", 403),
    ] {
        let request = good.replacen(part, instead, 1);
        assert_ne!(request, good);
        let answer = ask(&server, request.as_bytes());
        assert_eq!(answer.status, status, "{instead:?} for {part:?}: {answer:?}");
        if status == 426 {
            assert!(answer.head.contains("sec-websocket-version: 13\r\n"), "{answer:?}");
        }
    }
}

#[test]
fn frames_in_the_packet_of_the_upgrade_are_not_lost() {
    let server = Server::start(&["shards=2"]);
    let mut all = upgrade(&server.token("Ann"), "").into_bytes();
    all.extend(join("tea", "{}"));
    all.extend(text(r#"[null,"2","phoenix","heartbeat",{}]"#));
    let mut at_once = Peer::new(connect(&server));
    at_once.send_raw(&all);
    let mut by_byte = Peer::new(connect(&server));
    for byte in &all {
        by_byte.send_raw(&[*byte]);
    }
    for mut peer in [at_once, by_byte] {
        assert_eq!(peer.answer().status, 101);
        let mut missing =
            vec![r#"["1","1","room:tea","phx_reply""#, r#"[null,"2","phoenix","phx_reply""#];
        while !missing.is_empty() {
            let answer = peer.await_text(r#""phx_reply""#);
            missing.retain(|start| !answer.starts_with(start));
        }
    }
}

#[test]
fn a_head_or_body_that_does_not_end_has_an_absolute_time() {
    let server = Server::start(&["shards=1", "limits.handshake_ms=1000"]);
    for begun in [
        "",
        "GET / HTTP/1.1\r\nX: ",
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n",
    ] {
        let mut stream = connect(&server);
        stream.write_all(begun.as_bytes()).unwrap();
        // A byte every 50 ms keeps nothing alive.
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let since = Instant::now();
        loop {
            match stream.read(&mut [0; 16]) {
                Ok(0) => break,
                Ok(_) => panic!("an answer to half a request"),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
            assert!(since.elapsed() < PATIENCE, "{begun:?} lives on");
            if stream.write_all(b"x").is_err() {
                break;
            }
        }
        assert!(since.elapsed() > Duration::from_millis(500), "{begun:?} had no time at all");
    }
    // Between requests there is no hurry.
    let mut peer = Peer::new(connect(&server));
    for _ in 0..3 {
        peer.send_raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(peer.answer().status, 200);
        std::thread::sleep(Duration::from_millis(700));
    }
}

#[test]
fn a_page_of_elsewhere_that_polls_is_refused_and_logged_once() {
    let server = Server::start(&["shards=1", "log.level=debug"]);
    for (target, status) in [
        ("/socket/longpoll?vsn=2.0.0", 403),
        ("/socket/longpoll?vsn=2.0.0&token=nobody", 403),
        ("/socket/longpoll?vsn=3.0.0", 403),
    ] {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nOrigin: http://y\r\n\r\n");
        let answer = ask(&server, request.as_bytes());
        assert_eq!(answer.body, format!("{{\"status\":{status}}}"), "{target}");
    }
    // What is logged later stands below.
    ask(&server, upgrade("nobody", "").as_bytes());
    until("it is logged", || server.log().contains("token refused"));
    assert_eq!(server.log().matches("page refused").count(), 2, "{}", server.log());
}

#[test]
fn a_name_that_was_made_to_lead_to_this_machine_gets_nothing() {
    let server = Server::start(&["shards=1", "echo=true", "http.origins=https://chat.example"]);
    let token = server.token("Ann");
    let poll = format!("/socket/longpoll?vsn=2.0.0&token={token}");
    for target in ["/", "/api/rooms", "/healthz", "/nothing", "/echo", &poll] {
        let asked = |host: &str| {
            ask(&server, format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
        };
        for host in ["evil.example", "localhost.evil.example:4000", "192.168.0.1"] {
            let answer = asked(host);
            assert_eq!(answer.status, 421, "{target} {host}: {answer:?}");
            assert!(answer.head.contains("connection: close\r\n"), "{answer:?}");
        }
        for host in ["localhost:4000", "127.0.0.1", "[::1]:4000", "chat.example"] {
            assert_ne!(asked(host).status, 421, "{target} {host}");
        }
    }
    let rebound = upgrade(&token, "Origin: http://evil.example\r\n")
        .replace("Host: localhost", "Host: evil.example");
    assert_eq!(ask(&server, rebound.as_bytes()).status, 421);
    let whole = b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(ask(&server, whole).status, 421, "it is the target that counts");
}

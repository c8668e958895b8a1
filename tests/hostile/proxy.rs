//! Behind a proxy that tells whose a connection or a request is: the client's address has the
//! bound, and the proxy's has none.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use crate::metrics::{value, value_on};
use crate::peer::{Peer, connect, upgrade};
use crate::server::{PATIENCE, Server, until};

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
const REFUSED: &str = "chinwag_refused_total{limit=\"limits.connections_per_ip\"}";

/// Carries bytes between its clients and the server, behind what it adds.
struct Relay(SocketAddr);

impl Relay {
    /// `adds` is given the client's side and the server's, before anything is carried.
    fn start(
        server: &Server,
        adds: impl Fn(&mut TcpStream, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, server, adds) =
            (listener.local_addr().unwrap(), server.address, Arc::new(adds));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let adds = Arc::clone(&adds);
                thread::spawn(move || carry(client, TcpStream::connect(server)?, &*adds));
            }
        });
        Self(address)
    }

    /// One that sends this before what its client sends, byte by byte.
    fn in_front(server: &Server, header: Vec<u8>) -> Self {
        Self::start(server, move |_, server| {
            server.set_nodelay(true)?;
            header.iter().try_for_each(|byte| server.write_all(&[*byte]))
        })
    }

    /// One that adds this to the head of the first request.
    fn in_head<H: AsRef<[u8]> + ?Sized + Sync>(server: &Server, header: &'static H) -> Self {
        Self::start(server, move |client, server| {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte)?;
                head.push(byte[0]);
            }
            head.truncate(head.len() - 2);
            server.write_all(&[&head, header.as_ref(), b"\r\n\r\n"].concat())
        })
    }

    fn connect(&self) -> Peer {
        let stream = TcpStream::connect(self.0).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Peer::new(stream)
    }

    /// The status of the answer to this, and the connection; `None` if it ends instead.
    fn ask(&self, request: &[u8]) -> Option<(u16, Peer)> {
        let mut peer = self.connect();
        // It may have been closed already.
        let _ = peer.stream.write_all(request);
        let status = peer.answer_or_end()?.status;
        Some((status, peer))
    }
}

fn carry(
    mut client: TcpStream,
    mut server: TcpStream,
    adds: &dyn Fn(&mut TcpStream, &mut TcpStream) -> io::Result<()>,
) -> io::Result<()> {
    let added = adds(&mut client, &mut server);
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        if added.is_ok() {
            let _ = io::copy(&mut from, &mut to);
        }
        to.shutdown(Shutdown::Write)
    });
    let _ = io::copy(&mut server, &mut client);
    client.shutdown(Shutdown::Both)
}

fn version_1(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 192.0.2.1 4711 443\r\n").into_bytes()
}

/// With an extension, as a proxy with TLS sends it.
fn version_2(client: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x14".to_vec();
    header.extend(client);
    header.extend(b"\xc0\0\x02\x01\x12\x67\x01\xbb\x04\0\x05hello");
    header
}

#[test]
fn the_header_in_front_of_a_connection_says_whose_it_is() {
    let server = Server::start(&[
        "shards=2",
        "listen_proxy_protocol=true",
        "limits.connections_per_ip=2",
        "log.level=debug",
        "http.metrics=true",
    ]);
    let own = Relay::in_front(&server, b"PROXY UNKNOWN\r\n".to_vec());
    let ann = Relay::in_front(&server, version_1("203.0.113.7"));
    let bob = Relay::in_front(&server, version_2([203, 0, 113, 8]));
    for relay in [&ann, &bob] {
        let mut peers: Vec<Peer> = (0..2).map(|_| relay.ask(HEALTH).unwrap().1).collect();
        assert!(relay.ask(HEALTH).is_none(), "one more than may be");
        drop(peers.pop());
        until("there is a place again", || {
            peers.extend(relay.ask(HEALTH).map(|(_, peer)| peer));
            peers.len() == 2
        });
    }
    // By whichever header.
    let ann_too = Relay::in_front(&server, version_2([203, 0, 113, 7]));
    let held: Vec<Peer> = (0..2)
        .map(|number| {
            let relay = if number == 0 { &ann } else { &ann_too };
            let mut held = None;
            until("the ones of before are gone", || {
                held = relay.ask(HEALTH).map(|(_, peer)| peer);
                held.is_some()
            });
            held.unwrap()
        })
        .collect();
    assert!(ann.ask(HEALTH).is_none() && ann_too.ask(HEALTH).is_none());
    // What the proxy says of itself has no bound.
    let own_peers: Vec<Peer> = (0..5).map(|_| own.ask(HEALTH).unwrap().1).collect();
    let mut probe = own.connect();
    until("those that were refused are counted", || value_on(&mut probe, REFUSED) >= 4);
    drop((held, own_peers));

    // In the log it is the client that was refused.
    let page = upgrade("x", "Origin: http://elsewhere\r\n");
    until("there is a place for a page", || ann.ask(page.as_bytes()).is_some());
    until("it is logged", || {
        server
            .log()
            .lines()
            .any(|line| line.contains("page refused") && line.contains("client=203.0.113.7"))
    });

    // Who sends none, or a broken one, or half of one, is let go of.
    for begun in [HEALTH, b"PROXY TCP4 x\r\n", b"\r\n\r\n\0\r\nQUIT\n\x31"] {
        let mut peer = Peer::new(connect(&server));
        let _ = peer.stream.write_all(begun);
        peer.ended();
    }
    let mut half = Peer::new(connect(&server));
    half.send_raw(b"PROXY TCP4 203.0.");
    half.stream.shutdown(Shutdown::Write).unwrap();
    half.ended();
}

#[test]
fn a_trusted_proxys_header_says_whose_a_socket_or_session_is() {
    let server = Server::start(&[
        "shards=2",
        "http.trusted_proxies=127.0.0.0/8",
        "limits.connections_per_ip=2",
        "http.metrics=true",
    ]);
    let token = server.token("Ann");
    let opening = upgrade(&token, "");
    let ann = Relay::in_head(&server, "X-Forwarded-For: 203.0.113.7");
    let bob = Relay::in_head(&server, "X-Forwarded-For: 203.0.113.8");
    let open = |relay: &Relay| {
        let (status, peer) = relay.ask(opening.as_bytes()).expect("an answer");
        (status == 101).then_some(peer).ok_or(status)
    };
    // Plain requests are nobody's, however many of its connections a proxy keeps.
    let idle: Vec<Peer> = (0..5).map(|_| ann.ask(HEALTH).unwrap().1).collect();
    let mut peers: Vec<Peer> = (0..2).map(|_| open(&ann).unwrap()).collect();
    // One of them goes to the other shard, and its place with it.
    for (number, peer) in peers.iter_mut().enumerate() {
        for room in 0..4 {
            peer.join(&format!("room-{number}-{room}"), "{}");
        }
    }
    assert_eq!(open(&ann).err(), Some(429), "one more than may be");
    let mut others: Vec<Peer> = (0..2).map(|_| open(&bob).unwrap()).collect();
    assert_eq!(open(&bob).err(), Some(429));
    // What a client writes itself stands before what the proxy adds.
    let forged = upgrade(&token, "X-Forwarded-For: 198.51.100.9\r\n");
    assert_eq!(ann.ask(forged.as_bytes()).unwrap().0, 429);
    // Be it text or not, and in a field of its own or in the proxy's.
    let joined = Relay::in_head(&server, b"X-Forwarded-For: \xff, 203.0.113.7");
    assert_eq!(joined.ask(opening.as_bytes()).unwrap().0, 429);
    // The proxy does not know this header, and passes on what the client wrote.
    for forged in ["for=198.51.100.9", "for=unknown", "x=1"] {
        let forged = upgrade(&token, &format!("Forwarded: {forged}\r\n"));
        assert_eq!(ann.ask(forged.as_bytes()).unwrap().0, 429, "{forged}");
    }

    let poll =
        format!("GET /socket/longpoll?vsn=2.0.0&token={token} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let session = |relay: &Relay| {
        let mut peer = relay.connect();
        peer.send_raw(poll.as_bytes());
        peer.answer().body.contains(r#""status":410,"token""#)
    };
    assert!(!session(&ann), "a session is one more too");
    until("all eight are counted", || value(&server, REFUSED) == 8);
    drop(peers.pop());
    until("there is a place for a session", || session(&ann));
    assert_eq!(open(&ann).err(), Some(429), "which the session has");
    drop(others.pop());
    until("there is a place again", || {
        others.extend(open(&bob));
        others.len() == 2
    });
    drop(idle);
}

#[test]
fn who_is_not_trusted_says_nothing_of_whose_a_socket_is() {
    let server = Server::start(&["shards=1", "limits.connections_per_ip=2"]);
    let token = server.token("Ann");
    let relays: Vec<Relay> = ["X-Forwarded-For: 203.0.113.7", "X-Forwarded-For: 203.0.113.8"]
        .map(|header| Relay::in_head(&server, header))
        .into();
    let mut peers = Vec::new();
    until("there are two", || {
        peers.extend(relays[0].ask(upgrade(&token, "").as_bytes()));
        peers.len() == 2
    });
    assert!(relays[1].ask(upgrade(&token, "").as_bytes()).is_none());
}

#[test]
fn where_the_proxy_protocol_names_nobody_no_header_does() {
    let server = Server::start(&[
        "shards=1",
        "listen_proxy_protocol=true",
        "http.trusted_proxies=127.0.0.0/8",
        "limits.connections_per_ip=1",
        "limits.tokens_per_s_per_ip=1",
    ]);
    // A proxy of connections passes on what its client wrote, whatever it says itself.
    let own = [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"];
    for own in own.map(|header| Relay::in_front(&server, header.to_vec())) {
        let statuses = (0..60).map(|number| {
            let client = format!("X-Forwarded-For: 203.0.113.{number}\r\n");
            let request = post("/api/session", &client, r#"{"name":"Guest"}"#);
            own.ask(request.as_bytes()).expect("it has no bound of connections").0
        });
        let statuses: Vec<u16> = statuses.collect();
        assert!(statuses.contains(&429), "they are all of one address: {statuses:?}");
    }
}

/// A POST to the API, with further headers.
fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn tokens_and_rooms_have_a_rate_by_the_address_of_the_client() {
    let server = Server::start(&[
        "shards=2",
        "http.trusted_proxies=127.0.0.0/8",
        "limits.tokens_per_s_per_ip=1",
        "limits.rooms_per_s_per_ip=1",
        "http.metrics=true",
    ]);
    let ann = Relay::in_head(&server, "X-Forwarded-For: 203.0.113.7");
    let bob = Relay::in_head(&server, "X-Forwarded-For: 203.0.113.8");
    let answer = |relay: &Relay, request: String| {
        let mut peer = relay.connect();
        peer.send_raw(request.as_bytes());
        peer.answer()
    };
    let token = |relay: &Relay| answer(relay, post("/api/session", "", r#"{"name":"Guest"}"#));
    // Twenty seconds' worth at once, and one for each second that this takes.
    let answers: Vec<_> = (0..40).map(|_| token(&ann)).collect();
    let given = answers.iter().filter(|answer| answer.status == 201).count();
    assert!((20..35).contains(&given), "{given} tokens");
    let refused = answers.iter().find(|answer| answer.status == 429).expect("one too many");
    assert!(refused.body.contains(r#""reason":"rate_limited""#), "{refused:?}");
    assert!(refused.head.contains("\r\nretry-after: 1\r\n"), "{refused:?}");
    assert_eq!(token(&bob).status, 201, "nobody else is concerned");
    // Of this machine, whatever a proxy on it might have said.
    let tokens: Vec<String> = (0..40).map(|_| server.token("Guest")).collect();
    let found = |relay: &Relay, token: &str, room: &str| {
        let headers = format!("Authorization: Bearer {token}\r\n");
        answer(relay, post("/api/rooms", &headers, &format!(r#"{{"room":"{room}"}}"#))).status
    };
    let rooms: Vec<u16> = (0..40).map(|at| found(&ann, &tokens[at], &format!("r{at}"))).collect();
    let founded = rooms.iter().filter(|status| **status == 201).count();
    assert!((20..35).contains(&founded), "of users who have made none: {rooms:?}");
    assert_eq!(found(&bob, &tokens[39], "r-of-bob"), 201);
    // To join a room that is not there makes it, and both are the address's, on any shard.
    let mut peers: Vec<Peer> = (0..3)
        .map(|at| ann.ask(upgrade(&tokens[at], "").as_bytes()).expect("a socket").1)
        .collect();
    let refused = |(at, peer): (usize, &mut Peer)| {
        let answers: Vec<String> =
            (0..4).map(|room| peer.join(&format!("join-{at}-{room}"), "{}")).collect();
        answers.iter().any(|answer| answer.contains("limits.rooms_per_s"))
    };
    assert!(peers.iter_mut().enumerate().all(refused), "for all that they have on it");
    assert!(peers[0].join("r0", "{}").contains("\"ok\""), "one that is there may be joined");
}

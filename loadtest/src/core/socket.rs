//! A worker's sockets: connecting at the ramp's pace, the upgrade, reading where the bytes lie,
//! writing what fits.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Channel, Core, Script, State, Timer, Waiting};
use crate::base::{SECOND_NS, at, count, now_ns, real, whole};
use crate::client::frame::{self, Opcode};
use crate::client::handshake::{self, Refusal};
use crate::client::target::{fill, query_escape};
use crate::stats::{Metric, tell};

/// Connections under way at the same time; more wait their turn, and their waiting counts.
const CONNECTING_MAX: u32 = 512;

impl Core {
    /// Makes connections at the ramp's pace, until `total` of the run's are ready.
    pub(crate) fn connect_all(&mut self, total: u32) {
        let first = self.plan.own().start;
        let now = now_ns();
        let per_conn_ns = real(SECOND_NS) / (self.plan.common.ramp / f64::from(self.plan.workers));
        let mut place = 0;
        for local in 0..count(self.conns.len()) {
            if first + local < total && self.conns[at(local)].tries == 0 {
                self.connect_at(local, now + whole(f64::from(place) * per_conn_ns));
                place += 1;
            }
        }
    }

    /// Makes a connection at a time.
    pub(crate) fn connect_at(&mut self, id: u32, due_ns: u64) {
        let conn = &mut self.conns[at(id)];
        assert!(conn.state == State::Closed, "a connection is made when it is closed");
        conn.due_ns = due_ns;
        conn.tries = 1;
        if !std::mem::replace(&mut conn.unfinished, true) {
            self.unfinished += 1;
        }
        self.timer(due_ns, Timer::Connect(id));
    }

    pub(super) fn start_connecting(&mut self, id: u32) {
        if self.connecting >= CONNECTING_MAX {
            self.waiting_to_connect.push_back(id);
            return;
        }
        match self.open_socket(id) {
            Ok(()) => self.connecting += 1,
            Err(error) => self.connect_failed(id, &format!("socket: {}", error.kind()), now_ns()),
        }
    }

    /// The index of the URL that a connection is at, or is to be made to.
    ///
    /// A try that has failed is followed by one at the next: its own may be away for long.
    pub(crate) fn url(&self, id: u32) -> usize {
        let conn = &self.conns[at(id)];
        at(conn.url + conn.tries.saturating_sub(1)) % self.targets.len()
    }

    /// Whether a connection is at its own URL, and not at one that it was taken in by meanwhile.
    pub(crate) fn is_at_home(&self, id: u32) -> bool {
        self.url(id) == at(self.conns[at(id)].url)
    }

    /// A connection is to be made to another URL from now on.
    pub(crate) fn move_to(&mut self, id: u32, url: u32) {
        self.conns[at(id)].url = url;
    }

    pub(super) fn open_socket(&mut self, id: u32) -> io::Result<()> {
        let address = self.targets[self.url(id)].address;
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking(),
            Some(Protocol::TCP),
        )?;
        socket.set_tcp_nodelay(true)?;
        let conn = &mut self.conns[at(id)];
        if conn.receive_buffer_bytes > 0 {
            socket.set_recv_buffer_size(at(conn.receive_buffer_bytes))?;
        }
        let source = (self.plan.own().start + id) / self.plan.common.per_source;
        if let (IpAddr::V4(to), true) = (address.ip(), source > 0)
            && to.is_loopback()
        {
            let from = Ipv4Addr::from(u32::from(to).wrapping_add(source));
            socket.bind(&SocketAddr::new(IpAddr::V4(from), 0).into())?;
        }
        match socket.connect(&address.into()) {
            Ok(()) => {}
            // EINPROGRESS
            Err(error)
                if error.raw_os_error() == Some(115)
                    || error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let mut stream = TcpStream::from_std(socket.into());
        conn.generation = conn.generation.wrapping_add(1);
        let token = Token(at(id) | at(conn.generation) << 32);
        self.poll.registry().register(
            &mut stream,
            token,
            Interest::READABLE | Interest::WRITABLE,
        )?;
        conn.stream = Some(stream);
        conn.state = State::Connecting;
        conn.tried_ns = now_ns();
        conn.next_ref = 1;
        Ok(())
    }

    pub(super) fn connect_failed(&mut self, id: u32, why: &str, now: u64) {
        tell(&mut self.stats.counts.reasons, why);
        if self.retry && self.conns[at(id)].tries < 100 && !self.ending {
            let conn = &mut self.conns[at(id)];
            conn.tries += 1;
            // Doubling from 50 ms to 2 s, as a patient client does; the first due time stays, so
            // waiting counts.
            let wait_ns = (50_000_000 << (conn.tries - 2).min(5)) + self.rng.u64(0..50_000_000);
            self.timer(now + wait_ns, Timer::Connect(id));
        } else {
            self.stats.counts.connect_failed += 1;
            self.given_up.push(id);
            self.finish(id);
        }
    }

    pub(super) fn finish(&mut self, id: u32) {
        if std::mem::take(&mut self.conns[at(id)].unfinished) {
            self.unfinished -= 1;
        }
    }

    /// Takes the socket away; what was awaited on it never comes.
    pub(super) fn tear_down(&mut self, id: u32) {
        if let Some(witness) = &mut self.witness {
            witness.left(id, now_ns());
        }
        let conn = &mut self.conns[at(id)];
        let state = std::mem::replace(&mut conn.state, State::Closed);
        conn.stream = None;
        conn.spill = Vec::new();
        conn.fragments = None;
        conn.out = Vec::new();
        conn.paused = false;
        conn.pending.clear();
        for membership in &mut conn.memberships {
            membership.channel = Channel::Out;
        }
        if std::mem::take(&mut conn.ready) {
            self.ready -= 1;
        }
        match state {
            State::Closed => return,
            State::Connecting | State::Upgrading => self.connecting -= 1,
            State::Open => self.open -= 1,
        }
        if self.connecting < CONNECTING_MAX
            && let Some(next) = self.waiting_to_connect.pop_front()
        {
            self.start_connecting(next);
        }
    }

    /// Closes a connection from this side, with or without a close frame.
    pub(crate) fn close(&mut self, id: u32, abrupt: bool) {
        if self.conns[at(id)].state == State::Open {
            if abrupt {
                // A reset, as from a phone that lost its network and came back under another
                // address.
                if let Some(stream) = &self.conns[at(id)].stream {
                    let _best_effort =
                        socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
                }
            } else {
                self.send(id, Opcode::Close, &1000_u16.to_be_bytes());
            }
            self.stats.counts.left += 1;
        }
        self.tear_down(id);
        self.finish(id);
    }

    /// The other side is gone, or not worth listening to any more.
    pub(crate) fn dropped(&mut self, id: u32, why: &str, now: u64, script: &mut impl Script) {
        let conn = &self.conns[at(id)];
        let (was, may_end) = (conn.state, conn.may_end);
        let unanswered =
            conn.pending.iter().filter(|p| matches!(p.waiting, Waiting::Message { .. })).count();
        self.tear_down(id);
        match was {
            State::Closed => return,
            State::Connecting | State::Upgrading => return self.connect_failed(id, why, now),
            State::Open if self.ending => return,
            State::Open if may_end => self.stats.counts.ended_loudly += 1,
            State::Open => {
                self.stats.counts.closed_by_server += 1;
                self.stats.counts.unanswered += u64::from(count(unanswered));
                tell(&mut self.stats.counts.reasons, why);
            }
        }
        self.finish(id);
        script.lost(self, id, now);
    }

    pub(super) fn upgrade(&mut self, id: u32) {
        let user = self.plan.own().start + id;
        let target = &self.targets[self.url(id)];
        let mut path =
            fill(&target.path, &[("user", &format!("lt-{user}")), ("conn", &user.to_string())]);
        if let Some(token) = self.plan.token(id) {
            let token = query_escape(token);
            if path.contains("{token}") {
                path = path.replace("{token}", &token);
            } else {
                path.push(if path.contains('?') { '&' } else { '?' });
                path.push_str("token=");
                path.push_str(&token);
            }
        }
        let (request, key) = handshake::request(&target.host, &path);
        let conn = &mut self.conns[at(id)];
        conn.key = key;
        conn.state = State::Upgrading;
        self.write(id, &request);
    }

    pub(super) fn upgraded(&mut self, id: u32, now: u64) {
        self.connecting -= 1;
        self.open += 1;
        self.stats.counts.connected += 1;
        let conn = &mut self.conns[at(id)];
        conn.state = State::Open;
        conn.key = String::new();
        let due_ns = conn.due_ns;
        self.stats.time(Metric::Connect, now.saturating_sub(due_ns));
        if let Some(next) = self.waiting_to_connect.pop_front() {
            self.start_connecting(next);
        }
    }

    /// Stops reading from a connection.
    pub(crate) fn pause(&mut self, id: u32) {
        self.conns[at(id)].paused = true;
    }

    /// Reads again.
    pub(crate) fn resume(&mut self, id: u32, script: &mut impl Script) {
        self.conns[at(id)].paused = false;
        self.readable(id, true, script);
    }

    pub(super) fn send(&mut self, id: u32, opcode: Opcode, payload: &[u8]) {
        if opcode == Opcode::Text {
            self.note(id, "sent", payload);
        }
        let mask = self.rng.u32(..);
        let mut bytes = Vec::with_capacity(payload.len() + 14);
        frame::write(&mut bytes, opcode, payload, mask);
        self.write(id, &bytes);
    }

    /// Writes a text into the journal, if there is one.
    pub(super) fn note(&mut self, id: u32, what: &str, text: &[u8]) {
        let (conn, life) = (self.plan.own().start + id, self.conns[at(id)].generation);
        self.journal.put(conn, life, what, text);
    }

    pub(super) fn write(&mut self, id: u32, bytes: &[u8]) {
        let conn = &mut self.conns[at(id)];
        let Some(stream) = &mut conn.stream else { return };
        let mut rest = bytes;
        while conn.out.is_empty() && !rest.is_empty() {
            match stream.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A broken connection is noticed by reading, which also gives what came before the
                // end.
                Err(_) => break,
            }
        }
        conn.out.extend_from_slice(rest);
    }

    pub(super) fn flush(&mut self, id: u32) {
        let out = std::mem::take(&mut self.conns[at(id)].out);
        if !out.is_empty() {
            self.write(id, &out);
        }
    }

    pub(super) fn writable(&mut self, id: u32, now: u64, script: &mut impl Script) {
        match self.conns[at(id)].state {
            State::Connecting => {
                let stream =
                    self.conns[at(id)].stream.as_ref().expect("a connecting socket is there");
                let failed = match stream.take_error() {
                    Ok(Some(error)) | Err(error) => Some(error),
                    Ok(None) => match stream.peer_addr() {
                        Ok(_) => None,
                        // Not yet.
                        Err(error) if error.kind() == io::ErrorKind::NotConnected => return,
                        Err(error) => Some(error),
                    },
                };
                match failed {
                    Some(error) => {
                        self.dropped(id, &format!("connect: {}", error.kind()), now, script);
                    }
                    None => self.upgrade(id),
                }
            }
            State::Upgrading | State::Open => self.flush(id),
            State::Closed => {}
        }
    }

    pub(super) fn readable(&mut self, id: u32, closed_hint: bool, script: &mut impl Script) {
        let generation = self.conns[at(id)].generation;
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            let conn = &mut self.conns[at(id)];
            if conn.paused || conn.generation != generation {
                break;
            }
            let Some(stream) = &mut conn.stream else { break };
            let read = match stream.read(&mut buffer) {
                Ok(0) => Err("closed without a close frame".to_owned()),
                Ok(read) => Ok(read),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error.kind().to_string()),
            };
            let now = now_ns();
            match read {
                Ok(read) => {
                    self.stats.received(read, now);
                    if self.conns[at(id)].spill.is_empty() {
                        let used = self.feed(id, &buffer[..read], now, script);
                        if self.conns[at(id)].generation == generation
                            && self.conns[at(id)].stream.is_some()
                        {
                            self.conns[at(id)].spill.extend_from_slice(&buffer[used..read]);
                        }
                    } else {
                        let mut spill = std::mem::take(&mut self.conns[at(id)].spill);
                        spill.extend_from_slice(&buffer[..read]);
                        let used = self.feed(id, &spill, now, script);
                        let conn = &self.conns[at(id)];
                        if used < spill.len()
                            && conn.generation == generation
                            && conn.stream.is_some()
                        {
                            spill.drain(..used);
                            self.conns[at(id)].spill = spill;
                        }
                    }
                    // A short read emptied the socket; an end that follows makes another event,
                    // unless it was told with this one.
                    if read < buffer.len() && !closed_hint {
                        break;
                    }
                }
                Err(why) => {
                    self.dropped(id, &why, now, script);
                    break;
                }
            }
        }
        self.buffer = buffer;
    }

    /// Handles all that is complete in `bytes`, and tells how much that was.
    pub(super) fn feed(
        &mut self,
        id: u32,
        bytes: &[u8],
        now: u64,
        script: &mut impl Script,
    ) -> usize {
        let generation = self.conns[at(id)].generation;
        let mut used = 0;
        while used < bytes.len() && self.conns[at(id)].generation == generation {
            match self.conns[at(id)].state {
                State::Upgrading => {
                    match handshake::response(&bytes[used..], &self.conns[at(id)].key) {
                        Ok(Some(length)) => {
                            used += length;
                            self.upgraded(id, now);
                            if self.plan.common.dialect.ready_when_open() {
                                self.join_everything(id, now, script);
                            }
                        }
                        Ok(None) => return used,
                        Err(Refusal::Status(status)) => {
                            self.dropped(id, &format!("upgrade answered {status}"), now, script);
                            return bytes.len();
                        }
                        Err(Refusal::Malformed) => {
                            self.dropped(id, "upgrade malformed", now, script);
                            return bytes.len();
                        }
                    }
                }
                State::Open => match frame::parse(&bytes[used..]) {
                    Ok(Some(frame)) => {
                        used += frame.bytes;
                        self.frame(id, frame, now, script);
                    }
                    Ok(None) => return used,
                    Err(fault) => {
                        self.broken(id, &format!("{fault:?}"), now, script);
                        return bytes.len();
                    }
                },
                State::Connecting | State::Closed => return bytes.len(),
            }
        }
        used
    }
}

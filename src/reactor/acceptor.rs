//! The listening socket, and whether a connection may be accepted now.
//!
//! The socket is edge-triggered: the kernel says once that a connection waits, and that has to be
//! remembered until an `accept` finds none. Two things pause accepting, and neither makes the loop
//! spin or leaves it deaf:
//!
//! - *no descriptors*: tried again after [`ACCEPT_RETRY_MS`], or as soon as this shard has let go
//!   of a socket;
//! - *no room*: a connection waits in the kernel's backlog, in order and at no cost, and is
//!   accepted as soon as another one ends. To a client that is a slow connect, where a refusal
//!   would be a failure, and a retry. But none waits without an end: when there has been no room
//!   for `limits.admission_wait_ms`, those that wait are closed, and the next ones wait anew.
//!
//! A connection too many from its address is closed at once ([`Addresses`]).
//!
//! Deliberately absent: what becomes of an accepted connection.
//!
//! Called by: the reactor. Calls: [`Addresses`].

use std::io;
use std::net::{self, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::{SockRef, Socket, TcpKeepalive};

use super::addresses::{Addresses, Crowded, Permit};
use crate::limits::{ACCEPT_RETRY_MS, NOTSENT_BYTES, TCP_KEEPALIVE_EACH_S, TCP_KEEPALIVE_S};

/// How many connections the kernel keeps for us until they are accepted.
const BACKLOG: i32 = 4_096;

/// Opens the listening socket of one shard. All of them share the address; the kernel spreads the
/// connections.
///
/// # Errors
///
/// Those of the system calls.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket =
        Socket::new(domain, socket2::Type::STREAM.nonblocking(), Some(socket2::Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    prepare(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Takes a socket that somebody else has opened as that of one shard. Others may have it too: all
/// are told of a connection, and one of them gets it.
///
/// # Errors
///
/// Those of the system calls.
pub fn inherit(socket: &net::TcpListener) -> io::Result<TcpListener> {
    let socket = socket.try_clone()?;
    socket.set_nonblocking(true)?;
    let options = SockRef::from(&socket);
    prepare(&options)?;
    // The backlog is ours, and not what whoever opened it thought enough.
    options.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket))
}

/// Sets what every accepted socket inherits (Linux clones the listener's; `strace` shows no call
/// for it), so that it costs no connection anything.
fn prepare(socket: &Socket) -> io::Result<()> {
    // Chat messages are small, and must not wait for more.
    socket.set_tcp_nodelay(true)?;
    // A reader that takes little, and steadily, is heard of while it does: the kernel says that a
    // socket takes bytes again once a third of its buffer is free, which may be a megabyte.
    socket.set_tcp_notsent_lowat(NOTSENT_BYTES)?;
    // No user timeout: a peer that has gone is found by `limits.idle_ms`, and one that does not
    // read by `limits.out_ms`. The kernel's would end readers too: see `TCP_LEFT_MS`.
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(TCP_KEEPALIVE_S))
        .with_interval(Duration::from_secs(TCP_KEEPALIVE_EACH_S));
    socket.set_tcp_keepalive(&keepalive)
}

/// What the shard has place for, as far as it matters to accepting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capacity {
    /// Whether the shard takes one more connection in.
    pub(super) has_room: bool,
    /// Whether it has let go of a socket since the last look.
    pub(super) has_closed: bool,
}

/// A listener, and why it is paused.
pub(super) struct Acceptor {
    listener: TcpListener,
    addresses: Arc<Addresses>,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    /// Whether a connection may be waiting.
    is_pending: bool,
    paused: Option<Paused>,
    /// Whether it has been said that there are no descriptors: once, and not at each try.
    has_complained: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paused {
    NoDescriptors { retry_ms: u64 },
    NoRoom { until_ms: u64 },
}

/// What came of one `accept`.
pub(super) enum Accepted {
    /// A connection, which is to be taken in, or closed if there is no room.
    Conn(TcpStream, Option<Permit>),
    /// One from whose address there are as many as may be, and which has been closed.
    Crowded,
    /// None waits, or none may be accepted for now.
    None,
    /// One waits and cannot be accepted; see [`ACCEPT_RETRY_MS`]. The first of these is to be
    /// logged.
    Failed { error: io::Error, is_first: bool },
}

impl Acceptor {
    pub(super) fn new(
        mut listener: TcpListener,
        addresses: Arc<Addresses>,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        registry.register(&mut listener, token, Interest::READABLE)?;
        Ok(Self { listener, addresses, state: State { is_pending: true, ..State::default() } })
    }

    /// Notes that a connection waits, or may.
    pub(super) fn note_pending(&mut self) {
        self.state.is_pending = true;
    }

    /// When to accept next, in milliseconds of monotonic time; 0 for at once, and `None` while none
    /// waits.
    pub(super) fn due_ms(&self, capacity: Capacity) -> Option<u64> {
        self.state.due_ms(capacity)
    }

    /// Accepts one connection. While there is no room it does not, until those that wait have to be
    /// closed: after `wait_ms`.
    pub(super) fn accept(&mut self, now_ms: u64, capacity: Capacity, wait_ms: u64) -> Accepted {
        if !self.state.opens(now_ms, capacity, wait_ms) {
            return Accepted::None;
        }
        loop {
            match self.listener.accept() {
                Ok((stream, address)) => {
                    self.state.has_complained = false;
                    return match self.addresses.admit_peer(address.ip()) {
                        Ok(permit) => Accepted::Conn(stream, permit),
                        Err(Crowded) => Accepted::Crowded,
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.state =
                        State { has_complained: self.state.has_complained, ..State::default() };
                    return Accepted::None;
                }
                Err(error) if is_of_the_peer(&error) => {}
                Err(error) => {
                    self.state.paused =
                        Some(Paused::NoDescriptors { retry_ms: now_ms + ACCEPT_RETRY_MS });
                    let is_first = !std::mem::replace(&mut self.state.has_complained, true);
                    return Accepted::Failed { error, is_first };
                }
            }
        }
    }
}

impl State {
    fn due_ms(self, capacity: Capacity) -> Option<u64> {
        match self.paused {
            _ if !self.is_pending => None,
            Some(Paused::NoDescriptors { retry_ms }) if !capacity.has_closed => Some(retry_ms),
            Some(Paused::NoRoom { until_ms }) if !capacity.has_room => Some(until_ms),
            _ => Some(0),
        }
    }

    /// Whether to accept now; notes that there is no room if that is why not.
    fn opens(&mut self, now_ms: u64, capacity: Capacity, wait_ms: u64) -> bool {
        if self.due_ms(capacity).is_none_or(|due_ms| due_ms > now_ms) {
            return false;
        }
        let is_waited_for = matches!(self.paused, Some(Paused::NoRoom { .. }));
        if capacity.has_room {
            self.paused = None;
        } else if !is_waited_for {
            self.paused = Some(Paused::NoRoom { until_ms: now_ms + wait_ms });
        }
        capacity.has_room || is_waited_for
    }
}

/// Errors of `accept` that concern the connection that was to be accepted, and say nothing of the
/// next one (accept(2)).
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown,
        NetworkUnreachable, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | TimedOut
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT_MS: u64 = 2_000;
    const OPEN: Capacity = Capacity { has_room: true, has_closed: false };
    const FULL: Capacity = Capacity { has_room: false, has_closed: false };

    fn pending() -> State {
        State { is_pending: true, ..State::default() }
    }

    #[test]
    fn accepted_sockets_inherit_what_the_listener_has() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        };
        let socket = socket2::SockRef::from(&stream);
        assert_eq!(socket.tcp_user_timeout().unwrap(), None, "our own timers close it");
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), NOTSENT_BYTES);
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(TCP_KEEPALIVE_S));
        assert_eq!(
            socket.tcp_keepalive_interval().unwrap(),
            Duration::from_secs(TCP_KEEPALIVE_EACH_S)
        );
    }

    #[test]
    fn while_no_connection_waits_none_is_accepted() {
        let mut state = State::default();
        assert_eq!(state.due_ms(OPEN), None);
        assert!(!state.opens(5, OPEN, WAIT_MS));
        assert!(pending().opens(5, OPEN, WAIT_MS));
    }

    #[test]
    fn while_there_is_no_room_they_wait_and_come_in_as_soon_as_there_is() {
        let mut state = pending();
        assert!(!state.opens(5, FULL, WAIT_MS));
        assert_eq!(state.due_ms(FULL), Some(5 + WAIT_MS), "the loop sleeps");
        assert!(!state.opens(6, FULL, WAIT_MS));
        assert_eq!(state.due_ms(OPEN), Some(0));
        assert!(state.opens(7, OPEN, WAIT_MS));
        assert_eq!(state, pending());
    }

    #[test]
    fn who_has_waited_in_vain_is_turned_away_and_the_next_one_waits_anew() {
        let mut state = pending();
        assert!(!state.opens(5, FULL, WAIT_MS));
        assert!(!state.opens(4 + WAIT_MS, FULL, WAIT_MS));
        for now_ms in [5 + WAIT_MS, 6 + WAIT_MS] {
            assert!(state.opens(now_ms, FULL, WAIT_MS), "until nobody is left");
        }
        // As after an `accept` that found none, and another connection.
        state = pending();
        assert!(!state.opens(7 + WAIT_MS, FULL, WAIT_MS));
    }

    #[test]
    fn without_descriptors_it_is_tried_again_in_time_or_when_one_is_free() {
        let mut state =
            State { paused: Some(Paused::NoDescriptors { retry_ms: 100 }), ..pending() };
        assert_eq!(state.due_ms(OPEN), Some(100));
        assert!(!state.opens(99, OPEN, WAIT_MS));
        assert!({ state }.opens(99, Capacity { has_closed: true, ..OPEN }, WAIT_MS));
        assert!(state.opens(100, OPEN, WAIT_MS));
        state.paused = Some(Paused::NoDescriptors { retry_ms: 100 });
        assert!(!state.opens(100, FULL, WAIT_MS), "and there may be no room by then");
        assert_eq!(state.due_ms(FULL), Some(100 + WAIT_MS));
    }
}

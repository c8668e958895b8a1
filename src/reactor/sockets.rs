//! The sockets of a shard, and the ring's end to the other shards: what the shard acts on.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use socket2::SockRef;

use super::addresses::{Addresses, Crowded, Permit};
use crate::base::dense::Dense;
use crate::limits::TCP_LEFT_MS;
use crate::link::log::Log;
use crate::mesh::Port;
use crate::shard::{Handoff, Io};
use crate::wire::http::forwarded::UNKNOWN_CLIENT;
use crate::wire::proxy::{ProxyError, ProxyHeader, parse_proxy_header};

/// It is in the list of those to be read.
const LISTED: u8 = 1;
/// The shard does not want more of it for now.
const STOPPED: u8 = 1 << 1;
/// Something came while it was stopped, or was left when its turn was over.
const HAS_MORE: u8 = 1 << 2;
/// Its peer has closed: read on until the end.
const HAS_END: u8 = 1 << 3;
/// It was full once, and is announced whenever it can be written to again.
const WATCHED: u8 = 1 << 4;
/// It begins with a header of the PROXY protocol, which has not come yet.
const AWAITS_HEADER: u8 = 1 << 5;
/// It did not take all that it was given last.
const SHORT: u8 = 1 << 6;

/// Who a connection or a session is of, as far as that is to be remembered.
#[derive(Debug, Default)]
pub(super) struct Caller {
    /// That it is counted by its address.
    pub(super) permit: Option<Permit>,
    /// Its client, if a proxy has told it.
    pub(super) client: Option<IpAddr>,
}

impl Caller {
    fn is_unknown(&self) -> bool {
        self.permit.is_none() && self.client.is_none()
    }
}

/// Why a connection that is to begin with a proxy's header is let go of.
#[derive(Debug)]
pub(super) enum HeaderError {
    /// It ended before, or is broken.
    Ended,
    /// What it begins with is none.
    Proxy(ProxyError),
    /// There are as many from its client's address as may be.
    Crowded,
}

/// A connection on its way to another shard.
pub(super) type Parcel = (TcpStream, Caller, Handoff);

pub(super) struct Sockets<L> {
    pub(super) port: Port,
    pub(super) log: L,
    streams: Dense<Option<TcpStream>>,
    /// By the same index.
    flags: Vec<u8>,
    addresses: Arc<Addresses>,
    /// By the same index, up to the last of which something is known. Sessions have theirs here
    /// too, and no stream.
    callers: Vec<Caller>,
    readable: VecDeque<u32>,
    /// Sockets that took less than they were given for the first time.
    full: Vec<u32>,
    /// Sockets that go to other shards, and what goes with them.
    leaving: Vec<(u16, Parcel)>,
    /// Sockets of a shard that panicked, and until when they are kept.
    left: Vec<(TcpStream, Caller)>,
    left_until_ms: Option<u64>,
    /// Whether a descriptor has become free.
    has_closed: bool,
    began: Instant,
}

impl<L: Log> Sockets<L> {
    pub(super) fn new(port: Port, log: L, addresses: Arc<Addresses>) -> Self {
        Self {
            port,
            log,
            streams: Dense::new(),
            flags: Vec::new(),
            addresses,
            callers: Vec::new(),
            readable: VecDeque::new(),
            full: Vec::new(),
            leaving: Vec::new(),
            left: Vec::new(),
            left_until_ms: None,
            has_closed: false,
            began: Instant::now(),
        }
    }

    /// Lets go of all sockets, though not at once: closing them now would reset connections whose
    /// last words are not read yet.
    pub(super) fn leave_all(&mut self, until_ms: u64) {
        let callers = self.callers.drain(..).chain(std::iter::repeat_with(Caller::default));
        let sockets = self.streams.drain().zip(callers);
        self.left.extend(sockets.filter_map(|(stream, caller)| Some((stream?, caller))));
        self.flags.clear();
        self.readable.clear();
        self.full.clear();
        self.left_until_ms = Some(until_ms);
    }

    /// When [`Sockets::close_left`] has something to do.
    pub(super) fn left_until_ms(&self) -> Option<u64> {
        self.left_until_ms
    }

    /// Closes what has been left for long enough.
    pub(super) fn close_left(&mut self, now_ms: u64) {
        if self.left_until_ms.is_some_and(|until_ms| until_ms <= now_ms) {
            self.left.clear();
            self.has_closed = true;
            self.left_until_ms = None;
        }
    }

    /// Whether a descriptor has become free since [`Sockets::take_closed`].
    pub(super) fn has_closed(&self) -> bool {
        self.has_closed
    }

    /// Whether a descriptor has become free since the last call.
    pub(super) fn take_closed(&mut self) -> bool {
        std::mem::take(&mut self.has_closed)
    }

    pub(super) fn insert(&mut self, index: u32, stream: TcpStream, caller: Caller) {
        let at = index as usize;
        if self.streams.len() <= at {
            self.streams.grow(at + 1, || None);
            self.flags.resize(at + 1, 0);
        }
        self.streams[at] = Some(stream);
        self.flags[at] &= LISTED;
        self.set_caller(index, caller);
    }

    fn set_caller(&mut self, index: u32, caller: Caller) {
        let at = index as usize;
        if self.callers.len() <= at && !caller.is_unknown() {
            self.callers.resize_with(at + 1, Caller::default);
        }
        if let Some(place) = self.callers.get_mut(at) {
            *place = caller;
        }
    }

    /// What goes where the socket goes.
    fn take_caller(&mut self, index: u32) -> Caller {
        self.callers.get_mut(index as usize).map(std::mem::take).unwrap_or_default()
    }

    /// Notes that a connection begins with a proxy's header, before anything is read of it.
    pub(super) fn expect_header(&mut self, index: u32) {
        if let Some(flags) = self.flags.get_mut(index as usize) {
            *flags |= AWAITS_HEADER;
        }
    }

    /// Whether a connection's header is still to come.
    pub(super) fn awaits_header(&self, index: u32) -> bool {
        self.flags[index as usize] & AWAITS_HEADER != 0
    }

    /// Takes the header that a connection begins with, and counts the connection for the client
    /// that it names. False while the header is not whole: it is left in the kernel, which
    /// announces the rest.
    pub(super) fn take_header(
        &mut self,
        index: u32,
        buffer: &mut [u8],
    ) -> Result<bool, HeaderError> {
        let has_end = self.has_end(index);
        let Some(stream) = self.stream(index) else { return Ok(false) };
        let count = loop {
            match stream.peek(buffer) {
                Ok(count) => break count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(_) => return Err(HeaderError::Ended),
            }
        };
        let header = parse_proxy_header(&buffer[..count]).map_err(HeaderError::Proxy)?;
        let Some(ProxyHeader { header_bytes, client }) = header else {
            return if count == 0 || has_end { Err(HeaderError::Ended) } else { Ok(false) };
        };
        let read = stream.read_exact(&mut buffer[..header_bytes]);
        read.map_err(|_| HeaderError::Ended)?;
        self.flags[index as usize] &= !AWAITS_HEADER;
        match client {
            Some(client) if !self.admit(index, client.ip()) => Err(HeaderError::Crowded),
            Some(_) => Ok(true),
            None => {
                // The peer's own, as a health check, or of somebody whose address it does not know.
                // It is not counted, for the former. But it is not the peer who writes the headers
                // of a request then, so they are not believed as a trusted peer's are.
                let client = Some(UNKNOWN_CLIENT);
                self.set_caller(index, Caller { permit: None, client });
                Ok(true)
            }
        }
    }

    /// The next one that goes to another shard.
    pub(super) fn next_leaving(&mut self) -> Option<(u16, Parcel)> {
        self.leaving.pop()
    }

    /// The next one that is to be announced when it can be written to. It may have been closed
    /// since.
    pub(super) fn next_full(&mut self) -> Option<u32> {
        self.full.pop()
    }

    /// The socket of a connection that is open.
    pub(super) fn stream(&mut self, index: u32) -> Option<&mut TcpStream> {
        self.streams.get_mut(index as usize)?.as_mut()
    }

    /// Remembers whether a socket took everything.
    fn note_written(&mut self, index: u32, is_short: bool) {
        let flags = &mut self.flags[index as usize];
        *flags &= !SHORT;
        if is_short {
            *flags |= SHORT;
            if *flags & WATCHED == 0 {
                *flags |= WATCHED;
                self.full.push(index);
            }
        }
    }

    /// Lists a connection to be read in this turn.
    pub(super) fn note_readable(&mut self, index: u32, has_end: bool) {
        let flags = &mut self.flags[index as usize];
        *flags |= HAS_MORE | if has_end { HAS_END } else { 0 };
        if *flags & (STOPPED | LISTED) == 0 {
            *flags |= LISTED;
            self.readable.push_back(index);
        }
    }

    /// How many connections are to be read in this turn. Those listed from now on are read in the
    /// next one.
    pub(super) fn readable_count(&self) -> usize {
        self.readable.len()
    }

    /// The next one to be read.
    pub(super) fn next_readable(&mut self) -> Option<u32> {
        let index = self.readable.pop_front()?;
        self.flags[index as usize] &= !(LISTED | HAS_MORE);
        Some(index)
    }

    /// Lists a connection to be read in the next turn.
    pub(super) fn read_again(&mut self, index: u32) {
        self.note_readable(index, false);
    }

    pub(super) fn stop_reading(&mut self, index: u32) {
        // What is left in the kernel will not be announced again.
        self.flags[index as usize] |= STOPPED | HAS_MORE;
    }

    pub(super) fn has_end(&self, index: u32) -> bool {
        self.flags[index as usize] & HAS_END != 0
    }

    pub(super) fn read(&mut self, index: u32, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.stream(index) {
            Some(stream) => stream.read(buffer),
            None => Err(std::io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl<L: Log> Io for Sockets<L> {
    type Log = L;

    #[inline]
    fn log(&mut self) -> &mut L {
        &mut self.log
    }

    fn write(&mut self, conn: u32, bytes: &[u8]) -> usize {
        let Some(stream) = self.stream(conn) else { return 0 };
        let count = loop {
            match stream.write(bytes) {
                Ok(count) => break count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // A full socket will be announced as writable, a broken one as closed.
                Err(_) => break 0,
            }
        };
        self.note_written(conn, count < bytes.len());
        count
    }

    fn shut(&mut self, conn: u32) {
        if let Some(stream) = self.stream(conn) {
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    fn close(&mut self, conn: u32) {
        self.take_caller(conn);
        let is_short = self.flags.get(conn as usize).is_some_and(|flags| flags & SHORT != 0);
        if let Some(stream) = self.streams.get_mut(conn as usize) {
            // Closing the descriptor takes it out of epoll; nobody else has a copy of it.
            let stream = stream.take();
            self.has_closed = true;
            // What it is told ends in the midst, so it is worth little. If its peer does not read,
            // or is gone, the kernel is not to keep it for long.
            if let Some(stream) = stream.filter(|_| is_short) {
                let left = Duration::from_millis(TCP_LEFT_MS);
                let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(left));
            }
        }
        // A session has one too, and no stream.
        self.take_caller(conn);
    }

    fn peer(&self, conn: u32) -> Option<IpAddr> {
        let told = self.callers.get(conn as usize).and_then(|caller| caller.client);
        let stream = || self.streams.get(conn as usize)?.as_ref();
        told.or_else(|| Some(stream()?.peer_addr().ok()?.ip()))
    }

    fn admit(&mut self, conn: u32, client: IpAddr) -> bool {
        let Ok(permit) = self.addresses.admit(client) else { return false };
        self.set_caller(conn, Caller { permit, client: Some(client) });
        true
    }

    fn resume(&mut self, conn: u32) {
        let Some(flags) = self.flags.get_mut(conn as usize) else { return };
        let was_stopped = *flags & (STOPPED | HAS_MORE) == STOPPED | HAS_MORE;
        *flags &= !STOPPED;
        if was_stopped {
            self.note_readable(conn, false);
        }
    }

    fn admit_session(&mut self, opener: u32, session: u32) -> bool {
        let caller = self.callers.get(opener as usize);
        let permit = caller.and_then(|caller| caller.permit.as_ref());
        match permit.map_or(Ok(None), Permit::another) {
            Ok(permit) => {
                let client = self.peer(opener);
                self.set_caller(session, Caller { permit, client });
                true
            }
            Err(Crowded) => false,
        }
    }

    fn hand_off(&mut self, conn: u32, shard: u16, handoff: Handoff) {
        if let Some(stream) = self.streams.get_mut(conn as usize).and_then(Option::take) {
            let caller = self.take_caller(conn);
            self.leaving.push((shard, (stream, caller, handoff)));
        }
    }

    fn send(&mut self, shard: u16, record: &[u8]) {
        self.port.send(shard, record);
    }

    fn waiting_bytes(&self, shard: u16) -> usize {
        self.port.waiting_bytes(shard)
    }

    fn elapsed_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

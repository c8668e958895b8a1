//! One thread's event loop over `mio`: it accepts, reads, writes, keeps the clock and wakes; it
//! carries, and decides nothing. **Nothing here knows what a room is.**
//!
//! One turn:
//!
//! ```text
//!   poll ─ read every ready connection ─ accept ─ what other shards sent ─ Shard::turn: what is due, then flush ─ wake the others
//! ```
//!
//! Connections are accepted after all reading, so that a number freed in a turn is not given out in
//! it. Sockets are registered edge-triggered, and a connection is read until the kernel has no
//! more: a read that did not fill the buffer says so without another one, unless the peer has
//! closed, when there is an end to be read. Only a socket that was full once is registered for
//! writing too, for good: any other would be announced as writable as soon as it is registered, and
//! each such connection would cost a turn in which nothing is to be done.
//!
//! A shard that panics is caught here: its connections are closed, and its next life goes on with
//! the same rings and the same listener. One that panics again and again ends the process, in
//! order.
//!
//! Deliberately absent: protocol. Bytes go to the shard as they come.

mod acceptor;
mod addresses;
mod clock;
mod control;
mod handoff_queue;
mod health;
mod sockets;

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use acceptor::{Accepted, Acceptor, Capacity};
pub use acceptor::{inherit, listen};
pub use addresses::Addresses;
pub use clock::Clock;
pub use control::{Control, Phase};
pub use handoff_queue::HandoffQueue;
pub use health::Health;
use sockets::{Caller, HeaderError, Sockets};

use crate::base::arena::Key;
use crate::base::time::Now;
use crate::limits::{
    ACCEPT_RETRY_MS, ACCEPTS_PER_TURN_MAX, GIVE_UP_OVER_MS, LINGER_MS, READ_BUFFER_BYTES,
    READS_PER_TURN_MAX, RESTARTS_MAX, RESTARTS_WINDOW_MS,
};
use crate::link::ids::ConnKey;
use crate::link::log::LogEnd;
use crate::mesh::{Port, Wake};
use crate::shard::{Shard, Turn};

// Tokens that no connection has: generations begin at 1.
const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);

/// How many events are taken from the kernel at once.
const EVENTS_PER_POLL: usize = 1_024;

/// The work of answers of the log in a turn, in units of [`crate::limits::TURN_WORK`]: a quarter of
/// it. An answer to a push is one, a page that was read as many as it has KiB.
const LOG_WORK_PER_TURN: u64 = 1_024;

/// A shard, its sockets, and the loop that drives them.
///
/// `L` keeps the entries of rooms: memory, or another thread's end.
pub struct Reactor<L> {
    poll: Poll,
    acceptor: Option<Acceptor>,
    /// How long a connection waits for a place before it is closed, in milliseconds.
    wait_ms: u64,
    shard: Shard,
    sockets: Sockets<L>,
    handoff_queue: HandoffQueue,
    clock: Clock,
    control: Arc<Control>,
    /// Whether each connection begins with a header of a proxy.
    expects_header: bool,
    /// When the shard panicked, lately.
    panics_ms: VecDeque<u64>,
    /// Whether the others have been told that nobody is left here.
    drained: bool,
    health: Arc<Health>,
}

/// The key of a connection is its token.
#[expect(clippy::cast_possible_truncation, reason = "addresses have 64 bits: see `lib.rs`")]
fn token_of(key: ConnKey) -> Token {
    Token(key.to_u64() as usize)
}

struct MioWaker(Waker);

impl Wake for MioWaker {
    fn wake(&self) {
        // Fails only when the eventfd is gone, that is, when nobody is there to be woken.
        let _ = self.0.wake();
    }
}

impl<L: LogEnd> Reactor<L> {
    /// A reactor for a shard that has not begun yet.
    ///
    /// # Errors
    ///
    /// Those of the system calls.
    pub fn new(
        (listener, addresses): (TcpListener, Arc<Addresses>),
        (port, handoff_queue, log): (Port, HandoffQueue, L),
        control: Arc<Control>,
        clock: Clock,
        health: Arc<Health>,
        shard: impl FnOnce(Now) -> Shard,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let expects_header = addresses.expects_header();
        let sockets = Sockets::new(port, log, Arc::clone(&addresses));
        let acceptor = Acceptor::new(listener, addresses, poll.registry(), LISTENER)?;
        let waker = Arc::new(MioWaker(Waker::new(poll.registry(), WAKER)?));
        sockets.port.set_waker(waker.clone());
        sockets.log.set_waker(waker.clone());
        control.set_waker(waker);
        let shard = shard(clock.now());
        Ok(Self {
            poll,
            acceptor: Some(acceptor),
            wait_ms: shard.settings().limits.admission_wait_ms,
            shard,
            sockets,
            handoff_queue,
            clock,
            control,
            expects_header,
            panics_ms: VecDeque::new(),
            drained: false,
            health,
        })
    }

    /// Runs until it is told to stop, or has drained.
    ///
    /// # Errors
    ///
    /// Those of `epoll`, after which there is nothing left to do.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        let mut buffer = vec![0; READ_BUFFER_BYTES].into_boxed_slice();
        let mut record = Vec::new();
        let mut turned_ms = 0;
        loop {
            let timeout = self.timeout(turned_ms);
            self.health.waits();
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.sockets.port.woke();
            self.sockets.log.woke();
            let now = self.clock.now();
            turned_ms = now.mono_ms;
            self.health.turns(now.mono_ms);
            if self.control.phase() == Phase::Stop {
                return Ok(());
            }
            // What a panic may leave half done is the shard's, which is thrown away, and the
            // sockets', which are let go of.
            let turned = catch_unwind(AssertUnwindSafe(|| {
                self.turn(now, &events, &mut buffer, &mut record);
            }));
            if turned.is_err() {
                self.restart(now);
            }
            self.health.metrics.set(&self.shard.metrics());
        }
    }

    /// One turn.
    fn turn(&mut self, now: Now, events: &Events, buffer: &mut [u8], record: &mut Vec<u8>) {
        self.obey(now);
        for event in events {
            match event.token() {
                LISTENER => self.acceptor.iter_mut().for_each(Acceptor::note_pending),
                WAKER => {}
                Token(token) => {
                    let key = Key::from_u64(token as u64);
                    if self.shard.conn_at(key.index()) != Some(key) {
                        continue;
                    }
                    if event.is_writable() {
                        self.shard.writable(&mut Turn { now, io: &mut self.sockets }, key);
                    }
                    if event.is_write_closed() || event.is_error() {
                        // Broken, or closed by both: seen also where nothing is to be read for now.
                        self.shard.hung_up(&mut Turn { now, io: &mut self.sockets }, key);
                    } else if event.is_readable() || event.is_read_closed() {
                        self.sockets.note_readable(key.index(), event.is_read_closed());
                    }
                }
            }
        }
        self.read(now, buffer);
        self.accept(now);
        self.take_over(now);
        // Answers of the log, then records of other shards: at most so much a turn. What is left in
        // a ring keeps this shard awake.
        let mut work = 0;
        while work < LOG_WORK_PER_TURN {
            let Some(answer) = self.sockets.log.next() else { break };
            work += self.shard.log_said(&mut Turn { now, io: &mut self.sockets }, answer.said());
        }
        while self.shard.may_hear() {
            let Some(from) = self.sockets.port.recv(record) else { break };
            self.shard.heard_from(&mut Turn { now, io: &mut self.sockets }, from, record);
        }
        // Before this shard writes to its own members, so that others write to theirs meanwhile.
        self.sockets.log.end_turn();
        self.sockets.port.end_turn();
        self.shard.turn(&mut Turn { now, io: &mut self.sockets });
        self.sockets.close_left(now.mono_ms);
        self.watch_full(now);
        self.hand_off();
        self.sockets.log.end_turn();
        self.sockets.port.end_turn();
    }

    /// Asks the kernel to say when those are writable again that did not take everything.
    fn watch_full(&mut self, now: Now) {
        while let Some(index) = self.sockets.next_full() {
            let (Some(key), Some(stream)) = (self.shard.conn_at(index), self.sockets.stream(index))
            else {
                continue;
            };
            let interest = Interest::READABLE | Interest::WRITABLE;
            if let Err(error) = self.poll.registry().reregister(stream, token_of(key), interest) {
                tracing::warn!(%error, "cannot watch a connection that is full");
                self.shard.hung_up(&mut Turn { now, io: &mut self.sockets }, key);
            }
        }
    }

    /// Sends those off who go to another shard.
    fn hand_off(&mut self) {
        while let Some((shard, (mut stream, caller, handoff))) = self.sockets.next_leaving() {
            if let Err(error) = self.poll.registry().deregister(&mut stream) {
                // Its events come here as well then, and are nobody's.
                tracing::warn!(%error, "a connection that goes to another shard is still announced here");
            }
            self.handoff_queue.send(shard, (stream, caller, handoff));
            self.sockets.port.wake(shard);
        }
    }

    /// Takes those in who come from another shard. What their sockets have is announced anew.
    fn take_over(&mut self, now: Now) {
        while let Some((stream, caller, handoff)) = self.handoff_queue.take() {
            let key = self.shard.take_over(&mut Turn { now, io: &mut self.sockets }, handoff);
            self.register(now, key, stream, caller);
        }
    }

    /// Registers a connection's socket, to be told from now on what it has.
    fn register(&mut self, now: Now, key: ConnKey, mut stream: TcpStream, caller: Caller) {
        match self.poll.registry().register(&mut stream, token_of(key), Interest::READABLE) {
            Ok(()) => self.sockets.insert(key.index(), stream, caller),
            Err(error) => {
                tracing::warn!(%error, "cannot register a connection");
                self.shard.hung_up(&mut Turn { now, io: &mut self.sockets }, key);
            }
        }
    }

    /// The shard has panicked: closes its connections, and puts its next life in its place.
    fn restart(&mut self, now: Now) {
        let conns = self.shard.conns_count();
        // The state is what the panic left. If it does not even do for this, they hear nothing.
        let _ = catch_unwind(AssertUnwindSafe(|| self.shard.last_words(&mut self.sockets)));
        self.sockets.leave_all(now.mono_ms + LINGER_MS);
        self.shard = self.shard.next_life(now);
        self.sockets.log.restarted();
        self.shard.say_restarted(&mut Turn { now, io: &mut self.sockets });
        self.sockets.port.end_turn();
        // What the listener announced may have been lost with the turn.
        self.acceptor.iter_mut().for_each(Acceptor::note_pending);
        self.health.restarts();
        let shard = self.sockets.port.me();
        tracing::error!(shard, conns, "a shard panicked, and restarts");
        self.panics_ms.retain(|panic_ms| now.mono_ms < panic_ms + RESTARTS_WINDOW_MS);
        self.panics_ms.push_back(now.mono_ms);
        if self.panics_ms.len() > RESTARTS_MAX {
            let (times, within_ms) = (self.panics_ms.len(), RESTARTS_WINDOW_MS);
            tracing::error!(shard, times, within_ms, "a shard panics again and again: giving up");
            self.control.give_up(GIVE_UP_OVER_MS);
        }
    }

    /// How long the next poll may wait, after a turn that began at `turned_ms`.
    fn timeout(&mut self, turned_ms: u64) -> Option<Duration> {
        if self.sockets.readable_count() > 0 {
            return Some(Duration::ZERO);
        }
        let capacity =
            Capacity { has_room: self.shard.has_room(), has_closed: self.sockets.has_closed() };
        let accept_ms = self.acceptor.as_ref().and_then(|acceptor| acceptor.due_ms(capacity));
        let due_ms = [self.shard.next_due(), accept_ms, self.sockets.left_until_ms()];
        let due_ms = due_ms.into_iter().flatten().min();
        if due_ms.is_some_and(|due_ms| due_ms <= turned_ms) {
            // As between the slices of a flush: without a look at the clock.
            return Some(Duration::ZERO);
        }
        let wait_ms = due_ms.map(|due_ms| due_ms.saturating_sub(self.clock.mono_ms()));
        // Where the second says no, `woke` follows for both.
        if wait_ms == Some(0) || !self.sockets.port.may_sleep() || !self.sockets.log.may_sleep() {
            return Some(Duration::ZERO);
        }
        if self.handoff_queue.has_arrived() {
            self.sockets.port.woke();
            return Some(Duration::ZERO);
        }
        wait_ms.map(Duration::from_millis)
    }

    /// Does what the process asks for: drains, once.
    fn obey(&mut self, now: Now) {
        let Phase::Drain { over_ms } = self.control.phase() else { return };
        if self.acceptor.take().is_some() {
            self.shard.drain(&mut Turn { now, io: &mut self.sockets }, over_ms);
        }
        if self.shard.is_empty() && !std::mem::replace(&mut self.drained, true) {
            self.control.drained();
        }
    }

    /// Reads the connections that have something, each a bounded number of times; at least one, and
    /// as many as there is memory for.
    fn read(&mut self, now: Now, buffer: &mut [u8]) {
        for _ in 0..self.sockets.readable_count() {
            let Some(index) = self.sockets.next_readable() else { return };
            let Some(key) = self.shard.conn_at(index) else { continue };
            if self.sockets.awaits_header(index) && !self.take_header(now, key, buffer) {
                continue;
            }
            for turn in 0.. {
                if turn == READS_PER_TURN_MAX {
                    self.sockets.read_again(index);
                    break;
                }
                match self.sockets.read(index, buffer) {
                    Ok(0) => {
                        self.shard.ended(&mut Turn { now, io: &mut self.sockets }, key);
                        break;
                    }
                    Ok(count) => {
                        let goes_on = self.shard.received(
                            &mut Turn { now, io: &mut self.sockets },
                            key,
                            &mut buffer[..count],
                        );
                        if !goes_on {
                            self.sockets.stop_reading(index);
                        }
                        let is_drained = count < buffer.len() && !self.sockets.has_end(index);
                        if !goes_on || is_drained || !self.is_open(key) {
                            break;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => {
                        self.shard.hung_up(&mut Turn { now, io: &mut self.sockets }, key);
                        break;
                    }
                }
            }
            if self.shard.is_full() {
                // The others have the next turn, when there is room again.
                return;
            }
        }
    }

    /// Takes the header that a connection begins with. False while it is not whole, and if the
    /// connection is let go of for it.
    fn take_header(&mut self, now: Now, key: ConnKey, buffer: &mut [u8]) -> bool {
        let error = match self.sockets.take_header(key.index(), buffer) {
            Ok(is_taken) => return is_taken,
            Err(error) => error,
        };
        match error {
            HeaderError::Proxy(error) => {
                tracing::debug!(%error, "connection refused: it begins with no PROXY header");
            }
            HeaderError::Crowded => self.shard.address_refused(),
            HeaderError::Ended => {}
        }
        self.shard.hung_up(&mut Turn { now, io: &mut self.sockets }, key);
        false
    }

    fn is_open(&self, key: ConnKey) -> bool {
        self.shard.conn_at(key.index()) == Some(key)
    }

    /// Takes in who is waiting, up to a number: those who are in have a turn to come.
    fn accept(&mut self, now: Now) {
        let mut has_closed = self.sockets.take_closed();
        for _ in 0..ACCEPTS_PER_TURN_MAX {
            let capacity = Capacity {
                has_room: self.shard.has_room(),
                has_closed: std::mem::take(&mut has_closed),
            };
            let Some(acceptor) = &mut self.acceptor else { return };
            match acceptor.accept(now.mono_ms, capacity, self.wait_ms) {
                Accepted::Conn(stream, permit) => {
                    let turn = &mut Turn { now, io: &mut self.sockets };
                    // With no room for it, it is closed at once: refused, rather than accepted and
                    // lost.
                    let Some(key) = self.shard.open(turn) else { continue };
                    self.register(now, key, stream, Caller { permit, client: None });
                    if self.expects_header {
                        self.sockets.expect_header(key.index());
                    }
                }
                // Closed at once as well.
                Accepted::Crowded => self.shard.address_refused(),
                Accepted::None => return,
                Accepted::Failed { error, is_first } => {
                    self.shard.accept_failed();
                    if is_first {
                        tracing::warn!(%error, retry_ms = ACCEPT_RETRY_MS, "cannot accept connections");
                    }
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::identity::Identity;
    use crate::limits::{HistoryLimits, Limits, PresenceLimits};
    use crate::link::log::MemoryLog;
    use crate::mesh;
    use crate::shard::{Request, Routed, Settings, Site};

    struct Closed;

    impl Site for Closed {
        fn identify(&self, _: &str, _: Now) -> Option<Identity> {
            None
        }

        fn secret(&self) -> Option<u128> {
            None
        }

        fn respond(&self, _: &Request<'_, '_>, _: &mut Vec<u8>) -> Routed {
            Routed::Answered
        }
    }

    #[test]
    fn a_shard_that_panics_when_it_is_to_drain_restarts_and_has_drained() {
        let listener = listen(([127, 0, 0, 1], 0).into()).unwrap();
        let port = mesh::connect(1, 1_024).pop().unwrap();
        let queue = HandoffQueue::connect(1).pop().unwrap();
        let (control, health) = (Arc::new(Control::default()), Arc::new(Health::default()));
        let (clock, shared) = (Clock::new(), Arc::clone(&control));
        while clock.now().mono_ms < 2 {
            std::thread::yield_now();
        }
        let entrance = (listener, Arc::new(Addresses::new(0)));
        let (history, presence) = (HistoryLimits::default(), PresenceLimits::default());
        let settings = Settings::new(1, Limits::default(), history, presence, Vec::new());
        let reactor = Reactor::new(
            entrance,
            (port, queue, MemoryLog),
            shared,
            clock,
            Arc::clone(&health),
            |now| Shard::new(0, Arc::new(settings), Arc::new(Closed), 1, now),
        );
        // The nearest defect: so late that no time is.
        control.begin(Phase::Drain { over_ms: u64::MAX });
        reactor.unwrap().run().unwrap();
        assert_eq!(health.restarts_count(), 1);
        assert_eq!(control.phase(), Phase::Stop, "nobody is left");
    }
}

//! What a shard acts on: sockets, other shards, and the log of rooms. The reactor implements it
//! with real ones, the simulator with pretend ones.

use std::net::IpAddr;

use crate::auth::identity::Identity;
use crate::base::time::Now;
use crate::link::log::Log;
use crate::wire::phx::Serializer;

/// Sockets, other shards, and the log of rooms. A type parameter, so that the server has no dynamic
/// calls.
///
/// `Shard` is `crate::shard::Shard`: what calls this, and what is called back.
pub trait Io {
    /// What keeps the entries of rooms.
    type Log: Log;

    /// The log of rooms. Its later answers come through `Shard::log_said`.
    fn log(&mut self) -> &mut Self::Log;

    /// Writes to a connection as much as it takes now, and returns how many bytes that was. If it
    /// takes less than all, `Shard::writable` or `Shard::hung_up` will follow. The latter is the
    /// only sign of an error.
    fn write(&mut self, conn: u32, bytes: &[u8]) -> usize;

    /// Ends our half of a connection, when everything has been written.
    fn shut(&mut self, conn: u32);

    /// Closes a connection at once. Its index may be given to the next one. Of a session of long
    /// polling, which has an index and no socket, there is nothing to close.
    fn close(&mut self, conn: u32);

    /// Resumes reading a connection, after `Shard::received` has returned false. Does nothing for a
    /// session.
    fn resume(&mut self, conn: u32);

    /// Takes a place for a session of long polling, of those that the address has from which the
    /// connection `opener` comes. False if it has none left. [`Io::close`] of the session gives it
    /// back.
    fn admit_session(&mut self, _opener: u32, _session: u32) -> bool {
        true
    }

    /// Gives a connection's socket to another shard, where `Shard::take_over` follows and gives it
    /// an index there. Its index here may be given to the next one.
    fn hand_off(&mut self, conn: u32, shard: u16, handoff: Handoff);

    /// The address that a connection comes from: its peer's, or its client's as a proxy in front
    /// has told it. `None` if it is not known.
    fn peer(&self, _conn: u32) -> Option<IpAddr> {
        None
    }

    /// Counts a connection, or a session, for the address of its client from now on, and no longer
    /// for the one it came from. False, and without any change, if there are as many from there as
    /// may be.
    fn admit(&mut self, _conn: u32, _client: IpAddr) -> bool {
        true
    }

    /// Sends a record to another shard. Records arrive in order, and none is lost.
    fn send(&mut self, shard: u16, record: &[u8]);

    /// How many bytes wait on this side of the way to a shard.
    fn waiting_bytes(&self, shard: u16) -> usize;

    /// A clock to measure costs with, in microseconds since any moment.
    fn elapsed_us(&self) -> u64;
}

/// One turn of the loop: its time, and what it acts on.
pub struct Turn<'a, I: Io> {
    /// The time, the same for the whole turn.
    pub now: Now,
    /// Sockets and other shards.
    pub io: &'a mut I,
}

/// The lives of the two shards of a handoff. A shard that restarts begins another life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lives {
    /// The life of the sender.
    pub(crate) from: u32,
    /// The life of the receiver, as far as the sender knew.
    pub(crate) to: u32,
}

/// When a client is told that its token is about to end, and whether it has been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    /// How long before the end, in milliseconds.
    pub(crate) lead_ms: u64,
    /// Whether it has been told.
    pub(crate) is_told: bool,
}

/// A connection on its way to another shard: all but its socket.
#[derive(Debug)]
pub struct Handoff {
    /// The shard that it comes from.
    pub(crate) from: u16,
    /// The lives of the two shards: its place counts only between these.
    pub(crate) lives: Lives,
    pub(crate) identity: Identity,
    pub(crate) warning: Warning,
    pub(crate) serializer: Serializer,
    /// Its input that was not handled, from its first join on.
    pub(crate) held: Vec<u8>,
}

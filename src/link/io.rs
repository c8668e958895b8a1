//! What a shard acts on. The reactor implements it with sockets and rings, the simulator with
//! pretend ones.

use std::net::IpAddr;

use crate::auth::identity::Identity;
use crate::base::time::Now;
use crate::link::log::Log;
use crate::wire::phx::Serializer;

/// Sockets, and the other shards. Monomorphised away in the server.
///
/// `Shard` is `crate::shard::Shard`: what calls this, and what is called back.
pub trait Io {
    /// What keeps the entries of rooms.
    type Log: Log;

    /// What keeps the entries of rooms. It says later what it does not say in the call:
    /// `Shard::log_said`.
    fn log(&mut self) -> &mut Self::Log;

    /// Writes to a connection as much as it takes now, and returns how much that was. Less than all
    /// means that `Shard::writable` or `Shard::hung_up` will follow; an error is told by that
    /// alone.
    fn write(&mut self, conn: u32, bytes: &[u8]) -> usize;

    /// Ends our half of a connection: everything has been written.
    fn shut(&mut self, conn: u32);

    /// Lets go of a connection at once. Its number may be given to the next one. A session of long
    /// polling has one too, and no socket: then there is nothing to let go of.
    fn close(&mut self, conn: u32);

    /// Reads a connection on, after `Shard::received` had said to stop; nothing, for a session.
    fn resume(&mut self, conn: u32);

    /// Takes a place for a session of long polling, of those that the address has from which the
    /// connection `opener` comes. False if it has none left. [`Io::close`] of the session gives it
    /// back.
    fn admit_session(&mut self, _opener: u32, _session: u32) -> bool {
        true
    }

    /// Gives a connection's socket to another shard, which is told by `Shard::take_over` and gives
    /// it a number of its own. This one may be given to the next.
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

    /// Sends a record to another shard, in order, sooner or later.
    fn send(&mut self, shard: u16, record: &[u8]);

    /// How many bytes wait on this side for that shard.
    fn waiting_bytes(&self, shard: u16) -> usize;

    /// A clock for the cost of one thing beside another, in microseconds since any moment.
    fn elapsed_us(&self) -> u64;
}

/// One turn of the loop: when it is, and what it acts on.
pub struct Turn<'a, I: Io> {
    /// The time, the same for the whole turn.
    pub now: Now,
    /// Sockets and other shards.
    pub io: &'a mut I,
}

/// A life of each of two shards, between which something goes; a shard that restarts has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lives {
    /// Of the one that it comes from.
    pub(crate) from: u32,
    /// Of the one that it goes to, as far as the other one knew.
    pub(crate) to: u32,
}

/// A connection on its way to another shard: all but its socket.
#[derive(Debug)]
pub struct Handoff {
    /// The shard that it comes from.
    pub(crate) from: u16,
    /// Between which lives of the two shards its place goes with it.
    pub(crate) lives: Lives,
    pub(crate) identity: Identity,
    pub(crate) serializer: Serializer,
    /// What it sent, from its first join on.
    pub(crate) held: Vec<u8>,
}

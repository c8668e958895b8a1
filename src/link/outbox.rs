//! What every part of a shard may use in a turn beside its own state ([`Cx`]), with the ways to
//! other shards: sending records, and how full a way is.

use std::net::IpAddr;

use crate::base::budget::Budget;
use crate::base::time::Now;
use crate::base::timers::Timers;
use crate::limits::{ANSWER_BYTES_PER_WORK, MESH_BUSY_BYTES, MESH_PAUSE_BYTES};
use crate::link::field::Field;
use crate::link::ids::{AudienceKey, ConnKey, RoomKey};
use crate::link::io::Io;
use crate::link::log::{Log as _, NodeId};
use crate::link::metrics::Metrics;
use crate::link::pressure::Pressure;
use crate::link::rates::AddressHash;
use crate::link::record::{FromSession, ToMember, ToSession};
use crate::link::settings::Settings;

/// Work that is due at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// A room's presence.
    Room(RoomKey),
    /// What is collected in a room is told.
    Collected(RoomKey),
    /// Messages of a room may have grown for the last time.
    Streams(RoomKey),
    /// A room in which nobody is may be let go of.
    Cooled(RoomKey),
    /// Other nodes are told that what they know of a room still holds.
    Slice(RoomKey),
    /// Rooms are gone through, since other nodes have gone or this one has another life.
    Nodes,
    /// Messages of rooms in memory may be older than they are kept.
    Ages,
    /// A large room may be flushed again.
    Pace(AudienceKey),
    /// What changed in the rooms here goes to the directories.
    Listings,
    /// What changed in the directory goes to the lobby.
    Lobby,
    /// Connections that are idle, late or expired are looked for.
    Sweep,
    /// Some more connections are closed.
    Drain,
    /// Memory is counted.
    Weigh,
}

/// What every part of a shard may use in a turn, beside its own state.
pub(crate) struct Cx<'a, I: Io> {
    /// The shard.
    pub(crate) id: u16,
    /// The time, the same for the whole turn.
    pub(crate) now: Now,
    /// Sockets and other shards.
    pub(crate) io: &'a mut I,
    /// The settings of the server.
    pub(crate) settings: &'a Settings,
    /// What it counts.
    pub(crate) metrics: &'a mut Metrics,
    /// Work that is due later.
    pub(crate) timers: &'a mut Timers<Timer>,
    /// How near the shard's memory is to its bound.
    pub(crate) pressure: Pressure,
    /// Whether the server is about to stop.
    pub(crate) is_draining: bool,
    /// The work that this turn may still do for peers.
    pub(crate) budget: &'a mut Budget,
    /// Memory to write a record in.
    pub(crate) record: &'a mut Vec<u8>,
}

/// The way of a room to its members, on this shard and on others.
pub(crate) trait Tell<I: Io> {
    /// Tells the members of a room that are on `shard`: by a call, or by a record.
    fn tell(&mut self, cx: &mut Cx<'_, I>, shard: u16, message: ToMember<'_>);
}

impl<I: Io> Cx<'_, I> {
    /// Sends a record to another shard. It costs as much work as an answer of its length.
    pub(crate) fn send<'m>(&mut self, shard: u16, message: impl Field<'m>) {
        message.put(self.record);
        self.budget.spend_for(self.record.len(), ANSWER_BYTES_PER_WORK);
        self.io.send(shard, self.record);
        self.record.clear();
    }

    /// Passes on what asks for a session of long polling at another node. False, if that is not
    /// taken now; if it is, an answer will follow, unless it asks for none.
    pub(crate) fn ask_node(&mut self, node: NodeId, message: ToSession<'_>) -> bool {
        message.put(self.record);
        self.budget.spend_for(self.record.len(), ANSWER_BYTES_PER_WORK);
        let is_taken = self.io.log().ask_session(node, self.record);
        self.record.clear();
        is_taken
    }

    /// Answers another node that has asked for a session here.
    pub(crate) fn answer_node(&mut self, node: NodeId, message: FromSession<'_>) {
        message.put(self.record);
        self.budget.spend_for(self.record.len(), ANSWER_BYTES_PER_WORK);
        self.io.log().answer_session(node, self.record);
        self.record.clear();
    }

    /// Whether the way to a shard is so full that pushes to it are answered `busy`.
    pub(crate) fn is_busy(&self, shard: u16) -> bool {
        shard != self.id && self.io.waiting_bytes(shard) > MESH_BUSY_BYTES
    }

    /// Whether the way to a shard is so full that connections that feed it are paused.
    pub(crate) fn is_filling(&self, shard: u16) -> bool {
        shard != self.id && self.io.waiting_bytes(shard) > MESH_PAUSE_BYTES
    }

    /// Whether any of the ways from here is filling.
    pub(crate) fn is_any_filling(&self) -> bool {
        (0..self.settings.shards).any(|shard| self.is_filling(shard))
    }

    /// An address as it has rates; a trusted proxy has none.
    pub(crate) fn rated(&self, address: IpAddr) -> Option<AddressHash> {
        let is_trusted = self.settings.trusted_proxies.contains(address);
        self.settings.rates.address(address).filter(|_| !is_trusted)
    }

    /// The same of where a connection comes from.
    pub(crate) fn rated_peer(&self, conn: ConnKey) -> Option<AddressHash> {
        self.io.peer(conn.index()).and_then(|address| self.rated(address))
    }

    /// The shard that a topic's home is on. See [`Settings::home_of`].
    pub(crate) fn home_of(&self, topic: &str) -> u16 {
        self.settings.home_of(topic)
    }
}

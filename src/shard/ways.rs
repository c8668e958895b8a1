//! The ways between shards: what goes there and what comes from there, and what is done when one of
//! them fills up.
//!
//! A message to one's own shard is a call, with the same values.

use super::conn::{Conn, PARKED};
use super::message::{self, Field, FromSession, Received, ToHome, ToMember, ToSession};
use super::{Io, Shard, Turn};
use crate::base::arena::Key;
use crate::limits::{MESH_BUSY_BYTES, MESH_PAUSE_BYTES};

impl Shard {
    /// Handles a record that another shard sent.
    pub fn heard_from<I: Io>(&mut self, turn: &mut Turn<'_, I>, shard: u16, record: &[u8]) {
        match message::read(record) {
            Received::Life(message) => self.at_life(turn, shard, message),
            _ if self.is_deaf_to(shard) => {}
            Received::ToHome(message) => self.at_home(turn, shard, message),
            Received::ToMember(message) => self.at_member(turn, message),
            Received::ToSession(message) => self.at_session(turn, shard, message),
            Received::FromSession(message) => self.at_poller(turn, message),
        }
    }

    /// The shard that a topic's home is on: the same for everybody, whatever the shard.
    pub(super) fn home_of(&self, topic: &str) -> u16 {
        // Fixed keys: all shards must agree. That somebody could choose names of one home only
        // makes that one busy.
        let hash = ahash::RandomState::with_seeds(1, 2, 3, 4).hash_one(topic);
        u16::try_from(hash % u64::from(self.settings.shards))
            .expect("less than the number of shards")
    }

    /// Asks the home of a room, here or on another shard.
    pub(super) fn tell_home<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        shard: u16,
        message: ToHome<'_>,
    ) {
        if shard == self.id {
            self.at_home(turn, shard, message);
        } else {
            self.send(turn, shard, message);
        }
    }

    /// Tells the members of a room, here or on another shard.
    pub(super) fn tell_member<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        shard: u16,
        message: ToMember<'_>,
    ) {
        if shard == self.id {
            self.at_member(turn, message);
        } else {
            self.send(turn, shard, message);
        }
    }

    /// Sends a record to another shard.
    pub(super) fn send<'a, I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        shard: u16,
        message: impl Field<'a>,
    ) {
        message.put(&mut self.record);
        turn.io.send(shard, &self.record);
        self.record.clear();
    }

    /// Handles what a room's home says to the members here.
    pub(super) fn at_member<I: Io>(&mut self, turn: &mut Turn<'_, I>, message: ToMember<'_>) {
        match message {
            ToMember::Joined { conn, audience, home, slot, response } => {
                if let Some(audience) = self.audiences.get_mut(audience) {
                    audience.home = Some(home);
                }
                self.joined(turn, conn, audience, slot, response);
            }
            ToMember::Refused { conn, audience, response } => {
                self.refused(conn, audience, response)
            }
            ToMember::Left { conn, audience, slot, reference } => {
                self.left(conn, audience, slot, reference)
            }
            ToMember::Reply { conn, audience, slot, reference, status, response } => {
                self.replied(conn, audience, slot, reference, status, response);
            }
            ToMember::Deliver { audience, event, payload } => {
                self.deliver(audience, event, payload)
            }
            ToMember::State { audience, list, count, own } => {
                self.show(turn, audience, list, count, own)
            }
            ToMember::Created { conn, status, body } => self.created(turn, conn, status, body),
        }
    }

    /// Whether the way to a shard is so full that nothing more may be asked of it.
    pub(super) fn is_busy<I: Io>(&self, turn: &Turn<'_, I>, shard: u16) -> bool {
        shard != self.id && turn.io.waiting_bytes(shard) > MESH_BUSY_BYTES
    }

    /// Whether the way to a shard is full enough that those who feed it should stop.
    pub(super) fn is_filling<I: Io>(&self, turn: &Turn<'_, I>, shard: u16) -> bool {
        shard != self.id && turn.io.waiting_bytes(shard) > MESH_PAUSE_BYTES
    }

    /// Whether any of the ways from here is.
    pub(super) fn is_any_filling<I: Io>(&self, turn: &Turn<'_, I>) -> bool {
        (0..self.settings.shards).any(|shard| self.is_filling(turn, shard))
    }

    /// Stops reading a connection that feeds a way which is filling, until all ways to other shards
    /// are free again. What is said in a room that lives here may go to all of them.
    pub(super) fn pause_if_filling<I: Io>(
        &mut self,
        turn: &Turn<'_, I>,
        key: Key<Conn>,
        shard: u16,
    ) {
        let is_filling =
            if shard == self.id { self.is_any_filling(turn) } else { self.is_filling(turn, shard) };
        if is_filling && self.conns.contains(key) && !self.is_closing(key) {
            self.flags[key.index() as usize] |= PARKED;
            self.paused.push(key);
        }
    }

    pub(super) fn unpause<I: Io>(&mut self, turn: &Turn<'_, I>) {
        if self.paused.is_empty() || self.is_any_filling(turn) {
            return;
        }
        let mut paused = std::mem::take(&mut self.paused);
        for key in paused.drain(..) {
            self.unpark(key);
        }
        self.paused = paused;
    }

    /// Asks a session of long polling, here or on another shard.
    pub(super) fn tell_session<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        shard: u16,
        message: ToSession<'_>,
    ) {
        if shard == self.id {
            self.at_session(turn, shard, message);
        } else {
            self.send(turn, shard, message);
        }
    }

    /// Answers a connection that polls, here or on another shard.
    pub(super) fn tell_poller<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        shard: u16,
        message: FromSession<'_>,
    ) {
        if shard == self.id {
            self.at_poller(turn, message);
        } else {
            self.send(turn, shard, message);
        }
    }
}

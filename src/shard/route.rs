//! Routes the questions of the parts: to a part of this shard by a call, or to another shard as a
//! record with the same values.
//!
//! Called by: `shard`, `reactor` with records of other shards. Calls: `rooms`, `member`,
//! `directory`, `restart`.

use super::{Shard, Turn};
use crate::base::budget::Purse;
use crate::conn::Side;
use crate::limits::{ANSWER_BYTES_PER_WORK, MESSAGE_WORK, VISITS_PER_WORK};
use crate::link::ask::Ask;
use crate::link::ids::{ConnKey, Ticket};
use crate::link::io::Io;
use crate::link::log::FromLog;
use crate::link::polled::{BUSY, DONE, MALFORMED};
use crate::link::record::{self, FromSession, Received, ToHome, ToSession};

impl Shard {
    /// Asks another part, here or on another shard, after all questions that wait in the queue of
    /// the members.
    pub(super) fn ask<I: Io>(&mut self, turn: &mut Turn<'_, I>, ask: Ask<'_>) {
        self.relay(turn);
        self.route(turn, ask);
        self.relay(turn);
    }

    /// Routes what the members ask without a message of a client: mostly ends of memberships.
    pub(super) fn relay<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        while let Some(ask) = self.members.next_ask() {
            self.route(turn, ask);
        }
    }

    /// Tells the homes of members that were evicted here.
    pub(super) fn relay_evicted<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        while let Some(ask) = self.members.next_evicted() {
            self.route(turn, ask);
        }
    }

    fn route<I: Io>(&mut self, turn: &mut Turn<'_, I>, ask: Ask<'_>) {
        let me = self.common.id;
        match ask {
            Ask::Home { shard, message } if shard == me => self.hear_member(turn, me, message),
            Ask::Home { shard, message } => self.common.cx(turn).send(shard, message),
            Ask::Session { node: Some(node), message } => {
                let cx = &mut self.common.cx(turn);
                if !cx.ask_node(node, message)
                    && let Some(refusal) = message.refusal(BUSY)
                {
                    self.members.conns.hear_session(cx, refusal);
                }
            }
            Ask::Session { node: None, message } => match message.ticket().shard {
                shard if shard == me => self.hear_poller(turn, Side::Shard(me), message),
                shard => self.common.cx(turn).send(shard, message),
            },
        }
    }

    /// Whether one more record of another shard may be handled in this turn. The others stay in the
    /// ring, in order.
    #[must_use]
    pub fn may_hear(&self) -> bool {
        self.common.budget.has_left(Purse::Mesh)
    }

    /// Handles a record that another shard sent. It costs what a message of a connection costs, for
    /// its length and for its answers too.
    pub fn heard_from<I: Io>(&mut self, turn: &mut Turn<'_, I>, shard: u16, record: &[u8]) {
        self.common.budget.switch(Purse::Mesh);
        self.common.budget.spend(MESSAGE_WORK);
        self.common.budget.spend_for(record.len(), ANSWER_BYTES_PER_WORK);
        match record::read(record) {
            Received::Restart(message) => self.hear_restart(turn, shard, message),
            _ if self.restart.is_deaf_to(shard) => {}
            Received::ToHome(message) => self.hear_member(turn, shard, message),
            Received::ToMember(message) => {
                self.members.hear(&mut self.common.cx(turn), message);
            }
            Received::ToSession(message) => {
                self.hear_poller(turn, Side::Shard(shard), message);
            }
            Received::FromSession(message) => {
                self.members.conns.hear_session(&mut self.common.cx(turn), message);
            }
        }
        self.relay(turn);
        self.spend_visits();
        self.common.budget.switch(Purse::Conns);
    }

    /// Counts the work of all look-ups in the directory since the last call.
    pub(super) fn spend_visits(&mut self) {
        let visits = usize::try_from(self.directory.take_visits()).unwrap_or(usize::MAX);
        self.common.budget.spend_for(visits, VISITS_PER_WORK);
    }

    /// Handles what the log of rooms says after the call: see [`Io::log`]. Returns the work that it
    /// was, in units of [`crate::limits::TURN_WORK`].
    pub fn log_said<I: Io>(&mut self, turn: &mut Turn<'_, I>, message: FromLog<'_>) -> u64 {
        let done = self.common.budget.done();
        let cx = &mut self.common.cx(turn);
        match message {
            FromLog::Listed { rooms, next } => {
                self.rooms.hear_kept(cx, &mut self.directory, rooms, next);
                self.spend_visits();
            }
            FromLog::NotListed => self.rooms.kept_not_listed(cx),
            FromLog::SessionAsked { from, record } => {
                // As a record of another shard of this node.
                cx.budget.spend_for(record.len(), ANSWER_BYTES_PER_WORK);
                let Received::ToSession(message) = record::read(record) else {
                    unreachable!("whoever passes it on has read it")
                };
                self.hear_poller(turn, Side::Node(from), message);
            }
            FromLog::SessionAnswered { record } => {
                cx.budget.spend_for(record.len(), ANSWER_BYTES_PER_WORK);
                let Received::FromSession(message) = record::read(record) else {
                    unreachable!("whoever passes it on has read it")
                };
                self.members.conns.hear_session(cx, message);
            }
            _ => self.rooms.hear_log(cx, &mut self.members, message),
        }
        self.relay(turn);
        self.common.budget.spend(MESSAGE_WORK);
        self.common.budget.done() - done
    }

    /// Handles what another shard, or this one, asks of a room here, or tells this shard.
    fn hear_member<I: Io>(&mut self, turn: &mut Turn<'_, I>, shard: u16, message: ToHome<'_>) {
        match message {
            ToHome::Listing { room, title, members } => {
                self.directory.learn(room, title, members);
            }
            ToHome::Load { conns, is_full, places } => {
                self.handoffs.learn(shard, conns, is_full, places);
            }
            ToHome::Join { .. } => {
                let is_filling = self.common.cx(turn).is_filling(shard);
                if is_filling || !self.admission.admits_join(shard) {
                    self.line_up_join(turn, shard, message);
                } else {
                    self.join_room(turn, shard, message);
                }
            }
            _ => {
                let cx = &mut self.common.cx(turn);
                self.rooms.hear(cx, &mut self.members, shard, message);
            }
        }
    }

    /// Lets in a join that admission has called, or did not hold up.
    pub(super) fn join_room<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        shard: u16,
        message: ToHome<'_>,
    ) {
        let cx = &mut self.common.cx(turn);
        let bytes = self.rooms.ask_for_room(cx, &mut self.members, shard, message);
        // Nothing, if it was refused.
        if bytes > 0 {
            self.admission.spend(bytes);
        }
    }

    /// Handles what a poller's shard, or another node, asks of a session here.
    fn hear_poller<I: Io>(&mut self, turn: &mut Turn<'_, I>, side: Side, message: ToSession<'_>) {
        if let ToSession::Post { conn, ticket, frames } = message {
            return self.post(turn, side, conn, ticket, frames);
        }
        self.members.hear_poller(&mut self.common.cx(turn), side, message);
    }

    /// Handles what was posted to a session, as input of that session's connection.
    fn post<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        side: Side,
        conn: ConnKey,
        ticket: Ticket,
        frames: &[u8],
    ) {
        let taken = self.members.takes_post(&mut self.common.cx(turn), ticket).map(|()| {
            let mut frames = frames.to_vec();
            // They may come in another shard's record, but count and wait as input of a connection.
            let purse = self.common.budget.switch(Purse::Conns);
            self.received(turn, ticket.key, &mut frames);
            self.common.budget.switch(purse);
            if self.members.conns.has_session(ticket) { DONE } else { MALFORMED }
        });
        let (Ok(status) | Err(status)) = taken;
        let posted = FromSession::Posted { conn, status };
        self.members.tell_poller(&mut self.common.cx(turn), side, posted);
    }
}

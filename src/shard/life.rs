//! A shard that panicked begins anew, empty; and the others forget what they knew of its old life.
//!
//! ```text
//!   shard 0, life 1      shard 1
//!        panics          Join, Publish, ... to life 0 ─┐ thrown away: life 1 is deaf to shard 1
//!     Restarted ───────────> forgets shard 0           │
//!        <───────────────── Hello, life 1 <────────────┘ from here on it hears
//! ```
//!
//! Rings keep their order, so behind `Restarted` comes nothing of the old life, and before `Hello`
//! nothing for the new one. Keys of the old life miss: generations go on where it ended. Clients of
//! the shard itself are told by its [last words](Shard::last_words).
//!
//! Deliberately absent: saving anything. What a panic leaves behind is not to be trusted; history
//! has a new epoch.

use std::sync::Arc;

use super::channel::Departed;
use super::channels::Passage;
use super::conn::{CLOSING, Conn, SESSION, SHUT};
use super::http::{Exchange, TRY_AGAIN};
use super::message::{FromSession, Life};
use super::session::GONE;
use super::{Audience, Io, Shard, Turn};
use crate::base::arena::{Arena, Key};
use crate::base::time::Now;
use crate::chat::topic::{self, Topic};
use crate::limits::SESSION_TIMEOUT_MS;
use crate::wire::ws::close::{CloseCode, push_close};

/// How far apart the epochs of two lives are, should there be no random numbers.
const EPOCHS_PER_LIFE: u64 = 1 << 40;

impl Shard {
    /// What can still be said to the connections of a shard that panicked: why it ends. Nothing is
    /// expected of their state.
    pub fn last_words<I: Io>(&mut self, io: &mut I) {
        for (key, conn) in self.conns.iter() {
            let index = key.index();
            let flags = self.flags.get(index as usize).copied().unwrap_or_default();
            let is_open = self.stages.get(index as usize).is_some_and(|stage| stage.is_open());
            if flags & (SESSION | SHUT) != 0 {
                continue;
            }
            // What was begun goes first: the close frame must not stand in the middle of another.
            let mut bytes = conn.out.map(|out| self.buffers.bytes(out).clone()).unwrap_or_default();
            if is_open && flags & CLOSING == 0 {
                push_close(&mut bytes, CloseCode::Internal, "");
            }
            io.write(index, &bytes);
            io.shut(index);
        }
    }

    /// The next life of a shard that panicked: empty, with other epochs, and with keys that none of
    /// the old life finds anything by.
    #[must_use]
    pub fn next_life(&self, now: Now) -> Self {
        let seed = self.site.secret().and_then(|secret| u64::try_from(secret >> 64).ok());
        let seed = seed.unwrap_or_else(|| self.upkeep.next_seed().wrapping_add(EPOCHS_PER_LIFE));
        let mut next =
            Self::new(self.id, Arc::clone(&self.settings), Arc::clone(&self.site), seed, now);
        next.life = self.life + 1;
        next.conns = Arena::following(&self.conns);
        next.audiences = Arena::following(&self.audiences);
        next.homes = Arena::following(&self.homes);
        next.draining = self.draining;
        next.metrics = self.metrics;
        next.deaf_to = (0..self.settings.shards).map(|shard| shard != self.id).collect();
        next
    }

    /// Tells the others that this life has begun. Before anything else.
    pub fn say_restarted<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        let (me, life) = (self.id, self.life);
        for shard in (0..self.settings.shards).filter(|shard| *shard != me) {
            self.send(turn, shard, Life::Restarted { life });
        }
    }

    /// Whether what this shard sends is still meant for another life.
    pub(super) fn is_deaf_to(&self, shard: u16) -> bool {
        self.deaf_to.get(usize::from(shard)).is_some_and(|deaf| *deaf)
    }

    /// Handles what another shard says of lives.
    pub(super) fn at_life<I: Io>(&mut self, turn: &mut Turn<'_, I>, shard: u16, message: Life) {
        match message {
            Life::Restarted { life } => {
                self.forget(turn, shard);
                self.send(turn, shard, Life::Hello { life });
                self.list_all();
            }
            Life::Hello { life } if life == self.life => self.deaf_to[usize::from(shard)] = false,
            // For a life that has ended too.
            Life::Hello { .. } => {}
        }
    }

    /// Forgets all that another shard had here, and all that was expected of it.
    fn forget<I: Io>(&mut self, turn: &mut Turn<'_, I>, shard: u16) {
        self.dismissed.retain(|dismissed| dismissed.home_shard != shard);
        self.admission.forget(shard);
        self.handoffs.forget(shard);
        self.forget_members(turn, shard);
        self.lose_homes(shard);
        self.forget_pollers(turn.now.mono_ms, shard);
        self.answer_waiting(turn, shard);
        let rooms: Vec<Box<str>> = self.directory.names().map(Box::from).collect();
        for room in rooms {
            if self.home_of(&topic::of_room(&room)) == shard {
                self.directory.learn(&room, "", None);
            }
        }
    }

    /// Ends the channels in rooms whose home is gone, loudly; stock clients join again.
    fn lose_homes(&mut self, shard: u16) {
        let is_lost = |audience: &Audience| {
            audience.home_shard == shard && Topic::parse(&audience.topic) != Some(Topic::Lobby)
        };
        let lost: Vec<_> = self
            .audiences
            .iter()
            .filter(|(_, audience)| is_lost(audience))
            .map(|(key, _)| key)
            .collect();
        for key in &lost {
            if let Some(audience) = self.audiences.get_mut(*key) {
                audience.home = None;
                audience.joining = 0;
            }
        }
        let members: Vec<(Key<Conn>, Key<Audience>)> = self
            .conns
            .iter()
            .flat_map(|(conn, record)| {
                record.channels.iter().map(move |channel| (conn, channel.audience))
            })
            .filter(|(_, audience)| self.audiences.get(*audience).is_some_and(is_lost))
            .collect();
        for (conn, audience) in members {
            if let Some(channel) = self.stand_up(conn, audience) {
                self.end_channel(conn, audience, channel);
                self.unpark(conn);
            }
        }
        for audience in lost {
            self.drop_if_deserted(audience);
        }
    }

    /// Tells a client that its channel has ended with the room's home.
    fn end_channel(&mut self, conn: Key<Conn>, audience: Key<Audience>, departed: Departed) {
        let Departed { channel, join_ref, arrival } = departed;
        if matches!(channel.passage, Passage::Leaving | Passage::LeavingUnheard) {
            return self.say_closed(conn, audience, &join_ref);
        }
        let join_ref = arrival.map_or(join_ref, |arrival| arrival.join_ref);
        self.say_lost(conn, audience, &join_ref, "restarted");
    }

    /// Polls that wait here for a connection that is gone wait no longer.
    fn forget_pollers(&mut self, now_ms: u64, shard: u16) {
        let sessions: Vec<_> = self.sessions_polled_by(shard);
        for session in sessions {
            self.deadline(session, now_ms + SESSION_TIMEOUT_MS);
        }
    }

    /// Answers requests that waited for the shard.
    fn answer_waiting<I: Io>(&mut self, turn: &mut Turn<'_, I>, shard: u16) {
        let exchanges = self.exchanges.iter();
        let mut waiting: Vec<_> = exchanges
            .filter(|(_, exchange)| exchange.shard() == shard)
            .map(|(key, _)| *key)
            .collect();
        // No order of a map may be seen outside.
        waiting.sort_unstable();
        for conn in waiting {
            match self.exchanges.get(&conn) {
                None => {}
                Some(Exchange::Create { .. }) => {
                    self.created(turn, conn, 503, TRY_AGAIN);
                }
                Some(Exchange::Poll { .. }) => self.at_poller(turn, FromSession::Gone { conn }),
                Some(Exchange::Post { .. }) => {
                    self.at_poller(turn, FromSession::Posted { conn, status: GONE });
                }
            }
        }
    }
}

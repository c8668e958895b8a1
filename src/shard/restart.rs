//! A shard that panicked begins a new life, empty, and the other shards forget its old life.
//!
//! ```text
//!   shard 0, life 1      shard 1
//!        panics          Join, Publish, ... to life 0 ─┐ thrown away: life 1 is deaf to shard 1
//!     Restarted ───────────> forgets shard 0           │
//!        <───────────────── Hello, life 1 <────────────┘ from here on it hears
//! ```
//!
//! Rings keep their order. So nothing of the old life comes after `Restarted`, and nothing for the
//! new life before `Hello`. Keys of the old life miss, since generations go on where it ended. The
//! shard's own clients are told by its [last words](Shard::last_words).
//!
//! Deliberately absent: saving anything. The state after a panic cannot be trusted. Rooms begin in
//! new epochs.
//!
//! Called by: `reactor`, `route`. Calls: every part.

use std::sync::Arc;

use super::{Shard, Turn};
use crate::api::Api;
use crate::base::time::Now;
use crate::limits::VISITS_PER_WORK;
use crate::link::io::Io;
use crate::link::record::Restart;
use crate::link::topic;

/// The distance between the epochs of two lives, if there are no random numbers: more than one life
/// gives out.
const EPOCHS_PER_LIFE: u64 = 1 << 40;

/// Which life of a shard this is, and which shards have not heard of it yet.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    /// How many times the shard has begun anew.
    life: u32,
    /// By shard: whether it has not heard of this life yet.
    deaf_to: Box<[bool]>,
}

impl Restarts {
    /// Which life of the shard this is, from 0.
    pub(super) fn life(&self) -> u32 {
        self.life
    }

    /// Whether records from `shard` are still meant for an earlier life.
    pub(super) fn is_deaf_to(&self, shard: u16) -> bool {
        self.deaf_to.get(usize::from(shard)).is_some_and(|deaf| *deaf)
    }
}

impl Shard {
    /// Tells the connections of a shard that panicked why they end. Trusts nothing of their state.
    pub fn last_words<I: Io>(&mut self, io: &mut I) {
        self.members.conns.last_words(io);
    }

    /// The next life of a shard that panicked: empty, with new epochs, and with generations in
    /// which all keys of the old life miss.
    #[must_use]
    pub fn next_life(&self, now: Now) -> Self {
        let id = self.common.id;
        let seed = self.api.site.secret().and_then(|secret| u64::try_from(secret >> 64).ok());
        let seed = seed.unwrap_or_else(|| self.rooms.next_seed().wrapping_add(EPOCHS_PER_LIFE));
        let settings = Arc::clone(&self.common.settings);
        let mut next = Self::new(id, settings, Arc::clone(&self.api.site), seed, now);
        next.members.follow(&self.members);
        next.rooms.follow(&self.rooms);
        next.handoffs.follow(&self.handoffs);
        next.common.draining = self.common.draining;
        next.common.metrics = self.common.metrics;
        let shards = 0..self.common.settings.shards;
        let deaf_to = shards.map(|shard| shard != id).collect();
        next.restart = Restarts { life: self.restart.life + 1, deaf_to };
        next
    }

    /// Tells the other shards that this life has begun. Must be called before anything else.
    pub fn say_restarted<I: Io>(&mut self, turn: &mut Turn<'_, I>) {
        let (me, life) = (self.common.id, self.restart.life);
        for shard in (0..self.common.settings.shards).filter(|shard| *shard != me) {
            self.common.cx(turn).send(shard, Restart::Restarted { life });
        }
    }

    /// Handles what another shard says of its life, or of this one's.
    pub(super) fn hear_restart<I: Io>(
        &mut self,
        turn: &mut Turn<'_, I>,
        shard: u16,
        message: Restart,
    ) {
        match message {
            Restart::Restarted { life } => {
                self.forget(turn, shard, life);
                self.common.cx(turn).send(shard, Restart::Hello { life });
                self.rooms.list_all();
            }
            Restart::Hello { life } if life == self.restart.life => {
                self.restart.deaf_to[usize::from(shard)] = false;
            }
            // It is for an earlier life.
            Restart::Hello { .. } => {}
        }
    }

    /// Forgets all members, requests and answers of another shard here, and all that was expected
    /// of it.
    fn forget<I: Io>(&mut self, turn: &mut Turn<'_, I>, shard: u16, life: u32) {
        self.members.forget_evicted(shard);
        self.admission.forget(shard);
        self.handoffs.forget(shard, life);
        let cx = &mut self.common.cx(turn);
        self.rooms.forget_members(cx, shard);
        self.members.lose_homes(cx, shard);
        self.members.conns.forget_pollers(cx.now, shard);
        Api::answer_waiting(cx, &mut self.members.conns, shard);
        let rooms: Vec<Box<str>> = self.directory.names().map(Box::from).collect();
        cx.budget.spend_for(rooms.len(), VISITS_PER_WORK);
        for room in rooms {
            if cx.home_of(&topic::of_room(&room)) == shard {
                self.directory.learn(&room, "", None);
            }
        }
    }
}

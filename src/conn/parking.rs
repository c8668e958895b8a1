//! Parked connections: what each waits for, and what lets it go on.
//!
//! ```text
//!   park ──────────> an answer, or the line of those who come in ── unpark ─┐
//!   park_full ─────> the socket takes what waits for it ── read_on ─────────┤
//!   park_starved ──> a turn has work left ── next_starved                   ├─> handled at the end
//!   pause_if_filling > all ways are free ── unpause ────────────────────────┘   of the turn
//! ```
//!
//! A connection that waits for work is *starved*, and stands in one of two queues: fresh ones had
//! not had their share ([`CONN_WORK`](crate::limits::CONN_WORK)) when the turn's work was done,
//! spent ones had it and want more. Both queues get the same work. So a connection that asks for
//! little is heard in the next turn, however much others ask for (as with the new and old flows of
//! FQ-CoDel).
//!
//! Invariant: a connection is parked for one thing at a time, since nothing of it is handled
//! meanwhile. So an answer does not unpark a connection that waits for something else.
//!
//! Called by: `conn`, `member`, `shard`. Calls: nothing.

use std::collections::{HashMap, VecDeque};

use super::Conns;
use crate::base::slack::{ENTRIES_KEPT, Slack};
use crate::link::ids::ConnKey;
use crate::link::io::Io;
use crate::link::outbox::Cx;

/// What a parked connection waits for, other than an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ParkedFor {
    /// That all ways to other shards are free.
    Ways,
    /// That its socket takes the output that waits for it.
    Output,
    /// A turn with work left.
    Work,
}

/// What a starved connection has had in its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Starved {
    /// Less than its share of work.
    Fresh,
    /// Its share.
    Spent,
}

/// See the module.
#[derive(Default)]
pub(super) struct Parking {
    parked_for: HashMap<ConnKey, ParkedFor, ahash::RandomState>,
    /// Connections that wait for ways. Some may be gone.
    paused: Vec<ConnKey>,
    /// The starved connections, in order; by [`Starved`].
    starved: [VecDeque<ConnKey>; 2],
    /// The work that each of these queues was given since both have been in use.
    given: [u64; 2],
    /// Connections whose wait is over, to be handled at the end of the turn.
    unparked: Vec<ConnKey>,
}

impl Parking {
    /// No connection is parked yet.
    pub(super) fn new(hasher: ahash::RandomState) -> Self {
        Self { parked_for: HashMap::with_hasher(hasher), ..Self::default() }
    }

    /// Forgets a connection that is gone.
    pub(super) fn forget(&mut self, key: ConnKey) {
        if !self.parked_for.is_empty() {
            self.parked_for.remove(&key);
        }
    }

    /// Whether connections are to be handled in the next turn.
    pub(super) fn has_work(&self) -> bool {
        !self.unparked.is_empty() || self.has_starved()
    }

    fn has_starved(&self) -> bool {
        self.starved.iter().any(|queue| !queue.is_empty())
    }

    /// Whether something other than an answer will let a parked connection go on.
    pub(super) fn has_waker(&self, key: ConnKey) -> bool {
        self.parked_for.contains_key(&key) || self.unparked.contains(&key)
    }

    /// Gives back memory that many parked connections at once needed.
    pub(super) fn trim(&mut self) {
        self.parked_for.trim(ENTRIES_KEPT);
        self.paused.trim(ENTRIES_KEPT);
        self.starved.iter_mut().for_each(|queue| queue.trim(ENTRIES_KEPT));
        self.unparked.trim(ENTRIES_KEPT);
    }
}

impl Conns {
    /// Stops handling what a connection sends until [`Conns::unpark`].
    pub(crate) fn park(&mut self, key: ConnKey) {
        self.flags[key.index() as usize].set_parked(true);
    }

    fn park_for(&mut self, key: ConnKey, reason: ParkedFor) {
        self.park(key);
        self.parking.parked_for.insert(key, reason);
    }

    /// Stops handling what a connection sends while too much output waits for it: see
    /// [`Limits::out_mark_bytes`](crate::limits::Limits::out_mark_bytes).
    pub(crate) fn park_full(&mut self, key: ConnKey) {
        self.park_for(key, ParkedFor::Output);
    }

    /// Stops handling what a connection sends until a turn has work left for it.
    pub(crate) fn park_starved(&mut self, key: ConnKey, starved: Starved) {
        self.park_for(key, ParkedFor::Work);
        self.parking.starved[starved as usize].push_back(key);
    }

    /// Whether connections wait for work.
    pub(crate) fn has_starved(&self) -> bool {
        self.parking.has_starved()
    }

    /// Stops reading a connection that feeds a filling way, until all ways to other shards are free
    /// again. If the room's home is here, what is said in it may go to all shards.
    pub(crate) fn pause_if_filling<I: Io>(&mut self, cx: &Cx<'_, I>, key: ConnKey, shard: u16) {
        let is_filling = if shard == cx.id { cx.is_any_filling() } else { cx.is_filling(shard) };
        if is_filling && self.contains(key) && !self.flags(key.index()).is_closing() {
            self.park_for(key, ParkedFor::Ways);
            self.parking.paused.push(key);
        }
    }

    /// Notes that the answer that a connection waits for has come: its input is handled again at
    /// the end of the turn. Does nothing if it waits for something else.
    pub(crate) fn unpark(&mut self, key: ConnKey) {
        if !self.parking.parked_for.contains_key(&key) {
            self.push_unparked(key);
        }
    }

    /// Goes on with a connection that was parked for its output.
    pub(super) fn read_on(&mut self, key: ConnKey) {
        self.unpark_for(key, ParkedFor::Output);
    }

    /// Goes on with all connections that wait for ways, if all ways are free.
    pub(crate) fn unpause<I: Io>(&mut self, cx: &Cx<'_, I>) {
        if self.parking.paused.is_empty() || cx.is_any_filling() {
            return;
        }
        let mut paused = std::mem::take(&mut self.parking.paused);
        for key in paused.drain(..) {
            self.unpark_for(key, ParkedFor::Ways);
        }
        self.parking.paused = paused;
    }

    fn unpark_for(&mut self, key: ConnKey, reason: ParkedFor) {
        if self.flags(key.index()).is_parked() && self.parking.parked_for.get(&key) == Some(&reason)
        {
            self.parking.parked_for.remove(&key);
            self.push_unparked(key);
        }
    }

    fn push_unparked(&mut self, key: ConnKey) {
        if self.contains(key) && self.flags(key.index()).is_parked() {
            self.parking.unparked.push(key);
        }
    }

    /// Takes the next starved connection, of the queue that was given less work.
    pub(crate) fn next_starved(&mut self) -> Option<(ConnKey, Starved)> {
        let Parking { starved: [fresh, spent], given, .. } = &mut self.parking;
        let is_fresh = match (fresh.is_empty(), spent.is_empty()) {
            (false, false) => given[0] <= given[1],
            (has_no_fresh, _) => {
                *given = [0, 0];
                !has_no_fresh
            }
        };
        if is_fresh {
            Some((fresh.pop_front()?, Starved::Fresh))
        } else {
            Some((spent.pop_front()?, Starved::Spent))
        }
    }

    /// Notes how much work a connection of [`Conns::next_starved`] was given.
    pub(crate) fn note_given(&mut self, starved: Starved, work: u64) {
        self.parking.given[starved as usize] += work;
    }

    /// Takes the next connection whose input is to be handled again.
    pub(crate) fn next_unparked(&mut self) -> Option<ConnKey> {
        self.parking.unparked.pop()
    }

    /// Unparks a connection. False if it was not parked, or is gone.
    pub(crate) fn end_park(&mut self, key: ConnKey) -> bool {
        let was_parked = self.contains(key) && self.flags(key.index()).is_parked();
        if was_parked {
            self.flags[key.index() as usize].set_parked(false);
            self.parking.forget(key);
        }
        was_parked
    }

    /// Whether a parked connection will go on without an answer: at the end of the turn, when a
    /// turn has work left, when it has taken its output, or when ways are free.
    pub(crate) fn has_waker(&self, key: ConnKey) -> bool {
        self.parking.has_waker(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conns() -> (Conns, ConnKey) {
        let mut conns = Conns::new(0, |salt| ahash::RandomState::with_seeds(salt, 0, 0, 0));
        let key = conns.take_in(0);
        (conns, key)
    }

    #[test]
    fn who_waits_for_an_answer_goes_on_with_it_once() {
        let (mut conns, key) = conns();
        conns.park(key);
        assert!(!conns.has_waker(key));
        conns.unpark(key);
        assert!(conns.has_waker(key));
        assert_eq!(conns.next_unparked(), Some(key));
        assert!(conns.end_park(key) && !conns.end_park(key));
    }

    #[test]
    fn an_answer_lets_nobody_go_on_who_waits_for_something_else() {
        let (mut conns, key) = conns();
        conns.park_full(key);
        conns.unpark(key);
        assert_eq!(conns.next_unparked(), None);
        conns.read_on(key);
        assert_eq!(conns.next_unparked(), Some(key));
        conns.end_park(key);

        conns.park_starved(key, Starved::Fresh);
        conns.unpark(key);
        conns.read_on(key);
        assert_eq!(conns.next_unparked(), None);
        assert_eq!(conns.next_starved(), Some((key, Starved::Fresh)));
        assert!(conns.end_park(key));
        assert!(!conns.has_waker(key), "it waits for nothing any more");
    }

    #[test]
    fn those_who_ask_for_little_and_for_much_are_given_the_same() {
        let (mut conns, greedy) = conns();
        conns.park_starved(greedy, Starved::Spent);
        let small: Vec<_> = (0..6).map(|_| conns.take_in(0)).collect();
        for key in &small {
            conns.park_starved(*key, Starved::Fresh);
        }
        let mut order = Vec::new();
        while let Some((key, starved)) = conns.next_starved() {
            order.push(key);
            let is_greedy = key == greedy;
            conns.note_given(starved, if is_greedy { 3 } else { 1 });
            if is_greedy && order.len() < 8 {
                conns.park_starved(greedy, Starved::Spent);
            }
        }
        let places = order.iter().enumerate().filter(|(_, key)| **key == greedy);
        assert_eq!(places.map(|(at, _)| at).collect::<Vec<_>>(), [1, 5, 8]);
        assert_eq!(order.len(), 9, "{order:?}");
    }

    #[test]
    fn whoever_is_gone_is_forgotten() {
        let (mut conns, key) = conns();
        conns.park_full(key);
        conns.forget(key);
        assert!(conns.parking.parked_for.is_empty());
        assert!(!conns.end_park(key));
    }
}

//! Which nodes live: each says so again and again, and is believed for as long as its lease.
//!
//! An engine that is away, or takes no writes, declares nobody dead. So for the time of a lease
//! after it has answered again nobody is missed: all have to say first that they live.
//!
//! A life may be over before this node is told that it has begun: it is known by what it has said
//! in rooms alone, and is over like others.
//!
//! Deliberately absent: clocks. The leases of others are judged by the engine's, this module's
//! waits by the one that it is given.

use std::collections::BTreeMap;

use crate::limits::NODES_OVER_MAX;

/// Which nodes live, as this one knows.
#[derive(Debug)]
pub(super) struct Leases {
    me: u64,
    /// Who this node is, once the engine has said so.
    life: Option<u64>,
    /// Others, with their lives.
    others: BTreeMap<u64, u64>,
    /// Lives in which nodes have said something that are not known to have begun: not yet, or not
    /// any more.
    heard: BTreeMap<u64, Heard>,
    /// Lives of nodes that live another one by now, and until when what they have said stands.
    ending: Vec<(u64, u64, u64)>,
    /// Since when it has answered, without having been silent for as long as a lease.
    answers_ms: u64,
    /// When it answered last.
    answered_ms: u64,
    due_ms: u64,
}

/// The last life in which a node has said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Heard {
    life: u64,
    /// Whether it was told to be over.
    is_over: bool,
}

impl Leases {
    pub(super) fn new(me: u64) -> Self {
        Self {
            me,
            life: None,
            others: BTreeMap::new(),
            heard: BTreeMap::new(),
            ending: Vec::new(),
            answers_ms: 0,
            answered_ms: 0,
            due_ms: 0,
        }
    }

    /// Who this node is.
    pub(super) fn life(&self) -> Option<u64> {
        self.life
    }

    /// The others that live, as far as is known, each with its life.
    pub(super) fn others(&self) -> &BTreeMap<u64, u64> {
        &self.others
    }

    /// Whether this node is the one of all that live, as far as is known, which does what one of
    /// them has to do.
    pub(super) fn is_first(&self) -> bool {
        self.life.is_some() && self.others.keys().all(|other| self.me < *other)
    }

    /// Whether another node lives, as far as is known.
    pub(super) fn lives(&self, node: u64) -> bool {
        self.others.contains_key(&node)
    }

    /// Notes that a node has said something in a room, in a life.
    pub(super) fn hears(&mut self, node: u64, life: u64) {
        if node == self.me || self.others.get(&node).is_some_and(|known| *known >= life) {
            return;
        }
        let heard = self.heard.entry(node).or_insert(Heard { life, is_over: false });
        if heard.life < life {
            *heard = Heard { life, is_over: false };
        }
        if self.heard.len() > NODES_OVER_MAX {
            self.heard.retain(|_, heard| !heard.is_over);
        }
    }

    /// Notes that a life of another node is over, since that says so. Returns whether it was known.
    pub(super) fn has_left(&mut self, node: u64, life: u64) -> bool {
        let is_known = self.others.get(&node) == Some(&life);
        if is_known {
            self.others.remove(&node);
        }
        let is_heard = |heard: &&mut Heard| heard.life == life && !heard.is_over;
        let heard = self.heard.get_mut(&node).filter(is_heard);
        let was_heard = heard.map(|heard| heard.is_over = true).is_some();
        is_known || was_heard
    }

    /// When it is to be said next that this node lives.
    pub(super) fn due_ms(&self) -> u64 {
        self.due_ms
    }

    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        now_ms >= self.due_ms
    }

    /// It is being said that this node lives, and will be again.
    pub(super) fn beats(&mut self, now_ms: u64, heartbeat_ms: u64) {
        self.due_ms = now_ms + heartbeat_ms;
    }

    /// There is a new connection.
    pub(super) fn connected(&mut self, now_ms: u64) {
        (self.answers_ms, self.answered_ms) = (now_ms, now_ms);
    }

    /// Notes who this node is. Returns whether that is news.
    pub(super) fn is_new_life(&mut self, life: u64) -> bool {
        self.life.replace(life) != Some(life)
    }

    /// Notes who lives. Returns the nodes that did and do not any more: each with the life that is
    /// over.
    pub(super) fn gone(
        &mut self,
        now_ms: u64,
        lease_ms: u64,
        nodes: &[(u64, u64)],
    ) -> Vec<(u64, u64)> {
        let living: BTreeMap<_, _> =
            nodes.iter().copied().filter(|(node, _)| *node != self.me).collect();
        if now_ms.saturating_sub(self.answered_ms) >= lease_ms {
            // Nobody could say that it lives.
            self.answers_ms = now_ms;
        }
        self.answered_ms = now_ms;
        let are_missed = now_ms.saturating_sub(self.answers_ms) >= lease_ms;
        let is_missed = |(node, _): &(&u64, &u64)| are_missed && !living.contains_key(node);
        let mut gone: Vec<_> =
            self.others.iter().filter(is_missed).map(|(node, life)| (*node, *life)).collect();
        for (node, _) in &gone {
            self.others.remove(node);
        }
        for (node, heard) in &mut self.heard {
            if are_missed && !living.contains_key(node) && !heard.is_over {
                heard.is_over = true;
                gone.push((*node, heard.life));
            }
        }
        // A node that lives another life was only taken for dead. It says everything again, and
        // what it has not said by then is over.
        for (node, life) in &living {
            let heard = self.heard.get(node).copied().filter(|heard| heard.life <= *life);
            if heard.is_some() {
                self.heard.remove(node);
            }
            let heard = heard.filter(|heard| !heard.is_over);
            let before = self.others.insert(*node, *life).max(heard.map(|heard| heard.life));
            let before = before.filter(|before| before < life);
            self.ending.extend(before.map(|before| (*node, before, now_ms + lease_ms)));
        }
        let ended = self.ending.extract_if(.., |(_, _, until_ms)| *until_ms <= now_ms);
        gone.extend(ended.map(|(node, life, _)| (node, life)));
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_whose_lease_has_ended_is_gone_once() {
        let mut leases = Leases::new(1);
        leases.connected(0);
        assert_eq!(leases.gone(0, 10, &[(1, 5), (2, 6)]), []);
        assert_eq!(leases.gone(5, 10, &[(1, 5)]), []);
        assert_eq!(leases.gone(10, 10, &[(1, 5)]), [(2, 6)]);
        assert_eq!(leases.gone(15, 10, &[(1, 5)]), []);
    }

    #[test]
    fn nobody_is_missed_for_a_lease_after_the_engine_took_no_writes() {
        let mut leases = Leases::new(1);
        leases.connected(0);
        leases.gone(0, 10, &[(2, 6)]);
        // It has refused what was said meanwhile, of this node and of all others.
        assert_eq!(leases.gone(30, 10, &[(1, 7)]), []);
        assert_eq!(leases.gone(35, 10, &[(1, 7)]), []);
        assert_eq!(leases.gone(40, 10, &[(1, 7)]), [(2, 6)]);
    }

    #[test]
    fn nobody_is_missed_for_a_lease_after_a_connection_was_made() {
        let mut leases = Leases::new(1);
        leases.connected(0);
        leases.gone(0, 10, &[(2, 6)]);
        leases.connected(100);
        assert_eq!(leases.gone(105, 10, &[]), []);
        assert_eq!(leases.gone(109, 10, &[]), []);
        assert_eq!(leases.gone(110, 10, &[]), [(2, 6)]);
    }

    #[test]
    fn a_node_that_has_left_is_not_missed_later_and_may_come_again() {
        let mut leases = Leases::new(1);
        leases.connected(0);
        leases.gone(0, 10, &[(2, 6)]);
        assert!(!leases.has_left(2, 5), "an earlier life");
        assert!(leases.has_left(2, 6));
        assert_eq!(leases.gone(20, 10, &[]), []);
        leases.gone(30, 10, &[(2, 7)]);
        assert!(leases.others().contains_key(&2));
    }

    #[test]
    fn a_life_that_was_over_before_it_was_known_to_have_begun_is_gone_once() {
        let mut leases = Leases::new(1);
        leases.connected(0);
        leases.gone(0, 10, &[(2, 6)]);
        // Of the life that is known, of this node, and of one that is known next nothing follows.
        leases.hears(2, 6);
        leases.hears(1, 5);
        leases.hears(3, 8);
        assert_eq!(leases.gone(5, 10, &[(2, 6), (3, 8)]), []);
        leases.hears(2, 9);
        leases.hears(4, 7);
        assert_eq!(leases.gone(12, 10, &[(3, 8)]), [(2, 6), (2, 9), (4, 7)]);
        // What it has said comes late.
        leases.hears(2, 9);
        assert_eq!(leases.gone(14, 10, &[(3, 8)]), []);
        // It lives again, and has another life that nobody was told of, behind that.
        assert_eq!(leases.gone(16, 10, &[(2, 11), (3, 8)]), []);
        leases.hears(2, 15);
        assert_eq!(leases.gone(18, 10, &[(2, 20), (3, 8)]), []);
        assert_eq!(leases.gone(28, 10, &[(2, 20), (3, 8)]), [(2, 15)]);
    }

    #[test]
    fn nobody_who_was_only_heard_is_missed_for_a_lease_after_a_connection_was_made() {
        let mut leases = Leases::new(1);
        leases.hears(2, 6);
        leases.connected(100);
        assert_eq!(leases.gone(109, 10, &[]), []);
        assert_eq!(leases.gone(110, 10, &[]), [(2, 6)]);
        leases.hears(3, 7);
        assert!(leases.has_left(3, 7) && !leases.has_left(3, 7));
        assert_eq!(leases.gone(112, 10, &[]), []);
    }

    #[test]
    fn the_life_before_is_over_a_lease_after_there_is_another() {
        let mut leases = Leases::new(1);
        leases.connected(0);
        leases.gone(0, 10, &[(2, 6)]);
        assert_eq!(leases.gone(1, 10, &[(2, 7)]), []);
        assert_eq!(leases.gone(6, 10, &[(2, 7)]), []);
        assert_eq!(leases.gone(11, 10, &[(2, 7)]), [(2, 6)]);
        assert_eq!(leases.gone(12, 10, &[(2, 7)]), []);
        assert!(leases.is_new_life(5));
        assert!(!leases.is_new_life(5));
    }
}

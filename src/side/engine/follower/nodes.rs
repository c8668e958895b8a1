//! This node says that it lives, hears which others do, and tells its shards whose lives are over.
//!
//! Deliberately absent: who is believed for how long (`leases`).

use super::saying::to_node;
use super::{Asked, Follower, Ways};
use crate::link::engine::{Counted, FromEngine, push_life};
use crate::link::topic::LOBBY;
use crate::side::engine::command::Command;
use crate::side::engine::written::counted;

impl Follower {
    /// Asks which nodes live.
    pub(super) fn beat(&mut self, ways: &mut impl Ways, now_ms: u64) {
        self.leases.beats(now_ms, self.node.limits.heartbeat_ms);
        let (node, life) = (self.node.id, self.leases.life().unwrap_or(0));
        let lease_ms = self.node.limits.lease_ms;
        self.ask(ways, Asked::Beat, Command::Beat { node, life, lease_ms });
    }

    /// Tells shards which nodes are gone, and who this one is, if that is news.
    pub(super) fn beaten(
        &mut self,
        ways: &mut impl Ways,
        now_ms: u64,
        life: u64,
        nodes: &[(u64, u64)],
    ) {
        if self.leases.is_new_life(life) {
            self.tell_all(ways, &FromEngine::Life { node: self.node.id, life });
        }
        let gone = self.leases.gone(now_ms, self.node.limits.lease_ms, nodes);
        self.tell_gone(ways, &gone);
    }

    /// Tells shards that lives of nodes are over.
    fn tell_gone(&mut self, ways: &mut impl Ways, gone: &[(u64, u64)]) {
        self.listing.note_living(&self.leases);
        if !gone.is_empty() {
            let mut record = Vec::new();
            for of in gone {
                push_life(&mut record, *of);
            }
            self.tell_all(ways, &FromEngine::Gone { nodes: &record });
            self.give_up_nodes(ways);
        }
    }

    /// Says that this node leaves: others need not wait until its lease ends.
    pub(in crate::side::engine) fn leave(&mut self, ways: &mut impl Ways) {
        let Some(life) = self.leases.life().filter(|_| self.is_connected) else { return };
        self.is_leaving = true;
        // First, so that nobody who hears of it finds that it lives.
        let node = self.node.id;
        self.ask(ways, Asked::Nothing, Command::Leave { node, life });
        let record = counted(node, Counted::Leaves { life });
        let others: Vec<_> = self.leases.others().keys().copied().collect();
        for node in others {
            let command = Command::Tell { node, record: to_node(LOBBY, &record) };
            self.ask(ways, Asked::Nothing, command);
        }
    }

    /// Handles that another node has left.
    pub(super) fn has_left(&mut self, ways: &mut impl Ways, node: u64, life: u64) {
        if self.leases.has_left(node, life) {
            self.tell_gone(ways, &[(node, life)]);
        }
    }
}

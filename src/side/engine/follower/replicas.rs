//! What was appended is told as kept when as many replicas have it as must.
//!
//! One question is under way at a time: what is appended meanwhile is asked for with the next.

use super::{Asked, Connected, Follower, Ways};
use crate::link::engine::FromEngine;
use crate::link::log::{Marks, Why};
use crate::side::engine::command::Command;

/// What is kept as soon as replicas have it.
pub(super) struct Unreplicated {
    pub(super) shard: u16,
    pub(super) number: u64,
    pub(super) marks: Marks,
    pub(super) at_ms: u64,
}

impl Follower {
    /// Asks replicas for what was kept in this turn, if they must have it.
    pub(in crate::side::engine) fn end_turn(&mut self, ways: &mut impl Ways) {
        let Some(Connected { replicas }) = self.connected else { return };
        if self.is_replicating || self.unreplicated.is_empty() {
            return;
        }
        self.is_replicating = true;
        let unreplicated = std::mem::take(&mut self.unreplicated);
        let timeout_ms = self.node.limits.timeout_ms;
        let wait = Command::Wait { replicas, timeout_ms };
        self.ask(ways, Asked::Replicas(unreplicated), wait);
    }

    pub(super) fn doubt(ways: &mut impl Ways, unreplicated: Vec<Unreplicated>) {
        for Unreplicated { shard, number, .. } in unreplicated {
            ways.tell(shard, &FromEngine::Refused { number, why: Why::Unconfirmed });
        }
    }

    /// Tells whether what was appended is kept, now that so many replicas have it.
    pub(super) fn replicated(
        &mut self,
        ways: &mut impl Ways,
        unreplicated: Vec<Unreplicated>,
        count: u32,
    ) {
        let wanted = self.connected.map_or(0, |connected| connected.replicas);
        if count < wanted {
            Self::doubt(ways, unreplicated);
        } else {
            for Unreplicated { shard, number, marks, at_ms } in unreplicated {
                ways.tell(shard, &FromEngine::Kept { number, marks, at_ms });
            }
        }
        self.end_turn(ways);
    }
}

//! What must hold between the parts of a shard, and how many of what there are: for tests.
//!
//! Each part says of itself what must hold, in its `check`.

use super::Shard;

impl Shard {
    /// Panics if the parts do not fit each other. For tests: it looks at everything.
    ///
    /// # Panics
    ///
    /// See the invariants of the parts.
    pub fn check_invariants(&self) {
        self.members.check();
        self.rooms.check();
        self.check_admission();
    }

    /// What is left, by kind: for tests that end with everybody gone.
    #[must_use]
    pub fn population(&self) -> Population {
        let (conns, audiences) = (&self.members.conns, &self.members.audiences);
        Population {
            conns: conns.len(),
            places: self.handoffs.places(self.common.settings.conns_max),
            audiences: audiences.len(),
            homes: self.rooms.len(),
            members: self.rooms.members_count(),
            sessions: conns.sessions_count(),
            buffers: conns.buffers_lent(),
            log_bytes: audiences.iter().map(|(_, audience)| audience.log_bytes()).sum(),
            list_bytes: self.rooms.list_bytes(),
            history_bytes: self.rooms.history_bytes(),
            out_bytes_max: conns.out_bytes_max(),
            held_bytes_max: conns.held_bytes_max(),
            memory_bytes: self.memory.used_bytes,
        }
    }
}

/// How many of what a shard holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Population {
    pub conns: usize,
    /// How many connections there may be: some went to other shards with their place, or came from
    /// there.
    pub places: usize,
    pub audiences: usize,
    pub homes: usize,
    /// Of the rooms whose home is here, wherever they are connected.
    pub members: usize,
    pub sessions: usize,
    pub buffers: usize,
    pub log_bytes: usize,
    /// Of the lists that are kept for those who join next.
    pub list_bytes: usize,
    pub history_bytes: usize,
    /// The most output that waits for one connection, of those that are not being closed.
    pub out_bytes_max: usize,
    /// The most input that is held of one connection.
    pub held_bytes_max: usize,
    /// Memory in use when it was last looked at.
    pub memory_bytes: usize,
}

//! What must hold between the parts of a shard, and how many of what there are: for tests.
//!
//! Each part says of itself what must hold, in its `check_...`; what holds between a connection and
//! the rest stands here.

use super::Shard;
use super::channels::Channel;
use super::conn::{BLOCKED, CLOSING, Conn, HAS_OUT, SESSION, SPEAKS_V1, Stage};
use crate::base::arena::Key;

impl Shard {
    /// Panics if the parts do not fit each other. For tests: it looks at everything.
    ///
    /// # Panics
    ///
    /// See the invariants of the module.
    pub fn check_invariants(&self) {
        for (key, conn) in self.conns.iter() {
            self.check_conn(key, conn);
        }
        for (key, audience) in self.audiences.iter() {
            self.check_audience(key, audience);
        }
        for (key, home) in self.homes.iter() {
            self.check_home(key, home);
        }
        assert_eq!(self.audiences.len(), self.audience_by_topic.len());
        assert_eq!(self.homes.len(), self.home_by_topic.len());
        assert_eq!(self.upkeep.history_bytes, self.history_bytes_of_homes());
        let log_bytes: usize =
            self.audiences.iter().map(|(_, audience)| audience.log_bytes()).sum();
        assert_eq!(self.log_memory.lent_bytes(), log_bytes);
        assert_eq!(
            self.buffers.lent(),
            self.buffers_of_conns(),
            "a buffer is lent to one connection"
        );
        self.check_admission();
        self.check_weight();
        assert_eq!(self.inputs.len(), self.inputs_of_conns(), "an input is of one connection");
        self.check_channels();
        self.check_lists();
    }

    /// What is left, by kind: for tests that end with everybody gone.
    #[must_use]
    pub fn population(&self) -> Population {
        Population {
            conns: self.conns.len(),
            places: self.handoffs.places(self.settings.conns_max),
            audiences: self.audiences.len(),
            homes: self.homes.len(),
            members: self.members_of_homes(),
            sessions: self.sessions.len(),
            buffers: self.buffers.lent(),
            log_bytes: self.audiences.iter().map(|(_, audience)| audience.log_bytes()).sum(),
            list_bytes: self.homes.iter().map(|(_, home)| home.roll.list_bytes()).sum(),
            history_bytes: self.upkeep.history_bytes,
            out_bytes_max: self.out_bytes_max(),
            held_bytes_max: self.held_bytes_max(),
            memory_bytes: self.memory.used_bytes,
        }
    }

    /// Says how a connection's parts fit.
    fn check_conn(&self, key: Key<Conn>, conn: &Conn) {
        let flags = self.flags[key.index() as usize];
        assert_eq!(conn.out.is_some(), flags & HAS_OUT != 0, "output is flagged");
        let mentioned = self.touched_conns.contains(&key.index());
        assert!(
            flags & (HAS_OUT | BLOCKED) != HAS_OUT || mentioned,
            "output is sent at the end of the turn"
        );
        let stage = self.stage_of(key);
        assert!(
            conn.channels.is_empty() || stage == Stage::Settled,
            "who has joined stays where that was"
        );
        assert!(
            flags & SESSION == 0 || stage == Stage::Settled,
            "a session stays, for its token names the shard"
        );
        let has_identity = matches!(stage, Stage::Unsettled | Stage::Settled);
        assert_eq!(conn.identity.is_some(), has_identity, "who may join is somebody");
        assert!(has_identity || flags & SPEAKS_V1 == 0, "an encoding is for messages");
        assert_eq!(
            stage == Stage::Waiting,
            self.exchanges.contains_key(&key),
            "who waits knows for what"
        );
        assert_eq!(
            flags & SESSION != 0,
            self.sessions.contains_key(&key),
            "a session has a ticket"
        );
        assert!(
            flags & CLOSING == 0 || conn.channels.is_empty(),
            "who is closing is a member of nothing"
        );
        for (index, channel) in conn.channels.iter().enumerate() {
            let audience = self.audiences.get(channel.audience).expect("a channel has an audience");
            if channel.seat != Channel::NO_SEAT {
                assert_eq!(
                    audience.seats[channel.seat as usize].conn,
                    key.index(),
                    "and the seat it knows is its own"
                );
            }
            assert!(
                conn.channels[..index].iter().all(|other| other.audience != channel.audience),
                "one channel a topic"
            );
        }
    }

    /// How many buffers the connections have.
    fn buffers_of_conns(&self) -> usize {
        let held = |conn: &Conn| self.inputs.of(conn.input).and_then(|input| input.held);
        self.conns
            .iter()
            .map(|(_, conn)| usize::from(held(conn).is_some()) + usize::from(conn.out.is_some()))
            .sum()
    }

    /// How many connections have input that is not handled.
    fn inputs_of_conns(&self) -> usize {
        self.conns.iter().filter(|(_, conn)| conn.input.is_some()).count()
    }

    /// See [`Population`].
    fn out_bytes_max(&self) -> usize {
        let open = self.conns.iter().filter(|(key, _)| !self.is_closing(*key));
        open.filter_map(|(_, conn)| Some(self.buffers.bytes_count(conn.out?)))
            .max()
            .unwrap_or_default()
    }

    /// See [`Population`].
    fn held_bytes_max(&self) -> usize {
        self.conns.iter().map(|(key, _)| self.held_bytes(key)).max().unwrap_or_default()
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

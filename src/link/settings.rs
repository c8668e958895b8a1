//! What a shard is told once: its share of what the server may have, and the limits of each
//! connection and room.

use crate::limits::{
    ADMISSION_LINE_BYTES_MAX, GATHERED_MEMBERS, HistoryLimits, Limits, PresenceLimits,
    WRITES_PER_FLUSH,
};

/// What a shard is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many shards there are.
    pub shards: u16,
    /// Connections on this shard.
    pub conns_max: u32,
    /// Rooms whose home is this shard.
    pub rooms_max: u32,
    /// Bytes of history on this shard.
    pub history_bytes_max: usize,
    /// Bytes of memory on this shard.
    pub memory_bytes_max: usize,
    /// Bounds of connections and messages.
    pub limits: Limits,
    /// The same, for a message that has been put together already.
    pub(crate) resumed: Limits,
    /// What rooms remember.
    pub history: HistoryLimits,
    /// How presence is told.
    pub presence: PresenceLimits,
    /// Origins that may connect besides the server's own.
    pub origins: Vec<String>,
    /// Whether there is `/echo`.
    pub echo: bool,
    /// To how many members of a room a turn writes at most: [`WRITES_PER_FLUSH`], or less where
    /// that is to be tried.
    pub writes_per_flush: u32,
    /// Up to how many members a room gathers on one shard: [`GATHERED_MEMBERS`], or another number
    /// where that is to be tried.
    pub gathered_members: u32,
    /// From how many bytes of joins that wait on others are refused: [`ADMISSION_LINE_BYTES_MAX`],
    /// or less where that is to be tried.
    pub admission_line_bytes: usize,
}

impl Settings {
    /// One shard's share of what the server may have in all.
    ///
    /// # Panics
    ///
    /// If there are no shards.
    #[must_use]
    pub fn new(
        shards: u16,
        limits: Limits,
        history: HistoryLimits,
        presence: PresenceLimits,
        origins: Vec<String>,
    ) -> Self {
        assert!(shards > 0, "a server has a shard");
        let share = |total: u32| total.div_ceil(u32::from(shards));
        Self {
            shards,
            conns_max: if limits.connections == 0 { u32::MAX } else { share(limits.connections) },
            rooms_max: share(limits.rooms),
            history_bytes_max: history.total_bytes / usize::from(shards),
            memory_bytes_max: match limits.memory_bytes {
                0 => usize::MAX,
                bytes => bytes / usize::from(shards),
            },
            resumed: Limits { frame_bytes: limits.message_bytes, ..limits.clone() },
            limits,
            history,
            presence,
            origins,
            echo: false,
            writes_per_flush: WRITES_PER_FLUSH,
            gathered_members: GATHERED_MEMBERS,
            admission_line_bytes: ADMISSION_LINE_BYTES_MAX,
        }
    }

    /// The shard that a topic's home is on: the same for everybody, whatever the shard.
    ///
    /// # Panics
    ///
    /// Never: a remainder is less than the number of shards.
    #[must_use]
    pub fn home_of(&self, topic: &str) -> u16 {
        // Fixed keys: all shards must agree. That somebody could choose names of one home only
        // makes that one busy.
        let hash = ahash::RandomState::with_seeds(1, 2, 3, 4).hash_one(topic);
        u16::try_from(hash % u64::from(self.shards)).expect("less than the number of shards")
    }
}

//! What a shard is told once: its share of what the server may have, and the limits of each
//! connection and room.

use std::sync::Arc;

use crate::auth::invite::Inviter;
use crate::auth::session::SessionSigner;
use crate::base::phrases::Phrases;
use crate::limits::{
    ADMISSION_LINE_BYTES_MAX, ChatLimits, GATHERED_MEMBERS, HistoryLimits, Limits, PresenceLimits,
    TOKEN_WARN_S, TURN_WORK, WRITES_PER_FLUSH, WRITES_PER_TURN,
};
use crate::link::rates::Rates;
use crate::wire::http::forwarded::TrustedProxies;

/// What a shard is told once.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is chosen by itself")]
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
    /// Bytes of memory that a store has of what the server may have. 0: there is none.
    pub store_cache_bytes: usize,
    /// Rooms that a store may have. 0: there is none.
    pub store_rooms: u32,
    /// Threads that read a store.
    pub store_readers: u16,
    /// Whether other nodes have the same rooms: their members take memory here, too.
    pub is_clustered: bool,
    /// Whether an archive is asked for what these have no more.
    pub has_archive: bool,
    /// Bounds of connections and messages.
    pub limits: Limits,
    /// The same, for a message that has been put together already.
    pub(crate) resumed: Limits,
    /// What rooms remember.
    pub history: HistoryLimits,
    /// For how long rooms in memory keep messages, in seconds, unless they have a time of their
    /// own. 0: as long as there is place. A store has its own.
    pub keep_s: u64,
    /// How presence is told.
    pub presence: PresenceLimits,
    /// What may become of messages.
    pub chat: ChatLimits,
    /// Whether a room that does not exist is made by joining it.
    pub implicit_rooms: bool,
    /// What messages may not have in their text, unless whoever moderates the room sends them: one
    /// table for all shards. `None`: they may have anything.
    pub blocked: Option<Arc<Phrases>>,
    /// Who makes invites, and reads them: one for all shards, and all lives of the server. `None`:
    /// there are none.
    pub inviter: Option<Arc<Inviter>>,
    /// What signs the tokens of sessions of long polling, which may be asked for at any node of a
    /// cluster: one for all shards. `None`: there is no other node.
    pub sessions: Option<Arc<SessionSigner>>,
    /// Origins that may connect besides the server's own.
    pub origins: Vec<String>,
    /// Whether only this machine can connect, so that a `Host` must be a name of it, or listed.
    pub is_private: bool,
    /// The proxies that may say in a request whose it is.
    pub trusted_proxies: TrustedProxies,
    /// The rates of users and addresses: one table for all shards.
    pub rates: Arc<Rates>,
    /// How long before the end of its token a client is told, in milliseconds. 0: it is not.
    pub warn_ms: u64,
    /// Whether there is `/echo`.
    pub echo: bool,
    /// Work that entries may do in a turn: [`TURN_WORK`], or less where that is to be tried.
    pub turn_work: u32,
    /// Work that ends of connections may do in a turn: half of [`TURN_WORK`], or less likewise.
    pub endings_work: u32,
    /// To how many members of a room a turn writes at most: [`WRITES_PER_FLUSH`], or less where
    /// that is to be tried.
    pub writes_per_flush: u32,
    /// To how many members of all rooms: [`WRITES_PER_TURN`], or less where that is to be tried.
    pub writes_per_turn: u32,
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
            store_cache_bytes: 0,
            store_rooms: 0,
            store_readers: 0,
            is_clustered: false,
            has_archive: false,
            resumed: Limits { frame_bytes: limits.message_bytes, ..limits.clone() },
            limits,
            history,
            keep_s: 0,
            presence,
            chat: ChatLimits::default(),
            implicit_rooms: true,
            blocked: None,
            inviter: None,
            sessions: None,
            origins,
            is_private: false,
            trusted_proxies: TrustedProxies::default(),
            rates: Arc::new(Rates::new(0)),
            warn_ms: TOKEN_WARN_S * 1_000,
            echo: false,
            turn_work: TURN_WORK,
            endings_work: TURN_WORK / 2,
            writes_per_flush: WRITES_PER_FLUSH,
            writes_per_turn: WRITES_PER_TURN,
            gathered_members: GATHERED_MEMBERS,
            admission_line_bytes: ADMISSION_LINE_BYTES_MAX,
        }
    }

    /// The same, where a store keeps up to `rooms` rooms, is read by so many threads, and has
    /// `cache_bytes` of the memory of its own.
    #[must_use]
    pub fn with_store(mut self, cache_bytes: usize, readers: u16, rooms: u32) -> Self {
        let share = cache_bytes.div_ceil(usize::from(self.shards));
        if self.memory_bytes_max != usize::MAX {
            self.memory_bytes_max = self.memory_bytes_max.saturating_sub(share);
        }
        (self.store_cache_bytes, self.store_rooms) = (cache_bytes, rooms);
        self.store_readers = readers;
        self
    }

    /// The shard that a topic's home is on: the same for everybody, whatever the shard.
    #[must_use]
    pub fn home_of(&self, topic: &str) -> u16 {
        home_of(topic, self.shards)
    }
}

/// The shard of so many that a topic's home is on.
///
/// # Panics
///
/// If there are no shards.
pub(crate) fn home_of(topic: &str, shards: u16) -> u16 {
    // The lowest bit of FNV-1a is no more than the parity of the text.
    let hash = fnv_1a(topic);
    let folded = hash ^ (hash >> 32);
    u16::try_from(folded % u64::from(shards)).expect("less than the shards")
}

/// FNV-1a of 64 bits (draft-eastlake-fnv, 5): the same on every processor, in every process, and in
/// every version of this server, since shards, nodes and stores must agree on where a room is.
///
/// Anybody can choose topics of one home: that makes one shard busy, and nothing else.
fn fnv_1a(text: &str) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    text.bytes().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_hashed_as_the_draft_says() {
        // From its table of test vectors.
        assert_eq!(fnv_1a(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv_1a("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv_1a("foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn rooms_are_spread_over_the_shards() {
        for shards in [2_u16, 3, 8] {
            let limits = (Limits::default(), HistoryLimits::default(), PresenceLimits::default());
            let settings = Settings::new(shards, limits.0, limits.1, limits.2, Vec::new());
            let mut counts = vec![0_u32; usize::from(shards)];
            for number in 0..8_000 {
                counts[usize::from(settings.home_of(&format!("room:{number}")))] += 1;
            }
            let even = 8_000 / u32::from(shards);
            assert!(counts.iter().all(|count| count.abs_diff(even) < even / 8), "{counts:?}");
        }
    }
}

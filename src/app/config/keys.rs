//! The one table of what can be configured: name, kind, range, unit, and a sentence.
//!
//! Defaults are not in it: they are those of [`Config::default`], read through the same slots that
//! values are written through.

use std::fmt::Write as _;

use super::given::Given;
use super::kind::{Kind, Slot, Word, number, number_or_for_ever, number_or_zero};
use super::values::{Config, CreateRooms, EngineAck, StoreAck, StoreDeliver};
use crate::auth::token::Algorithm;
use crate::limits::{
    BODY_BYTES_MAX, EDIT_FOR_EVER_S, EDIT_S_MAX, KEEP_BYTES_MAX, KEEP_MESSAGES_MAX, KEEP_S_MAX,
    PINS_MAX, READ_BUFFER_BYTES, STORE_WAITING_BYTES_MIN,
};
use crate::wire::http::forwarded::ForwardedHeader;

/// One thing that can be configured.
pub(super) struct Key {
    /// The name in all sources; variables spell it in their own way.
    pub(super) name: &'static str,
    kind: Kind,
    /// For people.
    doc: &'static str,
}

const BYTES: &str = "bytes";
const MS: &str = "ms";
const S: &str = "s";
const PER_S: &str = "per s";
const BYTES_PER_S: &str = "bytes per s";
const KIB: u64 = 1_024;
const MIB: u64 = 1_024 * KIB;
const GIB: u64 = 1_024 * MIB;

const LEVELS: [tracing::Level; 4] =
    [tracing::Level::ERROR, tracing::Level::WARN, tracing::Level::INFO, tracing::Level::DEBUG];

/// A value of a type that lists `ALL` of them, and their `NAMES` in that order.
macro_rules! one_of {
    ($values:ty, |$config:ident| $place:expr) => {
        Kind::Word(Word {
            words: &<$values>::NAMES,
            set: |$config, index| $place = <$values>::ALL[index],
            index: |$config| <$values>::ALL.iter().position(|value| *value == $place),
        })
    };
}

/// In the order of the documentation.
pub(super) const ALL: &[Key] = &[
    Key {
        name: "listen",
        kind: Kind::Address(|c| &mut c.listen),
        doc: "Address and port to listen on; port 0 takes a free one.",
    },
    Key {
        name: "listen_proxy_protocol",
        kind: Kind::Flag(|c| &mut c.listen_proxy_protocol),
        doc: "Each connection begins with a header of the PROXY protocol, version 1 or 2, that says whose it is; others are closed.",
    },
    Key {
        name: "shards",
        kind: number_or_zero("as many as cores", 128, "", Slot::U16(|c| &mut c.shards)),
        doc: "Threads that serve, each with its own connections and rooms.",
    },
    Key {
        name: "drain_s",
        kind: number(0, 3_600, S, Slot::U64(|c| &mut c.drain_s)),
        doc: "Over how long a stop spreads the clients' closing, and so their reconnecting. Who does not answer is given some 2 s more.",
    },
    Key {
        name: "echo",
        kind: Kind::Flag(|c| &mut c.echo),
        doc: "Serve `/echo`, a WebSocket endpoint that sends everything back, for conformance tests.",
    },
    Key {
        name: "log.level",
        kind: Kind::Word(Word {
            words: &["error", "warn", "info", "debug"],
            set: |c, index| c.log.level = LEVELS[index],
            index: |c| LEVELS.iter().position(|level| *level == c.log.level),
        }),
        doc: "What is logged: this level and what is more important. A peer's mistakes are `debug`.",
    },
    Key {
        name: "auth.algorithm",
        kind: Kind::Word(Word {
            words: &[
                Algorithm::ALL[0].as_str(),
                Algorithm::ALL[1].as_str(),
                Algorithm::ALL[2].as_str(),
                Algorithm::ALL[3].as_str(),
            ],
            set: |c, index| c.auth.algorithm = Algorithm::ALL[index],
            index: |c| Algorithm::ALL.iter().position(|algorithm| *algorithm == c.auth.algorithm),
        }),
        doc: "How tokens are signed. No other algorithm is accepted, whatever a token says.",
    },
    Key {
        name: "auth.secret",
        kind: Kind::Secret(|c| &mut c.auth.secret),
        doc: "The key of HS256. Without it one is made at the first start, and kept in `store.path`; without that folder nobody's token outlives the process.",
    },
    Key {
        name: "auth.previous_secret",
        kind: Kind::Secret(|c| &mut c.auth.previous_secret),
        doc: "Still accepted, no longer used to sign: for changing `auth.secret` without sending anybody away.",
    },
    Key {
        name: "auth.public_key_file",
        kind: Kind::KeyFiles(|c| &mut c.auth.public_keys),
        doc: "Public keys in PEM, for the other algorithms. `KID=FILE` serves the tokens that name the key, `FILE` all; relative to the working directory.",
    },
    Key {
        name: "auth.audience",
        kind: Kind::Text(|c| &mut c.auth.audience),
        doc: "The `aud` that tokens must have. Unset, tokens must have none.",
    },
    Key {
        name: "auth.issuer",
        kind: Kind::Text(|c| &mut c.auth.issuer),
        doc: "The `iss` that tokens must have. Unset, it is not looked at.",
    },
    Key {
        name: "auth.guests",
        kind: Kind::Flag(|c| &mut c.auth.guests),
        doc: "Give a token to anybody who asks with a name (`POST /api/session`). Unset, it is `true` only while listening on \
              loopback without a configured key.",
    },
    Key {
        name: "auth.guest_ttl_s",
        kind: number(60, 31_536_000, S, Slot::U64(|c| &mut c.auth.guest_ttl_s)),
        doc: "How long a guest's token counts, or `auth.max_ttl_s` if that is less.",
    },
    Key {
        name: "auth.max_ttl_s",
        kind: number_or_zero("no bound", 315_360_000, S, Slot::U64(|c| &mut c.auth.ttl_max_s)),
        doc: "How long a token may still count when it is shown; one that lives longer is refused. 60 s more are let through, for clocks that differ.",
    },
    Key {
        name: "auth.warn_s",
        kind: number_or_zero("no warning", 86_400, S, Slot::U64(|c| &mut c.auth.warn_s)),
        doc: "How long before the end of its token a client is told (`token_expiring`); half of the token's time, if that is less.",
    },
    Key {
        name: "http.origins",
        kind: Kind::Origins(|c| &mut c.http.origins),
        doc: "Pages from these origins may connect too, besides our own: `https://chat.example`. There are no wildcards.",
    },
    Key {
        name: "http.trusted_proxies",
        kind: Kind::Networks(|c| &mut c.http.trusted_proxies),
        doc: "Proxies whose `http.forwarded_header` names the client, for limits and the log. From others it is not looked at.",
    },
    Key {
        name: "http.forwarded_header",
        kind: one_of!(ForwardedHeader, |c| c.http.forwarded_header),
        doc: "The header that `http.trusted_proxies` set. The other one is not looked at: a proxy may pass it on as its client wrote it.",
    },
    Key {
        name: "http.metrics",
        kind: Kind::Flag(|c| &mut c.http.metrics),
        doc: "Serve `/metrics`, numbers for Prometheus, to anybody who can connect: have the proxy keep it inside.",
    },
    Key {
        name: "limits.connections",
        kind: number_or_zero(
            "as many as open files",
            10_000_000,
            "",
            Slot::U32(|c| &mut c.limits.connections),
        ),
        doc: "Connections in all; each costs a descriptor.",
    },
    Key {
        name: "limits.connections_per_ip",
        kind: number_or_zero(
            "no bound",
            10_000_000,
            "",
            Slot::U32(|c| &mut c.limits.connections_per_ip),
        ),
        doc: "Connections from one address, or from one network of IPv6 (/64), over all shards; sessions of long polling count too. Behind a proxy it takes `http.trusted_proxies` or `listen_proxy_protocol`, or all come from one.",
    },
    Key {
        name: "limits.admissions_per_turn",
        kind: number(1, 100_000, "", Slot::U32(|c| &mut c.limits.admissions_per_turn)),
        doc: "Upgrades and joins that a shard does before it turns to everybody else again; the rest waits, in order.",
    },
    Key {
        name: "limits.admission_wait_ms",
        kind: number(1, 60_000, MS, Slot::U64(|c| &mut c.limits.admission_wait_ms)),
        doc: "How long at most: then an upgrade is done, a join answered `busy`, a connection to a full server closed.",
    },
    Key {
        name: "limits.handshake_ms",
        kind: number(100, 600_000, MS, Slot::U64(|c| &mut c.limits.handshake_ms)),
        doc: "From `accept` to a complete request or upgrade. Absolute.",
    },
    Key {
        name: "limits.idle_ms",
        kind: number(1_000, 86_400_000, MS, Slot::U64(|c| &mut c.limits.idle_ms)),
        doc: "Without a received byte a connection is closed after this. Clients send a heartbeat every 30,000.",
    },
    Key {
        name: "limits.head_bytes",
        kind: number(
            KIB,
            READ_BUFFER_BYTES as u64,
            BYTES,
            Slot::Usize(|c| &mut c.limits.head_bytes),
        ),
        doc: "A request's line and headers, the token in them included; past it 431.",
    },
    Key {
        name: "limits.frame_bytes",
        kind: number(KIB, 16 * MIB, BYTES, Slot::Usize(|c| &mut c.limits.frame_bytes)),
        doc: "Payload of one WebSocket frame; past it close code 1009.",
    },
    Key {
        name: "limits.message_bytes",
        kind: number(KIB, 16 * MIB, BYTES, Slot::Usize(|c| &mut c.limits.message_bytes)),
        doc: "Payload of one message over all its fragments; past it close code 1009.",
    },
    Key {
        name: "limits.fragments",
        kind: number(1, 1_000_000, "", Slot::U32(|c| &mut c.limits.fragments)),
        doc: "Fragments of one message; past it close code 1008.",
    },
    Key {
        name: "limits.message_ms",
        kind: number(100, 600_000, MS, Slot::U64(|c| &mut c.limits.message_ms)),
        doc: "From the first byte of a WebSocket message to its last; past it close code 1008. Absolute.",
    },
    Key {
        name: "limits.channels_per_conn",
        kind: number(1, 10_000, "", Slot::U32(|c| &mut c.limits.channels_per_conn)),
        doc: "Channels that one connection may have joined.",
    },
    Key {
        name: "limits.body_bytes",
        kind: number(1, BODY_BYTES_MAX as u64, BYTES, Slot::Usize(|c| &mut c.limits.body_bytes)),
        doc: "A message's `body`, as JSON without its quotes.",
    },
    Key {
        name: "limits.data_bytes",
        kind: number(1, 64 * KIB, BYTES, Slot::Usize(|c| &mut c.chat.data_bytes)),
        doc: "The `data` that an application attaches to a message.",
    },
    Key {
        name: "limits.mentions",
        kind: number(1, 1_000, "", Slot::U32(|c| &mut c.chat.mentions)),
        doc: "Users that a message mentions.",
    },
    Key {
        name: "limits.members_per_room",
        kind: number(1, 100_000, "", Slot::U32(|c| &mut c.chat.members_per_room)),
        doc: "Users of whom a room remembers something: a role, a mute, a ban. Each takes some 100 bytes, and whoever is new among them costs a look at all: with 100_000, some 6 ms of the shard.",
    },
    Key {
        name: "limits.pins",
        kind: number(0, PINS_MAX as u64, "", Slot::U32(|c| &mut c.chat.pins)),
        doc: "Pinned messages of a room.",
    },
    Key {
        name: "limits.emoji_per_message",
        kind: number(1, 100, "", Slot::U32(|c| &mut c.chat.emoji_per_message)),
        doc: "Different emoji that there are reactions with to a message.",
    },
    Key {
        name: "limits.reactions_per_message",
        kind: number(1, 20_000, "", Slot::U32(|c| &mut c.chat.reactions_per_message)),
        doc: "Reactions to a message, of all users together. All who have reacted take 256 KiB at most.",
    },
    Key {
        name: "limits.reactions_per_user",
        kind: number(1, 100, "", Slot::U32(|c| &mut c.chat.reactions_per_user)),
        doc: "Reactions of one user to a message, each with another emoji.",
    },
    Key {
        name: "limits.publish_per_s",
        kind: number_or_zero(
            "no bound",
            1_000_000,
            PER_S,
            Slot::U32(|c| &mut c.limits.publish_per_s),
        ),
        doc: "Pushes that a user may make to rooms, by all its connections.",
    },
    Key {
        name: "limits.publish_burst",
        kind: number(1, 1_000_000, "", Slot::U32(|c| &mut c.limits.publish_burst)),
        doc: "Pushes that a user who was quiet may make at once.",
    },
    Key {
        name: "limits.search_per_s",
        kind: number_or_zero(
            "no bound",
            1_000_000,
            PER_S,
            Slot::U32(|c| &mut c.limits.search_per_s),
        ),
        doc: "Searches (`msg_search`), reports (`msg_report`) and looks at audit trails (`room_audit`) that a user may make, by all its connections; they count as pushes too.",
    },
    Key {
        name: "limits.search_burst",
        kind: number(1, 1_000_000, "", Slot::U32(|c| &mut c.limits.search_burst)),
        doc: "Searches of a user who was quiet, at once.",
    },
    Key {
        name: "limits.join_per_s",
        kind: number_or_zero("no bound", 1_000_000, PER_S, Slot::U32(|c| &mut c.limits.join_per_s)),
        doc: "Joins that a user may make, by all its connections; sessions of long polling that it opens count beside them.",
    },
    Key {
        name: "limits.join_burst",
        kind: number(1, 1_000_000, "", Slot::U32(|c| &mut c.limits.join_burst)),
        doc: "Joins at once. After a break a client rejoins all its channels: best not below `limits.channels_per_conn`.",
    },
    Key {
        name: "limits.fanout_bytes_per_s",
        kind: number_or_zero(
            "no bound",
            1_024 * GIB,
            BYTES_PER_S,
            Slot::Usize(|c| &mut c.limits.fanout_bytes_per_s),
        ),
        doc: "What members may be sent of what a user says: its size, once for each member. Pushes of less than 64 KiB in all are not counted.",
    },
    Key {
        name: "limits.fanout_burst_bytes",
        kind: number(MIB, 1_024 * GIB, BYTES, Slot::Usize(|c| &mut c.limits.fanout_burst_bytes)),
        doc: "Such bytes at once, of a user who was quiet. A single push that is more needs as long a rest behind it.",
    },
    Key {
        name: "limits.rooms_per_s",
        kind: number_or_zero(
            "no bound",
            1_000_000,
            PER_S,
            Slot::U32(|c| &mut c.limits.rooms_per_s),
        ),
        doc: "Rooms that are made for a user, because it joins them or asks for them over HTTP.",
    },
    Key {
        name: "limits.rooms_burst",
        kind: number(1, 1_000_000, "", Slot::U32(|c| &mut c.limits.rooms_burst)),
        doc: "Rooms at once. After a restart without a store a client makes all its rooms again: best not below `limits.channels_per_conn`.",
    },
    Key {
        name: "limits.rooms_per_s_per_ip",
        kind: number_or_zero(
            "no bound",
            1_000_000,
            PER_S,
            Slot::U32(|c| &mut c.limits.rooms_per_s_per_ip),
        ),
        doc: "The same for all users of one address, or of one network of IPv6 (/64), and 20 times as many at once. For what is `per_ip` here: loopback and `http.trusted_proxies` have no bound, and behind another proxy all come from one address.",
    },
    Key {
        name: "limits.tokens_per_s_per_ip",
        kind: number_or_zero(
            "no bound",
            1_000_000,
            PER_S,
            Slot::U32(|c| &mut c.limits.tokens_per_s_per_ip),
        ),
        doc: "Guests' tokens for one address, and 20 times as many at once.",
    },
    Key {
        name: "limits.sessions_per_s_per_ip",
        kind: number_or_zero(
            "no bound",
            1_000_000,
            PER_S,
            Slot::U32(|c| &mut c.limits.sessions_per_s_per_ip),
        ),
        doc: "Sessions of long polling that are opened from one address, and 20 times as many at once.",
    },
    Key {
        name: "limits.room_lag_bytes",
        kind: number(4 * KIB, GIB, BYTES, Slot::Usize(|c| &mut c.limits.room_lag_bytes)),
        doc: "How far a member may be behind in a room before its channel ends with `phx_error`.",
    },
    Key {
        name: "limits.conn_out_bytes",
        kind: number(4 * KIB, GIB, BYTES, Slot::Usize(|c| &mut c.limits.conn_out_bytes)),
        doc: "A connection's own output (answers, snapshots) that may wait: while an eighth of it does, the connection is read no further.",
    },
    Key {
        name: "limits.out_ms",
        kind: number(100, 600_000, MS, Slot::U64(|c| &mut c.limits.out_ms)),
        doc: "In which a connection's socket must take more of what waits for it; past them it is closed with 1013. It takes up to 200 KiB at once, as the client's machine makes room.",
    },
    Key {
        name: "limits.rooms",
        kind: number(1, 10_000_000, "", Slot::U32(|c| &mut c.limits.rooms)),
        doc: "Rooms in all. An empty one makes place for a new one.",
    },
    Key {
        name: "limits.memory_bytes",
        kind: number_or_zero(
            "a quarter of what there is",
            1_024 * GIB,
            BYTES,
            Slot::Usize(|c| &mut c.limits.memory_bytes),
        ),
        doc: "Memory for connections, rooms and what waits. At 80 % nobody is accepted, at 90 % nobody joins, at 100 % laggards go.",
    },
    Key {
        name: "history.messages",
        kind: number_or_zero("no history", 1_000_000, "", Slot::U32(|c| &mut c.history.messages)),
        doc: "Messages in memory per room. Without any, and without a store, nothing can be recovered after a break.",
    },
    Key {
        name: "history.room_bytes",
        kind: number(KIB, GIB, BYTES, Slot::Usize(|c| &mut c.history.room_bytes)),
        doc: "The same in bytes: at most 4_194_304, unless `chat.changes` is 0.",
    },
    Key {
        name: "history.total_bytes",
        kind: number(KIB, 1_024 * GIB, BYTES, Slot::Usize(|c| &mut c.history.total_bytes)),
        doc: "The same over all rooms; the rooms that have been empty the longest go first.",
    },
    Key {
        name: "history.page_bytes",
        kind: number(KIB, 16 * MIB, BYTES, Slot::Usize(|c| &mut c.history.page_bytes)),
        doc: "Messages in one answer, but at least one message; a recovery that would be larger is answered with `recovered: false`.",
    },
    Key {
        name: "history.keep_s",
        kind: number_or_zero("for ever", KEEP_S_MAX, S, Slot::U64(|c| &mut c.store.keep_s)),
        doc: "For how long messages are kept, unless a room has its own `keep_s`: older ones are deleted, within a minute or so, on disk too. Without `store.path` they go sooner where there is no place.",
    },
    Key {
        name: "chat.changes",
        kind: number_or_zero(
            "no message is changed",
            100_000,
            "",
            Slot::U32(|c| &mut c.chat.changes),
        ),
        doc: "Changed messages that a room remembers, so that a client which comes back is told what became of those that it has. Beyond them it needs a store.",
    },
    Key {
        name: "chat.edit_s",
        kind: number_or_for_ever(EDIT_FOR_EVER_S, EDIT_S_MAX, S, Slot::U64(|c| &mut c.chat.edit_s)),
        doc: "For how long authors may edit their messages; 0 is never. They may delete them at any time.",
    },
    Key {
        name: "chat.react_tick_ms",
        kind: number(1, 10_000, MS, Slot::U64(|c| &mut c.chat.react_tick_ms)),
        doc: "After telling of reactions, and of text that was appended, a room collects for so long before it tells again. If it was quiet it tells at once.",
    },
    Key {
        name: "chat.stream_s",
        kind: number(1, 3_600, S, Slot::U64(|c| &mut c.chat.stream_s)),
        doc: "A message that is said piece by piece is whole when nothing has been appended to it for so long.",
    },
    Key {
        name: "chat.implicit_rooms",
        kind: Kind::Flag(|c| &mut c.rooms.implicit),
        doc: "Whether a room that does not exist is made by joining it. If not, that is refused as a private room is, so that nobody can tell one from the other.",
    },
    Key {
        name: "chat.create_rooms",
        kind: one_of!(CreateRooms, |c| c.rooms.create),
        doc: "Who makes rooms on purpose (`POST /api/rooms`): `all` whose token allows the room, or `keys` of the API alone. There are none yet, so that nobody does.",
    },
    Key {
        name: "chat.blocked_file",
        kind: Kind::File(|c| &mut c.blocked.path),
        doc: "A file of phrases, one a line, that messages may not have unless a moderator sends them; relative to the working directory.",
    },
    Key {
        name: "presence.tick_ms",
        kind: number(1, 60_000, MS, Slot::U64(|c| &mut c.presence.tick_ms)),
        doc: "After telling who came and left, a room collects for so long times its members and one. If it was quiet it tells at once.",
    },
    Key {
        name: "presence.tick_max_ms",
        kind: number(1, 60_000, MS, Slot::U64(|c| &mut c.presence.tick_max_ms)),
        doc: "The longest that a room collects, however large it is.",
    },
    Key {
        name: "presence.full_max",
        kind: number_or_zero(
            "always everybody",
            100_000,
            "",
            Slot::U32(|c| &mut c.presence.full_max),
        ),
        doc: "Above so many members a choice of them is told, and their number.",
    },
    Key {
        name: "presence.listed",
        kind: number(1, 10_000, "", Slot::U32(|c| &mut c.presence.listed)),
        doc: "How many members that choice has.",
    },
    Key {
        name: "store.path",
        kind: Kind::Folder(|c| &mut c.store.path),
        doc: "The folder in which rooms are kept, with all that was said; made if it is not there. `\"\"`: they are in memory only, and end with the process.",
    },
    Key {
        name: "store.ack",
        kind: one_of!(StoreAck, |c| c.store.ack),
        doc: "When a message is answered `ok`: when it is on disk, or at once. The latter loses what was answered in the last second when the power fails, and in the last 50 ms when the process is killed.",
    },
    Key {
        name: "store.deliver",
        kind: one_of!(StoreDeliver, |c| c.store.deliver),
        doc: "When the members of a room see a message: at once, or when it is on disk, so that nobody sees what may be lost.",
    },
    Key {
        name: "store.batch_messages",
        kind: number(1, 100_000, "", Slot::Usize(|c| &mut c.store.limits.batch_messages)),
        doc: "Messages, and whatever else is to be kept or read, in one commit.",
    },
    Key {
        name: "store.batch_bytes",
        kind: number(4 * KIB, 64 * MIB, BYTES, Slot::Usize(|c| &mut c.store.limits.batch_bytes)),
        doc: "The same, in bytes; the last message may be over it.",
    },
    Key {
        name: "store.waiting_bytes",
        kind: number(
            STORE_WAITING_BYTES_MIN as u64,
            GIB,
            BYTES,
            Slot::Usize(|c| &mut c.store.limits.waiting_bytes),
        ),
        doc: "What may wait of each shard to be written; with more, a message is answered `busy`, before it has a place.",
    },
    Key {
        name: "store.checkpoint_bytes",
        kind: number(MIB, GIB, BYTES, Slot::Usize(|c| &mut c.store.limits.checkpoint_bytes)),
        doc: "How large the log becomes before it is moved into the database between two commits. The more, the less often commits wait for that, and the longer. Where reads are always under way the log becomes four times as large; then commits wait until those have ended.",
    },
    Key {
        name: "store.readers",
        kind: number(1, 16, "", Slot::U16(|c| &mut c.store.readers)),
        doc: "Threads that read rooms and history from there.",
    },
    Key {
        name: "store.search",
        kind: Kind::Flag(|c| &mut c.store.search),
        doc: "Whether `msg_search` finds all that is kept there, by an index in a file beside it. Without it only what is in memory is found.",
    },
    Key {
        name: "store.keep_messages",
        kind: number_or_zero(
            "no bound",
            KEEP_MESSAGES_MAX,
            "",
            Slot::U64(|c| &mut c.store.keep_messages),
        ),
        doc: "Messages kept there of each room, unless it has fewer by its own `keep_messages`: what is older is deleted.",
    },
    Key {
        name: "store.keep_bytes",
        kind: number_or_zero(
            "no bound",
            KEEP_BYTES_MAX,
            BYTES,
            Slot::U64(|c| &mut c.store.keep_bytes),
        ),
        doc: "The same, in bytes: of a message its text, author, key and who has reacted, and 32.",
    },
    Key {
        name: "store.reserve_bytes",
        kind: number_or_zero(
            "not looked at",
            1_024 * GIB,
            BYTES,
            Slot::U64(|c| &mut c.store.reserve_bytes),
        ),
        doc: "How much of the disk stays free. With less, messages are refused as if it were full, while the log can still be moved into the database.",
    },
    Key {
        name: "store.cache_bytes",
        kind: number(MIB, 64 * GIB, BYTES, Slot::Usize(|c| &mut c.store.cache_bytes)),
        doc: "Memory for pages of the database: half for the thread that writes, half for those that read. It is a part of `limits.memory_bytes`, of which it takes a quarter at most.",
    },
    Key {
        name: "store.backup",
        kind: Kind::Folder(|c| &mut c.store.backup),
        doc: "A folder into which the server makes backups by itself, as `chinwag backup` does. For one store alone, and outside of `store.path`: best on another disk.",
    },
    Key {
        name: "store.backup_every_s",
        kind: number(60, 366 * 86_400, S, Slot::U64(|c| &mut c.store.backup_every_s)),
        doc: "How long after the newest backup there the next one is made.",
    },
    Key {
        name: "store.backup_keep",
        kind: number(1, 10_000, "", Slot::U32(|c| &mut c.store.backup_keep)),
        doc: "How many of those are kept: then the oldest one is deleted.",
    },
    Key {
        name: "store.migrate_backup",
        kind: Kind::Flag(|c| &mut c.store.migrate_backup),
        doc: "Whether a store of 1 GiB or more is copied too before a new version changes its schema. A smaller one always is.",
    },
    Key {
        name: "store.rooms",
        kind: number(1, 15_000_000, "", Slot::U32(|c| &mut c.store.rooms)),
        doc: "Rooms that are kept, in use or not; past them no new one can be made. `limits.rooms` bounds those in memory. The list of rooms has all of them, which takes each shard some 100 bytes for one.",
    },
    Key {
        name: "engine.url",
        kind: Kind::Engine(|c| &mut c.engine.url),
        doc: "Redis (7.0 or later) or Valkey (7.2 or later), in which several servers keep their rooms together. Nothing is kept in a `store.path` then.",
    },
    Key {
        name: "engine.prefix",
        kind: Kind::Text(|c| &mut c.engine.prefix),
        doc: "What the names of all keys and channels there begin with; `cw`, if there is none. The same at each server.",
    },
    Key {
        name: "engine.partitions",
        kind: number(1, 16_384, "", Slot::U16(|c| &mut c.engine.partitions)),
        doc: "Parts into which rooms fall there. The first server decides; another number refuses to start.",
    },
    Key {
        name: "engine.ack",
        kind: one_of!(EngineAck, |c| c.engine.ack),
        doc: "When a message is answered `ok`: when the primary has it, or when replicas have it too. `auto`: one replica, where one is attached at the time of the connection.",
    },
    Key {
        name: "engine.replicas",
        kind: number(1, 16, "", Slot::U32(|c| &mut c.engine.replicas)),
        doc: "How many replicas must have it, where `engine.ack` is `replica`.",
    },
    Key {
        name: "engine.history",
        kind: number(1, 100_000, "", Slot::U32(|c| &mut c.engine.history)),
        doc: "Messages kept there of each room, about.",
    },
    Key {
        name: "engine.history_s",
        kind: number(60, 366 * 86_400, S, Slot::U32(|c| &mut c.engine.history_s)),
        doc: "For how long messages are kept there after the last one of their room.",
    },
    Key {
        name: "engine.room_s",
        kind: number(60, 3_660 * 86_400, S, Slot::U32(|c| &mut c.engine.room_s)),
        doc: "For how long it is known after the last message where a room stood, and what was decided of it. One that was made on purpose is known for ever.",
    },
    Key {
        name: "engine.key_s",
        kind: number(60, 366 * 86_400, S, Slot::U32(|c| &mut c.engine.key_s)),
        doc: "For how long the last keys of messages are known, so that a message which is sent again is not said twice.",
    },
    Key {
        name: "engine.waiting_bytes",
        kind: number(MIB, GIB, BYTES, Slot::Usize(|c| &mut c.engine.limits.waiting_bytes)),
        doc: "What may be on its way there; with more, a message is answered `busy`.",
    },
    Key {
        name: "engine.room_waiting",
        kind: number(1, 100_000, "", Slot::Usize(|c| &mut c.engine.limits.room_waiting)),
        doc: "The same of one room, in messages.",
    },
    Key {
        name: "engine.timeout_ms",
        kind: number(10, 600_000, MS, Slot::U64(|c| &mut c.engine.limits.timeout_ms)),
        doc: "After how long without an answer from there a message is answered: `unconfirmed` if it may be kept, else `unavailable`.",
    },
    Key {
        name: "engine.ping_ms",
        kind: number(10, 600_000, MS, Slot::U64(|c| &mut c.engine.limits.ping_ms)),
        doc: "How often it is looked whether it answers, and sentinels, or primaries of a cluster, are asked who is primary.",
    },
    Key {
        name: "engine.dead_ms",
        // It may wait for replicas for half of that, and answers nothing meanwhile.
        kind: number(100, 600_000, MS, Slot::U64(|c| &mut c.engine.limits.dead_ms)),
        doc: "After how long without a sign a new connection is made: of it, or of one of its primaries.",
    },
    Key {
        name: "engine.audit_s",
        kind: number(1, 86_400, S, Slot::U32(|c| &mut c.engine.limits.audit_s)),
        doc: "Within how long it is looked at each room in use whether anything was missed.",
    },
    Key {
        name: "cluster.lease_ms",
        kind: number(100, 600_000, MS, Slot::U64(|c| &mut c.engine.limits.lease_ms)),
        doc: "For how long the other servers believe that one lives which does not say so. Then those who are there by it have left.",
    },
    Key {
        name: "cluster.heartbeat_ms",
        kind: number(10, 600_000, MS, Slot::U64(|c| &mut c.engine.limits.heartbeat_ms)),
        doc: "How often each says so.",
    },
    Key {
        name: "archive.url",
        kind: Kind::Database(|c| &mut c.archive.url),
        doc: "PostgreSQL (12 or later), in which all that was said stays that `engine.url` lets go of. The same at each server.",
    },
    Key {
        name: "archive.timeout_ms",
        kind: number(10, 600_000, MS, Slot::U64(|c| &mut c.archive.timeout_ms)),
        doc: "How long connecting to it may take, and each thing that it is asked. What takes longer is answered `busy`, or `unavailable`.",
    },
];

/// The key of this name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    ALL.iter().find(|key| key.name == name)
}

/// Whether keys stand below this name, as below `limits`.
pub(super) fn is_section(name: &str) -> bool {
    ALL.iter().any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// What to say of a key that does not exist.
pub(super) fn unknown(name: &str) -> String {
    format!("{}: {}", escaped(name), unknown_as(name, str::to_owned))
}

/// What to say of a key that does not exist, in a source that spells keys in this way and has
/// already said it.
pub(super) fn unknown_as(name: &str, spelled: fn(&str) -> String) -> String {
    nearest(name).map_or_else(
        || "no such key; chinwag --help lists them".to_owned(),
        |near| format!("no such key; did you mean {}?", spelled(near)),
    )
}

fn escaped(name: &str) -> String {
    name.chars().take(60).flat_map(char::escape_debug).collect()
}

/// The known key that somebody who wrote `name` probably meant.
fn nearest(name: &str) -> Option<&'static str> {
    let last = |name: &str| name.rsplit('.').next().map(str::to_owned);
    let in_another_section = ALL.iter().find(|key| last(key.name) == last(name));
    let distance = |key: &&Key| strsim::osa_distance(key.name, name);
    // Further than a third of the name is not a slip but something else.
    let close =
        || ALL.iter().min_by_key(distance).filter(|key| distance(key) <= key.name.len() / 3);
    in_another_section.or_else(close).map(|key| key.name)
}

/// The value of a key that is a number.
pub(super) fn value_of(config: &Config, name: &str) -> u64 {
    match find(name) {
        Some(Key { kind: Kind::Number(number), .. }) => number.value(config),
        _ => unreachable!("relations are between numbers, and {name} is none"),
    }
}

impl Key {
    /// Whether its value must never be shown.
    pub(super) fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Secret(_) | Kind::Engine(_) | Kind::Database(_))
    }

    /// Whether its value is a number.
    #[cfg(test)]
    pub(super) fn is_number(&self) -> bool {
        matches!(self.kind, Kind::Number(_))
    }

    /// Writes a value into its place, or says what is allowed there.
    pub(super) fn set(&self, config: &mut Config, given: &Given) -> Result<(), String> {
        let set = self.kind.set(config, given);
        set.ok_or_else(|| format!("must be {}{}", self.kind.allowed(), self.kind.hint(given)))
    }

    /// What to put for the default, where it is not simply a value.
    fn default_shown(&self, defaults: &Config) -> String {
        match self.name {
            "auth.guests" => "by address and key".into(),
            _ => match self.kind.shown(defaults) {
                none if none.is_empty() => "none".into(),
                value => value + &self.kind.unit(),
            },
        }
    }
}

/// The default as it could be written in the file's place; nothing where there is none.
#[cfg(test)]
pub(super) fn default_text(key: &Key) -> String {
    key.kind.shown(&Config::default())
}

/// The list of keys for `--help`.
pub(crate) fn help() -> String {
    let defaults = Config::default();
    let mut text =
        "Keys, for FILE, for --set, and as variables (CHINWAG_LIMITS__IDLE_MS is limits.idle_ms):\n"
            .to_owned();
    for key in ALL {
        let default = key.default_shown(&defaults);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n  {} [default: {default}]\n      {}\n",
            key.name,
            key.doc.replace('`', "")
        );
        let _ = writeln!(text, "      {}", key.kind.allowed());
    }
    text
}

/// The table of keys for the documentation, in Markdown.
#[must_use]
pub fn reference() -> String {
    let defaults = Config::default();
    let mut text = "| key | default | allowed | |\n|---|---|---|---|\n".to_owned();
    for key in ALL {
        let default = key.default_shown(&defaults);
        let _ =
            writeln!(text, "| `{}` | {default} | {} | {} |", key.name, key.kind.allowed(), key.doc);
    }
    text
}

//! Every bound of the server in one place: its unit in the name, its reason beside the number, its
//! relations asserted.
//!
//! Two kinds stand here. A `const` is a property of a format or of the design. A field of a struct
//! is an operator's choice with a default, under a key of `app::config::keys`:
//!
//! | struct | what it bounds | its keys |
//! |---|---|---|
//! | [`Limits`] | connections, rates, buffers | `limits.` |
//! | [`ChatLimits`] | what may become of messages, what users may be in a room | `chat.`, `limits.` |
//! | [`HistoryLimits`] | what a room remembers | `history.` |
//! | [`PresenceLimits`] | how presence is told | `presence.` |
//! | [`StoreLimits`] | what the store's writer takes at a time | `store.` |
//! | [`EngineLimits`] | what the thread of an engine takes at a time | `engine.`, `cluster.` |
//!
//! A key names what an operator bounds, so it need not have the name of its struct. Nothing in here
//! knows anything else of the server.

/// The longest header of a WebSocket frame from a server: two bytes and a 64-bit length (RFC 6455,
/// 5.2).
pub const FRAME_HEADER_BYTES_MAX: usize = 10;

/// The longest header of a WebSocket frame from a client: a server's, and the mask.
pub const CLIENT_FRAME_HEADER_BYTES_MAX: usize = FRAME_HEADER_BYTES_MAX + 4;

/// The most payload a control frame may have (RFC 6455, 5.5).
pub const CONTROL_PAYLOAD_BYTES_MAX: usize = 125;

/// The nesting of JSON accepted from a client, the envelope's array included. A document of an
/// editor nests three or four levels for each that is seen; recursive parsers stop at about so
/// many.
pub const JSON_DEPTH_MAX: u16 = 128;

/// The longest room name, user id and display name, in bytes. One byte must hold a topic's length
/// in binary frames.
pub const NAME_BYTES_MAX: usize = 128;

/// The longest body of a message that [`Limits::body_bytes`] may allow, in bytes.
pub const BODY_BYTES_MAX: usize = 1_024 * 1_024;

/// The longest phrase that messages may not have, in bytes as it is compared: a sentence.
pub const PHRASE_BYTES_MAX: usize = 256;

/// The most phrases that messages may not have.
pub const PHRASES_MAX: usize = 10_000;

/// The largest file of them, in bytes. In memory they take some sixteen times as much at most, once
/// for all shards.
pub const PHRASES_BYTES_MAX: usize = 256 * 1_024;

/// The longest title that a room is given, in bytes: a line in a list of rooms.
pub const TITLE_GIVEN_BYTES_MAX: usize = 128;

/// The longest title that a room may have, in bytes. Rooms that were kept by an earlier version
/// stay as they are.
pub const TITLE_BYTES_MAX: usize = 256;

// A room that is made without a title is called by its name.
const _: () = assert!(NAME_BYTES_MAX <= TITLE_GIVEN_BYTES_MAX);
const _: () = assert!(TITLE_GIVEN_BYTES_MAX <= TITLE_BYTES_MAX);

/// The longest event name, in bytes: one byte must hold its length in binary frames.
pub const EVENT_BYTES_MAX: usize = 128;

/// The longest `join_ref` or `ref`, in bytes of JSON. `phoenix.js` counts up from 1.
pub const REF_BYTES_MAX: usize = 128;

/// The longest idempotency `key` of a message, in bytes.
pub const KEY_BYTES_MAX: usize = 64;

/// How many keys a room remembers, so that a publish repeated after a reconnect is recognised.
pub const KEYS_PER_ROOM_MAX: usize = 1_000;

/// The most `meta` a member may attach to its presence, in bytes of JSON. Every member receives it.
pub const META_BYTES_MAX: usize = 1_024;

/// The most messages in one answer to `history`, and in the first page of a join.
pub const PAGE_MESSAGES_MAX: u32 = 100;

/// The most messages that a room may have pinned: a log that opens it says which they are, and so
/// does the answer to each join. Of a room with more, which was imported, it says the last ones.
pub const PINS_MAX: u32 = 1_000;

/// The longest emoji, in bytes: one may be put together of a dozen characters.
pub const EMOJI_BYTES_MAX: usize = 64;

/// Of those who have reacted to a message with an emoji members are told so many: all are counted.
pub const REACTORS_TOLD: usize = 10;

/// What all who have reacted to a message may take, in bytes: the message is written with all of
/// them each time that one comes.
pub const REACTED_BYTES_MAX: usize = 256 * 1_024;

/// Messages in a page when the client names no number.
pub const PAGE_MESSAGES_DEFAULT: u32 = 50;

/// The least and the most bytes of a query.
pub const QUERY_BYTES_MIN: usize = 2;
/// See [`QUERY_BYTES_MIN`].
pub const QUERY_BYTES_MAX: usize = 128;

/// The most messages in one answer to `msg_search`.
pub const SEARCH_MESSAGES_MAX: u32 = 50;

/// Messages in it when the client names no number.
pub const SEARCH_MESSAGES_DEFAULT: u32 = 20;

/// How many bytes of a room's messages in memory one search looks at, before whoever searches asks
/// again: as many as a room has there by default. That is 2 ms of a turn, or 8 where each letter is
/// a word of its own.
pub const SEARCH_LOOKED_BYTES_MAX: usize = 512 * 1_024;

/// How long a poll waits for something to say, in milliseconds. Proxies often give up after 30 s.
pub const POLL_WINDOW_MS: u64 = 10_000;

/// How long a session of long polling lives without a poll, in milliseconds, from when its client
/// can have the last answer: see [`slow_link_ms`].
pub const SESSION_TIMEOUT_MS: u64 = 15_000;

/// What the slowest link carries that clients are given time for, in bytes a second.
pub const SLOW_LINK_BYTES_PER_S: usize = 4 * 1_024;

/// How long so many bytes take on the slowest link ([`SLOW_LINK_BYTES_PER_S`]), in milliseconds.
#[must_use]
pub const fn slow_link_ms(bytes: usize) -> u64 {
    bytes as u64 * 1_000 / SLOW_LINK_BYTES_PER_S as u64
}

/// How many sessions of long polling a user may have on one shard at once. A session takes the
/// place of a connection and needs none: a few connections could open as many as there are places,
/// and keep them by a poll every [`SESSION_TIMEOUT_MS`]. A user has one for each page that is open,
/// and of each page that was closed or lost an answer for a while another.
pub const SESSIONS_PER_USER_MAX: u32 = 32;

/// From how many bytes of messages on the rest is left for the next poll. `phoenix.js` gives an
/// answer 20 s, in which [`SLOW_LINK_BYTES_PER_S`] are somewhat more.
pub const POLL_ANSWER_BYTES: usize = 64 * 1_024;

/// How many times [`Limits::conn_out_bytes`] may wait for one connection before it is closed
/// whatever it takes. Nothing more is read from it once [`Limits::out_mark_bytes`] of it wait; what
/// comes on top is answers that were under way, and lists. A client that polls cannot take the
/// answers to what it asked in one request before it has asked for them.
pub const OUT_FACTOR: usize = 4;

/// The longest body of an HTTP request, in bytes. A client that polls posts all that it has to say
/// in one request: a burst of the longest messages, as [`Limits`] has them by default, must fit.
pub const HTTP_BODY_BYTES_MAX: usize = 1_024 * 1_024;

/// The longest body of any other request, in bytes. The API takes names and titles.
pub const API_BODY_BYTES_MAX: usize = 16 * 1_024;

/// The most bytes of a chunked body that are not content, in all: sizes, extensions and trailers;
/// past it 413. A chunk has at least five of them, so this bounds the chunks too: a body that comes
/// in pieces is walked again with each. 1 MiB in chunks of half a KiB fits.
pub const CHUNKING_BYTES_MAX: usize = 16 * 1_024;

/// The most headers in one request; past it 431.
pub const HTTP_HEADERS_MAX: usize = 64;

/// The longest header of the PROXY protocol's version 1 with its line end, in bytes
/// (`proxy-protocol.txt`, 2.1).
pub const PROXY_LINE_BYTES_MAX: usize = 107;

/// The most that may follow the 16 fixed bytes of a header of version 2, in bytes. Addresses take
/// 216 at most; the rest is for extensions, which a proxy that tells of a client's certificate
/// fills with some hundred bytes.
pub const PROXY_BLOCK_BYTES_MAX: usize = 4_096;

/// The shared receive buffer of a shard, in bytes, and so the most that is read from one connection
/// before the next has its turn.
pub const READ_BUFFER_BYTES: usize = 64 * 1_024;

/// How many times in a row one connection's socket is read in one turn.
pub const READS_PER_TURN_MAX: u32 = 4;

/// Work that entries (HTTP requests and messages of connections, records of other shards) may do in
/// one turn of a shard, in units of about a microsecond: what does not fit waits for the next turn.
/// Some 4 ms, so that the worst heartbeat of others stays below 20 ms with a flush and the joins of
/// a turn beside it. Where there are several shards, half of it is for what the others send.
pub const TURN_WORK: u32 = 4_000;

/// How much of a turn's work one connection may do while others wait for some, in units of
/// [`TURN_WORK`]: some hundred messages, or a dozen requests.
pub const CONN_WORK: u32 = 250;

/// What an HTTP request costs besides its answer, in units of [`TURN_WORK`]: to read its head, to
/// look its path up, to write the headers.
pub const REQUEST_WORK: u32 = 16;

/// What a signature costs that a request of the API has verified, or made for a guest, in units of
/// [`TURN_WORK`]. Those of upgrades and sessions are paid by [`Limits::admissions_per_turn`].
pub const TOKEN_WORK: u32 = 64;

/// What a WebSocket message costs besides its answer, and a record of another shard besides its
/// bytes, in units of [`TURN_WORK`].
pub const MESSAGE_WORK: u32 = 1;

/// How many bytes of an answer, or of a record, cost one unit of [`TURN_WORK`].
pub const ANSWER_BYTES_PER_WORK: usize = 1_024;

/// How many bytes of a room's history are moved for one unit of [`TURN_WORK`]. A change of a
/// message moves all that lie behind it.
pub const MOVED_BYTES_PER_WORK: usize = 16 * 1_024;

/// How many bytes of a room's history one turn moves for what was collected, or is over, and how
/// many for the messages that a purge looks at together: some 4 ms.
pub const MOVED_BYTES_PER_TURN: usize = 64 * 1_024 * 1_024;

/// How many rooms looked at in the directory cost one unit of [`TURN_WORK`]: each is a step in a
/// tree, whose memory may have to be fetched.
pub const VISITS_PER_WORK: usize = 16;

/// Of how many rooms directories are told in a turn whose heads or titles have changed: some
/// hundred microseconds. A connection may leave thousands at once.
pub const LISTINGS_PER_TURN_MAX: usize = 500;

/// How many standings are looked through for an answer to `room_members`: some hundred
/// microseconds.
pub const MEMBERS_LOOKS_MAX: usize = 2_000;

/// How many connections that a sweep looks at cost one unit of [`TURN_WORK`]: it walks over a dense
/// array.
pub const SWEPT_PER_WORK: usize = 256;

/// What the end of a connection costs, in units of [`TURN_WORK`]: most of it is the kernel's.
pub const ENDING_WORK: u32 = 32;

/// What a leave costs: its seat among those who are told, and the membership at the room's home, in
/// units of [`TURN_WORK`].
pub const LEAVING_WORK: u32 = 8;

/// How many channels of a connection that are looked through cost one unit of [`TURN_WORK`]: they
/// lie in one array.
pub const CHANNELS_PER_WORK: usize = 256;

/// What part of the work for ends in a turn one connection may take that leaves its channels,
/// before the next has its part.
pub const LEAVING_PART: u32 = 8;

/// What a timer costs besides what it spends itself, in units of [`TURN_WORK`]: most are ticks of
/// rooms, whose news is written for all members at once.
pub const TIMER_WORK: u32 = 4;

/// What part of [`TURN_WORK`] timers may do in a turn.
pub const TIMERS_PART: u32 = 4;

/// How many polls that wait are answered at the end of a turn: each is a write, as those of
/// [`WRITES_PER_FLUSH`].
pub const POLLS_PER_TURN_MAX: u32 = 64;

/// How many lines of eight buckets the table of rates has: half a mebibyte. A bucket is in use for
/// as long as its user is not rested, mostly some 50 ms.
pub const RATE_LINES: usize = 8 * 1_024;

/// How many seconds of its rate an address may use at once: behind it may be a school that comes in
/// at the full hour.
pub const ADDRESS_BURST_S: u64 = 20;

/// Below how many bytes to all members a push is not counted against
/// [`Limits::fanout_bytes_per_s`].
pub const FANOUT_FREE_BYTES: u64 = 64 * 1_024;

/// How many joins of one connection may be under way at once. Each may be answered with a page of
/// history, and what is under way counts against nothing yet.
pub const JOINS_UNDER_WAY_MAX: usize = 4;

/// The longest topic of a room, in bytes of its JSON.
pub const TOPIC_BYTES_MAX: usize = 1_024;

/// The longest reason for what is decided of a user, in bytes of its JSON.
pub const REASON_BYTES_MAX: usize = 1_024;

/// The longest time for edits that the server or a room may set, in seconds: some thirty years.
pub const EDIT_S_MAX: u64 = 1_000_000_000;

/// The most bytes of messages that a room may have in memory where messages can be changed. They
/// are one stretch of bytes, and a change moves what lies behind it: of so many in half a
/// millisecond.
pub const CHANGING_ROOM_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// A time for edits that has no end: more seconds than there will be. It is written and told as -1.
pub const EDIT_FOR_EVER_S: u64 = u64::MAX;

/// The longest time for which a room, or the server, may be told to keep messages, in seconds: a
/// hundred years. What is meant for ever is said so.
pub const KEEP_S_MAX: u64 = 100 * 365 * 86_400;

/// The most messages of a room that it, or the server, may be told to keep: there are no more
/// offsets in a store.
pub const KEEP_MESSAGES_MAX: u64 = 1 << 39;

/// The same in bytes: 1 TiB.
pub const KEEP_BYTES_MAX: u64 = 1 << 40;

/// The slowest slow mode, in seconds: six hours.
pub const SLOW_S_MAX: u32 = 21_600;

/// How many messages of a user are deleted at once, with a ban.
pub const PURGED_MESSAGES_MAX: usize = 100;

/// How many messages of a room's memory a purge looks at, before whoever wants it asks again, or
/// its log is read: twice what a room has there by default, and a millisecond of a turn.
pub const PURGE_LOOKS_MAX: usize = 2_000;

/// How many messages a purge looks at together that are not in memory: some hundred microseconds of
/// a turn, besides the deletions.
pub const PURGE_READ_MESSAGES: u32 = 500;

/// How often it does. Then whoever wants it asks again, and it goes on where it has stopped.
pub const PURGE_READS_MAX: u32 = 100;

/// How many purges of a shard may go on beyond memory at a time.
pub const PURGES_UNDER_WAY_MAX: usize = 8;

/// How long an invite is good, in seconds, if that is not said: a week.
pub const INVITE_S_DEFAULT: u64 = 7 * 86_400;

/// How long an invite is good at most, in seconds: a year.
pub const INVITE_S_MAX: u64 = 365 * 86_400;

/// The longest invite, in bytes of its JSON: with the longest names of a room and a user.
pub const INVITE_BYTES_MAX: usize = 1_024;

/// The longest text of a report, in bytes of its JSON.
pub const REPORT_BYTES_MAX: usize = 1_024;

/// How many reports of a room are known again when they are repeated: the latest ones.
pub const REPORTS_KNOWN_MAX: usize = 64;

/// How many lines of an audit trail are told at once, if that is not said.
pub const AUDIT_LINES_DEFAULT: u32 = 50;

/// How many lines of its audit trail a room keeps on disk: the newest ones. Years of most rooms.
/// The most that they can take is as many reports of a KiB each.
pub const AUDIT_LINES_MAX: u64 = 10_000;

/// What the audit trail of a room may take in memory, in bytes, where that is the only place: some
/// 300 lines.
pub const AUDIT_MEMORY_BYTES_MAX: usize = 64 * 1_024;

/// And in a room that nobody is in, of which there may be many: some ten lines.
pub const AUDIT_EMPTY_BYTES_MAX: usize = 2 * 1_024;

/// How many searches of a shard its log may have under way. The next one is answered `busy`.
pub const SEARCHES_UNDER_WAY_MAX: usize = 16;

/// How many reads of a shard its log may have under way: pages and recoveries that go further back
/// than memory. The next one is answered `busy`. Each may be answered with
/// [`HistoryLimits::page_bytes`], and the threads that read have some milliseconds of work then.
pub const READS_UNDER_WAY_MAX: usize = 64;

/// How many of them may be of single messages that pushes wait for: the others are for whoever
/// comes back, or looks back.
pub const READS_OF_MESSAGES_MAX: usize = READS_UNDER_WAY_MAX / 2;

/// How many times as many bytes as are told a page may have on its way from the store: who has
/// reacted goes along, so that a member is told which reactions are its own.
pub const UNTOLD_FACTOR: usize = 16;

/// How often the log is asked for one page or recovery: once, and three times again if the room has
/// moved on meanwhile.
pub const READS_OF_ONE_MAX: u32 = 4;

/// How many answers a channel may have under way before it is asked for one more page of history.
pub const ANSWERS_UNDER_WAY_MAX: u16 = 4;

/// To how many members of one room a turn writes: some 300 µs of the kernel's time, after which
/// others have their turn, and what was said meanwhile is taken along. A turn costs as much as half
/// a write.
pub const WRITES_PER_FLUSH: u32 = 64;

/// To how many members of all rooms together a turn writes: some 3 ms of the kernel's time. The
/// rooms that are not reached are the first in the next turn.
pub const WRITES_PER_TURN: u32 = 8 * WRITES_PER_FLUSH;

/// The output of how many connections a turn writes: some 4 ms of the kernel's time. A turn's
/// messages have fewer answers; but a room may have something to tell each of its members alone.
pub const CONN_WRITES_PER_TURN: usize = 512;

/// Up to how many members a room gathers on one shard, as far as those come who join nothing
/// before. Waking another shard for a message costs as much as some 4 writes. From here on that is
/// a few in a hundred, and what several cores gain by writing at once is more.
pub const GATHERED_MEMBERS: u32 = 128;

/// How many connections beyond one and a half times this shard's own another may have and still be
/// handed one.
pub const LOAD_SLACK: usize = 64;

/// By how many connections, beside an eighth, a shard's load must change for the others to be told.
pub const LOAD_STEP: u32 = 16;

/// How many connections are accepted in one turn, so that a storm of them does not starve those
/// that are in.
pub const ACCEPTS_PER_TURN_MAX: u32 = 64;

/// How long after a failed `accept` for want of descriptors the listener is asked again, in
/// milliseconds. An edge-triggered listener would otherwise stay mute.
pub const ACCEPT_RETRY_MS: u64 = 100;

/// How many bytes of an answer to a join are as much work as an upgrade, or as a join whose answer
/// is short: see [`Limits::admissions_per_turn`]. Building, framing and sending 16 KiB takes some
/// 10 µs.
pub const ADMISSION_WORK_BYTES: usize = 16 * 1_024;

/// From how many bytes of waiting joins on a further one is answered `busy`, be it their turn that
/// they wait for or a way. A join is some 200 bytes.
pub const ADMISSION_LINE_BYTES_MAX: usize = 16 * 1_024 * 1_024;

/// After how long the kernel gives up what is unsent of a connection that we have let go of with
/// more to send, in milliseconds (`TCP_USER_TIMEOUT`). By itself it would go on for minutes, and
/// keep the memory. Never while the connection is ours: the kernel counts from when the peer's
/// window became too small for a whole segment, and so ends who reads steadily into a small buffer.
pub const TCP_LEFT_MS: u64 = 60_000;

/// How many bytes the kernel holds of a connection beside those that are on their way, and half of
/// it how few these must become until it takes more. That it takes some is all that is seen of a
/// reader, and whoever is not seen to read for `limits.out_ms` is closed. So it is little; but
/// enough to keep a fast link busy until the next turn.
pub const NOTSENT_BYTES: u32 = 32 * 1_024;

/// From how much silence on the kernel asks a peer's machine whether it is there, in seconds, and
/// how often. Clients send a heartbeat every 30 s, so this is for those that have stopped, where
/// [`Limits::idle_ms`] is long.
pub const TCP_KEEPALIVE_S: u64 = 60;
/// See [`TCP_KEEPALIVE_S`].
pub const TCP_KEEPALIVE_EACH_S: u64 = 15;

/// At how much of [`Limits::memory_bytes`] nobody is accepted any more, nobody joins any more, and
/// those who hold the most let go of it, in percent. Between two marks there is room for what those
/// who are in may still do.
pub const MEMORY_MARKS_PERCENT: [usize; 3] = [80, 90, 100];

/// How often a shard looks how much memory messages in fragments take, and, when memory is short,
/// whether it still is, in milliseconds.
pub const MEMORY_LOOK_MS: u64 = 100;

/// Which part of the memory that the process may have its shards may use, in percent, unless
/// [`Limits::memory_bytes`] says. The rest is for the kernel's side of the sockets, for whatever
/// else runs there, and for the allocator: with buffers that grew by doubling and were let go of by
/// the hundred, the process was seen to take 2.7 times of what was in use, for some seconds.
pub const MEMORY_SHARE_PERCENT: u64 = 25;

/// What a connection takes at rest, in bytes: its record, its places in dense arrays, its identity.
/// Measured with one membership (`benches/footprint`) at some 170 to 430; growing vectors have up
/// to as much again.
pub const CONN_MEMORY_BYTES: usize = 512;

/// What a membership takes on both sides, in bytes, without its meta.
pub const MEMBER_MEMORY_BYTES: usize = 256;

/// About what a member on another node takes in the slice of that node, besides its membership, in
/// bytes.
pub const SLICE_MEMBER_MEMORY_BYTES: usize = 24;

/// How many other nodes a room is told of. What further ones say is not heard.
pub const NODES_PER_ROOM_MAX: usize = 1_024;

/// How often a room says to other nodes that what it said of who is there still holds, in
/// milliseconds, about: a quarter more or less, so that rooms that began together do not say it
/// together. What was lost is noticed by then.
pub const SLICE_AUDIT_MS: u64 = 300_000;

/// After how many audits of one's own a node that was not heard has left the room. Each node says
/// an audit in the time of two of another.
pub const SLICE_SILENT_ROUNDS: u8 = 3;

/// What an engine has told, asked or not, and its thread has not taken, in bytes, about. Past it
/// the connection ends. As much as busy rooms say in a second or two, for which a machine may stand
/// still. One answer has place always, or a room that is larger could never be read.
pub const TOLD_BYTES_MAX: usize = 64 * 1_024 * 1_024;

/// How long a room that other nodes have, too, stays when nobody is in it here any more, in
/// milliseconds: who reloads a page is back by then. Until it goes, this node hears all that is
/// said there.
pub const ROOM_COOLS_MS: u64 = 30_000;

/// For how long the other nodes may answer a room that asks who is there, in milliseconds. As long
/// as a node is believed that is silent, and a little: they may be on their way back to the engine.
pub const SLICE_ANSWER_MS: u64 = 15_000;

/// For how long a node is known whose life is over, in milliseconds: what it said comes no later.
pub const NODE_OVER_MS: u64 = 3_600_000;

/// How many of them are known. Of more the first are forgotten.
pub const NODES_OVER_MAX: usize = 4_096;

/// How many rooms are gone through at a time when nodes have gone, or this one has another life,
/// and how long the others wait meanwhile, in milliseconds.
pub const ROOMS_TOLD_AT_ONCE: usize = 256;
/// See [`ROOMS_TOLD_AT_ONCE`].
pub const ROOMS_TOLD_EVERY_MS: u64 = 4;

/// What a room takes, in bytes, without its history: its home, or its members' record on one shard;
/// its topic and title.
pub const ROOM_MEMORY_BYTES: usize = 2 * 1_024;

/// What a user takes in a room of which something was decided, in bytes, roughly.
pub const STANDING_MEMORY_BYTES: usize = 128;

/// About what a user takes who has spoken of late in a room in slow mode, in bytes: a hash and a
/// time.
pub const SPEAKER_MEMORY_BYTES: usize = 16;

/// How many users a room in slow mode knows to have spoken of late. Of more those who spoke first
/// are forgotten, and may speak too soon: guests come and go, and memory must not grow with them.
pub const SPEAKERS_KNOWN_MAX: usize = 8 * 1_024;

/// About what a changed message takes in the indices of its room, in bytes.
pub const CHANGE_MEMORY_BYTES: usize = 64;

/// About what a pinned message takes in its room, in bytes.
pub const PIN_MEMORY_BYTES: usize = 32;

/// About what a message with reactions takes, besides who has reacted, in bytes.
pub const REACTED_MEMORY_BYTES: usize = 48;

/// About what a message that grows takes until it has ended, in bytes.
pub const STREAM_MEMORY_BYTES: usize = 64;

/// What a room takes in a shard's directory, in bytes, with name and title as long as they may be,
/// in a table that grows.
pub const LISTING_MEMORY_BYTES: usize = NAME_BYTES_MAX + TITLE_BYTES_MAX + 2 * 80;

/// What a remembered key of a message takes, in bytes: hash and receipt, twice over for a table
/// that grows, and its place in the order.
pub const KEY_MEMORY_BYTES: usize = 96;

/// By how many ended epochs a room judges cursors. One from before that is not recovered. One ends
/// with each unclean stop and each failover.
pub const LINEAGE_EPOCHS_MAX: usize = 16;

/// How often a room proposes an entry again that conflicts with what its log knows, before the push
/// is answered `busy`.
pub const PROPOSALS_MAX: u32 = 8;

/// How many pushes of a room may wait behind entries that its log has not ordered yet; the next one
/// is answered `busy`.
pub const WAITING_PUSHES_PER_ROOM_MAX: usize = 256;

/// How many messages of a room may be under way to its log; the next one is answered `busy`. A disk
/// that takes 50 ms to keep what it has is behind by so many where 80,000 are said in a second.
pub const UNDER_WAY_PER_ROOM_MAX: usize = 4_096;

/// How many additions to messages of a room may be collected until they are told; the next one is
/// answered `busy`. A tick of a room in which 40,000 react in a second has so many.
pub const COLLECTED_PER_ROOM_MAX: usize = 10_000;

/// And how many bytes they may take, with the messages that they are for.
pub const COLLECTED_BYTES_PER_ROOM_MAX: usize = 16 * 1_024 * 1_024;

/// To how many messages of a room a turn tells what was added: each is written anew.
pub const COLLECTED_MESSAGES_PER_TURN_MAX: u32 = 64;

/// And how many bytes each member is told by then, about: a small part of what a reader may lag
/// behind.
pub const COLLECTED_BYTES_PER_TURN: usize = 64 * 1_024;

/// What a message that is under way takes, a push that waits behind it, or an answer that is held
/// for it, in bytes without its texts: the record, and its places in several indices.
pub const PENDING_MEMORY_BYTES: usize = 256;

/// How many answers a channel may have under way before its connection is read no further. A read
/// of a connection has more pushes in it than that only where nobody would wait for the answers.
pub const PUSHES_UNDER_WAY_MAX: u16 = 256;

/// How often rooms in memory that keep messages for a time let go of what is older, in
/// milliseconds. So long it stays beyond its time; a hundred thousand such rooms take a hundredth
/// of a shard.
pub const AGE_SWEEP_MS: u64 = 5_000;

/// How many of these rooms are looked at in a turn: some ten microseconds, where nothing is old.
pub const AGED_ROOMS_PER_TURN_MAX: usize = 64;

/// How many messages they let go of in a turn: about a hundred microseconds.
pub const AGED_MESSAGES_PER_TURN_MAX: usize = 500;

/// How many of these rooms that are looked at, or of their messages that go, cost one unit of
/// [`TURN_WORK`].
pub const AGED_PER_WORK: usize = 4;

/// How often idle, unfinished and expired connections are looked for, in milliseconds.
pub const SWEEP_MS: u64 = 500;

/// How long before the end of its token a client is told, unless it is configured, in seconds: time
/// to ask a backend for another one, twice.
pub const TOKEN_WARN_S: u64 = 60;

/// From how long a turn of a shard on the watchdog says so, in milliseconds. Turns take tens of
/// milliseconds at the very most.
pub const STALL_MS: u64 = 1_000;

/// How many times a shard may panic within [`RESTARTS_WINDOW_MS`] and begin anew. With one more the
/// process gives up: a defect that is reached again and again leaves a server that is up and serves
/// nobody. Each time everybody on the shard is closed, every room of it begins anew, and all come
/// back at once. Whoever supervises the process sees its end, and not that.
pub const RESTARTS_MAX: usize = 5;
/// See [`RESTARTS_MAX`].
pub const RESTARTS_WINDOW_MS: u64 = 60_000;

/// Over how long connections are closed when the process gives up, in milliseconds: some time, so
/// that not all come back at once, and not the whole that a stop may take, for it is not well.
pub const GIVE_UP_OVER_MS: u64 = 5_000;

/// How long a closed connection's bytes are still read and thrown away before the socket goes, in
/// milliseconds. Closing at once would reset the connection, and the peer might never see the close
/// frame.
pub const LINGER_MS: u64 = 2_000;

/// The most rooms in the lobby's first answer.
pub const LOBBY_ROOMS_MAX: usize = 1_000;

/// How often the lobby's changes are pushed, in milliseconds.
pub const LOBBY_TICK_MS: u64 = 500;

/// The longest frame of the lobby's changes, in bytes, as a client receives it. With one in
/// [`LOBBY_TICK_MS`] a member needs to read at most 128 KiB a second, whatever others do to rooms;
/// some 1,000 rooms fit, and what does not fit waits for the next frame.
pub const LOBBY_FRAME_BYTES_MAX: usize = 64 * 1_024;

/// From how many bytes on the list of who is there, or of who has come and gone, is told in parts,
/// each in a frame of its own: there are clients that take no message over 1 MiB. Not from fewer,
/// since the list is walked through then, which costs more than to copy it.
pub const PRESENCE_PART_BYTES: usize = 512 * 1_024;

/// How many bytes of the lobby's changes a turn gives to members who may not see every room: some
/// 500 µs of copying and writing. The rest of these members have the same frame in the next turns.
pub const LOBBY_TURN_BYTES: usize = 1_024 * 1_024;

/// What a member counts for in [`LOBBY_TURN_BYTES`] beside the frame: a write takes 8 µs however
/// short it is.
pub const LOBBY_WRITE_COST_BYTES: usize = 16 * 1_024;

/// What a pattern of rights counts for in [`LOBBY_TURN_BYTES`] to which no change is news.
pub const LOBBY_LOOK_COST_BYTES: usize = 256;

/// How many bytes of first answers the lobby keeps, each for all who may see the same rooms and
/// join before the next frame. Past it those of before go.
pub const LOBBY_ANSWERS_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// The longest entry of a list of rooms, in bytes: each byte of name and title may have to be
/// escaped (names have no control characters, so by one more). Around them are 56 bytes of JSON,
/// the comma and a number of ten digits included.
pub const LISTING_BYTES_MAX: usize = 2 * (NAME_BYTES_MAX + TITLE_BYTES_MAX) + 56;

/// The longest answer to a join of the lobby, in bytes: the list, its total, envelope and refs.
pub const LOBBY_ANSWER_BYTES_MAX: usize =
    LOBBY_ROOMS_MAX * LISTING_BYTES_MAX + 2 * REF_BYTES_MAX + 256;

/// Words of 8 bytes in the ring between two shards.
///
/// 128 KiB hold a tick's worth of traffic; more waits in the sender's overflow, which is what
/// backpressure measures.
pub const RING_WORDS: usize = 16 * 1_024;

/// From how many waiting bytes for another shard on the connections that feed it are no longer
/// read, and joins from there wait.
pub const MESH_PAUSE_BYTES: usize = 256 * 1_024;

/// From how many waiting bytes for another shard on a push that needs it is answered `busy`, and
/// what is posted to a session there refused.
pub const MESH_BUSY_BYTES: usize = 4 * 1_024 * 1_024;

/// The least that [`StoreLimits::waiting_bytes`] may be: who has reacted to a message has a place
/// behind what [`StoreLimits::filling_bytes`] is, and leaves some for others.
pub const STORE_WAITING_BYTES_MIN: usize = 512 * 1_024;

/// Of what may wait for the store's writer, from which part on what is added to messages waits.
const STORE_FILLING_PART: usize = 4;

/// From how many bytes on that wait for a shard a thread that reads the store reads no further: a
/// shard takes its answers within a turn or two. The last answer may be over it.
pub const STORE_ANSWERS_BYTES_MAX: usize = 1_024 * 1_024;

/// How long it then waits before it looks again, in milliseconds.
pub const STORE_ANSWERS_LOOK_MS: u64 = 1;

/// How many rooms a store may have, unless it is configured: an id has place for some 16,700,000.
pub const STORE_ROOMS: u32 = 10_000_000;

/// How many answers in a thread are counted for a page whose messages a store reads: an index is
/// walked for that, some 10,000 entries in a millisecond.
pub const STORE_REPLIES_COUNTED_MAX: u32 = 10_000;

/// How many rooms a home is told of at a time that its store keeps: about a tenth of a turn's work,
/// with the other shards' directories.
pub const STORE_LISTED_MAX: u32 = 128;

/// How many rooms, of all homes, are looked at for that.
pub const STORE_LISTED_LOOKS_MAX: u32 = 4_096;

/// How long a home waits before it asks again for a list that could not be read, in milliseconds.
pub const STORE_LISTED_AGAIN_MS: u64 = 1_000;

/// With how many changes that the lobby has not been told no more rooms are listed that a store
/// keeps.
pub const LISTED_CHANGES_MAX: usize = 64 * 1_024;

/// How many rooms of all nodes a list has: some 200 MiB. Further ones are in no list.
pub const CLUSTER_LISTED_MAX: usize = 1_000_000;

/// How many partitions of an engine's list are read at a time: what is asked meanwhile waits for so
/// many short answers at most.
pub const LISTS_READ_AT_ONCE: usize = 8;

/// For how long an engine waits at a time until replicas have what it has, in milliseconds: with
/// nothing else of the same connection. Replicas that are there take a few.
pub const REPLICAS_WAIT_MS: u64 = 50;

/// In which time each partition is read once more, in milliseconds: so rooms go that the engine has
/// forgotten.
pub const LISTS_READ_AGAIN_MS: u64 = 3_600_000;

/// How often one of all nodes asks which rooms of a partition are to be looked at whether something
/// of them is too old, in milliseconds: of the next one, and of the same one.
pub const RETENTION_STEP_MS: u64 = 50;
/// See [`RETENTION_STEP_MS`].
pub const RETENTION_SWEEP_MS: u64 = 10_000;

/// A room is looked at no sooner again than in so many milliseconds.
pub const RETENTION_REST_MS: u64 = 10_000;

/// How many rooms of a partition are answered at a time that are to be looked at, and in how many
/// milliseconds others may ask for them, should they not have been.
pub const RETENTION_ROOMS_AT_ONCE: u32 = 32;
/// See [`RETENTION_ROOMS_AT_ONCE`].
pub const RETENTION_AGAIN_MS: u64 = 60_000;

/// How often a node tells others how many are in its rooms, in milliseconds, if that has changed.
pub const COUNTS_MS: u64 = 500;

/// How many rooms are in one record of that, about, and how many are looked at for it: the thread
/// of the engine does other things in between.
pub const COUNTS_ROOMS_MAX: usize = 1_024;
/// See [`COUNTS_ROOMS_MAX`].
pub const COUNTS_LOOKS_MAX: usize = 8_192;

/// How often a node says to others that it wants to be told, in milliseconds, and for how long they
/// believe that: what was lost is noticed by then.
pub const COUNTS_WANT_MS: u64 = 5_000;
/// See [`COUNTS_WANT_MS`].
pub const COUNTS_WANTED_MS: u64 = 3 * COUNTS_WANT_MS;

/// For how long a node goes on to be told after somebody asked for the list, in milliseconds: who
/// asks now and then is told what is so.
pub const COUNTS_WATCHED_MS: u64 = 3_600_000;

/// How many requests for sessions of long polling at other nodes wait at a time. Each has its
/// connection besides, and takes some 200 bytes. Beyond it a poll begins anew, and a post is busy.
pub const PASSES_MAX: usize = 100_000;

/// How many bytes of them, and of answers for other nodes, an engine has not taken: some hundred
/// answers of [`POLL_ANSWER_BYTES`]. Beyond it a post is busy, and an answer is lost.
pub const PASSED_BYTES_MAX: usize = 32 * 1_024 * 1_024;

/// How long a poll waits before it is passed on again that nobody has heard, in milliseconds: its
/// node may have lost its connection for a moment.
pub const PASS_AGAIN_MS: u64 = 250;

/// How many are passed on again at a time, as after a connection has been lost.
pub const PASSES_AT_ONCE: usize = 512;

/// How often a shard says that somebody asks for the list, in milliseconds, while somebody does.
pub const LIST_WATCH_MS: u64 = 60_000;

const _: () = assert!(LIST_WATCH_MS < COUNTS_WATCHED_MS);

/// How long a store gathers before it commits, in milliseconds, where what it was given is answered
/// at once: what `kill -9` may lose.
pub const STORE_GATHER_MS: u64 = 50;

/// How far apart commits are, from the beginning of one to that of the next, in microseconds, where
/// nobody waits for each answer before the next thing is said: a commit costs as much for four
/// messages as for one. A store that is at rest commits at once.
pub const STORE_COMMITS_APART_US: u64 = 4_000;

/// Who says something within this time after a commit is taken to have waited for its answer, in
/// microseconds.
pub const STORE_WAITED_US: u64 = 500;

/// Within which time such a commit is on disk, in milliseconds: what a power cut may lose.
pub const STORE_SYNC_MS: u64 = 1_000;

/// From how many bytes on the store's log is moved into the database when there is nothing to
/// commit.
pub const STORE_CHECKPOINT_IDLE_BYTES: usize = 1_024 * 1_024;

/// A log of so many times what is moved into the database at a time is emptied, for which reads are
/// waited for: it begins anew only when none is under way, and there might always be one.
pub const STORE_LOG_FACTOR: usize = 4;

/// With how many messages a room of a store is opened at most, whatever it may have in memory: they
/// are taken in by one turn, which is some 10 ms.
pub const TAIL_MESSAGES_MAX: u32 = 4_000;

/// And with how many bytes of them.
pub const TAIL_BYTES_MAX: usize = 2 * 1_024 * 1_024;

/// How long after it was done retention goes through the rooms of a store again, in milliseconds.
pub const STORE_SWEEP_MS: u64 = 60_000;

/// How many rooms retention looks at in a step between two commits: a millisecond or so.
pub const STORE_SWEEP_ROOMS: u32 = 100;

/// How many rooms retention looks through in a step for those with a time of their own, after a
/// start: a millisecond or so, since SQLite alone reads them.
pub const STORE_SWEEP_SOUGHT: u32 = 2_000;

/// How many messages retention lets go of in a step: a transaction as large as a batch.
pub const STORE_SWEEP_LET_GO: u64 = 500;

/// How many messages' sizes retention reads in a step, before those of a room are known.
pub const STORE_SWEEP_COUNTED: u64 = 5_000;

/// How many pages without anything in them a store gives back to the file system at a time.
pub const STORE_VACUUM_PAGES: u32 = 256;

/// Up to which size a store is copied before it is migrated, in bytes: a larger one would keep the
/// server from starting for too long, and may not fit twice.
pub const STORE_MIGRATE_COPY_BYTES: u64 = 1_024 * 1_024 * 1_024;

/// How long after a backup that was due and was not made the next one is tried, in milliseconds; or
/// as long as lies between two, if that is less.
pub const STORE_BACKUP_AGAIN_MS: u64 = 10 * 60_000;

/// How long at most the store waits for the next backup before it looks at the clock, which may be
/// set meanwhile, in milliseconds.
pub const STORE_BACKUP_LOOK_MS: u64 = 60_000;

/// After how long without a write a copy that is not whole counts as left by a command that was
/// killed, in milliseconds. One that is made is written to, but for a sync at its end.
pub const STORE_BACKUP_LEFT_MS: u64 = 60 * 60_000;

/// How large the file becomes in which a store notes what was taken away, in bytes; the one before
/// it stays beside it. Some 200,000 messages that were deleted one by one.
pub const STORE_REMOVED_BYTES: u64 = 32 * 1_024 * 1_024;

/// How often the store looks at how much of the disk is free, and whether its files are still at
/// their paths, in milliseconds, at most.
pub const STORE_SPACE_MS: u64 = 1_000;

/// After how long without a commit the store's log is emptied, in milliseconds.
pub const STORE_REST_MS: u64 = 10_000;

/// After something was deleted or edited, the logs of the store's files are emptied after so long
/// at the latest, in milliseconds, whatever is said meanwhile: they have what was there before. It
/// costs the store some syncs, and a reader may be in the way for a while; within a minute in all.
pub const STORE_ERASE_MS: u64 = 20_000;

/// When that is tried again, if a reader was in the way: by then it has ended.
pub const STORE_ERASE_AGAIN_MS: u64 = 500;

/// How often that is tried before a reader is waited for, which holds up what is to be written.
pub const STORE_ERASE_TRIES: u32 = 10;

/// How many buffers a shard keeps for the next connection that needs one, and how large a kept one
/// may be.
pub const POOL_BUFFERS_MAX: usize = 256;
/// See [`POOL_BUFFERS_MAX`].
pub const POOL_BUFFER_BYTES_MAX: usize = 4 * 1_024;

/// What an operator may bound, per connection and in all. 0 means no bound where the field's
/// comment says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all, over all shards; each costs a descriptor. 0: as many as the process may
    /// open files.
    pub connections: u32,
    /// Connections from one address, and sessions of long polling opened from there, over all
    /// shards. 0: no bound.
    pub connections_per_ip: u32,
    /// Upgrades and joins that a shard does in one turn, so that a storm of them delays nobody who
    /// is in by more than a few milliseconds; the rest waits for the next turns. A join with a long
    /// answer counts as several.
    pub admissions_per_turn: u32,
    /// How long somebody who comes in may be kept waiting, in milliseconds: after it an upgrade is
    /// done, a join refused, and a connection to a full server closed. Clients give up
    /// after some seconds, or fall back to long polling.
    pub admission_wait_ms: u64,
    /// From `accept` to a complete request or upgrade, in milliseconds. Absolute: one byte per
    /// second does not extend it.
    pub handshake_ms: u64,
    /// Without a received byte a connection is closed after this, in milliseconds. `phoenix.js`
    /// sends a heartbeat every 30 s.
    pub idle_ms: u64,
    /// Bytes of a request's head; past it 431.
    pub head_bytes: usize,
    /// Payload bytes of one frame; past it close code 1009.
    pub frame_bytes: usize,
    /// Payload bytes of one message over all its fragments; past it close code 1009.
    pub message_bytes: usize,
    /// Fragments of one message; past it close code 1008. An empty one costs its peer six bytes and
    /// us a turn of the parser.
    pub fragments: u32,
    /// From the first byte of a WebSocket message to its last, in milliseconds; past it close code
    /// 1008. Absolute: neither one byte per second nor a ping between two fragments extends it.
    pub message_ms: u64,
    /// Channels that one connection may have joined.
    pub channels_per_conn: u32,
    /// Bytes of a message's `body`, as JSON without its quotes.
    pub body_bytes: usize,
    /// Pushes a second that a user may make to rooms by all that it has. 0: no bound.
    pub publish_per_s: u32,
    /// Pushes that a user who was quiet may make at once.
    pub publish_burst: u32,
    /// Searches a second that a user may make. 0: no bound.
    pub search_per_s: u32,
    /// Searches at once.
    pub search_burst: u32,
    /// Joins a second that a user may make by all that it has. 0: no bound.
    pub join_per_s: u32,
    /// Joins that a user may make at once: as many as a connection can have channels, for it
    /// rejoins them all after a break.
    pub join_burst: u32,
    /// Bytes a second that members may be sent of what a user says: its size, once for each member.
    /// 0: no bound.
    pub fanout_bytes_per_s: usize,
    /// Such bytes at once, of a user who was quiet. What alone is more needs as long a rest behind
    /// it.
    pub fanout_burst_bytes: usize,
    /// Rooms a second that are made for a user, which joins them or asks for them. 0: no bound.
    pub rooms_per_s: u32,
    /// Rooms at once: as many as a connection rejoins when the server has begun anew.
    pub rooms_burst: u32,
    /// The same for all users of one address, and [`ADDRESS_BURST_S`] times as many at once. 0: no
    /// bound.
    pub rooms_per_s_per_ip: u32,
    /// Tokens of guests a second for one address, and [`ADDRESS_BURST_S`] times as many at once. 0:
    /// no bound.
    pub tokens_per_s_per_ip: u32,
    /// Sessions of long polling a second that are opened from one address, and [`ADDRESS_BURST_S`]
    /// times as many at once. 0: no bound.
    pub sessions_per_s_per_ip: u32,
    /// Bytes a member may be behind in a room before its channel ends with `phx_error`.
    pub room_lag_bytes: usize,
    /// Bytes of a connection's own output (answers, snapshots) that may wait: while an eighth of it
    /// does, the connection is read no further.
    pub conn_out_bytes: usize,
    /// Milliseconds in which a connection's socket must take more of what waits for it; past them
    /// it is closed with 1013. A machine makes room for more when it has emptied most of its
    /// buffer, of 128 KiB by default, and says nothing of a reader before: with less time, one that
    /// reads 4 KiB a second was seen to be closed.
    pub out_ms: u64,
    /// Rooms in all. An empty one makes place for a new one.
    pub rooms: u32,
    /// Bytes of memory that all shards may use. 0: no bound; the configuration makes it a share of
    /// what there is.
    pub memory_bytes: usize,
}

impl Limits {
    /// How much output may wait for a connection while it is read on, in bytes. A heartbeat is read
    /// when less waits, and is answered behind it and the last answer before: so it is little, or a
    /// slow link has not carried it in the 30 s that a client waits. To a fast reader it is still
    /// more than the kernel takes at once.
    #[must_use]
    pub fn out_mark_bytes(&self) -> usize {
        self.conn_out_bytes / 8
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 0,
            connections_per_ip: 0,
            admissions_per_turn: 64,
            admission_wait_ms: 2_000,
            handshake_ms: 10_000,
            idle_ms: 60_000,
            head_bytes: 8 * 1_024,
            frame_bytes: 64 * 1_024,
            message_bytes: 64 * 1_024,
            fragments: 128,
            message_ms: 30_000,
            channels_per_conn: 100,
            body_bytes: 16 * 1_024,
            publish_per_s: 20,
            publish_burst: 60,
            search_per_s: 1,
            search_burst: 5,
            join_per_s: 20,
            join_burst: 100,
            // 4 KiB to a thousand members twenty times a second, and room to spare.
            fanout_bytes_per_s: 100 * 1_024 * 1_024,
            // And sixty of them at once.
            fanout_burst_bytes: 256 * 1_024 * 1_024,
            rooms_per_s: 5,
            rooms_burst: 100,
            rooms_per_s_per_ip: 50,
            tokens_per_s_per_ip: 20,
            sessions_per_s_per_ip: 200,
            room_lag_bytes: 1_024 * 1_024,
            conn_out_bytes: 1_024 * 1_024,
            out_ms: 60_000,
            rooms: 100_000,
            memory_bytes: 0,
        }
    }
}

/// What a room remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Messages kept per room. 0: none, and nothing can be recovered.
    pub messages: u32,
    /// Bytes of messages kept per room.
    pub room_bytes: usize,
    /// Bytes of messages kept over all rooms of the server; the rooms that have been empty the
    /// longest go first.
    pub total_bytes: usize,
    /// The most bytes of messages in one answer, but one message in any case; a recovery that would
    /// be larger is not one (`recovered: false`).
    pub page_bytes: usize,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self {
            messages: 1_000,
            room_bytes: 512 * 1_024,
            total_bytes: 256 * 1_024 * 1_024,
            page_bytes: 256 * 1_024,
        }
    }
}

/// How many reads of a node may wait for the archive: pages and recoveries that go further back
/// than the engine does, and searches. Beyond it they are refused.
pub const ARCHIVE_READS_MAX: usize = 256;

/// What the engine has of the rooms of these, which waits with them, in bytes, about. Beyond it
/// they are refused, but for one.
pub const ARCHIVE_READS_BYTES_MAX: usize = 64 * 1_024 * 1_024;

/// How many of them the archive answers at a time: each has a connection of its own.
pub const ARCHIVE_READERS: usize = 4;

/// How many messages the archive reads for one answer, at most. A page has fewer, and what a client
/// missed is told to be too much.
pub const ARCHIVE_READ_MESSAGES_MAX: u32 = 1_000;

/// For how many times as many messages as the engine keeps an archive is waited for, that is down
/// or slow. Then messages are let go of that it does not have.
pub const ARCHIVE_WAITS_FACTOR: u32 = 4;

/// But for at least so many messages more: it is looked twice a second what there is for it.
pub const ARCHIVE_WAITS_MIN: u32 = 1_000;

/// How many rooms are written to the archive at a time, in one transaction,
pub const ARCHIVE_ROOMS_AT_ONCE: usize = 64;

/// and how many messages of each.
pub const ARCHIVE_ROOM_MESSAGES_AT_ONCE: u64 = 500;

/// But no more rooms than so many bytes, about: they are in memory meanwhile.
pub const ARCHIVE_BYTES_AT_ONCE: usize = 16 * 1_024 * 1_024;

/// How often it is looked which rooms have something for the archive, in milliseconds: for so long
/// a search does not find what was just said.
pub const ARCHIVE_LOOK_MS: u64 = 500;

/// For how long the archive remembers what a message was before its last change, in seconds: a
/// failover of the engine may take that change back.
pub const ARCHIVE_BEFORE_S: u32 = 86_400;

/// How many messages of a room are deleted at a time that it has let go of.
pub const ARCHIVE_DELETED_AT_ONCE: i64 = 10_000;

/// How many messages of a room that keeps so many bytes are summed up at a time.
pub const ARCHIVE_SUMMED_AT_ONCE: i64 = 1_000;

/// What a room lets go of is looked for so many times as long as a statement may take, at most.
pub const ARCHIVE_OLDEST_STATEMENTS: u32 = 60;

/// How many messages are looked at at a time for one that can be read.
pub const ARCHIVE_LOOKED_AT_AT_ONCE: i64 = 100;

// A page fits.
const _: () = assert!(PAGE_MESSAGES_MAX < ARCHIVE_READ_MESSAGES_MAX);

/// What the thread of an engine takes at a time, and for how long it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineLimits {
    /// Entries of one room that wait or are under way; beyond it a push is answered `busy`.
    pub room_waiting: usize,
    /// Bytes of entries of all rooms that wait or are under way; beyond it a push is answered
    /// `busy`.
    pub waiting_bytes: usize,
    /// Entries of one room that are appended at a time: one call of the engine is not interrupted.
    pub call_entries: usize,
    /// Rooms that are read at a time, whole: the engine has all of what it answers in memory, and
    /// cuts off whoever has it wait for too much (`client-output-buffer-limit`).
    pub reads_at_once: usize,
    /// Rooms of which it is looked at a time whether something was said in them.
    pub looks_at_once: usize,
    /// Pages that wait to be read; beyond it they are refused.
    pub pages_waiting: usize,
    /// Bytes that are pushed of a room while it is read; beyond it the room is read once more.
    pub held_bytes: usize,
    /// After so many milliseconds without an answer a push is answered.
    pub timeout_ms: u64,
    /// So often it is asked whether the engine answers, in milliseconds.
    pub ping_ms: u64,
    /// After so many milliseconds without a sign the connection is given up.
    pub dead_ms: u64,
    /// For so long a node is believed to live that does not say so, in milliseconds.
    pub lease_ms: u64,
    /// So often it says so, in milliseconds.
    pub heartbeat_ms: u64,
    /// Within so many seconds it is looked at each room whether anything was missed.
    pub audit_s: u32,
}

impl EngineLimits {
    /// [`EngineLimits::audit_s`] in milliseconds.
    #[must_use]
    pub fn audit_ms(&self) -> u64 {
        u64::from(self.audit_s) * 1_000
    }
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self {
            room_waiting: 256,
            waiting_bytes: 4 * 1_024 * 1_024,
            call_entries: 64,
            reads_at_once: 4,
            looks_at_once: 512,
            pages_waiting: 1_024,
            held_bytes: 1_024 * 1_024,
            timeout_ms: 2_000,
            ping_ms: 1_000,
            dead_ms: 3_000,
            lease_ms: 10_000,
            heartbeat_ms: 2_000,
            audit_s: 60,
        }
    }
}

/// What the store's writer takes at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreLimits {
    /// Records in one commit: messages, and whatever else is to be kept or read. With more than
    /// some, it would not cost less for each.
    pub batch_messages: usize,
    /// Bytes of records in one commit; the last one may be over it.
    pub batch_bytes: usize,
    /// From how many bytes of a shard that wait for the writer on a message is answered `busy`,
    /// before it has a place.
    pub waiting_bytes: usize,
    /// From how many bytes on the log is moved into the database between two commits.
    pub checkpoint_bytes: usize,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            batch_messages: 1_000,
            batch_bytes: 1_024 * 1_024,
            waiting_bytes: 1_024 * 1_024,
            checkpoint_bytes: 4 * 1_024 * 1_024,
        }
    }
}

impl StoreLimits {
    /// From how many waiting bytes on what is added to messages waits until there are fewer: each
    /// addition is written with all that was added before, and must not take the place of what
    /// people say.
    #[must_use]
    pub const fn filling_bytes(&self) -> usize {
        self.waiting_bytes / STORE_FILLING_PART
    }
}

/// What may become of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatLimits {
    /// Changed messages remembered per room, for clients that come back. 0: no message changes.
    pub changes: u32,
    /// For how long an author may edit a message, in seconds: up to `EDIT_S_MAX`, or
    /// [`EDIT_FOR_EVER_S`].
    pub edit_s: u64,
    /// Bytes of `data` of a message.
    pub data_bytes: usize,
    /// Users that a message mentions.
    pub mentions: u32,
    /// Users that stand in a room otherwise than others: with a role, muted or banned. Not those
    /// who are in it: [`Limits`] bounds only how many connections there are.
    pub members_per_room: u32,
    /// Pinned messages of a room: all of them are told to whoever joins.
    pub pins: u32,
    /// Different emoji that there are reactions with to a message.
    pub emoji_per_message: u32,
    /// Reactions to a message, of all users.
    pub reactions_per_message: u32,
    /// Reactions of a user to a message.
    pub reactions_per_user: u32,
    /// What is done often to a message is collected for so long, in milliseconds, before all are
    /// told of it at once.
    pub react_tick_ms: u64,
    /// A message that grows is whole when it has not grown for so long, in seconds.
    pub stream_s: u64,
}

impl Default for ChatLimits {
    fn default() -> Self {
        Self {
            changes: 1_000,
            edit_s: EDIT_FOR_EVER_S,
            data_bytes: 4_096,
            mentions: 50,
            members_per_room: 10_000,
            pins: 50,
            emoji_per_message: 20,
            reactions_per_message: 10_000,
            reactions_per_user: 5,
            react_tick_ms: 250,
            stream_s: 60,
        }
    }
}

/// How presence is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceLimits {
    /// How long a room that has told its members who came and left collects before it tells them
    /// again, in milliseconds for each of those told and one more. A room that has been quiet for
    /// so long tells at once.
    pub tick_ms: u64,
    /// The longest that a room collects, in milliseconds, however many members it has.
    pub tick_max_ms: u64,
    /// Above so many members, state and diffs carry a choice of [`PresenceLimits::listed`]. 0:
    /// always everybody.
    pub full_max: u32,
    /// How many members are listed in a room above [`PresenceLimits::full_max`]: half recent
    /// speakers, half those longest present.
    pub listed: u32,
}

impl Default for PresenceLimits {
    fn default() -> Self {
        Self { tick_ms: 100, tick_max_ms: 5_000, full_max: 1_000, listed: 100 }
    }
}

const _: () = {
    // Whoever is there is heard before it counts as gone, however audits fall.
    assert!(SLICE_AUDIT_MS / 4 * 5 < (SLICE_SILENT_ROUNDS as u64 - 1) * (SLICE_AUDIT_MS / 4 * 3));
    // A topic is `room:` and a name, and its length one byte in binary frames.
    assert!(NAME_BYTES_MAX + 5 <= 255);
    assert!(EVENT_BYTES_MAX <= 255);
    assert!(PHRASE_BYTES_MAX <= PHRASES_BYTES_MAX && PHRASES_MAX <= PHRASES_BYTES_MAX);
    // A client that is read once can be told everything about one frame's worth of pushes before it
    // is read again.
    assert!(READ_BUFFER_BYTES >= 16 * 1_024);
    // A proxy's header is looked at where it lies, in one piece.
    assert!(PROXY_LINE_BYTES_MAX <= PROXY_BLOCK_BYTES_MAX);
    assert!(16 + PROXY_BLOCK_BYTES_MAX < READ_BUFFER_BYTES);
    // Pages of history are asked for more slowly than anything else.
    assert!(ANSWERS_UNDER_WAY_MAX < PUSHES_UNDER_WAY_MAX);
    // Feeders stop before anything is refused.
    assert!(MESH_PAUSE_BYTES < MESH_BUSY_BYTES);
    // Any room's change fits into a frame of the lobby, with the envelope around it.
    assert!(LISTING_BYTES_MAX + 256 <= LOBBY_FRAME_BYTES_MAX);
    // A turn tells at least a few members, be the frame as long as it may.
    assert!(LOBBY_TURN_BYTES >= 4 * (LOBBY_FRAME_BYTES_MAX + LOBBY_WRITE_COST_BYTES));
    // An answer to a join of the lobby fits into what may wait for a connection by default, and
    // into the messages of 1 MiB that clients accept; and more than one of them is kept.
    assert!(LOBBY_ANSWER_BYTES_MAX <= 1_024 * 1_024);
    assert!(LOBBY_ANSWERS_BYTES_MAX >= 4 * LOBBY_ANSWER_BYTES_MAX);
    // Who has reacted has a place, and leaves some for others.
    assert!(EMOJI_BYTES_MAX + NAME_BYTES_MAX + 2 <= REACTED_BYTES_MAX);
    assert!(
        STORE_WAITING_BYTES_MIN / STORE_FILLING_PART + REACTED_BYTES_MAX < STORE_WAITING_BYTES_MIN
    );
    assert!(READS_OF_MESSAGES_MAX < READS_UNDER_WAY_MAX);
    // A commit that syncs comes in time.
    assert!(2 * STORE_GATHER_MS <= STORE_SYNC_MS);
    // The sweep must be finer than what it enforces.
    assert!(SWEEP_MS * 4 <= LINGER_MS);
    assert!(slow_link_ms(POLL_ANSWER_BYTES) < 20_000);
    assert!(
        MEMORY_MARKS_PERCENT[0] < MEMORY_MARKS_PERCENT[1]
            && MEMORY_MARKS_PERCENT[1] < MEMORY_MARKS_PERCENT[2]
    );
};

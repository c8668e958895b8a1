//! How much a shard does in a turn, counted by what can be seen of it: its metrics, and the records
//! that it is given. Its budget, which the check is for, is asked nothing.
//!
//! What it does not model: what an entry costs besides itself, such as its answer, what it looks
//! up, or the messages of a request. The tests of `directory` (`visits`), the stories of pages that
//! other shards ask for, and `tests/hostile/floods.rs` would notice.

use chinwag::limits::{ANSWER_BYTES_PER_WORK, LEAVING_WORK, MESSAGE_WORK, REQUEST_WORK};
use chinwag::shard::{Settings, Shard};

/// What a shard has done since its last turn began: from then on it may do one turn's work.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    /// Messages and requests of connections that it had handled then.
    messages: u64,
    requests: u64,
    /// Channels that connections had left by then as they ended.
    left: u64,
    /// What the records that it heard since cost at the least.
    records: u64,
}

impl Work {
    /// A shard begins a turn: connections have not been given more than their share in the last
    /// one.
    pub(crate) fn begin_turn(&mut self, settings: &Settings, shard: &Shard) {
        let before = std::mem::replace(self, Self::of(shard));
        let (messages, requests) =
            (self.messages - before.messages, self.requests - before.requests);
        let (message, request) = (u64::from(MESSAGE_WORK), u64::from(REQUEST_WORK));
        let work = messages * message + requests * request;
        // What was begun with some work left is finished: one request, with messages in it or not.
        let last = if requests > 0 { request } else { 0 };
        let (most, _) = shares(settings);
        assert!(
            work <= most + last,
            "no turn does more than its work: {messages} messages and {requests} requests of {most}"
        );
        let left = self.left - before.left;
        // Work that is begun is finished.
        let most = u64::from(settings.endings_work).div_ceil(u64::from(LEAVING_WORK));
        assert!(left <= most, "no turn does more than its work: {left} channels left of {most}");
    }

    /// A shard is given a record of another: it has had some work left for it.
    pub(crate) fn hear(&mut self, settings: &Settings, record: &[u8]) {
        let (_, share) = shares(settings);
        let done = self.records;
        assert!(done < share, "no turn does more than its work: {done} of {share} for records");
        self.records += u64::from(MESSAGE_WORK) + (record.len() / ANSWER_BYTES_PER_WORK) as u64;
    }

    /// A shard begins anew, with another budget.
    pub(crate) fn restart(&mut self, shard: &Shard) {
        *self = Self::of(shard);
    }

    fn of(shard: &Shard) -> Self {
        let metrics = shard.metrics();
        Self {
            messages: metrics.messages_in,
            requests: metrics.requests,
            left: metrics.left_at_end,
            records: 0,
        }
    }
}

/// What a turn may do for connections, and for other shards: half of it each, if there are any.
fn shares(settings: &Settings) -> (u64, u64) {
    let (all, shards) = (u64::from(settings.turn_work), settings.shards);
    let records = if shards > 1 { (all / 2).max(1) } else { 0 };
    (all.saturating_sub(records).max(1), records)
}

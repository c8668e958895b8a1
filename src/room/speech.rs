//! What is said in a room: messages, typing, and pages of what was said.
//!
//! Deliberately absent: custom events, which pass as they are and leave nothing here.
//!
//! Called by: `rooms`. Calls: `history`, `presence`, `encode`.

use crate::base::time::Now;
use crate::limits::{HistoryLimits, PresenceLimits};
use crate::link::ids::{Receipt, Slot};
use crate::link::message::push_message;
use crate::link::record::From;
use crate::room::Room;
use crate::room::encode::push_page;
use crate::room::history::KeyHash;
use crate::wire::json::push_string;

/// A message that a member wishes to say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    /// A JSON string with its quotes.
    pub(crate) body: &'a str,
    /// What its client calls it.
    pub(crate) key: Option<&'a str>,
    /// The offset of the message that it answers.
    pub(crate) reply_to: Option<u64>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Publication {
    /// What the publisher is told.
    pub(crate) receipt: Receipt,
    /// Whether the members are to be told. Not so if its key has been used: then this is the first
    /// message's receipt.
    pub(crate) is_new: bool,
}

impl Room {
    /// Gives a message its place, and appends it to `out` as members get it; unless its key has
    /// been used before.
    ///
    /// Requires: `slot` is a member. Changes: history.
    pub(crate) fn publish(
        &mut self,
        now: Now,
        slot: Slot,
        message: Message<'_>,
        key_hash: Option<KeyHash>,
        limits: &HistoryLimits,
        out: &mut Vec<u8>,
    ) -> Option<Publication> {
        let author = &self.presence.member(slot)?.identity;
        if let Some(receipt) = key_hash.and_then(|key_hash| self.history.of_key(key_hash)) {
            return Some(Publication { receipt, is_new: false });
        }
        let Message { body, key, reply_to } = message;
        let receipt = self.history.next(now.unix_ms);
        let epoch = self.history.cursor().epoch;
        push_message(out, epoch, receipt, author.user(), author.name(), body, key, reply_to);
        self.history.append(receipt, key_hash, out, limits);
        Some(Publication { receipt, is_new: true })
    }

    /// Lets go of the oldest message.
    pub(crate) fn drop_oldest(&mut self) {
        self.history.drop_oldest();
    }

    /// Notes that a member spoke. Returns whether the list of those present changes by it.
    pub(crate) fn spoke(&mut self, slot: Slot, limits: &PresenceLimits) -> bool {
        self.presence.spoke(slot, limits)
    }

    /// Notes that a member types; `typist` is a hash of its user's id. Appends the payload of
    /// `typing`, unless that was said a moment ago or nobody is there: then it returns false.
    pub(crate) fn typing(
        &mut self,
        now: Now,
        slot: Slot,
        typist: u64,
        limits: &PresenceLimits,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(member) = self.presence.member(slot) else { return false };
        if now.mono_ms >= self.typing_until_ms {
            self.typists.clear();
            self.typing_until_ms = now.mono_ms + limits.tick_ms;
        }
        if self.typists.contains(&typist) {
            return false;
        }
        self.typists.push(typist);
        out.extend_from_slice(b"{\"name\":");
        push_string(out, member.identity.name());
        out.extend_from_slice(b",\"user\":");
        push_string(out, member.identity.user());
        out.push(b'}');
        true
    }

    /// Appends the answer to `history`.
    pub(crate) fn push_page(
        &self,
        out: &mut Vec<u8>,
        from: From,
        limit: u32,
        limits: &HistoryLimits,
    ) {
        let page = match from {
            From::Latest => self.history.latest(limit, limits),
            From::Before(offset) => self.history.before(offset, limit, limits),
            From::After(offset) => self.history.after(offset, limit, limits),
        };
        out.push(b'{');
        push_page(out, page);
        out.push(b'}');
    }
}

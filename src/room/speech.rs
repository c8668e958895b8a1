//! What is said in a room and not kept, and pages of what was.
//!
//! Deliberately absent: messages (`propose`), and custom events, which pass as they are and leave
//! nothing here.
//!
//! Called by: `rooms`. Calls: `history`, `presence`, `encode`.

use crate::base::time::Now;
use crate::limits::{HistoryLimits, PresenceLimits};
use crate::link::ids::Slot;
use crate::link::record::From;
use crate::room::Room;
use crate::room::encode::push_page;
use crate::wire::json::push_string;

impl Room {
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
            From::Latest => self.history().latest(limit, limits),
            From::Before(offset) => self.history().before(offset, limit, limits),
            From::After(offset) => self.history().after(offset, limit, limits),
        };
        out.push(b'{');
        push_page(out, page);
        out.push(b'}');
    }
}

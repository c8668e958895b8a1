//! What is said in a room and not kept, and pages of what was, from memory or from its log.
//!
//! Deliberately absent: messages (`propose`), and custom events, which pass as they are and leave
//! nothing here.
//!
//! Called by: `rooms`. Calls: `history`, `presence`, `encode`.

use crate::base::time::Now;
use crate::limits::{HistoryLimits, PresenceLimits};
use crate::link::ids::{Receipt, Slot};
use crate::link::log::{Part, Stretch, View, Wanted};
use crate::link::message::{push_message, push_replies};
use crate::link::record::From;
use crate::link::said::MessageText;
use crate::room::Room;
use crate::room::encode::push_page;
use crate::room::history::{Page, leaves_out_first};
use crate::room::views::push_around;
use crate::wire::json::{push_string, push_unsigned};

impl Room {
    /// Notes that a member spoke. Returns whether the list of those present changes by it.
    pub(crate) fn spoke(&mut self, slot: Slot, limits: &PresenceLimits) -> bool {
        self.presence.spoke(slot, limits)
    }

    /// Notes that a user types, here or on another node; `typist` is a hash of its id. False if
    /// that was said a moment ago.
    pub(crate) fn may_type(&mut self, now: Now, typist: u64, limits: &PresenceLimits) -> bool {
        if now.mono_ms >= self.typing_until_ms {
            self.typists.clear();
            self.typing_until_ms = now.mono_ms + limits.tick_ms;
        }
        if self.typists.contains(&typist) {
            return false;
        }
        self.typists.push(typist);
        true
    }

    /// What a page of the history is to be read from, if not from memory: a page that ends or
    /// begins before the first message there, in a room whose log has more.
    pub(crate) fn page_in_log(
        &self,
        from: From,
        limit: u32,
        limits: &HistoryLimits,
    ) -> Option<Wanted> {
        let (first, last) = (self.history().first(), self.history().last());
        let gone = self.journal.log_floor().offset;
        let (after, upto, part) = match from {
            From::Latest => (gone, last, Part::Newest),
            From::Before(offset) => (gone, last.min(offset.saturating_sub(1)), Part::Newest),
            From::After(offset) => (offset.max(gone), first - 1, Part::Oldest),
            From::Around(_) => unreachable!("a view: see `views`"),
        };
        let is_in_log = limit > 0 && after < upto && upto < first;
        let (messages, bytes) = (limit, limits.page_bytes);
        let (changed, view) = (None, View::Room);
        is_in_log.then_some(Wanted { after, upto, part, messages, bytes, changed, view })
    }

    /// The latest messages that are in memory. `reaches_back` says whether a log has those before
    /// them.
    pub(crate) fn latest(
        &self,
        limit: u32,
        reaches_back: bool,
        limits: &HistoryLimits,
    ) -> Page<'_> {
        self.before(self.history().last() + 1, limit, reaches_back, limits)
    }

    fn before(
        &self,
        offset: u64,
        limit: u32,
        reaches_back: bool,
        limits: &HistoryLimits,
    ) -> Page<'_> {
        let page = self.history().before(offset, limit, limits);
        let first = offset.min(self.history().last() + 1).saturating_sub(u64::from(page.count));
        Page {
            more: page.more || reaches_back && first > self.journal.log_floor().offset + 1,
            ..page
        }
    }

    /// Appends the answer to `history` from memory. `reaches_back` says whether a log has the
    /// messages before those.
    pub(crate) fn push_page(
        &self,
        out: &mut Vec<u8>,
        (from, limit): (From, u32),
        reaches_back: bool,
        limits: &HistoryLimits,
    ) {
        let page = match from {
            From::Latest => self.latest(limit, reaches_back, limits),
            From::Before(offset) => self.before(offset, limit, reaches_back, limits),
            From::After(offset) => self.history().after(offset, limit, limits),
            From::Around(_) => unreachable!("a view: see `views`"),
        };
        out.push(b'{');
        push_page(out, &[], page);
        out.push(b'}');
    }

    /// Appends the answer to `history` from what a log has read of what was wanted.
    pub(crate) fn push_page_read(
        &self,
        out: &mut Vec<u8>,
        wanted: Wanted,
        stretch: &Stretch,
        limits: &HistoryLimits,
    ) {
        let Stretch { first, messages, more, changed: _, picked: _ } = stretch;
        if messages.is_empty() && wanted.part == Part::Oldest {
            // The log has let go of them: the next ones are in memory.
            let from = From::After(wanted.after);
            return self.push_page(out, (from, wanted.messages), true, limits);
        }
        let (mut read, mut ends) = (Vec::new(), vec![0]);
        for (offset, message) in (*first..).zip(messages) {
            self.push_read(&mut read, offset, message);
            ends.push(read.len());
        }
        // As in memory: within its bytes, but at least one, and next to what was asked.
        let (mut begin, mut end) = (0, messages.len());
        let length = |begin: usize, end: usize| ends[end].saturating_sub(ends[begin] + 1);
        while begin + 1 < end && length(begin, end) > limits.page_bytes {
            let leaves_out_first = match wanted.part {
                Part::Newest => true,
                Part::Oldest | Part::All => false,
                Part::Around(offset) => {
                    let middle = usize::try_from(offset - first).unwrap_or(usize::MAX);
                    leaves_out_first(begin, middle, end)
                }
            };
            if leaves_out_first { begin += 1 } else { end -= 1 }
        }
        let is_before = first + begin as u64 > self.journal.log_floor().offset + 1;
        let is_behind = first + end as u64 <= self.history().last();
        let more = match wanted.part {
            Part::Newest => *more || begin > 0,
            Part::Oldest | Part::All => is_behind,
            Part::Around(_) => is_before,
        };
        let messages = if begin == end { &[] } else { &read[ends[begin]..ends[end] - 1] };
        let count = u32::try_from(end - begin).unwrap_or(u32::MAX);
        let page = Page { messages, count, more };
        if matches!(wanted.part, Part::Around(_)) {
            return push_around(out, page, is_behind);
        }
        out.push(b'{');
        push_page(out, &[], page);
        out.push(b'}');
    }

    /// Appends a message that its log has read, and a comma: as it stands by now, if that is known
    /// here.
    pub(crate) fn push_read(&self, out: &mut Vec<u8>, offset: u64, message: &MessageText) {
        let fate = message.fate();
        if let Some(newer) = self.journal.message(offset) {
            out.extend_from_slice(newer);
        } else {
            let MessageText { at_ms, said, .. } = message;
            let (epoch, at_ms) = (self.journal.epoch_of(offset), *at_ms);
            push_message(out, epoch, Receipt { offset, at_ms }, &said.said(), &fate);
        }
        // In memory each says how often it was answered.
        let is_here = offset >= self.history().first();
        if let Some(replies) = self.journal.replies(offset, fate.replies).filter(|_| !is_here) {
            push_replies(out, replies);
        }
        out.push(b',');
    }
}

/// Appends the payload of `typing`.
pub(crate) fn push_typing(out: &mut Vec<u8>, user: &str, name: &str, thread: Option<u64>) {
    out.extend_from_slice(b"{\"name\":");
    push_string(out, name);
    if let Some(thread) = thread {
        out.extend_from_slice(b",\"thread\":");
        push_unsigned(out, thread);
    }
    out.extend_from_slice(b",\"user\":");
    push_string(out, user);
    out.push(b'}');
}

//! What has become of a room's messages while something of the room is being read: how those stand
//! that were changed, and which replies were said. What is read may not have it, so it is laid over
//! that.
//!
//! Time is counted in tickets, which a shard gives out in ascending order. Each entry notes the
//! last one that had been given when it was applied. A log reads all that was applied before it was
//! asked; so a read lacks none of the entries but those that note its own ticket, or a later one.
//!
//! Invariants:
//!
//! 1. an entry stays while a read is under way that may lack it, and goes when the last of those
//!    ends, however many were asked since: reads that overlap for ever keep nothing for ever;
//! 2. all of them take no more than the messages of a room may in memory. Where that does not do,
//!    all are forgotten, and what was asked until then can be told no more
//!    ([`Meanwhile::is_forgotten`]).
//!
//! Deliberately absent: what is being read, which `rooms` knows.
//!
//! Called by: `journal`.

use std::collections::BTreeMap;

use crate::limits::CHANGE_MEMORY_BYTES;
use crate::link::log::Ticket;
use crate::link::said::Replies;

/// About what a reply takes here, in bytes.
const REPLY_MEMORY_BYTES: usize = 48;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Meanwhile {
    changed: BTreeMap<u64, Newer>,
    /// By the first message of the thread and the reply. Each with the last ticket by then.
    replies: BTreeMap<(u64, u64), Ticket>,
    /// What all of it takes, in bytes.
    bytes: usize,
    /// The last ticket when something was forgotten that a read lacked.
    forgotten: Ticket,
}

/// A message as it stands since a change that what is being read may not have.
#[derive(Debug)]
pub(super) struct Newer {
    pub(super) change: u64,
    pub(super) message: Box<[u8]>,
    pub(super) reacted: Option<Box<str>>,
    /// The last ticket by then.
    at: Ticket,
}

impl Newer {
    fn bytes(&self) -> usize {
        let reacted = self.reacted.as_ref().map_or(0, |reacted| reacted.len());
        CHANGE_MEMORY_BYTES + self.message.len() + reacted
    }
}

impl Meanwhile {
    /// Notes how a message stands after a change that has just been applied. `asked` is the last
    /// ticket, if something is being read. All may take `max` bytes.
    pub(super) fn note_change(
        &mut self,
        (offset, change): (u64, u64),
        (message, reacted): (&[u8], Option<&str>),
        asked: Option<Ticket>,
        max: usize,
    ) {
        let was = self.changed.remove(&offset);
        self.bytes -= was.as_ref().map_or(0, Newer::bytes);
        // What is known here stays true until it is forgotten, though nothing is read any more.
        let Some(at) = asked.or(was.map(|was| was.at)) else { return };
        let (message, reacted) = (message.into(), reacted.map(Box::from));
        let newer = Newer { change, message, reacted, at };
        self.bytes += newer.bytes();
        self.changed.insert(offset, newer);
        self.bound(at, max);
    }

    /// Notes a reply in the thread of `root` that has just been applied, while something is being
    /// read. `asked` is the last ticket. All may take `max` bytes.
    pub(super) fn note_reply(&mut self, (root, reply): (u64, u64), asked: Ticket, max: usize) {
        if self.replies.insert((root, reply), asked).is_none() {
            self.bytes += REPLY_MEMORY_BYTES;
        }
        self.bound(asked, max);
    }

    /// Forgets all if it is too much.
    fn bound(&mut self, asked: Ticket, max: usize) {
        if self.bytes > max {
            *self = Self { forgotten: asked, ..Self::default() };
        }
    }

    /// Whether something has been forgotten that a read may lack, which was asked under this
    /// ticket.
    pub(super) fn is_forgotten(&self, asked: Ticket) -> bool {
        asked <= self.forgotten
    }

    /// Lets go of what no read lacks. `oldest` is the ticket of the one under way that was asked
    /// first, if there is one.
    pub(super) fn let_go(&mut self, oldest: Option<Ticket>) {
        let is_lacked = |at: Ticket| oldest.is_some_and(|oldest| oldest <= at);
        self.changed.retain(|_, newer| is_lacked(newer.at));
        self.replies.retain(|_, at| is_lacked(*at));
        self.bytes = self.counted_bytes();
    }

    /// Forgets all: the room has turned, and what was asked before is told to nobody.
    pub(super) fn turn(&mut self) {
        *self = Self { forgotten: self.forgotten, ..Self::default() };
    }

    /// How a message stands, if it was changed.
    pub(super) fn of(&self, offset: u64) -> Option<&Newer> {
        self.changed.get(&offset)
    }

    /// The messages up to an offset that were changed behind a change.
    pub(super) fn changed(&self, upto: u64, behind: u64) -> impl Iterator<Item = u64> {
        let changed = self.changed.range(..=upto);
        changed.filter(move |(_, newer)| newer.change > behind).map(|(offset, _)| *offset)
    }

    /// Whether no message was changed.
    pub(super) fn is_unchanged(&self) -> bool {
        self.changed.is_empty()
    }

    /// How many replies a message has that was read with so many.
    pub(super) fn replies(&self, root: u64, read: Option<Replies>) -> Option<Replies> {
        let counted = read.map_or(0, |read| read.last);
        let new = self.replies.range((root, counted.saturating_add(1))..=(root, u64::MAX));
        new.fold(read, |replies, ((_, reply), _)| {
            let count = replies.map_or(0, |replies| replies.count) + 1;
            Some(Replies { count, last: *reply })
        })
    }

    /// What all of it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn counted_bytes(&self) -> usize {
        let changed: usize = self.changed.values().map(Newer::bytes).sum();
        changed + self.replies.len() * REPLY_MEMORY_BYTES
    }

    /// Asserts the invariants. For tests: it looks at everything.
    pub(super) fn check(&self) {
        assert_eq!(self.bytes, self.counted_bytes(), "what is laid over reads is counted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1_000;

    fn change(meanwhile: &mut Meanwhile, offset: u64, asked: Option<Ticket>) {
        meanwhile.note_change((offset, asked.unwrap_or(0)), (b"m", Some("r")), asked, MAX);
        meanwhile.check();
    }

    #[test]
    fn reads_that_overlap_for_ever_keep_only_what_one_of_them_lacks() {
        let mut meanwhile = Meanwhile::default();
        // From the second round on, each read is asked before the one before it ends.
        for ticket in 1..1_000 {
            change(&mut meanwhile, ticket, Some(ticket));
            meanwhile.note_reply((1, ticket + 1), ticket, MAX);
            meanwhile.let_go(Some(ticket));
            meanwhile.check();
            let lacked: Vec<u64> = meanwhile.changed(u64::MAX, 0).collect();
            assert_eq!(lacked, [ticket], "what was changed since the oldest was asked");
            assert_eq!(meanwhile.replies(1, None), Some(Replies { count: 1, last: ticket + 1 }));
            assert!(!meanwhile.is_forgotten(ticket));
        }
        meanwhile.let_go(None);
        assert_eq!((meanwhile.bytes(), meanwhile.is_unchanged()), (0, true));
    }

    #[test]
    fn what_the_oldest_read_lacks_stays_whatever_ends_before_it() {
        let mut meanwhile = Meanwhile::default();
        change(&mut meanwhile, 1, Some(4));
        change(&mut meanwhile, 2, Some(5));
        meanwhile.let_go(Some(4));
        assert!(meanwhile.of(1).is_some() && meanwhile.of(2).is_some());
        change(&mut meanwhile, 1, None);
        assert_eq!(meanwhile.of(1).map(|newer| newer.change), Some(0), "it stays true");
        meanwhile.let_go(Some(5));
        assert!(meanwhile.of(1).is_none() && meanwhile.of(2).is_some());
        change(&mut meanwhile, 1, None);
        assert!(meanwhile.of(1).is_none(), "nothing lacks it");
    }

    #[test]
    fn too_much_is_forgotten_and_with_it_what_was_asked_before() {
        let mut meanwhile = Meanwhile::default();
        let fits = MAX / REPLY_MEMORY_BYTES;
        for reply in 1..=fits as u64 {
            meanwhile.note_reply((1, reply), 7, MAX);
        }
        assert_eq!(meanwhile.bytes(), fits * REPLY_MEMORY_BYTES);
        assert!(!meanwhile.is_forgotten(1));
        change(&mut meanwhile, 1, Some(7));
        assert_eq!((meanwhile.bytes(), meanwhile.replies(1, None)), (0, None));
        assert!(meanwhile.of(1).is_none());
        let forgotten = |meanwhile: &Meanwhile| [1, 7, 8].map(|of| meanwhile.is_forgotten(of));
        assert_eq!(forgotten(&meanwhile), [true, true, false]);
        meanwhile.turn();
        assert_eq!(forgotten(&meanwhile), [true, true, false]);
    }
}

//! The journal of a room: its messages, its counters, its epoch with the ones before it, and the
//! revision of its settings.
//!
//! Invariants:
//!
//! 1. only [`Journal::apply`], [`Journal::turn`] and [`Journal::drop_oldest`] change it, and none
//!    of them can refuse;
//! 2. an entry that is applied twice is applied once;
//! 3. both counters are contiguous within an epoch, and go on over a turn from what is there.
//!
//! Deliberately absent: judging commands (`propose`), and what members hear.
//!
//! Called by: `room`. Calls: `history`, `resume`.

use crate::limits::HistoryLimits;
use crate::link::ids::{Cursor, Receipt};
use crate::link::log::{Judged, Marks, Opened};
use crate::link::message::MESSAGE_BYTES_MIN;
use crate::room::history::{History, Page};
use crate::room::keys::KeyHash;
use crate::room::resume::{Lineage, Standing, resume};

/// What there is of the messages before those in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Older<'a> {
    /// Nothing: they are gone.
    Gone,
    /// The room's log has them.
    InLog,
    /// All of them behind an offset, as in a page.
    Read { after: u64, messages: &'a [u8] },
}

/// What a client missed that can be told exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missed<'a> {
    /// All of it: what its log has read, and what is in memory.
    All { older: &'a [u8], newer: Page<'a> },
    /// The messages behind `after`, up to `upto`, are to be read by its log.
    InLog { after: u64, upto: u64 },
}

/// What a room keeps. See the module.
#[derive(Debug)]
pub(crate) struct Journal {
    history: History,
    /// Boxed, since nearly no room has seen a turn, a change or a setting.
    rare: Option<Box<Rare>>,
}

/// State that nearly no room has.
#[derive(Debug, Default)]
struct Rare {
    lineage: Lineage,
    /// The last change. None are made yet.
    change: u64,
    /// Every change above it is remembered.
    floor: u64,
    /// Counts the settings and standings that were applied.
    rev: u64,
    /// Up to where a log has said that messages are kept; `None` if all applied ones are.
    kept: Option<u64>,
}

impl Journal {
    /// An empty journal, in a new epoch.
    pub(crate) fn new(epoch: u64) -> Self {
        Self { history: History::new(epoch), rare: None }
    }

    /// A journal that a log has kept, without its tail, which the caller applies next.
    pub(crate) fn opened(opened: &Opened) -> Self {
        let Opened { epoch, top, rev, kept, founded: _, lineage, tail } = opened;
        let rare = Rare {
            lineage: Lineage::new(lineage.iter().copied()),
            change: top.change,
            // The log does not tell yet which messages were changed.
            floor: top.change,
            rev: *rev,
            kept: Some(*kept),
        };
        let before = top.offset - tail.len() as u64;
        Self { history: History::following(*epoch, before), rare: Some(Box::new(rare)) }
    }

    /// The messages.
    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// Which life of the room this is.
    pub(crate) fn epoch(&self) -> u64 {
        self.history.epoch()
    }

    /// The epoch in which a message was said: a part of its id, which it keeps over a turn.
    pub(crate) fn epoch_of(&self, offset: u64) -> u64 {
        let before = self.rare.as_ref().and_then(|rare| rare.lineage.epoch_of(offset));
        before.unwrap_or_else(|| self.epoch())
    }

    /// The room's counters.
    pub(crate) fn top(&self) -> Marks {
        let change = self.rare.as_ref().map_or(0, |rare| rare.change);
        Marks { offset: self.history.last(), change }
    }

    /// The revision of the room's settings and standings.
    pub(crate) fn rev(&self) -> u64 {
        self.rare.as_ref().map_or(0, |rare| rare.rev)
    }

    /// What entries are judged by now.
    pub(crate) fn judged(&self) -> Judged {
        Judged { epoch: self.epoch(), rev: self.rev() }
    }

    /// Keeps a message, which must be the next one. Does nothing if it is kept already.
    ///
    /// # Panics
    ///
    /// If there would be a hole before it.
    pub(crate) fn apply(
        &mut self,
        receipt: Receipt,
        key: Option<KeyHash>,
        message: &[u8],
        limits: &HistoryLimits,
    ) {
        if !self.has(receipt.offset) {
            self.history.append(receipt, key, message, limits);
        }
    }

    /// Whether the message with this offset has been applied.
    pub(crate) fn has(&self, offset: u64) -> bool {
        offset <= self.history.last()
    }

    /// Notes the revision of the room's settings.
    pub(crate) fn apply_rev(&mut self, rev: u64) {
        if rev != self.rev() {
            self.rare.get_or_insert_default().rev = rev;
        }
    }

    /// Whether a message that has been applied is known to be kept. With an engine, members may
    /// hear a message that a failover then loses.
    pub(crate) fn is_kept(&self, offset: u64) -> bool {
        let kept = self.rare.as_ref().and_then(|rare| rare.kept);
        kept.is_none_or(|kept| offset <= kept)
    }

    /// Notes that messages are kept up to an offset, and others only if their log says so.
    pub(crate) fn note_kept(&mut self, offset: u64) {
        let kept = &mut self.rare.get_or_insert_default().kept;
        *kept = Some(kept.unwrap_or_default().max(offset));
    }

    /// Goes on in a new epoch, without what is behind `kept`.
    pub(crate) fn turn(&mut self, epoch: u64, kept: Marks) {
        let kept = kept.min(self.top());
        let ended = self.history.turn(epoch, kept.offset);
        let rare = self.rare.get_or_insert_default();
        rare.lineage.turn(ended, kept);
        rare.change = kept.change;
        rare.kept = rare.kept.map(|offset| offset.min(kept.offset));
        rare.floor = rare.floor.min(kept.change);
    }

    /// Drops the oldest message.
    pub(crate) fn drop_oldest(&mut self) {
        self.history.drop_oldest();
    }

    /// What a client missed, if it can be told exactly what that is.
    pub(crate) fn recover<'a>(
        &'a self,
        cursor: Cursor,
        older: Older<'a>,
        limits: &HistoryLimits,
    ) -> Option<Missed<'a>> {
        const NONE: &Lineage = &Lineage::NONE;
        let (lineage, floor) = match &self.rare {
            Some(rare) => (&rare.lineage, rare.floor),
            None => (NONE, 0),
        };
        let here = self.history.first();
        let first = match older {
            Older::Gone => here,
            // From the first one on. A log that has let go of some says so when it is asked.
            Older::InLog => 1,
            Older::Read { after, .. } => here.min(after + 1),
        };
        let standing = Standing { epoch: self.epoch(), top: self.top(), first, floor, lineage };
        let newer = |has: Marks| self.history.behind(has.offset);
        let older_count = |has: Marks| here.saturating_sub(has.offset + 1);
        let bytes = |has: Marks| {
            let older_bytes = match older {
                _ if older_count(has) == 0 => 0,
                Older::Read { messages, .. } => messages.len() + 1,
                // At the least. What they are will be known when they have been read.
                Older::Gone | Older::InLog => usize::try_from(older_count(has))
                    .unwrap_or(usize::MAX)
                    .saturating_mul(MESSAGE_BYTES_MIN + 1),
            };
            newer(has).messages.len().saturating_add(older_bytes)
        };
        let has = resume(standing, cursor, limits.page_bytes, bytes)?;
        Some(match older {
            _ if older_count(has) == 0 => Missed::All { older: &[], newer: newer(has) },
            Older::Read { messages, .. } => Missed::All { older: messages, newer: newer(has) },
            // What is in memory too, since memory moves on with each message that is said
            // meanwhile.
            Older::Gone | Older::InLog => {
                Missed::InLog { after: has.offset, upto: self.history.last() }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::history::tests::LIMITS;

    /// A journal after `count` messages, `m1` to `m<count>`.
    fn filled(count: u64, limits: &HistoryLimits) -> Journal {
        let mut journal = Journal::new(7);
        for number in 1..=count {
            say(&mut journal, &format!("m{number}"), limits);
        }
        journal
    }

    fn say(journal: &mut Journal, message: &str, limits: &HistoryLimits) {
        let receipt = journal.history.next(0);
        journal.apply(receipt, None, message.as_bytes(), limits);
    }

    fn cursor(epoch: u64, offset: u64) -> Cursor {
        Cursor { epoch, offset, change: None }
    }

    fn recover(journal: &Journal, cursor: Cursor) -> Option<String> {
        let missed = journal.recover(cursor, Older::Gone, &LIMITS)?;
        let Missed::All { older: b"", newer } = missed else { panic!("it is here: {missed:?}") };
        assert!(!newer.more, "all of it");
        Some(String::from_utf8(newer.messages.to_vec()).expect("UTF-8"))
    }

    #[track_caller]
    fn check(journal: &Journal, cursor: Cursor, expected: &str) {
        assert_eq!(recover(journal, cursor).as_deref(), Some(expected));
    }

    #[test]
    fn a_recovery_is_all_that_was_missed_or_nothing() {
        let journal = filled(8, &LIMITS);
        check(&journal, cursor(7, 5), "m6,m7,m8");
        check(&journal, cursor(7, 3), "m4,m5,m6,m7,m8");
        check(&journal, cursor(7, 8), "");
        assert_eq!(recover(&journal, cursor(7, 2)), None, "message 3 is gone");
        assert_eq!(recover(&journal, cursor(7, 9)), None, "from the future");
        assert_eq!(recover(&journal, cursor(6, 5)), None, "another epoch");
        assert_eq!(recover(&journal, cursor(7, u64::MAX)), None);
        let changed = |change| recover(&journal, Cursor { change: Some(change), ..cursor(7, 8) });
        assert_eq!(changed(0).as_deref(), Some(""), "nothing has been changed");
        assert_eq!(changed(1), None, "a change from the future");
        let small = HistoryLimits { page_bytes: 7, ..LIMITS };
        let recover = |offset| journal.recover(cursor(7, offset), Older::Gone, &small);
        assert_eq!(recover(5), None, "eight bytes are too many");
        assert!(recover(6).is_some());
    }

    #[test]
    fn what_is_not_in_memory_is_read_and_put_before_what_is_there_by_then() {
        let mut journal = filled(8, &LIMITS);
        let recover = |journal: &Journal, cursor, older, expected: Option<&str>| {
            let missed = journal.recover(cursor, older, &LIMITS);
            let found = missed.map(|missed| match missed {
                Missed::InLog { after, upto } => format!("{after} to {upto}"),
                Missed::All { older, newer } => {
                    [older, newer.messages].map(String::from_utf8_lossy).join("+")
                }
            });
            assert_eq!(found.as_deref(), expected);
        };
        recover(&journal, cursor(7, 1), Older::InLog, Some("1 to 8"));
        recover(&journal, cursor(7, 3), Older::InLog, Some("+m4,m5,m6,m7,m8"));
        recover(&journal, cursor(7, 9), Older::InLog, None);
        recover(&journal, cursor(6, 1), Older::InLog, None);
        let read = Older::Read { after: 1, messages: b"m2,m3" };
        recover(&journal, cursor(7, 1), read, Some("m2,m3+m4,m5,m6,m7,m8"));
        recover(&journal, cursor(7, 5), read, Some("+m6,m7,m8"));
        recover(&journal, cursor(7, 0), read, None);
        let large = Older::Read { after: 1, messages: &[b'x'; 990] };
        recover(&journal, cursor(7, 1), large, None);
        for _ in 0..20 {
            say(&mut journal, "m", &LIMITS);
        }
        // So many do not fit, however short they are.
        recover(&journal, cursor(7, 1), Older::InLog, None);
        recover(&journal, cursor(7, 13), Older::InLog, Some("13 to 28"));
    }

    #[test]
    fn an_empty_room_recovers_a_cursor_at_zero() {
        check(&Journal::new(7), cursor(7, 0), "");
    }

    #[test]
    fn offsets_go_on_when_nothing_is_kept() {
        let none = HistoryLimits { messages: 0, ..LIMITS };
        let journal = filled(3, &none);
        assert_eq!(journal.top(), Marks { offset: 3, change: 0 });
        assert!(journal.history().is_empty());
        assert_eq!(recover(&journal, cursor(7, 2)), None);
        check(&journal, cursor(7, 3), "");
    }

    #[test]
    fn after_a_turn_cursors_up_to_what_was_kept_are_exact_and_others_are_not() {
        let mut journal = filled(4, &LIMITS);
        journal.turn(8, Marks { offset: 2, change: 0 });
        say(&mut journal, "n3", &LIMITS);
        say(&mut journal, "n4", &LIMITS);
        check(&journal, cursor(7, 1), "m2,n3,n4");
        check(&journal, cursor(7, 2), "n3,n4");
        assert_eq!(recover(&journal, cursor(7, 3)), None, "it has seen what was lost");
        check(&journal, cursor(8, 3), "n4");
        let change_ahead = Cursor { change: Some(1), ..cursor(7, 1) };
        assert_eq!(recover(&journal, change_ahead), None, "one number is ahead");
        journal.turn(9, Marks { offset: 1, change: 0 });
        check(&journal, cursor(7, 1), "");
        assert_eq!(recover(&journal, cursor(7, 2)), None, "the second turn lost that too");
        assert_eq!(recover(&journal, cursor(8, 2)), None);
        say(&mut journal, "o2", &LIMITS);
        assert_eq!([1, 2].map(|offset| journal.epoch_of(offset)), [7, 9]);
    }

    #[test]
    fn what_is_applied_twice_is_applied_once() {
        let mut journal = filled(2, &LIMITS);
        let again = Receipt { offset: 2, at_ms: 0 };
        journal.apply(again, None, b"other", &LIMITS);
        check(&journal, cursor(7, 0), "m1,m2");
    }

    #[test]
    #[should_panic(expected = "offsets are contiguous")]
    fn a_hole_is_a_defect() {
        let mut journal = filled(2, &LIMITS);
        journal.apply(Receipt { offset: 4, at_ms: 0 }, None, b"m4", &LIMITS);
    }

    #[test]
    fn a_journal_that_is_opened_goes_on_where_the_log_stands() {
        let opened = Opened {
            epoch: 9,
            top: Marks { offset: 7, change: 3 },
            rev: 2,
            kept: 6,
            founded: None,
            lineage: vec![(7, Marks { offset: 6, change: 3 })],
            tail: Vec::new(),
        };
        let mut journal = Journal::opened(&opened);
        assert_eq!((journal.epoch(), journal.top(), journal.rev()), (9, opened.top, 2));
        assert!(journal.is_kept(6) && !journal.is_kept(7));
        journal.note_kept(5);
        assert!(journal.is_kept(6), "it goes back only with a turn");
        say(&mut journal, "m8", &LIMITS);
        check(&journal, cursor(9, 7), "m8");
        assert_eq!(recover(&journal, cursor(7, 6)), None, "message 7 is not here");
        let old = Cursor { change: Some(2), ..cursor(9, 7) };
        assert_eq!(recover(&journal, old), None, "change 3 is not here");
    }
}

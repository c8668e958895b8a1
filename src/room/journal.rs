//! The journal of a room: its messages, what became of them, its counters, its epoch with the ones
//! before it, and the revision of its settings.
//!
//! Invariants:
//!
//! 1. only [`Journal::apply`], [`Journal::apply_change`], [`Journal::skip_changes`],
//!    [`Journal::turn`] and [`Journal::drop_oldest`] change it, and none of them can refuse;
//! 2. an entry that is applied twice is applied once;
//! 3. both counters are contiguous within an epoch, and go on over a turn from what is there; but
//!    for changes that a node has missed.
//!
//! Deliberately absent: judging commands (`propose`), and what members hear.
//!
//! Called by: `room`. Calls: `history`, `changes`, `meanwhile`, `pins`, `reactions`, `resume`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeBounds;

use crate::limits::{CHANGE_MEMORY_BYTES, HistoryLimits};
use crate::link::ids::{Cursor, Receipt};
use crate::link::log::{Judged, Marks, Opened, Ticket};
use crate::link::message::{
    MESSAGE_BYTES_MIN, push_replies, push_tombstone, split_replies, text, thread_of,
};
use crate::link::said::Replies;
use crate::room::changes::{Changes, Latest};
use crate::room::history::{History, Page};
use crate::room::keys::KeyHash;
use crate::room::meanwhile::Meanwhile;
use crate::room::pins::Pins;
#[cfg(test)]
use crate::room::planted::{self, Planted};
use crate::room::reactions::Reactions;
use crate::room::resume::{Lineage, Numbering, resume};

/// What there is of the messages before those in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Older<'a> {
    /// Nothing: they are gone.
    Gone,
    /// The room's log has them.
    InLog,
    /// All of them behind an offset, as in a page; and those up to it that have changed, if that
    /// was asked. Of those that there are reactions to, who has reacted.
    Read {
        after: u64,
        messages: &'a [u8],
        changed: Option<&'a BTreeMap<u64, Vec<u8>>>,
        reactions: &'a [(u64, &'a str)],
    },
}

/// What a client missed that can be told exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Missed<'a> {
    /// All of it: what its log has read, and what is in memory; and the messages that it has and
    /// that have changed since, separated by commas.
    All { older: &'a [u8], newer: Page<'a>, changed: Vec<u8> },
    /// The messages behind `after`, up to `upto`, are to be read by its log; and, if they are
    /// named, those up to `after` that have changed behind a change.
    InLog { after: u64, upto: u64, changed: Option<u64> },
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
    /// The last change.
    change: u64,
    /// The changes that are remembered here. Boxed, since few rooms have seen one.
    changes: Option<Box<Changes>>,
    /// The messages that are pinned.
    pins: Pins,
    /// Up to where the log, if that has more than this, has let go of messages and of changes.
    log_floor: Marks,
    /// What has become of messages while something was read: what is read may be older. Also of
    /// those in the history, which may let go of them before it is read.
    meanwhile: Meanwhile,
    /// Who has reacted to the messages that are in memory.
    reactions: Reactions,
    /// Counts the settings and standings that were applied.
    rev: u64,
    /// Up to where a log has said that entries are kept; `None` if all applied ones are.
    kept: Option<Marks>,
}

impl Journal {
    /// An empty journal, in a new epoch.
    pub(crate) fn new(epoch: u64) -> Self {
        Self { history: History::new(epoch), rare: None }
    }

    /// A journal that a log has kept, without its tail, which the caller applies next.
    pub(crate) fn opened(opened: &Opened) -> Self {
        let Opened { epoch, origin, top, rev, kept, lineage, floor, pins, .. } = opened;
        let Opened { unkept_pins, tail, .. } = opened;
        let rare = Rare {
            lineage: Lineage::new(*origin, lineage.iter().copied()),
            change: top.change,
            // Which messages were changed is read when somebody asks.
            changes: (top.change > 0).then(|| Box::new(Changes::above(top.change))),
            pins: Pins::opened(pins, unkept_pins),
            log_floor: *floor,
            meanwhile: Meanwhile::default(),
            reactions: Reactions::default(),
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

    /// The epoch that the room began in.
    pub(crate) fn origin(&self) -> u64 {
        let origin = self.rare.as_ref().and_then(|rare| rare.lineage.origin());
        origin.unwrap_or_else(|| self.epoch())
    }

    /// Whether the room is, or was, in an epoch, as far as it remembers.
    pub(crate) fn has_epoch(&self, epoch: u64) -> bool {
        let was = self.rare.as_ref().is_some_and(|rare| rare.lineage.has(epoch));
        was || epoch == self.epoch()
    }

    /// Whether a cursor may be of what the room has not heard yet, where other homes have it, too.
    pub(crate) fn is_behind(&self, cursor: Cursor) -> bool {
        let Cursor { epoch, offset, change } = cursor;
        if epoch == self.epoch() {
            let has = Marks { offset, change: change.unwrap_or_default() };
            return !has.is_within(self.top());
        }
        !self.has_epoch(epoch)
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

    /// Remembers the key of a message before all that are applied from now on.
    pub(crate) fn remember_key(&mut self, key: KeyHash, receipt: Receipt) {
        self.history.remember_key(key, receipt);
    }

    /// Keeps a message, which must be the next one, and who has reacted to it. Does nothing if it
    /// is kept already.
    ///
    /// # Panics
    ///
    /// If there would be a hole before it.
    pub(crate) fn apply(
        &mut self,
        receipt: Receipt,
        key: Option<KeyHash>,
        (message, reacted): (&[u8], Option<&str>),
        limits: &HistoryLimits,
    ) {
        if !self.has(receipt.offset) {
            let first = self.history.first();
            self.history.append(receipt, key, message, limits);
            if reacted.is_some() {
                self.rare.get_or_insert_default().reactions.set(receipt.offset, reacted);
            }
            self.forget_changes(first);
            self.bound_reactions(limits);
        }
    }

    /// Counts a reply that has just been applied at the first message of its thread, if that is in
    /// memory: so are all the replies to it. `asked` is the last ticket, if something of the room
    /// is being read.
    pub(crate) fn note_reply(
        &mut self,
        (root, reply): (u64, u64),
        asked: Option<Ticket>,
        limits: &HistoryLimits,
    ) {
        let first = self.history.first();
        if let Some(message) = self.history.message(root) {
            let (replies, rest) = split_replies(message);
            let count = replies.map_or(0, |replies| replies.count) + 1;
            let mut message = rest.into_owned();
            push_replies(&mut message, Replies { count, last: reply });
            self.history.replace(root, &message, limits);
            self.forget_changes(first);
        }
        #[cfg(test)]
        let asked = asked.filter(|_| !planted::is(Planted::RepliesUncounted));
        if let Some(asked) = asked {
            let rare = self.rare.get_or_insert_default();
            rare.meanwhile.note_reply((root, reply), asked, limits.room_bytes);
        }
    }

    /// How many replies a message has that is not in memory, when it was read with so many.
    pub(crate) fn replies(&self, offset: u64, read: Option<Replies>) -> Option<Replies> {
        self.rare.as_ref().map_or(read, |rare| rare.meanwhile.replies(offset, read))
    }

    /// Who has reacted takes no more than the messages may: the oldest go with theirs.
    fn bound_reactions(&mut self, limits: &HistoryLimits) {
        let bytes = |journal: &Self| journal.rare.as_ref().map_or(0, |rare| rare.reactions.bytes());
        while bytes(self) > limits.room_bytes && self.history.len() > 1 {
            self.drop_oldest();
        }
    }

    /// Puts a message that has changed in the place of the one that it was, under the number of the
    /// change, which must be the next one. `asked` is the last ticket, if something of the room is
    /// being read. At most `max` changed messages are remembered.
    ///
    /// # Panics
    ///
    /// If there would be a hole before it.
    pub(crate) fn apply_change(
        &mut self,
        (offset, latest): (u64, Latest),
        (message, reacted): (&[u8], Option<&str>),
        asked: Option<Ticket>,
        (limits, max): (&HistoryLimits, usize),
    ) {
        let rare = self.rare.get_or_insert_default();
        assert_eq!(latest.change, rare.change + 1, "changes are contiguous");
        rare.change = latest.change;
        rare.changes.get_or_insert_default().note(offset, latest, max);
        let first = self.history.first();
        #[cfg(test)]
        let asked = asked.filter(|_| !planted::is(Planted::OldPage));
        let (noted, bytes_max) = ((offset, latest.change), limits.room_bytes);
        rare.meanwhile.note_change(noted, (message, reacted), asked, bytes_max);
        if offset >= first {
            rare.reactions.set(offset, reacted);
        }
        // It is answered as often as before.
        let replies = self.history.message(offset).and_then(|message| split_replies(message).0);
        let mut message = Cow::from(message);
        if let Some(replies) = replies {
            push_replies(message.to_mut(), replies);
        }
        self.history.replace(offset, &message, limits);
        self.forget_changes(first);
        self.bound_reactions(limits);
    }

    /// Goes on behind changes that are never told here, up to this one.
    pub(crate) fn skip_changes(&mut self, change: u64) {
        if change > self.top().change + 1 {
            self.rare.get_or_insert_default().change = change - 1;
        }
    }

    /// Notes whether a message is pinned after a change that has just been applied.
    pub(crate) fn note_pin(&mut self, offset: u64, change: u64, is_pinned: bool) {
        let rare = self.rare.get_or_insert_default();
        rare.pins.note(offset, change, is_pinned, rare.kept.map(|kept| kept.change));
    }

    /// The pinned messages in a range of offsets, ascending.
    pub(crate) fn pins(
        &self,
        range: impl RangeBounds<u64>,
    ) -> impl DoubleEndedIterator<Item = u64> {
        self.rare.iter().flat_map(move |rare| {
            let range = (range.start_bound().cloned(), range.end_bound().cloned());
            rare.pins.range(range)
        })
    }

    /// Forgets pinned messages before `first`, which are no longer kept.
    pub(crate) fn let_go_of_pins(&mut self, first: u64) {
        if let Some(rare) = &mut self.rare {
            rare.pins.let_go(first);
        }
    }

    /// A message as it stands, if that is known here. How often it was answered is in it only if it
    /// is in memory: see [`Journal::replies`].
    pub(crate) fn message(&self, offset: u64) -> Option<&[u8]> {
        let newer = || self.rare.as_ref()?.meanwhile.of(offset).map(|newer| &*newer.message);
        self.history.message(offset).or_else(newer)
    }

    /// Who has reacted to a message, of which [`Journal::message`] says how it stands.
    pub(crate) fn reacted(&self, offset: u64) -> Option<&str> {
        let rare = self.rare.as_ref()?;
        if offset >= self.history.first() {
            return rare.reactions.of(offset);
        }
        rare.meanwhile.of(offset)?.reacted.as_deref()
    }

    /// Whether there may be reactions to messages that are known here.
    pub(crate) fn has_reactions(&self) -> bool {
        let rare = self.rare.as_ref();
        rare.is_some_and(|rare| !rare.reactions.is_empty() || !rare.meanwhile.is_unchanged())
    }

    /// Whether a message is known to be as it was by a change, when the room had come as far as
    /// `top`.
    pub(crate) fn is_as_by(&self, offset: u64, change: u64, top: u64) -> bool {
        let changes = self.rare.as_ref().and_then(|rare| rare.changes.as_ref());
        changes.is_none_or(|changes| match changes.latest(offset) {
            Some(latest) => latest.change == change,
            None => changes.floor() <= top,
        })
    }

    /// Something of the room has been read. `oldest` is the ticket of what was asked first and is
    /// still being read, if there is something.
    pub(crate) fn note_read(&mut self, oldest: Option<Ticket>) {
        if let Some(rare) = &mut self.rare {
            rare.meanwhile.let_go(oldest);
        }
    }

    /// Whether what was asked under this ticket may lack something that is not known here any more.
    pub(crate) fn is_forgotten(&self, asked: Ticket) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.meanwhile.is_forgotten(asked))
    }

    /// Whether the change with this number has been applied.
    pub(crate) fn has_change(&self, change: u64) -> bool {
        change <= self.top().change
    }

    /// Asserts the invariants. For tests: it looks at everything.
    pub(crate) fn check(&self) {
        if let Some(changes) = self.rare.as_ref().and_then(|rare| rare.changes.as_ref()) {
            changes.check();
        }
        if let Some(rare) = &self.rare {
            rare.reactions.check(self.history.first()..=self.history.last());
            rare.meanwhile.check();
        }
    }

    /// What is remembered of changes and of ended epochs takes so much memory, in bytes.
    pub(crate) fn rare_bytes(&self) -> usize {
        let Some(rare) = &self.rare else { return 0 };
        let changed = rare.changes.as_ref().map_or(0, |changes| changes.len());
        changed * CHANGE_MEMORY_BYTES
            + rare.meanwhile.bytes()
            + rare.pins.bytes()
            + rare.reactions.bytes()
            + rare.lineage.bytes()
    }

    /// Notes that the messages from `first` up to the first in memory have been let go of.
    fn forget_changes(&mut self, first: u64) {
        let Some(rare) = &mut self.rare else { return };
        rare.reactions.let_go(self.history.first());
        let Some(changes) = &mut rare.changes else { return };
        for offset in first..self.history.first() {
            changes.let_go(offset);
        }
    }

    /// Notes up to where the log has let go of messages, and of changes of those.
    pub(crate) fn raise_log_floor(&mut self, floor: Marks) {
        if floor != Marks::default() {
            let rare = self.rare.get_or_insert_default();
            rare.log_floor = rare.log_floor.max(floor);
            rare.pins.let_go(rare.log_floor.offset + 1);
        }
    }

    /// Whether the message with this offset has been applied.
    pub(crate) fn has(&self, offset: u64) -> bool {
        offset <= self.history.last()
    }

    /// Notes the revision of the room's settings. What comes back from a log may have been judged
    /// by an earlier one.
    pub(crate) fn apply_rev(&mut self, rev: u64) {
        if rev > self.rev() {
            self.rare.get_or_insert_default().rev = rev;
        }
    }

    /// Whether a message that has been applied is known to be kept. With an engine, members may
    /// hear a message that a failover then loses.
    pub(crate) fn is_kept(&self, offset: u64) -> bool {
        let kept = self.rare.as_ref().and_then(|rare| rare.kept);
        kept.is_none_or(|kept| offset <= kept.offset)
    }

    /// Whether a change that has been applied is known to be kept.
    pub(crate) fn is_change_kept(&self, change: u64) -> bool {
        let kept = self.rare.as_ref().and_then(|rare| rare.kept);
        kept.is_none_or(|kept| change <= kept.change)
    }

    /// Notes that entries are kept up to here, and others only if their log says so.
    pub(crate) fn note_kept(&mut self, upto: Marks) {
        let kept = &mut self.rare.get_or_insert_default().kept;
        *kept = Some(kept.unwrap_or_default().max(upto));
    }

    /// Goes on in a new epoch, without what is behind `kept`. Messages whose state is lost are no
    /// longer in memory: their log has what they are.
    pub(crate) fn turn(&mut self, epoch: u64, kept: Marks) {
        let kept = kept.min(self.top());
        let miscounted = self.answered_behind(kept.offset);
        #[cfg(test)]
        let miscounted = miscounted.filter(|_| !planted::is(Planted::RepliesStay));
        let ended = self.history.turn(epoch, kept.offset);
        let rare = self.rare.get_or_insert_default();
        rare.lineage.turn(ended, kept, self.history.oldest());
        rare.change = kept.change;
        #[cfg(test)]
        let pins_kept = if planted::is(Planted::PinsStay) { u64::MAX } else { kept.change };
        #[cfg(not(test))]
        let pins_kept = kept.change;
        rare.pins.turn(pins_kept);
        rare.kept = rare.kept.map(|known| known.min(kept));
        rare.log_floor = rare.log_floor.min(kept);
        rare.meanwhile.turn();
        rare.reactions.turn(kept.offset);
        let lost = rare.changes.as_mut().and_then(|changes| changes.turn(kept.change));
        let lost = lost.max(miscounted);
        while lost.is_some_and(|lost| self.history.first() <= lost) && !self.history.is_empty() {
            self.drop_oldest();
        }
    }

    /// The last message up to an offset that is answered behind that.
    fn answered_behind(&self, offset: u64) -> Option<u64> {
        let behind = offset + 1..=self.history.last();
        let threads = behind.filter_map(|reply| thread_of(text(self.history.message(reply)?)));
        threads.filter(|root| *root <= offset).max()
    }

    /// Drops the oldest message.
    pub(crate) fn drop_oldest(&mut self) {
        let first = self.history.first();
        self.history.drop_oldest();
        self.forget_changes(first);
    }

    /// What a client missed, if it can be told exactly what that is.
    pub(crate) fn recover<'a>(
        &'a self,
        cursor: Cursor,
        older: Older<'a>,
        limits: &HistoryLimits,
    ) -> Option<Missed<'a>> {
        const NONE: &Lineage = &Lineage::NONE;
        let lineage = self.rare.as_ref().map_or(NONE, |rare| &rare.lineage);
        let here = self.history.first();
        let (first, floor) = match older {
            Older::Gone => (here, self.floor()),
            // From the first one on. A log that has let go of some says so when it is asked.
            Older::InLog => (1, self.log_floor().change),
            Older::Read { after, changed, .. } => {
                let floor = if changed.is_some() { self.log_floor().change } else { self.floor() };
                (here.min(after + 1), floor)
            }
        };
        let numbering = Numbering { epoch: self.epoch(), top: self.top(), first, floor, lineage };
        let newer = |has: Marks| self.history.behind(has.offset);
        let older_count = |has: Marks| here.saturating_sub(has.offset + 1);
        // What is in the way of telling which messages have changed is asked of the log.
        let mut changed = None;
        let bytes = |has: Marks| {
            changed = self.changed(has, older);
            let older_bytes = match older {
                _ if older_count(has) == 0 => 0,
                Older::Read { messages, .. } => messages.len() + 1,
                // At the least. What they are will be known when they have been read.
                Older::Gone | Older::InLog => usize::try_from(older_count(has))
                    .unwrap_or(usize::MAX)
                    .saturating_mul(MESSAGE_BYTES_MIN + 1),
            };
            let changed_bytes = changed.as_ref().map_or(0, Vec::len);
            newer(has).messages.len().saturating_add(older_bytes).saturating_add(changed_bytes)
        };
        let has = resume(numbering, cursor, limits.page_bytes, bytes)?;
        let is_older = older_count(has) > 0;
        match (older, changed) {
            (_, Some(changed)) if !is_older => {
                Some(Missed::All { older: &[], newer: newer(has), changed })
            }
            (Older::Read { messages, .. }, Some(changed)) => {
                Some(Missed::All { older: messages, newer: newer(has), changed })
            }
            // What has changed since it was read is not known here.
            (Older::Read { .. }, None) | (Older::Gone, _) => None,
            // What is in memory too, since memory moves on with each message that is said
            // meanwhile.
            (Older::InLog, _) => {
                let upto = if is_older { self.history.last() } else { has.offset };
                Some(Missed::InLog { after: has.offset, upto, changed: cursor.change })
            }
        }
    }

    /// Every change above it can be told from memory.
    fn floor(&self) -> u64 {
        let changes = self.rare.as_ref().and_then(|rare| rare.changes.as_ref());
        changes.map_or(0, |changes| changes.floor())
    }

    /// Up to where the log has let go of messages, and of changes of those.
    pub(crate) fn log_floor(&self) -> Marks {
        self.rare.as_ref().map_or(Marks::default(), |rare| rare.log_floor)
    }

    /// The messages that a client has and that have changed since, separated by commas: from
    /// memory, or from what was read, where memory knows nothing newer. `None` if that is not all,
    /// or if the log has more of a deleted one.
    fn changed(&self, has: Marks, older: Older<'_>) -> Option<Vec<u8>> {
        let read = match older {
            Older::Read { changed, .. } => changed,
            Older::Gone | Older::InLog => None,
        };
        let log_floor = self.log_floor().offset;
        let is_in_log = |offset| older == Older::InLog && offset > log_floor;
        let mut out = Vec::new();
        let Some(changes) = self.rare.as_ref().and_then(|rare| rare.changes.as_ref()) else {
            return Some(out);
        };
        if has.change < changes.floor() && read.is_none() {
            return None;
        }
        let latest: BTreeMap<u64, Latest> = changes.behind(has.change, has.offset).collect();
        let mut offsets: BTreeSet<u64> = latest.keys().copied().collect();
        // What the history let go of after it was read.
        let rare = self.rare.iter();
        offsets.extend(rare.flat_map(|rare| rare.meanwhile.changed(has.offset, has.change)));
        offsets.extend(read.into_iter().flat_map(BTreeMap::keys));
        for offset in offsets {
            let read_as = read.and_then(|read| read.get(&offset));
            let newer = || self.message(offset).map(|newer| read_as.map_or(newer, Vec::as_slice));
            let known = self.history.message(offset).or_else(newer);
            match (known.or(read_as.map(Vec::as_slice)), latest.get(&offset)) {
                (Some(message), _) => out.extend_from_slice(message),
                (None, Some(Latest { change, is_deleted: true })) if !is_in_log(offset) => {
                    push_tombstone(&mut out, offset, *change);
                }
                (None, _) => return None,
            }
            out.push(b',');
        }
        out.pop();
        Some(out)
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
        journal.apply(receipt, None, (message.as_bytes(), None), limits);
    }

    fn cursor(epoch: u64, offset: u64) -> Cursor {
        Cursor { epoch, offset, change: None }
    }

    fn recover(journal: &Journal, cursor: Cursor) -> Option<String> {
        let missed = journal.recover(cursor, Older::Gone, &LIMITS)?;
        let Missed::All { older: b"", newer, .. } = missed else {
            panic!("it is here: {missed:?}")
        };
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
                Missed::InLog { after, upto, .. } => format!("{after} to {upto}"),
                Missed::All { older, newer, .. } => {
                    [older, newer.messages].map(String::from_utf8_lossy).join("+")
                }
            });
            assert_eq!(found.as_deref(), expected);
        };
        recover(&journal, cursor(7, 1), Older::InLog, Some("1 to 8"));
        recover(&journal, cursor(7, 3), Older::InLog, Some("+m4,m5,m6,m7,m8"));
        recover(&journal, cursor(7, 9), Older::InLog, None);
        recover(&journal, cursor(6, 1), Older::InLog, None);
        let messages = b"m2,m3";
        let read = Older::Read { after: 1, messages, changed: None, reactions: &[] };
        recover(&journal, cursor(7, 1), read, Some("m2,m3+m4,m5,m6,m7,m8"));
        recover(&journal, cursor(7, 5), read, Some("+m6,m7,m8"));
        recover(&journal, cursor(7, 0), read, None);
        let messages = &[b'x'; 990];
        let large = Older::Read { after: 1, messages, changed: None, reactions: &[] };
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

    /// What a journal says of how often message 1 was answered: the end of it.
    fn replies(journal: &Journal) -> Option<(u64, u64)> {
        let (replies, rest) = split_replies(journal.history.message(1).expect("it is there"));
        assert!(rest.ends_with(b"}") && rest.starts_with(b"{"), "{}", text(&rest));
        replies.map(|replies| (replies.count, replies.last))
    }

    /// A journal after a message, an answer to it, another message and another answer.
    fn answered() -> Journal {
        let mut journal = filled(0, &LIMITS);
        for (offset, thread) in [(1, None), (2, Some(1)), (3, None), (4, Some(1))] {
            let thread = thread.map_or(String::new(), |thread| format!(",\"thread\":{thread}"));
            say(&mut journal, &format!("{{\"offset\":{offset}{thread}}}"), &LIMITS);
            if !thread.is_empty() {
                journal.note_reply((1, offset), None, &LIMITS);
            }
        }
        journal
    }

    #[test]
    fn a_message_says_how_often_it_was_answered_whatever_becomes_of_it() {
        let mut journal = answered();
        assert_eq!(replies(&journal), Some((2, 4)));
        let latest = Latest { change: 1, is_deleted: true };
        let changed = br#"{"offset":1,"data":{"replies":{"count":9,"last":9}}}"#;
        journal.apply_change((1, latest), (changed, None), None, (&LIMITS, 9));
        assert_eq!(replies(&journal), Some((2, 4)));
        say(&mut journal, "{\"thread\":1}", &LIMITS);
        journal.note_reply((1, 5), None, &LIMITS);
        assert_eq!(replies(&journal), Some((3, 5)));
        journal.check();
        // What is not kept is not answered.
        journal.note_reply((9, 10), None, &LIMITS);
        assert_eq!(journal.history.message(9), None);
    }

    #[test]
    fn what_was_answered_while_it_was_read_is_counted_once() {
        let mut journal = answered();
        let read = |count, last| Some(Replies { count, last });
        assert_eq!(journal.replies(1, read(7, 3)), read(7, 3));
        for reply in [5, 6] {
            say(&mut journal, "{\"thread\":1}", &LIMITS);
            journal.note_reply((1, reply), Some(1), &LIMITS);
        }
        assert_eq!(journal.replies(1, read(7, 3)), read(9, 6));
        assert_eq!(journal.replies(1, read(8, 5)), read(9, 6), "it was read with one of them");
        assert_eq!(journal.replies(1, read(9, 6)), read(9, 6));
        assert_eq!(journal.replies(1, None), read(2, 6));
        assert_eq!(journal.replies(2, None), None);
        assert!(journal.rare_bytes() > 0);
        journal.note_read(Some(1));
        assert_eq!(journal.replies(1, None), read(2, 6), "another read lacks them");
        journal.note_read(Some(2));
        assert_eq!((journal.replies(1, None), journal.rare_bytes()), (None, 0));
    }

    #[test]
    fn after_a_turn_that_lost_an_answer_its_log_says_how_often_a_message_was_answered() {
        for (kept, first) in [(4, 1), (3, 2), (2, 2), (1, 2)] {
            let mut journal = answered();
            journal.turn(8, Marks { offset: kept, change: 0 });
            assert_eq!((journal.history.first(), journal.history.last()), (first, kept), "{kept}");
        }
    }

    #[test]
    fn what_is_applied_twice_is_applied_once() {
        let mut journal = filled(2, &LIMITS);
        let again = Receipt { offset: 2, at_ms: 0 };
        journal.apply(again, None, (b"other", None), &LIMITS);
        check(&journal, cursor(7, 0), "m1,m2");
    }

    #[test]
    fn changes_that_a_node_has_missed_leave_a_gap() {
        let mut journal = filled(2, &LIMITS);
        journal.skip_changes(1);
        for change in [1, 5] {
            journal.skip_changes(change);
            let latest = Latest { change, is_deleted: false };
            journal.apply_change((change.min(2), latest), (b"{}", None), None, (&LIMITS, 9));
            assert_eq!(journal.top().change, change);
        }
        let behind = |change| {
            let missed = journal.recover(
                Cursor { change: Some(change), ..cursor(7, 2) },
                Older::Gone,
                &LIMITS,
            );
            missed.map(|missed| match missed {
                Missed::All { changed, .. } => changed.len(),
                Missed::InLog { .. } => unreachable!("it is here"),
            })
        };
        assert_eq!([0, 1, 3, 5].map(behind), [Some(5), Some(2), Some(2), Some(0)]);
    }

    #[test]
    fn of_a_deleted_message_that_the_log_keeps_all_of_that_is_told() {
        let mut journal = filled(8, &LIMITS);
        let latest = Latest { change: 1, is_deleted: true };
        journal.apply_change((2, latest), (b"{}", None), None, (&LIMITS, 9));
        let since = Cursor { change: Some(0), ..cursor(7, 8) };
        let recover = |journal: &Journal, older| match journal.recover(since, older, &LIMITS) {
            Some(Missed::All { changed, .. }) => String::from_utf8(changed).expect("UTF-8"),
            Some(Missed::InLog { after: 8, upto: 8, changed: Some(0) }) => "to be read".to_owned(),
            other => panic!("it is recovered: {other:?}"),
        };
        let bare = r#"{"body":"","change":1,"deleted":{},"offset":2}"#;
        assert_eq!(recover(&journal, Older::Gone), bare, "nobody keeps it");
        assert_eq!(recover(&journal, Older::InLog), "to be read");
        let (whole, none) = (BTreeMap::from([(2, b"m2 is deleted".to_vec())]), BTreeMap::new());
        for (changed, expected) in [(&whole, "m2 is deleted"), (&none, bare)] {
            let changed = Some(changed);
            let read = Older::Read { after: 8, messages: b"", changed, reactions: &[] };
            assert_eq!(recover(&journal, read), expected, "what is there by then");
        }
        journal.rare.get_or_insert_default().log_floor = Marks { offset: 2, change: 0 };
        assert_eq!(recover(&journal, Older::InLog), bare, "the log has let go of it");
    }

    #[test]
    #[should_panic(expected = "offsets are contiguous")]
    fn a_hole_is_a_defect() {
        let mut journal = filled(2, &LIMITS);
        journal.apply(Receipt { offset: 4, at_ms: 0 }, None, (b"m4", None), &LIMITS);
    }

    #[test]
    fn a_journal_that_is_opened_goes_on_where_the_log_stands() {
        let opened = Opened {
            epoch: 9,
            top: Marks { offset: 7, change: 3 },
            rev: 2,
            kept: Marks { offset: 6, change: 0 },
            lineage: vec![(7, Marks { offset: 6, change: 3 })],
            floor: Marks::default(),
            ..Opened::default()
        };
        let mut journal = Journal::opened(&opened);
        assert_eq!((journal.epoch(), journal.top(), journal.rev()), (9, opened.top, 2));
        assert!(journal.is_kept(6) && !journal.is_kept(7));
        journal.note_kept(Marks { offset: 5, change: 0 });
        assert!(journal.is_kept(6), "it goes back only with a turn");
        assert!(!journal.is_change_kept(1), "it is behind message 7");
        journal.note_kept(Marks { offset: 0, change: 3 });
        assert!(journal.is_change_kept(3));
        say(&mut journal, "m8", &LIMITS);
        check(&journal, cursor(9, 7), "m8");
        assert_eq!(recover(&journal, cursor(7, 6)), None, "message 7 is not here");
        let old = Cursor { change: Some(2), ..cursor(9, 7) };
        assert_eq!(recover(&journal, old), None, "change 3 is not here");
    }
}

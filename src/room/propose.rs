//! A room proposes, its log commits: what is said and kept goes through here.
//!
//! ```text
//!   a message ── propose ── refused, with a reason       reads and judges, changes nothing
//!                        └─ an entry, for the log
//!   a verb ───── verbs ──── the same, of a message that is there
//!   an entry ─── apply ──── what members hear            changes the journal, cannot refuse
//! ```
//!
//! Between the two the log gives the entry its place, and other entries may come before it. So an
//! entry says what it was judged by; a log at which that has changed refuses it as a conflict.
//!
//! Invariants: see [`crate::room::journal`].
//!
//! Deliberately absent: waiting. What is under way is the business of `rooms`.
//!
//! Called by: `rooms`. Calls: `journal`.

use crate::base::time::Now;
use crate::limits::{ChatLimits, HistoryLimits};
use crate::link::ids::Receipt;
use crate::link::log::{Entry, Marks, Ticket, What};
use crate::link::message::{
    push_message, push_patch, read_message, said_at_ms, said_in, text, thread_of,
};
use crate::link::refusal::Refusal;
use crate::link::said::{Fate, MessageText, Said};
use crate::room::Room;
use crate::room::changes::Latest;
use crate::room::keys::KeyHash;
#[cfg(test)]
use crate::room::planted;

impl Room {
    /// Judges a message by what the room knows now: `said` is what its author wishes to say.
    /// Changes nothing.
    ///
    /// # Errors
    ///
    /// Why it is refused.
    pub(crate) fn propose<'a>(&self, said: Said<'a>) -> Result<Entry<'a>, Refusal> {
        if said.reply_to.is_some_and(|offset| !self.journal.has(offset) || offset == 0) {
            let message = "the offset of a message of this room";
            return Err(Refusal::Invalid { field: "reply_to", message });
        }
        Ok(Entry { judged: self.journal.judged(), what: What::Message(said), audit: None })
    }

    /// The thread that an answer to a message is in; none, if its log has that message, and must
    /// say. What is kept no more is the first of a thread. `reaches_back` says whether a log has
    /// the messages before those in memory.
    pub(crate) fn thread_of(&self, reply_to: u64, reaches_back: bool) -> Option<u64> {
        let kept = self.first_kept(reaches_back)..=self.history().last();
        #[cfg(test)]
        let reaches_back = reaches_back && !planted::is(planted::Planted::ThreadsGuessed);
        match self.journal.message(reply_to) {
            Some(message) => thread_of(text(message)).or(Some(reply_to)),
            None if reaches_back && kept.contains(&reply_to) => None,
            None => Some(reply_to),
        }
    }

    /// A message as it stands, if it is in memory.
    pub(crate) fn message(&self, offset: u64) -> Option<MessageText> {
        let told = text(self.journal.message(offset)?);
        let mut message = read_message(told);
        if offset < self.history().first() {
            // The room may have forgotten the epoch of what its log has read.
            message.fate.get_or_insert_default().epoch = said_in(told);
        }
        #[cfg(test)]
        if planted::is(planted::Planted::ReactorsForgotten) {
            return Some(message);
        }
        if let Some(reacted) = self.journal.reacted(offset) {
            message.fate.get_or_insert_default().reacted = Some(reacted.into());
        }
        Some(message)
    }

    /// The receipt of the next message, where the home gives the order.
    pub(crate) fn next_receipt(&self, now: Now) -> Receipt {
        self.history().next(now.unix_ms)
    }

    /// Applies a message under its receipt, and appends it to `out` as members get it; of one that
    /// was kept with what became of it. Nothing, and false, if it has been applied before.
    ///
    /// # Panics
    ///
    /// If there would be a hole before it: the log has broken its word.
    pub(crate) fn apply(
        &mut self,
        said: Said<'_>,
        fate: Fate<'_>,
        receipt: Receipt,
        key_hash: Option<KeyHash>,
        limits: &HistoryLimits,
        out: &mut Vec<u8>,
    ) -> bool {
        if self.journal.has(receipt.offset) {
            return false;
        }
        let epoch = self.journal.epoch_of(receipt.offset);
        push_message(out, epoch, receipt, &said, &fate);
        self.journal.apply(receipt, key_hash, (out, fate.reacted), limits);
        true
    }

    /// Counts a reply that has just been applied, in the thread that it is in. `asked` is the last
    /// ticket, if something of the room is being read.
    pub(crate) fn note_reply(
        &mut self,
        reply: (u64, u64),
        asked: Option<Ticket>,
        limits: &HistoryLimits,
    ) {
        self.journal.note_reply(reply, asked, limits);
    }

    /// Applies that a message has become another one, under the number of that change, and appends
    /// what members are told to `out`. Nothing, and false, if it has been applied before. What it
    /// `was`, if that is not in memory. `asked` is the last ticket, if something of the room is
    /// being read. Where it `was_missed`, members are told all of it.
    ///
    /// # Panics
    ///
    /// If there would be a hole before it: the log has broken its word.
    pub(crate) fn apply_change(
        &mut self,
        (offset, was, message): (u64, Option<&MessageText>, &MessageText),
        (change, was_missed): (u64, bool),
        asked: Option<Ticket>,
        limits: (&HistoryLimits, &ChatLimits),
        out: &mut Vec<u8>,
    ) -> bool {
        if self.journal.has_change(change) {
            return false;
        }
        let (at_ms, said) = (message.at_ms, message.said.said());
        let fate = Fate { change, ..message.fate() };
        let here = self.message(offset);
        let was = here.as_ref().or(was).map(|was| (was.said.said(), was.fate()));
        #[cfg(test)]
        let told = Fate { change: change + u64::from(planted::skips(change)), ..fate };
        #[cfg(not(test))]
        let told = fate;
        push_patch(out, offset, was.as_ref(), (said, told), was_missed);
        let mut told = Vec::new();
        let epoch = self.journal.epoch_of(offset);
        push_message(&mut told, epoch, Receipt { offset, at_ms }, &said, &fate);
        let latest = Latest { change, is_deleted: fate.deleted.is_some() };
        let (history, chat) = limits;
        let max = chat.changes as usize;
        let message = (&*told, fate.reacted);
        self.journal.apply_change((offset, latest), message, asked, (history, max));
        self.journal.note_pin(offset, change, fate.pinned.is_some());
        true
    }

    /// Changes before this one, and behind those that have been applied, are never told here: of
    /// the messages that they were of, a later one is.
    pub(crate) fn skip_changes(&mut self, change: u64) {
        self.journal.skip_changes(change);
    }

    /// Whether a message is still what it was when the room had come as far as a change, as far as
    /// is known.
    pub(crate) fn is_as_was(&self, offset: u64, was: &MessageText, top: u64) -> bool {
        self.journal.is_as_by(offset, was.fate().change, top)
    }

    /// Notes the revision of settings and standings that an entry has brought.
    pub(crate) fn apply_rev(&mut self, rev: u64) {
        self.journal.apply_rev(rev);
    }

    /// Notes that entries are kept up to here, and others only if their log says so.
    pub(crate) fn note_kept(&mut self, upto: Marks) {
        self.journal.note_kept(upto);
    }

    /// Goes on in a new epoch, without what is behind `kept`. Returns whether somebody may have
    /// seen what is lost.
    pub(crate) fn turn(&mut self, epoch: u64, kept: Marks) -> bool {
        let is_lossy = !self.journal.top().is_within(kept);
        self.journal.turn(epoch, kept);
        is_lossy
    }

    /// Lets go of the messages up to an offset, and of the changes of those, as their log did.
    pub(crate) fn let_go(&mut self, floor: Marks) {
        self.journal.raise_log_floor(floor);
        while self.history().first() <= floor.offset && !self.history().is_empty() {
            self.journal.drop_oldest();
        }
    }

    /// Lets go of messages that were said before a time, the oldest first, so many at most. Returns
    /// how many there were.
    pub(crate) fn let_go_before(&mut self, at_ms: u64, max: usize) -> usize {
        // Time never goes back within a room, so the first that stays ends it.
        let is_old = |message: &[u8]| said_at_ms(text(message)) < at_ms;
        let mut count = 0;
        while count < max && self.history().message(self.history().first()).is_some_and(is_old) {
            self.journal.drop_oldest();
            count += 1;
        }
        count
    }

    /// Something of it has been read. `oldest` is the ticket of what was asked first and is still
    /// being read, if there is something.
    pub(crate) fn note_read(&mut self, oldest: Option<Ticket>) {
        self.journal.note_read(oldest);
    }

    /// Lets go of the oldest message.
    pub(crate) fn drop_oldest(&mut self) {
        self.journal.drop_oldest();
    }
}

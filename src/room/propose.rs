//! A room proposes, its log commits: what is said and kept goes through here.
//!
//! ```text
//!   command ── propose ── refused, with a reason        reads and judges, changes nothing
//!                      └─ known: its key has been used
//!                      └─ an entry, for the log
//!   entry   ── apply ──── the receipt, and what members hear      changes the journal, cannot refuse
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

use crate::auth::identity::Identity;
use crate::base::time::Now;
use crate::limits::HistoryLimits;
use crate::link::ids::Receipt;
use crate::link::log::{Entry, Marks, Said, What};
use crate::link::message::push_message;
use crate::link::refusal::Refusal;
use crate::room::Room;
use crate::room::keys::KeyHash;

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

/// What a member wishes to be kept.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command<'a> {
    /// A message, with a hash of its author and key.
    Publish(Message<'a>, Option<KeyHash>),
}

/// What a room makes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proposal<'a> {
    /// To be kept.
    Entry(Entry<'a>),
    /// It is kept already: its key has been used.
    Known(Receipt),
}

impl Room {
    /// Judges a command by what the room knows now. Changes nothing.
    ///
    /// # Errors
    ///
    /// Why it is refused. No command is, so far: the verbs and standings that can be come with
    /// moderation.
    #[expect(clippy::unnecessary_wraps, reason = "callers handle refusals: see Errors")]
    pub(crate) fn propose<'a>(
        &self,
        command: Command<'a>,
        author: &'a Identity,
    ) -> Result<Proposal<'a>, Refusal> {
        let Command::Publish(Message { body, key, reply_to }, key_hash) = command;
        let known = key_hash.and_then(|key_hash| self.history().of_key(key_hash));
        // What was only heard goes to the log again: it knows the key, and says when it is kept.
        if let Some(receipt) = known.filter(|receipt| self.journal.is_kept(receipt.offset)) {
            return Ok(Proposal::Known(receipt));
        }
        let said = Said { user: author.user(), name: author.name(), body, key, reply_to };
        let entry = Entry { judged: self.journal.judged(), what: What::Message(said) };
        Ok(Proposal::Entry(entry))
    }

    /// The receipt of the next message, where the home gives the order.
    pub(crate) fn next_receipt(&self, now: Now) -> Receipt {
        self.history().next(now.unix_ms)
    }

    /// Applies a message under its receipt, and appends it to `out` as members get it. Nothing, and
    /// false, if it has been applied before.
    ///
    /// # Panics
    ///
    /// If there would be a hole before it: the log has broken its word.
    pub(crate) fn apply(
        &mut self,
        said: Said<'_>,
        receipt: Receipt,
        key_hash: Option<KeyHash>,
        limits: &HistoryLimits,
        out: &mut Vec<u8>,
    ) -> bool {
        if self.journal.has(receipt.offset) {
            return false;
        }
        let Said { user, name, body, key, reply_to } = said;
        let epoch = self.journal.epoch_of(receipt.offset);
        push_message(out, epoch, receipt, user, name, body, key, reply_to);
        self.journal.apply(receipt, key_hash, out, limits);
        true
    }

    /// Notes the revision of settings and standings that an entry has brought.
    pub(crate) fn apply_rev(&mut self, rev: u64) {
        self.journal.apply_rev(rev);
    }

    /// Notes that messages are kept up to an offset, and others only if their log says so.
    pub(crate) fn note_kept(&mut self, offset: u64) {
        self.journal.note_kept(offset);
    }

    /// Goes on in a new epoch, without what is behind `kept`. Returns whether somebody may have
    /// seen what is lost.
    pub(crate) fn turn(&mut self, epoch: u64, kept: Marks) -> bool {
        let is_lossy = !self.journal.top().is_within(kept);
        self.journal.turn(epoch, kept);
        is_lossy
    }

    /// Lets go of the messages up to an offset.
    pub(crate) fn let_go(&mut self, through: u64) {
        while self.history().first() <= through && !self.history().is_empty() {
            self.journal.drop_oldest();
        }
    }

    /// Lets go of the oldest message.
    pub(crate) fn drop_oldest(&mut self) {
        self.journal.drop_oldest();
    }
}

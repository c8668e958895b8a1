//! What is told of an import: what was left out of it, and what else its reader should know.

use std::collections::BTreeMap;

use super::fit::cut;
use crate::limits::NAME_BYTES_MAX;

/// So many kinds of something are told of by their names.
const KINDS_MAX: usize = 32;

/// See the module.
#[derive(Default)]
pub(super) struct Told {
    notes: Vec<String>,
    /// What the product itself has said in rooms: how often, by kind.
    noted: Kinds,
    /// Of the messages that were taken.
    pub(super) left: Left,
}

/// How much there is of each kind; of more kinds than are told of, the rest is one.
#[derive(Default)]
pub(super) struct Kinds(BTreeMap<String, u64>);

impl Kinds {
    pub(super) fn add(&mut self, kind: &str, count: u64) {
        let kind = cut(kind, NAME_BYTES_MAX);
        let kind = if kind.is_empty() { "without a kind".to_owned() } else { kind };
        let is_told = self.0.contains_key(&kind) || self.0.len() < KINDS_MAX;
        let kind = if is_told { kind } else { "others".to_owned() };
        *self.0.entry(kind).or_default() += count;
    }
}

/// What was not taken of messages that were.
#[derive(Default)]
pub(super) struct Left {
    /// Messages that were there already.
    pub(super) twice: u64,
    /// Answers to what is not taken, or stands behind them.
    pub(super) answers: u64,
    pub(super) reactions: u64,
    /// Reactions of which it is not known whose they are.
    pub(super) unnamed: u64,
    pub(super) mentions: u64,
    pub(super) files: u64,
}

impl Told {
    /// Leaves out so much of this kind that the product itself has noted, such as arrivals.
    pub(super) fn leave_out_notes(&mut self, kind: &str, count: u64) {
        self.noted.add(kind, count);
    }

    /// Notes of which kinds something is that has no place here, if there is any.
    pub(super) fn leave_out_kinds(&mut self, kinds: &Kinds, what: &str) {
        if !kinds.0.is_empty() {
            let kinds: Vec<_> =
                kinds.0.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
            self.note(format!("left out: {what}: {}", kinds.join(", ")));
        }
    }

    /// Notes that something has no place here, if there is any.
    pub(super) fn leave_out(&mut self, count: u64, what: &str) {
        if count > 0 {
            self.note(format!("left out: {what}: {count}"));
        }
    }

    pub(super) fn note(&mut self, what: String) {
        self.notes.push(what);
    }

    /// All of it, in order.
    pub(super) fn end(mut self) -> Vec<String> {
        let noted = std::mem::take(&mut self.noted);
        self.leave_out_kinds(&noted, "what the product itself has noted");
        let Left { twice, answers, reactions, unnamed, mentions, files } = self.left;
        self.leave_out(twice, "messages that are there twice");
        self.leave_out(reactions, "reactions that are there twice, or have no place");
        self.leave_out(unnamed, "reactions of which the export does not say whose they are");
        self.leave_out(mentions, "mentions that have no place");
        self.leave_out(files, "names of files that have no place");
        if answers > 0 {
            let what = "answers to what is not taken, or comes later";
            self.note(format!("messages of their own: {what}: {answers}"));
        }
        self.notes
    }
}

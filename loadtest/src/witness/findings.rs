//! What is wrong, by what it is, with the first few of each in a sentence.

use std::collections::BTreeMap;

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Broken {
    /// There is no one order: two messages at one place, one that comes late, or members that stand
    /// in two orders.
    Order,
    /// A message stands twice.
    Twice,
    /// A member was not sent what it must have, and nothing has told it so.
    Gap,
    /// A message was acknowledged, is not kept, and nothing has told so.
    Lost,
    /// A message was acknowledged, and its room could not be read so far back.
    Unread,
    /// A message is not the same to all in the end.
    Differs,
    /// Somebody is listed as present who is not there.
    Ghost,
    /// Somebody is there, and is not listed as present.
    Absent,
}

/// How many of a kind are told in a sentence.
const EXAMPLES_MAX: usize = 3;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// How often each promise was broken, and the first few.
    pub(crate) broken: BTreeMap<Broken, (u64, Vec<String>)>,
    /// How often a member was told that it may have missed something.
    pub(crate) told: u64,
    /// Acknowledged messages and changes that are lost, which the end of their epoch has told.
    pub(crate) told_lost: u64,
}

impl Findings {
    /// A promise was broken so many times.
    pub(super) fn add(&mut self, broken: Broken, times: u64, why: impl FnOnce() -> String) {
        if times == 0 {
            return;
        }
        let (count, examples) = self.broken.entry(broken).or_default();
        // An offset is the server's word, and may be far from any other.
        *count = count.saturating_add(times);
        if examples.len() < EXAMPLES_MAX {
            examples.push(why());
        }
    }
}

//! What a home has missed: from how far it was told, to what is there now.
//!
//! Only final states are there. So of a message that has changed both are told, that it was said
//! and what it is by now; and of several changes of a message the last one, with a gap before it in
//! the numbers, which clients see and come back for.
//!
//! Deliberately absent: what was pushed meanwhile.

use std::collections::BTreeSet;

use crate::link::engine::Told;
use crate::link::kept::read_whole;
use crate::link::log::Marks;
use crate::link::record::Field;
use crate::side::engine::command::{Done, Head, Place, State};
use crate::side::engine::record::{sealed, unsealed};

/// What a home has missed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missed<'a> {
    /// How far it is told with that.
    pub(super) head: &'a Head,
    /// Up to where what it has is still true, if the room has turned.
    pub(super) turned: Option<Marks>,
    /// Messages, then changes, then what was decided; each in its order.
    pub(super) entries: Vec<Done>,
    /// Up to where messages have been let go of.
    pub(super) let_go: Option<Marks>,
}

/// What a home has missed that was told up to `known`. `None`, if that does not lead on from there:
/// messages are gone that it has not, a decision that it was told of is lost, the room has turned more
/// than once, or this version cannot read what is there.
pub(super) fn missed<'a>(known: &Head, state: &'a State) -> Option<Missed<'a>> {
    let head = state.head.as_ref()?;
    let turned = if head.epoch == known.epoch {
        None
    } else {
        let ended = head.lineage.first().filter(|ended| ended.epoch == known.epoch)?;
        // What was decided and lost cannot be taken back.
        (known.rev <= ended.rev).then_some(ended.kept)?.into()
    };
    let base = turned.map_or(known.top, |kept| known.top.min(kept));
    // Below what it was told in the same epoch it cannot be: then something is very wrong.
    if !base.is_within(head.top) || head.floor > base.change && head.top.change > base.change {
        return None;
    }
    let mut entries = Vec::new();
    let messages = state.messages.iter().filter(|of| of.offset > base.offset);
    let changed = state.changed.iter().filter(|of| of.offset > base.offset);
    let messages = messages.map(|of| (of.offset, of.record.clone()));
    let mut messages: Vec<_> = messages.collect();
    for of in changed {
        messages.push((of.offset, as_said(&of.record)?));
    }
    messages.sort_unstable_by_key(|(offset, _)| *offset);
    for ((offset, record), expected) in messages.into_iter().zip(base.offset + 1..) {
        if offset != expected {
            return None;
        }
        entries.push(done(Place::Message(offset), record));
    }
    if base.offset + entries.len() as u64 != head.top.offset {
        return None;
    }
    let mut changed: Vec<_> = state.changed.iter().filter(|of| of.change > base.change).collect();
    changed.sort_unstable_by_key(|of| of.change);
    for of in changed {
        let (change, offset, is_deleted) = (of.change, of.offset, of.is_deleted);
        let place = Place::Change { change, offset, is_deleted };
        entries.push(done(place, of.record.clone()));
    }
    if head.rev > known.rev {
        // All of it: which of it is new is not known.
        let facts = state.facts.iter();
        entries.extend(facts.map(|(_, record)| done(Place::Decision(head.rev), record.clone())));
    }
    let first =
        state.messages.iter().map(|of| of.offset).chain(state.changed.iter().map(|of| of.offset));
    let first = first.collect::<BTreeSet<_>>().first().copied();
    let let_go = first
        .filter(|first| *first > 1)
        .map(|first| Marks { offset: first - 1, change: head.floor });
    Some(Missed { head, turned, entries, let_go })
}

fn done(place: Place, record: Vec<u8>) -> Done {
    Done { place, record, line: (0, Vec::new()) }
}

/// A message that has changed, as if it had been said so.
fn as_said(record: &[u8]) -> Option<Vec<u8>> {
    let (origin, inside) = unsealed(record)?;
    let Told::Changed { said, .. } = read_whole(inside) else { return None };
    let mut message = Vec::new();
    Told::Message { said }.put(&mut message);
    Some(sealed(origin, &message))
}

//! What a home has missed: from how far it was told, to what is there now.
//!
//! Only final states are there. So of a message that has changed both are told, that it was said
//! and what it is by now; and of several changes of a message the last one, with a gap before it in
//! the numbers, which clients see and come back for.
//!
//! Deliberately absent: what was pushed meanwhile.

use crate::link::engine::Told;
use crate::link::log::Marks;
use crate::side::engine::command::{Changed, Done, Ended, Head, Place, State};
use crate::side::engine::written::{Writer, read_changed, warned};

/// What a home has missed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missed<'a> {
    /// How far it is told with that.
    pub(super) head: &'a Head,
    /// Up to where what it has is still true, if the room has turned.
    pub(super) turned: Option<Marks>,
    /// Messages, then changes; each in its order, and with when it was accepted.
    pub(super) entries: Vec<(Done, u64)>,
    /// Up to where messages have been let go of.
    pub(super) let_go: Option<Marks>,
}

/// What a home has missed that was told up to `known`. `None`, if that does not lead on from there:
/// messages are gone that it has not, something was decided or noted, or that is lost, the room has
/// turned more than once, or this version cannot read what is there. Of what was decided only what
/// follows from it is there, and not who was put out.
pub(super) fn missed<'a>(
    writer: Writer<'_>,
    known: &Head,
    state: &'a State,
    has_archive: bool,
) -> Option<Missed<'a>> {
    let head = state.head.as_ref()?;
    let (turned, base) = leads_on(known, head)?;
    let messages = state.messages.iter().filter(|of| of.offset > base.offset);
    let mut messages: Vec<_> =
        messages.map(|of| (of.offset, (of.record.clone(), of.at_ms))).collect();
    for of in state.changed.iter().filter(|of| of.offset > base.offset) {
        messages.push((of.offset, as_said(writer, of)?));
    }
    messages.sort_unstable_by_key(|(offset, _)| *offset);
    let mut changed: Vec<_> = state.changed.iter().filter(|of| of.change > base.change).collect();
    changed.sort_unstable_by_key(|of| of.change);
    let mut entries = Vec::new();
    for ((offset, (record, at_ms)), expected) in messages.into_iter().zip(base.offset + 1..) {
        if offset != expected {
            return None;
        }
        entries.push((done(Place::Message(offset), record), at_ms));
    }
    if base.offset + entries.len() as u64 != head.top.offset {
        return None;
    }
    for of in changed {
        let (change, offset, is_deleted) = (of.change, of.offset, of.is_deleted);
        let place = Place::Change { change, offset, is_deleted };
        entries.push((done(place, of.record.clone()), head.at_ms));
    }
    let offsets = state.messages.iter().map(|of| of.offset);
    let first = offsets.chain(state.changed.iter().map(|of| of.offset)).min();
    let let_go = first
        .filter(|first| *first > 1)
        .map(|first| Marks { offset: first - 1, change: head.floor });
    // What the engine lets go of is in the archive.
    let archived = state.archived.filter(|of| has_archive && head.knows(of.epoch));
    let let_go = archived.map_or(let_go, |of| Some(of.floor));
    let gone = Some(head.gone).filter(|gone| *gone != known.gone);
    let let_go = let_go.map(|floor| floor.max(head.gone)).or(gone);
    Some(Missed { head, turned, entries, let_go })
}

/// Whether nothing was said in a room since its home was told up to `known`.
pub(super) fn has_missed_nothing(known: &Head, head: &Head) -> bool {
    leads_on(known, head).is_some_and(|(_, base)| base == head.top)
}

/// Up to where what a home has is still true, if the room has turned, and from where it is told
/// what it has missed. `None`, if where the room stands does not lead on from there.
fn leads_on(known: &Head, head: &Head) -> Option<(Option<Marks>, Marks)> {
    let turned = if head.epoch == known.epoch {
        None
    } else {
        let is_known = |ended: &&Ended| {
            (ended.epoch, ended.rev, ended.audited) == (known.epoch, known.rev, known.audited)
        };
        Some(head.lineage.first().filter(is_known)?.kept)
    };
    let base = turned.map_or(known.top, |kept| known.top.min(kept));
    let is_decided = (head.rev, head.audited) != (known.rev, known.audited);
    let is_forgotten = head.floor > base.change && head.top.change > base.change;
    let does = !is_decided && !is_forgotten && base.is_within(head.top);
    does.then_some((turned, base))
}

fn done(place: Place, record: Vec<u8>) -> Done {
    Done { place, record, line: (0, Vec::new()) }
}

/// A message that has changed, as if it had been said so, and when it was.
fn as_said(writer: Writer<'_>, of: &Changed) -> Option<(Vec<u8>, u64)> {
    let changed = warned(read_changed(writer.topic, of.offset, &of.record))?;
    Some((writer.told(None, &Told::Message { said: changed.said }), changed.said_ms))
}

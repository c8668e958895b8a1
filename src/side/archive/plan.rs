//! What is to be written of a room, by where it stands in the engine and in the archive.
//!
//! ```text
//!   the engine:   epoch, top, epochs before ──┐
//!                                             ├── Begin ── messages behind that, and all changes ── Plan
//!   the archive:  epoch, last ────────────────┘
//! ```
//!
//! | the archive's epoch is | then |
//! |---|---|
//! | the engine's | it is gone on with behind the last message and change |
//! | one before that | what came after it had ended was of another history: it is taken back first |
//! | one behind that | the engine is one that others have left: nothing is written |
//! | unknown to the engine | numbers begin anew: the room is written as another one |
//!
//! What cannot be read is a row without a record, so that nothing older is shown in its place.
//!
//! Deliberately absent: how it is written.

use crate::base::words::words;
use crate::link::log::Marks;
use crate::link::said::{Fate, Said};
use crate::side::engine::command::Head;
use crate::side::engine::redis::{Entry, Part};
use crate::side::engine::written::{ChangedTold, Writer, read_changed, read_message, warned};
use crate::wire::json;

/// The longest word that is told from others, in bytes.
const WORD_BYTES_MAX: usize = 256;

/// How many bytes of words of a message can be found, with the name of their room before each. The
/// database has a bound of a megabyte.
const WORDS_BYTES_MAX: usize = 512 * 1_024;

/// The longest name of a room before a word, in bytes.
const ROOM_BYTES_MAX: usize = 20;

/// Where a room stands in the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) id: i64,
    pub(super) epoch: u64,
    /// All epochs that it was in since it was written first.
    pub(super) eras: Vec<u64>,
    /// All up to there is in it,
    pub(super) last: Marks,
    /// but for what is up to there.
    pub(super) floor: Marks,
}

/// From where on a room is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// Behind this.
    On(Marks),
    /// Behind this, up to where what is there is still true.
    Turned(Marks),
    /// From the beginning, as a room that was never written.
    New,
    /// Not at all: the archive has gone on from the epoch in which the engine has the room.
    Stale,
}

impl Begin {
    pub(super) fn of(place: Option<&Place>, head: &Head) -> Self {
        let Some(place) = place else { return Self::New };
        if place.epoch == head.epoch {
            return Self::On(place.last);
        }
        let mut kept = place.last;
        for ended in &head.lineage {
            kept = kept.min(ended.kept);
            if ended.epoch == place.epoch {
                return Self::Turned(kept);
            }
        }
        if place.eras.contains(&head.epoch) { Self::Stale } else { Self::New }
    }

    /// Behind which message and which change.
    pub(super) fn behind(self) -> Marks {
        match self {
            Self::On(behind) | Self::Turned(behind) => behind,
            Self::New | Self::Stale => Marks::default(),
        }
    }
}

/// A message as it is to be written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) offset: u64,
    pub(super) change: u64,
    pub(super) is_deleted: bool,
    pub(super) is_pinned: bool,
    pub(super) thread: Option<u64>,
    pub(super) author: Option<Box<str>>,
    /// `None`, if it could not be read.
    pub(super) record: Option<Vec<u8>>,
    /// What that was.
    pub(super) unread: Option<Vec<u8>>,
    /// Each once.
    pub(super) words: Vec<String>,
}

/// What is to be written of a room.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) topic: Box<str>,
    /// Where it was in the archive.
    pub(super) place: Option<Place>,
    pub(super) begin: Begin,
    /// The epoch in which it is.
    pub(super) epoch: u64,
    /// Epochs that began since, each with the first message and the first change in it.
    pub(super) eras: Vec<(u64, Marks)>,
    pub(super) rows: Vec<Row>,
    /// Where it is in the archive with these.
    pub(super) upto: Marks,
    pub(super) floor: Marks,
    /// Up to which offset the room has let go of messages: nothing of them is to be left.
    pub(super) gone: u64,
    /// How many messages are missing.
    pub(super) gap: u64,
    /// Whether there is more.
    pub(super) is_cut: bool,
}

impl Plan {
    /// Of what was read of a room behind [`Begin::behind`].
    pub(super) fn of(topic: &str, place: Option<Place>, part: &Part, node: u64) -> Self {
        let Part { head, entries, upto } = part;
        let begin = Begin::of(place.as_ref(), head);
        let (behind, last) = (begin.behind(), upto.unwrap_or(head.top.offset));
        let is_cut = last < head.top.offset;
        let has_changes = entries.values().any(|of| matches!(of, Entry::Changed { .. }));
        // What the engine has forgotten of changes, and the archive does not have.
        let forgotten = if has_changes { head.floor } else { head.top.change };
        let forgotten = Some(forgotten).filter(|of| *of > behind.change).unwrap_or_default();
        let floor = match place.as_ref().filter(|_| begin != Begin::New) {
            Some(Place { floor, .. }) => Marks { change: floor.change.max(forgotten), ..*floor },
            None => Marks { offset: before_first(part), change: forgotten },
        };
        let floor = floor.max(head.gone);
        let first = behind.offset.max(floor.offset) + 1;
        let is_new = |offset: u64| (first..=last).contains(&offset);
        let is_wanted = |(offset, of): &(&u64, &Entry)| {
            is_new(**offset)
                || **offset <= behind.offset
                    && match of {
                        Entry::Changed { change, .. } => {
                            *change > behind.change || matches!(begin, Begin::Turned(_))
                        }
                        Entry::Said { .. } | Entry::Foreign => true,
                    }
        };
        let writer = Writer { topic, node, shard: 0 };
        let wanted = entries.iter().filter(is_wanted);
        let rows: Vec<_> = wanted.map(|(offset, of)| row(writer, head, *offset, of)).collect();
        let there = rows.iter().filter(|row| is_new(row.offset)).count() as u64;
        Self {
            topic: topic.into(),
            begin,
            epoch: head.epoch,
            eras: eras(place.as_ref(), begin, head),
            place,
            gap: (last + 1).saturating_sub(first) - there,
            upto: Marks {
                offset: last,
                change: if is_cut { behind.change } else { head.top.change },
            },
            rows,
            floor,
            gone: head.gone.offset,
            is_cut,
        }
    }

    /// What it takes in memory, in bytes, about.
    pub(super) fn bytes(&self) -> usize {
        let record = |row: &Row| row.record.as_ref().or(row.unread.as_ref()).map_or(0, Vec::len);
        // With its words.
        self.rows.iter().map(|row| size_of::<Row>() + 2 * record(row)).sum()
    }

    /// How many of its messages cannot be read.
    pub(super) fn unreadable(&self) -> u64 {
        self.rows.iter().filter(|row| row.record.is_none()).count() as u64
    }
}

/// The last offset before those that the engine has of a room without a hole.
fn before_first(Part { head, entries, .. }: &Part) -> u64 {
    let is_said = |of: &&Entry| !matches!(of, Entry::Changed { .. });
    let said = entries.iter().find(|(_, of)| is_said(of)).map(|(offset, _)| *offset);
    let mut first = said.unwrap_or(head.top.offset + 1);
    while entries.contains_key(&(first - 1)) {
        first -= 1;
    }
    first - 1
}

/// The epochs that a room has come to since it was written last.
fn eras(place: Option<&Place>, begin: Begin, head: &Head) -> Vec<(u64, Marks)> {
    let behind = |kept: Marks| Marks { offset: kept.offset + 1, change: kept.change + 1 };
    match begin {
        Begin::On(_) | Begin::Stale => Vec::new(),
        Begin::New => vec![(head.epoch, Marks { offset: 1, change: 1 })],
        Begin::Turned(_) => {
            let since =
                head.lineage.iter().position(|of| Some(of.epoch) == place.map(|of| of.epoch));
            let since = &head.lineage[..=since.unwrap_or_default()];
            let epochs = [head.epoch].into_iter().chain(since.iter().map(|of| of.epoch));
            epochs.zip(since).map(|(epoch, before)| (epoch, behind(before.kept))).collect()
        }
    }
}

/// The epoch in which a message was said, as far as its room remembers.
fn epoch_of(head: &Head, offset: u64) -> u64 {
    let is_in = |kept: Marks| offset <= kept.offset;
    let last = head.lineage.iter().take_while(|ended| is_in(ended.kept)).last();
    last.map_or(head.epoch, |ended| ended.epoch)
}

fn row(writer: Writer<'_>, head: &Head, offset: u64, entry: &Entry) -> Row {
    let topic = writer.topic;
    let (read, change, is_deleted, unread) = match entry {
        Entry::Said { at_ms, epoch, record } => {
            let read = warned(read_message(topic, record));
            let fate = Fate { epoch: Some(*epoch), ..Fate::default() };
            (read.map(|(_, said)| (*at_ms, said, fate)), 0, false, record)
        }
        Entry::Changed { change, is_deleted, record } => {
            let read = warned(read_changed(topic, offset, record));
            let read = read.map(|ChangedTold { said_ms, said, fate, .. }| {
                let epoch = Some(fate.epoch.unwrap_or_else(|| epoch_of(head, offset)));
                (said_ms, said, Fate { change: *change, epoch, ..fate })
            });
            (read, *change, *is_deleted, record)
        }
        Entry::Foreign => {
            tracing::warn!(topic, offset, "a message in the engine is not what a server writes");
            return Row { offset, ..Row::default() };
        }
    };
    let Some((said_ms, said, fate)) = read else {
        return Row { offset, change, is_deleted, unread: Some(unread.clone()), ..Row::default() };
    };
    Row {
        offset,
        change,
        is_deleted: is_deleted || fate.deleted.is_some(),
        is_pinned: fate.pinned.is_some(),
        thread: said.thread,
        author: Some(said.user.into()),
        record: Some(writer.archived(offset, said_ms, said, fate)),
        unread: None,
        words: words_of(said),
    }
}

fn words_of(said: Said<'_>) -> Vec<String> {
    let body = json::string(said.body).unwrap_or_default();
    let mut bytes = 0;
    let mut found: Vec<String> = words(&body)
        .map(|word| cut(&word).to_owned())
        .take_while(|word| {
            bytes += ROOM_BYTES_MAX + word.len();
            bytes <= WORDS_BYTES_MAX
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The beginning of a word.
pub(super) fn cut(word: &str) -> &str {
    &word[..word.floor_char_boundary(WORD_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::link::engine::Told;
    use crate::link::said::Act;
    use crate::side::engine::command::Ended;

    const TOPIC: &str = "room:tea";
    const WRITER: Writer<'_> = Writer { topic: TOPIC, node: 7, shard: 3 };

    fn marks(offset: u64, change: u64) -> Marks {
        Marks { offset, change }
    }

    fn head(epoch: u64, top: Marks, lineage: &[(u64, Marks)]) -> Head {
        let ended =
            |(epoch, kept): &(u64, Marks)| Ended { epoch: *epoch, kept: *kept, rev: 0, audited: 0 };
        Head { epoch, top, lineage: lineage.iter().map(ended).collect(), ..Head::default() }
    }

    fn place(epoch: u64, last: Marks) -> Place {
        Place { id: 1, epoch, eras: vec![epoch, 7], last, floor: Marks::default() }
    }

    fn said(epoch: u64) -> Entry {
        let said = Said { user: "ann", name: "Ann", body: "\"Tea, tea\"", ..Said::default() };
        Entry::Said { at_ms: 5, epoch, record: WRITER.told(None, &Told::Message { said }) }
    }

    fn changed(offset: u64, change: u64, is_deleted: bool) -> Entry {
        let body = if is_deleted { "\"\"" } else { "\"pot\"" };
        let said = Said { user: "ann", name: "Ann", body, ..Said::default() };
        let deleted = is_deleted.then_some(Act { at_ms: 9, by: None });
        let fate = Fate { deleted, ..Fate::default() };
        let told = Told::Changed { offset, said_ms: 5, said, fate };
        Entry::Changed { change, is_deleted, record: WRITER.told(None, &told) }
    }

    fn part(head: Head, entries: impl IntoIterator<Item = (u64, Entry)>) -> Part {
        Part { head, entries: entries.into_iter().collect::<BTreeMap<_, _>>(), upto: None }
    }

    fn offsets(plan: &Plan) -> Vec<(u64, u64)> {
        plan.rows.iter().map(|row| (row.offset, row.change)).collect()
    }

    #[test]
    fn a_room_is_gone_on_with_or_taken_back_or_begun_by_its_epochs() {
        let turned = head(3, marks(9, 9), &[(2, marks(7, 5)), (1, marks(4, 6))]);
        let begins = |place: Option<Place>| Begin::of(place.as_ref(), &turned);
        assert_eq!(begins(None), Begin::New);
        assert_eq!(begins(Some(place(3, marks(8, 2)))), Begin::On(marks(8, 2)));
        assert_eq!(begins(Some(place(2, marks(8, 2)))), Begin::Turned(marks(7, 2)));
        assert_eq!(begins(Some(place(1, marks(9, 9)))), Begin::Turned(marks(4, 5)));
        assert_eq!(begins(Some(place(4, marks(9, 9)))), Begin::New);
        let left = head(7, marks(9, 9), &[(6, marks(7, 5))]);
        assert_eq!(Begin::of(Some(&place(1, marks(9, 9))), &left), Begin::Stale);
    }

    #[test]
    fn what_is_new_is_written_and_what_has_changed_since() {
        let entries = [
            (1, changed(1, 1, false)),
            (2, changed(2, 4, true)),
            (3, said(1)),
            (4, said(1)),
            (5, changed(5, 2, false)),
        ];
        let at = part(head(1, marks(5, 4), &[]), entries);
        let plan = Plan::of(TOPIC, Some(place(1, marks(3, 1))), &at, 7);
        // The third one was read though it was not asked for.
        assert_eq!(offsets(&plan), [(2, 4), (3, 0), (4, 0), (5, 2)]);
        assert_eq!((plan.upto, plan.floor, plan.gap), (marks(5, 4), marks(0, 0), 0));
        assert_eq!((plan.rows[0].is_deleted, &*plan.rows[0].words), (true, &[][..]));
        assert_eq!(plan.rows[2].words, ["tea"]);
        assert!(!plan.is_cut && plan.eras.is_empty());
    }

    #[test]
    fn a_room_that_is_new_begins_where_the_engine_has_all_of_it() {
        let entries = [(2, changed(2, 4, true)), (5, changed(5, 6, false)), (6, said(1))];
        let at = part(Head { floor: 5, ..head(1, marks(6, 6), &[]) }, entries);
        let plan = Plan::of(TOPIC, None, &at, 7);
        assert_eq!((offsets(&plan), plan.floor), (vec![(5, 6), (6, 0)], marks(4, 5)));
        assert_eq!(plan.eras, [(1, marks(1, 1))]);
    }

    #[test]
    fn a_gap_is_counted_and_what_was_forgotten_is_noted() {
        let at = part(head(1, marks(9, 3), &[]), [(8, said(1)), (9, said(1))]);
        let plan = Plan::of(TOPIC, Some(place(1, marks(5, 1))), &at, 7);
        assert_eq!((plan.gap, plan.floor), (2, marks(0, 3)), "changes have expired");
        let at = part(head(1, marks(9, 1), &[]), [(6, said(1))]);
        let cut = Plan::of(TOPIC, Some(place(1, marks(5, 1))), &Part { upto: Some(6), ..at }, 7);
        assert_eq!((cut.gap, cut.upto, cut.is_cut), (0, marks(6, 1), true));
    }

    #[test]
    fn a_turn_writes_all_that_has_changed_and_names_its_epochs() {
        let turned = head(3, marks(6, 2), &[(2, marks(5, 2)), (1, marks(3, 1))]);
        let entries = [(1, changed(1, 1, false)), (2, said(1)), (4, said(2)), (6, said(3))];
        let at = part(turned, entries);
        let plan = Plan::of(TOPIC, Some(place(1, marks(4, 3))), &at, 7);
        assert_eq!(plan.begin, Begin::Turned(marks(3, 1)));
        assert_eq!(offsets(&plan), [(1, 1), (2, 0), (4, 0), (6, 0)]);
        assert_eq!(plan.eras, [(3, marks(6, 3)), (2, marks(4, 2))]);
        assert_eq!(plan.gap, 1, "the fifth one is nowhere");
        assert_eq!([1, 4, 6].map(|offset| epoch_of(&at.head, offset)), [1, 2, 3]);
    }

    #[test]
    fn what_cannot_be_read_is_a_row_without_a_record_whatever_it_was() {
        let entries = [
            (1, Entry::Changed { change: 3, is_deleted: true, record: b"?".to_vec() }),
            (2, Entry::Said { at_ms: 5, epoch: 1, record: b"?".to_vec() }),
            (3, Entry::Foreign),
            (4, said(1)),
        ];
        let at = part(head(1, marks(4, 3), &[]), entries);
        let plan = Plan::of(TOPIC, Some(place(1, marks(1, 0))), &at, 7);
        let read: Vec<_> = plan.rows.iter().map(|row| (row.offset, row.record.is_some())).collect();
        assert_eq!(read, [(1, false), (2, false), (3, false), (4, true)]);
        assert_eq!((plan.unreadable(), plan.rows[0].change, plan.gap), (3, 3, 0));
    }
}

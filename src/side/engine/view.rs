//! What there is of a room in the engine, as its home is told: the room when it is opened, and
//! pages of its messages.
//!
//! Deliberately absent: when it is read (`follower`).

use std::collections::{BTreeMap, BTreeSet};

use super::command::{Archived, Changed, Head, Message, State};
use super::older;
use super::written::{
    ChangedTold, Fact, FactTold, Unreadable, read_archived, read_changed, read_fact, read_message,
    warned,
};
use crate::auth::level::Standing;
use crate::link::facts::{RoomKeep, RoomSettings};
use crate::link::field::Field;
use crate::link::kept::{Found, Run, push_numbered};
use crate::link::log::{Marks, Part, View, Wanted};
use crate::link::said::{Fate, Replies, Said};

/// How much of a room's end is told when it is opened.
#[derive(Clone, Copy, Debug)]
pub struct TailBounds {
    /// So many messages.
    pub messages: u32,
    /// So many bytes, about.
    pub bytes: usize,
}

/// What the numbers of a message take, in bytes, about.
const NUMBERS_BYTES: u64 = 32;

/// A message as it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stands<'a> {
    pub(super) at_ms: u64,
    pub(super) said: Said<'a>,
    pub(super) fate: Fate<'a>,
}

impl Stands<'_> {
    /// What it counts for where a room keeps so many bytes: its texts and who has reacted, and
    /// about what its numbers take.
    pub(super) fn size(&self) -> u64 {
        let Said { user, name, key, .. } = self.said;
        let reacted = self.fate.reacted.map_or(0, str::len);
        let texts = user.len() + name.len() + key.map_or(0, str::len) + self.bytes() + reacted;
        texts as u64 + NUMBERS_BYTES
    }

    /// What members are told of it, in bytes, about.
    fn bytes(&self) -> usize {
        let Said { body, mentions, data, .. } = self.said;
        body.len() + [mentions, data].iter().flatten().map(|text| text.len()).sum::<usize>()
    }
}

/// The messages of a room, as they stand.
pub(super) struct Messages<'a> {
    /// By offset. Those that this version cannot read are left out.
    by_offset: BTreeMap<u64, Stands<'a>>,
    /// Messages that have become what this version cannot read: what they were is not told.
    hidden: BTreeSet<u64>,
    /// Whether what the archive has is among them.
    has_archive: bool,
    /// How often those were answered that are the first of a thread.
    replies: BTreeMap<u64, Replies>,
    /// The first of those that are left out.
    unreadable: Option<Unreadable<'a>>,
}

impl<'a> Messages<'a> {
    /// What the engine has of a room.
    pub(super) fn of(topic: &'a str, state: &'a State) -> Self {
        let mut all = Self::read(topic, state);
        all.count_replies(0);
        all
    }

    fn read(topic: &'a str, state: &'a State) -> Self {
        let head = state.head.as_ref();
        // Its home knows the epochs that the room remembers.
        let is_known = |epoch: u64| head.is_none_or(|head| head.knows(epoch));
        let said = state.messages.iter().map(|of| {
            let mut stands = message(topic, of)?;
            stands.fate.epoch = Some(of.epoch).filter(|epoch| !is_known(*epoch));
            Ok((of.offset, stands))
        });
        let mut hidden = BTreeSet::new();
        let changed = state.changed.iter().map(|of| {
            let changed = changed(topic, of);
            hidden.extend(changed.is_err().then_some(of.offset));
            Ok((of.offset, changed?))
        });
        let mut unreadable = None;
        let read = said.chain(changed).filter_map(|read| {
            read.map_err(|of| {
                unreadable.get_or_insert(of);
            })
            .ok()
        });
        let mut by_offset: BTreeMap<_, _> = read.collect();
        let gone = gone_of(state);
        by_offset.retain(|offset, _| !hidden.contains(offset) && *offset > gone);
        Self { by_offset, hidden, has_archive: false, replies: BTreeMap::new(), unreadable }
    }

    /// Counts the answers behind an offset.
    fn count_replies(&mut self, behind: u64) {
        for (offset, of) in self.by_offset.range(behind + 1..) {
            if let Some(root) = of.said.thread {
                let of = self.replies.entry(root).or_insert(Replies { count: 0, last: 0 });
                (of.count, of.last) = (of.count + 1, of.last.max(*offset));
            }
        }
    }

    /// What the engine and an archive have of a room: of each message the later change.
    pub(super) fn with_archive(topic: &'a str, state: &'a State, found: &'a older::Found) -> Self {
        let mut all = Self::read(topic, state);
        all.has_archive = true;
        let head = state.head.as_ref();
        let gone = gone_of(state);
        for older::Row { offset, change, record } in
            found.rows.iter().filter(|row| row.offset > gone)
        {
            let newer = all.by_offset.get(offset).filter(|of| of.fate.change >= *change);
            if newer.is_some() || all.hidden.contains(offset) {
                continue;
            }
            let read = record.as_ref().map(|record| read_archived(topic, *offset, record));
            let Some(Some(ChangedTold { said_ms, said, fate, .. })) = read.map(warned) else {
                all.by_offset.remove(offset);
                continue;
            };
            let epoch = fate.epoch.filter(|epoch| head.is_none_or(|head| !head.knows(*epoch)));
            let fate = Fate { change: *change, epoch, ..fate };
            all.by_offset.insert(*offset, Stands { at_ms: said_ms, said, fate });
        }
        // Those that were counted there are not all among them.
        all.replies = found.replies.iter().copied().collect();
        all.count_replies(found.upto.offset);
        all
    }

    /// All of them, the newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = (u64, Stands<'a>)> + '_ {
        self.by_offset.iter().rev().map(|(offset, of)| (*offset, *of))
    }

    pub(super) fn get(&self, offset: u64) -> Option<Stands<'a>> {
        self.by_offset.get(&offset).copied()
    }

    /// A message as a page has it: with how often it was answered.
    pub(super) fn told(&self, offset: u64) -> Option<Stands<'a>> {
        let mut stands = self.get(offset)?;
        stands.fate.replies = self.replies.get(&offset).copied();
        Some(stands)
    }

    /// The first message of those that end with `last` and have no hole; the one behind it, if that
    /// is not there.
    pub(super) fn first_before(&self, last: u64) -> u64 {
        let behind = self.by_offset.range(..=last).rev().zip(0..);
        let unbroken = behind.take_while(|((offset, _), back)| **offset + back == last);
        last + 1 - unbroken.count() as u64
    }

    /// What is wanted of them.
    pub(super) fn page(&self, wanted: Wanted) -> Page {
        if wanted.view == View::Room { self.stretch(wanted) } else { self.picked(wanted) }
    }

    /// Whether a page has all of what is wanted that there is, wherever, and knows whether there is
    /// more: it ends where there is more here, or nothing before that is wanted.
    pub(super) fn has_all(&self, wanted: Wanted, page: &Page) -> bool {
        let Wanted { after, upto, part, changed, view, .. } = wanted;
        let first = self.first_before(self.last());
        let is_enough = match part {
            Part::Newest | Part::Around(_) if page.count > 0 && page.first > first => true,
            _ => after + 1 >= first,
        };
        (view, changed) == (View::Room, None) && upto <= self.last() && is_enough
    }

    /// What there is without a hole of what is wanted, from where that is wanted on: behind the
    /// first of these, up to the second.
    fn unbroken(&self, wanted: Wanted) -> (u64, u64) {
        let Wanted { after, upto, part, .. } = wanted;
        if !self.has_archive {
            // From the newest on.
            let upto = upto.min(self.last());
            let floor = self.first_before(upto) - 1;
            return (after.max(floor).min(upto), upto);
        }
        let range = after.min(upto) + 1..=upto;
        let up_from = |first: u64| {
            let behind = self.by_offset.range(first..=upto).zip(first..);
            first - 1 + behind.take_while(|((offset, _), at)| **offset == *at).count() as u64
        };
        let mut there = self.by_offset.range(range).map(|(offset, _)| *offset);
        let begins = |offset| after.max(self.first_before(offset) - 1);
        let found = match part {
            _ if after >= upto => None,
            Part::Newest => there.next_back().map(|last| (begins(last), last)),
            Part::Oldest | Part::All => there.next().map(|first| (first - 1, up_from(first))),
            Part::Around(offset) => self.get(offset).map(|_| (begins(offset), up_from(offset))),
        };
        found.unwrap_or((after, after))
    }

    fn stretch(&self, wanted: Wanted) -> Page {
        let Wanted { part, messages, bytes, changed, .. } = wanted;
        let (after, upto) = self.unbroken(wanted);
        let (mut begin, mut end) = (after, upto);
        let count = u64::from(messages);
        match part {
            Part::Newest => begin = begin.max(end.saturating_sub(count)),
            Part::Oldest | Part::All => end = end.min(begin.saturating_add(count)),
            Part::Around(offset) if offset > begin && offset <= end => {
                (begin, end) = around(offset, (begin, end), count);
            }
            Part::Around(_) => end = begin,
        }
        let size = |offset| self.get(offset).map_or(0, |of| of.bytes());
        let mut length: usize = (begin + 1..=end).map(size).sum();
        while end > begin + 1 && length > bytes {
            let leaves_out_first = match part {
                Part::Newest => true,
                Part::Oldest | Part::All => false,
                Part::Around(offset) => offset - begin > end - offset,
            };
            let left_out = if leaves_out_first { begin + 1 } else { end };
            length -= size(left_out);
            if leaves_out_first { begin += 1 } else { end -= 1 }
        }
        // What is behind a hole in the archive is read when somebody goes on from there.
        let (after, upto) = if self.has_archive && end > begin {
            (wanted.after, wanted.upto)
        } else {
            (after, upto)
        };
        let more = match part {
            Part::Newest if self.has_archive => begin > after,
            Part::Oldest | Part::All if self.has_archive => end < upto,
            _ => begin > after || end < upto,
        };
        let mut page = Page { first: begin + 1, more, count: 0, ..Page::default() };
        page.count = u32::try_from(end - begin).unwrap_or(u32::MAX);
        for of in (begin + 1..=end).filter_map(|offset| self.told(offset)) {
            Found::push_message(&mut page.messages, of.at_ms, of.said, of.fate);
        }
        let Some(behind) = changed else { return page };
        let mut length = 0;
        let had = self.by_offset.range(..=wanted.after);
        for (offset, _) in had.filter(|(_, of)| of.fate.change > behind) {
            let Some(of) = self.told(*offset) else { continue };
            length += of.bytes();
            if length > bytes && !page.changed.is_empty() {
                page.more = true;
                break;
            }
            push_numbered(&mut page.changed, *offset, of.at_ms, of.said, of.fate);
        }
        page
    }

    fn picked(&self, wanted: Wanted) -> Page {
        let Wanted { after, upto, part, messages, bytes, view, .. } = wanted;
        let is_in = |(offset, of): &(&u64, &Stands<'a>)| match view {
            View::Room => true,
            View::Thread(root) => **offset == root || of.said.thread == Some(root),
            View::Pins => of.fate.pinned.is_some(),
        };
        let range = (after.min(upto) + 1)..=upto;
        let mut all: Vec<_> =
            if after < upto { self.by_offset.range(range).collect() } else { Vec::new() };
        all.retain(is_in);
        let is_newest = part == Part::Newest;
        if is_newest {
            all.reverse();
        }
        let mut length = 0;
        let fits = all.iter().take(messages as usize).enumerate().take_while(|(at, (_, of))| {
            length += of.bytes();
            *at == 0 || length <= bytes
        });
        let count = fits.count();
        let mut page = Page { more: count < all.len(), ..Page::default() };
        all.truncate(count);
        if is_newest {
            all.reverse();
        }
        for of in all.into_iter().filter_map(|(offset, _)| Some((*offset, self.told(*offset)?))) {
            let (offset, Stands { at_ms, said, fate }) = of;
            push_numbered(&mut page.picked, offset, at_ms, said, fate);
        }
        page
    }

    fn last(&self) -> u64 {
        self.by_offset.last_key_value().map_or(0, |(offset, _)| *offset)
    }
}

/// Up to which offset a room has let go of messages. The archive may have some of them for a while.
fn gone_of(state: &State) -> u64 {
    state.head.as_ref().map_or(0, |head| head.gone.offset)
}

/// Of the messages behind the first of two places, up to the second: so many around one of them.
fn around(offset: u64, (begin, end): (u64, u64), count: u64) -> (u64, u64) {
    let (before, behind) = (offset - 1 - begin, end - offset);
    let others = count.saturating_sub(1);
    let half = others / 2;
    let taken_behind = behind.min((others - half).max(others.saturating_sub(before)));
    let taken_before = before.min(others - taken_behind);
    (offset - 1 - taken_before, offset + taken_behind)
}

fn message<'a>(topic: &'a str, of: &'a Message) -> Result<Stands<'a>, Unreadable<'a>> {
    let (_, said) = read_message(topic, &of.record)?;
    Ok(Stands { at_ms: of.at_ms, said, fate: Fate::default() })
}

fn changed<'a>(topic: &'a str, of: &'a Changed) -> Result<Stands<'a>, Unreadable<'a>> {
    let ChangedTold { said_ms, said, fate, .. } = read_changed(topic, of.offset, &of.record)?;
    // It was written before it had its number.
    Ok(Stands { at_ms: said_ms, said, fate: Fate { change: of.change, ..fate } })
}

/// Messages that were read.
#[derive(Default)]
pub(in crate::side) struct Page {
    first: u64,
    pub(super) more: bool,
    /// How many messages those are that are without a hole.
    count: u32,
    messages: Vec<u8>,
    changed: Vec<u8>,
    picked: Vec<u8>,
}

impl Page {
    pub(super) fn run(&self) -> Run<'_> {
        let Self { first, more, count: _, messages, changed, picked } = self;
        Run { first: *first, more: *more, messages, changed, picked }
    }
}

/// What was decided of a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Decided<'a> {
    pub(super) title: Option<&'a str>,
    pub(super) settings: Option<&'a str>,
    pub(super) standings: Vec<(&'a str, Standing)>,
}

impl<'a> Decided<'a> {
    /// What the room keeps by its settings.
    pub(super) fn keep(&self) -> RoomKeep {
        self.settings.map(RoomSettings::keep_in).unwrap_or_default()
    }

    /// What this version can read of it; a standing that it cannot read may be a ban, so that it is
    /// nothing then.
    pub(super) fn of(topic: &'a str, facts: &'a [Fact]) -> Result<Self, Unreadable<'a>> {
        let mut decided = Self::default();
        for (name, value) in facts {
            match read_fact(topic, name, value)? {
                FactTold::Title(title) => decided.title = Some(title),
                FactTold::Settings(settings) => decided.settings = Some(settings),
                FactTold::Standing(user, standing) => decided.standings.push((user, standing)),
            }
        }
        Ok(decided)
    }
}

/// What is there of a room that is opened.
pub(super) struct Room<'a> {
    head: &'a Head,
    decided: Decided<'a>,
    floor: Marks,
    standings: Vec<u8>,
    lineage: Vec<u8>,
    pins: Vec<u8>,
    tail: Vec<u8>,
    is_read_in_part: bool,
}

impl<'a> Room<'a> {
    /// Of what was read; `None`, if this version cannot read who may do what there. With an
    /// archive, what is before that can be read, too.
    pub(super) fn of(
        topic: &'a str,
        head: &'a Head,
        state: &'a State,
        bounds: TailBounds,
        has_archive: bool,
    ) -> Option<Self> {
        let decided = warned(Decided::of(topic, &state.facts))?;
        let messages = Messages::of(topic, state);
        // Said once, and not again with each page.
        warned(messages.unreadable.map_or(Ok(()), Err));
        let last = head.top.offset;
        let kept_from = messages.first_before(last);
        let mut first = kept_from.max((last + 1).saturating_sub(bounds.messages.max(1).into()));
        let mut length = 0;
        let fits = (first..=last).rev().take_while(|offset| {
            length += messages.get(*offset).map_or(0, |of| of.bytes());
            *offset == last || length <= bounds.bytes
        });
        first = last + 1 - fits.count() as u64;
        let (mut standings, mut lineage) = (Vec::new(), Vec::new());
        let (mut pins, mut tail) = (Vec::new(), Vec::new());
        for (user, standing) in &decided.standings {
            Found::push_standing(&mut standings, user, *standing);
        }
        for ended in &head.lineage {
            Found::push_epoch(&mut lineage, ended.epoch, ended.kept);
        }
        for (offset, of) in &messages.by_offset {
            if of.fate.pinned.is_some() {
                offset.put(&mut pins);
            }
        }
        for of in (first..=last).filter_map(|offset| messages.get(offset)) {
            Found::push_message(&mut tail, of.at_ms, of.said, of.fate);
        }
        let floor = Marks { offset: kept_from - 1, change: head.floor };
        let archived = state.archived.filter(|of| has_archive && head.knows(of.epoch));
        let floor = archived.map_or(floor, |Archived { floor: there, .. }| floor.min(there));
        let floor = floor.max(head.gone);
        let is_read_in_part = messages.unreadable.is_some();
        Some(Self { head, decided, floor, standings, lineage, pins, tail, is_read_in_part })
    }

    /// Whether there are messages in it that this version cannot read.
    pub(super) fn is_read_in_part(&self) -> bool {
        self.is_read_in_part
    }

    /// What it keeps by its settings.
    pub(super) fn keep(&self) -> RoomKeep {
        self.decided.keep()
    }

    /// Whether nothing was ever said or decided in it.
    pub(super) fn is_new(&self) -> bool {
        let Head { top, rev, audited, .. } = *self.head;
        top == Marks::default() && rev == 0 && audited == 0
    }

    /// As its home is told.
    pub(super) fn found(&self) -> Found<'_> {
        let Self { head, decided, floor, standings, lineage, pins, tail, .. } = self;
        Found {
            epoch: head.epoch,
            origin: head.lineage.last().map_or(head.epoch, |first| first.epoch),
            top: head.top,
            floor: *floor,
            founded: decided.title,
            settings: decided.settings,
            standings,
            audited: head.audited,
            lineage,
            pins,
            keys: &[],
            tail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::engine::Told;
    use crate::side::engine::written::Writer;

    const TOPIC: &str = "room:tea";
    const WRITER: Writer<'_> = Writer { topic: TOPIC, node: 7, shard: 3 };

    fn said(body: &str) -> Said<'_> {
        Said { user: "ann", name: "Ann", body, ..Said::default() }
    }

    fn unchanged(offset: u64) -> Message {
        let record = WRITER.told(None, &Told::Message { said: said("\"engine\"") });
        Message { offset, at_ms: 5, epoch: 1, record }
    }

    fn changed(offset: u64, change: u64) -> Changed {
        let (said, fate) = (said("\"engine\""), Fate::default());
        let told = Told::Changed { offset, said_ms: 5, said, fate };
        Changed { offset, change, is_deleted: false, record: WRITER.told(None, &told) }
    }

    fn row(offset: u64, change: u64) -> older::Row {
        let record = Some(WRITER.archived(offset, 5, said("\"archive\""), Fate::default()));
        older::Row { offset, change, record }
    }

    fn wanted(part: Part, (after, upto): (u64, u64), messages: u32) -> Wanted {
        let (bytes, changed, view) = (10_000, None, View::Room);
        Wanted { after, upto, part, messages, bytes, changed, view }
    }

    /// A room whose last two messages are in the engine alone, with a change of the second one and
    /// of the third one; and an archive that has all before but the fourth.
    fn room() -> (State, older::Found) {
        let state = State {
            messages: vec![unchanged(7), unchanged(8)],
            changed: vec![changed(2, 3), changed(3, 1)],
            ..State::default()
        };
        let rows = vec![row(1, 0), row(2, 1), row(3, 2), row(5, 0), row(6, 0)];
        let upto = Marks { offset: 6, change: 2 };
        (state, older::Found { rows, upto, ..older::Found::default() })
    }

    fn page(wanted: Wanted) -> (u64, Vec<String>, bool) {
        let (state, found) = room();
        let page = Messages::with_archive(TOPIC, &state, &found).page(wanted);
        let stretch = page.run().stretch();
        let bodies = stretch.messages.iter().map(|message| message.said.body.to_string());
        (stretch.first, bodies.collect(), stretch.more)
    }

    #[test]
    fn of_each_message_the_later_change_is_told_wherever_it_is() {
        let (state, found) = room();
        let messages = Messages::with_archive(TOPIC, &state, &found);
        let bodies = [1, 2, 3, 7].map(|offset| messages.get(offset).map(|of| of.said.body));
        let bodies = bodies.map(|body| body.unwrap_or_default().trim_matches('"'));
        assert_eq!(bodies, ["archive", "engine", "archive", "engine"]);
        let changes = [1, 2, 3].map(|offset| messages.get(offset).map(|of| of.fate.change));
        assert_eq!(changes, [Some(0), Some(3), Some(2)]);
    }

    #[test]
    fn a_page_ends_at_a_hole_and_the_next_one_goes_on_behind_it() {
        let (first, bodies, more) = page(wanted(Part::Newest, (0, 8), 9));
        assert_eq!((first, bodies.len(), more), (5, 4, true));
        let (first, bodies, more) = page(wanted(Part::Newest, (0, 4), 9));
        assert_eq!((first, bodies.len(), more), (1, 3, false));
        let (first, bodies, more) = page(wanted(Part::Newest, (0, 3), 2));
        assert_eq!((first, bodies.len(), more), (2, 2, true));
        let (first, bodies, more) = page(wanted(Part::All, (1, 8), 9));
        assert_eq!((first, bodies.len(), more), (2, 2, true), "it is not whole");
        let (first, bodies, more) = page(wanted(Part::Oldest, (3, 8), 2));
        assert_eq!((first, bodies.len(), more), (5, 2, true));
        let (first, bodies, _) = page(wanted(Part::Around(6), (0, 8), 3));
        assert_eq!((first, bodies.len()), (5, 3));
        assert!(page(wanted(Part::Around(4), (0, 8), 3)).1.is_empty());
    }

    #[test]
    fn nothing_older_is_told_of_what_has_become_something_that_cannot_be_read() {
        let (mut state, mut found) = room();
        state.changed[0].record = b"?".to_vec();
        // The archive has known of it since the engine was read.
        found.rows[3] = older::Row { offset: 7, change: 4, record: None };
        let messages = Messages::with_archive(TOPIC, &state, &found);
        let there = [1, 2, 3, 7, 8].map(|offset| messages.get(offset).is_some());
        assert_eq!(there, [true, false, true, false, true]);
        let alone = Messages::of(TOPIC, &state);
        assert!(alone.get(2).is_none() && alone.get(7).is_some());
    }
}

//! One room that is followed: how far its home has been told, what is to be appended, and what has
//! been pushed before it was read.
//!
//! Deliberately absent: what is asked of the engine, which `follower` decides.

use std::collections::{BTreeSet, VecDeque};

use smallvec::SmallVec;

use super::Ways;
use super::awaiting::Awaits;
use super::catch_up::{Missed, missed};
#[cfg(test)]
use super::planted::{self, Planted};
use super::sweeping::Aging;
use crate::limits::LINEAGE_EPOCHS_MAX;
use crate::link::audit::AuditLine;
use crate::link::engine::{FromEngine, Told};
use crate::link::facts::RoomSettings;
use crate::link::ids::RoomKey;
use crate::link::kept::read_whole;
use crate::link::log::{Marks, Why};
use crate::link::slice::life_in;
use crate::side::engine::command::{Done, Ended, Entry, Head, News, Place, State};
use crate::side::engine::record::{Origin, Purpose};
use crate::side::engine::view::{Decided, Room, TailBounds};
use crate::side::engine::written::{Unreadable, Writer, Written, read_line, read_told, warned};

/// How often a room is looked at anew that has turned meanwhile.
const TOUCHES_MAX: u32 = 4;

/// How far a room has come on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is no connection, or it waits for its turn.
    Away,
    /// It is being read: what is pushed is held.
    Reading,
    /// What is pushed is told.
    Live,
}

/// Whether news lead on from what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeadsOn {
    Yes,
    /// Something is missing between: it is to be read.
    No,
    /// They cannot be read. If that is so of what is kept, too, this version cannot read the room.
    Unreadable,
    /// What was told before may be lost: the room is to be opened again.
    Never,
}

/// What was pushed while a room was read.
#[derive(Debug)]
pub(super) enum Held {
    /// Entries.
    News(News),
    /// What is not kept.
    Said(Vec<u8>),
}

impl Held {
    /// What it takes, in bytes.
    fn bytes(&self) -> usize {
        let bytes = match self {
            Self::News(news) => news.bytes(),
            Self::Said(record) => record.len(),
        };
        size_of::<Self>() + bytes
    }
}

/// An entry that is to be appended.
#[derive(Debug)]
pub(super) struct Waits {
    number: u64,
    entry: Entry,
    since_ms: u64,
}

impl Waits {
    pub(super) fn new(number: u64, entry: Entry, since_ms: u64) -> Self {
        Self { number, entry, since_ms }
    }

    /// What it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.entry.record.len() + self.entry.line.len()
    }
}

/// Entries that are being appended.
#[derive(Debug)]
pub(super) struct Call {
    /// What its home calls each of them.
    pub(super) numbers: Vec<u64>,
    /// What they take, in bytes.
    pub(super) bytes: usize,
    since_ms: u64,
    /// Whether its home was told that they are in doubt.
    is_doubtful: bool,
}

/// A room that is followed. See the module.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is so, or is not, by itself")]
pub(super) struct Followed {
    /// Its home, and as that calls it.
    pub(super) key: (u16, RoomKey),
    pub(super) topic: Box<str>,
    pub(super) stage: Stage,
    /// How far its home has been told; `None` before it is opened.
    pub(super) known: Option<Head>,
    /// When something of its home was appended last.
    pub(super) spoken_ms: u64,
    /// What is under way.
    pub(super) call: Option<Call>,
    waiting: VecDeque<Waits>,
    /// What was pushed while it was read.
    held: Vec<Held>,
    held_bytes: usize,
    /// Whether that was too much, and is forgotten: it is to be read once more.
    has_overflown: bool,
    /// What its home has said that is not kept, and has not been heard yet.
    says: BTreeSet<u64>,
    /// Who waits until all of it is told.
    pub(super) awaits: Awaits,
    touches: u32,
    /// When it is to be looked at whether something of it is too old.
    pub(super) aging: Aging,
    /// Whether something may have been said meanwhile that is not kept.
    pub(super) is_cut_off: bool,
    /// Whether it is being looked at, since somebody else has said something on its channel.
    pub(super) is_suspect: bool,
    /// Whether something is missing of what its home was to be told, and is being read.
    pub(super) has_hole: bool,
    /// Its turns that were not counted yet,
    pub(super) turns: Turns,
    /// and how often this version could not read something of it.
    pub(super) unreadable: u64,
}

/// How often rooms have gone on in another epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::side::engine) struct Turns {
    /// All that homes were told was still there.
    pub(in crate::side::engine) kept: u64,
    /// Some of it was not.
    pub(in crate::side::engine) lost: u64,
}

impl Turns {
    /// Counts one behind which that much is there of what was told.
    fn count(&mut self, told: Marks, kept: Marks) {
        let place = if told.is_within(kept) { &mut self.kept } else { &mut self.lost };
        *place += 1;
    }

    /// Adds others, which are nothing from then on.
    pub(super) fn take(&mut self, others: &mut Self) {
        let Self { kept, lost } = std::mem::take(others);
        (self.kept, self.lost) = (self.kept + kept, self.lost + lost);
    }
}

impl Followed {
    pub(super) fn new(key: (u16, RoomKey), topic: Box<str>) -> Self {
        Self {
            key,
            topic,
            stage: Stage::Away,
            known: None,
            spoken_ms: 0,
            call: None,
            waiting: VecDeque::new(),
            held: Vec::new(),
            held_bytes: 0,
            has_overflown: false,
            says: BTreeSet::new(),
            awaits: Awaits::default(),
            touches: 0,
            aging: Aging::default(),
            is_cut_off: false,
            is_suspect: false,
            has_hole: false,
            turns: Turns::default(),
            unreadable: 0,
        }
    }

    /// It is being read from now on.
    pub(super) fn begin_reading(&mut self) {
        self.stage = Stage::Reading;
        self.touches = 0;
        self.has_overflown = false;
    }

    /// It could not be read: it waits for its turn again.
    pub(super) fn wait_again(&mut self) {
        self.stage = Stage::Away;
    }

    /// Whether it may be looked at once more whether it turns.
    pub(super) fn may_touch(&mut self) -> bool {
        self.touches += 1;
        self.touches <= TOUCHES_MAX
    }

    /// It has been read: what is pushed is told from now on. Returns what was pushed meanwhile.
    pub(super) fn go_live(&mut self) -> Vec<Held> {
        self.stage = Stage::Live;
        self.held_bytes = 0;
        #[cfg(test)]
        if planted::is(Planted::HeldForgotten) {
            self.held.clear();
        }
        std::mem::take(&mut self.held)
    }

    /// Keeps what is pushed until the room has been read. If that is too much, it is forgotten, and
    /// the room is to be read once more.
    pub(super) fn hold(&mut self, held: Held, bytes_max: usize) {
        self.held_bytes += held.bytes();
        self.has_overflown |= self.held_bytes > bytes_max;
        self.held.push(held);
        if self.has_overflown {
            self.held.clear();
            (self.held_bytes, self.is_cut_off) = (0, true);
        }
    }

    /// Whether what was pushed while it was read is forgotten.
    pub(super) fn has_overflown(&self) -> bool {
        self.has_overflown
    }

    /// Its home says something under this number that is not kept.
    pub(super) fn says(&mut self, number: u64) {
        self.says.insert(number);
    }

    /// What its home has said under this number will not be heard. False, if it was.
    pub(super) fn says_no_more(&mut self, number: u64) -> bool {
        self.says.remove(&number)
    }

    /// Tells its home what a node has said in it that is not kept. Returns the node and its life,
    /// if that is in it.
    pub(super) fn hear(
        &mut self,
        ways: &mut impl Ways,
        me: u64,
        record: &[u8],
    ) -> Option<(u64, u64)> {
        let place = Purpose::Said { topic: &self.topic };
        let Ok(Written { origin, told, inside: record }) = read_told(place, record) else {
            // It is of a version that writes otherwise, and members may do without it.
            self.unreadable += 1;
            return None;
        };
        let Origin { node, shard, number } = origin;
        let (of, room) = self.key;
        let number = number.filter(|_| (node, shard) == (me, of));
        if let Some(number) = number {
            self.says.remove(&number);
        }
        ways.tell(of, &FromEngine::Heard { room, node, number, record });
        let Told::Presence { record } = told else { return None };
        Some((node, life_in(record)?))
    }

    /// Whether what was read is of the epoch that its home knows.
    pub(super) fn is_of_now(&self, state: &State) -> bool {
        let epoch = self.known.as_ref().map(|known| known.epoch);
        state.is_current && state.head.as_ref().map(|head| head.epoch) == epoch
    }

    /// How many entries are to be appended, or are being.
    pub(super) fn waiting_count(&self) -> usize {
        self.waiting.len() + self.call.as_ref().map_or(0, |call| call.numbers.len())
    }

    /// What they take, in bytes.
    pub(super) fn waiting_bytes(&self) -> usize {
        let call = self.call.as_ref().map_or(0, |call| call.bytes);
        call + self.waiting.iter().map(Waits::bytes).sum::<usize>()
    }

    pub(super) fn push(&mut self, waits: Waits) {
        self.waiting.push_back(waits);
    }

    /// Since when something or somebody waits, or is under way and not in doubt.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        let call = self.call.as_ref().filter(|call| !call.is_doubtful).map(|call| call.since_ms);
        let waiting = self.waiting.front().map(|waits| waits.since_ms);
        call.into_iter().chain(waiting).chain(self.awaits.oldest_ms()).min()
    }

    /// What is to be appended next, if nothing is under way.
    pub(super) fn next_call(&mut self, entries_max: usize, now_ms: u64) -> Option<Vec<Entry>> {
        if self.stage != Stage::Live || self.call.is_some() || self.waiting.is_empty() {
            return None;
        }
        let count = self.waiting.len().min(entries_max);
        let mut call = Call { numbers: Vec::new(), bytes: 0, since_ms: now_ms, is_doubtful: false };
        let mut entries = Vec::with_capacity(count);
        for waits in self.waiting.drain(..count) {
            call.bytes += waits.bytes();
            call.numbers.push(waits.number);
            entries.push(waits.entry);
        }
        self.call = Some(call);
        Some(entries)
    }

    /// What has waited since before `timeout_ms` ago, and why it is refused; and what that took, in
    /// bytes. What is under way stays so: its room waits for the answer.
    pub(super) fn give_up(&mut self, now_ms: u64, timeout_ms: u64) -> (Vec<(u64, Why)>, usize) {
        let is_late = |since_ms: u64| now_ms.saturating_sub(since_ms) >= timeout_ms;
        let (mut refused, mut bytes) = (Vec::new(), 0);
        if let Some(call) = self.call.as_mut().filter(|call| !call.is_doubtful)
            && is_late(call.since_ms)
        {
            call.is_doubtful = true;
            refused.extend(call.numbers.iter().map(|number| (*number, Why::Unconfirmed)));
        }
        while let Some(waits) = self.waiting.pop_front_if(|waits| is_late(waits.since_ms)) {
            bytes += waits.bytes();
            refused.push((waits.number, Why::Unavailable));
        }
        (refused, bytes)
    }

    /// The connection has ended: what is to be refused, and why.
    pub(super) fn lost(&mut self) -> Vec<(u64, Why)> {
        (self.stage, self.is_cut_off, self.has_hole) = (Stage::Away, true, false);
        self.is_suspect = false;
        self.held.clear();
        self.held_bytes = 0;
        let call = self.call.take().filter(|call| !call.is_doubtful);
        let under_way = call.into_iter().flat_map(|call| call.numbers);
        let why = Why::Unconfirmed;
        #[cfg(test)]
        let why = if planted::is(Planted::DoubtDenied) { Why::Unavailable } else { why };
        let mut refused: Vec<_> = under_way.map(|number| (number, why)).collect();
        refused.extend(self.waiting.drain(..).map(|waits| (waits.number, Why::Unavailable)));
        let says = std::mem::take(&mut self.says);
        refused.extend(says.into_iter().map(|number| (number, Why::Unconfirmed)));
        refused
    }

    /// Tells its home what there is of it. False, if this version cannot read that.
    pub(super) fn opened(
        &mut self,
        ways: &mut impl Ways,
        state: &State,
        (tail, has_archive): (TailBounds, bool),
    ) -> bool {
        let Some(head) = &state.head else { return false };
        let room = Room::of(&self.topic, head, state, tail, has_archive);
        self.unreadable += u64::from(room.as_ref().is_none_or(Room::is_read_in_part));
        let Some(room) = room else { return false };
        let (shard, key) = self.key;
        let (is_new, rev, found) = (room.is_new(), head.rev, room.found());
        self.aging.begins(room.keep());
        ways.tell(shard, &FromEngine::Opened { room: key, is_new, rev, found });
        self.known = Some(head.clone());
        true
    }

    /// Tells its home what it has missed since it was told last. False, if that does not lead on
    /// from there.
    pub(super) fn catch_up(
        &mut self,
        ways: &mut impl Ways,
        (node, has_archive): (u64, bool),
        known: &Head,
        state: &State,
    ) -> bool {
        let (shard, room) = self.key;
        let writer = Writer { topic: &self.topic, node, shard };
        let missed = missed(writer, known, state, has_archive);
        let Some(Missed { head, turned, entries, let_go }) = missed else { return false };
        // Which of them was first is not kept, and on a connection that lives its home waits for
        // its own in their order.
        let is_message = |(done, _): &(Done, u64)| matches!(done.place, Place::Message(_));
        if self.has_hole && entries.iter().any(is_message) && !entries.iter().all(is_message) {
            return false;
        }
        let done = entries.iter().map(|(done, _)| done);
        let Some(read) = read_all(&self.topic, done) else {
            self.unreadable += 1;
            return false;
        };
        // What is from before a turn is told before that: it has the epoch of then.
        let is_before = |done: &Done| match (turned, done.place) {
            (Some(kept), Place::Message(offset)) => offset <= kept.offset,
            (Some(kept), Place::Change { change, .. }) => change <= kept.change,
            _ => false,
        };
        #[cfg(test)]
        let is_before = |done: &Done| is_before(done) && !planted::is(Planted::TurnToldFirst);
        let entries = || entries.iter().zip(&read);
        for ((done, at_ms), read) in entries().filter(|((done, _), _)| is_before(done)) {
            self.tell(ways, node, (done, *read), (*at_ms, head.rev), true);
        }
        if let Some(kept) = turned {
            self.turns.count(known.top, kept);
            ways.tell(shard, &FromEngine::Turned { room, epoch: head.epoch, kept });
        }
        for ((done, at_ms), read) in entries().filter(|((done, _), _)| !is_before(done)) {
            self.tell(ways, node, (done, *read), (*at_ms, head.rev), true);
        }
        if let Some(floor) = let_go {
            ways.tell(shard, &FromEngine::LetGo { room, floor });
        }
        // Facts are read only where something was missed.
        if (head.epoch, head.rev) != (known.epoch, known.rev)
            && let Some(decided) = warned(Decided::of(&self.topic, &state.facts))
        {
            self.aging.keeps(decided.keep());
        }
        self.known = Some(head.clone());
        true
    }

    /// Tells its home what is new to it.
    pub(super) fn follow(&mut self, ways: &mut impl Ways, node: u64, news: &News) -> LeadsOn {
        let Some(known) = &mut self.known else { return LeadsOn::No };
        let (head, (shard, room)) = (&news.head, self.key);
        let Some(read) = read_all(&self.topic, &news.entries) else {
            self.unreadable += 1;
            return LeadsOn::Unreadable;
        };
        if head.epoch != known.epoch {
            let Some(ended) = head.lineage.first().filter(|of| of.epoch == known.epoch) else {
                // They were told since it was read; or it has turned more than once.
                let is_old = known.lineage.iter().any(|ended| ended.epoch == head.epoch);
                return if is_old { LeadsOn::Yes } else { LeadsOn::No };
            };
            if known.rev > ended.rev || known.audited > ended.audited {
                return LeadsOn::Never;
            }
            if !ended.kept.is_within(known.top) {
                return LeadsOn::No;
            }
            let (epoch, kept) = (head.epoch, ended.kept);
            self.turns.count(known.top, kept);
            *known = known.turned(epoch, kept);
            ways.tell(shard, &FromEngine::Turned { room, epoch, kept });
        }
        if !news.before.is_within(known.top) {
            return LeadsOn::No;
        }
        for (done, read) in news.entries.iter().zip(read) {
            if self.is_new(done) {
                let rev = self.known.as_ref().map_or(0, |known| known.rev);
                self.tell(ways, node, (done, read), (head.at_ms, rev), false);
                self.note_aging(done, read);
            }
        }
        if let Some(known) = &mut self.known {
            known.floor = known.floor.max(head.floor);
            known.at_ms = known.at_ms.max(head.at_ms);
        }
        self.tell_gone(ways, head.gone);
        LeadsOn::Yes
    }

    /// Tells its home up to where the room has let go of messages, if that is news.
    pub(super) fn tell_gone(&mut self, ways: &mut impl Ways, gone: Marks) {
        let (shard, room) = self.key;
        let Some(known) = self.known.as_mut().filter(|known| known.gone != gone) else { return };
        known.gone = gone;
        #[cfg(test)]
        if planted::is(Planted::FloorUntold) {
            return;
        }
        ways.tell(shard, &FromEngine::LetGo { room, floor: gone });
    }

    /// Notes what was told that bears on what the room keeps.
    fn note_aging(&mut self, done: &Done, Read { record, .. }: Read<'_>) {
        match done.place {
            // A message that is changed may be larger by that.
            Place::Message(_) | Place::Change { .. } => self.aging.grows(),
            Place::Decision(_) => {
                if let Told::Settings { settings, .. } = read_whole(record) {
                    self.aging.keeps(RoomSettings::keep_in(settings));
                }
            }
            Place::Note => {}
        }
    }

    /// Whether an entry is new to its home; from now on it is not.
    fn is_new(&mut self, done: &Done) -> bool {
        let Some(known) = &mut self.known else { return false };
        let line_number = done.line.0;
        let (counter, number) = match done.place {
            Place::Message(offset) => (&mut known.top.offset, offset),
            Place::Change { change, .. } => (&mut known.top.change, change),
            Place::Decision(rev) => (&mut known.rev, rev),
            Place::Note => (&mut known.audited, line_number),
        };
        let is_new = *counter < number;
        *counter = number.max(*counter);
        known.audited = known.audited.max(line_number);
        is_new
    }

    /// Tells its home an entry, whose record has been read.
    fn tell(
        &self,
        ways: &mut impl Ways,
        node: u64,
        (done, Read { origin, record, line }): (&Done, Read<'_>),
        (at_ms, rev): (u64, u64),
        was_missed: bool,
    ) {
        let (of, room) = self.key;
        let marks = match done.place {
            Place::Message(offset) => Marks { offset, change: 0 },
            Place::Change { change, .. } => Marks { offset: 0, change },
            Place::Decision(_) | Place::Note => Marks::default(),
        };
        let number = origin.number.filter(|_| (origin.node, origin.shard) == (node, of));
        let entry = FromEngine::Entry { room, number, marks, at_ms, rev, record, line, was_missed };
        ways.tell(of, &entry);
    }
}

/// An entry, as it was read.
#[derive(Clone, Copy, Debug)]
struct Read<'a> {
    /// Who has written it.
    origin: Origin,
    /// What it says: a [`Told`].
    record: &'a [u8],
    /// Its line of the audit trail.
    line: Option<AuditLine<'a>>,
}

/// The records of a room's entries. `None`, if this version cannot read one of them: the log says
/// which.
fn read_all<'a>(
    topic: &str,
    entries: impl IntoIterator<Item = &'a Done>,
) -> Option<SmallVec<[Read<'a>; 4]>> {
    entries.into_iter().map(|done| warned(read(topic, done))).collect()
}

fn read<'a, 'p>(topic: &'p str, done: &'a Done) -> Result<Read<'a>, Unreadable<'p>> {
    let place = match done.place {
        Place::Message(_) => Purpose::Message { topic },
        Place::Change { offset, .. } => Purpose::Changed { topic, offset },
        Place::Decision(_) | Place::Note => Purpose::Decided { topic },
    };
    let Written { origin, inside: record, .. } = read_told(place, &done.record)?;
    let line = match &done.line {
        (0, _) => None,
        (number, line) => Some(read_line(topic, *number, line)?.1),
    };
    Ok(Read { origin, record, line })
}

impl Head {
    /// How far a home has been told that goes on in another epoch.
    fn turned(&self, epoch: u64, kept: Marks) -> Self {
        let mut lineage = self.lineage.clone();
        for before in &mut lineage {
            before.kept = before.kept.min(kept);
        }
        lineage.insert(0, Ended { epoch: self.epoch, kept, rev: self.rev, audited: self.audited });
        lineage.truncate(LINEAGE_EPOCHS_MAX);
        Self { epoch, top: self.top.min(kept), lineage, ..*self }
    }
}

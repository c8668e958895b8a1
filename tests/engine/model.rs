//! A model of the script in `chinwag_1.lua`, over the values of `command`: what an engine has, what
//! it answers, and what it tells.
//!
//! Not modelled: when keys expire (`expiry`), that streams are trimmed a few entries at a time, so
//! that more of them may be there, and what an engine refuses for want of memory or of replicas
//! (`refusals`).

use std::collections::BTreeMap;

use chinwag::link::log::Marks;
use chinwag::side::engine::command::{
    Act, Append, Changed, Done, Ended, Entry, Failure, Founded, Head, Listed, Message, News, Place,
    Pushed, Receipt, Reply, State,
};
use chinwag::side::engine::partition::partition;

/// How many epochs before its own a room knows.
const TURNS: usize = 16;
const KEYS_PER_HASH: usize = 1000;
const STRIDE: u64 = 32;
const HOUR_MS: u64 = 3_600_000;

/// An engine. What it was at some time is a clone of it.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// How many messages of a room are kept.
    pub(crate) history: u64,
    /// On which of its histories it is.
    pub(crate) branch: u64,
    pub(crate) rooms: BTreeMap<Box<str>, Room>,
    /// When each room is looked at whether something of it is too old.
    pub(crate) due: BTreeMap<Box<str>, u64>,
    /// Each node's life, and when its lease ends.
    nodes: BTreeMap<u64, (u64, u64)>,
}

/// What there is of a room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room {
    pub(crate) meta: Option<Meta>,
    pub(crate) messages: Kept<Message>,
    pub(crate) changed: BTreeMap<u64, Changed>,
    pub(crate) facts: BTreeMap<Box<str>, Vec<u8>>,
    pub(crate) lines: Kept<Vec<u8>>,
    /// How it is listed, and since which hour.
    pub(crate) listed: Option<(Option<Founded>, u64)>,
    keys: BTreeMap<[u8; 8], Receipt>,
    older: BTreeMap<[u8; 8], Receipt>,
}

#[derive(Clone, Debug)]
pub(crate) enum Meta {
    /// Where it stands, and on which of the engine's histories that was.
    Ours(Head, u64),
    /// Something that a later version has written.
    Foreign,
}

/// Entries of a stream, and the number of the last one, which may be gone.
#[derive(Clone, Debug)]
pub(crate) struct Kept<T> {
    pub(crate) entries: BTreeMap<u64, T>,
    pub(crate) last: u64,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), last: 0 }
    }
}

impl<T> Kept<T> {
    fn push(&mut self, number: u64, entry: T) {
        assert!(number > self.last, "numbers grow");
        self.last = number;
        self.entries.insert(number, entry);
    }
}

impl Model {
    pub(crate) fn new(history: u64) -> Self {
        Self {
            history,
            branch: 0,
            rooms: BTreeMap::new(),
            due: BTreeMap::new(),
            nodes: BTreeMap::new(),
        }
    }

    /// Becomes what it was, on another history.
    pub(crate) fn fail_over(&mut self, to: &Self) {
        let branch = self.branch + 1;
        *self = Self { branch, ..to.clone() };
    }

    /// Appends at a time, and answers too what is told to whoever hears the room, or its list.
    pub(crate) fn append(
        &mut self,
        append: &Append,
        now_ms: u64,
    ) -> Result<(Head, Vec<Receipt>, Vec<Pushed>), Failure> {
        let Self { history, branch, ref mut rooms, ref mut due, .. } = *self;
        let room = rooms.entry(append.topic.clone()).or_default();
        let (mut head, is_turned) = match &room.meta {
            None => (room.begin(append.fresh_epoch), true),
            Some(Meta::Foreign) => return Err(Failure::Layout),
            Some(Meta::Ours(head, of)) if *of == branch => (head.clone(), false),
            Some(Meta::Ours(head, _)) => (turn(head, append.fresh_epoch), true),
        };
        let (before, gone_before) = (head.top, head.gone);
        let at_ms = head.at_ms.max(now_ms);
        let (mut entries, mut receipts, mut pushed) = (Vec::new(), Vec::new(), Vec::new());
        let topic = &append.topic;
        let listed = |(founded, hour): (Option<Founded>, u64)| {
            Pushed::Listed(Listed { topic: topic.clone(), founded, hour })
        };
        for entry in &append.entries {
            let (receipt, place) = room.act(&mut head, entry, at_ms);
            if let (Act::LetGo { due_in_ms, .. }, Receipt::Decided { .. }) = (&entry.act, receipt) {
                due.remove(topic);
                due.extend(due_in_ms.map(|in_ms| (topic.clone(), at_ms + in_ms)));
            }
            receipts.push(receipt);
            let Some(place) = place else { continue };
            head.at_ms = at_ms;
            if let Act::Decision { founded: founded @ Some(_), .. } = &entry.act {
                pushed.extend(room.list(founded.clone(), at_ms).map(listed));
            }
            let mut line = (0, entry.line.clone());
            if !entry.line.is_empty() {
                head.audited += 1;
                line.0 = head.audited;
                room.lines.push(head.audited, entry.line.clone());
            }
            entries.push(Done { place, record: entry.record.clone(), line });
        }
        if head.top.offset / STRIDE != before.offset / STRIDE {
            if room.keys.len() >= KEYS_PER_HASH {
                room.older = std::mem::take(&mut room.keys);
            }
            room.trim(&mut head, history);
        }
        room.meta = Some(Meta::Ours(head.clone(), branch));
        if is_turned || !entries.is_empty() || head.gone != gone_before {
            let has_begun = head.top.offset > 0 || head.rev > 0 || head.audited > 0;
            if has_begun && !matches!(room.listed, Some((Some(_), _))) {
                pushed.extend(room.list(None, at_ms).map(listed));
            }
            let news = News { head: head.clone(), before, entries };
            pushed.push(Pushed::News { topic: topic.clone(), news });
        }
        Ok((head, receipts, pushed))
    }

    /// All of a room, for a connection that knows one of the engine's histories.
    pub(crate) fn read(&self, topic: &str, branch: u64) -> Result<State, Failure> {
        let Some(room) = self.rooms.get(topic) else { return Ok(State::default()) };
        let (mut head, of) = match &room.meta {
            None => return Ok(State::default()),
            Some(Meta::Foreign) => return Err(Failure::Layout),
            Some(Meta::Ours(head, of)) => (head.clone(), *of),
        };
        let first = (head.top.offset + 1).saturating_sub(self.history);
        if room.changed.is_empty() {
            head.floor = head.top.change;
        }
        let messages = room.messages.entries.range(first..);
        Ok(State {
            head: Some(head),
            is_current: of == branch,
            messages: messages.map(|(_, message)| message.clone()).collect(),
            changed: room.changed.values().cloned().collect(),
            facts: room.facts.clone().into_iter().collect(),
            archived: None,
        })
    }

    /// Where a room stands.
    pub(crate) fn look(&self, topic: &str, branch: u64) -> Result<Reply, Failure> {
        let (head, is_current) = match self.rooms.get(topic).and_then(|room| room.meta.as_ref()) {
            None => (None, false),
            Some(Meta::Foreign) => return Err(Failure::Layout),
            Some(Meta::Ours(head, of)) => (Some(head.clone()), *of == branch),
        };
        Ok(Reply::Stands { head, is_current })
    }

    /// All lines of a room before a number, the newest first.
    pub(crate) fn lines(&self, topic: &str, before: u64) -> Vec<(u64, Vec<u8>)> {
        let lines = self.rooms.get(topic).map(|room| room.lines.entries.range(..before));
        let lines = lines.into_iter().flatten().rev();
        lines.map(|(number, line)| (*number, line.clone())).collect()
    }

    /// The rooms of a partition of which something is kept, by topic.
    pub(crate) fn list(&self, of: u16, partitions: u16) -> Vec<Listed> {
        let rooms = self.rooms.iter().filter(|(topic, _)| partition(topic, partitions) == of);
        let listed = rooms.filter_map(|(topic, room)| {
            let (founded, hour) = room.listed.clone()?;
            Some(Listed { topic: topic.clone(), founded, hour })
        });
        listed.collect()
    }

    /// Notes when rooms are looked at, at a time.
    pub(crate) fn age(&mut self, topics: &[Box<str>], in_ms: Option<u64>, now_ms: u64) {
        for topic in topics {
            match in_ms {
                None => drop(self.due.remove(topic)),
                Some(in_ms) => {
                    let due_ms = self.due.entry(topic.clone()).or_insert(u64::MAX);
                    *due_ms = (*due_ms).min(now_ms + in_ms);
                }
            }
        }
    }

    /// Which rooms of a partition are to be looked at, at a time.
    pub(crate) fn due(
        &mut self,
        (of, partitions): (u16, u16),
        (count, again_ms): (u32, u64),
        now_ms: u64,
    ) -> Reply {
        let here = self.due.iter().filter(|(topic, _)| partition(topic, partitions) == of);
        let due = here.filter(|(_, due_ms)| **due_ms <= now_ms);
        let mut topics: Vec<_> = due.map(|(topic, at)| (*at, topic.clone())).collect();
        topics.sort();
        topics.truncate(count as usize);
        let topics: Vec<_> = topics.into_iter().map(|(_, topic)| topic).collect();
        for topic in &topics {
            self.due.insert(topic.clone(), now_ms + again_ms);
        }
        Reply::Due { now_ms, topics }
    }

    /// Takes rooms out of the list that were not founded, and of which nothing is known.
    pub(crate) fn forget(&mut self, topics: &[Box<str>]) {
        for topic in topics {
            let Some(room) = self.rooms.get_mut(topic) else { continue };
            if room.meta.is_none() && matches!(room.listed, Some((None, _))) {
                room.listed = None;
            }
        }
    }

    /// A life of a node is over.
    pub(crate) fn leave(&mut self, node: u64, life: u64) {
        self.nodes.retain(|known, (of, _)| (*known, *of) != (node, life));
    }

    /// A node's life, or 0.
    pub(crate) fn life(&self, node: u64) -> u64 {
        self.nodes.get(&node).map_or(0, |(life, _)| *life)
    }

    /// What a node is answered that says at a time that it lives.
    pub(crate) fn beat(&mut self, node: u64, life: u64, lease_ms: u64, now_ms: u64) -> Reply {
        self.nodes.retain(|_, (_, ends)| *ends > now_ms);
        let known = self.nodes.get(&node).map(|(life, _)| *life);
        let life = if known == Some(life) {
            life
        } else {
            now_ms.max(life.max(known.unwrap_or_default()) + 1)
        };
        self.nodes.insert(node, (life, now_ms + lease_ms));
        let mut nodes: Vec<_> = self.nodes.iter().map(|(node, (life, _))| (*node, *life)).collect();
        nodes.sort_by_key(|(node, _)| (self.nodes[node].1, *node));
        Reply::Nodes { now_ms, life, nodes }
    }
}

impl Room {
    /// Where a room stands of which nothing is known but what is there.
    fn begin(&self, epoch: u64) -> Head {
        let change = self.changed.values().map(|changed| changed.change).max().unwrap_or_default();
        let top = Marks { offset: self.messages.last, change };
        Head { epoch, top, floor: change, audited: self.lines.last, ..Head::default() }
    }

    fn act(&mut self, head: &mut Head, entry: &Entry, at_ms: u64) -> (Receipt, Option<Place>) {
        if let Act::Message { key: Some(key) } = entry.act
            && let Some(known) = self.keys.get(&key).or_else(|| self.older.get(&key))
            && matches!(known, Receipt::Message { offset, .. } if *offset <= head.top.offset)
        {
            return (*known, None);
        }
        if entry.judged.is_some_and(|judged| judged != (head.epoch, head.rev)) {
            return (Receipt::Stale, None);
        }
        let record = entry.record.clone();
        match &entry.act {
            Act::Message { key } => {
                head.top.offset += 1;
                let offset = head.top.offset;
                let message = Message { offset, at_ms, epoch: head.epoch, record };
                self.messages.push(offset, message);
                let receipt = Receipt::Message { offset, at_ms };
                self.keys.extend(key.map(|key| (key, receipt)));
                (receipt, Some(Place::Message(offset)))
            }
            Act::Change { offset, expected, is_deleted, .. } => {
                let (offset, is_deleted) = (*offset, *is_deleted);
                if offset <= head.gone.offset {
                    return (Receipt::Gone, None);
                }
                let known = self.changed.get(&offset).map_or(0, |changed| changed.change);
                if known == 0 && *expected > 0 {
                    return (Receipt::Gone, None);
                }
                if known != *expected || offset > head.top.offset {
                    return (Receipt::Conflict, None);
                }
                if self.changed.is_empty() {
                    head.floor = head.top.change;
                }
                head.top.change += 1;
                let change = head.top.change;
                self.messages.entries.remove(&offset);
                self.changed.insert(offset, Changed { offset, change, is_deleted, record });
                (Receipt::Change { change }, Some(Place::Change { change, offset, is_deleted }))
            }
            Act::Decision { founded: _, facts } => {
                for (field, value) in facts {
                    if value.is_empty() {
                        self.facts.remove(field);
                    } else {
                        self.facts.insert(field.clone(), value.clone());
                    }
                }
                head.rev += 1;
                (Receipt::Decided { rev: head.rev }, Some(Place::Decision(head.rev)))
            }
            Act::Note => (Receipt::Decided { rev: head.rev }, Some(Place::Note)),
            Act::LetGo { upto, .. } => {
                let offset = upto.offset.min(head.top.offset);
                if offset > head.gone.offset {
                    let kept = self.changed.split_off(&(offset + 1));
                    let gone = std::mem::replace(&mut self.changed, kept);
                    let change = gone.values().map(|of| of.change).max().unwrap_or_default();
                    let change = change.max(upto.change).min(head.top.change);
                    self.messages.entries = self.messages.entries.split_off(&(offset + 1));
                    head.gone = Marks { offset, change: change.max(head.gone.change) };
                    head.floor = head.floor.max(head.gone.change);
                }
                (Receipt::Decided { rev: head.rev }, None)
            }
        }
    }

    /// Notes how it is listed. Answers that, if it is news.
    fn list(&mut self, founded: Option<Founded>, at_ms: u64) -> Option<(Option<Founded>, u64)> {
        let listed = (founded, at_ms / HOUR_MS);
        let was = self.listed.replace(listed.clone());
        was.is_none_or(|was| was.0 != listed.0).then_some(listed)
    }

    fn trim(&mut self, head: &mut Head, history: u64) {
        let first = (head.top.offset + 1).saturating_sub(history);
        self.messages.entries = self.messages.entries.split_off(&first);
        let mut deleted: Vec<(u64, u64)> = Vec::new();
        let mut gone: Vec<(u64, u64)> = Vec::new();
        for (offset, changed) in self.changed.range(..first) {
            let of = if changed.is_deleted { &mut deleted } else { &mut gone };
            of.push((changed.change, *offset));
        }
        deleted.sort_unstable();
        let kept = usize::try_from(history).expect("it is small");
        deleted.truncate(deleted.len().saturating_sub(kept));
        for (change, offset) in gone.into_iter().chain(deleted) {
            head.floor = head.floor.max(change);
            self.changed.remove(&offset);
        }
    }
}

/// Where a room stands that is found on another history of the engine.
fn turn(head: &Head, epoch: u64) -> Head {
    let Head { epoch: before, top: kept, rev, audited, .. } = *head;
    let mut lineage = vec![Ended { epoch: before, kept, rev, audited }];
    lineage.extend_from_slice(&head.lineage);
    lineage.truncate(TURNS);
    Head { epoch, lineage, ..head.clone() }
}

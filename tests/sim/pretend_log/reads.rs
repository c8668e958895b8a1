//! What a pretend log tells of a room that it has kept: its messages as they were by any entry,
//! pages of them, and all that its home is to know when it is opened.

use chinwag::limits::LINEAGE_EPOCHS_MAX;
use chinwag::link::audit::{AuditPage, AuditWanted};
use chinwag::link::ids::RoomKey;
use chinwag::link::log::{Hits, Marks, Opened, Part, Stretch, Ticket, View, Wanted, WhatText};
use chinwag::link::said::{Fate, MessageText, Replies};

use super::defects::LogDefect;
use super::room::{Kept, Line, Room};

impl Room {
    /// Whether something of it survives anything.
    pub(crate) fn is_kept(&self) -> bool {
        self.durable > 0 || self.decided_durably.founded.is_some()
    }

    /// Which life of it this is.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The offset of its last message.
    pub(crate) fn last(&self) -> u64 {
        self.versions.len() as u64
    }

    /// Whether nothing was ever said or decided in it.
    fn is_new(&self) -> bool {
        self.entries.is_empty() && self.rev == 0 && self.audited.is_empty()
    }

    /// How far it has come.
    pub(crate) fn top(&self) -> Marks {
        self.marks(self.entries.len())
    }

    /// How far it had come after so many entries.
    pub(super) fn marks(&self, entries: usize) -> Marks {
        let messages = self.versions.partition_point(|versions| versions[0] < entries);
        Marks { offset: messages as u64, change: (entries - messages) as u64 }
    }

    /// A message as it was after so many entries, if it had been said by then.
    pub(super) fn state(&self, offset: u64, entries: usize) -> Option<MessageText> {
        let versions = self.versions.get(usize::try_from(offset).ok()?.checked_sub(1)?)?;
        let count = versions.partition_point(|version| *version < entries);
        let Kept { number, at_ms, what } = &self.entries[versions[count.checked_sub(1)?]];
        Some(match what {
            WhatText::Message(said) => MessageText::new(*at_ms, said.said(), Fate::default()),
            WhatText::Changed(_, message) => {
                let fate = Fate { change: *number, ..message.fate() };
                MessageText::new(message.at_ms, message.said.said(), fate)
            }
            _ => unreachable!("what is decided is kept beside the entries"),
        })
    }

    /// A message as it was by the first `entries`, how often it was answered by then, and in which
    /// epoch it was said, if its room may have forgotten that.
    fn told(&self, offset: u64, entries: usize, defect: Option<LogDefect>) -> Option<MessageText> {
        let message = self.state(offset, entries)?;
        let replies = self.replies(offset, self.marks(entries).offset);
        let epoch = self.epoch_further_back(offset);
        let epoch = epoch.filter(|_| defect != Some(LogDefect::EpochUnnamed));
        let fate = Fate { replies, epoch, ..message.fate() };
        Some(MessageText::new(message.at_ms, message.said.said(), fate))
    }

    /// The epoch in which a message was said.
    pub(crate) fn said_in(&self, offset: u64) -> u64 {
        let ended = self.lineage.iter().rev().find(|(_, kept)| offset <= kept.offset);
        ended.map_or(self.epoch, |(epoch, _)| *epoch)
    }

    /// The same, if that is further back than its room remembers.
    pub(super) fn epoch_further_back(&self, offset: u64) -> Option<u64> {
        let (_, kept) = self.lineage.get(LINEAGE_EPOCHS_MAX)?;
        (offset <= kept.offset).then(|| self.said_in(offset))
    }

    /// How often a message was answered up to an offset.
    pub(crate) fn replies(&self, root: u64, upto: u64) -> Option<Replies> {
        let is_its = |offset: &u64| {
            let said = self.latest(*offset).map(|message| message.said);
            said.is_some_and(|said| said.thread == Some(root))
        };
        let answers: Vec<u64> = (root + 1..=upto.min(self.last())).filter(is_its).collect();
        Some(Replies { count: answers.len() as u64, last: *answers.last()? })
    }

    /// A message as it was by a change.
    pub(crate) fn state_by(&self, offset: u64, change: u64) -> Option<MessageText> {
        let versions = self.versions.get(usize::try_from(offset).ok()?.checked_sub(1)?)?;
        let is_by = |version: &usize| match &self.entries[*version] {
            Kept { what: WhatText::Message(_), .. } => true,
            Kept { number, .. } => *number <= change,
        };
        let count = versions.partition_point(is_by);
        self.state(offset, versions[count.checked_sub(1)?] + 1)
    }

    /// A message as it is.
    pub(crate) fn latest(&self, offset: u64) -> Option<MessageText> {
        self.state(offset, self.entries.len())
    }

    /// The lines of it that are wanted.
    pub(super) fn audit_page(&self, wanted: AuditWanted, defect: Option<LogDefect>) -> String {
        let AuditWanted { before, limit, act } = wanted;
        let forgets =
            |number: u64| defect == Some(LogDefect::LineForgotten) && number.is_multiple_of(3);
        let is_wanted = |line: &&Line| {
            let Line { number, act: of, .. } = **line;
            number < before && act.is_none_or(|act| act == of) && !forgets(number)
        };
        let mut lines = self.audited.iter().rev().filter(is_wanted);
        let mut page = AuditPage::default();
        for line in lines.by_ref().take(limit as usize) {
            page.push(|out| out.extend_from_slice(&line.told));
        }
        let more = lines.next().is_some() || defect == Some(LogDefect::MoreClaimed);
        String::from_utf8(page.end(more)).expect("JSON is UTF-8")
    }

    /// What is wanted, as it is by the first `entries`.
    pub(super) fn stretch(
        &self,
        wanted: Wanted,
        entries: usize,
        defect: Option<LogDefect>,
    ) -> Stretch {
        if wanted.view != View::Room {
            return self.picked(wanted, entries, defect);
        }
        let upto = wanted.upto.min(self.marks(entries).offset);
        let after = wanted.after.max(self.gone).min(upto);
        let (mut begin, mut end) = (after, upto);
        let count = u64::from(wanted.messages);
        match wanted.part {
            Part::Newest => begin = after.max(upto.saturating_sub(count)),
            Part::Oldest | Part::All => end = upto.min(after.saturating_add(count)),
            Part::Around(offset) if offset > after && offset <= upto => {}
            Part::Around(_) => end = begin,
        }
        let as_of = |offset| match defect {
            Some(LogDefect::ReadAsSaid) => self.state(offset, self.versions_of(offset)[0] + 1),
            _ => self.told(offset, entries, defect),
        };
        let state = |offset| as_of(offset).expect("it was said by then");
        let length = |begin: u64, end: u64| {
            (begin + 1..=end).map(|offset| state(offset).said.text_bytes()).sum::<usize>()
        };
        while end > begin + 1 && length(begin, end) > wanted.bytes {
            let leaves_out_first = match wanted.part {
                Part::Newest => true,
                Part::Oldest | Part::All => false,
                Part::Around(offset) => offset - begin > end - offset,
            };
            if leaves_out_first { begin += 1 } else { end -= 1 }
        }
        let mut more = begin > after || end < upto;
        let mut changed = Vec::new();
        if let Some(behind) = wanted.changed {
            let had =
                (self.gone + 1..=wanted.after.min(self.marks(entries).offset)).map(|offset| {
                    let message = self.told(offset, entries, defect).expect("it was said by then");
                    (offset, message)
                });
            let forgets = defect == Some(LogDefect::TombstoneForgotten);
            let is_told = |message: &MessageText| {
                let fate = message.fate();
                fate.change > behind && !(forgets && fate.deleted.is_some())
            };
            changed.extend(had.filter(|(_, message)| is_told(message)));
            let bytes: usize = changed.iter().map(|(_, message)| message.said.text_bytes()).sum();
            if bytes > wanted.bytes {
                more = true;
                changed.truncate(1);
            }
        }
        let messages = (begin + 1..=end).map(state).collect();
        Stretch { first: begin + 1, messages, more, changed, ..Stretch::default() }
    }

    /// What is wanted of a view, as it is by the first `entries`.
    fn picked(&self, wanted: Wanted, entries: usize, defect: Option<LogDefect>) -> Stretch {
        let Wanted { after, upto, part, messages: count, bytes, changed: _, view } = wanted;
        let is_in = |offset: u64, message: &MessageText| match view {
            View::Room => true,
            View::Thread(root) => offset == root || message.said.thread == Some(root),
            View::Pins => message.fate().pinned.is_some(),
        };
        let upto = upto.min(self.marks(entries).offset);
        let mut offsets: Vec<u64> = (after.max(self.gone) + 1..=upto).collect();
        if part == Part::Newest {
            offsets.reverse();
        }
        let (mut picked, mut length, mut more) = (Vec::new(), 0, false);
        for offset in offsets {
            let state = match defect {
                Some(LogDefect::ReadAsSaid) if view != View::Pins => {
                    self.state(offset, self.versions_of(offset)[0] + 1)
                }
                _ => self.told(offset, entries, defect),
            };
            let message = state.expect("it was said by then");
            if !is_in(offset, &message) {
                continue;
            }
            length += message.said.text_bytes();
            if picked.len() == count as usize || length > bytes && !picked.is_empty() {
                more = true;
                break;
            }
            picked.push((offset, message));
        }
        if part == Part::Newest {
            picked.reverse();
        }
        Stretch { more, picked, ..Stretch::default() }
    }

    fn versions_of(&self, offset: u64) -> &[usize] {
        &self.versions[usize::try_from(offset - 1).expect("few")]
    }

    pub(super) fn opened(&self, defect: Option<LogDefect>) -> Opened {
        let first = self.gone.min(self.last()) + 1;
        let (decided, forgets) = (&self.decided, defect == Some(LogDefect::DecisionForgotten));
        let standings = decided.standings.iter().filter(|_| !forgets);
        let crossed = usize::from(defect == Some(LogDefect::TailCrossed));
        let is_alone = defect == Some(LogDefect::LineageForgotten);
        let lineage = if is_alone { Vec::new() } else { self.lineage.clone() };
        let top = self.marks(self.entries.len().saturating_sub(crossed));
        // It has as many messages all the same.
        let tail_first = first + self.last() - top.offset;
        Opened {
            epoch: self.epoch,
            is_new: self.is_new(),
            origin: self.lineage.last().map_or(self.epoch, |(epoch, _)| *epoch),
            top,
            rev: self.rev,
            kept: self.marks(self.durable),
            founded: decided.founded.as_deref().map(Box::from),
            settings: decided.settings.as_deref().map(Box::from),
            standings: standings.map(|(user, of)| (user, *of)).collect(),
            audited: self.audited.last().map_or(0, |line| line.number),
            lineage,
            floor: Marks { offset: self.gone, change: self.floor },
            pins: self.pins(first),
            unkept_pins: self.unkept_pins(),
            // Its tail has all that there is.
            keys: Vec::new(),
            tail: (tail_first..=self.last()).filter_map(|offset| self.latest(offset)).collect(),
        }
    }

    /// The pinned messages from `first` on.
    pub(crate) fn pins(&self, first: u64) -> Vec<u64> {
        let is_pinned = |offset: &u64| {
            self.latest(*offset).is_some_and(|message| message.fate().pinned.is_some())
        };
        (first..=self.last()).filter(is_pinned).collect()
    }

    /// By which changes that are not durable a message was pinned, or was so no more.
    fn unkept_pins(&self) -> Vec<(u64, u64)> {
        let is_pinned = |offset, entries| {
            let state = self.state(offset, entries);
            state.is_some_and(|message| message.fate().pinned.is_some())
        };
        let unkept = self.entries.iter().enumerate().skip(self.durable);
        let pins = unkept.filter_map(|(at, kept)| match kept.what {
            WhatText::Changed(offset, _) if is_pinned(offset, at) != is_pinned(offset, at + 1) => {
                Some((kept.number, offset))
            }
            _ => None,
        });
        pins.collect()
    }
}

/// A search under way.
pub(super) struct Finding {
    pub(super) room: RoomKey,
    pub(super) ticket: Ticket,
    /// How many entries the room had when it was asked: it is looked for behind those.
    pub(super) entries: usize,
    pub(super) query: String,
    pub(super) from: Option<String>,
    pub(super) before: u64,
    pub(super) messages: usize,
}

impl Finding {
    /// The messages of a room that are looked for, as they are by its first `entries`.
    pub(super) fn hits(&self, room: &Room, entries: usize, defect: Option<LogDefect>) -> Hits {
        let is_it = |message: &MessageText| {
            let said = &message.said;
            self.from.as_ref().is_none_or(|from| **from == *said.user)
                && said.body.contains(&self.query)
                && message.fate().deleted.is_none()
        };
        let newest_first = (room.gone + 1..self.before.min(room.last() + 1)).rev();
        let mut found = newest_first.filter_map(|offset| {
            let message = room.told(offset, entries, defect)?;
            is_it(&message).then_some((offset, message))
        });
        let messages = found.by_ref().take(self.messages).collect();
        Hits { messages, more_before: found.next().map(|(offset, _)| offset + 1) }
    }
}

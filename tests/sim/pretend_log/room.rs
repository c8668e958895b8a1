//! A room as a pretend log keeps it: its entries, what of them survives anything, and what waits.
//!
//! Deliberately absent: what is told of it when it is read (`reads`), and what other nodes do in it
//! (`others`).

use std::collections::{BTreeMap, VecDeque};

use chinwag::auth::level::{Role, Standing};
use chinwag::link::audit::{AuditAct, AuditLine, LineText};
use chinwag::link::ids::{Receipt, RoomKey};
use chinwag::link::log::{Judged, Marks, Placed, Ticket, UnkeptText, What, WhatText, Why};

use super::defects::LogDefect;
use super::told::Told;

/// A room, as it is kept.
#[derive(Default)]
pub(crate) struct Room {
    pub(super) name: String,
    pub(super) key: Option<RoomKey>,
    pub(super) epoch: u64,
    pub(super) rev: u64,
    pub(super) entries: Vec<Kept>,
    /// Which entries made each message what it is: its own, and its changes. That with offset `n`
    /// is at `n - 1`.
    pub(super) versions: Vec<Vec<usize>>,
    /// How many entries survive anything.
    pub(super) durable: usize,
    /// How many of them did when the room was opened.
    pub(super) opened_at: usize,
    /// How many of them the home has heard of, where that comes after they are kept.
    pub(super) heard: usize,
    /// What was decided of it.
    pub(crate) decided: Decided,
    /// What of it survives anything,
    pub(crate) decided_durably: Decided,
    /// with this revision,
    pub(super) rev_durably: u64,
    /// and what may be torn off, in order.
    pub(crate) deciding: VecDeque<Deciding>,
    /// Its audit trail.
    pub(crate) audited: Vec<Line>,
    /// How many messages there ever were at a time.
    pub(crate) longest: u64,
    /// The lives before this one.
    pub(crate) lineage: Vec<(u64, Marks)>,
    /// The messages up to this offset have been let go of,
    pub(crate) gone: u64,
    /// with changes up to this one.
    pub(super) floor: u64,
    /// How many entries it had when the store failed last: until those are kept it takes none.
    pub(super) in_doubt: usize,
    /// Appends that have an order and have not been answered.
    pub(super) unanswered: VecDeque<Unanswered>,
    /// Appends that have not been looked at.
    pub(super) waiting: VecDeque<Waiting>,
    /// What was said and not kept, and has not been looked at. It goes before appends that have no
    /// place yet, though some may have been asked for earlier.
    pub(super) saying: VecDeque<(Option<Ticket>, UnkeptText)>,
    /// What is to be told, in order.
    pub(crate) said: VecDeque<Told>,
}

/// What was decided of a room.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Decided {
    /// Its title, if it was made on purpose.
    pub(crate) founded: Option<String>,
    /// Its settings, if some were decided.
    pub(crate) settings: Option<String>,
    /// How users stand in it.
    pub(crate) standings: BTreeMap<String, Standing>,
}

/// A decision that may be torn off.
pub(crate) struct Deciding {
    /// How many entries were before it.
    pub(super) entries: usize,
    /// What was decided by then,
    pub(crate) decided: Decided,
    /// with which revision.
    pub(super) rev: u64,
    /// How many lines its audit trail had by then.
    pub(super) lines: usize,
    /// Whom to tell when it is kept.
    pub(super) ticket: Option<Ticket>,
}

/// A line of an audit trail.
pub(crate) struct Line {
    pub(crate) number: u64,
    pub(super) act: AuditAct,
    /// As it is told.
    pub(super) told: Vec<u8>,
    /// How many entries there were with the one that it came with.
    pub(super) entries: usize,
}

/// An entry.
pub(super) struct Kept {
    /// The number that it has: of a message its offset, of a change its change.
    pub(super) number: u64,
    pub(super) at_ms: u64,
    pub(super) what: WhatText,
}

impl Kept {
    pub(super) fn placed(&self) -> Placed {
        match self.what {
            WhatText::Message(_) => {
                Placed::message(Receipt { offset: self.number, at_ms: self.at_ms })
            }
            WhatText::Changed(..) => Placed::change(self.number, self.at_ms),
            _ => unreachable!("what is decided is kept beside the entries"),
        }
    }
}

/// An append that is answered once so many entries are durable.
pub(super) struct Unanswered {
    pub(super) entries: usize,
    pub(super) ticket: Ticket,
    pub(super) placed: Placed,
}

/// An append that has no order yet.
pub(super) struct Waiting {
    pub(super) ticket: Option<Ticket>,
    pub(super) judged: Judged,
    pub(super) at_ms: u64,
    pub(super) what: WhatText,
    pub(super) line: Option<LineText>,
}

impl Room {
    /// Gives a decision its place, and says so.
    pub(super) fn place_decision(
        &mut self,
        ticket: Option<Ticket>,
        at_ms: u64,
        what: WhatText,
        line: Option<&LineText>,
        defect: Option<LogDefect>,
    ) {
        let lines = self.audited.len();
        self.decide(what.what());
        let line = line.map(|line| LineText { number: self.next_line(), ..line.clone() });
        self.note(line.as_ref().map(LineText::line).as_ref(), at_ms, defect);
        let (entries, decided, rev) = (self.entries.len(), self.decided.clone(), self.rev);
        self.deciding.push_back(Deciding { entries, decided, rev, lines, ticket });
        let placed = Placed::decision(at_ms);
        self.said.push_back(Told::Entry { ticket, placed, rev, what, line });
    }

    /// Says of the last entry that it is this append's.
    pub(super) fn name_last(&mut self, of: Ticket) {
        if let Some(Told::Entry { ticket, .. }) = self.said.back_mut() {
            *ticket = Some(of);
        }
    }

    fn next_line(&self) -> u64 {
        1 + self.audited.last().map_or(0, |line| line.number)
    }

    /// Loses what was decided behind the entries that are left, and of what was decided right
    /// behind those some. Whether that was anything.
    pub(super) fn lose_decisions(&mut self, of_last: u64) -> bool {
        let entries = self.entries.len();
        let before = self.deciding.iter().take_while(|of| of.entries < entries).count();
        let behind = self.deciding.iter().filter(|of| of.entries == entries).count();
        let survive = before + behind * usize::try_from(of_last).expect("small");
        let lost = self.deciding.split_off(survive.min(self.deciding.len()));
        self.audited.truncate(lost.front().map_or(self.audited.len(), |first| first.lines));
        self.audited.retain(|line| line.entries <= entries);
        let left = self.deciding.back();
        self.decided = left.map_or(&self.decided_durably, |left| &left.decided).clone();
        self.rev = left.map_or(self.rev_durably, |left| left.rev);
        for ticket in lost.iter().filter_map(|of| of.ticket) {
            self.said.push_back(Told::Refused { ticket, why: Why::Unconfirmed });
        }
        !lost.is_empty()
    }

    /// It has lost its place: its home is told nothing more but that.
    pub(super) fn close(&mut self) {
        let is_opened = |told: &Told| matches!(told, Told::Opened { .. } | Told::NotOpened { .. });
        let is_loading = self.said.iter().any(is_opened);
        // What was to be looked up is answered all the same.
        self.said.retain(|told| matches!(told, Told::Audited { .. } | Told::NotRead { .. }));
        for told in &mut self.said {
            if let Told::Audited { ticket, .. } = *told {
                *told = Told::NotRead { ticket, why: Why::Unavailable };
            }
        }
        self.forget_tickets();
        self.said.push_back(if is_loading {
            Told::NotOpened { why: Why::Unavailable }
        } else {
            Told::Closed
        });
    }

    /// Whether its home is still to be told that it has lost its place.
    pub(super) fn is_closed(&self) -> bool {
        self.said.iter().any(|told| matches!(told, Told::Closed | Told::NotOpened { .. }))
    }

    /// When an entry is accepted: never before the last message.
    pub(super) fn at_ms(&self, proposed_ms: u64) -> u64 {
        let mut newest_first = self.entries.iter().rev();
        let last = newest_first.find(|of| matches!(of.what, WhatText::Message(_)));
        last.map_or(proposed_ms, |last| last.at_ms.max(proposed_ms))
    }

    /// The place that an entry is given next.
    pub(super) fn next_placed(&self, what: &WhatText, at_ms: u64) -> Placed {
        let Marks { offset, change } = self.top();
        match what {
            WhatText::Message(_) => Placed::message(Receipt { offset: offset + 1, at_ms }),
            WhatText::Changed(..) => Placed::change(change + 1, at_ms),
            _ => unreachable!("what is decided has its place beside the entries"),
        }
    }

    /// What is decided of it survives anything: all before the first `durable` entries, and of what
    /// comes right behind them at most `more`.
    pub(super) fn keep_decisions(&mut self, mut more: u64) {
        while let Some(Deciding { entries, .. }) = self.deciding.front() {
            if *entries > self.durable || *entries == self.durable && more == 0 {
                return;
            }
            more -= u64::from(*entries == self.durable);
            let Some(Deciding { decided, rev, ticket, .. }) = self.deciding.pop_front() else {
                return;
            };
            (self.decided_durably, self.rev_durably) = (decided, rev);
            let placed = Placed::decision(0);
            self.said.extend(ticket.map(|ticket| Told::Kept { ticket, placed }));
        }
    }

    /// Loses what was decided and is not kept, and the lines of that and of the entries that are
    /// lost.
    pub(super) fn forget_decisions(&mut self, defect: Option<LogDefect>) {
        let first = self.deciding.front().map(|first| first.lines);
        self.deciding.clear();
        self.decided = self.decided_durably.clone();
        if defect == Some(LogDefect::LineOutlives) {
            return;
        }
        self.audited.truncate(first.unwrap_or(self.audited.len()));
        let entries = self.entries.len();
        self.audited.retain(|line| line.entries <= entries);
        if defect == Some(LogDefect::LineTorn) {
            self.audited.pop();
        }
    }

    /// Takes in what is decided of it.
    pub(super) fn decide(&mut self, what: What<'_>) {
        let decided = &mut self.decided;
        match what {
            What::Founded { title, owner } => {
                decided.founded = Some(title.to_owned());
                let standing = Standing { role: Some(Role::Owner), ..Standing::default() };
                decided.standings.extend(owner.map(|owner| (owner.to_owned(), standing)));
                self.rev += 1;
            }
            What::Settings { title, settings } => {
                decided.founded = Some(title.to_owned());
                decided.settings = Some(settings.to_owned());
                self.rev += 1;
            }
            What::Standing { user, standing } => {
                decided.standings.insert(user.to_owned(), standing);
                self.rev += 1;
            }
            What::Noted => {}
            What::Message(_) | What::Changed { .. } => unreachable!("it is about a message"),
        }
    }

    /// Whether its home has not heard yet that all is kept which was in doubt when the store
    /// failed last.
    pub(super) fn is_in_doubt(&mut self) -> bool {
        let is_news = |told: &Told| matches!(told, Told::Entry { .. } | Told::Kept { .. });
        let is_kept = self.durable >= self.in_doubt.min(self.entries.len());
        if is_kept && !self.said.iter().any(is_news) {
            self.in_doubt = 0;
        }
        self.in_doubt > 0
    }

    /// Keeps a line of its audit trail, for good.
    pub(super) fn note(
        &mut self,
        line: Option<&AuditLine<'_>>,
        at_ms: u64,
        defect: Option<LogDefect>,
    ) {
        let Some(mut line) = line.copied() else { return };
        if defect == Some(LogDefect::LineMisattributed) {
            line.by = "stranger";
        }
        let mut told = Vec::new();
        line.push(&mut told, at_ms);
        let (number, act, entries) = (line.number, line.act, self.entries.len());
        self.audited.push(Line { number, act, told, entries });
    }

    /// Whether a change was judged by the message as it is.
    pub(super) fn is_judged_by(&self, what: &WhatText) -> bool {
        let WhatText::Changed(offset, message) = what else { return true };
        let latest = self.latest(*offset);
        latest.is_some_and(|latest| latest.fate().change == message.fate().change)
    }

    /// Gives an entry its place.
    pub(super) fn push(&mut self, at_ms: u64, what: WhatText) -> Placed {
        let placed = self.next_placed(&what, at_ms);
        let entry = self.entries.len();
        match &what {
            WhatText::Message(_) => self.versions.push(vec![entry]),
            WhatText::Changed(offset, _) => {
                self.versions[usize::try_from(offset - 1).expect("few")].push(entry);
            }
            _ => unreachable!("what is decided has its place beside the entries"),
        }
        let number = placed.marks.offset.max(placed.marks.change);
        self.entries.push(Kept { number, at_ms, what });
        self.longest = self.longest.max(self.last());
        placed
    }

    /// The same, and says so: the home did not give it.
    pub(super) fn push_told(
        &mut self,
        ticket: Option<Ticket>,
        at_ms: u64,
        what: WhatText,
        line: Option<&LineText>,
    ) {
        let placed = self.push(at_ms, what.clone());
        let line = line.map(|line| LineText { number: self.next_line(), ..line.clone() });
        self.note(line.as_ref().map(LineText::line).as_ref(), at_ms, None);
        self.said.push_back(Told::Entry { ticket, placed, rev: self.rev, what, line });
    }

    /// Loses all but so many entries.
    pub(super) fn truncate(&mut self, entries: usize) {
        self.entries.truncate(entries);
        for versions in &mut self.versions {
            versions.retain(|version| *version < entries);
        }
        self.versions.retain(|versions| !versions.is_empty());
    }

    /// The message that was changed last.
    pub(super) fn last_changed(&self) -> Option<u64> {
        self.entries.iter().rev().find_map(|kept| match kept.what {
            WhatText::Changed(offset, _) => Some(offset),
            _ => None,
        })
    }

    /// Tells the home of its first `last` entries.
    pub(super) fn tell_upto(&mut self, last: usize) {
        while self.heard < last {
            let kept = &self.entries[self.heard];
            let (placed, what) = (kept.placed(), kept.what.clone());
            self.heard += 1;
            let of = self.unanswered.iter().find(|of| of.entries == self.heard);
            let ticket = of.map(|of| of.ticket);
            self.said.push_back(Told::Entry { ticket, placed, rev: self.rev, what, line: None });
        }
    }

    /// The entry that has the key of a message.
    pub(crate) fn of_key(&self, what: &WhatText) -> Option<usize> {
        let WhatText::Message(said) = what else { return None };
        said.key.as_ref()?;
        let is_same = |kept: &Kept| matches!(&kept.what, WhatText::Message(of) if of.user == said.user && of.key == said.key);
        self.entries.iter().position(is_same)
    }

    pub(super) fn turn(&mut self, epoch: u64, defect: Option<LogDefect>) {
        let kept = self.top();
        match defect {
            Some(LogDefect::EpochKept) => return,
            Some(LogDefect::OffsetReused) => {
                let epoch = self.epoch;
                return self.said.push_back(Told::Turned { epoch, kept });
            }
            Some(
                LogDefect::AckedBeforeKept
                | LogDefect::ReadTooEarly
                | LogDefect::ReadAsSaid
                | LogDefect::ReadsSwapped
                | LogDefect::SeenBeforeKept
                | LogDefect::ListsTooFew
                | LogDefect::FindsElsewhere
                | LogDefect::FindsUnkept
                | LogDefect::ChangeSkipped
                | LogDefect::TombstoneForgotten
                | LogDefect::DecisionForgotten
                | LogDefect::LastAnsweredOnly
                | LogDefect::LineageForgotten
                | LogDefect::TailCrossed
                | LogDefect::LineForgotten
                | LogDefect::LineOutlives
                | LogDefect::LineTorn
                | LogDefect::LineMisattributed
                | LogDefect::MoreClaimed
                | LogDefect::DecisionsDropped
                | LogDefect::EpochUnnamed,
            )
            | None => {}
        }
        for (_, earlier) in &mut self.lineage {
            *earlier = earlier.min(kept);
        }
        self.lineage.insert(0, (self.epoch, kept));
        self.epoch = epoch;
        self.said.push_back(Told::Turned { epoch, kept });
    }

    /// Nobody waits for an answer any more.
    pub(super) fn forget_asker(&mut self) {
        self.said.clear();
        self.forget_tickets();
    }

    /// The same, of what has not been told yet. What is decided and was not looked at is not.
    fn forget_tickets(&mut self) {
        self.saying.clear();
        self.unanswered.clear();
        self.waiting.retain(|waiting| !waiting.what.what().is_of_room());
        for waiting in &mut self.waiting {
            waiting.ticket = None;
        }
        for deciding in &mut self.deciding {
            deciding.ticket = None;
        }
    }
}

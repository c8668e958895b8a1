//! The audit trail of a room: the last number of its lines, and the lines themselves, where its log
//! has no more of a room than its memory.
//!
//! Deliberately absent: what is worth a line (`rooms::auditing`).
//!
//! Called by: `rooms`, `facts`. Calls: nothing.

use std::collections::VecDeque;

use crate::limits::{AUDIT_EMPTY_BYTES_MAX, AUDIT_MEMORY_BYTES_MAX, REPORTS_KNOWN_MAX};
use crate::link::audit::{AuditAct, AuditLine, AuditPage, AuditWanted};
use crate::link::log::Ticket;
use crate::room::Room;

/// See the module. Most rooms of which something was decided have a short one.
#[derive(Debug, Default)]
pub(super) struct Trail {
    /// The number of the last line.
    last: u64,
    /// The newest ones, the oldest first; none, where the log has them.
    lines: VecDeque<Line>,
    /// What those take, in bytes.
    bytes: usize,
    /// What those of them take that are anybody's.
    unprivileged_bytes: usize,
    /// The latest reports, by a hash of who reported which message, and how each was proposed.
    reports: VecDeque<(u64, Ticket)>,
}

#[derive(Debug)]
struct Line {
    number: u64,
    act: AuditAct,
    /// See [`AuditLine::is_unprivileged`].
    is_unprivileged: bool,
    /// As it is told.
    json: Box<str>,
}

impl Line {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.json.len()
    }

    /// The same, if it is anybody's.
    fn unprivileged_bytes(&self) -> usize {
        if self.is_unprivileged { self.bytes() } else { 0 }
    }
}

impl Trail {
    /// One of which the log has all lines up to this.
    pub(super) fn reopened(last: u64) -> Self {
        Self { last, ..Self::default() }
    }

    fn push(&mut self, line: Line) {
        self.bytes += line.bytes();
        self.unprivileged_bytes += line.unprivileged_bytes();
        self.lines.push_back(line);
    }

    /// Lets go of the oldest lines, so that they take no more than `max` bytes; the newest stays.
    /// Those that are anybody's take the place of each other where they have half of it.
    fn shrink(&mut self, max: usize) {
        while self.bytes > max && self.lines.len() > 1 {
            let are_many = self.unprivileged_bytes > max / 2;
            let is_one = |line: &Line| line.is_unprivileged == are_many;
            let at = self.lines.iter().position(is_one).unwrap_or_default();
            let Some(line) = self.lines.remove(at) else { return };
            self.bytes -= line.bytes();
            self.unprivileged_bytes -= line.unprivileged_bytes();
        }
    }

    /// Whether nothing was ever noted.
    pub(super) fn is_empty(&self) -> bool {
        self.last == 0
    }

    /// What it takes, in bytes, roughly.
    pub(super) fn bytes(&self) -> usize {
        let Self { last: _, lines: _, bytes, unprivileged_bytes: _, reports } = self;
        bytes + reports.capacity() * size_of::<(u64, Ticket)>()
    }
}

impl Room {
    /// The number of the next line.
    pub(crate) fn next_audit_number(&self) -> u64 {
        1 + self.facts.as_ref().map_or(0, |facts| facts.trail.last)
    }

    /// Something is noted, which was done now. Its line stays in memory if that is the only place.
    pub(crate) fn apply_audit(&mut self, line: &AuditLine<'_>, at_ms: u64, is_only_here: bool) {
        let trail = &mut self.facts.get_or_insert_default().trail;
        trail.last = line.number;
        if !is_only_here {
            return;
        }
        let mut json = Vec::new();
        line.push(&mut json, at_ms);
        let json = String::from_utf8(json).expect("a line is UTF-8").into();
        let (number, act, is_unprivileged) = (line.number, line.act, line.is_unprivileged());
        let line = Line { number, act, is_unprivileged, json };
        trail.push(line);
        trail.shrink(AUDIT_MEMORY_BYTES_MAX);
    }

    /// Nobody is in the room any more: of its trail the newest lines stay in memory. Whether that
    /// let go of any.
    pub(crate) fn shrink_trail(&mut self) -> bool {
        let Some(facts) = &mut self.facts else { return false };
        let before = facts.trail.bytes;
        facts.trail.shrink(AUDIT_EMPTY_BYTES_MAX);
        facts.trail.bytes < before
    }

    /// What was reported may be lost: it may be reported again.
    pub(crate) fn forget_reports(&mut self) {
        if let Some(facts) = &mut self.facts {
            facts.trail.reports = VecDeque::new();
        }
    }

    /// How it was proposed that somebody reports a message, by a hash of both, if that was lately.
    pub(crate) fn reported(&self, report: u64) -> Option<Ticket> {
        let mut reports = self.facts.iter().flat_map(|facts| &facts.trail.reports);
        reports.find(|(of, _)| *of == report).map(|(_, ticket)| *ticket)
    }

    /// Notes that somebody has reported a message.
    pub(crate) fn note_report(&mut self, report: u64, ticket: Ticket) {
        let reports = &mut self.facts.get_or_insert_default().trail.reports;
        if reports.len() == REPORTS_KNOWN_MAX {
            reports.pop_front();
        }
        reports.push_back((report, ticket));
    }

    /// What was proposed so is not known to be reported: it may be reported again.
    pub(crate) fn forget_report(&mut self, ticket: Ticket) {
        if let Some(facts) = &mut self.facts {
            facts.trail.reports.retain(|(_, of)| *of != ticket);
        }
    }

    /// The lines in memory that are wanted: the answer to `room_audit`.
    pub(crate) fn audit_page(&self, wanted: AuditWanted) -> Vec<u8> {
        let AuditWanted { before, limit, act } = wanted;
        let lines = self.facts.iter().flat_map(|facts| facts.trail.lines.iter().rev());
        let mut lines =
            lines.filter(|line| line.number < before && act.is_none_or(|act| act == line.act));
        let mut page = AuditPage::default();
        for line in lines.by_ref().take(limit as usize) {
            page.push(|out| out.extend_from_slice(line.json.as_bytes()));
        }
        page.end(lines.next().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::audit::INVITED;

    fn line(number: u64, act: AuditAct, text: &str) -> AuditLine<'_> {
        let (user, offset, set) = (None, None, None);
        AuditLine { number, act, by: "ann", user, offset, text: Some(text), set }
    }

    /// The numbers of the lines that are wanted, and whether there are more.
    fn numbers(room: &Room, before: u64, limit: u32, act: Option<AuditAct>) -> (Vec<u64>, bool) {
        let page = room.audit_page(AuditWanted { before, limit, act });
        let page: serde_json::Value = serde_json::from_slice(&page).expect("JSON");
        let acts = page["acts"].as_array().expect("an array");
        let numbers = acts.iter().map(|act| act["n"].as_u64().expect("a number")).collect();
        (numbers, page["more"].as_bool().expect("true or false"))
    }

    #[test]
    fn lines_are_told_the_newest_first_and_by_act() {
        let mut room = Room::new("room:tea", 7);
        let plain = room.weight_bytes();
        assert_eq!(room.next_audit_number(), 1);
        assert_eq!(numbers(&room, u64::MAX, 9, None), (vec![], false));
        for number in 1..=5 {
            let act = if number % 2 == 0 { AuditAct::MsgReport } else { AuditAct::RoomSet };
            assert_eq!(room.next_audit_number(), number);
            room.apply_audit(&line(number, act, "\"x\""), 7, true);
        }
        assert!(room.weight_bytes() > plain, "it counts");
        assert_eq!(numbers(&room, u64::MAX, 2, None), (vec![5, 4], true));
        assert_eq!(numbers(&room, 4, 9, None), (vec![3, 2, 1], false));
        assert_eq!(numbers(&room, u64::MAX, 9, Some(AuditAct::MsgReport)), (vec![4, 2], false));
        assert_eq!(numbers(&room, 4, 1, Some(AuditAct::RoomSet)), (vec![3], true));
        assert_eq!(numbers(&room, 0, 9, None), (vec![], false));
    }

    #[test]
    fn the_oldest_lines_go_where_they_are_too_many_and_numbers_go_on() {
        let mut room = Room::new("room:tea", 7);
        let text = format!("\"{}\"", "x".repeat(1_000));
        for number in 1..=200 {
            room.apply_audit(&line(number, AuditAct::MsgReport, &text), 7, true);
        }
        let (kept, more) = numbers(&room, u64::MAX, 1_000, None);
        assert!(!more && kept.len() > 50 && kept.len() < 66, "{}", kept.len());
        assert!((1..=200).rev().take(kept.len()).eq(kept));
        assert_eq!(room.next_audit_number(), 201);
    }

    #[test]
    fn reports_take_each_other_s_place_and_not_that_of_what_was_done() {
        let mut room = Room::new("room:tea", 7);
        room.apply_audit(&line(1, AuditAct::RoomMember, "\"ban\""), 7, true);
        let text = format!("\"{}\"", "x".repeat(1_000));
        for number in 2..=200 {
            room.apply_audit(&line(number, AuditAct::MsgReport, &text), 7, true);
        }
        assert_eq!(numbers(&room, u64::MAX, 9, Some(AuditAct::RoomMember)), (vec![1], false));
        for number in 201..=400 {
            room.apply_audit(&line(number, AuditAct::RoomSet, &text), 7, true);
        }
        assert_eq!(numbers(&room, 2, 9, None), (vec![], false), "each has its part");
        let reports = numbers(&room, u64::MAX, 1_000, Some(AuditAct::MsgReport)).0.len();
        assert!(reports > 25 && reports < 33, "{reports}");
        room.shrink_trail();
        let rest = numbers(&room, u64::MAX, 1_000, None).0;
        assert!(rest.len() <= 2 && rest[0] == 400, "{rest:?}");
        let large = format!("\"{}\"", "x".repeat(100_000));
        room.apply_audit(&line(401, AuditAct::RoomSet, &large), 7, true);
        assert_eq!(numbers(&room, u64::MAX, 9, None), (vec![401], false), "the newest stays");
    }

    #[test]
    fn who_comes_in_by_invites_pushes_out_nothing_that_was_done() {
        let mut room = Room::new("room:tea", 7);
        room.apply_audit(&line(1, AuditAct::RoomMember, "\"ban\""), 7, true);
        for number in 2..=2_000 {
            let invited = AuditLine {
                text: None,
                set: Some(INVITED),
                ..line(number, AuditAct::RoomMember, "")
            };
            room.apply_audit(&invited, 7, true);
        }
        let lines = numbers(&room, u64::MAX, 2_000, None).0;
        assert!(lines.len() < 1_000 && lines.last() == Some(&1), "{}", lines.len());
    }

    #[test]
    fn where_the_log_has_them_only_the_number_is_known() {
        let mut room = Room::new("room:tea", 7);
        room.apply_audit(&line(7, AuditAct::RoomSet, "\"x\""), 7, false);
        assert_eq!(room.next_audit_number(), 8);
        assert_eq!(numbers(&room, u64::MAX, 9, None), (vec![], false));
    }

    #[test]
    fn the_latest_reports_are_known() {
        let mut room = Room::new("room:tea", 7);
        assert_eq!(room.reported(1), None);
        for report in 0..=REPORTS_KNOWN_MAX as u64 {
            room.note_report(report, report + 100);
        }
        assert_eq!((room.reported(0), room.reported(1)), (None, Some(101)));
        assert!(room.reported(REPORTS_KNOWN_MAX as u64).is_some());
        room.forget_reports();
        assert_eq!(room.reported(1), None);
    }
}

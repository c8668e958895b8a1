//! The audit trail of rooms: reports, which are nothing but a line of it, and what it is told as.
//! The lines of what was done come with that: see `deciding` and `changing`.
//!
//! ```text
//!   msg_report ── the message is there ── a line by itself ── answered when it is kept
//!   room_audit ─┬─ the log has more than memory: Log::audit ── here ── the held answer
//!               └─ else: what the room has in memory
//! ```
//!
//! Deliberately absent: what a line says (`link::audit`), and who may see it (`room::rights`).
//!
//! Called by: `rooms`, `deciding`, `changing`. Calls: `room`, `registry`, `deciding`, `changing`,
//! `searching`, the log.

use crate::link::audit::{AuditAct, AuditLine};
use crate::link::ids::RoomKey;
use crate::link::io::Io;
use crate::link::log::{Audit, Log, Ticket, What, Why};
use crate::link::message::text;
use crate::link::outbox::{Cx, Tell};
use crate::link::record::{ToHome, Verb};
use crate::link::refusal::Refusal;
use crate::link::said::MessageText;
#[cfg(test)]
use crate::room::planted::{self, Planted};
use crate::rooms::deciding::Decided;
use crate::rooms::held::Membership;
use crate::rooms::registry::Registered;
use crate::rooms::{Answer, Rooms};

impl Rooms {
    /// Handles that a member reports a message to those who look after the room.
    ///
    /// Requires: the asker is a member. Changes: the trail, or what is under way. Emits: the
    /// answer; nobody else hears of it.
    pub(super) fn report<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        shard: u16,
        push: ToHome<'_>,
    ) {
        let ToHome::Report { home: key, asker, reference, offset, text } = push else {
            unreachable!("called for reports")
        };
        let membership = Membership { room: key, shard, asker };
        let Some((by, now_ms)) = self.decides(cx, members, membership, reference, push) else {
            return;
        };
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        // Who is put out is a member until its shard says that it has left.
        if let Err(refusal) = room.may_be_here(asker.slot, now_ms) {
            return self.answer_refused(cx, members, membership, reference, refusal);
        }
        let found = self.message_at(cx, key, offset).and_then(|found| match found {
            Some(message) if message.fate().deleted.is_some() => Err(Refusal::Gone),
            found => Ok(found),
        });
        let message = match found {
            Ok(Some(message)) => message,
            Ok(None) => return self.fetch(cx, members, membership, reference, offset, push),
            Err(refusal) => {
                return self.answer_refused(cx, members, membership, reference, refusal);
            }
        };
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        let report = self.key_hashers[0].hash_one((&*by, offset));
        if let Some(ticket) = room.reported(report) {
            let is_doubtful = self.pending.get(key, ticket).map(|entry| entry.is_doubtful);
            #[cfg(test)]
            let is_doubtful = is_doubtful.filter(|_| !planted::is(Planted::ReportsUnkept));
            return match is_doubtful {
                None => self.reply(cx, members, membership, Answer::ok(reference, "{}")),
                Some(false) => self.hold(membership, ticket, reference),
                Some(true) => {
                    let refusal = Why::Unconfirmed.refusal();
                    self.answer_refused(cx, members, membership, reference, refusal);
                }
            };
        }
        let line = AuditLine {
            user: Some(&message.said.user),
            offset: Some(offset),
            text,
            ..AuditLine::new(room.next_audit_number(), AuditAct::MsgReport, &by)
        };
        match self.propose_decision(cx, membership, What::Noted, Some(&line)) {
            Ok(Decided::Holds(under_way)) => {
                let ticket = under_way.as_ref().map_or(0, |(ticket, _)| *ticket);
                self.note_report(key, report, ticket);
                self.answer_with(cx, members, membership, reference, under_way, "{}");
            }
            Ok(Decided::Later(ticket, entry)) => {
                self.note_report(key, report, ticket);
                self.hold_decided(ticket, reference, entry, push);
            }
            Err(why) => {
                self.answer_refused(cx, members, membership, reference, why.refusal());
            }
        }
    }

    /// Notes how it was proposed that somebody reports a message.
    fn note_report(&mut self, key: RoomKey, report: u64, ticket: Ticket) {
        if let Some(registered) = self.arena.get_mut(key) {
            registered.room.note_report(report, ticket);
            self.registry.weigh(registered);
        }
    }

    /// Answers what the audit trail of a room says.
    ///
    /// Requires: the asker is a member. Emits: the answer, or `Log::audit` and the answer later.
    pub(super) fn audit<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        shard: u16,
        push: ToHome<'_>,
    ) {
        let ToHome::Audit { home: key, asker, reference, wanted } = push else {
            unreachable!("called for the audit trail")
        };
        let membership = Membership { room: key, shard, asker };
        if self.asks_later(membership, reference, push) {
            return;
        }
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        if let Err(refusal) = room.may_look_after(asker.slot, cx.now.unix_ms) {
            return self.answer_refused(cx, members, membership, reference, refusal);
        }
        if !cx.io.log().reads() {
            let page = room.audit_page(wanted);
            return self.reply(cx, members, membership, Answer::ok(reference, text(&page)));
        }
        let bytes = cx.settings.history.page_bytes;
        self.look_up(cx, members, membership, reference, |cx, ticket| {
            cx.io.log().audit(Audit { room: key, ticket, wanted, bytes })
        });
    }

    /// Notes a line that its log has taken, or has told.
    pub(super) fn note_audit<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: RoomKey,
        line: &AuditLine<'_>,
        at_ms: u64,
    ) {
        let is_only_here = !cx.io.log().reads();
        let Some(registered) = self.arena.get_mut(key) else { return };
        registered.room.apply_audit(line, at_ms, is_only_here);
        self.registry.weigh(registered);
    }
}

/// What the trail says of what somebody does to a message; none of what concerns nobody else.
pub(super) fn audited<'a>(
    number: u64,
    verb: Verb<'_>,
    by: &'a str,
    (offset, message): (u64, &'a MessageText),
) -> Option<AuditLine<'a>> {
    let (act, set) = match verb {
        Verb::Delete if *message.said.user != *by => (AuditAct::MsgDelete, None),
        Verb::Pin { on: true } => (AuditAct::MsgPin, Some("{\"on\":true}")),
        Verb::Pin { on: false } => (AuditAct::MsgPin, Some("{\"on\":false}")),
        Verb::Edit { .. } | Verb::Delete => return None,
    };
    let (user, offset, text) = (Some(&*message.said.user), Some(offset), None);
    Some(AuditLine { number, act, by, user, offset, text, set })
}

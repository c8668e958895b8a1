//! What a home asks of a pretend log: see [`chinwag::link::log`].

use chinwag::link::audit::LineText;
use chinwag::link::ids::RoomKey;
use chinwag::link::log::{
    Append, Appended, Audit, Find, Log, Opening, Placed, Read, Say, Sought, Spoken, UnkeptText,
    WhatText, Why,
};

use super::defects::LogDefect;
use super::reads::Finding;
use super::room::{Deciding, Room, Unanswered, Waiting};
use super::told::Told;
use super::{PretendLog, Pretends, Reading};

impl Log for PretendLog {
    fn is_shared(&self) -> bool {
        self.is_engine()
    }

    fn open(&mut self, room: RoomKey, topic: &str, fresh_epoch: u64) -> Opening {
        let (is_later, is_refused) = (self.one_in(2), self.one_in(12));
        if is_refused && !is_later {
            return Opening::Refused(Why::Busy);
        }
        let (is_new, pretends) = (!self.rooms.contains_key(topic), self.pretends);
        let (defect, is_engine) = (self.defect, self.is_engine());
        self.epochs += 1;
        let fresh_epoch = if is_engine { self.epochs } else { fresh_epoch };
        let kept = self.rooms.entry(topic.to_owned()).or_default();
        topic.strip_prefix("room:").unwrap_or_default().clone_into(&mut kept.name);
        kept.key = Some(room);
        kept.opened_at = kept.durable;
        kept.forget_asker();
        if is_new {
            kept.epoch = fresh_epoch;
        }
        if pretends == Pretends::SeenIsKept || !is_engine && !kept.deciding.is_empty() {
            // It is opened behind all that was decided in it before; or behind all that was said,
            // and the home hears of all of it.
            kept.durable = kept.entries.len();
            kept.heard = kept.durable;
            kept.keep_decisions(u64::MAX);
        }
        let opened = (!is_new || is_engine).then(|| kept.opened(defect));
        if !is_later {
            return opened.map_or(Opening::New, Opening::Kept);
        }
        // What other nodes say meanwhile comes behind it.
        kept.said.push_back(if is_refused {
            Told::NotOpened { why: Why::Storage }
        } else {
            Told::Opened { opened }
        });
        Opening::Later
    }

    fn say(&mut self, say: Say<'_>) -> Spoken {
        let Say { room, topic, ticket, to, what } = say;
        if !self.is_engine() {
            return Spoken::Now;
        }
        if self.is_failing || self.one_in(30) {
            return Spoken::Refused(if self.is_failing { Why::Unavailable } else { Why::Busy });
        }
        let of = self.rooms.get_mut(topic).expect("it was opened");
        assert_eq!(of.key, Some(room), "what is said is said in an open room");
        if to.is_none() {
            of.saying.push_back((ticket, UnkeptText::new(what)));
        }
        Spoken::Later
    }

    fn reads(&self) -> bool {
        true
    }

    fn read(&mut self, read: Read<'_>) -> Result<(), Why> {
        let Read { room, topic, ticket, wanted } = read;
        if self.is_failing || self.one_in(30) {
            return Err(if self.is_failing { Why::Storage } else { Why::Busy });
        }
        assert!(self.rooms[topic].key == Some(room), "what is read is open");
        assert!(wanted.after < wanted.upto || wanted.changed.is_some(), "something is read");
        let (topic, entries) = (topic.to_owned(), self.rooms[topic].entries.len());
        self.reads.push(Reading { room, topic, ticket, wanted, entries, found: None });
        Ok(())
    }

    fn finds(&self) -> bool {
        !self.is_engine()
    }

    fn find(&mut self, find: Find<'_>) -> Result<(), Why> {
        let Find { room, ticket, sought } = find;
        if self.is_failing || self.one_in(30) {
            return Err(if self.is_failing { Why::Storage } else { Why::Busy });
        }
        let Sought { query, from, before, messages, bytes: _ } = sought;
        let (query, from) = (query.to_owned(), from.map(str::to_owned));
        let messages = usize::try_from(messages).expect("few");
        let of = self.rooms.values().find(|of| of.key == Some(room));
        let entries = of.map_or(0, |of| of.entries.len());
        self.finds.push(Finding { room, ticket, entries, query, from, before, messages });
        Ok(())
    }

    fn audit(&mut self, audit: Audit) -> Result<(), Why> {
        if self.is_failing {
            return Err(Why::Storage);
        }
        let is_it = |of: &&mut Room| of.key == Some(audit.room);
        let room = self.rooms.values_mut().find(is_it).expect("it was opened");
        let (ticket, page) = (audit.ticket, room.audit_page(audit.wanted, self.defect));
        room.said.push_back(Told::Audited { ticket, page });
        Ok(())
    }

    fn list(&mut self, after: u64) -> bool {
        // An engine would list rooms of other nodes, which are not tried yet.
        if self.is_engine() {
            return false;
        }
        self.list_after = Some(after);
        true
    }

    fn close(&mut self, room: RoomKey) {
        for kept in self.rooms.values_mut().filter(|kept| kept.key == Some(room)) {
            kept.key = None;
            kept.forget_asker();
        }
    }

    fn append(&mut self, append: Append<'_>) -> Appended {
        let Append { topic, ticket, top, at_ms, entry, .. } = append;
        if self.is_failing {
            let why = if self.is_engine() { Why::Unavailable } else { Why::Storage };
            return Appended::Refused(why);
        }
        if self.one_in(30) {
            return Appended::Refused(Why::Busy);
        }
        let pretends = self.pretends;
        let room = self.rooms.get_mut(topic).expect("it was opened");
        if room.is_in_doubt() {
            return Appended::Refused(Why::Storage);
        }
        if pretends == Pretends::Engine {
            // Its home may not know yet that the place is lost.
            let ticket = Some(ticket).filter(|_| !room.is_closed());
            let (judged, what) = (entry.judged, WhatText::new(entry.what));
            let line = entry.audit.map(LineText::new);
            if ticket.is_none() && what.what().is_of_room() {
                return Appended::Later;
            }
            room.waiting.push_back(Waiting { ticket, judged, at_ms, what, line });
            return Appended::Later;
        }
        if entry.what.is_of_room() {
            let lines = room.audited.len();
            room.decide(entry.what);
            room.note(entry.audit, at_ms, self.defect);
            let is_taken = pretends == Pretends::OkIsTaken;
            let is_early = self.defect == Some(LogDefect::AckedBeforeKept);
            if is_early && !is_taken {
                let placed = Placed::decision(at_ms);
                room.said.push_back(Told::Kept { ticket, placed });
            }
            let ticket = (!is_taken && !is_early).then_some(ticket);
            let (entries, decided, rev) = (room.entries.len(), room.decided.clone(), room.rev);
            room.deciding.push_back(Deciding { entries, decided, rev, lines, ticket });
            return if is_taken { Appended::Kept } else { Appended::Ordered };
        }
        let what = WhatText::new(entry.what);
        let at_ms = room.at_ms(at_ms);
        if pretends != Pretends::SeenIsKept {
            assert_eq!(top, room.top(), "home and store stand at one place");
        }
        if pretends == Pretends::SeenIsKept && !room.is_judged_by(&what) {
            // It was judged before a change was heard of that the log has been in doubt of.
            return Appended::Refused(Why::Conflict);
        }
        assert!(
            room.is_judged_by(&what),
            "a change is judged by the message as it stands: {what:?}"
        );
        let placed = room.push(at_ms, what);
        room.note(entry.audit, at_ms, self.defect);
        let entries = room.entries.len();
        match pretends {
            Pretends::OkIsTaken => return Appended::Kept,
            Pretends::SeenIsKept => {
                room.unanswered.push_back(Unanswered { entries, ticket, placed });
                if self.defect == Some(LogDefect::SeenBeforeKept) {
                    room.tell_upto(entries);
                }
                return Appended::Later;
            }
            Pretends::Store | Pretends::Engine => {}
        }
        if self.defect == Some(LogDefect::AckedBeforeKept) && room.durable < entries {
            room.said.push_back(Told::Kept { ticket, placed });
        } else {
            room.unanswered.push_back(Unanswered { entries, ticket, placed });
        }
        Appended::Ordered
    }
}

//! Clients that come back, while what they missed is read.
//!
//! ```text
//!   join ── Log::read ── FromLog::Read ─┬─> all of it is there: the answer, from that and memory
//!                                       ├─> memory has moved on: what is between is read too
//!                                       └─> it cannot be told all: `recovered: false`
//! ```
//!
//! A client may have heard more at another node than its room knows here. Its join waits first
//! until the room has caught up, or its log says that this cannot be known.
//!
//! A join waits here, and its room stays for it; its client is not a member yet.
//!
//! Invariant: what is told was read in the room's epoch, and lacks no change that is forgotten.
//!
//! Deliberately absent: what a client missed (`room::resume`).
//!
//! Called by: `membership`, `reading`. Calls: `room`, `reads`, `membership`, the log.

use std::collections::BTreeMap;

use crate::limits::{ANSWER_BYTES_PER_WORK, READS_OF_ONE_MAX};
use crate::link::ids::{Cursor, RoomKey};
use crate::link::io::Io;
use crate::link::log::{Log, Part, View, Wanted};
use crate::link::outbox::{Cx, Tell};
use crate::link::record::ToHome;
use crate::link::refusal::Refusal;
use crate::link::said::MessageText;
use crate::room::Room;
use crate::room::journal::{Missed, Older};
use crate::rooms::Rooms;
use crate::rooms::reads::{Returning, Whom, cursor_of};
use crate::rooms::registry::Registered;

impl Rooms {
    /// Has a room catch up with other nodes, if a client comes that may have heard more there: then
    /// the join waits, and this is true. Where that cannot be known it is judged by what its room
    /// knows.
    pub(super) fn must_catch_up<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: RoomKey,
        shard: u16,
        join: &ToHome<'_>,
    ) -> bool {
        let Some(Registered { room, .. }) = self.arena.get(key) else { return false };
        let Some(cursor) = cursor_of(join).filter(|_| cx.io.log().is_shared()) else {
            return false;
        };
        if room.name().is_none() || !room.journal().is_behind(cursor) {
            return false;
        }
        let Some((ticket, asked)) = self.ask_to_catch_up(cx, key) else { return false };
        let returning = Returning::new(shard, true, *join);
        self.reads.insert(ticket, asked.of(Whom::Join(returning)));
        true
    }

    /// Goes on with a join for which its room was to catch up.
    pub(super) fn go_on_caught_up<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        returning: &Returning,
    ) {
        if is_first(returning) && cx.is_busy(returning.shard) {
            return self.refuse_returning(cx, members, key, returning, Refusal::Busy);
        }
        // It may have been banned while it waited.
        if let Err(refusal) = self.may_enter(cx, key, &returning.join()) {
            return self.refuse_returning(cx, members, key, returning, refusal);
        }
        let bytes = self.come_back(cx, members, key, returning.shard, returning.join());
        cx.budget.spend_for(bytes, ANSWER_BYTES_PER_WORK);
    }

    /// Asks the log for what a client has missed, if it has to be read: then the join waits, and
    /// this is true.
    ///
    /// # Errors
    ///
    /// Why it cannot be read now.
    pub(super) fn read_missed<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: RoomKey,
        shard: u16,
        join: &ToHome<'_>,
    ) -> Result<bool, Refusal> {
        let Some(Registered { room, .. }) = self.arena.get(key) else { return Ok(false) };
        let Some(cursor) = cursor_of(join).filter(|_| cx.io.log().reads()) else {
            return Ok(false);
        };
        let limits = &cx.settings.history;
        let Some(wanted) = missed_in_log(room, cursor, None, limits.page_bytes, cx) else {
            return Ok(false);
        };
        let (ticket, asked) = self.ask_log(cx, key, wanted, 1)?;
        let returning = Returning::new(shard, false, *join);
        self.reads.insert(ticket, asked.of(Whom::Join(returning)));
        Ok(true)
    }

    /// Goes on with a join that something was read for, which has been asked `attempts` times; if
    /// that is none, it cannot be told all.
    pub(super) fn go_on_returning<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        mut returning: Returning,
        attempts: Option<u32>,
    ) {
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        let (Some(cursor), Some(attempts)) = (returning.cursor(), attempts) else {
            return self.enter_returning(cx, members, key, &returning, false);
        };
        // What is in memory is told from there.
        let before = (room.history().first() - 1).saturating_sub(cursor.offset);
        returning.read.truncate(usize::try_from(before).unwrap_or(usize::MAX));
        // After a turn, or where too much has changed, nothing that was read is of use.
        let has = returning.changed.is_some() || cursor.change.is_none();
        let lacks_changes = || missed_in_log(room, cursor, None, usize::MAX, cx).is_some();
        let is_whole = returning.read.len() as u64 == before && (has || !lacks_changes());
        #[cfg(test)]
        let is_whole = is_whole || self.reads.has_gaps;
        if is_whole {
            return self.enter_returning(cx, members, key, &returning, true);
        }
        let has_bytes: usize = returning.read.iter().map(|of| of.said.text_bytes()).sum();
        let bytes = cx.settings.history.page_bytes.saturating_sub(has_bytes);
        let upto = has.then_some(returning.upto(cursor));
        let wanted = missed_in_log(room, cursor, upto, bytes, cx);
        let Some(wanted) = wanted.filter(|_| attempts < READS_OF_ONE_MAX) else {
            return self.enter_returning(cx, members, key, &returning, false);
        };
        match self.ask_log(cx, key, wanted, attempts + 1) {
            Ok((ticket, asked)) => self.reads.insert(ticket, asked.of(Whom::Join(returning))),
            Err(refusal) => self.refuse_returning(cx, members, key, &returning, refusal),
        }
    }

    /// Lets a client in that waited for what it missed: with that, if it is whole.
    fn enter_returning<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        returning: &Returning,
        is_whole: bool,
    ) {
        if is_first(returning) && cx.is_busy(returning.shard) {
            return self.refuse_returning(cx, members, key, returning, Refusal::Busy);
        }
        // It may have been banned while it waited.
        if let Err(refusal) = self.may_enter(cx, key, &returning.join()) {
            return self.refuse_returning(cx, members, key, returning, refusal);
        }
        let Some(Registered { room, .. }) = self.arena.get(key) else { return };
        let mut messages = Vec::new();
        let after = returning.cursor().map_or(0, |cursor| cursor.offset);
        for (offset, message) in (after + 1..).zip(&returning.read) {
            room.push_read(&mut messages, offset, message);
        }
        messages.pop_if(|last| *last == b',');
        let changed: Option<BTreeMap<u64, Vec<u8>>> = returning.changed.as_ref().map(|changed| {
            let read = |(offset, message): &(u64, MessageText)| {
                let mut out = Vec::new();
                room.push_read(&mut out, *offset, message);
                out.pop();
                (*offset, out)
            };
            changed.iter().map(read).collect()
        });
        let changed_texts = returning.changed.iter().flatten().map(|(offset, of)| (*offset, of));
        let read = (after + 1..).zip(&returning.read).chain(changed_texts);
        let reactions = read.filter_map(|(offset, of)| Some((offset, of.reacted()?)));
        let reactions = &*reactions.collect::<Vec<_>>();
        let older =
            Older::Read { after, messages: &messages, changed: changed.as_ref(), reactions };
        let older = if is_whole { older } else { Older::InLog };
        let bytes = self.enter(cx, members, key, returning.shard, returning.join(), older);
        cx.budget.spend_for(bytes, ANSWER_BYTES_PER_WORK);
    }

    /// Refuses a client that waited for what it missed, or lets it in without that: a home takes in
    /// again whoever is in already.
    pub(super) fn refuse_returning<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        returning: &Returning,
        refusal: Refusal,
    ) {
        if !is_first(returning) {
            return self.enter_returning(cx, members, key, returning, false);
        }
        self.refuse_because(cx, members, returning.shard, returning.join(), refusal);
        self.retire_if_empty(cx, key);
    }
}

/// Whether a client is not in the room already.
fn is_first(returning: &Returning) -> bool {
    matches!(returning.join(), ToHome::Join { replaces: None, .. })
}

/// What is to be read of what a client missed, from behind `has` on, if it can be told all. Nothing
/// is told of rooms that are a user's own.
fn missed_in_log<I: Io>(
    room: &Room,
    cursor: Cursor,
    has: Option<u64>,
    bytes: usize,
    cx: &Cx<'_, I>,
) -> Option<Wanted> {
    room.name()?;
    let missed = room.journal().recover(cursor, Older::InLog, &cx.settings.history)?;
    let Missed::InLog { after, upto, changed } = missed else { return None };
    // What has changed was read with the first of it.
    let (after, changed) = has.map_or((after, changed), |has| (has, None));
    let (part, messages, view) = (Part::All, u32::MAX, View::Room);
    Some(Wanted { after, upto, part, messages, bytes, changed, view })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::identity::{Identity, NEVER_S};
    use crate::auth::level::Level;
    use crate::base::arena::Key;
    use crate::limits::ROOM_COOLS_MS;
    use crate::link::log::{
        Append, Appended, FromLog, Marks, Opened, Opening, Placed, Read, Stretch, Ticket, What, Why,
    };
    use crate::link::record::{From, Received, ToMember, Who, read};
    use crate::link::said::{Fate, Said};
    use crate::rooms::tests::{Home, conn};

    /// A log that others have, too, and that may be behind them.
    #[derive(Default)]
    struct LateLog {
        is_away: bool,
        /// What it has of each room that is opened.
        kept: Option<Opened>,
        asked: Vec<(RoomKey, Ticket)>,
        closed: Vec<RoomKey>,
    }

    impl Log for LateLog {
        fn is_shared(&self) -> bool {
            true
        }
        fn open(&mut self, _: RoomKey, _: &str, _: u64) -> Opening {
            self.kept.clone().map_or(Opening::New, Opening::Kept)
        }
        fn reads(&self) -> bool {
            true
        }
        fn read(&mut self, read: Read<'_>) -> Result<(), Why> {
            self.asked.push((read.room, read.ticket));
            Ok(())
        }
        fn append(&mut self, _: Append<'_>) -> Appended {
            Appended::Later
        }
        fn catch_up(&mut self, room: RoomKey, ticket: Ticket) -> Result<(), Why> {
            if self.is_away {
                return Err(Why::Unavailable);
            }
            self.asked.push((room, ticket));
            Ok(())
        }
        fn close(&mut self, room: RoomKey) {
            self.closed.push(room);
        }
    }

    const SAID: Said<'_> = Said {
        user: "ann",
        name: "ann",
        body: "\"hi\"",
        key: None,
        reply_to: None,
        thread: None,
        mentions: None,
        data: None,
        stream: false,
    };

    /// A room that stands there, of which the last message is in memory.
    fn kept(top: Marks) -> Opened {
        let tail = vec![MessageText::new(7, SAID, Fate::default())];
        Opened { epoch: 5, origin: 5, top, tail, ..Opened::default() }
    }

    impl Home<LateLog> {
        /// Somebody comes back with a cursor. Whether it was told that it recovers, if it was let
        /// in.
        fn comes_back(&mut self, number: u64, epoch: u64, offset: u64) -> Option<bool> {
            let identity = Identity::new("bob", "bob", NEVER_S, None).expect("valid");
            let join = ToHome::Join {
                conn: conn(number),
                audience: Key::from_u64(9 << 32),
                topic: "room:tea",
                who: Who::Here(&identity),
                level: Level::Speak,
                visible: true,
                since: Some(Cursor { epoch, offset, change: Some(0) }),
                limit: 10,
                meta: None,
                replaces: None,
                address: None,
                invite: None,
            };
            self.with(|rooms, cx, told| rooms.ask_for_room(cx, told, 0, join));
            self.recovered()
        }

        /// How many rooms there are when so much time has passed.
        fn rooms_after(&mut self, ms: u64) -> usize {
            self.now_ms += ms;
            while self.fire_next() {}
            self.rooms.len()
        }

        /// What whoever was let in last was told.
        fn recovered(&mut self) -> Option<bool> {
            let told = std::mem::take(&mut self.told.0);
            let recovered = |record: &Vec<u8>| match read(record) {
                Received::ToMember(ToMember::Joined { response, .. }) => {
                    Some(response.contains("\"recovered\":true"))
                }
                _ => None,
            };
            told.iter().rev().find_map(|(_, record)| recovered(record))
        }

        /// The log answers what it was asked last: nothing is missing, or it does not know.
        fn answers(&mut self, is_known: bool) -> Option<bool> {
            let (room, ticket) = self.mesh.log.asked.pop().expect("it was asked");
            let stretch = &Stretch::default();
            self.hears(if is_known {
                FromLog::Read { room, ticket, stretch }
            } else {
                FromLog::NotRead { room, ticket, why: Why::Unavailable }
            });
            self.recovered()
        }

        fn hears(&mut self, message: FromLog<'_>) {
            self.with(|rooms, cx, told| rooms.hear_log(cx, told, message));
        }

        fn hears_said(&mut self, room: RoomKey, offset: u64) {
            let (marks, what) = (Marks { offset, change: 0 }, What::Message(SAID));
            let placed = Placed { marks, at_ms: 7 };
            self.hears(FromLog::Entry {
                room,
                ticket: None,
                placed,
                rev: 0,
                what,
                line: None,
                was_missed: false,
            });
        }
    }

    #[test]
    fn whoever_has_heard_more_elsewhere_waits_until_its_room_has_too() {
        let mut home = Home::with_log(LateLog::default());
        let (room, _) = home.enter(0, 1, "ann", Level::Speak);
        let epoch = home.rooms.arena.get(room).expect("it is open").room.journal().epoch();
        assert_eq!(home.comes_back(2, epoch, 0), Some(true), "it has heard no more");
        assert_eq!(home.comes_back(3, epoch, 1), None);
        home.hears_said(room, 1);
        assert_eq!(home.answers(true), Some(true));
        assert_eq!(home.comes_back(4, epoch, 2), None);
        assert_eq!(home.answers(true), Some(false), "that is lost");
        assert_eq!(home.comes_back(5, epoch + 1, 1), None, "it may have turned");
        assert_eq!(home.answers(false), Some(false), "as far as anybody knows");
        home.mesh.log.is_away = true;
        assert_eq!(home.comes_back(6, epoch, 2), Some(false));
    }

    /// The room does not know any more which messages have changed, so that is read.
    #[test]
    fn whoever_comes_back_while_its_room_turns_is_told_all_that_it_missed() {
        let mut home = Home::with_log(LateLog::default());
        let top = Marks { offset: 1, change: 2 };
        home.mesh.log.kept = Some(kept(top));
        let (room, _) = home.enter(0, 1, "ann", Level::Speak);
        assert_eq!(home.comes_back(2, 5, 1), None, "it is read what has changed");
        home.hears(FromLog::Turned { room, epoch: 6, kept: top });
        assert_eq!(home.answers(true), None, "it was read in another epoch");
        assert_eq!(home.answers(true), Some(true));
    }

    #[test]
    fn a_room_that_others_have_too_goes_when_nobody_was_in_it_for_a_while() {
        let mut home = Home::with_log(LateLog::default());
        let (room, asker) = home.enter(0, 1, "ann", Level::Speak);
        home.hears_said(room, 1);
        let leave = |asker| ToHome::Leave { home: room, asker, reference: None };
        home.hear(0, leave(asker));
        assert_eq!(home.rooms_after(ROOM_COOLS_MS - 1), 1);
        // Whoever comes back meanwhile, and leaves again, begins anew.
        let (_, asker) = home.enter(0, 2, "ann", Level::Speak);
        assert_eq!(home.rooms_after(ROOM_COOLS_MS), 1, "somebody is there");
        home.hear(0, leave(asker));
        assert_eq!(home.rooms_after(ROOM_COOLS_MS - 1), 1);
        assert_eq!(home.mesh.log.closed, []);
        assert_eq!(home.rooms_after(1), 0);
        assert_eq!(home.mesh.log.closed, [room]);
    }

    /// As by a purge, which goes on when whoever has begun it has left.
    #[test]
    fn a_room_in_which_nobody_is_stays_while_something_of_it_is_read() {
        let mut home = Home::with_log(LateLog::default());
        home.mesh.log.kept = Some(kept(Marks { offset: 5, change: 0 }));
        let (room, asker) = home.enter(0, 1, "ann", Level::Speak);
        let (view, from, limit) = (View::Room, From::Before(3), 2);
        home.hear(0, ToHome::History { home: room, asker, reference: "1", view, from, limit });
        home.hear(0, ToHome::Leave { home: room, asker, reference: None });
        assert_eq!(home.rooms_after(ROOM_COOLS_MS), 1);
        assert_eq!(home.answers(true), None);
        assert_eq!(home.rooms_after(ROOM_COOLS_MS), 0);
    }

    #[test]
    fn a_room_stays_while_somebody_waits_until_it_has_caught_up() {
        let mut home = Home::with_log(LateLog::default());
        let (room, asker) = home.enter(0, 1, "ann", Level::Speak);
        let epoch = home.rooms.arena.get(room).expect("it is open").room.journal().epoch();
        assert_eq!(home.comes_back(2, epoch, 1), None);
        home.hear(0, ToHome::Leave { home: room, asker, reference: None });
        assert_eq!(home.answers(true), Some(false));
        assert_eq!(home.rooms.members_count(), 1);
    }
}

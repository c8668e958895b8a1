//! Rooms that are made on purpose, and the answers that wait until their log has kept that.
//!
//! ```text
//!   create ── is it there? ─┬ yes: 200
//!                           └ no: Log::append(Founded) ─┬ Kept: 201
//!                                                       ├ Ordered, Later: it waits, and so does
//!                                                       │   whoever asks for the room meanwhile
//!                                                       └ Refused: 503, and it is not made
//! ```
//!
//! Where several homes share the log, the room is made when its entry has come back. If another
//! home has made it meanwhile, that is a conflict, and whoever asked is answered that it is there.
//!
//! Invariant: a room whose founding is under way is not let go of.
//!
//! Deliberately absent: who may make a room, and how many. The shard of the connection checks that.
//!
//! Called by: `rooms`, `committing`, `deciding`, `again`. Calls: `room`, `registry`, `listings`,
//! `pending`, the log.

use std::collections::HashMap;

use crate::auth::level::{Level, Standing};
use crate::base::slack::Slack;
use crate::link::ids::{ConnKey, RoomKey};
use crate::link::io::Io;
use crate::link::log::{Append, Appended, Entry, Log, Ticket, What, Why};
use crate::link::message::text;
use crate::link::outbox::{Cx, Tell};
use crate::link::record::ToMember;
use crate::link::refusal::Refusal;
use crate::rooms::Rooms;
use crate::rooms::held::Membership;
use crate::rooms::under_way::{Again, UnderWay};

/// The status of HTTP of a room that has been made.
const MADE: u16 = 201;

/// And of one that was there.
const THERE: u16 = 200;

/// And of one that cannot be made.
const NOT_MADE: u16 = 503;

/// And of one that is there, and not for whoever asks.
const FORBIDDEN: u16 = 403;

/// Foundings that a log has not kept yet. See the module.
#[derive(Default)]
pub(super) struct Foundings(HashMap<RoomKey, Founding, ahash::RandomState>);

struct Founding {
    ticket: Ticket,
    /// Who is answered when it is kept, and with which status.
    waiting: Vec<(Creator, u16)>,
    /// Whether those who waited were told that it may be kept.
    is_doubtful: bool,
    /// The title and the user, of one that holds only when its entry comes back.
    asked: Option<(Box<str>, Box<str>)>,
}

/// A connection that asks for a room, and its shard.
pub(super) type Creator = (u16, ConnKey);

impl Foundings {
    /// Whether the founding of a room is under way.
    pub(super) fn has(&self, room: RoomKey) -> bool {
        !self.0.is_empty() && self.0.contains_key(&room)
    }

    /// Takes out the one with this ticket, if it holds only when it comes back.
    fn take(&mut self, ticket: Ticket) -> Option<Founding> {
        if self.0.is_empty() {
            return None;
        }
        let is_it = |of: &Founding| of.ticket == ticket && of.asked.is_some();
        let room = self.0.iter().find(|(_, of)| is_it(of)).map(|(room, _)| *room)?;
        self.0.remove(&room)
    }

    /// Forgets a room that is removed.
    pub(super) fn forget(&mut self, room: RoomKey) {
        self.0.remove(&room);
    }

    /// Gives back memory that many foundings at once needed.
    pub(super) fn trim(&mut self, kept: usize) {
        self.0.trim(kept);
    }
}

/// Tells a client that its room is not made, and why: as a join would be, in the API's form.
pub(super) fn tell_not_made<I: Io>(
    cx: &mut Cx<'_, I>,
    members: &mut impl Tell<I>,
    (shard, conn): Creator,
    refusal: Refusal,
) {
    let (status, message) = match refusal {
        Refusal::TooManyRooms => (NOT_MADE, "no new room can be made"),
        Refusal::Unauthorized | Refusal::Banned { .. } => {
            (FORBIDDEN, "the room is not open to this user")
        }
        Refusal::Unconfirmed => (NOT_MADE, "it is not known whether the room is kept: try again"),
        _ => (NOT_MADE, "the room cannot be kept now: try again"),
    };
    let response = refusal.response();
    let reason = response.strip_prefix('{').expect("an object");
    let body = &*format!(r#"{{"error":{{"message":"{message}",{reason}}}"#);
    let retry_ms = refusal.retry_ms().unwrap_or_default();
    members.tell(cx, shard, ToMember::Created { conn, status, retry_ms, body });
}

impl Rooms {
    /// Makes a room without a member, unless it is there already, and answers with its listing once
    /// that is kept. Status 201 if the room is new, else 200.
    pub(super) fn create<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        creator: Creator,
        (title, user): (&str, &str),
    ) {
        let Some(registered) = self.arena.get_mut(key) else { return };
        if let Err(refusal) = registered.room.may_join(user, Level::Speak, cx.now.unix_ms) {
            refusal.count(cx.metrics);
            tell_not_made(cx, members, creator, refusal);
            return;
        }
        if let Some(founding) = self.foundings.0.get_mut(&key) {
            if founding.is_doubtful {
                return not_created(cx, members, creator, Why::Storage);
            }
            return founding.waiting.push((creator, THERE));
        }
        if registered.has_begun() || !registered.is_deserted() {
            if registered.room.members_count() == 0 {
                // Its log may have had it, or others may have spoken: then nothing here has told.
                self.list(key);
            }
            self.answer_created(cx, members, key, creator, THERE);
            // It may be kept, and have nothing in memory.
            return self.remove_if_deserted(cx, key);
        }
        if self.loading.is_closed(key) {
            return not_created(cx, members, creator, Why::Unavailable);
        }
        let ticket = self.pending.next_ticket();
        let room = &registered.room;
        let (judged, top) = (room.journal().judged(), room.journal().top());
        let appended = cx.io.log().append(Append {
            room: key,
            topic: room.topic(),
            ticket,
            top,
            at_ms: cx.now.unix_ms,
            entry: Entry { judged, what: What::Founded { title, owner: Some(user) }, audit: None },
        });
        if let Appended::Refused(why) = appended {
            not_created(cx, members, creator, why);
            return self.remove_if_deserted(cx, key);
        }
        let waiting = vec![(creator, MADE)];
        if appended == Appended::Later {
            let (nobody, proposals) = (Membership::of_nobody(key), 1 + self.proposals);
            let entry = UnderWay::new(nobody, ticket, judged);
            let again = Again::Found;
            self.pending.insert(ticket, UnderWay { again, is_decision: true, proposals, ..entry });
            let asked = Some((title.into(), user.into()));
            self.foundings.0.insert(key, Founding { ticket, waiting, is_doubtful: false, asked });
            return;
        }
        self.was_founded(cx, key, title, Some(user));
        if appended == Appended::Kept {
            return self.answer_created(cx, members, key, creator, MADE);
        }
        let founding = Founding { ticket, waiting, is_doubtful: false, asked: None };
        self.foundings.0.insert(key, founding);
    }

    /// Judges a founding from the beginning that was a conflict, for all who wait for it.
    pub(super) fn found_again<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        ticket: Ticket,
    ) {
        let Some(founding) = self.foundings.take(ticket) else { return };
        let (title, user) = founding.asked.unwrap_or_default();
        for (creator, _) in founding.waiting {
            if self.arena.contains(key) {
                self.create(cx, members, key, creator, (&title, &user));
            } else {
                tell_not_made(cx, members, creator, Refusal::Unavailable);
            }
        }
    }

    /// Tells those who wait for a founding, if this is its ticket, that the room is not made, or
    /// may not be.
    pub(super) fn founding_is_refused<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        ticket: Ticket,
        refusal: Refusal,
    ) {
        for (creator, _) in self.foundings.take(ticket).into_iter().flat_map(|of| of.waiting) {
            tell_not_made(cx, members, creator, refusal);
        }
    }

    /// Notes that a room was made on purpose, is called so, and whose it is.
    pub(super) fn was_founded<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: RoomKey,
        title: &str,
        owner: Option<&str>,
    ) {
        let Some(registered) = self.arena.get_mut(key) else { return };
        registered.is_founded = true;
        registered.room.set_title(title);
        if let Some(owner) = owner {
            registered.room.apply_standing(owner, Standing::OWNER, cx.now.unix_ms);
            self.registry.weigh(registered);
        }
        self.list(key);
        self.retire_if_empty(cx, key);
    }

    /// Answers those who wait for a founding, if this is its ticket: it is kept.
    pub(super) fn founding_is_kept<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        ticket: Ticket,
    ) {
        let founding = self.foundings.0.get(&key).filter(|founding| founding.ticket == ticket);
        let is_applied =
            |ticket| self.pending.get(key, ticket).is_none_or(|entry| entry.applied_at.is_some());
        if founding.is_none_or(|founding| !is_applied(founding.ticket)) {
            return;
        }
        let waiting = self.foundings.0.remove(&key).map_or(Vec::new(), |founding| founding.waiting);
        for (creator, status) in waiting {
            self.answer_created(cx, members, key, creator, status);
        }
    }

    /// Tells those who wait for a founding, if this is its ticket, that it may or may not be kept.
    pub(super) fn founding_is_doubtful<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        ticket: Ticket,
        why: Why,
    ) {
        let founding = self.foundings.0.get_mut(&key);
        // One that has not come back is refused with its entry.
        let is_it = |of: &&mut Founding| of.ticket == ticket && of.asked.is_none();
        let Some(founding) = founding.filter(is_it) else { return };
        founding.is_doubtful = true;
        for (creator, _) in std::mem::take(&mut founding.waiting) {
            not_created(cx, members, creator, why);
        }
    }

    fn answer_created<I: Io>(
        &self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        (shard, conn): Creator,
        status: u16,
    ) {
        let Some(registered) = self.arena.get(key) else { return };
        let mut body = Vec::new();
        registered.room.push_listing(&mut body);
        let body = text(&body);
        members.tell(cx, shard, ToMember::Created { conn, status, retry_ms: 0, body });
    }
}

/// Counts that a room is not made, and tells its client.
fn not_created<I: Io>(cx: &mut Cx<'_, I>, members: &mut impl Tell<I>, creator: Creator, why: Why) {
    let refusal = why.refusal();
    refusal.count(cx.metrics);
    tell_not_made(cx, members, creator, refusal);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::{Directory, Scope};
    use crate::link::ids::Receipt;
    use crate::link::log::{FromLog, ListedRoom, Marks, Opened, Opening, Placed};
    use crate::link::record::{Received, ToHome, read};
    use crate::link::said::{Fate, MessageText, Said};
    use crate::rooms::tests::{Home, conn};

    const NONE: [u64; 0] = [];

    /// A log that says this of a founding, and remembers from where it was asked for rooms.
    struct FoundingLog {
        says: Appended,
        listed: Vec<u64>,
    }

    impl Log for FoundingLog {
        fn open(&mut self, _: RoomKey, _: &str, _: u64) -> Opening {
            Opening::New
        }
        fn append(&mut self, _: Append<'_>) -> Appended {
            self.says
        }
        fn close(&mut self, _: RoomKey) {}
        fn list(&mut self, after: u64) -> bool {
            self.listed.push(after);
            true
        }
    }

    /// A log that opens nothing.
    #[derive(Default)]
    struct ClosedLog {
        closed: u32,
    }

    impl Log for ClosedLog {
        fn open(&mut self, _: RoomKey, _: &str, _: u64) -> Opening {
            Opening::Refused(Why::Storage)
        }
        fn append(&mut self, _: Append<'_>) -> Appended {
            unreachable!("nothing is open")
        }
        fn close(&mut self, _: RoomKey) {
            self.closed += 1;
        }
    }

    fn home(says: Appended) -> Home<FoundingLog> {
        Home::with_log(FoundingLog { says, listed: Vec::new() })
    }

    impl Home<FoundingLog> {
        fn create(&mut self, number: u64, title: &str) {
            self.hear(
                1,
                ToHome::Create { conn: conn(number), topic: "room:tea", title, user: "ann" },
            );
        }

        /// The number of each connection that was answered, and the status.
        fn statuses(&mut self) -> Vec<(u64, u16)> {
            let told = std::mem::take(&mut self.told.0);
            let status = |(_, record): &(u16, Vec<u8>)| match read(record) {
                Received::ToMember(ToMember::Created { conn, status, .. }) => {
                    Some((conn.to_u64() & 0xffff, status))
                }
                _ => None,
            };
            told.iter().filter_map(status).collect()
        }

        fn said(&mut self, message: FromLog<'_>) {
            self.with(|rooms, cx, told| rooms.hear_log(cx, told, message));
        }

        fn room(&self) -> RoomKey {
            self.rooms.by_topic["room:tea"]
        }

        fn ticket(&self) -> Ticket {
            self.rooms.foundings.0[&self.room()].ticket
        }

        /// Tells the directory, and says what is in it.
        fn listed(&mut self, directory: &mut Directory) -> Vec<(String, String, u32)> {
            self.with(|rooms, cx, _| rooms.send_listings(cx, directory));
            let (page, _) = directory.page(None, 10, &Scope::all());
            let text = |(room, listing): &(&str, &crate::directory::Listing)| {
                ((*room).to_owned(), listing.title.to_string(), listing.members)
            };
            page.iter().map(text).collect()
        }
    }

    #[test]
    fn whoever_asks_for_a_room_is_answered_when_its_founding_is_kept() {
        let mut home = home(Appended::Ordered);
        home.create(1, "Tea");
        home.create(2, "Mate");
        assert_eq!(home.statuses(), []);
        let (room, ticket) = (home.room(), home.ticket());
        let receipt = Receipt { offset: 0, at_ms: 1 };
        home.said(FromLog::Kept { room, ticket, placed: Placed::message(receipt) });
        assert_eq!(home.statuses(), [(1, 201), (2, 200)]);
        home.create(3, "Mate");
        assert_eq!(home.statuses(), [(3, 200)]);
        assert_eq!(home.rooms.arena.get(room).unwrap().room.title(), "Tea");
    }

    #[test]
    fn a_founding_in_doubt_is_not_confirmed_and_is_there_once_it_is_kept() {
        let mut home = home(Appended::Ordered);
        home.create(1, "Tea");
        let (room, ticket) = (home.room(), home.ticket());
        home.said(FromLog::Refused { room, ticket, why: Why::Unconfirmed });
        home.create(2, "Tea");
        assert_eq!(home.statuses(), [(1, 503), (2, 503)]);
        let placed = Placed::message(Receipt { offset: 0, at_ms: 1 });
        home.said(FromLog::Kept { room, ticket, placed });
        home.create(3, "Tea");
        assert_eq!(home.statuses(), [(3, 200)]);
    }

    #[test]
    fn a_founding_that_is_refused_leaves_no_room_and_says_why_and_when_to_try_again() {
        for (why, reason, retry) in [
            (Why::Storage, "storage", 1_000),
            (Why::Unconfirmed, "unconfirmed", 1_000),
            (Why::Busy, "busy", 250),
            (Why::Full, "too_many_rooms", 0),
        ] {
            let mut home = home(Appended::Refused(why));
            home.create(1, "Tea");
            assert_eq!(home.rooms.len(), 0);
            let (_, record) = home.told.0.pop().expect("an answer");
            let Received::ToMember(ToMember::Created { status, retry_ms, body, .. }) =
                read(&record)
            else {
                panic!("it is answered")
            };
            assert_eq!((status, retry_ms), (503, retry));
            let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
            let error = &body["error"];
            assert_eq!(error["reason"], reason);
            assert_eq!(error["retry_ms"].as_u64().unwrap_or_default(), u64::from(retry));
            assert!(error["message"].is_string());
        }
    }

    /// A log that has kept something of each room.
    struct KeptLog;

    impl Log for KeptLog {
        fn open(&mut self, _: RoomKey, _: &str, _: u64) -> Opening {
            let top = Marks { offset: 3, change: 0 };
            let said = Said { user: "u", name: "U", body: "\"hi\"", ..Said::default() };
            let tail = vec![MessageText::new(7, said, Fate::default())];
            Opening::Kept(Opened { epoch: 5, top, tail, ..Opened::default() })
        }
        fn append(&mut self, _: Append<'_>) -> Appended {
            Appended::Kept
        }
        fn close(&mut self, _: RoomKey) {}
    }

    #[test]
    fn a_room_that_its_log_has_is_listed_whoever_asks_for_it() {
        let (mut home, mut directory) = (Home::with_log(KeptLog), Directory::default());
        home.hear(
            1,
            ToHome::Create { conn: conn(1), topic: "room:tea", title: "Tea", user: "ann" },
        );
        home.with(|rooms, cx, _| rooms.send_listings(cx, &mut directory));
        assert_eq!(directory.page(None, 10, &Scope::all()).0.len(), 1);
    }

    #[test]
    fn a_topic_of_a_user_needs_no_log() {
        let mut home = Home::with_log(ClosedLog::default());
        assert_eq!(home.try_join(0, 1, "room:tea", "ann"), 0, "the disk fails");
        assert!(home.try_join(0, 2, "user:ann", "ann") > 0);
        home.with(|rooms, cx, _| rooms.forget_all(cx, 0));
        assert_eq!((home.rooms.len(), home.mesh.log.closed), (0, 0), "nor is it told of its end");
    }

    #[test]
    fn a_room_that_is_kept_stays_in_the_list_when_it_is_let_go_of_and_others_do_not() {
        let mut directory = Directory::default();
        let mut home = home(Appended::Kept);
        home.create(1, "Tea time");
        home.try_join(0, 2, "room:mate", "ann");
        let tea = ("tea".to_owned(), "Tea time".to_owned(), 0);
        let mate = ("mate".to_owned(), "mate".to_owned(), 1);
        assert_eq!(home.listed(&mut directory), [mate, tea.clone()]);
        let (room, empty) = (home.room(), home.rooms.by_topic["room:mate"]);
        home.with(|rooms, cx, _| {
            rooms.forget_all(cx, 0);
            assert!(rooms.arena.get(empty).is_none());
            rooms.remove(cx, room);
        });
        assert_eq!(home.listed(&mut directory), [tea]);
    }

    #[test]
    fn rooms_that_are_kept_are_listed_a_portion_at_a_time_and_open_ones_as_they_are() {
        let mut directory = Directory::default();
        let mut home = home(Appended::Kept);
        home.try_join(0, 1, "room:tea", "ann");
        home.listed(&mut directory);
        let ask = |home: &mut Home<FoundingLog>, directory: &mut Directory| {
            home.with(|rooms, cx, _| rooms.ask_for_kept(cx, directory));
            std::mem::take(&mut home.mesh.log.listed)
        };
        home.pressure = crate::link::pressure::Pressure::Joins;
        assert_eq!(ask(&mut home, &mut directory), NONE, "memory is short");
        home.pressure = crate::link::pressure::Pressure::None;
        assert_eq!(ask(&mut home, &mut directory), [0]);
        assert_eq!(ask(&mut home, &mut directory), NONE, "one portion is under way");
        let listed = |topic: &str, founded: Option<&str>| ListedRoom {
            topic: topic.into(),
            founded: founded.map(Box::from),
            present: Some(0),
        };
        let some = [listed("room:tea", None), listed("room:mate", Some("Mate!"))];
        home.with(|rooms, cx, _| rooms.hear_kept(cx, &mut directory, &some, Some(7)));
        assert_eq!(ask(&mut home, &mut directory), [7]);
        // Another shard has begun anew, and knows of none.
        home.with(|rooms, _, _| rooms.list_all());
        let rest = [listed("room:zen", None), listed("user:ann", None)];
        home.with(|rooms, cx, _| rooms.hear_kept(cx, &mut directory, &rest, None));
        let expected = [("mate", "Mate!", 0), ("tea", "tea", 1), ("zen", "zen", 0)];
        let expected = expected.map(|(room, title, count)| (room.into(), title.into(), count));
        assert_eq!(home.listed(&mut directory), expected);
        assert_eq!(ask(&mut home, &mut directory), [0], "all of them again");
        home.with(|rooms, cx, _| rooms.kept_not_listed(cx));
        assert_eq!(ask(&mut home, &mut directory), NONE, "not at once");
        home.now_ms += 2_000;
        assert_eq!(ask(&mut home, &mut directory), [0]);
        home.with(|rooms, cx, _| rooms.hear_kept(cx, &mut directory, &[], None));
        assert_eq!(ask(&mut home, &mut directory), NONE, "that was all");
    }
}

//! Rooms that their log is still loading, and the joins and creations that wait for them.
//!
//! ```text
//!   join, create ── find_or_make ── Log::open ─┬ New, Kept: they go on in the call
//!                                              └ Later:     they wait here, in order
//!   FromLog::Opened ────> the room is as it was; they go on, as many as a turn may let in
//!   FromLog::NotOpened ─> they are refused, and the room goes: its log is asked again by the next
//! ```
//!
//! A log that several homes share may lose its place in a room: [`FromLog::Closed`]. The channels
//! of its members end, and they leave. Until all have left it is closed: what is pushed is refused,
//! and joins wait. Then it goes, and they ask for the room as if it had never been there.
//!
//! [`FromLog::Closed`]: crate::link::log::FromLog::Closed
//!
//! All requests for a room share one load. An empty room holds its place meanwhile, and has the key
//! by which the log names it. A request that comes while others still wait stands behind them.
//!
//! Invariants: a room that is being loaded has no member, unless it is closed; the requests that
//! wait are bounded, in bytes over all rooms.
//!
//! Deliberately absent: deadlines. A log opens a room in the end, or says why not.
//!
//! Called by: `rooms`, `committing`, and `shard` to let waiting requests in. Calls: `registry`,
//! `membership`, `committing`, `collecting`, `pending`, `held`, `reads`.

use std::collections::{HashMap, VecDeque};

use crate::base::slack::Slack;
use crate::link::field::Field;
use crate::link::ids::{Asker, RoomKey};
use crate::link::io::Io;
use crate::link::log::{Opened, Why};
use crate::link::outbox::{Cx, Tell};
use crate::link::record::{Received, ToHome, read};
use crate::link::refusal::Refusal;
use crate::rooms::Rooms;
use crate::rooms::committing::end_channels;
use crate::rooms::held::Membership;
use crate::rooms::registry::{Purpose, Registered, take_making};

/// Rooms that are being loaded, and loaded ones for which requests still wait. See the module.
#[derive(Default)]
pub(super) struct Loading {
    rooms: HashMap<RoomKey, Load, ahash::RandomState>,
    /// Rooms that their log has opened, and for which requests still wait.
    ready: VecDeque<RoomKey>,
    /// Rooms that are closed, have no member any more, and for which requests wait.
    emptied: VecDeque<RoomKey>,
    /// How many requests wait, over all rooms, and the length of their records.
    waiting: usize,
    waiting_bytes: usize,
    /// Whether, in this turn, the ways to all shards whose requests are first were filling.
    is_blocked: bool,
}

struct Load {
    waiting: VecDeque<Waiting>,
    /// What the refs of its members begin with: an epoch that no room has had.
    refs_from: u64,
    /// Whether the log has not opened it yet.
    is_awaited: bool,
    /// Whether the log had nothing of it, so that it begins with a request that waits.
    is_new: bool,
    /// Whether the log has lost its place in it.
    is_closed: bool,
}

impl Load {
    fn new(refs_from: u64) -> Self {
        let waiting = VecDeque::new();
        Self { waiting, refs_from, is_awaited: true, is_new: false, is_closed: false }
    }
}

struct Waiting {
    shard: u16,
    record: Box<[u8]>,
}

impl Loading {
    /// Begins to load a room.
    pub(super) fn begin(&mut self, room: RoomKey, refs_from: u64) {
        self.rooms.insert(room, Load::new(refs_from));
    }

    /// Whether the log of a room has lost its place in it.
    #[inline]
    pub(super) fn is_closed(&self, room: RoomKey) -> bool {
        !self.rooms.is_empty() && self.rooms.get(&room).is_some_and(|load| load.is_closed)
    }

    /// The log of a room has lost its place in it.
    fn close(&mut self, room: RoomKey) {
        self.ready.retain(|ready| *ready != room);
        let load = self.rooms.entry(room).or_insert_with(|| Load::new(0));
        (load.is_awaited, load.is_closed) = (true, true);
    }

    /// A closed room has no member any more. Whether requests wait for it.
    fn has_emptied(&mut self, room: RoomKey) -> bool {
        let Some(load) = self.rooms.get_mut(&room) else { return false };
        if load.waiting.is_empty() {
            self.rooms.remove(&room);
            self.emptied.retain(|emptied| *emptied != room);
            return false;
        }
        if std::mem::replace(&mut load.is_awaited, false) {
            self.emptied.push_back(room);
        }
        true
    }

    /// Takes the requests for a closed room that has no member any more.
    fn take_emptied(&mut self) -> Option<(RoomKey, VecDeque<Waiting>)> {
        let room = self.emptied.pop_front()?;
        let waiting = self.rooms.remove(&room).map_or(VecDeque::new(), |load| load.waiting);
        self.waiting -= waiting.len();
        self.waiting_bytes -= waiting.iter().map(|waiting| waiting.record.len()).sum::<usize>();
        Some((room, waiting))
    }

    /// Rewrites the requests that wait for a room.
    fn rewrite(&mut self, room: RoomKey, mut rewrite: impl FnMut(u16, &[u8]) -> Box<[u8]>) {
        for waiting in self.rooms.get_mut(&room).into_iter().flat_map(|load| &mut load.waiting) {
            waiting.record = rewrite(waiting.shard, &waiting.record);
        }
        (self.waiting, self.waiting_bytes) = self.counted();
    }

    /// Whether a room is being loaded, or requests still wait for it.
    pub(super) fn has(&self, room: RoomKey) -> bool {
        !self.rooms.is_empty() && self.rooms.contains_key(&room)
    }

    /// Gives back memory that many loads at once needed.
    pub(super) fn trim(&mut self, kept: usize) {
        self.rooms.trim(kept);
        self.ready.trim(kept);
        self.emptied.trim(kept);
    }

    /// Counts `waiting` and `waiting_bytes` anew.
    fn counted(&self) -> (usize, usize) {
        let waiting = self.rooms.values().flat_map(|load| &load.waiting);
        waiting.fold((0, 0), |(count, bytes), waiting| (count + 1, bytes + waiting.record.len()))
    }

    /// Takes the first request that may go on, with whether the log had nothing of its room.
    /// `is_filling` says whether the way to a shard is filling.
    fn pop(&mut self, is_filling: impl Fn(u16) -> bool) -> Option<(RoomKey, bool, Waiting)> {
        for _ in 0..self.ready.len() {
            let key = self.ready.pop_front()?;
            let Some(load) = self.rooms.get_mut(&key) else { continue };
            let Some(next) = load.waiting.pop_front_if(|first| !is_filling(first.shard)) else {
                self.ready.push_back(key);
                continue;
            };
            self.waiting -= 1;
            self.waiting_bytes -= next.record.len();
            let is_new = load.is_new;
            if load.waiting.is_empty() {
                self.rooms.remove(&key);
            } else {
                self.ready.push_front(key);
            }
            return Some((key, is_new, next));
        }
        self.is_blocked = true;
        None
    }
}

impl Rooms {
    /// Queues a join or a creation until its room is loaded.
    pub(super) fn await_room<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        shard: u16,
        message: ToHome<'_>,
    ) {
        if self.loading.waiting_bytes > cx.settings.admission_line_bytes {
            return self.refuse(cx, members, shard, message);
        }
        let Some(load) = self.loading.rooms.get_mut(&key) else { return };
        let record = message.into_record();
        self.loading.waiting += 1;
        self.loading.waiting_bytes += record.len();
        load.waiting.push_back(Waiting { shard, record });
    }

    /// Handles that a log has opened a room: with what it kept, or as a new room for `None`.
    pub(super) fn was_opened<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        key: RoomKey,
        opened: Option<&Opened>,
    ) {
        let Some(load) =
            self.loading.rooms.get_mut(&key).filter(|load| load.is_awaited && !load.is_closed)
        else {
            return;
        };
        load.is_awaited = false;
        load.is_new = opened.is_none_or(|opened| opened.is_new);
        let is_new = load.is_new;
        let refs_from = load.refs_from;
        if load.waiting.is_empty() {
            // All of them were of a shard that has begun anew.
            self.loading.rooms.remove(&key);
        } else {
            self.loading.ready.push_back(key);
        }
        if let Some(opened) = opened {
            self.set_opened(cx, key, opened, refs_from);
        }
        if !is_new {
            self.list(key);
        }
        self.retire_if_empty(cx, key);
    }

    /// Handles that a log could not open a room: refuses the requests, and removes the room.
    pub(super) fn was_not_opened<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        why: Why,
    ) {
        let Some(load) = self.loading.rooms.remove(&key) else { return };
        // What the directories know of it stays true: they were told nothing of this.
        self.take_out(cx, key);
        for Waiting { shard, record } in load.waiting {
            self.loading.waiting -= 1;
            self.loading.waiting_bytes -= record.len();
            self.refuse_because(cx, members, shard, message_of(&record), why.refusal());
        }
    }

    /// Handles the next request whose room is loaded. Returns the bytes of a join's answer; `None`
    /// if no request may go on.
    pub(crate) fn let_in_awaiting<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
    ) -> Option<usize> {
        if let Some((key, waiting)) = self.loading.take_emptied() {
            self.part(cx, key);
            self.remove(cx, key);
            for Waiting { shard, record } in waiting {
                self.ask_for_room(cx, members, shard, message_of(&record));
            }
            return Some(0);
        }
        let next = self.loading.pop(|shard| cx.is_filling(shard))?;
        let (key, is_new, Waiting { shard, record }) = next;
        let message = message_of(&record);
        if is_new && let Err(refusal) = self.take_if_made(cx, key, &message) {
            self.refuse_because(cx, members, shard, message, refusal);
            self.remove_if_deserted(cx, key);
            return Some(0);
        }
        Some(self.go_on_in_room(cx, members, key, shard, message))
    }

    /// Takes a room that its log did not have from what may be made, if it begins with this
    /// request, and not with one before it.
    fn take_if_made<I: Io>(
        &self,
        cx: &Cx<'_, I>,
        key: RoomKey,
        message: &ToHome<'_>,
    ) -> Result<(), Refusal> {
        let Some(registered) = self.arena.get(key) else { return Ok(()) };
        if registered.room.members_count() > 0 || registered.has_begun() {
            return Ok(());
        }
        take_making(cx, registered.room.topic(), Purpose::of(message))
    }

    /// Notes that a turn begins: ways may have cleared.
    pub(crate) fn unblock_awaiting(&mut self) {
        self.loading.is_blocked = false;
    }

    /// Whether requests may go on, as far as is known. Those that wait for a way are not counted:
    /// the shard at its other end wakes this one once it is clear.
    pub(crate) fn has_awaiting(&self) -> bool {
        let has_ready = !self.loading.ready.is_empty() && !self.loading.is_blocked;
        has_ready || !self.loading.emptied.is_empty()
    }

    /// How many requests wait for a room.
    pub(crate) fn awaiting_count(&self) -> usize {
        self.loading.waiting
    }

    /// The bytes of all requests that wait for a room.
    pub(super) fn awaiting_bytes(&self) -> usize {
        self.loading.waiting_bytes
    }

    /// Forgets the requests of a shard that has begun anew.
    pub(super) fn forget_awaiting<I: Io>(&mut self, cx: &mut Cx<'_, I>, shard: u16) {
        let (mut deserted, mut closed) = (Vec::new(), Vec::new());
        for (key, load) in &mut self.loading.rooms {
            load.waiting.retain(|waiting| waiting.shard != shard);
            if load.waiting.is_empty() && !load.is_awaited && !load.is_closed {
                deserted.push(*key);
            } else if load.is_closed {
                closed.push(*key);
            }
        }
        (self.loading.waiting, self.loading.waiting_bytes) = self.loading.counted();
        deserted.sort();
        for key in deserted {
            self.loading.rooms.remove(&key);
            self.loading.ready.retain(|ready| *ready != key);
            self.retire_if_empty(cx, key);
        }
        closed.sort();
        for key in closed {
            self.retire_if_empty(cx, key);
        }
    }

    /// Handles that the log of a room has lost its place in it. What is under way is in doubt, and
    /// nothing of what waits was accepted.
    pub(super) fn was_closed<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
    ) {
        let is_loading = self.loading.rooms.get(&key).is_some_and(|load| load.is_awaited);
        let Some(Registered { room, .. }) = self.arena.get(key).filter(|_| !is_loading) else {
            return;
        };
        end_channels(cx, members, room);
        self.loading.close(key);
        let mut replaced = Vec::new();
        self.loading.rewrite(key, |shard, record| {
            without_replaced(shard, message_of(record), &mut replaced).into_record()
        });
        for of in replaced {
            self.leave_closed(key, of);
        }
        for (shard, record) in self.reads.take_joins(key) {
            self.await_closed(cx, members, key, shard, message_of(&record));
        }
        self.streams.forget(key);
        // All of it, before anybody is answered: the last one may leave then, and the room go.
        let (waiting, lost) = (self.pending.take_queue(key), self.pending.lose(key, None));
        self.refuse_collected(cx, members, key, Refusal::Unavailable);
        self.refuse_all(cx, members, waiting, Refusal::Unavailable);
        self.refuse_all(cx, members, lost, Refusal::Unconfirmed);
        self.retire_if_empty(cx, key);
    }

    /// Queues a request for a room that is closed. Whom it replaces has left.
    pub(super) fn await_closed<I: Io>(
        &mut self,
        cx: &mut Cx<'_, I>,
        members: &mut impl Tell<I>,
        key: RoomKey,
        shard: u16,
        message: ToHome<'_>,
    ) {
        let mut replaced = Vec::new();
        let message = without_replaced(shard, message, &mut replaced);
        for of in replaced {
            self.leave_closed(key, of);
        }
        self.await_room(cx, members, key, shard, message);
        self.retire_if_empty(cx, key);
    }

    /// Takes out a member of a closed room that is replaced.
    fn leave_closed(&mut self, key: RoomKey, (shard, asker): (u16, Asker)) {
        let Some(registered) = self.arena.get_mut(key) else { return };
        if registered.room.is_member(shard, asker) {
            self.held.end(Membership { room: key, shard, asker });
            registered.room.leave(asker.slot);
            self.registry.weigh(registered);
        }
    }

    /// A closed room may have no member any more: then it goes, or those who wait for it ask again.
    pub(super) fn retire_closed<I: Io>(&mut self, cx: &mut Cx<'_, I>, key: RoomKey) {
        let members = self.arena.get(key).map_or(0, |of| of.room.members_count());
        if members == 0 && !self.loading.has_emptied(key) {
            self.part(cx, key);
            self.remove(cx, key);
        }
    }

    /// Asserts the invariants of the module. For [`Rooms::check`].
    pub(super) fn check_loading(&self) {
        let Loading { rooms, ready, emptied, waiting, waiting_bytes, .. } = &self.loading;
        for (key, load) in rooms {
            let members = self.arena.get(*key).map(|of| of.room.members_count());
            assert!(members.is_some(), "a room that is loaded has a place: {key:?}");
            let may_have_members = load.is_closed || !load.is_awaited;
            assert!(may_have_members || members == Some(0), "nobody is in a room that is loaded");
            let called = if load.is_closed { emptied } else { ready };
            let is_called = called.iter().filter(|called| *called == key).count() == 1;
            assert!(load.is_awaited != is_called, "all that wait for a room are called: {key:?}");
        }
        assert_eq!((*waiting, *waiting_bytes), self.loading.counted(), "what waits is counted");
    }
}

/// A request without the member that it replaces, which is added to `replaced`.
fn without_replaced<'a>(
    shard: u16,
    mut message: ToHome<'a>,
    replaced: &mut Vec<(u16, Asker)>,
) -> ToHome<'a> {
    if let ToHome::Join { conn, replaces, .. } = &mut message
        && let Some(slot) = replaces.take()
    {
        replaced.push((shard, Asker { conn: *conn, slot }));
    }
    message
}

fn message_of(record: &[u8]) -> ToHome<'_> {
    let Received::ToHome(message) = read(record) else {
        unreachable!("joins wait, and rooms to be made")
    };
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::level::Level;
    use crate::link::ids::Slot;
    use crate::link::log::{Append, Appended, Log, Marks, Opening};
    use crate::link::record::ToMember;
    use crate::link::said::{Fate, MessageText, Said};
    use crate::rooms::tests::{Home, conn};

    /// A log that opens every room later, and remembers by which keys it was asked.
    #[derive(Default)]
    struct LateLog {
        opened: Vec<RoomKey>,
        closed: Vec<RoomKey>,
    }

    impl Log for LateLog {
        fn open(&mut self, room: RoomKey, _: &str, _: u64) -> Opening {
            self.opened.push(room);
            Opening::Later
        }
        fn append(&mut self, _: Append<'_>) -> Appended {
            Appended::Kept
        }
        fn close(&mut self, room: RoomKey) {
            self.closed.push(room);
        }
    }

    impl Home<LateLog> {
        fn opened(&mut self, opened: Option<&Opened>) {
            let room = *self.mesh.log.opened.last().expect("one was asked for");
            self.with(|rooms, cx, _| rooms.was_opened(cx, room, opened));
        }

        /// Lets in as many as may, and says how many that were.
        fn let_in(&mut self) -> usize {
            self.with(|rooms, _, _| rooms.unblock_awaiting());
            std::iter::from_fn(|| self.with(Rooms::let_in_awaiting)).count()
        }

        fn create(&mut self, number: u64, name: &str) {
            let topic = format!("room:{name}");
            self.hear(
                1,
                ToHome::Create { conn: conn(number), topic: &topic, title: "Tea", user: "ann" },
            );
        }

        /// Who was told what: the number of each connection, and what it was.
        fn answers(&mut self) -> Vec<(u64, &'static str)> {
            let told = std::mem::take(&mut self.told.0);
            let answer = |(_, record): &(u16, Vec<u8>)| {
                let Received::ToMember(message) = read(record) else { panic!("for a member") };
                let (conn, what) = match message {
                    ToMember::Joined { conn, .. } => (conn, "joined"),
                    ToMember::Refused { conn, .. } => (conn, "refused"),
                    ToMember::Created { conn, status: 201, .. } => (conn, "created"),
                    ToMember::Created { conn, status: 200, .. } => (conn, "was there"),
                    ToMember::Created { conn, .. } => (conn, "not created"),
                    _ => return None,
                };
                Some((conn.to_u64() & 0xffff, what))
            };
            told.iter().filter_map(answer).collect()
        }
    }

    fn kept() -> Opened {
        let said = Said { user: "u", name: "U", body: "\"hi\"", ..Said::default() };
        Opened {
            epoch: 5,
            top: Marks { offset: 3, change: 0 },
            tail: vec![MessageText::new(7, said, Fate::default())],
            ..Opened::default()
        }
    }

    #[test]
    fn all_who_ask_for_a_room_share_one_load_and_are_let_in_in_order() {
        let mut home = Home::with_log(LateLog::default());
        assert_eq!(home.try_join(0, 1, "room:tea", "ann"), 0);
        home.create(2, "tea");
        assert_eq!(home.try_join(1, 3, "room:tea", "bob"), 0);
        assert_eq!(home.answers(), [], "nobody is told anything before it is there");
        assert_eq!(home.mesh.log.opened.len(), 1);
        assert_eq!(home.rooms.awaiting_count(), 3);

        home.opened(Some(&kept()));
        assert!(home.rooms.has_awaiting());
        assert_eq!(home.try_join(0, 4, "room:tea", "cyd"), 0, "nobody overtakes them");
        assert_eq!(home.let_in(), 4);
        let told = [(1, "joined"), (2, "was there"), (3, "joined"), (4, "joined")];
        assert_eq!(home.answers(), told);
        assert_ne!(home.try_join(0, 5, "room:tea", "dan"), 0, "from now on in the call");
    }

    #[test]
    fn a_room_that_begins_is_made_by_the_first_who_asked() {
        let mut home = Home::with_log(LateLog::default());
        home.create(1, "tea");
        home.create(2, "tea");
        home.opened(None);
        home.let_in();
        assert_eq!(home.answers(), [(1, "created"), (2, "was there")]);
    }

    #[test]
    fn a_room_that_begins_in_the_epoch_of_its_log_is_made_as_any_other() {
        let mut home = Home::with_log(LateLog::default());
        home.settings.implicit_rooms = false;
        let fresh = Opened { epoch: 5, is_new: true, ..Opened::default() };
        home.try_join(0, 1, "room:tea", "ann");
        home.opened(Some(&fresh));
        home.let_in();
        assert_eq!((home.answers(), home.rooms.len()), (vec![(1, "refused")], 0));
        home.create(2, "tea");
        home.opened(Some(&fresh));
        home.let_in();
        assert_eq!(home.answers(), [(2, "created")]);
        let room = home.rooms.by_topic["room:tea"];
        assert_eq!(home.rooms.arena.get(room).expect("it is there").room.journal().epoch(), 5);
    }

    #[test]
    fn a_room_whose_place_is_lost_goes_when_all_have_left_and_is_opened_again_for_who_waits() {
        let mut home = Home::with_log(LateLog::default());
        home.try_join(0, 1, "room:tea", "ann");
        home.try_join(1, 2, "room:tea", "bob");
        home.opened(Some(&kept()));
        home.let_in();
        home.answers();
        let old = home.rooms.by_topic["room:tea"];
        home.with(|rooms, cx, told| rooms.was_closed(cx, told, old));
        assert_eq!(home.take_told(), ["0 ended turned", "1 ended turned"]);
        let ann = Asker { conn: conn(1), slot: Slot(0) };
        home.publish(old, ann, "5", "\"hi\"");
        assert!(home.take_told()[0].contains("unavailable"), "nothing is accepted");
        // One has come again before it heard of it, the other leaves.
        home.try_join_as(0, 1, "room:tea", ("ann", Level::Speak), Some(Slot(0)));
        assert_eq!((home.let_in(), home.mesh.log.opened.len()), (0, 1), "somebody is there yet");
        let bob = Asker { conn: conn(2), slot: Slot(1) };
        home.hear(1, ToHome::Leave { home: old, asker: bob, reference: Some("6") });
        assert_eq!(home.let_in(), 1);
        assert_eq!((home.mesh.log.opened.len(), &*home.mesh.log.closed), (2, &[old][..]));
        home.take_told();
        home.opened(Some(&kept()));
        home.let_in();
        assert_eq!(home.answers(), [(1, "joined")]);
    }

    #[test]
    fn those_whose_room_cannot_be_opened_are_refused_and_the_next_asks_again() {
        let mut home = Home::with_log(LateLog::default());
        home.try_join(0, 1, "room:tea", "ann");
        home.create(2, "tea");
        let room = home.mesh.log.opened[0];
        home.with(|rooms, cx, told| rooms.was_not_opened(cx, told, room, Why::Storage));
        assert_eq!(home.answers(), [(1, "refused"), (2, "not created")]);
        assert_eq!((home.rooms.len(), &*home.mesh.log.closed), (0, &[room][..]));
        home.try_join(0, 1, "room:tea", "ann");
        assert_eq!(home.mesh.log.opened.len(), 2);
        home.with(|rooms, cx, _| rooms.was_opened(cx, room, None));
        assert!(!home.rooms.has_awaiting(), "what is said of the first load is of no room");
    }

    #[test]
    fn those_of_a_shard_that_begins_anew_are_let_go_and_a_room_that_nobody_waits_for_goes() {
        let mut home = Home::with_log(LateLog::default());
        home.try_join(1, 1, "room:tea", "ann");
        home.with(|rooms, cx, _| rooms.forget_all(cx, 1));
        assert_eq!((home.rooms.awaiting_count(), home.rooms.len()), (0, 1), "its log is asked");
        home.opened(None);
        assert_eq!(home.rooms.len(), 0);

        home.try_join(1, 2, "room:tea", "ann");
        home.opened(None);
        home.with(|rooms, cx, _| rooms.forget_all(cx, 1));
        assert_eq!((home.rooms.len(), home.let_in()), (0, 0));
    }

    #[test]
    fn a_way_that_is_filling_keeps_back_those_who_wait_for_one_room_only() {
        let mut home = Home::with_log(LateLog::default());
        for (shard, number, topic) in [(1, 1, "room:tea"), (0, 2, "room:tea"), (0, 3, "room:mate")]
        {
            home.try_join(shard, number, topic, "ann");
        }
        for room in home.mesh.log.opened.clone() {
            home.with(|rooms, cx, _| rooms.was_opened(cx, room, None));
        }
        home.mesh.waiting.insert(1, usize::MAX);
        assert_eq!(home.let_in(), 1);
        assert!(!home.rooms.has_awaiting(), "it is woken by whoever clears the way");
        assert_eq!(home.answers(), [(3, "joined")]);
        home.mesh.waiting.clear();
        assert_eq!(home.let_in(), 2);
        assert_eq!(home.answers(), [(1, "joined"), (2, "joined")]);
    }

    #[test]
    fn a_room_that_is_kept_is_made_by_nobody_who_joins_it() {
        let mut home = Home::with_log(LateLog::default());
        home.settings.rooms_max = 10;
        (home.settings.limits.rooms_per_s, home.settings.limits.rooms_burst) = (1, 1);
        for (number, topic) in (1..).zip(["room:a", "room:b", "room:c"]) {
            home.try_join(0, number, topic, "ann");
            home.opened(Some(&kept()));
            home.let_in();
        }
        assert_eq!(home.answers(), [(1, "joined"), (2, "joined"), (3, "joined")]);
        for (number, topic) in (4..).zip(["room:d", "room:e"]) {
            home.try_join(0, number, topic, "ann");
            home.opened(None);
            home.let_in();
        }
        assert_eq!(home.answers(), [(4, "joined"), (5, "refused")], "those begin");
        assert_eq!(home.rooms.len(), 4, "and a room that nobody may make is none");
    }

    #[test]
    fn where_rooms_are_made_on_purpose_whoever_joins_one_that_its_log_has_not_is_refused() {
        let mut home = Home::with_log(LateLog::default());
        home.settings.implicit_rooms = false;
        home.settings.rooms_max = 10;
        (home.settings.limits.rooms_per_s, home.settings.limits.rooms_burst) = (1, 1);
        for number in 1..4 {
            home.try_join(0, number, "room:none", "ann");
        }
        home.opened(None);
        home.let_in();
        assert_eq!(home.answers(), [(1, "refused"), (2, "refused"), (3, "refused")]);
        assert_eq!((home.rooms.len(), home.mesh.log.closed.len()), (0, 1), "no trace of it");

        home.try_join(0, 1, "room:tea", "ann");
        home.create(2, "tea");
        home.try_join(0, 3, "room:tea", "ann");
        home.opened(None);
        home.let_in();
        assert_eq!(home.answers(), [(1, "refused"), (2, "created"), (3, "joined")]);

        // All that was decided of it is as by default again: its log has it all the same.
        let bare = Opened { epoch: 5, ..Opened::default() };
        for (number, topic, opened) in [(1, "room:said", kept()), (2, "room:bare", bare)] {
            home.try_join(0, number, topic, "ann");
            home.opened(Some(&opened));
            home.let_in();
            assert_eq!(home.answers(), [(number, "joined")], "{topic}");
        }

        home.settings.implicit_rooms = true;
        home.try_join(0, 1, "room:new", "ann");
        home.opened(None);
        home.let_in();
        assert_eq!(home.answers(), [(1, "joined")], "nothing was taken from what she may make");
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut home = Home::with_log(LateLog::default());
        home.settings.admission_line_bytes = 0;
        home.try_join(0, 1, "room:tea", "ann");
        home.try_join(0, 2, "room:tea", "ann");
        assert_eq!(home.answers(), [(2, "refused")]);
    }
}

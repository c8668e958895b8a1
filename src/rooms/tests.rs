//! All rooms of a shard, with pretend ways to others: what is told to whom, and what is refused.

use std::collections::HashMap;

use super::*;
use crate::auth::identity::{Identity, NEVER_S};
use crate::auth::level::{Joiners, Level};
use crate::base::arena::Key;
use crate::base::budget::Budget;
use crate::base::time::Now;
use crate::base::timers::Timers;
use crate::directory::Directory;
use crate::limits::{HistoryLimits, Limits, MESH_BUSY_BYTES, PresenceLimits, TURN_WORK};
use crate::link::facts::RoomSettings;
use crate::link::field::Field;
use crate::link::ids::{Asker, ConnKey, Slot};
use crate::link::io::Handoff;
use crate::link::log::{Log, MemoryLog, View};
use crate::link::metrics::Metrics;
use crate::link::outbox::Timer;
use crate::link::pressure::Pressure;
use crate::link::record::{NewMessage, Received, Who, read};
use crate::link::settings::Settings;

/// A pretend mesh: what waits, by shard, and what was sent; and a log.
#[derive(Default)]
pub(crate) struct Mesh<L> {
    pub(super) waiting: HashMap<u16, usize>,
    pub(super) sent: Vec<(u16, Vec<u8>)>,
    pub(crate) log: L,
}

impl<L: Log> Io for Mesh<L> {
    type Log = L;

    fn log(&mut self) -> &mut L {
        &mut self.log
    }
    fn write(&mut self, _: u32, bytes: &[u8]) -> usize {
        bytes.len()
    }
    fn shut(&mut self, _: u32) {}
    fn close(&mut self, _: u32) {}
    fn resume(&mut self, _: u32) {}
    fn hand_off(&mut self, _: u32, _: u16, _: Handoff) {}
    fn send(&mut self, shard: u16, record: &[u8]) {
        self.sent.push((shard, record.to_vec()));
    }
    fn waiting_bytes(&self, shard: u16) -> usize {
        self.waiting.get(&shard).copied().unwrap_or_default()
    }
    fn elapsed_us(&self) -> u64 {
        0
    }
}

/// What members were told: the shard and the record.
#[derive(Default)]
pub(crate) struct Told(pub(crate) Vec<(u16, Vec<u8>)>);

impl<I: Io> Tell<I> for Told {
    fn tell(&mut self, _: &mut Cx<'_, I>, shard: u16, message: ToMember<'_>) {
        let mut record = Vec::new();
        message.put(&mut record);
        self.0.push((shard, record));
    }
}

/// A shard's rooms, and all that they need.
pub(crate) struct Home<L> {
    pub(crate) rooms: Rooms,
    pub(crate) told: Told,
    pub(crate) mesh: Mesh<L>,
    pub(crate) settings: Settings,
    pub(super) metrics: Metrics,
    pub(super) timers: Timers<Timer>,
    pub(crate) now_ms: u64,
    pub(super) pressure: Pressure,
    pub(super) is_draining: bool,
    pub(super) budget: Budget,
    record: Vec<u8>,
}

/// Who joins, and how.
#[derive(Clone, Copy)]
struct Joins<'a> {
    shard: u16,
    number: u64,
    topic: &'a str,
    user: &'a str,
    level: Level,
    replaces: Option<Slot>,
    invite: Option<&'a str>,
    meta: Option<&'a str>,
}

pub(crate) fn hasher(salt: u64) -> ahash::RandomState {
    ahash::RandomState::with_seeds(salt, 1, 2, 3)
}

pub(crate) fn conn(number: u64) -> ConnKey {
    Key::from_u64(1 << 32 | number)
}

impl Home<MemoryLog> {
    pub(super) fn new() -> Self {
        Self::with_log(MemoryLog)
    }
}

impl<L: Log> Home<L> {
    pub(crate) fn with_log(log: L) -> Self {
        let history = HistoryLimits { messages: 100, ..HistoryLimits::default() };
        let presence = PresenceLimits { tick_ms: 50, tick_max_ms: 2_000, full_max: 0, listed: 100 };
        let limits = Limits { rooms: 6, ..Limits::default() };
        Self {
            rooms: Rooms::new(7, hasher),
            told: Told::default(),
            mesh: Mesh { waiting: HashMap::new(), sent: Vec::new(), log },
            settings: Settings::new(2, limits, history, presence, Vec::new()),
            metrics: Metrics::default(),
            timers: Timers::new(),
            now_ms: 1_000,
            pressure: Pressure::None,
            is_draining: false,
            budget: Budget::new(TURN_WORK, 2),
            record: Vec::new(),
        }
    }

    /// Calls what has a turn, and says what members were told by it.
    pub(crate) fn with<R>(
        &mut self,
        act: impl FnOnce(&mut Rooms, &mut Cx<'_, Mesh<L>>, &mut Told) -> R,
    ) -> R {
        let mut cx = Cx {
            id: 0,
            now: Now { mono_ms: self.now_ms, unix_ms: 1_000_000 + self.now_ms },
            io: &mut self.mesh,
            settings: &self.settings,
            metrics: &mut self.metrics,
            timers: &mut self.timers,
            pressure: self.pressure,
            is_draining: self.is_draining,
            budget: &mut self.budget,
            record: &mut self.record,
        };
        let result = act(&mut self.rooms, &mut cx, &mut self.told);
        self.rooms.check();
        result
    }

    pub(crate) fn hear(&mut self, shard: u16, message: ToHome<'_>) {
        self.with(|rooms, cx, told| rooms.hear(cx, told, shard, message));
    }

    /// Lets a user join; what it is told is left unread.
    pub(super) fn try_join(&mut self, shard: u16, number: u64, topic: &str, user: &str) -> usize {
        self.try_join_as(shard, number, topic, (user, Level::Speak), None)
    }

    /// The same, of a user whose token allows so much, and who may be there already.
    pub(super) fn try_join_as(
        &mut self,
        shard: u16,
        number: u64,
        topic: &str,
        user: (&str, Level),
        replaces: Option<Slot>,
    ) -> usize {
        self.try_join_with(shard, number, topic, user, (replaces, None))
    }

    /// The same, of one who may bring an invite.
    pub(super) fn try_join_with(
        &mut self,
        shard: u16,
        number: u64,
        topic: &str,
        (user, level): (&str, Level),
        (replaces, invite): (Option<Slot>, Option<&str>),
    ) -> usize {
        let join = Joins { shard, number, topic, user, level, replaces, invite, meta: None };
        self.try_join_so(join)
    }

    /// The same, of one with a meta.
    pub(super) fn try_join_with_meta(&mut self, number: u64, topic: &str, user: &str, meta: &str) {
        let (shard, level, meta) = (0, Level::Speak, Some(meta));
        let (replaces, invite) = (None, None);
        self.try_join_so(Joins { shard, number, topic, user, level, replaces, invite, meta });
    }

    fn try_join_so(&mut self, join: Joins<'_>) -> usize {
        let Joins { shard, number, topic, user, level, replaces, invite, meta } = join;
        let identity = Identity::new(user, user, NEVER_S, None).expect("valid");
        let join = ToHome::Join {
            conn: conn(number),
            audience: Key::from_u64(9 << 32 | u64::from(shard)),
            topic,
            who: Who::Here(&identity),
            level,
            visible: true,
            since: None,
            limit: 50,
            meta,
            replaces,
            address: None,
            invite,
        };
        self.with(|rooms, cx, told| rooms.ask_for_room(cx, told, shard, join))
    }

    pub(super) fn join(&mut self, shard: u16, number: u64, topic: &str) -> (RoomKey, Asker) {
        self.join_as(shard, number, topic, Level::Speak)
    }

    /// The same, of a user whose token allows so much.
    pub(super) fn join_as(
        &mut self,
        shard: u16,
        number: u64,
        topic: &str,
        level: Level,
    ) -> (RoomKey, Asker) {
        let user = format!("u{number}");
        let bytes = self.try_join_as(shard, number, topic, (&user, level), None);
        let (_, record) = self.told.0.pop().expect("an answer");
        let Received::ToMember(ToMember::Joined { home, slot, conn, response, .. }) = read(&record)
        else {
            panic!("it may join: {:?}", read(&record))
        };
        assert_eq!(bytes, response.len());
        (home, Asker { conn, slot })
    }

    pub(super) fn publish(&mut self, home: RoomKey, asker: Asker, reference: &str, body: &str) {
        self.publish_to(0, home, asker, reference, body, None);
    }

    pub(super) fn publish_to(
        &mut self,
        shard: u16,
        home: RoomKey,
        asker: Asker,
        reference: &str,
        body: &str,
        key: Option<&str>,
    ) {
        let message = NewMessage { body, key, ..NewMessage::default() };
        self.hear(shard, ToHome::Publish { home, asker, reference, message });
    }

    /// What was told since the last call, in short: `shard event ...`.
    pub(super) fn take_told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told.0)
            .iter()
            .map(|(shard, record)| short(*shard, record))
            .collect()
    }

    /// Fires the next timer that is due. False, if there is none.
    pub(crate) fn fire_next(&mut self) -> bool {
        let Some(timer) = self.timers.pop_due(self.now_ms) else { return false };
        self.with(|rooms, cx, told| match timer {
            Timer::Room(key) => rooms.tick(cx, told, key),
            Timer::Collected(key) => rooms.collected_due(cx, told, key),
            Timer::Streams(key) => rooms.end_streams(cx, told, key),
            Timer::Cooled(key) => rooms.let_cooled_go(cx, key),
            Timer::Slice(key) => rooms.audit_slice(cx, key),
            Timer::Nodes => rooms.catch_up_with_nodes(cx),
            Timer::Ages => rooms.let_age(cx),
            _ => {}
        });
        true
    }

    /// Fires all ticks that are due.
    pub(super) fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
        while let Some(timer) = self.timers.pop_due(self.now_ms) {
            if let Timer::Room(key) = timer {
                self.with(|rooms, cx, told| rooms.tick(cx, told, key));
            }
        }
    }
}

pub(super) fn short(shard: u16, record: &[u8]) -> String {
    let Received::ToMember(message) = read(record) else { panic!("not for a member") };
    let text = |payload| match payload {
        Payload::Json(text) => text,
        Payload::Binary(_) => "binary",
    };
    match message {
        ToMember::Joined { .. } => format!("{shard} joined"),
        ToMember::Refused { response, .. } => format!("{shard} refused {response}"),
        ToMember::Left { reference, .. } => format!("{shard} left {reference}"),
        ToMember::Reply { reference, status, response, .. } => {
            format!("{shard} reply {reference} {status} {}", text(response))
        }
        ToMember::Deliver { event, payload, .. } => format!("{shard} {event} {}", text(payload)),
        ToMember::State { list, own, .. } => format!("{shard} state {} {}", list.len(), own.len()),
        ToMember::Created { status, .. } => format!("{shard} created {status}"),
        ToMember::Ended { reason, .. } => format!("{shard} ended {reason}"),
        ToMember::Told { conn, event, payload, .. } => {
            format!("{shard} {event} to {} {payload}", conn.index())
        }
        ToMember::Removed { conn, payload, .. } => {
            format!("{shard} removed {} {payload}", conn.index())
        }
    }
}

/// The offset in a message or receipt.
fn offset_in(told: &str) -> Option<u64> {
    let (_, rest) = told.split_once("\"offset\":")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[test]
fn a_message_goes_to_all_shards_before_its_publisher_has_its_receipt() {
    let mut home = Home::new();
    let (room, ann) = home.join(0, 1, "room:tea");
    home.join(1, 1, "room:tea");
    home.take_told();
    home.publish(room, ann, "5", "\"hi\"");
    let told = home.take_told();
    let kinds: Vec<_> = told.iter().map(|told| told.split(' ').take(2).collect()).collect();
    let kinds: Vec<String> = kinds.iter().map(|kind: &Vec<&str>| kind.join(" ")).collect();
    assert_eq!(kinds, ["0 new_msg", "1 new_msg", "0 reply"]);
    assert!(told.iter().all(|told| offset_in(told) == Some(1)), "{told:?}");
    assert_eq!(home.metrics.published, 1);
}

#[test]
fn what_cannot_be_done_now_is_refused_and_leaves_no_trace() {
    let mut home = Home::new();
    let (room, ann) = home.join(0, 1, "room:tea");
    home.join(1, 1, "room:tea");
    home.take_told();
    home.mesh.waiting.insert(1, MESH_BUSY_BYTES + 1);
    home.publish(room, ann, "5", "\"hi\"");
    home.hear(0, ToHome::Typing { home: room, asker: ann, thread: None });
    assert_eq!(home.take_told(), [r#"0 reply 5 error {"reason":"busy","retry_ms":250}"#]);
    assert_eq!((home.metrics.published, home.metrics.refused_busy), (0, 2));
    let from = crate::link::record::From::Latest;
    let (reference, view, limit) = ("6", View::Room, 9);
    home.hear(0, ToHome::History { home: room, asker: ann, reference, view, from, limit });
    assert_eq!(home.take_told(), [r#"0 reply 6 ok {"messages":[],"more":false}"#]);
    home.hear(0, ToHome::Leave { home: room, asker: ann, reference: Some("7") });
    assert_eq!(home.take_told(), ["0 left 7"], "what ends something is never too much");
}

#[test]
fn a_room_that_is_gone_answers_nobody() {
    let mut home = Home::new();
    let (room, ann) = home.join(0, 1, "room:tea");
    home.hear(0, ToHome::Leave { home: room, asker: ann, reference: None });
    home.take_told();
    assert_eq!(home.rooms.len(), 0, "nothing in it was worth keeping");
    home.publish(room, ann, "5", "\"hi\"");
    home.hear(0, ToHome::Typing { home: room, asker: ann, thread: None });
    assert_eq!(home.take_told(), Vec::<String>::new());
}

#[test]
fn when_there_is_no_place_the_longest_empty_room_goes_and_then_nobody_comes_in() {
    let mut home = Home::new();
    assert_eq!(home.settings.rooms_max, 3);
    for (number, topic) in [(1, "room:a"), (2, "room:b"), (3, "room:c")] {
        let (room, asker) = home.join(0, number, topic);
        home.publish(room, asker, "1", "\"hi\"");
        home.hear(0, ToHome::Leave { home: room, asker, reference: None });
    }
    let (_, _) = home.join(0, 4, "room:a");
    home.take_told();
    assert!(home.try_join(0, 5, "room:d", "eve") > 0, "b was empty the longest");
    assert!(home.rooms.by_topic.contains_key("room:a"));
    assert!(!home.rooms.by_topic.contains_key("room:b"));
    home.pressure = Pressure::Joins;
    assert!(home.try_join(0, 6, "room:e", "eve") > 0, "c makes place though memory is short");
    assert_eq!(home.rooms.len(), 3);
    home.take_told();
    assert_eq!(home.try_join(0, 7, "room:f", "eve"), 0);
    assert_eq!(home.take_told(), [r#"0 refused {"reason":"too_many_rooms"}"#]);
    assert_eq!(home.metrics.refused_rooms, 1);
}

#[test]
fn of_the_empty_rooms_those_go_first_in_which_nothing_was_said() {
    let mut home = Home::new();
    for (number, topic) in [(1, "room:a"), (2, "room:b")] {
        let (room, asker) = home.join(0, number, topic);
        home.publish(room, asker, "1", "\"hi\"");
        home.hear(0, ToHome::Leave { home: room, asker, reference: None });
    }
    let create = ToHome::Create { conn: conn(3), topic: "room:silent", title: "S", user: "ann" };
    home.hear(1, create);
    assert_eq!(home.rooms.len(), 3);
    assert!(home.try_join(0, 4, "room:c", "eve") > 0, "it takes a place");
    let there = ["room:a", "room:b", "room:silent"];
    let left = there.map(|topic| home.rooms.by_topic.contains_key(topic));
    assert_eq!(left, [true, true, false], "though it was empty for the shortest");
}

#[test]
fn a_room_made_on_purpose_stays_and_is_made_once() {
    let mut home = Home::new();
    let create = |home: &mut Home<MemoryLog>| {
        home.hear(
            1,
            ToHome::Create { conn: conn(1), topic: "room:tea", title: "Tea time", user: "ann" },
        );
        home.take_told()
    };
    assert_eq!(create(&mut home), ["1 created 201"]);
    assert_eq!(create(&mut home), ["1 created 200"]);
    let (room, asker) = home.join(0, 1, "room:tea");
    home.hear(0, ToHome::Leave { home: room, asker, reference: None });
    assert_eq!(home.rooms.len(), 1);
}

#[test]
fn where_rooms_are_made_on_purpose_one_that_is_not_there_is_as_one_that_is_private() {
    let (mut home, mut directory) = (Home::new(), Directory::default());
    home.settings.implicit_rooms = false;
    (home.settings.limits.rooms_per_s, home.settings.limits.rooms_burst) = (1, 1);
    for (number, topic) in [(1, "room:private"), (2, "room:open")] {
        home.hear(1, ToHome::Create { conn: conn(number), topic, title: "Tea", user: "ann" });
    }
    let private = home.rooms.by_topic["room:private"];
    let settings = RoomSettings { join: Joiners::Members, ..RoomSettings::default() };
    let registered = home.rooms.arena.get_mut(private).expect("it is there");
    registered.room.apply_settings("Tea", settings);
    home.with(|rooms, cx, _| rooms.send_listings(cx, &mut directory));
    home.take_told();
    home.mesh.sent.clear();
    // Where there is no place either, and no room goes for one that is none.
    for rooms_max in [3, 2] {
        home.settings.rooms_max = rooms_max;
        for topic in ["room:private", "room:none", "room:private", "room:none"] {
            assert_eq!(home.try_join(0, 3, topic, "eve"), 0);
            assert_eq!(home.take_told(), [r#"0 refused {"reason":"unauthorized"}"#], "{topic}");
        }
    }
    home.with(|rooms, cx, _| rooms.send_listings(cx, &mut directory));
    assert_eq!((home.rooms.len(), home.mesh.sent.len()), (2, 0), "no trace of it");
    assert_eq!(home.metrics.refused_rooms, 0);
    home.settings.rooms_max = 9;
    for (number, topic) in [(4, "room:open"), (5, "user:u5")] {
        home.join(0, number, topic);
    }
    assert!(home.try_join(0, 6, "room:private", "ann") > 0, "it is hers");
    home.settings.implicit_rooms = true;
    assert!(home.try_join(0, 7, "room:new", "eve") > 0, "nothing was taken of what eve may make");
}

#[test]
fn directories_are_told_of_rooms_as_they_are_by_then() {
    let mut home = Home::new();
    let mut directory = Directory::default();
    let (room, ann) = home.join(0, 1, "room:tea");
    home.join(0, 2, "room:tea");
    home.join(0, 3, "room:mate");
    home.hear(0, ToHome::Leave { home: room, asker: ann, reference: None });
    home.with(|rooms, cx, _| rooms.set_listings_tick(cx));
    home.with(|rooms, cx, _| rooms.set_listings_tick(cx));
    home.with(|rooms, cx, _| rooms.send_listings(cx, &mut directory));
    let timers = std::iter::from_fn(|| home.timers.pop_due(u64::MAX));
    assert_eq!(timers.filter(|timer| *timer == Timer::Listings).count(), 1);
    assert_eq!((directory.members("tea"), directory.members("mate")), (1, 1));
    assert_eq!(home.mesh.sent.len(), 2, "the other shard hears of each once");
    let (room, asker) = home.join(0, 4, "room:gone");
    home.hear(0, ToHome::Leave { home: room, asker, reference: None });
    home.with(|rooms, cx, _| rooms.send_listings(cx, &mut directory));
    assert!(!directory.names().any(|name| name == "gone"));
}

#[test]
fn newcomers_are_greeted_by_the_tick_or_if_that_is_far_at_the_end_of_the_turn() {
    let mut home = Home::new();
    home.join(0, 1, "room:tea");
    home.wait(0);
    let told = home.take_told();
    assert!(told[0].starts_with("0 presence_diff") && told[1].starts_with("0 state"), "{told:?}");
    for number in 2..40 {
        home.join(0, number, "room:tea");
    }
    home.wait(200);
    home.take_told();
    assert!(!home.rooms.has_newcomers());
    home.join(0, 40, "room:tea");
    assert!(home.rooms.has_newcomers(), "a room of so many rests for two seconds");
    home.with(Rooms::greet);
    assert!(home.take_told()[0].starts_with("0 state"));
    assert!(home.rooms.list_bytes() > 0, "and its list is kept for the next");
    home.with(|rooms, _, _| rooms.let_lists_go());
    assert!(home.rooms.list_bytes() > 0, "it was needed");
    home.with(|rooms, _, _| rooms.tidy());
    assert_eq!(home.rooms.list_bytes(), 0);
}

#[test]
fn a_shard_that_begins_anew_has_no_members_left_here() {
    let mut home = Home::new();
    let (room, _) = home.join(0, 1, "room:tea");
    home.join(1, 1, "room:tea");
    home.join(1, 2, "room:mate");
    home.with(|rooms, cx, _| rooms.forget_all(cx, 1));
    assert_eq!((home.rooms.members_count(), home.rooms.len()), (1, 1));
    let mut next = Rooms::new(9, hasher);
    next.follow(&home.rooms);
    assert_eq!(next.len(), 0);
    assert!(!next.arena.contains(room), "no key of the old life finds anything");
    let mut old = std::mem::replace(&mut home.rooms, next);
    let (anew, _) = home.join(0, 1, "room:tea");
    assert_ne!(anew, room);
    assert_eq!(old.next_seed(), 9, "two rooms were made");
    old.tidy();
}

#[test]
fn history_is_bounded_over_all_rooms_and_the_one_that_grows_pays_for_itself() {
    let mut home = Home::new();
    home.settings.history_bytes_max = 400;
    let (empty, bob) = home.join(0, 2, "room:empty");
    home.publish(empty, bob, "1", "\"hi\"");
    home.hear(0, ToHome::Leave { home: empty, asker: bob, reference: None });
    let (room, ann) = home.join(0, 1, "room:tea");
    for _ in 0..9 {
        home.publish(room, ann, "1", "\"hi\"");
        assert!(home.rooms.history_bytes() <= 400);
    }
    assert!(!home.rooms.arena.contains(empty), "an empty one goes first");
    assert!(home.rooms.history_bytes() > 0);
}

#[test]
#[should_panic(expected = "a member speaks for itself")]
fn nobody_speaks_in_a_slot_of_another() {
    let mut home = Home::new();
    let (room, ann) = home.join(0, 1, "room:tea");
    home.join(0, 2, "room:tea");
    let thief = Asker { conn: conn(2), slot: ann.slot };
    assert_ne!(thief.slot, Slot::NONE);
    home.publish(room, thief, "5", "\"hi\"");
}

#[test]
fn what_a_user_says_to_many_counts_once_for_each_of_them_wherever_it_speaks() {
    let mut home = Home::new();
    (home.settings.limits.fanout_bytes_per_s, home.settings.limits.fanout_burst_bytes) =
        (100_000, 1_000_000);
    let (tea, ann) = home.join(0, 1, "room:tea");
    for number in 2..=100 {
        home.join(1, number, "room:tea");
    }
    let (mate, also_ann) = home.join(0, 1, "room:mate");
    home.take_told();
    let body = format!("\"{}\"", "x".repeat(3_998));
    let said = |home: &mut Home<MemoryLog>, key| {
        home.publish_to(0, tea, ann, "5", &body, Some(key));
        home.take_told()
    };
    // 400,000 bytes each.
    for key in ["a", "b"] {
        assert_eq!(said(&mut home, key).len(), 3, "two shards, and the answer");
    }
    let refused = |retry_ms: u32| {
        let limit = "limits.fanout_bytes_per_s";
        let reason = format!(r#""reason":"rate_limited","retry_ms":{retry_ms}"#);
        vec![format!(r#"0 reply 5 error {{"limit":"{limit}",{reason}}}"#)]
    };
    assert_eq!(said(&mut home, "c"), refused(2_000));
    assert_eq!(said(&mut home, "a").len(), 1, "its receipt again is for nothing");
    let payload = Payload::Json(&body);
    let wave = ToHome::Custom { home: tea, asker: ann, reference: "5", event: "wave", payload };
    home.hear(0, wave);
    assert_eq!(home.take_told(), refused(2_000), "an event that passes as it is, too");
    home.publish_to(0, mate, also_ann, "5", &body, None);
    assert_eq!(home.take_told().len(), 2, "to itself alone it is little");
    assert_eq!((home.metrics.refused_fanout, home.metrics.published), (2, 3));
    home.now_ms += 2_000;
    let told = said(&mut home, "c");
    assert!(told.iter().any(|told| told.starts_with("0 reply 5 ok")), "at the time told: {told:?}");
}

#[test]
fn a_user_makes_no_more_rooms_by_joining_them_than_it_may() {
    let mut home = Home::new();
    (home.settings.limits.rooms_per_s, home.settings.limits.rooms_burst) = (1, 2);
    home.settings.rooms_max = 10;
    for topic in ["room:a", "room:b"] {
        assert!(home.try_join(0, 1, topic, "ann") > 0);
    }
    home.take_told();
    assert_eq!(home.try_join(1, 2, "room:c", "ann"), 0, "from wherever");
    let limit = r#"{"limit":"limits.rooms_per_s","reason":"rate_limited","retry_ms":1000}"#;
    assert_eq!(home.take_told(), [format!("1 refused {limit}")]);
    assert_eq!((home.rooms.len(), home.metrics.refused_founding), (2, 1), "without a trace");
    assert!(home.try_join(1, 3, "room:a", "ann") > 0, "one that is there it may join");
    assert!(home.try_join(1, 4, "user:ann", "ann") > 0, "its own topic is no room");
    assert!(home.try_join(1, 5, "room:c", "bob") > 0, "and others make theirs");
    home.now_ms += 1_000;
    assert!(home.try_join(0, 6, "room:d", "ann") > 0);
}

//! What members are told of what is decided of their room, and who is put out.

use super::tests::{Home, conn};
use crate::auth::identity::{Identity, NEVER_S};
use crate::auth::level::{Joiners, Level, Restraint, Role, Speakers, Standing};
use crate::directory::{Directory, Scope};
use crate::link::facts::{MemberWish, MembersWanted, Sentence, SettingsWish};
use crate::link::given::Given;
use crate::link::ids::{Asker, Receipt, RoomKey};
use crate::link::log::{
    Append, Appended, FromLog, Log, MemoryLog, Opened, Opening, Placed, Recall, Ticket, What, Why,
};
use crate::link::record::{Received, ToHome, ToMember, Verb, Who, read};
use crate::link::said::Said;

const TOPIC: &str = "room:tea";

impl<L: Log> Home<L> {
    /// Lets a user in on a device; what it is told is left unread.
    pub(super) fn enter(
        &mut self,
        shard: u16,
        number: u64,
        user: &str,
        level: Level,
    ) -> (RoomKey, Asker) {
        self.try_join_as(shard, number, TOPIC, (user, level), None);
        let (_, record) = self.told.0.pop().expect("an answer");
        let Received::ToMember(ToMember::Joined { home, slot, .. }) = read(&record) else {
            panic!("it may join: {:?}", read(&record))
        };
        (home, Asker { conn: conn(number), slot })
    }

    pub(super) fn set(&mut self, (home, asker): (RoomKey, Asker), wish: SettingsWish<'_>) {
        self.hear(0, ToHome::Set { home, asker, reference: "1", wish });
    }

    pub(super) fn stand(&mut self, (home, asker): (RoomKey, Asker), wish: MemberWish<'_>) {
        self.hear(0, ToHome::Stand { home, asker, reference: "1", wish });
    }

    /// What the entry of a user comes to.
    fn joins(&mut self, number: u64, user: &str) -> String {
        self.take_told();
        self.try_join_as(0, number, TOPIC, (user, Level::Speak), None);
        self.take_told().pop().expect("an answer")
    }
}

pub(super) fn bans(user: &str) -> MemberWish<'_> {
    MemberWish { user, ban: Some(Sentence::ForEver), ..MemberWish::default() }
}

#[test]
fn a_ban_is_told_on_each_device_and_holds_for_what_is_on_its_way_and_for_joins() {
    let mut home = Home::new();
    let mods = home.enter(0, 1, "mod", Level::Moderate);
    let (room, here) = home.enter(0, 2, "bob", Level::Speak);
    home.enter(1, 3, "bob", Level::Speak);
    home.take_told();
    home.stand(mods, MemberWish { reason: Some("\"spam\""), ..bans("bob") });
    let why = r#"{"reason":"banned","until":0,"by":"mod","text":"spam"}"#;
    assert_eq!(
        home.take_told(),
        [
            format!("0 removed 2 {why}"),
            format!("1 removed 3 {why}"),
            r#"0 reply 1 ok {"user":"bob","banned_until":0}"#.to_owned(),
        ]
    );
    // What it has said meanwhile is not taken, whatever it is.
    home.publish(room, here, "5", "\"hi\"");
    home.hear(0, ToHome::Typing { home: room, asker: here, thread: None });
    let verb = Verb::Delete;
    home.hear(0, ToHome::Change { home: room, asker: here, reference: "6", offset: 1, verb });
    let refused =
        |reference| format!(r#"0 reply {reference} error {{"reason":"banned","until":0}}"#);
    assert_eq!(home.take_told(), [refused(5), refused(6)]);
    home.hear(0, ToHome::Leave { home: room, asker: here, reference: None });
    assert_eq!(home.joins(4, "bob"), r#"0 refused {"reason":"banned","until":0}"#);
    home.stand(mods, MemberWish { ban: Some(Sentence::Lifted), ..bans("bob") });
    assert_eq!(home.joins(5, "bob"), "0 joined");
}

#[test]
fn whoever_rejoins_what_it_was_banned_from_comes_in_and_is_put_out() {
    let mut home = Home::new();
    let mods = home.enter(0, 1, "mod", Level::Moderate);
    let (_, bob) = home.enter(0, 2, "bob", Level::Speak);
    home.stand(mods, bans("bob"));
    home.take_told();
    home.try_join_as(0, 2, TOPIC, ("bob", Level::Speak), Some(bob.slot));
    let told = home.take_told();
    assert_eq!((&*told[0], told[1].split(' ').nth(1)), ("0 joined", Some("removed")), "{told:?}");
}

#[test]
fn a_kick_puts_out_who_may_come_back_and_a_mute_is_told_to_whom_it_concerns() {
    let mut home = Home::new();
    let mods = home.enter(0, 1, "mod", Level::Moderate);
    let (room, bob) = home.enter(0, 2, "bob", Level::Speak);
    home.take_told();
    let mute = Some(Sentence::Seconds(60));
    home.stand(mods, MemberWish { user: "bob", mute, ..MemberWish::default() });
    assert_eq!(
        home.take_told(),
        [
            r#"0 room_you to 2 {"speak":false,"muted_until":1061000,"by":"mod"}"#,
            r#"0 reply 1 ok {"user":"bob","muted_until":1061000}"#,
        ]
    );
    home.publish(room, bob, "5", "\"hi\"");
    assert_eq!(home.take_told(), [r#"0 reply 5 error {"reason":"muted","until":1061000}"#]);
    home.now_ms += 60_000;
    home.publish(room, bob, "6", "\"hi\"");
    assert!(home.take_told()[0].contains("new_msg"), "it is over by itself");
    home.stand(mods, MemberWish { user: "bob", kick: true, ..MemberWish::default() });
    let told = home.take_told();
    assert_eq!(told[0], r#"0 removed 2 {"reason":"kicked","by":"mod"}"#);
    home.hear(0, ToHome::Leave { home: room, asker: bob, reference: None });
    assert_eq!(home.joins(3, "bob"), "0 joined");
}

#[test]
fn settings_are_told_to_all_and_a_room_for_members_puts_out_who_is_none_and_is_in_no_list() {
    let mut home = Home::new();
    let mut directory = Directory::default();
    let mut is_listed = |home: &mut Home<MemoryLog>| {
        home.with(|rooms, cx, _| rooms.send_listings(cx, &mut directory));
        !directory.page(None, 10, &Scope::all()).0.is_empty()
    };
    let owner = home.enter(0, 1, "ann", Level::Own);
    home.enter(0, 2, "bob", Level::Speak);
    assert!(is_listed(&mut home));
    let member = Given::Value(Role::Member);
    home.stand(owner, MemberWish { user: "cat", role: member, ..MemberWish::default() });
    home.take_told();
    let wish = SettingsWish {
        title: Some("\"Tea\""),
        join: Some(Joiners::Members),
        speak: Some(Speakers::Moderators),
        ..SettingsWish::default()
    };
    home.set(owner, wish);
    let room = r#"{"members":2,"room":"tea","title":"Tea","join":"members","speak":"moderators"}"#;
    assert_eq!(
        home.take_told(),
        [
            format!("0 room_changed {room}"),
            r#"0 removed 2 {"reason":"members","by":"ann"}"#.to_owned(),
            format!("0 reply 1 ok {room}"),
        ]
    );
    assert!(!is_listed(&mut home));
    assert_eq!(home.joins(3, "dan"), r#"0 refused {"reason":"unauthorized"}"#);
    assert_eq!(home.joins(4, "cat"), "0 joined");
    let create = ToHome::Create { conn: conn(9), topic: TOPIC, title: "Mine", user: "dan" };
    home.hear(1, create);
    assert_eq!(home.take_told().last().map(String::as_str), Some("1 created 403"));
    // Nothing is done twice.
    home.set(owner, wish);
    let again = home.take_told();
    assert!(again.len() == 1 && again[0].starts_with("0 reply 1 ok"), "{again:?}");
    home.set(owner, SettingsWish { join: Some(Joiners::All), ..SettingsWish::default() });
    assert!(is_listed(&mut home));
}

#[test]
fn a_room_that_is_made_on_purpose_is_its_maker_s_and_stays_so_when_all_have_left() {
    let mut home = Home::new();
    home.hear(1, ToHome::Create { conn: conn(9), topic: TOPIC, title: "Tea", user: "ann" });
    let (room, ann) = home.enter(0, 1, "ann", Level::Speak);
    home.stand((room, ann), bans("bob"));
    home.hear(0, ToHome::Leave { home: room, asker: ann, reference: None });
    assert_eq!(home.joins(2, "bob"), r#"0 refused {"reason":"banned","until":0}"#);
    let cat = home.enter(0, 3, "cat", Level::Speak);
    home.take_told();
    home.stand(cat, bans("dan"));
    assert_eq!(home.take_told(), [r#"0 reply 1 error {"reason":"unauthorized"}"#]);
    let wanted = MembersWanted { restraint: Some(Restraint::Banned), after: "", limit: 9 };
    let (home_key, asker) = cat;
    home.hear(0, ToHome::ListMembers { home: home_key, asker, reference: "7", wanted });
    assert_eq!(home.take_told(), [r#"0 reply 7 error {"reason":"unauthorized"}"#]);
}

#[test]
fn what_holds_already_is_answered_when_the_first_of_it_is_kept() {
    let mut home = Home::with_log(DecidingLog::default());
    let ann = home.enter(0, 1, "ann", Level::Speak);
    home.take_told();
    home.stand(ann, bans("bob"));
    home.stand(ann, bans("bob"));
    assert_eq!(home.take_told(), [] as [&str; 0], "neither is known to be kept");
    let asked = std::mem::take(&mut home.mesh.log.asked);
    assert_eq!((asked.len(), &asked[0].1), (2, &asked[1].1));
    for (ticket, _) in asked {
        let (room, placed) = (ann.0, Placed::decision(1));
        home.with(|rooms, cx, told| {
            rooms.hear_log(cx, told, FromLog::Kept { room, ticket, placed });
        });
    }
    assert_eq!(home.take_told().len(), 2);
    home.stand(ann, bans("bob"));
    assert_eq!(home.take_told().len(), 1, "now it is");
    assert_eq!(home.mesh.log.asked.len(), 0);
}

#[test]
fn a_purge_is_refused_where_nothing_can_be_deleted() {
    let mut home = Home::with_log(DecidingLog::default());
    let ann = home.enter(0, 1, "ann", Level::Speak);
    home.publish(ann.0, ann.1, "2", "\"hi\"");
    let (room, ticket) = (ann.0, home.mesh.log.asked[0].0);
    let placed = Placed::message(Receipt { offset: 1, at_ms: 1 });
    home.with(|rooms, cx, told| rooms.hear_log(cx, told, FromLog::Kept { room, ticket, placed }));
    home.take_told();
    home.mesh.log.fails = true;
    let purge = MemberWish { user: "ann", purge_s: Some(9), ..MemberWish::default() };
    home.stand(ann, purge);
    let told = home.take_told();
    assert_eq!(told, [r#"0 reply 1 error {"reason":"storage","retry_ms":1000}"#]);
    home.mesh.log.fails = false;
    home.settings.chat.changes = 0;
    home.stand(ann, purge);
    assert!(home.take_told()[0].contains("too_many"));
}

#[test]
fn a_ban_takes_what_was_said_of_late_with_it() {
    let mut home = Home::new();
    let mods = home.enter(0, 1, "mod", Level::Moderate);
    let (room, bob) = home.enter(0, 2, "bob", Level::Speak);
    for (body, later_ms) in [("\"old\"", 0), ("\"new\"", 20_000), ("\"newer\"", 0)] {
        home.now_ms += later_ms;
        home.publish(room, bob, "5", body);
    }
    home.publish(room, mods.1, "5", "\"mine\"");
    home.take_told();
    home.stand(mods, MemberWish { purge_s: Some(10), ..bans("bob") });
    let told = home.take_told();
    let gone: Vec<_> = told.iter().filter(|told| told.contains("msg_changed")).collect();
    assert_eq!(gone.len(), 2, "{told:?}");
    assert!(gone[0].contains("\"offset\":3") && gone[1].contains("\"offset\":2"), "{gone:?}");
    assert!(gone[0].contains(r#""deleted":{"at":1021000,"by":"mod"}"#), "{gone:?}");
    assert!(told.last().is_some_and(|told| told.starts_with("0 reply 1 ok")), "behind them");
}

#[test]
fn slow_mode_counts_what_was_taken_and_nothing_else() {
    let mut home = Home::new();
    let mods = home.enter(0, 1, "mod", Level::Moderate);
    let (room, bob) = home.enter(0, 2, "bob", Level::Speak);
    home.set(mods, SettingsWish { slow_s: Some(10), ..SettingsWish::default() });
    home.publish_to(0, room, bob, "4", "\"hi\"", Some("k"));
    home.take_told();
    home.now_ms += 4_000;
    home.publish(room, bob, "5", "\"hi\"");
    assert_eq!(home.take_told(), [r#"0 reply 5 error {"reason":"slow_mode","retry_ms":6000}"#]);
    // Whoever asks for the receipt again is no faster than it was.
    home.publish_to(0, room, bob, "6", "\"hi\"", Some("k"));
    assert!(home.take_told()[0].contains("reply 6 ok"));
    home.now_ms += 6_000;
    home.publish(room, bob, "7", "\"hi\"");
    assert!(home.take_told().iter().any(|told| told.contains("reply 7 ok")));
}

#[test]
fn a_token_with_less_is_told_out_of_a_room_for_members() {
    let mut home = Home::new();
    let (room, staff) = home.enter(0, 1, "staff", Level::Own);
    let wish = SettingsWish { join: Some(Joiners::Members), ..SettingsWish::default() };
    home.set((room, staff), wish);
    home.take_told();
    let identity = Identity::new("staff", "S", NEVER_S, None).expect("valid");
    let who = Who::Here(&identity);
    home.hear(0, ToHome::Renew { home: room, asker: staff, who, level: Level::Speak });
    assert_eq!(home.take_told(), [r#"0 removed 1 {"reason":"members"}"#]);
}

#[test]
fn what_others_are_held_to_is_told_to_those_alone_who_look_after_the_room() {
    let mut home = Home::new();
    let mods = home.enter(0, 1, "mod", Level::Moderate);
    let guest = home.enter(0, 2, "cat", Level::Speak);
    let bob = home.enter(0, 3, "bob", Level::Speak);
    let mute = Some(Sentence::ForEver);
    home.stand(mods, MemberWish { user: "bob", mute, ..MemberWish::default() });
    // It is so already, so anybody may ask for it.
    let no_role = MemberWish { user: "bob", role: Given::Null, ..MemberWish::default() };
    for (who, expected) in [
        (guest, r#"0 reply 1 ok {"user":"bob"}"#),
        (mods, r#"0 reply 1 ok {"user":"bob","muted_until":0}"#),
        (bob, r#"0 reply 1 ok {"user":"bob","muted_until":0}"#),
    ] {
        home.take_told();
        home.stand(who, no_role);
        assert_eq!(home.take_told(), [expected]);
    }
}

#[test]
fn who_leaves_a_message_as_it_was_said_is_not_given_the_answer_to_a_decision() {
    let mut home = Home::with_log(DecidingLog::default());
    let ann = home.enter(0, 1, "ann", Level::Speak);
    let (room, staff) = home.enter(0, 2, "mod", Level::Moderate);
    home.publish(room, staff, "5", "\"hi\"");
    let (ticket, _) = home.mesh.log.asked.remove(0);
    let placed = Placed::message(Receipt { offset: 1, at_ms: 1 });
    home.with(|rooms, cx, told| rooms.hear_log(cx, told, FromLog::Kept { room, ticket, placed }));
    home.stand(ann, bans("bob"));
    home.take_told();
    let verb = Verb::Pin { on: false };
    home.hear(0, ToHome::Change { home: room, asker: staff, reference: "6", offset: 1, verb });
    assert_eq!(home.take_told(), [r#"0 reply 6 ok {"change":0}"#]);
}

fn mutes(user: &str) -> MemberWish<'_> {
    MemberWish { user, mute: Some(Sentence::ForEver), ..MemberWish::default() }
}

#[test]
fn a_message_that_stands_is_answered_by_its_key_whatever_was_decided_since() {
    let mut home = Home::new();
    let staff = home.enter(0, 1, "boss", Level::Own);
    let (room, bob) = home.enter(0, 2, "bob", Level::Speak);
    let says = |home: &mut Home<MemoryLog>, key| {
        home.take_told();
        home.publish_to(0, room, bob, "5", "\"see https://x\"", Some(key));
        home.take_told().pop().expect("an answer")
    };
    let first = says(&mut home, "k");
    assert!(first.starts_with("0 reply 5 ok"), "{first}");
    let none = SettingsWish::default();
    home.set(staff, SettingsWish { links: Some(false), ..none });
    assert_eq!(says(&mut home, "k"), first);
    assert!(says(&mut home, "other").contains(r#""reason":"rejected""#));
    home.set(staff, SettingsWish { speak: Some(Speakers::Moderators), ..none });
    assert_eq!(says(&mut home, "k"), first);
    assert!(says(&mut home, "other").contains(r#""reason":"unauthorized""#));
    home.stand(staff, mutes("bob"));
    assert_eq!(says(&mut home, "k"), first);
    assert!(says(&mut home, "other").contains(r#""reason":"muted""#));
    assert_eq!(home.rooms.arena.get(room).expect("it is there").room.history().last(), 1);
    // Whoever is out learns nothing, while its shard has not heard that.
    home.stand(staff, bans("bob"));
    assert_eq!(says(&mut home, "k"), says(&mut home, "other"));
    assert!(says(&mut home, "k").contains(r#""reason":"banned""#));
}

#[test]
fn whoever_is_muted_hears_of_what_is_under_way_and_of_what_is_in_doubt() {
    let mut home = Home::with_log(DecidingLog::default());
    let ann = home.enter(0, 1, "ann", Level::Speak);
    let (room, bob) = home.enter(0, 2, "bob", Level::Speak);
    home.publish_to(0, room, bob, "5", "\"hi\"", Some("k"));
    let (ticket, _) = home.mesh.log.asked.remove(0);
    home.stand(ann, mutes("bob"));
    home.take_told();
    home.publish_to(0, room, bob, "6", "\"hi\"", Some("k"));
    assert_eq!(home.take_told(), [] as [&str; 0], "it waits for the first one");
    let why = Why::Unconfirmed;
    home.with(|rooms, cx, told| rooms.hear_log(cx, told, FromLog::Refused { room, ticket, why }));
    let doubtful = |told: &str| told.contains(r#""reason":"unconfirmed""#);
    let told = home.take_told();
    assert!(told.len() == 2 && told.iter().all(|told| doubtful(told)), "{told:?}");
    home.publish_to(0, room, bob, "7", "\"hi\"", Some("k"));
    assert!(doubtful(&home.take_told()[0]));
}

#[test]
fn what_was_only_heard_is_asked_of_the_log_though_its_author_is_muted() {
    let mut home = Home::with_log(DecidingLog::default());
    let ann = home.enter(0, 1, "ann", Level::Speak);
    let (room, bob) = home.enter(0, 2, "bob", Level::Speak);
    let said = Said { user: "bob", name: "bob", body: "\"hi\"", key: Some("k"), ..Said::default() };
    let placed = Placed::message(Receipt { offset: 1, at_ms: 1 });
    let (what, line) = (What::Message(said), None);
    let heard =
        FromLog::Entry { room, ticket: None, placed, rev: 0, what, line, was_missed: false };
    home.with(|rooms, cx, told| rooms.hear_log(cx, told, heard));
    home.stand(ann, mutes("bob"));
    home.mesh.log.asked.clear();
    home.mesh.log.is_late = true;
    home.take_told();
    home.publish_to(0, room, bob, "5", "\"hi\"", Some("other"));
    assert_eq!(home.take_told(), [r#"0 reply 5 error {"reason":"muted","until":0}"#]);
    home.publish_to(0, room, bob, "6", "\"hi\"", Some("k"));
    assert_eq!(home.take_told(), [] as [&str; 0]);
    let (ticket, _) = home.mesh.log.asked.pop().expect("it was asked");
    home.with(|rooms, cx, told| rooms.hear_log(cx, told, FromLog::Kept { room, ticket, placed }));
    let told = home.take_told();
    assert!(told.len() == 1 && told[0].starts_with("0 reply 6 ok"), "{told:?}");
    assert!(told[0].contains(r#""offset":1"#), "{told:?}");
}

#[test]
fn of_what_is_not_known_the_log_is_asked_before_its_author_is_told_to_be_muted() {
    let mut home = Home::with_log(DecidingLog::default());
    let ann = home.enter(0, 1, "ann", Level::Speak);
    let (room, bob) = home.enter(0, 2, "bob", Level::Speak);
    home.stand(ann, mutes("bob"));
    (home.mesh.log.is_late, home.mesh.log.recalls) = (true, true);
    for (reference, why) in [("5", Some(Why::Conflict)), ("6", Some(Why::Unavailable)), ("7", None)]
    {
        (home.mesh.log.asked, _) = (Vec::new(), home.take_told());
        home.publish_to(0, room, bob, reference, "\"hi\"", Some("k"));
        assert_eq!(home.take_told(), [] as [&str; 0]);
        let (ticket, what) = home.mesh.log.asked.pop().expect("it was asked");
        assert_eq!(what, "recall k of bob");
        let placed = Placed::message(Receipt { offset: 1, at_ms: 1 });
        let answer = match why {
            Some(why) => FromLog::Refused { room, ticket, why },
            None => FromLog::Kept { room, ticket, placed },
        };
        home.with(|rooms, cx, told| rooms.hear_log(cx, told, answer));
        if why.is_none() {
            // Another node has said so, which is not heard yet.
            assert_eq!(home.take_told(), [] as [&str; 0]);
            let said = Said { user: "bob", name: "bob", body: "\"hi\"", ..Said::default() };
            let (what, line, rev) = (What::Message(said), None, 1);
            let heard =
                FromLog::Entry { room, ticket: None, placed, rev, what, line, was_missed: false };
            home.with(|rooms, cx, told| rooms.hear_log(cx, told, heard));
        }
        let answer = home.take_told().pop().expect("an answer");
        let expected = match why {
            Some(Why::Conflict) => r#"error {"reason":"muted","until":0}"#,
            Some(_) => r#"error {"reason":"unavailable""#,
            None => "ok {",
        };
        assert!(answer.starts_with(&format!("0 reply {reference} {expected}")), "{answer}");
    }
    // Without a key it cannot have been.
    home.publish(room, bob, "8", "\"hi\"");
    assert_eq!(home.take_told(), [r#"0 reply 8 error {"reason":"muted","until":0}"#]);
}

#[test]
fn what_conflicts_with_a_mute_is_not_said_though_its_author_has_left() {
    for of in ["bob", "cat"] {
        let mut home = Home::with_log(DecidingLog { is_late: true, ..DecidingLog::default() });
        home.enter(0, 1, "ann", Level::Speak);
        let (room, bob) = home.enter(0, 2, "bob", Level::Speak);
        home.publish_to(0, room, bob, "5", "\"hi\"", Some("k"));
        let (ticket, _) = home.mesh.log.asked.pop().expect("it is under way");
        home.hear(0, ToHome::Leave { home: room, asker: bob, reference: None });
        // Decided at another node.
        let standing = Standing { muted_until_ms: u64::MAX, ..Standing::default() };
        let (what, placed) = (What::Standing { user: of, standing }, Placed::decision(1));
        let heard = FromLog::Entry {
            room,
            ticket: None,
            placed,
            rev: 1,
            what,
            line: None,
            was_missed: false,
        };
        home.with(|rooms, cx, told| rooms.hear_log(cx, told, heard));
        let why = Why::Conflict;
        let refused = FromLog::Refused { room, ticket, why };
        home.with(|rooms, cx, told| rooms.hear_log(cx, told, refused));
        assert_eq!(home.mesh.log.asked.is_empty(), of == "bob", "{:?}", home.mesh.log.asked);
    }
}

/// A log that keeps what is decided when it is told to, and remembers it.
#[derive(Default)]
struct DecidingLog {
    asked: Vec<(Ticket, String)>,
    fails: bool,
    /// Whether it gives an entry its place later.
    is_late: bool,
    /// Whether it remembers keys of which nothing is known here.
    recalls: bool,
}

impl Log for DecidingLog {
    fn open(&mut self, _: RoomKey, _: &str, _: u64) -> Opening {
        Opening::Kept(Opened {
            epoch: 5,
            founded: Some("Tea".into()),
            settings: Some(r#"{"slow_s":7}"#.into()),
            standings: [("ann", owner())].into_iter().collect(),
            ..Opened::default()
        })
    }
    fn append(&mut self, append: Append<'_>) -> Appended {
        if self.fails {
            return Appended::Refused(Why::Storage);
        }
        let what = match append.entry.what {
            What::Settings { title, settings } => format!("{title} {settings}"),
            What::Standing { user, standing } => format!("{user} {}", standing.banned_until_ms),
            other => format!("{other:?}"),
        };
        self.asked.push((append.ticket, what));
        if self.is_late { Appended::Later } else { Appended::Ordered }
    }
    fn recall(&mut self, recall: Recall<'_>) -> Option<Appended> {
        let Recall { ticket, user, key, .. } = recall;
        self.recalls.then(|| {
            self.asked.push((ticket, format!("recall {key} of {user}")));
            Appended::Later
        })
    }
    fn close(&mut self, _: RoomKey) {}
}

fn owner() -> Standing {
    Standing { role: Some(Role::Owner), ..Standing::default() }
}

#[test]
fn a_decision_holds_at_once_and_is_answered_when_it_is_kept() {
    let mut home = Home::with_log(DecidingLog::default());
    let ann = home.enter(0, 1, "ann", Level::Speak);
    let (room, bob) = home.enter(0, 2, "bob", Level::Speak);
    home.take_told();
    home.stand(ann, MemberWish { ban: Some(Sentence::Seconds(1)), ..bans("bob") });
    let told = home.take_told();
    assert!(told.len() == 1 && told[0].starts_with("0 removed 2"), "{told:?}");
    home.publish(room, bob, "5", "\"hi\"");
    assert_eq!(home.take_told(), [r#"0 reply 5 error {"reason":"banned","until":1002000}"#]);
    home.set(ann, SettingsWish { speak: Some(Speakers::Members), ..SettingsWish::default() });
    let asked = std::mem::take(&mut home.mesh.log.asked);
    assert_eq!(asked[0].1, "bob 1002000");
    assert_eq!(asked[1].1, r#"Tea {"speak":"members","slow_s":7}"#);
    // Bob's shard has not said yet that he has left.
    let told: Vec<_> = home.take_told().iter().map(|told| told[..14].to_owned()).collect();
    assert_eq!(told, ["0 room_changed", "0 removed 2 {\""], "and who decided it waits");
    for (ticket, _) in asked {
        let placed = Placed::decision(1);
        home.with(|rooms, cx, told| {
            rooms.hear_log(cx, told, FromLog::Kept { room, ticket, placed });
        });
    }
    let told = home.take_told();
    assert_eq!(told[0], r#"0 reply 1 ok {"user":"bob","banned_until":1002000}"#);
    assert!(told[1].starts_with("0 reply 1 ok {\"members\":2"), "{told:?}");
    home.mesh.log.fails = true;
    home.stand(ann, bans("cat"));
    let refused = r#"0 reply 1 error {"reason":"storage","retry_ms":1000}"#;
    assert_eq!(home.take_told(), [refused]);
    assert_eq!(home.joins(7, "cat"), "0 joined", "nothing was decided");
}

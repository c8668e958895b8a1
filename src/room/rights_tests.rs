//! Who may do what in a room, and who may decide that otherwise: each level, each refusal.

use super::facts::RemovalCause;
use super::tests::{asker, identity, join_as, now, written};
use super::*;
use crate::auth::level::{Joiners, NEVER_MS, Restraint, Role, Speakers, Standing};
use crate::base::phrases::Phrases;
use crate::limits::{SPEAKER_MEMORY_BYTES, SPEAKERS_KNOWN_MAX};
use crate::link::facts::{MemberWish, MembersWanted, RoomSettings, Sentence, SettingsWish};
use crate::link::given::Given;
use crate::link::record::Verb;
use crate::link::refusal::Refusal;

const NOW: u64 = 1_000_000;

/// A room with one of each: their slots are 0 to 4.
struct World {
    room: Room,
}

/// Who is there, what its token allows, and its role.
const THERE: [(&str, Level, Option<Role>); 5] = [
    ("owner", Level::Speak, Some(Role::Owner)),
    ("mod", Level::Speak, Some(Role::Moderator)),
    ("member", Level::Speak, Some(Role::Member)),
    ("guest", Level::Speak, None),
    ("reader", Level::Join, None),
];

impl World {
    fn new() -> Self {
        let mut room = Room::new("room:tea", 7);
        for (number, (user, token, role)) in (0..).zip(THERE) {
            join_as(&mut room, user, token, number);
            room.apply_standing(user, Standing { role, ..Standing::default() }, NOW);
        }
        Self { room }
    }

    fn slot(user: &str) -> Slot {
        let at = THERE.iter().position(|(of, ..)| *of == user).expect("it is there");
        Slot(u32::try_from(at).expect("few"))
    }

    fn asker(user: &str) -> Asker {
        let slot = Self::slot(user);
        asker(u64::from(slot.0), slot)
    }

    fn settings(&mut self, change: impl FnOnce(&mut RoomSettings)) {
        let mut settings = self.room.settings().clone();
        change(&mut settings);
        self.room.apply_settings("Tea", settings);
    }

    fn stands(&mut self, user: &str, change: impl FnOnce(&mut Standing)) {
        let mut standing = self.room.standing(user);
        change(&mut standing);
        self.room.apply_standing(user, standing, NOW);
    }

    fn may_speak(&self, user: &str) -> Result<(), Refusal> {
        self.room.may_speak(Self::slot(user), NOW)
    }

    fn decides(&self, by: &str, wish: MemberWish<'_>) -> Result<bool, Refusal> {
        let judged = self.room.judge_standing(Self::asker(by), &wish, NOW, 100);
        judged.map(|next| next != self.room.standing(wish.user))
    }
}

const NO: Result<bool, Refusal> = Err(Refusal::Unauthorized);

fn wish(user: &str) -> MemberWish<'_> {
    MemberWish { user, ..MemberWish::default() }
}

#[test]
fn a_room_of_which_nothing_was_decided_asks_tokens_only() {
    let mut room = Room::new("room:tea", 7);
    for (number, token) in (0..).zip([Level::Join, Level::Speak, Level::Moderate, Level::Own]) {
        let slot = join_as(&mut room, "ann", token, number);
        assert_eq!(room.level_at(slot, NOW), token);
    }
    assert!(!room.has_facts() && !room.is_private());
    assert_eq!(written(|out| room.push_room(out)), r#"{"members":4,"room":"tea","title":"tea"}"#);
}

#[test]
fn who_may_speak_is_decided_by_token_room_role_and_mute() {
    let speakers = |world: &World| THERE.map(|(user, ..)| world.may_speak(user).is_ok());
    let mut world = World::new();
    assert_eq!(speakers(&world), [true, true, true, true, false]);
    world.settings(|settings| settings.speak = Speakers::Members);
    assert_eq!(speakers(&world), [true, true, true, false, false]);
    world.settings(|settings| settings.speak = Speakers::Moderators);
    assert_eq!(speakers(&world), [true, true, false, false, false]);
    assert_eq!(world.may_speak("member"), Err(Refusal::Unauthorized));
    world.stands("mod", |standing| standing.muted_until_ms = NOW + 5);
    assert_eq!(world.may_speak("mod"), Err(Refusal::Muted { until_ms: NOW + 5 }));
    assert_eq!(world.room.may_speak(World::slot("mod"), NOW + 5), Ok(()), "it is over");
    world.stands("mod", |standing| standing.banned_until_ms = Sentence::ForEver.until_ms(NOW));
    assert_eq!(world.may_speak("mod"), Err(Refusal::Banned { until_ms: 0 }));
}

#[test]
fn who_may_join_is_decided_by_ban_and_role() {
    let mut world = World::new();
    let joins = |world: &World, user, token| world.room.may_join(user, token, NOW);
    assert_eq!(joins(&world, "stranger", Level::Speak), Ok(()));
    assert_eq!(joins(&world, "stranger", Level::None), Err(Refusal::Unauthorized));
    world.settings(|settings| settings.join = Joiners::Members);
    assert!(world.room.is_private());
    assert_eq!(joins(&world, "stranger", Level::Speak), Err(Refusal::Unauthorized));
    assert_eq!(joins(&world, "stranger", Level::Moderate), Ok(()));
    assert_eq!(joins(&world, "member", Level::Join), Ok(()));
    world.stands("member", |standing| standing.banned_until_ms = NOW + 1);
    assert_eq!(joins(&world, "member", Level::Own), Err(Refusal::Banned { until_ms: NOW + 1 }));
    let out = world.room.out(NOW);
    let out: Vec<u32> = out.iter().map(|(slot, _)| slot.0).collect();
    assert_eq!(out, ["member", "guest", "reader"].map(|user| World::slot(user).0));
}

/// For each act one row: who may do it, of the five, to a guest, a member, a moderator, an owner.
#[test]
fn each_act_is_for_whom_it_is() {
    let world = World::new();
    let role = |role| MemberWish { role, ..MemberWish::default() };
    let muted = MemberWish { mute: Some(Sentence::Seconds(5)), ..MemberWish::default() };
    let banned = MemberWish { ban: Some(Sentence::ForEver), ..MemberWish::default() };
    let purged = MemberWish { purge_s: Some(5), ..MemberWish::default() };
    let kicked = MemberWish { kick: true, ..MemberWish::default() };
    let (mute, ban) = (Some(Sentence::Lifted), Some(Sentence::Lifted));
    let lifted = MemberWish { mute, ban, ..MemberWish::default() };
    let over = [["guest", "om"], ["member", "om"], ["mod", "o"], ["owner", ""]];
    let rows = [
        (
            "member",
            role(Given::Value(Role::Member)),
            [["guest", "omg"], ["member", "omegr"], ["mod", "om"], ["owner", ""]],
        ),
        (
            "moderator",
            role(Given::Value(Role::Moderator)),
            [["guest", "o"], ["member", "o"], ["mod", "omegr"], ["owner", ""]],
        ),
        (
            "owner",
            role(Given::Value(Role::Owner)),
            [["guest", "o"], ["member", "o"], ["mod", "o"], ["owner", "omegr"]],
        ),
        (
            "none",
            role(Given::Null),
            [["guest", "omegr"], ["member", "ome"], ["mod", "om"], ["owner", ""]],
        ),
        ("mute", muted, over),
        ("ban", banned, over),
        ("kick", kicked, over),
        ("lift", lifted, [["guest", "om"], ["member", "om"], ["mod", "o"], ["owner", "o"]]),
        ("purge", purged, [["guest", "omg"], ["member", "ome"], ["mod", "om"], ["owner", "o"]]),
    ];
    for (act, wish, expected) in rows {
        for [user, may] in expected {
            for ((by, ..), letter) in THERE.iter().zip("omegr".chars()) {
                let told = world.decides(by, MemberWish { user, ..wish });
                let is_last = (*by, user) == ("owner", "owner") && told == Err(Refusal::LastOwner);
                assert_eq!(told.is_ok(), may.contains(letter), "{act} of {user} by {by}: {told:?}");
                assert!(told.is_ok() || is_last || told == NO, "{act} of {user} by {by}: {told:?}");
            }
        }
    }
}

#[test]
fn the_last_owner_stays_and_another_may_go() {
    let mut world = World::new();
    let leaves = MemberWish { role: Given::Null, ..wish("owner") };
    assert_eq!(world.decides("owner", leaves), Err(Refusal::LastOwner));
    world.stands("guest", |standing| standing.role = Some(Role::Owner));
    assert_eq!(world.decides("owner", leaves), Ok(true));
    assert_eq!(world.decides("guest", leaves), NO, "but not by another's will");
}

#[test]
fn who_becomes_an_owner_is_neither_muted_nor_banned_from_then_on() {
    let owns = MemberWish { role: Given::Value(Role::Owner), ..wish("zed") };
    let holds: [(fn(&mut Standing), _, _); 2] = [
        (|standing| standing.muted_until_ms = NEVER_MS, Some(Sentence::Lifted), None),
        (|standing| standing.banned_until_ms = NOW + 1, None, Some(Sentence::Lifted)),
    ];
    for (hold, mute, ban) in holds {
        let mut world = World::new();
        world.stands("zed", hold);
        let told = world.decides("owner", owns);
        assert!(matches!(told, Err(Refusal::Invalid { field: "role", .. })), "{told:?}");
        assert_eq!(world.decides("mod", owns), NO, "it learns nothing else");
        assert_eq!(world.decides("owner", MemberWish { mute, ban, ..owns }), Ok(true));
        let none = MemberWish { mute: ban, ban: mute, ..owns };
        assert!(world.decides("owner", none).is_err(), "the other one is lifted");
        // One that is over holds nobody.
        world.stands("zed", |standing| *standing = Standing::default());
        world.stands("zed", |standing| standing.muted_until_ms = NOW);
        assert_eq!(world.decides("owner", owns), Ok(true));
    }
}

#[test]
fn an_owner_who_is_muted_or_banned_is_freed_by_another_and_is_not_the_one_who_remains() {
    let lifts =
        MemberWish { mute: Some(Sentence::Lifted), ban: Some(Sentence::Lifted), ..wish("guest") };
    let holds: [fn(&mut Standing); 2] = [
        |standing| standing.muted_until_ms = NEVER_MS,
        |standing| standing.banned_until_ms = NOW + 1,
    ];
    for hold in holds {
        let mut world = World::new();
        world.stands("guest", |standing| standing.role = Some(Role::Owner));
        world.stands("guest", hold);
        let leaves = |user| MemberWish { role: Given::Null, ..wish(user) };
        assert_eq!(world.decides("owner", leaves("owner")), Err(Refusal::LastOwner));
        assert_eq!(world.decides("guest", leaves("guest")), Ok(true), "another one decides");
        assert_eq!(world.decides("owner", lifts), Ok(true));
        assert_eq!(world.decides("mod", lifts), NO);
        assert!(world.decides("guest", lifts).is_err(), "and not by itself");
        let kicks = MemberWish { kick: true, ..lifts };
        assert_eq!(world.decides("owner", kicks), NO, "nothing else is done to an owner");
        world.stands("guest", |standing| *standing = Standing::OWNER);
        assert_eq!(world.decides("owner", leaves("owner")), Ok(true));
    }
}

#[test]
fn a_role_counts_for_no_more_than_the_token_of_one_who_is_there() {
    let mut world = World::new();
    let kicks = MemberWish { kick: true, ..wish("reader") };
    let mutes = MemberWish { mute: Some(Sentence::ForEver), ..wish("reader") };
    for role in Role::ALL {
        world.stands("reader", |standing| standing.role = Some(role));
        assert!(world.decides("mod", kicks).is_ok(), "{role:?}");
        assert_eq!(world.decides("mod", mutes), Ok(true), "{role:?}");
        assert_eq!(world.decides("member", kicks), NO, "{role:?}");
    }
    // The last owner is the one who may decide, on a device with another token.
    world.stands("owner", |standing| standing.role = None);
    assert!(world.decides("mod", kicks).is_ok());
    assert_eq!(world.decides("mod", mutes), Err(Refusal::LastOwner));
    // On another of its devices it is an owner.
    join_as(&mut world.room, "reader", Level::Speak, 9);
    assert_eq!(world.decides("mod", kicks), NO);
    // Of who is not there the role counts.
    world.stands("gone", |standing| standing.role = Some(Role::Moderator));
    assert_eq!(world.decides("mod", MemberWish { user: "gone", ..kicks }), NO);
}

#[test]
fn a_token_that_moderates_stands_above_a_moderator_s_mute() {
    let mut world = World::new();
    let bans = MemberWish { ban: Some(Sentence::ForEver), ..wish("staff") };
    assert_eq!(world.decides("mod", bans), Ok(true), "who is not here is as everybody");
    join_as(&mut world.room, "staff", Level::Moderate, 9);
    assert_eq!(world.decides("mod", bans), NO);
    assert_eq!(world.decides("owner", bans), Ok(true));
    // What was decided while it was not there is lifted by whoever owns the room.
    join_as(&mut world.room, "boss", Level::Own, 10);
    world.stands("boss", |standing| standing.muted_until_ms = NEVER_MS);
    let lifts = MemberWish { mute: Some(Sentence::Lifted), ..wish("boss") };
    assert_eq!((world.decides("mod", lifts), world.decides("owner", lifts)), (NO, Ok(true)));
}

#[test]
fn a_decision_is_none_if_it_is_so_and_is_bounded() {
    let mut world = World::new();
    let lifts = MemberWish { mute: Some(Sentence::Lifted), ..wish("guest") };
    assert_eq!(world.decides("owner", lifts), Ok(false));
    let mutes = MemberWish { mute: Some(Sentence::Seconds(1)), ..wish("guest") };
    let judged = world.room.judge_standing(World::asker("owner"), &mutes, NOW, 3);
    let full = Refusal::TooMany { limit: "limits.members_per_room", max: 3 };
    assert_eq!(judged, Err(full));
    // Who stands in it already may stand otherwise.
    let bans = MemberWish { ban: Some(Sentence::Seconds(1)), ..wish("member") };
    assert!(world.room.judge_standing(World::asker("owner"), &bans, NOW, 3).is_ok());
    // What is over takes no place.
    world.stands("gone", |standing| standing.banned_until_ms = NOW + 1);
    assert!(world.room.judge_standing(World::asker("owner"), &mutes, NOW, 4).is_err());
    assert!(world.room.judge_standing(World::asker("owner"), &mutes, NOW + 1, 4).is_ok());
}

#[test]
fn settings_are_for_moderators_and_who_joins_and_speaks_for_owners() {
    let world = World::new();
    let sets = |by: &str, wish: SettingsWish<'_>| {
        let judged = world.room.judge_settings(World::asker(by), &wish, NOW);
        judged.map(|(title, settings)| !world.room.is_set(&title, &settings))
    };
    let none = SettingsWish::default();
    let slow = SettingsWish { slow_s: Some(5), ..none };
    let speak = SettingsWish { speak: Some(Speakers::Members), slow_s: Some(5), ..none };
    let by = |wish| THERE.map(|(user, ..)| sets(user, wish).is_ok());
    assert_eq!(by(slow), [true, true, false, false, false]);
    assert_eq!(by(speak), [true, false, false, false, false]);
    for most in [Given::Value(60), Given::Null] {
        let keep = SettingsWish { slow_s: Some(5), ..none };
        for keep in [
            SettingsWish { keep_s: most, ..keep },
            SettingsWish { keep_messages: most, ..keep },
            SettingsWish { keep_bytes: most, ..keep },
        ] {
            assert_eq!(by(keep), [true, false, false, false, false], "{keep:?}");
        }
    }
    assert_eq!(sets("guest", slow), NO);
    assert_eq!(sets("mod", SettingsWish { slow_s: Some(0), ..none }), Ok(false), "it is so");
    // A room that is called as it is named has a title only if it has an owner.
    let title = SettingsWish { title: Some("\"Tea\""), ..none };
    assert_eq!(by(title), [true, true, false, false, false]);
    let mut plain = Room::new("room:tea", 7);
    let speaker = asker(1, join_as(&mut plain, "ann", Level::Speak, 1));
    assert!(plain.judge_settings(speaker, &title, NOW).is_ok());
    let more = SettingsWish { topic: Given::Value("\"t\""), ..title };
    assert_eq!(plain.judge_settings(speaker, &more, NOW), Err(Refusal::Unauthorized));
    let mut titled = World::new();
    titled.room.set_title("Tea");
    let other = SettingsWish { title: Some("\"Mate\""), ..none };
    assert!(titled.room.judge_settings(World::asker("guest"), &other, NOW).is_err());
}

#[test]
fn a_ban_tells_nobody_of_a_room_who_could_not_come_in_anyway() {
    let mut world = World::new();
    let told = |world: &World, user, token| world.room.may_join(user, token, NOW);
    let nothing = Err(Refusal::Unauthorized);
    let banned = Err(Refusal::Banned { until_ms: 0 });
    for user in ["stranger", "member"] {
        let role = world.room.standing(user).role;
        let standing = Standing { role, banned_until_ms: NEVER_MS, ..Standing::default() };
        world.room.apply_standing(user, standing, NOW);
        assert_eq!(told(&world, user, Level::Speak), banned);
        assert_eq!(told(&world, user, Level::None), nothing);
    }
    world.settings(|settings| settings.join = Joiners::Members);
    assert_eq!(told(&world, "stranger", Level::Speak), nothing);
    assert_eq!(told(&world, "stranger", Level::Moderate), banned);
    assert_eq!(told(&world, "member", Level::Speak), banned);
}

#[test]
fn slow_mode_lets_wait_whom_it_is_for_and_no_longer_than_it_is_slow() {
    let mut world = World::new();
    let again = |world: &World, user, mono_ms| {
        world.room.may_speak_again(World::slot(user), 42, (NOW, mono_ms))
    };
    world.room.note_spoken(42, 100);
    assert_eq!(again(&world, "guest", 100), Ok(()), "it is not slow");
    world.settings(|settings| settings.slow_s = 10);
    assert_eq!(again(&world, "guest", 100), Ok(()), "the first one");
    world.room.note_spoken(42, 100);
    assert_eq!(again(&world, "guest", 100), Err(Refusal::SlowMode { retry_ms: 10_000 }));
    assert_eq!(again(&world, "guest", 10_099), Err(Refusal::SlowMode { retry_ms: 1 }));
    assert_eq!(again(&world, "guest", 10_100), Ok(()));
    assert_eq!(again(&world, "mod", 100), Ok(()));
    world.settings(|settings| settings.slow_s = 2);
    assert_eq!(again(&world, "guest", 100), Err(Refusal::SlowMode { retry_ms: 2_000 }));
    assert_eq!(again(&world, "guest", 2_100), Ok(()), "it counts from when it spoke");
    // Whoever spoke long ago is forgotten.
    for speaker in 0..5_000 {
        world.room.note_spoken(speaker, speaker * 10_000);
    }
    assert!(world.room.weight_bytes() < 200_000, "{}", world.room.weight_bytes());
}

#[test]
fn of_too_many_who_have_spoken_in_slow_mode_the_last_are_known() {
    let mut world = World::new();
    world.settings(|settings| settings.slow_s = 21_600);
    let plain = world.room.weight_bytes();
    let known = SPEAKERS_KNOWN_MAX as u64;
    let count = 3 * known;
    (0..count).for_each(|speaker| world.room.note_spoken(speaker, speaker));
    let again = |speaker| world.room.may_speak_again(World::slot("guest"), speaker, (NOW, count));
    assert!(again(0).is_ok(), "the first is forgotten");
    assert!((count - known / 2..count).all(|speaker| again(speaker).is_err()), "the last are not");
    let bytes = world.room.weight_bytes() - plain;
    assert!(bytes <= 2 * SPEAKERS_KNOWN_MAX * SPEAKER_MEMORY_BYTES, "{bytes}");
}

#[test]
fn links_and_all_who_are_there_are_for_moderators_where_that_was_decided() {
    let mut world = World::new();
    let sends = |world: &World, user, body, mentions| {
        world.room.may_send(World::slot(user), body, mentions, None, NOW)
    };
    let everybody = Some(r#"["bob","@\u0072oom"]"#);
    assert_eq!(sends(&world, "member", "\"hi\"", everybody), Err(Refusal::Unauthorized));
    assert_eq!(sends(&world, "mod", "\"hi\"", everybody), Ok(()));
    assert_eq!(sends(&world, "member", "\"hi\"", Some("[\"@rooms\"]")), Ok(()));
    let link = r#""see \u0068TTPS:\/\/x""#;
    assert_eq!(sends(&world, "guest", link, None), Ok(()));
    world.settings(|settings| settings.links = false);
    for (body, is_taken) in [
        (link, false),
        ("\"http://\"", false),
        ("\"://http ftp://\"", true),
        ("\"ttp://\"", true),
        ("\"\"", true),
    ] {
        let told = sends(&world, "guest", body, None);
        assert_eq!(told.is_ok(), is_taken, "{body}");
        assert!(is_taken || matches!(told, Err(Refusal::Rejected { .. })));
        assert_eq!(sends(&world, "mod", body, None), Ok(()));
    }
}

#[test]
fn phrases_that_messages_may_not_have_are_for_moderators_however_they_are_written() {
    let mut world = World::new();
    let blocked = Phrases::parse("cat\nkäse\nfree money").expect("good");
    for (body, is_taken) in [
        (r#""a Cat.""#, false),
        (r#""c\u0061t""#, false),
        (r#""\"cat\"""#, false),
        (r#""line\ncat""#, false),
        (r#""K\u00C4SE""#, false),
        (r#""free\n\tmoney""#, false),
        (r#""\ud83d\ude00cat\ud83d\ude00""#, false),
        (r#""cat\u0073""#, true),
        (r#""\u00fccat""#, true),
        (r#""\\ncats""#, true),
        (r#""concat""#, true),
        (r#""""#, true),
    ] {
        let edit = Verb::Edit { body: Some(body), mentions: Given::Nothing, data: Given::Nothing };
        for user in ["guest", "member", "mod", "owner"] {
            let (slot, blocked) = (World::slot(user), blocked.as_ref());
            let is_free = matches!(user, "mod" | "owner");
            for told in [
                world.room.may_send(slot, body, None, blocked, NOW),
                world.room.may_change(slot, edit, blocked, NOW),
            ] {
                assert_eq!(told.is_ok(), is_taken || is_free, "{body} by {user}");
                assert!(told.is_ok() || matches!(told, Err(Refusal::Rejected { .. })));
            }
            assert_eq!(world.room.may_send(slot, body, None, None, NOW), Ok(()));
        }
    }
    // What has no text has no phrase.
    let edit = Verb::Edit { body: None, mentions: Given::Null, data: Given::Nothing };
    assert_eq!(world.room.may_change(World::slot("guest"), edit, blocked.as_ref(), NOW), Ok(()));
    world.stands("guest", |standing| standing.muted_until_ms = NOW + 5);
    let told = world.room.may_send(World::slot("guest"), "\"cat\"", None, blocked.as_ref(), NOW);
    assert_eq!(told, Err(Refusal::Muted { until_ms: NOW + 5 }), "that is said first");
}

#[test]
fn what_is_over_is_not_told_and_takes_no_memory() {
    let mut world = World::new();
    world.stands("guest", |standing| standing.muted_until_ms = NOW + 5);
    let you =
        |user, now_ms| written(|out| world.room.push_you(out, World::slot(user), "mod", now_ms));
    assert_eq!(you("guest", NOW), r#"{"speak":false,"muted_until":1000005,"by":"mod"}"#);
    assert_eq!(you("guest", NOW + 5), r#"{"speak":true,"by":"mod"}"#);
    assert_eq!(you("owner", NOW), r#"{"speak":true,"level":"own","role":"owner","by":"mod"}"#);
    let members_of = |restraint, after, limit, looks_max| {
        let wanted = MembersWanted { restraint, after, limit };
        written(|out| {
            let looks = world.room.push_members(out, wanted, looks_max, NOW);
            assert!(looks <= looks_max, "{looks}");
        })
    };
    let members = |restraint, after, limit| members_of(restraint, after, limit, usize::MAX);
    let all = members(None, "", 100);
    assert_eq!(
        all,
        r#"{"members":[{"user":"member","role":"member"},{"user":"mod","role":"moderator"},{"user":"owner","role":"owner"}],"more":false}"#
    );
    assert_eq!(
        members(None, "member", 1),
        r#"{"members":[{"user":"mod","role":"moderator"}],"more":true}"#
    );
    assert_eq!(
        members(Some(Restraint::Muted), "", 9),
        r#"{"members":[{"user":"guest","muted_until":1000005}],"more":false}"#
    );
    assert_eq!(members(Some(Restraint::Banned), "", 9), r#"{"members":[],"more":false}"#);
    // Of many it looks at some, and says where to go on.
    let some = |restraint, after| members_of(restraint, after, 9, 2);
    let none = r#"{"members":[],"more":true,"after":"member"}"#;
    assert_eq!(some(Some(Restraint::Banned), ""), none);
    assert_eq!(some(Some(Restraint::Banned), "member"), r#"{"members":[],"more":false}"#);
    let first = r#"{"members":[{"user":"member","role":"member"}],"more":true,"after":"member"}"#;
    assert_eq!(some(None, ""), first);

    let mut room = Room::new("room:tea", 7);
    let plain = room.weight_bytes();
    let over = Standing { banned_until_ms: NOW, ..Standing::default() };
    let kept = [("a", over), ("b", over)].into_iter().collect();
    room.reopen_facts(Some("{}"), &kept, 0, NOW);
    assert_eq!((room.has_facts(), room.weight_bytes()), (false, plain));
    room.reopen_facts(Some(r#"{"slow_s":5}"#), &kept, 0, NOW - 1);
    assert!(room.has_facts() && room.settings().slow_s == 5 && room.weight_bytes() > plain);
    assert!(room.standing("a").is_banned(NOW - 1));
}

#[test]
fn who_is_put_out_is_told_why_by_whom_and_until_when() {
    let mut world = World::new();
    let told = |world: &World, is_kicked, text| {
        let cause = RemovalCause { is_kicked, by: "mod", text };
        written(|out| world.room.push_removed(out, "guest", cause, NOW))
    };
    assert_eq!(told(&world, false, None), r#"{"reason":"members","by":"mod"}"#);
    assert_eq!(
        told(&world, true, Some("\"bye\"")),
        r#"{"reason":"kicked","by":"mod","text":"bye"}"#
    );
    world.stands("guest", |standing| standing.banned_until_ms = NOW + 5);
    assert_eq!(told(&world, true, None), r#"{"reason":"banned","until":1000005,"by":"mod"}"#);
}

#[test]
fn a_member_goes_on_by_what_its_new_token_allows() {
    let mut world = World::new();
    let guest = World::slot("guest");
    let other = identity("guest");
    world.room.renew(guest, Who::Here(&other), Level::Join);
    assert_eq!(world.may_speak("guest"), Err(Refusal::Unauthorized));
    world.room.renew(guest, Who::Here(&other), Level::Moderate);
    assert_eq!(world.room.level_at(guest, now(0).unix_ms), Level::Moderate);
}

//! Who makes invites to a room, and what becomes of who brings one.

use std::sync::Arc;

use super::deciding_tests::bans;
use super::tests::Home;
use crate::auth::invite::Inviter;
use crate::auth::level::{Inviters, Joiners, Level, Role, Standing};
use crate::link::audit::AuditWanted;
use crate::link::facts::{MemberWish, Sentence, SettingsWish};
use crate::link::given::Given;
use crate::link::ids::{Asker, RoomKey};
use crate::link::log::{
    Append, Appended, FromLog, Log, MemoryLog, Opened, Opening, Placed, Ticket, Why,
};
use crate::link::record::{Received, ToHome, ToMember, read};

const TOPIC: &str = "room:tea";
const REFUSED: &str = r#"0 refused {"reason":"unauthorized"}"#;

type Who = (RoomKey, Asker);

impl<L: Log> Home<L> {
    /// What somebody is answered who asks for an invite: as a JSON string, or why not.
    fn invite(&mut self, (home, asker): Who, for_s: u64) -> Result<String, String> {
        self.take_told();
        self.hear(0, ToHome::Invite { home, asker, reference: "1", for_s });
        let told = self.take_told().pop().expect("an answer");
        let (_, invite) = told.split_once(",\"invite\":").ok_or(told.clone())?;
        Ok(invite.trim_end_matches('}').to_owned())
    }

    /// What a join with an invite comes to.
    fn comes(&mut self, number: u64, user: (&str, Level), invite: Option<&str>) -> String {
        self.take_told();
        self.try_join_with(0, number, TOPIC, user, (None, invite));
        self.take_told().pop().expect("an answer")
    }
}

/// A home with a room for members, whose owner is there.
fn private() -> (Home<MemoryLog>, Who) {
    let mut home = Home::new();
    home.settings.inviter = Some(Arc::new(Inviter::new(&[7; 32])));
    let owner = home.enter(0, 1, "ann", Level::Own);
    let join = Some(Joiners::Members);
    home.set(owner, SettingsWish { join, ..SettingsWish::default() });
    (home, owner)
}

#[test]
fn who_is_invited_is_a_member_from_then_on_by_decision_of_who_invited() {
    let (mut home, owner) = private();
    let bob = ("bob", Level::Speak);
    assert_eq!(home.comes(2, bob, None), REFUSED);
    let invite = home.invite(owner, 60).expect("it may invite");
    assert!(invite.starts_with("\"inv_"), "{invite}");
    assert_eq!(home.comes(2, bob, Some(&invite)), "0 joined");
    assert_eq!(home.comes(3, bob, None), "0 joined", "it needs none any more");
    assert_eq!(home.comes(4, bob, Some(&invite)), "0 joined", "and changes nothing by it");
    let wanted = AuditWanted { before: u64::MAX, limit: 1, act: None };
    home.take_told();
    home.hear(0, ToHome::Audit { home: owner.0, asker: owner.1, reference: "1", wanted });
    let line = r#"{"n":2,"at":1001000,"by":"ann","act":"room_member","user":"bob","set":{"role":"member","invite":true}}"#;
    assert_eq!(home.take_told(), [format!(r#"0 reply 1 ok {{"acts":[{line}],"more":true}}"#)]);
}

#[test]
fn an_invite_that_is_none_or_is_over_changes_nothing() {
    let (mut home, owner) = private();
    let bob = ("bob", Level::Speak);
    let invite = home.invite(owner, 60).expect("it may invite");
    for none in ["\"\"", "\"inv_x\"", &invite.replace("inv_", "")] {
        assert_eq!(home.comes(2, bob, Some(none)), REFUSED, "{none}");
    }
    // What it is for, and whom it lets in.
    assert_eq!(home.comes(2, ("bob", Level::None), Some(&invite)), REFUSED);
    home.stand(owner, bans("cat"));
    assert_eq!(home.comes(2, ("cat", Level::Speak), Some(&invite)), REFUSED);
    home.now_ms += 59_000;
    assert_eq!(home.comes(2, ("dan", Level::Speak), Some(&invite)), "0 joined");
    home.now_ms += 2_000;
    assert_eq!(home.comes(3, bob, Some(&invite)), REFUSED, "it is over");

    let invite = home.invite(owner, 60).expect("it may invite");
    home.set(owner, SettingsWish { revoke_invites: true, ..SettingsWish::default() });
    assert_eq!(home.comes(3, bob, Some(&invite)), REFUSED, "it was taken back");
    let invite = home.invite(owner, 60).expect("it may invite");
    assert_eq!(home.comes(3, bob, Some(&invite)), "0 joined");
}

#[test]
fn an_invite_is_good_for_as_long_as_was_asked_for_though_it_was_made_in_the_middle_of_a_second() {
    let (mut home, owner) = private();
    home.now_ms += 999;
    let invite = home.invite(owner, 1).expect("it may invite");
    home.now_ms += 999;
    assert_eq!(home.comes(2, ("bob", Level::Speak), Some(&invite)), "0 joined");
    home.now_ms += 1_000;
    assert_eq!(home.comes(3, ("cat", Level::Speak), Some(&invite)), REFUSED);
}

#[test]
fn an_invite_is_not_to_another_room_that_has_the_name_later() {
    let (mut home, owner) = private();
    let invite = home.invite(owner, 60).expect("it may invite");
    let mut later = Home::new();
    later.settings.inviter = home.settings.inviter.take();
    // Rooms of another shard's life begin in other epochs.
    later.with(|rooms, _, _| *rooms = super::Rooms::new(70, |_| ahash::RandomState::new()));
    let owner = later.enter(0, 1, "zed", Level::Own);
    let join = Some(Joiners::Members);
    later.set(owner, SettingsWish { join, ..SettingsWish::default() });
    assert_eq!(later.comes(2, ("bob", Level::Speak), Some(&invite)), REFUSED);
}

#[test]
fn an_invite_is_to_one_room() {
    let (mut home, _) = private();
    home.try_join_as(0, 9, "room:other", ("ann", Level::Own), None);
    let (_, record) = home.told.0.pop().expect("an answer");
    let Received::ToMember(ToMember::Joined { home: other, slot, conn, .. }) = read(&record) else {
        panic!("it joins")
    };
    let invite = home.invite((other, Asker { conn, slot }), 60).expect("it may invite");
    assert_eq!(home.comes(2, ("bob", Level::Speak), Some(&invite)), REFUSED);
}

#[test]
fn those_invite_who_look_after_the_room_and_members_if_it_is_set() {
    let (mut home, owner) = private();
    let role = Given::Value(Role::Member);
    home.stand(owner, MemberWish { user: "bob", role, ..MemberWish::default() });
    let bob = home.enter(0, 2, "bob", Level::Speak);
    let refused = r#"0 reply 1 error {"reason":"unauthorized"}"#;
    assert_eq!(home.invite(bob, 60).unwrap_err(), refused);
    let open = SettingsWish {
        invite: Some(Inviters::Members),
        join: Some(Joiners::All),
        ..SettingsWish::default()
    };
    home.set(owner, open);
    let invite = home.invite(bob, 60).expect("a member may");
    let guest = home.enter(0, 3, "cat", Level::Speak);
    assert_eq!(home.invite(guest, 60).unwrap_err(), refused, "it is no member");
    let mute = Some(Sentence::ForEver);
    home.stand(owner, MemberWish { user: "bob", mute, ..MemberWish::default() });
    assert_eq!(
        home.invite(bob, 60).unwrap_err(),
        r#"0 reply 1 error {"reason":"muted","until":0}"#
    );
    // Whoever may come in anyway becomes a member by it too.
    assert_eq!(home.comes(4, ("dan", Level::Speak), Some(&invite)), "0 joined");
    home.set(owner, SettingsWish { join: Some(Joiners::Members), ..SettingsWish::default() });
    assert_eq!(home.comes(5, ("dan", Level::Speak), None), "0 joined");
    // Nobody comes in by somebody who is banned by now.
    home.stand(owner, bans("bob"));
    assert_eq!(home.comes(6, ("eve", Level::Speak), Some(&invite)), REFUSED);

    home.settings.inviter = None;
    assert_eq!(home.invite(owner, 60).unwrap_err(), refused);
}

#[test]
fn there_are_no_more_members_by_invites_than_by_themselves() {
    let (mut home, owner) = private();
    home.settings.chat.members_per_room = 2;
    let invite = home.invite(owner, 60).expect("it may invite");
    assert_eq!(home.comes(2, ("bob", Level::Speak), Some(&invite)), "0 joined");
    let full = home.comes(3, ("cat", Level::Speak), Some(&invite));
    assert!(full.contains("too_many"), "{full}");
    // What is decided of others takes no place of theirs.
    home.settings.chat.members_per_room = 4;
    for user in ["dan", "eve"] {
        home.stand(owner, bans(user));
    }
    home.stand(owner, MemberWish { ban: Some(Sentence::Lifted), ..bans("dan") });
    assert_eq!(home.comes(3, ("cat", Level::Speak), Some(&invite)), "0 joined");
}

#[test]
fn who_is_in_already_is_taken_in_again_whatever_becomes_of_its_invite() {
    let (mut home, owner) = private();
    let open = SettingsWish { join: Some(Joiners::All), ..SettingsWish::default() };
    home.set(owner, open);
    home.settings.chat.members_per_room = 2;
    let invite = home.invite(owner, 60).expect("it may invite");
    let (_, Asker { slot, .. }) = home.enter(0, 2, "bob", Level::Speak);
    assert_eq!(home.comes(3, ("cat", Level::Speak), Some(&invite)), "0 joined");
    home.set(owner, SettingsWish { join: Some(Joiners::Members), ..SettingsWish::default() });
    home.take_told();
    // It has not heard yet that it is out, and there is no place for it as a member.
    home.try_join_with(0, 2, TOPIC, ("bob", Level::Speak), (Some(slot), Some(&invite)));
    let told = home.take_told();
    let out = r#"0 removed 2 {"reason":"members"}"#;
    assert_eq!(told, ["0 joined", out], "an answer, and then out again");
}

/// A log that may keep nothing, or only later what it is asked to.
#[derive(Default)]
struct FailingLog {
    fails: bool,
    is_late: bool,
    asked: Vec<Ticket>,
}

impl Log for FailingLog {
    fn open(&mut self, _: RoomKey, _: &str, _: u64) -> Opening {
        let owner = Standing { role: Some(Role::Owner), ..Standing::default() };
        let standings = [("ann", owner)].into_iter().collect();
        Opening::Kept(Opened { epoch: 5, standings, ..Opened::default() })
    }
    fn append(&mut self, append: Append<'_>) -> Appended {
        self.asked.push(append.ticket);
        match (self.fails, self.is_late) {
            (true, _) => Appended::Refused(Why::Storage),
            (_, true) => Appended::Ordered,
            (false, false) => Appended::Kept,
        }
    }
    fn close(&mut self, _: RoomKey) {}
}

#[test]
fn where_it_cannot_be_kept_nobody_becomes_a_member_and_who_may_comes_in_all_the_same() {
    let mut home = Home::with_log(FailingLog::default());
    home.settings.inviter = Some(Arc::new(Inviter::new(&[7; 32])));
    let owner = home.enter(0, 1, "ann", Level::Speak);
    let invite = home.invite(owner, 60).expect("it may invite");
    home.mesh.log.fails = true;
    assert_eq!(home.comes(2, ("bob", Level::Speak), Some(&invite)), "0 joined");
    home.mesh.log.fails = false;
    home.set(owner, SettingsWish { join: Some(Joiners::Members), ..SettingsWish::default() });
    home.mesh.log.fails = true;
    let refused = r#"0 refused {"reason":"storage","retry_ms":1000}"#;
    assert_eq!(home.comes(3, ("cat", Level::Speak), Some(&invite)), refused);
    home.mesh.log.fails = false;
    assert_eq!(home.comes(3, ("cat", Level::Speak), Some(&invite)), "0 joined");
}

#[test]
fn a_join_by_an_invite_is_answered_when_it_is_kept_that_one_is_a_member() {
    let mut home = Home::with_log(FailingLog::default());
    home.settings.inviter = Some(Arc::new(Inviter::new(&[7; 32])));
    let owner = home.enter(0, 1, "ann", Level::Speak);
    home.set(owner, SettingsWish { join: Some(Joiners::Members), ..SettingsWish::default() });
    let invite = home.invite(owner, 60).expect("it may invite");
    home.mesh.log.is_late = true;
    let comes = |home: &mut Home<FailingLog>, number, user| {
        home.take_told();
        home.try_join_with(0, number, TOPIC, (user, Level::Speak), (None, Some(&invite)));
        assert_eq!(home.take_told(), [] as [&str; 0], "it waits");
        *home.mesh.log.asked.last().expect("it was asked")
    };
    let placed = Placed::decision(1);
    let (ticket, doubtful) = (comes(&mut home, 2, "bob"), comes(&mut home, 3, "cat"));
    assert_eq!(comes(&mut home, 5, "bob"), doubtful, "for another device nothing more is asked");
    let room = owner.0;
    home.with(|rooms, cx, told| rooms.hear_log(cx, told, FromLog::Kept { room, ticket, placed }));
    assert_eq!(home.take_told(), ["0 joined", "0 joined"]);
    let (ticket, why) = (doubtful, Why::Unconfirmed);
    home.with(|rooms, cx, told| rooms.hear_log(cx, told, FromLog::Refused { room, ticket, why }));
    let told = home.take_told();
    assert!(told[0].starts_with(r#"0 refused {"reason":"unconfirmed""#), "{told:?}");
    // Who needs no invite comes in all the same.
    let open = |join| SettingsWish { join: Some(join), ..SettingsWish::default() };
    home.mesh.log.is_late = false;
    home.set(owner, open(Joiners::All));
    home.mesh.log.is_late = true;
    let ticket = comes(&mut home, 6, "eve");
    home.with(|rooms, cx, told| rooms.hear_log(cx, told, FromLog::Refused { room, ticket, why }));
    assert_eq!(home.take_told(), ["0 joined"]);
    home.mesh.log.is_late = false;
    home.set(owner, open(Joiners::Members));
    home.mesh.log.is_late = true;
    // Whose shard begins anew has not asked.
    let ticket = comes(&mut home, 4, "dan");
    home.with(|rooms, cx, _| rooms.forget_all(cx, 0));
    home.take_told();
    home.with(|rooms, cx, told| rooms.hear_log(cx, told, FromLog::Kept { room, ticket, placed }));
    assert_eq!(home.take_told(), [] as [&str; 0]);
}

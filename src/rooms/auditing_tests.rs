//! What is noted in the audit trail of a room, and to whom that is told.

use super::deciding_tests::bans;
use super::tests::Home;
use crate::auth::level::{Joiners, Level, Role, Standing};
use crate::limits::{PURGED_MESSAGES_MAX, PURGES_UNDER_WAY_MAX};
use crate::link::audit::{AuditAct, AuditWanted};
use crate::link::facts::{MemberWish, Sentence, SettingsWish};
use crate::link::given::Given;
use crate::link::ids::{Asker, RoomKey};
use crate::link::log::{
    Append, Appended, Audit, FromLog, Log, Opened, Opening, Placed, Read, Ticket, What, Why,
};
use crate::link::record::{ToHome, Verb};

type Who = (RoomKey, Asker);

const ALL: AuditWanted = AuditWanted { before: u64::MAX, limit: 50, act: None };

impl<L: Log> Home<L> {
    fn change(&mut self, (home, asker): Who, offset: u64, verb: Verb<'_>) {
        self.hear(0, ToHome::Change { home, asker, reference: "1", offset, verb });
    }

    fn report(&mut self, (home, asker): Who, offset: u64, text: Option<&str>) -> Vec<String> {
        self.take_told();
        self.hear(0, ToHome::Report { home, asker, reference: "1", offset, text });
        self.take_told()
    }

    /// What somebody is told of the trail.
    fn audit(&mut self, (home, asker): Who, wanted: AuditWanted) -> Vec<String> {
        self.take_told();
        self.hear(0, ToHome::Audit { home, asker, reference: "1", wanted });
        self.take_told()
    }

    fn has_kept(&mut self, room: RoomKey, ticket: Ticket) -> Vec<String> {
        let placed = Placed::decision(1);
        self.with(|rooms, cx, told| {
            rooms.hear_log(cx, told, FromLog::Kept { room, ticket, placed });
        });
        self.take_told()
    }
}

#[test]
fn each_act_is_a_line_which_those_see_who_look_after_the_room() {
    let mut home = Home::new();
    let owner = home.enter(0, 1, "ann", Level::Own);
    let bob = home.enter(0, 2, "bob", Level::Speak);
    for body in ["\"one\"", "\"two\"", "\"three\""] {
        home.publish(bob.0, bob.1, "5", body);
    }
    home.set(owner, SettingsWish { slow_s: Some(5), ..SettingsWish::default() });
    let mute = Some(Sentence::Seconds(60));
    let reason = Some("\"loud\"");
    home.stand(owner, MemberWish { user: "bob", mute, reason, ..MemberWish::default() });
    home.change(owner, 1, Verb::Delete);
    home.change(owner, 2, Verb::Pin { on: true });
    home.stand(owner, MemberWish { user: "bob", kick: true, ..MemberWish::default() });
    let mut lines = [
        r#"{"n":1,"at":1001000,"by":"ann","act":"room_set","set":{"slow_s":5}}"#,
        r#"{"n":2,"at":1001000,"by":"ann","act":"room_member","user":"bob","text":"loud","set":{"muted_s":60}}"#,
        r#"{"n":3,"at":1001000,"by":"ann","act":"msg_delete","user":"bob","offset":1}"#,
        r#"{"n":4,"at":1001000,"by":"ann","act":"msg_pin","user":"bob","offset":2,"set":{"on":true}}"#,
        r#"{"n":5,"at":1001000,"by":"ann","act":"room_member","user":"bob","set":{"kick":true}}"#,
    ];
    lines.reverse();
    let whole = format!(r#"0 reply 1 ok {{"acts":[{}],"more":false}}"#, lines.join(","));
    assert_eq!(home.audit(owner, ALL), [whole]);
    let wanted = AuditWanted { before: 5, limit: 1, act: Some(AuditAct::RoomMember) };
    let one = format!(r#"0 reply 1 ok {{"acts":[{}],"more":false}}"#, lines[3]);
    assert_eq!(home.audit(owner, wanted), [one]);
    let refused = r#"0 reply 1 error {"reason":"unauthorized"}"#;
    let cat = home.enter(0, 3, "cat", Level::Speak);
    assert_eq!(home.audit(cat, ALL), [refused]);
}

#[test]
fn what_changes_nothing_and_what_concerns_nobody_else_is_no_line() {
    let mut home = Home::new();
    let owner = home.enter(0, 1, "ann", Level::Own);
    let bob = home.enter(0, 2, "bob", Level::Speak);
    home.publish(bob.0, bob.1, "5", "\"one\"");
    home.change(
        bob,
        1,
        Verb::Edit { body: Some("\"x\""), mentions: Given::Nothing, data: Given::Nothing },
    );
    home.change(bob, 1, Verb::Delete);
    for role in [Given::Value(Role::Member), Given::Null] {
        home.stand(bob, MemberWish { user: "bob", role, ..MemberWish::default() });
    }
    home.set(owner, SettingsWish { links: Some(true), ..SettingsWish::default() });
    home.stand(owner, MemberWish { ban: Some(Sentence::Lifted), ..bans("dan") });
    // Of oneself, of nobody who is there, and of nothing that was said.
    let purge_s = Some(60);
    home.publish(bob.0, bob.1, "5", "\"two\"");
    home.stand(bob, MemberWish { user: "bob", purge_s, ..MemberWish::default() });
    home.stand(owner, MemberWish { user: "eve", purge_s, kick: true, ..MemberWish::default() });
    // Refused, so it was not done.
    home.stand(bob, bans("dan"));
    home.set(bob, SettingsWish { join: Some(Joiners::Members), ..SettingsWish::default() });
    assert_eq!(home.audit(owner, ALL), [r#"0 reply 1 ok {"acts":[],"more":false}"#]);
    home.stand(owner, bans("dan"));
    home.stand(owner, bans("dan"));
    let told = home.audit(owner, ALL);
    assert_eq!(told[0].matches("\"n\":").count(), 1, "once: {told:?}");
    // Done whole, or not at all: so many are told that it counts, and one time is enough.
    for number in 10..20 {
        home.enter(0, number, "guest", Level::Speak);
    }
    let limits = &mut home.settings.limits;
    (limits.fanout_bytes_per_s, limits.fanout_burst_bytes) = (1, 1);
    let say_much = |home: &mut Home<_>| {
        for _ in 0..PURGED_MESSAGES_MAX {
            home.publish(bob.0, bob.1, "5", "\"more\"");
        }
        home.take_told();
    };
    say_much(&mut home);
    home.stand(owner, MemberWish { user: "bob", purge_s, ..MemberWish::default() });
    say_much(&mut home);
    let told = home.audit(owner, ALL);
    home.stand(owner, MemberWish { purge_s, ..bans("bob") });
    assert!(home.take_told()[0].contains("rate_limited"));
    assert_eq!(home.audit(owner, ALL), told);
}

#[test]
fn a_report_is_for_those_who_look_after_the_room_alone_and_once() {
    let mut home = Home::new();
    let owner = home.enter(0, 1, "ann", Level::Own);
    let bob = home.enter(0, 2, "bob", Level::Speak);
    let reader = home.enter(0, 3, "cat", Level::Join);
    home.publish(bob.0, bob.1, "5", "\"spam\"");
    home.publish(bob.0, bob.1, "5", "\"more\"");
    let ok = ["0 reply 1 ok {}"];
    assert_eq!(home.report(reader, 1, Some("\"look\"")), ok, "nobody else hears of it");
    assert_eq!(home.report(reader, 1, None), ok, "it is said already");
    assert_eq!(home.report(owner, 1, None), ok);
    home.change(bob, 2, Verb::Delete);
    assert_eq!(home.report(reader, 2, None), [r#"0 reply 1 error {"reason":"gone"}"#]);
    let none = home.report(reader, 3, None);
    assert!(none[0].contains(r#""field":"offset""#) && none[0].contains("invalid"), "{none:?}");
    let reports = AuditWanted { act: Some(AuditAct::MsgReport), ..ALL };
    let expected = r#"0 reply 1 ok {"acts":[{"n":2,"at":1001000,"by":"ann","act":"msg_report","user":"bob","offset":1},{"n":1,"at":1001000,"by":"cat","act":"msg_report","user":"bob","offset":1,"text":"look"}],"more":false}"#;
    assert_eq!(home.audit(owner, reports), [expected]);
    // Its shard has not heard yet that it is out.
    home.stand(owner, bans("cat"));
    let banned = r#"0 reply 1 error {"reason":"banned","until":0}"#;
    assert_eq!(home.report(reader, 1, None), [banned]);
}

/// A log that keeps entries when it is told to, and remembers what they are and what is noted.
#[derive(Default)]
struct NotingLog {
    asked: Vec<(Ticket, String)>,
    audits: Vec<Audit>,
    fails: bool,
    /// Whether it does not take what is only noted.
    is_without_lines: bool,
    /// How many entries it takes still; `None`: all.
    left: Option<u32>,
    /// What it is to read, if it reads at all.
    reads: Option<Vec<Ticket>>,
}

impl Log for NotingLog {
    fn open(&mut self, _: RoomKey, _: &str, _: u64) -> Opening {
        let owner = Standing { role: Some(Role::Owner), ..Standing::default() };
        let standings = [("ann", owner)].into_iter().collect();
        Opening::Kept(Opened { epoch: 5, standings, audited: 40, ..Opened::default() })
    }
    fn append(&mut self, append: Append<'_>) -> Appended {
        let is_line = append.entry.what == What::Noted;
        if self.fails || is_line && self.is_without_lines || self.left == Some(0) {
            return Appended::Refused(Why::Storage);
        }
        self.left = self.left.map(|left| left - 1);
        let what = match append.entry.what {
            What::Message(_) => "message",
            What::Changed { .. } => "changed",
            What::Standing { .. } => "standing",
            What::Noted => "noted",
            What::Founded { .. } | What::Settings { .. } => "room",
        };
        let line = append.entry.audit.map(|line| format!("{} {}", line.number, line.act.as_str()));
        self.asked.push((append.ticket, format!("{what} {}", line.unwrap_or_default())));
        Appended::Ordered
    }
    fn reads(&self) -> bool {
        true
    }
    fn read(&mut self, read: Read<'_>) -> Result<(), Why> {
        let Some(reads) = &mut self.reads else { return Err(Why::Storage) };
        reads.push(read.ticket);
        Ok(())
    }
    fn audit(&mut self, audit: Audit) -> Result<(), Why> {
        self.audits.push(audit);
        if self.fails { Err(Why::Storage) } else { Ok(()) }
    }
    fn close(&mut self, _: RoomKey) {}
}

#[test]
fn a_line_goes_with_what_was_done_and_a_report_is_answered_when_it_is_kept() {
    let mut home = Home::with_log(NotingLog::default());
    let ann = home.enter(0, 1, "ann", Level::Speak);
    let bob = home.enter(0, 2, "bob", Level::Speak);
    home.publish(bob.0, bob.1, "5", "\"spam\"");
    home.change(ann, 1, Verb::Pin { on: true });
    assert_eq!(home.report(bob, 1, None), [] as [&str; 0], "it waits");
    assert_eq!(
        home.report(bob, 1, None),
        [] as [&str; 0],
        "so does a second one, for the same line"
    );
    home.stand(ann, MemberWish { user: "bob", kick: true, ..MemberWish::default() });
    home.stand(ann, bans("bob"));
    let asked = std::mem::take(&mut home.mesh.log.asked);
    let entries: Vec<_> = asked.iter().map(|(_, what)| &**what).collect();
    let expected = [
        "message ",
        "changed 41 msg_pin",
        "noted 42 msg_report",
        "noted 43 room_member",
        "standing 44 room_member",
    ];
    assert_eq!(entries, expected);
    home.take_told();
    let mut told = Vec::new();
    for (ticket, _) in asked {
        told.extend(home.has_kept(ann.0, ticket));
    }
    assert_eq!(told.iter().filter(|told| *told == "0 reply 1 ok {}").count(), 2, "{told:?}");

    // What the log has is asked of it.
    assert_eq!(home.audit(ann, ALL), [] as [&str; 0]);
    let Audit { room, ticket, wanted, .. } = home.mesh.log.audits[0];
    assert_eq!((room, wanted), (ann.0, ALL));
    let page = r#"{"acts":[],"more":true}"#;
    home.with(|rooms, cx, told| {
        rooms.hear_log(cx, told, FromLog::Audited { room, ticket, page });
    });
    assert_eq!(home.take_told(), [format!("0 reply 1 ok {page}")]);
    home.audit(ann, ALL);
    let ticket = home.mesh.log.audits[1].ticket;
    home.with(|rooms, cx, told| {
        rooms.hear_log(cx, told, FromLog::NotRead { room, ticket, why: Why::Busy });
    });
    assert!(home.take_told()[0].contains("\"reason\":\"busy\""));
}

#[test]
fn while_nothing_is_kept_nothing_is_reported_and_whoever_is_kicked_goes_all_the_same() {
    let mut home = Home::with_log(NotingLog::default());
    let ann = home.enter(0, 1, "ann", Level::Speak);
    let bob = home.enter(0, 2, "bob", Level::Speak);
    home.publish(bob.0, bob.1, "5", "\"spam\"");
    let ticket = home.mesh.log.asked[0].0;
    home.has_kept(bob.0, ticket);
    home.mesh.log.fails = true;
    let refused = r#"0 reply 1 error {"reason":"storage","retry_ms":1000}"#;
    assert_eq!(home.report(bob, 1, None), [refused]);
    assert_eq!(home.audit(ann, ALL), [refused]);
    home.stand(ann, MemberWish { user: "bob", kick: true, ..MemberWish::default() });
    let told = home.take_told();
    assert_eq!(told[0], r#"0 removed 2 {"reason":"kicked","by":"ann"}"#);
    assert_eq!(told[1], r#"0 reply 1 ok {"user":"bob"}"#);
    home.mesh.log.fails = false;
    assert_eq!(home.report(ann, 1, None), [] as [&str; 0]);
    assert_eq!(home.mesh.log.asked[1].1, "noted 41 msg_report", "no number was used");
}

#[test]
fn nothing_is_purged_of_which_no_line_is_taken_and_whoever_is_kicked_goes_all_the_same() {
    let mut home = Home::with_log(NotingLog::default());
    let ann = home.enter(0, 1, "ann", Level::Speak);
    let bob = home.enter(0, 2, "bob", Level::Speak);
    home.publish(bob.0, bob.1, "5", "\"spam\"");
    home.mesh.log.is_without_lines = true;
    home.take_told();
    let purge = MemberWish { user: "bob", purge_s: Some(60), ..MemberWish::default() };
    home.stand(ann, purge);
    let refused = r#"0 reply 1 error {"reason":"storage","retry_ms":1000}"#;
    assert_eq!(home.take_told(), [refused]);
    home.stand(ann, MemberWish { kick: true, ..purge });
    let removed = r#"0 removed 2 {"reason":"kicked","by":"ann"}"#;
    assert_eq!(home.take_told(), [removed, refused]);
    assert_eq!(home.mesh.log.asked.len(), 1, "nothing is deleted: {:?}", home.mesh.log.asked);
}

/// A room in which bob has said so much, which is kept; and ann, whose it is.
fn with_said(count: u32, in_memory: u32) -> (Home<NotingLog>, Who) {
    let mut home = Home::with_log(NotingLog::default());
    home.settings.history.messages = in_memory;
    let ann = home.enter(0, 1, "ann", Level::Speak);
    let bob = home.enter(0, 2, "bob", Level::Speak);
    for _ in 0..count {
        home.publish(bob.0, bob.1, "5", "\"spam\"");
        let ticket = home.mesh.log.asked.last().expect("it was asked").0;
        home.has_kept(bob.0, ticket);
    }
    (home, ann)
}

const PURGE: MemberWish<'_> = MemberWish {
    user: "bob",
    role: Given::Nothing,
    mute: None,
    ban: None,
    kick: false,
    purge_s: Some(60),
    purge_before: None,
    reason: None,
};

#[test]
fn a_purge_of_which_not_all_is_taken_says_how_many_are_deleted() {
    let (mut home, ann) = with_said(3, 100);
    // Its line, and nothing else.
    home.mesh.log.left = Some(1);
    home.stand(ann, PURGE);
    let refused = r#"0 reply 1 error {"reason":"storage","retry_ms":1000}"#;
    assert_eq!(home.take_told(), [refused]);
    home.mesh.log.left = Some(2);
    home.stand(ann, PURGE);
    let told = home.take_told();
    assert!(told.len() == 1 && told[0].contains("msg_changed"), "one is deleted: {told:?}");
    let ticket = home.mesh.log.asked.last().expect("it was asked").0;
    let ok = r#"0 reply 1 ok {"user":"bob","purged":1,"more":true,"before":3}"#;
    assert_eq!(home.has_kept(ann.0, ticket), [ok], "when it is kept, and where to go on");
}

#[test]
fn a_purge_that_cannot_be_read_on_says_how_many_are_deleted() {
    let (mut home, ann) = with_said(2, 1);
    home.mesh.log.reads = Some(Vec::new());
    home.stand(ann, PURGE);
    assert_eq!(home.take_told().len(), 1, "what is in memory is deleted");
    let ticket = home.mesh.log.asked.last().expect("it was asked").0;
    assert_eq!(home.has_kept(ann.0, ticket), [] as [&str; 0], "there is more to be read");
    let reads = home.mesh.log.reads.as_ref().expect("it reads");
    let (room, ticket, why) = (ann.0, reads[0], Why::Storage);
    home.with(|rooms, cx, told| {
        rooms.hear_log(cx, told, FromLog::NotRead { room, ticket, why });
    });
    let ok = r#"0 reply 1 ok {"user":"bob","purged":1,"more":true,"before":2}"#;
    assert_eq!(home.take_told(), [ok]);
}

#[test]
fn a_purge_that_has_deleted_nothing_and_cannot_read_is_refused_with_the_reason() {
    let (mut home, ann) = with_said(1, 1);
    home.publish(ann.0, ann.1, "5", "\"hi\"");
    let ticket = home.mesh.log.asked.last().expect("it was asked").0;
    home.has_kept(ann.0, ticket);
    let purge = |home: &mut Home<NotingLog>, by: Who| {
        home.stand(by, PURGE);
        let ticket = home.mesh.log.asked.last().expect("its line was asked").0;
        home.has_kept(ann.0, ticket)
    };
    let refused = r#"0 reply 1 error {"reason":"storage","retry_ms":1000}"#;
    assert_eq!(purge(&mut home, ann), [refused], "what bob said is no longer in memory");
    home.mesh.log.reads = Some(Vec::new());
    for _ in 0..PURGES_UNDER_WAY_MAX {
        assert_eq!(purge(&mut home, ann), [] as [&str; 0], "it reads");
    }
    // On another device, whose answers wait for none of these.
    let other = home.enter(0, 3, "ann", Level::Speak);
    let told = purge(&mut home, other);
    assert!(told.len() == 1 && told[0].contains(r#"error {"reason":"busy""#), "{told:?}");
}

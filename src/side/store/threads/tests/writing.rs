//! What shards hear of what they said, and what is there in the next life.

use std::thread;

use super::{Home, Start, begin, counted, start, start_of, start_promising};
use crate::auth::level::{NEVER_MS, Role, Standing};
use crate::limits::{RING_WORDS, STORE_WAITING_BYTES_MIN, StoreLimits};
use crate::link::audit::{AuditAct, AuditLine, AuditWanted};
use crate::link::log::{Appended, Audit, Log, LogAnswer, LogEnd, Opening, What, Why};
use crate::side::store::disk::Options;
use crate::side::store::log::Promise;
use crate::side::store::tests::{Folder, key, said};

#[test]
fn what_is_told_as_kept_is_there_in_the_next_life() {
    let folder = Folder::new();
    let (store, mut homes) = start(&folder, 2, 2);
    for (number, home) in (0..).zip(&mut homes) {
        let topic = |room: u64| format!("room:{number}-{room}");
        for room in 1..=3 {
            assert_eq!(home.open(key(room), &topic(room), 50 + room), None);
        }
        for offset in 1..=100 {
            for room in 1..=3 {
                let body = format!("\"{number}-{room}-{offset}\"");
                assert_eq!(home.append(key(room), offset, said(&body)), Appended::Ordered);
            }
        }
        for offset in 1..=100 {
            for room in 1..=3 {
                assert_eq!(home.kept(), (key(room), offset), "in their order");
            }
        }
    }
    store.stop().unwrap();
    let (store, mut homes) = start(&folder, 1, 1);
    for number in 0..2 {
        for room in 1..=3 {
            let topic = format!("room:{number}-{room}");
            let opened = homes[0].open(key(10 * number + room), &topic, 99).expect("it is there");
            assert_eq!((opened.epoch, opened.top.offset, opened.tail.len()), (50 + room, 100, 100));
            let last = &opened.tail[99].said;
            assert_eq!(&*last.body, format!("\"{number}-{room}-100\""));
        }
    }
    store.stop().unwrap();
}

#[test]
fn what_was_said_before_the_end_is_written_whether_or_not_somebody_waits_for_it() {
    let folder = Folder::new();
    let (store, mut homes) = start(&folder, 1, 1);
    homes[0].open(key(1), "room:a", 50);
    for offset in 1..=500 {
        homes[0].append(key(1), offset, said("\"x\""));
    }
    homes[0].log.end_turn();
    // The rings are small: the rest goes as the writer makes room.
    while homes[0].kept().1 < 500 {}
    drop(homes);
    store.stop().unwrap();
    let (store, mut homes) = start(&folder, 1, 1);
    let opened = homes[0].open(key(1), "room:a", 51).unwrap();
    assert_eq!((opened.epoch, opened.top.offset), (50, 500));
    store.stop().unwrap();
}

#[test]
fn a_shard_that_begins_anew_hears_nothing_of_its_old_life() {
    let folder = Folder::new();
    let (store, mut homes) = start(&folder, 1, 1);
    let home = &mut homes[0];
    home.open(key(1), "room:a", 50);
    home.append(key(1), 1, said("\"x\""));
    home.log.open(key(2), "room:b", 51);
    home.read(key(1), 5, 1).unwrap();
    home.log.restarted();
    let opened = home.open(key(3), "room:a", 52).expect("what it had said is there");
    assert_eq!((opened.top.offset, opened.epoch), (1, 50));
    home.append(key(3), 2, said("\"y\""));
    assert_eq!(home.kept(), (key(3), 2));
    store.stop().unwrap();
}

#[test]
fn too_much_that_waits_is_refused_before_it_has_a_place() {
    for waiting_bytes in [STORE_WAITING_BYTES_MIN, StoreLimits::default().waiting_bytes] {
        check_that_too_much_is_refused(waiting_bytes);
    }
}

fn check_that_too_much_is_refused(waiting_bytes: usize) {
    let folder = Folder::new();
    let limits = StoreLimits { waiting_bytes, ..StoreLimits::default() };
    let start = Start { limits, ..start_of(Options::at(&folder.0), 1, 1) };
    let (store, mut homes) = begin(start);
    let home = &mut homes[0];
    home.open(key(1), "room:a", 50);
    let body = format!("\"{}\"", "x".repeat(10_000));
    let mut offset = 1;
    // Nothing is passed on in one turn, whatever the writer does meanwhile.
    let refused = loop {
        match home.append(key(1), offset, said(&body)) {
            Appended::Ordered => offset += 1,
            refused => break refused,
        }
        assert!(offset < 1_000, "a megabyte is enough");
    };
    assert_eq!(refused, Appended::Refused(Why::Busy));
    // As much as may wait, and the last one.
    let taken = (usize::try_from(offset).unwrap() - 1) * body.len();
    assert!((waiting_bytes * 9 / 10..waiting_bytes + body.len()).contains(&taken), "{taken}");
    assert_eq!(home.log.open(key(2), "room:b", 51), Opening::Refused(Why::Busy));
    home.log.end_turn();
    assert_eq!(counted(store.stats(), "held_answers{shard=\"0\"}"), offset - 1);
    let waiting = counted(store.stats(), "waiting_bytes{shard=\"0\"}");
    assert!(waiting > waiting_bytes as u64 / 2, "{waiting}: a ring has some");
    for kept in 1..offset {
        assert_eq!(home.kept(), (key(1), kept));
    }
    assert_eq!(home.append(key(1), offset, said(&body)), Appended::Ordered);
    assert_eq!(home.kept(), (key(1), offset), "and goes on behind what was taken");
    home.log.end_turn();
    for name in ["held_answers{shard=\"0\"}", "waiting_bytes{shard=\"0\"}"] {
        assert_eq!(counted(store.stats(), name), 0, "{name}");
    }
    store.stop().unwrap();
}

/// How many commits it takes to keep 100 messages that are said at once, and how many of them have
/// at most 10.
fn commits(limits: StoreLimits) -> (u64, u64) {
    let folder = Folder::new();
    // So large that all of them cross at once.
    let start = Start { limits, ring_words: RING_WORDS, ..start_of(Options::at(&folder.0), 1, 1) };
    let (store, mut homes) = begin(start);
    let home = &mut homes[0];
    home.open(key(1), "room:a", 50);
    let body = format!("\"{}\"", "x".repeat(1_000));
    for offset in 1..=100 {
        assert_eq!(home.append(key(1), offset, said(&body)), Appended::Ordered);
    }
    for offset in 1..=100 {
        assert_eq!(home.kept(), (key(1), offset));
    }
    let few = counted(store.stats(), "batch_messages_bucket{le=\"10\"}");
    let all = counted(store.stats(), "batch_messages_count");
    assert_eq!(counted(store.stats(), "fsync_us_count"), counted(store.stats(), "commit_us_count"));
    let (disk_us, all_us) =
        (counted(store.stats(), "fsync_us_sum"), counted(store.stats(), "commit_us_sum"));
    assert!((1..=all_us).contains(&disk_us), "{disk_us} of {all_us}");
    store.stop().unwrap();
    (all, few)
}

#[test]
fn a_commit_has_as_much_as_it_may_and_the_next_one_has_the_rest() {
    let limits = StoreLimits::default();
    let (all, few) = commits(limits);
    assert!(all > few, "without a bound that is met, one has more: {all}, {few}");
    for limits in
        [StoreLimits { batch_messages: 10, ..limits }, StoreLimits { batch_bytes: 9_000, ..limits }]
    {
        let (all, few) = commits(limits);
        assert!(all == few && all >= 10, "{limits:?}: {all}, {few}");
    }
}

#[test]
fn past_as_many_rooms_as_may_be_none_begins_and_those_there_are_open() {
    let folder = Folder::new();
    let options = Options { rooms_max: 2, ..Options::at(&folder.0) };
    let (store, mut homes) = start_promising(options, 1, 1, Promise::OkIsKept);
    let home = &mut homes[0];
    for room in 1..=2 {
        home.open(key(room), &format!("room:{room}"), 50);
        home.append(key(room), 1, said("\"x\""));
        home.kept();
    }
    assert_eq!(home.log.open(key(3), "room:3", 50), Opening::Later);
    assert_eq!(home.answer(), LogAnswer::NotOpened { room: key(3), why: Why::Full });
    home.log.close(key(1));
    assert!(home.open(key(4), "room:1", 51).is_some());
    store.stop().unwrap();
}

#[test]
fn what_is_seen_is_kept_and_has_its_place_before() {
    let folder = Folder::new();
    let (store, mut homes) = start_promising(Options::at(&folder.0), 1, 1, Promise::SeenIsKept);
    let home = &mut homes[0];
    home.open(key(1), "room:a", 50);
    // Its home stands where it was until it hears of them.
    for body in ["\"a\"", "\"b\"", "\"c\""] {
        assert_eq!(home.append(key(1), 1, said(body)), Appended::Later);
    }
    for (offset, body) in (1..).zip(["\"a\"", "\"b\"", "\"c\""]) {
        assert_eq!(home.heard(), (key(1), offset, body.to_owned()));
        assert_eq!(home.kept(), (key(1), offset), "and then it is answered");
    }
    assert_eq!(home.append(key(1), 4, said("\"d\"")), Appended::Later);
    assert_eq!(home.heard(), (key(1), 4, "\"d\"".to_owned()));
    home.kept();

    let stranger = rusqlite::Connection::open(folder.file()).unwrap();
    stranger.execute_batch("BEGIN IMMEDIATE").unwrap();
    home.append(key(1), 5, said("\"e\""));
    assert_eq!(home.refused(), (5, Why::Unconfirmed), "nobody has heard it");
    stranger.execute_batch("ROLLBACK").unwrap();
    assert_eq!(home.heard(), (key(1), 5, "\"e\"".to_owned()), "it is kept after all");
    assert_eq!(home.kept(), (key(1), 5));
    store.stop().unwrap();
    let (store, mut homes) = start(&folder, 1, 1);
    let opened = homes[0].open(key(1), "room:a", 60).unwrap();
    let bodies: Vec<_> = opened.tail.iter().map(|message| &*message.said.body).collect();
    assert_eq!(bodies, ["\"a\"", "\"b\"", "\"c\"", "\"d\"", "\"e\""]);
    store.stop().unwrap();
}

#[test]
fn what_is_answered_at_once_is_written_and_a_store_that_fails_takes_nothing() {
    let folder = Folder::new();
    let (store, mut homes) = start_promising(Options::at(&folder.0), 1, 1, Promise::OkIsTaken);
    let home = &mut homes[0];
    home.open(key(1), "room:a", 50);
    for offset in 1..=200 {
        assert_eq!(home.append(key(1), offset, said("\"x\"")), Appended::Kept);
        home.log.end_turn();
    }
    assert_eq!(home.found(key(1), "A"), Appended::Kept);
    // A load goes behind all of it, and does not wait for what gathers.
    home.log.close(key(1));
    let opened = home.open(key(2), "room:a", 51).expect("it is there");
    assert_eq!((opened.top.offset, opened.founded.as_deref()), (200, Some("A")));

    let stranger = rusqlite::Connection::open(folder.file()).unwrap();
    stranger.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(home.append(key(2), 201, said("\"y\"")), Appended::Kept);
    let mut offset = 202;
    home.log.end_turn();
    // The stranger may be a reader, for which the writer waits a moment.
    while store.stats().is_working() {
        thread::yield_now();
    }
    while home.append(key(2), offset, said("\"y\"")) == Appended::Kept {
        offset += 1;
        home.log.end_turn();
        assert_eq!(home.log.next(), None);
        thread::yield_now();
    }
    let refused = home.append(key(2), offset, said("\"y\""));
    assert_eq!(refused, Appended::Refused(Why::Storage));
    stranger.execute_batch("ROLLBACK").unwrap();
    drop(stranger);
    while home.append(key(2), offset, said("\"y\"")) != Appended::Kept {
        home.log.woke();
        assert_eq!(home.log.next(), None);
        thread::yield_now();
    }
    home.log.end_turn();
    drop(homes);
    store.stop().unwrap();
    let (store, mut homes) = start(&folder, 1, 1);
    assert_eq!(homes[0].open(key(1), "room:a", 60).unwrap().top.offset, offset);
    store.stop().unwrap();
}

#[test]
fn what_is_noted_is_kept_with_what_was_done_and_is_told_in_the_next_life() {
    let folder = Folder::new();
    let (store, mut homes) = start(&folder, 1, 1);
    let home = &mut homes[0];
    home.open(key(1), "room:a", 50);
    home.open(key(2), "room:b", 60);
    let line = |number, act, set| AuditLine {
        number,
        act,
        by: "ann",
        user: Some("bob"),
        offset: None,
        text: Some("\"why\""),
        set,
    };
    let (user, standing) = ("bob", Standing { banned_until_ms: NEVER_MS, ..Standing::default() });
    let ban = line(1, AuditAct::RoomMember, Some("{\"banned_s\":-1}"));
    home.decide_noted(key(1), What::Standing { user, standing }, Some(&ban));
    let (title, settings) = ("Tea", "{}");
    let set = line(2, AuditAct::RoomSet, None);
    home.decide_noted(key(1), What::Settings { title, settings }, Some(&set));
    home.decide_noted(key(1), What::Noted, Some(&line(3, AuditAct::MsgReport, None)));
    for _ in 0..3 {
        assert_eq!(home.kept().1, 0);
    }
    let wanted = AuditWanted { before: u64::MAX, limit: 2, act: None };
    let page = |home: &mut Home, room, wanted| {
        home.log.audit(Audit { room, ticket: 7, wanted, bytes: 10_000 }).expect("it is asked");
        match home.answer() {
            LogAnswer::Audited { room: of, ticket: 7, page } if of == room => page,
            other => panic!("lines are told, not {other:?}"),
        }
    };
    let told = |number, act, more| {
        format!(
            r#"{{"n":{number},"at":7,"by":"ann","act":"{act}","user":"bob","text":"why"{more}}}"#
        )
    };
    let (report, set) = (told(3, "msg_report", ""), told(2, "room_set", ""));
    let expected = format!(r#"{{"acts":[{report},{set}],"more":true}}"#);
    assert_eq!(*page(home, key(1), wanted), *expected);
    let nothing = r#"{"acts":[],"more":false}"#;
    assert_eq!(&*page(home, key(2), wanted), nothing, "of a room of which nothing is kept");
    store.stop().unwrap();
    drop(homes);

    let (store, mut homes) = start(&folder, 1, 1);
    let home = &mut homes[0];
    assert_eq!(home.open(key(3), "room:a", 70).expect("it is there").audited, 3);
    assert_eq!(*page(home, key(3), wanted), *expected);
    let ban = told(1, "room_member", r#","set":{"banned_s":-1}"#);
    let older = AuditWanted { before: 3, act: Some(AuditAct::RoomMember), ..wanted };
    assert_eq!(*page(home, key(3), older), *format!(r#"{{"acts":[{ban}],"more":false}}"#));
    store.stop().unwrap();
}

#[test]
fn what_is_decided_of_a_room_is_told_as_kept_and_is_there_in_the_next_life() {
    let role = |role| Standing { role: Some(role), ..Standing::default() };
    let banned = Standing { banned_until_ms: NEVER_MS, ..Standing::default() };
    for promise in [Promise::OkIsKept, Promise::SeenIsKept] {
        let folder = Folder::new();
        let (store, mut homes) = start_promising(Options::at(&folder.0), 1, 1, promise);
        let home = &mut homes[0];
        home.open(key(1), "room:a", 50);
        home.open(key(2), "room:b", 60);
        let (title, owner, settings) = ("Tea", Some("ann"), r#"{"slow_s":5}"#);
        for (room, what) in [
            (1, What::Founded { title, owner }),
            (1, What::Settings { title: "Mate", settings }),
            (1, What::Standing { user: "bob", standing: role(Role::Moderator) }),
            (1, What::Standing { user: "cat", standing: banned }),
            (1, What::Standing { user: "bob", standing: role(Role::Member) }),
            (1, What::Standing { user: "cat", standing: Standing::default() }),
            // Of a room of which nothing else is there.
            (2, What::Standing { user: "dan", standing: banned }),
        ] {
            // It holds from the call on, whatever members see first.
            assert_eq!(home.decide(key(room), what), Appended::Ordered);
        }
        for _ in 0..7 {
            assert_eq!(home.kept().1, 0);
        }
        store.stop().unwrap();
        drop(homes);
        let (store, mut homes) = start_promising(Options::at(&folder.0), 1, 1, promise);
        let first = homes[0].open(key(3), "room:a", 99).expect("it is there");
        assert_eq!(first.founded.as_deref(), Some("Mate"));
        assert_eq!(first.settings.as_deref(), Some(settings));
        let expected = [("ann", role(Role::Owner)), ("bob", role(Role::Member))];
        assert_eq!(first.standings, expected.into_iter().collect());
        let second = homes[0].open(key(4), "room:b", 99).expect("it is there");
        assert_eq!((second.founded, second.settings), (None, None));
        assert_eq!(second.standings, [("dan", banned)].into_iter().collect());
        assert_eq!((second.epoch, second.top.offset), (60, 0));
        store.stop().unwrap();
    }
}
